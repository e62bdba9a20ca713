//! Files, seen from outside: what was acknowledged is there after a crash, a failing disk loses nothing and is recovered
//! from, clients' writes go on during a save.

use resp::Reply;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::{Client, Options, Random, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// Rounds of crashes: a few, or as many as `CRASH_ROUNDS` says.
fn rounds() -> usize {
    std::env::var("CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// Writes pairs of equal values until the server is gone; the number of the last pair that was acknowledged.
fn write_until_the_end(mut client: Client, name: usize) -> usize {
    for n in 1.. {
        let (a, b, value) = (format!("a:{name}"), format!("b:{name}"), n.to_string());
        match client.try_call(&["MSET", &a, &value, &b, &value]) {
            Ok(Reply::Simple(_)) => {}
            _ => return n - 1,
        }
    }
    unreachable!("the loop ends by returning")
}

fn number(client: &mut Client, key: &str) -> usize {
    match client.call(&["GET", key]) {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).parse().expect("a number"),
        Reply::Bulk(None) => 0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_acknowledged_under_always_is_there_after_a_crash() {
    let mut random = Random::new(11);
    for round in 0..rounds() {
        let threads = 1 + round % 2 * 3;
        let options = Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always");
        let server = Server::start(options);
        let writers: Vec<_> = (0..4)
            .map(|name| {
                let client = server.client();
                thread::spawn(move || write_until_the_end(client, name))
            })
            .collect();
        thread::sleep(Duration::from_millis(50 + random.below(200) as u64));
        if round % 3 != 0 {
            server.client().call(&["BGREWRITEAOF"]);
            thread::sleep(Duration::from_millis(random.below(30) as u64));
        }
        let crashed = server.crash();
        let acknowledged: Vec<_> = writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
        assert!(acknowledged.iter().sum::<usize>() > 0, "nothing was written");
        let server = crashed.start_again();
        let mut client = server.client();
        for (name, &last) in acknowledged.iter().enumerate() {
            let (a, b) = (number(&mut client, &format!("a:{name}")), number(&mut client, &format!("b:{name}")));
            assert_eq!(a, b, "round {round}: half a command");
            assert!(a == last || a == last + 1, "round {round}: {last} was acknowledged, {a} is there");
        }
    }
}

#[test]
fn a_save_while_writes_go_on_is_whole_and_loads() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads).set("save", ""));
        let mut client = server.client();
        client.call(&["DEBUG", "POPULATE", "20000"]);
        for n in 0..3000 {
            client.call(&["HSET", "big", &n.to_string(), "before"]);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut writer = server.client();
            let stop = &stop;
            scope.spawn(move || {
                for n in (0..3000).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    writer.call(&["HSET", "big", &n.to_string(), "after"]);
                    writer.call(&["SET", &format!("key:{n}"), "after"]);
                }
            });
            for _ in 0..5 {
                client.call(&["BGSAVE"]);
                let info =
                    || String::from_utf8_lossy(&bulk(server.client().call(&["INFO", "persistence"]))).into_owned();
                assert!(wait_until(PATIENCE, || info().contains("rdb_bgsave_in_progress:0")));
                assert!(info().contains("rdb_last_bgsave_status:ok"));
            }
            stop.store(true, Ordering::Relaxed);
        });
        client.call(&["SAVE"]);
        let before = client.call(&["DEBUG", "DIGEST"]);
        let server = server.restart(&[]);
        assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), before);
    }
}

fn bulk(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(Some(text)) => text.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_failed_save_writes_are_refused_until_one_succeeds() {
    let server = Server::start(Options::codis(1).set_words("save", &["3600", "1000000"]));
    let mut client = server.client();
    client.call(&["SET", "k", "v"]);
    client.call(&["SAVE"]);
    let whole = fs::read(server.dir().join("dump.rdb")).expect("saved");
    let gone = server.dir().join("gone");
    fs::create_dir(&gone).expect("made");
    client.call(&["CONFIG", "SET", "dir", &gone.to_string_lossy()]);
    fs::remove_dir(&gone).expect("removed");
    client.call(&["BGSAVE"]);
    let refused = |client: &mut Client| match client.call(&["SET", "k", "w"]) {
        Reply::Error(text) => text.starts_with(b"MISCONF"),
        _ => false,
    };
    assert!(wait_until(PATIENCE, || refused(&mut client)));
    let Reply::Error(text) = client.call(&["EVAL", "return redis.call('set', 'k', 'w')", "0"]) else {
        panic!("written")
    };
    assert!(String::from_utf8_lossy(&text).contains("-MISCONF Redis is configured to save RDB snapshots"));
    assert!(matches!(client.call(&["EVAL", "return redis.call('get', 'k')", "0"]), Reply::Bulk(_)));
    assert_eq!(fs::read(server.dir().join("dump.rdb")).expect("still there"), whole);
    client.call(&["CONFIG", "SET", "dir", &server.dir().to_string_lossy()]);
    client.call(&["BGSAVE"]);
    assert!(wait_until(PATIENCE, || !refused(&mut client)));
}

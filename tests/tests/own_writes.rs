//! What clients write on a replica that lets them is in its append only file like all else: at the place in the primary's
//! stream at which it was done, in its own database, whole, and before the client reads the reply.

use resp::Reply;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::replicas::{Load, assert_same, follow, info, number, wait_for_link, wait_for_stream};
use tests::{Client, NOBODYS_PORT, Options, Random, Relay, Server, contents, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const DATABASES: u32 = 4;

fn logging(threads: usize) -> Options {
    Options::codis(threads).set("appendonly", "yes").set_words("save", &[""]).set("repl-timeout", "5")
}

/// A replica of nobody yet that may be written to.
fn writable(threads: usize) -> Options {
    logging(threads).set("slave-read-only", "no")
}

/// Waits until no rewrite is under way or to come.
fn wait_for_file(server: &Server) {
    let mut client = server.client();
    let mut is_zero = |field| info(&mut client, field).is_some_and(|value| value == "0");
    let idle = ["aof_rewrite_scheduled", "aof_rewrite_in_progress"];
    assert!(wait_until(PATIENCE, || idle.into_iter().all(&mut is_zero)), "{}", server.log());
}

/// A primary and a writable replica of it, whose file is begun.
fn pair(threads: usize) -> (Server, Server) {
    let (primary, replica) = (Server::start(logging(threads)), Server::start(writable(threads)));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    wait_for_file(&replica);
    (primary, replica)
}

/// The digest of the data, which the file must have.
fn digest_as_logged(server: &Server) -> Reply {
    let mut client = server.client();
    let digest = client.run("DEBUG DIGEST");
    assert_eq!(client.run("DEBUG LOADAOF"), Reply::Simple(b"OK".to_vec()), "{}", server.log());
    assert_eq!(client.run("DEBUG DIGEST"), digest, "{}", server.log());
    digest
}

/// Changes what the primary's clients change as well, in their databases and another one: what comes out depends on the
/// order of all.
fn meddle(client: &mut Client, random: &mut Random) {
    let key = random.below(300);
    let lines = match random.below(9) {
        0 | 1 => format!("SELECT {}", random.below(DATABASES as usize)),
        2 => format!("APPEND s{key} own"),
        3 => format!("INCR n{key}"),
        4 => format!("RPUSH l{key} own"),
        5 => format!("MULTI\nLPUSH l{key} a\nSELECT {}\nINCR n{key}\nEXEC", random.below(DATABASES as usize)),
        6 => format!("SPOP t{key}"),
        7 => format!("EVAL redis.call('append',KEYS[1],ARGV[1]) 1 s{key} script"),
        _ => format!("SET own{key} {key}"),
    };
    for line in lines.lines() {
        client.call(&line.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn the_file_has_them_among_the_stream_whatever_goes_on() {
    const WRITERS: u64 = 3;
    for threads in [1, 4] {
        let (primary, replica) = (Server::start(logging(threads)), Server::start(writable(threads)));
        let relay = Relay::to(primary.addr());
        follow(&replica, relay.addr());
        wait_for_link(&replica);
        let load = Load::start(primary.addr(), 3);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for seed in 0..WRITERS {
                let (replica, over) = (&replica, &over);
                scope.spawn(move || {
                    let (mut client, mut random) = (replica.client(), Random::new(seed));
                    while !over.load(Ordering::SeqCst) {
                        meddle(&mut client, &mut random);
                    }
                });
            }
            let mut client = replica.client();
            for round in 0..6 {
                thread::sleep(Duration::from_millis(150));
                client.run("BGREWRITEAOF");
                if round % 2 == 1 {
                    relay.cut();
                    wait_for_link(&replica);
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        load.stop();
        // What has a short time to live is deleted by the primary when it comes upon it.
        thread::sleep(Duration::from_millis(300));
        contents(&mut primary.client(), DATABASES);
        wait_for_stream(&primary, &replica);
        wait_for_file(&replica);
        let mut client = replica.client();
        client.wait_until_written();
        let before = contents(&mut client, DATABASES);
        assert!(number(&mut primary.client(), "sync_partial_ok") >= 1, "{}", replica.log());
        let replica = replica.crash().start_as(logging(threads));
        let after = contents(&mut replica.client(), DATABASES);
        let differing: Vec<_> = before.iter().filter(|(key, value)| after.get(*key) != Some(value)).take(5).collect();
        assert!(differing.is_empty() && before.len() == after.len(), "{threads} threads: {differing:?}");
    }
}

#[test]
fn one_that_was_acknowledged_is_in_the_file_though_the_stream_stands_still() {
    for (fsync, threads) in [("always", 1), ("always", 4), ("everysec", 4)] {
        let (_primary, replica) = pair(threads);
        let mut client = replica.client();
        client.run(&format!("CONFIG SET appendfsync {fsync}"));
        for round in 1..=3 {
            client.run("SELECT 2");
            for _ in 1..50 {
                client.run("INCR own");
            }
            assert_eq!(client.run("INCR own"), Reply::Int(50 * round));
            assert_eq!(counter_in_file(&replica), 50 * round, "{fsync}");
        }
    }
}

/// What the counter is for a server that finds the file as it is now.
fn counter_in_file(replica: &Server) -> i64 {
    let file = std::fs::read(replica.dir().join("appendonly.aof")).expect("read");
    let other = Server::start(logging(1));
    let dir = other.dir().to_owned();
    let ended = other.end();
    std::fs::write(dir.join("appendonly.aof"), file).expect("written");
    let other = ended.start_again();
    let mut client = other.client();
    client.run("SELECT 2");
    match client.run("INCR own") {
        Reply::Int(next) => next - 1,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn a_restart_goes_on_from_where_the_stream_and_they_were() {
    for threads in [1, 4] {
        let (primary, replica) = pair(threads);
        let text = format!("slaveof 127.0.0.1 {}\n", primary.addr().port());
        let replica = replica.end().start_as(writable(threads).config(&text));
        wait_for_stream(&primary, &replica);
        wait_for_file(&replica);
        let (mut above, mut client) = (primary.client(), replica.client());
        above.run("SELECT 1");
        above.run("SET n 1");
        wait_for_stream(&primary, &replica);
        client.run("INCR own");
        client.run("SELECT 1");
        assert_eq!(client.run("INCR n"), Reply::Int(2));
        client.run("SELECT 3");
        client.run("SET last 1");
        let partial = number(&mut above, "sync_partial_ok");
        let ended = replica.end();
        // No SELECT precedes it in the stream.
        above.run("INCR n");
        let replica = ended.start_again();
        wait_for_stream(&primary, &replica);
        assert_eq!(number(&mut above, "sync_partial_ok"), partial + 1, "{}", replica.log());
        let mut client = replica.client();
        client.run("SELECT 1");
        assert_eq!(client.run("GET n"), Reply::bulk("3"));
        digest_as_logged(&replica);
        // Promoted, it logs its own in the same file, and a crash costs nothing.
        client.run("SET own 1");
        client.run("SLAVEOF NO ONE");
        client.run("INCR own");
        let digest = digest_as_logged(&replica);
        client.wait_until_written();
        let replica = replica.crash().start_as(logging(threads));
        assert_eq!(replica.client().run("DEBUG DIGEST"), digest, "{}", replica.log());
    }
}

#[test]
fn a_transaction_in_which_the_role_changes_is_in_the_file_whole() {
    for threads in [1, 4] {
        let (primary, replica) = pair(threads);
        let mut client = replica.client();
        let exec = |client: &mut Client, slaveof: &str| {
            for line in ["MULTI", "INCR before", "SELECT 1", slaveof, "INCR behind", "EXEC"] {
                client.run(line);
            }
            assert_eq!(client.run("SELECT 0"), Reply::Simple(b"OK".to_vec()));
        };
        primary.client().run("SET k v");
        wait_for_stream(&primary, &replica);
        exec(&mut client, "SLAVEOF NO ONE");
        digest_as_logged(&replica);
        exec(&mut client, &format!("SLAVEOF 127.0.0.1 {NOBODYS_PORT}"));
        client.run("INCR own");
        assert_eq!(client.run("GET before"), Reply::bulk("2"));
        digest_as_logged(&replica);
    }
}

#[test]
fn what_a_waiting_client_takes_out_of_the_stream_is_not_in_the_file() {
    for threads in [1, 4] {
        let (primary, replica) = pair(threads);
        let (mut client, mut above) = (replica.client(), primary.client());
        client.send(b"BLPOP l 0\r\n").expect("sent");
        let mut other = replica.client();
        assert!(wait_until(PATIENCE, || number(&mut other, "blocked_clients") == 1));
        above.run("RPUSH l a b");
        assert_eq!(client.read(), Reply::Array(Some(vec![Reply::bulk("l"), Reply::bulk("a")])));
        wait_for_stream(&primary, &replica);
        assert_eq!(other.run("LRANGE l 0 -1"), Reply::Array(Some(vec![Reply::bulk("b")])));
        digest_as_logged(&replica);
        // A member that is chosen at random is the one in the file.
        above.run("SADD t 1 2 3 4 5 6 7 8 9");
        wait_for_stream(&primary, &replica);
        other.run("SPOP t");
        other.run("EVALSHA nothing 0");
        other.run("SET e v PX 100000");
        digest_as_logged(&replica);
    }
}

#[test]
fn what_this_server_does_not_understand_of_a_stream_does_not_spoil_its_file() {
    let primary = Server::start(Options::redis());
    let replica = Server::start(logging(1));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    wait_for_file(&replica);
    let mut above = primary.client();
    for line in ["SET a 1", "XADD s * f v", "MULTI", "SET b 1", "XADD s * f v", "EXEC", "SELECT 1", "SET c 1"] {
        above.run(line);
    }
    wait_for_stream(&primary, &replica);
    let mut client = replica.client();
    assert_eq!((client.run("GET a"), client.run("GET b")), (Reply::bulk("1"), Reply::Bulk(None)));
    digest_as_logged(&replica);
    client.wait_until_written();
    let replica = replica.crash().start_as(logging(1));
    let mut client = replica.client();
    client.run("SELECT 1");
    assert_eq!(client.run("GET c"), Reply::bulk("1"));
}

#[test]
fn who_has_written_and_was_promoted_gets_all_keys_when_it_follows_again() {
    for threads in [1, 4] {
        let (primary, replica) = pair(threads);
        let (mut client, mut above) = (replica.client(), primary.client());
        for line in ["SET k v", "SET l v", "RPUSH list a b"] {
            above.run(line);
        }
        wait_for_stream(&primary, &replica);
        let follow_again = |client: &mut Client| {
            client.run("SLAVEOF NO ONE");
            follow(&replica, primary.addr());
            assert_same(&primary, &replica);
        };
        for line in ["DEL k", "SET l own", "SET own 1"] {
            client.run(line);
        }
        follow_again(&mut client);
        client.send(b"BLPOP waited 0\r\n").expect("sent");
        assert!(wait_until(PATIENCE, || number(&mut replica.client(), "blocked_clients") == 1));
        above.run("RPUSH waited a");
        assert!(matches!(client.read(), Reply::Array(Some(_))));
        follow_again(&mut client);
        // Who has not, does not.
        let full = number(&mut above, "sync_full");
        follow_again(&mut client);
        assert_eq!(number(&mut above, "sync_full"), full, "{}", primary.log());
    }
}

#[test]
fn who_has_written_remembers_it_over_a_restart() {
    for (threads, appendonly, save) in [(1, "yes", &[""][..]), (4, "no", &["900", "1"])] {
        let primary = Server::start(logging(threads));
        let text = format!("slaveof 127.0.0.1 {}\n", primary.addr().port());
        let options = writable(threads).set("appendonly", appendonly).set_words("save", save).config(&text);
        let replica = Server::start(options);
        wait_for_link(&replica);
        wait_for_file(&replica);
        let mut above = primary.client();
        above.run("SET k v");
        wait_for_stream(&primary, &replica);
        assert_eq!(replica.client().run("SET own 1"), Reply::Simple(b"OK".to_vec()));
        let replica = replica.end().start_again();
        wait_for_stream(&primary, &replica);
        assert_eq!((number(&mut above, "sync_full"), number(&mut above, "sync_partial_ok")), (1, 1));
        let mut client = replica.client();
        assert_eq!(client.run("GET own"), Reply::bulk("1"));
        client.run("SLAVEOF NO ONE");
        follow(&replica, primary.addr());
        assert_same(&primary, &replica);
        assert_eq!(client.run("GET own"), Reply::Bulk(None), "{}", replica.log());
    }
}

#[test]
fn what_is_not_logged_of_a_promoted_one_is_gone_when_it_follows_again() {
    let (primary, replica) = pair(1);
    primary.client().run("SET k v");
    wait_for_stream(&primary, &replica);
    let mut client = replica.client();
    client.run("SLAVEOF NO ONE");
    client.run("DEBUG POPULATE 10");
    assert_eq!(client.run("DBSIZE"), Reply::Int(11));
    follow(&replica, primary.addr());
    assert_same(&primary, &replica);
    assert_eq!(client.run("DBSIZE"), Reply::Int(1), "{}", replica.log());
}

#[test]
fn what_a_script_kept_from_the_replicas_is_gone_when_one_of_them_is_followed() {
    for reach in ["REPL_NONE", "REPL_AOF"] {
        let (primary, replica) = pair(1);
        let mut client = primary.client();
        client.run("SET k v");
        let script = format!("redis.replicate_commands() redis.set_repl(redis.{reach}) redis.call('set', 'x', '1')");
        client.call(&[&b"EVAL"[..], script.as_bytes(), b"0"]);
        wait_for_stream(&primary, &replica);
        assert_eq!((client.run("DBSIZE"), replica.client().run("DBSIZE")), (Reply::Int(2), Reply::Int(1)));
        replica.client().run("SLAVEOF NO ONE");
        follow(&primary, replica.addr());
        assert_same(&replica, &primary);
        assert_eq!(client.run("DBSIZE"), Reply::Int(1), "{reach}: {}", primary.log());
    }
}

#[test]
fn who_was_imaged_from_one_that_had_own_writes_gets_all_keys_too() {
    for diskless in ["yes", "no"] {
        let (primary, middle) = pair(1);
        primary.client().run("SET k v");
        wait_for_stream(&primary, &middle);
        let mut client = middle.client();
        for line in ["SET own 1", &format!("CONFIG SET repl-diskless-sync {diskless}")] {
            assert_eq!(client.run(line), Reply::Simple(b"OK".to_vec()));
        }
        client.run("CONFIG SET repl-diskless-sync-delay 0");
        let below = Server::start(logging(4));
        follow(&below, middle.addr());
        wait_for_link(&below);
        wait_for_file(&below);
        let mut client = below.client();
        assert_eq!(client.run("GET own"), Reply::bulk("1"));
        client.run("SLAVEOF NO ONE");
        follow(&below, primary.addr());
        assert_same(&primary, &below);
        assert_eq!(client.run("DBSIZE"), Reply::Int(1), "{}", below.log());
    }
}

#[test]
fn a_key_that_ended_before_a_reload_gets_its_del_after_it() {
    let (primary, replica) = pair(1);
    let mut client = primary.client();
    client.run("DEBUG SET-ACTIVE-EXPIRE 0");
    client.run("SET k v");
    client.run("SET e v PX 1");
    wait_for_stream(&primary, &replica);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(client.run("DEBUG RELOAD"), Reply::Simple(b"OK".to_vec()));
    assert_eq!(client.run("GET e"), Reply::Bulk(None));
    wait_for_stream(&primary, &replica);
    assert_eq!((client.run("DBSIZE"), replica.client().run("DBSIZE")), (Reply::Int(1), Reply::Int(1)));
}

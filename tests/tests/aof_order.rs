//! What replies, the append only file and the replicas owe each other when a server begins, when a connection or a
//! history ends, or when a transaction changes sides.

#![forbid(unsafe_code)]

use resp::Reply;
use std::fs::{self, File};
use std::process::Command;
use std::thread;
use std::time::Duration;
use tests::replicas::{assert_same, follow, info, wait_for_link, wait_for_stream};
use tests::{Client, NOBODYS_PORT, Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

fn with_aof(threads: usize, fsync: &str) -> Options {
    Options::codis(threads).set("appendonly", "yes").set("appendfsync", fsync)
}

#[test]
fn who_ends_its_own_direction_still_gets_its_replies() {
    for fsync in ["always", "everysec", "no"] {
        let server = Server::start(with_aof(1, fsync));
        for n in 1..=50 {
            let mut client = server.client();
            client.send(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n").expect("sent");
            client.shutdown_write().expect("ended");
            assert_eq!(client.read_to_end(), format!(":{n}\r\n").as_bytes(), "{fsync}");
        }
    }
}

#[test]
fn a_full_sync_to_an_earlier_offset_makes_the_file_anew() {
    let primary = Server::start(Options::codis(1));
    primary.client().call(&["SET", "from-primary", "1"]);
    let replica = Server::start(with_aof(1, "always"));
    let mut client = replica.client();
    for n in 0..50 {
        client.call(&["SET", &format!("old:{n}"), &"x".repeat(1000)]);
    }
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let rewritten = wait_until(PATIENCE, || {
        ["aof_rewrite_scheduled", "aof_rewrite_in_progress"]
            .iter()
            .all(|field| info(&mut client, field).as_deref() == Some("0"))
            && replica.log().contains("Background AOF rewrite finished successfully")
    });
    assert!(rewritten, "the file still has the old data\n{}", replica.log());
    client.call(&["SLAVEOF", "NO", "ONE"]);
    assert_eq!(client.call(&["SET", "acknowledged", "1"]), Reply::Simple("OK".into()));
    let again = replica.crash().start_again();
    let mut client = again.client();
    assert_eq!(client.call(&["EXISTS", "from-primary", "acknowledged", "old:1", "old:49"]), Reply::Int(2));
}

/// Runs `lines` as one transaction, in which nothing may fail.
fn transaction(client: &mut Client, lines: &[&str]) {
    client.run("MULTI");
    lines.iter().for_each(|line| assert_eq!(client.run(line), Reply::Simple(b"QUEUED".to_vec()), "{line}"));
    let ok = || Reply::Simple(b"OK".to_vec());
    assert_eq!(client.run("EXEC"), Reply::Array(Some(lines.iter().map(|_| ok()).collect())), "{lines:?}");
}

/// Waits until the file has been made anew.
fn wait_for_rewrite(server: &Server) {
    let mut client = server.client();
    let is_made = || {
        server.log().contains("Background AOF rewrite finished successfully")
            && ["aof_rewrite_scheduled", "aof_rewrite_in_progress"].iter().all(|field| client.persistence(field) == "0")
    };
    assert!(wait_until(PATIENCE, is_made), "{}", server.log());
}

#[test]
fn what_stands_behind_a_change_of_sides_in_a_transaction_is_logged_where_it_belongs() {
    let demotion = format!("SLAVEOF 127.0.0.1 {NOBODYS_PORT}");
    let (demotion, promotion) = (demotion.as_str(), "SLAVEOF NO ONE");
    let cases: [(bool, &[&str]); 6] = [
        // As Sentinel and people promote; the data are another database's than the transaction ends in.
        (true, &[promotion, "SET behind 1"]),
        (true, &["SELECT 3", promotion, "SET behind 1", "SELECT 0"]),
        (true, &["SET before 1", promotion, "SET behind 1"]),
        (false, &[demotion, promotion, "SET behind 1"]),
        (false, &["SET before 1", demotion, promotion, "SET behind 1"]),
        (false, &["SET before 1", demotion, "SET between 1", promotion, "SET behind 1"]),
    ];
    for threads in [1, 4] {
        for (is_replica, lines) in cases {
            let primary = Server::start(Options::codis(threads));
            let server = Server::start(with_aof(threads, "always").set("slave-read-only", "no"));
            if is_replica {
                primary.client().run("SET k v");
                follow(&server, primary.addr());
                wait_for_link(&server);
                wait_for_rewrite(&server);
                // What the primary does is in the file, also as a transaction.
                transaction(&mut primary.client(), &["SET k w", "SET l v"]);
                wait_for_stream(&primary, &server);
            }
            let below = Server::start(Options::codis(1));
            follow(&below, server.addr());
            wait_for_link(&below);
            transaction(&mut server.client(), lines);
            assert_same(&server, &below);
            let digest = server.client().run("DEBUG DIGEST");
            let server = server.crash().start_again();
            assert_eq!(server.client().run("DEBUG DIGEST"), digest, "{lines:?}, {threads} threads");
        }
    }
}

#[test]
fn what_stands_behind_the_beginning_of_a_file_in_one_transaction_or_script_is_in_it() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads).set("appendonly", "no"));
        let mut client = server.client();
        client.run("SET before 1");
        transaction(&mut client, &["CONFIG SET appendonly yes", "SET behind 1"]);
        wait_for_rewrite(&server);
        let server = server.crash().start_as(with_aof(threads, "always"));
        assert_eq!(server.client().run("EXISTS before behind"), Reply::Int(2));
        let server = Server::start(Options::codis(threads).set("appendonly", "no"));
        let script = "redis.call('config','set','appendonly','yes') return redis.call('incr','behind')";
        assert_eq!(server.client().call(&["EVAL", script, "0"]), Reply::Int(1));
        wait_for_rewrite(&server);
        let server = server.crash().start_as(with_aof(threads, "always"));
        assert_eq!(server.client().run("GET behind"), Reply::bulk("1"));
    }
}

#[test]
fn nobody_is_served_before_the_file_is_open() {
    /// So long a server is watched; one that waits as it should answers never.
    const WATCHED: Duration = Duration::from_millis(300);
    for threads in [1, 4] {
        let server = Server::start(with_aof(threads, "always"));
        let (addr, dir) = (server.addr(), server.dir().to_owned());
        let crashed = server.crash();
        fs::remove_file(dir.join("appendonly.aof")).expect("it was made");
        // There is nothing to load; a note of a stream is looked for, and reading it lasts as long as it is to last.
        let pipe = dir.join("appendonly.aof.stream");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let is_served = || {
            let answer = Client::connect(addr).and_then(|mut client| {
                client.set_patience(WATCHED);
                client.try_call(&["PING"])
            });
            matches!(answer, Ok(Reply::Simple(_)))
        };
        let server = thread::scope(|scope| {
            // The server ends with the thread that starts it.
            let watcher = scope.spawn(|| {
                wait_until(PATIENCE, || Client::connect(addr).is_ok());
                let served = wait_until(WATCHED, is_served);
                drop(File::options().write(true).open(&pipe).expect("opened by the server"));
                assert!(!served, "served before the file is open");
            });
            let server = crashed.start_again();
            watcher.join().expect("watched");
            server
        });
        assert_eq!(server.client().call(&["SET", "k", "v"]), Reply::Simple(b"OK".to_vec()));
        let server = server.crash().start_again();
        assert_eq!(server.client().call(&["GET", "k"]), Reply::bulk("v"));
    }
}

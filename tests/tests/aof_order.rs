//! What replies and the append only file owe each other when a connection or a history ends.

#![forbid(unsafe_code)]

use resp::Reply;
use std::time::Duration;
use tests::replicas::{follow, info, wait_for_link};
use tests::{Options, Server, wait_until};

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

//! What comes of a key that an original primary was sent in pieces: the pieces stand in its stream, and in the file of who
//! follows it. The primary is a made-up one, so that its stream can end anywhere.

use crate::data::run;
use resp::Reply;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;
use tests::replicas::{assert_same, follow, number, serve_sync, wait_for_link};
use tests::{Client, Options, Server, encode, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// The key `k`, whose value is `v`, and no checksum.
const IMAGE: &[u8] = b"REDIS0007\xfe\0\0\x01k\x01v\xff\0\0\0\0\0\0\0\0";
/// Where the stream behind it begins.
const OFFSET: u64 = 100;

fn full_sync() -> Vec<u8> {
    let mut answer = format!("+FULLRESYNC {} {OFFSET}\r\n${}\r\n", "a".repeat(40), IMAGE.len()).into_bytes();
    answer.extend_from_slice(IMAGE);
    answer
}

fn stream(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    lines.iter().for_each(|line| encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes));
    bytes
}

/// Sends the lines, and waits until `replica` has them; `sent` is how many bytes of the stream there were.
fn say(primary: &mut Client, replica: &Server, sent: &mut u64, lines: &[&str]) {
    let bytes = stream(lines);
    primary.send(&bytes).expect("the replica listens");
    *sent += bytes.len() as u64;
    let mut client = replica.client();
    let has_all = || number(&mut client, "slave_repl_offset") == OFFSET + *sent;
    assert!(wait_until(PATIENCE, has_all), "{}", replica.log());
}

/// A replica of a new stream.
fn replica(threads: usize) -> (TcpListener, Server, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let replica = Server::start(Options::codis(threads).set("slave-read-only", "no"));
    follow(&replica, listener.local_addr().expect("an address"));
    let primary = serve_sync(&listener, &full_sync());
    wait_for_link(&replica);
    (listener, replica, primary)
}

const HALF: [&str; 3] = ["SELECT 0", "SLOTSRESTORE-ASYNC delete L", "SLOTSRESTORE-ASYNC list L 60000 8 a b c d"];

/// Whether a client may begin the key that nobody builds any more; what it began goes with it.
fn may_be_begun(server: &Server, key: &str) -> bool {
    run(&mut server.client(), &format!("SLOTSRESTORE-ASYNC list {key} 0 2 x")) == "[SLOTSRESTORE-ASYNC-ACK 0 1]"
}

#[test]
fn a_key_is_there_for_readers_as_for_those_of_the_primary_and_goes_on_over_another_link() {
    for threads in [1, 4] {
        let (listener, replica, mut primary) = replica(threads);
        let (mut client, mut sent) = (replica.client(), 0);
        say(&mut primary, &replica, &mut sent, &HALF);
        assert_eq!(run(&mut client, "LRANGE L 0 -1"), "[a b c d]");
        drop(primary);
        let mut primary = serve_sync(&listener, b"+CONTINUE\r\n");
        assert_eq!(run(&mut client, "LRANGE L 0 -1"), "[a b c d]");
        let rest = ["SLOTSRESTORE-ASYNC list L 60000 8 e f g h", "SLOTSRESTORE-ASYNC expire L 0"];
        say(&mut primary, &replica, &mut sent, &rest);
        assert_eq!(run(&mut client, "LRANGE L 0 -1"), "[a b c d e f g h]");
        assert_eq!(run(&mut client, "SLAVEOF NO ONE"), "OK");
        assert_eq!(run(&mut client, "LLEN L"), ":8");
        assert!(may_be_begun(&replica, "other"));
    }
}

#[test]
fn a_key_whose_rest_cannot_come_any_more_is_gone_for_good() {
    for threads in [1, 4] {
        let (_listener, replica, mut primary) = replica(threads);
        let below = Server::start(Options::codis(threads));
        follow(&below, replica.addr());
        wait_for_link(&below);
        let mut sent = 0;
        say(&mut primary, &replica, &mut sent, &HALF);
        let others = [
            "SLOTSRESTORE-ASYNC hash H 60000 4 f v g w",
            "SLOTSRESTORE-ASYNC list W 60000 1 a",
            "SLOTSRESTORE-ASYNC expire W 0",
            "SLOTSRESTORE-ASYNC list D 60000 8 a",
            "DEL D",
            "SELECT 3",
            "SLOTSRESTORE-ASYNC list L 60000 8 a b c d",
            // The stream ends in another database.
            "SELECT 0",
        ];
        say(&mut primary, &replica, &mut sent, &others);
        // The primary says of one that it is over.
        assert!(wait_until(PATIENCE, || may_be_begun(&replica, "D")), "{}", replica.log());
        let mut client = replica.client();
        // What was begun here is no part of the stream, and goes with its client.
        assert_eq!(run(&mut client, "EXISTS D"), ":0");
        assert_eq!(run(&mut client, "EXISTS L H W"), ":3");
        assert_eq!(run(&mut client, "SLAVEOF NO ONE"), "OK");
        for line in ["EXISTS L", "EXISTS H"] {
            assert_eq!(run(&mut client, line), ":0", "{line}");
        }
        assert_eq!(run(&mut client, "EXISTS W k"), ":2");
        run(&mut client, "SELECT 3");
        assert_eq!(run(&mut client, "EXISTS L"), ":0");
        assert_same(&replica, &below);
        assert!(may_be_begun(&replica, "L"));
    }
}

#[test]
fn a_key_that_another_image_replaces_is_nobodys() {
    let (listener, replica, mut primary) = replica(2);
    let mut sent = 0;
    let half = ["SELECT 0", "SLOTSRESTORE-ASYNC delete k", "SLOTSRESTORE-ASYNC list k 60000 8 a b c d"];
    say(&mut primary, &replica, &mut sent, &half);
    drop(primary);
    let _primary = serve_sync(&listener, &full_sync());
    wait_for_link(&replica);
    let mut client = replica.client();
    assert_eq!(run(&mut client, "GET k"), "v");
    run(&mut client, "DEL k");
    assert!(wait_until(PATIENCE, || may_be_begun(&replica, "k")), "{}", replica.log());
}

#[test]
fn a_file_that_has_pieces_is_read_and_keys_that_are_not_whole_are_gone() {
    for threads in [1, 4] {
        let options = || Options::codis(threads).set("appendonly", "yes");
        let server = Server::start(options());
        let whole = [
            // Clients of an original may use what is not whole.
            "RPUSH L x",
            "SLOTSRESTORE-ASYNC list D 60000 8 a",
            "DEL D",
            "SLOTSRESTORE-ASYNC list W 60000 2 a",
            "RENAME W V",
            "RENAME V W",
            "SLOTSRESTORE-ASYNC list W 60000 2 b",
            "SLOTSRESTORE-ASYNC expire W 0",
        ];
        fs::write(server.dir().join("appendonly.aof"), stream(&[&HALF[..], &whole].concat())).expect("written");
        let server = server.crash().start_as(options());
        let mut client = server.client();
        assert_eq!(client.run("LRANGE W 0 -1"), Reply::Array(Some(vec![Reply::bulk("a"), Reply::bulk("b")])));
        assert_eq!(run(&mut client, "EXISTS L"), ":0");
        assert!(wait_until(PATIENCE, || may_be_begun(&server, "D")), "{}", server.log());
        assert_eq!(run(&mut client, "EXISTS D"), ":0");
        // They are gone from the file too.
        let server = server.crash().start_again();
        assert_eq!(run(&mut server.client(), "KEYS *"), "[W]");
    }
}

//! Replication across restarts of servers that keep an append only file: a note beside it says of which stream it is, and
//! is believed only of the very file that it was written for.

use resp::Reply;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;
use tests::replicas::{assert_same, info, number, serve_sync, wait_for_link, wait_for_stream};
use tests::{Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

const AOF: &str = "appendonly.aof";
const NOTE: &str = "appendonly.aof.stream";

fn logging(threads: usize) -> Options {
    let options = Options::codis(threads).set("appendonly", "yes").set_words("save", &[""]);
    options.set("repl-backlog-size", "64mb").set("repl-timeout", "5")
}

/// A primary, and a replica that is told of it by its file.
fn pair(threads: usize) -> (Server, Server) {
    let primary = Server::start(logging(threads));
    let text = format!("slaveof 127.0.0.1 {}\n", primary.addr().port());
    let replica = Server::start(logging(threads).config(&text));
    wait_for_file(&replica);
    (primary, replica)
}

/// Waits until a replica follows and its append only file has what it was sent.
fn wait_for_file(replica: &Server) {
    wait_for_link(replica);
    wait_for_file_alone(replica);
}

/// Waits until no rewrite is under way or to come.
fn wait_for_file_alone(server: &Server) {
    let mut client = server.client();
    let mut is_zero = |field| info(&mut client, field).is_some_and(|value| value == "0");
    let idle = ["aof_rewrite_scheduled", "aof_rewrite_in_progress"];
    assert!(wait_until(PATIENCE, || idle.into_iter().all(&mut is_zero)), "{}", server.log());
}

fn syncs(primary: &Server) -> (u64, u64) {
    let mut client = primary.client();
    (number(&mut client, "sync_full"), number(&mut client, "sync_partial_ok"))
}

/// The data, as they are and as the append only file has them.
fn assert_logged(servers: [&Server; 2]) {
    let digests = servers.map(|server| {
        let mut client = server.client();
        let digest = client.run("DEBUG DIGEST");
        assert_eq!(client.run("DEBUG LOADAOF"), Reply::Simple(b"OK".to_vec()), "{}", server.log());
        assert_eq!(client.run("DEBUG DIGEST"), digest, "{}", server.log());
        digest
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn with_an_append_only_file_a_restart_of_either_end_costs_no_full_sync() {
    for threads in [1, 4] {
        let (primary, replica) = pair(threads);
        let mut client = primary.client();
        client.run("SELECT 1");
        client.run("SET before 1");
        client.run("SET dying 1 PX 1");
        wait_for_stream(&primary, &replica);

        // The replica misses something that no SELECT precedes.
        let ended = replica.end();
        client.run("SET missed 1");
        let replica = ended.start_again();
        wait_for_stream(&primary, &replica);
        assert_eq!(syncs(&primary), (1, 1), "{}", replica.log());
        assert!(!replica.dir().join(NOTE).exists());

        let primary = primary.end().start_again();
        wait_for_link(&replica);
        let mut client = primary.client();
        client.run("SELECT 1");
        client.run("SET after 1");
        wait_for_stream(&primary, &replica);
        assert_eq!(syncs(&primary), (0, 1), "{}", primary.log());
        assert_same(&primary, &replica);
        assert_logged([&primary, &replica]);
    }
}

/// A stream goes on without another SELECT, in database 0 where it was this server's own.
#[test]
fn a_primary_that_comes_back_as_a_replica_logs_the_stream_in_its_database() {
    for last_db in [0, 1] {
        let (first, replica) = pair(1);
        let mut client = first.client();
        client.run(&format!("SELECT {last_db}"));
        client.run("SET own 1");
        wait_for_stream(&first, &replica);
        let end = number(&mut client, "master_repl_offset");
        drop(replica);
        let ended = first.end();
        let successor = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = successor.local_addr().expect("an address").port();
        let first = ended.start_as(logging(1).config(&format!("slaveof 127.0.0.1 {port}\n")));
        let mut link = serve_sync(&successor, format!("+CONTINUE {}\r\n", "b".repeat(40)).as_bytes());
        link.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n").expect("sent");
        let mut client = first.client();
        assert!(wait_until(PATIENCE, || number(&mut client, "master_repl_offset") > end), "{}", first.log());
        assert_eq!(client.run("GET k"), Reply::bulk("v"));
        let digest = client.run("DEBUG DIGEST");
        assert_eq!(client.run("DEBUG LOADAOF"), Reply::Simple(b"OK".to_vec()), "{}", first.log());
        assert_eq!(client.run("DEBUG DIGEST"), digest, "{last_db}");
    }
}

/// Ends the replica, lets `meddle` do something to its files, starts it, and expects as many full syncs.
fn after_meddling(meddle: impl FnOnce(PathBuf), full_syncs: u64) {
    let (primary, replica) = pair(1);
    primary.client().run("SET k old");
    wait_for_stream(&primary, &replica);
    let dir = replica.dir().to_owned();
    let ended = replica.end();
    assert!(dir.join(NOTE).exists());
    meddle(dir);
    primary.client().run("SET missed 1");
    let replica = ended.start_again();
    wait_for_stream(&primary, &replica);
    assert_eq!(syncs(&primary).0, full_syncs, "{}", replica.log());
    assert_same(&primary, &replica);
    assert_eq!(replica.client().run("GET k"), Reply::bulk("old"));
}

#[test]
fn a_note_is_not_believed_of_a_file_that_has_changed() {
    after_meddling(|_| {}, 1);
    after_meddling(
        |dir| {
            let file = fs::File::options().append(true).open(dir.join(AOF));
            let written = file.and_then(|mut file| file.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nnew\r\n"));
            written.expect("written");
        },
        2,
    );
    // The same length.
    after_meddling(
        |dir| {
            let text = fs::read(dir.join(AOF)).expect("read");
            let changed = String::from_utf8_lossy(&text).replace("old", "new");
            fs::write(dir.join(AOF), changed).expect("written");
        },
        2,
    );
    // The same bytes, but nobody knows what was there in between.
    after_meddling(
        |dir| {
            let text = fs::read(dir.join(AOF)).expect("read");
            fs::write(dir.join(AOF), text).expect("written");
        },
        2,
    );
    after_meddling(|dir| fs::write(dir.join(NOTE), "stream-of-aof 1\nrepl-id").expect("written"), 2);
}

#[test]
fn a_note_is_used_once() {
    let (primary, replica) = pair(1);
    primary.client().run("SET k 1");
    wait_for_stream(&primary, &replica);
    let replica = replica.end().start_again();
    wait_for_link(&replica);
    primary.client().run("SET k 2");
    wait_for_stream(&primary, &replica);
    let replica = replica.crash().start_again();
    wait_for_stream(&primary, &replica);
    assert_eq!(syncs(&primary), (2, 1), "{}", replica.log());
    assert_same(&primary, &replica);
}

#[test]
fn redis_7_loads_a_file_beside_which_a_note_stands() {
    let (primary, replica) = pair(1);
    primary.client().run("SET k v");
    wait_for_stream(&primary, &replica);
    let theirs = primary.end().start_as(Options::redis().set("appendonly", "yes"));
    assert_eq!(theirs.client().run("GET k"), Reply::bulk("v"));
    wait_for_stream(&theirs, &replica);
    assert_same(&theirs, &replica);
}

/// The replica has it still and goes on with the stream: it must be told.
#[test]
fn a_key_that_ended_before_the_file_was_written_gets_its_del_after_the_start() {
    for (threads, appendonly) in [(1, "no"), (4, "no"), (1, "yes"), (4, "yes")] {
        let options = |more: &str| logging(threads).set("appendonly", appendonly).config(more);
        let primary = Server::start(options(""));
        let replica = Server::start(options(&format!("slaveof 127.0.0.1 {}\n", primary.addr().port())));
        wait_for_file(&replica);
        let (mut client, mut other) = (primary.client(), replica.client());
        client.run("DEBUG SET-ACTIVE-EXPIRE 0");
        client.run("SET k v");
        client.run("SET ended v PX 1");
        wait_for_stream(&primary, &replica);
        assert!(wait_until(PATIENCE, || other.run("GET ended") == Reply::Bulk(None)));
        assert_eq!(other.run("DBSIZE"), Reply::Int(2));
        let ended = if appendonly == "yes" {
            client.run("BGREWRITEAOF");
            wait_for_file_alone(&primary);
            primary.end()
        } else {
            client.run("BGSAVE");
            assert!(wait_until(PATIENCE, || number(&mut client, "rdb_bgsave_in_progress") == 0));
            primary.crash()
        };
        let primary = ended.start_again();
        wait_for_link(&replica);
        assert!(wait_until(PATIENCE, || other.run("DBSIZE") == Reply::Int(1)), "{}", primary.log());
        assert_eq!(syncs(&primary), (0, 1), "{}", primary.log());
        assert_eq!(primary.client().run("DBSIZE"), Reply::Int(1));
    }
}

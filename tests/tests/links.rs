//! Links between primary and replica that are slow, half open, stalled, or cut at any byte: both ends notice within
//! `repl-timeout`, memory stays bounded, and all goes on by itself when the link is well again.

use resp::Reply;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tests::replicas::{Load, assert_same, follow, info, number, serve_sync, wait_for_link, wait_for_stream};
use tests::{Client, Options, Relay, Server, Way, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// `repl-timeout` of both ends, in seconds.
const TIMEOUT: &str = "2";
/// Bytes of the handshake before a full sync, about.
const HANDSHAKE_BYTES: u64 = 75;

fn options(threads: usize) -> Options {
    Options::codis(threads)
        .set("rdbcompression", "no")
        .set("repl-timeout", TIMEOUT)
        .set("repl-ping-slave-period", "1")
        .set("repl-backlog-size", "64mb")
}

fn link_is(replica: &mut Client, state: &str) -> bool {
    wait_until(PATIENCE, || info(replica, "master_link_status").as_deref() == Some(state))
}

/// A primary, a replica that follows it, and the relay between them.
fn pair(primary: Options, replica: Options) -> (Server, Server, Relay) {
    let (primary, replica) = (Server::start(primary), Server::start(replica));
    let relay = Relay::to(primary.addr());
    follow(&replica, relay.addr());
    wait_for_link(&replica);
    (primary, replica, relay)
}

/// Writes about so many megabytes.
fn fill(primary: &mut Client, name: &str, megabytes: usize) {
    let value = "x".repeat(1 << 20);
    for n in 0..megabytes {
        primary.call(&["SET", &format!("{name}:{n}"), &value]);
    }
}

#[test]
fn a_handshake_that_is_cut_at_any_byte_is_made_again() {
    let (primary, replica) = (Server::start(options(2)), Server::start(options(2)));
    primary.client().run("MSET a 1 b 2 c 3");
    let relay = Relay::to(primary.addr());
    let mut client = replica.client();
    // Whole syncs, up to somewhere in the image.
    for bytes in (0..HANDSHAKE_BYTES).chain((HANDSHAKE_BYTES..HANDSHAKE_BYTES + 150).step_by(49)) {
        relay.cut_after(Some(bytes));
        let before = relay.cut_short();
        follow(&replica, relay.addr());
        assert!(wait_until(PATIENCE, || relay.cut_short() > before), "not cut after {bytes} bytes\n{}", replica.log());
        client.run("SLAVEOF NO ONE");
    }
    relay.cut_after(None);
    follow(&replica, relay.addr());
    assert_same(&primary, &replica);

    // Partial ones: another name of the same primary begins a new attempt at once.
    let full = number(&mut primary.client(), "sync_full");
    let line = "+PONG\r\n+OK\r\n+OK\r\n+CONTINUE \r\n".len() as u64 + 40;
    for bytes in 0..line {
        relay.cut_after(Some(bytes));
        let before = relay.cut_short();
        let host = ["localhost", "127.0.0.1"][bytes as usize % 2];
        client.run(&format!("SLAVEOF {host} {}", relay.addr().port()));
        assert!(wait_until(PATIENCE, || relay.cut_short() > before), "not cut after {bytes} bytes\n{}", replica.log());
        primary.client().run("INCR a");
    }
    relay.cut_after(None);
    assert_same(&primary, &replica);
    assert_eq!(number(&mut primary.client(), "sync_full"), full, "{}", primary.log());
}

#[test]
fn a_replica_that_was_promoted_for_nothing_finds_its_place_each_time() {
    // Nothing comes in the stream, so that the offset stays where the promotion was.
    let still = || options(2).set("repl-ping-slave-period", "3600").set("repl-timeout", "3600");
    let (primary, replica, relay) = pair(still(), still());
    let mut client = replica.client();
    client.run("SLAVEOF NO ONE");
    for host in ["127.0.0.1", "localhost", "127.0.0.1"] {
        client.run(&format!("SLAVEOF {host} {}", relay.addr().port()));
        wait_for_link(&replica);
    }
    assert_eq!(number(&mut primary.client(), "sync_full"), 1, "{}", primary.log());
}

#[test]
fn a_link_that_trickles_carries_sync_and_stream() {
    for threads in [1, 4] {
        let patient = || options(threads).set("repl-timeout", "60");
        let (primary, replica) = (Server::start(patient()), Server::start(patient()));
        primary.client().run("DEBUG POPULATE 300");
        let relay = Relay::to(primary.addr());
        relay.slow_down(1, Duration::ZERO);
        follow(&replica, relay.addr());
        wait_for_link(&replica);
        let load = Load::start(primary.addr(), 1);
        std::thread::sleep(Duration::from_millis(100));
        load.stop();
        assert_same(&primary, &replica);
        assert_eq!(number(&mut primary.client(), "sync_full"), 1, "{}", primary.log());
    }
}

#[test]
fn a_sync_may_take_longer_than_the_timeout_while_bytes_come() {
    let options = || options(2).set("repl-timeout", "8");
    let (primary, replica) = (Server::start(options()), Server::start(options()));
    fill(&mut primary.client(), "big", 72);
    let relay = Relay::to(primary.addr());
    // Slower than the time-out allows for all of it, but so quick that the lumps in which the kernel tells of room in a
    // socket come many times within one.
    relay.slow_down(16 * 1024, Duration::from_millis(2));
    let load = Load::start(primary.addr(), 2);
    follow(&replica, relay.addr());
    wait_for_link(&replica);
    load.stop();
    relay.speed_up();
    assert_same(&primary, &replica);
    assert_eq!(number(&mut primary.client(), "sync_full"), 1, "{}", primary.log());
}

#[test]
fn a_half_open_link_is_noticed_and_comes_back_with_a_partial_sync() {
    for ways in [&[Way::FromFar][..], &[Way::FromNear], &[Way::FromNear, Way::FromFar]] {
        let (primary, replica, relay) = pair(options(2), options(2));
        let (mut above, mut below) = (primary.client(), replica.client());
        above.run("SET before 1");
        wait_for_stream(&primary, &replica);
        let full = number(&mut above, "sync_full");
        let load = Load::start(primary.addr(), 2);
        ways.iter().for_each(|&way| relay.stall_one_way(way, true));
        if ways.contains(&Way::FromFar) {
            assert!(link_is(&mut below, "down"), "the replica does not notice {ways:?}");
        }
        if ways.contains(&Way::FromNear) {
            let gone = wait_until(PATIENCE, || primary.log().contains("Disconnecting timedout slave"));
            assert!(gone, "the primary does not notice {ways:?}");
        }
        load.stop();
        ways.iter().for_each(|&way| relay.stall_one_way(way, false));
        assert_same(&primary, &replica);
        assert_eq!(number(&mut above, "sync_full"), full, "{}", primary.log());
        assert!(number(&mut above, "sync_partial_ok") > 0);
    }
}

#[test]
fn a_primary_or_a_replica_that_stands_still_is_noticed() {
    let (primary, replica, _relay) = pair(options(1), options(1));
    let (mut above, mut below) = (primary.client(), replica.client());
    above.run("SET k 1");
    wait_for_stream(&primary, &replica);
    let full = number(&mut above, "sync_full");
    primary.stand_still(true);
    assert!(link_is(&mut below, "down"));
    assert!(replica.log().contains("MASTER timeout"), "{}", replica.log());
    primary.stand_still(false);
    assert!(link_is(&mut below, "up"));

    replica.stand_still(true);
    assert!(wait_until(PATIENCE, || number(&mut above, "connected_slaves") == 0), "{}", primary.log());
    above.run("SET k 2");
    replica.stand_still(false);
    assert_same(&primary, &replica);
    assert_eq!(number(&mut above, "sync_full"), full, "{}", primary.log());
}

#[test]
fn a_replica_that_stops_reading_its_image_is_given_up() {
    // By the time-out while nothing is written, by the limit while much is.
    for writes in [false, true] {
        // One thread reads the writes and looks at the limit: with two, all may be written before the other one looks.
        let limited = options(if writes { 1 } else { 2 })
            .set("repl-backlog-size", "1mb")
            .set_words("client-output-buffer-limit", &["slave", "4mb", "0", "0"]);
        let limited = if writes { limited.set("repl-timeout", "60") } else { limited };
        let (primary, replica) = (Server::start(limited), Server::start(options(1)));
        let mut client = primary.client();
        fill(&mut client, "big", 20);
        let relay = Relay::to(primary.addr());
        relay.stall_after(1 << 20);
        follow(&replica, relay.addr());
        assert!(wait_until(PATIENCE, || relay.is_stalled()));
        let before = primary.resident_bytes();
        if writes {
            let value = "x".repeat(64 * 1024);
            for _ in 0..1000 {
                client.call(&["SET", "k", &value]);
            }
        }
        let gone = wait_until(PATIENCE, || number(&mut client, "connected_slaves") == 0);
        assert!(gone, "the replica is still there\n{}", primary.log());
        let grown = primary.resident_bytes().saturating_sub(before);
        assert!(grown < 32 << 20, "64 MB were written, and memory has grown by {grown} bytes");
        relay.stall(false);
        assert_same(&primary, &replica);
        assert_eq!(replica.client().run("STRLEN big:19"), Reply::Int(1 << 20));
    }
}

fn diskless(threads: usize) -> Options {
    options(threads).set("repl-diskless-sync", "yes").set("repl-diskless-sync-delay", "0")
}

/// Takes a server's working directory away, so that it can make no file.
fn take_disk_away(server: &Server) {
    let dir = server.dir().join("gone");
    std::fs::create_dir(&dir).expect("a directory");
    assert_eq!(
        server.client().call(&["CONFIG", "SET", "dir", dir.to_str().expect("text")]),
        Reply::Simple(b"OK".into())
    );
    std::fs::remove_dir(&dir).expect("it is empty");
}

#[test]
fn a_diskless_sync_needs_no_disk_at_either_end() {
    for threads in [1, 4] {
        let primary = Server::start(diskless(threads));
        let replicas = [Server::start(diskless(threads)), Server::start(Options::redis())];
        fill(&mut primary.client(), "big", 12);
        primary.client().run("DEBUG POPULATE 10000");
        take_disk_away(&primary);
        take_disk_away(&replicas[0]);
        let load = Load::start(primary.addr(), 2);
        replicas.iter().for_each(|replica| follow(replica, primary.addr()));
        replicas.iter().for_each(wait_for_link);
        load.stop();
        replicas.iter().for_each(|replica| assert_same(&primary, replica));
        assert!(primary.log().contains("target: slaves sockets"), "{}", primary.log());
    }
}

#[test]
fn many_replicas_share_a_diskless_sync_and_a_slow_one_is_dropped() {
    let primary = Server::start(diskless(2).set("repl-diskless-sync-delay", "3600").set("repl-timeout", "4"));
    let replicas = [(); 3].map(|()| Server::start(options(1).set("repl-timeout", "20")));
    fill(&mut primary.client(), "big", 48);
    let relay = Relay::to(primary.addr());
    // Too slow for the others, but so quick that the kernel, which tells of room in a socket in lumps, tells of some
    // several times within a time-out: that is not what is to end it.
    relay.slow_down(8 * 1024, Duration::from_millis(4));
    follow(&replicas[0], relay.addr());
    replicas[1..].iter().for_each(|replica| follow(replica, primary.addr()));
    let mut client = primary.client();
    let wait =
        |client: &mut Client, n| info(client, &format!("slave{n}")).is_some_and(|text| text.contains("wait_bgsave"));
    assert!(wait_until(PATIENCE, || (0..3).all(|n| wait(&mut client, n))), "{}", primary.log());
    client.run("CONFIG SET repl-diskless-sync-delay 0");
    replicas[1..].iter().for_each(wait_for_link);
    replicas[1..].iter().for_each(|replica| assert_same(&primary, replica));
    assert!(wait_until(PATIENCE, || primary.log().contains("too slow")), "{}", primary.log());
    relay.speed_up();
    assert_same(&primary, &replicas[0]);
}

#[test]
fn who_waits_for_all_keys_comes_before_saves_that_are_due() {
    let own = |options: Options| options.set("appendonly", "yes").set("auto-aof-rewrite-percentage", "0");
    let primary = Server::start(own(diskless(2)).set("repl-timeout", "60"));
    let (slow, replica) = (Server::start(options(1)), Server::start(options(1)));
    let mut client = primary.client();
    fill(&mut client, "big", 64);
    let relay = Relay::to(primary.addr());
    relay.stall_after(1 << 20);
    follow(&slow, relay.addr());
    assert!(wait_until(PATIENCE, || relay.is_stalled()));
    let scheduled = b"Background append only file rewriting scheduled";
    assert_eq!(client.run("BGREWRITEAOF"), Reply::Simple(scheduled.into()));
    follow(&replica, primary.addr());
    let waits = |client: &mut Client| info(client, "slave1").is_some_and(|text| text.contains("wait_bgsave"));
    assert!(wait_until(PATIENCE, || waits(&mut client)), "{}", primary.log());
    relay.stall(false);
    wait_for_link(&replica);
    let begun = |log: &str| log.contains("Background append only file rewriting started");
    assert!(wait_until(PATIENCE, || begun(&primary.log())), "{}", primary.log());
    let log = primary.log();
    let (before, _) = log.rsplit_once("Starting BGSAVE for SYNC").expect("there were two");
    assert!(!begun(before), "{log}");
    assert_same(&primary, &replica);
}

#[test]
fn writers_do_not_wait_for_a_slow_diskless_sync() {
    let limit = ["slave", "16mb", "0", "0"];
    let primary = Server::start(diskless(2).set("repl-timeout", "60").set_words("client-output-buffer-limit", &limit));
    let replica = Server::start(options(1));
    let mut client = primary.client();
    fill(&mut client, "big", 128);
    let relay = Relay::to(primary.addr());
    relay.stall_after(1 << 20);
    follow(&replica, relay.addr());
    assert!(wait_until(PATIENCE, || relay.is_stalled()));
    // All that was there is changed: the image of it has nowhere to go.
    (0..128).for_each(|n| assert_eq!(client.run(&format!("SETRANGE big:{n} 9 y")), Reply::Int(1 << 20)));
    let gone = wait_until(PATIENCE, || number(&mut client, "connected_slaves") == 0);
    assert!(gone, "{}", primary.log());
    client.run("SET k 1");
    relay.stall(false);
    assert_same(&primary, &replica);
}

/// Reads on until `done`.
fn read_on(link: &mut TcpStream, so_far: &mut Vec<u8>, done: impl Fn(&[u8]) -> bool) {
    let mut part = [0; 16 * 1024];
    while !done(so_far) {
        let n = link.read(&mut part).expect("the primary sends");
        assert_ne!(n, 0, "the primary has ended the connection after {}", so_far.len());
        so_far.extend_from_slice(&part[..n]);
    }
}

#[test]
fn nothing_follows_an_image_without_a_length_before_that_is_said_to_be_there() {
    for threads in [1, 4] {
        let primary = Server::start(diskless(threads));
        let mut client = primary.client();
        client.run("DEBUG POPULATE 1000");
        // A backup says no more than that.
        let mut link = TcpStream::connect(primary.addr()).expect("the primary listens");
        link.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        link.write_all(b"REPLCONF capa eof\r\n").expect("the primary listens");
        let mut came = Vec::new();
        read_on(&mut link, &mut came, |bytes| bytes == b"+OK\r\n");
        link.write_all(b"SYNC\r\n").expect("the primary listens");
        let begin = b"$EOF:";
        let at = |bytes: &[u8]| bytes.windows(begin.len()).position(|part| part == begin);
        let mark = |bytes: &[u8]| Some(bytes.get(at(bytes)? + begin.len()..)?.get(..40)?.to_vec());
        let is_whole = |bytes: &[u8]| mark(bytes).is_some_and(|mark| bytes.ends_with(&mark) && bytes.len() > 1000);
        read_on(&mut link, &mut came, is_whole);
        let online = || info(&mut client, "slave0").is_some_and(|text| text.contains("state=online"));
        assert!(wait_until(PATIENCE, online), "{}", primary.log());
        client.run("SET behind it");
        link.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        let early = link.read(&mut [0; 1024]);
        assert!(early.is_err(), "{early:?}");
        link.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        link.write_all(b"REPLCONF ACK 0\r\n").expect("the primary listens");
        came.clear();
        read_on(&mut link, &mut came, |bytes| bytes.windows(6).any(|part| part == b"behind"));
    }
}

#[test]
fn an_image_that_no_disk_takes_takes_no_more_memory_than_there_is() {
    let replica = Server::start(options(1).set("maxmemory", "10mb"));
    take_disk_away(&replica);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    replica.client().run("SET old v");
    follow(&replica, listener.local_addr().expect("an address"));
    let begin = format!("+FULLRESYNC {} 1\r\n$99999999999\r\nREDIS0006", "a".repeat(40));
    for _ in 0..2 {
        let mut link = serve_sync(&listener, begin.as_bytes());
        // It ends the link, and comes again.
        let ends = (0..4096).any(|_| link.send(&[b'x'; 64 * 1024]).is_err());
        assert!(ends, "{}", replica.log());
    }
    assert!(replica.log().contains("Write error or short write"), "{}", replica.log());
    assert_eq!(replica.client().run("GET old"), Reply::bulk("v"));
}

//! What one command did arrives as one unit, wherever a stream or a file is cut: no lock without its end, no element that
//! is nowhere.

use resp::Reply;
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::replicas::{follow, full_sync_of, info, number, serve_sync, wait_for_link};
use tests::{Client, Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing, and no checksum.
const IMAGE: &[u8] = b"REDIS0007\xff\0\0\0\0\0\0\0\0";
/// Keys that never are without an end.
const WITH_END: [&str; 7] = ["lock", "other", "restored", "moved{m}", "again{m}", "queued", "scripted"];

fn with_file(threads: usize) -> Server {
    Server::start(Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always"))
}

/// Follows `primary` and takes whatever comes.
fn sub_replica(primary: &Server) -> Client {
    let mut replica = primary.client();
    replica.send(b"SYNC\r\n").expect("the server listens");
    let mut client = primary.client();
    let online = || info(&mut client, "slave0").is_some_and(|text| text.contains("state=online"));
    assert!(wait_until(PATIENCE, online), "{}", primary.log());
    replica
}

/// Everything that leaves more than one record.
fn write(primary: &Server) {
    let mut client = primary.client();
    let mut run = |line: &str| {
        let reply = client.run(line);
        assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
        reply
    };
    run("SET lock me NX PX 100000000");
    run("PSETEX other 100000000 v");
    let Reply::Bulk(Some(payload)) = run("DUMP lock") else { panic!("a payload") };
    for line in ["MULTI", "SET queued v EX 100000", "SETEX queued 100000 v", "EXEC"] {
        run(line);
    }
    let set = "redis.replicate_commands();return(redis.call('SET','scripted','v','EX','100000'))";
    run(&format!("EVAL {set} 0"));
    // A waiter whose element goes on.
    let mut waiter = primary.client();
    waiter.send(b"BRPOPLPUSH from to 0\r\n").expect("sent");
    assert!(wait_until(PATIENCE, || number(&mut primary.client(), "blocked_clients") == 1));
    run("RPUSH from x");
    assert_eq!(waiter.read(), Reply::bulk("x"));
    let members: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    run(&format!("SADD set {}", members.join(" ")));
    run("SPOP set 2000");
    let ttl = b"100000000";
    let moved: [&[u8]; 7] = [b"SLOTSRESTORE", b"moved{m}", ttl, &payload, b"again{m}", ttl, &payload];
    assert_eq!(client.call(&moved), Reply::Simple(b"OK".to_vec()));
    assert_eq!(client.call(&[b"RESTORE", &b"restored"[..], ttl, &payload]), Reply::Simple(b"OK".to_vec()));
}

/// The ends of all records, and that no transaction is within another.
fn ends(records: &[u8]) -> Vec<usize> {
    let (mut at, mut ends, mut open) = (0, vec![0], false);
    while let Ok(Some((Reply::Array(Some(words)), used))) = Reply::decode(&records[at..]) {
        match words.first() {
            Some(name) if *name == Reply::bulk("MULTI") => assert!(!std::mem::replace(&mut open, true)),
            Some(name) if *name == Reply::bulk("EXEC") => assert!(std::mem::replace(&mut open, false)),
            _ => {}
        }
        at += used;
        ends.push(at);
    }
    assert!(at == records.len() && !open && ends.len() > 20, "{:?}", records[at..].escape_ascii().to_string());
    ends
}

/// Whether no command is there by half.
fn check(client: &mut Client, after: &[u8]) {
    let mut lacks = Vec::new();
    for key in WITH_END {
        if client.run(&format!("PTTL {key}")) == Reply::Int(-1) {
            lacks.push(key);
        }
    }
    let last = after[after.len().saturating_sub(80)..].escape_ascii();
    assert!(lacks.is_empty(), "without end: {lacks:?} after {last}");
    let card = client.run("SCARD set");
    assert!([0, 1000, 3000].map(Reply::Int).contains(&card), "{card:?} after {last}");
    let lists = [client.run("LLEN from"), client.run("LLEN to")];
    assert!([[0, 0], [1, 0], [0, 1]].map(|n| n.map(Reply::Int)).contains(&lists), "{lists:?} after {last}");
    // Both came in one message.
    let moved = client.run("EXISTS moved{m} again{m}");
    assert!([0, 2].map(Reply::Int).contains(&moved), "{moved:?} after {last}");
}

#[test]
fn a_stream_that_ends_behind_any_record_leaves_no_half_of_a_command() {
    for threads in [1, 4] {
        let primary = with_file(threads);
        let mut sub = sub_replica(&primary);
        write(&primary);
        primary.end();
        let came = sub.read_to_end();
        let begin = b"*2\r\n$6\r\nSELECT\r\n";
        let begin = came.windows(begin.len()).position(|part| part == begin).expect("a stream");
        let stream = &came[begin..];
        let replica = Server::start(Options::codis(threads));
        let mut client = replica.client();
        for end in ends(stream) {
            let answer = full_sync_of(IMAGE, 100);
            // One of its own each time: who is left connects again at once.
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            follow(&replica, listener.local_addr().expect("an address"));
            let mut link = serve_sync(&listener, &answer);
            wait_for_link(&replica);
            link.send(&stream[..end]).expect("the replica listens");
            drop(link);
            let lost = || info(&mut client, "master_link_status").as_deref() == Some("down");
            assert!(wait_until(PATIENCE, lost), "{}", replica.log());
            client.run("SLAVEOF NO ONE");
            check(&mut client, &stream[..end]);
        }
        assert!(matches!(client.run("PTTL restored"), Reply::Int(1..)), "{}", replica.log());
    }
}

#[test]
fn a_file_that_ends_behind_any_record_leaves_no_half_of_a_command() {
    let mut server = with_file(1);
    write(&server);
    let path = server.dir().join("appendonly.aof");
    let mut crashed = server.crash();
    let file = fs::read(&path).expect("the file is there");
    for end in ends(&file) {
        fs::write(&path, &file[..end]).expect("written");
        server = crashed.start_again();
        check(&mut server.client(), &file[..end]);
        crashed = server.crash();
    }
}

#[test]
fn a_reader_of_a_replica_sees_no_half_of_a_command() {
    const ROUNDS: usize = 500;
    let (primary, replica) = (Server::start(Options::codis(4)), Server::start(Options::codis(4)));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = primary.client();
            let batch: String = (0..40).map(|n| format!("SET k{} v EX 1000\r\nDEL k{n}\r\n", n % 20)).collect();
            while !ended.load(Ordering::Relaxed) {
                writer.send(batch.as_bytes()).expect("sent");
                (0..80).for_each(|_| drop(writer.read()));
            }
        });
        let mut reader = replica.client();
        let batch: String = (0..40).map(|n| format!("PTTL k{}\r\n", n % 20)).collect();
        let mut without = 0;
        for _ in 0..ROUNDS {
            reader.send(batch.as_bytes()).expect("sent");
            without += (0..40).filter(|_| reader.read() == Reply::Int(-1)).count();
        }
        ended.store(true, Ordering::Relaxed);
        assert_eq!(without, 0, "keys were seen without their end");
    });
}

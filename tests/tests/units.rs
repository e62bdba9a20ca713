//! What one command did arrives as one unit, wherever a stream or a file is cut: no lock without its end, no element that
//! is nowhere.

use resp::Reply;
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::replicas::{follow, full_sync_of, info, number, serve_sync, wait_for_link, wait_for_stream};
use tests::{Client, Options, Server, contents, encode, wait_until};

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

fn bytes(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes);
    }
    bytes
}

#[test]
fn a_unit_does_on_a_replica_what_its_commands_do() {
    const LINES: [&str; 23] = [
        "MULTI",
        "SET lock me",
        "PEXPIREAT lock 9999999999999",
        "EXEC",
        "MULTI",
        "SET ended v",
        "PEXPIREAT ended 1",
        "EXEC",
        "MULTI",
        "SET half v",
        "PEXPIREAT half never",
        "EXEC",
        // In several slots.
        "MULTI",
        "SET a 1",
        "PEXPIREAT lock 9999999999998",
        "INCRBY a 2",
        "LPUSH l x",
        "INCR l",
        "SET b 2",
        "PEXPIREAT b 9999999999998",
        "EXEC",
        "MULTI",
        "EXEC",
    ];
    const EVENTS: [&str; 12] = [
        "set lock",
        "expire lock",
        "set ended",
        "expire ended",
        "set half",
        "set a",
        "expire lock",
        "incrby a",
        "lpush l",
        "set b",
        "expire b",
        "set last",
    ];
    for threads in [1, 4] {
        let options = Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always");
        let replica = Server::start(options.set("notify-keyspace-events", "EA"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        follow(&replica, listener.local_addr().expect("an address"));
        let mut link = serve_sync(&listener, &full_sync_of(IMAGE, 100));
        wait_for_link(&replica);
        assert!(wait_until(PATIENCE, || replica.client().is_idle()), "{}", replica.log());
        let mut sub = sub_replica(&replica);
        let mut watcher = replica.client();
        watcher.run("WATCH b");
        let mut hearer = replica.client();
        hearer.run("PSUBSCRIBE __keyevent@0__:*");
        // The first bytes come alone, so that a unit is not there as a whole.
        let stream = bytes(&[&["SELECT 0"], &LINES[..], &["SET last 1"]].concat());
        for part in [&stream[..60], &stream[60..]] {
            link.send(part).expect("the replica listens");
            thread::sleep(Duration::from_millis(20));
        }
        let mut client = replica.client();
        let end = 100 + stream.len() as u64;
        assert!(wait_until(PATIENCE, || number(&mut client, "slave_repl_offset") == end), "{}", replica.log());
        for (line, value) in
            [("GET lock", "me"), ("GET half", "v"), ("GET a", "3"), ("LINDEX l 0", "x"), ("GET b", "2")]
        {
            assert_eq!(client.run(line), Reply::bulk(value), "{line}");
        }
        let left = |client: &mut Client, key: &str| client.run(&format!("PTTL {key}"));
        for key in ["lock", "b"] {
            assert!(matches!(left(&mut client, key), Reply::Int(1..)), "{key}");
        }
        assert_eq!(left(&mut client, "half"), Reply::Int(-1));
        assert_eq!(client.run("GET ended"), Reply::Bulk(None));
        assert_eq!(client.run("DBSIZE"), Reply::Int(7));
        for line in ["MULTI", "GET b"] {
            watcher.run(line);
        }
        assert_eq!(watcher.run("EXEC"), Reply::Array(None));
        for event in EVENTS {
            let Reply::Array(Some(words)) = hearer.read() else { panic!("a message") };
            let (event, key) = event.split_once(' ').expect("two words");
            assert_eq!(words[2..], [Reply::bulk(format!("__keyevent@0__:{event}")), Reply::bulk(key)]);
        }
        let failed = replica.log().matches("so the data differ").count();
        assert_eq!(failed, 2, "{}", replica.log());
        // A primary has no keys that are past their end.
        let there = |server: &Server| {
            let mut contents = contents(&mut server.client(), 1);
            contents.retain(|(_, key), _| !key.contains("ended"));
            contents
        };
        let before = there(&replica);
        let replica = replica.crash().start_again();
        assert_eq!(there(&replica), before, "{}", replica.log());
        let came = sub.read_to_end();
        assert!(came.ends_with(&stream), "{}", came.escape_ascii());
    }
}

#[test]
fn a_renamed_set_goes_out_under_its_name_with_an_end_as_well() {
    let options = || Options::codis(1).config("rename-command SET MYSET\nappendonly yes\nappendfsync always\n");
    let renamed = || Server::start(options());
    let (primary, replica) = (renamed(), renamed());
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    // The file begins anew with the image.
    assert!(wait_until(PATIENCE, || replica.client().is_idle()), "{}", replica.log());
    assert_eq!(primary.client().run("MYSET k v EX 1000"), Reply::Simple(b"OK".to_vec()));
    wait_for_stream(&primary, &replica);
    for server in [replica, primary] {
        let mut client = server.client();
        assert!(matches!(client.run("PTTL k"), Reply::Int(1..)), "{}", server.log());
        let server = server.crash().start_again();
        assert!(matches!(server.client().run("PTTL k"), Reply::Int(1..)), "{}", server.log());
    }
}

#[test]
fn a_reader_of_a_replica_sees_no_half_of_a_transaction_in_several_slots() {
    const ROUNDS: usize = 500;
    let (primary, replica) = (Server::start(Options::codis(4)), Server::start(Options::codis(4)));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let mut reader = replica.client();
    assert_eq!(primary.client().run("SET k0 v"), Reply::Simple(b"OK".into()));
    assert!(wait_until(PATIENCE, || reader.run("EXISTS k0") == Reply::Int(1)));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = primary.client();
            // Three keys that are always equal, and one of twenty that is always there.
            let unit = |n: usize| {
                let (next, last) = ((n + 1) % 20, n % 20);
                format!("MULTI\r\nMSET a {n} b {n}\r\nSET c {n}\r\nSET k{next} v\r\nDEL k{last}\r\nEXEC\r\n")
            };
            let mut n = 0;
            while !ended.load(Ordering::Relaxed) {
                let batch: String = (n..n + 20).map(unit).collect();
                writer.send(batch.as_bytes()).expect("sent");
                (0..120).for_each(|_| drop(writer.read()));
                n += 20;
            }
        });
        let count = bytes(&["MGET a b c", "EVAL return(#redis.call('keys','k*')) 0"]).repeat(40);
        let (mut halves, mut sizes) = (0, 0);
        for _ in 0..ROUNDS {
            reader.send(&count).expect("sent");
            for _ in 0..40 {
                let Reply::Array(Some(values)) = reader.read() else { panic!("values") };
                halves += usize::from(values.iter().any(|value| *value != values[0]));
                sizes += usize::from(reader.read() != Reply::Int(1));
            }
        }
        ended.store(true, Ordering::Relaxed);
        assert_eq!((halves, sizes), (0, 0), "transactions were seen by half");
    });
}

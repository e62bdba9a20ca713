//! The synchronous commands' links: what is an answer, which link is taken, when there is none; and what a source and a target
//! count besides.

use crate::data::{Caller, Script, names, pair, run, show, to, value};
use resp::Reply;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;
use tests::{Client, Options, Server};

/// Begins to move the key `k`, to a target that has its database chosen and the key sent.
fn begin(source: &Server, target: &Script) -> (Client, Caller) {
    let mut from = source.client();
    run(&mut from, "SET k v");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "60000 k")).as_bytes()).expect("sent");
    let mut link = target.accept();
    assert_eq!(link.line(), "SELECT 0");
    (from, link)
}

#[test]
fn a_plus_is_wanted_for_a_database_and_all_but_a_minus_for_keys() {
    let source = Server::start(Options::codis(1));
    for (answers, reply) in [
        (&b"+OK\r\n:1\r\n"[..], ":1"),
        (b"+\r\nwhatever\r\n", ":1"),
        (b":1\r\n+OK\r\n", "-ERR error on slotsrestore, select failed"),
        (b"OK\r\n+OK\r\n", "-ERR error on slotsrestore, select failed"),
        (b"+OK\r\n-\r\n", "-ERR error on slotsrestore, migration failed"),
    ] {
        let target = Script::new();
        let (mut from, mut link) = begin(&source, &target);
        assert!(link.line().starts_with("SLOTSRESTORE k 0 "));
        link.send(answers);
        assert_eq!(show(&from.read()), reply, "{}", answers.escape_ascii());
        assert_eq!(run(&mut from, "EXISTS k"), if reply == ":1" { ":0" } else { ":1" });
        // A link that failed is closed.
        assert!(reply == ":1" || link.line() == "(closed)");
    }
}

#[test]
fn there_is_one_link_for_each_name_of_a_target_and_it_serves_all_databases() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut first) = begin(&source, &target);
    assert!(first.line().starts_with("SLOTSRESTORE k 0 "));
    first.send(b"+OK\r\n+OK\r\n");
    assert_eq!(from.read(), Reply::Int(1));
    // Another name, another link; what stands behind a port's digits is not looked at.
    for host in ["localhost", "127.0.0.1"] {
        run(&mut from, "SET k v");
        from.send(format!("SLOTSMGRTONE {host} {}x 60000 k\r\n", target.port()).as_bytes()).expect("sent");
        let mut second = (host == "localhost").then(|| target.accept());
        if let Some(link) = &mut second {
            assert_eq!(link.line(), "SELECT 0");
            link.send(b"+OK\r\n");
        }
        let link = second.as_mut().unwrap_or(&mut first);
        assert!(link.line().starts_with("SLOTSRESTORE k 0 "), "{host}");
        link.send(b"+OK\r\n");
        assert_eq!(from.read(), Reply::Int(1));
    }
}

#[test]
fn a_target_that_takes_nobody_is_told_of_as_such() {
    let source = Server::start(Options::codis(1));
    let mut from = source.client();
    run(&mut from, "SET k v");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let addr = listener.local_addr().expect("a listener has an address");
    // Nobody is accepted, and at last nobody is queued.
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        queue.push(stream);
    }
    let port = addr.port();
    let reply = run(&mut from, &format!("SLOTSMGRTONE 127.0.0.1 {port} 100 k"));
    assert_eq!(reply, "-IOERR error or timeout connecting to the client");
    let reply = run(&mut from, &format!("SLOTSMGRTONE-ASYNC 127.0.0.1 {port} 100 0 0 k"));
    assert_eq!(reply, format!("-ERR create client to 127.0.0.1:{port} failed"));
    assert_eq!(run(&mut from, "GET k"), "v");
}

#[test]
fn a_port_that_is_no_number_is_nobodys() {
    let source = Server::start(Options::codis(1));
    let mut from = source.client();
    run(&mut from, "SET k v");
    assert_eq!(run(&mut from, "SLOTSMGRTONE 127.0.0.1 abc 100 k"), "-IOERR error or timeout writing to target");
    assert_eq!(run(&mut from, "GET k"), "v");
}

#[test]
fn a_key_that_is_found_due_on_the_way_is_deleted_and_told_of() {
    for (command, rest, reply) in [
        ("SLOTSMGRTONE", "60000 due{t}", ":0"),
        ("SLOTSMGRTTAGONE", "60000 due{t}", ":0"),
        ("SLOTSMGRTSLOT", "60000 680", "[:0 :0]"),
        ("SLOTSMGRTONE-ASYNC", "60000 0 0 due{t}", ":0"),
        ("SLOTSMGRTTAGSLOT-ASYNC", "60000 0 0 680 1", "[:0 :0]"),
    ] {
        let options = Options::codis(1).set("appendonly", "yes").set("appendfsync", "always");
        let (source, target) = (Server::start(options), Server::start(Options::codis(1)));
        let (mut from, mut listener) = (source.client(), source.client());
        run(&mut from, "DEBUG SET-ACTIVE-EXPIRE 0");
        run(&mut from, "CONFIG SET notify-keyspace-events Ex");
        run(&mut listener, "PSUBSCRIBE *");
        run(&mut from, "PSETEX due{t} 1 v");
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(run(&mut from, &to(&target, command, rest)), reply, "{command}");
        assert_eq!(run(&mut from, "DBSIZE"), ":0", "{command}");
        assert!(run(&mut from, "INFO stats").contains("expired_keys:1\\r"), "{command}");
        run(&mut from, "PUBLISH marker here");
        assert_eq!(show(&listener.read()), "[pmessage * __keyevent@0__:expired due{t}]", "{command}");
        let log = fs::read(source.dir().join("appendonly.aof")).expect("the file is there");
        let del = b"*2\r\n$3\r\nDEL\r\n$6\r\ndue{t}\r\n";
        assert!(log.windows(del.len()).any(|part| part.eq_ignore_ascii_case(del)), "{command}: {}", log.escape_ascii());
        assert_eq!(run(&mut target.client(), "DBSIZE"), ":0", "{command}");
    }
}

#[test]
fn what_waits_for_a_list_is_served_when_the_list_has_come_whole() {
    let (source, target) = pair(4);
    let (mut from, mut waiting) = (source.client(), target.client());
    waiting.send(b"BLPOP l 0\r\n").expect("sent");
    run(&mut from, "RPUSH l a b");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE", "60000 l")), ":1");
    assert_eq!(show(&waiting.read()), "[l a]");
    assert_eq!(value(&mut target.client(), "l"), "list quicklist false b");
}

#[test]
fn no_key_that_moves_counts_as_looked_for() {
    let (source, target) = pair(1);
    let mut from = source.client();
    let looked = |server: &Server| {
        let stats = run(&mut server.client(), "INFO stats");
        let at = stats.find("keyspace_hits:").expect("the field");
        stats[at..].split("pubsub").next().unwrap_or_default().to_owned()
    };
    run(&mut from, "MSET a 1 b 2 c{t} 3 d{t} 4");
    let before = [looked(&source), looked(&target)];
    assert!(before[0].contains("keyspace_misses:"), "{before:?}");
    for (command, rest) in [
        ("SLOTSMGRTONE", "60000 a"),
        ("SLOTSMGRTONE", "60000 nokey"),
        ("SLOTSMGRTONE-ASYNC", "60000 0 0 b nokey"),
        ("SLOTSMGRTTAGONE-ASYNC", "60000 0 0 c{t}"),
    ] {
        let reply = run(&mut from, &to(&target, command, rest));
        assert!(reply.starts_with(':'), "{command} {rest}: {reply}");
    }
    assert_eq!([looked(&source), looked(&target)], before);
}

#[test]
fn a_slot_and_its_groups_are_the_same_after_a_start() {
    for options in [Options::codis(1).set("appendonly", "yes"), Options::codis(4)] {
        let (mut source, target) = (Server::start(options), Server::start(Options::codis(1)));
        let mut from = source.client();
        // Two tags with one checksum are one group.
        assert_eq!(run(&mut from, "SLOTSHASHKEY x{plumless} y{buckeroo}"), "[:37 :37]");
        run(&mut from, "MSET x{plumless} 1 y{buckeroo} 2 plumless 3 z{t} 4");
        run(&mut from, "SELECT 3");
        run(&mut from, "SET q{plumless} 5");
        run(&mut from, "SAVE");
        source = source.restart(&[]);
        let mut from = source.client();
        assert_eq!(run(&mut from, "SLOTSCHECK"), "OK");
        assert_eq!(run(&mut from, "SLOTSINFO"), "[[:37 :3] [:680 :1]]");
        assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE", "60000 nokey{buckeroo}")), ":2");
        assert_eq!(names(&mut from), ["plumless", "z{t}"]);
        run(&mut from, "SELECT 3");
        assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE-ASYNC", "60000 0 0 nokey{buckeroo}")), ":1");
        // A database that is flushed has none.
        run(&mut from, "SELECT 0");
        run(&mut from, "FLUSHDB");
        assert_eq!(run(&mut from, "SLOTSINFO"), "[]");
    }
}

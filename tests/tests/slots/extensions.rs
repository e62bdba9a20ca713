//! What only servers of ours say to each other, and what operators may ask for besides: an original meets none of it.

use crate::data::{PATIENCE, Script, fill, pair, run, same, show, to, value, values};
use resp::Reply;
use tests::{Client, Options, Server, encode};

const SELECT: &str = "SLOTSRESTORE-ASYNC-SELECT 0";

fn ack(text: &str) -> String {
    format!("[SLOTSRESTORE-ASYNC-ACK 0 {text}]")
}

fn refused(text: &str) -> String {
    format!("[SLOTSRESTORE-ASYNC-ACK -1 {text}]")
}

#[test]
fn many_keys_come_in_one_message_and_replace_what_is_there() {
    let server = Server::start(Options::codis(1));
    let (mut client, mut other) = (server.client(), server.client());
    run(&mut other, "RPUSH a{t} old");
    run(&mut other, "SADD src 1 2");
    let Reply::Bulk(Some(set)) = other.run("DUMP src") else { panic!("a payload") };
    let object = [b"o", &set[..]].concat();
    let words: [&[u8]; 8] = [b"SLOTSRESTORE-ASYNC", b"many", b"a{t}", b"0", b"shello", b"b{t}", b"60000", &object];
    assert_eq!(show(&client.call(&words)), ack("2"));
    assert_eq!(value(&mut other, "a{t}"), "string embstr false hello");
    assert_eq!(value(&mut other, "b{t}"), "set intset true 1 2");
    // Integers are stored as such, and a message of no key is a message.
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC many n 0 s12"), ack("1"));
    assert_eq!(value(&mut other, "n"), "string int false 12");
    for (line, text) in [
        ("SLOTSRESTORE-ASYNC many a{t} 0 sx b{u} 0 sx", "the key is in another slot (b{u})"),
        ("SLOTSRESTORE-ASYNC many a{t} 0 zx", "invalid payload type"),
        ("SLOTSRESTORE-ASYNC many a{t} 0 ox", "invalid payload checksum"),
        ("SLOTSRESTORE-ASYNC many a{t} -1 sx", "invalid TTL value (TTL=-1)"),
        ("SLOTSRESTORE-ASYNC many a{t} 0", "wrong number of arguments (argc=4,cmd=many)"),
    ] {
        let mut client = server.client();
        assert_eq!(run(&mut client, line), refused(text), "{line}");
        assert!(client.is_ended(), "open after {line}");
    }
}

#[test]
fn many_keys_end_what_was_half_there_of_one_and_replace_none_that_leaves() {
    let (server, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut client, mut other, mut from) = (server.client(), server.client(), server.client());
    assert_eq!(run(&mut other, "SLOTSRESTORE-ASYNC list half{t} 60000 4 a"), ack("1"));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC many half{t} 0 sv"), ack("1"));
    assert_eq!(value(&mut from, "half{t}"), "string embstr false v");
    // Nobody builds it any more, so that anybody may.
    run(&mut from, "DEL half{t}");
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC list half{t} 60000 2 x"), ack("1"));
    // One that leaves stands behind others.
    run(&mut from, "SET leaves{t} here");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "60000 leaves{t}")).as_bytes()).expect("sent");
    let mut link = target.accept();
    (0..2).for_each(|_| drop(link.line()));
    let text = "the specified DB is being migrated";
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC many a{t} 0 sv leaves{t} 0 sthere"), refused(text));
    assert_eq!(value(&mut other, "leaves{t}"), "string embstr false here");
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(from.read(), Reply::Int(1));
}

#[test]
fn a_long_string_is_there_when_it_is_whole() {
    let server = Server::start(Options::codis(1));
    let (mut client, mut other) = (server.client(), server.client());
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC part s 60000 9 abc"), ack("3"));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC part s 60000 9223372036854775807 def"), ack("6"));
    // Who asks for it meanwhile waits.
    let mut waiting = server.client();
    waiting.send(b"GET s\r\n").expect("sent");
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC expire s 60000"), ack("1"));
    assert_eq!(show(&waiting.read()), "abcdef");
    assert_eq!(value(&mut other, "s"), "string raw true abcdef");
    // What flushes the database ends it.
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC part u 60000 9 abc"), ack("3"));
    run(&mut other, "FLUSHALL");
    assert_eq!(
        run(&mut client, "SLOTSRESTORE-ASYNC part u 60000 9 def"),
        refused("the specified key doesn't exist (u)")
    );
    let mut client = server.client();
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC string s 60000 abcdef"), ack("1"));
    // Begun anew, and broken off.
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC part t 60000 9 abc"), ack("3"));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC delete t"), ack("1"));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC part t 60000 9 xyz"), ack("3"));
    drop(client);
    let mut client = server.client();
    while !run(&mut client, "SLOTSRESTORE-ASYNC expire t 0").contains("the specified key doesn't exist (t)") {
        // The end of the other connection is seen at the server's next turn.
        client = server.client();
        run(&mut client, "SLOTSRESTORE-ASYNC delete t");
    }
    let mut client = server.client();
    assert_eq!(
        run(&mut client, "SLOTSRESTORE-ASYNC part s 60000 9 abc"),
        refused("the specified key already exists (s)")
    );
}

/// A source of ours that was told what its target, a script, can do.
fn told(answer: &str, lines: &[&str], request: &str) -> (Server, Client, crate::data::Caller) {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "SET first 1");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "5000 4 0 first")).as_bytes()).expect("sent");
    let mut link = target.accept();
    assert_eq!(link.line(), SELECT);
    link.ack("0", answer);
    for line in ["SLOTSRESTORE-ASYNC delete first", "SLOTSRESTORE-ASYNC string first 0 1"] {
        assert_eq!(link.line(), line);
        link.ack("0", "1");
    }
    if answer.contains("sync") {
        assert_eq!(link.line(), "SLOTSRESTORE-ASYNC sync first");
        link.ack("0", "1");
    }
    assert_eq!(from.read(), Reply::Int(1));
    lines.iter().for_each(|line| assert!(!run(&mut from, line).starts_with('-'), "{line}"));
    from.send(format!("{}\r\n", target.to("SLOTSMGRTTAGONE-ASYNC", request)).as_bytes()).expect("sent");
    (source, from, link)
}

#[test]
fn a_target_that_takes_more_gets_small_keys_together() {
    let lines = ["MSET a{t} 1 c{t} text", "RPUSH b{t} 1 2 3 4 5", "PEXPIRE a{t} 600000"];
    let (_source, mut from, mut link) = told("OK parts many", &lines, "5000 4 0 a{t} nokey");
    let first = link.line();
    assert!(first.starts_with("SLOTSRESTORE-ASYNC many a{t} "), "{first}");
    assert!(first.ends_with(" s1"), "{first}");
    link.ack("0", "1");
    for line in [
        "SLOTSRESTORE-ASYNC delete b{t}",
        "SLOTSRESTORE-ASYNC list b{t} 15000 5 1 2 3 4 5",
        "SLOTSRESTORE-ASYNC expire b{t} 0",
        "SLOTSRESTORE-ASYNC many c{t} 0 stext",
    ] {
        assert_eq!(link.line(), line);
        link.carry_out(line);
    }
    assert_eq!(from.read(), Reply::Int(3));
}

#[test]
fn a_target_that_wants_to_be_asked_is_asked_before_keys_are_removed() {
    let (source, mut from, mut link) = told("OK many sync", &["SET k v"], "5000 4 0 k");
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC many k 0 sv");
    link.ack("0", "1");
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC sync k");
    assert_eq!(run(&mut source.client(), "EXISTS k"), ":1");
    link.ack("0", "1");
    assert_eq!(from.read(), Reply::Int(1));
    assert_eq!(run(&mut from, "EXISTS k"), ":0");
}

#[test]
fn a_target_that_was_asked_and_says_nothing_is_told_to_forget_over_a_new_link() {
    let source = Server::start(Options::codis(1));
    let mut from = source.client();
    run(&mut from, "SET k v");
    // Who is too slow to be asked tries again.
    let asked = (0..20).any(|_| {
        let target = Script::new();
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "500 4 0 k")).as_bytes()).expect("sent");
        let mut link = target.accept();
        let mut asked = false;
        // It looks at nothing behind the question before it has answered.
        loop {
            match link.line().as_str() {
                "(closed)" => break,
                line if asked => panic!("behind the question: {line}"),
                SELECT => link.try_ack("OK many sync"),
                "SLOTSRESTORE-ASYNC sync k" => asked = true,
                _ => link.try_ack("1"),
            }
        }
        assert_eq!(show(&from.read()), "-ERR interrupted: migration timeout");
        assert!(!asked || target.accept().line() == SELECT);
        asked
    });
    assert!(asked, "it is never asked");
    assert_eq!(run(&mut from, "GET k"), "v");
}

#[test]
fn a_long_string_waits_until_it_is_known_what_the_target_takes() {
    for (answer, expected) in [("OK", "string"), ("OK parts", "part")] {
        let (source, target) = (Server::start(Options::codis(1)), Script::new());
        let mut from = source.client();
        run(&mut from, &format!("SET long {}", "x".repeat(300_000)));
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "5000 4 0 long")).as_bytes()).expect("sent");
        let mut link = target.accept();
        assert_eq!(link.line(), SELECT);
        link.ack("0", answer);
        assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete long");
        link.ack("0", "0");
        let mut bytes = 0;
        while let Some(words) = link.next() {
            link.ack("0", "1");
            if words[1] == b"expire" {
                break;
            }
            assert_eq!(words[1], expected.as_bytes());
            bytes += words.last().map_or(0, Vec::len);
            if answer == "OK" {
                break;
            }
        }
        assert_eq!(bytes, 300_000);
        assert_eq!(from.read(), Reply::Int(1));
    }
}

#[test]
fn every_type_moves_between_servers_of_ours_that_know_each_other() {
    for threads in [1, 4] {
        let (source, target) = pair(threads);
        let (mut from, mut there) = (source.client(), target.client());
        // The link is made, and what the target is, is known.
        run(&mut from, "SET first 1");
        assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE-ASYNC", "60000 3 0 first")), ":1");
        let keys = fill(&mut from);
        run(&mut from, &format!("SET huge {}", "y".repeat(1_000_000)));
        let keys = [keys, vec!["huge".to_owned()]].concat();
        let expected = values(&mut from, &keys);
        for key in &keys {
            let reply = run(&mut from, &to(&target, "SLOTSMGRTTAGONE-ASYNC", &format!("60000 3 0 {key}")));
            assert!(reply.starts_with(':'), "{key}: {reply}");
        }
        assert_eq!(run(&mut from, "DBSIZE"), ":0");
        same(&keys, &values(&mut there, &keys), &expected);
    }
}

#[test]
fn a_cancel_that_asks_is_told_what_has_become_of_the_keys() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    let nothing = "[canceled :0 keys :0 moved :0 kept :0 sent_bytes :0]";
    assert_eq!(run(&mut from, "SLOTSMGRT-ASYNC-CANCEL REPORT"), nothing);
    run(&mut from, "RPUSH l a b c d e");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "20000 2 0 l")).as_bytes()).expect("sent");
    let mut link = target.accept();
    assert_eq!(link.line(), SELECT);
    let mut other = source.client();
    let status = run(&mut other, "SLOTSMGRT-ASYNC-STATUS");
    assert!(status.contains(" left_keys 0 left_bytes 0]") || status.contains(" left_bytes "), "{status}");
    other.send(b"SLOTSMGRT-ASYNC-CANCEL REPORT\r\n").expect("sent");
    // Nothing is acknowledged, so the batch does not end by itself; then the target is told to forget.
    let forget = "SLOTSRESTORE-ASYNC delete l";
    let mut lines = vec![link.line()];
    assert_eq!(lines[0], forget);
    while lines.len() == 1 || lines.last().is_some_and(|line| line != forget) {
        lines.push(link.line());
        assert_ne!(lines.last().map(String::as_str), Some("(closed)"), "{lines:?}");
    }
    (0..=lines.len()).for_each(|_| link.ack("0", "1"));
    let report = show(&other.read());
    assert!(report.starts_with("[canceled :1 keys :1 moved :0 kept :1 sent_bytes :"), "{report}");
    assert_eq!(from.read(), Reply::Error(b"ERR interrupted: canceled".to_vec()));
    assert_eq!(run(&mut from, "LLEN l"), ":5");
}

#[test]
fn keys_are_on_the_targets_disk_before_the_source_removes_them() {
    let options = Options::codis(1).set("appendonly", "yes").set("appendfsync", "no");
    let options = options.set("slots-migration-durability", "aof");
    let (source, target) = (Server::start(Options::codis(1)), Server::start(options));
    let mut from = source.client();
    let keys = fill(&mut from);
    let expected = values(&mut from, &keys);
    for (n, key) in keys.iter().enumerate() {
        let line = if n % 2 == 0 { "SLOTSMGRTTAGONE-ASYNC" } else { "SLOTSMGRTTAGONE" };
        let rest = if n % 2 == 0 { format!("60000 20 0 {key}") } else { format!("60000 {key}") };
        let reply = run(&mut from, &to(&target, line, &rest));
        assert!(reply.starts_with(':'), "{key}: {reply}");
    }
    assert_eq!(run(&mut from, "DBSIZE"), ":0");
    let target = target.crash().start_again();
    same(&keys, &values(&mut target.client(), &keys), &expected);
}

#[test]
fn keys_are_on_the_targets_replica_before_the_source_removes_them() {
    let options = Options::codis(1).set_words("slots-migration-durability", &["replicas", "1"]);
    let (source, target) = (Server::start(Options::codis(1)), Server::start(options));
    let mut from = source.client();
    run(&mut from, "MSET a{t} 1 b{t} 2");
    run(&mut from, "RPUSH c{t} 1 2 3");
    // There is no replica yet.
    let line = to(&target, "SLOTSMGRTTAGONE-ASYNC", "300 2 0 a{t}");
    assert_eq!(run(&mut from, &line), "-ERR interrupted: migration timeout");
    assert_eq!(run(&mut from, "DBSIZE"), ":3");
    assert!(tests::wait_until(PATIENCE, || run(&mut target.client(), "DBSIZE") == ":0"));
    let replica = Server::start(Options::codis(1));
    run(&mut replica.client(), &format!("SLAVEOF 127.0.0.1 {}", target.addr().port()));
    let line = to(&target, "SLOTSMGRTTAGONE-ASYNC", "60000 2 0 a{t}");
    // The target has been told to forget what it got, which may have taken a moment.
    let mut reply = run(&mut from, &line);
    while reply == "-ERR the specified DB is being migrated" {
        reply = run(&mut from, &line);
    }
    assert_eq!(reply, ":3");
    assert_eq!(run(&mut replica.client(), "DBSIZE"), ":3");
    // A source that cannot ask is answered key by key.
    let mut original = target.client();
    assert_eq!(run(&mut original, "SLOTSRESTORE-ASYNC string d 0 v"), ack("1"));
    assert_eq!(run(&mut replica.client(), "GET d"), "v");
}

#[test]
fn who_has_written_to_an_older_and_longer_history_waits_for_the_one_at_hand() {
    let options = Options::codis(1).set("appendonly", "yes").set("slots-migration-durability", "aof");
    let (server, other) = (Server::start(options), Server::start(Options::codis(1)));
    let mut client = server.client();
    run(&mut client, &format!("SET long {}", "v".repeat(100_000)));
    let mut admin = server.client();
    run(&mut admin, &format!("SLAVEOF 127.0.0.1 {}", other.addr().port()));
    assert!(tests::wait_until(PATIENCE, || run(&mut admin, "INFO replication").contains("master_link_status:up")));
    run(&mut admin, "SLAVEOF NO ONE");
    // The file is made anew.
    let done = |admin: &mut Client| {
        let info = run(admin, "INFO persistence");
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    };
    assert!(tests::wait_until(PATIENCE, || done(&mut admin)));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC sync k"), ack("1"));
    run(&mut other.client(), &format!("SLAVEOF 127.0.0.1 {}", server.addr().port()));
    assert_eq!(run(&mut client, "WAIT 1 60000"), ":1");
}

#[test]
fn how_safe_keys_must_be_is_a_setting() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    let same = ["aof", "replicas 2", "aof replicas 1", "no"].map(|value| (value, value));
    let others = [("Replicas 3 AOF", "aof replicas 3"), ("NO", "no")];
    for (value, shown_as) in same.into_iter().chain(others) {
        assert_eq!(show(&client.call(&["CONFIG", "SET", "slots-migration-durability", value])), "OK", "{value}");
        let shown = run(&mut client, "CONFIG GET slots-migration-durability");
        assert_eq!(shown, format!("[slots-migration-durability {shown_as}]"));
    }
    for value in [
        "yes",
        "replicas",
        "replicas 0",
        "replicas 01",
        "replicas +1",
        "replicas 1 replicas 2",
        "aof aof",
        "aof no",
        "no aof",
        "aof replicas -1",
        "aof replicas",
        "",
    ] {
        assert!(
            show(&client.call(&["CONFIG", "SET", "slots-migration-durability", value])).starts_with('-'),
            "{value}"
        );
    }
    // Without a file nothing can be on disk.
    run(&mut client, "CONFIG SET slots-migration-durability aof");
    let reply = run(&mut client, "SLOTSRESTORE-ASYNC string k 0 v");
    assert_eq!(reply, refused("slots-migration-durability wants an append only file, and there is none"));
    assert_eq!(run(&mut server.client(), "EXISTS k"), ":0", "it was stored before it was refused");
}

#[test]
fn who_waits_is_let_go_by_a_setting_that_wants_less() {
    for (less, threads) in [("no", 1), ("aof", 4)] {
        let options = Options::codis(threads).set("appendonly", "yes");
        let server = Server::start(options.set_words("slots-migration-durability", &["replicas", "7"]));
        let (mut admin, mut asks, mut waits, mut whole) =
            (server.client(), server.client(), server.client(), server.client());
        run(&mut asks, "SLOTSRESTORE-ASYNC-SELECT 0");
        assert_eq!(run(&mut asks, "SLOTSRESTORE-ASYNC many a 0 sv"), ack("1"));
        let Reply::Bulk(Some(payload)) = asks.run("DUMP a") else { panic!("a payload") };
        let mut restore = Vec::new();
        encode(&[&b"SLOTSRESTORE"[..], b"c", b"0", &payload], &mut restore);
        asks.send(b"SLOTSRESTORE-ASYNC sync a\r\n").expect("sent");
        waits.send(b"SLOTSRESTORE-ASYNC string b 0 v\r\n").expect("sent");
        whole.send(&restore).expect("sent");
        let wait = |admin: &mut Client| run(admin, "INFO clients").contains("blocked_clients:3");
        assert!(tests::wait_until(PATIENCE, || wait(&mut admin)));
        assert_eq!(run(&mut admin, &format!("CONFIG SET slots-migration-durability {less}")), "OK");
        assert_eq!(show(&asks.read()), ack("1"), "{less}");
        assert_eq!(show(&waits.read()), ack("1"), "{less}");
        assert_eq!(show(&whole.read()), "OK", "{less}");
    }
}

#[test]
fn who_waits_for_what_will_never_be_safe_is_told() {
    for (become_unsafe, text) in [
        ("CONFIG SET appendonly no", "slots-migration-durability wants an append only file, and there is none"),
        ("SLAVEOF 127.0.0.1 1", "this server has become a replica"),
    ] {
        let options = Options::codis(1).set("appendonly", "yes");
        let server = Server::start(options.set_words("slots-migration-durability", &["aof", "replicas", "1"]));
        let (mut admin, mut source, mut whole) = (server.client(), server.client(), server.client());
        run(&mut admin, "SET a 1");
        let Reply::Bulk(Some(payload)) = admin.run("DUMP a") else { panic!("a payload") };
        // There is no replica.
        source.send(b"SLOTSRESTORE-ASYNC string k 0 v\r\n").expect("sent");
        let head = format!("*4\r\n$12\r\nSLOTSRESTORE\r\n$1\r\nw\r\n$1\r\n0\r\n${}\r\n", payload.len());
        whole.send(&[head.as_bytes(), &payload, b"\r\n"].concat()).expect("sent");
        let both = |client: &mut Client| run(client, "DBSIZE") == ":3";
        assert!(tests::wait_until(PATIENCE, || both(&mut admin)));
        run(&mut admin, become_unsafe);
        assert_eq!(show(&source.read()), refused(text), "{become_unsafe}");
        assert!(source.is_ended(), "{become_unsafe}: an original waits until its link is closed");
        assert_eq!(show(&whole.read()), format!("-ERR {text}"), "{become_unsafe}");
        assert_eq!(run(&mut whole, "PING"), "PONG", "{become_unsafe}");
    }
}

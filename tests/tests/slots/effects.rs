//! What commands of slots leave behind besides their replies: logs, files, watchers, events, counters.

use crate::data::{Script, fill, pair, run, show, to, value, values};
use resp::Reply;
use std::fs;
use std::time::Duration;
use tests::{Client, Options, Server, encode, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

fn logging(threads: usize) -> Server {
    Server::start(Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always"))
}

/// The commands of the append only file, each in one line.
fn logged(server: &Server) -> Vec<String> {
    let bytes = fs::read(server.dir().join("appendonly.aof")).expect("the file is there");
    let (mut rest, mut lines) = (&bytes[..], Vec::new());
    while let Ok(Some((Reply::Array(Some(words)), used))) = Reply::decode(rest) {
        lines.push(words.iter().map(show).collect::<Vec<_>>().join(" "));
        rest = &rest[used..];
    }
    assert!(rest.is_empty(), "not a command: {:.100}", rest.escape_ascii().to_string());
    lines
}

#[test]
fn files_and_replicas_hold_what_has_moved_and_what_was_left() {
    for threads in [1, 4] {
        let (source, target) = (logging(threads), logging(threads));
        let replicas = [&source, &target].map(|primary| {
            let replica = Server::start(Options::codis(threads));
            run(&mut replica.client(), &format!("SLAVEOF 127.0.0.1 {}", primary.addr().port()));
            let up = || run(&mut replica.client(), "INFO replication").contains("master_link_status:up");
            assert!(wait_until(PATIENCE, up));
            replica
        });
        let mut from = source.client();
        let keys = fill(&mut from);
        for line in ["SADD S 1 2 3 4 5 6", "SET gone 1", "MSET stays 1 {stays}2 2"] {
            run(&mut from, line);
        }
        for (n, key) in keys.iter().enumerate() {
            let command = ["SLOTSMGRTONE", "SLOTSMGRTTAGONE", "SLOTSMGRTONE-ASYNC", "SLOTSMGRTTAGONE-ASYNC"][n % 4];
            let rest = if n % 4 < 2 { format!("60000 {key}") } else { format!("60000 30 0 {key}") };
            let reply = run(&mut from, &to(&target, command, &rest));
            assert!(reply.starts_with(':'), "{key}: {reply}");
        }
        // What chance decided is logged as what it was.
        assert!(run(&mut from, "SLOTSMGRT-EXEC-WRAPPER S SPOP S 2").starts_with("[:2 ["));
        run(&mut from, "SLOTSMGRT-EXEC-WRAPPER S EXPIRE S 600");
        let slot = run(&mut from, "SLOTSHASHKEY gone").trim_matches(['[', ']', ':']).to_owned();
        run(&mut from, &format!("SLOTSDEL {slot} 7 {slot}"));
        let lines = logged(&source);
        for part in ["SREM S ", "PEXPIREAT S "] {
            assert!(lines.iter().any(|line| line.starts_with(part)), "no {part} in {lines:.2000?}");
        }
        assert!(lines.contains(&format!("SLOTSDEL {slot} 7 {slot}")), "{lines:.2000?}");
        for line in lines.iter().chain(&logged(&target)) {
            let relative = ["EXPIRE ", "PEXPIRE ", "SPOP ", "SLOTSMGRT", "SLOTSRESTORE"];
            assert!(!relative.iter().any(|word| line.starts_with(word)), "logged: {line:.200}");
        }
        let digest = |server: &Server| run(&mut server.client(), "DEBUG DIGEST");
        for (primary, replica) in [source, target].into_iter().zip(&replicas) {
            let there = digest(&primary);
            assert!(wait_until(PATIENCE, || digest(replica) == there), "the replica holds something else");
            let ttl =
                |server: &Server| run(&mut server.client(), "PTTL bighash")[1..].parse::<i64>().expect("a number");
            let before = ttl(&primary);
            let again = primary.crash().start_again();
            assert_eq!(digest(&again), there, "the file holds something else");
            assert!(ttl(&again) <= before, "a restart gives a key time");
        }
    }
}

#[test]
fn a_file_of_an_original_is_read() {
    let score = 1.5f64.to_le_bytes();
    let set = b"\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00\x07\x00\x90K\xedB<!\xf54";
    let mut file = Vec::new();
    for line in [
        "SELECT 0",
        "SET k old",
        "MSET a 1 x{a} 2 b 3",
        "SLOTSRESTORE-ASYNC delete k",
        "SLOTSRESTORE-ASYNC string k 599669 v",
        "SLOTSRESTORE-ASYNC list L 3000 8 a b c d",
        "SLOTSRESTORE-ASYNC list L 3000 8 e f g h",
        "SLOTSRESTORE-ASYNC list L 3000 8",
        "SLOTSRESTORE-ASYNC expire L 0",
        "SLOTSRESTORE-ASYNC hash H 3000 2 f 1 g 2",
        "SLOTSRESTORE-ASYNC expire H 500000",
        // A replica that differs refuses what its primary has taken; it goes on.
        "SLOTSRESTORE-ASYNC string k 0 other",
        "SLOTSRESTORE-ASYNC expire nokey 0",
        "SLOTSDEL 579 7",
    ] {
        encode(&line.split(' ').collect::<Vec<_>>(), &mut file);
    }
    encode(&[&b"SLOTSRESTORE-ASYNC"[..], b"zset", b"Z", b"3000", b"1", b"m", &score], &mut file);
    encode(&[&b"SLOTSRESTORE-ASYNC"[..], b"expire", b"Z", b"0"], &mut file);
    encode(&[&b"SLOTSRESTORE"[..], b"s1", b"0", set, b"s2", b"600000", set], &mut file);
    // A rewritten file ends somewhere; what goes on in it began before.
    encode(&["RPUSH", "half", "a"], &mut file);
    encode(&["PEXPIRE", "half", "600000"], &mut file);
    encode(&["SLOTSRESTORE-ASYNC", "list", "half", "600000", "2", "b"], &mut file);
    encode(&["SLOTSRESTORE-ASYNC", "expire", "half", "0"], &mut file);
    let server = logging(1);
    let path = server.dir().join("appendonly.aof");
    let ended = server.crash();
    fs::write(path, file).expect("the file can be written");
    let server = ended.start_again();
    let mut client = server.client();
    for (key, expected) in [
        ("k", "string embstr true v"),
        ("L", "list quicklist false a b c d e f g h"),
        ("H", "hash hashtable true f=1 g=2"),
        ("Z", "zset skiplist false m 1.5"),
        ("s1", "set intset false 1 2"),
        ("s2", "set intset true 1 2"),
        ("half", "list quicklist false a b"),
        ("b", "string int false 3"),
        ("a", ""),
    ] {
        assert_eq!(value(&mut client, key), expected, "{key}");
    }
    assert_eq!(run(&mut client, "DBSIZE"), ":8");
}

fn changes(client: &mut Client) -> i64 {
    client.persistence("rdb_changes_since_last_save").parse().expect("a number")
}

#[test]
fn watchers_are_told_and_listeners_are_not() {
    let (source, target) = pair(4);
    let (mut from, mut there) = (source.client(), target.client());
    let listen = |server: &Server| {
        let mut client = server.client();
        run(&mut client, "CONFIG SET notify-keyspace-events KEA");
        run(&mut client, "PSUBSCRIBE *");
        client
    };
    for (n, command) in ["SLOTSMGRTONE", "SLOTSMGRTONE-ASYNC", "SLOTSDEL"].into_iter().enumerate() {
        let key = format!("k{n}");
        run(&mut from, &format!("RPUSH {key} a b c d e f"));
        let (mut listener, mut listener_there) = (listen(&source), listen(&target));
        for client in [&mut from, &mut there] {
            run(client, &format!("WATCH {key}"));
        }
        let before = (changes(&mut source.client()), changes(&mut target.client()));
        let mut mover = source.client();
        let reply = match command {
            "SLOTSMGRTONE" => run(&mut mover, &to(&target, command, &format!("5000 {key}"))),
            "SLOTSMGRTONE-ASYNC" => run(&mut mover, &to(&target, command, &format!("5000 2 0 {key}"))),
            _ => {
                let slot = run(&mut mover, &format!("SLOTSHASHKEY {key}"));
                run(&mut mover, &format!("SLOTSDEL {}", slot.trim_matches(['[', ']', ':'])))
            }
        };
        assert!(!reply.starts_with('-'), "{reply}");
        assert_eq!(run(&mut source.client(), &format!("EXISTS {key}")), ":0");
        let after = (changes(&mut source.client()), changes(&mut target.client()));
        assert!(after.0 > before.0, "{command}: the source counts no change");
        let moves = command != "SLOTSDEL";
        assert_eq!(after.1 > before.1, moves, "{command}: changes at the target");
        for (client, touched) in [(&mut from, true), (&mut there, moves)] {
            run(client, "MULTI");
            run(client, "PING");
            assert_eq!(run(client, "EXEC"), if touched { "(nil)" } else { "[PONG]" }, "{command}");
        }
        // The first message that either hears is this one.
        for (server, listener) in [(&source, &mut listener), (&target, &mut listener_there)] {
            run(&mut server.client(), "PUBLISH marker here");
            assert_eq!(show(&listener.read()), "[pmessage * marker here]", "{command}");
        }
    }
}

#[test]
fn nothing_that_waits_is_queued_in_a_transaction_or_runs_in_a_script() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "SET k v");
    let refused = "-ERR keys can't be migrated from a script or a transaction";
    for line in [target.to("SLOTSMGRTONE-ASYNC", "5000 0 0 k"), target.to("SLOTSMGRTONE", "5000 k")] {
        run(&mut from, "MULTI");
        run(&mut from, &line);
        run(&mut from, "APPEND k w");
        let replies = run(&mut from, "EXEC");
        assert!(replies.starts_with(&format!("[{refused} :")), "{replies}");
    }
    let script = |words: &str| format!("EVAL return(redis.call({words})) 0");
    let reply = run(&mut from, &script("'slotsmgrtone-async','127.0.0.1','1','0','0','0','k'"));
    assert!(reply.contains("This Redis command is not allowed from scripts"), "{reply}");
    let reply = run(&mut from, &script("'slotsmgrtone','127.0.0.1','1','0','k'"));
    assert!(reply.contains("keys can't be migrated from a script"), "{reply}");
    // These are allowed.
    assert_eq!(run(&mut from, &script("'slotsmgrt-async-cancel'")), ":0");
    assert_eq!(run(&mut from, &script("'slotsmgrt-exec-wrapper','k','strlen','k'")), "[:2 :3]");
    assert_eq!(run(&mut from, "GET k"), "vww");
}

#[test]
fn the_wrapper_runs_what_it_wraps_as_if_it_stood_alone() {
    let server = Server::start(Options::codis(4));
    let mut client = server.client();
    for line in ["SET k v", "DEBUG SET-ACTIVE-EXPIRE 0", "PSETEX due 1 v"] {
        run(&mut client, line);
    }
    std::thread::sleep(Duration::from_millis(10));
    let gone = "[:0 -ERR the specified key doesn't exist]";
    assert_eq!(run(&mut client, "SLOTSMGRT-EXEC-WRAPPER due GET due"), gone);
    assert_eq!(run(&mut client, "DBSIZE"), ":1");
    assert_eq!(run(&mut client, "SLOTSMGRT-EXEC-WRAPPER k SLOTSMGRT-EXEC-WRAPPER k APPEND k w"), "[:2 [:2 :2]]");
    assert_eq!(run(&mut client, "slotsmgrt-exec-wrapper k set other{k} 1"), "[:2 OK]");
    assert_eq!(run(&mut client, "SLOTSMGRT-EXEC-WRAPPER k BLPOP nokey 0"), "[:2 (nil)]");
    let refused = run(&mut client, "SLOTSMGRT-EXEC-WRAPPER k MULTI");
    assert!(refused.starts_with("[:-1 -ERR "), "{refused}");
    assert_eq!(run(&mut client, "EXEC"), "-ERR EXEC without MULTI");
    // Only a command that needs memory is refused for want of it.
    run(&mut client, "CONFIG SET maxmemory 1");
    assert_eq!(run(&mut client, "SLOTSMGRT-EXEC-WRAPPER k GET k"), "[:2 vw]");
    let full = run(&mut client, "SLOTSMGRT-EXEC-WRAPPER k APPEND k x");
    assert!(full.contains("OOM command not allowed"), "{full}");
    assert_eq!(run(&mut client, "SLOTSMGRT-EXEC-WRAPPER k DEL k"), "[:2 :1]");
}

#[test]
fn a_replica_answers_what_reads_and_refuses_what_writes() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    run(&mut client, "SET a 1");
    run(&mut client, "SLAVEOF 127.0.0.1 1");
    let refused = "-READONLY You can't write against a read only slave.";
    for line in [
        "SLOTSDEL 579",
        "SLOTSMGRTONE h 1 1 a",
        "SLOTSMGRTTAGSLOT h 1 1 579",
        "SLOTSMGRTONE-ASYNC h 1 1 1 1 a",
        "SLOTSMGRTTAGSLOT-ASYNC h 1 1 1 1 579 1",
        "SLOTSMGRT-EXEC-WRAPPER a GET a",
        "SLOTSRESTORE a 0 x",
    ] {
        assert_eq!(run(&mut client, line), refused, "{line}");
    }
    for (line, reply) in [
        ("SLOTSINFO", "[[:579 :1]]"),
        ("SLOTSSCAN 579 0", "[0 [a]]"),
        ("SLOTSHASHKEY a", "[:579]"),
        ("SLOTSCHECK", "OK"),
        ("SLOTSMGRT-ASYNC-FENCE", "OK"),
        ("SLOTSMGRT-ASYNC-STATUS", "(nil)"),
        ("SLOTSMGRT-ASYNC-CANCEL", ":0"),
        ("SLOTSRESTORE-ASYNC-SELECT 0", "[SLOTSRESTORE-ASYNC-ACK 0 OK parts many ends]"),
        ("SLOTSMGRTONE-ASYNC-DUMP 0 0 a", "[[SLOTSRESTORE-ASYNC delete a] [SLOTSRESTORE-ASYNC string a 0 1]]"),
    ] {
        assert_eq!(run(&mut client, line), reply, "{line}");
    }
}

#[test]
fn a_check_removes_nothing_and_finds_no_fault_with_keys_that_are_due() {
    let server = Server::start(Options::codis(4));
    let mut client = server.client();
    let keys = fill(&mut client);
    let before = values(&mut client, &keys);
    run(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0");
    run(&mut client, "PSETEX due{t} 1 v");
    std::thread::sleep(Duration::from_millis(10));
    for _ in 0..2 {
        assert_eq!(run(&mut client, "SLOTSCHECK"), "OK");
    }
    assert_eq!(run(&mut client, "DBSIZE"), format!(":{}", keys.len() + 1));
    assert_eq!(values(&mut client, &keys), before);
}

#[test]
fn what_a_dashboard_sends_is_answered_as_it_expects() {
    let source = Server::start(Options::codis(4).config("maxmemory 0\n"));
    let (target, other) = (Server::start(Options::codis(1)), Server::start(Options::codis(1)));
    let mut client = source.client();
    run(&mut client, "SELECT 3");
    run(&mut client, "MSET {a}1 1 {a}2 2");
    run(&mut client, "SELECT 0");
    assert_eq!(run(&mut client, "SLOTSINFO"), "[]");
    // Two numbers, of which the second is what is left; then the next database that has keys.
    assert_eq!(run(&mut client, &to(&target, "SLOTSMGRTTAGSLOT-ASYNC", "5000 200 33554432 579 500")), "[:0 :0]");
    assert_eq!(run(&mut client, &to(&target, "SLOTSMGRTTAGSLOT", "30000 579")), "[:0 :0]");
    assert!(run(&mut client, "INFO keyspace").contains("db3:keys=2,"));
    run(&mut client, "SELECT 3");
    assert_eq!(run(&mut client, &to(&target, "SLOTSMGRTTAGSLOT-ASYNC", "5000 200 33554432 579 500")), "[:2 :0]");
    // A change of the primary ends all other clients, and waits for nobody.
    let mut bystander = source.client();
    for line in [
        "MULTI",
        "CONFIG SET masterauth x",
        &format!("SLAVEOF 127.0.0.1 {}", other.addr().port()),
        "CONFIG REWRITE",
        "CLIENT KILL TYPE normal",
    ] {
        let reply = run(&mut client, line);
        assert!(["OK", "QUEUED"].contains(&reply.as_str()), "{line}: {reply}");
    }
    let replies = run(&mut client, "EXEC");
    assert!(replies.starts_with("[OK OK OK :"), "{replies}");
    assert!(bystander.is_ended());
}

//! Servers that send keys to themselves under another name, and two that send the same keys to each other.

use crate::data::{Caller, Script, run, show, to};
use resp::Reply;
use tests::{Client, Options, Relay, Server};

/// Every way of moving the key `k{t}`.
fn ways() -> [(&'static str, &'static str); 6] {
    let slot = "60000 0 0 680 100";
    [
        ("SLOTSMGRTONE", "60000 k{t}"),
        ("SLOTSMGRTTAGONE", "60000 k{t}"),
        ("SLOTSMGRTTAGSLOT", "60000 680"),
        ("SLOTSMGRTONE-ASYNC", "60000 0 0 k{t} l{t}"),
        ("SLOTSMGRTTAGONE-ASYNC", "60000 0 0 k{t}"),
        ("SLOTSMGRTTAGSLOT-ASYNC", slot),
    ]
}

#[test]
fn a_transaction_or_a_script_that_brings_keys_while_others_leave_finds_their_slots() {
    let (server, target) = (Server::start(Options::codis(4)), Script::new());
    let mut other = server.client();
    run(&mut other, "MSET leaves 1 model v");
    let Reply::Bulk(Some(payload)) = other.run("DUMP model") else { panic!("a payload") };
    let mut from = server.client();
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 4 0 leaves")).as_bytes()).expect("sent");
    let mut link = target.accept();
    (0..3).for_each(|_| drop(link.line()));
    run(&mut other, "MULTI");
    other.call(&[b"SLOTSRESTORE".as_slice(), b"a", b"0", &payload, b"b", b"0", &payload]);
    assert_eq!(run(&mut other, "EXEC"), "[OK]");
    let script = b"return redis.call('SLOTSRESTORE', 'c', 0, ARGV[1])".as_slice();
    assert_eq!(show(&other.call(&[b"EVAL".as_slice(), script, b"0", &payload])), "OK");
    assert_eq!(run(&mut other, "MGET a b c"), "[v v v]");
}

#[test]
fn a_server_that_sends_keys_to_itself_keeps_them() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let relay = Relay::to(server.addr());
        let mut client = server.client();
        assert_eq!(run(&mut client, "SLOTSHASHKEY {t}"), "[:680]");
        run(&mut client, "SET k{t} precious");
        run(&mut client, "RPUSH l{t} a b");
        for db in [0, 3] {
            if db == 3 {
                run(&mut client, "MOVE k{t} 3");
                run(&mut client, "MOVE l{t} 3");
                run(&mut client, "SELECT 3");
            }
            for (command, rest) in ways() {
                let reply = run(&mut client, &format!("{command} 127.0.0.1 {} {rest}", relay.addr().port()));
                assert!(reply.starts_with('-'), "{command}: {reply}");
                assert_eq!(run(&mut client, "GET k{t}"), "precious", "{command}: {reply}");
                assert_eq!(run(&mut client, "LRANGE l{t} 0 -1"), "[a b]", "{command}: {reply}");
            }
        }
    }
}

/// Begins to send `k{t}`, to a target that takes it and says nothing.
fn leaving(server: &Server, target: &Script, command: &str, rest: &str) -> (Client, Caller) {
    let mut from = server.client();
    from.send(format!("{}\r\n", target.to(command, rest)).as_bytes()).expect("sent");
    let mut link = target.accept();
    while !link.line().contains("k{t} 0 ") {}
    (from, link)
}

#[test]
fn a_key_that_leaves_is_neither_replaced_nor_removed_by_another_source() {
    for (command, rest) in [("SLOTSMGRTONE", "60000 k{t}"), ("SLOTSMGRTONE-ASYNC", "60000 0 0 k{t}")] {
        let (server, other, target) =
            (Server::start(Options::codis(1)), Server::start(Options::codis(1)), Script::new());
        let mut there = other.client();
        run(&mut server.client(), "SET k{t} here");
        let (mut from, mut link) = leaving(&server, &target, command, rest);
        for (theirs, rest) in ways() {
            run(&mut there, "MSET k{t} there l{t} there");
            let reply = run(&mut there, &to(&server, theirs, rest));
            assert!(reply.starts_with('-'), "{theirs}: {reply}");
            assert_eq!(run(&mut there, "GET k{t}"), "there", "{theirs}: {reply}");
            assert_eq!(run(&mut server.client(), "GET k{t}"), "here", "{theirs}: {reply}");
        }
        if command == "SLOTSMGRTONE" {
            link.send(b"+OK\r\n+OK\r\n");
        } else {
            (0..3).for_each(|_| link.ack("0", "1"));
        }
        assert_eq!(show(&from.read()), ":1");
    }
}

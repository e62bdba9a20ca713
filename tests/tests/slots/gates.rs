//! What stands before every command of slots, as before any other: its arity, a password, memory, replicas, a role.

use crate::data::{run, show};
use tests::{Client, NOBODYS_PORT, Options, Server};

/// A request of each command that is whole, whether it writes, and whether its refusal is an acknowledgement that ends the
/// connection.
const REQUESTS: &[(&str, bool, bool)] = &[
    ("SLOTSINFO", false, false),
    ("SLOTSSCAN 579 0", false, false),
    ("SLOTSHASHKEY a", false, false),
    ("SLOTSCHECK", false, false),
    ("SLOTSMGRT-ASYNC-FENCE", false, false),
    ("SLOTSMGRT-ASYNC-CANCEL", false, false),
    ("SLOTSMGRT-ASYNC-STATUS", false, false),
    ("SLOTSMGRTONE-ASYNC-DUMP 0 0 nokey", false, false),
    ("SLOTSMGRTTAGONE-ASYNC-DUMP 0 0 nokey", false, false),
    ("SLOTSRESTORE-ASYNC-SELECT 0", false, true),
    ("SLOTSDEL 5", true, false),
    ("SLOTSMGRTONE h 1 1 a", true, false),
    ("SLOTSMGRTTAGONE h 1 1 a", true, false),
    ("SLOTSMGRTSLOT h 1 1 579", true, false),
    ("SLOTSMGRTTAGSLOT h 1 1 579", true, false),
    ("SLOTSMGRTONE-ASYNC h 1 1 1 1 a", true, false),
    ("SLOTSMGRTTAGONE-ASYNC h 1 1 1 1 a", true, false),
    ("SLOTSMGRTSLOT-ASYNC h 1 1 1 1 579 1", true, false),
    ("SLOTSMGRTTAGSLOT-ASYNC h 1 1 1 1 579 1", true, false),
    ("SLOTSMGRT-EXEC-WRAPPER a GET a", true, false),
    ("SLOTSRESTORE b 0 x", true, false),
    ("SLOTSRESTORE-ASYNC delete b", true, true),
    ("SLOTSRESTORE-ASYNC-ACK 0 OK", true, false),
];

/// The reply to a request, over a connection of its own, which goes on or ends as it is to.
fn ask(server: &Server, line: &str, is_message: bool) -> String {
    let mut client = server.client();
    let reply = run(&mut client, line);
    match reply.strip_prefix("[SLOTSRESTORE-ASYNC-ACK -1 ").and_then(|rest| rest.strip_suffix(']')) {
        Some(text) => {
            assert!(is_message && client.is_ended(), "{line}: {reply}");
            format!("-{text}")
        }
        None => reply,
    }
}

fn refuses(server: &Server, text: &str, what: impl Fn(bool) -> bool) {
    for &(line, writes, is_message) in REQUESTS.iter().filter(|(_, writes, _)| what(*writes)) {
        assert_eq!(ask(server, line, is_message), text, "{line}, which writes: {writes}");
    }
}

fn serves(server: &Server, text: &str, what: impl Fn(bool) -> bool) {
    for &(line, writes, is_message) in REQUESTS.iter().filter(|(_, writes, _)| what(*writes)) {
        assert_ne!(ask(server, line, is_message), text, "{line}, which writes: {writes}");
    }
}

#[test]
fn too_few_and_too_many_arguments_are_told_in_the_words_of_any_command() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    // A number of arguments is exact if it is above zero; with the least that a command takes, one less is too few.
    for (name, arity) in [
        ("slotsscan", -3),
        ("slotsdel", -2),
        ("slotsmgrtslot", 5),
        ("slotsmgrttagslot", 5),
        ("slotsmgrtone", 5),
        ("slotsmgrttagone", 5),
        ("slotsrestore", -4),
        ("slotsmgrtslot-async", 8),
        ("slotsmgrttagslot-async", 8),
        ("slotsmgrtone-async", -7),
        ("slotsmgrttagone-async", -7),
        ("slotsmgrtone-async-dump", -4),
        ("slotsmgrttagone-async-dump", -4),
        ("slotsmgrt-exec-wrapper", -3),
        ("slotsrestore-async", -2),
        ("slotsrestore-async-auth", 2),
        ("slotsrestore-async-select", 2),
        ("slotsrestore-async-ack", 3),
    ] {
        let text = format!("-ERR wrong number of arguments for '{name}' command");
        let least: i32 = if arity < 0 { -arity } else { arity };
        let mut numbers = vec![1, least - 1];
        numbers.extend((arity > 0).then_some(least + 1));
        for number in numbers {
            let line = format!("{}{}", name.to_uppercase(), " 1".repeat(number as usize - 1));
            assert_eq!(run(&mut client, &line), text, "{line}");
        }
    }
    // These take whatever comes.
    for (line, reply) in [
        ("SLOTSCHECK 1 2 3", "OK"),
        ("SLOTSMGRT-ASYNC-FENCE 1 2 3", "OK"),
        ("SLOTSMGRT-ASYNC-CANCEL 1 2 3", ":0"),
        ("SLOTSMGRT-ASYNC-STATUS 1 2 3", "(nil)"),
    ] {
        assert_eq!(run(&mut client, line), reply, "{line}");
    }
    // As many as the original has besides Redis's own.
    assert_eq!(run(&mut client, "COMMAND COUNT"), ":200");
}

#[test]
fn nothing_but_a_password_is_taken_before_it() {
    let server = Server::start(Options::codis(1).set("requirepass", "secret"));
    refuses(&server, "-NOAUTH Authentication required.", |_| true);
    let mut client = server.client();
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC-AUTH secret"), "[SLOTSRESTORE-ASYNC-ACK 0 OK]");
    assert_eq!(run(&mut client, "SLOTSINFO"), "[]");
    // Who had it right loses it by a wrong one.
    let mut client = server.client();
    client.send(b"SLOTSRESTORE-ASYNC-AUTH secret\r\nSLOTSRESTORE-ASYNC-AUTH wrong\r\nSLOTSINFO\r\n").expect("sent");
    let replies = [client.read(), client.read()].map(|reply| show(&reply));
    assert_eq!(replies, ["[SLOTSRESTORE-ASYNC-ACK 0 OK]", "[SLOTSRESTORE-ASYNC-ACK -1 invalid password]"]);
    assert!(client.is_ended());
}

#[test]
fn a_replica_refuses_what_writes_and_without_its_primary_all_that_is_no_password() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    run(&mut client, "SET a 1");
    run(&mut client, &format!("SLAVEOF 127.0.0.1 {NOBODYS_PORT}"));
    let read_only = "-READONLY You can't write against a read only slave.";
    refuses(&server, read_only, |writes| writes);
    serves(&server, read_only, |writes| !writes);
    run(&mut client, "CONFIG SET slave-serve-stale-data no");
    refuses(&server, read_only, |writes| writes);
    let down = "-MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'.";
    refuses(&server, down, |writes| !writes);
    let reply = run(&mut client, "SLOTSRESTORE-ASYNC-AUTH secret");
    assert_eq!(reply, "[SLOTSRESTORE-ASYNC-ACK -1 Client sent AUTH, but no password is set]");
}

#[test]
fn without_enough_replicas_nothing_is_written() {
    let server = Server::start(Options::codis(1).set("min-slaves-to-write", "1"));
    let text = "-NOREPLICAS Not enough good slaves to write.";
    refuses(&server, text, |writes| writes);
    serves(&server, text, |writes| !writes);
}

#[test]
fn without_memory_nothing_is_taken_that_needs_some() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    run(&mut client, "SET a 1");
    run(&mut client, "CONFIG SET maxmemory 1");
    let text = "-OOM command not allowed when used memory > 'maxmemory'.";
    let needs = |line: &str| {
        ["SLOTSRESTORE b", "SLOTSMGRTONE-ASYNC-DUMP", "SLOTSMGRTTAGONE-ASYNC-DUMP"]
            .iter()
            .any(|known| line.starts_with(known))
    };
    // Keys that leave make room; a target's answer and what it is told to forget need none.
    for &(line, _, is_message) in REQUESTS.iter().filter(|(line, ..)| !line.contains(" h 1 ")) {
        assert_eq!(ask(&server, line, is_message) == text, needs(line), "{line}");
    }
    for line in ["SLOTSRESTORE-ASYNC string b 0 v", "SLOTSRESTORE-ASYNC list b 1000 1 v"] {
        assert_eq!(ask(&server, line, true), text, "{line}");
    }
    assert_eq!(run(&mut client, "SLOTSDEL 579"), "[[:579 :0]]");
}

#[test]
fn who_listens_to_channels_can_say_nothing_of_slots() {
    let server = Server::start(Options::codis(1));
    let mut client: Client = server.client();
    run(&mut client, "SUBSCRIBE channel");
    for (line, ..) in REQUESTS.iter().filter(|(_, _, is_message)| !is_message) {
        let reply = run(&mut client, line);
        assert!(reply.starts_with("-ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE"), "{line}: {reply}");
    }
}

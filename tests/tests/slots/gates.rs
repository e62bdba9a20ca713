//! What stands before every command of slots, as before any other: its arity, a password, memory, replicas, a role.

use crate::data::{PATIENCE, run, show};
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use tests::{Client, NOBODYS_PORT, Options, Server, wait_until};

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
    ask_at(server.addr(), line, is_message)
}

fn ask_at(server: SocketAddr, line: &str, is_message: bool) -> String {
    let mut client = Client::connect(server).expect("it listens");
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

#[test]
fn while_a_file_is_loaded_nothing_is_served_that_needs_keys() {
    let server = Server::start(Options::codis(2));
    let mut client = server.client();
    run(&mut client, "DEBUG POPULATE 50000");
    run(&mut client, "SAVE");
    let (addr, dump) = (server.addr(), server.dir().join("dump.rdb"));
    let crashed = server.crash();
    // The file comes through a pipe, so that loading lasts as long as it is to last.
    let bytes = fs::read(&dump).expect("saved");
    fs::remove_file(&dump).expect("removed");
    assert!(Command::new("mkfifo").arg(&dump).status().expect("mkfifo runs").success());
    thread::scope(|scope| {
        // The server ends with the thread that starts it.
        let feeder = scope.spawn(|| {
            let mut pipe = File::options().write(true).open(&dump).expect("opened by the server");
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            pipe.write_all(first).expect("read by the server");
            let text = "-LOADING Redis is loading the dataset in memory";
            for &(line, _, is_message) in REQUESTS {
                let greets = line.starts_with("SLOTSRESTORE-ASYNC-SELECT");
                assert_eq!(ask_at(addr, line, is_message) == text, !greets, "{line}");
            }
            let reply = ask_at(addr, "SLOTSRESTORE-ASYNC-AUTH secret", true);
            assert_eq!(reply, "-Client sent AUTH, but no password is set");
            pipe.write_all(rest).expect("read by the server");
        });
        let server = crashed.start_again();
        feeder.join().expect("fed");
        assert_eq!(run(&mut server.client(), "DBSIZE"), ":50000");
    });
}

#[test]
fn after_a_save_that_has_failed_nothing_is_written() {
    let server = Server::start(Options::codis(1).set_words("save", &["3600", "1000000"]));
    let mut client = server.client();
    // The file cannot take its name.
    fs::create_dir_all(server.dir().join("dump.rdb").join("in the way")).expect("made");
    run(&mut client, "SET a 1");
    run(&mut client, "BGSAVE");
    let has_failed = |client: &mut Client| client.persistence("rdb_last_bgsave_status") == "err";
    assert!(wait_until(PATIENCE, || has_failed(&mut client)));
    let text = "-MISCONF Redis is configured to save RDB snapshots, but is currently not able to persist on disk. Commands \
                that may modify the data set are disabled. Please check Redis logs for details about the error.";
    refuses(&server, text, |writes| writes);
    serves(&server, text, |writes| !writes);
    assert_eq!(run(&mut client, "GET a"), "1");
}

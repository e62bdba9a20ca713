//! Sources whose role changes while keys are on their way: from then on the new primary moves them, so that nothing is
//! taken back from the target. Sources that are paused before, and batches that have not begun.

use crate::data::{Caller, PATIENCE, Script, run, show};
use tests::{Client, NOBODYS_PORT, Options, Server, encode, wait_until};

const DEMOTED: &str = "-ERR interrupted: this server has become a replica";
const READ_ONLY: &str = "-READONLY You can't write against a read only slave.";

fn begin(server: &Server, target: &Script, command: &str, rest: &str) -> (Client, Caller) {
    let mut from = server.client();
    from.send(format!("{}\r\n", target.to(command, rest)).as_bytes()).expect("sent");
    (from, target.accept())
}

/// Changes of roles, and whether the server is a replica after them.
fn changes() -> [(Vec<String>, bool); 2] {
    let demote = format!("SLAVEOF 127.0.0.1 {NOBODYS_PORT}");
    [(vec![demote.clone()], true), (vec![demote, "SLAVEOF NO ONE".to_owned()], false)]
}

#[test]
fn a_batch_ends_with_the_sources_role_and_takes_nothing_back() {
    for (threads, (lines, is_replica)) in [1, 4].into_iter().zip(changes()) {
        let (server, target) = (Server::start(Options::codis(threads)), Script::new());
        let mut other = server.client();
        run(&mut other, "MSET k{t} 1 gone{t} 1");
        let (mut from, mut link) = begin(&server, &target, "SLOTSMGRTTAGONE-ASYNC", "60000 0 0 k{t}");
        for line in [
            "SLOTSRESTORE-ASYNC-SELECT 0",
            "SLOTSRESTORE-ASYNC delete k{t}",
            "SLOTSRESTORE-ASYNC string k{t} 0 1",
            "SLOTSRESTORE-ASYNC delete gone{t}",
            "SLOTSRESTORE-ASYNC string gone{t} 0 1",
        ] {
            assert_eq!(link.line(), line);
        }
        lines.iter().for_each(|line| assert_eq!(run(&mut other, line), "OK"));
        if !is_replica {
            // As a stream or an image would have changed it.
            run(&mut other, "EVAL redis.call('del','gone{t}') 0");
        }
        assert_eq!(show(&from.read()), DEMOTED);
        assert_eq!(link.line(), "(closed)");
        assert!(!target.is_called(), "the target was told something more");
        assert_eq!(run(&mut other, "EXISTS k{t}"), ":1");
        assert_eq!(run(&mut other, "SLOTSMGRT-ASYNC-STATUS"), "(nil)");
    }
}

#[test]
fn a_synchronous_command_ends_with_the_sources_role_and_takes_nothing_back() {
    for (threads, (lines, is_replica)) in [1, 4].into_iter().zip(changes()) {
        let (server, target) = (Server::start(Options::codis(threads)), Script::new());
        let mut other = server.client();
        run(&mut other, "MSET k{t} 1 gone{t} 1");
        let (mut from, mut link) = begin(&server, &target, "SLOTSMGRTTAGONE", "60000 k{t}");
        assert_eq!(link.line(), "SELECT 0");
        assert!(link.line().starts_with("SLOTSRESTORE gone{t} "));
        lines.iter().for_each(|line| assert_eq!(run(&mut other, line), "OK"));
        if is_replica {
            run(&mut other, "SLAVEOF NO ONE");
        } else {
            run(&mut other, "EVAL redis.call('del','gone{t}') 0");
        }
        link.send(b"+OK\r\n+OK\r\n");
        assert_eq!(show(&from.read()), READ_ONLY);
        assert_eq!(run(&mut other, "EXISTS k{t}"), ":1");
        // Nothing was sent in between, nor is over another link.
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "60000 k{t}")).as_bytes()).expect("sent");
        let next = link.line();
        assert!(next.starts_with("SLOTSRESTORE k{t} "), "{next}");
        assert!(!target.is_called(), "the target was told something more");
    }
}

#[test]
fn who_waits_for_a_slot_when_the_role_ends_removes_nothing() {
    for (command, rest) in [("SLOTSMGRTONE-ASYNC", "60000 0 0 k{t}"), ("SLOTSMGRTONE", "60000 k{t}")] {
        let (server, target) = (Server::start(Options::codis(1).set("lua-time-limit", "5")), Script::new());
        let (mut other, mut watcher) = (server.client(), server.client());
        run(&mut other, "SET k{t} 1");
        let (mut from, mut link) = begin(&server, &target, command, rest);
        while !link.line().contains(" k{t} 0 ") {}
        // The transaction keeps the slot while the answers come; it ends as a replica.
        let spin = "redis.call('get', 'k{t}') for i = 1, 2e7 do end";
        let mut bytes = Vec::new();
        let nobody = NOBODYS_PORT.to_string();
        for words in [&["MULTI"][..], &["EVAL", spin, "0"], &["SLAVEOF", "127.0.0.1", &nobody], &["EXEC"]] {
            encode(words, &mut bytes);
        }
        other.send(&bytes).expect("sent");
        assert!(wait_until(PATIENCE, || run(&mut watcher, "PING").starts_with("-BUSY")));
        match command {
            "SLOTSMGRTONE" => link.try_send(b"+OK\r\n+OK\r\n"),
            _ => (0..3).for_each(|_| link.try_ack("1")),
        }
        let reply = show(&from.read());
        assert!([DEMOTED, READ_ONLY].contains(&reply.as_str()), "{reply}");
        (0..3).for_each(|_| drop(other.read()));
        assert_eq!(show(&other.read()), "[(nil) OK]");
        assert_eq!(run(&mut other, "EXISTS k{t}"), ":1", "{command}: it was removed");
    }
}

#[test]
fn whoever_lost_its_answer_and_its_role_takes_nothing_back() {
    let (server, target) = (Server::start(Options::codis(1)), Script::new());
    let mut other = server.client();
    run(&mut other, "SET k 1");
    let (mut from, mut link) = begin(&server, &target, "SLOTSMGRTONE", "60000 k");
    assert_eq!(link.line(), "SELECT 0");
    assert!(link.line().starts_with("SLOTSRESTORE k "));
    assert_eq!(run(&mut other, &format!("SLAVEOF 127.0.0.1 {NOBODYS_PORT}")), "OK");
    drop(link);
    assert_eq!(show(&from.read()), "-IOERR error or timeout reading from target");
    assert!(!target.is_called(), "the target was told something more");
}

#[test]
fn a_batch_that_waits_for_its_slot_can_be_canceled() {
    let (server, [first, second]) = (Server::start(Options::codis(1)), [Script::new(), Script::new()]);
    let mut other = server.client();
    run(&mut other, "SET k 1");
    let (mut from, mut link) = begin(&server, &first, "SLOTSMGRTONE", "600000 k");
    assert_eq!(link.line(), "SELECT 0");
    assert!(link.line().starts_with("SLOTSRESTORE k "));
    let (mut waits, _link) = begin(&server, &second, "SLOTSMGRTONE-ASYNC", "600000 0 0 k");
    assert_eq!(
        run(&mut other, "SLOTSMGRT-ASYNC-CANCEL REPORT"),
        "[canceled :1 keys :0 moved :0 kept :0 sent_bytes :0]"
    );
    assert_eq!(show(&waits.read()), "-ERR interrupted: canceled");
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(show(&from.read()), ":1");
}

#[test]
fn nothing_is_removed_while_clients_are_paused() {
    let (server, [target, of_whole]) = (Server::start(Options::codis(1)), [Script::new(), Script::new()]);
    let mut other = server.client();
    run(&mut other, "MSET a 1 b 1");
    let (mut from, mut link) = begin(&server, &target, "SLOTSMGRTONE-ASYNC", "1000 0 0 a");
    for line in ["SLOTSRESTORE-ASYNC-SELECT 0", "SLOTSRESTORE-ASYNC delete a", "SLOTSRESTORE-ASYNC string a 0 1"] {
        assert_eq!(link.line(), line);
    }
    let (mut whole, mut second) = begin(&server, &of_whole, "SLOTSMGRTONE", "1000 b");
    assert_eq!(second.line(), "SELECT 0");
    assert!(second.line().starts_with("SLOTSRESTORE b "));
    assert_eq!(run(&mut other, "CLIENT PAUSE 600000"), "OK");
    (0..3).for_each(|_| link.ack("0", "1"));
    second.send(b"+OK\r\n+OK\r\n");
    // Both have waited for the pause's end for as long as they may.
    assert_eq!(show(&from.read()), "-ERR interrupted: migration timeout");
    // What stays here is to be nowhere else.
    let mut told = of_whole.accept();
    assert_eq!(told.line(), "SELECT 0");
    told.try_send(b"+OK\r\n");
    assert_eq!(told.line(), "DEL b");
    told.try_send(b":1\r\n");
    assert_eq!(show(&whole.read()), "-ERR error on slotsrestore, clients are paused");
}

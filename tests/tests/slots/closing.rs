//! What becomes of keys on their way when their server is told to end: the target is told to forget them, in a bounded time.

use crate::data::{Caller, PATIENCE, Script, run, show};
use resp::Reply;
use tests::{Client, Options, Server, wait_until};

const ENDED: &str = "interrupted: this server is shutting down";

/// Has a key sent to whom this gives, who has been told all of it and has acknowledged nothing.
fn begin(source: &Server, target: &Script) -> (Client, Caller) {
    let mut from = source.client();
    run(&mut from, "SET k v");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 4 0 k")).as_bytes()).expect("sent");
    let mut link = target.accept();
    for line in ["SLOTSRESTORE-ASYNC-SELECT 0", "SLOTSRESTORE-ASYNC delete k", "SLOTSRESTORE-ASYNC string k 0 v"] {
        assert_eq!(link.line(), line);
    }
    (from, link)
}

fn durable(threads: usize) -> Options {
    Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always")
}

/// Has it end in the ways there are.
fn tell_to_end(source: &Server, how: &str) {
    match how {
        "SIGINT" => source.interrupt(),
        _ => source.client().send(format!("{how}\r\n").as_bytes()).expect("sent"),
    }
}

#[test]
fn a_target_forgets_what_stays_at_a_source_that_ends() {
    for (how, threads) in [("SHUTDOWN", 1), ("SHUTDOWN NOSAVE", 4), ("SIGINT", 1), ("SIGINT", 4)] {
        let (mut source, target) = (Server::start(durable(threads)), Script::new());
        let (_from, mut link) = begin(&source, &target);
        tell_to_end(&source, how);
        assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete k", "{how}");
        // Nothing new begins.
        link.acks(&["OK", "0", "1", "1"]);
        assert!(source.wait(PATIENCE).is_some_and(|status| status.success()), "{how}");
        let log = source.log();
        assert!(log.contains("1 batches or commands that move keys are ended before the shutdown"), "{log}");
        assert!(log.contains(ENDED) && !log.contains("may keep"), "{log}");
        let source = source.end().start_again();
        assert_eq!(run(&mut source.client(), "GET k"), "v", "{how}");
    }
}

#[test]
fn a_target_that_says_nothing_is_not_waited_for_for_ever() {
    for (command, how) in [("SLOTSMGRTONE-ASYNC", "SHUTDOWN"), ("SLOTSMGRTONE", "SIGINT"), ("MIGRATE", "SHUTDOWN")] {
        let (mut source, target) = (Server::start(durable(4)), Script::new());
        let mut from = source.client();
        run(&mut from, "SET k v");
        let rest = if command == "SLOTSMGRTONE-ASYNC" { "600000 4 0 k" } else { "600000 k" };
        let line = match command {
            "MIGRATE" => format!("MIGRATE 127.0.0.1 {} k 0 600000", target.port()),
            command => target.to(command, rest),
        };
        from.send(format!("{line}\r\n").as_bytes()).expect("sent");
        let mut link = target.accept();
        (0..2).for_each(|_| drop(link.line()));
        tell_to_end(&source, how);
        assert!(source.wait(PATIENCE).is_some_and(|status| status.success()), "{command}");
        let log = source.log();
        assert!(log.contains("1 batches or commands that move keys are ended before the shutdown"), "{log}");
        assert!(log.contains("may keep"), "{log}");
        let source = source.end().start_again();
        assert_eq!(run(&mut source.client(), "GET k"), "v", "{command}");
    }
}

#[test]
fn copies_that_may_be_the_last_ones_are_not_taken_back() {
    let (mut source, target) = (Server::start(Options::codis(4)), Script::new());
    let (_from, mut link) = begin(&source, &target);
    tell_to_end(&source, "SHUTDOWN NOSAVE");
    assert_eq!(link.line(), "(closed)");
    assert!(source.wait(PATIENCE).is_some_and(|status| status.success()));
    assert!(source.log().contains("1 keys that were sent are not saved here: the target may keep them"));
}

#[test]
fn a_shutdown_that_comes_to_nothing_ends_what_is_under_way_and_keeps_nothing_from_beginning_later() {
    let (source, target) = (Server::start(Options::codis(4)), Script::new());
    let mut other = source.client();
    // A word that is wrong ends nothing.
    let (mut from, mut link) = begin(&source, &target);
    assert_eq!(run(&mut other, "SHUTDOWN NEVER"), "-ERR syntax error");
    // Where the file is to be there is a directory.
    std::fs::create_dir(source.dir().join("a.rdb")).expect("the server's own directory");
    run(&mut other, "CONFIG SET dbfilename a.rdb");
    other.send(b"SHUTDOWN SAVE\r\n").expect("sent");
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete k");
    link.acks(&["OK", "0", "1", "1"]);
    assert_eq!(from.read(), Reply::Error(format!("ERR {ENDED}").into()));
    assert_eq!(show(&other.read()), "-ERR Errors trying to SHUTDOWN. Check logs.");
    let refused = "-ERR this server is shutting down";
    let line = target.to("SLOTSMGRTONE", "60000 nokey");
    assert!(wait_until(PATIENCE, || run(&mut from, &line) != refused));
    let _whole = target.accept();
    let (mut from, mut link) = begin(&source, &target);
    link.acks(&["OK", "0", "1"]);
    assert_eq!(from.read(), Reply::Int(1));
}

//! Keys of a batch that broke off while the target could not be told to forget them: what is deleted meanwhile does not come
//! back when the target does.

use crate::data::{Caller, PATIENCE, Script, run, show};
use resp::Reply;
use tests::{Client, Options, Server, wait_until};

/// Ends every link that is made until the command has failed.
fn away(target: &Script, from: &mut Client, link: Caller) -> Reply {
    drop(link);
    // The source tries to reach it again, once.
    drop(target.accept());
    from.read()
}

/// Sends a command to the source, which answers later.
fn begin(from: &mut Client, target: &Script, command: &str, rest: &str) {
    from.send(format!("{}\r\n", target.to(command, rest)).as_bytes()).expect("sent");
}

/// What the proxy would ask.
fn wrapped(client: &mut Client, line: &str) -> String {
    run(client, &format!("SLOTSMGRT-EXEC-WRAPPER k{{t}} {line}"))
}

const BUSY: &str = "[:1 -ERR the specified key is being migrated]";
const GONE: &str = "[:0 -ERR the specified key doesn't exist]";

/// A source of `k{t}` and `l{t}`, which has sent both to a target that is away.
fn owed() -> (Server, Script, Client) {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "MSET k{t} 1 l{t} 2");
    begin(&mut from, &target, "SLOTSMGRTTAGONE-ASYNC", "20000 0 0 k{t}");
    let mut link = target.accept();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(link.line());
    }
    assert_eq!(seen[1], "SLOTSRESTORE-ASYNC delete k{t}");
    let refused = away(&target, &mut from, link);
    assert_eq!(show(&refused), "-ERR interrupted: connection closed");
    assert!(wait_until(PATIENCE, || run(&mut from, "SLOTSMGRT-ASYNC-STATUS") == "(nil)"));
    (source, target, from)
}

#[test]
fn what_was_deleted_meanwhile_is_deleted_at_the_target_before_the_next_batch() {
    let (_source, target, mut from) = owed();
    assert_eq!(wrapped(&mut from, "DEL k{t}"), "[:2 :1]");
    // Not "ask the target": that may have it still.
    assert_eq!(wrapped(&mut from, "GET k{t}"), BUSY);
    begin(&mut from, &target, "SLOTSMGRTTAGONE-ASYNC", "20000 0 0 k{t}");
    let (mut lines, reply) = target.accept_and_play_along(|| from.read());
    assert_eq!(reply, Reply::Int(1));
    lines.retain(|line| !line.contains("SELECT"));
    // In any order.
    lines[..2].sort();
    let expected = ["delete k{t}", "delete l{t}", "delete l{t}", "string l{t} 0 2"];
    assert_eq!(lines, expected.map(|line| format!("SLOTSRESTORE-ASYNC {line}")));
    assert_eq!(wrapped(&mut from, "GET k{t}"), GONE);
}

#[test]
fn a_slot_is_not_done_with_while_the_target_may_have_more_of_it() {
    for command in ["SLOTSMGRTTAGSLOT-ASYNC", "SLOTSMGRTTAGSLOT"] {
        let (_source, target, mut from) = owed();
        run(&mut from, "DEL k{t} l{t}");
        let slot = run(&mut from, "SLOTSHASHKEY k{t}").trim_matches(['[', ']', ':']).to_owned();
        let rest = if command.ends_with("ASYNC") { format!("20000 0 0 {slot} 10") } else { format!("20000 {slot}") };
        begin(&mut from, &target, command, &rest);
        // Still away: nothing is left here, and that is not said.
        drop(target.accept());
        assert!(show(&from.read()).starts_with("-"), "{command}");
        assert_eq!(wrapped(&mut from, "GET k{t}"), BUSY);
        assert!(wait_until(PATIENCE, || run(&mut from, "SLOTSMGRT-ASYNC-STATUS") == "(nil)"));
        begin(&mut from, &target, command, &rest);
        let (lines, reply) = target.accept_and_play_along(|| from.read());
        assert_eq!(show(&reply), "[:0 :0]", "{command}");
        for key in ["k{t}", "l{t}"] {
            let told = lines.iter().any(|line| (line.contains("DEL") || line.contains("delete")) && line.contains(key));
            assert!(told, "{command}: {key} in {lines:?}");
        }
        assert_eq!(wrapped(&mut from, "GET k{t}"), GONE);
        // Nothing is owed any more.
        begin(&mut from, &target, command, &rest);
        assert_eq!(show(&from.read()), "[:0 :0]");
    }
}

#[test]
fn the_synchronous_commands_owe_as_well() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "MSET k{t} 1 l{t} 2");
    begin(&mut from, &target, "SLOTSMGRTTAGONE", "20000 k{t}");
    let mut link = target.accept();
    while !link.line().starts_with("SLOTSRESTORE ") {}
    let refused = away(&target, &mut from, link);
    assert_eq!(show(&refused), "-IOERR error or timeout reading from target");
    assert_eq!(wrapped(&mut from, "DEL k{t}"), "[:2 :1]");
    assert_eq!(wrapped(&mut from, "GET k{t}"), BUSY);
    // Also for one that is not here, and with it nothing of the others.
    begin(&mut from, &target, "SLOTSMGRTONE", "20000 k{t}");
    let (lines, reply) = target.accept_and_play_along(|| from.read());
    assert_eq!(reply, Reply::Int(0));
    assert!(lines.iter().any(|line| line.starts_with("DEL ") && line.contains("k{t}")), "{lines:?}");
    assert_eq!(wrapped(&mut from, "GET k{t}"), GONE);
    assert_eq!(run(&mut from, "GET l{t}"), "2");
}

#[test]
fn a_slot_that_goes_elsewhere_owes_nothing() {
    let (_source, _target, mut from) = owed();
    run(&mut from, "DEL k{t}");
    let other = Script::new();
    begin(&mut from, &other, "SLOTSMGRTTAGONE-ASYNC", "20000 0 0 l{t}");
    let (lines, reply) = other.accept_and_play_along(|| from.read());
    assert_eq!(reply, Reply::Int(1));
    assert!(!lines.iter().any(|line| line.contains("k{t}")), "{lines:?}");
    assert_eq!(wrapped(&mut from, "GET k{t}"), GONE);
}

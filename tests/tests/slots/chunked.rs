//! SLOTSMGRTONE-ASYNC, -TAGONE-, -SLOT-, -TAGSLOT-ASYNC, FENCE, CANCEL, STATUS, EXEC-WRAPPER, DUMP.

use crate::data::{Caller, PATIENCE, Script, fill, names, pair, run, same, show, to, two_numbers, value, values};
use resp::Reply;
use std::time::Duration;
use tests::{Client, NOBODYS_PORT, Options, Server, wait_until};

#[test]
fn every_type_moves_in_chunks_of_any_size() {
    for (threads, chunks) in [(1, "200 33554432"), (4, "4 0"), (1, "1 1"), (4, "0 0")] {
        let (source, target) = pair(threads);
        let (mut from, mut there) = (source.client(), target.client());
        let keys = fill(&mut from);
        let before = values(&mut from, &keys);
        for key in &keys {
            let reply = run(&mut from, &to(&target, "SLOTSMGRTONE-ASYNC", &format!("60000 {chunks} {key}")));
            assert_eq!(reply, ":1", "{key}");
        }
        assert_eq!(names(&mut from), Vec::<String>::new());
        same(&keys, &values(&mut there, &keys), &before);
        assert_eq!(run(&mut there, "SLOTSCHECK"), "OK");
    }
}

#[test]
fn a_slot_moves_batch_by_batch_and_tags_as_a_whole() {
    let (source, target) = pair(1);
    let mut from = source.client();
    let keys: Vec<String> = (0..100).map(|n| format!("{{a}}{n} v")).collect();
    run(&mut from, &format!("MSET {} a v", keys.join(" ")));
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTSLOT-ASYNC", "60000 0 0 579 7")), "[:7 :94]");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTSLOT-ASYNC", "60000 0 0 579 1")), "[:1 :93]");
    let (mut left, mut calls) = (93, 0);
    while left > 0 {
        let reply = run(&mut from, &to(&target, "SLOTSMGRTTAGSLOT-ASYNC", "60000 0 0 579 1"));
        let [moved, still_left] = two_numbers(&reply);
        left -= moved;
        assert_eq!(still_left, left, "{reply}");
        calls += 1;
    }
    // The untagged key, unless it moved before, and all others at once.
    assert!(calls <= 2, "{calls} calls");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGSLOT-ASYNC", "60000 0 0 579 1")), "[:0 :0]");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE-ASYNC", "60000 0 0 nokey")), ":0");
    assert_eq!(run(&mut target.client(), "DBSIZE"), ":101");
    run(&mut from, "MSET x{t} 1 y{t} 2 z 3");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE-ASYNC", "60000 0 0 nokey{t} z z")), ":3");
}

#[test]
fn a_key_that_is_too_much_for_a_batch_moves_alone() {
    let (source, target) = pair(1);
    let mut from = source.client();
    let elements = "e ".repeat(100);
    for n in 0..5 {
        // Ten messages each, and a batch is to have three, or six at the most.
        run(&mut from, &format!("RPUSH {{a}}big{n} {elements}"));
        (0..4).for_each(|m| drop(run(&mut from, &format!("SET {{a}}{n}{m} v"))));
    }
    let big = "EXISTS {a}big0 {a}big1 {a}big2 {a}big3 {a}big4";
    let (mut left, mut big_left) = (25, 5);
    while left > 0 {
        let reply = run(&mut from, &to(&target, "SLOTSMGRTSLOT-ASYNC", "60000 10 0 579 3"));
        let [moved, still_left] = two_numbers(&reply);
        let still_big = run(&mut from, big)[1..].parse::<i64>().expect("a number");
        assert_eq!(still_left, left - moved);
        assert!(moved > 0 && moved <= 3, "{reply}");
        assert!(still_big == big_left || moved == 1, "{reply} with {} big ones", big_left - still_big);
        (left, big_left) = (still_left, still_big);
    }
}

#[test]
fn arguments_are_checked_in_order() {
    let source = Server::start(Options::codis(1));
    let mut from = source.client();
    for (line, reply) in [
        ("SLOTSMGRTONE-ASYNC h 0 x x x k", "-ERR invalid value of port (0)"),
        ("SLOTSMGRTONE-ASYNC h 65536 x x x k", "-ERR invalid value of port (65536)"),
        ("SLOTSMGRTONE-ASYNC h 01 x x x k", "-ERR invalid value of port (01)"),
        ("SLOTSMGRTONE-ASYNC h 1 -1 x x k", "-ERR invalid value of timeout (-1)"),
        ("SLOTSMGRTONE-ASYNC h 1 1 2147483648 x k", "-ERR invalid value of maxbulks (2147483648)"),
        ("SLOTSMGRTONE-ASYNC h 1 1 1 +1 k", "-ERR invalid value of maxbytes (+1)"),
        ("SLOTSMGRTSLOT-ASYNC h 1 1 1 1 1024 x", "-ERR invalid value of slot (1024)"),
        ("SLOTSMGRTTAGSLOT-ASYNC h 1 1 1 1 1023 x", "-ERR invalid value of numkeys (x)"),
        ("SLOTSMGRTONE-ASYNC h 1 1 1 1", "-ERR wrong number of arguments for 'slotsmgrtone-async' command"),
        ("SLOTSMGRTSLOT-ASYNC h 1 1 1 1 1", "-ERR wrong number of arguments for 'slotsmgrtslot-async' command"),
        ("SLOTSMGRTONE-ASYNC-DUMP x 1 k", "-ERR invalid value of timeout (x)"),
        ("SLOTSMGRTTAGONE-ASYNC-DUMP 1 x k", "-ERR invalid value of maxbulks (x)"),
        ("SLOTSMGRT-LAZY-RELEASE", "-ERR unknown command 'SLOTSMGRT-LAZY-RELEASE'"),
        ("SLOTSMGRT-ASYNC-STATUS", "(nil)"),
        ("SLOTSMGRT-ASYNC-CANCEL", ":0"),
        ("SLOTSMGRT-ASYNC-FENCE any thing", "OK"),
        ("SET k v", "OK"),
    ] {
        assert_eq!(run(&mut from, line), reply, "{line}");
    }
    // A refused link is noticed only when there is something to send.
    let line = |key: &str| format!("SLOTSMGRTONE-ASYNC 127.0.0.1 {NOBODYS_PORT} 60000 0 0 {key}");
    assert_eq!(run(&mut from, &line("nokey")), ":0");
    assert_eq!(run(&mut from, &line("k")), "-ERR interrupted: connection closed");
    let reply = run(&mut from, "SLOTSMGRTONE-ASYNC no.such.host.invalid 1 100 0 0 k");
    assert_eq!(reply, "-ERR create client to no.such.host.invalid:1 failed");
    let own = source.addr().port();
    let reply = run(&mut from, &format!("SLOTSMGRTONE-ASYNC 127.0.0.1 {own} 100 0 0 k"));
    assert!(reply.starts_with("-ERR interrupted: connection closed"), "{reply}");
    assert_eq!(run(&mut from, "GET k"), "v");
}

/// What a good target says to all of a [`halted`] batch.
const SIX: [&str; 6] = ["OK", "0", "4", "8", "8", "1"];

/// A source with a list of eight elements that a script of a target has received and not acknowledged.
fn halted() -> (Server, Script, Client, Caller) {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "RPUSH L8{x} a b c d e f g h");
    run(&mut from, "MSET other{x} 1 free{y} 1");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "20000 4 0 L8{x}")).as_bytes()).expect("sent");
    let mut link = target.accept();
    for line in [
        "SLOTSRESTORE-ASYNC-SELECT 0",
        "SLOTSRESTORE-ASYNC delete L8{x}",
        "SLOTSRESTORE-ASYNC list L8{x} 60000 8 a b c d",
        "SLOTSRESTORE-ASYNC list L8{x} 60000 8 e f g h",
        // The end is found by trying to go on.
        "SLOTSRESTORE-ASYNC list L8{x} 60000 8",
        "SLOTSRESTORE-ASYNC expire L8{x} 0",
    ] {
        assert_eq!(link.line(), line);
    }
    (source, target, from, link)
}

#[test]
fn a_batch_can_be_seen_waited_for_and_refuses_a_second_one() {
    let (source, target, mut from, mut link) = halted();
    let (mut other, mut waiter) = (source.client(), source.client());
    let second = target.to("SLOTSMGRTONE-ASYNC", "60000 0 0 free{y}");
    assert_eq!(run(&mut other, &second), "-ERR the specified DB is being migrated");
    waiter.send(b"SLOTSMGRT-ASYNC-FENCE\r\nPING\r\n").expect("sent");
    let waits = |other: &mut Client| run(other, "SLOTSMGRT-ASYNC-STATUS").contains("sending_msgs 6 blocked_clients 2");
    assert!(wait_until(PATIENCE, || waits(&mut other)));
    let status = run(&mut other, "SLOTSMGRT-ASYNC-STATUS");
    for part in [
        &format!("[host 127.0.0.1 port {} used 1 timeout 20000 lastuse ", target.port())[..],
        "batched_iterator [keys [1 [L8{x}]] timeout 20000 maxbulks 4 maxbytes 524288 estimate_msgs 1 removed_keys 1 ",
        "iterators [0 (nil)] sent_bytes ",
        "left_keys 0 left_bytes 0]]",
    ] {
        assert!(status.contains(part), "{part} in {status}");
    }
    // A target refuses what comes while its own keys leave; it forgets what another source takes back.
    let refused = "[SLOTSRESTORE-ASYNC-ACK -1 the specified DB is being migrated]";
    assert_eq!(run(&mut source.client(), "SLOTSRESTORE-ASYNC string k 0 v"), refused);
    assert_eq!(run(&mut source.client(), "SLOTSRESTORE-ASYNC delete k"), "[SLOTSRESTORE-ASYNC-ACK 0 0]");
    link.acks(&SIX);
    assert_eq!(from.read(), Reply::Int(1));
    assert_eq!(waiter.read(), Reply::Int(1));
    assert_eq!(show(&waiter.read()), "PONG");
    assert_eq!(run(&mut other, "EXISTS L8{x}"), ":0");
    assert!(run(&mut other, "SLOTSMGRT-ASYNC-STATUS").contains("batched_iterator (nil)"));
    // The link is kept for the next batch, which needs no greeting.
    other.send(format!("{second}\r\n").as_bytes()).expect("sent");
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete free{y}");
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC string free{y} 0 1");
    (0..2).for_each(|_| link.ack("0", "1"));
    assert_eq!(other.read(), Reply::Int(1));
    // An idle link is ended by a cancel, and at once nobody sees it any more.
    from.send(b"SLOTSMGRT-ASYNC-CANCEL\r\nSLOTSMGRT-ASYNC-CANCEL\r\nSLOTSMGRT-ASYNC-STATUS\r\n").expect("sent");
    assert_eq!((from.read(), from.read(), from.read()), (Reply::Int(1), Reply::Int(0), Reply::Array(None)));
    assert_eq!(link.line(), "(closed)");
}

#[test]
fn who_is_gone_waits_no_longer_and_the_batch_goes_on() {
    let (source, _target, from, mut link) = halted();
    let (mut other, mut waiter) = (source.client(), source.client());
    let waiting = |other: &mut Client, number: usize| {
        let shown = format!("blocked_clients {number} ");
        wait_until(PATIENCE, || run(other, "SLOTSMGRT-ASYNC-STATUS").contains(&shown))
    };
    waiter.send(b"SLOTSMGRT-ASYNC-FENCE\r\n").expect("sent");
    assert!(waiting(&mut other, 2));
    drop(waiter);
    assert!(waiting(&mut other, 1));
    drop(from);
    assert!(waiting(&mut other, 0));
    let mut late = source.client();
    late.send(b"SLOTSMGRT-ASYNC-FENCE\r\n").expect("sent");
    assert!(waiting(&mut other, 1));
    link.acks(&SIX);
    assert_eq!(late.read(), Reply::Int(1));
    assert_eq!(run(&mut other, "EXISTS L8{x}"), ":0");
}

#[test]
fn the_wrapper_tells_a_proxy_what_to_do() {
    let (source, _target, mut from, mut link) = halted();
    let mut other = source.client();
    let migrated = "[:1 -ERR the specified key is being migrated]";
    for (line, reply) in [
        ("L8{x} LLEN L8{x}", "[:2 :8]"),
        ("L8{x} RPUSH L8{x} i", migrated),
        // Keys of the same tag are held back too, though they are not in the batch.
        ("other{x} SET other{x} 2", migrated),
        ("other{x} GET other{x}", "[:2 1]"),
        ("other{x} PING", migrated),
        ("new{x} SET new{x} 2", "[:0 -ERR the specified key doesn't exist]"),
        ("free{y} SET free{y} 2", "[:2 OK]"),
        ("L8{x} nosuch", "[:-1 -ERR invalid command specified (nosuch)]"),
        ("L8{x} GET", "[:-1 -ERR wrong number of arguments for command (GET)]"),
        ("free{y} LPUSH free{y} x", "[:2 -WRONGTYPE Operation against a key holding the wrong kind of value]"),
    ] {
        assert_eq!(run(&mut other, &format!("SLOTSMGRT-EXEC-WRAPPER {line}")), reply, "{line}");
    }
    let arity = "-ERR wrong number of arguments for 'slotsmgrt-exec-wrapper' command";
    assert_eq!(run(&mut other, "SLOTSMGRT-EXEC-WRAPPER k"), arity);
    // A key that is removed on the way is not yet the target's to answer for.
    assert_eq!(run(&mut other, "EVAL return(redis.call('del','L8{x}')) 0"), ":1");
    assert_eq!(run(&mut other, "SLOTSMGRT-EXEC-WRAPPER L8{x} LLEN L8{x}"), migrated);
    link.acks(&SIX);
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete L8{x}");
    assert_eq!(run(&mut other, "SLOTSMGRT-EXEC-WRAPPER L8{x} LLEN L8{x}"), migrated);
    link.ack("0", "1");
    assert_eq!(from.read(), Reply::Int(0));
    let gone = "[:0 -ERR the specified key doesn't exist]";
    assert_eq!(run(&mut other, "SLOTSMGRT-EXEC-WRAPPER L8{x} LLEN L8{x}"), gone);
}

#[test]
fn a_write_from_a_script_has_the_key_sent_again() {
    let (source, _target, mut from, mut link) = halted();
    let mut other = source.client();
    assert_eq!(run(&mut other, "EVAL return(redis.call('rpush','L8{x}','i')) 0"), ":9");
    link.acks(&SIX);
    for line in [
        "SLOTSRESTORE-ASYNC delete L8{x}",
        "SLOTSRESTORE-ASYNC list L8{x} 60000 9 a b c d",
        "SLOTSRESTORE-ASYNC list L8{x} 60000 9 e f g h",
        "SLOTSRESTORE-ASYNC list L8{x} 60000 9 i",
        "SLOTSRESTORE-ASYNC expire L8{x} 0",
    ] {
        assert_eq!(link.line(), line);
        link.carry_out(line);
    }
    assert_eq!(from.read(), Reply::Int(1));
}

#[test]
fn a_key_that_changed_among_keys_of_other_slots_is_sent_again_and_moves() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    run(&mut from, "MSET a 1 b 1");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 0 0 a b")).as_bytes()).expect("sent");
    let mut link = target.accept();
    (0..5).for_each(|_| drop(link.line()));
    assert_eq!(run(&mut other, "EVAL return(redis.call('incr','b')) 0"), ":2");
    link.acks(&["OK", "0", "1", "0", "1"]);
    for line in ["SLOTSRESTORE-ASYNC delete b", "SLOTSRESTORE-ASYNC string b 0 2"] {
        assert_eq!(link.line(), line);
        link.ack("0", "1");
    }
    assert_eq!(from.read(), Reply::Int(2));
    assert_eq!(run(&mut other, "DBSIZE"), ":0");
}

#[test]
fn flushing_takes_everything_back() {
    let (source, _target, mut from, mut link) = halted();
    let mut other = source.client();
    assert_eq!(run(&mut other, "FLUSHALL"), "OK");
    assert_eq!(run(&mut other, "SET new 1"), "OK");
    link.acks(&SIX);
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete L8{x}");
    link.ack("0", "1");
    assert_eq!(from.read(), Reply::Int(0));
    assert_eq!(names(&mut other), ["new"]);
}

#[test]
fn a_canceled_batch_has_the_target_forget() {
    let (source, target, mut from, mut link) = halted();
    let mut other = source.client();
    assert_eq!(run(&mut other, "SLOTSMGRT-ASYNC-CANCEL"), ":1");
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete L8{x}");
    // Who cancels it once more does not keep the target from forgetting.
    assert_eq!(run(&mut other, "SLOTSMGRT-ASYNC-CANCEL"), ":1");
    (0..7).for_each(|_| link.ack("0", "1"));
    assert_eq!(show(&from.read()), "-ERR interrupted: canceled");
    assert_eq!(link.line(), "(closed)");
    assert!(!target.is_called(), "what the target was told over the old link did not count");
    assert_eq!(run(&mut other, "LLEN L8{x}"), ":8");
    assert_eq!(run(&mut other, "RPUSH L8{x} i"), ":9");
    assert_eq!(run(&mut other, "SLOTSMGRT-ASYNC-STATUS"), "(nil)");
}

#[test]
fn a_cancel_ends_the_batch_at_hand_and_no_later_one() {
    let (source, target) = pair(4);
    let (mut from, mut other) = (source.client(), source.client());
    let line = to(&target, "SLOTSMGRTONE-ASYNC", "60000 2 0 k");
    for n in 0..200 {
        run(&mut from, &format!("RPUSH k {n} a b c"));
        from.send(format!("{line}\r\n").as_bytes()).expect("sent");
        other.send(b"SLOTSMGRT-ASYNC-CANCEL\r\n").expect("sent");
        let canceled = show(&other.read());
        let first = show(&from.read());
        assert!([":0", ":1"].contains(&canceled.as_str()), "{canceled}");
        assert!([":1", "-ERR interrupted: canceled"].contains(&first.as_str()), "{first}");
        let second = run(&mut from, &line);
        assert!(second.starts_with(':'), "after {canceled} and {first}: {second}");
    }
    assert_eq!(run(&mut from, "DBSIZE"), ":0");
}

#[test]
fn a_broken_batch_has_the_target_forget_over_a_new_link() {
    let (source, target, mut from, link) = halted();
    let old = link.addr();
    drop(link);
    let mut again = target.accept();
    assert_eq!(again.line(), "SLOTSRESTORE-ASYNC-SELECT 0");
    again.ack("0", "OK");
    assert_eq!(again.line(), format!("CLIENT KILL {old}"));
    again.send(b"+OK\r\n");
    assert_eq!(again.line(), "SLOTSRESTORE-ASYNC delete L8{x}");
    again.ack("0", "1");
    assert_eq!(show(&from.read()), "-ERR interrupted: connection closed");
    assert_eq!(run(&mut source.client(), "RPUSH L8{x} i"), ":9");
}

#[test]
fn silence_ends_a_batch() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "SET k v");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "300 0 0 k")).as_bytes()).expect("sent");
    let _link = target.accept();
    assert_eq!(show(&from.read()), "-ERR interrupted: migration timeout");
    let mut other = source.client();
    assert!(wait_until(PATIENCE, || run(&mut other, "SLOTSMGRT-ASYNC-STATUS") == "(nil)"));
    assert_eq!(run(&mut other, "APPEND k w"), ":2");
}

#[test]
fn a_direct_write_waits_for_the_end_of_the_batch() {
    let (source, _target, mut from, mut link) = halted();
    let mut other = source.client();
    other.send(b"RPUSH L8{x} i\r\n").expect("sent");
    let waits = other.hears_nothing(Duration::from_millis(200));
    assert!(waits, "the write was answered while the key was on its way");
    let mut reader = source.client();
    assert_eq!(run(&mut reader, "LLEN L8{x}"), ":8");
    link.acks(&SIX);
    assert_eq!(from.read(), Reply::Int(1));
    assert_eq!(other.read(), Reply::Int(1));
}

#[test]
fn messages_can_be_had_without_a_target() {
    let source = Server::start(Options::codis(1));
    let mut client = source.client();
    run(&mut client, "SET str{t} hello");
    run(&mut client, "RPUSH l{t} a b c");
    let string = "[SLOTSRESTORE-ASYNC delete str{t}] [SLOTSRESTORE-ASYNC string str{t} 0 hello]";
    assert_eq!(run(&mut client, "SLOTSMGRTONE-ASYNC-DUMP 5000 2 str{t} str{t}"), format!("[{string}]"));
    assert_eq!(run(&mut client, "SLOTSMGRTONE-ASYNC-DUMP 5000 2 nokey"), "[]");
    let list = "[SLOTSRESTORE-ASYNC delete l{t}] [SLOTSRESTORE-ASYNC list l{t} 15000 3 a b] \
        [SLOTSRESTORE-ASYNC list l{t} 15000 3 c] [SLOTSRESTORE-ASYNC expire l{t} 0]";
    assert_eq!(run(&mut client, "SLOTSMGRTTAGONE-ASYNC-DUMP 5000 2 x{t}"), format!("[{list} {string}]"));
    assert_eq!(value(&mut client, "l{t}"), "list quicklist false a b c");
}

#[test]
fn databases_move_side_by_side() {
    let (source, target) = pair(4);
    let connect = |db: usize| {
        let mut client = source.client();
        run(&mut client, &format!("SELECT {db}"));
        let keys: Vec<String> = (0..500).map(|n| format!("k{n} {db}")).collect();
        run(&mut client, &format!("MSET {}", keys.join(" ")));
        client
    };
    let mut clients: Vec<Client> = (0..4).map(connect).collect();
    // One batch may have keys of many slots, but two batches never share a slot's database.
    let keys: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
    let line = format!("{}\r\n", to(&target, "SLOTSMGRTONE-ASYNC", &format!("60000 0 0 {}", keys.join(" "))));
    clients.iter_mut().for_each(|client| client.send(line.as_bytes()).expect("sent"));
    clients.iter_mut().for_each(|client| assert_eq!(client.read(), Reply::Int(500)));
    let mut there = target.client();
    for db in 0..4 {
        run(&mut there, &format!("SELECT {db}"));
        assert_eq!(run(&mut there, "GET k499"), db.to_string());
    }
}

#[test]
fn a_batch_keeps_to_the_rate_limit() {
    let (source, target) = pair(1);
    let mut from = source.client();
    // At this rate it would take hours: it is still under way when it is let go.
    run(&mut from, "CONFIG SET slots-migration-rate-limit 100");
    let value = "v".repeat(10_000);
    (0..50).for_each(|n| drop(run(&mut from, &format!("SET {{a}}{n} {value}"))));
    from.send(format!("{}\r\n", to(&target, "SLOTSMGRTSLOT-ASYNC", "60000 0 0 579 1000")).as_bytes()).expect("sent");
    let mut other = source.client();
    let status = |client: &mut Client| run(client, "SLOTSMGRT-ASYNC-STATUS");
    assert!(wait_until(PATIENCE, || status(&mut other).contains("keys [50 [")));
    assert!(!status(&mut other).contains("left_keys 0 left_bytes 0]]"));
    run(&mut other, "CONFIG SET slots-migration-rate-limit 0");
    assert_eq!(show(&from.read()), "[:50 :0]");
}

#[test]
fn a_rate_limit_that_is_changed_holds_for_the_batch_under_way() {
    let (source, target) = pair(1);
    let (mut from, mut other) = (source.client(), source.client());
    let value = "v".repeat(10_000);
    (0..2000).for_each(|n| drop(run(&mut from, &format!("SET {{a}}{n} {value}"))));
    // At this rate it takes 40 seconds ..
    run(&mut from, "CONFIG SET slots-migration-rate-limit 500000");
    from.send(format!("{}\r\n", to(&target, "SLOTSMGRTSLOT-ASYNC", "60000 0 0 579 5000")).as_bytes()).expect("sent");
    let sent = |client: &mut Client| {
        let status = run(client, "SLOTSMGRT-ASYNC-STATUS");
        let (_, at) = status.split_once("sent_bytes ")?;
        at.split(' ').next()?.parse::<u64>().ok()
    };
    assert!(wait_until(PATIENCE, || sent(&mut other).is_some_and(|sent| sent > 100_000)));
    // .. at this one it would stand still for ever ..
    run(&mut other, "CONFIG SET slots-migration-rate-limit 1");
    let (mut last, mut same) = (0, 0);
    let stands = wait_until(PATIENCE, || {
        let now = sent(&mut other).expect("the batch went on at the old rate, to its end");
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same == 60
    });
    assert!(stands && last < 20_000_000, "{last} bytes went");
    // .. and at this one it goes on ..
    run(&mut other, "CONFIG SET slots-migration-rate-limit 500000");
    assert!(wait_until(PATIENCE, || sent(&mut other).is_none_or(|sent| sent > last + 100_000)));
    // .. to its end without any.
    run(&mut other, "CONFIG SET slots-migration-rate-limit 0");
    assert_eq!(show(&from.read()), "[:2000 :0]");
}

#[test]
fn many_small_batches_keep_to_it_as_well() {
    let (source, target) = pair(1);
    let mut from = source.client();
    run(&mut from, &format!("MSET a {} b v", "v".repeat(10_000)));
    // What the first one is ahead of the rate takes hours to be paid off.
    run(&mut from, "CONFIG SET slots-migration-rate-limit 1");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE-ASYNC", "60000 0 0 a")), ":1");
    from.send(format!("{}\r\n", to(&target, "SLOTSMGRTONE-ASYNC", "60000 0 0 b")).as_bytes()).expect("sent");
    let mut other = source.client();
    assert!(wait_until(PATIENCE, || run(&mut other, "SLOTSMGRT-ASYNC-STATUS").contains("left_keys 1 ")));
    run(&mut other, "CONFIG SET slots-migration-rate-limit 0");
    assert_eq!(from.read(), Reply::Int(1));
}

#[test]
fn a_key_that_was_begun_comes_to_its_end_however_low_the_rate_is() {
    let (source, target) = pair(1);
    let mut from = source.client();
    run(&mut from, "CONFIG SET slots-migration-rate-limit 1");
    run(&mut from, "RPUSH l a b c");
    // At this rate it would take minutes, and the target keeps it half sent for three timeouts only.
    let line = to(&target, "SLOTSMGRTONE-ASYNC", "400 2 0 l");
    let mut reply = String::new();
    // A machine may stand still for longer than that.
    wait_until(PATIENCE, || {
        reply = run(&mut from, &line);
        reply == ":1"
    });
    assert_eq!(reply, ":1");
    assert_eq!(value(&mut target.client(), "l"), "list quicklist false a b c");
}

#[test]
fn no_chunk_is_larger_than_the_rate_allows_in_the_time_that_its_key_lives() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    run(&mut from, "CONFIG SET slots-migration-rate-limit 100");
    let element = "e".repeat(4000);
    run(&mut from, &format!("RPUSH l {}", [&element[..]; 5].join(" ")));
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 4 0 l")).as_bytes()).expect("sent");
    let mut link = target.accept();
    for (line, text) in [("SLOTSRESTORE-ASYNC-SELECT 0", "OK"), ("SLOTSRESTORE-ASYNC delete l", "0")] {
        assert_eq!(link.line(), line);
        link.ack("0", text);
    }
    // 6000 bytes in a minute; the last element of a chunk may be too much.
    let first = link.line();
    assert_eq!(first, format!("SLOTSRESTORE-ASYNC list l 180000 5 {element} {element}"));
    link.carry_out(&first);
    run(&mut other, "CONFIG SET slots-migration-rate-limit 0");
    let mut line = String::new();
    while line != "SLOTSRESTORE-ASYNC expire l 0" {
        line = link.line();
        link.carry_out(&line);
    }
    assert_eq!(from.read(), Reply::Int(1));
}

#[test]
fn what_is_left_is_no_more_than_there_is() {
    let (source, target) = pair(1);
    let (mut from, mut other) = (source.client(), source.client());
    // The group's first key is far bigger than the others.
    let elements: Vec<String> = (0..20_000).map(|n| format!("element{n}")).collect();
    run(&mut from, &format!("RPUSH A{{a}} {}", elements.join(" ")));
    let small: Vec<String> = (0..500).map(|n| format!("{{a}}{n} v")).collect();
    run(&mut from, &format!("MSET {}", small.join(" ")));
    let bytes =
        |text: &str| text.trim_end_matches(']').rsplit(':').next().and_then(|number| number.parse::<u64>().ok());
    let held = bytes(&run(&mut from, "SLOTSINFO 579 1 BYTES")).expect("a number");
    run(&mut from, "CONFIG SET slots-migration-rate-limit 20000");
    from.send(format!("{}\r\n", to(&target, "SLOTSMGRTTAGONE-ASYNC", "60000 50 0 A{a}")).as_bytes()).expect("sent");
    let mut number = |name: &str| {
        let status = run(&mut other, "SLOTSMGRT-ASYNC-STATUS");
        let at = status.split_once(&format!("{name} "))?.1;
        at.split([' ', ']']).next()?.parse::<u64>().ok()
    };
    assert!(wait_until(Duration::from_secs(30), || number("sent_bytes").is_some_and(|sent| sent > 5000)));
    let left = number("left_bytes").expect("the batch is under way");
    assert!(left > 0 && left < held, "{left} bytes are left of {held}");
    run(&mut other, "SLOTSMGRT-ASYNC-CANCEL");
    assert_eq!(show(&from.read()), "-ERR interrupted: canceled");
}

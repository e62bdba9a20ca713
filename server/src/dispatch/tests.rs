//! The executor beside another owner of slots.

use super::{Executor, Ran, Turn};
use crate::clients::ClientInfo;
use crate::config::Config;
use crate::conn::Client;
use crate::mailbox::Mailbox;
use crate::net::{Net, WAKER};
use crate::node::Node;
use crate::persist::shutdown::keep_promise;
use crate::persist::{self, gate};
use commands::args::Args;
use engine::clock::Now;
use engine::keyspace::{Key, Local};
use engine::oplog::Consumer;
use engine::raw::entry::Value;
use engine::raw::lock::Owner;
use engine::slot::Slot;
use mio::{Poll, Waker};
use resp::{Arg, Out};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

/// A reactor's parts, without a thread.
pub(crate) struct Desk {
    pub(crate) exec: Executor,
    pub(crate) net: Net,
    client: Client,
    out: Out,
}

/// The words of a request, one behind the other, and where each is.
pub(crate) fn laid_out(words: &[&[u8]]) -> (Vec<u8>, Vec<Arg>) {
    let mut start = 0;
    let ranges = words.iter().map(|word| {
        let range = Arg { start, len: word.len() as u32 };
        start += range.len;
        range
    });
    (words.concat(), ranges.collect())
}

impl Desk {
    /// The first of two reactors, so that it never is alone.
    pub(crate) fn new() -> Desk {
        let poll = || Poll::new().expect("a poll");
        let polls = [poll(), poll()];
        let mailbox = |poll: &Poll| Mailbox::new(Waker::new(poll.registry(), WAKER).expect("a waker"));
        let mailboxes = polls.iter().map(mailbox).collect();
        let node: &'static Node =
            Box::leak(Box::new(Node::new(Config::default(), mailboxes, sync_channel(1).0, String::new())));
        let owner = node.locks.register().expect("nobody is alone");
        let [poll, _] = polls;
        Desk {
            exec: Executor::new(node, 0, owner, Local::default()),
            net: Net::new(poll, node, 0, None),
            client: Client::new(ClientInfo::default().into(), true),
            out: Out::new(),
        }
    }

    fn run(&mut self, words: &[&str]) -> Ran {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let (bytes, ranges) = laid_out(&words);
        let args = Args::new(&bytes, &ranges);
        let prepared = self.exec.prepare(&args);
        self.out.clear();
        let Desk { exec, net, client, out } = self;
        exec.run(&mut Turn { net, client, out, now: Now::default(), deferrals: 0 }, args, &prepared)
    }
}

#[test]
fn the_row_of_the_request_before_is_only_taken_for_the_same_name() {
    let mut desk = Desk::new();
    let long = "slotsrestore-async-auth";
    for (name, row) in [
        ("get", Some("get")),
        ("get", Some("get")),
        ("GET", Some("get")),
        ("ge", None),
        ("get", Some("get")),
        ("", None),
        ("set", Some("set")),
        (long, Some(long)),
        ("set", Some("set")),
        ("setx", None),
        ("setx", None),
    ] {
        let args = [Arg { start: 0, len: name.len() as u32 }];
        let prepared = desk.exec.prepare(&Args::new(name.as_bytes(), &args));
        assert_eq!(prepared.row.map(|row| row.spec.name), row, "{name:?}");
    }
}

/// The number in the value of `key`, with the end of the log at that moment, if the key's slot can be had.
fn look(owner: &mut Owner<'static, Slot>, node: &Node, key: &Key<'_>) -> Option<(u64, u64)> {
    let held = owner.try_one(key.slot)?;
    let entry = held.slot(key.slot).db(0)?.find(key.hash, key.bytes)?;
    let Value::Bytes(text) = entry.value() else { return None };
    let number = std::str::from_utf8(text).ok()?.strip_prefix('v')?.parse().ok()?;
    Some((number, node.oplog.end()))
}

#[test]
fn whoever_sees_a_change_finds_it_in_the_log() {
    const WRITES: u64 = 20_000;
    let mut desk = Desk::new();
    let node = desk.exec.node;
    node.oplog.want(Consumer::Aof, true);
    let mut set = |n: u64| {
        let value = format!("v{n:07}");
        while desk.run(&["MSET", "a", &value, "b", &value]) == Ran::PutOff {}
    };
    // All records but the first, which has a SELECT before it, are equally long.
    set(0);
    let first = node.oplog.end();
    set(1);
    let record = node.oplog.end() - first;
    let (a, b) = (Key::new(b"a"), Key::new(b"b"));
    assert_ne!(a.slot, b.slot);
    let (done, looked) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut owner = node.locks.register().expect("nobody is alone");
            while !done.load(Ordering::Relaxed) {
                for key in [&a, &b] {
                    let Some((number, end)) = look(&mut owner, node, key) else { continue };
                    assert!(end >= first + number * record, "write {number} is seen and not logged");
                    looked.store(true, Ordering::Relaxed);
                }
            }
        });
        // Threads may be given their turns late.
        (2..)
            .take_while(|&n| n < WRITES || !looked.load(Ordering::Relaxed) && !looker.is_finished())
            .for_each(&mut set);
        done.store(true, Ordering::Relaxed);
        looker.join().expect("every look found a log that knows what it saw");
    });
}

#[test]
fn a_server_ends_that_has_ended_a_script_for_it_whoever_asked() {
    let mut desk = Desk::new();
    let node = desk.exec.node;
    let stopping = || node.stopping.load(Ordering::SeqCst);
    node.scripts.begin();
    node.scripts.set_busy();
    keep_promise(&mut desk.exec, Now::default());
    assert!(!stopping());
    node.scripts.abandon();
    node.scripts.end();
    keep_promise(&mut desk.exec, Now::default());
    assert!(stopping());
}

#[test]
fn what_has_its_slots_only_after_the_last_save_does_not_run() {
    let mut desk = Desk::new();
    let node = desk.exec.node;
    let Desk { exec: Executor { owner, desk }, client, .. } = &mut desk;
    let mut held = owner.nothing();
    let mut comes_again = |name: &str| {
        let row = node.registry.get(name.as_bytes()).expect("a command");
        desk.must_come_again(&mut held, row, &Args::new(&[], &[]), client, Now::default())
    };
    let late = ["set", "mset", "exec", "eval", "evalsha", "bgsave", "bgrewriteaof", "restore", "slotsrestore", "blpop"];
    assert!(!late.iter().any(|name| comes_again(name)));
    // What was asked before the slots were held has not seen this.
    node.persist.gate.set(gate::STOPPING, true);
    for name in late {
        assert!(comes_again(name), "{name}");
    }
    assert!(!["get", "ping", "wait"].iter().any(|name| comes_again(name)));
}

#[test]
fn what_has_its_slots_only_after_its_client_was_killed_does_not_run() {
    let mut desk = Desk::new();
    assert_eq!(desk.run(&["SET", "k", "v"]), Ran::Done);
    // As another thread does it after this one has looked for the last time.
    desk.client.info.kill();
    for words in [&["DEL", "k"][..], &["SET", "k", "x"], &["FLUSHALL"], &["EVAL", "return redis.call('DEL', 'k')", "0"]]
    {
        assert_eq!(desk.run(words), Ran::PutOff, "{words:?}");
    }
    desk.client = Client::new(ClientInfo::default().into(), true);
    assert_eq!(desk.run(&["GET", "k"]), Ran::Done);
    assert_eq!(desk.out.as_slice(), b"$1\r\nv\r\n");
}

#[test]
fn nothing_expires_or_is_evicted_while_a_file_is_loaded_or_after_the_last_save() {
    let mut desk = Desk::new();
    let node = desk.exec.node;
    let slot = Key::new(b"k").slot;
    for bit in [gate::LOADING, gate::STOPPING] {
        assert_eq!(desk.exec.in_slot(slot, 0, Now::default(), |_| ()), Some(()));
        node.persist.gate.set(bit, true);
        assert_eq!(desk.exec.in_slot(slot, 0, Now::default(), |_| ()), None);
        node.persist.gate.set(bit, false);
    }
}

#[test]
fn no_save_begins_after_the_last_one() {
    let mut desk = Desk::new();
    let node = desk.exec.node;
    node.persist.state().save_scheduled = true;
    node.persist.gate.set(gate::STOPPING, true);
    persist::tick(&mut desk.exec, Now::default());
    assert!(node.persist.state().job().is_none());
}

//! The latency monitor is told of what is slow, under the names of Redis 3.2, and of nothing that was not done.
//!
//! What takes microseconds cannot be made slow from outside, but the whole process can be made to stand still in the middle
//! of it: it is stopped at random moments while it does the same over and over, until every step was met. What is done
//! too seldom for that is only seen not to be told of elsewhere.

#![forbid(unsafe_code)]

use resp::Reply;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tests::{Client, Options, Random, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than `latency-monitor-threshold`.
const STILL: Duration = Duration::from_millis(3);
/// Between two stops, at most.
const GOING_US: usize = 4000;
/// What may be slow whatever a server does besides.
const COMMANDS: &[&str] = &["command", "fast-command", "expire-cycle"];

fn server(threads: usize) -> Options {
    Options::codis(threads).set("latency-monitor-threshold", "1").set("hz", "500")
}

fn told(client: &mut Client) -> BTreeSet<String> {
    let Reply::Array(Some(events)) = client.run("LATENCY LATEST") else { panic!("no events") };
    let name = |event: &Reply| match event {
        Reply::Array(Some(fields)) => match fields.first() {
            Some(Reply::Bulk(Some(name))) => String::from_utf8_lossy(name).into_owned(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    events.iter().map(name).collect()
}

/// Has the server do `work` again and again and stops it meanwhile, until it has told of all of `events`, and of nothing
/// else except what may be slow besides.
fn meets(server: &Server, events: &[&str], besides: &[&str], mut work: impl FnMut(&mut Client) + Send) {
    let mut client = server.client();
    client.run("LATENCY RESET");
    let done = Instant::now() + PATIENCE;
    let (mut random, mut seen, rounds) = (Random::new(7), BTreeSet::new(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            while !events.iter().all(|&event| seen.contains(event)) && Instant::now() < done {
                for _ in 0..20 {
                    work(&mut client);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                seen = told(&mut client);
            }
        });
        while !worker.is_finished() {
            let before = rounds.load(Ordering::Relaxed);
            server.stand_still(true);
            thread::sleep(STILL);
            server.stand_still(false);
            thread::sleep(Duration::from_micros(random.below(GOING_US) as u64));
            // A machine that has other things to do gets on all the same.
            while rounds.load(Ordering::Relaxed) == before && !worker.is_finished() {
                thread::yield_now();
            }
        }
    });
    let met = |event: &&str| seen.contains(*event);
    assert!(events.iter().all(met), "only {seen:?} of {events:?}");
    seen.retain(|event| ![events, besides, COMMANDS].concat().contains(&&event[..]));
    assert!(seen.is_empty(), "{seen:?} besides {events:?}");
}

#[test]
fn what_is_slow_about_the_aof_is_told_under_its_names() {
    for threads in [1, 4] {
        let options = server(threads).set("appendonly", "yes").set("auto-aof-rewrite-percentage", "0");
        let server = Server::start(options);
        // Many at once, so that a stop meets one.
        let write = |client: &mut Client| {
            client.send(&b"SET key value\r\n".repeat(20)).expect("sent");
            (0..20).for_each(|_| drop(client.read()));
        };
        // The thread that synchronises each second may begin that when a reactor is about to write, and may go on with it
        // when that is not its task any more.
        let pending = "aof-write-pending-fsync";
        meets(&server, &["aof-write", "aof-write-alone"], &[pending], write);
        let besides = ["aof-write-alone", pending, "fork", "aof-rewrite-diff-write", "aof-rename"];
        meets(&server, &["aof-write", "aof-write-active-child"], &besides, |client| {
            // Mostly one is under way.
            client.run("BGREWRITEAOF");
            write(client);
        });
        let mut client = server.client();
        assert!(wait_until(PATIENCE, || client.persistence("aof_rewrite_in_progress") == "0"));
        client.run("CONFIG SET appendfsync always");
        meets(&server, &["aof-fsync-always"], &["aof-write", "aof-write-alone", pending], write);
    }
}

#[test]
fn what_is_slow_about_a_save_that_is_given_up_is_told_under_its_names() {
    let server = Server::start(server(1));
    meets(&server, &["fork", "rdb-unlink-temp-file"], &[], |client| {
        client.send(b"BGSAVE\r\nFLUSHALL\r\n").expect("sent");
        (0..2).for_each(|_| drop(client.read()));
    });
}

#[test]
fn what_is_slow_about_commands_and_about_expiry_is_told_under_its_names() {
    let server = Server::start(server(1));
    let mut keys = 0;
    meets(&server, COMMANDS, &[], |client| {
        keys += 1;
        client.call(&["SET", &format!("key:{keys}"), "value", "PX", "20"]);
        // Most of a reactor's time goes to what comes at once.
        client.send(&b"INCR number\r\nKEYS key:*\r\n".repeat(50)).expect("sent");
        (0..100).for_each(|_| drop(client.read()));
    });
}

#[test]
fn what_is_slow_about_making_room_is_told_under_its_names() {
    let server = Server::start(server(1).set("maxmemory", "20mb").set("maxmemory-policy", "allkeys-random"));
    let mut random = Random::new(1);
    meets(&server, &["eviction-cycle", "eviction-del"], &[], |client| {
        client.call(&["SET", &random.number().to_string(), &"x".repeat(10_000)]);
    });
}

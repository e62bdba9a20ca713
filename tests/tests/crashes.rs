//! Kill -9 at random moments: what was acknowledged is there afterwards, and nothing is there by half.
//!
//! `CRASH_ROUNDS` says how many rounds each test runs; a few if it is not set. 200 take some minutes a test.

#![forbid(unsafe_code)]

use resp::Reply;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tests::{Client, Options, Random, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: usize = 4;

fn rounds(default: usize) -> usize {
    std::env::var("CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

/// One round's writes of one client: those acknowledged, with when that was.
struct Written {
    acknowledged: Vec<Instant>,
}

/// Writes until the server is gone. Write n sets two keys to n, odd ones by one command, even ones by a transaction that
/// also appends n to a list.
fn write_until_the_end(mut client: Client, name: usize, from: usize, done_by_all: &AtomicUsize) -> Written {
    let (a, b, list) = (format!("a:{name}"), format!("b:{name}"), format!("list:{name}"));
    let mut acknowledged = Vec::new();
    for n in from + 1.. {
        let value = n.to_string();
        let done = match n % 2 {
            1 => matches!(client.try_call(&["MSET", &a, &value, &b, &value]), Ok(Reply::Simple(_))),
            _ => {
                let queued: [&[&str]; 4] =
                    [&["MULTI"], &["SET", &a, &value], &["RPUSH", &list, &value], &["SET", &b, &value]];
                let queued = queued.iter().all(|words| matches!(client.try_call(words), Ok(Reply::Simple(_))));
                queued && matches!(client.try_call(&["EXEC"]), Ok(Reply::Array(Some(_))))
            }
        };
        if !done {
            return Written { acknowledged };
        }
        acknowledged.push(Instant::now());
        done_by_all.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("the loop ends by returning")
}

fn number(client: &mut Client, key: &str) -> usize {
    match client.call(&["GET", key]) {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).parse().expect("a number"),
        Reply::Bulk(None) => 0,
        other => panic!("{other:?}"),
    }
}

/// What a client finds of its writes: how many, all of them whole.
fn found(client: &mut Client, name: usize) -> usize {
    let last = number(client, &format!("a:{name}"));
    assert_eq!(last, number(client, &format!("b:{name}")), "half a command is there");
    let Reply::Array(Some(list)) = client.call(&["LRANGE", &format!("list:{name}"), "0", "-1"]) else {
        panic!("no list")
    };
    let even = (2..=last).step_by(2).map(|n| n.to_string());
    let list = list.iter().map(|element| match element {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?}"),
    });
    assert!(list.eq(even), "the list lacks something, or has it twice");
    last
}

/// What a round does besides writing.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    Rewrite,
}

/// Rounds of crashes with a data set that grows. `may_lose` is how long before the crash a write may have been
/// acknowledged that is not there.
fn crash(rounds: usize, seed: u64, fsync: &str, may_lose: Duration, beside: impl Fn(usize) -> Beside) {
    let mut random = Random::new(seed);
    let mut server = Server::start(Options::codis(1).set("appendonly", "yes").set("appendfsync", fsync));
    let mut starts = [0; WRITERS];
    let (mut total, mut lost) = (0, 0);
    for round in 0..rounds {
        if round % 4 == 0 {
            // A new data set, with another number of threads.
            let threads = 1 + round / 4 % 2 * 3;
            server = Server::start(Options::codis(threads).set("appendonly", "yes").set("appendfsync", fsync));
            server.client().call(&["DEBUG", "POPULATE", "5000"]);
            starts = [0; WRITERS];
        }
        let done = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = starts
            .into_iter()
            .enumerate()
            .map(|(name, from)| {
                let (client, done) = (server.client(), done.clone());
                thread::spawn(move || write_until_the_end(client, name, from, &done))
            })
            .collect();
        thread::sleep(Duration::from_millis(20 + random.below(250) as u64));
        if beside(round) == Beside::Rewrite {
            server.client().call(&["BGREWRITEAOF"]);
            thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        }
        // A round in which nothing was promised shows nothing.
        assert!(wait_until(PATIENCE, || done.load(Ordering::Relaxed) > 1), "nothing is acknowledged");
        let at = Instant::now();
        let crashed = server.crash();
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
        server = crashed.start_again();
        let mut client = server.client();
        for (name, written) in written.iter().enumerate() {
            let last = found(&mut client, name);
            let acknowledged = starts[name] + written.acknowledged.len();
            let promised = starts[name] + written.acknowledged.iter().filter(|&&when| when + may_lose <= at).count();
            let promised = if may_lose.is_zero() { acknowledged } else { promised };
            assert!(
                (promised..=acknowledged + 1).contains(&last),
                "round {round}: {last} writes are there, {acknowledged} were acknowledged, {promised} are promised"
            );
            starts[name] = last;
            total += written.acknowledged.len();
            lost += acknowledged.saturating_sub(last);
        }
    }
    assert!(total > rounds, "next to nothing was written");
    println!("{rounds} rounds with {fsync}: {total} acknowledged writes, {lost} of them lost");
}

#[test]
fn what_was_acknowledged_under_always_is_there_after_a_crash() {
    crash(rounds(3), 11, "always", Duration::ZERO, |_| Beside::Nothing);
}

#[test]
fn what_was_acknowledged_under_always_is_there_after_a_crash_during_a_rewrite() {
    crash(rounds(3), 12, "always", Duration::ZERO, |_| Beside::Rewrite);
}

#[test]
fn under_everysec_a_crash_costs_the_last_moments_at_most() {
    let beside = |round| if round % 2 == 0 { Beside::Nothing } else { Beside::Rewrite };
    crash(rounds(3), 13, "everysec", Duration::from_secs(1), beside);
}

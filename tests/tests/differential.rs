//! Random commands to ours and to a real Redis: the replies must be equal.
//!
//! `DIFF_SEED=n` replays one sequence; `DIFF_ROUNDS=n` runs n sequences instead of the usual number, `DIFF_FROM=n` begins
//! with another one than the first: the usual run is the same everywhere, a long one looks for news. `DIFF_PEER=path`
//! compares with another server of version 3.2, of which nothing is excused but accidents; `DIFF_KEEP_GOING=1` lists every difference found
//! instead of stopping at the first.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::Instant;
use tests::differential::{Pair, sequence, show_command};
use tests::known_differences::{RULES, RULES_3_2};
use tests::{Options, Server};

/// Sequences of the usual run.
const USUAL_ROUNDS: u64 = 3000;
/// Commands in a sequence.
const COMMANDS: usize = 120;
/// The first seed of the usual run.
const FIRST_SEED: u64 = 1;

#[test]
fn one_thread_answers_as_redis_does() {
    compare(1);
}

#[test]
fn four_threads_answer_as_redis_does() {
    compare(4);
}

fn compare(threads: usize) {
    let peer_path = env::var("DIFF_PEER").ok();
    let peer = match &peer_path {
        Some(path) => Options::program(Path::new(path)),
        None => Options::redis(),
    };
    let rules = if peer_path.is_some() { RULES_3_2 } else { RULES };
    let (ours, peer) = (Server::start(Options::codis(threads)), Server::start(peer));
    let mut pair = Pair { ours: ours.client(), peer: peer.client(), rules };
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (seed, first) = (number("DIFF_SEED"), number("DIFF_FROM").unwrap_or(FIRST_SEED));
    let rounds = if seed.is_some() { 1 } else { number("DIFF_ROUNDS").unwrap_or(USUAL_ROUNDS) };
    let keep_going = env::var_os("DIFF_KEEP_GOING").is_some();

    let started = Instant::now();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..rounds {
        let seed = seed.unwrap_or(first + round);
        let commands = sequence(seed, COMMANDS, peer_path.is_some());
        if let Err(difference) = pair.run(&commands) {
            let (shortest, difference) = pair.shrink(&commands, difference);
            let lines: Vec<_> = shortest.iter().map(|command| format!("  {}", show_command(command))).collect();
            let report = format!("DIFF_SEED={seed} ({threads} threads):\n{}\n{difference}\n", lines.join("\n"));
            assert!(keep_going, "replies differ. {report}");
            seen.entry(signature(&difference.command, &difference.ours)).or_insert(report);
        }
    }
    println!("{threads} threads: {rounds} sequences of {COMMANDS} commands in {:.1?}", started.elapsed());
    assert!(
        seen.is_empty(),
        "{} kinds of differences:\n{}",
        seen.len(),
        seen.into_values().collect::<Vec<_>>().join("\n")
    );
}

/// Differences with one signature are probably one difference.
fn signature(command: &str, ours: &str) -> String {
    let name = command.split(' ').next().unwrap_or_default().to_uppercase();
    let shape: String = ours.chars().take(12).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    format!("{name} {shape}")
}

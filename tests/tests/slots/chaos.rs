//! Servers die, and links break, at random moments while slots move and proxies write: in the end every acknowledged write is found exactly
//! once, at the target, with its expiry.
//!
//! `CODIS_CHAOS_ROUNDS` makes it longer; a failure names its seed.

use crate::data::run;
use resp::Reply;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tests::{Client, Options, Random, Server};

const ROUNDS: usize = 6;
const WRITERS: u64 = 3;
const KEYS: u64 = 40;

/// Passes bytes to a target, and breaks connections after random numbers of them while it is told to.
pub struct Relay {
    pub port: u16,
    pub breaking: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Relay {
    pub fn start(target: SocketAddr, seed: u64) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (breaking, ended) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let relay = Relay { port, breaking: breaking.clone(), ended: ended.clone() };
        thread::spawn(move || {
            let mut random = Random::new(seed);
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(target)) else { continue };
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let budget = Arc::new(AtomicU64::new(random.below(30_000) as u64));
                let _ = near.set_nodelay(true).and(far.set_nodelay(true));
                for (from, into) in [(&near, &far), (&far, &near)] {
                    let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else { continue };
                    let (budget, breaking) = (budget.clone(), breaking.clone());
                    thread::spawn(move || pass(from, into, &budget, &breaking));
                }
            }
        });
        relay
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn pass(mut from: TcpStream, mut into: TcpStream, budget: &AtomicU64, breaking: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        let left = budget.load(Ordering::Relaxed);
        let cut = breaking.load(Ordering::Relaxed) && left < n as u64;
        let take = if cut { left as usize } else { n };
        if into.write_all(&bytes[..take]).is_err() || cut {
            break;
        }
        budget.store(left.saturating_sub(n as u64), Ordering::Relaxed);
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = into.shutdown(std::net::Shutdown::Both);
}

/// A proxy: asks the source, and the target when the source has no such key.
struct Proxy {
    source: Client,
    target: Client,
}

impl Proxy {
    fn call(&mut self, key: &str, words: &[&str]) -> Reply {
        loop {
            let wrapped = [&["SLOTSMGRT-EXEC-WRAPPER", key], words].concat();
            let Reply::Array(Some(parts)) = self.source.call(&wrapped) else { panic!("two parts") };
            match &parts[..] {
                [Reply::Int(0), _] => return self.target.call(words),
                [Reply::Int(1), _] => thread::sleep(Duration::from_millis(1)),
                [Reply::Int(2), reply] => return reply.clone(),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What one writer has been told is stored: each key's elements, and whether it expires.
type Model = BTreeMap<String, (Vec<String>, bool)>;

fn write(proxy: &mut Proxy, writer: u64, random: &mut Random, model: &mut Model) {
    // Some of a writer's keys share a tag, and one grows long enough for many chunks.
    let n = random.number() % KEYS;
    let key = if n < 10 { format!("{{w{writer}}}{n}") } else { format!("k{writer}:{n}") };
    let (elements, expires) = model.entry(key.clone()).or_default();
    match random.below(10) {
        0 => {
            let expected = i64::from(!elements.is_empty());
            assert_eq!(proxy.call(&key, &["DEL", &key]), Reply::Int(expected), "DEL {key}");
            elements.clear();
            *expires = false;
        }
        1 if !elements.is_empty() => {
            assert_eq!(proxy.call(&key, &["PEXPIRE", &key, "600000"]), Reply::Int(1), "PEXPIRE {key}");
            *expires = true;
        }
        2 => {
            let Reply::Array(Some(found)) = proxy.call(&key, &["LRANGE", &key, "0", "-1"]) else { panic!("an array") };
            let found: Vec<String> = found.iter().map(crate::data::show).collect();
            assert_eq!(&found, elements, "LRANGE {key}");
        }
        _ => {
            let count = if n == 20 { 50 } else { 1 };
            let fresh: Vec<String> = (0..count).map(|_| random.number().to_string()).collect();
            let mut words = vec!["RPUSH", &key];
            words.extend(fresh.iter().map(String::as_str));
            let expected = (elements.len() + count) as i64;
            assert_eq!(proxy.call(&key, &words), Reply::Int(expected), "RPUSH {key}");
            elements.extend(fresh);
        }
    }
}

#[test]
fn every_acknowledged_write_is_found_once() {
    let rounds = std::env::var("CODIS_CHAOS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    for round in 0..rounds {
        let threads = if round % 2 == 0 { 1 } else { 4 };
        chaos(round as u64 + 1, threads);
    }
}

fn chaos(seed: u64, threads: usize) {
    let (source, target) = (Server::start(Options::codis(threads)), Server::start(Options::codis(threads)));
    let relay = Relay::start(target.addr(), seed);
    let moving = AtomicBool::new(true);
    let models: Vec<Model> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (moving, source, target) = (&moving, &source, &target);
                scope.spawn(move || {
                    let mut proxy = Proxy { source: source.client(), target: target.client() };
                    let mut random = Random::new(seed * 100 + writer);
                    let mut model = Model::new();
                    while moving.load(Ordering::Relaxed) {
                        write(&mut proxy, writer, &mut random, &mut model);
                    }
                    (0..200).for_each(|_| write(&mut proxy, writer, &mut random, &mut model));
                    model
                })
            })
            .collect();
        let mut random = Random::new(seed);
        let mut from = source.client();
        let mut line = |random: &mut Random, port: u16| {
            let Reply::Array(Some(slots)) = from.run("SLOTSINFO") else { panic!("an array") };
            if slots.is_empty() {
                return false;
            }
            let Reply::Array(Some(row)) = &slots[random.below(slots.len())] else { panic!("a pair") };
            let Reply::Int(slot) = row[0] else { panic!("a number") };
            let line = format!("SLOTSMGRTTAGSLOT-ASYNC 127.0.0.1 {port} 3000 {} 0 {slot} 3", 1 + random.below(20));
            let reply = run(&mut from, &line);
            assert!(reply.starts_with('[') || reply.starts_with("-ERR interrupted: "), "{reply}");
            true
        };
        thread::sleep(Duration::from_millis(100));
        for _ in 0..300 {
            line(&mut random, relay.port);
            if random.below(20) == 0 {
                run(&mut source.client(), "SLOTSMGRT-ASYNC-CANCEL");
            }
        }
        relay.breaking.store(false, Ordering::Relaxed);
        // New keys are made at the target alone, so the source runs dry.
        while line(&mut random, relay.port) {}
        moving.store(false, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("a writer was told something wrong")).collect()
    });
    let mut from = source.client();
    assert_eq!(run(&mut from, "DBSIZE"), ":0", "seed {seed}: keys are left at the source");
    let mut there = target.client();
    let mut keys = 0;
    for (key, (elements, expires)) in models.into_iter().flatten() {
        let Reply::Array(Some(found)) = there.call(&["LRANGE", &key, "0", "-1"]) else { panic!("an array") };
        let found: Vec<String> = found.iter().map(crate::data::show).collect();
        assert_eq!(found, elements, "seed {seed}: {key}");
        let ttl = run(&mut there, &format!("PTTL {key}"));
        assert_eq!(!ttl.starts_with(":-"), expires, "seed {seed}: {key} has the time to live {ttl}");
        keys += usize::from(!elements.is_empty());
    }
    assert_eq!(run(&mut there, "DBSIZE"), format!(":{keys}"), "seed {seed}: the target has keys that nobody wrote");
}

/// Calls SLOTSMGRTTAGSLOT-ASYNC until the source has nothing left or somebody is gone.
fn migrate_all(source: &Server, target: SocketAddr) {
    let Ok(mut from) = Client::connect(source.addr()) else { return };
    while let Ok(Reply::Array(Some(slots))) = from.try_call(&["SLOTSINFO"]) {
        let Some(Reply::Array(Some(row))) = slots.first() else { return };
        let Reply::Int(slot) = row[0] else { panic!("a number") };
        let line = format!("SLOTSMGRTTAGSLOT-ASYNC 127.0.0.1 {} 60000 7 0 {slot} 20", target.port());
        match from.try_call(&line.split(' ').collect::<Vec<_>>()) {
            Ok(Reply::Array(_)) => {}
            _ => return,
        }
    }
}

/// A server whose data survive it: what it has acknowledged is on disk.
pub fn durable(threads: usize) -> Server {
    Server::start(Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always"))
}

#[test]
fn a_server_that_dies_while_keys_move_loses_none() {
    for (seed, source_dies) in [(1, true), (2, false), (3, true), (4, false)] {
        let (mut source, mut target) = (durable(1 + (seed as usize % 2) * 3), durable(1));
        let mut from = source.client();
        let mut expected = BTreeMap::new();
        for n in 0..400 {
            let key = if n % 4 == 0 { format!("{{t{}}}{n}", n % 10) } else { format!("k{n}") };
            let elements: Vec<String> = (0..1 + n % 30).map(|i| format!("{n}:{i}")).collect();
            run(&mut from, &format!("RPUSH {key} {}", elements.join(" ")));
            if n % 3 == 0 {
                run(&mut from, &format!("PEXPIRE {key} 600000"));
            }
            expected.insert(key, (elements, n % 3 == 0));
        }
        let mut random = Random::new(seed);
        let pause = Duration::from_millis(5 + random.below(60) as u64);
        thread::scope(|scope| {
            let mover = scope.spawn(|| migrate_all(&source, target.addr()));
            thread::sleep(pause);
            let victim = if source_dies { source.pid() } else { target.pid() };
            tests::kill(victim);
            mover.join().expect("the mover gives up");
        });
        if source_dies {
            source = source.crash().start_again();
        } else {
            target = target.crash().start_again();
        }
        migrate_all(&source, target.addr());
        assert_eq!(run(&mut source.client(), "DBSIZE"), ":0", "seed {seed}: keys are left at the source");
        let mut there = target.client();
        assert_eq!(run(&mut there, "DBSIZE"), format!(":{}", expected.len()), "seed {seed}");
        for (key, (elements, expires)) in expected {
            let found = run(&mut there, &format!("LRANGE {key} 0 -1"));
            assert_eq!(found, format!("[{}]", elements.join(" ")), "seed {seed}: {key}");
            let ttl = run(&mut there, &format!("PTTL {key}"));
            assert_eq!(!ttl.starts_with(":-"), expires, "seed {seed}: {key} has the time to live {ttl}");
        }
    }
}

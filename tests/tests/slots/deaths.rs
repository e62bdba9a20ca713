//! Source, target and link die at random moments while slots move and clients write, through a proxy's wrapper and directly.
//! What a server has acknowledged is on its disk, so in the end every acknowledged write is found exactly once, at the
//! target, with its expiry.
//!
//! A writer whose server dies does not know what has become of its last request: it looks when the server is back, and what
//! it finds must be the key as it was before that request or after it.
//!
//! Rounds differ: see [`Mix`]. `CODIS_CHAOS_ROUNDS` makes it longer, `CODIS_CHAOS_FROM` begins with another round; a failure
//! names its seed.

use crate::chaos::{Relay, durable};
use crate::data::{PATIENCE, run, show};
use resp::Reply;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::{Client, Options, Random, Server, wait_until};

const ROUNDS: usize = 3;
const WRITERS: u64 = 3;
const KEYS: u64 = 30;
/// Deaths in a round.
const DEATHS: usize = 3;

/// What else happens in a round.
#[derive(Clone, Copy, Debug)]
struct Mix {
    /// Either server has no room for some moments.
    full: bool,
    /// Keys that end by themselves before long, also on their way.
    short_lived: bool,
    /// Some slots are moved by the synchronous commands, and some batches are canceled.
    every_way: bool,
    /// The target has a replica, and acknowledges what is on its disk and at its replica.
    replica: bool,
}

impl Mix {
    fn of(round: usize) -> Mix {
        let mixed = !round.is_multiple_of(3);
        Mix { full: mixed, short_lived: mixed, every_way: mixed, replica: round % 3 == 2 }
    }
}

/// How long short-lived keys live.
const SHORT_MS: &str = "150";

/// A proxy whose connections may break.
struct Proxy {
    addrs: [SocketAddr; 2],
    clients: Option<[Client; 2]>,
}

impl Proxy {
    /// Connections to both, as soon as both are there.
    fn clients(&mut self) -> &mut [Client; 2] {
        self.clients.get_or_insert_with(|| {
            let connect = |addr| {
                let mut patience = 3000;
                loop {
                    let client = Client::connect(addr).and_then(|mut client| {
                        let reply = client.try_call(&["PING"])?;
                        if reply == Reply::Simple(b"PONG".to_vec()) {
                            Ok(client)
                        } else {
                            Err(std::io::Error::other("no"))
                        }
                    });
                    match client {
                        Ok(client) => return client,
                        Err(error) => assert!(patience > 0, "{addr}: {error}"),
                    }
                    patience -= 1;
                    thread::sleep(Duration::from_millis(10));
                }
            };
            self.addrs.map(connect)
        })
    }

    /// The reply, or `None` if a server died before it came.
    fn call(&mut self, key: &str, words: &[&str], directly: bool) -> Option<Reply> {
        let result = self.try_call(key, words, directly);
        if let Err(error) = &result {
            died(error);
            self.clients = None;
        }
        result.ok()
    }

    fn try_call(&mut self, key: &str, words: &[&str], directly: bool) -> std::io::Result<Reply> {
        let [source, target] = self.clients();
        if directly {
            // A command that does nothing to a key that is not there.
            let reply = source.try_call(words)?;
            return if reply == Reply::Int(0) { target.try_call(words) } else { Ok(reply) };
        }
        loop {
            let wrapped = [&["SLOTSMGRT-EXEC-WRAPPER", key], words].concat();
            let parts = match source.try_call(&wrapped)? {
                Reply::Array(Some(parts)) => parts,
                // It is not even looked at while there is no room.
                refused @ Reply::Error(_) => return Ok(refused),
                other => panic!("{other:?}"),
            };
            match &parts[..] {
                [Reply::Int(0), _] => return target.try_call(words),
                [Reply::Int(1), _] => thread::sleep(Duration::from_millis(1)),
                [Reply::Int(2), reply] => return Ok(reply.clone()),
                other => panic!("{other:?}"),
            }
        }
    }

    /// What a key holds, and whether it expires, once there are servers that say so.
    fn look(&mut self, key: &str) -> Key {
        loop {
            let Some(Reply::Array(Some(found))) = self.call(key, &["LRANGE", key, "0", "-1"], false) else { continue };
            let Some(Reply::Int(ttl)) = self.call(key, &["PTTL", key], false) else { continue };
            return Key { elements: found.iter().map(show).collect(), expires: ttl >= 0 };
        }
    }
}

#[derive(Clone, Default, PartialEq, Debug)]
struct Key {
    elements: Vec<String>,
    expires: bool,
}

type Model = BTreeMap<String, Key>;

fn write(proxy: &mut Proxy, writer: u64, random: &mut Random, model: &mut Model, seed: u64) {
    let n = random.number() % KEYS;
    let key = if n < 8 { format!("{{w{writer}}}{n}") } else { format!("k{writer}:{n}") };
    let before = model.get(&key).cloned().unwrap_or_default();
    let mut after = before.clone();
    let there = !before.elements.is_empty();
    let fresh: Vec<String> = (0..if n == 20 { 50 } else { 1 }).map(|_| random.number().to_string()).collect();
    let (words, expected): (Vec<&str>, usize) = match random.below(8) {
        0 if there => {
            after = Key::default();
            (vec!["DEL", &key], 1)
        }
        1 if there => {
            after.expires = true;
            (vec!["PEXPIRE", &key, "600000"], 1)
        }
        what => {
            after.elements.extend(fresh.iter().cloned());
            let directly = there && what < 5;
            let mut words = vec![if directly { "RPUSHX" } else { "RPUSH" }, &key];
            let fresh = if directly { &fresh[..1] } else { &fresh[..] };
            after.elements.truncate(before.elements.len() + fresh.len());
            words.extend(fresh.iter().map(String::as_str));
            (words, after.elements.len())
        }
    };
    let directly = words[0] == "RPUSHX";
    let reply = proxy.call(&key, &words, directly);
    let now = match reply {
        Some(Reply::Error(text)) if text.starts_with(b"OOM ") => before,
        Some(reply) => {
            assert_eq!(reply, Reply::Int(expected as i64), "seed {seed}: {words:.3?}");
            after
        }
        None => {
            let found = proxy.look(&key);
            assert!(found == before || found == after, "seed {seed}: {words:.3?} left {found:?} of {before:?}");
            found
        }
    };
    model.insert(key, now);
}

/// Writes a key that ends by itself; who reads it meanwhile finds all of it or nothing.
fn write_short_lived(proxy: &mut Proxy, writer: u64, random: &mut Random, seed: u64) {
    let key = format!("{{w{writer}}}s{}", random.below(10));
    let text = "s".repeat(1 + random.below(300));
    if random.below(2) == 0 {
        let reply = proxy.call(&key, &["SET", &key, &text, "PX", SHORT_MS], false);
        let known = match &reply {
            Some(Reply::Error(text)) => text.starts_with(b"OOM "),
            Some(reply) => *reply == Reply::Simple(b"OK".to_vec()),
            None => true,
        };
        assert!(known, "seed {seed}: {key}: {reply:?}");
    } else if let Some(Reply::Bulk(Some(found))) = proxy.call(&key, &["GET", &key], false) {
        assert!(!found.is_empty() && found.iter().all(|&byte| byte == b's'), "seed {seed}: {key}");
    }
}

/// Moves a random slot; false if there is none left, or the source is away.
fn step(from: &mut Option<Client>, source: SocketAddr, port: u16, random: &mut Random, mix: Mix) -> bool {
    let Some(client) = from else {
        *from = Client::connect(source).ok();
        thread::sleep(Duration::from_millis(2));
        return true;
    };
    let slots = match client.try_call(&["SLOTSINFO"]) {
        Ok(Reply::Array(Some(slots))) => slots,
        // It loads, or it is gone.
        _ => {
            *from = None;
            return true;
        }
    };
    if slots.is_empty() {
        return false;
    }
    let Reply::Array(Some(row)) = &slots[random.below(slots.len())] else { panic!("a pair") };
    let Reply::Int(slot) = row[0] else { panic!("a number") };
    let (maxbulks, numkeys) = (1 + random.below(20), 1 + random.below(6));
    if mix.every_way && random.below(20) == 0 {
        // Another client's batch, or none.
        let canceled = Client::connect(source).and_then(|mut client| client.try_call(&["SLOTSMGRT-ASYNC-CANCEL"]));
        assert!(!matches!(canceled, Ok(Reply::Error(_))), "{canceled:?}");
    }
    let line = if mix.every_way && random.below(5) == 0 {
        format!("SLOTSMGRTTAGSLOT 127.0.0.1 {port} 1000 {slot}")
    } else {
        format!("SLOTSMGRTTAGSLOT-ASYNC 127.0.0.1 {port} 1000 {maxbulks} 0 {slot} {numkeys}")
    };
    match client.try_call(&line.split(' ').collect::<Vec<_>>()) {
        Ok(Reply::Error(text)) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let whole = text.starts_with("IOERR ") || text.starts_with("ERR error on slotsrestore, ");
            let known = text.starts_with("ERR interrupted: ") || text.contains("being migrated") || whole;
            assert!(known, "{text}");
        }
        Ok(_) => {}
        Err(error) => {
            died(&error);
            *from = None;
        }
    }
    true
}

/// A server that is there answers.
fn died(error: &std::io::Error) {
    assert!(!tests::is_late(error), "there is no answer, and nobody has died: {error}");
}

#[test]
fn whoever_dies_every_acknowledged_write_is_found_once() {
    let rounds = std::env::var("CODIS_CHAOS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let from = std::env::var("CODIS_CHAOS_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    for round in from..from + rounds {
        let threads = if round % 2 == 0 { 1 } else { 4 };
        round_of_deaths(round as u64 + 1, threads, Mix::of(round));
    }
}

fn round_of_deaths(seed: u64, threads: usize, mix: Mix) {
    let target = Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always");
    let target =
        if mix.replica { target.set_words("slots-migration-durability", &["aof", "replicas", "1"]) } else { target };
    let mut servers = [durable(threads), Server::start(target)].map(Some);
    let addrs = servers.each_ref().map(|server| server.as_ref().expect("it was started").addr());
    let replica = mix.replica.then(|| {
        let replica = Server::start(Options::codis(threads));
        run(&mut replica.client(), &format!("SLAVEOF 127.0.0.1 {}", addrs[1].port()));
        replica
    });
    let relay = Relay::start(addrs[1], seed);
    let (writing, dying) = (AtomicBool::new(true), AtomicBool::new(true));
    let models: Vec<Model> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let writing = &writing;
                scope.spawn(move || {
                    let mut proxy = Proxy { addrs, clients: None };
                    let mut random = Random::new(seed * 100 + writer);
                    let mut model = Model::new();
                    while writing.load(Ordering::Relaxed) {
                        write(&mut proxy, writer, &mut random, &mut model, seed);
                        if mix.short_lived && random.below(4) == 0 {
                            write_short_lived(&mut proxy, writer, &mut random, seed);
                        }
                    }
                    model
                })
            })
            .collect();
        let mover = {
            let (dying, relay) = (&dying, &relay);
            scope.spawn(move || {
                let mut random = Random::new(seed + 1000);
                let mut from = None;
                while dying.load(Ordering::Relaxed) {
                    step(&mut from, addrs[0], relay.port, &mut random, mix);
                }
                relay.breaking.store(false, Ordering::Relaxed);
                // New keys are made at the target alone, so the source runs dry.
                while step(&mut from, addrs[0], addrs[1].port(), &mut random, mix) {}
            })
        };
        if mix.full {
            let (dying, mut random) = (&dying, Random::new(seed + 2000));
            scope.spawn(move || {
                let limit = |bytes: &str, which: usize| {
                    let _ = Client::connect(addrs[which])
                        .and_then(|mut client| client.try_call(&["CONFIG", "SET", "maxmemory", bytes]));
                };
                while dying.load(Ordering::Relaxed) {
                    let which = random.below(2);
                    limit("1", which);
                    thread::sleep(Duration::from_millis(random.below(10) as u64));
                    limit("0", which);
                    thread::sleep(Duration::from_millis(random.below(30) as u64));
                }
            });
        }
        let mut random = Random::new(seed);
        for _ in 0..DEATHS {
            thread::sleep(Duration::from_millis(20 + random.below(120) as u64));
            let victim = &mut servers[random.below(2)];
            *victim = victim.take().map(|server| server.crash().start_again());
        }
        dying.store(false, Ordering::Relaxed);
        mover.join().expect("the mover was told something wrong");
        writing.store(false, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("a writer was told something wrong")).collect()
    });
    let [Some(source), Some(target)] = servers else { unreachable!("both were started again") };
    assert_eq!(run(&mut source.client(), "DBSIZE"), ":0", "seed {seed}: keys are left at the source");
    check(&target, models, seed);
    if let Some(replica) = replica {
        let digest = |server: &Server| run(&mut server.client(), "DEBUG DIGEST");
        assert!(wait_until(PATIENCE, || digest(&replica) == digest(&target)), "seed {seed}: the replica differs");
    }
}

fn check(target: &Server, models: Vec<Model>, seed: u64) {
    let mut there = target.client();
    let mut keys = 0;
    for (key, expected) in models.into_iter().flatten() {
        let Reply::Array(Some(found)) = there.call(&["LRANGE", &key, "0", "-1"]) else { panic!("an array") };
        let ttl = run(&mut there, &format!("PTTL {key}"));
        let found = Key { elements: found.iter().map(show).collect(), expires: !ttl.starts_with(":-") };
        assert_eq!(found, expected, "seed {seed}: {key}");
        keys += usize::from(!expected.elements.is_empty());
    }
    // Keys that end by themselves have to.
    let mut size = String::new();
    wait_until(PATIENCE, || {
        size = run(&mut there, "DBSIZE");
        size == format!(":{keys}")
    });
    assert_eq!(size, format!(":{keys}"), "seed {seed}: the target has keys that nobody wrote");
}

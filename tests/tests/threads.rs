//! Many clients on a server of four threads, with overlapping keys of many slots: what must hold when commands on several
//! keys are atomic.

#![forbid(unsafe_code)]

use resp::Reply;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tests::{Client, Options, Random, Server};

const WRITERS: u64 = 4;
const ROUNDS: u64 = 2000;

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

/// Runs `work` with a connection in each of `count` threads while `watch` is called over and over by another.
fn race(server: &Server, count: u64, work: impl Fn(u64, &mut Client) + Sync, watch: impl Fn(&mut Client) + Sync) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut client = server.client();
            while !done.load(Ordering::Relaxed) {
                watch(&mut client);
            }
        });
        let work = &work;
        let workers: Vec<_> =
            (0..count).map(|worker| scope.spawn(move || work(worker, &mut server.client()))).collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        let watched = watcher.join();
        assert!(ended.iter().all(Result::is_ok) && watched.is_ok(), "a client failed");
    });
}

#[test]
fn mget_sees_all_of_an_mset_or_nothing() {
    let server = Server::start(Options::codis(4));
    let keys: Vec<String> = (1..=8).map(|key| format!("k{key}")).collect();
    let mset = |value: &str| {
        keys.iter().fold(vec!["MSET".to_owned()], |mut args, key| {
            args.extend([key.clone(), value.to_owned()]);
            args
        })
    };
    let mget: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys.iter().cloned()).collect();
    assert_eq!(server.client().call(&mset("first")), ok());
    race(
        &server,
        WRITERS,
        |worker, client| {
            for round in 0..ROUNDS {
                assert_eq!(client.call(&mset(&format!("{worker}:{round}"))), ok());
            }
        },
        |client| {
            let Reply::Array(Some(values)) = client.call(&mget) else { panic!("MGET replies an array") };
            assert_eq!(values.len(), keys.len());
            assert!(values.iter().all(|value| *value == values[0]), "MGET saw part of an MSET: {values:?}");
        },
    );
}

#[test]
fn no_increment_is_lost() {
    let server = Server::start(Options::codis(4));
    race(
        &server,
        WRITERS,
        |_, client| {
            for round in 0..ROUNDS {
                assert!(matches!(client.run("INCR total"), Reply::Int(_)));
                assert!(matches!(client.run(&format!("HINCRBY hash f{} 1", round % 3)), Reply::Int(_)));
            }
        },
        |client| drop(client.run("GET total")),
    );
    let mut client = server.client();
    let total = (WRITERS * ROUNDS) as i64;
    assert_eq!(client.run("INCRBY total 0"), Reply::Int(total));
    let sum: i64 = (0..3)
        .map(|field| match client.run(&format!("HINCRBY hash f{field} 0")) {
            Reply::Int(count) => count,
            other => panic!("HINCRBY replies {other:?}"),
        })
        .sum();
    assert_eq!(sum, total);
}

#[test]
fn a_member_that_moves_is_in_exactly_one_set() {
    const MEMBERS: i64 = 50;
    let server = Server::start(Options::codis(4));
    let mut client = server.client();
    for member in 0..MEMBERS {
        assert_eq!(client.run(&format!("SADD set:{} m{member}", member % 3)), Reply::Int(1));
    }
    race(
        &server,
        WRITERS,
        |worker, client| {
            let mut random = Random::new(worker);
            for _ in 0..ROUNDS {
                let (from, to, member) = (random.below(3), random.below(3), random.below(MEMBERS as usize));
                let moved = client.run(&format!("SMOVE set:{from} set:{to} m{member}"));
                assert!(matches!(moved, Reply::Int(0 | 1)), "{moved:?}");
            }
        },
        |client| {
            let Reply::Array(Some(union)) = client.run("SUNION set:0 set:1 set:2") else {
                panic!("SUNION replies an array")
            };
            assert_eq!(union.len() as i64, MEMBERS, "a member is missing between two sets");
        },
    );
    let cards: i64 = (0..3)
        .map(|set| match client.run(&format!("SCARD set:{set}")) {
            Reply::Int(card) => card,
            other => panic!("SCARD replies {other:?}"),
        })
        .sum();
    assert_eq!(cards, MEMBERS);
}

#[test]
fn a_key_that_is_renamed_is_at_exactly_one_name() {
    let server = Server::start(Options::codis(4));
    assert_eq!(server.client().run("SET name:0 value"), ok());
    race(
        &server,
        WRITERS,
        |worker, client| {
            let mut random = Random::new(worker);
            for _ in 0..ROUNDS {
                let from = random.below(4);
                let to = (from + 1 + random.below(3)) % 4;
                let renamed = client.run(&format!("RENAMENX name:{from} name:{to}"));
                let no_key = Reply::Error(b"ERR no such key".to_vec());
                assert!(renamed == no_key || renamed == Reply::Int(1), "{renamed:?}");
            }
        },
        |client| assert_eq!(client.run("EXISTS name:0 name:1 name:2 name:3"), Reply::Int(1)),
    );
}

#[test]
fn elements_that_rotate_between_lists_are_kept() {
    const ELEMENTS: i64 = 40;
    let server = Server::start(Options::codis(4));
    let mut client = server.client();
    for element in 0..ELEMENTS {
        assert_eq!(client.run(&format!("RPUSH list:0 e{element}")), Reply::Int(element + 1));
    }
    race(
        &server,
        WRITERS,
        |worker, client| {
            let mut random = Random::new(worker);
            for _ in 0..ROUNDS {
                let (from, to) = (random.below(3), random.below(3));
                let moved = client.run(&format!("RPOPLPUSH list:{from} list:{to}"));
                assert!(matches!(moved, Reply::Bulk(_)), "{moved:?}");
            }
        },
        |client| drop(client.run("LLEN list:0")),
    );
    let mut all = Vec::new();
    for list in 0..3 {
        let Reply::Array(Some(elements)) = client.run(&format!("LRANGE list:{list} 0 -1")) else {
            panic!("LRANGE replies an array")
        };
        all.extend(elements.iter().map(|element| format!("{element:?}")));
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len() as i64, ELEMENTS);
}

//! What a client sees of a server at its memory limit, beside what Redis's own suite asks.

#![forbid(unsafe_code)]

use resp::Reply;
use std::time::Duration;
use tests::replicas::{follow, wait_for_link, wait_for_stream};
use tests::{Client, Options, Server, encode, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// One field of INFO, as a number.
fn figure(client: &mut Client, name: &str) -> u64 {
    let Reply::Bulk(Some(text)) = client.run("INFO") else { panic!("INFO gives no text") };
    let text = String::from_utf8(text).expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

fn set(client: &mut Client, name: &str, value: &str) {
    assert_eq!(client.call(&["CONFIG", "SET", name, value]), Reply::Simple(b"OK".to_vec()));
}

#[test]
fn a_big_value_that_is_still_being_freed_drags_no_small_ones_along() {
    const FIELDS: usize = 200_000;
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let mut client = server.client();
        let mut requests = Vec::new();
        for n in 0..FIELDS {
            encode(&["HSET", "big", &format!("field:{n}"), "some value"], &mut requests);
        }
        client.send(&requests).expect("sent");
        (0..FIELDS).for_each(|_| drop(client.read()));
        client.run("EXPIRE big 1000");
        for n in 0..20 {
            client.call(&["SET", &format!("small:{n}"), "x", "EX", "2000"]);
        }
        set(&mut client, "maxmemory-policy", "volatile-ttl");
        // So many samples of 21 keys find the one that is due first.
        set(&mut client, "maxmemory-samples", "1000");
        let limit = figure(&mut client, "used_memory") - (1 << 20);
        set(&mut client, "maxmemory", &limit.to_string());
        assert_eq!(client.run("SET small:20 x EX 2000"), Reply::Simple(b"OK".to_vec()));
        assert_eq!(client.run("EXISTS big"), Reply::Int(0));
        // All small ones together are no room, so all would go. A few go where another thread has the big one's slot just
        // when it is looked at.
        let evicted = figure(&mut client, "evicted_keys");
        assert!((1..10).contains(&evicted), "{evicted} keys were evicted");
        assert_eq!(client.run("DBSIZE"), Reply::Int(22 - evicted as i64));
    }
}

#[test]
fn a_write_waits_until_there_is_room_and_is_refused_only_when_there_is_none() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let (mut client, mut other) = (server.client(), server.client());
        let empty = figure(&mut client, "used_memory");
        client.run("DEBUG POPULATE 200000");
        let full = figure(&mut client, "used_memory");
        set(&mut client, "maxmemory-policy", "allkeys-random");
        set(&mut client, "maxmemory", &(empty + (full - empty) / 4).to_string());
        // A read is served at once, whatever is left to evict.
        assert_eq!(other.run("PING"), Reply::Simple(b"PONG".to_vec()));
        assert_eq!(client.run("SET new 1"), Reply::Simple(b"OK".to_vec()));
        let Reply::Int(left) = client.run("DBSIZE") else { panic!("DBSIZE gives a number") };
        assert!((10_000..100_000).contains(&left), "{left} keys are left");
        set(&mut client, "maxmemory-policy", "volatile-lru");
        set(&mut client, "maxmemory", "1000");
        let oom = Reply::Error(b"OOM command not allowed when used memory > 'maxmemory'.".to_vec());
        assert_eq!(client.run("SET new 2"), oom);
        assert_eq!(client.run("GET new"), Reply::Bulk(Some(b"1".to_vec())));
    }
}

#[test]
fn a_script_that_needs_room_drops_keys_before_it_first_writes() {
    const BIG: &str = "local big = string.rep('x', 2 * 1024 * 1024)
        redis.replicate_commands()
        redis.call('select', 3)
        redis.call('set', KEYS[1], #big)
        return redis.call('get', KEYS[1])";
    for threads in [1, 4] {
        let primary = Server::start(Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always"));
        let mut client = primary.client();
        for db in ["5", "0"] {
            client.call(&["SELECT", db]);
            client.run("DEBUG POPULATE 200000");
        }
        // Those keys are in no log.
        client.run("BGREWRITEAOF");
        assert!(wait_until(PATIENCE, || figure(&mut client, "aof_rewrite_in_progress") == 0));
        set(&mut client, "maxmemory-policy", "allkeys-random");
        let limit = figure(&mut client, "used_memory") + (1 << 20);
        set(&mut client, "maxmemory", &limit.to_string());
        let size = Reply::Bulk(Some((2 << 20).to_string().into_bytes()));
        assert_eq!(client.call(&["EVAL", BIG, "1", "k"]), size);
        assert!(figure(&mut client, "evicted_keys") > 1000);
        let Reply::Int(left) = client.run("DBSIZE") else { panic!("DBSIZE gives a number") };
        assert!(left < 200_000, "{left}");
        // What was dropped is in the log, each under its database.
        let digest = |client: &mut Client| client.run("DEBUG DIGEST");
        set(&mut client, "maxmemory", "0");
        let before = digest(&mut client);
        assert_eq!(client.run("DEBUG LOADAOF"), Reply::Simple(b"OK".to_vec()));
        assert_eq!(digest(&mut client), before);
        // Nothing can be dropped.
        set(&mut client, "maxmemory-policy", "noeviction");
        set(&mut client, "maxmemory", "1000");
        let Reply::Error(text) = client.call(&["EVAL", BIG, "1", "k"]) else { panic!("written") };
        assert!(String::from_utf8_lossy(&text).contains("OOM command not allowed"), "{text:?}");
    }
}

/// Bytes of a large value.
const LARGE: usize = 16 << 20;

/// A server with so many threads, and one that follows it.
fn pair(threads: usize) -> (Server, Server) {
    let (primary, replica) = (Server::start(Options::codis(threads)), Server::start(Options::codis(1)));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    (primary, replica)
}

#[test]
fn large_values_on_their_way_to_a_replica_drag_no_small_ones_along() {
    for threads in [1, 4] {
        let (primary, _replica) = pair(threads);
        let mut clients: Vec<Client> = (0..4).map(|_| primary.client()).collect();
        clients[0].run("DEBUG POPULATE 1000");
        // One request and its value; and what each other thread has not given back yet of the one before.
        let room = (2 * threads + 3) * LARGE / 2;
        let limit = figure(&mut clients[0], "used_memory") + room as u64;
        set(&mut clients[0], "maxmemory", &limit.to_string());
        for policy in ["noeviction", "allkeys-lru", "allkeys-lru"] {
            set(&mut clients[0], "maxmemory-policy", policy);
            for client in &mut clients {
                let large = vec![b'x'; LARGE];
                assert_eq!(client.call(&[&b"SET"[..], b"large", &large]), Reply::Simple(b"OK".to_vec()));
                assert_eq!(client.run("DEL large"), Reply::Int(1), "{policy}");
            }
        }
        assert_eq!(figure(&mut clients[0], "evicted_keys"), 0);
        assert_eq!(clients[0].run("DBSIZE"), Reply::Int(1000));
    }
}

#[test]
fn memory_for_large_records_is_given_back_when_they_are_logged() {
    const SCRIPT: &str = "local part = string.rep('x', ARGV[1] / 16)
        redis.replicate_commands()
        for n = 1, 16 do redis.call('set', 'part', part) end
        return redis.call('del', 'part')";
    for threads in [1, 4] {
        let (primary, replica) = pair(threads);
        let (mut client, mut second) = (primary.client(), replica.client());
        let small = LARGE as u64 / 2;
        client.call(&["EVAL", SCRIPT, "0", "16"]);
        wait_for_stream(&primary, &replica);
        let (used, used_there) = (figure(&mut client, "used_memory"), figure(&mut second, "used_memory"));
        let mut check = |what: &str| {
            wait_for_stream(&primary, &replica);
            for (client, before) in [(&mut client, used), (&mut second, used_there)] {
                let is_back = wait_until(PATIENCE, || figure(client, "used_memory") < before + small);
                assert!(is_back, "after {what}: {before}, then {}", figure(client, "used_memory"));
            }
        };
        let large = vec![b'x'; LARGE];
        let mut writer = primary.client();
        writer.call(&[&b"SET"[..], b"large", &large]);
        writer.run("DEL large");
        check("a command");
        writer.run("MULTI");
        writer.call(&[&b"SET"[..], b"large", &large, b"EX", b"100"]);
        writer.run("DEL large");
        assert!(matches!(writer.run("EXEC"), Reply::Array(Some(_))));
        check("a transaction");
        assert_eq!(writer.call(&["EVAL", SCRIPT, "0", &LARGE.to_string()]), Reply::Int(1));
        check("a script");
        // The reply is large, which nobody reads on a replica.
        writer.call(&[&b"SET"[..], b"large", &large]);
        writer.run("GETSET large 1");
        check("a command with a large reply");
    }
}

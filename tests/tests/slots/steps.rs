//! SLOTSRESTORE and RESTORE of big values: read step by step, and there all at once or not at all.

use crate::data::{PATIENCE, run, show, value};
use resp::Reply;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::{Client, NOBODYS_PORT, Options, Server, encode, wait_until};

/// Fields of a hash that takes many steps.
const FIELDS: usize = 400_000;
/// How often something is tried that must come in the middle of a command: whoever is to see it may be put aside.
const TRIES: usize = 50;

/// The payload of a hash of so many fields.
fn hash(fields: usize) -> Vec<u8> {
    const BATCH: usize = 1000;
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    for first in (0..fields).step_by(BATCH) {
        let pairs: Vec<String> = (first..fields.min(first + BATCH)).map(|n| format!("field:{n} v")).collect();
        assert_eq!(run(&mut client, &format!("HMSET h {}", pairs.join(" "))), "OK");
    }
    dump(&mut client, "h")
}

fn dump(client: &mut Client, key: &str) -> Vec<u8> {
    let Reply::Bulk(Some(payload)) = client.call(&["DUMP", key]) else { panic!("{key} is there") };
    payload
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(words, &mut bytes);
    bytes
}

/// A client, and its number.
struct Sender {
    client: Client,
    id: String,
}

impl Sender {
    fn new(server: &Server) -> Sender {
        static SENDERS: AtomicUsize = AtomicUsize::new(0);
        let mut client = server.client();
        let name = format!("sender{}", SENDERS.fetch_add(1, Ordering::Relaxed));
        assert_eq!(run(&mut client, &format!("CLIENT SETNAME {name}")), "OK");
        let list = run(&mut server.client(), "CLIENT LIST");
        let mut lines = list.split("\\n");
        let line = lines.find(|line| line.contains(&format!(" name={name} "))).expect("it is there");
        let id = line.strip_prefix("id=").and_then(|rest| rest.split(' ').next()).expect("an id").to_owned();
        Sender { client, id }
    }

    /// Sends a request, its last byte only when the server has all others: then it can begin.
    fn send(&mut self, watcher: &mut Client, request: &[u8]) {
        let (last, most) = request.split_last().expect("some bytes");
        self.client.send(most).expect("sent");
        let start = format!("id={} ", self.id);
        let all = format!(" qbuf={} ", most.len());
        let has_all = |watcher: &mut Client| {
            let list = run(watcher, "CLIENT LIST");
            list.split("\\n").any(|line| line.starts_with(&start) && line.contains(&all))
        };
        assert!(wait_until(PATIENCE, || has_all(watcher)), "the server has read what was sent");
        self.client.send(&[*last]).expect("sent");
    }
}

#[test]
fn others_are_served_while_a_big_value_is_made_and_see_all_of_it_or_nothing() {
    let payload = hash(FIELDS);
    for (threads, command) in [(1, "SLOTSRESTORE"), (1, "RESTORE"), (2, "SLOTSRESTORE")] {
        let server = Server::start(Options::codis(threads));
        // With two threads one of these is not on the sender's.
        let mut others = [server.client(), server.client()];
        run(&mut others[0], "SET small{t} v");
        let mut sender = Sender::new(&server);
        let restore = request(&[command.as_bytes(), b"big{t}", b"0", &payload]);
        let enough = (0..TRIES).any(|_| {
            run(&mut others[0], "DEL big{t}");
            sender.send(&mut others[0], &restore);
            let mut served = 0;
            loop {
                let [first, second] = others.each_mut().map(|other| run(other, "HLEN big{t}"));
                assert!(first == ":0" || first == format!(":{FIELDS}"), "{first}");
                if second != ":0" {
                    break;
                }
                assert_eq!(run(&mut others[1], "GET small{t}"), "v");
                served += 1;
            }
            assert_eq!(show(&sender.client.read()), "OK");
            served > 5
        });
        assert!(enough, "{threads} threads, {command}: nobody is served meanwhile");
    }
}

#[test]
fn who_dies_or_is_refused_in_the_middle_leaves_nothing() {
    let payload = hash(FIELDS);
    let server = Server::start(Options::codis(1));
    let mut other = server.client();
    let restore = request(&[b"SLOTSRESTORE", b"big", b"0", &payload]);
    // Half of it, and no more.
    let mut sender = Sender::new(&server);
    sender.client.send(&restore[..restore.len() / 2]).expect("sent");
    drop(sender);
    assert_eq!(run(&mut other, "EXISTS big"), ":0");
    let killed = (0..TRIES).any(|_| {
        let mut sender = Sender::new(&server);
        sender.send(&mut other, &restore);
        run(&mut other, &format!("CLIENT KILL ID {}", sender.id));
        match sender.client.try_read() {
            Ok(reply) => {
                assert_eq!((show(&reply), run(&mut other, "DEL big")), ("OK".to_owned(), ":1".to_owned()));
                false
            }
            Err(error) => {
                assert!(tests::is_end(&error), "{error}");
                assert_eq!(run(&mut other, "EXISTS big"), ":0");
                true
            }
        }
    });
    assert!(killed, "nobody can be killed in the middle");
    let mut sender = Sender::new(&server);
    let refused = (0..TRIES).any(|_| {
        sender.send(&mut other, &restore);
        assert_eq!(run(&mut other, &format!("SLAVEOF 127.0.0.1 {NOBODYS_PORT}")), "OK");
        let reply = show(&sender.client.read());
        let there = run(&mut other, "EXISTS big");
        assert_eq!(run(&mut other, "SLAVEOF NO ONE"), "OK");
        run(&mut other, "DEL big");
        assert_eq!(there, if reply == "OK" { ":1" } else { ":0" }, "{reply}");
        reply == "-READONLY You can't write against a read only slave."
    });
    assert!(refused, "nobody is refused in the middle");
    // What was made for the request that was refused is not taken for another one's.
    run(&mut other, "HMSET source f v");
    let another = dump(&mut other, "source");
    assert_eq!(show(&sender.client.call(&[b"SLOTSRESTORE", &b"big"[..], b"0", &another])), "OK");
    assert_eq!(run(&mut other, "HGETALL big"), "[f v]");
    assert_eq!(run(&mut other, "SLOTSCHECK"), "OK");
}

/// Big values of every type, and their keys.
fn fill(client: &mut Client) -> Vec<String> {
    const COUNT: usize = 30_000;
    const BATCH: usize = 1000;
    for first in (0..COUNT).step_by(BATCH) {
        let each = |form: &dyn Fn(usize) -> String| (first..first + BATCH).map(form).collect::<Vec<_>>().join(" ");
        for line in [
            format!("RPUSH list {}", each(&|n| format!("element:{n}"))),
            format!("SADD set {}", each(&|n| format!("member:{n}"))),
            format!("ZADD zset {}", each(&|n| format!("{}.5 member:{n}", n * 7 % COUNT))),
            format!("HMSET hash {}", each(&|n| format!("field:{n} {n}"))),
            format!("APPEND text {}", each(&|n| n.to_string()).replace(' ', "-")),
        ] {
            assert!(!run(client, &line).starts_with('-'));
        }
    }
    // Three megabytes of nothing, which are few when compressed.
    run(client, "SETRANGE same 3000000 x");
    ["list", "set", "zset", "hash", "text", "same"].map(str::to_owned).to_vec()
}

#[test]
fn a_big_payload_is_answered_as_a_small_one() {
    let server = Server::start(Options::codis(1).set("appendonly", "yes"));
    let mut client = server.client();
    let keys = fill(&mut client);
    let payloads: Vec<Vec<u8>> = keys.iter().map(|key| dump(&mut client, key)).collect();
    let before: Vec<String> = keys.iter().map(|key| value(&mut client, key)).collect();
    let others = payloads.iter().cycle().skip(1);
    for (((key, payload), before), other) in keys.iter().zip(&payloads).zip(&before).zip(others) {
        let busy = client.call(&[b"RESTORE", key.as_bytes(), b"0", other]);
        assert_eq!(show(&busy), "-BUSYKEY Target key name already exists.");
        assert_eq!(show(&client.call(&[b"RESTORE", key.as_bytes(), b"0", payload, b"REPLACE"])), "OK");
        assert_eq!(&value(&mut client, key), before);
        run(&mut client, &format!("DEL {key}"));
        assert_eq!(show(&client.call(&[b"SLOTSRESTORE", key.as_bytes(), b"0", payload])), "OK");
        assert_eq!(&value(&mut client, key), before);
        // A transaction and a script do not stop in the middle.
        for line in ["MULTI", "DEL x"] {
            run(&mut client, line);
        }
        assert_eq!(show(&client.call(&[&b"SLOTSRESTORE"[..], b"x", b"0", payload])), "QUEUED");
        assert_eq!(run(&mut client, "EXEC").rsplit(' ').next(), Some("OK]"));
        assert_eq!(&value(&mut client, "x"), before);
        let script = b"return redis.call('RESTORE', KEYS[1], 0, ARGV[1], 'REPLACE')";
        assert_eq!(show(&client.call(&[&b"EVAL"[..], script, b"1", b"x", payload])), "OK");
        assert_eq!(&value(&mut client, "x"), before);
    }
    let (hash, list) = (&payloads[3], &payloads[0]);
    let mut damaged = hash.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    run(&mut client, "SET there v");
    let small = dump(&mut client, "there");
    let wrong = "-ERR dump payload version or checksum are wrong";
    for (words, reply) in [
        (&[b"SLOTSRESTORE", &b"a"[..], b"0", list, b"b", b"0", &damaged][..], wrong),
        (&[b"SLOTSRESTORE", b"a", b"0", list, b"b", b"x", hash], "-ERR value is not an integer or out of range"),
        (&[b"SLOTSRESTORE", b"a", b"0", list, b"b", b"-1", hash], "-ERR invalid ttl value, must be >= 0"),
        (&[b"SLOTSRESTORE", b"a", b"0", list, b"b"], "-ERR wrong number of arguments for 'slotsrestore' command"),
        (&[b"RESTORE", b"a", b"0", &damaged], "-ERR DUMP payload version or checksum are wrong"),
        (&[b"RESTORE", b"a", b"-1", hash], "-ERR Invalid TTL value, must be >= 0"),
        (&[b"RESTORE", b"a", b"0", hash, b"NOW"], "-ERR syntax error"),
        (&[b"EXISTS", b"a", b"b"], ":0"),
        // Two keys of one request, in place of what is there; a key that stands twice is the last one.
        (&[b"SLOTSRESTORE", b"there", b"0", list, b"b", b"100000", hash, b"there", b"0", hash], "OK"),
        (&[b"HLEN", b"there"], ":30000"),
        (&[b"HLEN", b"b"], ":30000"),
        // Only one of them is made before.
        (&[b"SLOTSRESTORE", b"a", b"0", &small, b"b", b"100000", hash], "OK"),
        (&[b"GET", b"a"], "v"),
        (&[b"HLEN", b"b"], ":30000"),
        (&[b"TTL", b"b"], ":100"),
        (&[b"TTL", b"there"], ":-1"),
    ] {
        assert_eq!(show(&client.call(words)), reply, "{}", words[0].escape_ascii());
    }
    // Requests behind a long one wait for it.
    let both = [request(&[b"SLOTSRESTORE", b"b", b"0", list]), request(&[b"LLEN", b"b"])].concat();
    client.send(&both).expect("sent");
    assert_eq!((show(&client.read()), show(&client.read())), ("OK".to_owned(), ":30000".to_owned()));
    // The log says the same.
    let keys = ["b", "there", "x", "hash", "same"].map(str::to_owned);
    let before: Vec<String> = keys.iter().map(|key| value(&mut client, key)).collect();
    let server = server.restart(&[]);
    let mut client = server.client();
    let after: Vec<String> = keys.iter().map(|key| value(&mut client, key)).collect();
    assert!(before == after);
}

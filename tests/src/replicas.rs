//! Primaries and replicas: how to tie them, load them and compare them.

use crate::{Client, Random, Server, contents, is_late, wait_until};
use resp::Reply;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const DATABASES: u32 = 3;

/// A field of INFO.
pub fn info(client: &mut Client, field: &str) -> Option<String> {
    let Reply::Bulk(Some(text)) = client.run("INFO") else { return None };
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned()))
}

/// A field of INFO that is a number; 0 if it is not there.
pub fn number(client: &mut Client, field: &str) -> u64 {
    info(client, field).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Makes `replica` follow who listens at `primary`.
pub fn follow(replica: &Server, primary: SocketAddr) {
    let reply = replica.client().run(&format!("SLAVEOF {} {}", primary.ip(), primary.port()));
    assert_eq!(reply, Reply::Simple(b"OK".to_vec()));
}

/// Waits until `replica` has its primary's data and stream.
pub fn wait_for_link(replica: &Server) {
    let mut client = replica.client();
    let up = wait_until(PATIENCE, || info(&mut client, "master_link_status").as_deref() == Some("up"));
    assert!(up, "the link does not come up");
}

/// Waits until `replica` has all that `primary` has written.
pub fn wait_for_stream(primary: &Server, replica: &Server) {
    wait_for_link(replica);
    let (mut primary, mut replica) = (primary.client(), replica.client());
    let there = wait_until(PATIENCE, || {
        // Read first, so that what is written meanwhile does not count as reached.
        let end = number(&mut primary, "master_repl_offset");
        number(&mut replica, "slave_repl_offset") >= end
    });
    assert!(there, "the replica does not catch up");
}

/// Clients that write random commands until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients of the server at `addr`.
    pub fn start(addr: SocketAddr, clients: u64) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..clients)
            .map(|seed| {
                let (stop, answered) = (stop.clone(), answered.clone());
                thread::spawn(move || write(addr, seed, &stop, &answered))
            })
            .collect();
        Load { stop, answered, threads }
    }

    /// Ends them, once there was an answer; how many commands were answered.
    pub fn stop(self) -> u64 {
        let written = || self.answered.load(Ordering::SeqCst);
        assert!(wait_until(PATIENCE, || written() > 0), "nobody could write");
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        self.answered.load(Ordering::SeqCst)
    }
}

/// Counts the commands that were answered. A server that goes away ends it.
fn write(addr: SocketAddr, seed: u64, stop: &AtomicBool, answered: &AtomicU64) {
    let mut random = Random::new(seed);
    let Ok(mut client) = Client::connect(addr) else { return };
    while !stop.load(Ordering::SeqCst) {
        for line in request(&mut random).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let Err(error) = client.try_call(&words) {
                assert!(!is_late(&error), "no reply to {line}: {error}");
                return;
            }
            answered.fetch_add(1, Ordering::SeqCst);
        }
        // The point is what breaks, not how fast it goes.
        thread::sleep(Duration::from_micros(200));
    }
}

fn request(random: &mut Random) -> String {
    let key = random.below(300);
    let member = random.below(40);
    match random.below(20) {
        0 => format!("SELECT {}", random.below(DATABASES as usize)),
        1 => format!("SET s{key} {member}"),
        2 => format!("INCR n{key}"),
        3 => format!("INCRBYFLOAT f{key} 0.25"),
        4 => format!("LPUSH l{key} {member} x y"),
        5 => format!("RPOP l{key}"),
        6 => format!("SADD t{key} {member} {}", member + 1),
        7 => format!("SPOP t{key}"),
        8 => format!("ZADD z{key} {member} m{member}"),
        9 => format!("ZREMRANGEBYRANK z{key} 0 1"),
        10 => format!("HSET h{key} f{member} {key}"),
        11 => format!("HDEL h{key} f{member}"),
        12 => format!("EXPIRE s{key} 1000"),
        13 => format!("SET e{key} v PX {}", 1 + random.below(200)),
        14 => format!("DEL s{key} l{key}"),
        15 => format!("RENAME s{key} r{key}"),
        16 => format!("MULTI\nINCR n{key}\nRPUSH l{key} in\nSELECT 1\nSET m{key} 1\nEXEC"),
        17 => format!("APPEND s{key} abc"),
        18 => format!("SUNIONSTORE u{key} t{key} t{}", random.below(300)),
        _ => format!("EVAL redis.call('set',KEYS[1],ARGV[1]) 1 v{key} {member}"),
    }
}

/// Waits until `replica` has what `primary` has, and compares all keys.
pub fn assert_same(primary: &Server, replica: &Server) {
    wait_for_stream(primary, replica);
    // What has a short time to live is over now; it is deleted on both only when the primary comes upon it.
    thread::sleep(Duration::from_millis(300));
    contents(&mut primary.client(), DATABASES);
    wait_for_stream(primary, replica);
    let (theirs, ours) = (contents(&mut primary.client(), DATABASES), contents(&mut replica.client(), DATABASES));
    let differing: Vec<_> = theirs
        .iter()
        .filter(|(key, value)| ours.get(*key) != Some(value))
        .map(|(key, value)| (key, value, ours.get(key)))
        .take(5)
        .collect();
    assert!(differing.is_empty(), "differ: {differing:?}");
    assert_eq!(theirs.len(), ours.len());
    assert!(!theirs.is_empty());
}

/// Answers a replica until it asks for a sync, and that with `answer`.
pub fn serve_sync(listener: &TcpListener, answer: &[u8]) -> Client {
    let mut replica = Client::accept(listener).as_link();
    loop {
        let Reply::Array(Some(words)) = replica.read() else { panic!("no request") };
        let sent = match words.first() {
            Some(Reply::Bulk(Some(name))) if name == b"PING" => replica.send(b"+PONG\r\n"),
            Some(Reply::Bulk(Some(name))) if name == b"PSYNC" => {
                replica.send(answer).expect("the replica listens");
                return replica;
            }
            _ => replica.send(b"+OK\r\n"),
        };
        sent.expect("the replica listens");
    }
}

/// What a primary says that sends `image` and goes on at `offset`.
pub fn full_sync_of(image: &[u8], offset: u64) -> Vec<u8> {
    let mut answer = format!("+FULLRESYNC {} {offset}\r\n${}\r\n", "a".repeat(40), image.len()).into_bytes();
    answer.extend_from_slice(image);
    answer
}

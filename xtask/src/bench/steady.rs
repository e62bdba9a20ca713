//! A steady load: clients that write at a fixed rate, whatever the server does, and note how long each request took.
//!
//! ```text
//!   writers   one small batch of SETs each, every millisecond
//!   probe     one GET every 250 us, to see what somebody with one request would
//! ```
//! A request counts from the moment it was due, so that one pause is not hidden behind one late reply; a client's own
//! late timer does not count. Requests are told apart by the phase in which they were under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::error::Result;
use super::load::new_histogram;
use super::pause::{go_first, wait_until};
use super::random::Random;
use super::wire::{Client, Shape, write_request};

const WRITERS: u64 = 4;
const WRITER_PACE: Duration = Duration::from_millis(1);
/// SETs of a writer's batch: 20,000 a second in all.
const BATCH: u64 = 5;
const PROBE_PACE: Duration = Duration::from_micros(250);

/// What happens while a request is under way. One that sees two phases counts for the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing that is measured.
    Unwatched = 0,
    /// The load alone.
    Before = 1,
    /// What is measured.
    During = 2,
}

/// Latencies in nanoseconds.
pub struct Waits {
    /// With the load alone.
    pub before: Histogram<u64>,
    /// With what is measured.
    pub during: Histogram<u64>,
}

/// Clients at work.
pub struct Steady {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Result<Waits>>>,
}

struct Shared {
    stop: AtomicBool,
    phase: AtomicUsize,
}

impl Steady {
    /// Begins to write to random ones of `keys` keys `key:` and twelve digits. Clients that are `away` stand for ones on
    /// other machines.
    pub fn start(addr: SocketAddr, keys: u64, value: &[u8], away: bool) -> Result<Self> {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), phase: AtomicUsize::new(0) });
        let mut clients = Vec::new();
        for nth in 0..=WRITERS {
            let pacer =
                Pacer { client: Client::connect(addr)?, shared: shared.clone(), random: Random::new(nth), keys };
            let value = value.to_vec();
            clients.push(thread::spawn(move || {
                if away {
                    go_first();
                }
                match nth {
                    WRITERS => pacer.run(PROBE_PACE, 1, Shape::Bulk, |out, key| write_request(out, &[b"GET", key])),
                    _ => pacer
                        .run(WRITER_PACE, BATCH, Shape::Status, |out, key| write_request(out, &[b"SET", key, &value])),
                }
            }));
        }
        Ok(Self { shared, clients })
    }

    /// Another phase begins.
    pub fn enter(&self, phase: Phase) {
        self.shared.phase.store(phase as usize, Ordering::Relaxed);
    }

    /// Stops, and tells what was seen.
    pub fn finish(self) -> Result<Waits> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Waits { before: new_histogram(), during: new_histogram() };
        for client in self.clients {
            let seen = client.join().expect("panics abort the process")?;
            all.before.add(seen.before).expect("equal bounds");
            all.during.add(seen.during).expect("equal bounds");
        }
        Ok(all)
    }
}

struct Pacer {
    client: Client,
    shared: Arc<Shared>,
    random: Random,
    keys: u64,
}

impl Pacer {
    fn run(
        mut self,
        pace: Duration,
        batch: u64,
        shape: Shape,
        mut request: impl FnMut(&mut Vec<u8>, &[u8]),
    ) -> Result<Waits> {
        let mut seen = Waits { before: new_histogram(), during: new_histogram() };
        let mut out = Vec::new();
        let mut due = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            out.clear();
            for _ in 0..batch {
                let number = self.random.below(self.keys);
                request(&mut out, format!("key:{number:012}").as_bytes());
            }
            let begin = wait_until(due);
            let phase = self.shared.phase.load(Ordering::Relaxed);
            self.client.exchange(&out, batch, shape)?;
            let took = begin.elapsed().as_nanos() as u64;
            match phase.max(self.shared.phase.load(Ordering::Relaxed)) {
                2 => seen.during.saturating_record(took),
                1 => seen.before.saturating_record(took),
                _ => {}
            }
            due = begin + pace;
        }
        Ok(seen)
    }
}

//! A steady load: clients that write at a fixed rate, whatever the server does, and note how long each request took.
//!
//! ```text
//!   writers   one small batch of SETs each, every millisecond
//!   probe     one GET every 250 us, to see what somebody with one request would
//! ```
//! They write to a database of their own if told so, and can go before all others on this machine.
//!
//! A request counts from the moment it was due, so that one pause is not hidden behind one late reply; a client's own
//! late timer does not count. Requests are told apart by the phase in which they were under way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::error::Result;
use super::load::new_histogram;
use super::pause::{go_first, wait_until};
use super::process::ServingMeter;
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
    /// Of the probe's, what is the server's own doing: with the load alone, and with what is measured.
    pub own: [Histogram<u64>; 2],
    /// The same from when a request was really sent: the longest is the longest pause. What waits behind a late one, or for
    /// a core of a virtual machine that gets none, counts in `own` again and again.
    pub trips: [Histogram<u64>; 2],
}

impl Waits {
    fn new() -> Self {
        Self {
            before: new_histogram(),
            during: new_histogram(),
            own: [new_histogram(), new_histogram()],
            trips: [new_histogram(), new_histogram()],
        }
    }
}

/// What is special of clients of a server that is followed.
#[derive(Debug, Clone, Copy)]
pub struct Far {
    /// The database that they use.
    pub db: u64,
    /// The server's process.
    pub pid: u32,
    /// Of the probe: more requests than a busy server can answer would wait for each other.
    pub probe_pace: Duration,
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
        Self::start_as(addr, keys, value, away, None)
    }

    /// As [`Steady::start`], with another database and pace, and following the server.
    pub fn start_as(addr: SocketAddr, keys: u64, value: &[u8], away: bool, far: Option<Far>) -> Result<Self> {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), phase: AtomicUsize::new(0) });
        let mut clients = Vec::new();
        for nth in 0..=WRITERS {
            let mut client = Client::connect(addr)?;
            let mut meter = None;
            if let Some(far) = far {
                client.run(&["SELECT", &far.db.to_string()])?;
                meter = if nth == WRITERS { Some(ServingMeter::open(far.pid)?) } else { None };
            }
            let probe_pace = far.map_or(PROBE_PACE, |far| far.probe_pace);
            let pacer = Pacer { client, shared: shared.clone(), random: Random::new(nth), keys, meter };
            let value = value.to_vec();
            clients.push(thread::spawn(move || {
                if away {
                    go_first();
                }
                match nth {
                    WRITERS => pacer.run(probe_pace, 1, Shape::Bulk, |out, key| write_request(out, &[b"GET", key])),
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
        let mut all = Waits::new();
        for client in self.clients {
            let seen = client.join().expect("panics abort the process")?;
            all.before.add(seen.before).expect("equal bounds");
            all.during.add(seen.during).expect("equal bounds");
            for (all, seen) in all.own.iter_mut().zip(seen.own).chain(all.trips.iter_mut().zip(seen.trips)) {
                all.add(seen).expect("equal bounds");
            }
        }
        Ok(all)
    }
}

struct Pacer {
    client: Client,
    shared: Arc<Shared>,
    random: Random,
    keys: u64,
    meter: Option<ServingMeter>,
}

impl Pacer {
    fn run(
        mut self,
        pace: Duration,
        batch: u64,
        shape: Shape,
        mut request: impl FnMut(&mut Vec<u8>, &[u8]),
    ) -> Result<Waits> {
        let mut seen = Waits::new();
        let mut out = Vec::new();
        let mut due = Instant::now();
        // How long the server stood in line behind others, as seen at the ends of the requests since a late one was due.
        let mut strangers = VecDeque::new();
        while !self.shared.stop.load(Ordering::Relaxed) {
            out.clear();
            for _ in 0..batch {
                let number = self.random.below(self.keys);
                request(&mut out, format!("key:{number:012}").as_bytes());
            }
            let mut begin = wait_until(due);
            if begin != due
                && let Some(meter) = &mut self.meter
            {
                // It is not late: nothing that was before has to do with it.
                meter.look()?;
                strangers.clear();
                begin = Instant::now();
            }
            let phase = self.shared.phase.load(Ordering::Relaxed);
            let sent = Instant::now();
            self.client.exchange(&out, batch, shape)?;
            let trip = sent.elapsed().as_nanos() as u64;
            let took = begin.elapsed().as_nanos() as u64;
            let own = match &mut self.meter {
                Some(meter) => {
                    let behind = meter.look()?.behind_strangers();
                    strangers.push_back((Instant::now(), behind));
                    while strangers.front().is_some_and(|&(seen, _)| seen <= begin) {
                        strangers.pop_front();
                    }
                    let all_behind = strangers.iter().map(|&(_, waited)| waited).sum();
                    Some((took.saturating_sub(all_behind), trip.saturating_sub(behind)))
                }
                None => None,
            };
            let phase = phase.max(self.shared.phase.load(Ordering::Relaxed));
            let waits = match phase {
                2 => Some((&mut seen.during, 1)),
                1 => Some((&mut seen.before, 0)),
                _ => None,
            };
            if let Some((waits, nth)) = waits {
                waits.saturating_record(took);
                if let Some((own, trip)) = own {
                    seen.own[nth].saturating_record(own);
                    seen.trips[nth].saturating_record(trip);
                }
            }
            due = begin + pace;
        }
        Ok(seen)
    }
}

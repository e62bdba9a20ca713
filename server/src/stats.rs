//! Counters: written by one reactor each, read by any, never shared by two writers.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One reactor's counters.
#[derive(Default)]
#[repr(align(128))]
pub struct ReactorStats {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused (`maxclients`, protected mode).
    pub rejected: Counter,
    /// Commands run.
    pub commands: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes sent to clients.
    pub bytes_out: Counter,
    /// Keys removed because they had expired.
    pub expired: Counter,
    /// Keys removed to make room.
    pub evicted: Counter,
    /// Look-ups that found a key.
    pub hits: Counter,
    /// Look-ups that did not.
    pub misses: Counter,
    /// Changes to the data set.
    pub dirty: Counter,
    /// The command that runs, or the last one: one more than the row's id, 0 for none yet.
    pub running: AtomicU32,
    /// When the turn began that is under way, Unix milliseconds; 0 while the reactor waits for events.
    pub turn_began_ms: AtomicI64,
    /// Calls and processor ticks of each command, by the row's id.
    pub commands_by_id: Box<[(Counter, Counter)]>,
}

impl ReactorStats {
    /// All zero, for `commands` rows.
    pub fn new(commands: usize) -> ReactorStats {
        ReactorStats { commands_by_id: (0..commands).map(|_| Default::default()).collect(), ..Default::default() }
    }

    /// Starts again (CONFIG RESETSTAT).
    pub fn reset(&self) {
        let counters = [
            &self.connections,
            &self.rejected,
            &self.commands,
            &self.bytes_in,
            &self.bytes_out,
            &self.expired,
            &self.evicted,
            &self.hits,
            &self.misses,
        ];
        let by_id = self.commands_by_id.iter().flat_map(|(calls, ticks)| [calls, ticks]);
        counters.into_iter().chain(by_id).for_each(Counter::reset);
    }
}

/// A counter with one writer.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the counter's own thread may.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.get() + n, Ordering::Relaxed);
    }

    /// The count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Starts again (CONFIG RESETSTAT).
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The sum of one counter over all reactors.
pub fn sum(stats: &[ReactorStats], of: impl Fn(&ReactorStats) -> &Counter) -> u64 {
    stats.iter().map(|reactor| of(reactor).get()).sum()
}

/// Samples of the last moments, for figures "a second".
const SAMPLES: usize = 16;

/// Moving averages, fed by one thread's cron.
#[derive(Default)]
pub struct Rates(Mutex<Samples>);

#[derive(Default)]
struct Samples {
    last: Option<(i64, [u64; 3])>,
    rates: [[u64; 3]; SAMPLES],
    at: usize,
}

impl Rates {
    /// Notes the totals of commands, bytes in and bytes out at `now_ms`; does nothing within 100 ms of the last call.
    pub fn sample(&self, now_ms: i64, totals: [u64; 3]) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, before)) = samples.last {
            let passed = now_ms - then;
            if (0..100).contains(&passed) {
                return;
            }
            let a_second = |i: usize| totals[i].saturating_sub(before[i]) * 1000 / passed.max(1) as u64;
            let at = samples.at % SAMPLES;
            samples.rates[at] = [a_second(0), a_second(1), a_second(2)];
            samples.at += 1;
        }
        samples.last = Some((now_ms, totals));
    }

    /// Commands, bytes in and bytes out a second.
    pub fn get(&self) -> [u64; 3] {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [0, 1, 2].map(|i| samples.rates.iter().map(|rate| rate[i]).sum::<u64>() / SAMPLES as u64)
    }
}

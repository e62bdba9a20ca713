//! Counters: written by one reactor each, read by any, never shared by two writers.

use std::sync::atomic::{AtomicU64, Ordering};

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

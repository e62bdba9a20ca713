//! The latency monitor: for each event the worst moments of late, one a second.
//!
//! An event is a name and a time in milliseconds, reported by whoever took long: a command, an expiry cycle, a write to
//! the AOF. Off while `latency-monitor-threshold` is 0. A plain mutex, since only what was slow comes here.

use engine::clock::Now;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Moments that are kept of one event.
const SAMPLES: usize = 160;

/// One moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix seconds.
    pub at_s: i64,
    /// How long it took, milliseconds.
    pub ms: u64,
}

/// The moments of one event, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// At most [`SAMPLES`].
    pub samples: Vec<Sample>,
    /// The worst since the last reset.
    pub worst_ms: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.worst_ms = self.worst_ms.max(sample.ms);
        match self.samples.last_mut() {
            Some(last) if last.at_s == sample.at_s => last.ms = last.ms.max(sample.ms),
            _ => {
                if self.samples.len() == SAMPLES {
                    self.samples.remove(0);
                }
                self.samples.push(sample);
            }
        }
    }
}

/// All events.
#[derive(Default)]
pub struct Latency {
    threshold_ms: AtomicU64,
    events: Mutex<BTreeMap<&'static str, Series>>,
}

impl Latency {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Series>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over `latency-monitor-threshold`; 0 turns the monitor off.
    pub fn set_threshold_ms(&self, ms: u64) {
        self.threshold_ms.store(ms, Ordering::Relaxed);
    }

    /// `latency-monitor-threshold`.
    pub fn threshold_ms(&self) -> u64 {
        self.threshold_ms.load(Ordering::Relaxed)
    }

    /// Reports that `event` took `ms` at `now_ms` (Unix milliseconds); what is under the threshold is not kept.
    pub fn add(&self, event: &'static str, ms: u64, now_ms: i64) {
        let threshold = self.threshold_ms();
        if threshold != 0 && ms >= threshold {
            self.lock().entry(event).or_default().add(Sample { at_s: now_ms / 1000, ms });
        }
    }

    /// Runs `work`, and reports how long it took under each of `events`.
    pub fn watch<R>(&self, events: &[&'static str], work: impl FnOnce() -> R) -> R {
        if self.threshold_ms() == 0 {
            return work();
        }
        let began = Instant::now();
        let result = work();
        let ms = began.elapsed().as_millis() as u64;
        events.iter().for_each(|event| self.add(event, ms, Now::read().ms));
        result
    }

    /// One event's moments.
    pub fn series(&self, event: &[u8]) -> Option<Series> {
        self.lock().iter().find(|(name, _)| name.as_bytes() == event).map(|(_, series)| series.clone())
    }

    /// All events.
    pub fn all(&self) -> Vec<(&'static str, Series)> {
        self.lock().iter().map(|(name, series)| (*name, series.clone())).collect()
    }

    /// Forgets one event, or all; returns how many there were.
    pub fn reset(&self, event: Option<&[u8]>) -> usize {
        let mut events = self.lock();
        let before = events.len();
        events.retain(|name, _| event.is_some_and(|event| !event.eq_ignore_ascii_case(name.as_bytes())));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_the_worst_counts() {
        let latency = Latency::default();
        latency.add("command", 5000, 1000);
        assert!(latency.all().is_empty());
        latency.set_threshold_ms(100);
        for (ms, now_ms) in [(99, 1000), (100, 1100), (300, 1200), (200, 1900), (150, 2000)] {
            latency.add("command", ms, now_ms);
        }
        let series = latency.series(b"command").expect("samples");
        assert_eq!(series.samples, [Sample { at_s: 1, ms: 300 }, Sample { at_s: 2, ms: 150 }]);
        assert_eq!(series.worst_ms, 300);
        assert_eq!((latency.reset(Some(b"other")), latency.reset(Some(b"COMMAND")), latency.reset(None)), (0, 1, 0));
    }

    #[test]
    fn the_oldest_go() {
        let latency = Latency::default();
        latency.set_threshold_ms(1);
        (0..200).for_each(|second| latency.add("command", 1, second * 1000));
        let samples = latency.series(b"command").expect("samples").samples;
        assert_eq!((samples.len(), samples[0].at_s), (SAMPLES, 40));
    }

    #[test]
    fn what_is_watched_is_reported_under_each_name() {
        let latency = Latency::default();
        let slow = || std::thread::sleep(std::time::Duration::from_millis(3));
        assert_eq!(latency.watch(&["off"], || 1), 1);
        latency.set_threshold_ms(3);
        latency.watch(&["aof-write", "aof-write-alone"], slow);
        // However slow the machine is, an hour it does not take.
        latency.set_threshold_ms(3_600_000);
        latency.watch(&["short"], slow);
        let seen: Vec<_> = latency.all().into_iter().map(|(name, series)| (name, series.worst_ms >= 3)).collect();
        assert_eq!(seen, [("aof-write", true), ("aof-write-alone", true)]);
    }
}

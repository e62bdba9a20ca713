//! When a command was slow: one comparison for every command, and what happens to those that were.

use crate::config::Config;
use crate::node::{Node, Run};
use commands::args::Args;
use commands::table::Command;
use engine::clock::Now;
use engine::raw::ticks;
use resp::Flags;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// From which duration on a command is worth a look.
#[derive(Default)]
pub struct Slow {
    /// Processor ticks: the lower one of the slow log's threshold and the latency monitor's.
    ticks: AtomicU64,
    log_us: AtomicI64,
    log_max: AtomicU64,
}

impl Node {
    /// Takes over the settings of the slow log and of the latency monitor.
    pub fn set_slow(&self, config: &Config) {
        let (slow, latency_ms) = (&self.slow, config.latency_monitor_threshold_ms);
        let log_us = u64::try_from(config.slowlog_log_slower_than_us).unwrap_or(u64::MAX);
        let latency_us = if latency_ms == 0 { u64::MAX } else { latency_ms.saturating_mul(1000) };
        slow.ticks.store(log_us.min(latency_us).saturating_mul(ticks::per_microsecond()), Ordering::Relaxed);
        slow.log_us.store(config.slowlog_log_slower_than_us, Ordering::Relaxed);
        slow.log_max.store(config.slowlog_max_len, Ordering::Relaxed);
        self.slowlog.shorten(config.slowlog_max_len);
        self.latency.set_threshold_ms(latency_ms);
    }

    /// Notes a command that took `ticks`, if that was long.
    #[inline]
    pub fn note_time(&self, row: &Command<Run>, args: &Args<'_>, ticks: u64) {
        if ticks >= self.slow.ticks.load(Ordering::Relaxed) {
            self.note_slow(row, args, ticks);
        }
    }

    #[cold]
    fn note_slow(&self, row: &Command<Run>, args: &Args<'_>, ticks: u64) {
        // The commands that EXEC runs are noted one by one.
        if row.spec.name == "exec" {
            return;
        }
        let took_us = ticks / ticks::per_microsecond();
        let now = Now::read();
        let event = if row.spec.flags.contains(Flags::FAST) { "fast-command" } else { "command" };
        self.latency.add(event, took_us / 1000, now.ms);
        let threshold = self.slow.log_us.load(Ordering::Relaxed);
        if u64::try_from(threshold).is_ok_and(|threshold| took_us >= threshold) {
            self.slowlog.add(args, now.ms / 1000, took_us, self.slow.log_max.load(Ordering::Relaxed));
        }
    }
}

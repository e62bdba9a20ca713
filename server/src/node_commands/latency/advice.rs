//! LATENCY DOCTOR: the events in figures, and what people can do about each.

use crate::config::Config;
use crate::latency::{Latency, Series};
use std::fmt::Write;

/// What to do about an event. Names of events are those of 3.2.
const ADVICE: &[(&str, &str)] = &[
    ("command", "Find slow commands with SLOWLOG GET; its threshold should not be above the monitor's."),
    ("command", "Work on large collections in parts (the SCAN family, LTRIM, ZREMRANGEBYRANK in steps)."),
    (
        "fast-command",
        "Commands that cannot be slow were: the machine gave the server no time. Look for other \
      programs on it, and for a virtual machine that shares its processors; `redis-cli --intrinsic-latency 100` measures it.",
    ),
    (
        "aof-write-pending-fsync",
        "The disk is slower than the writes: use a faster local disk, or share it with fewer programs.",
    ),
    (
        "aof-write-active-child",
        "A rewrite competes for the disk: set no-appendfsync-on-rewrite if you can afford its risk.",
    ),
    ("aof-write-alone", "Writing to the AOF blocks: use a faster local disk."),
    (
        "aof-fsync-always",
        "appendfsync always waits for the disk at every write: everysec is much faster and loses at most \
      a second.",
    ),
    ("aof-rename", "Replacing the AOF takes long: use a faster local disk."),
    (
        "aof-fstat",
        "Even asking the disk about a file takes long: use a faster local disk, or share it with fewer programs.",
    ),
    ("expire-cycle", "Many keys expire at once: spread their times, or raise hz so that each cycle does less."),
    (
        "eviction-cycle",
        "Much has to be evicted at once: after lowering maxmemory, or with large writes near it. Change it \
      in steps.",
    ),
    ("eviction-del", "Large values are evicted: split them into smaller ones."),
];

/// The whole report as of `now_s`, Unix seconds.
pub(super) fn report(latency: &Latency, config: &Config, now_s: i64) -> String {
    let events = latency.all();
    if events.is_empty() {
        return match latency.threshold_ms() {
            0 => "Latency monitoring is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n".into(),
            _ => "No event has taken longer than latency-monitor-threshold.\n".into(),
        };
    }
    let mut text = String::from("Latency spikes were seen:\n\n");
    for (i, (event, series)) in events.iter().enumerate() {
        let Figures { mean_ms, deviation_ms, period_s } = Figures::of(series, now_s);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}. {event}: {} latency spikes (average {mean_ms}ms, mean deviation {deviation_ms}ms, period {period_s:.2} \
             sec). Worst all time event {}ms.",
            i + 1,
            series.samples.len(),
            series.worst_ms,
        );
    }
    text.push_str("\nWhat may help:\n\n");
    let seen = |name: &str| events.iter().any(|(event, _)| *event == name);
    for (_, advice) in ADVICE.iter().filter(|(event, _)| seen(event)) {
        let _ = writeln!(text, "- {advice}");
    }
    let slower_than_ms = config.slowlog_log_slower_than_us / 1000;
    if seen("command") && (config.slowlog_log_slower_than_us < 0 || slower_than_ms > latency.threshold_ms() as i64) {
        let threshold_us = latency.threshold_ms() * 1000;
        let _ =
            writeln!(text, "- The slow log misses such commands: CONFIG SET slowlog-log-slower-than {threshold_us}.");
    }
    text
}

struct Figures {
    mean_ms: u64,
    deviation_ms: u64,
    /// Seconds from spike to spike.
    period_s: f64,
}

impl Figures {
    fn of(series: &Series, now_s: i64) -> Figures {
        let n = series.samples.len().max(1) as u64;
        let mean_ms = series.samples.iter().map(|sample| sample.ms).sum::<u64>() / n;
        let deviation_ms = series.samples.iter().map(|sample| sample.ms.abs_diff(mean_ms)).sum::<u64>() / n;
        let since = series.samples.first().map_or(now_s, |sample| sample.at_s);
        Figures { mean_ms, deviation_ms, period_s: (now_s - since).max(1) as f64 / n as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_seen_has_its_figures_and_its_advice() {
        let latency = Latency::default();
        let config = Config::default();
        assert!(report(&latency, &config, 0).contains("latency-monitor-threshold"));
        latency.set_threshold_ms(1);
        latency.add("expire-cycle", 100, 10_000);
        latency.add("expire-cycle", 200, 15_000);
        let report = report(&latency, &config, 20);
        assert!(
            report.contains("1. expire-cycle: 2 latency spikes (average 150ms, mean deviation 50ms, period 5.00 sec)")
        );
        assert!(report.contains("raise hz") && !report.contains("SLOWLOG"));
    }
}

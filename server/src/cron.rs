//! What a reactor does `hz` times a second besides serving: deleting keys that are due and those there is no room for,
//! noting the memory's peak.
//!
//! Reactor r of N looks after the slots s with s % N = r, so no two reactors sample the same ones.

use crate::dispatch::Executor;
use crate::memory;
use crate::stats::sum;
use engine::clock::Now;
use engine::keyspace::{Key, Keyspace};
use engine::raw::ticks::{self, Ticks};
use slots::SlotId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Keys sampled at a time in one slot's database.
const SAMPLE: usize = 20;
/// While more than one in this many sampled keys was due, sampling goes on.
const GO_ON_ABOVE_ONE_IN: usize = 4;
/// The share of a turn's time that expiry may take, in percent.
const TIME_PERCENT: u64 = 25;

/// When the next turn is, and where the last one stopped.
pub struct Cron {
    reactor: usize,
    next: Instant,
    slot: usize,
}

impl Cron {
    /// For reactor number `reactor`.
    pub fn new(reactor: usize) -> Cron {
        Cron { reactor, next: Instant::now(), slot: reactor }
    }

    /// How long nothing is to be done here.
    pub fn until_next(&self, hz: u32) -> Duration {
        self.next.saturating_duration_since(Instant::now()).min(period(hz))
    }

    /// Whether a turn is due; if so the next one is a period later.
    pub fn is_due(&mut self, _now: Now, hz: u32) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + period(hz);
        true
    }

    /// One turn.
    pub fn run(&mut self, exec: &mut Executor, now: Now) {
        if self.reactor == 0 {
            memory::used(exec.node);
            let stats = &exec.node.stats;
            let totals = [sum(stats, |s| &s.commands), sum(stats, |s| &s.bytes_in), sum(stats, |s| &s.bytes_out)];
            exec.node.migrations.close_idle_sockets(now);
            exec.node.rates.sample(now.ms, totals);
            crate::persist::shutdown::keep_promise(exec, now);
            crate::persist::tick(exec, now);
        }
        memory::make_room(exec, now);
        crate::slots_commands::arrivals::sweep(exec, now);
        if exec.node.active_expire.load(Ordering::Relaxed) && !exec.node.repl.is_replica() && !exec.node.is_paused(now)
        {
            let start = Ticks::now();
            self.expire(exec, now);
            let took_ms = Ticks::now().since(start) / (ticks::per_microsecond() * 1000);
            exec.node.latency.add("expire-cycle", took_ms, now.ms);
        }
    }

    /// Samples keys with an expiry in this reactor's slots, from where the last turn ended.
    fn expire(&mut self, exec: &mut Executor, now: Now) {
        let hz = u64::from(exec.settled.config.hz.max(1));
        let budget = ticks::per_microsecond() * (1_000_000 * TIME_PERCENT / 100 / hz);
        let (start, reactors) = (Ticks::now(), exec.node.mailboxes.len());
        for _ in 0..slots::SLOTS.div_ceil(reactors) {
            if let Some(slot) = SlotId::new(self.slot) {
                expire_slot(exec, slot, now, || Ticks::now().since(start) > budget);
            }
            self.slot += reactors;
            if self.slot >= slots::SLOTS {
                self.slot = self.reactor;
            }
            if Ticks::now().since(start) > budget {
                return;
            }
        }
    }
}

fn period(hz: u32) -> Duration {
    Duration::from_millis(1000 / u64::from(hz.max(1)))
}

/// Samples one slot, and goes on while much of what it finds is due.
fn expire_slot(exec: &mut Executor, slot: SlotId, now: Now, out_of_time: impl Fn() -> bool) {
    let Some(databases) = exec.owner.try_one(slot).map(|held| held.slot(slot).dbs_len()) else { return };
    for db in 0..databases {
        loop {
            let mut due: Vec<Vec<u8>> = Vec::new();
            let mut sampled = 0;
            {
                let Some(held) = exec.owner.try_one(slot) else { return };
                let Some(keys) = held.slot(slot).db(db) else { break };
                sampled += keys.expires_len().min(SAMPLE);
                for _ in 0..sampled {
                    let found = keys.random_expiring(|| exec.desk.local.random());
                    if let Some(entry) = found
                        && entry.expire_at_ms().is_some_and(|at| now.ms > at)
                    {
                        due.push(entry.key().to_vec());
                    }
                }
            }
            if due.is_empty() {
                break;
            }
            exec.in_slot(slot, db, now, |keys: &mut Keyspace<'_, '_>| {
                for key in &due {
                    keys.expire_if_due(&Key::new(key));
                }
            });
            if due.len() * GO_ON_ABOVE_ONE_IN <= sampled || out_of_time() {
                break;
            }
        }
    }
}

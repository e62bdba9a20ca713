//! What replication does once a second, and when a snapshot could begin, on reactor 0 for the whole node.

use super::Gate;
use crate::dispatch::Executor;
use crate::log;
use crate::node::Node;
use crate::persist::gate;
use engine::clock::Now;
use engine::oplog::Consumer;
use replication::feed::{Stage, begins_now};

/// A second's tick.
const TICK_MS: i64 = 1000;

/// When the next tick is, and how many there were since the last time for a ping.
#[derive(Default)]
pub struct Cron {
    next_ms: i64,
    since_ping: u64,
}

impl Cron {
    /// Lets replicas know that we are there, now and then. Not while others hold the slots: the end of the stream may be
    /// being written down, for the next start.
    fn ping(&mut self, exec: &mut Executor, replicas: usize, period: u64) {
        self.since_ping += 1;
        if self.since_ping < period {
            return;
        }
        if replicas == 0 || exec.node.repl.is_replica() {
            // Its time comes also where nobody is there: who comes then hears of the next one, as with 3.2.
            self.since_ping = 0;
            return;
        }
        if let Some(_held) = exec.owner.try_privileged()
            && !exec.desk.node.persist.gate.has(gate::STOPPING)
        {
            exec.desk.node.oplog.append_for_replicas(b"*1\r\n$4\r\nPING\r\n");
            self.since_ping = 0;
        }
    }

    /// Whether a second has passed.
    pub fn is_due(&mut self, now: Now) -> bool {
        // A clock that was set back must not stop it.
        let due = now.ms >= self.next_ms || self.next_ms - now.ms > TICK_MS;
        if due {
            self.next_ms = now.ms + TICK_MS;
        }
        due
    }

    /// One tick. `exec` is reactor 0's.
    pub fn run(&mut self, exec: &mut Executor, now: Now) {
        let (node, config) = (exec.node, exec.settled.config.clone());
        let replicas = node.repl.replicas().len();
        self.ping(exec, replicas, config.repl_ping_slave_period.max(1));
        end_backlog(exec, config.repl_backlog_ttl, now);
        node.oplog.trim();
        if config.min_slaves_to_write > 0 || node.repl.gate.bits() & Gate::TOO_FEW != 0 {
            node.refresh_gate(now.ms);
        }
    }
}

/// Begins an image for replicas that have waited long enough; true if there are such and nothing else is under way, so that
/// nothing else may begin. Asked before a save or a rewrite is: where those follow each other at once, replicas would never
/// get a turn.
pub fn begin_due_sync(exec: &mut Executor, now: Now) -> bool {
    let (node, config) = (exec.node, exec.settled.config.clone());
    let is_due = wants_sync(node, config.repl_diskless_sync, config.repl_diskless_sync_delay, now);
    if is_due {
        exec.with_all(now, |keys| {
            if !node.persist.gate.has(gate::STOPPING) {
                super::begin_full_sync(node, keys);
            }
        });
    }
    is_due
}

/// Whether replicas have waited long enough for an image.
fn wants_sync(node: &Node, diskless: bool, delay_s: u64, now: Now) -> bool {
    if node.persist.state().job().is_some() {
        return false;
    }
    let replicas = node.repl.replicas();
    let waiting = replicas.iter().filter(|replica| replica.stage() == Stage::WaitCut);
    let from_memory = diskless && waiting.clone().all(|replica| replica.intro.takes_mark);
    let longest = waiting.map(|replica| now.ms - replica.since_ms).max();
    longest.is_some_and(|ms| begins_now(from_memory, ms, delay_s as i64 * 1000))
}

/// Lets the backlog go when nobody has needed it for `ttl_s` seconds. Offsets of before then mean nothing.
fn end_backlog(exec: &mut Executor, ttl_s: u64, now: Now) {
    let node = exec.node;
    let is_over = || {
        let nobody = node.repl.replicas().is_empty();
        let state = node.repl.state();
        let idle_ms = now.ms - state.unneeded_since_ms;
        nobody && ttl_s > 0 && state.primary.is_none() && state.backlog_from.is_some() && idle_ms > ttl_s as i64 * 1000
    };
    if !is_over() {
        return;
    }
    let Some(mut held) = exec.owner.try_privileged() else { return };
    held.add_all();
    // A replica may have come while the slots were waited for.
    if !is_over() {
        return;
    }
    node.oplog.want(Consumer::Replicas, false);
    let mut state = node.repl.state();
    state.backlog_from = None;
    state.history.renew(crate::start::random_id());
    log::notice!("Replication backlog freed after {ttl_s} seconds without connected slaves.");
}

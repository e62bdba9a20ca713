//! How much memory is in use, how much of that counts against `maxmemory`, and making room when it is too much.
//!
//! Every command tries to make room while the limit is exceeded, as in 3.2; only those that may grow memory are refused
//! when there is none. Room is made in small portions: a command that needs more is put off to the next turn, so that
//! other clients are served in between. A value that another thread is still freeing counts as freed, or a few big ones
//! would drag many small ones along.

use crate::config::{Config, MaxmemoryPolicy};
use crate::dispatch::Executor;
use crate::node::Node;
use crate::node_commands::NodeCtx;
use crate::repl::Gate;
use engine::clock::Now;
use engine::evict::{Evictor, First, Pick, Rule};
use engine::keyspace::Key;
use engine::raw::alloc;
use engine::raw::ticks::{self, Ticks};
use engine::records::KEPT_BYTES;
use std::sync::atomic::Ordering;

/// Bytes handed out by the allocator; remembers the highest figure.
pub fn used(node: &Node) -> u64 {
    let used = alloc::used_memory();
    if used > node.peak_memory.load(Ordering::Relaxed) {
        node.peak_memory.fetch_max(used, Ordering::Relaxed);
    }
    used
}

/// Bytes that count against `maxmemory`.
pub fn counted(node: &Node) -> u64 {
    // What another thread frees, or has to be freed, between the readings is not to look as if it were in use to stay.
    let before = uncounted(node);
    let used = used(node);
    used.saturating_sub(before.max(uncounted(node)))
}

/// Bytes in use that do not count: evicting keys does not make them fewer, or they are about to be freed. The log is
/// what waits for replicas and for the AOF, so it belongs here, and what is on its way there; the backlog, as much as is
/// asked for, does count. What a snapshot still wants of removed keys will be free when its walker has passed.
fn uncounted(node: &Node) -> u64 {
    let freed = node.freeing.load(Ordering::Acquire) + node.persist.pressure.passing_bytes();
    freed + node.oplog.uncounted_bytes() + node.aside.load(Ordering::Acquire)
}

/// Memory of records on their way into the log, which does not count while this lives: other threads look meanwhile, and
/// 3.2, which has only one, never does.
pub struct Aside<'n> {
    node: &'n Node,
    bytes: u64,
}

impl<'n> Aside<'n> {
    /// None yet.
    pub fn new(node: &'n Node) -> Aside<'n> {
        Aside { node, bytes: 0 }
    }

    /// It is so many bytes by now. What a thread keeps anyhow is none.
    #[inline]
    pub fn set(&mut self, bytes: usize) {
        let bytes = if bytes > KEPT_BYTES { bytes as u64 } else { 0 };
        if bytes != self.bytes {
            self.change(bytes);
        }
    }

    #[cold]
    fn change(&mut self, bytes: u64) {
        self.node.aside.fetch_add(bytes, Ordering::Release);
        self.node.aside.fetch_sub(self.bytes, Ordering::Release);
        self.bytes = bytes;
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Whether `maxmemory` is set and exceeded.
#[inline]
pub fn is_over(node: &Node, config: &Config) -> bool {
    config.maxmemory != 0 && counted(node) > config.maxmemory
}

/// Whether there is room for more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Enough,
    /// Not yet: there is more to drop, at the next turn.
    NotYet,
    /// No, and nothing may be dropped.
    None,
}

/// Drops keys while `maxmemory` is exceeded, for about a millisecond. The caller holds no slot.
#[inline]
pub fn make_room(exec: &mut Executor, now: Now) -> Room {
    if exec.settled.config.maxmemory == 0 { Room::Enough } else { evict(exec, now) }
}

fn evict(exec: &mut Executor, now: Now) -> Room {
    /// What one call may take.
    const MICROSECONDS: u64 = 1000;
    /// Keys dropped between two looks at the clock: time in which the thread did not run is no reason to stop.
    const KEYS_AT_LEAST: u32 = 64;
    let (node, config) = (exec.node, exec.settled.config.clone());
    // While clients are paused nothing changes.
    if !is_over(node, &config) || node.is_paused(now) {
        return Room::Enough;
    }
    if node.repl.is_replica() {
        // It drops what its primary says. Where nobody may write, that is why a write is refused.
        return if node.repl.gate.bits() & Gate::READ_ONLY != 0 { Room::Enough } else { Room::None };
    }
    let Some(rule) = rule(config.maxmemory_policy) else { return Room::None };
    let (start, budget) = (Ticks::now(), ticks::per_microsecond() * MICROSECONDS);
    let samples = usize::try_from(config.maxmemory_samples).unwrap_or(usize::MAX);
    let mut dropped = 0;
    let room = loop {
        match exec.desk.evictor.pick(&mut exec.owner, rule, samples, now) {
            Pick::Key(found) => {
                let began = Ticks::now();
                // If somebody took the slot meanwhile, the next one goes.
                let _ = exec.in_slot(found.slot, found.db, now, |keys| keys.evict(&Key::new(&found.key)));
                note(node, "eviction-del", began, now);
            }
            Pick::Nothing => break Room::None,
            Pick::Busy => break Room::NotYet,
        }
        if !is_over(node, &config) {
            break Room::Enough;
        }
        dropped += 1;
        if dropped % KEYS_AT_LEAST == 0 && Ticks::now().since(start) > budget {
            break Room::NotYet;
        }
    };
    note(node, "eviction-cycle", start, now);
    room
}

/// As [`make_room`], for a script that is about to write first: with the slots that it holds, and without a limit of
/// time, since it cannot be put off any more. True if there is room.
#[cold]
pub fn make_room_within(ctx: &mut NodeCtx<'_, '_>, evictor: &mut Evictor) -> bool {
    let (node, config, now) = (ctx.node, ctx.config, ctx.keys.now());
    if node.is_paused(now) {
        return true;
    }
    let Some(rule) = rule(config.maxmemory_policy) else { return false };
    let samples = usize::try_from(config.maxmemory_samples).unwrap_or(usize::MAX);
    let (start, db) = (Ticks::now(), ctx.keys.db());
    let mut room = true;
    // What it says about them for the log is a buffer of the log's readers.
    while room && counted(node).saturating_sub(ctx.keys.effects().bytes_before()) > config.maxmemory {
        match evictor.pick(ctx.keys.held(), rule, samples, now) {
            Pick::Key(found) => {
                let began = Ticks::now();
                ctx.keys.select(found.db);
                ctx.keys.hold(found.slot);
                ctx.keys.evict(&Key::new(&found.key));
                node.free_later(ctx.keys.garbage().take());
                note(node, "eviction-del", began, now);
            }
            Pick::Nothing | Pick::Busy => room = false,
        }
    }
    ctx.keys.select(db);
    note(node, "eviction-cycle", start, now);
    room
}

/// Tells the latency monitor how long something took.
fn note(node: &Node, event: &'static str, began: Ticks, now: Now) {
    node.latency.add(event, Ticks::now().since(began) / (ticks::per_microsecond() * 1000), now.ms);
}

/// What `maxmemory-policy` says.
fn rule(policy: MaxmemoryPolicy) -> Option<Rule> {
    let (volatile, first) = match policy {
        MaxmemoryPolicy::VolatileLru => (true, First::Idle),
        MaxmemoryPolicy::VolatileRandom => (true, First::Any),
        MaxmemoryPolicy::VolatileTtl => (true, First::Due),
        MaxmemoryPolicy::AllkeysLru => (false, First::Idle),
        MaxmemoryPolicy::AllkeysRandom => (false, First::Any),
        MaxmemoryPolicy::Noeviction => return None,
    };
    Some(Rule { volatile, first })
}

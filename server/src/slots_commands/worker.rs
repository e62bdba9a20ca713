//! A thread that moves keys: what it needs to take a slot's lock for a step, and to log and count what the step did.

use crate::guests::Guest;
use crate::node::Node;
use engine::clock::Now;
use engine::keyspace::{Keyspace, Local};
use engine::records::Records;
use slots::SlotId;
use std::sync::atomic::Ordering;

/// A guest among the reactors, for as long as keys move.
pub struct Worker {
    /// The node.
    pub node: &'static Node,
    guest: Guest,
    local: Local,
    records: Records,
}

impl Worker {
    /// Becomes a guest.
    pub fn new(node: &'static Node) -> Worker {
        let seed = crate::start::random_seed();
        Worker { node, guest: node.guest(), local: Local { seed, ..Local::default() }, records: Records::default() }
    }

    /// Takes the lock of `slot`, waiting for it, runs `work` on database `db`, and logs what that changed.
    pub fn in_slot<R>(&mut self, slot: SlotId, db: u32, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> R {
        let Worker { node, guest, local, records } = self;
        let mut held = guest.owner().wait_one(slot);
        local.effects.logging = node.oplog.wants_records(false);
        local.is_replica = node.repl.is_replica();
        let result = work(&mut Keyspace::new(&mut held, local, db, Now::read()));
        let logged = crate::dispatch::log_effects(node, local, records, db, commands::args::Args::new(&[], &[]));
        drop(held);
        if logged.is_some() {
            node.nudge_feeders(None);
        }
        node.dirty.fetch_add(local.effects.dirty, Ordering::Relaxed);
        local.effects.reset();
        if !local.garbage.is_empty() {
            node.free_later(local.garbage.take());
        }
        result
    }

    /// A uniform random number.
    pub fn random(&mut self) -> u64 {
        self.local.random()
    }
}

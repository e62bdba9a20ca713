//! A thread that moves keys: what it needs to take a slot's lock for a step, and to log and count what the step did.

use crate::guests::Guest;
use crate::node::Node;
use engine::clock::Now;
use engine::keyspace::{Keyspace, Local};
use engine::raw::lock::Held;
use engine::records::Records;
use engine::slot::Slot;
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

    /// Takes the lock of `slot`, waiting for it, runs `work` on database `db`, and logs what that changed. While clients
    /// are paused a key past its expiry is not there, and not removed.
    pub fn in_slot<R>(&mut self, slot: SlotId, db: u32, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> R {
        let Worker { node, guest, local, records } = self;
        let mut held = guest.owner().wait_one(slot);
        local.is_replica = node.repl.is_replica() || node.is_paused(Now::read());
        let result = carry_out(node, local, records, &mut held, db, work);
        drop(held);
        self.clean_up();
        result
    }

    /// As [`Worker::in_slot`], for work that changes keys: it is done before a pause of clients begins or not at all, and
    /// then this returns `None`.
    pub fn in_slot_unless_paused<R>(
        &mut self,
        slot: SlotId,
        db: u32,
        work: impl FnOnce(&mut Keyspace<'_, '_>) -> R,
    ) -> Option<R> {
        let Worker { node, guest, local, records } = self;
        let mut held = guest.owner().wait_one(slot);
        let unpaused = node.unpaused()?;
        local.is_replica = node.repl.is_replica();
        let result = carry_out(node, local, records, &mut held, db, work);
        drop(unpaused);
        drop(held);
        self.clean_up();
        Some(result)
    }

    fn clean_up(&mut self) {
        let Worker { node, local, .. } = self;
        node.dirty.fetch_add(local.effects.dirty, Ordering::Relaxed);
        local.effects.reset();
        if !local.garbage.is_empty() {
            node.free_later(local.garbage.take());
        }
    }

    /// A uniform random number.
    pub fn random(&mut self) -> u64 {
        self.local.random()
    }
}

fn carry_out<R>(
    node: &Node,
    local: &mut Local,
    records: &mut Records,
    held: &mut Held<'_, Slot>,
    db: u32,
    work: impl FnOnce(&mut Keyspace<'_, '_>) -> R,
) -> R {
    local.effects.logging = node.oplog.is_on();
    let result = work(&mut Keyspace::new(held, local, db, Now::read()));
    let logged = crate::dispatch::log_effects(node, local, records, db, commands::args::Args::new(&[], &[]));
    if logged.is_some() {
        node.nudge_feeders(None);
    }
    result
}

//! A thread that moves keys: what it needs to take a slot's lock for a step, and to log and count what the step did.

use crate::guests::Guest;
use crate::node::{Node, Settled};
use crate::persist::gate;
use engine::clock::Now;
use engine::keyspace::{Key, Keyspace, Local};
use engine::raw::lock::Held;
use engine::records::Records;
use engine::slot::Slot;
use slots::SlotId;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// Keys of a slot that are removed in one step: more would be felt as a pause.
pub const REMOVED_KEYS: usize = 512;
/// Entries looked at in one step.
const STEP_KEYS: usize = 256;
/// Walks over the keys of a tag.
const WALKS_MAX: usize = 3;
/// The pause between two steps: who finds the slot taken looks again some microseconds later, and must find it free once.
pub const REST: Duration = Duration::from_micros(20);

/// A guest among the reactors, for as long as keys move.
pub struct Worker {
    /// The node.
    pub node: &'static Node,
    guest: Guest,
    local: Local,
    records: Records,
    settled: Settled,
}

impl Worker {
    /// Becomes a guest.
    pub fn new(node: &'static Node) -> Worker {
        let seed = crate::start::random_seed();
        let local = Local { seed, ..Local::default() };
        Worker { node, guest: node.guest(), local, records: Records::default(), settled: Settled::new(node) }
    }

    /// Takes the lock of `slot`, waiting for it, runs `work` on database `db`, and logs what that changed. While clients
    /// are paused, and after the last save, a key past its expiry is not there, and not removed.
    pub fn in_slot<R>(&mut self, slot: SlotId, db: u32, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> R {
        self.refresh();
        let Worker { node, guest, local, records, .. } = self;
        let mut held = guest.owner().wait_one(slot);
        local.is_replica = node.repl.is_replica() || node.is_paused(Now::read()) || is_over(node);
        let result = carry_out(node, local, records, &mut held, db, work);
        drop(held);
        self.clean_up();
        result
    }

    /// As [`Worker::in_slot`], for work that changes keys: it is done before a pause of clients begins and before the last
    /// save, or not at all, and then this returns `None`.
    pub fn in_slot_unless_paused<R>(
        &mut self,
        slot: SlotId,
        db: u32,
        work: impl FnOnce(&mut Keyspace<'_, '_>) -> R,
    ) -> Option<R> {
        self.refresh();
        let Worker { node, guest, local, records, .. } = self;
        let mut held = guest.owner().wait_one(slot);
        let unpaused = node.unpaused().filter(|_| !is_over(node))?;
        local.is_replica = node.repl.is_replica();
        let result = carry_out(node, local, records, &mut held, db, work);
        drop(unpaused);
        drop(held);
        self.clean_up();
        Some(result)
    }

    /// Marks all keys of a tag as leaving, by steps between which others have the slot. Returns them in order.
    pub fn leave_group(&mut self, slot: SlotId, db: u32, crc: u32) -> Vec<Box<[u8]>> {
        let mut group = Vec::new();
        // A walk misses keys that change their places meanwhile; those that somebody adds all the time are not waited for.
        for _ in 0..WALKS_MAX {
            let known = group.len();
            let mut at = Some(0);
            while let Some(from) = at {
                at = self.in_slot(slot, db, |here| here.leave_tag(slot, (crc, from), STEP_KEYS, &mut group));
                thread::sleep(REST);
            }
            if group.len() == known {
                break;
            }
        }
        group.sort();
        // One that was removed and made anew is found again.
        group.dedup();
        group
    }

    /// Takes the marks of keys of one slot back that were to leave, by steps between which others have the slot.
    pub fn stay<'k>(&mut self, slot: SlotId, db: u32, keys: impl Iterator<Item = &'k [u8]>) {
        let keys: Vec<&[u8]> = keys.collect();
        for (n, step) in keys.chunks(STEP_KEYS).enumerate() {
            if n > 0 {
                thread::sleep(REST);
            }
            self.in_slot(slot, db, |here| step.iter().for_each(|key| here.stay(&Key::new(key))));
        }
    }

    /// Whether the last save is done: nothing may change any more.
    pub fn is_over(&self) -> bool {
        is_over(self.node)
    }

    /// Takes over which events are wanted: a key that is found past its expiry on the way is told of as any other.
    fn refresh(&mut self) {
        self.settled.refresh(self.node);
        self.local.effects.wanted = self.settled.notify;
    }

    fn clean_up(&mut self) {
        let Worker { node, local, .. } = self;
        node.dirty.fetch_add(local.effects.dirty, Ordering::Relaxed);
        node.moves.expired.fetch_add(std::mem::take(&mut local.stats).expired, Ordering::Relaxed);
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

/// Whether the last save is done: nothing may change any more. Who holds a slot may rely on a no.
fn is_over(node: &Node) -> bool {
    node.persist.gate.has(gate::STOPPING)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::Desk;
    use engine::keyspace::SetExpire;

    #[test]
    fn nothing_is_removed_after_the_last_save() {
        let node = Desk::new().exec.node;
        let mut worker = Worker::new(node);
        let key = Key::new(b"k");
        let put = |keys: &mut Keyspace<'_, '_>| keys.put_text(&key, b"v", SetExpire::At(1));
        assert!(worker.in_slot_unless_paused(key.slot, 0, put).is_some());
        node.persist.gate.set(gate::STOPPING, true);
        assert!(worker.in_slot_unless_paused(key.slot, 0, |keys| keys.remove(&key)).is_none());
        // It is over, and that is all.
        assert!(worker.in_slot(key.slot, 0, |keys| keys.peek(&key).is_none()));
        assert_eq!(worker.in_slot(key.slot, 0, |keys| keys.slot_keys(key.slot).map(|keys| keys.len())), Some(1));
    }
}

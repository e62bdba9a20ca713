//! Which keys a batch is made of: claims their slots, marks them, counts what they will take.

use super::{Batch, Driver};
use crate::slots_commands::chunks::{self, Limits};
use crate::slots_commands::exports::What;
use crate::slots_commands::worker::Worker;
use engine::keyspace::{Key, Keyspace};
use engine::raw::entry::Transit;
use slots::SlotId;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Keys looked at while a slot is locked.
const STEP_KEYS: usize = 64;
/// Pause between two tries to claim a slot.
const CLAIM_RETRY: Duration = Duration::from_millis(1);

impl Driver {
    /// Claims the slots and marks the keys; `None` if somebody else keeps one of the slots, or if
    /// the batch is to end.
    pub(super) fn compose(&mut self, what: What, limits: Limits) -> Option<Batch> {
        let mut slots: Vec<SlotId> = match &what {
            What::Slot { slot, .. } => vec![*slot],
            What::Keys { keys, .. } => keys.iter().map(|key| Key::new(key).slot).collect(),
        };
        slots.sort();
        slots.dedup();
        self.claim(&slots, Instant::now() + Duration::from_millis(limits.timeout_ms as u64))?;
        let mut chosen = Chosen { keys: Vec::new(), seen: HashSet::new(), tags: HashSet::new(), estimate: 0 };
        match what {
            What::Keys { keys, tags } => {
                for key in keys {
                    let slot = Key::new(&key).slot;
                    let stays = self.in_slot(slot, |here| {
                        let key = Key::new(&key);
                        !here.leave(&key) && here.transit(&key) == Some(Transit::Arriving)
                    });
                    let group = slots::tag_crc(&key).filter(|_| tags);
                    // One that is not there is noted all the same: nobody is to make it meanwhile.
                    if !stays {
                        chosen.add(key);
                    }
                    if let Some(crc) = group {
                        self.add_group(slot, crc, &mut chosen);
                    }
                }
                chosen.estimate = chosen.keys.len();
            }
            What::Slot { slot, numkeys, tags } => self.choose(slot, numkeys, tags, limits, &mut chosen),
        }
        let db = self.link.db;
        let mut by_slot: BTreeMap<SlotId, Vec<&[u8]>> = BTreeMap::new();
        for key in &chosen.keys {
            by_slot.entry(Key::new(key).slot).or_default().push(key);
        }
        for (slot, keys) in by_slot {
            self.node.moves.claims.add(db, slot, keys.into_iter());
        }
        let slot_bytes = |&slot: &SlotId| {
            self.in_slot(slot, |here| here.slot_keys(slot).map_or(0, |keys| keys.entry_bytes() as u64))
        };
        let bytes_max = slots.iter().map(slot_bytes).sum();
        Some(Batch {
            removed: vec![false; chosen.keys.len()],
            keys: Arc::new(chosen.keys),
            slots,
            limits,
            estimate: chosen.estimate,
            since_ms: Self::now_ms(),
            bytes_max,
            bytes_before: self.peer.as_ref().map_or(0, |peer| peer.bytes),
            retracting: false,
            until: None,
            shut_until: None,
        })
    }

    fn claim(&self, slots: &[SlotId], deadline: Instant) -> Option<()> {
        let claims = &self.node.moves.claims;
        for (n, &slot) in slots.iter().enumerate() {
            while !claims.claim(self.link.db, slot) {
                if Instant::now() >= deadline || self.is_stopped() {
                    slots[..n].iter().for_each(|&slot| claims.release(self.link.db, slot));
                    return None;
                }
                thread::sleep(CLAIM_RETRY);
            }
        }
        Some(())
    }

    /// Adds the other keys of a tag, in order.
    fn add_group(&mut self, slot: SlotId, crc: u32, chosen: &mut Chosen) {
        if !chosen.tags.insert(crc) {
            return;
        }
        let (node, db) = (self.node, self.link.db);
        let group = self.worker.get_or_insert_with(|| Worker::new(node)).leave_group(slot, db, crc);
        group.into_iter().for_each(|key| chosen.add(key));
    }

    /// Keys of a slot from a random place on, until their messages or their number reach `numkeys`.
    fn choose(&mut self, slot: SlotId, numkeys: usize, tags: bool, limits: Limits, chosen: &mut Chosen) {
        const ORDER_BITS: u32 = 48;
        let seed = self.worker.as_mut().map_or(0, Worker::random);
        let start = seed >> (u64::BITS - ORDER_BITS);
        // From a random place to the end, then from the beginning to that place.
        let (mut at, mut wrapped) = (start, false);
        while chosen.estimate < numkeys && chosen.keys.len() < numkeys {
            let (sum, room) = (chosen.estimate, numkeys - chosen.keys.len());
            let (next, found) = self.in_slot(slot, |here| candidates(here, slot, at, (sum, room, numkeys), limits));
            self.offers.offer();
            for (key, estimate) in found {
                let group = slots::tag_crc(&key).filter(|_| tags);
                if chosen.seen.contains(&engine::hash::fast(&key)) {
                    continue;
                }
                chosen.estimate += estimate;
                chosen.add(key);
                if let Some(crc) = group {
                    let before = chosen.keys.len();
                    self.add_group(slot, crc, chosen);
                    chosen.estimate += chosen.keys.len() - before;
                }
            }
            if wrapped && (next == 0 || next > start) {
                break;
            }
            wrapped |= next == 0;
            at = next;
        }
    }
}

/// The keys of a batch as it is composed.
struct Chosen {
    keys: Vec<Box<[u8]>>,
    /// Hashes of the keys.
    seen: HashSet<u64>,
    /// Tags whose groups were added.
    tags: HashSet<u32>,
    /// Messages expected.
    estimate: usize,
}

impl Chosen {
    fn add(&mut self, key: Box<[u8]>) {
        if self.seen.insert(engine::hash::fast(&key)) {
            self.keys.push(key);
        }
    }
}

/// A key, and the messages that it will make.
type Candidate = (Box<[u8]>, usize);

/// Marks the keys of one step of a walk that fit into the batch, and returns the next place, 0 at the end.
fn candidates(
    here: &mut Keyspace<'_, '_>,
    slot: SlotId,
    at: u64,
    (mut sum, room, numkeys): (usize, usize, usize),
    limits: Limits,
) -> (u64, Vec<Candidate>) {
    let mut found: Vec<Candidate> = Vec::new();
    let next = here.slot_keys(slot).map_or(0, |db| {
        let mut next = at;
        while found.len() < STEP_KEYS.min(room) {
            next = db.scan(next, |entry| {
                if entry.transit() == Transit::Settled {
                    found.push((entry.key().into(), chunks::estimate(entry.value(), limits.maxbulks)));
                }
            });
            if next == 0 {
                break;
            }
        }
        next
    });
    let mut taken = 0;
    found.retain(|(key, estimate)| {
        let fits = sum < numkeys && taken < room && (sum == 0 || sum + estimate <= 2 * numkeys);
        let takes = fits && here.leave(&Key::new(key));
        if takes {
            sum += estimate;
            taken += 1;
        }
        takes
    });
    (next, found)
}

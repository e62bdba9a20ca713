//! Which slots have keys on their way to another server, and which keys those are.
//!
//! Why: a mark in an entry says that the key is being sent, but a key that is gone has no entry, a new key of a tag that
//! moves has no mark, and two workers must not send the same slot. All of that is rare, so it stands apart behind one
//! mutex, and a counter says whether to look at all.
//!
//! 1. A slot of a database is claimed by one worker at a time; only its claimant marks keys in it as leaving.
//! 2. The counter is raised before the first mark is set and lowered after the last one is gone. Marks are set under the
//!    slot's lock, so whoever holds the slot sees the counter in time.
//! 3. Keys that go together are removed some at a time. That is noted before the first, and until it is over who asks for one
//!    that is left waits: so they are gone for everybody when the first of them is. It is noted before the last round of a
//!    batch as well, so that no script changes what is sent in it.
//! 4. The mutex is a leaf: nothing else is taken under it.

use engine::keyspace::Key;
use slots::SlotId;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A database and a slot.
type Place = (u32, SlotId);

/// All claims.
#[derive(Default)]
pub struct Claims {
    /// Claimed slots and connections that receive: 0 when no key moves.
    moving: AtomicUsize,
    /// Claimed slots whose keys are being removed.
    ending: AtomicUsize,
    claims: Mutex<HashMap<Place, Keys>>,
}

/// The keys that move, by hash: two keys with one hash are taken for each other, which makes a client wait.
#[derive(Default)]
struct Keys {
    hashes: HashSet<u64>,
    tags: HashSet<u32>,
    /// The keys are being removed, some at a time: who reads some may not find others. Or nothing is to change them now.
    ending: bool,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Keys>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any key may be moving; a holder of a slot may rely on a no.
    #[inline]
    pub fn are_there(&self) -> bool {
        self.moving.load(Ordering::Acquire) > 0
    }

    /// Counts something that marks keys without claiming their slot: a connection that receives.
    pub fn begin_receiving(&self) {
        self.moving.fetch_add(1, Ordering::AcqRel);
    }

    /// The end of what [`Claims::begin_receiving`] counted.
    pub fn end_receiving(&self) {
        self.moving.fetch_sub(1, Ordering::AcqRel);
    }

    /// Claims a slot; false if somebody else has it.
    pub fn claim(&self, db: u32, slot: SlotId) -> bool {
        let mut claims = self.lock();
        if claims.contains_key(&(db, slot)) {
            return false;
        }
        self.moving.fetch_add(1, Ordering::AcqRel);
        claims.insert((db, slot), Keys::default());
        true
    }

    /// Gives a slot back.
    pub fn release(&self, db: u32, slot: SlotId) {
        // What is dropped may be much, and is dropped behind the mutex.
        let released = self.lock().remove(&(db, slot));
        if let Some(noted) = released {
            self.ending.fetch_sub(usize::from(noted.ending), Ordering::AcqRel);
            self.moving.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Notes keys that move from a claimed slot.
    pub fn add<'k>(&self, db: u32, slot: SlotId, keys: impl Iterator<Item = &'k [u8]>) {
        // A tag may have any number, and clients ask for theirs under the mutex.
        let (mut hashes, mut tags) = (HashSet::new(), HashSet::new());
        for key in keys {
            hashes.insert(engine::hash::fast(key));
            tags.extend(slots::tag_crc(key));
        }
        let mut claims = self.lock();
        let Some(noted) = claims.get_mut(&(db, slot)) else { return };
        if noted.hashes.is_empty() {
            // As it mostly is.
            noted.hashes = hashes;
        } else {
            noted.hashes.extend(hashes);
        }
        noted.tags.extend(tags);
    }

    /// From now on the keys of a claimed slot are being removed, or no longer.
    pub fn set_ending(&self, db: u32, slot: SlotId, ending: bool) {
        if let Some(noted) = self.lock().get_mut(&(db, slot))
            && noted.ending != ending
        {
            noted.ending = ending;
            if ending {
                self.ending.fetch_add(1, Ordering::AcqRel);
            } else {
                self.ending.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Whether this very key moves.
    pub fn has_key(&self, db: u32, key: &Key<'_>) -> bool {
        self.lock().get(&(db, key.slot)).is_some_and(|noted| noted.hashes.contains(&key.hash))
    }

    /// Whether keys of this key's tag move.
    pub fn has_tag(&self, db: u32, key: &Key<'_>) -> bool {
        let claims = self.lock();
        let noted = claims.get(&(db, key.slot));
        noted.is_some_and(|noted| slots::tag_crc(key.bytes).is_some_and(|crc| noted.tags.contains(&crc)))
    }

    /// Whether keys of this slot are being removed. Who holds the slot may rely on it.
    pub fn is_ending(&self, db: u32, slot: SlotId) -> bool {
        self.ending.load(Ordering::Acquire) > 0 && self.lock().get(&(db, slot)).is_some_and(|noted| noted.ending)
    }
}

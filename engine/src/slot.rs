//! What lies behind one slot's lock: the slot's keys in every database, who waits for or watches them, and the snapshot
//! that is under way.

use crate::hash;
use crate::interest::{Interest, Stake};
use crate::raw::dbslot::DbSlot;
use crate::raw::table::Parity;
use crate::snapshot::Cut;
use slots::SlotId;

/// The keys of one slot.
#[derive(Default)]
pub struct Slot {
    /// Database 0, without a pointer in between.
    zero: DbSlot,
    /// The other databases that were ever used here, with their numbers, ascending: few, so a row is searched fastest.
    others: Vec<(u32, DbSlot)>,
    /// What new and saved entries carry. Changes only at a cut, in all slots at once.
    pub parity: Parity,
    /// Set from the cut of a snapshot until its end.
    pub(crate) cut: Option<Cut>,
    /// Who watches or waits for keys here, if anybody does.
    interest: Option<Box<Interest>>,
}

impl Slot {
    /// Who watches or waits for keys here, if anybody does.
    #[inline]
    pub fn interest(&mut self) -> Option<&mut Interest> {
        self.interest.as_deref_mut()
    }

    /// Registers a watch or a wait.
    pub fn register(&mut self, db: u32, key: &[u8], stake: Stake) {
        self.interest.get_or_insert_default().add(db, key, stake);
    }

    /// Withdraws a watch or a wait.
    pub fn withdraw(&mut self, db: u32, key: &[u8], stake: &Stake) {
        if let Some(interest) = &mut self.interest {
            interest.withdraw(db, key, stake);
            if interest.is_empty() {
                self.interest = None;
            }
        }
    }

    /// Marks the watches of keys that are about to be removed with their whole database (all if `None`).
    pub fn watch_flush(&self, db: Option<u32>) {
        if let Some(interest) = &self.interest {
            let exists = |db, key: &[u8]| self.db(db).is_some_and(|keys| keys.find(hash::fast(key), key).is_some());
            interest.flushed(db, exists);
        }
    }

    /// The slot's keys in `db`, if it was ever used.
    #[inline]
    pub fn db(&self, db: u32) -> Option<&DbSlot> {
        if db == 0 {
            return Some(&self.zero);
        }
        self.others.iter().find(|(number, _)| *number == db).map(|(_, keys)| keys)
    }

    /// The slot's keys in `db`.
    #[inline]
    pub fn db_mut(&mut self, db: u32) -> &mut DbSlot {
        if db == 0 {
            return &mut self.zero;
        }
        let at = self.others.partition_point(|(number, _)| *number < db);
        if self.others.get(at).is_none_or(|(number, _)| *number != db) {
            self.others.reserve_exact(1);
            self.others.insert(at, (db, DbSlot::default()));
        }
        &mut self.others[at].1
    }

    /// Databases that were ever used, with their numbers, ascending.
    pub fn dbs(&self) -> impl Iterator<Item = (u32, &DbSlot)> {
        std::iter::once((0, &self.zero)).chain(self.others.iter().map(|(number, keys)| (*number, keys)))
    }

    /// The slot's keys in `db`, if it was ever used.
    pub fn db_if_used_mut(&mut self, db: u32) -> Option<&mut DbSlot> {
        if db == 0 {
            return Some(&mut self.zero);
        }
        self.others.iter_mut().find(|(number, _)| *number == db).map(|(_, keys)| keys)
    }

    /// The slot's keys in `db` and the snapshot that is under way.
    #[inline]
    pub fn db_and_cut(&mut self, db: u32) -> (&mut DbSlot, Option<&Cut>) {
        if db == 0 {
            return (&mut self.zero, self.cut.as_ref());
        }
        self.db_mut(db);
        let keys = self.others.iter_mut().find(|(number, _)| *number == db).map(|(_, keys)| keys);
        (keys.unwrap_or(&mut self.zero), self.cut.as_ref())
    }

    /// Takes all keys of `db` out: how many there were, and what is to be freed elsewhere. A running snapshot keeps
    /// them if it has not reached all of them.
    pub fn take_db(&mut self, id: SlotId, db: u32) -> (usize, DbSlot) {
        if self.db(db).is_none_or(DbSlot::is_empty) {
            return (0, DbSlot::default());
        }
        let taken = std::mem::take(self.db_mut(db));
        let len = taken.len();
        match &self.cut {
            Some(cut) => (len, cut.take_over_all(db, id, self.parity, taken)),
            None => (len, taken),
        }
    }

    /// Takes over the keys of a slot that was filled elsewhere, all its databases; this one must be empty. None of them
    /// belongs to a snapshot that is under way.
    pub fn adopt(&mut self, filled: Slot) {
        for (db, mut keys) in std::iter::once((0, filled.zero)).chain(filled.others) {
            if filled.parity != self.parity {
                let mut cursor = keys.sweep(0, Parity::A, self.parity, |_| true);
                while cursor != 0 {
                    cursor = keys.sweep(cursor, Parity::A, self.parity, |_| true);
                }
            }
            *self.db_mut(db) = keys;
        }
    }

    /// One more than the highest database that was ever used here.
    pub fn dbs_len(&self) -> u32 {
        self.others.last().map_or(1, |(number, _)| number + 1)
    }

    /// Starts a snapshot in this slot: every entry is unsaved from here on. The caller holds all slots.
    pub(crate) fn begin_cut(&mut self, cut: Cut) {
        self.parity = self.parity.flipped(cut.bit());
        self.cut = Some(cut);
    }

    /// Ends the snapshot: every entry is saved. The caller holds all slots.
    pub(crate) fn end_cut(&mut self) {
        self.cut = None;
    }
}

//! What lies behind one slot's lock: the slot's keys in every database, and the snapshot that is under way.

use crate::raw::dbslot::DbSlot;
use crate::raw::entry::EntryRef;
use crate::raw::table::Parity;
use slots::SlotId;
use std::sync::Arc;

/// Who takes the pre-images of entries that a running snapshot has not reached yet.
///
/// Called with the slot's lock held, just before the entry changes in any way; must not block.
pub trait PreImages: Send + Sync {
    /// Saves `entry` of database `db` as it is.
    fn save(&self, db: u32, slot: SlotId, entry: EntryRef<'_>);
}

/// A snapshot that is under way in this slot.
#[derive(Clone)]
pub struct Cut {
    /// The bit that tells saved from unsaved.
    pub bit: Parity,
    /// Takes the pre-images.
    pub sink: Arc<dyn PreImages>,
}

/// The keys of one slot.
#[derive(Default)]
pub struct Slot {
    /// Database 0, without a pointer in between.
    zero: DbSlot,
    /// Databases from 1 on, as far as they were ever used.
    others: Vec<DbSlot>,
    /// What new and saved entries carry. Changes only at a cut, in all slots at once.
    pub parity: Parity,
    /// Set from the cut of a snapshot until its end.
    pub cut: Option<Cut>,
}

impl Slot {
    /// The slot's keys in `db`, if it was ever used.
    #[inline]
    pub fn db(&self, db: u32) -> Option<&DbSlot> {
        if db == 0 { Some(&self.zero) } else { self.others.get(db as usize - 1) }
    }

    /// The slot's keys in `db`.
    #[inline]
    pub fn db_mut(&mut self, db: u32) -> &mut DbSlot {
        if db == 0 {
            return &mut self.zero;
        }
        let index = db as usize - 1;
        if self.others.len() <= index {
            self.others.resize_with(index + 1, DbSlot::default);
        }
        &mut self.others[index]
    }

    /// Databases that were ever used, with their numbers.
    pub fn dbs(&self) -> impl Iterator<Item = (u32, &DbSlot)> {
        std::iter::once(&self.zero).chain(&self.others).enumerate().map(|(n, db)| (n as u32, db))
    }

    /// Takes all keys of `db` out, to be freed elsewhere; a running snapshot gets those that it has not reached.
    pub fn take_db(&mut self, id: SlotId, db: u32) -> DbSlot {
        if self.db(db).is_none_or(DbSlot::is_empty) {
            return DbSlot::default();
        }
        let taken = std::mem::take(self.db_mut(db));
        if let Some(cut) = &self.cut {
            taken.for_each_unlike(cut.bit, self.parity, |entry| cut.sink.save(db, id, entry));
        }
        taken
    }

    /// How many databases were ever used, the unused ones below the highest included.
    pub fn dbs_len(&self) -> u32 {
        self.others.len() as u32 + 1
    }

    /// Starts a snapshot in this slot: every entry is unsaved from here on. The caller holds all slots.
    pub fn begin_cut(&mut self, cut: Cut) {
        self.parity = self.parity.flipped(cut.bit);
        self.cut = Some(cut);
    }
}

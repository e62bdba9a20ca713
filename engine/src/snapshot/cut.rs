//! What whoever changes an entry must do while a snapshot is under way.

use super::capture::Place;
use super::image::Image;
use crate::raw::dbslot::{DbSlot, EntryCell};
use crate::raw::entry::{Entry, EntryRef};
use crate::raw::table::Parity;
use slots::SlotId;
use std::sync::Arc;

/// A snapshot that is under way, as a slot knows it. The slot's lock is held during every call.
#[derive(Clone)]
pub struct Cut {
    pub(super) image: Arc<Image>,
}

impl Cut {
    /// The bit that tells saved from unsaved.
    pub fn bit(&self) -> Parity {
        self.image.bit
    }

    /// The entry is about to change in place, or to be taken out to be put elsewhere.
    #[inline]
    pub fn before_change(&self, db: u32, slot: SlotId, parity: Parity, cell: &mut EntryCell<'_>) {
        if !cell.parity().agrees(self.image.bit, parity) {
            self.save(db, slot, parity, cell);
        }
    }

    #[cold]
    fn save(&self, db: u32, slot: SlotId, parity: Parity, cell: &mut EntryCell<'_>) {
        cell.share(|entry| self.image.keep(db, slot, entry));
        let saved = cell.parity().with(self.image.bit, parity);
        cell.set_parity(saved);
    }

    /// The entry is about to go for good. A large one is taken out and given to the walker, who frees it; false if it
    /// is left to the caller.
    pub fn take_over(&self, db: u32, parity: Parity, cell: EntryCell<'_>) -> bool {
        let unsaved = !cell.parity().agrees(self.image.bit, parity);
        let wanted = self.image.wants_whole(cell.view(), unsaved);
        if wanted {
            self.image.hand_over(db, cell.take(), unsaved);
        }
        wanted
    }

    /// All keys of a database are about to go; gives back what need not be saved.
    pub fn take_over_all(&self, db: u32, slot: SlotId, parity: Parity, keys: DbSlot) -> DbSlot {
        if self.image.is_void() {
            return keys;
        }
        self.image.hand_over_all(db, slot, keys, parity);
        DbSlot::default()
    }

    /// An entry that was taken out is put here.
    pub fn placed(&self, db: u32, slot: SlotId, entry: &Entry) {
        let view: EntryRef<'_> = entry.view();
        if view.table().is_some() {
            self.image.note_place(Place { db, slot, key: view.key().into() }, view);
        }
    }
}

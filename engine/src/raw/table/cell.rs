//! One item's place in a [`Table`]: what its owner changes an item through.
//!
//! A cell borrows the whole table, so the place stays valid until the cell is gone.

use super::super::entry::Alias;
use super::{Item, PARITY, POINTER, Parity, Place, Table, pointer};
use std::ptr::NonNull;

/// The place of one item in a table.
pub struct Cell<'t, T: Item> {
    pub(super) table: &'t mut Table<T>,
    pub(super) place: Place,
}

impl<'t, T: Item> Cell<'t, T> {
    /// The item.
    pub fn view(&self) -> T::Ref<'_> {
        // SAFETY: the item is ours and the view lives as long as our borrow.
        unsafe { T::view(self.table.raw_at(self.place)) }
    }

    /// The item, for as long as the table is borrowed.
    pub fn into_view(self) -> T::Ref<'t> {
        // SAFETY: as in `view`.
        unsafe { T::view(self.table.raw_at(self.place)) }
    }

    pub(in crate::raw) fn raw(&self) -> NonNull<u8> {
        self.table.raw_at(self.place)
    }

    /// The item's parity bits.
    pub fn parity(&self) -> Parity {
        Parity::of(self.table.word_at(self.place))
    }

    /// Sets the item's parity bits.
    pub fn set_parity(&mut self, parity: Parity) {
        let word = self.table.word_at(self.place).map_addr(|a| a & !PARITY | parity.bits());
        self.table.set_word(self.place, word);
    }

    /// Must be called before the item changes in a way that the table does not see.
    #[inline]
    pub fn before_change(&mut self) {
        self.table.before_change(self.place.segment);
    }

    /// Puts another item with the same key in the place; parity stays. Returns the old one.
    pub fn replace(&mut self, item: T) -> T {
        self.before_change();
        let old = self.table.word_at(self.place);
        let raw = item.into_raw();
        // SAFETY: both items are alive.
        debug_assert!(unsafe { T::key(raw) == T::key(self.raw()) }, "replaced by an item with another key");
        self.table.set_word(self.place, raw.as_ptr().map_addr(|a| a | old.addr() & !POINTER));
        // SAFETY: words of items are not null.
        let old = unsafe { NonNull::new_unchecked(pointer(old)) };
        // SAFETY: both items are alive.
        self.table.item_bytes = self.table.item_bytes + unsafe { T::bytes(raw) } - unsafe { T::bytes(old) };
        // SAFETY: its word is overwritten, so this is the only owner.
        unsafe { T::from_raw(old) }
    }

    /// Lets `edit` turn the item into another with the same key (for example a larger block); parity stays.
    pub fn update(&mut self, edit: impl FnOnce(T) -> T) {
        /// A panic in `edit` would leave a word without its item.
        struct Abort;
        impl Drop for Abort {
            fn drop(&mut self) {
                std::process::abort();
            }
        }
        self.before_change();
        let old = self.table.word_at(self.place);
        // SAFETY: the item is alive.
        self.table.item_bytes -= unsafe { T::bytes(self.raw()) };
        let guard = Abort;
        // SAFETY: we overwrite the word below before anybody can read it.
        let item = edit(unsafe { T::from_raw(NonNull::new_unchecked(pointer(old))) });
        std::mem::forget(guard);
        let raw = item.into_raw();
        // SAFETY: the item is alive.
        self.table.item_bytes += unsafe { T::bytes(raw) };
        self.table.set_word(self.place, raw.as_ptr().map_addr(|a| a | old.addr() & !POINTER));
    }

    /// Removes the item.
    pub fn take(self) -> T {
        self.table.take(self.place)
    }
}

impl Cell<'_, Alias> {
    /// Names another block of the same key, whether or not the one before is still there: that is not looked at.
    pub fn repoint(self, alias: Alias) {
        let word = self.table.word_at(self.place);
        self.table.set_word(self.place, alias.into_raw().as_ptr().map_addr(|a| a | word.addr() & !POINTER));
    }
}

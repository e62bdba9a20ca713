//! The entries of one slot in one database whose keys have a hash tag, in the order of the tag's CRC.
//!
//! ```text
//! word = | CRC bits 13 to 31: 19 bits | entry's address / 8: 45 bits |       a B-tree of words: about 14 bytes a key
//! ```
//! All tags of a slot agree in the CRC's low ten bits. Three more find no room in a word, so a range of words may hold
//! keys of several tags: whoever reads it compares the tags. Words are compared without a look at the entries, and no
//! insertion or removal touches more than a few nodes, however many keys share a tag.
//!
//! 1. Every word names an entry that is alive: see `dbslot.rs`, which takes it out first.

use super::entry::EntryRef;
use super::table::Item;
use std::collections::BTreeSet;
use std::ptr::NonNull;

const ADDRESS_BITS: u32 = 45;
const CRC_SHIFT: u32 = 13;
const ALIGN: u64 = 8;

/// The index.
#[derive(Default)]
pub(super) struct Tags(BTreeSet<Word>);

/// See the module.
type Word = u64;

fn first_of(crc: u32) -> Word {
    u64::from(crc >> CRC_SHIFT) << ADDRESS_BITS
}

fn word(crc: u32, address: usize) -> Word {
    debug_assert!((address as u64).is_multiple_of(ALIGN));
    first_of(crc) | (address as u64 / ALIGN)
}

impl Tags {
    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds an entry whose tag has this CRC.
    pub(super) fn insert(&mut self, crc: u32, entry: EntryRef<'_>) {
        self.0.insert(word(crc, entry.expose()));
    }

    /// Takes the entry at `address` out.
    pub(super) fn remove(&mut self, crc: u32, address: usize) {
        self.0.remove(&word(crc, address));
    }

    /// Whether the entry is in the index under this CRC.
    pub(super) fn contains(&self, crc: u32, entry: EntryRef<'_>) -> bool {
        self.0.contains(&word(crc, entry.address()))
    }

    /// Visits the entries of tags that agree with `crc` in its upper bits, from the place `from` on (0 at first), until
    /// `visit` says to stop. Returns the place to go on from, `None` at the end.
    pub(super) fn scan(&self, crc: u32, from: u64, mut visit: impl FnMut(EntryRef<'_>) -> bool) -> Option<u64> {
        let first = first_of(crc);
        let last = first | ((1 << ADDRESS_BITS) - 1);
        for &word in self.0.range(first.max(from)..=last) {
            let address = (word & ((1 << ADDRESS_BITS) - 1)) * ALIGN;
            let raw = std::ptr::with_exposed_provenance_mut::<u8>(address as usize);
            let Some(raw) = NonNull::new(raw) else { continue };
            // SAFETY: the address of an entry that is alive (1), exposed when it was put in; the view is gone before
            // the index can change.
            let entry = unsafe { <super::entry::Entry as Item>::view(raw) };
            if !visit(entry) {
                return word.checked_add(1).filter(|&next| next <= last);
            }
        }
        None
    }
}

//! The elements of one large value as they are given, until the walker fetches them.

use super::image::Image;
use super::{Element, elements_of};
use crate::raw::entry::{EntryRef, Kind};
use slots::SlotId;
use std::sync::Arc;

/// Where an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The database.
    pub db: u32,
    /// The slot.
    pub slot: SlotId,
    /// The key.
    pub key: Box<[u8]>,
}

/// What a snapshot says of a key before its elements.
#[derive(Clone, Debug)]
pub struct Head {
    /// The database.
    pub db: u32,
    /// The key's name at the cut.
    pub key: Box<[u8]>,
    /// The value's type.
    pub kind: Kind,
    /// Number of elements; of a list, of its nodes.
    pub len: usize,
    /// The expiry at the cut, in Unix milliseconds.
    pub expire_at_ms: Option<i64>,
}

impl Head {
    /// Of an entry of database `db` as it is.
    pub(super) fn of(db: u32, entry: EntryRef<'_>) -> Head {
        let (kind, len) = elements_of(entry);
        Head { db, key: entry.key().into(), kind, len, expire_at_ms: entry.expire_at_ms() }
    }
}

/// Takes the elements of a frozen table.
pub struct Capture {
    image: Arc<Image>,
    pub(super) id: u64,
    pub(super) head: Arc<Head>,
    /// Elements given.
    given: usize,
    /// What was encoded and not fetched.
    bytes: Vec<u8>,
    done: bool,
}

impl Capture {
    pub(super) fn new(image: Arc<Image>, id: u64, head: Head) -> Capture {
        Capture { image, id, head: Arc::new(head), given: 0, bytes: Vec::new(), done: false }
    }

    /// Takes some elements.
    pub fn add(&mut self, elements: &[Element<'_>]) {
        let before = self.bytes.len();
        self.given += elements.len();
        self.image.encode(self.id, |format| format.elements(&self.head, elements, &mut self.bytes));
        self.image.pressure.wait_for_walker(self.bytes.len() - before);
    }

    /// Whether nobody wants the elements any more.
    pub fn is_void(&self) -> bool {
        self.image.is_void()
    }

    /// Whether it is part of `image`.
    pub(super) fn is_of(&self, image: &Arc<Image>) -> bool {
        Arc::ptr_eq(&self.image, image)
    }

    /// Moves what was encoded to the end of `out`.
    pub(super) fn fetch(&mut self, out: &mut Vec<u8>) {
        self.image.pressure.fetched(self.bytes.len());
        out.append(&mut self.bytes);
    }

    /// Says that all was fetched; whether it was as many elements as the head promised.
    pub(super) fn finish(mut self) -> bool {
        self.done = true;
        self.given == self.head.len
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.image.pressure.fetched(self.bytes.len());
        if !self.done && !self.image.is_void() {
            // The value went away without being handed over: better no snapshot than one without it.
            self.image.fail("a value was lost while it was saved");
        }
    }
}

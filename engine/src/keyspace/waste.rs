//! What was unlinked and is to be freed by another thread, because that takes long.

use crate::raw::alloc::Unwritten;
use crate::raw::dbslot::DbSlot;
use crate::raw::entry::{Entry, Value};
use crate::value::list::Debris;

/// Values that were unlinked and take long to free.
#[derive(Default)]
pub struct Garbage(Vec<Waste>);

/// Something that was unlinked and only waits to be freed.
pub enum Waste {
    /// A key with its value.
    Entry(Entry),
    /// Parts of a list.
    List(Debris),
    /// All keys of slots.
    Slots(Vec<DbSlot>),
    /// What somebody was sent, and what is not written of it.
    Buffer(Vec<u8>, Unwritten),
}

impl Waste {
    /// Bytes that freeing it gives back at the least, as far as that can be told at once.
    pub fn bytes_min(&self) -> u64 {
        /// A member with its place in a table; a key with its value.
        const ELEMENT: usize = 24;
        const KEY: usize = 40;
        let bytes = match self {
            Waste::Entry(entry) => match entry.view().value() {
                Value::Int(_) => 0,
                Value::Bytes(bytes) => bytes.len(),
                Value::List(list) => list.heap_bytes(),
                Value::Set(set) => set.free_cost() * ELEMENT,
                Value::ZSet(zset) => zset.free_cost() * ELEMENT,
                Value::Hash(hash) => hash.free_cost() * ELEMENT,
            },
            Waste::List(debris) => debris.bytes(),
            Waste::Buffer(bytes, _) => bytes.len(),
            Waste::Slots(slots) => slots.iter().map(|keys| keys.len() * KEY + keys.table_bytes()).sum(),
        };
        bytes as u64
    }
}

impl Garbage {
    /// Entries whose freeing touches more elements than this are worth another thread.
    const ELEMENTS: usize = 64;
    /// So many bytes of a text are as an element: who frees a long one waits until its pages are given back.
    const BYTES_PER_ELEMENT: usize = 16 * 1024;

    /// Frees a small entry now and keeps a big one for later.
    pub fn add(&mut self, entry: Entry) {
        let elements = match entry.view().value() {
            Value::Int(_) => 0,
            Value::Bytes(bytes) => bytes.len() / Self::BYTES_PER_ELEMENT,
            Value::List(list) => list.free_cost(),
            Value::Set(set) => set.free_cost(),
            Value::ZSet(zset) => zset.free_cost(),
            Value::Hash(hash) => hash.free_cost(),
        };
        if elements > Self::ELEMENTS {
            self.0.push(Waste::Entry(entry));
        }
    }

    /// Keeps the removed parts of a list for later.
    pub fn add_debris(&mut self, debris: Debris) {
        if !debris.is_empty() {
            self.0.push(Waste::List(debris));
        }
    }

    /// Keeps what was a whole database for later.
    pub fn add_slots(&mut self, slots: Vec<DbSlot>) {
        if !slots.is_empty() {
            self.0.push(Waste::Slots(slots));
        }
    }

    /// Whether something waits to be freed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what waits to be freed.
    pub fn take(&mut self) -> Vec<Waste> {
        std::mem::take(&mut self.0)
    }
}

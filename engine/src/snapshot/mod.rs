//! The key space as of one offset of the oplog, read while writes go on.
//!
//! Why: saving, rewriting the AOF and filling a replica need all keys of one moment. A fork would give them at the price
//! of a pause and of copied memory; a walk gives them at the price of a bit a key.
//!
//! ```text
//!   cut      all slots held: flip the parity, note time, sizes and the log's offset           [`Image::cut`]
//!   walk     a thread takes slot after slot for some entries each and marks them saved        [`walk()`]
//!   write    whoever changes an entry that is not marked saves it first, or freezes it        [`Cut`]
//!   end      all entries are marked: the slots are told, the last chunks are collected
//! ```
//! A small entry is encoded by whoever comes first, walker or writer. A string or list that is large is copied or shared
//! by a writer and encoded by the walker. A large table stays where it is and is *frozen* ([`FrostTable`]): its elements
//! are encoded a segment at a time. What a writer removes or replaces is handed over whole.
//!
//! 1. Each entry alive at the cut is saved exactly once, as it was at the cut; no entry born later is saved.
//! 2. Without a snapshot the parity of all entries equals that of their slot: a snapshot that fails or is cancelled
//!    walks to the end all the same, and saves nothing more.
//! 3. What writers leave for the walker is bounded by [`PENDING_BYTES_MAX`] and the objects that they drop: beyond,
//!    [`Pressure::is_full`], and the server lets no write begin that might add to it.
//! 4. The locks here are leaves: nothing else is locked under them.
//!
//! [`FrostTable`]: crate::raw::table::FrostTable

mod capture;
mod cut;
#[cfg(all(test, not(loom)))]
mod frozen_tests;
mod image;
#[cfg(all(test, loom))]
mod loom_tests;
mod pressure;
#[cfg(all(test, not(loom)))]
mod tests;
mod walk;

pub use capture::{Capture, Head, Place};
pub use cut::Cut;
pub use image::{Image, Sizes};
pub use pressure::Pressure;
pub use walk::{Failed, walk};

use crate::raw::entry::{EntryRef, Kind, Value};
use crate::value::list::Node;

/// Bytes that may wait for the walker before writers are to wait.
pub const PENDING_BYTES_MAX: u64 = 64 << 20;
/// Room that there must be before writers go on: waking them for less is not worth it.
const ROOM_BYTES: u64 = 1 << 20;
/// Elements given at a time: what one command of a rewritten AOF holds.
pub const ELEMENTS_MAX: usize = 64;
/// Bytes gathered before they are passed on.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that the walker gathers before it writes them: what it does at a stretch, some 20 us of work.
const WRITE_BYTES: usize = 4 * 1024;
/// A value of more bytes in one piece is not encoded under a slot's lock.
const PIECE_BYTES: usize = 4 * 1024;
/// A table of more elements is not encoded under a slot's lock.
const TABLE_ELEMENTS: usize = 128;

/// A part of a value.
#[derive(Clone, Copy)]
pub enum Element<'a> {
    /// The member of a set.
    Member(&'a [u8]),
    /// Field and value of a hash.
    Pair(&'a [u8], &'a [u8]),
    /// Member and score of a sorted set.
    Scored(&'a [u8], f64),
    /// Some elements of a list.
    Node(Node<'a>),
}

/// How a snapshot is laid out: an RDB file, the commands of an AOF. What it keeps between calls must not show in what it
/// writes, since entries come to several of them in any order.
pub trait Format: Send {
    /// What follows belongs to database `db`; its sizes are given the first time.
    fn database(&mut self, db: u32, sizes: Option<Sizes>, out: &mut Vec<u8>);
    /// A whole key.
    fn entry(&mut self, entry: EntryRef<'_>, out: &mut Vec<u8>);
    /// The beginning of a key whose elements follow in pieces.
    fn head(&mut self, head: &Head, out: &mut Vec<u8>);
    /// At most [`ELEMENTS_MAX`] elements of a key that was begun.
    fn elements(&mut self, head: &Head, elements: &[Element<'_>], out: &mut Vec<u8>);
    /// The end of a key that was begun.
    fn tail(&mut self, head: &Head, out: &mut Vec<u8>);
}

/// How an entry is saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bulk {
    /// At once.
    Small,
    /// As a copy, or as another reference to the same blocks.
    Detached,
    /// Where it is, a segment at a time.
    Table,
}

impl Bulk {
    fn of(entry: EntryRef<'_>) -> Bulk {
        match entry.table() {
            Some(table) if table.elements() > TABLE_ELEMENTS => Bulk::Table,
            _ if entry.value_bytes() > PIECE_BYTES => Bulk::Detached,
            _ => Bulk::Small,
        }
    }
}

/// What is noted of an entry's value besides its elements.
fn elements_of(entry: EntryRef<'_>) -> (Kind, usize) {
    let len = match entry.value() {
        Value::Int(_) | Value::Bytes(_) => 1,
        Value::List(list) => list.node_count(),
        Value::Set(set) => set.len(),
        Value::ZSet(zset) => zset.len(),
        Value::Hash(hash) => hash.len(),
    };
    (entry.kind(), len)
}

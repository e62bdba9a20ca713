//! The thread that takes the snapshot: it alone writes to where the snapshot goes.

use super::capture::{Capture, Head, Place};
use super::image::{Image, Piece};
use super::{Bulk, CHUNK_BYTES, Element, Format, PIECE_BYTES, WRITE_BYTES};
use crate::hash;
use crate::raw::dbslot::DbSlot;
use crate::raw::entry::{Entry, Value};
use crate::raw::lock::Owner;
use crate::raw::table::{FrostTable, Parity};
use crate::slot::Slot;
use slots::SlotId;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Entries dealt with under one hold of a slot.
const GROUP_ENTRIES: usize = 64;
/// Bytes encoded under one hold of a slot.
const GROUP_BYTES: usize = 4 * PIECE_BYTES;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// What was written to failed.
    #[error("{0}")]
    Write(#[from] io::Error),
    /// Cancelled, or another reason of ours.
    #[error("{0}")]
    Void(&'static str),
}

/// Walks over all that was there at the cut, writes it to `to`, and ends the snapshot: when this returns, another one may
/// begin. After a failure the walk goes on to its end, without writing.
pub fn walk(image: &Arc<Image>, owner: &mut Owner<'_, Slot>, to: &mut dyn Write) -> Result<(), Failed> {
    let mut walker = Walker {
        image,
        owner,
        to,
        format: image.make_format(),
        out: Vec::new(),
        out_db: None,
        announced: 0,
        error: None,
    };
    walker.run();
    walker.end();
    if let Some(error) = walker.error {
        return Err(Failed::Write(error));
    }
    if image.is_void() { Err(Failed::Void(image.reason())) } else { Ok(()) }
}

struct Walker<'w, 'l> {
    image: &'w Arc<Image>,
    owner: &'w mut Owner<'l, Slot>,
    to: &'w mut dyn Write,
    format: Box<dyn Format>,
    out: Vec<u8>,
    /// The database that what was written last belongs to.
    out_db: Option<u32>,
    /// Databases up to here were written with their sizes.
    announced: u32,
    error: Option<io::Error>,
}

/// What a group of entries leaves to do once the slot is free again.
#[derive(Default)]
struct Later {
    copies: Vec<Entry>,
    frozen: Vec<(u64, Place)>,
}

impl Walker<'_, '_> {
    fn run(&mut self) {
        for &(db, _) in self.image.sizes() {
            for slot in SlotId::all().take(self.owner.slots()) {
                let mut cursor = 0;
                loop {
                    cursor = self.group(db, slot, cursor);
                    self.drain();
                    if cursor == 0 {
                        break;
                    }
                }
            }
        }
        self.flush();
    }

    /// Deals with some entries of a slot; returns where to go on, 0 at the end.
    fn group(&mut self, db: u32, slot: SlotId, cursor: u64) -> u64 {
        self.select(db);
        let mut later = Later::default();
        let (image, format, out) = (self.image, &mut self.format, &mut self.out);
        let mut held = self.owner.wait_one(slot);
        let parity = held.slot(slot).parity;
        let Some(keys) = held.slot_mut(slot).db_if_used_mut(db) else { return 0 };
        let (start, mut entries) = (out.len(), 0);
        let next = keys.sweep(cursor, image.bit, parity, |entry| {
            entries += 1;
            if !image.is_void() {
                match Bulk::of(entry.view()) {
                    Bulk::Small => format.entry(entry.view(), out),
                    Bulk::Detached => later.copies.push(entry.detach()),
                    Bulk::Table => later.frozen.extend(image.freeze(db, slot, entry)),
                }
            }
            entries < GROUP_ENTRIES && out.len() - start < GROUP_BYTES && later.copies.is_empty()
        });
        drop(held);
        image.marked.fetch_add(entries as u64, Ordering::Relaxed);
        for entry in later.copies {
            self.whole(db, entry);
        }
        for (id, place) in later.frozen {
            self.frozen(id, place);
        }
        self.flush_if_full();
        next
    }

    /// Deals with what writers have left.
    fn drain(&mut self) {
        while let Some(piece) = self.image.next_piece() {
            match piece {
                Piece::Bytes { db, bytes } => {
                    self.select(db);
                    self.out.extend_from_slice(&bytes);
                    self.image.pressure.fetched(bytes.len());
                }
                Piece::Entry { db, entry, bytes, dropped } => {
                    self.whole(db, entry);
                    self.image.pressure.fetched(bytes);
                    self.image.pressure.freed(dropped);
                }
                Piece::Keys { db, keys, parity, dropped, .. } => {
                    self.keys(db, keys, parity);
                    self.image.pressure.freed(dropped);
                }
                Piece::Frozen { id, place } => self.frozen(id, place),
            }
            self.flush_if_full();
        }
    }

    /// All slots are walked: nothing new can come in. Tells the slots, and deals with the rest.
    fn end(&mut self) {
        self.drain();
        {
            let mut held = self.owner.wait_privileged();
            held.add_all();
            for slot in SlotId::all().take(held.slots()) {
                held.slot_mut(slot).end_cut();
            }
        }
        self.drain();
        for (db, bytes) in self.image.collect_lanes() {
            self.select(db);
            self.out.extend_from_slice(&bytes);
            self.image.pressure.fetched(bytes.len());
            self.flush_if_full();
        }
        self.flush();
        self.image.pressure.end();
    }

    // --- values

    /// Saves an entry that is ours alone.
    fn whole(&mut self, db: u32, mut entry: Entry) {
        if self.image.is_void() {
            return;
        }
        self.select(db);
        match Bulk::of(entry.view()) {
            Bulk::Table => {
                let id = match self.image.freeze(db, SlotId::default(), &mut entry) {
                    Some((id, _)) => id,
                    None => return,
                };
                self.owned(id, entry, false);
            }
            _ => match entry.view().value() {
                Value::List(list) => {
                    let head = Head::of(db, entry.view());
                    self.format.head(&head, &mut self.out);
                    for node in list.nodes() {
                        self.format.elements(&head, &[Element::Node(node)], &mut self.out);
                        self.flush_if_full();
                    }
                    self.format.tail(&head, &mut self.out);
                }
                _ => self.format.entry(entry.view(), &mut self.out),
            },
        }
    }

    /// Saves what was a slot's database, and frees it.
    fn keys(&mut self, db: u32, mut keys: DbSlot, parity: Parity) {
        let mut cursor = 0;
        loop {
            self.select(db);
            let mut large = Vec::new();
            let (image, format, out) = (self.image, &mut self.format, &mut self.out);
            let mut entries = 0;
            cursor = keys.sweep(cursor, image.bit, parity, |entry| {
                entries += 1;
                if !image.is_void() {
                    match Bulk::of(entry.view()) {
                        Bulk::Small => format.entry(entry.view(), out),
                        _ => large.push(entry.view().key().to_vec()),
                    }
                }
                out.len() < CHUNK_BYTES
            });
            image.marked.fetch_add(entries, Ordering::Relaxed);
            for key in large {
                if let Some(cell) = keys.find_mut(hash::fast(&key), &key) {
                    self.whole(db, cell.take());
                }
            }
            self.flush_if_full();
            if cursor == 0 {
                return;
            }
        }
    }

    /// Saves a frozen table where it is, a segment under one hold of its slot; follows it where it goes.
    fn frozen(&mut self, id: u64, mut place: Place) {
        let (mut begun, mut moves) = (false, 0);
        loop {
            if let Some(moved) = self.image.place_of(id) {
                (moves, place) = moved;
            }
            let step = self.frozen_step(id, &place, &mut begun);
            match step {
                Step::More => self.flush_if_full(),
                Step::Done => return,
                Step::Other if self.image.is_void() => return,
                Step::Other => {
                    // It was not there: moved once more, perhaps there and back, or handed over.
                    if self.image.place_of(id).is_some_and(|(now, _)| now != moves) {
                        continue;
                    }
                    let Some(entry) = self.image.pull(id, &place) else {
                        self.image.fail("a value that was being saved is gone");
                        return;
                    };
                    return self.owned(id, entry, begun);
                }
            }
        }
    }

    /// Saves the rest of a frozen table that is ours alone.
    fn owned(&mut self, id: u64, mut entry: Entry, mut begun: bool) {
        while let Some(table) = entry.table_mut()
            && self.step(id, table, &mut begun) == Step::More
        {
            self.flush_if_full();
        }
    }

    fn frozen_step(&mut self, id: u64, place: &Place, begun: &mut bool) -> Step {
        // What is taken from the table is written once the slot is free.
        let mut piece = Vec::new();
        let (head, more) = {
            let mut held = self.owner.wait_one(place.slot);
            let keys = held.slot_mut(place.slot).db_if_used_mut(place.db);
            let Some(mut cell) = keys.and_then(|keys| keys.find_mut(hash::fast(&place.key), &place.key)) else {
                return Step::Other;
            };
            let taken = cell.share(|entry| take_segment(id, entry, &mut piece));
            match taken {
                Some(taken) => taken,
                None => return Step::Other,
            }
        };
        self.write_piece(head, &piece, more, begun)
    }

    fn step(&mut self, id: u64, table: &mut dyn FrostTable, begun: &mut bool) -> Step {
        let mut piece = Vec::new();
        match take_from(id, table, &mut piece) {
            Some((head, more)) => self.write_piece(head, &piece, more, begun),
            None => Step::Other,
        }
    }

    fn write_piece(&mut self, head: Arc<Head>, piece: &[u8], more: More, begun: &mut bool) -> Step {
        self.select(head.db);
        if !std::mem::replace(begun, true) {
            self.format.head(&head, &mut self.out);
        }
        self.out.extend_from_slice(piece);
        match more {
            More::Yes => Step::More,
            More::No(capture) => {
                self.format.tail(&head, &mut self.out);
                if !capture.finish() {
                    self.image.fail("a value has another number of elements than it had");
                }
                Step::Done
            }
        }
    }

    // --- output

    /// What is written next belongs to `db`.
    fn select(&mut self, db: u32) {
        if self.out_db == Some(db) {
            return;
        }
        self.out_db = Some(db);
        // Databases are walked in ascending order; pre-images may name one that comes later, without its sizes.
        let first = db >= self.announced;
        let sizes = self.image.sizes().iter().find(|(number, _)| *number == db).map(|(_, sizes)| *sizes);
        if first {
            self.announced = db + 1;
        }
        self.format.database(db, sizes.filter(|_| first), &mut self.out);
    }

    fn flush_if_full(&mut self) {
        if self.out.len() >= WRITE_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.image.is_void()
            && let Err(error) = self.to.write_all(&self.out)
        {
            self.image.fail("writing failed");
            self.error = Some(error);
        }
        self.out.clear();
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    /// Some segments are left.
    More,
    /// All is written.
    Done,
    /// The table is not there.
    Other,
}

enum More {
    Yes,
    No(Capture),
}

fn take_segment(id: u64, entry: &mut Entry, piece: &mut Vec<u8>) -> Option<(Arc<Head>, More)> {
    take_from(id, entry.table_mut()?, piece)
}

/// Takes what is captured, and one segment more.
fn take_from(id: u64, table: &mut dyn FrostTable, piece: &mut Vec<u8>) -> Option<(Arc<Head>, More)> {
    let head = table.capture().filter(|capture| capture.id == id)?.head.clone();
    let more = table.give_next();
    table.capture_mut()?.fetch(piece);
    if more {
        return Some((head, More::Yes));
    }
    Some((head, More::No(table.thaw()?)))
}

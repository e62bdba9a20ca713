//! What all threads share of a snapshot that is under way.

use super::capture::{Capture, Head, Place};
use super::cut::Cut;
use super::{Bulk, CHUNK_BYTES, Format, Pressure};
use crate::clock::Now;
use crate::oplog::{Offset, Oplog};
use crate::raw::dbslot::DbSlot;
use crate::raw::entry::{Entry, EntryRef};
use crate::raw::lock::Held;
use crate::raw::table::Parity;
use crate::records::FilePlace;
use crate::slot::Slot;
use slots::SlotId;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Writers of different slots encode side by side, up to so many.
const LANES: usize = 8;
/// What an object counts at least while it waits.
const OBJECT_BYTES: usize = 64;

/// How many keys a database had at the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sizes {
    /// All.
    pub keys: usize,
    /// Those with an expiry.
    pub expiring: usize,
}

/// Something that waits for the walker.
pub(super) enum Piece {
    /// Encoded entries of one database.
    Bytes { db: u32, bytes: Vec<u8> },
    /// An entry that nobody else has.
    Entry { db: u32, entry: Entry, bytes: usize, dropped: usize },
    /// What was a slot's database: the entries that are not marked are to be saved.
    Keys { db: u32, slot: SlotId, keys: DbSlot, parity: Parity, dropped: usize },
    /// A frozen table, where it was then.
    Frozen { id: u64, place: Place },
}

#[derive(Default)]
struct Lane {
    format: Option<Box<dyn Format>>,
    db: u32,
    out: Vec<u8>,
}

/// The key space as of one offset. A key that is past its expiry is in it as long as the log has no DEL of it: whoever goes
/// on from here, and has gone on with the log's readers, must be able to send them one.
pub struct Image {
    pub(super) bit: Parity,
    now_ms: i64,
    place: FilePlace,
    sizes: Vec<(u32, Sizes)>,
    make: Box<dyn Fn() -> Box<dyn Format> + Send + Sync>,
    lanes: [Mutex<Lane>; LANES],
    queue: Mutex<VecDeque<Piece>>,
    /// Where frozen tables went that were renamed or moved, and the number of that move.
    moved: Mutex<HashMap<u64, (u64, Place)>>,
    next_id: AtomicU64,
    pub(super) pressure: Arc<Pressure>,
    void: AtomicBool,
    reason: Mutex<Option<&'static str>>,
    /// Entries that were marked.
    pub(super) marked: AtomicU64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Image {
    /// Begins a snapshot: the key space as it is at this moment. `held` must hold every slot, and no other snapshot may
    /// be under way. `make` makes as many encoders as there are threads that need one; `pressure` says when writers
    /// should not begin anything. The log's next record begins with a SELECT.
    ///
    /// [`walk`](super::walk()) must follow, whatever happens: it ends the snapshot.
    pub fn cut(
        held: &mut Held<'_, Slot>,
        oplog: &Oplog,
        now: Now,
        pressure: Arc<Pressure>,
        make: impl Fn() -> Box<dyn Format> + Send + Sync + 'static,
    ) -> Arc<Image> {
        held.add_all();
        let slots = held.slots();
        let mut sizes: Vec<(u32, Sizes)> = Vec::new();
        for slot in SlotId::all().take(slots) {
            for (db, keys) in held.slot(slot).dbs().filter(|(_, keys)| !keys.is_empty()) {
                let at = sizes.partition_point(|(number, _)| *number < db);
                if sizes.get(at).is_none_or(|(number, _)| *number != db) {
                    sizes.insert(at, (db, Sizes::default()));
                }
                sizes[at].1.keys += keys.len();
                sizes[at].1.expiring += keys.expires_len();
            }
        }
        pressure.begin();
        let image = Arc::new(Image {
            bit: Parity::A,
            now_ms: now.ms,
            place: oplog.cut(),
            sizes,
            make: Box::new(make),
            lanes: Default::default(),
            queue: Mutex::default(),
            moved: Mutex::default(),
            next_id: AtomicU64::new(0),
            pressure,
            void: AtomicBool::new(false),
            reason: Mutex::default(),
            marked: AtomicU64::new(0),
        });
        for slot in SlotId::all().take(slots) {
            held.slot_mut(slot).begin_cut(Cut { image: image.clone() });
        }
        image
    }

    /// The offset of the log up to which the image has everything, and after which it has nothing.
    pub fn offset(&self) -> Offset {
        self.place.offset
    }

    /// The place in the file that has all that the image has.
    pub fn place(&self) -> FilePlace {
        self.place
    }

    /// The moment of the cut, in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The databases that had keys, ascending, with how many.
    pub fn sizes(&self) -> &[(u32, Sizes)] {
        &self.sizes
    }

    /// Keys at the cut, and how many of them are dealt with.
    pub fn progress(&self) -> (u64, u64) {
        let all = self.sizes.iter().map(|(_, sizes)| sizes.keys as u64).sum();
        (all, self.marked.load(Ordering::Relaxed).min(all))
    }

    /// Bytes that wait for the walker.
    pub fn pending(&self) -> u64 {
        self.pressure.pending()
    }

    /// Tables that were frozen so far.
    pub fn frozen(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed)
    }

    /// Lets the snapshot end without a result.
    pub fn cancel(&self) {
        self.fail("cancelled");
    }

    pub(super) fn fail(&self, reason: &'static str) {
        lock(&self.reason).get_or_insert(reason);
        self.void.store(true, Ordering::Release);
    }

    /// Whether it was cancelled or has failed: nothing need be saved any more.
    pub fn is_void(&self) -> bool {
        self.void.load(Ordering::Acquire)
    }

    pub(super) fn reason(&self) -> &'static str {
        lock(&self.reason).unwrap_or("failed")
    }

    pub(super) fn make_format(&self) -> Box<dyn Format> {
        (self.make)()
    }

    // --- what writers leave

    /// Encodes something, side by side with others.
    pub(super) fn encode<R>(&self, lane: u64, with: impl FnOnce(&mut dyn Format) -> R) -> R {
        let mut lane = lock(&self.lanes[lane as usize % LANES]);
        with(lane.format.get_or_insert_with(|| (self.make)()).as_mut())
    }

    fn push(&self, piece: Piece) {
        lock(&self.queue).push_back(piece);
    }

    /// Saves an entry that is about to change in place.
    pub(super) fn keep(self: &Arc<Image>, db: u32, slot: SlotId, entry: &mut Entry) {
        self.marked.fetch_add(1, Ordering::Relaxed);
        if self.is_void() {
            return;
        }
        match Bulk::of(entry.view()) {
            Bulk::Small => self.keep_small(db, slot, entry.view()),
            Bulk::Detached => {
                let copy = entry.detach();
                self.give(db, copy);
            }
            Bulk::Table => {
                if let Some((id, place)) = self.freeze(db, slot, entry) {
                    self.push(Piece::Frozen { id, place });
                }
            }
        }
    }

    fn keep_small(&self, db: u32, slot: SlotId, entry: EntryRef<'_>) {
        let mut lane = lock(&self.lanes[slot.index() % LANES]);
        let Lane { format, db: lane_db, out } = &mut *lane;
        if *lane_db != db || out.len() >= CHUNK_BYTES {
            if !out.is_empty() {
                self.push(Piece::Bytes { db: *lane_db, bytes: std::mem::take(out) });
            }
            *lane_db = db;
        }
        let before = out.len();
        format.get_or_insert_with(|| (self.make)()).entry(entry, out);
        self.pressure.wait_for_walker(out.len() - before);
    }

    /// Freezes the entry's table; gives its number and where it is.
    pub(super) fn freeze(self: &Arc<Image>, db: u32, slot: SlotId, entry: &mut Entry) -> Option<(u64, Place)> {
        let head = Head::of(db, entry.view());
        let place = Place { db, slot, key: entry.view().key().into() };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        entry.table_mut()?.freeze(Capture::new(self.clone(), id, head));
        Some((id, place))
    }

    /// Takes an entry that nobody else has.
    fn give(&self, db: u32, entry: Entry) {
        let bytes = entry.view().value_bytes() + OBJECT_BYTES;
        self.pressure.wait_for_walker(bytes);
        self.push(Piece::Entry { db, entry, bytes, dropped: 0 });
    }

    /// Whether an entry that is to be dropped must be handed over whole instead.
    pub(super) fn wants_whole(self: &Arc<Image>, entry: EntryRef<'_>, unsaved: bool) -> bool {
        if self.is_void() {
            return false;
        }
        let frozen = entry.table().and_then(|table| table.capture()).is_some_and(|capture| capture.is_of(self));
        frozen || unsaved && Bulk::of(entry) != Bulk::Small
    }

    /// Takes an entry that was removed, instead of freeing it.
    pub(super) fn hand_over(&self, db: u32, entry: Entry, unsaved: bool) {
        self.marked.fetch_add(u64::from(unsaved), Ordering::Relaxed);
        // It would be there anyway until another thread has freed it, so its bytes are no reason to make writers wait.
        self.pressure.wait_for_walker(OBJECT_BYTES);
        let dropped = entry.view().footprint();
        self.pressure.dropped(dropped);
        self.push(Piece::Entry { db, entry, bytes: OBJECT_BYTES, dropped });
    }

    /// Takes all keys of a slot's database.
    pub(super) fn hand_over_all(&self, db: u32, slot: SlotId, keys: DbSlot, parity: Parity) {
        let dropped = keys.entry_bytes() + keys.table_bytes();
        self.pressure.dropped(dropped);
        self.push(Piece::Keys { db, slot, keys, parity, dropped });
    }

    /// Notes where an entry went, if it is frozen.
    pub(super) fn note_place(self: &Arc<Image>, place: Place, entry: EntryRef<'_>) {
        let capture = entry.table().and_then(|table| table.capture());
        if let Some(capture) = capture.filter(|capture| capture.is_of(self)) {
            let mut moved = lock(&self.moved);
            let moves = moved.get(&capture.id).map_or(0, |(moves, _)| *moves);
            moved.insert(capture.id, (moves + 1, place));
        }
    }

    // --- what the walker fetches

    pub(super) fn next_piece(&self) -> Option<Piece> {
        lock(&self.queue).pop_front()
    }

    /// The unfinished chunks of all lanes.
    pub(super) fn collect_lanes(&self) -> Vec<(u32, Vec<u8>)> {
        let take = |lane: &Mutex<Lane>| {
            let mut lane = lock(lane);
            (lane.db, std::mem::take(&mut lane.out))
        };
        self.lanes.iter().map(take).filter(|(_, out)| !out.is_empty()).collect()
    }

    /// The number of the last move of a frozen table, and where it went.
    pub(super) fn place_of(&self, id: u64) -> Option<(u64, Place)> {
        lock(&self.moved).get(&id).cloned()
    }

    /// Takes a frozen entry out of what was handed over.
    pub(super) fn pull(&self, id: u64, place: &Place) -> Option<Entry> {
        let is = |entry: EntryRef<'_>| {
            entry.table().and_then(|table| table.capture()).is_some_and(|capture| capture.id == id)
        };
        let mut queue = lock(&self.queue);
        for at in 0..queue.len() {
            match &mut queue[at] {
                Piece::Entry { entry, .. } if is(entry.view()) => {
                    let Some(Piece::Entry { entry, bytes, dropped, .. }) = queue.remove(at) else { return None };
                    self.pressure.fetched(bytes);
                    self.pressure.freed(dropped);
                    return Some(entry);
                }
                Piece::Keys { db, slot, keys, .. } if *db == place.db && *slot == place.slot => {
                    let cell = keys.find_mut(crate::hash::fast(&place.key), &place.key);
                    if let Some(cell) = cell.filter(|cell| is(cell.view())) {
                        return Some(cell.take());
                    }
                }
                _ => {}
            }
        }
        None
    }
}

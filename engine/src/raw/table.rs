//! A hash table of owned, thin items: segmented extendible hashing over 64-byte buckets.
//!
//! Why: no operation may re-hash more than one segment (480 items), however large the table, and a cursor must stay
//! right while the table grows and shrinks under it.
//!
//! ```text
//! hash    = the key's hash, mixed with the table's own seed
//!         = | fragment 16 bits | order 48 bits, most significant first |
//! order   = | `depth` bits choose the segment | 6 bits choose its bucket | rest |
//! word    = | link 1 | parity 2 | fragment 13 | pointer 48 |                         null = empty
//! bucket  = 8 words = one cache line; word 7 with the link bit points to a child bucket of the same layout
//! segment = 64 buckets = 4096 bytes; a table of one segment may have 1, 2, 4 .. 64 buckets
//! ```
//!
//! Invariants (checked by [`Table::verify`]):
//! 1. Every bucket, at every depth, covers one contiguous interval of the order, so [`Table::scan`] by order position
//!    visits everything that stays present, whatever splits and merges happen in between.
//! 2. A word's fragment equals its item's; only word 7 of a bucket may be a link; a child bucket is never empty.
//! 3. `len` is the number of non-empty, non-link words, per segment and in total; `item_bytes` is what their items take.
//! 4. A bucket chain longer than [`CHILDREN_MAX`] children re-seeds the table with SipHash: keys that were made to
//!    collide under the fast hash do not collide under a keyed one.
//! 5. No two tables have the same order: what is read from one in order (a copy, a scan by a client) arrives at another in
//!    no order, and does not fill one bucket after the other.

mod cell;
mod frost;
mod resize;

pub use cell::Cell;
pub use frost::{Elements, FrostTable};

use super::prefetch;
use crate::hash;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

const ORDER_BITS: u32 = 48;
const ORDER_END: u64 = 1 << ORDER_BITS;
const WORDS: usize = 8;
const BUCKET_BITS: u32 = 6;
/// A segment with this many items splits.
const SPLIT_AT: usize = 480;
/// A segment of a table that is expected to become much larger splits with this many already: few items are moved then.
const SPLIT_EARLY_AT: usize = SPLIT_AT / 4;
/// Two sibling segments with together fewer items than this merge.
const MERGE_BELOW: usize = 112;
/// The deepest prefix: the bucket bits need the rest of the order.
const DEPTH_MAX: u8 = (ORDER_BITS - BUCKET_BITS) as u8;
/// More child buckets than this in one chain cannot come from honest keys.
const CHILDREN_MAX: usize = 6;

const POINTER: usize = (1 << 48) - 1;
const FRAGMENT_SHIFT: u32 = 48;
const FRAGMENT: usize = 0x1fff << FRAGMENT_SHIFT;
const LINK: usize = 1 << 63;
const PARITY: usize = 3 << 61;

/// The two parity bits of a word, which snapshots use to tell saved items from unsaved ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parity(u8);

impl Parity {
    /// Bit A belongs to whole-keyspace snapshots.
    pub const A: Parity = Parity(1);
    /// Bit B belongs to slot exports.
    pub const B: Parity = Parity(2);
    /// Neither bit.
    pub const NONE: Parity = Parity(0);

    /// This parity with the bits of `which` taken from `value`.
    #[must_use]
    pub fn with(self, which: Parity, value: Parity) -> Parity {
        Parity(self.0 & !which.0 | value.0 & which.0)
    }

    /// Whether the bits of `which` are equal in both.
    pub fn agrees(self, which: Parity, other: Parity) -> bool {
        (self.0 ^ other.0) & which.0 == 0
    }

    /// All bits of `which` inverted.
    #[must_use]
    pub fn flipped(self, which: Parity) -> Parity {
        Parity(self.0 ^ which.0)
    }

    fn bits(self) -> usize {
        (self.0 as usize) << 61
    }

    fn of(word: Word) -> Parity {
        Parity(((word.addr() >> 61) & 3) as u8)
    }
}

/// An owning pointer to one heap block that has key bytes in it.
///
/// # Safety
/// `into_raw` returns a pointer whose address fits 48 bits; `from_raw` undoes it; `key` and `view` may be called on any
/// pointer that came from `into_raw` and has not been given back, and the bytes returned by `key` do not change while
/// the table owns the item.
pub unsafe trait Item: Sized {
    /// What a reader of the table sees.
    type Ref<'a>;
    /// Gives up ownership.
    fn into_raw(self) -> NonNull<u8>;
    /// Takes ownership back.
    ///
    /// # Safety
    /// `raw` came from `into_raw` and was not taken back yet.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;
    /// The key of the item behind `raw`.
    ///
    /// # Safety
    /// The item is alive and not changed during `'a`.
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8];
    /// A view of the item behind `raw`.
    ///
    /// # Safety
    /// The item is alive during `'a`, and nobody changes it but through the view.
    unsafe fn view<'a>(raw: NonNull<u8>) -> Self::Ref<'a>;
    /// Bytes that the table counts for the item behind `raw`: its block, or nothing where somebody else counts.
    ///
    /// # Safety
    /// The item is alive.
    unsafe fn bytes(raw: NonNull<u8>) -> usize {
        let _ = raw;
        0
    }
}

type Word = *mut u8;

#[repr(C, align(64))]
struct Bucket([Word; WORDS]);

struct Segment {
    buckets: NonNull<Bucket>,
    /// The first order position it covers.
    start: u64,
    len: u32,
    depth: u8,
    /// log2 of the number of buckets; below 6 only in a table of one segment.
    bits: u8,
}

/// The table. `T` owns its blocks; dropping the table drops them.
pub struct Table<T: Item> {
    /// By the first `depth` bits of the order: index into `segments`. Empty while there is at most one segment.
    directory: Vec<u32>,
    segments: Vec<Segment>,
    len: usize,
    /// What [`Item::bytes`] says of all items.
    item_bytes: usize,
    depth: u8,
    /// Segments with shorter prefixes than this split early.
    expected_depth: u8,
    keyed: bool,
    /// Drawn with the first segment.
    seed: u32,
    /// While a snapshot reads it.
    frost: Option<Box<frost::Frost<T>>>,
    _items: PhantomData<T>,
}

// SAFETY: the table owns its items through its pointers; sending it sends them.
unsafe impl<T: Item + Send> Send for Table<T> {}
// SAFETY: `&Table` gives out only views of items, as `&T` would.
unsafe impl<T: Item + Sync> Sync for Table<T> {}

/// Where an item sits: valid until the table is changed.
#[derive(Clone, Copy)]
struct Place {
    segment: usize,
    head: NonNull<Bucket>,
    bucket: NonNull<Bucket>,
    index: usize,
}

fn order_of(hash: u64) -> u64 {
    hash & (ORDER_END - 1)
}

fn fragment_of(hash: u64) -> usize {
    ((hash >> 48) as usize & 0x1fff) << FRAGMENT_SHIFT
}

fn pointer(word: Word) -> *mut u8 {
    word.map_addr(|a| a & POINTER)
}

fn is_link(word: Word) -> bool {
    word.addr() & LINK != 0
}

fn child_of(word: Word) -> NonNull<Bucket> {
    debug_assert!(is_link(word));
    // SAFETY: a link word is made by `link_to` from a non-null bucket.
    unsafe { NonNull::new_unchecked(pointer(word).cast()) }
}

fn link_to(bucket: NonNull<Bucket>) -> Word {
    bucket.as_ptr().cast::<u8>().map_addr(|a| a | LINK)
}

fn buckets_layout(bits: u8) -> Layout {
    // SAFETY: 64-byte alignment and a size of at most 4096 bytes that is a multiple of it.
    unsafe { Layout::from_size_align_unchecked(size_of::<Bucket>() << bits, align_of::<Bucket>()) }
}

fn alloc_buckets(bits: u8) -> NonNull<Bucket> {
    let layout = buckets_layout(bits);
    // SAFETY: the layout is not empty; zeroed words are null, that is empty.
    let raw = unsafe { alloc_zeroed(layout) };
    NonNull::new(raw.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// `buckets` came from `alloc_buckets(bits)` and is not used again.
unsafe fn free_buckets(buckets: NonNull<Bucket>, bits: u8) {
    // SAFETY: by the caller's promise.
    unsafe { dealloc(buckets.as_ptr().cast(), buckets_layout(bits)) }
}

impl Bucket {
    /// Bit i is set where word i carries `fragment` (empty words too when it is 0).
    #[inline(always)]
    fn matches(&self, fragment: usize) -> u32 {
        let mut mask = 0;
        for (i, word) in self.0.iter().enumerate() {
            mask |= u32::from((word.addr() ^ fragment) & FRAGMENT == 0) << i;
        }
        mask
    }
}

impl Segment {
    /// The order position behind the bucket that covers `order`.
    fn bucket_end(&self, order: u64) -> u64 {
        let span = 1u64 << (ORDER_BITS - u32::from(self.depth) - u32::from(self.bits));
        (order & !(span - 1)) + span
    }
}

impl<T: Item> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Item> Table<T> {
    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        Table {
            directory: Vec::new(),
            segments: Vec::new(),
            len: 0,
            item_bytes: 0,
            depth: 0,
            expected_depth: 0,
            keyed: false,
            seed: 0,
            frost: None,
            _items: PhantomData,
        }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the items' blocks. O(1).
    pub fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// Bytes of the table itself: segments, child buckets, directory; not the items.
    pub fn table_bytes(&self) -> usize {
        let mut bytes = self.directory.capacity() * 4 + self.segments.capacity() * size_of::<Segment>();
        for segment in &self.segments {
            bytes += size_of::<Bucket>() << segment.bits;
            for b in 0..1usize << segment.bits {
                bytes += self.children(segment, b) * size_of::<Bucket>();
            }
        }
        bytes
    }

    /// Number of top-level buckets: the denominator of a scan's progress.
    pub fn buckets(&self) -> usize {
        self.segments.iter().map(|s| 1usize << s.bits).sum()
    }

    /// Whether hostile keys made the table switch to the keyed hash.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    #[inline]
    fn effective(&self, hash: u64, key: &[u8]) -> u64 {
        self.mixed(if self.keyed { hash::keyed(key) } else { hash })
    }

    /// A key's hash under the table's own seed.
    #[inline(always)]
    fn mixed(&self, hash: u64) -> u64 {
        let product = u128::from(hash) * u128::from(0x9e37_79b9_7f4a_7c15 ^ (u64::from(self.seed) << 16));
        (product >> 64) as u64 ^ product as u64
    }

    fn hash_of(&self, raw: NonNull<u8>) -> u64 {
        // SAFETY: only called for items the table owns.
        let key = unsafe { T::key(raw) };
        self.mixed(if self.keyed { hash::keyed(key) } else { hash::fast(key) })
    }

    #[inline]
    fn segment_at(&self, order: u64) -> usize {
        if self.depth == 0 {
            0
        } else {
            self.directory[(order >> (ORDER_BITS - u32::from(self.depth))) as usize] as usize
        }
    }

    /// The head bucket that covers `order`. The table must not be empty of segments.
    #[inline]
    fn bucket_at(&self, order: u64) -> (usize, NonNull<Bucket>) {
        let s = self.segment_at(order);
        let segment = &self.segments[s];
        let shift = ORDER_BITS - u32::from(segment.depth) - u32::from(segment.bits);
        let index = (order >> shift) as usize & ((1 << segment.bits) - 1);
        // SAFETY: the index is below the number of buckets of the segment.
        (s, unsafe { segment.buckets.add(index) })
    }

    #[inline]
    fn place(&self, hash: u64, key: &[u8]) -> Option<Place> {
        if self.segments.is_empty() {
            return None;
        }
        let hash = self.effective(hash, key);
        let (segment, head) = self.bucket_at(order_of(hash));
        let fragment = fragment_of(hash);
        let mut bucket = head;
        loop {
            // SAFETY: buckets of our segments and their children are alive while we are borrowed.
            let words = unsafe { bucket.as_ref() };
            let mut mask = words.matches(fragment);
            while mask != 0 {
                let index = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                let word = words.0[index];
                if is_link(word) {
                    continue;
                }
                if let Some(raw) = NonNull::new(pointer(word)) {
                    // SAFETY: a non-null, non-link word holds an item that we own.
                    if unsafe { T::key(raw) } == key {
                        return Some(Place { segment, head, bucket, index });
                    }
                }
            }
            if !is_link(words.0[WORDS - 1]) {
                return None;
            }
            bucket = child_of(words.0[WORDS - 1]);
        }
    }

    /// Starts loading the bucket of `hash` into the cache.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if !self.segments.is_empty() {
            prefetch::read(self.bucket_at(order_of(self.mixed(hash))).1.as_ptr());
        }
    }

    /// Starts loading the items whose fragment fits `hash`; reads the bucket, so prefetch that first.
    #[inline]
    pub fn prefetch_item(&self, hash: u64) {
        if self.segments.is_empty() {
            return;
        }
        let hash = self.mixed(hash);
        let bucket = self.bucket_at(order_of(hash)).1;
        // SAFETY: as in `place`.
        let words = unsafe { bucket.as_ref() };
        let mut mask = words.matches(fragment_of(hash));
        while mask != 0 {
            let word = words.0[mask.trailing_zeros() as usize];
            mask &= mask - 1;
            prefetch::read(pointer(word));
        }
    }

    /// The item with this key. `hash` is [`hash::fast`] of the key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<T::Ref<'_>> {
        let place = self.place(hash, key)?;
        // SAFETY: the item is ours and the view lives as long as our borrow.
        Some(unsafe { T::view(self.raw_at(place)) })
    }

    /// Whether an item has this key.
    pub fn contains(&self, hash: u64, key: &[u8]) -> bool {
        self.place(hash, key).is_some()
    }

    /// A handle on the place of the item with this key, to change or remove it.
    #[inline]
    pub fn find_cell(&mut self, hash: u64, key: &[u8]) -> Option<Cell<'_, T>> {
        let place = self.place(hash, key)?;
        Some(Cell { table: self, place })
    }

    fn word_at(&self, place: Place) -> Word {
        // SAFETY: a `Place` is valid until the table changes, and its index is below 8.
        unsafe { place.bucket.as_ref().0[place.index] }
    }

    fn raw_at(&self, place: Place) -> NonNull<u8> {
        // SAFETY: a `Place` names a word that holds an item.
        unsafe { NonNull::new_unchecked(pointer(self.word_at(place))) }
    }

    fn set_word(&mut self, place: Place, word: Word) {
        let mut bucket = place.bucket;
        // SAFETY: valid place, and we are borrowed exclusively.
        unsafe { bucket.as_mut().0[place.index] = word }
    }

    /// Adds an item whose key is not in the table yet. `hash` is [`hash::fast`] of its key.
    pub fn insert_new(&mut self, hash: u64, item: T, parity: Parity) {
        let raw = item.into_raw();
        debug_assert!(raw.as_ptr().addr() & !POINTER == 0, "an address of more than 48 bits");
        if self.segments.is_empty() {
            self.seed = hash::table_seed();
            self.segments.push(Segment { buckets: alloc_buckets(0), start: 0, len: 0, depth: 0, bits: 0 });
        }
        // SAFETY: we own the item now.
        let hash = self.effective(hash, unsafe { T::key(raw) });
        let mut s = self.segment_at(order_of(hash));
        self.before_change(s);
        while self.is_full(s) && self.grow(s) {
            s = self.segment_at(order_of(hash));
        }
        let (s, head) = self.bucket_at(order_of(hash));
        let word = raw.as_ptr().map_addr(|a| a | fragment_of(hash) | parity.bits());
        let children = put(head, word);
        self.segments[s].len += 1;
        self.len += 1;
        // SAFETY: ours, and alive.
        self.item_bytes += unsafe { T::bytes(raw) };
        if children > CHILDREN_MAX && !self.keyed {
            self.reseed();
        }
    }

    /// Removes and returns the item with this key.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let place = self.place(hash, key)?;
        Some(self.take(place))
    }

    fn take(&mut self, place: Place) -> T {
        self.before_change(place.segment);
        let raw = self.raw_at(place);
        self.set_word(place, ptr::null_mut());
        close_gap(place.head, place.bucket, place.index);
        self.segments[place.segment].len -= 1;
        self.len -= 1;
        // SAFETY: still alive.
        self.item_bytes -= unsafe { T::bytes(raw) };
        self.shrink(place.segment);
        // SAFETY: its word is gone, so this is the only owner.
        unsafe { T::from_raw(raw) }
    }

    /// Re-hashes everything under the keyed hash. Cursors of running scans lose their meaning, as an attacker's price.
    #[cold]
    fn reseed(&mut self) {
        self.before_reorder();
        let segments = std::mem::take(&mut self.segments);
        self.directory = Vec::new();
        (self.len, self.item_bytes, self.depth, self.keyed) = (0, 0, 0, true);
        for segment in segments {
            drain(segment, |word| {
                // SAFETY: `drain` yields each owned word once, and no segment names it any more.
                let item = unsafe { T::from_raw(NonNull::new_unchecked(pointer(word))) };
                self.insert_new(0, item, Parity::of(word));
            });
        }
    }

    fn children(&self, segment: &Segment, bucket: usize) -> usize {
        // SAFETY: the caller's index is below the number of buckets.
        let mut at = unsafe { segment.buckets.add(bucket) };
        let mut count = 0;
        // SAFETY: heads and children are alive while we are borrowed.
        while let word = unsafe { at.as_ref() }.0[WORDS - 1]
            && is_link(word)
        {
            at = child_of(word);
            count += 1;
        }
        count
    }

    /// Visits all items of the bucket that covers order position `cursor` and returns the position after it, 0 at the
    /// end. Starting from 0 and following the positions visits every item present throughout at least once.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(T::Ref<'a>)) -> u64 {
        self.scan_words(cursor, |word| {
            // SAFETY: words of items we own; the views live as long as our borrow.
            visit(unsafe { T::view(NonNull::new_unchecked(pointer(word))) });
        })
    }

    fn scan_words(&self, cursor: u64, mut visit: impl FnMut(Word)) -> u64 {
        if self.segments.is_empty() || cursor >= ORDER_END {
            return 0;
        }
        let (s, bucket) = self.bucket_at(cursor);
        let end = self.segments[s].bucket_end(cursor);
        let next = if end >= ORDER_END { 0 } else { end };
        // Who goes on finds the next bucket's items on their way.
        for_each_word(self.bucket_at(next).1, &mut |word| prefetch::read(pointer(word)));
        for_each_word(bucket, &mut visit);
        next
    }

    /// Visits the items whose parity differs from `parity` in the bits of `which`, bucket by bucket from order position
    /// `cursor` on, and makes their parity agree, until `visit` says that it is enough. Returns the position after the
    /// last bucket, 0 at the end.
    pub(super) fn sweep(
        &mut self,
        mut cursor: u64,
        which: Parity,
        parity: Parity,
        mut visit: impl FnMut(NonNull<u8>) -> bool,
    ) -> u64 {
        if self.segments.is_empty() {
            return 0;
        }
        loop {
            let (s, bucket) = self.bucket_at(cursor);
            let end = self.segments[s].bucket_end(cursor);
            if end < ORDER_END {
                for_each_word(self.bucket_at(end).1, &mut |word| prefetch::read(pointer(word)));
            }
            let mut go_on = true;
            for_each_word_mut(bucket, &mut |word| {
                if !Parity::of(*word).agrees(which, parity) {
                    let saved = Parity::of(*word).with(which, parity);
                    *word = word.map_addr(|a| a & !PARITY | saved.bits());
                    // SAFETY: words of items are not null.
                    go_on &= visit(unsafe { NonNull::new_unchecked(pointer(*word)) });
                }
            });
            if end >= ORDER_END {
                return 0;
            }
            if !go_on {
                return end;
            }
            cursor = end;
        }
    }

    /// All items, in order.
    pub fn iter(&self) -> impl Iterator<Item = T::Ref<'_>> {
        /// Items whose loading is under way ahead of the one that is returned.
        const AHEAD: usize = 16;
        let mut batch = VecDeque::new();
        let mut cursor = Some(0);
        std::iter::from_fn(move || {
            while batch.len() <= AHEAD
                && let Some(from) = cursor
            {
                let next = self.scan_words(from, |word| {
                    prefetch::read(pointer(word));
                    batch.push_back(word);
                });
                cursor = (next != 0).then_some(next);
            }
            let word = batch.pop_front()?;
            // SAFETY: as in `scan`.
            Some(unsafe { T::view(NonNull::new_unchecked(pointer(word))) })
        })
    }

    /// One item, each with the same chance. `random` gives uniform 64-bit numbers.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<T::Ref<'_>> {
        // SAFETY: an item of ours, viewed while we are borrowed.
        Some(unsafe { T::view(self.random_raw(random)?) })
    }

    /// Removes and returns one item, each with the same chance. `random` gives uniform 64-bit numbers.
    pub fn take_random(&mut self, random: impl FnMut() -> u64) -> Option<T> {
        let raw = self.random_raw(random)?;
        // SAFETY: an item of ours; its key is last used while it is still in the table.
        let key = unsafe { T::key(raw) };
        let place = self.place(hash::fast(key), key)?;
        Some(self.take(place))
    }

    fn random_raw(&self, mut random: impl FnMut() -> u64) -> Option<NonNull<u8>> {
        /// Words looked at in one bucket chain: rejection makes the choice uniform as long as chains are not longer.
        const WINDOW: usize = 24;
        /// Places drawn at once, so that their cache misses overlap.
        const DRAWS: usize = 8;
        if self.len == 0 {
            return None;
        }
        for _ in 0..10_000 {
            let draws: [_; DRAWS] = std::array::from_fn(|_| {
                let r = random();
                let segment = &self.segments[((r >> 32) as usize * self.segments.len()) >> 32];
                // SAFETY: the index is below the number of buckets.
                let bucket = unsafe { segment.buckets.add(r as usize & ((1 << segment.bits) - 1)) };
                prefetch::read(bucket.as_ptr());
                (bucket, (((r >> 8) & 0xff_ffff) as usize * WINDOW) >> 24)
            });
            for (bucket, pick) in draws {
                let mut seen = 0;
                let mut chosen = ptr::null_mut();
                for_each_word(bucket, &mut |word| {
                    if seen == pick {
                        chosen = word;
                    }
                    seen += 1;
                });
                if let Some(raw) = NonNull::new(pointer(chosen)) {
                    return Some(raw);
                }
            }
        }
        // So sparse that rejection does not end (many empty buckets): take from a list of all.
        let found = self.all_words();
        let word = found[(random() % found.len() as u64) as usize];
        NonNull::new(pointer(word))
    }

    fn all_words(&self) -> Vec<Word> {
        let mut words = Vec::with_capacity(self.len);
        let mut cursor = 0;
        loop {
            cursor = self.scan_words(cursor, |word| words.push(word));
            if cursor == 0 {
                return words;
            }
        }
    }

    /// Checks the invariants; panics with what is wrong. For tests and DEBUG.
    pub fn verify(&self) {
        let (mut total, mut bytes) = (0, 0);
        for (s, segment) in self.segments.iter().enumerate() {
            let mut len = 0;
            for b in 0..1usize << segment.bits {
                // SAFETY: the index is below the number of buckets.
                let head = unsafe { segment.buckets.add(b) };
                for_each_word(head, &mut |word| {
                    // SAFETY: words of items are not null.
                    let raw = unsafe { NonNull::new_unchecked(pointer(word)) };
                    // SAFETY: an item we own.
                    bytes += unsafe { T::bytes(raw) };
                    let hash = self.hash_of(raw);
                    assert_eq!(word.addr() & FRAGMENT, fragment_of(hash), "a word's fragment differs from its item's");
                    assert_eq!(self.bucket_at(order_of(hash)), (s, head), "an item is in the wrong bucket");
                    len += 1;
                });
                assert!(self.keyed || self.children(segment, b) <= CHILDREN_MAX + 1);
            }
            assert_eq!(len, segment.len as usize, "a segment's len is wrong");
            total += len;
        }
        assert_eq!(total, self.len, "the table's len is wrong");
        assert_eq!(bytes, self.item_bytes, "the items have other bytes");
        assert_eq!(self.directory.len(), if self.depth == 0 { 0 } else { 1 << self.depth });
    }
}

/// Puts `word` into the chain of `head`; returns how many children the chain has.
fn put(head: NonNull<Bucket>, word: Word) -> usize {
    let mut at = head;
    let mut children = 0;
    loop {
        // SAFETY: callers own the chain exclusively.
        let words = unsafe { &mut at.as_mut().0 };
        let last = words[WORDS - 1];
        if is_link(last) {
            at = child_of(last);
            children += 1;
            continue;
        }
        if let Some(empty) = words.iter_mut().find(|w| w.is_null()) {
            *empty = word;
        } else {
            let mut child = alloc_buckets(0);
            // SAFETY: just allocated, nobody else knows it.
            let inner = unsafe { &mut child.as_mut().0 };
            inner[0] = last;
            inner[1] = word;
            words[WORDS - 1] = link_to(child);
            children += 1;
        }
        return children;
    }
}

/// Fills the hole at `bucket[index]` of a chain from its last child, so that no child is ever empty.
fn close_gap(head: NonNull<Bucket>, mut bucket: NonNull<Bucket>, index: usize) {
    let mut parent = None;
    let mut last = head;
    // SAFETY: callers own the chain exclusively; every pointer in it is alive.
    unsafe {
        while is_link(last.as_ref().0[WORDS - 1]) {
            parent = Some(last);
            last = child_of(last.as_ref().0[WORDS - 1]);
        }
        let Some(mut parent) = parent else { return };
        if bucket != last {
            let words = &mut last.as_mut().0;
            if let Some(from) = words.iter_mut().rev().find(|w| !w.is_null()) {
                bucket.as_mut().0[index] = std::mem::replace(from, ptr::null_mut());
            }
        }
        if last.as_ref().0.iter().all(|w| w.is_null()) {
            parent.as_mut().0[WORDS - 1] = ptr::null_mut();
            free_buckets(last, 0);
        }
    }
}

fn for_each_word(head: NonNull<Bucket>, visit: &mut impl FnMut(Word)) {
    let mut at = head;
    loop {
        // SAFETY: callers hold a borrow of the table that owns the chain.
        let words = unsafe { &at.as_ref().0 };
        let last = words[WORDS - 1];
        for &word in words {
            if !word.is_null() && !is_link(word) {
                visit(word);
            }
        }
        if !is_link(last) {
            return;
        }
        at = child_of(last);
    }
}

fn for_each_word_mut(head: NonNull<Bucket>, visit: &mut impl FnMut(&mut Word)) {
    let mut at = head;
    loop {
        // SAFETY: callers hold an exclusive borrow of the table that owns the chain.
        let words = unsafe { &mut at.as_mut().0 };
        let last = words[WORDS - 1];
        words.iter_mut().filter(|word| !word.is_null() && !is_link(**word)).for_each(&mut *visit);
        if !is_link(last) {
            return;
        }
        at = child_of(last);
    }
}

/// Yields every item word of a segment that is no longer part of a table, then frees it.
fn drain(segment: Segment, mut visit: impl FnMut(Word)) {
    let count = 1usize << segment.bits;
    for b in 0..count {
        if b + 2 < count {
            // SAFETY: in bounds; a bucket of a segment that we own.
            for word in unsafe { segment.buckets.add(b + 2).as_ref() }.0 {
                prefetch::read(pointer(word));
            }
        }
        // SAFETY: in bounds.
        let head = unsafe { segment.buckets.add(b) };
        for_each_word(head, &mut visit);
        // SAFETY: the segment is ours alone; children are freed once each.
        unsafe {
            let mut word = head.as_ref().0[WORDS - 1];
            while is_link(word) {
                let child = child_of(word);
                word = child.as_ref().0[WORDS - 1];
                free_buckets(child, 0);
            }
        }
    }
    // SAFETY: made by `alloc_buckets(segment.bits)`, not used again.
    unsafe { free_buckets(segment.buckets, segment.bits) }
}

impl<T: Item> Drop for Table<T> {
    fn drop(&mut self) {
        /// Segments freed in one go, which takes some ten microseconds each.
        const STRETCH: usize = 4;
        for (n, segment) in std::mem::take(&mut self.segments).into_iter().enumerate() {
            drain(segment, |word| {
                // SAFETY: each owned word is taken back once.
                drop(unsafe { T::from_raw(NonNull::new_unchecked(pointer(word))) });
            });
            if n % STRETCH == STRETCH - 1 {
                // Nobody waits for this, and somebody may wait for the core.
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

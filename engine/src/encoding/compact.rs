//! `Compact`: a short sequence of byte strings and integers in one block of memory.
//!
//! What OBJECT ENCODING calls "ziplist": small lists, hashes (field, value, field, value ..) and sorted sets, and the nodes
//! of large lists. Any change costs O(bytes), so its users bound it; in return an element costs two bytes more than its text.
//!
//! ```text
//!   block   | count u32 | entry | entry | ..          nothing at all while empty
//!   entry   | head | payload | length of head and payload, backwards |
//!
//!   head          payload
//!   0iii iiii                     integer 0 ..= 127
//!   10ll llll     l bytes         string of 0 ..= 63 bytes
//!   1100 iiii     1 byte          integer 128 ..= 4223: the 12 bits, plus 128
//!   1101 llll +1  l bytes         string of 64 ..= 4159 bytes: the 12 bits, plus 64
//!   1110 0000 +4  l bytes         longer string, length little-endian
//!   1110 0www     2 3 4 6 8 bytes (www = 1 ..= 5)  integer, two's complement, little-endian, in the fewest bytes
//!
//!   the length at the end is read from its last byte on: 7 bits a byte, lowest first, a set top bit means "one more to the left"
//! ```
//!
//! 1. A string that is an integer's canonical form is stored as the integer, and each value has exactly one encoding: so
//!    equal elements are equal bytes, and searching compares head and payload without decoding.
//! 2. The block is `count` entries back to back, without gap or terminator.
//! 3. A [`Pos`] is the offset of an entry; any change at or before it makes it void, unless a method returns a new one.
//!
//! The idea (two-way walk, packed integers) is that of the ziplist and listpack of Redis; the bytes are our own and are never
//! shown to anyone. Blocks hold only what this module wrote, so reading does not expect corruption.

use std::iter::FusedIterator;

use self::entry::{Encoded, back_len, back_len_size, decode, entry_size, entry_size_before, ziplist_entry_size};
use super::item::Item;
use crate::raw::thin::ThinBytes;

mod entry;

const COUNT: usize = size_of::<u32>();

/// A short sequence of strings and integers; one word wide, see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Compact(ThinBytes);

/// Where an entry starts. Good until the sequence changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(u32);

impl Pos {
    #[inline]
    fn new(offset: usize) -> Pos {
        debug_assert!((COUNT..=ThinBytes::MAX_LEN).contains(&offset));
        Pos(offset as u32)
    }

    #[inline]
    fn offset(self) -> usize {
        self.0 as usize
    }
}

impl Compact {
    /// Bytes of an allocated block that are not entries.
    pub const OVERHEAD: usize = ThinBytes::OVERHEAD + COUNT;

    /// An empty sequence; allocates nothing.
    pub const fn new() -> Compact {
        Compact(ThinBytes::new())
    }

    /// An empty sequence with room for `bytes` bytes of entries.
    pub fn with_capacity(bytes: usize) -> Compact {
        Compact(ThinBytes::with_capacity(COUNT + bytes))
    }

    /// Number of entries. O(1).
    #[inline]
    pub fn len(&self) -> usize {
        match self.0.as_slice().first_chunk() {
            Some(count) => u32::from_le_bytes(*count) as usize,
            None => 0,
        }
    }

    /// Whether it has no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its entries take, with their own overhead, without the block's.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.0.len().saturating_sub(COUNT)
    }

    /// Bytes allocated.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Bytes that an element of `len` bytes of text takes at most.
    #[inline]
    pub fn entry_bytes_max(len: usize) -> usize {
        // 5 of head; the length of head and payload in 7-bit groups.
        len + 5 + back_len_size(len + 5)
    }

    /// Whether `additional` more bytes of entries are within what a block can hold at all.
    #[inline]
    pub fn has_room_for(&self, additional: usize) -> bool {
        additional <= ThinBytes::MAX_LEN - COUNT - self.bytes()
    }

    // ---- reading ----

    /// The element at `index`, counted from the end if negative (-1 is the last).
    pub fn get(&self, index: isize) -> Option<Item<'_>> {
        self.seek(index).map(|pos| self.at(pos))
    }

    /// Where the element at `index` is; counted from the end if negative. Walks from the nearer end.
    pub fn seek(&self, index: isize) -> Option<Pos> {
        let len = self.len();
        let index = if index < 0 { len.checked_sub(index.unsigned_abs())? } else { index as usize };
        if index >= len {
            return None;
        }
        let block = self.0.as_slice();
        if index <= len / 2 {
            let mut at = COUNT;
            for _ in 0..index {
                at += entry_size(block, at);
            }
            Some(Pos::new(at))
        } else {
            let mut at = block.len();
            for _ in index..len {
                at -= entry_size_before(block, at);
            }
            Some(Pos::new(at))
        }
    }

    /// The element at `pos`.
    #[inline]
    pub fn at(&self, pos: Pos) -> Item<'_> {
        decode(self.0.as_slice(), pos.offset())
    }

    /// The first entry.
    #[inline]
    pub fn first(&self) -> Option<Pos> {
        (self.0.len() > COUNT).then_some(Pos::new(COUNT))
    }

    /// The last entry.
    #[inline]
    pub fn last(&self) -> Option<Pos> {
        let block = self.0.as_slice();
        (block.len() > COUNT).then(|| Pos::new(block.len() - entry_size_before(block, block.len())))
    }

    /// The entry after `pos`.
    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let block = self.0.as_slice();
        let next = pos.offset() + entry_size(block, pos.offset());
        (next < block.len()).then_some(Pos::new(next))
    }

    /// The entry before `pos`.
    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        let at = pos.offset();
        (at > COUNT).then(|| Pos::new(at - entry_size_before(self.0.as_slice(), at)))
    }

    /// All elements, from either end.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { block: self.0.as_slice(), front: COUNT.min(self.0.len()), back: self.0.len() }
    }

    /// The elements from `pos` to the end.
    #[inline]
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter { block: self.0.as_slice(), front: pos.offset(), back: self.0.len() }
    }

    /// The elements from the first up to and with `pos`: to be read backwards.
    #[inline]
    pub fn iter_to(&self, pos: Pos) -> Iter<'_> {
        let block = self.0.as_slice();
        Iter { block, front: COUNT, back: pos.offset() + entry_size(block, pos.offset()) }
    }

    /// The first entry equal to `needle`, looking at `from` and then at every `skip + 1`st entry after it.
    pub fn find(&self, from: Pos, needle: &[u8], skip: usize) -> Option<Pos> {
        let block = self.0.as_slice();
        let wanted = Encoded::new(Item::parse(needle));
        let mut at = from.offset();
        while at < block.len() {
            if wanted.is_at(block, at) {
                return Some(Pos::new(at));
            }
            for _ in 0..=skip {
                at += entry_size(block, at);
                if at >= block.len() {
                    return None;
                }
            }
        }
        None
    }

    /// Whether no two of the elements at even indexes are equal: the fields of a hash, the members of a sorted set.
    pub fn has_distinct_firsts(&self) -> bool {
        let firsts = || self.iter().step_by(2);
        let mut hashes: Vec<u64> = firsts().map(|item| item.with_bytes(crate::hash::fast)).collect();
        hashes.sort_unstable();
        if hashes.is_sorted_by(|before, after| before < after) {
            return true;
        }
        // Almost always a true double, but unequal elements may have one hash.
        let mut texts: Vec<Vec<u8>> = firsts().map(|item| item.to_vec()).collect();
        texts.sort_unstable();
        texts.is_sorted_by(|before, after| before < after)
    }

    /// Index of the first element equal to `needle`, or with `REV` of the last.
    pub fn position<const REV: bool>(&self, needle: Item<'_>) -> Option<usize> {
        let block = self.0.as_slice();
        let wanted = Encoded::new(needle);
        if REV {
            let (mut at, mut index) = (block.len(), self.len());
            while index > 0 {
                at -= entry_size_before(block, at);
                index -= 1;
                if wanted.is_at(block, at) {
                    return Some(index);
                }
            }
        } else {
            let (mut at, mut index) = (COUNT, 0);
            while at < block.len() {
                if wanted.is_at(block, at) {
                    return Some(index);
                }
                at += entry_size(block, at);
                index += 1;
            }
        }
        None
    }

    /// The same elements, last first.
    pub fn reversed(&self) -> Compact {
        let block = self.0.as_slice();
        let Some(count) = block.get(..COUNT) else { return Compact::new() };
        let mut reversed = ThinBytes::with_capacity(block.len());
        reversed.extend(count);
        let mut end = block.len();
        while end > COUNT {
            let start = end - entry_size_before(block, end);
            reversed.extend(&block[start..end]);
            end = start;
        }
        Compact(reversed)
    }

    /// What the same elements take as a ziplist of Redis 3.2: 10 bytes of header, 1 of end, and for each entry the length of
    /// the one before (1 or 5 bytes), its own encoding and its payload. O(entries).
    pub fn ziplist_size_estimate(&self) -> usize {
        let mut size = 11;
        let mut before = 0;
        for item in self.iter() {
            before = ziplist_entry_size(item, before);
            size += before;
        }
        size
    }

    // ---- changing ----

    /// Appends an element.
    #[inline]
    pub fn push_back(&mut self, bytes: &[u8]) {
        self.push_back_item(Item::parse(bytes));
    }

    /// Appends an element that is parsed already.
    #[inline]
    pub fn push_back_item(&mut self, item: Item<'_>) {
        let end = self.0.len().max(COUNT);
        self.put(end..end, item, 1);
    }

    /// Prepends an element.
    #[inline]
    pub fn push_front(&mut self, bytes: &[u8]) {
        self.push_front_item(Item::parse(bytes));
    }

    /// Prepends an element that is parsed already.
    #[inline]
    pub fn push_front_item(&mut self, item: Item<'_>) {
        self.put(COUNT..COUNT, item, 1);
    }

    /// Inserts an element before the entry at `pos`; the new entry is at `pos` afterwards.
    pub fn insert_before(&mut self, pos: Pos, bytes: &[u8]) {
        self.insert_item_before(pos, Item::parse(bytes));
    }

    /// Inserts an element that is parsed already before the entry at `pos`; the new entry is at `pos` afterwards.
    pub fn insert_item_before(&mut self, pos: Pos, item: Item<'_>) {
        self.put(pos.offset()..pos.offset(), item, 1);
    }

    /// Inserts an element after the entry at `pos`, and returns where it is.
    pub fn insert_after(&mut self, pos: Pos, bytes: &[u8]) -> Pos {
        self.insert_item_after(pos, Item::parse(bytes))
    }

    /// Inserts an element that is parsed already after the entry at `pos`, and returns where it is.
    pub fn insert_item_after(&mut self, pos: Pos, item: Item<'_>) -> Pos {
        let at = pos.offset() + entry_size(self.0.as_slice(), pos.offset());
        self.put(at..at, item, 1);
        Pos::new(at)
    }

    /// Puts another element in place of the entry at `pos`, which stays its position.
    pub fn replace(&mut self, pos: Pos, bytes: &[u8]) {
        self.replace_item(pos, Item::parse(bytes));
    }

    /// Puts an element that is parsed already in place of the entry at `pos`, which stays its position.
    pub fn replace_item(&mut self, pos: Pos, item: Item<'_>) {
        let at = pos.offset();
        self.put(at..at + entry_size(self.0.as_slice(), at), item, 0);
    }

    /// Removes the entry at `pos`; the entry that followed, if any, is at the returned position.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        self.remove_at(pos, 1)
    }

    /// Removes `count` entries (or as many as there are) from `pos` on; the entry that followed them is at the returned position.
    pub fn remove_at(&mut self, pos: Pos, count: usize) -> Option<Pos> {
        let block = self.0.as_slice();
        let start = pos.offset();
        let (mut end, mut removed) = (start, 0);
        while removed < count && end < block.len() {
            end += entry_size(block, end);
            removed += 1;
        }
        self.cut(start..end, removed);
        (start < self.0.len()).then_some(pos)
    }

    /// Removes the last entry.
    pub fn pop_back(&mut self) {
        match self.last() {
            Some(pos) if pos.offset() > COUNT => {
                self.set_len(self.len() - 1);
                self.0.truncate(pos.offset());
            }
            _ => self.clear(),
        }
    }

    /// Removes up to `count` entries, the first of them at index `from`.
    pub fn remove_range(&mut self, from: usize, count: usize) {
        let len = self.len();
        if from >= len || count == 0 {
            return;
        }
        let count = count.min(len - from);
        let Some(start) = self.seek(from as isize) else { return };
        let end = match self.seek((from + count) as isize) {
            Some(pos) => pos.offset(),
            None => self.0.len(),
        };
        self.cut(start.offset()..end, count);
    }

    /// Removes the first `max` elements equal to `needle`, or with `REV` the last, and returns how many. One pass, or two.
    pub fn remove_equal<const REV: bool>(&mut self, needle: Item<'_>, max: usize) -> usize {
        let wanted = Encoded::new(needle);
        let len = self.0.len();
        let mut spared = 0;
        if REV {
            let block = self.0.as_slice();
            let mut at = COUNT;
            while at < len {
                spared += usize::from(wanted.is_at(block, at));
                at += entry_size(block, at);
            }
            spared = spared.saturating_sub(max);
        }
        // Between `kept` and `run` is what removed entries left; entries from `run` to `at` stay, and close the gap.
        let block = self.0.as_mut_slice();
        let (mut kept, mut run, mut at, mut removed) = (COUNT, COUNT, COUNT, 0);
        while at < len && removed < max {
            let size = entry_size(block, at);
            if wanted.is_at(block, at) {
                if spared > 0 {
                    spared -= 1;
                } else {
                    block.copy_within(run..at, kept);
                    kept += at - run;
                    run = at + size;
                    removed += 1;
                }
            }
            at += size;
        }
        self.cut(kept..run, removed);
        removed
    }

    /// Takes off all entries from index `at` on, and returns them.
    pub fn split_off(&mut self, at: usize) -> Compact {
        let len = self.len();
        let Some(pos) = self.seek(at as isize) else { return Compact::new() };
        let mut tail = Compact(ThinBytes::with_capacity(COUNT + self.0.len() - pos.offset()));
        tail.0.splice_parts(0..0, [&((len - at) as u32).to_le_bytes(), &self.0.as_slice()[pos.offset()..]]);
        self.cut(pos.offset()..self.0.len(), len - at);
        self.0.shrink_to_fit();
        tail
    }

    /// Appends the entries of `other`.
    pub fn append(&mut self, other: &Compact) {
        let count = self.len() + other.len();
        if other.is_empty() {
            return;
        }
        if self.0.is_empty() {
            self.0.extend(&[0; COUNT]);
        }
        self.0.extend(&other.0.as_slice()[COUNT..]);
        self.set_len(count);
    }

    /// Removes all entries and gives the memory back.
    pub fn clear(&mut self) {
        self.0 = ThinBytes::new();
    }

    /// Bytes of entries that fit in without another allocation.
    #[inline]
    pub fn spare(&self) -> usize {
        self.0.capacity() - self.0.len().max(COUNT).min(self.0.capacity())
    }

    /// Makes room for `additional` more bytes of entries.
    pub fn reserve(&mut self, additional: usize) {
        self.0.reserve(additional + if self.0.is_empty() { COUNT } else { 0 });
    }

    /// Gives back spare memory.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// The block. For `raw`, which stores it as one word.
    pub(crate) fn into_thin(self) -> ThinBytes {
        self.0
    }

    /// The sequence whose block this is: one that [`Compact::into_thin`] gave.
    pub(crate) fn from_thin(block: ThinBytes) -> Compact {
        Compact(block)
    }

    /// Encodes `item` in place of the bytes in `range`; `added` is 1 if that makes an entry more, 0 if it replaces one.
    #[inline]
    fn put(&mut self, range: std::ops::Range<usize>, item: Item<'_>, added: u32) {
        let encoded = Encoded::new(item);
        let (back, back_at) = back_len(encoded.head_len + encoded.payload.len());
        if self.0.is_empty() {
            self.0.splice_parts(0..0, [&1u32.to_le_bytes(), encoded.head(), encoded.payload, &back[back_at..]]);
            return;
        }
        self.0.splice_parts(range, [encoded.head(), encoded.payload, &back[back_at..]]);
        if added > 0 {
            self.set_len(self.len() + 1);
        }
    }

    /// Removes the bytes in `range`, which are `count` entries.
    fn cut(&mut self, range: std::ops::Range<usize>, count: usize) {
        if count == 0 {
            return;
        }
        let left = self.len() - count;
        if left == 0 {
            self.clear();
        } else {
            self.set_len(left);
            self.0.splice(range, b"");
        }
    }

    #[inline]
    fn set_len(&mut self, len: usize) {
        if let Some(count) = self.0.as_mut_slice().first_chunk_mut() {
            *count = (len as u32).to_le_bytes();
        }
    }
}

impl<'a> FromIterator<Item<'a>> for Compact {
    fn from_iter<I: IntoIterator<Item = Item<'a>>>(items: I) -> Compact {
        let mut compact = Compact::new();
        items.into_iter().for_each(|item| compact.push_back_item(item));
        compact
    }
}

impl<'a> IntoIterator for &'a Compact {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The elements of a [`Compact`], from either end.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    block: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let item = decode(self.block, self.front);
        self.front += entry_size(self.block, self.front);
        Some(item)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back -= entry_size_before(self.block, self.back);
        Some(decode(self.block, self.back))
    }
}

impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests;

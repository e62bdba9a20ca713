//! `IntSet`: a sorted set of `i64` in one thin block, each element as few bytes as the range needs.
//!
//! Why: a set of ids is stored as offsets from a common base (frame of reference), so that ids below 2^24, or ids of
//! one day of a counter near 2^40, take three bytes each where Redis's intset takes four or eight.
//!
//! ```text
//!   head          base             elements, ascending
//!  +------+----------------------+--------+--------+-   -+--------+
//!  | u8   | 0..=8 bytes, LE      | offset | offset | ... | offset |   each `width` bytes, LE, unsigned
//!  +------+----------------------+--------+--------+-   -+--------+
//!   bits 0-2: width - 1
//!   bits 3-6: bytes of the base     base = (those bytes, sign-extended) << 8 * (width - 1)
//! ```
//! An empty set has no bytes at all. The length is what remains after the header, divided by the width.
//!
//! 1. Offsets are strictly ascending, so the elements are.
//! 2. `base + offset` never leaves `i64`: every offset was made from an `i64` not below the base.
//! 3. The base is zero (no bytes) whenever that costs no width. Otherwise it lies in the middle of what the width
//!    allows, so that a set growing steadily in one direction is re-packed a logarithmic number of times.
//! 4. The width shrinks again, and the base goes, when the smallest or the largest element leaves and allows it.

use crate::raw::thin::ThinBytes;

const WIDTH_MAX: usize = 8;

/// A sorted set of `i64` behind an 8-byte handle.
#[derive(Clone, Default)]
#[repr(transparent)]
pub struct IntSet {
    bytes: ThinBytes,
}

/// The decoded header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Frame {
    base: i64,
    /// Bytes of an element, 1..=8.
    width: usize,
    /// Bytes of head and base, 1..=9.
    header: usize,
}

impl IntSet {
    /// The most elements that one can hold for certain, whatever they are.
    pub const LEN_MAX: usize = (ThinBytes::MAX_LEN - 9) / WIDTH_MAX;

    /// An empty set; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self.frame() {
            Some(frame) => (self.bytes.len() - frame.header) / frame.width,
            None => 0,
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether `value` is an element: a binary search.
    pub fn contains(&self, value: i64) -> bool {
        match self.frame() {
            Some(frame) => match frame.offset(value) {
                Some(offset) => rank(self.elements(frame), frame.width, offset).is_ok(),
                None => false,
            },
            None => false,
        }
    }

    /// Adds `value`; true if it was not an element before.
    pub fn insert(&mut self, value: i64) -> bool {
        let Some(frame) = self.frame() else {
            self.repack(Frame::choose(value, value));
            self.push_offset(0, value);
            return true;
        };
        let Some(offset) = frame.offset(value) else {
            return self.insert_outside(value);
        };
        match rank(self.elements(frame), frame.width, offset) {
            Ok(_) => false,
            Err(index) => {
                self.push_offset(index, value);
                true
            }
        }
    }

    /// Removes `value`; true if it was an element.
    pub fn remove(&mut self, value: i64) -> bool {
        let Some(frame) = self.frame() else { return false };
        let Some(offset) = frame.offset(value) else { return false };
        let Ok(index) = rank(self.elements(frame), frame.width, offset) else { return false };
        let len = self.len();
        if len == 1 {
            self.bytes = ThinBytes::new();
            return true;
        }
        let at = frame.header + index * frame.width;
        self.bytes.splice(at..at + frame.width, b"");
        if index == 0 || index == len - 1 {
            self.narrow(frame);
        }
        true
    }

    /// The element at `index` in ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        let frame = self.frame()?;
        let elements = self.elements(frame);
        let at = index.checked_mul(frame.width)?;
        (at < elements.len()).then(|| frame.value(load(&elements[at..], frame.width)))
    }

    /// The smallest element.
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    /// The largest element.
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The elements in ascending order.
    pub fn iter(&self) -> Iter<'_> {
        match self.frame() {
            Some(frame) => Iter { frame, rest: self.elements(frame) },
            None => Iter { frame: Frame { base: 0, width: 1, header: 1 }, rest: &[] },
        }
    }

    /// Bytes that a Redis intset with these elements takes (8 of header, then 2, 4 or 8 each).
    pub fn redis_intset_bytes(&self) -> usize {
        8 + self.len() * self.redis_width()
    }

    /// Appends the set in the form of a Redis intset, which RDB files and DUMP payloads hold: element width and
    /// length as little-endian `u32`, then the elements ascending.
    pub fn write_redis_intset(&self, out: &mut Vec<u8>) {
        let width = self.redis_width();
        out.reserve(self.redis_intset_bytes());
        out.extend_from_slice(&(width as u32).to_le_bytes());
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        for value in self.iter() {
            out.extend_from_slice(&value.to_le_bytes()[..width]);
        }
    }

    /// Reads the form that [`write_redis_intset`](Self::write_redis_intset) writes. `None` unless the width is 2, 4
    /// or 8, the length is exact and the elements ascend.
    pub fn from_redis_intset(blob: &[u8]) -> Option<Self> {
        let (width, rest) = blob.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let width = u32::from_le_bytes(*width) as usize;
        let len = u32::from_le_bytes(*len) as usize;
        if !matches!(width, 2 | 4 | 8) || rest.len() != len.checked_mul(width)? {
            return None;
        }
        let shift = 64 - 8 * width as u32;
        let value = |chunk: &[u8]| ((load(chunk, width) << shift) as i64) >> shift;
        let mut set = Self::new();
        if len == 0 {
            return Some(set);
        }
        let min = value(rest);
        let max = value(&rest[rest.len() - width..]);
        if min > max {
            return None;
        }
        let frame = Frame::choose(min, max);
        let mut bytes = frame.encode(len);
        let mut previous = None;
        for chunk in rest.chunks_exact(width) {
            let element = value(chunk);
            if previous.is_some_and(|previous| previous >= element) {
                return None;
            }
            previous = Some(element);
            bytes.extend(&frame.offset(element)?.to_le_bytes()[..frame.width]);
        }
        set.bytes = bytes;
        Some(set)
    }

    /// Heap bytes of the block.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.heap_bytes()
    }

    /// The block. For `raw`, which stores it as one word.
    pub(crate) fn into_thin(self) -> ThinBytes {
        self.bytes
    }

    /// The set whose block this is: one that [`IntSet::into_thin`] gave.
    pub(crate) fn from_thin(bytes: ThinBytes) -> Self {
        IntSet { bytes }
    }

    /// Bytes of an element in a Redis intset that holds our extremes.
    fn redis_width(&self) -> usize {
        let (Some(min), Some(max)) = (self.min(), self.max()) else { return 2 };
        if i16::try_from(min).is_ok() && i16::try_from(max).is_ok() {
            2
        } else if i32::try_from(min).is_ok() && i32::try_from(max).is_ok() {
            4
        } else {
            8
        }
    }

    fn frame(&self) -> Option<Frame> {
        Frame::decode(self.bytes.as_slice())
    }

    fn elements(&self, frame: Frame) -> &[u8] {
        &self.bytes.as_slice()[frame.header..]
    }

    /// Inserts a value that the frame cannot hold; it is therefore new, and the new minimum or maximum.
    fn insert_outside(&mut self, value: i64) -> bool {
        let (Some(min), Some(max)) = (self.min(), self.max()) else { return false };
        self.repack(Frame::choose(min.min(value), max.max(value)));
        self.push_offset(if value < min { 0 } else { self.len() }, value);
        true
    }

    /// Inserts a value that the frame can hold before the element at `index`.
    fn push_offset(&mut self, index: usize, value: i64) {
        let Some(frame) = self.frame() else { return };
        let Some(offset) = frame.offset(value) else { return };
        let at = frame.header + index * frame.width;
        self.bytes.splice(at..at, &offset.to_le_bytes()[..frame.width]);
    }

    /// Re-packs if fewer bytes an element, or no base, are enough by now.
    fn narrow(&mut self, frame: Frame) {
        let (Some(min), Some(max)) = (self.min(), self.max()) else { return };
        let best = Frame::choose(min, max);
        if best.width < frame.width || (best.base == 0 && frame.base != 0) {
            self.repack(best);
        }
    }

    /// Writes all elements anew in `frame`, which must hold them, with room for one more.
    fn repack(&mut self, frame: Frame) {
        let mut bytes = frame.encode(self.len() + 1);
        for value in self.iter() {
            let offset = (value as u64).wrapping_sub(frame.base as u64);
            bytes.extend(&offset.to_le_bytes()[..frame.width]);
        }
        self.bytes = bytes;
    }
}

impl<'a> IntoIterator for &'a IntSet {
    type Item = i64;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for IntSet {
    /// Equal elements; the frames may differ.
    fn eq(&self, other: &IntSet) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl Eq for IntSet {}

impl std::fmt::Debug for IntSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Ascending iterator over an [`IntSet`].
#[derive(Clone)]
pub struct Iter<'a> {
    frame: Frame,
    rest: &'a [u8],
}

impl Iterator for Iter<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = load(self.rest, self.frame.width);
        self.rest = &self.rest[self.frame.width..];
        Some(self.frame.value(offset))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.rest.len() / self.frame.width;
        (len, Some(len))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl Frame {
    /// The narrowest frame that holds `min..=max`.
    fn choose(min: i64, max: i64) -> Frame {
        (1..=WIDTH_MAX).find_map(|width| Self::with_width(min, max, width)).unwrap_or(Frame {
            base: i64::MIN,
            width: WIDTH_MAX,
            header: 2,
        })
    }

    /// A frame of this width for `min..=max`, if its granule has a multiple that reaches both.
    fn with_width(min: i64, max: i64, width: usize) -> Option<Frame> {
        let granule = 8 * (width as u32 - 1);
        let lowest = (i128::from(max) - i128::from(span(width))).max(i128::from(i64::MIN)) as i64;
        if lowest <= 0 && 0 <= min {
            return Some(Frame { base: 0, width, header: 1 });
        }
        // In units of the granule: the first multiple not below `lowest`, the last one not above `min`.
        let last = min >> granule;
        let first = (lowest >> granule) + i64::from((lowest >> granule) << granule != lowest);
        if lowest > min || first > last {
            return None;
        }
        let middle = ((i128::from(first) + i128::from(last)) >> 1) as i64;
        Some(Frame { base: middle << granule, width, header: 1 + signed_bytes(middle) })
    }

    fn decode(bytes: &[u8]) -> Option<Frame> {
        let (&head, rest) = bytes.split_first()?;
        let width = usize::from(head & 7) + 1;
        let base_bytes = usize::from(head >> 3);
        let base = if base_bytes == 0 {
            0
        } else {
            let shift = 64 - 8 * base_bytes as u32;
            let signed = ((load(rest, base_bytes) << shift) as i64) >> shift;
            signed << (8 * (width - 1))
        };
        Some(Frame { base, width, header: 1 + base_bytes })
    }

    /// A block that holds the header, with room for `len` elements.
    fn encode(self, len: usize) -> ThinBytes {
        let mut bytes = ThinBytes::with_capacity(self.header + len * self.width);
        let base_bytes = self.header - 1;
        let units = self.base >> (8 * (self.width - 1));
        bytes.extend(&[(base_bytes as u8) << 3 | (self.width as u8 - 1)]);
        bytes.extend(&units.to_le_bytes()[..base_bytes]);
        bytes
    }

    /// The offset of `value`, or `None` if it lies outside the frame.
    fn offset(self, value: i64) -> Option<u64> {
        let offset = (value as u64).wrapping_sub(self.base as u64);
        (value >= self.base && offset <= span(self.width)).then_some(offset)
    }

    fn value(self, offset: u64) -> i64 {
        self.base.wrapping_add(offset as i64)
    }
}

/// The largest offset that `width` bytes hold.
fn span(width: usize) -> u64 {
    u64::MAX >> (64 - 8 * width as u32)
}

/// Fewest bytes whose sign extension is `value`; at least 1.
fn signed_bytes(value: i64) -> usize {
    let magnitude_bits = 64 - (value ^ (value >> 63)).leading_zeros() as usize;
    magnitude_bits / 8 + 1
}

/// Reads the little-endian number of `width` bytes at the start of `bytes`.
fn load(bytes: &[u8], width: usize) -> u64 {
    if let Some(word) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*word) & span(width);
    }
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(&bytes[..width]) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

/// Index of `offset`, or the index where it would have to stand.
fn rank(elements: &[u8], width: usize, offset: u64) -> Result<usize, usize> {
    match width {
        1 => rank_of_width::<1>(elements, offset),
        2 => rank_of_width::<2>(elements, offset),
        3 => rank_of_width::<3>(elements, offset),
        4 => rank_of_width::<4>(elements, offset),
        5 => rank_of_width::<5>(elements, offset),
        6 => rank_of_width::<6>(elements, offset),
        7 => rank_of_width::<7>(elements, offset),
        _ => rank_of_width::<8>(elements, offset),
    }
}

/// [`rank`] with the width known to the compiler, which makes each step a load or two and a conditional move.
fn rank_of_width<const W: usize>(elements: &[u8], offset: u64) -> Result<usize, usize> {
    let (chunks, _) = elements.as_chunks::<W>();
    chunks.binary_search_by(|chunk| {
        // In registers: parts stored to a buffer and loaded again as a whole would stall.
        chunk.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte)).cmp(&offset)
    })
}

#[cfg(test)]
mod tests;

//! `ThinBytes`: a growable byte string behind one 8-byte pointer.
//!
//! A `Vec<u8>` is 24 bytes wherever it is stored; a small list or hash of which there are millions wants to be a pointer.
//! So length and capacity stand in front of the bytes, in the one allocation:
//!
//! ```text
//!   ThinBytes --> | len u32 | cap u32 | byte 0 .. byte len-1 | spare .. cap-1 |     8-aligned
//! ```
//!
//! 1. The pointer is never null (`Option<ThinBytes>` is 8 bytes) and 8-aligned (its low three bits are free for tags).
//! 2. `cap == 0` if and only if it points at the shared, immutable `EMPTY` header; then nothing was allocated.
//! 3. Otherwise it owns an allocation of `HEADER + cap` bytes, which is one of the allocator's size classes,
//!    and the first `len <= cap` bytes are initialized.
//!
//! Growth goes to the next size class that fits (and by at least an eighth beyond 1 KiB), so that small blocks waste next
//! to nothing; the classes are jemalloc's with an 8-byte quantum: every 8 bytes up to 64, then four a doubling.
//! It knows nothing of what the bytes mean.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::{self, NonNull};

use super::either::ThinPtr;
use crate::encoding::compact::Compact;
use crate::encoding::intset::IntSet;

#[repr(C, align(8))]
struct Header {
    len: u32,
    cap: u32,
}

const HEADER: usize = size_of::<Header>();

/// What every empty `ThinBytes` without an allocation points at.
static EMPTY: Header = Header { len: 0, cap: 0 };

/// Blocks above this many bytes grow by at least an eighth.
const EXACT_MAX: usize = 1024;

/// An owned, growable byte string of at most [`ThinBytes::MAX_LEN`] bytes; the handle is one non-null word.
#[repr(transparent)]
pub struct ThinBytes {
    head: NonNull<Header>,
    _owns: PhantomData<u8>,
}

// SAFETY: it owns its bytes like a `Vec<u8>` does; `EMPTY` is immutable and shared by anyone.
unsafe impl Send for ThinBytes {}
// SAFETY: `&ThinBytes` only reads.
unsafe impl Sync for ThinBytes {}

/// The size class of the allocator that an allocation of `size` bytes falls into.
pub(super) fn size_class(size: usize) -> usize {
    if size <= 32 {
        return (size + 7) & !7;
    }
    let step = 1usize << ((size - 1).ilog2() - 2);
    (size + step - 1) & !(step - 1)
}

fn layout(cap: usize) -> Layout {
    // `cap` is at most `MAX_LEN`, so neither the sum nor the rounding overflows.
    Layout::from_size_align(HEADER + cap, align_of::<Header>()).expect("a capacity within MAX_LEN has a layout")
}

impl ThinBytes {
    /// The most bytes one can hold. Growing past it panics: callers keep their blocks far smaller.
    pub const MAX_LEN: usize = i32::MAX as usize - 4096;

    /// Bytes of an allocated block that are not its capacity.
    pub const OVERHEAD: usize = HEADER;

    /// An empty one; allocates nothing.
    pub const fn new() -> ThinBytes {
        let head = NonNull::from_ref(&EMPTY);
        ThinBytes { head, _owns: PhantomData }
    }

    /// An empty one with room for at least `cap` bytes, rounded up to a size class.
    pub fn with_capacity(cap: usize) -> ThinBytes {
        let mut bytes = ThinBytes::new();
        if cap > 0 {
            bytes.resize_block(size_class(HEADER + cap) - HEADER);
        }
        bytes
    }

    /// Bytes held.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: `head` points at a readable header (2, 3).
        unsafe { (*self.head.as_ptr()).len as usize }
    }

    /// Whether it holds no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes it can hold without another allocation.
    #[inline]
    pub fn capacity(&self) -> usize {
        // SAFETY: `head` points at a readable header (2, 3).
        unsafe { (*self.head.as_ptr()).cap as usize }
    }

    /// Bytes allocated, header included; 0 if nothing is.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match self.capacity() {
            0 => 0,
            cap => HEADER + cap,
        }
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes after the header are initialized (3), or `len` is 0 (2); they live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.data(), self.len()) }
    }

    /// The bytes, to change in place.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes us the only user.
        unsafe { std::slice::from_raw_parts_mut(self.data(), self.len()) }
    }

    /// Makes room for `additional` more bytes.
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.len() + additional;
        if needed > self.capacity() {
            self.grow(needed);
        }
    }

    /// Appends `tail`.
    #[inline]
    pub fn extend(&mut self, tail: &[u8]) {
        let len = self.len();
        self.splice_parts(len..len, [tail]);
    }

    /// Replaces the bytes in `range` by `with`: inserts if `range` is empty, removes if `with` is.
    #[inline]
    pub fn splice(&mut self, range: Range<usize>, with: &[u8]) {
        self.splice_parts(range, [with]);
    }

    /// Replaces the bytes in `range` by the concatenation of `parts`, moving what follows once.
    ///
    /// # Panics
    /// If `range` is not within the bytes, or the result would exceed [`ThinBytes::MAX_LEN`].
    #[inline]
    pub fn splice_parts<const N: usize>(&mut self, range: Range<usize>, parts: [&[u8]; N]) {
        let len = self.len();
        assert!(range.start <= range.end && range.end <= len, "splice outside of the bytes");
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let len_after = len - (range.end - range.start) + added;
        if len_after > self.capacity() {
            self.grow(len_after);
        }
        if self.capacity() == 0 {
            return; // Empty and stays so; EMPTY is never written.
        }
        // SAFETY: we own the block (`cap > 0`), `len_after <= cap`, and the range is within `len`, so source and target of
        // the move and of each part are inside the block; `parts` are borrowed, hence not inside a block we hold by `&mut`.
        // All bytes up to `len_after` are initialized afterwards: head, parts, moved tail.
        unsafe {
            let mut at = self.data().add(range.start);
            let tail = len - range.end;
            if tail > 0 && added != range.end - range.start {
                ptr::copy(self.data().add(range.end), at.add(added), tail);
            }
            for part in parts {
                ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
                at = at.add(part.len());
            }
            (*self.head.as_ptr()).len = len_after as u32;
        }
        if len_after < len {
            self.shrink_if_sparse();
        }
    }

    /// Drops all bytes from `len` on; no effect if there are fewer.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            // SAFETY: `self.len() > 0`, so we own the block; a shorter prefix of initialized bytes is initialized.
            unsafe { (*self.head.as_ptr()).len = len as u32 };
            self.shrink_if_sparse();
        }
    }

    /// Gives back spare capacity beyond the size class of the length.
    pub fn shrink_to_fit(&mut self) {
        let len = self.len();
        if len == 0 {
            *self = ThinBytes::new();
        } else {
            let cap = size_class(HEADER + len) - HEADER;
            if cap < self.capacity() {
                self.resize_block(cap);
            }
        }
    }

    /// Gives up ownership: the word to store. Not null, 8-aligned. [`ThinBytes::from_raw`] takes it back.
    #[inline]
    pub fn into_raw(self) -> NonNull<u8> {
        let raw = self.head.cast();
        std::mem::forget(self);
        raw
    }

    /// # Safety
    /// `raw` came from [`ThinBytes::into_raw`] and is turned back at most once.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<u8>) -> ThinBytes {
        ThinBytes { head: raw.cast(), _owns: PhantomData }
    }

    #[inline]
    fn data(&self) -> *mut u8 {
        // SAFETY: one header past the start is inside the block or one past the end of EMPTY.
        unsafe { self.head.as_ptr().add(1).cast() }
    }

    /// A removal gives memory back once less than half of the block is used: rarely, so that push and pop at a
    /// class border do not reallocate each time.
    #[inline]
    fn shrink_if_sparse(&mut self) {
        if self.capacity() > 64 && self.len() * 2 < self.capacity() {
            self.shrink_to_fit();
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        assert!(needed <= ThinBytes::MAX_LEN, "ThinBytes of more than MAX_LEN bytes");
        let goal = HEADER + needed;
        let slack = if goal > EXACT_MAX { goal / 8 } else { 0 };
        self.resize_block((size_class(goal + slack) - HEADER).min(ThinBytes::MAX_LEN));
    }

    /// Allocates, or reallocates, to exactly `cap` bytes of capacity; `len <= cap` and `cap > 0`.
    fn resize_block(&mut self, cap: usize) {
        debug_assert!(cap > 0 && cap >= self.len());
        let old = self.capacity();
        let new = layout(cap);
        // SAFETY: the layouts have non-zero size; a block with `old > 0` was allocated by us with `layout(old)` (3), and
        // bytes up to `len` keep their value. A fresh block gets its header written before anything reads it.
        unsafe {
            let block = if old == 0 { alloc(new) } else { realloc(self.head.as_ptr().cast(), layout(old), new.size()) };
            let Some(head) = NonNull::new(block.cast::<Header>()) else { handle_alloc_error(new) };
            if old == 0 {
                head.write(Header { len: 0, cap: cap as u32 });
            } else {
                (*head.as_ptr()).cap = cap as u32;
            }
            self.head = head;
        }
    }
}

impl Drop for ThinBytes {
    #[inline]
    fn drop(&mut self) {
        let cap = self.capacity();
        if cap > 0 {
            // SAFETY: with `cap > 0` we own an allocation made with this layout (3), and nobody uses it after us.
            unsafe { dealloc(self.head.as_ptr().cast(), layout(cap)) };
        }
    }
}

impl Clone for ThinBytes {
    /// A copy without spare capacity.
    fn clone(&self) -> ThinBytes {
        ThinBytes::from(self.as_slice())
    }
}

impl From<&[u8]> for ThinBytes {
    fn from(bytes: &[u8]) -> ThinBytes {
        let mut copy = ThinBytes::with_capacity(bytes.len());
        copy.extend(bytes);
        copy
    }
}

impl Default for ThinBytes {
    fn default() -> ThinBytes {
        ThinBytes::new()
    }
}

impl fmt::Debug for ThinBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ThinBytes({:?})", self.as_slice().escape_ascii().to_string())
    }
}

impl PartialEq for ThinBytes {
    fn eq(&self, other: &ThinBytes) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ThinBytes {}

// SAFETY: transparent over one non-null pointer, which is what `into_raw` returns; 8-aligned (1).
unsafe impl ThinPtr for ThinBytes {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ThinBytes::into_raw(self)
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> ThinBytes {
        // SAFETY: the same contract.
        unsafe { ThinBytes::from_raw(raw) }
    }
}

// SAFETY: `Compact` is transparent over a `ThinBytes`.
unsafe impl ThinPtr for Compact {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        self.into_thin().into_raw()
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Compact {
        // SAFETY: the same contract.
        Compact::from_thin(unsafe { ThinBytes::from_raw(raw) })
    }
}

// SAFETY: `IntSet` is transparent over a `ThinBytes`.
unsafe impl ThinPtr for IntSet {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        self.into_thin().into_raw()
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> IntSet {
        // SAFETY: the same contract.
        IntSet::from_thin(unsafe { ThinBytes::from_raw(raw) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_handle_is_one_word_with_a_niche() {
        assert_eq!(size_of::<ThinBytes>(), 8);
        assert_eq!(size_of::<Option<ThinBytes>>(), 8);
    }

    #[test]
    fn an_empty_one_allocates_nothing_and_can_be_used() {
        let mut bytes = ThinBytes::new();
        bytes.extend(b"");
        bytes.splice(0..0, b"");
        bytes.truncate(0);
        bytes.shrink_to_fit();
        assert_eq!((bytes.len(), bytes.capacity(), bytes.heap_bytes()), (0, 0, 0));
        assert_eq!(bytes.clone().as_slice(), b"");
    }

    #[test]
    fn size_classes_are_every_8_bytes_to_64_then_four_a_doubling() {
        let classes =
            [(1, 8), (8, 8), (9, 16), (33, 40), (57, 64), (64, 64), (65, 80), (81, 96), (113, 128), (129, 160)];
        for (size, class) in classes {
            assert_eq!(size_class(size), class, "{size}");
        }
        assert_eq!(size_class(1025), 1280);
        assert_eq!(size_class(8193), 10240);
    }

    #[test]
    fn a_small_block_grows_to_the_next_class_only() {
        let mut bytes = ThinBytes::from(&[0u8; 40][..]);
        assert_eq!(bytes.heap_bytes(), 48);
        bytes.extend(b"x");
        assert_eq!(bytes.heap_bytes(), 56);
    }

    #[test]
    fn removing_most_bytes_gives_memory_back() {
        let mut bytes = ThinBytes::from(&[7u8; 1000][..]);
        bytes.splice(10..900, b"");
        assert_eq!(bytes.as_slice(), [7u8; 110]);
        assert_eq!(bytes.heap_bytes(), 128);
        bytes.truncate(0);
        bytes.shrink_to_fit();
        assert_eq!(bytes.heap_bytes(), 0);
    }

    #[test]
    fn raw_words_give_back_what_went_in() {
        for bytes in [ThinBytes::new(), ThinBytes::from(&b"abc"[..])] {
            let copy = bytes.clone();
            let raw = bytes.into_raw();
            assert_eq!(raw.addr().get() % 8, 0);
            // SAFETY: from `into_raw` just above, once.
            assert_eq!(unsafe { ThinBytes::from_raw(raw) }, copy);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Splice(usize, usize, Vec<u8>, Vec<u8>),
        Truncate(usize),
        Shrink,
        Reserve(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            6 => (any::<usize>(), any::<usize>(), bytes(), bytes()).prop_map(|(a, b, c, d)| Step::Splice(a, b, c, d)),
            1 => (0usize..2000).prop_map(Step::Truncate),
            1 => Just(Step::Shrink),
            1 => (0usize..300).prop_map(Step::Reserve),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_vec(steps in proptest::collection::vec(step(), 0..60)) {
            let mut bytes = ThinBytes::new();
            let mut model: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Splice(a, b, first, second) => {
                        let start = a % (model.len() + 1);
                        let end = start + b % (model.len() - start + 1);
                        bytes.splice_parts(start..end, [&first, &second]);
                        model.splice(start..end, [first, second].concat());
                    }
                    Step::Truncate(len) => {
                        bytes.truncate(len);
                        model.truncate(len);
                    }
                    Step::Shrink => bytes.shrink_to_fit(),
                    Step::Reserve(additional) => bytes.reserve(additional),
                }
                prop_assert_eq!(bytes.as_slice(), &model[..]);
                prop_assert!(bytes.capacity() >= bytes.len());
            }
        }
    }
}

//! The elements of big hashes and sets: one block each, owned through one pointer.
//!
//! ```text
//!   Member -->  | text |                   the member of a set
//!   Pair   -->  | text | text |            field and value of a hash
//!
//!   text        | len 1 | bytes |                      fewer than 254 bytes
//!               | 254 | len u16 | bytes |              up to 65535
//!               | 255 | len u32 | bytes |              more
//! ```
//! A 7-byte member takes 8 bytes, a field of 10 with a value of 12 takes 24: there is no other header.
//!
//! 1. A block's size is the allocator's size class of what the texts need, so it follows from the texts alone, and a
//!    value that stays within the class is replaced in place.
//! 2. The first text, the key, never changes. A value changes only through `&mut Pair`.

use super::table::{Elements, Item};
use super::thin::size_class;
use crate::snapshot::Element;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// Length bytes that announce a longer length behind them.
const LEN_U16: u8 = 254;
const LEN_U32: u8 = 255;

/// A field and its value.
pub struct Pair(NonNull<u8>);

/// A member of a set.
pub struct Member(NonNull<u8>);

/// A view of a [`Pair`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PairRef<'a> {
    /// The key.
    pub field: &'a [u8],
    /// What belongs to it.
    pub value: &'a [u8],
}

// SAFETY: the block is plain bytes, and the `Pair` is its only owner.
unsafe impl Send for Pair {}
// SAFETY: through `&Pair` the block can only be read.
unsafe impl Sync for Pair {}
// SAFETY: the block is plain bytes, and the `Member` is its only owner.
unsafe impl Send for Member {}
// SAFETY: a `Member` can only be read.
unsafe impl Sync for Member {}

/// Bytes of a text of `len` bytes, its length included.
fn text_bytes(len: usize) -> usize {
    let prefix = match len {
        0..254 => 1,
        254..=0xffff => 3,
        _ => 5,
    };
    prefix + len
}

fn layout(bytes: usize) -> Layout {
    // SAFETY: 8 is a power of two, and two texts of at most `u32::MAX` bytes stay far below `isize::MAX`.
    unsafe { Layout::from_size_align_unchecked(size_class(bytes), 8) }
}

fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes);
    // SAFETY: a text has at least its length byte, so the layout is not empty.
    let block = unsafe { alloc(layout) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Writes a text and returns the place behind it.
///
/// # Safety
/// `text_bytes(bytes.len())` bytes from `at` on are writable and not part of `bytes`.
unsafe fn write_text(at: NonNull<u8>, bytes: &[u8]) -> NonNull<u8> {
    // SAFETY: each branch writes the prefix that `text_bytes` counted, then the bytes.
    unsafe {
        let start = match bytes.len() {
            len @ 0..254 => {
                at.write(len as u8);
                at.add(1)
            }
            len @ 254..=0xffff => {
                at.write(LEN_U16);
                at.add(1).cast::<u16>().write_unaligned(len as u16);
                at.add(3)
            }
            len => {
                let len = u32::try_from(len).unwrap_or_else(|_| panic!("a text of 4 GiB or more"));
                at.write(LEN_U32);
                at.add(1).cast::<u32>().write_unaligned(len);
                at.add(5)
            }
        };
        ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len());
        start.add(bytes.len())
    }
}

/// The text at `at`, and the place behind it.
///
/// # Safety
/// A text written by `write_text` stands at `at`, and is neither changed nor freed during `'a`.
#[inline(always)]
unsafe fn read_text<'a>(at: NonNull<u8>) -> (&'a [u8], NonNull<u8>) {
    // SAFETY: the prefix tells how many bytes follow it, and they are part of the same block.
    unsafe {
        let (start, len) = match at.read() {
            LEN_U16 => (at.add(3), usize::from(at.add(1).cast::<u16>().read_unaligned())),
            LEN_U32 => (at.add(5), at.add(1).cast::<u32>().read_unaligned() as usize),
            len => (at.add(1), usize::from(len)),
        };
        (std::slice::from_raw_parts(start.as_ptr(), len), start.add(len))
    }
}

/// # Safety
/// `block` is the block of a living `Pair`, not changed during `'a`.
#[inline(always)]
unsafe fn read_pair<'a>(block: NonNull<u8>) -> PairRef<'a> {
    // SAFETY: a pair is two texts, one behind the other.
    unsafe {
        let (field, second) = read_text(block);
        PairRef { field, value: read_text(second).0 }
    }
}

impl Pair {
    /// A pair of two texts, each shorter than 4 GiB.
    pub fn new(field: &[u8], value: &[u8]) -> Self {
        let block = allocate(text_bytes(field.len()) + text_bytes(value.len()));
        // SAFETY: the new block has room for both texts.
        unsafe {
            let second = write_text(block, field);
            write_text(second, value);
        }
        Pair(block)
    }

    /// Field and value.
    #[inline]
    pub fn get(&self) -> PairRef<'_> {
        // SAFETY: our block, borrowed as long as `self`.
        unsafe { read_pair(self.0) }
    }

    /// Replaces the value: in place if the block's size class stays.
    pub fn set_value(&mut self, value: &[u8]) {
        let PairRef { field, value: old } = self.get();
        let field_bytes = text_bytes(field.len());
        let bytes = field_bytes + text_bytes(value.len());
        if size_class(bytes) == size_class(field_bytes + text_bytes(old.len())) {
            // SAFETY: the class holds `bytes` in all, and we own the block exclusively; `value` is borrowed from elsewhere.
            unsafe { write_text(self.0.add(field_bytes), value) };
        } else {
            *self = Pair::new(field, value);
        }
    }

    /// Bytes allocated.
    pub fn heap_bytes(&self) -> usize {
        let PairRef { field, value } = self.get();
        size_class(text_bytes(field.len()) + text_bytes(value.len()))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let PairRef { field, value } = self.get();
        let layout = layout(text_bytes(field.len()) + text_bytes(value.len()));
        // SAFETY: allocated with this layout (1), not used again.
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}

impl Member {
    /// A member shorter than 4 GiB.
    pub fn new(member: &[u8]) -> Self {
        let block = allocate(text_bytes(member.len()));
        // SAFETY: the new block has room for the text.
        unsafe { write_text(block, member) };
        Member(block)
    }

    /// The bytes.
    #[inline]
    pub fn get(&self) -> &[u8] {
        // SAFETY: our block, borrowed as long as `self`.
        unsafe { read_text(self.0).0 }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let layout = layout(text_bytes(self.get().len()));
        // SAFETY: allocated with this layout (1), not used again.
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}

// SAFETY: a pointer from the allocator; the key never changes (2).
unsafe impl Item for Pair {
    type Ref<'a> = PairRef<'a>;

    fn into_raw(self) -> NonNull<u8> {
        let block = self.0;
        std::mem::forget(self);
        block
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Pair(raw)
    }

    #[inline(always)]
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the block starts with the field, and the caller keeps it alive.
        unsafe { read_text(raw).0 }
    }

    #[inline(always)]
    unsafe fn view<'a>(raw: NonNull<u8>) -> PairRef<'a> {
        // SAFETY: the caller keeps the block alive and unchanged.
        unsafe { read_pair(raw) }
    }

    #[inline]
    unsafe fn bytes(raw: NonNull<u8>) -> usize {
        // SAFETY: the caller keeps the block alive.
        let PairRef { field, value } = unsafe { read_pair(raw) };
        size_class(text_bytes(field.len()) + text_bytes(value.len()))
    }
}

// SAFETY: a pointer from the allocator; the member never changes (2).
unsafe impl Item for Member {
    type Ref<'a> = &'a [u8];

    fn into_raw(self) -> NonNull<u8> {
        let block = self.0;
        std::mem::forget(self);
        block
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Member(raw)
    }

    #[inline(always)]
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: the block is the member, and the caller keeps it alive.
        unsafe { read_text(raw).0 }
    }

    #[inline(always)]
    unsafe fn view<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: as in `key`.
        unsafe { read_text(raw).0 }
    }

    #[inline]
    unsafe fn bytes(raw: NonNull<u8>) -> usize {
        // SAFETY: as in `key`.
        size_class(text_bytes(unsafe { read_text(raw).0 }.len()))
    }
}

impl Elements for Pair {
    fn element<'a>(view: PairRef<'a>, to: &mut Vec<Element<'a>>) {
        to.push(Element::Pair(view.field, view.value));
    }
}

impl Elements for Member {
    fn element<'a>(member: &'a [u8], to: &mut Vec<Element<'a>>) {
        to.push(Element::Member(member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_elements_have_one_byte_of_header_a_text() {
        assert_eq!(Pair::new(b"0123456789", b"0123456789ab").heap_bytes(), 24);
        assert_eq!(layout(text_bytes(b"1234567".len())).size(), 8);
        assert_eq!(size_of::<Option<Pair>>(), 8);
    }

    #[test]
    fn a_value_of_the_same_class_is_replaced_in_place() {
        let mut pair = Pair::new(b"counter", b"9");
        let before = pair.0;
        pair.set_value(b"1234567");
        assert_eq!(pair.0, before);
        pair.set_value(b"12345678");
        assert_eq!(pair.get(), PairRef { field: b"counter", value: b"12345678" });
        assert_eq!(pair.heap_bytes(), 24);
    }

    /// Lengths around each form of the prefix.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![0usize..20, 250usize..260, 65_530usize..65_540, Just(200_000usize)];
        (len, any::<u8>()).prop_map(|(len, seed)| (0..len).map(|i| seed.wrapping_add(i as u8)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn texts_of_any_length_come_back(field in text(), values in prop::collection::vec(text(), 1..6)) {
            let mut pair = Pair::new(&field, b"");
            for value in &values {
                pair.set_value(value);
                prop_assert_eq!(pair.get(), PairRef { field: &field, value });
            }
            let member = Member::new(&field);
            prop_assert_eq!(member.get(), &field[..]);
            let raw = pair.into_raw();
            // SAFETY: from `into_raw` just above, once.
            let pair = unsafe { Pair::from_raw(raw) };
            prop_assert_eq!(pair.get().field, &field[..]);
        }
    }
}

//! One member of a big sorted set: its score and its bytes in a single block.
//!
//! ```text
//!   0        8     9             9+len
//!   | score  | len | member ...  |             len < 255
//!   | score  | 255 | len u32 | member ... |    longer members, bytes from 13 on
//! ```
//! The block is owned by the set's member table and *referenced* by its order tree, so both need 8 bytes for it. A 16-byte
//! member makes a 25-byte block, which the allocator serves from its 32-byte class.
//!
//! Invariants
//! 1. A [`ZItem`] owns its block; an [`ItemRef`] never does and is only read while the owner lives.
//! 2. The member never changes. The score is written only through the owner, and never NaN.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use super::alloc::size_class;
use super::prefetch;
use super::table::{Elements, Item};
use crate::snapshot::Element;

const LEN_AT: usize = 8;
const SHORT_AT: usize = 9;
const LONG_AT: usize = 13;
/// Value of the length byte that announces a 32-bit length behind it.
const LONG: u8 = 255;

/// The owner of a block: a thin pointer of 8 bytes.
pub struct ZItem(NonNull<u8>);

/// A borrowed pointer to a block, as the order tree keeps it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ItemRef(*mut u8);

// SAFETY: the block is plain bytes without interior references, and `ZItem` is its only owner.
unsafe impl Send for ZItem {}
// SAFETY: through `&ZItem` the block can only be read.
unsafe impl Sync for ZItem {}

impl ZItem {
    /// A block for `member`, which must be shorter than 4 GiB (clients may send 512 MB), with a score that is not NaN.
    pub fn new(member: &[u8], score: f64) -> Self {
        debug_assert!(!score.is_nan());
        let len = u32::try_from(member.len()).unwrap_or_else(|_| panic!("member of 4 GiB or more"));
        let layout = layout_of(len as usize);
        // SAFETY: the layout is never empty; `at + len` is exactly its size, so every write stays inside the new block.
        unsafe {
            let block = alloc(layout);
            let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
            block.cast::<f64>().write(score);
            let at = if len < u32::from(LONG) {
                block.add(LEN_AT).write(len as u8);
                SHORT_AT
            } else {
                block.add(LEN_AT).write(LONG);
                block.add(SHORT_AT).cast::<u32>().write_unaligned(len);
                LONG_AT
            };
            ptr::copy_nonoverlapping(member.as_ptr(), block.add(at).as_ptr(), member.len());
            Self(block)
        }
    }

    /// The member's bytes.
    pub fn member(&self) -> &[u8] {
        // SAFETY: we own the block and lend it for as long as `self` is lent.
        unsafe { self.link().member() }
    }

    /// The score; never NaN.
    pub fn score(&self) -> f64 {
        // SAFETY: we own the block.
        unsafe { self.link().score() }
    }

    pub(super) fn link(&self) -> ItemRef {
        ItemRef(self.0.as_ptr())
    }
}

// SAFETY: the pointer is the allocator's, which fits 48 bits; the member never changes.
unsafe impl Item for ZItem {
    type Ref<'a> = (&'a [u8], f64);

    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Self(raw)
    }

    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: alive by contract.
        unsafe { ItemRef::of(raw).member() }
    }

    unsafe fn view<'a>(raw: NonNull<u8>) -> Self::Ref<'a> {
        // SAFETY: alive by contract.
        unsafe { (ItemRef::of(raw).member(), ItemRef::of(raw).score()) }
    }

    #[inline]
    unsafe fn bytes(raw: NonNull<u8>) -> usize {
        // SAFETY: alive by contract.
        size_class(layout_of(unsafe { ItemRef::of(raw).member() }.len()).size())
    }
}

impl Elements for ZItem {
    fn element<'a>((member, score): Self::Ref<'a>, to: &mut Vec<Element<'a>>) {
        to.push(Element::Scored(member, score));
    }
}

impl Drop for ZItem {
    fn drop(&mut self) {
        let layout = layout_of(self.member().len());
        // SAFETY: allocated in `new` with the same layout, since the length never changes.
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}

impl ItemRef {
    /// Names no item; fills unused places of a node.
    pub(super) const NONE: Self = Self(ptr::null_mut());

    /// The item behind a pointer that came out of [`Item::into_raw`].
    pub(super) fn of(raw: NonNull<u8>) -> Self {
        Self(raw.as_ptr())
    }

    /// Starts loading the item.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        prefetch::read(self.0);
    }

    /// Writes the score, which must not be NaN.
    ///
    /// # Safety
    /// The owner is alive and nobody reads the score meanwhile.
    pub(super) unsafe fn set_score(self, score: f64) {
        debug_assert!(!score.is_nan());
        // SAFETY: a live block starts with its score, aligned to 8.
        unsafe { self.0.cast::<f64>().write(score) }
    }

    /// # Safety
    /// The owner is alive.
    #[inline(always)]
    pub(super) unsafe fn score(self) -> f64 {
        // SAFETY: a live block starts with its score, aligned to 8.
        unsafe { self.0.cast::<f64>().read() }
    }

    /// # Safety
    /// The owner stays alive for `'a`.
    #[inline(always)]
    pub(super) unsafe fn member<'a>(self) -> &'a [u8] {
        // SAFETY: the length stored in a live block is the number of bytes that follow it.
        unsafe {
            let short = self.0.add(LEN_AT).read();
            if short < LONG {
                std::slice::from_raw_parts(self.0.add(SHORT_AT), usize::from(short))
            } else {
                let len = self.0.add(SHORT_AT).cast::<u32>().read_unaligned();
                std::slice::from_raw_parts(self.0.add(LONG_AT), len as usize)
            }
        }
    }
}

fn layout_of(len: usize) -> Layout {
    let at = if len < usize::from(LONG) { SHORT_AT } else { LONG_AT };
    Layout::from_size_align(at + len, 8).unwrap_or_else(|_| unreachable!("members are shorter than 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_back_member_and_score_at_every_length_boundary() {
        for len in [0usize, 1, 16, 254, 255, 256, 70_000] {
            let member: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let item = ZItem::new(&member, -0.0);
            assert_eq!(item.member(), member);
            assert_eq!(item.score().to_bits(), (-0.0f64).to_bits());
            // SAFETY: the item is ours.
            unsafe { item.link().set_score(f64::INFINITY) };
            assert_eq!((item.score(), item.member()), (f64::INFINITY, &member[..]));
        }
        assert_eq!(size_of::<ZItem>(), 8);
    }
}

//! The two kinds of node, and how rows move between neighbours. Only a leaf's neighbours are followed from here.
//!
//! ```text
//!   Leaf  (1016 bytes)   prev | next | len | score 0..62 | item 0..62
//!   Inner (1016 bytes)   len | count 0..36 | score 0..36 | item 0..36 | child 0..36
//!                              `- items below child i  `------. `- first item below child i, and its score: i >= 1 only
//! ```
//! Columns, not rows: a search touches scores alone until scores tie. Both sizes fill the allocator's 1024-byte class.
//!
//! Rows `len..` are garbage. Row 0 of an inner node has no meaningful score and item: what bounds the first child from below
//! stands further up. Before rows move between inner siblings that bound is written into row 0, and then both kinds move alike.

use super::super::prefetch;
use super::super::zitem::ItemRef;

/// Items a leaf can hold.
pub(super) const LEAF_CAP: usize = 62;
/// Children an inner node can have.
pub(super) const FANOUT: usize = 36;

/// The separator of a child: its first item and that item's score.
pub(super) type First = (f64, ItemRef);

#[repr(C)]
pub(super) struct Leaf {
    pub(super) prev: *mut Leaf,
    pub(super) next: *mut Leaf,
    pub(super) len: usize,
    scores: [f64; LEAF_CAP],
    items: [ItemRef; LEAF_CAP],
}

#[repr(C)]
pub(super) struct Inner {
    len: usize,
    /// Items below each child.
    pub(super) counts: [u32; FANOUT],
    scores: [f64; FANOUT],
    items: [ItemRef; FANOUT],
    children: [Child; FANOUT],
}

const _: () = assert!(size_of::<Leaf>() == 1016 && size_of::<Inner>() == 1016);

/// A child of an inner node: a leaf or another inner node, which only its height tells.
#[derive(Clone, Copy)]
pub(super) union Child {
    pub(super) leaf: *mut Leaf,
    pub(super) inner: *mut Inner,
}

impl Child {
    /// Starts loading all lines of a node at once, since a search in it touches most of them one after the other.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        // SAFETY: both variants are plain pointers.
        let node = unsafe { self.leaf }.cast::<u8>();
        for line in 0..size_of::<Leaf>().div_ceil(64) {
            prefetch::read(node.wrapping_add(line * 64));
        }
    }
}

/// What sharing rows between siblings needs to know of a node.
pub(super) trait Rows {
    const CAP: usize;
    fn rows(&self) -> usize;
    fn first(&self) -> First;
    /// Moves the last `n` rows of `self` to the front of `right`; returns how many items went along.
    fn give_right(&mut self, right: &mut Self, n: usize) -> u32;
    /// Moves the first `n` rows of `right` to the end of `self`; returns how many items went along.
    fn take_right(&mut self, right: &mut Self, n: usize) -> u32;
}

impl Leaf {
    pub(super) fn new() -> *mut Self {
        Box::into_raw(Box::new(Self {
            prev: std::ptr::null_mut(),
            next: std::ptr::null_mut(),
            len: 0,
            scores: [0.0; LEAF_CAP],
            items: [ItemRef::NONE; LEAF_CAP],
        }))
    }

    pub(super) fn scores(&self) -> &[f64] {
        &self.scores[..self.len]
    }

    pub(super) fn items(&self) -> &[ItemRef] {
        &self.items[..self.len]
    }

    pub(super) fn insert(&mut self, at: usize, (score, item): First) {
        let len = self.len;
        self.scores.copy_within(at..len, at + 1);
        self.items.copy_within(at..len, at + 1);
        self.scores[at] = score;
        self.items[at] = item;
        self.len = len + 1;
    }

    /// Takes out the `n` rows from `at` on.
    pub(super) fn remove(&mut self, at: usize, n: usize) {
        self.scores.copy_within(at + n..self.len, at);
        self.items.copy_within(at + n..self.len, at);
        self.len -= n;
    }

    /// The row before row `at`, if need be in the leaf before.
    ///
    /// # Safety
    /// The neighbours are live and not mutably borrowed.
    pub(super) unsafe fn row_before(&self, at: usize) -> Option<First> {
        if at > 0 {
            return Some((self.scores[at - 1], self.items[at - 1]));
        }
        // SAFETY: live by contract; only a root leaf is empty, and that has no neighbours.
        let prev = unsafe { self.prev.as_ref()? };
        Some((prev.scores[prev.len - 1], prev.items[prev.len - 1]))
    }

    /// The row after row `at`, if need be in the leaf behind.
    ///
    /// # Safety
    /// The neighbours are live and not mutably borrowed.
    pub(super) unsafe fn row_after(&self, at: usize) -> Option<First> {
        if at + 1 < self.len {
            return Some((self.scores[at + 1], self.items[at + 1]));
        }
        // SAFETY: live by contract.
        unsafe { self.next.as_ref() }.map(Rows::first)
    }

    pub(super) fn set(&mut self, at: usize, (score, item): First) {
        self.scores[at] = score;
        self.items[at] = item;
    }
}

impl Rows for Leaf {
    const CAP: usize = LEAF_CAP;

    fn rows(&self) -> usize {
        self.len
    }

    fn first(&self) -> First {
        (self.scores[0], self.items[0])
    }

    fn give_right(&mut self, right: &mut Self, n: usize) -> u32 {
        let from = self.len - n;
        shift_in(&mut right.scores, right.len, &self.scores[from..self.len]);
        shift_in(&mut right.items, right.len, &self.items[from..self.len]);
        self.len = from;
        right.len += n;
        n as u32
    }

    fn take_right(&mut self, right: &mut Self, n: usize) -> u32 {
        let at = self.len;
        self.scores[at..at + n].copy_from_slice(&right.scores[..n]);
        self.items[at..at + n].copy_from_slice(&right.items[..n]);
        self.len += n;
        right.remove(0, n);
        n as u32
    }
}

impl Inner {
    /// A node over one child. The other children are garbage until inserted.
    pub(super) fn new(child: Child, count: u32) -> *mut Self {
        let mut counts = [0; FANOUT];
        counts[0] = count;
        Box::into_raw(Box::new(Self {
            len: 1,
            counts,
            scores: [0.0; FANOUT],
            items: [ItemRef::NONE; FANOUT],
            children: [child; FANOUT],
        }))
    }

    /// Like `new`, for a node that is to be filled by moving rows in.
    pub(super) fn empty(any: Child) -> *mut Self {
        let node = Self::new(any, 0);
        // SAFETY: allocated a line above and not shared yet.
        unsafe { (*node).len = 0 };
        node
    }

    pub(super) fn counts(&self) -> &[u32] {
        &self.counts[..self.len]
    }

    pub(super) fn child(&self, at: usize) -> Child {
        self.children[..self.len][at]
    }

    /// The child that a descent goes on to.
    #[inline(always)]
    pub(super) fn enter(&self, at: usize) -> Child {
        let child = self.child(at);
        child.prefetch();
        child
    }

    /// Scores and items of the separators: those of children 1, 2, ...
    pub(super) fn separators(&self) -> (&[f64], &[ItemRef]) {
        (&self.scores[1..self.len], &self.items[1..self.len])
    }

    pub(super) fn separator(&self, at: usize) -> First {
        (self.scores[at], self.items[at])
    }

    pub(super) fn set_separator(&mut self, at: usize, (score, item): First) {
        self.scores[at] = score;
        self.items[at] = item;
    }

    pub(super) fn insert_child(&mut self, at: usize, (score, item): First, child: Child, count: u32) {
        let len = self.len;
        self.scores.copy_within(at..len, at + 1);
        self.items.copy_within(at..len, at + 1);
        self.counts.copy_within(at..len, at + 1);
        self.children.copy_within(at..len, at + 1);
        self.scores[at] = score;
        self.items[at] = item;
        self.counts[at] = count;
        self.children[at] = child;
        self.len = len + 1;
    }

    pub(super) fn remove_child(&mut self, at: usize) {
        let len = self.len;
        self.scores.copy_within(at + 1..len, at);
        self.items.copy_within(at + 1..len, at);
        self.counts.copy_within(at + 1..len, at);
        self.children.copy_within(at + 1..len, at);
        self.len = len - 1;
    }
}

impl Rows for Inner {
    const CAP: usize = FANOUT;

    fn rows(&self) -> usize {
        self.len
    }

    fn first(&self) -> First {
        (self.scores[0], self.items[0])
    }

    fn give_right(&mut self, right: &mut Self, n: usize) -> u32 {
        let from = self.len - n;
        let moved = self.counts[from..self.len].iter().sum();
        shift_in(&mut right.scores, right.len, &self.scores[from..self.len]);
        shift_in(&mut right.items, right.len, &self.items[from..self.len]);
        shift_in(&mut right.counts, right.len, &self.counts[from..self.len]);
        shift_in(&mut right.children, right.len, &self.children[from..self.len]);
        self.len = from;
        right.len += n;
        moved
    }

    fn take_right(&mut self, right: &mut Self, n: usize) -> u32 {
        let at = self.len;
        self.scores[at..at + n].copy_from_slice(&right.scores[..n]);
        self.items[at..at + n].copy_from_slice(&right.items[..n]);
        self.counts[at..at + n].copy_from_slice(&right.counts[..n]);
        self.children[at..at + n].copy_from_slice(&right.children[..n]);
        let moved = right.counts[..n].iter().sum();
        self.len += n;
        let rest = right.len - n;
        right.scores.copy_within(n..n + rest, 0);
        right.items.copy_within(n..n + rest, 0);
        right.counts.copy_within(n..n + rest, 0);
        right.children.copy_within(n..n + rest, 0);
        right.len = rest;
        moved
    }
}

/// Puts `rows` in front of the first `len` rows of `column`.
fn shift_in<T: Copy>(column: &mut [T], len: usize, rows: &[T]) {
    column.copy_within(..len, rows.len());
    column[..rows.len()].copy_from_slice(rows);
}

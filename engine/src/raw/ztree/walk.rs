//! Ranks, bounds, and walking along the leaves.

use std::marker::PhantomData;
use std::ptr;

use super::ZTree;
use super::node::{Leaf, Rows};
use super::probe::{Key, rows_before};

/// How many items ahead of the walk the next one is loaded into the cache.
const AHEAD: usize = 8;

impl ZTree {
    /// How many items are before `(score, member)`.
    pub(in super::super) fn rank(&self, score: f64, member: &[u8]) -> usize {
        let key = Key { score, member };
        let mut rank = 0;
        let mut node = self.root;
        // SAFETY: `height` tells leaves from inner nodes; items in the tree are alive.
        unsafe {
            for _ in 0..self.height {
                let inner = &*node.inner;
                let at = key.child_in(inner);
                rank += inner.counts()[..at].iter().map(|&count| count as usize).sum::<usize>();
                node = inner.enter(at);
            }
            rank + key.place_in(&*node.leaf)
        }
    }

    /// How many items `before` accepts. It must accept a prefix of the order; if it does not, the answer is just some rank.
    pub(in super::super) fn count_before(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        let mut rank = 0;
        let mut node = self.root;
        // SAFETY: as in `rank`.
        unsafe {
            for _ in 0..self.height {
                let inner = &*node.inner;
                let (scores, items) = inner.separators();
                let at = rows_before(scores, items, &before);
                rank += inner.counts()[..at].iter().map(|&count| count as usize).sum::<usize>();
                node = inner.enter(at);
            }
            let leaf = &*node.leaf;
            rank + rows_before(leaf.scores(), leaf.items(), &before)
        }
    }

    /// `n` items in ascending order from rank `start` on; fewer if there are not so many.
    pub(in super::super) fn ascending(&self, start: usize, n: usize) -> Walk<'_> {
        self.walk(start, n.min(self.len.saturating_sub(start)), false)
    }

    /// `n` items in descending order from rank `start` down; fewer if there are not so many, none if there is no such rank.
    pub(in super::super) fn descending(&self, start: usize, n: usize) -> Walk<'_> {
        let n = if start < self.len { n.min(start + 1) } else { 0 };
        self.walk(start, n, true)
    }

    fn walk(&self, start: usize, left: usize, reverse: bool) -> Walk<'_> {
        let (leaf, at) = if left == 0 { (ptr::null(), 0) } else { self.find_rank(start) };
        Walk { leaf, at, left, reverse, tree: PhantomData }
    }

    /// The row with this rank, which must exist.
    fn find_rank(&self, mut rank: usize) -> (*const Leaf, usize) {
        let mut node = self.root;
        // SAFETY: as in `rank`.
        unsafe {
            for _ in 0..self.height {
                let inner = &*node.inner;
                let at = child_with_rank(inner.counts(), &mut rank);
                node = inner.enter(at);
            }
            debug_assert!(rank < (*node.leaf).rows());
            (node.leaf, rank)
        }
    }
}

/// The child under which the item of this rank is; leaves in `rank` its rank there.
pub(super) fn child_with_rank(counts: &[u32], rank: &mut usize) -> usize {
    let mut at = 0;
    while at + 1 < counts.len() && *rank >= counts[at] as usize {
        *rank -= counts[at] as usize;
        at += 1;
    }
    at
}

/// Items along the leaves. The tree is borrowed, so the items stay alive and in place.
pub struct Walk<'a> {
    /// Where the next item is; meaningless once `left` is 0.
    leaf: *const Leaf,
    at: usize,
    left: usize,
    reverse: bool,
    tree: PhantomData<&'a ZTree>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `left` counts rows that exist from here on, so the leaf is live, and so is the item.
        unsafe {
            let leaf = &*self.leaf;
            let (score, item) = (leaf.scores()[self.at], leaf.items()[self.at]);
            let ahead = if self.reverse { self.at.wrapping_sub(AHEAD) } else { self.at + AHEAD };
            if let Some(item) = leaf.items().get(ahead) {
                item.prefetch();
            }
            if self.left > 0 {
                self.step(leaf);
            }
            Some((item.member(), score))
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Walk<'_> {}

impl Walk<'_> {
    /// # Safety
    /// There is a further row in this direction.
    #[inline(always)]
    unsafe fn step(&mut self, leaf: &Leaf) {
        if !self.reverse {
            self.at += 1;
            if self.at == leaf.len {
                self.leaf = leaf.next;
                self.at = 0;
            }
        } else if self.at > 0 {
            self.at -= 1;
        } else {
            self.leaf = leaf.prev;
            // SAFETY: by contract there is a leaf before this one.
            self.at = unsafe { (*leaf.prev).len } - 1;
        }
    }
}

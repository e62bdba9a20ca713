//! Where things are: searches inside one node, by key or by a caller's notion of "before".

use super::super::zitem::ItemRef;
use super::node::{Inner, Leaf};

/// A place in the order: score, then member bytes.
pub(super) struct Key<'a> {
    pub(super) score: f64,
    pub(super) member: &'a [u8],
}

impl<'a> Key<'a> {
    /// # Safety
    /// The item stays alive for `'a`.
    pub(super) unsafe fn of(item: ItemRef) -> Self {
        // SAFETY: by contract.
        unsafe { Self { score: item.score(), member: item.member() } }
    }

    /// Whether this key is behind the row (score, item), or the item's own.
    ///
    /// # Safety
    /// The item is alive.
    #[inline(always)]
    pub(super) unsafe fn is_after(&self, score: f64, item: ItemRef) -> bool {
        // SAFETY: by contract.
        score < self.score || score == self.score && unsafe { item.member() } <= self.member
    }

    /// The child that has or would have this key.
    ///
    /// # Safety
    /// The node's items are alive.
    #[inline]
    pub(super) unsafe fn child_in(&self, inner: &Inner) -> usize {
        let (scores, items) = inner.separators();
        let (ties, end) = self.ties(scores);
        // SAFETY: by contract.
        ties + items[ties..end].partition_point(|item| unsafe { item.member() } <= self.member)
    }

    /// How many rows of the leaf are before this key: its place.
    ///
    /// # Safety
    /// The node's items are alive.
    #[inline]
    pub(super) unsafe fn place_in(&self, leaf: &Leaf) -> usize {
        let (ties, end) = self.ties(leaf.scores());
        // SAFETY: by contract.
        ties + leaf.items()[ties..end].partition_point(|item| unsafe { item.member() } < self.member)
    }

    /// The rows with our score. Members are read only inside of it, since each is a cache miss.
    ///
    /// Counting beats a binary search here: the processor loads all lines of a column at once instead of waiting for one after
    /// the other, and compares several scores at a time.
    #[inline(always)]
    fn ties(&self, scores: &[f64]) -> (usize, usize) {
        let (mut below, mut upto) = (0u64, 0u64);
        for &score in scores {
            below += u64::from(score < self.score);
            upto += u64::from(score <= self.score);
        }
        (below as usize, upto as usize)
    }
}

/// How many rows are before a bound, when `before` is true for a prefix of them.
///
/// # Safety
/// The items are alive.
#[inline]
pub(super) unsafe fn rows_before(scores: &[f64], items: &[ItemRef], before: &impl Fn(f64, &[u8]) -> bool) -> usize {
    let (mut low, mut high) = (0, scores.len());
    while low < high {
        let middle = (low + high) / 2;
        // SAFETY: by contract.
        if before(scores[middle], unsafe { items[middle].member() }) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

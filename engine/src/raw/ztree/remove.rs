//! Taking items out, one or a range of ranks, and keeping nodes thick enough on the way down.

use std::ptr;

use super::super::zitem::ItemRef;
use super::node::{FANOUT, Inner, LEAF_CAP, Leaf, Rows};
use super::probe::Key;
use super::walk::child_with_rank;
use super::{ZTree, unlink};

/// A leaf with no more items than this is filled up before something is taken out of it.
const LEAF_THIN: usize = LEAF_CAP / 2;
/// The same for children of an inner node; at least 2, so that one can go.
const INNER_THIN: usize = FANOUT / 3;
/// Every inner node has two children or more, and there are fewer than 2^32 items.
const HEIGHT_MAX: usize = 32;

impl ZTree {
    /// Takes an item out.
    ///
    /// # Safety
    /// The item is in the tree and its score is the one the tree knows.
    pub(in super::super) unsafe fn remove(&mut self, item: ItemRef) {
        let mut node = self.root;
        // Where the first item of the subtree below is the separator, if anywhere.
        let mut separator: Option<(*mut Inner, usize)> = None;
        // SAFETY: alive by contract; nodes are only reachable through us, `height` tells their kind, and references do not
        // outlive a round.
        unsafe {
            let key = Key::of(item);
            for height in (1..=self.height).rev() {
                let inner = &mut *node.inner;
                let mut at = key.child_in(inner);
                if fill_up(inner, at, height == 1) {
                    at = key.child_in(inner);
                }
                inner.counts[at] -= 1;
                if at > 0 {
                    separator = Some((node.inner, at));
                }
                node = inner.enter(at);
            }
            let leaf = &mut *node.leaf;
            let at = key.place_in(leaf);
            debug_assert!(leaf.items()[at] == item);
            leaf.remove(at, 1);
            if at == 0
                && let Some((inner, child)) = separator
            {
                (*inner).set_separator(child, leaf.first());
            }
        }
        self.len -= 1;
        self.lower_root();
    }

    /// Takes out the `n` items from rank `start` on (fewer if there are not so many) and hands each to `gone`, which may free it.
    pub(in super::super) fn remove_range(&mut self, start: usize, n: usize, mut gone: impl FnMut(ItemRef)) {
        let mut left = n.min(self.len.saturating_sub(start));
        while left > 0 {
            let mut out = [ItemRef::NONE; LEAF_CAP];
            let taken = self.remove_in_leaf(start, left, &mut out);
            left -= taken;
            out[..taken].iter().for_each(|&item| gone(item));
        }
    }

    /// Takes out up to `n` items, as far as they are in the leaf that has rank `start`.
    fn remove_in_leaf(&mut self, start: usize, n: usize, out: &mut [ItemRef; LEAF_CAP]) -> usize {
        let mut path = [(ptr::null_mut::<Inner>(), 0usize); HEIGHT_MAX];
        let path = &mut path[..self.height as usize];
        let mut node = self.root;
        let mut rank = start;
        // SAFETY: as in `remove`.
        let taken = unsafe {
            for (depth, step) in path.iter_mut().enumerate() {
                let inner = &mut *node.inner;
                let mut below = rank;
                let mut at = child_with_rank(inner.counts(), &mut below);
                if fill_up(inner, at, depth as u32 + 1 == self.height) {
                    below = rank;
                    at = child_with_rank(inner.counts(), &mut below);
                }
                rank = below;
                *step = (node.inner, at);
                node = inner.enter(at);
            }
            let leaf = &mut *node.leaf;
            let taken = n.min(leaf.len - rank);
            out[..taken].copy_from_slice(&leaf.items()[rank..rank + taken]);
            leaf.remove(rank, taken);
            for &mut (inner, at) in path.iter_mut() {
                (*inner).counts[at] -= taken as u32;
            }
            if rank == 0 {
                replace_first(path, leaf);
            }
            taken
        };
        self.len -= taken;
        self.lower_root();
        taken
    }

    /// A root with a single child gives way to it.
    fn lower_root(&mut self) {
        // SAFETY: the root is an inner node while `height` > 0; its only child is kept.
        unsafe {
            while self.height > 0 && (*self.root.inner).rows() == 1 {
                let root = Box::from_raw(self.root.inner);
                self.root = root.child(0);
                self.height -= 1;
            }
        }
    }
}

/// After the first items of the leaf at the end of `path` have gone: drops the leaf if it is empty, and writes the separator that
/// named the item which was first.
///
/// # Safety
/// `path` leads to `leaf`; the node above has two children or more, unless it is the root.
unsafe fn replace_first(path: &[(*mut Inner, usize)], leaf: *mut Leaf) {
    // SAFETY: by contract; a leaf without items is referenced by its parent and its neighbours only.
    unsafe {
        let Some((&(parent, at), above)) = path.split_last() else { return };
        let mut first = None;
        if (*leaf).len > 0 {
            first = Some((*leaf).first());
        } else if (*parent).rows() == 1 {
            // A root whose two leaves were merged a moment ago: the tree is empty now, and this leaf becomes its root.
            return;
        } else {
            unlink(leaf);
            drop(Box::from_raw(leaf));
            if at == 0 {
                first = Some((*parent).separator(1));
            }
            (*parent).remove_child(at);
        }
        // If a later child was dropped, its separator has gone with it.
        let Some(first) = first else { return };
        let lowest = if at > 0 { Some((parent, at)) } else { above.iter().rev().find(|step| step.1 > 0).copied() };
        if let Some((inner, child)) = lowest {
            (*inner).set_separator(child, first);
        }
    }
}

/// Makes sure that child `at` is not thin, by merging it with a sibling or sharing with one. True if anything has moved.
///
/// # Safety
/// `leaves` tells what the children of `parent` are.
unsafe fn fill_up(parent: &mut Inner, at: usize, leaves: bool) -> bool {
    // SAFETY: children are live nodes of the kind told; siblings are distinct.
    unsafe {
        let rows = |at: usize| if leaves { (*parent.child(at).leaf).rows() } else { (*parent.child(at).inner).rows() };
        let (thin, cap) = if leaves { (LEAF_THIN, LEAF_CAP) } else { (INNER_THIN, FANOUT) };
        let own = rows(at);
        if own > thin || parent.rows() < 2 {
            return false;
        }
        // The left one of the two siblings that are to share.
        let left_at = if at == 0 {
            0
        } else if at + 1 == parent.rows() || own + rows(at - 1) <= cap {
            at - 1
        } else if own + rows(at + 1) <= cap || rows(at + 1) > rows(at - 1) {
            at
        } else {
            at - 1
        };
        if leaves {
            let (left, right) = (parent.child(left_at).leaf, parent.child(left_at + 1).leaf);
            if even_out(parent, left_at, &mut *left, &mut *right) {
                unlink(right);
                drop(Box::from_raw(right));
                parent.remove_child(left_at + 1);
            }
        } else {
            let (left, right) = (parent.child(left_at).inner, parent.child(left_at + 1).inner);
            (*right).set_separator(0, parent.separator(left_at + 1));
            if even_out(parent, left_at, &mut *left, &mut *right) {
                drop(Box::from_raw(right));
                parent.remove_child(left_at + 1);
            }
        }
        true
    }
}

/// Merges two siblings into the left one if they fit, else gives each half. True if the right one is now empty.
fn even_out<N: Rows>(parent: &mut Inner, left_at: usize, left: &mut N, right: &mut N) -> bool {
    let rows = left.rows() + right.rows();
    if rows <= N::CAP {
        let all = right.rows();
        parent.counts[left_at] += left.take_right(right, all);
        return true;
    }
    if left.rows() < rows / 2 {
        let moved = left.take_right(right, rows / 2 - left.rows());
        parent.counts[left_at] += moved;
        parent.counts[left_at + 1] -= moved;
    } else {
        let moved = left.give_right(right, left.rows() - rows / 2);
        parent.counts[left_at] -= moved;
        parent.counts[left_at + 1] += moved;
    }
    parent.set_separator(left_at + 1, right.first());
    false
}

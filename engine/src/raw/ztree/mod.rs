//! The order of a big sorted set: a counted B+ tree over items that somebody else owns.
//!
//! Why a B+ tree: a skip list spends 24 to 40 bytes an element on links and meets a cache miss at every step. Here an element
//! costs its row of 16 bytes in a leaf (score and pointer), at about four fifths fill, and an insertion meets one or two lines
//! that are not in the cache. Inner nodes count the items below each child, so ranks, and with them every kind of range, take one
//! descent; leaves are linked both ways, so a range is walked without going up again.
//!
//! ```text
//!                     Inner   | 3 . | 7  d | 5  k |           count, first item of the child (not kept for the first child)
//!                             /      |        \
//!     Leaf  null <-> | a b c | <-> | d e f g .. | <-> | k l .. | <-> null
//! ```
//! Nodes are as drawn in `node.rs`. Order is (score, member bytes); zeros of both signs are equal, NaN does not occur.
//!
//! Invariants
//! 1. Every item referenced is alive: callers hand items in by an `unsafe` call that promises it, and take them out first.
//! 2. The separator of child i >= 1 *is* the first item below it, not a copy, so it lives as long as 1 holds. Removing a leaf's
//!    first item therefore rewrites one separator: at the lowest node above it where the path does not go to child 0.
//! 3. All leaves have the same depth, `height`. Only a root leaf may be empty, and every inner node has two children or more.
//! 4. On the way down an insertion makes room in full children, a removal fills up thin ones: nothing is repaired upwards.
//! 5. A full leaf first shares with a neighbour, then two full ones become three; items that arrive in ascending or descending
//!    order leave full leaves behind. So random insertion fills leaves to about 80 %, ordered insertion to nearly 100 %.

mod node;
mod probe;
mod remove;
#[cfg(test)]
mod tests;
mod walk;

pub use walk::Walk;

use super::zitem::ItemRef;
use node::{Child, FANOUT, Inner, LEAF_CAP, Leaf, Rows};
use probe::Key;

/// The tree. All methods that hand out items rely on invariant 1.
pub(super) struct ZTree {
    root: Child,
    height: u32,
    len: usize,
}

impl ZTree {
    pub(super) fn new() -> Self {
        Self { root: Child { leaf: Leaf::new() }, height: 0, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an item.
    ///
    /// # Safety
    /// The item is not in the tree, its score is not NaN, and until it has been taken out again its owner stays alive and
    /// changes its score only through [`ZTree::moves_nobody`].
    pub(super) unsafe fn insert(&mut self, item: ItemRef) {
        // SAFETY: alive by contract.
        let key = unsafe { Key::of(item) };
        self.raise_full_root();
        let mut node = self.root;
        let mut rightmost = true;
        // SAFETY: `height` tells leaves from inner nodes (3); nodes are only reachable through us, and no
        // reference to one survives into the next round.
        unsafe {
            for height in (1..=self.height).rev() {
                let inner = &mut *node.inner;
                let mut at = key.child_in(inner);
                rightmost &= at + 1 == inner.rows();
                if height == 1 {
                    if (*inner.child(at).leaf).len == LEAF_CAP {
                        make_room_in_leaf(inner, at, &key, item);
                        at = key.child_in(inner);
                    }
                } else if (*inner.child(at).inner).rows() == FANOUT {
                    split_inner(inner, at, rightmost);
                    at = key.child_in(inner);
                }
                inner.counts[at] += 1;
                node = inner.enter(at);
            }
            let leaf = &mut *node.leaf;
            leaf.insert(key.place_in(leaf), (key.score, item));
        }
        self.len += 1;
    }

    /// Puts a new root over a root that has no room, so that a descent never meets a full parent.
    fn raise_full_root(&mut self) {
        // SAFETY: `height` says which kind the root is.
        let full = unsafe {
            match self.height {
                0 => (*self.root.leaf).len == LEAF_CAP,
                _ => (*self.root.inner).rows() == FANOUT,
            }
        };
        if full {
            // Items are bounded by memory: 2^32 of them take 300 GB.
            self.root = Child { inner: Inner::new(self.root, self.len as u32) };
            self.height += 1;
        }
    }

    /// Whether `item`'s score can become `score` without a change of order. If so, the tree has noted the new score, and the
    /// caller must write it into the item before anything else.
    ///
    /// # Safety
    /// The item is in the tree; `score` is not NaN.
    pub(super) unsafe fn moves_nobody(&mut self, item: ItemRef, score: f64) -> bool {
        let mut node = self.root;
        // Where the first item of the subtree below is the separator, if anywhere.
        let mut separator: Option<(*mut Inner, usize)> = None;
        // SAFETY: alive by contract and by (1); nodes as in `insert`.
        unsafe {
            let old = Key::of(item);
            let new = Key { score, member: old.member };
            for _ in 0..self.height {
                let inner = &*node.inner;
                let at = old.child_in(inner);
                if at > 0 {
                    separator = Some((node.inner, at));
                }
                node = inner.enter(at);
            }
            let leaf = &mut *node.leaf;
            let at = old.place_in(leaf);
            debug_assert!(leaf.items()[at] == item);
            let fits = leaf.row_before(at).is_none_or(|(score, item)| new.is_after(score, item))
                && leaf.row_after(at).is_none_or(|(score, item)| !new.is_after(score, item));
            if fits {
                leaf.set(at, (score, item));
                if at == 0
                    && let Some((inner, child)) = separator
                {
                    (*inner).set_separator(child, (score, item));
                }
            }
            fits
        }
    }
}

impl Drop for ZTree {
    fn drop(&mut self) {
        // SAFETY: we own all nodes; items are not touched.
        unsafe { free(self.root, self.height) }
    }
}

/// # Safety
/// `node` heads a subtree of this height that nobody uses any more.
unsafe fn free(node: Child, height: u32) {
    // SAFETY: by contract; nodes come from `Box::into_raw`.
    unsafe {
        if height == 0 {
            drop(Box::from_raw(node.leaf));
            return;
        }
        let inner = Box::from_raw(node.inner);
        for at in 0..inner.rows() {
            free(inner.child(at), height - 1);
        }
    }
}

/// Makes room where `key` is to go: in the full leaf `at` or in a new leaf beside it. `parent` is not full.
///
/// # Safety
/// `parent` stands directly above leaves; `item` has that key and is alive.
unsafe fn make_room_in_leaf(parent: &mut Inner, at: usize, key: &Key, item: ItemRef) {
    // SAFETY: siblings are distinct nodes; (1) for the items compared.
    unsafe {
        let full = parent.child(at).leaf;
        let leaf = &mut *full;
        let last = leaf.len - 1;
        if leaf.next.is_null() && key.is_after(leaf.scores()[last], leaf.items()[last]) {
            let new = Leaf::new();
            link_behind(full, new);
            parent.insert_child(at + 1, (key.score, item), Child { leaf: new }, 0);
            return;
        }
        if leaf.prev.is_null() && !key.is_after(leaf.scores()[0], leaf.items()[0]) {
            let new = Leaf::new();
            (*new).next = full;
            leaf.prev = new;
            parent.insert_child(0, leaf.first(), Child { leaf: new }, 0);
            parent.set_separator(1, leaf.first());
            return;
        }
        if at > 0 && share_left(parent, at) || at + 1 < parent.rows() && share_right(parent, at) {
            return;
        }
        let new = Leaf::new();
        if parent.rows() == 1 {
            link_behind(full, new);
            let moved = leaf.give_right(&mut *new, LEAF_CAP / 2);
            parent.counts[at] -= moved;
            parent.insert_child(at + 1, (*new).first(), Child { leaf: new }, moved);
            return;
        }
        // Two full leaves become three.
        let left_at = at.saturating_sub(1);
        let left = parent.child(left_at).leaf;
        let right = parent.child(left_at + 1).leaf;
        link_behind(left, new);
        let from_right = (*new).take_right(&mut *right, LEAF_CAP / 3);
        let from_left = (*left).give_right(&mut *new, LEAF_CAP / 3 + 1);
        parent.counts[left_at] -= from_left;
        parent.counts[left_at + 1] -= from_right;
        parent.set_separator(left_at + 1, (*right).first());
        parent.insert_child(left_at + 1, (*new).first(), Child { leaf: new }, from_left + from_right);
    }
}

/// Moves half of the left sibling's free room from leaf `at` there; false if that is hardly any.
///
/// # Safety
/// As for `make_room_in_leaf`, and `at` has a left sibling.
unsafe fn share_left(parent: &mut Inner, at: usize) -> bool {
    // SAFETY: distinct siblings.
    let (left, leaf) = unsafe { (&mut *parent.child(at - 1).leaf, &mut *parent.child(at).leaf) };
    let n = (LEAF_CAP - left.len) / 2;
    if n < 2 {
        return false;
    }
    let moved = left.take_right(leaf, n);
    parent.counts[at - 1] += moved;
    parent.counts[at] -= moved;
    parent.set_separator(at, leaf.first());
    true
}

/// The same towards the right sibling, which must exist.
///
/// # Safety
/// As for `share_left`.
unsafe fn share_right(parent: &mut Inner, at: usize) -> bool {
    // SAFETY: distinct siblings.
    let (leaf, right) = unsafe { (&mut *parent.child(at).leaf, &mut *parent.child(at + 1).leaf) };
    let n = (LEAF_CAP - right.len) / 2;
    if n < 2 {
        return false;
    }
    let moved = leaf.give_right(right, n);
    parent.counts[at] -= moved;
    parent.counts[at + 1] += moved;
    parent.set_separator(at + 1, right.first());
    true
}

/// Splits the full inner child `at`; `parent` is not full. At the right edge little is moved, since items may be ascending.
///
/// # Safety
/// The children of `parent` are inner nodes.
unsafe fn split_inner(parent: &mut Inner, at: usize, rightmost: bool) {
    // SAFETY: `new` is ours alone, the child is only reachable through `parent`.
    unsafe {
        let full = &mut *parent.child(at).inner;
        let new = Inner::empty(full.child(0));
        let moved = full.give_right(&mut *new, if rightmost { FANOUT / 8 } else { FANOUT / 2 });
        parent.counts[at] -= moved;
        // Row 0 of the new node still holds its separator.
        parent.insert_child(at + 1, (*new).first(), Child { inner: new }, moved);
    }
}

/// # Safety
/// `leaf` is in the list of leaves and `new` is not.
unsafe fn link_behind(leaf: *mut Leaf, new: *mut Leaf) {
    // SAFETY: neighbours in the list are live nodes.
    unsafe {
        let next = (*leaf).next;
        (*new).prev = leaf;
        (*new).next = next;
        (*leaf).next = new;
        if !next.is_null() {
            (*next).prev = new;
        }
    }
}

/// # Safety
/// `leaf` is in the list of leaves.
unsafe fn unlink(leaf: *mut Leaf) {
    // SAFETY: neighbours in the list are live nodes.
    unsafe {
        let (prev, next) = ((*leaf).prev, (*leaf).next);
        if !prev.is_null() {
            (*prev).next = next;
        }
        if !next.is_null() {
            (*next).prev = prev;
        }
    }
}

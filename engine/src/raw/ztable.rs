//! `ZTable`: a big sorted set, as a table that owns the members and a tree that orders them.
//!
//! ```text
//!   Table<ZItem>  --owns-->  | score | len | member |  <--refers to--  ZTree leaves and separators
//! ```
//! By member: one probe of the table. By order: one descent of the tree. With 16-byte members an element costs 32 bytes of item,
//! about 15 of table and 20 of tree.
//!
//! Invariants
//! 1. An item is in the table if and only if it is in the tree; it enters the table last and leaves it after the tree.
//! 2. A score is written only here, and only together with the tree.

use std::ops::Range;

use super::table::{FrostTable, Parity, Table};
use super::zitem::{ItemRef, ZItem};
use super::ztree::ZTree;
use crate::hash;

pub use super::ztree::Walk;

/// A sorted set of any size. Scores are never NaN.
pub struct ZTable {
    tree: ZTree,
    items: Table<ZItem>,
}

// SAFETY: the tree's pointers lead to its own nodes and to items of the table beside it; both move along.
unsafe impl Send for ZTable {}
// SAFETY: `&ZTable` only reads.
unsafe impl Sync for ZTable {}

impl ZTable {
    /// An empty one.
    pub fn new() -> Self {
        Self { tree: ZTree::new(), items: Table::new() }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.items.find(hash::fast(member), member).map(|(_, score)| score)
    }

    /// Bytes of the members' blocks. O(1).
    pub fn item_bytes(&self) -> usize {
        self.items.item_bytes()
    }

    /// As [`Table::expect`].
    pub fn expect(&mut self, members: usize) {
        self.items.expect(members);
    }

    /// Starts loading the member's bucket.
    #[inline]
    pub fn prefetch(&self, member: &[u8]) {
        self.items.prefetch_bucket(hash::fast(member));
    }

    /// Adds or changes a member, with one probe: `decide` gets its score, if it is there, and returns the one it is to have, or
    /// `None` to leave everything as it is. A score equal to the old one changes nothing, not even the sign of a zero.
    ///
    /// Returns what `decide` got and what it returned. It must not return NaN.
    pub fn put(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> (Option<f64>, Option<f64>) {
        let hash = hash::fast(member);
        if let Some(mut cell) = self.items.find_cell(hash, member) {
            let item = ItemRef::of(cell.raw());
            let old = cell.view().1;
            let new = decide(Some(old));
            if let Some(score) = new.filter(|&score| score != old) {
                cell.before_change();
                // SAFETY: an item of the table, hence in the tree (1), which knows its score (2); nobody else reads it.
                unsafe {
                    if self.tree.moves_nobody(item, score) {
                        item.set_score(score);
                    } else {
                        self.tree.remove(item);
                        item.set_score(score);
                        self.tree.insert(item);
                    }
                }
            }
            return (Some(old), new);
        }
        let new = decide(None);
        if let Some(score) = new {
            let item = ZItem::new(member, score);
            // SAFETY: not in the tree, since not in the table (1), whose property it becomes at once.
            unsafe { self.tree.insert(item.link()) };
            self.items.insert_new(hash, item, Parity::NONE);
        }
        (None, new)
    }

    /// Removes a member; its score if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let cell = self.items.find_cell(hash::fast(member), member)?;
        // SAFETY: an item of the table, hence in the tree (1), which knows its score (2).
        unsafe { self.tree.remove(ItemRef::of(cell.raw())) };
        Some(cell.take().score())
    }

    /// How many members are before this one; `None` if it is not there.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        self.score(member).map(|score| self.tree.rank(score, member))
    }

    /// How many members `before` accepts, which must be a prefix of the order.
    pub fn count_before(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        self.tree.count_before(before)
    }

    /// `n` members in ascending order from rank `start` on; fewer if there are not so many.
    pub fn ascending(&self, start: usize, n: usize) -> Walk<'_> {
        self.tree.ascending(start, n)
    }

    /// `n` members in descending order from rank `start` down; fewer if there are not so many.
    pub fn descending(&self, start: usize, n: usize) -> Walk<'_> {
        self.tree.descending(start, n)
    }

    /// Removes the members with these ranks, as far as they exist, and calls `gone` with each before it is freed.
    pub fn remove_ranks(&mut self, ranks: Range<usize>, mut gone: impl FnMut(&[u8])) {
        let items = &mut self.items;
        self.tree.remove_range(ranks.start, ranks.len(), |item| {
            // SAFETY: out of the tree, still in the table (1).
            let member = unsafe { item.member() };
            gone(member);
            if let Some(cell) = items.find_cell(hash::fast(member), member) {
                drop(cell.take());
            }
        });
    }

    /// Visits the members of one bucket of the table and returns the cursor after it: see [`Table::scan`].
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(&'a [u8], f64)) -> u64 {
        self.items.scan(cursor, |(member, score)| visit(member, score))
    }

    /// The table of the members, to freeze it.
    pub fn table(&self) -> &dyn FrostTable {
        &self.items
    }

    /// The table of the members, to freeze it.
    pub fn table_mut(&mut self) -> &mut dyn FrostTable {
        &mut self.items
    }

    /// Checks the table's invariants and that the tree has the same members; for tests and DEBUG. Panics with what is wrong.
    pub fn verify(&self) {
        self.items.verify();
        assert_eq!(self.items.len(), self.tree.len(), "table and tree differ in length");
        let mut last: Option<(f64, &[u8])> = None;
        for (member, score) in self.ascending(0, self.len()) {
            assert_eq!(self.score(member).map(f64::to_bits), Some(score.to_bits()), "table and tree differ");
            assert!(last.is_none_or(|last| last < (score, member)), "members out of order");
            last = Some((score, member));
        }
    }
}

impl Default for ZTable {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    fn add(table: &mut ZTable, member: &[u8], score: f64) -> Option<f64> {
        table.put(member, |_| Some(score)).0
    }

    #[test]
    fn a_scan_sees_every_member_while_others_come_and_go() {
        let mut table = ZTable::new();
        for i in 0..3000u32 {
            add(&mut table, &i.to_be_bytes(), f64::from(i % 7));
        }
        let (mut cursor, mut seen, mut round) = (0, std::collections::HashSet::new(), 3000u32);
        loop {
            cursor = table.scan(cursor, |member, score| {
                let i = u32::from_be_bytes(member.try_into().expect("4 bytes"));
                assert_eq!(score, f64::from(i % 7));
                seen.insert(i);
            });
            if cursor == 0 {
                break;
            }
            for i in round..round + 3 {
                add(&mut table, &i.to_be_bytes(), f64::from(i % 7));
            }
            round += 3;
        }
        assert!((0..3000).all(|i| seen.contains(&i)));
        table.verify();
    }

    #[test]
    fn an_equal_score_keeps_the_sign_of_zero() {
        let mut table = ZTable::new();
        add(&mut table, b"m", -0.0);
        assert_eq!(add(&mut table, b"m", 0.0), Some(-0.0));
        assert_eq!(table.score(b"m").map(f64::to_bits), Some((-0.0f64).to_bits()));
        assert_eq!(table.put(b"m", |_| None), (Some(-0.0), None));
        assert_eq!(table.put(b"n", |_| None), (None, None));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn members_removed_by_rank_are_reported_and_gone_from_both_sides() {
        let mut table = ZTable::new();
        for i in 0..1000u32 {
            add(&mut table, &i.to_be_bytes(), f64::from(i));
        }
        let mut gone = Vec::new();
        table.remove_ranks(100..900, |member| gone.push(u32::from_be_bytes(member.try_into().expect("4 bytes"))));
        assert_eq!(gone, (100..900).collect::<Vec<_>>());
        assert_eq!((table.len(), table.score(&100u32.to_be_bytes())), (200, None));
        table.verify();
        table.remove_ranks(0..usize::MAX, |_| ());
        assert!(table.is_empty());
        table.verify();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_equals_a_map(steps in prop::collection::vec((0u8..4, 0u16..300, -3i8..3), 1..2000)) {
            let mut table = ZTable::new();
            let mut model: HashMap<Vec<u8>, f64> = HashMap::new();
            for (what, member, score) in steps {
                let (member, score) = (member.to_string().into_bytes(), f64::from(score));
                if what == 0 {
                    prop_assert_eq!(table.remove(&member), model.remove(&member));
                } else {
                    prop_assert_eq!(add(&mut table, &member, score), model.insert(member.clone(), score));
                }
                let before = model.iter().filter(|(m, s)| (**s, &m[..]) < (score, &member[..])).count();
                prop_assert_eq!(table.rank(&member), model.contains_key(&member).then_some(before));
            }
            table.verify();
            prop_assert_eq!(table.len(), model.len());
        }
    }
}

//! A set of slots as a bitmap of 1024 bits (128 bytes, no allocation).
//!
//! Iteration ascends, which is the order in which slot locks are taken.

use crate::id::{SLOTS, SlotId};
use std::fmt;

const WORDS: usize = SLOTS / 64;

/// A set of slots.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct SlotSet([u64; WORDS]);

impl SlotSet {
    /// No slot.
    pub const fn new() -> SlotSet {
        SlotSet([0; WORDS])
    }

    /// All slots.
    pub const fn full() -> SlotSet {
        SlotSet([u64::MAX; WORDS])
    }

    /// Adds a slot; true if it was not yet in the set.
    #[inline]
    pub fn insert(&mut self, slot: SlotId) -> bool {
        let (word, bit) = place(slot);
        let was = self.0[word];
        self.0[word] = was | bit;
        was & bit == 0
    }

    /// Takes a slot out; true if it was in the set.
    #[inline]
    pub fn remove(&mut self, slot: SlotId) -> bool {
        let (word, bit) = place(slot);
        let was = self.0[word];
        self.0[word] = was & !bit;
        was & bit != 0
    }

    /// Whether the slot is in the set.
    #[inline]
    pub fn contains(&self, slot: SlotId) -> bool {
        let (word, bit) = place(slot);
        self.0[word] & bit != 0
    }

    /// Whether no slot is in the set.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Whether every slot is in the set.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.0.iter().all(|&word| word == u64::MAX)
    }

    /// Number of slots in the set.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The lowest slot.
    #[inline]
    pub fn first(&self) -> Option<SlotId> {
        self.iter().next()
    }

    /// Takes all slots out.
    #[inline]
    pub fn clear(&mut self) {
        self.0 = [0; WORDS];
    }

    /// The slots that are in either set.
    pub fn union(&self, other: &SlotSet) -> SlotSet {
        let mut union = self.clone();
        union.add_all(other);
        union
    }

    /// Adds every slot of `other`.
    #[inline]
    pub fn add_all(&mut self, other: &SlotSet) {
        for (word, &more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// Whether some slot is in both sets.
    #[inline]
    pub fn intersects(&self, other: &SlotSet) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Whether every slot of `other` is in this set.
    #[inline]
    pub fn contains_all(&self, other: &SlotSet) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| theirs & !mine == 0)
    }

    /// The slots, ascending.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { word: self.0[0], index: 0, words: &self.0 }
    }
}

#[inline]
fn place(slot: SlotId) -> (usize, u64) {
    (slot.index() / 64, 1 << (slot.index() % 64))
}

/// Ascending iterator over a [`SlotSet`].
#[derive(Clone)]
pub struct Iter<'a> {
    /// What is left of the word at `index`.
    word: u64,
    index: usize,
    words: &'a [u64; WORDS],
}

impl Iterator for Iter<'_> {
    type Item = SlotId;

    #[inline]
    fn next(&mut self) -> Option<SlotId> {
        while self.word == 0 {
            self.index += 1;
            self.word = *self.words.get(self.index)?;
        }
        let bit = self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        SlotId::new(self.index * 64 + bit)
    }
}

impl<'a> IntoIterator for &'a SlotSet {
    type Item = SlotId;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<SlotId> for SlotSet {
    fn from_iter<I: IntoIterator<Item = SlotId>>(slots: I) -> SlotSet {
        let mut set = SlotSet::new();
        set.extend(slots);
        set
    }
}

impl Extend<SlotId> for SlotSet {
    fn extend<I: IntoIterator<Item = SlotId>>(&mut self, slots: I) {
        for slot in slots {
            self.insert(slot);
        }
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(SlotId::get)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_full_set_has_every_slot() {
        let full = SlotSet::full();
        assert_eq!(full.len(), SLOTS);
        assert!(full.is_full() && !full.is_empty());
        assert!(full.iter().eq(SlotId::all()));
        assert!(SlotSet::new().is_empty());
        assert_eq!(SlotSet::new().first(), None);
        assert_eq!(SlotSet::new().iter().next(), None);
    }

    fn slot() -> impl Strategy<Value = SlotId> {
        (0..SLOTS).prop_map(|number| SlotId::new(number).unwrap())
    }

    proptest! {
        #[test]
        fn it_behaves_as_an_ordered_set(steps in proptest::collection::vec((any::<bool>(), slot()), 0..200),
                                        other in proptest::collection::vec(slot(), 0..50)) {
            let (mut set, mut model) = (SlotSet::new(), BTreeSet::new());
            for (add, slot) in steps {
                if add {
                    prop_assert_eq!(set.insert(slot), model.insert(slot));
                } else {
                    prop_assert_eq!(set.remove(slot), model.remove(&slot));
                }
                prop_assert_eq!(set.contains(slot), add);
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.first(), model.first().copied());
            prop_assert!(set.iter().eq(model.iter().copied()));
            let other_set: SlotSet = other.iter().copied().collect();
            let other: BTreeSet<_> = other.into_iter().collect();
            prop_assert!(set.union(&other_set).iter().eq(model.union(&other).copied()));
            prop_assert_eq!(set.intersects(&other_set), !model.is_disjoint(&other));
            prop_assert_eq!(set.contains_all(&other_set), model.is_superset(&other));
            prop_assert!(set.union(&other_set).contains_all(&set));
        }
    }
}

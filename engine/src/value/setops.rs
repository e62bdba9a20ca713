//! Intersection, union and difference of sets, member by member to a closure.
//!
//! Members are looked up a chunk at a time, so that the cache misses of big sets overlap. Nothing is copied but by
//! [`difference`] and [`union`] of many sets, which then need a set of their own.

use super::set::{INTSET_ENTRIES, Set, next_chunk};
use crate::encoding::intset::{self, IntSet};
use crate::encoding::item::Item;

/// Members of all `sets`: those of the smallest that are in all others.
pub fn intersection<'a>(sets: &[&'a Set], emit: impl FnMut(Item<'a>)) {
    let mut sets = distinct(sets);
    sets.sort_by_key(|set| set.len());
    if let Some((smallest, others)) = sets.split_first() {
        sift(smallest, others, true, emit);
    }
}

/// Members of any of `sets`, each once; ascending if all are integers in small sets, as the original has them.
pub fn union<'a>(sets: &[&'a Set], mut emit: impl FnMut(Item<'a>)) {
    /// So many sets are looked through for each member of the next one; for more, what was emitted is kept in a set.
    const LOOKED_THROUGH: usize = 4;
    let mut sets = distinct(sets);
    if sets.iter().all(|set| set.as_ints().is_some()) {
        let mut ints: Vec<i64> = sets.iter().filter_map(|set| set.as_ints()).flatten().collect();
        ints.sort_unstable();
        ints.dedup();
        ints.into_iter().for_each(|int| emit(Item::Int(int)));
        return;
    }
    // The largest is emitted without a look.
    sets.sort_by_key(|set| std::cmp::Reverse(set.len()));
    if sets.len() <= LOOKED_THROUGH + 1 {
        for (i, set) in sets.iter().enumerate() {
            sift(set, &sets[..i], false, &mut emit);
        }
    } else if let Some((largest, others)) = sets.split_first() {
        largest.iter().for_each(&mut emit);
        let mut emitted = Set::new();
        for set in others {
            sift(set, &[largest], false, |item| {
                if item.with_bytes(|member| emitted.add(member, INTSET_ENTRIES)) {
                    emit(item);
                }
            });
        }
    }
}

/// Members of `first` that are in none of `others`.
pub fn difference<'a>(first: &'a Set, others: &[&Set], emit: impl FnMut(Item<'a>)) {
    if others.iter().any(|other| std::ptr::eq(*other, first)) {
        return;
    }
    let mut others = distinct(others);
    others.retain(|other| !other.is_empty());
    // The largest first: it is the likeliest to spare the other looks.
    others.sort_by_key(|other| std::cmp::Reverse(other.len()));
    // Looking for each member in each other set, against putting the others together first: adding costs more than
    // looking, and half of the looks are spared by a hit, as the original reckons too.
    let looks = first.len().saturating_mul(others.len()) / 2;
    let additions: usize = others.iter().map(|other| other.len()).sum();
    if others.len() > 1 && looks > first.len() + additions {
        let mut together = Set::new();
        for other in others {
            together.add_all(other.iter(), INTSET_ENTRIES);
        }
        sift(first, &[&together], false, emit);
    } else {
        sift(first, &others, false, emit);
    }
}

/// Members of `first` that each of `others` has (`wanted`) or none has (not `wanted`).
fn sift<'a>(first: &'a Set, others: &[&Set], wanted: bool, mut emit: impl FnMut(Item<'a>)) {
    if others.is_empty() {
        first.iter().for_each(emit);
        return;
    }
    let ints: Option<Vec<_>> = others.iter().map(|other| other.as_ints()).collect();
    if let (Some(first), Some(others)) = (first.as_ints(), ints) {
        let mut others: Vec<_> = others.into_iter().map(|other| Ascending::new(other, first.len())).collect();
        for int in first {
            if others.iter_mut().all(|other| other.contains(int) == wanted) {
                emit(Item::Int(int));
            }
        }
        return;
    }
    let mut members = first.iter();
    let mut chunk = Vec::new();
    while next_chunk(&mut members, &mut chunk) {
        for other in others {
            other.prefetch(&chunk);
            chunk.retain(|probe| other.has(probe) == wanted);
        }
        chunk.iter().for_each(|probe| emit(probe.item));
    }
}

/// An [`IntSet`] that is asked for ascending integers.
enum Ascending<'a> {
    /// Walks along: where about as many integers are asked for as there are.
    Walk { next: Option<i64>, rest: intset::Iter<'a> },
    /// Searches for each: where there are many more.
    Search(&'a IntSet),
}

impl<'a> Ascending<'a> {
    /// `questions` integers will be asked for.
    fn new(ints: &'a IntSet, questions: usize) -> Self {
        /// A search costs as much as a walk over so many elements.
        const SEARCH_COST: usize = 4;
        if ints.len() / SEARCH_COST > questions {
            return Ascending::Search(ints);
        }
        let mut rest = ints.iter();
        Ascending::Walk { next: rest.next(), rest }
    }

    /// Whether `int` is an element; no less than the one asked for before.
    fn contains(&mut self, int: i64) -> bool {
        match self {
            Ascending::Search(ints) => ints.contains(int),
            Ascending::Walk { next, rest } => {
                while next.is_some_and(|next| next < int) {
                    *next = rest.next();
                }
                *next == Some(int)
            }
        }
    }
}

/// Each set once, however often a key was named.
fn distinct<'a>(sets: &[&'a Set]) -> Vec<&'a Set> {
    let mut distinct = sets.to_vec();
    distinct.sort_by_key(|set| std::ptr::from_ref(*set));
    distinct.dedup_by(|a, b| std::ptr::eq(*a, *b));
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Model = BTreeSet<Vec<u8>>;

    /// Sets of integers and texts that overlap, small and big, some in both encodings, and which of them are operands.
    fn operands() -> impl Strategy<Value = (Vec<Model>, Vec<usize>)> {
        let ints = (0u32..60, 0u32..60, 1u32..4);
        let set = (ints, any::<bool>()).prop_map(|((from, len, step), text)| {
            let texts = (0..if text { len } else { 0 }).map(|n| format!("m{n}").into_bytes());
            (from..from + len).step_by(step as usize).map(|n| n.to_string().into_bytes()).chain(texts).collect()
        });
        (prop::collection::vec(set, 1..9), prop::collection::vec(any::<usize>(), 1..9)).prop_map(|(sets, which)| {
            let which = which.into_iter().map(|i| i % sets.len()).collect();
            (sets, which)
        })
    }

    fn collected<'a>(run: impl FnOnce(&mut dyn FnMut(Item<'a>))) -> Model {
        let mut model = Model::new();
        run(&mut |item| assert!(model.insert(item.to_vec()), "{item:?} twice"));
        model
    }

    proptest! {
        #[test]
        fn they_equal_those_of_an_ordered_set((models, which) in operands(), intset_entries in prop_oneof![Just(0usize), Just(30), Just(512)]) {
            let sets: Vec<Set> = models.iter().map(|model| {
                let mut set = Set::new();
                set.add_all(model.iter().map(|member| Item::parse(member)), intset_entries);
                set
            }).collect();
            let (sets, models): (Vec<&Set>, Vec<&Model>) = which.iter().map(|&i| (&sets[i], &models[i])).unzip();
            let (first, others) = models.split_first().unwrap();

            let all = others.iter().fold((*first).clone(), |all, other| &all & other);
            prop_assert_eq!(collected(|emit| intersection(&sets, emit)), all);
            let any = others.iter().fold((*first).clone(), |any, other| &any | other);
            prop_assert_eq!(collected(|emit| union(&sets, emit)), any);
            let left = others.iter().fold((*first).clone(), |left, other| &left - other);
            prop_assert_eq!(collected(|emit| difference(sets[0], &sets[1..], emit)), left);
        }
    }

    #[test]
    fn a_large_set_less_many_small_ones_and_less_itself() {
        let set = |range: std::ops::Range<u32>| {
            let mut set = Set::new();
            range.for_each(|n| assert!(set.add(format!("m{n}").as_bytes(), 512)));
            set
        };
        let first = set(0..1000);
        let others: Vec<Set> = (0..20).map(|n| set(n * 10..n * 10 + 10)).collect();
        let others: Vec<&Set> = others.iter().collect();
        assert_eq!(collected(|emit| difference(&first, &others, emit)).len(), 800);
        assert!(collected(|emit| difference(&first, &[&others[..], &[&first]].concat(), emit)).is_empty());
    }

    #[test]
    fn adding_in_bulk_counts_what_is_new() {
        let mut set = Set::new();
        let texts: Vec<String> = (0..100).map(|n| if n < 50 { n.to_string() } else { format!("m{n}") }).collect();
        let items = || texts.iter().map(|text| Item::parse(text.as_bytes()));
        assert_eq!(set.add_all(items().chain(items()), 512), 100);
        assert_eq!(set.add_all(items(), 512), 0);
        assert!(texts.iter().all(|text| set.contains(text.as_bytes())) && set.len() == 100);
    }
}

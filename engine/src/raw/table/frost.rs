//! A table as it was at one moment, read piece by piece while it changes.
//!
//! Why: a snapshot must not stop a server for a hash of a million fields, and nothing that long may be copied either. So
//! a table can be *frozen*: from then on, before anything in a segment changes for the first time, all items of that
//! segment are given to the [`Capture`]. Whoever takes the snapshot asks for the other segments one by one, at leisure.
//!
//! 1. Every item that was in the table when it was frozen is given exactly once, as it was; none that came later is.
//! 2. What was given is a set of intervals of the table's order. Splits and merges move no item across positions, so
//!    the intervals stay right; a change of the order itself gives everything first.
//! 3. No step gives more than one segment (480 items), but for a change of the order, which only hostile keys cause.

use super::{Item, ORDER_END, Segment, Table, for_each_word, order_of, pointer};
use crate::snapshot::{Capture, ELEMENTS_MAX, Element};
use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;

/// Items that are elements of a value.
pub trait Elements: Item {
    /// Adds what a snapshot says of an item.
    fn element<'a>(view: Self::Ref<'a>, to: &mut Vec<Element<'a>>);
}

/// A table of elements, whatever their type.
pub trait FrostTable {
    /// Number of elements.
    fn elements(&self) -> usize;
    /// From now on `capture` gets every element as it is now.
    fn freeze(&mut self, capture: Capture);
    /// Who gets the elements, if the table is frozen.
    fn capture(&self) -> Option<&Capture>;
    /// Who gets the elements, if the table is frozen.
    fn capture_mut(&mut self) -> Option<&mut Capture>;
    /// Gives the elements of one more segment; false when all were given.
    fn give_next(&mut self) -> bool;
    /// Ends being frozen.
    fn thaw(&mut self) -> Option<Capture>;
}

/// What a frozen table keeps.
pub(super) struct Frost<T: Item> {
    given: Intervals,
    element: for<'a> fn(T::Ref<'a>, &mut Vec<Element<'a>>),
    capture: Capture,
}

impl<T: Item> Table<T> {
    /// Must be called before an item in `segment` changes, comes or goes.
    #[inline(always)]
    pub(super) fn before_change(&mut self, segment: usize) {
        if self.frost.is_some() {
            self.give(segment);
        }
    }

    /// Gives what of `segment` was not given yet.
    #[cold]
    fn give(&mut self, segment: usize) {
        let Some(mut frost) = self.frost.take() else { return };
        if frost.capture.is_void() {
            return;
        }
        let Segment { start, depth, bits, buckets, .. } = self.segments[segment];
        let span = start..start + (ORDER_END >> depth);
        if !frost.given.covers(&span) {
            let untouched = !frost.given.touches(&span);
            let mut batch = Vec::with_capacity(ELEMENTS_MAX);
            for b in 0..1usize << bits {
                // SAFETY: the index is below the number of buckets.
                let head = unsafe { buckets.add(b) };
                for_each_word(head, &mut |word| {
                    // SAFETY: a word of an item that we own.
                    let raw = unsafe { NonNull::new_unchecked(pointer(word)) };
                    if untouched || !frost.given.contains(order_of(self.hash_of(raw))) {
                        // SAFETY: as above; the view ends with this call, before anything changes.
                        (frost.element)(unsafe { T::view(raw) }, &mut batch);
                        if batch.len() == ELEMENTS_MAX {
                            frost.capture.add(&batch);
                            batch.clear();
                        }
                    }
                });
            }
            if !batch.is_empty() {
                frost.capture.add(&batch);
            }
            frost.given.add(span);
        }
        self.frost = Some(frost);
    }

    /// Gives everything: the order is about to change, or the table is empty and its order with it.
    #[cold]
    pub(super) fn before_reorder(&mut self) {
        if self.frost.is_some() {
            for segment in 0..self.segments.len() {
                self.give(segment);
            }
        }
        if let Some(frost) = &mut self.frost {
            frost.given.add(0..ORDER_END);
        }
    }
}

impl<T: Elements> FrostTable for Table<T> {
    fn elements(&self) -> usize {
        self.len
    }

    fn freeze(&mut self, capture: Capture) {
        self.frost = Some(Box::new(Frost { given: Intervals::default(), element: T::element, capture }));
    }

    fn capture(&self) -> Option<&Capture> {
        Some(&self.frost.as_ref()?.capture)
    }

    fn capture_mut(&mut self) -> Option<&mut Capture> {
        Some(&mut self.frost.as_mut()?.capture)
    }

    fn give_next(&mut self) -> bool {
        let Some(frost) = &mut self.frost else { return false };
        if self.segments.is_empty() {
            frost.given.add(0..ORDER_END);
        }
        let from = frost.given.first_gap();
        if from < ORDER_END {
            let segment = self.segment_at(from);
            self.give(segment);
        }
        self.frost.as_ref().is_some_and(|frost| frost.given.first_gap() < ORDER_END)
    }

    fn thaw(&mut self) -> Option<Capture> {
        Some(self.frost.take()?.capture)
    }
}

/// A set of positions as disjoint intervals that do not touch.
#[derive(Default)]
struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    /// The interval that begins last at or before `at`.
    fn before(&self, at: u64) -> Option<Range<u64>> {
        self.0.range(..=at).next_back().map(|(&start, &end)| start..end)
    }

    fn contains(&self, at: u64) -> bool {
        self.before(at).is_some_and(|interval| at < interval.end)
    }

    fn covers(&self, span: &Range<u64>) -> bool {
        self.before(span.start).is_some_and(|interval| span.end <= interval.end)
    }

    /// Whether any position of `span` is in the set.
    fn touches(&self, span: &Range<u64>) -> bool {
        self.before(span.end - 1).is_some_and(|interval| span.start < interval.end)
    }

    fn add(&mut self, mut span: Range<u64>) {
        while let Some(near) = self.before(span.end)
            && span.start <= near.end
        {
            self.0.remove(&near.start);
            span = span.start.min(near.start)..span.end.max(near.end);
        }
        self.0.insert(span.start, span.end);
    }

    /// The lowest position that is not in the set.
    fn first_gap(&self) -> u64 {
        self.before(0).map_or(0, |first| first.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn intervals_equal_a_set(adds in prop::collection::vec((0u64..60, 1u64..9), 0..20)) {
            let (mut intervals, mut model) = (Intervals::default(), [false; 80]);
            for (start, len) in adds {
                intervals.add(start..start + len);
                (start..start + len).for_each(|at| model[at as usize] = true);
                for at in 0..70u64 {
                    prop_assert_eq!(intervals.contains(at), model[at as usize]);
                    let span = &model[at as usize..at as usize + 5];
                    prop_assert_eq!(intervals.covers(&(at..at + 5)), span.iter().all(|&set| set));
                    prop_assert_eq!(intervals.touches(&(at..at + 5)), span.iter().any(|&set| set));
                }
                prop_assert_eq!(intervals.first_gap(), model.iter().take_while(|&&set| set).count() as u64);
            }
        }
    }
}

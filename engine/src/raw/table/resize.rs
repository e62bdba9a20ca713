//! How a table grows and shrinks: by one segment at a time.
//!
//! A segment that is full splits in two, and two nearly empty siblings become one. A table that is going to be large, as
//! whoever fills it says, splits its segments early, while they have few items: most items are then put where they stay.

use super::{
    BUCKET_BITS, Item, ORDER_BITS, Segment, Table, alloc_buckets, drain, fragment_of, free_buckets, order_of, pointer,
    put,
};
use super::{DEPTH_MAX, FRAGMENT, MERGE_BELOW, SPLIT_AT, SPLIT_EARLY_AT};
use std::ptr::NonNull;

impl<T: Item> Table<T> {
    /// The table is expected to hold so many items some day: advice, which takes no memory before items come, and then at
    /// most some four times what the table would take by itself.
    pub fn expect(&mut self, items: usize) {
        let segments = (items / SPLIT_AT).max(1);
        self.expected_depth = segments.ilog2() as u8;
    }

    pub(super) fn is_full(&self, s: usize) -> bool {
        let segment = &self.segments[s];
        let split_at = if segment.depth < self.expected_depth { SPLIT_EARLY_AT } else { SPLIT_AT };
        segment.len as usize >= (split_at >> (BUCKET_BITS as usize - usize::from(segment.bits))).max(7)
    }

    /// Makes room in segment `s`; false when its prefix cannot get longer.
    pub(super) fn grow(&mut self, s: usize) -> bool {
        let Segment { depth, bits, .. } = self.segments[s];
        if u32::from(bits) < BUCKET_BITS {
            self.rebuild_single(bits + 1);
        } else if depth < DEPTH_MAX {
            self.split(s);
        } else {
            return false;
        }
        true
    }

    /// Re-hashes the only segment into one of `1 << bits` buckets.
    fn rebuild_single(&mut self, bits: u8) {
        debug_assert_eq!(self.segments.len(), 1);
        let new = Segment { buckets: alloc_buckets(bits), start: 0, len: 0, depth: 0, bits };
        let old = std::mem::replace(&mut self.segments[0], new);
        self.move_all(old);
    }

    /// Puts every word of a segment that is no longer in `segments` where it belongs now, and frees it.
    fn move_all(&mut self, old: Segment) {
        drain(old, |word| {
            // SAFETY: `drain` yields words of items, which are not null.
            let raw = unsafe { NonNull::new_unchecked(pointer(word)) };
            let hash = self.hash_of(raw);
            let (s, head) = self.bucket_at(order_of(hash));
            put(head, word.map_addr(|a| a & !FRAGMENT | fragment_of(hash)));
            self.segments[s].len += 1;
        });
    }

    /// The directory entries of a segment: one run, as long as its prefix is shorter than the directory's.
    fn run_of(&self, start: u64, depth: u8) -> std::ops::Range<usize> {
        let first = (start >> (ORDER_BITS - u32::from(self.depth))) as usize;
        first..first + (1 << (self.depth - depth))
    }

    fn split(&mut self, s: usize) {
        let Segment { start, depth, .. } = self.segments[s];
        let depth = depth + 1;
        if self.directory.is_empty() {
            self.directory.push(0);
        }
        if depth > self.depth {
            let mut twice = Vec::with_capacity(2 * self.directory.len());
            self.directory.iter().for_each(|&i| twice.extend_from_slice(&[i, i]));
            self.directory = twice;
            self.depth = depth;
        }
        let bits = BUCKET_BITS as u8;
        let fresh = |start| Segment { buckets: alloc_buckets(bits), start, len: 0, depth, bits };
        let upper = start + (1 << (ORDER_BITS - u32::from(depth)));
        let old = std::mem::replace(&mut self.segments[s], fresh(start));
        let sibling = self.segments.len() as u32;
        self.segments.push(fresh(upper));
        let run = self.run_of(upper, depth);
        self.directory[run].fill(sibling);
        self.move_all(old);
    }

    /// After a removal from `s`: merge it with its sibling, or halve a single segment, when both are nearly empty.
    pub(super) fn shrink(&mut self, s: usize) {
        let Segment { len, depth, bits, start, .. } = self.segments[s];
        if depth == 0 {
            if self.len == 0 {
                self.before_reorder();
                // SAFETY: the only segment, with no words left in it, so no children either.
                unsafe { free_buckets(self.segments[0].buckets, bits) };
                self.segments = Vec::new();
            } else if bits > 0 && (len as usize) << (BUCKET_BITS - u32::from(bits)) < MERGE_BELOW {
                self.rebuild_single(bits - 1);
            }
            return;
        }
        if len as usize >= MERGE_BELOW {
            return;
        }
        let other = start ^ (1 << (ORDER_BITS - u32::from(depth)));
        let sibling = self.segment_at(other);
        let Segment { len: other_len, depth: other_depth, .. } = self.segments[sibling];
        if other_depth == depth && ((other_len + len) as usize) < MERGE_BELOW {
            self.merge(s, sibling, start.min(other));
        }
    }

    /// Replaces two siblings by one segment that begins at `start`.
    fn merge(&mut self, s: usize, sibling: usize, start: u64) {
        // Whoever takes items out is not filling it.
        self.expected_depth = 0;
        let depth = self.segments[s].depth - 1;
        let bits = BUCKET_BITS as u8;
        let merged = Segment { buckets: alloc_buckets(bits), start, len: 0, depth, bits };
        let a = std::mem::replace(&mut self.segments[s], merged);
        let run = self.run_of(start, depth);
        self.directory[run].fill(s as u32);
        let b = self.segments.swap_remove(sibling);
        if let Some(&Segment { start, depth, .. }) = self.segments.get(sibling) {
            let run = self.run_of(start, depth);
            self.directory[run].fill(sibling as u32);
        }
        while self.depth > 0 && self.segments.iter().all(|segment| segment.depth < self.depth) {
            self.depth -= 1;
            self.directory = self.directory.iter().step_by(2).copied().collect();
        }
        if self.depth == 0 {
            self.directory = Vec::new();
        }
        self.move_all(a);
        self.move_all(b);
    }
}

//! `List`: a sequence of strings, behind one word.
//!
//! ```text
//!   one node      Compact       a block with all elements
//!   more          Box<Quick>    a block at each end, a rope of blocks between
//! ```
//! OBJECT ENCODING says "quicklist" of both, as Redis 3.2 does of every list: there a list is a chain of ziplists, here a
//! node is a compact block of the same limits ([`NodeLimit`], `list-max-ziplist-size`). Nodes are never compressed:
//! `list-compress-depth` changes nothing but memory, and is accepted without effect.
//!
//! Cost: pushing and popping O(1) (O(bytes of a node) while there is one node); reaching an index O(log nodes) and one node;
//! inserting and removing one node more. No single change moves more than a node and a few hundred pointers.
//!
//! 1. A list is `Quick` only while it has at least two nodes, or one that is shared.
//! 2. Removing the last element leaves an empty list; it is the keyspace's business not to keep one.

use crate::encoding::compact::Compact;
use crate::encoding::item::Item;
use crate::raw::either::{Either, EitherMut, EitherOwned, EitherRef};
use quick::{Nodes, Quick, put};

pub use crate::encoding::rope::{Debris, End};
pub use quick::{Node, NodeIter};

mod quick;

/// A block larger than this is not copied for a snapshot, but shared.
const SHARE_MIN: usize = 64 << 10;

/// How much a node may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimit {
    bytes: u32,
    entries: u32,
}

impl Default for NodeLimit {
    /// That of `list-max-ziplist-size -2`.
    fn default() -> NodeLimit {
        NodeLimit::from_config(-2)
    }
}

impl NodeLimit {
    /// The meaning of `list-max-ziplist-size`: -1 to -5 are 4, 8, 16, 32, 64 KiB a node, smaller numbers are as -5;
    /// from 0 on it is a number of elements (32,768 at most), in no more than 8 KiB. A node always takes one element.
    pub fn from_config(size: i64) -> NodeLimit {
        match size {
            0.. => NodeLimit { bytes: 8192, entries: size.min(1 << 15) as u32 },
            -5..=-1 => NodeLimit { bytes: 2048 << size.unsigned_abs(), entries: u32::MAX },
            _ => NodeLimit { bytes: 65536, entries: u32::MAX },
        }
    }

    /// Whether `block` may take another element of `bytes` bytes, its overhead included.
    #[inline]
    fn allows(self, block: &Compact, bytes: usize) -> bool {
        block.is_empty() || (block.len() < self.entries as usize && self.has_room(block, bytes))
    }

    #[inline]
    fn has_room(self, block: &Compact, bytes: usize) -> bool {
        bytes <= self.bytes_left(block)
    }

    /// What `block` may still grow by, if the number of its elements allows it. A full block is one allocation of the limit.
    #[inline]
    fn bytes_left(self, block: &Compact) -> usize {
        (self.bytes as usize).saturating_sub(Compact::OVERHEAD + block.bytes())
    }
}

/// A sequence of strings; one word wide.
#[repr(transparent)]
pub struct List(Either<Compact, Box<Quick>>);

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl List {
    /// An empty list; allocates nothing.
    pub fn new() -> List {
        List(Either::from_a(Compact::new()))
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(block) => block.len(),
            EitherRef::B(quick) => quick.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, bytes: &[u8], limit: NodeLimit) {
        self.push_item(end, Item::parse(bytes), limit);
    }

    /// Adds an element before the first.
    #[inline]
    pub fn push_front(&mut self, bytes: &[u8], limit: NodeLimit) {
        self.push(End::Front, bytes, limit);
    }

    /// Adds an element after the last.
    #[inline]
    pub fn push_back(&mut self, bytes: &[u8], limit: NodeLimit) {
        self.push(End::Back, bytes, limit);
    }

    /// Adds an element that is parsed already at an end.
    #[inline]
    pub fn push_item(&mut self, end: End, item: Item<'_>, limit: NodeLimit) {
        match self.0.as_mut() {
            EitherMut::B(quick) => quick.push(end, item, limit),
            EitherMut::A(block) => {
                if limit.allows(block, Compact::entry_bytes_max(item.len())) {
                    match end {
                        End::Front => block.push_front_item(item),
                        End::Back => block.push_back_item(item),
                    }
                } else {
                    self.upgrade().push(end, item, limit);
                }
            }
        }
    }

    /// Removes the element at an end, after `take` has looked at it. `None` if there is none.
    #[inline]
    pub fn pop_with<R>(&mut self, end: End, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match self.0.as_mut() {
            EitherMut::A(block) => {
                let pos = match end {
                    End::Front => block.first()?,
                    End::Back => block.last()?,
                };
                let taken = take(block.at(pos));
                match end {
                    End::Front => drop(block.remove(pos)),
                    End::Back => block.pop_back(),
                }
                Some(taken)
            }
            EitherMut::B(quick) => {
                let taken = quick.pop(end, take);
                if let Some(block) = quick.single() {
                    self.0 = Either::from_a(block);
                }
                taken
            }
        }
    }

    /// Removes the first element, after `take` has looked at it.
    pub fn pop_front_with<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.pop_with(End::Front, take)
    }

    /// Removes the last element, after `take` has looked at it.
    pub fn pop_back_with<R>(&mut self, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.pop_with(End::Back, take)
    }

    /// The element at `index`, counted from the end if negative (-1 is the last).
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        let index = self.resolve(index)?;
        match self.0.as_ref() {
            EitherRef::A(block) => block.get(index as isize),
            EitherRef::B(quick) => quick.get(index),
        }
    }

    /// Puts another element in place of the one at `index`, counted from the end if negative. False if there is none.
    pub fn set(&mut self, index: i64, bytes: &[u8], limit: NodeLimit) -> bool {
        match self.resolve(index) {
            Some(index) => {
                self.put(index, true, Item::parse(bytes), limit);
                true
            }
            None => false,
        }
    }

    /// Inserts an element before or after the first one equal to `pivot`. False if there is none.
    pub fn insert(&mut self, side: End, pivot: &[u8], bytes: &[u8], limit: NodeLimit) -> bool {
        let Some(at) = self.position(pivot) else { return false };
        let index = if side == End::Front { at } else { at + 1 };
        if index < self.len() {
            self.put(index, false, Item::parse(bytes), limit);
        } else {
            self.push(End::Back, bytes, limit);
        }
        true
    }

    /// Removes elements equal to `bytes`, and returns how many: the first `count`, the last if `count` is negative, all if 0.
    pub fn remove(&mut self, count: i64, bytes: &[u8]) -> usize {
        let from = if count < 0 { End::Back } else { End::Front };
        let max = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
        let item = Item::parse(bytes);
        match self.0.as_mut() {
            EitherMut::A(block) if from == End::Front => block.remove_equal::<false>(item, max),
            EitherMut::A(block) => block.remove_equal::<true>(item, max),
            EitherMut::B(quick) => {
                let removed = quick.remove(from, item, max);
                self.settle();
                removed
            }
        }
    }

    /// Keeps `count` elements from index `start` on, and removes all others. What is left to free is returned.
    pub fn trim(&mut self, start: usize, count: usize) -> Debris {
        let len = self.len();
        let start = start.min(len);
        let after = len - start - count.min(len - start);
        if start + after == len {
            return std::mem::take(self).into_debris();
        }
        match self.0.as_mut() {
            EitherMut::A(block) => {
                block.remove_range(len - after, after);
                block.remove_range(0, start);
                Debris::default()
            }
            EitherMut::B(quick) => {
                let mut debris = quick.cut(End::Back, after);
                debris.append(quick.cut(End::Front, start));
                self.settle();
                debris
            }
        }
    }

    /// All elements.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// The elements from the one at `index` to the last.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        self.walk(index)
    }

    /// The elements from the one at `index` back to the first.
    pub fn iter_back_from(&self, index: usize) -> IterBack<'_> {
        self.walk(index)
    }

    /// The nodes, in order: none is empty, and a node's elements are its `iter()`.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let (one, more) = match self.0.as_ref() {
            EitherRef::A(block) => ((!block.is_empty()).then(|| Node::new(block)), None),
            EitherRef::B(quick) => (None, Some(quick.nodes_from::<false>(0).0)),
        };
        one.into_iter().chain(more.into_iter().flatten())
    }

    /// Number of nodes: `ql_nodes` of DEBUG OBJECT.
    pub fn node_count(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(block) => usize::from(!block.is_empty()),
            EitherRef::B(quick) => quick.nodes(),
        }
    }

    /// Bytes that the nodes take as ziplists of Redis 3.2: `ql_uncompressed_size` of DEBUG OBJECT. O(elements).
    pub fn ziplist_bytes(&self) -> usize {
        self.nodes().map(|node| node.ziplist_bytes()).sum()
    }

    /// Bytes allocated. O(1).
    pub fn heap_bytes(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(block) => block.heap_bytes(),
            EitherRef::B(quick) => quick.heap_bytes(),
        }
    }

    /// Blocks that freeing it gives back, roughly. O(1).
    pub fn free_cost(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(_) => 1,
            EitherRef::B(quick) => 1 + quick.heap_bytes() / 4096,
        }
    }

    /// The list as it is now, for a reader elsewhere, while this one changes: blocks are shared until one of the two is
    /// changed. Copies no more than 64 KiB.
    pub fn freeze(&mut self) -> List {
        match self.0.as_mut() {
            EitherMut::A(block) if block.heap_bytes() <= SHARE_MIN => List(Either::from_a(block.clone())),
            EitherMut::A(_) => List(Either::from(Box::new(self.upgrade().clone()))),
            EitherMut::B(quick) => {
                quick.flush_ends();
                List(Either::from(Box::new(quick.clone())))
            }
        }
    }

    /// All that there is to free.
    pub fn into_debris(self) -> Debris {
        match self.0.into_owned() {
            EitherOwned::A(_) => Debris::default(),
            EitherOwned::B(quick) => quick.into_debris(),
        }
    }

    fn resolve(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        (index < len).then_some(index)
    }

    /// Index of the first element equal to `bytes`.
    fn position(&self, bytes: &[u8]) -> Option<usize> {
        let item = Item::parse(bytes);
        let mut passed = 0;
        for node in self.nodes() {
            if let Some(at) = node.position(item) {
                return Some(passed + at);
            }
            passed += node.len();
        }
        None
    }

    /// Inserts before the element at `index`, or replaces it.
    fn put(&mut self, index: usize, replace: bool, item: Item<'_>, limit: NodeLimit) {
        match self.0.as_mut() {
            EitherMut::A(block) => {
                let more = put(block, index, replace, item, limit);
                if !more.is_empty() {
                    let first = std::mem::take(block);
                    let blocks = [first].into_iter().chain(more).filter(|block| !block.is_empty());
                    self.0 = Either::from(Box::new(Quick::of_blocks(blocks)));
                    self.settle();
                }
            }
            EitherMut::B(quick) => quick.put(index, replace, item, limit),
        }
    }

    fn walk<const REV: bool>(&self, index: usize) -> Walk<'_, REV> {
        let (node, rest) = match self.0.as_ref() {
            EitherRef::A(block) if index < block.len() => {
                let skip = if REV { block.len() - 1 - index } else { index };
                (Some(Node::new(block).iter_from::<REV>(skip)), None)
            }
            EitherRef::A(_) => (None, None),
            EitherRef::B(quick) => {
                let (mut nodes, skip) = quick.nodes_from::<REV>(index);
                (nodes.next().map(|node| node.iter_from::<REV>(skip)), Some(nodes))
            }
        };
        Walk { node, rest }
    }

    /// From one node to more.
    #[cold]
    fn upgrade(&mut self) -> &mut Quick {
        if let EitherMut::A(block) = self.0.as_mut() {
            let block = std::mem::take(block);
            self.0 = Either::from(Box::new(Quick::new(block)));
        }
        match self.0.as_mut() {
            EitherMut::B(quick) => quick,
            EitherMut::A(_) => unreachable!("made so above"),
        }
    }

    /// After removals: from many nodes back to one, if one is left.
    fn settle(&mut self) {
        if let EitherMut::B(quick) = self.0.as_mut()
            && let Some(block) = quick.single()
        {
            self.0 = Either::from_a(block);
        }
    }
}

/// The elements from some index to the last.
pub type Iter<'a> = Walk<'a, false>;
/// The elements from some index back to the first.
pub type IterBack<'a> = Walk<'a, true>;

/// A walk over elements in one direction.
#[derive(Debug, Clone)]
pub struct Walk<'a, const REV: bool> {
    node: Option<NodeIter<'a>>,
    rest: Option<Nodes<'a, REV>>,
}

impl<'a, const REV: bool> Iterator for Walk<'a, REV> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            let node = self.node.as_mut()?;
            if let Some(item) = if REV { node.next_back() } else { node.next() } {
                return Some(item);
            }
            self.node = self.rest.as_mut()?.next().map(|node| node.iter());
        }
    }
}

#[cfg(test)]
mod tests;

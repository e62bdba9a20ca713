//! `Quick`: a list of more than one node.
//!
//! ```text
//!    head: Compact, last first      rope: nodes in the middle      tail: Compact
//!    | e2 | e1 | e0 |               | e3 .. | .. | .. |            | .. eN |
//!                 ^ pushes and pops here                                 ^ and here: at the end of a block
//! ```
//! Both ends of the list are ends of blocks, where adding and removing moves no byte: the head is stored backwards, and is
//! turned around once, when it is full and becomes a node of the rope. What sits in the middle is shared with snapshots.
//!
//! 1. The rope is not empty, or neither end is. (Else one block would do: [`Quick::single`] gives it, [`super::List`] takes it.)
//! 2. Head, tail and each node hold one element, or what the [`NodeLimit`] allowed when they were filled.

use std::sync::Arc;

use super::NodeLimit;
use crate::encoding::compact::{self, Compact};
use crate::encoding::item::Item;
use crate::encoding::rope::{Blocks, Debris, End, Rope};

/// Room for this many bytes at least is made when an end grows.
const GROWTH_MIN: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Quick {
    head: Compact,
    rope: Rope,
    tail: Compact,
}

/// A node: its elements in the order of the list.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    block: &'a Compact,
    backwards: bool,
}

/// Where an element is: in which part, and at which index of it, counted in the order of the list.
enum Place {
    Head(usize),
    Rope(usize),
    Tail(usize),
}

impl Quick {
    /// The elements of `block`, which is not empty, as a node in the middle.
    pub(super) fn new(block: Compact) -> Quick {
        Quick::of_blocks([block])
    }

    /// The elements of several blocks, none empty, as nodes in the middle.
    pub(super) fn of_blocks(blocks: impl IntoIterator<Item = Compact>) -> Quick {
        let mut rope = Rope::new();
        blocks.into_iter().for_each(|block| rope.push(End::Back, block));
        Quick { head: Compact::new(), rope, tail: Compact::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.rope.len() + self.tail.len()
    }

    /// Bytes allocated, the inner nodes of the rope left out.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Quick>() + self.head.heap_bytes() + self.rope.bytes() + self.tail.heap_bytes()
    }

    pub(super) fn nodes(&self) -> usize {
        usize::from(!self.head.is_empty()) + self.rope.blocks() + usize::from(!self.tail.is_empty())
    }

    #[inline]
    pub(super) fn push(&mut self, end: End, item: Item<'_>, limit: NodeLimit) {
        let bytes = Compact::entry_bytes_max(item.len());
        if !limit.allows(self.end(end), bytes) {
            self.flush(end);
        }
        let block = self.end(end);
        if block.spare() < bytes {
            // A bigger block grows by an eighth of its own accord: lists are many, and each keeps what its ends have spare.
            let room = if block.bytes() < GROWTH_MIN { GROWTH_MIN } else { 0 };
            block.reserve(bytes.max(room.min(limit.bytes_left(block))));
        }
        block.push_back_item(item);
    }

    /// Takes the element at an end, for `take` to look at. Invariant 1 may be broken afterwards.
    #[inline]
    pub(super) fn pop<R>(&mut self, end: End, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        if self.end(end).is_empty() {
            self.refill(end);
        }
        let block = self.end(end);
        match block.last() {
            Some(pos) => {
                let taken = take(block.at(pos));
                block.pop_back();
                Some(taken)
            }
            // Only the other end is left, which invariant 1 leaves to nobody: but an element is not lost over it.
            None => {
                let other = if end == End::Front { &mut self.tail } else { &mut self.head };
                let first = other.first()?;
                let taken = take(other.at(first));
                other.remove(first);
                Some(taken)
            }
        }
    }

    /// The one block that holds all elements, if invariant 1 no longer holds or holds barely (a rope of one node); `self`
    /// is empty then.
    pub(super) fn single(&mut self) -> Option<Compact> {
        match (self.head.is_empty(), self.rope.is_empty(), self.tail.is_empty()) {
            (false, true, true) => Some(std::mem::take(&mut self.head).reversed()),
            (true, true, _) => Some(std::mem::take(&mut self.tail)),
            (true, false, true) if self.rope.blocks() == 1 => self.rope.pop(End::Back).map(Arc::unwrap_or_clone),
            _ => None,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Item<'_>> {
        match self.place(index)? {
            Place::Head(at) => self.head.get(self.head_index(at)),
            Place::Rope(at) => self.rope.find(at).and_then(|(block, offset)| block.get(offset as isize)),
            Place::Tail(at) => self.tail.get(at as isize),
        }
    }

    /// Puts `item` at `index`, which must be that of an element: before it, or with `replace` in its place.
    pub(super) fn put(&mut self, index: usize, replace: bool, item: Item<'_>, limit: NodeLimit) {
        let end = match self.place(index) {
            Some(Place::Head(_)) => Some(End::Front),
            Some(Place::Tail(_)) => Some(End::Back),
            Some(Place::Rope(_)) | None => None,
        };
        if let Some(end) = end {
            let bytes = Compact::entry_bytes_max(item.len());
            let fits = limit.allows(self.end(end), bytes);
            if !fits {
                self.flush(end);
            }
        }
        match self.place(index) {
            Some(Place::Head(at)) => {
                // Backwards: before in the list is after in the block.
                let Some(pos) = self.head.seek(self.head_index(at)) else { return };
                if replace {
                    self.head.replace_item(pos, item);
                } else {
                    self.head.insert_item_after(pos, item);
                }
            }
            Some(Place::Rope(at)) => self.rope.edit(at, |block, offset| put(block, offset, replace, item, limit)),
            Some(Place::Tail(at)) => {
                let Some(pos) = self.tail.seek(at as isize) else { return };
                if replace {
                    self.tail.replace_item(pos, item);
                } else {
                    self.tail.insert_item_before(pos, item);
                }
            }
            None => {}
        }
    }

    /// Removes up to `max` elements equal to `item`, from the front or the back on, and returns how many. Invariant 1 may
    /// be broken afterwards.
    pub(super) fn remove(&mut self, from: End, item: Item<'_>, max: usize) -> usize {
        let order = match from {
            End::Front => [0, 1, 2],
            End::Back => [2, 1, 0],
        };
        let mut left = max;
        for part in order {
            left -= match (part, from) {
                (0, End::Front) => self.head.remove_equal::<true>(item, left),
                (0, End::Back) => self.head.remove_equal::<false>(item, left),
                (1, End::Front) => remove_in_rope::<false>(&mut self.rope, item, left),
                (1, End::Back) => remove_in_rope::<true>(&mut self.rope, item, left),
                (_, End::Front) => self.tail.remove_equal::<false>(item, left),
                (_, End::Back) => self.tail.remove_equal::<true>(item, left),
            };
        }
        max - left
    }

    /// Removes `count` elements at an end. Invariant 1 may be broken afterwards.
    pub(super) fn cut(&mut self, end: End, count: usize) -> Debris {
        let mut left = count;
        let near = left.min(self.end(end).len());
        let block = self.end(end);
        block.remove_range(block.len() - near, near);
        left -= near;
        let before = self.rope.len();
        let debris = self.rope.cut(end, left);
        left -= before - self.rope.len();
        let far = if end == End::Front { &mut self.tail } else { &mut self.head };
        far.remove_range(0, left);
        debris
    }

    /// Makes a clone cheap: all elements go to the rope.
    pub(super) fn flush_ends(&mut self) {
        self.flush(End::Front);
        self.flush(End::Back);
    }

    pub(super) fn into_debris(self) -> Debris {
        self.rope.into()
    }

    /// The nodes from the one that holds the element at `index` on, and the number of elements of that node to skip; with
    /// `REV` towards the front.
    pub(super) fn nodes_from<const REV: bool>(&self, index: usize) -> (Nodes<'_, REV>, usize) {
        let (stage, rope, at, len) = match self.place(index) {
            Some(Place::Head(at)) => (Stage::Head, None, at, self.head.len()),
            Some(Place::Rope(at)) => match self.rope.find(at) {
                Some((block, offset)) => (Stage::Rope, Some(at), offset, block.len()),
                None => (Stage::Done, None, 0, 1),
            },
            Some(Place::Tail(at)) => (Stage::Tail, None, at, self.tail.len()),
            None => (Stage::Done, None, 0, 1),
        };
        let rope = self.rope.blocks_from(rope.unwrap_or(usize::MAX));
        (Nodes { quick: self, stage, rope }, if REV { len - 1 - at } else { at })
    }

    fn place(&self, index: usize) -> Option<Place> {
        let Some(index) = index.checked_sub(self.head.len()) else { return Some(Place::Head(index)) };
        let Some(index) = index.checked_sub(self.rope.len()) else { return Some(Place::Rope(index)) };
        (index < self.tail.len()).then_some(Place::Tail(index))
    }

    /// Index in the head's block of the element at `at` in the list.
    fn head_index(&self, at: usize) -> isize {
        (self.head.len() - 1 - at) as isize
    }

    #[inline]
    fn end(&mut self, end: End) -> &mut Compact {
        match end {
            End::Front => &mut self.head,
            End::Back => &mut self.tail,
        }
    }

    /// Makes the block at an end a node of the rope.
    #[cold]
    fn flush(&mut self, end: End) {
        let block = std::mem::take(self.end(end));
        if block.is_empty() {
            return;
        }
        let mut block = if end == End::Front { block.reversed() } else { block };
        block.shrink_to_fit();
        self.rope.push(end, block);
    }

    /// Fills the empty block at an end from the rope.
    #[cold]
    fn refill(&mut self, end: End) {
        if let Some(block) = self.rope.pop(end) {
            *self.end(end) = match end {
                End::Front => block.reversed(),
                End::Back => Arc::unwrap_or_clone(block),
            };
        }
    }
}

/// Inserts or replaces at the element `offset` of a node. Elements that find no room go to new nodes, which are returned.
pub(super) fn put(block: &mut Compact, offset: usize, replace: bool, item: Item<'_>, limit: NodeLimit) -> Vec<Compact> {
    let Some(pos) = block.seek(offset as isize) else { return Vec::new() };
    let bytes = Compact::entry_bytes_max(item.len());
    if replace && (block.len() == 1 || block.at(pos).len() >= item.len() || limit.has_room(block, bytes)) {
        block.replace_item(pos, item);
        return Vec::new();
    }
    if !replace && limit.allows(block, bytes) {
        block.insert_item_before(pos, item);
        return Vec::new();
    }
    // Split where the new element stands; it joins the half that has room, or stands alone.
    let mut right = block.split_off(offset);
    if replace {
        right.remove_range(0, 1);
    }
    let mut nodes = Vec::with_capacity(2);
    if !block.is_empty() && limit.allows(block, bytes) {
        block.push_back_item(item);
    } else if !right.is_empty() && limit.allows(&right, bytes) {
        right.push_front_item(item);
    } else {
        nodes.push([item].into_iter().collect());
    }
    if !right.is_empty() {
        nodes.push(right);
    }
    nodes
}

fn remove_in_rope<const REV: bool>(rope: &mut Rope, item: Item<'_>, max: usize) -> usize {
    let mut removed = 0;
    // Elements passed, from the side where we began.
    let mut passed = 0;
    while removed < max && passed < rope.len() {
        let index = if REV { rope.len() - 1 - passed } else { passed };
        let Some((block, _)) = rope.find(index) else { break };
        passed += block.len();
        if block.position::<REV>(item).is_some() {
            let mut here = 0;
            rope.edit(index, |block, _| {
                here = block.remove_equal::<REV>(item, max - removed);
                Vec::new()
            });
            removed += here;
            passed -= here;
        }
    }
    removed
}

/// The nodes of a [`Quick`] in order, or with `REV` in reverse order.
#[derive(Debug, Clone)]
pub(super) struct Nodes<'a, const REV: bool> {
    quick: &'a Quick,
    stage: Stage,
    rope: Blocks<'a, REV>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Head,
    Rope,
    Tail,
    Done,
}

impl<'a, const REV: bool> Iterator for Nodes<'a, REV> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        loop {
            let block = match self.stage {
                Stage::Head => {
                    self.turn_to(if REV { Stage::Done } else { Stage::Rope });
                    Some(&self.quick.head)
                }
                Stage::Tail => {
                    self.turn_to(if REV { Stage::Rope } else { Stage::Done });
                    Some(&self.quick.tail)
                }
                Stage::Rope => match self.rope.next() {
                    Some(block) => return Some(Node::new(block)),
                    None => {
                        self.turn_to(if REV { Stage::Head } else { Stage::Tail });
                        None
                    }
                },
                Stage::Done => return None,
            };
            if let Some(block) = block
                && !block.is_empty()
            {
                return Some(Node { block, backwards: std::ptr::eq(block, &self.quick.head) });
            }
        }
    }
}

impl<const REV: bool> Nodes<'_, REV> {
    fn turn_to(&mut self, stage: Stage) {
        self.stage = stage;
        if let Stage::Rope = stage {
            let rope = &self.quick.rope;
            self.rope = rope.blocks_from(if REV { rope.len().wrapping_sub(1) } else { 0 });
        }
    }
}

impl<'a> Node<'a> {
    pub(super) fn new(block: &'a Compact) -> Node<'a> {
        Node { block, backwards: false }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Never so.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// Bytes that the same elements take as a ziplist of Redis 3.2.
    pub fn ziplist_bytes(&self) -> usize {
        if self.backwards { self.block.reversed().ziplist_size_estimate() } else { self.block.ziplist_size_estimate() }
    }

    /// The elements in the order of the list.
    pub fn iter(&self) -> NodeIter<'a> {
        NodeIter { items: self.block.iter(), backwards: self.backwards }
    }

    /// The elements without the first `skip`, or with `REV` without the last `skip`.
    pub(super) fn iter_from<const REV: bool>(&self, skip: usize) -> NodeIter<'a> {
        let front = REV == self.backwards;
        let index = if front { skip } else { self.len().saturating_sub(skip + 1) };
        let items = match self.block.seek(index as isize) {
            Some(pos) if front => self.block.iter_from(pos),
            Some(pos) => self.block.iter_to(pos),
            None => self.block.iter(),
        };
        NodeIter { items, backwards: self.backwards }
    }

    /// Index of the first element equal to `item`.
    pub(super) fn position(&self, item: Item<'_>) -> Option<usize> {
        if self.backwards {
            self.block.position::<true>(item).map(|at| self.len() - 1 - at)
        } else {
            self.block.position::<false>(item)
        }
    }
}

/// The elements of a [`Node`], in the order of the list.
#[derive(Debug, Clone)]
pub struct NodeIter<'a> {
    items: compact::Iter<'a>,
    backwards: bool,
}

impl<'a> Iterator for NodeIter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.backwards { self.items.next_back() } else { self.items.next() }
    }
}

impl DoubleEndedIterator for NodeIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.backwards { self.items.next() } else { self.items.next_back() }
    }
}

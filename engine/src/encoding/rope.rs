//! `Rope`: a long sequence as a counted B+ tree of compact blocks, shared until written.
//!
//! ```text
//!                 root  | 5200 elements | 4100 | .. |        at most FANOUT children a level
//!                        /                   \
//!          | 80 | 79 | .. |                | 81 | .. |       counts: an index finds its leaf in O(log n)
//!            |    |                          |
//!         Compact Compact ..               Compact           leaves: what one list node holds
//! ```
//! 1. Every leaf and every inner node is non-empty (the root may be empty); all leaves are equally deep.
//! 2. A child's `len` and `bytes` are the sums over its leaves.
//! 3. Leaves and inner nodes are behind `Arc`s: a clone is one more reference to the root's children, and whoever changes
//!    a shared node first copies the path to it. So a clone is a snapshot that another thread may read.
//!
//! Leaves that were made sparse by removals are not merged. What a leaf may hold is its user's business.

use std::slice;
use std::sync::Arc;

use super::compact::Compact;

/// Children of an inner node at most. Small in tests, so that they see deep trees.
const FANOUT: usize = if cfg!(test) { 4 } else { 32 };

/// Up to so many children a node has no spare room: most lists have few blocks.
const EXACT_CHILDREN: usize = 4;

/// One end of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Before the first element.
    Front,
    /// After the last element.
    Back,
}

/// A sequence of compact blocks; see the module.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    top: Vec<Child>,
    len: usize,
    bytes: usize,
}

/// Parts taken off a rope, which only wait to be freed. Dropping it may take long.
#[derive(Debug, Default)]
pub struct Debris(Vec<Child>);

#[derive(Clone, Debug)]
struct Child {
    len: usize,
    bytes: usize,
    node: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Arc<Compact>),
    Inner(Arc<Vec<Child>>),
}

impl Rope {
    /// An empty one.
    pub const fn new() -> Rope {
        Rope { top: Vec::new(), len: 0, bytes: 0 }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated for the blocks.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a block at an end; it must not be empty.
    pub fn push(&mut self, end: End, block: Compact) {
        self.push_shared(end, Arc::new(block));
    }

    /// Adds a block at an end; it must not be empty.
    pub fn push_shared(&mut self, end: End, block: Arc<Compact>) {
        debug_assert!(!block.is_empty());
        let leaf = Child::leaf(block);
        self.len += leaf.len;
        self.bytes += leaf.bytes;
        if let Some(sibling) = push(&mut self.top, end, leaf) {
            self.grow(end, sibling);
        }
    }

    /// Takes the block off an end.
    pub fn pop(&mut self, end: End) -> Option<Arc<Compact>> {
        let leaf = pop(&mut self.top, end)?;
        self.len -= leaf.len;
        self.bytes -= leaf.bytes;
        self.collapse();
        match leaf.node {
            Node::Leaf(block) => Some(block),
            Node::Inner(_) => unreachable!("pop descends to a leaf"),
        }
    }

    /// The block that holds the element at `index`, and the element's index in it.
    pub fn find(&self, mut index: usize) -> Option<(&Compact, usize)> {
        if index >= self.len {
            return None;
        }
        let mut children = &self.top;
        loop {
            let at = locate(children, &mut index);
            match &children[at].node {
                Node::Leaf(block) => return Some((block, index)),
                Node::Inner(inner) => children = inner,
            }
        }
    }

    /// Lets `change` change the block that holds the element at `index`, given that element's index in it. Blocks that it
    /// returns follow the changed one; a block that it leaves empty is dropped.
    ///
    /// # Panics
    /// If `index` is not within the rope.
    pub fn edit<F>(&mut self, index: usize, change: F)
    where
        F: FnOnce(&mut Compact, usize) -> Vec<Compact>,
    {
        assert!(index < self.len, "no element at {index}");
        if let Some(sibling) = edit(&mut self.top, index, change) {
            self.grow(End::Back, sibling);
        }
        self.recount();
        self.collapse();
    }

    /// Removes the first or the last `count` elements: whole subtrees go to the debris unfreed.
    pub fn cut(&mut self, end: End, count: usize) -> Debris {
        let mut debris = Debris::default();
        cut(&mut self.top, end, count.min(self.len), &mut debris.0);
        self.recount();
        self.collapse();
        debris
    }

    /// Number of blocks. O(blocks / FANOUT).
    pub fn blocks(&self) -> usize {
        fn count(children: &[Child]) -> usize {
            match children.first() {
                Some(Child { node: Node::Inner(_), .. }) => children.iter().map(|child| count(child.inner())).sum(),
                _ => children.len(),
            }
        }
        count(&self.top)
    }

    /// The blocks from the one that holds the element at `index` on: to the last, or with `REV` back to the first. Nothing
    /// if `index` is not within the rope.
    pub fn blocks_from<const REV: bool>(&self, mut index: usize) -> Blocks<'_, REV> {
        let mut stack = Vec::new();
        if index >= self.len {
            return Blocks { stack };
        }
        let mut children = &self.top;
        loop {
            let at = locate(children, &mut index);
            match &children[at].node {
                Node::Leaf(_) => {
                    stack.push(if REV { children[..=at].iter() } else { children[at..].iter() });
                    return Blocks { stack };
                }
                Node::Inner(inner) => {
                    stack.push(if REV { children[..at].iter() } else { children[at + 1..].iter() });
                    children = inner;
                }
            }
        }
    }

    /// The top level overflowed into `sibling`: one level more.
    fn grow(&mut self, end: End, sibling: Vec<Child>) {
        let old = Child::of(std::mem::take(&mut self.top));
        let new = Child::of(sibling);
        self.top = match end {
            End::Front => vec![new, old],
            End::Back => vec![old, new],
        };
    }

    /// While the top level has one inner child only: one level less.
    fn collapse(&mut self) {
        while let [Child { node: Node::Inner(inner), .. }] = &mut self.top[..] {
            let inner = std::mem::take(inner);
            self.top = Arc::unwrap_or_clone(inner);
        }
    }

    fn recount(&mut self) {
        self.len = self.top.iter().map(|child| child.len).sum();
        self.bytes = self.top.iter().map(|child| child.bytes).sum();
    }
}

impl Debris {
    /// Adds another's parts.
    pub fn append(&mut self, mut other: Debris) {
        self.0.append(&mut other.0);
    }

    /// Elements in it: a measure of how long freeing it takes.
    pub fn len(&self) -> usize {
        self.0.iter().map(|child| child.len).sum()
    }

    /// Bytes allocated for its blocks.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|child| child.bytes).sum()
    }

    /// Whether there is nothing to free.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Rope> for Debris {
    fn from(rope: Rope) -> Debris {
        Debris(rope.top)
    }
}

impl Child {
    fn leaf(block: Arc<Compact>) -> Child {
        Child { len: block.len(), bytes: block.heap_bytes(), node: Node::Leaf(block) }
    }

    fn of(children: Vec<Child>) -> Child {
        let mut child = Child { len: 0, bytes: 0, node: Node::Inner(Arc::new(children)) };
        child.recount();
        child
    }

    fn inner(&self) -> &[Child] {
        match &self.node {
            Node::Inner(inner) => inner,
            Node::Leaf(_) => &[],
        }
    }

    fn recount(&mut self) {
        match &self.node {
            Node::Leaf(block) => (self.len, self.bytes) = (block.len(), block.heap_bytes()),
            Node::Inner(inner) => {
                self.len = inner.iter().map(|child| child.len).sum();
                self.bytes = inner.iter().map(|child| child.bytes).sum();
            }
        }
    }
}

/// Index of the child that holds the element at `index`, which becomes relative to it.
fn locate(children: &[Child], index: &mut usize) -> usize {
    for (at, child) in children.iter().enumerate() {
        if *index < child.len {
            return at;
        }
        *index -= child.len;
    }
    unreachable!("callers check the index, and counts are sums (2)")
}

/// Adds a leaf at an end. A level that is full returns a sibling to stand at that end of it; it stays full itself, since
/// the next leaf comes at the same end most of the time.
fn push(children: &mut Vec<Child>, end: End, leaf: Child) -> Option<Vec<Child>> {
    let outer = match end {
        End::Front => children.first_mut(),
        End::Back => children.last_mut(),
    };
    let (len, bytes) = (leaf.len, leaf.bytes);
    let added = match outer {
        Some(Child { node: Node::Inner(inner), len: inner_len, bytes: inner_bytes }) => {
            match push(Arc::make_mut(inner), end, leaf) {
                Some(sibling) => Child::of(sibling),
                None => {
                    *inner_len += len;
                    *inner_bytes += bytes;
                    return None;
                }
            }
        }
        _ => leaf,
    };
    if children.len() >= FANOUT {
        return Some(vec![added]);
    }
    if children.len() < EXACT_CHILDREN {
        children.reserve_exact(1);
    }
    match end {
        End::Front => children.insert(0, added),
        End::Back => children.push(added),
    }
    None
}

/// Takes the leaf off an end.
fn pop(children: &mut Vec<Child>, end: End) -> Option<Child> {
    let at = match end {
        End::Front => 0,
        End::Back => children.len().checked_sub(1)?,
    };
    let outer = children.get_mut(at)?;
    let Node::Inner(inner) = &mut outer.node else { return Some(children.remove(at)) };
    let leaf = pop(Arc::make_mut(inner), end)?;
    outer.len -= leaf.len;
    outer.bytes -= leaf.bytes;
    if outer.len == 0 {
        children.remove(at);
    }
    Some(leaf)
}

/// See [`Rope::edit`]. A level that came to hold too many children returns its second half.
fn edit<F>(children: &mut Vec<Child>, mut index: usize, change: F) -> Option<Vec<Child>>
where
    F: FnOnce(&mut Compact, usize) -> Vec<Compact>,
{
    let at = locate(children, &mut index);
    let child = &mut children[at];
    match &mut child.node {
        Node::Leaf(block) => {
            let more = change(Arc::make_mut(block), index);
            child.recount();
            let keep = usize::from(child.len > 0);
            let more = more.into_iter().map(|block| Child::leaf(Arc::new(block)));
            children.splice(at + keep..at + 1, more);
        }
        Node::Inner(inner) => {
            let sibling = edit(Arc::make_mut(inner), index, change);
            child.recount();
            let keep = usize::from(child.len > 0);
            children.splice(at + keep..at + 1, sibling.map(Child::of));
        }
    }
    (children.len() > FANOUT).then(|| children.split_off(children.len() / 2))
}

/// See [`Rope::cut`]: leaves the level empty if `count` is all it has.
fn cut(children: &mut Vec<Child>, end: End, mut count: usize, debris: &mut Vec<Child>) {
    let mut whole = 0;
    let fits = |child: &&Child| {
        let fits = child.len <= count;
        if fits {
            count -= child.len;
        }
        fits
    };
    let outer = match end {
        End::Front => {
            whole += children.iter().take_while(fits).count();
            debris.extend(children.drain(..whole));
            children.first_mut()
        }
        End::Back => {
            whole += children.iter().rev().take_while(fits).count();
            debris.extend(children.drain(children.len() - whole..));
            children.last_mut()
        }
    };
    let Some(child) = outer else { return };
    if count == 0 {
        return;
    }
    match &mut child.node {
        Node::Leaf(block) => {
            let from = if end == End::Front { 0 } else { child.len - count };
            Arc::make_mut(block).remove_range(from, count);
        }
        Node::Inner(inner) => cut(Arc::make_mut(inner), end, count, debris),
    }
    child.recount();
}

/// The blocks of a rope in order, or with `REV` in reverse order.
#[derive(Debug, Clone)]
pub struct Blocks<'a, const REV: bool> {
    /// What is left on each level, from the top to the leaves.
    stack: Vec<slice::Iter<'a, Child>>,
}

impl<'a, const REV: bool> Iterator for Blocks<'a, REV> {
    type Item = &'a Compact;

    fn next(&mut self) -> Option<&'a Compact> {
        loop {
            let level = self.stack.last_mut()?;
            match if REV { level.next_back() } else { level.next() } {
                Some(Child { node: Node::Leaf(block), .. }) => return Some(block),
                Some(child) => self.stack.push(child.inner().iter()),
                None => drop(self.stack.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verify(children: &[Child]) -> usize {
        assert!(children.len() <= FANOUT);
        let depths: Vec<usize> = children
            .iter()
            .map(|child| {
                let mut counted = child.clone();
                counted.recount();
                assert!(child.len > 0);
                assert_eq!((counted.len, counted.bytes), (child.len, child.bytes));
                if matches!(child.node, Node::Inner(_)) { verify(child.inner()) + 1 } else { 0 }
            })
            .collect();
        assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
        depths.first().copied().unwrap_or(0)
    }

    fn block(numbers: std::ops::Range<i64>) -> Compact {
        numbers.map(crate::encoding::item::Item::Int).collect()
    }

    fn numbers<const REV: bool>(rope: &Rope, from: usize) -> Vec<Vec<String>> {
        rope.blocks_from::<REV>(from)
            .map(|block| block.iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect())
            .collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(bool, i64),
        Pop(bool),
        Remove(usize, usize),
        Split(usize, usize),
        Cut(bool, usize),
        Snapshot,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (any::<bool>(), 1i64..4).prop_map(|(front, len)| Step::Push(front, len)),
            3 => any::<bool>().prop_map(Step::Pop),
            3 => (any::<usize>(), 1usize..4).prop_map(|(at, len)| Step::Remove(at, len)),
            5 => (any::<usize>(), 0usize..3).prop_map(|(at, extra)| Step::Split(at, extra)),
            1 => (any::<bool>(), 0usize..40).prop_map(|(front, count)| Step::Cut(front, count)),
            1 => Just(Step::Snapshot),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_vec_of_blocks(steps in proptest::collection::vec(step(), 0..200)) {
            let mut rope = Rope::new();
            let mut model: Vec<Vec<String>> = Vec::new();
            let mut snapshots = Vec::new();
            let mut next = 0i64;
            let mut fresh = |len: i64| { next += len; next - len..next };
            let texts = |range: std::ops::Range<i64>| range.map(|n| n.to_string()).collect::<Vec<_>>();
            for step in steps {
                let total: usize = model.iter().map(Vec::len).sum();
                let end = |front| if front { End::Front } else { End::Back };
                match step {
                    Step::Push(front, len) => {
                        let range = fresh(len);
                        rope.push(end(front), block(range.clone()));
                        model.insert(if front { 0 } else { model.len() }, texts(range));
                    }
                    Step::Pop(front) => {
                        let popped = rope.pop(end(front));
                        prop_assert_eq!(popped.is_some(), !model.is_empty());
                        if popped.is_some() { model.remove(if front { 0 } else { model.len() - 1 }); }
                    }
                    Step::Remove(at, len) if total > 0 => {
                        let mut offset = at % total;
                        rope.edit(offset, |block, at| { block.remove_range(at, len); Vec::new() });
                        let leaf = model.iter().position(|leaf| offset < leaf.len() || { offset -= leaf.len(); false }).unwrap();
                        let until = (offset + len).min(model[leaf].len());
                        model[leaf].drain(offset..until);
                        if model[leaf].is_empty() { model.remove(leaf); }
                    }
                    Step::Split(at, extra) if total > 0 => {
                        let mut offset = at % total;
                        let ranges: Vec<_> = (0..extra).map(|_| fresh(2)).collect();
                        rope.edit(offset, |block_here, at| {
                            let tail = block_here.split_off(at);
                            ranges.iter().cloned().map(block).chain([tail]).collect()
                        });
                        let leaf = model.iter().position(|leaf| offset < leaf.len() || { offset -= leaf.len(); false }).unwrap();
                        let tail = model[leaf].split_off(offset);
                        let keep = usize::from(!model[leaf].is_empty());
                        model.splice(leaf + keep..leaf + 1, ranges.into_iter().map(texts).chain([tail]));
                    }
                    Step::Cut(front, count) => {
                        let debris = rope.cut(end(front), count);
                        let mut count = count.min(total);
                        prop_assert!(debris.len() <= count);
                        while count > 0 {
                            let at = if front { 0 } else { model.len() - 1 };
                            let here = model[at].len().min(count);
                            count -= here;
                            let from = if front { 0 } else { model[at].len() - here };
                            model[at].drain(from..from + here);
                            if model[at].is_empty() { model.remove(at); }
                        }
                    }
                    Step::Snapshot => snapshots.push((rope.clone(), model.clone())),
                    _ => {}
                }
                verify(&rope.top);
                let total: usize = model.iter().map(Vec::len).sum();
                prop_assert_eq!(rope.len(), total);
                prop_assert_eq!(rope.blocks(), model.len());
                prop_assert_eq!(numbers::<false>(&rope, 0), &model[..]);
                let mut reverse = numbers::<true>(&rope, total.wrapping_sub(1));
                reverse.reverse();
                prop_assert_eq!(reverse, &model[..]);
            }
            let flat: Vec<&String> = model.iter().flatten().collect();
            for (index, text) in flat.iter().enumerate() {
                let (block, offset) = rope.find(index).unwrap();
                prop_assert!(block.get(offset as isize).unwrap().eq_bytes(text.as_bytes()));
                let first = &numbers::<false>(&rope, index)[0];
                let last = &numbers::<true>(&rope, index)[0];
                prop_assert!(first.contains(text) && first == last);
            }
            prop_assert!(rope.find(flat.len()).is_none());
            for (snapshot, model) in snapshots {
                prop_assert_eq!(numbers::<false>(&snapshot, 0), model);
            }
        }
    }
}

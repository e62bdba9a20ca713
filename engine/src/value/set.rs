//! `Set`: distinct members, behind one word.
//!
//! ```text
//!   small   IntSet           "intset": only integers, ascending
//!   big     Table<Member>    "hashtable", one block a member
//! ```
//! 1. A set only ever grows from small to big: with the first member that is not the canonical form of an `i64`, or past
//!    the given number of integers (`set-max-intset-entries`).
//! 2. Removing the last member leaves an empty set; it is the keyspace's business not to keep one.
//!
//! Items read from a big set are [`Item::Str`] even where the bytes are those of an integer: compare bytes, not items.

use crate::encoding::intset::IntSet;
use crate::encoding::item::{Item, Scratch, parse_int};
use crate::hash;
use crate::raw::either::{Either, EitherMut, EitherRef};
use crate::raw::pair::Member;
use crate::raw::table::{FrostTable, Parity, Table};

/// `set-max-intset-entries` unless configured.
pub const INTSET_ENTRIES: usize = 512;

/// Distinct members; one word wide.
#[repr(transparent)]
pub struct Set(Either<IntSet, Box<Table<Member>>>);

/// Probes that are looked up at once, so that their cache misses overlap.
const CHUNK: usize = 16;

/// A member to look for or to add, in several sets: what either encoding needs is computed once.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) item: Item<'a>,
    int: Option<i64>,
    hash: u64,
    digits: [u8; 20],
    digits_len: u8,
}

impl<'a> Probe<'a> {
    pub(super) fn new(item: Item<'a>) -> Self {
        let mut probe = Probe { item, int: None, hash: 0, digits: [0; 20], digits_len: 0 };
        match item {
            Item::Int(int) => {
                probe.int = Some(int);
                item.with_bytes(|digits| {
                    probe.digits[..digits.len()].copy_from_slice(digits);
                    probe.digits_len = digits.len() as u8;
                });
            }
            Item::Str(bytes) => probe.int = parse_int(bytes),
        }
        probe.hash = hash::fast(probe.bytes());
        probe
    }

    fn bytes(&self) -> &[u8] {
        match self.item {
            Item::Int(_) => &self.digits[..usize::from(self.digits_len)],
            Item::Str(bytes) => bytes,
        }
    }
}

/// Fills `chunk` with the next few members; false at the end.
pub(super) fn next_chunk<'a>(members: &mut impl Iterator<Item = Item<'a>>, chunk: &mut Vec<Probe<'a>>) -> bool {
    chunk.clear();
    chunk.extend(members.take(CHUNK).map(Probe::new));
    !chunk.is_empty()
}

/// A member that was taken out of a set.
pub enum Taken {
    /// From a small set.
    Int(i64),
    /// From a big set: its block.
    Member(Member),
}

impl Taken {
    /// The member.
    pub fn item(&self) -> Item<'_> {
        match self {
            Taken::Int(int) => Item::Int(*int),
            Taken::Member(member) => Item::Str(member.get()),
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

impl From<IntSet> for Set {
    fn from(ints: IntSet) -> Self {
        Set(Either::from_a(ints))
    }
}

impl Set {
    /// An empty set; allocates nothing.
    pub fn new() -> Self {
        Set(Either::from_a(IntSet::new()))
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(ints) => ints.len(),
            EitherRef::B(table) => table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        match self.0.as_ref() {
            EitherRef::A(ints) => ints.is_empty(),
            EitherRef::B(table) => table.is_empty(),
        }
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.0.as_ref() {
            EitherRef::A(_) => "intset",
            EitherRef::B(_) => "hashtable",
        }
    }

    /// Whether `member` is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.0.as_ref() {
            EitherRef::A(ints) => parse_int(member).is_some_and(|int| ints.contains(int)),
            EitherRef::B(table) => table.contains(hash::fast(member), member),
        }
    }

    /// Bytes of its block, or of the blocks of its members; not those of a table that finds them. O(1).
    pub fn heap_bytes(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(ints) => ints.heap_bytes(),
            EitherRef::B(table) => table.item_bytes(),
        }
    }

    /// More members are to come, up to about so many: advice, which a small set does not take.
    pub fn expect(&mut self, members: usize) {
        if let EitherMut::B(table) = self.0.as_mut() {
            table.expect(members);
        }
    }

    /// Adds `member`; true if it is new. More than `intset_entries` members make the set big.
    pub fn add(&mut self, member: &[u8], intset_entries: usize) -> bool {
        if let EitherMut::A(ints) = self.0.as_mut() {
            match parse_int(member) {
                Some(int) => {
                    let new = ints.insert(int);
                    if new && ints.len() > intset_entries.min(IntSet::LEN_MAX - 1) {
                        self.convert();
                    }
                    return new;
                }
                None => self.convert(),
            }
        }
        match self.0.as_mut() {
            EitherMut::A(_) => false,
            EitherMut::B(table) => add_to_table(table, hash::fast(member), member),
        }
    }

    /// Adds all of `members` and returns how many were new. Faster than one by one where the set is big.
    pub fn add_all<'a>(&mut self, members: impl IntoIterator<Item = Item<'a>>, intset_entries: usize) -> usize {
        let mut members = members.into_iter();
        let mut new = 0;
        while self.as_ints().is_some() {
            match members.next() {
                Some(member) => new += usize::from(member.with_bytes(|bytes| self.add(bytes, intset_entries))),
                None => return new,
            }
        }
        let EitherMut::B(table) = self.0.as_mut() else { return new };
        let mut chunk = Vec::with_capacity(CHUNK);
        while next_chunk(&mut members, &mut chunk) {
            prefetch(table, &chunk);
            for probe in &chunk {
                new += usize::from(add_to_table(table, probe.hash, probe.bytes()));
            }
        }
        new
    }

    /// Starts loading what looking for the members of `chunk` will read.
    pub(super) fn prefetch(&self, chunk: &[Probe<'_>]) {
        if let EitherRef::B(table) = self.0.as_ref() {
            prefetch(table, chunk);
        }
    }

    /// [`contains`](Self::contains) of a probe.
    #[inline]
    pub(super) fn has(&self, probe: &Probe<'_>) -> bool {
        match self.0.as_ref() {
            EitherRef::A(ints) => probe.int.is_some_and(|int| ints.contains(int)),
            EitherRef::B(table) => table.contains(probe.hash, probe.bytes()),
        }
    }

    /// Removes `member`; true if it was in the set.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.0.as_mut() {
            EitherMut::A(ints) => parse_int(member).is_some_and(|int| ints.remove(int)),
            EitherMut::B(table) => table.remove(hash::fast(member), member).is_some(),
        }
    }

    /// One member, each with the same chance. `random` gives uniform 64-bit numbers.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<Item<'_>> {
        match self.0.as_ref() {
            EitherRef::A(ints) => ints.get(below(ints.len(), random())).map(Item::Int),
            EitherRef::B(table) => table.random(random).map(Item::Str),
        }
    }

    /// Removes one member, each with the same chance. `random` gives uniform 64-bit numbers.
    pub fn pop(&mut self, mut random: impl FnMut() -> u64) -> Option<Taken> {
        match self.0.as_mut() {
            EitherMut::A(ints) => {
                let int = ints.get(below(ints.len(), random()))?;
                ints.remove(int);
                Some(Taken::Int(int))
            }
            EitherMut::B(table) => table.take_random(random).map(Taken::Member),
        }
    }

    /// The members: ascending while small, in hash order while big.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let (small, big) = match self.0.as_ref() {
            EitherRef::A(ints) => (Some(ints), None),
            EitherRef::B(table) => (None, Some(table)),
        };
        small.into_iter().flatten().map(Item::Int).chain(big.into_iter().flat_map(Table::iter).map(Item::Str))
    }

    /// Visits some members and returns the cursor to go on from, 0 at the end: a member that is there from the first call
    /// (with cursor 0) to the last is visited at least once. A small set is visited at once.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Item<'a>)) -> u64 {
        match self.0.as_ref() {
            EitherRef::A(ints) => {
                ints.iter().for_each(|int| visit(Item::Int(int)));
                0
            }
            EitherRef::B(table) => table.scan(cursor, |member| visit(Item::Str(member))),
        }
    }

    /// The table of the big form, to freeze it for a snapshot.
    pub fn table(&self) -> Option<&dyn FrostTable> {
        self.0.b().map(|table| table as _)
    }

    /// The table of the big form, to freeze it for a snapshot.
    pub fn table_mut(&mut self) -> Option<&mut dyn FrostTable> {
        self.0.b_mut().map(|table| table as _)
    }

    /// How much work it is to drop: the number of blocks. Many are better dropped by another thread.
    pub fn free_cost(&self) -> usize {
        self.0.b().map_or(1, |table| table.len())
    }

    /// The small form, if it is small.
    pub fn as_ints(&self) -> Option<&IntSet> {
        self.0.a()
    }

    fn convert(&mut self) {
        let mut table = Table::new();
        let mut scratch = Scratch::new();
        for item in self.iter() {
            let member = item.bytes_in(&mut scratch);
            table.insert_new(hash::fast(member), Member::new(member), Parity::NONE);
        }
        self.0 = Either::from_b(Box::new(table));
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

fn add_to_table(table: &mut Table<Member>, hash: u64, member: &[u8]) -> bool {
    let new = !table.contains(hash, member);
    if new {
        table.insert_new(hash, Member::new(member), Parity::NONE);
    }
    new
}

fn prefetch(table: &Table<Member>, chunk: &[Probe<'_>]) {
    chunk.iter().for_each(|probe| table.prefetch_bucket(probe.hash));
    chunk.iter().for_each(|probe| table.prefetch_item(probe.hash));
}

/// A number below `len` from a uniform 64-bit one; 0 if `len` is 0.
fn below(len: usize, random: u64) -> usize {
    ((u128::from(random) * len as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn contents(set: &Set) -> BTreeSet<Vec<u8>> {
        let all: Vec<_> = set.iter().map(|item| item.to_vec()).collect();
        let distinct: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(all.len(), distinct.len());
        distinct
    }

    #[test]
    fn it_is_an_intset_until_it_has_a_text_or_too_many_members() {
        let mut set = Set::new();
        for n in ["3", "-7", "9223372036854775807"] {
            assert!(set.add(n.as_bytes(), 3));
        }
        assert!(!set.add(b"3", 3));
        assert_eq!(set.encoding(), "intset");
        assert_eq!(
            set.iter().map(|item| item.to_vec()).collect::<Vec<_>>(),
            [&b"-7"[..], b"3", b"9223372036854775807"]
        );
        let before = contents(&set);
        assert!(set.add(b"4", 3));
        assert_eq!(set.encoding(), "hashtable");
        assert!(set.contains(b"-7") && set.remove(b"4") && !set.contains(b"4"));
        assert_eq!(contents(&set), before);

        for text in ["01", "+1", "", "-0", "9223372036854775808"] {
            let mut set = Set::new();
            set.add(b"1", 512);
            set.add(text.as_bytes(), 512);
            assert_eq!((set.encoding(), set.len()), ("hashtable", 2));
            assert!(set.contains(text.as_bytes()) && set.contains(b"1"));
        }
    }

    #[test]
    fn random_members_are_spread_evenly() {
        for entries in [1000, 0] {
            let mut set = Set::new();
            for n in 0..100 {
                set.add(n.to_string().as_bytes(), entries);
            }
            let mut counts = BTreeMap::new();
            let mut random = SplitMix::new(1);
            for _ in 0..100_000 {
                *counts.entry(set.random(|| random.next()).unwrap().to_vec()).or_insert(0u32) += 1;
            }
            assert_eq!(counts.len(), 100);
            // Binomial with mean 1000 and deviation 31.5.
            assert!(counts.values().all(|&n| (800..1200).contains(&n)), "{counts:?}");
        }
    }

    #[test]
    fn popping_takes_each_member_once() {
        for entries in [10_000, 0] {
            let mut set = Set::new();
            for n in 0..3000 {
                set.add(n.to_string().as_bytes(), entries);
            }
            let mut random = SplitMix::new(2);
            let mut left = contents(&set);
            while let Some(taken) = set.pop(|| random.next()) {
                assert!(left.remove(&taken.item().to_vec()));
                assert!(!set.contains(&taken.item().to_vec()));
                assert_eq!(set.len(), left.len());
            }
            assert!(left.is_empty() && set.random(|| random.next()).is_none());
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u16),
        Remove(u16),
        Scan,
    }

    fn member(n: u16) -> Vec<u8> {
        if n >= 900 { format!("text:{n}").into_bytes() } else { n.to_string().into_bytes() }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let burst = (any::<bool>(), 0u16..1000, 1u16..200).prop_map(|(grow, from, count)| {
            let of = |n| if grow { Step::Add(n) } else { Step::Remove(n) };
            (from..from + count).flat_map(|n| [of(n), Step::Scan]).collect::<Vec<_>>()
        });
        prop::collection::vec(burst, 0..12).prop_map(|bursts| bursts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_behaves_as_a_set_and_a_scan_misses_nothing(steps in steps(), entries in prop_oneof![Just(0usize), Just(300)]) {
            let mut set = Set::new();
            let mut model: BTreeSet<Vec<u8>> = BTreeSet::new();
            // One scan under way: what was there all the time since it began, and what it has shown.
            let (mut cursor, mut throughout, mut shown) = (0, BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Add(n) => prop_assert_eq!(set.add(&member(n), entries), model.insert(member(n))),
                    Step::Remove(n) => {
                        throughout.remove(&member(n));
                        prop_assert_eq!(set.remove(&member(n)), model.remove(&member(n)));
                    }
                    Step::Scan => {
                        if cursor == 0 {
                            throughout = model.clone();
                            shown = BTreeSet::new();
                        }
                        cursor = set.scan(cursor, |item| { shown.insert(item.to_vec()); });
                        if cursor == 0 {
                            prop_assert!(throughout.is_subset(&shown));
                        }
                    }
                }
            }
            prop_assert_eq!(set.len(), model.len());
            for n in 0..1200 {
                prop_assert_eq!(set.contains(&member(n)), model.contains(&member(n)));
            }
            prop_assert_eq!(contents(&set), model);
        }
    }
}

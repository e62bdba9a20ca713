//! `Hash`: fields and their values, behind one word.
//!
//! ```text
//!   small   Compact: field, value, field, value ..      "ziplist", searched from the front
//!   big     Table<Pair>                                 "hashtable", one block a field
//! ```
//! 1. A hash only ever grows from small to big: past [`HashLimits::entries`] fields, or when a field or value longer than
//!    [`HashLimits::value`] bytes is set.
//! 2. A small hash holds each field once, in the order in which the fields were first set.
//! 3. Deleting the last field leaves an empty hash; it is the keyspace's business not to keep one.
//!
//! Items read from a big hash are [`Item::Str`] even where the bytes are those of an integer: compare bytes, not items.

use crate::encoding::compact::{Compact, Pos};
use crate::encoding::item::Item;
use crate::hash;
use crate::raw::either::{Either, EitherMut, EitherRef};
use crate::raw::pair::{Pair, PairRef};
use crate::raw::table::{FrostTable, Parity, Table};

/// How long a hash stays small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashLimits {
    /// Fields: `hash-max-ziplist-entries`.
    pub entries: usize,
    /// Bytes of a field or value: `hash-max-ziplist-value`.
    pub value: usize,
}

impl Default for HashLimits {
    fn default() -> Self {
        HashLimits { entries: 512, value: 64 }
    }
}

impl HashLimits {
    /// The same limit on fields, none on bytes: HINCRBY and HINCRBYFLOAT do not look at the length of a field.
    #[must_use]
    pub fn entries_only(self) -> Self {
        HashLimits { value: usize::MAX, ..self }
    }
}

/// Fields and values; one word wide.
#[repr(transparent)]
pub struct Hash(Either<Compact, Box<Table<Pair>>>);

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Compact> for Hash {
    fn from(compact: Compact) -> Self {
        Hash(Either::from_a(compact))
    }
}

impl Hash {
    /// An empty hash; allocates nothing.
    pub fn new() -> Self {
        Hash(Either::from_a(Compact::new()))
    }

    /// A hash of fields and values in turns, as they come from a file: O(n log n). It is small if it has no more fields than
    /// that, whatever their length. `None` if a field is there twice or has no value.
    pub fn from_pairs(pairs: Compact, limits: HashLimits) -> Option<Self> {
        if !pairs.len().is_multiple_of(2) || !pairs.has_distinct_firsts() {
            return None;
        }
        let mut hash = Hash(Either::from_a(pairs));
        if hash.len() > limits.entries {
            hash.convert();
        }
        Some(hash)
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(compact) => compact.len() / 2,
            EitherRef::B(table) => table.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.0.as_ref() {
            EitherRef::A(_) => "ziplist",
            EitherRef::B(_) => "hashtable",
        }
    }

    /// The value of `field`.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match self.0.as_ref() {
            EitherRef::A(compact) => {
                let at = find(compact, field)?;
                Some(compact.at(compact.next(at)?))
            }
            EitherRef::B(table) => Some(Item::Str(table.find(hash::fast(field), field)?.value)),
        }
    }

    /// Whether `field` is set.
    pub fn contains(&self, field: &[u8]) -> bool {
        match self.0.as_ref() {
            EitherRef::A(compact) => find(compact, field).is_some(),
            EitherRef::B(table) => table.contains(hash::fast(field), field),
        }
    }

    /// Bytes of its block, or of the blocks of its fields; not those of a table that finds them. O(1).
    pub fn heap_bytes(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(compact) => compact.heap_bytes(),
            EitherRef::B(table) => table.item_bytes(),
        }
    }

    /// More fields are to come, up to about so many: advice, which a small hash does not take.
    pub fn expect(&mut self, fields: usize) {
        if let EitherMut::B(table) = self.0.as_mut() {
            table.expect(fields);
        }
    }

    /// Makes the hash big if one of `texts` is longer than a small one takes. [`set`](Self::set) does it by itself; HMSET
    /// and HSETNX do it for all their arguments before they change anything.
    pub fn make_room_for<'t>(&mut self, texts: impl IntoIterator<Item = &'t [u8]>, limits: HashLimits) {
        if let EitherRef::A(_) = self.0.as_ref()
            && texts.into_iter().any(|text| text.len() > limits.value)
        {
            self.convert();
        }
    }

    /// Sets `field`; true if it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: HashLimits) -> bool {
        if let EitherMut::A(compact) = self.0.as_mut() {
            let bytes = Compact::entry_bytes_max(field.len()) + Compact::entry_bytes_max(value.len());
            if field.len() > limits.value || value.len() > limits.value || !compact.has_room_for(bytes) {
                self.convert();
            }
        }
        match self.0.as_mut() {
            EitherMut::A(compact) => {
                if let Some(old) = find(compact, field).and_then(|at| compact.next(at)) {
                    compact.replace(old, value);
                    return false;
                }
                compact.push_back(field);
                compact.push_back(value);
                if compact.len() / 2 > limits.entries {
                    self.convert();
                }
                true
            }
            EitherMut::B(table) => set_in_table(table, hash::fast(field), field, value),
        }
    }

    /// Sets fields and values in turns, faster than one by one where the hash is big.
    pub fn set_all<'t>(&mut self, texts: impl IntoIterator<Item = &'t [u8]>, limits: HashLimits) {
        /// Fields whose places are looked up together, so that their cache misses overlap.
        const TOGETHER: usize = 16;
        let mut texts = texts.into_iter();
        let mut pairs = std::iter::from_fn(|| Some((texts.next()?, texts.next()?)));
        while self.as_compact().is_some() {
            let Some((field, value)) = pairs.next() else { return };
            self.set(field, value, limits);
        }
        let EitherMut::B(table) = self.0.as_mut() else { return };
        let mut some = Vec::with_capacity(TOGETHER);
        loop {
            some.clear();
            some.extend(pairs.by_ref().take(TOGETHER).map(|(field, value)| (hash::fast(field), field, value)));
            if some.is_empty() {
                return;
            }
            some.iter().for_each(|(hash, ..)| table.prefetch_bucket(*hash));
            for (hash, field, value) in &some {
                set_in_table(table, *hash, field, value);
            }
        }
    }

    /// Removes `field`; true if it was set.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self.0.as_mut() {
            EitherMut::A(compact) => match find(compact, field) {
                Some(at) => {
                    compact.remove_at(at, 2);
                    true
                }
                None => false,
            },
            EitherMut::B(table) => table.remove(hash::fast(field), field).is_some(),
        }
    }

    /// Fields and values: in the order first set while small, in hash order while big.
    pub fn iter(&self) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
        let (small, big) = match self.0.as_ref() {
            EitherRef::A(compact) => (Some(compact), None),
            EitherRef::B(table) => (None, Some(table)),
        };
        let mut entries = small.into_iter().flatten();
        let small = std::iter::from_fn(move || Some((entries.next()?, entries.next()?)));
        small.chain(big.into_iter().flat_map(Table::iter).map(items))
    }

    /// Visits some fields and returns the cursor to go on from, 0 at the end: a field that is there from the first call
    /// (with cursor 0) to the last is visited at least once. A small hash is visited at once.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Item<'a>, Item<'a>)) -> u64 {
        match self.0.as_ref() {
            EitherRef::A(_) => {
                self.iter().for_each(|(field, value)| visit(field, value));
                0
            }
            EitherRef::B(table) => table.scan(cursor, |pair| {
                let (field, value) = items(pair);
                visit(field, value);
            }),
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
    pub fn as_compact(&self) -> Option<&Compact> {
        self.0.a()
    }

    fn convert(&mut self) {
        let mut table = Table::new();
        for (field, value) in self.iter() {
            field.with_bytes(|field| {
                value.with_bytes(|value| table.insert_new(hash::fast(field), Pair::new(field, value), Parity::NONE));
            });
        }
        self.0 = Either::from_b(Box::new(table));
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn find(compact: &Compact, field: &[u8]) -> Option<Pos> {
    compact.find(compact.first()?, field, 1)
}

fn set_in_table(table: &mut Table<Pair>, hash: u64, field: &[u8], value: &[u8]) -> bool {
    match table.find_cell(hash, field) {
        Some(mut cell) => {
            cell.update(|mut pair| {
                pair.set_value(value);
                pair
            });
            false
        }
        None => {
            table.insert_new(hash, Pair::new(field, value), Parity::NONE);
            true
        }
    }
}

fn items(pair: PairRef<'_>) -> (Item<'_>, Item<'_>) {
    (Item::Str(pair.field), Item::Str(pair.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const LIMITS: HashLimits = HashLimits { entries: 4, value: 8 };

    fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut all = BTreeMap::new();
        for (field, value) in hash.iter() {
            assert!(all.insert(field.to_vec(), value.to_vec()).is_none(), "{field:?} twice");
        }
        all
    }

    #[test]
    fn many_at_once_are_as_one_by_one() {
        for entries in [0, 4, 1000] {
            let limits = HashLimits { entries, value: 8 };
            let (mut one_by_one, mut at_once) = (Hash::new(), Hash::new());
            for round in 0..3usize {
                let texts: Vec<Vec<u8>> = (0..2 * 37 * round).map(|n| (n * 7 % 101).to_string().into_bytes()).collect();
                for pair in texts.chunks(2) {
                    one_by_one.set(&pair[0], &pair[1], limits);
                }
                at_once.expect(100);
                at_once.set_all(texts.iter().map(Vec::as_slice), limits);
                assert_eq!(contents(&at_once), contents(&one_by_one));
                assert_eq!(at_once.encoding(), one_by_one.encoding());
            }
        }
    }

    #[test]
    fn one_field_too_many_makes_it_big_for_good() {
        let mut hash = Hash::new();
        for n in 0..4u8 {
            assert!(hash.set(&[n], b"v", LIMITS));
        }
        assert!(!hash.set(&[0], b"w", LIMITS));
        assert_eq!(hash.encoding(), "ziplist");
        assert!(hash.set(&[4], b"v", LIMITS));
        assert_eq!(hash.encoding(), "hashtable");
        for n in 0..5u8 {
            assert!(hash.remove(&[n]));
        }
        assert!(hash.is_empty());
        assert_eq!(hash.encoding(), "hashtable");
    }

    #[test]
    fn a_long_field_or_value_makes_it_big() {
        for (field, value) in [(&b"123456789"[..], &b"v"[..]), (b"f", b"123456789")] {
            let mut hash = Hash::new();
            hash.set(b"12345678", b"12345678", LIMITS);
            assert_eq!(hash.encoding(), "ziplist");
            hash.set(field, value, LIMITS);
            assert_eq!(hash.encoding(), "hashtable");
            assert_eq!(hash.len(), 2);

            let mut small = Hash::new();
            small.set(field, value, LIMITS.entries_only());
            assert_eq!(small.encoding(), "ziplist");
            small.make_room_for([field, value], LIMITS);
            assert_eq!(small.encoding(), "hashtable");
        }
    }

    #[test]
    fn a_small_hash_keeps_the_order_of_its_fields_and_is_scanned_at_once() {
        let mut hash = Hash::new();
        for (field, value) in [("b", "1"), ("a", "2"), ("3", "x"), ("b", "a long one")] {
            hash.set(field.as_bytes(), value.as_bytes(), HashLimits::default());
        }
        let mut seen = Vec::new();
        let end = hash.scan(0, |field, value| seen.push((field, value)));
        assert_eq!(end, 0);
        assert_eq!(
            seen,
            [
                (Item::Str(b"b"), Item::Str(b"a long one")),
                (Item::Str(b"a"), Item::Int(2)),
                (Item::Int(3), Item::Str(b"x"))
            ]
        );
        assert_eq!((hash.free_cost(), hash.len()), (1, 3));
    }

    #[test]
    fn pairs_of_a_file_become_a_hash_unless_a_field_is_there_twice() {
        let pairs = |texts: &[&str]| texts.iter().map(|text| Item::parse(text.as_bytes())).collect::<Compact>();
        for (count, encoding) in [(0, "ziplist"), (4, "ziplist"), (5, "hashtable")] {
            let texts: Vec<String> =
                (0..count * 2).map(|n| format!("a text longer than a small hash takes {n}")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let hash = Hash::from_pairs(pairs(&texts), LIMITS).expect("distinct");
            assert_eq!((hash.len(), hash.encoding()), (count, encoding));
            assert!(
                texts
                    .chunks(2)
                    .all(|pair| hash.get(pair[0].as_bytes()).is_some_and(|value| value.eq_bytes(pair[1].as_bytes())))
            );
        }
        for twice in [&["f", "1", "f", "2"][..], &["1", "x", "g", "y", "1", "x"], &["f"]] {
            assert!(Hash::from_pairs(pairs(twice), LIMITS).is_none());
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u16, u8),
        Remove(u16),
        Scan,
    }

    /// A field that is an integer, a short or a longer text, by its number.
    fn field(n: u16) -> Vec<u8> {
        match n % 3 {
            0 => n.to_string().into_bytes(),
            1 => format!("f{n}").into_bytes(),
            _ => format!("field:{n}:{}", "x".repeat(usize::from(n % 7) * 50)).into_bytes(),
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Bursts that grow and bursts that shrink, over a range small enough to hit the same field again.
        let burst = (any::<bool>(), 0u16..600, 1u16..120).prop_flat_map(|(grow, from, count)| {
            (Just((grow, from, count)), any::<u8>()).prop_map(|((grow, from, count), seed)| {
                let of = |n| if grow { Step::Set(n, seed) } else { Step::Remove(n) };
                (from..from + count).flat_map(|n| [of(n), Step::Scan]).collect::<Vec<_>>()
            })
        });
        prop::collection::vec(burst, 0..12).prop_map(|bursts| bursts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_behaves_as_a_map_and_a_scan_misses_nothing(
            steps in steps(),
            entries in prop_oneof![Just(0usize), Just(16), Just(10_000)],
        ) {
            let limits = HashLimits { entries, value: 200 };
            let mut hash = Hash::new();
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            // One scan under way: what was there all the time since it began, and what it has shown.
            let (mut cursor, mut throughout, mut shown) = (0, BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Set(n, seed) => {
                        let value = vec![seed; usize::from(seed) / 4];
                        let new = model.insert(field(n), value.clone()).is_none();
                        prop_assert_eq!(hash.set(&field(n), &value, limits), new);
                    }
                    Step::Remove(n) => {
                        throughout.remove(&field(n));
                        prop_assert_eq!(hash.remove(&field(n)), model.remove(&field(n)).is_some());
                    }
                    Step::Scan => {
                        if cursor == 0 {
                            throughout = model.keys().cloned().collect();
                            shown = BTreeSet::new();
                        }
                        cursor = hash.scan(cursor, |field, _| { shown.insert(field.to_vec()); });
                        if cursor == 0 {
                            prop_assert!(throughout.is_subset(&shown));
                        }
                    }
                }
            }
            prop_assert_eq!(hash.len(), model.len());
            for n in 0..720 {
                let key = field(n);
                let got = hash.get(&key);
                prop_assert_eq!(got.map(|value| value.to_vec()), model.get(&key).cloned());
                prop_assert_eq!(hash.contains(&key), model.contains_key(&key));
            }
            prop_assert_eq!(contents(&hash), model);
        }
    }
}

//! `ZSet`: members ordered by score, then by their bytes, behind one word.
//!
//! ```text
//!   small   Compact: member, score, member, score ..  in order     "ziplist", searched from the front
//!   big     ZTable: members by hash, and a tree of them in order   "skiplist", one block a member
//! ```
//! Everything about ranges is said in ranks: a range of scores or of members is first turned into the ranks it covers, and these
//! are walked, counted, cut by LIMIT or removed.
//!
//! 1. A sorted set grows from small to big past [`ZSetLimits::entries`] members, or when a member longer than
//!    [`ZSetLimits::value`] bytes is added. It becomes small again only by [`ZSet::compact_if_small`].
//! 2. No score is NaN. Zeros of both signs are equal, and the first one written stays.
//! 3. Removing the last member leaves an empty set; it is the keyspace's business not to keep one.
//!
//! Members read from a big set are [`Item::Str`] even where the bytes are those of an integer: compare bytes, not items.

use std::ops::Range;

use crate::encoding::compact::Compact;
use crate::encoding::item::Item;
use crate::raw::either::{Either, EitherMut, EitherRef};
use crate::raw::table::FrostTable;
use crate::raw::ztable::ZTable;

pub use range::{LexBound, LexRange, Members, ScoreBound, ScoreRange};

mod range;
mod small;
#[cfg(test)]
mod tests;

/// How long a sorted set stays small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZSetLimits {
    /// Members: `zset-max-ziplist-entries`.
    pub entries: usize,
    /// Bytes of a member: `zset-max-ziplist-value`.
    pub value: usize,
}

impl Default for ZSetLimits {
    fn default() -> Self {
        ZSetLimits { entries: 128, value: 64 }
    }
}

/// What [`ZSet::add`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The member was not there.
    Added,
    /// It was, with another score.
    Updated,
    /// It was, with this score.
    Unchanged,
}

/// Members and their scores; one word wide.
#[repr(transparent)]
pub struct ZSet(Either<Compact, Box<ZTable>>);

impl Default for ZSet {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Compact> for ZSet {
    fn from(compact: Compact) -> Self {
        ZSet(Either::from_a(compact))
    }
}

impl ZSet {
    /// An empty sorted set; allocates nothing.
    pub fn new() -> Self {
        ZSet(Either::from_a(Compact::new()))
    }

    /// An empty one that will not be small: for more than a few members.
    pub fn new_big() -> Self {
        ZSet(Either::from_b(Box::new(ZTable::new())))
    }

    /// A sorted set of members that are in order already, as they come from a file: O(n log n). It is small if it has no more
    /// members than that, whatever their length. `None` if they are not in order, one is there twice, or they are too large for
    /// a small set: add them one by one.
    pub fn from_ordered(members: &[(Item<'_>, f64)], limits: ZSetLimits) -> Option<Self> {
        let in_order = members.is_sorted_by(|(a, a_score), (b, b_score)| {
            a_score < b_score || (a_score == b_score && a.with_bytes(|a| b.with_bytes(|b| a < b)))
        });
        let bytes: usize = members.iter().map(|(member, _)| small::entry_bytes_max(member.len())).sum();
        let mut compact = Compact::new();
        if !in_order || !compact.has_room_for(bytes) {
            return None;
        }
        members.iter().for_each(|(member, score)| small::push_item(&mut compact, *member, *score));
        if !compact.has_distinct_firsts() {
            return None;
        }
        let mut zset = ZSet(Either::from_a(compact));
        if zset.len() > limits.entries {
            zset.convert();
        }
        Some(zset)
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(compact) => compact.len() / 2,
            EitherRef::B(table) => table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self.0.as_ref() {
            EitherRef::A(_) => "ziplist",
            EitherRef::B(_) => "skiplist",
        }
    }

    /// The table of the big form, to freeze it for a snapshot.
    pub fn table(&self) -> Option<&dyn FrostTable> {
        self.0.b().map(|table| table.table())
    }

    /// The table of the big form, to freeze it for a snapshot.
    pub fn table_mut(&mut self) -> Option<&mut dyn FrostTable> {
        self.0.b_mut().map(|table| table.table_mut())
    }

    /// How much work it is to drop: the number of blocks. Many are better dropped by another thread.
    pub fn free_cost(&self) -> usize {
        self.0.b().map_or(1, |table| table.len())
    }

    /// The small form, if it is small.
    pub fn as_compact(&self) -> Option<&Compact> {
        self.0.a()
    }

    // ---- by member ----

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self.0.as_ref() {
            EitherRef::A(compact) => small::find(compact, member).map(|(_, score)| score),
            EitherRef::B(table) => table.score(member),
        }
    }

    /// How many members are before this one, if it is there.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match self.0.as_ref() {
            EitherRef::A(compact) => small::rank(compact, member),
            EitherRef::B(table) => table.rank(member),
        }
    }

    /// Bytes of its block, or of the blocks of its members; not those of a table that finds them. O(1).
    pub fn heap_bytes(&self) -> usize {
        match self.0.as_ref() {
            EitherRef::A(compact) => compact.heap_bytes(),
            EitherRef::B(table) => table.item_bytes(),
        }
    }

    /// More members are to come, up to about so many: advice, which a small set does not take.
    pub fn expect(&mut self, members: usize) {
        if let EitherMut::B(table) = self.0.as_mut() {
            table.expect(members);
        }
    }

    /// Adds or changes a member, looking it up once: `decide` gets its score, if it is there, and returns the one it is to have,
    /// or `None` to leave everything as it is. It must not return NaN.
    ///
    /// Returns what `decide` got and what it returned.
    pub fn put(
        &mut self,
        member: &[u8],
        limits: ZSetLimits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> (Option<f64>, Option<f64>) {
        match self.0.as_mut() {
            EitherMut::B(table) => table.put(member, decide),
            EitherMut::A(compact) => {
                if let Some((at, old)) = small::find(compact, member) {
                    let new = decide(Some(old));
                    if let Some(score) = new.filter(|&score| score != old) {
                        compact.remove_at(at, 2);
                        small::insert(compact, member, score);
                    }
                    return (Some(old), new);
                }
                let new = decide(None);
                if let Some(score) = new {
                    if member.len() > limits.value
                        || compact.len() / 2 >= limits.entries
                        || !small::has_room(compact, member)
                    {
                        self.convert().put(member, |_| Some(score));
                    } else {
                        small::insert(compact, member, score);
                    }
                }
                (None, new)
            }
        }
    }

    /// Gives a member this score, which must not be NaN.
    pub fn add(&mut self, member: &[u8], score: f64, limits: ZSetLimits) -> Outcome {
        match self.put(member, limits, |_| Some(score)).0 {
            None => Outcome::Added,
            Some(old) if old == score => Outcome::Unchanged,
            Some(_) => Outcome::Updated,
        }
    }

    /// Adds members or changes their scores, faster than one by one where the set is big. A score must not be NaN.
    pub fn add_all<'m>(&mut self, members: impl IntoIterator<Item = (&'m [u8], f64)>, limits: ZSetLimits) {
        /// Members whose places are looked up together, so that their cache misses overlap.
        const TOGETHER: usize = 16;
        let mut members = members.into_iter();
        let mut some = Vec::with_capacity(TOGETHER);
        loop {
            some.clear();
            some.extend(members.by_ref().take(TOGETHER));
            if some.is_empty() {
                return;
            }
            if let EitherRef::B(table) = self.0.as_ref() {
                some.iter().for_each(|(member, _)| table.prefetch(member));
            }
            for (member, score) in &some {
                self.add(member, *score, limits);
            }
        }
    }

    /// Removes a member; its score if it was there.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self.0.as_mut() {
            EitherMut::A(compact) => {
                let (at, score) = small::find(compact, member)?;
                compact.remove_at(at, 2);
                Some(score)
            }
            EitherMut::B(table) => table.remove(member),
        }
    }

    // ---- by order ----

    /// The ranks of the members whose scores are in `range`.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let (start, end) = match self.0.as_ref() {
            EitherRef::A(compact) => small::ranks_by_score(compact, range),
            EitherRef::B(table) => (
                table.count_before(|score, _| range.is_before(score)),
                table.count_before(|score, _| !range.is_behind(score)),
            ),
        };
        start..end.max(start)
    }

    /// The ranks of the members that are in `range`, if all scores are equal. If they are not, just some ranks.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let (start, end) = match self.0.as_ref() {
            EitherRef::A(compact) => small::ranks_by_lex(compact, range),
            EitherRef::B(table) => (
                table.count_before(|_, member| range.is_before(member)),
                table.count_before(|_, member| !range.is_behind(member)),
            ),
        };
        start..end.max(start)
    }

    /// The members with these ranks, as far as they exist, in ascending order.
    pub fn ascending(&self, ranks: Range<usize>) -> Members<'_> {
        let ranks = self.clip(ranks);
        match self.0.as_ref() {
            EitherRef::A(compact) => Members::small_up(compact, ranks),
            EitherRef::B(table) => Members::big(table.ascending(ranks.start, ranks.len())),
        }
    }

    /// The members with these ranks, as far as they exist, the last one first.
    pub fn descending(&self, ranks: Range<usize>) -> Members<'_> {
        let ranks = self.clip(ranks);
        match self.0.as_ref() {
            EitherRef::A(compact) => Members::small_down(compact, ranks),
            EitherRef::B(table) => Members::big(table.descending(ranks.end.wrapping_sub(1), ranks.len())),
        }
    }

    /// All members in ascending order.
    pub fn iter(&self) -> Members<'_> {
        self.ascending(0..self.len())
    }

    /// Removes the members with these ranks, as far as they exist, and returns how many.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) -> usize {
        let ranks = self.clip(ranks);
        match self.0.as_mut() {
            EitherMut::A(compact) => compact.remove_range(ranks.start * 2, ranks.len() * 2),
            EitherMut::B(table) => table.remove_ranks(ranks.clone(), |_| ()),
        }
        ranks.len()
    }

    /// Visits some members and returns the cursor to go on from, 0 at the end: a member that is there from the first call
    /// (with cursor 0) to the last is visited at least once. A small set is visited at once.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Item<'a>, f64)) -> u64 {
        match self.0.as_ref() {
            EitherRef::A(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            EitherRef::B(table) => table.scan(cursor, |member, score| visit(Item::Str(member), score)),
        }
    }

    /// Makes a big set small if it has no more members than a small one may, and no longer ones.
    pub fn compact_if_small(&mut self, limits: ZSetLimits) {
        let EitherRef::B(table) = self.0.as_ref() else { return };
        if table.table().capture().is_some() {
            // A snapshot reads the table: it stays.
            return;
        }
        if table.len() > limits.entries
            || table.ascending(0, table.len()).any(|(member, _)| member.len() > limits.value)
        {
            return;
        }
        let mut compact = Compact::new();
        for (member, score) in table.ascending(0, table.len()) {
            if !small::has_room(&compact, member) {
                return;
            }
            small::push(&mut compact, member, score);
        }
        self.0 = Either::from_a(compact);
    }

    /// `ranks` as far as they exist.
    fn clip(&self, ranks: Range<usize>) -> Range<usize> {
        let end = ranks.end.min(self.len());
        ranks.start.min(end)..end
    }

    fn convert(&mut self) -> &mut ZTable {
        let mut table = ZTable::new();
        for (member, score) in self.iter() {
            member.with_bytes(|member| table.put(member, |_| Some(score)));
        }
        self.0 = Either::from_b(Box::new(table));
        match self.0.as_mut() {
            EitherMut::B(table) => table,
            EitherMut::A(_) => unreachable!("made big a line above"),
        }
    }
}

impl std::fmt::Debug for ZSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

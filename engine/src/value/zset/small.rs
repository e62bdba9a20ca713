//! The small form: member, score, member, score .. in one compact block, in order.
//!
//! A score stands there as an integer if it is one that doubles count exactly (and not -0). Every other one is a string: a
//! letter, so that it is never taken for a number, and the bytes of the double from its sign on, without the zero bytes at its
//! end: 1.5 takes 3 bytes, 0.1 takes 9.

use std::cmp::Ordering;

use super::range::{LexRange, ScoreRange};
use crate::encoding::compact::{Compact, Iter, Pos};
use crate::encoding::item::{Item, Scratch};

const DOUBLE: u8 = b'd';
/// Integers up to this are exact in a double, and so are their neighbours.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Most bytes of text that a score takes.
const SCORE_LEN_MAX: usize = 9;

/// A score on its way into the block.
enum Stored {
    Int(i64),
    Double([u8; SCORE_LEN_MAX], usize),
}

impl Stored {
    fn new(score: f64) -> Self {
        if score.abs() <= EXACT_MAX && score.fract() == 0.0 && (score != 0.0 || score.is_sign_positive()) {
            return Stored::Int(score as i64);
        }
        let mut text = [DOUBLE; SCORE_LEN_MAX];
        text[1..].copy_from_slice(&score.to_bits().to_be_bytes());
        let len = text.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
        Stored::Double(text, len)
    }

    fn item(&self) -> Item<'_> {
        match self {
            Stored::Int(int) => Item::Int(*int),
            Stored::Double(text, len) => Item::Str(&text[..*len]),
        }
    }
}

/// The score that an entry holds.
pub(super) fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(int) => int as f64,
        Item::Str(text) => {
            let mut bytes = [0; 8];
            for (to, from) in bytes.iter_mut().zip(text.iter().skip(1)) {
                *to = *from;
            }
            f64::from_bits(u64::from_be_bytes(bytes))
        }
    }
}

/// Where a member is, and its score.
pub(super) fn find(compact: &Compact, member: &[u8]) -> Option<(Pos, f64)> {
    let at = compact.find(compact.first()?, member, 1)?;
    Some((at, score_of(compact.at(compact.next(at)?))))
}

pub(super) fn rank(compact: &Compact, member: &[u8]) -> Option<usize> {
    let (at, _) = find(compact, member)?;
    Some(compact.iter_to(at).count() / 2)
}

/// Whether one more member of this length is within what a block can hold.
pub(super) fn has_room(compact: &Compact, member: &[u8]) -> bool {
    compact.has_room_for(entry_bytes_max(member.len()))
}

/// Bytes that a member of this length and its score take at most.
pub(super) fn entry_bytes_max(member_len: usize) -> usize {
    Compact::entry_bytes_max(member_len) + Compact::entry_bytes_max(SCORE_LEN_MAX)
}

/// Adds a member that is not there, in its place.
pub(super) fn insert(compact: &mut Compact, member: &[u8], score: f64) {
    let mut at = compact.first();
    while let Some(pos) = at
        && let Some(own) = compact.next(pos)
    {
        let order = score_of(compact.at(own)).partial_cmp(&score).unwrap_or(Ordering::Equal);
        if order.then_with(|| compact.at(pos).with_bytes(|bytes| bytes.cmp(member))).is_gt() {
            compact.insert_item_before(pos, Stored::new(score).item());
            compact.insert_before(pos, member);
            return;
        }
        at = compact.next(own);
    }
    push(compact, member, score);
}

/// Adds a member that is behind all others.
pub(super) fn push(compact: &mut Compact, member: &[u8], score: f64) {
    push_item(compact, Item::parse(member), score);
}

/// As [`push`], of a member that is parsed already.
pub(super) fn push_item(compact: &mut Compact, member: Item<'_>, score: f64) {
    compact.push_back_item(member);
    compact.push_back_item(Stored::new(score).item());
}

/// Members and scores from the front.
pub(super) fn pairs(mut entries: Iter<'_>) -> impl Iterator<Item = (Item<'_>, f64)> {
    std::iter::from_fn(move || Some((entries.next()?, score_of(entries.next()?))))
}

/// First rank in the range, first rank behind it.
pub(super) fn ranks_by_score(compact: &Compact, range: &ScoreRange) -> (usize, usize) {
    let (mut start, mut end) = (0, 0);
    for (_, score) in pairs(compact.iter()) {
        if range.is_behind(score) {
            break;
        }
        start += usize::from(range.is_before(score));
        end += 1;
    }
    (start, end)
}

/// First rank in the range, first rank behind it. With unequal scores: the first run of members in it, and none if the first
/// member is behind the range or the last one before it, as Redis has it.
pub(super) fn ranks_by_lex(compact: &Compact, range: &LexRange<'_>) -> (usize, usize) {
    let (Some(first), Some(last)) = (compact.get(0), compact.get(-2)) else { return (0, 0) };
    let mut scratch = Scratch::new();
    if range.is_behind(first.bytes_in(&mut scratch)) || range.is_before(last.bytes_in(&mut scratch)) {
        return (0, 0);
    }
    let start = pairs(compact.iter()).take_while(|(member, _)| range.is_before(member.bytes_in(&mut scratch))).count();
    let inside =
        pairs(compact.iter()).skip(start).take_while(|(member, _)| !range.is_behind(member.bytes_in(&mut scratch)));
    (start, start + inside.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_scores_take_few_bytes() {
        for (score, bytes) in [(7.0, 2), (1000.0, 3), (1.5, 5), (0.1, 11), (f64::INFINITY, 5), (-0.0, 4)] {
            let mut compact = Compact::new();
            compact.push_back_item(Stored::new(score).item());
            assert_eq!(compact.bytes(), bytes, "{score}");
        }
    }

    proptest! {
        #[test]
        fn every_score_comes_back_bit_for_bit(score in prop_oneof![
            any::<f64>(), any::<i64>().prop_map(|int| int as f64), (-5i32..5).prop_map(f64::from),
            prop::sample::select(vec![0.0, -0.0, EXACT_MAX, EXACT_MAX + 2.0, -EXACT_MAX, f64::INFINITY, f64::MIN_POSITIVE]),
        ]) {
            let mut compact = Compact::new();
            push(&mut compact, b"m", score);
            prop_assert_eq!(score_of(compact.get(1).unwrap()).to_bits(), score.to_bits());
        }
    }
}

//! Ranges of scores and of members, and the walk over what they cover.

use std::ops::Range;

use super::small::score_of;
use crate::encoding::compact::{Compact, Iter};
use crate::encoding::item::Item;
use crate::raw::ztable::Walk;

/// One end of a range of scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScoreBound {
    /// The score at the end; not NaN.
    pub score: f64,
    /// Whether the end itself is outside.
    pub exclusive: bool,
}

/// Scores from `min` to `max`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScoreRange {
    /// The lower end.
    pub min: ScoreBound,
    /// The upper end.
    pub max: ScoreBound,
}

impl ScoreRange {
    /// Both ends inside.
    pub fn closed(min: f64, max: f64) -> Self {
        let bound = |score| ScoreBound { score, exclusive: false };
        ScoreRange { min: bound(min), max: bound(max) }
    }

    /// Whether no score can be in it.
    pub fn is_empty(&self) -> bool {
        self.min.score > self.max.score
            || self.min.score == self.max.score && (self.min.exclusive || self.max.exclusive)
    }

    /// Whether `score` is before the range.
    pub fn is_before(&self, score: f64) -> bool {
        if self.min.exclusive { score <= self.min.score } else { score < self.min.score }
    }

    /// Whether `score` is behind the range.
    pub fn is_behind(&self, score: f64) -> bool {
        if self.max.exclusive { score >= self.max.score } else { score > self.max.score }
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LexBound<'a> {
    /// Before every member: `-`.
    Least,
    /// Behind every member: `+`.
    Greatest,
    /// This member, itself inside: `[member`.
    Inclusive(&'a [u8]),
    /// This member, itself outside: `(member`.
    Exclusive(&'a [u8]),
}

/// Members from `min` to `max`, among those of one score.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LexRange<'a> {
    /// The lower end.
    pub min: LexBound<'a>,
    /// The upper end.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether `member` is before the range.
    pub fn is_before(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Least => false,
            LexBound::Greatest => true,
            LexBound::Inclusive(min) => member < min,
            LexBound::Exclusive(min) => member <= min,
        }
    }

    /// Whether `member` is behind the range.
    pub fn is_behind(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Least => true,
            LexBound::Greatest => false,
            LexBound::Inclusive(max) => member > max,
            LexBound::Exclusive(max) => member >= max,
        }
    }
}

/// Members and scores of a range, in the order asked for. Knows how many are left.
pub struct Members<'a>(Inner<'a>);

enum Inner<'a> {
    SmallUp(Iter<'a>, usize),
    SmallDown(Iter<'a>, usize),
    Big(Walk<'a>),
}

impl<'a> Members<'a> {
    /// The ranks must exist.
    pub(super) fn small_up(compact: &'a Compact, ranks: Range<usize>) -> Self {
        let start = compact.seek(ranks.start as isize * 2);
        Members(Inner::SmallUp(start.map_or_else(|| compact.iter(), |at| compact.iter_from(at)), ranks.len()))
    }

    /// The ranks must exist.
    pub(super) fn small_down(compact: &'a Compact, ranks: Range<usize>) -> Self {
        let last = compact.seek(ranks.end as isize * 2 - 1);
        Members(Inner::SmallDown(last.map_or_else(|| compact.iter(), |at| compact.iter_to(at)), ranks.len()))
    }

    pub(super) fn big(walk: Walk<'a>) -> Self {
        Members(Inner::Big(walk))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Big(walk) => walk.next().map(|(member, score)| (Item::Str(member), score)),
            Inner::SmallUp(entries, left) => {
                *left = left.checked_sub(1)?;
                Some((entries.next()?, score_of(entries.next()?)))
            }
            Inner::SmallDown(entries, left) => {
                *left = left.checked_sub(1)?;
                let score = score_of(entries.next_back()?);
                Some((entries.next_back()?, score))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Inner::SmallUp(_, left) | Inner::SmallDown(_, left) => *left,
            Inner::Big(walk) => walk.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Members<'_> {}

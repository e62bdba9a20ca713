//! Ranges of sorted sets, by rank, by score and by member: read, counted, removed.
//!
//! Each is turned into an interval of ranks first, so the length of a reply is known before its elements, and LIMIT costs nothing.

use std::ops::Range;

use super::report_removed;
use super::store::put_as_added;
use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use crate::table::{Command, command};
use engine::value::ZSet;
use engine::value::zset::{LexBound, LexRange, ScoreBound, ScoreRange};
use resp::errors;
use resp::{Flags, KeySpec};

/// What the two bounds of a command mean.
#[derive(Clone, Copy)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range as asked for.
enum Asked<'a> {
    /// Both ends inclusive, negative from the end.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Asked<'a> {
    /// The range between arguments `min` and `max`.
    fn parse(ctx: &Ctx<'a, '_>, by: By, min: usize, max: usize) -> Result<Self, Error> {
        let (low, high) = (ctx.args.at(min), ctx.args.at(max));
        Ok(match by {
            By::Rank => Asked::Rank(ctx.int(min)?, ctx.int(max)?),
            By::Score => Asked::Score(score_range(low, high)?),
            By::Lex => {
                let range = lex_bound(low).zip(lex_bound(high)).map(|(min, max)| LexRange { min, max });
                Asked::Lex(range.ok_or(Error::Text(errors::MIN_MAX_NOT_STRING))?)
            }
        })
    }

    /// The ranks it covers, counted from the front, or from the back if `reverse`.
    fn ranks(&self, zset: &ZSet, reverse: bool) -> Range<usize> {
        let len = zset.len();
        let ranks = match self {
            Asked::Rank(start, end) => rank_span(*start, *end, len),
            Asked::Score(range) => return zset.ranks_by_score(range),
            Asked::Lex(range) => return zset.ranks_by_lex(range),
        };
        if reverse { len - ranks.end..len - ranks.start } else { ranks }
    }
}

/// The ranks that Redis means by `start` and `end`.
fn rank_span(start: i64, end: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_end = |rank: i64| if rank < 0 { rank.saturating_add(len) } else { rank };
    let (start, end) = (from_end(start).max(0), from_end(end));
    if start > end || start >= len { 0..0 } else { start as usize..end.min(len - 1) as usize + 1 }
}

/// A range of scores: numbers as C reads them, `(` before one that is outside itself.
pub(crate) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, Error> {
    let range = score_bound(min).zip(score_bound(max)).map(|(min, max)| ScoreRange { min, max });
    range.ok_or(Error::Text(errors::MIN_MAX_NOT_FLOAT))
}

fn score_bound(text: &[u8]) -> Option<ScoreBound> {
    let (exclusive, text) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let number = resp::strtod(text);
    let whole = text.get(number.len).is_none_or(|&byte| byte == 0);
    (whole && !number.value.is_nan()).then_some(ScoreBound { score: number.value, exclusive })
}

fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    // `-` and `+` may have a NUL behind them, where C's text ends.
    match text {
        [b'-'] | [b'-', 0, ..] => Some(LexBound::Least),
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Greatest),
        [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
        [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
        _ => None,
    }
}

/// WITHSCORES and LIMIT.
struct Options {
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl Options {
    /// The options from argument 4 on. ZRANGE takes WITHSCORES alone and at most once, by member there is only LIMIT.
    fn parse(ctx: &Ctx<'_, '_>, by: By) -> Result<Self, Error> {
        let mut options = Options { with_scores: false, offset: 0, limit: -1 };
        let mut at = 4;
        while at < ctx.args.len() {
            if !matches!(by, By::Lex) && ctx.args.is(at, "withscores") {
                options.with_scores = true;
                at += 1;
            } else if !matches!(by, By::Rank) && ctx.args.is(at, "limit") && at + 2 < ctx.args.len() {
                options.offset = ctx.int(at + 1)?;
                options.limit = ctx.int(at + 2)?;
                at += 3;
            } else {
                return Err(Error::Text(errors::SYNTAX));
            }
        }
        if matches!(by, By::Rank) && ctx.args.len() > 5 {
            return Err(Error::Text(errors::SYNTAX));
        }
        Ok(options)
    }

    /// What LIMIT leaves of `ranks`, counted from their front, or from their back if `reverse`.
    fn cut(&self, ranks: Range<usize>, reverse: bool) -> Range<usize> {
        // A negative offset skips everything.
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let take = usize::try_from(self.limit).unwrap_or(usize::MAX).min(ranks.len() - skip);
        if reverse {
            let end = ranks.end - skip;
            end - take..end
        } else {
            let start = ranks.start + skip;
            start..start + take
        }
    }
}

fn reply_range(ctx: &mut Ctx<'_, '_>, by: By, reverse: bool) -> Outcome {
    // By score and by member a reversed range is given as max and min.
    let (min, max) = if reverse && !matches!(by, By::Rank) { (3, 2) } else { (2, 3) };
    let asked = Asked::parse(ctx, by, min, max)?;
    let options = Options::parse(ctx, by)?;
    let key = ctx.key(1);
    let Some(zset) = ctx.keys.collection::<ZSet>(&key)? else {
        ctx.out.array(0);
        return Ok(());
    };
    let ranks = options.cut(asked.ranks(zset, reverse), reverse);
    ctx.out.array(ranks.len() * if options.with_scores { 2 } else { 1 });
    let members = if reverse { zset.descending(ranks) } else { zset.ascending(ranks) };
    for (member, score) in members {
        reply_item(ctx.out, member);
        if options.with_scores {
            ctx.out.double_bulk(score);
        }
    }
    Ok(())
}

/// ZRANGESTORE destination source min max [BYSCORE|BYLEX] [REV] [LIMIT offset count], of Redis 6.2.
pub(crate) fn zrangestore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (mut by, mut reverse) = (By::Rank, false);
    let mut options = Options { with_scores: false, offset: 0, limit: -1 };
    let mut at = 5;
    while at < ctx.args.len() {
        match () {
            () if ctx.args.is(at, "byscore") => by = By::Score,
            () if ctx.args.is(at, "bylex") => by = By::Lex,
            () if ctx.args.is(at, "rev") => reverse = true,
            () if ctx.args.is(at, "limit") && at + 2 < ctx.args.len() => {
                (options.offset, options.limit) = (ctx.int(at + 1)?, ctx.int(at + 2)?);
                at += 2;
            }
            () => return Err(Error::Text(errors::SYNTAX)),
        }
        at += 1;
    }
    let (min, max) = if reverse && !matches!(by, By::Rank) { (4, 3) } else { (3, 4) };
    let asked = Asked::parse(ctx, by, min, max)?;
    let (destination, source) = (ctx.key(1), ctx.key(2));
    let mut result = ZSet::new();
    let limits = ctx.settings.zset;
    if let Some(zset) = ctx.keys.collection::<ZSet>(&source)? {
        let ranks = options.cut(asked.ranks(zset, reverse), reverse);
        zset.ascending(ranks).for_each(|(member, score)| {
            member.with_bytes(|member| result.add(member, score, limits));
        });
    }
    ctx.out.int(result.len() as i64);
    put_as_added(ctx, &destination, result, "zrangestore");
    Ok(())
}

fn count(ctx: &mut Ctx<'_, '_>, by: By) -> Outcome {
    let asked = Asked::parse(ctx, by, 2, 3)?;
    let count = ctx.keys.collection::<ZSet>(&ctx.key(1))?.map_or(0, |zset| asked.ranks(zset, false).len());
    ctx.out.int(count as i64);
    Ok(())
}

fn remove(ctx: &mut Ctx<'_, '_>, by: By, event: &'static str) -> Outcome {
    let asked = Asked::parse(ctx, by, 2, 3)?;
    let key = ctx.key(1);
    let removed = match ctx.keys.collection_mut::<ZSet>(&key)? {
        Some(zset) => {
            let ranks = asked.ranks(zset, false);
            zset.remove_ranks(ranks)
        }
        None => 0,
    };
    report_removed(ctx, &key, removed, event);
    ctx.out.int(removed as i64);
    Ok(())
}

fn zrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_range(ctx, By::Rank, false)
}

fn zrevrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_range(ctx, By::Rank, true)
}

fn zrangebyscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_range(ctx, By::Score, false)
}

fn zrevrangebyscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_range(ctx, By::Score, true)
}

fn zrangebylex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_range(ctx, By::Lex, false)
}

fn zrevrangebylex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_range(ctx, By::Lex, true)
}

fn zcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    count(ctx, By::Score)
}

fn zlexcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    count(ctx, By::Lex)
}

fn zremrangebyrank(ctx: &mut Ctx<'_, '_>) -> Outcome {
    remove(ctx, By::Rank, "zremrangebyrank")
}

fn zremrangebyscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    remove(ctx, By::Score, "zremrangebyscore")
}

fn zremrangebylex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    remove(ctx, By::Lex, "zremrangebylex")
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const FAST: Flags = Flags::FAST;
const ONE: KeySpec = KeySpec::FIRST;

pub(crate) static TABLE: &[Command] = &[
    command("zrange", -4, ONE, READ, zrange),
    command("zrevrange", -4, ONE, READ, zrevrange),
    command("zrangebyscore", -4, ONE, READ, zrangebyscore),
    command("zrevrangebyscore", -4, ONE, READ, zrevrangebyscore),
    command("zrangebylex", -4, ONE, READ, zrangebylex),
    command("zrevrangebylex", -4, ONE, READ, zrevrangebylex),
    command("zcount", 4, ONE, READ.or(FAST), zcount),
    command("zlexcount", 4, ONE, READ.or(FAST), zlexcount),
    command("zremrangebyrank", 4, ONE, WRITE, zremrangebyrank),
    command("zremrangebyscore", 4, ONE, WRITE, zremrangebyscore),
    command("zremrangebylex", 4, ONE, WRITE, zremrangebylex),
];

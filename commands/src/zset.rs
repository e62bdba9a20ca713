//! Sorted sets: members, scores and ranks. Ranges are in `range`, what is stored from several keys in `store`.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use crate::scan::{self, ScanOptions};
use crate::table::{Command, command};
use engine::effects::class::{GENERIC, ZSET};
use engine::keyspace::Key;
use engine::value::ZSet;
use engine::value::zset::Outcome as Added;
use resp::errors;
use resp::{Flags, KeySpec};
use std::cmp::Ordering;

pub(crate) mod range;
pub(crate) mod store;
#[cfg(test)]
mod tests;

pub(crate) use range::zrangestore;
pub(crate) use store::zdiffstore;

/// What ZADD's options ask for.
#[derive(Clone, Copy, Default)]
struct AddOptions {
    only_new: bool,
    only_old: bool,
    count_changed: bool,
    increment: bool,
    /// A score that is there changes this way only.
    only_to: Option<Ordering>,
}

fn zadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    add_with(ctx, AddOptions::default())
}

fn zincrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    add_with(ctx, AddOptions { increment: true, ..AddOptions::default() })
}

/// ZADD and ZINCRBY. The latter takes ZADD's options too, as long as its arity leaves room: none.
fn add_with(ctx: &mut Ctx<'_, '_>, mut options: AddOptions) -> Outcome {
    let (mut first, newer) = (2, ctx.keys.is_from_primary());
    loop {
        match () {
            () if ctx.args.is(first, "nx") => options.only_new = true,
            () if ctx.args.is(first, "xx") => options.only_old = true,
            () if ctx.args.is(first, "ch") => options.count_changed = true,
            () if ctx.args.is(first, "incr") => options.increment = true,
            // What a newer primary may send besides.
            () if newer && ctx.args.is(first, "gt") => options.only_to = Some(Ordering::Greater),
            () if newer && ctx.args.is(first, "lt") => options.only_to = Some(Ordering::Less),
            () => break,
        }
        first += 1;
    }
    let words = ctx.args.len() - first;
    if words == 0 || !words.is_multiple_of(2) {
        return Err(Error::Text(errors::SYNTAX));
    }
    if options.only_new && options.only_old {
        return Err(Error::Text("ERR XX and NX options at the same time are not compatible"));
    }
    if options.increment && words > 2 {
        return Err(Error::Text("ERR INCR option supports a single increment-element pair"));
    }
    let (one, many);
    let scores: &[f64] = if words == 2 {
        one = [ctx.float(first)?];
        &one
    } else {
        many = (first..ctx.args.len()).step_by(2).map(|at| ctx.float(at)).collect::<Result<Vec<_>, _>>()?;
        &many
    };
    let key = ctx.key(1);
    let limits = ctx.settings.zset;
    let zset = if options.only_old {
        ctx.keys.collection_mut::<ZSet>(&key)?
    } else {
        Some(ctx.keys.collection_or_insert::<ZSet>(&key)?)
    };
    let (mut added, mut updated, mut score, mut not_a_number) = (0u64, 0u64, None, false);
    if let Some(zset) = zset {
        for (&given, at) in scores.iter().zip((first + 1..).step_by(2)) {
            let (old, new) = zset.put(ctx.args.at(at), limits, |old| match old {
                None => (!options.only_old).then_some(given),
                Some(_) if options.only_new => None,
                Some(old) => {
                    let new = if options.increment { old + given } else { given };
                    not_a_number = new.is_nan();
                    let may = options.only_to.is_none() || new.partial_cmp(&old) == options.only_to;
                    (!not_a_number && may).then_some(new)
                }
            });
            score = new;
            added += u64::from(old.is_none() && new.is_some());
            updated += u64::from(old.is_some() && new.is_some() && old != new);
        }
    }
    if added + updated > 0 {
        ctx.keys.changed(&key, ZSET, if options.increment { "zincr" } else { "zadd" });
        ctx.keys.dirty(added + updated - 1);
    }
    match (options.increment, score) {
        _ if not_a_number => return Err(Error::Text(errors::SCORE_NAN)),
        (true, Some(score)) => ctx.out.double_bulk(score),
        (true, None) => ctx.out.null_bulk(),
        (false, _) => ctx.out.int((if options.count_changed { added + updated } else { added }) as i64),
    }
    Ok(())
}

/// ZADD without options, on scores computed elsewhere; returns how many members are new.
pub(crate) fn add_scores(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, scored: &[(f64, &[u8])]) -> Result<u64, Error> {
    let limits = ctx.settings.zset;
    let zset = ctx.keys.collection_or_insert::<ZSet>(key)?;
    let (mut added, mut updated) = (0, 0);
    for &(score, member) in scored {
        match zset.add(member, score, limits) {
            Added::Added => added += 1,
            Added::Updated => updated += 1,
            Added::Unchanged => {}
        }
    }
    if added + updated > 0 {
        ctx.keys.changed(key, ZSET, "zadd");
        ctx.keys.dirty(added + updated - 1);
    }
    Ok(added)
}

fn zrem(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let mut removed = 0;
    if let Some(zset) = ctx.keys.collection_mut::<ZSet>(&key)? {
        removed = ctx.args.from(2).iter().filter(|member| zset.remove(member).is_some()).count();
    }
    report_removed(ctx, &key, removed, "zrem");
    ctx.out.int(removed as i64);
    Ok(())
}

/// Counts and notifies the removal of `removed` members, and removes the key with the last one.
fn report_removed(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, removed: usize, event: &'static str) {
    if removed > 0 {
        ctx.keys.changed(key, ZSET, event);
        ctx.keys.dirty(removed as u64 - 1);
        if ctx.keys.remove_if_empty::<ZSet>(key) {
            ctx.keys.notify(key, GENERIC, "del");
        }
    }
}

fn zcard(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let len = ctx.keys.collection::<ZSet>(&ctx.key(1))?.map_or(0, ZSet::len);
    ctx.out.int(len as i64);
    Ok(())
}

fn zscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    match ctx.keys.collection::<ZSet>(&key)?.and_then(|zset| zset.score(ctx.args.at(2))) {
        Some(score) => ctx.out.double_bulk(score),
        None => ctx.out.null_bulk(),
    }
    Ok(())
}

fn zrank(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_rank(ctx, |_, rank| rank)
}

fn zrevrank(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_rank(ctx, |len, rank| len - 1 - rank)
}

fn reply_rank(ctx: &mut Ctx<'_, '_>, of: fn(usize, usize) -> usize) -> Outcome {
    let key = ctx.key(1);
    let rank =
        ctx.keys.collection::<ZSet>(&key)?.and_then(|zset| zset.rank(ctx.args.at(2)).map(|rank| of(zset.len(), rank)));
    match rank {
        Some(rank) => ctx.out.int(rank as i64),
        None => ctx.out.null_bulk(),
    }
    Ok(())
}

fn zscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let cursor = scan::cursor(ctx.args.at(2))?;
    let key = ctx.key(1);
    let Some(zset) = ctx.keys.collection::<ZSet>(&key)? else {
        scan::reply_empty(ctx.out);
        return Ok(());
    };
    let options = ScanOptions::parse(ctx.args, 3)?;
    let (next, found) = options.collect(cursor, |cursor, visit| zset.scan(cursor, visit));
    scan::reply_header(ctx.out, next, found.len() * 2);
    for (member, score) in found {
        reply_item(ctx.out, member);
        ctx.out.double_bulk(score);
    }
    Ok(())
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const FAST: Flags = Flags::FAST;
const ONE: KeySpec = KeySpec::FIRST;

pub(crate) static TABLE: &[Command] = &[
    command("zadd", -4, ONE, GROWS.or(FAST), zadd),
    command("zincrby", 4, ONE, GROWS.or(FAST), zincrby),
    command("zrem", -3, ONE, WRITE.or(FAST), zrem),
    command("zcard", 2, ONE, READ.or(FAST), zcard),
    command("zscore", 3, ONE, READ.or(FAST), zscore),
    command("zrank", 3, ONE, READ.or(FAST), zrank),
    command("zrevrank", 3, ONE, READ.or(FAST), zrevrank),
    command("zscan", -3, ONE, READ.or(Flags::RANDOM), zscan),
];

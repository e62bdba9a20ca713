//! SPOP and SRANDMEMBER.

use super::delete_if_empty;
use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use engine::effects::class::SET;
use engine::encoding::item::Item;
use engine::keyspace::Key;
use engine::random::SplitMix;
use engine::value::Set;
use engine::value::set::Taken;
use foldhash::fast::FixedState;
use resp::errors;
use std::collections::HashSet;

pub(super) fn spop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.args.len() {
        2 => spop_one(ctx),
        3 => spop_many(ctx),
        _ => Err(Error::Text(errors::SYNTAX)),
    }
}

fn spop_one(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let mut random = SplitMix::new(ctx.keys.random());
    let Some(taken) = ctx.keys.collection_mut::<Set>(&key)?.and_then(|set| set.pop(|| random.next())) else {
        ctx.out.null_bulk();
        return Ok(());
    };
    reply_item(ctx.out, taken.item());
    ctx.keys.changed(&key, SET, "spop");
    log_removal(ctx, &key, taken.item());
    delete_if_empty(ctx, &key);
    Ok(())
}

/// A random choice is logged as what was chosen.
fn log_removal(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, member: Item<'_>) {
    let effects = ctx.keys.effects();
    member.with_bytes(|member| effects.log_instead(&[b"SREM", key.bytes, member]));
}

/// SPOP with a count.
fn spop_many(ctx: &mut Ctx<'_, '_>) -> Outcome {
    /// From a set that keeps less than one in so many members, those that stay are taken out instead of those that go.
    const FEW: usize = 5;
    let count = usize::try_from(ctx.int(2)?).map_err(|_| Error::Text(errors::INDEX_OUT_OF_RANGE))?;
    let (key, intset_entries) = (ctx.key(1), ctx.settings.set_max_intset_entries);
    let mut random = SplitMix::new(ctx.keys.random());
    // With a count it is a hit or a miss, as in the original.
    ctx.keys.collection::<Set>(&key)?;
    let Some(set) = ctx.keys.collection_mut::<Set>(&key)?.filter(|_| count > 0) else {
        ctx.out.array(0);
        return Ok(());
    };
    let len = set.len();
    if count >= len {
        let all = std::mem::take(set);
        ctx.out.array(len);
        all.iter().for_each(|item| reply_item(ctx.out, item));
        ctx.keys.changed(&key, SET, "spop");
        ctx.keys.dirty(len as u64);
        ctx.keys.effects().log_instead(&[b"DEL", key.bytes]);
        delete_if_empty(ctx, &key);
        return Ok(());
    }
    ctx.out.array(count);
    let rest = len - count;
    if rest * FEW > count {
        let taken: Vec<Taken> = (0..count).map_while(|_| set.pop(|| random.next())).collect();
        report_popped(ctx, &key, taken.iter().map(Taken::item));
    } else {
        let mut kept = Set::new();
        for _ in 0..rest {
            if let Some(taken) = set.pop(|| random.next()) {
                taken.item().with_bytes(|member| kept.add(member, intset_entries));
            }
        }
        let gone = std::mem::replace(set, kept);
        report_popped(ctx, &key, gone.iter());
    }
    Ok(())
}

/// Replies with the members that SPOP took, but for the array's header, and reports their going.
fn report_popped<'m>(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, members: impl Iterator<Item = Item<'m>>) {
    /// Members of one SREM in the log: a transaction of one for each of millions is much to ask of who queues it.
    const AT_ONCE: usize = 1024;
    ctx.keys.changed(key, SET, "spop");
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for member in members {
        reply_item(ctx.out, member);
        ctx.keys.dirty(1);
        if ctx.keys.effects().logging {
            member.with_bytes(|member| text.extend_from_slice(member));
            ends.push(text.len());
        }
        if ends.len() == AT_ONCE {
            log_removals(ctx, key, &text, &ends);
            text.clear();
            ends.clear();
        }
    }
    if !ends.is_empty() {
        log_removals(ctx, key, &text, &ends);
    }
}

/// Logs the going of the members that stand in `text` up to `ends`.
fn log_removals(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, text: &[u8], ends: &[usize]) {
    let mut words: Vec<&[u8]> = vec![b"SREM", key.bytes];
    let mut start = 0;
    for &end in ends {
        words.push(&text[start..end]);
        start = end;
    }
    ctx.keys.effects().log_instead(&words);
}

pub(super) fn srandmember(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.args.len() {
        2 => {
            let mut random = SplitMix::new(ctx.keys.random());
            let set = ctx.keys.collection::<Set>(&ctx.key(1))?;
            match set.and_then(|set| set.random(|| random.next())) {
                Some(item) => reply_item(ctx.out, item),
                None => ctx.out.null_bulk(),
            }
            Ok(())
        }
        3 => srandmember_many(ctx),
        _ => Err(Error::Text(errors::SYNTAX)),
    }
}

/// SRANDMEMBER with a count: so many different members, or, if it is negative, so many that may be equal.
fn srandmember_many(ctx: &mut Ctx<'_, '_>) -> Outcome {
    /// A set of fewer than so many times the members asked for is walked once; from a larger one they are drawn.
    const SMALL: usize = 3;
    let count = ctx.int(2)?;
    let mut random = SplitMix::new(ctx.keys.random());
    let Some(set) = ctx.keys.collection::<Set>(&ctx.key(1))?.filter(|_| count != 0) else {
        ctx.out.array(0);
        return Ok(());
    };
    let (wanted, out) = (usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX), &mut *ctx.out);
    if count < 0 {
        // The original would go on for years; nobody can read so long an array.
        if count < -i64::from(i32::MAX) {
            return Err(Error::Text(errors::INDEX_OUT_OF_RANGE));
        }
        out.array(wanted);
        (0..wanted).filter_map(|_| set.random(|| random.next())).for_each(|item| reply_item(out, item));
    } else if wanted >= set.len() {
        out.array(set.len());
        set.iter().for_each(|item| reply_item(out, item));
    } else if wanted.saturating_mul(SMALL) > set.len() {
        // Selection sampling: each member is taken with the chance that makes every choice equally likely.
        out.array(wanted);
        let mut missing = wanted;
        for (i, item) in set.iter().enumerate() {
            if random.below(set.len() - i) < missing {
                missing -= 1;
                reply_item(out, item);
            }
        }
    } else {
        out.array(wanted);
        let mut drawn = HashSet::with_capacity_and_hasher(wanted, FixedState::default());
        while drawn.len() < wanted {
            let Some(item) = set.random(|| random.next()) else { break };
            // A member of a big set is known by its place in memory.
            let identity = match item {
                Item::Int(int) => int as u64,
                Item::Str(bytes) => bytes.as_ptr().addr() as u64,
            };
            if drawn.insert(identity) {
                reply_item(out, item);
            }
        }
    }
    Ok(())
}

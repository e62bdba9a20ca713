//! Sets: single members and walks here; random members and the algebra of several sets in files of their own.

use crate::ctx::Ctx;
use crate::error::Outcome;
use crate::reply::reply_item;
use crate::scan::{self, ScanOptions};
use crate::table::{Command, command};
use engine::effects::class::{GENERIC, SET};
use engine::keyspace::Key;
use engine::value::Set;
use resp::{Flags, KeySpec};

mod algebra;
mod random;

fn sadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, intset_entries) = (ctx.key(1), ctx.settings.set_max_intset_entries);
    let set = ctx.keys.collection_or_insert::<Set>(&key)?;
    let mut added = 0;
    for member in ctx.args.from(2).iter() {
        added += u64::from(set.add(member, intset_entries));
    }
    if added > 0 {
        ctx.keys.changed(&key, SET, "sadd");
        ctx.keys.dirty(added - 1);
    }
    ctx.out.int(added as i64);
    Ok(())
}

fn srem(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let mut removed = 0;
    if let Some(set) = ctx.keys.collection_mut::<Set>(&key)? {
        for member in ctx.args.from(2).iter() {
            removed += u64::from(set.remove(member));
        }
    }
    if removed > 0 {
        ctx.keys.changed(&key, SET, "srem");
        ctx.keys.dirty(removed - 1);
        delete_if_empty(ctx, &key);
    }
    ctx.out.int(removed as i64);
    Ok(())
}

fn delete_if_empty(ctx: &mut Ctx<'_, '_>, key: &Key<'_>) {
    if ctx.keys.remove_if_empty::<Set>(key) {
        ctx.keys.notify(key, GENERIC, "del");
    }
}

fn smove(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (from, to, member) = (ctx.key(1), ctx.key(2), ctx.args.at(3));
    let intset_entries = ctx.settings.set_max_intset_entries;
    ctx.keys.look(&from);
    ctx.keys.look(&to);
    let moved = match ctx.keys.collection_at::<Set>(&from)? {
        None => false,
        Some(set) => {
            let present = set.contains(member);
            ctx.keys.collection_at::<Set>(&to)?;
            if from.bytes == to.bytes {
                ctx.out.int(present.into());
                return Ok(());
            }
            present
        }
    };
    if moved {
        if let Some(set) = ctx.keys.collection_mut::<Set>(&from)? {
            set.remove(member);
        }
        ctx.keys.changed(&from, SET, "srem");
        delete_if_empty(ctx, &from);
        if ctx.keys.collection_or_insert::<Set>(&to)?.add(member, intset_entries) {
            ctx.keys.changed(&to, SET, "sadd");
        }
    }
    ctx.out.int(moved.into());
    Ok(())
}

fn sismember(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let set = ctx.keys.collection::<Set>(&ctx.key(1))?;
    ctx.out.int(set.is_some_and(|set| set.contains(ctx.args.at(2))).into());
    Ok(())
}

fn scard(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let len = ctx.keys.collection::<Set>(&ctx.key(1))?.map_or(0, Set::len);
    ctx.out.int(len as i64);
    Ok(())
}

fn sscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let cursor = scan::cursor(ctx.args.at(2))?;
    let Some(set) = ctx.keys.collection::<Set>(&ctx.key(1))? else {
        scan::reply_empty(ctx.out);
        return Ok(());
    };
    // After the look-up: a key that is not there hides what is wrong with the options.
    let options = ScanOptions::parse(ctx.args, 3)?;
    let (next, found) = options.collect(cursor, |cursor, visit| set.scan(cursor, |member| visit(member, ())));
    scan::reply_header(ctx.out, next, found.len());
    found.into_iter().for_each(|(member, ())| reply_item(ctx.out, member));
    Ok(())
}

const READ: Flags = Flags::READONLY;
const FAST: Flags = Flags::FAST;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const RANDOM: Flags = Flags::RANDOM;
const SORTED: Flags = Flags::READONLY.or(Flags::SORT_FOR_SCRIPT);
const ONE: KeySpec = KeySpec::FIRST;
const ALL: KeySpec = KeySpec::range(1, -1, 1);

pub(crate) static TABLE: &[Command] = &[
    command("sadd", -3, ONE, GROWS.or(FAST), sadd),
    command("srem", -3, ONE, WRITE.or(FAST), srem),
    command("smove", 4, KeySpec::range(1, 2, 1), WRITE.or(FAST), smove),
    command("sismember", 3, ONE, READ.or(FAST), sismember),
    command("scard", 2, ONE, READ.or(FAST), scard),
    command("spop", -2, ONE, WRITE.or(RANDOM).or(FAST), random::spop),
    command("srandmember", -2, ONE, READ.or(RANDOM), random::srandmember),
    command("sinter", -2, ALL, SORTED, algebra::sinter),
    command("sinterstore", -3, ALL, GROWS, algebra::sinterstore),
    command("sunion", -2, ALL, SORTED, algebra::sunion),
    command("sunionstore", -3, ALL, GROWS, algebra::sunionstore),
    command("sdiff", -2, ALL, SORTED, algebra::sdiff),
    command("sdiffstore", -3, ALL, GROWS, algebra::sdiffstore),
    command("smembers", 2, ONE, SORTED, algebra::sinter),
    command("sscan", -3, ONE, READ.or(RANDOM), sscan),
];

#[cfg(test)]
mod tests;

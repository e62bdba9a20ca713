//! Strings: whole values, ranges and counters.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::table::{Command, command};
use engine::effects::class::{GENERIC, STRING};
use engine::keyspace::{Key, SetExpire, Text};
use engine::raw::entry::Body;
use resp::LongDouble;
use resp::errors;
use resp::{Flags, KeySpec};
use resp::{format_i64, parse_i64};

/// The longest string: 512 MB.
pub const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Refuses lengths over [`STRING_BYTES_MAX`].
pub fn check_len(len: u64) -> Outcome {
    if len > STRING_BYTES_MAX as u64 { Err(Error::Text(errors::STRING_TOO_LONG)) } else { Ok(()) }
}

fn reply_text(ctx: &mut Ctx<'_, '_>, key: &Key<'_>) -> Outcome {
    match ctx.keys.text(key)? {
        None => ctx.out.null_bulk(),
        Some(Text::Bytes(bytes)) => ctx.out.bulk(bytes),
        Some(Text::Int(n)) => ctx.out.bulk_int(n),
    }
    Ok(())
}

fn get(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    reply_text(ctx, &key)
}

/// A relative expiry in the unit given by `factor` (milliseconds a unit), as an absolute time.
fn expire_at(ctx: &Ctx<'_, '_>, argument: usize, factor: i64) -> Result<i64, Error> {
    let amount = ctx.int(argument)?;
    let at = (amount > 0).then(|| amount.checked_mul(factor)?.checked_add(ctx.keys.moment().ms)).flatten();
    at.ok_or_else(|| {
        let name = String::from_utf8_lossy(ctx.args.at(0)).to_ascii_lowercase();
        format!("ERR invalid expire time in {name}").into()
    })
}

/// Stores argument `value` with an optional expiry, and logs the expiry as an absolute time.
fn store(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, value: &[u8], expire_at_ms: Option<i64>) {
    store_as(ctx, b"SET", key, value, expire_at_ms);
}

/// As [`store`]; with an expiry it is logged under this name of SET, which the server may have renamed.
fn store_as(ctx: &mut Ctx<'_, '_>, name: &[u8], key: &Key<'_>, value: &[u8], expire_at_ms: Option<i64>) {
    ctx.keys.put_text(key, value, expire_at_ms.map_or(SetExpire::Clear, SetExpire::At));
    ctx.keys.changed(key, STRING, "set");
    if let Some(at) = expire_at_ms {
        log_set(ctx, name, key, value, Some(at));
        ctx.keys.notify(key, GENERIC, "expire");
    }
}

/// Logs a plain SET, and the expiry if there is one.
fn log_set(ctx: &mut Ctx<'_, '_>, name: &[u8], key: &Key<'_>, value: &[u8], expire_at_ms: Option<i64>) {
    let effects = ctx.keys.effects();
    if !effects.logging {
        return;
    }
    effects.log_instead(&[name, key.bytes, value]);
    if let Some(at) = expire_at_ms {
        let mut digits = Vec::new();
        format_i64(at, &mut digits);
        effects.log_instead(&[b"PEXPIREAT", key.bytes, &digits]);
    }
}

fn set(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, value) = (ctx.key(1), ctx.args.at(2));
    let (mut only_new, mut only_old, mut unit) = (false, false, None);
    // What a newer primary may send besides.
    let (newer, mut keep, mut until) = (ctx.keys.is_from_primary(), false, None);
    let mut i = 3;
    while i < ctx.args.len() {
        if ctx.args.is(i, "nx") && !only_old {
            only_new = true;
        } else if ctx.args.is(i, "xx") && !only_new {
            only_old = true;
        } else if (ctx.args.is(i, "ex") || ctx.args.is(i, "px")) && unit.is_none() && i + 1 < ctx.args.len() {
            unit = Some((i + 1, if ctx.args.is(i, "ex") { 1000 } else { 1 }));
            i += 1;
        } else if newer && ctx.args.is(i, "keepttl") {
            keep = true;
        } else if newer && (ctx.args.is(i, "pxat") || ctx.args.is(i, "exat")) && i + 1 < ctx.args.len() {
            until = Some(ctx.int(i + 1)?.saturating_mul(if ctx.args.is(i, "exat") { 1000 } else { 1 }));
            i += 1;
        } else if !newer || !ctx.args.is(i, "get") {
            return Err(Error::Text(errors::SYNTAX));
        }
        i += 1;
    }
    if keep {
        ctx.keys.put_text(&key, value, SetExpire::Keep);
        ctx.keys.changed(&key, STRING, "set");
        ctx.out.ok();
        return Ok(());
    }
    let at = unit.map(|(argument, factor)| expire_at(ctx, argument, factor)).transpose()?.or(until);
    if (only_new || only_old) && ctx.keys.look(&key).is_some() != only_old {
        ctx.out.null_bulk();
        return Ok(());
    }
    store_as(ctx, ctx.args.at(0), &key, value, at);
    ctx.out.ok();
    Ok(())
}

/// SET and PEXPIREAT of a primary's transaction as one: name, key, value, moment. They do what the two do, whatever the moment is.
pub fn set_until(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let at = ctx.int(3);
    store_as(ctx, ctx.args.at(0), &ctx.key(1), ctx.args.at(2), at.as_ref().ok().copied());
    at.map(|_| ctx.out.ok())
}

fn setnx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let new = ctx.keys.look(&key).is_none();
    if new {
        store(ctx, &key, ctx.args.at(2), None);
    }
    ctx.out.int(new.into());
    Ok(())
}

fn setex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    set_expiring(ctx, 1000)
}

fn psetex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    set_expiring(ctx, 1)
}

fn set_expiring(ctx: &mut Ctx<'_, '_>, factor: i64) -> Outcome {
    let at = expire_at(ctx, 2, factor)?;
    store(ctx, &ctx.key(1), ctx.args.at(3), Some(at));
    ctx.out.ok();
    Ok(())
}

fn getset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, value) = (ctx.key(1), ctx.args.at(2));
    reply_text(ctx, &key)?;
    store(ctx, &key, value, None);
    log_set(ctx, b"SET", &key, value, None);
    Ok(())
}

fn mget(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.out.array(ctx.args.len() - 1);
    for i in 1..ctx.args.len() {
        let key = ctx.key(i);
        if reply_text(ctx, &key).is_err() {
            ctx.out.null_bulk();
        }
    }
    Ok(())
}

fn check_pairs(ctx: &Ctx<'_, '_>) -> Outcome {
    if ctx.args.len().is_multiple_of(2) {
        return Err(Error::Text("ERR wrong number of arguments for MSET"));
    }
    Ok(())
}

fn set_pairs(ctx: &mut Ctx<'_, '_>) {
    for i in (1..ctx.args.len()).step_by(2) {
        let key = ctx.key(i);
        ctx.keys.put_text(&key, ctx.args.at(i + 1), SetExpire::Clear);
        ctx.keys.changed(&key, STRING, "set");
    }
}

fn mset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    check_pairs(ctx)?;
    set_pairs(ctx);
    ctx.out.ok();
    Ok(())
}

fn msetnx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    check_pairs(ctx)?;
    // All of them are looked at: each counts as used.
    let there = (1..ctx.args.len()).step_by(2).filter(|&i| ctx.keys.look(&ctx.key(i)).is_some()).count();
    if there == 0 {
        set_pairs(ctx);
    }
    ctx.out.int((there == 0).into());
    Ok(())
}

fn strlen(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let len = ctx.keys.text(&ctx.key(1))?.map_or(0, Text::len);
    ctx.out.int(len as i64);
    Ok(())
}

fn append(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, tail) = (ctx.key(1), ctx.args.at(2));
    let Some(old) = ctx.keys.text_to_change(&key)?.map(Text::len) else {
        ctx.keys.put_text(&key, tail, SetExpire::Clear);
        ctx.keys.changed(&key, STRING, "append");
        ctx.out.int(tail.len() as i64);
        return Ok(());
    };
    let len = old + tail.len();
    check_len(len as u64)?;
    ctx.keys.edit_text(&key, len, |bytes| bytes[old..].copy_from_slice(tail))?;
    ctx.keys.changed(&key, STRING, "append");
    ctx.out.int(len as i64);
    Ok(())
}

fn setrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, offset, part) = (ctx.key(1), ctx.int(2)?, ctx.args.at(3));
    let Ok(offset) = usize::try_from(offset) else { return Err(Error::Text(errors::OFFSET_OUT_OF_RANGE)) };
    let old = ctx.keys.text_to_change(&key)?.map_or(0, Text::len);
    if part.is_empty() {
        ctx.out.int(old as i64);
        return Ok(());
    }
    let end = offset as u64 + part.len() as u64;
    check_len(end)?;
    let len = old.max(end as usize);
    ctx.keys.edit_text(&key, len, |bytes| bytes[offset..offset + part.len()].copy_from_slice(part))?;
    ctx.keys.changed(&key, STRING, "setrange");
    ctx.out.int(len as i64);
    Ok(())
}

/// The part of a sequence of `len` elements that Redis means by `start` and `end`, both inclusive, negative from the
/// end. Empty when they miss it.
pub fn span(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let from_end = |i: i64| if i < 0 { i.saturating_add(len).max(0) } else { i };
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end || len == 0 { 0..0 } else { start as usize..end as usize + 1 }
}

fn getrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (start, end) = (ctx.int(2)?, ctx.int(3)?);
    let key = ctx.key(1);
    match ctx.keys.text(&key)? {
        None => ctx.out.bulk(b""),
        Some(text) => text.with_bytes(|bytes| ctx.out.bulk(&bytes[span(start, end, bytes.len())])),
    }
    Ok(())
}

fn add(ctx: &mut Ctx<'_, '_>, amount: i64) -> Outcome {
    let key = ctx.key(1);
    let old = match ctx.keys.text_to_change(&key)? {
        None => 0,
        Some(Text::Int(n)) => n,
        Some(Text::Bytes(bytes)) => parse_i64(bytes).ok_or(Error::Text(errors::NOT_AN_INTEGER))?,
    };
    let new = old.checked_add(amount).ok_or(Error::Text(errors::INCREMENT_OVERFLOW))?;
    ctx.keys.put(&key, Body::Int(new), SetExpire::Keep);
    ctx.keys.changed(&key, STRING, "incrby");
    ctx.out.int(new);
    Ok(())
}

fn incr(ctx: &mut Ctx<'_, '_>) -> Outcome {
    add(ctx, 1)
}

fn decr(ctx: &mut Ctx<'_, '_>) -> Outcome {
    add(ctx, -1)
}

fn incrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    add(ctx, ctx.int(2)?)
}

fn decrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let amount = ctx.int(2)?;
    // The original negates without a check, which leaves the smallest number as it is.
    add(ctx, amount.wrapping_neg())
}

fn incrbyfloat(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let not_a_float = Error::Text(errors::NOT_A_FLOAT);
    let old = match ctx.keys.text_to_change(&key)? {
        None => LongDouble::ZERO,
        Some(text) => text.with_bytes(LongDouble::parse).ok_or(not_a_float.clone())?,
    };
    let sum = old + LongDouble::parse(ctx.args.at(2)).ok_or(not_a_float)?;
    if sum.is_nan() || sum.is_infinite() {
        return Err(Error::Text(errors::INCREMENT_NAN_OR_INFINITY));
    }
    let mut digits = Vec::new();
    sum.format_human(&mut digits);
    ctx.keys.put(&key, Body::Bytes { bytes: &digits, raw: false }, SetExpire::Keep);
    ctx.keys.changed(&key, STRING, "incrbyfloat");
    let expire = ctx.keys.at(&key).and_then(|entry| entry.expire_at_ms());
    log_set(ctx, b"SET", &key, &digits, expire);
    ctx.out.bulk(&digits);
    Ok(())
}

const READ: Flags = Flags::READONLY;
const FAST: Flags = Flags::FAST;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const ONE: KeySpec = KeySpec::FIRST;

pub(crate) static TABLE: &[Command] = &[
    command("get", 2, ONE, READ.or(FAST), get),
    command("set", -3, ONE, GROWS, set),
    command("setnx", 3, ONE, GROWS.or(FAST), setnx),
    command("setex", 4, ONE, GROWS, setex),
    command("psetex", 4, ONE, GROWS, psetex),
    command("append", 3, ONE, GROWS, append),
    command("strlen", 2, ONE, READ.or(FAST), strlen),
    command("setrange", 4, ONE, GROWS, setrange),
    command("getrange", 4, ONE, READ, getrange),
    command("substr", 4, ONE, READ, getrange),
    command("incr", 2, ONE, GROWS.or(FAST), incr),
    command("decr", 2, ONE, GROWS.or(FAST), decr),
    command("incrby", 3, ONE, GROWS.or(FAST), incrby),
    command("decrby", 3, ONE, GROWS.or(FAST), decrby),
    command("incrbyfloat", 3, ONE, GROWS.or(FAST), incrbyfloat),
    command("getset", 3, ONE, GROWS, getset),
    command("mget", -2, KeySpec::range(1, -1, 1), READ, mget),
    command("mset", -3, KeySpec::range(1, -1, 2), GROWS, mset),
    command("msetnx", -3, KeySpec::range(1, -1, 2), GROWS, msetnx),
];

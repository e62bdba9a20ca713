//! Hashes.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use crate::scan::{self, ScanOptions};
use crate::table::{Command, command};
use engine::effects::class::{GENERIC, HASH};
use engine::encoding::item::Item;
use engine::value::Hash;
use resp::errors;
use resp::{Flags, KeySpec, LongDouble};

fn hset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, limits) = (ctx.key(1), ctx.settings.hash);
    let hash = ctx.keys.collection_or_insert::<Hash>(&key)?;
    let new = hash.set(ctx.args.at(2), ctx.args.at(3), limits);
    ctx.keys.changed(&key, HASH, "hset");
    ctx.out.int(new.into());
    Ok(())
}

fn hsetnx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, limits) = (ctx.key(1), ctx.settings.hash);
    let (field, value) = (ctx.args.at(2), ctx.args.at(3));
    let hash = ctx.keys.collection_or_insert::<Hash>(&key)?;
    hash.make_room_for([field, value], limits);
    let new = !hash.contains(field);
    if new {
        hash.set(field, value, limits);
        ctx.keys.changed(&key, HASH, "hset");
    }
    ctx.out.int(new.into());
    Ok(())
}

fn hmset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.len() % 2 == 1 {
        return Err(Error::Text("ERR wrong number of arguments for HMSET"));
    }
    let (key, limits) = (ctx.key(1), ctx.settings.hash);
    let hash = ctx.keys.collection_or_insert::<Hash>(&key)?;
    hash.make_room_for(ctx.args.from(2).iter(), limits);
    for i in (2..ctx.args.len()).step_by(2) {
        hash.set(ctx.args.at(i), ctx.args.at(i + 1), limits);
    }
    ctx.keys.changed(&key, HASH, "hset");
    ctx.out.ok();
    Ok(())
}

fn hincrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, field, amount) = (ctx.key(1), ctx.args.at(2), ctx.int(3)?);
    let limits = ctx.settings.hash.entries_only();
    let hash = ctx.keys.collection_or_insert::<Hash>(&key)?;
    let old = match hash.get(field) {
        None => 0,
        Some(Item::Int(int)) => int,
        Some(Item::Str(text)) => resp::parse_i64(text).ok_or(Error::Text(errors::HASH_VALUE_NOT_AN_INTEGER))?,
    };
    let new = old.checked_add(amount).ok_or(Error::Text(errors::INCREMENT_OVERFLOW))?;
    hash.set(field, itoa::Buffer::new().format(new).as_bytes(), limits);
    ctx.keys.changed(&key, HASH, "hincrby");
    ctx.out.int(new);
    Ok(())
}

fn hincrbyfloat(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, field) = (ctx.key(1), ctx.args.at(2));
    let amount = LongDouble::parse(ctx.args.at(3)).ok_or(Error::Text(errors::NOT_A_FLOAT))?;
    let limits = ctx.settings.hash.entries_only();
    let hash = ctx.keys.collection_or_insert::<Hash>(&key)?;
    let old = match hash.get(field) {
        None => LongDouble::ZERO,
        Some(value) => value.with_bytes(LongDouble::parse).ok_or(Error::Text(errors::HASH_VALUE_NOT_A_FLOAT))?,
    };
    let mut digits = Vec::new();
    let sum = old + amount;
    if sum.is_nan() {
        // What C prints of infinity minus infinity; 3.2 stores it.
        digits.extend_from_slice(b"-nan");
    } else {
        sum.format_human(&mut digits);
    }
    hash.set(field, &digits, limits);
    ctx.keys.changed(&key, HASH, "hincrbyfloat");
    // The sum and not the summand: elsewhere, or later, the sum could come out another one.
    ctx.keys.effects().log_instead(&[b"HSET", key.bytes, field, &digits]);
    ctx.out.bulk(&digits);
    Ok(())
}

fn reply_value(ctx: &mut Ctx<'_, '_>, first: usize, many: bool) -> Outcome {
    let key = ctx.key(1);
    let hash = ctx.keys.collection::<Hash>(&key)?;
    if many {
        ctx.out.array(ctx.args.len() - first);
    }
    for field in ctx.args.from(first).iter() {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => reply_item(ctx.out, value),
            None => ctx.out.null_bulk(),
        }
    }
    Ok(())
}

fn hget(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_value(ctx, 2, false)
}

fn hmget(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_value(ctx, 2, true)
}

fn hdel(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let mut deleted = 0;
    if let Some(hash) = ctx.keys.collection_mut::<Hash>(&key)? {
        for field in ctx.args.from(2).iter() {
            deleted += u64::from(hash.remove(field));
        }
    }
    if deleted > 0 {
        ctx.keys.changed(&key, HASH, "hdel");
        ctx.keys.dirty(deleted - 1);
        if ctx.keys.remove_if_empty::<Hash>(&key) {
            ctx.keys.notify(&key, GENERIC, "del");
        }
    }
    ctx.out.int(deleted as i64);
    Ok(())
}

fn hlen(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let len = ctx.keys.collection::<Hash>(&ctx.key(1))?.map_or(0, Hash::len);
    ctx.out.int(len as i64);
    Ok(())
}

fn hstrlen(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let hash = ctx.keys.collection::<Hash>(&ctx.key(1))?;
    let value = hash.and_then(|hash| hash.get(ctx.args.at(2)));
    ctx.out.int(value.map_or(0, |value| value.len()) as i64);
    Ok(())
}

fn hexists(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let hash = ctx.keys.collection::<Hash>(&ctx.key(1))?;
    ctx.out.int(hash.is_some_and(|hash| hash.contains(ctx.args.at(2))).into());
    Ok(())
}

/// All fields, all values, or both.
fn reply_all(ctx: &mut Ctx<'_, '_>, fields: bool, values: bool) -> Outcome {
    let hash = ctx.keys.collection::<Hash>(&ctx.key(1))?;
    let each = usize::from(fields) + usize::from(values);
    ctx.out.array(hash.map_or(0, Hash::len) * each);
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        if fields {
            reply_item(ctx.out, field);
        }
        if values {
            reply_item(ctx.out, value);
        }
    }
    Ok(())
}

fn hkeys(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_all(ctx, true, false)
}

fn hvals(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_all(ctx, false, true)
}

fn hgetall(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_all(ctx, true, true)
}

fn hscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let cursor = scan::cursor(ctx.args.at(2))?;
    let Some(hash) = ctx.keys.collection::<Hash>(&ctx.key(1))? else {
        scan::reply_empty(ctx.out);
        return Ok(());
    };
    // After the look-up: a key that is not there hides what is wrong with the options.
    let options = ScanOptions::parse(ctx.args, 3)?;
    let (next, found) = options.collect(cursor, |cursor, visit| hash.scan(cursor, visit));
    scan::reply_header(ctx.out, next, found.len() * 2);
    for (field, value) in found {
        reply_item(ctx.out, field);
        reply_item(ctx.out, value);
    }
    Ok(())
}

const READ: Flags = Flags::READONLY;
const FAST: Flags = Flags::FAST;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const SORTED: Flags = Flags::READONLY.or(Flags::SORT_FOR_SCRIPT);
const ONE: KeySpec = KeySpec::FIRST;

pub(crate) static TABLE: &[Command] = &[
    command("hset", 4, ONE, GROWS.or(FAST), hset),
    command("hsetnx", 4, ONE, GROWS.or(FAST), hsetnx),
    command("hget", 3, ONE, READ.or(FAST), hget),
    command("hmset", -4, ONE, GROWS, hmset),
    command("hmget", -3, ONE, READ, hmget),
    command("hincrby", 4, ONE, GROWS.or(FAST), hincrby),
    command("hincrbyfloat", 4, ONE, GROWS.or(FAST), hincrbyfloat),
    command("hdel", -3, ONE, WRITE.or(FAST), hdel),
    command("hlen", 2, ONE, READ.or(FAST), hlen),
    command("hstrlen", 3, ONE, READ.or(FAST), hstrlen),
    command("hkeys", 2, ONE, SORTED, hkeys),
    command("hvals", 2, ONE, SORTED, hvals),
    command("hgetall", 2, ONE, READ, hgetall),
    command("hexists", 3, ONE, READ.or(FAST), hexists),
    command("hscan", -3, ONE, READ.or(Flags::RANDOM), hscan),
];

#[cfg(test)]
mod tests {
    use crate::testing::World;

    #[test]
    fn hset_tells_new_fields_from_old_and_logs_as_sent() {
        let mut world = World::new();
        assert_eq!(world.run("HSET h f v"), ":1");
        assert_eq!((&world.log[..], &world.events[..]), (&["HSET h f v".into()][..], &["hset h".into()][..]));
        assert_eq!(world.run("HSET h f w"), ":0");
        assert_eq!(world.log, ["HSET h f w"]);
        assert_eq!(world.run("HSETNX h f x"), ":0");
        assert!(world.log.is_empty() && world.events.is_empty());
        assert_eq!(world.run("HSETNX h 7 \"\""), ":1");
        assert_eq!(world.run("HGETALL h"), "[f w 7 ]");
        assert_eq!(world.run("HKEYS h"), "[f 7]");
        assert_eq!(world.run("HVALS h"), "[w ]");
        assert_eq!(world.run("HMGET h 7 g f"), "[ (nil) w]");
        assert_eq!(world.run("HMGET none a b"), "[(nil) (nil)]");
        assert_eq!(world.run("HGET h f"), "w");
        assert_eq!(world.run("HGET none f"), "(nil)");
        assert_eq!(world.run("HGETALL none"), "[]");
        assert_eq!([world.run("HLEN h"), world.run("HLEN none")], [":2", ":0"]);
        assert_eq!([world.run("HEXISTS h 7"), world.run("HEXISTS h 8")], [":1", ":0"]);
        assert_eq!(
            [world.run("HSTRLEN h f"), world.run("HSTRLEN h g"), world.run("HSTRLEN none f")],
            [":1", ":0", ":0"]
        );
    }

    #[test]
    fn hmset_wants_pairs_before_it_looks_at_the_key() {
        let mut world = World::new();
        world.run("SET s x");
        assert_eq!(world.run("HMSET s f v g"), "-ERR wrong number of arguments for HMSET");
        assert_eq!(world.run("HMSET s f v"), "-WRONGTYPE Operation against a key holding the wrong kind of value");
        assert_eq!(world.run("HMSET h a 1 b 2 a 3"), "OK");
        assert_eq!((world.dirty, &world.events[..]), (1, &["hset h".into()][..]));
        assert_eq!(world.run("HGETALL h"), "[a 3 b 2]");
    }

    #[test]
    fn a_command_on_another_type_is_refused_and_makes_nothing() {
        let mut world = World::new();
        world.run("SET s x");
        for line in [
            "HSET s f v",
            "HSETNX s f v",
            "HGET s f",
            "HMGET s f",
            "HINCRBY s f 1",
            "HINCRBYFLOAT s f 1",
            "HDEL s f",
            "HLEN s",
            "HSTRLEN s f",
            "HKEYS s",
            "HVALS s",
            "HGETALL s",
            "HEXISTS s f",
            "HSCAN s 0",
        ] {
            assert_eq!(world.run(line), "-WRONGTYPE Operation against a key holding the wrong kind of value", "{line}");
            assert_eq!(world.dirty, 0);
        }
    }

    #[test]
    fn hincrby_adds_within_64_bits() {
        let mut world = World::new();
        assert_eq!(world.run("HINCRBY h f x"), "-ERR value is not an integer or out of range");
        assert_eq!(world.run("HLEN h"), ":0");
        assert_eq!(world.run("HINCRBY h f 9223372036854775807"), ":9223372036854775807");
        assert_eq!(
            (&world.log[..], &world.events[..]),
            (&["HINCRBY h f 9223372036854775807".into()][..], &["hincrby h".into()][..])
        );
        assert_eq!(world.run("HINCRBY h f 1"), "-ERR increment or decrement would overflow");
        assert_eq!(world.run("HINCRBY h f -9"), ":9223372036854775798");
        for value in ["\" 11\"", "\"11 \"", "x", "1.5", "\"\""] {
            world.run(&format!("HSET h g {value}"));
            assert_eq!(world.run("HINCRBY h g 1"), "-ERR hash value is not an integer");
        }
    }

    #[test]
    fn hincrbyfloat_logs_the_sum() {
        let mut world = World::new();
        assert_eq!(world.run("HINCRBYFLOAT h f 10.50"), "10.5");
        assert_eq!(world.run("HINCRBYFLOAT h f 0.1"), "10.6");
        assert_eq!(
            (&world.log[..], &world.events[..]),
            (&["HSET h f 10.6".into()][..], &["hincrbyfloat h".into()][..])
        );
        assert_eq!(world.run("HINCRBYFLOAT h f x"), "-ERR value is not a valid float");
        world.run("HSET h g x");
        assert_eq!(world.run("HINCRBYFLOAT h g 1"), "-ERR hash value is not a valid float");
        assert_eq!(world.run("HINCRBYFLOAT h i inf"), "inf");
        assert_eq!(world.run("HINCRBYFLOAT h i -inf"), "-nan");
    }

    #[test]
    fn the_last_field_takes_the_key_along() {
        let mut world = World::new();
        world.run("HMSET h a 1 b 2 c 3");
        assert_eq!(world.run("HDEL h x"), ":0");
        assert!(world.log.is_empty());
        assert_eq!(world.run("HDEL h a x b"), ":2");
        assert_eq!((world.dirty, &world.events[..]), (2, &["hdel h".into()][..]));
        assert_eq!(world.run("HDEL h c d"), ":1");
        assert_eq!(world.events, ["hdel h", "del h"]);
        assert_eq!(world.log, ["HDEL h c d"]);
        assert_eq!(world.run("SETNX h gone"), ":1");
    }

    #[test]
    fn hscan_gives_a_small_hash_at_once_and_a_big_one_piecemeal() {
        let mut world = World::new();
        assert_eq!(world.run("HSCAN none x"), "-ERR invalid cursor");
        assert_eq!(world.run("HSCAN none 0 bogus"), "[0 []]");
        world.run("HMSET h a 1 b 2 aa 3");
        assert_eq!(world.run("HSCAN h 0 COUNT 1"), "[0 [a 1 b 2 aa 3]]");
        assert_eq!(world.run("HSCAN h 5 MATCH a*"), "[0 [a 1 aa 3]]");
        assert_eq!(world.run("HSCAN h 0 bogus"), "-ERR syntax error");
        world.settings.hash.entries = 0;
        for n in 0..200 {
            world.run(&format!("HSET big f{n} {n}"));
        }
        let (mut cursor, mut seen, mut calls) = ("0".to_owned(), std::collections::BTreeSet::new(), 0);
        loop {
            let reply = world.run(&format!("HSCAN big {cursor} COUNT 5"));
            let (next, rest) = reply.trim_matches('[').split_once(" [").expect("cursor and array");
            let words: Vec<&str> = rest.trim_matches(']').split_whitespace().collect();
            for pair in words.chunks(2) {
                assert_eq!(pair[0], format!("f{}", pair[1]));
                seen.insert(pair[0].to_owned());
            }
            (cursor, calls) = (next.to_owned(), calls + 1);
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 200);
        assert!(calls > 10, "{calls} calls");
    }
}

//! Keys whatever their type: removing, renaming, moving, and when they expire.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::settings::Settings;
use crate::table::{Command, command};
use engine::clock::lru_idle_seconds;
use engine::effects::class::GENERIC;
use engine::keyspace::Key;
use engine::raw::entry::{EntryRef, Value};
use resp::{Flags, KeySpec, errors};

fn del(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let mut removed = 0;
    for i in 1..ctx.args.len() {
        let key = ctx.key(i);
        if ctx.keys.remove(&key) {
            ctx.keys.changed(&key, GENERIC, "del");
            removed += 1;
        }
    }
    ctx.out.int(removed);
    Ok(())
}

fn exists(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let found = (1..ctx.args.len()).filter(|&i| ctx.keys.exists(&ctx.key(i))).count();
    ctx.out.int(found as i64);
    Ok(())
}

fn touch(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let found = (1..ctx.args.len()).filter(|&i| ctx.keys.read(&ctx.key(i)).is_some()).count();
    ctx.out.int(found as i64);
    Ok(())
}

/// What `look` makes of the entry of `key`; noted as a hit or miss, but not as an access.
fn look_at<R>(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, look: impl FnOnce(EntryRef<'_>) -> R) -> Option<R> {
    let found = ctx.keys.peek(key).map(look);
    let stats = ctx.keys.stats();
    *(if found.is_some() { &mut stats.hits } else { &mut stats.misses }) += 1;
    found
}

fn type_of(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let kind = look_at(ctx, &ctx.key(1), |entry| entry.kind());
    ctx.out.simple(kind.map_or("none", |kind| kind.name()));
    Ok(())
}

// --- expiry

/// Milliseconds a unit.
const SECONDS: i64 = 1000;
const MILLISECONDS: i64 = 1;

fn expire(ctx: &mut Ctx<'_, '_>) -> Outcome {
    set_expiry(ctx, true, SECONDS)
}

fn pexpire(ctx: &mut Ctx<'_, '_>) -> Outcome {
    set_expiry(ctx, true, MILLISECONDS)
}

fn expireat(ctx: &mut Ctx<'_, '_>) -> Outcome {
    set_expiry(ctx, false, SECONDS)
}

fn pexpireat(ctx: &mut Ctx<'_, '_>) -> Outcome {
    set_expiry(ctx, false, MILLISECONDS)
}

fn set_expiry(ctx: &mut Ctx<'_, '_>, relative: bool, unit: i64) -> Outcome {
    let key = ctx.key(1);
    let now_ms = ctx.keys.moment().ms;
    // The original's sums wrap round, so that a very late moment deletes the key at once; ours stop at the end of time.
    let at = ctx.int(2)?.saturating_mul(unit).saturating_add(if relative { now_ms } else { 0 });
    if at <= now_ms && !ctx.keys.is_replica() {
        let removed = ctx.keys.remove(&key);
        if removed {
            ctx.keys.changed(&key, GENERIC, "del");
            ctx.keys.effects().log_instead(&[b"DEL", key.bytes]);
        }
        ctx.out.int(removed.into());
        return Ok(());
    }
    // On a replica a moment in the past is only noted: the key's end comes from the primary.
    let there = ctx.keys.set_expire(&key, Some(at));
    if there {
        ctx.keys.changed(&key, GENERIC, "expire");
        if relative {
            log_expiry(ctx, &key, at);
        }
    }
    ctx.out.int(there.into());
    Ok(())
}

fn log_expiry(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, at_ms: i64) {
    let mut digits = Vec::new();
    resp::format_i64(at_ms, &mut digits);
    ctx.keys.effects().log_instead(&[b"PEXPIREAT", key.bytes, &digits]);
}

fn ttl(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let left = time_left(ctx);
    ctx.out.int(if left < 0 { left } else { left.saturating_add(500) / 1000 });
    Ok(())
}

fn pttl(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let left = time_left(ctx);
    ctx.out.int(left);
    Ok(())
}

/// Milliseconds until the key expires; -1 if it does not, -2 if there is no key.
fn time_left(ctx: &mut Ctx<'_, '_>) -> i64 {
    let now_ms = ctx.keys.moment().ms;
    match look_at(ctx, &ctx.key(1), |entry| entry.expire_at_ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => at.saturating_sub(now_ms).max(0),
    }
}

fn persist(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let expires = ctx.keys.look(&key).is_some_and(EntryRef::has_expire);
    if expires {
        ctx.keys.set_expire(&key, None);
        ctx.keys.dirty(1);
    }
    ctx.out.int(expires.into());
    Ok(())
}

// --- other places

fn rename(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if rename_key(ctx, true)? {
        ctx.out.ok();
    }
    Ok(())
}

fn renamenx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let renamed = rename_key(ctx, false)?;
    ctx.out.int(renamed.into());
    Ok(())
}

/// Whether the key has its new name; over itself that is said only when it may replace.
fn rename_key(ctx: &mut Ctx<'_, '_>, replace: bool) -> Result<bool, Error> {
    let (from, to) = (ctx.key(1), ctx.key(2));
    if ctx.keys.look(&from).is_none() {
        return Err(Error::Text(errors::NO_SUCH_KEY));
    }
    if from.bytes == to.bytes {
        return Ok(replace);
    }
    if !replace && ctx.keys.look(&to).is_some() {
        return Ok(false);
    }
    ctx.keys.remove(&to);
    if let Some(entry) = ctx.keys.take(&from) {
        ctx.keys.put_entry(&to, entry);
        ctx.keys.touched(&from, GENERIC, "rename_from");
        ctx.keys.changed(&to, GENERIC, "rename_to");
    }
    Ok(true)
}

fn move_key(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, from) = (ctx.key(1), ctx.session.db);
    let to = resp::parse_i64(ctx.args.at(2)).and_then(|db| u32::try_from(db).ok());
    let to = to.filter(|&db| db < ctx.settings.databases).ok_or(Error::Text(errors::INDEX_OUT_OF_RANGE))?;
    if to == from {
        return Err(Error::Text(errors::SAME_OBJECT));
    }
    let mut moved = false;
    if ctx.keys.look(&key).is_some() {
        ctx.keys.select(to);
        let free = ctx.keys.look(&key).is_none();
        ctx.keys.select(from);
        if free && let Some(entry) = ctx.keys.take(&key) {
            ctx.keys.select(to);
            ctx.keys.put_entry(&key, entry);
            ctx.keys.select(from);
            ctx.keys.dirty(1);
            moved = true;
        }
    }
    ctx.out.int(moved.into());
    Ok(())
}

// --- looking inside

/// How often the original counts the integers that all its values share; in fact a count of references.
const SHARED_REFERENCES: i64 = i32::MAX as i64;
/// Integers below this are shared there.
const SHARED_INTEGERS: i64 = 10_000;

fn object(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(2);
    let now = ctx.keys.now().lru();
    let idletime = ctx.args.is(1, "idletime");
    if !(idletime || ctx.args.is(1, "refcount") || ctx.args.is(1, "encoding")) {
        return Err(Error::Text("ERR Syntax error. Try OBJECT (refcount|encoding|idletime)"));
    }
    let Some(entry) = ctx.keys.peek(&key) else {
        ctx.out.null_bulk();
        return Ok(());
    };
    if idletime {
        ctx.out.int(lru_idle_seconds(entry.lru(), now).into());
    } else if ctx.args.is(1, "refcount") {
        ctx.out.int(reference_count(entry, ctx.settings));
    } else {
        ctx.out.bulk(entry.encoding().as_bytes());
    }
    Ok(())
}

/// What the original would say of how often the value is referred to.
pub fn reference_count(entry: EntryRef<'_>, settings: &Settings) -> i64 {
    match entry.value() {
        Value::Int(n) if settings.shared_integers && (0..SHARED_INTEGERS).contains(&n) => SHARED_REFERENCES,
        _ => 1,
    }
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const FAST: Flags = Flags::FAST;
const ONE: KeySpec = KeySpec::FIRST;
const TWO: KeySpec = KeySpec::range(1, 2, 1);
const EVERY: KeySpec = KeySpec::range(1, -1, 1);

pub(crate) static TABLE: &[Command] = &[
    command("del", -2, EVERY, WRITE, del),
    command("exists", -2, EVERY, READ.or(FAST), exists),
    command("touch", -2, EVERY, READ.or(FAST), touch),
    command("type", 2, ONE, READ.or(FAST), type_of),
    command("expire", 3, ONE, WRITE.or(FAST), expire),
    command("pexpire", 3, ONE, WRITE.or(FAST), pexpire),
    command("expireat", 3, ONE, WRITE.or(FAST), expireat),
    command("pexpireat", 3, ONE, WRITE.or(FAST), pexpireat),
    command("ttl", 2, ONE, READ.or(FAST), ttl),
    command("pttl", 2, ONE, READ.or(FAST), pttl),
    command("persist", 2, ONE, WRITE.or(FAST), persist),
    command("rename", 3, TWO, WRITE, rename),
    command("renamenx", 3, TWO, WRITE.or(FAST), renamenx),
    command("move", 3, ONE, WRITE.or(FAST), move_key),
    command("object", 3, KeySpec::range(2, 2, 2), READ, object),
];

#[cfg(test)]
mod tests {
    use crate::testing::World;

    #[test]
    fn keys_are_removed_and_counted() {
        let mut world = World::new();
        world.run("mset a 1 b 2 c 3");
        assert_eq!(world.run("exists a b a nothing"), ":3");
        assert_eq!(world.run("del a nothing c"), ":2");
        assert_eq!(world.events, ["del a", "del c"]);
        assert_eq!(world.log, ["del a nothing c"]);
        assert_eq!(world.run("touch a b"), ":1");
        assert_eq!(world.run("del a"), ":0");
        assert!(world.log.is_empty());
    }

    #[test]
    fn a_relative_expiry_is_logged_as_a_moment() {
        let mut world = World::new();
        world.run("set k v");
        assert_eq!(world.run("expire k 10"), ":1");
        assert_eq!(world.log, ["PEXPIREAT k 1000000010000"]);
        assert_eq!((world.run("ttl k"), world.run("pttl k")), (":10".into(), ":10000".into()));
        world.now.ms += 9_501;
        assert_eq!((world.run("ttl k"), world.run("pttl k")), (":0".into(), ":499".into()));
        assert_eq!(world.run("expireat k 1000000100"), ":1");
        assert_eq!(world.log, ["expireat k 1000000100"]);
        assert_eq!(world.run("persist k"), ":1");
        assert_eq!(world.run("persist k"), ":0");
        assert_eq!(world.run("ttl k"), ":-1");
        assert_eq!(world.run("ttl nothing"), ":-2");
        assert_eq!(world.run("pexpire nothing 5"), ":0");
        assert_eq!(world.run("pexpire k x"), "-ERR value is not an integer or out of range");
    }

    #[test]
    fn an_expiry_in_the_past_deletes() {
        let mut world = World::new();
        for command in ["expire k 0", "pexpire k -5", "expireat k 10", "pexpireat k 1000000000000"] {
            world.run("set k v");
            assert_eq!(world.run(command), ":1");
            assert_eq!(world.log, ["DEL k"]);
            assert_eq!(world.events, ["del k"]);
            assert_eq!(world.run("exists k"), ":0");
        }
        world.run("set k v");
        assert_eq!(world.run("expire k 9223372036854775807"), ":1");
        assert_eq!(world.run("exists k"), ":1");
        assert_eq!(world.run("expire k -9223372036854775808"), ":1");
        assert_eq!(world.run("exists k"), ":0");
    }

    #[test]
    fn a_key_that_has_expired_is_gone_and_logged_so() {
        let mut world = World::new();
        world.run("psetex k 5 v");
        world.now.ms += 6;
        assert_eq!(world.run("type k"), "none");
        assert_eq!(world.log, ["DEL k"]);
        assert_eq!(world.events, ["expired k"]);
    }

    #[test]
    fn renaming_takes_value_and_expiry_along() {
        let mut world = World::new();
        world.run("psetex a 500 v");
        world.run("set b old");
        assert_eq!(world.run("renamenx a b"), ":0");
        assert_eq!(world.run("rename a b"), "OK");
        assert_eq!(world.events, ["rename_from a", "rename_to b"]);
        assert_eq!(world.dirty, 1);
        assert_eq!((world.run("get b"), world.run("pttl b")), ("v".into(), ":500".into()));
        assert_eq!(world.run("renamenx b a"), ":1");
        assert_eq!(world.run("exists b"), ":0");
        assert_eq!(world.run("rename a a"), "OK");
        assert_eq!(world.run("renamenx a a"), ":0");
        assert_eq!(world.run("rename nothing nothing"), "-ERR no such key");
    }

    #[test]
    fn moving_needs_a_free_place_in_another_database() {
        let mut world = World::new();
        world.run("psetex k 500 v");
        assert_eq!(world.run("move k 9"), ":1");
        assert_eq!(world.log, ["move k 9"]);
        assert_eq!(world.run("exists k"), ":0");
        assert_eq!(world.run("move k 9"), ":0");
        world.run("set k other");
        assert_eq!(world.run("move k 9"), ":0");
        assert_eq!(world.run("move k 0"), "-ERR source and destination objects are the same");
        assert_eq!(world.run("move k 16"), "-ERR index out of range");
        assert_eq!(world.run("move k notanumber"), "-ERR index out of range");
        // The one in the way has expired: its end is logged where it was.
        world.now.ms += 501;
        assert_eq!(world.run("move k 9"), ":1");
        assert_eq!(world.log, ["SELECT 9", "DEL k", "SELECT 0", "move k 9"]);
    }

    #[test]
    fn object_tells_encoding_references_and_idle_time() {
        let mut world = World::new();
        world.run("mset n 12 big 10000 s text");
        world.now.ms += 7_000;
        assert_eq!(world.run("object encoding n"), "int");
        assert_eq!(world.run("object encoding s"), "embstr");
        assert_eq!(world.run("object REFCOUNT n"), ":2147483647");
        assert_eq!(world.run("object refcount big"), ":1");
        assert_eq!(world.run("object idletime s"), ":7");
        assert_eq!(world.run("type s"), "string");
        assert_eq!(world.run("object idletime s"), ":7");
        world.run("touch s");
        assert_eq!(world.run("object idletime s"), ":0");
        assert_eq!(world.run("object idletime nothing"), "(nil)");
        assert_eq!(world.run("object foo s"), "-ERR Syntax error. Try OBJECT (refcount|encoding|idletime)");
    }
}

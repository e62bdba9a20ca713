//! DUMP and RESTORE: one value as bytes, and back. They stand here and not among the commands on keys because the format
//! is that of the files.

use super::{Handler, NodeCtx};
use crate::unpack;
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use engine::effects::class::GENERIC;
use persistence::rdb::dump;
use persistence::rdb::restoring::Wrong;
use resp::{Flags, KeySpec, errors};
use std::borrow::Cow;

/// No class: RESTORE wakes watchers and tells nobody of an event, as in 3.2.
const NO_EVENT: u32 = 0;

fn dump_value(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let compress = ctx.node.config().rdbcompression;
    let key = ctx.key(1);
    match ctx.ctx.keys.read(&key) {
        Some(entry) => ctx.ctx.out.bulk(&dump::dump(entry.value(), compress)),
        None => ctx.out.null_bulk(),
    }
    Ok(())
}

fn restore(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    // What a newer primary may send besides; how long a key was not asked for is this server's own business.
    let newer = ctx.keys.is_from_primary();
    let (mut replace, mut is_moment, mut at) = (false, false, 4);
    while at < args.len() {
        match &args.at(at).to_ascii_lowercase()[..] {
            b"replace" => replace = true,
            b"absttl" if newer => is_moment = true,
            b"idletime" | b"freq" if newer && at + 1 < args.len() => at += 1,
            _ => return Err(Error::Text(errors::SYNTAX)),
        }
        at += 1;
    }
    let key = ctx.key(1);
    if !replace && ctx.keys.look(&key).is_some() {
        return Err("BUSYKEY Target key name already exists.".into());
    }
    let ttl_ms = ctx.int(2)?;
    if ttl_ms < 0 {
        return Err("ERR Invalid TTL value, must be >= 0".into());
    }
    let begin_ms = if is_moment { 0 } else { ctx.keys.moment().ms };
    let expire_at_ms = (ttl_ms > 0).then(|| begin_ms.saturating_add(ttl_ms));
    if !ctx.keys.is_from_primary() && ctx.node.migrations.moving.has(ctx.session.db, key.bytes) {
        return Err("ERR the specified key is being migrated".into());
    }
    let entry = unpack::entry(ctx, 3, key.bytes, expire_at_ms).map_err(|wrong| match wrong {
        Wrong::Seal => Error::Text("ERR DUMP payload version or checksum are wrong"),
        Wrong::Data => Error::Text("ERR Bad data format"),
    })?;
    let logged = unpack::for_log(ctx, args.at(3), &entry);
    ctx.keys.remove(&key);
    ctx.keys.put_entry(&key, entry);
    ctx.keys.changed(&key, NO_EVENT, "restore");
    if expire_at_ms.is_some() || matches!(logged, Cow::Owned(_)) {
        log_restored(ctx, &logged, expire_at_ms);
    }
    ctx.out.ok();
    Ok(())
}

/// Logs a payload that every reader knows, and the key's end as a moment, where 3.2 logs the time that was left when the
/// command came.
fn log_restored(ctx: &mut NodeCtx<'_, '_>, payload: &[u8], expire_at_ms: Option<i64>) {
    let args = ctx.args;
    let key = args.at(1);
    let effects = ctx.keys.effects();
    let words: [&[u8]; 5] = [b"RESTORE", key, b"0", payload, b"REPLACE"];
    effects.log_instead(if args.len() > 4 { &words } else { &words[..4] });
    if let Some(at) = expire_at_ms {
        effects.log_instead(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
}

/// COPY source destination [DB number] [REPLACE], of Redis 6.2, as a primary of that gives it.
fn copy(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let (home, databases) = (ctx.session.db, ctx.settings.databases);
    let (mut db, mut replace, mut at) = (home, false, 3);
    while at < ctx.args.len() {
        if ctx.args.is(at, "db") && at + 1 < ctx.args.len() {
            let asked = u32::try_from(ctx.int(at + 1)?).ok().filter(|db| *db < databases);
            db = asked.ok_or(Error::Text("ERR DB index is out of range"))?;
            at += 1;
        } else if ctx.args.is(at, "replace") {
            replace = true;
        } else {
            return Err(Error::Text(errors::SYNTAX));
        }
        at += 1;
    }
    let (source, copy) = (ctx.key(1), ctx.key(2));
    let there = ctx.keys.look(&source).map(|entry| (dump::dump(entry.value(), false), entry.expire_at_ms()));
    let Some((payload, expire_at_ms)) = there else {
        ctx.out.int(0);
        return Ok(());
    };
    ctx.keys.select(db);
    let made = replace || ctx.keys.look(&copy).is_none();
    if made {
        let (limits, lru) = (unpack::limits(ctx.settings), ctx.keys.now().lru());
        let verified = dump::verify(&payload).unwrap_or_default();
        let entry = dump::restore(verified, limits, copy.bytes, expire_at_ms, lru)
            .map_err(|error| Error::from(format!("ERR {error}")))?;
        ctx.keys.remove(&copy);
        ctx.keys.put_entry(&copy, entry);
        ctx.keys.changed(&copy, GENERIC, "copy_to");
        let effects = ctx.keys.effects();
        let [there, back] = [db, home].map(|db| db.to_string());
        if db != home {
            effects.log_instead(&[b"SELECT", there.as_bytes()]);
        }
        effects.log_instead(&[b"RESTORE", copy.bytes, b"0", &payload, b"REPLACE"]);
        if let Some(at) = expire_at_ms {
            effects.log_instead(&[b"PEXPIREAT", copy.bytes, at.to_string().as_bytes()]);
        }
        if db != home {
            effects.log_instead(&[b"SELECT", back.as_bytes()]);
        }
    }
    ctx.keys.select(home);
    ctx.out.int(made.into());
    Ok(())
}

/// See [`super::newer`].
pub(super) static NEWER: &[Command<Handler>] =
    &[command("copy", -3, KeySpec::range(1, 2, 1), Flags::WRITE.or(Flags::DENYOOM), copy)];

const RESTORE: Flags = Flags::WRITE.or(Flags::DENYOOM);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("dump", 2, KeySpec::FIRST, Flags::READONLY, dump_value),
    command("restore", -4, KeySpec::FIRST, RESTORE, restore),
    command("restore-asking", -4, KeySpec::FIRST, RESTORE.or(Flags::ASKING), restore),
];

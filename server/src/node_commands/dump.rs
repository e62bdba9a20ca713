//! DUMP and RESTORE: one value as bytes, and back. They stand here and not among the commands on keys because the format
//! is that of the files.

use super::{Handler, NodeCtx};
use crate::unpack;
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
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

const RESTORE: Flags = Flags::WRITE.or(Flags::DENYOOM);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("dump", 2, KeySpec::FIRST, Flags::READONLY, dump_value),
    command("restore", -4, KeySpec::FIRST, RESTORE, restore),
    command("restore-asking", -4, KeySpec::FIRST, RESTORE.or(Flags::ASKING), restore),
];

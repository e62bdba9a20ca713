//! The process: TIME, SHUTDOWN, LASTSAVE.

use super::{Handler, NodeCtx};
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use resp::{Flags, KeySpec, errors};
use std::time::{SystemTime, UNIX_EPOCH};

fn time(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ctx.out.array(2);
    ctx.out.bulk_int(since.as_secs() as i64);
    ctx.out.bulk_int(since.subsec_micros().into());
    Ok(())
}

fn shutdown(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    if args.len() > 2 || args.len() == 2 && !args.is(1, "nosave") && !args.is(1, "save") {
        return Err(Error::Text(errors::SYNTAX));
    }
    crate::log::warning!("User requested shutdown...");
    if args.is(1, "nosave") {
        ctx.node.scripts.abandon();
    }
    ctx.node.stop();
    Ok(())
}

fn lastsave(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    // Nothing was saved since the start, which is what the original says then.
    let at = ctx.node.started.ms / 1000;
    ctx.out.int(at);
    Ok(())
}

const FAST_RANDOM: Flags = Flags::RANDOM.or(Flags::FAST);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("time", 1, KeySpec::NONE, FAST_RANDOM, time),
    command("shutdown", -1, KeySpec::NONE, Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE), shutdown),
    command("lastsave", 1, KeySpec::NONE, FAST_RANDOM, lastsave),
];

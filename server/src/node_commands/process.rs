//! The process: TIME, SHUTDOWN.

use super::{Handler, NodeCtx};
use crate::persist::shutdown::{self, Save, shut_down};
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
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
    let wish = shutdown::wish(&ctx.args).ok_or(Error::Text(errors::SYNTAX))?;
    let node = ctx.node;
    shut_down(node, &mut ctx.ctx.keys, wish).map_err(|_| Error::Text(shutdown::REFUSED))?;
    if wish == Save::No {
        // A script that asks for it ends here.
        node.scripts.abandon();
    }
    // No reply: the connection ends with the process, after the listeners, so that whoever sees it end finds no server.
    Ok(())
}

const FAST_RANDOM: Flags = Flags::RANDOM.or(Flags::FAST);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("time", 1, KeySpec::NONE, FAST_RANDOM, time),
    command::<Handler>("shutdown", -1, KeySpec::NONE, Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE), shutdown)
        .holding(Access::All),
];

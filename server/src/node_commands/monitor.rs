//! MONITOR.

use super::{Handler, NodeCtx};
use commands::error::Outcome;
use commands::table::{Command, command};
use resp::{Flags, KeySpec};
use std::sync::atomic::Ordering::Relaxed;

fn monitor(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    // Who watches already is not answered, as in 3.2.
    if !ctx.client.info.monitor.swap(true, Relaxed) {
        ctx.net.watch_commands(ctx.client.info.id);
        ctx.out.ok();
    }
    Ok(())
}

pub(super) static TABLE: &[Command<Handler>] =
    &[command("monitor", 1, KeySpec::NONE, Flags::ADMIN.or(Flags::NOSCRIPT), monitor)];

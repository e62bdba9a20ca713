//! Commands of Redis Cluster, which a server outside of a cluster refuses.

use super::{Handler, NodeCtx};
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use resp::{Flags, KeySpec};

fn disabled(_: &mut NodeCtx<'_, '_>) -> Outcome {
    Err(Error::Text("ERR This instance has cluster support disabled"))
}

fn readwrite(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    ctx.out.ok();
    Ok(())
}

pub(super) static TABLE: &[Command<Handler>] = &[
    command::<Handler>("cluster", -2, KeySpec::NONE, Flags::ADMIN, disabled),
    command("asking", 1, KeySpec::NONE, Flags::FAST, disabled),
    command("readonly", 1, KeySpec::NONE, Flags::FAST, disabled),
    command("readwrite", 1, KeySpec::NONE, Flags::FAST, readwrite),
];

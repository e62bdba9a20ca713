//! COMMAND: the command table, as clients and proxies ask for it.

use super::{Handler, NodeCtx};
use crate::node::Run;
use commands::error::{Error, Outcome};
use commands::table::{Command, command as row};
use resp::{ArgList, Flags, KeySpec, Out};

/// Commands that the original answers outside of its table, so that COMMAND does not know them.
const UNLISTED: &[&str] = &["quit"];

fn command(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let registry = &ctx.node.registry;
    let listed = || registry.iter().filter(|row| !UNLISTED.contains(&row.spec.name));
    let args = ctx.args;
    if args.len() == 1 {
        ctx.out.array(listed().count());
        listed().for_each(|row| describe(row, ctx.ctx.out));
    } else if args.is(1, "info") {
        ctx.out.array(args.len() - 2);
        for name in args.from(2).iter() {
            match registry.get(name).filter(|row| !UNLISTED.contains(&row.spec.name)) {
                Some(row) => describe(row, ctx.ctx.out),
                None => ctx.out.null_array(),
            }
        }
    } else if args.is(1, "count") && args.len() == 2 {
        ctx.out.int(listed().count() as i64);
    } else if args.is(1, "getkeys") && args.len() >= 3 {
        let call = args.from(2);
        let row = registry.get(call.at(0)).ok_or(Error::Text("ERR Invalid command specified"))?;
        if !row.spec.arity_ok(call.count()) {
            return Err(Error::Text("ERR Invalid number of arguments specified for command"));
        }
        let keys: Vec<usize> = resp::key_positions(&row.spec, &call).collect();
        ctx.out.array(keys.len());
        keys.iter().for_each(|&i| ctx.ctx.out.bulk(call.at(i)));
    } else {
        return Err(Error::Text("ERR Unknown subcommand or wrong number of arguments."));
    }
    Ok(())
}

fn describe(row: &Command<Run>, out: &mut Out) {
    let spec = &row.spec;
    out.array(6);
    out.bulk(spec.name.as_bytes());
    out.int(spec.arity.into());
    out.array(spec.flags.names().count());
    spec.flags.names().for_each(|flag| out.simple(flag));
    for number in [spec.keys.first, spec.keys.last, spec.keys.step] {
        out.int(number.into());
    }
}

pub(super) static TABLE: &[Command<Handler>] =
    &[row("command", 0, KeySpec::NONE, Flags::LOADING.or(Flags::STALE), command)];

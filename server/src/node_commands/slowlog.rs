//! SLOWLOG.

use super::{Handler, NodeCtx};
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use resp::{Flags, KeySpec};

const USAGE: &str = "ERR Unknown SLOWLOG subcommand or wrong # of args. Try GET, RESET, LEN.";
/// Entries of a GET that does not say how many.
const COUNT: i64 = 10;

fn slowlog(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let (args, log) = (ctx.args, &ctx.node.slowlog);
    if args.is(1, "reset") && args.len() == 2 {
        log.reset();
        ctx.out.ok();
    } else if args.is(1, "len") && args.len() == 2 {
        ctx.out.int(log.len() as i64);
    } else if args.is(1, "get") && args.len() <= 3 {
        let count = if args.len() == 3 { ctx.int(2)? } else { COUNT };
        // A negative number is all of them.
        let entries = log.newest(usize::try_from(count).unwrap_or(usize::MAX));
        ctx.out.array(entries.len());
        for entry in entries {
            ctx.out.array(4);
            ctx.out.int(entry.id as i64);
            ctx.out.int(entry.at_s);
            ctx.out.int(entry.took_us as i64);
            ctx.out.array(entry.args.len());
            entry.args.iter().for_each(|arg| ctx.ctx.out.bulk(arg));
        }
    } else {
        return Err(Error::Text(USAGE));
    }
    Ok(())
}

pub(super) static TABLE: &[Command<Handler>] = &[command("slowlog", -2, KeySpec::NONE, Flags::ADMIN, slowlog)];

//! Files: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE.

use super::{Handler, NodeCtx};
use crate::log;
use crate::persist::job::Kind;
use crate::persist::{begin_rewrite, save};
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use resp::{Flags, KeySpec, errors};

const SAVING: &str = "ERR Background save already in progress";
const REWRITING: &str = "ERR An AOF log rewriting in progress: can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                         schedule a BGSAVE whenver possible.";

fn save_now(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    if ctx.node.persist.state().running_since_s(Kind::Save).is_some() {
        return Err(Error::Text(SAVING));
    }
    let (node, config) = (ctx.node, ctx.node.config());
    save::foreground(node, &config, &mut ctx.ctx.keys).map_err(|_| Error::Text("ERR"))?;
    ctx.out.ok();
    Ok(())
}

fn bgsave(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let schedule = ctx.args.len() == 2 && ctx.args.is(1, "schedule");
    if ctx.args.len() > 1 && !schedule {
        return Err(Error::Text(errors::SYNTAX));
    }
    let node = ctx.node;
    let running = node.persist.state().job().map(|job| (job.kind, job.killed));
    match running {
        None => {
            save::begin(node, &mut ctx.ctx.keys).map_err(|_| Error::Text("ERR"))?;
            ctx.out.simple("Background saving started");
        }
        // What was killed ends in a moment; the save begins then.
        Some((_, true)) => {
            node.persist.state().save_scheduled = true;
            ctx.out.simple("Background saving started");
        }
        Some((Kind::Rewrite, false)) if schedule => {
            node.persist.state().save_scheduled = true;
            ctx.out.simple("Background saving scheduled");
        }
        Some((Kind::Rewrite, false)) => return Err(Error::Text(REWRITING)),
        Some(_) => return Err(Error::Text(SAVING)),
    }
    Ok(())
}

fn bgrewriteaof(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let node = ctx.node;
    let running = node.persist.state().job().map(|job| (job.kind, job.killed));
    match running {
        None if ctx.keys.effects().are_logged() => {
            begin_rewrite(node, &mut ctx.ctx.keys).map_err(|_| Error::Text("ERR"))?;
            ctx.out.simple("Background append only file rewriting started");
        }
        Some((Kind::Rewrite, false)) => {
            return Err(Error::Text("ERR Background append only file rewriting already in progress"));
        }
        _ => {
            node.persist.state().rewrite_scheduled = true;
            log::verbose!("A rewrite of the append only file waits for the snapshot or transaction that is under way");
            ctx.out.simple("Background append only file rewriting scheduled");
        }
    }
    Ok(())
}

fn lastsave(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let at = ctx.node.persist.state().last_save_s(ctx.node);
    ctx.out.int(at);
    Ok(())
}

const BACKGROUND: Flags = Flags::ADMIN;

pub(super) static TABLE: &[Command<Handler>] = &[
    command::<Handler>("save", 1, KeySpec::NONE, Flags::ADMIN.or(Flags::NOSCRIPT), save_now).holding(Access::All),
    command::<Handler>("bgsave", -1, KeySpec::NONE, BACKGROUND, bgsave).holding(Access::All),
    command::<Handler>("bgrewriteaof", 1, KeySpec::NONE, BACKGROUND, bgrewriteaof).holding(Access::All),
    command("lastsave", 1, KeySpec::NONE, Flags::RANDOM.or(Flags::FAST), lastsave),
];

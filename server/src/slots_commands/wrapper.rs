//! SLOTSMGRT-EXEC-WRAPPER hashkey command ..: a proxy's way to a key of a slot that is moving.
//!
//! ```text
//! [-1, error]   the command is unknown or has the wrong number of arguments
//! [ 0, error]   the key is not here: ask the target
//! [ 1, error]   the key is being sent and the command would change something, or it is not whole yet: ask again soon
//! [ 2, reply]   done here
//! ```
//! Two answers differ from the original's. A key that was removed while it is sent gives 1 and not 0 until the target has
//! forgotten it, also after a batch that broke off (`debts.rs`), or the client would find the old value there. And while a batch is being removed here, reads get 1 too,
//! or a command over several keys would find only some.

use crate::dispatch::reply_error;
use crate::node::{Node, Run};
use crate::node_commands::{Handler, NodeCtx};
use commands::args::Args;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::keyspace::Key;
use engine::raw::entry::Transit;
use engine::raw::lock::{Held, Owner};
use engine::slot::Slot;
use resp::{Flags, KeySpec, Out};
use slots::SlotSet;
use slots::migration::message::quoted;

/// Index of the wrapped command's name.
const INNER: usize = 2;

fn exec_wrapper(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    let inner = args.from(INNER);
    let mut reply = Out::new();
    let status = match admit(ctx, inner) {
        Ok(row) => {
            ctx.invoke(&row, inner, None, None, false, &mut reply);
            ctx.keys.effects().log_called(inner.iter());
            2
        }
        Err((status, text)) => {
            reply_error(&mut reply, 0, Err(Error::Owned(text)));
            status
        }
    };
    ctx.out.array(2);
    ctx.out.int(status);
    ctx.out.extend_raw(reply.as_slice());
    Ok(())
}

/// The row of the wrapped command if it may run here and now.
fn admit(ctx: &mut NodeCtx<'_, '_>, inner: Args<'_>) -> Result<Command<Run>, (i64, Vec<u8>)> {
    let refused = |status, text: &str| Err((status, text.as_bytes().to_vec()));
    let quote = |text: &str| [text.as_bytes(), quoted(inner.at(0)), b")"].concat();
    let Some(row) = ctx.node.registry.get(inner.at(0)).copied() else {
        return Err((-1, quote("ERR invalid command specified (")));
    };
    if !row.spec.arity_ok(inner.len()) {
        return Err((-1, quote("ERR wrong number of arguments for command (")));
    }
    let key = Key::new(ctx.args.at(1));
    let (db, claims) = (ctx.keys.db(), &ctx.node.moves.claims);
    let moving = claims.are_there();
    if !ctx.keys.exists(&key) {
        let debts = &ctx.node.moves.debts;
        if moving && claims.has_key(db, &key) || debts.has_key(db, ctx.node.repl.tenure(), &key) {
            return refused(1, "ERR the specified key is being migrated");
        }
        return refused(0, "ERR the specified key doesn't exist");
    }
    if moving {
        let transit = ctx.keys.transit(&key);
        let leaves = transit != Some(Transit::Settled) || claims.has_tag(db, &key);
        let reads = row.spec.flags.contains(Flags::READONLY) && transit != Some(Transit::Arriving);
        if leaves && (!reads || claims.is_ending(db, key.slot)) {
            return refused(1, "ERR the specified key is being migrated");
        }
    }
    if matches!(row.spec.name, "multi" | "exec" | "discard") {
        return refused(-1, "ERR a transaction can't be wrapped");
    }
    Ok(row)
}

/// The slots of the key and of the wrapped command's keys.
pub fn hold<'o>(
    node: &Node,
    owner: &'o mut Owner<'static, Slot>,
    args: &Args<'_>,
    starving: bool,
) -> Option<Held<'o, Slot>> {
    let inner = args.from(INNER);
    let row = node.registry.get(inner.at(0));
    let access = row.map_or(Access::Nothing, |row| row.access);
    let mut set: SlotSet = [slots::slot_of(args.at(1))].into_iter().collect();
    match access {
        Access::Keys if !starving => {
            set.extend(row.into_iter().flat_map(|row| {
                resp::key_positions(&row.spec, &inner).map(|at| slots::slot_of(inner.at(at))).collect::<Vec<_>>()
            }));
            owner.try_all(&set)
        }
        Access::Nothing => owner.try_all(&set),
        Access::All => {
            let mut held = owner.try_privileged()?;
            held.add_all();
            Some(held)
        }
        _ => owner.try_privileged(),
    }
}

pub(super) static TABLE: &[Command<Handler>] =
    &[command("slotsmgrt-exec-wrapper", -3, KeySpec::NONE, Flags::WRITE.or(Flags::DENYOOM), exec_wrapper as Handler)
        .holding(Access::Wrapped)];

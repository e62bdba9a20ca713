//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! EXEC is privileged: it takes the slots of its commands' keys as it comes to them and keeps them to the end, so that
//! nobody sees a part of it. The slots of watched keys are taken before it looks whether any has changed, so no change can
//! come in between. Its effects go to the oplog as one block, `MULTI` ... `EXEC`, in one append.

use super::{Handler, NodeCtx};
use crate::conn::Queue;
use crate::memory::Aside;
use crate::persist::gate;
use crate::repl::Gate;
use crate::stakes::Stakes;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::effects::encode;
use engine::interest::{Stake, Watch};
use engine::records::{Reach, Records};
use resp::{Flags, KeySpec, Out, errors};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

fn multi(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    if ctx.client.queue.is_some() {
        return Err(Error::Text(errors::NESTED_MULTI));
    }
    *ctx.client.queue = Some(Queue::default());
    ctx.client.info.queued.store(0, Relaxed);
    ctx.out.ok();
    Ok(())
}

fn take_queue(ctx: &mut NodeCtx<'_, '_>) -> Option<Queue> {
    ctx.client.info.queued.store(-1, Relaxed);
    ctx.client.queue.take()
}

fn discard(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    take_queue(ctx).ok_or(Error::Text(errors::DISCARD_WITHOUT_MULTI))?;
    *ctx.client.watched = None;
    ctx.out.ok();
    Ok(())
}

fn exec(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let queue = take_queue(ctx).ok_or(Error::Text(errors::EXEC_WITHOUT_MULTI))?;
    let ran = run(ctx, queue);
    // After what it ran, which is the order of things.
    if ctx.node.monitors.are_there() {
        let from = ctx.client.info.monitor_name();
        ctx.node.monitors.show(&ctx.node.mailboxes, ctx.session.db, &from, &ctx.args, 0);
    }
    ran
}

fn run(ctx: &mut NodeCtx<'_, '_>, queue: Queue) -> Outcome {
    let watched = ctx.client.watched.take();
    if queue.failed {
        return Err(Error::Text(errors::EXEC_ABORT));
    }
    if let Some(watched) = watched
        && has_changed(ctx, &watched)
    {
        ctx.out.null_array();
        return Ok(());
    }
    let writes = || queue.requests.iter().any(|request| request.row.spec.flags.contains(Flags::WRITE));
    if let Some(refusal) = Gate::refusal(ctx.node.repl.gate.bits(), Flags::WRITE)
        && !ctx.keys.is_from_primary()
        && writes()
    {
        return Err(format!("EXECABORT Transaction discarded because of: {refusal}").into());
    }
    let home = ctx.session.db;
    let (mut is_replica, mut changed_sides) = (ctx.node.repl.is_replica(), false);
    let (mut db, mut dirty, mut block, mut reply) = (home, 0, Records::default(), Out::new());
    let mut aside = Aside::new(ctx.node);
    reply.array(queue.requests.len());
    for request in &queue.requests {
        let before = block.mark();
        if ctx.session.db != db {
            select(ctx.session.db, &mut block);
        }
        let records_at = block.mark();
        ctx.invoke(&request.row, request.args(), None, None, true, &mut reply);
        if ctx.node.persist.gate.has(gate::STOPPING) {
            // That was SHUTDOWN, after which nothing happens and nobody is answered.
            return Ok(());
        }
        let was_replica = is_replica;
        is_replica = ctx.node.repl.is_replica();
        changed_sides |= is_replica != was_replica;
        let changes = ctx.keys.effects().drain(request.args().iter(), &mut block, Reach::All);
        dirty += changes;
        aside.set(block.capacity());
        if block.mark() == records_at {
            block.truncate(before);
        } else {
            db = ctx.session.db;
        }
    }
    // 3.2 logs the frame of a transaction that might have written, even when it has not. Where the role has changed, an
    // empty one would lead the log away from where the others have it.
    let might_write = || queue.requests.iter().any(|request| !request.row.spec.flags.contains(Flags::READONLY));
    let has_frame = if changed_sides { !block.is_empty() } else { might_write() };
    if db != home {
        select(home, &mut block);
    }
    if has_frame {
        ctx.keys.effects().log_transaction(block);
    } else {
        // It has only read, but found keys that had ended.
        ctx.keys.effects().log_all_before(&block);
    }
    ctx.keys.dirty(dirty);
    ctx.out.extend_raw(reply.as_slice());
    Ok(())
}

/// Whether a watched key has changed; from now on none can.
fn has_changed(ctx: &mut NodeCtx<'_, '_>, watched: &Stakes) -> bool {
    watched.keys().for_each(|key| ctx.keys.hold(slots::slot_of(key)));
    matches!(watched.stake(), Stake::Watch(watch) if watch.is_dirty())
}

fn watch(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    if ctx.client.queue.is_some() {
        return Err(Error::Text(errors::WATCH_IN_MULTI));
    }
    let (node, reactor) = (ctx.node, ctx.reactor);
    let info = ctx.client.info;
    let fresh = || {
        let watch = Arc::new(Watch::default());
        *info.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(&watch));
        Stakes::new(node, reactor, Stake::Watch(watch))
    };
    let watched = ctx.client.watched.get_or_insert_with(fresh);
    for i in 1..ctx.ctx.args.len() {
        let key = ctx.ctx.key(i);
        watched.register(&mut ctx.ctx.keys, &key);
    }
    ctx.out.ok();
    Ok(())
}

fn unwatch(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    *ctx.client.watched = None;
    ctx.out.ok();
    Ok(())
}

/// Records that the next ones are for another database.
fn select(db: u32, block: &mut Records) {
    block.push(Reach::All, |to| encode([&b"SELECT"[..], db.to_string().as_bytes()].into_iter(), to));
}

const FAST: Flags = Flags::NOSCRIPT.or(Flags::FAST);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("multi", 1, KeySpec::NONE, FAST, multi),
    command::<Handler>("exec", 1, KeySpec::NONE, Flags::NOSCRIPT.or(Flags::SKIP_MONITOR), exec).holding(Access::Touch),
    command("discard", 1, KeySpec::NONE, FAST, discard),
    command("watch", -2, KeySpec::range(1, -1, 1), FAST, watch),
    command("unwatch", 1, KeySpec::NONE, FAST, unwatch),
];

//! MULTI, EXEC and DISCARD.
//!
//! EXEC is privileged: it takes the slots of its commands' keys as it comes to them and keeps them to the end, so that
//! nobody sees a part of it. Its effects go to the oplog as one block, `MULTI` ... `EXEC`, in one append.

use super::{Handler, NodeCtx};
use crate::conn::Queue;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::effects::encode;
use resp::{Flags, KeySpec, Out, errors};
use std::sync::atomic::Ordering::Relaxed;

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
    ctx.out.ok();
    Ok(())
}

fn exec(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let queue = take_queue(ctx).ok_or(Error::Text(errors::EXEC_WITHOUT_MULTI))?;
    if queue.failed {
        return Err(Error::Text(errors::EXEC_ABORT));
    }
    let home = ctx.session.db;
    let (mut db, mut dirty, mut block, mut reply) = (home, 0, Vec::new(), Out::new());
    reply.array(queue.requests.len());
    for request in &queue.requests {
        let before = block.len();
        if ctx.session.db != db {
            select(ctx.session.db, &mut block);
        }
        let records_at = block.len();
        ctx.invoke(&request.row, request.args(), None, &mut reply);
        dirty += ctx.keys.effects().drain(request.args().iter(), &mut block);
        if block.len() == records_at {
            block.truncate(before);
        } else {
            db = ctx.session.db;
        }
    }
    if !block.is_empty() {
        if db != home {
            select(home, &mut block);
        }
        let mut whole = Vec::with_capacity(block.len() + 32);
        encode([&b"MULTI"[..]].into_iter(), &mut whole);
        whole.extend_from_slice(&block);
        encode([&b"EXEC"[..]].into_iter(), &mut whole);
        ctx.keys.effects().log_block(&whole);
    }
    ctx.keys.dirty(dirty);
    ctx.out.extend_raw(reply.as_slice());
    Ok(())
}

/// Records that the next ones are for another database.
fn select(db: u32, block: &mut Vec<u8>) {
    encode([&b"SELECT"[..], db.to_string().as_bytes()].into_iter(), block);
}

const FAST: Flags = Flags::NOSCRIPT.or(Flags::FAST);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("multi", 1, KeySpec::NONE, FAST, multi),
    command::<Handler>("exec", 1, KeySpec::NONE, Flags::NOSCRIPT.or(Flags::SKIP_MONITOR), exec).holding(Access::Touch),
    command("discard", 1, KeySpec::NONE, FAST, discard),
];

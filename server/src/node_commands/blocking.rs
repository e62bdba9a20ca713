//! BLPOP, BRPOP, BRPOPLPUSH: take an element, or wait for one.
//!
//! A client that has to wait is registered at all its keys while their slots are held, and parked. Whoever makes one of
//! these lists serves it ([`commands::blocking`]); its time and its end are watched by its own reactor.

use super::{Handler, NodeCtx};
use crate::park::Wait;
use crate::stakes::Stakes;
use commands::blocking::{move_first, pop_first, timeout_ms};
use commands::error::Outcome;
use commands::table::{Command, command};
use engine::interest::{Stake, Waiter};
use engine::value::list::End;
use resp::{Flags, KeySpec, Out};
use std::ops::Range;
use std::sync::Arc;

/// A client that waits for an element; dropping it withdraws the registrations.
struct ListWait {
    waiter: Arc<Waiter>,
    _stakes: Stakes,
}

impl Wait for ListWait {
    fn time_out(&self, out: &mut Out) -> bool {
        let ended = self.waiter.time_out();
        if ended {
            out.null_array();
        }
        ended
    }

    fn abandon(&self) {
        self.waiter.leave();
    }
}

fn pop(ctx: &mut NodeCtx<'_, '_>, end: End) -> Outcome {
    let last = ctx.args.len() - 1;
    let timeout = timeout_ms(ctx, last)?;
    if pop_first(ctx, end)? {
        return Ok(());
    }
    if !wait(ctx, 1..last, end, None, timeout) {
        ctx.out.null_array();
    }
    Ok(())
}

fn blpop(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    pop(ctx, End::Front)
}

fn brpop(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    pop(ctx, End::Back)
}

fn brpoplpush(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let timeout = timeout_ms(ctx, 3)?;
    if move_first(ctx)? {
        return Ok(());
    }
    let destination = ctx.args.at(2);
    if !wait(ctx, 1..2, End::Back, Some(destination), timeout) {
        ctx.out.null_bulk();
    }
    Ok(())
}

/// Registers the client at the keys at `keys` and parks it; false if it may not wait here.
fn wait(
    ctx: &mut NodeCtx<'_, '_>,
    keys: Range<usize>,
    end: End,
    destination: Option<&[u8]>,
    timeout_ms: Option<i64>,
) -> bool {
    let Some(parking) = &mut ctx.client.parking else { return false };
    let info = ctx.client.info;
    let ticket = parking.ticket(info);
    let waiter = Arc::new(Waiter::new(ticket.reactor, ticket.client, ticket.wait, end, destination));
    let mut stakes = Stakes::new(ctx.node, ctx.reactor, Stake::Wait(waiter.clone()));
    for i in keys {
        let key = ctx.ctx.key(i);
        stakes.register(&mut ctx.ctx.keys, &key);
    }
    let until_ms = timeout_ms.map(|timeout| ctx.ctx.keys.now().ms.saturating_add(timeout));
    info.begin_wait(&waiter);
    parking.park(ticket, until_ms, Box::new(ListWait { waiter, _stakes: stakes }));
    true
}

const WAITS: Flags = Flags::WRITE.or(Flags::NOSCRIPT);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("brpop", -3, KeySpec::range(1, -2, 1), WAITS, brpop),
    command("brpoplpush", 4, KeySpec::range(1, 2, 1), WAITS.or(Flags::DENYOOM), brpoplpush),
    command("blpop", -3, KeySpec::range(1, -2, 1), WAITS, blpop),
];

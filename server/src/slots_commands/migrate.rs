//! The asynchronous commands of a source: beginning a batch, waiting for it, ending it, and looking at it.
//!
//! A request is only checked here; the rest is its link's thread's (`driver.rs`). The client is parked until the batch
//! ends, so its later requests are answered after it, which the original does not manage.

use super::chunks::{self, Limits};
use super::exports::{Exports, Link, Report, Request, What};
use super::{closing, driver, peer};
use crate::node_commands::{Handler, NodeCtx};
use crate::park::{Ticket, Wait};
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::keyspace::Key;
use mio::{Poll, Waker};
use resp::{Flags, KeySpec, Out};
use slots::SlotId;
use slots::migration::abilities::Abilities;
use slots::migration::message::{strict_int, with_quote};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a 0 means.
const TIMEOUT_DEFAULT_MS: i64 = 30_000;
const MAXBULKS_DEFAULT: i64 = 200;
const MAXBULKS_DUMP_DEFAULT: i64 = 1000;
const MAXBYTES_DEFAULT: i64 = 512 * 1024;
const NUMKEYS_DEFAULT: i64 = 100;
/// The most that is taken.
const MAXBULKS_MAX: i64 = 512 * 1024;
const MAXBYTES_MAX: i64 = i32::MAX as i64 / 2;
/// Clients that may wait for one batch.
const WAITING_MAX: usize = 10_000;

/// An argument between 0 and the largest of 32 bits, where 0 means `default`.
fn number(ctx: &NodeCtx<'_, '_>, at: usize, name: &str, default: i64) -> Result<i64, Error> {
    let text = ctx.args.at(at);
    match strict_int(text).filter(|value| (0..=i64::from(i32::MAX)).contains(value)) {
        Some(0) => Ok(default),
        Some(value) => Ok(value),
        None => Err(invalid(name, text)),
    }
}

fn invalid(name: &str, text: &[u8]) -> Error {
    Error::Owned(with_quote(&format!("ERR invalid value of {name} ("), text))
}

/// A client that waits for a batch's end, which comes in any case. When it is gone the batch goes on.
struct Waiting {
    link: Arc<Link>,
    ticket: Ticket,
}

impl Wait for Waiting {
    fn time_out(&self, _out: &mut Out) -> bool {
        false
    }

    fn abandon(&self) {
        let mut state = self.link.state();
        state.waiting.retain(|&ticket| ticket != self.ticket);
        state.canceling.retain(|&ticket| ticket != self.ticket);
    }
}

fn migrate(ctx: &mut NodeCtx<'_, '_>, tags: bool, of_slot: bool) -> Outcome {
    let args = ctx.args;
    let host = String::from_utf8_lossy(args.at(1)).into_owned();
    let port = strict_int(args.at(2)).and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
    let port = port.ok_or_else(|| invalid("port", args.at(2)))?;
    let timeout_ms = number(ctx, 3, "timeout", TIMEOUT_DEFAULT_MS)?;
    let maxbulks = number(ctx, 4, "maxbulks", MAXBULKS_DEFAULT)?.min(MAXBULKS_MAX);
    let maxbytes = number(ctx, 5, "maxbytes", MAXBYTES_DEFAULT)?.min(MAXBYTES_MAX);
    let what = if of_slot {
        let slot = number(ctx, 6, "slot", 0)?;
        let slot = SlotId::new(slot as usize).ok_or_else(|| invalid("slot", args.at(6)))?;
        What::Slot { slot, numkeys: number(ctx, 7, "numkeys", NUMKEYS_DEFAULT)? as usize, tags }
    } else {
        let mut seen = HashSet::new();
        let keys = args.from(6).iter().filter(|&key| seen.insert(key)).map(Box::from).collect();
        What::Keys { keys, tags }
    };
    let limit = ctx.node.config().client_output_buffer_limit[0];
    let limited = [limit.soft_bytes, limit.hard_bytes].into_iter().filter(|&bytes| bytes != 0);
    let maxbytes = limited.fold(maxbytes as u64, u64::min) as usize;
    let limits = Limits { maxbulks: maxbulks as usize, maxbytes, timeout_ms, abilities: Abilities::default() };
    begin(ctx, host, port, Request { what, limits })
}

/// Hands a batch to the link of the client's database, which is made if there is none to this target.
fn begin(ctx: &mut NodeCtx<'_, '_>, host: String, port: u16, request: Request) -> Outcome {
    let (node, db) = (ctx.node, ctx.ctx.session.db);
    let Some(parking) = ctx.client.parking.as_deref_mut() else {
        return Err("ERR keys can't be migrated from a script or a transaction".into());
    };
    let exports = &node.moves.exports;
    let counted = Counted::new(exports);
    if node.moves.closing.is_on() {
        return Err(closing::REFUSED.into());
    }
    let mut links = exports.lock();
    let there = links.get(&db).cloned();
    if there.as_ref().is_some_and(|link| link.state().busy) {
        return Err("ERR the specified DB is being migrated".into());
    }
    let link = match there.clone().filter(|link| link.host == host && link.port == port) {
        Some(link) => link,
        None => {
            let no_poll = |error| Error::from(format!("ERR create client to {host}:{port} failed: {error}"));
            let poll = Poll::new().map_err(no_poll)?;
            let waker = Waker::new(poll.registry(), peer::WAKER).map_err(no_poll)?;
            let link = Arc::new(Link::new(host.clone(), port, db, waker));
            driver::start(node, link.clone(), poll).map_err(no_poll)?;
            if let Some(old) = there {
                old.close.store(true, Ordering::Release);
                old.wake();
            }
            links.insert(db, link.clone());
            link
        }
    };
    let ticket = parking.ticket(ctx.client.info);
    let mut state = link.state();
    counted.keep();
    state.busy = true;
    state.heard_ms = ctx.ctx.keys.now().ms;
    state.limits = Some(request.limits);
    state.request = Some(request);
    state.waiting.push(ticket);
    drop(state);
    drop(links);
    link.wake();
    parking.park(ticket, None, Box::new(Waiting { link, ticket }));
    Ok(())
}

/// A batch that may begin: counted, unless it comes to nothing.
struct Counted<'e>(&'e Exports);

impl<'e> Counted<'e> {
    fn new(exports: &'e Exports) -> Counted<'e> {
        exports.begin();
        Counted(exports)
    }

    /// It has begun, and its link will count its end.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn fence(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let Some(link) = ctx.node.moves.exports.link(ctx.session.db) else {
        ctx.out.ok();
        return Ok(());
    };
    let mut state = link.state();
    if !state.busy {
        drop(state);
        ctx.out.ok();
        return Ok(());
    }
    let Some(parking) = ctx.client.parking.as_deref_mut() else {
        return Err("ERR a script or a transaction can't wait for a migration".into());
    };
    if state.waiting.len() >= WAITING_MAX {
        return Err("ERR too many clients wait for this batch".into());
    }
    let ticket = parking.ticket(ctx.client.info);
    state.waiting.push(ticket);
    drop(state);
    parking.park(ticket, None, Box::new(Waiting { link, ticket }));
    Ok(())
}

/// SLOTSMGRT-ASYNC-CANCEL [REPORT]. The word is ours: who says it is answered when the batch has ended, and told what has
/// become of its keys.
fn cancel(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let report = ctx.args.len() == 2 && ctx.args.is(1, "report");
    let db = ctx.session.db;
    let mut links = ctx.node.moves.exports.lock();
    let Some(link) = links.get(&db).cloned() else {
        if report {
            Report::default().reply(false, ctx.out);
        } else {
            ctx.out.int(0);
        }
        return Ok(());
    };
    let mut state = link.state();
    // An idle link is no more from now on, though its thread takes a moment to close it.
    if !state.busy {
        links.remove(&db);
    }
    drop(links);
    let parking = ctx.client.parking.as_deref_mut().filter(|_| report && state.busy);
    let parked = parking.filter(|_| state.canceling.len() < WAITING_MAX);
    if let Some(parking) = parked {
        let ticket = parking.ticket(ctx.client.info);
        state.canceling.push(ticket);
        parking.park(ticket, None, Box::new(Waiting { link: link.clone(), ticket }));
    } else if report {
        Report::default().reply(true, ctx.ctx.out);
    } else {
        ctx.ctx.out.int(1);
    }
    if state.busy {
        link.cancel.store(true, Ordering::Release);
    }
    drop(state);
    link.close.store(true, Ordering::Release);
    link.wake();
    Ok(())
}

/// The messages of keys, as an answer: nothing is sent and nothing removed.
fn dump(ctx: &mut NodeCtx<'_, '_>, tags: bool) -> Outcome {
    let args = ctx.args;
    let timeout_ms = number(ctx, 1, "timeout", TIMEOUT_DEFAULT_MS)?;
    let maxbulks = number(ctx, 2, "maxbulks", MAXBULKS_DUMP_DEFAULT)? as usize;
    let limits = Limits { maxbulks, maxbytes: usize::MAX, timeout_ms, abilities: Abilities::default() };
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    let mut seen = HashSet::new();
    for key in args.from(3).iter() {
        if !seen.insert(Box::<[u8]>::from(key)) {
            continue;
        }
        keys.push(key.into());
        if let Some(crc) = slots::tag_crc(key).filter(|_| tags) {
            let mut group: Vec<Box<[u8]>> = Vec::new();
            if let Some(db) = ctx.keys.slot_keys(slots::slot_of(key)) {
                db.for_each_of_tag(crc, 0, |entry| {
                    group.push(entry.key().into());
                    true
                });
            }
            group.sort();
            keys.extend(group.into_iter().filter(|key| seen.insert(key.clone())));
        }
    }
    let header = ctx.out.deferred_array();
    let mut messages = 0;
    let now_ms = ctx.keys.now().ms;
    for key in &keys {
        let NodeCtx { ctx, .. } = ctx;
        if let Some(entry) = ctx.keys.peek(&Key::new(key)) {
            messages += chunks::make_all(entry, now_ms, limits, ctx.out.as_mut_vec());
        }
    }
    ctx.out.finish_array(header, messages);
    Ok(())
}

fn one(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    migrate(ctx, false, false)
}

fn tag_one(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    migrate(ctx, true, false)
}

fn slot(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    migrate(ctx, false, true)
}

fn tag_slot(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    migrate(ctx, true, true)
}

fn one_dump(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    dump(ctx, false)
}

fn tag_one_dump(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    dump(ctx, true)
}

const NONE: KeySpec = KeySpec::NONE;
const MOVES: Flags = Flags::WRITE.or(Flags::NOSCRIPT);
const DUMP: Flags = Flags::READONLY.or(Flags::DENYOOM);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("slotsmgrtslot-async", 8, NONE, MOVES, slot as Handler),
    command("slotsmgrttagslot-async", 8, NONE, MOVES, tag_slot),
    command("slotsmgrtone-async", -7, NONE, MOVES, one),
    command("slotsmgrttagone-async", -7, NONE, MOVES, tag_one),
    command::<Handler>("slotsmgrtone-async-dump", -4, NONE, DUMP, one_dump).holding(Access::Touch),
    command::<Handler>("slotsmgrttagone-async-dump", -4, NONE, DUMP, tag_one_dump).holding(Access::Touch),
    command("slotsmgrt-async-fence", 0, NONE, Flags::READONLY.or(Flags::NOSCRIPT), fence),
    command("slotsmgrt-async-cancel", 0, NONE, Flags::FAST, cancel),
    command::<Handler>("slotsmgrt-async-status", 0, NONE, Flags::FAST, super::status::status).holding(Access::Touch),
];

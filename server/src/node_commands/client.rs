//! CLIENT: who is connected, and ending connections.

use super::{Handler, NodeCtx};
use crate::clients::{ClientInfo, Kind};
use crate::conn::{Replies, as_chunks};
use crate::mailbox::Mail;
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use resp::{Flags, KeySpec, errors};
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

const USAGE: &str = "ERR Syntax error, try CLIENT (LIST | KILL | GETNAME | SETNAME | PAUSE | REPLY)";
const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

fn client(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let argc = ctx.args.len();
    match &ctx.args.at(1).to_ascii_lowercase()[..] {
        b"list" if argc == 2 => list(ctx),
        b"kill" => kill(ctx),
        b"reply" if argc == 3 => reply(ctx),
        b"pause" if argc == 3 => pause(ctx),
        b"getname" if argc == 2 => {
            let name = ctx.client.info.name.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ctx.out.bulk_or_null((!name.is_empty()).then_some(&name));
            Ok(())
        }
        b"setname" if argc == 3 => {
            let name = ctx.args.at(2);
            if name.iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
                return Err(Error::Text(BAD_NAME));
            }
            *ctx.client.info.name.lock().unwrap_or_else(PoisonError::into_inner) = name.to_vec();
            ctx.out.ok();
            Ok(())
        }
        _ => Err(Error::Text(USAGE)),
    }
}

fn reply(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let wanted = match &ctx.args.at(2).to_ascii_lowercase()[..] {
        b"on" => Replies::On,
        b"off" => Replies::Off,
        b"skip" if *ctx.client.replies == Replies::Off => Replies::Off,
        b"skip" => Replies::SkipNext,
        _ => return Err(Error::Text(errors::SYNTAX)),
    };
    *ctx.client.replies = wanted;
    if wanted == Replies::On {
        ctx.out.ok();
    }
    Ok(())
}

fn list(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let mut text = String::new();
    let now = ctx.keys.now().ms;
    // Others' figures are those of their last turn; who asks is in the middle of one.
    ctx.client.info.last_ms.store(now, Relaxed);
    ctx.client.info.db.store(ctx.session.db, Relaxed);
    let registry = &ctx.node.registry;
    for info in ctx.node.clients.all() {
        let last = info.command.load(Relaxed);
        let command = match info.id == ctx.client.info.id {
            true => "client",
            false => registry.iter().find(|row| u32::from(row.id) + 1 == last).map_or("NULL", |row| row.spec.name),
        };
        line(&info, now, command, &mut text);
    }
    ctx.out.bulk(text.as_bytes());
    Ok(())
}

/// One line of CLIENT LIST. `command` is the last one it sent.
fn line(info: &ClientInfo, now_ms: i64, command: &str, text: &mut String) {
    let name = info.name.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let watch = info.watch.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut flags = String::new();
    let letters = [
        (info.monitor.load(Relaxed), 'O'),
        (info.queued.load(Relaxed) >= 0, 'x'),
        (info.is_blocked(), 'b'),
        (watch.and_then(|watch| watch.upgrade()).is_some_and(|watch| watch.is_dirty()), 'd'),
        (info.closing.load(Relaxed), 'c'),
        (info.unix, 'U'),
    ];
    match info.kind() {
        Kind::Normal => {}
        Kind::Replica => flags.push('S'),
        Kind::Primary => flags.push('M'),
    }
    for (set, letter) in letters {
        if set {
            flags.push(letter);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let waiting = info.output.load(Relaxed);
    let [own, chunks, memory] = as_chunks(waiting);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "id={} addr={} fd={} name={} age={} idle={} flags={flags} db={} sub={} psub={} multi={} qbuf={} qbuf-free={} \
         obl={own} oll={chunks} omem={memory} events={} cmd={}",
        info.id,
        info.addr,
        info.fd,
        String::from_utf8_lossy(&name),
        (now_ms - info.since_ms).max(0) / 1000,
        (now_ms - info.last_ms.load(Relaxed)).max(0) / 1000,
        info.db.load(Relaxed),
        info.subscriptions[0].load(Relaxed),
        info.subscriptions[1].load(Relaxed),
        info.queued.load(Relaxed),
        info.input[0].load(Relaxed),
        info.input[1].load(Relaxed),
        if waiting > 0 { "rw" } else { "r" },
        command,
    );
}

fn pause(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let ms = resp::parse_i64(ctx.args.at(2)).ok_or(Error::Text(errors::TIMEOUT_NOT_AN_INTEGER))?;
    if ms < 0 {
        return Err(Error::Text(errors::TIMEOUT_NEGATIVE));
    }
    let until = ctx.keys.now().ms.saturating_add(ms);
    ctx.node.pause(if ms == 0 { 0 } else { until });
    ctx.out.ok();
    Ok(())
}

/// What CLIENT KILL TYPE tells apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    Slave,
    PubSub,
    Master,
}

fn class_of(info: &ClientInfo) -> Class {
    match info.kind() {
        Kind::Primary => Class::Master,
        Kind::Replica => Class::Slave,
        Kind::Normal if info.subscriptions.iter().any(|count| count.load(Relaxed) > 0) => Class::PubSub,
        Kind::Normal => Class::Normal,
    }
}

/// Which clients CLIENT KILL means.
#[derive(Default)]
struct Filter {
    id: Option<u64>,
    addr: Option<Vec<u8>>,
    class: Option<Class>,
    skip_me: bool,
}

fn kill(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    let mut filter = Filter { skip_me: true, ..Filter::default() };
    let single = args.len() == 3;
    if single {
        filter.addr = Some(args.at(2).to_vec());
        filter.skip_me = false;
    } else if args.len() > 3 {
        for i in (2..args.len()).step_by(2) {
            let Some(value) = args.get(i + 1) else { return Err(Error::Text(errors::SYNTAX)) };
            match &args.at(i).to_ascii_lowercase()[..] {
                b"id" => {
                    let id = resp::parse_i64(value).ok_or(Error::Text(errors::NOT_AN_INTEGER))?;
                    filter.id = Some(id as u64);
                }
                b"type" => match &value.to_ascii_lowercase()[..] {
                    b"normal" => filter.class = Some(Class::Normal),
                    b"slave" => filter.class = Some(Class::Slave),
                    b"pubsub" => filter.class = Some(Class::PubSub),
                    b"master" => filter.class = Some(Class::Master),
                    _ => {
                        let value = String::from_utf8_lossy(value);
                        return Err(format!("ERR Unknown client type '{value}'").into());
                    }
                },
                b"addr" => filter.addr = Some(value.to_vec()),
                b"skipme" => match &value.to_ascii_lowercase()[..] {
                    b"yes" => filter.skip_me = true,
                    b"no" => filter.skip_me = false,
                    _ => return Err(Error::Text(errors::SYNTAX)),
                },
                _ => return Err(Error::Text(errors::SYNTAX)),
            }
        }
    } else {
        return Err(Error::Text(errors::SYNTAX));
    }
    let me = ctx.client.info.id;
    let matches = |info: &Arc<ClientInfo>| {
        filter.class.is_none_or(|class| class == class_of(info))
            && filter.id.is_none_or(|id| id == info.id)
            && filter.addr.as_ref().is_none_or(|addr| addr == info.addr.as_bytes())
            && !(filter.skip_me && info.id == me)
    };
    let mut killed = 0;
    for info in ctx.node.clients.all().iter().filter(|info| matches(info)) {
        killed += 1;
        if info.id == me {
            // After the reply.
            *ctx.client.close_after_reply = true;
        } else if info.kind() == Kind::Primary {
            // At once, even if this thread is to be busy for a while: the link comes again by itself.
            ctx.node.repl.break_link();
        } else {
            info.kill();
            ctx.node.clients.remove(info.id);
            // A transaction holds slots, with which none of what a client leaves behind may be locked.
            let in_transaction = ctx.client.parking.is_none();
            match ctx.net.place_of(info.id) {
                Some(index) if info.reactor == ctx.reactor && !in_transaction => ctx.net.close(index),
                _ => ctx.node.mailboxes[info.reactor].send(Mail::Kill(info.id)),
            }
        }
    }
    match (single, killed) {
        (true, 0) => return Err(Error::Text("ERR No such client")),
        (true, _) => ctx.out.ok(),
        (false, n) => ctx.out.int(n),
    }
    Ok(())
}

pub(super) static TABLE: &[Command<Handler>] =
    &[command("client", -2, KeySpec::NONE, Flags::ADMIN.or(Flags::NOSCRIPT), client)];

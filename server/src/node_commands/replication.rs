//! Replication as clients ask for it: SYNC and PSYNC, REPLCONF, SLAVEOF, ROLE, WAIT.

use super::{Handler, NodeCtx};
use crate::config::Primary;
use crate::conn::Replies;
use crate::log;
use crate::node::Node;
use crate::repl::feed::put_online;
use crate::repl::peer::{Delivery, Feed, Peer, Replica};
use commands::args::Args;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::oplog::Consumer;
use replication::feed::Stage;
use replication::link::Phase;
use replication::psync::{Backlog, Decision, Why, continue_line, decide};
use resp::{Flags, KeySpec, errors};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The longest address that a replica may announce, in bytes.
const IP_BYTES_MAX: usize = 45;

fn sync(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    begin_feed(ctx, None)
}

fn psync(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let request = (ctx.args.at(1), ctx.args.at(2));
    begin_feed(ctx, Some(request))
}

/// Makes the connection a replica's. All slots are held.
fn begin_feed(ctx: &mut NodeCtx<'_, '_>, request: Option<(&[u8], &[u8])>) -> Outcome {
    let (node, now) = (ctx.node, ctx.keys.now());
    if ctx.keys.is_from_primary() {
        // Its stream is no connection to feed.
        return Err(Error::Text("ERR SYNC and PSYNC are not allowed in the stream of a primary"));
    }
    if ctx.client.parking.is_none() {
        return Err(Error::Text("ERR SYNC and PSYNC are not allowed in transactions"));
    }
    if ctx.client.peer.as_ref().is_some_and(|peer| peer.feed.is_some()) {
        return Ok(());
    }
    {
        let state = node.repl.state();
        if state.primary.is_some() && state.phase != Phase::Streaming {
            return Err(Error::Text(match ctx.client.peer.as_ref().is_some_and(|peer| peer.intro.knows_psync2) {
                true => "NOMASTERLINK Can't SYNC while not connected with my master",
                false => "ERR Can't SYNC while not connected with my master",
            }));
        }
    }
    if !ctx.out.is_empty() {
        return Err(Error::Text("ERR SYNC and PSYNC are invalid with pending output"));
    }
    let peer = ctx.client.peer.get_or_insert_with(Box::<Peer>::default);
    let replica = Replica::new(ctx.client.info, peer.intro.clone(), request.is_some(), now.ms);
    let (name, knows_psync2) = (replica.name(), peer.intro.knows_psync2);
    log::notice!("Slave {name} asks for synchronization");
    ctx.client.info.set_kind(crate::clients::Kind::Replica);
    *ctx.client.replies = Replies::Off;
    open_backlog(ctx);
    if let Some((id, offset)) = request {
        let decision = {
            let state = node.repl.state();
            match decide(&state.history, backlog(ctx.node, state.backlog_from), id, offset) {
                // It may have been cut off within what came before the log, and mean other bytes.
                Decision::Partial { from } if !knows_psync2 && state.prologues.may_differ(from) => {
                    Decision::Refused(Why::NotKept)
                }
                decision => decision,
            }
        };
        match decision {
            Decision::Partial { from } => match node.oplog.pinned(from) {
                Ok(cursor) => {
                    let missed = node.oplog.end() - from;
                    log::notice!(
                        "Partial resynchronization request from {name} accepted. Sending {missed} bytes of backlog \
                         starting from offset {}.",
                        from + 1
                    );
                    let line = continue_line(node.repl.state().history.id, knows_psync2);
                    if let Some(peer) = ctx.client.peer {
                        let feed = Feed::start(node, replica, Some(cursor));
                        feed.replica.deliver(node, Delivery::Line(line.into_bytes()));
                        peer.feed = Some(feed);
                    }
                    node.repl.syncs[1].fetch_add(1, Ordering::Relaxed);
                    node.refresh_gate(now.ms);
                    return Ok(());
                }
                Err(_) => refuse_partial(ctx, &name, Why::NotKept, id, offset),
            },
            Decision::Refused(why) => refuse_partial(ctx, &name, why, id, offset),
            Decision::Full => log::notice!("Full resync requested by slave {name}"),
        }
    }
    node.repl.syncs[0].fetch_add(1, Ordering::Relaxed);
    let config = node.config();
    let waits_for_company = config.repl_diskless_sync && replica.intro.takes_mark;
    if let Some(peer) = ctx.client.peer {
        peer.feed = Some(Feed::start(node, replica, None));
    }
    if waits_for_company {
        log::notice!("Delay next BGSAVE for diskless SYNC");
    } else {
        crate::repl::begin_full_sync(node, &mut ctx.ctx.keys);
    }
    Ok(())
}

fn refuse_partial(ctx: &NodeCtx<'_, '_>, name: &str, why: Why, id: &[u8], offset: &[u8]) {
    ctx.node.repl.syncs[2].fetch_add(1, Ordering::Relaxed);
    let offset = offset.escape_ascii();
    match why {
        Why::OtherHistory => log::notice!(
            "Partial resynchronization not accepted: Runid mismatch (Client asked for runid '{}', my runid is '{}')",
            id.escape_ascii(),
            ctx.node.repl.state().history.id
        ),
        Why::NotKept | Why::NoOffset => {
            log::notice!(
                "Unable to partial resync with slave {name} for lack of backlog (Slave request was: {offset})."
            );
            let node = ctx.node;
            let (from, kept) = (node.repl.state().backlog_from, node.config().repl_backlog_size);
            log::verbose!(
                "The backlog begins at {from:?} at the earliest, the log at {}, and ends at {}; {kept} bytes are kept",
                node.oplog.oldest(),
                node.oplog.end()
            );
        }
    }
}

/// Turns the log on for replicas, if this is the first one. All slots are held.
fn open_backlog(ctx: &NodeCtx<'_, '_>) {
    let node = ctx.node;
    let mut state = node.repl.state();
    if state.backlog_from.is_some() {
        return;
    }
    if !node.oplog.is_on() && node.oplog.end() > 0 && state.primary.is_none() {
        // What was written while nobody listened is in no offset.
        state.history.renew(crate::start::random_id());
    }
    state.backlog_from = Some(node.oplog.end());
    node.oplog.want(Consumer::Replicas, true);
}

/// The part of the log that a replica may go on in.
pub(super) fn backlog(node: &crate::node::Node, from: Option<u64>) -> Option<Backlog> {
    let end = node.oplog.end();
    let kept = end.saturating_sub(node.config().repl_backlog_size);
    from.map(|from| Backlog { first: from.max(kept).max(node.oplog.oldest()).min(end), end })
}

fn replconf(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let (args, now_ms) = (ctx.args, ctx.keys.now().ms);
    if answer_replconf(ctx.node, ctx.client.peer, &args, now_ms)? {
        ctx.out.ok();
    }
    Ok(())
}

/// REPLCONF, which needs no keys, so that it is answered also while a script has them. Whether OK is to be said.
pub fn answer_replconf(node: &Node, peer: &mut Option<Box<Peer>>, args: &Args<'_>, now_ms: i64) -> Result<bool, Error> {
    if args.len().is_multiple_of(2) {
        return Err(Error::Text(errors::SYNTAX));
    }
    for i in (1..args.len()).step_by(2) {
        let (option, value) = (args.at(i).to_ascii_lowercase(), args.at(i + 1));
        match option.as_slice() {
            b"ack" => {
                acknowledge(node, peer, value, now_ms);
                return Ok(false);
            }
            b"getack" => {
                node.repl.ack_wanted.store(true, Ordering::Release);
                continue;
            }
            b"listening-port" | b"ip-address" | b"capa" => {}
            _ => {
                let option = String::from_utf8_lossy(args.at(i));
                return Err(format!("ERR Unrecognized REPLCONF option: {option}").into());
            }
        }
        let intro = &mut peer.get_or_insert_with(Box::<Peer>::default).intro;
        match option.as_slice() {
            b"listening-port" => {
                let port = resp::parse_i64(value).ok_or(Error::Text(errors::NOT_AN_INTEGER))?;
                intro.port = u16::try_from(port).unwrap_or(0);
            }
            b"ip-address" if value.len() > IP_BYTES_MAX => {
                let text = "ERR REPLCONF ip-address provided by slave instance is too long";
                return Err(format!("{text}: {} bytes", value.len()).into());
            }
            b"ip-address" => intro.ip = Some(String::from_utf8_lossy(value).into_owned()).filter(|ip| !ip.is_empty()),
            _ if value.eq_ignore_ascii_case(b"eof") => intro.takes_mark = true,
            _ if value.eq_ignore_ascii_case(b"psync2") => intro.knows_psync2 = true,
            _ => {}
        }
    }
    Ok(true)
}

/// A replica says how far it is. Nobody is answered.
fn acknowledge(node: &Node, peer: &mut Option<Box<Peer>>, offset: &[u8], now_ms: i64) {
    let Some(feed) = peer.as_mut().and_then(|peer| peer.feed.as_mut()) else { return };
    let Some(offset) = resp::parse_u64(offset) else { return };
    feed.replica.ack.fetch_max(offset, Ordering::AcqRel);
    let late = feed.replica.lag_s(now_ms) > 0;
    feed.replica.ack_ms.store(now_ms, Ordering::Relaxed);
    if feed.replica.stage() == Stage::WaitAck {
        put_online(feed);
    }
    node.let_waiting_go_on();
    if late {
        node.refresh_gate(now_ms);
    }
}

fn slaveof(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let node = ctx.node;
    node.repl.drain.end();
    let is_logged = ctx.keys.effects().are_logged();
    let config = node.config();
    if config.cluster_enabled {
        return Err(Error::Text("ERR SLAVEOF not allowed in cluster mode."));
    }
    let who = format!("id={} addr={}", ctx.client.info.id, ctx.client.info.addr);
    if ctx.args.is(1, "no") && ctx.args.is(2, "one") {
        if config.slaveof.is_some() {
            change_sides(ctx, None, is_logged);
            log::notice!("MASTER MODE enabled (user request from '{who}')");
        }
        ctx.out.ok();
        return Ok(());
    }
    let port = ctx.int(2)?;
    let host = String::from_utf8_lossy(ctx.args.at(1)).into_owned();
    let port = u16::try_from(port).map_err(|_| Error::Text("ERR Invalid master port"))?;
    if config.slaveof.as_ref().is_some_and(|old| old.host.eq_ignore_ascii_case(&host) && old.port == port) {
        log::notice!(
            "SLAVE OF would result into synchronization with the master we are already connected with. No operation \
             performed."
        );
        ctx.out.simple("OK Already connected to specified master");
        return Ok(());
    }
    log::notice!("SLAVE OF {host}:{port} enabled (user request from '{who}')");
    change_sides(ctx, Some(Primary { host, port }), is_logged);
    ctx.out.ok();
    Ok(())
}

/// Follows `primary` from now on, or nobody. What stands behind this in a transaction is of the new side.
fn change_sides(ctx: &mut NodeCtx<'_, '_>, primary: Option<Primary>, is_logged: bool) {
    let (node, now_ms) = (ctx.node, ctx.keys.now().ms);
    ctx.keys.set_replica(primary.is_some());
    node.set_primary(primary, is_logged, now_ms);
    ctx.keys.effects().logging = node.oplog.wants_records(false);
}

fn role(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let node = ctx.node;
    let state = node.repl.state();
    if let Some(primary) = &state.primary {
        ctx.ctx.out.array(5);
        ctx.ctx.out.bulk(b"slave");
        ctx.ctx.out.bulk(primary.host.as_bytes());
        ctx.ctx.out.int(primary.port.into());
        ctx.ctx.out.bulk(state.phase.word().as_bytes());
        let offset = if state.phase == Phase::Streaming { node.oplog.end() as i64 } else { -1 };
        ctx.ctx.out.int(offset);
        return Ok(());
    }
    drop(state);
    let replicas: Vec<Arc<Replica>> =
        node.repl.replicas().iter().filter(|replica| replica.stage().is_online()).cloned().collect();
    ctx.out.array(3);
    ctx.out.bulk(b"master");
    ctx.out.int(node.oplog.end() as i64);
    ctx.out.array(replicas.len());
    for replica in replicas {
        ctx.out.array(3);
        ctx.out.bulk(replica.ip().as_bytes());
        ctx.out.bulk_int(replica.intro.port.into());
        ctx.out.bulk_int(replica.ack.load(Ordering::Relaxed) as i64);
    }
    Ok(())
}

fn wait(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let (replicas, now_ms) = (ctx.int(1)?, ctx.keys.now().ms);
    let timeout = resp::parse_i64(ctx.args.at(2)).ok_or(Error::Text(errors::TIMEOUT_NOT_AN_INTEGER))?;
    if timeout < 0 {
        return Err(Error::Text(errors::TIMEOUT_NEGATIVE));
    }
    // All that the client can have seen, which others may have written.
    let (node, offset) = (ctx.node, ctx.node.oplog.end());
    let there = node.replicas_at(offset);
    let Some(parking) = ctx.client.parking.as_mut().filter(|_| there < replicas) else {
        ctx.ctx.out.int(there);
        return Ok(());
    };
    let ticket = parking.ticket(ctx.client.info);
    let until_ms = (timeout > 0).then(|| now_ms.saturating_add(timeout));
    parking.park(ticket, until_ms, node.wait_for_replicas(ticket, offset, replicas));
    if node.oplog.is_on() {
        node.oplog.append_for_replicas(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
    }
    // A replica may have answered just before we were noted.
    node.let_waiting_go_on();
    Ok(())
}

const SYNC: Flags = Flags::READONLY.or(Flags::ADMIN).or(Flags::NOSCRIPT);
const ADMIN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT);
const SLAVEOF: Flags = ADMIN.or(Flags::STALE);
const REPLCONF: Flags = ADMIN.or(Flags::LOADING).or(Flags::STALE);
const ROLE: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);

pub(super) static TABLE: &[Command<Handler>] = &[
    command::<Handler>("sync", 1, KeySpec::NONE, SYNC, sync).holding(Access::All),
    command::<Handler>("psync", 3, KeySpec::NONE, SYNC, psync).holding(Access::All),
    command("replconf", -1, KeySpec::NONE, REPLCONF, replconf),
    command::<Handler>("slaveof", 3, KeySpec::NONE, SLAVEOF, slaveof).holding(Access::All),
    // Its name from Redis 5 on.
    command::<Handler>("replicaof", 3, KeySpec::NONE, SLAVEOF, slaveof).holding(Access::All),
    command("role", 1, KeySpec::NONE, ROLE, role),
    command("wait", 3, KeySpec::NONE, Flags::NOSCRIPT, wait),
];

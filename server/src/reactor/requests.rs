//! Requests out of bytes: parsed in batches, looked ahead, run in order.
//!
//! 1. Requests of one connection run in the order of their bytes; the first that is put off or parks its client ends
//!    the batch, and the later ones are parsed again.
//! 2. Nothing is allocated per request: arguments are ranges of the buffer, in vectors that all connections share.

use super::{Reactor, deliver};
use crate::conn::{Conn, Sent};
use crate::dispatch::{Executor, Prepared, Ran, Turn};
use crate::log;
use crate::node::Node;
use commands::args::Args;
use engine::clock::Now;
use engine::raw::ticks::{self, Ticks};
use resp::{Arg, Out, Progress, ProtocolError};
use std::sync::atomic::Ordering;

/// Commands looked ahead, so that their cache misses overlap.
const LOOK_AHEAD: usize = 16;
/// A request of more arguments or bytes than this is work to speak of: none is looked ahead behind it, so that nothing is
/// parsed in vain ..
const HEAVY_ARGS: usize = 64;
const HEAVY_BYTES: usize = 16 * 1024;
/// .. and after one of them a connection's turn ends if the reactor has worked for so long: others come first then.
const TURN_US: u64 = 150;
/// Replies kept in the shared buffer before they are sent in the middle of a batch.
const SEND_AT_BYTES: usize = 256 * 1024;
/// Capacity that the shared reply buffer keeps between turns.
const OUT_KEEP_BYTES: usize = 1 << 20;

/// Buffers that all connections of the thread share.
pub(super) struct Batch {
    out: Out,
    args: Vec<Arg>,
    requests: Vec<Request>,
    /// Requests run since the buffer at hand was begun.
    served: usize,
    /// When the reactor began to serve those who have something for it.
    pub(super) began: Ticks,
    /// Ticks of a turn.
    turn: u64,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            out: Out::with_capacity(64 * 1024),
            args: Vec::new(),
            requests: Vec::with_capacity(LOOK_AHEAD),
            served: 0,
            began: Ticks::now(),
            turn: TURN_US * ticks::per_microsecond(),
        }
    }
}

/// One parsed request of a batch.
struct Request {
    /// Where it begins in the buffer.
    at: usize,
    /// Where the next one begins.
    end: usize,
    /// Its arguments among those of the batch.
    args: std::ops::Range<usize>,
    prepared: Prepared,
}

/// How serving a buffer ended.
pub(super) enum Served {
    /// Everything was served.
    All,
    /// An incomplete request begins at `from`.
    Rest { from: usize, hint: usize },
    /// The request at `from` must come again.
    PutOff { from: usize },
    /// The client waits for a reply; its next request begins at `from`.
    Parked { from: usize },
    /// The connection ends.
    Close,
}

/// Why a batch ended.
enum BatchEnd {
    Full,
    Drained,
    Partial { hint: usize },
    Inline { first: usize, at: usize, next: usize },
    Broken(ProtocolError),
}

impl Reactor {
    /// Serves the requests in `bytes`, in batches, and sends the replies.
    pub(super) fn serve_bytes(&mut self, conn: &mut Conn, bytes: &[u8], now: Now) -> Served {
        let mut out = std::mem::take(&mut self.batch.out);
        self.batch.served = 0;
        let mut served = self.serve_batches(conn, bytes, &mut out, now);
        // Who reads a reply may ask a replica next.
        self.exec.node.wake_feeders(self.exec.reactor, &mut self.seen_end);
        let holds = self.exec.node.persist.aof.holds_replies();
        if !out.is_empty() && (holds || !self.net.keep(conn, &mut out, self.batch.served)) {
            let (sent, written) = deliver(self.exec.node, &mut self.held, conn, out.as_slice());
            // The buffer is shared: the next connection must not get this one's replies.
            out.clear();
            self.exec.node.stats[self.exec.reactor].bytes_out.add(written as u64);
            if sent == Sent::Broken || conn.client.close_after_reply && conn.waiting() == 0 {
                served = Served::Close;
            }
        } else if conn.client.close_after_reply && conn.waiting() == 0 && !conn.has_kept {
            served = Served::Close;
        }
        if conn.is_over_output_limit(&self.exec.settled.config, now.ms) {
            log::warning!("{}", conn.over_limit_text());
            served = Served::Close;
        }
        out.shrink(OUT_KEEP_BYTES);
        self.batch.out = out;
        served
    }

    pub(super) fn serve_batches(&mut self, conn: &mut Conn, bytes: &[u8], out: &mut Out, now: Now) -> Served {
        let mut from = 0;
        loop {
            self.batch.args.clear();
            self.batch.requests.clear();
            let mut at = from;
            let mut end = BatchEnd::Full;
            while self.batch.requests.len() < LOOK_AHEAD {
                if at >= bytes.len() {
                    end = BatchEnd::Drained;
                    break;
                }
                let first = self.batch.args.len();
                match conn.parser.parse(&bytes[at..], &mut self.batch.args) {
                    Ok(Progress::Complete { consumed }) => {
                        if self.batch.args.len() > first {
                            let args = first..self.batch.args.len();
                            let prepared = self.exec.prepare(&Args::new(&bytes[at..], &self.batch.args[first..]));
                            let end = at + consumed;
                            self.batch.requests.push(Request { at, end, args, prepared });
                        } else if let Some(feed) = conn.client.feed() {
                            // An empty line is all that a replica says while it loads its image.
                            feed.replica.ack_ms.store(now.ms, Ordering::Relaxed);
                        }
                        at += consumed;
                        if self.batch.args.len() - first > HEAVY_ARGS || consumed > HEAVY_BYTES {
                            break;
                        }
                    }
                    Ok(Progress::Inline { consumed }) => {
                        end = BatchEnd::Inline { first, at, next: at + consumed };
                        break;
                    }
                    Ok(Progress::NeedMore { hint }) => {
                        end = BatchEnd::Partial { hint };
                        break;
                    }
                    Err(error) => {
                        end = BatchEnd::Broken(error);
                        break;
                    }
                }
            }
            if let Some(stopped) = self.run_batch(conn, bytes, out) {
                // The parser's place is beyond what was not served.
                conn.parser.reset();
                return stopped;
            }
            if conn.client.close_after_reply || conn.is_over_output_limit(&self.exec.settled.config, now.ms) {
                return Served::All;
            }
            match end {
                BatchEnd::Full => from = at,
                BatchEnd::Drained => return Served::All,
                BatchEnd::Partial { hint } => return Served::Rest { from: at, hint },
                BatchEnd::Inline { first, at, next } => {
                    let text = conn.parser.inline_text().to_vec();
                    let args = Args::new(&text, &self.batch.args[first..]);
                    let prepared = self.exec.prepare(&args);
                    self.exec.begin_batch();
                    let now = self.exec.moment();
                    if let Some(stopped) = must_stop(self.exec.node, conn, at, now) {
                        conn.parser.reset();
                        return stopped;
                    }
                    let Conn { client, deferrals, .. } = conn;
                    let mut turn = Turn { net: &mut self.net, client, out, now, deferrals: *deferrals };
                    let ran = self.exec.run(&mut turn, args, &prepared);
                    conn.parser.reset();
                    if ran == Ran::PutOff {
                        put_off(&mut self.exec, conn);
                        return Served::PutOff { from: at };
                    }
                    conn.deferrals = 0;
                    if ran == Ran::Parked {
                        return Served::Parked { from: next };
                    }
                    if ran == Ran::Paused {
                        return Served::PutOff { from: next };
                    }
                    if conn.client.close_after_reply {
                        return Served::All;
                    }
                    from = next;
                }
                BatchEnd::Broken(error) => {
                    log::verbose!("Protocol error from client {}: {error}", conn.client.info.id);
                    out.error_line(&error.text());
                    conn.client.close_after_reply = true;
                    return Served::All;
                }
            }
        }
    }

    /// Runs the requests of the batch in order. Returns where to go on if one was put off or parked the client.
    pub(super) fn run_batch(&mut self, conn: &mut Conn, bytes: &[u8], out: &mut Out) -> Option<Served> {
        self.batch.served += self.batch.requests.len();
        let Batch { requests, args: all, began, turn: turn_ticks, .. } = &mut self.batch;
        if requests.len() > 1 {
            let db = conn.client.session.db;
            for stage in 0..3 {
                for request in requests.iter() {
                    self.exec.prefetch(&request.prepared, db, stage);
                }
            }
        }
        self.exec.begin_batch();
        for request in requests {
            let args = Args::new(&bytes[request.at..], &all[request.args.clone()]);
            let now = self.exec.moment();
            if let Some(stopped) = must_stop(self.exec.node, conn, request.at, now) {
                return Some(stopped);
            }
            let Conn { client, deferrals, .. } = conn;
            let mut turn = Turn { net: &mut self.net, client, out, now, deferrals: *deferrals };
            match self.exec.run(&mut turn, args, &request.prepared) {
                Ran::Done => conn.deferrals = 0,
                Ran::PutOff => {
                    put_off(&mut self.exec, conn);
                    return Some(Served::PutOff { from: request.at });
                }
                Ran::Parked => {
                    conn.deferrals = 0;
                    return Some(Served::Parked { from: request.end });
                }
                Ran::Paused => {
                    conn.deferrals = 0;
                    return Some(Served::PutOff { from: request.end });
                }
            }
            if conn.client.close_after_reply {
                return None;
            }
            let heavy = args.len() > HEAVY_ARGS || request.end - request.at > HEAVY_BYTES;
            if heavy && self.exec.last_ended().since(*began) > *turn_ticks {
                return Some(Served::PutOff { from: request.end });
            }
            if out.len() > SEND_AT_BYTES {
                let (_, written) = deliver(self.exec.node, &mut self.held, conn, out.as_slice());
                out.clear();
                self.exec.node.stats[self.exec.reactor].bytes_out.add(written as u64);
                if conn.is_over_output_limit(&self.exec.settled.config, now.ms) {
                    return None;
                }
            }
        }
        None
    }
}

/// Whether the request at `at` may not run although those before it did: another thread has ended this client, or paused
/// all, and who did knows that since it has its reply.
#[inline]
fn must_stop(node: &Node, conn: &Conn, at: usize, now: Now) -> Option<Served> {
    if conn.client.info.killed.load(Ordering::Relaxed) {
        return Some(Served::Close);
    }
    (node.is_paused(now) && conn.client.feed().is_none()).then_some(Served::PutOff { from: at })
}

/// A request could not have what it needs: notes what that is.
fn put_off(exec: &mut Executor, conn: &mut Conn) {
    conn.stalled = std::mem::take(&mut exec.stalled);
    // Who goes on with its own work waits for nobody.
    conn.deferrals = if std::mem::take(&mut exec.unpacks) { 0 } else { conn.deferrals + 1 };
    conn.behind_guest = exec.owner.met_guest();
}

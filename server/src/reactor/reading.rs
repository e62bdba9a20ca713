//! One read of a connection, and what becomes of its bytes.
//!
//! 1. Bytes of a read lie in the thread's buffer; only what is left of the last request is copied.
//! 2. A request that is not whole yet moves to the connection's own buffer (`input.rs`), which no turn is long for.
//! 3. One read a turn: a connection that has more waits for the others.

use super::Reactor;
use super::requests::Served;
use crate::conn::{Conn, Sent};
use crate::input::{INPUT_BYTES_MAX, Input};
use crate::log;
use engine::clock::Now;
use std::io;
use std::sync::atomic::Ordering;

/// Bytes of one read.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Bytes of one read of a big argument: few calls, and no turn that others feel.
const READ_MORE_BYTES: usize = 256 * 1024;
/// What is left of a read is put before the next one in the thread's buffer up to this; copying more costs more than a
/// buffer of its own.
const CARRY_BYTES_MAX: usize = READ_BYTES / 4;

/// What becomes of a connection after a turn.
pub(super) enum Next {
    Keep,
    Again,
    Close,
}

impl Reactor {
    pub(super) fn on_event(&mut self, index: usize, readable: bool, writable: bool, now: Now) {
        let Some(Some(conn)) = self.net.conns.get_mut(index) else { return };
        if writable && let Some(feed) = conn.client.peer.as_mut().and_then(|peer| peer.feed.as_mut()) {
            feed.blocked = false;
        }
        if writable && conn.waiting() > 0 && !conn.held {
            let (sent, bytes) = conn.flush();
            self.exec.node.stats[self.exec.reactor].bytes_out.add(bytes as u64);
            conn.publish(now.ms);
            if sent == Sent::Broken || sent == Sent::All && conn.client.close_after_reply {
                return self.net.close(index);
            }
        }
        let Some(Some(conn)) = self.net.conns.get_mut(index) else { return };
        if readable && conn.unserved {
            // It has its turn with those that go on, and the event is not forgotten.
            conn.more_to_read = true;
            self.net.again.push(index);
        } else if readable {
            self.turn(index, now);
        }
    }

    /// Reads and serves one connection once.
    pub(super) fn turn(&mut self, index: usize, now: Now) {
        self.catch_up(index, now);
        if self.node().holds_back(now) && self.hold_back(index, now) {
            return;
        }
        if self.net.listens(index) {
            // What was on its way to this client before it spoke comes before the reply, and is not lost by an UNSUBSCRIBE.
            self.net.hand_out(&self.exec.settled.config);
        }
        self.net.send_kept_of(index);
        let Some(mut conn) = self.net.conns.get_mut(index).and_then(Option::take) else { return };
        if conn.stalled {
            // The event is not forgotten.
            conn.more_to_read = true;
            self.net.conns[index] = Some(conn);
            return;
        }
        let next = self.serve(&mut conn, now);
        conn.publish(now.ms);
        let id = conn.client.info.id;
        self.net.watch_parked(index, &conn);
        if conn.client.feed().is_some() && !self.net.replicas.contains(&index) {
            self.net.replicas.push(index);
        }
        let stalled = conn.stalled;
        self.net.conns[index] = Some(conn);
        match next {
            Next::Keep => {}
            Next::Again if stalled => self.net.stalled.push(index),
            Next::Again => self.net.again.push(index),
            Next::Close => {
                log::debug!("Client {id} closed the connection");
                self.close_after_held(index, now);
            }
        }
        if self.net.is_full() {
            self.net.send_kept();
        }
    }

    pub(super) fn serve(&mut self, conn: &mut Conn, now: Now) -> Next {
        if conn.client.info.killed.load(Ordering::Relaxed) {
            return Next::Close;
        }
        if conn.client.close_after_reply {
            return if conn.waiting() == 0 { Next::Close } else { Next::Keep };
        }
        if conn.client.parking.parked.is_some() {
            return self.hear(conn);
        }
        if std::mem::take(&mut conn.unserved) {
            let input = std::mem::take(&mut conn.input);
            let next = self.serve_bytes(conn, &input, now);
            // This turn may be that of an event, which comes once: read before waiting for another one.
            return self.keep_rest(conn, input, next, true);
        }
        if conn.input.len() <= CARRY_BYTES_MAX && conn.input.capacity() <= READ_BYTES {
            let mut scratch = std::mem::take(&mut self.scratch);
            let next = self.read_scratch(conn, &mut scratch, now);
            self.scratch = scratch;
            return next;
        }
        let mut input = std::mem::take(&mut conn.input);
        let room = (input.capacity() - input.len()).clamp(READ_BYTES, READ_MORE_BYTES);
        match input.read(&conn.socket, room) {
            Ok(0) => {
                conn.input = input;
                Next::Close
            }
            Ok(n) => {
                self.exec.node.stats[self.exec.reactor].bytes_in.add(n as u64);
                let next = self.serve_bytes(conn, &input, now);
                self.keep_rest(conn, input, next, n == room)
            }
            Err(error) => {
                conn.input = input;
                read_failed(conn, &error)
            }
        }
    }

    /// Reads behind the few bytes that were left of the last read, and serves.
    fn read_scratch(&mut self, conn: &mut Conn, scratch: &mut [u8], now: Now) -> Next {
        let old = conn.input.len();
        scratch[..old].copy_from_slice(&conn.input);
        let end = match conn.socket.read(&mut scratch[old..]) {
            Ok(0) => return Next::Close,
            Ok(n) => old + n,
            Err(error) => return read_failed(conn, &error),
        };
        self.exec.node.stats[self.exec.reactor].bytes_in.add((end - old) as u64);
        let full = end == scratch.len() || std::mem::take(&mut conn.more_to_read);
        let mut input = std::mem::take(&mut conn.input);
        input.clear();
        match self.serve_bytes(conn, &scratch[..end], now) {
            Served::Close => Next::Close,
            Served::All if full => Next::Again,
            Served::All => Next::Keep,
            Served::Rest { from, hint } => {
                input.reserve(hint.max(end - from));
                input.extend_from_slice(&scratch[from..end]);
                conn.input = input;
                if full { Next::Again } else { Next::Keep }
            }
            Served::PutOff { from } => {
                input.extend_from_slice(&scratch[from..end]);
                conn.input = input;
                conn.more_to_read = full;
                conn.unserved = true;
                Next::Again
            }
            Served::Parked { from } => {
                input.extend_from_slice(&scratch[from..end]);
                conn.input = input;
                // An end that came along is seen by reading on.
                Next::Again
            }
        }
    }

    /// Keeps what `input` has left and says when to go on.
    pub(super) fn keep_rest(&mut self, conn: &mut Conn, mut input: Input, served: Served, more: bool) -> Next {
        let (more, node) = (more || std::mem::take(&mut conn.more_to_read), self.node());
        match served {
            Served::Close => {
                input.free(node);
                Next::Close
            }
            Served::All => {
                input.free(node);
                if more { Next::Again } else { Next::Keep }
            }
            Served::Rest { from, hint } => {
                input.drop_front(from, node);
                input.reserve(hint.saturating_sub(input.len()));
                conn.input = input;
                if conn.input.len() > INPUT_BYTES_MAX {
                    log::warning!("Closing client {} that reached max query buffer length", conn.client.info.id);
                    return Next::Close;
                }
                if more { Next::Again } else { Next::Keep }
            }
            Served::PutOff { from } => {
                input.drop_front(from, node);
                conn.input = input;
                conn.more_to_read = more;
                conn.unserved = true;
                Next::Again
            }
            Served::Parked { from } => {
                input.drop_front(from, node);
                conn.input = input;
                conn.more_to_read = more;
                Next::Again
            }
        }
    }
}

fn read_failed(conn: &mut Conn, error: &io::Error) -> Next {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            conn.more_to_read = false;
            Next::Keep
        }
        io::ErrorKind::Interrupted => Next::Again,
        _ => Next::Close,
    }
}

//! One server thread: its own poll, its own connections. Reads a batch, looks ahead, runs in order, writes once.
//!
//! 1. A connection belongs to one reactor. Its requests run in order, and a request that must wait for slots holds up
//!    the connection's later ones only.
//! 2. Nothing in the loop blocks but the poll.
//! 3. Events are edge-triggered: a read that filled its buffer, or a write that came back short, is remembered here.

use crate::clients::ClientInfo;
use crate::config::ClientClass;
use crate::conn::{Client, Conn, Replies, Sent, Socket};
use crate::cron::Cron;
use crate::dispatch::{Executor, Prepared, Ran};
use crate::listener::Listeners;
use crate::log;
use crate::mailbox::Mail;
use crate::node::Node;
use commands::args::Args;
use commands::ctx::Session;
use engine::clock::Now;
use mio::{Events, Poll, Token};
use resp::{Arg, Out, Progress, ProtocolError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Commands looked ahead, so that their cache misses overlap.
const LOOK_AHEAD: usize = 16;
/// Events of one poll; larger batches cost latency.
const EVENTS: usize = 256;
/// A client whose unparsed request is longer than this is cut off.
const INPUT_BYTES_MAX: usize = 1 << 30;
/// A big argument's buffer is made ready in steps of at most this, so that announcing one costs its sender.
const RESERVE_BYTES_MAX: usize = 1 << 20;
/// Replies kept in the shared buffer before they are sent in the middle of a batch.
const SEND_AT_BYTES: usize = 256 * 1024;
/// Capacity that the shared reply buffer keeps between turns.
const OUT_KEEP_BYTES: usize = 1 << 20;

/// Token of the waker; connections follow at [`FIRST_CONN`].
pub const WAKER: Token = Token(0);
/// Tokens from 1 up to here are listeners.
pub const FIRST_CONN: usize = 64;

/// One parsed request of a batch.
struct Request {
    /// Where it begins in the buffer.
    at: usize,
    /// Its arguments among those of the batch.
    args: std::ops::Range<usize>,
    prepared: Prepared,
}

/// The thread.
pub struct Reactor {
    poll: Poll,
    exec: Executor,
    listeners: Option<Listeners>,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// Connections to go on with without an event.
    again: Vec<usize>,
    scratch: Vec<u8>,
    out: Out,
    args: Vec<Arg>,
    requests: Vec<Request>,
    mail: Vec<Mail>,
    cron: Cron,
    next_reactor: usize,
}

/// What becomes of a connection after a turn.
enum Next {
    Keep,
    Again,
    Close,
}

impl Reactor {
    /// A reactor over `poll`, in which the waker is registered already.
    pub fn new(poll: Poll, exec: Executor, listeners: Option<Listeners>) -> Reactor {
        let cron = Cron::new(exec.reactor);
        Reactor {
            poll,
            exec,
            listeners,
            conns: Vec::new(),
            free: Vec::new(),
            again: Vec::new(),
            scratch: vec![0; READ_BYTES],
            out: Out::with_capacity(64 * 1024),
            args: Vec::new(),
            requests: Vec::with_capacity(LOOK_AHEAD),
            mail: Vec::new(),
            cron,
            next_reactor: 0,
        }
    }

    fn node(&self) -> &'static Node {
        self.exec.node
    }

    /// Serves until the node is stopping.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        if let Some(listeners) = &mut self.listeners {
            listeners.register(self.poll.registry())?;
        }
        while !self.node().stopping.load(Ordering::SeqCst) {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.node().mailboxes[self.exec.reactor].woke();
            let now = Now::read();
            self.exec.settled.refresh(self.node());
            self.take_mail(now);
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(n) if n < FIRST_CONN => self.accept(n, now),
                    Token(n) => {
                        self.on_event(n - FIRST_CONN, event.is_readable(), event.is_writable(), now);
                        if event.is_read_closed() {
                            // The end came together with data, and no other event will say so.
                            self.again.push(n - FIRST_CONN);
                        }
                    }
                }
            }
            for index in std::mem::take(&mut self.again) {
                self.turn(index, now);
            }
            self.exec.publish_stats();
            self.run_cron(now);
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        let mailbox = &self.node().mailboxes[self.exec.reactor];
        if !self.again.is_empty() {
            // Somebody else holds the slots that a request needs, or there is more to read.
            return Duration::ZERO;
        }
        if mailbox.may_sleep() { self.cron.until_next(self.exec.settled.config.hz) } else { Duration::ZERO }
    }

    fn take_mail(&mut self, now: Now) {
        let mut mail = std::mem::take(&mut self.mail);
        self.node().mailboxes[self.exec.reactor].take(&mut mail);
        for mail in mail.drain(..) {
            match mail {
                Mail::Accepted(socket) => self.adopt(socket, now),
                Mail::Kill(id) => {
                    let index = self.conns.iter().position(|c| c.as_ref().is_some_and(|c| c.client.info.id == id));
                    if let Some(index) = index {
                        self.close(index);
                    }
                }
            }
        }
        self.mail = mail;
    }

    // --- connections

    fn accept(&mut self, token: usize, now: Now) {
        let Some(listeners) = &mut self.listeners else { return };
        let mut accepted = Vec::new();
        listeners.accept(token, &self.exec.settled.config, self.exec.node, &mut accepted);
        for socket in accepted {
            let reactors = self.node().mailboxes.len();
            let to = self.next_reactor % reactors;
            self.next_reactor += 1;
            if to == self.exec.reactor {
                self.adopt(socket, now);
            } else {
                self.node().mailboxes[to].send(Mail::Accepted(socket));
            }
        }
    }

    fn adopt(&mut self, mut socket: Socket, now: Now) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        if let Err(error) = socket.register(self.poll.registry(), Token(FIRST_CONN + index)) {
            log::warning!("Can't watch a client's socket: {error}");
            self.free.push(index);
            return;
        }
        let node = self.node();
        let (addr, unix) = crate::listener::peer(&socket, &self.exec.settled.config);
        let info = ClientInfo {
            id: node.clients.next_id(),
            addr,
            unix,
            fd: socket.fd(),
            reactor: self.exec.reactor,
            since_ms: now.ms,
            last_ms: now.ms.into(),
            queued: (-1).into(),
            ..ClientInfo::default()
        };
        let info = Arc::new(info);
        node.clients.add(info.clone());
        node.stats[self.exec.reactor].connections.add(1);
        let authenticated = self.exec.settled.config.requirepass.is_none();
        let client = Client {
            info,
            session: Session::default(),
            authenticated,
            close_after_reply: false,
            replies: Replies::On,
            queue: None,
        };
        self.conns[index] = Some(Conn::new(socket, client));
        self.turn(index, now);
    }

    fn close(&mut self, index: usize) {
        if let Some(conn) = self.conns[index].take() {
            self.node().clients.remove(conn.client.info.id);
            self.free.push(index);
        }
    }

    fn on_event(&mut self, index: usize, readable: bool, writable: bool, now: Now) {
        let Some(Some(conn)) = self.conns.get_mut(index) else { return };
        if writable && conn.waiting() > 0 {
            let (sent, bytes) = conn.flush();
            self.exec.node.stats[self.exec.reactor].bytes_out.add(bytes as u64);
            conn.publish(now.ms);
            if sent == Sent::Broken || sent == Sent::All && conn.client.close_after_reply {
                return self.close(index);
            }
        }
        if readable {
            self.turn(index, now);
        }
    }

    /// Reads and serves one connection once.
    fn turn(&mut self, index: usize, now: Now) {
        let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) else { return };
        let next = self.serve(&mut conn, now);
        conn.publish(now.ms);
        let id = conn.client.info.id;
        self.conns[index] = Some(conn);
        match next {
            Next::Keep => {}
            Next::Again => self.again.push(index),
            Next::Close => {
                log::debug!("Client {id} closed the connection");
                self.close(index);
            }
        }
    }

    fn serve(&mut self, conn: &mut Conn, now: Now) -> Next {
        if conn.client.close_after_reply {
            return if conn.waiting() == 0 { Next::Close } else { Next::Keep };
        }
        if conn.deferrals > 0 {
            // What is there has not been served yet: reading more would only pile up.
            let input = std::mem::take(&mut conn.input);
            let next = self.serve_bytes(conn, &input, now);
            return self.keep_rest(conn, input, next, false);
        }
        let stats = &self.exec.node.stats[self.exec.reactor];
        if conn.input.is_empty() {
            let mut scratch = std::mem::take(&mut self.scratch);
            let next = match conn.socket.read(&mut scratch) {
                Ok(0) => Next::Close,
                Ok(n) => {
                    stats.bytes_in.add(n as u64);
                    let next = self.serve_bytes(conn, &scratch[..n], now);
                    match next {
                        Served::Close => Next::Close,
                        Served::All if n < READ_BYTES => Next::Keep,
                        Served::All => Next::Again,
                        Served::Rest { from, hint } => {
                            conn.input = Vec::with_capacity(hint.min(RESERVE_BYTES_MAX).max(n - from));
                            conn.input.extend_from_slice(&scratch[from..n]);
                            if n == READ_BYTES { Next::Again } else { Next::Keep }
                        }
                        Served::PutOff { from } => {
                            conn.input = scratch[from..n].to_vec();
                            conn.more_to_read = n == READ_BYTES;
                            Next::Again
                        }
                    }
                }
                Err(error) => read_failed(&error),
            };
            self.scratch = scratch;
            return next;
        }
        let mut input = std::mem::take(&mut conn.input);
        let old = input.len();
        let room = (input.capacity() - old).clamp(READ_BYTES, RESERVE_BYTES_MAX);
        input.resize(old + room, 0);
        match conn.socket.read(&mut input[old..]) {
            Ok(0) => Next::Close,
            Ok(n) => {
                stats.bytes_in.add(n as u64);
                input.truncate(old + n);
                let next = self.serve_bytes(conn, &input, now);
                self.keep_rest(conn, input, next, n == room)
            }
            Err(error) => {
                input.truncate(old);
                conn.input = input;
                read_failed(&error)
            }
        }
    }

    /// Keeps what `input` has left and says when to go on.
    fn keep_rest(&mut self, conn: &mut Conn, mut input: Vec<u8>, served: Served, more: bool) -> Next {
        let more = more || std::mem::take(&mut conn.more_to_read);
        match served {
            Served::Close => Next::Close,
            Served::All => {
                if more {
                    Next::Again
                } else {
                    Next::Keep
                }
            }
            Served::Rest { from, hint } => {
                input.drain(..from);
                let wanted = hint.min(input.len() + RESERVE_BYTES_MAX.max(input.len() / 2));
                input.reserve(wanted.saturating_sub(input.len()));
                conn.input = input;
                if conn.input.len() > INPUT_BYTES_MAX {
                    log::warning!("Closing client {} that reached max query buffer length", conn.client.info.id);
                    return Next::Close;
                }
                if more { Next::Again } else { Next::Keep }
            }
            Served::PutOff { from } => {
                input.drain(..from);
                conn.input = input;
                conn.more_to_read = more;
                Next::Again
            }
        }
    }

    // --- requests

    /// Serves the requests in `bytes`, in batches, and sends the replies.
    fn serve_bytes(&mut self, conn: &mut Conn, bytes: &[u8], now: Now) -> Served {
        let mut out = std::mem::take(&mut self.out);
        let mut served = self.serve_batches(conn, bytes, &mut out, now);
        if !out.is_empty() {
            let (sent, written) = conn.send(&mut out);
            self.exec.node.stats[self.exec.reactor].bytes_out.add(written as u64);
            if sent == Sent::Broken || conn.client.close_after_reply && conn.waiting() == 0 {
                served = Served::Close;
            }
        } else if conn.client.close_after_reply && conn.waiting() == 0 {
            served = Served::Close;
        }
        if self.is_over_output_limit(conn, now) {
            log::warning!(
                "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer limits.",
                conn.client.info.id,
                conn.client.info.addr
            );
            served = Served::Close;
        }
        out.shrink(OUT_KEEP_BYTES);
        self.out = out;
        served
    }

    fn serve_batches(&mut self, conn: &mut Conn, bytes: &[u8], out: &mut Out, now: Now) -> Served {
        let mut from = 0;
        loop {
            self.args.clear();
            self.requests.clear();
            let mut at = from;
            let mut end = Batch::Full;
            while self.requests.len() < LOOK_AHEAD {
                if at >= bytes.len() {
                    end = Batch::Drained;
                    break;
                }
                let first = self.args.len();
                match conn.parser.parse(&bytes[at..], &mut self.args) {
                    Ok(Progress::Complete { consumed }) => {
                        if self.args.len() > first {
                            let args = first..self.args.len();
                            let prepared = self.exec.prepare(&Args::new(&bytes[at..], &self.args[first..]));
                            self.requests.push(Request { at, args, prepared });
                        }
                        at += consumed;
                    }
                    Ok(Progress::Inline { consumed }) => {
                        end = Batch::Inline { first, at, next: at + consumed };
                        break;
                    }
                    Ok(Progress::NeedMore { hint }) => {
                        end = Batch::Partial { hint };
                        break;
                    }
                    Err(error) => {
                        end = Batch::Broken(error);
                        break;
                    }
                }
            }
            if let Some(from) = self.run_batch(conn, bytes, out, now) {
                // The parser's place is beyond what was put off.
                conn.parser.reset();
                return Served::PutOff { from };
            }
            if conn.client.close_after_reply || self.is_over_output_limit(conn, now) {
                return Served::All;
            }
            match end {
                Batch::Full => from = at,
                Batch::Drained => return Served::All,
                Batch::Partial { hint } => return Served::Rest { from: at, hint },
                Batch::Inline { first, at, next } => {
                    let text = conn.parser.inline_text().to_vec();
                    let args = Args::new(&text, &self.args[first..]);
                    let prepared = self.exec.prepare(&args);
                    self.exec.begin_batch();
                    let ran = self.exec.run(&mut conn.client, out, args, &prepared, conn.deferrals, now);
                    if ran == Ran::PutOff {
                        conn.deferrals += 1;
                        conn.parser.reset();
                        return Served::PutOff { from: at };
                    }
                    conn.deferrals = 0;
                    if conn.client.close_after_reply {
                        return Served::All;
                    }
                    from = next;
                }
                Batch::Broken(error) => {
                    log::verbose!("Protocol error from client {}: {error}", conn.client.info.id);
                    out.error_line(&error.text());
                    conn.client.close_after_reply = true;
                    return Served::All;
                }
            }
        }
    }

    /// Runs the requests of the batch in order. Returns where the first one begins that was put off.
    fn run_batch(&mut self, conn: &mut Conn, bytes: &[u8], out: &mut Out, now: Now) -> Option<usize> {
        if self.requests.len() > 1 {
            let db = conn.client.session.db;
            for stage in 0..3 {
                for request in &self.requests {
                    self.exec.prefetch(&request.prepared, db, stage);
                }
            }
        }
        self.exec.begin_batch();
        for request in &self.requests {
            let args = Args::new(&bytes[request.at..], &self.args[request.args.clone()]);
            let ran = self.exec.run(&mut conn.client, out, args, &request.prepared, conn.deferrals, now);
            if ran == Ran::PutOff {
                conn.deferrals += 1;
                return Some(request.at);
            }
            conn.deferrals = 0;
            if conn.client.close_after_reply {
                return None;
            }
            if out.len() > SEND_AT_BYTES {
                let (_, written) = conn.send(out);
                self.exec.node.stats[self.exec.reactor].bytes_out.add(written as u64);
                if self.is_over_output_limit(conn, now) {
                    return None;
                }
            }
        }
        None
    }

    /// Whether the replies that wait are more than the client's class may have.
    fn is_over_output_limit(&self, conn: &mut Conn, now: Now) -> bool {
        let limit = &self.exec.settled.config.client_output_buffer_limit[ClientClass::Normal as usize];
        let waiting = conn.waiting() as u64;
        if limit.hard_bytes != 0 && waiting >= limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || waiting < limit.soft_bytes {
            conn.over_soft_limit_since_ms = None;
            return false;
        }
        let since = *conn.over_soft_limit_since_ms.get_or_insert(now.ms);
        now.ms - since > limit.soft_seconds as i64 * 1000
    }

    // --- time

    fn run_cron(&mut self, now: Now) {
        if !self.cron.is_due(now, self.exec.settled.config.hz) {
            return;
        }
        self.cron.run(&mut self.exec, now);
        let timeout_ms = self.exec.settled.config.timeout as i64 * 1000;
        for index in 0..self.conns.len() {
            let Some(conn) = &mut self.conns[index] else { continue };
            let idle = now.ms - conn.client.info.last_ms.load(Ordering::Relaxed);
            let over = conn.waiting() > 0 && {
                let limit = &self.exec.settled.config.client_output_buffer_limit[ClientClass::Normal as usize];
                conn.over_soft_limit_since_ms.is_some_and(|since| now.ms - since > limit.soft_seconds as i64 * 1000)
            };
            if timeout_ms > 0 && idle > timeout_ms {
                log::verbose!("Closing idle client");
                self.close(index);
            } else if over {
                self.close(index);
            }
        }
    }
}

/// Why a batch ended.
enum Batch {
    Full,
    Drained,
    Partial { hint: usize },
    Inline { first: usize, at: usize, next: usize },
    Broken(ProtocolError),
}

/// How serving a buffer ended.
enum Served {
    /// Everything was served.
    All,
    /// An incomplete request begins at `from`.
    Rest { from: usize, hint: usize },
    /// The request at `from` must come again.
    PutOff { from: usize },
    /// The connection ends.
    Close,
}

fn read_failed(error: &io::Error) -> Next {
    match error.kind() {
        io::ErrorKind::WouldBlock => Next::Keep,
        io::ErrorKind::Interrupted => Next::Again,
        _ => Next::Close,
    }
}

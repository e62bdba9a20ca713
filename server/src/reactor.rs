//! One server thread: its own poll, its own connections. Reads a batch, looks ahead, runs in order, writes once.
//!
//! 1. A connection belongs to one reactor. Its requests run in order, and a request that must wait for slots holds up
//!    the connection's later ones only.
//! 2. Nothing in the loop blocks but the poll.
//! 3. Replies to a few small requests leave together when the turn ends (`net.rs`), others as soon as they are there.
//! 4. Events are edge-triggered: a read that filled its buffer, or a write that came back short, is remembered here.

use crate::conn::{Conn, Sent};
use crate::cron::Cron;
use crate::dispatch::{Executor, Prepared, Ran, Turn};
use crate::listener::Listeners;
use crate::log;
use crate::mailbox::Mail;
use crate::net::{FIRST_CONN, Net, WAKER};
use crate::node::Node;
use crate::park::Ticket;
use crate::persist::gate;
use crate::repl;
use commands::args::Args;
use engine::clock::Now;
use mio::{Events, Poll, Token};
use resp::{Arg, Out, Progress, ProtocolError, errors};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a thread looks whether DEBUG SLEEP on another one is over.
const ASLEEP_PAUSE: Duration = Duration::from_millis(1);
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

/// Pause of a reactor that has nothing to do but to try again for slots or keys that others keep long.
const SLOTS_PAUSE: Duration = Duration::from_millis(1);
/// Bytes of later requests that are read from a parked client; the socket keeps the others.
const PARKED_INPUT_BYTES: usize = 64 * 1024;

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

/// The thread.
pub struct Reactor {
    exec: Executor,
    net: Net,
    batch: Batch,
    mail: Vec<Mail>,
    cron: Cron,
    /// The executor has something left to do.
    unsettled: bool,
    repl_cron: repl::cron::Cron,
    /// The link to the primary, on the first reactor.
    link: Option<Box<repl::Driver>>,
    /// The log's end when other reactors were last told.
    seen_end: u64,
    /// Clients whose replies wait for the append only file.
    held: Vec<u64>,
}

/// Buffers that all connections of the thread share.
struct Batch {
    scratch: Vec<u8>,
    out: Out,
    args: Vec<Arg>,
    requests: Vec<Request>,
    /// Requests run since the buffer at hand was begun.
    served: usize,
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
        let batch = Batch {
            scratch: vec![0; READ_BYTES],
            out: Out::with_capacity(64 * 1024),
            args: Vec::new(),
            requests: Vec::with_capacity(LOOK_AHEAD),
            served: 0,
        };
        let cron = Cron::new(exec.reactor);
        let net = Net::new(poll, exec.node, exec.reactor, listeners);
        let link = (exec.reactor == 0).then(|| Box::new(repl::Driver::new(exec.node)));
        let repl_cron = repl::cron::Cron::default();
        Reactor {
            exec,
            net,
            batch,
            mail: Vec::new(),
            cron,
            unsettled: false,
            repl_cron,
            link,
            seen_end: 0,
            held: Vec::new(),
        }
    }

    fn node(&self) -> &'static Node {
        self.exec.node
    }

    /// Serves until the node is stopping.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        self.net.listen()?;
        while !self.node().stopping.load(Ordering::SeqCst) {
            let timeout = self.timeout();
            let turn_began_ms = &self.node().stats[self.exec.reactor].turn_began_ms;
            turn_began_ms.store(0, Ordering::Relaxed);
            match self.net.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.node().mailboxes[self.exec.reactor].woke();
            while self.node().asleep.load(Ordering::Relaxed) {
                std::thread::sleep(ASLEEP_PAUSE);
            }
            let now = Now::read();
            turn_began_ms.store(now.ms, Ordering::Relaxed);
            self.exec.settled.refresh(self.node());
            self.exec.share_locks();
            self.exec.local.effects.wanted = self.exec.settled.notify;
            self.take_mail(now);
            if !self.net.paused.is_empty() && !self.node().is_paused(now) {
                self.end_pause();
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    repl::link::TOKEN => {
                        if let Some(link) = &mut self.link {
                            let readable = event.is_readable() || event.is_read_closed();
                            link.on_event(readable, event.is_writable(), &mut self.exec, &mut self.net, now);
                        }
                    }
                    Token(n) if n < FIRST_CONN => self.net.accept(n, &self.exec.settled.config, now),
                    Token(n) => {
                        self.on_event(n - FIRST_CONN, event.is_readable(), event.is_writable(), now);
                        if event.is_read_closed() {
                            // The end came together with data, and no other event will say so.
                            self.on_end(n - FIRST_CONN);
                        }
                    }
                }
            }
            for index in std::mem::take(&mut self.net.again) {
                self.turn(index, now);
            }
            while let Some(index) = self.net.overdue(now) {
                self.time_out(index, now);
            }
            self.unsettled = self.exec.settle(now);
            if self.exec.node.persist.gate.has(gate::AOF) {
                self.release_replies(now);
            }
            self.net.send_kept();
            if let Some(link) = &mut self.link {
                link.turn(&mut self.exec, &mut self.net, now);
            }
            self.feed_replicas(now);
            // What commands of this turn published.
            self.take_mail(now);
            self.net.flush_due(&self.exec.settled.config, now);
            self.exec.publish_stats();
            self.run_cron(now);
        }
        self.net.end();
        Ok(())
    }

    fn timeout(&self) -> Duration {
        let mailbox = &self.node().mailboxes[self.exec.reactor];
        if !self.net.again.is_empty() || self.unsettled || !mailbox.may_sleep() {
            // Somebody else holds the slots that a request needs, or there is more to read.
            return if self.net.all_wait_for_slots() { SLOTS_PAUSE } else { Duration::ZERO };
        }
        if self.has_replication_work() {
            mailbox.woke();
            return Duration::ZERO;
        }
        let cron = self.cron.until_next(self.exec.settled.config.hz);
        let resumed = (!self.net.paused.is_empty()).then(|| self.node().paused_until_ms.load(Ordering::Relaxed) + 1);
        match self.net.next_deadline_ms().into_iter().chain(resumed).min() {
            Some(at) => cron.min(Duration::from_millis(at.saturating_sub(Now::read().ms).max(0) as u64)),
            None => cron,
        }
    }

    fn take_mail(&mut self, now: Now) {
        let mut mail = std::mem::take(&mut self.mail);
        self.node().mailboxes[self.exec.reactor].take(&mut mail);
        for mail in mail.drain(..) {
            match mail {
                Mail::Accepted(socket) => self.net.adopt(socket, &self.exec.settled.config, now),
                Mail::Kill(id) => {
                    if let Some(index) = self.net.place_of(id) {
                        self.net.close(index);
                    }
                }
                Mail::Call(work) => work(&mut self.exec, now),
                Mail::EndWaits => self.end_waits(now),
                Mail::Link(news) => {
                    if let Some(link) = &mut self.link {
                        link.on_news(news, &mut self.exec, &mut self.net, now);
                    }
                }
                Mail::Resume { ticket, reply } => self.resume(ticket, &reply, now),
                Mail::Published(message) => self.net.deliver(&message, &self.exec.settled.config),
                Mail::Shown(line) => self.net.show(&line, &self.exec.settled.config),
            }
        }
        self.mail = mail;
    }

    // --- replication

    /// Whether replicas or the link could go on at once.
    fn has_replication_work(&self) -> bool {
        let node = self.exec.node;
        let hungry = |&index: &usize| {
            self.net.conns.get(index).and_then(Option::as_ref).is_some_and(|conn| repl::feed::has_work(conn, node))
        };
        self.net.replicas.iter().any(hungry) || self.link.as_ref().is_some_and(|link| link.has_work(node))
    }

    /// Sends replicas what is new, and wakes reactors that have replicas.
    fn feed_replicas(&mut self, now: Now) {
        let node = self.exec.node;
        let second = self.repl_cron.is_due(now);
        if second && let Some(link) = &mut self.link {
            link.each_second(&mut self.exec, &mut self.net, now);
            self.repl_cron.run(&mut self.exec, now);
        }
        // Who cannot have the slots now cannot begin a sync, and must not look as if.
        let able = second && !self.net.replicas.is_empty() && self.exec.owner.try_privileged().is_some();
        let mut at = 0;
        while let Some(&index) = self.net.replicas.get(at) {
            let Some(Some(conn)) = self.net.conns.get_mut(index) else {
                self.net.replicas.swap_remove(at);
                continue;
            };
            if conn.client.feed().is_none() {
                self.net.replicas.swap_remove(at);
                continue;
            }
            let mut fed = Ok(());
            if repl::feed::has_work(conn, node) {
                fed = repl::feed::feed(conn, node, now);
            }
            if fed.is_ok() {
                fed = repl::feed::check_lag(conn, node, &self.exec.settled.config, now);
            }
            if second && fed.is_ok() {
                fed = repl::feed::each_second(conn, &self.exec.settled.config, able, now);
            }
            match fed {
                Ok(()) => at += 1,
                Err(repl::feed::GiveUp) => self.net.close(index),
            }
        }
        node.wake_feeders(self.exec.reactor, &mut self.seen_end);
    }

    // --- connections that wait for a reply

    /// Brings a parked client its reply, and goes on with what it has sent since.
    fn resume(&mut self, ticket: Ticket, reply: &[u8], now: Now) {
        let Some(index) = self.net.place_of(ticket.client) else { return };
        self.net.send_kept_of(index);
        let Some(mut conn) = self.net.conns[index].take() else { return };
        if conn.client.parking.parked.as_ref().is_some_and(|parked| parked.ticket == ticket) {
            let mute = self.net.unpark(&mut conn).is_some_and(|parked| parked.mute);
            self.go_on(&mut conn, if mute { &[] } else { reply }, now);
            self.net.go_on_later(index, &conn);
        }
        self.net.conns[index] = Some(conn);
    }

    /// Ends the wait of every parked client, and its connection.
    fn end_waits(&mut self, now: Now) {
        for index in 0..self.net.conns.len() {
            let Some(mut conn) = self.net.conns[index].take() else { continue };
            let mut unwanted = Out::new();
            if conn.client.parking.parked.as_ref().is_some_and(|parked| parked.wait.time_out(&mut unwanted)) {
                self.net.unpark(&mut conn);
                let mut reply = Out::new();
                reply.error(errors::UNBLOCKED);
                conn.client.close_after_reply = true;
                self.go_on(&mut conn, reply.as_slice(), now);
                self.net.go_on_later(index, &conn);
            }
            self.net.conns[index] = Some(conn);
        }
    }

    fn time_out(&mut self, index: usize, now: Now) {
        self.net.send_kept_of(index);
        let Some(mut conn) = self.net.conns.get_mut(index).and_then(Option::take) else { return };
        let mut reply = Out::new();
        if conn.client.parking.parked.as_ref().is_some_and(|parked| parked.wait.time_out(&mut reply)) {
            let mute = self.net.unpark(&mut conn).is_some_and(|parked| parked.mute);
            self.go_on(&mut conn, if mute { &[] } else { reply.as_slice() }, now);
            self.net.go_on_later(index, &conn);
        }
        self.net.conns[index] = Some(conn);
    }

    fn go_on(&mut self, conn: &mut Conn, reply: &[u8], now: Now) {
        if !reply.is_empty() {
            let (_, written) = deliver(self.exec.node, &mut self.held, conn, reply);
            self.exec.node.stats[self.exec.reactor].bytes_out.add(written as u64);
        }
        conn.unserved = !conn.input.is_empty();
        conn.publish(now.ms);
    }

    /// Reads what a parked client sends, up to a bound, so that its end is seen.
    fn hear(&mut self, conn: &mut Conn) -> Next {
        while conn.input.len() < PARKED_INPUT_BYTES {
            match conn.socket.read(&mut self.batch.scratch) {
                Ok(0) => return Next::Close,
                Ok(n) => conn.input.extend_from_slice(&self.batch.scratch[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Keep,
                Err(_) => return Next::Close,
            }
        }
        conn.more_to_read = true;
        Next::Keep
    }

    /// The peer will send no more.
    fn on_end(&mut self, index: usize) {
        let parked = |conn: &Conn| conn.client.parking.parked.is_some();
        if self.net.conns.get(index).and_then(Option::as_ref).is_some_and(parked) {
            self.net.close(index);
        } else {
            self.net.again.push(index);
        }
    }

    // --- replies

    /// The end of a turn: the append only file gets what it is to have, and replies that waited for it leave.
    fn release_replies(&mut self, now: Now) {
        let node = self.node();
        if self.held.is_empty() {
            return node.persist.aof.poke(node);
        }
        let done = node.persist.aof.sync_to(node, node.oplog.end());
        for id in std::mem::take(&mut self.held) {
            let Some(index) = self.net.place_of(id) else { continue };
            let Some(Some(conn)) = self.net.conns.get_mut(index) else { continue };
            if !done {
                log::warning!("Closing client {id}: what it was to be told is not on disk");
                self.net.close(index);
                continue;
            }
            let (sent, bytes) = conn.flush();
            node.stats[self.exec.reactor].bytes_out.add(bytes as u64);
            conn.publish(now.ms);
            if sent == Sent::Broken || sent == Sent::All && conn.client.close_after_reply {
                self.net.close(index);
            }
        }
    }

    // --- connections

    fn on_event(&mut self, index: usize, readable: bool, writable: bool, now: Now) {
        let Some(Some(conn)) = self.net.conns.get_mut(index) else { return };
        if writable && let Some(feed) = conn.client.peer.as_mut().and_then(|peer| peer.feed.as_mut()) {
            feed.blocked = false;
        }
        if writable && conn.waiting() > 0 {
            let (sent, bytes) = conn.flush();
            self.exec.node.stats[self.exec.reactor].bytes_out.add(bytes as u64);
            conn.publish(now.ms);
            if sent == Sent::Broken || sent == Sent::All && conn.client.close_after_reply {
                return self.net.close(index);
            }
        }
        if readable {
            self.turn(index, now);
        }
    }

    /// Puts a connection off because clients are paused, or because too much is on its way to clients; false for one
    /// that is not served anyway.
    #[cold]
    fn hold_back(&mut self, index: usize, now: Now) -> bool {
        let Some(conn) = self.net.conns.get_mut(index).and_then(Option::as_mut) else { return false };
        if conn.client.parking.parked.is_some() || conn.client.close_after_reply || conn.client.feed().is_some() {
            return false;
        }
        if !self.exec.node.is_paused(now) {
            self.net.again.push(index);
        } else if !std::mem::replace(&mut conn.paused, true) {
            self.net.paused.push(index);
        }
        true
    }

    /// Goes on with the connections that were held back while clients were paused.
    fn end_pause(&mut self) {
        for index in std::mem::take(&mut self.net.paused) {
            if let Some(conn) = self.net.conns.get_mut(index).and_then(Option::as_mut) {
                conn.paused = false;
                self.net.again.push(index);
            }
        }
    }

    /// Reads and serves one connection once.
    fn turn(&mut self, index: usize, now: Now) {
        if self.node().holds_back(now) && self.hold_back(index, now) {
            return;
        }
        self.net.send_kept_of(index);
        let Some(mut conn) = self.net.conns.get_mut(index).and_then(Option::take) else { return };
        let next = self.serve(&mut conn, now);
        conn.publish(now.ms);
        let id = conn.client.info.id;
        self.net.watch_deadline(index, &conn);
        if conn.client.feed().is_some() && !self.net.replicas.contains(&index) {
            self.net.replicas.push(index);
        }
        self.net.conns[index] = Some(conn);
        match next {
            Next::Keep => {}
            Next::Again => self.net.again.push(index),
            Next::Close => {
                log::debug!("Client {id} closed the connection");
                self.net.close(index);
            }
        }
        if self.net.is_full() {
            self.net.send_kept();
        }
    }

    fn serve(&mut self, conn: &mut Conn, now: Now) -> Next {
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
            return self.keep_rest(conn, input, next, false);
        }
        let stats = &self.exec.node.stats[self.exec.reactor];
        if conn.input.is_empty() {
            let mut scratch = std::mem::take(&mut self.batch.scratch);
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
                            conn.unserved = true;
                            Next::Again
                        }
                        Served::Parked { from } => {
                            conn.input = scratch[from..n].to_vec();
                            // An end that came along is seen by reading on.
                            Next::Again
                        }
                    }
                }
                Err(error) => read_failed(&error),
            };
            self.batch.scratch = scratch;
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
                conn.unserved = true;
                Next::Again
            }
            Served::Parked { from } => {
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

    fn serve_batches(&mut self, conn: &mut Conn, bytes: &[u8], out: &mut Out, now: Now) -> Served {
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
                        }
                        at += consumed;
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
            if let Some(stopped) = self.run_batch(conn, bytes, out, now) {
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
                    let Conn { client, deferrals, .. } = conn;
                    let mut turn = Turn { net: &mut self.net, client, out, now, deferrals: *deferrals };
                    let ran = self.exec.run(&mut turn, args, &prepared);
                    conn.parser.reset();
                    if ran == Ran::PutOff {
                        conn.deferrals += 1;
                        return Served::PutOff { from: at };
                    }
                    conn.deferrals = 0;
                    if ran == Ran::Parked {
                        return Served::Parked { from: next };
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
    fn run_batch(&mut self, conn: &mut Conn, bytes: &[u8], out: &mut Out, now: Now) -> Option<Served> {
        self.batch.served += self.batch.requests.len();
        let Batch { requests, args: all, .. } = &self.batch;
        if requests.len() > 1 {
            let db = conn.client.session.db;
            for stage in 0..3 {
                for request in requests {
                    self.exec.prefetch(&request.prepared, db, stage);
                }
            }
        }
        self.exec.begin_batch();
        for request in requests {
            let args = Args::new(&bytes[request.at..], &all[request.args.clone()]);
            let Conn { client, deferrals, .. } = conn;
            let mut turn = Turn { net: &mut self.net, client, out, now, deferrals: *deferrals };
            match self.exec.run(&mut turn, args, &request.prepared) {
                Ran::Done => conn.deferrals = 0,
                Ran::PutOff => {
                    conn.deferrals += 1;
                    return Some(Served::PutOff { from: request.at });
                }
                Ran::Parked => {
                    conn.deferrals = 0;
                    return Some(Served::Parked { from: request.end });
                }
            }
            if conn.client.close_after_reply {
                return None;
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

    // --- time

    fn run_cron(&mut self, now: Now) {
        if !self.cron.is_due(now, self.exec.settled.config.hz) {
            return;
        }
        self.cron.run(&mut self.exec, now);
        let timeout_ms = self.exec.settled.config.timeout as i64 * 1000;
        for index in 0..self.net.conns.len() {
            let Some(conn) = &mut self.net.conns[index] else { continue };
            let idle = now.ms - conn.client.info.last_ms.load(Ordering::Relaxed);
            let over = conn.waiting() > 0 && conn.is_over_output_limit(&self.exec.settled.config, now.ms);
            if timeout_ms > 0 && idle > timeout_ms && conn.client.may_idle_out() {
                log::verbose!("Closing idle client");
                self.net.close(index);
            } else if over {
                self.net.close(index);
            }
        }
    }
}

/// Sends replies, or keeps them until the append only file has what they acknowledge: then the client is noted in `held`.
fn deliver(node: &Node, held: &mut Vec<u64>, conn: &mut Conn, replies: &[u8]) -> (Sent, usize) {
    if !node.persist.aof.holds_replies() {
        return conn.send(replies);
    }
    conn.output.extend_raw(replies);
    let id = conn.client.info.id;
    if held.last() != Some(&id) {
        held.push(id);
    }
    (Sent::Part, 0)
}

/// Why a batch ended.
enum BatchEnd {
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
    /// The client waits for a reply; its next request begins at `from`.
    Parked { from: usize },
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

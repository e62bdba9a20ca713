//! The thread of one link: carries out what the state machine of a batch decides.
//!
//! It waits in its own poll, never in a lock, and takes the slot of the key at hand for one chunk. When a batch breaks
//! off, the target may hold copies of keys that stay here; it is told to forget them before anybody may find out: until
//! then a removed key of the batch answers "being migrated".
//!
//! `compose.rs` chooses the keys, `send.rs` sends them, `finish.rs` removes what has moved and takes back what has not.

mod compose;
mod finish;
mod send;

use super::chunks::Limits;
use super::exports::{Link, Report, Request, What};
use super::idle::{Idle, Next};
use super::link::{NoLink, connect};
use super::peer::{Peer, wait};
use super::worker::Worker;
use crate::log;
use crate::node::Node;
use crate::offers::Offers;
use crate::park::Ticket;
use crate::persist;
use engine::clock::Now;
use engine::keyspace::Keyspace;
use mio::{Events, Poll};
use resp::Out;
use slots::SlotId;
use slots::migration::export::Reason;
use slots::migration::rate::Rate;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// An idle link ends after so long.
pub const IDLE: Duration = Duration::from_secs(60);
/// Longest time for connecting, so that a database is not shut for long because a target is not there.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Starts the thread of a link.
pub fn start(node: &'static Node, link: Arc<Link>, poll: Poll) -> std::io::Result<()> {
    crate::start::spawn("migrate-async", move || {
        // Where there are fewer cores than work, clients come first.
        persist::let_others_first();
        let events = Events::with_capacity(16);
        Driver {
            node,
            link,
            poll,
            events,
            peer: None,
            greeted: false,
            rate_limit: 0,
            rate: Rate::default(),
            began: Instant::now(),
            made_at: Instant::now(),
            offers: Offers::humble(Instant::now()),
            worker: None,
            tenure: None,
            rests: Vec::new(),
            named: Vec::new(),
            scratch: Vec::new(),
        }
        .run();
    })?;
    Ok(())
}

struct Driver {
    node: &'static Node,
    link: Arc<Link>,
    poll: Poll,
    events: Events,
    peer: Option<Peer>,
    /// The link took messages already.
    greeted: bool,
    /// Bytes a second; 0 is no limit.
    rate_limit: u64,
    rate: Rate,
    /// The beginning of the clock that `rate` goes by.
    began: Instant,
    /// When the last message was made.
    made_at: Instant,
    offers: Offers,
    worker: Option<Worker>,
    /// The term as a primary in which the batch began: after it nothing of the batch is this server's business.
    tenure: Option<u64>,
    /// Given up links whose rest the target is to be told to drop, and those of which it was told over this link.
    rests: Vec<String>,
    named: Vec<String>,
    /// For what is made of a key before its length is known.
    scratch: Vec<u8>,
}

/// A batch with what only its driver knows.
struct Batch {
    keys: Arc<Vec<Box<[u8]>>>,
    slots: Vec<SlotId>,
    removed: Vec<bool>,
    limits: Limits,
    estimate: usize,
    since_ms: i64,
    /// What its slots held when it began.
    bytes_max: u64,
    bytes_before: u64,
    /// Nothing is removed here: the target is told to forget.
    retracting: bool,
    until: Option<Instant>,
    /// Its last round has begun: until then who reads its keys, and scripts that name them, wait as if they were being removed.
    shut_until: Option<Instant>,
}

impl Batch {
    /// What has become of it when `bytes` bytes in all have gone over its link.
    fn report(&self, bytes: u64) -> Report {
        let moved = self.removed.iter().filter(|&&removed| removed).count();
        Report { keys: self.keys.len(), moved, bytes: bytes.saturating_sub(self.bytes_before) }
    }
}

/// How a batch ended.
enum Ending {
    Finished { moved: usize },
    Aborted(Reason),
}

impl Driver {
    fn run(mut self) {
        loop {
            let request = self.link.state().request.take();
            match request {
                Some(request) => self.serve(request),
                None if self.idle() => {}
                None => return,
            }
        }
    }

    /// Waits for a batch; false when the link is over.
    fn idle(&mut self) -> bool {
        let idle = Idle::begin(Instant::now(), IDLE);
        while self.link.state().request.is_none() {
            let over = self.peer.as_mut().is_none_or(|peer| peer.hear().is_some());
            match idle.next(Instant::now(), self.worker.is_some()) {
                _ if over || self.link.close.load(Ordering::Acquire) => return !self.leave(),
                Next::End => return !self.leave(),
                Next::Leave => self.worker = None,
                Next::Wait(time) => wait(&mut self.poll, &mut self.events, time + Duration::from_millis(1)),
            }
        }
        true
    }

    /// Gives the link up; false if a batch came in the last moment.
    fn leave(&mut self) -> bool {
        let mut links = self.node.moves.exports.lock();
        let late = self.link.state().request.is_some();
        if !late && links.get(&self.link.db).is_some_and(|there| Arc::ptr_eq(there, &self.link)) {
            links.remove(&self.link.db);
        }
        drop(links);
        self.disconnect();
        !late
    }

    fn disconnect(&mut self) {
        self.end_link(false);
    }

    /// The link is given up with messages under way.
    fn give_up_link(&mut self) {
        if let Some(addr) = self.peer.as_ref().and_then(Peer::addr) {
            self.node.moves.rests.add(&self.link.host, self.link.port, addr);
        }
        self.end_link(true);
    }

    fn end_link(&mut self, at_once: bool) {
        if let Some(peer) = self.peer.take() {
            peer.end(&self.poll, at_once);
        }
        self.greet(false);
    }

    fn greet(&mut self, greeted: bool) {
        self.greeted = greeted;
        self.link.state().used = greeted;
    }

    fn now_ms() -> i64 {
        Now::read().ms
    }

    // --- one batch

    fn serve(&mut self, Request { what, limits }: Request) {
        let node = self.node;
        let (host, port, db) = (self.link.host.clone(), self.link.port, self.link.db);
        let timeout = Duration::from_millis(limits.timeout_ms as u64);
        self.tenure = node.repl.tenure();
        if self.is_demoted() {
            self.leave();
            return self.fail(&[b"ERR ", &Reason::Demoted.text()[..]].concat());
        }
        if self.peer.as_mut().is_some_and(|peer| peer.hear().is_some()) {
            self.disconnect();
        }
        if self.peer.is_none()
            && let Err(why) = self.connect(timeout)
        {
            log::warning!("slotsmgrt_async: no link to {host}:{port} (db {db}): {why:?}");
            let text = format!("ERR create client to {host}:{port} failed");
            let text: &[u8] = match why {
                // The original takes it for connected until it has something to send, and so do we.
                NoLink::Refused => b"",
                NoLink::Itself => b"ERR interrupted: connection closed (the target is this server)",
                NoLink::Failed(_) | NoLink::TimedOut => text.as_bytes(),
                NoLink::Stopped => &self.why_stopped(),
            };
            if !text.is_empty() {
                // Who is told of the end finds no link any more.
                self.leave();
                return self.fail(text);
            }
        }
        let worker = self.worker.take().unwrap_or_else(|| Worker::new(node));
        self.worker = Some(worker);
        let slot = if let What::Slot { slot, .. } = &what { Some(*slot) } else { None };
        let Some(mut batch) = self.compose(what, limits) else {
            return match self.is_stopped() {
                true => self.fail(&self.why_stopped()),
                false => self.fail(b"ERR interrupted: keys of the batch are being migrated elsewhere"),
            };
        };
        if let Err(why) = self.pay_debts(&batch) {
            log::warning!(
                "slotsmgrt_async: {host}:{port} (db {db}) may have copies of keys that are gone, and could not be told so: {why}"
            );
            self.settle(&batch);
            self.give_up_link();
            self.leave();
            return self.fail(b"ERR interrupted: the target could not be told to forget keys of an earlier batch");
        }
        let (mut export, ending) = self.send(&mut batch);
        match ending {
            Ending::Finished { moved } => {
                self.settle(&batch);
                let mut out = Out::new();
                match slot {
                    None => out.int(moved as i64),
                    Some(slot) => {
                        let left = self.in_slot(slot, |keys| keys.slot_keys(slot).map_or(0, |slot| slot.len()));
                        out.array(2);
                        out.int(moved as i64);
                        out.int(left as i64);
                    }
                }
                let report = batch.report(self.peer.as_ref().map_or(0, |peer| peer.bytes));
                self.finish(&out.into_vec(), report);
            }
            Ending::Aborted(reason) => {
                log::warning!(
                    "slotsmgrt_async: batch to {host}:{port} (db {db}) ended with {} of {} keys to send: {}",
                    export.left().0,
                    batch.keys.len(),
                    reason.text().escape_ascii()
                );
                let mut out = Out::new();
                out.error_line(&[b"ERR ", &reason.text()[..]].concat());
                if reason == Reason::Timeout {
                    // Who has waited so long need not wait until a silent target has been told.
                    self.tell(out.as_slice());
                }
                let report = batch.report(self.peer.as_ref().map_or(batch.bytes_before, |peer| peer.bytes));
                self.retract(&batch, &mut export, &reason);
                self.settle(&batch);
                // Who is told of the end finds no link any more.
                self.leave();
                self.finish(out.as_slice(), report);
            }
        }
    }

    fn connect(&mut self, timeout: Duration) -> Result<(), NoLink> {
        let timeout = timeout.min(CONNECT_MAX);
        let stream = connect(&self.link.host, self.link.port, timeout, self.node.config().port, || self.is_stopped())?;
        let peer = Peer::new(stream, &self.poll).map_err(|error| NoLink::Failed(error.to_string()))?;
        self.peer = Some(peer);
        self.named.clear();
        self.rests = self.node.moves.rests.of(&self.link.host, self.link.port);
        self.greet(false);
        Ok(())
    }

    /// Ends a batch that did not begin.
    fn fail(&mut self, line: &[u8]) {
        let mut out = Out::new();
        out.error_line(line);
        self.finish(out.as_slice(), Report::default());
    }

    /// The batch is over: tells everybody, after which another one may begin.
    fn finish(&mut self, reply: &[u8], report: Report) {
        self.node.moves.exports.end();
        let mut state = self.link.state();
        // Together: who finds it busy cancels this batch, and nobody the next one by mistake.
        self.link.cancel.store(false, Ordering::Release);
        let (waiting, canceling) = state.end();
        drop(state);
        self.resume(waiting, reply);
        if !canceling.is_empty() {
            let mut out = Out::new();
            report.reply(true, &mut out);
            self.resume(canceling, out.as_slice());
        }
    }

    /// Tells who waits for the batch's end before it is over.
    fn tell(&self, reply: &[u8]) {
        let waiting = std::mem::take(&mut self.link.state().waiting);
        self.resume(waiting, reply);
    }

    fn resume(&self, clients: Vec<Ticket>, reply: &[u8]) {
        clients.into_iter().for_each(|ticket| self.node.resume(ticket, reply.to_vec()));
    }

    /// Whether this server has been a replica since the batch began. Who holds a slot may rely on a no.
    fn is_demoted(&self) -> bool {
        self.tenure.is_none() || self.node.repl.tenure() != self.tenure
    }

    /// Whether a batch that has not begun to be sent is to end.
    fn is_stopped(&self) -> bool {
        self.link.cancel.load(Ordering::Acquire) || self.is_demoted() || self.node.moves.closing.is_on()
    }

    fn why_stopped(&self) -> Vec<u8> {
        let why = match () {
            () if self.is_demoted() => Reason::Demoted,
            () if self.node.moves.closing.is_on() => Reason::Closing,
            () => Reason::Canceled,
        };
        [b"ERR ", &why.text()[..]].concat()
    }

    fn in_slot<R>(&mut self, slot: SlotId, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> R {
        let (node, db) = (self.node, self.link.db);
        self.worker.get_or_insert_with(|| Worker::new(node)).in_slot(slot, db, work)
    }

    fn in_slot_unless_paused<R>(&mut self, slot: SlotId, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> Option<R> {
        let (node, db) = (self.node, self.link.db);
        self.worker.get_or_insert_with(|| Worker::new(node)).in_slot_unless_paused(slot, db, work)
    }
}

//! The thread of one link: carries out what the state machine of a batch decides.
//!
//! It waits in its own poll, never in a lock, and takes the slot of the key at hand for one chunk. When a batch breaks
//! off, the target may hold copies of keys that stay here; it is told to forget them before anybody may find out: until
//! then a removed key of the batch answers "being migrated".

use super::chunks::{self, Limits};
use super::exports::{Link, Request, Standing, What};
use super::link::{NoLink, connect};
use super::peer::{Heard, Peer, wait};
use super::worker::Worker;
use crate::log;
use crate::node::Node;
use engine::clock::Now;
use engine::keyspace::{Key, Keyspace};
use engine::raw::entry::Transit;
use mio::{Events, Poll};
use resp::Out;
use slots::SlotId;
use slots::migration::export::{Action, Event, Export, Reason, Stage};
use slots::migration::wire;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// An idle link ends after so long.
const IDLE: Duration = Duration::from_secs(60);
/// The thread stays a guest for so long after a batch.
const GUEST_IDLE: Duration = Duration::from_millis(100);
/// Longest time without a look at the clock and at who wants to cancel.
const TICK: Duration = Duration::from_millis(100);
/// A batch that is too fast rests for so long.
const PACE: Duration = Duration::from_millis(10);
/// Messages are handed to the socket when so many bytes wait, so that the target works while more are made.
const FLUSH_BYTES: usize = 32 * 1024;
/// Keys looked at or removed while a slot is locked.
const STEP_KEYS: usize = 256;
/// Keys of a slot that are removed in one step, so that nobody sees a part of them: more would be felt as a pause.
const COMMIT_KEYS: usize = 2048;
/// Time for telling a target to forget.
const RETRACT: Duration = Duration::from_secs(1);
/// Time for reaching a target again that broke the link.
const RECONNECT: Duration = Duration::from_millis(300);
/// Pause between two tries to claim a slot.
const CLAIM_RETRY: Duration = Duration::from_millis(1);

/// Starts the thread of a link.
pub fn start(node: &'static Node, link: Arc<Link>, poll: Poll) -> std::io::Result<()> {
    crate::start::spawn("migrate-async", move || {
        let events = Events::with_capacity(16);
        Driver { node, link, poll, events, peer: None, greeted: false, rate_limit: 0, worker: None }.run();
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
    worker: Option<Worker>,
}

/// A batch with what only its driver knows.
struct Batch {
    keys: Arc<Vec<Box<[u8]>>>,
    slots: Vec<SlotId>,
    removed: Vec<bool>,
    limits: Limits,
    estimate: usize,
    since_ms: i64,
    bytes_before: u64,
    /// Nothing is removed here: the target is told to forget.
    retracting: bool,
    until: Option<Instant>,
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
        let until = Instant::now() + IDLE;
        let guest_until = Instant::now() + GUEST_IDLE;
        while self.link.state().request.is_none() {
            let over = self.peer.as_mut().is_none_or(|peer| peer.hear().is_some());
            if over || self.link.close.load(Ordering::Acquire) || Instant::now() >= until {
                return !self.leave();
            }
            if Instant::now() >= guest_until {
                self.worker = None;
            }
            let patience = if self.worker.is_some() { guest_until } else { until };
            let time = patience.saturating_duration_since(Instant::now());
            wait(&mut self.poll, &mut self.events, time + Duration::from_millis(1));
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
        if let Some(mut peer) = self.peer.take() {
            peer.deregister(&self.poll);
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
        if self.peer.as_mut().is_some_and(|peer| peer.hear().is_some()) {
            self.disconnect();
        }
        if self.peer.is_none()
            && let Err(why) = self.connect(timeout)
        {
            log::warning!("slotsmgrt_async: no link to {host}:{port} (db {db}): {why:?}");
            let text = format!("ERR create client to {host}:{port} failed");
            match why {
                // The original takes it for connected until it has something to send, and so do we.
                NoLink::Refused => {}
                NoLink::Itself => return self.fail(b"ERR interrupted: connection closed (the target is this server)"),
                NoLink::Failed(_) | NoLink::TimedOut => return self.fail(text.as_bytes()),
            }
        }
        let worker = self.worker.take().unwrap_or_else(|| Worker::new(node));
        self.worker = Some(worker);
        let slot = if let What::Slot { slot, .. } = &what { Some(*slot) } else { None };
        let Some(mut batch) = self.compose(what, limits) else {
            return self.fail(b"ERR interrupted: keys of the batch are being migrated elsewhere");
        };
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
                self.finish(&out.into_vec());
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
                self.retract(&batch, &mut export, &reason);
                self.settle(&batch);
                // Who is told of the end finds no link any more.
                self.leave();
                self.finish(out.as_slice());
            }
        }
    }

    fn connect(&mut self, timeout: Duration) -> Result<(), NoLink> {
        let stream = connect(&self.link.host, self.link.port, timeout, self.node.config().port)?;
        let peer = Peer::new(stream, &self.poll).map_err(|error| NoLink::Failed(error.to_string()))?;
        self.peer = Some(peer);
        self.greet(false);
        Ok(())
    }

    /// Ends a batch that did not begin.
    fn fail(&mut self, line: &[u8]) {
        let mut out = Out::new();
        out.error_line(line);
        self.finish(out.as_slice());
    }

    /// The batch is over: tells everybody, after which another one may begin.
    fn finish(&mut self, reply: &[u8]) {
        self.node.moves.exports.end();
        self.link.cancel.store(false, Ordering::Release);
        let mut state = self.link.state();
        state.busy = false;
        state.standing = Standing::default();
        state.unacknowledged = 0;
        drop(state);
        self.tell(reply);
    }

    fn tell(&self, reply: &[u8]) {
        let waiting = std::mem::take(&mut self.link.state().waiting);
        for ticket in waiting {
            self.node.resume(ticket, reply.to_vec());
        }
    }

    fn in_slot<R>(&mut self, slot: SlotId, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> R {
        let (node, db) = (self.node, self.link.db);
        self.worker.get_or_insert_with(|| Worker::new(node)).in_slot(slot, db, work)
    }

    // --- composing

    /// Claims the slots and marks the keys; `None` if somebody else keeps one of the slots.
    fn compose(&mut self, what: What, limits: Limits) -> Option<Batch> {
        let mut slots: Vec<SlotId> = match &what {
            What::Slot { slot, .. } => vec![*slot],
            What::Keys { keys, .. } => keys.iter().map(|key| Key::new(key).slot).collect(),
        };
        slots.sort();
        slots.dedup();
        self.claim(&slots, Instant::now() + Duration::from_millis(limits.timeout_ms as u64))?;
        let mut chosen = Chosen { keys: Vec::new(), seen: HashSet::new(), tags: HashSet::new(), estimate: 0 };
        match what {
            What::Keys { keys, tags } => {
                for key in keys {
                    let slot = Key::new(&key).slot;
                    self.in_slot(slot, |here| here.leave(&Key::new(&key)));
                    let group = slots::tag_crc(&key).filter(|_| tags);
                    chosen.add(key);
                    if let Some(crc) = group {
                        self.add_group(slot, crc, &mut chosen);
                    }
                }
                chosen.estimate = chosen.keys.len();
            }
            What::Slot { slot, numkeys, tags } => self.choose(slot, numkeys, tags, limits, &mut chosen),
        }
        let db = self.link.db;
        let mut by_slot: BTreeMap<SlotId, Vec<&[u8]>> = BTreeMap::new();
        for key in &chosen.keys {
            by_slot.entry(Key::new(key).slot).or_default().push(key);
        }
        for (slot, keys) in by_slot {
            self.node.moves.claims.add(db, slot, keys.into_iter());
        }
        Some(Batch {
            removed: vec![false; chosen.keys.len()],
            keys: Arc::new(chosen.keys),
            slots,
            limits,
            estimate: chosen.estimate,
            since_ms: Self::now_ms(),
            bytes_before: self.peer.as_ref().map_or(0, |peer| peer.bytes),
            retracting: false,
            until: None,
        })
    }

    fn claim(&self, slots: &[SlotId], deadline: Instant) -> Option<()> {
        let claims = &self.node.moves.claims;
        for (n, &slot) in slots.iter().enumerate() {
            while !claims.claim(self.link.db, slot) {
                if Instant::now() >= deadline {
                    slots[..n].iter().for_each(|&slot| claims.release(self.link.db, slot));
                    return None;
                }
                thread::sleep(CLAIM_RETRY);
            }
        }
        Some(())
    }

    /// Adds the other keys of a tag, in order.
    fn add_group(&mut self, slot: SlotId, crc: u32, chosen: &mut Chosen) {
        if !chosen.tags.insert(crc) {
            return;
        }
        let mut group = Vec::new();
        while self.in_slot(slot, |here| {
            let from = group.len();
            let more = here.leave_tag(slot, crc, STEP_KEYS, &mut group);
            more || group.len() > from
        }) {}
        group.sort();
        group.into_iter().for_each(|key| chosen.add(key));
    }

    /// Keys of a slot from a random place on, until their messages or their number reach `numkeys`.
    fn choose(&mut self, slot: SlotId, numkeys: usize, tags: bool, limits: Limits, chosen: &mut Chosen) {
        const ORDER_BITS: u32 = 48;
        let seed = self.worker.as_mut().map_or(0, Worker::random);
        let start = seed >> (u64::BITS - ORDER_BITS);
        // From a random place to the end, then from the beginning to that place.
        let (mut at, mut wrapped) = (start, false);
        while chosen.estimate < numkeys && chosen.keys.len() < numkeys {
            let (sum, room) = (chosen.estimate, numkeys - chosen.keys.len());
            let (next, found) = self.in_slot(slot, |here| candidates(here, slot, at, (sum, room, numkeys), limits));
            for (key, estimate) in found {
                let group = slots::tag_crc(&key).filter(|_| tags);
                if chosen.seen.contains(&engine::hash::fast(&key)) {
                    continue;
                }
                chosen.estimate += estimate;
                chosen.add(key);
                if let Some(crc) = group {
                    let before = chosen.keys.len();
                    self.add_group(slot, crc, chosen);
                    chosen.estimate += chosen.keys.len() - before;
                }
            }
            if wrapped && (next == 0 || next > start) {
                break;
            }
            wrapped |= next == 0;
            at = next;
        }
    }

    // --- sending

    fn send(&mut self, batch: &mut Batch) -> (Export, Ending) {
        let Limits { maxbytes, timeout_ms, .. } = batch.limits;
        let mut export = Export::new(batch.keys.len(), maxbytes, timeout_ms, 0, Self::now_ms());
        let ending = self.drive(batch, &mut export);
        (export, ending)
    }

    fn drive(&mut self, batch: &mut Batch, export: &mut Export) -> Ending {
        let mut action = export.step(Event::Ready, Self::now_ms());
        self.publish(batch, export);
        loop {
            if self.link.cancel.swap(false, Ordering::AcqRel) && !batch.retracting {
                action = export.step(Event::Failed(Reason::Canceled), Self::now_ms());
            }
            if batch.until.is_some_and(|until| Instant::now() >= until) {
                return Ending::Aborted(Reason::Timeout);
            }
            action = match action {
                Action::Make { key, stage, again } if self.is_too_fast(batch) => {
                    let next = self.listen(export, Action::Make { key, stage, again });
                    if !matches!(next, Action::Make { .. }) {
                        next
                    } else {
                        self.publish(batch, export);
                        wait(&mut self.poll, &mut self.events, PACE);
                        export.step(Event::Tick, Self::now_ms())
                    }
                }
                Action::Make { key, stage, again } => {
                    let event = self.make(batch, key, (stage, again));
                    let next = export.step(event, Self::now_ms());
                    let full = self.peer.as_ref().is_some_and(|peer| peer.waiting() >= FLUSH_BYTES);
                    if full { self.listen(export, next) } else { next }
                }
                Action::Wait => match self.listen(export, Action::Wait) {
                    Action::Wait => {
                        self.publish(batch, export);
                        wait(&mut self.poll, &mut self.events, TICK);
                        export.step(Event::Tick, Self::now_ms())
                    }
                    next => next,
                },
                Action::Commit => {
                    let event = self.commit(batch, export);
                    export.step(event, Self::now_ms())
                }
                Action::Finish { moved } => return Ending::Finished { moved },
                Action::Abort(reason) => return Ending::Aborted(reason),
            };
        }
    }

    /// Whether more has been made than the limit of the moment allows.
    fn is_too_fast(&self, batch: &Batch) -> bool {
        let limit = self.rate_limit;
        let Some(peer) = self.peer.as_ref().filter(|_| limit > 0) else { return false };
        let made = peer.bytes + peer.waiting() as u64 - batch.bytes_before;
        let took_ms = (Self::now_ms() - batch.since_ms).max(0) as u64 + PACE.as_millis() as u64;
        made > limit.saturating_mul(took_ms) / 1000
    }

    /// Makes the next messages of a key; the first ones of a link follow its greeting.
    fn make(&mut self, batch: &Batch, index: usize, at: (Stage, bool)) -> Event {
        let key = Key::new(&batch.keys[index]);
        let (node, db, limits) = (self.node, self.link.db, batch.limits);
        let mut orphan = Vec::new();
        let connected = self.peer.is_some();
        let out = self.peer.as_mut().map_or(&mut orphan, |peer| &mut peer.out);
        let start = out.len();
        let mut greeting = 0;
        if !self.greeted {
            if let Some(password) = &node.config().requirepass {
                wire::message(&[wire::AUTH, password], out);
                greeting += 1;
            }
            wire::message(&[wire::SELECT, db.to_string().as_bytes()], out);
            greeting += 1;
        }
        let worker = self.worker.get_or_insert_with(|| Worker::new(node));
        let event = worker.in_slot(key.slot, db, |keys| chunks::make(keys, &key, at, limits, out));
        match event {
            Event::Made { messages: 1.., .. } if !connected => Event::Failed(Reason::Closed),
            Event::Made { messages: messages @ 1.., stage, .. } => {
                let bytes = out.len() - start;
                if !self.greeted {
                    self.greet(true);
                }
                Event::Made { messages: messages + greeting, bytes, stage }
            }
            nothing => {
                out.truncate(start);
                nothing
            }
        }
    }

    /// Sends what waits, and takes in what has come, unless that decides something.
    fn listen(&mut self, export: &mut Export, mut action: Action) -> Action {
        let Some(peer) = &mut self.peer else { return export.step(Event::Failed(Reason::Closed), Self::now_ms()) };
        peer.flush();
        while matches!(action, Action::Wait | Action::Make { .. })
            && let Some(heard) = peer.hear()
        {
            let event = match heard {
                Heard::Acknowledged => Event::Acknowledged,
                Heard::Refused(text) => Event::Failed(Reason::Refused(text)),
                Heard::Nonsense(text) => Event::Failed(Reason::Nonsense(text)),
                Heard::Closed => Event::Failed(Reason::Closed),
            };
            action = export.step(event, Self::now_ms());
        }
        action
    }

    /// Lets STATUS see how it stands.
    fn publish(&mut self, batch: &Batch, export: &Export) {
        self.rate_limit = self.node.config().slots_migration_rate_limit;
        let (left, current) = export.left();
        let mut state = self.link.state();
        state.heard_ms = export.heard_ms();
        state.unacknowledged = export.unacknowledged();
        state.standing = Standing {
            keys: batch.keys.clone(),
            estimate: batch.estimate,
            done: export.done().count(),
            left,
            current,
            bytes: self.peer.as_ref().map_or(0, |peer| peer.bytes).saturating_sub(batch.bytes_before),
            since_ms: batch.since_ms,
        };
    }

    // --- ending

    /// Sees whether all that was sent is as it was, and removes it.
    fn commit(&mut self, batch: &mut Batch, export: &Export) -> Event {
        if batch.retracting {
            return Event::Committed { kept: Vec::new() };
        }
        let mut by_slot: BTreeMap<SlotId, Vec<usize>> = BTreeMap::new();
        for index in export.done().filter(|&index| !batch.removed[index]) {
            by_slot.entry(Key::new(&batch.keys[index]).slot).or_default().push(index);
        }
        let keys = batch.keys.clone();
        let many = by_slot.len() > 1 || by_slot.values().any(|indices| indices.len() > COMMIT_KEYS);
        if many {
            let mut stale = Vec::new();
            for (&slot, indices) in &by_slot {
                for step in indices.chunks(COMMIT_KEYS) {
                    stale.extend(self.in_slot(slot, |here| changed(here, &keys, step)));
                }
            }
            if !stale.is_empty() {
                return Event::Stale { keys: stale };
            }
        }
        let (node, db) = (self.node, self.link.db);
        let mut kept = Vec::new();
        for (slot, indices) in by_slot {
            node.moves.claims.end(db, slot);
            for step in indices.chunks(COMMIT_KEYS) {
                let (stale, gone) = self.in_slot(slot, |here| {
                    let stale = if many { Vec::new() } else { changed(here, &keys, step) };
                    let gone = if stale.is_empty() { remove(here, &keys, step) } else { Vec::new() };
                    (stale, gone)
                });
                if !stale.is_empty() {
                    return Event::Stale { keys: stale };
                }
                gone.into_iter().for_each(|index| batch.removed[index] = true);
                kept.extend(step.iter().filter(|&&index| !batch.removed[index]));
            }
        }
        Event::Committed { kept }
    }

    /// Has the target forget what it got of keys that stay here.
    fn retract(&mut self, batch: &Batch, export: &mut Export, reason: &Reason) {
        let sent: Vec<Box<[u8]>> =
            export.sent().filter(|&index| !batch.removed[index]).map(|index| batch.keys[index].clone()).collect();
        if sent.is_empty() {
            return;
        }
        let count = sent.len();
        // A link that the target has ended carries nothing any more; what it had taken from it is done by now.
        let alive = matches!(reason, Reason::Canceled | Reason::Timeout);
        let mut greeting = export.unacknowledged();
        if !alive {
            self.disconnect();
            greeting = 0;
            if let Err(why) = self.connect(RECONNECT) {
                log::warning!("slotsmgrt_async: the target may keep {count} keys until they are sent again: {why:?}");
                return;
            }
        }
        let mut forget = Batch {
            removed: vec![false; count],
            keys: Arc::new(sent),
            slots: Vec::new(),
            limits: batch.limits,
            estimate: count,
            since_ms: batch.since_ms,
            bytes_before: batch.bytes_before,
            retracting: true,
            until: Some(Instant::now() + RETRACT),
        };
        let Limits { maxbytes, timeout_ms, .. } = batch.limits;
        let mut export = Export::retraction(count, maxbytes, timeout_ms, greeting, Self::now_ms());
        if let Ending::Aborted(reason) = self.drive(&mut forget, &mut export) {
            let text = reason.text();
            log::warning!(
                "slotsmgrt_async: the target may keep {count} keys until they are sent again: {}",
                text.escape_ascii()
            );
        }
    }

    /// Takes all marks and claims back.
    fn settle(&mut self, batch: &Batch) {
        for (key, _) in batch.keys.iter().zip(&batch.removed).filter(|(_, removed)| !**removed) {
            let key = Key::new(key);
            self.in_slot(key.slot, |here| here.settle(&key));
        }
        batch.slots.iter().for_each(|&slot| self.node.moves.claims.release(self.link.db, slot));
    }
}

/// The keys of a batch as it is composed.
struct Chosen {
    keys: Vec<Box<[u8]>>,
    /// Hashes of the keys.
    seen: HashSet<u64>,
    /// Tags whose groups were added.
    tags: HashSet<u32>,
    /// Messages expected.
    estimate: usize,
}

impl Chosen {
    fn add(&mut self, key: Box<[u8]>) {
        if self.seen.insert(engine::hash::fast(&key)) {
            self.keys.push(key);
        }
    }
}

/// A key, and the messages that it will make.
type Candidate = (Box<[u8]>, usize);

/// Marks the keys of one step of a walk that fit into the batch, and returns the next place, 0 at the end.
fn candidates(
    here: &mut Keyspace<'_, '_>,
    slot: SlotId,
    at: u64,
    (mut sum, room, numkeys): (usize, usize, usize),
    limits: Limits,
) -> (u64, Vec<Candidate>) {
    let mut found: Vec<Candidate> = Vec::new();
    let next = here.slot_keys(slot).map_or(0, |db| {
        let mut next = at;
        while found.len() < STEP_KEYS.min(room) {
            next = db.scan(next, |entry| {
                if entry.transit() == Transit::Settled {
                    found.push((entry.key().into(), chunks::estimate(entry.value(), limits.maxbulks)));
                }
            });
            if next == 0 {
                break;
            }
        }
        next
    });
    let mut taken = 0;
    found.retain(|(key, estimate)| {
        let fits = sum < numkeys && taken < room && (sum == 0 || sum + estimate <= 2 * numkeys);
        let takes = fits && here.leave(&Key::new(key));
        if takes {
            sum += estimate;
            taken += 1;
        }
        takes
    });
    (next, found)
}

/// Keys of a step that are not as they were marked.
fn changed(here: &mut Keyspace<'_, '_>, keys: &[Box<[u8]>], step: &[usize]) -> Vec<usize> {
    let mut stale = Vec::new();
    for &index in step {
        let key = Key::new(&keys[index]);
        let entry = here.slot_keys(key.slot).and_then(|db| db.find(key.hash, key.bytes));
        if entry.is_none_or(|entry| entry.transit() != Transit::Leaving) {
            stale.push(index);
        }
    }
    stale
}

/// Removes the keys of a step that are as they were marked, logs it as one command, and returns them.
fn remove(here: &mut Keyspace<'_, '_>, keys: &[Box<[u8]>], step: &[usize]) -> Vec<usize> {
    let mut record: Vec<&[u8]> = vec![b"DEL"];
    let mut gone = Vec::new();
    for &index in step {
        let key = Key::new(&keys[index]);
        // Who has become a replica meanwhile removes nothing: its primary has the say.
        if !here.is_replica() && here.remove_left(&key) {
            here.changed(&key, 0, "del");
            record.push(&keys[index]);
            gone.push(index);
        }
    }
    if !gone.is_empty() {
        here.effects().log_instead(&record);
    }
    gone
}

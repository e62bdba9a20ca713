//! Sending a batch: carries out what the state machine decides, and tells it what comes back.

use super::{Batch, Driver, Ending};
use crate::node::Node;
use crate::slots_commands::chunks::{self, Limits};
use crate::slots_commands::exports::Standing;
use crate::slots_commands::peer::{Heard, wait};
use crate::slots_commands::worker::Worker;
use engine::keyspace::{Key, Keyspace};
use slots::migration::export::{Action, Event, Export, Reason, Stage};
use slots::migration::message::{ENDS, SYNC};
use slots::migration::wire;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest time without a look at the clock and at who wants to cancel.
const TICK: Duration = Duration::from_millis(100);
/// A batch that is too fast rests for so long.
const PACE: Duration = Duration::from_millis(10);
/// Messages are handed to the socket when so many bytes wait, so that the target works while more are made.
const FLUSH_BYTES: usize = 64 * 1024;
/// No more messages are made while so many bytes wait for the socket, whatever the request allows.
const WAITING_MAX: usize = 512 * 1024;

impl Driver {
    pub(super) fn send(&mut self, batch: &mut Batch) -> (Export, Ending) {
        let Limits { maxbytes, timeout_ms, .. } = batch.limits;
        let mut export = Export::new(batch.keys.len(), maxbytes, timeout_ms, 0, Self::now_ms());
        let ending = self.drive(batch, &mut export);
        self.open(batch);
        (export, ending)
    }

    pub(super) fn drive(&mut self, batch: &mut Batch, export: &mut Export) -> Ending {
        let mut action = export.step(Event::Ready, Self::now_ms());
        self.publish(batch, export);
        // Clients are paused since, and all is sent.
        let mut paused_at = None;
        let patience = Duration::from_millis(batch.limits.timeout_ms.max(0) as u64);
        loop {
            if self.link.cancel.swap(false, Ordering::AcqRel) && !batch.retracting {
                action = export.end(action, Reason::Canceled);
            }
            match self.node.moves.closing.left_ms() {
                None => {}
                Some(_) if !batch.retracting => action = export.end(action, Reason::Closing),
                Some(..=0) => return Ending::Aborted(Reason::Closing),
                Some(_) => {}
            }
            if self.is_demoted() {
                action = Action::Abort(Reason::Demoted);
            }
            if batch.until.is_some_and(|until| Instant::now() >= until) {
                return Ending::Aborted(Reason::Timeout);
            }
            if batch.shut_until.is_some_and(|until| Instant::now() >= until) {
                self.open(batch);
            }
            action = match action {
                Action::Make { .. } if !self.rests.is_empty() && self.is_known() => {
                    let event = self.name_rests();
                    export.step(event, Self::now_ms())
                }
                Action::Make { key, stage, .. }
                    if !self.greeted && (!self.rests.is_empty() || self.must_know_first(&batch.keys[key], stage)) =>
                {
                    let event = self.greet_first();
                    export.step(event, Self::now_ms())
                }
                Action::Make { key, stage, again } if let Some(time) = self.hold_up(batch, key, stage) => {
                    let next = self.listen(export, Action::Make { key, stage, again });
                    if !matches!(next, Action::Make { .. }) {
                        next
                    } else {
                        if self.hold_up(batch, key, stage).is_some() {
                            self.publish(batch, export);
                            wait(&mut self.poll, &mut self.events, time);
                        }
                        export.step(Event::Tick, Self::now_ms())
                    }
                }
                Action::Make { key, stage, again } => {
                    let event = self.make(batch, export, key, (stage, again));
                    if let Event::Made { bytes: bytes @ 1.., .. } | Event::Packed { bytes: bytes @ 1.., .. } = event {
                        self.rate.sent(bytes);
                        self.made_at = Instant::now();
                    }
                    let next = export.step(event, Self::now_ms());
                    self.offers.offer();
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
                Action::Sync => {
                    let event = self.ask(batch);
                    export.step(event, Self::now_ms())
                }
                Action::Commit { partly } => match self.commit(batch, export, partly) {
                    Some(event) => export.step(event, Self::now_ms()),
                    None if paused_at.get_or_insert_with(Instant::now).elapsed() > patience => {
                        export.step(Event::Failed(Reason::Timeout), Self::now_ms())
                    }
                    None => {
                        wait(&mut self.poll, &mut self.events, PACE);
                        Action::Commit { partly }
                    }
                },
                Action::Finish { moved } => {
                    self.node.moves.rests.are_gone(&std::mem::take(&mut self.named));
                    return Ending::Finished { moved };
                }
                Action::Abort(reason) => return Ending::Aborted(reason),
            };
        }
    }

    /// For how long to wait at most before the next messages of a key are made, if at all.
    fn hold_up(&mut self, batch: &Batch, index: usize, stage: Stage) -> Option<Duration> {
        let peer = self.peer.as_ref()?;
        if peer.waiting() >= WAITING_MAX || peer.is_killing() {
            return Some(TICK);
        }
        if !batch.retracting && !self.rate.allows(self.rate_limit, self.began.elapsed()) && !self.is_due(batch, stage) {
            return Some(PACE);
        }
        let unknown = self.greeted && peer.abilities.is_none();
        if unknown && !self.rests.is_empty() {
            return Some(TICK);
        }
        let unknown = unknown && matches!(stage, Stage::Prepare | Stage::Retract);
        let waits = unknown && batch.keys.get(index).is_some_and(|key| self.must_know_first(key, stage));
        waits.then_some(TICK)
    }

    /// Whether more of a key must be sent now, whatever the limit says: the target lets a half-sent key go when it hears
    /// nothing of it for a few times the timeout.
    fn is_due(&self, batch: &Batch, stage: Stage) -> bool {
        let begun = matches!(stage, Stage::Chunked { .. } | Stage::FillTtl);
        begun && self.made_at.elapsed().as_millis() >= batch.limits.timeout_ms.max(0) as u128
    }

    /// Whether the target must have answered the greeting before it hears of a key. A long string goes whole to an original
    /// only, so it has to be known what the target is; and one that is not to be had in this database (an original whose
    /// script is late) goes on reading and carries out the rest in the one that it is in.
    fn must_know_first(&mut self, key: &[u8], stage: Stage) -> bool {
        let (key, elsewhere) = (Key::new(key), self.link.db != 0);
        let of_key = |here: &mut Keyspace<'_, '_>| {
            here.at(&key).is_some_and(|entry| elsewhere || chunks::is_long(entry.value()))
        };
        elsewhere && stage == Stage::Retract || stage == Stage::Prepare && self.in_slot(key.slot, of_key)
    }

    /// Makes the next messages of a key, or one of many keys if the target takes that; the first ones of a link follow
    /// its greeting.
    fn make(&mut self, batch: &Batch, export: &Export, index: usize, at: (Stage, bool)) -> Event {
        let key = Key::new(&batch.keys[index]);
        let (node, db) = (self.node, self.link.db);
        let abilities = self.peer.as_ref().and_then(|peer| peer.abilities).unwrap_or_default();
        let mut limits = batch.limits.for_target(abilities);
        if self.rate_limit > 0 {
            // A chunk that the rate allows only after a longer time would be late for what the target has of the key.
            let patience = self.rate_limit.saturating_mul(limits.timeout_ms.max(1) as u64) / 1000;
            limits.maxbytes = limits.maxbytes.min(usize::try_from(patience).unwrap_or(usize::MAX)).max(1);
        }
        let mut orphan = Vec::new();
        let connected = self.peer.is_some();
        let out = self.peer.as_mut().map_or(&mut orphan, |peer| &mut peer.out);
        let start = out.len();
        let greeting = if self.greeted { 0 } else { greeting(node, db, out) };
        let (worker, scratch) = (self.worker.get_or_insert_with(|| Worker::new(node)), &mut self.scratch);
        let tenure = self.tenure;
        // Of what a primary's stream has changed the target is told nothing: asked for while the slot is held.
        let is_ours = || tenure.is_some() && node.repl.tenure() == tenure;
        if abilities.many && at == (Stage::Prepare, false) {
            let ahead =
                export.ahead().map(|index| Key::new(&batch.keys[index])).take_while(|ahead| ahead.slot == key.slot);
            let stages = worker.in_slot(key.slot, db, |keys| match is_ours() {
                true => chunks::pack(keys, ahead, limits, scratch, out),
                false => Vec::new(),
            });
            if !stages.is_empty() {
                return Event::Packed { stages, bytes: out.len() - start };
            }
        }
        let event = worker.in_slot(key.slot, db, |keys| match is_ours() {
            true => chunks::make(keys, &key, at, limits, scratch, out),
            false => Event::Failed(Reason::Demoted),
        });
        match event {
            Event::Made { messages: 1.., .. } if !connected => Event::Failed(Reason::Closed),
            Event::Made { messages: messages @ 1.., stage, elements, .. } => {
                let bytes = out.len() - start;
                if !self.greeted {
                    if let Some(peer) = &mut self.peer {
                        peer.greeted_with(greeting);
                    }
                    self.greet(true);
                }
                Event::Made { messages: messages + greeting, bytes, stage, elements }
            }
            nothing => {
                out.truncate(start);
                nothing
            }
        }
    }

    /// Makes the greeting alone, for what it tells of the target.
    fn greet_first(&mut self) -> Event {
        let Some(peer) = &mut self.peer else { return Event::Failed(Reason::Closed) };
        let messages = greeting(self.node, self.link.db, &mut peer.out);
        peer.greeted_with(messages);
        self.greet(true);
        Event::Greeted { messages }
    }

    /// Whether the target has said what it can do.
    fn is_known(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.abilities.is_some())
    }

    /// Has the target drop what is left of older links, in words that it knows.
    fn name_rests(&mut self) -> Event {
        let Some(peer) = &mut self.peer else { return Event::Failed(Reason::Closed) };
        self.named = std::mem::take(&mut self.rests);
        if peer.abilities.unwrap_or_default().ends {
            for rest in &self.named {
                wire::message(&[wire::RESTORE, ENDS, rest.as_bytes()], &mut peer.out);
            }
        } else {
            peer.kill(&self.named);
        }
        Event::Greeted { messages: self.named.len() as u32 }
    }

    /// Asks the target to say when all is durable.
    fn ask(&mut self, batch: &Batch) -> Event {
        let Some(peer) = &mut self.peer else { return Event::Failed(Reason::Closed) };
        let start = peer.out.len();
        let key = batch.keys.first().map(|key| &key[..]).unwrap_or_default();
        wire::message(&[wire::RESTORE, SYNC, key], &mut peer.out);
        Event::Asked { bytes: peer.out.len() - start }
    }

    /// Sends what waits, and takes in what has come, unless that decides something.
    fn listen(&mut self, export: &mut Export, mut action: Action) -> Action {
        let Some(peer) = &mut self.peer else { return export.step(Event::Failed(Reason::Closed), Self::now_ms()) };
        peer.flush();
        while matches!(action, Action::Wait | Action::Make { .. })
            && let Some(heard) = peer.hear()
        {
            let event = match heard {
                Heard::Acknowledged(number) => {
                    if peer.abilities.is_some_and(|abilities| abilities.sync) {
                        export.ask_before_the_end();
                    }
                    number.map_or(Event::Acknowledged, Event::Answered)
                }
                Heard::Refused(text) => Event::Failed(Reason::Refused(text)),
                Heard::Nonsense(text) => Event::Failed(Reason::Nonsense(text)),
                Heard::Closed => Event::Failed(Reason::Closed),
            };
            action = export.step(event, Self::now_ms());
        }
        action
    }

    /// About how many bytes there are still to be sent: for what is left of the current key what its part that has gone
    /// took, for the others what keys took so far, and no more than the slots held: one big key is not the measure of all.
    fn left_bytes(&mut self, batch: &Batch, (left, current): (usize, Option<(usize, Stage)>), bytes: u64) -> u64 {
        let begun = batch.keys.len() - left;
        let mut share = 0.0;
        if let Some((index, Stage::Chunked { cursor })) = current {
            let key = Key::new(&batch.keys[index]);
            share =
                self.in_slot(key.slot, |here| here.at(&key).map_or(0.0, |entry| chunks::share(entry.value(), cursor)));
        }
        let so_far = begun as f64 + share;
        let looks = if so_far > 0.0 { (bytes as f64 / so_far * (left as f64 - share)).max(0.0) as u64 } else { 0 };
        looks.min(batch.bytes_max.saturating_sub(bytes))
    }

    /// Lets STATUS see how it stands.
    fn publish(&mut self, batch: &Batch, export: &Export) {
        self.rate_limit = self.node.config().slots_migration_rate_limit;
        let (left, current) = export.left();
        let bytes = self.peer.as_ref().map_or(0, |peer| peer.bytes).saturating_sub(batch.bytes_before);
        let left_bytes = self.left_bytes(batch, (left, current), bytes);
        let mut state = self.link.state();
        state.heard_ms = export.heard_ms();
        state.unacknowledged = export.unacknowledged();
        state.standing = Standing {
            keys: batch.keys.clone(),
            estimate: batch.estimate,
            done: export.done().count(),
            left,
            current,
            bytes,
            left_bytes,
            since_ms: batch.since_ms,
        };
    }
}

/// Appends the first messages of a link and returns their number.
fn greeting(node: &Node, db: u32, out: &mut Vec<u8>) -> u32 {
    let password = &node.config().requirepass;
    if let Some(password) = password {
        wire::message(&[wire::AUTH, password], out);
    }
    wire::message(&[wire::SELECT, db.to_string().as_bytes()], out);
    1 + u32::from(password.is_some())
}

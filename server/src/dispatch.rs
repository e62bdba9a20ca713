//! One command, from its arguments to its reply and its effects: check the row, hold the slots, run, log, count.
//!
//! The order matters: the effects are appended to the oplog while the slots are held, and a command that cannot have its
//! slots has done nothing at all when it is put off.

pub mod recent;
mod steps;
#[cfg(test)]
pub(crate) mod tests;
mod unit;
mod waiting;

use crate::conn::{Client, Queued, Replies};
use crate::memory::{self, Aside, Room};
use crate::net::Net;
use crate::node::{Node, Run, Settled};
use crate::park::Ticket;
use crate::persist::save::{Flushed, flushed};
use crate::persist::{gate, shutdown};
use crate::repl::Gate;
use crate::scripting::busy;
use crate::scripting::engine::Engine;
use crate::slots_commands::elders;
use crate::unpack::{self, Unpacking};
use commands::args::Args;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command};
use engine::clock::Now;
use engine::evict::Evictor;
use engine::keyspace::{Key, Keyspace, Local, Ready};
use engine::raw::lock::{Held, Owner};
use engine::raw::ticks::{self, Ticks};
use engine::records::{KEPT_BYTES, Records};
use engine::slot::Slot;
use recent::Recent;
use resp::{Flags, GetKeys, Out, errors};
use slots::{SlotId, SlotSet};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

/// What one thread needs to run commands: the right to lock slots, and all the rest.
pub struct Executor {
    /// The right to take slot locks; lent out to the slots that a command holds.
    pub owner: Owner<'static, Slot>,
    /// What can be used meanwhile.
    pub desk: Desk,
}

/// What a command needs besides its slots.
pub struct Desk {
    /// The node.
    pub node: &'static Node,
    /// Which reactor this is.
    pub reactor: usize,
    /// Effects, counters, garbage.
    pub local: Local,
    /// The settings as this thread knows them.
    pub settled: Settled,
    records: Records,
    /// Lists whose next waiter wants its element in a slot that could not be had: see [`waiting`].
    unserved: Vec<Ready>,
    /// Replies to clients that were served.
    answers: Vec<(Ticket, Vec<u8>)>,
    recent: Recent,
    /// When the command before this one ended: also when this one began, within a batch.
    last: Ticks,
    /// The time as it was last read, and when that was.
    moment: (Now, Ticks),
    /// Whom to drop when memory is full.
    pub evictor: Evictor,
    engine: Option<Box<Engine>>,
    /// What the node's gate said when the running command was let through.
    gate: u32,
    /// The running request is the primary's: its bytes for the log, until they are appended, and the attempt at
    /// following whose stream it is.
    piece: Option<(Vec<u8>, u64)>,
    /// The file gets what the primary's request does, and not its bytes.
    differs: bool,
    /// The last request was put off because it must wait for a file, not for slots; whoever sees that takes it back.
    pub stalled: bool,
    /// The last request was put off to be gone on with at the next turn; whoever sees that takes it back.
    pub unpacks: bool,
    /// It carries out what a file holds: nothing is refused, nothing is logged.
    pub replaying: bool,
}

impl Deref for Executor {
    type Target = Desk;

    #[inline]
    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl DerefMut for Executor {
    #[inline]
    fn deref_mut(&mut self) -> &mut Desk {
        &mut self.desk
    }
}

/// A command whose row and first key are known: what the look-ahead prepares.
#[derive(Clone, Copy)]
pub struct Prepared {
    /// The row, if the name is known.
    pub row: Option<&'static Command<Run>>,
    /// Hash and slot of argument 1, if that is a key.
    pub first: Option<(u64, SlotId)>,
}

/// Whether a command ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// It did, and replied.
    Done,
    /// Its slots are held by others; nothing was done.
    PutOff,
    /// It did, and its reply comes later.
    Parked,
    /// It did, and clients are paused from now on: the next ones wait.
    Paused,
}

/// Whose request runs, and where.
pub struct Turn<'t> {
    /// The reactor's other connections.
    pub net: &'t mut Net,
    /// Who sent it.
    pub client: &'t mut Client,
    /// Where its reply goes.
    pub out: &'t mut Out,
    /// The moment.
    pub now: Now,
    /// Turns in a row in which it could not have its slots.
    pub deferrals: u32,
}

/// Bytes of arguments that a transaction may queue: as much as one client's input may take.
const QUEUE_BYTES_MAX: usize = 1 << 30;

/// Microseconds for which a reading of the clock serves: less than what its readers can tell apart, more than it costs.
const MOMENT_US: u64 = 50;

/// Failures to get all slots after which a command becomes privileged, so that it cannot starve.
const DEFERRALS_MAX: u32 = 8;

impl Executor {
    /// For reactor number `reactor`.
    pub fn new(node: &'static Node, reactor: usize, owner: Owner<'static, Slot>, mut local: Local) -> Executor {
        let desk = Desk {
            evictor: Evictor::new(local.random()),
            node,
            reactor,
            local,
            settled: Settled::new(node),
            records: Records::default(),
            unserved: Vec::new(),
            answers: Vec::new(),
            recent: Recent::default(),
            last: Ticks::now(),
            moment: (Now::read(), Ticks::now()),
            engine: None,
            gate: 0,
            piece: None,
            differs: false,
            stalled: false,
            unpacks: false,
            replaying: false,
        };
        Executor { owner, desk }
    }

    /// Lets guests take locks, or takes the locks for this thread alone: only the one reactor of a server can.
    #[inline]
    pub fn share_locks(&mut self) {
        if self.node.mailboxes.len() > 1 {
            return;
        }
        if self.node.guests.are_there() {
            self.owner.end_alone();
        } else {
            self.owner.go_alone();
        }
    }

    /// A batch begins: time counts from here, and settings are those of now.
    #[inline]
    pub fn begin_batch(&mut self) {
        // What was looked ahead for is tried for once more.
        self.owner.met_guest();
        self.last = Ticks::now();
        self.refresh();
    }

    /// The time at which the next command of a batch runs. It is read anew after [`MOMENT_US`], so that no command counts
    /// from before the one that held it up.
    #[inline]
    pub fn moment(&mut self) -> Now {
        let Desk { moment: (now, read), last, .. } = &mut self.desk;
        if last.since(*read) > MOMENT_US * ticks::per_microsecond() {
            (*now, *read) = (Now::read(), *last);
        }
        *now
    }

    /// Reads the clock, at `read`.
    pub fn read_moment(&mut self, read: Ticks) -> Now {
        self.moment = (Now::read(), read);
        self.moment.0
    }

    /// Takes over settings that have changed.
    #[inline]
    pub fn refresh(&mut self) {
        let Desk { settled, local, node, .. } = &mut self.desk;
        settled.refresh(node);
        local.effects.wanted = settled.notify;
    }

    /// The next request is the primary's, of attempt `attempt`; `bytes` take effect with it. If it `differs`, the file gets
    /// what it did here instead of them.
    pub fn begin_piece(&mut self, bytes: Vec<u8>, attempt: u64, differs: bool) {
        self.local.is_from_primary = true;
        self.differs = differs;
        self.piece = Some((bytes, attempt));
    }

    /// The primary's request is done. Returns those bytes that did not get into the log.
    pub fn end_piece(&mut self) -> Vec<u8> {
        self.local.is_from_primary = false;
        self.piece.take().map(|(bytes, _)| bytes).unwrap_or_default()
    }

    /// Looks the row up and computes what the first key needs.
    #[inline]
    pub fn prepare(&mut self, args: &Args<'_>) -> Prepared {
        let Desk { node, recent, .. } = &mut self.desk;
        let row = recent.row(&node.registry, args.at(0));
        let keyed = row.is_some_and(|row| row.access == Access::Keys && row.spec.keys.first == 1);
        let first = if keyed { args.get(1).map(Key::new).map(|key| (key.hash, key.slot)) } else { None };
        Prepared { row, first }
    }

    /// Loads the slot of a prepared command into the cache, then its bucket, then its entry, one stage a call.
    #[inline]
    pub fn prefetch(&mut self, prepared: &Prepared, db: u32, stage: u32) {
        let Some((hash, slot)) = prepared.first else { return };
        if stage == 0 {
            return self.node.locks.prefetch(slot);
        }
        let Some(held) = self.owner.try_one(slot) else { return };
        let Some(keys) = held.slot(slot).db(db) else { return };
        match stage {
            1 => keys.prefetch_bucket(hash),
            _ => keys.prefetch_entry(hash),
        }
    }

    /// Loads what several requests need into the cache, each part of all of them before the next part. Who gives a key its
    /// end needs the place for that as well.
    /// Each comes with its number of words.
    pub fn prefetch_all<'p>(&mut self, all: impl Iterator<Item = (&'p Prepared, usize)> + Clone, db: u32) {
        for stage in 0..3 {
            let mut before = None;
            for (prepared, words) in all.clone() {
                // What a SET has just asked for, its PEXPIREAT needs not.
                if prepared.first != before {
                    self.prefetch(prepared, db, stage);
                }
                before = prepared.first;
                if stage == 1
                    && let Some((hash, slot)) =
                        prepared.first.filter(|_| prepared.row.is_some_and(|row| gives_end(row, words)))
                    && let Some(held) = self.owner.try_one(slot)
                    && let Some(keys) = held.slot(slot).db(db)
                {
                    keys.prefetch_expiry(hash);
                }
            }
        }
    }

    /// Runs one request and appends its reply, unless it parks the client.
    pub fn run(&mut self, turn: &mut Turn<'_>, args: Args<'_>, prepared: &Prepared) -> Ran {
        let start = turn.out.len();
        let long = unpack::is_long(&args);
        let room = if self.piece.is_some() { Room::Enough } else { memory::make_room(self, turn.now) };
        if room == Room::NotYet && prepared.row.is_some_and(may_grow) {
            return Ran::PutOff;
        }
        let mut ran = match self.check(turn.client, &args, prepared, room) {
            Ok(row) if turn.client.queue.is_some() && !runs_at_once(row) => {
                // What the primary could carry out is not too much.
                let bytes_max = if self.piece.is_some() { usize::MAX } else { QUEUE_BYTES_MAX };
                queue(turn.client, turn.out, *row, &args, bytes_max);
                Ran::Done
            }
            Ok(row) if long => self.call_long(turn, args, row, prepared),
            Ok(row) => self.call(turn, args, row, prepared),
            Err(error) => {
                turn.client.unpacking = None;
                if let Some(queue) = &mut turn.client.queue {
                    queue.failed = true;
                }
                refuse(turn, prepared, error.text());
                Ran::Done
            }
        };
        let Turn { client, out, .. } = turn;
        if long && ran != Ran::PutOff {
            client.unpacking = None;
        }
        if let Some(parked) = &mut client.parking.parked {
            // SKIP is over when the command has run, though its reply comes later.
            parked.mute = client.replies == Replies::Off;
            parked.wait.begun(client.written);
            ran = Ran::Parked;
        }
        if ran != Ran::PutOff && client.replies != Replies::On {
            match client.replies {
                Replies::SkipNext => client.replies = Replies::Skip,
                Replies::Skip => {
                    out.truncate(start);
                    client.replies = Replies::On;
                }
                _ => out.truncate(start),
            }
        }
        ran
    }

    /// Whether the client may run this command now.
    fn check(
        &mut self,
        client: &Client,
        args: &Args<'_>,
        prepared: &Prepared,
        room: Room,
    ) -> Result<&'static Command<Run>, Error> {
        let Some(row) = prepared.row else { return Err(Error::Owned(errors::unknown_command(args.at(0)))) };
        if !row.spec.arity_ok(args.len()) {
            return Err(Error::Owned(errors::wrong_arity(row.spec.name)));
        }
        self.gate = self.node.repl.gate.bits();
        if self.piece.is_some() {
            // The primary has asked all this.
            return Ok(row);
        }
        if !client.authenticated
            && self.settled.config.requirepass.is_some()
            && row.spec.name != "auth"
            && row.spec.name != "slotsrestore-async-auth"
        {
            return Err(Error::Text(errors::NO_AUTH));
        }
        if client.subscriptions.is_some() && !while_subscribed(row) {
            return Err(Error::Text(errors::SUBSCRIBED_CONTEXT));
        }
        if room == Room::None
            && row.spec.flags.contains(Flags::DENYOOM)
            // Memory may be over its limit because of what this request brings.
            && client.unpacking.is_none()
            && crate::slots_commands::may_grow(self.node, row, args)
        {
            return Err(Error::Text(errors::OOM));
        }
        if self.gate != 0
            && let Some(refusal) = Gate::refusal(self.gate, row.spec.flags)
        {
            return Err(Error::Text(refusal));
        }
        if self.node.scripts.is_busy() {
            busy::admit(self.node, client.queue.is_some(), row, args)?;
        }
        let bits = self.node.persist.gate.bits();
        if bits & (gate::REFUSED | gate::LOADING) != 0
            && let Some(error) = gate::refusal(self.node, bits, row)
        {
            return Err(error);
        }
        Ok(row)
    }

    /// As [`Executor::call`], when all is made of what a long request brings.
    #[cold]
    fn call_long(&mut self, turn: &mut Turn<'_>, args: Args<'_>, row: &Command<Run>, prepared: &Prepared) -> Ran {
        if self.unpacks(turn.client, &args, row) {
            return Ran::PutOff;
        }
        self.swap_copies(turn.client);
        let ran = self.call(turn, args, row, prepared);
        self.swap_copies(turn.client);
        ran
    }

    /// A request's copies are where commands find them while it runs, and no longer.
    fn swap_copies(&mut self, client: &mut Client) {
        if let Some(unpacking) = &mut client.unpacking {
            std::mem::swap(unpacking.copies(), &mut self.local.copies);
        }
    }

    /// Whether what a long request brings is not read yet.
    fn unpacks(&mut self, client: &mut Client, args: &Args<'_>, row: &Command<Run>) -> bool {
        if self.piece.is_some() {
            return false;
        }
        if client.unpacking.is_none() {
            client.unpacking = Unpacking::of(self.node, row.spec.name, args, &self.settled.settings);
        }
        self.unpacks = client.unpacking.as_mut().is_some_and(|unpacking| !unpacking.go_on(args));
        self.unpacks
    }

    /// Whether a command of this row must wait for a file.
    #[inline]
    fn must_stall(&mut self, row: &Command<Run>) -> bool {
        let bits = self.node.persist.gate.bits();
        let must = bits & (gate::CUT | gate::AOF | gate::STOPPING) != 0
            && !self.replaying
            && gate::must_wait(self.node, bits, row, self.reactor);
        self.stalled |= must;
        must
    }

    fn call(&mut self, turn: &mut Turn<'_>, args: Args<'_>, row: &Command<Run>, prepared: &Prepared) -> Ran {
        let named = u32::from(row.id) + 1;
        turn.client.info.command.store(named, Ordering::Relaxed);
        if self.must_stall(row) {
            return Ran::PutOff;
        }
        self.node.stats[self.reactor].running.store(named, Ordering::Relaxed);
        let Some(flushed) = self.call_held(turn, args, row, prepared) else { return Ran::PutOff };
        let now = turn.now;
        if !self.answers.is_empty() {
            self.answer();
        }
        if let Some(flushed) = flushed {
            crate::persist::save::after_flushall(self.node, &flushed);
        }
        self.count(row, &args);
        if row.spec.flags.contains(Flags::ADMIN) {
            // A changed setting holds from the next command on, also of the same batch.
            self.refresh();
        }
        self.finish();
        // Of the commands that pause clients only CLIENT runs as itself.
        if row.spec.flags.contains(Flags::ADMIN) && self.node.is_paused(now) { Ran::Paused } else { Ran::Done }
    }

    /// The part of a call in which its slots are held. Returns what is left to do if all databases were emptied; `None` if it
    /// must come again, and then it has done nothing.
    #[inline]
    fn call_held(
        &mut self,
        turn: &mut Turn<'_>,
        args: Args<'_>,
        row: &Command<Run>,
        prepared: &Prepared,
    ) -> Option<Option<Flushed>> {
        let Executor { owner, desk } = self;
        // The stream's database and its end belong to every cut and change of roles: nobody may be at one.
        let moves_stream = desk.piece.is_some() && row.access == Access::Nothing;
        // Looked at where it lies: it is large, and would be copied as often as it is moved.
        let mut held = match moves_stream {
            true => owner.try_privileged(),
            false => hold(desk, owner, turn, &args, row, prepared),
        };
        let held = held.as_mut()?;
        let db = turn.client.session.db;
        if desk.must_come_again(held, row, &args, turn.client, turn.now)
            || desk.must_apply_first(held, turn.client, row, turn.now)
        {
            return None;
        }
        desk.begin(turn.client, turn.out, row, &args);
        let first = prepared.first.map(|(hash, slot)| Key { bytes: args.at(1), hash, slot });
        desk.handle(turn, held, args, row, first);
        let flushed = desk.log(turn.client, row, args, db).then(|| flushed(desk.node)).flatten();
        if !desk.local.ready.is_empty() {
            desk.serve(held, turn.now);
        }
        Some(flushed)
    }

    /// Carries out a command that a file holds; false if there is no such command.
    pub fn replay(&mut self, turn: &mut Turn<'_>, args: Args<'_>) -> bool {
        let prepared = self.prepare(&args);
        let row = prepared.row.or_else(|| self.node.newer.get(args.at(0)));
        let Some(row) = row.filter(|row| row.spec.arity_ok(args.len())) else { return false };
        self.begin_batch();
        while self.call(turn, args, row, &prepared) == Ran::PutOff {
            std::thread::yield_now();
        }
        true
    }

    /// Works with all slots held, outside of any command; `None` if somebody else is privileged.
    pub fn with_all<R>(&mut self, now: Now, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> Option<R> {
        let mut held = self.owner.try_privileged()?;
        held.add_all();
        Some(work(&mut Keyspace::new(&mut held, &mut self.desk.local, 0, now)))
    }

    /// When the last command ended.
    pub fn last_ended(&self) -> Ticks {
        self.last
    }

    /// Gets ready for the next command.
    #[inline]
    fn finish(&mut self) {
        self.local.effects.reset();
        if !self.local.garbage.is_empty() {
            self.node.free_later(self.local.garbage.take());
        }
    }

    /// Works on one slot outside of any command (expiry, eviction), and logs what that did. Does nothing and returns `None`
    /// when somebody else holds the slot, while a file is loaded, which may still want what is over, and after the last save.
    pub fn in_slot<R>(
        &mut self,
        slot: SlotId,
        db: u32,
        now: Now,
        work: impl FnOnce(&mut Keyspace<'_, '_>) -> R,
    ) -> Option<R> {
        let Executor { owner, desk } = self;
        let mut held = owner.try_one(slot)?;
        if desk.node.persist.gate.bits() & (gate::LOADING | gate::STOPPING) != 0 {
            return None;
        }
        desk.local.effects.logging = desk.node.oplog.wants_records(false);
        desk.local.is_replica = desk.node.repl.is_replica();
        let result = work(&mut Keyspace::new(&mut held, &mut desk.local, db, now));
        if desk.local.effects.dirty > 0 {
            desk.node.stats[desk.reactor].dirty.add(desk.local.effects.dirty);
        }
        log_effects(desk.node, &desk.local, &mut desk.records, db, Args::new(&[], &[]));
        drop(held);
        self.finish();
        Some(result)
    }

    /// Makes this thread's counters visible to others.
    pub fn publish_stats(&mut self) {
        let (from, to) = (std::mem::take(&mut self.local.stats), &self.node.stats[self.reactor]);
        to.hits.add(from.hits);
        to.misses.add(from.misses);
        to.expired.add(from.expired);
        to.evicted.add(from.evicted);
    }
}

/// Whether a command of so many words gives its key an end.
fn gives_end(row: &Command<Run>, words: usize) -> bool {
    match row.spec.name {
        "set" => words > 3,
        name => matches!(name, "pexpireat" | "setex" | "psetex" | "expire" | "pexpire" | "expireat"),
    }
}

/// Whether a command may need memory, by itself or by what it calls.
fn may_grow(row: &Command<Run>) -> bool {
    row.spec.flags.contains(Flags::DENYOOM) || matches!(row.spec.keys.getkeys, GetKeys::Eval)
}

/// Answers a request that may not run now.
fn refuse(turn: &mut Turn<'_>, prepared: &Prepared, text: &[u8]) {
    let name = prepared.row.map_or("", |row| row.spec.name);
    turn.client.close_after_reply |= crate::slots_commands::refuse_command(name, text, turn.out);
}

/// Commands that a transaction does not queue.
fn runs_at_once(row: &Command<Run>) -> bool {
    matches!(row.spec.name, "exec" | "discard" | "multi" | "watch" | "quit")
}

/// Commands that a client may send while it listens to channels.
fn while_subscribed(row: &Command<Run>) -> bool {
    matches!(row.spec.name, "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ping" | "quit")
}

/// Queues a request of a transaction, whose requests may have so many bytes.
fn queue(client: &mut Client, out: &mut Out, row: Command<Run>, args: &Args<'_>, bytes_max: usize) {
    let Some(queue) = &mut client.queue else { return };
    let queued = Queued::new(row, args);
    queue.bytes += queued.bytes.len();
    if queue.bytes > bytes_max {
        queue.failed = true;
        queue.requests.clear();
        return out.error("ERR the transaction is too large");
    }
    queue.requests.push(queued);
    client.info.command.store(u32::from(row.id) + 1, Ordering::Relaxed);
    client.info.queued.store(queue.requests.len() as i64, Ordering::Relaxed);
    out.simple("QUEUED");
}

/// Appends the effects to the oplog, or beside it on a replica, and publishes the events; the slots are still held. Returns
/// where in the file they end ([`engine::records::FilePlace::of_file`]), if they were kept.
#[inline]
pub fn log_effects(node: &Node, local: &Local, scratch: &mut Records, db: u32, args: Args<'_>) -> Option<u64> {
    let end = local.effects.has_records().then_some(()).and_then(|()| {
        let bytes = local.effects.records_bytes(args.len(), args.span());
        if bytes > KEPT_BYTES {
            return log_large(node, local, scratch, db, args, bytes);
        }
        scratch.clear();
        local.effects.records(args.iter(), scratch);
        node.oplog.append_records(db, scratch)
    });
    publish_events(node, local);
    end
}

/// Appends records that are about so long: `scratch` becomes as large as that, no larger, and not for good.
#[cold]
fn log_large(node: &Node, local: &Local, scratch: &mut Records, db: u32, args: Args<'_>, bytes: usize) -> Option<u64> {
    let mut aside = Aside::new(node);
    aside.set(bytes + local.effects.records_memory());
    scratch.clear();
    scratch.reserve(bytes);
    local.effects.records(args.iter(), scratch);
    let end = node.oplog.append_records(db, scratch);
    scratch.clear_large();
    end
}

/// Publishes the events of what was done, also of what the primary has done; the slots are still held.
#[inline]
fn publish_events(node: &Node, local: &Local) {
    if !local.effects.notices().is_empty() {
        node.publish_notices(local.effects.notices(), local.effects.wanted);
    }
}

/// After an error the client reads only its text.
pub fn reply_error(out: &mut Out, start: usize, outcome: Outcome) {
    if let Err(error) = outcome {
        out.truncate(start);
        out.error_line(error.text());
    }
}

/// Whether what moves keys must end before the command may have all slots.
#[cold]
fn must_end_moves(node: &Node, row: &Command<Run>, args: &Args<'_>) -> bool {
    row.spec.name == "shutdown" && shutdown::wish(args).is_some_and(|wish| !shutdown::may_go_on(node, wish))
}

/// The slots that a command needs, or `None` if it must come again.
#[inline]
fn hold<'o>(
    desk: &Desk,
    owner: &'o mut Owner<'static, Slot>,
    turn: &Turn<'_>,
    args: &Args<'_>,
    row: &Command<Run>,
    prepared: &Prepared,
) -> Option<Held<'o, Slot>> {
    let (node, deferrals) = (desk.node, turn.deferrals);
    // What a primary or a file has of a migration was in order there.
    let is_early = || desk.piece.is_none() && !desk.replaying && !elders::may_go_on(node, turn.client, row);
    match row.access {
        Access::Nothing => Some(owner.nothing()),
        Access::Touch => owner.try_privileged(),
        Access::All if must_end_moves(node, row, args) => None,
        Access::All => {
            let mut held = owner.try_privileged()?;
            held.add_all();
            Some(held)
        }
        Access::Patterns if commands::sort::has_patterns(args) => owner.try_privileged(),
        Access::Keys | Access::Patterns => {
            if let (Some((_, slot)), 1, GetKeys::Fixed) = (prepared.first, row.spec.keys.last, row.spec.keys.getkeys) {
                return owner.try_one(slot);
            }
            let set: SlotSet = resp::key_positions(&row.spec, args).map(|i| slots::slot_of(args.at(i))).collect();
            all_of(owner, &set, deferrals > DEFERRALS_MAX)
        }
        Access::Argument(_) | Access::Every { .. } if is_early() => None,
        Access::Argument(i) => owner.try_one(slots::slot_of(args.at(i.into()))),
        Access::Wrapped => crate::slots_commands::hold_wrapped(node, owner, args, deferrals > DEFERRALS_MAX),
        Access::Every { first, step } => {
            let keys = args.from(first.into()).iter().step_by(step.into());
            all_of(owner, &keys.map(slots::slot_of).collect(), deferrals > DEFERRALS_MAX)
        }
    }
}

/// All of these slots. Who has come often in vain waits for each: what is asked once they are held stays true until the end.
fn all_of<'o>(owner: &'o mut Owner<'static, Slot>, set: &SlotSet, starves: bool) -> Option<Held<'o, Slot>> {
    if !starves {
        return owner.try_all(set);
    }
    let mut held = owner.try_privileged()?;
    set.iter().for_each(|slot| held.add(slot));
    Some(held)
}

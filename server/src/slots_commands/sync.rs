//! SLOTSMGRTONE, -TAGONE, -SLOT and -TAGSLOT: one key, or all keys of one hash tag, sent whole and then removed.
//!
//! The client is parked while a thread does the work: one thread a target (its `host:port` as given), with one cached
//! link. The keys stay where they are, marked as leaving, until the target has taken them; writes to them wait meanwhile, and
//! once the first is removed here reads wait for the last.
//!
//! ```text
//! AUTH password | SELECT db          only what the link needs; answered before anything else is sent
//! SLOTSRESTORE key ttl payload ..    one command for all keys; more, one after the other, only if they are many (pieces.rs)
//! ```
//! A slot is held for a step at a time, also while a big value is made into a payload: only who writes to its key waits.
//! A key that was changed meanwhile (a script may write what it did not announce) is sent again; one that will not hold
//! still stays, and the target is told to drop its copy, as it is of one that has ended here meanwhile.

use super::closing::{self, UnderWay};
use super::debts::Target;
use super::idle::{Idle, Next};
use super::link::{NoLink, connect};
use super::pieces::{Restores, deletes};
use super::rests::{self, Killed};
use super::worker::{REMOVED_KEYS, REST, Worker};
use crate::log;
use crate::node::Node;
use crate::node_commands::{Handler, NodeCtx};
use crate::park::{Ticket, Wait};
use commands::error::{Error, Outcome};
use commands::slot::{int32, slot_number};
use commands::table::{Command, command};
use engine::keyspace::{Key, Keyspace};
use engine::raw::entry::{Transit, Value};
use persistence::rdb::dump;
use persistence::rdb::stepwise::Payload;
use resp::{Flags, KeySpec, Out, errors};
use slots::SlotId;
use slots::migration::wire;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A timeout of 0 means this.
const TIMEOUT_DEFAULT_MS: i64 = 100;
/// A link, and its thread, end when nobody has asked for them for so long.
pub const IDLE: Duration = Duration::from_secs(15);
/// Targets at a time.
const THREADS_MAX: usize = 256;
/// Requests that wait for one target.
const QUEUE: usize = 1024;
/// Longest line of an answer that is looked at.
const LINE_MAX: usize = 1023;
/// Bytes of a big value's payload that are made in one step.
const STEP_BYTES: usize = 64 * 1024;
/// How often keys that change under way are sent.
const TRIES: usize = 3;
/// Pause between two tries to claim a slot.
const CLAIM_RETRY: Duration = Duration::from_millis(1);

/// What to move.
enum What {
    One(Box<[u8]>),
    TagOne(Box<[u8]>),
    Slot(SlotId),
    TagSlot(SlotId),
}

/// One request.
struct Job {
    ticket: Ticket,
    host: String,
    port: u16,
    db: u32,
    timeout: Duration,
    what: What,
    /// A shutdown waits for it.
    under_way: UnderWay,
}

/// The threads.
#[derive(Default)]
pub struct Targets(Mutex<HashMap<String, SyncSender<Job>>>);

impl Targets {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, SyncSender<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody waits for an end that could be told otherwise: the work is finished even when the client is gone.
struct Waiting;

impl Wait for Waiting {
    fn time_out(&self, _out: &mut Out) -> bool {
        false
    }

    fn abandon(&self) {}
}

fn slotsmgrt(ctx: &mut NodeCtx<'_, '_>, what: fn(&NodeCtx<'_, '_>) -> Result<What, Error>) -> Outcome {
    let args = ctx.args;
    let timeout_ms = int32(args.at(3))?;
    if timeout_ms < 0 {
        return Err(format!("ERR invalid timeout = {timeout_ms}").into());
    }
    let timeout_ms = if timeout_ms == 0 { TIMEOUT_DEFAULT_MS } else { timeout_ms };
    let what = what(ctx)?;
    let host = String::from_utf8_lossy(args.at(1)).into_owned();
    let port = resp::atoi(args.at(2));
    let port = u16::try_from(port)
        .map_err(|_| Error::Text("ERR Can't connect to target node: Servname not supported for ai_socktype"))?;
    let node = ctx.node;
    let Some(parking) = ctx.client.parking.as_deref_mut() else {
        return Err("ERR keys can't be migrated from a script or a transaction".into());
    };
    let ticket = parking.ticket(ctx.client.info);
    let timeout = Duration::from_millis(timeout_ms as u64);
    let under_way = node.moves.closing.begin();
    if node.moves.closing.is_on() {
        return Err(closing::REFUSED.into());
    }
    let job = Job { ticket, host, port, db: ctx.ctx.session.db, timeout, what, under_way };
    hand_over(ctx.node, job)?;
    parking.park(ticket, None, Box::new(Waiting));
    Ok(())
}

/// Gives a job to the thread of its target, which is started if there is none.
fn hand_over(node: &'static Node, mut job: Job) -> Result<(), Error> {
    let name = format!("{}:{}", job.host, job.port);
    let mut targets = node.moves.targets.lock();
    if targets.len() >= THREADS_MAX && !targets.contains_key(&name) {
        return Err("ERR keys are moved to too many targets".into());
    }
    if let Some(thread) = targets.get(&name) {
        match thread.try_send(job) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_)) => return Err("ERR too many keys wait for this target".into()),
            Err(TrySendError::Disconnected(back)) => job = back,
        }
    }
    let (sender, jobs) = sync_channel(QUEUE);
    // The queue is fresh, so the job has room.
    let _ = sender.try_send(job);
    let thread_name = name.clone();
    crate::start::spawn("migrate", move || serve(node, &thread_name, &jobs))
        .map_err(|error| Error::from(format!("ERR can't start a thread: {error}")))?;
    targets.insert(name, sender);
    Ok(())
}

/// The thread of one target.
fn serve(node: &'static Node, name: &str, jobs: &Receiver<Job>) {
    let mut link: Option<Link> = None;
    let mut worker: Option<Worker> = None;
    let mut idle = Idle::begin(Instant::now(), IDLE);
    loop {
        let patience = match idle.next(Instant::now(), worker.is_some()) {
            Next::Wait(time) => time,
            Next::Leave => {
                worker = None;
                continue;
            }
            Next::End => Duration::ZERO,
        };
        match jobs.recv_timeout(patience) {
            Ok(job) => {
                carry_out(node, &mut worker, &mut link, job);
                idle = Idle::begin(Instant::now(), IDLE);
            }
            Err(RecvTimeoutError::Timeout) if !patience.is_zero() => {}
            Err(_) => {
                // Under the lock nobody can be sending: a job that came just now is still served.
                let mut targets = node.moves.targets.lock();
                match jobs.try_recv() {
                    Ok(job) => {
                        drop(targets);
                        carry_out(node, &mut worker, &mut link, job);
                        idle = Idle::begin(Instant::now(), IDLE);
                    }
                    Err(_) => {
                        targets.remove(name);
                        return;
                    }
                }
            }
        }
    }
}

/// Does a job, and tells its client.
fn carry_out(node: &'static Node, worker: &mut Option<Worker>, link: &mut Option<Link>, job: Job) {
    let mut reply = Out::new();
    if node.moves.closing.is_on() {
        reply.error(closing::REFUSED);
    } else {
        let worker = worker.get_or_insert_with(|| Worker::new(node));
        let tenure = node.repl.tenure();
        reply = Mover { worker, link, job: &job, tenure }.run();
    }
    let Job { ticket, under_way, .. } = job;
    // It is over before its client hears of it.
    drop(under_way);
    node.resume(ticket, reply.into_vec());
}

/// A connection to the target, and what it knows of us.
struct Link {
    stream: TcpStream,
    /// Bytes of answers that were read and not looked at.
    input: Vec<u8>,
    db: Option<u32>,
    greeted: bool,
    used: Instant,
    /// Where it comes from, as the target sees it.
    addr: String,
    /// The target was too slow with it, and may still come to read what it has got.
    is_silent: bool,
}

impl Link {
    /// Notes what an error says of the target.
    fn failed(&mut self, error: &io::Error) {
        self.is_silent |= !is_closed(error);
    }
}

/// Why a request failed: the line that its client reads.
struct Failed(Vec<u8>);

impl From<&str> for Failed {
    fn from(text: &str) -> Failed {
        Failed(text.as_bytes().to_vec())
    }
}

const CONNECTING: &str = "IOERR error or timeout connecting to the client";
const WRITING: &str = "IOERR error or timeout writing to target";
const READING: &str = "IOERR error or timeout reading from target";
const REFUSED: &str = "ERR error on slotsrestore, migration failed";
/// In the greeting: drop what is left of an old link.
const KILL: &str = "kill";
const BUSY: &str = "ERR the specified key is being migrated";
const PAUSED: &str = "ERR error on slotsrestore, clients are paused";

/// How sending ended.
enum Sent {
    Yes,
    /// The link broke before anything came back, and it was not fresh.
    Stale,
    No(Failed),
}

/// Why keys that were sent are not removed, and which.
struct NotRemoved {
    keys: Vec<Box<[u8]>>,
    why: Failed,
}

struct Mover<'m> {
    worker: &'m mut Worker,
    link: &'m mut Option<Link>,
    job: &'m Job,
    /// The term as a primary in which it began; after that nothing is removed here, and nothing taken back from the target:
    /// the new primary may have moved the same keys by then.
    tenure: Option<u64>,
}

impl Mover<'_> {
    fn run(&mut self) -> Out {
        let mut out = Out::new();
        let deadline = Instant::now() + self.job.timeout;
        let result = match &self.job.what {
            _ if !self.is_ours() => Err(errors::READ_ONLY.into()),
            What::One(key) => self.one(key, false, deadline).map(|moved| out.int(moved as i64)),
            What::TagOne(key) => self.one(key, true, deadline).map(|moved| out.int(moved as i64)),
            What::Slot(slot) => self.of_slot(*slot, false, deadline, &mut out),
            What::TagSlot(slot) => self.of_slot(*slot, true, deadline, &mut out),
        };
        if let Err(Failed(line)) = result {
            log::warning!("slotsmgrt: {}:{}: {}", self.job.host, self.job.port, line.escape_ascii());
            out.clear();
            out.error_line(&line);
        }
        out
    }

    fn one(&mut self, key: &[u8], tag: bool, deadline: Instant) -> Result<usize, Failed> {
        self.connected()?;
        self.migrate(Key::new(key).slot, Some(key), tag, deadline)
    }

    /// Moves a key of the slot that is drawn, and says how many are left.
    fn of_slot(&mut self, slot: SlotId, tag: bool, deadline: Instant, out: &mut Out) -> Result<(), Failed> {
        let mut seed = self.worker.random();
        let db = self.job.db;
        let drawn = self.worker.in_slot(slot, db, |keys| {
            let random = || {
                seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                seed ^ seed >> 32
            };
            keys.slot_keys(slot).and_then(|slot| slot.random(random)).map(|entry| Box::<[u8]>::from(entry.key()))
        });
        let moved = match drawn {
            None if self.worker.node.moves.debts.of(self.target(), &[slot]).is_empty() => 0,
            None => {
                // No key is left: only what the target may have.
                self.connected()?;
                self.migrate(slot, None, false, deadline)?
            }
            Some(key) => {
                self.connected()?;
                self.migrate(slot, Some(&key), tag, deadline)?
            }
        };
        let left = self.worker.in_slot(slot, db, |keys| keys.slot_keys(slot).map_or(0, |slot| slot.len()));
        out.array(2);
        out.int(moved as i64);
        out.int(left as i64);
        Ok(())
    }

    /// Whether this server is the primary that it was. Who holds a slot may rely on it.
    fn is_ours(&self) -> bool {
        self.tenure.is_some() && self.worker.node.repl.tenure() == self.tenure
    }

    // --- the keys

    /// Moves a key or its tag's group, if there is one; returns how many keys have moved.
    fn migrate(&mut self, slot: SlotId, key: Option<&[u8]>, tag: bool, deadline: Instant) -> Result<usize, Failed> {
        let (node, db) = (self.worker.node, self.job.db);
        while !node.moves.claims.claim(db, slot) {
            if Instant::now() >= deadline {
                return Err(BUSY.into());
            }
            thread::sleep(CLAIM_RETRY);
        }
        let mut keys = Vec::new();
        match key.map(|key| (key, slots::tag_crc(key).filter(|_| tag))) {
            None => {}
            Some((_, Some(crc))) => keys = self.worker.leave_group(slot, db, crc),
            Some((key, None)) => {
                let leaves = self.worker.in_slot(slot, db, |here| here.leave(&Key::new(key)));
                keys.extend(leaves.then(|| Box::from(key)));
            }
        }
        node.moves.claims.add(db, slot, keys.iter().map(|key| &key[..]));
        let moved = self.pay_debts(slot).and_then(|()| self.send_and_remove(slot, keys.clone()));
        self.worker.stay(slot, db, keys.iter().map(|key| &key[..]));
        node.moves.claims.release(db, slot);
        moved
    }

    fn send_and_remove(&mut self, slot: SlotId, mut keys: Vec<Box<[u8]>>) -> Result<usize, Failed> {
        let mut moved = 0;
        // Keys that the target has taken, and that have ended here before they were removed: by a script, a transaction
        // or FLUSHALL. Its copies would bring them back.
        let mut gone: Vec<Box<[u8]>> = Vec::new();
        for attempt in 0..TRIES {
            let mut restores = Restores::new();
            let mut sent = Vec::new();
            for key in keys {
                if let Some((ttl_ms, payload)) = self.payload(slot, &key) {
                    restores.add(&key, ttl_ms, &payload);
                    sent.push(key);
                } else if attempt > 0 {
                    gone.push(key);
                }
            }
            keys = Vec::new();
            if !self.is_ours() {
                return Err(errors::READ_ONLY.into());
            }
            if sent.is_empty() {
                break;
            }
            let linked = self.link.is_some();
            if let Err((piece, why)) = self.deliver_all(restores.finish()) {
                let Failed(line) = &why;
                // Who refuses takes nothing, but has taken what came before.
                if linked && (attempt > 0 || piece > 0 || line.starts_with(b"IOERR")) {
                    sent.append(&mut gone);
                    self.forget(&sent);
                }
                return Err(why);
            }
            match self.remove_sent(slot, &sent) {
                Ok(changed) => keys = changed,
                Err(NotRemoved { mut keys, why }) => {
                    // Otherwise they are the new primary's business, and nothing is wrong with the link.
                    if self.is_ours() {
                        keys.append(&mut gone);
                        self.forget(&keys);
                    }
                    return Err(why);
                }
            }
            moved += sent.len() - keys.len();
        }
        // Others have changed each time: they stay here, and the target must not keep what it got of them either.
        keys.append(&mut gone);
        if !keys.is_empty() && !self.is_ours() {
            return Err(errors::READ_ONLY.into());
        }
        if let Err((_, why)) = self.deliver_all(deletes(&keys)) {
            self.forget(&keys);
            return Err(why);
        }
        Ok(moved)
    }

    /// Removes what the target has taken, some keys at a time between which others have the slot: who asks for one that is
    /// left waits. Returns those that are not as they were sent.
    fn remove_sent(&mut self, slot: SlotId, sent: &[Box<[u8]>]) -> Result<Vec<Box<[u8]>>, NotRemoved> {
        let (node, db, tenure) = (self.worker.node, self.job.db, self.tenure);
        node.moves.claims.set_ending(db, slot, true);
        let until = Instant::now() + self.job.timeout;
        let mut changed: Vec<Box<[u8]>> = Vec::new();
        for (n, step) in sent.chunks(REMOVED_KEYS).enumerate() {
            if n > 0 {
                thread::sleep(REST);
            }
            let why = loop {
                let removed = |here: &mut Keyspace<'_, '_>| (node.repl.tenure() == tenure).then(|| remove(here, step));
                match self.worker.in_slot_unless_paused(slot, db, removed) {
                    Some(Some(mut others)) => {
                        changed.append(&mut others);
                        break None;
                    }
                    Some(None) => break Some(errors::READ_ONLY),
                    // Who pauses clients relies on nothing changing. They find no half of what goes together after it.
                    None if Instant::now() < until || n > 0 && !self.worker.is_over() => thread::sleep(CLAIM_RETRY),
                    None => break Some(PAUSED),
                }
            };
            if let Some(why) = why {
                changed.extend_from_slice(&sent[n * REMOVED_KEYS..]);
                return Err(NotRemoved { keys: changed, why: why.into() });
            }
        }
        Ok(changed)
    }

    /// Nobody knows what a target that has not answered has stored: it is told to forget it, over a new link, once that has
    /// answered that nothing of the old one will come any more.
    fn forget(&mut self, keys: &[Box<[u8]>]) {
        *self.link = None;
        if !self.is_ours() {
            log::warning!("slotsmgrt: {} keys that were sent are the new primary's business", keys.len());
            return;
        }
        let mut pieces = deletes(keys).into_iter();
        let told = self.connected().is_ok()
            && pieces.all(|piece| matches!(self.try_deliver(&piece, REFUSED, false), Sent::Yes));
        if !told {
            let Job { host, port, .. } = self.job;
            let count = keys.len();
            log::warning!("slotsmgrt: {host}:{port} may keep {count} keys until more of their slots are sent");
            if !self.worker.node.moves.debts.add(self.target(), keys) {
                log::warning!("slotsmgrt: too many to be noted: what is deleted here may come back there");
            }
        }
    }

    /// Before anything else of the slot is sent: has the target forget what it may have of it of earlier commands.
    fn pay_debts(&mut self, slot: SlotId) -> Result<(), Failed> {
        let owed = self.worker.node.moves.debts.of(self.target(), &[slot]);
        if owed.is_empty() {
            return Ok(());
        }
        self.deliver_all(deletes(&owed)).map_err(|(_, why)| why)?;
        self.worker.node.moves.debts.are_paid(self.target(), &owed);
        Ok(())
    }

    /// Who is owed.
    fn target(&self) -> Target<'_> {
        Target { host: &self.job.host, port: self.job.port, db: self.job.db, tenure: self.tenure }
    }

    /// The time to live and the payload of a key that leaves, marked as unchanged; `None` if it is gone. A big value is
    /// made into a payload step by step, and begun anew when somebody changes it meanwhile: a script, since commands wait.
    fn payload(&mut self, slot: SlotId, key: &[u8]) -> Option<(i64, Vec<u8>)> {
        let (key, db) = (Key::new(key), self.job.db);
        for _ in 0..TRIES {
            let (ttl_ms, mut payload) =
                self.worker.in_slot(slot, db, |here| leaving(here, &key, |value| Payload::begin(value, true)))?;
            let mut unchanged = true;
            while unchanged && payload.goes_on() {
                payload.make_room(2 * STEP_BYTES);
                thread::sleep(REST);
                unchanged = self.worker.in_slot(slot, db, |here| {
                    // An expiry that passes meanwhile does not matter: the target sees to it.
                    let entry = here.slot_keys(slot).and_then(|keys| keys.find(key.hash, key.bytes));
                    let entry = entry.filter(|entry| entry.transit() == Transit::Leaving);
                    entry.map(|entry| payload.step(entry.value(), STEP_BYTES)).is_some()
                });
            }
            if unchanged && let Some(payload) = payload.finish() {
                return Some((ttl_ms, payload));
            }
        }
        self.worker.in_slot(slot, db, |here| leaving(here, &key, |value| dump::dump(value, true)))
    }

    // --- the link

    /// Makes sure that there is a link, unless the target refuses one.
    fn connected(&mut self) -> Result<(), Failed> {
        if self.link.as_ref().is_some_and(|link| link.used.elapsed() > IDLE) {
            *self.link = None;
        }
        if self.link.is_some() {
            return Ok(());
        }
        let Job { host, port, timeout, .. } = self.job;
        let failed = match connect(host, *port, *timeout, self.worker.node.config().port, || false) {
            Ok(stream) => {
                let addr = stream.local_addr().map(|addr| addr.to_string()).unwrap_or_default();
                let (input, used) = (Vec::new(), Instant::now());
                *self.link = Some(Link { stream, input, db: None, greeted: false, used, addr, is_silent: false });
                return Ok(());
            }
            // The original takes it for connected, and finds out when it has something to write.
            Err(NoLink::Refused) => return Ok(()),
            Err(NoLink::Failed(text)) => Failed(format!("ERR Can't connect to target node: {text}").into_bytes()),
            Err(NoLink::TimedOut | NoLink::Stopped) => CONNECTING.into(),
            Err(NoLink::Itself) => "ERR Can't connect to target node: it is this server itself".into(),
        };
        Err(failed)
    }

    /// Sends a command and waits for its answer. A link that the target has closed meanwhile is made anew, once.
    fn deliver(&mut self, request: &[u8], refused: &str) -> Result<(), Failed> {
        let fresh = self.link.as_ref().is_some_and(|link| link.db.is_none());
        match self.try_deliver(request, refused, !fresh) {
            Sent::Yes => Ok(()),
            Sent::No(why) => Err(why),
            Sent::Stale => {
                self.connected()?;
                match self.try_deliver(request, refused, false) {
                    Sent::Yes => Ok(()),
                    Sent::No(why) => Err(why),
                    Sent::Stale => Err(WRITING.into()),
                }
            }
        }
    }

    /// Sends commands, each when the one before is answered. If that fails, says why and with which, counted from 0.
    fn deliver_all(&mut self, pieces: Vec<Vec<u8>>) -> Result<(), (usize, Failed)> {
        for (piece, request) in pieces.into_iter().enumerate() {
            let delivered = match piece {
                0 => self.deliver(&request, REFUSED),
                _ if !self.is_ours() => Err(errors::READ_ONLY.into()),
                // A target that has closed the link since the first one may have been restarted, and know nothing of it.
                _ => match self.try_deliver(&request, REFUSED, false) {
                    Sent::Yes => Ok(()),
                    Sent::No(why) => Err(why),
                    Sent::Stale => Err(WRITING.into()),
                },
            };
            delivered.map_err(|why| (piece, why))?;
        }
        Ok(())
    }

    fn try_deliver(&mut self, request: &[u8], refused: &str, cached: bool) -> Sent {
        let Some(mut link) = self.link.take() else { return Sent::No(WRITING.into()) };
        let sent = self.exchange(&mut link, request, refused, cached);
        if matches!(sent, Sent::Yes) {
            *self.link = Some(Link { db: Some(self.job.db), greeted: true, used: Instant::now(), ..link });
        } else if link.is_silent {
            self.worker.node.moves.rests.add(&self.job.host, self.job.port, link.addr);
        }
        sent
    }

    fn exchange(&mut self, link: &mut Link, request: &[u8], refused: &str, cached: bool) -> Sent {
        let (config, node) = (self.worker.node.config(), self.worker.node);
        let timeout = Some(self.job.timeout);
        if link.stream.set_read_timeout(timeout).and_then(|()| link.stream.set_write_timeout(timeout)).is_err() {
            return Sent::No(WRITING.into());
        }
        let mut greeting = Vec::new();
        let password = config.requirepass.as_ref().filter(|_| !link.greeted);
        if let Some(password) = password {
            wire::message(&[b"AUTH", password], &mut greeting);
        }
        // What is left of links that were given up would come after this one's: every server knows how to drop it.
        let olds = if link.greeted { Vec::new() } else { node.moves.rests.of(&self.job.host, self.job.port) };
        olds.iter().for_each(|addr| rests::kill(addr, &mut greeting));
        let select = link.db != Some(self.job.db);
        if select {
            wire::message(&[b"SELECT", self.job.db.to_string().as_bytes()], &mut greeting);
        }
        // Who is refused a password or a database is still served what stands behind, in the database that was chosen
        // before: so keys wait for the answer, unless that is the right one anyway, as on a new link.
        let waits = password.is_some() || !olds.is_empty() || select && (self.job.db != 0 || link.db.is_some());
        let first: &[u8] = if waits { &greeting } else { &[&greeting[..], request].concat() };
        if let Err(error) = link.stream.write_all(first) {
            link.failed(&error);
            return if cached { Sent::Stale } else { Sent::No(WRITING.into()) };
        }
        let mut heard = false;
        let auth = password.iter().map(|_| "auth");
        let select = select.then_some("select");
        for what in auth.chain(olds.iter().map(|_| KILL)).chain(select) {
            match read_line(link) {
                Ok(line) if line.first() == Some(&b'+') => heard = true,
                // Where nobody can be killed, that is how it was set up.
                Ok(line) if what == KILL && Killed::of(&line) != Killed::Refused => heard = true,
                Ok(line) => {
                    log::warning!("slotsmgrt: the target refused {what}: {}", line.escape_ascii());
                    // Who refuses what comes first is said to have refused the original's first words.
                    let what = if what == KILL { "select" } else { what };
                    return Sent::No(Failed(format!("ERR error on slotsrestore, {what} failed").into_bytes()));
                }
                Err(error) if is_closed(&error) && cached && !heard => return Sent::Stale,
                Err(error) => {
                    link.failed(&error);
                    return Sent::No(READING.into());
                }
            }
        }
        node.moves.rests.are_gone(&olds);
        if waits && let Err(error) = link.stream.write_all(request) {
            link.failed(&error);
            return Sent::No(WRITING.into());
        }
        match read_line(link) {
            Ok(line) if line.first() == Some(&b'-') => {
                log::warning!("slotsmgrt: the target refused keys: {}", line.escape_ascii());
                return Sent::No(refused.into());
            }
            Ok(_) => {}
            Err(error) if is_closed(&error) && cached && !heard => return Sent::Stale,
            Err(error) => {
                link.failed(&error);
                return Sent::No(READING.into());
            }
        }
        Sent::Yes
    }
}

/// Marks a key that leaves as unchanged and looks at it; its time to live, and what `look` says. `None` if it is gone, or
/// another server has begun to send one of its name.
fn leaving<R>(here: &mut Keyspace<'_, '_>, key: &Key<'_>, look: impl FnOnce(Value<'_>) -> R) -> Option<(i64, R)> {
    if !here.leave_again(key) {
        return None;
    }
    let now = here.now().ms;
    let entry = here.at(key)?;
    let ttl_ms = entry.expire_at_ms().map_or(0, |at| (at - now).max(1));
    Some((ttl_ms, look(entry.value())))
}

/// Removes the keys that are as they were sent, logs it as one command, and returns the others.
fn remove(here: &mut Keyspace<'_, '_>, sent: &[Box<[u8]>]) -> Vec<Box<[u8]>> {
    let mut record: Vec<&[u8]> = vec![b"DEL"];
    let mut changed = Vec::new();
    for name in sent {
        let key = Key::new(name);
        if here.remove_left(&key) {
            here.changed(&key, 0, "del");
            record.push(name);
        } else {
            changed.push(name.clone());
        }
    }
    if record.len() > 1 {
        here.effects().log_instead(&record);
    }
    changed
}

/// One line of an answer, without its end.
fn read_line(link: &mut Link) -> io::Result<Vec<u8>> {
    loop {
        if let Some(end) = link.input.iter().position(|&byte| byte == b'\n') {
            let mut line: Vec<u8> = link.input.drain(..=end).collect();
            while matches!(line.last(), Some(b'\r' | b'\n')) {
                line.pop();
            }
            return Ok(line);
        }
        if link.input.len() >= LINE_MAX {
            return Ok(std::mem::take(&mut link.input));
        }
        let mut more = [0; LINE_MAX];
        match link.stream.read(&mut more) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => link.input.extend_from_slice(&more[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the target is gone, rather than slow.
fn is_closed(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn slotsmgrtone(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    slotsmgrt(ctx, |ctx| Ok(What::One(ctx.args.at(4).into())))
}

fn slotsmgrttagone(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    slotsmgrt(ctx, |ctx| Ok(What::TagOne(ctx.args.at(4).into())))
}

fn slotsmgrtslot(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    slotsmgrt(ctx, |ctx| Ok(What::Slot(slot_number(ctx.args.at(4))?)))
}

fn slotsmgrttagslot(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    slotsmgrt(ctx, |ctx| Ok(What::TagSlot(slot_number(ctx.args.at(4))?)))
}

pub(super) static TABLE: &[Command<Handler>] = &[
    command("slotsmgrtslot", 5, KeySpec::NONE, Flags::WRITE, slotsmgrtslot as Handler),
    command("slotsmgrttagslot", 5, KeySpec::NONE, Flags::WRITE, slotsmgrttagslot),
    command("slotsmgrtone", 5, KeySpec::NONE, Flags::WRITE, slotsmgrtone),
    command("slotsmgrttagone", 5, KeySpec::NONE, Flags::WRITE, slotsmgrttagone),
];

//! MIGRATE: keys moved to another server, with no reactor waiting for it.
//!
//! ```text
//!   reactor                       thread "migrate"                     other server
//!   dump keys, park client --job--> RESTORE key ttl payload ..  -------->
//!                                   read replies                <--------
//!   delete what is unchanged <-----
//!   again with what changed ------> RESTORE .. REPLACE, DEL of what has ended
//!   resume client
//! ```
//! 1. No slot is held while bytes are on the way.
//! 2. A key is deleted here only if the value and expiry that the other side acknowledged are those that it has at that
//!    moment, under its slot's lock; otherwise it is sent again. So a write that comes in between is not lost.
//! 3. A key that was not acknowledged stays, as after any failure.
//! 4. The other side keeps nothing that it took and that is not to move: a key that has ended or was renamed here, or one
//!    whose later value it refuses.
//! 5. Nobody brings another value for a key on its way by RESTORE: the other side may be this server under another name.
//! 6. Who has become a replica deletes nothing, here or there: its new primary may have moved the same keys by then.
//! 7. Nothing is deleted here while clients are paused: who pauses them, for a failover perhaps, relies on nothing changing.
//!    A thread waits for the end of the pause, and if that takes too long the other side is told to forget.

mod link;
mod moving;

use crate::dispatch::Executor;
use crate::mailbox::Mail;
use crate::node::Node;
use crate::park::{Ticket, Wait};
use crate::slots_commands::closing::UnderWay;
use engine::clock::Now;
use engine::keyspace::{Key, Keyspace};
use engine::raw::alloc;
use link::Links;
pub use moving::{Moving, MovingKeys};
use persistence::rdb::dump;
use resp::{Out, errors};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Moves under way at the same time; others wait their turn.
const THREADS: usize = 8;
/// Moves that wait; beyond that they are refused.
const QUEUE: usize = 1024;
/// How often a key is sent again because it changed meanwhile.
const ROUNDS: u32 = 100;
/// No class: the end of a moved key wakes watchers and is no event, as in 3.2.
const NO_EVENT: u32 = 0;
/// Time between two looks at whether clients are still paused.
const PAUSE_LOOK: Duration = Duration::from_millis(5);
/// What a client is told when too many jobs wait.
const FULL: &str = "IOERR too many keys wait to be moved to other instances";
/// What a client is told whose keys stay because of a pause.
const PAUSED: &[u8] = b"TRYAGAIN clients are paused, and the keys stay here";
/// What 3.2 answers when none of the keys is there.
const NO_KEY: &[u8] = b"+NOKEY\r\n";

/// Where keys go.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What the other server wants to hear first.
    pub password: Option<Vec<u8>>,
}

/// A key on its way.
pub struct Parcel {
    /// The key.
    pub key: Vec<u8>,
    /// Its value as DUMP gives it.
    pub payload: Vec<u8>,
    /// Its expiry, Unix milliseconds.
    pub expire_at_ms: Option<i64>,
    /// How far it is.
    pub state: State,
    /// The other side has taken it once, as it was then.
    pub taken: bool,
    /// For as long as it is on its way and is to be deleted then.
    pub moving: Option<Moving>,
}

impl Parcel {
    /// Whether the other side is to hear of it.
    fn is_to_be_said(&self) -> bool {
        matches!(self.state, State::ToSend | State::ToForget)
    }
}

/// How far a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// To be sent.
    ToSend,
    /// The other side has it.
    Acknowledged,
    /// The other side has it, and is not to keep it: it has ended here or has another name, or is to stay here.
    ToForget,
    /// Nothing more is done about it: something failed, or the other side has forgotten it.
    Stays,
}

/// One MIGRATE.
pub struct Job {
    /// Where to.
    pub target: Target,
    /// The other side's database.
    pub target_db: i64,
    /// For connecting, each write and each reply.
    pub timeout: Duration,
    /// Overwrite what the other side has.
    pub replace: bool,
    /// Leave the keys here.
    pub copy: bool,
    /// The database that they are in here.
    pub db: u32,
    /// The term as a primary in which it began.
    pub tenure: Option<u64>,
    /// The keys.
    pub parcels: Vec<Parcel>,
    /// Whose reply it is.
    pub ticket: Ticket,
    /// How often they were sent.
    pub rounds: u32,
    /// The first error.
    pub error: Option<Vec<u8>>,
    /// A key has moved.
    pub moved: bool,
    /// Since when it has waited for the end of a pause of clients.
    pub paused_since: Option<Instant>,
    /// A shutdown waits for it.
    pub under_way: UnderWay,
}

impl Job {
    /// Whether the other side is to hear of any key.
    fn has_to_say(&self) -> bool {
        self.parcels.iter().any(Parcel::is_to_be_said)
    }

    /// Whether this server is the primary that it was when the job began. Who holds a slot may rely on it: roles change
    /// while all slots are held.
    fn is_ours(&self, node: &Node) -> bool {
        self.tenure.is_some() && node.repl.tenure() == self.tenure
    }
}

/// The threads that move keys, and their connections.
#[derive(Default)]
pub struct Migrations {
    queue: OnceLock<SyncSender<Job>>,
    links: Links,
    /// The keys that are on their way.
    pub moving: MovingKeys,
}

/// A client whose keys are on their way. Its time is that of the other side's replies, and nothing is taken back when it
/// goes.
pub struct OnTheWay;

impl Wait for OnTheWay {
    fn time_out(&self, _: &mut Out) -> bool {
        false
    }

    fn abandon(&self) {}
}

impl Migrations {
    /// Connections that are kept for the next MIGRATE.
    pub fn cached_sockets(&self) -> usize {
        self.links.len()
    }

    /// Ends connections that were not used for a while.
    pub fn close_idle_sockets(&self, now: Now) {
        self.links.close_idle(now);
    }

    /// Starts a move, or says why not.
    pub fn start(&self, node: &'static Node, job: Job) -> Result<(), &'static str> {
        self.give(node, job).map_err(|_| FULL)
    }

    /// Gives a job to the threads, or back if too many wait for them.
    fn give(&self, node: &'static Node, job: Job) -> Result<(), Box<Job>> {
        let queue = self.queue.get_or_init(|| {
            let (sender, jobs) = sync_channel(QUEUE);
            let jobs: &'static Mutex<Receiver<Job>> = Box::leak(Box::new(Mutex::new(jobs)));
            for _ in 0..THREADS {
                let run = move || {
                    let _account = alloc::open_account();
                    work(node, jobs);
                };
                if let Err(error) = thread::Builder::new().name("migrate".into()).spawn(run) {
                    crate::log::warning!("Can't start a thread for MIGRATE: {}", crate::os_error::text(&error));
                }
            }
            sender
        });
        queue.try_send(job).map_err(|(TrySendError::Full(job) | TrySendError::Disconnected(job))| Box::new(job))
    }
}

/// What a thread does: one job after the other.
fn work(node: &'static Node, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let Ok(mut job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return };
        if job.has_to_say() && (job.copy || job.is_ours(node)) {
            send(node, &mut job);
        }
        if job.copy {
            finish(node, job);
        } else {
            wait_out_pause(node, &mut job);
            settle_later(node, job);
        }
    }
}

fn send(node: &Node, job: &mut Job) {
    let failed = node.migrations.links.send(job);
    job.error = job.error.take().or(failed);
}

/// Waits while clients are paused, unless that takes longer than the other side may: then it has nothing to keep.
fn wait_out_pause(node: &Node, job: &mut Job) {
    while node.is_paused(Now::read()) && job.is_ours(node) {
        let since = *job.paused_since.get_or_insert_with(Instant::now);
        if since.elapsed() > job.timeout {
            for parcel in job.parcels.iter_mut().filter(|parcel| parcel.state == State::Acknowledged) {
                parcel.state = State::ToForget;
            }
            if job.has_to_say() {
                job.error.get_or_insert_with(|| PAUSED.to_vec());
                send(node, job);
            }
            return;
        }
        thread::sleep(PAUSE_LOOK);
    }
}

fn settle_later(node: &'static Node, job: Job) {
    node.mailboxes[job.ticket.reactor].send(Mail::Call(Box::new(move |exec, now| settle(exec, job, now))));
}

/// Deletes the keys that the other side has, on the client's reactor, and sends those again that changed meanwhile.
fn settle(exec: &mut Executor, mut job: Job, now: Now) {
    let (node, compress) = (exec.node, exec.settled.config.rdbcompression);
    let last = job.rounds >= ROUNDS;
    let tenure = job.tenure;
    if !job.is_ours(node) {
        job.error.get_or_insert_with(|| errors::READ_ONLY.as_bytes().to_vec());
        return finish(node, job);
    }
    let (mut error, mut paused) = (None, false);
    job.parcels.retain_mut(|parcel| {
        if parcel.state == State::Acknowledged {
            let key = Key::new(&parcel.key);
            match exec.in_slot(key.slot, job.db, now, |keys| {
                if node.repl.tenure() != tenure {
                    return Fate::Primarys;
                }
                match node.unpaused() {
                    Some(_unpaused) => delete_if_unchanged(keys, &key, parcel, compress),
                    None => Fate::Waits,
                }
            }) {
                // Somebody holds the slot.
                None => {}
                Some(Fate::Waits) => paused = true,
                Some(Fate::Deleted) => {
                    job.moved = true;
                    return false;
                }
                Some(Fate::Gone) => parcel.state = State::ToForget,
                Some(Fate::Primarys) => {
                    error = Some(errors::READ_ONLY);
                    parcel.state = State::Stays;
                }
                Some(Fate::Changed(..)) if last => {
                    error = Some("TRYAGAIN the keys change faster than they can be moved");
                    parcel.state = State::ToForget;
                }
                Some(Fate::Changed(payload, expire_at_ms)) => {
                    (parcel.payload, parcel.expire_at_ms, parcel.state) = (payload, expire_at_ms, State::ToSend);
                }
            }
        } else if parcel.state == State::Stays && parcel.taken {
            parcel.state = State::ToForget;
        }
        parcel.state != State::Stays
    });
    job.error = job.error.or(error.map(|text| text.as_bytes().to_vec()));
    if job.parcels.is_empty() {
        return finish(node, job);
    }
    let settles = job.parcels.iter().any(|parcel| parcel.state == State::Acknowledged);
    if settles && !paused {
        return settle_later(node, job);
    }
    if job.has_to_say() {
        // What the other side has is what we sent before.
        (job.replace, job.rounds) = (true, job.rounds + 1);
    }
    match node.migrations.give(node, job) {
        Ok(()) => {}
        Err(job) if settles => settle_later(node, *job),
        Err(job) => node.resume(job.ticket, reply(Some(job.error.as_deref().unwrap_or(FULL.as_bytes())))),
    }
}

/// What has become of a key that the other side has.
enum Fate {
    /// It has moved.
    Deleted,
    /// There is none of its name.
    Gone,
    /// Clients are paused: it is to be seen later.
    Waits,
    /// This server has become a replica: the primary has the say.
    Primarys,
    /// Its value as it goes out now, and its expiry.
    Changed(Vec<u8>, Option<i64>),
}

/// Deletes a key that the other side has, if it is what was sent.
fn delete_if_unchanged(keys: &mut Keyspace<'_, '_>, key: &Key<'_>, sent: &Parcel, compress: bool) -> Fate {
    let Some(entry) = keys.peek(key) else { return Fate::Gone };
    let (payload, expire_at_ms) = (dump::dump(entry.value(), compress), entry.expire_at_ms());
    if payload != sent.payload || expire_at_ms != sent.expire_at_ms {
        return Fate::Changed(payload, expire_at_ms);
    }
    keys.remove(key);
    keys.changed(key, NO_EVENT, "del");
    keys.effects().log_instead(&[b"DEL", key.bytes]);
    Fate::Deleted
}

fn finish(node: &'static Node, job: Job) {
    let mut reply = reply(job.error.as_deref());
    if job.error.is_none() && !job.copy && !job.moved {
        // All keys have ended here, and the other side has none of them: as if it had been asked a little later.
        reply = NO_KEY.to_vec();
    }
    node.resume(job.ticket, reply);
}

fn reply(error: Option<&[u8]>) -> Vec<u8> {
    let mut out = Out::new();
    match error {
        Some(error) => out.error_line(error),
        None => out.ok(),
    }
    out.as_slice().to_vec()
}

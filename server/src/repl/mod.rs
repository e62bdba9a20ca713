//! Replication as the node carries it out: sockets, files and threads for what the crate `replication` decides.
//!
//! ```text
//!   SYNC, PSYNC    commands.rs     decide; make the connection a replica's
//!   full sync      image.rs        a snapshot, for all replicas that wait, into a file or through pipe.rs
//!   feeding        feed.rs         image, then oplog, to each replica: by the reactor that has its connection
//!   following      link.rs         this server's own primary: connect, image, stream; on reactor 0
//!   an image       receive.rs      in place of the old data; before them where memory is short: room.rs
//!   files          note.rs         whose stream a file belongs to, for a restart
//!   each second    cron.rs         pings, time-outs, the backlog's end, who is good enough
//! ```
//! 1. Role, history and whose replica we are change only while all slots are held, so whoever holds one slot may rely
//!    on them for as long.
//! 2. A replica's cursor is made where its image ends: within the cut, or within the backlog.
//! 3. No replica is sent a byte of a later era than the one it asked in: whoever changes the history's id begins another
//!    era before anything can be appended to it, and a feeder asks for the era behind the log's end.
//! 4. What a command must know of all this is one word, the gate, which is 0 on a primary with enough replicas.

mod apply;
mod connect;
pub mod cron;
pub mod drain;
pub mod feed;
mod image;
pub mod link;
pub mod note;
pub mod peer;
mod pipe;
mod receive;
mod room;
pub mod wait;

pub use cron::begin_due_sync;
pub use image::begin as begin_full_sync;
pub use link::Driver;

use crate::config::Primary;
use crate::node::Node;
use engine::oplog::Offset;
use peer::Replica;
use replication::history::{History, ReplId};
use replication::link::Phase;
use replication::prologue::Prologues;
use resp::{Flags, errors};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What commands must look out for; 0 is nothing. A line of its own: every command reads it, hardly anybody writes it.
#[derive(Default)]
#[repr(align(128))]
pub struct Gate(AtomicU32);

impl Gate {
    /// This server is a replica.
    pub const REPLICA: u32 = 1;
    /// .. that refuses writes of clients.
    pub const READ_ONLY: u32 = 2;
    /// .. whose link is down, and that serves no old data.
    pub const STALE: u32 = 4;
    /// Too few replicas follow closely enough to accept writes.
    pub const TOO_FEW: u32 = 8;

    /// All bits.
    #[inline]
    pub fn bits(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Why a client's command with these flags may not run, in the order in which 3.2 asks.
    #[cold]
    pub fn refusal(bits: u32, flags: Flags) -> Option<&'static str> {
        let writes = flags.contains(Flags::WRITE);
        if bits & Gate::TOO_FEW != 0 && writes {
            return Some(errors::NO_REPLICAS);
        }
        if bits & Gate::READ_ONLY != 0 && writes {
            return Some(errors::READ_ONLY);
        }
        if bits & Gate::STALE != 0 && !flags.contains(Flags::STALE) {
            return Some(errors::MASTER_DOWN);
        }
        None
    }
}

/// What the server knows of its own replication.
pub struct State {
    /// Whose stream its offsets belong to.
    pub history: History,
    /// Whether the history's id and the log's end can be asked for after a broken link.
    pub resumable: bool,
    /// What it goes on from was left by an earlier run.
    pub restarted: bool,
    /// Whose replica it is.
    pub primary: Option<Primary>,
    /// Where the link stands.
    pub phase: Phase,
    /// When the primary last said something, Unix milliseconds.
    pub heard_ms: i64,
    /// Since when the link is down, Unix milliseconds; 0 if it was never up.
    pub down_since_ms: i64,
    /// Bytes of the image that have come, and all of them, if known.
    pub progress: (u64, Option<u64>),
    /// Where the backlog begins at the earliest, if there is one.
    pub backlog_from: Option<Offset>,
    /// Where a replica that knows no PSYNC2 may be at something else than the log.
    pub prologues: Prologues,
    /// Since when nobody needs the backlog, Unix milliseconds.
    pub unneeded_since_ms: i64,
}

/// Replication's shared part.
pub struct Replication {
    /// What commands look at.
    pub gate: Gate,
    state: Mutex<State>,
    replicas: Mutex<Vec<Arc<Replica>>>,
    /// Connections of replicas, by reactor.
    hosts: Vec<AtomicUsize>,
    /// Full syncs begun, partial ones, and partial ones refused.
    pub syncs: [AtomicU64; 3],
    /// The primary wants to know how far we are.
    pub ack_wanted: AtomicBool,
    /// Counts attempts at following: what belongs to an earlier one is void.
    attempt: AtomicU64,
    /// Counts changes of the history's id under an unbroken log.
    era: AtomicU64,
    /// What the link has not applied, and who waits for that before whom to follow changes.
    pub drain: drain::Drain,
    /// Whom to follow has changed: the link is to look.
    orders: AtomicBool,
    /// The link's socket, to end it from any thread.
    socket: Mutex<Option<TcpStream>>,
    /// Clients in WAIT.
    pub waits: wait::Waits,
    /// Keys were changed here that no stream tells of, since they were last a primary's or the truth for others: on a replica
    /// by its own clients, on a primary by what is not logged. Changed under slots.
    strayed: AtomicBool,
}

impl Replication {
    /// A primary without replicas, unless the settings say whom to follow.
    pub fn new(run_id: &str, primary: Option<Primary>, reactors: usize) -> Replication {
        let id = ReplId::parse(run_id.as_bytes()).unwrap_or(ReplId::from_random([0; 3]));
        let state = State {
            history: History::new(id),
            resumable: false,
            restarted: false,
            phase: if primary.is_some() { Phase::Waiting } else { Phase::Off },
            primary,
            heard_ms: 0,
            down_since_ms: 0,
            progress: (0, None),
            backlog_from: None,
            prologues: Prologues::default(),
            unneeded_since_ms: 0,
        };
        Replication {
            gate: Gate::default(),
            orders: AtomicBool::new(state.primary.is_some()),
            state: Mutex::new(state),
            replicas: Mutex::default(),
            hosts: (0..reactors).map(|_| AtomicUsize::new(0)).collect(),
            syncs: Default::default(),
            ack_wanted: AtomicBool::new(false),
            attempt: AtomicU64::new(0),
            era: AtomicU64::new(0),
            drain: drain::Drain::default(),
            socket: Mutex::default(),
            waits: wait::Waits::default(),
            strayed: AtomicBool::new(false),
        }
    }

    /// Keys have changed in a way that no stream tells of. The caller holds their slots.
    #[inline]
    pub fn strays(&self) {
        if !self.strayed.load(Ordering::Relaxed) {
            self.strayed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether others go on, or may, with what this server logs or with what it is sent.
    pub fn has_stream(&self) -> bool {
        let state = self.state();
        state.primary.is_some() || state.backlog_from.is_some()
    }

    /// Whether they have strayed. The caller holds all slots.
    pub fn has_strayed(&self) -> bool {
        self.strayed.load(Ordering::Relaxed)
    }

    /// The keys are a primary's, or this server's are what others get. The caller holds all slots.
    fn end_stray(&self) -> bool {
        self.strayed.swap(false, Ordering::Relaxed)
    }

    /// The state, for a few lines.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replicas, in the order in which they came.
    pub fn replicas(&self) -> MutexGuard<'_, Vec<Arc<Replica>>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a primary is followed.
    pub fn is_replica(&self) -> bool {
        self.gate.bits() & Gate::REPLICA != 0
    }

    /// Since when this server is a primary, as a number that differs after any change of roles; `None` if it is none. Who
    /// holds a slot may rely on it.
    pub fn tenure(&self) -> Option<u64> {
        (!self.is_replica()).then(|| self.attempt())
    }

    /// The attempt at following that counts now.
    pub fn attempt(&self) -> u64 {
        self.attempt.load(Ordering::Acquire)
    }

    /// Another attempt: whatever the one before still does is void. Under the state's lock, so that who has that and finds
    /// an attempt to count may rely on it.
    pub fn next_attempt(&self, _state: &mut State) -> u64 {
        self.attempt.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether what belongs to `attempt` still counts.
    pub fn counts(&self, attempt: u64, state: &State) -> bool {
        attempt == self.attempt() && state.primary.is_some()
    }

    /// The era of the history: see rule 3.
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// The history's id changes. The caller holds all slots.
    fn next_era(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a primary's request belongs to the attempt that counts.
    pub fn is_attempt(&self, piece: &Option<(Vec<u8>, u64)>) -> bool {
        piece.as_ref().is_some_and(|(_, attempt)| *attempt == self.attempt())
    }

    /// Whether the link's orders have changed since this was last asked.
    fn take_orders(&self) -> bool {
        self.orders.load(Ordering::Relaxed) && self.orders.swap(false, Ordering::AcqRel)
    }

    /// Ends the link's connection now, from any thread; the link comes again by itself.
    pub fn break_link(&self) {
        if let Some(socket) = &*self.socket.lock().unwrap_or_else(PoisonError::into_inner) {
            // A socket that is gone already needs no end.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn set_socket(&self, socket: Option<TcpStream>) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }
}

impl Node {
    /// Starts to follow whom the settings name, if anybody. Before any thread serves.
    pub fn start_replication(&self, now_ms: i64) {
        if self.repl.state().primary.is_some() {
            self.oplog.follow(true);
        }
        self.refresh_gate(now_ms);
    }

    /// Settings have changed.
    pub fn apply_replication_settings(&self, now_ms: i64) {
        self.oplog.set_keep_bytes(self.config().repl_backlog_size);
        self.refresh_gate(now_ms);
    }

    /// Sets the gate from role, link, settings and replicas.
    pub fn refresh_gate(&self, now_ms: i64) {
        let state = self.repl.state();
        let config = self.config();
        let mut bits = 0;
        if state.primary.is_some() {
            bits |= Gate::REPLICA;
            if config.slave_read_only {
                bits |= Gate::READ_ONLY;
            }
            if state.phase != Phase::Streaming && !config.slave_serve_stale_data {
                bits |= Gate::STALE;
            }
        } else if config.min_slaves_to_write > 0
            && config.min_slaves_max_lag > 0
            && self.good_replicas(config.min_slaves_max_lag, now_ms) < config.min_slaves_to_write
        {
            bits |= Gate::TOO_FEW;
        }
        // Still under the lock: whoever looked earlier must not store later.
        self.repl.gate.0.store(bits, Ordering::Release);
        drop(state);
    }

    /// Replicas that follow and have answered within so many seconds.
    pub fn good_replicas(&self, lag_s_max: u64, now_ms: i64) -> u64 {
        let good = |replica: &&Arc<Replica>| replica.stage().is_online() && replica.lag_s(now_ms) <= lag_s_max as i64;
        self.repl.replicas().iter().filter(good).count() as u64
    }

    /// Follows `primary` from now on, or nobody. The caller holds all slots, and says whether the log has all that was
    /// changed so far.
    pub fn set_primary(&self, primary: Option<Primary>, is_logged: bool, now_ms: i64) {
        let following = primary.is_some();
        let had_log = self.oplog.is_on();
        {
            let mut state = self.repl.state();
            let was_replica = state.primary.is_some();
            match (was_replica, following) {
                // A primary that kept a log can be asked where its stream ends; one that kept none cannot, nor one whose keys
                // are not what its log says.
                (false, true) => {
                    let is_told = is_logged && !self.repl.has_strayed();
                    state.resumable = had_log && is_told && state.backlog_from.is_some();
                    state.down_since_ms = 0;
                }
                (true, false) => {
                    let end = self.oplog.end();
                    let id = crate::start::random_id();
                    // A link that never came up leaves data of no known history, and so does who has written as a replica:
                    // who goes on with the old name, this server too when it follows again, would keep what differs for ever.
                    let has_strayed = self.repl.end_stray();
                    match state.resumable && is_logged && !has_strayed {
                        true => state.history.branch(id, end),
                        false => state.history.renew(id),
                    }
                    state.unneeded_since_ms = now_ms;
                    self.repl.next_era();
                }
                _ => {}
            }
            self.repl.next_attempt(&mut state);
            state.primary = primary.clone();
            state.phase = if following { Phase::Waiting } else { Phase::Off };
            self.oplog.follow(following);
            if !following && was_replica {
                self.oplog.want(engine::oplog::Consumer::Replicas, state.backlog_from.is_some());
            }
        }
        if following {
            self.moves.exports.wake_all();
            self.mailboxes.iter().for_each(|mailbox| mailbox.send(crate::mailbox::Mail::EndWaits));
        }
        self.drop_replicas("the primary has changed");
        crate::log::set_replica(following);
        // Nothing else is changed along with it, so this cannot be refused.
        let _: Result<(), ()> = self.change_config(|config| {
            config.slaveof = primary;
            Ok(())
        });
        self.refresh_gate(now_ms);
        self.repl.orders.store(true, Ordering::Release);
        if let Some(reactor) = self.mailboxes.first() {
            reactor.wake();
        }
    }

    /// Ends the connections of all replicas: they come again and are told what has changed.
    pub fn drop_replicas(&self, why: &str) {
        let replicas = self.repl.replicas().clone();
        for replica in replicas {
            crate::log::notice!("Closing the connection of replica {}: {why}", replica.name());
            self.mailboxes[replica.reactor].send(crate::mailbox::Mail::Kill(replica.client));
        }
    }

    /// Wakes other reactors that have replicas to feed, when the log has grown.
    pub fn wake_feeders(&self, me: usize, seen_end: &mut Offset) {
        let end = self.oplog.end();
        if end == std::mem::replace(seen_end, end) {
            return;
        }
        self.nudge_feeders(Some(me));
    }

    /// The same for a thread that is no reactor and has just appended something.
    pub fn nudge_feeders(&self, but: Option<usize>) {
        for (reactor, replicas) in self.repl.hosts.iter().enumerate() {
            if Some(reactor) != but && replicas.load(Ordering::Relaxed) > 0 {
                self.mailboxes[reactor].nudge();
            }
        }
    }
}

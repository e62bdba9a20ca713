//! Acknowledgements that wait until what arrived is as safe as the operator wants it: on disk, with replicas, or both.
//!
//! ```text
//!   a source of ours    .. messages, each answered at once ..  "sync" --parked--> answered when all before it is safe
//!   an original         a message that makes a key whole --parked--> answered when that key is safe
//! ```
//! An original does not know that it could ask once for a whole batch, so each of its keys waits by itself.
//!
//! 1. The reactor only parks the client; one thread writes the file and looks at the replicas.
//! 2. What an answer waits for is the offset of the log behind the effects of its message, so the thread hears of it when
//!    they are logged and not before. Other clients' effects may lie between.
//! 3. What counts is the setting as it is now, also for those who wait: who sets it lower lets them go.

use crate::config::MigrationDurability;
use crate::node::Node;
use crate::node_commands::NodeCtx;
use crate::park::{Ticket, Wait};
use engine::records::FilePlace;
use resp::Out;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Pause between two looks at what replicas have.
const LOOK: Duration = Duration::from_millis(1);
/// Asks replicas how far they are.
const ASK_REPLICAS: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// Who waits, and which connections ask by themselves.
#[derive(Default)]
pub struct Durable {
    queue: OnceLock<Sender<Pending>>,
    count: AtomicUsize,
    /// Connections that were told to ask, and whether they have shown that they understand.
    told: Mutex<HashMap<u64, bool>>,
}

struct Pending {
    ticket: Ticket,
    /// What must be safe.
    place: FilePlace,
    reply: Vec<u8>,
    refuse: Refuse,
    gone: Arc<AtomicBool>,
}

/// How somebody is told that something will never be safe.
#[derive(Clone, Copy)]
pub enum Refuse {
    /// By an error, as an answer to any command.
    Error,
    /// By an acknowledgement that ends the connection: an original source waits for that.
    Message,
}

impl Refuse {
    fn tell(self, node: &Node, ticket: Ticket, text: &[u8]) {
        match self {
            Refuse::Error => node.resume(ticket, [b"-ERR ", text, b"\r\n"].concat()),
            Refuse::Message => {
                let mut reply = Vec::new();
                super::restore::refuse(text, &mut reply);
                node.resume_and_close(ticket, reply);
            }
        }
    }
}

struct Waiting {
    node: &'static Node,
    gone: Arc<AtomicBool>,
    /// Until it is known what to wait for.
    pending: Option<Pending>,
}

impl Wait for Waiting {
    fn time_out(&self, _: &mut Out) -> bool {
        false
    }

    fn abandon(&self) {
        self.gone.store(true, Ordering::Release);
    }

    fn begun(&mut self, written: u64) {
        if let Some(mut pending) = self.pending.take() {
            // Only a replica changes anything besides its log, and there all this is in vain.
            let place = &mut pending.place;
            place.offset = place.offset.max(written.saturating_sub(place.own));
            self.node.moves.durable.wait(self.node, pending);
        }
    }
}

impl Durable {
    fn told(&self) -> MutexGuard<'_, HashMap<u64, bool>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was told to ask before it removes anything.
    pub fn tell(&self, client: u64) {
        if self.told().insert(client, false).is_none() {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A connection has sent what only servers of ours send.
    pub fn is_ours(&self, client: u64) {
        if self.count.load(Ordering::Acquire) > 0
            && let Some(ours) = self.told().get_mut(&client)
        {
            *ours = true;
        }
    }

    /// A connection has ended.
    pub fn forget(&self, client: u64) {
        if self.count.load(Ordering::Acquire) > 0 && self.told().remove(&client).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn asks(&self, client: u64) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.told().get(&client).copied().unwrap_or(false)
    }

    fn wait(&self, node: &'static Node, pending: Pending) {
        let queue = self.queue.get_or_init(|| {
            let (sender, jobs) = channel();
            if let Err(error) = crate::start::spawn("durable", move || serve(node, &jobs)) {
                crate::log::warning!("Can't start a thread for slots-migration-durability: {error}");
            }
            sender
        });
        if let Err(SendError(pending)) = queue.send(pending) {
            pending.refuse.tell(node, pending.ticket, b"the thread that makes keys durable has ended");
        }
    }
}

/// What has come, for whether its answer waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Something that the source does not count on yet.
    Piece,
    /// All of a key.
    Whole,
    /// The question whether all is safe.
    Question,
}

const NO_FILE: &[u8] = b"slots-migration-durability wants an append only file, and there is none";
const NO_PRIMARY: &[u8] = b"this server has become a replica";

/// Whether there is a file that a start would read: one that waits for its first rewrite is not.
fn has_file(node: &Node) -> bool {
    node.persist.aof.is_written() && !node.persist.aof.is_waiting()
}

/// Why nothing that comes now can be made as durable as it must be: to be asked before it is stored.
pub fn check(ctx: &NodeCtx<'_, '_>) -> Result<(), Vec<u8>> {
    let wanted = ctx.config.slots_migration_durability.aof && !ctx.keys.is_from_primary();
    if wanted && !has_file(ctx.node) { Err(NO_FILE.to_vec()) } else { Ok(()) }
}

/// Parks the client until `reply` may be given; false if it may be given at once. Who waits in vain is told by `refuse`.
pub fn hold(ctx: &mut NodeCtx<'_, '_>, came: Came, reply: &[u8], refuse: Refuse) -> Result<bool, Vec<u8>> {
    let wanted = ctx.config.slots_migration_durability;
    let node = ctx.node;
    let durable = &node.moves.durable;
    let waits = match came {
        Came::Piece => false,
        Came::Whole => !durable.asks(ctx.client.info.id),
        Came::Question => true,
    };
    if !wanted.is_on() || !waits || ctx.keys.is_from_primary() {
        return Ok(false);
    }
    check(ctx)?;
    let Some(parking) = ctx.client.parking.as_deref_mut() else { return Ok(false) };
    let ticket = parking.ticket(ctx.client.info);
    let gone = Arc::new(AtomicBool::new(false));
    // A question is also about what others have written for this client.
    let place = node.oplog.place();
    let pending = Pending { ticket, place, reply: reply.to_vec(), refuse, gone: gone.clone() };
    parking.park(ticket, None, Box::new(Waiting { node, gone, pending: Some(pending) }));
    Ok(true)
}

/// The thread.
fn serve(node: &'static Node, jobs: &Receiver<Pending>) {
    let mut waiting: Vec<Pending> = Vec::new();
    // The setting at the last look.
    let mut before = MigrationDurability::default();
    loop {
        let first = if waiting.is_empty() {
            match jobs.recv() {
                Ok(job) => Some(job),
                Err(_) => return,
            }
        } else {
            match jobs.recv_timeout(LOOK) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        let known = waiting.len();
        waiting.extend(first);
        waiting.extend(jobs.try_iter());
        let wanted = node.config().slots_migration_durability;
        let asks = waiting.len() > known || wanted != before;
        before = wanted;
        if asks && wanted.replicas > 0 && node.oplog.is_on() {
            node.oplog.append_for_replicas(ASK_REPLICAS);
            node.nudge_feeders(None);
        }
        // What is in the log by now; a place that is not is for the next look.
        let end = node.oplog.file_end();
        let ends = waiting.iter().filter(|_| wanted.aof).map(|job| job.place.of_file());
        let of_file = ends.filter(|&of_file| of_file <= end).max();
        let aof = &node.persist.aof;
        // A file that is closed meanwhile has nothing to sync.
        let synced = of_file.filter(|&end| aof.sync_to(node, end) && aof.is_safe(end) && has_file(node));
        waiting.retain(|job| {
            let in_vain = match () {
                () if node.repl.is_replica() => Some(NO_PRIMARY),
                () if wanted.aof && !has_file(node) => Some(NO_FILE),
                () => None,
            };
            if let Some(text) = in_vain {
                job.refuse.tell(node, job.ticket, text);
                return false;
            }
            let on_disk = !wanted.aof || synced.is_some_and(|synced| job.place.of_file() <= synced);
            let safe =
                on_disk && (wanted.replicas == 0 || node.replicas_at(job.place.offset) >= i64::from(wanted.replicas));
            if safe {
                node.resume(job.ticket, job.reply.clone());
            }
            !safe && !job.gone.load(Ordering::Acquire)
        });
    }
}

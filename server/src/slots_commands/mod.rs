//! Moving keys between servers: the commands that carry out what `slots::migration` decides.
//!
//! ```text
//!              source                                        target
//!  reactor     checks a request, parks its client            restore.rs: stores what comes, acknowledges it
//!                                                            arrivals.rs: keys that are not whole yet
//!                                                            durable.rs: answers that wait for disk and replicas
//!  worker      sync.rs: a thread a target, whole keys; pieces.rs: in which commands
//!              migrate.rs, exports.rs: one batch a database, who waits for it, how it stands (status.rs)
//!              driver.rs: its thread; chunks.rs, peer.rs: what it sends, what it hears
//! ```
//! A worker does its network I/O without any lock and takes a slot's lock for a step at a time (`worker.rs`). Keys that
//! it has sent and not yet removed are marked in their entries; `claims.rs` has what is known besides of keys that move.

pub mod arrivals;
mod chunks;
pub mod claims;
pub mod closing;
mod debts;
mod driver;
pub mod durable;
pub mod elders;
pub mod exports;
mod growing;
mod idle;
mod link;
mod migrate;
mod peer;
mod pieces;
mod restore;
mod rests;
mod status;
mod sync;
mod worker;
mod wrapper;

pub use restore::refuse_command;
pub use wrapper::hold as hold_wrapped;

use crate::conn::Queue;
use crate::node::{Node, Run};
use crate::node_commands::Handler;
use commands::args::Args;
use commands::table::{Access, Command};
use engine::clock::Now;
use engine::keyspace::Key;
use engine::raw::entry::Transit;
use engine::raw::lock::Held;
use engine::slot::Slot;
use resp::Flags;
use slots::migration::message::brings_nothing;
use std::sync::atomic::AtomicU64;

/// What the node keeps of keys on their way.
#[derive(Default)]
pub struct Moves {
    /// Which keys move.
    pub claims: claims::Claims,
    /// Keys that come in chunks.
    pub arrivals: arrivals::Arrivals,
    /// Answers that wait until keys are safe.
    pub durable: durable::Durable,
    /// Threads that send whole keys, one a target.
    pub targets: sync::Targets,
    /// Links that were given up.
    pub rests: rests::Rests,
    /// Copies that a target could not be told to forget.
    pub debts: debts::Debts,
    /// Threads that send chunks, one a database.
    pub exports: exports::Exports,
    /// Whether they are to end.
    pub closing: closing::Closing,
    /// Keys that those threads removed because they had expired.
    pub expired: AtomicU64,
}

impl Moves {
    /// A connection has ended.
    pub fn client_is_gone(&self, client: u64) {
        self.arrivals.abandon(client);
        self.durable.forget(client);
    }
}

/// Whether a command must come again because of keys on their way: of those that leave nothing may be written, nor read once
/// they are being removed, and those that arrive are not there yet. A script and a transaction wait for keys that arrive, as far as they name them before
/// they run; a key that leaves and that they change is sent again. `expires_at` is the clock of a server that removes keys
/// past their expiry: who asks for one that was to arrive finds that it is over, and does not wait until somebody else
/// does. A replica has its primary's keys as that shows them, and an original shows them before they are whole.
#[cold]
pub fn must_wait(
    node: &Node,
    held: &mut Held<'_, Slot>,
    row: &Command<Run>,
    args: &Args<'_>,
    (queue, db): (Option<&Queue>, u32),
    expires_at: Option<Now>,
) -> bool {
    match (row.access, row.spec.name) {
        (Access::Keys, _) => {
            let writes = row.spec.flags.contains(Flags::WRITE);
            names_one_on_its_way(node, held, row, args, db, (writes, expires_at))
        }
        (Access::Patterns, _) | (_, "eval" | "evalsha") => {
            names_one_on_its_way(node, held, row, args, db, (false, expires_at))
        }
        (_, "exec") => {
            let mut db = db;
            queue.into_iter().flat_map(|queue| &queue.requests).any(|request| {
                let (row, args) = (&request.row, request.args());
                if row.spec.name == "select" {
                    db = std::str::from_utf8(args.at(1)).ok().and_then(|text| text.parse().ok()).unwrap_or(db);
                }
                names_one_on_its_way(node, held, row, &args, db, (false, expires_at))
            })
        }
        _ => false,
    }
}

fn names_one_on_its_way(
    node: &Node,
    held: &mut Held<'_, Slot>,
    row: &Command<Run>,
    args: &Args<'_>,
    db: u32,
    (writes, expires_at): (bool, Option<Now>),
) -> bool {
    resp::key_positions(&row.spec, args).any(|at| {
        let key = Key::new(args.at(at));
        if held.can_add() {
            held.add(key.slot);
        }
        let Some(entry) = held.slot(key.slot).db(db).and_then(|keys| keys.find(key.hash, key.bytes)) else {
            return false;
        };
        match entry.transit() {
            Transit::Settled => false,
            Transit::Leaving | Transit::Stale => writes || node.moves.claims.is_ending(db, key.slot),
            Transit::Arriving if expires_at.is_none() && node.moves.arrivals.is_of_stream(db, key.bytes) => false,
            Transit::Arriving => expires_at.is_none_or(|now| entry.expire_at_ms().is_none_or(|at| now.ms <= at)),
        }
    })
}

/// Over the memory limit: whether a command that may grow memory does so. Of a wrapper that is the wrapped one's matter,
/// and not all messages of a source bring something: a full server must still be able to forget what it got.
#[cold]
pub fn may_grow(node: &Node, row: &Command<Run>, args: &Args<'_>) -> bool {
    if row.spec.name == "slotsrestore-async" {
        return !brings_nothing(args.at(1));
    }
    row.access != Access::Wrapped
        || node.registry.get(args.at(2)).is_none_or(|inner| inner.spec.flags.contains(Flags::DENYOOM))
}

/// The tables of all files.
pub fn tables() -> impl Iterator<Item = Command<Handler>> {
    [restore::TABLE, sync::TABLE, migrate::TABLE, wrapper::TABLE].into_iter().flatten().copied()
}

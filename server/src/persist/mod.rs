//! Files: when they are written, by whom, and what clients may do meanwhile.
//!
//! ```text
//!   SAVE, SHUTDOWN ----- a thread that holds all slots writes an RDB file             crate::rdb_file
//!   BGSAVE, save points  ---.
//!   BGREWRITEAOF ------------+-- one job at a time: cut under all slots, then a thread that walks     job
//!   full sync --------------'
//!   appendonly yes ----- a cursor on the oplog that ends in a file                    aof
//!   start -------------- a thread loads one of the two, clients read -LOADING         load
//!   whose stream the AOF is of: a note from the end to the start                      aof_note
//! ```
//! 1. A file takes the place of an older one in one step, once all of it is on disk: a crash leaves the one or the other.
//! 2. What was acknowledged under `appendfsync always` is on disk.
//! 3. While a file cannot be written, writes are refused, and the server goes on when it can be again.

pub mod aof;
mod aof_note;
mod aof_tail;
mod file;
pub mod gate;
pub mod job;
pub mod load;
mod names;
mod pace;
mod points;
mod rewrite;
pub mod save;
pub mod shutdown;

use crate::dispatch::Executor;
use crate::node::Node;
use crate::stats::sum;
use aof::Aof;
use engine::clock::Now;
use engine::snapshot::Pressure;
pub use file::{Temporary, shrink_away};
use gate::Gate;
use job::State;
use load::Loading;
use names::Names;
pub use pace::{Pace, STRETCH_BYTES, go_after_others, let_others_first};
use points::{Decision, Facts};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// It could not be done; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged;

/// All that the server knows of its files.
#[derive(Default)]
pub struct Persist {
    /// What commands must heed.
    pub gate: Gate,
    state: Mutex<State>,
    /// Who may give a file its name.
    pub names: Names,
    /// What a snapshot's walker has still to do for writers.
    pub pressure: Arc<Pressure>,
    /// Reactors, by number, with clients that wait for room in that queue, or for the disk.
    stalled: AtomicU64,
    /// How long all clients waited for the last snapshot to begin, in microseconds.
    pub cut_us: AtomicU64,
    /// The append only file.
    pub aof: Aof,
    /// What is being loaded.
    pub loading: Loading,
}

impl Persist {
    /// Whether writers wait for the snapshot that is under way.
    pub fn is_full(&self) -> bool {
        self.pressure.is_full()
    }

    /// What was saved and what is being saved.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes known whether the last save came to nothing; `state` is still locked, so that the last change shows.
    fn show_save(&self, state: &State) {
        self.gate.set(gate::SAVE_FAILED, !state.save_ok());
    }

    /// Whether writers must wait for a queue or for the disk.
    pub fn is_stalled(&self, node: &Node) -> bool {
        gate::is_full(node, self.gate.bits())
    }

    /// Notes that a client of this reactor waits.
    pub fn note_stall(&self, reactor: usize) {
        self.stalled.fetch_or(1 << reactor, Ordering::SeqCst);
    }

    /// There may be room again: wakes the reactors whose clients wait for that.
    pub fn wake_stalled(&self, node: &Node) {
        if self.stalled.load(Ordering::SeqCst) == 0 || self.is_stalled(node) {
            return;
        }
        node.nudge(self.stalled.swap(0, Ordering::SeqCst));
    }
}

impl Node {
    /// Changes ever.
    pub fn changes_ever(&self) -> u64 {
        sum(&self.stats, |s| &s.dirty) + self.dirty.load(Ordering::Relaxed)
    }

    /// Changes since the last save.
    pub fn changes(&self) -> u64 {
        self.changes_ever().saturating_sub(self.persist.state().dirty_base)
    }
}

/// Begins what is due: an image for replicas, a scheduled rewrite or save, a save point, a rewrite of a grown file. Called
/// by the first reactor some times a second.
pub fn tick(exec: &mut Executor, now: Now) {
    let node = exec.node;
    if node.persist.gate.has(gate::LOADING) || crate::repl::begin_due_sync(exec, now) {
        return;
    }
    let config = exec.settled.config.clone();
    let (aof_size, aof_base) = node.persist.aof.sizes();
    let dirty = node.changes();
    let decision = {
        let state = node.persist.state();
        points::decide(&Facts {
            busy: state.job().is_some(),
            now_s: now.ms / 1000,
            dirty,
            last_save_s: state.last_save_s(node),
            last_try_s: state.last_try_s,
            save_ok: state.save_ok(),
            points: &config.save,
            save_scheduled: state.save_scheduled,
            rewrite_scheduled: state.rewrite_scheduled,
            aof_size,
            aof_base,
            rewrite_percentage: config.auto_aof_rewrite_percentage,
            rewrite_min_size: config.auto_aof_rewrite_min_size,
            aof_on: node.persist.aof.is_on(),
        })
    };
    match decision {
        Decision::Nothing => return,
        Decision::Save(Some(point)) => {
            crate::log::notice!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
        }
        Decision::Rewrite(Some(growth)) => {
            crate::log::notice!("Starting automatic rewriting of AOF on {growth}% growth");
        }
        _ => {}
    }
    exec.with_all(now, |keys| match decision {
        _ if node.persist.gate.has(gate::STOPPING) => {}
        Decision::Save(_) => drop(save::begin(node, keys)),
        _ => drop(rewrite::begin(node, keys)),
    });
}

/// Begins a rewrite of the AOF; all slots are held.
pub use rewrite::begin as begin_rewrite;

//! What commands must heed besides their rows: one word, 0 nearly always, looked at once a command.

use crate::config::Config;
use crate::node::Node;
use crate::node::Run;
use commands::error::Error;
use commands::table::{Access, Command};
use resp::{Flags, errors};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file is being loaded.
pub const LOADING: u32 = 1;
/// A snapshot is under way: writers may have to wait for its walker.
pub const CUT: u32 = 2;
/// The AOF is written: writers may have to wait for the disk.
pub const AOF: u32 = 4;
/// The AOF could not be written.
pub const AOF_FAILED: u32 = 8;
/// The last save is done: nothing may change any more.
pub const STOPPING: u32 = 16;
/// The last save came to nothing.
pub const SAVE_FAILED: u32 = 32;
/// Writes may have to be refused. Two bits, so that neither reason is ever lost to the end of the other.
pub const REFUSED: u32 = AOF_FAILED | SAVE_FAILED;

/// The bits above. Those about the data set are changed under all slots, each of the others under the lock of what it tells
/// of: so it never tells of an older state than the last.
#[derive(Default)]
pub struct Gate(AtomicU32);

impl Gate {
    /// All bits.
    #[inline]
    pub fn bits(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether `bit` is set.
    #[inline]
    pub fn has(&self, bit: u32) -> bool {
        self.bits() & bit != 0
    }

    /// Sets or clears `bit`.
    pub fn set(&self, bit: u32, on: bool) {
        match on {
            true => self.0.fetch_or(bit, Ordering::Release),
            false => self.0.fetch_and(!bit, Ordering::Release),
        };
    }
}

/// Why a command must be refused now, if it must.
#[cold]
pub fn refusal(node: &Node, bits: u32, row: &Command<Run>) -> Option<Error> {
    let config = node.config();
    let writes = row.spec.flags.contains(Flags::WRITE) || row.spec.name == "ping";
    if bits & REFUSED != 0 && writes && config.slaveof.is_none() {
        if let Some(error) = node.persist.aof.error() {
            return Some(Error::Owned(format!("{}{error}", errors::MISCONF_AOF_PREFIX).into_bytes()));
        }
        if after_failed_save(node, &config) {
            return Some(Error::Text(errors::MISCONF));
        }
    }
    if bits & LOADING != 0 && !row.spec.flags.contains(Flags::LOADING) {
        return Some(Error::Text(errors::LOADING));
    }
    None
}

/// Whether writes are refused because the last save has failed.
#[cold]
pub fn after_failed_save(node: &Node, config: &Config) -> bool {
    config.stop_writes_on_bgsave_error && !config.save.is_empty() && !node.persist.state().save_ok()
}

/// Whether a command of reactor number `reactor` must come again later, because a queue is full. If so, the reactor is
/// told when there may be room.
#[inline]
pub fn must_wait(node: &Node, bits: u32, row: &Command<Run>, reactor: usize) -> bool {
    let writes =
        row.spec.flags.contains(Flags::WRITE) || matches!(row.access, Access::Touch) && may_write(row.spec.name);
    let waits = writes && is_full(node, bits);
    if waits {
        node.persist.note_stall(reactor);
        node.persist.aof.hurry();
    }
    waits
}

/// Whether writes must wait.
#[inline]
pub(super) fn is_full(node: &Node, bits: u32) -> bool {
    bits & STOPPING != 0
        || bits & CUT != 0 && node.persist.pressure.is_full()
        || bits & AOF != 0 && node.persist.aof.is_far_behind(node)
}

#[cold]
fn may_write(name: &str) -> bool {
    matches!(name, "exec" | "eval" | "evalsha")
}

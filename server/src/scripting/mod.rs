//! What scripts share across threads: their sources, which one runs, and whether it may be stopped.
//!
//! One script runs at a time, under the transaction mutex; each thread has an engine of its own. A script that runs
//! longer than `lua-time-limit` makes the node *busy*: other clients are told so, and may only ask for its end.
//!
//! 1. A script that has written is never killed, but by SHUTDOWN NOSAVE. Killing and the first write change the same
//!    word, so one of them comes first.
//! 2. A script that SHUTDOWN NOSAVE ended is not logged, and the node stays busy until it has stopped: nobody sees
//!    half of a script's writes. From then on the node does stop, even if the client that asked for it is gone.
//! 3. An engine that has not seen the last SCRIPT FLUSH forgets its scripts before it runs one.

pub mod busy;
pub mod engine;
pub mod host;
pub mod record;

use commands::error::Error;
use lua::Sha;
use std::collections::HashMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A script runs.
const RUNNING: u64 = 1;
/// It is past its time.
const BUSY: u64 = 1 << 1;
/// It has called a command that writes.
const WROTE: u64 = 1 << 2;
/// It is to end.
const KILL: u64 = 1 << 3;
/// The server stops without saving.
const ABANDON: u64 = 1 << 4;
/// Scripts are counted above the flags, so that a late SCRIPT KILL meets no other script than the one it saw.
const NEXT: u64 = 1 << 8;

const NOT_BUSY: &str = "NOTBUSY No scripts in execution right now.";
const UNKILLABLE: &str = "UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
    either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.";

/// The scripts of the node.
pub struct Scripts {
    sources: Mutex<HashMap<Sha, Arc<[u8]>>>,
    /// Number of SCRIPT FLUSH so far.
    flushes: AtomicU64,
    /// The running script: flags, and a count of scripts.
    state: AtomicU64,
    /// Bytes that the engines hold, by reactor.
    memory: Vec<AtomicU64>,
    /// DEBUG LUA-ALWAYS-REPLICATE-COMMANDS.
    pub always_effects: AtomicBool,
}

/// Whether a running script goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Run,
    /// SCRIPT KILL, before it wrote.
    Killed,
    /// SHUTDOWN NOSAVE.
    Abandoned,
}

impl Scripts {
    /// None yet, for `reactors` engines.
    pub fn new(reactors: usize) -> Scripts {
        Scripts {
            sources: Mutex::default(),
            flushes: AtomicU64::new(0),
            state: AtomicU64::new(0),
            memory: (0..reactors).map(|_| AtomicU64::new(0)).collect(),
            always_effects: AtomicBool::new(false),
        }
    }

    // --- sources

    fn sources(&self) -> MutexGuard<'_, HashMap<Sha, Arc<[u8]>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source of a script that was sent before.
    pub fn source(&self, sha: &Sha) -> Option<Arc<[u8]>> {
        self.sources().get(sha).cloned()
    }

    /// Whether it was sent before.
    pub fn knows(&self, sha: &Sha) -> bool {
        self.sources().contains_key(sha)
    }

    /// Makes a script known to all threads.
    pub fn add(&self, sha: Sha, source: Arc<[u8]>) {
        self.sources().entry(sha).or_insert(source);
    }

    /// Forgets all of them.
    pub fn flush(&self) {
        let mut sources = self.sources();
        sources.clear();
        self.flushes.fetch_add(1, SeqCst);
    }

    /// How often [`Scripts::flush`] was called.
    #[inline]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Acquire)
    }

    /// Notes what the engine of `reactor` holds.
    pub fn set_memory(&self, reactor: usize, bytes: usize) {
        self.memory[reactor].store(bytes as u64, Relaxed);
    }

    /// Bytes that all engines hold.
    pub fn memory(&self) -> u64 {
        self.memory.iter().map(|bytes| bytes.load(Relaxed)).sum()
    }

    // --- the running script

    /// A script begins. The caller holds the transaction mutex, and calls [`Scripts::end`] after.
    #[inline]
    pub fn begin(&self) {
        let before = self.state.load(Relaxed) & !(WROTE | KILL);
        self.state.store(before.wrapping_add(NEXT) | RUNNING, Relaxed);
    }

    /// The script has ended. Returns whether SHUTDOWN NOSAVE ended it.
    #[inline]
    pub fn end(&self) -> bool {
        let ended = self.state.fetch_and(!(RUNNING | WROTE | KILL), SeqCst);
        let abandoned = ended & ABANDON != 0;
        if ended & BUSY != 0 && !abandoned {
            self.state.fetch_and(!BUSY, SeqCst);
        }
        abandoned
    }

    /// Whether commands are to be refused.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.state.load(Relaxed) & BUSY != 0
    }

    /// Whether a script was ended by SHUTDOWN NOSAVE, or is about to end by it.
    pub fn is_abandoned(&self) -> bool {
        self.state.load(SeqCst) & ABANDON != 0
    }

    /// The running script is past its time.
    pub fn set_busy(&self) {
        self.state.fetch_or(BUSY, SeqCst);
    }

    /// The running script is about to write; false if it was killed before, and must not.
    pub fn may_write(&self) -> bool {
        self.state.fetch_or(WROTE, SeqCst) & KILL == 0
    }

    /// What becomes of the running script.
    pub fn fate(&self) -> Fate {
        match self.state.load(SeqCst) {
            state if state & ABANDON != 0 => Fate::Abandoned,
            state if state & KILL != 0 => Fate::Killed,
            _ => Fate::Run,
        }
    }

    /// SCRIPT KILL.
    pub fn kill(&self) -> Result<(), Error> {
        let killed = self
            .state
            .fetch_update(SeqCst, SeqCst, |state| (state & RUNNING != 0 && state & WROTE == 0).then_some(state | KILL));
        match killed {
            Ok(_) => Ok(()),
            Err(state) if state & RUNNING == 0 => Err(Error::Text(NOT_BUSY)),
            Err(_) => Err(Error::Text(UNKILLABLE)),
        }
    }

    /// SHUTDOWN NOSAVE: ends the script that runs, whatever it has done.
    pub fn abandon(&self) {
        // Without one there is nothing to do, and a later one finds the server stopping.
        let _ = self
            .state
            .fetch_update(SeqCst, SeqCst, |state| (state & RUNNING != 0).then_some(state | ABANDON | KILL | BUSY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_killed_before_its_first_write_only() {
        let scripts = Scripts::new(1);
        assert_eq!(scripts.kill().unwrap_err().text(), NOT_BUSY.as_bytes());
        scripts.begin();
        assert!(scripts.kill().is_ok());
        assert_eq!(scripts.fate(), Fate::Killed);
        assert!(!scripts.may_write());
        assert!(!scripts.end());
        scripts.begin();
        assert_eq!(scripts.fate(), Fate::Run);
        assert!(scripts.may_write());
        assert_eq!(scripts.kill().unwrap_err().text(), UNKILLABLE.as_bytes());
        assert_eq!(scripts.fate(), Fate::Run);
        scripts.end();
        assert_eq!(scripts.kill().unwrap_err().text(), NOT_BUSY.as_bytes());
    }

    #[test]
    fn a_node_that_stops_in_the_middle_of_a_script_stays_busy() {
        let scripts = Scripts::new(1);
        scripts.abandon();
        assert!(!scripts.is_busy());
        scripts.begin();
        assert!(scripts.may_write());
        scripts.abandon();
        assert_eq!(scripts.fate(), Fate::Abandoned);
        assert!(scripts.end());
        assert!(scripts.is_busy() && scripts.is_abandoned());
    }

    #[test]
    fn a_flush_is_seen_by_those_who_count() {
        let scripts = Scripts::new(1);
        let sha = Sha::of(b"return 1");
        scripts.add(sha, b"return 1"[..].into());
        let seen = scripts.flushes();
        assert!(scripts.knows(&sha));
        scripts.flush();
        assert!(!scripts.knows(&sha) && scripts.flushes() != seen);
    }
}

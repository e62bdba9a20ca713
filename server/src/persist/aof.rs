//! The append only file while the server runs: who writes it when, and what a failure means.
//!
//! ```text
//!   always    a reactor keeps the replies of its turn, writes and synchronises all that the log has, and sends them.
//!             Who comes while another does so waits for it, and mostly finds its own part done: one for all.
//!   everysec  a reactor keeps the replies of its turn, writes what the log has, and sends them. The thread `aof`
//!             synchronises each second; while it does, or when nobody waits for a reply, it writes as well.
//!   no        the same without synchronising
//! ```
//! 1. Under `always` no reply leaves before all that its turn saw is on disk. When that fails, those who wrote what is not
//!    are cut off: none is told that a change was made that may be lost. Others go on, and their writes are refused.
//! 2. The log keeps what is not on disk; a writer that would make that more than [`LAG_BYTES_MAX`] comes later.
//! 3. While the file cannot be written, writes are refused; each try that succeeds ends that.

use super::aof_tail::{Error, Tail};
use super::job::{Kind, now_s};
use super::names::here;
use super::{gate, rewrite};
use crate::config::{AppendFsync, Config};
use crate::log;
use crate::node::Node;
use crate::os_error;
use engine::keyspace::Keyspace;
use engine::oplog::Consumer;
use engine::raw::alloc;
use engine::records::FilePlace;
use std::fs::{self, File};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Bytes of the log that may wait for the disk.
pub const LAG_BYTES_MAX: u64 = 64 << 20;
/// Pause of the thread between two writes.
const PAUSE: Duration = Duration::from_millis(1);
/// Pause of the thread when there is nothing to do, or after a failure.
const REST: Duration = Duration::from_millis(100);
/// How often `everysec` synchronises.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A synchronisation that takes longer is told of.
const SLOW_SYNC: Duration = Duration::from_secs(2);
/// Seconds between two log lines about the same failure.
const LOG_EVERY_S: i64 = 30;

/// How replies and the file depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Mode {
    /// No file is written.
    Off = 0,
    /// Replies do not wait: the file is no AOF yet.
    Behind = 1,
    /// Replies wait for what is written, so that it survives the process, unless the disk is busy; not for the disk.
    Written = 2,
    /// Replies wait for what is written, whatever that takes: `always` with `no-appendfsync-on-rewrite`.
    Unsynced = 3,
    /// Replies wait for the disk.
    Always = 4,
}

/// The append only file.
#[derive(Default)]
pub struct Aof {
    tail: Mutex<Option<Tail>>,
    mode: AtomicU8,
    /// Wanted, but there is no file that could be loaded: a rewrite makes it.
    waiting: AtomicBool,
    /// Up to where it is written, as [`FilePlace::of_file`], which is what places are compared by here.
    written: AtomicU64,
    synced: AtomicU64,
    /// As that, but without what was left to the system.
    on_disk: AtomicU64,
    size: AtomicU64,
    base_size: AtomicU64,
    error: Mutex<Option<String>>,
    error_logged_s: AtomicI64,
    /// Synchronisations that took long.
    pub delayed: AtomicU64,
    /// A synchronisation is running.
    pub syncing: AtomicBool,
    /// A rewritten file takes the old one's place.
    switching: AtomicBool,
    resting: AtomicBool,
    /// What there was at the start is loaded, and the file is open if it is wanted.
    begun: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aof {
    /// Whether `appendonly` is in force, with a file or without one yet.
    pub fn is_on(&self) -> bool {
        self.is_waiting() || self.is_written()
    }

    /// Whether the file waits for its first rewrite.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether a file is written.
    pub fn is_written(&self) -> bool {
        self.mode.load(Ordering::Relaxed) != Mode::Off as u8
    }

    /// Whether replies must wait for the file.
    #[inline]
    pub fn holds_replies(&self) -> bool {
        self.mode.load(Ordering::Relaxed) >= Mode::Written as u8
    }

    /// Whether they must, whatever that takes.
    pub fn waits_for_disk(&self) -> bool {
        self.mode() > Mode::Written
    }

    fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Acquire) {
            0 => Mode::Off,
            1 => Mode::Behind,
            2 => Mode::Written,
            3 => Mode::Unsynced,
            _ => Mode::Always,
        }
    }

    /// Bytes of the file now, and after the last rewrite.
    pub fn sizes(&self) -> (u64, u64) {
        (self.size.load(Ordering::Relaxed), self.base_size.load(Ordering::Relaxed))
    }

    /// Bytes of the log that are not written yet.
    pub fn unwritten(&self, node: &Node) -> u64 {
        if self.is_written() { node.oplog.file_end().saturating_sub(self.written.load(Ordering::Relaxed)) } else { 0 }
    }

    /// Whether so much waits for the disk that writers must.
    #[inline]
    pub fn is_far_behind(&self, node: &Node) -> bool {
        let waiting = node.oplog.file_end().saturating_sub(self.synced.load(Ordering::Relaxed));
        waiting + node.oplog.apart_bytes() > LAG_BYTES_MAX && self.is_written()
    }

    /// Why the file cannot be written, if it cannot.
    pub fn error(&self) -> Option<String> {
        lock(&self.error).clone()
    }

    /// Whether the start is over, as far as files go.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    // --- on and off

    /// All is loaded as `config`, the settings at the start, had it; what was set since holds. After this clients may be
    /// served. An error is fatal.
    pub fn begin(&self, node: &'static Node, config: &Config) -> io::Result<()> {
        let mut guest = node.guest();
        let mut held = guest.owner().wait_privileged();
        held.add_all();
        let wanted = node.config().appendonly;
        if wanted && config.appendonly {
            self.open(node, config)?;
        } else if wanted {
            // Turned on meanwhile: the file is not of the keys that are here.
            self.waiting.store(true, Ordering::Relaxed);
            node.persist.state().rewrite_scheduled = true;
        }
        self.begun.store(true, Ordering::Release);
        Ok(())
    }

    fn open(&self, node: &'static Node, config: &Config) -> io::Result<()> {
        let path = config.appendfilename.clone();
        let file = File::options().read(true).append(true).create(true).open(&path)?;
        node.oplog.want(Consumer::Aof, true);
        let place = node.oplog.cut();
        let tail = Tail::new(file, path, &node.oplog, place, false, 0).map_err(into_io)?;
        self.base_size.store(tail.len(), Ordering::Relaxed);
        *lock(&self.tail) = Some(tail);
        self.publish(node);
        Ok(())
    }

    /// `CONFIG SET appendonly`; all slots are held.
    pub fn turn(&self, node: &'static Node, keys: &mut Keyspace<'_, '_>, on: bool) -> Result<(), &'static str> {
        keys.hold_all();
        if !self.has_begun() {
            // The end of the start sees what is wanted.
            return Ok(());
        }
        match (on, self.is_on()) {
            (true, false) => self.turn_on(node, keys),
            (false, true) => {
                self.turn_off(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn turn_on(&self, node: &'static Node, keys: &mut Keyspace<'_, '_>) -> Result<(), &'static str> {
        const FAILED: &str = "ERR Unable to turn on AOF. Check server logs.";
        let config = node.config();
        let name = &config.appendfilename;
        if let Err(error) = File::options().append(true).create(true).open(name) {
            let dir = std::env::current_dir().unwrap_or_default();
            log::warning!(
                "Redis needs to enable the AOF but can't open the append only file {} (in server root dir {}): {}",
                name.display(),
                dir.display(),
                os_error::text(&error)
            );
            return Err(FAILED);
        }
        self.waiting.store(true, Ordering::Relaxed);
        if rewrite::begin(node, keys).is_err() {
            node.persist.state().rewrite_scheduled = true;
            log::warning!(
                "AOF was enabled but there is already a child process saving an RDB file on disk. \
                 An AOF background was scheduled to start when possible."
            );
        }
        Ok(())
    }

    fn turn_off(&self, node: &'static Node) {
        self.sync_to(node, node.oplog.file_end());
        node.oplog.want(Consumer::Aof, false);
        self.waiting.store(false, Ordering::Relaxed);
        let mut state = node.persist.state();
        state.rewrite_scheduled = false;
        if state.kill(Kind::Rewrite) {
            log::notice!("Killing running AOF rewrite child: {}", std::process::id());
        }
        drop(state);
        if let Some(tail) = lock(&self.tail).take()
            && tail.provisional
        {
            // Of no use without a base.
            let _ = fs::remove_file(tail.path());
        }
        self.publish(node);
        self.recovered(node);
    }

    /// Begins to write to a file of its own from `place` on, until a rewrite has made the base; all slots are held.
    pub(super) fn begin_provisional(&self, node: &Node, place: FilePlace) -> io::Result<()> {
        let path = here(format!("temp-tail-{}.aof", std::process::id()));
        let file = File::options().write(true).create(true).truncate(true).open(&path)?;
        drop(file);
        let file = File::options().read(true).append(true).open(&path)?;
        *lock(&self.tail) = Some(Tail::new(file, path, &node.oplog, place, true, 0).map_err(into_io)?);
        self.publish(node);
        Ok(())
    }

    /// Lets `work` have the tail: nothing is written meanwhile.
    pub(super) fn with_tail<R>(&self, node: &Node, work: impl FnOnce(&mut Option<Tail>) -> R) -> R {
        let result = work(&mut lock(&self.tail));
        self.publish(node);
        result
    }

    /// As [`Aof::with_tail`], for work that waits for the disk: replies do not wait for it unless they must.
    pub(super) fn switch<R>(&self, node: &Node, work: impl FnOnce(&mut Option<Tail>) -> R) -> R {
        self.switching.store(true, Ordering::SeqCst);
        let result = self.with_tail(node, work);
        self.switching.store(false, Ordering::SeqCst);
        result
    }

    /// The file was rewritten and has so many bytes.
    pub(super) fn rewritten(&self, node: &Node, base_size: u64) {
        self.base_size.store(base_size, Ordering::Relaxed);
        self.waiting.store(false, Ordering::Relaxed);
        // Whatever was wrong with the old one.
        self.recovered(node);
    }

    /// Makes the settings and the state of the file known to all threads.
    pub fn publish(&self, node: &Node) {
        let tail = lock(&self.tail);
        // Read under the lock: who waited for it must not put an older setting in force.
        let config = node.config();
        let mode = match &*tail {
            None => Mode::Off,
            Some(tail) if tail.provisional => Mode::Behind,
            Some(_) if config.appendfsync != AppendFsync::Always => Mode::Written,
            Some(_) if config.no_appendfsync_on_rewrite && node.persist.gate.has(gate::CUT) => Mode::Unsynced,
            Some(_) => Mode::Always,
        };
        if let Some(tail) = &*tail {
            self.note(tail);
        }
        self.mode.store(mode as u8, Ordering::Release);
        node.persist.gate.set(gate::AOF, mode != Mode::Off);
    }

    // --- writing

    /// Before a turn's replies leave: brings what they acknowledge, up to `end` of the file, into it, and onto the disk if
    /// they wait for that. False if they must not leave.
    pub fn before_replies(&self, node: &Node, end: u64) -> bool {
        if self.waits_for_disk() {
            return self.sync_to(node, end);
        }
        // A disk that is synchronising may let a write wait: then the thread writes, when that is done.
        let busy = self.syncing.load(Ordering::Relaxed) || self.switching.load(Ordering::Relaxed);
        if !busy {
            self.bring(node, end, Mode::Written);
        }
        // Without `always` what could not be written is tried again, and further writes are refused.
        true
    }

    /// Whether a reply to who wrote up to `end` may leave though not all is on disk.
    pub fn is_safe(&self, end: u64) -> bool {
        let mark = if self.mode() == Mode::Unsynced { &self.written } else { &self.synced };
        mark.load(Ordering::Acquire) >= end
    }

    /// Makes sure that the file has all up to `end`, on disk unless that is left out on purpose; false if it cannot.
    pub fn sync_to(&self, node: &Node, end: u64) -> bool {
        self.bring(node, end, if self.mode() == Mode::Unsynced { Mode::Unsynced } else { Mode::Always })
    }

    fn bring(&self, node: &Node, end: u64, mode: Mode) -> bool {
        let mark = if mode == Mode::Always { &self.on_disk } else { &self.written };
        if mark.load(Ordering::Acquire) >= end {
            return true;
        }
        let mut guard = lock(&self.tail);
        if mark.load(Ordering::Acquire) >= end {
            // Somebody else did it for us.
            return true;
        }
        let Some(tail) = guard.as_mut() else { return true };
        let result = self.write(node, tail).and_then(|()| match mode {
            Mode::Unsynced => tail.skip_sync(&node.oplog),
            Mode::Always => node.latency.watch(&["aof-fsync-always"], || tail.sync(&node.oplog)),
            _ => Ok(()),
        });
        self.note(tail);
        let well = self.conclude(node, &mut guard, result);
        drop(guard);
        node.persist.wake_stalled(node);
        well
    }

    /// Writes what the log has. 3.2 tells apart what else keeps the disk busy.
    fn write(&self, node: &Node, tail: &mut Tail) -> Result<(), Error> {
        let beside = match () {
            () if self.syncing.load(Ordering::Relaxed) => "aof-write-pending-fsync",
            () if node.persist.gate.has(gate::CUT) => "aof-write-active-child",
            () => "aof-write-alone",
        };
        node.latency.watch(&["aof-write", beside], || tail.write(&node.oplog))
    }

    /// Makes known how far the file is.
    fn note(&self, tail: &Tail) {
        self.written.store(tail.written().of_file(), Ordering::Release);
        self.synced.store(tail.synced().of_file(), Ordering::Release);
        if tail.is_on_disk() {
            self.on_disk.store(tail.synced().of_file(), Ordering::Release);
        }
        self.size.store(tail.len(), Ordering::Relaxed);
    }

    /// Deals with how a write ended; true if it went well.
    fn conclude(&self, node: &Node, guard: &mut Option<Tail>, result: Result<(), Error>) -> bool {
        match result {
            Ok(()) => {
                self.recovered(node);
                true
            }
            Err(Error::Io(error)) => {
                self.failed(node, &error);
                false
            }
            Err(Error::Lost) => {
                // Another history begins (a full sync): the file is made anew.
                log::notice!("The append only file belongs to another data set now: it is rewritten");
                *guard = None;
                self.mode.store(Mode::Off as u8, Ordering::Release);
                node.persist.gate.set(gate::AOF, false);
                self.waiting.store(true, Ordering::Relaxed);
                node.persist.state().rewrite_scheduled = true;
                true
            }
        }
    }

    /// What was written did not get into the file.
    pub(super) fn failed(&self, node: &Node, error: &io::Error) {
        let text = os_error::text(error);
        let now = now_s();
        if now - self.error_logged_s.load(Ordering::Relaxed) > LOG_EVERY_S {
            self.error_logged_s.store(now, Ordering::Relaxed);
            log::warning!("Error writing to the AOF file: {text}");
        }
        let mut error = lock(&self.error);
        *error = Some(text);
        node.persist.gate.set(gate::AOF_FAILED, true);
    }

    /// What was written got into the file.
    pub(super) fn recovered(&self, node: &Node) {
        if !node.persist.gate.has(gate::AOF_FAILED) {
            return;
        }
        let mut error = lock(&self.error);
        if error.take().is_some() {
            log::warning!("AOF write error looks solved, Redis can write again.");
            self.error_logged_s.store(0, Ordering::Relaxed);
            node.persist.gate.set(gate::AOF_FAILED, false);
        }
    }

    /// The log has begun anew, with another history; all slots are held.
    pub fn log_restarted(&self, node: &Node) {
        let mut guard = lock(&self.tail);
        if guard.is_some() {
            self.conclude(node, &mut guard, Err(Error::Lost));
        }
        if guard.is_none() {
            // Nobody is there to let go of what is beside the log. The rewrite will want it from its cut on.
            node.oplog.want(Consumer::Aof, false);
        }
    }

    /// Writers wait for the disk: the thread is not to rest.
    pub fn hurry(&self) {
        if self.resting.swap(false, Ordering::AcqRel)
            && let Some(thread) = &*lock(&self.thread)
        {
            thread.unpark();
        }
    }

    /// Tells the thread that the log has grown.
    #[inline]
    pub fn poke(&self, node: &Node) {
        if self.resting.load(Ordering::Relaxed)
            && node.oplog.file_end() > self.written.load(Ordering::Relaxed)
            && self.resting.swap(false, Ordering::AcqRel)
            && let Some(thread) = &*lock(&self.thread)
        {
            thread.unpark();
        }
    }

    /// Starts the thread that writes what no reply waits for.
    pub fn start(&self, node: &'static Node) -> io::Result<()> {
        thread::Builder::new().name("aof".into()).spawn(move || {
            let _account = alloc::open_account();
            let aof = &node.persist.aof;
            *lock(&aof.thread) = Some(thread::current());
            let mut last_sync = Instant::now();
            while !node.stopping.load(Ordering::SeqCst) {
                match aof.work(node, &mut last_sync) {
                    Work::Done => thread::sleep(PAUSE),
                    Work::Failed => thread::sleep(REST),
                    Work::Nothing => {
                        aof.resting.store(true, Ordering::SeqCst);
                        if node.oplog.file_end() == aof.written.load(Ordering::Relaxed) || !aof.is_written() {
                            thread::park_timeout(REST);
                        }
                        aof.resting.store(false, Ordering::SeqCst);
                    }
                }
            }
        })?;
        Ok(())
    }

    /// One turn of the thread.
    fn work(&self, node: &'static Node, last_sync: &mut Instant) -> Work {
        if !self.is_written() {
            return Work::Nothing;
        }
        let config = node.config();
        if self.waits_for_disk() {
            let end = node.oplog.file_end();
            if !self.sync_to(node, end) {
                return Work::Failed;
            }
            // Also when somebody else has done it, or a rewrite.
            self.recovered(node);
            return Work::Nothing;
        }
        let syncs = config.appendfsync != AppendFsync::No
            && !(config.no_appendfsync_on_rewrite && node.persist.gate.has(gate::CUT));
        // Long before writers would have to wait.
        let much = node.oplog.file_end().saturating_sub(self.synced.load(Ordering::Relaxed)) > LAG_BYTES_MAX / 4;
        let is_due = last_sync.elapsed() >= SYNC_EVERY || much;
        let (ok, did, unsynced) = {
            let mut guard = lock(&self.tail);
            let Some(tail) = guard.as_mut() else { return Work::Nothing };
            let before = tail.written();
            let mut result = self.write(node, tail);
            if result.is_ok() && !syncs {
                result = tail.skip_sync(&node.oplog);
            }
            let mut unsynced = None;
            if result.is_ok() && syncs && is_due {
                match tail.unsynced() {
                    Ok(found) => unsynced = found,
                    Err(error) => result = Err(Error::Io(error)),
                }
            }
            let did = tail.written() != before;
            self.note(tail);
            (self.conclude(node, &mut guard, result), did, unsynced)
        };
        if is_due {
            *last_sync = Instant::now();
        }
        let mut ok = ok;
        if let Some(unsynced) = unsynced {
            self.syncing.store(true, Ordering::Relaxed);
            let began = Instant::now();
            let synced = unsynced.file.sync_data();
            self.syncing.store(false, Ordering::Relaxed);
            if began.elapsed() > SLOW_SYNC {
                self.delayed.fetch_add(1, Ordering::Relaxed);
                log::notice!(
                    "Asynchronous AOF fsync is taking too long (disk is busy?). \
                     Writing the AOF buffer without waiting for fsync to complete, this may slow down Redis."
                );
            }
            let mut guard = lock(&self.tail);
            if let Some(tail) = guard.as_mut() {
                let result = tail.after_sync(&node.oplog, &unsynced, synced);
                self.note(tail);
                ok &= self.conclude(node, &mut guard, result);
            }
        }
        node.persist.wake_stalled(node);
        match (ok, did) {
            (false, _) => Work::Failed,
            (true, true) => Work::Done,
            (true, false) => Work::Nothing,
        }
    }
}

/// What a turn of the thread came to.
enum Work {
    Done,
    Nothing,
    Failed,
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::Lost => io::Error::other("the log is gone"),
    }
}

/// Makes the settings that were just changed known; called when none of the node's locks is held.
pub fn settings_changed(node: &Node) {
    node.persist.aof.publish(node);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A client changes `appendfsync` while others make known what they have changed of the file: from its reply on what it
    /// has set holds.
    #[test]
    fn no_older_setting_comes_in_force_behind_a_newer_one() {
        let node = Node::new(Config::default(), Vec::new(), mpsc::sync_channel(1).0, String::new());
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("aof");
        let file = File::options().append(true).create(true).open(&path).expect("opens");
        let aof = &node.persist.aof;
        *lock(&aof.tail) = Some(Tail::new(file, path, &node.oplog, node.oplog.place(), false, 0).expect("fresh"));
        let over = AtomicBool::new(false);
        let set = |fsync| {
            let done = node.change_config(|config| {
                config.appendfsync = fsync;
                Ok::<(), ()>(())
            });
            done.expect("changed");
            settings_changed(&node);
            (0..3).all(|_| {
                thread::yield_now();
                aof.waits_for_disk() == (fsync == AppendFsync::Always)
            })
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        aof.publish(&node);
                    }
                });
            }
            let held = (0..500).all(|_| set(AppendFsync::Always) && set(AppendFsync::Everysec));
            over.store(true, Ordering::Relaxed);
            assert!(held);
        });
    }
}

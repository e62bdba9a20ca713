//! The one snapshot that may be under way, and what became of the last ones.

use super::{gate, pace};
use crate::log;
use crate::node::Node;
use engine::keyspace::Keyspace;
use engine::raw::alloc;
use engine::raw::lock::Owner;
use engine::slot::Slot;
use engine::snapshot::{Format, Image};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An RDB file.
    Save,
    /// A new AOF.
    Rewrite,
    /// A replica.
    Sync,
}

/// A snapshot that is under way.
pub struct Job {
    /// What for.
    pub kind: Kind,
    /// The snapshot.
    pub image: Arc<Image>,
    /// Since when, Unix time in seconds.
    pub since_s: i64,
    /// Changes ever at the cut.
    dirty: u64,
    /// Nobody wants it any more.
    pub killed: bool,
    /// The temporary name of its file, once that is made.
    temporary: Option<PathBuf>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did what it was for.
    Well,
    /// It could not.
    Badly,
}

/// What was saved and what is being saved.
#[derive(Default)]
pub struct State {
    job: Option<Job>,
    last_save_s: Option<i64>,
    /// When the last save was begun, Unix time in seconds.
    pub last_try_s: i64,
    save_failed: bool,
    save_took_s: Option<i64>,
    rewrite_failed: bool,
    rewrite_took_s: Option<i64>,
    /// Changes ever at the last save.
    pub(super) dirty_base: u64,
    /// RDB files that got their names.
    pub named: u64,
    /// A save is to begin when the job has ended.
    pub save_scheduled: bool,
    /// A rewrite is to begin when the job has ended.
    pub rewrite_scheduled: bool,
}

/// Another snapshot is under way, or there is no thread for one.
#[derive(Clone, Copy, Debug)]
pub struct Busy;

pub(super) fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

impl State {
    /// What is under way.
    pub fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// Since when a job of this kind that was not killed is under way, Unix time in seconds.
    pub fn running_since_s(&self, kind: Kind) -> Option<i64> {
        self.job.as_ref().filter(|job| job.kind == kind && !job.killed).map(|job| job.since_s)
    }

    /// Lets the job end without a result, if it is of this kind; true if it was.
    pub fn kill(&mut self, kind: Kind) -> bool {
        let job = self.job.as_mut().filter(|job| job.kind == kind && !job.killed);
        job.map(|job| {
            job.killed = true;
            job.image.cancel();
        })
        .is_some()
    }

    /// The job writes to this file.
    pub(super) fn has_file(&mut self, path: &Path) {
        if let Some(job) = &mut self.job {
            job.temporary = Some(path.to_owned());
        }
    }

    /// The file that a job of this kind writes to, once.
    pub(super) fn take_file(&mut self, kind: Kind) -> Option<PathBuf> {
        self.job.as_mut().filter(|job| job.kind == kind)?.temporary.take()
    }

    /// Whether the job was killed.
    pub fn is_killed(&self) -> bool {
        self.job.as_ref().is_none_or(|job| job.killed)
    }

    /// When the data set was saved last, Unix time in seconds; at the start it counts as saved.
    pub fn last_save_s(&self, node: &Node) -> i64 {
        self.last_save_s.unwrap_or(node.started.ms / 1000)
    }

    /// Whether the last rewrite was done.
    pub fn rewrite_ok(&self) -> bool {
        !self.rewrite_failed
    }

    /// Whether the last save was done.
    pub fn save_ok(&self) -> bool {
        !self.save_failed
    }

    /// Seconds that the last save took, or -1.
    pub fn save_took_s(&self) -> i64 {
        self.save_took_s.unwrap_or(-1)
    }

    /// Seconds that the last rewrite took, or -1.
    pub fn rewrite_took_s(&self) -> i64 {
        self.rewrite_took_s.unwrap_or(-1)
    }

    /// The data set is saved as it was after `dirty` changes.
    pub(super) fn saved(&mut self, dirty: Option<u64>) {
        self.last_save_s = Some(now_s());
        self.save_failed = false;
        if let Some(dirty) = dirty {
            self.dirty_base = dirty;
        }
    }
}

/// Begins a snapshot; all slots are held. `work` gets it on a thread of its own and must walk it, whatever happens.
pub fn begin(
    node: &'static Node,
    keys: &mut Keyspace<'_, '_>,
    kind: Kind,
    make: impl Fn() -> Box<dyn Format> + Send + Sync + 'static,
    work: impl FnOnce(&Arc<Image>, &mut Owner<'static, Slot>) -> Ended + Send + 'static,
) -> Result<Arc<Image>, Busy> {
    let mut state = node.persist.state();
    if state.job.is_some() {
        return Err(Busy);
    }
    let (send, receive) = mpsc::channel::<Arc<Image>>();
    let run = move || {
        let _account = alloc::open_account();
        let Ok(image) = receive.recv() else { return };
        let mut guest = node.guest();
        pace::go_after_others();
        let ended = work(&image, guest.owner());
        drop(guest);
        finish(node, ended);
    };
    if let Err(error) = thread::Builder::new().name("snapshot".into()).spawn(run) {
        log::warning!("Can't start a thread for a snapshot: {}", crate::os_error::text(&error));
        state.save_failed |= kind == Kind::Save;
        node.persist.show_save(&state);
        return Err(Busy);
    }
    if kind == Kind::Save {
        state.last_try_s = now_s();
    }
    let began = Instant::now();
    keys.hold_all();
    let image = keys.cut(&node.oplog, node.persist.pressure.clone(), make);
    node.persist.gate.set(gate::CUT, true);
    // Where 3.2 forks, and counts that.
    let took = began.elapsed();
    node.persist.cut_us.store(took.as_micros() as u64, Ordering::Relaxed);
    node.latency.add("fork", took.as_millis() as u64, keys.now().ms);
    let dirty = node.changes_ever();
    state.job = Some(Job { kind, image: image.clone(), since_s: now_s(), dirty, killed: false, temporary: None });
    drop(state);
    // How replies wait may depend on whether a snapshot is under way.
    node.persist.aof.publish(node);
    // The thread waits for it.
    let _ = send.send(image.clone());
    Ok(image)
}

fn finish(node: &'static Node, ended: Ended) {
    let mut state = node.persist.state();
    let Some(job) = state.job.take() else { return };
    node.persist.gate.set(gate::CUT, false);
    let took_s = Some(now_s() - job.since_s);
    match (job.kind, ended) {
        (Kind::Save, Ended::Well) => {
            log::notice!("Background saving terminated with success");
            state.saved(Some(job.dirty));
            state.save_took_s = took_s;
        }
        (Kind::Save, Ended::Badly) => {
            state.save_took_s = took_s;
            if job.killed {
                log::warning!("Background saving terminated by signal {}", libc::SIGUSR1);
            } else {
                log::warning!("Background saving error");
                state.save_failed = true;
            }
        }
        (Kind::Rewrite, ended) => {
            state.rewrite_took_s = took_s;
            state.rewrite_failed = ended == Ended::Badly && !job.killed;
            if ended == Ended::Well {
                log::notice!("Background AOF rewrite finished successfully");
            } else if job.killed {
                log::warning!("Background AOF rewrite terminated by signal {}", libc::SIGUSR1);
            } else {
                log::warning!("Background AOF rewrite terminated with error");
            }
            // An AOF that has no file yet needs another try.
            state.rewrite_scheduled |= node.persist.aof.is_waiting();
        }
        (Kind::Sync, _) => {}
    }
    node.persist.show_save(&state);
    drop(state);
    node.persist.aof.publish(node);
    node.persist.wake_stalled(node);
    // Something may be scheduled behind it.
    if let Some(reactor) = node.mailboxes.first() {
        reactor.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::io;

    /// Saves end while the AOF fails and recovers: what is refused at the end is what the last of each says.
    #[test]
    fn no_reason_to_refuse_writes_is_lost_to_another() {
        let node = Node::new(Config::default(), Vec::new(), mpsc::sync_channel(1).0, String::new());
        for round in 0..400 {
            let (save_failed, aof_failed) = (round % 2 == 0, round % 4 < 2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for failed in [!save_failed, save_failed] {
                        let mut state = node.persist.state();
                        state.save_failed = failed;
                        node.persist.show_save(&state);
                    }
                });
                for failed in [!aof_failed, aof_failed] {
                    match failed {
                        true => node.persist.aof.failed(&node, &io::Error::from_raw_os_error(libc::ENOSPC)),
                        false => node.persist.aof.recovered(&node),
                    }
                }
            });
            assert_eq!(node.persist.gate.has(gate::SAVE_FAILED), save_failed, "round {round}");
            assert_eq!(node.persist.gate.has(gate::AOF_FAILED), aof_failed, "round {round}");
            assert_eq!(node.persist.aof.error().is_some(), aof_failed, "round {round}");
        }
    }

    /// With `appendfsync always` nothing is written any more while writes are refused, so nothing else would end that.
    #[test]
    fn a_rewritten_aof_is_well_whatever_was_wrong_with_the_old_one() {
        let node = Node::new(Config::default(), Vec::new(), mpsc::sync_channel(1).0, String::new());
        node.persist.aof.failed(&node, &io::Error::from_raw_os_error(libc::EIO));
        node.persist.aof.rewritten(&node, 0);
        assert!(!node.persist.gate.has(gate::REFUSED));
    }
}

//! Files that are being written get their names here, and only while they are wanted.
//!
//! 1. A job that was killed makes no file, and none of its files gets a name, once who killed it has had the lock.
//! 2. The lock may be held for as long as the disk takes to change a name, so that of the job's state is not held
//!    meanwhile: clients wait for that one. Their order: the AOF's tail, names, state.
//! 3. Names are those of the directory in which the work began, whatever `dir` is meanwhile.

use super::Persist;
use super::file::Temporary;
use super::job::Kind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs, io};

/// The lock.
#[derive(Default)]
pub struct Names(Mutex<()>);

/// A file of the present working directory by its full name.
pub fn here(name: impl AsRef<Path>) -> PathBuf {
    // A directory that is gone has no name: to use it fails, which is told then.
    env::current_dir().unwrap_or_default().join(name)
}

impl Names {
    /// Waits until nobody gives a file its name, and keeps others from it.
    pub fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Persist {
    /// Lets `work` make or name a file of the job that is under way, unless that was killed. `is_save`: an RDB file gets its
    /// name, which is counted.
    pub(super) fn unless_killed<R>(&self, is_save: bool, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let _lock = self.names.lock();
        {
            let mut state = self.state();
            if state.is_killed() {
                return Err(io::Error::other("killed"));
            }
            state.named += u64::from(is_save);
        }
        work()
    }

    /// Makes the file of the job that is under way.
    pub(super) fn create_temporary(&self, path: &Path) -> io::Result<Temporary> {
        self.unless_killed(false, || {
            self.state().has_file(path);
            Temporary::create(path.to_owned())
        })
    }

    /// Ends a job of this kind, for the end of the process: its thread may never run again, so its file is removed here.
    /// Whether there was one that nobody had killed yet.
    pub(super) fn abandon(&self, kind: Kind) -> bool {
        let killed = self.state().kill(kind);
        let _lock = self.names.lock();
        if let Some(path) = self.state().take_file(kind) {
            // The thread may have been faster, or may have given the file its name.
            let _ = fs::remove_file(path);
        }
        killed
    }
}

//! A file that takes another one's place in one step, and a writer that says how far it is.

use super::pace::{Pace, STRETCH_BYTES};
use crate::log;
use crate::node::Node;
use engine::raw::schedule;
use engine::snapshot::Image;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How often a long job says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Bytes of a file that are brought to the disk, or out of memory, at a time. A core is the kernel's alone for a while then:
/// some ten microseconds for so many bytes.
const SYNC_EVERY: u64 = 256 << 10;

/// A file under a temporary name; removed if it never gets another.
pub struct Temporary {
    path: PathBuf,
    /// The file, to be written.
    pub file: File,
    kept: bool,
}

impl Temporary {
    /// Makes an empty file, whatever was there.
    pub fn create(path: PathBuf) -> io::Result<Temporary> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Temporary { path, file, kept: false })
    }

    /// Gives the file, which is on disk already, its name; what had that name is gone.
    pub fn rename(&mut self, name: &Path) -> io::Result<()> {
        self.take_name(name)?.settle()
    }

    /// The first half of [`Temporary::rename`], which takes no time: for use under a lock.
    pub fn take_name(&mut self, name: &Path) -> io::Result<Renamed> {
        let old = File::open(name).ok();
        fs::rename(&self.path, name)?;
        self.kept = true;
        Ok(Renamed { name: name.to_owned(), old })
    }

    /// The temporary name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // There may be nothing any more, which is as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that has its name, but perhaps not yet on disk. To drop it lets go of what had the name before.
#[must_use]
pub struct Renamed {
    name: PathBuf,
    /// What had the name before.
    old: Option<File>,
}

impl Renamed {
    /// Makes the name last.
    pub fn settle(&self) -> io::Result<()> {
        sync_dir(&self.name)
    }
}

impl Drop for Renamed {
    fn drop(&mut self) {
        if let Some(old) = self.old.take() {
            let_go(old);
        }
    }
}

/// Closes a file that may have no name any more. To free a large one that is in memory takes the kernel milliseconds at a
/// stretch, so it leaves memory before, in pieces. Its content stays: others may have it open, or know it by another name.
fn let_go(file: File) {
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    for at in (0..len).step_by(SYNC_EVERY as usize) {
        forget(&file, at, SYNC_EVERY);
        thread::yield_now();
    }
}

/// Frees a file without a name that nobody else has, in pieces for the same reason; what of it is on its way to the disk need
/// not come there.
pub fn shrink_away(file: &File) {
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    for piece in (0..len.div_ceil(SYNC_EVERY)).rev() {
        let at = piece * SYNC_EVERY;
        if file.set_len(at).is_err() {
            return;
        }
        thread::yield_now();
    }
}

/// What is on disk of these bytes need not be in memory.
fn forget(file: &File, at: u64, len: u64) {
    // Advice that is not taken does no harm.
    let _ = fadvise(file, at, NonZeroU64::new(len), Advice::DontNeed);
}

/// Makes a change of names in the directory of `name` last.
pub(super) fn sync_dir(name: &Path) -> io::Result<()> {
    let dir = name.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Writes a snapshot to a file.
pub struct Output<'o> {
    file: &'o File,
    image: Arc<Image>,
    what: &'static str,
    incremental_sync: bool,
    began: Instant,
    reported: Instant,
    written: u64,
    unsynced: u64,
    pace: Pace,
}

impl<'o> Output<'o> {
    /// `what` names the job in the log.
    pub fn new(
        node: &'static Node,
        file: &'o File,
        image: &Arc<Image>,
        what: &'static str,
        incremental_sync: bool,
    ) -> Output<'o> {
        let now = Instant::now();
        Output {
            file,
            image: image.clone(),
            what,
            incremental_sync,
            began: now,
            reported: now,
            written: 0,
            unsynced: 0,
            pace: Pace::new(node),
        }
    }

    /// Begins to bring to the disk what is new, and lets go of what has come there: neither is there much left to do at the
    /// end, nor does the file push others out of memory.
    fn sync_some(&mut self) -> io::Result<()> {
        let len = std::mem::take(&mut self.unsynced);
        let at = self.written - len;
        match schedule::begin_to_sync(self.file, at, len) {
            Err(error) if schedule::knows_not(&error) => self.file.sync_data()?,
            done => done?,
        }
        forget(self.file, at.saturating_sub(len), len);
        Ok(())
    }

    fn report(&mut self) {
        let (all, done) = self.image.progress();
        let seconds = self.began.elapsed().as_secs_f64();
        let left = (all - done) as f64 * seconds / done.max(1) as f64;
        let rate = self.written as f64 / seconds / f64::from(1 << 20);
        let percent = done * 100 / all.max(1);
        log::notice!("{}: {percent}% of {all} keys, {rate:.1} MB/s, about {left:.0} seconds left", self.what);
        self.reported = Instant::now();
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(&bytes[..bytes.len().min(STRETCH_BYTES)])?;
        self.written += taken as u64;
        self.unsynced += taken as u64;
        if self.incremental_sync && self.unsynced >= SYNC_EVERY {
            self.sync_some()?;
        }
        if self.reported.elapsed() >= REPORT_EVERY {
            self.report();
        }
        self.pace.rest();
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_done_with_shrinks_to_nothing() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![b'x'; 5 * SYNC_EVERY as usize / 2]).expect("written");
        shrink_away(&file);
        assert_eq!(file.metadata().expect("there").len(), 0);
    }

    #[test]
    fn what_loses_its_name_keeps_its_content_for_those_who_have_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (name, link) = (dir.path().join("dump"), dir.path().join("backup"));
        let long = vec![b'x'; 3 * SYNC_EVERY as usize / 2];
        fs::write(&name, &long).expect("written");
        fs::hard_link(&name, &link).expect("a second name");
        let mut temporary = Temporary::create(dir.path().join("temp")).expect("made");
        temporary.file.write_all(b"new").expect("written");
        temporary.rename(&name).expect("renamed");
        drop(temporary);
        assert_eq!(fs::read(&name).expect("read"), b"new");
        assert!(fs::read(&link).expect("read") == long);
    }
}

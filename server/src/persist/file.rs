//! A file that takes another one's place in one step, and a writer that says how far it is.

use super::pace::Pace;
use crate::log;
use crate::node::Node;
use engine::snapshot::Image;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a long job says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Bytes after which a file that grows is synchronised. A core is the kernel's alone for a while then: a tenth of a
/// millisecond for so many bytes.
const SYNC_EVERY: u64 = 4 << 20;

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

/// A file that has its name, but perhaps not yet on disk.
#[must_use]
pub struct Renamed {
    name: PathBuf,
    /// What had the name before: freeing a large file takes milliseconds.
    old: Option<File>,
}

impl Renamed {
    /// Makes the name last.
    pub fn settle(self) -> io::Result<()> {
        drop(self.old);
        sync_dir(&self.name)
    }
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
        let taken = self.file.write(bytes)?;
        self.written += taken as u64;
        self.unsynced += taken as u64;
        if self.incremental_sync && self.unsynced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.unsynced = 0;
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

//! The end of the AOF: a cursor on the oplog, and the file that it ends in.
//!
//! ```text
//!   file     | whole records, on disk | whole records, written | torn: cut off again |
//!                                synced                      len
//!   oplog    ..----------------- anchor ------------------- cursor ------------------- end
//! ```
//! 1. `len` bytes of the file are what the log has up to the cursor, from wherever the file begins.
//! 2. The log keeps all from the anchor on. When synchronising fails, nobody knows what is on disk: the file is cut back
//!    to what surely is, and written anew from the anchor.

use engine::oplog::{Cursor, Offset, Oplog, TooOld};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file and the cursor.
pub struct Tail {
    file: File,
    path: PathBuf,
    /// Whether it only waits for a base to be written: it is no AOF yet.
    pub provisional: bool,
    len: u64,
    offset: Offset,
    cursor: Cursor,
    synced_len: u64,
    synced: Offset,
    anchor: Cursor,
    /// Counts files.
    pub generation: u64,
}

/// Why the tail could not be written.
#[derive(Debug)]
pub enum Error {
    /// The file.
    Io(io::Error),
    /// The log began anew: the file has another history.
    Lost,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<TooOld> for Error {
    fn from(_: TooOld) -> Error {
        Error::Lost
    }
}

/// What a synchronisation would make sure of.
pub struct Unsynced {
    /// The file.
    pub file: File,
    len: u64,
    /// Up to where.
    pub offset: Offset,
    generation: u64,
}

impl Tail {
    /// A file that has everything up to `offset` already and is on disk.
    pub fn new(
        file: File,
        path: PathBuf,
        log: &Oplog,
        offset: Offset,
        provisional: bool,
        generation: u64,
    ) -> Result<Tail, Error> {
        let len = file.metadata()?.len();
        let (cursor, anchor) = (log.pinned(offset)?, log.pinned(offset)?);
        Ok(Tail { file, path, provisional, len, offset, cursor, synced_len: len, synced: offset, anchor, generation })
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Up to where it is written.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Up to where it is on disk.
    pub fn synced(&self) -> Offset {
        self.synced
    }

    /// Where in the file what comes after `offset` is or will be; `offset` is not before the file's beginning.
    pub fn position_at(&self, offset: Offset) -> u64 {
        (self.len + offset).saturating_sub(self.offset)
    }

    /// Writes all that the log has by now.
    pub fn write(&mut self, log: &Oplog) -> Result<(), Error> {
        let end = log.end();
        let mut len = self.len;
        while self.cursor.offset() < end {
            let mut failed = None;
            let left = (end - self.cursor.offset()) as usize;
            let file = &mut self.file;
            let taken = self.cursor.read(log, |bytes| {
                let bytes = &bytes[..bytes.len().min(left)];
                match file.write_all(bytes) {
                    Ok(()) => bytes.len(),
                    Err(error) => {
                        failed = Some(error);
                        0
                    }
                }
            })?;
            len += taken as u64;
            if let Some(error) = failed {
                self.cut_back(log, self.len, self.offset)?;
                return Err(error.into());
            }
        }
        (self.len, self.offset) = (len, end.max(self.offset));
        Ok(())
    }

    /// Makes sure that all that is written is on disk.
    pub fn sync(&mut self, log: &Oplog) -> Result<(), Error> {
        if self.synced == self.offset {
            return Ok(());
        }
        match self.file.sync_data() {
            Ok(()) => self.note_synced(log, self.len, self.offset),
            Err(error) => {
                self.cut_back(log, self.synced_len, self.synced)?;
                Err(error.into())
            }
        }
    }

    /// What a synchronisation elsewhere is to make sure of; `None` if there is nothing.
    pub fn unsynced(&self) -> io::Result<Option<Unsynced>> {
        if self.synced == self.offset {
            return Ok(None);
        }
        let (len, offset, generation) = (self.len, self.offset, self.generation);
        Ok(Some(Unsynced { file: self.file.try_clone()?, len, offset, generation }))
    }

    /// Such a synchronisation has ended.
    pub fn after_sync(&mut self, log: &Oplog, what: &Unsynced, result: io::Result<()>) -> Result<(), Error> {
        if what.generation != self.generation || what.offset <= self.synced {
            return Ok(());
        }
        match result {
            Ok(()) => self.note_synced(log, what.len, what.offset),
            Err(error) => {
                self.cut_back(log, self.synced_len, self.synced)?;
                Err(error.into())
            }
        }
    }

    /// Without synchronisation what is written must do.
    pub fn skip_sync(&mut self, log: &Oplog) -> Result<(), Error> {
        self.note_synced(log, self.len, self.offset)
    }

    fn note_synced(&mut self, log: &Oplog, len: u64, offset: Offset) -> Result<(), Error> {
        self.anchor = log.pinned(offset)?;
        (self.synced_len, self.synced) = (len, offset);
        Ok(())
    }

    /// Goes on from an earlier point, which the log still has.
    fn cut_back(&mut self, log: &Oplog, len: u64, offset: Offset) -> Result<(), Error> {
        self.cursor = log.pinned(offset)?;
        (self.len, self.offset) = (len, offset);
        self.file.set_len(len)?;
        Ok(())
    }

    /// From now on `file` takes what comes, which has `len` bytes and all up to the cursor, on disk.
    pub fn adopt(&mut self, log: &Oplog, file: File, path: PathBuf, len: u64) -> Result<(), Error> {
        self.file = file;
        self.path = path;
        self.provisional = false;
        self.generation += 1;
        self.len = len;
        self.note_synced(log, len, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> Vec<u8> {
        vec![b'a' + n; 100]
    }

    #[test]
    fn what_the_log_has_is_in_the_file_and_is_kept_until_it_is_on_disk() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tail");
        let open = || File::options().append(true).create(true).open(&path).expect("opens");
        let log = Oplog::new(1 << 20);
        let mut tail = Tail::new(open(), path.clone(), &log, 0, false, 0).expect("fresh");
        let mut expected = Vec::new();
        for n in 0..20 {
            log.append(0, &record(n));
            tail.write(&log).expect("written");
        }
        log.cursor(0)
            .read(&log, |bytes| {
                expected.extend_from_slice(bytes);
                bytes.len()
            })
            .expect("kept");
        assert_eq!(std::fs::read(&path).expect("there"), expected);
        assert_eq!((tail.len(), tail.offset(), tail.synced()), (expected.len() as u64, log.end(), 0));
        // A failed synchronisation: all of it is written again.
        let unsynced = tail.unsynced().expect("a clone").expect("something");
        assert!(tail.after_sync(&log, &unsynced, Err(io::Error::other("lost"))).is_err());
        assert_eq!((tail.len(), tail.offset()), (0, 0));
        tail.write(&log).expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), expected);
        tail.sync(&log).expect("synchronised");
        assert_eq!(tail.synced(), log.end());
    }

    #[test]
    fn a_write_that_fails_leaves_only_whole_records() {
        let log = Oplog::new(1 << 20);
        let full = File::options().write(true).open("/dev/full").expect("there");
        let mut tail = Tail::new(full, "/dev/full".into(), &log, 0, false, 0).expect("fresh");
        log.append(0, &record(1));
        assert!(matches!(tail.write(&log), Err(Error::Io(_))));
        assert_eq!((tail.len(), tail.offset()), (0, 0));
    }
}

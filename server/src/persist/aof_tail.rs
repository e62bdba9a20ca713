//! The end of the AOF: a cursor on the oplog, and the file that it ends in.
//!
//! ```text
//!   file     | whole records, on disk | whole records, written | torn: cut off again |
//!                                synced                      len
//!   oplog    ..----------------- anchor ------------------- cursor ------------------- end
//! ```
//! 1. `len` bytes of the file are what the log has for it up to `place`, from wherever the file begins: without what is
//!    for replicas only, and with what is for the file only. `place` is that of the cursor, with how much the file has of
//!    what a replica has changed by itself: the log may grow by such without its end moving.
//! 2. The log keeps all from the anchor on. When synchronising fails, nobody knows what is on disk: the file is cut back
//!    to what surely is, and written anew from the anchor.
//! 3. Where synchronising is left out the log is let go all the same. Who asks for the disk later gets it synchronised.

use engine::oplog::{Cursor, Oplog, TooOld};
use engine::records::{Apart, FilePlace, What};
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
    /// The file may have more bytes than that, which could not be cut off yet.
    torn: bool,
    place: FilePlace,
    cursor: Cursor,
    synced_len: u64,
    synced: FilePlace,
    /// Some of that was left to the system.
    skipped: bool,
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
    place: FilePlace,
    generation: u64,
}

impl Tail {
    /// A file, open for reading and appending, that has everything up to `place` already and is on disk.
    pub fn new(
        file: File,
        path: PathBuf,
        log: &Oplog,
        place: FilePlace,
        provisional: bool,
        generation: u64,
    ) -> Result<Tail, Error> {
        let len = file.metadata()?.len();
        let (cursor, anchor) = (log.pinned(place.offset)?, log.pinned(place.offset)?);
        let (synced_len, synced, torn, skipped) = (len, place, false, false);
        Ok(Tail { file, path, provisional, len, torn, place, cursor, synced_len, synced, skipped, anchor, generation })
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be read.
    pub fn duplicate(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Up to where it is written.
    pub fn written(&self) -> FilePlace {
        self.place
    }

    /// Up to where it is on disk, or left to the system.
    pub fn synced(&self) -> FilePlace {
        self.synced
    }

    /// Whether all that is [`Tail::synced`] is on disk.
    pub fn is_on_disk(&self) -> bool {
        !self.skipped
    }

    /// Where in the file what comes after `place` is or will be; `place` is not before the file's beginning.
    pub fn position_at(&self, log: &Oplog, place: FilePlace) -> u64 {
        let bytes_for_file = |from: FilePlace, until: FilePlace| {
            log.apart(from, until).iter().fold(until.offset - from.offset, |bytes, part| match &part.what {
                What::Replicas(len) => bytes - len,
                What::File(more) | What::Own { bytes: more, .. } => bytes + more.len() as u64,
            })
        };
        match place.of_file() <= self.place.of_file() {
            true => self.len.saturating_sub(bytes_for_file(place, self.place)),
            false => self.len + bytes_for_file(self.place, place),
        }
    }

    /// Writes all that the log has by now.
    pub fn write(&mut self, log: &Oplog) -> Result<(), Error> {
        self.cut_off()?;
        let (end, parts) = log.rest(&self.cursor, self.place.own)?;
        let written = self.write_until(log, end, parts);
        match written {
            Ok(bytes) => {
                self.len += bytes;
                self.place = end;
                Ok(())
            }
            Err(Error::Io(error)) => {
                self.cut_back(log, self.len, self.place)?;
                Err(error.into())
            }
            Err(Error::Lost) => Err(Error::Lost),
        }
    }

    /// Returns how many bytes the file has got.
    fn write_until(&mut self, log: &Oplog, end: FilePlace, parts: Vec<Apart>) -> Result<u64, Error> {
        let mut bytes = 0;
        for part in parts {
            bytes += self.copy(log, part.at, true)?;
            match part.what {
                What::Replicas(len) => {
                    self.copy(log, part.at + len, false)?;
                }
                What::File(more) | What::Own { bytes: more, .. } => {
                    self.file.write_all(&more)?;
                    bytes += more.len() as u64;
                }
            }
        }
        Ok(bytes + self.copy(log, end.offset, true)?)
    }

    /// Goes on to `end`, writing or not. Returns over how many bytes.
    fn copy(&mut self, log: &Oplog, end: u64, write: bool) -> Result<u64, Error> {
        let begin = self.cursor.offset();
        while self.cursor.offset() < end {
            let mut result = Ok(());
            let left = (end - self.cursor.offset()) as usize;
            let file = &mut self.file;
            self.cursor.read(log, |bytes| {
                let bytes = &bytes[..bytes.len().min(left)];
                if write {
                    result = file.write_all(bytes);
                }
                if result.is_ok() { bytes.len() } else { 0 }
            })?;
            result?;
        }
        Ok(self.cursor.offset() - begin)
    }

    /// Makes sure that all that is written is on disk.
    pub fn sync(&mut self, log: &Oplog) -> Result<(), Error> {
        if self.synced == self.place && !self.skipped {
            return Ok(());
        }
        match self.file.sync_data() {
            Ok(()) => {
                self.skipped = false;
                self.note_synced(log, self.len, self.place)
            }
            Err(error) => {
                self.cut_back(log, self.synced_len, self.synced)?;
                Err(error.into())
            }
        }
    }

    /// What a synchronisation elsewhere is to make sure of; `None` if there is nothing.
    pub fn unsynced(&self) -> io::Result<Option<Unsynced>> {
        if self.synced == self.place {
            return Ok(None);
        }
        let (len, place, generation) = (self.len, self.place, self.generation);
        Ok(Some(Unsynced { file: self.file.try_clone()?, len, place, generation }))
    }

    /// Such a synchronisation has ended.
    pub fn after_sync(&mut self, log: &Oplog, what: &Unsynced, result: io::Result<()>) -> Result<(), Error> {
        if what.generation != self.generation || what.place.of_file() <= self.synced.of_file() {
            return Ok(());
        }
        match result {
            Ok(()) => self.note_synced(log, what.len, what.place),
            Err(error) => {
                self.cut_back(log, self.synced_len, self.synced)?;
                Err(error.into())
            }
        }
    }

    /// Without synchronisation what is written must do.
    pub fn skip_sync(&mut self, log: &Oplog) -> Result<(), Error> {
        self.skipped |= self.synced != self.place;
        self.note_synced(log, self.len, self.place)
    }

    fn note_synced(&mut self, log: &Oplog, len: u64, place: FilePlace) -> Result<(), Error> {
        self.anchor = log.pinned(place.offset)?;
        (self.synced_len, self.synced) = (len, place);
        log.let_apart_go(place);
        Ok(())
    }

    /// Goes on from an earlier point, which the log still has.
    fn cut_back(&mut self, log: &Oplog, len: u64, place: FilePlace) -> Result<(), Error> {
        self.cursor = log.pinned(place.offset)?;
        (self.len, self.place, self.torn) = (len, place, true);
        self.cut_off()
    }

    /// Nothing may be written behind the half of a command.
    fn cut_off(&mut self) -> Result<(), Error> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        Ok(())
    }

    /// From now on `file` takes what comes, which has `len` bytes and all up to the cursor, on disk. Gives back the file
    /// that did so far: closing it frees its blocks, which takes a while.
    pub fn adopt(&mut self, log: &Oplog, file: File, path: PathBuf, len: u64) -> Result<File, Error> {
        let old = std::mem::replace(&mut self.file, file);
        self.path = path;
        self.provisional = false;
        self.generation += 1;
        (self.len, self.torn, self.skipped) = (len, false, false);
        self.note_synced(log, len, self.place)?;
        Ok(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::oplog::Consumer;
    use engine::records::{Reach, Records};
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn record(n: u8) -> Vec<u8> {
        vec![b'a' + n; 100]
    }

    #[test]
    fn nothing_is_written_behind_what_could_not_be_cut_off() {
        // A socket takes a part, and cannot be cut.
        let (write, mut read) = UnixStream::pair().expect("sockets");
        for end in [&write, &read] {
            end.set_nonblocking(true).expect("set");
        }
        let mut drain = || {
            let (mut bytes, mut some) = (0, vec![0; 1 << 16]);
            while let Ok(n @ 1..) = read.read(&mut some) {
                bytes += n;
            }
            bytes
        };
        let log = Oplog::new(8 << 20);
        let mut tail =
            Tail::new(File::from(OwnedFd::from(write)), PathBuf::new(), &log, FilePlace::default(), false, 0)
                .expect("fresh");
        for _ in 0..20_000 {
            log.append(0, &record(1));
        }
        assert!(tail.write(&log).is_err());
        assert!(drain() > 0);
        assert!(tail.write(&log).is_err());
        assert_eq!(drain(), 0);
    }

    #[test]
    fn what_was_left_to_the_system_is_synchronised_for_who_asks() {
        // Writing to it goes well, synchronising does not.
        let null = File::options().append(true).open("/dev/null").expect("it is there");
        let log = Oplog::new(1 << 20);
        let mut tail = Tail::new(null, PathBuf::new(), &log, log.place(), false, 0).expect("fresh");
        log.append(0, &record(1));
        tail.write(&log).expect("written");
        tail.skip_sync(&log).expect("nothing to do");
        assert_eq!((tail.synced(), tail.is_on_disk()), (log.place(), false));
        assert!(tail.sync(&log).is_err() && !tail.is_on_disk());
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tail");
        let file = File::options().append(true).create(true).open(&path).expect("opens");
        let mut tail = Tail::new(file, path, &log, log.place(), false, 0).expect("fresh");
        tail.skip_sync(&log).expect("nothing to do");
        assert!(tail.is_on_disk(), "nothing was written");
        log.append(0, &record(2));
        tail.write(&log).and_then(|()| tail.skip_sync(&log)).expect("written");
        assert!(!tail.is_on_disk());
        tail.sync(&log).expect("synchronised");
        assert!(tail.is_on_disk());
    }

    #[test]
    fn what_the_log_has_is_in_the_file_and_is_kept_until_it_is_on_disk() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tail");
        let open = || File::options().append(true).create(true).open(&path).expect("opens");
        let log = Oplog::new(1 << 20);
        let mut tail = Tail::new(open(), path.clone(), &log, log.place(), false, 0).expect("fresh");
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
        assert_eq!((tail.len(), tail.written()), (expected.len() as u64, log.place()));
        assert_eq!(tail.synced(), FilePlace::default());
        // A failed synchronisation: all of it is written again.
        let unsynced = tail.unsynced().expect("a clone").expect("something");
        assert!(tail.after_sync(&log, &unsynced, Err(io::Error::other("lost"))).is_err());
        assert_eq!((tail.len(), tail.written()), (0, FilePlace::default()));
        tail.write(&log).expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), expected);
        tail.sync(&log).expect("synchronised");
        assert_eq!(tail.synced(), log.place());
    }

    #[test]
    fn the_file_gets_what_is_for_it_and_knows_where_an_offset_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tail");
        let file = File::options().append(true).create(true).open(&path).expect("opens");
        let log = Oplog::new(1 << 20);
        log.want(Consumer::Aof, true);
        log.append(0, b"");
        let mut tail = Tail::new(file, path.clone(), &log, log.place(), false, 0).expect("fresh");
        let (mut expected, mut places) = (Vec::new(), Vec::new());
        for n in 0..40u8 {
            let mut records = Records::default();
            let mut push = |reach, n| records.push(reach, |to| to.extend_from_slice(&record(n)[..usize::from(n) + 1]));
            push(if n % 3 == 1 { Reach::Replicas } else { Reach::All }, n % 26);
            if n % 3 == 0 {
                push(Reach::File, 3);
                push(Reach::All, 4);
            }
            log.append_records(0, &records);
            expected.extend(records.of_file());
            places.push((log.place(), expected.len() as u64));
            if n % 4 == 0 {
                tail.write(&log).expect("written");
            }
            for &(place, at) in &places {
                assert_eq!(tail.position_at(&log, place), at, "{n}");
            }
        }
        tail.write(&log).expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), expected);
        // What a failed synchronisation may have lost is written again, with what stands beside the log.
        let unsynced = tail.unsynced().expect("a clone").expect("something");
        assert!(tail.after_sync(&log, &unsynced, Err(io::Error::other("lost"))).is_err());
        tail.write(&log).expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), expected);
        tail.sync(&log).expect("synchronised");
        assert_eq!(log.apart_bytes(), 0);
    }

    #[test]
    fn what_a_replica_changes_by_itself_is_written_also_where_the_stream_stands_still() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tail");
        let file = File::options().append(true).create(true).open(&path).expect("opens");
        let content = || std::fs::read_to_string(&path).expect("text").replace("\r\n", " ");
        let log = Oplog::new(1 << 20);
        log.want(Consumer::Aof, true);
        log.follow(true);
        log.append_stream(b"S", 0);
        let mut tail = Tail::new(file, path.clone(), &log, log.place(), false, 0).expect("fresh");
        let mut places = vec![(log.place(), 0)];
        let mut expected = String::new();
        for n in 0..30 {
            match n % 3 {
                0 => log.append_stream(b"T", 0),
                1 => log.append_stream_for_replicas(b"ping"),
                _ => {}
            }
            expected += if n % 3 == 0 { "T" } else { "" };
            log.append(0, b"own");
            expected += "own";
            places.push((log.place(), expected.len() as u64));
            if n % 4 == 0 {
                tail.write(&log).expect("written");
                assert_eq!((content(), tail.written()), (expected.clone(), log.place()));
            }
            for &(place, at) in &places {
                assert_eq!(tail.position_at(&log, place), at, "{n}: {place:?}");
            }
            if n == 20 {
                tail.write(&log).expect("written");
                tail.sync(&log).expect("synchronised");
                assert_eq!((tail.synced(), log.apart_bytes()), (log.place(), 0));
                let synced = expected.len() as u64;
                places.retain(|(_, at)| *at >= synced);
            }
        }
        // What a failed synchronisation may have lost is written again, from the middle of what stands at one offset.
        tail.write(&log).expect("written");
        log.append(0, b"last");
        tail.write(&log).expect("written");
        let unsynced = tail.unsynced().expect("a clone").expect("something");
        assert!(tail.after_sync(&log, &unsynced, Err(io::Error::other("lost"))).is_err());
        assert_eq!(tail.written(), tail.synced());
        tail.write(&log).expect("written");
        assert_eq!(content(), expected + "last");
        // Another history: nothing of it gets behind this one's.
        log.restart(1, 0);
        log.append(0, b"new");
        assert!(matches!(tail.write(&log), Err(Error::Lost)));
    }

    #[test]
    fn a_write_that_fails_leaves_only_whole_records() {
        let log = Oplog::new(1 << 20);
        let full = File::options().write(true).open("/dev/full").expect("there");
        let mut tail = Tail::new(full, "/dev/full".into(), &log, log.place(), false, 0).expect("fresh");
        log.append(0, &record(1));
        assert!(matches!(tail.write(&log), Err(Error::Io(_))));
        assert_eq!((tail.len(), tail.written()), (0, FilePlace::default()));
    }
}

//! What stands beside the AOF while the server is not running: of which moment of which stream its keys are, so that a
//! restart need not cost a full sync. An AOF itself has no place for that which every Redis would pass over.
//!
//! ```text
//!   SHUTDOWN   AOF on disk -> note written under the name <AOF>.stream
//!   start      note read and removed -> AOF loaded -> believed, if the AOF is the very file that the note is about
//! ```
//! 1. A note is about one file: its length, when it was changed last, and a checksum of its end. Whatever wrote to the
//!    AOF meanwhile, another server or a tool, made the note void.
//! 2. It is gone before anybody is served, so it is used once, and a crash leaves none.

use super::file::{Temporary, sync_dir};
use crate::config::Config;
use crate::node::Node;
use crate::repl::note::{Found, Note};
use crate::{log, os_error};
use engine::effects::encode;
use persistence::crc64;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The first line; another form would have another number.
const FORM: &str = "stream-of-aof 1";
/// No note is longer.
const BYTES_MAX: u64 = 1024;
/// Bytes at the AOF's end that the checksum is of.
const END_BYTES: u64 = 1 << 20;

/// By what an AOF is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    size: u64,
    /// When it was changed last: seconds and nanoseconds.
    changed: (i64, i64),
    end_crc64: u64,
}

/// A note that was found.
pub struct Claim {
    found: Found,
    mark: Mark,
}

fn name_of(config: &Config) -> PathBuf {
    let mut name = config.appendfilename.clone().into_os_string();
    name.push(".stream");
    name.into()
}

// --- at the end

/// Leaves a note, if the AOF has all of a stream; all slots are held and nothing will change any more.
pub fn leave(node: &Node, config: &Config) {
    let Some(note) = Note::of_log(node) else { return };
    let end = node.oplog.place();
    let file = node.persist.aof.with_tail(node, |tail| {
        let tail = tail.as_ref().filter(|tail| !tail.provisional && tail.synced() == end)?;
        tail.duplicate().ok().map(|file| (file, tail.len()))
    });
    let Some((file, size)) = file else { return };
    if let Err(error) = write(config, &note.of_offset(end.offset), &file, size) {
        log::notice!(
            "No note of the stream beside the AOF, replicas will be sent all keys: {}",
            os_error::text(&error)
        );
    }
}

fn write(config: &Config, found: &Found, file: &File, size: u64) -> io::Result<()> {
    // What was written may have been left to the system so far.
    file.sync_all()?;
    let mark = Mark::of(file)?;
    if mark.size != size {
        return Err(io::Error::other("the file has another length"));
    }
    let name = name_of(config);
    let mut temporary = Temporary::create(format!("temp-{}.stream", std::process::id()).into())?;
    temporary.file.write_all(text(found, &mark).as_bytes())?;
    temporary.file.sync_all()?;
    temporary.rename(&name)
}

fn text(found: &Found, mark: &Mark) -> String {
    let mut text = format!("{FORM}\n");
    for (name, value) in found.words() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {value}");
    }
    let Mark { size, changed: (seconds, nanoseconds), end_crc64 } = mark;
    let _ = writeln!(text, "size {size}\nchanged {seconds} {nanoseconds}\nend-crc64 {end_crc64}\nend");
    text
}

// --- at the start

/// Takes the note away, if there is one; before anybody is served.
pub fn take(config: &Config) -> Option<Claim> {
    let name = name_of(config);
    let mut text = String::new();
    let read = File::open(&name).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
    if matches!(&read, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return None;
    }
    if let Err(error) = fs::remove_file(&name).and_then(|()| sync_dir(&name)) {
        log::warning!("{} cannot be removed and is not heeded: {}", name.display(), os_error::text(&error));
        return None;
    }
    read.ok().and_then(|_| parse(&text))
}

fn parse(text: &str) -> Option<Claim> {
    let mut lines = text.lines();
    if lines.next() != Some(FORM) {
        return None;
    }
    let mut found = Found::default();
    let (mut size, mut changed, mut end_crc64) = (None, None, None);
    for line in lines {
        if line == "end" {
            let mark = Mark { size: size?, changed: changed?, end_crc64: end_crc64? };
            return found.is_whole().then_some(Claim { found, mark });
        }
        let (name, value) = line.split_once(' ')?;
        match name {
            "size" => size = value.parse().ok(),
            "end-crc64" => end_crc64 = value.parse().ok(),
            "changed" => {
                let (seconds, nanoseconds) = value.split_once(' ')?;
                changed = seconds.parse().ok().zip(nanoseconds.parse().ok());
            }
            _ => found.take(name.as_bytes(), value.as_bytes()),
        }
    }
    None
}

impl Claim {
    /// The AOF was just loaded and left `db` selected: goes on from where the note says, if it is about this file. Before
    /// the file is opened for writing.
    pub fn resume(&self, node: &'static Node, config: &Config, db: u32, now_ms: i64) {
        let name = &config.appendfilename;
        match File::open(name).and_then(|file| Mark::of(&file)) {
            Ok(mark) if mark == self.mark => {}
            Ok(_) => {
                log::notice!("The AOF has changed since the server ended, so nothing is known of its stream");
                return;
            }
            Err(error) => {
                log::notice!("Nothing is known of the AOF's stream: {}", os_error::text(&error));
                return;
            }
        }
        // A primary's stream goes on without another SELECT, and the file is to take it as it comes.
        let stream_db = self.found.stream_db.unwrap_or(0);
        if config.slaveof.is_some() && !self.found.fits(config) {
            return;
        }
        if config.slaveof.is_some()
            && stream_db != db
            && let Err(error) = select(name, stream_db, self.mark.size)
        {
            log::warning!("Cannot write to the AOF: {}", os_error::text(&error));
            return;
        }
        self.found.resume(node, now_ms);
    }
}

/// Adds a SELECT to the file of `size` bytes, all of it or none.
fn select(name: &Path, db: u32, size: u64) -> io::Result<()> {
    let mut command = Vec::new();
    encode([&b"SELECT"[..], db.to_string().as_bytes()].into_iter(), &mut command);
    let mut file = File::options().append(true).open(name)?;
    file.write_all(&command).inspect_err(|_| {
        if let Err(error) = file.set_len(size) {
            log::warning!("Cannot cut the AOF back: {}. Exiting.", os_error::text(&error));
            std::process::exit(1);
        }
    })
}

impl Mark {
    fn of(file: &File) -> io::Result<Mark> {
        let about = file.metadata()?;
        let size = about.len();
        let mut end = vec![0; size.min(END_BYTES) as usize];
        file.read_exact_at(&mut end, size.saturating_sub(END_BYTES))?;
        Ok(Mark { size, changed: (about.mtime(), about.mtime_nsec()), end_crc64: crc64::checksum(&end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replication::history::ReplId;

    fn found() -> Found {
        Found { stream_db: Some(3), id: Some(ReplId::from_random([1, 2, 3])), offset: Some(77), strayed: true }
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_only_whole() {
        let mark = Mark { size: 5, changed: (-1, 999), end_crc64: u64::MAX };
        let whole = text(&found(), &mark);
        let claim = parse(&whole).expect("whole");
        assert_eq!((claim.found, claim.mark), (found(), mark));
        assert!(whole.len() as u64 <= BYTES_MAX);
        for len in 0..whole.len() - 1 {
            assert!(parse(&whole[..len]).is_none(), "{len}");
        }
        assert!(parse(&whole.replace("aof 1", "aof 2")).is_none());
        assert!(parse(&whole.replace("repl-id", "other-id")).is_none());
    }

    #[test]
    fn a_file_is_known_by_its_length_its_end_and_when_it_was_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("aof");
        let write = |text: &[u8]| std::fs::write(&path, text).expect("written");
        let mark = || Mark::of(&File::open(&path).expect("there")).expect("read");
        let dated = |mark: Mark| Mark { changed: (0, 0), ..mark };
        write(b"");
        let empty = mark();
        write(b"one");
        let one = mark();
        write(b"two");
        let two = mark();
        assert_eq!((empty.size, one.size), (0, 3));
        assert_ne!(dated(one), dated(two));
        assert_eq!(mark(), two);
        let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(&path).and_then(|file| file.set_modified(later)).expect("dated");
        assert_ne!(mark(), two);
        assert_eq!(dated(mark()), dated(two));
    }
}

//! `redis-check-rdb FILE`: reads all of a file as the server would, and counts.

use super::{Progress, options};
use persistence::rdb::load::{Doing, Event, Loader};
use persistence::rdb::{Error, RdbError, kind};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// What was read.
#[derive(Default)]
struct Counts {
    keys: u64,
    expires: u64,
    already_expired: u64,
}

impl Counts {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "[info] {} keys read", self.keys)?;
        writeln!(out, "[info] {} expires", self.expires)?;
        writeln!(out, "[info] {} already expired", self.already_expired)
    }
}

/// The program: checks the file that is named, and returns the exit status.
pub fn main(program: &str, args: &[OsString]) -> u8 {
    let [path] = args else {
        eprintln!("Usage: {program} <rdb-file-name>");
        return 1;
    };
    let mut out = io::stdout().lock();
    // Whoever reads no more does not want to know.
    u8::from(!run(Path::new(path), engine::clock::Now::read().ms, &mut out).unwrap_or(false))
}

/// Checks the file at `path` and says so on `out`; true if it is whole. `now_ms` is Unix time.
pub fn run(path: &Path, now_ms: i64, out: &mut impl Write) -> io::Result<bool> {
    writeln!(out, "[offset 0] Checking RDB file {}", path.display())?;
    match File::open(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
        Ok((len, file)) => match Loader::new(file, options()) {
            Ok(mut loader) => check(&mut loader, len, now_ms, out),
            Err(error) => bad_header(&error, out),
        },
        Err(error) => {
            writeln!(out, "Cannot open file {}: {}", path.display(), crate::os_error::text(&error))?;
            Ok(false)
        }
    }
}

/// Says that not even the header can be read.
pub(super) fn bad_header(error: &RdbError, out: &mut impl Write) -> io::Result<bool> {
    detected(error, Doing::Start, &Counts::default(), out)?;
    Ok(false)
}

/// Checks what a loader reads, to its end, from a file of `len` bytes.
pub(super) fn check<R: Read>(loader: &mut Loader<R>, len: u64, now_ms: i64, out: &mut impl Write) -> io::Result<bool> {
    let (mut counts, mut progress) = (Counts::default(), Progress::of(len));
    loop {
        match loader.event() {
            Ok(Event::Entry(loaded)) => {
                counts.keys += 1;
                if let Some(at) = loaded.entry.view().expire_at_ms() {
                    counts.expires += 1;
                    counts.already_expired += u64::from(at < now_ms);
                }
                progress.at(loaded.offset);
            }
            Ok(Event::Aux { name, value }) => {
                let (name, value) = (name.escape_ascii().to_string(), value.escape_ascii().to_string());
                writeln!(out, "[offset {}] AUX FIELD {name} = '{value}'", loader.position())?;
            }
            Ok(Event::Database(db)) => writeln!(out, "[offset {}] Selecting DB ID {db}", loader.position())?,
            Ok(Event::Skipped(what)) => writeln!(out, "[offset {}] Skipping {what}", loader.position())?,
            Ok(Event::Sizes { .. }) => {}
            Ok(Event::End { checked }) => {
                let sum = if checked {
                    "Checksum OK"
                } else {
                    "RDB file was saved with checksum disabled: no check performed."
                };
                writeln!(out, "[offset {}] {sum}", loader.position())?;
                writeln!(out, "[offset {}] \\o/ RDB looks OK! \\o/", loader.position())?;
                counts.print(out)?;
                return Ok(true);
            }
            Err(error) => {
                // The original counts a key when it has its name.
                counts.keys += u64::from(error.key.is_some());
                detected(&error, loader.doing(), &counts, out)?;
                return Ok(false);
            }
        }
    }
}

/// Says what is wrong, and what was read by then.
fn detected(error: &RdbError, doing: Doing, counts: &Counts, out: &mut impl Write) -> io::Result<()> {
    let what = match &error.what {
        Error::Truncated => "Unexpected EOF reading RDB file".to_owned(),
        Error::Version(version) => format!("Can't handle RDB format version {version}"),
        Error::Signature => "Wrong signature trying to load DB from file".to_owned(),
        Error::Checksum => "RDB CRC error".to_owned(),
        Error::Type(kind) => format!("Invalid object type: {kind}"),
        what => what.to_string(),
    };
    writeln!(out, "--- RDB ERROR DETECTED ---")?;
    writeln!(out, "[offset {}] {what}", error.offset)?;
    writeln!(out, "[additional info] While doing: {}", doing.name())?;
    if let Some(key) = &error.key {
        writeln!(out, "[additional info] Reading key '{}'", key.escape_ascii())?;
    }
    if let Doing::Value(kind) = doing {
        writeln!(out, "[additional info] Reading type {kind} ({})", kind::name(kind))?;
    }
    counts.print(out)
}

//! `redis-check-aof [--fix] FILE`: reads all commands of a file, and cuts off what comes behind the last whole one.

use super::{Progress, options, rdb};
use persistence::aof::read::{Outcome, Reader, Start, Step, open};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::path::Path;

/// What the file is found to be.
enum Found {
    /// Whole up to this offset.
    UpTo(u64),
    /// With a snapshot in front that is damaged: there is nothing to cut.
    BadSnapshot,
}

/// The program: checks the file that is named, and returns the exit status.
pub fn main(program: &str, args: &[OsString]) -> u8 {
    let (path, fix) = match args {
        [] => {
            println!("Usage: {program} [--fix] <file.aof>");
            return 1;
        }
        [path] => (path, false),
        [option, path] if option == "--fix" => (path, true),
        [option, _] => {
            println!("Invalid argument: {}", option.display());
            return 1;
        }
        _ => {
            println!("Invalid arguments");
            return 1;
        }
    };
    let (mut answers, mut out) = (io::stdin().lock(), io::stdout().lock());
    // Whoever reads no more does not want to know.
    let whole = run(Path::new(path), fix, engine::clock::Now::read().ms, &mut answers, &mut out);
    u8::from(!whole.unwrap_or(false))
}

/// Checks the file at `path` and says so on `out`; with `fix`, asks on `answers` whether to cut it. True if the file is whole
/// in the end. `now_ms` is Unix time.
pub fn run(path: &Path, fix: bool, now_ms: i64, answers: &mut impl BufRead, out: &mut impl Write) -> io::Result<bool> {
    let Ok(file) = OpenOptions::new().read(true).write(fix).open(path) else {
        writeln!(out, "Cannot open file: {}", path.display())?;
        return Ok(false);
    };
    let Ok(metadata) = file.metadata() else {
        writeln!(out, "Cannot stat file: {}", path.display())?;
        return Ok(false);
    };
    let size = metadata.len();
    if size == 0 {
        writeln!(out, "Empty file: {}", path.display())?;
        return Ok(false);
    }
    let ok_up_to = match check(&file, size, now_ms, out) {
        Ok(Found::UpTo(ok_up_to)) => ok_up_to,
        Ok(Found::BadSnapshot) => {
            writeln!(out, "RDB preamble of AOF file is not sane, aborting.")?;
            return Ok(false);
        }
        Err(error) => {
            writeln!(out, "Cannot read file: {}: {}", path.display(), crate::os_error::text(&error))?;
            return Ok(false);
        }
    };
    let diff = size.saturating_sub(ok_up_to);
    writeln!(out, "AOF analyzed: size={size}, ok_up_to={ok_up_to}, diff={diff}")?;
    match (diff, fix) {
        (0, _) => {
            writeln!(out, "AOF is valid")?;
            Ok(true)
        }
        (_, false) => {
            writeln!(out, "AOF is not valid")?;
            Ok(false)
        }
        (_, true) => {
            writeln!(out, "This will shrink the AOF from {size} bytes, with {diff} bytes, to {ok_up_to} bytes")?;
            write!(out, "Continue? [y/N]: ")?;
            out.flush()?;
            cut(&file, ok_up_to, answers, out)
        }
    }
}

fn cut(file: &File, ok_up_to: u64, answers: &mut impl BufRead, out: &mut impl Write) -> io::Result<bool> {
    let mut answer = [0];
    // Whoever cannot answer has not agreed.
    if !answers.read(&mut answer).is_ok_and(|read| read == 1 && answer[0].eq_ignore_ascii_case(&b'y')) {
        writeln!(out, "Aborting...")?;
        return Ok(false);
    }
    match file.set_len(ok_up_to).and_then(|()| file.sync_all()) {
        Ok(()) => {
            writeln!(out, "Successfully truncated AOF")?;
            Ok(true)
        }
        Err(error) => {
            writeln!(out, "Failed to truncate AOF: {}", crate::os_error::text(&error))?;
            Ok(false)
        }
    }
}

fn check(file: &File, size: u64, now_ms: i64, out: &mut impl Write) -> io::Result<Found> {
    let mut reader = match open(file, options()) {
        Ok(Start::Commands(reader)) => reader,
        Ok(Start::Snapshot(mut snapshot)) => {
            writeln!(out, "The AOF appears to start with an RDB preamble.")?;
            writeln!(out, "Checking the RDB preamble to start:")?;
            if !rdb::check(&mut snapshot, size, now_ms, out)? {
                return Ok(Found::BadSnapshot);
            }
            writeln!(out, "RDB preamble is OK, proceeding with AOF tail...")?;
            Reader::after(snapshot)
        }
        Err(error) => {
            rdb::bad_header(&error, out)?;
            return Ok(Found::BadSnapshot);
        }
    };
    let mut progress = Progress::of(size);
    loop {
        match reader.step()? {
            Step::Command(command) => progress.at(command.end),
            Step::End(outcome) => return Ok(Found::UpTo(say(outcome, size, out)?)),
        }
    }
}

/// Says how the file ends, and gives up to where it is whole.
fn say(outcome: Outcome, size: u64, out: &mut impl Write) -> io::Result<u64> {
    match outcome {
        Outcome::Complete => Ok(size),
        Outcome::Truncated { ok_up_to, end, in_transaction } => {
            let what = if in_transaction {
                "Reached EOF before reading EXEC for MULTI"
            } else {
                "Reached EOF in the middle of a command"
            };
            writeln!(out, "0x{end:16x}: {what}")?;
            Ok(ok_up_to)
        }
        Outcome::Bad { ok_up_to, offset, why } => {
            writeln!(out, "0x{offset:16x}: {why}")?;
            Ok(ok_up_to)
        }
    }
}

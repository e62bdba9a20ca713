//! MONITOR: every command, as it is about to run, in a line for those who watch.
//!
//! While nobody watches this costs a look at one counter. Lines are posted under one mutex while the command's slots are
//! held, so all monitors see one order, in which commands on one key stand as they ran. AUTH is never shown.
//! A line waits in a mailbox while clients go on, so it carries a stamp: who joins later does not see it.

use crate::config::quote;
use crate::mailbox::{Mail, Mailbox};
use commands::args::Args;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who watches, on which reactors.
#[derive(Default)]
pub struct Monitors {
    count: AtomicUsize,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    /// Counts lines.
    stamp: u64,
    by_reactor: Vec<usize>,
}

/// A command that was shown.
pub struct Line {
    /// RESP bytes.
    pub bytes: Box<[u8]>,
    /// Its number.
    pub stamp: u64,
    /// The client that sent it and has read the line before its reply; 0 for none.
    pub own: u64,
}

impl Monitors {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody watches.
    #[inline]
    pub fn are_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// One more client of `reactor` watches. It sees the lines with a higher stamp than the one returned.
    pub fn join(&self, reactor: usize) -> u64 {
        let mut watched = self.lock();
        if watched.by_reactor.len() <= reactor {
            watched.by_reactor.resize(reactor + 1, 0);
        }
        watched.by_reactor[reactor] += 1;
        self.count.fetch_add(1, Ordering::SeqCst);
        watched.stamp
    }

    /// One fewer.
    pub fn leave(&self, reactor: usize) {
        let mut watched = self.lock();
        if let Some(count) = watched.by_reactor.get_mut(reactor) {
            *count -= 1;
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Shows a command of database `db` to all who watch; `from` is its sender's address. It is the caller who shows it to
    /// the client `own`, if that is not 0.
    #[cold]
    pub fn show(&self, mailboxes: &[Mailbox], db: u32, from: &[u8], args: &Args<'_>, own: u64) -> Option<Arc<Line>> {
        if args.at(0).eq_ignore_ascii_case(b"auth") {
            return None;
        }
        let mut watched = self.lock();
        watched.stamp += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let bytes = line(now.as_secs(), now.subsec_micros(), db, from, args).into();
        let line = Arc::new(Line { bytes, stamp: watched.stamp, own });
        for (mailbox, _) in mailboxes.iter().zip(watched.by_reactor.iter()).filter(|(_, count)| **count > 0) {
            mailbox.send_message(Mail::Shown(line.clone()), line.bytes.len());
        }
        Some(line)
    }
}

fn line(seconds: u64, micros: u32, db: u32, from: &[u8], args: &Args<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(64);
    // Writing to a vector cannot fail.
    let _ = write!(line, "+{seconds}.{micros:06} [{db} ");
    line.extend_from_slice(from);
    line.push(b']');
    for arg in args.iter() {
        line.push(b' ');
        line.extend_from_slice(&quote(arg));
    }
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use resp::Arg;

    #[test]
    fn a_line_is_that_of_3_2() {
        let bytes = b"setk\"\n\x01\xff";
        let ranges = [Arg { start: 0, len: 3 }, Arg { start: 3, len: 1 }, Arg { start: 4, len: 4 }];
        let args = Args::new(bytes, &ranges);
        let line = line(17, 42, 9, b"127.0.0.1:5", &args);
        assert_eq!(
            String::from_utf8_lossy(&line),
            "+17.000042 [9 127.0.0.1:5] \"set\" \"k\" \"\\\"\\n\\x01\\xff\"\r\n"
        );
    }
}

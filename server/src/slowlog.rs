//! The slow log: commands that took longer than `slowlog-log-slower-than`, the newest first.
//!
//! Entries are cut to the sizes of 3.2, so the log's memory is bounded by `slowlog-max-len`. A plain mutex: whoever comes
//! here was slow already.

use commands::args::Args;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Arguments of a command that are kept; the last place tells how many more there were.
const ARGUMENTS_MAX: usize = 32;
/// Bytes of an argument that are kept.
const ARGUMENT_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts up from 0, also over a reset.
    pub id: u64,
    /// When it ran, Unix seconds.
    pub at_s: i64,
    /// How long, microseconds.
    pub took_us: u64,
    /// Its arguments, cut.
    pub args: Vec<Vec<u8>>,
}

/// The log.
#[derive(Default)]
pub struct SlowLog(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next_id: u64,
    entries: VecDeque<Entry>,
}

impl SlowLog {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a command, and drops the oldest ones beyond `max`.
    pub fn add(&self, args: &Args<'_>, at_s: i64, took_us: u64, max: u64) {
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.entries.push_front(Entry { id, at_s, took_us, args: cut(args) });
        inner.entries.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    }

    /// Drops the oldest entries beyond `max`.
    pub fn shorten(&self, max: u64) {
        self.lock().entries.truncate(usize::try_from(max).unwrap_or(usize::MAX));
    }

    /// Empties it.
    pub fn reset(&self) {
        self.lock().entries.clear();
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<Entry> {
        self.lock().entries.iter().take(count).cloned().collect()
    }
}

fn cut(args: &Args<'_>) -> Vec<Vec<u8>> {
    let mut kept: Vec<Vec<u8>> = args.iter().take(ARGUMENTS_MAX).map(cut_argument).collect();
    if args.len() > ARGUMENTS_MAX
        && let Some(last) = kept.last_mut()
    {
        *last = format!("... ({} more arguments)", args.len() - ARGUMENTS_MAX + 1).into_bytes();
    }
    kept
}

fn cut_argument(arg: &[u8]) -> Vec<u8> {
    match arg.get(..ARGUMENT_BYTES_MAX) {
        Some(start) if arg.len() > ARGUMENT_BYTES_MAX => {
            let more = format!("... ({} more bytes)", arg.len() - ARGUMENT_BYTES_MAX);
            [start, more.as_bytes()].concat()
        }
        _ => arg.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resp::Arg;

    fn add(log: &SlowLog, words: &[&[u8]], max: u64) {
        let bytes = words.concat();
        let mut start = 0;
        let ranges: Vec<Arg> = words
            .iter()
            .map(|word| {
                let range = Arg { start, len: word.len() as u32 };
                start += range.len;
                range
            })
            .collect();
        log.add(&Args::new(&bytes, &ranges), 1, 2, max);
    }

    #[test]
    fn the_newest_stand_first_and_the_oldest_go() {
        let log = SlowLog::default();
        for word in [b"a", b"b", b"c"] {
            add(&log, &[word], 2);
        }
        let ids: Vec<u64> = log.newest(9).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [2, 1]);
        log.reset();
        add(&log, &[b"d"], 2);
        assert_eq!(log.newest(1)[0].id, 3);
        log.shorten(0);
        assert!(log.is_empty());
    }

    #[test]
    fn many_and_long_arguments_are_cut() {
        let log = SlowLog::default();
        add(&log, &[&b"x"[..]; 32], 8);
        assert_eq!(log.newest(1)[0].args.len(), 32);
        assert_eq!(log.newest(1)[0].args[31], b"x");
        add(&log, &[&b"x"[..]; 33], 8);
        assert_eq!(log.newest(1)[0].args[31], b"... (2 more arguments)");
        add(&log, &[&[b'y'; 129], &[b'z'; 128]], 8);
        let args = log.newest(1)[0].args.clone();
        assert!(args[0].ends_with(b"y... (1 more bytes)") && args[1] == [b'z'; 128]);
    }
}

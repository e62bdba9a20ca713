//! The oplog: every change of every keyspace, once, in the RESP form in which Redis 3.2 propagates it.
//!
//! Why effects and not commands: SPOP, INCRBYFLOAT and a relative EXPIRE would give another result elsewhere or later,
//! so what is stored is the member popped, the sum reached, and the moment in absolute milliseconds.
//!
//! ```text
//!      oldest          AOF cursor      replica cursor        end
//!        |----- kept -------|----------------|----------------|   (1 MiB segments; offsets only grow)
//! ```
//! 1. A record's offset is fixed before its client reads the reply, while the slots of its keys are held: the log's
//!    order restricted to a slot is the order of execution in it.
//! 2. The effects of one command or transaction are appended in one call, so they are adjacent.
//! 3. Appending never waits for a cursor. A cursor overtaken by `oldest` is told [`TooOld`] and needs a snapshot.

use crate::raw::log_segment::{Segment, Writer};
use crate::raw::spin::Spin;
use crate::raw::sync::{AtomicBool, AtomicU64, Ordering};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of one segment.
#[cfg(not(loom))]
const SEGMENT_BYTES: usize = 1 << 20;
#[cfg(loom)]
const SEGMENT_BYTES: usize = 8;

/// A position in the stream of effects: bytes since the server began.
pub type Offset = u64;

/// The log. One for all databases and threads.
pub struct Oplog {
    inner: Spin<Inner>,
    end: AtomicU64,
    on: AtomicBool,
}

struct Inner {
    segments: VecDeque<Kept>,
    writer: Option<Writer>,
    /// The database that a reader of the stream is in, or none when it must be told.
    db: Option<u32>,
    end: Offset,
    keep_bytes: u64,
}

struct Kept {
    start: Offset,
    segment: Arc<Segment>,
}

/// A cursor was overtaken: what it wants is no longer kept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {wanted} is older than the log, which starts at {oldest}")]
pub struct TooOld {
    /// What the cursor asked for.
    pub wanted: Offset,
    /// Where the log begins now.
    pub oldest: Offset,
}

impl Oplog {
    /// An empty log that keeps about `keep_bytes` and is off.
    pub fn new(keep_bytes: u64) -> Self {
        let inner = Inner { segments: VecDeque::new(), writer: None, db: None, end: 0, keep_bytes };
        Oplog { inner: Spin::new(inner), end: AtomicU64::new(0), on: AtomicBool::new(false) }
    }

    /// Whether anybody wants effects. Changed only by a holder of all slots, so that a holder of one may rely on it.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Turns the log on or off. The caller holds all slots.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Release);
        self.inner.lock().db = None;
    }

    /// The offset after the last record.
    pub fn end(&self) -> Offset {
        self.end.load(Ordering::Acquire)
    }

    /// Appends whole records that apply to database `db`; the caller holds the slots that they changed. Returns the
    /// offset after them.
    pub fn append(&self, db: u32, records: &[u8]) -> Offset {
        let mut inner = self.inner.lock();
        if inner.db != Some(db) {
            inner.db = Some(db);
            let number = db.to_string();
            inner.push(format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{number}\r\n", number.len()).as_bytes());
        }
        inner.push(records);
        self.end.store(inner.end, Ordering::Release);
        inner.end
    }

    /// Makes the next record begin with a SELECT, for a reader that starts at the current end. Returns that offset.
    pub fn cut(&self) -> Offset {
        let mut inner = self.inner.lock();
        inner.db = None;
        inner.end
    }

    /// The oldest offset that can still be read.
    pub fn oldest(&self) -> Offset {
        let inner = self.inner.lock();
        inner.segments.front().map_or(inner.end, |kept| kept.start)
    }

    /// A cursor at `offset`.
    pub fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { offset, segment: None }
    }
}

impl Inner {
    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.writer.as_ref().is_none_or(|writer| writer.room() == 0) {
                let writer = Segment::create(SEGMENT_BYTES);
                self.segments.push_back(Kept { start: self.end, segment: writer.segment() });
                self.writer = Some(writer);
                self.trim();
            }
            let Some(writer) = &mut self.writer else { return };
            let written = writer.append(bytes);
            bytes = &bytes[written..];
            self.end += written as u64;
        }
    }

    /// Drops segments that end before the kept tail; readers that are in one keep it alive.
    fn trim(&mut self) {
        while self.segments.len() > 1 && self.segments[1].start + self.keep_bytes < self.end {
            self.segments.pop_front();
        }
    }
}

/// A reader's place in the log.
pub struct Cursor {
    offset: Offset,
    segment: Option<Kept>,
}

impl Cursor {
    /// The offset of the next byte it will read.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Hands the next piece (up to the end of a segment) to `read`, which says how many bytes it took. Returns that
    /// number; 0 at the end of the log.
    pub fn read(&mut self, log: &Oplog, read: impl FnOnce(&[u8]) -> usize) -> Result<usize, TooOld> {
        if self.offset >= log.end() {
            return Ok(0);
        }
        let at_its_end = |kept: &Kept| self.offset - kept.start >= SEGMENT_BYTES as u64;
        if self.segment.as_ref().is_none_or(at_its_end) {
            self.segment = Some(self.find(log)?);
        }
        let Some(kept) = &self.segment else { return Ok(0) };
        let from = (self.offset - kept.start) as usize;
        // Only whole records: the end is published after all of a call's bytes.
        let until = (log.end() - kept.start).min(SEGMENT_BYTES as u64) as usize;
        let taken = kept.segment.read(from, |bytes| {
            let whole = &bytes[..bytes.len().min(until.saturating_sub(from))];
            read(whole).min(whole.len())
        });
        self.offset += taken as u64;
        Ok(taken)
    }

    fn find(&self, log: &Oplog) -> Result<Kept, TooOld> {
        let inner = log.inner.lock();
        let after = inner.segments.partition_point(|kept| kept.start <= self.offset);
        match after.checked_sub(1).and_then(|i| inner.segments.get(i)) {
            Some(kept) => Ok(Kept { start: kept.start, segment: kept.segment.clone() }),
            None => {
                Err(TooOld { wanted: self.offset, oldest: inner.segments.front().map_or(inner.end, |kept| kept.start) })
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn read_all(cursor: &mut Cursor, log: &Oplog) -> Vec<u8> {
        let mut all = Vec::new();
        while cursor
            .read(log, |bytes| {
                all.extend_from_slice(bytes);
                bytes.len()
            })
            .expect("kept")
            > 0
        {}
        all
    }

    #[test]
    fn a_select_comes_before_the_first_record_of_another_database() {
        let log = Oplog::new(1 << 30);
        log.append(0, b"a");
        log.append(0, b"b");
        log.append(10, b"c");
        let expected = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\nab*2\r\n$6\r\nSELECT\r\n$2\r\n10\r\nc";
        assert_eq!(read_all(&mut log.cursor(0), &log), expected);
        let at = log.cut();
        log.append(10, b"d");
        assert_eq!(read_all(&mut log.cursor(at), &log), b"*2\r\n$6\r\nSELECT\r\n$2\r\n10\r\nd");
    }

    #[test]
    fn cursors_cross_segments_and_are_told_when_they_were_overtaken() {
        let log = Oplog::new(2 << 20);
        let record: Vec<u8> = (0..100_003u32).map(|i| i as u8).collect();
        let mut cursor = log.cursor(0);
        let mut all = Vec::new();
        for _ in 0..30 {
            log.append(0, &record);
            all.extend(read_all(&mut cursor, &log));
        }
        assert_eq!(all.len() as u64, log.end());
        assert!(all[23..].chunks(record.len()).all(|chunk| chunk == record));
        for _ in 0..30 {
            log.append(0, &record);
        }
        let oldest = log.oldest();
        assert!(oldest > 0 && log.end() - oldest <= 4 << 20);
        let stale = log.cursor(5).read(&log, |bytes| bytes.len());
        assert_eq!(stale, Err(TooOld { wanted: 5, oldest }));
        // The cursor that was in time keeps its segment alive, and falls behind only after it.
        assert_eq!(cursor.read(&log, |bytes| bytes.len().min(1)), Ok(1));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    /// A reader sees whole records in order, across the hand-over from one segment to the next.
    #[test]
    fn loom_a_reader_sees_whole_records() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let log = Arc::new(Oplog::new(1 << 20));
            log.append(0, b"");
            let start = log.end();
            let reader = {
                let log = log.clone();
                loom::thread::spawn(move || {
                    let mut cursor = log.cursor(start);
                    let mut seen = Vec::new();
                    for _ in 0..3 {
                        let read = cursor.read(&log, |bytes| {
                            seen.extend_from_slice(bytes);
                            bytes.len()
                        });
                        assert!(read.is_ok());
                    }
                    seen
                })
            };
            log.append(0, b"abc");
            log.append(0, b"def");
            let seen = reader.join().expect("no panic");
            assert!(b"abcdef".starts_with(&seen[..]), "{seen:?}");
            let mut rest = Vec::new();
            let mut cursor = log.cursor(start);
            while cursor
                .read(&log, |bytes| {
                    rest.extend_from_slice(bytes);
                    bytes.len()
                })
                .expect("kept")
                > 0
            {}
            assert_eq!(rest, b"abcdef");
        });
    }
}

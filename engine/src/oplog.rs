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
//! 4. A pinned cursor is not overtaken: the log keeps all from it on, so its owner lets go of one that lags too far.
//! 5. What not every reader gets ([`Records`]) stands beside the log, for the file's writer: replicas never see it, and
//!    it moves no offset. It is forgotten when the writer has let go of it, or the log of the bytes around it.
//! 6. On a replica the log is its primary's stream byte for byte, so offsets mean the same on both; no effects of its own
//!    are in it, but beside it, for the file. Whose the log is changes under its lock, and every append looks there: what
//!    holds no slot (SCRIPT LOAD, WAIT) may have found the log its own and come to append only when it is a primary's
//!    stream, or the other way round.
//! 7. A primary's transaction is appended whole, so that nothing of our own comes to stand within it in the file.

use crate::effects::encode;
use crate::raw::log_segment::{Segment, Writer};
use crate::raw::spin::Spin;
use crate::raw::sync::{AtomicU32, AtomicU64, Ordering};
use crate::records::{Apart, FilePlace, Records, What};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// Bytes of one segment.
#[cfg(not(loom))]
const SEGMENT_BYTES: usize = 1 << 20;
#[cfg(loom)]
const SEGMENT_BYTES: usize = 8;

/// No SELECT is longer.
const SELECT_BYTES_MAX: usize = 40;

/// A position in the stream of effects: bytes since the server began.
pub type Offset = u64;

/// The log. One for all databases and threads.
pub struct Oplog {
    inner: Spin<Inner>,
    end: AtomicU64,
    /// [`FilePlace::of_file`] of the end.
    file_end: AtomicU64,
    /// The database that the primary's stream is in, when the log is one. Changed under the lock.
    stream_db: AtomicU32,
    /// Who wants effects ([`Consumer`]), and [`FOLLOWING`].
    wanted: AtomicU32,
    /// Counts restarts: a cursor of another epoch is too old, whatever its offset.
    epoch: AtomicU32,
    /// What the parts beside the log cost, bytes; 0 without any.
    apart_bytes: AtomicU64,
    /// Bytes of all segments.
    kept_bytes: AtomicU64,
    /// About how much is kept for readers that may come.
    keep_bytes: AtomicU64,
}

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// The append-only file.
    Aof = 1,
    /// Replicas, or the backlog kept for them.
    Replicas = 2,
}

/// The log is a primary's stream: own effects do not belong in it.
const FOLLOWING: u32 = 1 << 31;
/// Nothing is appended any more: with [`FOLLOWING`], and then there is no stream either.
const CLOSED: u32 = 1 << 30;

struct Inner {
    segments: VecDeque<Kept>,
    writer: Option<Writer>,
    /// The database that a reader of the log is in, or none when it must be told. Of a primary's stream: the file's.
    db: Option<u32>,
    end: Offset,
    /// Bytes of [`What::Own`] ever.
    own: u64,
    keep_bytes: u64,
    /// Offsets of pinned cursors, while those live.
    pins: Vec<Weak<AtomicU64>>,
    /// What is different for the file, by offset.
    apart: VecDeque<Apart>,
    /// Parts from here on are wanted, whatever the file's writer has let go of.
    apart_held: Option<FilePlace>,
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
        let inner = Inner {
            segments: VecDeque::new(),
            writer: None,
            db: None,
            end: 0,
            own: 0,
            keep_bytes,
            pins: Vec::new(),
            apart: VecDeque::new(),
            apart_held: None,
        };
        Oplog {
            inner: Spin::new(inner),
            end: AtomicU64::new(0),
            file_end: AtomicU64::new(0),
            stream_db: AtomicU32::new(0),
            wanted: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            apart_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            keep_bytes: AtomicU64::new(keep_bytes),
        }
    }

    /// Whether anybody wants effects. Changed only by a holder of all slots, so that a holder of one may rely on it.
    #[inline]
    pub fn is_on(&self) -> bool {
        // Not 0, and not a follower's.
        (1..FOLLOWING).contains(&self.wanted.load(Ordering::Relaxed))
    }

    /// Whether anybody wants the records of what is done now: of a primary's commands, which `of_stream` means, nobody while
    /// they are in the log as they came. As certain as [`Oplog::is_on`].
    #[inline]
    pub fn wants_records(&self, of_stream: bool) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        (1..FOLLOWING).contains(&wanted) || wanted & FOLLOWING != 0 && wanted & Consumer::Aof as u32 != 0 && !of_stream
    }

    /// Says whether `who` wants the log. The caller holds all slots.
    pub fn want(&self, who: Consumer, wanted: bool) {
        let bit = who as u32;
        match wanted {
            true => self.wanted.fetch_or(bit, Ordering::Release),
            false => self.wanted.fetch_and(!bit, Ordering::Release),
        };
        let mut inner = self.inner.lock();
        inner.db = None;
        if who == Consumer::Aof {
            self.drop_apart(&mut inner, |_| true);
        }
    }

    /// Whether `who` wants the log.
    pub fn is_wanted_by(&self, who: Consumer) -> bool {
        self.wanted.load(Ordering::Relaxed) & who as u32 != 0
    }

    /// Says whether the log is a primary's stream from now on. The caller holds all slots.
    pub fn follow(&self, following: bool) {
        let mut inner = self.inner.lock();
        match following {
            true => self.wanted.fetch_or(FOLLOWING, Ordering::Release),
            false => self.wanted.fetch_and(!FOLLOWING, Ordering::Release),
        };
        inner.db = None;
    }

    /// Whether nothing of our own belongs in the log; certain under its lock only.
    fn is_followers(&self, _locked: &Inner) -> bool {
        self.wanted.load(Ordering::Relaxed) & FOLLOWING != 0
    }

    /// Whether what a primary says belongs in it.
    fn is_stream(&self, _locked: &Inner) -> bool {
        self.wanted.load(Ordering::Relaxed) & (FOLLOWING | CLOSED) == FOLLOWING
    }

    /// The database that the primary's stream is in, when the log is one.
    pub fn stream_db(&self) -> u32 {
        self.stream_db.load(Ordering::Acquire)
    }

    /// Nothing is appended from now on, whatever is still done: what was noted of the end holds. The caller holds all slots.
    pub fn close(&self) {
        let _locked = self.inner.lock();
        self.wanted.store(FOLLOWING | CLOSED, Ordering::Release);
    }

    /// Forgets everything and goes on at `offset`: another history begins, whose stream is in database `stream_db` there.
    /// The caller holds all slots.
    pub fn restart(&self, offset: Offset, stream_db: u32) {
        let mut inner = self.inner.lock();
        self.epoch.fetch_add(1, Ordering::Release);
        inner.segments.clear();
        self.kept_bytes.store(0, Ordering::Relaxed);
        inner.pins.clear();
        self.drop_apart(&mut inner, |_| true);
        inner.writer = None;
        inner.db = None;
        // Whoever waits for a place of before must not wait for what is to come.
        inner.own = inner.own.max(inner.place().of_file().saturating_sub(offset));
        inner.end = offset;
        self.stream_db.store(stream_db, Ordering::Release);
        self.publish(&inner);
    }

    fn publish(&self, inner: &Inner) {
        self.file_end.store(inner.place().of_file(), Ordering::Release);
        self.end.store(inner.end, Ordering::Release);
    }

    /// Keeps about `keep_bytes` from now on.
    pub fn set_keep_bytes(&self, keep_bytes: u64) {
        self.inner.lock().keep_bytes = keep_bytes;
        self.keep_bytes.store(keep_bytes, Ordering::Relaxed);
    }

    /// The offset after the last record.
    pub fn end(&self) -> Offset {
        self.end.load(Ordering::Acquire)
    }

    /// What the file is to have by now, as [`FilePlace::of_file`]. It never goes back.
    #[inline]
    pub fn file_end(&self) -> u64 {
        self.file_end.load(Ordering::Acquire)
    }

    /// The place of the end.
    pub fn place(&self) -> FilePlace {
        self.inner.lock().place()
    }

    /// Appends whole records that apply to database `db` and leave it selected; the caller holds the slots that they changed.
    /// Returns [`FilePlace::of_file`] after them. Of a primary's stream they are no part: then they stand beside it if the file
    /// is to have them, or else are not kept, and it returns nothing.
    pub fn append(&self, db: u32, records: &[u8]) -> Option<u64> {
        let mut inner = self.inner.lock();
        if self.is_followers(&inner) {
            return self.note_own(&mut inner, db, records);
        }
        inner.select(db);
        Some(self.push(&mut inner, records))
    }

    /// As [`Oplog::append`], of records that need not all be for every reader.
    #[inline]
    pub fn append_records(&self, db: u32, records: &Records) -> Option<u64> {
        if records.apart().is_empty() { self.append(db, records.bytes()) } else { self.append_apart(db, records) }
    }

    #[cold]
    fn append_apart(&self, db: u32, records: &Records) -> Option<u64> {
        let mut inner = self.inner.lock();
        if self.is_followers(&inner) {
            return self.note_own(&mut inner, db, &records.of_file());
        }
        inner.select(db);
        if self.is_wanted_by(Consumer::Aof) {
            let end = inner.end;
            for part in records.apart() {
                self.note_apart(&mut inner, Apart { at: end + part.at, what: part.what.clone() });
            }
        }
        Some(self.push(&mut inner, records.bytes()))
    }

    /// Appends bytes of our own that are for replicas only and mean the same in any database (PING), unless the log has
    /// become a primary's stream.
    pub fn append_for_replicas(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        if !self.is_followers(&inner) {
            self.push_for_replicas(&mut inner, bytes);
        }
    }

    /// Appends bytes of the stream that this log follows, which is in database `db` after them, unless it follows none any
    /// more; a transaction comes whole. The caller holds the slots that they changed.
    pub fn append_stream(&self, bytes: &[u8], db: u32) {
        let mut inner = self.inner.lock();
        if self.is_stream(&inner) && !bytes.is_empty() {
            inner.db = Some(db);
            self.stream_db.store(db, Ordering::Release);
            self.push(&mut inner, bytes);
        }
    }

    /// As [`Oplog::append_stream`], of what the file has to put otherwise: as `records`, which apply to database `at` and leave
    /// it selected. Without any the file has nothing of it.
    #[cold]
    pub fn append_stream_otherwise(&self, bytes: &[u8], db: u32, (at, records): (u32, &[u8])) {
        let mut inner = self.inner.lock();
        if !self.is_stream(&inner) || bytes.is_empty() {
            return;
        }
        self.push_for_replicas(&mut inner, bytes);
        self.stream_db.store(db, Ordering::Release);
        if !records.is_empty() {
            self.note_own(&mut inner, at, records);
        } else if inner.db != Some(db) {
            // The stream has selected another one in what the file does not get.
            let mut selects = Vec::new();
            select(db, &mut selects);
            self.note_own(&mut inner, db, &selects);
        }
        inner.db = Some(db);
    }

    /// As [`Oplog::append_stream`], of what a file need not repeat, and what selects no database.
    pub fn append_stream_for_replicas(&self, bytes: &[u8]) {
        let mut inner = self.inner.lock();
        if self.is_stream(&inner) {
            self.push_for_replicas(&mut inner, bytes);
        }
    }

    fn push_for_replicas(&self, inner: &mut Inner, bytes: &[u8]) {
        if self.is_wanted_by(Consumer::Aof) {
            let at = inner.end;
            self.note_apart(inner, Apart { at, what: What::Replicas(bytes.len() as u64) });
        }
        self.push(inner, bytes);
    }

    /// Returns [`FilePlace::of_file`] after them.
    fn push(&self, inner: &mut Inner, bytes: &[u8]) -> u64 {
        if bytes.len() > SEGMENT_BYTES {
            // Copying it takes a while, in which others ask.
            self.kept_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        if inner.push(bytes) {
            self.trimmed(inner);
        }
        self.publish(inner);
        inner.place().of_file()
    }

    /// The log has other segments than before.
    fn trimmed(&self, inner: &mut Inner) {
        let oldest = inner.oldest();
        self.drop_apart(inner, |part| part.end() <= oldest);
        self.kept_bytes.store((inner.segments.len() * SEGMENT_BYTES) as u64, Ordering::Relaxed);
    }

    /// Lets go of what readers have read since the last segment was begun. To be called now and then: what follows a large
    /// record may be long in coming.
    pub fn trim(&self) {
        let keep = self.keep_bytes.load(Ordering::Relaxed) + 2 * SEGMENT_BYTES as u64;
        if self.kept_bytes.load(Ordering::Relaxed) <= keep {
            return;
        }
        let gone: Vec<Kept> = {
            let mut inner = self.inner.lock();
            let count = inner.unwanted();
            let gone = inner.segments.drain(..count).collect();
            self.trimmed(&mut inner);
            gone
        };
        // Not under the lock: there may be many.
        drop(gone);
    }

    /// What a replica has changed by itself, at this place of the stream, for the file.
    #[cold]
    fn note_own(&self, inner: &mut Inner, db: u32, records: &[u8]) -> Option<u64> {
        if records.is_empty() || !self.is_wanted_by(Consumer::Aof) {
            return None;
        }
        let back = self.stream_db();
        let mut bytes = Vec::with_capacity(records.len() + 2 * SELECT_BYTES_MAX);
        if inner.db != Some(db) {
            select(db, &mut bytes);
        }
        bytes.extend_from_slice(records);
        if db != back {
            select(back, &mut bytes);
        }
        inner.db = Some(back);
        let (at, before, len) = (inner.end, inner.own, bytes.len() as u64);
        self.note_apart(inner, Apart { at, what: What::Own { before, bytes: bytes.into() } });
        inner.own += len;
        self.publish(inner);
        Some(inner.place().of_file())
    }

    // --- what only some get

    fn note_apart(&self, inner: &mut Inner, part: Apart) {
        if let (Some(last), What::Replicas(more)) = (inner.apart.back_mut(), &part.what)
            && let What::Replicas(len) = &mut last.what
            && last.at + *len == part.at
        {
            *len += more;
            return;
        }
        self.apart_bytes.fetch_add(part.cost(), Ordering::Relaxed);
        inner.apart.push_back(part);
    }

    fn drop_apart(&self, inner: &mut Inner, goes: impl Fn(&Apart) -> bool) {
        while let Some(part) = inner.apart.front().filter(|part| goes(part)) {
            self.apart_bytes.fetch_sub(part.cost(), Ordering::Relaxed);
            inner.apart.pop_front();
        }
    }

    /// What parts beside the log cost to keep, bytes.
    #[inline]
    pub fn apart_bytes(&self) -> u64 {
        self.apart_bytes.load(Ordering::Relaxed)
    }

    /// The parts from `from` on, up to and without `until`; both are ends of records.
    pub fn apart(&self, from: FilePlace, until: FilePlace) -> Vec<Apart> {
        if self.apart_bytes() == 0 {
            return Vec::new();
        }
        self.inner.lock().apart(from, until)
    }

    /// What a writer of the file has before it, who is at `cursor` and has so much of what is a replica's own: the end, and
    /// the parts up to there. Both in one look: a replica's own part may stand at the very end.
    pub fn rest(&self, cursor: &Cursor, own: u64) -> Result<(FilePlace, Vec<Apart>), TooOld> {
        let inner = self.inner.lock();
        if cursor.epoch != self.epoch.load(Ordering::Relaxed) {
            return Err(TooOld { wanted: cursor.offset, oldest: inner.oldest() });
        }
        let until = inner.place();
        let parts = inner.apart(FilePlace { offset: cursor.offset, own }, until);
        Ok((until, parts))
    }

    /// The file's writer will not ask for parts before `place` again.
    pub fn let_apart_go(&self, place: FilePlace) {
        if self.apart_bytes() != 0 {
            let mut inner = self.inner.lock();
            let held = inner.apart_held.filter(|held| held.of_file() < place.of_file());
            self.drop_apart(&mut inner, |part| part.is_before(held.unwrap_or(place)));
        }
    }

    /// Keeps parts from `place` on until told otherwise, as long as the log keeps the bytes around them.
    pub fn hold_apart(&self, place: Option<FilePlace>) {
        self.inner.lock().apart_held = place;
    }

    /// Bytes of memory that the log takes for readers that are behind: all of it but the backlog that is asked for.
    #[inline]
    pub fn uncounted_bytes(&self) -> u64 {
        let kept = self.kept_bytes.load(Ordering::Relaxed) + self.apart_bytes();
        let backlog = if self.is_wanted_by(Consumer::Replicas) { self.keep_bytes.load(Ordering::Relaxed) } else { 0 };
        kept.saturating_sub(backlog)
    }

    /// Makes the next record begin with a SELECT, for a reader that starts at the current end. Returns that place.
    pub fn cut(&self) -> FilePlace {
        let mut inner = self.inner.lock();
        inner.db = None;
        inner.place()
    }

    /// The oldest offset that can still be read.
    pub fn oldest(&self) -> Offset {
        self.inner.lock().oldest()
    }

    /// A cursor at `offset`.
    pub fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { offset, epoch: self.epoch.load(Ordering::Acquire), segment: None, pin: None }
    }

    /// A cursor at `offset` that is not overtaken while it lives, if all from there on is still kept.
    pub fn pinned(&self, offset: Offset) -> Result<Cursor, TooOld> {
        let mut inner = self.inner.lock();
        let oldest = inner.oldest();
        if offset < oldest || offset > inner.end {
            return Err(TooOld { wanted: offset, oldest });
        }
        let pin = Arc::new(AtomicU64::new(offset));
        inner.pins.push(Arc::downgrade(&pin));
        Ok(Cursor { offset, epoch: self.epoch.load(Ordering::Relaxed), segment: None, pin: Some(pin) })
    }
}

impl Inner {
    fn place(&self) -> FilePlace {
        FilePlace { offset: self.end, own: self.own }
    }

    fn oldest(&self) -> Offset {
        self.segments.front().map_or(self.end, |kept| kept.start)
    }

    fn apart(&self, from: FilePlace, until: FilePlace) -> Vec<Apart> {
        let first = self.apart.partition_point(|part| part.is_before(from));
        let parts = self.apart.iter().skip(first).take_while(|part| !part.is_behind(until));
        // One for replicas may have begun before, and may go on.
        parts.map(|part| part.clip(from.offset, until.offset)).collect()
    }

    fn select(&mut self, db: u32) {
        if self.db != Some(db) {
            self.db = Some(db);
            let mut bytes = Vec::with_capacity(SELECT_BYTES_MAX);
            select(db, &mut bytes);
            self.push(&bytes);
        }
    }

    /// True if a segment was begun.
    fn push(&mut self, mut bytes: &[u8]) -> bool {
        let mut begun = false;
        while !bytes.is_empty() {
            if self.writer.as_ref().is_none_or(|writer| writer.room() == 0) {
                let writer = Segment::create(SEGMENT_BYTES);
                self.segments.push_back(Kept { start: self.end, segment: writer.segment() });
                self.writer = Some(writer);
                let gone = self.unwanted();
                self.segments.drain(..gone);
                begun = true;
            }
            let Some(writer) = &mut self.writer else { break };
            let written = writer.append(bytes);
            bytes = &bytes[written..];
            self.end += written as u64;
        }
        begun
    }

    /// How many segments end before the kept tail and before every pin; readers that are in one keep it alive.
    fn unwanted(&mut self) -> usize {
        let mut keep = self.end.saturating_sub(self.keep_bytes);
        self.pins.retain(|pin| match pin.upgrade() {
            Some(at) => {
                keep = keep.min(at.load(Ordering::Relaxed));
                true
            }
            None => false,
        });
        self.segments.iter().skip(1).take_while(|next| next.start < keep).count()
    }
}

fn select(db: u32, to: &mut Vec<u8>) {
    encode([&b"SELECT"[..], db.to_string().as_bytes()].into_iter(), to);
}

/// A reader's place in the log.
pub struct Cursor {
    offset: Offset,
    epoch: u32,
    segment: Option<Kept>,
    /// Tells the log how far this cursor is; it keeps the rest.
    pin: Option<Arc<AtomicU64>>,
}

impl Cursor {
    /// The offset of the next byte it will read.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Hands the next piece (up to the end of a segment) to `read`, which says how many bytes it took. Returns that
    /// number; 0 at the end of the log.
    pub fn read(&mut self, log: &Oplog, read: impl FnOnce(&[u8]) -> usize) -> Result<usize, TooOld> {
        if self.epoch != log.epoch.load(Ordering::Acquire) {
            return Err(TooOld { wanted: self.offset, oldest: log.oldest() });
        }
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
        let until = log.end().saturating_sub(kept.start).min(SEGMENT_BYTES as u64) as usize;
        let taken = kept.segment.read(from, |bytes| {
            let whole = &bytes[..bytes.len().min(until.saturating_sub(from))];
            read(whole).min(whole.len())
        });
        self.offset += taken as u64;
        if let Some(pin) = &self.pin {
            pin.store(self.offset, Ordering::Relaxed);
        }
        Ok(taken)
    }

    fn find(&self, log: &Oplog) -> Result<Kept, TooOld> {
        let inner = log.inner.lock();
        let after = inner.segments.partition_point(|kept| kept.start <= self.offset);
        match after.checked_sub(1).and_then(|i| inner.segments.get(i)) {
            Some(kept) => Ok(Kept { start: kept.start, segment: kept.segment.clone() }),
            None => Err(TooOld { wanted: self.offset, oldest: inner.oldest() }),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod own_tests;
#[cfg(all(test, not(loom)))]
mod trim_tests;

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
        let at = log.cut().offset;
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

#[cfg(all(test, not(loom)))]
mod apart_tests {
    use super::*;
    use crate::records::Reach;

    /// A place of a log that nothing stands beside that is a replica's own.
    fn at(offset: Offset) -> FilePlace {
        FilePlace { offset, own: 0 }
    }

    fn records() -> Records {
        let mut records = Records::default();
        for (reach, text) in
            [(Reach::All, "<"), (Reach::File, "file"), (Reach::Replicas, "replicas"), (Reach::All, ">")]
        {
            records.push(reach, |to| to.extend_from_slice(text.as_bytes()));
        }
        records
    }

    #[test]
    fn what_only_some_get_stands_beside_the_log_while_somebody_writes_the_file() {
        let log = Oplog::new(1 << 20);
        log.want(Consumer::Replicas, true);
        log.append_records(0, &records());
        assert_eq!(log.apart(FilePlace::default(), log.place()), []);
        log.want(Consumer::Aof, true);
        log.append(0, b"");
        let from = log.end();
        assert_eq!(log.append_records(0, &records()), Some(from + 10), "what the file gets has no place in the stream");
        let parts = [
            Apart { at: from + 1, what: What::File(b"file"[..].into()) },
            Apart { at: from + 1, what: What::Replicas(8) },
        ];
        assert_eq!(log.apart(at(from), log.place()), parts);
        assert_eq!(log.apart(log.place(), at(log.end() + 1)), []);
        log.hold_apart(Some(at(from)));
        log.let_apart_go(log.place());
        assert_eq!(log.apart(at(from), log.place()), parts);
        log.hold_apart(None);
        log.let_apart_go(log.place());
        assert_eq!((log.apart(at(from), log.place()), log.apart_bytes()), (vec![], 0));
    }

    #[test]
    fn it_goes_with_the_bytes_around_it() {
        let log = Oplog::new(1 << 20);
        log.want(Consumer::Aof, true);
        log.append_records(0, &records());
        log.append_for_replicas(b"ping");
        log.append_for_replicas(b"ping");
        assert_eq!(log.apart(FilePlace::default(), log.place()).len(), 3, "neighbours are one part");
        let middle = log.end() - 4;
        let part = Apart { at: middle - 1, what: What::Replicas(2) };
        assert_eq!(log.apart(at(middle - 1), at(middle + 1)), [part]);
        for _ in 0..4 {
            log.append(0, &vec![b'x'; 1 << 20]);
        }
        assert!(log.oldest() > 0 && log.uncounted_bytes() >= 1 << 20);
        assert_eq!(log.apart_bytes(), 0);
        log.want(Consumer::Replicas, true);
        assert!(log.uncounted_bytes() <= 2 << 20, "the backlog counts");
        log.append_records(0, &records());
        log.restart(7, 0);
        assert_eq!(log.apart_bytes(), 0);
    }
}

#[cfg(all(test, not(loom)))]
mod following_tests {
    use super::*;

    #[test]
    fn a_pinned_cursor_is_never_overtaken_and_lets_go_when_dropped() {
        let log = Oplog::new(1 << 20);
        log.append(0, b"first");
        let mut pinned = log.pinned(0).expect("kept");
        let record = vec![b'x'; 1 << 20];
        for _ in 0..8 {
            log.append(0, &record);
        }
        assert_eq!(log.oldest(), 0);
        assert_eq!(pinned.read(&log, |bytes| bytes.len().min(1)), Ok(1));
        drop(pinned);
        log.append(0, &record);
        assert!(log.oldest() > 0);
        assert!(log.pinned(0).is_err());
    }

    #[test]
    fn after_a_restart_old_cursors_are_too_old_and_offsets_go_on_as_told() {
        let log = Oplog::new(1 << 20);
        log.append(0, b"ours");
        let mut cursor = log.cursor(0);
        log.follow(true);
        log.restart(1000, 0);
        log.append_stream(b"theirs", 0);
        assert_eq!(log.end(), 1006);
        assert!(cursor.read(&log, |bytes| bytes.len()).is_err());
        let mut seen = Vec::new();
        let read = log.cursor(1000).read(&log, |bytes| {
            seen.extend_from_slice(bytes);
            bytes.len()
        });
        assert_eq!((read, &seen[..]), (Ok(6), &b"theirs"[..]));
    }

    #[test]
    fn what_is_not_of_the_stream_does_not_get_into_it_nor_the_stream_into_an_own_log() {
        let log = Oplog::new(1 << 20);
        log.want(Consumer::Replicas, true);
        log.follow(true);
        let mut apart = Records::default();
        apart.push(crate::records::Reach::Replicas, |to| to.extend_from_slice(b"late"));
        assert_eq!((log.append(0, b"late"), log.append_records(0, &apart)), (None, None));
        log.append_for_replicas(b"late");
        assert_eq!(log.end(), 0);
        log.append_stream(b"a", 0);
        log.append_stream_for_replicas(b"b");
        assert_eq!(log.end(), 2);
        log.follow(false);
        log.append_stream(b"late", 0);
        log.append_stream_for_replicas(b"late");
        assert_eq!(log.end(), 2);
    }

    #[test]
    fn a_follower_wants_no_effects_of_its_own() {
        let log = Oplog::new(1 << 20);
        assert!(!log.is_on());
        log.want(Consumer::Aof, true);
        log.want(Consumer::Replicas, true);
        log.want(Consumer::Aof, false);
        assert!(log.is_on() && !log.is_wanted_by(Consumer::Aof));
        log.follow(true);
        assert!(!log.is_on());
        log.follow(false);
        assert!(log.is_on());
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

    /// Where a follower's log was found to end, the primary's stream goes on, whatever thought the log its own just before.
    #[test]
    fn loom_nothing_of_our_own_gets_behind_the_end_that_a_primary_is_told() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let log = Arc::new(Oplog::new(1 << 20));
            log.want(Consumer::Replicas, true);
            let late = {
                let log = log.clone();
                loom::thread::spawn(move || {
                    if log.is_on() {
                        log.append_for_replicas(b"own");
                    }
                    if log.is_on() {
                        log.append(0, b"");
                    }
                })
            };
            log.follow(true);
            let told = log.end();
            log.append_stream(b"S", 0);
            late.join().expect("no panic");
            assert_eq!(log.end(), told + 1);
            let mut seen = Vec::new();
            let read = log.cursor(told).read(&log, |bytes| {
                seen.extend_from_slice(bytes);
                bytes.len()
            });
            assert_eq!((read, &seen[..]), (Ok(1), &b"S"[..]));
        });
    }
}

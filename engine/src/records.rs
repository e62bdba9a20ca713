//! Records on their way into the log, and what of them not every reader of the log gets.
//!
//! Nearly all records are for the replicas and for the append only file alike, and those are plain bytes. The exceptions
//! (PUBLISH, which only replicas carry out again; a script's `redis.set_repl`) stand beside the bytes:
//!
//! ```text
//!   bytes   | MULTI | SET a 1 | PUBLISH c m | SET d 4 | EXEC |      what replicas get
//!   apart                     ^-- Replicas -^
//!                                           ^ File: SET c 3         what the file gets besides
//! ```
//! A replica that may be written to has the same with its whole log, which is its primary's stream: what it changes by itself
//! goes to its file only, at the place where the stream was.
//!
//! ```text
//!   log     | SET a 1 (of database 3) |                               SET b 2 | ..     its primary's stream
//!   apart                             ^-- Own: SELECT 0 | DEL a | SELECT 3
//!   FilePlace    offset 0, own 0 .. offset n, own 0 .. offset n, own m .. offset k, own m
//! ```
//! 1. Parts stand in order of their places, and parts for replicas do not overlap.
//! 2. What only the file gets of an append is between two records of that, never after the last: whoever has written all
//!    of the log has written it too. That is not so of what a replica has changed by itself: how far the file is takes two
//!    numbers, a [`FilePlace`].
//! 3. A file that has own records up to a place is in the database in which the log goes on there.

use std::sync::Arc;

/// Which readers of the log get a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The replicas and the append only file.
    All,
    /// The replicas.
    Replicas,
    /// The append only file.
    File,
    /// None of them.
    Nobody,
}

/// A part that not every reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// Where: among the records' bytes, or in the log.
    pub at: u64,
    /// Who gets what.
    pub what: What,
}

/// See [`Apart`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// So many bytes from there on are for replicas only.
    Replicas(u64),
    /// These bytes, before the ones there, are for the file only.
    File(Arc<[u8]>),
    /// As [`What::File`], of a replica's own changes: there may be nothing behind them.
    Own {
        /// Bytes of such parts that there were before.
        before: u64,
        /// The records.
        bytes: Arc<[u8]>,
    },
}

/// How far the file's writer is, or anybody who wants to know whether the file has something: two places of one log compare
/// alike in each of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilePlace {
    /// In the log.
    pub offset: u64,
    /// Bytes of [`What::Own`] so far.
    pub own: u64,
}

impl FilePlace {
    /// As one number, which only grows.
    pub fn of_file(self) -> u64 {
        self.offset.saturating_add(self.own)
    }
}

impl Apart {
    /// What it costs to keep, bytes.
    pub fn cost(&self) -> u64 {
        let more = if let What::File(bytes) | What::Own { bytes, .. } = &self.what { bytes.len() } else { 0 };
        (size_of::<Apart>() + more) as u64
    }

    /// The offset after the bytes that it is about, or after the place that it has.
    pub(crate) fn end(&self) -> u64 {
        self.at + if let What::Replicas(len) = self.what { len } else { 1 }
    }

    /// Whether who is at `place` has all of it.
    pub(crate) fn is_before(&self, place: FilePlace) -> bool {
        match &self.what {
            What::Own { before, bytes } => before + bytes.len() as u64 <= place.own,
            _ => self.end() <= place.offset,
        }
    }

    /// Whether who is at `place` has none of it.
    pub(crate) fn is_behind(&self, place: FilePlace) -> bool {
        match &self.what {
            What::Own { before, .. } => *before >= place.own,
            _ => self.at >= place.offset,
        }
    }

    /// As much of it as is between `from` and `until`, where it lies in part at the least.
    pub(crate) fn clip(&self, from: u64, until: u64) -> Apart {
        let at = self.at.max(from);
        let what = match &self.what {
            What::Replicas(_) => What::Replicas(self.end().min(until) - at),
            what => what.clone(),
        };
        Apart { at, what }
    }
}

/// Bytes of memory that are kept for the next command's records.
pub const KEPT_BYTES: usize = 64 * 1024;

/// Records in order.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    apart: Vec<Apart>,
}

impl Records {
    /// What replicas get.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is different for the file.
    pub fn apart(&self) -> &[Apart] {
        &self.apart
    }

    /// Whether nobody gets anything.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.apart.is_empty()
    }

    /// Forgets all, but keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.apart.clear();
    }

    /// Forgets all, and keeps the memory only as far as it is little.
    pub fn clear_large(&mut self) {
        self.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.apart.shrink_to(KEPT_BYTES / size_of::<Apart>());
    }

    /// Makes room for so many bytes more of what replicas get.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Bytes of memory for what replicas get.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Where to [`Records::truncate`] to.
    pub fn mark(&self) -> (usize, usize) {
        (self.bytes.len(), self.apart.len())
    }

    /// Takes back what came after `mark`.
    pub fn truncate(&mut self, (bytes, apart): (usize, usize)) {
        self.bytes.truncate(bytes);
        self.apart.truncate(apart);
    }

    /// Adds what `write` writes, for `reach`.
    pub fn push(&mut self, reach: Reach, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len() as u64;
        match reach {
            Reach::All => write(&mut self.bytes),
            Reach::Nobody => {}
            Reach::Replicas => {
                write(&mut self.bytes);
                let len = self.bytes.len() as u64 - at;
                if len > 0 {
                    self.apart.push(Apart { at, what: What::Replicas(len) });
                }
            }
            Reach::File => {
                let mut bytes = Vec::new();
                write(&mut bytes);
                if !bytes.is_empty() {
                    self.apart.push(Apart { at, what: What::File(bytes.into()) });
                }
            }
        }
    }

    /// Adds others.
    pub fn extend(&mut self, others: &Records) {
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(&others.bytes);
        self.apart.extend(others.apart.iter().map(|part| Apart { at: at + part.at, what: part.what.clone() }));
    }

    /// What the file gets of all this.
    pub fn of_file(&self) -> Vec<u8> {
        let (mut file, mut at) = (Vec::new(), 0);
        for part in &self.apart {
            let until = part.at as usize;
            file.extend_from_slice(&self.bytes[at..until]);
            at = until;
            match &part.what {
                What::Replicas(len) => at += *len as usize,
                What::File(bytes) | What::Own { bytes, .. } => file.extend_from_slice(bytes),
            }
        }
        file.extend_from_slice(&self.bytes[at..]);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_gets_its_own() {
        let mut records = Records::default();
        for (reach, text) in [
            (Reach::All, "a"),
            (Reach::Replicas, "b"),
            (Reach::File, "c"),
            (Reach::Nobody, "d"),
            (Reach::Replicas, "e"),
            (Reach::All, "f"),
        ] {
            records.push(reach, |to| to.extend_from_slice(text.as_bytes()));
        }
        assert_eq!((records.bytes(), &records.of_file()[..]), (&b"abef"[..], &b"acf"[..]));
        let mut whole = Records::default();
        whole.push(Reach::All, |to| to.push(b'<'));
        whole.extend(&records);
        let mark = whole.mark();
        whole.push(Reach::File, |to| to.push(b'x'));
        whole.truncate(mark);
        assert_eq!((whole.bytes(), &whole.of_file()[..]), (&b"<abef"[..], &b"<acf"[..]));
    }
}

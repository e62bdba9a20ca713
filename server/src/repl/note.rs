//! What an RDB file says of the stream: whose history its keys belong to, and at which offset. So a server that starts
//! from it need not be sent all keys again, nor must its replicas be.
//!
//! The notes are those of Redis 4 and later; 3.2 passes over them. They are written only where the log has every change up
//! to the file's moment.

use crate::node::Node;
use engine::oplog::Consumer;
use persistence::rdb::encode::Encoder;
use replication::history::{History, ReplId};
use std::sync::atomic::Ordering;

const STREAM_DB: &[u8] = b"repl-stream-db";
const ID: &[u8] = b"repl-id";
const OFFSET: &[u8] = b"repl-offset";

/// What is to be noted in a file.
#[derive(Clone, Copy)]
pub struct Note {
    id: ReplId,
    stream_db: u32,
}

/// What a file has noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The database that the stream behind it is in.
    pub stream_db: Option<u32>,
    /// The history.
    pub id: Option<ReplId>,
    /// The offset in it.
    pub offset: Option<u64>,
}

impl Note {
    /// What a file of this moment is to say, if its keys are those of an offset of the log. All slots are held.
    pub fn of(node: &Node) -> Option<Note> {
        let state = node.repl.state();
        let is_known = match &state.primary {
            Some(_) => state.resumable,
            None => state.backlog_from.is_some(),
        };
        let stream_db = if state.primary.is_some() { node.repl.stream_db.load(Ordering::Acquire) } else { 0 };
        is_known.then_some(Note { id: state.history.id, stream_db })
    }

    /// Writes it, for a file of the moment of `offset`.
    pub fn write(&self, offset: u64, to: &mut Encoder) {
        stream_db(self.stream_db, to);
        to.aux(&String::from_utf8_lossy(ID), self.id.as_str().as_bytes());
        to.aux(&String::from_utf8_lossy(OFFSET), offset.to_string().as_bytes());
    }
}

/// Writes only in which database the stream goes on.
pub fn stream_db(db: u32, to: &mut Encoder) {
    to.aux(&String::from_utf8_lossy(STREAM_DB), db.to_string().as_bytes());
}

impl Found {
    /// Takes a note of a file, if it is one of these.
    pub fn take(&mut self, name: &[u8], value: &[u8]) {
        match name {
            STREAM_DB => self.stream_db = resp::parse_u64(value).and_then(|db| u32::try_from(db).ok()),
            ID => self.id = ReplId::parse(value),
            OFFSET => self.offset = resp::parse_u64(value),
            _ => {}
        }
    }

    /// Whether the keys are of a moment of a stream.
    pub fn is_whole(&self) -> bool {
        self.id.is_some() && self.offset.is_some()
    }

    /// Goes on from there: the keys were just loaded and nobody has been served. A replica asks its primary for what came
    /// after; a primary begins a history that branches off there, so that its replicas may go on.
    pub fn resume(&self, node: &'static Node, now_ms: i64) {
        let (Some(id), Some(offset)) = (self.id, self.offset) else { return };
        let mut guest = node.guest();
        let mut held = guest.owner().wait_privileged();
        held.add_all();
        let mut state = node.repl.state();
        if state.primary.is_some() {
            state.history = History::new(id);
            state.resumable = true;
            node.repl.stream_db.store(self.stream_db.unwrap_or(0), Ordering::Release);
        } else {
            state.history.previous = Some((id, offset));
        }
        node.oplog.restart(offset);
        node.oplog.want(Consumer::Replicas, true);
        state.backlog_from = Some(offset);
        state.unneeded_since_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_are_written() {
        let id = ReplId::from_random([1, 2, 3]);
        let mut found = Found::default();
        found.take(OFFSET, b"77");
        assert!(!found.is_whole());
        found.take(ID, id.as_str().as_bytes());
        found.take(STREAM_DB, b"3");
        found.take(b"ctime", b"1");
        assert_eq!(found, Found { stream_db: Some(3), id: Some(id), offset: Some(77) });
        found.take(OFFSET, b"-1");
        assert!(!found.is_whole());
    }
}

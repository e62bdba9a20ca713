//! What a file says of the stream: whose history its keys belong to, and at which offset. So a server that starts
//! from it need not be sent all keys again, nor must its replicas be.
//!
//! In an RDB file the notes are those of Redis 4 and later; 3.2 passes over them. They are written only where the log has
//! every change up to the file's moment. What is noted of an AOF stands beside it: [`crate::persist`]'s `aof_note`.

use crate::config::Config;
use crate::log;
use crate::node::Node;
use engine::keyspace::Keyspace;
use engine::oplog::Consumer;
use persistence::rdb::encode::Encoder;
use replication::history::{History, ReplId};

const STREAM_DB: &str = "repl-stream-db";
const ID: &str = "repl-id";
const OFFSET: &str = "repl-offset";
/// Not among those of Redis, which passes over it.
const STRAYED: &str = "repl-strayed";

/// What is to be noted in a file.
#[derive(Clone, Copy)]
pub struct Note {
    id: ReplId,
    stream_db: u32,
    strayed: bool,
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
    /// The keys were changed in ways that the stream does not tell of.
    pub strayed: bool,
}

impl Note {
    /// What a file of `keys` as they are is to say, if they are those of an offset of the log. All slots are held.
    pub fn of(node: &Node, keys: &mut Keyspace<'_, '_>) -> Option<Note> {
        keys.effects().are_logged().then(|| Note::of_log(node)).flatten()
    }

    /// What a file is to say that has all that the log has. All slots are held.
    pub fn of_log(node: &Node) -> Option<Note> {
        let state = node.repl.state();
        let is_known = match &state.primary {
            Some(_) => state.resumable,
            None => state.backlog_from.is_some(),
        };
        let stream_db = if state.primary.is_some() { node.oplog.stream_db() } else { 0 };
        is_known.then_some(Note { id: state.history.id, stream_db, strayed: node.repl.has_strayed() })
    }

    /// What is noted of the moment of `offset`.
    pub fn of_offset(&self, offset: u64) -> Found {
        Found { stream_db: Some(self.stream_db), id: Some(self.id), offset: Some(offset), strayed: self.strayed }
    }

    /// Writes it, for an RDB file of the moment of `offset`.
    pub fn write(&self, offset: u64, to: &mut Encoder) {
        for (name, value) in self.of_offset(offset).words() {
            to.aux(name, value.as_bytes());
        }
    }
}

/// Writes only in which database the stream goes on, if that is to be said, and whether the keys have strayed.
pub fn of_image(stream_db: Option<u32>, strayed: bool, to: &mut Encoder) {
    for (name, value) in (Found { stream_db, strayed, ..Found::default() }).words() {
        to.aux(name, value.as_bytes());
    }
}

impl Found {
    /// Takes a note of a file, if it is one of these.
    pub fn take(&mut self, name: &[u8], value: &[u8]) {
        match std::str::from_utf8(name).unwrap_or_default() {
            STREAM_DB => self.stream_db = resp::parse_u64(value).and_then(|db| u32::try_from(db).ok()),
            ID => self.id = ReplId::parse(value),
            OFFSET => self.offset = resp::parse_i64(value).and_then(|offset| u64::try_from(offset).ok()),
            STRAYED => self.strayed = value == b"1",
            _ => {}
        }
    }

    /// What is known, as names and values.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, String)> {
        let stream_db = self.stream_db.map(|db| (STREAM_DB, db.to_string()));
        let id = self.id.map(|id| (ID, id.as_str().to_owned()));
        let offset = self.offset.map(|offset| (OFFSET, offset.to_string()));
        let strayed = self.strayed.then(|| (STRAYED, "1".to_owned()));
        [stream_db, id, offset, strayed].into_iter().flatten()
    }

    /// Whether the keys are of a moment of a stream.
    pub fn is_whole(&self) -> bool {
        self.id.is_some() && self.offset.is_some()
    }

    /// Whether the settings allow for the database in which the stream goes on.
    pub fn fits(&self, config: &Config) -> bool {
        let db = self.stream_db.unwrap_or(0);
        let fits = db < config.databases;
        if !fits {
            log::warning!("The primary's stream is in database {db}, and 'databases' is {}", config.databases);
        }
        fits
    }

    /// Goes on from there, if that can be: the keys were just loaded and nobody has been served. A replica asks its primary for what came
    /// after; a primary begins a history that branches off there, so that its replicas may go on.
    /// Keys that have strayed are nobody else's to go on with: a replica remembers that, a primary's replicas get all keys.
    pub fn resume(&self, node: &'static Node, now_ms: i64) {
        let (Some(id), Some(offset)) = (self.id, self.offset) else { return };
        let config = node.config();
        if config.slaveof.is_some() && !self.fits(&config) {
            return;
        }
        let mut guest = node.guest();
        let mut held = guest.owner().wait_privileged();
        held.add_all();
        let mut state = node.repl.state();
        if self.strayed {
            if state.primary.is_none() {
                return;
            }
            node.repl.strays();
        }
        if state.primary.is_some() {
            state.history = History::new(id);
            (state.resumable, state.restarted) = (true, true);
        } else {
            state.history.previous = Some((id, offset));
        }
        node.oplog.restart(offset, self.stream_db.unwrap_or(0));
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
        let noted = Note { id, stream_db: 3, strayed: true }.of_offset(77);
        for (name, value) in noted.words().filter(|(name, _)| *name != ID) {
            found.take(name.as_bytes(), value.as_bytes());
        }
        assert!(!found.is_whole());
        found.take(ID.as_bytes(), id.as_str().as_bytes());
        found.take(b"ctime", b"1");
        assert_eq!(found, Found { stream_db: Some(3), id: Some(id), offset: Some(77), strayed: true });
        for nonsense in [&b"-1"[..], b"18446744073709551610"] {
            found.take(OFFSET.as_bytes(), nonsense);
            assert!(!found.is_whole());
        }
    }
}

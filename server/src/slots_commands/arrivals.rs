//! Keys that connections build piece by piece: nobody else sees them before they are whole, and nobody ever sees one
//! whose connection ended before.
//!
//! A collection is an entry of the keyspace, marked as arriving. So is a long string, but what has come of it stands here
//! until it is whole.
//!
//! ```text
//! first chunk --begin--> arriving --"expire": end--> a key like any other
//!                           '--- connection ends: abandon ---> removed by a reactor's next cron, or by its own expiry
//! ```
//! 1. A key that arrives belongs to one connection; who deletes it, which every transfer does first, takes it over, so
//!    that what is left of an older connection, its end included, changes nothing of it. Its owner changes under its
//!    slot's lock only.
//! 2. The owner outlives the entry: a key that went away in the middle is not mistaken for one that has not begun.
//! 3. What a primary's stream brings, or the file that is read, is one builder's, [`STREAM`], whatever link or client brings
//!    it: such a key is there for readers as it is for those of the primary, which is an original one, and what becomes of
//!    it is the primary's business. Who is nobody's replica has no such keys: they go with the next turns of the cron.
//! 4. The mutex is a leaf.

use super::growing::Growing;
use crate::dispatch::Executor;
use crate::node::Node;
use crate::persist::gate;
use engine::clock::Now;
use engine::keyspace::{Key, Keyspace};
use engine::raw::entry::{Body, Entry, Transit};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A database and a key.
type Place = (u32, Box<[u8]>);

/// All keys that arrive.
#[derive(Default)]
pub struct Arrivals {
    /// Keys in `owners`.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which client builds a key.
    owners: BTreeMap<Place, Owner>,
    /// Keys whose client is gone, with that client.
    abandoned: Vec<(Place, u64)>,
    /// The strings among them, as far as they have come.
    texts: BTreeMap<Place, Text>,
    /// How far the last turns have looked, in `owners` and in `texts`.
    seen: [Option<Place>; 2],
}

#[derive(Clone, Copy)]
struct Owner {
    client: u64,
    /// Something of the key has come.
    begun: bool,
}

/// How a key stands to a client that sends something of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody's, or this client's and not begun.
    Free,
    /// This client's.
    Own,
    /// Another one's.
    Foreign,
}

struct Text {
    bytes: Growing,
    /// Unless another part comes before, it is forgotten then: Unix milliseconds.
    until_ms: i64,
}

/// Who builds what comes in a primary's stream or a file. No client has this id.
pub const STREAM: u64 = 0;

/// Keys of a kind that one turn of the cron looks at: a stream may leave any number behind.
const KEYS_A_TURN: usize = 256;

/// Bytes of a string at most, which is what a command may carry.
const TEXT_BYTES_MAX: usize = 512 << 20;

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has begun a key.
    pub fn begin(&self, node: &Node, client: u64, db: u32, key: &[u8]) {
        if self.lock().owners.insert((db, key.into()), Owner { client, begun: true }).is_none() {
            self.count.fetch_add(1, Ordering::AcqRel);
            node.moves.claims.begin_receiving();
        }
    }

    /// Whose key that is, for a client that sends something of it.
    pub fn claim(&self, client: u64, db: u32, key: &[u8]) -> Claim {
        if self.count.load(Ordering::Acquire) == 0 {
            return Claim::Free;
        }
        match self.lock().owners.get(&(db, Box::from(key))) {
            None => Claim::Free,
            Some(owner) if owner.client != client => Claim::Foreign,
            Some(owner) if owner.begun => Claim::Own,
            Some(_) => Claim::Free,
        }
    }

    /// Whether that key is built by a primary's stream.
    pub fn is_of_stream(&self, db: u32, key: &[u8]) -> bool {
        self.lock().owners.get(&(db, Box::from(key))).is_some_and(|owner| owner.client == STREAM)
    }

    /// A client has removed a key, to begin it perhaps. Where another one was building it, that one's rest stays shut out.
    pub fn removed_by(&self, node: &Node, client: u64, db: u32, key: &[u8]) {
        if self.claim(client, db, key) == Claim::Foreign {
            self.lock().owners.insert((db, key.into()), Owner { client, begun: false });
        } else {
            self.end(node, db, key);
        }
    }

    /// A key is whole, or gone.
    pub fn end(&self, node: &Node, db: u32, key: &[u8]) {
        if self.count.load(Ordering::Acquire) > 0 && self.lock().owners.remove(&(db, Box::from(key))).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
            node.moves.claims.end_receiving();
        }
    }

    /// Adds a part to the string that a client builds, for which room is taken as it comes, up to `hint` bytes. Returns
    /// its length, or `None` if it is too long.
    pub fn add_part(&self, place: (u32, &[u8]), part: &[u8], hint: i64, until_ms: i64) -> Option<usize> {
        let state = &mut *self.lock();
        let hint = usize::try_from(hint).unwrap_or(0).min(TEXT_BYTES_MAX);
        let empty = || Text { bytes: Growing::new(hint), until_ms };
        let text = state.texts.entry((place.0, place.1.into())).or_insert_with(empty);
        if part.len() > TEXT_BYTES_MAX - text.bytes.len() {
            return None;
        }
        text.bytes.add(part, hint);
        text.until_ms = until_ms;
        Some(text.bytes.len())
    }

    /// Whether a client builds a string there.
    pub fn has_text(&self, db: u32, key: &[u8]) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().texts.contains_key(&(db, Box::from(key)))
    }

    /// Drops what has come of a string.
    pub fn drop_text(&self, keys: &mut Keyspace<'_, '_>, key: &Key<'_>) {
        if let Some(text) = self.take_text(keys.db(), key.bytes) {
            let blocks = text.blocks().into_iter().filter(|block| !block.is_empty());
            blocks.for_each(|block| keys.garbage().add(Entry::new(key.bytes, Body::Long(block), None, 0)));
        }
    }

    /// Takes a string that is whole, or no longer wanted.
    pub fn take_text(&self, db: u32, key: &[u8]) -> Option<Growing> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().texts.remove(&(db, Box::from(key))).map(|text| text.bytes)
    }

    /// A client is gone, and what it was building is to go too.
    pub fn abandon(&self, client: u64) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let State { owners, abandoned, .. } = &mut *self.lock();
        let of_client = owners.iter().filter(|(_, owner)| owner.client == client);
        abandoned.extend(of_client.map(|(place, _)| (place.clone(), client)));
    }
}

/// The next of `map` behind what was `seen`, and after the last ones the first again.
fn look_on<'m, V>(map: &'m BTreeMap<Place, V>, seen: &mut Option<Place>) -> Vec<(&'m Place, &'m V)> {
    let behind = seen.take().map_or(Bound::Unbounded, Bound::Excluded);
    let found: Vec<_> = map.range((behind, Bound::Unbounded)).take(KEYS_A_TURN).collect();
    if found.len() == KEYS_A_TURN {
        *seen = found.last().map(|(place, _)| (*place).clone());
    }
    found
}

impl State {
    /// What a turn is to look at, with whose it is, and whether it must be told to come again.
    fn due(&mut self, now: Now) -> Vec<(Place, u64, bool)> {
        let State { owners, abandoned, texts, seen: [of_owners, of_texts] } = self;
        let gone = abandoned.split_off(abandoned.len().saturating_sub(KEYS_A_TURN));
        let mut due: Vec<_> = gone.into_iter().map(|(place, client)| (place, client, true)).collect();
        let late = look_on(texts, of_texts).into_iter().filter(|(_, text)| text.until_ms < now.ms);
        due.extend(late.filter_map(|(place, _)| Some((place.clone(), owners.get(place)?.client, false))));
        let of_stream = look_on(owners, of_owners).into_iter().filter(|(_, owner)| owner.client == STREAM);
        due.extend(of_stream.map(|(place, _)| (place.clone(), STREAM, false)));
        due
    }
}

/// Removes what is there of a key that arrives.
fn forget(arrivals: &Arrivals, keys: &mut Keyspace<'_, '_>, key: &Key<'_>) {
    arrivals.drop_text(keys, key);
    if keys.transit(key) == Some(Transit::Arriving) && keys.remove_any(key) {
        keys.changed(key, 0, "del");
        keys.effects().log_instead(&[b"DEL", key.bytes]);
    }
}

/// Whether the rest of a key may come yet that a stream or a file has begun. Roles change, and a file is read to its end,
/// while all slots are held.
fn is_awaited(node: &Node, keys: &mut Keyspace<'_, '_>, key: &Key<'_>) -> bool {
    // One past its expiry is there until the primary says otherwise.
    let how = keys.replaying((true, true));
    let arrives = keys.transit(key) == Some(Transit::Arriving);
    keys.replaying(how);
    arrives && (node.repl.is_replica() || node.persist.gate.has(gate::LOADING))
}

/// Removes what gone clients were building, and what a stream was that is followed no longer: some of it in each turn.
pub fn sweep(exec: &mut Executor, now: Now) {
    let node = exec.node;
    let arrivals = &node.moves.arrivals;
    if arrivals.count.load(Ordering::Acquire) == 0 {
        return;
    }
    let due = arrivals.lock().due(now);
    for ((db, name), client, again) in due {
        let key = Key::new(&name);
        let mut done = false;
        exec.in_slot(key.slot, db, now, |keys| {
            done = true;
            if arrivals.lock().owners.get(&(db, name.clone())).is_none_or(|owner| owner.client != client) {
                return;
            }
            if client == STREAM && is_awaited(node, keys, &key) {
                return;
            }
            forget(arrivals, keys, &key);
            arrivals.end(node, db, key.bytes);
        });
        if !done && again {
            // Somebody keeps the slot: at the next turn.
            arrivals.lock().abandoned.push(((db, name), client));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::Desk;

    #[test]
    fn a_hint_is_neither_a_limit_nor_room() {
        const HINT: i64 = 512 << 20;
        let arrivals = Arrivals::default();
        arrivals.count.store(1, Ordering::Release);
        assert_eq!(arrivals.add_part((0, b"key"), b"some", HINT, 0), Some(4));
        assert!(arrivals.lock().texts.values().all(|text| text.bytes.room() < 2 << 20));
        assert_eq!(arrivals.add_part((0, b"key"), b" more", 1, 0), Some(9));
        assert_eq!(arrivals.take_text(0, b"key").expect("it is there").whole().as_slice(), b"some more");
        assert_eq!(arrivals.add_part((0, b"none"), b"", 0, 0), Some(0));
    }
    /// Turns of the cron until nothing is left, in each of which no more than may be goes.
    fn turns(desk: &mut Desk, now_ms: i64) -> usize {
        let arrivals = &desk.exec.node.moves.arrivals;
        let count = || arrivals.count.load(Ordering::Acquire);
        let mut turns = 0;
        while count() > OTHERS {
            let before = count();
            sweep(&mut desk.exec, Now { ms: now_ms });
            assert!(before - count() <= KEYS_A_TURN, "{turns}: {before}");
            turns += 1;
            assert!(turns <= 100, "{before} are never looked at");
        }
        turns
    }

    /// Keys of a client that is there, which stand before all others.
    const OTHERS: usize = 3 * KEYS_A_TURN + 1;

    #[test]
    fn a_turn_looks_at_some_and_the_next_at_others_until_all_are_gone() {
        const KEYS: usize = 4 * KEYS_A_TURN;
        let mut desk = Desk::new();
        let node = desk.exec.node;
        let arrivals = &node.moves.arrivals;
        let begin = |client, count, prefix: &str| {
            (0..count).for_each(|n| arrivals.begin(node, client, 0, format!("{prefix}{n:05}").as_bytes()));
        };
        begin(7, OTHERS, "a");
        begin(STREAM, KEYS, "b");
        let turns_of_stream = turns(&mut desk, 0);
        assert!((4..=8).contains(&turns_of_stream), "{turns_of_stream}");
        begin(8, KEYS, "b");
        arrivals.abandon(8);
        assert_eq!(turns(&mut desk, 0), 4);
        begin(9, KEYS, "b");
        for n in 0..KEYS {
            arrivals.add_part((0, format!("b{n:05}").as_bytes()), b"part", 0, 100);
        }
        sweep(&mut desk.exec, Now { ms: 100 });
        assert_eq!(arrivals.lock().texts.len(), KEYS, "they are not late yet");
        turns(&mut desk, 101);
        let state = arrivals.lock();
        assert!(state.texts.is_empty() && state.abandoned.is_empty() && state.owners.len() == OTHERS);
    }
}

//! A key as messages: whole, or in chunks from a place where the last one ended.
//!
//! What is chunked, where a chunk ends and what stands in it is as in the original, so that the same data make the same
//! dialogue: lists, and hashes, sets and sorted sets that left their compact form, if they have more bulks than a chunk
//! may; a chunk ends when it is full, and the end is found by trying to go on, so the last chunk may be empty.

use engine::encoding::item::Scratch;
use engine::keyspace::{Key, Keyspace};
use engine::raw::entry::{EntryRef, Transit, Value};
use persistence::rdb::dump;
use slots::migration::export::{Event, Stage};
use slots::migration::message::Collection;
use slots::migration::wire;

/// An element that is an integer, and a score, count so many bytes, whatever their digits.
const NUMBER_BYTES: usize = 8;
/// A half-sent key lives so many times as long as a link may be silent.
const TTL_TIMES: i64 = 3;
/// Elements of one chunk, whatever the request says: it is made while the slot is locked.
const ELEMENTS_MAX: usize = 8192;

/// How large chunks may be, and how long half-sent keys live.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bulk strings of one chunk.
    pub maxbulks: usize,
    /// Bytes that may wait to be sent.
    pub maxbytes: usize,
    /// The longest silence, in milliseconds.
    pub timeout_ms: i64,
}

/// Number of chunks that a value makes: 1 if it is sent whole.
pub fn estimate(value: Value<'_>, maxbulks: usize) -> usize {
    bulks(value).map_or(1, |(_, bulks)| bulks.div_ceil(maxbulks.max(1)).max(1))
}

/// What a value that may be chunked is, and its bulks.
fn bulks(value: Value<'_>) -> Option<(Collection, usize)> {
    match value {
        Value::List(list) => Some((Collection::List, list.len())),
        Value::Hash(hash) if hash.as_compact().is_none() => Some((Collection::Hash, hash.len() * 2)),
        Value::Set(set) if set.as_ints().is_none() => Some((Collection::Set, set.len())),
        Value::ZSet(zset) if zset.as_compact().is_none() => Some((Collection::ZSet, zset.len() * 2)),
        _ => None,
    }
}

/// Appends the next messages of a key to `out`, marking it as leaving, and reports what they were.
pub fn make(
    keys: &mut Keyspace<'_, '_>,
    key: &Key<'_>,
    (stage, again): (Stage, bool),
    limits: Limits,
    out: &mut Vec<u8>,
) -> Event {
    let before = out.len();
    let (messages, stage) = match stage {
        Stage::Retract => {
            keys.settle(key);
            delete(key.bytes, out);
            (1, Stage::Withdrawn)
        }
        Stage::Prepare => {
            let there = !keys.expire_if_due(key) && keys.set_transit(key, Transit::Leaving);
            let (now_ms, entry) = (keys.now().ms, keys.at(key).filter(|_| there));
            match entry {
                None if again => {
                    delete(key.bytes, out);
                    (1, Stage::Withdrawn)
                }
                None => (0, Stage::Absent),
                Some(entry) => begin(entry, now_ms, limits, out),
            }
        }
        Stage::Chunked { cursor } => {
            let Some(entry) = unchanged(keys, key) else { return Event::Changed };
            let room = limits.maxbytes.saturating_sub(before);
            (1, chunk(entry, cursor, room, limits, out))
        }
        Stage::FillTtl => {
            let now_ms = keys.now().ms;
            let Some(entry) = unchanged(keys, key) else { return Event::Changed };
            expire(entry, now_ms, out);
            (1, Stage::Done)
        }
        Stage::Done | Stage::Absent | Stage::Withdrawn => (0, stage),
    };
    Event::Made { messages, bytes: out.len() - before, stage }
}

/// The entry of a key that is as it was marked. An expiry that passes meanwhile does not matter: the target sees to it.
fn unchanged<'k>(keys: &'k mut Keyspace<'_, '_>, key: &Key<'_>) -> Option<EntryRef<'k>> {
    keys.slot_keys(key.slot)?.find(key.hash, key.bytes).filter(|entry| entry.transit() == Transit::Leaving)
}

/// All messages of a key at once, for whoever holds its slot throughout; returns their number.
pub fn make_all(entry: EntryRef<'_>, now_ms: i64, limits: Limits, out: &mut Vec<u8>) -> usize {
    let (messages, mut stage) = begin(entry, now_ms, limits, out);
    let mut total = messages as usize;
    while let Stage::Chunked { cursor } = stage {
        stage = chunk(entry, cursor, usize::MAX, limits, out);
        total += 1;
    }
    if stage == Stage::FillTtl {
        expire(entry, now_ms, out);
        total += 1;
    }
    total
}

fn ttl_ms(entry: EntryRef<'_>, now_ms: i64) -> i64 {
    entry.expire_at_ms().map_or(0, |at| at.saturating_sub(now_ms).max(1))
}

fn number(value: i64, out: &mut Vec<u8>) {
    wire::arg(itoa::Buffer::new().format(value).as_bytes(), out);
}

fn delete(key: &[u8], out: &mut Vec<u8>) {
    wire::message(&[wire::RESTORE, b"delete", key], out);
}

fn expire(entry: EntryRef<'_>, now_ms: i64, out: &mut Vec<u8>) {
    header(4, b"expire", entry.key(), out);
    number(ttl_ms(entry, now_ms), out);
}

fn header(args: usize, word: &[u8], key: &[u8], out: &mut Vec<u8>) {
    wire::header(args, out);
    [wire::RESTORE, word, key].iter().for_each(|arg| wire::arg(arg, out));
}

/// `delete`, and the value if it is sent whole.
fn begin(entry: EntryRef<'_>, now_ms: i64, limits: Limits, out: &mut Vec<u8>) -> (u32, Stage) {
    delete(entry.key(), out);
    let ttl_ms = ttl_ms(entry, now_ms);
    match entry.value() {
        Value::Int(int) => {
            header(5, b"string", entry.key(), out);
            number(ttl_ms, out);
            number(int, out);
        }
        Value::Bytes(bytes) => {
            header(5, b"string", entry.key(), out);
            number(ttl_ms, out);
            wire::arg(bytes, out);
        }
        value if bulks(value).is_some_and(|(_, bulks)| bulks > limits.maxbulks) => {
            return (1, Stage::Chunked { cursor: 0 });
        }
        value => {
            header(5, b"object", entry.key(), out);
            number(ttl_ms, out);
            wire::arg(&dump::dump(value, true), out);
        }
    }
    (2, Stage::Done)
}

/// The elements of one chunk, until it is full.
struct Elements {
    bytes: Vec<u8>,
    bulks: usize,
    counted: usize,
    bulks_max: usize,
    counted_max: usize,
}

impl Elements {
    fn push(&mut self, item: engine::encoding::item::Item<'_>) {
        let mut scratch = Scratch::new();
        self.counted += match item {
            engine::encoding::item::Item::Int(_) => NUMBER_BYTES,
            engine::encoding::item::Item::Str(bytes) => bytes.len(),
        };
        wire::arg(item.bytes_in(&mut scratch), &mut self.bytes);
        self.bulks += 1;
    }

    fn push_score(&mut self, score: f64) {
        self.counted += NUMBER_BYTES;
        wire::arg(&score.to_le_bytes(), &mut self.bytes);
        self.bulks += 1;
    }

    fn is_full(&self) -> bool {
        self.bulks >= self.bulks_max || self.counted >= self.counted_max
    }
}

/// One chunk, from `cursor` on, of about `room` bytes at most. Returns what comes next.
fn chunk(entry: EntryRef<'_>, cursor: u64, room: usize, limits: Limits, out: &mut Vec<u8>) -> Stage {
    let bulks_max = limits.maxbulks.min(ELEMENTS_MAX);
    let mut to = Elements { bytes: Vec::new(), bulks: 0, counted: 0, bulks_max, counted_max: room };
    let (kind, hint, next) = match entry.value() {
        Value::List(list) => {
            let mut items = list.iter_from(cursor as usize);
            let mut at = cursor;
            let next = loop {
                let Some(item) = items.next() else { break None };
                to.push(item);
                at += 1;
                if to.is_full() {
                    break Some(at);
                }
            };
            (Collection::List, list.len(), next)
        }
        Value::ZSet(zset) => {
            let left = zset.len().saturating_sub(cursor as usize);
            let mut members = zset.descending(0..left);
            let mut at = cursor;
            let next = loop {
                let Some((member, score)) = members.next().filter(|_| left > 0) else { break None };
                to.push(member);
                to.push_score(score);
                at += 1;
                if to.is_full() {
                    break Some(at);
                }
            };
            (Collection::ZSet, zset.len(), next)
        }
        Value::Hash(hash) => {
            let next = walk(cursor, bulks_max, &mut to, |at, to| {
                hash.scan(at, |field, value| {
                    to.push(field);
                    to.push(value);
                })
            });
            (Collection::Hash, hash.len(), next)
        }
        Value::Set(set) => {
            let next = walk(cursor, bulks_max, &mut to, |at, to| set.scan(at, |member| to.push(member)));
            (Collection::Set, set.len(), next)
        }
        // Nothing else is ever chunked.
        Value::Int(_) | Value::Bytes(_) => return Stage::Done,
    };
    header(5 + to.bulks, kind.word(), entry.key(), out);
    number(limits.timeout_ms.saturating_mul(TTL_TIMES), out);
    number(hint as i64, out);
    out.extend_from_slice(&to.bytes);
    next.map_or(Stage::FillTtl, |cursor| Stage::Chunked { cursor })
}

/// Walks a table bucket by bucket until the chunk is full, or enough buckets were empty. A chunk is never empty unless the
/// walk is at its end: the target has no place for an empty first one.
fn walk(from: u64, bulks: usize, to: &mut Elements, mut step: impl FnMut(u64, &mut Elements) -> u64) -> Option<u64> {
    let mut at = from;
    let mut steps = (10 * bulks).max(100);
    loop {
        at = step(at, to);
        steps = steps.saturating_sub(1);
        if at == 0 {
            return None;
        }
        if to.is_full() || steps == 0 && to.bulks > 0 {
            return Some(at);
        }
    }
}

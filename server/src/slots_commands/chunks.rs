//! A key as messages: whole, or in chunks from a place where the last one ended.
//!
//! What is chunked, where a chunk ends and what stands in it is as in the original, so that the same data make the same
//! dialogue: lists, and hashes, sets and sorted sets that left their compact form, if they have more bulks than a chunk
//! may; a chunk ends when it is full, and the end is found by trying to go on, so the last chunk may be empty.

use engine::encoding::item::{Item, Scratch};
use engine::keyspace::{Key, Keyspace};
use engine::raw::entry::{EntryRef, Transit, Value};
use persistence::rdb::dump;
use slots::migration::abilities::Abilities;
use slots::migration::export::{Event, Stage};
use slots::migration::message::{Collection, MANY, PART, Packed};
use slots::migration::wire;

/// An element that is an integer, and a score, count so many bytes, whatever their digits.
const NUMBER_BYTES: usize = 8;
/// A half-sent key lives so many times as long as a link may be silent.
const TTL_TIMES: i64 = 3;
/// Bulks and bytes of one chunk, whatever the request says: it is made while the slot is locked, and taken in one turn.
const BULKS_MAX: usize = 1024;
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Bulks and bytes of one chunk for a target of ours, even if the request says less.
const BULKS_OURS: usize = 256;
const CHUNK_BYTES_OURS: usize = 32 * 1024;
/// A string that is longer is sent in parts of so many bytes, where the target takes them.
const PART_BYTES: usize = 128 * 1024;
/// Keys and bytes of one message of many keys, and of one key's value in it.
const PACK_KEYS: usize = 128;
const PACK_BYTES: usize = 64 * 1024;
const PACK_VALUE_BYTES: usize = 4 * 1024;

/// How large chunks may be, and how long half-sent keys live.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bulk strings of one chunk.
    pub maxbulks: usize,
    /// Bytes that may wait to be sent.
    pub maxbytes: usize,
    /// The longest silence, in milliseconds.
    pub timeout_ms: i64,
    /// What the target takes besides.
    pub abilities: Abilities,
}

impl Limits {
    /// The same for a target with these abilities.
    #[must_use]
    pub fn for_target(self, abilities: Abilities) -> Limits {
        Limits { abilities, ..self }
    }

    fn bulks_of_chunk(&self) -> usize {
        if self.abilities.many { BULKS_OURS } else { self.maxbulks.min(BULKS_MAX) }
    }

    fn bytes_of_chunk(&self) -> usize {
        if self.abilities.many { CHUNK_BYTES_OURS } else { CHUNK_BYTES_MAX }
    }
}

/// Which part of a value lies before `cursor`, from 0 to 1.
pub fn share(value: Value<'_>, cursor: u64) -> f64 {
    /// Tables are walked by the bits of a hash: this is their end.
    const ORDER_END: u64 = 1 << 48;
    let whole = match value {
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::List(list) => list.len() as u64,
        Value::ZSet(zset) => zset.len() as u64,
        Value::Hash(_) | Value::Set(_) => ORDER_END,
        Value::Int(_) => 1,
    };
    (cursor as f64 / whole.max(1) as f64).min(1.0)
}

/// Whether a value is a string that goes in parts where the target takes them.
pub fn is_long(value: Value<'_>) -> bool {
    matches!(value, Value::Bytes(bytes) if bytes.len() > PART_BYTES)
}

/// Whether a value that has few enough bulks to be sent whole has too many bytes for it: few elements are looked at.
fn is_heavy(value: Value<'_>) -> bool {
    let mut bytes = 0;
    let mut add = |item: Item<'_>| bytes += item.with_bytes(<[u8]>::len);
    match value {
        Value::List(list) if list.ziplist_bytes() <= CHUNK_BYTES_MAX => {}
        Value::List(_) => return true,
        Value::Hash(hash) => hash.iter().for_each(|(field, value)| {
            add(field);
            add(value);
        }),
        Value::Set(set) => set.iter().for_each(add),
        Value::ZSet(zset) => zset.iter().for_each(|(member, _)| add(member)),
        Value::Int(_) | Value::Bytes(_) => {}
    }
    bytes > CHUNK_BYTES_MAX
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
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Event {
    let before = out.len();
    let mut elements = None;
    let (messages, stage) = match stage {
        Stage::Retract => {
            // Its mark stays until the batch ends: where the target is this server itself, it keeps the key.
            delete(key.bytes, out);
            (1, Stage::Withdrawn)
        }
        Stage::Prepare => {
            let there = keys.leave_again(key);
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
            let (next, sent) = chunk(entry, cursor, room, limits, scratch, out);
            elements = sent;
            (1, next)
        }
        Stage::FillTtl => {
            let now_ms = keys.now().ms;
            let Some(entry) = unchanged(keys, key) else { return Event::Changed };
            expire(entry, now_ms, out);
            (1, Stage::Done)
        }
        Stage::Done | Stage::Absent | Stage::Withdrawn => (0, stage),
    };
    Event::Made { messages, bytes: out.len() - before, stage, elements }
}

/// The entry of a key that is as it was marked. An expiry that passes meanwhile does not matter: the target sees to it.
fn unchanged<'k>(keys: &'k mut Keyspace<'_, '_>, key: &Key<'_>) -> Option<EntryRef<'k>> {
    keys.slot_keys(key.slot)?.find(key.hash, key.bytes).filter(|entry| entry.transit() == Transit::Leaving)
}

/// All messages of a key at once, for whoever holds its slot throughout; returns their number.
pub fn make_all(entry: EntryRef<'_>, now_ms: i64, limits: Limits, out: &mut Vec<u8>) -> usize {
    let (messages, mut stage) = begin(entry, now_ms, limits, out);
    let mut total = messages as usize;
    let mut scratch = Vec::new();
    while let Stage::Chunked { cursor } = stage {
        (stage, _) = chunk(entry, cursor, usize::MAX, limits, &mut scratch, out);
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
        value if limits.abilities.parts && is_long(value) => return (1, Stage::Chunked { cursor: 0 }),
        Value::Bytes(bytes) => {
            header(5, b"string", entry.key(), out);
            number(ttl_ms, out);
            wire::arg(bytes, out);
        }
        value if bulks(value).is_some_and(|(_, bulks)| bulks > limits.maxbulks || is_heavy(value)) => {
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
struct Elements<'s> {
    bytes: &'s mut Vec<u8>,
    bulks: usize,
    counted: usize,
    bulks_max: usize,
    counted_max: usize,
}

impl Elements<'_> {
    fn push(&mut self, item: Item<'_>) {
        let mut scratch = Scratch::new();
        self.counted += match item {
            Item::Int(_) => NUMBER_BYTES,
            Item::Str(bytes) => bytes.len(),
        };
        wire::arg(item.bytes_in(&mut scratch), self.bytes);
        self.bulks += 1;
    }

    fn push_score(&mut self, score: f64) {
        self.counted += NUMBER_BYTES;
        wire::arg(&score.to_le_bytes(), self.bytes);
        self.bulks += 1;
    }

    fn is_full(&self) -> bool {
        self.bulks >= self.bulks_max || self.counted >= self.counted_max
    }
}

/// One chunk, from `cursor` on, of about `room` bytes at most. Returns what comes next, and how many elements of a
/// collection it has.
fn chunk(
    entry: EntryRef<'_>,
    cursor: u64,
    room: usize,
    limits: Limits,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> (Stage, Option<u64>) {
    let bulks_max = limits.bulks_of_chunk();
    scratch.clear();
    let counted_max = room.min(limits.bytes_of_chunk());
    let mut to = Elements { bytes: scratch, bulks: 0, counted: 0, bulks_max, counted_max };
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
        Value::Bytes(bytes) => return (part(entry, bytes, cursor as usize, limits, out), None),
        // Nothing else is ever chunked.
        Value::Int(_) => return (Stage::Done, None),
    };
    header(5 + to.bulks, kind.word(), entry.key(), out);
    number(limits.timeout_ms.saturating_mul(TTL_TIMES), out);
    number(hint as i64, out);
    out.extend_from_slice(to.bytes);
    let bulks_each = if matches!(kind, Collection::Hash | Collection::ZSet) { 2 } else { 1 };
    let elements = (to.bulks / bulks_each) as u64;
    (next.map_or(Stage::FillTtl, |cursor| Stage::Chunked { cursor }), Some(elements))
}

/// One part of a string, from `at` on.
fn part(entry: EntryRef<'_>, bytes: &[u8], at: usize, limits: Limits, out: &mut Vec<u8>) -> Stage {
    let rest = bytes.get(at..).unwrap_or_default();
    let part = &rest[..rest.len().min(PART_BYTES)];
    header(6, PART, entry.key(), out);
    number(limits.timeout_ms.saturating_mul(TTL_TIMES), out);
    number(bytes.len() as i64, out);
    wire::arg(part, out);
    if part.len() == rest.len() { Stage::FillTtl } else { Stage::Chunked { cursor: (at + part.len()) as u64 } }
}

/// Appends one message of as many of `keys` as fit, up to one that does not go whole, marking them as leaving. Returns
/// where each is then, and makes no message if there is none of them.
pub fn pack<'k>(
    here: &mut Keyspace<'_, '_>,
    keys: impl Iterator<Item = Key<'k>>,
    limits: Limits,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Vec<Stage> {
    scratch.clear();
    let mut stages = Vec::new();
    let mut packed = 0;
    let now_ms = here.now().ms;
    for key in keys.take(PACK_KEYS) {
        if scratch.len() >= PACK_BYTES {
            break;
        }
        if here.expire_if_due(&key) {
            stages.push(Stage::Absent);
            continue;
        }
        let ours = here.at(&key).filter(|entry| entry.transit() != Transit::Arriving);
        let small = ours.map(|entry| match entry.value() {
            Value::Bytes(bytes) => bytes.len() <= PACK_VALUE_BYTES,
            Value::Int(_) => true,
            value => bulks(value).is_none_or(|(_, bulks)| bulks <= limits.maxbulks && !is_heavy(value)),
        });
        match small {
            Some(true) => here.set_transit(&key, Transit::Leaving),
            Some(false) => break,
            None => {
                stages.push(Stage::Absent);
                continue;
            }
        };
        let Some(entry) = here.at(&key) else { break };
        wire::arg(key.bytes, scratch);
        number(ttl_ms(entry, now_ms), scratch);
        let mut letter = |letter: u8, text: &[u8]| {
            wire::arg_header(1 + text.len(), scratch);
            scratch.push(letter);
            scratch.extend_from_slice(text);
            scratch.extend_from_slice(b"\r\n");
        };
        match entry.value() {
            Value::Int(int) => letter(Packed::TEXT, itoa::Buffer::new().format(int).as_bytes()),
            Value::Bytes(bytes) => letter(Packed::TEXT, bytes),
            value => letter(Packed::OBJECT, &dump::dump(value, false)),
        }
        packed += 1;
        stages.push(Stage::Done);
    }
    if packed > 0 {
        wire::header(2 + 3 * packed, out);
        [wire::RESTORE, MANY].iter().for_each(|arg| wire::arg(arg, out));
        out.extend_from_slice(scratch);
    }
    stages
}

/// Walks a table bucket by bucket until the chunk is full, or enough buckets were empty. A chunk is never empty unless the
/// walk is at its end: the target has no place for an empty first one.
fn walk(
    from: u64,
    bulks: usize,
    to: &mut Elements<'_>,
    mut step: impl FnMut(u64, &mut Elements<'_>) -> u64,
) -> Option<u64> {
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

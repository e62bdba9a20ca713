//! The shortest commands that make an entry anew, as Redis 3.2 writes them when it rewrites its file.

use engine::encoding::item::Item;
use engine::raw::entry::{EntryRef, Value};
use engine::snapshot::Element;
use resp::Out;

/// Elements of a collection that one command adds at most: `AOF_REWRITE_ITEMS_PER_CMD`.
pub const ITEMS_PER_COMMAND: usize = 64;

/// The command after which those that follow are for database `db`.
pub fn select(out: &mut Out, db: u32) {
    out.array(2);
    out.bulk(b"SELECT");
    out.bulk_int(db.into());
}

/// The commands that make an entry, with its expiry, where there is no such key.
pub fn entry(out: &mut Out, entry: EntryRef<'_>) {
    let key = entry.key();
    match entry.value() {
        Value::Int(int) => {
            begin(out, b"SET", key, 1);
            out.bulk_int(int);
        }
        Value::Bytes(bytes) => {
            begin(out, b"SET", key, 1);
            out.bulk(bytes);
        }
        Value::List(list) => in_commands(out, b"RPUSH", key, 1, list.len(), list.iter(), item),
        Value::Set(set) => in_commands(out, b"SADD", key, 1, set.len(), set.iter(), item),
        Value::ZSet(zset) => in_commands(out, b"ZADD", key, 2, zset.len(), zset.iter(), |out, (member, score)| {
            out.bulk_of(|text| resp::format_f64_17g(score, text));
            item(out, member);
        }),
        Value::Hash(hash) => in_commands(out, b"HMSET", key, 2, hash.len(), hash.iter(), |out, (field, value)| {
            item(out, field);
            item(out, value);
        }),
    }
    expiry(out, key, entry.expire_at_ms());
}

/// The command that gives a key its expiry, if it has one.
pub fn expiry(out: &mut Out, key: &[u8], expire_at_ms: Option<i64>) {
    if let Some(at_ms) = expire_at_ms {
        begin(out, b"PEXPIREAT", key, 1);
        out.bulk_int(at_ms);
    }
}

/// The commands that add elements of a value to its key: one, but for a list, whose nodes are cut as they need be. All
/// are of one type.
pub fn elements(out: &mut Out, key: &[u8], elements: &[Element<'_>]) {
    let len = elements.len();
    match elements.first() {
        Some(Element::Member(_)) => begin(out, b"SADD", key, len),
        Some(Element::Pair(..)) => begin(out, b"HMSET", key, 2 * len),
        Some(Element::Scored(..)) => begin(out, b"ZADD", key, 2 * len),
        Some(Element::Node(_)) | None => {}
    }
    for element in elements {
        match element {
            Element::Member(member) => out.bulk(member),
            Element::Pair(field, value) => {
                out.bulk(field);
                out.bulk(value);
            }
            Element::Scored(member, score) => {
                out.bulk_of(|text| resp::format_f64_17g(*score, text));
                out.bulk(member);
            }
            Element::Node(node) => in_commands(out, b"RPUSH", key, 1, node.len(), node.iter(), item),
        }
    }
}

fn begin(out: &mut Out, name: &[u8], key: &[u8], more: usize) {
    out.array(2 + more);
    out.bulk(name);
    out.bulk(key);
}

/// `len` elements of `words` words each, in as many commands as it takes.
fn in_commands<T>(
    out: &mut Out,
    name: &[u8],
    key: &[u8],
    words: usize,
    len: usize,
    elements: impl Iterator<Item = T>,
    write: impl Fn(&mut Out, T),
) {
    for (at, element) in elements.enumerate() {
        if at % ITEMS_PER_COMMAND == 0 {
            begin(out, name, key, words * (len - at).min(ITEMS_PER_COMMAND));
        }
        write(out, element);
    }
}

fn item(out: &mut Out, item: Item<'_>) {
    match item {
        Item::Int(int) => out.bulk_int(int),
        Item::Str(bytes) => out.bulk(bytes),
    }
}

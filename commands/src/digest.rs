//! DEBUG DIGEST: a fingerprint of all keys and values, the same as that of Redis 3.2 for the same data.
//!
//! What has an order is mixed in, SHA-1 over the result so far; what has none is only xored. Encodings, the moments of
//! expiry and accesses leave no trace. Source: `computeDatasetDigest` of `debug.c`.

use engine::encoding::item::Item;
use engine::keyspace::Keyspace;
use engine::raw::entry::{EntryRef, Value};
use sha1::{Digest as _, Sha1};

/// A digest in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digest(pub [u8; 20]);

impl Digest {
    /// Adds something that has no place in an order.
    fn add(&mut self, bytes: &[u8]) {
        self.0.iter_mut().zip(Sha1::digest(bytes)).for_each(|(own, other)| *own ^= other);
    }

    /// Adds what comes next in an order.
    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_item(&mut self, item: Item<'_>) {
        item.with_bytes(|bytes| self.mix(bytes));
    }
}

/// Of a key with its value.
fn entry(entry: EntryRef<'_>) -> Digest {
    let mut digest = Digest::default();
    digest.mix(entry.key());
    digest.mix(&(entry.kind() as u32).to_be_bytes());
    match entry.value() {
        Value::Int(n) => digest.mix_item(Item::Int(n)),
        Value::Bytes(bytes) => digest.mix(bytes),
        Value::List(list) => list.iter().for_each(|element| digest.mix_item(element)),
        Value::Set(set) => set.iter().for_each(|member| member.with_bytes(|bytes| digest.add(bytes))),
        Value::ZSet(zset) => {
            let mut text = Vec::new();
            for (member, score) in zset.iter() {
                text.clear();
                resp::format_f64_17g(score, &mut text);
                let mut pair = Digest::default();
                pair.mix_item(member);
                pair.mix(&text);
                digest.add(&pair.0);
            }
        }
        Value::Hash(hash) => {
            for (field, value) in hash.iter() {
                let mut pair = Digest::default();
                pair.mix_item(field);
                pair.mix_item(value);
                digest.add(&pair.0);
            }
        }
    }
    if entry.has_expire() {
        digest.add(b"!!expire!!");
    }
    digest
}

/// Of all keys in databases 0 to `databases`. All slots must be held for a digest of one moment.
pub fn data_set(keys: &mut Keyspace<'_, '_>, databases: u32) -> Digest {
    let selected = keys.db();
    let mut all = Digest::default();
    for db in 0..databases {
        keys.select(db);
        let mut begun = false;
        keys.visit_slots(|_, slot| {
            if !begun {
                all.mix(&db.to_be_bytes());
                begun = true;
            }
            slot.iter().for_each(|found| all.add(&entry(found).0));
        });
    }
    keys.select(selected);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    fn digest_after(lines: &[&str]) -> String {
        let mut world = World::new();
        lines.iter().for_each(|line| drop(world.run(line)));
        world.look(|keys| data_set(keys, 16)).0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn it_is_what_a_3_2_server_says() {
        assert_eq!(digest_after(&[]), "0".repeat(40));
        for (lines, expected) in [
            (&["set s hello"][..], "a500c6b54937da22f2ac1167da1da852479c7339"),
            (&["set n 12345", "move n 9", "set n 12345"], "33d849061c2887a64ed5cfac087d8c9f1a6ac404"),
            (&["psetex s 100000 hello"], "57f46986386fa1b88cf97e377a8f44776b0a340a"),
            (&["rpush l a b 300"], "b4783f547dbc41a26b03c3804c42a322e372a906"),
            (&["sadd s a 1 b"], "03128985877bc2c95aa9323b2fab8b2cb7edec2c"),
            (&["sadd s 1 2 3"], "5db52aea846889b51b38382f9a31b671754d2571"),
            (&["zadd z 1 a 2.5 b -inf c 0.1 7"], "17c48a6ddeaa7407058bd18553cae90000d3e80c"),
            (&["hmset h f v 5 77"], "23d97f7dad6e470ec9a31481f333e14af86039fe"),
        ] {
            assert_eq!(digest_after(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_order_counts_in_lists_only() {
        assert_eq!(digest_after(&["sadd s a b"]), digest_after(&["sadd s b a"]));
        assert_ne!(digest_after(&["rpush s a b"]), digest_after(&["rpush s b a"]));
        assert_eq!(digest_after(&["mset a 1 b 2"]), digest_after(&["mset b 2 a 1"]));
    }
}

//! The data that servers are filled with: the same bytes in the same order for every server.
//!
//! Keys are `key:%012d` (16 bytes), fields `field:%04d` (10), members, elements and values of collections 16 bytes,
//! scores and integers random below 10^6. Collections are built by commands of at most 100 elements, as clients do.

use super::error::Result;
use super::random::Random;
use super::wire::{Client, Shape, write_request};

/// Requests are sent in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
const ELEMENTS_PER_COMMAND: usize = 100;
/// Random numbers lie below this.
const NUMBERS: u64 = 1_000_000;
/// Far away, in seconds: nothing expires during a run.
const TTL: &str = "1000000";

/// Sends many requests in large pieces.
pub struct Loader<'a> {
    client: &'a mut Client,
    piece: Vec<u8>,
    requests: u64,
}

impl<'a> Loader<'a> {
    /// Nothing is sent yet.
    pub fn new(client: &'a mut Client) -> Self {
        Self { client, piece: Vec::with_capacity(2 * PIECE_BYTES), requests: 0 }
    }

    /// Adds a request.
    pub fn push(&mut self, args: &[&[u8]]) -> Result<()> {
        write_request(&mut self.piece, args);
        self.requests += 1;
        if self.piece.len() >= PIECE_BYTES { self.finish() } else { Ok(()) }
    }

    /// Sends what is left; all replies have been seen, none of them an error.
    pub fn finish(&mut self) -> Result<()> {
        self.client.exchange(&self.piece, self.requests, Shape::Any)?;
        self.piece.clear();
        self.requests = 0;
        Ok(())
    }
}

/// `count` keys `prefix` + twelve digits, all with the same value.
pub fn fill_strings(client: &mut Client, prefix: &str, count: u64, value: &[u8]) -> Result<()> {
    let mut loader = Loader::new(client);
    for number in 0..count {
        loader.push(&[b"SET", format!("{prefix}{number:012}").as_bytes(), value])?;
    }
    loader.finish()
}

/// A list of `count` equal elements.
pub fn fill_list(client: &mut Client, key: &str, count: u64, value: &[u8]) -> Result<()> {
    let mut loader = Loader::new(client);
    let mut left = count as usize;
    while left > 0 {
        let step = left.min(ELEMENTS_PER_COMMAND);
        let mut args: Vec<&[u8]> = vec![b"LPUSH", key.as_bytes()];
        args.resize(2 + step, value);
        loader.push(&args)?;
        left -= step;
    }
    loader.finish()
}

/// The kind of a data set's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 32 bytes.
    Text,
    /// 32 bytes, and an expiry.
    TextWithTtl,
    /// Fields of 10 bytes with values of 16.
    Hash,
    /// Members of 16 bytes with integer scores.
    SortedSet,
    /// Members of 16 bytes.
    Set,
    /// Integers below 10^6.
    IntegerSet,
    /// Elements of 16 bytes.
    List,
}

/// What memory is measured on.
#[derive(Debug, Clone, Copy)]
pub struct DataSet {
    /// Its name in the tables.
    pub name: &'static str,
    /// What the values are.
    pub kind: Kind,
    /// Number of keys.
    pub keys: u64,
    /// Elements in each value.
    pub elements: usize,
}

const fn set(name: &'static str, kind: Kind, keys: u64, elements: usize) -> DataSet {
    DataSet { name, kind, keys, elements }
}

/// Every data set that memory is measured on.
pub const DATA_SETS: &[DataSet] = &[
    set("str", Kind::Text, 1_000_000, 1),
    set("str+ttl", Kind::TextWithTtl, 1_000_000, 1),
    set("hash10", Kind::Hash, 200_000, 10),
    set("zset10", Kind::SortedSet, 200_000, 10),
    set("intset10", Kind::IntegerSet, 200_000, 10),
    set("list10", Kind::List, 200_000, 10),
    set("hash1000", Kind::Hash, 1_000, 1000),
    set("zset1000", Kind::SortedSet, 1_000, 1000),
    set("set1000", Kind::Set, 1_000, 1000),
    set("list1000", Kind::List, 1_000, 1000),
    set("intset500", Kind::IntegerSet, 2_000, 500),
];

impl DataSet {
    /// Sends the whole data set.
    pub fn load(&self, client: &mut Client) -> Result<()> {
        let mut loader = Loader::new(client);
        let mut random = Random::new(self.keys ^ self.elements as u64);
        for key in 0..self.keys {
            let key_name = format!("key:{key:012}").into_bytes();
            for first in (0..self.elements).step_by(ELEMENTS_PER_COMMAND) {
                let last = self.elements.min(first + ELEMENTS_PER_COMMAND);
                let args = self.command(&key_name, key, first..last, &mut random);
                loader.push(&args.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
            }
        }
        loader.finish()
    }

    /// The command that adds the elements of `range` to key number `key`.
    fn command(&self, key_name: &[u8], key: u64, range: std::ops::Range<usize>, random: &mut Random) -> Vec<Vec<u8>> {
        let name = match self.kind {
            Kind::Text | Kind::TextWithTtl => "SET",
            Kind::Hash => "HMSET",
            Kind::SortedSet => "ZADD",
            Kind::Set | Kind::IntegerSet => "SADD",
            Kind::List => "RPUSH",
        };
        let mut args = vec![name.as_bytes().to_vec(), key_name.to_vec()];
        for element in range {
            // Distinct within a key, different between keys.
            let serial = (key * 1_000_003 + element as u64) % 1_000_000_000;
            match self.kind {
                Kind::Text => args.push(vec![b'x'; 32]),
                Kind::TextWithTtl => args.extend([vec![b'x'; 32], b"EX".to_vec(), TTL.as_bytes().to_vec()]),
                Kind::Hash => {
                    args.push(format!("field:{element:04}").into_bytes());
                    args.push(format!("value:{serial:010}").into_bytes());
                }
                Kind::SortedSet => {
                    args.push(random.below(NUMBERS).to_string().into_bytes());
                    args.push(format!("member:{serial:09}").into_bytes());
                }
                Kind::Set => args.push(format!("member:{serial:09}").into_bytes()),
                Kind::List => args.push(format!("value:{serial:010}").into_bytes()),
                Kind::IntegerSet => args.push(random.below(NUMBERS).to_string().into_bytes()),
            }
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(kind: Kind) -> Vec<String> {
        let data = set("test", kind, 5, 10);
        let args = data.command(b"key:000000000003", 3, 0..2, &mut Random::new(1));
        args.into_iter().map(|arg| String::from_utf8(arg).unwrap()).collect()
    }

    #[test]
    fn elements_have_the_sizes_that_the_tables_promise() {
        let hash = texts(Kind::Hash);
        assert_eq!(hash[..4], ["HMSET", "key:000000000003", "field:0000", "value:0003000009"]);
        assert_eq!(hash.len(), 6);
        for (kind, at) in [(Kind::SortedSet, 3), (Kind::Set, 2), (Kind::List, 2)] {
            assert_eq!(texts(kind)[at].len(), 16, "{kind:?}");
        }
        assert!(texts(Kind::IntegerSet)[2].parse::<u64>().unwrap() < NUMBERS);
        assert_eq!(texts(Kind::TextWithTtl)[3..5], ["EX", TTL]);
    }

    #[test]
    fn members_are_distinct_within_a_key() {
        let data = set("test", Kind::Set, 1000, 1000);
        for key in [0, 999] {
            let mut members = data.command(b"k", key, 0..1000, &mut Random::new(1)).split_off(2);
            members.sort();
            members.dedup();
            assert_eq!(members.len(), 1000);
        }
    }
}

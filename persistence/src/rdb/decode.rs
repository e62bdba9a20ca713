//! Values of every form that versions 1 to 10 hold, as far as the type is one of ours.

use super::source::Source;
use super::{Error, kind, packed, ziplist};
use engine::encoding::intset::IntSet;
use engine::encoding::item::{Item, Scratch};
use engine::raw::entry::{Body, Collection};
use engine::value::hash::HashLimits;
use engine::value::list::NodeLimit;
use engine::value::zset::ZSetLimits;
use engine::value::{Hash, List, Set, ZSet};
use std::io::Read;

/// How long collections stay small.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `hash-max-ziplist-entries` and `-value`.
    pub hash: HashLimits,
    /// `list-max-ziplist-size`.
    pub list_node: NodeLimit,
    /// `set-max-intset-entries`.
    pub set_max_intset_entries: usize,
    /// `zset-max-ziplist-entries` and `-value`.
    pub zset: ZSetLimits,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash: HashLimits::default(),
            list_node: NodeLimit::default(),
            set_max_intset_entries: 512,
            zset: ZSetLimits::default(),
        }
    }
}

/// Decodes values from a source.
pub struct Decoder<R> {
    /// The bytes.
    pub source: Source<R>,
    limits: Limits,
    text: Vec<u8>,
    other: Vec<u8>,
}

impl<R: Read> Decoder<R> {
    /// From the beginning of `from`.
    pub fn new(from: R, limits: Limits) -> Decoder<R> {
        Decoder { source: Source::new(from), limits, text: Vec::new(), other: Vec::new() }
    }

    /// The value of type `kind` that comes next; `None` for a collection without elements, which no key may have.
    pub fn value(&mut self, kind: u8) -> Result<Option<Body<'_>>, Error> {
        match kind {
            kind::STRING => {
                self.source.string(&mut self.text)?;
                let int = if self.text.len() <= 20 { resp::parse_i64(&self.text) } else { None };
                Ok(Some(int.map_or(Body::Bytes { bytes: &self.text, raw: false }, Body::Int)))
            }
            kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
                Ok(full(self.list(kind)?))
            }
            kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => Ok(full(self.set(kind)?)),
            kind::ZSET | kind::ZSET_2 | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => Ok(full(self.zset(kind)?)),
            kind::HASH | kind::HASH_ZIPMAP | kind::HASH_ZIPLIST | kind::HASH_LISTPACK => Ok(full(self.hash(kind)?)),
            6 | 7 => Err(Error::Unsupported { what: "a value of a module" }),
            15 | 19 | 21 => Err(Error::Unsupported { what: "a stream" }),
            _ => Err(self.source.corrupt("a value of an unknown type")),
        }
    }

    fn list(&mut self, kind: u8) -> Result<List, Error> {
        let mut list = List::new();
        if kind == kind::LIST_ZIPLIST {
            self.source.string(&mut self.text)?;
            self.append_packed(&mut list, ziplist::parse)?;
            return Ok(list);
        }
        /// Of a node of a list in version 10: its only element as it is.
        const PLAIN: usize = 1;
        for _ in 0..self.source.count()? {
            let plain = match kind {
                kind::LIST => true,
                kind::LIST_QUICKLIST_2 => self.source.count()? == PLAIN,
                _ => false,
            };
            self.source.string(&mut self.text)?;
            match kind {
                _ if plain => list.push_back(&self.text, self.limits.list_node),
                kind::LIST_QUICKLIST => self.append_packed(&mut list, ziplist::parse)?,
                _ => self.append_packed(&mut list, packed::listpack)?,
            }
        }
        Ok(list)
    }

    fn append_packed(&self, list: &mut List, parse: fn(&[u8]) -> Option<Vec<Item<'_>>>) -> Result<(), Error> {
        let items = parse(&self.text).ok_or_else(|| self.source.corrupt("a packed list"))?;
        let mut scratch = Scratch::new();
        items.iter().for_each(|item| list.push_back(item.bytes_in(&mut scratch), self.limits.list_node));
        Ok(())
    }

    fn set(&mut self, kind: u8) -> Result<Set, Error> {
        let entries = self.limits.set_max_intset_entries;
        let mut set = Set::new();
        let mut fresh = true;
        if kind == kind::SET {
            for _ in 0..self.source.count()? {
                self.source.string(&mut self.text)?;
                fresh &= set.add(&self.text, entries);
            }
        } else {
            self.source.string(&mut self.text)?;
            if kind == kind::SET_INTSET {
                let ints =
                    IntSet::from_redis_intset(&self.text).ok_or_else(|| self.source.corrupt("a set of integers"))?;
                if ints.len() <= entries {
                    return Ok(Set::from(ints));
                }
                ints.iter().for_each(|int| fresh &= Item::Int(int).with_bytes(|member| set.add(member, entries)));
            } else {
                let items = packed::listpack(&self.text).ok_or_else(|| self.source.corrupt("a packed set"))?;
                items.into_iter().for_each(|item| fresh &= item.with_bytes(|member| set.add(member, entries)));
            }
        }
        if fresh { Ok(set) } else { Err(self.source.corrupt("a set with a member twice")) }
    }

    fn zset(&mut self, kind: u8) -> Result<ZSet, Error> {
        let mut zset = ZSet::new();
        let limits = self.limits.zset;
        let mut fresh = true;
        let mut add = |member: &[u8], score: f64| fresh &= zset.put(member, limits, |_| Some(score)).0.is_none();
        if matches!(kind, kind::ZSET | kind::ZSET_2) {
            for _ in 0..self.source.count()? {
                self.source.string(&mut self.text)?;
                let score = match kind {
                    kind::ZSET => self.source.score()?,
                    _ => f64::from_le_bytes(self.source.array()?),
                };
                if score.is_nan() {
                    return Err(self.source.corrupt("a score that is no number"));
                }
                add(&self.text, score);
            }
        } else {
            let items = packed_pairs(&mut self.source, &mut self.text, kind == kind::ZSET_LISTPACK)?;
            let (mut member, mut text) = (Scratch::new(), Scratch::new());
            for pair in items.chunks_exact(2) {
                let score = resp::parse_f64(pair[1].bytes_in(&mut text));
                add(pair[0].bytes_in(&mut member), score.ok_or_else(|| self.source.corrupt("a score"))?);
            }
        }
        if fresh { Ok(zset) } else { Err(self.source.corrupt("a sorted set with a member twice")) }
    }

    fn hash(&mut self, kind: u8) -> Result<Hash, Error> {
        let mut hash = Hash::new();
        let limits = self.limits.hash;
        let mut fresh = true;
        if kind == kind::HASH {
            for _ in 0..self.source.count()? {
                self.source.string(&mut self.text)?;
                self.source.string(&mut self.other)?;
                fresh &= hash.set(&self.text, &self.other, limits);
            }
        } else {
            let items = if kind == kind::HASH_ZIPMAP {
                self.source.string(&mut self.text)?;
                packed::zipmap(&self.text).ok_or_else(|| self.source.corrupt("a zipmap"))?
            } else {
                packed_pairs(&mut self.source, &mut self.text, kind == kind::HASH_LISTPACK)?
            };
            let (mut field, mut value) = (Scratch::new(), Scratch::new());
            for pair in items.chunks_exact(2) {
                fresh &= hash.set(pair[0].bytes_in(&mut field), pair[1].bytes_in(&mut value), limits);
            }
        }
        if fresh { Ok(hash) } else { Err(self.source.corrupt("a hash with a field twice")) }
    }
}

/// The next string, left in `text`, as the packed form of an even number of elements.
fn packed_pairs<'t, R: Read>(
    source: &mut Source<R>,
    text: &'t mut Vec<u8>,
    listpack: bool,
) -> Result<Vec<Item<'t>>, Error> {
    source.string(text)?;
    let items = if listpack { packed::listpack(text) } else { ziplist::parse(text) };
    let items = items.filter(|items| items.len() % 2 == 0);
    items.ok_or_else(|| source.corrupt("packed pairs"))
}

fn full<C: Collection>(collection: C) -> Option<Body<'static>> {
    (!collection.is_empty()).then(|| collection.body())
}

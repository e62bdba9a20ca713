//! Values of every form that versions 1 to 11 hold, as far as the type is one of ours.
//!
//! What is packed in a file stays small only within the limits of this server, by the rules of 3.2: of a ziplist or
//! listpack only the number of elements counts, not their length.

use super::source::Source;
use super::{Error, kind, packed, ziplist};
use engine::encoding::compact::Compact;
use engine::encoding::intset::IntSet;
use engine::encoding::item::{Item, Scratch};
use engine::raw::entry::{Body, Collection};
use engine::value::hash::HashLimits;
use engine::value::list::{End, NodeLimit};
use engine::value::zset::ZSetLimits;
use engine::value::{Hash, List, Set, ZSet};
use std::io::Read;

/// How long collections stay small.
#[derive(Clone, Copy, Debug)]
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

/// A collection as far as it has been read.
pub struct Elements {
    collection: Partial,
    kind: u8,
    left: usize,
}

enum Partial {
    List(List),
    Set(Set),
    ZSet(ZSet),
    Hash(Hash),
}

impl Elements {
    /// Elements that are still to come; of a packed list nodes.
    pub fn left(&self) -> usize {
        self.left
    }

    /// What there is; `None` if that is nothing.
    pub fn into_body(self) -> Option<Body<'static>> {
        match self.collection {
            Partial::List(list) => full(list),
            Partial::Set(set) => full(set),
            Partial::ZSet(zset) => full(zset),
            Partial::Hash(hash) => full(hash),
        }
    }
}

/// A form in which several elements are one string.
#[derive(Clone, Copy)]
enum Packed {
    Ziplist,
    Listpack,
    Zipmap,
}

impl Packed {
    fn each<'b>(self, blob: &'b [u8], take: impl FnMut(Item<'b>)) -> Option<()> {
        match self {
            Packed::Ziplist => ziplist::each(blob, take),
            Packed::Listpack => packed::listpack(blob, take),
            Packed::Zipmap => packed::zipmap(blob, take),
        }
    }

    /// As [`each`](Self::each), two at a time.
    fn pairs<'b>(self, blob: &'b [u8], mut take: impl FnMut(Item<'b>, Item<'b>)) -> Option<()> {
        let mut first = None;
        self.each(blob, |item| match first.take() {
            None => first = Some(item),
            Some(first) => take(first, item),
        })?;
        first.is_none().then_some(())
    }
}

impl<R: Read> Decoder<R> {
    /// From where `source` is.
    pub fn new(source: Source<R>, limits: Limits) -> Decoder<R> {
        Decoder { source, limits, text: Vec::new(), other: Vec::new() }
    }

    /// The value of type `kind` that comes next; `None` for a collection without elements, which no key may have.
    pub fn value(&mut self, kind: u8) -> Result<Option<Body<'_>>, Error> {
        match kind {
            kind::STRING => Ok(Some(match self.source.text(&mut self.text)? {
                Item::Int(int) => Body::Int(int),
                Item::Str(bytes) => match Item::parse(bytes) {
                    Item::Int(int) => Body::Int(int),
                    Item::Str(bytes) => Body::Bytes { bytes, raw: false },
                },
            })),
            kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
                Ok(full(self.list(kind)?))
            }
            kind::SET => Ok(full(self.set()?)),
            kind::SET_INTSET | kind::SET_LISTPACK => Ok(full(self.packed_set(kind)?)),
            kind::ZSET | kind::ZSET_2 => Ok(full(self.zset(kind)?)),
            kind::ZSET_ZIPLIST => Ok(full(self.packed_zset(Packed::Ziplist)?)),
            kind::ZSET_LISTPACK => Ok(full(self.packed_zset(Packed::Listpack)?)),
            kind::HASH => Ok(full(self.hash()?)),
            kind::HASH_ZIPMAP => Ok(full(self.packed_hash(Packed::Zipmap)?)),
            kind::HASH_ZIPLIST => Ok(full(self.packed_hash(Packed::Ziplist)?)),
            kind::HASH_LISTPACK => Ok(full(self.packed_hash(Packed::Listpack)?)),
            6 | 7 => Err(Error::Unsupported("a value of a module")),
            15 | 19 | 21 => Err(Error::Unsupported("a stream")),
            _ => Err(Error::Type(kind)),
        }
    }

    /// The head of a collection of type `kind`, if that is one that comes element by element, or node by node.
    pub fn begin(&mut self, kind: u8) -> Result<Option<Elements>, Error> {
        let collection = match kind {
            kind::LIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => Partial::List(List::new()),
            kind::SET => Partial::Set(Set::new()),
            kind::ZSET | kind::ZSET_2 => Partial::ZSet(ZSet::new()),
            kind::HASH => Partial::Hash(Hash::new()),
            _ => return Ok(None),
        };
        Ok(Some(Elements { collection, kind, left: self.source.count()? }))
    }

    /// Adds up to `count` of the elements that come next.
    pub fn add(&mut self, count: usize, to: &mut Elements) -> Result<(), Error> {
        let count = count.min(to.left);
        match &mut to.collection {
            Partial::List(list) => self.list_nodes(to.kind, count, list)?,
            Partial::Set(set) => self.set_members(count, set)?,
            Partial::ZSet(zset) => self.zset_members(to.kind, count, zset)?,
            Partial::Hash(hash) => self.hash_fields(count, hash)?,
        }
        to.left -= count;
        Ok(())
    }

    fn list(&mut self, kind: u8) -> Result<List, Error> {
        let mut list = List::new();
        let nodes = if kind == kind::LIST_ZIPLIST { 1 } else { self.source.count()? };
        self.list_nodes(kind, nodes, &mut list)?;
        Ok(list)
    }

    fn list_nodes(&mut self, kind: u8, count: usize, list: &mut List) -> Result<(), Error> {
        /// Of a node of a list since version 10: its only element as it is, or a listpack.
        const PLAIN: usize = 1;
        const PACKED: usize = 2;
        for _ in 0..count {
            let form = match kind {
                kind::LIST => None,
                kind::LIST_QUICKLIST_2 => match self.source.count()? {
                    PLAIN => None,
                    PACKED => Some(Packed::Listpack),
                    _ => return Err(Error::Corrupt("a node of a list of an unknown form")),
                },
                _ => Some(Packed::Ziplist),
            };
            let (blob, limit) = (self.source.blob(&mut self.text)?, self.limits.list_node);
            match form {
                None => list.push_back(blob, limit),
                Some(form) => form
                    .each(blob, |item| list.push_item(End::Back, item, limit))
                    .ok_or(Error::Corrupt("a packed list"))?,
            }
        }
        Ok(())
    }

    fn set(&mut self) -> Result<Set, Error> {
        let mut set = Set::new();
        let count = self.source.count()?;
        self.set_members(count, &mut set)?;
        Ok(set)
    }

    fn set_members(&mut self, count: usize, set: &mut Set) -> Result<(), Error> {
        for _ in 0..count {
            let member = self.source.blob(&mut self.text)?;
            if !set.add(member, self.limits.set_max_intset_entries) {
                return Err(Error::Corrupt("a set with a member twice"));
            }
        }
        Ok(())
    }

    fn packed_set(&mut self, kind: u8) -> Result<Set, Error> {
        let entries = self.limits.set_max_intset_entries;
        let blob = self.source.blob(&mut self.text)?;
        let (mut set, mut fresh) = (Set::new(), true);
        let mut add = |item: Item<'_>| fresh &= item.with_bytes(|member| set.add(member, entries));
        if kind == kind::SET_INTSET {
            let ints = IntSet::from_redis_intset(blob).ok_or(Error::Corrupt("a set of integers"))?;
            if ints.len() <= entries {
                return Ok(Set::from(ints));
            }
            ints.iter().for_each(|int| add(Item::Int(int)));
        } else {
            packed::listpack(blob, add).ok_or(Error::Corrupt("a packed set"))?;
        }
        if fresh { Ok(set) } else { Err(Error::Corrupt("a set with a member twice")) }
    }

    fn zset(&mut self, kind: u8) -> Result<ZSet, Error> {
        let mut zset = ZSet::new();
        let count = self.source.count()?;
        self.zset_members(kind, count, &mut zset)?;
        Ok(zset)
    }

    fn zset_members(&mut self, kind: u8, count: usize, zset: &mut ZSet) -> Result<(), Error> {
        for _ in 0..count {
            self.source.string(&mut self.text)?;
            let score = match kind {
                kind::ZSET => self.source.score()?,
                _ => f64::from_le_bytes(self.source.array()?),
            };
            if score.is_nan() {
                return Err(Error::Corrupt("a score that is no number"));
            }
            if zset.put(&self.text, self.limits.zset, |_| Some(score)).0.is_some() {
                return Err(Error::Corrupt("a sorted set with a member twice"));
            }
        }
        Ok(())
    }

    fn packed_zset(&mut self, form: Packed) -> Result<ZSet, Error> {
        let limits = ZSetLimits { value: usize::MAX, ..self.limits.zset };
        let blob = self.source.blob(&mut self.text)?;
        let (mut members, mut numbers) = (Vec::new(), true);
        let whole = form.pairs(blob, |member, score| {
            let score = match score {
                Item::Int(int) => Some(int as f64),
                Item::Str(text) => resp::parse_f64(text).filter(|score| !score.is_nan()),
            };
            match score {
                Some(score) => members.push((member, score)),
                None => numbers = false,
            }
        });
        whole.ok_or(Error::Corrupt("a packed sorted set"))?;
        if !numbers {
            return Err(Error::Corrupt("a score"));
        }
        if let Some(zset) = ZSet::from_ordered(&members, limits) {
            return Ok(zset);
        }
        let (mut zset, mut scratch) = (ZSet::new(), Scratch::new());
        for (member, score) in members {
            if zset.put(member.bytes_in(&mut scratch), limits, |_| Some(score)).0.is_some() {
                return Err(Error::Corrupt("a sorted set with a member twice"));
            }
        }
        Ok(zset)
    }

    fn hash(&mut self) -> Result<Hash, Error> {
        let mut hash = Hash::new();
        let count = self.source.count()?;
        self.hash_fields(count, &mut hash)?;
        Ok(hash)
    }

    fn hash_fields(&mut self, count: usize, hash: &mut Hash) -> Result<(), Error> {
        for _ in 0..count {
            self.source.string(&mut self.text)?;
            let value = self.source.blob(&mut self.other)?;
            if !hash.set(&self.text, value, self.limits.hash) {
                return Err(Error::Corrupt("a hash with a field twice"));
            }
        }
        Ok(())
    }

    fn packed_hash(&mut self, form: Packed) -> Result<Hash, Error> {
        /// What a longer string becomes is built pair by pair, so that it is big early.
        const BYTES_AT_ONCE: usize = 1 << 20;
        let limits = self.limits.hash;
        let blob = self.source.blob(&mut self.text)?;
        let twice = Error::Corrupt("a hash with a field twice");
        let broken = Error::Corrupt("a packed hash");
        if !matches!(form, Packed::Zipmap) && blob.len() <= BYTES_AT_ONCE {
            let mut pairs = Compact::with_capacity(blob.len());
            form.each(blob, |item| pairs.push_back_item(item))
                .filter(|()| pairs.len().is_multiple_of(2))
                .ok_or(broken)?;
            pairs.shrink_to_fit();
            return Hash::from_pairs(pairs, limits).ok_or(twice);
        }
        let limits = if matches!(form, Packed::Zipmap) { limits } else { limits.entries_only() };
        let (mut hash, mut fresh) = (Hash::new(), true);
        let (mut field, mut value) = (Scratch::new(), Scratch::new());
        form.pairs(blob, |first, second| {
            fresh &= hash.set(first.bytes_in(&mut field), second.bytes_in(&mut value), limits);
        })
        .ok_or(broken)?;
        if fresh { Ok(hash) } else { Err(twice) }
    }
}

fn full<C: Collection>(collection: C) -> Option<Body<'static>> {
    (!collection.is_empty()).then(|| collection.body())
}

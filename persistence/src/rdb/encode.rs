//! Values, and the pieces they are made of, as bytes of version 7.

use super::kind;
use super::ziplist;
use crate::lzf::Compressor;
use engine::encoding::item::Item;
use engine::raw::entry::{EntryRef, Kind, Value};
use std::cell::Cell;

/// Strings up to this length may be held as an integer.
const INT_TEXT_MAX: usize = 11;
/// Longer strings are worth a try at compressing them.
const COMPRESS_ABOVE: usize = 20;
/// Compressing must save at least this many bytes.
const SAVING_MIN: usize = 4;

thread_local! {
    /// A compressor without an encoder: its table is far larger than most values, so that DUMP must not make one for each.
    static SPARE: Cell<Option<Compressor>> = const { Cell::new(None) };
}

/// Writes pieces to the end of a buffer.
pub struct Encoder {
    /// The bytes so far.
    pub out: Vec<u8>,
    compress: bool,
    /// Taken when it is first needed.
    compressor: Option<Compressor>,
    scratch: Vec<u8>,
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if let Some(compressor) = self.compressor.take() {
            // Without a place to keep it, while the thread ends, it is freed.
            let _ = SPARE.try_with(|spare| spare.set(Some(compressor)));
        }
    }
}

impl Encoder {
    /// With an empty buffer; `compress` is `rdbcompression`.
    pub fn new(compress: bool) -> Encoder {
        Encoder { out: Vec::new(), compress, compressor: None, scratch: Vec::new() }
    }

    /// A length or count.
    pub fn len(&mut self, len: usize) {
        match len {
            0..0x40 => self.out.push(len as u8),
            0x40..0x4000 => self.out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
            // Neither strings nor numbers of elements reach 2^32: the format has no place for more.
            _ => {
                self.out.push(0x80);
                self.out.extend_from_slice(&(len as u32).to_be_bytes());
            }
        }
    }

    /// A string, as an integer or compressed where that is shorter.
    pub fn string(&mut self, bytes: &[u8]) {
        if bytes.len() <= INT_TEXT_MAX
            && let Some(int) = resp::parse_i64(bytes)
            && self.small_int(int)
        {
            return;
        }
        if !self.compressed(bytes) {
            self.len(bytes.len());
            self.out.extend_from_slice(bytes);
        }
    }

    /// An integer as a string.
    pub fn int(&mut self, int: i64) {
        if !self.small_int(int) {
            let mut digits = std::mem::take(&mut self.scratch);
            resp::format_i64(int, &mut digits);
            self.len(digits.len());
            self.out.extend_from_slice(&digits);
            digits.clear();
            self.scratch = digits;
        }
    }

    /// An element as a string.
    pub fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Int(int) => self.int(int),
            Item::Str(bytes) => self.string(bytes),
        }
    }

    /// An integer of up to 32 bits; false if it has more.
    fn small_int(&mut self, int: i64) -> bool {
        let (head, width) = match int {
            -0x80..=0x7f => (0xc0, 1),
            -0x8000..=0x7fff => (0xc1, 2),
            -0x8000_0000..=0x7fff_ffff => (0xc2, 4),
            _ => return false,
        };
        self.out.push(head);
        self.out.extend_from_slice(&int.to_le_bytes()[..width]);
        true
    }

    fn compressed(&mut self, bytes: &[u8]) -> bool {
        if !self.compress || bytes.len() <= COMPRESS_ABOVE {
            return false;
        }
        let spare = || SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let compressor = self.compressor.get_or_insert_with(spare);
        let mut packed = std::mem::take(&mut self.scratch);
        let smaller = compressor.compress(bytes, bytes.len() - SAVING_MIN, &mut packed);
        if smaller {
            self.out.push(0xc3);
            self.len(packed.len());
            self.len(bytes.len());
            self.out.extend_from_slice(&packed);
        }
        packed.clear();
        self.scratch = packed;
        smaller
    }

    /// A score as text, with its own length byte.
    pub fn score(&mut self, score: f64) {
        if score.is_nan() {
            self.out.push(253);
        } else if score.is_infinite() {
            self.out.push(if score > 0.0 { 254 } else { 255 });
        } else {
            let at = self.out.len();
            self.out.push(0);
            // What the original tells apart here prints alike, but for the negative zero, which it prints as zero.
            resp::format_f64_17g(if score == 0.0 { 0.0 } else { score }, &mut self.out);
            self.out[at] = (self.out.len() - at - 1) as u8;
        }
    }

    /// Elements as one string that is a ziplist.
    pub(super) fn packed<'i>(&mut self, items: impl Iterator<Item = Item<'i>>) {
        let mut blob = Vec::new();
        let mut writer = ziplist::Writer::new(&mut blob);
        items.for_each(|item| writer.push(item));
        writer.finish();
        self.string(&blob);
    }

    /// A value without its type byte, see [`kind_of`].
    pub fn value(&mut self, value: Value<'_>) {
        match value {
            Value::Int(int) => self.int(int),
            Value::Bytes(bytes) => self.string(bytes),
            Value::List(list) => {
                self.len(list.node_count());
                list.nodes().for_each(|node| self.packed(node.iter()));
            }
            Value::Set(set) => match set.as_ints() {
                Some(ints) => {
                    let mut blob = Vec::new();
                    ints.write_redis_intset(&mut blob);
                    self.string(&blob);
                }
                None => {
                    self.len(set.len());
                    set.iter().for_each(|member| self.item(member));
                }
            },
            Value::ZSet(zset) if zset.as_compact().is_some() => {
                let mut blob = Vec::new();
                let mut writer = ziplist::Writer::new(&mut blob);
                let mut text = Vec::new();
                for (member, score) in zset.iter() {
                    text.clear();
                    resp::format_f64_score(score, &mut text);
                    writer.push(member);
                    writer.push(Item::parse(&text));
                }
                writer.finish();
                self.string(&blob);
            }
            Value::ZSet(zset) => {
                self.len(zset.len());
                for (member, score) in zset.iter() {
                    self.item(member);
                    self.score(score);
                }
            }
            Value::Hash(hash) => match hash.as_compact() {
                Some(pairs) => self.packed(pairs.iter()),
                None => {
                    self.len(hash.len());
                    for (field, value) in hash.iter() {
                        self.item(field);
                        self.item(value);
                    }
                }
            },
        }
    }

    /// A key with all that belongs to it.
    pub fn entry(&mut self, entry: EntryRef<'_>) {
        if let Some(at_ms) = entry.expire_at_ms() {
            self.out.push(0xfc);
            self.out.extend_from_slice(&at_ms.to_le_bytes());
        }
        self.out.push(kind_of(entry.value()));
        self.string(entry.key());
        self.value(entry.value());
    }
}

/// The type byte of a value.
pub fn kind_of(value: Value<'_>) -> u8 {
    match value {
        Value::Int(_) | Value::Bytes(_) => kind::STRING,
        Value::List(_) => kind::LIST_QUICKLIST,
        Value::Set(set) if set.as_ints().is_some() => kind::SET_INTSET,
        Value::Set(_) => kind::SET,
        Value::ZSet(zset) if zset.as_compact().is_some() => kind::ZSET_ZIPLIST,
        Value::ZSet(_) => kind::ZSET,
        Value::Hash(hash) if hash.as_compact().is_some() => kind::HASH_ZIPLIST,
        Value::Hash(_) => kind::HASH,
    }
}

/// The type byte of a value that is written element by element.
pub(super) fn kind_of_elements(kind: Kind) -> u8 {
    match kind {
        Kind::String => kind::STRING,
        Kind::List => kind::LIST_QUICKLIST,
        Kind::Set => kind::SET,
        Kind::ZSet => kind::ZSET,
        Kind::Hash => kind::HASH,
    }
}

/// The length of a value as files hold it: `serializedlength` of DEBUG OBJECT.
pub fn value_len(value: Value<'_>, compress: bool) -> usize {
    let mut encoder = Encoder::new(compress);
    encoder.value(value);
    encoder.out.len()
}

//! The bytes of one entry of a [`Compact`](super::Compact), as the drawing there has them: encode, measure, decode.

use crate::encoding::item::Item;
use crate::raw::thin::ThinBytes;

const STR6: u8 = 0x80;
const INT12: u8 = 0xC0;
const STR12: u8 = 0xD0;
const STR32: u8 = 0xE0;
const INT16: u8 = 0xE1;
const INT24: u8 = 0xE2;
const INT32: u8 = 0xE3;
const INT48: u8 = 0xE4;
const INT64: u8 = 0xE5;

const STR6_MAX: usize = 63;
const STR12_MIN: usize = 64;
const STR12_MAX: usize = STR12_MIN + 0xFFF;
const INT7_MAX: i64 = 127;
const INT12_MIN: i64 = 128;
const INT12_MAX: i64 = INT12_MIN + 0xFFF;

/// An element as it is to stand in the block: the first `head_len` bytes of `head`, then `payload`.
/// An integer's bytes are all in the head.
pub(super) struct Encoded<'a> {
    head: [u8; 9],
    pub(super) head_len: usize,
    pub(super) payload: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn new(item: Item<'a>) -> Encoded<'a> {
        let mut head = [0; 9];
        match item {
            Item::Str(payload) => {
                let len = payload.len();
                let head_len = if len <= STR6_MAX {
                    head[0] = STR6 | len as u8;
                    1
                } else if len <= STR12_MAX {
                    let coded = (len - STR12_MIN) as u16;
                    head[0] = STR12 | (coded >> 8) as u8;
                    head[1] = coded as u8;
                    2
                } else {
                    assert!(len <= ThinBytes::MAX_LEN, "an element longer than a block can be");
                    head[0] = STR32;
                    head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
                    5
                };
                Encoded { head, head_len, payload }
            }
            Item::Int(int) => {
                let head_len = if (0..=INT7_MAX).contains(&int) {
                    head[0] = int as u8;
                    1
                } else if (INT12_MIN..=INT12_MAX).contains(&int) {
                    let coded = (int - INT12_MIN) as u16;
                    head[0] = INT12 | (coded >> 8) as u8;
                    head[1] = coded as u8;
                    2
                } else {
                    // Bits without the sign; +1 for it.
                    let bits = 65 - (int ^ (int >> 63)).leading_zeros();
                    let (tag, width) = match bits {
                        0..=16 => (INT16, 2),
                        17..=24 => (INT24, 3),
                        25..=32 => (INT32, 4),
                        33..=48 => (INT48, 6),
                        _ => (INT64, 8),
                    };
                    head[0] = tag;
                    head[1..].copy_from_slice(&int.to_le_bytes());
                    1 + width
                };
                Encoded { head, head_len, payload: &[] }
            }
        }
    }

    /// Whether the entry at `at` is this element.
    #[inline]
    pub(super) fn is_at(&self, block: &[u8], at: usize) -> bool {
        let (head, rest) = (self.head(), &block[at..]);
        rest[0] == head[0] && rest.starts_with(head) && rest[head.len()..].starts_with(self.payload)
    }

    #[inline]
    pub(super) fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }
}

/// Bytes of payload that follow the head of an integer with tag `head`.
#[inline]
fn int_width(head: u8) -> usize {
    match head {
        INT16 => 2,
        INT24 => 3,
        INT32 => 4,
        INT48 => 6,
        INT64 => 8,
        _ => unreachable!("no entry begins with {head:#x}"),
    }
}

/// Bytes of head and payload of the entry at `at`.
#[inline]
fn body_size(block: &[u8], at: usize) -> usize {
    let head = block[at];
    match head {
        0..STR6 => 1,
        STR6..INT12 => 1 + usize::from(head & 0x3F),
        INT12..STR12 => 2,
        STR12..STR32 => 2 + STR12_MIN + ((usize::from(head & 0xF) << 8) | usize::from(block[at + 1])),
        STR32 => 5 + str32_len(block, at),
        _ => 1 + int_width(head),
    }
}

#[inline]
fn str32_len(block: &[u8], at: usize) -> usize {
    let mut len = [0; 4];
    len.copy_from_slice(&block[at + 1..at + 5]);
    u32::from_le_bytes(len) as usize
}

/// Bytes of the entry at `at`, its length field included.
#[inline]
pub(super) fn entry_size(block: &[u8], at: usize) -> usize {
    let body = body_size(block, at);
    body + back_len_size(body)
}

/// Bytes of the entry that ends before `end`.
#[inline]
pub(super) fn entry_size_before(block: &[u8], end: usize) -> usize {
    let last = block[end - 1];
    if last < 0x80 {
        return usize::from(last) + 1;
    }
    let (mut body, mut shift, mut size) = (usize::from(last & 0x7F), 7, 2);
    loop {
        let byte = block[end - size];
        body |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return body + size;
        }
        shift += 7;
        size += 1;
    }
}

/// Bytes that the length field of an entry of `body` bytes takes.
#[inline]
pub(super) fn back_len_size(body: usize) -> usize {
    if body < 1 << 7 { 1 } else { (body.ilog2() / 7 + 1) as usize }
}

/// The length field of an entry of `body` bytes: the bytes from the returned index on.
#[inline]
pub(super) fn back_len(body: usize) -> ([u8; 5], usize) {
    let mut field = [0; 5];
    let mut at = 4;
    field[at] = (body & 0x7F) as u8;
    let mut rest = body >> 7;
    while rest > 0 {
        field[at] |= 0x80;
        at -= 1;
        field[at] = (rest & 0x7F) as u8;
        rest >>= 7;
    }
    (field, at)
}

#[inline]
pub(super) fn decode(block: &[u8], at: usize) -> Item<'_> {
    let head = block[at];
    let text = |start: usize, len: usize| Item::Str(&block[start..start + len]);
    match head {
        0..STR6 => Item::Int(i64::from(head)),
        STR6..INT12 => text(at + 1, usize::from(head & 0x3F)),
        INT12..STR12 => Item::Int(INT12_MIN + ((i64::from(head & 0xF) << 8) | i64::from(block[at + 1]))),
        STR12..STR32 => text(at + 2, STR12_MIN + ((usize::from(head & 0xF) << 8) | usize::from(block[at + 1]))),
        STR32 => text(at + 5, str32_len(block, at)),
        _ => {
            let width = int_width(head);
            let mut bytes = [0; 8];
            bytes[8 - width..].copy_from_slice(&block[at + 1..at + 1 + width]);
            // The value stands in the top bytes: shifting down extends the sign.
            Item::Int(i64::from_le_bytes(bytes) >> (64 - 8 * width))
        }
    }
}

pub(super) fn ziplist_entry_size(item: Item<'_>, before: usize) -> usize {
    let own = match item {
        Item::Int(0..=12) => 1,
        Item::Int(int) if i8::try_from(int).is_ok() => 2,
        Item::Int(int) if i16::try_from(int).is_ok() => 3,
        Item::Int(-0x80_0000..=0x7F_FFFF) => 4,
        Item::Int(int) if i32::try_from(int).is_ok() => 5,
        Item::Int(_) => 9,
        Item::Str(bytes) if bytes.len() <= 63 => 1 + bytes.len(),
        Item::Str(bytes) if bytes.len() <= 0x3FFF => 2 + bytes.len(),
        Item::Str(bytes) => 5 + bytes.len(),
    };
    own + if before < 254 { 1 } else { 5 }
}

//! Strings as arrays of bits: single bits, counts, searches, and the operations over several strings.
//!
//! Bit 0 is the highest bit of the first byte. What lies beyond a string's end reads as zero.

pub mod field;

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::string::{STRING_BYTES_MAX, span};
use crate::table::{Command, command};
use engine::effects::class::{GENERIC, STRING};
use engine::keyspace::{SetExpire, Text};
use engine::raw::entry::Body;
use resp::{Flags, KeySpec, errors, parse_i64};

/// The offset of a bit in a string of at most 512 MB.
fn bit_offset(text: &[u8]) -> Result<u64, Error> {
    let offset = parse_i64(text).and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset / 8 < STRING_BYTES_MAX as u64).ok_or(Error::Text(errors::BIT_OFFSET))
}

fn setbit(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, offset) = (ctx.key(1), bit_offset(ctx.args.at(2))?);
    let on = match parse_i64(ctx.args.at(3)) {
        Some(bit @ 0..=1) => bit == 1,
        _ => return Err(Error::Text(errors::BIT_VALUE)),
    };
    let (byte, mask) = ((offset / 8) as usize, 0x80u8 >> (offset % 8));
    let len = ctx.keys.text_to_change(&key)?.map_or(0, Text::len).max(byte + 1);
    let old = ctx.keys.edit_text(&key, len, |bytes| {
        let old = bytes[byte];
        bytes[byte] = if on { old | mask } else { old & !mask };
        old & mask != 0
    })?;
    ctx.keys.changed(&key, STRING, "setbit");
    ctx.out.int(old.into());
    Ok(())
}

fn getbit(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, offset) = (ctx.key(1), bit_offset(ctx.args.at(2))?);
    let byte = match ctx.keys.text(&key)? {
        None => 0,
        Some(text) => text.with_bytes(|bytes| bytes.get((offset / 8) as usize).copied().unwrap_or(0)),
    };
    ctx.out.int((byte >> (7 - offset % 8) & 1).into());
    Ok(())
}

/// Number of bits that are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

fn bitcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let range = match ctx.args.len() {
        2 => Ok((0, -1)),
        4 => ctx.int(2).and_then(|start| Ok((start, ctx.int(3)?))),
        _ => Err(Error::Text(errors::SYNTAX)),
    };
    // With a missing key a bad range is no error, as in the original.
    let count = match ctx.keys.text(&key)? {
        None => 0,
        Some(text) => {
            let (start, end) = range?;
            text.with_bytes(|bytes| count_ones(&bytes[span(start, end, bytes.len())]))
        }
    };
    ctx.out.int(count as i64);
    Ok(())
}

/// The position of the first bit equal to `bit`.
pub fn first_bit(bytes: &[u8], bit: bool) -> Option<u64> {
    let skip = if bit { 0 } else { 0xff };
    let (words, rest) = bytes.as_chunks::<8>();
    let whole = u64::from_ne_bytes([skip; 8]);
    let word = words.iter().position(|word| u64::from_ne_bytes(*word) != whole);
    let from = word.unwrap_or(words.len()) * 8;
    let tail = if word.is_some() { &bytes[from..] } else { rest };
    let (at, byte) = tail.iter().enumerate().find(|(_, byte)| **byte != skip)?;
    Some((from + at) as u64 * 8 + u64::from((byte ^ skip).leading_zeros()))
}

fn bitpos(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let bit = match ctx.int(2)? {
        bit @ 0..=1 => bit == 1,
        _ => return Err(Error::Text("ERR The bit argument must be 1 or 0.")),
    };
    let argc = ctx.args.len();
    let range = match argc {
        3 => Ok((0, -1)),
        4 => ctx.int(3).map(|start| (start, -1)),
        5 => ctx.int(3).and_then(|start| Ok((start, ctx.int(4)?))),
        _ => Err(Error::Text(errors::SYNTAX)),
    };
    // With a missing key a bad range is no error, as in the original.
    let found = match ctx.keys.text(&key)? {
        // As an endless row of zeros.
        None => (!bit).then_some(0),
        Some(text) => {
            let (start, end) = range?;
            text.with_bytes(|bytes| {
                let range = plain_span(start, end, bytes.len());
                match first_bit(&bytes[range.clone()], bit) {
                    Some(at) => Some(at + range.start as u64 * 8),
                    // Without an explicit end, zeros follow the string.
                    None if !bit && argc < 5 && !range.is_empty() => Some(range.end as u64 * 8),
                    None => None,
                }
            })
        }
    };
    ctx.out.int(found.map_or(-1, |at| at as i64));
    Ok(())
}

/// Like [`span`], without its rule for two negative positions in the wrong order.
fn plain_span(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let clamp = |i: i64| if i < 0 { i.saturating_add(len).max(0) } else { i };
    let (start, end) = (clamp(start), clamp(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

/// What BITOP does with two bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

fn bitop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let args = ctx.args;
    let operation = match &args.at(1).to_ascii_lowercase()[..] {
        b"and" => Operation::And,
        b"or" => Operation::Or,
        b"xor" => Operation::Xor,
        b"not" => Operation::Not,
        _ => return Err(Error::Text(errors::SYNTAX)),
    };
    if operation == Operation::Not && args.len() != 4 {
        return Err(Error::Text("ERR BITOP NOT must be called with a single source key."));
    }
    let target = ctx.key(2);
    let mut result: Option<Vec<u8>> = None;
    for i in 3..args.len() {
        let key = ctx.key(i);
        let text = ctx.keys.text(&key)?.unwrap_or(Text::Bytes(b""));
        text.with_bytes(|bytes| match &mut result {
            None => result = Some(bytes.to_vec()),
            Some(result) => combine(operation, result, bytes),
        });
    }
    let mut result = result.unwrap_or_default();
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    if result.is_empty() {
        if ctx.keys.remove(&target) {
            ctx.keys.touched(&target, GENERIC, "del");
        }
        // In the original this is a change, and goes to the log, even when there was nothing to remove.
        ctx.keys.dirty(1);
    } else {
        ctx.keys.put(&target, Body::Bytes { bytes: &result, raw: true }, SetExpire::Clear);
        ctx.keys.changed(&target, STRING, "set");
    }
    ctx.out.int(result.len() as i64);
    Ok(())
}

/// Combines `bytes` into `result`; the shorter of the two counts as padded with zeros.
fn combine(operation: Operation, result: &mut Vec<u8>, bytes: &[u8]) {
    if result.len() < bytes.len() {
        result.resize(bytes.len(), 0);
    }
    match operation {
        Operation::And => {
            let (head, tail) = result.split_at_mut(bytes.len());
            head.iter_mut().zip(bytes).for_each(|(to, from)| *to &= from);
            tail.fill(0);
        }
        Operation::Or => result.iter_mut().zip(bytes).for_each(|(to, from)| *to |= from),
        Operation::Xor => result.iter_mut().zip(bytes).for_each(|(to, from)| *to ^= from),
        // It has one source, which is never combined.
        Operation::Not => {}
    }
}

const ONE: KeySpec = KeySpec::FIRST;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);

pub(crate) static TABLE: &[Command] = &[
    command("setbit", 4, ONE, GROWS, setbit),
    command("getbit", 3, ONE, Flags::READONLY.or(Flags::FAST), getbit),
    command("bitfield", -2, ONE, GROWS, field::bitfield),
    command("bitop", -4, KeySpec::range(2, -1, 1), GROWS, bitop),
    command("bitcount", -2, ONE, Flags::READONLY, bitcount),
    command("bitpos", -3, ONE, Flags::READONLY, bitpos),
];

#[cfg(test)]
mod replies;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |i| byte >> (7 - i) & 1 == 1)).collect()
    }

    proptest! {
        #[test]
        fn counts_and_searches_equal_a_walk_over_single_bits(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..40),
        ) {
            let bits = bits(&bytes);
            prop_assert_eq!(count_ones(&bytes), bits.iter().filter(|bit| **bit).count() as u64);
            for wanted in [false, true] {
                let walked = bits.iter().position(|bit| *bit == wanted).map(|at| at as u64);
                prop_assert_eq!(first_bit(&bytes, wanted), walked);
            }
        }

        #[test]
        fn combining_pads_the_shorter_with_zeros(a in prop::collection::vec(any::<u8>(), 0..20), b in prop::collection::vec(any::<u8>(), 0..20)) {
            let at = |bytes: &[u8], i: usize| bytes.get(i).copied().unwrap_or(0);
            for (operation, naive) in [
                (Operation::And, (|x, y| x & y) as fn(u8, u8) -> u8),
                (Operation::Or, |x, y| x | y),
                (Operation::Xor, |x, y| x ^ y),
            ] {
                let mut result = a.clone();
                combine(operation, &mut result, &b);
                let expected: Vec<u8> = (0..a.len().max(b.len())).map(|i| naive(at(&a, i), at(&b, i))).collect();
                prop_assert_eq!(result, expected);
            }
        }
    }
}

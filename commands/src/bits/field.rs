//! BITFIELD: integers of any width inside a string.
//!
//! All arithmetic is done in 128 bits, where no sum of two operands can overflow, and fitted to the field's width after.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::string::STRING_BYTES_MAX;
use engine::effects::class::STRING;
use engine::keyspace::Text;
use resp::{errors, parse_i64};

const BAD_TYPE: &str =
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";

/// What happens to a result that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// A field's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    signed: bool,
    bits: u32,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    IncrBy(i64),
}

struct Operation {
    action: Action,
    width: Width,
    offset: u64,
    overflow: Overflow,
}

impl Width {
    fn parse(text: &[u8]) -> Result<Width, Error> {
        let error = Error::Text(BAD_TYPE);
        let signed = match text.first() {
            Some(b'i') => true,
            Some(b'u') => false,
            _ => return Err(error),
        };
        let most = if signed { 64 } else { 63 };
        match parse_i64(&text[1..]) {
            Some(bits) if (1..=most).contains(&bits) => Ok(Width { signed, bits: bits as u32 }),
            _ => Err(error),
        }
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }

    /// The value of the low bits of `raw`.
    fn value(self, raw: u64) -> i128 {
        let low = i128::from(raw) & ((1 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) & 1 == 1 { low - (1 << self.bits) } else { low }
    }

    /// `wanted` made to fit, or nothing if it does not and must not be made to.
    fn fit(self, wanted: i128, overflow: Overflow) -> Option<i128> {
        if (self.min()..=self.max()).contains(&wanted) {
            return Some(wanted);
        }
        match overflow {
            Overflow::Wrap => Some(self.value(wanted as u64)),
            Overflow::Saturate => Some(wanted.clamp(self.min(), self.max())),
            Overflow::Fail => None,
        }
    }
}

/// The bits `offset..offset + bits` of `bytes`, as the low bits; zero beyond the end.
fn load(bytes: &[u8], offset: u64, bits: u32) -> u64 {
    let first = (offset / 8) as usize;
    let window = (first..first + 9).fold(0u128, |sum, i| sum << 8 | u128::from(bytes.get(i).copied().unwrap_or(0)));
    (window >> (72 - (offset % 8) as u32 - bits)) as u64 & (u64::MAX >> (64 - bits))
}

/// Puts the low bits of `value` there; `bytes` must be long enough.
fn store(bytes: &mut [u8], offset: u64, bits: u32, value: u64) {
    let first = (offset / 8) as usize;
    let shift = 72 - (offset % 8) as u32 - bits;
    let mask = u128::from(u64::MAX >> (64 - bits)) << shift;
    let value = u128::from(value) << shift & mask;
    for (i, byte) in bytes.iter_mut().skip(first).take(9).enumerate() {
        let at = 64 - 8 * i as u32;
        *byte = *byte & !((mask >> at) as u8) | (value >> at) as u8;
    }
}

fn parse_offset(text: &[u8], bits: u32) -> Result<u64, Error> {
    let (text, factor) = match text.strip_prefix(b"#") {
        Some(rest) => (rest, i64::from(bits)),
        None => (text, 1),
    };
    let offset = parse_i64(text).and_then(|n| n.checked_mul(factor)).and_then(|n| u64::try_from(n).ok());
    offset.filter(|offset| offset / 8 < STRING_BYTES_MAX as u64).ok_or(Error::Text(errors::BIT_OFFSET))
}

fn parse(ctx: &Ctx<'_, '_>) -> Result<Vec<Operation>, Error> {
    let args = ctx.args;
    let (mut operations, mut overflow) = (Vec::new(), Overflow::Wrap);
    let mut i = 2;
    while i < args.len() {
        let left = args.len() - i - 1;
        let takes = match &args.at(i).to_ascii_lowercase()[..] {
            b"get" if left >= 2 => 2,
            b"set" | b"incrby" if left >= 3 => 3,
            b"overflow" if left >= 1 => {
                overflow = match &args.at(i + 1).to_ascii_lowercase()[..] {
                    b"wrap" => Overflow::Wrap,
                    b"sat" => Overflow::Saturate,
                    b"fail" => Overflow::Fail,
                    _ => return Err(Error::Text("ERR Invalid OVERFLOW type specified")),
                };
                i += 2;
                continue;
            }
            _ => return Err(Error::Text(errors::SYNTAX)),
        };
        let width = Width::parse(args.at(i + 1))?;
        let offset = parse_offset(args.at(i + 2), width.bits)?;
        let action = match takes {
            2 => Action::Get,
            _ if args.is(i, "set") => Action::Set(ctx.int(i + 3)?),
            _ => Action::IncrBy(ctx.int(i + 3)?),
        };
        operations.push(Operation { action, width, offset, overflow });
        i += takes + 1;
    }
    Ok(operations)
}

/// Does one operation; the reply, and what to store.
fn apply(bytes: &[u8], operation: &Operation) -> (Option<i64>, Option<u64>) {
    let Operation { action, width, offset, overflow } = *operation;
    let old = width.value(load(bytes, offset, width.bits));
    let wanted = match action {
        Action::Get => return (Some(old as i64), None),
        // A negative number counts as a huge one in an unsigned field.
        Action::Set(value) if width.signed => i128::from(value),
        Action::Set(value) => i128::from(value as u64),
        Action::IncrBy(amount) => old + i128::from(amount),
    };
    match width.fit(wanted, overflow) {
        None => (None, None),
        Some(new) => {
            let reply = if matches!(action, Action::Set(_)) { old } else { new };
            (Some(reply as i64), Some(new as u64))
        }
    }
}

/// BITFIELD key operation ...
pub(super) fn bitfield(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let operations = parse(ctx)?;
    let writes = operations.iter().filter(|operation| !matches!(operation.action, Action::Get));
    let last_bit = writes.clone().map(|write| write.offset + u64::from(write.width.bits) - 1).max();
    let changes = writes.count();
    let mut replies = Vec::with_capacity(operations.len());
    match last_bit {
        None => {
            let text = ctx.keys.text(&key)?.unwrap_or(Text::Bytes(b""));
            text.with_bytes(|bytes| replies.extend(operations.iter().map(|operation| apply(bytes, operation).0)));
        }
        Some(last) => {
            let old_len = ctx.keys.text_to_change(&key)?.map_or(0, Text::len);
            let len = old_len.max((last / 8) as usize + 1);
            crate::string::check_len(len as u64)?;
            ctx.keys.edit_text(&key, len, |bytes| {
                for operation in &operations {
                    let (reply, new) = apply(bytes, operation);
                    if let Some(new) = new {
                        store(bytes, operation.offset, operation.width.bits, new);
                    }
                    replies.push(reply);
                }
            })?;
            ctx.keys.changed(&key, STRING, "setbit");
            ctx.keys.dirty(changes as u64 - 1);
        }
    }
    ctx.out.array(replies.len());
    for reply in replies {
        match reply {
            Some(value) => ctx.out.int(value),
            None => ctx.out.null_bulk(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive_load(bytes: &[u8], offset: u64, bits: u32) -> u64 {
        (offset..offset + u64::from(bits)).fold(0, |sum, i| {
            let byte = bytes.get((i / 8) as usize).copied().unwrap_or(0);
            sum << 1 | u64::from(byte >> (7 - i % 8) & 1)
        })
    }

    proptest! {
        #[test]
        fn a_stored_field_reads_back_and_nothing_else_changes(
            mut bytes in prop::collection::vec(any::<u8>(), 20),
            offset in 0u64..96,
            bits in 1u32..=64,
            value in any::<u64>(),
        ) {
            let before = bytes.clone();
            store(&mut bytes, offset, bits, value);
            prop_assert_eq!(load(&bytes, offset, bits), value & (u64::MAX >> (64 - bits)));
            for bit in (0..160).filter(|bit| !(offset..offset + u64::from(bits)).contains(bit)) {
                prop_assert_eq!(naive_load(&bytes, bit, 1), naive_load(&before, bit, 1));
            }
            prop_assert_eq!(load(&before, offset, bits), naive_load(&before, offset, bits));
            // Beyond the end there are zeros.
            prop_assert_eq!(load(&before, offset + 80, bits), naive_load(&before, offset + 80, bits));
        }

        #[test]
        fn wrapping_is_arithmetic_modulo_the_width(signed in any::<bool>(), bits in 1u32..=63, a in any::<i64>(), b in any::<i64>()) {
            let width = Width { signed, bits };
            let sum = i128::from(a) + i128::from(b);
            let wrapped = width.fit(sum, Overflow::Wrap).expect("always fits");
            prop_assert!((width.min()..=width.max()).contains(&wrapped));
            prop_assert_eq!((wrapped - sum).rem_euclid(1 << bits), 0);
            let saturated = width.fit(sum, Overflow::Saturate).expect("always fits");
            prop_assert_eq!(saturated, sum.clamp(width.min(), width.max()));
            prop_assert_eq!(width.fit(sum, Overflow::Fail), (saturated == sum).then_some(sum));
        }
    }
}

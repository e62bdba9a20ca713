//! DUMP payloads: one value with its type, a version and a checksum.
//!
//! ```text
//! type 1 | value | version u16 | CRC-64 of all before        little-endian
//! ```

use super::decode::{Decoder, Limits};
use super::encode::{Encoder, kind_of};
use super::source::Source;
use super::{Error, VERSION, VERSION_READ_MAX};
use crate::crc64;
use engine::raw::entry::{Entry, Value};
use std::borrow::Cow;

/// The payload of a value.
pub fn dump(value: Value<'_>, compress: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(compress);
    encoder.out.push(kind_of(value));
    encoder.value(value);
    sealed(std::mem::take(&mut encoder.out))
}

/// A type and value with version and checksum behind.
pub(super) fn sealed(mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(&(VERSION as u16).to_le_bytes());
    out.extend_from_slice(&crc64::checksum(&out).to_le_bytes());
    out
}

/// The type and value in a payload, or `None` if its checksum is wrong or its version unknown. Unlike a file, a payload
/// always has one.
pub fn verify(payload: &[u8]) -> Option<&[u8]> {
    let Sealed { value, summed, checksum } = Sealed::of(payload)?;
    (checksum == crc64::checksum(summed)).then_some(value)
}

/// The parts of a payload of a known version.
pub(super) struct Sealed<'p> {
    /// Type and value.
    pub value: &'p [u8],
    /// What the checksum is of.
    pub summed: &'p [u8],
    /// As the payload has it.
    pub checksum: u64,
}

impl Sealed<'_> {
    pub fn of(payload: &[u8]) -> Option<Sealed<'_>> {
        let (summed, checksum) = payload.split_last_chunk::<8>()?;
        let (value, version) = summed.split_last_chunk::<2>()?;
        let known = u32::from(u16::from_le_bytes(*version)) <= VERSION_READ_MAX;
        known.then(|| Sealed { value, summed, checksum: u64::from_le_bytes(*checksum) })
    }
}

/// A payload of the same value for readers of [`VERSION`], such as replicas of 3.2: `payload` itself, whose value is
/// `value`, unless it is of a later version.
pub fn for_older_readers<'p>(payload: &'p [u8], value: Value<'_>) -> Cow<'p, [u8]> {
    let version = payload.last_chunk().map(|&[low, high, ..]: &[u8; 10]| u32::from(u16::from_le_bytes([low, high])));
    match version {
        Some(..=VERSION) => Cow::Borrowed(payload),
        _ => Cow::Owned(dump(value, true)),
    }
}

/// An entry of what [`verify`] gave, under `key`.
pub fn restore(
    verified: &[u8],
    limits: Limits,
    key: &[u8],
    expire_at_ms: Option<i64>,
    lru: u32,
) -> Result<Entry, Error> {
    let mut decoder = Decoder::new(Source::with_buffer(verified, false, 2 * verified.len()), limits);
    let kind = decoder.source.byte()?;
    let entry = match decoder.value(kind)? {
        Some(body) => Entry::new(key, body, expire_at_ms, lru),
        None => return Err(Error::Corrupt("a collection without elements")),
    };
    if decoder.source.is_at_end()? { Ok(entry) } else { Err(Error::Corrupt("bytes behind the value")) }
}

//! A DUMP payload that is made in steps, for a value that nobody may change meanwhile but that others must not wait for.
//!
//! ```text
//!   begin: type, length --step: elements from a cursor on--> .. --step: none are left--> finish: version, checksum
//! ```
//! What is small is there after the beginning. Who calls sees to it that the value is the same in every step; a number of
//! elements other than announced is found at the end all the same.

use super::dump;
use super::encode::{Encoder, kind_of};
use super::kind;
use engine::raw::entry::Value;

/// Values of more elements, and strings of more bytes, are made in steps.
const ELEMENTS_MAX: usize = 512;
const STRING_BYTES_MAX: usize = 128 * 1024;

/// A payload under way.
pub struct Payload {
    encoder: Encoder,
    /// Where the next step begins, if there is one: a place of a scan, or a position.
    cursor: Option<u64>,
    /// Elements that are still to come, or bytes.
    left: usize,
}

impl Payload {
    /// Begins with `value`.
    pub fn begin(value: Value<'_>, compress: bool) -> Payload {
        let len = match value {
            Value::Bytes(bytes) if bytes.len() > STRING_BYTES_MAX => Some((kind::STRING, bytes.len())),
            Value::List(list) if list.len() > ELEMENTS_MAX => Some((kind::LIST, list.len())),
            Value::Set(set) if set.as_ints().is_none() => Some((kind::SET, set.len())),
            Value::ZSet(zset) if zset.as_compact().is_none() => Some((kind::ZSET, zset.len())),
            Value::Hash(hash) if hash.as_compact().is_none() => Some((kind::HASH, hash.len())),
            _ => None,
        };
        let mut encoder = Encoder::new(compress);
        match len.filter(|&(_, len)| len > ELEMENTS_MAX) {
            Some((kind, len)) => {
                encoder.out.push(kind);
                encoder.len(len);
                Payload { encoder, cursor: Some(0), left: len }
            }
            None => {
                encoder.out.push(kind_of(value));
                encoder.value(value);
                Payload { encoder, cursor: None, left: 0 }
            }
        }
    }

    /// Whether there is another step.
    pub fn goes_on(&self) -> bool {
        self.cursor.is_some()
    }

    /// Makes room for a step of about `bytes` bytes. What there is may be copied, so nobody should wait for it.
    pub fn make_room(&mut self, bytes: usize) {
        if self.encoder.out.capacity() - self.encoder.out.len() < bytes {
            self.encoder.out.reserve(bytes.max(self.encoder.out.len()));
        }
    }

    /// Adds about `bytes` bytes of `value`.
    pub fn step(&mut self, value: Value<'_>, bytes: usize) {
        let Some(from) = self.cursor else { return };
        let end = self.encoder.out.len() + bytes;
        let to = &mut self.encoder;
        let mut done = 0;
        let next = match value {
            Value::Bytes(text) => {
                let rest = text.get(from as usize..).unwrap_or_default();
                done = rest.len().min(bytes);
                to.out.extend_from_slice(&rest[..done]);
                (done < rest.len()).then_some(from + done as u64)
            }
            Value::List(list) => {
                let mut elements = list.iter_from(from as usize);
                while to.out.len() < end
                    && let Some(element) = elements.next()
                {
                    to.item(element);
                    done += 1;
                }
                (from as usize + done < list.len()).then_some(from + done as u64)
            }
            Value::ZSet(zset) => {
                let mut members = zset.ascending((from as usize).min(zset.len())..zset.len());
                while to.out.len() < end
                    && let Some((member, score)) = members.next()
                {
                    to.item(member);
                    to.score(score);
                    done += 1;
                }
                (from as usize + done < zset.len()).then_some(from + done as u64)
            }
            Value::Hash(hash) => walk(from, to, end, |at, to| {
                hash.scan(at, |field, value| {
                    to.item(field);
                    to.item(value);
                    done += 1;
                })
            }),
            Value::Set(set) => walk(from, to, end, |at, to| {
                set.scan(at, |member| {
                    to.item(member);
                    done += 1;
                })
            }),
            Value::Int(_) => None,
        };
        self.left = self.left.wrapping_sub(done);
        self.cursor = next;
    }

    /// The payload, or `None` if the value was not the same in all steps.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        let whole = self.cursor.is_none() && self.left == 0;
        whole.then(|| dump::sealed(std::mem::take(&mut self.encoder.out)))
    }
}

/// Bucket after bucket of a table, until `end` is reached.
fn walk(mut at: u64, to: &mut Encoder, end: usize, mut step: impl FnMut(u64, &mut Encoder) -> u64) -> Option<u64> {
    loop {
        at = step(at, to);
        if at == 0 {
            return None;
        }
        if to.out.len() >= end {
            return Some(at);
        }
    }
}

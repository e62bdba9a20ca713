//! Bytes to decode, one piece at a time, with their checksum and no trust in their lengths.

use super::Error;
use crate::crc64::Crc64;
use crate::lzf;
use std::io::{self, Read};

const BUFFER_BYTES: usize = 64 * 1024;
/// A longer string cannot come from a server: 512 MB is the longest, and a little more by SETRANGE and BITFIELD.
const STRING_BYTES_MAX: usize = 1 << 30;
/// Room made for a string before its bytes have arrived.
const TRUSTED_BYTES: usize = 1 << 20;

/// A length, or the head of a string in a special form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Len {
    /// A length or count.
    Plain(usize),
    /// The low six bits of the head.
    Special(u8),
}

/// A buffered reader.
pub struct Source<R> {
    from: R,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes before the buffer.
    before: u64,
    /// The checksum of what was taken, up to `summed` in the buffer.
    checksum: Crc64,
    summed: usize,
    packed: Vec<u8>,
}

impl<R: Read> Source<R> {
    /// From the beginning of `from`.
    pub fn new(from: R) -> Source<R> {
        Source { from, buffer: Vec::new(), at: 0, before: 0, checksum: Crc64::default(), summed: 0, packed: Vec::new() }
    }

    /// Bytes taken.
    pub fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// The checksum of all bytes taken.
    pub fn checksum(&mut self) -> u64 {
        self.sum();
        self.checksum.value()
    }

    fn sum(&mut self) {
        self.checksum.update(self.buffer.get(self.summed..self.at).unwrap_or_default());
        self.summed = self.at;
    }

    /// The error that says that what was just taken is wrong.
    pub fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { at: self.position(), what }
    }

    /// What is buffered and not taken; reads if there is nothing. Empty only at the end.
    fn available(&mut self) -> Result<&[u8], Error> {
        if self.at == self.buffer.len() {
            self.sum();
            self.before += self.at as u64;
            (self.at, self.summed) = (0, 0);
            self.buffer.resize(BUFFER_BYTES, 0);
            let read = loop {
                match self.from.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    /// Whether there is nothing more.
    pub fn is_at_end(&mut self) -> Result<bool, Error> {
        Ok(self.available()?.is_empty())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        if let Some(whole) = self.buffer.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let whole = *whole;
            self.at += N;
            return Ok(whole);
        }
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = *self.available()?.first().ok_or(Error::Truncated)?;
            self.at += 1;
        }
        Ok(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Appends the next `len` bytes to `to`.
    pub fn bytes(&mut self, len: usize, to: &mut Vec<u8>) -> Result<(), Error> {
        to.reserve(len.min(TRUSTED_BYTES));
        let mut left = len;
        while left > 0 {
            let part = self.available()?;
            let part = &part[..part.len().min(left)];
            if part.is_empty() {
                return Err(Error::Truncated);
            }
            to.extend_from_slice(part);
            let taken = part.len();
            self.at += taken;
            left -= taken;
        }
        Ok(())
    }

    /// The next length.
    pub fn len(&mut self) -> Result<Len, Error> {
        let head = self.byte()?;
        let wide = |len: u64| usize::try_from(len).map(Len::Plain);
        Ok(match head >> 6 {
            0 => Len::Plain(usize::from(head)),
            1 => Len::Plain(usize::from(head & 0x3f) << 8 | usize::from(self.byte()?)),
            3 => Len::Special(head & 0x3f),
            _ => {
                let len = match head {
                    0x80 => u64::from(u32::from_be_bytes(self.array()?)),
                    0x81 => u64::from_be_bytes(self.array()?),
                    _ => return Err(self.corrupt("a length of an unknown form")),
                };
                wide(len).map_err(|_| self.corrupt("a length out of range"))?
            }
        })
    }

    /// The next length, as a number of things.
    pub fn count(&mut self) -> Result<usize, Error> {
        match self.len()? {
            Len::Plain(count) => Ok(count),
            Len::Special(_) => Err(self.corrupt("a string where a length should be")),
        }
    }

    /// The next string, in place of what is in `to`.
    pub fn string(&mut self, to: &mut Vec<u8>) -> Result<(), Error> {
        to.clear();
        let int = match self.len()? {
            Len::Plain(len) => {
                let len = self.string_len(len)?;
                return self.bytes(len, to);
            }
            Len::Special(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Len::Special(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Len::Special(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Len::Special(3) => {
                let (packed_len, len) = (self.count()?, self.count()?);
                let (packed_len, len) = (self.string_len(packed_len)?, self.string_len(len)?);
                let mut packed = std::mem::take(&mut self.packed);
                packed.clear();
                self.bytes(packed_len, &mut packed)?;
                *to = lzf::decompress(&packed, len).map_err(|_| self.corrupt("compressed bytes"))?;
                self.packed = packed;
                return Ok(());
            }
            Len::Special(_) => return Err(self.corrupt("a string of an unknown form")),
        };
        resp::format_i64(int, to);
        Ok(())
    }

    fn string_len(&self, len: usize) -> Result<usize, Error> {
        if len > STRING_BYTES_MAX { Err(self.corrupt("a string that is too long")) } else { Ok(len) }
    }

    /// The next score that is held as text.
    pub fn score(&mut self) -> Result<f64, Error> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Err(self.corrupt("a score that is no number")),
            len => {
                let mut text = Vec::new();
                self.bytes(usize::from(len), &mut text)?;
                resp::parse_f64(&text).ok_or_else(|| self.corrupt("a score"))
            }
        }
    }
}

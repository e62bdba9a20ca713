//! Bytes to decode, one piece at a time, with their checksum and no trust in their lengths.
//!
//! ```text
//!            taken, summed | taken | ready to take         | room
//!  buffer   |--------------|-------|-----------------------|--------|
//!                       summed     at                     end
//! ```
//! 1. A string that fits half the buffer is lent from it and copied nowhere; a longer one is gathered in the caller's room.
//! 2. An announced length reserves nothing: room grows as the bytes arrive.
//! 3. The checksum is taken over whole stretches of the buffer, just before they are overwritten or when it is asked for.

use super::Error;
use crate::crc64::Crc64;
use crate::lzf;
use engine::encoding::item::Item;
use std::io::{self, Read};

/// Bytes asked of the reader at once, unless told otherwise.
const BUFFER_BYTES: usize = 256 * 1024;
/// The least that a buffer has, so that every fixed piece fits half of it.
const BUFFER_BYTES_MIN: usize = 64;
/// A longer string cannot come from a server: 512 MB is the longest, and a little more by SETRANGE and BITFIELD.
const STRING_BYTES_MAX: usize = 1 << 30;

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
    end: usize,
    /// Bytes before the buffer.
    before: u64,
    /// The checksum of what was taken, up to `summed` in the buffer; `None` where nobody wants it.
    checksum: Option<Crc64>,
    summed: usize,
    packed: Vec<u8>,
}

impl<R: Read> Source<R> {
    /// From the beginning of `from`, with a checksum or without.
    pub fn new(from: R, checksum: bool) -> Source<R> {
        Source::with_buffer(from, checksum, BUFFER_BYTES)
    }

    /// From the beginning of `from`, by at most about `bytes` at once: for less than a whole file.
    pub fn with_buffer(from: R, checksum: bool, bytes: usize) -> Source<R> {
        Source {
            from,
            buffer: vec![0; bytes.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES)],
            at: 0,
            end: 0,
            before: 0,
            checksum: checksum.then(Crc64::default),
            summed: 0,
            packed: Vec::new(),
        }
    }

    /// Bytes taken.
    pub fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// The checksum of all bytes taken; `None` if it was not wanted.
    pub fn checksum(&mut self) -> Option<u64> {
        self.sum();
        self.checksum.as_ref().map(Crc64::value)
    }

    /// From here on nobody wants a checksum.
    pub fn end_checksum(&mut self) {
        self.checksum = None;
    }

    fn sum(&mut self) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(self.buffer.get(self.summed..self.at).unwrap_or_default());
        }
        self.summed = self.at;
    }

    /// What is buffered and not taken.
    #[inline]
    pub fn ready(&self) -> &[u8] {
        self.buffer.get(self.at..self.end).unwrap_or_default()
    }

    /// Takes `count` of the bytes that are [`ready`](Self::ready).
    #[inline]
    pub fn take(&mut self, count: usize) {
        self.at = (self.at + count).min(self.end);
    }

    /// Reads until at least `wanted` bytes (or as many as there are, or half a buffer) are ready, and returns them.
    #[inline]
    pub fn fill(&mut self, wanted: usize) -> Result<&[u8], Error> {
        if self.end - self.at < wanted {
            self.read(wanted)?;
        }
        Ok(self.ready())
    }

    #[cold]
    fn read(&mut self, wanted: usize) -> Result<(), Error> {
        let wanted = wanted.min(self.buffer.len() / 2);
        if self.buffer.len() - self.at < wanted || self.at == self.end {
            self.sum();
            self.buffer.copy_within(self.at..self.end, 0);
            self.before += self.at as u64;
            self.end -= self.at;
            (self.at, self.summed) = (0, 0);
        }
        while self.end - self.at < wanted {
            match self.from.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end = (self.end + read).min(self.buffer.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether there is nothing more.
    pub fn is_at_end(&mut self) -> Result<bool, Error> {
        Ok(self.fill(1)?.is_empty())
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = *self.fill(N)?.first_chunk().ok_or(Error::Truncated)?;
        self.at += N;
        Ok(bytes)
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Appends the next `len` bytes to `to`.
    pub fn bytes(&mut self, len: usize, to: &mut Vec<u8>) -> Result<(), Error> {
        let mut left = len;
        while left > 0 {
            let part = self.fill(1)?;
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

    /// The next `len` bytes, lent if they fit, else gathered in `room`.
    #[inline]
    fn lend<'s>(&'s mut self, len: usize, room: &'s mut Vec<u8>) -> Result<&'s [u8], Error> {
        if len > self.buffer.len() / 2 {
            room.clear();
            self.bytes(len, room)?;
            return Ok(room);
        }
        if self.fill(len)?.len() < len {
            return Err(Error::Truncated);
        }
        self.at += len;
        Ok(self.buffer.get(self.at - len..self.at).unwrap_or_default())
    }

    /// The next length.
    #[inline]
    pub fn len(&mut self) -> Result<Len, Error> {
        let head = self.byte()?;
        Ok(match head >> 6 {
            0 => Len::Plain(usize::from(head)),
            1 => Len::Plain(usize::from(head & 0x3f) << 8 | usize::from(self.byte()?)),
            3 => Len::Special(head & 0x3f),
            _ => {
                let len = match head {
                    0x80 => u64::from(u32::from_be_bytes(self.array()?)),
                    0x81 => u64::from_be_bytes(self.array()?),
                    _ => return Err(Error::Corrupt("a length of an unknown form")),
                };
                Len::Plain(usize::try_from(len).map_err(|_| Error::Corrupt("a length out of range"))?)
            }
        })
    }

    /// The next length, as a number of things.
    #[inline]
    pub fn count(&mut self) -> Result<usize, Error> {
        match self.len()? {
            Len::Plain(count) => Ok(count),
            Len::Special(_) => Err(Error::Corrupt("a string where a length should be")),
        }
    }

    /// The next string: what files hold as an integer comes as one, and any other as it is, even if it looks like one. It
    /// is lent if it can be, else put into `room`.
    #[inline]
    pub fn text<'s>(&'s mut self, room: &'s mut Vec<u8>) -> Result<Item<'s>, Error> {
        match self.len()? {
            Len::Plain(len) => Ok(Item::Str(self.lend(string_len(len)?, room)?)),
            Len::Special(3) => {
                self.compressed(room)?;
                Ok(Item::Str(room))
            }
            Len::Special(form) => Ok(Item::Int(self.int(form)?)),
        }
    }

    /// The bytes of the next string, lent if they can be, else put into `room`.
    #[inline]
    pub fn blob<'s>(&'s mut self, room: &'s mut Vec<u8>) -> Result<&'s [u8], Error> {
        match self.len()? {
            Len::Plain(len) => self.lend(string_len(len)?, room),
            Len::Special(form) => {
                self.special(form, room)?;
                Ok(room)
            }
        }
    }

    /// The bytes of the next string, in place of what is in `to`.
    #[inline]
    pub fn string(&mut self, to: &mut Vec<u8>) -> Result<(), Error> {
        to.clear();
        match self.len()? {
            Len::Plain(len) => self.bytes(string_len(len)?, to),
            Len::Special(form) => self.special(form, to),
        }
    }

    /// A string in a special form as bytes, in place of what is in `to`.
    fn special(&mut self, form: u8, to: &mut Vec<u8>) -> Result<(), Error> {
        match form {
            3 => self.compressed(to),
            _ => {
                let int = self.int(form)?;
                to.clear();
                resp::format_i64(int, to);
                Ok(())
            }
        }
    }

    fn int(&mut self, form: u8) -> Result<i64, Error> {
        match form {
            0 => Ok(i64::from(i8::from_le_bytes(self.array()?))),
            1 => Ok(i64::from(i16::from_le_bytes(self.array()?))),
            2 => Ok(i64::from(i32::from_le_bytes(self.array()?))),
            _ => Err(Error::Corrupt("a string of an unknown form")),
        }
    }

    fn compressed(&mut self, to: &mut Vec<u8>) -> Result<(), Error> {
        let packed_len = string_len(self.count()?)?;
        let len = string_len(self.count()?)?;
        let mut room = std::mem::take(&mut self.packed);
        let done = self.lend(packed_len, &mut room).map(|packed| lzf::decompress_into(packed, len, to));
        self.packed = room;
        done?.map_err(|_| Error::Corrupt("compressed bytes"))
    }

    /// The next score that is held as text.
    pub fn score(&mut self) -> Result<f64, Error> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Err(Error::Corrupt("a score that is no number")),
            len => {
                let mut room = Vec::new();
                let text = self.lend(usize::from(len), &mut room)?;
                resp::parse_f64(text).filter(|score| !score.is_nan()).ok_or(Error::Corrupt("a score"))
            }
        }
    }
}

/// `len`, if a string may have it.
pub(super) fn string_len(len: usize) -> Result<usize, Error> {
    if len > STRING_BYTES_MAX { Err(Error::Corrupt("a string that is too long")) } else { Ok(len) }
}

//! A DUMP payload that is read in steps, for a value that is to be there all at once while nobody is to wait for its making.
//!
//! ```text
//!   checksum of all --> type, count --> elements --> .. --> none is left: the value
//!                           '--> a string's bytes --> .. -------'
//! ```
//! 1. The payload is the same in every step; what is read of it says nothing before its checksum has been found right.
//! 2. A step may be as long as one element is, or a value that is packed as one string. All else may end after a few.

use super::decode::{Decoder, Elements, Limits};
use super::dump::{self, Sealed};
use super::source::{Len, Source, string_len};
use super::{Error, kind};
use crate::crc64::Crc64;
use crate::lzf;
use engine::raw::entry::{Body, Entry};
use engine::raw::thin::ThinBytes;

/// Bytes summed or copied, and elements read, before somebody is asked whether to go on.
const PIECE_BYTES: usize = 16 * 1024;
const PIECE_ELEMENTS: usize = 16;
/// Bytes that a step takes out of the payload at once.
const BUFFER_BYTES: usize = 32 * 1024;
/// A string that is not longer is no work.
const STRING_BYTES_MIN: usize = 1024;

/// Why a payload gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Its version or its checksum.
    Seal,
    /// What stands in it.
    Data,
}

/// A value under way.
pub struct Restoring {
    limits: Limits,
    state: State,
}

enum State {
    /// The checksum of the first `at` bytes.
    Summing {
        sum: Box<Crc64>,
        at: usize,
    },
    Beginning,
    /// From `at` on.
    Elements {
        elements: Elements,
        at: usize,
    },
    /// A string that stands in the payload from `at` on.
    Text {
        block: ThinBytes,
        at: usize,
    },
    /// A string of `len` bytes that stands there compressed, without its last bytes, which are in `window`.
    Packed {
        block: ThinBytes,
        window: Vec<u8>,
        len: usize,
        at: usize,
    },
    Ended(Result<Body<'static>, Wrong>),
}

impl Restoring {
    /// Nothing is read yet.
    pub fn new(limits: Limits) -> Restoring {
        Restoring { limits, state: State::Summing { sum: Box::default(), at: 0 } }
    }

    /// Reads on in `payload` until the end, or `go_on` says no; true at the end.
    pub fn step(&mut self, payload: &[u8], mut go_on: impl FnMut() -> bool) -> bool {
        while !matches!(self.state, State::Ended(_)) {
            match self.advance(payload, &mut go_on) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(wrong) => self.state = State::Ended(Err(wrong)),
            }
        }
        true
    }

    /// The value, or what there is of it by now. A string comes as [`Body::Long`].
    pub fn into_body(self) -> Result<Body<'static>, Wrong> {
        match self.state {
            State::Summing { .. } | State::Beginning => Err(Wrong::Seal),
            State::Elements { elements, .. } => elements.into_body().ok_or(Wrong::Data),
            State::Text { block, .. } | State::Packed { block, .. } => Ok(Body::Long(block)),
            State::Ended(result) => result,
        }
    }

    /// Goes on within a state; false if it is to be gone on with later.
    fn advance(&mut self, payload: &[u8], go_on: &mut impl FnMut() -> bool) -> Result<bool, Wrong> {
        let Sealed { value, summed, checksum } = Sealed::of(payload).ok_or(Wrong::Seal)?;
        let data = |_: Error| Wrong::Data;
        let next = match &mut self.state {
            State::Summing { sum, at } => {
                for piece in summed.get(*at..).unwrap_or_default().chunks(PIECE_BYTES) {
                    sum.update(piece);
                    *at += piece.len();
                    if !go_on() {
                        return Ok(false);
                    }
                }
                if sum.value() != checksum {
                    return Err(Wrong::Seal);
                }
                State::Beginning
            }
            State::Beginning => begin(value, self.limits).map_err(data)?,
            State::Elements { elements, at } => {
                let rest = value.get(*at..).unwrap_or_default();
                let mut decoder = Decoder::new(Source::with_buffer(rest, false, BUFFER_BYTES), self.limits);
                loop {
                    decoder.add(PIECE_ELEMENTS, elements).map_err(data)?;
                    if elements.left() == 0 {
                        break;
                    }
                    if !go_on() {
                        *at += decoder.source.position() as usize;
                        return Ok(false);
                    }
                }
                if !decoder.source.is_at_end().map_err(data)? {
                    return Err(Wrong::Data);
                }
                State::Ended(self.take().into_body())
            }
            State::Text { block, at } => {
                for piece in value.get(*at..).unwrap_or_default().chunks(PIECE_BYTES) {
                    block.extend(piece);
                    *at += piece.len();
                    if !go_on() {
                        return Ok(false);
                    }
                }
                State::Ended(self.take().into_body())
            }
            State::Packed { block, window, len, at } => {
                while block.len() + window.len() < *len {
                    let until = (lzf::DISTANCE_MAX + PIECE_BYTES).min(*len - block.len());
                    let rest = value.get(*at..).unwrap_or_default();
                    let left = lzf::unpack(rest, until, window).map_err(|_| Wrong::Data)?;
                    *at += rest.len() - left.len();
                    // References go back no further.
                    let done = window.len().saturating_sub(lzf::DISTANCE_MAX);
                    block.extend(window.get(..done).unwrap_or_default());
                    window.drain(..done);
                    if !go_on() {
                        return Ok(false);
                    }
                }
                block.extend(window);
                if block.len() != *len || *at != value.len() {
                    return Err(Wrong::Data);
                }
                State::Ended(self.take().into_body())
            }
            State::Ended(_) => return Ok(true),
        };
        self.state = next;
        Ok(true)
    }

    fn take(&mut self) -> Restoring {
        let state = std::mem::replace(&mut self.state, State::Beginning);
        Restoring { limits: self.limits, state }
    }
}

/// What comes after the checksum.
fn begin(value: &[u8], limits: Limits) -> Result<State, Error> {
    let mut decoder = Decoder::new(Source::with_buffer(value, false, BUFFER_BYTES), limits);
    let kind = decoder.source.byte()?;
    if let Some(elements) = decoder.begin(kind)? {
        return Ok(State::Elements { elements, at: decoder.source.position() as usize });
    }
    if kind == kind::STRING {
        let form = decoder.source.len()?;
        let (packed, len) = match form {
            Len::Plain(len) => (len, len),
            Len::Special(COMPRESSED) => (decoder.source.count()?, decoder.source.count()?),
            Len::Special(_) => (0, 0),
        };
        let at = decoder.source.position() as usize;
        let rest = value.get(at..).unwrap_or_default();
        if len >= STRING_BYTES_MIN {
            if packed != rest.len() || len > lzf::len_max(rest) {
                return Err(Error::Truncated);
            }
            let block = ThinBytes::with_capacity(string_len(len)?);
            return Ok(match form {
                Len::Plain(_) => State::Text { block, at },
                Len::Special(_) => State::Packed { block, window: Vec::new(), len, at },
            });
        }
    }
    // A value in a few bytes, or one that is packed as one string.
    Ok(State::Ended(dump::restore(value, limits, b"", None, 0).map(Entry::into_body).map_err(|_| Wrong::Data)))
}

/// The head of a compressed string.
const COMPRESSED: u8 = 3;

//! The library `struct`: C structures to strings and back, as Roberto Ierusalimschy's struct 1.4 has them.
//!
//! | in a format | is |
//! |---|---|
//! | `>` `<` | big, little endian (at first the machine's: little) |
//! | `!n` | align to the smaller of n and the size (at first to 1) |
//! | `x` | a zero byte |
//! | `b` `h` `i` `l` and capitals, `T` | signed and unsigned integers of 1, 2, 4, 8 bytes; `T` unsigned of 8 |
//! | `in` `In` | integers of n bytes, up to 32 |
//! | `f` `d` | float, double |
//! | `cn` | n characters (`c0`: the whole string; read back, as many as the number before says) |
//! | `s` | a string that ends with a zero byte |
//! | blank | nothing |

use super::push_written;
use crate::ffi::{Raise, Stack, native};
use crate::number::truncate;

/// Largest size of an integer, in bytes.
const INTEGER_BYTES_MAX: usize = 32;
/// What a bare `!` aligns to.
const ALIGN_MAX: i32 = 8;

pub(super) fn open(stack: &mut Stack<'_>) -> Result<(), Raise> {
    super::push_library(stack, &[(b"pack", native(pack)), (b"unpack", native(unpack)), (b"size", native(size))])?;
    stack.set_global(b"struct")
}

/// One option of a format, with the bytes that it takes and that align it.
struct Item {
    option: u8,
    size: usize,
    padding: usize,
}

/// Reads a format.
struct Format {
    text: Vec<u8>,
    at: usize,
    big_endian: bool,
    align: usize,
}

impl Format {
    /// The format in argument 1: a C string, which ends at a zero byte.
    fn of(stack: &mut Stack<'_>) -> Result<Format, Raise> {
        stack.check_text(1)?;
        let text = stack.bytes(1).unwrap_or_default();
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
        Ok(Format { text, at: 0, big_endian: cfg!(target_endian = "big"), align: 1 })
    }

    /// The next option, for data at `position`; endianness and alignment are not yet obeyed, see [`Self::control`].
    fn next(&mut self, position: usize) -> Result<Option<Item>, Raise> {
        let Some(&option) = self.text.get(self.at) else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.number(1)? as usize,
            b'i' | b'I' => {
                let size = self.number(4)? as usize;
                if size > INTEGER_BYTES_MAX {
                    let text = format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    return Err(Raise::Error(text.into()));
                }
                size
            }
            _ => 0,
        };
        let padding = match (option, size) {
            (b'c', _) | (_, 0) => 0,
            _ => {
                let to = size.min(self.align);
                // The formula for powers of two, whatever the size: sizes may be odd.
                to.wrapping_sub(position & (to - 1)) & (to - 1)
            }
        };
        Ok(Some(Item { option, size, padding }))
    }

    /// A number at the current place of the format, or `default`.
    fn number(&mut self, default: i32) -> Result<i32, Raise> {
        let mut number = None;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            let digit = i32::from(digit - b'0');
            let next = number.unwrap_or(0i32).checked_mul(10).and_then(|number| number.checked_add(digit));
            number = Some(next.ok_or(Raise::Error("integral size overflow".into()))?);
            self.at += 1;
        }
        Ok(number.unwrap_or(default))
    }

    /// Obeys an option that is no data.
    fn control(&mut self, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.number(ALIGN_MAX)?;
                if align <= 0 || align & (align - 1) != 0 {
                    return Err(Raise::Error(format!("alignment {align} is not a power of 2").into()));
                }
                self.align = align as usize;
            }
            _ => {
                let mut text = b"invalid format option '".to_vec();
                text.extend_from_slice(&[option, b'\'']);
                return Err(Raise::argument(1, text));
            }
        }
        Ok(())
    }
}

/// pack(format, values...)
fn pack(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let mut format = Format::of(stack)?;
    // As in the original, which has a nil here: a missing argument reads as nil.
    stack.push_nil()?;
    push_written(stack, |stack, out| {
        let mut argument = 2;
        while let Some(Item { option, size, padding }) = format.next(out.len())? {
            if !stack.shared().memory.has_room_for(out.len()) {
                return Err(Raise::Memory);
            }
            out.resize(out.len() + padding, 0);
            match option {
                b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                    let number = stack.check_number(argument)?;
                    write_integer(out, integer_bits(number), size, format.big_endian);
                }
                b'x' => out.push(0),
                b'f' => {
                    let bytes = (stack.check_number(argument)? as f32).to_le_bytes();
                    write_ordered(out, &bytes, format.big_endian);
                }
                b'd' => {
                    let bytes = stack.check_number(argument)?.to_le_bytes();
                    write_ordered(out, &bytes, format.big_endian);
                }
                b'c' | b's' => {
                    stack.check_text(argument)?;
                    let text = stack.bytes(argument).unwrap_or_default();
                    let size = if size == 0 { text.len() } else { size };
                    let Some(text) = text.get(..size) else {
                        // The original has already moved on to the next argument.
                        return Err(Raise::argument(argument + 1, "string too short"));
                    };
                    out.extend_from_slice(text);
                    if option == b's' {
                        out.push(0);
                    }
                }
                _ => {
                    format.control(option)?;
                    continue;
                }
            }
            if option != b'x' {
                argument += 1;
            }
        }
        Ok(())
    })?;
    Ok(1)
}

/// unpack(format, bytes [, start]): the values, and the position after them.
fn unpack(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let mut format = Format::of(stack)?;
    stack.check_text(2)?;
    let start = stack.optional_integer(3, 1)?;
    let Some(mut position) = start.checked_sub(1).and_then(|start| usize::try_from(start).ok()) else {
        return Err(Raise::argument(3, "offset must be 1 or greater"));
    };
    stack.cut(2);
    while let Some(Item { option, mut size, padding }) = format.next(position)? {
        position = position.saturating_add(padding);
        check_data(stack, position, size)?;
        if !stack.room(2) {
            return Err(Raise::stack_overflow("too many results"));
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let bits = read_integer(data(stack, position, size), format.big_endian);
                stack.push_number(number_of(bits, size, option.is_ascii_lowercase()))?;
            }
            b'x' => {}
            b'f' => {
                let bits = read_integer(data(stack, position, size), format.big_endian);
                stack.push_number(f64::from(f32::from_bits(bits as u32)))?;
            }
            b'd' => {
                let bits = read_integer(data(stack, position, size), format.big_endian);
                stack.push_number(f64::from_bits(bits))?;
            }
            b'c' => {
                if size == 0 {
                    let top = stack.top();
                    let Some(len) = stack.number(top).filter(|_| top > 2) else {
                        return Err(Raise::Error("format `c0' needs a previous size".into()));
                    };
                    size = integer_bits(len) as usize;
                    stack.pop(1);
                    check_data(stack, position, size)?;
                }
                stack.push_part(2, position, position + size)?;
            }
            b's' => {
                let rest = data(stack, position, usize::MAX);
                let Some(len) = rest.iter().position(|&byte| byte == 0) else {
                    return Err(Raise::Error("unfinished string in data".into()));
                };
                stack.push_part(2, position, position + len)?;
                size = len + 1;
            }
            _ => format.control(option)?,
        }
        position += size;
    }
    stack.push_number(position as f64 + 1.0)?;
    Ok(stack.top() - 2)
}

/// size(format): bytes of what pack would make.
fn size(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let mut format = Format::of(stack)?;
    let mut position = 0usize;
    while let Some(Item { option, size, padding }) = format.next(position)? {
        match (option, size) {
            (b's', _) => return Err(Raise::argument(1, "option 's' has no fixed size")),
            (b'c', 0) => return Err(Raise::argument(1, "option 'c0' has no fixed size")),
            _ => {}
        }
        if !option.is_ascii_alphanumeric() {
            format.control(option)?;
        }
        position = position.saturating_add(padding).saturating_add(size);
    }
    stack.push_number(position as f64)?;
    Ok(1)
}

fn check_data(stack: &Stack<'_>, position: usize, size: usize) -> Result<(), Raise> {
    let len = stack.bytes(2).map_or(0, <[u8]>::len);
    match position.checked_add(size) {
        Some(end) if end <= len => Ok(()),
        _ => Err(Raise::argument(2, "data string too short")),
    }
}

/// The data from `position`, `size` bytes at most.
fn data<'s>(stack: &'s Stack<'_>, position: usize, size: usize) -> &'s [u8] {
    let rest = stack.bytes(2).and_then(|bytes| bytes.get(position..)).unwrap_or_default();
    &rest[..size.min(rest.len())]
}

/// A number as 64 bits, as C's conversions to `long` (below 0) and `unsigned long` give them on x86.
fn integer_bits(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number >= HALF { truncate(number - HALF) as u64 ^ 1 << 63 } else { truncate(number) as u64 }
}

/// Appends the low `size` bytes, zeros above 8.
fn write_integer(out: &mut Vec<u8>, bits: u64, size: usize, big_endian: bool) {
    let mut bytes = [0; INTEGER_BYTES_MAX];
    bytes[..8].copy_from_slice(&bits.to_le_bytes());
    write_ordered(out, &bytes[..size.min(INTEGER_BYTES_MAX)], big_endian);
}

fn write_ordered(out: &mut Vec<u8>, little: &[u8], big_endian: bool) {
    let start = out.len();
    out.extend_from_slice(little);
    if big_endian {
        out[start..].reverse();
    }
}

/// The low 64 bits of an integer of any size.
fn read_integer(bytes: &[u8], big_endian: bool) -> u64 {
    let push = |bits: u64, &byte: &u8| bits << 8 | u64::from(byte);
    if big_endian { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) }
}

fn number_of(bits: u64, size: usize, signed: bool) -> f64 {
    if !signed {
        return bits as f64;
    }
    // A shift by the sign's place; sizes above 8 (and 0) wrap as the machine's shift does.
    let sign = u64::MAX << ((size as u32).wrapping_mul(8).wrapping_sub(1) & 63);
    let bits = if bits & sign != 0 { bits | sign } else { bits };
    bits as i64 as f64
}

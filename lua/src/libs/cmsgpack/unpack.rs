//! cmsgpack.unpack, unpack_one, unpack_limit: MessagePack to values. Not recursive: the bytes decide how deep they nest.

use super::super::Pace;
use crate::ffi::{Raise, Stack};

/// A table that is being filled; its key and value are pushed above it.
struct Open {
    slot: u32,
    /// Elements still to come, this one included.
    left: u32,
    /// Index of the element of an array; none for a map.
    index: Option<i32>,
}

/// Why reading stopped.
enum Fault {
    Eof,
    Format,
    Raise(Raise),
}

impl From<Raise> for Fault {
    fn from(raise: Raise) -> Fault {
        Fault::Raise(raise)
    }
}

/// unpack(bytes): all values.
pub(super) fn unpack(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    unpack_from(stack, 0, 0)
}

/// unpack_one(bytes [, offset]): the offset after it, or -1 at the end, and one value.
pub(super) fn unpack_one(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let offset = stack.optional_integer(2, 0)? as i32;
    unpack_from(stack, 1, offset)
}

/// unpack_limit(bytes, limit [, offset]): the offset after them, or -1 at the end, and so many values.
pub(super) fn unpack_limit(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let limit = stack.check_int(2)?;
    let offset = stack.optional_integer(3, 0)? as i32;
    unpack_from(stack, limit, offset)
}

/// A limit and offset of 0 ask for all, without an offset in front.
fn unpack_from(stack: &mut Stack<'_>, limit: i32, offset: i32) -> Result<u32, Raise> {
    stack.cut(1);
    let all = limit == 0 && offset == 0;
    stack.check_text(1)?;
    let len = stack.bytes(1).map_or(0, <[u8]>::len);
    let (Ok(limit), Ok(start)) = (usize::try_from(limit), usize::try_from(offset)) else {
        // The original names the length where it means the limit.
        let text = format!("Invalid request to unpack with offset of {offset} and limit of {}.", len as i32);
        return Err(Raise::Error(text.into()));
    };
    if start > len {
        let text = format!("Start offset {offset} greater than input length {}.", len as i32);
        return Err(Raise::Error(text.into()));
    }
    let limit = if all { usize::MAX } else { limit };

    let mut reader = Reader { stack, position: start, open: Vec::new(), pace: Pace::default() };
    let mut count = 0;
    while reader.position < len && (count as usize) < limit {
        reader.value().map_err(|fault| match fault {
            Fault::Eof => Raise::Error("Missing bytes in input.".into()),
            Fault::Format => Raise::Error("Bad data format in input.".into()),
            Fault::Raise(raise) => raise,
        })?;
        count += 1;
    }
    let position = reader.position;
    if !all {
        stack.push_number(if position == len { -1.0 } else { position as f64 })?;
        stack.insert(2);
        count += 1;
    }
    Ok(count)
}

struct Reader<'s, 'a> {
    stack: &'s mut Stack<'a>,
    position: usize,
    open: Vec<Open>,
    pace: Pace,
}

impl Reader<'_, '_> {
    /// Pushes the next value, with all that is in it.
    fn value(&mut self) -> Result<(), Fault> {
        loop {
            self.pace.step(self.stack, b"")?;
            self.one()?;
            // Values that are complete go into the tables around them.
            loop {
                let Some(open) = self.open.last_mut() else { return Ok(()) };
                let top = self.stack.top();
                if top == open.slot {
                    // Just opened, or between two elements.
                    if open.left > 0 {
                        break;
                    }
                    self.open.pop();
                    continue;
                }
                match &mut open.index {
                    Some(index) => {
                        self.stack.set_index(open.slot, *index)?;
                        *index = index.wrapping_add(1);
                    }
                    None if top == open.slot + 2 => self.stack.set(open.slot)?,
                    // A key waits for its value.
                    None => break,
                }
                open.left -= 1;
            }
        }
    }

    /// Pushes one scalar, or an empty table that it opens.
    fn one(&mut self) -> Result<(), Fault> {
        if !self.stack.room(3) {
            return Err(Fault::Raise(Raise::stack_overflow(
                "too many return values at once; use unpack_one or unpack_limit instead.",
            )));
        }
        let [kind] = self.take::<1>()?;
        match kind {
            0x00..=0x7f => self.number(f64::from(kind))?,
            0xe0..=0xff => self.number(f64::from(kind as i8))?,
            0x80..=0x8f => self.table(u32::from(kind & 0x0f), false)?,
            0x90..=0x9f => self.table(u32::from(kind & 0x0f), true)?,
            0xa0..=0xbf => self.string(usize::from(kind & 0x1f))?,
            0xc0 => self.stack.push_nil()?,
            0xc2 | 0xc3 => self.stack.push_boolean(kind == 0xc3)?,
            0xca => {
                let number = f32::from_be_bytes(self.take()?);
                self.number(f64::from(number))?;
            }
            0xcb => {
                let number = f64::from_be_bytes(self.take()?);
                self.number(number)?;
            }
            0xcc => {
                let number = u8::from_be_bytes(self.take()?);
                self.number(f64::from(number))?;
            }
            0xcd => {
                let number = u16::from_be_bytes(self.take()?);
                self.number(f64::from(number))?;
            }
            0xce => {
                let number = u32::from_be_bytes(self.take()?);
                self.number(f64::from(number))?;
            }
            // The original has no unsigned 64-bit numbers: the upper half comes out negative.
            0xcf | 0xd3 => {
                let number = i64::from_be_bytes(self.take()?);
                self.number(number as f64)?;
            }
            0xd0 => {
                let number = i8::from_be_bytes(self.take()?);
                self.number(f64::from(number))?;
            }
            0xd1 => {
                let number = i16::from_be_bytes(self.take()?);
                self.number(f64::from(number))?;
            }
            0xd2 => {
                let number = i32::from_be_bytes(self.take()?);
                self.number(f64::from(number))?;
            }
            0xd9 => {
                let len = u8::from_be_bytes(self.take()?);
                self.string(usize::from(len))?;
            }
            0xda => {
                let len = u16::from_be_bytes(self.take()?);
                self.string(usize::from(len))?;
            }
            0xdb => {
                let len = u32::from_be_bytes(self.take()?);
                self.string(len as usize)?;
            }
            0xdc | 0xde => {
                let count = u16::from_be_bytes(self.take()?);
                self.table(u32::from(count), kind == 0xdc)?;
            }
            0xdd | 0xdf => {
                let count = u32::from_be_bytes(self.take()?);
                self.table(count, kind == 0xdd)?;
            }
            _ => return Err(Fault::Format),
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.stack.bytes(1).unwrap_or_default();
        let taken = bytes.get(self.position..).and_then(|rest| rest.first_chunk()).ok_or(Fault::Eof)?;
        self.position += N;
        Ok(*taken)
    }

    fn number(&mut self, number: f64) -> Result<(), Raise> {
        self.stack.push_number(number)
    }

    fn string(&mut self, len: usize) -> Result<(), Fault> {
        let end = self.position + len;
        if end > self.stack.bytes(1).map_or(0, <[u8]>::len) {
            return Err(Fault::Eof);
        }
        self.stack.push_part(1, self.position, end)?;
        self.position = end;
        Ok(())
    }

    fn table(&mut self, count: u32, is_array: bool) -> Result<(), Raise> {
        self.stack.push_table(0, 0)?;
        self.open.push(Open { slot: self.stack.top(), left: count, index: is_array.then_some(1) });
        Ok(())
    }
}

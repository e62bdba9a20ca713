//! cmsgpack.pack: values to MessagePack, one after the other.
//!
//! A number without a fraction is written as the shortest integer, else as the shortest float that keeps it. A table
//! whose keys are 1 to n is an array, every other a map. Tables nested more than 16 deep become nil, which also is what
//! ends tables that contain themselves.

use super::super::{Pace, push_written};
use crate::ffi::{Kind, Raise, Stack};
use crate::number::{truncate, truncate_i32};

const NESTING_MAX: u32 = 16;

pub(super) fn pack(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let count = stack.top();
    if count == 0 {
        return Err(Raise::argument(0, "MessagePack pack needs input."));
    }
    push_written(stack, |stack, out| {
        let mut pace = Pace::default();
        (1..=count).try_for_each(|slot| {
            stack.push_copy(slot)?;
            write_top(stack, out, 0, &mut pace)
        })
    })?;
    Ok(1)
}

/// Writes the value on top and removes it.
fn write_top(stack: &mut Stack<'_>, out: &mut Vec<u8>, level: u32, pace: &mut Pace) -> Result<(), Raise> {
    pace.step(stack, out)?;
    let slot = stack.top();
    match stack.kind(slot) {
        Kind::String => write_string(out, stack.bytes(slot).unwrap_or_default()),
        Kind::Boolean => out.push(if stack.boolean(slot) { 0xc3 } else { 0xc2 }),
        Kind::Number => write_number(out, stack.number(slot).unwrap_or_default()),
        Kind::Table if level < NESTING_MAX => write_table(stack, out, level, pace)?,
        _ => out.push(0xc0),
    }
    stack.cut(slot - 1);
    Ok(())
}

fn write_table(stack: &mut Stack<'_>, out: &mut Vec<u8>, level: u32, pace: &mut Pace) -> Result<(), Raise> {
    let slot = stack.top();
    let (count, is_array) = survey(stack)?;
    if is_array {
        write_count(out, [0x90, 0xdc, 0xdd], count);
        for index in 1..=count {
            stack.get_index(slot, index as i32)?;
            write_top(stack, out, level + 1, pace)?;
        }
    } else {
        write_count(out, [0x80, 0xde, 0xdf], count);
        stack.push_nil()?;
        while stack.next(slot)? {
            stack.push_copy(slot + 1)?;
            write_top(stack, out, level + 1, pace)?;
            write_top(stack, out, level + 1, pace)?;
        }
    }
    Ok(())
}

/// How many elements the table on top has, and whether their keys are 1 to that number.
fn survey(stack: &mut Stack<'_>) -> Result<(u32, bool), Raise> {
    let slot = stack.top();
    let mut count = 0;
    let mut largest = 0;
    let mut integers_only = true;
    stack.push_nil()?;
    while stack.next(slot)? {
        stack.pop(1);
        count += 1;
        let key = match stack.kind(slot + 1) {
            Kind::Number => stack.number(slot + 1).unwrap_or_default(),
            _ => 0.0,
        };
        let integer = truncate_i32(key);
        if integer > 0 && f64::from(integer) == key {
            largest = largest.max(integer as u32);
        } else {
            integers_only = false;
        }
    }
    Ok((count, integers_only && count == largest))
}

/// Header of an array or map: the types of the 4, 16 and 32-bit forms.
fn write_count(out: &mut Vec<u8>, types: [u8; 3], count: u32) {
    if count <= 15 {
        out.push(types[0] | count as u8);
    } else if let Ok(count) = u16::try_from(count) {
        out.push(types[1]);
        out.extend_from_slice(&count.to_be_bytes());
    } else {
        out.push(types[2]);
        out.extend_from_slice(&count.to_be_bytes());
    }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ ..32 => out.push(0xa0 | len as u8),
        len @ ..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len @ ..0x1_0000 => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        // Strings of 4 GiB and more do not fit any Lua state.
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn write_number(out: &mut Vec<u8>, number: f64) {
    let integer = truncate(number);
    if number.is_finite() && integer as f64 == number {
        write_integer(out, integer);
    } else if f64::from(number as f32) == number {
        out.push(0xca);
        out.extend_from_slice(&(number as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn write_integer(out: &mut Vec<u8>, integer: i64) {
    // Of the big-endian bytes the last `len`.
    let (kind, len) = match integer {
        -32..=127 => return out.push(integer as u8),
        128..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        ..=-0x8000_0001 => (0xd3, 8),
    };
    out.push(kind);
    out.extend_from_slice(&integer.to_be_bytes()[8 - len..]);
}

//! cjson.encode: values to JSON.
//!
//! A table with only integer keys from 1 is an array, its holes `null`; every other table, and the empty one, is an
//! object. Not recursive: a script decides how deep its tables are.

use super::super::{Pace, push_written};
use super::{EncodeInvalid, Settings};
use crate::ffi::{Kind, Raise, Stack};
use crate::number::{format_g, truncate_i32};

/// A table that is being written; its elements are pushed above it.
enum Open {
    Array { slot: u32, len: i32, written: i32 },
    Object { slot: u32, empty: bool },
}

pub(super) fn encode(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    if stack.top() != 1 {
        return Err(Raise::argument(1, "expected 1 argument"));
    }
    let settings = Settings::of(stack);
    push_written(stack, |stack, out| write(stack, &settings, out))?;
    Ok(1)
}

fn write(stack: &mut Stack<'_>, settings: &Settings, out: &mut Vec<u8>) -> Result<(), Raise> {
    let mut open = Vec::new();
    let mut pace = Pace::default();
    write_top(stack, settings, out, &mut open)?;
    while let Some(table) = open.last_mut() {
        pace.step(stack, out)?;
        match table {
            Open::Array { slot, len, written } => {
                if *written == *len {
                    out.push(b']');
                } else {
                    if *written > 0 {
                        out.push(b',');
                    }
                    *written += 1;
                    stack.get_index(*slot, *written)?;
                    write_top(stack, settings, out, &mut open)?;
                    continue;
                }
            }
            Open::Object { slot, empty } => {
                // The last key is on top.
                if !stack.next(*slot)? {
                    out.push(b'}');
                } else {
                    if !std::mem::take(empty) {
                        out.push(b',');
                    }
                    write_key(stack, settings, out)?;
                    write_top(stack, settings, out, &mut open)?;
                    continue;
                }
            }
        }
        let (Open::Array { slot, .. } | Open::Object { slot, .. }) = *table;
        open.pop();
        stack.cut(slot - 1);
    }
    Ok(())
}

/// Writes the value on top and removes it; of a table it only writes the bracket, and keeps it.
fn write_top(stack: &mut Stack<'_>, settings: &Settings, out: &mut Vec<u8>, open: &mut Vec<Open>) -> Result<(), Raise> {
    let slot = stack.top();
    match stack.kind(slot) {
        Kind::String => write_string(out, stack.bytes(slot).unwrap_or_default()),
        Kind::Number => write_number(stack, slot, settings, out)?,
        Kind::Boolean if stack.boolean(slot) => out.extend_from_slice(b"true"),
        Kind::Boolean => out.extend_from_slice(b"false"),
        Kind::Nil => out.extend_from_slice(b"null"),
        Kind::LightUserdata if stack.is_null_pointer(slot) => out.extend_from_slice(b"null"),
        Kind::Table => {
            let depth = open.len() + 1;
            if depth > settings.encode_depth_max as usize || !stack.room(3) {
                return Err(Raise::Error(format!("Cannot serialise, excessive nesting ({depth})").into()));
            }
            open.push(match array_len(stack, slot, settings)? {
                len @ 1.. => {
                    out.push(b'[');
                    Open::Array { slot, len, written: 0 }
                }
                _ => {
                    out.push(b'{');
                    stack.push_nil()?;
                    Open::Object { slot, empty: true }
                }
            });
            return Ok(());
        }
        _ => return Err(refuse(stack, slot, "type not supported")),
    }
    stack.cut(slot - 1);
    Ok(())
}

/// The largest index of a table that has only integer keys from 1; else 0 or less. Indexes that are no `int` count as
/// the smallest one, as they do in the original.
fn array_len(stack: &mut Stack<'_>, slot: u32, settings: &Settings) -> Result<i32, Raise> {
    let mut largest = 0;
    let mut elements = 0i32;
    stack.push_nil()?;
    while stack.next(slot)? {
        let key = match stack.kind(slot + 1) {
            Kind::Number => stack.number(slot + 1).unwrap_or_default(),
            _ => 0.0,
        };
        if key < 1.0 || key != key.floor() {
            stack.cut(slot);
            return Ok(-1);
        }
        if key > f64::from(largest) {
            largest = truncate_i32(key);
        }
        elements = elements.wrapping_add(1);
        stack.pop(1);
    }
    let Settings { sparse_ratio, sparse_safe, .. } = *settings;
    if sparse_ratio > 0 && largest > elements.wrapping_mul(sparse_ratio) && largest > sparse_safe {
        if !settings.sparse_convert {
            return Err(refuse(stack, slot, "excessively sparse array"));
        }
        return Ok(-1);
    }
    Ok(largest)
}

/// Writes the key below the value on top, and a colon.
fn write_key(stack: &mut Stack<'_>, settings: &Settings, out: &mut Vec<u8>) -> Result<(), Raise> {
    let key = stack.top() - 1;
    match stack.kind(key) {
        Kind::Number => {
            out.push(b'"');
            write_number(stack, key, settings, out)?;
            out.push(b'"');
        }
        Kind::String => write_string(out, stack.bytes(key).unwrap_or_default()),
        _ => return Err(refuse(stack, key, "table key must be a number or string")),
    }
    out.push(b':');
    Ok(())
}

fn write_number(stack: &Stack<'_>, slot: u32, settings: &Settings, out: &mut Vec<u8>) -> Result<(), Raise> {
    let number = stack.number(slot).unwrap_or_default();
    if !number.is_finite() {
        match settings.encode_invalid {
            EncodeInvalid::Fail => return Err(refuse(stack, slot, "must not be NaN or Inf")),
            EncodeInvalid::Null => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            // Without its sign, which machines disagree on.
            EncodeInvalid::Write if number.is_nan() => {
                out.extend_from_slice(b"nan");
                return Ok(());
            }
            EncodeInvalid::Write => {}
        }
    }
    format_g(out, number, settings.precision as usize);
    Ok(())
}

/// The slash is escaped, bytes from 128 are not.
fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(end) = rest.iter().position(|&byte| is_escaped(byte)) {
        out.extend_from_slice(&rest[..end]);
        write_escape(out, rest[end]);
        rest = &rest[end + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'/' | b'\\' | 0x7f)
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        b'"' | b'/' | b'\\' => byte,
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn refuse(stack: &Stack<'_>, slot: u32, reason: &str) -> Raise {
    Raise::Error(format!("Cannot serialise {}: {reason}", stack.kind(slot).name()).into())
}

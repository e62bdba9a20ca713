//! RESP replies as Lua values: what redis.call returns.
//!
//! | RESP | Lua |
//! |---|---|
//! | integer | number |
//! | bulk string | string |
//! | null bulk, null array | false |
//! | array | table, from 1 |
//! | status | table with the field `ok` |
//! | error | table with the field `err` |

use crate::ffi::{Raise, Stack};

/// Arrays within arrays. Commands nest two or three deep.
const DEPTH_MAX: u32 = 64;

/// Pushes the value of `reply`, which holds one reply of the host.
pub(crate) fn push(stack: &mut Stack<'_>, reply: &[u8]) -> Result<(), Raise> {
    let mut rest = reply;
    push_next(stack, &mut rest, 0)
}

/// The text of an error reply.
pub(crate) fn error_text(reply: &[u8]) -> Option<&[u8]> {
    let text = reply.strip_prefix(b"-")?;
    Some(text.strip_suffix(b"\r\n").unwrap_or(text))
}

fn push_next(stack: &mut Stack<'_>, rest: &mut &[u8], depth: u32) -> Result<(), Raise> {
    let (kind, line) = take_line(rest)?;
    match kind {
        b':' => stack.push_number(integer(line)? as f64),
        b'+' => push_field(stack, b"ok", line),
        b'-' => push_field(stack, b"err", line),
        b'$' => match usize::try_from(integer(line)?) {
            Err(_) => stack.push_boolean(false),
            Ok(len) => {
                let text = rest.get(..len).ok_or_else(malformed)?;
                *rest = rest.get(len + 2..).ok_or_else(malformed)?;
                stack.push_bytes(text)
            }
        },
        b'*' => match i32::try_from(integer(line)?) {
            Err(_) => Err(malformed()),
            Ok(..0) => stack.push_boolean(false),
            Ok(_) if depth == DEPTH_MAX => Err(malformed()),
            Ok(count) => {
                // The shortest element has four bytes.
                stack.push_table((count as usize).min(rest.len() / 4) as u32, 0)?;
                let table = stack.top();
                for index in 1..=count {
                    push_next(stack, rest, depth + 1)?;
                    stack.set_index(table, index)?;
                }
                Ok(())
            }
        },
        _ => Err(malformed()),
    }
}

fn push_field(stack: &mut Stack<'_>, name: &[u8], value: &[u8]) -> Result<(), Raise> {
    stack.push_table(0, 1)?;
    let table = stack.top();
    stack.push_bytes(value)?;
    stack.set_field(table, name)
}

/// Takes a line: its first byte, and the rest without the line end.
fn take_line<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Raise> {
    let end = rest.iter().position(|&byte| byte == b'\r').ok_or_else(malformed)?;
    let (&kind, line) = rest[..end].split_first().ok_or_else(malformed)?;
    *rest = rest.get(end + 2..).ok_or_else(malformed)?;
    Ok((kind, line))
}

fn integer(line: &[u8]) -> Result<i64, Raise> {
    resp::parse_i64(line).ok_or_else(malformed)
}

/// A bug of the host; the script fails, the server goes on.
#[cold]
fn malformed() -> Raise {
    Raise::Plain(b"malformed reply"[..].into())
}

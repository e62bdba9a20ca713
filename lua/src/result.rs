//! Lua values as RESP: what a script returns becomes the reply of EVAL.
//!
//! | Lua | RESP |
//! |---|---|
//! | number | integer, the fraction cut off |
//! | string | bulk string |
//! | true | integer 1 |
//! | false, nil, and all that has no RESP | null bulk |
//! | table with a string field `err` | error |
//! | table with a string field `ok` | status |
//! | other table | array of the elements from 1 to the first nil |
//!
//! Metamethods are obeyed, as in Redis 3.2; there an error in one ends the server, here it ends the script. Tables
//! nested beyond what a C function's stack can hold give an error element, as in later versions.

use resp::Out;

use crate::error::blank_line_ends;
use crate::ffi::{Failure, Kind, Raise, Stack};
use crate::number::truncate;

/// Bytes that may be moved to make room for longer array headers: each level of nested tables with holes moves all that
/// is in it.
const MOVED_BYTES_MAX: usize = 1 << 30;

/// Why there is no reply.
pub(crate) enum Unfit {
    /// A metamethod failed; the error value is on top of the stack.
    Raised(Failure),
    /// The reply would be larger than allowed.
    TooLarge,
    /// No memory for it.
    Memory,
}

impl From<Raise> for Unfit {
    fn from(_: Raise) -> Unfit {
        Unfit::Memory
    }
}

/// A table whose elements are being written.
struct Open {
    slot: u32,
    /// Where the array's header begins, and the count that it announces.
    header: usize,
    announced: usize,
    written: i32,
    metamethods: bool,
}

/// Appends the value on top of the stack, and removes it. After an error `out` is to be cut back by the caller.
pub(crate) fn write(stack: &mut Stack<'_>, out: &mut Out) -> Result<(), Unfit> {
    let largest = out.len().saturating_add(stack.shared().reply_bytes_max);
    let mut open = Vec::new();
    let mut moved = 0;
    write_top(stack, out, &mut open)?;
    // Not recursive: a script decides how deep its tables are.
    while let Some(array) = open.last_mut() {
        if out.len() > largest {
            return Err(Unfit::TooLarge);
        }
        if array.metamethods {
            stack.push_number(f64::from(array.written) + 1.0)?;
            stack.get_with_metamethods(array.slot).map_err(Unfit::Raised)?;
        } else {
            stack.get_index(array.slot, array.written + 1)?;
        }
        if stack.kind(stack.top()) != Kind::Nil && array.written < i32::MAX - 1 {
            array.written += 1;
            write_top(stack, out, &mut open)?;
        } else {
            moved += correct_header(out, array);
            if moved > MOVED_BYTES_MAX {
                return Err(Unfit::TooLarge);
            }
            stack.cut(array.slot - 1);
            open.pop();
        }
    }
    Ok(())
}

/// Writes the value on top and removes it; of an array it only opens, and keeps, the table.
fn write_top(stack: &mut Stack<'_>, out: &mut Out, open: &mut Vec<Open>) -> Result<(), Unfit> {
    let slot = stack.top();
    match stack.kind(slot) {
        Kind::String => out.bulk(stack.bytes(slot).unwrap_or_default()),
        Kind::Number => out.int(truncate(stack.number(slot).unwrap_or_default())),
        Kind::Boolean if stack.boolean(slot) => out.int(1),
        Kind::Table if !stack.room(6) => out.error("ERR reached lua stack limit"),
        Kind::Table => {
            let metamethods = stack.has_metatable(slot)?;
            for (name, mark) in [(&b"err"[..], b'-'), (b"ok", b'+')] {
                stack.push_bytes(name)?;
                if metamethods {
                    stack.get_with_metamethods(slot).map_err(Unfit::Raised)?;
                } else {
                    stack.get(slot);
                }
                if let Some(text) = stack.bytes(slot + 1) {
                    write_line(out, mark, text);
                    stack.cut(slot - 1);
                    return Ok(());
                }
                stack.cut(slot);
            }
            let announced = stack.table_len(slot);
            open.push(Open { slot, header: out.len(), announced, written: 0, metamethods });
            out.array(announced);
            return Ok(());
        }
        _ => out.null_bulk(),
    }
    stack.cut(slot - 1);
    Ok(())
}

/// The length of a table is a guess where it has holes: writes the true count over it. Returns the bytes moved.
fn correct_header(out: &mut Out, array: &Open) -> usize {
    let written = array.written as usize;
    if written == array.announced {
        return 0;
    }
    let mut header = Out::new();
    header.array(array.announced);
    let end = array.header + header.len();
    header.clear();
    header.array(written);
    let moved = out.len() - end;
    out.as_mut_vec().splice(array.header..end, header.into_vec());
    moved
}

/// A status or error: a C string of one line in the original, so it ends at a zero byte, and line ends become blanks.
fn write_line(out: &mut Out, mark: u8, text: &[u8]) {
    let start = out.len();
    let bytes = out.as_mut_vec();
    bytes.push(mark);
    bytes.extend_from_slice(text.split(|&byte| byte == 0).next().unwrap_or_default());
    blank_line_ends(&mut bytes[start..]);
    bytes.extend_from_slice(b"\r\n");
}

//! What scripts must not reach or break: unsafe library functions are replaced or guarded, and globals protected.
//!
//! | function | why |
//! |---|---|
//! | `loadfile`, `dofile` | read files; removed, as in Redis |
//! | `loadstring`, `load` | take compiled code, which nobody verifies |
//! | `unpack` | its range overflows |
//! | `string.find`, `match`, `gmatch`, `gsub` | recurse on the C stack without a bound |
//! | `collectgarbage` | its settings would outlive the script |

use std::ffi::CString;

use crate::ffi::{Failure, Kind, Original, Raise, Reference, Stack, State, native, native_before};

/// Pattern items that make the matcher recurse: far more than any real pattern has.
const PATTERN_ITEMS_MAX: usize = 1000;
/// Bytes of C stack after which a nested `gsub` (9 kB a level) is refused.
const C_STACK_BYTES_MAX: usize = 512 * 1024;
/// Bytes of source that `load` takes from its reader.
const SOURCE_BYTES_MAX: usize = 64 << 20;

/// Replaces and removes functions of Lua's own library.
pub(crate) fn restrict(state: &mut State) -> Result<(), Raise> {
    for (original, table, name) in [
        (Original::Find, &b"string"[..], &b"find"[..]),
        (Original::Match, b"string", b"match"),
        (Original::Gmatch, b"string", b"gmatch"),
        (Original::Gsub, b"string", b"gsub"),
        (Original::CollectGarbage, b"", b"collectgarbage"),
    ] {
        state.remember(original, table, name);
    }
    state.with_stack(|stack| {
        for name in [&b"loadfile"[..], b"dofile"] {
            stack.push_nil()?;
            stack.set_global(name)?;
        }
        for (name, function) in [
            (&b"unpack"[..], native(unpack)),
            (b"loadstring", native(loadstring)),
            (b"load", native(load)),
            (
                b"collectgarbage",
                native_before::<_, { Original::CollectGarbage as usize }>(|stack: &mut Stack<'_>| {
                    stack.shared().collector_changed.set(true);
                    Ok(0)
                }),
            ),
        ] {
            stack.push_function(function)?;
            stack.set_global(name)?;
        }
        stack.push_global(b"string")?;
        let strings = stack.top();
        for (name, function) in [
            (&b"find"[..], native_before::<_, { Original::Find as usize }>(check_find)),
            (b"match", native_before::<_, { Original::Match as usize }>(check_pattern)),
            (b"gmatch", native_before::<_, { Original::Gmatch as usize }>(check_pattern)),
            (b"gfind", native_before::<_, { Original::Gmatch as usize }>(check_pattern)),
            (b"gsub", native_before::<_, { Original::Gsub as usize }>(check_pattern)),
        ] {
            stack.push_function(function)?;
            stack.set_field(strings, name)?;
        }
        Ok(())
    })
}

/// Reading or creating an undeclared global is an error, except in code that C runs and (creating) in main chunks.
/// The messages name the lines of this chunk: 8 and 15, as in Redis.
const PROTECT_GLOBALS: &[u8] = br#"local getinfo = debug.getinfo
local error, tostring, rawset, rawget = error, tostring, rawset, rawget
local protection = {}

function protection.__newindex(globals, name, value)
  local caller = getinfo(2, "S")
  if caller and caller.what ~= "main" and caller.what ~= "C" then
    error("Script attempted to create global variable '" .. tostring(name) .. "'", 2)
  end
  rawset(globals, name, value)
end
function protection.__index(globals, name)
  local caller = getinfo(2, "S")
  if caller and caller.what ~= "C" then
    error("Script attempted to access unexisting global variable '" .. tostring(name) .. "'", 2)
  end
  return rawget(globals, name)
end

setmetatable(_G, protection)
debug = nil
"#;

/// Puts the place of the error in front of its message. An error that is no text fails in line 8, as in Redis, and
/// this function then gets the message of that.
const ERROR_HANDLER: &[u8] = br#"local getinfo = debug.getinfo
return function(err)
  local place = getinfo(2, "nSl")
  if place and place.what == "C" then
    place = getinfo(3, "nSl")
  end
  if place then
    return place.source .. ":" .. place.currentline .. ": " .. err
  end
  return err
end
"#;

/// Makes the error handler, then protects the globals. To be called last: it takes `debug` away.
pub(crate) fn protect(stack: &mut Stack<'_>) -> Result<Reference, Raise> {
    run_chunk(stack, ERROR_HANDLER, c"@err_handler_def", 1)?;
    let handler = stack.keep();
    run_chunk(stack, PROTECT_GLOBALS, c"@enable_strict_lua", 0)?;
    Ok(handler)
}

fn run_chunk(stack: &mut Stack<'_>, source: &[u8], name: &std::ffi::CStr, results: u32) -> Result<(), Raise> {
    stack.load(source, name).and_then(|()| stack.call(0, results, None)).map_err(|_| Raise::Top)
}

// === Replacements ===

/// unpack(list [, first [, last]]), with the range checked in 64 bits.
fn unpack(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    stack.check_kind(1, Kind::Table)?;
    let first = stack.optional_integer(2, 1)? as i32;
    let default = stack.table_len(1).min(i32::MAX as usize) as i64;
    let last = stack.optional_integer(3, default)? as i32;
    if first > last {
        return Ok(0);
    }
    let count = u32::try_from(i64::from(last) - i64::from(first) + 1).unwrap_or(u32::MAX);
    if !stack.room(count) {
        return Err(Raise::Error("too many results to unpack".into()));
    }
    for index in first..=last {
        stack.get_index(1, index)?;
    }
    Ok(count)
}

/// loadstring(source [, name])
fn loadstring(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    stack.check_text(1)?;
    let source = stack.bytes(1).unwrap_or_default().to_vec();
    let name = chunk_name(stack, &source)?;
    load_and_return(stack, &source, name)
}

/// load(reader [, name]): calls `reader` for one piece after the other, until it returns nil or nothing.
fn load(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    stack.check_kind(1, Kind::Function)?;
    let name = chunk_name(stack, b"=(load)")?;
    let mut source = Vec::new();
    loop {
        stack.push_copy(1)?;
        if stack.call(0, 1, None).is_err() {
            return nil_and_top(stack);
        }
        let slot = stack.top();
        if stack.kind(slot) == Kind::Nil {
            break;
        }
        let Some(piece) = stack.text(slot) else {
            let mut message = stack.location(1);
            message.extend_from_slice(b"reader function must return a string");
            stack.push_bytes(&message)?;
            return nil_and_top(stack);
        };
        if piece.is_empty() {
            break;
        }
        source.extend_from_slice(piece);
        if source.len() > SOURCE_BYTES_MAX {
            return Err(Raise::Memory);
        }
        stack.pop(1);
    }
    load_and_return(stack, &source, name)
}

/// The chunk name in argument 2, or `default`; either ends at a zero byte.
fn chunk_name(stack: &mut Stack<'_>, default: &[u8]) -> Result<CString, Raise> {
    let name = match stack.kind(2) {
        Kind::None | Kind::Nil => default,
        _ => {
            stack.check_text(2)?;
            stack.bytes(2).unwrap_or_default()
        }
    };
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(CString::new(&name[..end]).unwrap_or_default())
}

fn load_and_return(stack: &mut Stack<'_>, source: &[u8], name: CString) -> Result<u32, Raise> {
    match stack.load(source, &name) {
        Ok(()) => Ok(1),
        Err(Failure::Memory) => Err(Raise::Memory),
        Err(Failure::Error) => nil_and_top(stack),
    }
}

/// Returns nil and the value on top.
fn nil_and_top(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    stack.push_nil()?;
    let top = stack.top();
    stack.insert(top - 1);
    Ok(2)
}

// === Guards ===

/// string.find(text, pattern, start, plain): a plain search takes any text.
fn check_find(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    if stack.boolean(4) { Ok(0) } else { check_pattern(stack) }
}

fn check_pattern(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let pattern = stack.bytes(2).unwrap_or_default();
    if pattern.len() > PATTERN_ITEMS_MAX {
        let items = pattern.iter().filter(|byte| b"()*+-?".contains(byte)).count();
        if items > PATTERN_ITEMS_MAX {
            return Err(Raise::Error("pattern too complex".into()));
        }
    }
    if stack.shared().c_stack_used() > C_STACK_BYTES_MAX {
        return Err(Raise::Error("C stack overflow".into()));
    }
    Ok(0)
}

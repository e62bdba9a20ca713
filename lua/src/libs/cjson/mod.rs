//! The library `cjson`: JSON as lua-cjson 2.1.0 reads and writes it.
//!
//! Each module table (`cjson`, and what `cjson.new()` returns) has settings of its own, kept in a block that its
//! functions share.

mod decode;
mod encode;
mod lexer;

use crate::ffi::{BLOCK, Function, Kind, Raise, Stack, native};

/// The settings of one module table.
#[derive(Clone, Copy)]
struct Settings {
    /// Write excessively sparse arrays as objects, instead of failing.
    sparse_convert: bool,
    /// An array is excessively sparse when its largest index is above this times its number of elements (0: never) ...
    sparse_ratio: i32,
    /// ... and above this.
    sparse_safe: i32,
    encode_depth_max: i32,
    /// What NaN and infinities become.
    encode_invalid: EncodeInvalid,
    /// Significant digits.
    precision: i32,
    /// Kept for scripts that ask; the buffer is always kept.
    keep_buffer: bool,
    /// Take NaN, infinities and hexadecimal numbers.
    decode_invalid: bool,
    decode_depth_max: i32,
}

/// Reaction to numbers that JSON has not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EncodeInvalid {
    Fail,
    Write,
    Null,
}

impl Settings {
    const DEFAULT: Settings = Settings {
        sparse_convert: false,
        sparse_ratio: 2,
        sparse_safe: 10,
        encode_depth_max: 1000,
        encode_invalid: EncodeInvalid::Fail,
        precision: 14,
        keep_buffer: true,
        decode_invalid: true,
        decode_depth_max: 1000,
    };

    /// Those of the running function.
    fn of(stack: &Stack<'_>) -> Settings {
        let block = stack.block();
        Settings {
            sparse_convert: block[0] != 0,
            sparse_ratio: block[1],
            sparse_safe: block[2],
            encode_depth_max: block[3],
            encode_invalid: match block[4] {
                0 => EncodeInvalid::Fail,
                1 => EncodeInvalid::Write,
                _ => EncodeInvalid::Null,
            },
            precision: block[5],
            keep_buffer: block[6] != 0,
            decode_invalid: block[7] != 0,
            decode_depth_max: block[8],
        }
    }

    fn block(self) -> [i32; BLOCK] {
        [
            self.sparse_convert.into(),
            self.sparse_ratio,
            self.sparse_safe,
            self.encode_depth_max,
            self.encode_invalid as i32,
            self.precision,
            self.keep_buffer.into(),
            self.decode_invalid.into(),
            self.decode_depth_max,
        ]
    }
}

pub(super) fn open(stack: &mut Stack<'_>) -> Result<(), Raise> {
    new(stack)?;
    stack.set_global(b"cjson")
}

/// cjson.new(): a module table with default settings.
fn new(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let functions: [(&[u8], Function); 10] = [
        (b"encode", native(encode::encode)),
        (b"decode", native(decode::decode)),
        (b"encode_sparse_array", native(encode_sparse_array)),
        (b"encode_max_depth", native(encode_max_depth)),
        (b"decode_max_depth", native(decode_max_depth)),
        (b"encode_number_precision", native(encode_number_precision)),
        (b"encode_keep_buffer", native(encode_keep_buffer)),
        (b"encode_invalid_numbers", native(encode_invalid_numbers)),
        (b"decode_invalid_numbers", native(decode_invalid_numbers)),
        (b"new", native(new)),
    ];
    stack.push_block(Settings::DEFAULT.block())?;
    let block = stack.top();
    stack.push_table(0, functions.len() as u32 + 3)?;
    let table = stack.top();
    for (name, function) in functions {
        stack.push_copy(block)?;
        stack.push_closure(function)?;
        stack.set_field(table, name)?;
    }
    stack.push_null_pointer()?;
    stack.set_field(table, b"null")?;
    for (name, value) in [(&b"_NAME"[..], &b"cjson"[..]), (b"_VERSION", b"2.1.0")] {
        stack.push_bytes(value)?;
        stack.set_field(table, name)?;
    }
    stack.remove(block);
    Ok(1)
}

// === Settings: each function sets what it is given, and returns what is set then ===

fn encode_sparse_array(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    accept(stack, 3)?;
    let mut settings = Settings::of(stack);
    // What is right before a wrong argument is kept, as in the original.
    let result = (|| {
        if let Some(convert) = switch(stack, 1)? {
            settings.sparse_convert = convert;
        }
        integer(stack, 2, 0..=i32::MAX, &mut settings.sparse_ratio)?;
        integer(stack, 3, 0..=i32::MAX, &mut settings.sparse_safe)
    })();
    stack.set_block(settings.block());
    result?;
    stack.push_boolean(settings.sparse_convert)?;
    stack.push_number(f64::from(settings.sparse_ratio))?;
    stack.push_number(f64::from(settings.sparse_safe))?;
    Ok(3)
}

fn encode_max_depth(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    one_integer(stack, 1..=i32::MAX, |settings| &mut settings.encode_depth_max)
}

fn decode_max_depth(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    one_integer(stack, 1..=i32::MAX, |settings| &mut settings.decode_depth_max)
}

fn encode_number_precision(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    one_integer(stack, 1..=14, |settings| &mut settings.precision)
}

fn encode_keep_buffer(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    one_switch(stack, |settings| &mut settings.keep_buffer)
}

fn decode_invalid_numbers(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    one_switch(stack, |settings| &mut settings.decode_invalid)
}

fn encode_invalid_numbers(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    accept(stack, 1)?;
    let mut settings = Settings::of(stack);
    settings.encode_invalid = match stack.kind(1) {
        Kind::None | Kind::Nil => settings.encode_invalid,
        Kind::Boolean if stack.boolean(1) => EncodeInvalid::Write,
        Kind::Boolean => EncodeInvalid::Fail,
        _ => match option(stack, 1, &["off", "on", "null"])? {
            0 => EncodeInvalid::Fail,
            1 => EncodeInvalid::Write,
            _ => EncodeInvalid::Null,
        },
    };
    stack.set_block(settings.block());
    match settings.encode_invalid {
        EncodeInvalid::Fail => stack.push_boolean(false)?,
        EncodeInvalid::Write => stack.push_boolean(true)?,
        EncodeInvalid::Null => stack.push_bytes(b"null")?,
    }
    Ok(1)
}

fn one_integer(
    stack: &mut Stack<'_>,
    range: std::ops::RangeInclusive<i32>,
    field: impl Fn(&mut Settings) -> &mut i32,
) -> Result<u32, Raise> {
    accept(stack, 1)?;
    let mut settings = Settings::of(stack);
    integer(stack, 1, range, field(&mut settings))?;
    stack.set_block(settings.block());
    stack.push_number(f64::from(*field(&mut settings)))?;
    Ok(1)
}

fn one_switch(stack: &mut Stack<'_>, field: impl Fn(&mut Settings) -> &mut bool) -> Result<u32, Raise> {
    accept(stack, 1)?;
    let mut settings = Settings::of(stack);
    if let Some(on) = switch(stack, 1)? {
        *field(&mut settings) = on;
    }
    stack.set_block(settings.block());
    stack.push_boolean(*field(&mut settings))?;
    Ok(1)
}

/// At most `count` arguments.
fn accept(stack: &Stack<'_>, count: u32) -> Result<(), Raise> {
    if stack.top() <= count { Ok(()) } else { Err(Raise::argument(count + 1, "found too many arguments")) }
}

/// Takes an integer argument, if it is given, into `setting`. The message blames argument 1, whichever it is.
fn integer(
    stack: &Stack<'_>,
    argument: u32,
    range: std::ops::RangeInclusive<i32>,
    setting: &mut i32,
) -> Result<(), Raise> {
    if matches!(stack.kind(argument), Kind::None | Kind::Nil) {
        return Ok(());
    }
    let value = stack.check_int(argument)?;
    if !range.contains(&value) {
        let text = format!("expected integer between {} and {}", range.start(), range.end());
        return Err(Raise::argument(1, text));
    }
    *setting = value;
    Ok(())
}

/// A boolean, or "on" or "off", if it is given.
fn switch(stack: &mut Stack<'_>, argument: u32) -> Result<Option<bool>, Raise> {
    match stack.kind(argument) {
        Kind::None | Kind::Nil => Ok(None),
        Kind::Boolean => Ok(Some(stack.boolean(argument))),
        _ => Ok(Some(option(stack, argument, &["off", "on"])? == 1)),
    }
}

/// Which of `names` the argument is.
fn option(stack: &mut Stack<'_>, argument: u32, names: &[&str]) -> Result<usize, Raise> {
    stack.check_text(argument)?;
    let given = stack.bytes(argument).unwrap_or_default();
    // A C string, here and in the message.
    let given = given.split(|&byte| byte == 0).next().unwrap_or_default();
    names.iter().position(|name| name.as_bytes() == given).ok_or_else(|| {
        let text = [&b"invalid option '"[..], given, b"'"].concat();
        Raise::argument(argument, text)
    })
}

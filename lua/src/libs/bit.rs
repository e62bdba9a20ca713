//! The library `bit`: operations on 32-bit integers, with the semantics of Lua BitOp 1.0.2.
//!
//! Results are signed. Numbers are taken modulo 2^32, rounded to the nearest integer (to even at a half), for
//! magnitudes below 2^51; beyond, the result is what the bits of the sum with 2^52 + 2^51 make it.

use crate::ffi::{Raise, Stack, native};

pub(super) fn open(stack: &mut Stack<'_>) -> Result<(), Raise> {
    super::push_library(
        stack,
        &[
            (b"tobit", native(|stack| one(stack, |bits| bits))),
            (b"bnot", native(|stack| one(stack, |bits| !bits))),
            (b"bswap", native(|stack| one(stack, u32::swap_bytes))),
            (b"band", native(|stack| fold(stack, |a, b| a & b))),
            (b"bor", native(|stack| fold(stack, |a, b| a | b))),
            (b"bxor", native(|stack| fold(stack, |a, b| a ^ b))),
            (b"lshift", native(|stack| shift(stack, |bits, by| bits << by))),
            (b"rshift", native(|stack| shift(stack, |bits, by| bits >> by))),
            (b"arshift", native(|stack| shift(stack, |bits, by| (bits as i32 >> by) as u32))),
            (b"rol", native(|stack| shift(stack, u32::rotate_left))),
            (b"ror", native(|stack| shift(stack, u32::rotate_right))),
            (b"tohex", native(tohex)),
        ],
    )?;
    stack.set_global(b"bit")
}

fn argument(stack: &Stack<'_>, slot: u32) -> Result<u32, Raise> {
    // Adding 2^52 + 2^51 moves the integer into the low bits of the mantissa.
    Ok((stack.check_number(slot)? + 6_755_399_441_055_744.0).to_bits() as u32)
}

fn answer(stack: &mut Stack<'_>, bits: u32) -> Result<u32, Raise> {
    stack.push_number(f64::from(bits as i32))?;
    Ok(1)
}

fn one(stack: &mut Stack<'_>, operation: impl Fn(u32) -> u32) -> Result<u32, Raise> {
    let bits = argument(stack, 1)?;
    answer(stack, operation(bits))
}

fn fold(stack: &mut Stack<'_>, operation: impl Fn(u32, u32) -> u32) -> Result<u32, Raise> {
    let mut bits = argument(stack, 1)?;
    for slot in (2..=stack.top()).rev() {
        bits = operation(bits, argument(stack, slot)?);
    }
    answer(stack, bits)
}

fn shift(stack: &mut Stack<'_>, operation: impl Fn(u32, u32) -> u32) -> Result<u32, Raise> {
    let bits = argument(stack, 1)?;
    let by = argument(stack, 2)? & 31;
    answer(stack, operation(bits, by))
}

/// tohex(bits [, digits]): a negative number of digits asks for capitals.
fn tohex(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    let bits = argument(stack, 1)?;
    let digits = if stack.top() < 2 { 8 } else { argument(stack, 2)? as i32 };
    let text = if digits < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    let shown = digits.unsigned_abs().min(8) as usize;
    stack.push_bytes(&text.as_bytes()[8 - shown..])?;
    Ok(1)
}

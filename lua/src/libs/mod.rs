//! The libraries that Redis bundles with Lua.

mod bit;
mod cjson;
mod cmsgpack;
mod structs;

use crate::ffi::{Function, Raise, Stack};

/// Defines the libraries' globals.
pub(crate) fn open(stack: &mut Stack<'_>) -> Result<(), Raise> {
    bit::open(stack)?;
    cjson::open(stack)?;
    cmsgpack::open(stack)?;
    structs::open(stack)
}

/// Pushes a table of `functions`.
fn push_library(stack: &mut Stack<'_>, functions: &[(&[u8], Function)]) -> Result<(), Raise> {
    stack.push_table(0, functions.len() as u32)?;
    let table = stack.top();
    for (name, function) in functions {
        stack.push_function(*function)?;
        stack.set_field(table, name)?;
    }
    Ok(())
}

/// Runs `write` with the buffer that encoders share, and pushes what it has written.
fn push_written(
    stack: &mut Stack<'_>,
    write: impl FnOnce(&mut Stack<'_>, &mut Vec<u8>) -> Result<(), Raise>,
) -> Result<(), Raise> {
    let shared = stack.shared();
    let mut out = shared.scratch.take();
    out.clear();
    let written = write(stack, &mut out);
    let result = written.and_then(|()| stack.push_bytes(&out));
    shared.scratch.replace(out);
    result
}

/// Checks now and then that an encoder's output stays within the memory that the script may have, and lets the host
/// have its turn. Tables that contain themselves have no end but this.
#[derive(Default)]
struct Pace {
    steps: u32,
}

/// Steps between two turns of the host: a few milliseconds.
const STEPS_PER_TURN: u32 = 50_000;

impl Pace {
    fn step(&mut self, stack: &mut Stack<'_>, out: &[u8]) -> Result<(), Raise> {
        if !stack.shared().memory.has_room_for(out.len()) {
            return Err(Raise::Memory);
        }
        self.steps += 1;
        if self.steps == STEPS_PER_TURN {
            self.steps = 0;
            stack.breathe()?;
        }
        Ok(())
    }
}

//! The libraries that Redis bundles with Lua.

mod bit;

use crate::ffi::{Function, Raise, Stack};

/// Defines the libraries' globals.
pub(crate) fn open(stack: &mut Stack<'_>) -> Result<(), Raise> {
    bit::open(stack)
}

/// Defines the global table `name` with `functions`.
fn register(stack: &mut Stack<'_>, name: &[u8], functions: &[(&[u8], Function)]) -> Result<(), Raise> {
    stack.push_table(0, functions.len() as u32)?;
    let table = stack.top();
    for (name, function) in functions {
        stack.push_function(*function)?;
        stack.set_field(table, name)?;
    }
    stack.set_global(name)
}

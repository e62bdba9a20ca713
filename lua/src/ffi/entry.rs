//! The beginning of a run: true globals, KEYS and ARGV, the error handler and the script's function, in as few calls of
//! Lua's API as it takes.

use std::ffi::{c_int, c_void};

use mlua_sys as c;

use super::stack::{Raise, Stack};
use super::tables::Reference;

/// Values that every run needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    globals: Reference,
    /// Where the table of globals is, to see whether another one has taken its place.
    globals_address: *const c_void,
    handler: Reference,
    keys: Reference,
    argv: Reference,
}

/// Slots that [`Stack::enter`] fills at most, with the call's.
const SLOTS: u32 = 8;

// The `unsafe` blocks follow the rule that stands above the `impl` in `stack.rs`.
impl Stack<'_> {
    /// Keeps what [`Stack::enter`] will need; the globals of the moment become the true ones.
    pub(crate) fn know(&mut self, handler: Reference) -> Result<Known, Raise> {
        self.push_globals()?;
        // SAFETY: a pseudo index that always exists.
        let globals_address = unsafe { c::lua_topointer(self.l, c::LUA_GLOBALSINDEX) };
        let globals = self.keep();
        self.push_bytes(b"KEYS")?;
        let keys = self.keep();
        self.push_bytes(b"ARGV")?;
        let argv = self.keep();
        Ok(Known { globals, globals_address, handler, keys, argv })
    }

    /// Brings the true globals back: `setfenv(0, ...)` in a script changes the table of globals for good.
    pub(crate) fn restore_globals(&mut self, known: &Known) {
        // SAFETY: a pseudo index that always exists. The true table is in the registry, so no other can have its address.
        let changed = unsafe { c::lua_topointer(self.l, c::LUA_GLOBALSINDEX) != known.globals_address };
        if changed && self.push_kept(known.globals).is_ok() {
            self.replace_globals();
        }
    }

    /// On an empty stack: brings the true globals back, sets KEYS and ARGV in them, and pushes the error handler and
    /// `function`, ready to be called.
    pub(crate) fn enter(
        &mut self,
        known: &Known,
        function: Reference,
        keys: &[&[u8]],
        argv: &[&[u8]],
    ) -> Result<(), Raise> {
        self.need(SLOTS)?;
        self.restore_globals(known);
        for (name, values) in [(known.keys, keys), (known.argv, argv)] {
            // SAFETY: room for three values was made. The registry is a table, and so are the globals; the name is a
            // string, and the table below the value that is set.
            unsafe {
                c::lua_rawgeti_(self.l, c::LUA_REGISTRYINDEX, name.0);
                c::lua_createtable(self.l, values.len().min(1 << 26) as c_int, 0);
                for (index, value) in (1..).zip(values) {
                    c::lua_pushlstring_(self.l, value.as_ptr().cast(), value.len());
                    c::lua_rawseti_(self.l, -2, index);
                    self.need_memory()?;
                }
                c::lua_rawset(self.l, c::LUA_GLOBALSINDEX);
            }
            self.need_memory()?;
        }
        // SAFETY: as above; the stack is empty, so that these become its slots 1 and 2.
        unsafe {
            c::lua_rawgeti_(self.l, c::LUA_REGISTRYINDEX, known.handler.0);
            c::lua_rawgeti_(self.l, c::LUA_REGISTRYINDEX, function.0);
        }
        Ok(())
    }
}

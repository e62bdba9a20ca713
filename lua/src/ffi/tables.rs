//! Tables, globals and the registry, always without metamethods.

use std::ffi::c_int;

use mlua_sys as c;

use super::stack::{Kind, Raise, Stack, at};

/// A value kept alive in the registry, out of the reach of scripts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference(pub(super) c_int);

// The `unsafe` blocks follow the rule that stands above the `impl` in `stack.rs`.
impl Stack<'_> {
    /// Pushes `table[index]`, nil when there is no such table.
    pub(crate) fn get_index(&mut self, table: u32, index: i32) -> Result<(), Raise> {
        if self.kind(table) != Kind::Table {
            return self.push_nil();
        }
        self.need(1)?;
        // SAFETY: a table.
        unsafe { c::lua_rawgeti_(self.l, at(table), index) };
        Ok(())
    }

    /// Replaces the key on top by `table[key]`.
    pub(crate) fn get(&mut self, table: u32) {
        if self.kind(table) == Kind::Table && self.top() > table {
            // SAFETY: a table, with a key above it.
            unsafe { c::lua_rawget_(self.l, at(table)) };
        }
    }

    /// Sets `table[index]` to the value on top, which is removed.
    pub(crate) fn set_index(&mut self, table: u32, index: i32) -> Result<(), Raise> {
        if self.kind(table) == Kind::Table && self.top() > table {
            // SAFETY: a table, with a value above it.
            unsafe { c::lua_rawseti_(self.l, at(table), index) };
        }
        self.need_memory()
    }

    /// Sets `table[key] = value` from key and value on top, which are removed.
    pub(crate) fn set(&mut self, table: u32) -> Result<(), Raise> {
        let top = self.top();
        if self.kind(table) != Kind::Table || top < table + 2 {
            return Err(Raise::Plain(b"no table to set a field of"[..].into()));
        }
        match self.kind(top - 1) {
            Kind::Nil => return Err(Raise::Plain(b"table index is nil"[..].into())),
            Kind::Number if self.number(top - 1).is_some_and(f64::is_nan) => {
                return Err(Raise::Plain(b"table index is NaN"[..].into()));
            }
            _ => {}
        }
        // SAFETY: a table, and a key that it takes.
        unsafe { c::lua_rawset(self.l, at(table)) };
        self.need_memory()
    }

    /// Sets `table[name]` to the value on top, which is removed.
    pub(crate) fn set_field(&mut self, table: u32, name: &[u8]) -> Result<(), Raise> {
        self.push_bytes(name)?;
        let top = self.top();
        self.insert(top - 1);
        self.set(table)
    }

    /// Steps through `table`: replaces the key on top (at first nil) by the next key and its value, or removes it at
    /// the end. Between two steps the table and the key must stay as they are.
    pub(crate) fn next(&mut self, table: u32) -> Result<bool, Raise> {
        self.need(1)?;
        if self.kind(table) != Kind::Table || self.top() <= table {
            return Ok(false);
        }
        // SAFETY: a table with a key above it; the key is of the table, so that it is found again.
        Ok(unsafe { c::lua_next(self.l, at(table)) != 0 })
    }

    // === Globals and the registry ===

    /// Pushes the table of globals.
    pub(crate) fn push_globals(&mut self) -> Result<(), Raise> {
        self.need(1)?;
        // SAFETY: a pseudo index that always exists.
        unsafe { c::lua_pushvalue(self.l, c::LUA_GLOBALSINDEX) };
        Ok(())
    }

    /// Makes the table on top the table of globals, and removes it from the stack.
    pub(crate) fn replace_globals(&mut self) {
        let top = self.top();
        if self.kind(top) == Kind::Table {
            // SAFETY: the pseudo index takes a table.
            unsafe { c::lua_replace(self.l, c::LUA_GLOBALSINDEX) };
        }
    }

    /// Sets a global, without metamethods, to the value on top, which is removed.
    pub(crate) fn set_global(&mut self, name: &[u8]) -> Result<(), Raise> {
        self.push_globals()?;
        let table = self.top();
        self.push_copy(table - 1)?;
        self.set_field(table, name)?;
        self.pop(2);
        Ok(())
    }

    /// Pushes a global, without metamethods.
    pub(crate) fn push_global(&mut self, name: &[u8]) -> Result<(), Raise> {
        self.push_globals()?;
        let table = self.top();
        self.push_bytes(name)?;
        self.get(table);
        self.remove(table);
        Ok(())
    }

    /// Removes the value on top and keeps it in the registry.
    pub(crate) fn keep(&mut self) -> Reference {
        if self.top() == 0 {
            return Reference(c::LUA_REFNIL);
        }
        // SAFETY: there is a value to keep.
        Reference(unsafe { c::luaL_ref(self.l, c::LUA_REGISTRYINDEX) })
    }

    /// Pushes a kept value.
    pub(crate) fn push_kept(&mut self, reference: Reference) -> Result<(), Raise> {
        self.need(1)?;
        // SAFETY: the registry is a table.
        unsafe { c::lua_rawgeti_(self.l, c::LUA_REGISTRYINDEX, reference.0) };
        Ok(())
    }
}

//! Small state that native closures share, out of the reach of scripts.

use mlua_sys as c;

use super::callback::Function;
use super::stack::{Raise, Stack};

/// Number of integers in a block.
pub(crate) const BLOCK: usize = 9;

// The `unsafe` blocks follow the rule that stands above the `impl` in `stack.rs`.
impl Stack<'_> {
    /// Pushes a native closure over the block of integers on top, which is removed; see [`Self::push_block`].
    pub(crate) fn push_closure(&mut self, function: Function) -> Result<(), Raise> {
        self.need(1)?;
        if self.top() > 0 {
            // SAFETY: one value on top as the only upvalue.
            unsafe { c::lua_pushcclosure(self.l, function.0, 1) };
        }
        Ok(())
    }

    /// Pushes a block of integers that native closures share. Scripts cannot reach it.
    pub(crate) fn push_block(&mut self, values: [i32; BLOCK]) -> Result<(), Raise> {
        self.need(1)?;
        self.need_memory()?;
        // SAFETY: the block has the size and (as any userdata) the alignment of the array.
        unsafe { c::lua_newuserdata(self.l, size_of::<[i32; BLOCK]>()).cast::<[i32; BLOCK]>().write(values) };
        Ok(())
    }

    /// The block of integers of the running closure; zeros when it has none.
    pub(crate) fn block(&self) -> [i32; BLOCK] {
        match self.block_address() {
            // SAFETY: checked by `block_address`; copied out at once.
            Some(block) => unsafe { block.read() },
            None => [0; BLOCK],
        }
    }

    /// Changes the block of integers of the running closure.
    pub(crate) fn set_block(&mut self, values: [i32; BLOCK]) {
        if let Some(block) = self.block_address() {
            // SAFETY: checked by `block_address`; nothing else refers to it now.
            unsafe { block.write(values) };
        }
    }

    fn block_address(&self) -> Option<*mut [i32; BLOCK]> {
        let upvalue = c::lua_upvalueindex(1);
        // SAFETY: a pseudo index; userdata of this size are made by `push_block` only.
        unsafe {
            let is_block = c::lua_type(self.l, upvalue) == c::LUA_TUSERDATA
                && c::lua_objlen(self.l, upvalue) == size_of::<[i32; BLOCK]>();
            is_block.then(|| c::lua_touserdata(self.l, upvalue).cast())
        }
    }
}

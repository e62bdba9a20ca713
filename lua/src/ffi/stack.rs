//! The value stack of one Lua function call, as safe methods.
//!
//! Slots count from 1 (the first argument) upwards. A slot above the top reads as [`Kind::None`]. Reading borrows the
//! stack, so no slice of a Lua string outlives the moment in which the collector could free it.

use std::borrow::Cow;
use std::ffi::{c_int, c_void};

use mlua_sys as c;
use mlua_sys::lua_State;

use super::callback::Function;
use super::shared::Shared;
use crate::number::truncate;

/// The basic type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    None,
    Nil,
    Boolean,
    LightUserdata,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
}

impl Kind {
    /// The name as Lua's own messages give it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::None => "no value",
            Kind::Nil => "nil",
            Kind::Boolean => "boolean",
            Kind::LightUserdata | Kind::Userdata => "userdata",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Table => "table",
            Kind::Function => "function",
            Kind::Thread => "thread",
        }
    }
}

/// Why a native function ends with a Lua error.
#[derive(Debug)]
pub(crate) enum Raise {
    /// The value on top of the stack is the error.
    Top,
    /// This text, as it is.
    Plain(Cow<'static, [u8]>),
    /// This text, after the place in the script that called the function.
    Error(Cow<'static, str>),
    /// "bad argument #n to 'function' (text)".
    Argument(u32, Vec<u8>),
    /// "not enough memory".
    Memory,
}

impl Raise {
    /// [`Raise::Argument`] with any text.
    pub(crate) fn argument(argument: u32, text: impl Into<Vec<u8>>) -> Raise {
        Raise::Argument(argument, text.into())
    }

    /// The error of a stack that cannot grow, as `luaL_checkstack` words it.
    pub(crate) fn stack_overflow(what: &str) -> Raise {
        Raise::Error(format!("stack overflow ({what})").into())
    }
}

/// The `Shared` of a state.
///
/// # Safety
/// `l` must be a live state made by [`super::State::new`]; the result must not outlive it.
pub(super) unsafe fn shared_of<'a>(l: *mut lua_State) -> &'a Shared {
    let mut ud: *mut c_void = std::ptr::null_mut();
    // SAFETY: `l` is live; its allocator's pointer is its `Shared`, which lives as long.
    unsafe {
        c::lua_getallocf(l, &mut ud);
        &*ud.cast::<Shared>()
    }
}

/// The stack of one call.
pub(crate) struct Stack<'a> {
    pub(super) l: *mut lua_State,
    pub(super) shared: &'a Shared,
}

/// A slot as a C index: positive indexes beyond the top are harmless to read, 0 would not be.
pub(super) fn at(slot: u32) -> c_int {
    slot.clamp(1, 1 << 20) as c_int
}

// In this impl every `unsafe` block calls the C API on `self.l`, which is live (contract of `new`), with indexes from
// `at` and room checked by `room`, under the rules of the module's header; the notes below say only what is special.
impl<'a> Stack<'a> {
    /// # Safety
    /// `l` must be live for `'a`, `shared` its own, and memory not strict while this is used.
    pub(super) unsafe fn new(l: *mut lua_State, shared: &'a Shared) -> Stack<'a> {
        Stack { l, shared }
    }

    /// What is kept beside the state.
    pub(crate) fn shared(&self) -> &'a Shared {
        self.shared
    }

    /// Number of values, which is also the slot of the topmost.
    pub(crate) fn top(&self) -> u32 {
        // SAFETY: see above.
        unsafe { c::lua_gettop(self.l) as u32 }
    }

    /// Removes all values above `slot`.
    pub(crate) fn cut(&mut self, slot: u32) {
        let keep = if slot == 0 { 0 } else { slot.min(self.top()) };
        // SAFETY: only shrinks.
        unsafe { c::lua_settop(self.l, keep as c_int) };
    }

    /// Removes the `count` topmost values.
    pub(crate) fn pop(&mut self, count: u32) {
        self.cut(self.top().saturating_sub(count));
    }

    /// Makes sure of room for `count` more values.
    pub(crate) fn room(&mut self, count: u32) -> bool {
        // SAFETY: answers 0 when it cannot; beyond the limit of a C function before it allocates.
        count <= i32::MAX as u32 && unsafe { c::lua_checkstack(self.l, count as c_int) } != 0
    }

    pub(super) fn need(&mut self, count: u32) -> Result<(), Raise> {
        if self.room(count) { Ok(()) } else { Err(Raise::stack_overflow("no room")) }
    }

    pub(super) fn need_memory(&self) -> Result<(), Raise> {
        if self.shared.memory.exceeded() { Err(Raise::Memory) } else { Ok(()) }
    }

    // === Reading ===

    /// The type of the value at `slot`.
    pub(crate) fn kind(&self, slot: u32) -> Kind {
        // SAFETY: see above.
        match unsafe { c::lua_type(self.l, at(slot)) } {
            c::LUA_TNIL => Kind::Nil,
            c::LUA_TBOOLEAN => Kind::Boolean,
            c::LUA_TLIGHTUSERDATA => Kind::LightUserdata,
            c::LUA_TNUMBER => Kind::Number,
            c::LUA_TSTRING => Kind::String,
            c::LUA_TTABLE => Kind::Table,
            c::LUA_TFUNCTION => Kind::Function,
            c::LUA_TUSERDATA => Kind::Userdata,
            c::LUA_TTHREAD => Kind::Thread,
            _ => Kind::None,
        }
    }

    /// Truth as Lua sees it: all but nil and false.
    pub(crate) fn boolean(&self, slot: u32) -> bool {
        // SAFETY: see above.
        unsafe { c::lua_toboolean(self.l, at(slot)) != 0 }
    }

    /// A number, or a string that reads as one.
    pub(crate) fn number(&self, slot: u32) -> Option<f64> {
        // SAFETY: neither function converts in place or allocates.
        unsafe { (c::lua_isnumber(self.l, at(slot)) != 0).then(|| c::lua_tonumber(self.l, at(slot))) }
    }

    /// A number or numeric string as an integer, cut off as the x86 instruction does it.
    pub(crate) fn integer(&self, slot: u32) -> Option<i64> {
        self.number(slot).map(truncate)
    }

    /// The bytes of a string; nothing for any other type.
    pub(crate) fn bytes(&self, slot: u32) -> Option<&[u8]> {
        if self.kind(slot) != Kind::String {
            return None;
        }
        let mut len = 0;
        // SAFETY: a string is not converted. Its bytes live while it is on the stack, and removing it needs
        // `&mut self`, which the borrow rules out.
        unsafe {
            let text = c::lua_tolstring(self.l, at(slot), &mut len);
            Some(std::slice::from_raw_parts(text.cast(), len))
        }
    }

    /// The bytes of a string or number; a number is first replaced by its text. Never use on the key of [`Self::next`].
    pub(crate) fn text(&mut self, slot: u32) -> Option<&[u8]> {
        if self.kind(slot) == Kind::Number {
            // SAFETY: converts in place, which only allocates.
            unsafe { c::lua_tolstring(self.l, at(slot), std::ptr::null_mut()) };
        }
        self.bytes(slot)
    }

    /// True for the null pointer as a light userdata: `cjson.null`.
    pub(crate) fn is_null_pointer(&self, slot: u32) -> bool {
        // SAFETY: see above.
        self.kind(slot) == Kind::LightUserdata && unsafe { c::lua_touserdata(self.l, at(slot)).is_null() }
    }

    /// Length of a table as `#` gives it, without metamethods; 0 for what is no table.
    pub(crate) fn table_len(&self, slot: u32) -> usize {
        // SAFETY: no conversion takes place for a table.
        if self.kind(slot) == Kind::Table { unsafe { c::lua_objlen(self.l, at(slot)) } } else { 0 }
    }

    /// True when the value has a metatable.
    pub(crate) fn has_metatable(&mut self, slot: u32) -> Result<bool, Raise> {
        self.need(1)?;
        // SAFETY: pushes one value or none.
        let has = unsafe { c::lua_getmetatable(self.l, at(slot)) != 0 };
        if has {
            self.pop(1);
        }
        Ok(has)
    }

    // === Pushing ===

    /// Pushes nil.
    pub(crate) fn push_nil(&mut self) -> Result<(), Raise> {
        self.need(1)?;
        // SAFETY: see above.
        unsafe { c::lua_pushnil(self.l) };
        Ok(())
    }

    /// Pushes a boolean.
    pub(crate) fn push_boolean(&mut self, value: bool) -> Result<(), Raise> {
        self.need(1)?;
        // SAFETY: see above.
        unsafe { c::lua_pushboolean(self.l, value.into()) };
        Ok(())
    }

    /// Pushes a number.
    pub(crate) fn push_number(&mut self, value: f64) -> Result<(), Raise> {
        self.need(1)?;
        // SAFETY: see above.
        unsafe { c::lua_pushnumber(self.l, value) };
        Ok(())
    }

    /// Pushes the null pointer as a light userdata.
    pub(crate) fn push_null_pointer(&mut self) -> Result<(), Raise> {
        self.need(1)?;
        // SAFETY: see above.
        unsafe { c::lua_pushlightuserdata(self.l, std::ptr::null_mut()) };
        Ok(())
    }

    /// Pushes a string.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) -> Result<(), Raise> {
        self.need(1)?;
        self.need_memory()?;
        // SAFETY: the bytes are copied.
        unsafe { c::lua_pushlstring_(self.l, value.as_ptr().cast(), value.len()) };
        Ok(())
    }

    /// Pushes a short text, memory limit or not: for error messages, on a stack known to have room.
    pub(super) fn push_unlimited(&mut self, value: &[u8]) {
        if self.room(1) {
            // SAFETY: the bytes are copied.
            unsafe { c::lua_pushlstring_(self.l, value.as_ptr().cast(), value.len()) };
        }
    }

    /// Pushes part of the string at `slot`; the range is cut to what there is.
    pub(crate) fn push_part(&mut self, slot: u32, from: usize, to: usize) -> Result<(), Raise> {
        self.need(1)?;
        self.need_memory()?;
        let all = self.bytes(slot).unwrap_or_default();
        let part = all.get(from..to.min(all.len())).unwrap_or_default();
        let (start, len) = (part.as_ptr(), part.len());
        // SAFETY: the source is anchored on the stack while it is copied.
        unsafe { c::lua_pushlstring_(self.l, start.cast(), len) };
        Ok(())
    }

    /// Pushes a copy of the value at `slot`.
    pub(crate) fn push_copy(&mut self, slot: u32) -> Result<(), Raise> {
        self.need(1)?;
        if slot > self.top() {
            return self.push_nil();
        }
        // SAFETY: the slot holds a value.
        unsafe { c::lua_pushvalue(self.l, at(slot)) };
        Ok(())
    }

    /// Pushes a new table with room for `list` elements and `fields` other keys.
    pub(crate) fn push_table(&mut self, list: u32, fields: u32) -> Result<(), Raise> {
        self.need(1)?;
        self.need_memory()?;
        // SAFETY: sizes are bounded so that no size computation overflows.
        unsafe { c::lua_createtable(self.l, list.min(1 << 26) as c_int, fields.min(1 << 20) as c_int) };
        Ok(())
    }

    /// Pushes a native function.
    pub(crate) fn push_function(&mut self, function: Function) -> Result<(), Raise> {
        self.need(1)?;
        // SAFETY: a trampoline.
        unsafe { c::lua_pushcclosure(self.l, function.0, 0) };
        Ok(())
    }

    /// Moves the topmost value to `slot`, shifting up what is there.
    pub(crate) fn insert(&mut self, slot: u32) {
        if (1..=self.top()).contains(&slot) {
            // SAFETY: the slot holds a value.
            unsafe { c::lua_insert(self.l, at(slot)) };
        }
    }

    /// Removes the value at `slot`, shifting down what is above it.
    pub(crate) fn remove(&mut self, slot: u32) {
        if (1..=self.top()).contains(&slot) {
            // SAFETY: the slot holds a value.
            unsafe { c::lua_remove(self.l, at(slot)) };
        }
    }
}

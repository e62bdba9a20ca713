//! Running, compiling, and looking around: what of a Lua state is not values.

use std::ffi::{CStr, c_char, c_int};

use mlua_sys as c;
use mlua_sys::lua_State;

use super::callback::Function;
use super::shared::stack_address;
use super::stack::{Stack, at};
use crate::host::Host;

/// How a protected call failed; the error value is on top of the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    Error,
    Memory,
}

/// Where a function on the call stack is.
pub(crate) struct Place {
    /// Chunk name, as given when it was loaded.
    pub(crate) source: Vec<u8>,
    /// Chunk name, as shown in messages.
    pub(crate) short_source: Vec<u8>,
    /// Line, -1 for a C function.
    pub(crate) line: i32,
}

// The `unsafe` blocks follow the rule that stands above the `impl` in `stack.rs`.
impl Stack<'_> {
    /// Calls the function below the `arguments` topmost values, which are all replaced by `results` values, or by one
    /// error value. `handler` is the slot of a function that gets to see errors first.
    pub(crate) fn call(&mut self, arguments: u32, results: u32, handler: Option<u32>) -> Result<(), Failure> {
        if self.top() <= arguments || !self.room(results + 1) {
            self.push_unlimited(b"stack overflow");
            return Err(Failure::Error);
        }
        let was_strict = self.shared.memory.strict.replace(true);
        // SAFETY: function and arguments are there, and room for the results.
        let status = unsafe { c::lua_pcall(self.l, arguments as c_int, results as c_int, handler.map_or(0, at)) };
        self.shared.memory.strict.set(was_strict);
        failure(status)
    }

    /// Replaces the key on top by `table[key]`, metamethods and all, or by an error value.
    pub(crate) fn get_with_metamethods(&mut self, table: u32) -> Result<(), Failure> {
        unsafe extern "C-unwind" fn index(l: *mut lua_State) -> c_int {
            // SAFETY: called with two arguments, owns nothing, and may therefore raise.
            unsafe { c::lua_gettable_(l, 1) };
            1
        }
        let pushed = self.push_function(Function(index)).and_then(|()| self.push_copy(table));
        if pushed.is_err() {
            self.push_unlimited(b"stack overflow");
            return Err(Failure::Error);
        }
        // Key, function, table: bring the key to the end.
        let top = self.top();
        // SAFETY: three values are there.
        unsafe {
            c::lua_pushvalue(self.l, at(top - 2));
            c::lua_remove(self.l, at(top - 2));
        }
        self.call(2, 1, None)
    }

    /// Compiles `source` and pushes the function, or the error message. `name` is the chunk name with its mark (`@`,
    /// `=` or none). Compiled code (`string.dump`) is refused, with the words of a parser that does not know it.
    pub(crate) fn load(&mut self, source: &[u8], name: &CStr) -> Result<(), Failure> {
        let compiled = source.first() == Some(&0x1b);
        // Any control character is refused by the parser; this one has a message that can be reworded.
        let source = if compiled { b"\x01" } else { source };
        if !self.room(4) {
            self.push_unlimited(b"stack overflow");
            return Err(Failure::Error);
        }
        // SAFETY: the parser does not protect the chunk name from the collector, so the same (interned) string stays
        // on the stack meanwhile. The parser runs protected.
        let status = unsafe {
            c::lua_pushlstring_(self.l, name.as_ptr(), name.to_bytes().len());
            let was_strict = self.shared.memory.strict.replace(true);
            let status = c::luaL_loadbuffer(self.l, source.as_ptr().cast(), source.len(), name.as_ptr());
            self.shared.memory.strict.set(was_strict);
            status
        };
        let top = self.top();
        self.remove(top - 1);
        if compiled {
            let message = self.bytes(top - 1).unwrap_or_default();
            let mut reworded = message.strip_suffix(b"char(1)'").unwrap_or(message).to_vec();
            reworded.extend_from_slice(b"char(27)'");
            self.pop(1);
            self.push_unlimited(&reworded);
        }
        failure(status)
    }

    /// Opens one of Lua's own libraries.
    pub(super) fn open(&mut self, library: c::lua_CFunction, name: &CStr) {
        // SAFETY: the libraries' openers only allocate and fill tables.
        unsafe {
            c::lua_pushcclosure(self.l, library, 0);
            c::lua_pushlstring_(self.l, name.as_ptr(), name.to_bytes().len());
            c::lua_call(self.l, 1, 0);
        }
    }

    /// The C function at the top of the stack, which is removed.
    pub(super) fn pop_c_function(&mut self) -> Option<c::lua_CFunction> {
        let top = self.top();
        // SAFETY: reads only.
        let function = unsafe { c::lua_tocfunction(self.l, at(top)) };
        self.pop(1);
        function
    }

    /// The function `level` calls up (0 is the running one), if there is one.
    pub(crate) fn place(&self, level: u32) -> Option<Place> {
        // SAFETY: plain data; zero is valid for all its fields.
        let mut debug: c::lua_Debug = unsafe { std::mem::zeroed() };
        // SAFETY: fills `debug` when the level exists; the strings belong to functions on the call stack.
        unsafe {
            if c::lua_getstack(self.l, level as c_int, &mut debug) == 0
                || c::lua_getinfo(self.l, c"Sl".as_ptr(), &mut debug) == 0
            {
                return None;
            }
            Some(Place {
                source: bytes_of(debug.source),
                short_source: bytes_of(debug.short_src.as_ptr()),
                line: debug.currentline,
            })
        }
    }

    /// "file:line: " of the function at `level`, or nothing when it has no line.
    pub(crate) fn location(&self, level: u32) -> Vec<u8> {
        match self.place(level) {
            Some(place) if place.line > 0 => {
                let mut text = place.short_source;
                text.extend_from_slice(format!(":{}: ", place.line).as_bytes());
                text
            }
            _ => Vec::new(),
        }
    }

    /// Runs `f` with the host of this run; nothing outside a run.
    pub(crate) fn host<R>(&self, f: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
        let mut host = self.shared.host.take()?;
        // SAFETY: set by `State::run` for the time of the run, and taken out of the cell: nobody else has it now.
        let result = f(unsafe { host.as_mut() });
        self.shared.host.set(Some(host));
        Some(result)
    }

    /// Notes where the C stack begins, for [`Shared::c_stack_used`].
    pub(super) fn mark_stack_base(&self) {
        self.shared.stack_base.set(stack_address());
    }

    /// The collector's work: `what` is a `LUA_GC*` code.
    pub(super) fn collect(&mut self, what: c_int, argument: c_int) {
        // SAFETY: no finalizers exist, so that no code runs.
        unsafe { c::lua_gc(self.l, what, argument) };
    }
}

fn failure(status: c_int) -> Result<(), Failure> {
    match status {
        c::LUA_OK => Ok(()),
        c::LUA_ERRMEM => Err(Failure::Memory),
        _ => Err(Failure::Error),
    }
}

/// The bytes of a C string.
///
/// # Safety
/// `text` must be null or point to a C string that is alive.
unsafe fn bytes_of(text: *const c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

//! A Lua state: made, used and closed.

use std::ffi::{CStr, c_int};
use std::panic::resume_unwind;
use std::ptr::NonNull;

use mlua_sys as c;
use mlua_sys::lua_State;

use super::hook;
use super::shared::{Original, Shared};
use super::stack::Stack;
use crate::host::Host;

/// Owner of a Lua state.
pub(crate) struct State {
    l: NonNull<lua_State>,
    /// A leaked box, since Lua keeps its address; taken back on drop.
    shared: NonNull<Shared>,
}

/// The libraries that scripts get of Lua's own.
const LIBRARIES: [(c::lua_CFunction, &CStr); 5] = [
    (c::luaopen_base, c""),
    (c::luaopen_table, c"table"),
    (c::luaopen_string, c"string"),
    (c::luaopen_math, c"math"),
    (c::luaopen_debug, c"debug"),
];

impl State {
    /// A state with the basic, table, string, math and debug libraries as Lua has them, but without `newproxy`, the
    /// one way to give values finalizers.
    pub(crate) fn new(memory_bytes_max: usize, reply_bytes_max: usize) -> State {
        let shared = NonNull::from(Box::leak(Box::new(Shared::new(memory_bytes_max, reply_bytes_max))));
        // SAFETY: `shared` lives until the state is closed.
        let l = unsafe { c::lua_newstate(super::memory::allocate, shared.as_ptr().cast()) };
        let Some(l) = NonNull::new(l) else {
            // The allocator has aborted already if memory ran out: it is not strict yet.
            std::process::abort()
        };
        let mut state = State { l, shared };
        state.shared().main.set(l.as_ptr());
        // SAFETY: the panic function replaces the default one, which would end the process without a word.
        unsafe { c::lua_atpanic(l.as_ptr(), unprotected) };
        state.with_stack(|stack| {
            for (library, name) in LIBRARIES {
                stack.open(library, name);
            }
            if stack.push_nil().is_ok() {
                // Cannot fail: the stack is empty and memory is counted from here.
                let _ = stack.set_global(b"newproxy");
            }
        });
        state
    }

    /// What is kept beside the state.
    pub(crate) fn shared(&self) -> &Shared {
        // SAFETY: lives until drop; only shared references are made of it.
        unsafe { self.shared.as_ref() }
    }

    /// Gives `f` the stack, outside of any call; it is empty before and after.
    pub(crate) fn with_stack<R>(&mut self, f: impl FnOnce(&mut Stack<'_>) -> R) -> R {
        // SAFETY: the state is live while `self` is borrowed; no Lua code runs, so memory is not strict.
        let mut stack = unsafe { Stack::new(self.l.as_ptr(), self.shared.as_ref()) };
        stack.mark_stack_base();
        stack.cut(0);
        let result = f(&mut stack);
        stack.cut(0);
        result
    }

    /// Like [`Self::with_stack`], with `host` reachable from native functions, and with the count hook if `hooked`.
    /// Resumes a panic of the host or of a native function. The text beside the result is the error of a script that
    /// was made to end, whatever the result says.
    pub(crate) fn run<R>(
        &mut self,
        host: &mut dyn Host,
        hooked: bool,
        f: impl FnOnce(&mut Stack<'_>) -> R,
    ) -> (R, Option<Vec<u8>>) {
        let host: NonNull<dyn Host + '_> = NonNull::from(host);
        // SAFETY: only the lifetime changes; `Leave` removes the pointer before the borrow ends, even by a panic.
        let host = unsafe { std::mem::transmute::<NonNull<dyn Host + '_>, NonNull<dyn Host + 'static>>(host) };
        struct Leave<'a>(&'a Shared);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.host.set(None);
            }
        }
        // SAFETY: `shared` lives until drop.
        let shared = unsafe { self.shared.as_ref() };
        shared.host.set(Some(host));
        let leave = Leave(shared);
        let result = if hooked { self.run_hooked(f) } else { (self.with_stack(f), None) };
        drop(leave);
        if let Some(payload) = shared.panic.take() {
            resume_unwind(payload);
        }
        result
    }

    /// Like [`Self::run`], without a host: a script that runs for more than some 100,000 instructions is made to end.
    pub(crate) fn run_hooked<R>(&mut self, f: impl FnOnce(&mut Stack<'_>) -> R) -> (R, Option<Vec<u8>>) {
        let l = self.l.as_ptr();
        // SAFETY: the state is live.
        unsafe { hook::enable(l) };
        let result = self.with_stack(f);
        // SAFETY: as above.
        unsafe { hook::disable(l) };
        (result, self.shared().killed.take())
    }

    /// Remembers the C function that is the field `name` of the global table `table` (or a global, if empty).
    pub(crate) fn remember(&mut self, original: Original, table: &[u8], name: &[u8]) {
        let function = self.with_stack(|stack| {
            if table.is_empty() {
                stack.push_global(name).ok()?;
            } else {
                stack.push_global(table).ok()?;
                stack.push_bytes(name).ok()?;
                stack.get(1);
            }
            stack.pop_c_function()
        });
        self.shared().originals[original as usize].set(function);
    }

    /// One step of the collector; larger `size` means more work.
    pub(crate) fn collect_step(&mut self, size: i32) {
        self.with_stack(|stack| stack.collect(c::LUA_GCSTEP, size));
    }

    /// A full collection.
    pub(crate) fn collect_all(&mut self) {
        self.with_stack(|stack| stack.collect(c::LUA_GCCOLLECT, 0));
    }

    /// Gives the collector back the settings it begins with.
    pub(crate) fn reset_collector(&mut self) {
        self.with_stack(|stack| {
            stack.collect(c::LUA_GCSETPAUSE, 200);
            stack.collect(c::LUA_GCSETSTEPMUL, 200);
            stack.collect(c::LUA_GCRESTART, 0);
        });
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: nothing of the state is in use; `shared` came from a box and is not used after.
        unsafe {
            c::lua_close(self.l.as_ptr());
            drop(Box::from_raw(self.shared.as_ptr()));
        }
    }
}

/// Lua calls this for an error outside of any protected call: a bug of this module.
unsafe extern "C-unwind" fn unprotected(_: *mut lua_State) -> c_int {
    eprintln!("Lua error outside of a protected call");
    std::process::abort()
}

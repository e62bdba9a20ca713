//! Rust functions as C functions of Lua: run, drop everything, and only then raise.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua_sys::{lua_CFunction, lua_State, lua_error, lua_settop, lua_tolstring, luaL_argerror};

use super::shared::{Original, Shared};
use super::stack::{Raise, Stack, shared_of};

/// A function that Lua can call.
#[derive(Clone, Copy)]
pub(crate) struct Function(pub(super) lua_CFunction);

/// Makes a Lua function of `f`, which must be a plain `fn` item or a closure that captures nothing.
pub(crate) fn native<F>(_: F) -> Function
where
    F: Fn(&mut Stack<'_>) -> Result<u32, Raise> + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0) };
    Function(trampoline::<F>)
}

/// Like [`native`], for a check `f` that runs before the C function that `ORIGINAL` (an [`Original`]) names, on the
/// same arguments and in the same Lua frame, so that error messages stay those of the original.
pub(crate) fn native_before<F, const ORIGINAL: usize>(_: F) -> Function
where
    F: Fn(&mut Stack<'_>) -> Result<u32, Raise> + Copy + 'static,
{
    const { assert!(size_of::<F>() == 0 && ORIGINAL <= Original::CollectGarbage as usize) };
    Function(trampoline_before::<F, ORIGINAL>)
}

/// What is left to do when all Rust values of a callback are gone.
#[derive(Clone, Copy)]
enum Verdict {
    Return(c_int),
    /// Raise the value on top.
    Raise,
    /// Raise "bad argument #n" with the text on top.
    Argument(c_int),
}

unsafe extern "C-unwind" fn trampoline<F>(l: *mut lua_State) -> c_int
where
    F: Fn(&mut Stack<'_>) -> Result<u32, Raise> + Copy + 'static,
{
    // SAFETY: Lua calls this with its state; see `run`.
    match unsafe { run::<F>(l) } {
        Verdict::Return(results) => results,
        // SAFETY: the value to raise is on top, and no Rust value is alive in this frame.
        verdict => unsafe { raise(l, verdict) },
    }
}

unsafe extern "C-unwind" fn trampoline_before<F, const ORIGINAL: usize>(l: *mut lua_State) -> c_int
where
    F: Fn(&mut Stack<'_>) -> Result<u32, Raise> + Copy + 'static,
{
    // SAFETY: Lua calls this with its state; see `run`.
    match unsafe { run::<F>(l) } {
        Verdict::Return(_) => {
            // SAFETY: `l` is a live state.
            let original = unsafe { shared_of(l) }.originals[ORIGINAL].get();
            match original {
                // SAFETY: a C function of Lua's library, called in the frame made for it; nothing is alive here.
                Some(original) => unsafe { original(l) },
                None => 0,
            }
        }
        // SAFETY: as in `trampoline`.
        verdict => unsafe { raise(l, verdict) },
    }
}

/// # Safety
/// `l` must be the live state that is calling this function.
unsafe fn run<F>(l: *mut lua_State) -> Verdict
where
    F: Fn(&mut Stack<'_>) -> Result<u32, Raise> + Copy + 'static,
{
    // SAFETY: `l` is live, and so is its `Shared`.
    let shared: &Shared = unsafe { shared_of(l) };
    shared.memory.strict.set(false);
    // SAFETY: `F` has no size and is inhabited: `native` was given a value of it.
    let f: &F = unsafe { std::ptr::NonNull::dangling().as_ref() };
    // SAFETY: `l` is live for the whole call.
    let mut stack = unsafe { Stack::new(l, shared) };
    let result = catch_unwind(AssertUnwindSafe(|| f(&mut stack)));
    let verdict = match result {
        Ok(Ok(_)) if shared.memory.exceeded() => prepare(l, &mut stack, Raise::Memory),
        Ok(Ok(results)) => Verdict::Return(results.min(stack.top()) as c_int),
        Ok(Err(error)) => prepare(l, &mut stack, error),
        Err(payload) => {
            shared.panic.set(Some(payload));
            prepare(l, &mut stack, Raise::Plain(b"panic in a native function"[..].into()))
        }
    };
    shared.memory.strict.set(true);
    verdict
}

/// Puts what is to be raised on top of the stack, and drops `error`.
fn prepare(l: *mut lua_State, stack: &mut Stack<'_>, error: Raise) -> Verdict {
    if !matches!(error, Raise::Top) {
        // SAFETY: `stack` holds the live state `l`; an empty stack has room for what follows.
        unsafe { lua_settop(l, 0) };
    }
    let (text, verdict): (&[u8], Verdict) = match &error {
        Raise::Top => return Verdict::Raise,
        Raise::Plain(text) => (text, Verdict::Raise),
        Raise::Error(text) => {
            let mut located = stack.location(1);
            located.extend_from_slice(text.as_bytes());
            stack.push_unlimited(&located);
            return Verdict::Raise;
        }
        Raise::Argument(argument, text) => (text, Verdict::Argument(*argument as c_int)),
        Raise::Memory => (b"not enough memory", Verdict::Raise),
    };
    stack.push_unlimited(text);
    verdict
}

/// # Safety
/// The value or text must be on top of the stack of the live state `l`, and the caller must own nothing.
unsafe fn raise(l: *mut lua_State, verdict: Verdict) -> ! {
    if let Verdict::Argument(argument) = verdict {
        // SAFETY: the text was pushed as a string and stays on the stack until it has been copied.
        unsafe { luaL_argerror(l, argument, lua_tolstring(l, -1, std::ptr::null_mut())) };
    }
    // SAFETY: by contract.
    unsafe { lua_error(l) }
}

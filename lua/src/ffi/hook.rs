//! The count hook: gives the host a turn while a script runs, and ends the script when the host says so.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua_sys as c;
use mlua_sys::{lua_Debug, lua_State};

use super::shared::Shared;
use super::stack::{Raise, Stack, shared_of};
use crate::host::Tick;

/// Instructions between two turns of the host.
const PERIOD: c_int = 100_000;

const KILLED: &[u8] = b"Script killed by user with SCRIPT KILL...";
const HOSTLESS: &[u8] = b"Script runs too long while it is being defined";

/// Turns the hook on for `l` (and the coroutines made from now on).
///
/// # Safety
/// `l` must be a live state made by `State::new`.
pub(super) unsafe fn enable(l: *mut lua_State) {
    // SAFETY: by contract; setting a hook neither allocates nor raises.
    unsafe { c::lua_sethook(l, Some(hook), c::LUA_MASKCOUNT, PERIOD) };
}

/// Turns the hook off for `l`.
///
/// # Safety
/// As for [`enable`].
pub(super) unsafe fn disable(l: *mut lua_State) {
    // SAFETY: as above.
    unsafe { c::lua_sethook(l, None, 0, 0) };
}

/// Makes every further instruction of `l` fail, so that no pcall in the script can keep it alive.
///
/// # Safety
/// As for [`enable`].
unsafe fn fail_from_now_on(l: *mut lua_State) {
    // SAFETY: as above.
    unsafe { c::lua_sethook(l, Some(hook), c::LUA_MASKCOUNT | c::LUA_MASKLINE, 1) };
}

unsafe extern "C-unwind" fn hook(l: *mut lua_State, _: *mut lua_Debug) {
    // SAFETY: Lua calls this with a live state.
    let shared = unsafe { shared_of(l) };
    // SAFETY: as above.
    if unsafe { goes_on(l, shared) } {
        return;
    }
    // An ordinary error would first run the script's own error handler (`xpcall`), and hooks are off while a hook has
    // not returned: the handler could loop for ever. An error for want of memory runs none.
    shared.memory.refuse_next.set(true);
    // SAFETY: this frame owns nothing, so that the refused allocation may raise.
    unsafe { c::lua_newuserdata(l, size_of::<usize>()) };
}

impl Stack<'_> {
    /// Raises when the script must end.
    pub(crate) fn check_alive(&self) -> Result<(), Raise> {
        if self.shared.killed.borrow().is_none() { Ok(()) } else { Err(Raise::Memory) }
    }

    /// What the hook does, for native functions that work long: raises when the script must end.
    pub(crate) fn breathe(&mut self) -> Result<(), Raise> {
        // SAFETY: the state is live. Without a hook the host wants no turns.
        let goes_on = unsafe { c::lua_gethookmask(self.l) == 0 || goes_on(self.l, self.shared) };
        // Whatever is raised, the error of the script will be the host's.
        if goes_on { Ok(()) } else { Err(Raise::Memory) }
    }
}

/// Asks the host whether the script goes on; if not, every further instruction of it fails.
///
/// # Safety
/// `l` must be live and `shared` its own.
unsafe fn goes_on(l: *mut lua_State, shared: &Shared) -> bool {
    if shared.killed.borrow().is_some() {
        // Another coroutine than the one that met the end first.
        // SAFETY: by contract.
        unsafe { fail_from_now_on(l) };
        return false;
    }
    let was_strict = shared.memory.strict.replace(false);
    // SAFETY: by contract; memory is not strict meanwhile.
    let stack = unsafe { Stack::new(l, shared) };
    let reason = match catch_unwind(AssertUnwindSafe(|| stack.host(|host| host.tick()))) {
        Ok(Some(Tick::Continue)) => None,
        Ok(Some(Tick::Kill)) => Some(KILLED),
        Ok(None) => Some(HOSTLESS),
        Err(payload) => {
            shared.panic.set(Some(payload));
            Some(KILLED)
        }
    };
    shared.memory.strict.set(was_strict);
    match reason {
        Some(reason) => {
            let mut message = Vec::new();
            // The innermost function of the script, which may have called a native one that asks.
            if let Some(place) = (0..9).filter_map(|level| stack.place(level)).find(|place| place.line > 0) {
                message = place.source;
                message.extend_from_slice(format!(":{}: ", place.line).as_bytes());
            }
            message.extend_from_slice(reason);
            shared.killed.replace(Some(message));
            // SAFETY: the states are live.
            unsafe {
                fail_from_now_on(l);
                fail_from_now_on(shared.main.get());
            }
            false
        }
        None => true,
    }
}

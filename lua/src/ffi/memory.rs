//! Lua's allocator: counts bytes, and refuses beyond a limit when refusing is safe.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use super::shared::Shared;

/// What one Lua state holds and may hold.
pub(crate) struct Memory {
    used: Cell<usize>,
    limit: usize,
    /// True while only C frames are on top, so that a refusal may jump.
    pub(super) strict: Cell<bool>,
    /// The next growth is refused, limit or not.
    pub(super) refuse_next: Cell<bool>,
}

impl Memory {
    /// No bytes held yet, at most `limit` allowed.
    pub(crate) fn new(limit: usize) -> Memory {
        Memory { used: Cell::new(0), limit, strict: Cell::new(false), refuse_next: Cell::new(false) }
    }

    /// Bytes held by the Lua state.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// True when the state holds more than it may.
    pub(crate) fn exceeded(&self) -> bool {
        self.used.get() > self.limit
    }

    /// True when `bytes` more would still be allowed.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.used.get().saturating_add(bytes) <= self.limit
    }
}

/// What Lua itself asks of a block's address: the alignment of its largest basic type.
const ALIGN: usize = 8;

/// `lua_Alloc`: frees for size 0, else allocates or resizes.
///
/// # Safety
/// `ud` must point to the state's live `Shared`; `block` must be null or come from here with size `old`.
pub(super) unsafe extern "C" fn allocate(ud: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: by contract; shared references only are ever made of it.
    let memory = unsafe { &(*ud.cast::<Shared>()).memory };
    let old = if block.is_null() { 0 } else { old };
    if new == 0 {
        if old != 0 {
            // SAFETY: `block` was allocated here with this size and alignment.
            unsafe { dealloc(block.cast(), Layout::from_size_align_unchecked(old, ALIGN)) };
            memory.used.set(memory.used.get() - old);
        }
        return ptr::null_mut();
    }
    let used = memory.used.get() - old;
    if new > old && memory.strict.get() && (memory.refuse_next.take() || used.saturating_add(new) > memory.limit) {
        return ptr::null_mut();
    }
    let Ok(layout) = Layout::from_size_align(new, ALIGN) else { return ptr::null_mut() };
    let made = if old == 0 {
        // SAFETY: `new` is not 0.
        unsafe { alloc(layout) }
    } else {
        // SAFETY: `block` was allocated here with size `old`; `new` is not 0 and fits a layout.
        unsafe { realloc(block.cast(), Layout::from_size_align_unchecked(old, ALIGN), new) }
    };
    if !made.is_null() {
        memory.used.set(used + new);
    } else if !memory.strict.get() {
        handle_alloc_error(layout);
    }
    made.cast()
}

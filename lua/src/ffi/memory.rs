//! Lua's allocator: counts bytes, and refuses beyond a limit when refusing is safe.
//!
//! Each run of a script makes and leaves a few small tables and strings, so small blocks that Lua gives back are kept
//! for it, up to a bound, in lists by size. A kept block does not count as used.

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
    /// Kept blocks by their size in words; the first word of each is the address of the next.
    kept: [Cell<*mut c_void>; KEPT_WORDS_MAX + 1],
    kept_bytes: Cell<usize>,
}

/// Largest block that is kept, in words: a table, a closure, a short string.
const KEPT_WORDS_MAX: usize = 16;
/// Bytes of blocks that are kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

impl Memory {
    /// No bytes held yet, at most `limit` allowed.
    pub(crate) fn new(limit: usize) -> Memory {
        Memory {
            used: Cell::new(0),
            limit,
            strict: Cell::new(false),
            refuse_next: Cell::new(false),
            kept: [const { Cell::new(ptr::null_mut()) }; KEPT_WORDS_MAX + 1],
            kept_bytes: Cell::new(0),
        }
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

impl Memory {
    /// A block of `size` bytes, null when there is no memory.
    fn make(&self, size: usize) -> *mut c_void {
        let Some((class, size)) = class_of(size) else {
            let Ok(layout) = Layout::from_size_align(size, ALIGN) else { return ptr::null_mut() };
            // SAFETY: a size of no class is not 0.
            return unsafe { alloc(layout) }.cast();
        };
        let block = self.kept[class].get();
        if block.is_null() {
            // SAFETY: the size is not 0.
            return unsafe { alloc(Layout::from_size_align_unchecked(size, ALIGN)) }.cast();
        }
        // SAFETY: kept blocks are ours, and begin with the address of the next one.
        self.kept[class].set(unsafe { block.cast::<*mut c_void>().read() });
        self.kept_bytes.set(self.kept_bytes.get() - size);
        block
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` must come from [`Memory::make`] or from `realloc` with this size, and not be used any more.
    unsafe fn give_back(&self, block: *mut c_void, size: usize) {
        let (class, size) = class_of(size).unwrap_or((0, size));
        if class == 0 || self.kept_bytes.get() >= KEPT_BYTES_MAX {
            // SAFETY: by contract; blocks of a class were allocated with its whole size.
            return unsafe { dealloc(block.cast(), Layout::from_size_align_unchecked(size, ALIGN)) };
        }
        // SAFETY: the block is ours, aligned for a pointer and large enough for one.
        unsafe { block.cast::<*mut c_void>().write(self.kept[class].get()) };
        self.kept[class].set(block);
        self.kept_bytes.set(self.kept_bytes.get() + size);
    }

    /// Resizes a block; null, with the block as it was, when there is no memory.
    ///
    /// # Safety
    /// As for [`Memory::give_back`] with `old`, of which neither it nor `new` may be 0.
    unsafe fn resize(&self, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
        let (from, to) = (class_of(old), class_of(new));
        if from.is_none() && to.is_none() {
            if Layout::from_size_align(new, ALIGN).is_err() {
                return ptr::null_mut();
            }
            // SAFETY: allocated with this size and alignment; the new size fits a layout.
            return unsafe { realloc(block.cast(), Layout::from_size_align_unchecked(old, ALIGN), new) }.cast();
        }
        if from == to {
            return block;
        }
        let made = self.make(new);
        if !made.is_null() {
            // SAFETY: both blocks have the smaller of the two sizes, and are different ones.
            unsafe {
                ptr::copy_nonoverlapping(block.cast::<u8>(), made.cast(), old.min(new));
                self.give_back(block, old);
            }
        }
        made
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (class, first) in self.kept.iter().enumerate() {
            let mut block = first.get();
            while !block.is_null() {
                // SAFETY: kept blocks are ours, of their class's size, and begin with the address of the next one.
                unsafe {
                    let next = block.cast::<*mut c_void>().read();
                    dealloc(block.cast(), Layout::from_size_align_unchecked(class * ALIGN, ALIGN));
                    block = next;
                }
            }
        }
    }
}

/// The list of a small block, and the size that such blocks have.
fn class_of(size: usize) -> Option<(usize, usize)> {
    let words = size.div_ceil(ALIGN);
    (1..=KEPT_WORDS_MAX).contains(&words).then_some((words, words * ALIGN))
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
    let used = memory.used.get() - old;
    if new == 0 {
        if old != 0 {
            // SAFETY: `block` was made here with this size.
            unsafe { memory.give_back(block, old) };
            memory.used.set(used);
        }
        return ptr::null_mut();
    }
    if new > old && memory.strict.get() && (memory.refuse_next.take() || used.saturating_add(new) > memory.limit) {
        return ptr::null_mut();
    }
    // SAFETY: `block` was made here with size `old`, if that is not 0; `new` is not 0.
    let made = if old == 0 { memory.make(new) } else { unsafe { memory.resize(block, old, new) } };
    if !made.is_null() {
        memory.used.set(used + new);
    } else if !memory.strict.get() {
        handle_alloc_error(Layout::from_size_align(new, ALIGN).unwrap_or(Layout::new::<u64>()));
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(limit: usize) -> Shared {
        Shared::new(limit, 0)
    }

    fn call(shared: &Shared, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
        // SAFETY: the tests pass what they were given.
        unsafe { allocate(ptr::from_ref(shared).cast_mut().cast(), block, old, new) }
    }

    #[test]
    fn a_small_block_is_used_again_and_does_not_count_meanwhile() {
        let shared = shared(1 << 20);
        let first = call(&shared, ptr::null_mut(), 0, 57);
        assert_eq!(shared.memory.used(), 57);
        call(&shared, first, 57, 0);
        assert_eq!(shared.memory.used(), 0);
        let second = call(&shared, ptr::null_mut(), 0, 64);
        assert_eq!(second, first);
        call(&shared, second, 64, 0);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let shared = shared(1 << 30);
        let blocks: Vec<_> = (0..10_000).map(|_| call(&shared, ptr::null_mut(), 0, 40)).collect();
        for block in blocks {
            call(&shared, block, 40, 0);
        }
        let kept = shared.memory.kept_bytes.get();
        assert!((KEPT_BYTES_MAX..KEPT_BYTES_MAX + 40).contains(&kept), "{kept}");
    }

    #[test]
    fn a_block_keeps_its_content_whatever_it_grows_or_shrinks_to() {
        let shared = shared(1 << 20);
        let sizes = [1, 8, 9, 120, 128, 129, 1000, 4000, 129, 128, 40, 33, 3];
        let mut block = call(&shared, ptr::null_mut(), 0, sizes[0]);
        let mut old = sizes[0];
        for &new in &sizes {
            // SAFETY: the block has `old` bytes, and then at least the smaller of the two.
            unsafe {
                block.cast::<u8>().write_bytes(new as u8, old);
                block = call(&shared, block, old, new);
                let kept = std::slice::from_raw_parts(block.cast::<u8>(), old.min(new));
                assert!(kept.iter().all(|&byte| byte == new as u8));
            }
            assert_eq!(shared.memory.used(), new);
            old = new;
        }
        call(&shared, block, old, 0);
    }
}

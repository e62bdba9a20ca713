//! The allocator, and true figures of what it handed out.
//!
//! Why our own `GlobalAlloc`: jemalloc is built with a quantum of 8 bytes (a key's block is often 40, 56 or 72 bytes),
//! so an alignment of 16 must be asked for, which the usual wrapper does not do.
//!
//! `used_memory` is kept by jemalloc itself: each thread has two counters of bytes allocated and freed, in usable
//! sizes, updated at once. Threads of ours open an [`Account`]; the sum over open and closed accounts is the figure, less
//! what the owners of large blocks say they have not written.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tikv_jemalloc_sys as je;

/// jemalloc as the global allocator.
pub struct Jemalloc;

/// The allocator's name and version, as INFO shows it.
pub const NAME: &str = "jemalloc-5.3.1";

/// Alignment that every size class of at least that size has by itself.
const NATURAL_ALIGN: usize = 8;

fn flags(layout: Layout) -> c_int {
    if layout.align() <= NATURAL_ALIGN { 0 } else { layout.align().trailing_zeros() as c_int }
}

// SAFETY: jemalloc returns blocks of at least the size, aligned as the flags ask, and each is freed with the same flags.
unsafe impl GlobalAlloc for Jemalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a size above zero.
        unsafe { je::mallocx(layout.size(), flags(layout)).cast() }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        /// MALLOCX_ZERO of jemalloc's interface.
        const ZERO: c_int = 0x40;
        // SAFETY: as in `alloc`.
        unsafe { je::mallocx(layout.size(), flags(layout) | ZERO).cast() }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` with this layout.
        unsafe { je::sdallocx(block.cast(), layout.size(), flags(layout)) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the block came from `alloc` with this layout; the caller promises a size above zero.
        unsafe { je::rallocx(block.cast(), size, flags(layout)).cast() }
    }
}

/// The size that a block of `size` bytes really takes: multiples of 8 up to 64, then four classes a doubling.
pub const fn size_class(size: usize) -> usize {
    if size <= 64 {
        return (size + 7) & !7;
    }
    let spacing = size.next_power_of_two() >> 3;
    (size + spacing - 1) & !(spacing - 1)
}

#[derive(Clone, Copy)]
struct Counters {
    allocated: *const AtomicU64,
    freed: *const AtomicU64,
}

// SAFETY: the counters are read atomically, and only while their thread is alive (an `Account` removes them before).
unsafe impl Send for Counters {}

struct Accounts {
    open: Vec<Counters>,
    closed: u64,
}

static ACCOUNTS: Mutex<Accounts> = Mutex::new(Accounts { open: Vec::new(), closed: 0 });

impl Counters {
    fn net(self) -> u64 {
        // SAFETY: the thread is alive, so its counters are; aligned 64-bit words.
        let (allocated, freed) =
            unsafe { ((*self.allocated).load(Ordering::Relaxed), (*self.freed).load(Ordering::Relaxed)) };
        allocated.wrapping_sub(freed)
    }
}

/// The calling thread's part in [`used_memory`], from its first allocation until this is dropped on the same thread.
pub struct Account {
    counters: Counters,
}

fn read<T: Copy + Default>(name: &CStr) -> Option<T> {
    let mut value = T::default();
    let mut size = size_of::<T>();
    // SAFETY: the out-parameter has the size that is passed with it.
    let code = unsafe { je::mallctl(name.as_ptr(), (&raw mut value).cast(), &mut size, ptr::null_mut(), 0) };
    (code == 0 && size == size_of::<T>()).then_some(value)
}

/// Opens the calling thread's account. Every thread of the server that allocates calls this first.
pub fn open_account() -> Account {
    let pointer = |name| ptr::with_exposed_provenance(read::<usize>(name).unwrap_or_default());
    let counters = Counters { allocated: pointer(c"thread.allocatedp"), freed: pointer(c"thread.deallocatedp") };
    assert!(!counters.allocated.is_null() && !counters.freed.is_null(), "jemalloc has no thread statistics");
    lock().open.push(counters);
    Account { counters }
}

fn lock() -> std::sync::MutexGuard<'static, Accounts> {
    ACCOUNTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut accounts = lock();
        accounts.closed = accounts.closed.wrapping_add(self.counters.net());
        let allocated = self.counters.allocated;
        accounts.open.retain(|open| open.allocated != allocated);
    }
}

/// Bytes of blocks that were handed out and are known not to be written yet.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// How much of a block's end its owner has not written. The system gives such pages when they are written, so they are
/// room, not memory in use.
#[derive(Debug, Default)]
pub struct Unwritten(u64);

impl Unwritten {
    /// Announces a block of `bytes`, before it is allocated; `None` if all such blocks would have more than `most`.
    pub fn announce(bytes: u64, most: u64) -> Option<Unwritten> {
        let mine = Unwritten(bytes);
        (UNWRITTEN.fetch_add(bytes, Ordering::Relaxed) + bytes <= most).then_some(mine)
    }

    /// So many bytes are left.
    pub fn set(&mut self, bytes: u64) {
        UNWRITTEN.fetch_add(bytes.wrapping_sub(self.0), Ordering::Relaxed);
        self.0 = bytes;
    }
}

impl Drop for Unwritten {
    /// The block is freed, or all of it is written.
    fn drop(&mut self) {
        if self.0 != 0 {
            UNWRITTEN.fetch_sub(self.0, Ordering::Release);
        }
    }
}

/// Bytes handed out and not freed, by all threads with an account, without what is [`Unwritten`].
pub fn used_memory() -> u64 {
    // A block that comes or goes between the readings is not to look as if all of it were in use.
    let before = UNWRITTEN.load(Ordering::Acquire);
    let handed_out = handed_out();
    handed_out.saturating_sub(before.max(UNWRITTEN.load(Ordering::Acquire)))
}

fn handed_out() -> u64 {
    let accounts = lock();
    let sum = accounts.open.iter().fold(accounts.closed, |sum, thread| sum.wrapping_add(thread.net()));
    // A block freed by another thread than its allocator's makes single accounts negative, never the sum for long.
    if (sum as i64) < 0 { 0 } else { sum }
}

/// What the allocator holds, in bytes; the statistics are refreshed (some 70 microseconds), so at most once a cron turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Bytes in live blocks, of all threads.
    pub allocated: usize,
    /// Bytes in pages that have live blocks.
    pub active: usize,
    /// Bytes in pages that are physically mapped, as far as jemalloc knows.
    pub resident: usize,
}

/// Refreshes and reads jemalloc's own statistics.
pub fn held() -> Held {
    let mut epoch: u64 = 1;
    let size = size_of::<u64>();
    // SAFETY: a valid in-parameter of the size that is passed with it.
    unsafe {
        je::mallctl(c"epoch".as_ptr(), ptr::null_mut(), ptr::null_mut(), (&raw mut epoch).cast::<c_void>(), size)
    };
    Held {
        allocated: read(c"stats.allocated").unwrap_or_default(),
        active: read(c"stats.active").unwrap_or_default(),
        resident: read(c"stats.resident").unwrap_or_default(),
    }
}

/// Gives all unused pages back to the system; false if the allocator will not.
pub fn purge() -> bool {
    /// The allocator's name for all arenas at once (`MALLCTL_ARENAS_ALL`).
    const PURGE_ALL: &CStr = c"arena.4096.purge";
    // SAFETY: a command without parameters.
    unsafe { je::mallctl(PURGE_ALL.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) == 0 }
}

/// What the allocator prints of itself.
pub fn statistics() -> Vec<u8> {
    unsafe extern "C" fn append(text: *mut c_void, part: *const c_char) {
        // SAFETY: the vector handed over below, which nobody else uses meanwhile; `part` is a C string.
        let (text, part) = unsafe { (&mut *text.cast::<Vec<u8>>(), CStr::from_ptr(part)) };
        text.extend_from_slice(part.to_bytes());
    }
    let mut text: Vec<u8> = Vec::new();
    // SAFETY: `append` takes what it is handed with itself; null asks for everything.
    unsafe { je::malloc_stats_print(Some(append), (&raw mut text).cast(), ptr::null()) };
    text
}

/// Lets jemalloc give unused pages back from threads of its own.
pub fn start_background_purge() {
    let mut on = true;
    // SAFETY: a valid in-parameter of the size that is passed with it.
    unsafe { je::mallctl(c"background_thread".as_ptr(), ptr::null_mut(), ptr::null_mut(), (&raw mut on).cast(), 1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_are_those_of_the_allocator() {
        // Beyond the small classes the allocator deals in pages.
        for size in 1..14_336 {
            // SAFETY: `nallocx` only computes.
            assert_eq!(size_class(size), unsafe { je::nallocx(size, 0) }, "of {size} bytes");
        }
    }

    #[test]
    fn the_name_has_the_version_that_is_linked() {
        let at = ptr::with_exposed_provenance(read::<usize>(c"version").expect("jemalloc tells it"));
        // SAFETY: jemalloc's version is a constant C string.
        let version = unsafe { CStr::from_ptr(at) }.to_string_lossy();
        let number = version.split('-').next().unwrap_or_default();
        assert_eq!(NAME, format!("jemalloc-{number}"));
    }

    #[test]
    fn alignment_is_honoured_for_odd_sizes() {
        for (size, align) in [(24, 16), (40, 16), (8, 8), (64, 64), (72, 32)] {
            let layout = Layout::from_size_align(size, align).expect("valid");
            // SAFETY: allocated and freed with the same layout.
            unsafe {
                let blocks: Vec<_> = (0..100).map(|_| Jemalloc.alloc(layout)).collect();
                assert!(blocks.iter().all(|b| b.addr() % align == 0 && !b.is_null()));
                blocks.iter().for_each(|&b| Jemalloc.dealloc(b, layout));
            }
        }
    }

    #[test]
    fn accounts_see_what_a_thread_keeps_after_it_has_ended() {
        let layout = Layout::from_size_align(1 << 20, 8).expect("valid");
        let _mine = open_account();
        let before = used_memory();
        let kept = std::thread::spawn(move || {
            let _account = open_account();
            // SAFETY: freed below with the same layout.
            unsafe { Jemalloc.alloc(layout) }.expose_provenance()
        });
        let block: *mut u8 = ptr::with_exposed_provenance_mut(kept.join().expect("no panic"));
        assert!(used_memory() >= before + (1 << 20));
        // SAFETY: the block allocated above.
        unsafe { Jemalloc.dealloc(block, layout) };
        assert!(used_memory() < before + (1 << 20));
    }
}

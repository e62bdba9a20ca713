//! Cache hints. They never fault, whatever the address, and change nothing but timing.

/// Starts loading the line at `at`.
#[inline(always)]
pub fn read<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is only a hint; an invalid address is ignored by the processor.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

//! Atomics, cells and spinning from the standard library, or from loom when its models are checked.

#[cfg(not(loom))]
pub use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// A cell whose accesses loom checks for races.
pub struct UnsafeCell<T> {
    #[cfg(not(loom))]
    inner: std::cell::UnsafeCell<T>,
    #[cfg(loom)]
    inner: loom::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    /// A cell with `value`.
    pub fn new(value: T) -> Self {
        #[cfg(not(loom))]
        let inner = std::cell::UnsafeCell::new(value);
        #[cfg(loom)]
        let inner = loom::cell::UnsafeCell::new(value);
        UnsafeCell { inner }
    }

    /// The value, to read.
    ///
    /// # Safety
    /// Nobody changes it while the reference lives.
    #[inline]
    pub unsafe fn as_ref(&self) -> &T {
        #[cfg(not(loom))]
        let at: *const T = self.inner.get();
        #[cfg(loom)]
        let at: *const T = self.inner.with(|at| at);
        // SAFETY: by the caller's promise.
        unsafe { &*at }
    }

    /// The value, to change.
    ///
    /// # Safety
    /// Nobody else reads or changes it while the reference lives.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn as_mut(&self) -> &mut T {
        #[cfg(not(loom))]
        let at: *mut T = self.inner.get();
        #[cfg(loom)]
        let at: *mut T = self.inner.with_mut(|at| at);
        // SAFETY: by the caller's promise.
        unsafe { &mut *at }
    }
}

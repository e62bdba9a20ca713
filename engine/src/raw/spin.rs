//! A value behind a spin lock: for sections of some tens of nanoseconds that never block and never call out.

use super::sync::{AtomicBool, Ordering, UnsafeCell, spin_loop};
use std::ops::{Deref, DerefMut};

/// The lock and its value.
#[repr(align(64))]
pub struct Spin<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reachable through the guard, of which there is one at a time.
unsafe impl<T: Send> Sync for Spin<T> {}
// SAFETY: as any container of `T`.
unsafe impl<T: Send> Send for Spin<T> {}

impl<T> Spin<T> {
    /// An unlocked value.
    pub fn new(value: T) -> Self {
        Spin { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        while self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            #[cfg(loom)]
            loom::thread::yield_now();
            for _ in 0..20 {
                spin_loop();
            }
            // The holder may have lost its processor.
            #[cfg(not(loom))]
            if self.locked.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
        SpinGuard(self)
    }
}

/// The locked value.
pub struct SpinGuard<'a, T>(&'a Spin<T>);

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: we hold the lock.
        unsafe { self.0.value.as_ref() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: we hold the lock, and the guard is borrowed exclusively.
        unsafe { self.0.value.as_mut() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::Release);
    }
}

//! What a snapshot's walker has still to do for writers, and whether they must wait for it.

use super::{PENDING_BYTES_MAX, ROOM_BYTES};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by all threads; one snapshot after the other uses it.
#[derive(Default)]
pub struct Pressure {
    full: AtomicBool,
    pending: AtomicU64,
    dropped: AtomicU64,
}

impl Pressure {
    /// Whether writers should not begin anything.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Bytes that wait for the walker and make writers wait.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Bytes in use that will be free when the walker has passed: copies, and what was removed meanwhile.
    pub fn passing_bytes(&self) -> u64 {
        self.pending.load(Ordering::Acquire) + self.dropped.load(Ordering::Acquire)
    }

    pub(super) fn begin(&self) {
        self.end();
        self.pending.store(0, Ordering::Relaxed);
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// Nothing waits any more.
    pub(super) fn end(&self) {
        self.full.store(false, Ordering::SeqCst);
    }

    /// Counts bytes that wait.
    pub(super) fn wait_for_walker(&self, bytes: usize) {
        if self.pending.fetch_add(bytes as u64, Ordering::SeqCst) + bytes as u64 > PENDING_BYTES_MAX {
            self.full.store(true, Ordering::SeqCst);
            // The walker may have dealt with all of it before it could see that.
            if self.pending.load(Ordering::SeqCst) <= PENDING_BYTES_MAX - ROOM_BYTES {
                self.full.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Counts bytes that wait no more.
    pub(super) fn fetched(&self, bytes: usize) {
        let left = || self.pending.fetch_sub(bytes as u64, Ordering::SeqCst) - bytes as u64;
        if bytes > 0 && left() <= PENDING_BYTES_MAX - ROOM_BYTES {
            self.full.store(false, Ordering::SeqCst);
        }
    }

    /// So much was removed from the keys, and is freed once it is saved.
    pub(super) fn dropped(&self, bytes: usize) {
        self.dropped.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So much of that is free.
    pub(super) fn freed(&self, bytes: usize) {
        // Whoever sees this sees that the memory is free.
        self.dropped.fetch_sub(bytes as u64, Ordering::Release);
    }
}

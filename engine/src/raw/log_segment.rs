//! One stretch of the oplog's bytes: written by one writer, read by any number of readers at the same time.
//!
//! 1. Bytes below `len` never change again; bytes above are the writer's alone.
//! 2. There is one [`Writer`] a segment, and it is not `Clone`: its `&mut` is the right to append.

use super::sync::{AtomicUsize, Ordering, UnsafeCell};
use std::sync::Arc;

/// The bytes, shared with readers.
pub struct Segment {
    bytes: Box<[UnsafeCell<u8>]>,
    len: AtomicUsize,
}

// SAFETY: (1) and (2): what readers see is published by `len` (release, acquire) and immutable from then on.
unsafe impl Sync for Segment {}
// SAFETY: owned bytes.
unsafe impl Send for Segment {}

/// The right to append.
pub struct Writer(Arc<Segment>);

impl Segment {
    /// An empty segment of `capacity` bytes and its writer.
    pub fn create(capacity: usize) -> Writer {
        let bytes = (0..capacity).map(|_| UnsafeCell::new(0)).collect();
        Writer(Arc::new(Segment { bytes, len: AtomicUsize::new(0) }))
    }

    /// Number of bytes that may be read.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands the bytes from `from` to `read`, in one piece.
    pub fn read<R>(&self, from: usize, read: impl FnOnce(&[u8]) -> R) -> R {
        let published = &self.bytes[from.min(self.len())..self.len()];
        #[cfg(not(loom))]
        {
            // SAFETY: `UnsafeCell<u8>` has the layout of `u8`, and published bytes do not change (1).
            read(unsafe { std::slice::from_raw_parts(published.as_ptr().cast::<u8>(), published.len()) })
        }
        #[cfg(loom)]
        {
            // SAFETY: published bytes do not change (1); loom checks it.
            read(&published.iter().map(|byte| unsafe { *byte.as_ref() }).collect::<Vec<u8>>())
        }
    }
}

impl Writer {
    /// The segment, for readers.
    pub fn segment(&self) -> Arc<Segment> {
        self.0.clone()
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.0.bytes.len() - self.0.len.load(Ordering::Relaxed)
    }

    /// Appends as many of `bytes` as fit and returns how many that were.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let at = self.0.len.load(Ordering::Relaxed);
        let count = bytes.len().min(self.room());
        let free = &self.0.bytes[at..at + count];
        #[cfg(not(loom))]
        // SAFETY: bytes above `len` are ours alone (1, 2); `UnsafeCell<u8>` has the layout of `u8`, and its contents
        // may be written through a shared reference to the cell.
        unsafe {
            let to = free.as_ptr().cast::<u8>().cast_mut();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count);
        }
        #[cfg(loom)]
        for (cell, &byte) in free.iter().zip(bytes) {
            // SAFETY: as above; loom checks it.
            unsafe { *cell.as_mut() = byte };
        }
        self.0.len.store(at + count, Ordering::Release);
        count
    }
}

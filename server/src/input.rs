//! What a connection was sent and nobody has understood yet.
//!
//! Why: a request may be as long as a gigabyte, and all clients of a thread wait while it copies one into a larger buffer.
//! So a request that becomes long is given room for the longest there may be, once. These are addresses, of which there are
//! enough; memory comes with the bytes, so to announce a long request costs the server nothing.
//!
//! ```text
//!   | what has come | next read | .. unwritten: addresses only .. |
//!   0              len                                        capacity
//! ```
//! 1. A buffer that holds more than [`SHORT_BYTES`] does not move, unless addresses are short.
//! 2. What is not written of a wide buffer is not memory in use, neither for `used_memory` nor for `maxmemory`.
//! 3. Whoever gives up a wide buffer has another thread free it: to give back its pages takes long.

use crate::conn::Socket;
use crate::node::Node;
use engine::keyspace::Waste;
use engine::raw::alloc::Unwritten;
use std::io;
use std::ops::Deref;

/// A client whose unparsed request is longer than this is cut off.
pub const INPUT_BYTES_MAX: usize = 1 << 30;
/// A buffer that must be larger than this becomes a wide one; nobody waits long for so much to be copied.
const SHORT_BYTES: usize = 1 << 20;
/// A wide buffer: [`INPUT_BYTES_MAX`] and a read, in the allocator's next size.
const WIDE_BYTES: usize = 5 << 28;
/// So many bytes may be unwritten in all wide buffers; further ones grow step by step.
const UNWRITTEN_BYTES_MAX: u64 = 64 * WIDE_BYTES as u64;
/// How much larger than what it holds a buffer becomes in a step: each copies what has come so far.
const GROWTH: usize = 4;

/// The bytes.
#[derive(Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// Of a wide buffer.
    unwritten: Option<Unwritten>,
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Input {
    /// Bytes that it can hold as it is.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes of memory that it has and does not use.
    pub fn spare(&self) -> usize {
        if self.unwritten.is_some() { 0 } else { self.bytes.capacity() - self.bytes.len() }
    }

    /// Makes room for `more` bytes, or at least for some of them if they are many.
    pub fn reserve(&mut self, more: usize) {
        let wanted = self.bytes.len() + more;
        if wanted <= self.bytes.capacity() {
            return;
        }
        if wanted <= SHORT_BYTES {
            self.bytes.reserve_exact(more);
        } else if !self.widen() {
            self.bytes.reserve_exact(more.min(SHORT_BYTES.max(self.bytes.len() * (GROWTH - 1))));
        }
    }

    /// Moves to a wide buffer; false if there is none to be had.
    #[cold]
    fn widen(&mut self) -> bool {
        let Some(unwritten) = Unwritten::announce(WIDE_BYTES as u64, UNWRITTEN_BYTES_MAX) else { return false };
        let mut wide = Vec::new();
        if wide.try_reserve_exact(WIDE_BYTES).is_err() {
            return false;
        }
        wide.extend_from_slice(&self.bytes);
        self.bytes = wide;
        self.unwritten = Some(unwritten);
        self.settle();
        true
    }

    /// Says how much of a wide buffer is written.
    fn settle(&mut self) {
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.set((self.bytes.capacity() - self.bytes.len()) as u64);
        }
    }

    /// Appends `more`.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.reserve(more.len());
        self.bytes.extend_from_slice(more);
        self.settle();
    }

    /// Reads what is there, at most `most` bytes.
    pub fn read(&mut self, socket: &Socket, most: usize) -> io::Result<usize> {
        self.reserve(most);
        let count = socket.read_more(&mut self.bytes, most)?;
        self.settle();
        Ok(count)
    }

    /// Forgets the first `count` bytes. A wide buffer is given up as soon as what is left is short.
    pub fn drop_front(&mut self, count: usize, node: &Node) {
        let rest = self.bytes.get(count..).unwrap_or_default();
        if self.unwritten.is_some() && count > 0 && rest.len() <= SHORT_BYTES {
            let rest = Input { bytes: rest.to_vec(), unwritten: None };
            std::mem::replace(self, rest).free(node);
        } else {
            self.bytes.drain(..count.min(self.bytes.len()));
            self.settle();
        }
    }

    /// Forgets all, keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.settle();
    }

    /// Frees it, a wide one elsewhere.
    pub fn free(self, node: &Node) {
        if let Some(unwritten) = self.unwritten {
            node.free_later(vec![Waste::Buffer(self.bytes, unwritten)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_short_does_not_move() {
        static PIECE: [u8; 100_000] = [b'x'; 100_000];
        let mut input = Input::default();
        input.reserve(SHORT_BYTES);
        assert_eq!((input.capacity(), input.spare()), (SHORT_BYTES, SHORT_BYTES));
        let mut places = Vec::new();
        while input.len() < 20 * SHORT_BYTES {
            input.extend_from_slice(&PIECE);
            places.push(input.as_ptr());
        }
        places.dedup();
        assert_eq!(places.len(), 2);
        assert_eq!(input.spare(), 0);
        assert!(input.iter().all(|&byte| byte == b'x'));
        assert!(input.capacity() > INPUT_BYTES_MAX + SHORT_BYTES);
    }
}

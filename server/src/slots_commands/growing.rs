//! A long string that grows as its parts come, with no step that copies much of it.
//!
//! Why: its source's word is not enough to take room for all of it, and to copy what has come to a wider block takes as long
//! as that is: 70 ms for 64 MiB.
//!
//! ```text
//!   old    [ moved | still to move ]   waiting  [part] [part]
//!   block  [ moved                 room                      ]
//! ```
//! 1. The string is `block`, then what is still to move of `old`, then what waits.
//! 2. Each part has [`MOVED_TIMES`] times its length moved, so a move has ended long before the block is full; and of a
//!    string that is as long as its source said, before its end.

use engine::raw::thin::ThinBytes;
use std::collections::VecDeque;

/// Room that a string gets at first, whatever its source says of it, or twice that if it is all of it.
const ROOM_FIRST: usize = 1 << 20;
/// Room that it gets then: so many times what has come, or twice that if it is all of it. More would let few bytes take
/// much memory.
const ROOM_TIMES: usize = 4;
/// How much is moved with a part, in parts.
const MOVED_TIMES: usize = 4;

/// A string of which parts have come.
pub struct Growing {
    block: ThinBytes,
    old: ThinBytes,
    moved: usize,
    waiting: VecDeque<Box<[u8]>>,
    len: usize,
}

impl Growing {
    /// Nothing yet of a string that is to have `hint` bytes.
    pub fn new(hint: usize) -> Growing {
        let room = if hint <= 2 * ROOM_FIRST { hint } else { ROOM_FIRST };
        let block = ThinBytes::with_capacity(room);
        Growing { block, old: ThinBytes::with_capacity(0), moved: 0, waiting: VecDeque::new(), len: 0 }
    }

    /// Bytes that have come.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds the next part of a string that is to have `hint` bytes in all.
    pub fn add(&mut self, part: &[u8], hint: usize) {
        self.len += part.len();
        if !self.is_moving() {
            // Who has said too little, or nothing, gets room as any string does.
            if self.len <= self.block.capacity() || hint <= self.len {
                return self.block.extend(part);
            }
            let room = if hint <= 2 * ROOM_TIMES * self.len { hint } else { ROOM_TIMES * self.len };
            self.old = std::mem::replace(&mut self.block, ThinBytes::with_capacity(room));
        }
        self.waiting.push_back(part.into());
        self.advance(MOVED_TIMES * part.len());
    }

    fn is_moving(&self) -> bool {
        !self.old.is_empty() || !self.waiting.is_empty()
    }

    /// Moves about so many bytes.
    fn advance(&mut self, bytes: usize) {
        let until = self.block.len().saturating_add(bytes);
        if !self.old.is_empty() {
            let end = self.old.len().min(self.moved.saturating_add(bytes));
            self.block.extend(&self.old.as_slice()[self.moved..end]);
            self.moved = end;
            if end < self.old.len() {
                return;
            }
            self.old = ThinBytes::with_capacity(0);
            self.moved = 0;
        }
        while self.block.len() < until
            && let Some(part) = self.waiting.pop_front()
        {
            self.block.extend(&part);
        }
    }

    /// The whole string.
    pub fn whole(mut self) -> ThinBytes {
        self.advance(usize::MAX);
        self.block
    }

    /// Its blocks, to be dropped elsewhere.
    pub fn blocks(self) -> [ThinBytes; 2] {
        [self.block, self.old]
    }

    /// Bytes that its blocks have room for.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.block.capacity() + self.old.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_copies_much_and_nothing_is_left_to_copy_at_the_end() {
        const PART: usize = 16 * 1024;
        for hint in [0, 1, PART, 1 << 20, (1 << 20) + 1, 9 << 20, (16 << 20) + 5, 33 << 20] {
            let mut growing = Growing::new(hint);
            let mut expected = Vec::new();
            while expected.len() < hint.max(3 * PART) {
                let len = PART.min(hint.max(3 * PART) - expected.len());
                let part: Vec<u8> = (0..len).map(|at| ((expected.len() + at) / 7) as u8).collect();
                let before = growing.block.len();
                growing.add(&part, hint);
                expected.extend_from_slice(&part);
                assert_eq!(growing.len(), expected.len());
                let moving = growing.is_moving();
                assert!(!moving || growing.block.len() <= before + (MOVED_TIMES + 1) * PART, "{hint}");
                // Both blocks of a move; a block is rounded up to its size class, which is less than a quarter more.
                let most = (2 * ROOM_FIRST).max(2 * ROOM_TIMES * expected.len()) + expected.len();
                assert!(growing.room() <= most + most / 4, "{} for {}", growing.room(), expected.len());
            }
            if hint >= 3 * PART {
                assert!(!growing.is_moving(), "{hint}");
            }
            assert!(growing.whole().as_slice() == expected);
        }
    }

    #[test]
    fn a_string_may_end_in_the_middle_of_a_move() {
        let part = vec![7; 700_000];
        let mut growing = Growing::new(64 << 20);
        growing.add(&part, 64 << 20);
        growing.add(&part[..9000], 64 << 20);
        growing.add(&part, 64 << 20);
        growing.add(&part[..1], 64 << 20);
        assert!(growing.whole().as_slice() == vec![7; 2 * 700_000 + 9001]);
    }
}

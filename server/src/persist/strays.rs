//! What a replica that may be written to (`slave-read-only no`) changes by itself, and its AOF lacks.
//!
//! On a replica the log is its primary's stream byte for byte, and the AOF is written from the log. So an own change is only
//! counted: as long as one is missing the file is not these data, and a rewrite, which is of the data, makes up for it.
//!
//! ```text
//!   made    ---1--2------------3------------>
//!   rewrite          cut: 2 ........ done: the file has 2, and lacks one
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

/// Changes that are in no log. A change is counted, and a cut made, while the slots are held that it is of.
#[derive(Default)]
pub struct Strays {
    made: AtomicU64,
    in_file: AtomicU64,
}

impl Strays {
    /// Another one.
    #[cold]
    pub fn add(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were so far: what a cut has that is made now.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// The file is of a cut that had so many.
    pub fn saved(&self, made: u64) {
        self.in_file.store(made, Ordering::Relaxed);
    }

    /// Whether the file lacks any.
    pub fn are_missing(&self) -> bool {
        self.made() != self.in_file.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_makes_up_for_what_was_before_its_cut() {
        let strays = Strays::default();
        assert!(!strays.are_missing());
        strays.add();
        let cut = strays.made();
        strays.add();
        strays.saved(cut);
        assert!(strays.are_missing());
        strays.saved(strays.made());
        assert!(!strays.are_missing());
    }
}

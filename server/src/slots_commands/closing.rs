//! Before the server ends, what moves keys ends: batches are taken back from their targets, as far as there is time.
//!
//! ```text
//!   SHUTDOWN, a signal --> nothing new begins, what is under way ends --all have ended, or TIME_MS--> the last save
//! ```
//! 1. All keys that have not moved are here in the last save. So the targets are told to forget their copies, but not if this
//!    server saves nothing: then those may be the last ones.
//! 2. A shutdown that comes to nothing, because it cannot save or its client goes away, needs no end: it is forgotten after
//!    its time.
//! 3. A batch counts as under way before it looks whether it may begin, and a shutdown is announced before anybody counts: so
//!    neither misses the other.

use crate::log;
use crate::node::Node;
use engine::clock::Now;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

/// Time that a shutdown gives them.
const TIME_MS: i64 = 1000;
/// Who takes something back from a target gives up so long before that, so that the log can still say so.
const LAST_MS: i64 = 100;
/// Who waits for a shutdown looks again within less than this; later it is another one.
const FORGOTTEN_MS: i64 = 1000;

/// What a client is told that wants to move keys now.
pub const REFUSED: &str = "ERR this server is shutting down";

/// Whether a shutdown is under way, and commands that move keys whole.
#[derive(Default)]
pub struct Closing {
    /// When the time is over, Unix milliseconds; 0 at first.
    until_ms: AtomicI64,
    /// This server's keys will be there at its next start.
    saves: AtomicBool,
    commands: AtomicUsize,
}

/// A command that moves keys, from its beginning until this is dropped.
pub struct UnderWay(&'static AtomicUsize);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Closing {
    /// A command begins to move keys.
    pub fn begin(&'static self) -> UnderWay {
        self.commands.fetch_add(1, Ordering::SeqCst);
        UnderWay(&self.commands)
    }

    /// Whether a shutdown is under way. For who has said that it moves keys.
    pub fn is_on(&self) -> bool {
        self.left_ms().is_some()
    }

    /// How long who takes something back from a target may go on, if a shutdown is under way: 0 and less is over.
    pub fn left_ms(&self) -> Option<i64> {
        let left_ms = match self.until_ms.load(Ordering::SeqCst) {
            0 => 0,
            until_ms => until_ms - Now::read().ms,
        };
        (1..=TIME_MS).contains(&left_ms).then_some(left_ms - LAST_MS)
    }

    /// Whether targets are to be told to forget what stays here.
    pub fn takes_back(&self) -> bool {
        !self.is_on() || self.saves.load(Ordering::SeqCst)
    }

    /// Whether a shutdown, which saves this server's keys or does not, may go on: nothing moves any more, or that took too
    /// long. Otherwise it is to ask again soon, with no slot held.
    pub fn may_go_on(&self, node: &Node, saves: bool) -> bool {
        let now_ms = Now::read().ms;
        let until_ms = self.until_ms.load(Ordering::SeqCst);
        if (until_ms..until_ms + FORGOTTEN_MS).contains(&now_ms) {
            return true;
        }
        if !(now_ms..=now_ms + TIME_MS).contains(&until_ms) {
            self.saves.store(saves, Ordering::SeqCst);
            self.until_ms.store(now_ms + TIME_MS, Ordering::SeqCst);
            let under_way = self.under_way(node);
            if under_way > 0 {
                log::warning!("{under_way} batches or commands that move keys are ended before the shutdown");
                node.moves.exports.wake_all();
            }
        }
        self.under_way(node) == 0
    }

    /// How many batches and commands move keys.
    pub fn under_way(&self, node: &Node) -> usize {
        self.commands.load(Ordering::SeqCst) + node.moves.exports.busy()
    }
}

#[cfg(test)]
mod tests {
    use crate::dispatch::tests::Desk;
    use std::sync::atomic::Ordering;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_shutdown_waits_for_what_moves_and_not_for_ever_and_is_forgotten() {
        let node = Desk::new().exec.node;
        let closing = &node.moves.closing;
        assert!(!closing.is_on() && closing.takes_back());
        let command = closing.begin();
        assert!(!closing.may_go_on(node, false));
        assert!(!closing.takes_back(), "the copies may be the last ones");
        // Whoever asks, it is one shutdown.
        assert!(!closing.may_go_on(node, true) && !closing.takes_back());
        drop(command);
        assert!(closing.may_go_on(node, false));
        // It has come to nothing.
        closing.until_ms.fetch_sub(5000, Ordering::SeqCst);
        assert!(!closing.is_on() && closing.takes_back());
        let _command = closing.begin();
        assert!(!closing.may_go_on(node, true));
        assert!(closing.takes_back());
        while !closing.may_go_on(node, true) {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(closing.under_way(node), 1);
    }
}

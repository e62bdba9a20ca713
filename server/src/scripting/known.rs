//! Which scripts every reader of the log knows, so that EVALSHA may go into it as it is: 3.2's replication script cache.
//!
//! A reader learns a script from the EVAL that the first EVALSHA of it is logged as. Whoever starts to read later (a new
//! replica, a rewritten AOF) knows none of them, nor does anybody after SCRIPT FLUSH: [`KnownScripts::forget`] then.
//! While it is not known who reads, every EVALSHA is logged as EVAL, which is always right.

use lua::Sha;
use std::collections::{HashSet, VecDeque};

/// Scripts remembered; the one that was learned first makes way.
pub const KNOWN_MAX: usize = 10_000;

/// Names of scripts, oldest first.
#[derive(Debug, Default)]
pub struct KnownScripts {
    order: VecDeque<Sha>,
    names: HashSet<Sha>,
}

impl KnownScripts {
    /// Whether every reader knows the script. If not, log the call with its source: then they do.
    pub fn learn(&mut self, sha: Sha) -> bool {
        if !self.names.insert(sha) {
            return true;
        }
        self.order.push_back(sha);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        false
    }

    /// Somebody reads from here on, or scripts were flushed.
    pub fn forget(&mut self) {
        self.order.clear();
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_sent_whole_once_to_each_set_of_readers() {
        let mut known = KnownScripts::default();
        let sha = Sha::of(b"return 1");
        assert!(!known.learn(sha));
        assert!(known.learn(sha));
        known.forget();
        assert!(!known.learn(sha));
    }

    #[test]
    fn the_oldest_makes_way() {
        let mut known = KnownScripts::default();
        let name = |n: usize| Sha::of(n.to_string().as_bytes());
        (0..=KNOWN_MAX).for_each(|n| assert!(!known.learn(name(n))));
        assert!(known.learn(name(KNOWN_MAX)));
        assert!(known.learn(name(1)));
        assert!(!known.learn(name(0)));
    }
}

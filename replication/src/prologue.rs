//! Where replicas that know no PSYNC2 have no place in the log.
//!
//! A server that follows hands on its primary's stream. In which database that is at an image's offset stands in the
//! image's notes; a replica that does not read them is sent a SELECT before the log, and counts its bytes: within them
//! its offset means other bytes than ours.

use std::collections::VecDeque;

/// So many are known one by one; before the last of those that are not, nobody has a place.
const KNOWN_MAX: usize = 64;

/// The offsets of one history at which some replica was told a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prologues {
    /// From, until; in the order in which they were sent.
    known: VecDeque<(u64, u64)>,
    /// Where the last one ends that is not known any more.
    forgotten: u64,
}

impl Prologues {
    /// A replica is sent something else than the log at the offsets `start..end`.
    pub fn add(&mut self, start: u64, end: u64) {
        if self.known.contains(&(start, end)) {
            return;
        }
        if self.known.len() == KNOWN_MAX
            && let Some((_, end)) = self.known.pop_front()
        {
            self.forgotten = self.forgotten.max(end);
        }
        self.known.push_back((start, end));
    }

    /// Whether a replica that goes on at `from` may mean other bytes than those of the log.
    pub fn may_differ(&self, from: u64) -> bool {
        from < self.forgotten || self.known.iter().any(|&(start, end)| (start..end).contains(&from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_on_within_what_came_before_the_log_however_many_there_were() {
        let mut prologues = Prologues::default();
        assert!(!prologues.may_differ(0));
        let starts: Vec<u64> = (0..3 * KNOWN_MAX as u64).map(|n| 1000 + 100 * n).collect();
        for &start in &starts {
            prologues.add(start, start + 23);
            prologues.add(start, start + 23);
        }
        for &start in &starts {
            assert!(prologues.may_differ(start) && prologues.may_differ(start + 22), "{start}");
        }
        let (first, last) = (starts[0], starts[starts.len() - 1]);
        assert!(prologues.may_differ(first - 1), "before what is forgotten nothing is sure");
        assert!(!prologues.may_differ(last - 1) && !prologues.may_differ(last + 23));
    }
}

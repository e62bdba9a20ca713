//! How long a thread that moves keys keeps what it has while nobody asks for it: first it is a guest no longer, since
//! becoming one costs a turn of the reactor, and later its link ends.

use std::time::{Duration, Instant};

/// It stays a guest for so long.
const GUEST: Duration = Duration::from_millis(100);

/// Since when nobody has asked.
pub struct Idle {
    since: Instant,
    link: Duration,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// To wait for so long.
    Wait(Duration),
    /// To be a guest no longer.
    Leave,
    /// To end.
    End,
}

impl Idle {
    /// From now on, with a link that ends after `link`.
    pub fn begin(now: Instant, link: Duration) -> Idle {
        Idle { since: now, link }
    }

    /// What to do now, as a guest or not.
    pub fn next(&self, now: Instant, is_guest: bool) -> Next {
        let idle = now.saturating_duration_since(self.since);
        match self.link.checked_sub(idle) {
            None | Some(Duration::ZERO) => Next::End,
            Some(_) if is_guest && idle >= GUEST => Next::Leave,
            Some(_) if is_guest => Next::Wait(GUEST - idle),
            Some(left) => Next::Wait(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots_commands::{driver, sync};

    #[test]
    fn an_idle_link_ends_after_its_time_and_not_before() {
        for (link, secs) in [(sync::IDLE, 15), (driver::IDLE, 60)] {
            let start = Instant::now();
            let (idle, at) = (Idle::begin(start, link), |ms| start + Duration::from_millis(ms));
            assert_eq!(idle.next(start, true), Next::Wait(GUEST));
            assert_eq!(idle.next(at(30), true), Next::Wait(Duration::from_millis(70)));
            assert_eq!(idle.next(at(100), true), Next::Leave);
            assert_eq!(idle.next(at(100), false), Next::Wait(Duration::from_millis(1000 * secs - 100)));
            assert_eq!(idle.next(at(1000 * secs - 1), false), Next::Wait(Duration::from_millis(1)));
            assert_eq!(idle.next(at(1000 * secs), false), Next::End);
            assert_eq!(idle.next(at(1000 * secs), true), Next::End);
            // Who stood still meanwhile has nothing to wait for.
            assert_eq!(idle.next(at(5000 * secs), false), Next::End);
        }
    }
}

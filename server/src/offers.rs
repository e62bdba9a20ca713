//! A thread that works for long at a stretch offers its core to others now and then.
//!
//! Several servers share a machine. Of two threads that both ask for short slices Linux leaves the one that runs where it
//! is until the timer's next tick, which may be milliseconds away, even while another core is idle: the clients of the
//! other server wait so long. A replica that takes its image, or catches up, has such stretches, and nobody waits for them.
//! So has who sends keys to another server, beside the reactors of its own.
//!
//! 1. Who was not served in between loses nothing: an offer that nobody takes costs a system call of a fraction of a
//!    microsecond.
//! 2. Who has waited for its turn may keep the core as long: offers do not cost a busy machine's share then.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two offers. Where all cores are busy, each costs the turns of those who wait.
const EVERY: Duration = Duration::from_micros(50);
/// The longest that the core is kept: some ticks of Linux.
const KEPT_MAX: Duration = Duration::from_millis(10);

/// The offers of one thread.
pub struct Offers {
    /// The longest time between two.
    kept_max: Duration,
    kept_until: Instant,
}

impl Offers {
    /// Of who keeps the core as long as it has waited for it. The first is due.
    pub fn fair(now: Instant) -> Offers {
        Offers { kept_max: KEPT_MAX, kept_until: now }
    }

    /// Of who lets others go first however long that takes.
    pub fn humble(now: Instant) -> Offers {
        Offers { kept_max: EVERY, kept_until: now }
    }

    /// Offers the core if that is due. No slot is held.
    pub fn offer(&mut self) {
        let now = Instant::now();
        if self.is_due(now) {
            thread::yield_now();
            self.is_back(now, Instant::now());
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.kept_until
    }

    fn is_back(&mut self, left: Instant, back: Instant) {
        self.kept_until = back + (back - left).clamp(EVERY, self.kept_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_keeps_the_core_as_long_if_it_is_fair() {
        let begin = Instant::now();
        let after = |us| begin + Duration::from_micros(us);
        for (mut offers, kept) in [(Offers::fair(begin), [50, 3000, 10_000]), (Offers::humble(begin), [50; 3])] {
            let mut due_after = |left, back| {
                assert!(offers.is_due(after(left)));
                offers.is_back(after(left), after(back));
                (back..).find(|at| offers.is_due(after(*at))).expect("some time") - back
            };
            assert_eq!([due_after(0, 1), due_after(60, 3060), due_after(10_000, 90_000)], kept);
        }
    }
}

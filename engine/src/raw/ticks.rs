//! A clock that costs a few nanoseconds: the processor's time-stamp counter, calibrated once.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A reading of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(u64);

impl Ticks {
    /// Reads it.
    #[inline]
    pub fn now() -> Ticks {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 processor has the instruction; it has no effect on memory.
        return Ticks(unsafe { std::arch::x86_64::_rdtsc() });
        #[cfg(not(target_arch = "x86_64"))]
        return Ticks(origin().elapsed().as_nanos() as u64);
    }

    /// Ticks from `earlier` to this reading, 0 if it is not earlier.
    #[inline]
    pub fn since(self, earlier: Ticks) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// How many ticks a microsecond has; the first call measures for ten milliseconds.
pub fn per_microsecond() -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (start, ticks) = both_clocks();
        std::thread::sleep(Duration::from_millis(10));
        let (end, ticks_end) = both_clocks();
        (ticks_end.since(ticks) / ((end - start).as_micros() as u64).max(1)).max(1)
    })
}

/// Both clocks at one moment: of some tries the one in which least passed between them, since a thread may be put aside in
/// the middle.
fn both_clocks() -> (Duration, Ticks) {
    const TRIES: usize = 8;
    let read = || {
        let (before, time) = (Ticks::now(), origin().elapsed());
        (Ticks::now().since(before), time, before)
    };
    let mut best = read();
    for _ in 1..TRIES {
        let next = read();
        if next.0 < best.0 {
            best = next;
        }
    }
    (best.1, best.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_forward_at_a_known_rate() {
        let rate = per_microsecond();
        let start = Ticks::now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(Ticks::now().since(start) / rate >= 1_500);
        assert_eq!(start.since(Ticks::now()), 0);
    }
}

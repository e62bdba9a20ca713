//! How long a change of whom to follow waits for what the link has received and not applied yet.
//!
//! Why wait at all: what has been received counts, as with 3.2, which has always applied what it has read. The link reads no
//! more meanwhile, so there is an end to it. Why not for ever: it may be waiting for a disk.
//!
//! 1. A second without progress is all it gets, but only time counts in which the link could work: between two looks there
//!    must have been a turn of its thread, and of a longer pause no more counts than [`LOOK_MS_MAX`]. On a machine that is
//!    busy with something else a thread may have no turn for that long.
//! 2. Who looks holds all slots, so one looks at a time.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// So long it waits while nothing is applied.
const MS_MAX: i64 = 1000;
/// Who comes to look only after longer has stood still, and the link perhaps with it: no more than this counts of it.
const LOOK_MS_MAX: i64 = 100;

/// What the link has not applied, and who waits for that.
#[derive(Default)]
pub struct Drain {
    /// The link has whole requests that are not applied yet.
    unapplied: AtomicBool,
    /// When somebody who waits for those has last looked, Unix milliseconds; 0: nobody waits.
    looked_ms: AtomicI64,
    /// Up to when the time counts or is known not to.
    counted_ms: AtomicI64,
    /// How much has counted since any was applied, in milliseconds.
    spent_ms: AtomicI64,
    /// The link has had a turn since `counted_ms`.
    turned: AtomicBool,
}

impl Drain {
    /// Whether whom to follow may not change yet. The caller holds all slots.
    pub fn must_wait(&self, now_ms: i64) -> bool {
        if !self.unapplied.load(Ordering::Acquire) {
            return false;
        }
        if self.looked_ms.swap(now_ms, Ordering::AcqRel) == 0 {
            self.turned.store(false, Ordering::Release);
            self.counted_ms.store(now_ms, Ordering::Release);
            self.spent_ms.store(0, Ordering::Release);
            return true;
        }
        if !self.turned.swap(false, Ordering::AcqRel) {
            return true;
        }
        let passed_ms = now_ms - self.counted_ms.swap(now_ms, Ordering::AcqRel);
        let counts_ms = passed_ms.clamp(0, LOOK_MS_MAX);
        self.spent_ms.fetch_add(counts_ms, Ordering::AcqRel) + counts_ms < MS_MAX
    }

    /// Says whether the link has whole requests that are not applied.
    pub fn set_unapplied(&self, unapplied: bool) {
        self.unapplied.store(unapplied, Ordering::Release);
    }

    /// The link has had a turn, in which it could have applied something.
    pub fn turned(&self) {
        // Mostly nobody waits.
        if self.is_waited_for() {
            self.turned.store(true, Ordering::Release);
        }
    }

    /// The link has applied some of what it has.
    pub fn progressed(&self) {
        if self.is_waited_for() {
            self.spent_ms.store(0, Ordering::Release);
        }
    }

    /// Whether somebody waits until the link has applied what it has.
    pub fn is_waited_for(&self) -> bool {
        self.looked_ms.load(Ordering::Acquire) != 0
    }

    /// Who has waited may be gone: the link reads on.
    pub fn forget(&self, now_ms: i64) {
        let looked_ms = self.looked_ms.load(Ordering::Acquire);
        if looked_ms != 0 && !(0..2 * MS_MAX).contains(&(now_ms - looked_ms)) {
            self.end();
        }
    }

    /// Nobody waits any more.
    pub fn end(&self) {
        self.looked_ms.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every `step_ms`, with a turn of the link before each look, until it need not wait any longer; how often it
    /// looked.
    fn looks(drain: &Drain, step_ms: i64) -> i64 {
        let waits = |n: i64| {
            drain.turned();
            drain.must_wait(n * step_ms)
        };
        (1..).find(|&n| !waits(n)).unwrap_or_default()
    }

    #[test]
    fn who_changes_whom_to_follow_waits_for_what_is_received_and_not_for_ever() {
        let drain = Drain::default();
        assert!(!drain.must_wait(1));
        drain.set_unapplied(true);
        for (step_ms, expected) in [(10, 101), (100, 11), (60_000, 11)] {
            assert_eq!(looks(&drain, step_ms), expected, "{step_ms}");
            drain.end();
        }
        let waits = |n: i64| {
            drain.turned();
            drain.must_wait(1 + n * 10)
        };
        // What is applied meanwhile gives it another second.
        assert!((0..50).all(waits));
        drain.progressed();
        assert!((50..149).all(waits));
        drain.set_unapplied(false);
        assert!(!drain.must_wait(2000));
    }

    #[test]
    fn time_in_which_the_link_has_no_turn_does_not_count() {
        let drain = Drain::default();
        drain.set_unapplied(true);
        assert!((1..100_000).all(|n| drain.must_wait(n * 10)), "it could do nothing");
        // A turn after long is as if it had looked only then.
        drain.turned();
        assert!(drain.must_wait(1_000_000));
        // One look in ten finds that there was a turn: all of the time between two such looks counts.
        let waits = |n: i64| {
            if n % 10 == 0 {
                drain.turned();
            }
            drain.must_wait(1_000_000 + n * 10)
        };
        assert_eq!((1..).find(|&n| !waits(n)), Some(90));
    }

    #[test]
    fn a_wait_that_nobody_looks_after_is_forgotten() {
        let drain = Drain::default();
        drain.set_unapplied(true);
        assert!(drain.must_wait(1000));
        drain.forget(2999);
        assert!(drain.is_waited_for());
        drain.forget(3000);
        assert!(!drain.is_waited_for());
    }
}

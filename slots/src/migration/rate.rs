//! How much a link may send under a limit of bytes a second.
//!
//! ```text
//!   owed  ^    sent        sent
//!         |    |\          |\
//!         |    | \ limit   | \
//!         |....|..\........|..\....  allowance: below it more may be sent
//!         '--------------------------> time
//! ```
//! 1. What is owed outlives batches, so that many small ones are no faster than a big one.
//! 2. It is paid off at the limit of the moment: a limit that changes holds from then on, for nothing that was before.

use std::time::Duration;

/// For so long a link may be ahead of its limit: who looks does not look all the time.
const ALLOWANCE: Duration = Duration::from_millis(10);

/// The account of one link.
#[derive(Debug, Default)]
pub struct Rate {
    /// Bytes sent that the limit has not allowed yet.
    owed: u64,
    /// When that was true, on a clock that is never set back.
    at: Duration,
}

impl Rate {
    /// So many bytes were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(bytes as u64);
    }

    /// Whether more may be sent at `now`, on a clock that is never set back, under `limit` bytes a second; 0 is no limit.
    pub fn allows(&mut self, limit: u64, now: Duration) -> bool {
        if limit == 0 {
            *self = Rate { owed: 0, at: now };
            return true;
        }
        let paid = allowed(limit, now.saturating_sub(self.at));
        // Less than a byte is paid with the next ones.
        if paid > 0 || self.owed == 0 {
            self.owed = self.owed.saturating_sub(paid);
            self.at = now;
        }
        self.owed <= allowed(limit, ALLOWANCE)
    }
}

/// Bytes in so much time.
fn allowed(limit: u64, time: Duration) -> u64 {
    (u128::from(limit) * time.as_micros() / 1_000_000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn as_much_is_sent_as_the_limit_says_in_large_pieces_and_small() {
        // With one of them a look costs less than a byte.
        for limit in [LIMIT, LIMIT / 4] {
            for piece in [1, 7, 400, 5000] {
                let (mut rate, mut sent) = (Rate::default(), 0);
                for now in 0..60_000 {
                    if rate.allows(limit, ms(now)) {
                        rate.sent(piece);
                        sent += piece;
                    }
                }
                assert!(sent.abs_diff(60 * limit as usize) <= 2 * piece + 10, "{limit}, {piece}: {sent}");
            }
        }
    }

    #[test]
    fn a_rest_is_no_credit_and_no_limit_no_debt() {
        let mut rate = Rate::default();
        assert!(rate.allows(LIMIT, ms(3_600_000)));
        rate.sent(1000);
        assert!(!rate.allows(LIMIT, ms(3_600_100)));
        assert!(rate.allows(0, ms(3_600_200)));
        rate.sent(1 << 40);
        assert!(rate.allows(0, ms(3_600_300)));
        assert!(rate.allows(LIMIT, ms(3_600_300)));
    }

    #[test]
    fn a_new_limit_holds_from_now_on() {
        let mut rate = Rate::default();
        // At a high limit for a long time, then at a low one: the past is no debt.
        for now in 0..10_000 {
            if rate.allows(1_000_000, ms(now)) {
                rate.sent(1000);
            }
        }
        assert!(rate.allows(LIMIT, ms(12_000)));
        rate.sent(1000);
        assert!(!rate.allows(LIMIT, ms(12_500)));
        // And at a higher one: what was not sent is no credit.
        assert!(rate.allows(100_000, ms(12_510)));
        rate.sent(2000);
        assert!(!rate.allows(100_000, ms(12_510)));
        assert!(rate.allows(100_000, ms(12_530)));
    }

    #[test]
    fn numbers_have_no_end() {
        let mut rate = Rate::default();
        rate.sent(usize::MAX);
        rate.sent(usize::MAX);
        assert!(!rate.allows(1, ms(1)));
        assert!(rate.allows(u64::MAX, Duration::MAX));
    }
}

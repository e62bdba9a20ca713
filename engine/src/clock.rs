//! Time: read here and nowhere else below the server.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, as the engine sees it. Passed in, so that tests can wind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Unix time in milliseconds.
    pub ms: i64,
}

impl Now {
    /// The system's time.
    pub fn read() -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { ms: since.as_millis() as i64 }
    }

    /// The 24-bit clock in seconds by which entries remember their last access.
    #[inline]
    pub fn lru(self) -> u32 {
        (self.ms / 1000) as u32 & 0xff_ffff
    }
}

/// Seconds from one reading of the 24-bit clock to a later one.
pub fn lru_idle_seconds(then: u32, now: u32) -> u32 {
    now.wrapping_sub(then) & 0xff_ffff
}

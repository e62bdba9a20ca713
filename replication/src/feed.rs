//! A primary's view of one replica: from its request for a sync to the stream, and whether it still answers.
//!
//! ```text
//!   WaitCut -- cut --> WaitImage -- image ready --> SendImage -- sent --> Online
//!                          '------- straight from memory: sent as it is made --> WaitAck -- first ACK --> Online
//!   (partial sync) ---------------------------------------------------------------------------------------> Online
//! ```
//! A replica that must wait is sent a line end each second, so that it does not give up; one that follows must say how
//! far it is.

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// No snapshot serves it yet.
    WaitCut = 0,
    /// A snapshot that serves it is being written.
    WaitImage = 1,
    /// The image is being sent.
    SendImage = 2,
    /// The image was sent in the form without a length: the stream begins when the replica says that it has it.
    WaitAck = 3,
    /// It follows the stream.
    Online = 4,
}

impl Stage {
    /// As INFO says it.
    pub fn word(self) -> &'static str {
        match self {
            Stage::WaitCut | Stage::WaitImage => "wait_bgsave",
            Stage::SendImage => "send_bulk",
            Stage::WaitAck | Stage::Online => "online",
        }
    }

    /// From its number.
    pub fn from_u8(number: u8) -> Stage {
        match number {
            0 => Stage::WaitCut,
            1 => Stage::WaitImage,
            2 => Stage::SendImage,
            3 => Stage::WaitAck,
            _ => Stage::Online,
        }
    }

    /// Whether it counts as following, for ROLE, WAIT and `min-slaves-to-write`.
    pub fn is_online(self) -> bool {
        matches!(self, Stage::WaitAck | Stage::Online)
    }
}

/// What a second's tick means for a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Nothing.
    Nothing,
    /// Send a line end, so that it knows that we are there.
    KeepAlive,
    /// Give it up: it has not answered for too long.
    TimedOut,
}

/// What to do about a replica in `stage` that last spoke, or took some of its image, at `ack_ms`. One that never says how far it is (SYNC) is never
/// given up for that.
pub fn tick(stage: Stage, says_acks: bool, ack_ms: i64, now_ms: i64, timeout_ms: i64) -> Tick {
    match stage {
        Stage::WaitCut | Stage::WaitImage => Tick::KeepAlive,
        // Whoever takes nothing of its image for so long would keep it, and the log behind it, for ever.
        Stage::SendImage if now_ms - ack_ms > timeout_ms => Tick::TimedOut,
        Stage::SendImage => Tick::Nothing,
        Stage::WaitAck | Stage::Online if says_acks && now_ms - ack_ms > timeout_ms => Tick::TimedOut,
        Stage::WaitAck | Stage::Online => Tick::Nothing,
    }
}

/// Limits of what a replica may lag behind, as of `client-output-buffer-limit slave`; 0 is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct LagLimit {
    /// Never more than so many bytes.
    pub hard_bytes: u64,
    /// Not more than so many bytes ..
    pub soft_bytes: u64,
    /// .. for longer than so many milliseconds.
    pub soft_ms: i64,
}

/// Follows one replica's lag.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    over_since_ms: Option<i64>,
}

impl Lag {
    /// Whether a replica that is `bytes` behind is too far behind now.
    pub fn is_too_far(&mut self, bytes: u64, limit: &LagLimit, now_ms: i64) -> bool {
        if limit.hard_bytes != 0 && bytes >= limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || bytes < limit.soft_bytes {
            self.over_since_ms = None;
            return false;
        }
        now_ms - *self.over_since_ms.get_or_insert(now_ms) > limit.soft_ms
    }
}

/// Whether a full sync that replicas wait for begins now: at once through a file; straight from memory only after a
/// delay, in which more replicas may come. `waiting_ms` is how long the first of them has waited.
pub fn begins_now(from_memory: bool, waiting_ms: i64, delay_ms: i64) -> bool {
    !from_memory || delay_ms <= 0 || waiting_ms > delay_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_kept_alive_and_who_follows_must_answer() {
        assert_eq!(tick(Stage::WaitCut, true, 0, 1_000_000, 60_000), Tick::KeepAlive);
        assert_eq!(tick(Stage::SendImage, true, 0, 60_000, 60_000), Tick::Nothing);
        assert_eq!(tick(Stage::SendImage, false, 0, 60_001, 60_000), Tick::TimedOut);
        assert_eq!(tick(Stage::Online, true, 0, 60_000, 60_000), Tick::Nothing);
        assert_eq!(tick(Stage::Online, true, 0, 60_001, 60_000), Tick::TimedOut);
        assert_eq!(tick(Stage::Online, false, 0, 60_001, 60_000), Tick::Nothing);
    }

    #[test]
    fn a_replica_may_lag_over_the_soft_limit_for_its_time_only() {
        let limit = LagLimit { hard_bytes: 100, soft_bytes: 10, soft_ms: 1000 };
        let mut lag = Lag::default();
        assert!(lag.is_too_far(100, &limit, 0));
        assert!(!lag.is_too_far(50, &limit, 0) && !lag.is_too_far(50, &limit, 1000));
        assert!(!lag.is_too_far(9, &limit, 1500) && !lag.is_too_far(50, &limit, 2000));
        assert!(lag.is_too_far(50, &limit, 3001));
        assert!(!lag.is_too_far(u64::MAX, &LagLimit::default(), 0));
    }

    #[test]
    fn only_a_sync_from_memory_waits_for_company() {
        assert!(begins_now(false, 0, 5000));
        assert!(!begins_now(true, 5000, 5000) && begins_now(true, 5001, 5000) && begins_now(true, 0, 0));
    }

    #[test]
    fn stages_survive_being_numbers() {
        for stage in [Stage::WaitCut, Stage::WaitImage, Stage::SendImage, Stage::WaitAck, Stage::Online] {
            assert_eq!(Stage::from_u8(stage as u8), stage);
        }
    }
}

//! `redis-check-rdb` and `redis-check-aof`: whether a file is whole, and where it stops being so. Names of the server's own
//! program, as in Redis 3.2; what they print and the status they end with are those of the original.

use persistence::rdb::load::LoadOptions;
use std::io::{self, IsTerminal, Write};

pub mod aof;
pub mod rdb;

/// How a file is read that nobody serves from: with all databases and its checksum.
fn options() -> LoadOptions {
    LoadOptions { databases: u32::MAX, checksum: true, ..LoadOptions::default() }
}

/// Says on a terminal how far a long check has come; scripts see nothing of it.
struct Progress {
    total: u64,
    next: u64,
    step: u64,
}

impl Progress {
    /// Smaller files are read in a moment.
    const BIG_BYTES: u64 = 256 << 20;

    /// Of a file of `total` bytes.
    fn of(total: u64) -> Progress {
        let step = if total >= Self::BIG_BYTES && io::stderr().is_terminal() { total / 20 } else { u64::MAX };
        Progress { total, next: step, step }
    }

    /// `done` bytes have been read.
    fn at(&mut self, done: u64) {
        if done >= self.next {
            self.next = done + self.step;
            let percent = done.saturating_mul(100) / self.total.max(1);
            // Whoever cannot be told goes without.
            let _ = writeln!(io::stderr(), "{percent}% of {} MB", self.total >> 20);
        }
    }
}

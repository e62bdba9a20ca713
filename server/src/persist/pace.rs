//! Who works in the background lets clients go first: the walker of a snapshot, the thread of a migration's link.
//!
//! A walker never holds a slot for long, but it keeps a core busy, and where cores are few a client waits until the
//! scheduler takes that core from it, which it need not do for milliseconds; nor does Linux, as servers mostly have it,
//! take it from a thread that is within a system call. So while clients are served the walker works in short stretches
//! and writes in small pieces. Behind each it offers the core to others, and after some of them it rests for a part of the
//! time that it has worked: who shares a core's caches, or a disk, gets a turn too. Nobody then waits for more than a
//! stretch, and the snapshot takes half as long again.
//!
//! ```text
//!   stretch  yield  stretch  yield  stretch  yield  ..  rest
//!   '- 4 KiB -'
//! ```
//! It does not rest while no command was run of late, nor while writers wait for it, and what it has waited for a busy
//! core it may make up for, so that it comes to an end on a machine that is never idle.

use crate::node::Node;
use crate::stats::sum;
use engine::raw::schedule;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes to be written in one stretch.
pub const STRETCH_BYTES: usize = 4096;
/// Clients count as being served for so long after a command.
const LATELY: Duration = Duration::from_millis(50);
/// How much the scheduler prefers other threads: `nice`. A walker among busy threads still gets a tenth of what each of
/// them gets, so that nobody waits long for a slot that it holds.
const NICE: i32 = 10;
/// Work after which it rests, and what part of it the rest lasts.
const WORK: Duration = Duration::from_micros(100);
const RESTED_OF_WORKED: u32 = 4;
/// How late a rest may end, in nanoseconds. Without a word of this Linux takes 50 microseconds, twice the rest itself.
#[cfg(target_os = "linux")]
const LATE_NS: std::num::NonZeroU64 = std::num::NonZeroU64::new(1000).expect("not 0");
/// The longest rest: who was stopped in the middle of a stretch need not make up for that.
const REST_MAX: Duration = Duration::from_micros(500);
/// For so much waiting for a core, a part of it is worked through.
const WAITED_FOR_WORKED: u32 = 8;

/// The calling thread is to run when others do not want to.
pub fn go_after_others() {
    if !schedule::go_after_others(NICE) {
        // On Linux priorities are a thread's own. Where it is not allowed, clients are only slower.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
    wake_on_time();
}

/// The calling thread lets others go first, and still gets its share of a busy machine: clients wait for what it does.
pub fn let_others_first() {
    // Where it is not allowed, clients are only slower.
    let _ = schedule::go_after_others(0);
    wake_on_time();
}

fn wake_on_time() {
    // Where that is refused, rests are longer.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(Some(LATE_NS));
}

/// The pace of one walker.
pub struct Pace {
    node: &'static Node,
    /// Commands run so far, and when that was last seen to have grown.
    commands: u64,
    served: Option<Instant>,
    /// When the last rest ended.
    began: Instant,
    /// Until then the core is not offered to others.
    kept_until: Instant,
}

impl Pace {
    /// A stretch begins.
    pub fn new(node: &'static Node) -> Pace {
        let now = Instant::now();
        Pace { node, commands: commands(node), served: None, began: now, kept_until: now }
    }

    /// Between two stretches; no slot is held.
    pub fn rest(&mut self) {
        self.node.persist.wake_stalled(self.node);
        let now = Instant::now();
        let commands = commands(self.node);
        if std::mem::replace(&mut self.commands, commands) != commands {
            self.served = Some(now);
        }
        let serving = self.served.is_some_and(|at| now - at < LATELY);
        if !serving || self.node.persist.is_full() {
            self.began = now;
            return;
        }
        let worked = now - self.began;
        if worked >= WORK {
            thread::sleep((worked / RESTED_OF_WORKED).min(REST_MAX));
            self.began = Instant::now();
        } else if now >= self.kept_until {
            thread::yield_now();
            let back = Instant::now();
            self.kept_until = back + (back - now) / WAITED_FOR_WORKED;
        }
    }
}

fn commands(node: &Node) -> u64 {
    sum(&node.stats, |reactor| &reactor.commands)
}

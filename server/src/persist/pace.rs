//! Who writes a snapshot lets clients go first.
//!
//! A walker never holds a slot for long, but it keeps a core busy, and where cores are few a client waits until the
//! scheduler takes that core from it: milliseconds. So while clients are served it works in short slices and rests as
//! long as it has worked. Nobody then waits for more than a slice, and the snapshot takes two to three times as long.
//!
//! It does not rest while no command was run of late, nor while writers wait for it.

use crate::node::Node;
use crate::stats::sum;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Clients count as being served for so long after a command.
const LATELY: Duration = Duration::from_millis(50);
/// How much the scheduler prefers other threads: `nice`. A walker among busy threads still gets a tenth of what each of
/// them gets, so that nobody waits long for a slot that it holds.
const NICE: i32 = 10;
/// The longest rest: who was stopped in the middle of a slice need not make up for that.
const REST_MAX: Duration = Duration::from_micros(500);

/// The calling thread is to run when others do not want to; on Linux priorities are a thread's own.
pub fn go_after_others() {
    // Where it is not allowed, a snapshot is only less polite.
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// The pace of one walker.
pub struct Pace {
    node: &'static Node,
    /// Commands run so far, and when that was last seen to have grown.
    commands: u64,
    served: Option<Instant>,
    /// When the slice began.
    began: Instant,
}

impl Pace {
    /// A slice begins.
    pub fn new(node: &'static Node) -> Pace {
        Pace { node, commands: commands(node), served: None, began: Instant::now() }
    }

    /// Between two slices; no slot is held.
    pub fn rest(&mut self) {
        self.node.persist.wake_stalled(self.node);
        let now = Instant::now();
        let commands = commands(self.node);
        if std::mem::replace(&mut self.commands, commands) != commands {
            self.served = Some(now);
        }
        let serving = self.served.is_some_and(|at| now - at < LATELY);
        if serving && !self.node.persist.full.load(Ordering::Relaxed) {
            thread::sleep((now - self.began).min(REST_MAX));
        }
        self.began = Instant::now();
    }
}

fn commands(node: &Node) -> u64 {
    sum(&node.stats, |reactor| &reactor.commands)
}

//! What a script may ask of the server that runs it.

use resp::Out;

/// The server's side of a running script.
///
/// All methods are called on the thread that runs the script, while it runs.
pub trait Host {
    /// Carries out a command for `redis.call` and `redis.pcall`. `args` is not empty; numbers arrive as `%.17g` text.
    ///
    /// The reply goes to `reply`, which is empty before. A command that is not carried out at all (unknown, not
    /// allowed in scripts, a write on a read-only replica...) is [`Outcome::Refused`], with the bare text of the
    /// error in `reply` ([`Out::extend_raw`]): the script then sees it with the place of the call in front.
    ///
    /// Replies of commands whose order is random are to be sorted by the host, where whole scripts are replicated.
    fn call(&mut self, args: &[&[u8]], reply: &mut Out) -> Outcome;

    /// `redis.log`: `level` is 0 (debug) to 3 (warning).
    fn log(&mut self, level: u8, message: &[u8]);

    /// True when the effects of commands are replicated one by one, not the script.
    fn replicates_commands(&self) -> bool;

    /// `redis.replicate_commands`: switches to replicating effects, and returns a random seed for `math.random`.
    /// Nothing if it is too late, since the script has written.
    fn replicate_commands(&mut self) -> Option<i32>;

    /// `redis.set_repl`: where the effects of further commands go. Only called when effects are replicated.
    fn set_replication(&mut self, to: Replication);

    /// A turn every 100,000 instructions of the script: to serve others, to look at the clock, to have it killed.
    fn tick(&mut self) -> Tick;

    /// False to run without turns, a little faster.
    fn wants_ticks(&self) -> bool {
        true
    }

    /// `redis.breakpoint`: true if a debugger will stop there.
    fn breakpoint(&mut self) -> bool {
        false
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran, and its reply (an error perhaps) is complete.
    Replied,
    /// It was not run; the reply is the text of the reason.
    Refused,
}

/// Whether a script goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Go on.
    Continue,
    /// End with the error of SCRIPT KILL, whatever the script does to catch it.
    Kill,
}

/// Where the effects of a script's commands go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Into the AOF.
    pub aof: bool,
    /// To the replicas.
    pub replicas: bool,
}

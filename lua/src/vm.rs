//! The engine: a sandboxed Lua state with the scripts compiled so far.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use resp::Out;

use crate::error::ScriptError;
use crate::ffi::{Failure, Known, Raise, Reference, Stack, State};
use crate::host::Host;
use crate::prng::Prng;
use crate::result::{self, Unfit};
use crate::sha::Sha;
use crate::{libs, redis, sandbox};

/// Bounds of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes that Lua may hold, scripts and values together; beyond, scripts fail with "not enough memory". At most
    /// 2 GiB count: within these no table can outgrow Lua's own limit.
    pub memory_bytes_max: usize,
    /// Largest reply of a script, in bytes.
    pub reply_bytes_max: usize,
}

/// Most that [`Options::memory_bytes_max`] can ask for.
const MEMORY_BYTES_MAX: usize = 2 << 30;
/// Bytes that runs may leave behind before the collector takes a step: less than what makes Lua collect by itself, in
/// the middle of a script.
const GARBAGE_BYTES_MAX: usize = 32 * 1024;
/// Size of that step, in KiB of work: a whole cycle as long as scripts keep little.
const STEP_KIB: i32 = 64;
/// Capacity that a buffer may keep between runs.
const KEEP_BYTES_MAX: usize = 64 * 1024;

impl Default for Options {
    fn default() -> Options {
        Options { memory_bytes_max: 1 << 30, reply_bytes_max: 512 << 20 }
    }
}

/// One scripting engine: for one thread, made once, with scripts compiled as they are met.
///
/// Threads that run scripts need 2 MB of stack.
pub struct Vm {
    options: Options,
    state: State,
    known: Known,
    scripts: HashMap<Sha, Script, BuildHasherDefault<Digits>>,
    /// The collector takes its next step when so many bytes are held.
    collect_at: usize,
    flushes: u32,
}

/// A compiled script of one engine. After [`Vm::flush`] it names nothing.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    sha: Sha,
    function: Reference,
    /// Flushes of the engine before it was compiled.
    flushes: u32,
}

impl Script {
    /// Its name.
    pub fn sha(&self) -> &Sha {
        &self.sha
    }
}

/// Hashes a [`Sha`]: the number that its digits are, which is as good as random. (A name that a client made up is only
/// looked up, never stored.)
#[derive(Default)]
struct Digits(u64);

impl Hasher for Digits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let digit = (byte & 15) + 9 * (byte >> 6);
            self.0 = self.0 << 4 ^ u64::from(digit);
        }
    }
}

impl Vm {
    /// A fresh engine without scripts.
    pub fn new(options: Options) -> Vm {
        let memory = options.memory_bytes_max.min(MEMORY_BYTES_MAX);
        let mut state = State::new(memory, options.reply_bytes_max);
        let known = match prepare(&mut state) {
            Ok(known) => known,
            // Only for want of memory: `memory_bytes_max` does not even cover the libraries.
            Err(error) => panic!("no scripting engine in {memory} bytes: {error:?}"),
        };
        let collect_at = state.shared().memory.used() + GARBAGE_BYTES_MAX;
        Vm { options, state, known, scripts: HashMap::default(), collect_at, flushes: 0 }
    }

    /// Forgets all scripts, and whatever scripts left behind.
    pub fn flush(&mut self) {
        let flushes = self.flushes.wrapping_add(1);
        *self = Vm { flushes, ..Vm::new(self.options) };
    }

    /// The script of this name, if it has been compiled.
    pub fn find(&self, sha: &Sha) -> Option<Script> {
        self.scripts.get(sha).copied()
    }

    /// Number of scripts compiled.
    pub fn script_count(&self) -> usize {
        self.scripts.len()
    }

    /// Bytes that Lua holds.
    pub fn used_memory(&self) -> usize {
        self.state.shared().memory.used()
    }

    /// Compiles the script `source`, which `sha` must name, so that [`Vm::run`] can run it. As in Redis the script
    /// becomes the body of the global function `f_<sha>`.
    pub fn compile(&mut self, sha: &Sha, source: &[u8]) -> Result<Script, ScriptError> {
        if let Some(script) = self.find(sha) {
            return Ok(script);
        }
        let mut text = Vec::with_capacity(source.len() + 64);
        text.extend_from_slice(b"function f_");
        let name = 9..text.len() + 40;
        text.extend_from_slice(sha.as_bytes());
        text.extend_from_slice(b"() ");
        text.extend_from_slice(source);
        text.extend_from_slice(b"\nend");

        let known = self.known;
        let (function, stopped) = self.state.run_hooked(|stack| {
            stack.restore_globals(&known);
            if stack.load(&text, c"@user_script").is_err() {
                return Err(ScriptError::Compile(message(stack)));
            }
            if stack.call(0, 0, None).is_err() {
                return Err(ScriptError::Define(message(stack)));
            }
            match stack.push_global(&text[name]) {
                Ok(()) => Ok(stack.keep()),
                Err(_) => Err(ScriptError::Define(b"not enough memory".to_vec())),
            }
        });
        if let Some(message) = stopped {
            return Err(ScriptError::Define(message));
        }
        let script = Script { sha: *sha, function: function?, flushes: self.flushes };
        self.scripts.insert(*sha, script);
        Ok(script)
    }

    /// Runs a compiled script, and appends its reply to `out`. After an error `out` is as before; the error
    /// knows how to write itself.
    pub fn run(
        &mut self,
        script: &Script,
        keys: &[&[u8]],
        argv: &[&[u8]],
        host: &mut dyn Host,
        out: &mut Out,
    ) -> Result<(), ScriptError> {
        if script.flushes != self.flushes {
            return Err(ScriptError::NoScript);
        }
        let function = script.function;
        let known = self.known;
        // The same numbers at every run, so that a script does the same wherever it is replayed.
        self.state.shared().prng.set(Prng::seeded(0));
        let hooked = host.wants_ticks();
        let start = out.len();
        let (result, stopped) = self.state.run(host, hooked, |stack| {
            let outcome = execute(stack, &known, function, keys, argv, out);
            outcome.map_err(|failure| (message_of(stack, &failure), matches!(failure, Unfit::Memory)))
        });
        self.clean_up(matches!(result, Err((_, true))));
        let message = match (stopped, result) {
            (None, Ok(())) => return Ok(()),
            (Some(message), _) | (None, Err((message, _))) => message,
        };
        out.truncate(start);
        Err(ScriptError::Run { sha: script.sha, message })
    }

    fn clean_up(&mut self, short_of_memory: bool) {
        let shared = self.state.shared();
        if shared.reply.borrow().capacity() > KEEP_BYTES_MAX {
            shared.reply.take();
        }
        if shared.scratch.borrow().capacity() > KEEP_BYTES_MAX {
            shared.scratch.take();
        }
        if shared.collector_changed.replace(false) {
            self.state.reset_collector();
        }
        if short_of_memory {
            self.state.collect_all();
        }
        if self.used_memory() >= self.collect_at {
            self.state.collect_step(STEP_KIB);
            self.collect_at = self.used_memory() + GARBAGE_BYTES_MAX;
        }
    }
}

fn prepare(state: &mut State) -> Result<Known, Raise> {
    sandbox::restrict(state)?;
    state.with_stack(|stack| {
        redis::open(stack)?;
        libs::open(stack)?;
        let handler = sandbox::protect(stack)?;
        stack.know(handler)
    })
}

fn execute(
    stack: &mut Stack<'_>,
    known: &Known,
    function: Reference,
    keys: &[&[u8]],
    argv: &[&[u8]],
    out: &mut Out,
) -> Result<(), Unfit> {
    stack.enter(known, function, keys, argv)?;
    stack.call(0, 1, Some(1)).map_err(|failure| match failure {
        Failure::Memory => Unfit::Memory,
        Failure::Error => Unfit::Raised(failure),
    })?;
    result::write(stack, out)
}

fn message_of(stack: &mut Stack<'_>, failure: &Unfit) -> Vec<u8> {
    match failure {
        Unfit::Raised(Failure::Error) => message(stack),
        Unfit::Raised(Failure::Memory) | Unfit::Memory => b"not enough memory".to_vec(),
        Unfit::TooLarge => b"the reply of the script is too large".to_vec(),
    }
}

/// The error value on top as text: a C string in the original, so it ends at a zero byte.
fn message(stack: &mut Stack<'_>) -> Vec<u8> {
    let top = stack.top();
    let text = stack.text(top).unwrap_or(b"(null)");
    text.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

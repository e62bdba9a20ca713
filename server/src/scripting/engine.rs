//! A thread's scripting engine: the Lua state, with what makes running a script that it has met before cheap.

use super::Scripts;
use crate::dispatch::recent::Recent;
use engine::evict::Evictor;
use foldhash::fast::RandomState;
use lua::{Script, ScriptError, Sha, Vm};
use resp::Arg;
use std::collections::HashMap;
use std::sync::Arc;

/// What EVAL and EVALSHA name a script by.
#[derive(Clone, Copy)]
pub enum Named<'a> {
    /// Its text.
    Source(&'a [u8]),
    /// Its SHA-1.
    Sha(Sha),
}

/// One for each thread, made when it is first needed.
pub struct Engine {
    /// The Lua state.
    pub vm: Vm,
    /// What one command of a script leaves for the next.
    pub scratch: Scratch,
    /// Whom to drop when memory is full in the middle of a script.
    pub evictor: Evictor,
    /// Scripts by their text, so that EVAL need not compute the SHA-1 again.
    by_source: HashMap<Arc<[u8]>, Script, RandomState>,
    /// SCRIPT FLUSH seen so far.
    flushes: u64,
}

/// The row of a command and its arguments, in the form in which handlers read them. Kept for the next command.
#[derive(Default)]
pub struct Scratch {
    /// The row of the last command.
    pub recent: Recent,
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Each argument's place.
    pub args: Vec<Arg>,
}

/// Bytes of arguments whose memory is kept from one command to the next.
const KEEP_BYTES: usize = 64 * 1024;

impl Engine {
    /// A fresh one.
    pub fn new(scripts: &Scripts) -> Engine {
        Engine {
            vm: Vm::new(lua::Options::default()),
            scratch: Scratch::default(),
            evictor: Evictor::new(crate::start::random_seed()),
            by_source: HashMap::default(),
            flushes: scripts.flushes(),
        }
    }

    /// The script, compiled; one sent with its text is then known to all threads.
    #[inline]
    pub fn script(&mut self, scripts: &Scripts, named: Named<'_>) -> Result<Script, ScriptError> {
        let flushes = scripts.flushes();
        if flushes != self.flushes {
            self.flush(flushes);
        }
        let met = match named {
            Named::Source(source) => self.by_source.get(source).copied(),
            Named::Sha(sha) => self.vm.find(&sha),
        };
        match met {
            Some(script) => Ok(script),
            None => self.meet(scripts, named),
        }
    }

    #[cold]
    fn flush(&mut self, flushes: u64) {
        self.by_source.clear();
        self.vm.flush();
        self.flushes = flushes;
    }

    #[cold]
    fn meet(&mut self, scripts: &Scripts, named: Named<'_>) -> Result<Script, ScriptError> {
        let (sha, source) = match named {
            Named::Source(source) => (Sha::of(source), source.into()),
            Named::Sha(sha) => (sha, scripts.source(&sha).ok_or(ScriptError::NoScript)?),
        };
        let script = self.vm.compile(&sha, &source)?;
        if matches!(named, Named::Source(_)) {
            scripts.add(sha, source.clone());
        }
        self.by_source.insert(source, script);
        Ok(script)
    }

    /// The text of a script that this engine has run, also when it was flushed meanwhile.
    pub fn source(&self, script: &Script) -> Option<Arc<[u8]>> {
        self.by_source.iter().find(|(_, met)| met.sha() == script.sha()).map(|(source, _)| source.clone())
    }
}

impl Scratch {
    /// Lays `args` out.
    #[inline]
    pub fn fill(&mut self, args: &[&[u8]]) {
        self.bytes.clear();
        self.args.clear();
        for arg in args {
            self.args.push(Arg { start: self.bytes.len() as u32, len: arg.len() as u32 });
            self.bytes.extend_from_slice(arg);
        }
    }

    /// Gives memory back that one large command took.
    #[inline]
    pub fn shrink(&mut self) {
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
            self.args = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_to_all_threads_until_it_is_flushed() {
        let scripts = Scripts::new(2);
        let (mut one, mut other) = (Engine::new(&scripts), Engine::new(&scripts));
        let sha = Sha::of(b"return 1");
        assert!(matches!(other.script(&scripts, Named::Sha(sha)), Err(ScriptError::NoScript)));
        assert!(one.script(&scripts, Named::Source(b"return 1")).is_ok());
        assert!(one.script(&scripts, Named::Source(b"return 1")).is_ok());
        let script = other.script(&scripts, Named::Sha(sha)).unwrap();
        assert_eq!(&*other.source(&script).unwrap(), b"return 1");
        scripts.flush();
        for engine in [&mut one, &mut other] {
            assert!(matches!(engine.script(&scripts, Named::Sha(sha)), Err(ScriptError::NoScript)));
        }
        assert!(one.script(&scripts, Named::Source(b"return 1")).is_ok());
        assert!(scripts.knows(&sha));
    }

    #[test]
    fn arguments_are_laid_out_in_order() {
        let mut scratch = Scratch::default();
        scratch.fill(&[b"set", b"", b"value"]);
        let args = commands::args::Args::new(&scratch.bytes, &scratch.args);
        assert_eq!(args.to_vec(), [&b"set"[..], b"", b"value"]);
    }
}

//! EVAL's scripting engine, as Redis 3.2 has it: Lua 5.1 in a sandbox, with the table `redis` and the libraries
//! `bit`, `cjson`, `cmsgpack` and `struct`.
//!
//! A [`Vm`] compiles scripts and runs them against a [`Host`], the server's side, and turns what they return into
//! RESP. The crate knows of no keys, sockets, threads or clocks, and of no command: all of that is the host's.
//!
//! Invariants:
//! 1. A script that is given the same keys, arguments and replies does the same on every machine: `math.random`
//!    starts at every run from the same seed.
//! 2. No script ends the process, holds more memory than [`Options`] allow, or carries out a command after
//!    [`Tick::Kill`]; it then ends at its next instruction, or if coroutines wait for each other, soon after. (But one
//!    call of Lua's own C library, such as a search with a hard pattern, can take long, and is not interrupted.)
//! 3. What one script does to settings of the Lua state (globals table, collector, hooks) ends with it. What it does to
//!    library tables stays, as in Redis, until [`Vm::flush`].
//! 4. All `unsafe` is in `ffi`.

#![deny(unsafe_code)]

mod arguments;
mod error;
#[allow(unsafe_code)]
mod ffi;
mod host;
mod libs;
mod number;
mod prng;
mod redis;
mod reply;
mod result;
mod sandbox;
mod sha;
mod vm;

pub use error::ScriptError;
pub use host::{Host, Outcome, Replication, Tick};
pub use sha::Sha;
pub use vm::{Options, Script, Vm};

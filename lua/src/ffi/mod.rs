//! The wall between the C library and the rest of the crate: all `unsafe` of the crate is in here.
//!
//! Lua reports errors with `longjmp`. A jump over a Rust frame that still owns something is undefined behaviour (in
//! practice a leak), so this module makes sure that no C call made on behalf of safe code can jump:
//!
//! 1. **Memory.** [`Memory`] refuses memory only while C code alone is running (`strict`). Under a Rust frame an
//!    allocation beyond the limit succeeds, and the error is raised when the Rust frame has returned. Memory that the
//!    system refuses under a Rust frame aborts, as everywhere in Rust.
//! 2. **Script code.** Whatever may run script code (metamethods, calls) goes through `lua_pcall`. Finalizers cannot
//!    exist: no userdata with a metatable can be made, since `newproxy` is removed.
//! 3. **Misuse.** [`Stack`] checks kinds, keys and room itself before it calls C functions that would raise or write
//!    out of bounds.
//!
//! Native functions return `Result<u32, Raise>`; the trampoline drops everything and raises only then. A panic in one
//! is caught, carried past the C frames, and resumed by [`State::run`].

mod block;
mod callback;
mod calls;
mod entry;
mod hook;
mod memory;
mod shared;
mod stack;
mod state;
mod tables;

pub(crate) use block::BLOCK;
pub(crate) use callback::{Function, native, native_before};
pub(crate) use calls::Failure;
pub(crate) use entry::Known;
pub(crate) use shared::Original;
pub(crate) use stack::{Kind, Raise, Stack};
pub(crate) use state::State;
pub(crate) use tables::Reference;

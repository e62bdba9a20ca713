//! Keyspaces over a wire: who sends what to whom, and when. Decisions only; the server owns sockets, files and threads.
//!
//! ```text
//!   primary                                     replica
//!   psync   full or partial?  <--- PSYNC ---    link      connect, handshake, transfer, stream, again
//!   feed    snapshot, then log  --- RDB ---->   transfer  where the image ends in the bytes that arrive
//!   history whose offsets mean what  --- log -> stream    what is applied, and when to say so
//! ```
//! Every state machine here is a value: an event and a time go in, actions come out. It reads no clock, opens nothing
//! and waits for nothing, so tests run both ends in one thread over a network that they cut where they like.
//!
//! Offsets are those of the engine's oplog: bytes of the stream before a place. On the wire Redis counts the next byte
//! from 1, so PSYNC asks for one more than the offset reached.

#![forbid(unsafe_code)]

pub mod feed;
pub mod filed;
pub mod history;
pub mod link;
pub mod prologue;
pub mod psync;
pub mod stream;
pub mod transfer;
pub mod translate;
pub mod unit;

#[cfg(test)]
mod scenarios;

/// Tests allocate as the server does: see the same line in `engine`.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: engine::raw::alloc::Jemalloc = engine::raw::alloc::Jemalloc;

//! Values, keyspaces, locks, time and the oplog: what a server stores and how threads may touch it.
//!
//! It knows nothing of commands, sockets, files or replicas. A command handler sees a [`keyspace::Keyspace`]; whoever
//! stores or sends effects reads the oplog.

#![deny(unsafe_code)]

pub mod clock;
pub mod effects;
pub mod encoding;
pub mod evict;
pub mod hash;
pub mod interest;
pub mod keyspace;
pub mod oplog;
pub mod random;
#[allow(unsafe_code)]
pub mod raw;
pub mod records;
pub mod slot;
pub mod snapshot;
pub mod value;

/// Tests allocate as the server does: jemalloc is linked in either way, and its plain `malloc` aligns small blocks to 8
/// bytes only, which the standard library does not expect.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: raw::alloc::Jemalloc = raw::alloc::Jemalloc;

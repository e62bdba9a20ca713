//! What a client can do to keys: one file a type, each ending in its rows of the command table.
//!
//! Knows [`ctx::Ctx`] and nothing else of the server: no socket, no thread, no file, no replica.

#![forbid(unsafe_code)]

pub mod args;
pub mod bits;
pub mod blocking;
pub mod ctx;
pub mod digest;
pub mod error;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod keyspace;
pub mod list;
#[cfg(test)]
mod marks;
pub mod newer;
pub mod reply;
pub mod scan;
pub mod set;
pub mod settings;
pub mod slot;
pub mod sort;
pub mod string;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod zset;

use table::Command;

/// The tables of all files.
pub fn tables() -> impl Iterator<Item = Command> {
    let all = [
        string::TABLE,
        bits::TABLE,
        generic::TABLE,
        keyspace::TABLE,
        list::TABLE,
        hash::TABLE,
        set::TABLE,
        zset::TABLE,
        zset::range::TABLE,
        zset::store::TABLE,
        geo::TABLE,
        hyperloglog::TABLE,
        sort::TABLE,
        slot::TABLE,
    ];
    all.into_iter().flatten().copied()
}

/// Tests allocate as the server does: see the same line in `engine`.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: engine::raw::alloc::Jemalloc = engine::raw::alloc::Jemalloc;

//! All of the engine's unsafe code, behind safe interfaces: one idea a file.

pub mod alloc;
pub mod collate;
pub mod crash;
pub mod dbslot;
pub mod either;
pub mod entry;
pub mod lock;
pub mod log_segment;
pub mod pair;
pub mod prefetch;
pub mod schedule;
pub mod spare;
pub mod spin;
pub(crate) mod sync;
pub mod table;
mod tags;
pub mod thin;
pub mod ticks;
pub mod zitem;
pub mod ztable;
mod ztree;

//! All of the engine's unsafe code, behind safe interfaces: one idea a file.

pub mod alloc;
pub mod dbslot;
pub mod collate;
pub mod either;
pub mod entry;
pub mod lock;
pub mod log_segment;
pub mod pair;
pub mod prefetch;
pub mod spin;
pub(crate) mod sync;
pub mod table;
pub mod thin;
pub mod zitem;
pub mod ztable;
mod ztree;
pub mod ticks;

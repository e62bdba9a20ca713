//! All of the engine's unsafe code, behind safe interfaces: one idea a file.

pub mod either;
pub mod pair;
pub mod prefetch;
pub mod table;
pub mod thin;

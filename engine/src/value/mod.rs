//! What keys hold: each type's operations, whatever its encoding.

pub mod hash;
pub mod list;
pub mod set;
pub mod setops;
pub mod zset;

pub use hash::Hash;
pub use list::List;
pub use set::Set;
pub use zset::ZSet;

//! What keys hold: each type's operations, whatever its encoding.

pub mod hash;
pub mod set;

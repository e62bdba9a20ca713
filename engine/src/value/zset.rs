//! ZSets.

use crate::encoding::compact::Compact;

/// A sorted set.
#[derive(Default)]
pub struct ZSet(Compact);

impl ZSet {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// The name that OBJECT ENCODING replies with.
    pub fn encoding(&self) -> &'static str {
        "ziplist"
    }
    /// Number of elements to free.
    pub fn free_cost(&self) -> usize {
        self.len()
    }
}

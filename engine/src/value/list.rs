//! Lists.

use crate::encoding::compact::Compact;

/// A list.
#[derive(Default)]
pub struct List(Compact);

impl List {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// The name that OBJECT ENCODING replies with.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }
    /// Number of elements to free.
    pub fn free_cost(&self) -> usize {
        self.len()
    }
}

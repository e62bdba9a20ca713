//! The row that was looked up last: most requests name the command of the one before, and so do most calls of a script.

use crate::node::Run;
use commands::table::{Command, Registry};

/// One row with the name that it was asked for by.
#[derive(Default)]
pub struct Recent {
    name: [u8; Recent::NAME_MAX],
    len: usize,
    row: Option<&'static Command<Run>>,
}

impl Recent {
    /// Names that are longer are always looked up.
    const NAME_MAX: usize = 16;

    /// The row of `name`, if there is one.
    #[inline]
    pub fn row(&mut self, registry: &'static Registry<Run>, name: &[u8]) -> Option<&'static Command<Run>> {
        if self.row.is_some() && self.name.get(..self.len) == Some(name) {
            return self.row;
        }
        let row = registry.get(name);
        if let Some(to) = self.name.get_mut(..name.len()) {
            to.copy_from_slice(name);
            (self.len, self.row) = (name.len(), row);
        }
        row
    }
}

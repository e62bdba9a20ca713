//! Rows that were looked up last: most requests name a command of the ones before, and so do most calls of a script.

use crate::node::Run;
use commands::table::{Command, Registry};

/// Rows by the first letters and the lengths of their names.
#[derive(Default)]
pub struct Recent([Named; Recent::ROWS]);

/// One row with the name that it was asked for by.
#[derive(Default)]
struct Named {
    name: [u8; Recent::NAME_MAX],
    len: usize,
    row: Option<&'static Command<Run>>,
}

impl Recent {
    /// Names that are longer are always looked up.
    const NAME_MAX: usize = 16;
    /// A power of two; a letter has the same place in either case.
    const ROWS: usize = 32;
    /// Of MULTI, EXEC, SET, PEXPIREAT and what else comes together each has a place of its own.
    const LENGTH: usize = 5;

    /// The row of `name`, if there is one.
    #[inline]
    pub fn row(&mut self, registry: &'static Registry<Run>, name: &[u8]) -> Option<&'static Command<Run>> {
        let first = name.first().copied().unwrap_or_default();
        let named = &mut self.0[(usize::from(first) + name.len() * Recent::LENGTH) % Recent::ROWS];
        if named.row.is_some() && named.name.get(..named.len) == Some(name) {
            return named.row;
        }
        let row = registry.get(name);
        if let Some(to) = named.name.get_mut(..name.len()) {
            to.copy_from_slice(name);
            (named.len, named.row) = (name.len(), row);
        }
        row
    }
}

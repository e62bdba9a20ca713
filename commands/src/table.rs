//! Rows of the command table, and the look-up over all of them.
//!
//! A row stands beside its handler and says all that dispatch, COMMAND and the proxy need: name, arity, flags, where
//! the keys are, and which slots must be held.

use crate::ctx::Ctx;
use crate::error::Outcome;
use resp::{CommandSpec, Flags, KeySpec};
use std::collections::HashMap;

/// Runs one command.
pub type Handler = fn(&mut Ctx<'_, '_>) -> Outcome;

/// Which slots a command holds while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Nothing,
    /// Those of its keys.
    Keys,
    /// That of one argument, which COMMAND does not show as a key.
    Argument(u8),
    /// Those of arguments, which COMMAND does not show as keys.
    Every {
        /// The first.
        first: u8,
        /// From one to the next.
        step: u8,
    },
    /// That of argument 1, and whatever the command in argument 2 and on needs.
    Wrapped,
    /// Any, taken when first touched (scripts, whatever walks over all keys).
    Touch,
    /// As [`Access::Keys`]; as [`Access::Touch`] with patterns among the arguments (SORT).
    Patterns,
    /// All.
    All,
}

/// A row. `H` is the handler's type: commands on keys here, commands on the node itself in the server.
#[derive(Clone, Copy)]
pub struct Command<H = Handler> {
    /// Name, arity, flags, keys.
    pub spec: CommandSpec,
    /// The slots it needs.
    pub access: Access,
    /// What it does.
    pub handler: H,
    /// Its place among all rows of a [`Registry`]: an index for per-command counters.
    pub id: u16,
}

/// A row whose slots are those of its keys.
pub const fn command<H: Copy>(name: &'static str, arity: i32, keys: KeySpec, flags: Flags, handler: H) -> Command<H> {
    let access = if keys.first != 0 { Access::Keys } else { Access::Nothing };
    Command { spec: CommandSpec::new(name, arity, flags, keys), access, handler, id: 0 }
}

impl<H: Copy> Command<H> {
    /// The same row with a handler of another type.
    pub fn with_handler<T>(self, handler: T) -> Command<T> {
        Command { spec: self.spec, access: self.access, handler, id: self.id }
    }

    /// The same row with another need of slots.
    pub const fn holding(self, access: Access) -> Command<H> {
        Command { spec: self.spec, access, handler: self.handler, id: self.id }
    }
}

/// Look-up by name, in any case.
pub struct Registry<H> {
    by_name: HashMap<Box<[u8]>, Command<H>, foldhash::fast::FixedState>,
}

impl<H: Copy> Registry<H> {
    /// All rows of `tables`; a name that stands twice is a bug of ours.
    pub fn new(tables: impl IntoIterator<Item = Command<H>>) -> Self {
        let mut by_name = HashMap::default();
        for (id, row) in tables.into_iter().enumerate() {
            let row = Command { id: id as u16, ..row };
            let twice = by_name.insert(row.spec.name.as_bytes().into(), row);
            assert!(twice.is_none(), "the command {} has two rows", row.spec.name);
        }
        Registry { by_name }
    }

    /// The row of `name`.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&Command<H>> {
        /// Longer than any name.
        const NAME_MAX: usize = 32;
        if name.len() > NAME_MAX {
            return None;
        }
        let mut lower = [0; NAME_MAX];
        for (to, from) in lower.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
        }
        self.by_name.get(&lower[..name.len()])
    }

    /// Adds a row under another name than its own.
    pub fn insert(&mut self, name: &[u8], row: Command<H>) {
        self.by_name.insert(name.to_ascii_lowercase().into(), row);
    }

    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Command<H>> {
        self.by_name.values()
    }

    /// One more than the highest id.
    pub fn ids(&self) -> usize {
        self.by_name.values().map(|row| usize::from(row.id) + 1).max().unwrap_or(0)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

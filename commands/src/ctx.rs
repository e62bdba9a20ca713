//! What a handler may touch: its arguments, the keys whose slots are held, the reply, the client's session.
//!
//! A handler sees no socket, thread, lock or replica, and cannot tell whether it runs for a client, in a transaction,
//! in a script or for a primary.

use crate::args::Args;
use crate::error::Error;
use crate::settings::Settings;
use engine::keyspace::{Key, Keyspace};
use resp::Out;
use resp::errors;

/// What a connection keeps from one command to the next, as far as commands on keys know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// The selected database.
    pub db: u32,
}

/// The surroundings of one command.
pub struct Ctx<'c, 'h> {
    /// The arguments.
    pub args: Args<'c>,
    /// The reply.
    pub out: &'c mut Out,
    /// The keys.
    pub keys: Keyspace<'c, 'h>,
    /// The client's session.
    pub session: &'c mut Session,
    /// The settings in force.
    pub settings: &'c Settings,
    /// The key at argument 1, if it was computed already.
    pub first: Option<Key<'c>>,
    /// Whether a script calls (some replies are ordered then).
    pub in_script: bool,
}

impl<'c> Ctx<'c, '_> {
    /// The key at argument `i`.
    #[inline]
    pub fn key(&self, i: usize) -> Key<'c> {
        match self.first {
            Some(key) if i == 1 => key,
            _ => Key::new(self.args.at(i)),
        }
    }

    /// The keys at arguments `from`, `from + step` and so on before `to`.
    pub fn keys_at(&self, from: usize, to: usize, step: usize) -> Vec<Key<'c>> {
        (from..to).step_by(step).map(|i| self.key(i)).collect()
    }

    /// Argument `i` as an integer.
    pub fn int(&self, i: usize) -> Result<i64, Error> {
        resp::parse_i64(self.args.at(i)).ok_or(Error::Text(errors::NOT_AN_INTEGER))
    }

    /// Argument `i` as a double.
    pub fn float(&self, i: usize) -> Result<f64, Error> {
        resp::parse_f64(self.args.at(i)).ok_or(Error::Text(errors::NOT_A_FLOAT))
    }
}

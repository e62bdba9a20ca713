//! What can go wrong while measuring. Every variant ends the run; the text says what to look at.

use std::io;

/// Why a benchmark stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// A file, socket or process of ours failed.
    #[error("{what}: {source}")]
    Io {
        /// The step that failed.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A server did not come up.
    #[error("{server} did not start: {why}")]
    Start {
        /// Its name in the tables.
        server: String,
        /// The end of its log, or what happened to it.
        why: String,
    },
    /// A server answered something else than the test needs: figures would be worthless.
    #[error("unexpected reply: {0}")]
    Reply(String),
    /// A server stopped answering.
    #[error("no reply for {0} seconds")]
    Stalled(u64),
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Says which step an I/O error belongs to.
pub trait Context<T> {
    /// Names the step.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

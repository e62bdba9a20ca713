//! Why a command failed: the text that its client reads.

use engine::keyspace::WrongType;

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// One of the fixed texts of [`resp::errors`].
    Text(&'static str),
    /// A text made for the occasion, with its `ERR` in front.
    Owned(Vec<u8>),
}

/// What a handler returns. After an error the dispatcher drops what was replied so far and sends the text.
pub type Outcome = Result<(), Error>;

impl Error {
    /// The whole line.
    pub fn text(&self) -> &[u8] {
        match self {
            Error::Text(text) => text.as_bytes(),
            Error::Owned(text) => text,
        }
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Error {
        Error::Text(resp::errors::WRONG_TYPE)
    }
}

impl From<String> for Error {
    fn from(text: String) -> Error {
        Error::Owned(text.into_bytes())
    }
}

impl From<&'static str> for Error {
    fn from(text: &'static str) -> Error {
        Error::Text(text)
    }
}

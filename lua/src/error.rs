//! Why a script gave no reply.

use resp::Out;
use thiserror::Error;

use crate::sha::Sha;

/// The reaction is the same for all: send [`ScriptError::write_reply`] to the client.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScriptError {
    /// No script of this name has been compiled: the client should send EVAL.
    #[error("no matching script")]
    NoScript,
    /// The source is no Lua. The text is the compiler's.
    #[error("error compiling script: {}", String::from_utf8_lossy(.0))]
    Compile(Vec<u8>),
    /// The source is Lua, but defining the script failed, as it closes its own function and goes on.
    #[error("error defining script: {}", String::from_utf8_lossy(.0))]
    Define(Vec<u8>),
    /// The script ended with an error.
    #[error("error running script {sha}: {}", String::from_utf8_lossy(.message))]
    Run {
        /// The script.
        sha: Sha,
        /// Lua's message, with the place in the script.
        message: Vec<u8>,
    },
}

impl ScriptError {
    /// Appends the error as a RESP error reply, word for word as Redis 3.2 has it (the blank at the end included: the
    /// original replaces line ends by blanks, and its messages end with one).
    pub fn write_reply(&self, out: &mut Out) {
        let mut text = Vec::new();
        let message = match self {
            ScriptError::NoScript => return out.error("NOSCRIPT No matching script. Please use EVAL."),
            ScriptError::Compile(message) => {
                text.extend_from_slice(b"ERR Error compiling script (new function): ");
                message
            }
            ScriptError::Define(message) => {
                text.extend_from_slice(b"ERR Error running script (new function): ");
                message
            }
            ScriptError::Run { sha, message } => {
                text.extend_from_slice(b"ERR Error running script (call to f_");
                text.extend_from_slice(sha.as_bytes());
                text.extend_from_slice(b"): ");
                message
            }
        };
        text.extend_from_slice(message);
        text.push(b' ');
        out.error_line(&text);
    }
}

/// Replaces what would end a line of RESP.
pub(crate) fn blank_line_ends(text: &mut [u8]) {
    for byte in text.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')) {
        *byte = b' ';
    }
}

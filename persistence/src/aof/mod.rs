//! The append only file: every change as a command, in the form in which clients send them.
//!
//! ```text
//! file    = snapshot? command*
//! command = "*" arguments CRLF ("$" bytes CRLF argument CRLF)*        MULTI .. EXEC: all or none of these
//!         | "#" anything LF                                           a note of Redis 7
//! ```
//! The snapshot in front is an RDB data set, as `aof-use-rdb-preamble` of later versions writes it.
//!
//! * [`read`]: what a file holds, and up to where it is whole. [`rewrite`]: the commands that make an entry anew.

pub mod image;
pub mod read;
pub mod rewrite;
#[cfg(test)]
mod tests;

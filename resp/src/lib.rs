//! The words that clients and servers exchange: bytes to requests, replies to bytes.
//!
//! Protocol version 2 of Redis (RESP), its number texts, its pattern language, its standard error texts, and the *shape*
//! of a command table row. It knows no command, no key space and no socket; everything is a function of its arguments,
//! no clock is read, nothing blocks.
//!
//! * `parse.rs`, `inline.rs`: requests, incrementally, as ranges into the reader's buffer.
//! * `out.rs`: building replies. `reply.rs`: reading them (clients, tests, replication).
//! * `number.rs`, `float.rs`, `long_double.rs`: numbers as text, exactly as C prints and reads them.
//! * `glob.rs`: patterns of KEYS, SCAN, PSUBSCRIBE, CONFIG GET.
//! * `spec.rs`, `keys.rs`: a command's name, arity, flags, and where its keys are.
//! * `errors.rs`: the error texts that clients match on.
#![forbid(unsafe_code)]

pub mod errors;
mod float;
mod glob;
mod inline;
mod keys;
mod long_double;
mod number;
mod out;
mod parse;
mod reply;
mod spec;

pub use float::{Strtod, format_f64_17g, format_f64_score, parse_f64, strtod};
pub use glob::glob_match;
pub use inline::split_args;
pub use keys::{ArgList, KeyPositions, key_positions};
pub use long_double::LongDouble;
pub use number::{atoi, digits10, format_i64, format_u64, parse_cursor, parse_i64, parse_u64};
pub use out::{Deferred, Out};
pub use parse::{Arg, BULK_BYTES_MAX, INLINE_BYTES_MAX, MULTIBULK_MAX, Parser, Progress, ProtocolError};
pub use reply::{DecodeError, Reply, Scanner};
pub use spec::{CommandSpec, Flags, GetKeys, KeySpec};

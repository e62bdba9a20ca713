//! Moving keys between servers chunk by chunk: both ends of the dialogue as values, without a socket or a clock.
//!
//! ```text
//! source                                     target
//!   SLOTSRESTORE-ASYNC-AUTH password           ACK 0 "OK"          once a link, if the source has a password
//!   SLOTSRESTORE-ASYNC-SELECT db               ACK 0 "OK"          once a link
//!   SLOTSRESTORE-ASYNC delete key              ACK 0 "0" | "1"     then, for each key, either
//!   SLOTSRESTORE-ASYNC string|object key ..    ACK 0 "1"           all of it at once, or
//!   SLOTSRESTORE-ASYNC list|hash|dict|zset ..  ACK 0 size          a chunk, again and again,
//!   SLOTSRESTORE-ASYNC expire key ttl          ACK 0 "1"           and its end
//! ```
//! Between two servers of ours, which they find out by the text of the answer to SELECT (`abilities.rs`):
//! ```text
//!   SLOTSRESTORE-ASYNC many key ttl value ..   ACK 0 count         small keys of one slot, replacing what is there
//!   SLOTSRESTORE-ASYNC part key ttl size text  ACK 0 size          a long string, part by part, then `expire`
//!   SLOTSRESTORE-ASYNC sync key                ACK 0 "1"           all before is durable
//! ```
//! * `export.rs`: the source: what to send next, when a batch is whole, what becomes of it when something breaks.
//! * `message.rs`: the target: what a message says, or the text of its refusal.
//! * `abilities.rs`: what more than the original a target understands.
//! * `wire.rs`: the messages as bytes.
//!
//! The source removes a key only after every message of its batch is acknowledged and the key is still as it was sent.

pub mod abilities;
pub mod export;
pub mod message;
pub mod rate;
#[cfg(test)]
mod simulation;
pub mod wire;

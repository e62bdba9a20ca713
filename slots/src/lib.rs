//! Slots: which of the 1024 slots a key belongs to, and sets of slots.
//!
//! A key's slot is `crc32(tag) % 1024`, where the tag is the text between the first `{` and the first `}` after it, or
//! the whole key when there is no such pair (the rule of Codis, which differs from Redis Cluster in that an empty tag
//! `{}` counts). Everything here is arithmetic: it knows no key space, no owner of a slot, and does no I/O.
//!
//! * `id.rs`: [`SlotId`], hash tags, [`slot_of`].
//! * `set.rs`: [`SlotSet`], a bitmap of all slots.
//! * `crc.rs`: CRC-32 for keys.
//! * `migration/`: both ends of moving keys between servers, as state machines.
#![forbid(unsafe_code)]

mod crc;
mod id;
pub mod migration;
mod set;

pub use crc::crc32;
pub use id::{SLOTS, SlotId, hash_tag, slot_and_tag, slot_of, tag_crc, tag_of};
pub use set::{Iter, SlotSet};

//! The RDB format: one value, and whole data sets.
//!
//! ```text
//! file  = "REDIS" version 4 digits | aux* | db* | 0xff | checksum 8, little-endian
//! db    = 0xfe number | 0xfb keys expiring | key*
//! key   = expiry? | type 1 | key string | value
//! len   = 00nnnnnn | 01nnnnnn n | 10000000 n n n n, big-endian         11tttttt is a special string
//! ```
//! Source: `rdb.c`, `ziplist.c`, `quicklist.c` of 3.2 for what is written; the later versions for what is read besides.

pub mod encode;
pub mod ziplist;

/// The version that is written.
pub const VERSION: u32 = 7;

/// The byte before a value that says what it is.
pub mod kind {
    /// A string.
    pub const STRING: u8 = 0;
    /// A list, element by element.
    pub const LIST: u8 = 1;
    /// A set, member by member.
    pub const SET: u8 = 2;
    /// A sorted set with its scores as text.
    pub const ZSET: u8 = 3;
    /// A hash, pair by pair.
    pub const HASH: u8 = 4;
    /// A list as one ziplist.
    pub const LIST_ZIPLIST: u8 = 10;
    /// A set as an intset.
    pub const SET_INTSET: u8 = 11;
    /// A sorted set as one ziplist.
    pub const ZSET_ZIPLIST: u8 = 12;
    /// A hash as one ziplist.
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list as several ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
}

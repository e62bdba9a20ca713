//! The RDB format: one value, and whole data sets.
//!
//! ```text
//! file  = "REDIS" version 4 digits | aux* | db* | 0xff | checksum 8, little-endian
//! db    = 0xfe number | 0xfb keys expiring | key*
//! key   = expiry? | type 1 | key string | value
//! len   = 00nnnnnn | 01nnnnnn n | 10000000 n n n n, big-endian         11tttttt is a special string
//! ```
//! Source: `rdb.c`, `ziplist.c`, `quicklist.c` of 3.2 for what is written; the later versions for what is read besides.

pub mod decode;
pub mod dump;
pub mod encode;
pub mod file;
pub mod packed;
pub mod source;
#[cfg(test)]
mod tests;
pub mod ziplist;

/// The version that is written.
pub const VERSION: u32 = 7;
/// The latest version that is read: that of Redis 7.2.
pub const VERSION_READ_MAX: u32 = 11;

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The bytes end too early.
    #[error("short read: the data ends in the middle")]
    Truncated,
    /// The bytes contradict the format or themselves.
    #[error("corrupt before offset {at}: {what}")]
    Corrupt {
        /// Bytes read until then.
        at: u64,
        /// What it should have been.
        what: &'static str,
    },
    /// A newer version's, of which no type is known.
    #[error("can't handle RDB format version {0}")]
    Version(u32),
    /// Something that this server has no place for.
    #[error("the data contain {what}, which this server does not have")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// Whoever reads wanted no more.
    #[error("{0}")]
    Refused(String),
}

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

    /// A sorted set with its scores in eight bytes; only read.
    pub const ZSET_2: u8 = 5;
    /// A hash as a zipmap; only read.
    pub const HASH_ZIPMAP: u8 = 9;
    /// A hash as one listpack; only read.
    pub const HASH_LISTPACK: u8 = 16;
    /// A sorted set as one listpack; only read.
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list as several listpacks and single elements; only read.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// A set as one listpack; only read.
    pub const SET_LISTPACK: u8 = 20;
}

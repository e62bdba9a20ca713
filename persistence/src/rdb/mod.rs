//! The RDB format: one value, and whole data sets.
//!
//! ```text
//! file  = "REDIS" version 4 digits | aux* | db* | 0xff | checksum 8, little-endian
//! db    = 0xfe number | 0xfb keys expiring | key*
//! key   = expiry? | type 1 | key string | value
//! len   = 00nnnnnn | 01nnnnnn n | 10000000 n n n n, big-endian         11tttttt is a special string
//! ```
//! Source: `rdb.c`, `ziplist.c`, `quicklist.c` of 3.2 for what is written; the later versions for what is read besides.

use std::fmt;

pub mod decode;
pub mod dump;
pub mod encode;
pub mod file;
pub mod image;
pub mod load;
pub mod packed;
pub mod restoring;
pub mod source;
pub mod stepwise;
#[cfg(test)]
mod tests;
pub mod ziplist;

/// The version that is written.
pub const VERSION: u32 = 7;
/// The latest version that is read: that of Redis 7.2.
pub const VERSION_READ_MAX: u32 = 11;

/// What is not a key: the bytes that stand where a type would.
mod opcode {
    pub const MODULE_AUX: u8 = 0xf7;
    pub const FUNCTION_BEFORE_RELEASE: u8 = 0xf6;
    pub const FUNCTION: u8 = 0xf5;
    pub const IDLE: u8 = 0xf8;
    pub const FREQ: u8 = 0xf9;
    pub const AUX: u8 = 0xfa;
    pub const RESIZE_DB: u8 = 0xfb;
    pub const EXPIRE_MS: u8 = 0xfc;
    pub const EXPIRE_SECONDS: u8 = 0xfd;
    pub const SELECT_DB: u8 = 0xfe;
    pub const END: u8 = 0xff;
}

/// What a file begins with.
const MAGIC: &[u8; 5] = b"REDIS";

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The bytes end too early.
    #[error("unexpected end: the data ends in the middle")]
    Truncated,
    /// The bytes contradict the format or themselves; what they are not.
    #[error("corrupt: {0}")]
    Corrupt(&'static str),
    /// The first bytes are not those of an RDB file.
    #[error("wrong signature: the first bytes are not those of an RDB file")]
    Signature,
    /// The checksum at the end is that of other bytes.
    #[error("the checksum does not fit")]
    Checksum,
    /// No type, and nothing else that may stand there.
    #[error("a value of unknown type {0}")]
    Type(u8),
    /// A newer version's, of which no type is known.
    #[error("can't handle RDB format version {0}")]
    Version(u32),
    /// Something that this server has no place for.
    #[error("the data contain {0}, which this server does not have")]
    Unsupported(&'static str),
    /// A database beyond the number that is configured, which is given here.
    #[error("the data are of a server configured to handle more than {0} databases")]
    Databases(u32),
    /// Whoever reads wanted no more.
    #[error("{0}")]
    Refused(String),
}

/// Why a data set could not be read, and where.
#[derive(Debug)]
pub struct RdbError {
    /// Bytes of the data set that were read by then.
    pub offset: u64,
    /// The key whose value was being read, if one was.
    pub key: Option<Box<[u8]>>,
    /// What is wrong.
    pub what: Error,
}

impl std::error::Error for RdbError {}

impl From<std::io::Error> for RdbError {
    /// Of a file that could not even be opened.
    fn from(error: std::io::Error) -> RdbError {
        RdbError { offset: 0, key: None, what: error.into() }
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)?;
        match &self.key {
            // A key may be long; its beginning tells which it is.
            Some(key) => write!(f, ", in key \"{}\"", key.get(..KEY_SHOWN).unwrap_or(key).escape_ascii()),
            None => Ok(()),
        }
    }
}

/// Bytes of a key that an error's text shows at most.
const KEY_SHOWN: usize = 256;

/// The byte before a value that says what it is.
pub mod kind {
    /// Whether it is a type at all, perhaps one that this server does not have.
    pub fn is_known(kind: u8) -> bool {
        name(kind) != "unknown"
    }

    /// A word for it.
    pub fn name(kind: u8) -> &'static str {
        match kind {
            STRING => "string",
            LIST => "list-linked",
            SET => "set-hashtable",
            ZSET => "zset-v1",
            HASH => "hash-hashtable",
            ZSET_2 => "zset-v2",
            6 | 7 => "module-value",
            HASH_ZIPMAP => "hash-zipmap",
            LIST_ZIPLIST => "list-ziplist",
            SET_INTSET => "set-intset",
            ZSET_ZIPLIST => "zset-ziplist",
            HASH_ZIPLIST => "hash-ziplist",
            LIST_QUICKLIST => "quicklist",
            15 | 19 | 21 => "stream",
            HASH_LISTPACK => "hash-listpack",
            ZSET_LISTPACK => "zset-listpack",
            LIST_QUICKLIST_2 => "quicklist-v2",
            SET_LISTPACK => "set-listpack",
            _ => "unknown",
        }
    }

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

//! Error texts of Redis 3.2 that clients, proxies and test suites match on, without the leading `-` and without the line
//! end: give them to [`crate::Out::error`]. Source: `createSharedObjects` and the checks before a command in the 3.2 server.

/// Operation on a key of another type.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// The key must exist.
pub const NO_SUCH_KEY: &str = "ERR no such key";
/// Options that cannot be understood.
pub const SYNTAX: &str = "ERR syntax error";
/// RENAME and friends from a key to itself; SMOVE-like commands that forbid it.
pub const SAME_OBJECT: &str = "ERR source and destination objects are the same";
/// LSET beyond the ends; MOVE to a database that is not there.
pub const INDEX_OUT_OF_RANGE: &str = "ERR index out of range";
/// Argument is no 64-bit integer.
pub const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
/// Argument is an integer, but too large for its place.
pub const OUT_OF_RANGE: &str = "ERR value is out of range";
/// Argument is no float.
pub const NOT_A_FLOAT: &str = "ERR value is not a valid float";
/// Bounds of ZRANGEBYSCORE and friends.
pub const MIN_MAX_NOT_FLOAT: &str = "ERR min or max is not a float";
/// Bounds of ZRANGEBYLEX and friends.
pub const MIN_MAX_NOT_STRING: &str = "ERR min or max not valid string range item";
/// HINCRBY on a field that is no integer.
pub const HASH_VALUE_NOT_AN_INTEGER: &str = "ERR hash value is not an integer";
/// HINCRBYFLOAT on a field that is no float.
pub const HASH_VALUE_NOT_A_FLOAT: &str = "ERR hash value is not a valid float";
/// INCR, DECR, HINCRBY past the ends of 64 bits.
pub const INCREMENT_OVERFLOW: &str = "ERR increment or decrement would overflow";
/// INCRBYFLOAT to a value that is no number.
pub const INCREMENT_NAN_OR_INFINITY: &str = "ERR increment would produce NaN or Infinity";
/// ZINCRBY, ZADD INCR: infinity minus infinity.
pub const SCORE_NAN: &str = "ERR resulting score is not a number (NaN)";
/// SETRANGE, APPEND over 512 MB.
pub const STRING_TOO_LONG: &str = "ERR string exceeds maximum allowed size (512MB)";
/// SETRANGE with a negative offset, and others.
pub const OFFSET_OUT_OF_RANGE: &str = "ERR offset is out of range";
/// SETBIT, GETBIT.
pub const BIT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
/// SETBIT.
pub const BIT_VALUE: &str = "ERR bit is not an integer or out of range";
/// SELECT, MOVE.
pub const INVALID_DB: &str = "ERR invalid DB index";
/// SCAN family.
pub const INVALID_CURSOR: &str = "ERR invalid cursor";
/// Blocking pops.
pub const TIMEOUT_NOT_AN_INTEGER: &str = "ERR timeout is not an integer or out of range";
/// Blocking pops.
pub const TIMEOUT_NEGATIVE: &str = "ERR timeout is negative";
/// EVALSHA of a script that is not cached.
pub const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
/// The data set is being read.
pub const LOADING: &str = "LOADING Redis is loading the dataset in memory";
/// A script has run longer than lua-time-limit.
pub const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// A replica without its primary that was told not to serve old data.
pub const MASTER_DOWN: &str = "MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'.";
/// stop-writes-on-bgsave-error.
pub const MISCONF: &str = "MISCONF Redis is configured to save RDB snapshots, but is currently not able to persist on disk. Commands that may modify the data set are disabled. Please check Redis logs for details about the error.";
/// The same for the AOF; the system's error text follows.
pub const MISCONF_AOF_PREFIX: &str = "MISCONF Errors writing to the AOF file: ";
/// Write to a read-only replica.
pub const READ_ONLY: &str = "READONLY You can't write against a read only slave.";
/// Not yet authenticated.
pub const NO_AUTH: &str = "NOAUTH Authentication required.";
/// AUTH with a wrong password.
pub const INVALID_PASSWORD: &str = "ERR invalid password";
/// AUTH where none is needed.
pub const NO_PASSWORD_SET: &str = "ERR Client sent AUTH, but no password is set";
/// Over maxmemory with nothing to evict.
pub const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// EXEC after a command that was refused while queueing.
pub const EXEC_ABORT: &str = "EXECABORT Transaction discarded because of previous errors.";
/// To clients that waited on a primary that has become a replica.
pub const UNBLOCKED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> slave?)";
/// min-slaves-to-write.
pub const NO_REPLICAS: &str = "NOREPLICAS Not enough good slaves to write.";
/// RESTORE, MIGRATE onto an existing key.
pub const BUSY_KEY: &str = "BUSYKEY Target key name already exists.";
/// RESTORE of damaged bytes.
pub const BAD_DUMP: &str = "ERR DUMP payload version or checksum are wrong";
/// RESTORE of bytes that do not decode.
pub const BAD_DATA_FORMAT: &str = "ERR Bad data format";
/// RESTORE with a negative time to live.
pub const INVALID_TTL: &str = "ERR Invalid TTL value, must be >= 0";
/// MULTI in MULTI.
pub const NESTED_MULTI: &str = "ERR MULTI calls can not be nested";
/// EXEC outside MULTI.
pub const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
/// DISCARD outside MULTI.
pub const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
/// WATCH in MULTI.
pub const WATCH_IN_MULTI: &str = "ERR WATCH inside MULTI is not allowed";
/// What a client in subscribed state may not do.
pub const SUBSCRIBED_CONTEXT: &str = "ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context";

/// The error for a name that is in no command table.
pub fn unknown_command(name: &[u8]) -> Vec<u8> {
    quoted(b"ERR unknown command '", name, b"'")
}

/// The error for a known command with a wrong number of arguments; `name` in lower case.
pub fn wrong_arity(name: &str) -> Vec<u8> {
    quoted(b"ERR wrong number of arguments for '", name.as_bytes(), b"' command")
}

/// The original prints names as C texts: they end at the first NUL.
fn quoted(before: &[u8], name: &[u8], after: &[u8]) -> Vec<u8> {
    let shown = name.iter().copied().take_while(|&byte| byte != 0);
    before.iter().copied().chain(shown).chain(after.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_nul() {
        assert_eq!(unknown_command(b"fo\0o"), b"ERR unknown command 'fo'");
        assert_eq!(wrong_arity("get"), b"ERR wrong number of arguments for 'get' command");
    }
}

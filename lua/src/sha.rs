//! SHA-1 of a script in hexadecimal: the name by which scripts are known.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha1::{Digest, Sha1};

/// 40 lower-case hexadecimal digits (or whatever 40 bytes a client sent instead, which then name nothing).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha([u8; 40]);

impl Sha {
    /// The name of the script `source`.
    pub fn of(source: &[u8]) -> Sha {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 40];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha1::digest(source)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Sha(hex)
    }

    /// The name that a client gave, in either case; nothing unless it has 40 bytes.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        let mut hex: [u8; 40] = text.try_into().ok()?;
        hex.make_ascii_lowercase();
        Some(Sha(hex))
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }
}

impl Hash for Sha {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Sixteen digits are 64 bits of a cryptographic hash.
        state.write(&self.0[..16]);
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_scripts_as_redis_does() {
        assert_eq!(Sha::of(b"").to_string(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(
            Sha::of(b"return redis.call('get',KEYS[1])").to_string(),
            "fd758d1589d044dd850a6f05d52f2eefd27f033f"
        );
    }

    #[test]
    fn a_name_is_read_in_either_case() {
        let sha = Sha::parse(b"FD758D1589D044DD850A6F05D52F2EEFD27F033F").unwrap();
        assert_eq!(sha, Sha::of(b"return redis.call('get',KEYS[1])"));
        assert!(Sha::parse(b"NotValidShaSUM").is_none());
    }
}

//! The two hash functions of the tables, keyed once per process.
//!
//! The fast one is for every key; the keyed one (SipHash-1-3) takes over in a table in which keys collide on purpose.
//! Neither is the slot's CRC: its low bits are constant within a slot, and it is linear and unseeded.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use siphasher::sip::SipHasher13;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

fn seeds() -> &'static (SharedSeed, u64, u64) {
    static SEEDS: OnceLock<(SharedSeed, u64, u64)> = OnceLock::new();
    SEEDS.get_or_init(|| {
        // The standard library's keys come from the system's random source.
        let draw = |n: u64| RandomState::new().hash_one(n);
        (SharedSeed::from_u64(draw(0)), draw(1), draw(2))
    })
}

/// The hash that callers of a table compute once per key.
#[inline]
pub fn fast(key: &[u8]) -> u64 {
    let (shared, per_hasher, _) = seeds();
    let mut hasher = FoldHasher::with_seed(*per_hasher, shared);
    hasher.write(key);
    hasher.finish()
}

/// The hash of tables under attack.
pub fn keyed(key: &[u8]) -> u64 {
    let (_, k0, k1) = seeds();
    let mut hasher = SipHasher13::new_with_keys(*k0, *k1);
    hasher.write(key);
    hasher.finish()
}

/// A number for one table to mix into its hashes; each call gives another one.
pub fn table_seed() -> u32 {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    let (_, per_process, _) = seeds();
    // An odd multiplier runs through all numbers before it repeats one.
    DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b1) ^ *per_process as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_hashes_are_independent_and_stable() {
        assert_eq!(fast(b"foo"), fast(b"foo"));
        assert_ne!(fast(b"foo"), fast(b"fop"));
        assert_ne!(fast(b"foo"), keyed(b"foo"));
    }

    #[test]
    fn the_high_bits_are_spread() {
        // Buckets come from the high bits of the low 48: count distinct values of the 6 first ones.
        let seen: std::collections::BTreeSet<u64> =
            (0..10_000).map(|n| (fast(format!("key:{n:012}").as_bytes()) >> 42) & 63).collect();
        assert_eq!(seen.len(), 64);
    }
}

//! Slot numbers and hash tags.
//!
//! Tag rule: the first `{`, then the first `}` after it; what lies between is the tag, even when that is nothing. Later
//! braces and a `}` before the first `{` do not count. The CRC of the tag (or of the whole key) modulo 1024 is the slot.
//! Keys *with* a tag also form groups by the full 32-bit CRC of the tag: a group migrates as one.

use crate::crc::crc32;
use std::fmt;

/// Number of slots. Fixed by the Codis protocol: proxies, dashboards and stored slot maps all assume it.
pub const SLOTS: usize = 1024;

/// The number of a slot, 0 to 1023.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SlotId(u16);

impl SlotId {
    /// The slot with this number, if there is one.
    #[inline]
    pub const fn new(number: usize) -> Option<SlotId> {
        if number < SLOTS { Some(SlotId(number as u16)) } else { None }
    }

    /// The slot of a CRC: its low ten bits.
    #[inline]
    pub const fn from_crc(crc: u32) -> SlotId {
        SlotId((crc % SLOTS as u32) as u16)
    }

    /// As an index into a table of all slots.
    #[inline]
    pub const fn index(self) -> usize {
        // The mask tells the compiler what the type promises, so that indexing `[T; SLOTS]` needs no check.
        self.0 as usize & (SLOTS - 1)
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// All slots, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = SlotId> + ExactSizeIterator {
        (0..SLOTS as u16).map(SlotId)
    }
}

impl fmt::Debug for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash tag of `key`, if it has one; it may be empty.
#[inline]
pub fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let open = find(key, b'{')?;
    let after = &key[open + 1..];
    let close = find(after, b'}')?;
    Some(&after[..close])
}

/// The bytes that decide the slot of `key`: its tag, else all of it.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    tag_of(key).unwrap_or(key)
}

/// The CRC that names the tag group of `key`; `None` for a key without a tag, which belongs to no group.
#[inline]
pub fn tag_crc(key: &[u8]) -> Option<u32> {
    tag_of(key).map(crc32)
}

/// The slot of `key`.
#[inline]
pub fn slot_of(key: &[u8]) -> SlotId {
    SlotId::from_crc(crc32(hash_tag(key)))
}

/// [`slot_of`] and [`tag_crc`] in one pass.
#[inline]
pub fn slot_and_tag(key: &[u8]) -> (SlotId, Option<u32>) {
    match tag_of(key) {
        Some(tag) => {
            let crc = crc32(tag);
            (SlotId::from_crc(crc), Some(crc))
        }
        None => (SlotId::from_crc(crc32(key)), None),
    }
}

/// Position of the first `wanted`. Eight bytes a step: most keys have no brace, so this is a scan of the whole key.
#[inline]
fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    let pattern = ONES * u64::from(wanted);
    let (steps, rest) = bytes.as_chunks::<8>();
    for (at, step) in steps.iter().enumerate() {
        // The lowest flagged byte is zero, hence a match; flags above it may be wrong through the borrow.
        let word = u64::from_le_bytes(*step) ^ pattern;
        let flags = word.wrapping_sub(ONES) & !word & HIGHS;
        if flags != 0 {
            return Some(at * 8 + flags.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte == wanted).map(|at| steps.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Key, hashed bytes, CRC and slot, as answered by SLOTSHASHKEY of a running Codis server.
    const SEEN: &[(&[u8], &[u8], u32, u16)] = &[
        (b"", b"", 0x0000_0000, 0),
        (b"a", b"a", 0xe8b7_be43, 579),
        (b"b", b"b", 0x71be_eff9, 1017),
        (b"c", b"c", 0x06b9_df6f, 879),
        (b"123456789", b"123456789", 0xcbf4_3926, 294),
        (b"hello", b"hello", 0x3610_a686, 646),
        (b"foo", b"foo", 0x8c73_6521, 289),
        (b"bar", b"bar", 0x76ff_8caa, 170),
        (b"user:1000", b"user:1000", 0x9f74_17e3, 995),
        (b"{}", b"", 0, 0),
        (b"{}a", b"", 0, 0),
        (b"x{}", b"", 0, 0),
        (b"{}{a}", b"", 0, 0),
        (b"{a}", b"a", 0xe8b7_be43, 579),
        (b"x{a}y", b"a", 0xe8b7_be43, 579),
        (b"{a}{b}", b"a", 0xe8b7_be43, 579),
        (b"{user1000}.following", b"user1000", 0x125a_db66, 870),
        (b"key:000000000001", b"key:000000000001", 0x2f2b_8c05, 5),
        (b"{{a}}", b"{a", 0xb7a7_e30c, 780),
        (b"{a", b"{a", 0xb7a7_e30c, 780),
        (b"a}", b"a}", 0x138b_4598, 408),
        (b"}a{b}", b"b", 0x71be_eff9, 1017),
        (b"a{b}c}d", b"b", 0x71be_eff9, 1017),
        (b"{a}}", b"a", 0xe8b7_be43, 579),
        (b"foo{bar}baz", b"bar", 0x76ff_8caa, 170),
        (b"x{", b"x{", 0x61e8_49b5, 437),
        (b"x}{", b"x}{", 0xf8e5_4ff5, 1013),
        (b"}{", b"}{", 0x1c9f_bdf0, 496),
        (b"\xe4\xb8\xad", b"\xe4\xb8\xad", 0xd5d1_5a8b, 651),
        (b"\x00", b"\x00", 0xd202_ef8d, 909),
        (b"\xff\xfe\x80", b"\xff\xfe\x80", 0x265e_a2ec, 748),
        (b"{\xff}", b"\xff", 0xff00_0000, 0),
    ];

    #[test]
    fn slots_are_those_of_codis() {
        for &(key, hashed, crc, slot) in SEEN {
            assert_eq!(hash_tag(key), hashed, "{key:?}");
            assert_eq!(crc32(hashed), crc, "{key:?}");
            assert_eq!(slot_of(key).get(), slot, "{key:?}");
            assert_eq!(slot_and_tag(key), (slot_of(key), tag_crc(key)), "{key:?}");
        }
    }

    #[test]
    fn only_a_key_with_a_tag_is_in_a_group() {
        assert_eq!(tag_crc(b"t"), None);
        assert_eq!(tag_crc(b"A{t}"), Some(crc32(b"t")));
        assert_eq!(tag_crc(b"{t}{u}"), tag_crc(b"z{t}"));
        assert_eq!(tag_crc(b"{}"), Some(0));
    }

    #[test]
    fn numbers_beyond_the_last_slot_are_refused() {
        assert_eq!(SlotId::new(1023).map(SlotId::get), Some(1023));
        assert_eq!(SlotId::new(1024), None);
        assert_eq!(SlotId::all().len(), SLOTS);
    }

    /// The rule, said plainly.
    fn tag_model(key: &[u8]) -> Option<&[u8]> {
        let open = key.iter().position(|&b| b == b'{')?;
        let close = key[open..].iter().position(|&b| b == b'}')? + open;
        Some(&key[open + 1..close])
    }

    proptest! {
        #[test]
        fn tags_follow_the_rule(key in proptest::collection::vec(
            prop_oneof![Just(b'{'), Just(b'}'), Just(b'z'), Just(b'|'), Just(b'~'), any::<u8>()], 0..40)) {
            prop_assert_eq!(tag_of(&key), tag_model(&key));
        }

        #[test]
        fn find_is_position(bytes in proptest::collection::vec(0u8..4, 0..40), wanted in 0u8..4) {
            prop_assert_eq!(find(&bytes, wanted), bytes.iter().position(|&b| b == wanted));
        }
    }
}

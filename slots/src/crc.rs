//! CRC-32/IEEE (zlib, Ethernet: reflected polynomial 0xEDB88320, initial value and final xor all ones) of key bytes.
//!
//! Why not only `crc32fast`: it sets up a wide loop on each call, which costs more than it gains on the short texts that
//! keys and tags are. Up to [`SHORT_MAX`] bytes we use slicing-by-8: eight tables, eight bytes a step (M. Kounavis and
//! F. Berry, "A Systematic Approach to Building High Performance Software-based CRC Generators", 2005).

/// Longest text, in bytes, for which the tables beat `crc32fast`.
const SHORT_MAX: usize = 20;

const POLYNOMIAL: u32 = 0xEDB8_8320;

/// `TABLES[k][b]` is the effect of byte `b` followed by `k` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// CRC-32/IEEE of `bytes`; 0 for no bytes.
#[inline]
pub fn crc32(bytes: &[u8]) -> u32 {
    if bytes.len() <= SHORT_MAX { crc32_short(bytes) } else { crc32fast::hash(bytes) }
}

#[inline]
fn crc32_short(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    let (steps, rest) = bytes.as_chunks::<8>();
    for step in steps {
        let word = u64::from_le_bytes(*step) ^ u64::from(crc);
        crc = TABLES[7][(word & 0xff) as usize]
            ^ TABLES[6][((word >> 8) & 0xff) as usize]
            ^ TABLES[5][((word >> 16) & 0xff) as usize]
            ^ TABLES[4][((word >> 24) & 0xff) as usize]
            ^ TABLES[3][((word >> 32) & 0xff) as usize]
            ^ TABLES[2][((word >> 40) & 0xff) as usize]
            ^ TABLES[1][((word >> 48) & 0xff) as usize]
            ^ TABLES[0][(word >> 56) as usize];
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    proptest! {
        #[test]
        fn the_tables_agree_with_crc32fast(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(crc32_short(&bytes), crc32fast::hash(&bytes));
            prop_assert_eq!(crc32(&bytes), crc32fast::hash(&bytes));
        }
    }
}

//! The checksum at the end of RDB files and DUMP payloads: CRC-64 with Jones' polynomial, reflected, starting from 0.

use crc_fast::{CrcAlgorithm, Digest};

/// Below this many bytes a table is faster than setting up the folding one.
const SHORT: usize = 128;
/// Jones' polynomial 0xad93d23594c935a9 with its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

static TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 0 { rest >> 1 } else { rest >> 1 ^ POLYNOMIAL };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    if bytes.len() >= SHORT {
        return crc_fast::checksum(CrcAlgorithm::Crc64Redis, bytes);
    }
    bytes.iter().fold(0, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// A checksum in the making.
pub struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }
}

impl Crc64 {
    /// Goes on with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_is_the_published_one() {
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(checksum(b""), 0);
    }

    proptest! {
        #[test]
        fn table_folding_and_steps_agree(bytes in prop::collection::vec(any::<u8>(), 0..1000), cut in 0usize..1000) {
            let by_table = bytes.iter().fold(0, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8);
            prop_assert_eq!(checksum(&bytes), by_table);
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let mut steps = Crc64::default();
            steps.update(a);
            steps.update(b);
            prop_assert_eq!(steps.value(), by_table);
        }
    }
}

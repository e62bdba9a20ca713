//! From elements to registers, and from registers to a number.
//!
//! An element's 64-bit hash chooses one of 16384 registers by its low 14 bits; the register keeps the longest run of zero bits
//! (the one behind them counted in) seen in the other 50. The estimate is that of Flajolet, Fusy, Gandouet and Meunier,
//! "HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm", with linear counting for small sets and,
//! below 72000, a correction of its bias by a polynomial whose coefficients Redis measured. The hash is MurmurHash2 in its
//! 64-bit form A (Austin Appleby, public domain). Both must stay as they are: stored sketches depend on them.

/// Number of registers.
pub(super) const REGISTERS: usize = 1 << INDEX_BITS;
/// Largest value that a register can have room for.
pub(super) const REGISTER_MAX: u8 = 63;

const INDEX_BITS: u32 = 14;
const SEED: u64 = 0xadc8_3b19;

/// Which register an element belongs to, and the run of its hash, 1 to 50.
pub(super) fn register_of(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    let run = (hash >> INDEX_BITS | 1 << (63 - INDEX_BITS)).trailing_zeros() + 1;
    (hash as usize % REGISTERS, run as u8)
}

fn murmur64a(data: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    // The original computes the length in 32 bits, and elements are shorter than that.
    let mut hash = seed ^ (data.len() as u64).wrapping_mul(M);
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

/// How many registers have each value.
pub(super) struct Histogram([u32; REGISTER_MAX as usize + 1]);

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram([0; REGISTER_MAX as usize + 1])
    }

    /// Counts `run` more registers of a value.
    pub(super) fn add(&mut self, value: u8, run: usize) {
        self.0[usize::from(value & REGISTER_MAX)] += run as u32;
    }

    /// The estimated number of different elements.
    pub(super) fn cardinality(&self) -> u64 {
        const M: f64 = REGISTERS as f64;
        let alpha = 0.7213 / (1.0 + 1.079 / M);
        let sum: f64 = self
            .0
            .iter()
            .rev()
            .zip((0..=REGISTER_MAX).rev())
            .fold(0.0, |sum, (&count, value)| sum + f64::from(count) / (1u64 << value) as f64);
        let empty = self.0[0];
        let mut e = (1.0 / sum) * alpha * M * M;
        if e < M * 2.5 && empty != 0 {
            e = M * (M / f64::from(empty)).ln();
        } else if e < 72000.0 {
            let bias =
                5.9119e-18 * (e * e * e * e) - 1.4253e-12 * (e * e * e) + 1.2940e-7 * (e * e) - 5.2921e-3 * e + 83.3216;
            e -= e * (bias / 100.0);
        }
        // Registers made up by a client can stand for more than a reply has room for.
        e as i64 as u64
    }
}

impl<'a> FromIterator<&'a u8> for Histogram {
    fn from_iter<I: IntoIterator<Item = &'a u8>>(values: I) -> Self {
        let mut histogram = Histogram::new();
        values.into_iter().for_each(|&value| histogram.add(value, 1));
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_the_registers_that_redis_gives_them() {
        // As PFDEBUG DECODE of Redis 3.2 shows them.
        for (element, register) in [
            (&b""[..], (5938, 2)),
            (b"a", (12711, 2)),
            (b"hello", (9216, 1)),
            (b"abcdefgh", (1383, 1)),
            (b"abcdefghij", (12228, 1)),
        ] {
            assert_eq!(register_of(element), register, "{element:?}");
        }
    }

    #[test]
    fn an_empty_sketch_counts_nothing_and_a_full_one_still_fits_a_reply() {
        assert_eq!([0; REGISTERS].iter().collect::<Histogram>().cardinality(), 0);
        assert_eq!([REGISTER_MAX; REGISTERS].iter().collect::<Histogram>().cardinality(), i64::MAX as u64);
    }

    #[test]
    fn the_error_is_within_a_few_times_the_expected_one() {
        let mut registers = [0; REGISTERS];
        let mut next = 10;
        for n in 1..=1_000_000u64 {
            let (index, run) = register_of(&(n ^ 0x9e37_79b9_7f4a_7c15).to_le_bytes());
            registers[index] = run.max(registers[index]);
            if n == next {
                let count = registers.iter().collect::<Histogram>().cardinality();
                // The standard error is 1.04 / sqrt(16384) = 0.8 %.
                let error = count.abs_diff(n) as f64 / n as f64;
                assert!(error < 0.05, "{count} for {n}");
                next *= 10;
            }
        }
    }
}

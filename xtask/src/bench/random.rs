//! Numbers for keys and elements: the same for every server, and cheap enough not to be measured.

/// The SplitMix64 generator (Steele, Lea and Flood, 2014): one add and two multiplications a number.
pub struct Random(u64);

impl Random {
    /// A stream that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `limit`, which is at least 1. Biased by less than `limit / 2^64`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(limit)) >> 64) as u64
    }
}

/// Digits of a random part: what redis-benchmark puts in for `__rand_int__`.
pub const DIGITS: usize = 12;

/// Writes `number`, below 10^12, with leading zeros.
pub fn write_digits(digits: &mut [u8; DIGITS], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_below_the_limit_and_reach_both_halves() {
        let (mut a, mut b, mut c) = (Random::new(7), Random::new(7), Random::new(8));
        let numbers: Vec<u64> = (0..1000).map(|_| a.below(1000)).collect();
        assert!(numbers.iter().all(|&number| number < 1000 && number == b.below(1000)));
        assert!(numbers.iter().any(|&number| number != c.below(1000)));
        let low = numbers.iter().filter(|&&number| number < 500).count();
        assert!((400..600).contains(&low), "{low} of 1000 numbers in the lower half");
    }

    #[test]
    fn digits_are_padded_and_overwrite_what_was_there() {
        let mut digits = *b"999999999999";
        write_digits(&mut digits, 40_507);
        assert_eq!(&digits, b"000000040507");
        write_digits(&mut digits, 0);
        assert_eq!(&digits, b"000000000000");
        write_digits(&mut digits, 123_456_789_012);
        assert_eq!(&digits, b"123456789012");
    }
}

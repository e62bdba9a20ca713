//! The generator behind `math.random`: the 48-bit linear congruential generator of `lrand48`, so that a script draws
//! the same numbers on every machine.

/// X(n+1) = (MULTIPLIER * X(n) + INCREMENT) mod 2^48.
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// Draws are taken modulo this and divided by it, so that 1 is never reached.
const MAX: i32 = i32::MAX;

/// State of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prng(u64);

impl Prng {
    /// As `srand48(seed)`.
    pub(crate) fn seeded(seed: i32) -> Prng {
        Prng(u64::from(seed as u32) << 16 | 0x330E)
    }

    /// The next number in [0, 1).
    pub(crate) fn next(self) -> (Prng, f64) {
        let state = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        let drawn = (state >> 17) as i32;
        (Prng(state), f64::from(drawn % MAX) / f64::from(MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_the_numbers_of_lrand48() {
        // `srand48(seed)`, then `lrand48()` three times, from the C library.
        let vectors = [(0, [366_850_414, 1_610_402_240, 206_956_554]), (-5, [1_754_100_061, 487_370_682, 867_892_294])];
        for (seed, expected) in vectors {
            let mut prng = Prng::seeded(seed);
            for number in expected {
                let (next, value) = prng.next();
                prng = next;
                assert_eq!((value * f64::from(MAX)).round() as i32, number);
            }
        }
    }
}

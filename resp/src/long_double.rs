//! x86's 80-bit `long double`, in which Redis computes INCRBYFLOAT and HINCRBYFLOAT.
//!
//! The result is stored as text (`%.17Lf`, trailing zeros removed), replicated and compared by clients, and a 64-bit double
//! gives other digits: `10.5 + 0.1` is `10.6` here and `10.59999999999999964` there. Arithmetic is `rustc_apfloat`'s.

use crate::float::{Kind, Literal, ends_at, is_lost};
use crate::inline::is_space;
use rustc_apfloat::Float;
use rustc_apfloat::ieee::X87DoubleExtended;

/// An 80-bit extended precision number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble(X87DoubleExtended);

/// 10^17: the digits printed after the point.
const DECIMALS: u128 = 100_000_000_000_000_000;

impl LongDouble {
    /// Zero: what a missing key or field counts as.
    pub const ZERO: LongDouble = LongDouble(X87DoubleExtended::ZERO);

    /// The number that an argument or a stored string is (`getLongDoubleFromObject`): all of the text up to a NUL, no
    /// leading blank, no NaN, no overflow, no underflow. No text at all is 0; infinity is accepted.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.first().copied().is_some_and(is_space) {
            return None;
        }
        let literal = Literal::scan(text);
        if !ends_at(text, literal.len) {
            return None;
        }
        let magnitude = match literal.kind {
            Kind::Missing => X87DoubleExtended::ZERO,
            Kind::Infinity => X87DoubleExtended::INFINITY,
            Kind::Nan => return None,
            Kind::Decimal(number) | Kind::Hexadecimal(number) => {
                let (value, status) = number.evaluate();
                if is_lost(status) {
                    return None;
                }
                value
            }
        };
        Some(LongDouble(if literal.negative { -magnitude } else { magnitude }))
    }

    /// The integer, exactly.
    pub fn from_i64(value: i64) -> LongDouble {
        LongDouble(X87DoubleExtended::from_i128(i128::from(value)).value)
    }

    /// Whether it is not a number.
    pub fn is_nan(self) -> bool {
        self.0.is_nan()
    }

    /// Whether it is infinite, of either sign.
    pub fn is_infinite(self) -> bool {
        self.0.is_infinite()
    }

    /// Appends the text that is stored and replied: `%.17Lf` without trailing zeros, and without the point if nothing
    /// follows it. At most 4 952 bytes. (The original prints into 256 bytes and replies with memory beyond them.)
    pub fn format_human(self, out: &mut Vec<u8>) {
        if self.0.is_negative() {
            out.push(b'-');
        }
        if self.0.is_nan() || self.0.is_infinite() {
            out.extend_from_slice(if self.0.is_nan() { b"nan" } else { b"inf" });
            return;
        }
        let bits = self.0.to_bits();
        let significand = bits as u64;
        let biased = ((bits >> 64) & 0x7fff) as i32;
        // The value is significand * 2^exponent.
        let exponent = biased.max(1) - 16_383 - 63;
        if exponent >= 0 {
            integer_text(significand, exponent.unsigned_abs(), out);
        } else {
            fraction_text(significand, exponent.unsigned_abs(), out);
        }
    }
}

impl std::ops::Add for LongDouble {
    type Output = LongDouble;

    fn add(self, other: LongDouble) -> LongDouble {
        LongDouble((self.0 + other.0).value)
    }
}

/// significand / 2^shift with 17 decimals, ties to even, trailing zeros removed. `shift` is not 0.
fn fraction_text(significand: u64, shift: u32, out: &mut Vec<u8>) {
    // 64 + 57 bits: no overflow.
    let scaled = u128::from(significand) * DECIMALS;
    let rounded = if shift > 122 {
        // Less than half of the last decimal.
        0
    } else {
        let quotient = scaled >> shift;
        let rest = scaled & ((1 << shift) - 1);
        let half = 1u128 << (shift - 1);
        quotient + u128::from(rest > half || (rest == half && quotient & 1 == 1))
    };
    let (whole, decimals) = (rounded / DECIMALS, (rounded % DECIMALS) as u64);
    out.extend_from_slice(itoa::Buffer::new().format(whole as u64).as_bytes());
    if decimals != 0 {
        // A leading one keeps the leading zeros.
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(decimals + DECIMALS as u64).trim_end_matches('0').as_bytes();
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
}

/// significand * 2^shift.
fn integer_text(significand: u64, shift: u32, out: &mut Vec<u8>) {
    /// Little-endian limbs hold 18 decimal digits each.
    const LIMB: u128 = 1_000_000_000_000_000_000;
    let mut limbs = vec![significand];
    if u128::from(significand) >= LIMB {
        limbs = vec![(u128::from(significand) % LIMB) as u64, (u128::from(significand) / LIMB) as u64];
    }
    let mut left = shift;
    while left > 0 {
        let step = left.min(60);
        left -= step;
        let mut carry = 0;
        for limb in &mut limbs {
            let product = (u128::from(*limb) << step) + carry;
            *limb = (product % LIMB) as u64;
            carry = product / LIMB;
        }
        while carry > 0 {
            limbs.push((carry % LIMB) as u64);
            carry /= LIMB;
        }
    }
    let mut descending = limbs.iter().rev();
    if let Some(&top) = descending.next() {
        out.extend_from_slice(itoa::Buffer::new().format(top).as_bytes());
    }
    for &limb in descending {
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(&buffer.format(limb + LIMB as u64).as_bytes()[1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: LongDouble) -> String {
        let mut text = Vec::new();
        value.format_human(&mut text);
        String::from_utf8(text).unwrap()
    }

    fn sum(a: &str, b: &str) -> String {
        text(LongDouble::parse(a.as_bytes()).unwrap() + LongDouble::parse(b.as_bytes()).unwrap())
    }

    #[test]
    fn sums_are_those_of_c() {
        let mut sums = 0;
        for line in include_str!("../testdata/long_double.txt").lines().filter(|line| !line.starts_with('#')) {
            let [a, b, said] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let [a_ok, b_ok, expected] = said.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (a, b) = (LongDouble::parse(a.as_bytes()), LongDouble::parse(b.as_bytes()));
            assert_eq!((a.is_some(), b.is_some()), (a_ok == "1", b_ok == "1"), "{line}");
            if let (Some(a), Some(b)) = (a, b) {
                assert_eq!(text(a + b), expected, "{line}");
                sums += 1;
            }
        }
        assert!(sums > 100);
    }

    #[test]
    fn decimals_people_type_come_out_as_they_expect() {
        assert_eq!(sum("10.5", "0.1"), "10.6");
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("5.0e3", "2.0e2"), "5200");
        assert_eq!(sum("1", "-1"), "0");
        assert_eq!(sum("0", "1e-18"), "0");
        assert_eq!(sum("", "0x10"), "16");
        assert_eq!(sum("17179869184", "-1.5"), "17179869182.5");
        assert_eq!(text(LongDouble::from_i64(i64::MIN)), "-9223372036854775808");
        assert_eq!(text(LongDouble::parse(b"-0").unwrap()), "-0");
        assert_eq!(text(LongDouble::ZERO), "0");
    }

    #[test]
    fn ties_of_the_last_decimal_go_to_even() {
        // 2^-18 ends in 5 at the 18th decimal.
        assert_eq!(sum("0", "0x1p-18"), "0.00000381469726562");
        assert_eq!(sum("0", "0x3p-18"), "0.00001144409179688");
        assert_eq!(sum("0", "0x1.0001p-18"), "0.00000381475547329");
    }

    #[test]
    fn the_largest_and_the_infinite() {
        assert_eq!(text(LongDouble::parse(b"1e4932").unwrap()).len(), 4933);
        assert!(text(LongDouble::parse(b"1e27").unwrap()) == format!("1{}", "0".repeat(27)));
        assert_eq!(LongDouble::parse(b"1e4933"), None);
        assert_eq!(LongDouble::parse(b"1e-4950"), None);
        let infinite = LongDouble::parse(b"inf").unwrap();
        assert!(infinite.is_infinite() && text(infinite) == "inf");
        let nothing = infinite + LongDouble::parse(b"-Infinity").unwrap();
        assert!(nothing.is_nan() && !nothing.is_infinite());
        assert_eq!(LongDouble::parse(b"nan"), None);
        assert_eq!(LongDouble::parse(b" 1"), None);
        assert_eq!(LongDouble::parse(b"1x"), None);
        assert_eq!(LongDouble::parse(b"1\0x"), LongDouble::parse(b"1"));
    }

    proptest! {
        #[test]
        fn integers_are_exact(a in -(1i64 << 62)..1 << 62, b in -(1i64 << 62)..1 << 62) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
            prop_assert_eq!(text(LongDouble::from_i64(a)), a.to_string());
        }

        #[test]
        fn powers_of_two_print_exactly(shift in 0u32..120) {
            prop_assert_eq!(sum("0", &format!("0x1p{shift}")), (1u128 << shift).to_string());
        }
    }
}

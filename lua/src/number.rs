//! Numbers as C treats them: `%g` text, and the cut to an integer.

use std::io::Write;

/// The integer part, as the x86 instruction behind C's conversion gives it: whatever does not fit (infinities and NaN
/// too) is `i64::MIN`.
pub(crate) fn truncate(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

/// [`truncate`] for 32 bits.
pub(crate) fn truncate_i32(value: f64) -> i32 {
    let wide = truncate(value);
    i32::try_from(wide).unwrap_or(i32::MIN)
}

/// Appends `value` as C's `%.{precision}g` prints it, for a precision of 1 to 17.
pub(crate) fn format_g(out: &mut Vec<u8>, value: f64, precision: usize) {
    let precision = precision.clamp(1, 17);
    // Integers below 10^precision are printed in full.
    const POWERS: [f64; 18] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17];
    if value.abs() < POWERS[precision] && value == value.trunc() && (value != 0.0 || value.is_sign_positive()) {
        return resp::format_i64(value as i64, out);
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(b"inf");
    } else if value == 0.0 {
        out.push(b'0');
    } else {
        format_finite(out, value.abs(), precision);
    }
}

/// `value` is finite and above 0.
fn format_finite(out: &mut Vec<u8>, value: f64, precision: usize) {
    // d.ddde-308: at most 1 + 1 + 16 + 5 bytes.
    let mut buffer = [0u8; 32];
    let mut rest = &mut buffer[..];
    if write!(rest, "{:.*e}", precision - 1, value).is_err() {
        return;
    }
    let unused = rest.len();
    let text = &buffer[..32 - unused];
    let split = text.iter().position(|&byte| byte == b'e').unwrap_or(text.len());
    let exponent: i32 =
        std::str::from_utf8(&text[(split + 1).min(text.len())..]).ok().and_then(|e| e.parse().ok()).unwrap_or(0);

    let mut digits = [0u8; 17];
    let mut count = 0;
    for &digit in text[..split].iter().filter(|byte| byte.is_ascii_digit()) {
        digits[count] = digit;
        count += 1;
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];

    if exponent < -4 || exponent >= precision as i32 {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a Vec cannot fail.
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - 1) as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let whole = exponent as usize + 1;
        if count <= whole {
            out.extend_from_slice(digits);
            out.resize(out.len() + whole - count, b'0');
        } else {
            out.extend_from_slice(&digits[..whole]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn g(value: f64, precision: usize) -> String {
        let mut out = Vec::new();
        format_g(&mut out, value, precision);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats_like_printf() {
        // Right-hand sides from C's printf.
        for (value, precision, expected) in [
            (0.1, 17, "0.10000000000000001"),
            (0.1, 14, "0.1"),
            (9_007_199_254_740_991.0, 17, "9007199254740991"),
            (9_007_199_254_740_991.0, 14, "9.007199254741e+15"),
            (1e17, 17, "1e+17"),
            (99_999_999_999_999_984.0, 17, "99999999999999984"),
            (123_456_789.125, 14, "123456789.125"),
            (1e-5, 14, "1e-05"),
            (1.5e-5, 14, "1.5e-05"),
            (0.000_123, 14, "0.000123"),
            (-0.0, 17, "-0"),
            (0.0, 17, "0"),
            (1e100, 17, "1e+100"),
            (1.797_693_134_862_315_7e308, 17, "1.7976931348623157e+308"),
            (5e-324, 17, "4.9406564584124654e-324"),
            (2.5, 1, "2"),
            (3.5, 1, "4"),
            (99.5, 2, "1e+02"),
            (100.0, 3, "100"),
            (f64::INFINITY, 17, "inf"),
            (f64::NEG_INFINITY, 17, "-inf"),
            (f64::NAN, 17, "nan"),
        ] {
            assert_eq!(g(value, precision), expected);
        }
    }

    #[test]
    fn seventeen_digits_read_back() {
        proptest::proptest!(|(bits: u64)| {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                proptest::prop_assert_eq!(g(value, 17).parse::<f64>().unwrap().to_bits(), bits);
            }
        });
    }

    #[test]
    fn cuts_to_integers_like_x86() {
        assert_eq!(truncate(100.9), 100);
        assert_eq!(truncate(-100.9), -100);
        assert_eq!(truncate(9_223_372_036_854_775_808.0), i64::MIN);
        assert_eq!(truncate(-9_223_372_036_854_775_808.0), i64::MIN);
        assert_eq!(truncate(f64::NAN), i64::MIN);
        assert_eq!(truncate_i32(2_147_483_648.0), i32::MIN);
        assert_eq!(truncate_i32(-7.5), -7);
    }
}

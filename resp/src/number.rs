//! Integers as text.
//!
//! Redis takes only the canonical text of a 64-bit integer (`string2ll`): no sign but `-`, no leading zero, no blank. The
//! lenient forms of C (`strtoul` of a SCAN cursor, `atoi` of a key count) have functions of their own.

use crate::inline::is_space;

/// The integer that `text` is the canonical text of.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', magnitude @ ..] => match parse_u64(magnitude)? {
            0 => None,
            magnitude if magnitude <= 1 << 63 => Some((magnitude as i64).wrapping_neg()),
            _ => None,
        },
        _ => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// The unsigned integer that `text` is the canonical text of.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if text.len() < 20 => {
            // 19 digits cannot overflow.
            let mut number = 0u64;
            for &byte in text {
                let digit = byte.wrapping_sub(b'0');
                if digit > 9 {
                    return None;
                }
                number = number * 10 + u64::from(digit);
            }
            Some(number)
        }
        [b'1', ..] if text.len() == 20 => text.iter().try_fold(0u64, |number, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        }),
        _ => None,
    }
}

/// A SCAN cursor: what C's `strtoul` takes to the end of the text without a leading blank. So nothing at all is 0, a `+`
/// and leading zeros are allowed, and a negative number counts from the top. `None` if it does not fit into 64 bits.
pub fn parse_cursor(text: &[u8]) -> Option<u64> {
    let text = c_text(text);
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return text.is_empty().then_some(0);
    }
    let magnitude = digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

/// C's `atoi` as its library implements it: blanks, a sign, digits up to anything else; cut to 32 bits.
pub fn atoi(text: &[u8]) -> i32 {
    let start = text.iter().position(|&byte| !is_space(byte)).unwrap_or(text.len());
    let (negative, digits) = match text[start..] {
        [b'-', ref digits @ ..] => (true, digits),
        [b'+', ref digits @ ..] => (false, digits),
        ref digits => (false, digits),
    };
    let number = digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0i64, |number, &byte| {
        let digit = i64::from(byte - b'0');
        let number = number.saturating_mul(10);
        if negative { number.saturating_sub(digit) } else { number.saturating_add(digit) }
    });
    number as i32
}

/// The part of `text` before its first NUL: what a C function sees of it.
pub(crate) fn c_text(text: &[u8]) -> &[u8] {
    text.iter().position(|&byte| byte == 0).map_or(text, |end| &text[..end])
}

/// Appends the decimal text of `value`.
#[inline]
pub fn format_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the decimal text of `value`.
#[inline]
pub fn format_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Number of decimal digits of `value`; 1 for zero.
#[inline]
pub fn digits10(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_text_is_an_integer() {
        for text in ["", "-", "+1", "01", "-0", "00", " 1", "1 ", "1.0", "0x1", "--1", "1-", "1\0", "-01"] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_i64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"28446744073709551615"), None);
        assert_eq!(parse_u64(b"99999999999999999999"), None);
        assert_eq!(parse_u64(b"100000000000000000000"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    #[test]
    fn cursors_are_lenient() {
        for (text, value) in
            [("", Some(0)), ("+1", Some(1)), ("01", Some(1)), ("-1", Some(u64::MAX)), ("7\0x", Some(7))]
        {
            assert_eq!(parse_cursor(text.as_bytes()), value, "{text:?}");
        }
        for text in ["-", "+", " 1", "1 ", "x", "1x", "18446744073709551616"] {
            assert_eq!(parse_cursor(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn atoi_reads_what_it_can() {
        for (text, value) in [("", 0), ("x", 0), (" \t+12x", 12), ("-3", -3), ("- 3", 0), ("4294967297", 1)] {
            assert_eq!(atoi(text.as_bytes()), value, "{text:?}");
        }
        assert_eq!(atoi(b"99999999999999999999999"), -1);
        assert_eq!(atoi(b"-99999999999999999999999"), 0);
    }

    proptest! {
        #[test]
        fn integers_survive(value: i64) {
            let mut text = Vec::new();
            format_i64(value, &mut text);
            prop_assert_eq!(parse_i64(&text), Some(value));
            prop_assert_eq!(digits10(value.unsigned_abs()), text.len() - usize::from(value < 0));
        }

        #[test]
        fn what_is_taken_prints_the_same(text in "-?[0-9]{0,21}") {
            match parse_i64(text.as_bytes()) {
                Some(value) => prop_assert_eq!(value.to_string(), text),
                None => prop_assert!(text.parse::<i64>().map(|value| value.to_string()) != Ok(text)),
            }
        }
    }
}

//! Floating point numbers as text, as C reads and prints them.
//!
//! Redis 3.2 reads scores and float arguments with `strtod` and prints scores with `%.17g`; stored bytes and replies depend
//! on both, so nothing here is "shortest" or "round trip" beyond what C does: `0.1` prints as `0.10000000000000001`,
//! `0x1p3` is 8, and no text at all is 0.

use crate::inline::is_space;
use crate::number::{c_text, format_i64};
use rustc_apfloat::ieee::{Double, IeeeFloat, Semantics};
use rustc_apfloat::{Float, Round, Status};
use std::fmt::Write;

/// Digits that can matter to the rounding of a long double (11 514 significant digits at most in a value halfway between
/// two of them); whatever follows is only zero or not zero.
const DIGITS_MAX: usize = 11_600;

/// Exponents from here on are cut off by the standard library's parser, which would be wrong behind as many digits.
const STD_EXPONENT_MAX: i64 = 10_000;

/// What C's `strtod` says of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strtod {
    /// The number; 0 if there is none.
    pub value: f64,
    /// Bytes that belong to it, leading blanks included; 0 if there is none.
    pub len: usize,
    /// It does not fit (C's ERANGE): the value is infinite, or zero or subnormal instead of exact.
    pub out_of_range: bool,
}

/// C's `strtod` on the beginning of `text`, in the C locale. Use [`parse_f64`] unless the rest of the text matters.
pub fn strtod(text: &[u8]) -> Strtod {
    let literal = Literal::scan(text);
    let (magnitude, out_of_range) = match literal.kind {
        Kind::Missing => (0.0, false),
        Kind::Infinity => (f64::INFINITY, false),
        Kind::Nan => (f64::NAN, false),
        Kind::Decimal(number) if number.exponent.abs() < STD_EXPONENT_MAX => {
            // The standard parser takes every form that `scan` lets through, and rounds correctly.
            let text = std::str::from_utf8(number.text).unwrap_or_default();
            let value: f64 = text.parse().unwrap_or_default();
            let vanished = value == 0.0 && !number.is_zero();
            (value, value.is_infinite() || value.is_subnormal() || vanished)
        }
        Kind::Decimal(number) | Kind::Hexadecimal(number) => {
            let (value, status) = number.evaluate();
            let value: Double = value;
            (f64::from_bits(value.to_bits() as u64), is_lost(status))
        }
    };
    let value = if literal.negative { -magnitude } else { magnitude };
    Strtod { value, len: literal.len, out_of_range }
}

/// The float that an argument or a stored string is (`getDoubleFromObject`): all of the text up to a NUL, no leading
/// blank, no NaN, no overflow, no underflow to zero. No text at all is 0.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if text.first().copied().is_some_and(is_space) {
        return None;
    }
    let number = strtod(text);
    let whole = text.get(number.len).is_none_or(|&byte| byte == 0);
    let lost = number.out_of_range && (number.value == 0.0 || number.value.is_infinite());
    (whole && !lost && !number.value.is_nan()).then_some(number.value)
}

/// Appends what C's `%.17g` prints.
pub fn format_f64_17g(value: f64, out: &mut Vec<u8>) {
    if value.trunc() == value && value.abs() < 1e15 && (value != 0.0 || value.is_sign_positive()) {
        return format_i64(value as i64, out);
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if !value.is_finite() {
        out.extend_from_slice(if value.is_nan() { b"nan" } else { b"inf" });
        return;
    }
    let (digits, exponent) = significant_17(value.abs());
    let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..kept];
    match usize::try_from(exponent) {
        Ok(exponent @ 0..17) => {
            let whole = exponent + 1;
            match digits.split_at_checked(whole) {
                Some((digits, [])) => out.extend_from_slice(digits),
                Some((digits, fraction)) => {
                    out.extend_from_slice(digits);
                    out.push(b'.');
                    out.extend_from_slice(fraction);
                }
                None => {
                    out.extend_from_slice(digits);
                    out.resize(out.len() + whole - digits.len(), b'0');
                }
            }
        }
        Err(_) if exponent >= -4 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + exponent.unsigned_abs() as usize - 1, b'0');
            out.extend_from_slice(digits);
        }
        _ => {
            let (first, fraction) = digits.split_at(1);
            out.extend_from_slice(first);
            if !fraction.is_empty() {
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
            out.push(b'e');
            out.push(if exponent < 0 { b'-' } else { b'+' });
            if exponent.unsigned_abs() < 10 {
                out.push(b'0');
            }
            format_i64(i64::from(exponent.unsigned_abs()), out);
        }
    }
}

/// Appends a score as files and replies hold it (`d2string`): integers as integers, else `%.17g`.
pub fn format_f64_score(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else {
        // `%.17g` prints an integer of up to 2^52 as an integer, so the special case of the original is none.
        format_f64_17g(value, out);
    }
}

/// The 17 significant digits of a finite value, correctly rounded, and its decimal exponent.
fn significant_17(value: f64) -> ([u8; 17], i32) {
    /// Room for `d.dddddddddddddddde-ddd`.
    struct Text([u8; 24], usize);
    impl Write for Text {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let end = self.1 + text.len();
            self.0.get_mut(self.1..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
            self.1 = end;
            Ok(())
        }
    }
    let mut text = Text([b'0'; 24], 0);
    let written = write!(text, "{value:.16e}");
    debug_assert!(written.is_ok());
    let mut digits = [b'0'; 17];
    digits[0] = text.0[0];
    digits[1..].copy_from_slice(&text.0[2..18]);
    let exponent = text.0.get(19..text.1).and_then(|exponent| std::str::from_utf8(exponent).ok());
    (digits, exponent.and_then(|exponent| exponent.parse().ok()).unwrap_or(0))
}

/// A number at the beginning of a text, as `strtod` and `strtold` recognise it.
pub(crate) struct Literal<'a> {
    pub(crate) negative: bool,
    pub(crate) kind: Kind<'a>,
    /// Bytes, leading blanks included; 0 if there is no number.
    pub(crate) len: usize,
}

pub(crate) enum Kind<'a> {
    Missing,
    Infinity,
    Nan,
    Decimal(Digits<'a>),
    Hexadecimal(Digits<'a>),
}

/// A literal's digits before and after the point, and its exponent (of ten or two).
pub(crate) struct Digits<'a> {
    /// Without sign.
    text: &'a [u8],
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
    hexadecimal: bool,
}

impl<'a> Literal<'a> {
    pub(crate) fn scan(text: &'a [u8]) -> Literal<'a> {
        let blanks = text.iter().position(|&byte| !is_space(byte)).unwrap_or(text.len());
        let signed = &text[blanks..];
        let (negative, number) = match signed {
            [b'-', number @ ..] => (true, number),
            [b'+', number @ ..] => (false, number),
            _ => (false, signed),
        };
        let (kind, len) = scan_magnitude(number);
        match kind {
            // A sign alone is nothing.
            Kind::Missing => Literal { negative: false, kind, len: 0 },
            _ => Literal { negative, kind, len: text.len() - number.len() + len },
        }
    }
}

fn scan_magnitude(text: &[u8]) -> (Kind<'_>, usize) {
    let starts_with = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if starts_with(b"infinity") {
        return (Kind::Infinity, 8);
    }
    if starts_with(b"inf") {
        return (Kind::Infinity, 3);
    }
    if starts_with(b"nan") {
        return (Kind::Nan, 3 + nan_payload(&text[3..]));
    }
    if starts_with(b"0x")
        && let Some((digits, len)) = scan_digits(text, 2, true)
    {
        return (Kind::Hexadecimal(digits), len);
    }
    match scan_digits(text, 0, false) {
        Some((digits, len)) => (Kind::Decimal(digits), len),
        None => (Kind::Missing, 0),
    }
}

/// Length of `(...)` behind `nan`, if it is well formed.
fn nan_payload(text: &[u8]) -> usize {
    let [b'(', payload @ ..] = text else { return 0 };
    let len = payload.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_').count();
    if payload.get(len) == Some(&b')') { len + 2 } else { 0 }
}

/// Digits with an optional point and exponent from `start` on, and where they end. At least one digit is needed.
fn scan_digits(text: &[u8], start: usize, hexadecimal: bool) -> Option<(Digits<'_>, usize)> {
    let is_digit = |byte: &u8| {
        if hexadecimal { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() }
    };
    let run = |from: usize| text[from..].iter().take_while(|byte| is_digit(byte)).count();
    let point = start + run(start);
    let whole = &text[start..point];
    let (fraction, mut end) = match text.get(point) {
        Some(b'.') => {
            let end = point + 1 + run(point + 1);
            (&text[point + 1..end], end)
        }
        _ => (&text[point..point], point),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut exponent = 0;
    let marker = if hexadecimal { b'p' } else { b'e' };
    if let Some(&[letter, ref rest @ ..]) = text.get(end..)
        && letter.to_ascii_lowercase() == marker
    {
        let (negative, digits) = match *rest {
            [b'-', ref digits @ ..] => (true, digits),
            [b'+', ref digits @ ..] => (false, digits),
            _ => (false, rest),
        };
        let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len > 0 {
            exponent = digits[..len].iter().fold(0i64, |sum, &digit| {
                // Far beyond the range of any format, and far from overflow.
                (sum * 10 + i64::from(digit - b'0')).min(1 << 40)
            });
            if negative {
                exponent = -exponent;
            }
            end = text.len() - digits.len() + len;
        }
    }
    Some((Digits { text: &text[..end], whole, fraction, exponent, hexadecimal }, end))
}

impl Digits<'_> {
    fn is_zero(&self) -> bool {
        self.whole.iter().chain(self.fraction).all(|&digit| digit == b'0')
    }

    /// The value in a binary format, rounded to nearest, ties to even.
    ///
    /// Digits and exponent are first brought into bounds, because the conversion is quadratic in the digits and a client
    /// may send half a gigabyte of them.
    pub(crate) fn evaluate<S: Semantics>(&self) -> (IeeeFloat<S>, Status) {
        let mut text = String::from(if self.hexadecimal { "0x" } else { "" });
        let prefix = text.len();
        // The value is the kept digits, times base^scale, times the exponent's power.
        let mut scale = -(self.fraction.len() as i64);
        let (mut kept, mut dropped_any) = (0, false);
        for &digit in self.whole.iter().chain(self.fraction) {
            if kept == 0 && digit == b'0' {
                continue;
            }
            if kept < DIGITS_MAX {
                text.push(digit as char);
                kept += 1;
            } else {
                scale += 1;
                dropped_any |= digit != b'0';
            }
        }
        if kept == 0 {
            return (IeeeFloat::ZERO, Status::OK);
        }
        if dropped_any {
            text.push('1');
            scale -= 1;
        } else {
            let significant = text.trim_end_matches('0').len().max(prefix + 1);
            scale += (text.len() - significant) as i64;
            text.truncate(significant);
        }
        let per_digit = if self.hexadecimal { 4 } else { 1 };
        let exponent = (scale * per_digit + self.exponent).clamp(-1_000_000, 1_000_000);
        let letter = if self.hexadecimal { 'p' } else { 'e' };
        let written = write!(text, "{letter}{exponent}");
        debug_assert!(written.is_ok());
        match IeeeFloat::from_str_r(&text, Round::NearestTiesToEven) {
            Ok(result) => (result.value, result.status),
            // Unreachable: the text was just built to its grammar.
            Err(_) => (IeeeFloat::NAN, Status::INVALID_OP),
        }
    }
}

/// Whether a value was too large or too small for its format: C's ERANGE.
pub(crate) fn is_lost(status: Status) -> bool {
    !(status & (Status::OVERFLOW | Status::UNDERFLOW)).is_empty()
}

/// Whether nothing but a NUL and what follows it comes after the first `len` bytes.
pub(crate) fn ends_at(text: &[u8], len: usize) -> bool {
    c_text(text).len() == len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(value: f64) -> String {
        let mut text = Vec::new();
        format_f64_17g(value, &mut text);
        String::from_utf8(text).unwrap()
    }

    fn vectors(file: &str) -> impl Iterator<Item = &str> {
        file.lines().filter(|line| !line.starts_with('#'))
    }

    fn from_bits(bits: &str) -> f64 {
        f64::from_bits(u64::from_str_radix(bits, 16).unwrap())
    }

    #[test]
    fn it_prints_as_c_does() {
        for line in vectors(include_str!("../testdata/float_print.txt")) {
            let (bits, text) = line.split_once(' ').unwrap();
            assert_eq!(printed(from_bits(bits)), text, "{bits}");
        }
        assert_eq!(printed(f64::NAN), "nan");
        assert_eq!(printed(-f64::NAN), "-nan");
    }

    #[test]
    fn it_reads_as_c_does() {
        for line in vectors(include_str!("../testdata/float_read.txt")) {
            let (text, said) = line.rsplit_once('|').unwrap();
            let [bits, len, out_of_range, accepted] = said.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let number = strtod(text.as_bytes());
            let expected = from_bits(bits);
            assert!(
                number.value.to_bits() == expected.to_bits() || (number.value.is_nan() && expected.is_nan()),
                "{line}: {number:?}"
            );
            assert_eq!(number.len.to_string(), len, "{line}");
            assert_eq!(number.out_of_range, out_of_range == "1", "{line}");
            assert_eq!(parse_f64(text.as_bytes()).is_some(), accepted == "1", "{line}");
        }
    }

    #[test]
    fn a_float_argument_is_what_a_running_server_took() {
        for (text, value) in [("", 0.0), ("\0x", 0.0), ("1\0junk", 1.0), ("1.", 1.0), (".5e1", 5.0), ("0X.8P+1", 1.0)] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text:?}");
        }
        assert_eq!(parse_f64(b"+Infinity"), Some(f64::INFINITY));
        assert_eq!(parse_f64(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_f64(b"1e-310"), Some(1e-310));
        for text in
            [" 1", "1 ", "+-1", "infinit", ".", "-", "e1", "0x", "nan", "nan(12)", "1e400", "1e-400", "0x1p2000"]
        {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(strtod(b" \t-1.5e+x"), Strtod { value: -1.5, len: 6, out_of_range: false });
        assert_eq!(strtod(b"0x1p1074x").len, 8);
    }

    #[test]
    fn a_score_that_is_an_integer_prints_as_one() {
        let score = |value| {
            let mut text = Vec::new();
            format_f64_score(value, &mut text);
            String::from_utf8(text).unwrap()
        };
        for (value, text) in [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1, "0.10000000000000001"),
            (1e17, "1e+17"),
            (4503599627370495.0, "4503599627370495"),
        ] {
            assert_eq!(score(value), text);
        }
        assert_eq!(score(-f64::NAN), "nan");
    }

    #[test]
    fn digits_without_end_are_read_in_bounded_time() {
        let zeros = "0".repeat(1 << 20);
        assert_eq!(parse_f64(format!("1{zeros}e-1048576").as_bytes()), Some(1.0));
        assert_eq!(parse_f64(format!("0x.{zeros}1p4194308").as_bytes()), Some(1.0));
        assert_eq!(parse_f64(format!("0x1{}", "f".repeat(20_000)).as_bytes()), None);
        // Halfway between 1 and the next double but for the last of many digits.
        assert_eq!(parse_f64(format!("0x1.00000000000008{}1", "0".repeat(20_000)).as_bytes()), Some(1.0f64.next_up()));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(printed(value).as_bytes()).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn plain_decimals_read_as_rust_reads_them(text in "[+-]?[0-9]{1,20}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,2})?") {
            prop_assert_eq!(parse_f64(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn any_text_is_read_without_harm(text in proptest::collection::vec(any::<u8>(), 0..30)) {
            prop_assert!(strtod(&text).len <= text.len());
        }
    }
}

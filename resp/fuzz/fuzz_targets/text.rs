//! Numbers, patterns and quoted lines: any bytes are read without harm, and what is printed reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::LongDouble;

fuzz_target!(|input: &[u8]| {
    if let Some(value) = resp::parse_i64(input) {
        assert_eq!(value.to_string().as_bytes(), input);
    }
    let mut text = Vec::new();
    if let Some(value) = resp::parse_f64(input) {
        resp::format_f64_17g(value, &mut text);
        assert_eq!(resp::parse_f64(&text).map(f64::to_bits), Some(value.to_bits()));
    }
    assert!(resp::strtod(input).len <= input.len());
    if let Some(value) = LongDouble::parse(input) {
        text.clear();
        value.format_human(&mut text);
        assert!(LongDouble::parse(&text).is_some());
    }
    resp::parse_cursor(input);
    resp::atoi(input);
    resp::split_args(input);
    let (pattern, subject) = input.split_at(input.len() / 2);
    if resp::glob_match(pattern, subject, false) {
        let padded = [&b"*"[..], pattern].concat();
        assert!(resp::glob_match(&padded, subject, false));
    }
});

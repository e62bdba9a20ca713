//! Numbers as configuration writes them: whole numbers, and amounts of memory with a unit.
//!
//! A number that does not parse is refused. (Redis 3.2 reads a file's numbers with `atoi`, so that `maxmemory 10x`
//! silently means no limit; refusing cannot surprise anybody.)

/// A whole number in a file: an optional sign and decimal digits. (CONFIG SET takes what `resp::parse_i64` takes.)
pub fn parse(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Bytes, with an optional unit: `b`, `k` = 1000, `kb` = 1024, and likewise `m`, `mb`, `g`, `gb`; case does not matter.
pub fn parse_memory(text: &[u8]) -> Option<i64> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let digits = text.iter().skip(sign).take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(sign + digits)?;
    let scale = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    parse(number)?.checked_mul(scale)
}

/// `bytes` with the largest unit that divides it, as CONFIG REWRITE writes it.
pub fn format_memory(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_may_spell_a_number_in_more_ways_than_config_set() {
        use resp::parse_i64;
        for (text, file, set) in [
            ("0", Some(0), Some(0)),
            ("-7", Some(-7), Some(-7)),
            ("+7", Some(7), None),
            ("007", Some(7), None),
            ("-0", Some(0), None),
            ("", None, None),
            ("-", None, None),
            (" 7", None, None),
            ("7x", None, None),
            ("9223372036854775807", Some(i64::MAX), Some(i64::MAX)),
            ("9223372036854775808", None, None),
        ] {
            assert_eq!(parse(text.as_bytes()), file, "{text}");
            assert_eq!(parse_i64(text.as_bytes()), set, "{text}");
        }
    }

    #[test]
    fn memory_units_are_powers_of_ten_or_of_two() {
        for (text, bytes) in [
            ("1", Some(1)),
            ("1B", Some(1)),
            ("1k", Some(1000)),
            ("1kb", Some(1024)),
            ("2M", Some(2_000_000)),
            ("2Mb", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3GB", Some(3 << 30)),
            ("-1", Some(-1)),
            ("", None),
            ("mb", None),
            ("1tb", None),
            ("1 mb", None),
            ("9999999999gb", None),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), bytes, "{text}");
        }
    }

    proptest! {
        #[test]
        fn formatted_memory_reads_back(bytes in prop_oneof![0..i64::MAX, (0..1i64 << 30).prop_map(|n| n << 20)]) {
            prop_assert_eq!(parse_memory(format_memory(bytes as u64).as_bytes()), Some(bytes));
        }
    }
}

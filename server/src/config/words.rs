//! Words of a configuration line: splitting with quotes, and quoting so that splitting gives the same bytes back.
//!
//! The rules are those of Redis' `sdssplitargs` and `sdscatrepr`: blanks separate words; `"..."` understands
//! `\n \r \t \b \a \xHH` and `\c` for any other byte; `'...'` understands only `\'`; a closing quote must be
//! followed by a blank or by the end of the line. Bytes need not be UTF-8.

/// Splits a line into words. `None` if a quote is not closed, or is closed in the middle of a word.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.iter().position(|&byte| !is_blank(byte)) {
        let mut word = Vec::new();
        rest = take_word(rest.get(start..)?, &mut word)?;
        words.push(word);
    }
    Some(words)
}

/// `word` in double quotes, with every byte outside printable ASCII escaped.
pub fn quote(word: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = Vec::with_capacity(word.len() + 2);
    out.push(b'"');
    for &byte in word {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend([
                b'\\',
                b'x',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
    out.push(b'"');
    out
}

/// `word` as it is if that reads back as one and the same word, quoted otherwise.
pub fn quote_if_needed(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.is_empty() && word.iter().all(plain) {
        word.to_vec()
    } else {
        quote(word)
    }
}

/// Reads one word, whose first byte is the first of `rest`; returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => return Some(after),
            b'"' => return take_double_quoted(after, word),
            b'\'' => return take_single_quoted(after, word),
            _ => word.push(byte),
        }
        rest = after;
    }
    Some(rest)
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return ends_word(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_value(*high) << 4 | hex_value(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\'', after @ ..] => return ends_word(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

/// What follows a closing quote, if a word may end there.
fn ends_word(after: &[u8]) -> Option<&[u8]> {
    after
        .first()
        .is_none_or(|&byte| is_blank(byte))
        .then_some(after)
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(line: &str, words: &[&str]) {
        let split: Vec<_> = split(line.as_bytes())
            .unwrap()
            .into_iter()
            .map(|w| String::from_utf8(w).unwrap())
            .collect();
        assert_eq!(split, words, "{line}");
    }

    #[test]
    fn blanks_and_quotes_separate_words() {
        check("", &[]);
        check(" \t ", &[]);
        check("save 900\t1", &["save", "900", "1"]);
        check("  dir \"a b\"  'c d' ", &["dir", "a b", "c d"]);
        check("logfile \"\" ''", &["logfile", "", ""]);
        check("ab\"cd\" e", &["abcd", "e"]);
    }

    #[test]
    fn escapes_are_understood_inside_double_quotes_only() {
        check(r#""a\n\x41\q\"" "\xzz""#, &["a\nAq\"", "xzz"]);
        check(r"'a\n\'' a\nb", &["a\\n'", "a\\nb"]);
    }

    #[test]
    fn a_quote_must_be_closed_and_end_its_word() {
        for line in ["\"abc", "'abc", "\"abc\"d", "'abc'd", "a\"", "\"\\"] {
            assert_eq!(split(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn quoting_escapes_what_is_not_printable() {
        assert_eq!(quote(b"a \"\\\n\x00\xff"), br#""a \"\\\n\x00\xff""#);
        assert_eq!(quote_if_needed(b"127.0.0.1"), b"127.0.0.1");
        assert_eq!(quote_if_needed(b""), b"\"\"");
    }

    proptest! {
        #[test]
        fn a_quoted_word_reads_back(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5)) {
            for form in [quote, quote_if_needed] {
                let line = words.iter().map(|word| form(word)).collect::<Vec<_>>().join(&b' ');
                prop_assert_eq!(split(&line), Some(words.clone()));
            }
        }

        #[test]
        fn any_line_is_split_or_refused(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = split(&line);
        }
    }
}

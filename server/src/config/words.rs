//! Quoting a word of a configuration line, so that `resp::split_args` gives the same bytes back.

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
            _ => out.extend([b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.push(b'"');
    out
}

/// `word` as it is if that reads back as one and the same word, quoted otherwise.
pub fn quote_if_needed(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.is_empty() && word.iter().all(plain) { word.to_vec() } else { quote(word) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
                prop_assert_eq!(resp::split_args(&line), Some(words.clone()));
            }
        }
    }
}

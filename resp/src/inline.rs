//! Inline requests and configuration lines: words split at blanks, with quotes.
//!
//! The rules are those of `sdssplitargs`: `"..."` knows `\n \r \t \b \a \xHH` and takes any other escaped byte as it is,
//! `'...'` knows only `\'`; a quote may begin inside a word, but only a blank or the end may follow a closing quote. A NUL
//! ends the line.

use crate::parse::Arg;

/// A quote was left open, or text follows a closing quote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unbalanced;

/// What C's `isspace` accepts.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Words are separated by more bytes than may end an unquoted word: `\v` and `\f` inside a word belong to it.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0)
}

/// Whether every word of the line stands in it as it is.
pub(crate) fn is_plain(line: &[u8]) -> bool {
    !line.iter().any(|byte| matches!(byte, b'"' | b'\'' | 0))
}

/// The words of a line that [`is_plain`], as ranges into it. At most 64 KiB, so offsets fit.
pub(crate) fn plain_words(line: &[u8], args: &mut Vec<Arg>) {
    let mut at = 0;
    while let Some(blanks) = line[at..].iter().position(|&byte| !is_space(byte)) {
        let start = at + blanks;
        let len = line[start..].iter().position(|&byte| ends_word(byte)).unwrap_or(line.len() - start);
        args.push(Arg { start: start as u32, len: len as u32 });
        at = start + len;
    }
}

/// The words of any line, decoded one behind the other into `text`, as ranges into that. Empty words (`""`) are left
/// out, as inline requests of 3.2 do.
pub(crate) fn quoted_words(line: &[u8], text: &mut Vec<u8>, args: &mut Vec<Arg>) -> Result<(), Unbalanced> {
    let mut rest = line;
    while let Some(after) = next_word(rest, text, |start, text| {
        if text.len() > start {
            args.push(Arg { start: start as u32, len: (text.len() - start) as u32 });
        }
    })? {
        rest = after;
    }
    Ok(())
}

/// The words of a line, empty ones included; `None` if its quotes are unbalanced. Used for configuration files and for
/// whatever else is written the way people type commands.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut words, mut text, mut rest) = (Vec::new(), Vec::new(), line);
    while let Some(after) = next_word(rest, &mut text, |_, text| words.push(std::mem::take(text))).ok()? {
        rest = after;
    }
    Some(words)
}

/// Decodes the first word of `line` to the end of `text`, calls `done` with where it began there, and returns what
/// follows it; `None` if there is no word.
fn next_word<'a>(
    line: &'a [u8],
    text: &mut Vec<u8>,
    done: impl FnOnce(usize, &mut Vec<u8>),
) -> Result<Option<&'a [u8]>, Unbalanced> {
    let Some(start) = line.iter().position(|&byte| !is_space(byte)) else {
        return Ok(None);
    };
    let mut rest = &line[start..];
    if rest.first() == Some(&0) {
        return Ok(None);
    }
    let begin = text.len();
    loop {
        rest = match *rest {
            [] => break,
            // A NUL stays in place, so that it ends the line for the next call, too.
            [byte, ..] if ends_word(byte) => break,
            [quote @ (b'"' | b'\''), ref after @ ..] => {
                let after = if quote == b'"' { double_quoted(after, text)? } else { single_quoted(after, text)? };
                if after.first().is_some_and(|&byte| byte != 0 && !is_space(byte)) {
                    return Err(Unbalanced);
                }
                rest = after;
                break;
            }
            [byte, ref after @ ..] => {
                text.push(byte);
                after
            }
        };
    }
    done(begin, text);
    Ok(Some(rest))
}

fn double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match *rest {
            [] | [0, ..] => return Err(Unbalanced),
            [b'"', ref after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, ref after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(high) * 16 + hex(low), after)
            }
            [b'\\', escaped @ 1..=255, ref after @ ..] => (unescape(escaped), after),
            [byte, ref after @ ..] => (byte, after),
        };
        text.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match *rest {
            [] | [0, ..] => return Err(Unbalanced),
            [b'\'', ref after @ ..] => return Ok(after),
            [b'\\', b'\'', ref after @ ..] => (b'\'', after),
            [byte, ref after @ ..] => (byte, after),
        };
        text.push(byte);
        rest = after;
    }
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &str) -> Option<Vec<String>> {
        Some(split_args(line.as_bytes())?.iter().map(|word| word.escape_ascii().to_string()).collect())
    }

    #[test]
    fn words_are_split_at_blanks() {
        assert_eq!(split("").unwrap(), Vec::<String>::new());
        assert_eq!(split("  \t ").unwrap(), Vec::<String>::new());
        assert_eq!(split(" set  a\tb ").unwrap(), ["set", "a", "b"]);
        assert_eq!(split("a\u{b}b \u{c}c").unwrap(), ["a\\x0bb", "c"]);
        assert_eq!(split("a\0b c").unwrap(), ["a"]);
        assert_eq!(split("\0b c").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split(r#"set "a b" 'c d'"#).unwrap(), ["set", "a b", "c d"]);
        assert_eq!(split(r#""" ''"#).unwrap(), ["", ""]);
        assert_eq!(split(r#"pre"fix ed""#).unwrap(), ["prefix ed"]);
        assert_eq!(split(r#""\n\r\t\b\a\x41\q\"" '\'\n'"#).unwrap(), [r#"\n\r\t\x08\x07Aq\""#, r"\'\\n"]);
        assert_eq!(split(r#""\x4" "\xzz""#).unwrap(), ["x4", "xzz"]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [r#""foo"bar"#, "\"foo'", "'foo", "\"foo\\\"", "'a'b", "x \"", "\"a\0\""] {
            assert_eq!(split(line), None, "{line}");
        }
        assert_eq!(split("\"a\"\0b").unwrap(), ["a"]);
    }

    #[test]
    fn inline_requests_leave_out_empty_words() {
        let (mut text, mut args) = (Vec::new(), Vec::new());
        quoted_words(br#"SET a "" 'b'"#, &mut text, &mut args).unwrap();
        let words: Vec<&[u8]> = args.iter().map(|arg| arg.of(&text)).collect();
        assert_eq!(words, [&b"SET"[..], b"a", b"b"]);
    }

    proptest! {
        #[test]
        fn plain_lines_split_the_same_either_way(line in "[ab \t\r\u{b}\u{c}]{0,20}") {
            let line = line.as_bytes();
            prop_assert!(is_plain(line));
            let mut args = Vec::new();
            plain_words(line, &mut args);
            let words: Vec<Vec<u8>> = args.iter().map(|arg| arg.of(line).to_vec()).collect();
            prop_assert_eq!(words, split_args(line).unwrap());
        }

        #[test]
        fn quoting_every_byte_survives(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..5)) {
            let mut line = Vec::new();
            for word in &words {
                line.push(b'"');
                word.iter().for_each(|byte| line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()));
                line.extend_from_slice(b"\" ");
            }
            prop_assert_eq!(split_args(&line).unwrap(), words);
        }
    }
}

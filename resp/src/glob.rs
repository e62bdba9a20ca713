//! The pattern language of KEYS, SCAN, PSUBSCRIBE, CONFIG GET and SORT.
//!
//! `*` any bytes, `?` one byte, `[a-z]` `[^ab]` one byte of a set, `\x` the byte x. All else stands for itself. Semantics are
//! those of `stringmatchlen` in 3.2, odd ones included: an unclosed set ends with the pattern, bytes in ranges compare as
//! signed, `]` may be the end of a range, and ignoring case does not reach an escaped byte in a set.
//!
//! Every element but `*` takes exactly one byte, so on a mismatch only the last `*` needs to be tried with one byte more:
//! time is at most pattern times text, where the recursive original is exponential in the number of stars.

/// Whether all of `text` matches `pattern`; `nocase` ignores the case of ASCII letters.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and where the text it does not take begins.
    let mut last_star: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            Some(b'*') => {
                while pattern.get(p) == Some(&b'*') {
                    p += 1;
                }
                if p == pattern.len() {
                    return true;
                }
                last_star = Some((p, t));
                continue;
            }
            Some(_) => {
                if let Some(&byte) = text.get(t) {
                    let (matched, len) = one(&pattern[p..], byte, nocase);
                    if matched {
                        p += len;
                        t += 1;
                        continue;
                    }
                }
            }
            None if t == text.len() => return true,
            None => {}
        }
        match last_star {
            Some((behind, start)) if start < text.len() => {
                last_star = Some((behind, start + 1));
                (p, t) = (behind, start + 1);
            }
            _ => return false,
        }
    }
}

/// Whether the first element of `pattern`, which is no star, takes `byte`, and the element's length.
#[inline]
fn one(pattern: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    match *pattern {
        [b'?', ..] => (true, 1),
        [b'[', ref set @ ..] => {
            let (matched, len) = one_of(set, byte, nocase);
            (matched, len + 1)
        }
        [b'\\', literal, ..] => (same(literal, byte, nocase), 2),
        [literal, ..] => (same(literal, byte, nocase), 1),
        [] => (false, 0),
    }
}

/// Whether the set that begins behind `[` takes `byte`, and its length with the closing bracket.
fn one_of(set: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match set.get(at..).unwrap_or_default() {
            [] => return (found != negated, set.len()),
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [b']', ..] => return (found != negated, at + 1),
            [start, b'-', end, ..] => {
                found |= in_range(*start, *end, byte, nocase);
                at += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, nocase);
                at += 1;
            }
        }
    }
}

fn in_range(start: u8, end: u8, byte: u8, nocase: bool) -> bool {
    // C's plain char is signed where Redis runs.
    let (start, end) = if start as i8 > end as i8 { (end, start) } else { (start, end) };
    let fold = |byte: u8| match byte {
        // C's tolower, which glibc also lets make signed bytes unsigned; 0xff is its end-of-file mark.
        0..=0xfe if nocase => i32::from(byte.to_ascii_lowercase()),
        _ => i32::from(byte as i8),
    };
    (fold(start)..=fold(end)).contains(&fold(byte))
}

#[inline]
fn same(a: u8, b: u8, nocase: bool) -> bool {
    if nocase { a.eq_ignore_ascii_case(&b) } else { a == b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        glob_match(pattern.as_bytes(), text.as_bytes(), false)
    }

    #[test]
    fn stars_and_marks() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("**", "ab"),
            ("a*", "a"),
            ("*a", "a"),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("*a*b*", "xaxbx"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("?", ""), ("a", ""), ("*a", ""), ("a*c", "abb"), ("a?c", "ac"), ("abc", "ab"), ("ab", "abc")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn sets() {
        for (pattern, text) in [
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("[\\]]", "]"),
            ("[\\a-c]", "a"),
            ("[\\a-c]", "-"),
            ("[\\", "\\"),
            ("[^]", "x"),
            ("[a-]", "_"),
            ("[a-]", "]"),
            ("[abc", "b"),
            ("[^", "x"),
            ("[a-", "-"),
            ("x[ab]*", "xb"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("[]", "]"),
            ("[]abc]", "a"),
            ("[", "["),
            ("[a-c]", ""),
            ("[\\a-c]", "b"),
            ("[^a]", ""),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn escapes() {
        assert!(matches("\\*", "*") && !matches("\\*", "a"));
        assert!(matches("a\\?", "a?") && matches("\\", "\\") && matches("\\\\", "\\"));
    }

    #[test]
    fn case_is_ignored_where_3_2_ignores_it() {
        let matches = |pattern: &[u8], text: &[u8]| glob_match(pattern, text, true);
        assert!(matches(b"MaxMemory*", b"maxmemory-policy") && matches(b"[a-c]", b"B") && matches(b"[B]", b"b"));
        assert!(!matches(b"[\\B]", b"b"));
        assert!(!matches(b"[Z-a]", b"z"), "the ends are ordered before case is folded");
    }

    #[test]
    fn bytes_of_a_range_are_signed() {
        assert!(glob_match(b"[\x80-a]", b"\xff", false));
        assert!(!glob_match(b"[a-\xff]", b"b", false) && glob_match(b"[a-\xff]", b"B", false));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = [&b"a*".repeat(200)[..], b"b"].concat();
        assert!(!glob_match(&pattern, &b"a".repeat(5_000), false));
    }

    /// The recursive definition: a star takes nothing, or one byte and then what a star takes.
    fn model(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', after @ ..], _) => {
                model(after, text, nocase) || text.split_first().is_some_and(|(_, rest)| model(pattern, rest, nocase))
            }
            (_, []) => false,
            (_, [byte, rest @ ..]) => {
                let (matched, len) = one(pattern, *byte, nocase);
                matched && model(&pattern[len..], rest, nocase)
            }
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_recursive_definition_matches(pattern in "[a-cA\\*\\?\\[\\]\\^\\\\-]{0,10}", text in "[a-cAB\\]\\^-]{0,8}", nocase: bool) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob_match(pattern, text, nocase), model(pattern, text, nocase));
        }

        #[test]
        fn every_text_matches_itself_escaped(text in proptest::collection::vec(any::<u8>(), 0..20)) {
            let escaped: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
            prop_assert!(glob_match(&escaped, &text, false));
        }
    }
}

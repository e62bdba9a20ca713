//! Rust source without its comments and literals: what is left is code, on the same lines.

/// `source` with every comment, string and character replaced by blanks; line ends stay.
///
/// Follows "Comments" and "Tokens" of the Rust Reference as far as it takes to know where a literal ends.
pub fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = literal_or_comment(rest);
        if skipped > 0 {
            let (literal, after) = rest.split_at(skipped);
            code.extend(literal.chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
            rest = after;
            continue;
        }
        // A word as a whole, so that the `r` of `for"` is no prefix of a string.
        let word = rest.find(|char: char| !is_word(char)).unwrap_or(rest.len());
        let step = if word > 0 && !starts_literal(rest) { word } else { first.len_utf8() };
        code.push_str(&rest[..step]);
        rest = &rest[step..];
    }
    code
}

/// Whether `char` can stand in an identifier.
pub fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Bytes of the literal or comment at the start of `rest`; 0 if there is none.
fn literal_or_comment(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let prefix = prefix_len(rest);
    let body = &rest[prefix..];
    let is_raw = rest[..prefix].ends_with('r');
    match body.as_bytes().first() {
        Some(b'"' | b'#') if is_raw => raw_string(body).map_or(0, |len| prefix + len),
        Some(b'"') => prefix + quoted(body, b'"'),
        Some(b'\'') if prefix == 0 || &rest[..prefix] == "b" => character(body).map_or(0, |len| prefix + len),
        _ => 0,
    }
}

fn starts_literal(rest: &str) -> bool {
    prefix_len(rest) > 0 && literal_or_comment(rest) > 0
}

/// Bytes of `b`, `c`, `r`, `br` or `cr` in front of a quote or a raw string's `#`.
fn prefix_len(rest: &str) -> usize {
    let prefixes = ["br", "cr", "r", "b", "c"];
    let found = prefixes
        .iter()
        .find(|&&prefix| rest.strip_prefix(prefix).is_some_and(|after| after.starts_with(['"', '#', '\''])));
    found.map_or(0, |prefix| prefix.len())
}

fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (at, depth) = (at + 2, depth + 1),
            Some(b"*/") => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// `#"..."#` with as many `#` at the end as at the start; `None` for a raw identifier.
fn raw_string(body: &str) -> Option<usize> {
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let len = inside.find(&close).map_or(inside.len(), |at| at + close.len());
    Some(hashes + 1 + len)
}

/// A literal in quotes, in which a backslash takes away the next character's meaning.
fn quoted(body: &str, quote: u8) -> usize {
    let bytes = body.as_bytes();
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\\' => at += 1,
            _ if byte == quote => break,
            _ => {}
        }
    }
    // A multi-byte character behind a backslash is not valid Rust, yet must not split.
    while at < bytes.len() && !body.is_char_boundary(at) {
        at += 1;
    }
    at.min(bytes.len())
}

/// `'x'` or `'\...'`; `None` for a lifetime or a label.
fn character(body: &str) -> Option<usize> {
    let mut chars = body.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return Some(quoted(body, b'\''));
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is left, with runs of blanks as one.
    fn check(source: &str, code: &str) {
        let left = code_only(source);
        assert_eq!(left.split_whitespace().collect::<Vec<_>>().join(" "), code, "{source}");
        assert_eq!(left.matches('\n').count(), source.matches('\n').count(), "{source}");
    }

    #[test]
    fn comments_are_blanked_nested_ones_too() {
        check("a // unsafe\nb", "a b");
        check("a /* x /* unsafe */ y\n */ b", "a b");
        check("a /* never closed", "a");
        check("//! header\n/// doc\nfn f() {}", "fn f() {}");
    }

    #[test]
    fn strings_of_every_kind_are_blanked() {
        check(r#"a("x \" unsafe", b"y", c"z") b"#, "a( , , ) b");
        check(r##"a(r#"quote " unsafe"#, br"\") b"##, "a( , ) b");
        check("a(\"// no comment\") b", "a( ) b");
        check("a \"never closed", "a");
        check("a \"two\nlines\" b", "a b");
    }

    #[test]
    fn characters_are_blanked_and_lifetimes_stay() {
        check("a('\"', '\\'', b'\\\\', '\u{e9}') b", "a( , , , ) b");
        check("fn f<'a>(x: &'a str, y: &'static u8) {}", "fn f<'a>(x: &'a str, y: &'static u8) {}");
        check("'outer: loop { break 'outer }", "'outer: loop { break 'outer }");
    }

    #[test]
    fn words_that_end_like_a_prefix_and_raw_identifiers_are_code() {
        check("for\"x\"", "for");
        check("r#type + br + c", "r#type + br + c");
        check("number(b)", "number(b)");
    }

    proptest! {
        #[test]
        fn whatever_is_blanked_keeps_its_place(
            parts in proptest::collection::vec("[a-c'\"#/*\\\\\né]{0,4}", 0..12),
        ) {
            let text = parts.concat();
            let code = code_only(&text);
            prop_assert_eq!(code.chars().count(), text.chars().count());
            for (left, was) in code.chars().zip(text.chars()) {
                prop_assert!(left == was || (left == ' ' && was != '\n'), "{:?} for {:?}", left, was);
            }
        }
    }
}

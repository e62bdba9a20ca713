//! JSON text to tokens, as lenient as lua-cjson is: the text ends at a zero byte, numbers are what C's `strtod` takes.

/// A piece of JSON, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Byte position, from 0; of an error, where it was noticed.
    pub(super) position: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Colon,
    Comma,
    End,
    Null,
    Boolean(bool),
    Number(f64),
    /// A string without escapes: these bytes of the text.
    Plain(usize, usize),
    /// A string with escapes: what [`Lexer::unescaped`] holds.
    Unescaped,
    Error(&'static str),
}

impl TokenKind {
    /// The name in error messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            TokenKind::ObjectBegin => "T_OBJ_BEGIN",
            TokenKind::ObjectEnd => "T_OBJ_END",
            TokenKind::ArrayBegin => "T_ARR_BEGIN",
            TokenKind::ArrayEnd => "T_ARR_END",
            TokenKind::Colon => "T_COLON",
            TokenKind::Comma => "T_COMMA",
            TokenKind::End => "T_END",
            TokenKind::Null => "T_NULL",
            TokenKind::Boolean(_) => "T_BOOLEAN",
            TokenKind::Number(_) => "T_NUMBER",
            TokenKind::Plain(..) | TokenKind::Unescaped => "T_STRING",
            TokenKind::Error(text) => text,
        }
    }
}

/// Where reading is. The text itself is given at each step, since it lives on the Lua stack.
#[derive(Default)]
pub(super) struct Lexer {
    pub(super) position: usize,
    /// Take NaN, infinities and hexadecimal numbers.
    pub(super) invalid_numbers: bool,
    pub(super) unescaped: Vec<u8>,
}

impl Lexer {
    /// The next token of `text`.
    pub(super) fn next(&mut self, text: &[u8]) -> Token {
        while matches!(text.get(self.position), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
        let position = self.position;
        let kind = self.read(text);
        let position = if matches!(kind, TokenKind::Error(_)) { self.position } else { position };
        Token { kind, position }
    }

    fn read(&mut self, text: &[u8]) -> TokenKind {
        let rest = text.get(self.position..).unwrap_or_default();
        let single = match rest.first() {
            None | Some(0) => return TokenKind::End,
            Some(b'{') => TokenKind::ObjectBegin,
            Some(b'}') => TokenKind::ObjectEnd,
            Some(b'[') => TokenKind::ArrayBegin,
            Some(b']') => TokenKind::ArrayEnd,
            Some(b':') => TokenKind::Colon,
            Some(b',') => TokenKind::Comma,
            Some(b'"') => return self.string(text),
            Some(b'-' | b'0'..=b'9') => {
                if !self.invalid_numbers && !is_strict(rest) {
                    return TokenKind::Error("invalid number");
                }
                return self.number(rest);
            }
            Some(b't') if rest.starts_with(b"true") => return self.word(4, TokenKind::Boolean(true)),
            Some(b'f') if rest.starts_with(b"false") => return self.word(5, TokenKind::Boolean(false)),
            Some(b'n') if rest.starts_with(b"null") => return self.word(4, TokenKind::Null),
            Some(b'i' | b'I' | b'n' | b'N' | b'+') if self.invalid_numbers && !is_strict(rest) => {
                return self.number(rest);
            }
            Some(_) => return TokenKind::Error("invalid token"),
        };
        self.word(1, single)
    }

    fn word(&mut self, len: usize, kind: TokenKind) -> TokenKind {
        self.position += len;
        kind
    }

    fn number(&mut self, rest: &[u8]) -> TokenKind {
        let number = resp::strtod(rest);
        if number.len == 0 {
            return TokenKind::Error("invalid number");
        }
        self.word(number.len, TokenKind::Number(number.value))
    }

    /// A string; the position is at its opening quote.
    fn string(&mut self, text: &[u8]) -> TokenKind {
        self.position += 1;
        let start = self.position;
        match self.skip_plain(text) {
            Some(b'"') => {
                let end = self.position;
                return self.word(1, TokenKind::Plain(start, end));
            }
            Some(b'\\') => {}
            _ => return TokenKind::Error("unexpected end of string"),
        }
        self.unescaped.clear();
        self.unescaped.extend_from_slice(&text[start..self.position]);
        loop {
            if let Err(error) = self.escape(text) {
                return TokenKind::Error(error);
            }
            let start = self.position;
            let next = self.skip_plain(text);
            self.unescaped.extend_from_slice(&text[start..self.position]);
            match next {
                Some(b'"') => return self.word(1, TokenKind::Unescaped),
                Some(b'\\') => {}
                _ => return TokenKind::Error("unexpected end of string"),
            }
        }
    }

    /// Moves to the next quote, backslash or zero byte, and returns it.
    fn skip_plain(&mut self, text: &[u8]) -> Option<u8> {
        let rest = &text[self.position..];
        match rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0)) {
            Some(len) => {
                self.position += len;
                Some(rest[len])
            }
            None => {
                self.position = text.len();
                None
            }
        }
    }

    /// Takes the escape that begins at the position.
    fn escape(&mut self, text: &[u8]) -> Result<(), &'static str> {
        let byte = match text.get(self.position + 1) {
            Some(b'b') => 0x08,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'f') => 0x0c,
            Some(b'r') => b'\r',
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'u') => return self.unicode_escape(text).ok_or("invalid unicode escape code"),
            _ => return Err("invalid escape code"),
        };
        self.unescaped.push(byte);
        self.position += 2;
        Ok(())
    }

    /// `\uXXXX`, or two of them for a character beyond 16 bits.
    fn unicode_escape(&mut self, text: &[u8]) -> Option<()> {
        let unit = hex_unit(text, self.position + 2)?;
        let (code, len) = match unit {
            0xd800..0xdc00 => {
                if text.get(self.position + 6..self.position + 8) != Some(b"\\u") {
                    return None;
                }
                let low = hex_unit(text, self.position + 8).filter(|low| (0xdc00..0xe000).contains(low))?;
                (0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff), 12)
            }
            _ => (unit, 6),
        };
        // Lone low halves are no characters, and so refused here.
        let character = char::from_u32(code)?;
        self.unescaped.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.position += len;
        Some(())
    }
}

/// Four hexadecimal digits.
fn hex_unit(text: &[u8], at: usize) -> Option<u32> {
    text.get(at..at + 4)?.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// False for numbers that C reads but JSON has not: with a plus, leading zeros, hexadecimal, infinite, NaN. What is no
/// number at all may pass.
fn is_strict(rest: &[u8]) -> bool {
    let digits = rest.strip_prefix(b"-").unwrap_or(rest);
    match digits {
        [b'+', ..] if digits.len() == rest.len() => false,
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => false,
        [a, b, c, ..] => !matches!(&[a, b, c].map(u8::to_ascii_lowercase), b"inf" | b"nan"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &[u8], invalid_numbers: bool) -> Vec<TokenKind> {
        let mut lexer = Lexer { invalid_numbers, ..Lexer::default() };
        let mut found = Vec::new();
        loop {
            let token = lexer.next(text);
            let last = matches!(token.kind, TokenKind::End | TokenKind::Error(_));
            found.push(token.kind);
            if last {
                return found;
            }
        }
    }

    #[test]
    fn reads_numbers_as_c_does() {
        use TokenKind::{End, Error, Number};
        for (text, lenient, strict) in [
            ("1", vec![Number(1.0), End], vec![Number(1.0), End]),
            ("-0.5e1", vec![Number(-5.0), End], vec![Number(-5.0), End]),
            ("0x10", vec![Number(16.0), End], vec![Error("invalid number")]),
            ("007", vec![Number(7.0), End], vec![Error("invalid number")]),
            ("+7", vec![Number(7.0), End], vec![Error("invalid token")]),
            ("Infinity", vec![Number(f64::INFINITY), End], vec![Error("invalid token")]),
            ("-inf", vec![Number(f64::NEG_INFINITY), End], vec![Error("invalid number")]),
            ("-", vec![Error("invalid number")], vec![Error("invalid number")]),
            ("-x", vec![Error("invalid number")], vec![Error("invalid number")]),
            ("nul", vec![Error("invalid token")], vec![Error("invalid token")]),
        ] {
            assert_eq!(tokens(text.as_bytes(), true), lenient, "{text}");
            assert_eq!(tokens(text.as_bytes(), false), strict, "{text}");
        }
    }

    #[test]
    fn reads_escapes() {
        let mut lexer = Lexer::default();
        let token = lexer.next(br#""a\u0041\u00e9\u20ac\ud83d\ude00\n\/\"z""#);
        assert_eq!(token.kind, TokenKind::Unescaped);
        assert_eq!(lexer.unescaped, "aAé€😀\n/\"z".as_bytes());
        for wrong in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#""\u12""#, r#""\u12g4""#] {
            assert_eq!(tokens(wrong.as_bytes(), true), [TokenKind::Error("invalid unicode escape code")], "{wrong}");
        }
        assert_eq!(tokens(br#""\x""#, true), [TokenKind::Error("invalid escape code")]);
        assert_eq!(tokens(b"\"ab", true), [TokenKind::Error("unexpected end of string")]);
        assert_eq!(tokens(b"\"a\0b\"", true), [TokenKind::Error("unexpected end of string")]);
    }

    #[test]
    fn any_bytes_end() {
        proptest::proptest!(|(text: Vec<u8>, invalid_numbers: bool)| {
            tokens(&text, invalid_numbers);
        });
        proptest::proptest!(|(text in r#"[-+0-9.eEx"\\{}\[\]:, untrfalsi]{0,60}"#)| {
            tokens(text.as_bytes(), true);
        });
    }
}

//! cjson.decode: JSON to values. `null` becomes `cjson.null`, the null pointer. Not recursive: the text decides how
//! deep it nests.

use super::super::Pace;
use super::Settings;
use super::lexer::{Lexer, Token, TokenKind};
use crate::ffi::{Raise, Stack};

/// A table that is being filled; its element (and before it, in an object, the key) is pushed above it.
enum Open {
    Array { slot: u32, index: i32 },
    Object { slot: u32 },
}

struct Parser<'s, 'a> {
    stack: &'s mut Stack<'a>,
    lexer: Lexer,
    open: Vec<Open>,
    depth_max: usize,
    pace: Pace,
}

pub(super) fn decode(stack: &mut Stack<'_>) -> Result<u32, Raise> {
    if stack.top() != 1 {
        return Err(Raise::argument(1, "expected 1 argument"));
    }
    stack.check_text(1)?;
    if let Some([0, _, ..] | [_, 0, ..]) = stack.bytes(1) {
        return Err(Raise::Error("JSON parser does not support UTF-16 or UTF-32".into()));
    }
    let settings = Settings::of(stack);
    let shared = stack.shared();
    let lexer = Lexer { position: 0, invalid_numbers: settings.decode_invalid, unescaped: shared.scratch.take() };
    let mut parser =
        Parser { stack, lexer, open: Vec::new(), depth_max: settings.decode_depth_max as usize, pace: Pace::default() };
    let result = parser.document();
    shared.scratch.replace(parser.lexer.unescaped);
    result?;
    Ok(1)
}

impl Parser<'_, '_> {
    fn next(&mut self) -> Token {
        self.lexer.next(self.stack.bytes(1).unwrap_or_default())
    }

    fn document(&mut self) -> Result<(), Raise> {
        let mut token = self.next();
        loop {
            if let Some(first) = self.value(token)? {
                token = first;
                continue;
            }
            // A value is complete, and with it perhaps the tables around it.
            match self.attach()? {
                Some(next) => token = next,
                None => break,
            }
        }
        let token = self.next();
        if token.kind != TokenKind::End {
            return Err(expected("the end", &token));
        }
        Ok(())
    }

    /// Pushes the value that `token` begins. Of a table with elements it pushes the table and returns the token that
    /// begins its first value.
    fn value(&mut self, token: Token) -> Result<Option<Token>, Raise> {
        match token.kind {
            TokenKind::Number(number) => self.stack.push_number(number)?,
            TokenKind::Boolean(value) => self.stack.push_boolean(value)?,
            TokenKind::Null => self.stack.push_null_pointer()?,
            TokenKind::Plain(..) | TokenKind::Unescaped => self.push_string(&token)?,
            TokenKind::ObjectBegin => {
                self.descend(3)?;
                let token = self.next();
                if token.kind != TokenKind::ObjectEnd {
                    self.open.push(Open::Object { slot: self.stack.top() });
                    return self.key(token).map(Some);
                }
            }
            TokenKind::ArrayBegin => {
                self.descend(2)?;
                let token = self.next();
                if token.kind != TokenKind::ArrayEnd {
                    self.open.push(Open::Array { slot: self.stack.top(), index: 1 });
                    return Ok(Some(token));
                }
            }
            _ => return Err(expected("value", &token)),
        }
        Ok(None)
    }

    /// Puts the value on top into the table below. Returns the token that begins the next value, or nothing when the
    /// outermost value is complete.
    fn attach(&mut self) -> Result<Option<Token>, Raise> {
        self.pace.step(self.stack, b"")?;
        while let Some(open) = self.open.last_mut() {
            match open {
                Open::Array { slot, index } => {
                    self.stack.set_index(*slot, *index)?;
                    *index = index.saturating_add(1);
                    let token = self.next();
                    match token.kind {
                        TokenKind::ArrayEnd => {}
                        TokenKind::Comma => return Ok(Some(self.next())),
                        _ => return Err(expected("comma or array end", &token)),
                    }
                }
                Open::Object { slot } => {
                    self.stack.set(*slot)?;
                    let token = self.next();
                    match token.kind {
                        TokenKind::ObjectEnd => {}
                        TokenKind::Comma => {
                            let token = self.next();
                            return self.key(token).map(Some);
                        }
                        _ => return Err(expected("comma or object end", &token)),
                    }
                }
            }
            self.open.pop();
        }
        Ok(None)
    }

    /// Pushes the key that `token` is, and returns the token after the colon.
    fn key(&mut self, token: Token) -> Result<Token, Raise> {
        if !matches!(token.kind, TokenKind::Plain(..) | TokenKind::Unescaped) {
            return Err(expected("object key string", &token));
        }
        self.push_string(&token)?;
        let token = self.next();
        if token.kind != TokenKind::Colon {
            return Err(expected("colon", &token));
        }
        Ok(self.next())
    }

    fn push_string(&mut self, token: &Token) -> Result<(), Raise> {
        match token.kind {
            TokenKind::Plain(from, to) => self.stack.push_part(1, from, to),
            _ => self.stack.push_bytes(&self.lexer.unescaped),
        }
    }

    /// Pushes a table, if depth and stack allow it.
    fn descend(&mut self, slots: u32) -> Result<(), Raise> {
        let depth = self.open.len() + 1;
        if depth > self.depth_max || !self.stack.room(slots) {
            let at = self.lexer.position;
            return Err(Raise::Error(
                format!("Found too many nested data structures ({depth}) at character {at}").into(),
            ));
        }
        self.stack.push_table(0, 0)
    }
}

fn expected(what: &str, found: &Token) -> Raise {
    let text = format!("Expected {what} but found {} at character {}", found.kind.name(), found.position + 1);
    Raise::Error(text.into())
}

//! Replies as values: for whoever is a client (tests, links to other servers, scripts reading what a command replied).
//!
//! [`Reply::decode`] reads one from the beginning of a buffer; [`Scanner`] finds out cheaply whether a whole one is there,
//! looking at each byte once however many reads it takes.

use crate::number::parse_i64;
use crate::out::Out;
use memchr::memchr;

/// Arrays may nest so deep.
pub const DEPTH_MAX: usize = 32;
/// Longest status or error line, in bytes.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Longest string, in bytes: what a server accepts, and some for those it makes itself.
pub const BULK_BYTES_MAX: i64 = 1 << 30;
/// Most elements of an array.
pub const ARRAY_MAX: i64 = i32::MAX as i64;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+`: a status.
    Simple(Vec<u8>),
    /// `-`: an error, its code included.
    Error(Vec<u8>),
    /// `:`: an integer.
    Int(i64),
    /// `$`: a string or none.
    Bulk(Option<Vec<u8>>),
    /// `*`: an array or none.
    Array(Option<Vec<Reply>>),
}

/// Bytes that are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A reply cannot begin with this byte.
    #[error("reply begins with byte {0:#04x}")]
    Kind(u8),
    /// A length or an integer is no number or out of bounds.
    #[error("bad number in reply")]
    Number,
    /// A line has no end within [`LINE_BYTES_MAX`].
    #[error("line of reply too long")]
    Line,
    /// A string is not followed by a line end.
    #[error("string of reply without end")]
    Bulk,
    /// Arrays nest deeper than [`DEPTH_MAX`].
    #[error("reply nested too deep")]
    Depth,
}

/// The beginning of a reply.
enum Head<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Int(i64),
    Bulk(Option<&'a [u8]>),
    Array(Option<usize>),
}

/// The head at `at` and the offset behind it; `None` if it is not complete.
fn head(buf: &[u8], at: usize) -> Result<Option<(Head<'_>, usize)>, DecodeError> {
    let rest = buf.get(at..).unwrap_or_default();
    let Some(&kind) = rest.first() else {
        return Ok(None);
    };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(DecodeError::Kind(kind));
    }
    let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr(b'\n', window) else {
        return if rest.len() >= LINE_BYTES_MAX { Err(DecodeError::Line) } else { Ok(None) };
    };
    let line = rest[1..end.max(1)].strip_suffix(b"\r").ok_or(DecodeError::Line)?;
    let next = at + end + 1;
    let head = match kind {
        b'+' => Head::Simple(line),
        b'-' => Head::Error(line),
        b':' => Head::Int(parse_i64(line).ok_or(DecodeError::Number)?),
        b'$' => match length(line, BULK_BYTES_MAX)? {
            None => Head::Bulk(None),
            Some(len) => {
                let Some(text) = buf.get(next..next + len + 2) else {
                    return Ok(None);
                };
                let text = text.strip_suffix(b"\r\n").ok_or(DecodeError::Bulk)?;
                return Ok(Some((Head::Bulk(Some(text)), next + len + 2)));
            }
        },
        _ => Head::Array(length(line, ARRAY_MAX)?),
    };
    Ok(Some((head, next)))
}

/// A length; -1 is none.
fn length(line: &[u8], max: i64) -> Result<Option<usize>, DecodeError> {
    match parse_i64(line) {
        Some(-1) => Ok(None),
        Some(len) if (0..=max).contains(&len) => Ok(Some(len as usize)),
        _ => Err(DecodeError::Number),
    }
}

impl Reply {
    /// A string.
    pub fn bulk(text: impl Into<Vec<u8>>) -> Reply {
        Reply::Bulk(Some(text.into()))
    }

    /// The reply at the beginning of `buf` and its length; `None` if it is not complete.
    ///
    /// Starts over on every call: while big replies arrive in pieces, ask a [`Scanner`] first.
    pub fn decode(buf: &[u8]) -> Result<Option<(Reply, usize)>, DecodeError> {
        decode_at(buf, 0, 0)
    }

    /// Appends the reply in protocol form.
    pub fn encode(&self, out: &mut Out) {
        match self {
            Reply::Simple(text) => out.simple_line(text),
            Reply::Error(text) => out.error_line(text),
            Reply::Int(value) => out.int(*value),
            Reply::Bulk(text) => out.bulk_or_null(text.as_deref()),
            Reply::Array(None) => out.null_array(),
            Reply::Array(Some(elements)) => {
                out.array(elements.len());
                elements.iter().for_each(|element| element.encode(out));
            }
        }
    }
}

fn decode_at(buf: &[u8], at: usize, depth: usize) -> Result<Option<(Reply, usize)>, DecodeError> {
    let Some((head, mut next)) = head(buf, at)? else {
        return Ok(None);
    };
    let reply = match head {
        Head::Simple(text) => Reply::Simple(text.to_vec()),
        Head::Error(text) => Reply::Error(text.to_vec()),
        Head::Int(value) => Reply::Int(value),
        Head::Bulk(text) => Reply::Bulk(text.map(<[u8]>::to_vec)),
        Head::Array(None) => Reply::Array(None),
        Head::Array(Some(_)) if depth >= DEPTH_MAX => return Err(DecodeError::Depth),
        Head::Array(Some(len)) => {
            // An announced length is not yet a reason to believe it.
            let mut elements = Vec::with_capacity(len.min((buf.len() - next) / 4 + 1));
            for _ in 0..len {
                let Some((element, after)) = decode_at(buf, next, depth + 1)? else {
                    return Ok(None);
                };
                elements.push(element);
                next = after;
            }
            Reply::Array(Some(elements))
        }
    };
    Ok(Some((reply, next)))
}

/// Finds the end of a reply that arrives in pieces. One per connection; the buffer always begins at the reply.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Everything before this offset is understood.
    at: usize,
    /// Elements still to come, of each array that is open.
    open: Vec<u32>,
}

impl Scanner {
    /// A scanner at the beginning of a reply.
    pub fn new() -> Scanner {
        Scanner::default()
    }

    /// The length of the reply at the beginning of `buf`, after which the scanner is at the beginning of the next one;
    /// `None` if it is not complete. After an error the stream is lost.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
        loop {
            let Some((head, next)) = head(buf, self.at)? else {
                return Ok(None);
            };
            self.at = next;
            match head {
                Head::Array(Some(_)) if self.open.len() >= DEPTH_MAX => {
                    return Err(DecodeError::Depth);
                }
                Head::Array(Some(len @ 1..)) => self.open.push(len as u32),
                _ => self.close(),
            }
            if self.open.is_empty() {
                return Ok(Some(std::mem::take(&mut self.at)));
            }
        }
    }

    /// An element is complete, and with it every array whose last one it was.
    fn close(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply() -> impl Strategy<Value = Reply> {
        let text = || proptest::collection::vec(any::<u8>(), 0..50);
        let line = || text().prop_map(|line| line.into_iter().filter(|byte| !b"\r\n".contains(byte)).collect());
        let leaf = prop_oneof![
            line().prop_map(Reply::Simple),
            line().prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Int),
            text().prop_map(Reply::bulk),
            Just(Reply::Bulk(None)),
            Just(Reply::Array(None)),
        ];
        leaf.prop_recursive(4, 40, 5, |element| {
            proptest::collection::vec(element, 0..5).prop_map(|elements| Reply::Array(Some(elements)))
        })
    }

    fn encoded(replies: &[Reply]) -> Vec<u8> {
        let mut out = Out::new();
        replies.iter().for_each(|reply| reply.encode(&mut out));
        out.into_vec()
    }

    /// What scanner and decoder both say of a buffer.
    fn both(buf: &[u8]) -> Result<Option<(Reply, usize)>, DecodeError> {
        let decoded = Reply::decode(buf);
        let scanned = Scanner::new().scan(buf);
        assert_eq!(decoded.clone().map(|reply| reply.map(|(_, len)| len)), scanned);
        decoded
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for (bytes, error) in [
            (&b"x"[..], DecodeError::Kind(b'x')),
            (b"\r\n", DecodeError::Kind(b'\r')),
            (b":1x\r\n", DecodeError::Number),
            (b":\r\n", DecodeError::Number),
            (b"$-2\r\n", DecodeError::Number),
            (b"*2147483648\r\n", DecodeError::Number),
            (b"$1073741825\r\n", DecodeError::Number),
            (b"+OK\n", DecodeError::Line),
            (b"+\n", DecodeError::Line),
            (b"$1\r\nabc", DecodeError::Bulk),
            (b"*1\r\n!", DecodeError::Kind(b'!')),
        ] {
            assert_eq!(both(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(both(&vec![b'+'; LINE_BYTES_MAX]), Err(DecodeError::Line));
    }

    #[test]
    fn arrays_nest_to_a_limit() {
        let nested = |depth| [&b"*1\r\n".repeat(depth)[..], b"*0\r\n"].concat();
        assert!(both(&nested(DEPTH_MAX - 1)).is_ok_and(|reply| reply.is_some()));
        assert_eq!(both(&nested(DEPTH_MAX)), Err(DecodeError::Depth));
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        assert_eq!(both(b"*2147483647\r\n:1\r\n"), Ok(None));
        assert_eq!(both(b"$1073741824\r\nx"), Ok(None));
    }

    proptest! {
        #[test]
        fn replies_survive(replies in proptest::collection::vec(reply(), 1..4)) {
            let bytes = encoded(&replies);
            let mut rest = &bytes[..];
            for reply in &replies {
                let (decoded, len) = both(rest).unwrap().unwrap();
                prop_assert_eq!(&decoded, reply);
                rest = &rest[len..];
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn part_of_a_reply_is_none(reply in reply()) {
            let bytes = encoded(std::slice::from_ref(&reply));
            let mut scanner = Scanner::new();
            for end in 0..bytes.len() {
                prop_assert_eq!(Reply::decode(&bytes[..end]), Ok(None));
                prop_assert_eq!(scanner.scan(&bytes[..end]), Ok(None));
            }
            prop_assert_eq!(scanner.scan(&bytes), Ok(Some(bytes.len())));
            prop_assert_eq!(scanner.scan(&[]), Ok(None));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(
            prop_oneof![4 => proptest::sample::select(b"*$:+-0123\r\n".to_vec()), 1 => any::<u8>()], 0..60)) {
            if let Ok(Some((reply, len))) = both(&bytes) {
                prop_assert!(len <= bytes.len());
                // A lone line end within a line is a blank from then on; all else stays.
                let again = encoded(&[reply]);
                let (reply, len) = both(&again).unwrap().unwrap();
                prop_assert_eq!(len, again.len());
                prop_assert_eq!(encoded(&[reply]), again);
            }
        }
    }
}

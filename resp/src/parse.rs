//! Requests, parsed incrementally out of a connection's read buffer.
//!
//! ```text
//! multibulk   *2\r\n $3\r\n GET\r\n $3\r\n key\r\n        inline   GET "a key"\r\n
//!                        ^^^            ^^^                          (see inline.rs)
//!                        Arg            Arg: ranges into the buffer, nothing is copied
//! ```
//!
//! One [`Parser`] per connection remembers how far a partly received request was understood, so bytes are looked at
//! once however they are cut up. The buffer given to [`Parser::parse`] always begins at the first byte of the current
//! request; after [`Progress::NeedMore`] it must come again with the same bytes and more behind them.
//!
//! Limits and error texts are those of Redis 3.2 (`processMultibulkBuffer`, `processInlineBuffer`), also in what they let
//! pass: the two bytes after a length or a bulk are skipped unseen, a count of zero or less is an empty request. Two
//! limits are exact here that there depend on how the bytes arrive: a line may be [`INLINE_BYTES_MAX`] long, and the
//! check begins where the line begins.

use crate::inline;
use crate::number::parse_i64;
use memchr::memchr2;
use std::fmt;

/// Longest inline request, and longest line that announces a count or a length, in bytes without the line end.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments of a request.
pub const MULTIBULK_MAX: i64 = 1024 * 1024;
/// Longest argument, in bytes.
pub const BULK_BYTES_MAX: i64 = 512 * 1024 * 1024;

/// Arguments kept for a partly received request that are worth keeping room for afterwards.
const HELD_CAPACITY_MAX: usize = 1024;

/// An argument: a range of bytes in the buffer that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Offset of the first byte from the beginning of the request.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Arg {
    /// The argument's bytes in the buffer that was parsed; empty if that buffer does not hold them.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        let start = self.start as usize;
        buf.get(start..start + self.len as usize).unwrap_or_default()
    }
}

/// What [`Parser::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A whole request; its arguments, which may be none, were appended as ranges into the parsed buffer.
    Complete {
        /// Length of the request: the next one begins here.
        consumed: usize,
    },
    /// A whole inline request with quotes; the appended ranges are into [`Parser::inline_text`].
    Inline {
        /// Length of the request: the next one begins here.
        consumed: usize,
    },
    /// The request is not complete; nothing was appended.
    NeedMore {
        /// Bytes that a buffer must be able to hold to get further: more than it holds now. Large when a large argument
        /// was announced, which costs its sender nothing, so the caller decides what it reserves before bytes come.
        hint: usize,
    },
}

/// A stream that is no sequence of requests. The connection gets the text and is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// No line end within [`INLINE_BYTES_MAX`].
    TooBigInline,
    /// No line end after `*`.
    TooBigCount,
    /// No line end after `$`.
    TooBigLength,
    /// `*` with something that is no number, or over [`MULTIBULK_MAX`].
    InvalidCount,
    /// `$` with something that is no number, negative, or over [`BULK_BYTES_MAX`].
    InvalidLength,
    /// This byte where `$` should have been.
    ExpectedDollar(u8),
    /// Inline request with an open quote, or with text right behind a closing one.
    UnbalancedQuotes,
    /// A request beyond 4 GiB, more than [`Arg`] can express.
    TooBigRequest,
}

impl ProtocolError {
    /// The whole error text, from `ERR` on, for [`crate::Out::error_line`].
    pub fn text(self) -> Vec<u8> {
        let what = match self {
            ProtocolError::TooBigInline => "too big inline request",
            ProtocolError::TooBigCount => "too big mbulk count string",
            ProtocolError::TooBigLength => "too big bulk count string",
            ProtocolError::InvalidCount => "invalid multibulk length",
            ProtocolError::InvalidLength => "invalid bulk length",
            ProtocolError::ExpectedDollar(_) => "expected '$', got '",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::TooBigRequest => "too big request",
        };
        let mut text = Vec::with_capacity(64);
        text.extend_from_slice(b"ERR Protocol error: ");
        text.extend_from_slice(what.as_bytes());
        // The original formats a C text, which a NUL ends.
        if let ProtocolError::ExpectedDollar(got @ 1..) = self {
            text.extend_from_slice(&[got, b'\'']);
        }
        text
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text().escape_ascii())
    }
}

impl std::error::Error for ProtocolError {}

/// Where a connection's current request stands.
#[derive(Debug, Default)]
pub struct Parser {
    /// Everything before this offset is understood.
    at: usize,
    /// Arguments still to come; 0 while the first line is not complete.
    remaining: u32,
    /// Length of the argument that begins at `at`, once its line was read.
    bulk: Option<u32>,
    /// No line end is in the `searched` bytes from `at`.
    searched: usize,
    /// Arguments of a partly received request.
    held: Vec<Arg>,
    /// Decoded arguments of the last inline request with quotes.
    inline: Vec<u8>,
}

/// How a step of the parser ended, inside this module.
enum Step {
    Done,
    Unquoted,
    Quoted,
    NeedMore(usize),
}

/// A line that announces a number, once it is complete: the number, if it is one, and the line's length.
type Header = Option<(Option<i64>, usize)>;

impl Parser {
    /// A parser at the beginning of a stream.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Whether part of a request has been understood and kept.
    #[inline]
    pub fn in_progress(&self) -> bool {
        self.remaining != 0 || self.searched != 0
    }

    /// Forgets the current request.
    pub fn reset(&mut self) {
        self.at = 0;
        self.remaining = 0;
        self.bulk = None;
        self.searched = 0;
        self.held.clear();
        self.held.shrink_to(HELD_CAPACITY_MAX);
    }

    /// The bytes into which the arguments of the last [`Progress::Inline`] are ranges.
    pub fn inline_text(&self) -> &[u8] {
        &self.inline
    }

    /// Parses the request at the beginning of `buf`.
    ///
    /// Appends its arguments to `args` when it is complete, else leaves `args` as it was. After an error the stream is
    /// lost: the parser must not be called again without [`Parser::reset`].
    #[inline]
    pub fn parse(&mut self, buf: &[u8], args: &mut Vec<Arg>) -> Result<Progress, ProtocolError> {
        if self.in_progress() {
            return self.resume(buf, args);
        }
        let base = args.len();
        match self.step(buf, args) {
            Ok(Step::NeedMore(hint)) => {
                self.held.extend_from_slice(&args[base..]);
                args.truncate(base);
                Ok(Progress::NeedMore { hint })
            }
            Ok(step) => Ok(self.finish(step)),
            Err(error) => {
                args.truncate(base);
                Err(error)
            }
        }
    }

    #[cold]
    fn resume(&mut self, buf: &[u8], args: &mut Vec<Arg>) -> Result<Progress, ProtocolError> {
        // New arguments go straight to those held, so a request of a million arguments is not copied on every read.
        let mut held = std::mem::take(&mut self.held);
        let step = self.step(buf, &mut held);
        self.held = held;
        match step? {
            Step::NeedMore(hint) => Ok(Progress::NeedMore { hint }),
            step => {
                args.extend_from_slice(&self.held);
                let progress = self.finish(step);
                self.held.clear();
                self.held.shrink_to(HELD_CAPACITY_MAX);
                Ok(progress)
            }
        }
    }

    /// The request is complete: back to the beginning.
    #[inline]
    fn finish(&mut self, step: Step) -> Progress {
        let consumed = self.at;
        self.at = 0;
        match step {
            Step::Quoted => Progress::Inline { consumed },
            _ => Progress::Complete { consumed },
        }
    }

    #[inline]
    fn step(&mut self, buf: &[u8], args: &mut Vec<Arg>) -> Result<Step, ProtocolError> {
        if self.remaining == 0 {
            match buf.first() {
                Some(b'*') => {
                    let Some((count, len)) = self.header(buf, ProtocolError::TooBigCount)? else {
                        return Ok(Step::NeedMore(buf.len() + 1));
                    };
                    match count {
                        Some(count) if count <= MULTIBULK_MAX => self.remaining = count.max(0) as u32,
                        _ => return Err(ProtocolError::InvalidCount),
                    }
                    self.at = len;
                }
                Some(_) => return self.inline_request(buf, args),
                None => return Ok(Step::NeedMore(1)),
            }
        }
        self.bulks(buf, args)
    }

    /// The arguments from `at` on.
    #[inline]
    fn bulks(&mut self, buf: &[u8], args: &mut Vec<Arg>) -> Result<Step, ProtocolError> {
        while self.remaining != 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => {
                    let rest = buf.get(self.at..).unwrap_or_default();
                    let Some((len, header)) = self.header(rest, ProtocolError::TooBigLength)? else {
                        return Ok(Step::NeedMore(buf.len() + 1));
                    };
                    if rest[0] != b'$' {
                        return Err(ProtocolError::ExpectedDollar(rest[0]));
                    }
                    let len = match len {
                        Some(len @ 0..=BULK_BYTES_MAX) => len as u32,
                        _ => return Err(ProtocolError::InvalidLength),
                    };
                    if self.at + header + len as usize + 2 > u32::MAX as usize {
                        return Err(ProtocolError::TooBigRequest);
                    }
                    self.at += header;
                    len
                }
            };
            let end = self.at + len as usize + 2;
            if end > buf.len() {
                self.bulk = Some(len);
                return Ok(Step::NeedMore(end));
            }
            args.push(Arg { start: self.at as u32, len });
            self.at = end;
            self.bulk = None;
            self.remaining -= 1;
        }
        Ok(Step::Done)
    }

    /// The line at the beginning of `rest`: the number after its first byte (`None` if it is no number) and the length
    /// of the line with its end. `Ok(None)` while it is not complete.
    #[inline]
    fn header(&mut self, rest: &[u8], too_big: ProtocolError) -> Result<Header, ProtocolError> {
        // Nearly every line is `*3\r\n` or `$12\r\n`, with more behind it.
        if let Some(&[_, tens, ones, end, _]) = rest.first_chunk() {
            let (first, second) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
            if ones == b'\r' && first <= 9 {
                self.searched = 0;
                return Ok(Some((Some(i64::from(first)), 4)));
            }
            if end == b'\r' && (1..=9).contains(&first) && second <= 9 {
                self.searched = 0;
                return Ok(Some((Some(i64::from(first * 10 + second)), 5)));
            }
        }
        self.any_header(rest, too_big)
    }

    #[inline(never)]
    fn any_header(&mut self, rest: &[u8], too_big: ProtocolError) -> Result<Header, ProtocolError> {
        match self.line(rest, b'\r', too_big)? {
            Some(len) if len + 1 < rest.len() => {
                self.searched = 0;
                let number = rest.get(1..len).unwrap_or_default();
                Ok(Some((parse_i64(number), len + 2)))
            }
            _ => Ok(None),
        }
    }

    /// Length of the line at the beginning of `rest`, once `end` has been seen. As in the original, a NUL hides the
    /// line's end for good.
    fn line(&mut self, rest: &[u8], end: u8, too_big: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let line = &rest[..rest.len().min(INLINE_BYTES_MAX + 1)];
        let fresh = line.get(self.searched..).unwrap_or_default();
        // The end of a length is near: a search that has to be set up would cost more than it saves.
        let near = fresh.iter().take(12).position(|&byte| byte == end || byte == 0);
        match near.or_else(|| memchr2(end, 0, fresh)) {
            Some(found) if fresh[found] == end => return Ok(Some(self.searched + found)),
            Some(found) => self.searched += found,
            None => self.searched = line.len(),
        }
        if rest.len() > INLINE_BYTES_MAX { Err(too_big) } else { Ok(None) }
    }

    #[cold]
    fn inline_request(&mut self, buf: &[u8], args: &mut Vec<Arg>) -> Result<Step, ProtocolError> {
        let Some(len) = self.line(buf, b'\n', ProtocolError::TooBigInline)? else {
            return Ok(Step::NeedMore(buf.len() + 1));
        };
        self.searched = 0;
        self.at = len + 1;
        let line = &buf[..len];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if inline::is_plain(line) {
            inline::plain_words(line, args);
            return Ok(Step::Unquoted);
        }
        self.inline.clear();
        self.inline.shrink_to(INLINE_BYTES_MAX);
        inline::quoted_words(line, &mut self.inline, args).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        Ok(Step::Quoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a whole stream is parsed into: the requests before its end or its first error.
    #[derive(Debug, PartialEq, Default)]
    struct Parsed {
        requests: Vec<Vec<Vec<u8>>>,
        error: Option<ProtocolError>,
        rest: usize,
    }

    /// Feeds a stream in pieces that end at `cuts`, as a connection would.
    fn feed(stream: &[u8], cuts: &[usize]) -> Parsed {
        let (mut parser, mut parsed) = (Parser::new(), Parsed::default());
        let mut args = vec![Arg { start: 7, len: 7 }];
        let (mut begin, mut cuts) = (0, cuts.iter().copied().chain([stream.len()]));
        let mut end = cuts.next().unwrap().min(stream.len());
        loop {
            let buf = &stream[begin..end];
            let progress = match parser.parse(buf, &mut args) {
                Ok(progress) => progress,
                Err(error) => {
                    parsed.error = Some(error);
                    assert_eq!(args.len(), 1);
                    return parsed;
                }
            };
            let (text, consumed) = match progress {
                Progress::Complete { consumed } => (buf, consumed),
                Progress::Inline { consumed } => (parser.inline_text(), consumed),
                Progress::NeedMore { hint } => {
                    assert!(hint > buf.len());
                    assert_eq!(args.len(), 1);
                    match cuts.next() {
                        Some(cut) => end = cut.clamp(end, stream.len()),
                        None => {
                            parsed.rest = buf.len();
                            return parsed;
                        }
                    }
                    continue;
                }
            };
            assert!(consumed > 0 && !parser.in_progress());
            parsed.requests.push(args.drain(1..).map(|arg| arg.of(text).to_vec()).collect());
            begin += consumed;
        }
    }

    fn whole(stream: &[u8]) -> Parsed {
        feed(stream, &[])
    }

    fn requests(stream: &[u8]) -> Vec<String> {
        let parsed = whole(stream);
        assert_eq!((parsed.error, parsed.rest), (None, 0));
        let join = |request: &Vec<Vec<u8>>| request.join(&b'|').escape_ascii().to_string();
        parsed.requests.iter().map(join).collect()
    }

    fn error(stream: &[u8]) -> String {
        whole(stream).error.expect("an error").text().escape_ascii().to_string()
    }

    #[test]
    fn requests_of_both_forms_follow_each_other() {
        assert_eq!(requests(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nPING\r\n"), ["GET|k", "PING", "PING"]);
        assert_eq!(requests(b"PING\nPING\n"), ["PING", "PING"]);
        assert_eq!(requests(b"ECHO \"a b\\x00\"\r\nECHO 'c'\r\n"), ["ECHO|a b\\x00", "ECHO|c"]);
        assert_eq!(requests(b"SET a \"\"\r\n"), ["SET|a"]);
        assert_eq!(requests(b"*2\r\n$10\r\n0123456789\r\n$0\r\n\r\n"), ["0123456789|"]);
    }

    #[test]
    fn empty_requests_are_requests_without_arguments() {
        assert_eq!(requests(b"\r\n\n*0\r\n*-5\r\nPING\r\n"), ["", "", "", "", "PING"]);
        assert_eq!(requests(b"\"\" \"PING\"\r\n"), ["PING"]);
    }

    #[test]
    fn the_bytes_after_a_length_and_a_bulk_are_not_looked_at() {
        assert_eq!(requests(b"*1\rX$4\rYPINGab"), ["PING"]);
    }

    #[test]
    fn errors_are_those_of_redis() {
        assert_eq!(error(b"*\r\n"), "ERR Protocol error: invalid multibulk length");
        for count in ["-0", "+1", "01", "1x", " 1", "1048577", "99999999999999999999"] {
            assert_eq!(error(format!("*{count}\r\n").as_bytes()), "ERR Protocol error: invalid multibulk length");
        }
        for length in ["", "-1", "01", "1x", "536870913", "99999999999999999999"] {
            assert_eq!(error(format!("*1\r\n${length}\r\n").as_bytes()), "ERR Protocol error: invalid bulk length");
        }
        assert_eq!(
            error(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n"),
            "ERR Protocol error: expected \\'$\\', got \\'f\\'"
        );
        assert_eq!(error(b"*1\r\n\r\n"), "ERR Protocol error: expected \\'$\\', got \\'\\r\\'");
        assert_eq!(ProtocolError::ExpectedDollar(0).text(), b"ERR Protocol error: expected '$', got '");
        assert_eq!(error(b"set \"a\r\n"), "ERR Protocol error: unbalanced quotes in request");
        let long = "1".repeat(INLINE_BYTES_MAX);
        assert_eq!(error(format!("1{long}").as_bytes()), "ERR Protocol error: too big inline request");
        assert_eq!(error(format!("*{long}").as_bytes()), "ERR Protocol error: too big mbulk count string");
        assert_eq!(error(format!("*1\r\n${long}").as_bytes()), "ERR Protocol error: too big bulk count string");
        assert_eq!(whole(b"*536870912\r\n").error, Some(ProtocolError::InvalidCount));
        assert_eq!(whole(b"*1\r\n$536870912\r\n").error, None);
    }

    #[test]
    fn the_longest_inline_request() {
        let mut line = vec![b'a'; INLINE_BYTES_MAX];
        line.push(b'\n');
        assert_eq!(whole(&line).requests, [[&line[..INLINE_BYTES_MAX]]]);
        line.insert(0, b'a');
        assert_eq!(whole(&line).error, Some(ProtocolError::TooBigInline));
    }

    #[test]
    fn after_a_nul_no_line_ends() {
        assert_eq!(whole(b"\0PING\r\n").rest, 7);
        let mut garbage = b"*1\r\n$\0".to_vec();
        garbage.extend(b"payload\r\n".repeat(10_000));
        assert_eq!(whole(&garbage).error, Some(ProtocolError::TooBigLength));
    }

    #[test]
    fn a_big_argument_is_announced() {
        let mut parser = Parser::new();
        let progress = parser.parse(b"*2\r\n$3\r\nSET\r\n$100000\r\nabc", &mut Vec::new());
        assert_eq!(progress, Ok(Progress::NeedMore { hint: 13 + 9 + 100_000 + 2 }));
        parser.reset();
        assert!(!parser.in_progress());
    }

    /// Bytes that are nearly requests.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let bulk = proptest::collection::vec(any::<u8>(), 0..40)
            .prop_map(|text| [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat());
        let request = proptest::collection::vec(bulk, 0..4)
            .prop_map(|bulks| [format!("*{}\r\n", bulks.len()).into_bytes(), bulks.concat()].concat());
        let odd = proptest::sample::select(vec![
            &b"*0\r\n"[..],
            b"*-1\r\n",
            b"\r\n",
            b"\n",
            b"PING\r\n",
            b"SET k \"a \\x41\" 'b'\n",
            b"*1\r\n$1000000\r\n",
            b"\0",
            b"*1\r\n@",
            b"'",
        ])
        .prop_map(<[u8]>::to_vec);
        let junk = proptest::collection::vec(
            prop_oneof![
                Just(b'*'),
                Just(b'$'),
                Just(b'\r'),
                Just(b'\n'),
                Just(b'1'),
                Just(b'0'),
                Just(b'-'),
                Just(b' '),
                Just(b'"'),
                any::<u8>()
            ],
            0..12,
        );
        proptest::collection::vec(prop_oneof![6 => request, 3 => odd, 1 => junk], 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn however_it_is_cut_a_stream_is_the_same_requests(stream in stream(), mut cuts in proptest::collection::vec(0usize..400, 0..8)) {
            cuts.sort_unstable();
            let expected = whole(&stream);
            prop_assert_eq!(&feed(&stream, &cuts), &expected);
            let every_byte: Vec<usize> = (0..stream.len()).collect();
            prop_assert_eq!(&feed(&stream, &every_byte), &expected);
        }

        #[test]
        fn requests_survive(sent in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6), 0..4)) {
            let mut stream = crate::Out::new();
            for request in &sent {
                stream.array(request.len());
                request.iter().for_each(|arg| stream.bulk(arg));
            }
            prop_assert_eq!(whole(stream.as_slice()), Parsed { requests: sent, error: None, rest: 0 });
        }
    }
}

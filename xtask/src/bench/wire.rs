//! The client's half of the protocol: writing requests, counting replies, and a plain blocking client.
//!
//! The load generator only counts: it looks at the first bytes of each reply, checks that it has the shape the test
//! expects (an error or a miss would make the figures worthless), and skips the rest.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::error::{Context, Error, Result};

/// How long a server may stay silent before a run is given up.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Appends one request.
pub fn write_request(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// What a reply has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Anything that is no error.
    Any,
    /// `+...`
    Status,
    /// `:n`
    Integer,
    /// `$n`, not nil.
    Bulk,
    /// `*n` with this n.
    Array(i64),
}

impl Shape {
    fn fits(self, kind: u8, number: i64) -> bool {
        match self {
            Shape::Any => kind != b'-',
            Shape::Status => kind == b'+',
            Shape::Integer => kind == b':',
            Shape::Bulk => kind == b'$' && number >= 0,
            Shape::Array(len) => kind == b'*' && number == len,
        }
    }
}

/// Counts the replies in a stream that arrives in pieces.
#[derive(Debug)]
pub struct ReplyCounter {
    shape: Shape,
    /// Elements still to come before the current reply is complete.
    open: u64,
    /// Whether the next header begins a reply, not an element of one.
    at_start: bool,
    /// Bytes of a bulk, its line end included, still to come.
    bulk_left: usize,
}

impl ReplyCounter {
    /// A counter at the start of a stream.
    pub fn new(shape: Shape) -> Self {
        Self { shape, open: 1, at_start: true, bulk_left: 0 }
    }

    /// Takes what it can of `bytes`: (bytes used, replies completed). Hand in the unused rest again, with more behind it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, u64)> {
        let (mut at, mut replies) = (0, 0);
        loop {
            if self.bulk_left > 0 {
                let step = self.bulk_left.min(bytes.len() - at);
                at += step;
                self.bulk_left -= step;
                if self.bulk_left > 0 {
                    break;
                }
                replies += self.close_element();
                continue;
            }
            let Some(end) = bytes[at..].iter().position(|&byte| byte == b'\n') else {
                break;
            };
            let line = &bytes[at..at + end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += end + 1;
            replies += self.header(line)?;
        }
        Ok((at, replies))
    }

    /// Takes one header line; 1 if it completes a reply.
    fn header(&mut self, line: &[u8]) -> Result<u64> {
        let (&kind, rest) = line.split_first().ok_or_else(|| Error::Reply("an empty line".into()))?;
        let number = match kind {
            b'$' | b'*' => parse_number(rest).ok_or_else(|| unexpected(line))?,
            b'+' | b'-' | b':' => 0,
            _ => return Err(unexpected(line)),
        };
        if self.at_start && !self.shape.fits(kind, number) {
            return Err(unexpected(line));
        }
        self.at_start = false;
        match (kind, usize::try_from(number)) {
            (b'$', Ok(len)) => {
                self.bulk_left = len + 2;
                Ok(0)
            }
            (b'*', Ok(len)) => {
                self.open += len as u64;
                Ok(self.close_element())
            }
            _ => Ok(self.close_element()),
        }
    }

    fn close_element(&mut self) -> u64 {
        self.open -= 1;
        if self.open > 0 {
            return 0;
        }
        self.open = 1;
        self.at_start = true;
        1
    }
}

fn unexpected(line: &[u8]) -> Error {
    Error::Reply(String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned())
}

fn parse_number(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, digits),
    };
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    let mut number = 0i64;
    for digit in digits {
        number = number * 10 + i64::from(digit.wrapping_sub(b'0'));
        if !digit.is_ascii_digit() {
            return None;
        }
    }
    Some(if negative { -number } else { number })
}

/// A connection for set-up work and questions, one call at a time.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).context(|| format!("connect to {addr}"))?;
        stream.set_nodelay(true).context(|| "TCP_NODELAY".into())?;
        stream.set_read_timeout(Some(SILENCE_MAX)).context(|| "read timeout".into())?;
        Ok(Self { stream: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// Sends raw requests, `count` of them, and reads their replies.
    pub fn exchange(&mut self, requests: &[u8], count: u64, shape: Shape) -> Result<()> {
        self.stream.get_mut().write_all(requests).context(|| "send".into())?;
        let mut counter = ReplyCounter::new(shape);
        let mut seen = 0;
        while seen < count {
            let bytes = self.stream.fill_buf().context(|| "receive".into())?;
            if bytes.is_empty() {
                return Err(Error::Reply("the connection was closed".into()));
            }
            let (used, replies) = counter.feed(bytes)?;
            if used == 0 {
                // A header is split over two reads: take its line as a whole.
                let mut line = Vec::new();
                self.stream.read_until(b'\n', &mut line).context(|| "receive".into())?;
                seen += counter.feed(&line)?.1;
                continue;
            }
            self.stream.consume(used);
            seen += replies;
        }
        Ok(())
    }

    /// One request whose reply may be anything but an error.
    pub fn run(&mut self, args: &[&str]) -> Result<()> {
        self.exchange(&request(args), 1, Shape::Any)
    }

    /// One request that is answered with text or a number, as text; nil is empty.
    pub fn ask(&mut self, args: &[&str]) -> Result<String> {
        self.stream.get_mut().write_all(&request(args)).context(|| "send".into())?;
        let mut line = String::new();
        self.stream.read_line(&mut line).context(|| "receive".into())?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("$", "-1")) => Ok(String::new()),
            Some(("$", len)) => {
                let len: usize = len.parse().map_err(|_| unexpected(line.as_bytes()))?;
                let mut text = vec![0; len + 2];
                self.stream.read_exact(&mut text).context(|| "receive".into())?;
                text.truncate(len);
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            _ => Err(unexpected(line.as_bytes())),
        }
    }

    /// One request that is answered with numbers, in arrays or not.
    pub fn numbers(&mut self, args: &[&str]) -> Result<Vec<i64>> {
        self.stream.get_mut().write_all(&request(args)).context(|| "send".into())?;
        let (mut numbers, mut open) = (Vec::new(), 1);
        while open > 0 {
            let mut line = String::new();
            self.stream.read_line(&mut line).context(|| "receive".into())?;
            let line = line.trim_end();
            open -= 1;
            match (line.get(..1), line.get(1..).and_then(|rest| rest.parse::<i64>().ok())) {
                (Some(":"), Some(number)) => numbers.push(number),
                (Some("*"), Some(len)) => open += len,
                _ => return Err(unexpected(line.as_bytes())),
            }
        }
        Ok(numbers)
    }

    /// One field of INFO; empty where the server does not have it.
    pub fn info(&mut self, section: &str, field: &str) -> Result<String> {
        let text = self.ask(&["INFO", section])?;
        Ok(info_field(&text, field).unwrap_or_default().to_owned())
    }

    /// A number out of INFO.
    pub fn info_number(&mut self, section: &str, field: &str) -> Result<u64> {
        let text = self.info(section, field)?;
        text.parse().map_err(|_| Error::Reply(format!("INFO {section}: {field} is {text:?}")))
    }
}

fn request(args: &[&str]) -> Vec<u8> {
    let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    let mut out = Vec::new();
    write_request(&mut out, &args);
    out
}

fn info_field<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_an_array_of_bulks() {
        let mut out = Vec::new();
        write_request(&mut out, &[b"GET", b"key"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    }

    #[test]
    fn an_error_a_miss_and_a_short_array_are_refused_where_data_is_expected() {
        let feed = |shape, bytes: &[u8]| ReplyCounter::new(shape).feed(bytes);
        assert_eq!(feed(Shape::Bulk, b"$2\r\nhi\r\n").unwrap(), (8, 1));
        assert!(feed(Shape::Bulk, b"$-1\r\n").is_err());
        assert!(feed(Shape::Bulk, b"-ERR no\r\n").unwrap_err().to_string().contains("ERR no"));
        assert!(feed(Shape::Array(2), b"*1\r\n$1\r\na\r\n").is_err());
        assert_eq!(feed(Shape::Array(2), b"*2\r\n$-1\r\n:5\r\n").unwrap(), (13, 1));
        assert!(feed(Shape::Status, b":1\r\n").is_err());
        assert!(feed(Shape::Any, b"-ERR\r\n").is_err());
        assert!(feed(Shape::Any, b"HTTP/1.1 200\r\n").is_err());
    }

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(parse_number(b"-1"), Some(-1));
        assert_eq!(parse_number(b"536870912"), Some(536_870_912));
        assert_eq!(parse_number(b""), None);
        assert_eq!(parse_number(b"1a"), None);
        assert_eq!(parse_number(b"9999999999999999999"), None);
    }

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let text = "# Memory\r\nused_memory_rss:7\r\nused_memory:5\r\n";
        assert_eq!(info_field(text, "used_memory"), Some("5"));
        assert_eq!(info_field(text, "used"), None);
    }

    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let text = proptest::collection::vec(any::<u8>(), 0..40);
        let leaf = prop_oneof![
            Just(b"+OK\r\n".to_vec()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            text.prop_map(|text| [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat()),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            proptest::collection::vec(inner, 0..5)
                .prop_map(|items| [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat())
        })
    }

    proptest! {
        #[test]
        fn replies_are_counted_however_the_stream_is_cut(
            replies in proptest::collection::vec(reply(), 0..8),
            pieces in proptest::collection::vec(1usize..20, 1..50),
        ) {
            let stream = replies.concat();
            let mut counter = ReplyCounter::new(Shape::Any);
            let (mut from, mut to, mut counted) = (0, 0, 0);
            let mut pieces = pieces.iter().cycle();
            while to < stream.len() {
                to = stream.len().min(to + pieces.next().unwrap());
                let (used, done) = counter.feed(&stream[from..to]).unwrap();
                from += used;
                counted += done;
            }
            prop_assert_eq!((from, counted), (stream.len(), replies.len() as u64));
        }
    }
}

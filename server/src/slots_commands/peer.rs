//! The socket of an asynchronous migration: messages out, acknowledgements in, and nothing else.
//!
//! Why so strict: the original's link is a client with all rights, which carries out whatever the target sends. Here
//! everything that is no acknowledgement ends the link. The one exception are lines that answer CLIENT KILL, as many as were
//! asked for, before anything else.

use super::rests::{self, Killed};
use crate::log;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use resp::{Arg, Parser, Progress};
use slots::migration::abilities::Abilities;
use slots::migration::wire;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Token of the waker.
pub const WAKER: Token = Token(0);
const SOCKET: Token = Token(1);
/// Longest acknowledgement.
const INPUT_MAX: usize = 64 * 1024;
/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of one write: the system takes no core from who is within a call, and a client may be waiting for it.
const WRITE_BYTES: usize = 16 * 1024;
/// Of nonsense so much is shown.
const SHOWN: usize = 120;
/// What was sent is dropped from the buffer when it is at least so much, and more than what is left.
const COMPACT_BYTES: usize = 256 * 1024;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message was carried out, with this number as its outcome if it has one.
    Acknowledged(Option<u64>),
    /// A message was refused, with these words.
    Refused(Vec<u8>),
    /// Something else.
    Nonsense(Vec<u8>),
    /// The connection has ended.
    Closed,
}

/// A connection.
pub struct Peer {
    stream: TcpStream,
    /// Messages, the first `sent` bytes of which have gone.
    pub out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    read: usize,
    args: Vec<Arg>,
    parser: Parser,
    closed: bool,
    /// Nothing more can be sent; what the target said before it went is still to be read.
    mute: bool,
    /// Bytes that have gone, in all.
    pub bytes: u64,
    /// Answers to the greeting that are still to come.
    greeting: u32,
    /// Answers to CLIENT KILL that are still to come.
    kills: usize,
    /// What the target said of itself when it answered the greeting.
    pub abilities: Option<Abilities>,
}

impl Peer {
    /// Over a connected socket, watched by `poll`.
    pub fn new(stream: std::net::TcpStream, poll: &Poll) -> io::Result<Peer> {
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, SOCKET, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Peer {
            stream,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
            read: 0,
            args: Vec::new(),
            parser: Parser::new(),
            closed: false,
            mute: false,
            bytes: 0,
            greeting: 0,
            kills: 0,
            abilities: None,
        })
    }

    /// Ends it; what has not reached the target's system yet does not set out any more if `at_once`. What lies there can
    /// still be read.
    pub fn end(mut self, poll: &Poll, at_once: bool) {
        // A socket that is about to be closed.
        let _ = poll.registry().deregister(&mut self.stream);
        if at_once {
            // Otherwise the system goes on sending for minutes what the target was too slow for. Where the option is refused
            // the socket is broken already.
            let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        }
    }

    /// The first `messages` messages are a greeting, whose last answer says what the target can do.
    pub fn greeted_with(&mut self, messages: u32) {
        self.greeting = messages;
    }

    /// Has the target end these connections, by the word that every server knows. Nothing else is unanswered.
    pub fn kill(&mut self, addrs: &[String]) {
        addrs.iter().for_each(|addr| rests::kill(addr, &mut self.out));
        self.kills = addrs.len();
    }

    /// Whether the target has not yet said that all connections have ended that it was to end.
    pub fn is_killing(&self) -> bool {
        self.kills > 0
    }

    /// Where the target sees it come from, if nobody translates addresses between them.
    pub fn addr(&self) -> Option<String> {
        self.stream.local_addr().ok().map(|addr| addr.to_string())
    }

    /// Bytes that have not gone yet.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what the socket takes. A broken connection shows when reading, behind what has come over it.
    pub fn flush(&mut self) {
        while self.waiting() > 0 && !self.closed && !self.mute {
            let end = self.out.len().min(self.sent + WRITE_BYTES);
            match self.stream.write(&self.out[self.sent..end]) {
                Ok(n) => {
                    self.sent += n;
                    self.bytes += n as u64;
                    std::thread::yield_now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.mute = true,
            }
        }
        if self.waiting() == 0 {
            self.out.clear();
            self.sent = 0;
        } else if self.sent >= COMPACT_BYTES.max(self.waiting()) {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// The next thing that has come, if any.
    pub fn hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.next() {
                return Some(heard);
            }
            if self.closed {
                return Some(Heard::Closed);
            }
            if self.input.len() - self.read > INPUT_MAX {
                return Some(Heard::Nonsense(b"a very long line".to_vec()));
            }
            self.input.drain(..self.read);
            self.read = 0;
            let len = self.input.len();
            self.input.resize(len + READ_BYTES, 0);
            let read = self.stream.read(&mut self.input[len..]);
            self.input.truncate(len + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => self.closed = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => self.closed = true,
            }
        }
    }

    fn next(&mut self) -> Option<Heard> {
        let input = &self.input[self.read..];
        match input.first() {
            None => return None,
            Some(b'+' | b'-') if self.kills > 0 => return self.killed(),
            Some(_) if self.kills > 0 => return Some(Heard::Nonsense(shown(input))),
            Some(b'*') => {}
            Some(_) => return Some(Heard::Nonsense(shown(input))),
        }
        self.args.clear();
        match self.parser.parse(input, &mut self.args) {
            Ok(Progress::NeedMore { .. }) => None,
            Ok(Progress::Complete { consumed }) => {
                let arg = |n: usize| self.args.get(n).map(|arg| arg.of(input)).unwrap_or_default();
                let ack = self.args.len() == 3 && arg(0).eq_ignore_ascii_case(wire::ACK);
                let heard = match (ack, arg(1)) {
                    (true, b"0") => {
                        if self.greeting > 0 {
                            self.greeting -= 1;
                            self.abilities = (self.greeting == 0).then(|| Abilities::parse(arg(2)));
                        }
                        Heard::Acknowledged(std::str::from_utf8(arg(2)).ok().and_then(|text| text.parse().ok()))
                    }
                    (true, _) => Heard::Refused(shown(arg(2))),
                    _ => Heard::Nonsense(shown(input)),
                };
                self.read += consumed;
                Some(heard)
            }
            _ => Some(Heard::Nonsense(shown(input))),
        }
    }

    /// The answer to CLIENT KILL, once it is there.
    fn killed(&mut self) -> Option<Heard> {
        let input = &self.input[self.read..];
        let end = input.iter().position(|&byte| byte == b'\n')?;
        let heard = match Killed::of(&input[..end]) {
            Killed::Refused => Heard::Refused(shown(input)),
            killed => {
                if killed == Killed::CannotTell {
                    log::warning!("slotsmgrt_async: the target can't end old links: {}", shown(input).escape_ascii());
                }
                Heard::Acknowledged(None)
            }
        };
        self.read += end + 1;
        self.kills -= 1;
        Some(heard)
    }
}

/// The beginning of what came, as one line.
fn shown(bytes: &[u8]) -> Vec<u8> {
    let line = bytes.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    line.iter().take(SHOWN).map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' }).collect()
}

/// Waits until something may have come, the socket takes more, somebody wakes the thread, or the time is up.
pub fn wait(poll: &mut Poll, events: &mut Events, time: Duration) {
    // An interrupted wait is a short one.
    let _ = poll.poll(events, Some(time));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream as Std};

    fn heard(bytes: &[u8]) -> Vec<Heard> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let near = Std::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut far, _) = listener.accept().expect("it was asked");
        far.write_all(bytes).expect("room");
        drop(far);
        let (mut poll, mut events) = (Poll::new().expect("a poll"), Events::with_capacity(8));
        let mut peer = Peer::new(near, &poll).expect("connected");
        let mut all = Vec::new();
        loop {
            match peer.hear() {
                Some(heard) => {
                    let over = !matches!(heard, Heard::Acknowledged(_));
                    all.push(heard);
                    if over {
                        return all;
                    }
                }
                None => wait(&mut poll, &mut events, Duration::from_secs(10)),
            }
        }
    }

    fn ack(code: i32, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        wire::ack(code, text, &mut out);
        out
    }

    #[test]
    fn acknowledgements_and_nothing_else_are_heard() {
        let three = [ack(0, b"OK"), ack(0, b"1"), ack(-1, b"no\r\nroom")].concat();
        let refused = Heard::Refused(b"no".to_vec());
        assert_eq!(heard(&three), [Heard::Acknowledged(None), Heard::Acknowledged(Some(1)), refused]);
        assert_eq!(heard(b""), [Heard::Closed]);
        for nonsense in [
            &b"-NOAUTH Authentication required.\r\n"[..],
            b"*3\r\n$3\r\nSET\r\n$5\r\npwned\r\n$1\r\n1\r\n",
            b"*2\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$1\r\n0\r\n",
            b"*1\r\n$-5\r\n",
            b"SELECT 2\r\n",
        ] {
            assert!(matches!(heard(nonsense)[..], [Heard::Nonsense(_)]), "{}", nonsense.escape_ascii());
        }
        // An announcement reserves nothing, and is not waited for without an end.
        let long = [&b"*3\r\n$400000000\r\n"[..], &vec![b'x'; 200_000]].concat();
        assert!(matches!(heard(&long)[..], [Heard::Nonsense(_)]));
    }

    #[test]
    fn what_a_target_said_before_it_went_is_heard_though_nothing_can_be_sent_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let near = Std::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut far, _) = listener.accept().expect("it was asked");
        let (mut poll, mut events) = (Poll::new().expect("a poll"), Events::with_capacity(8));
        let mut peer = Peer::new(near, &poll).expect("connected");
        peer.out.extend_from_slice(&[b'x'; 1 << 16]);
        peer.flush();
        far.write_all(&ack(-1, b"no room")).expect("room");
        // It has not read what came, so its system breaks the connection off.
        drop(far);
        while !peer.closed && !peer.mute {
            peer.out.extend_from_slice(&[b'x'; 1 << 16]);
            peer.flush();
            wait(&mut poll, &mut events, Duration::from_millis(1));
        }
        assert_eq!(peer.hear(), Some(Heard::Refused(b"no room".to_vec())));
        assert_eq!(peer.hear(), Some(Heard::Closed));
    }
}

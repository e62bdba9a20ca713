//! What an original source and an original target said to each other, recorded on the wire between them, and played again:
//! as the source to a target of ours, and as the target to a source of ours.
//!
//! A file in `dialogues/` is one recording. `source-option` and `target-option` are the servers' settings, `source` and
//! `target` commands that somebody ran there, `>` and `<` the command that moved keys (`HOST` and `PORT` are the target's)
//! and its reply. `connect` is a new link, `S` and `T` what source and target sent over it, `S close` and `T close` its end.
//! `digest` and `size` are the target's DEBUG DIGEST and DBSIZE at the end. Behind `!` stands what a target of ours does
//! instead, where it is meant to do otherwise, with the reason in front of it. A recording marked `both` has its keys and
//! elements in an order that follows from the command, so that a source of ours must send the same.

use crate::data::{Script, run, show};
use resp::{Arg, Parser, Progress, Reply};
use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use tests::{Options, Server, encode, wait_until};

/// The longest time to live that a recording's commands give, and what is surely none of the links' own.
const TTL_MS: i64 = 600_000;
const TTL_MIN_MS: i64 = 500_000;
const PATIENCE: Duration = Duration::from_secs(30);

struct Line {
    what: String,
    text: Vec<u8>,
    /// Of a target of ours.
    ours: bool,
}

pub struct Recording {
    name: String,
    lines: Vec<Line>,
}

impl Recording {
    pub fn all() -> Vec<Recording> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slots/dialogues");
        let files = fs::read_dir(folder).expect("the recordings are there");
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.sort();
        let all: Vec<Recording> = paths.iter().map(|path| Recording::read(path)).collect();
        assert!(all.len() >= 40, "{} recordings", all.len());
        all
    }

    fn read(path: &Path) -> Recording {
        let text = fs::read_to_string(path).expect("a recording can be read");
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (ours, line) = line.strip_prefix("! ").map_or((false, line), |line| (true, line));
            let (what, text) = line.split_once(' ').unwrap_or((line, ""));
            Line { what: what.to_owned(), text: unescape(text), ours }
        });
        Recording { name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), lines: lines.collect() }
    }

    /// All that the source has sent over all links.
    pub fn sent_by_source(&self) -> Vec<u8> {
        let sent = self.lines.iter().filter(|line| line.what == "S" && line.text != b"close");
        sent.flat_map(|line| line.text.clone()).collect()
    }

    fn is_marked(&self, mark: &str) -> bool {
        self.lines.iter().any(|line| line.what == mark)
    }

    fn options(&self, of: &str, threads: usize) -> Options {
        let options = self.lines.iter().filter(|line| line.what == of);
        options.fold(Options::codis(threads), |options, line| {
            let text = String::from_utf8_lossy(&line.text).into_owned();
            let (name, value) = text.split_once(' ').expect("a name and a value");
            options.set(name, value)
        })
    }

    fn client(&self, server: &Server, of: &str) -> tests::Client {
        let mut client = server.client();
        let password = self.lines.iter().filter(|line| line.what == of);
        for line in password {
            if let Some(password) = line.text.strip_prefix(b"requirepass ") {
                assert_eq!(client.call(&[&b"AUTH"[..], password]), Reply::Simple(b"OK".to_vec()));
            }
        }
        client
    }

    /// What a target of ours is to do: the original's lines, without those that are replaced.
    fn for_target(&self) -> Vec<&Line> {
        let replaced = |at: usize| {
            let next = self.lines[at + 1..].iter().take_while(|line| line.ours);
            !self.lines[at].ours && next.clone().any(|line| line.what == self.lines[at].what)
        };
        (0..self.lines.len()).filter(|&at| !replaced(at)).map(|at| &self.lines[at]).collect()
    }
}

/// Bytes as the recordings write them.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        let escaped = match byte {
            b'\\' => rest.next().expect("an escape goes on"),
            _ => {
                bytes.push(byte);
                continue;
            }
        };
        bytes.push(match escaped {
            b'r' => b'\r',
            b'n' => b'\n',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.expect("two digits")));
                u8::from_str_radix(&digits.iter().collect::<String>(), 16).expect("two digits")
            }
            other => panic!("an unknown escape: {other}"),
        });
    }
    bytes
}

/// The whole commands at the beginning of `bytes`.
pub fn messages(bytes: &[u8]) -> VecDeque<Vec<Vec<u8>>> {
    let (mut rest, mut all) = (bytes, VecDeque::new());
    while !rest.is_empty() {
        let mut args: Vec<Arg> = Vec::new();
        let progress = Parser::new().parse(rest, &mut args).expect("a request");
        let Progress::Complete { consumed } = progress else { panic!("a torn message: {}", rest.escape_ascii()) };
        all.push_back(args.iter().map(|arg| arg.of(rest).to_vec()).collect());
        rest = &rest[consumed..];
    }
    all
}

fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(|&byte| byte == b' ').collect()
}

/// The source's end of a link to a target of ours.
struct Link {
    stream: TcpStream,
    /// What it has sent that is not answered.
    unanswered: VecDeque<Vec<Vec<u8>>>,
}

impl Link {
    fn new(target: SocketAddr) -> Link {
        let stream = TcpStream::connect(target).expect("the target listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
        Link { stream, unanswered: VecDeque::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.unanswered.extend(messages(bytes));
        // The target may have ended the link already: then that is what the recording says next.
        let _ = self.stream.write_all(bytes);
    }

    /// Expects the recorded answer. To the choice of a database ours adds what else it takes; an original does not look.
    fn expect(&mut self, recorded: &[u8], place: &str) {
        let mut expected = Vec::new();
        if recorded.starts_with(b"*") {
            for answer in messages(recorded) {
                let message = self.unanswered.pop_front().unwrap_or_default();
                let chosen = message.first().is_some_and(|word| word == b"SLOTSRESTORE-ASYNC-SELECT");
                let added = if chosen && answer[1] == b"0" { &b" parts many ends"[..] } else { b"" };
                encode(&[&answer[0][..], &answer[1], &[&answer[2][..], added].concat()], &mut expected);
            }
        } else {
            expected.extend_from_slice(recorded);
        }
        let mut found = vec![0; expected.len()];
        let mut len = 0;
        while len < found.len() {
            match self.stream.read(&mut found[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) => {
                    assert!(tests::is_end(&error), "{place}: {error}");
                    break;
                }
            }
        }
        found.truncate(len);
        assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{place}");
    }

    fn expect_end(&mut self, place: &str) {
        let mut more = Vec::new();
        // An end may be a reset, since the source sent what nobody has read.
        let ended = self.stream.read_to_end(&mut more);
        assert!(ended.as_ref().err().is_none_or(tests::is_end), "{place}: {ended:?}");
        assert_eq!(more.escape_ascii().to_string(), "", "{place}: sent before the end");
    }
}

fn play_the_source(recording: &Recording, threads: usize) {
    let server = Server::start(recording.options("target-option", threads));
    let mut there = recording.client(&server, "target-option");
    let mut link: Option<Link> = None;
    let mut calls = 0;
    for line in recording.for_target() {
        let place = format!("{}, call {calls}, with {threads} threads", recording.name);
        match (&line.what[..], &line.text[..]) {
            ("target", text) => {
                let reply = there.call(&words(text));
                assert!(!matches!(reply, Reply::Error(_)), "{place}: {}", show(&reply));
            }
            (">", _) => calls += 1,
            ("connect", _) => link = Some(Link::new(server.addr())),
            ("S", b"close") => drop(link.take().map(|link| link.stream.shutdown(Shutdown::Both))),
            ("T", b"close") => drop(link.as_mut().map(|link| link.expect_end(&place))),
            ("S", bytes) => link.as_mut().expect("a link").send(bytes),
            ("T", bytes) => link.as_mut().expect("a link").expect(bytes, &place),
            ("digest", digest) => {
                assert_eq!(run(&mut there, "DEBUG DIGEST"), String::from_utf8_lossy(digest), "{place}");
            }
            // The end of a link, and what goes with it, is seen at the target's next turn.
            ("size", size) => {
                let size = String::from_utf8_lossy(size).into_owned();
                let mut found = String::new();
                wait_until(PATIENCE, || {
                    found = run(&mut there, "DBSIZE");
                    found == size
                });
                assert_eq!(found, size, "{place}: keys at the target");
            }
            ("source" | "source-option" | "target-option" | "both" | "<", _) => {}
            (what, _) => panic!("{place}: an unknown line: {what}"),
        }
    }
}

/// Equal but for times to live, which are what is left of them.
fn equal(found: &[Vec<u8>], recorded: &[Vec<u8>]) -> bool {
    let number = |word: &[u8]| String::from_utf8_lossy(word).parse::<i64>().ok();
    let left = |word: &[u8]| number(word).is_some_and(|ms| (1..=TTL_MS).contains(&ms));
    let is_ttl = |word: &[u8]| left(word) && number(word).is_some_and(|ms| ms > TTL_MIN_MS);
    found.len() == recorded.len()
        && found.iter().zip(recorded).all(|(found, recorded)| found == recorded || is_ttl(recorded) && left(found))
}

fn play_the_target(recording: &Recording, threads: usize) {
    let source = Server::start(recording.options("source-option", threads));
    let mut from = recording.client(&source, "source-option");
    let target = Script::new();
    let mut link = None;
    let mut calls = 0;
    let mut lines = recording.lines.iter().filter(|line| !line.ours).peekable();
    while let Some(line) = lines.next() {
        let place = format!("{}, call {calls}, with {threads} threads", recording.name);
        match &line.what[..] {
            "source" => drop(from.call(&words(&line.text))),
            ">" => {
                calls += 1;
                let mut call: Vec<_> = words(&line.text).into_iter().map(String::from_utf8_lossy).collect();
                let port = target.port().to_string();
                call[1..3].clone_from_slice(&["127.0.0.1".into(), port.into()]);
                if !call[0].ends_with("-ASYNC") {
                    // Nobody is told of this time, and we may be slow to answer.
                    call[3] = "60000".into();
                }
                from.send(format!("{}\r\n", call.join(" ")).as_bytes()).expect("sent");
                let (mut sent, mut answers) = (Vec::new(), Vec::new());
                while let Some(line) = lines.next_if(|line| line.what != "<") {
                    match (&line.what[..], &line.text[..]) {
                        ("connect", _) => link = Some(target.accept()),
                        (_, b"close") => {}
                        ("S", bytes) => sent.extend_from_slice(bytes),
                        ("T", bytes) => answers.extend_from_slice(bytes),
                        _ => {}
                    }
                }
                let mut answers = if answers.starts_with(b"*") {
                    let all = messages(&answers).into_iter();
                    let again = |words: Vec<Vec<u8>>| {
                        let mut bytes = Vec::new();
                        encode(&words, &mut bytes);
                        bytes
                    };
                    all.map(again).collect::<VecDeque<_>>()
                } else {
                    answers.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
                };
                for recorded in messages(&sent) {
                    let link = link.as_mut().expect("a link");
                    let found = link.next().unwrap_or_default();
                    let shown = |words: &[Vec<u8>]| words.join(&b' ').escape_ascii().to_string();
                    assert!(equal(&found, &recorded), "{place}: {} and not {}", shown(&found), shown(&recorded));
                    let answer = answers.pop_front().unwrap_or_default();
                    let refused = answer.starts_with(b"-");
                    link.send(&answer);
                    if refused {
                        // What stands behind is not sent where it would be carried out all the same.
                        break;
                    }
                }
            }
            "<" => {
                let reply = show(&from.read());
                assert_eq!(reply, String::from_utf8_lossy(&line.text), "{place}");
            }
            _ => {}
        }
    }
}

#[test]
fn an_original_source_meets_what_it_knows() {
    for (n, recording) in Recording::all().iter().enumerate() {
        play_the_source(recording, if n % 2 == 0 { 1 } else { 4 });
    }
}

#[test]
fn an_original_target_meets_what_it_knows() {
    for (n, recording) in Recording::all().iter().filter(|recording| recording.is_marked("both")).enumerate() {
        play_the_target(recording, if n % 2 == 0 { 4 } else { 1 });
    }
}

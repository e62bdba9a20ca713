//! Keys of every type and encoding, with and without tags and expiries; and a target that does as it is told.

use resp::{Arg, Parser, Progress, Reply};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use tests::{Client, Options, Server, encode};

/// How long something may take to be seen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long somebody who says nothing is listened to.
const SILENCE: Duration = Duration::from_millis(50);

/// A source and a target of ours.
pub fn pair(threads: usize) -> (Server, Server) {
    (Server::start(Options::codis(threads)), Server::start(Options::codis(threads)))
}

/// A reply in one line: strings as they are, `:1` for an integer, `(nil)`, `[a b]` for an array, `-ERR ..` for an error.
pub fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Reply::Int(value) => format!(":{value}"),
        Reply::Bulk(None) | Reply::Array(None) => "(nil)".to_owned(),
        Reply::Bulk(Some(text)) => text.escape_ascii().to_string().replace("\\'", "'"),
        Reply::Array(Some(all)) => format!("[{}]", all.iter().map(show).collect::<Vec<_>>().join(" ")),
    }
}

/// Runs a line and shows its reply.
pub fn run(client: &mut Client, line: &str) -> String {
    show(&client.run(line))
}

/// The numbers of a reply of two: how many keys have moved, and how many are left.
pub fn two_numbers(reply: &str) -> [i64; 2] {
    let numbers =
        reply.strip_prefix("[:").and_then(|rest| rest.strip_suffix(']')).and_then(|rest| rest.split_once(" :"));
    let (moved, left) = numbers.unwrap_or_else(|| panic!("{reply}"));
    [moved, left].map(|number| number.parse().unwrap_or_else(|_| panic!("{reply}")))
}

/// `SLOTSMGRT..` to another server of ours: `command`, its address, and the rest.
pub fn to(target: &Server, command: &str, rest: &str) -> String {
    format!("{command} 127.0.0.1 {} {rest}", target.addr().port())
}

/// Fills a database with keys of every type and encoding, some of tag `t`, some with an expiry. Returns their names.
pub fn fill(client: &mut Client) -> Vec<String> {
    let mut lines: Vec<String> = [
        "SET text hello",
        "SET {t}int -12345",
        "SET empty{t} x",
        "RPUSH {t}list a 1 bb",
        "SADD ints{t} 1 2 300000",
        "SADD set x y z",
        "HMSET hash f v g 1",
        "ZADD zset{t} 1.5 m -inf low inf high",
    ]
    .map(str::to_owned)
    .into();
    let many = |from: &str| (0..700).map(|n| format!("{from}{n}")).collect::<Vec<_>>().join(" ");
    lines.push(format!("SET long {}", "v".repeat(40_000)));
    lines.push(format!("RPUSH biglist {}", many("e")));
    lines.push(format!("SADD bigset{{t}} {}", many("m")));
    lines.push(format!("HMSET bighash {}", (0..700).map(|n| format!("f{n} {n}")).collect::<Vec<_>>().join(" ")));
    lines.push(format!(
        "ZADD bigzset {}",
        (0..700).map(|n| format!("{}.25 m{n}", n * 7 % 700)).collect::<Vec<_>>().join(" ")
    ));
    lines.push("PEXPIRE text 100000".to_owned());
    lines.push("PEXPIRE bighash 200000".to_owned());
    lines.push("PEXPIRE {t}list 300000".to_owned());
    for line in lines {
        let reply = run(client, &line);
        assert!(!reply.starts_with('-'), "{line:.40}: {reply}");
    }
    names(client)
}

/// All keys, in order.
pub fn names(client: &mut Client) -> Vec<String> {
    let Reply::Array(Some(all)) = client.run("KEYS *") else { panic!("an array") };
    let mut names: Vec<String> = all.iter().map(show).collect();
    names.sort();
    names
}

/// What a key holds, and whether it expires; an empty text if it is not there.
pub fn value(client: &mut Client, key: &str) -> String {
    let kind = run(client, &format!("TYPE {key}"));
    let line = match kind.as_str() {
        "string" => format!("GET {key}"),
        "list" => format!("LRANGE {key} 0 -1"),
        "set" => format!("SMEMBERS {key}"),
        "hash" => format!("HGETALL {key}"),
        "zset" => format!("ZRANGE {key} 0 -1 WITHSCORES"),
        _ => return String::new(),
    };
    let mut words: Vec<String> = match client.run(&line) {
        Reply::Array(Some(all)) => all.iter().map(show).collect(),
        other => vec![show(&other)],
    };
    match kind.as_str() {
        "set" => words.sort(),
        "hash" => {
            let mut pairs: Vec<String> = words.chunks(2).map(|pair| pair.join("=")).collect();
            pairs.sort();
            words = pairs;
        }
        _ => {}
    }
    let expires = !run(client, &format!("PTTL {key}")).starts_with(":-");
    let encoding = run(client, &format!("OBJECT ENCODING {key}"));
    format!("{kind} {encoding} {expires} {}", words.join(" "))
}

/// What all these keys hold.
pub fn values(client: &mut Client, keys: &[String]) -> Vec<String> {
    keys.iter().map(|key| value(client, key)).collect()
}

/// Panics with the first key that does not hold what it held.
pub fn same(keys: &[String], found: &[String], expected: &[String]) {
    for ((key, found), expected) in keys.iter().zip(found).zip(expected) {
        assert!(found == expected, "{key} holds {found:.200} and not {expected:.200}");
    }
}

/// A target made of a script: it shows what it gets, and answers what it is told.
pub struct Script {
    listener: TcpListener,
}

/// A source's link to a [`Script`].
pub struct Caller {
    stream: TcpStream,
    input: Vec<u8>,
    /// Elements that have come of the key of the last message.
    elements: usize,
}

impl Script {
    pub fn new() -> Script {
        Script::on(Ipv4Addr::LOCALHOST.into()).expect("loopback has a free port")
    }

    /// One that listens there.
    pub fn on(address: IpAddr) -> std::io::Result<Script> {
        TcpListener::bind((address, 0)).map(|listener| Script { listener })
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("a listener has an address").port()
    }

    pub fn to(&self, command: &str, rest: &str) -> String {
        format!("{command} 127.0.0.1 {} {rest}", self.port())
    }

    /// Whether another link waits to be accepted.
    pub fn is_called(&self) -> bool {
        self.listener.set_nonblocking(true).expect("a listener of ours");
        let called = self.listener.accept().is_ok();
        self.listener.set_nonblocking(false).expect("a listener of ours");
        called
    }

    /// Accepts a link and acknowledges whatever comes while `work` is done; returns the lines but those by which older
    /// links are to be ended or the password is given, and what `work` returned.
    pub fn accept_and_play_along<R>(&self, work: impl FnOnce() -> R) -> (Vec<String>, R) {
        std::thread::scope(|scope| {
            let mut link = self.accept();
            let stop = link.stream.try_clone().expect("a socket");
            let player = scope.spawn(move || link.play_along_to_the_end());
            let result = work();
            stop.shutdown(std::net::Shutdown::Both).expect("it is connected");
            (player.join().expect("it plays"), result)
        })
    }

    pub fn accept(&self) -> Caller {
        Caller { stream: tests::accept(&self.listener), input: Vec::new(), elements: 0 }
    }
}

impl Caller {
    /// Where it comes from.
    pub fn addr(&self) -> String {
        self.stream.peer_addr().expect("it is connected").to_string()
    }

    /// The next message's words; `None` when the source has closed.
    pub fn next(&mut self) -> Option<Vec<Vec<u8>>> {
        loop {
            let mut args: Vec<Arg> = Vec::new();
            let progress = Parser::new().parse(&self.input, &mut args).expect("a request");
            if let Progress::Complete { consumed } = progress {
                let words = args.iter().map(|arg| arg.of(&self.input).to_vec()).collect();
                self.input.drain(..consumed);
                return Some(words);
            }
            let mut more = [0; 65536];
            match self.stream.read(&mut more) {
                Ok(0) => return None,
                Err(error) => {
                    assert!(tests::is_end(&error), "the source neither sends nor closes: {error}");
                    return None;
                }
                Ok(n) => self.input.extend_from_slice(&more[..n]),
            }
        }
    }

    /// The next message in one line.
    pub fn line(&mut self) -> String {
        let Some(words) = self.next() else { return "(closed)".to_owned() };
        words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
    }

    /// Where the link comes from.
    pub fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().expect("connected")
    }

    /// Expects exactly these bytes.
    pub fn expect(&mut self, bytes: &[u8]) {
        while self.input.len() < bytes.len() {
            let mut more = [0; 65536];
            let n = self.stream.read(&mut more).expect("the source sends");
            assert!(n > 0, "the source closed after {}", self.input.escape_ascii());
            self.input.extend_from_slice(&more[..n]);
        }
        let rest = self.input.split_off(bytes.len());
        assert_eq!(self.input.escape_ascii().to_string(), bytes.escape_ascii().to_string());
        self.input = rest;
    }

    /// Reads what there is and forgets it; true once the link has been broken off rather than closed.
    pub fn is_reset(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 65536]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }

    /// Whether nothing more comes for a moment.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(SILENCE)).expect("not zero");
        let read = self.stream.read(&mut [0; 1]);
        self.stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        self.input.is_empty() && matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the source reads");
    }

    /// Acknowledges one message.
    pub fn ack(&mut self, code: &str, text: &str) {
        let mut out = Vec::new();
        encode(&["SLOTSRESTORE-ASYNC-ACK", code, text], &mut out);
        self.send(&out);
    }

    /// Acknowledges one message to a source that may be gone.
    pub fn try_ack(&mut self, text: &str) {
        let mut out = Vec::new();
        encode(&["SLOTSRESTORE-ASYNC-ACK", "0", text], &mut out);
        self.try_send(&out);
    }

    /// Sends bytes to a source that may be gone.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Acknowledges messages with these numbers.
    pub fn acks(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.ack("0", text));
    }

    /// Acknowledges this message as a good target does, with the number of elements that have come of a key.
    pub fn carry_out(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        if matches!(words[0], "CLIENT" | "SELECT" | "DEL" | "SLOTSRESTORE") {
            return self.send(b"+OK\r\n");
        }
        let each = match words.get(1) {
            Some(&("list" | "dict")) => 1,
            Some(&("hash" | "zset")) => 2,
            _ => {
                self.elements = 0;
                return self.ack("0", "1");
            }
        };
        self.elements += words.len().saturating_sub(5) / each;
        self.ack("0", &self.elements.to_string());
    }

    /// Acknowledges whatever comes, as a good target does, until the source closes; returns the lines but those by which
    /// older links are to be ended.
    pub fn play_along(mut self) -> Vec<String> {
        self.play_along_to_the_end()
    }

    fn play_along_to_the_end(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if line == "(closed)" {
                return lines;
            }
            self.carry_out(&line);
            if !line.starts_with("CLIENT KILL ") {
                lines.push(line);
            }
        }
    }
}

//! The load generator: a fixed number of requests over non-blocking connections, with pipelining.
//!
//! Made so that the server is the bottleneck: requests are laid out once per connection and only the digits of random
//! parts are rewritten; replies are counted, not parsed into values; one write and one read a batch.
//! A connection has one batch of P requests under way. Its latency, from the write to the last of its replies, counts
//! for each of the P requests.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::error::{Context, Error, Result};
use super::process::own_thread_cpu_ns;
use super::random::{DIGITS, Random, write_digits};
use super::wire::{ReplyCounter, SILENCE_MAX, Shape, write_request};

/// Room for the replies of one read.
const INPUT_BYTES: usize = 64 * 1024;

/// One argument of a request.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    /// This text.
    Text(&'static str),
    /// This text, then twelve random digits.
    Random(&'static str),
    /// The value: the same bytes in every request.
    Value,
}

/// A request with holes for random digits.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    holes: Vec<usize>,
}

impl Template {
    /// Lays out a request.
    pub fn new(args: &[Arg], value: &[u8]) -> Self {
        const HOLE: [u8; DIGITS] = [0; DIGITS];
        let texts: Vec<Vec<u8>> = args
            .iter()
            .map(|arg| match arg {
                Arg::Text(text) => text.as_bytes().to_vec(),
                Arg::Random(prefix) => [prefix.as_bytes(), &HOLE].concat(),
                Arg::Value => value.to_vec(),
            })
            .collect();
        let mut bytes = Vec::new();
        write_request(&mut bytes, &texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut holes = Vec::new();
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + DIGITS) {
            if window == HOLE {
                holes.push(at);
                at += DIGITS;
            } else {
                at += 1;
            }
        }
        Self { bytes, holes }
    }

    fn repeated(&self, times: usize) -> Self {
        let len = self.bytes.len();
        Self {
            bytes: self.bytes.repeat(times),
            holes: (0..times).flat_map(|nth| self.holes.iter().map(move |hole| nth * len + hole)).collect(),
        }
    }

    fn fill(&mut self, random: &mut Random, keys: u64) {
        for &hole in &self.holes {
            if let Some(digits) = self.bytes.get_mut(hole..).and_then(|rest| rest.first_chunk_mut()) {
                write_digits(digits, random.below(keys));
            }
        }
    }
}

/// A load to put on a server.
#[derive(Debug)]
pub struct Load<'a> {
    /// The server.
    pub addr: SocketAddr,
    /// Connections in all; at least one a thread.
    pub connections: usize,
    /// Client threads.
    pub threads: usize,
    /// Requests in a batch.
    pub pipeline: usize,
    /// Requests in all, rounded up to whole batches per thread.
    pub requests: u64,
    /// What to send.
    pub template: &'a Template,
    /// What must come back.
    pub shape: Shape,
    /// Random parts lie below this.
    pub keys: u64,
    /// Decides all random parts.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Requests answered.
    pub requests: u64,
    /// From the first request to the last reply.
    pub wall: Duration,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
    /// CPU time of the generator's threads, in nanoseconds.
    pub client_cpu_ns: u64,
}

/// Connections that are open but silent, so that accepting them is not part of the measurement.
pub struct Ready<'a> {
    load: &'a Load<'a>,
    workers: Vec<Worker>,
}

impl<'a> Load<'a> {
    /// Opens the connections.
    pub fn connect(&'a self) -> Result<Ready<'a>> {
        let threads = self.threads.max(1);
        let workers = (0..threads)
            .map(|nth| {
                let connections = self.connections / threads + usize::from(nth < self.connections % threads);
                Worker::connect(self, connections.max(1), self.seed ^ ((nth as u64) << 48))
            })
            .collect::<Result<_>>()?;
        Ok(Ready { load: self, workers })
    }
}

impl Ready<'_> {
    /// Sends everything and waits for all replies.
    pub fn go(self) -> Result<Outcome> {
        let load = self.load;
        let quota = load.requests.div_ceil(self.workers.len() as u64);
        let begin = Instant::now();
        let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
            let start = |worker: Worker| scope.spawn(move || worker.run(load, quota));
            let threads: Vec<_> = self.workers.into_iter().map(start).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("panics abort the process");
            threads.into_iter().map(join).collect()
        });
        let mut total = Outcome::none();
        for outcome in outcomes {
            let part = outcome?;
            total.requests += part.requests;
            total.client_cpu_ns += part.client_cpu_ns;
            total.latency.add(part.latency).expect("equal bounds");
        }
        total.wall = begin.elapsed();
        Ok(total)
    }
}

impl Outcome {
    fn none() -> Self {
        Self { requests: 0, wall: Duration::ZERO, latency: new_histogram(), client_cpu_ns: 0 }
    }
}

/// Nanoseconds up to a minute, to three digits.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid")
}

struct Worker {
    poll: Poll,
    connections: Vec<Connection>,
    random: Random,
}

impl Worker {
    fn connect(load: &Load, connections: usize, seed: u64) -> Result<Self> {
        let poll = Poll::new().context(|| "epoll".into())?;
        let connections =
            (0..connections).map(|nth| Connection::open(load, &poll, Token(nth))).collect::<Result<_>>()?;
        Ok(Self { poll, connections, random: Random::new(seed) })
    }

    fn run(mut self, load: &Load, quota: u64) -> Result<Outcome> {
        let batch = load.pipeline as u64;
        let mut outcome = Outcome::none();
        let (mut sent, mut idle) = (0, 0);
        for connection in &mut self.connections {
            if sent >= quota {
                connection.is_idle = true;
                idle += 1;
                continue;
            }
            sent += batch;
            connection.send(&mut self.random, load.keys, Instant::now())?;
        }
        let mut events = Events::with_capacity(256);
        while idle < self.connections.len() {
            match self.poll.poll(&mut events, Some(SILENCE_MAX)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.context(|| "epoll".into())?,
            }
            if events.is_empty() {
                return Err(Error::Stalled(SILENCE_MAX.as_secs()));
            }
            for event in &events {
                let Some(connection) = self.connections.get_mut(event.token().0) else {
                    continue;
                };
                if event.is_writable() {
                    connection.flush()?;
                }
                // A short read has emptied the socket: what comes later is a new event.
                let mut more = event.is_readable();
                while more {
                    more = connection.receive()?;
                    if connection.waiting > 0 || connection.is_idle {
                        continue;
                    }
                    let now = Instant::now();
                    let took = now.duration_since(connection.sent_at).as_nanos() as u64;
                    outcome.latency.saturating_record_n(took, batch);
                    outcome.requests += batch;
                    if sent < quota {
                        sent += batch;
                        connection.send(&mut self.random, load.keys, now)?;
                    } else {
                        connection.is_idle = true;
                        idle += 1;
                    }
                }
            }
        }
        outcome.client_cpu_ns = own_thread_cpu_ns();
        Ok(outcome)
    }
}

struct Connection {
    stream: TcpStream,
    pipeline: u64,
    /// A batch, and how much of it is on its way.
    batch: Template,
    written: usize,
    sent_at: Instant,
    input: Box<[u8]>,
    /// Bytes at the start of `input` that are not used up: a header in the making.
    filled: usize,
    counter: ReplyCounter,
    /// Replies still to come for this batch.
    waiting: u64,
    /// Nothing more to send.
    is_idle: bool,
}

impl Connection {
    fn open(load: &Load, poll: &Poll, token: Token) -> Result<Self> {
        let stream = std::net::TcpStream::connect(load.addr).context(|| format!("connect to {}", load.addr))?;
        stream.set_nodelay(true).context(|| "TCP_NODELAY".into())?;
        stream.set_nonblocking(true).context(|| "O_NONBLOCK".into())?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
            .context(|| "epoll".into())?;
        let batch = load.template.repeated(load.pipeline);
        Ok(Self {
            stream,
            pipeline: load.pipeline as u64,
            written: batch.bytes.len(),
            batch,
            sent_at: Instant::now(),
            input: vec![0; INPUT_BYTES].into(),
            filled: 0,
            counter: ReplyCounter::new(load.shape),
            waiting: 0,
            is_idle: false,
        })
    }

    fn send(&mut self, random: &mut Random, keys: u64, now: Instant) -> Result<()> {
        self.batch.fill(random, keys);
        self.written = 0;
        self.waiting = self.pipeline;
        self.sent_at = now;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        while let Some(rest @ [_, ..]) = self.batch.bytes.get(self.written..) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "send".into()),
            }
        }
        Ok(())
    }

    /// One read; whether there may be more to read.
    fn receive(&mut self) -> Result<bool> {
        let room = &mut self.input[self.filled..];
        let count = match self.stream.read(room) {
            Ok(0) => return Err(Error::Reply("the connection was closed".into())),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error).context(|| "receive".into()),
        };
        let may_be_more = count == room.len();
        let end = self.filled + count;
        let (used, replies) = self.counter.feed(&self.input[..end])?;
        if used == 0 && end == self.input.len() {
            return Err(Error::Reply("a header without an end".into()));
        }
        self.input.copy_within(used..end, 0);
        self.filled = end - used;
        self.waiting =
            self.waiting.checked_sub(replies).ok_or_else(|| Error::Reply("more replies than requests".into()))?;
        Ok(may_be_more)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn random_parts_are_the_only_bytes_that_change() {
        let template = Template::new(&[Arg::Text("SET"), Arg::Random("key:"), Arg::Value], b"xx");
        let mut batch = template.repeated(2);
        assert_eq!(batch.holes.len(), 2);
        batch.fill(&mut Random::new(1), 1);
        let one = "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$2\r\nxx\r\n";
        assert_eq!(String::from_utf8(batch.bytes.clone()).unwrap(), one.repeat(2));
        batch.fill(&mut Random::new(1), 1_000_000_000);
        assert_eq!(batch.bytes.len(), 2 * one.len());
        assert_ne!(batch.bytes, one.repeat(2).into_bytes());
    }

    /// Answers every PING with `reply` until the client leaves; the number of requests it saw.
    fn answer_pings(listener: &TcpListener, connections: usize, reply: &[u8]) -> usize {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|_| {
                    let (mut stream, _) = listener.accept().unwrap();
                    scope.spawn(move || {
                        let reader = BufReader::new(stream.try_clone().unwrap());
                        let pings = reader.lines().map_while(|line| line.ok()).filter(|line| line == "PING");
                        pings.map_while(|_| stream.write_all(reply).ok()).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    }

    fn run_pings(reply: &[u8], requests: u64) -> (Result<Outcome>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let template = Template::new(&[Arg::Text("PING")], b"");
        let load = Load {
            addr: listener.local_addr().unwrap(),
            connections: 3,
            threads: 2,
            pipeline: 4,
            requests,
            template: &template,
            shape: Shape::Status,
            keys: 1,
            seed: 1,
        };
        thread::scope(|scope| {
            let server = scope.spawn(|| answer_pings(&listener, 3, reply));
            let outcome = load.connect().and_then(Ready::go);
            (outcome, server.join().unwrap())
        })
    }

    #[test]
    fn whole_batches_are_sent_answered_and_timed() {
        let (outcome, seen) = run_pings(b"+PONG\r\n", 41);
        let outcome = outcome.unwrap();
        // 41 requests over two threads are 21 each, and 24 in batches of 4.
        assert_eq!((outcome.requests, seen), (48, 48));
        assert_eq!(outcome.latency.len(), 48);
    }

    #[test]
    fn an_error_reply_ends_the_run_with_its_text() {
        let (outcome, _) = run_pings(b"-ERR broken\r\n", 40);
        assert!(outcome.unwrap_err().to_string().contains("ERR broken"));
    }
}

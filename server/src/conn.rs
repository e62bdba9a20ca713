//! One client's connection: its socket, what waits in both directions, and its session.

use crate::clients::ClientInfo;
use crate::config::{ClientClass, Config};
use crate::input::Input;
use crate::node::Run;
use crate::park::Parking;
use crate::pubsub::Subscriptions;
use crate::repl::peer::{Feed, Peer};
use crate::stakes::Stakes;
use crate::unpack::Unpacking;
use commands::args::Args;
use commands::ctx::Session;
use commands::table::Command;
use engine::raw::spare;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use resp::{Arg, Out, Parser};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A stream of either family. It is read and written by bare system calls: the C library's are cancellation points, and
/// note in shared memory that they begin and end.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Socket {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }

    /// The descriptor's number.
    pub fn fd(&self) -> i32 {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Asks for edge-triggered events in both directions, once: the writable ones come only after a short write.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Tells the other side that nothing more comes; the connection is still to be closed.
    pub fn end_output(&self) {
        // Where it is broken already that needs no telling.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Whether TCP sends small packets at once; a Unix socket always does.
    pub fn set_nodelay(&self, at_once: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_nodelay(at_once),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Reads what is there.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let (_, taken) = recv(self, into, RecvFlags::empty())?;
        Ok(taken)
    }

    /// Reads what is there into the spare capacity of `into`, at most `limit` bytes.
    pub fn read_more(&self, into: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
        spare::extend(into, limit, |part| {
            let ((filled, _), _) = recv(self, part, RecvFlags::empty())?;
            Ok(filled)
        })
    }

    /// Writes what fits.
    pub fn write(&self, from: &[u8]) -> io::Result<usize> {
        Ok(send(self, from, SendFlags::NOSIGNAL)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What a command may change of the connection it came from.
pub struct Client {
    /// What others see.
    pub info: Arc<ClientInfo>,
    /// The selected database.
    pub session: Session,
    /// Whether the password was given, or none is needed.
    pub authenticated: bool,
    /// End the connection once the replies are sent.
    pub close_after_reply: bool,
    /// CLIENT REPLY.
    pub replies: Replies,
    /// Between MULTI and EXEC: what waits.
    pub queue: Option<Queue>,
    /// What WATCH has registered.
    pub watched: Option<Stakes>,
    /// What it listens to: while it does, few commands are allowed.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// Whether it waits for a reply that comes later.
    pub parking: Parking,
    /// What it is in replication, if it has said so.
    pub peer: Option<Box<Peer>>,
    /// What its first request brings, as far as it is read.
    pub unpacking: Option<Box<Unpacking>>,
    /// The file's end after its last write ([`engine::records::FilePlace::of_file`]): what must be on disk before it is told of
    /// that.
    pub written: u64,
}

impl Client {
    /// How it is fed, if it is a replica.
    #[inline]
    pub fn feed(&self) -> Option<&Feed> {
        self.peer.as_ref().and_then(|peer| peer.feed.as_ref())
    }
}

impl Client {
    /// Whether it is ended when it says nothing for `timeout` seconds.
    pub fn may_idle_out(&self) -> bool {
        let listens = self.subscriptions.is_some() || self.info.monitor.load(Ordering::Relaxed);
        !listens && self.parking.parked.is_none() && self.feed().is_none()
    }

    /// The class whose output limits it has. Monitors count as normal clients, as in 3.2.
    pub fn class(&self) -> ClientClass {
        if self.subscriptions.is_some() { ClientClass::Pubsub } else { ClientClass::Normal }
    }

    /// As it is after connecting.
    pub fn new(info: Arc<ClientInfo>, authenticated: bool) -> Client {
        Client {
            info,
            session: Session::default(),
            authenticated,
            close_after_reply: false,
            replies: Replies::On,
            queue: None,
            watched: None,
            subscriptions: None,
            parking: Parking::default(),
            peer: None,
            unpacking: None,
            written: 0,
        }
    }
}

/// The commands of a transaction, copied out of the input buffer.
#[derive(Default)]
pub struct Queue {
    /// In order.
    pub requests: Vec<Queued>,
    /// A command was refused when it came: EXEC must not run the others.
    pub failed: bool,
    /// Bytes of all arguments.
    pub bytes: usize,
}

/// One command of a transaction.
pub struct Queued {
    /// Its row.
    pub row: Command<Run>,
    /// Its arguments' bytes, one after the other.
    pub bytes: Vec<u8>,
    /// Where each argument lies in them.
    pub args: Vec<Arg>,
}

impl Queued {
    /// Copies a request.
    pub fn new(row: Command<Run>, args: &Args<'_>) -> Queued {
        let mut bytes = Vec::with_capacity(args.iter().map(<[u8]>::len).sum());
        let mut ranges = Vec::with_capacity(args.len());
        for arg in args.iter() {
            ranges.push(Arg { start: bytes.len() as u32, len: arg.len() as u32 });
            bytes.extend_from_slice(arg);
        }
        Queued { row, bytes, args: ranges }
    }

    /// The arguments.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.args)
    }
}

/// Which replies a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// Not the one to the next command.
    SkipNext,
    /// Not the one to the running command.
    Skip,
}

/// A connection.
pub struct Conn {
    /// The stream; shared with the client's door while that is open.
    pub socket: Arc<Socket>,
    /// Its place among the reactor's connections.
    pub place: usize,
    /// What commands see.
    pub client: Client,
    /// The request that is under way.
    pub parser: Parser,
    /// Bytes received and not yet understood.
    pub input: Input,
    /// Replies that did not fit the socket's buffer.
    pub output: Out,
    /// How much of `output` was sent.
    pub sent: usize,
    /// The last read filled its buffer: there may be more, and no event will say so.
    pub more_to_read: bool,
    /// Replies in `output` wait for the append only file: nothing of it may be sent before.
    pub held: bool,
    /// Replies to it are among those that leave at the end of the reactor's turn.
    pub has_kept: bool,
    /// `input` holds requests that nobody has looked at: serve them before reading more.
    pub unserved: bool,
    /// Turns in a row in which it could not have the slots it needs.
    pub deferrals: u32,
    /// If so, whether it was a guest that had them.
    pub behind_guest: bool,
    /// Its next request waits for room in a queue or for the disk: it is not looked at until there is.
    pub stalled: bool,
    /// `output` got something outside of a turn of this connection: to be sent before the reactor sleeps.
    pub flush_due: bool,
    /// It is among those that go on when clients are no longer paused.
    pub paused: bool,
    /// It was to be sent more than its class may have waiting, and missed something: it ends.
    pub overflowed: bool,
    /// Since when replies waiting are over the soft limit, Unix milliseconds.
    pub over_soft_limit_since_ms: Option<i64>,
}

/// The buffer that 3.2 has in every client, and the size of the chunks that follow when it is full.
const CHUNK_BYTES: usize = 16 * 1024;
/// What 3.2 counts for each chunk besides its bytes.
const CHUNK_OVERHEAD_BYTES: usize = 40;

/// Waiting replies as 3.2 counts them: bytes in the client's own buffer, number of chunks after it, their memory.
pub fn as_chunks(waiting: usize) -> [usize; 3] {
    let more = waiting.saturating_sub(CHUNK_BYTES);
    let chunks = more.div_ceil(CHUNK_BYTES);
    [waiting.min(CHUNK_BYTES), chunks, more + chunks * CHUNK_OVERHEAD_BYTES]
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything.
    All,
    /// The rest waits for the socket.
    Part,
    /// The peer is gone.
    Broken,
}

impl Conn {
    /// A fresh connection, to be put at `place`.
    pub fn new(socket: Socket, client: Client, place: usize) -> Conn {
        let socket = Arc::new(socket);
        // It is set here only.
        let _ = client.info.socket.set(Arc::downgrade(&socket));
        Conn {
            socket,
            place,
            client,
            parser: Parser::new(),
            input: Input::default(),
            output: Out::new(),
            sent: 0,
            more_to_read: false,
            held: false,
            has_kept: false,
            unserved: false,
            deferrals: 0,
            behind_guest: false,
            stalled: false,
            flush_due: false,
            paused: false,
            overflowed: false,
            over_soft_limit_since_ms: None,
        }
    }

    /// Whether the replies that wait are more than the client's class may have.
    pub fn is_over_output_limit(&mut self, config: &Config, now_ms: i64) -> bool {
        let limit = &config.client_output_buffer_limit[self.client.class() as usize];
        let [_, _, memory] = as_chunks(self.waiting());
        let waiting = memory as u64;
        if self.overflowed || limit.hard_bytes != 0 && waiting >= limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || waiting < limit.soft_bytes {
            self.over_soft_limit_since_ms = None;
            return false;
        }
        let since = *self.over_soft_limit_since_ms.get_or_insert(now_ms);
        now_ms - since > limit.soft_seconds as i64 * 1000
    }

    /// What the log says when it is.
    pub fn over_limit_text(&self) -> String {
        let info = &self.client.info;
        format!(
            "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer limits.",
            info.id, info.addr
        )
    }

    /// Bytes of replies that wait.
    pub fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Sends `bytes`, after what waits already; what does not fit waits. Returns how it ended and how many bytes went
    /// out.
    pub fn send(&mut self, bytes: &[u8]) -> (Sent, usize) {
        if self.waiting() > 0 {
            self.output.extend_raw(bytes);
            return self.flush();
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.socket.write(&bytes[written..]) {
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.output.extend_raw(&bytes[written..]);
                    return (Sent::Part, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (Sent::Broken, written),
            }
        }
        (Sent::All, written)
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> (Sent, usize) {
        let start = self.sent;
        while self.waiting() > 0 {
            match self.socket.write(&self.output.as_slice()[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let written = self.sent - start;
                    self.compact();
                    return (Sent::Part, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return (Sent::Broken, self.sent - start),
            }
        }
        let written = self.sent - start;
        self.output = Out::new();
        self.sent = 0;
        (Sent::All, written)
    }

    /// Drops what was sent once it is the larger part.
    fn compact(&mut self) {
        if self.sent > self.output.len() / 2 {
            self.output.consume(self.sent);
            self.sent = 0;
        }
    }

    /// Lets other threads hand this client the reply that it waits for, if nothing else is to be sent to it, nothing of
    /// what it sent is left, and all it waits for is that reply.
    pub fn open_door(&self) {
        let client = &self.client;
        let Some(parked) = &client.parking.parked else { return };
        let quiet = self.waiting() == 0 && !self.has_kept && !self.held && !self.flush_due && !parked.mute;
        let idle = self.input.is_empty() && !self.unserved && !self.more_to_read && !client.close_after_reply;
        let plain = client.subscriptions.is_none() && client.peer.is_none();
        if quiet && idle && plain && !client.info.monitor.load(Ordering::Relaxed) {
            client.info.door.open(parked.ticket.wait, &self.socket);
        }
    }

    /// Tells others the figures of the moment.
    pub fn publish(&self, now_ms: i64) {
        let info = &self.client.info;
        info.last_ms.store(now_ms, Ordering::Relaxed);
        info.db.store(self.client.session.db, Ordering::Relaxed);
        info.input[0].store(self.input.len(), Ordering::Relaxed);
        info.input[1].store(self.input.spare(), Ordering::Relaxed);
        info.output.store(self.waiting(), Ordering::Relaxed);
        info.parked.store(self.client.parking.parked.is_some(), Ordering::Relaxed);
        info.closing.store(self.client.close_after_reply, Ordering::Relaxed);
    }
}

//! A small blocking client: sends whatever it is told, well-formed or not, and reads replies as values.
//!
//! The methods that tests use most panic with the reason when the connection breaks; those beginning with `try_` report it.

use crate::wait_until;
use resp::{Out, Reply, Scanner};
use rustix::net::sockopt::{self, Timeout};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    /// Bytes received and not yet consumed.
    buffer: Vec<u8>,
    scanner: Scanner,
    /// It is a replication link: see [`Client::as_link`].
    link: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// Connects over TCP.
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client::over(Stream::Tcp(stream)))
    }

    /// Waits for a connection and takes the server's end of it, for a test that plays a server: requests are read as
    /// arrays. Panics if nobody comes.
    pub fn accept(listener: &TcpListener) -> Client {
        let stream = accept(listener);
        stream.set_nodelay(true).expect("TCP has that option");
        Client::over(Stream::Tcp(stream))
    }

    /// Connects to a Unix socket.
    pub fn connect_unix(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client::over(Stream::Unix(stream)))
    }

    fn over(stream: Stream) -> Client {
        Client { stream, buffer: Vec::new(), scanner: Scanner::new(), link: false }
    }

    /// From now on empty lines between replies are passed over: over a replication link both ends send one now and then,
    /// which only says that they are still there. Nobody else may be sent any.
    pub fn as_link(mut self) -> Client {
        self.link = true;
        self
    }

    /// Sends one command and waits for its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_call(args).unwrap_or_else(|error| {
            let text: Vec<_> = args.iter().map(|arg| arg.as_ref().escape_ascii().to_string()).collect();
            panic!("no reply to {:.200}: {error}", text.join(" "))
        })
    }

    /// Sends one command whose words are separated by blanks and waits for its reply.
    pub fn run(&mut self, line: &str) -> Reply {
        self.call(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Sends one command and waits for its reply.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        let mut request = Vec::new();
        encode(args, &mut request);
        self.send(&request)?;
        self.try_read()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Waits for the next reply.
    pub fn read(&mut self) -> Reply {
        self.try_read().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Waits for the next reply. The other end closing is `UnexpectedEof`.
    pub fn try_read(&mut self) -> io::Result<Reply> {
        loop {
            if self.link {
                // Within a reply the first byte is its kind.
                let empty = self.buffer.iter().take_while(|&&byte| byte == b'\n').count();
                self.buffer.drain(..empty);
            }
            let whole = self.scanner.scan(&self.buffer).map_err(invalid)?;
            if let Some(len) = whole {
                let (reply, _) = Reply::decode(&self.buffer).map_err(invalid)?.ok_or(io::ErrorKind::InvalidData)?;
                self.buffer.drain(..len);
                return Ok(reply);
            }
            if self.receive()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until the other end closes: whatever came, and nothing if it was reset. Panics if it does not close.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(1..) => {}
                Ok(0) => break,
                Err(error) => {
                    assert!(is_end(&error), "the connection is not closed: {error}");
                    break;
                }
            }
        }
        std::mem::take(&mut self.buffer)
    }

    /// Whether the other end closes and says nothing more before. That it does neither is no end.
    pub fn is_ended(&mut self) -> bool {
        self.buffer.is_empty()
            && match self.receive() {
                Ok(n) => n == 0,
                Err(error) => is_end(&error),
            }
    }

    /// Whether the other end, which must not close, says nothing for so long. Replies may take as long as ever afterwards.
    pub fn hears_nothing(&mut self, time: Duration) -> bool {
        self.set_patience(time);
        let heard = self.receive();
        self.set_patience(PATIENCE);
        self.buffer.is_empty() && heard.is_err_and(|error| is_late(&error))
    }

    /// A field of INFO's section on persistence; panics if there is none.
    pub fn persistence(&mut self, field: &str) -> String {
        let [value] = self.persistence_of([field]);
        value
    }

    /// Several of them, all of one moment.
    fn persistence_of<const N: usize>(&mut self, fields: [&str; N]) -> [String; N] {
        let Reply::Bulk(Some(text)) = self.call(&["INFO", "persistence"]) else { panic!("no INFO") };
        let text = String::from_utf8_lossy(&text).into_owned();
        fields.map(|field| {
            let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            value.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
        })
    }

    /// Whether the server makes no file and is not about to.
    pub fn is_idle(&mut self) -> bool {
        // Of one moment: what is scheduled in one is in progress in the next.
        self.persistence_of(["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"])
            .iter()
            .all(|value| value == "0")
    }

    /// Waits until all that was acknowledged would survive the server's end. Only `appendfsync always` promises that
    /// before it replies.
    pub fn wait_until_written(&mut self) {
        let written = wait_until(PATIENCE, || self.persistence("aof_buffer_length") == "0");
        assert!(written, "the append only file is not written");
    }

    /// Waits for bytes and forgets them; their number, 0 at the end.
    pub fn skip_some(&mut self) -> io::Result<usize> {
        let read = self.receive();
        self.buffer.clear();
        read
    }

    /// Closes the sending direction.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// How long a reply may take from now on.
    pub fn set_patience(&self, patience: Duration) {
        let set = match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(patience)),
        };
        set.expect("a read timeout above zero is taken");
    }

    fn receive(&mut self) -> io::Result<usize> {
        let start = self.buffer.len();
        self.buffer.resize(start + 64 * 1024, 0);
        let mut read = || match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut self.buffer[start..]),
            Stream::Unix(stream) => stream.read(&mut self.buffer[start..]),
        };
        // A process that was suspended finds its call interrupted, which is no news of the connection.
        let read = loop {
            match read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
        read
    }
}

/// Takes the next connection, whose reads wait for at most [`PATIENCE`]. Panics if nobody comes for as long.
pub fn accept(listener: &TcpListener) -> TcpStream {
    // On Linux accepting is receiving.
    sockopt::set_socket_timeout(listener, Timeout::Recv, Some(PATIENCE)).expect("a timeout above zero is taken");
    let accepted = loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            accepted => break accepted,
        }
    };
    let (stream, _) = accepted.unwrap_or_else(|error| panic!("nobody has connected within {PATIENCE:?}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero is taken");
    stream
}

/// Appends a command in protocol form.
pub fn encode<A: AsRef<[u8]>>(args: &[A], request: &mut Vec<u8>) {
    let mut out = Out::new();
    out.array(args.len());
    args.iter().for_each(|arg| out.bulk(arg.as_ref()));
    request.extend_from_slice(out.as_slice());
}

/// Whether an error of a read says that the other end is gone, and not that it is only slow.
pub fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Whether an error of a read says that nothing came in time.
pub fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn invalid(error: resp::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

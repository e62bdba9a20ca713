//! A stand-in for a replica on another machine: it asks for a full sync as a real one does, throws away what comes, and
//! acknowledges the stream.
//!
//! A real replica on the primary's machine takes a core of it while it reads the image into its keyspaces, and so makes the
//! primary's clients wait, whatever the primary does. This one takes about as much of the machine as a network card does:
//! it looks every `LOOK_EVERY` for what has come, of which `TAKE_BYTES` then are a gigabyte a second.
//!
//! ```text
//!   REPLCONF ..  +OK    PSYNC ? -1  +FULLRESYNC id offset    [\n]  $LEN\r\n LEN bytes | $EOF:MARK\r\n .. MARK    stream
//! ```

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::{Context, Error, Result};
use super::pause::go_first;
use super::wire::{SILENCE_MAX, write_request};

const LOOK_EVERY: Duration = Duration::from_micros(500);
const TAKE_BYTES: usize = 512 << 10;
const ACK_EVERY: Duration = Duration::from_secs(1);
const MARK_BYTES: usize = 40;
/// No line of the dialogue is longer.
const LINE_MAX: usize = 256;

/// A replica that has its image and follows the stream.
pub struct FarReplica {
    stream: TcpStream,
    buffer: Box<[u8]>,
    /// Offset of the stream that has been reached.
    offset: u64,
    acked: Instant,
    /// Bytes of the image.
    pub image_bytes: u64,
}

/// A replica that waits for the word to begin, on a thread that goes before others: what it takes to get there is no part
/// of a sync.
pub struct StandBy {
    words: Sender<Word>,
    synced: Receiver<Result<()>>,
    thread: JoinHandle<Result<()>>,
}

/// What a replica is to do.
enum Word {
    Sync,
    FollowTo(u64),
}

impl StandBy {
    /// Has the replica take the whole image.
    pub fn sync(self) -> Result<Self> {
        // Whoever has ended early says why.
        let _ = self.words.send(Word::Sync);
        match self.synced.recv() {
            Ok(synced) => synced.map(|()| self),
            Err(_) => Err(unexpected("it has ended")),
        }
    }

    /// Has the replica take the stream until it has reached `offset`, and end.
    pub fn follow_to(self, offset: u64) -> Result<()> {
        let _ = self.words.send(Word::FollowTo(offset));
        self.thread.join().expect("panics abort the process")
    }
}

impl FarReplica {
    /// One that begins when it is told to.
    pub fn stand_by(primary: SocketAddr) -> StandBy {
        let (words, heard) = mpsc::channel();
        let (say, synced) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            go_first();
            let _ = ready.send(());
            let mut replica = None;
            while let Ok(word) = heard.recv() {
                match (word, &mut replica) {
                    (Word::Sync, _) => match FarReplica::sync(primary) {
                        Ok(synced) => {
                            replica = Some(synced);
                            let _ = say.send(Ok(()));
                        }
                        Err(error) => {
                            let _ = say.send(Err(error));
                        }
                    },
                    (Word::FollowTo(offset), Some(replica)) => return replica.follow_to(offset),
                    (Word::FollowTo(_), None) => return Err(unexpected("it has no image")),
                }
            }
            Ok(())
        });
        let _ = is_ready.recv();
        StandBy { words, synced, thread }
    }

    /// Asks `primary` for a full sync and takes the whole image.
    pub fn sync(primary: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(primary).context(|| format!("connect to {primary}"))?;
        stream.set_nodelay(true).context(|| "TCP_NODELAY".into())?;
        stream.set_read_timeout(Some(SILENCE_MAX)).context(|| "read timeout".into())?;
        let mut far =
            Self { stream, buffer: vec![0; TAKE_BYTES].into(), offset: 0, acked: Instant::now(), image_bytes: 0 };
        for request in [&[b"listening-port".as_slice(), b"1"][..], &[b"capa", b"eof", b"capa", b"psync2"]] {
            let mut args = vec![b"REPLCONF".as_slice()];
            args.extend(request);
            far.send(&args)?;
            far.line()?;
        }
        far.send(&[b"PSYNC", b"?", b"-1"])?;
        far.offset = offset_of(&far.line()?)?;
        match far.line()?.strip_prefix('$') {
            Some(rest) => match rest.strip_prefix("EOF:") {
                Some(mark) => far.take_to_mark(mark.as_bytes())?,
                None => far.take_image(rest.parse().map_err(|_| unexpected(rest))?)?,
            },
            None => return Err(unexpected("no image")),
        }
        far.ack()?;
        Ok(far)
    }

    /// Takes what comes of the stream until it has reached `offset`.
    pub fn follow_to(&mut self, offset: u64) -> Result<()> {
        while self.offset < offset {
            self.offset += self.take(TAKE_BYTES)? as u64;
            if self.acked.elapsed() >= ACK_EVERY {
                self.ack()?;
            }
        }
        Ok(())
    }

    fn send(&mut self, args: &[&[u8]]) -> Result<()> {
        let mut out = Vec::new();
        write_request(&mut out, args);
        self.stream.write_all(&out).context(|| "send".into())
    }

    fn ack(&mut self) -> Result<()> {
        self.acked = Instant::now();
        self.send(&[b"REPLCONF", b"ACK", self.offset.to_string().as_bytes()])
    }

    /// A line that is not empty: empty ones only say that the primary lives. Byte by byte, since an image may follow.
    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).context(|| "receive".into())?;
            match byte {
                [b'\n'] if line.is_empty() => {}
                [b'\n'] => break,
                [b'\r'] => {}
                [byte] if line.len() < LINE_MAX => line.push(byte),
                _ => return Err(unexpected("a line without an end")),
            }
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with('-') { Err(unexpected(&line)) } else { Ok(line) }
    }

    /// What has come, up to `most` bytes, after a pause; 0 if nothing has.
    fn take(&mut self, most: usize) -> Result<usize> {
        thread::sleep(LOOK_EVERY);
        self.stream.set_nonblocking(true).context(|| "O_NONBLOCK".into())?;
        let taken = self.stream.read(&mut self.buffer[..most.min(TAKE_BYTES)]);
        self.stream.set_nonblocking(false).context(|| "O_NONBLOCK".into())?;
        match taken {
            Ok(0) => Err(unexpected("the connection was closed")),
            Ok(taken) => Ok(taken),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(error).context(|| "receive".into()),
        }
    }

    fn take_image(&mut self, len: u64) -> Result<()> {
        while self.image_bytes < len {
            let left = usize::try_from(len - self.image_bytes).unwrap_or(TAKE_BYTES);
            self.image_bytes += self.take(left)? as u64;
        }
        Ok(())
    }

    /// Nothing comes behind the mark before the first acknowledgement, so it is at the end of what has come.
    fn take_to_mark(&mut self, mark: &[u8]) -> Result<()> {
        let mut last = Vec::new();
        while last != mark {
            let taken = self.take(TAKE_BYTES)?;
            self.image_bytes += taken as u64;
            last.extend_from_slice(&self.buffer[taken.saturating_sub(MARK_BYTES)..taken]);
            last.drain(..last.len().saturating_sub(MARK_BYTES));
        }
        self.image_bytes -= MARK_BYTES as u64;
        Ok(())
    }
}

fn offset_of(line: &str) -> Result<u64> {
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next().and_then(|offset| offset.parse().ok())) {
        (Some("+FULLRESYNC"), Some(_), Some(offset)) => Ok(offset),
        _ => Err(unexpected(line)),
    }
}

fn unexpected(what: &str) -> Error {
    Error::Reply(format!("as a replica: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;

    use super::*;

    /// A primary that says this in pieces, and what it was told before and behind the image.
    fn sync_with(image: &[&[u8]], stream: &[u8]) -> (Result<(u64, u64)>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("a port");
        thread::scope(|scope| {
            let primary = scope.spawn(move || {
                let (mut to, _) = listener.accept().expect("the replica");
                let mut lines = std::io::BufReader::new(to.try_clone().expect("a socket")).lines();
                let mut told = Vec::new();
                let mut hear = |last: &str| {
                    for line in lines.by_ref().map_while(|line| line.ok()) {
                        let is_last = line == last;
                        told.push(line);
                        if is_last {
                            return;
                        }
                    }
                };
                for last in ["1", "psync2"] {
                    hear(last);
                    to.write_all(b"+OK\r\n").expect("sent");
                }
                hear("-1");
                to.write_all(b"+FULLRESYNC 0123456789012345678901234567890123456789 100\r\n\n").expect("sent");
                for piece in image {
                    to.write_all(piece).expect("sent");
                    thread::sleep(Duration::from_millis(2));
                }
                hear("100");
                to.write_all(stream).expect("sent");
                hear("");
                told
            });
            let synced = FarReplica::sync(addr).and_then(|mut far| {
                far.follow_to(100 + stream.len() as u64)?;
                Ok((far.image_bytes, far.offset))
            });
            (synced, primary.join().expect("no panic"))
        })
    }

    #[test]
    fn an_image_of_known_length_ends_there() {
        let (synced, told) = sync_with(&[b"$5\r\nREDIS"], b"PING");
        assert_eq!(synced.expect("a sync"), (5, 104));
        assert!(told.contains(&"PSYNC".into()) && told.contains(&"ACK".into()), "{told:?}");
    }

    #[test]
    fn an_image_of_unknown_length_ends_with_its_mark_wherever_it_is_split() {
        let mark = b"0123456789abcdef0123456789abcdef01234567";
        let begin = [b"$EOF:".as_slice(), mark, b"\r\nREDIS"].concat();
        let (synced, _) = sync_with(&[&begin, &mark[..7], &mark[7..]], b"PING");
        assert_eq!(synced.expect("a sync"), (5, 104));
    }
}

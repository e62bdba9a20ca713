//! Feeding the replicas of one reactor: first the image, then the log, as fast as each socket takes it.
//!
//! Nothing is kept for one replica: the image is a file or a pipe that all share, the stream is read where the log keeps it.
//! What a replica lags behind is what the log keeps for it, and `client-output-buffer-limit slave` bounds that.

use super::peer::{Delivery, Feed, Image, Source};
use super::pipe::{Next, Reader};
use crate::config::{BufferLimit, ClientClass, Config};
use crate::conn::{Conn, Sent, Socket};
use crate::log;
use crate::node::Node;
use engine::clock::Now;
use engine::oplog::{Cursor, Oplog};
use replication::feed::{LagLimit, Stage, Tick, tick};
use replication::transfer::MARK_LEN;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of the image that are read, and that one replica is sent, before others have their turn: some 20 us of work, which
/// clients wait for. 3.2 sends as many.
const IMAGE_TURN_BYTES: usize = 16 << 10;
/// The same for the log, beyond what was appended since the last turn: a replica that is sent less never catches up.
const LOG_TURN_BYTES: usize = 32 << 10;

/// Why a replica is given up.
#[derive(Debug, PartialEq, Eq)]
pub struct GiveUp;

/// Whether there is something to send that the socket would take.
pub fn has_work(conn: &Conn, node: &Node) -> bool {
    let Some(feed) = conn.client.feed() else { return false };
    if feed.replica.has_mail.load(Ordering::Acquire) {
        return true;
    }
    !feed.blocked
        && match feed.replica.stage() {
            Stage::SendImage => feed.image.as_ref().is_none_or(Image::has_more),
            Stage::Online => feed.cursor.as_ref().is_some_and(|cursor| cursor.offset() != node.oplog.end()),
            Stage::WaitCut | Stage::WaitImage | Stage::WaitAck => false,
        }
}

impl Feed {
    fn begin_image(&mut self, image: Image, now: Now) {
        self.image = Some(image);
        self.replica.ack_ms.store(now.ms, Ordering::Relaxed);
        self.replica.set_stage(Stage::SendImage);
    }
}

/// Whether a replica that follows lacks something of the stream.
pub fn is_behind(conn: &Conn, node: &Node) -> bool {
    let Some(feed) = conn.client.feed() else { return false };
    feed.replica.stage() == Stage::Online
        && feed.cursor.as_ref().is_some_and(|cursor| cursor.offset() != node.oplog.end())
}

/// Sends a replica what it can take now.
pub fn feed(conn: &mut Conn, node: &Node, now: Now) -> Result<(), GiveUp> {
    let Some(feed) = conn.client.peer.as_mut().and_then(|peer| peer.feed.as_mut()) else { return Ok(()) };
    if feed.era != node.repl.era() {
        // Whoever has changed the history has said so, and the mail that ends this connection is on its way.
        return Err(GiveUp);
    }
    let deliveries = feed.replica.take_deliveries();
    for delivery in deliveries {
        if let Delivery::Cut { .. } | Delivery::Line(_) = delivery {
            gather_packets(&conn.socket, &node.config());
        }
        match delivery {
            Delivery::Cut { line, cursor, prologue } => {
                feed.cursor = Some(cursor);
                feed.prologue = prologue;
                feed.replica.set_stage(Stage::WaitImage);
                conn.output.extend_raw(&line);
            }
            Delivery::Line(line) => conn.output.extend_raw(&line),
            Delivery::Image(file, end) => feed.begin_image(Image::of_length(file, end), now),
            Delivery::Stream(reader) => feed.begin_image(Image::by_mark(reader), now),
            Delivery::Failed => {
                log::warning!("SYNC failed: no snapshot for replica {}", feed.replica.name());
                return Err(GiveUp);
            }
        }
    }
    if conn.waiting() > 0 {
        // Lines and replies of before come first.
        match conn.flush() {
            (Sent::All, _) => {}
            (Sent::Part, _) => return Ok(()),
            (Sent::Broken, _) => return Err(GiveUp),
        }
    }
    let Conn { socket, client, .. } = conn;
    let Some(feed) = client.peer.as_mut().and_then(|peer| peer.feed.as_mut()) else { return Ok(()) };
    let sent = match feed.replica.stage() {
        Stage::SendImage => send_image(socket, feed, now),
        Stage::Online => send_log(socket, feed, node),
        Stage::WaitCut | Stage::WaitImage | Stage::WaitAck => Ok(0),
    };
    match sent {
        Ok(bytes) => {
            if bytes > 0 && feed.replica.stage() == Stage::SendImage {
                feed.replica.ack_ms.store(now.ms, Ordering::Relaxed);
            }
            node.stats[feed.replica.reactor].bytes_out.add(bytes as u64);
            Ok(())
        }
        Err(why) => {
            log::warning!("Write error sending to slave {}: {}", feed.replica.name(), crate::os_error::text(&why));
            Err(GiveUp)
        }
    }
}

/// Lets TCP put more into a packet of a replica's, and be later with it, where the settings want that.
fn gather_packets(socket: &Socket, config: &Config) {
    // Where it fails packets are as small as before.
    let _ = socket.set_nodelay(!config.repl_disable_tcp_nodelay);
}

fn send_image(socket: &Socket, feed: &mut Feed, now: Now) -> io::Result<usize> {
    let Some(image) = &mut feed.image else { return Ok(0) };
    let mut total = 0;
    while total < IMAGE_TURN_BYTES {
        if image.head.is_empty() {
            match image.refill(IMAGE_TURN_BYTES - total)? {
                Refill::Some => {}
                Refill::NotYet => return Ok(total),
                Refill::Ended => {
                    finish_image(feed, now);
                    return Ok(total);
                }
            }
        }
        let now_due = image.head.len().min(IMAGE_TURN_BYTES - total);
        match write(socket, &image.head[..now_due])? {
            Some(written) => {
                image.head.drain(..written);
                total += written;
            }
            None => {
                feed.blocked = true;
                return Ok(total);
            }
        }
    }
    Ok(total)
}

/// The replica has its image. Of one without a length it says so before anything follows: the mark at the end is looked for
/// at the end of what has come, also by those that never say how far they are.
fn finish_image(feed: &mut Feed, now: Now) {
    let by_mark = feed.image.take().is_some_and(|image| image.by_mark);
    let replica = &feed.replica;
    replica.ack_ms.store(now.ms, Ordering::Relaxed);
    if by_mark {
        log::notice!(
            "Streamed RDB transfer with slave {} succeeded (socket). Waiting for REPLCONF ACK from slave to enable \
             streaming",
            replica.name()
        );
        replica.set_stage(Stage::WaitAck);
    } else {
        put_online(feed);
    }
}

/// The replica follows the stream from now on.
pub fn put_online(feed: &mut Feed) {
    feed.replica.set_stage(Stage::Online);
    feed.blocked = false;
    log::notice!("Synchronization with slave {} succeeded", feed.replica.name());
}

fn send_log(socket: &Socket, feed: &mut Feed, node: &Node) -> io::Result<usize> {
    let Some(cursor) = &mut feed.cursor else { return Ok(0) };
    let mut total = 0;
    while !feed.prologue.is_empty() {
        let Some(written) = write(socket, &feed.prologue)? else {
            feed.blocked = true;
            return Ok(total);
        };
        feed.prologue.drain(..written);
        total += written;
    }
    // What is appended in a later era is of another history, and its bytes have the offsets of those that this one gets.
    let is_valid = || feed.era == node.repl.era();
    let end = node.oplog.end();
    let grown = feed.log_seen.map_or(0, |seen| end.saturating_sub(seen));
    let most = LOG_TURN_BYTES.saturating_add(usize::try_from(grown).unwrap_or(usize::MAX));
    let (bytes, blocked) = drain(cursor, &node.oplog, most, is_valid, |bytes| write(socket, bytes))?;
    feed.blocked = blocked;
    feed.log_seen = (!blocked).then_some(end);
    Ok(total + bytes)
}

/// Writes what the log has, up to `most` bytes. `is_valid` is asked when it is known up to where, and so about all of that.
/// Returns the bytes, and whether `write` took none of some: nobody else may say so, since the log grows at any time.
fn drain(
    cursor: &mut Cursor,
    log: &Oplog,
    most: usize,
    is_valid: impl Fn() -> bool,
    mut write: impl FnMut(&[u8]) -> io::Result<Option<usize>>,
) -> io::Result<(usize, bool)> {
    let mut total = 0;
    while total < most {
        let mut written = Ok(Some(0));
        let read = cursor.read(log, |bytes| {
            // A segment is more than a turn's worth.
            let bytes = &bytes[..bytes.len().min(most - total)];
            written = match is_valid() {
                true => write(bytes),
                false => Err(io::Error::other("the history has another name")),
            };
            *written.as_ref().ok().and_then(Option::as_ref).unwrap_or(&0)
        });
        // Too old: the history has changed, and it must come again.
        let bytes = read.map_err(io::Error::other)?;
        total += bytes;
        match written? {
            None => return Ok((total, true)),
            Some(_) if bytes == 0 => break,
            Some(_) => {}
        }
    }
    Ok((total, false))
}

/// How many bytes the socket took; `None` if it takes none now.
fn write(socket: &Socket, bytes: &[u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(Some(written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Once a second: keep a waiting replica alive, if we are `able` to serve it; give up one that does not answer.
pub fn each_second(conn: &mut Conn, config: &Config, able: bool, now: Now) -> Result<(), GiveUp> {
    let Some(feed) = conn.client.peer.as_mut().and_then(|peer| peer.feed.as_mut()) else { return Ok(()) };
    let replica = &feed.replica;
    if feed.image.as_ref().is_some_and(Image::is_given_up) {
        log::warning!("Disconnecting slave {}: it takes its image too slowly for the others", replica.name());
        return Err(GiveUp);
    }
    if feed.image.as_ref().is_some_and(|image| !image.has_more()) {
        // It is not to blame that there is nothing to take.
        replica.ack_ms.store(now.ms, Ordering::Relaxed);
    }
    let ack_ms = replica.ack_ms.load(Ordering::Relaxed);
    match tick(replica.stage(), replica.says_acks, ack_ms, now.ms, config.repl_timeout as i64 * 1000) {
        Tick::Nothing => {}
        Tick::KeepAlive => {
            if able && conn.output.is_empty() {
                // Just a ping: it arrives whole or not at all.
                let _ = conn.socket.write(b"\n");
            }
        }
        Tick::TimedOut => {
            log::warning!("Disconnecting timedout slave: {}", replica.name());
            return Err(GiveUp);
        }
    }
    Ok(())
}

/// Gives up a replica that is too far behind: the log keeps everything for it.
pub fn check_lag(conn: &mut Conn, node: &Node, config: &Config, now: Now) -> Result<(), GiveUp> {
    let Some(feed) = conn.client.peer.as_mut().and_then(|peer| peer.feed.as_mut()) else { return Ok(()) };
    let lag = feed.cursor.as_ref().map_or(0, |cursor| node.oplog.end().saturating_sub(cursor.offset()));
    let limit = lag_limit(&config.client_output_buffer_limit[ClientClass::Slave as usize]);
    if feed.lag.is_too_far(lag, &limit, now.ms) {
        log::warning!(
            "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer limits: replica {} is \
             {lag} bytes behind.",
            conn.client.info.id,
            conn.client.info.addr,
            feed.replica.name()
        );
        return Err(GiveUp);
    }
    Ok(())
}

fn lag_limit(limit: &BufferLimit) -> LagLimit {
    LagLimit { hard_bytes: limit.hard_bytes, soft_bytes: limit.soft_bytes, soft_ms: limit.soft_seconds as i64 * 1000 }
}

/// What there is to send of an image.
enum Refill {
    /// Something.
    Some,
    /// It is still being made.
    NotYet,
    /// Nothing more.
    Ended,
}

impl Image {
    /// One whose length is known.
    fn of_length(file: Arc<File>, end: u64) -> Image {
        let head = format!("${end}\r\n").into_bytes();
        Image { source: Source::File { file, at: 0, end }, head, tail: Vec::new(), by_mark: false }
    }

    /// One that ends in a mark.
    fn by_mark(reader: Reader) -> Image {
        let mark = crate::start::random_id();
        let head = format!("$EOF:{mark}\r\n").into_bytes();
        Image { source: Source::Pipe(reader), head, tail: mark.as_str().as_bytes().to_vec(), by_mark: true }
    }

    /// Whether something can be sent or ended.
    fn has_more(&self) -> bool {
        match &self.source {
            Source::File { .. } => true,
            Source::Pipe(reader) => !self.head.is_empty() || reader.has_news(),
        }
    }

    /// Whether the maker waits for it no longer.
    fn is_given_up(&self) -> bool {
        matches!(&self.source, Source::Pipe(reader) if reader.is_given_up())
    }

    /// Gets the next bytes ready, of a file no more than `most`; the ones before are sent.
    fn refill(&mut self, most: usize) -> io::Result<Refill> {
        match &mut self.source {
            Source::File { file, at, end } if *at < *end => {
                let len = usize::try_from(*end - *at).unwrap_or(usize::MAX).min(most);
                self.head.resize(len, 0);
                file.read_exact_at(&mut self.head, *at)?;
                *at += len as u64;
                return Ok(Refill::Some);
            }
            Source::File { .. } => {}
            Source::Pipe(reader) => match reader.next() {
                Next::Piece(piece) => {
                    self.head.extend_from_slice(&piece);
                    return Ok(Refill::Some);
                }
                Next::NotYet => return Ok(Refill::NotYet),
                Next::End => {}
                Next::Failed => return Err(io::Error::other("it was too slow, or the image could not be made")),
            },
        }
        self.head = std::mem::take(&mut self.tail);
        Ok(if self.head.is_empty() { Refill::Ended } else { Refill::Some })
    }
}

const _: () = assert!(MARK_LEN == replication::history::ID_LEN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientInfo;
    use crate::conn::Client;
    use crate::dispatch::tests::Desk;
    use crate::repl::peer::{Introduced, Peer, Replica};
    use mio::net::TcpStream;
    use std::net::TcpListener;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    /// What a replica is told first, whether it gets an image or not, is when its socket is made ready.
    #[test]
    fn packets_are_gathered_where_the_settings_say_so() {
        let node = Desk::new().exec.node;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        for (gathers, is_full) in [(true, true), (false, true), (true, false), (false, false)] {
            let set = node.change_config(|config| {
                config.repl_disable_tcp_nodelay = gathers;
                Ok::<_, ()>(())
            });
            assert_eq!(set, Ok(()));
            let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("a socket");
            stream.set_nodelay(gathers).expect("as it is not to be");
            let mut conn = Conn::new(Socket::Tcp(stream), Client::new(ClientInfo::default().into(), true), 0);
            let replica = Replica::new(&conn.client.info, Introduced::default(), true, 0);
            let (line, cursor) = (b"+CONTINUE\r\n".to_vec(), node.oplog.cursor(0));
            replica.deliver(
                node,
                match is_full {
                    true => Delivery::Cut { line, cursor, prologue: Vec::new() },
                    false => Delivery::Line(line),
                },
            );
            let fed = Feed::start(node, replica, None);
            conn.client.peer = Some(Box::new(Peer { intro: Introduced::default(), feed: Some(fed) }));
            // Whether the socket stands already or not, it takes the setting.
            let _ = feed(&mut conn, node, Now::read());
            let Socket::Tcp(stream) = &*conn.socket else { unreachable!("see above") };
            assert_eq!(stream.nodelay().expect("known"), !gathers, "{gathers} {is_full}");
        }
    }

    #[test]
    fn a_log_that_grows_behind_the_last_look_is_no_full_socket() {
        let (log, over) = (Oplog::new(1 << 20), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..300_000 {
                    log.append(0, b"record");
                }
                over.store(true, Ordering::Release);
            });
            let mut cursor = log.cursor(0);
            while !over.load(Ordering::Acquire) || cursor.offset() != log.end() {
                match drain(&mut cursor, &log, LOG_TURN_BYTES, || true, |bytes| Ok(Some(bytes.len()))) {
                    Ok((_, blocked)) => assert!(!blocked, "every byte was taken"),
                    // The writer is faster than this thread by all that is kept.
                    Err(_) => cursor = log.cursor(log.end()),
                }
            }
        });
        let full = |log: &Oplog| drain(&mut log.cursor(log.oldest()), log, LOG_TURN_BYTES, || true, |_| Ok(None)).ok();
        assert_eq!(full(&log), Some((0, true)));
    }

    /// One write of a whole segment would take milliseconds, and all clients wait for it.
    #[test]
    fn no_turn_sends_more_than_its_part_of_the_log() {
        let log = Oplog::new(8 << 20);
        for _ in 0..3 << 10 {
            log.append(0, &[b'x'; 1 << 10]);
        }
        let mut cursor = log.cursor(0);
        for most in [LOG_TURN_BYTES, 5, 100_000, 2 << 20] {
            let (before, mut given) = (cursor.offset(), 0);
            let drained = drain(
                &mut cursor,
                &log,
                most,
                || true,
                |bytes| {
                    given += bytes.len();
                    Ok(Some(bytes.len()))
                },
            );
            assert_eq!(drained.ok(), Some((most, false)));
            assert_eq!((given, cursor.offset() - before), (most, most as u64));
        }
    }

    #[test]
    fn nothing_of_another_era_is_sent() {
        let log = Oplog::new(1 << 20);
        log.append(0, b"record");
        let sent = drain(&mut log.cursor(0), &log, LOG_TURN_BYTES, || false, |_| panic!("sent"));
        assert!(sent.is_err());
        // Whoever changes the era does so before anything is appended in it: what is sent was there when it was asked for.
        let append_and_go_on = || {
            log.append(0, b"later");
            true
        };
        let mut asked = 0;
        let sent = drain(&mut log.cursor(0), &log, LOG_TURN_BYTES, append_and_go_on, |bytes| {
            asked += 1;
            assert!(bytes.ends_with(b"record"), "{}", bytes.escape_ascii());
            Ok(None)
        });
        assert_eq!((sent.ok(), asked), (Some((0, true)), 1));
    }
}

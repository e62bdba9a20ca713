//! A reactor's sockets: its poll, its connections, their deadlines. Moves no bytes itself.
//!
//! Why apart from the reactor: a command that runs may need the other connections of its thread (a script past its time
//! limit goes on answering them), while the executor and the running client's connection are in use.
//!
//! 1. The connection whose request runs is taken out of `conns`; its place stays its own until it is put back.
//! 2. Events are edge-triggered: whoever takes one serves it, or queues the connection in `again`.
//! 3. Small replies of one turn are kept and leave together, after all requests of the turn: what must happen between
//!    running requests and replying to them (an fsync) happens once.
//!    Whatever else is sent to a connection goes after what is kept for it.

mod listening;
#[cfg(test)]
mod tests;

use crate::clients::ClientInfo;
use crate::config::Config;
use crate::conn::{Client, Conn, Sent, Socket};
use crate::listener::{self, Listeners};
use crate::log;
use crate::mailbox::Mail;
use crate::node::Node;
use crate::park::Parked;
use crate::pubsub::{Audience, Ear};
use engine::clock::Now;
use mio::{Poll, Token};
use resp::Out;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

/// Token of the waker; connections follow at [`FIRST_CONN`].
pub const WAKER: Token = Token(0);
/// Tokens from 1 up to here are listeners.
pub const FIRST_CONN: usize = 64;

/// Turns after which somebody is taken to keep the slots for long.
pub const LONG_WAIT_TURNS: u32 = 32;

/// Kept replies are sent when they are more than this.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// Kept replies are sent when they answer more requests than this: clients with deep pipelines can go on meanwhile.
const KEPT_REQUESTS_MAX: usize = 64;

/// Replies of the running turn that are to leave together.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Whose they are, in order: the connection's place, and where its part ends.
    parts: Vec<(usize, usize)>,
    requests: usize,
}

/// The sockets of one reactor.
pub struct Net {
    /// Where they wait.
    pub poll: Poll,
    /// By place; `None` is free, or its request runs. Boxed, as each turn takes one out and puts it back.
    pub conns: Vec<Option<Box<Conn>>>,
    /// Connections to go on with without an event.
    pub again: Vec<usize>,
    /// Replicas to feed.
    pub replicas: Vec<usize>,
    node: &'static Node,
    reactor: usize,
    listeners: Option<Listeners>,
    free: Vec<usize>,
    /// Places of clients, by their ids.
    places: HashMap<u64, usize>,
    next_reactor: usize,
    /// Who listens.
    audience: Audience,
    /// Those that are shown every command.
    monitors: Vec<Ear>,
    /// Places with output to send before the reactor sleeps.
    due: Vec<usize>,
    /// Places that are served when clients are no longer paused.
    pub paused: Vec<usize>,
    /// Places whose next request waits for room in a snapshot's queue, or for the disk.
    pub stalled: Vec<usize>,
    /// Places whose clients were parked in this turn.
    doors: Vec<usize>,
    /// When parked clients give up: (Unix milliseconds, client) to place.
    deadlines: BTreeMap<(i64, u64), usize>,
    kept: Kept,
}

impl Net {
    /// No connections yet; the waker is registered in `poll` already.
    pub fn new(poll: Poll, node: &'static Node, reactor: usize, listeners: Option<Listeners>) -> Net {
        Net {
            poll,
            conns: Vec::new(),
            again: Vec::new(),
            replicas: Vec::new(),
            node,
            reactor,
            listeners,
            free: Vec::new(),
            places: HashMap::new(),
            next_reactor: 0,
            audience: Audience::default(),
            monitors: Vec::new(),
            due: Vec::new(),
            paused: Vec::new(),
            stalled: Vec::new(),
            doors: Vec::new(),
            deadlines: BTreeMap::new(),
            kept: Kept::default(),
        }
    }

    /// Starts listening, on the reactor that accepts.
    pub fn listen(&mut self) -> io::Result<()> {
        match &mut self.listeners {
            Some(listeners) => listeners.register(self.poll.registry()),
            None => Ok(()),
        }
    }

    /// Accepts what waits at a listener, keeps this reactor's share and mails the others theirs.
    pub fn accept(&mut self, token: usize, config: &Config, now: Now) {
        let Some(listeners) = &mut self.listeners else { return };
        let mut accepted = Vec::new();
        listeners.accept(token, config, self.node, &mut accepted);
        for socket in accepted {
            let to = self.next_reactor % self.node.mailboxes.len();
            self.next_reactor += 1;
            let id = self.node.clients.next_id();
            if to == self.reactor {
                self.adopt(socket, id, config, now);
            } else {
                self.node.clients.sets_out(id);
                self.node.mailboxes[to].send(Mail::Accepted(socket, id));
            }
        }
    }

    /// Tries again where accepting ended before there was nothing left: for want of descriptors, or after a great many.
    pub fn accept_pending(&mut self, config: &Config, now: Now) {
        if let Some(token) = self.listeners.as_ref().and_then(Listeners::pending) {
            self.accept(token, config, now);
        }
    }

    /// Takes in a connection that another reactor has accepted.
    pub fn adopt_sent(&mut self, socket: Socket, id: u64, config: &Config, now: Now) {
        self.adopt(socket, id, config, now);
        self.node.clients.arrives(id);
    }

    /// Takes a new connection in. It is read when the next poll tells of it, which it does also of what is there already:
    /// so nothing overtakes what others have sent before.
    pub fn adopt(&mut self, mut socket: Socket, id: u64, config: &Config, now: Now) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        if let Err(error) = socket.register(self.poll.registry(), Token(FIRST_CONN + index)) {
            log::warning!("Can't watch a client's socket: {error}");
            self.free.push(index);
            return;
        }
        let node = self.node;
        let (addr, unix) = listener::peer(&socket, config);
        let info = ClientInfo {
            id,
            addr,
            unix,
            fd: socket.fd(),
            reactor: self.reactor,
            since_ms: now.ms,
            last_ms: now.ms.into(),
            queued: (-1).into(),
            ..ClientInfo::default()
        };
        let info = Arc::new(info);
        node.clients.add(info.clone());
        node.stats[self.reactor].connections.add(1);
        let client = Client::new(info, false);
        self.places.insert(client.info.id, index);
        self.conns[index] = Some(Box::new(Conn::new(socket, client, index)));
    }

    /// Ends a connection.
    pub fn close(&mut self, index: usize) {
        self.send_kept_of(index);
        if let Some(mut conn) = self.conns.get_mut(index).and_then(Option::take) {
            conn.client.info.door.close();
            if let Some(parked) = self.unpark(&mut conn) {
                parked.wait.abandon();
            }
            if let Some(peer) = &mut conn.client.peer {
                peer.leave(self.node, Now::read().ms);
            }
            self.hush(index, &mut conn.client);
            std::mem::take(&mut conn.input).free(self.node);
            self.node.clients.remove(conn.client.info.id);
            self.node.moves.client_is_gone(conn.client.info.id);
            self.places.remove(&conn.client.info.id);
            self.free.push(index);
        }
    }

    /// The server ends. Listeners close now, connections with the process: whoever sees its connection end finds no
    /// server any more.
    pub fn end(mut self) {
        self.listeners = None;
        std::mem::forget(self);
    }

    /// Keeps the replies to `requests` requests of `conn`, which is taken out of its place, until the turn's end, if
    /// they are few and nothing else waits to be sent to it. Leaves `out` empty and returns true if so.
    pub fn keep(&mut self, conn: &mut Conn, out: &mut Out, requests: usize) -> bool {
        let fits = self.kept.bytes.len() + out.len() <= KEPT_BYTES_MAX;
        let few = fits && requests <= KEPT_REQUESTS_MAX && conn.waiting() == 0 && !conn.client.close_after_reply;
        if !few {
            return false;
        }
        conn.has_kept = true;
        self.kept.bytes.extend_from_slice(out.as_slice());
        self.kept.parts.push((conn.place, self.kept.bytes.len()));
        self.kept.requests += requests;
        out.clear();
        true
    }

    /// Sends the kept replies if the connection at `index` has any: before anything else is done with it.
    pub fn send_kept_of(&mut self, index: usize) {
        if self.conns.get(index).and_then(Option::as_ref).is_some_and(|conn| conn.has_kept) {
            self.send_kept();
        }
    }

    /// Whether enough is kept to be sent before the turn ends.
    pub fn is_full(&self) -> bool {
        self.kept.requests > KEPT_REQUESTS_MAX || self.kept.bytes.len() > KEPT_BYTES_MAX / 2
    }

    /// Sends the kept replies. Every connection that has any must be in its place; each has one part.
    pub fn send_kept(&mut self) {
        if self.kept.parts.is_empty() {
            return;
        }
        let mut kept = std::mem::take(&mut self.kept);
        let (mut from, mut written) = (0, 0);
        for (index, end) in kept.parts.drain(..) {
            let part = &kept.bytes[from..end];
            from = end;
            let Some(Some(conn)) = self.conns.get_mut(index) else { continue };
            conn.has_kept = false;
            let (sent, bytes) = conn.send(part);
            written += bytes;
            if sent == Sent::Broken || sent == Sent::All && conn.client.close_after_reply {
                self.close(index);
            }
        }
        self.node.stats[self.reactor].bytes_out.add(written as u64);
        kept.bytes.clear();
        kept.bytes.shrink_to(KEPT_BYTES_MAX * 4);
        self.kept = Kept { requests: 0, ..kept };
    }

    /// The place of a client, unless its request runs.
    pub fn place_of(&self, client: u64) -> Option<usize> {
        self.places.get(&client).copied().filter(|&index| self.conns.get(index).is_some_and(Option::is_some))
    }

    /// The connections to go on with, each once: whoever has more to read is put down at each event that tells of it too,
    /// and would otherwise get more turns in a round with each of them, until nobody else got any.
    pub fn take_again(&mut self) -> Vec<usize> {
        let mut again = std::mem::take(&mut self.again);
        if again.len() > 1 {
            again.sort_unstable();
            again.dedup();
        }
        again
    }

    /// Whether everybody in `again` has been put off many times already.
    pub fn all_wait_for_slots(&self) -> bool {
        let long =
            |&index: &usize| matches!(self.conns.get(index), Some(Some(conn)) if conn.deferrals > LONG_WAIT_TURNS);
        self.again.iter().all(long)
    }

    /// Whether everybody in `again` waits for what a guest has.
    pub fn all_wait_for_guests(&self) -> bool {
        let waits = |&index: &usize| matches!(self.conns.get(index), Some(Some(conn)) if conn.deferrals > 0 && conn.behind_guest);
        self.again.iter().all(waits)
    }

    /// Goes on with the clients that waited for room or for the disk.
    pub fn end_stalls(&mut self) {
        for index in std::mem::take(&mut self.stalled) {
            if let Some(conn) = self.conns.get_mut(index).and_then(Option::as_mut) {
                conn.stalled = false;
                self.again.push(index);
            }
        }
    }

    /// Notes when the client at `index` gives up, if it was just parked.
    pub fn watch_parked(&mut self, index: usize, conn: &Conn) {
        let Some(parked) = &conn.client.parking.parked else { return };
        if let Some(until) = parked.until_ms {
            self.deadlines.insert((until, conn.client.info.id), index);
        }
        if self.node.mailboxes.len() > 1 {
            self.doors.push(index);
        }
    }

    /// The turn ends: whoever was parked in it may be given its reply by other threads.
    pub fn open_doors(&mut self) {
        for index in self.doors.drain(..) {
            if let Some(Some(conn)) = self.conns.get(index) {
                conn.open_door();
            }
        }
    }

    /// Ends the wait of a connection: what it waited for is returned, to be told or not.
    pub fn unpark(&mut self, conn: &mut Conn) -> Option<Parked> {
        let parked = conn.client.parking.parked.take()?;
        conn.client.info.end_wait();
        if let Some(until) = parked.until_ms {
            self.deadlines.remove(&(until, conn.client.info.id));
        }
        Some(parked)
    }

    /// A client whose time is up, to be asked again until there is none.
    pub fn overdue(&mut self, now: Now) -> Option<usize> {
        let first = self.deadlines.first_entry()?;
        (first.key().0 <= now.ms).then(|| first.remove())
    }

    /// Queues a connection that waits no longer, if something is left to do that no event will tell of.
    pub fn go_on_later(&mut self, index: usize, conn: &Conn) {
        if conn.unserved || conn.more_to_read || conn.client.close_after_reply {
            self.again.push(index);
        }
    }

    /// When the next parked client gives up, Unix milliseconds.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.first_key_value().map(|((until, _), _)| *until)
    }
}

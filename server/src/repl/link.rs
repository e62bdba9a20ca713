//! The link to this server's primary, as reactor 0 carries it: what `replication::link` decides, done.
//!
//! 1. Whatever an answer of the primary changes of this server's state it changes only while the attempt that asked counts,
//!    under the state's lock; what changes the history waits for all slots.
//! 2. What was received counts: a connection that ends is over when all whole requests are applied, and whoever changes the
//!    primary waits for them ([`super::drain`]).

#[cfg(test)]
pub(crate) mod tests;

use super::apply::Applier;
use super::receive::Incoming;
use super::{Replication, connect};
use crate::dispatch::Executor;
use crate::log;
use crate::net::Net;
use crate::node::Node;
use crate::offers::Offers;
use crate::persist::gate;
use engine::clock::Now;
use engine::effects::encode;
use mio::net::TcpStream;
use mio::{Interest, Token};
use replication::history::ReplId;
use replication::link::{Action, Event, Introduction, Link, Phase, Say};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The link's token, the last before those of connections.
pub const TOKEN: Token = Token(crate::net::FIRST_CONN - 1);

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Reads before others have their turn.
const READS_MAX: usize = 16;
/// Bytes of whole requests that wait to be applied before no more are read.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// Why an answer is not taken.
const OVERTAKEN: &str = "another primary is to be followed, or none";

/// What other threads have found out for the link.
pub enum News {
    /// The primary's address.
    Resolved {
        /// The attempt it is for.
        attempt: u64,
        /// The address, or why there is none.
        address: Result<SocketAddr, String>,
    },
    /// The image is in place, or could not be read.
    Loaded {
        /// The attempt it is for.
        attempt: u64,
        /// The database of the stream.
        outcome: Result<u32, String>,
    },
}

/// The link's driver.
pub struct Driver {
    link: Link,
    /// The attempt that connected: what comes from its primary is void once another has begun.
    attempt: u64,
    socket: Option<TcpStream>,
    /// Bytes for the primary that the socket did not take.
    unsent: Vec<u8>,
    /// Something may be there to read, and no event will say so.
    readable: bool,
    image: Option<Incoming>,
    applier: Applier,
    scratch: Vec<u8>,
    offers: Offers,
    /// It stands, and we have not said who we are.
    connected: bool,
    /// The primary goes on with what we have under this id, and these bytes are next.
    answered: Option<(Option<ReplId>, Vec<u8>)>,
    /// Why nothing more comes of a stream whose last requests are still to be applied.
    ended: Option<String>,
    /// It could not have what it needed at last, and a guest had that.
    behind_guest: bool,
    /// Tries in a row to have it.
    tries: u32,
}

impl Driver {
    /// A link that follows nobody yet.
    pub fn new(node: &'static Node) -> Driver {
        Driver {
            link: Link::default(),
            attempt: 0,
            socket: None,
            unsent: Vec::new(),
            readable: false,
            image: None,
            applier: Applier::new(node),
            scratch: vec![0; READ_BYTES],
            offers: Offers::fair(Instant::now()),
            connected: false,
            answered: None,
            ended: None,
            behind_guest: false,
            tries: 0,
        }
    }

    /// Whether there is something to do without an event.
    pub fn has_work(&self, node: &Node) -> bool {
        if node.persist.gate.has(gate::LOADING) {
            return false;
        }
        self.readable && self.may_read(node)
            || self.connected
            || self.answered.is_some()
            || self.link.phase() == Phase::Streaming && self.applier.is_put_off()
            || node.repl.orders.load(Ordering::Relaxed)
    }

    /// Whether all that there is to do has been tried, and waits for slots or the right to take some; `tried` says for whose
    /// or how long.
    fn only_waits(&self, node: &Node, tried: bool) -> bool {
        let has_more = self.readable && self.may_read(node) || node.repl.orders.load(Ordering::Relaxed);
        tried && !has_more && self.has_work(node)
    }

    /// Whether it waits for what a guest has, and for nothing else.
    pub fn waits_for_guest(&self, node: &Node) -> bool {
        self.only_waits(node, self.behind_guest)
    }

    /// Whether it has been trying for long, and has nothing else to do.
    pub fn waits_for_slots(&self, node: &Node) -> bool {
        self.only_waits(node, self.tries > crate::net::LONG_WAIT_TURNS)
    }

    /// Notes whether an attempt to have slots was in vain.
    fn note_try(&mut self, (in_vain, behind_guest): (bool, bool)) {
        self.behind_guest = in_vain && behind_guest;
        self.tries = if in_vain { self.tries.saturating_add(1) } else { 0 };
    }

    /// Whether the stream waits for room in a queue.
    pub fn is_stalled(&self) -> bool {
        self.link.phase() == Phase::Streaming && self.applier.is_stalled()
    }

    fn may_read(&self, node: &Node) -> bool {
        match self.link.phase() {
            Phase::Handshake | Phase::Transfer => true,
            // Where nothing can run what waits is a part of one request, and the parser says how long that may be.
            Phase::Streaming if self.answered.is_some() || node.repl.drain.is_waited_for() => false,
            Phase::Streaming => self.applier.waiting() < INPUT_BYTES_MAX || !self.applier.has_unfinished(),
            Phase::Off | Phase::Waiting | Phase::Connecting | Phase::Loading => false,
        }
    }

    /// The socket has something to say.
    pub fn on_event(&mut self, readable: bool, writable: bool, exec: &mut Executor, net: &mut Net, now: Now) {
        self.readable |= readable;
        if writable && self.link.phase() == Phase::Connecting {
            self.on_connected();
            self.introduce(exec, net, now);
        } else if writable {
            self.flush(exec, net, now);
        }
    }

    /// One turn of the reactor: carries out orders, reads, applies.
    pub fn turn(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        if exec.node.persist.gate.has(gate::LOADING) {
            // What is loaded says where to go on.
            return;
        }
        if exec.node.repl.take_orders() {
            let following = exec.node.repl.state().primary.is_some();
            let order = if following { Event::Follow } else { Event::Unfollow };
            self.step(order, &[], exec, net, now);
            self.step(Event::Tick, &[], exec, net, now);
        }
        if self.link.is_due(now.ms) {
            self.step(Event::Tick, &[], exec, net, now);
        }
        self.introduce(exec, net, now);
        self.go_on(exec, net, now);
        exec.node.repl.drain.forget(now.ms);
        let mut reads = 0;
        while self.readable && self.may_read(exec.node) && reads < READS_MAX {
            reads += 1;
            self.read(exec, net, now);
            self.offers.offer();
        }
        if self.link.phase() == Phase::Streaming {
            exec.node.repl.drain.turned();
            self.apply(exec, net, now);
            if !self.applier.has_unfinished()
                && let Some(why) = self.ended.take()
            {
                return self.step(Event::Broke(why), &[], exec, net, now);
            }
            // Who cannot have the slots cannot apply, and must not look as if it followed.
            if self.applier.is_ack_due(now.ms) && exec.owner.try_privileged().is_some() {
                self.applier.acknowledged(now.ms);
                self.acknowledge(exec, net, now);
            }
        }
    }

    /// Once a second.
    pub fn each_second(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        if self.link.phase() == Phase::Off || exec.node.persist.gate.has(gate::LOADING) {
            return;
        }
        if matches!(self.link.phase(), Phase::Loading) {
            // The primary must not take a long load for a dead replica.
            self.send(b"\n", exec, net, now);
        }
        if self.link.phase() == Phase::Streaming && self.applier.has_unfinished() {
            // It is we who are late.
            self.link.heard(now.ms);
        }
        self.step(Event::Tick, &[], exec, net, now);
        self.publish(&exec.node.repl, now);
    }

    /// Another thread has found something out.
    pub fn on_news(&mut self, news: News, exec: &mut Executor, net: &mut Net, now: Now) {
        match news {
            News::Resolved { attempt, .. } | News::Loaded { attempt, .. } if attempt != exec.node.repl.attempt() => {}
            News::Resolved { address: Ok(address), .. } => self.open(address, exec, net, now),
            News::Resolved { address: Err(why), .. } => self.step(Event::Broke(why), &[], exec, net, now),
            News::Loaded { outcome: Ok(db), attempt } => {
                self.applier.begin(db, attempt, exec.node);
                self.step(Event::Loaded, &[], exec, net, now);
                self.acknowledge(exec, net, now);
            }
            News::Loaded { outcome: Err(why), .. } => self.step(Event::LoadFailed(why), &[], exec, net, now),
        }
    }

    fn step(&mut self, event: Event<'_>, bytes: &[u8], exec: &mut Executor, net: &mut Net, now: Now) {
        let timeout_ms = exec.settled.config.repl_timeout as i64 * 1000;
        let before = self.link.phase();
        let actions = self.link.step(event, now.ms, timeout_ms);
        let phase = self.link.phase();
        if before != phase {
            let mut state = exec.node.repl.state();
            // Orders that came meanwhile have set the phase already.
            if state.primary.is_some() || phase == Phase::Off {
                state.phase = phase;
            }
            if before == Phase::Streaming {
                state.down_since_ms = now.ms;
            }
            drop(state);
            exec.node.refresh_gate(now.ms);
        }
        for action in actions {
            self.carry_out(action, bytes, exec, net, now);
        }
        self.publish(&exec.node.repl, now);
    }

    fn carry_out(&mut self, action: Action, bytes: &[u8], exec: &mut Executor, net: &mut Net, now: Now) {
        let node = exec.node;
        match action {
            Action::Connect => {
                let primary = {
                    let mut state = node.repl.state();
                    self.attempt = node.repl.next_attempt(&mut state);
                    state.primary.clone()
                };
                let Some(primary) = primary else { return };
                log::notice!("Connecting to MASTER {}:{}", primary.host, primary.port);
                if let Some(address) = connect::resolve(node, &primary, self.attempt) {
                    self.open(address, exec, net, now);
                }
            }
            Action::Close => self.close(node, net),
            Action::Send(request) => self.send(&request, exec, net, now),
            Action::BeginImage => {
                // What came behind an image that came to nothing is no part of this one's stream.
                self.applier.suspend(node);
                {
                    let mut state = node.repl.state();
                    if !node.repl.counts(self.attempt, &state) {
                        drop(state);
                        return self.step(Event::Broke(OVERTAKEN.into()), &[], exec, net, now);
                    }
                    state.backlog_from = None;
                }
                node.drop_replicas("a full sync with the primary begins");
                match Incoming::create(&exec.settled.config) {
                    Ok(image) => self.image = Some(image),
                    Err(error) => {
                        log::warning!(
                            "Opening the temp file needed for MASTER <-> SLAVE synchronization: {}",
                            crate::os_error::text(&error)
                        );
                        self.step(Event::Broke("no temp file".into()), &[], exec, net, now);
                    }
                }
            }
            Action::Image(range) => {
                let part = bytes.get(range).unwrap_or_default();
                let config = &exec.settled.config;
                let added = self.image.as_mut().map_or(Ok(()), |image| image.add(part, config));
                if let Err(error) = added {
                    log::warning!(
                        "Write error or short write writing to the DB dump file needed for MASTER <-> SLAVE \
                         synchronization: {}",
                        crate::os_error::text(&error)
                    );
                    self.step(Event::Broke("the image cannot be kept".into()), &[], exec, net, now);
                }
            }
            Action::Load { cut, of } => {
                let Some(image) = self.image.take() else { return };
                let loading = image.load(cut, of, node, self.attempt);
                if let Err(error) = loading {
                    self.step(Event::LoadFailed(error.to_string()), &[], exec, net, now);
                }
            }
            Action::DropImage => {
                self.image = None;
                // A load that is under way ends in vain.
                node.repl.next_attempt(&mut node.repl.state());
            }
            Action::Stream { from, id } => {
                self.answered = Some((id, bytes.get(from..).unwrap_or_default().to_vec()));
                node.repl.drain.set_unapplied(true);
                self.go_on(exec, net, now);
            }
            Action::Suspend => {
                self.applier.suspend(node);
                node.repl.drain.set_unapplied(false);
            }
            Action::Forget => node.repl.state().resumable = false,
            Action::Log(Say::Notice, text) => log::notice!("{text}"),
            Action::Log(Say::Warning, text) => log::warning!("{text}"),
        }
    }

    fn open(&mut self, address: SocketAddr, exec: &mut Executor, net: &mut Net, now: Now) {
        let opened = connect::open(address, &exec.settled.config).and_then(|stream| {
            exec.node.repl.set_socket(Some(stream.try_clone()?));
            let mut socket = TcpStream::from_std(stream);
            net.poll.registry().register(&mut socket, TOKEN, Interest::READABLE | Interest::WRITABLE)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                log::notice!("MASTER <-> SLAVE sync started");
                self.socket = Some(socket);
            }
            Err(error) => {
                log::warning!("Unable to connect to MASTER: {}", crate::os_error::text(&error));
                self.step(Event::Broke(crate::os_error::text(&error)), &[], exec, net, now);
            }
        }
    }

    fn on_connected(&mut self) {
        self.connected = self.link.phase() == Phase::Connecting;
    }

    /// Looks whether the connection stands and says who we are: that is certain only while nobody has all slots, who may
    /// be about to change it.
    fn introduce(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        if !self.connected {
            return;
        }
        let in_vain = exec.owner.try_privileged().is_none();
        self.note_try((in_vain, exec.owner.met_guest()));
        if in_vain {
            return;
        }
        self.connected = false;
        let Some(socket) = &self.socket else { return };
        let failed = match (socket.take_error(), socket.peer_addr()) {
            (Ok(None), Ok(peer)) => {
                self.applier.peer = peer.to_string();
                None
            }
            // Not yet.
            (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => return,
            (Ok(Some(error)) | Err(error), _) | (_, Err(error)) => Some(error),
        };
        let event = match failed {
            Some(error) => Event::Broke(crate::os_error::text(&error)),
            None => Event::Connected(self.introduction(exec)),
        };
        self.step(event, &[], exec, net, now);
    }

    fn introduction(&self, exec: &Executor) -> Introduction {
        let config = &exec.settled.config;
        let port = if config.slave_announce_port != 0 { config.slave_announce_port } else { config.port };
        let state = exec.node.repl.state();
        Introduction {
            password: config.masterauth.clone(),
            port,
            ip: config.slave_announce_ip.clone(),
            resume: state.resumable.then(|| {
                let end = exec.node.oplog.end();
                (state.history.known_as(end), end)
            }),
            restarted: state.restarted,
        }
    }

    fn close(&mut self, node: &'static Node, net: &mut Net) {
        node.repl.set_socket(None);
        self.unsent.clear();
        self.readable = false;
        self.connected = false;
        self.answered = None;
        self.ended = None;
        self.note_try((false, false));
        if let Some(mut socket) = self.socket.take() {
            // It goes with its descriptor at the latest.
            let _ = net.poll.registry().deregister(&mut socket);
        }
    }

    /// The stream goes on, as soon as its new name can be learnt.
    fn go_on(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        let node = exec.node;
        let Some(id) = self.answered.as_ref().map(|(id, _)| *id) else { return };
        let Some(mut held) = exec.owner.try_privileged() else {
            return self.note_try((true, exec.owner.met_guest()));
        };
        self.note_try((false, false));
        let is_new = id.is_some_and(|id| id != node.repl.state().history.id);
        if is_new {
            held.add_all();
        }
        let counts = {
            let mut state = node.repl.state();
            let counts = node.repl.counts(self.attempt, &state);
            if let Some(id) = id.filter(|_| counts && is_new) {
                state.history.learn(id, node.oplog.end());
                node.repl.next_era();
            }
            counts
        };
        drop(held);
        if !counts {
            return self.step(Event::Broke(OVERTAKEN.into()), &[], exec, net, now);
        }
        if is_new {
            // Those who follow us must learn the new name.
            node.drop_replicas("the primary's history has a new id");
        }
        let Some((_, bytes)) = self.answered.take() else { return };
        if self.link.phase() == Phase::Streaming {
            self.applier.suspend(node);
            self.applier.begin(node.oplog.stream_db(), self.attempt, node);
        }
        self.applier.add(&bytes);
    }

    /// Nothing more comes. What has come of a stream is applied first.
    fn end(&mut self, why: String, exec: &mut Executor, net: &mut Net, now: Now) {
        match self.link.phase() {
            Phase::Streaming => self.ended = Some(why),
            _ => self.step(Event::Broke(why), &[], exec, net, now),
        }
    }

    fn read(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.socket.as_mut().map(|socket| socket.read(&mut scratch));
        match read {
            None => self.readable = false,
            Some(Ok(0)) => {
                self.readable = false;
                self.end("connection lost".into(), exec, net, now);
            }
            Some(Ok(n)) => {
                exec.node.stats[exec.reactor].bytes_in.add(n as u64);
                let bytes = &scratch[..n];
                if self.link.phase() == Phase::Streaming {
                    self.link.heard(now.ms);
                    // Said before anything of it is applied, so that nobody changes the primary in the middle.
                    exec.node.repl.drain.set_unapplied(true);
                    self.applier.add(bytes);
                    self.apply(exec, net, now);
                } else {
                    self.step(Event::Bytes(bytes), bytes, exec, net, now);
                }
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Some(Err(error)) => {
                self.readable = false;
                self.end(crate::os_error::text(&error), exec, net, now);
            }
        }
        self.scratch = scratch;
    }

    fn apply(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        if self.link.phase() != Phase::Streaming || self.answered.is_some() {
            return;
        }
        let before = self.applier.waiting();
        let applied = self.applier.apply(exec, net, now);
        self.note_try(self.applier.in_vain());
        if self.applier.waiting() < before {
            exec.node.repl.drain.progressed();
        }
        exec.node.repl.drain.set_unapplied(self.applier.has_unfinished());
        if let Err(why) = applied {
            self.step(Event::Lost(why), &[], exec, net, now);
        }
        if exec.node.repl.ack_wanted.swap(false, Ordering::AcqRel) {
            self.acknowledge(exec, net, now);
        }
    }

    fn acknowledge(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        if self.link.phase() != Phase::Streaming || !exec.node.repl.state().resumable {
            return;
        }
        let mut ack = Vec::new();
        encode([&b"REPLCONF"[..], b"ACK", exec.node.oplog.end().to_string().as_bytes()].into_iter(), &mut ack);
        self.send(&ack, exec, net, now);
    }

    fn send(&mut self, bytes: &[u8], exec: &mut Executor, net: &mut Net, now: Now) {
        self.unsent.extend_from_slice(bytes);
        self.flush(exec, net, now);
    }

    fn flush(&mut self, exec: &mut Executor, net: &mut Net, now: Now) {
        while !self.unsent.is_empty() {
            let Some(socket) = &mut self.socket else { return self.unsent.clear() };
            match socket.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if matches!(self.link.phase(), Phase::Loading | Phase::Streaming) => {
                    // What has arrived still counts: whoever reads comes to the end of it.
                    let _ = socket.shutdown(Shutdown::Both);
                    self.readable = true;
                    return self.unsent.clear();
                }
                Err(error) => {
                    self.unsent.clear();
                    return self.step(Event::Broke(crate::os_error::text(&error)), &[], exec, net, now);
                }
            }
        }
    }

    /// Tells INFO and ROLE.
    fn publish(&self, repl: &Replication, _now: Now) {
        let mut state = repl.state();
        state.heard_ms = self.link.last_ms();
        state.progress = self.link.progress;
    }
}

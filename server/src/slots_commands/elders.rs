//! Links of sources that were there before a new one: what is left of them comes first, or not at all.
//!
//! Why: an original names no link that it has given up. It closes that, connects again, and sends a key anew; what the target
//! had not read of the old link yet is still there, `delete` among it. A server with one thread carries it out before the
//! new link's first message. With more threads it may come after, and remove what was just acknowledged.
//!
//! ```text
//!   old link   .. delete k, string k 1 (closed)        read by another thread, which comes to it late
//!   new link            delete k, string k 1 --> acknowledged, removed at the source
//! ```
//! 1. Before its first message a link waits for those that came before it from the same host, for the same: whole keys, or
//!    pieces of keys of one database. One that has hung up is ended: nothing of it is carried out any more, since nobody
//!    hears the answer. One that has not is waited for until nothing of it has come for a moment.
//! 2. Connections that have said nothing yet may become such links, and are waited for while there is something to read of
//!    them. Numbers of connections are those of the order in which they came.
//! 3. They are gathered once, when none can come any more, and looked at once a millisecond, a few of the many that may be
//!    there: nobody else is to wait for that. Of who has said nothing, and of whom nothing is there to be read, nothing is on
//!    its way.
//! 4. Another server on that host may go on sending, so the wait for those that have not hung up has an end. It counts for
//!    each of them from the first link that waits: else a source with less patience would try for ever.

use crate::clients::ClientInfo;
use crate::conn::{Client, Socket};
use crate::log;
use crate::mailbox::Mail;
use crate::node::{Node, Run};
use commands::table::Command;
use engine::clock::Now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Nothing of an older link has come for so long: then nothing is on its way. More than a round trip to most hosts.
const QUIET_MS: i64 = 20;
/// A link waits no longer than this for older ones that go on.
const PATIENCE_MS: i64 = 500;

/// Connections that are looked at for the first time in one look: what that takes other clients of the thread feel.
const LOOKED_AT: usize = 128;

/// Commands that a link may have said when it is not known as one.
const BEGINS: [&str; 6] =
    ["auth", "select", "slotsrestore", "slotsrestore-async", "slotsrestore-async-auth", "slotsrestore-async-select"];

/// What a connection is as a link of a source.
#[derive(Default)]
pub struct Link {
    /// 0: none; 1: with whole keys; from 2 on: with pieces of keys of a database.
    kind: AtomicU64,
    /// Its first message may be carried out.
    begun: AtomicBool,
    /// Since when it waits for that, by [`clock_ms`]; 0 if it does not.
    since_ms: AtomicI64,
    /// Since when younger ones wait for it, by [`clock_ms`]; 0 if none has.
    waited_ms: AtomicI64,
    /// What it knows of older ones while it waits.
    wait: Mutex<Wait>,
}

/// What a link that waits knows of those that were there before.
#[derive(Default)]
struct Wait {
    /// When it looked last, by [`clock_ms`].
    looked_ms: i64,
    /// The older ones, once they are known.
    elders: Option<Elders>,
    /// Since when they have been quiet, by [`clock_ms`]; 0 if they are not.
    quiet_ms: i64,
    /// The time of day at the first look of which that holds.
    quiet_since: i64,
}

struct Elders {
    /// Not looked at yet.
    new: Vec<Arc<ClientInfo>>,
    /// Those that it waits for.
    waited_for: Vec<Arc<ClientInfo>>,
    /// The threads of all that were looked at: one may have read something just before, and be in the same turn still.
    reactors: Vec<usize>,
}

impl Link {
    fn kind(&self) -> u64 {
        self.kind.load(Ordering::SeqCst)
    }
}

/// Milliseconds of a clock that is never set back, from 1 on.
fn clock_ms() -> i64 {
    static START: OnceLock<Instant> = OnceLock::new();
    1 + START.get_or_init(Instant::now).elapsed().as_millis() as i64
}

/// Whether this client's message of a migration may be carried out yet; if not it is to come again.
pub fn may_go_on(node: &Node, client: &Client, row: &Command<Run>) -> bool {
    client.info.link.begun.load(Ordering::Relaxed) || may_begin(node, client, row)
}

#[cold]
fn may_begin(node: &Node, client: &Client, row: &Command<Run>) -> bool {
    let (me, link) = (&*client.info, &client.info.link);
    let kind = match row.spec.name {
        "slotsrestore" => 1,
        _ => 2 + u64::from(client.session.db),
    };
    link.kind.store(kind, Ordering::SeqCst);
    let now_ms = clock_ms();
    let since_ms = first(&link.since_ms, now_ms);
    let mut wait = link.wait.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::replace(&mut wait.looked_ms, now_ms) == now_ms {
        return false;
    }
    if is_too_late(node, me, kind) {
        // It is closed when it comes again.
        log::notice!("slotsrestore: the link of {} has hung up, and a newer one has begun", me.addr);
        me.kill();
        return false;
    }
    let may = match wait.look(node, me, kind, now_ms) {
        Settled::Yes => true,
        Settled::Perhaps => now_ms - since_ms > PATIENCE_MS,
        Settled::Ends => false,
    };
    if may {
        *wait = Wait::default();
    }
    link.begun.store(may, Ordering::Relaxed);
    may
}

/// Whether nobody hears this link's answers any more, and a newer one did not wait for it.
fn is_too_late(node: &Node, me: &ClientInfo, kind: u64) -> bool {
    let Some(host) = host(&me.addr) else { return false };
    let is_newer = |other: &ClientInfo| {
        let has_begun = other.link.kind() == kind && other.link.begun.load(Ordering::Relaxed);
        has_begun && other.id > me.id && self::host(&other.addr) == Some(host)
    };
    let socket = me.socket.get().and_then(std::sync::Weak::upgrade);
    socket.is_some_and(|socket| has_hung_up(&socket)) && !node.clients.matching(is_newer).is_empty()
}

/// The number, which becomes `now` if it was 0.
fn first(number: &AtomicI64, now: i64) -> i64 {
    match number.load(Ordering::Relaxed) {
        0 => {
            number.store(now, Ordering::Relaxed);
            now
        }
        number => number,
    }
}

/// Whether nothing comes any more of older links.
enum Settled {
    Yes,
    /// It may, if they are what is looked for.
    Perhaps,
    /// It does, and has an end for sure.
    Ends,
}

impl Wait {
    fn look(&mut self, node: &Node, me: &ClientInfo, kind: u64, now_ms: i64) -> Settled {
        if self.quiet_ms == 0 {
            self.quiet_since = Now::read().ms;
        }
        if self.elders.is_none() && !node.clients.is_one_on_its_way_before(me.id) {
            self.elders = Some(Elders::of(node, me, kind));
        }
        // Those that another thread has accepted have their numbers, and are not there yet.
        let Some(elders) = &mut self.elders else { return Settled::Ends };
        let seen = elders.look(node, me, kind, now_ms);
        if seen.busy || seen.ends {
            self.quiet_ms = 0;
            return if seen.ends { Settled::Ends } else { Settled::Perhaps };
        }
        if self.quiet_ms == 0 {
            self.quiet_ms = now_ms;
        }
        let in_turn = elders.reactors.iter().any(|&reactor| {
            let turn_ms = node.stats[reactor].turn_began_ms.load(Ordering::Relaxed);
            turn_ms != 0 && turn_ms <= self.quiet_since
        });
        let is_over = elders.waited_for.is_empty() || now_ms - self.quiet_ms > QUIET_MS;
        if !in_turn && is_over { Settled::Yes } else { Settled::Perhaps }
    }
}

/// What a look has shown.
#[derive(Default)]
struct Seen {
    /// Something of them is not carried out yet.
    busy: bool,
    /// So is something that has an end for sure.
    ends: bool,
}

impl Elders {
    /// Those of `me`, a link of this kind.
    fn of(node: &Node, me: &ClientInfo, kind: u64) -> Elders {
        // What a link says before its first message, and while that is not noted yet.
        let begins: [Option<u32>; BEGINS.len()] = BEGINS.map(|name| node.registry.get(name.as_bytes()).map(number));
        let host = host(&me.addr);
        let is_elder = |other: &ClientInfo| {
            let may_be = match other.link.kind() {
                0 => {
                    let command = other.command.load(Ordering::SeqCst);
                    command == 0 || begins.contains(&Some(command))
                }
                its => its == kind,
            };
            may_be && other.id < me.id && self::host(&other.addr) == host
        };
        let new = if host.is_some() { node.clients.matching(is_elder) } else { Vec::new() };
        Elders { new, waited_for: Vec::new(), reactors: Vec::new() }
    }

    fn look(&mut self, node: &Node, me: &ClientInfo, kind: u64, now_ms: i64) -> Seen {
        let known = self.new.len().saturating_sub(LOOKED_AT);
        for other in self.new.drain(known..) {
            if other.reactor != me.reactor && !self.reactors.contains(&other.reactor) {
                self.reactors.push(other.reactor);
            }
            self.waited_for.push(other);
        }
        let mut seen = Seen { busy: false, ends: !self.new.is_empty() };
        self.waited_for.retain(|other| {
            let is_link = other.link.kind() == kind;
            match State::of(other) {
                State::Gone => false,
                State::HungUp if is_link => {
                    end(node, other);
                    false
                }
                State::HungUp => {
                    seen.ends = true;
                    true
                }
                State::Speaks => {
                    seen.busy |= now_ms - first(&other.link.waited_ms, now_ms) <= PATIENCE_MS;
                    true
                }
                State::Quiet => is_link,
            }
        });
        seen
    }
}

/// A command as a client's information has it.
fn number(row: &Command<Run>) -> u32 {
    u32::from(row.id) + 1
}

/// How an older connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none any more, or nobody serves it.
    Gone,
    /// All that it will ever bring has come, and its other end is closed.
    HungUp,
    /// It has brought something that is not carried out.
    Speaks,
    Quiet,
}

impl State {
    fn of(other: &ClientInfo) -> State {
        let socket = other.socket.get().and_then(std::sync::Weak::upgrade);
        let Some(socket) = socket.filter(|_| !other.killed.load(Ordering::Relaxed)) else { return State::Gone };
        match &*socket {
            socket if has_hung_up(socket) => State::HungUp,
            socket if rustix::io::ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0) => State::Speaks,
            _ if other.input[0].load(Ordering::Relaxed) > 0 => State::Speaks,
            _ => State::Quiet,
        }
    }
}

fn has_hung_up(socket: &Socket) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What can't be asked for is not known.
    poll(&mut fds, Some(&none)).is_ok_and(|ready| ready > 0)
}

/// Ends a link that nobody listens to any more.
fn end(node: &Node, link: &ClientInfo) {
    log::notice!("slotsrestore: what is left of the link of {} is dropped, which has hung up", link.addr);
    link.kill();
    node.clients.remove(link.id);
    node.mailboxes[link.reactor].send(Mail::Kill(link.id));
}

/// The host of an address; none of the path of a Unix socket.
fn host(addr: &str) -> Option<&str> {
    addr.rsplit_once(':').map(|(host, _)| host).filter(|host| !host.starts_with('/'))
}

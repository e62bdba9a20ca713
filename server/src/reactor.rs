//! One server thread: its own poll, its own connections. Reads a batch, looks ahead, runs in order, writes once.
//!
//! 1. A connection belongs to one reactor. Its requests run in order, and a request that must wait for slots holds up
//!    the connection's later ones only.
//! 2. Nothing in the loop blocks but the poll.
//! 3. Replies to a few small requests leave together when the turn ends (`net.rs`), others as soon as they are there.
//! 4. Events are edge-triggered: a read that filled its buffer, or a write that came back short, is remembered here.

mod feeding;
mod reading;
mod releasing;
mod requests;
#[cfg(test)]
mod tests;
mod waiting;

use crate::conn::{Conn, Sent};
use crate::cron::Cron;
use crate::dispatch::Executor;
use crate::listener::Listeners;
use crate::log;
use crate::mailbox::Mail;
use crate::net::{FIRST_CONN, Net, WAKER};
use crate::node::Node;
use crate::persist::gate;
use crate::repl;
use engine::clock::Now;
use engine::raw::ticks::Ticks;
use mio::{Events, Poll, Token};
use reading::READ_BYTES;
use requests::Batch;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a thread looks whether DEBUG SLEEP on another one is over.
const ASLEEP_PAUSE: Duration = Duration::from_millis(1);
/// Events of one poll; larger batches cost latency.
const EVENTS: usize = 256;
/// Pause of a reactor that has nothing to do but to try again for slots or keys that others keep long.
const SLOTS_PAUSE: Duration = Duration::from_millis(1);

/// The thread.
pub struct Reactor {
    exec: Executor,
    net: Net,
    /// What one read brings; all connections share it.
    scratch: Vec<u8>,
    batch: Batch,
    mail: Vec<Mail>,
    cron: Cron,
    /// The executor has something left to do.
    unsettled: bool,
    repl_cron: repl::cron::Cron,
    /// The link to the primary, on the first reactor.
    link: Option<Box<repl::Driver>>,
    /// The log's end when other reactors were last told.
    seen_end: u64,
    /// Clients whose replies wait for the append only file.
    held: Vec<u64>,
    /// Before this turn guests were asked to say when they give back what they hold.
    guests_asked: bool,
}

impl Reactor {
    /// A reactor over `poll`, in which the waker is registered already.
    pub fn new(poll: Poll, exec: Executor, listeners: Option<Listeners>) -> Reactor {
        let cron = Cron::new(exec.reactor);
        let net = Net::new(poll, exec.node, exec.reactor, listeners);
        let link = (exec.reactor == 0).then(|| Box::new(repl::Driver::new(exec.node)));
        let repl_cron = repl::cron::Cron::default();
        Reactor {
            exec,
            net,
            scratch: vec![0; READ_BYTES],
            batch: Batch::new(),
            mail: Vec::new(),
            cron,
            unsettled: false,
            repl_cron,
            link,
            seen_end: 0,
            held: Vec::new(),
            guests_asked: false,
        }
    }

    fn node(&self) -> &'static Node {
        self.exec.node
    }

    /// Serves until the node is stopping.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        self.net.listen()?;
        while !self.node().stopping.load(Ordering::SeqCst) {
            let timeout = self.timeout();
            let turn_began_ms = &self.node().stats[self.exec.reactor].turn_began_ms;
            turn_began_ms.store(0, Ordering::Relaxed);
            match self.net.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.node().mailboxes[self.exec.reactor].woke();
            while self.node().asleep.load(Ordering::Relaxed) {
                std::thread::sleep(ASLEEP_PAUSE);
            }
            self.batch.began = Ticks::now();
            let now = self.exec.read_moment(self.batch.began);
            self.guests_asked = self.all_wait_for_guests();
            if self.guests_asked {
                self.node().locks.want(self.exec.reactor);
            }
            // Who comes to this now has its next turn in the next round.
            let again = self.net.take_again();
            turn_began_ms.store(now.ms, Ordering::Relaxed);
            self.exec.refresh();
            self.exec.share_locks();
            self.take_mail(now);
            if !self.net.paused.is_empty() && !self.node().is_paused(now) {
                self.end_pause();
            }
            if !self.net.stalled.is_empty() && !self.node().persist.is_stalled(self.node()) {
                self.net.end_stalls();
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    repl::link::TOKEN => {
                        if let Some(link) = &mut self.link {
                            let readable = event.is_readable() || event.is_read_closed();
                            link.on_event(readable, event.is_writable(), &mut self.exec, &mut self.net, now);
                            // What the primary has sent before a client spoke comes before what that client says.
                            link.turn(&mut self.exec, &mut self.net, now);
                        }
                    }
                    Token(n) if n < FIRST_CONN => self.net.accept(n, &self.exec.settled.config, now),
                    Token(n) => {
                        self.on_event(n - FIRST_CONN, event.is_readable(), event.is_writable(), now);
                        if event.is_read_closed() {
                            // The end came together with data, and no other event will say so.
                            self.on_end(n - FIRST_CONN, now);
                        }
                    }
                }
            }
            for index in again {
                if let Some(conn) = self.net.conns.get_mut(index).and_then(Option::as_mut) {
                    // What there is to read was told of once, maybe its end too: it is read until nothing is left.
                    conn.more_to_read = true;
                }
                self.turn(index, now);
            }
            while let Some(index) = self.net.overdue(now) {
                self.time_out(index, now);
            }
            self.unsettled = self.exec.settle(now);
            // Who was waited for in this turn goes on before anybody reads what let it; and what was published.
            self.take_mail(now);
            self.exec.publish_stats();
            if self.exec.node.persist.gate.has(gate::AOF) || !self.held.is_empty() {
                self.release_replies(now);
            }
            self.net.send_kept();
            if let Some(link) = &mut self.link {
                link.turn(&mut self.exec, &mut self.net, now);
            }
            self.feed_replicas(now);
            self.net.flush_due(&self.exec.settled.config, now);
            self.net.open_doors();
            self.run_cron(now);
            self.exec.publish_stats();
        }
        self.feed_the_rest();
        self.net.end();
        Ok(())
    }

    fn timeout(&self) -> Duration {
        let mailbox = &self.node().mailboxes[self.exec.reactor];
        if !self.net.again.is_empty() || self.unsettled || self.has_link_work() || !mailbox.may_sleep() {
            // Somebody else holds the slots that a request needs, or there is more to read.
            let pause = self.all_wait_for_slots() || self.may_wait_for_guests();
            return if pause { SLOTS_PAUSE } else { Duration::ZERO };
        }
        // Asked after sleep was announced: whoever makes room after this wakes us.
        if !self.net.stalled.is_empty() || self.link.as_ref().is_some_and(|link| link.is_stalled()) {
            // Once more: whoever made room since took the note, and the room may be gone again.
            self.node().persist.note_stall(self.exec.reactor);
        }
        let room = !self.net.stalled.is_empty() && !self.node().persist.is_stalled(self.node());
        if room || self.has_hungry_replicas() || self.has_link_work() {
            mailbox.woke();
            return Duration::ZERO;
        }
        let cron = self.cron.until_next(self.exec.settled.config.hz);
        let resumed = (!self.net.paused.is_empty()).then(|| self.node().paused_until_ms.load(Ordering::Relaxed) + 1);
        match self.net.next_deadline_ms().into_iter().chain(resumed).min() {
            Some(at) => cron.min(Duration::from_millis(at.saturating_sub(Now::read().ms).max(0) as u64)),
            None => cron,
        }
    }

    /// Whether everybody who has something to do, connections and the link, waits for slots that are kept long.
    fn all_wait_for_slots(&self) -> bool {
        let (some, link) = (!self.net.again.is_empty(), self.has_link_work());
        let link_waits = || self.link.as_ref().is_some_and(|link| link.waits_for_slots(self.node()));
        (some || link) && self.net.all_wait_for_slots() && (!link || link_waits())
    }

    /// Whether all of them wait for what a guest has.
    fn all_wait_for_guests(&self) -> bool {
        let (some, link) = (!self.net.again.is_empty(), self.has_link_work());
        let link_waits = || self.link.as_ref().is_some_and(|link| link.waits_for_guest(self.node()));
        (some || link) && self.net.all_wait_for_guests() && (!link || link_waits())
    }

    /// Whether a guest will wake us when there is something to do.
    fn may_wait_for_guests(&self) -> bool {
        if !self.guests_asked || self.unsettled || !self.all_wait_for_guests() || self.has_hungry_replicas() {
            return false;
        }
        // Who is told after this is woken.
        let asleep = self.node().mailboxes[self.exec.reactor].may_sleep();
        asleep && self.node().locks.is_untold(self.exec.reactor)
    }

    fn take_mail(&mut self, now: Now) {
        let mut mail = std::mem::take(&mut self.mail);
        self.node().mailboxes[self.exec.reactor].take(&mut mail);
        // First who has been waited for: others' messages send the replies of this turn on their way.
        for resumed in mail.extract_if(.., |mail| matches!(mail, Mail::Resume { .. })) {
            if let Mail::Resume { ticket, reply, close } = resumed {
                self.resume(ticket, &reply, close, now);
            }
        }
        for mail in mail.drain(..) {
            match mail {
                Mail::Accepted(socket, id) => self.net.adopt_sent(socket, id, &self.exec.settled.config, now),
                Mail::Kill(id) => {
                    if let Some(index) = self.net.place_of(id) {
                        self.net.close(index);
                    }
                }
                Mail::Call(work) => work(&mut self.exec, now),
                Mail::EndWaits => self.end_waits(now),
                Mail::Link(news) => {
                    if let Some(link) = &mut self.link {
                        link.on_news(news, &mut self.exec, &mut self.net, now);
                    }
                }
                Mail::Resume { .. } => {}
                Mail::Published(message) => self.net.deliver(&message, &self.exec.settled.config),
                Mail::Shown(line) => self.net.show(&line, &self.exec.settled.config),
            }
        }
        self.mail = mail;
    }

    fn run_cron(&mut self, now: Now) {
        if !self.cron.is_due(now, self.exec.settled.config.hz) {
            return;
        }
        self.cron.run(&mut self.exec, now);
        self.net.accept_pending(&self.exec.settled.config, now);
        let timeout_ms = self.exec.settled.config.timeout as i64 * 1000;
        for index in 0..self.net.conns.len() {
            let Some(conn) = &mut self.net.conns[index] else { continue };
            let idle = now.ms - conn.client.info.last_ms.load(Ordering::Relaxed);
            let over = conn.waiting() > 0 && conn.is_over_output_limit(&self.exec.settled.config, now.ms);
            if timeout_ms > 0 && idle > timeout_ms && conn.client.may_idle_out() {
                log::verbose!("Closing idle client");
                self.net.close(index);
            } else if over {
                self.net.close(index);
            }
        }
    }
}

/// Sends replies, or keeps them until the append only file has what they acknowledge: then the client is noted in `held`.
fn deliver(node: &Node, held: &mut Vec<u64>, conn: &mut Conn, replies: &[u8]) -> (Sent, usize) {
    if !node.persist.aof.holds_replies() {
        return conn.send(replies);
    }
    conn.output.extend_raw(replies);
    if !std::mem::replace(&mut conn.held, true) {
        held.push(conn.client.info.id);
    }
    (Sent::Part, 0)
}

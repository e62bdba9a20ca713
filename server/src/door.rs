//! A parked client's door: another thread hands the client its reply through it.
//!
//! Why: a reply that goes through the mailbox wakes the client's reactor, and that is most of what handing an element to
//! a waiting client takes. Who has the reply writes it itself where it may; the reactor only finds a note when it wakes.
//!
//! 1. A door is open only while nothing waits to be sent to its client or to be served for it, and only for one wait. The
//!    reactor writes nothing to a client before it has closed its door, so there is one writer at a time.
//! 2. Who goes through marks the door as passed and leaves its note in the reactor's mailbox before it gives the lock
//!    back: a reactor that finds a door passed has the note already, and does not sleep before it has read it.
//! 3. A client may answer its reply, or end, before its reactor knows of the reply. So a reactor closes a parked client's
//!    door before it reads from it or takes its end for one, and if it was passed, reads the note first: what came since
//!    is an ordinary client's.
//! 4. The descriptor lives as long as somebody may write to it.

use crate::clients::ClientInfo;
use crate::conn::Socket;
use crate::mailbox::Mail;
use crate::node::Node;
use crate::park::Ticket;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Closed, or open for whoever ends one wait.
#[derive(Default)]
pub struct Door {
    way: Mutex<Way>,
}

/// How a door stands.
#[derive(Default)]
enum Way {
    #[default]
    Closed,
    /// For whoever ends the wait of this number, whose reply is written there.
    Open(u64, Arc<Socket>),
    /// Somebody went through: the note is in the mailbox.
    Passed,
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it for the one who ends the client's wait number `wait`.
    pub fn open(&self, wait: u64, socket: &Arc<Socket>) {
        let mut way = self.lock();
        if !matches!(*way, Way::Passed) {
            *way = Way::Open(wait, socket.clone());
        }
    }

    /// Closes it for good, once nobody is going through any more; the wait has ended.
    pub fn close(&self) {
        *self.lock() = Way::Closed;
    }

    /// Closes it if it is open; true if somebody went through before: the client has its reply, and what it sends or
    /// does from then on is not a waiting client's.
    pub fn was_passed(&self) -> bool {
        let mut way = self.lock();
        let passed = matches!(*way, Way::Passed);
        if !passed {
            *way = Way::Closed;
        }
        passed
    }
}

impl Node {
    /// Ends a wait of reactor `reactor`'s or another's client with `reply`, whole RESP bytes, on the thread of `reactor`
    /// with no slot held.
    pub fn hand_over(&self, reactor: usize, ticket: Ticket, reply: Vec<u8>) {
        // What its own reactor sends leaves in this turn anyway. What waits for a file is not for others to send.
        let direct = ticket.reactor != reactor && !self.persist.aof.holds_replies();
        let info = if direct { self.clients.get(ticket.client) } else { None };
        let Some(info) = info else { return self.resume(ticket, reply) };
        if let Err(reply) = self.write_at_door(reactor, &info, ticket, reply) {
            self.resume(ticket, reply);
        }
    }

    /// Gives the reply back if the door is closed.
    fn write_at_door(
        &self,
        reactor: usize,
        info: &ClientInfo,
        ticket: Ticket,
        mut reply: Vec<u8>,
    ) -> Result<(), Vec<u8>> {
        let mut door = info.door.lock();
        let socket = match &*door {
            Way::Open(wait, socket) if *wait == ticket.wait => socket.clone(),
            _ => return Err(reply),
        };
        *door = Way::Passed;
        // Before the client knows.
        info.parked.store(false, Ordering::Relaxed);
        // What does not fit, or cannot be written, is the reactor's.
        let written = socket.write(&reply).unwrap_or(0);
        self.stats[reactor].bytes_out.add(written as u64);
        reply.drain(..written);
        let (mailbox, done) = (&self.mailboxes[ticket.reactor], reply.is_empty());
        let note = Mail::Resume { ticket, reply, close: false };
        if done {
            mailbox.leave(note)
        } else {
            mailbox.send(note)
        }
        Ok(())
    }
}

//! Clients that wait for a reply that comes later: from another client's push, a peer, a file.
//!
//! Why: a reactor never waits for one client's sake. A handler that cannot reply yet parks its client and returns; the
//! connection serves no further request until the reply is mailed, the time is up, or the client is gone.
//!
//! ```text
//!   running --park--> parked --Mail::Resume with its ticket--> running, the reply sent
//!                        |----deadline passes, time_out() ----> running, its reply sent
//!                        '----connection ends, abandon() -----> gone
//! ```
//! 1. Of a reply that is mailed and a time-out only one may win: [`Wait::time_out`] decides, under whatever protects
//!    what is waited for. Once it has said no, the reply must come.
//! 2. A ticket is used up with the wait it was made for: a reply that comes too late meets nobody.

use crate::clients::ClientInfo;
use crate::mailbox::Mail;
use crate::node::Node;
use resp::Out;

/// What a parked client waits for.
pub trait Wait: Send {
    /// The deadline has passed: writes the reply and returns true, or returns false if the reply is under way already.
    fn time_out(&self, out: &mut Out) -> bool;

    /// The client is gone: nobody will read a reply.
    fn abandon(&self);

    /// The command that parked the client is over: what the client has written so far ends at `written` of the file
    /// ([`engine::records::FilePlace::of_file`]).
    fn begun(&mut self, written: u64) {
        let _ = written;
    }
}

/// Names one wait of one client, for whoever is to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The reactor that serves the client.
    pub reactor: usize,
    /// The client's id.
    pub client: u64,
    /// Counts the client's waits.
    pub wait: u64,
}

/// A parked client.
pub struct Parked {
    /// Which wait this is.
    pub ticket: Ticket,
    /// When to give up, Unix milliseconds; `None` never.
    pub until_ms: Option<i64>,
    /// What to tell when it ends otherwise.
    pub wait: Box<dyn Wait>,
    /// The client wants no reply to this command (CLIENT REPLY).
    pub mute: bool,
}

/// A client's waits, one at a time.
#[derive(Default)]
pub struct Parking {
    /// The one under way.
    pub parked: Option<Parked>,
    waits: u64,
}

impl Parking {
    /// A ticket for the next wait; [`Parking::park`] uses it up.
    pub fn ticket(&mut self, info: &ClientInfo) -> Ticket {
        self.waits += 1;
        Ticket { reactor: info.reactor, client: info.id, wait: self.waits }
    }

    /// From now on the client waits. The reply may be on its way already.
    pub fn park(&mut self, ticket: Ticket, until_ms: Option<i64>, wait: Box<dyn Wait>) {
        self.parked = Some(Parked { ticket, until_ms, wait, mute: false });
    }
}

impl Node {
    /// Ends a wait with `reply`, whole RESP bytes, which may be empty.
    pub fn resume(&self, ticket: Ticket, reply: Vec<u8>) {
        self.mailboxes[ticket.reactor].send(Mail::Resume { ticket, reply, close: false });
    }

    /// As [`Node::resume`], and ends the connection after the reply.
    pub fn resume_and_close(&self, ticket: Ticket, reply: Vec<u8>) {
        self.mailboxes[ticket.reactor].send(Mail::Resume { ticket, reply, close: true });
    }
}

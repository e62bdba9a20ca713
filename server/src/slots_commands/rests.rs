//! What is left of links that were given up.
//!
//! Why: a source whose link breaks tells the target over a new one to forget what it got, and may send newer values later.
//! What the network or the target's system still has of the old link would come after that, and put an old value in the
//! place of a newer one that has been acknowledged to its writer.
//!
//! ```text
//!   old link   string k 1 ..........(not read yet)......... dropped
//!   new link          greeting, ends <old link's address>, delete k, .. string k 2
//! ```
//! 1. Over a new link a source names the old ones before anything else. A target that has said in its greeting that it
//!    knows the word for that can only end connections from the same host by it; every other one is told CLIENT KILL, and
//!    nothing else before it has answered.
//! 2. A link that was named changes nothing from then on: it is marked before the answer, and every command looks at the mark
//!    with its slots held, so what it changed before is there for what follows the answer.

use crate::mailbox::Mail;
use crate::node_commands::NodeCtx;
use slots::migration::wire;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Links remembered; the oldest are forgotten.
const RESTS_MAX: usize = 64;

/// The addresses from which this server's links came that were given up, and their targets.
#[derive(Default)]
pub struct Rests(Mutex<Vec<Rest>>);

struct Rest {
    host: String,
    port: u16,
    addr: String,
}

impl Rests {
    fn lock(&self) -> MutexGuard<'_, Vec<Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link to that target, from this address, is given up.
    pub fn add(&self, host: &str, port: u16, addr: String) {
        let mut rests = self.lock();
        if rests.len() == RESTS_MAX {
            rests.remove(0);
        }
        rests.push(Rest { host: host.to_owned(), port, addr });
    }

    /// What a target may still have.
    pub fn of(&self, host: &str, port: u16) -> Vec<String> {
        let rests = self.lock();
        rests.iter().filter(|rest| rest.host == host && rest.port == port).map(|rest| rest.addr.clone()).collect()
    }

    /// The target has dropped these, or does not know how to.
    pub fn are_gone(&self, addrs: &[String]) {
        if !addrs.is_empty() {
            self.lock().retain(|rest| !addrs.contains(&rest.addr));
        }
    }
}

/// Has the server at the other end of a link end the connection from this address.
pub fn kill(addr: &str, out: &mut Vec<u8>) {
    wire::message(&[b"CLIENT", b"KILL", addr.as_bytes()], out);
}

/// What a server has answered to [`kill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// There is no such connection any more.
    Gone,
    /// It does not know the command: somebody has renamed it.
    CannotTell,
    /// It would not do it now, and may go on serving that connection.
    Refused,
}

impl Killed {
    /// From its line.
    pub fn of(line: &[u8]) -> Killed {
        match line {
            [b'+', ..] => Killed::Gone,
            _ if line.starts_with(b"-ERR No such client") => Killed::Gone,
            _ if line.starts_with(b"-ERR unknown command") => Killed::CannotTell,
            _ => Killed::Refused,
        }
    }
}

/// Ends the connections from this address, which is on the host of the client that says so. Returns how many there were.
pub fn end(ctx: &mut NodeCtx<'_, '_>, addr: &[u8]) -> usize {
    let (me, mut ended) = (ctx.client.info, 0);
    let host = |addr: &str| addr.rsplit_once(':').map(|(host, _)| host.to_owned());
    let is_meant = |other: &str| other.as_bytes() == addr && host(other).is_some() && host(other) == host(&me.addr);
    for info in ctx.node.clients.all().iter().filter(|info| info.id != me.id && is_meant(&info.addr)) {
        crate::log::notice!("slotsrestore_async: what is left of the link of {} is dropped", info.addr);
        info.kill();
        ctx.node.clients.remove(info.id);
        // Its own thread closes it, and withdraws what it has left behind, with no slot held.
        ctx.node.mailboxes[info.reactor].send(Mail::Kill(info.id));
        ended += 1;
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_rests_are_remembered_until_it_has_dropped_them() {
        let rests = Rests::default();
        for n in 0..RESTS_MAX + 2 {
            rests.add(if n % 2 == 0 { "even" } else { "odd" }, 1, n.to_string());
        }
        assert_eq!(rests.of("even", 1).first().map(String::as_str), Some("2"));
        assert_eq!(rests.of("odd", 1).len(), RESTS_MAX / 2);
        assert!(rests.of("odd", 2).is_empty());
        rests.are_gone(&rests.of("odd", 1));
        assert_eq!((rests.of("odd", 1).len(), rests.of("even", 1).len()), (0, RESTS_MAX / 2));
    }
}

//! What a node answers while a script is past its time, on the script's own thread and on the others.
//!
//! Refused with BUSY is everything but AUTH, QUIT, REPLCONF, SCRIPT KILL and SHUTDOWN NOSAVE. Other threads see that
//! when they check a command. A SHUTDOWN that the server would refuse ends no script: that is asked first, here. The
//! script's own thread visits its connections from the script's hook:
//!
//! 1. The client that runs the script is not in `conns`, so it is not visited.
//! 2. A visit reads little ahead and sends no more than a bound. What it leaves, in the socket or in the input, is
//!    served after the script: the connection is queued in `again`, for no event will come for it.
//! 3. A visit runs no command on keys, parks nobody, and closes nothing: that too is left for later. But whoever has had
//!    its last reply is shown the end at once: the source of a migration waits for it.
//!
//! Who listens goes on hearing: the messages of the script itself come to its own thread's clients before it ends.

use crate::config::Config;
use crate::conn::{Client, Conn, Replies, Sent};
use crate::mailbox::Mail;
use crate::net::{FIRST_CONN, Net, WAKER};
use crate::node::{Node, Run};
use crate::node_commands::{connection, replication};
use crate::persist::shutdown;
use crate::slots_commands;
use commands::args::Args;
use commands::error::Error;
use commands::table::Command;
use engine::clock::Now;
use mio::{Events, Token};
use resp::{Arg, Out, Progress, errors};
use std::io;
use std::time::Duration;

/// Events of one poll.
const EVENTS: usize = 64;
/// Bytes of one read.
const READ_BYTES: usize = 4096;
/// A connection is read no further while this much of it is not understood.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// A connection is served no further while this much waits to be sent to it.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Reads of one visit; the next visit goes on.
const READS: usize = 16;

/// What a command may do while a script is past its time.
enum Errand {
    /// AUTH, QUIT, REPLCONF: what it always does.
    Usual,
    /// SCRIPT KILL.
    Kill,
    /// SHUTDOWN with a word that begins like NOSAVE.
    Shutdown,
}

fn errand(row: &Command<Run>, args: &Args<'_>) -> Result<Errand, Error> {
    let begins_with =
        |letter: u8| args.len() == 2 && args.at(1).first().is_some_and(|c| c.eq_ignore_ascii_case(&letter));
    match row.spec.name {
        "auth" | "quit" | "replconf" => Ok(Errand::Usual),
        "script" if begins_with(b'k') => Ok(Errand::Kill),
        "shutdown" if begins_with(b'n') => Ok(Errand::Shutdown),
        _ => Err(Error::Text(errors::BUSY)),
    }
}

/// Whether a command may run on a thread that runs no script, while one runs elsewhere and is past its time. SHUTDOWN
/// NOSAVE ends the script here, and then finds the slots free. (Queued in a transaction it does so when it runs.)
#[cold]
pub fn admit(node: &Node, queueing: bool, row: &Command<Run>, args: &Args<'_>) -> Result<(), Error> {
    match errand(row, args)? {
        Errand::Shutdown if !queueing => abandon(node, args),
        _ => Ok(()),
    }
}

/// Ends the running script for a SHUTDOWN, if that will end the server.
fn abandon(node: &Node, args: &Args<'_>) -> Result<(), Error> {
    if !args.is(1, "nosave") {
        return Err(Error::Text(errors::SYNTAX));
    }
    shutdown::check(node).map_err(|_| Error::Text(shutdown::REFUSED))?;
    node.scripts.abandon();
    Ok(())
}

/// Brings a client the reply that it waited for, as far as it has not had it yet. Returns its place.
fn resume(mail: Mail, net: &mut Net, node: &Node, reactor: usize) -> Option<usize> {
    let Mail::Resume { ticket, reply, close } = mail else { return None };
    let index = net.place_of(ticket.client)?;
    let mut conn = net.conns.get_mut(index)?.take()?;
    if conn.client.parking.parked.as_ref().is_some_and(|parked| parked.ticket == ticket) {
        let mute = net.unpark(&mut conn).is_some_and(|parked| parked.mute);
        conn.client.info.door.close();
        conn.client.close_after_reply |= close;
        if !mute && !reply.is_empty() {
            let (_, bytes) = conn.send(&reply);
            node.stats[reactor].bytes_out.add(bytes as u64);
        }
    }
    net.conns[index] = Some(conn);
    Some(index)
}

/// The connections of a thread that runs a script past its time.
#[derive(Default)]
pub struct Visits {
    /// All listeners and connections were looked at once: events that came before the script was late, even with the
    /// script's own, are not repeated.
    begun: bool,
    /// Places of connections that were visited.
    visited: Vec<usize>,
    /// Of those, where a visit was cut short.
    unfinished: Vec<usize>,
    args: Vec<Arg>,
    out: Out,
}

impl Visits {
    /// Serves whoever has something to say, without waiting.
    pub fn serve(&mut self, net: &mut Net, node: &'static Node, reactor: usize, config: &Config, now: Now) {
        let mut events = Events::with_capacity(EVENTS);
        // A poll that fails has no events; the reactor meets the same failure after the script.
        let _: io::Result<()> = net.poll.poll(&mut events, Some(Duration::ZERO));
        for (socket, id) in node.mailboxes[reactor].take_accepted() {
            net.adopt_sent(socket, id, config, now);
        }
        net.send_kept();
        let mut ready = std::mem::take(&mut self.unfinished);
        if !node.persist.aof.holds_replies() {
            for mail in node.mailboxes[reactor].take_resumed() {
                ready.extend(resume(mail, net, node, reactor));
            }
        }
        for event in &events {
            match event.token() {
                WAKER => {}
                Token(n) if n < FIRST_CONN => net.accept(n, config, now),
                Token(n) => ready.push(n - FIRST_CONN),
            }
        }
        if !self.begun {
            self.begun = true;
            // Replies of this turn need not wait for the script.
            if node.persist.aof.holds_replies() && node.persist.aof.before_replies(node, node.oplog.file_end()) {
                net.conns.iter_mut().flatten().for_each(|conn| conn.held = false);
            }
            (WAKER.0 + 1..FIRST_CONN).for_each(|listener| net.accept(listener, config, now));
            ready = (0..net.conns.len()).collect();
        }
        // New connections are there, among others that have waited for their turn.
        ready.append(&mut net.again);
        ready.sort_unstable();
        ready.dedup();
        for index in ready {
            let Some(Some(conn)) = net.conns.get_mut(index) else {
                // The script's own client: its event comes once too.
                self.visited.push(index);
                continue;
            };
            if !self.visit(conn, node, reactor, config) {
                self.unfinished.push(index);
            }
            conn.publish(now.ms);
            self.visited.push(index);
        }
        self.visited.sort_unstable();
        self.visited.dedup();
    }

    /// The script has ended: whoever was visited gets a turn.
    pub fn finish(self, net: &mut Net) {
        net.again.extend(self.visited);
    }

    /// Serves one connection; false if it was cut short and must be visited again without an event.
    fn visit(&mut self, conn: &mut Conn, node: &'static Node, reactor: usize, config: &Config) -> bool {
        // Whoever goes on after the script reads on, unless this finds nothing more.
        conn.more_to_read = true;
        if let Some(feed) = conn.client.peer.as_mut().and_then(|peer| peer.feed.as_mut()) {
            feed.blocked = false;
        }
        if conn.waiting() > 0 && !conn.held {
            let (_, bytes) = conn.flush();
            node.stats[reactor].bytes_out.add(bytes as u64);
        }
        for _ in 0..READS {
            let stuck = conn.client.close_after_reply
                || conn.has_kept
                || conn.held
                || conn.client.replies != Replies::On
                || conn.client.parking.parked.is_some()
                || conn.waiting() > OUTPUT_BYTES_MAX;
            if stuck || self.answer_input(conn, node, reactor, config) == Answered::Left {
                if conn.client.close_after_reply && conn.waiting() == 0 && !conn.has_kept {
                    conn.socket.end_output();
                }
                return true;
            }
            if conn.input.len() > INPUT_BYTES_MAX {
                return true;
            }
            match conn.input.read(&conn.socket, READ_BYTES) {
                Ok(0) => return true,
                Ok(n) => node.stats[reactor].bytes_in.add(n as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    conn.more_to_read = error.kind() != io::ErrorKind::WouldBlock;
                    return true;
                }
            }
        }
        false
    }

    /// Answers the requests that are whole, in order, up to one that must wait for the end of the script.
    fn answer_input(&mut self, conn: &mut Conn, node: &'static Node, reactor: usize, config: &Config) -> Answered {
        let input = std::mem::take(&mut conn.input);
        let (mut at, mut answered) = (0, Answered::All);
        conn.unserved = false;
        while at < input.len() && answered == Answered::All && self.out.len() <= OUTPUT_BYTES_MAX {
            self.args.clear();
            let (next, text) = match conn.parser.parse(&input[at..], &mut self.args) {
                Ok(Progress::Complete { consumed }) => (at + consumed, &input[at..]),
                Ok(Progress::Inline { consumed }) => (at + consumed, conn.parser.inline_text()),
                Ok(Progress::NeedMore { .. }) => break,
                Err(_) => {
                    // The reactor will read the same, and say so.
                    answered = Answered::Left;
                    break;
                }
            };
            let args = Args::new(text, &self.args);
            if args.is_empty() || answer(&mut conn.client, node, config, &args, &mut self.out) {
                at = next;
                if conn.client.close_after_reply {
                    // Nothing more is heard of it.
                    answered = Answered::Left;
                }
            } else {
                answered = Answered::Left;
            }
        }
        if answered == Answered::All && self.out.len() > OUTPUT_BYTES_MAX {
            answered = Answered::Left;
        }
        if answered == Answered::Left {
            conn.parser.reset();
            conn.unserved = true;
        }
        conn.input = input;
        conn.input.drop_front(at, node);
        if !self.out.is_empty() {
            let (sent, bytes) = conn.send(self.out.as_slice());
            self.out.clear();
            node.stats[reactor].bytes_out.add(bytes as u64);
            if sent == Sent::Broken || conn.client.close_after_reply {
                answered = Answered::Left;
            }
        }
        answered
    }
}

#[derive(PartialEq, Eq)]
enum Answered {
    All,
    /// The rest waits for the end of the script.
    Left,
}

/// Answers one request; false if it must wait.
fn answer(client: &mut Client, node: &'static Node, config: &Config, args: &Args<'_>, out: &mut Out) -> bool {
    let answered = check(client, node, config, args).and_then(|(row, errand)| {
        if client.queue.is_some() && row.spec.name != "quit" {
            return Ok(false);
        }
        match (errand, row.spec.name) {
            (Errand::Kill, _) => node.scripts.kill()?,
            (Errand::Usual, "auth") => connection::authenticate(config, args.at(1), &mut client.authenticated)?,
            (Errand::Usual, "quit") => client.close_after_reply = true,
            // A replica that is not heard for long is dropped.
            (Errand::Usual, _) => {
                if !replication::answer_replconf(node, &mut client.peer, args, Now::read().ms)? {
                    return Ok(true);
                }
            }
            (Errand::Shutdown, _) => return abandon(node, args).map(|()| false),
        }
        out.ok();
        Ok(true)
    });
    answered.unwrap_or_else(|error| {
        if let Some(queue) = &mut client.queue {
            queue.failed = true;
        }
        let name = node.registry.get(args.at(0)).map_or("", |row| row.spec.name);
        client.close_after_reply |= slots_commands::refuse_command(name, error.text(), out);
        true
    })
}

fn check<'r>(
    client: &Client,
    node: &'static Node,
    config: &Config,
    args: &Args<'_>,
) -> Result<(&'r Command<Run>, Errand), Error> {
    let row = node.registry.get(args.at(0)).ok_or_else(|| Error::Owned(errors::unknown_command(args.at(0))))?;
    if !row.spec.arity_ok(args.len()) {
        return Err(Error::Owned(errors::wrong_arity(row.spec.name)));
    }
    if !client.authenticated && config.requirepass.is_some() && row.spec.name != "auth" {
        return Err(Error::Text(errors::NO_AUTH));
    }
    Ok((row, errand(row, args)?))
}

//! Connections that wait: for a reply that comes later, or for the end of a pause.
//!
//! 1. A parked client's later requests are read up to a bound and not parsed; its end is seen.
//! 2. A wait ends once: by its reply, its deadline, its client's end, or because all waits must end.

use super::reading::Next;
use super::{Reactor, deliver};
use crate::conn::Conn;
use crate::park::Ticket;
use engine::clock::Now;
use resp::{Out, errors};
use std::io;

/// Bytes of later requests that are read from a parked client; the socket keeps the others.
const PARKED_INPUT_BYTES: usize = 64 * 1024;

impl Reactor {
    /// Brings a parked client its reply, and goes on with what it has sent since, or ends the connection.
    pub(super) fn resume(&mut self, ticket: Ticket, reply: &[u8], close: bool, now: Now) {
        let Some(index) = self.net.place_of(ticket.client) else { return };
        self.net.send_kept_of(index);
        let Some(mut conn) = self.net.conns[index].take() else { return };
        if conn.client.parking.parked.as_ref().is_some_and(|parked| parked.ticket == ticket) {
            let mute = self.net.unpark(&mut conn).is_some_and(|parked| parked.mute);
            conn.client.close_after_reply |= close;
            self.go_on(&mut conn, if mute { &[] } else { reply }, now);
            let unserved = conn.unserved;
            self.net.go_on_later(index, &conn);
            self.net.conns[index] = Some(conn);
            if unserved {
                // What it has sent behind runs before who let it go on reads its own reply.
                self.turn(index, now);
            }
            return;
        }
        self.net.conns[index] = Some(conn);
    }

    /// Ends the wait of every parked client, and its connection.
    pub(super) fn end_waits(&mut self, now: Now) {
        for index in 0..self.net.conns.len() {
            let Some(mut conn) = self.net.conns[index].take() else { continue };
            let mut unwanted = Out::new();
            if conn.client.parking.parked.as_ref().is_some_and(|parked| parked.wait.time_out(&mut unwanted)) {
                self.net.unpark(&mut conn);
                let mut reply = Out::new();
                reply.error(errors::UNBLOCKED);
                conn.client.close_after_reply = true;
                self.go_on(&mut conn, reply.as_slice(), now);
                self.net.go_on_later(index, &conn);
            }
            self.net.conns[index] = Some(conn);
        }
    }

    pub(super) fn time_out(&mut self, index: usize, now: Now) {
        self.net.send_kept_of(index);
        let Some(mut conn) = self.net.conns.get_mut(index).and_then(Option::take) else { return };
        let mut reply = Out::new();
        if conn.client.parking.parked.as_ref().is_some_and(|parked| parked.wait.time_out(&mut reply)) {
            let mute = self.net.unpark(&mut conn).is_some_and(|parked| parked.mute);
            self.go_on(&mut conn, if mute { &[] } else { reply.as_slice() }, now);
            self.net.go_on_later(index, &conn);
        }
        self.net.conns[index] = Some(conn);
    }

    pub(super) fn go_on(&mut self, conn: &mut Conn, reply: &[u8], now: Now) {
        conn.client.info.door.close();
        if !reply.is_empty() {
            if self.exec.node.persist.aof.waits_for_disk() {
                // It may tell of what another client's command did for this one.
                conn.client.written = self.exec.node.oplog.file_end();
            }
            let (_, written) = deliver(self.exec.node, &mut self.held, conn, reply);
            self.exec.node.stats[self.exec.reactor].bytes_out.add(written as u64);
        }
        conn.unserved = !conn.input.is_empty();
        conn.publish(now.ms);
    }

    /// Closes a parked client's door before anything is read from it or it ends; if it has had its reply through it, it
    /// waits no longer: what it sent since is to be served, its end included.
    pub(super) fn catch_up(&mut self, index: usize, now: Now) {
        let conn = self.net.conns.get(index).and_then(Option::as_ref);
        if conn.is_some_and(|conn| conn.client.parking.parked.is_some() && conn.client.info.door.was_passed()) {
            self.take_mail(now);
        }
    }

    /// Reads what a parked client sends, up to a bound, so that its end is seen.
    pub(super) fn hear(&mut self, conn: &mut Conn) -> Next {
        while conn.input.len() < PARKED_INPUT_BYTES {
            match conn.socket.read(&mut self.scratch) {
                Ok(0) => return Next::Close,
                Ok(n) => conn.input.extend_from_slice(&self.scratch[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    conn.more_to_read = false;
                    return Next::Keep;
                }
                Err(_) => return Next::Close,
            }
        }
        conn.more_to_read = true;
        Next::Keep
    }

    /// The peer will send no more.
    pub(super) fn on_end(&mut self, index: usize, now: Now) {
        self.catch_up(index, now);
        let conn = self.net.conns.get(index).and_then(Option::as_ref);
        if conn.is_some_and(|conn| conn.client.parking.parked.is_some()) {
            self.close_after_held(index, now);
        } else {
            self.net.again.push(index);
        }
    }

    /// Puts a connection off because clients are paused, or because too much is on its way to clients; false for one
    /// that is not served anyway.
    #[cold]
    pub(super) fn hold_back(&mut self, index: usize, now: Now) -> bool {
        let Some(conn) = self.net.conns.get_mut(index).and_then(Option::as_mut) else { return false };
        if conn.client.parking.parked.is_some() || conn.client.close_after_reply || conn.client.feed().is_some() {
            return false;
        }
        if !self.exec.node.is_paused(now) {
            self.net.again.push(index);
        } else if !std::mem::replace(&mut conn.paused, true) {
            self.net.paused.push(index);
        }
        true
    }

    /// Goes on with the connections that were held back while clients were paused.
    pub(super) fn end_pause(&mut self) {
        for index in std::mem::take(&mut self.net.paused) {
            if let Some(conn) = self.net.conns.get_mut(index).and_then(Option::as_mut) {
                conn.paused = false;
                self.net.again.push(index);
            }
        }
    }
}

//! What reaches connections without their asking: messages of channels, and commands for those who MONITOR.
//!
//! It is appended to a connection's output and sent at the end of the reactor's turn, so many messages of one turn take one
//! write. A client that does not read is ended by the limits of its class.

use super::Net;
use crate::config::Config;
use crate::conn::{Client, Conn, Replies, Sent, as_chunks};
use crate::log;
use crate::mailbox::Mail;
use crate::monitor::Line;
use crate::pubsub::{Ear, Message};
use engine::clock::Now;
use std::sync::atomic::Ordering;

/// Output that is not kept for the end of the turn.
const SEND_AT_BYTES: usize = 256 * 1024;

impl Net {
    /// `client` listens to `channel` too.
    pub fn join(&mut self, client: u64, channel: &[u8]) {
        if let Some(&place) = self.places.get(&client) {
            self.audience.join(&self.node.pubsub, self.reactor, channel, place);
        }
    }

    /// It does so no longer.
    pub fn leave(&mut self, client: u64, channel: &[u8]) {
        if let Some(&place) = self.places.get(&client) {
            self.audience.leave(&self.node.pubsub, self.reactor, channel, place);
        }
    }

    /// `client` listens to all channels that match `pattern`.
    pub fn join_pattern(&mut self, client: u64, pattern: &[u8]) {
        if let Some(&place) = self.places.get(&client) {
            self.audience.join_pattern(&self.node.pubsub, self.reactor, pattern, place);
        }
    }

    /// It does so no longer.
    pub fn leave_pattern(&mut self, client: u64, pattern: &[u8]) {
        if let Some(&place) = self.places.get(&client) {
            self.audience.leave_pattern(&self.node.pubsub, self.reactor, pattern, place);
        }
    }

    /// `client` is shown every command from now on.
    pub fn watch_commands(&mut self, client: u64) {
        if let Some(&place) = self.places.get(&client) {
            let since = self.node.monitors.join(self.reactor);
            self.monitors.push(Ear { place, since });
        }
    }

    /// Ends all that the client at `place`, which is going, listens to.
    pub(super) fn hush(&mut self, place: usize, client: &mut Client) {
        let (pubsub, reactor) = (&self.node.pubsub, self.reactor);
        if let Some(subs) = client.subscriptions.take() {
            subs.channels.iter().for_each(|channel| self.audience.leave(pubsub, reactor, channel, place));
            subs.patterns.iter().for_each(|pattern| self.audience.leave_pattern(pubsub, reactor, pattern, place));
        }
        if client.info.monitor.load(Ordering::Relaxed) {
            self.monitors.retain(|monitor| monitor.place != place);
            self.node.monitors.leave(reactor);
        }
    }

    /// Whether the client at `index` is sent things without its asking.
    pub fn listens(&self, index: usize) -> bool {
        let conn = self.conns.get(index).and_then(Option::as_ref);
        conn.is_some_and(|conn| conn.client.subscriptions.is_some() || conn.client.info.monitor.load(Ordering::Relaxed))
    }

    /// Hands a message to those who listen.
    pub fn deliver(&mut self, message: &Message, config: &Config) {
        // Among them the reply to SUBSCRIBE.
        self.send_kept();
        let Net { conns, due, audience, .. } = self;
        audience.deliver(message, |place, frame| hear(conns, due, place, frame, config));
    }

    /// Hands the line of a command to those who watch.
    pub fn show(&mut self, line: &Line, config: &Config) {
        self.send_kept();
        let Net { conns, due, monitors, .. } = self;
        for monitor in monitors.iter().filter(|monitor| line.stamp > monitor.since) {
            let own = |conn: &Conn| conn.client.info.id == line.own;
            if !conns.get(monitor.place).and_then(Option::as_deref).is_some_and(own) {
                hear(conns, due, monitor.place, &line.bytes, config);
            }
        }
    }

    /// Hands out the messages that wait for this reactor's clients, in the middle of a command, whose client must not be
    /// among them. Who takes in too little is ended when the turn is over, and gets no more until then.
    pub fn hand_out(&mut self, config: &Config) {
        for mail in self.node.mailboxes[self.reactor].take_messages() {
            match mail {
                Mail::Published(message) => self.deliver(&message, config),
                Mail::Shown(line) => self.show(&line, config),
                _ => {}
            }
        }
        for &place in &self.due {
            if let Some(Some(conn)) = self.conns.get_mut(place)
                && !conn.held
            {
                let (_, written) = conn.flush();
                self.node.stats[self.reactor].bytes_out.add(written as u64);
            }
        }
    }

    /// Sends what was handed out, and ends those whose output is over its limit.
    pub fn flush_due(&mut self, config: &Config, now: Now) {
        let mut due = std::mem::take(&mut self.due);
        for place in due.drain(..) {
            let Some(conn) = self.conns.get_mut(place).and_then(Option::as_mut) else { continue };
            conn.flush_due = false;
            let (sent, written) = conn.flush();
            self.node.stats[self.reactor].bytes_out.add(written as u64);
            conn.publish(now.ms);
            let over = conn.is_over_output_limit(config, now.ms);
            if over {
                log::warning!("{}", conn.over_limit_text());
            }
            if sent == Sent::Broken || over {
                self.close(place);
            }
        }
        self.due = due;
    }
}

/// Appends to the output of the connection at `place`, unless it is to end anyway.
fn hear(conns: &mut [Option<Box<Conn>>], due: &mut Vec<usize>, place: usize, bytes: &[u8], config: &Config) {
    let Some(conn) = conns.get_mut(place).and_then(Option::as_mut) else { return };
    let hard = config.client_output_buffer_limit[conn.client.class() as usize].hard_bytes;
    let [_, _, memory] = as_chunks(conn.waiting());
    if conn.client.close_after_reply || conn.client.replies == Replies::Off {
        return;
    }
    // What it misses it must not go on without.
    conn.overflowed |= hard != 0 && memory as u64 >= hard;
    if !conn.overflowed {
        conn.output.extend_raw(bytes);
    }
    if !std::mem::replace(&mut conn.flush_due, true) {
        due.push(place);
    }
    if conn.waiting() > SEND_AT_BYTES && !conn.held && !conn.overflowed {
        // How it ended shows again at the end of the turn.
        let _ = conn.flush();
    }
}

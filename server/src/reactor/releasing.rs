//! Replies that wait for the append only file.

use super::Reactor;
use crate::conn::Sent;
use crate::log;
use engine::clock::Now;

impl Reactor {
    /// Ends a connection. Replies to it that wait for the file are brought on their way first: its peer may have ended
    /// just its own direction.
    pub(super) fn close_after_held(&mut self, index: usize, now: Now) {
        if self.net.conns.get(index).and_then(Option::as_ref).is_some_and(|conn| conn.held) {
            self.release_replies(now);
        }
        self.net.close(index);
    }

    /// The end of a turn: the append only file gets what it is to have, and replies that waited for it leave.
    pub(super) fn release_replies(&mut self, now: Now) {
        let node = self.node();
        if self.held.is_empty() {
            return node.persist.aof.poke(node);
        }
        let done = node.persist.aof.before_replies(node, node.oplog.file_end());
        for id in std::mem::take(&mut self.held) {
            let Some(index) = self.net.place_of(id) else { continue };
            let Some(Some(conn)) = self.net.conns.get_mut(index) else { continue };
            conn.held = false;
            if !done && !node.persist.aof.is_safe(conn.client.written) {
                log::warning!("Closing client {id}: what it was to be told is not on disk");
                self.net.close(index);
                continue;
            }
            let (sent, bytes) = conn.flush();
            node.stats[self.exec.reactor].bytes_out.add(bytes as u64);
            conn.publish(now.ms);
            if sent == Sent::Broken || sent == Sent::All && conn.client.close_after_reply {
                self.net.close(index);
            }
        }
    }
}

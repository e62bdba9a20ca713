//! Feeding replicas, and the link to the primary, once a turn.
//!
//! 1. A replica's place stays in `net.replicas` while its connection has a feed; who lost it is dropped here.
//! 2. A replica that has to be given up is closed, and disturbs no other.

use super::Reactor;
use crate::repl;
use engine::clock::Now;
use std::thread;
use std::time::{Duration, Instant};

/// So long the end waits for replicas that do not take the last of the stream, and so often it looks.
const LAST_FEED_MAX: Duration = Duration::from_secs(1);
const LAST_FEED_PAUSE: Duration = Duration::from_millis(1);

impl Reactor {
    /// Whether the link has something to do.
    pub(super) fn has_link_work(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.has_work(self.exec.node))
    }

    /// Whether replicas could go on at once.
    pub(super) fn has_hungry_replicas(&self) -> bool {
        let node = self.exec.node;
        let hungry = |&index: &usize| {
            self.net.conns.get(index).and_then(Option::as_ref).is_some_and(|conn| repl::feed::has_work(conn, node))
        };
        self.net.replicas.iter().any(hungry)
    }

    /// Sends replicas what is new, and wakes reactors that have replicas.
    pub(super) fn feed_replicas(&mut self, now: Now) {
        let node = self.exec.node;
        let second = self.repl_cron.is_due(now);
        if second && let Some(link) = &mut self.link {
            link.each_second(&mut self.exec, &mut self.net, now);
            self.repl_cron.run(&mut self.exec, now);
        }
        // Who cannot have the slots now cannot begin a sync, and must not look as if.
        let able = second && !self.net.replicas.is_empty() && self.exec.owner.try_privileged().is_some();
        let mut at = 0;
        while let Some(&index) = self.net.replicas.get(at) {
            let Some(Some(conn)) = self.net.conns.get_mut(index) else {
                self.net.replicas.swap_remove(at);
                continue;
            };
            if conn.client.feed().is_none() {
                self.net.replicas.swap_remove(at);
                continue;
            }
            let mut fed = Ok(());
            if repl::feed::has_work(conn, node) {
                fed = repl::feed::feed(conn, node, now);
            }
            if fed.is_ok() {
                fed = repl::feed::check_lag(conn, node, &self.exec.settled.config, now);
            }
            if second && fed.is_ok() {
                fed = repl::feed::each_second(conn, &self.exec.settled.config, able, now);
            }
            match fed {
                Ok(()) => at += 1,
                Err(repl::feed::GiveUp) => self.net.close(index),
            }
        }
        node.wake_feeders(self.exec.reactor, &mut self.seen_end);
    }

    /// The end: replicas get what is left of the stream, so that after a restart they need nothing else. Not for long.
    pub(super) fn feed_the_rest(&mut self) {
        let (node, began) = (self.exec.node, Instant::now());
        for index in std::mem::take(&mut self.net.replicas) {
            let Some(Some(conn)) = self.net.conns.get_mut(index) else { continue };
            while repl::feed::is_behind(conn, node)
                && began.elapsed() < LAST_FEED_MAX
                && repl::feed::feed(conn, node, Now::read()).is_ok()
            {
                if conn.client.feed().is_some_and(|feed| feed.blocked) {
                    thread::sleep(LAST_FEED_PAUSE);
                }
            }
        }
    }
}

//! Asynchronous migration as clients see it: one batch a database at a time, who waits for its end, and how it stands.
//!
//! ```text
//!   no link --request--> connecting --> batch --end: all who wait are told--> idle --60 s--> no link
//!                                         ^------------ the same target ---------|
//! ```
//! 1. A link belongs to one database and one target, and to one thread (`driver.rs`), which alone uses its socket.
//! 2. Who waits is told exactly once, by whoever takes it out of `waiting`.
//! 3. The mutex of a link is a leaf.

use super::chunks::Limits;
use crate::park::Ticket;
use mio::Waker;
use resp::Out;
use slots::SlotId;
use slots::migration::export::Stage;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a batch is made of.
pub enum What {
    /// These keys.
    Keys {
        /// As given.
        keys: Vec<Box<[u8]>>,
        /// And those that share a hash tag with one of them.
        tags: bool,
    },
    /// Keys of a slot, until their messages or their number reach a limit.
    Slot {
        /// Which slot.
        slot: SlotId,
        /// The limit.
        numkeys: usize,
        /// Whole groups of keys that share a hash tag.
        tags: bool,
    },
}

/// A batch to be sent.
pub struct Request {
    /// Of what.
    pub what: What,
    /// In which chunks.
    pub limits: Limits,
}

/// How a batch stands.
#[derive(Clone, Default)]
pub struct Standing {
    /// All its keys.
    pub keys: Arc<Vec<Box<[u8]>>>,
    /// Messages that were expected when it began.
    pub estimate: usize,
    /// Keys that were sent completely.
    pub done: usize,
    /// Keys with something left to send.
    pub left: usize,
    /// The key that is being sent.
    pub current: Option<(usize, Stage)>,
    /// Bytes sent.
    pub bytes: u64,
    /// Bytes still to be sent, as it looks: what is left of the current key, and for the others what keys took so far.
    pub left_bytes: u64,
    /// When it began, Unix milliseconds.
    pub since_ms: i64,
}

/// What has become of a batch.
#[derive(Clone, Copy, Default)]
pub struct Report {
    /// Keys in it.
    pub keys: usize,
    /// Keys that have moved.
    pub moved: usize,
    /// Bytes sent.
    pub bytes: u64,
}

impl Report {
    /// As a reply: names and numbers in turns.
    pub fn reply(self, canceled: bool, out: &mut Out) {
        let numbers = [
            ("canceled", i64::from(canceled)),
            ("keys", self.keys as i64),
            ("moved", self.moved as i64),
            ("kept", (self.keys - self.moved) as i64),
            ("sent_bytes", self.bytes as i64),
        ];
        out.array(2 * numbers.len());
        for (name, number) in numbers {
            out.bulk(name.as_bytes());
            out.int(number);
        }
    }
}

/// What is known of a link.
#[derive(Default)]
pub struct State {
    /// A batch that its thread has not taken yet.
    pub request: Option<Request>,
    /// A batch is under way, or taken back.
    pub busy: bool,
    /// Who wants to know its end.
    pub waiting: Vec<Ticket>,
    /// Who has canceled it and wants to know what has become of its keys.
    pub canceling: Vec<Ticket>,
    /// The link took messages already.
    pub used: bool,
    /// Of the last batch.
    pub limits: Option<Limits>,
    /// When an acknowledgement came, or a batch began, Unix milliseconds.
    pub heard_ms: i64,
    /// Messages without an acknowledgement.
    pub unacknowledged: usize,
    /// The batch.
    pub standing: Standing,
}

impl State {
    /// The batch is over, and another one may begin: who wants to know its end, and who has canceled it. Taken together
    /// with its end, or they would be told of the next one, and who waits for that of this one.
    pub fn end(&mut self) -> (Vec<Ticket>, Vec<Ticket>) {
        self.busy = false;
        self.standing = Standing::default();
        self.unacknowledged = 0;
        (std::mem::take(&mut self.waiting), std::mem::take(&mut self.canceling))
    }
}

/// One database's connection to a target.
pub struct Link {
    /// As given.
    pub host: String,
    /// The target's port.
    pub port: u16,
    /// The database.
    pub db: u32,
    /// Ends the batch.
    pub cancel: AtomicBool,
    /// Ends the link when it is idle.
    pub close: AtomicBool,
    waker: Waker,
    state: Mutex<State>,
}

impl Link {
    /// For a thread that waits in the poll of `waker`.
    pub fn new(host: String, port: u16, db: u32, waker: Waker) -> Link {
        let (cancel, close) = (AtomicBool::new(false), AtomicBool::new(false));
        Link { host, port, db, cancel, close, waker, state: Mutex::default() }
    }

    /// What is known of it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes its thread look.
    pub fn wake(&self) {
        // It fails only when the thread is gone.
        let _ = self.waker.wake();
    }
}

/// All links.
#[derive(Default)]
pub struct Exports {
    links: Mutex<BTreeMap<u32, Arc<Link>>>,
    busy: AtomicUsize,
}

impl Exports {
    /// The links, by database.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link of a database.
    pub fn link(&self, db: u32) -> Option<Arc<Link>> {
        self.lock().get(&db).cloned()
    }

    /// Whether keys of this database are being sent.
    pub fn is_leaving(&self, db: u32) -> bool {
        self.busy.load(Ordering::Acquire) > 0 && self.link(db).is_some_and(|link| link.state().busy)
    }

    /// Makes the threads of all links look.
    pub fn wake_all(&self) {
        self.lock().values().for_each(|link| link.wake());
    }

    /// Counts a batch that begins.
    pub fn begin(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a batch that has ended.
    pub fn end(&self) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }

    /// How many there are.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }

    /// Takes a link out that its thread gives up.
    pub fn remove(&self, link: &Arc<Link>) {
        let mut links = self.lock();
        if links.get(&link.db).is_some_and(|there| Arc::ptr_eq(there, link)) {
            links.remove(&link.db);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_batch_is_let_go_with_its_end() {
        let ticket = |client| Ticket { reactor: 0, client, wait: 0 };
        let mut state = State { busy: true, waiting: vec![ticket(1)], canceling: vec![ticket(2)], ..State::default() };
        assert_eq!(state.end(), (vec![ticket(1)], vec![ticket(2)]));
        // Whoever finds it idle begins the next one, and finds nobody of the last.
        assert!(!state.busy && state.waiting.is_empty() && state.canceling.is_empty());
    }
}

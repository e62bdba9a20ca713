//! Who wants to be told about keys of one slot: transactions that watch a key, clients that wait for a list.
//!
//! ```text
//!  Slot -> Interest?  key -> one row a database: watches [Arc<Watch> ..]   waiters [Arc<Waiter> .. in order of arrival]
//! ```
//! 1. It lies behind the slot's lock, and is not there at all while nobody wants to know anything: a command that
//!    changes a key pays one branch.
//! 2. A [`Watch`] is marked by whoever changes the key, and read by its owner's EXEC, both while holding the slot: a
//!    change is either seen or comes after.
//! 3. A [`Waiter`] leaves [`Pending`](State) once, and whoever took it out of that state answers its client, nobody
//!    else: the thread that gives it an element, its own thread when its time is over or when its client is gone.
//! 4. Who registered withdraws: after EXEC, after an answer, at a client's end. Nothing is left behind.

use crate::raw::sync::{AtomicBool, AtomicU32, Ordering};
use crate::value::list::End;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The keys that one client watches have changed or not.
#[derive(Default)]
pub struct Watch {
    dirty: AtomicBool,
}

impl Watch {
    /// Whether a watched key has changed. Exact while all slots of the watched keys are held: their locks order this.
    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    fn mark(&self) {
        self.dirty.store(true, Ordering::Relaxed);
    }
}

/// How a wait for an element stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum State {
    Pending,
    Claimed,
    TimedOut,
    Gone,
}

/// A client that waits for an element of a list.
pub struct Waiter {
    state: AtomicU32,
    /// The reactor that serves the client.
    pub reactor: usize,
    /// The client's id.
    pub client: u64,
    /// Which of the client's waits this is.
    pub wait: u64,
    /// From which end it wants the element.
    pub end: End,
    /// To which list the element goes besides (BRPOPLPUSH).
    pub destination: Option<Box<[u8]>>,
}

impl Waiter {
    /// Client `client` of reactor `reactor` begins its wait number `wait`.
    pub fn new(reactor: usize, client: u64, wait: u64, end: End, destination: Option<&[u8]>) -> Waiter {
        let state = AtomicU32::new(State::Pending as u32);
        Waiter { state, reactor, client, wait, end, destination: destination.map(Box::from) }
    }

    fn end_as(&self, state: State) -> bool {
        // What the winner has to tell goes through a mailbox, whose lock orders it.
        let from = State::Pending as u32;
        self.state.compare_exchange(from, state as u32, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether nobody has ended the wait yet.
    pub fn is_pending(&self) -> bool {
        self.state.load(Ordering::Relaxed) == State::Pending as u32
    }

    /// Ends the wait with an element, which the caller must deliver; false if it has ended already.
    pub fn claim(&self) -> bool {
        self.end_as(State::Claimed)
    }

    /// Ends the wait because its time is over; false if it has ended already, and then an answer is on its way.
    pub fn time_out(&self) -> bool {
        self.end_as(State::TimedOut)
    }

    /// Ends the wait because nobody is there to be answered; false if it has ended already.
    pub fn leave(&self) -> bool {
        self.end_as(State::Gone)
    }
}

/// Something registered at a key, to be withdrawn.
#[derive(Clone)]
pub enum Stake {
    /// A watch.
    Watch(Arc<Watch>),
    /// A wait.
    Wait(Arc<Waiter>),
}

/// What is registered at one key.
#[derive(Default)]
struct Row {
    db: u32,
    watches: Vec<Arc<Watch>>,
    waiters: VecDeque<Arc<Waiter>>,
}

/// What is registered in one slot.
#[derive(Default)]
pub struct Interest {
    keys: HashMap<Box<[u8]>, Vec<Row>, foldhash::fast::RandomState>,
}

impl Interest {
    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn row(&self, db: u32, key: &[u8]) -> Option<&Row> {
        self.keys.get(key)?.iter().find(|row| row.db == db)
    }

    fn row_mut(&mut self, db: u32, key: &[u8]) -> &mut Row {
        let rows = self.keys.entry(key.into()).or_default();
        let at = rows.iter().position(|row| row.db == db).unwrap_or_else(|| {
            rows.push(Row { db, ..Row::default() });
            rows.len() - 1
        });
        &mut rows[at]
    }

    /// Registers at `key` of database `db`; a wait comes after those that are there.
    pub fn add(&mut self, db: u32, key: &[u8], stake: Stake) {
        let row = self.row_mut(db, key);
        match stake {
            Stake::Watch(watch) => row.watches.push(watch),
            Stake::Wait(waiter) => row.waiters.push_back(waiter),
        }
    }

    /// Withdraws what was registered at `key`; does nothing if it is not there.
    pub fn withdraw(&mut self, db: u32, key: &[u8], stake: &Stake) {
        let Some(rows) = self.keys.get_mut(key) else { return };
        if let Some(row) = rows.iter_mut().find(|row| row.db == db) {
            match stake {
                Stake::Watch(gone) => row.watches.retain(|watch| !Arc::ptr_eq(watch, gone)),
                Stake::Wait(gone) => row.waiters.retain(|waiter| !Arc::ptr_eq(waiter, gone)),
            }
        }
        rows.retain(|row| !row.watches.is_empty() || !row.waiters.is_empty());
        if rows.is_empty() {
            self.keys.remove(key);
        }
    }

    /// `key` has changed.
    pub fn changed(&self, db: u32, key: &[u8]) {
        if let Some(row) = self.row(db, key) {
            row.watches.iter().for_each(|watch| watch.mark());
        }
    }

    /// Database `db` (all if `None`) is about to be emptied; `exists` says which keys are there.
    pub fn flushed(&self, db: Option<u32>, exists: impl Fn(u32, &[u8]) -> bool) {
        for (key, rows) in &self.keys {
            let of_db = rows.iter().filter(|row| db.is_none_or(|db| db == row.db) && exists(row.db, key));
            of_db.flat_map(|row| &row.watches).for_each(|watch| watch.mark());
        }
    }

    /// Who has waited longest for `key` and still does.
    pub fn first_waiter(&mut self, db: u32, key: &[u8]) -> Option<&Arc<Waiter>> {
        let row = self.keys.get_mut(key)?.iter_mut().find(|row| row.db == db)?;
        while row.waiters.front().is_some_and(|waiter| !waiter.is_pending()) {
            row.waiters.pop_front();
        }
        row.waiters.front()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn waiter(client: u64) -> Arc<Waiter> {
        Arc::new(Waiter::new(0, client, 1, End::Front, None))
    }

    #[test]
    fn waiters_come_in_order_and_those_that_have_ended_are_skipped() {
        let mut interest = Interest::default();
        let waiters: Vec<_> = (0..3).map(waiter).collect();
        for waiter in &waiters {
            interest.add(0, b"k", Stake::Wait(waiter.clone()));
        }
        interest.add(1, b"k", Stake::Wait(waiter(9)));
        assert!(waiters[0].time_out() && !waiters[0].claim());
        assert_eq!(interest.first_waiter(0, b"k").map(|waiter| waiter.client), Some(1));
        interest.withdraw(0, b"k", &Stake::Wait(waiters[1].clone()));
        assert_eq!(interest.first_waiter(0, b"k").map(|waiter| waiter.client), Some(2));
        assert!(interest.first_waiter(0, b"other").is_none());
    }

    #[test]
    fn a_watch_is_marked_by_a_change_of_its_key_in_its_database_only() {
        let mut interest = Interest::default();
        let watch = Arc::new(Watch::default());
        interest.add(1, b"k", Stake::Watch(watch.clone()));
        interest.changed(0, b"k");
        interest.changed(1, b"other");
        interest.flushed(Some(0), |_, _| true);
        interest.flushed(None, |_, _| false);
        assert!(!watch.is_dirty());
        interest.changed(1, b"k");
        assert!(watch.is_dirty());
    }

    #[test]
    fn a_flush_marks_watches_of_keys_that_were_there() {
        let mut interest = Interest::default();
        let (there, missing) = (Arc::new(Watch::default()), Arc::new(Watch::default()));
        interest.add(0, b"there", Stake::Watch(there.clone()));
        interest.add(0, b"missing", Stake::Watch(missing.clone()));
        interest.flushed(None, |_, key| key == b"there");
        assert!(there.is_dirty() && !missing.is_dirty());
    }

    #[test]
    fn nothing_is_left_of_who_has_withdrawn() {
        let mut interest = Interest::default();
        let (watch, waiter) = (Arc::new(Watch::default()), waiter(1));
        interest.add(0, b"k", Stake::Watch(watch.clone()));
        interest.add(0, b"k", Stake::Wait(waiter.clone()));
        interest.withdraw(0, b"k", &Stake::Watch(watch.clone()));
        assert!(!interest.is_empty());
        interest.withdraw(0, b"k", &Stake::Wait(waiter.clone()));
        assert!(interest.is_empty());
        assert_eq!((Arc::strong_count(&watch), Arc::strong_count(&waiter)), (1, 1));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::raw::lock::SlotLocks;
    use loom::sync::atomic::AtomicUsize;
    use slots::SlotId;

    /// A push, the end of the waiter's time and the end of its client come at once: exactly one of them has it.
    #[test]
    fn loom_a_wait_ends_in_one_way_only() {
        loom::model(|| {
            let waiter = Arc::new(Waiter::new(0, 1, 1, End::Front, None));
            let winners = Arc::new(AtomicUsize::new(0));
            let ends: [fn(&Waiter) -> bool; 2] = [Waiter::claim, Waiter::time_out];
            let threads = ends.map(|end| {
                let (waiter, winners) = (waiter.clone(), winners.clone());
                loom::thread::spawn(move || {
                    if end(&waiter) {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            if waiter.leave() {
                winners.fetch_add(1, Ordering::Relaxed);
            }
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            assert_eq!(winners.load(Ordering::Relaxed), 1);
        });
    }

    /// A write of a watched key against the EXEC of who watches it: an EXEC that found nothing changed comes before
    /// the write.
    #[test]
    fn loom_exec_sees_every_earlier_change_of_a_watched_key() {
        loom::model(|| {
            let slot = SlotId::new(0).expect("valid");
            let locks = Arc::new(SlotLocks::new(1, || (Interest::default(), 0)));
            let watch = Arc::new(Watch::default());
            {
                let mut owner = locks.register().expect("nobody is alone");
                let mut held = owner.try_one(slot).expect("free");
                held.slot_mut(slot).0.add(0, b"k", Stake::Watch(watch.clone()));
            }
            let writer = {
                let locks = locks.clone();
                loom::thread::spawn(move || {
                    let mut owner = locks.register().expect("nobody is alone");
                    let Some(mut held) = owner.try_one(slot) else { return };
                    let (interest, value) = held.slot_mut(slot);
                    *value += 1;
                    interest.changed(0, b"k");
                })
            };
            let mut owner = locks.register().expect("nobody is alone");
            if let Some(held) = owner.try_one(slot) {
                let changed = held.slot(slot).1 != 0;
                assert_eq!(changed, watch.is_dirty());
            }
            writer.join().expect("no panic");
        });
    }
}

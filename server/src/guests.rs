//! Threads besides the reactors that touch keys: a snapshot's walker, a loader, a migration.
//!
//! Why: the one reactor of a server with `server-threads 1` is *alone*, which makes its locks free; nobody else can
//! have a lock then. It stops being alone while guests are announced, at its next turn, and is alone again after.
//!
//! 1. A guest is announced before it asks for its owner, and taken back after its owner is gone: so a reactor that
//!    sees nobody announced may go alone.
//! 2. A guest waits for the reactor's running command at most; it holds nothing while it waits.
//! 3. Guests work when others do not want to, and may lose the processor while they hold a slot. A reactor that has nothing
//!    to do but to wait for that slot, for clients or for the primary's stream, sleeps, and is told
//!    ([`engine::raw::lock`], invariant 4): if it tried again and again, the guest might get no processor for milliseconds.

use crate::node::Node;
use engine::raw::lock::Owner;
use engine::slot::Slot;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Pause between two tries to become an owner.
const RETRY: Duration = Duration::from_micros(50);

/// How many guests are announced.
#[derive(Default)]
pub struct Guests(AtomicUsize);

impl Guests {
    /// Whether anybody is or wants to be a guest.
    #[inline]
    pub fn are_there(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// A thread's right to take slot locks, for as long as it keeps this.
pub struct Guest {
    /// Dropped first: see invariant 1.
    owner: Owner<'static, Slot>,
    _announced: Announced,
}

impl Guest {
    /// The right to take locks.
    pub fn owner(&mut self) -> &mut Owner<'static, Slot> {
        &mut self.owner
    }
}

/// Counts one guest, and no more when it is dropped.
struct Announced(&'static Node);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.guests.0.fetch_sub(1, Ordering::Release);
    }
}

impl Node {
    /// Wakes those of the reactors that sleep; bit n is number n.
    pub fn nudge(&self, reactors: u64) {
        let meant = self.mailboxes.iter().enumerate().filter(|(nth, _)| reactors & 1 << nth != 0);
        meant.for_each(|(_, mailbox)| mailbox.nudge());
    }

    /// Makes the calling thread a guest; waits for the end of a command that runs alone. Not for reactors, which have
    /// an owner already.
    pub fn guest(&'static self) -> Guest {
        self.guests.0.fetch_add(1, Ordering::AcqRel);
        let announced = Announced(self);
        if let Some(reactor) = self.mailboxes.first() {
            reactor.wake();
        }
        loop {
            if let Some(owner) = self.locks.register_guest() {
                return Guest { owner, _announced: announced };
            }
            thread::sleep(RETRY);
        }
    }
}

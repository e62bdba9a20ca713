//! What a client has registered in slots (keys that it watches or waits for), and how that is withdrawn.
//!
//! Registering happens in a command that holds the slots. Withdrawing may become due when nobody holds them: at a client's
//! end, after an answer from another thread. So it is noted for the client's reactor, which takes each slot in turn and
//! comes back later for those that somebody else holds.
//!
//! 1. Dropping [`Stakes`] withdraws them: no way out of a wait or a transaction can forget to.
//! 2. Until then they do no harm: a watch marks a flag that nobody reads, a wait that has ended is passed over.

use crate::node::Node;
use engine::interest::Stake;
use engine::keyspace::{Key, Keyspace};
use engine::raw::lock::Owner;
use engine::slot::Slot;
use foldhash::fast::RandomState;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A key of a database.
type Place = (u32, Box<[u8]>);

/// One registration at each of some keys.
pub struct Stakes {
    node: &'static Node,
    reactor: usize,
    stake: Stake,
    places: HashSet<Place, RandomState>,
}

impl Stakes {
    /// None yet.
    pub fn new(node: &'static Node, reactor: usize, stake: Stake) -> Stakes {
        Stakes { node, reactor, stake, places: HashSet::default() }
    }

    /// Registers at `key` in the database that `keys` has selected; does nothing if that was done before.
    pub fn register(&mut self, keys: &mut Keyspace<'_, '_>, key: &Key<'_>) {
        if self.places.insert((keys.db(), key.bytes.into())) {
            keys.register(key, self.stake.clone());
        }
    }

    /// What is registered.
    pub fn stake(&self) -> &Stake {
        &self.stake
    }

    /// At which keys, whatever their databases.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|(_, key)| &**key)
    }
}

impl Drop for Stakes {
    fn drop(&mut self) {
        let Some(leaving) = self.node.leaving.get(self.reactor) else { return };
        let places = self.places.drain().map(|place| (place, self.stake.clone()));
        leaving.list.lock().unwrap_or_else(PoisonError::into_inner).extend(places);
        leaving.any.store(true, Ordering::Relaxed);
    }
}

/// What one reactor has to withdraw.
#[derive(Default)]
pub struct Leaving {
    /// Whether there is something, for a look without the lock.
    any: AtomicBool,
    list: Mutex<Vec<(Place, Stake)>>,
}

impl Leaving {
    /// Whether something is to be withdrawn.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Withdraws what it can; slots that others hold come later.
    pub fn withdraw(&self, owner: &mut Owner<'static, Slot>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|((db, key), stake)| {
            let slot = slots::slot_of(key);
            let held = owner.try_one(slot);
            held.map(|mut held| held.slot_mut(slot).withdraw(*db, key, stake)).is_none()
        });
        self.any.store(!list.is_empty(), Ordering::Relaxed);
    }
}

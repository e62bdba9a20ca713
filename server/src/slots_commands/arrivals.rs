//! Keys that connections build chunk by chunk: nobody else sees them before they are whole, and nobody ever sees one
//! whose connection ended before.
//!
//! ```text
//! first chunk --begin--> arriving --"expire": end--> a key like any other
//!                           '--- connection ends: abandon ---> removed by a reactor's next cron, or by its own expiry
//! ```
//! 1. A key that arrives belongs to one connection; who begins it anew takes it over, so that the end of an older
//!    connection removes nothing of it. Its owner changes under its slot's lock only.
//! 2. The mutex is a leaf.

use crate::dispatch::Executor;
use crate::node::Node;
use engine::clock::Now;
use engine::keyspace::Key;
use engine::raw::entry::Transit;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A database and a key.
type Place = (u32, Box<[u8]>);

/// All keys that arrive.
#[derive(Default)]
pub struct Arrivals {
    /// Keys in `owners`.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which client builds a key.
    owners: HashMap<Place, u64>,
    /// Keys whose client is gone, with that client.
    abandoned: Vec<(Place, u64)>,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has begun a key.
    pub fn begin(&self, node: &Node, client: u64, db: u32, key: &[u8]) {
        if self.lock().owners.insert((db, key.into()), client).is_none() {
            self.count.fetch_add(1, Ordering::AcqRel);
            node.moves.claims.begin_receiving();
        }
    }

    /// A key is whole, or gone.
    pub fn end(&self, node: &Node, db: u32, key: &[u8]) {
        if self.count.load(Ordering::Acquire) > 0 && self.lock().owners.remove(&(db, Box::from(key))).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
            node.moves.claims.end_receiving();
        }
    }

    /// A client is gone, and what it was building is to go too.
    pub fn abandon(&self, client: u64) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let State { owners, abandoned } = &mut *self.lock();
        let of_client = owners.iter().filter(|(_, owner)| **owner == client);
        abandoned.extend(of_client.map(|(place, owner)| (place.clone(), *owner)));
    }
}

/// Removes what gone clients were building.
pub fn sweep(exec: &mut Executor, now: Now) {
    let node = exec.node;
    let arrivals = &node.moves.arrivals;
    if arrivals.count.load(Ordering::Acquire) == 0 {
        return;
    }
    let abandoned = std::mem::take(&mut arrivals.lock().abandoned);
    for ((db, name), client) in abandoned {
        let key = Key::new(&name);
        let mut done = false;
        exec.in_slot(key.slot, db, now, |keys| {
            done = true;
            if arrivals.lock().owners.get(&(db, name.clone())) != Some(&client) {
                return;
            }
            if keys.transit(&key) == Some(Transit::Arriving) && keys.remove_any(&key) {
                keys.changed(&key, 0, "del");
                keys.effects().log_instead(&[b"DEL", key.bytes]);
            }
            arrivals.end(node, db, key.bytes);
        });
        if !done {
            // Somebody keeps the slot: at the next turn.
            arrivals.lock().abandoned.push(((db, name), client));
        }
    }
}

//! Which keys MIGRATE has on their way: looked at by RESTORE, which must not put another value in their place.

use crate::node::Node;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A database and a key.
type Place = (u32, Vec<u8>);

/// All keys that are on their way, and how often.
#[derive(Default)]
pub struct MovingKeys {
    /// How many there are; looked at first.
    count: AtomicUsize,
    places: Mutex<HashMap<Place, usize>>,
}

/// A key that is on its way until this is dropped.
pub struct Moving {
    node: &'static Node,
    place: Place,
}

impl MovingKeys {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a key. The caller holds its slot, so that who holds it later finds it noted.
    pub fn begin(node: &'static Node, db: u32, key: &[u8]) -> Moving {
        let (keys, place) = (&node.migrations.moving, (db, key.to_vec()));
        *keys.lock().entry(place.clone()).or_default() += 1;
        keys.count.fetch_add(1, Ordering::AcqRel);
        Moving { node, place }
    }

    /// Whether a key is on its way.
    pub fn has(&self, db: u32, key: &[u8]) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().contains_key(&(db, key.to_vec()))
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let keys = &self.node.migrations.moving;
        let mut places = keys.lock();
        if let Some(times) = places.get_mut(&self.place) {
            *times -= 1;
            if *times == 0 {
                places.remove(&self.place);
            }
        }
        keys.count.fetch_sub(1, Ordering::AcqRel);
    }
}

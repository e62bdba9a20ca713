//! Keys of which a target may have copies that it could not be told to forget.
//!
//! Why: a batch breaks off while the target is away, or silent for longer than a client should wait. What it took it still
//! has when it comes back, perhaps from its own disk. A key that is then deleted here would be there again as soon as the
//! target is asked for it.
//!
//! ```text
//!   batch breaks off, target away       note its keys               [`Debts::add`]
//!   somebody asks for one, gone here    is told to ask again        [`Debts::has_key`]
//!   next batch of the slot              delete them first           [`Debts::of`]
//!   the target has answered             nothing is owed             [`Debts::are_paid`]
//! ```
//! 1. Before anything else of a slot goes to the target it has deleted what it may have of it, so that nothing which it gets
//!    later, from here or from its clients, is taken for such a copy.
//! 2. A slot that goes to another target, and a server that has become a replica, owe nothing any more: the copies may have
//!    become somebody's keys by then.
//! 3. What is noted is lost with the process, and so much at most is noted.

use engine::keyspace::Key;
use slots::SlotId;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of keys noted at most, each with what it takes besides.
const BYTES_MAX: usize = 64 << 20;
/// What a key takes besides its bytes.
const KEY_BYTES: usize = 48;

/// A target as commands name it, and the database of both sides.
#[derive(Clone, Copy)]
pub struct Target<'t> {
    /// Its name or address.
    pub host: &'t str,
    /// Its port.
    pub port: u16,
    /// The database.
    pub db: u32,
    /// The term as a primary in which something is noted or asked.
    pub tenure: Option<u64>,
}

/// All that is owed.
#[derive(Default)]
pub struct Debts {
    /// Keys noted; 0 nearly always.
    count: AtomicUsize,
    debts: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    bytes: usize,
    slots: HashMap<(u32, SlotId), Debt>,
}

/// What one target may have of one slot.
struct Debt {
    host: String,
    port: u16,
    tenure: Option<u64>,
    keys: HashSet<Box<[u8]>>,
}

impl Debt {
    fn is_of(&self, target: Target<'_>) -> bool {
        self.host == target.host && self.port == target.port && self.tenure == target.tenure
    }
}

fn size(key: &[u8]) -> usize {
    key.len() + KEY_BYTES
}

impl Debts {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is noted; the number of keys follows.
    fn change<R>(&self, work: impl FnOnce(&mut Noted) -> R) -> R {
        let mut noted = self.lock();
        let result = work(&mut noted);
        noted.slots.retain(|_, debt| !debt.keys.is_empty());
        self.count.store(noted.slots.values().map(|debt| debt.keys.len()).sum(), Ordering::Release);
        result
    }

    /// Notes keys that the target may keep; false if they are too many.
    pub fn add(&self, target: Target<'_>, keys: &[Box<[u8]>]) -> bool {
        self.change(|noted| {
            for key in keys {
                let place = (target.db, Key::new(key).slot);
                noted.forget_others(place, target);
                if noted.slots.get(&place).is_some_and(|debt| debt.keys.contains(key)) {
                    continue;
                }
                if noted.bytes + size(key) > BYTES_MAX {
                    return false;
                }
                noted.bytes += size(key);
                let debt = noted.slots.entry(place).or_insert_with(|| Debt {
                    host: target.host.to_owned(),
                    port: target.port,
                    tenure: target.tenure,
                    keys: HashSet::new(),
                });
                debt.keys.insert(key.clone());
            }
            true
        })
    }

    /// What the target may have of these slots; what another one may have of them is nobody's business any more.
    pub fn of(&self, target: Target<'_>, slots: &[SlotId]) -> Vec<Box<[u8]>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.change(|noted| {
            let mut owed = Vec::new();
            for &slot in slots {
                noted.forget_others((target.db, slot), target);
                owed.extend(noted.slots.get(&(target.db, slot)).into_iter().flat_map(|debt| debt.keys.iter().cloned()));
            }
            owed
        })
    }

    /// The target has none of these keys any more.
    pub fn are_paid<'k>(&self, target: Target<'_>, keys: impl IntoIterator<Item = &'k Box<[u8]>>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        self.change(|noted| {
            for key in keys {
                let Some(debt) = noted.slots.get_mut(&(target.db, Key::new(key).slot)) else { continue };
                if debt.is_of(target) && debt.keys.remove(key) {
                    noted.bytes -= size(key);
                }
            }
        });
    }

    /// Whether a target may have a copy of this key, by what is noted in this term.
    pub fn has_key(&self, db: u32, tenure: Option<u64>, key: &Key<'_>) -> bool {
        self.count.load(Ordering::Acquire) > 0 && {
            let noted = self.lock();
            let debt = noted.slots.get(&(db, key.slot)).filter(|debt| debt.tenure == tenure);
            debt.is_some_and(|debt| debt.keys.contains(key.bytes))
        }
    }
}

impl Noted {
    fn forget_others(&mut self, place: (u32, SlotId), target: Target<'_>) {
        if self.slots.get(&place).is_some_and(|debt| !debt.is_of(target))
            && let Some(debt) = self.slots.remove(&place)
        {
            self.bytes -= debt.keys.iter().map(|key| size(key)).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'static> = Target { host: "a", port: 1, db: 0, tenure: Some(7) };

    fn keys(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn slot(name: &str) -> SlotId {
        slots::slot_of(name.as_bytes())
    }

    #[test]
    fn keys_are_owed_until_they_are_paid() {
        let debts = Debts::default();
        assert!(debts.add(TARGET, &keys(&["k{t}", "l{t}", "m"])));
        let has = |name: &str| debts.has_key(0, Some(7), &Key::new(name.as_bytes()));
        assert!(has("k{t}") && has("m") && !has("n{t}"));
        let mut owed = debts.of(TARGET, &[slot("{t}")]);
        owed.sort();
        assert_eq!(owed, keys(&["k{t}", "l{t}"]));
        debts.are_paid(TARGET, &keys(&["k{t}", "n{t}"]));
        assert_eq!(debts.of(TARGET, &[slot("{t}"), slot("m")]).len(), 2);
        debts.are_paid(TARGET, &keys(&["l{t}", "m"]));
        assert!(!has("m") && debts.of(TARGET, &[slot("m")]).is_empty());
        let noted = debts.lock();
        assert_eq!((noted.bytes, noted.slots.len()), (0, 0));
    }

    #[test]
    fn only_the_same_target_in_the_same_term_owes() {
        let others =
            [Target { host: "b", ..TARGET }, Target { port: 2, ..TARGET }, Target { tenure: Some(8), ..TARGET }];
        for other in others {
            let debts = Debts::default();
            debts.add(TARGET, &keys(&["k", "m"]));
            // Another slot's are left alone, and so is another database.
            assert!(debts.of(Target { db: 1, ..TARGET }, &[slot("k")]).is_empty());
            assert!(debts.of(other, &[slot("k")]).is_empty());
            assert!(debts.of(TARGET, &[slot("k")]).is_empty());
            assert_eq!(debts.of(TARGET, &[slot("m")]), keys(&["m"]));
            debts.are_paid(other, &keys(&["m"]));
            assert_eq!(debts.of(TARGET, &[slot("m")]), keys(&["m"]));
        }
        let debts = Debts::default();
        debts.add(TARGET, &keys(&["k"]));
        assert!(!debts.has_key(0, Some(8), &Key::new(b"k")) && !debts.has_key(1, Some(7), &Key::new(b"k")));
    }

    #[test]
    fn so_much_is_noted_and_no_more() {
        let debts = Debts::default();
        let long = |n: u8| vec![n; BYTES_MAX / 4].into_boxed_slice();
        assert!(debts.add(TARGET, &[long(1), long(2), long(3)]));
        assert!(debts.add(TARGET, &[long(1)]));
        assert!(!debts.add(TARGET, &[long(4)]));
        debts.are_paid(TARGET, &[long(2)]);
        assert!(debts.add(TARGET, &[long(4)]));
    }
}

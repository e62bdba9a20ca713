//! Whom to drop when memory is full: keys drawn from all slots and databases, and the best of them kept for next time.
//!
//! Why a pool: the best of five random keys is often a poor choice, the best of the last hundred draws rarely is. This is
//! the approximation of Redis 3.2, with two changes: a draw is uniform over all keys, whatever their slot and database,
//! and a key that was used after it got into the pool is judged anew before it is dropped.
//!
//! ```text
//!   weights: keys up to slot 0 | 1 | 2 | .. --random number--> slot --try-lock--> random key --rank--> pool of 16
//! ```
//! 1. Slots are looked into one at a time, and given back after each look if they were not held before ([`Slots`]).
//! 2. The weights are counts of a moment ago, so they only say how often a slot is looked at, never what is in it.

use crate::clock::{Now, lru_idle_seconds};
use crate::hash;
use crate::random::SplitMix;
use crate::raw::dbslot::DbSlot;
use crate::raw::entry::{EntryRef, Transit};
use crate::raw::lock::{Held, Owner};
use crate::slot::Slot;
use slots::{SLOTS, SlotId};

/// Candidates kept (`MAXMEMORY_EVICTION_POOL_SIZE` of 3.2).
const POOL: usize = 16;
/// Rounds of draws that may end without a candidate, since slots are held by others, before the caller is told so.
const ROUNDS: usize = 32;
/// Draws between two counts of all slots, at least and at most; in between it grows with the number of keys.
const DRAWS_MIN: u64 = 64;
const DRAWS_MAX: u64 = 4096;

/// Which keys may be dropped, and which of them first: `maxmemory-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Only keys with an expiry.
    pub volatile: bool,
    /// Which first.
    pub first: First,
}

/// Which key is dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The one that was not used for longest.
    Idle,
    /// The one that would expire first.
    Due,
    /// Any.
    Any,
}

impl Rule {
    /// How much `entry` deserves to be dropped, or `None` if it may not be: what is not whole yet would be lost for good.
    fn rank(self, entry: EntryRef<'_>, now: Now) -> Option<u64> {
        let expire_at_ms = entry.expire_at_ms();
        if self.volatile && expire_at_ms.is_none() || entry.transit() == Transit::Arriving {
            return None;
        }
        Some(match self.first {
            First::Idle => lru_idle_seconds(entry.lru(), now.lru()).into(),
            First::Due => u64::MAX - u64::try_from(expire_at_ms.unwrap_or(i64::MAX)).unwrap_or(0),
            First::Any => 0,
        })
    }

    fn count(self, keys: &DbSlot) -> usize {
        if self.volatile { keys.expires_len() } else { keys.len() }
    }
}

/// A key that may be dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its slot.
    pub slot: SlotId,
    /// Its database.
    pub db: u32,
    /// The key.
    pub key: Vec<u8>,
    rank: u64,
}

/// Who asks, and how it looks into a slot.
pub trait Slots {
    /// What `work` makes of `slot`, or `None` if the slot cannot be had now.
    fn look<R>(&mut self, slot: SlotId, work: impl FnOnce(&Slot) -> R) -> Option<R>;
}

/// Who holds no slot tries.
impl Slots for Owner<'_, Slot> {
    fn look<R>(&mut self, slot: SlotId, work: impl FnOnce(&Slot) -> R) -> Option<R> {
        self.try_one(slot).map(|held| work(held.slot(slot)))
    }
}

/// A privileged one waits for the slot, whatever else it holds; others see what they hold.
impl Slots for Held<'_, Slot> {
    fn look<R>(&mut self, slot: SlotId, work: impl FnOnce(&Slot) -> R) -> Option<R> {
        (self.has(slot) || self.can_add()).then(|| self.visit(slot, |slot| work(slot)))
    }
}

/// An answer to "whom?".
#[derive(Debug, PartialEq, Eq)]
pub enum Pick {
    /// This one. It was there a moment ago.
    Key(Candidate),
    /// There is nothing that may be dropped.
    Nothing,
    /// There may be something, but its slots are held by others.
    Busy,
}

/// What came of a look into a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// A key went to the pool.
    Offered,
    /// The key that was drawn may not be dropped.
    Barred,
    /// There is no key.
    Empty,
    /// The slot is held by others.
    Busy,
}

/// One thread's means of choosing.
pub struct Evictor {
    random: SplitMix,
    /// What weights and pool are for.
    rule: Option<Rule>,
    weights: Weights,
    pool: Pool,
}

impl Evictor {
    /// Whose choices follow from `seed`.
    pub fn new(seed: u64) -> Evictor {
        Evictor { random: SplitMix::new(seed), rule: None, weights: Weights::default(), pool: Pool::default() }
    }

    /// Whom to drop, after looking at `samples` more keys.
    pub fn pick(&mut self, slots: &mut impl Slots, rule: Rule, samples: usize, now: Now) -> Pick {
        if self.rule != Some(rule) {
            (self.rule, self.weights, self.pool) = (Some(rule), Weights::default(), Pool::default());
        }
        let samples = if rule.first == First::Any { 1 } else { samples };
        let (mut busy, mut barred) = (false, false);
        for _ in 0..ROUNDS {
            for _ in 0..samples {
                let Some(slot) = self.weights.draw(slots, rule, &mut self.random) else {
                    return if self.weights.busy { Pick::Busy } else { Pick::Nothing };
                };
                match self.look(slots, rule, slot, now) {
                    Look::Busy => busy = true,
                    Look::Barred => barred = true,
                    Look::Offered | Look::Empty => {}
                }
            }
            if let Some(candidate) = self.best(slots, rule, now) {
                return Pick::Key(candidate);
            }
        }
        // What may not be dropped is nothing to wait for.
        if barred && !busy { Pick::Nothing } else { Pick::Busy }
    }

    /// Offers a random key of `slot` to the pool.
    fn look(&mut self, slots: &mut impl Slots, rule: Rule, slot: SlotId, now: Now) -> Look {
        let Evictor { random, pool, .. } = self;
        let looked = slots.look(slot, |held| {
            let total = held.dbs().map(|(_, keys)| rule.count(keys)).sum();
            let mut at = random.below(total);
            for (db, keys) in held.dbs() {
                let count = rule.count(keys);
                if at < count {
                    let random = || random.next();
                    let entry = if rule.volatile { keys.random_expiring(random) } else { keys.random(random) };
                    let Some((entry, rank)) = entry.and_then(|entry| Some((entry, rule.rank(entry, now)?))) else {
                        return Look::Barred;
                    };
                    pool.offer(slot, db, entry.key(), rank);
                    return Look::Offered;
                }
                at -= count;
            }
            Look::Empty
        });
        let looked = looked.unwrap_or(Look::Busy);
        if looked == Look::Empty {
            // What is known of the slots is too old.
            self.weights.draws_left = 0;
        }
        looked
    }

    /// Takes the best of the pool that still is as good as it was.
    fn best(&mut self, slots: &mut impl Slots, rule: Rule, now: Now) -> Option<Candidate> {
        while let Some(candidate) = self.pool.0.pop() {
            let rank = slots.look(candidate.slot, |held| {
                let keys = held.db(candidate.db)?;
                rule.rank(keys.find(hash::fast(&candidate.key), &candidate.key)?, now)
            });
            match rank.flatten() {
                Some(rank) if rank >= candidate.rank => return Some(candidate),
                Some(rank) => self.pool.offer(candidate.slot, candidate.db, &candidate.key, rank),
                None => {}
            }
        }
        None
    }
}

/// Candidates, the best last.
#[derive(Default)]
struct Pool(Vec<Candidate>);

impl Pool {
    fn offer(&mut self, slot: SlotId, db: u32, key: &[u8], rank: u64) {
        if self.0.iter().any(|known| known.slot == slot && known.db == db && known.key == key) {
            return;
        }
        let mut at = self.0.partition_point(|known| known.rank < rank);
        if self.0.len() == POOL {
            if at == 0 {
                return;
            }
            self.0.remove(0);
            at -= 1;
        }
        self.0.insert(at, Candidate { slot, db, key: key.to_vec(), rank });
    }
}

/// How many keys there are up to each slot.
#[derive(Default)]
struct Weights {
    up_to: Vec<u64>,
    draws_left: u64,
    /// Some slot was held by others when it was counted.
    busy: bool,
}

impl Weights {
    /// A slot, each as likely as it has keys; `None` if no key is known anywhere.
    fn draw(&mut self, slots: &mut impl Slots, rule: Rule, random: &mut SplitMix) -> Option<SlotId> {
        if self.draws_left == 0 {
            self.count(slots, rule);
        }
        self.draws_left -= 1;
        let total = self.up_to.last().copied().unwrap_or(0);
        if total == 0 {
            self.draws_left = 0;
        }
        let at = random.below(total as usize) as u64;
        (total > 0).then(|| SlotId::new(self.up_to.partition_point(|&up_to| up_to <= at)))?
    }

    fn count(&mut self, slots: &mut impl Slots, rule: Rule) {
        let before = std::mem::take(&mut self.up_to);
        let mut total = 0;
        self.busy = false;
        self.up_to.reserve_exact(SLOTS);
        for slot in SlotId::all() {
            let counted = slots.look(slot, |held| held.dbs().map(|(_, keys)| rule.count(keys) as u64).sum());
            total += match counted {
                Some(count) => count,
                None => {
                    self.busy = true;
                    let up_to = |at: usize| before.get(at).copied().unwrap_or(0);
                    let at = slot.index();
                    up_to(at) - if at == 0 { 0 } else { up_to(at - 1) }
                }
            };
            self.up_to.push(total);
        }
        self.draws_left = (total / 16).clamp(DRAWS_MIN, DRAWS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Key, Keyspace, Local, SetExpire};
    use crate::raw::lock::SlotLocks;
    use crate::records::Records;
    use std::collections::BTreeMap;

    const LRU: Rule = Rule { volatile: false, first: First::Idle };

    struct World {
        locks: SlotLocks<Slot>,
        local: Local,
        evictor: Evictor,
    }

    impl World {
        fn new() -> World {
            World { locks: SlotLocks::new(SLOTS, Slot::default), local: Local::default(), evictor: Evictor::new(7) }
        }

        fn with<R>(
            &mut self,
            db: u32,
            key: &str,
            second: i64,
            work: impl FnOnce(&mut Keyspace<'_, '_>, &Key<'_>) -> R,
        ) -> R {
            let key = Key::new(key.as_bytes());
            let mut owner = self.locks.register().expect("nobody is alone");
            let mut held = owner.try_one(key.slot).expect("free");
            work(&mut Keyspace::new(&mut held, &mut self.local, db, Now { ms: second * 1000 }), &key)
        }

        fn set(&mut self, db: u32, key: &str, second: i64, expire_at_ms: Option<i64>) {
            let expire = expire_at_ms.map_or(SetExpire::Clear, SetExpire::At);
            self.with(db, key, second, |keys, key| keys.put_text(key, b"value", expire));
        }

        fn pick(&mut self, rule: Rule, samples: usize, second: i64) -> Pick {
            let mut owner = self.locks.register().expect("nobody is alone");
            self.evictor.pick(&mut owner, rule, samples, Now { ms: second * 1000 })
        }

        /// Drops a key and returns it.
        fn evict(&mut self, rule: Rule, samples: usize, second: i64) -> Option<(u32, String)> {
            let Pick::Key(candidate) = self.pick(rule, samples, second) else { return None };
            let key = String::from_utf8(candidate.key).expect("text");
            assert!(self.with(candidate.db, &key, second, |keys, key| keys.evict(key)));
            Some((candidate.db, key))
        }
    }

    #[test]
    fn the_least_recently_used_half_goes_first() {
        const KEYS: i64 = 10_000;
        let mut world = World::new();
        (0..KEYS).for_each(|n| world.set(0, &format!("key:{n}"), n, None));
        let evicted: Vec<i64> = (0..KEYS / 2)
            .map(|_| world.evict(LRU, 5, KEYS).expect("there are keys").1[4..].parse().expect("a number"))
            .collect();
        // A model of 3.2's pool with five samples gives 4573 to 4591 of 5000; tables are seeded at random, so it varies.
        let old = evicted.iter().filter(|&&n| n < KEYS / 2).count();
        assert!(old > 4500, "{old} of {} are of the older half", evicted.len());
    }

    #[test]
    fn a_key_that_was_used_since_it_was_looked_at_is_judged_anew() {
        let mut world = World::new();
        (0..10).for_each(|n| world.set(0, &format!("key:{n}"), n, None));
        // After so many samples the pool knows all of them.
        assert_eq!(world.evict(LRU, 200, 100), Some((0, "key:0".into())));
        (1..9).for_each(|n| world.set(0, &format!("key:{n}"), 200, None));
        assert_eq!(world.evict(LRU, 1, 200), Some((0, "key:9".into())));
    }

    #[test]
    fn every_key_is_as_likely_whatever_its_slot_and_database() {
        let mut world = World::new();
        (0..40).for_each(|n| world.set(0, &format!("{{tag}}{n}"), 0, None));
        (0..40).for_each(|n| world.set(3, &format!("{{tag}}{n}"), 0, None));
        (0..20).for_each(|n| world.set(7, &format!("alone:{n}"), 0, None));
        let rule = Rule { volatile: false, first: First::Any };
        let mut drawn = BTreeMap::new();
        for _ in 0..20_000 {
            let Pick::Key(candidate) = world.pick(rule, 5, 0) else { panic!("there are keys") };
            *drawn.entry((candidate.db, candidate.key)).or_insert(0) += 1;
        }
        assert_eq!(drawn.len(), 100);
        assert!(drawn.values().all(|&n| (100..320).contains(&n)), "{drawn:?}");
    }

    #[test]
    fn only_keys_with_an_expiry_go_and_the_next_due_first() {
        let mut world = World::new();
        (0..100).for_each(|n| world.set(0, &format!("stays:{n}"), 0, None));
        (0..8).for_each(|n| world.set(n, &format!("goes:{n}"), 0, Some(1_000_000 + i64::from(n))));
        let rule = Rule { volatile: true, first: First::Due };
        for n in 0..8 {
            assert_eq!(world.evict(rule, 200, 0), Some((n, format!("goes:{n}"))));
        }
        assert_eq!(world.pick(rule, 5, 0), Pick::Nothing);
    }

    #[test]
    fn keys_that_arrive_stay() {
        let mut world = World::new();
        (0..4).for_each(|n| world.set(0, &format!("arrives:{n}"), n, Some(1_000_000)));
        for n in 0..4 {
            assert!(world.with(0, &format!("arrives:{n}"), 0, |keys, key| keys.set_transit(key, Transit::Arriving)));
        }
        let volatile = Rule { volatile: true, first: First::Due };
        assert_eq!(world.pick(LRU, 5, 100), Pick::Nothing);
        assert_eq!(world.pick(volatile, 5, 100), Pick::Nothing);
        world.set(0, "stays", 50, Some(2_000_000));
        assert_eq!(world.evict(volatile, 200, 100), Some((0, "stays".into())));
    }

    #[test]
    fn slots_that_others_hold_are_no_emptiness() {
        let mut world = World::new();
        world.set(0, "key", 0, None);
        let mut other = world.locks.register().expect("nobody is alone");
        let held = other.try_one(Key::new(b"key").slot).expect("free");
        let mut owner = world.locks.register().expect("nobody is alone");
        assert_eq!(world.evictor.pick(&mut owner, LRU, 5, Now::default()), Pick::Busy);
        drop(held);
        assert!(matches!(world.evictor.pick(&mut owner, LRU, 5, Now::default()), Pick::Key(_)));
    }

    #[test]
    fn the_privileged_may_ask_with_slots_in_hand() {
        let mut world = World::new();
        (0..100).for_each(|n| world.set(0, &format!("key:{n}"), n, None));
        let mut owner = world.locks.register().expect("nobody is alone");
        let mut held = owner.try_privileged().expect("nobody else");
        held.add(Key::new(b"key:7").slot);
        assert!(matches!(world.evictor.pick(&mut held, LRU, 5, Now { ms: 100_000 }), Pick::Key(_)));
        let mut other = world.locks.register().expect("nobody is alone");
        let free = SlotId::all().filter(|&slot| other.try_one(slot).is_some()).count();
        assert_eq!(free, SLOTS - 1, "what was looked at is given back");
    }

    #[test]
    fn an_eviction_is_logged_counted_and_told() {
        let mut world = World::new();
        world.local.effects.logging = true;
        world.local.effects.wanted = u32::MAX;
        world.set(2, "key", 0, None);
        world.local.effects.reset();
        assert_eq!(world.evict(LRU, 5, 0), Some((2, "key".into())));
        let mut log = Records::default();
        world.local.effects.records([].into_iter(), &mut log);
        assert_eq!(log.bytes(), b"*2\r\n$3\r\nDEL\r\n$3\r\nkey\r\n");
        assert_eq!(world.local.effects.notices()[0].event, "evicted");
        assert_eq!(world.local.stats.evicted, 1);
    }
}

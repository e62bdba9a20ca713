//! Keys on their way to or from another server: marked in their entries, so that a change of what was sent is never
//! overlooked, whoever makes it.
//!
//! ```text
//! Settled --leave--> Leaving --any change--> Stale          both: --settle--> Settled
//!                       |                      '-- what was sent is worth nothing: send again, or keep the key
//!                       '--remove_left--> gone
//! ```
//! A key that is removed and made again while it leaves is a new entry, which is not marked: as good as changed.

use super::{Key, Keyspace};
use crate::raw::entry::{Kind, Transit};
use slots::SlotId;

impl Keyspace<'_, '_> {
    /// Where `key` is between servers, `None` if it is not there or has expired.
    pub fn transit(&mut self, key: &Key<'_>) -> Option<Transit> {
        self.reach(key.slot);
        self.at(key).map(|entry| entry.transit())
    }

    /// Whether `key` is being sent to another server, even if it has expired.
    pub fn is_leaving(&mut self, key: &Key<'_>) -> bool {
        self.reach(key.slot);
        let entry = self.held.slot(key.slot).db(self.db).and_then(|db| db.find(key.hash, key.bytes));
        entry.is_some_and(|entry| matches!(entry.transit(), Transit::Leaving | Transit::Stale))
    }

    /// Marks `key`, which is no change of it; false if it is not there.
    pub fn set_transit(&mut self, key: &Key<'_>, transit: Transit) -> bool {
        self.reach(key.slot);
        let db = self.db;
        let slot = self.held.slot_mut(key.slot);
        if slot.db(db).is_none() {
            return false;
        }
        let Some(mut cell) = slot.db_mut(db).find_mut(key.hash, key.bytes) else { return false };
        if cell.view().transit() != transit {
            cell.in_place(|entry| entry.set_transit(transit));
        }
        true
    }

    /// Marks `key` as leaving; false if it is not there, or moving already.
    pub fn leave(&mut self, key: &Key<'_>) -> bool {
        !self.expire_if_due(key)
            && self.transit(key) == Some(Transit::Settled)
            && self.set_transit(key, Transit::Leaving)
    }

    /// Marks `key` as leaving and as unchanged since, whatever it was before; false if it is not there, or arriving: then it
    /// is another one than that which was to leave.
    pub fn leave_again(&mut self, key: &Key<'_>) -> bool {
        !self.expire_if_due(key)
            && self.transit(key).is_some_and(|transit| transit != Transit::Arriving)
            && self.set_transit(key, Transit::Leaving)
    }

    /// Takes the mark of a key back that was to leave, and has not: another one of its name may be arriving by now.
    pub fn stay(&mut self, key: &Key<'_>) {
        if self.transit(key).is_some_and(|transit| transit != Transit::Arriving) {
            self.settle(key);
        }
    }

    /// Takes the mark of a key back.
    pub fn settle(&mut self, key: &Key<'_>) {
        self.set_transit(key, Transit::Settled);
    }

    /// Looks at up to `max` entries from the place `from` on (0 at first) and marks settled keys of a tag group among them as
    /// leaving, which it adds to `keys`. Returns the place to go on from, `None` at the end. One who comes to a place that
    /// was passed, also because its value changes, is missed: so a walk that finds some is to be followed by another. Members past their expiry are removed, and left out
    /// where that is the primary's business.
    pub fn leave_tag(
        &mut self,
        slot: SlotId,
        (crc, from): (u32, u64),
        max: usize,
        keys: &mut Vec<Box<[u8]>>,
    ) -> Option<u64> {
        let mut found: Vec<Box<[u8]>> = Vec::new();
        let (now_ms, hides) = (self.now.ms, self.local.is_replica && !self.local.is_from_primary);
        let next = self.slot_keys(slot).and_then(|db| {
            db.some_of_tag(crc, from, max, |entry| {
                let stays = hides && entry.expire_at_ms().is_some_and(|at| now_ms > at);
                if entry.transit() == Transit::Settled && !stays {
                    found.push(entry.key().into());
                }
            })
        });
        for key in found {
            if self.leave(&Key::new(&key)) {
                keys.push(key);
            }
        }
        next
    }

    /// Removes `key`, expired or not; true if it was there.
    pub fn remove_any(&mut self, key: &Key<'_>) -> bool {
        self.reach(key.slot);
        self.unlink(key)
    }

    /// Lets nobody be served from a list that was just made, because it is not whole.
    pub fn hush_list(&mut self, key: &Key<'_>) {
        let db = self.db;
        self.local.ready.retain(|ready| ready.db != db || *ready.key != *key.bytes);
    }

    /// A list is whole: whoever waits for it will be served.
    pub fn announce_list(&mut self, key: &Key<'_>) {
        self.reach(key.slot);
        if self.at(key).is_some_and(|entry| entry.kind() == Kind::List) {
            self.list_appeared(key);
        }
    }

    /// Removes `key` if it is still as it was marked; false if it has changed or is gone.
    pub fn remove_left(&mut self, key: &Key<'_>) -> bool {
        self.reach(key.slot);
        let left = self.held.slot(key.slot).db(self.db).and_then(|db| db.find(key.hash, key.bytes));
        left.is_some_and(|entry| entry.transit() == Transit::Leaving) && self.unlink(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::keyspace::{Local, SetExpire};
    use crate::raw::lock::SlotLocks;
    use crate::slot::Slot;
    use slots::SLOTS;

    #[test]
    fn a_group_with_many_expired_members_comes_to_its_end() {
        for is_replica in [false, true] {
            let locks = SlotLocks::new(SLOTS, Slot::default);
            let mut local = Local::default();
            let slot = Key::new(b"{tag}").slot;
            let mut owner = locks.register().expect("nobody is alone");
            let mut held = owner.try_one(slot).expect("free");
            let mut keys = Keyspace::new(&mut held, &mut local, 0, Now { ms: 0 });
            for n in 0..1000 {
                let (name, expire) =
                    (format!("{{tag}}{n}"), if n % 10 == 0 { SetExpire::Clear } else { SetExpire::At(1) });
                keys.put_text(&Key::new(name.as_bytes()), b"value", expire);
            }
            local.is_replica = is_replica;
            let mut keys = Keyspace::new(&mut held, &mut local, 0, Now { ms: 2 });
            let crc = slots::tag_crc(b"{tag}").expect("a tag");
            let (mut left, mut at, mut steps) = (Vec::new(), Some(0), 0);
            while let Some(from) = at {
                let before = left.len();
                at = keys.leave_tag(slot, (crc, from), 16, &mut left);
                assert!(left.len() <= before + 16, "a step is too long");
                steps += 1;
            }
            // Each entry was looked at once.
            assert_eq!((left.len(), steps), (100, 63));
            // Another walk, which begins anew, finds nothing and looks at no more at a time.
            at = keys.leave_tag(slot, (crc, 0), 16, &mut left);
            assert_eq!((left.len(), at.is_some()), (100, true));
        }
    }
}

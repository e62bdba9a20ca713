//! The locks of the 1024 slots, and what they protect.
//!
//! Why: any thread executes any command under the locks of the slots of its keys. A lock is one word: taken by compare
//! and swap, given back by a plain store. Nobody waits in a lock: who cannot have all it needs gives everything back
//! and comes again, but for the one holder of the transaction mutex, which may keep what it has and wait for more.
//!
//! 1. `T` of slot s is touched only by whoever holds s.
//! 2. Without the mutex, locks are taken in ascending order, all or none: no deadlock, since everyone can give up. One
//!    more may be tried for at any time ([`Held::try_add`]), which gives up as well.
//! 3. The mutex is only tried for while holding no slot: its holder's waits all end, since everyone else gives up or
//!    finishes.
//! 4. A *guest* is an owner that others may keep from a processor for long while it holds a slot. Who gave up on a slot of
//!    its and then tried once more after [`SlotLocks::want`] is told when it gives one back, and may sleep until then: to
//!    come again and again would keep the processor from the guest.
//! 5. While an owner is *alone* (it is the only one registered) its locking touches no lock word at all. It stops
//!    being alone, holding nothing, before anybody else can register: one word counts owners and says so.

use super::sync::{AtomicU32, AtomicU64, Ordering, UnsafeCell, fence, spin_loop};
use slots::{SLOTS, SlotId, SlotSet};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Tries at a held lock before an abortable acquisition gives up: about two microseconds.
#[cfg(not(loom))]
const SPINS: u32 = 64;
#[cfg(loom)]
const SPINS: u32 = 1;

/// Flag beside the number of owners.
const ALONE: u32 = 1 << 31;
/// Flag in the ids of guests.
const GUEST: u32 = 1 << 31;

#[repr(align(64))]
struct Guarded<T> {
    /// 0, or the id of the owner that holds the slot.
    lock: AtomicU32,
    value: UnsafeCell<T>,
}

/// A value for each slot behind the slot's lock.
pub struct SlotLocks<T> {
    slots: Box<[Guarded<T>]>,
    /// The transaction mutex: 0, or the id of the privileged owner.
    mutex: AtomicU32,
    /// Number of owners; with [`ALONE`] set it is 1 and stays 1.
    owners: AtomicU32,
    next_id: AtomicU32,
    /// Who wants to be told when a guest gives back what it held, a bit each.
    wanted: AtomicU64,
    /// Tells them.
    herald: OnceLock<Herald>,
}

/// Gets the bits of those who are to be told; called by a guest's thread when that holds nothing.
pub type Herald = Box<dyn Fn(u64) + Send + Sync>;

// SAFETY: a `T` is only reachable through the lock of its slot, which orders accesses (acquire, release).
unsafe impl<T: Send> Sync for SlotLocks<T> {}
// SAFETY: as any container of `T`.
unsafe impl<T: Send> Send for SlotLocks<T> {}

/// One thread's right to take locks. Not `Sync` and not `Clone`: locks of one owner belong to one thread.
pub struct Owner<'l, T> {
    locks: &'l SlotLocks<T>,
    id: u32,
    alone: bool,
    met_guest: bool,
    _not_sync: PhantomData<std::cell::Cell<()>>,
}

/// Slots held; gives them back when dropped. Borrows its owner exclusively, so that nobody takes a lock twice.
pub struct Held<'o, T> {
    locks: &'o SlotLocks<T>,
    id: u32,
    which: Which,
}

enum Which {
    One(SlotId),
    Many(SlotSet),
    /// The owner is alone: everything, without a touched lock word.
    Alone,
    /// Holds the mutex too.
    Privileged(SlotSet),
}

impl<T> SlotLocks<T> {
    /// Locks over `slots` values (1024 but in models), each made by `value`.
    pub fn new(slots: usize, mut value: impl FnMut() -> T) -> Self {
        assert!(slots <= SLOTS);
        let guarded = |_| Guarded { lock: AtomicU32::new(0), value: UnsafeCell::new(value()) };
        SlotLocks {
            slots: (0..slots).map(guarded).collect(),
            mutex: AtomicU32::new(0),
            owners: AtomicU32::new(0),
            next_id: AtomicU32::new(1),
            wanted: AtomicU64::new(0),
            herald: OnceLock::new(),
        }
    }

    /// A new owner, for one thread; `None` while another owner is alone.
    pub fn register(&self) -> Option<Owner<'_, T>> {
        let one_more = |owners| (owners & ALONE == 0).then_some(owners + 1);
        self.owners.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) & !GUEST;
        Some(Owner { locks: self, id, alone: false, met_guest: false, _not_sync: PhantomData })
    }

    /// As [`SlotLocks::register`], a guest: see invariant 4.
    pub fn register_guest(&self) -> Option<Owner<'_, T>> {
        let mut owner = self.register()?;
        owner.id |= GUEST;
        Some(owner)
    }

    /// How those are told who want to know when a guest gives something back. The first one stays.
    pub fn tell_by(&self, herald: Herald) {
        let _ = self.herald.set(herald);
    }

    /// Number `who` (below 64) wants to be told, once, when a guest gives back what it holds. Who then tries once more, and
    /// again finds a guest there, misses nothing.
    pub fn want(&self, who: usize) {
        self.wanted.fetch_or(1 << who, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether number `who` has not been told yet.
    pub fn is_untold(&self, who: usize) -> bool {
        self.wanted.load(Ordering::SeqCst) & 1 << who != 0
    }

    /// A guest has given back what it held.
    fn tell(&self) {
        // Either we see who wants to know, or its next try sees the slot free.
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::SeqCst) != 0 {
            let who = self.wanted.swap(0, Ordering::SeqCst);
            if let Some(herald) = self.herald.get() {
                herald(who);
            }
        }
    }

    fn guarded(&self, slot: SlotId) -> &Guarded<T> {
        &self.slots[slot.index()]
    }

    fn try_lock(&self, slot: SlotId, id: u32) -> bool {
        let lock = &self.guarded(slot).lock;
        lock.load(Ordering::Relaxed) == 0 && lock.compare_exchange(0, id, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn spin_lock(&self, slot: SlotId, id: u32) -> bool {
        (0..SPINS).any(|_| {
            let got = self.try_lock(slot, id);
            if !got {
                spin_loop();
            }
            got
        })
    }

    #[cold]
    fn is_with_guest(&self, slot: SlotId) -> bool {
        self.guarded(slot).lock.load(Ordering::Relaxed) & GUEST != 0
    }

    fn unlock(&self, slot: SlotId) {
        self.guarded(slot).lock.store(0, Ordering::Release);
    }

    /// Starts loading a slot's line for writing.
    #[inline]
    pub fn prefetch(&self, slot: SlotId) {
        super::prefetch::read(self.guarded(slot));
    }
}

impl<'l, T> Owner<'l, T> {
    /// The id that stands in the locks this owner holds.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it was a guest that kept it from what it tried for last and did not get; asking forgets it.
    pub fn met_guest(&mut self) -> bool {
        std::mem::take(&mut self.met_guest)
    }

    /// Becomes alone if no other owner is registered: from then on locks cost nothing, and nobody can register.
    pub fn go_alone(&mut self) -> bool {
        let go = || self.locks.owners.compare_exchange(1, 1 | ALONE, Ordering::Acquire, Ordering::Relaxed);
        self.alone = self.alone || go().is_ok();
        self.alone
    }

    /// Lets others register again.
    pub fn end_alone(&mut self) {
        if std::mem::take(&mut self.alone) {
            self.locks.owners.store(1, Ordering::Release);
        }
    }

    /// The lock of one slot, or `None` if somebody keeps holding it.
    #[inline]
    pub fn try_one(&mut self, slot: SlotId) -> Option<Held<'_, T>> {
        let which = if self.alone {
            Which::Alone
        } else if self.locks.spin_lock(slot, self.id) {
            Which::One(slot)
        } else {
            self.met_guest = self.locks.is_with_guest(slot);
            return None;
        };
        Some(Held { locks: self.locks, id: self.id, which })
    }

    /// The lock of one slot, waiting for it: for threads other than reactors, which hold nothing meanwhile.
    pub fn wait_one(&mut self, slot: SlotId) -> Held<'_, T> {
        if self.alone {
            return Held { locks: self.locks, id: self.id, which: Which::Alone };
        }
        while !self.locks.try_lock(slot, self.id) {
            wait();
        }
        Held { locks: self.locks, id: self.id, which: Which::One(slot) }
    }

    /// The transaction mutex and no slot yet, waiting for it: as [`Owner::wait_one`].
    pub fn wait_privileged(&mut self) -> Held<'_, T> {
        let which = if self.alone {
            Which::Alone
        } else {
            while self.locks.mutex.compare_exchange(0, self.id, Ordering::Acquire, Ordering::Relaxed).is_err() {
                wait();
            }
            Which::Privileged(SlotSet::default())
        };
        Held { locks: self.locks, id: self.id, which }
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.locks.slots.len()
    }

    /// All locks of `set`, or none.
    pub fn try_all(&mut self, set: &SlotSet) -> Option<Held<'_, T>> {
        if self.alone {
            return Some(Held { locks: self.locks, id: self.id, which: Which::Alone });
        }
        let mut held = Held { locks: self.locks, id: self.id, which: Which::Many(SlotSet::default()) };
        for slot in set.iter() {
            if !self.locks.spin_lock(slot, self.id) {
                self.met_guest = self.locks.is_with_guest(slot);
                return None;
            }
            if let Which::Many(got) = &mut held.which {
                got.insert(slot);
            }
        }
        Some(held)
    }

    /// No slot at all, for what touches none.
    pub fn nothing(&mut self) -> Held<'_, T> {
        let which = if self.alone { Which::Alone } else { Which::Many(SlotSet::default()) };
        Held { locks: self.locks, id: self.id, which }
    }

    /// The transaction mutex and no slot yet, or `None` while another owner has it.
    pub fn try_privileged(&mut self) -> Option<Held<'_, T>> {
        let which = if self.alone {
            Which::Alone
        } else {
            let free = self.locks.mutex.compare_exchange(0, self.id, Ordering::Acquire, Ordering::Relaxed);
            if let Err(holder) = free {
                self.met_guest = holder & GUEST != 0;
                return None;
            }
            Which::Privileged(SlotSet::default())
        };
        Some(Held { locks: self.locks, id: self.id, which })
    }
}

impl<T> Drop for Owner<'_, T> {
    fn drop(&mut self) {
        self.end_alone();
        self.locks.owners.fetch_sub(1, Ordering::Release);
    }
}

impl<T> Held<'_, T> {
    /// Number of slots, held or not.
    pub fn slots(&self) -> usize {
        self.locks.slots.len()
    }

    /// Whether `slot` is held.
    #[inline]
    pub fn has(&self, slot: SlotId) -> bool {
        match &self.which {
            Which::One(held) => *held == slot,
            Which::Many(set) | Which::Privileged(set) => set.contains(slot),
            Which::Alone => true,
        }
    }

    /// Whether more slots can be had while keeping these.
    pub fn can_add(&self) -> bool {
        matches!(self.which, Which::Privileged(_) | Which::Alone)
    }

    /// Makes sure that `slot` is held, waiting for it. Only the privileged may ([`Held::can_add`]).
    pub fn add(&mut self, slot: SlotId) {
        if self.has(slot) {
            return;
        }
        let Which::Privileged(set) = &mut self.which else { panic!("only the privileged owner may wait for a slot") };
        while !self.locks.try_lock(slot, self.id) {
            wait();
        }
        set.insert(slot);
    }

    /// Tries to hold `slot` as well, in any order: it gives up soon when somebody else holds it, so it makes no circle of
    /// waits.
    pub fn try_add(&mut self, slot: SlotId) -> bool {
        if self.has(slot) || self.can_add() {
            self.add(slot);
            return true;
        }
        if !self.locks.spin_lock(slot, self.id) {
            return false;
        }
        match &mut self.which {
            Which::One(first) => self.which = Which::Many([*first, slot].into_iter().collect()),
            Which::Many(set) | Which::Privileged(set) => {
                set.insert(slot);
            }
            Which::Alone => {}
        }
        true
    }

    /// Makes sure that every slot is held.
    pub fn add_all(&mut self) {
        if !matches!(self.which, Which::Alone) {
            for slot in SlotId::all().take(self.locks.slots.len()) {
                self.add(slot);
            }
        }
    }

    /// Runs `work` on one slot and gives a slot that was not held before back at once, so that a walk over many slots
    /// holds up nobody for long. Of slots that are not held only the privileged may see any ([`Held::can_add`]).
    pub fn visit<R>(&mut self, slot: SlotId, work: impl FnOnce(&mut T) -> R) -> R {
        if self.has(slot) {
            return work(self.slot_mut(slot));
        }
        self.add(slot);
        let result = work(self.slot_mut(slot));
        if let Which::Privileged(set) = &mut self.which {
            set.remove(slot);
            self.locks.unlock(slot);
        }
        result
    }

    /// The value of a held slot.
    #[inline]
    pub fn slot(&self, slot: SlotId) -> &T {
        assert!(self.has(slot), "slot {slot} is not held");
        // SAFETY: we hold the slot, and our borrow makes other shared borrows the only ones.
        unsafe { self.locks.guarded(slot).value.as_ref() }
    }

    /// The value of a held slot, to change.
    #[inline]
    pub fn slot_mut(&mut self, slot: SlotId) -> &mut T {
        assert!(self.has(slot), "slot {slot} is not held");
        // SAFETY: we hold the slot, and our exclusive borrow is the only way to it.
        unsafe { self.locks.guarded(slot).value.as_mut() }
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        match &self.which {
            Which::Alone => {}
            Which::One(slot) => self.locks.unlock(*slot),
            Which::Many(set) => set.iter().for_each(|slot| self.locks.unlock(slot)),
            Which::Privileged(set) => {
                set.iter().for_each(|slot| self.locks.unlock(slot));
                self.locks.mutex.store(0, Ordering::Release);
            }
        }
        if self.id & GUEST != 0 {
            self.locks.tell();
        }
    }
}

/// One turn of the privileged owner's wait.
fn wait() {
    #[cfg(not(loom))]
    {
        for _ in 0..SPINS {
            spin_loop();
        }
        std::thread::yield_now();
    }
    #[cfg(loom)]
    loom::thread::yield_now();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn set(slots: &[u16]) -> SlotSet {
        let mut set = SlotSet::default();
        for &slot in slots {
            set.insert(SlotId::new(slot.into()).expect("below 1024"));
        }
        set
    }

    #[test]
    fn all_or_none() {
        let locks = SlotLocks::new(SLOTS, || 0u64);
        let mut a = locks.register().expect("nobody is alone");
        let mut b = locks.register().expect("nobody is alone");
        let held = a.try_all(&set(&[3, 900])).expect("free");
        assert!(b.try_all(&set(&[1, 3])).is_none());
        // What was taken on the way is given back.
        assert!(b.try_one(SlotId::new(1).expect("valid")).is_some());
        drop(held);
        assert!(b.try_all(&set(&[1, 3])).is_some());
    }

    #[test]
    fn the_privileged_adds_slots_in_any_order() {
        let locks = SlotLocks::new(SLOTS, || 0u64);
        let mut a = locks.register().expect("nobody is alone");
        let mut b = locks.register().expect("nobody is alone");
        let mut held = a.try_privileged().expect("free");
        for slot in [900, 3, 500] {
            let slot = SlotId::new(slot).expect("valid");
            held.add(slot);
            *held.slot_mut(slot) += 1;
        }
        assert!(b.try_privileged().is_none());
        assert!(b.try_one(SlotId::new(3).expect("valid")).is_none());
        drop(held);
        assert!(b.try_privileged().is_some());
    }

    #[test]
    fn one_more_slot_is_had_in_any_order_or_not_at_all() {
        let locks = SlotLocks::new(SLOTS, || 0u64);
        let mut a = locks.register().expect("nobody is alone");
        let mut b = locks.register().expect("nobody is alone");
        let slot = |n| SlotId::new(n).expect("valid");
        let other = b.try_one(slot(3)).expect("free");
        let mut held = a.try_one(slot(7)).expect("free");
        assert!(!held.try_add(slot(3)) && held.has(slot(7)) && !held.has(slot(3)));
        drop(other);
        assert!(held.try_add(slot(3)) && held.try_add(slot(7)) && held.try_add(slot(1)));
        assert!(b.try_one(slot(1)).is_none());
        drop(held);
        assert!(b.try_all(&set(&[1, 3, 7])).is_some());
    }

    #[test]
    fn a_visit_gives_back_only_what_it_took() {
        let locks = SlotLocks::new(SLOTS, || 0u64);
        let mut a = locks.register().expect("nobody is alone");
        let mut b = locks.register().expect("nobody is alone");
        let slot = |n| SlotId::new(n).expect("valid");
        let mut held = a.try_privileged().expect("free");
        held.add(slot(7));
        for n in [7, 8] {
            held.visit(slot(n), |value| *value += 1);
        }
        assert!(held.has(slot(7)) && !held.has(slot(8)));
        assert!(b.try_one(slot(7)).is_none());
        assert_eq!(*b.try_one(slot(8)).expect("given back").slot(slot(8)), 1);
    }

    #[test]
    fn alone_excludes_others_until_it_ends() {
        let locks = SlotLocks::new(SLOTS, || 0u64);
        let mut a = locks.register().expect("nobody is alone");
        assert!(a.go_alone());
        assert!(locks.register().is_none());
        a.end_alone();
        let b = locks.register();
        assert!(b.is_some() && !a.go_alone());
    }

    #[test]
    fn who_waits_for_a_guest_is_told_once() {
        let locks = SlotLocks::new(SLOTS, || 0u64);
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let ears = told.clone();
        locks.tell_by(Box::new(move |who| ears.lock().expect("whole").push(who)));
        let slot = SlotId::new(3).expect("valid");
        let mut guest = locks.register_guest().expect("nobody is alone");
        let mut reactor = locks.register().expect("nobody is alone");
        let mut other = locks.register().expect("nobody is alone");
        {
            let _held = guest.wait_one(slot);
            assert!(reactor.try_one(slot).is_none() && reactor.met_guest() && !reactor.met_guest());
            assert!(reactor.try_all(&set(&[1, 3])).is_none() && reactor.met_guest());
            locks.want(5);
            assert!(locks.is_untold(5) && !locks.is_untold(4));
        }
        assert!(*told.lock().expect("whole") == [1 << 5] && !locks.is_untold(5));
        // Nobody wants to know, or it is no guest that goes.
        drop(guest.wait_one(slot));
        locks.want(5);
        {
            let _held = other.try_one(slot).expect("free");
            assert!(reactor.try_one(slot).is_none() && !reactor.met_guest());
        }
        assert!(locks.is_untold(5));
        {
            let _held = guest.wait_privileged();
            assert!(reactor.try_privileged().is_none() && reactor.met_guest());
        }
        assert_eq!(*told.lock().expect("whole"), [1 << 5; 2]);
    }

    #[test]
    fn threads_lose_no_update() {
        let locks = SlotLocks::new(SLOTS, || 0u64);
        std::thread::scope(|scope| {
            for seed in 0..4u16 {
                let locks = &locks;
                scope.spawn(move || {
                    let mut owner = locks.register().expect("nobody is alone");
                    for i in 0..2_000u16 {
                        let (x, y) = ((i * 7 + seed) % 16, (i * 5) % 16);
                        loop {
                            let held = if i % 64 == 0 { owner.try_privileged() } else { owner.try_all(&set(&[x, y])) };
                            let Some(mut held) = held else { continue };
                            for slot in [x, y] {
                                let slot = SlotId::new(slot.into()).expect("valid");
                                if held.can_add() {
                                    held.add(slot);
                                }
                                *held.slot_mut(slot) += 1;
                            }
                            break;
                        }
                    }
                });
            }
        });
        let mut owner = locks.register().expect("all ended");
        let held = owner.try_all(&set(&(0..16).collect::<Vec<_>>())).expect("free");
        let sum: u64 = (0..16).map(|s| *held.slot(SlotId::new(s).expect("valid"))).sum();
        assert_eq!(sum, 4 * 2_000 * 2);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    fn slot(n: usize) -> SlotId {
        SlotId::new(n).expect("valid")
    }

    fn bump(held: &mut Held<'_, u32>, n: usize) {
        let value = *held.slot(slot(n));
        *held.slot_mut(slot(n)) = value + 1;
    }

    /// Two abortable acquisitions of both slots: no update is lost, and a refused one leaves nothing locked.
    #[test]
    fn loom_abortable_sets_exclude_each_other() {
        loom::model(|| {
            let locks = Arc::new(SlotLocks::new(2, || 0u32));
            let both: SlotSet = [slot(0), slot(1)].into_iter().collect();
            let work = |locks: &SlotLocks<u32>, both: &SlotSet| {
                let mut owner = locks.register().expect("nobody is alone");
                let Some(mut held) = owner.try_all(both) else { return 0 };
                bump(&mut held, 0);
                bump(&mut held, 1);
                1
            };
            let other = {
                let (locks, both) = (locks.clone(), both.clone());
                loom::thread::spawn(move || work(&locks, &both))
            };
            let done = work(&locks, &both) + other.join().expect("no panic");
            let mut owner = locks.register().expect("nobody is alone");
            let held = owner.try_all(&both).expect("everything was given back");
            assert_eq!((*held.slot(slot(0)), *held.slot(slot(1))), (done, done));
        });
    }

    /// MSET(0, 1) against a privileged one that takes 1, then 0: both end, and no update is lost.
    #[test]
    fn loom_the_privileged_waits_without_deadlock() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let locks = Arc::new(SlotLocks::new(2, || 0u32));
            let other = {
                let locks = locks.clone();
                loom::thread::spawn(move || {
                    let mut owner = locks.register().expect("nobody is alone");
                    let both: SlotSet = [slot(0), slot(1)].into_iter().collect();
                    let Some(mut held) = owner.try_all(&both) else { return 0 };
                    bump(&mut held, 0);
                    bump(&mut held, 1);
                    1
                })
            };
            {
                let mut owner = locks.register().expect("nobody is alone");
                let mut held = owner.try_privileged().expect("nobody else asks for it");
                held.add(slot(1));
                bump(&mut held, 1);
                held.add(slot(0));
                bump(&mut held, 0);
            }
            let done = 1 + other.join().expect("no panic");
            let mut owner = locks.register().expect("nobody is alone");
            let mut held = owner.try_privileged().expect("given back");
            held.add_all();
            assert_eq!((*held.slot(slot(0)), *held.slot(slot(1))), (done, done));
        });
    }

    /// Going alone against registering: never both.
    #[test]
    fn loom_alone_and_another_owner_exclude_each_other() {
        loom::model(|| {
            let locks = Arc::new(SlotLocks::new(1, || 0u32));
            let other = {
                let locks = locks.clone();
                loom::thread::spawn(move || {
                    let Some(mut owner) = locks.register() else { return 0 };
                    let Some(mut held) = owner.try_one(slot(0)) else { return 0 };
                    bump(&mut held, 0);
                    1
                })
            };
            let mut mine = 0;
            if let Some(mut owner) = locks.register() {
                owner.go_alone();
                if let Some(mut held) = owner.try_one(slot(0)) {
                    bump(&mut held, 0);
                    mine = 1;
                }
                owner.end_alone();
            }
            let done = mine + other.join().expect("no panic");
            let mut owner = locks.register().expect("nobody is alone");
            assert_eq!(*owner.try_one(slot(0)).expect("free").slot(slot(0)), done);
        });
    }

    /// Who gave up on a guest's slot, wanted to be told, and met the guest once more: it is told.
    #[test]
    fn loom_nobody_sleeps_behind_a_guest_that_is_gone() {
        loom::model(|| {
            let locks = Arc::new(SlotLocks::new(1, || 0u32));
            let told = Arc::new(AtomicU32::new(0));
            let ears = told.clone();
            locks.tell_by(Box::new(move |_| {
                ears.fetch_add(1, Ordering::Relaxed);
            }));
            let guest = {
                let locks = locks.clone();
                loom::thread::spawn(move || {
                    let mut guest = locks.register_guest().expect("nobody is alone");
                    bump(&mut guest.wait_one(slot(0)), 0);
                })
            };
            let mut owner = locks.register().expect("nobody is alone");
            locks.want(0);
            let sleeps = owner.try_one(slot(0)).is_none() && owner.met_guest() && locks.is_untold(0);
            guest.join().expect("no panic");
            assert!(!sleeps || told.load(Ordering::Relaxed) == 1);
        });
    }
}

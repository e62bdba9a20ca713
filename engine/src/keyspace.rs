//! What a command handler may do to keys: look up, insert, change and remove, under the slots that are held.
//!
//! Every way to change an entry goes through here, so that these hold whatever a handler does:
//! 1. A key past its expiry is never seen; a primary removes it (and logs a DEL) when it comes upon it.
//! 2. Before an entry changes in any way, a running snapshot that has not reached it gets its pre-image.
//! 3. Reads never change value memory: they only note the access in the entry's header.

use crate::clock::Now;
use crate::effects::{Effects, class};
use crate::hash;
use crate::interest::{Stake, Waiter};
use crate::oplog::Oplog;
use crate::raw::dbslot::{DbSlot, EntryCell};
use crate::raw::entry::{Body, Collection, Entry, EntryRef, Kind, Transit, Value};
use crate::raw::lock::Held;
use crate::slot::Slot;
use crate::snapshot::{Format, Image, Pressure};
use slots::SlotId;
use std::collections::VecDeque;
use std::sync::Arc;

mod copies;
mod transit;
mod waste;

pub use copies::Copies;
pub use waste::{Garbage, Waste};

/// A key with what is computed from it once.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// [`hash::fast`] of the bytes.
    pub hash: u64,
    /// The slot.
    pub slot: SlotId,
}

impl<'a> Key<'a> {
    /// Computes hash and slot.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: hash::fast(bytes), slot: slots::slot_of(bytes) }
    }
}

/// The value is of another type than the command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
pub struct WrongType;

/// A string value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// A canonical integer.
    Int(i64),
    /// Anything else.
    Bytes(&'a [u8]),
}

impl Text<'_> {
    /// Calls `with` with the string's bytes.
    #[inline]
    pub fn with_bytes<R>(self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Text::Bytes(bytes) => with(bytes),
            Text::Int(n) => {
                let mut digits = Vec::with_capacity(20);
                resp::format_i64(n, &mut digits);
                with(&digits)
            }
        }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        match self {
            Text::Bytes(bytes) => bytes.len(),
            Text::Int(_) => self.with_bytes(<[u8]>::len),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        matches!(self, Text::Bytes([]))
    }
}

#[inline]
fn text_of(entry: EntryRef<'_>) -> Result<Text<'_>, WrongType> {
    match entry.value() {
        Value::Bytes(bytes) => Ok(Text::Bytes(bytes)),
        Value::Int(n) => Ok(Text::Int(n)),
        _ => Err(WrongType),
    }
}

/// Counters of one thread.
#[derive(Default, Debug, Clone)]
pub struct Stats {
    /// Look-ups for reading that found a key.
    pub hits: u64,
    /// Look-ups for reading that did not.
    pub misses: u64,
    /// Keys removed because they had expired.
    pub expired: u64,
    /// Keys removed to make room.
    pub evicted: u64,
}

/// What becomes of a key's expiry when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpire {
    /// It has none from now on.
    Clear,
    /// It stays as it is.
    Keep,
    /// This one, in Unix milliseconds.
    At(i64),
}

/// What a thread of the engine keeps between commands.
#[derive(Default)]
pub struct Local {
    /// Effects of the running command.
    pub effects: Effects,
    /// Counters.
    pub stats: Stats,
    /// What is to be freed by another thread.
    pub garbage: Garbage,
    /// Long texts of the running command, copied before it began.
    pub copies: Copies,
    /// State of the thread's random numbers.
    pub seed: u64,
    /// On a replica keys past their expiry are hidden, not removed: the primary says when.
    pub is_replica: bool,
    /// The running command is the primary's: it sees keys past their expiry, as they were there when the primary ran it.
    pub is_from_primary: bool,
    /// Lists that came into being while somebody waits for them, in that order; whoever runs commands serves these
    /// before it gives the slots back.
    pub ready: VecDeque<Ready>,
}

/// A list that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The database.
    pub db: u32,
    /// The key.
    pub key: Box<[u8]>,
}

impl Local {
    /// A uniform random number (splitmix64).
    pub fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The keys that a command may touch.
pub struct Keyspace<'k, 'h> {
    held: &'k mut Held<'h, Slot>,
    local: &'k mut Local,
    /// The database under which effects are logged.
    home: u32,
    db: u32,
    now: Now,
    clock: Option<fn() -> Now>,
}

impl<'k, 'h> Keyspace<'k, 'h> {
    /// The slots of `held` in database `db` at the moment `now`.
    pub fn new(held: &'k mut Held<'h, Slot>, local: &'k mut Local, db: u32, now: Now) -> Self {
        Keyspace { held, local, home: db, db, now, clock: None }
    }

    /// The same slots, for a command that another one calls.
    pub fn reborrow(&mut self) -> Keyspace<'_, 'h> {
        let Keyspace { db, home, now, clock, .. } = *self;
        Keyspace { held: self.held, local: self.local, db, home, now, clock }
    }

    /// Holds `slot`, waiting for it; only what may take slots as it goes can ask for one that it has not.
    pub fn hold(&mut self, slot: SlotId) {
        self.reach(slot);
    }

    /// Holds the slot of `key` as [`Keyspace::hold`] does, and loads first its bucket, then, in a second call with the
    /// bucket there, its entry into the cache: for who will need it soon.
    #[inline]
    pub fn prefetch(&mut self, key: &Key<'_>, bucket_is_there: bool) {
        self.reach(key.slot);
        match self.dbslot(key.slot) {
            Some(db) if bucket_is_there => db.prefetch_entry(key.hash),
            Some(db) => db.prefetch_bucket(key.hash),
            None => {}
        }
    }

    /// Holds every slot, waiting for them; only what may take slots as it goes can ask for it.
    pub fn hold_all(&mut self) {
        self.held.add_all();
    }

    /// The selected database.
    pub fn db(&self) -> u32 {
        self.db
    }

    /// The same slots in another database, until this is called again.
    pub fn select(&mut self, db: u32) {
        self.db = db;
    }

    /// Logs what follows under database `db`: whoever collects it has told the log's readers so.
    pub fn rehome(&mut self, db: u32) {
        self.home = db;
    }

    /// The moment at which the command runs, and by which keys are past their expiry or not.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The moment from which a relative time counts: [`Keyspace::now`], but for a command that another one calls after it has
    /// worked for a while (a script's), and for which keys are still those of the beginning.
    pub fn moment(&self) -> Now {
        self.clock.map_or(self.now, |read| read())
    }

    /// From now on relative times count from what `clock` reads.
    pub fn set_clock(&mut self, clock: fn() -> Now) {
        self.clock = Some(clock);
    }

    /// Effects, to report to.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.local.effects
    }

    /// Counters of this thread.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.local.stats
    }

    /// What is to be freed by another thread.
    pub fn garbage(&mut self) -> &mut Garbage {
        &mut self.local.garbage
    }

    /// A uniform random number.
    pub fn random(&mut self) -> u64 {
        self.local.random()
    }

    // --- looking up

    #[inline]
    fn dbslot(&self, slot: SlotId) -> Option<&DbSlot> {
        self.held.slot(slot).db(self.db)
    }

    fn is_due(&self, expire_at_ms: Option<i64>) -> bool {
        expire_at_ms.is_some_and(|at| self.now.ms > at && !self.local.is_from_primary)
    }

    /// Takes the slot's lock if the command may take locks as it goes (scripts, SORT with patterns).
    #[inline]
    fn reach(&mut self, slot: SlotId) {
        if !self.held.has(slot) {
            self.held.add(slot);
        }
    }

    /// Takes the slot's lock if need be, and removes `key` if it has expired; true if it is gone or to be treated so.
    /// Looks the key up only in slots where some key has an expiry.
    #[inline]
    fn reach_key(&mut self, key: &Key<'_>) -> bool {
        self.reach(key.slot);
        self.dbslot(key.slot).is_some_and(|db| db.expires_len() > 0) && self.expire_if_due(key)
    }

    /// Removes `key` if it has expired; true if it is gone or to be treated so.
    #[inline]
    pub fn expire_if_due(&mut self, key: &Key<'_>) -> bool {
        self.reach(key.slot);
        let Some(entry) = self.dbslot(key.slot).and_then(|db| db.find(key.hash, key.bytes)) else { return false };
        if !self.is_due(entry.expire_at_ms()) {
            return false;
        }
        if !self.local.is_replica {
            self.remove_expired(key);
        }
        true
    }

    #[cold]
    fn remove_expired(&mut self, key: &Key<'_>) {
        self.unlink(key);
        self.local.stats.expired += 1;
        self.log_del_before(key);
        self.local.effects.notify(class::EXPIRED, "expired", self.db, key.bytes);
    }

    /// Logs the end of an expired key, under the database that it was in.
    fn log_del_before(&mut self, key: &Key<'_>) {
        let effects = &mut self.local.effects;
        if self.db == self.home {
            return effects.log_before(&[b"DEL", key.bytes]);
        }
        effects.log_before(&[b"SELECT", self.db.to_string().as_bytes()]);
        effects.log_before(&[b"DEL", key.bytes]);
        effects.log_before(&[b"SELECT", self.home.to_string().as_bytes()]);
    }

    /// The entry of `key` without noting an access; nothing changes, so several can be looked at together. Call
    /// [`Keyspace::expire_if_due`] for each key first where removing and logging matters.
    #[inline]
    pub fn at(&self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        let entry = self.dbslot(key.slot)?.find(key.hash, key.bytes)?;
        (!self.is_due(entry.expire_at_ms())).then_some(entry)
    }

    /// The entry of `key` without noting an access or a hit (TTL, OBJECT, TYPE).
    pub fn peek(&mut self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        if self.reach_key(key) {
            return None;
        }
        self.held.slot(key.slot).db(self.db)?.find(key.hash, key.bytes)
    }

    /// The entry of `key`, noting the access and the hit or miss: what a reading command uses.
    #[inline]
    pub fn read(&mut self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        if self.reach_key(key) {
            self.local.stats.misses += 1;
            return None;
        }
        let found = self.held.slot(key.slot).db(self.db).and_then(|db| db.find(key.hash, key.bytes));
        match found {
            Some(entry) => {
                entry.touch(self.now.lru());
                self.local.stats.hits += 1;
            }
            None => self.local.stats.misses += 1,
        }
        found
    }

    /// The collection at `key`, for reading.
    pub fn collection<C: Collection>(&mut self, key: &Key<'_>) -> Result<Option<&C>, WrongType> {
        self.read(key).map(|entry| entry.collection().ok_or(WrongType)).transpose()
    }

    /// As [`Keyspace::collection`], for several keys at once: no access is noted. Expire the keys first.
    pub fn collection_at<C: Collection>(&self, key: &Key<'_>) -> Result<Option<&C>, WrongType> {
        self.at(key).map(|entry| entry.collection().ok_or(WrongType)).transpose()
    }

    /// The string at `key`, for reading.
    #[inline]
    pub fn text(&mut self, key: &Key<'_>) -> Result<Option<Text<'_>>, WrongType> {
        self.read(key).map(text_of).transpose()
    }

    /// The entry of `key`, noting the access but neither a hit nor a miss: how a writing command looks at what is there,
    /// also when it then changes nothing.
    #[inline]
    pub fn look(&mut self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        if self.reach_key(key) {
            return None;
        }
        let entry = self.held.slot(key.slot).db(self.db)?.find(key.hash, key.bytes)?;
        entry.touch(self.now.lru());
        Some(entry)
    }

    /// The string at `key`, for a command that is about to change it.
    #[inline]
    pub fn text_to_change(&mut self, key: &Key<'_>) -> Result<Option<Text<'_>>, WrongType> {
        self.look(key).map(text_of).transpose()
    }

    /// Whether `key` is there; no access is noted.
    pub fn exists(&mut self, key: &Key<'_>) -> bool {
        self.peek(key).is_some()
    }

    // --- changing

    /// The place of a live entry that is about to change: its pre-image is saved, its access noted.
    #[inline]
    fn cell(&mut self, key: &Key<'_>) -> Option<EntryCell<'_>> {
        if self.reach_key(key) {
            return None;
        }
        let (db, now) = (self.db, self.now);
        let slot = self.held.slot_mut(key.slot);
        let parity = slot.parity;
        let (keys, cut) = slot.db_and_cut(db);
        let mut cell = keys.find_mut(key.hash, key.bytes)?;
        if let Some(cut) = cut {
            cut.before_change(db, key.slot, parity, &mut cell);
        }
        cell.view().touch(now.lru());
        if cell.view().transit() == Transit::Leaving {
            cell.in_place(|entry| entry.set_transit(Transit::Stale));
        }
        Some(cell)
    }

    /// The collection at `key`, to change it.
    pub fn collection_mut<C: Collection>(&mut self, key: &Key<'_>) -> Result<Option<&mut C>, WrongType> {
        self.cell(key).map(|cell| cell.into_collection().ok_or(WrongType)).transpose()
    }

    /// The collection at `key`, to change it, made empty if there is none. Whoever leaves it empty calls
    /// [`Keyspace::remove_if_empty`].
    pub fn collection_or_insert<C: Collection + Default>(&mut self, key: &Key<'_>) -> Result<&mut C, WrongType> {
        if self.cell(key).is_none() {
            self.insert(key, C::default().body(), None);
        }
        // The place was made ready above; it is only looked up again.
        let cell = self.held.slot_mut(key.slot).db_mut(self.db).find_mut(key.hash, key.bytes);
        match cell.map(EntryCell::into_collection) {
            Some(Some(collection)) => Ok(collection),
            _ => Err(WrongType),
        }
    }

    /// Adds an entry for a key that is not there.
    fn insert(&mut self, key: &Key<'_>, body: Body<'_>, expire_at_ms: Option<i64>) {
        if self.local.is_replica {
            // A key past its expiry that a replica hides makes way for the new one.
            self.unlink(key);
        }
        let is_list = matches!(body, Body::List(_));
        let entry = Entry::new(key.bytes, body, expire_at_ms, self.now.lru());
        let (db, slot) = (self.db, self.held.slot_mut(key.slot));
        let parity = slot.parity;
        slot.db_mut(db).insert(key.hash, entry, parity);
        if is_list {
            self.list_appeared(key);
        }
    }

    /// A list has come into being at `key`: whoever waits for it will be served.
    fn list_appeared(&mut self, key: &Key<'_>) {
        let db = self.db;
        let Some(interest) = self.held.slot_mut(key.slot).interest() else { return };
        if interest.first_waiter(db, key.bytes).is_some() {
            let ready = Ready { db, key: key.bytes.into() };
            if !self.local.ready.contains(&ready) {
                self.local.ready.push_back(ready);
            }
        }
    }

    /// Puts a value of any type at `key` in place of what was there.
    pub fn put(&mut self, key: &Key<'_>, body: Body<'_>, expire: SetExpire) {
        let lru = self.now.lru();
        self.reach(key.slot);
        if self.held.slot(key.slot).cut.is_some()
            && !self.expire_if_due(key)
            && let Some(kept) = self.hand_over_to_cut(key)
        {
            let at = match expire {
                SetExpire::Clear => None,
                SetExpire::Keep => kept,
                SetExpire::At(at) => Some(at),
            };
            return self.insert(key, body, at);
        }
        let Some(mut cell) = self.cell(key) else {
            let at = if let SetExpire::At(at) = expire { Some(at) } else { None };
            return self.insert(key, body, at);
        };
        let at = match expire {
            SetExpire::Clear => None,
            SetExpire::Keep => cell.view().expire_at_ms(),
            SetExpire::At(at) => Some(at),
        };
        let is_list = matches!(body, Body::List(_));
        if at.is_some() == cell.view().has_expire() {
            let done = match &body {
                Body::Bytes { bytes, raw: false } => cell.in_place(|entry| entry.overwrite(bytes)),
                Body::Int(n) => cell.in_place(|entry| entry.overwrite_int(*n)),
                _ => false,
            };
            if done {
                return cell.set_expire(at);
            }
        }
        let mut old = None;
        cell.update(|entry| {
            let new = Entry::new(entry.view().key(), body, at, lru);
            old = Some(entry);
            new
        });
        old.into_iter().for_each(|entry| self.local.garbage.add(entry));
        if is_list {
            self.list_appeared(key);
        }
    }

    /// Puts a string at `key`, stored as an integer if it is a canonical one.
    #[inline]
    pub fn put_text(&mut self, key: &Key<'_>, bytes: &[u8], expire: SetExpire) {
        let int = if bytes.len() <= 20 { resp::parse_i64(bytes) } else { None };
        let body = match int {
            Some(n) => Body::Int(n),
            None if bytes.len() < Copies::BYTES_MIN => Body::Bytes { bytes, raw: false },
            None => self.local.copies.take(bytes).map_or(Body::Bytes { bytes, raw: false }, Body::Long),
        };
        self.put(key, body, expire);
    }

    /// Gives the string at `key` (made empty if there is none) exactly `len` bytes, new ones zero, and lets `edit`
    /// change them in place. The expiry stays; the encoding becomes "raw".
    pub fn edit_text<R>(
        &mut self,
        key: &Key<'_>,
        len: usize,
        edit: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, WrongType> {
        if self.cell(key).is_none() {
            self.insert(key, Body::Bytes { bytes: b"", raw: true }, None);
        }
        let Some(mut cell) = self.cell(key) else { return Err(WrongType) };
        if cell.view().kind() != Kind::String {
            return Err(WrongType);
        }
        let same = matches!(cell.view().value(), Value::Bytes(bytes) if bytes.len() == len);
        if !same {
            cell.update(|entry| entry.with_string_len(len));
        }
        cell.in_place(|entry| entry.bytes_mut().map(edit)).ok_or(WrongType)
    }

    /// Takes the entry of `key` out of the table, whatever its expiry.
    fn unlink(&mut self, key: &Key<'_>) -> bool {
        if self.hand_over(key).is_some() {
            return true;
        }
        match self.take_raw(key) {
            Some(entry) => {
                self.local.garbage.add(entry);
                true
            }
            None => false,
        }
    }

    /// Gives the entry of `key` to a running snapshot if that needs it whole; its expiry if so, and the key is gone.
    #[inline]
    fn hand_over(&mut self, key: &Key<'_>) -> Option<Option<i64>> {
        self.reach(key.slot);
        if self.held.slot(key.slot).cut.is_none() { None } else { self.hand_over_to_cut(key) }
    }

    #[cold]
    fn hand_over_to_cut(&mut self, key: &Key<'_>) -> Option<Option<i64>> {
        let (db, slot) = (self.db, self.held.slot_mut(key.slot));
        let parity = slot.parity;
        let (keys, cut) = slot.db_and_cut(db);
        let cell = keys.find_mut(key.hash, key.bytes)?;
        let expire_at_ms = cell.view().expire_at_ms();
        cut?.take_over(db, parity, cell).then_some(expire_at_ms)
    }

    fn take_raw(&mut self, key: &Key<'_>) -> Option<Entry> {
        let (db, slot) = (self.db, self.held.slot_mut(key.slot));
        let parity = slot.parity;
        let (keys, cut) = slot.db_and_cut(db);
        let mut cell = keys.find_mut(key.hash, key.bytes)?;
        if let Some(cut) = cut {
            cut.before_change(db, key.slot, parity, &mut cell);
        }
        Some(cell.take())
    }

    /// Removes `key`; true if it was there.
    pub fn remove(&mut self, key: &Key<'_>) -> bool {
        !self.expire_if_due(key) && self.unlink(key)
    }

    /// Removes `key` to make room; true if it was there.
    pub fn evict(&mut self, key: &Key<'_>) -> bool {
        self.reach(key.slot);
        let evicted = self.unlink(key);
        if evicted {
            self.local.stats.evicted += 1;
            self.log_del_before(key);
            self.local.effects.notify(class::EVICTED, "evicted", self.db, key.bytes);
        }
        evicted
    }

    /// Removes `key` if the collection there is empty; true if it was.
    pub fn remove_if_empty<C: Collection>(&mut self, key: &Key<'_>) -> bool {
        let empty = self.at(key).and_then(EntryRef::collection::<C>).is_some_and(C::is_empty);
        empty && self.unlink(key)
    }

    /// Takes the whole entry of `key` out, to put it elsewhere.
    pub fn take(&mut self, key: &Key<'_>) -> Option<Entry> {
        if self.expire_if_due(key) {
            return None;
        }
        self.take_raw(key)
    }

    /// Puts an entry that was taken out under `key`, which must not be there; its expiry comes along.
    pub fn put_entry(&mut self, key: &Key<'_>, entry: Entry) {
        self.reach(key.slot);
        if self.local.is_replica {
            // A key past its expiry that a replica hides makes way.
            self.unlink(key);
        }
        let entry = if entry.view().key() == key.bytes { entry } else { entry.with_key(key.bytes) };
        let is_list = entry.view().kind() == Kind::List;
        let (db, slot) = (self.db, self.held.slot_mut(key.slot));
        let parity = slot.parity;
        let (keys, cut) = slot.db_and_cut(db);
        if let Some(cut) = cut {
            cut.placed(db, key.slot, &entry);
        }
        keys.insert(key.hash, entry, parity);
        if is_list {
            self.list_appeared(key);
        }
    }

    /// Begins a snapshot, see [`Image::cut`]; every slot must be held or be had.
    pub fn cut(
        &mut self,
        oplog: &Oplog,
        pressure: Arc<Pressure>,
        make: impl Fn() -> Box<dyn Format> + Send + Sync + 'static,
    ) -> Arc<Image> {
        Image::cut(self.held, oplog, self.now, pressure, make)
    }

    /// Puts an entry that was loaded under its own key, whose hash and slot these are; gives it back if the key is there.
    pub fn put_loaded(&mut self, slot: SlotId, hash: u64, entry: Entry) -> Result<(), Entry> {
        self.reach(slot);
        let (db, slot) = (self.db, self.held.slot_mut(slot));
        let (parity, keys) = (slot.parity, slot.db_mut(db));
        if keys.find(hash, entry.view().key()).is_some() {
            return Err(entry);
        }
        keys.insert(hash, entry, parity);
        Ok(())
    }

    /// Sets or clears the expiry of `key`; false if it is not there.
    pub fn set_expire(&mut self, key: &Key<'_>, expire_at_ms: Option<i64>) -> bool {
        let Some(mut cell) = self.cell(key) else { return false };
        cell.set_expire(expire_at_ms);
        true
    }

    /// Reports that `key` was changed by one operation: counts it, marks those who watch it, and notifies.
    #[inline]
    pub fn changed(&mut self, key: &Key<'_>, class: u32, event: &'static str) {
        self.dirty(1);
        self.touched(key, class, event);
    }

    /// As [`Keyspace::changed`], but leaves counting to [`Keyspace::dirty`].
    #[inline]
    pub fn touched(&mut self, key: &Key<'_>, class: u32, event: &'static str) {
        let db = self.db;
        if let Some(interest) = self.held.slot_mut(key.slot).interest() {
            interest.changed(db, key.bytes);
        }
        self.local.effects.notify(class, event, self.db, key.bytes);
    }

    /// Reports another event on `key` without counting a change.
    pub fn notify(&mut self, key: &Key<'_>, class: u32, event: &'static str) {
        self.local.effects.notify(class, event, self.db, key.bytes);
    }

    /// Counts `n` more changes.
    pub fn dirty(&mut self, n: u64) {
        self.local.effects.dirty += n;
    }

    // --- who waits

    /// Registers a watch or a wait at `key`.
    pub fn register(&mut self, key: &Key<'_>, stake: Stake) {
        let db = self.db;
        self.reach(key.slot);
        self.held.slot_mut(key.slot).register(db, key.bytes, stake);
    }

    /// Withdraws a watch or a wait at `key`.
    pub fn withdraw(&mut self, key: &Key<'_>, stake: &Stake) {
        let db = self.db;
        self.reach(key.slot);
        self.held.slot_mut(key.slot).withdraw(db, key.bytes, stake);
    }

    /// Who has waited longest for `key` and still does.
    pub fn first_waiter(&mut self, key: &Key<'_>) -> Option<Arc<Waiter>> {
        let db = self.db;
        self.held.slot_mut(key.slot).interest()?.first_waiter(db, key.bytes).cloned()
    }

    /// Makes sure that `slot` is held if that is possible without waiting for somebody who may wait for us.
    pub fn try_reach(&mut self, slot: SlotId) -> bool {
        self.held.try_add(slot)
    }

    // --- whole slots

    /// A slot's keys in the selected database; waits for the slot's lock if the command may.
    pub fn slot_keys(&mut self, slot: SlotId) -> Option<&DbSlot> {
        self.reach(slot);
        self.dbslot(slot)
    }

    /// Looks at a slot's keys in the selected database, and gives a slot that was not held before back at once. What is
    /// seen may have changed when this returns.
    pub fn visit_slot<R>(&mut self, slot: SlotId, visit: impl FnOnce(&DbSlot) -> R) -> Option<R> {
        let db = self.db;
        self.held.visit(slot, |slot| slot.db(db).map(visit))
    }

    /// As [`Keyspace::visit_slot`], over every slot that has keys.
    pub fn visit_slots(&mut self, mut visit: impl FnMut(SlotId, &DbSlot)) {
        for slot in SlotId::all() {
            self.visit_slot(slot, |keys| {
                if !keys.is_empty() {
                    visit(slot, keys)
                }
            });
        }
    }

    /// As [`Keyspace::visit_slots`], over every database that was ever used in a slot.
    pub fn visit_databases(&mut self, mut visit: impl FnMut(u32, &DbSlot)) {
        for slot in SlotId::all() {
            self.held.visit(slot, |slot| slot.dbs().for_each(|(db, keys)| visit(db, keys)));
        }
    }

    /// The slots, to look for keys that can be spared ([`crate::evict`]).
    pub fn held(&mut self) -> &mut Held<'h, Slot> {
        self.held
    }

    /// A slot with all its databases.
    pub fn slot_mut(&mut self, slot: SlotId) -> &mut Slot {
        self.reach(slot);
        self.held.slot_mut(slot)
    }

    /// Empties database `db` (all if `None`), which takes no longer the more keys there are: another thread frees them.
    /// Returns the number of keys.
    pub fn flush(&mut self, db: Option<u32>) -> u64 {
        let (mut taken, mut keys) = (Vec::new(), 0);
        for id in SlotId::all() {
            self.reach(id);
            let slot = self.held.slot_mut(id);
            slot.watch_flush(db);
            let dbs = db.map_or(0..slot.dbs_len(), |db| db..db + 1);
            for (len, rest) in dbs.map(|db| slot.take_db(id, db)) {
                keys += len as u64;
                taken.extend((!rest.is_empty()).then_some(rest));
            }
        }
        self.local.garbage.add_slots(taken);
        keys
    }

    /// Empties one slot of the selected database, as [`Keyspace::flush`] does all.
    pub fn flush_slot(&mut self, slot: SlotId) -> u64 {
        self.reach(slot);
        let here = self.held.slot_mut(slot);
        here.watch_flush(Some(self.db));
        let (keys, taken) = here.take_db(slot, self.db);
        if !taken.is_empty() {
            self.local.garbage.add_slots(vec![taken]);
        }
        keys as u64
    }

    /// Whether the command is this server's primary's.
    pub fn is_from_primary(&self) -> bool {
        self.local.is_from_primary
    }

    /// Whether keys past their expiry are hidden rather than removed.
    pub fn is_replica(&self) -> bool {
        self.local.is_replica
    }

    /// Says so for what is still to come of the running command, which has made the server a replica or a primary.
    pub fn set_replica(&mut self, is_replica: bool) {
        self.local.is_replica = is_replica;
    }

    /// Carries out commands of a file as those of a primary: keys past their expiry are as any others, since they were
    /// when it was written. Gives what was in force, to be given back.
    pub fn replaying(&mut self, how: (bool, bool)) -> (bool, bool) {
        let before = (self.local.is_replica, self.local.is_from_primary);
        (self.local.is_replica, self.local.is_from_primary) = how;
        before
    }
}

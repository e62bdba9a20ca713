//! The entries of one slot in one database, and the indexes of those that expire and of those that have a hash tag.
//!
//! The indexes hold the same pointers as the main table and own nothing, so that sampling for expiry and eviction, and
//! finding all keys of a tag, need no second copy of a key. A key without a tag and expiry is in neither.
//!
//! 1. An entry is in `expires` if and only if it has an expiry, and in `tags` if and only if its key has a hash tag.
//! 2. When an entry's block has been freed or moved its words in both are gone or name the new block before anybody looks.
//! 3. `count` is the sum of all entries' footprints, but for the one whose collection was lent last: that is `lent` and counts
//!    with what it has now. It is taken in again before any entry is lent, moved or freed.

use super::entry::{Alias, Collection, Entry, EntryRef, Transit, Value};
use super::table::{Cell, Item, Parity, Table};
use super::tags::Tags;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// The tables of one slot in one database.
#[derive(Default)]
pub struct DbSlot {
    entries: Table<Entry>,
    expires: Table<Alias>,
    tags: Tags,
    count: Count,
}

/// How many bytes entries take.
#[derive(Default)]
struct Count {
    /// Of all but `lent`.
    bytes: usize,
    /// Address of the entry whose collection may have changed since it was counted, 0 if there is none.
    lent: usize,
}

impl Count {
    fn of_lent(&self) -> usize {
        let lent = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(self.lent));
        // SAFETY: an entry that is alive (3), exposed when it was lent; the collection is not borrowed any more, since the
        // borrow includes this count.
        lent.map_or(0, |raw| unsafe { <Entry as Item>::view(raw) }.footprint())
    }

    /// Counts the collection that was lent.
    #[inline]
    fn take_in(&mut self) {
        if self.lent != 0 {
            self.bytes += self.of_lent();
            self.lent = 0;
        }
    }
}

impl DbSlot {
    /// Bytes of the entries and of what they own ([`EntryRef::footprint`]). O(1).
    pub fn entry_bytes(&self) -> usize {
        self.count.bytes + self.count.of_lent()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of keys with an expiry.
    pub fn expires_len(&self) -> usize {
        self.expires.len()
    }

    /// Bytes of both tables, without the entries.
    pub fn table_bytes(&self) -> usize {
        self.entries.table_bytes() + self.expires.table_bytes()
    }

    /// Visits the keys of one tag group ([`slots::tag_crc`]), in no particular order, from the place `from` on (0 at
    /// first), until `visit` says to stop. Returns the place to go on from, `None` at the end.
    pub fn for_each_of_tag(&self, crc: u32, from: u64, mut visit: impl FnMut(EntryRef<'_>) -> bool) -> Option<u64> {
        self.tags.scan(crc, from, |entry| slots::tag_crc(entry.key()) != Some(crc) || visit(entry))
    }

    /// As [`DbSlot::for_each_of_tag`], and looks at no more than `max` entries, those of other tags among them.
    pub fn some_of_tag(&self, crc: u32, from: u64, max: usize, mut visit: impl FnMut(EntryRef<'_>)) -> Option<u64> {
        let mut seen = 0;
        self.tags.scan(crc, from, |entry| {
            if slots::tag_crc(entry.key()) == Some(crc) {
                visit(entry);
            }
            seen += 1;
            seen < max
        })
    }

    /// Number of top-level buckets of the main table.
    pub fn buckets(&self) -> usize {
        self.entries.buckets()
    }

    /// Loads the bucket of `hash`.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.entries.prefetch_bucket(hash);
    }

    /// Loads the bucket of the index of keys with an expiry, for who will set one.
    #[inline]
    pub fn prefetch_expiry(&self, hash: u64) {
        self.expires.prefetch_bucket(hash);
    }

    /// Loads the entry of `hash`; its bucket should be there already.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        self.entries.prefetch_item(hash);
    }

    /// The entry of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<EntryRef<'_>> {
        self.entries.find(hash, key)
    }

    /// The place of a key's entry, to change it.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<EntryCell<'_>> {
        self.count.take_in();
        let cell = self.entries.find_cell(hash, key)?;
        Some(EntryCell { cell, expires: &mut self.expires, tags: &mut self.tags, count: &mut self.count, hash })
    }

    /// Adds an entry whose key is not there yet.
    pub fn insert(&mut self, hash: u64, mut entry: Entry, parity: Parity) {
        self.count.bytes += entry.view().footprint();
        let tag = slots::tag_crc(entry.view().key());
        entry.set_tagged(tag.is_some());
        if let Some(crc) = tag {
            self.tags.insert(crc, entry.view());
        }
        if entry.view().has_expire() {
            let raw = entry.into_raw();
            self.expires.insert_new(hash, Alias(raw), Parity::NONE);
            // SAFETY: given up two lines above.
            return self.entries.insert_new(hash, unsafe { Entry::from_raw(raw) }, parity);
        }
        self.entries.insert_new(hash, entry, parity);
    }

    /// Whether an entry of this slot stands in the index of tags if it should.
    pub fn is_indexed(&self, entry: EntryRef<'_>) -> bool {
        slots::tag_crc(entry.key()).is_none_or(|crc| self.tags.contains(crc, entry))
    }

    /// Visits the entries of one bucket; see [`Table::scan`].
    pub fn scan<'a>(&'a self, cursor: u64, visit: impl FnMut(EntryRef<'a>)) -> u64 {
        self.entries.scan(cursor, visit)
    }

    /// Visits the entries whose parity differs from `parity` in the bits of `which`, from order position `cursor` on, and
    /// makes it agree, until `visit` says that it is enough. Returns where to go on, 0 at the end.
    pub fn sweep(
        &mut self,
        cursor: u64,
        which: Parity,
        parity: Parity,
        mut visit: impl FnMut(&mut Entry) -> bool,
    ) -> u64 {
        self.count.take_in();
        let count = &mut self.count;
        self.entries.sweep(cursor, which, parity, |raw| {
            // SAFETY: the table owns the entry; `ManuallyDrop` keeps it from being freed here, as in `EntryCell::in_place`.
            let mut entry = ManuallyDrop::new(unsafe { Entry::from_raw(raw) });
            let before = list_bytes(entry.view());
            let more = visit(&mut entry);
            count.bytes = count.bytes + list_bytes(entry.view()) - before;
            more
        })
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.entries.iter()
    }

    /// A random entry, all alike.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        self.entries.random(random)
    }

    /// A random entry that has an expiry, all alike.
    pub fn random_expiring(&self, random: impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        self.expires.random(random)
    }

    /// Checks both tables and that they agree; panics with what is wrong.
    pub fn verify(&self) {
        self.entries.verify();
        self.expires.verify();
        let bytes: usize = self.entries.iter().map(EntryRef::footprint).sum();
        assert_eq!(self.entry_bytes(), bytes, "the entries have other bytes");
        let expiring = self.entries.iter().filter(|entry| entry.has_expire()).count();
        assert_eq!(expiring, self.expires.len(), "the expiry index has another size");
        for alias in self.expires.iter() {
            let entry = self.entries.iter().find(|entry| entry.address() == alias.address());
            assert!(entry.is_some_and(|entry| entry.has_expire()), "the expiry index names a foreign entry");
        }
        let tagged = self.entries.iter().filter_map(|entry| Some((slots::tag_crc(entry.key())?, entry)));
        let indexed = tagged.inspect(|&(_, entry)| {
            assert!(entry.is_tagged() && self.is_indexed(entry), "a tagged entry is not in its index");
        });
        assert_eq!(indexed.count(), self.tags.len(), "the index of tags has another size");
    }
}

/// Bytes of a value that looking at it may change: a list shares its blocks with a reader elsewhere, and is made anew for that.
fn list_bytes(entry: EntryRef<'_>) -> usize {
    if let Value::List(list) = entry.value() { list.heap_bytes() } else { 0 }
}

/// The place of one entry.
pub struct EntryCell<'t> {
    cell: Cell<'t, Entry>,
    expires: &'t mut Table<Alias>,
    tags: &'t mut Tags,
    count: &'t mut Count,
    hash: u64,
}

impl<'t> EntryCell<'t> {
    /// The entry.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        self.cell.view()
    }

    /// The entry, for as long as the table is borrowed.
    pub fn into_view(self) -> EntryRef<'t> {
        self.cell.into_view()
    }

    /// The entry's parity bits.
    pub fn parity(&self) -> Parity {
        self.cell.parity()
    }

    /// Sets the entry's parity bits.
    pub fn set_parity(&mut self, parity: Parity) {
        self.cell.set_parity(parity);
    }

    /// Changes the entry without moving it and without giving it an expiry or taking one away.
    pub fn in_place<R>(&mut self, edit: impl FnOnce(&mut Entry) -> R) -> R {
        // SAFETY: the table owns the entry; `ManuallyDrop` keeps it from being freed here, and `Entry`'s methods that
        // take `&mut self` never free or move the block.
        let mut entry = ManuallyDrop::new(unsafe { Entry::from_raw(self.cell.raw()) });
        edit(&mut entry)
    }

    /// As [`EntryCell::in_place`], for a reader elsewhere with whom a list may come to share its blocks.
    pub fn share<R>(&mut self, with: impl FnOnce(&mut Entry) -> R) -> R {
        let before = list_bytes(self.view());
        let result = self.in_place(with);
        self.count.bytes = self.count.bytes + list_bytes(self.view()) - before;
        result
    }

    /// The collection in the entry, if it is of that type.
    pub fn into_collection<C: Collection>(self) -> Option<&'t mut C> {
        // SAFETY: as in `in_place`.
        let mut entry = ManuallyDrop::new(unsafe { Entry::from_raw(self.cell.raw()) });
        let collection: *mut C = entry.collection_mut::<C>()?;
        self.count.bytes -= entry.view().footprint();
        self.count.lent = entry.view().expose();
        // SAFETY: the collection lies in the block, which the table keeps while it is borrowed for `'t`.
        Some(unsafe { &mut *collection })
    }

    /// Sets or clears the expiry, in place if the block is one for that.
    pub fn set_expire(&mut self, expire_at_ms: Option<i64>) {
        if !self.in_place(|entry| entry.set_expire(expire_at_ms)) {
            self.update(|entry| entry.with_expire(expire_at_ms));
        }
    }

    /// Lets `edit` make another entry of this one: same key, any value and expiry.
    pub fn update(&mut self, edit: impl FnOnce(Entry) -> Entry) {
        let EntryCell { cell, expires, tags, count, hash } = self;
        let view = cell.view();
        let (old, flags) = (view.address(), view.place_flags());
        // Of a block that is about to go the address alone is not enough: the key in it tells the tag.
        let tag = if view.is_tagged() { slots::tag_crc(view.key()) } else { None };
        let indexed = if view.has_expire() { expires.find_cell(*hash, view.key()) } else { None };
        count.bytes -= view.footprint();
        cell.update(|entry| {
            let mut new = edit(entry);
            new.inherit(flags);
            new
        });
        count.bytes += cell.view().footprint();
        if let Some(crc) = tag
            && cell.view().address() != old
        {
            tags.remove(crc, old);
            tags.insert(crc, cell.view());
        }
        let alias = cell.view().has_expire().then(|| Alias(cell.raw()));
        match (indexed, alias) {
            (Some(place), Some(alias)) => place.repoint(alias),
            (Some(place), None) => drop(place.take()),
            (None, Some(alias)) => expires.insert_new(*hash, alias, Parity::NONE),
            (None, None) => {}
        }
    }

    /// Removes the entry.
    pub fn take(self) -> Entry {
        if self.cell.view().has_expire() {
            self.expires.remove(self.hash, self.cell.view().key());
        }
        if self.cell.view().is_tagged()
            && let Some(crc) = slots::tag_crc(self.cell.view().key())
        {
            self.tags.remove(crc, self.cell.view().address());
        }
        self.count.bytes -= self.cell.view().footprint();
        let mut entry = self.cell.take();
        // Where it goes it is a key like any other.
        entry.set_transit(Transit::Settled);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Body;
    use super::*;
    use crate::hash;
    use crate::value::hash::HashLimits;
    use crate::value::{Hash, List};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn bytes_are_those_of_a_walk_whatever_is_lent_moved_or_shared() {
        const LIMITS: HashLimits = HashLimits { entries: 4, value: 64 };
        let mut db = DbSlot::default();
        let keys: Vec<Vec<u8>> = (0..9u8).map(|n| format!("{{t}}{n}").into_bytes()).collect();
        for (n, key) in keys.iter().enumerate() {
            let body = if n % 2 == 0 { Body::Hash(Hash::new()) } else { Body::List(List::new()) };
            db.insert(hash::fast(key), Entry::new(key, body, None, 0), Parity::NONE);
        }
        assert_eq!(db.entry_bytes(), db.iter().map(EntryRef::footprint).sum::<usize>());
        let mut shared = Vec::new();
        for round in 0..2000usize {
            let key = &keys[round * 7 % keys.len()];
            let h = hash::fast(key);
            let text = vec![b'x'; round * 13 % 200];
            match (round % 5, db.find_mut(h, key)) {
                (0..=2, Some(cell)) if cell.view().collection::<Hash>().is_some() => {
                    let hash = cell.into_collection::<Hash>().expect("a hash");
                    hash.set(format!("{}", round % 31).as_bytes(), &text, LIMITS);
                    if round % 4 == 0 {
                        hash.remove(format!("{}", round % 17).as_bytes());
                    }
                }
                (0..=2, Some(cell)) => {
                    let list = cell.into_collection::<List>().expect("a list");
                    list.push_back(&text, crate::value::list::NodeLimit::default());
                }
                (3, Some(mut cell)) => shared.push(cell.share(Entry::detach)),
                (_, Some(mut cell)) => cell.update(|old| old.with_expire((round % 3 == 0).then_some(9))),
                _ => unreachable!("nothing is removed"),
            }
            if round % 50 == 0 {
                db.sweep(0, Parity::A, Parity::A, |entry| {
                    shared.push(entry.detach());
                    true
                });
            }
            let walked: usize = db.iter().map(EntryRef::footprint).sum();
            assert_eq!(db.entry_bytes(), walked, "round {round}");
        }
        db.verify();
        for key in &keys {
            drop(db.find_mut(hash::fast(key), key).map(EntryCell::take));
        }
        assert_eq!(db.entry_bytes(), 0);
    }

    proptest! {
        #[test]
        fn values_and_expiries_equal_a_map(ops in prop::collection::vec((0u8..40, 0u8..6, 0usize..300), 1..400)) {
            let mut db = DbSlot::default();
            let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)> = BTreeMap::new();
            for (n, op, len) in ops {
                // Every third key has a tag, and there are few tags.
                let tag = if n % 3 == 0 { format!("{{{}}}", n % 4) } else { String::new() };
                let key = [&vec![n; usize::from(n) * 8], tag.as_bytes()].concat();
                let h = hash::fast(&key);
                let value = vec![op; len];
                let body = || Body::Bytes { bytes: &value, raw: false };
                match (op, db.find_mut(h, &key)) {
                    (0 | 1, Some(mut cell)) => {
                        let expire = (op == 1).then_some(7);
                        cell.update(|old| Entry::new(old.view().key(), body(), expire, 0));
                        model.insert(key, (value, expire));
                    }
                    (0 | 1, None) => {
                        db.insert(h, Entry::new(&key, body(), None, 0), Parity::NONE);
                        model.insert(key, (value, None));
                    }
                    (2, Some(cell)) => {
                        drop(cell.take());
                        model.remove(&key);
                    }
                    (3, Some(mut cell)) => {
                        let expire = (len % 2 == 0).then_some(len as i64);
                        cell.update(|old| old.with_expire(expire));
                        model.get_mut(&key).expect("both have it").1 = expire;
                    }
                    (4, Some(mut cell)) => {
                        let expire = (len % 3 != 0).then_some(len as i64);
                        cell.set_expire(expire);
                        model.get_mut(&key).expect("both have it").1 = expire;
                    }
                    (_, Some(mut cell)) => {
                        cell.update(|old| old.with_string_len(len));
                        let model = &mut model.get_mut(&key).expect("both have it").0;
                        model.resize(len, 0);
                    }
                    _ => {}
                }
            }
            db.verify();
            prop_assert_eq!(db.len(), model.len());
            for crc in (0..4).filter_map(|n| slots::tag_crc(format!("{{{n}}}").as_bytes())) {
                let (mut found, mut from) = (Vec::new(), Some(0));
                while let Some(at) = from {
                    let mut room = 2;
                    from = db.for_each_of_tag(crc, at, |entry| {
                        found.push(entry.key().to_vec());
                        room -= 1;
                        room > 0
                    });
                }
                found.sort();
                let expected: Vec<_> = model.keys().filter(|key| slots::tag_crc(key) == Some(crc)).cloned().collect();
                prop_assert_eq!(found, expected);
            }
            for (key, (value, expire)) in &model {
                let entry = db.find(hash::fast(key), key).expect("present");
                prop_assert_eq!(entry.expire_at_ms(), *expire);
                let Value::Bytes(bytes) = entry.value() else { panic!("a string") };
                prop_assert_eq!(bytes, &value[..]);
            }
        }
    }
}

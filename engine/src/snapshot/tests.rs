//! Snapshots of a model's keys: whatever happens meanwhile, what is saved is what was there at the cut.

use super::*;
use crate::clock::Now;
use crate::keyspace::{Key, Keyspace, Local, SetExpire};
use crate::oplog::Oplog;
use crate::raw::entry::{Body, Collection};
use crate::raw::lock::{Owner, SlotLocks};
use crate::slot::Slot;
use crate::value::hash::HashLimits;
use crate::value::list::{End, NodeLimit};
use crate::value::zset::ZSetLimits;
use crate::value::{Hash, List, Set, ZSet};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// Writes a line for each thing that it is told.
struct Lines;

fn text(bytes: &[u8]) -> String {
    if bytes.len() > 40 { format!("{}..{}", bytes[0], bytes.len()) } else { bytes.escape_ascii().to_string() }
}

/// The elements of a value as texts.
fn parts(entry: EntryRef<'_>) -> Vec<String> {
    match entry.value() {
        Value::Int(n) => vec![n.to_string()],
        Value::Bytes(bytes) => vec![text(bytes)],
        Value::List(list) => list.iter().map(|item| text(&item.to_vec())).collect(),
        Value::Set(set) => set.iter().map(|item| text(&item.to_vec())).collect(),
        Value::ZSet(zset) => zset.iter().map(|(item, score)| format!("{}={score}", text(&item.to_vec()))).collect(),
        Value::Hash(hash) => {
            hash.iter().map(|(field, value)| format!("{}={}", text(&field.to_vec()), text(&value.to_vec()))).collect()
        }
    }
}

impl Format for Lines {
    fn database(&mut self, db: u32, _: Option<Sizes>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("db {db}\n").as_bytes());
    }

    fn entry(&mut self, entry: EntryRef<'_>, out: &mut Vec<u8>) {
        let parts = parts(entry);
        let head = format!("key {} {:?}\n", text(entry.key()), entry.expire_at_ms());
        out.extend_from_slice(head.as_bytes());
        parts.iter().for_each(|part| out.extend_from_slice(format!("part {part}\n").as_bytes()));
    }

    fn head(&mut self, head: &Head, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("key {} {:?}\n", text(&head.key), head.expire_at_ms).as_bytes());
    }

    fn elements(&mut self, _: &Head, elements: &[Element<'_>], out: &mut Vec<u8>) {
        for element in elements {
            let parts = match element {
                Element::Member(member) => vec![text(member)],
                Element::Pair(field, value) => vec![format!("{}={}", text(field), text(value))],
                Element::Scored(member, score) => vec![format!("{}={score}", text(member))],
                Element::Node(node) => node.iter().map(|item| text(&item.to_vec())).collect(),
            };
            parts.iter().for_each(|part| out.extend_from_slice(format!("part {part}\n").as_bytes()));
        }
    }

    fn tail(&mut self, _: &Head, _: &mut Vec<u8>) {}
}

pub(super) type Saved = BTreeMap<(u32, String), Vec<String>>;

/// What lines say; a key that is said twice is an error.
pub(super) fn read(lines: &[u8]) -> Saved {
    let mut saved = Saved::new();
    let (mut db, mut key) = (0, String::new());
    for line in std::str::from_utf8(lines).expect("text").lines() {
        match line.split_once(' ').expect("a word and more") {
            ("db", number) => db = number.parse().expect("a number"),
            ("key", rest) => {
                let (name, expire) = rest.split_once(' ').expect("a name and an expiry");
                key = name.to_owned();
                let twice = saved.insert((db, key.clone()), vec![expire.to_owned()]);
                assert!(twice.is_none(), "{key} twice");
            }
            (_, part) => saved.get_mut(&(db, key.clone())).expect("a key before its parts").push(part.to_owned()),
        }
    }
    saved.values_mut().for_each(|parts| parts[1..].sort());
    saved
}

/// A key space with one writer, whose steps a snapshot's walker is given turns between.
pub(super) struct World {
    pub(super) locks: Arc<SlotLocks<Slot>>,
    log: Oplog,
    local: Local,
    now: Now,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            locks: Arc::new(SlotLocks::new(slots::SLOTS, Slot::default)),
            log: Oplog::new(1 << 20),
            local: Local { seed, ..Local::default() },
            now: Now { ms: 1_000_000 },
        }
    }

    pub(super) fn with<R>(&mut self, db: u32, work: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> R {
        let mut owner = self.locks.register().expect("nobody is alone");
        let mut held = owner.wait_privileged();
        let result = work(&mut Keyspace::new(&mut held, &mut self.local, db, self.now));
        drop(held);
        self.local.effects.reset();
        self.local.garbage.take();
        result
    }

    pub(super) fn cut(&mut self) -> Arc<Image> {
        let mut owner = self.locks.register().expect("nobody is alone");
        let mut held = owner.try_privileged().expect("free");
        Image::cut(&mut held, &self.log, self.now, Arc::default(), || Box::new(Lines))
    }

    /// All keys, those past their expiry too.
    pub(super) fn state(&mut self) -> Saved {
        let mut owner = self.locks.register().expect("nobody is alone");
        let mut held = owner.try_privileged().expect("free");
        held.add_all();
        let mut state = Saved::new();
        for slot in slots::SlotId::all() {
            for (db, keys) in held.slot(slot).dbs() {
                keys.verify();
                for entry in keys.iter() {
                    let mut all = vec![format!("{:?}", entry.expire_at_ms())];
                    all.extend(parts(entry));
                    all[1..].sort();
                    state.insert((db, text(entry.key())), all);
                }
            }
        }
        state
    }

    /// Every entry carries its slot's parity, and no table is frozen.
    pub(super) fn assert_clean(&mut self) {
        let mut owner = self.locks.register().expect("nobody is alone");
        let mut held = owner.try_privileged().expect("free");
        held.add_all();
        for slot in slots::SlotId::all() {
            let slot = held.slot_mut(slot);
            assert!(slot.cut.is_none());
            let parity = slot.parity;
            for db in 0..slot.dbs_len() {
                let keys = slot.db_mut(db);
                let frozen = |entry: EntryRef<'_>| entry.table().is_some_and(|table| table.capture().is_some());
                assert!(!keys.iter().any(frozen), "a table is still frozen");
                keys.sweep(0, crate::raw::table::Parity::A, parity, |_| panic!("an entry has the other parity"));
            }
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.local.random() % below
    }

    /// One random change.
    fn step(&mut self) {
        let db = self.random(2) as u32 * 3;
        let number = self.random(24);
        let name = format!("key:{number}");
        let other = format!("key:{}", self.random(24));
        let (key, to) = (Key::new(name.as_bytes()), Key::new(other.as_bytes()));
        let n = self.random(3_000);
        // Most keys keep to one type, so that they grow.
        let what = match (self.random(4), number % 4) {
            (0, _) => self.random(24),
            (_, 0) => 8 + self.random(4),
            (_, 1) => 12 + self.random(3),
            (_, 2) => 15 + self.random(3),
            _ => 18 + self.random(3),
        };
        let member = n.to_string();
        let big = vec![n as u8; 5_000 + n as usize];
        self.now.ms += 1;
        let now_ms = self.now.ms;
        self.with(db, |keys| match what {
            0 if n < 1_000 => keys.put_text(&key, member.as_bytes(), SetExpire::Keep),
            1 if n < 1_000 => keys.put_text(&key, &big, SetExpire::Clear),
            2 if n < 2_000 => {
                keys.remove(&key);
            }
            3 => {
                keys.set_expire(&key, Some(now_ms + n as i64));
            }
            4 if name != other => {
                if let Some(entry) = keys.take(&key) {
                    keys.remove(&to);
                    keys.put_entry(&to, entry);
                }
            }
            5 => {
                let home = keys.db();
                keys.select(3 - home);
                let free = !keys.exists(&key);
                keys.select(home);
                if free && let Some(entry) = keys.take(&key) {
                    keys.select(3 - home);
                    keys.put_entry(&key, entry);
                }
            }
            6 if n < 150 => drop(keys.flush((n < 100).then_some(db))),
            7 => {
                let len = if n < 2_000 { n as usize } else { n as usize * 3 };
                let _ = keys.edit_text(&key, len, |bytes| bytes.iter_mut().for_each(|byte| *byte = b'x'));
            }
            8..12 => {
                if let Ok(hash) = keys.collection_or_insert::<Hash>(&key) {
                    for m in 0..n % 400 {
                        let field = (n + m * 7).to_string();
                        if what == 8 {
                            hash.remove(field.as_bytes());
                        } else {
                            hash.set(field.as_bytes(), member.as_bytes(), HashLimits::default());
                        }
                    }
                    keys.remove_if_empty::<Hash>(&key);
                }
            }
            12..15 => {
                if let Ok(set) = keys.collection_or_insert::<Set>(&key) {
                    for m in 0..n % 400 {
                        let member = format!("m{}", n + m * 3);
                        if what == 12 {
                            set.remove(member.as_bytes());
                        } else {
                            set.add(member.as_bytes(), 512);
                        }
                    }
                    keys.remove_if_empty::<Set>(&key);
                }
            }
            15..18 => {
                if let Ok(zset) = keys.collection_or_insert::<ZSet>(&key) {
                    for m in 0..n % 400 {
                        let member = (n + m * 3).to_string();
                        zset.add(member.as_bytes(), (m % 9) as f64, ZSetLimits::default());
                    }
                    if what == 15 {
                        zset.remove_ranks(3..n as usize % 700);
                    }
                    keys.remove_if_empty::<ZSet>(&key);
                }
            }
            18..21 => {
                if let Ok(list) = keys.collection_or_insert::<List>(&key) {
                    for m in 0..n % 900 {
                        match what {
                            18 => drop(list.pop_with(End::Front, |_| ())),
                            _ => list.push_back((n + m).to_string().as_bytes(), NodeLimit::default()),
                        }
                    }
                    list.set(0, b"first", NodeLimit::default());
                    keys.remove_if_empty::<List>(&key);
                }
            }
            21 => {
                let mut hash = Hash::new();
                for m in 0..700u32 {
                    hash.set(&m.to_be_bytes(), member.as_bytes(), HashLimits::default());
                }
                keys.put(&key, hash.body(), SetExpire::Clear);
            }
            22 if n < 1_000 => keys.put(&key, Body::Int(n as i64), SetExpire::At(now_ms + 50)),
            _ => {}
        });
    }
}

/// Lets the writer have some turns whenever something is written.
struct Interleaved<'w> {
    world: &'w mut World,
    out: Vec<u8>,
    fail_after: usize,
}

impl Write for Interleaved<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.len() >= self.fail_after {
            return Err(io::Error::other("full"));
        }
        // A few bytes at a time, so that there are many turns.
        let taken = bytes.len().min(900);
        self.out.extend_from_slice(&bytes[..taken]);
        for _ in 0..self.world.random(4) {
            self.world.step();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn owner_of(locks: &Arc<SlotLocks<Slot>>) -> Owner<'_, Slot> {
    locks.register().expect("nobody is alone")
}

#[test]
fn what_is_saved_is_what_was_there_at_the_cut() {
    let mut frozen = 0;
    for seed in 0..12 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        for round in 0..4 {
            let image = world.cut();
            let expected = world.state();
            for _ in 0..world.random(60) {
                world.step();
            }
            let locks = world.locks.clone();
            let mut to = Interleaved { world: &mut world, out: Vec::new(), fail_after: usize::MAX };
            walk(&image, &mut owner_of(&locks), &mut to).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let saved = read(&to.out);
            assert!(saved == expected, "seed {seed} round {round}: {:?}", difference(&saved, &expected));
            assert_eq!(image.pressure.passing_bytes(), 0);
            world.assert_clean();
            frozen += image.frozen();
        }
    }
    assert!(frozen > 100, "only {frozen} tables were frozen");
}

#[test]
fn a_snapshot_that_fails_or_is_cancelled_leaves_nothing_behind() {
    for seed in 100..106 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        for cancelled in [true, false] {
            let image = world.cut();
            for _ in 0..40 {
                world.step();
            }
            if cancelled {
                image.cancel();
            }
            let locks = world.locks.clone();
            let fail_after = world.random(50_000) as usize;
            let mut to = Interleaved { world: &mut world, out: Vec::new(), fail_after };
            let ended = walk(&image, &mut owner_of(&locks), &mut to);
            assert!(ended.is_err() || to.out.len() <= fail_after + 900);
            assert_eq!(image.pending(), 0);
            world.assert_clean();
        }
        // The next one is whole again.
        let image = world.cut();
        let expected = world.state();
        let locks = world.locks.clone();
        let mut to = Interleaved { world: &mut world, out: Vec::new(), fail_after: usize::MAX };
        walk(&image, &mut owner_of(&locks), &mut to).expect("nothing fails");
        assert!(read(&to.out) == expected, "seed {seed}");
    }
}

/// The first key that differs.
fn difference(saved: &Saved, expected: &Saved) -> Option<String> {
    let names = saved.keys().chain(expected.keys());
    let differs = |name: &&(u32, String)| saved.get(*name) != expected.get(*name);
    let name = names.into_iter().find(differs)?;
    let short = |parts: Option<&Vec<String>>| parts.map(|parts| (parts.len(), parts.first().cloned()));
    Some(format!("{name:?}: saved {:?}, was {:?}", short(saved.get(name)), short(expected.get(name))))
}

#[test]
fn what_is_removed_counts_as_passing_until_the_walker_has_it() {
    let mut world = World::new(1);
    for _ in 0..400 {
        world.step();
    }
    let image = world.cut();
    world.with(0, |keys| keys.flush(None));
    let bytes = image.pressure.passing_bytes();
    assert!(bytes > 10_000, "{bytes}");
    let mut out = Vec::new();
    walk(&image, &mut owner_of(&world.locks), &mut out).expect("saved");
    assert!(!out.is_empty());
    assert_eq!(image.pressure.passing_bytes(), 0);
}

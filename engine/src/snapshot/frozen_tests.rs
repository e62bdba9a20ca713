//! One large value that is saved while it changes in any way, against a plain copy of what it was.

use super::tests::{Saved, World, owner_of, read};
use super::*;
use crate::keyspace::{Key, SetExpire};
use crate::value::hash::HashLimits;
use crate::value::zset::ZSetLimits;
use crate::value::{Hash, Set, ZSet};
use proptest::prelude::*;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What a writer does between two writes of the walker.
#[derive(Clone, Debug)]
enum Change {
    /// Some elements from this one on, this far apart, get another value or come into being.
    Put(u32, u32),
    /// Some go.
    Drop(u32, u32),
    /// The key gets another name, and back.
    Rename,
    /// The key goes.
    Remove,
    /// Another value takes its place.
    Replace,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0..4_000u32, 1..9u32).prop_map(|(from, by)| Change::Put(from, by)),
        8 => (0..4_000u32, 1..9u32).prop_map(|(from, by)| Change::Drop(from, by)),
        2 => Just(Change::Rename),
        1 => Just(Change::Remove),
        1 => Just(Change::Replace),
    ]
}

/// 0 is a hash, 1 a set, 2 a sorted set.
fn put(world: &mut World, kind: u8, name: &str, numbers: impl Iterator<Item = u32>, value: u32) {
    let key = Key::new(name.as_bytes());
    world.with(0, |keys| {
        for number in numbers {
            let (element, value_text) = (format!("e{number}"), value.to_string());
            match kind {
                0 => keys.collection_or_insert::<Hash>(&key).map(|hash| {
                    hash.set(element.as_bytes(), value_text.as_bytes(), HashLimits::default());
                }),
                1 => keys.collection_or_insert::<Set>(&key).map(|set| {
                    set.add(element.as_bytes(), 512);
                }),
                _ => keys.collection_or_insert::<ZSet>(&key).map(|zset| {
                    zset.add(element.as_bytes(), f64::from(value), ZSetLimits::default());
                }),
            }
            .expect("a value of this type or none");
        }
    });
}

fn take(world: &mut World, kind: u8, name: &str, numbers: impl Iterator<Item = u32>) {
    let key = Key::new(name.as_bytes());
    world.with(0, |keys| {
        if !keys.exists(&key) {
            return;
        }
        for number in numbers {
            let element = format!("e{number}");
            match kind {
                0 => keys.collection_or_insert::<Hash>(&key).map(|hash| hash.remove(element.as_bytes())),
                1 => keys.collection_or_insert::<Set>(&key).map(|set| set.remove(element.as_bytes())),
                _ => keys.collection_or_insert::<ZSet>(&key).map(|zset| zset.remove(element.as_bytes()).is_some()),
            }
            .expect("a value of this type");
        }
        match kind {
            0 => keys.remove_if_empty::<Hash>(&key),
            1 => keys.remove_if_empty::<Set>(&key),
            _ => keys.remove_if_empty::<ZSet>(&key),
        };
    });
}

fn apply(world: &mut World, kind: u8, name: &mut &'static str, change: &Change, turn: u32) {
    match *change {
        Change::Put(from, by) => put(world, kind, name, (0..300).map(|n| from + n * by), turn),
        Change::Drop(from, by) => take(world, kind, name, (0..300).map(|n| from + n * by)),
        Change::Rename => {
            let to = if *name == "value" { "other name" } else { "value" };
            let (key, other) = (Key::new(name.as_bytes()), Key::new(to.as_bytes()));
            world.with(0, |keys| {
                if let Some(entry) = keys.take(&key) {
                    keys.remove(&other);
                    keys.put_entry(&other, entry);
                }
            });
            *name = to;
        }
        Change::Remove => {
            let key = Key::new(name.as_bytes());
            world.with(0, |keys| keys.remove(&key));
        }
        Change::Replace => {
            let key = Key::new(name.as_bytes());
            world.with(0, |keys| keys.put_text(&key, b"text", SetExpire::Clear));
            world.with(0, |keys| keys.remove(&key));
        }
    }
}

/// Makes the next change whenever the walker has written a little.
struct Turns<'w> {
    world: &'w mut World,
    kind: u8,
    name: &'static str,
    changes: std::vec::IntoIter<Change>,
    turn: u32,
    out: Vec<u8>,
}

impl Write for Turns<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(2_000);
        self.out.extend_from_slice(&bytes[..taken]);
        if let Some(change) = self.changes.next() {
            self.turn += 1;
            apply(self.world, self.kind, &mut self.name, &change, self.turn);
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_frozen_value_is_saved_as_it_was(
        kind in 0..3u8,
        len in 1..5_000u32,
        before in proptest::collection::vec(change(), 0..6),
        during in proptest::collection::vec(change(), 0..40),
    ) {
        let mut world = World::new(u64::from(len));
        put(&mut world, kind, "value", 0..len, 0);
        let image = world.cut();
        let expected: Saved = world.state();
        let mut name = "value";
        for (turn, change) in before.iter().enumerate() {
            apply(&mut world, kind, &mut name, change, turn as u32);
        }
        let locks = world.locks.clone();
        let mut to = Turns { world: &mut world, kind, name, changes: during.into_iter(), turn: 100, out: Vec::new() };
        let walked = walk(&image, &mut owner_of(&locks), &mut to);
        prop_assert!(walked.is_ok(), "{walked:?}");
        prop_assert!(read(&to.out) == expected);
        prop_assert_eq!(image.pressure.passing_bytes(), 0);
        world.assert_clean();
    }
}

#[test]
fn a_value_is_saved_however_often_it_goes_there_and_back() {
    for _ in 0..40 {
        let mut world = World::new(1);
        put(&mut world, 0, "value", 0..5_000, 0);
        let image = world.cut();
        let expected = world.state();
        let (locks, end) = (world.locks.clone(), AtomicBool::new(false));
        let mut out = Vec::new();
        thread::scope(|scope| {
            let (world, end) = (&mut world, &end);
            scope.spawn(move || {
                let mut name = "value";
                while !end.load(Ordering::Relaxed) {
                    apply(world, 0, &mut name, &Change::Rename, 0);
                    apply(world, 0, &mut name, &Change::Rename, 0);
                }
            });
            let walked = walk(&image, &mut owner_of(&locks), &mut out);
            end.store(true, Ordering::Relaxed);
            walked.expect("it is somewhere");
        });
        assert!(read(&out) == expected);
    }
}

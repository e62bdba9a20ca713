//! The table against a plain model, with cursors held across splits and merges.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A test item: a boxed key and value.
struct Owned(Box<(Vec<u8>, u64)>);

// SAFETY: a box's address fits 48 bits on the platforms we test; the key is never changed.
unsafe impl Item for Owned {
    type Ref<'a> = &'a (Vec<u8>, u64);
    fn into_raw(self) -> NonNull<u8> {
        NonNull::from(Box::leak(self.0)).cast()
    }
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        // SAFETY: by the caller's promise.
        Owned(unsafe { Box::from_raw(raw.as_ptr().cast()) })
    }
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: by the caller's promise.
        unsafe { &raw.cast::<(Vec<u8>, u64)>().as_ref().0 }
    }
    unsafe fn view<'a>(raw: NonNull<u8>) -> &'a (Vec<u8>, u64) {
        // SAFETY: by the caller's promise.
        unsafe { raw.cast().as_ref() }
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("key:{n:08}").into_bytes()
}

fn insert(table: &mut Table<Owned>, n: u64, value: u64) {
    let key = key(n);
    table.insert_new(hash::fast(&key), Owned(Box::new((key, value))), Parity::NONE);
}

fn remove(table: &mut Table<Owned>, n: u64) -> Option<u64> {
    let key = key(n);
    table.remove(hash::fast(&key), &key).map(|item| item.0.1)
}

fn get(table: &Table<Owned>, n: u64) -> Option<u64> {
    let key = key(n);
    table.find(hash::fast(&key), &key).map(|item| item.1)
}

#[test]
fn what_is_inserted_is_found_until_it_is_removed() {
    let mut table = Table::new();
    for n in 0..20_000 {
        insert(&mut table, n, n * 3);
    }
    table.verify();
    for n in 0..20_000 {
        assert_eq!(get(&table, n), Some(n * 3));
        assert_eq!(get(&table, n + 20_000), None);
    }
    for n in (0..20_000).filter(|n| n % 7 != 0) {
        assert_eq!(remove(&mut table, n), Some(n * 3));
    }
    table.verify();
    assert_eq!(table.len(), 20_000usize.div_ceil(7));
    for n in 0..20_000 {
        assert_eq!(get(&table, n).is_some(), n % 7 == 0);
    }
    for n in (0..20_000).filter(|n| n % 7 == 0) {
        remove(&mut table, n);
    }
    assert_eq!((table.len(), table.table_bytes()), (0, table.segments.capacity() * size_of::<Segment>()));
}

#[test]
fn a_table_stays_under_twenty_bytes_an_item_and_gives_memory_back() {
    let mut table = Table::new();
    for n in 0..100_000 {
        insert(&mut table, n, n);
    }
    assert!(table.table_bytes() < 20 * 100_000, "{} bytes", table.table_bytes());
    for n in 1_000..100_000 {
        remove(&mut table, n);
    }
    table.verify();
    assert!(table.table_bytes() < 100 * 1_000, "{} bytes for 1000", table.table_bytes());
}

#[test]
fn a_table_that_is_to_be_large_splits_early_and_takes_no_memory_in_advance() {
    let (mut plain, mut told) = (Table::new(), Table::new());
    for n in 0..100_000u64 {
        // Whoever announces too much gets no more than four times of what there is.
        told.expect(if n < 40_000 { usize::MAX } else { 100_000 });
        insert(&mut plain, n, n);
        insert(&mut told, n, n);
        if n % 10_000 == 9_999 {
            let items = n as usize + 1;
            assert!(told.table_bytes() < 80 * items, "{} bytes for {items}", told.table_bytes());
        }
    }
    told.verify();
    assert!((0..100_000).all(|n| get(&told, n) == Some(n)));
    assert!(told.segments.len() >= plain.segments.len());
    for n in 1_000..100_000 {
        remove(&mut told, n);
    }
    told.verify();
    assert!(told.table_bytes() < 100 * 1_000, "{} bytes for 1000", told.table_bytes());
}

#[test]
fn random_items_are_uniform() {
    let mut table = Table::new();
    for n in 0..1_000 {
        insert(&mut table, n, 0);
    }
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 27)
    };
    let mut counts = BTreeMap::new();
    for _ in 0..200_000 {
        let item = table.random(&mut random).expect("not empty");
        *counts.entry(item.0.clone()).or_insert(0u32) += 1;
    }
    assert_eq!(counts.len(), 1_000);
    // 200 expected each, standard deviation 14.
    assert!(counts.values().all(|&c| (100..310).contains(&c)), "{:?}", counts.values().minmax());
}

trait MinMax {
    fn minmax(self) -> (u32, u32);
}

impl<'a, I: Iterator<Item = &'a u32> + Clone> MinMax for I {
    fn minmax(self) -> (u32, u32) {
        (self.clone().copied().min().unwrap_or(0), self.copied().max().unwrap_or(0))
    }
}

#[test]
fn a_copy_in_order_does_not_look_like_an_attack() {
    let mut first = Table::new();
    (0..20_000).for_each(|n| insert(&mut first, n, n));
    let mut second = Table::new();
    first.iter().for_each(|item| insert(&mut second, item.1, item.1));
    assert!(!second.is_keyed());
    assert!(second.segments.len() < 80, "{} segments", second.segments.len());
    second.verify();
}

#[test]
fn colliding_keys_make_the_table_switch_to_the_keyed_hash() {
    let mut table = Table::new();
    for n in 0..1_000u64 {
        let key = key(n);
        // A caller whose hash always collides stands for keys made to collide.
        table.insert_new(42, Owned(Box::new((key, n))), Parity::NONE);
    }
    assert!(table.is_keyed());
    table.verify();
    for n in 0..1_000 {
        assert_eq!(get(&table, n), Some(n));
    }
}

#[test]
fn a_cell_keeps_parity_through_replace_and_splits() {
    let mut table = Table::new();
    for n in 0..2_000 {
        insert(&mut table, n, 0);
        let key = key(n);
        let mut cell = table.find_cell(hash::fast(&key), &key).expect("just inserted");
        cell.set_parity(if n % 2 == 0 { Parity::A } else { Parity::B });
        cell.update(|item| Owned(Box::new((item.0.0, n))));
    }
    table.verify();
    for n in 0..2_000 {
        let key = key(n);
        let cell = table.find_cell(hash::fast(&key), &key).expect("present");
        assert!(
            cell.parity().agrees(Parity::A.with(Parity::B, Parity::B), if n % 2 == 0 { Parity::A } else { Parity::B })
        );
        assert_eq!(cell.view().1, n);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_scan_returns_everything_that_stays(
        stays in 1u64..400,
        phases in prop::collection::vec((0u64..3_000, any::<bool>()), 1..40),
    ) {
        let mut table = Table::new();
        for n in 0..stays {
            insert(&mut table, n, 1);
        }
        let mut present: BTreeSet<u64> = (0..stays).collect();
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        let mut phase = phases.iter().cycle();
        loop {
            cursor = table.scan(cursor, |item| {
                seen.insert(item.0.clone());
            });
            if cursor == 0 {
                break;
            }
            let &(amount, grow) = phase.next().expect("a cycle");
            // Between two steps the table grows or shrinks by many segments.
            if grow {
                for n in (stays..stays + amount).filter(|n| present.insert(*n)).collect::<Vec<_>>() {
                    insert(&mut table, n, 2);
                }
            } else {
                for n in (stays..stays + 3_000).filter(|n| *n % 3 != amount % 3 && present.remove(n)).collect::<Vec<_>>() {
                    remove(&mut table, n);
                }
            }
        }
        table.verify();
        for n in 0..stays {
            prop_assert!(seen.contains(&key(n)), "{n} was lost");
        }
    }

    #[test]
    fn the_table_equals_a_map(ops in prop::collection::vec((0u64..600, 0u8..3), 1..3_000)) {
        let mut table = Table::new();
        let mut model = BTreeMap::new();
        for (i, (n, op)) in ops.into_iter().enumerate() {
            let i = i as u64;
            match op {
                0 | 1 => {
                    let k = key(n);
                    match table.find_cell(hash::fast(&k), &k) {
                        Some(mut cell) => drop(cell.replace(Owned(Box::new((k, i))))),
                        None => insert(&mut table, n, i),
                    }
                    model.insert(n, i);
                }
                _ => prop_assert_eq!(remove(&mut table, n), model.remove(&n)),
            }
        }
        table.verify();
        prop_assert_eq!(table.len(), model.len());
        let all: BTreeMap<_, _> = table.iter().map(|item| (item.0.clone(), item.1)).collect();
        prop_assert_eq!(all, model.into_iter().map(|(n, v)| (key(n), v)).collect::<BTreeMap<_, _>>());
    }
}

//! A set of integers against an ordered set, the bytes it takes, and the form that Redis gives it.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn set_of(values: &[i64]) -> IntSet {
    let mut set = IntSet::new();
    for &value in values {
        set.insert(value);
    }
    set
}

#[test]
fn ids_below_two_to_the_24_take_three_bytes_each_and_one_of_header() {
    let set: IntSet = set_of(&[1, 70_000, 16_777_215]);
    assert_eq!(set.bytes.len(), 1 + 3 * 3);
}

#[test]
fn ids_that_lie_together_are_narrow_wherever_they_lie() {
    let near: Vec<i64> = (0..200).map(|i| 1_000_000_000_000 + i).collect();
    let set = set_of(&near);
    assert_eq!(set.frame().map(|frame| frame.width), Some(1));
    assert!(set.iter().eq(near));
}

#[test]
fn the_extremes_fit_together() {
    let set = set_of(&[i64::MAX, 0, i64::MIN]);
    assert_eq!(set.iter().collect::<Vec<_>>(), [i64::MIN, 0, i64::MAX]);
    assert_eq!(set.min(), Some(i64::MIN));
    assert_eq!(set.max(), Some(i64::MAX));
    assert_eq!(set.get(3), None);
    assert_eq!(set.get(usize::MAX), None);
}

#[test]
fn a_set_growing_at_one_end_is_repacked_rarely() {
    for step in [-1, 1] {
        let mut set = IntSet::new();
        let mut frames = Vec::new();
        for i in 0..5_000 {
            set.insert(3_000_000_000_000 + i * step);
            if frames.last() != Some(&set.frame()) {
                frames.push(set.frame());
            }
        }
        assert!(frames.len() < 24, "{} frames", frames.len());
    }
}

#[test]
fn the_width_returns_when_the_outlier_leaves() {
    let mut set = set_of(&[5, 6, i64::MAX, -1]);
    assert!(set.remove(i64::MAX) && set.remove(-1));
    assert_eq!(set.bytes.len(), 3);
    assert!(set.remove(5) && set.remove(6) && !set.remove(6));
    assert_eq!(set.bytes.len(), 0);
}

#[test]
fn the_redis_form_has_the_width_that_redis_would_have() {
    for (values, bytes) in
        [(&[][..], 8), (&[32_767, -32_768], 8 + 2 * 2), (&[32_768], 8 + 4), (&[1, i64::from(i32::MIN) - 1], 8 + 2 * 8)]
    {
        assert_eq!(set_of(values).redis_intset_bytes(), bytes);
    }
    let mut blob = Vec::new();
    set_of(&[3, -2]).write_redis_intset(&mut blob);
    assert_eq!(blob, [2, 0, 0, 0, 2, 0, 0, 0, 0xfe, 0xff, 3, 0]);
}

#[test]
fn a_broken_redis_form_is_refused() {
    for blob in [
        &[][..],
        &[2, 0, 0, 0, 1, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0],
        &[2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 9],
        &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0],
        &[2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 1, 0],
        &[2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 9, 0, 5, 0],
        &[8, 0, 0, 0, 255, 255, 255, 255, 1, 0],
    ] {
        assert!(IntSet::from_redis_intset(blob).is_none(), "{blob:?}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(i64),
    Remove(i64),
    RemoveAt(usize),
}

/// Clusters around places where a width or a sign changes, so that values repeat and ranges grow and shrink.
fn value() -> impl Strategy<Value = i64> {
    let edges = prop_oneof![
        Just(0i64),
        Just(i64::MIN),
        Just(i64::MAX),
        (1u32..63).prop_map(|bit| 1 << bit),
        (1u32..63).prop_map(|bit| -(1 << bit)),
    ];
    prop_oneof![
        3 => -20i64..300,
        3 => (edges, -4i64..5).prop_map(|(edge, delta)| edge.wrapping_add(delta)),
        1 => any::<i64>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => value().prop_map(Step::Insert),
        1 => value().prop_map(Step::Remove),
        2 => any::<usize>().prop_map(Step::RemoveAt),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_an_ordered_set(steps in prop::collection::vec(step(), 0..120)) {
        let mut set = IntSet::new();
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Insert(value) => prop_assert_eq!(set.insert(value), model.insert(value)),
                Step::Remove(value) => prop_assert_eq!(set.remove(value), model.remove(&value)),
                Step::RemoveAt(index) if !model.is_empty() => {
                    let value = set.get(index % model.len());
                    prop_assert_eq!(value, model.iter().nth(index % model.len()).copied());
                    prop_assert!(set.remove(value.unwrap()));
                    model.remove(&value.unwrap());
                }
                Step::RemoveAt(_) => prop_assert!(set.is_empty()),
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.iter().len(), model.len());
            prop_assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
            for &value in &model {
                prop_assert!(set.contains(value));
                for other in [value.wrapping_sub(1), value.wrapping_add(1), value.wrapping_neg()] {
                    prop_assert_eq!(set.contains(other), model.contains(&other));
                }
            }
        }
    }

    #[test]
    fn a_frame_holds_its_extremes_and_survives_its_header(a in value(), b in value()) {
        let (min, max) = (a.min(b), a.max(b));
        let frame = Frame::choose(min, max);
        prop_assert_eq!(Frame::decode(frame.encode(0).as_slice()), Some(frame));
        for value in [min, max] {
            prop_assert_eq!(frame.offset(value).map(|offset| frame.value(offset)), Some(value));
        }
        let range = max.abs_diff(min);
        prop_assert!(frame.width == 1 || range > span(frame.width - 1) / 256 * 255);
    }

    #[test]
    fn the_redis_form_comes_back(values in prop::collection::btree_set(value(), 0..40)) {
        let set = set_of(&values.iter().copied().collect::<Vec<_>>());
        let mut blob = Vec::new();
        set.write_redis_intset(&mut blob);
        prop_assert_eq!(blob.len(), set.redis_intset_bytes());
        let back = IntSet::from_redis_intset(&blob).unwrap();
        prop_assert!(back.iter().eq(values));
    }
}

//! Both forms of a sorted set against one sorted vector.

use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;

const LIMITS: ZSetLimits = ZSetLimits { entries: 4, value: 8 };
const BIG: ZSetLimits = ZSetLimits { entries: 0, value: 0 };
const SMALL: ZSetLimits = ZSetLimits { entries: usize::MAX, value: usize::MAX };

type Rows = Vec<(Vec<u8>, f64)>;

fn rows<'a>(members: impl Iterator<Item = (Item<'a>, f64)>) -> Rows {
    members.map(|(member, score)| (member.to_vec(), score)).collect()
}

#[test]
fn many_at_once_are_as_one_by_one() {
    for limits in [BIG, SMALL, LIMITS] {
        let (mut one_by_one, mut at_once) = (ZSet::new(), ZSet::new());
        for round in 0..3u32 {
            let members: Rows =
                (0..37 * round).map(|n| ((n * 7 % 101).to_string().into_bytes(), f64::from(n % 5))).collect();
            for (member, score) in &members {
                one_by_one.add(member, *score, limits);
            }
            at_once.expect(100);
            at_once.add_all(members.iter().map(|(member, score)| (&member[..], *score)), limits);
            assert_eq!(rows(at_once.iter()), rows(one_by_one.iter()));
            assert_eq!(at_once.encoding(), one_by_one.encoding());
        }
    }
}

#[test]
fn members_of_a_file_become_a_set_if_they_are_in_order_and_distinct() {
    let members = |texts: &[(&'static str, f64)]| {
        let members: Vec<_> = texts.iter().map(|(text, score)| (Item::parse(text.as_bytes()), *score)).collect();
        ZSet::from_ordered(&members, LIMITS)
    };
    let all = [("longer than eight bytes", -1.5), ("b", 0.0), ("c", 0.0), ("a", 2.0), ("7", f64::INFINITY)];
    for (count, encoding) in [(0, "ziplist"), (4, "ziplist"), (5, "skiplist")] {
        let zset = members(&all[..count]).expect("in order");
        assert_eq!(zset.encoding(), encoding);
        let expected: Rows = all[..count].iter().map(|(text, score)| (text.as_bytes().to_vec(), *score)).collect();
        assert_eq!(rows(zset.iter()), expected);
    }
    for wrong in
        [[("a", 2.0), ("b", 1.0)], [("b", 1.0), ("a", 1.0)], [("a", 1.0), ("a", 1.0)], [("a", 1.0), ("a", 2.0)]]
    {
        assert!(members(&wrong).is_none());
    }
}

#[test]
fn one_member_too_many_or_too_long_makes_it_big_and_only_on_request_small_again() {
    let mut zset = ZSet::new();
    for n in 0..4u8 {
        assert_eq!(zset.add(&[n], 1.0, LIMITS), Outcome::Added);
    }
    assert_eq!(zset.add(&[0], 2.0, LIMITS), Outcome::Updated);
    assert_eq!(zset.add(&[0], 2.0, LIMITS), Outcome::Unchanged);
    assert_eq!((zset.encoding(), zset.free_cost()), ("ziplist", 1));
    zset.add(&[4], 1.0, LIMITS);
    assert_eq!((zset.encoding(), zset.free_cost()), ("skiplist", 5));
    zset.compact_if_small(LIMITS);
    assert_eq!(zset.encoding(), "skiplist");
    assert_eq!(zset.remove(&[4]), Some(1.0));
    assert_eq!(zset.remove(&[4]), None);
    assert_eq!(zset.encoding(), "skiplist");
    zset.compact_if_small(LIMITS);
    assert_eq!(zset.encoding(), "ziplist");
    zset.add(b"123456789", -1.0, LIMITS);
    assert_eq!(zset.encoding(), "skiplist");
    assert_eq!(rows(zset.iter().take(2)), [(b"123456789".to_vec(), -1.0), (vec![1], 1.0)]);
    zset.compact_if_small(ZSetLimits { entries: 9, ..LIMITS });
    assert_eq!(zset.encoding(), "skiplist");
}

#[test]
fn integers_among_the_members_are_ordered_as_text() {
    for limits in [SMALL, BIG] {
        let mut zset = ZSet::new();
        for member in ["10", "9", "1", "-5", "1a", ""] {
            zset.add(member.as_bytes(), 0.0, limits);
        }
        let members: Vec<_> =
            zset.iter().map(|(member, _)| String::from_utf8(member.to_vec()).expect("text")).collect();
        assert_eq!(members, ["", "-5", "1", "10", "1a", "9"]);
        assert_eq!((zset.rank(b"10"), zset.rank(b"11")), (Some(3), None));
        let range = LexRange { min: LexBound::Inclusive(b"1"), max: LexBound::Exclusive(b"1a") };
        assert_eq!(zset.ranks_by_lex(&range), 2..4);
    }
}

#[test]
fn a_small_set_of_unequal_scores_has_the_lex_ranges_of_redis() {
    let mut zset = ZSet::new();
    for (score, member) in ["c", "a", "d", "b"].iter().enumerate() {
        zset.add(member.as_bytes(), score as f64, SMALL);
    }
    let ranks = |min, max| zset.ranks_by_lex(&LexRange { min, max });
    assert_eq!(ranks(LexBound::Inclusive(b"a"), LexBound::Inclusive(b"c")), 0..2);
    // The first member is behind the range; the last one is before it.
    assert_eq!(ranks(LexBound::Least, LexBound::Inclusive(b"b")), 0..0);
    assert_eq!(ranks(LexBound::Inclusive(b"c"), LexBound::Greatest), 0..0);
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, f64),
    Leave(u8),
    Remove(u8),
    RemoveRanks(usize, usize),
    Compact,
}

/// A member that is an integer, a short or a longer text, by its number.
fn member(n: u8) -> Vec<u8> {
    match n % 3 {
        0 => n.to_string().into_bytes(),
        1 => vec![n, 0, 255],
        _ => format!("member:{n}:{}", "x".repeat(usize::from(n % 5) * 20)).into_bytes(),
    }
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![0.0, -0.0, 1.5, f64::INFINITY, f64::NEG_INFINITY, 1e300]),
        (-3i32..3).prop_map(f64::from),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), score()).prop_map(|(n, score)| Step::Put(n, score)),
        1 => any::<u8>().prop_map(Step::Leave),
        2 => any::<u8>().prop_map(Step::Remove),
        1 => (0usize..40, 0usize..20).prop_map(|(start, n)| Step::RemoveRanks(start, start + n)),
        1 => Just(Step::Compact),
    ]
}

fn bound() -> impl Strategy<Value = ScoreBound> {
    (score(), any::<bool>()).prop_map(|(score, exclusive)| ScoreBound { score, exclusive })
}

fn sort(model: &mut Rows) {
    model.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| a.0.cmp(&b.0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn it_equals_a_sorted_vector(
        steps in prop::collection::vec(step(), 1..150),
        entries in prop::sample::select(vec![0usize, 20, usize::MAX]),
        (min, max) in (bound(), bound()),
        (from, to) in (any::<u8>(), any::<u8>()),
    ) {
        let limits = ZSetLimits { entries, value: 50 };
        let mut zset = ZSet::new();
        let mut model = Rows::new();
        for step in steps {
            match step {
                Step::Put(n, score) => {
                    let old = model.iter().position(|row| row.0 == member(n));
                    let (was, is) = zset.put(&member(n), limits, |_| Some(score));
                    prop_assert_eq!((was, is), (old.map(|at| model[at].1), Some(score)));
                    match old {
                        Some(at) if model[at].1 == score => {}
                        Some(at) => model[at].1 = score,
                        None => model.push((member(n), score)),
                    }
                }
                Step::Leave(n) => {
                    let score = model.iter().find(|row| row.0 == member(n)).map(|row| row.1);
                    prop_assert_eq!(zset.put(&member(n), limits, |_| None), (score, None));
                    prop_assert_eq!(zset.score(&member(n)), score);
                }
                Step::Remove(n) => {
                    let at = model.iter().position(|row| row.0 == member(n));
                    prop_assert_eq!(zset.remove(&member(n)), at.map(|at| model.remove(at).1));
                }
                Step::RemoveRanks(start, end) => {
                    let clip = start.min(model.len())..end.min(model.len());
                    prop_assert_eq!(zset.remove_ranks(start..end), clip.len());
                    model.drain(clip);
                }
                Step::Compact => zset.compact_if_small(limits),
            }
            sort(&mut model);
            prop_assert_eq!(rows(zset.iter()), model.clone());
        }

        prop_assert_eq!(zset.len(), model.len());
        for (rank, (member, score)) in model.iter().enumerate() {
            prop_assert_eq!(zset.rank(member), Some(rank));
            prop_assert_eq!(zset.score(member).map(f64::to_bits), Some(score.to_bits()));
        }
        let range = ScoreRange { min, max };
        let inside = |score: f64| {
            (if min.exclusive { score > min.score } else { score >= min.score })
                && (if max.exclusive { score < max.score } else { score <= max.score })
        };
        let ranks = zset.ranks_by_score(&range);
        let expected: Rows = model.iter().filter(|row| inside(row.1)).cloned().collect();
        prop_assert_eq!(ranks.len(), expected.len());
        prop_assert_eq!(rows(zset.ascending(ranks)), expected);

        let some = usize::from(from.min(to))..usize::from(from.max(to));
        let mut down = rows(zset.descending(some.clone()));
        prop_assert_eq!(zset.descending(some.clone()).len(), down.len());
        down.reverse();
        let clip = some.start.min(model.len())..some.end.min(model.len());
        prop_assert_eq!(&down, &model[clip]);
        prop_assert_eq!(rows(zset.ascending(some)), down);

        let (mut cursor, mut seen) = (0, Rows::new());
        loop {
            cursor = zset.scan(cursor, |member, score| seen.push((member.to_vec(), score)));
            if cursor == 0 { break; }
        }
        sort(&mut seen);
        prop_assert_eq!(seen, model);
    }

    #[test]
    fn lex_ranges_of_one_score_are_those_of_a_sorted_vector(
        numbers in prop::collection::vec(any::<u8>(), 0..100),
        (from, to, from_kind, to_kind) in (any::<u8>(), any::<u8>(), 0u8..4, 0u8..4),
        limits in prop::sample::select(vec![SMALL, BIG]),
    ) {
        let mut zset = ZSet::new();
        for n in numbers {
            zset.add(&member(n), 3.0, limits);
        }
        let (from, to) = (member(from), member(to));
        fn bound(kind: u8, text: &[u8]) -> LexBound<'_> {
            match kind {
                0 => LexBound::Least,
                1 => LexBound::Greatest,
                2 => LexBound::Inclusive(text),
                _ => LexBound::Exclusive(text),
            }
        }
        let range = LexRange { min: bound(from_kind, &from), max: bound(to_kind, &to) };
        let expected: Rows = rows(zset.iter()).into_iter()
            .filter(|row| match from_kind { 0 => true, 1 => false, 2 => row.0 >= from, _ => row.0 > from })
            .filter(|row| match to_kind { 0 => false, 1 => true, 2 => row.0 <= to, _ => row.0 < to })
            .collect();
        prop_assert_eq!(rows(zset.ascending(zset.ranks_by_lex(&range))), expected);
    }
}

//! The tree against a sorted vector, with its structure checked after every few steps.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::zitem::ZItem;
use super::*;

/// A tree with an owner of its items beside it, and the plain order they should have.
struct Pair {
    // Dropped first: it refers to the items.
    tree: ZTree,
    owner: HashMap<Vec<u8>, ZItem>,
}

fn order(a: &(f64, Vec<u8>), b: &(f64, Vec<u8>)) -> std::cmp::Ordering {
    a.0.partial_cmp(&b.0).expect("no NaN").then_with(|| a.1.cmp(&b.1))
}

impl Pair {
    fn new() -> Self {
        Self { tree: ZTree::new(), owner: HashMap::new() }
    }

    /// Adds or moves a member; true if the short way was taken.
    fn put(&mut self, member: &[u8], score: f64) -> bool {
        if let Some(item) = self.owner.get(member) {
            // SAFETY: owned by `owner` until `remove`.
            unsafe {
                if self.tree.moves_nobody(item.link(), score) {
                    item.link().set_score(score);
                    return true;
                }
                self.tree.remove(item.link());
                item.link().set_score(score);
                self.tree.insert(item.link());
            }
        } else {
            let item = ZItem::new(member, score);
            // SAFETY: as above.
            unsafe { self.tree.insert(item.link()) };
            self.owner.insert(member.to_vec(), item);
        }
        false
    }

    fn remove(&mut self, member: &[u8]) {
        if let Some(item) = self.owner.remove(member) {
            // SAFETY: in the tree as long as in `owner`.
            unsafe { self.tree.remove(item.link()) };
        }
    }

    fn remove_range(&mut self, start: usize, n: usize) {
        let owner = &mut self.owner;
        self.tree.remove_range(start, n, |item| {
            // SAFETY: still owned here.
            let member = unsafe { item.member() }.to_vec();
            assert!(owner.remove(&member).is_some());
        });
    }

    fn sorted(&self) -> Vec<(f64, Vec<u8>)> {
        let mut all: Vec<_> = self.owner.values().map(|item| (item.score(), item.member().to_vec())).collect();
        all.sort_by(order);
        all
    }

    /// Structure, order, ranks, walks: all that is promised.
    fn check(&self) {
        let model = self.sorted();
        self.check_structure();
        assert_eq!(self.tree.len(), model.len());
        let up: Vec<_> = self.tree.ascending(0, usize::MAX).map(|(m, s)| (s, m.to_vec())).collect();
        assert_eq!(up, model);
        let mut down: Vec<_> =
            self.tree.descending(model.len().wrapping_sub(1), usize::MAX).map(|(m, s)| (s, m.to_vec())).collect();
        down.reverse();
        assert_eq!(down, model);
        for (rank, (score, member)) in model.iter().enumerate().step_by(1 + model.len() / 50) {
            assert_eq!(self.tree.rank(*score, member), rank);
            let (m, s) = self.tree.ascending(rank, 1).next().expect("in range");
            assert_eq!((s, m), (*score, &member[..]));
            assert_eq!(self.tree.count_before(|s, _| s < *score), model.partition_point(|x| x.0 < *score));
            assert_eq!(self.tree.count_before(|s, _| s <= *score), model.partition_point(|x| x.0 <= *score));
        }
    }

    fn check_structure(&self) {
        let mut leaves = Vec::new();
        // SAFETY: the tree is not changed while we look.
        unsafe {
            let count = subtree(self.tree.root, self.tree.height, true, &mut leaves);
            assert_eq!(count, self.tree.len());
            for (i, &leaf) in leaves.iter().enumerate() {
                let prev = if i == 0 { std::ptr::null_mut() } else { leaves[i - 1] };
                assert!((*leaf).prev == prev);
                assert!((*leaf).next == leaves.get(i + 1).copied().unwrap_or(std::ptr::null_mut()));
                for (&score, &item) in (*leaf).scores().iter().zip((*leaf).items()) {
                    assert_eq!(score.to_bits(), item.score().to_bits());
                }
            }
        }
    }

    fn fill(&self) -> f64 {
        let mut leaves = Vec::new();
        // SAFETY: the tree is not changed while we look.
        unsafe { subtree(self.tree.root, self.tree.height, true, &mut leaves) };
        self.tree.len() as f64 / (leaves.len() * LEAF_CAP) as f64
    }
}

/// Checks a subtree, collects its leaves from left to right, returns how many items it has.
unsafe fn subtree(node: Child, height: u32, is_root: bool, leaves: &mut Vec<*mut Leaf>) -> usize {
    // SAFETY: the caller's tree is whole and not being changed.
    unsafe {
        if height == 0 {
            assert!(is_root || (*node.leaf).len > 0);
            leaves.push(node.leaf);
            return (*node.leaf).len;
        }
        let inner = &*node.inner;
        assert!(inner.rows() >= 2 && inner.rows() <= FANOUT);
        let mut sum = 0;
        for at in 0..inner.rows() {
            let before = leaves.len();
            let count = subtree(inner.child(at), height - 1, false, leaves);
            assert_eq!(inner.counts()[at] as usize, count);
            if at > 0 {
                let (score, item) = (*leaves[before]).first();
                assert!(inner.separator(at).1 == item);
                assert_eq!(inner.separator(at).0, score);
            }
            sum += count;
        }
        sum
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn ordered_insertion_leaves_full_leaves_and_random_insertion_fills_four_fifths() {
    for (name, least) in [("up", 0.97), ("down", 0.97), ("random", 0.75), ("ties", 0.75)] {
        let mut pair = Pair::new();
        let mut seed = 88_172_645_463_325_252;
        for i in 0..30_000u32 {
            let (score, member) = match name {
                "up" => (f64::from(i), i.to_string()),
                "down" => (-f64::from(i), i.to_string()),
                "ties" => (0.0, format!("{:x}", random(&mut seed))),
                _ => (random(&mut seed) as f64, i.to_string()),
            };
            pair.put(member.as_bytes(), score);
        }
        pair.check();
        assert!(pair.fill() > least, "{name}: {}", pair.fill());
    }
}

#[test]
fn a_large_tree_grows_and_shrinks_through_all_heights() {
    let mut pair = Pair::new();
    let mut seed = 7;
    for i in 0..60_000u32 {
        pair.put(&i.to_le_bytes(), (random(&mut seed) % 1000) as f64);
    }
    assert!(pair.tree.height >= 2);
    pair.check();
    let mut members: Vec<_> = pair.owner.keys().cloned().collect();
    members.sort_by_key(|m| u32::from_le_bytes([m[2], m[0], m[3], m[1]]).wrapping_mul(2_654_435_761));
    for (i, member) in members.iter().enumerate() {
        pair.remove(member);
        if i % 7_919 == 0 || pair.tree.len() < 70 {
            pair.check();
        }
    }
    assert_eq!((pair.tree.len(), pair.tree.height), (0, 0));
}

#[test]
fn half_emptied_at_random_it_still_fills_six_tenths() {
    let mut pair = Pair::new();
    let mut seed = 99;
    for i in 0..40_000u32 {
        pair.put(&i.to_le_bytes(), (random(&mut seed) >> 40) as f64);
    }
    for i in (0..40_000u32).filter(|i| i.wrapping_mul(2_654_435_761) >> 31 == 0) {
        pair.remove(&i.to_le_bytes());
    }
    pair.check();
    assert!(pair.fill() > 0.6, "{}", pair.fill());
}

#[test]
fn ranges_of_every_size_can_be_removed_anywhere() {
    let mut seed = 5;
    for size in [1usize, 61, 62, 63, 124, 500, 9_000] {
        for _ in 0..20 {
            let mut pair = Pair::new();
            for i in 0..size {
                pair.put(format!("m{i}").as_bytes(), (random(&mut seed) % 64) as f64);
            }
            while !pair.owner.is_empty() {
                let start = random(&mut seed) as usize % pair.tree.len();
                let n = 1 + random(&mut seed) as usize % (1 + size / 2);
                let mut model = pair.sorted();
                model.drain(start..(start + n).min(model.len()));
                pair.remove_range(start, n);
                assert_eq!(pair.sorted(), model);
                pair.check();
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRange(u16, u8),
    Fill(u16, f64),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![0.0, -0.0, 1.0, 1.5, -1.5, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE]),
        (-20i32..20).prop_map(f64::from),
        any::<f64>().prop_filter("a score is not NaN", |s| !s.is_nan()),
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3),
        prop::collection::vec(prop::sample::select(vec![0u8, 255]), 0..6)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (member(), score()).prop_map(|(m, s)| Step::Put(m, s)),
        4 => member().prop_map(Step::Remove),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(a, n)| Step::RemoveRange(a, n)),
        1 => (1u16..400, score()).prop_map(|(n, s)| Step::Fill(n, s)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_equals_a_sorted_vector(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::new();
        for step in steps {
            match step {
                Step::Put(member, score) => { pair.put(&member, score); }
                Step::Remove(member) => pair.remove(&member),
                Step::RemoveRange(start, n) => {
                    let len = pair.tree.len().max(1);
                    pair.remove_range(usize::from(start) % len, usize::from(n));
                }
                Step::Fill(n, score) => for i in 0..n { pair.put(&i.to_be_bytes(), score); },
            }
            pair.check();
        }
    }
}

#[test]
fn a_score_that_moves_nobody_is_written_in_place() {
    let mut pair = Pair::new();
    for i in 0..1000u32 {
        pair.put(&i.to_be_bytes(), f64::from(i));
    }
    let short = (0..1000u32).filter(|i| pair.put(&i.to_be_bytes(), f64::from(*i) + 0.25)).count();
    assert_eq!(short, 1000);
    assert!(!pair.put(&500u32.to_be_bytes(), 3.0));
    pair.check();
}

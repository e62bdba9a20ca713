//! A compact sequence against a vector of byte strings, and the bytes that its entries take.

use super::*;
use proptest::prelude::*;

fn compact(items: &[&[u8]]) -> Compact {
    let mut compact = Compact::new();
    items.iter().for_each(|item| compact.push_back(item));
    compact
}

fn contents(compact: &Compact) -> Vec<Vec<u8>> {
    compact.iter().map(|item| item.to_vec()).collect()
}

/// Every way of reading agrees with the model.
fn check(compact: &Compact, model: &[Vec<u8>]) {
    assert_eq!(compact.len(), model.len());
    assert_eq!(contents(compact), model);
    let mut backwards: Vec<Vec<u8>> = compact.iter().rev().map(|item| item.to_vec()).collect();
    backwards.reverse();
    assert_eq!(backwards, model);
    let reversed = compact.reversed();
    assert_eq!((contents(&reversed), reversed.len()), (model.iter().rev().cloned().collect(), model.len()));
    let mut pos = compact.first();
    for (index, bytes) in model.iter().enumerate() {
        let here = pos.expect("one entry for each of the model");
        assert!(compact.at(here).eq_bytes(bytes));
        assert_eq!(compact.seek(index as isize), Some(here));
        assert_eq!(compact.seek(index as isize - model.len() as isize), Some(here));
        pos = compact.next(here);
        match pos {
            Some(next) => assert_eq!(compact.prev(next), Some(here)),
            None => assert_eq!(compact.last(), Some(here)),
        }
    }
    assert_eq!(pos, None);
    assert_eq!(compact.get(model.len() as isize), None);
    assert_eq!(compact.get(-1 - model.len() as isize), None);
    if model.is_empty() {
        assert_eq!(compact.heap_bytes(), 0);
    }
}

#[test]
fn each_value_takes_the_bytes_that_the_drawing_says() {
    let long = [b'x'; 70_000];
    let sizes: &[(&[u8], usize)] = &[
        (b"0", 2),
        (b"127", 2),
        (b"128", 3),
        (b"4223", 3),
        (b"4224", 4),
        (b"-1", 4),
        (b"-32768", 4),
        (b"32768", 5),
        (b"-8388608", 5),
        (b"8388608", 6),
        (b"2147483648", 8),
        (b"140737488355328", 10),
        (b"-9223372036854775808", 10),
        (b"", 2),
        (b"a", 3),
        (&long[..63], 65),
        (&long[..64], 67),
        (&long[..125], 128),
        (&long[..126], 130),
        (&long[..4159], 4163),
        (&long[..4160], 4167),
        (&long[..16378], 16385),
        (&long[..16379], 16387),
        (&long, 70_008),
    ];
    for (bytes, size) in sizes {
        let one = compact(&[bytes]);
        assert_eq!(one.bytes(), *size, "{}", bytes.escape_ascii());
        assert!(*size <= Compact::entry_bytes_max(bytes.len()));
        check(&one, &[bytes.to_vec()]);
    }
}

#[test]
fn find_looks_at_every_nth_entry_only() {
    let pairs = compact(&[b"f1", b"17", b"17", b"f1", b"f3", b"x"]);
    let find = |from: isize, needle: &[u8], skip| {
        pairs
            .find(pairs.seek(from).unwrap(), needle, skip)
            .map(|pos| (0..6).position(|i| pairs.seek(i) == Some(pos)).unwrap())
    };
    assert_eq!(find(0, b"17", 1), Some(2));
    assert_eq!(find(0, b"17", 0), Some(1));
    assert_eq!(find(1, b"f1", 1), Some(3));
    assert_eq!(find(0, b"x", 1), None);
    assert_eq!(find(0, b"f", 0), None);
    assert_eq!(find(0, b"017", 0), None);
    assert_eq!(find(0, b"x", 7), None);
}

/// The sums are what DEBUG OBJECT of Redis 3.2 gives as ql_uncompressed_size for these lists.
#[test]
fn the_ziplist_estimate_counts_headers_and_encodings() {
    assert_eq!(Compact::new().ziplist_size_estimate(), 11);
    assert_eq!(compact(&[b"12", b"13", b"300", b"100000", b"10000000", b"10000000000"]).ziplist_size_estimate(), 41);
    assert_eq!(compact(&[b"hello", b""]).ziplist_size_estimate(), 11 + 7 + 2);
    assert_eq!(compact(&[&[b'x'; 300], b"a"]).ziplist_size_estimate(), 11 + (1 + 2 + 300) + (5 + 1 + 1));
}

#[test]
fn it_stays_one_word() {
    assert_eq!(size_of::<Option<Compact>>(), 8);
}

#[derive(Debug, Clone)]
enum Step {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize),
    RemoveRange(usize, usize),
    PopBack,
    RemoveEqual(usize, usize, bool),
    Find(usize, usize, usize),
    SplitAppend(usize, bool),
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0i64..6).prop_map(|int| int.to_string().into_bytes()),
        4 => (-200i64..5000).prop_map(|int| int.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|int| int.to_string().into_bytes()),
        1 => any::<i32>().prop_map(|int| int.to_string().into_bytes()),
        4 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => (0usize..20_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (60usize..70, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (120usize..130, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<usize>;
    prop_oneof![
        3 => element().prop_map(Step::PushBack),
        3 => element().prop_map(Step::PushFront),
        2 => (index(), element()).prop_map(|(at, e)| Step::InsertBefore(at, e)),
        2 => (index(), element()).prop_map(|(at, e)| Step::InsertAfter(at, e)),
        2 => (index(), element()).prop_map(|(at, e)| Step::Replace(at, e)),
        2 => index().prop_map(Step::Remove),
        1 => (index(), 0usize..6).prop_map(|(at, count)| Step::RemoveRange(at, count)),
        1 => Just(Step::PopBack),
        2 => (index(), 0usize..4, any::<bool>()).prop_map(|(of, max, rev)| Step::RemoveEqual(of, max, rev)),
        2 => (index(), index(), 0usize..3).prop_map(|(from, of, skip)| Step::Find(from, of, skip)),
        1 => (index(), any::<bool>()).prop_map(|(at, swap)| Step::SplitAppend(at, swap)),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_a_vec_of_strings(steps in proptest::collection::vec(step(), 0..40)) {
        let mut compact = Compact::new();
        let mut model: Vec<Vec<u8>> = Vec::new();
        for step in steps {
            let len = model.len();
            match step {
                Step::PushBack(e) => { compact.push_back(&e); model.push(e); }
                Step::PushFront(e) => { compact.push_front(&e); model.insert(0, e); }
                Step::InsertBefore(at, e) if len > 0 => {
                    compact.insert_before(compact.seek((at % len) as isize).unwrap(), &e);
                    model.insert(at % len, e);
                }
                Step::InsertAfter(at, e) if len > 0 => {
                    let pos = compact.insert_after(compact.seek((at % len) as isize).unwrap(), &e);
                    prop_assert!(compact.at(pos).eq_bytes(&e));
                    model.insert(at % len + 1, e);
                }
                Step::Replace(at, e) if len > 0 => {
                    compact.replace(compact.seek((at % len) as isize).unwrap(), &e);
                    model[at % len] = e;
                }
                Step::Remove(at) if len > 0 => {
                    let next = compact.remove(compact.seek((at % len) as isize).unwrap());
                    model.remove(at % len);
                    prop_assert_eq!(next.map(|pos| compact.at(pos).to_vec()), model.get(at % len).cloned());
                }
                Step::RemoveRange(at, count) if len > 0 => {
                    compact.remove_range(at % len, count);
                    model.drain(at % len..(at % len + count).min(len));
                }
                Step::Find(from, of, skip) if len > 0 => {
                    let (from, needle) = (from % len, &model[of % len]);
                    let found = compact.find(compact.seek(from as isize).unwrap(), needle, skip);
                    let expected = (from..len).step_by(skip + 1).find(|i| &model[*i] == needle);
                    prop_assert_eq!(found, expected.and_then(|i| compact.seek(i as isize)));
                    let item = Item::parse(needle);
                    prop_assert_eq!(compact.position::<false>(item), model.iter().position(|e| e == needle));
                    prop_assert_eq!(compact.position::<true>(item), model.iter().rposition(|e| e == needle));
                }
                Step::RemoveEqual(of, max, rev) if len > 0 => {
                    let needle = model[of % len].clone();
                    let item = Item::parse(&needle);
                    let removed = if rev {
                        compact.remove_equal::<true>(item, max)
                    } else {
                        compact.remove_equal::<false>(item, max)
                    };
                    let mut expected = 0;
                    while expected < max {
                        let equal = |e: &Vec<u8>| *e == needle;
                        let at = if rev { model.iter().rposition(equal) } else { model.iter().position(equal) };
                        let Some(at) = at else { break };
                        model.remove(at);
                        expected += 1;
                    }
                    prop_assert_eq!(removed, expected);
                }
                Step::PopBack => {
                    compact.pop_back();
                    model.pop();
                }
                Step::SplitAppend(at, swap) => {
                    let at = at % (len + 1);
                    let mut tail = compact.split_off(at);
                    let model_tail = model.split_off(at);
                    check(&compact, &model);
                    check(&tail, &model_tail);
                    if swap {
                        tail.append(&compact);
                        model = [model_tail, model].concat();
                        compact = tail;
                    } else {
                        compact.append(&tail);
                        model.extend(model_tail);
                    }
                }
                _ => {}
            }
            check(&compact, &model);
        }
    }
}

//! A list against a `VecDeque`, in both forms and at the limits between them.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

type Model = VecDeque<Vec<u8>>;

fn list(texts: &[&str], limit: NodeLimit) -> List {
    let mut list = List::new();
    texts.iter().for_each(|text| list.push_back(text.as_bytes(), limit));
    list
}

fn contents(list: &List) -> Vec<Vec<u8>> {
    list.iter().map(|item| item.to_vec()).collect()
}

/// Every way of reading agrees with the model.
fn check(list: &List, model: &Model) {
    assert_eq!(list.len(), model.len());
    assert_eq!(*model, contents(list));
    let back: Vec<_> = list.iter_back_from(model.len().wrapping_sub(1)).map(|item| item.to_vec()).collect();
    assert!(back.iter().eq(model.iter().rev()));
    let by_nodes: Vec<_> = list.nodes().flat_map(|node| node.iter()).map(|item| item.to_vec()).collect();
    assert_eq!(*model, by_nodes);
    assert!(list.nodes().all(|node| !node.is_empty()));
    assert_eq!(list.nodes().count(), list.node_count());
    for (index, text) in model.iter().enumerate() {
        assert!(list.get(index as i64).unwrap().eq_bytes(text));
        assert!(list.get(index as i64 - model.len() as i64).unwrap().eq_bytes(text));
        assert!(list.iter_from(index).next().unwrap().eq_bytes(text));
        assert!(list.iter_back_from(index).next().unwrap().eq_bytes(text));
        assert_eq!(list.iter_back_from(index).count(), index + 1);
        assert_eq!(list.iter_from(index).count(), model.len() - index);
    }
    assert!(list.get(model.len() as i64).is_none());
    assert!(list.get(-1 - model.len() as i64).is_none());
}

#[test]
fn a_list_is_one_word() {
    assert_eq!(size_of::<Option<List>>(), 8);
}

#[test]
fn a_node_limit_has_the_meaning_of_the_directive() {
    for (config, bytes, entries) in [
        (-1, 4096, u32::MAX),
        (-2, 8192, u32::MAX),
        (-5, 65536, u32::MAX),
        (-6, 65536, u32::MAX),
        (0, 8192, 0),
        (3, 8192, 3),
        (1 << 40, 8192, 1 << 15),
    ] {
        assert_eq!(NodeLimit::from_config(config), NodeLimit { bytes, entries }, "{config}");
    }
}

#[test]
fn a_node_fills_its_limit_and_no_more() {
    let limit = NodeLimit::from_config(-1);
    let mut list = List::new();
    while list.node_count() < 3 {
        list.push_back(&[b'x'; 60], limit);
    }
    assert_eq!(list.nodes().next().unwrap().len(), (4096 - 12) / 62);
    let mut list = List::new();
    for _ in 0..8 {
        list.push_front(b"x", NodeLimit::from_config(3));
    }
    assert_eq!(list.nodes().map(|node| node.len()).collect::<Vec<_>>(), [2, 3, 3]);
    let mut list = List::new();
    (0..3).for_each(|_| list.push_front(b"x", NodeLimit::from_config(0)));
    assert_eq!(list.node_count(), 3);
}

#[test]
fn an_element_larger_than_a_node_stands_alone() {
    let limit = NodeLimit::default();
    let huge = vec![b'h'; 100_000];
    let mut list = list(&["a", "b", "c"], limit);
    assert!(list.insert(End::Back, b"b", &huge, limit));
    assert_eq!(list.nodes().map(|node| node.len()).collect::<Vec<_>>(), [2, 1, 1]);
    assert!(list.set(0, &huge, limit));
    assert_eq!(list.nodes().map(|node| node.len()).collect::<Vec<_>>(), [1, 1, 1, 1]);
    assert_eq!(list.remove(0, &huge), 2);
    assert_eq!(contents(&list), [b"b", b"c"]);
}

#[test]
fn a_queue_shrinks_back_to_one_node() {
    let limit = NodeLimit::from_config(2);
    let mut list = List::new();
    (0..50).for_each(|i| list.push_front(i.to_string().as_bytes(), limit));
    for i in 0..49 {
        assert_eq!(list.pop_back_with(|item| item.to_vec()), Some(i.to_string().into_bytes()));
    }
    assert_eq!(list.node_count(), 1);
    assert!(list.0.is_a());
    assert_eq!(list.pop_front_with(|item| item.to_vec()), Some(b"49".to_vec()));
    assert_eq!(list.pop_front_with(|item| item.to_vec()), None);
    assert_eq!(list.heap_bytes(), 0);
}

#[test]
fn trimming_a_long_list_leaves_whole_nodes_to_be_freed_later() {
    let limit = NodeLimit::from_config(4);
    let mut list = List::new();
    (0..1000).for_each(|i| list.push_back(i.to_string().as_bytes(), limit));
    let debris = list.trim(500, 10);
    assert!(debris.len() > 900);
    assert_eq!(contents(&list), (500..510).map(|i| i.to_string().into_bytes()).collect::<Vec<_>>());
}

#[derive(Debug, Clone)]
enum Step {
    Push(bool, Vec<u8>),
    PushMany(bool, u8),
    Pop(bool),
    PopMany(bool, u8),
    Set(usize, Vec<u8>),
    Insert(bool, usize, Vec<u8>),
    Remove(i64, usize),
    Trim(usize, usize),
    Freeze,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u8..6).prop_map(|n| n.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), 0usize..5000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<usize>;
    prop_oneof![
        6 => (any::<bool>(), element()).prop_map(|(front, e)| Step::Push(front, e)),
        3 => (any::<bool>(), 0u8..60).prop_map(|(front, n)| Step::PushMany(front, n)),
        6 => any::<bool>().prop_map(Step::Pop),
        2 => (any::<bool>(), 0u8..40).prop_map(|(front, n)| Step::PopMany(front, n)),
        4 => (index(), element()).prop_map(|(at, e)| Step::Set(at, e)),
        6 => (any::<bool>(), index(), element()).prop_map(|(before, of, e)| Step::Insert(before, of, e)),
        2 => (-3i64..4, index()).prop_map(|(count, of)| Step::Remove(count, of)),
        1 => (index(), index()).prop_map(|(start, count)| Step::Trim(start, count)),
        1 => Just(Step::Freeze),
    ]
}

fn limit() -> impl Strategy<Value = NodeLimit> {
    prop_oneof![
        (0i64..6).prop_map(NodeLimit::from_config),
        (20u32..200).prop_map(|bytes| NodeLimit { bytes, entries: u32::MAX }),
        Just(NodeLimit::default()),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_a_deque(limit in limit(), steps in proptest::collection::vec(step(), 0..60)) {
        let mut list = List::new();
        let mut model = Model::new();
        let mut frozen = Vec::new();
        for step in steps {
            let len = model.len();
            let mut push = |front: bool, e: &[u8], model: &mut Model| {
                list.push(if front { End::Front } else { End::Back }, e, limit);
                if front { model.push_front(e.to_vec()) } else { model.push_back(e.to_vec()) }
            };
            match step {
                Step::Push(front, e) => push(front, &e, &mut model),
                Step::PushMany(front, n) => (0..n).for_each(|i| push(front, i.to_string().as_bytes(), &mut model)),
                Step::Pop(_) | Step::PopMany(..) => {
                    let (front, n) = match step { Step::Pop(front) => (front, 1), Step::PopMany(front, n) => (front, n), _ => unreachable!() };
                    for _ in 0..n {
                        let popped = list.pop_with(if front { End::Front } else { End::Back }, |item| item.to_vec());
                        prop_assert_eq!(popped, if front { model.pop_front() } else { model.pop_back() });
                    }
                }
                Step::Set(at, e) => {
                    let at = at % (len + 1);
                    prop_assert_eq!(list.set(at as i64, &e, limit), at < len);
                    if at < len { model[at] = e; }
                }
                Step::Insert(before, of, e) if len > 0 => {
                    let pivot = model[of % len].clone();
                    let at = model.iter().position(|e| *e == pivot).unwrap();
                    let side = if before { End::Front } else { End::Back };
                    prop_assert!(list.insert(side, &pivot, &e, limit));
                    model.insert(if before { at } else { at + 1 }, e);
                }
                Step::Remove(count, of) if len > 0 => {
                    let needle = model[of % len].clone();
                    let mut expected = 0;
                    while count == 0 || expected < count.unsigned_abs() as usize {
                        let equal = |e: &Vec<u8>| *e == needle;
                        let at = if count < 0 { model.iter().rposition(equal) } else { model.iter().position(equal) };
                        let Some(at) = at else { break };
                        model.remove(at);
                        expected += 1;
                    }
                    prop_assert_eq!(list.remove(count, &needle), expected);
                }
                Step::Trim(start, count) => {
                    let start = start % (len + 1);
                    let count = count % (len + 1);
                    list.trim(start, count);
                    model = model.into_iter().skip(start).take(count).collect();
                }
                Step::Freeze => frozen.push((list.freeze(), model.clone())),
                _ => {}
            }
            check(&list, &model);
        }
        for (list, model) in frozen {
            check(&list, &model);
        }
    }
}

//! What is written is read again, and nothing else than that is believed.

use super::decode::{Decoder, Limits};
use super::encode::Encoder;
use super::file::Writer;
use super::load::{Event, LoadOptions, Loader};
use super::restoring::Restoring;
use super::source::Source;
use super::stepwise::Payload;
use super::{RdbError, dump};
use engine::raw::entry::{Body, Collection, Entry, EntryRef, Value};
use engine::value::zset::Outcome;
use engine::value::{Hash, List, Set, ZSet};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A value as plain data.
#[derive(Debug, Clone, PartialEq)]
enum Plain {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    ZSet(BTreeMap<Vec<u8>, f64>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

impl Plain {
    fn entry(&self, key: &[u8], expire_at_ms: Option<i64>) -> Entry {
        let limits = Limits::default();
        let body = match self {
            Plain::Text(text) => {
                let int = resp::parse_i64(text).map(Body::Int);
                int.unwrap_or(Body::Bytes { bytes: text, raw: false })
            }
            Plain::List(elements) => {
                let mut list = List::new();
                elements.iter().for_each(|element| list.push_back(element, limits.list_node));
                list.body()
            }
            Plain::Set(members) => {
                let mut set = Set::new();
                members.iter().for_each(|member| assert!(set.add(member, limits.set_max_intset_entries)));
                set.body()
            }
            Plain::ZSet(members) => {
                let mut zset = ZSet::new();
                members
                    .iter()
                    .for_each(|(member, score)| assert_eq!(zset.add(member, *score, limits.zset), Outcome::Added));
                zset.body()
            }
            Plain::Hash(fields) => {
                let mut hash = Hash::new();
                fields.iter().for_each(|(field, value)| assert!(hash.set(field, value, limits.hash)));
                hash.body()
            }
        };
        Entry::new(key, body, expire_at_ms, 0)
    }

    fn of(entry: EntryRef<'_>) -> Plain {
        match entry.value() {
            Value::Int(n) => Plain::Text(n.to_string().into_bytes()),
            Value::Bytes(bytes) => Plain::Text(bytes.to_vec()),
            Value::List(list) => Plain::List(list.iter().map(|item| item.to_vec()).collect()),
            Value::Set(set) => Plain::Set(set.iter().map(|item| item.to_vec()).collect()),
            Value::ZSet(zset) => Plain::ZSet(zset.iter().map(|(item, score)| (item.to_vec(), score)).collect()),
            Value::Hash(hash) => {
                Plain::Hash(hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
            }
        }
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_flat_map(|n| (0u32..64).prop_map(move |shift| (n >> shift).to_string().into_bytes())),
        prop::collection::vec(any::<u8>(), 0..30),
        (any::<u8>(), 0usize..400).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![(-1000i32..1000).prop_map(f64::from), any::<f64>().prop_filter("a number", |score| !score.is_nan())]
}

fn value() -> impl Strategy<Value = Plain> {
    let several = 1usize..40;
    prop_oneof![
        text().prop_map(Plain::Text),
        prop::collection::vec(text(), several.clone()).prop_map(Plain::List),
        (1usize..800, any::<i64>()).prop_map(|(n, from)| {
            Plain::Set((0..n as i64).map(|i| from.wrapping_add(i).to_string().into_bytes()).collect())
        }),
        prop::collection::btree_set(text(), several.clone()).prop_map(Plain::Set),
        prop::collection::btree_map(text(), score(), 1usize..200).prop_map(Plain::ZSet),
        prop::collection::btree_map(text(), text(), several).prop_map(Plain::Hash),
    ]
}

fn file(entries: &[Entry], compress: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), compress, true);
    writer.encoder.header("3.2.11", 1_500_000_000, 1 << 20);
    writer.encoder.database(9, entries.len(), 0);
    entries.iter().for_each(|entry| writer.entry(entry.view()).expect("memory takes all"));
    writer.finish().expect("memory takes all")
}

type Loaded = Vec<(u32, Vec<u8>, Plain, Option<i64>)>;

fn load(bytes: &[u8]) -> Result<Loaded, RdbError> {
    let mut loaded = Vec::new();
    Loader::new(bytes, LoadOptions::default())?.each(|event| {
        if let Event::Entry(loading) = event {
            let entry = loading.entry.view();
            assert_eq!((loading.hash, loading.slot), (engine::hash::fast(entry.key()), slots::slot_of(entry.key())));
            loaded.push((loading.db, entry.key().to_vec(), Plain::of(entry), entry.expire_at_ms()));
        }
        Ok(())
    })?;
    Ok(loaded)
}

fn decoder(bytes: &[u8]) -> Decoder<&[u8]> {
    Decoder::new(Source::new(bytes, false), Limits::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_data_set_is_read_as_it_was_written(
        values in prop::collection::vec((text(), value(), prop::option::of(any::<i64>())), 0..8),
        compress: bool,
        at: usize,
        to: u8,
    ) {
        let entries: Vec<_> = values.iter().map(|(key, value, expire)| value.entry(key, *expire)).collect();
        let mut bytes = file(&entries, compress);
        let expected: Loaded = values.into_iter().map(|(key, value, expire)| (9, key, value, expire)).collect();
        prop_assert_eq!(load(&bytes).expect("whole"), expected);
        // Any byte that is changed is noticed, at the checksum at the latest, unless that is switched off.
        let at = at % bytes.len();
        if bytes[at] != to && at < bytes.len() - 8 {
            bytes[at] = to;
            prop_assert!(load(&bytes).is_err());
        }
        prop_assert!(load(&bytes[..at]).is_err());
    }

    #[test]
    fn a_dumped_value_is_restored(value in value(), compress: bool) {
        let entry = value.entry(b"k", None);
        let payload = dump::dump(entry.view().value(), compress);
        let verified = dump::verify(&payload).expect("whole");
        let restored = dump::restore(verified, Limits::default(), b"k2", Some(5), 7).expect("whole");
        prop_assert_eq!(restored.view().key(), b"k2");
        prop_assert_eq!(restored.view().expire_at_ms(), Some(5));
        prop_assert_eq!(restored.view().encoding(), entry.view().encoding());
        prop_assert_eq!(Plain::of(restored.view()), value);
        prop_assert_eq!(&*dump::for_older_readers(&payload, restored.view().value()), &payload[..]);
        // As a later server would say it.
        let mut later = [verified, &9u16.to_le_bytes()].concat();
        later.extend(crate::crc64::checksum(&later).to_le_bytes());
        let again = dump::for_older_readers(&later, restored.view().value());
        let read = dump::restore(dump::verify(&again).expect("whole"), Limits::default(), b"k3", None, 7).expect("whole");
        prop_assert_eq!(again[again.len() - 10..][..2].to_vec(), 7u16.to_le_bytes());
        prop_assert_eq!(Plain::of(read.view()), Plain::of(restored.view()));
        prop_assert!(dump::restore(&verified[..verified.len() - 1], Limits::default(), b"k", None, 0).is_err());
        let longer = [verified, b"x"].concat();
        prop_assert!(dump::restore(&longer, Limits::default(), b"k", None, 0).is_err());
    }

    #[test]
    fn garbage_is_refused_or_decoded_but_nothing_worse(kind in 0u8..22, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoder(&bytes).value(kind);
    }

    #[test]
    fn a_damaged_value_is_refused_or_decoded_but_nothing_worse(value in value(), kind in 0u8..22, at: usize, to: u8) {
        let mut encoder = Encoder::new(false);
        encoder.value(value.entry(b"k", None).view().value());
        let mut bytes = std::mem::take(&mut encoder.out);
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = decoder(&bytes).value(kind);
        let entry = value.entry(b"k", None);
        let _ = decoder(&bytes).value(super::encode::kind_of(entry.view().value()));
    }
}

fn element(n: usize) -> Vec<u8> {
    format!("element:{n}").into_bytes()
}

/// A value of each type but text, with `count` elements.
fn collections(count: usize) -> [Plain; 5] {
    [
        Plain::List((0..count).map(element).collect()),
        Plain::Set((0..count).map(element).collect()),
        Plain::Set((0..count).map(|n| n.to_string().into_bytes()).collect()),
        Plain::ZSet((0..count).map(|n| (element(n), n as f64 / 3.0)).collect()),
        Plain::Hash((0..count).map(|n| (element(n), element(n + 1))).collect()),
    ]
}

#[test]
fn a_payload_made_in_steps_is_the_same_value() {
    for count in [1, 512, 513, 3000] {
        let values = [Plain::Text(vec![b'x'; count * 300]), Plain::Text(vec![b'x'; count * 300 + 1])];
        for plain in values.into_iter().chain(collections(count)) {
            let entry = plain.entry(b"k", None);
            let mut payload = Payload::begin(entry.view().value(), true);
            let mut steps = 0;
            while payload.goes_on() {
                payload.make_room(1000);
                payload.step(entry.view().value(), 1000);
                steps += 1;
            }
            let payload = payload.finish().expect("it did not change");
            let verified = dump::verify(&payload).expect("a right checksum");
            let restored = dump::restore(verified, Limits::default(), b"k", None, 0).expect("a value");
            assert_eq!(Plain::of(restored.view()), plain);
            assert!(count < 3000 || steps > 5, "{steps}");
        }
    }
}

/// What a payload gives when it is read at once, and when it is read in steps that end at every occasion.
fn both_ways(payload: &[u8]) -> [Option<Plain>; 2] {
    let limits = Limits::default();
    let at_once = dump::verify(payload).and_then(|value| dump::restore(value, limits, b"k", None, 0).ok());
    let mut restoring = Restoring::new(limits);
    while !restoring.step(payload, || false) {}
    let in_steps = restoring.into_body().ok().map(|body| Entry::new(b"k", body, None, 0));
    [at_once, in_steps].map(|entry| entry.map(|entry| Plain::of(entry.view())))
}

/// At how many places the reading of a payload may stop, behind its checksum's.
fn stops_behind_the_sum(payload: &[u8]) -> usize {
    const SUMMED_AT_ONCE: usize = 16 * 1024;
    let mut restoring = Restoring::new(Limits::default());
    let mut stops = 0;
    while !restoring.step(payload, || false) {
        stops += 1;
    }
    let of_sum = (payload.len() - 8).div_ceil(SUMMED_AT_ONCE);
    assert!(stops >= of_sum, "{stops} stops in {} bytes", payload.len());
    stops - of_sum
}

#[test]
fn a_payload_read_in_steps_is_the_same_value() {
    let words = |n: usize| (0..n).flat_map(element).collect::<Vec<u8>>();
    for count in [1, 16, 17, 3000, 40_000] {
        let values = [Plain::Text(vec![b'x'; count * 300]), Plain::Text(words(count))];
        for plain in values.into_iter().chain(collections(count)) {
            for compress in [false, true] {
                let payload = dump::dump(plain.entry(b"k", None).view().value(), compress);
                assert_eq!(both_ways(&payload), [Some(plain.clone()), Some(plain.clone())]);
                let stops = stops_behind_the_sum(&payload);
                assert!(count < 40_000 || stops > 3, "{stops} stops in {plain:.40?}");
            }
        }
    }
}

#[test]
fn what_is_wrong_at_once_is_wrong_in_steps() {
    let plain = Plain::Hash((0..200).map(|n| (n.to_string().into_bytes(), vec![b'x'; 100])).collect());
    let text = Plain::Text((0..9000u32).flat_map(u32::to_le_bytes).collect());
    for (plain, compress) in [(plain, true), (text.clone(), true), (text, false)] {
        let payload = dump::dump(plain.entry(b"k", None).view().value(), compress);
        assert_eq!(both_ways(&payload), [Some(plain.clone()), Some(plain)]);
        for at in (0..payload.len()).step_by(97) {
            let mut damaged = payload.clone();
            damaged[at] ^= 1;
            assert_eq!(both_ways(&damaged), [None, None], "{at}");
        }
        // Damage under a right checksum.
        let sealed = |value: &[u8]| dump::sealed(value.to_vec());
        let value = &payload[..payload.len() - 10];
        for end in (0..value.len()).step_by(89) {
            assert_eq!(both_ways(&sealed(&value[..end])), [None, None], "{end}");
        }
        assert_eq!(both_ways(&sealed(&[value, b"x"].concat())), [None, None]);
        for at in (1..value.len()).step_by(61) {
            let mut damaged = value.to_vec();
            damaged[at] ^= 0x55;
            let [at_once, in_steps] = both_ways(&sealed(&damaged));
            assert_eq!(at_once, in_steps, "{at}");
        }
    }
    assert_eq!(both_ways(b""), [None, None]);
    // Of a string only what is there is believed, compressed or not.
    let huge = [&b"\0\xc3\x80\x00\x02\x00\x00\x80\x3f\xff\xff\xff"[..], &vec![0; 0x2_0000]].concat();
    let huge = dump::sealed(huge);
    assert_eq!((both_ways(&huge), stops_behind_the_sum(&huge)), ([None, None], 0));
    let empty = dump::sealed(vec![super::kind::HASH, 0]);
    assert_eq!(both_ways(&empty), [None, None]);
}

#[test]
fn a_payload_of_a_value_that_changed_between_steps_is_none() {
    let list = |count: usize| Plain::List(vec![b"element".to_vec(); count]).entry(b"k", None);
    let mut payload = Payload::begin(list(3000).view().value(), true);
    payload.step(list(3000).view().value(), 1000);
    while payload.goes_on() {
        payload.step(list(2900).view().value(), 1000);
    }
    assert!(payload.finish().is_none());
}

#[test]
fn empty_data_and_other_versions() {
    let empty = file(&[], true);
    assert!(empty.starts_with(b"REDIS0007"));
    assert_eq!(load(&empty).expect("whole"), []);
    let with = |from: usize, bytes: &[u8]| {
        let mut file = empty.clone();
        file[from..from + bytes.len()].copy_from_slice(bytes);
        load(&file).expect_err("refused").to_string()
    };
    assert_eq!(with(5, b"0099"), "can't handle RDB format version 99 at offset 9");
    assert!(with(0, b"X").contains("not those of an RDB file"));
    assert!(with(empty.len() - 8, b"\x01").contains("checksum"));
    // Without a checksum everything is believed.
    let mut unsummed = empty.clone();
    unsummed[empty.len() - 8..].fill(0);
    assert!(load(&unsummed).is_ok());
}

#[test]
fn a_claim_of_many_elements_makes_no_room_before_they_are_there() {
    for kind in 0..22 {
        let claim = [0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(decoder(&claim).value(kind).is_err());
        let claim = [0x80, 0x3f, 0xff, 0xff, 0xff, b'x'];
        assert!(decoder(&claim).value(kind).is_err());
    }
}

/// The same commands were given to both servers, then SAVE.
#[test]
fn files_of_real_servers_are_read() {
    let texts = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let numbered = |n: usize| (0..n).map(|i| format!("m{i}").into_bytes());
    let list = texts(&["a", "300", "-5", &"b".repeat(70)]);
    let zset = [(b"a".to_vec(), 1.5), (b"b".to_vec(), f64::NEG_INFINITY)];
    let expected: BTreeMap<&[u8], Plain> = BTreeMap::from([
        (&b"text"[..], Plain::Text(b"hello".to_vec())),
        (b"int", Plain::Text(b"-77".to_vec())),
        (b"lzf", Plain::Text(b"abcd".repeat(50))),
        (b"expiring", Plain::Text(b"v".to_vec())),
        (b"list", Plain::List(list)),
        (b"ints", Plain::Set(texts(&["1", "70000"]).into_iter().collect())),
        (b"set", Plain::Set(texts(&["x", "y"]).into_iter().collect())),
        (b"bigset", Plain::Set(numbered(600).collect())),
        (b"zset", Plain::ZSet(zset.into_iter().collect())),
        (b"bigzset", Plain::ZSet(numbered(200).zip((0..200).map(|i| f64::from(i) * 0.5)).collect())),
        (b"hash", Plain::Hash([(b"f".to_vec(), b"1".to_vec())].into_iter().collect())),
        (b"bighash", Plain::Hash([(b"f".to_vec(), vec![b'w'; 100])].into_iter().collect())),
        (b"other", Plain::Text(b"db".to_vec())),
    ]);
    for bytes in [&include_bytes!("../../testdata/redis-3.2.rdb")[..], include_bytes!("../../testdata/redis-7.0.rdb")] {
        let loaded = load(bytes).expect("whole");
        assert_eq!(loaded.len(), expected.len());
        for (db, key, value, expire_at_ms) in loaded {
            assert_eq!(db, if key == b"other" { 9 } else { 0 });
            assert_eq!(expire_at_ms, (key == b"expiring").then_some(4_102_444_800_000));
            assert_eq!(Some(&value), expected.get(&key[..]), "{}", key.escape_ascii());
        }
    }
}

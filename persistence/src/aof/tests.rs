//! What is written is read again; wherever a file is cut, it is whole up to the last command or transaction.

use super::read::{Outcome, Reader, Start, Step, Why, open};
use super::rewrite;
use crate::rdb::file::Writer;
use crate::rdb::load::{Event, LoadOptions};
use proptest::prelude::*;
use resp::Out;

type Words = Vec<Vec<u8>>;

fn write(commands: &[Words]) -> Vec<u8> {
    let mut out = Out::new();
    for words in commands {
        out.array(words.len());
        words.iter().for_each(|word| out.bulk(word));
    }
    out.into_vec()
}

fn commands(texts: &[&str]) -> Vec<Words> {
    texts.iter().map(|text| text.split(' ').map(|word| word.as_bytes().to_vec()).collect()).collect()
}

/// Gives few bytes at a time, so that everything is cut somewhere.
struct Drops<'a>(&'a [u8], usize);

impl std::io::Read for Drops<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let len = self.1.min(to.len()).min(self.0.len());
        let (now, later) = self.0.split_at(len);
        to[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

fn read(mut reader: Reader<impl std::io::Read>) -> (Vec<(Words, u64, bool)>, Outcome) {
    let mut all = Vec::new();
    loop {
        match reader.step().expect("readable") {
            Step::Command(command) => {
                let words = (0..command.args.len()).map(|at| command.arg(at).to_vec()).collect();
                all.push((words, command.end, command.in_transaction));
            }
            Step::End(outcome) => {
                let Step::End(again) = reader.step().expect("readable") else { panic!("something behind the end") };
                assert_eq!(again, outcome);
                return (all, outcome);
            }
        }
    }
}

#[test]
fn a_transaction_is_given_out_when_it_is_whole() {
    let all = commands(&["SELECT 0", "multi", "SET a 1", "SET b 2", "EXEC", "MULTI", "EXEC", "DEL a"]);
    let ends: Vec<u64> = (1..=all.len()).map(|n| write(&all[..n]).len() as u64).collect();
    let bytes = write(&all);
    let (given, outcome) = read(Reader::new(&bytes[..]));
    assert_eq!(outcome, Outcome::Complete);
    let names: Vec<(&[u8], u64, bool)> =
        given.iter().map(|(words, end, in_it)| (&words[0][..], *end, *in_it)).collect();
    assert_eq!(
        names,
        [(&b"SELECT"[..], ends[0], false), (b"SET", ends[4], true), (b"SET", ends[4], true), (b"DEL", ends[7], false)]
    );
    // Without its EXEC it is not there.
    let torn = &bytes[..ends[3] as usize];
    let (given, outcome) = read(Reader::new(torn));
    assert_eq!(given.len(), 1);
    assert_eq!(outcome, Outcome::Truncated { ok_up_to: ends[0], end: ends[3], in_transaction: true });
}

#[test]
fn a_transaction_within_another_ends_with_the_first_exec_and_a_discarded_one_is_nothing() {
    let all =
        commands(&["MULTI", "MULTI", "SET a 1", "EXEC", "SET b 2", "EXEC", "MULTI", "SET c 3", "DISCARD", "DEL d"]);
    let bytes = write(&all);
    let (given, outcome) = read(Reader::new(&bytes[..]));
    let names: Vec<(&[u8], bool)> = given.iter().map(|(words, _, in_it)| (&words[1][..], *in_it)).collect();
    assert_eq!((names, outcome), (vec![(&b"a"[..], true), (b"b", false), (b"d", false)], Outcome::Complete));
    // Torn before its EXEC, it is cut off where the outer one begins.
    let (given, outcome) = read(Reader::new(&bytes[..write(&all[..3]).len()]));
    assert!(given.is_empty() && matches!(outcome, Outcome::Truncated { ok_up_to: 0, .. }), "{outcome:?}");
}

#[test]
fn what_no_server_writes_is_named_with_its_place() {
    for (text, ok_up_to, offset, why) in [
        (&b"*1\r\n$4\r\nPING\r\nSET a 1\r\n"[..], 14, 14, Why::Prefix { expected: b'*', got: b'S' }),
        (b"*1\r\n:4\r\n", 0, 4, Why::Prefix { expected: b'$', got: b':' }),
        (b"*0\r\n", 0, 0, Why::Number),
        (b"*-1\r\n", 0, 0, Why::Number),
        (b"*99999999999999999999999999999999999999\r\n", 0, 0, Why::Number),
        (b"*1\n$4\nPING\n", 0, 0, Why::Number),
        // A line end that begins at the last byte that a number may have.
        (b"*000000000000000000000000000001\r\n$4\r\nPING\r\n", 0, 0, Why::Number),
        (b"*1\r\n$-4\r\n", 0, 4, Why::Number),
        (b"*1\r\n$1073741825\r\n", 0, 4, Why::Number),
        (b"*1\r\n$3\r\nPING\r\n", 0, 11, Why::LineEnd(*b"G\r")),
        (b"*1\r*$3\r\n", 0, 0, Why::LineEnd(*b"\r*")),
        (b"\0\0\0", 0, 0, Why::Prefix { expected: b'*', got: 0 }),
    ] {
        let (_, outcome) = read(Reader::new(text));
        match outcome {
            Outcome::Bad { ok_up_to: ok, offset: at, why: said } => {
                assert_eq!((ok, said, at), (ok_up_to, why, offset), "{}", text.escape_ascii());
            }
            other => panic!("{}: {other:?}", text.escape_ascii()),
        }
    }
}

#[test]
fn notes_of_later_versions_are_passed_over() {
    let bytes = b"#TS:1628217473\r\n*1\r\n$4\r\nPING\r\n#TS:1628217474\r\n";
    let (given, outcome) = read(Reader::new(&bytes[..]));
    assert_eq!((given.len(), outcome), (1, Outcome::Complete));
    let (_, outcome) = read(Reader::new(&bytes[..40]));
    assert_eq!(outcome, Outcome::Truncated { ok_up_to: 30, end: 40, in_transaction: false });
}

#[test]
fn commands_behind_a_snapshot_are_read() {
    let mut writer = Writer::new(Vec::new(), true, true);
    writer.encoder.header("3.2.11", 0, 0);
    writer.encoder.database(3, 1, 0);
    let entry = engine::raw::entry::Entry::new(b"k", engine::raw::entry::Body::Int(5), None, 0);
    writer.entry(entry.view()).expect("memory takes all");
    let snapshot = writer.finish().expect("memory takes all");
    let bytes = [&snapshot[..], &write(&commands(&["SET a 1"]))].concat();
    for size in [1, 7, 1000] {
        let Start::Snapshot(mut loader) = open(Drops(&bytes, size), LoadOptions::default()).expect("readable") else {
            panic!("a snapshot")
        };
        let mut keys = 0;
        loader
            .each(|event| {
                keys += usize::from(matches!(event, Event::Entry(_)));
                Ok(())
            })
            .expect("whole");
        let (given, outcome) = read(Reader::after(loader));
        assert_eq!((keys, given.len(), outcome), (1, 1, Outcome::Complete));
        assert_eq!(given[0].1, bytes.len() as u64);
    }
    for empty in [&b""[..], b"RED"] {
        let Start::Commands(reader) = open(empty, LoadOptions::default()).expect("readable") else {
            panic!("no snapshot")
        };
        assert_eq!(matches!(read(reader).1, Outcome::Complete), empty.is_empty());
    }
}

#[test]
fn an_entry_takes_the_commands_of_the_original() {
    use engine::raw::entry::{Body, Entry};
    use engine::value::{Hash, List, Set, ZSet};
    let text = |body: Body<'_>, expire| {
        let mut out = Out::new();
        rewrite::entry(&mut out, Entry::new(b"k", body, expire, 0).view());
        let (given, outcome) = read(Reader::new(out.as_slice()));
        assert_eq!(outcome, Outcome::Complete);
        let lines = given.iter().map(|(words, ..)| String::from_utf8_lossy(&words.join(&b' ')).into_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(text(Body::Bytes { bytes: b"v", raw: false }, Some(77)), ["SET k v", "PEXPIREAT k 77"]);
    assert_eq!(text(Body::Int(-5), None), ["SET k -5"]);
    let mut list = List::new();
    (0..130).for_each(|n| list.push_back(format!("{n}").as_bytes(), Default::default()));
    let lines = text(Body::List(list), None);
    let lens: Vec<usize> = lines.iter().map(|line| line.split(' ').count()).collect();
    assert_eq!(lens, [66, 66, 4]);
    assert_eq!(lines[2], "RPUSH k 128 129");
    let mut set = Set::new();
    [b"2", b"1"].iter().for_each(|member| assert!(set.add(*member, 512)));
    assert_eq!(text(Body::Set(set), None), ["SADD k 1 2"]);
    let mut zset = ZSet::new();
    zset.add(b"m", 0.1, Default::default());
    zset.add(b"n", f64::INFINITY, Default::default());
    assert_eq!(text(Body::ZSet(zset), None), ["ZADD k 0.10000000000000001 m inf n"]);
    let mut hash = Hash::new();
    hash.set(b"f", b"v", Default::default());
    assert_eq!(text(Body::Hash(hash), Some(1)), ["HMSET k f v", "PEXPIREAT k 1"]);
    let mut out = Out::new();
    rewrite::select(&mut out, 11);
    assert_eq!(out.as_slice(), b"*2\r\n$6\r\nSELECT\r\n$2\r\n11\r\n");
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..20), (any::<u8>(), 0usize..300).prop_map(|(b, n)| vec![b; n])]
}

/// Commands with transactions among them.
fn file() -> impl Strategy<Value = Vec<Words>> {
    let command = || {
        prop::collection::vec(word(), 0..5).prop_map(|mut words| {
            words.insert(0, b"SET".to_vec());
            words
        })
    };
    let transaction = prop::collection::vec(command(), 0..4).prop_map(|mut inner| {
        inner.insert(0, vec![b"MULTI".to_vec()]);
        inner.push(vec![b"EXEC".to_vec()]);
        inner
    });
    prop::collection::vec(prop_oneof![command().prop_map(|one| vec![one]), transaction], 0..6)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn wherever_it_is_cut_it_is_whole_up_to_there(all in file(), cut: usize, size in 1usize..100) {
        let bytes = write(&all);
        let (given, outcome) = read(Reader::new(Drops(&bytes, size)));
        prop_assert_eq!(outcome, Outcome::Complete);
        let expected: Vec<&Words> = all.iter().filter(|words| words[0] == b"SET").collect();
        prop_assert_eq!(given.iter().map(|(words, ..)| words).collect::<Vec<_>>(), expected);

        let cut = cut % (bytes.len() + 1);
        let (before, outcome) = read(Reader::new(Drops(&bytes[..cut], size)));
        prop_assert_eq!(&before[..], &given[..before.len()]);
        let ok_up_to = match outcome {
            Outcome::Complete => cut as u64,
            Outcome::Truncated { ok_up_to, end, .. } => {
                prop_assert_eq!(end, cut as u64);
                ok_up_to
            }
            Outcome::Bad { .. } => panic!("a cut file is not a bad one"),
        };
        // What is left after cutting there is a whole file with the same commands.
        let (again, outcome) = read(Reader::new(&bytes[..ok_up_to as usize]));
        prop_assert_eq!(outcome, Outcome::Complete);
        prop_assert_eq!(again, before);
    }

    #[test]
    fn a_changed_byte_does_no_worse_than_an_outcome(all in file(), at: usize, to: u8) {
        let mut bytes = write(&all);
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        let (_, outcome) = read(Reader::new(&bytes[..]));
        if let Outcome::Bad { ok_up_to, offset, .. } = outcome {
            prop_assert!(ok_up_to <= offset && offset <= bytes.len() as u64);
            let (_, outcome) = read(Reader::new(&bytes[..ok_up_to as usize]));
            prop_assert_eq!(outcome, Outcome::Complete);
        }
    }
}

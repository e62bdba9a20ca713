//! What a replica changes by itself stands beside its primary's stream, and only the file's writer sees it.

use super::*;
use crate::records::Reach;

/// A follower's log that the file is written from, whose stream is in database `db`.
fn follower(db: u32) -> Oplog {
    let log = Oplog::new(1 << 20);
    log.want(Consumer::Replicas, true);
    log.want(Consumer::Aof, true);
    log.follow(true);
    log.restart(100, db);
    log
}

/// What the file gets that has begun at `from`, in words.
fn file(log: &Oplog, from: FilePlace) -> String {
    let mut cursor = log.pinned(from.offset).expect("kept");
    let (end, parts) = log.rest(&cursor, from.own).expect("the same log");
    let mut bytes = Vec::new();
    let copy = |cursor: &mut Cursor, until: u64, to: Option<&mut Vec<u8>>| {
        let mut all = Vec::new();
        while cursor.offset() < until {
            let left = (until - cursor.offset()) as usize;
            let take = |bytes: &[u8]| {
                let bytes = &bytes[..left.min(bytes.len())];
                all.extend_from_slice(bytes);
                bytes.len()
            };
            cursor.read(log, take).expect("kept");
        }
        if let Some(to) = to {
            to.extend(all);
        }
    };
    for part in parts {
        copy(&mut cursor, part.at, Some(&mut bytes));
        match part.what {
            What::Replicas(len) => copy(&mut cursor, part.at + len, None),
            What::File(more) | What::Own { bytes: more, .. } => bytes.extend_from_slice(&more),
        }
    }
    copy(&mut cursor, end.offset, Some(&mut bytes));
    String::from_utf8(bytes).expect("text").replace("*2\r\n$6\r\nSELECT\r\n$1\r\n", "select-").replace("\r\n", " ")
}

#[test]
fn it_stands_where_the_stream_was_between_two_selects() {
    let log = follower(3);
    let from = log.place();
    // Nobody knows in which database the file is so far.
    assert_eq!(log.append(3, b"a "), Some(log.file_end()));
    log.append_stream(b"S ", 3);
    log.append(3, b"b ");
    log.append(0, b"c ");
    log.append_stream_for_replicas(b"ping ");
    log.append(3, b"d ");
    log.append_stream(b"T(select-5) ", 5);
    log.append(3, b"e ");
    log.append_stream(b"U ", 5);
    log.append(5, b"f ");
    assert_eq!(file(&log, from), "select-3 a S b select-0 c select-3 d T(select-5) select-3 e select-5 U f ");
    let mut seen = Vec::new();
    let take = |bytes: &[u8]| {
        seen.extend_from_slice(bytes);
        bytes.len()
    };
    assert!(log.cursor(100).read(&log, take).is_ok());
    assert_eq!(seen, b"S ping T(select-5) U ", "replicas get the stream, byte for byte");
    assert_eq!(log.stream_db(), 5);
}

#[test]
fn what_is_not_for_the_file_is_not_noted_and_what_is_for_it_only_is() {
    let log = follower(0);
    let from = log.place();
    let mut records = Records::default();
    for (reach, text) in [(Reach::Replicas, "replicas "), (Reach::File, "file "), (Reach::All, "all ")] {
        records.push(reach, |to| to.extend_from_slice(text.as_bytes()));
    }
    log.append_records(0, &records);
    let mut publish = Records::default();
    publish.push(Reach::Replicas, |to| to.extend_from_slice(b"publish "));
    assert_eq!(log.append_records(0, &publish), None);
    assert_eq!(file(&log, from), "select-0 file all ");
    log.want(Consumer::Aof, false);
    assert_eq!((log.append(0, b"own"), log.apart_bytes()), (None, 0));
}

#[test]
fn a_place_has_all_before_it_and_nothing_behind_it() {
    let log = follower(0);
    let mut places = vec![(log.place(), 0)];
    let all = {
        for n in 0..60u8 {
            match n % 5 {
                0 | 1 => drop(log.append(0, &[b'a' + n % 26; 3][..(n % 3) as usize + 1])),
                2 => log.append_stream(&[b'A' + n % 26; 2], 0),
                3 => log.append_stream_for_replicas(b"0"),
                _ => {}
            }
            let (from, _) = places[0];
            places.push((log.place(), file(&log, from).len()));
            assert_eq!(log.file_end(), log.place().of_file());
        }
        file(&log, places[0].0)
    };
    for (place, at) in places {
        assert_eq!(file(&log, place), all[at..], "{place:?}");
    }
}

#[test]
fn it_is_kept_until_the_writer_has_let_go_though_the_log_does_not_move() {
    let log = follower(0);
    let pinned = log.pinned(100).expect("kept");
    let from = log.place();
    log.append(0, b"one ");
    let middle = log.place();
    log.append(0, b"two ");
    assert!(middle.offset == from.offset && middle.of_file() > from.of_file());
    log.let_apart_go(from);
    assert_eq!(file(&log, from), "select-0 one two ");
    log.let_apart_go(middle);
    assert_eq!(file(&log, middle), "two ");
    // What a rewrite holds stays, also when the log goes on and lets go of others.
    log.hold_apart(Some(middle));
    for _ in 0..4 {
        log.append_stream(&vec![b'x'; 1 << 20], 0);
    }
    log.append(0, b"three ");
    log.let_apart_go(log.place());
    assert!(file(&log, middle).starts_with("two xxx") && file(&log, middle).ends_with("xxxthree "));
    log.hold_apart(None);
    log.let_apart_go(log.place());
    assert_eq!(log.apart_bytes(), 0);
    drop(pinned);
}

#[test]
fn how_far_the_file_is_never_goes_back_and_another_history_has_nothing_of_it() {
    let log = follower(0);
    log.append_stream(b"stream", 0);
    log.append(0, b"own");
    let cursor = log.pinned(log.end()).expect("kept");
    let (before, own) = (log.file_end(), log.place().own);
    log.restart(7, 2);
    assert_eq!((log.end(), log.apart_bytes(), log.stream_db()), (7, 0, 2));
    assert!(log.file_end() >= before && log.rest(&cursor, own).is_err());
    let from = log.place();
    log.append(0, b"new ");
    log.append_stream(b"S", 2);
    assert_eq!(file(&log, from), "select-0 new select-2 S");
    log.restart(u64::MAX - 10, 0);
    assert!(log.file_end() >= before);
}

#[test]
fn with_the_role_changes_where_records_go() {
    let log = follower(4);
    let from = log.place();
    log.append_stream(b"S ", 4);
    log.append(0, b"own ");
    log.follow(false);
    log.append(4, b"ours ");
    log.append(4, b"ours ");
    log.follow(true);
    log.append(4, b"own ");
    log.append_stream(b"T ", 4);
    let expected = "S select-0 own select-4 select-4 ours ours select-4 own T ";
    assert_eq!(file(&log, from), expected);
}

#[test]
fn a_closed_log_stays_as_it_is() {
    for following in [false, true] {
        let log = follower(0);
        log.follow(following);
        log.append(0, b"own");
        log.append_stream(b"stream", 0);
        let end = log.place();
        log.close();
        assert!(!log.is_on() && !log.wants_records(false));
        log.append(0, b"late");
        log.append_for_replicas(b"late");
        log.append_stream(b"late", 0);
        log.append_stream_for_replicas(b"late");
        assert_eq!((log.place(), log.end(), log.file_end()), (end, end.offset, end.of_file()));
    }
}

//! Entries: sizes, encodings, and every way from one form of a string to another.

use super::*;

fn string(key: &[u8], value: &[u8], expire: Option<i64>) -> Entry {
    Entry::new(key, Body::Bytes { bytes: value, raw: false }, expire, 0)
}

fn bytes(entry: &Entry) -> Vec<u8> {
    match entry.view().value() {
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::Int(n) => n.to_string().into_bytes(),
        _ => panic!("a string"),
    }
}

#[test]
fn a_small_key_and_value_take_one_block_of_56_bytes() {
    let entry = string(b"key:000000000001", &[b'v'; 32], None);
    assert_eq!(entry.view().block_bytes(), 56);
    let entry = entry.with_expire(Some(5));
    assert_eq!((entry.view().block_bytes(), entry.view().expire_at_ms()), (64, Some(5)));
    assert_eq!(bytes(&entry), [b'v'; 32]);
    assert_eq!(entry.with_expire(None).view().block_bytes(), 56);
}

#[test]
fn keys_and_values_of_all_lengths_round_trip() {
    for klen in [0, 1, 16, 180, 254, 255, 256, 70_000] {
        for vlen in [0, 1, 7, 8, 44, 45, 150, 200, 100_000] {
            for expire in [None, Some(i64::MAX)] {
                let (key, value) = (vec![b'k'; klen], vec![b'v'; vlen]);
                let entry = string(&key, &value, expire);
                assert_eq!((entry.view().key(), bytes(&entry)), (&key[..], value.clone()));
                assert_eq!(entry.view().expire_at_ms(), expire);
                let renamed = entry.with_key(b"other");
                assert_eq!((renamed.view().key(), bytes(&renamed)), (&b"other"[..], value));
                assert_eq!(renamed.view().expire_at_ms(), expire);
            }
        }
    }
}

#[test]
fn encodings_have_redis_names() {
    assert_eq!(string(b"k", &[b'v'; 44], None).view().encoding(), "embstr");
    assert_eq!(string(b"k", &[b'v'; 45], None).view().encoding(), "raw");
    assert_eq!(Entry::new(b"k", Body::Int(5), None, 0).view().encoding(), "int");
    let grown = string(b"k", b"v", None).with_string_len(3);
    assert_eq!((grown.view().encoding(), bytes(&grown)), ("raw", b"v\0\0".to_vec()));
}

#[test]
fn overwriting_in_place_needs_the_same_class() {
    let mut entry = string(b"key", &[b'a'; 20], None);
    assert!(entry.overwrite(&[b'b'; 18]));
    assert_eq!(bytes(&entry), [b'b'; 18]);
    assert!(!entry.overwrite(&[b'c'; 100]));
    assert!(!entry.overwrite(b""));
    assert_eq!(bytes(&entry), [b'b'; 18]);
}

#[test]
fn a_string_grows_from_inline_to_its_own_block_and_back() {
    let mut entry = string(b"key", b"abc", Some(9));
    for len in [10, 100, 1_000, 2_000_000, 50, 3, 0] {
        entry = entry.with_string_len(len);
        assert_eq!(entry.view().expire_at_ms(), Some(9));
        let now = bytes(&entry);
        assert_eq!(now.len(), len);
        assert!(now.iter().enumerate().all(|(i, &b)| b == *b"abc".get(i).unwrap_or(&0)), "at {len}");
    }
    let int = Entry::new(b"k", Body::Int(-123), None, 0).with_string_len(6);
    assert_eq!(bytes(&int), b"-123\0\0");
}

#[test]
fn access_marks_do_not_disturb_the_key() {
    let entry = string(&[b'k'; 300], b"v", None);
    entry.view().touch(0xabcdef);
    assert_eq!((entry.view().lru(), entry.view().key().len()), (0xabcdef, 300));
}

#[test]
fn the_value_can_be_taken_out() {
    assert!(matches!(Entry::new(b"k", Body::Int(7), None, 0).into_body(), Body::Int(7)));
    let Body::Long(text) = string(b"k", b"hello", None).into_body() else { panic!("a string") };
    assert_eq!(text.as_slice(), b"hello");
}

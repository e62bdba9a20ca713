//! `redis-check-rdb` and `redis-check-aof`, as scripts call them: by name, with what they print and the status they end with.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A directory with both programs and a file.
struct Dir(TempDir);

impl Dir {
    fn with(file: &[u8]) -> Dir {
        let dir = TempDir::new().expect("a temporary directory can be made");
        for name in ["redis-check-rdb", "redis-check-aof"] {
            symlink(tests::codis_server(), dir.path().join(name)).expect("a link can be made");
        }
        fs::write(dir.path().join("file"), file).expect("a file can be written");
        Dir(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("file")
    }

    /// What the program prints, and its exit status.
    fn run(&self, program: &str, args: &[&str], answer: &str) -> (String, i32) {
        let mut child = Command::new(self.0.path().join(program))
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // One that asks nothing may have ended.
        let _ = child.stdin.take().expect("piped").write_all(answer.as_bytes());
        let output = child.wait_with_output().expect("the program ends");
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap_or(-1))
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| text += &format!("${}\r\n{word}\r\n", word.len()));
    text.into_bytes()
}

fn testdata(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../persistence/testdata").join(name)).expect("it is there")
}

#[test]
fn an_aof_is_cut_only_after_a_yes() {
    let whole = [command(&["SELECT", "0"]), command(&["SET", "a", "1"])].concat();
    let torn = [&whole[..], &command(&["SET", "b", "2"])[..20]].concat();
    let dir = Dir::with(&torn);
    let analyzed = format!("AOF analyzed: size={}, ok_up_to={}, diff=20\n", torn.len(), whole.len());

    let (text, status) = dir.run("redis-check-aof", &["file"], "");
    assert!(text.contains(&analyzed) && text.ends_with("AOF is not valid\n"), "{text}");
    assert_eq!(status, 1);
    for no in ["", "\n", "n\n"] {
        let (text, status) = dir.run("redis-check-aof", &["--fix", "file"], no);
        assert!(text.ends_with("Continue? [y/N]: Aborting...\n"), "{text}");
        assert_eq!(status, 1);
        assert_eq!(fs::read(dir.file()).expect("it is there"), torn);
    }
    let (text, status) = dir.run("redis-check-aof", &["--fix", "file"], "y\n");
    let shrinks =
        format!("This will shrink the AOF from {} bytes, with 20 bytes, to {} bytes\n", torn.len(), whole.len());
    assert!(text.contains(&shrinks) && text.ends_with("Continue? [y/N]: Successfully truncated AOF\n"), "{text}");
    assert_eq!(status, 0);
    assert_eq!(fs::read(dir.file()).expect("it is there"), whole);
    let (text, status) = dir.run("redis-check-aof", &["file"], "");
    assert!(text.ends_with("AOF is valid\n"), "{text}");
    assert_eq!(status, 0);
}

#[test]
fn an_aof_with_an_open_transaction_or_foreign_bytes_is_cut_before_them() {
    let first = command(&["SET", "a", "1"]);
    let open = [command(&["MULTI"]), command(&["SET", "b", "2"])].concat();
    for (rest, what) in
        [(&open[..], "Reached EOF before reading EXEC for MULTI"), (b"\0\0\0\0", "Expected prefix '*', got: '\\x00'")]
    {
        let dir = Dir::with(&[&first[..], rest].concat());
        let (text, status) = dir.run("redis-check-aof", &["--fix", "file"], "Y");
        assert!(text.contains(what) && text.ends_with("Successfully truncated AOF\n"), "{text}");
        assert_eq!(status, 0);
        assert_eq!(fs::read(dir.file()).expect("it is there"), first);
    }
}

#[test]
fn an_aof_may_begin_with_a_snapshot() {
    let snapshot = testdata("redis-7.0.rdb");
    let torn = [&snapshot[..], &command(&["SET", "a", "1"]), b"*1\r\n"].concat();
    let dir = Dir::with(&torn);
    let (text, status) = dir.run("redis-check-aof", &["--fix", "file"], "y");
    assert!(text.contains("RDB preamble is OK, proceeding with AOF tail..."), "{text}");
    assert!(text.ends_with("Successfully truncated AOF\n"), "{text}");
    assert_eq!(status, 0);
    assert_eq!(fs::read(dir.file()).expect("it is there"), torn[..torn.len() - 4]);

    let dir = Dir::with(&[&snapshot[..100], b"x", &snapshot[101..]].concat());
    let (text, status) = dir.run("redis-check-aof", &["--fix", "file"], "y");
    assert!(text.ends_with("RDB preamble of AOF file is not sane, aborting.\n"), "{text}");
    assert_eq!(status, 1);
}

#[test]
fn an_rdb_file_is_counted() {
    for (name, version) in [("redis-3.2.rdb", "3.2.6"), ("redis-7.0.rdb", "7.0.15")] {
        let dir = Dir::with(&testdata(name));
        let (text, status) = dir.run("redis-check-rdb", &["file"], "");
        assert!(text.starts_with("[offset 0] Checking RDB file file\n"), "{text}");
        for line in [
            &format!("AUX FIELD redis-ver = '{version}'"),
            "Selecting DB ID 9",
            "Checksum OK",
            "\\o/ RDB looks OK! \\o/",
            "[info] 13 keys read",
            "[info] 1 expires",
            "[info] 0 already expired",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert_eq!(status, 0);
    }
}

#[test]
fn damage_of_an_rdb_file_is_named_with_offset_and_key() {
    let whole = testdata("redis-3.2.rdb");
    let list = whole.windows(5).position(|bytes| bytes == b"\x0e\x04lis").expect("a list");
    // The list's node says that it is a zipmap of a byte.
    let mut bad = whole.clone();
    bad[list + 6..list + 9].copy_from_slice(&[1, 1, 0]);
    let mut flipped = whole.clone();
    let digit = whole.windows(6).position(|bytes| bytes == b"3.2.6\xfa").expect("the version");
    flipped[digit] = b'4';
    for (bytes, lines) in [
        (&whole[..whole.len() - 20], &["Unexpected EOF reading RDB file"][..]),
        (&bad, &["corrupt: a packed list", "read-object-value", "Reading key 'list'", "Reading type 14 (quicklist)"]),
        (&flipped, &["RDB CRC error", "check-sum", "13 keys read"]),
        (b"RUBBISH..", &["Wrong signature", "While doing: start", "0 keys read"]),
        (b"REDIS0099", &["Can't handle RDB format version 99"]),
        (b"REDIS0007\xc8", &["[offset 10] Invalid object type: 200"]),
    ] {
        let dir = Dir::with(bytes);
        let (text, status) = dir.run("redis-check-rdb", &["file"], "");
        for line in [&["--- RDB ERROR DETECTED ---"], lines].concat() {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert_eq!(status, 1, "{text}");
    }
}

#[test]
fn wrong_calls_are_told_how_to_call() {
    let dir = Dir::with(b"");
    for (program, args, line) in [
        ("redis-check-aof", &[][..], "Usage: "),
        ("redis-check-aof", &["file"], "Empty file: file\n"),
        ("redis-check-aof", &["missing"], "Cannot open file: missing\n"),
        ("redis-check-aof", &["--fox", "file"], "Invalid argument: --fox\n"),
        ("redis-check-aof", &["--fix", "file", "file"], "Invalid arguments\n"),
        ("redis-check-rdb", &[], "Usage: "),
        ("redis-check-rdb", &["missing"], "Cannot open file missing: No such file or directory\n"),
    ] {
        let (text, status) = dir.run(program, args, "");
        assert!(text.contains(line), "{line}: {text}");
        assert_eq!(status, 1);
    }
}

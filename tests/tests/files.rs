//! Files go both ways between us and real servers: every type, every encoding, with and without expiry, by digest. An
//! independent reader agrees.

#![forbid(unsafe_code)]

use resp::Reply;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tests::{Client, Options, Server, wait_until};

/// 2100-01-01.
const LATER_MS: &str = "4102444800000";

/// For a rewrite of a small file.
const PATIENCE: Duration = Duration::from_secs(60);

fn call(client: &mut Client, words: &[Vec<u8>]) {
    let reply = client.call(words);
    assert!(!matches!(reply, Reply::Error(_)), "{}: {reply:?}", words[0].escape_ascii());
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Everything that a file can hold in different ways.
fn fill(client: &mut Client) {
    let numbers =
        [0, 12, 13, 127, 128, -128, -129, 32767, -32769, 8_388_607, -8_388_609, i64::from(i32::MAX), i64::MIN];
    let text = |byte: u8, len: usize| vec![byte; len];
    // Bytes that do not compress.
    let noise = |len: u32| (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<u8>>();
    let mut commands: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut push = |name: &str, key: &str, more: Vec<Vec<u8>>| {
        commands.push([vec![name.into(), key.into()], more].concat());
    };
    for number in numbers {
        push("SET", &format!("int:{number}"), vec![number.to_string().into()]);
    }
    for (at, len) in [0, 1, 20, 21, 63, 64, 300, 16_383, 16_384, 100_000].into_iter().enumerate() {
        push("SET", &format!("same:{len}"), vec![text(b'a' + at as u8, len)]);
        push("SET", &format!("noise:{len}"), vec![noise(len as u32)]);
    }
    let elements: Vec<Vec<u8>> = numbers
        .iter()
        .map(|number| number.to_string().into_bytes())
        .chain([text(b'x', 0), text(b'y', 63), text(b'z', 64), noise(250), noise(251), noise(300), text(b'q', 20_000)])
        .collect();
    push("RPUSH", "list:one", vec![b"alone".to_vec()]);
    push("RPUSH", "list:mixed", elements.clone());
    push("RPUSH", "list:long", (0..5000).map(|n| format!("element {n}").into_bytes()).collect());
    let ints =
        |width: i64, count: i64| (0..count).map(move |n| (n * width).to_string().into_bytes()).collect::<Vec<_>>();
    push("SADD", "set:16", ints(1, 100));
    push("SADD", "set:32", ints(-100_000, 100));
    push("SADD", "set:64", ints(10_000_000_000, 100));
    push("SADD", "set:ints", ints(3, 600));
    push("SADD", "set:mixed", elements.clone());
    let pairs = |texts: &[Vec<u8>]| {
        texts.iter().enumerate().flat_map(|(n, text)| [format!("field {n}").into_bytes(), text.clone()]).collect()
    };
    push("HMSET", "hash:small", pairs(&elements[..numbers.len()]));
    push("HMSET", "hash:long", pairs(&elements));
    push("HMSET", "hash:many", pairs(&ints(7, 600)));
    let scores =
        ["-inf", "-1e300", "-1.5", "0", "0.1", "1", "3", "1e15", "9007199254740993", "1.7976931348623157e308", "inf"];
    let scored = |count: usize| {
        let score = |n: usize| scores[n % scores.len()].as_bytes().to_vec();
        (0..count).flat_map(move |n| [score(n), format!("member {n}").into_bytes()]).collect()
    };
    push("ZADD", "zset:small", scored(100));
    push("ZADD", "zset:many", scored(300));
    push("ZADD", "zset:long", vec![b"1".to_vec(), noise(100)]);
    push("SET", "odd \r\n\0\u{ff} key", vec![b"v".to_vec()]);
    for command in &commands {
        call(client, command);
    }
    for (at, key) in ["int:12", "same:300", "list:mixed", "set:16", "set:mixed", "hash:small", "hash:many", "zset:many"]
        .into_iter()
        .enumerate()
    {
        if at % 2 == 0 {
            call(client, &words(&format!("PEXPIREAT {key} {LATER_MS}")));
        }
    }
    call(client, &words("SELECT 9"));
    call(client, &words("SET other database"));
    call(client, &words("SELECT 0"));
}

/// Digest of everything, and what the keys with expiry say of it.
fn picture(server: &Server) -> Vec<String> {
    let mut client = server.client();
    let mut all = vec![format!("{:?}", client.call(&["DEBUG", "DIGEST"]))];
    for key in ["int:12", "list:mixed", "set:mixed", "hash:many", "same:300"] {
        // A second more or less has gone by.
        let ttl = format!("{:?}", client.call(&["TTL", key]));
        all.push(format!("{key} {}", ttl.len()));
    }
    all
}

fn in_dir(options: Options, dir: &TempDir) -> Options {
    options.set("dir", dir.path().to_str().expect("a text"))
}

fn redis() -> Options {
    Options::redis().set("enable-debug-command", "yes")
}

/// What `from` saves, `to` loads.
fn check(from: Options, to: Options) -> TempDir {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let saved = {
        let server = Server::start(in_dir(from, &dir));
        fill(&mut server.client());
        call(&mut server.client(), &words("SAVE"));
        picture(&server)
    };
    let loaded = Server::start(in_dir(to, &dir));
    assert_eq!(picture(&loaded), saved, "{}", loaded.log());
    dir
}

#[test]
fn redis_7_loads_our_file() {
    for (name, value) in [("rdbcompression", "yes"), ("rdbcompression", "no"), ("rdbchecksum", "no")] {
        check(Options::codis(2).set(name, value), redis());
    }
}

#[test]
fn we_load_the_file_of_redis_7() {
    for threads in [1, 4] {
        check(redis(), Options::codis(threads));
    }
}

#[test]
fn small_thresholds_on_load_change_encodings_and_no_content() {
    let small = Options::codis(1)
        .set("hash-max-ziplist-entries", "2")
        .set("zset-max-ziplist-entries", "0")
        .set("set-max-intset-entries", "1")
        .set("list-max-ziplist-size", "3");
    let dir = check(Options::codis(1), small.clone());
    let server = Server::start(in_dir(small, &dir));
    for (key, encoding) in [("hash:small", "hashtable"), ("zset:small", "skiplist"), ("set:16", "hashtable")] {
        assert_eq!(server.client().call(&["OBJECT", "ENCODING", key]), Reply::bulk(encoding), "{key}");
    }
}

/// Fills `server`, has its append only file rewritten, and adds a command and a transaction.
fn fill_and_rewrite(server: &Server) {
    let mut client = server.client();
    fill(&mut client);
    call(&mut client, &words("BGREWRITEAOF"));
    let done = wait_until(PATIENCE, || {
        let Reply::Bulk(Some(info)) = client.call(&["INFO", "persistence"]) else { return false };
        let info = String::from_utf8_lossy(&info).into_owned();
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    });
    assert!(done, "{}", server.log());
    for line in ["SET behind it", "MULTI", "RPUSH after a b c", "INCR count", "EXEC"] {
        call(&mut client, &words(line));
    }
}

fn with_aof(options: Options) -> Options {
    options.set("appendonly", "yes").set("appendfsync", "always")
}

#[test]
fn redis_7_loads_our_append_only_file() {
    let (ours, theirs) = (TempDir::new().expect("made"), TempDir::new().expect("made"));
    let written = {
        let server = Server::start(in_dir(with_aof(Options::codis(2)), &ours));
        fill_and_rewrite(&server);
        picture(&server)
    };
    // It moves the file elsewhere.
    fs::copy(ours.path().join("appendonly.aof"), theirs.path().join("appendonly.aof")).expect("a file");
    for (options, dir) in [(redis(), &theirs), (Options::codis(1), &ours)] {
        let loaded = Server::start(in_dir(with_aof(options), dir));
        assert_eq!(picture(&loaded), written, "{}", loaded.log());
    }
}

/// Redis 4 to 6 write a snapshot and what follows in one file; Redis 7 writes the same two parts as two.
#[test]
fn we_load_an_append_only_file_with_a_snapshot_in_front() {
    let (ours, theirs) = (TempDir::new().expect("made"), TempDir::new().expect("made"));
    let written = {
        let server = Server::start(in_dir(with_aof(redis()), &theirs));
        fill_and_rewrite(&server);
        picture(&server)
    };
    let parts = fs::read_dir(theirs.path().join("appendonlydir")).expect("a directory");
    let mut parts: Vec<PathBuf> = parts.map(|part| part.expect("readable").path()).collect();
    parts.retain(|part| part.extension().is_some_and(|kind| kind == "rdb" || kind == "aof"));
    parts.sort();
    assert_eq!(parts.len(), 2, "{parts:?}");
    let whole: Vec<u8> = parts.iter().flat_map(|part| fs::read(part).expect("readable")).collect();
    fs::write(ours.path().join("appendonly.aof"), whole).expect("a file");
    let loaded = Server::start(in_dir(with_aof(Options::codis(2)), &ours));
    assert_eq!(picture(&loaded), written, "{}", loaded.log());
}

/// rdbtools, which shares no code with Redis, finds in our file what the server says of its keys.
#[test]
fn an_independent_reader_agrees() {
    let python = python_with_rdbtools();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let server = Server::start(in_dir(Options::codis(1), &dir));
    fill(&mut server.client());
    call(&mut server.client(), &words("SAVE"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/rdbtools_agrees.py");
    let output = Command::new(python)
        .arg(script)
        .arg(dir.path().join("dump.rdb"))
        .arg(server.addr().port().to_string())
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn python_with_rdbtools() -> PathBuf {
    const ATTEMPTS: u32 = 4;
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rdbtools");
    let python = environment.join("bin/python");
    let is_ready = || {
        Command::new(&python).args(["-c", "import redis, rdbtools"]).output().is_ok_and(|done| done.status.success())
    };
    if is_ready() {
        return python;
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).output();
    let made = made.expect("python3 is missing: install Debian's packages python3 and python3-venv");
    assert!(
        made.status.success(),
        "no virtual environment: install Debian's package python3-venv\n{}",
        String::from_utf8_lossy(&made.stdout)
    );
    for attempt in 1..=ATTEMPTS {
        let packages = ["redis==5.2.1", "rdbtools==0.1.15"];
        let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages).status();
        if installed.is_ok_and(|status| status.success()) && is_ready() {
            return python;
        }
        thread::sleep(Duration::from_secs(2 * u64::from(attempt)));
    }
    panic!("pip does not install rdbtools after {ATTEMPTS} attempts");
}

//! Real client libraries: what they send and expect is not what we would think of.

#![forbid(unsafe_code)]

use redis::{Commands, Connection, RedisResult};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tests::{Options, Server};

const THREADS: usize = 2;

fn connect(server: &Server) -> Connection {
    let client = redis::Client::open(format!("redis://{}/", server.addr())).expect("a good address");
    client.get_connection().expect("the library connects")
}

#[test]
fn typed_commands_over_all_types() -> RedisResult<()> {
    let server = Server::start(Options::codis(THREADS));
    let mut redis = connect(&server);

    let () = redis.set("text", "värld")?;
    assert_eq!(redis.get::<_, String>("text")?, "värld");
    assert_eq!(redis.get::<_, Option<String>>("missing")?, None);
    assert_eq!(redis.incr::<_, _, i64>("count", 41)?, 41);
    assert_eq!(redis.incr::<_, _, f64>("float", 1.5)?, 1.5);
    assert_eq!(redis.append::<_, _, usize>("text", "!")?, "värld!".len());
    assert_eq!(redis.mget::<_, Vec<Option<String>>>(&["count", "missing"])?, [Some("41".to_owned()), None]);

    assert_eq!(redis.rpush::<_, _, usize>("list", &["a", "b", "c"])?, 3);
    assert_eq!(redis.lrange::<_, Vec<String>>("list", 0, -1)?, ["a", "b", "c"]);
    assert_eq!(redis.lpop::<_, String>("list", None)?, "a");

    assert_eq!(redis.sadd::<_, _, usize>("set", &["x", "y", "x"])?, 2);
    assert_eq!(redis.smembers::<_, BTreeSet<String>>("set")?, BTreeSet::from(["x".to_owned(), "y".to_owned()]));

    let () = redis.hset_multiple("hash", &[("name", "n"), ("size", "5")])?;
    let hash: HashMap<String, String> = redis.hgetall("hash")?;
    assert_eq!(hash["size"], "5");

    assert_eq!(redis.zadd_multiple::<_, _, _, usize>("zset", &[(2.0, "two"), (1.0, "one")])?, 2);
    assert_eq!(
        redis.zrange_withscores::<_, Vec<(String, f64)>>("zset", 0, -1)?,
        [("one".into(), 1.0), ("two".into(), 2.0)]
    );

    let wrong: RedisResult<i64> = redis.incr("list", 1);
    assert_eq!(wrong.expect_err("a list is no number").code(), Some("WRONGTYPE"));

    let found: BTreeSet<String> = redis.scan::<String>()?.collect::<RedisResult<_>>()?;
    assert_eq!(found.len(), 7);
    assert_eq!(redis.del::<_, usize>(&["text", "list", "missing"])?, 2);
    assert!(redis.expire::<_, bool>("set", 1000)?);
    assert!((990..=1000).contains(&redis.ttl::<_, i64>("set")?));
    Ok(())
}

#[test]
fn a_pipeline_of_ten_thousand_commands_is_answered_in_order() -> RedisResult<()> {
    let server = Server::start(Options::codis(THREADS));
    let mut redis = connect(&server);
    let mut pipeline = redis::pipe();
    for number in 0..10_000_i64 {
        pipeline.cmd("ECHO").arg(number);
    }
    let echoed: Vec<i64> = pipeline.query(&mut redis)?;
    assert!(echoed.into_iter().eq(0..10_000));
    Ok(())
}

#[test]
fn a_value_of_64_mb_comes_back_whole() -> RedisResult<()> {
    let server = Server::start(Options::codis(THREADS));
    let mut redis = connect(&server);
    let value: Vec<u8> = (0..64 << 20).map(|at: u32| (at ^ (at >> 9)) as u8).collect();
    let () = redis.set("big", &value)?;
    assert_eq!(redis.strlen::<_, usize>("big")?, value.len());
    assert!(redis.get::<_, Vec<u8>>("big")? == value);
    assert!(redis.getrange::<_, Vec<u8>>("big", 1_000_000, 1_000_099)? == value[1_000_000..1_000_100]);
    Ok(())
}

#[test]
fn two_hundred_connections_are_served_each_its_own_replies() -> RedisResult<()> {
    let server = Server::start(Options::codis(THREADS));
    let mut connections: Vec<Connection> = (0..200).map(|_| connect(&server)).collect();
    for round in 0..5 {
        for (number, redis) in connections.iter_mut().enumerate() {
            let () = redis.set(format!("key:{number}"), number * round)?;
        }
        for (number, redis) in connections.iter_mut().enumerate() {
            assert_eq!(redis.get::<_, usize>(format!("key:{number}"))?, number * round);
        }
    }
    Ok(())
}

/// redis-py in an environment of its own below the target directory, made once and kept.
#[test]
fn redis_py_finds_everything_in_place() {
    run(Command::new(python()).arg(client("redis_py.py")), &Server::start(Options::codis(THREADS)));
}

/// A queue of jobs as Python programs use it: lists, hashes and sorted sets in transactions, and pops that wait.
#[test]
fn rq_runs_its_jobs() {
    run(Command::new(python()).arg(client("rq_jobs.py")), &Server::start(Options::codis(THREADS)));
}

/// Needs node and npm, and says so where they are missing: no other test does.
#[test]
fn ioredis_finds_everything_in_place() {
    let Some(modules) = ioredis() else { return eprintln!("not tested: there is no node and npm") };
    let mut node = Command::new("node");
    node.arg(client("ioredis.js"));
    let server = Server::start(Options::codis(THREADS));
    run(node.arg(modules), &server);
}

/// A client's program.
fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a client's program with the port as its last argument.
fn run(program: &mut Command, server: &Server) {
    let output = program.arg(server.addr().port().to_string()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asks a package registry, which may fail, a few times.
fn install(mut command: impl FnMut() -> Command, done: impl Fn() -> bool) {
    const ATTEMPTS: u32 = 4;
    for attempt in 1..=ATTEMPTS {
        if command().status().is_ok_and(|status| status.success()) && done() {
            return;
        }
        thread::sleep(Duration::from_secs(2 * u64::from(attempt)));
    }
    panic!("not installed after {ATTEMPTS} attempts: {:?}", command());
}

/// The tests of one process make one environment.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

fn python() -> PathBuf {
    let _one = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-clients");
    let python = environment.join("bin/python");
    let has_all =
        || Command::new(&python).args(["-c", "import redis, rq"]).output().is_ok_and(|done| done.status.success());
    if has_all() {
        return python;
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).output();
    let made = made.expect("python3 is missing: install Debian's packages python3 and python3-venv");
    assert!(
        made.status.success(),
        "no virtual environment: install Debian's package python3-venv\n{}",
        String::from_utf8_lossy(&made.stdout)
    );
    let pip = || {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "redis==5.2.1", "rq==1.16.2"]);
        pip
    };
    install(pip, has_all);
    python
}

/// The folder in which ioredis is installed.
fn ioredis() -> Option<PathBuf> {
    let there = |program| Command::new(program).arg("--version").output().is_ok_and(|done| done.status.success());
    if !there("node") || !there("npm") {
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-clients");
    let has_it = || folder.join("node_modules/ioredis/package.json").exists();
    if !has_it() {
        let npm = || {
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg("ioredis@5.4.1");
            npm
        };
        install(npm, has_it);
    }
    Some(folder)
}

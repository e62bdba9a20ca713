//! Files, seen from outside: clients' writes go on during a save, and what was asked for meanwhile is done in order.

use resp::Reply;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tests::{Client, Options, Server, codis_server, encode, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_save_while_writes_go_on_is_whole_and_loads() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads).set("save", ""));
        let mut client = server.client();
        client.call(&["DEBUG", "POPULATE", "20000"]);
        for n in 0..3000 {
            client.call(&["HSET", "big", &n.to_string(), "before"]);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut writer = server.client();
            let stop = &stop;
            scope.spawn(move || {
                for n in (0..3000).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    writer.call(&["HSET", "big", &n.to_string(), "after"]);
                    writer.call(&["SET", &format!("key:{n}"), "after"]);
                }
            });
            for _ in 0..5 {
                client.call(&["BGSAVE"]);
                let info =
                    || String::from_utf8_lossy(&bulk(server.client().call(&["INFO", "persistence"]))).into_owned();
                assert!(wait_until(PATIENCE, || info().contains("rdb_bgsave_in_progress:0")));
                assert!(info().contains("rdb_last_bgsave_status:ok"));
            }
            stop.store(true, Ordering::Relaxed);
        });
        client.call(&["SAVE"]);
        let before = client.call(&["DEBUG", "DIGEST"]);
        let server = server.restart(&[]);
        assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), before);
    }
}

fn bulk(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(Some(text)) => text.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Sends all at once, so that the server has them in one turn, and gives the replies.
fn together(client: &mut Client, lines: &[&str]) -> Vec<String> {
    let mut bytes = Vec::new();
    lines.iter().for_each(|line| encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes));
    client.send(&bytes).expect("sent");
    let text = |reply| match reply {
        Reply::Simple(text) | Reply::Error(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?}"),
    };
    lines.iter().map(|_| text(client.read())).collect()
}

fn wait_until_idle(client: &mut Client) {
    assert!(wait_until(PATIENCE, || client.is_idle()));
}

/// A pipe in the place of a job's temporary file: the job lasts as long as it is to last, and then fails.
struct HeldUp {
    path: PathBuf,
    reader: File,
}

impl HeldUp {
    fn hold(server: &Server, name: &str) -> HeldUp {
        let path = server.dir().join(name.replace("PID", &server.pid().to_string()));
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        let flags = OFlags::NONBLOCK.bits() as i32;
        let reader = File::options().read(true).custom_flags(flags).open(&path).expect("opened");
        HeldUp { path, reader }
    }

    fn has_begun(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(1))
    }

    /// Reads all of it, to its end.
    fn let_go(mut self) {
        let (mut bytes, mut any) = (vec![0; 1 << 16], false);
        let ended = wait_until(PATIENCE, || {
            loop {
                match self.reader.read(&mut bytes) {
                    Ok(0) => return any,
                    Ok(_) => any = true,
                    Err(_) => return false,
                }
            }
        });
        assert!(ended, "the job does not end");
    }
}

#[test]
fn saves_and_rewrites_take_turns() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads).set("appendonly", "yes"));
        let mut client = server.client();
        client.call(&["DEBUG", "POPULATE", "100000"]);
        let saving = "ERR Background save already in progress";
        let held = HeldUp::hold(&server, "temp-PID-bg.rdb");
        assert_eq!(
            together(&mut client, &["BGSAVE", "BGSAVE", "SAVE", "BGREWRITEAOF"]),
            ["Background saving started", saving, saving, "Background append only file rewriting scheduled"]
        );
        held.let_go();
        wait_until_idle(&mut client);
        assert_eq!(client.persistence("aof_last_bgrewrite_status"), "ok");
        // A pipe is no file to save to, and after a failure one that is scheduled would wait a while.
        together(&mut client, &["BGSAVE"]);
        wait_until_idle(&mut client);
        assert_eq!(client.persistence("rdb_last_bgsave_status"), "ok");
        let saves = || server.log().matches("Background saving terminated with success").count();
        let before = saves();
        let held = HeldUp::hold(&server, "temp-rewriteaof-bg-PID.aof");
        assert_eq!(
            together(&mut client, &["BGREWRITEAOF", "BGREWRITEAOF", "BGSAVE", "BGSAVE SCHEDULE"]),
            [
                "Background append only file rewriting started",
                "ERR Background append only file rewriting already in progress",
                "ERR An AOF log rewriting in progress: can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a \
                 BGSAVE whenver possible.",
                "Background saving scheduled",
            ]
        );
        held.let_go();
        assert!(wait_until(PATIENCE, || saves() > before));
        wait_until_idle(&mut client);
        let digest = client.call(&["DEBUG", "DIGEST"]);
        assert_eq!(server.crash().start_again().client().call(&["DEBUG", "DIGEST"]), digest);
    }
}

#[test]
fn the_aof_is_whole_however_it_was_turned_on_and_off() {
    let (on, off) = ("CONFIG SET appendonly yes", "CONFIG SET appendonly no");
    for before in [&["BGSAVE"][..], &[], &["BGREWRITEAOF"]] {
        for turns in [&[on][..], &[on, off, on], &[on, "SET k 1", off, "SET k 2", on]] {
            let server = Server::start(Options::codis(1).set("appendonly", "no"));
            let mut client = server.client();
            client.call(&["DEBUG", "POPULATE", "50000"]);
            let lines = [before, turns, &["SET k last"]].concat();
            together(&mut client, &lines);
            wait_until_idle(&mut client);
            assert_eq!(client.persistence("aof_enabled"), "1");
            client.call(&["SET", "after", "v"]);
            let digest = client.call(&["DEBUG", "DIGEST"]);
            client.wait_until_written();
            let server = server.crash().start_as(Options::codis(1).set("appendonly", "yes"));
            assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), digest, "{lines:?}");
        }
    }
}

#[test]
fn a_shutdown_during_a_save_leaves_one_whole_file() {
    let mut server = Server::start(Options::codis(1));
    let mut client = server.client();
    client.call(&["DEBUG", "POPULATE", "100000"]);
    let digest = client.call(&["DEBUG", "DIGEST"]);
    let mut bytes = Vec::new();
    encode(&["BGSAVE"], &mut bytes);
    encode(&["SHUTDOWN", "SAVE"], &mut bytes);
    client.send(&bytes).expect("sent");
    assert!(server.wait(PATIENCE).is_some_and(|status| status.success()), "{}", server.log());
    let names = fs::read_dir(server.dir()).expect("there").flatten();
    let left: Vec<_> = names.map(|entry| entry.file_name()).filter(|name| name != "server.log").collect();
    assert_eq!(left, ["dump.rdb"]);
    assert_eq!(server.crash().start_again().client().call(&["DEBUG", "DIGEST"]), digest);
}

#[test]
fn a_shutdown_leaves_no_file_of_a_job_whose_thread_never_goes_on() {
    for (command, name) in [("BGSAVE", "temp-PID-bg.rdb"), ("BGREWRITEAOF", "temp-rewriteaof-bg-PID.aof")] {
        let mut server = Server::start(Options::codis(1));
        let mut client = server.client();
        client.call(&["DEBUG", "POPULATE", "100000"]);
        // Hardly anything of it is read, so the thread that writes to it waits for ever.
        let mut held = HeldUp::hold(&server, name);
        assert!(matches!(client.call(&[command]), Reply::Simple(_)));
        assert!(wait_until(PATIENCE, || held.has_begun()));
        let mut bytes = Vec::new();
        encode(&["SHUTDOWN", "SAVE"], &mut bytes);
        client.send(&bytes).expect("sent");
        assert!(server.wait(PATIENCE).is_some_and(|status| status.success()), "{}", server.log());
        assert!(!held.path.exists(), "{}", server.log());
        let loaded = server.crash().start_again().client().call(&["DBSIZE"]);
        assert_eq!(loaded, Reply::Int(100_000));
    }
}

#[test]
fn debug_loadaof_keeps_everything_also_with_a_snapshot_in_front() {
    let redis = Server::start(Options::redis().set("appendonly", "yes").set("enable-debug-command", "local"));
    let mut client = redis.client();
    for n in 0..2000 {
        client.call(&["HSET", &format!("h:{}", n % 50), &n.to_string(), "v"]);
    }
    client.call(&["BGREWRITEAOF"]);
    let base = || {
        let dir = fs::read_dir(redis.dir().join("appendonlydir")).into_iter().flatten().flatten();
        dir.map(|entry| entry.path()).find(|path| {
            path.to_string_lossy().ends_with(".base.rdb") && path.metadata().is_ok_and(|about| about.len() > 1000)
        })
    };
    assert!(wait_until(PATIENCE, || base().is_some()));
    let mut whole = fs::read(base().expect("there")).expect("readable");
    encode(&["SELECT", "0"], &mut whole);
    encode(&["SET", "behind", "it"], &mut whole);
    let server = Server::start(Options::codis(1).set("appendonly", "no"));
    fs::write(server.dir().join("appendonly.aof"), whole).expect("written");
    let mut ours = server.client();
    assert_eq!(ours.call(&["DEBUG", "LOADAOF"]), Reply::Simple(b"OK".into()));
    client.call(&["SET", "behind", "it"]);
    assert_eq!(ours.call(&["DEBUG", "DIGEST"]), client.call(&["DEBUG", "DIGEST"]));
}

#[test]
fn what_a_transaction_or_script_changed_is_in_a_rewritten_aof_once() {
    for threads in [1, 4] {
        let options = || Options::codis(threads).set("appendonly", "yes");
        let server = Server::start(options());
        let mut client = server.client();
        for line in ["MULTI", "INCR a", "BGREWRITEAOF", "INCR a", "EXEC"] {
            client.call(&line.split(' ').collect::<Vec<_>>());
        }
        wait_until_idle(&mut client);
        let scripts = [
            "redis.call('incr','b') redis.call('bgrewriteaof') redis.call('incr','b')",
            "redis.replicate_commands() redis.call('incr','c') redis.call('bgrewriteaof') redis.call('incr','c')",
        ];
        for script in scripts {
            client.call(&["EVAL", script, "0"]);
            wait_until_idle(&mut client);
        }
        assert_eq!(client.persistence("aof_last_bgrewrite_status"), "ok");
        assert!(server.log().contains("Background AOF rewrite finished successfully"), "{}", server.log());
        client.wait_until_written();
        let server = server.crash().start_as(options());
        let values = server.client().call(&["MGET", "a", "b", "c"]);
        let two = || Reply::Bulk(Some(b"2".to_vec()));
        assert_eq!(values, Reply::Array(Some(vec![two(), two(), two()])));
    }
}

#[test]
fn commands_behind_a_snapshot_find_keys_that_were_to_expire_since() {
    let mut server = Server::start(Options::codis(1));
    let mut client = server.client();
    client.call(&["SET", "k", "100", "PX", "3000"]);
    client.call(&["SET", "gone", "1", "PX", "3000"]);
    client.call(&["SAVE"]);
    assert!(wait_until(PATIENCE, || client.call(&["EXISTS", "k", "gone"]) == Reply::Int(0)));
    let mut whole = fs::read(server.dir().join("dump.rdb")).expect("saved");
    for words in [&["SELECT", "0"][..], &["PERSIST", "k"], &["INCR", "k"]] {
        encode(words, &mut whole);
    }
    fs::write(server.dir().join("appendonly.aof"), whole).expect("written");
    server = server.crash().start_as(Options::codis(1).set("appendonly", "yes"));
    let mut client = server.client();
    assert_eq!(client.call(&["GET", "k"]), Reply::Bulk(Some(b"101".to_vec())));
    assert!(wait_until(PATIENCE, || client.call(&["DBSIZE"]) == Reply::Int(1)));
}

#[test]
fn a_damaged_file_ends_the_start_and_is_named() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    for n in 0..200 {
        client.call(&["RPUSH", "list of numbers", &format!("element {n}")]);
    }
    client.call(&["SAVE"]);
    let whole = fs::read(server.dir().join("dump.rdb")).expect("saved");
    for (damage, says) in
        [("cut", "in key \"list of numbers\", file dump.rdb. Exiting."), ("bit", "file dump.rdb. Exiting.")]
    {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let mut bytes = whole.clone();
        match damage {
            "cut" => bytes.truncate(whole.len() / 2),
            _ => bytes[whole.len() / 2] ^= 1,
        }
        fs::write(dir.path().join("dump.rdb"), bytes).expect("written");
        // A server that starts although its file is damaged would run for ever.
        let ended = Command::new("timeout")
            .args(["--signal", "KILL", "60"])
            .arg(codis_server())
            .args(["--port", "0", "--unixsocket", "socket", "--dir"])
            .arg(dir.path())
            .output()
            .expect("timeout (package coreutils) runs");
        assert_eq!(ended.status.code(), Some(1), "{damage}");
        let log = String::from_utf8_lossy(&ended.stdout);
        assert!(log.contains("Fatal error loading the DB: ") && log.contains(says), "{damage}: {log}");
    }
}

#[test]
fn a_payload_without_a_checksum_is_refused() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    client.call(&[b"SET".as_slice(), b"long", &vec![b'x'; 200_000]]);
    client.run("SET short abc");
    for key in ["short", "long"] {
        let Reply::Bulk(Some(mut payload)) = client.run(&format!("DUMP {key}")) else { panic!("a payload") };
        let end = payload.len() - 8;
        payload[end..].fill(0);
        let refused = Reply::Error(b"ERR DUMP payload version or checksum are wrong".to_vec());
        assert_eq!(client.call(&[b"RESTORE".as_slice(), b"new", b"0", &payload]), refused, "{key}");
        let refused = Reply::Error(b"ERR dump payload version or checksum are wrong".to_vec());
        assert_eq!(client.call(&[b"SLOTSRESTORE".as_slice(), b"new", b"0", &payload]), refused, "{key}");
    }
}

#[test]
fn payloads_of_later_servers_are_logged_as_every_reader_knows_them() {
    let server = Server::start(Options::codis(2).set("appendonly", "yes").set("appendfsync", "always"));
    // A string, of the version of Redis 5.
    const VALUE: &[u8] = b"\0\x03abc";
    const SEAL: &[u8] = b"\x09\0\x09\x5e\x61\xf1\x15\xf4\xc1\x53";
    const OLD_SEAL: &[u8] = b"\x07\0\x26\x9e\xe5\xce\x49\xb8\x77\xf8";
    let payload = [VALUE, SEAL].concat();
    let mut client = server.client();
    let commands: [&[&[u8]]; 5] = [
        &[b"RESTORE", b"k:1", b"0", &payload],
        &[b"RESTORE", b"k:2", b"1000000", &payload, b"REPLACE"],
        &[b"SLOTSRESTORE", b"k:3", b"0", &payload],
        &[b"SLOTSRESTORE-ASYNC", b"object", b"k:4", b"0", &payload],
        &[b"RESTORE", b"k:5", b"0", &[VALUE, OLD_SEAL].concat()],
    ];
    for command in commands {
        let reply = client.call(command);
        assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
    }
    let log = fs::read(server.dir().join("appendonly.aof")).expect("an AOF");
    let count = |tail: &[u8]| {
        let wanted = [VALUE, tail].concat();
        log.windows(wanted.len()).filter(|part| *part == wanted).count()
    };
    assert_eq!((count(b"\x09\0"), count(b"\x07\0"), count(OLD_SEAL)), (0, 5, 5));
    let server = server.crash().start_again();
    for n in 1..=5 {
        assert_eq!(server.client().run(&format!("GET k:{n}")), Reply::Bulk(Some(b"abc".to_vec())));
    }
}

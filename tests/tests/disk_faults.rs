//! Disks that fail, for the whole server: files that may not grow (as on a full disk), a device that cannot be
//! synchronised, directories that go away, something else in a file's place. Writes are refused as Redis refuses them, the
//! old file survives, and the server goes on when the disk does.

#![forbid(unsafe_code)]

use resp::Reply;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tests::{Client, Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const MISCONF_RDB: &str = "MISCONF Redis is configured to save RDB snapshots, but is currently not able to persist on \
                           disk. Commands that may modify the data set are disabled. Please check Redis logs for details \
                           about the error.";
const TOO_LARGE: &str = "MISCONF Errors writing to the AOF file: File too large";

/// Files that the server writes may have so many bytes at most; `None` for no limit. The error is not that of a full disk,
/// but what the server makes of it is the same, and no other privilege is needed.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".into(), |bytes| bytes.to_string());
    let status = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), &format!("--fsize={limit}:unlimited")])
        .status()
        .expect("prlimit (package util-linux) runs");
    assert!(status.success());
}

fn error(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

/// Writes until that is refused; how many writes were acknowledged.
fn write_until_refused(client: &mut Client, text: &str) -> usize {
    let value = "x".repeat(1000);
    for n in 0..10_000 {
        let reply = client.call(&["SET", &format!("key:{n}"), &value]);
        if matches!(reply, Reply::Error(_)) {
            assert_eq!(error(&reply), text);
            return n;
        }
    }
    panic!("nothing was refused");
}

fn files_named(dir: &Path, part: &str) -> usize {
    let names = fs::read_dir(dir).expect("a directory").flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().contains(part)).count()
}

#[test]
fn an_aof_that_cannot_grow_refuses_writes_until_it_can() {
    for fsync in ["everysec", "no"] {
        let options = Options::codis(1).set("appendonly", "yes").set("appendfsync", fsync);
        let server = Server::start(options);
        let mut client = server.client();
        limit_files(&server, Some(300_000));
        let written = write_until_refused(&mut client, TOO_LARGE);
        assert!(written > 100, "{written} writes");
        assert_eq!(client.persistence("aof_last_write_status"), "err");
        // Reading goes on, and so does whatever does not write.
        assert!(matches!(client.call(&["GET", "key:0"]), Reply::Bulk(Some(_))));
        assert_eq!(error(&client.call(&["PING"])), TOO_LARGE);
        limit_files(&server, None);
        assert!(wait_until(PATIENCE, || client.call(&["SET", "after", "1"]) == Reply::Simple(b"OK".into())));
        assert_eq!(client.persistence("aof_last_write_status"), "ok");
        assert!(server.log().contains("AOF write error looks solved"));
        let digest = client.call(&["DEBUG", "DIGEST"]);
        // Everything is in the file: also what was acknowledged while it could not be written.
        let server = server.restart(&[]);
        assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), digest, "{fsync}");
    }
}

#[test]
fn under_always_nobody_is_told_of_a_write_that_is_not_on_disk() {
    let server = Server::start(Options::codis(1).set("appendonly", "yes").set("appendfsync", "always"));
    let value = "x".repeat(1000);
    limit_files(&server, Some(300_000));
    let mut client = server.client();
    let mut acknowledged = 0;
    while let Ok(reply) = client.try_call(&["SET", &format!("key:{acknowledged}"), &value]) {
        assert_eq!(reply, Reply::Simple(b"OK".into()));
        acknowledged += 1;
        assert!(acknowledged < 1000, "nothing failed");
    }
    let mut client = server.client();
    assert_eq!(error(&client.call(&["SET", "other", "1"])), TOO_LARGE);
    assert_eq!(client.persistence("aof_last_write_status"), "err");
    limit_files(&server, None);
    assert!(wait_until(PATIENCE, || client.call(&["SET", "after", "1"]) == Reply::Simple(b"OK".into())));
    let server = server.crash().start_again();
    let mut client = server.client();
    let all = (0..acknowledged).all(|n| matches!(client.call(&["GET", &format!("key:{n}")]), Reply::Bulk(Some(_))));
    assert!(all && acknowledged > 100, "{acknowledged} were acknowledged");
}

#[test]
fn a_device_that_cannot_be_synchronised_refuses_writes() {
    // Writing to it goes well, synchronising does not.
    let dir = TempDir::new().expect("a temporary directory can be made");
    symlink("/dev/null", dir.path().join("appendonly.aof")).expect("made");
    let options = Options::codis(1).set("appendonly", "yes").set("appendfsync", "always");
    let server = Server::start(options.set("dir", &dir.path().to_string_lossy()));
    let mut client = server.client();
    client.send(b"SET k v\r\n").expect("sent");
    assert!(client.is_ended(), "a reply although nothing is on disk");
    let mut client = server.client();
    assert!(error(&client.call(&["SET", "k", "w"])).starts_with("MISCONF Errors writing to the AOF file: "));
    assert_eq!(client.persistence("aof_last_write_status"), "err");
}

#[test]
fn a_save_that_finds_no_room_leaves_the_old_file_and_refuses_writes() {
    let server = Server::start(Options::codis(1).set_words("save", &["3600", "1000000"]));
    let mut client = server.client();
    client.call(&["SET", "k", "v"]);
    client.call(&["SAVE"]);
    let whole = fs::read(server.dir().join("dump.rdb")).expect("saved");
    client.call(&["DEBUG", "POPULATE", "20000"]);
    limit_files(&server, Some(100_000));
    client.call(&["BGSAVE"]);
    assert!(wait_until(PATIENCE, || client.persistence("rdb_bgsave_in_progress") == "0"));
    assert_eq!(client.persistence("rdb_last_bgsave_status"), "err");
    assert_eq!(error(&client.call(&["SET", "k", "w"])), MISCONF_RDB);
    let Reply::Error(text) = client.call(&["EVAL", "return redis.call('set', 'k', 'w')", "0"]) else {
        panic!("written by a script")
    };
    assert!(String::from_utf8_lossy(&text).contains("-MISCONF Redis is configured to save RDB snapshots"));
    assert!(matches!(client.call(&["EVAL", "return redis.call('get', 'k')", "0"]), Reply::Bulk(_)));
    // Those who want to go on without saving may.
    client.call(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    assert_eq!(client.call(&["SET", "k", "w"]), Reply::Simple(b"OK".into()));
    client.call(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]);
    assert_eq!(client.call(&["SAVE"]), Reply::Error(b"ERR".into()));
    assert_eq!(fs::read(server.dir().join("dump.rdb")).expect("still there"), whole);
    assert_eq!(files_named(server.dir(), "temp-"), 0, "temporary files are left");
    limit_files(&server, None);
    client.call(&["BGSAVE"]);
    assert!(wait_until(PATIENCE, || client.persistence("rdb_last_bgsave_status") == "ok"));
    assert_eq!(client.call(&["SET", "k", "x"]), Reply::Simple(b"OK".into()));
}

#[test]
fn a_rewrite_that_finds_no_room_leaves_the_old_file_in_use() {
    let server = Server::start(Options::codis(1).set("appendonly", "yes").set("auto-aof-rewrite-percentage", "0"));
    let mut client = server.client();
    // The file is small, what it would be rewritten to is large: POPULATE is not logged.
    client.call(&["DEBUG", "POPULATE", "20000"]);
    limit_files(&server, Some(100_000));
    client.call(&["BGREWRITEAOF"]);
    assert!(wait_until(PATIENCE, || client.persistence("aof_rewrite_in_progress") == "0"));
    assert_eq!(client.persistence("aof_last_bgrewrite_status"), "err");
    assert_eq!(files_named(server.dir(), "temp-"), 0, "temporary files are left");
    assert_eq!(client.call(&["SET", "after", "1"]), Reply::Simple(b"OK".into()));
    limit_files(&server, None);
    client.call(&["BGREWRITEAOF"]);
    assert!(wait_until(PATIENCE, || client.persistence("aof_last_bgrewrite_status") == "ok"));
    let digest = client.call(&["DEBUG", "DIGEST"]);
    let server = server.restart(&[]);
    assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), digest);
}

#[test]
fn a_directory_that_goes_away_is_found_again_without_a_restart() {
    let server = Server::start(Options::codis(1).set_words("save", &["3600", "1000000"]));
    let mut client = server.client();
    client.call(&["SET", "k", "v"]);
    client.call(&["SAVE"]);
    let whole = fs::read(server.dir().join("dump.rdb")).expect("saved");
    let gone = server.dir().join("gone");
    fs::create_dir(&gone).expect("made");
    client.call(&["CONFIG", "SET", "dir", &gone.to_string_lossy()]);
    client.call(&["CONFIG", "SET", "appendonly", "yes"]);
    assert!(wait_until(PATIENCE, || client.persistence("aof_rewrite_in_progress") == "0"));
    fs::remove_dir_all(&gone).expect("removed");
    client.call(&["BGSAVE"]);
    assert!(wait_until(PATIENCE, || error(&client.call(&["SET", "k", "w"])) == MISCONF_RDB));
    assert_eq!(fs::read(server.dir().join("dump.rdb")).expect("still there"), whole);
    client.call(&["BGREWRITEAOF"]);
    assert!(wait_until(PATIENCE, || client.persistence("aof_last_bgrewrite_status") == "err"));
    client.call(&["CONFIG", "SET", "dir", &server.dir().to_string_lossy()]);
    client.call(&["BGSAVE"]);
    assert!(wait_until(PATIENCE, || client.call(&["SET", "k", "w"]) == Reply::Simple(b"OK".into())));
    client.call(&["BGREWRITEAOF"]);
    assert!(wait_until(PATIENCE, || client.persistence("aof_last_bgrewrite_status") == "ok"));
    // Only the new AOF has this.
    client.call(&["SET", "k", "x"]);
    client.wait_until_written();
    let server = server.crash().start_as(Options::codis(1).set("appendonly", "yes"));
    let mut client = server.client();
    assert!(matches!(client.call(&["GET", "k"]), Reply::Bulk(Some(text)) if *text == *b"x"));
}

#[test]
fn a_directory_in_the_place_of_the_file_is_an_error_and_nothing_else() {
    let server = Server::start(Options::codis(1).set_words("save", &["3600", "1000000"]));
    let mut client = server.client();
    client.call(&["SET", "k", "v"]);
    fs::create_dir(server.dir().join("dump.rdb")).expect("made");
    assert_eq!(client.call(&["SAVE"]), Reply::Error(b"ERR".into()));
    client.call(&["BGSAVE"]);
    assert!(wait_until(PATIENCE, || error(&client.call(&["SET", "k", "w"])) == MISCONF_RDB));
    assert_eq!(files_named(server.dir(), "temp-"), 0, "temporary files are left");
    fs::remove_dir(server.dir().join("dump.rdb")).expect("removed");
    assert_eq!(client.call(&["SAVE"]), Reply::Simple(b"OK".into()));
    assert_eq!(client.call(&["SET", "k", "w"]), Reply::Simple(b"OK".into()));
}

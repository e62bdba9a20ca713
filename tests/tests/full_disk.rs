//! A full filesystem, for the whole server: writes are refused as Redis refuses them, the old file survives, and the server
//! goes on by itself when there is room again.
//!
//! The filesystem is a tmpfs of some megabytes in a mount namespace of its own: the test runs itself anew in there, with
//! `unshare` and `mount` of package util-linux, which need root or user namespaces. Where neither is to be had, the size
//! of files is limited instead: the error is another one then, and what the server makes of it is the same.

#![forbid(unsafe_code)]

use resp::Reply;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tests::{Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Says to the test where the small filesystem is.
const SMALL: &str = "CODIS_TEST_SMALL_FILESYSTEM";
/// Mounts it on `$0` and runs the rest.
const MOUNT: &str = "mount -t tmpfs -o size=4m none \"$0\" && exec \"$@\"";
const OK: &[u8] = b"OK";
const MISCONF_RDB: &str = "MISCONF Redis is configured to save RDB snapshots, but is currently not able to persist on \
                           disk. Commands that may modify the data set are disabled. Please check Redis logs for details \
                           about the error.";

/// A disk with little room.
enum Disk {
    /// A filesystem of its own.
    Small(PathBuf),
    /// Files of the server may not grow.
    Limited(TempDir),
}

impl Disk {
    fn dir(&self) -> &Path {
        match self {
            Disk::Small(dir) => dir,
            Disk::Limited(dir) => dir.path(),
        }
    }

    /// Leaves so many bytes, about.
    fn fill(&self, server: &Server, left: usize) {
        match self {
            Disk::Small(dir) => {
                let mut ballast = File::create(dir.join("ballast")).expect("made");
                let mut written = 0;
                while ballast.write_all(&[b'x'; 4096]).is_ok() {
                    written += 4096;
                }
                ballast.set_len((written - left) as u64).expect("cut");
            }
            Disk::Limited(_) => limit_files(server, &left.max(4096).to_string()),
        }
    }

    fn make_room(&self, server: &Server) {
        match self {
            Disk::Small(dir) => fs::remove_file(dir.join("ballast")).expect("removed"),
            Disk::Limited(_) => limit_files(server, "unlimited"),
        }
    }

    fn error(&self) -> &'static str {
        match self {
            Disk::Small(_) => "No space left on device",
            Disk::Limited(_) => "File too large",
        }
    }
}

fn limit_files(server: &Server, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &server.pid().to_string(), &limit]).status();
    assert!(status.expect("prlimit (package util-linux) runs").success());
}

/// Runs `scene` on a full disk: in here, or in a process of its own that has one.
fn on_a_full_disk(test: &str, scene: fn(&Disk)) {
    if let Some(dir) = env::var_os(SMALL) {
        return scene(&Disk::Small(dir.into()));
    }
    let dir = TempDir::new().expect("a temporary directory can be made");
    let unshare = |flags: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", MOUNT]).arg(dir.path());
        command
    };
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let can = |flags: &&&[&str]| unshare(flags).arg("true").output().is_ok_and(|output| output.status.success());
    match ways.iter().find(can) {
        Some(flags) => {
            let program = env::current_exe().expect("a path");
            let mut command = unshare(flags);
            let output = command.arg(program).args(["--exact", test]).env(SMALL, dir.path()).output().expect("runs");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "in a mount namespace: {text}");
        }
        None => {
            eprintln!("no filesystem can be mounted here: the size of files is limited instead");
            scene(&Disk::Limited(dir));
        }
    }
}

fn is_ok(reply: &Reply) -> bool {
    *reply == Reply::Simple(OK.into())
}

fn temporary_files(disk: &Disk) -> usize {
    let names = fs::read_dir(disk.dir()).expect("a directory").flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().contains("temp-")).count()
}

fn start(disk: &Disk, options: Options) -> Server {
    Server::start(options.set("dir", &disk.dir().to_string_lossy()))
}

#[test]
fn an_aof_on_a_full_disk_refuses_writes_until_there_is_room() {
    on_a_full_disk("an_aof_on_a_full_disk_refuses_writes_until_there_is_room", |disk| {
        let server = start(disk, Options::codis(2).set("appendonly", "yes").set("auto-aof-rewrite-percentage", "0"));
        let mut client = server.client();
        disk.fill(&server, 300_000);
        let value = "x".repeat(1000);
        let mut acknowledged = 0;
        let refused = loop {
            match client.call(&["SET", &format!("key:{acknowledged}"), &value]) {
                Reply::Error(text) => break String::from_utf8_lossy(&text).into_owned(),
                _ => acknowledged += 1,
            }
            assert!(acknowledged < 10_000, "nothing was refused");
        };
        assert_eq!(refused, format!("MISCONF Errors writing to the AOF file: {}", disk.error()));
        assert!(acknowledged > 100, "{acknowledged} writes");
        assert_eq!(client.persistence("aof_last_write_status"), "err");
        assert!(matches!(client.call(&["GET", "key:0"]), Reply::Bulk(Some(_))));
        disk.make_room(&server);
        assert!(wait_until(PATIENCE, || is_ok(&client.call(&["SET", "after", "1"]))));
        assert_eq!(client.persistence("aof_last_write_status"), "ok");
        let digest = client.call(&["DEBUG", "DIGEST"]);
        let server = server.restart(&[]);
        assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), digest);
    });
}

#[test]
fn a_save_on_a_full_disk_leaves_the_old_file() {
    on_a_full_disk("a_save_on_a_full_disk_leaves_the_old_file", |disk| {
        let server = start(disk, Options::codis(2).set_words("save", &["3600", "1000000"]));
        let mut client = server.client();
        client.call(&["SET", "k", "v"]);
        client.call(&["SAVE"]);
        let whole = fs::read(disk.dir().join("dump.rdb")).expect("saved");
        client.call(&["DEBUG", "POPULATE", "20000"]);
        disk.fill(&server, 0);
        client.call(&["BGSAVE"]);
        assert!(wait_until(PATIENCE, || client.persistence("rdb_bgsave_in_progress") == "0"));
        assert_eq!(client.persistence("rdb_last_bgsave_status"), "err");
        assert_eq!(client.call(&["SET", "k", "w"]), Reply::Error(MISCONF_RDB.as_bytes().into()));
        assert_eq!(fs::read(disk.dir().join("dump.rdb")).expect("still there"), whole);
        assert_eq!(temporary_files(disk), 0, "temporary files are left");
        assert!(server.log().contains(disk.error()), "the log does not say why");
        disk.make_room(&server);
        client.call(&["BGSAVE"]);
        assert!(wait_until(PATIENCE, || client.persistence("rdb_last_bgsave_status") == "ok"));
        assert!(is_ok(&client.call(&["SET", "k", "x"])));
    });
}

#[test]
fn a_rewrite_on_a_full_disk_leaves_the_old_file_in_use() {
    on_a_full_disk("a_rewrite_on_a_full_disk_leaves_the_old_file_in_use", |disk| {
        let server = start(disk, Options::codis(2).set("appendonly", "yes").set("auto-aof-rewrite-percentage", "0"));
        let mut client = server.client();
        // The file is small, what it would be rewritten to is large: POPULATE is not logged.
        client.call(&["DEBUG", "POPULATE", "20000"]);
        disk.fill(&server, 100_000);
        client.call(&["BGREWRITEAOF"]);
        assert!(wait_until(PATIENCE, || client.persistence("aof_rewrite_in_progress") == "0"));
        assert_eq!(client.persistence("aof_last_bgrewrite_status"), "err");
        assert_eq!(temporary_files(disk), 0, "temporary files are left");
        assert!(wait_until(PATIENCE, || is_ok(&client.call(&["SET", "after", "1"]))));
        disk.make_room(&server);
        client.call(&["BGREWRITEAOF"]);
        assert!(wait_until(PATIENCE, || client.persistence("aof_last_bgrewrite_status") == "ok"));
        let digest = client.call(&["DEBUG", "DIGEST"]);
        let server = server.restart(&[]);
        assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), digest);
    });
}

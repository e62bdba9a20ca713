//! Files whose making crosses with other orders: what was acknowledged last is what the files say.

use resp::Reply;
use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;
use tests::{Client, Options, Server, encode, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 40;

#[test]
fn what_is_saved_after_flushall_is_not_replaced_by_its_empty_file() {
    let server = Server::start(Options::codis(2).set_words("save", &["900", "1"]));
    let (mut flusher, mut saver) = (server.client(), server.client());
    let mut command = Vec::new();
    encode(&["FLUSHALL"], &mut command);
    for round in 0..ROUNDS {
        saver.call(&["SET", "old", "v"]);
        flusher.send(&command).expect("sent");
        assert!(wait_until(PATIENCE, || saver.call(&["EXISTS", "old"]) == Reply::Int(0)));
        let name = format!("precious:{round}");
        saver.call(&["SET", &name, "v"]);
        assert_eq!(saver.call(&["SAVE"]), Reply::Simple(b"OK".to_vec()));
        assert_eq!(flusher.read(), Reply::Simple(b"OK".to_vec()));
        let saved = fs::read(server.dir().join("dump.rdb")).expect("saved");
        assert!(saved.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "round {round}");
    }
}

#[test]
fn a_save_goes_where_the_directory_was_when_it_began() {
    let server = Server::start(Options::codis(1).set_words("save", &["900", "1"]));
    let mut client = server.client();
    client.call(&["DEBUG", "POPULATE", "100000"]);
    let (old, new) = (server.dir().to_owned(), server.dir().join("backup"));
    fs::create_dir(&new).expect("made");
    let mut bytes = Vec::new();
    for order in ["BGSAVE", "BGREWRITEAOF"] {
        encode(&["CONFIG", "SET", "dir", &new.to_string_lossy()], &mut bytes);
        encode(&[order], &mut bytes);
        encode(&["CONFIG", "SET", "dir", &old.to_string_lossy()], &mut bytes);
        client.send(&bytes).expect("sent");
        bytes.clear();
        for _ in 0..3 {
            assert!(matches!(client.read(), Reply::Simple(_)));
        }
        assert!(wait_until(PATIENCE, || client.is_idle()));
    }
    assert_eq!(client.persistence("rdb_last_bgsave_status"), "ok");
    assert_eq!(client.persistence("aof_last_bgrewrite_status"), "ok");
    let mut names: Vec<_> = fs::read_dir(&new).expect("there").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["appendonly.aof", "dump.rdb"]);
    assert!(!old.join("dump.rdb").exists() && !old.join("appendonly.aof").exists());
}

#[test]
fn an_aof_that_is_turned_on_while_a_file_is_loaded_has_all_keys() {
    let server = Server::start(Options::codis(2).set("appendonly", "no"));
    let mut client = server.client();
    client.call(&["DEBUG", "POPULATE", "50000"]);
    client.call(&["SAVE"]);
    let digest = client.call(&["DEBUG", "DIGEST"]);
    let (addr, dir) = (server.addr(), server.dir().to_owned());
    let crashed = server.crash();
    // The file comes through a pipe, so that loading lasts as long as it is to last.
    let dump = dir.join("dump.rdb");
    let bytes = fs::read(&dump).expect("saved");
    fs::remove_file(&dump).expect("removed");
    assert!(Command::new("mkfifo").arg(&dump).status().expect("mkfifo runs").success());
    let server = thread::scope(|scope| {
        // The server ends with the thread that starts it.
        let feeder = scope.spawn(|| {
            let mut pipe = File::options().write(true).open(&dump).expect("opened by the server");
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            pipe.write_all(first).expect("read by the server");
            let mut client = Client::connect(addr).expect("accepted");
            assert!(matches!(client.call(&["GET", "key:1"]), Reply::Error(text) if text.starts_with(b"LOADING")));
            for order in [["appendonly", "no"], ["appendonly", "yes"], ["dir", "/"], ["dir", &dir.to_string_lossy()]] {
                let reply = client.call(&["CONFIG", "SET", order[0], order[1]]);
                assert_eq!(reply, Reply::Simple(b"OK".to_vec()), "{order:?}");
            }
            pipe.write_all(rest).expect("read by the server");
        });
        let server = crashed.start_again();
        feeder.join().expect("fed");
        server
    });
    let mut client = server.client();
    assert_eq!(client.call(&["DEBUG", "DIGEST"]), digest);
    client.call(&["SET", "after", "v"]);
    let digest = client.call(&["DEBUG", "DIGEST"]);
    assert!(wait_until(PATIENCE, || client.persistence("aof_enabled") == "1" && client.is_idle()));
    assert_eq!(client.persistence("aof_last_bgrewrite_status"), "ok");
    client.wait_until_written();
    let server = server.crash().start_as(Options::codis(2).set("appendonly", "yes"));
    assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), digest);
}

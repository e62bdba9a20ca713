//! What the replicas get and the append only file does not, and the other way round: `redis.set_repl` and PUBLISH, while
//! the file is rewritten.

#![forbid(unsafe_code)]

use resp::Reply;
use std::fs;
use std::thread;
use std::time::Duration;
use tests::{Client, Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: usize = 3;
const ROUNDS: i64 = 400;

/// Counts for everybody, for the file, for the replicas, for nobody, and for everybody again.
const SCRIPT: &str = "redis.replicate_commands()
    local function incr(what) redis.call('incr', what .. ':' .. KEYS[1]) end
    incr('first')
    redis.set_repl(redis.REPL_AOF) incr('file')
    redis.set_repl(redis.REPL_SLAVE) incr('replicas')
    redis.set_repl(redis.REPL_NONE) incr('nobody')
    redis.set_repl(redis.REPL_ALL) incr('last')
    return redis.call('publish', 'channel', 'message')";

fn number(client: &mut Client, key: &str) -> i64 {
    match client.call(&["GET", key]) {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).parse().expect("a number"),
        Reply::Bulk(None) => 0,
        other => panic!("{other:?}"),
    }
}

fn info(client: &mut Client, section: &str) -> String {
    match client.call(&["INFO", section]) {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("{other:?}"),
    }
}

fn write(mut client: Client, writer: usize) {
    let key = writer.to_string();
    for n in 0..ROUNDS {
        assert_eq!(client.call(&["EVAL", SCRIPT, "1", &key]), Reply::Int(0));
        if n % 7 == 0 {
            client.call(&["PUBLISH", "channel", "message"]);
            client.call(&["SELECT", if n % 2 == 0 { "0" } else { "5" }]);
        }
    }
}

#[test]
fn the_file_and_the_replicas_each_get_their_own_while_the_file_is_rewritten() {
    for (threads, fsync) in [(1, "always"), (4, "everysec"), (4, "always")] {
        let options = Options::codis(threads).set("appendonly", "yes").set("appendfsync", fsync);
        let primary = Server::start(options);
        let replica = Server::start(Options::codis(1).set("appendonly", "yes").set("appendfsync", "always"));
        let mut client = primary.client();
        let mut follower = replica.client();
        follower.call(&["SLAVEOF", "127.0.0.1", &primary.addr().port().to_string()]);
        let online = wait_until(PATIENCE, || info(&mut client, "replication").contains("state=online"));
        assert!(online, "the replica does not come\n{}", replica.log());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let client = primary.client();
                thread::spawn(move || write(client, writer))
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            client.call(&["BGREWRITEAOF"]);
            follower.call(&["BGREWRITEAOF"]);
            thread::sleep(Duration::from_millis(20));
        }
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        assert_eq!(client.call(&["WAIT", "1", "0"]), Reply::Int(1));
        // Until the first rewrite after the sync is done the replica has no file of these data.
        let idle = wait_until(PATIENCE, || {
            let info = info(&mut follower, "persistence");
            info.contains("aof_rewrite_in_progress:0\r\n") && info.contains("aof_rewrite_scheduled:0\r\n")
        });
        assert!(idle, "{}", replica.log());
        if fsync == "everysec" {
            let written = wait_until(PATIENCE, || info(&mut client, "persistence").contains("aof_buffer_length:0\r\n"));
            assert!(written);
        }

        let both = |client: &mut Client, what: &str, writer: usize| {
            let mut sum = 0;
            for db in ["0", "5"] {
                client.call(&["SELECT", db]);
                sum += number(client, &format!("{what}:{writer}"));
            }
            sum
        };
        for writer in 0..WRITERS {
            for what in ["first", "replicas", "last"] {
                assert_eq!(both(&mut follower, what, writer), ROUNDS, "{what} of {writer} on the replica");
            }
            for what in ["file", "nobody"] {
                assert_eq!(both(&mut follower, what, writer), 0, "{what} of {writer} on the replica");
            }
        }
        // What it has written itself, and its own file.
        let again = primary.crash().start_again();
        let mut client = again.client();
        for writer in 0..WRITERS {
            for what in ["first", "file", "last"] {
                assert_eq!(both(&mut client, what, writer), ROUNDS, "{what} of {writer} in the file, {fsync}");
            }
        }
        let again = replica.crash().start_again();
        let mut client = again.client();
        for writer in 0..WRITERS {
            for what in ["first", "replicas", "last"] {
                assert_eq!(both(&mut client, what, writer), ROUNDS, "{what} of {writer} in the replica's file");
            }
        }
    }
}

#[test]
fn what_was_published_is_not_in_the_file_and_scripts_that_publish_reach_replicas() {
    let primary = Server::start(Options::codis(1).set("appendonly", "yes").set("appendfsync", "always"));
    let replica = Server::start(Options::codis(1));
    let mut client = primary.client();
    replica.client().call(&["SLAVEOF", "127.0.0.1", &primary.addr().port().to_string()]);
    assert!(wait_until(PATIENCE, || info(&mut client, "replication").contains("state=online")));
    let mut listener = replica.client();
    listener.call(&["SUBSCRIBE", "c"]);
    let mut hears = |message: &str| {
        let heard = listener.read();
        let Reply::Array(Some(words)) = &heard else { panic!("{heard:?}") };
        assert_eq!(words[2], Reply::Bulk(Some(message.as_bytes().to_vec())));
    };
    client.call(&["PUBLISH", "c", "plain"]);
    hears("plain");
    client.call(&["EVAL", "return redis.call('publish', 'c', ARGV[1])", "0", "scripted"]);
    hears("scripted");
    let sha = match client.call(&["SCRIPT", "LOAD", "return redis.call('publish', 'c', 'by name')"]) {
        Reply::Bulk(Some(sha)) => String::from_utf8(sha).expect("hexadecimal"),
        other => panic!("{other:?}"),
    };
    client.call(&["EVALSHA", &sha, "0"]);
    hears("by name");
    for command in [&["MULTI"][..], &["PUBLISH", "c", "queued"], &["SET", "k", "v"], &["EXEC"]] {
        client.call(command);
    }
    hears("queued");
    client.call(&["EVAL", "redis.call('set', 'k', 'w') return redis.call('publish', 'c', 'with a write')", "0"]);
    hears("with a write");
    let file = fs::read(primary.dir().join("appendonly.aof")).expect("there");
    let text = String::from_utf8_lossy(&file).to_lowercase();
    assert!(!text.contains("plain") && !text.contains("scripted") && !text.contains("queued"), "{text}");
    assert!(text.contains("with a write") && text.contains("$1\r\nk\r\n$1\r\nv\r\n"), "{text}");
}

//! What a replica's own append only file has of a primary that is another program: what was done here, in words that a
//! start understands, with expiries that do not begin anew.

use resp::Reply;
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::replicas::{follow, full_sync_of, info, serve_sync, wait_for_link};
use tests::{Client, Options, Server, contents, encode, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const DATABASES: u32 = 4;
/// Databases without keys.
const IMAGE: &[u8] = b"REDIS0007\xff\0\0\0\0\0\0\0\0";

/// A replica with a file, and its link to the script of a primary.
fn replica(threads: usize) -> (Server, Client) {
    let replica = Server::start(Options::codis(threads).set("appendonly", "yes").set_words("save", &[""]));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    follow(&replica, listener.local_addr().expect("an address"));
    let answer = full_sync_of(IMAGE, 100);
    let link = serve_sync(&listener, &answer);
    wait_for_link(&replica);
    // The file of the new data.
    let mut client = replica.client();
    let mut is_zero = |field| info(&mut client, field).is_some_and(|value| value == "0");
    let idle = ["aof_rewrite_scheduled", "aof_rewrite_in_progress"];
    assert!(wait_until(PATIENCE, || idle.into_iter().all(&mut is_zero)), "{}", replica.log());
    (replica, link)
}

/// Sends requests, the words of each with blanks between them, and waits until they are carried out.
fn stream(replica: &Server, link: &mut Client, lines: &[&str]) {
    let mut bytes = Vec::new();
    let last = ["SET in-3 end", "SELECT 0", "SET end 1"];
    for line in lines.iter().chain(&last) {
        encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes);
    }
    link.send(&bytes).expect("the replica listens");
    let mut client = replica.client();
    assert!(wait_until(PATIENCE, || client.run("EXISTS end") == Reply::Int(1)), "{}", replica.log());
}

#[test]
fn transactions_within_others_and_discarded_ones_do_not_keep_a_server_from_starting() {
    for threads in [1, 4] {
        let (server, mut link) = replica(threads);
        let mut client = server.client();
        // What a 3.2 says of a script with `redis.replicate_commands` in a transaction.
        let nested = ["SELECT 1", "MULTI", "MULTI", "SET inner 1", "EXEC", "SET after 1", "EXEC", "SET behind 1"];
        let discarded = ["MULTI", "SET never 1", "DISCARD", "MULTI", "SET last 1", "EXEC"];
        stream(&server, &mut link, &[&nested[..], &discarded[..]].concat());
        let before = contents(&mut client, DATABASES);
        let there: Vec<&str> = before.keys().map(|(_, key)| key.as_str()).collect();
        assert_eq!(there, ["end", "after", "behind", "in-3", "inner", "last"]);
        let server = server.end().start_again();
        assert_eq!(contents(&mut server.client(), DATABASES), before, "{}", server.log());
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as i64
}

#[test]
fn a_start_from_the_file_has_what_the_replica_had() {
    for threads in [1, 4] {
        let (server, mut link) = replica(threads);
        let mut client = server.client();
        let script = "redis.call('append',KEYS[1],ARGV[1])";
        let Reply::Bulk(Some(sha)) = client.call(&["SCRIPT", "LOAD", script]) else { panic!("a digest") };
        let sha = String::from_utf8(sha).expect("hexadecimal");
        let by_name = format!("EVALSHA {sha} 1 s x");
        stream(
            &server,
            &mut link,
            &[
                "SELECT 1",
                "HSET h a 1 b 2",
                "SET gone 1",
                "UNLINK gone",
                "RPUSH l 1 2 3",
                "LPOP l 2",
                &by_name,
                // None of these is known here.
                "XADD x * a 1",
                "MULTI",
                "SET aborted 1",
                "XADD x * a 1",
                "EXEC",
                "MULTI",
                "SET in-1 1",
                "SELECT 2",
                "HSET h a 1 b 2",
                &by_name,
                "EXEC",
                // The database is the transaction's.
                "SET in-2 1",
                "MULTI",
                "SELECT 3",
                "UNLINK nothing",
                "EXEC",
            ],
        );
        let before = contents(&mut client, DATABASES);
        let there: Vec<String> = before.keys().map(|(db, key)| format!("{db}:{key}")).collect();
        let expected = ["0:end", "1:h", "1:in-1", "1:l", "1:s", "2:h", "2:in-2", "2:s", "3:in-3"];
        assert_eq!(there, expected);
        let server = server.end().start_again();
        assert_eq!(contents(&mut server.client(), DATABASES), before, "{}", server.log());
    }
}

#[test]
fn an_expiry_does_not_begin_anew_with_each_start() {
    const LINES: [&str; 11] = [
        "SET a v EX 1000",
        "SETEX b 1000 v",
        "PSETEX c 1000000 v",
        "SET d v",
        "EXPIRE d 1000",
        "SET e v",
        "PEXPIRE e 1000000",
        // What an original that keys were moved to tells its replicas.
        "SLOTSRESTORE-ASYNC string f 1000000 v",
        "SLOTSRESTORE-ASYNC list g 500000 9 a b",
        "SLOTSRESTORE-ASYNC list g 500000 9 c",
        "SLOTSRESTORE-ASYNC expire g 1000000",
    ];
    for threads in [1, 4] {
        let (server, mut link) = replica(threads);
        let transaction = [&["SELECT 2", "MULTI"], &LINES[..], &["EXEC", "SELECT 3"]].concat();
        stream(&server, &mut link, &[&["SELECT 1"], &LINES[..], &transaction[..]].concat());
        // No later than they end, and no earlier.
        let ends = |server: &Server, later: bool| {
            let mut client = server.client();
            let mut ends = Vec::new();
            for db in [1, 2] {
                client.run(&format!("SELECT {db}"));
                for key in ["a", "b", "c", "d", "e", "f", "g"] {
                    let early = now_ms();
                    let Reply::Int(left @ 1..) = client.run(&format!("PTTL {key}")) else { panic!("{db}:{key}") };
                    ends.push(if later { now_ms() } else { early } + left);
                }
            }
            ends
        };
        let before = ends(&server, true);
        // Longer than the clock's step.
        std::thread::sleep(Duration::from_millis(20));
        let server = server.end().start_again();
        let after = ends(&server, false);
        assert!(after.iter().zip(&before).all(|(after, before)| after <= before), "{after:?} {before:?}");
    }
}

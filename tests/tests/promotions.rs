//! SLAVEOF NO ONE at the worst moments: a server that has answered it has nothing more of its primary's, neither keys nor
//! bytes of its stream. The primary is a made-up one, so that it can say the right thing at the wrong time.

use resp::Reply;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;
use tests::replicas::{follow, full_sync_of, info, number, serve_sync, wait_for_link};
use tests::{Client, Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Threads of the server; a connection goes to each of them in turn.
const THREADS: usize = 4;
/// The key `k`, whose value is `v`, and no checksum.
const IMAGE: &[u8] = b"REDIS0007\xfe\0\0\x01k\x01v\xff\0\0\0\0\0\0\0\0";

fn made_up_primary() -> (TcpListener, Server, Vec<Client>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let replica = Server::start(Options::codis(THREADS));
    let clients = (0..THREADS).map(|_| replica.client()).collect();
    (listener, replica, clients)
}

#[test]
fn an_image_that_ends_while_the_server_is_promoted_is_there_at_once_or_never() {
    const ROUNDS: usize = 40;
    let (listener, replica, mut clients) = made_up_primary();
    let answer = full_sync_of(IMAGE, 100);
    let (last, rest) = answer.split_last().expect("not empty");
    for round in 0..ROUNDS {
        follow(&replica, listener.local_addr().expect("an address"));
        let mut primary = serve_sync(&listener, rest);
        // Whoever has this connection hears of both only later, and of both at once.
        let pings = b"PING\r\n".repeat(5000);
        clients[round % THREADS].send(&pings).expect("sent");
        let promoter = &mut clients[(round + 1) % THREADS];
        promoter.send(b"MULTI\r\nSLAVEOF NO ONE\r\nEXISTS k\r\nEXEC\r\n").expect("sent");
        // It may have been left already.
        let _ = primary.send(&[*last]);
        let replies: Vec<Reply> = (0..4).map(|_| promoter.read()).collect();
        let Some(Reply::Array(Some(outcome))) = replies.last() else { panic!("{replies:?}") };
        let at_once = outcome.last().cloned();
        (0..5000).for_each(|_| drop(clients[round % THREADS].read()));
        thread::sleep(Duration::from_millis(20));
        assert_eq!(Some(clients[0].run("EXISTS k")), at_once, "round {round}: {}", replica.log());
        clients[0].run("DEL k");
    }
}

#[test]
fn a_promoted_server_takes_no_more_bytes_of_the_stream() {
    const ROUNDS: usize = 25;
    let (listener, replica, mut clients) = made_up_primary();
    let stream = b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1\r\nm\r\n".repeat(500);
    for round in 0..ROUNDS {
        follow(&replica, listener.local_addr().expect("an address"));
        let mut primary = serve_sync(&listener, &full_sync_of(IMAGE, 100));
        let stream = stream.clone();
        let flood = thread::spawn(move || while primary.send(&stream).is_ok() {});
        let promoter = &mut clients[round % THREADS];
        assert!(wait_until(PATIENCE, || number(promoter, "slave_repl_offset") > 100), "{}", replica.log());
        assert_eq!(promoter.run("SLAVEOF NO ONE"), Reply::Simple(b"OK".to_vec()));
        flood.join().expect("no panic");
        assert_eq!(info(promoter, "role").as_deref(), Some("master"));
        let (end, branch) = (number(promoter, "master_repl_offset"), number(promoter, "second_repl_offset"));
        assert_eq!(end + 1, branch, "round {round}: {}", replica.log());
    }
}

/// Follows the stream of `server`, as a replica that takes whatever comes.
fn sub_replica(server: &Server) -> Client {
    let mut replica = server.client();
    replica.send(b"SYNC\r\n").expect("the server listens");
    let mut client = server.client();
    let online = || info(&mut client, "slave0").is_some_and(|text| text.contains("state=online"));
    assert!(wait_until(PATIENCE, online), "{}", server.log());
    replica
}

/// Whether `needle` is in what came until the connection ended.
fn got(replica: &mut Client, needle: &[u8]) -> bool {
    replica.read_to_end().windows(needle.len()).any(|part| part == needle)
}

#[test]
fn who_follows_a_replica_gets_nothing_of_another_history_under_the_old_name() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let middle = Server::start(Options::codis(1));
    follow(&middle, listener.local_addr().expect("an address"));
    let primary = serve_sync(&listener, &full_sync_of(IMAGE, 100));
    wait_for_link(&middle);
    // The primary has gone on under another name, and says more at once.
    let mut under_it = sub_replica(&middle);
    drop(primary);
    let mut answer = format!("+CONTINUE {}\r\n", "b".repeat(40)).into_bytes();
    answer.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$3\r\nnew\r\n$9\r\nof-theirs\r\n");
    let _primary = serve_sync(&listener, &answer);
    assert!(!got(&mut under_it, b"of-theirs"), "{}", middle.log());
    // It is promoted, and written to at once.
    let mut under_it = sub_replica(&middle);
    let mut promoter = middle.client();
    promoter.send(b"SLAVEOF NO ONE\r\nSET own of-ours\r\n").expect("sent");
    assert!(!got(&mut under_it, b"of-ours"), "{}", middle.log());
    assert_eq!((promoter.read(), promoter.read()), (Reply::Simple(b"OK".to_vec()), Reply::Simple(b"OK".to_vec())));
    assert_eq!(promoter.run("GET new"), Reply::bulk("of-theirs"));
}

/// Requests that a primary says in one go: more than one turn applies.
const BURST: i64 = 30_000;

fn burst() -> Vec<u8> {
    (0..BURST).flat_map(|i| format!("*3\r\n$3\r\nSET\r\n$6\r\nk{i:05}\r\n$1\r\nv\r\n").into_bytes()).collect()
}

#[test]
fn what_came_before_the_end_of_a_primary_is_applied() {
    for threads in [1, THREADS] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let replica = Server::start(Options::codis(threads));
        follow(&replica, listener.local_addr().expect("an address"));
        let mut primary = serve_sync(&listener, &full_sync_of(IMAGE, 100));
        wait_for_link(&replica);
        primary.send(&burst()).expect("sent");
        // Only this direction: whatever it is told meanwhile must not take away what it has said.
        primary.shutdown_write().expect("open");
        let reader = thread::spawn(move || drop(primary.read_to_end()));
        let mut client = replica.client();
        let down = || info(&mut client, "master_link_status").as_deref() == Some("down");
        assert!(wait_until(PATIENCE, down), "{}", replica.log());
        assert_eq!(client.run("DBSIZE"), Reply::Int(BURST + 1));
        drop(listener);
        reader.join().expect("no panic");
    }
}

#[test]
fn what_a_server_has_received_is_applied_before_it_is_promoted() {
    const ROUNDS: usize = 8;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let replica = Server::start(Options::codis(1));
    let mut client = replica.client();
    let burst = burst();
    let request = burst.len() as u64 / BURST as u64;
    for round in 0..ROUNDS {
        follow(&replica, listener.local_addr().expect("an address"));
        let mut primary = serve_sync(&listener, &full_sync_of(IMAGE, 100));
        wait_for_link(&replica);
        let before = number(&mut client, "total_net_input_bytes");
        let burst = burst.clone();
        let flood = thread::spawn(move || {
            // It may be left in the middle.
            let _ = primary.send(&burst);
            primary
        });
        assert!(wait_until(PATIENCE, || number(&mut client, "slave_repl_offset") > 100));
        let order: &[u8] = match round % 2 {
            0 => b"SLAVEOF NO ONE\r\nDBSIZE\r\n",
            // As a sentinel says it.
            _ => b"MULTI\r\nSLAVEOF NO ONE\r\nEXEC\r\nDBSIZE\r\n",
        };
        let mut promoter = replica.client();
        promoter.send(order).expect("sent");
        let replies = order.iter().filter(|&&byte| byte == b'\n').count();
        let last = (0..replies).map(|_| promoter.read()).last();
        let Some(Reply::Int(keys)) = last else { panic!("{last:?}") };
        let primary = flood.join().expect("no panic");
        // What clients have said meanwhile is far less than a turn's requests.
        let received = (number(&mut client, "total_net_input_bytes") - before) / request;
        assert!(keys as u64 + 1000 > received, "round {round}: {keys} keys of {received}\n{}", replica.log());
        drop(primary);
        client.run("FLUSHALL");
    }
}

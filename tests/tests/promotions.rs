//! SLAVEOF NO ONE at the worst moments: a server that has answered it has nothing more of its primary's, neither keys nor
//! bytes of its stream. The primary is a made-up one, so that it can say the right thing at the wrong time.

use resp::Reply;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;
use tests::replicas::{follow, info, number, serve_sync};
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

fn full_sync() -> Vec<u8> {
    let mut answer = format!("+FULLRESYNC {} 100\r\n${}\r\n", "a".repeat(40), IMAGE.len()).into_bytes();
    answer.extend_from_slice(IMAGE);
    answer
}

#[test]
fn an_image_that_ends_while_the_server_is_promoted_is_there_at_once_or_never() {
    const ROUNDS: usize = 40;
    let (listener, replica, mut clients) = made_up_primary();
    let answer = full_sync();
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
        let mut primary = serve_sync(&listener, &full_sync());
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

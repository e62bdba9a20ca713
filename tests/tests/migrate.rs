//! MIGRATE towards a server that the test plays, so that it can choose when and what to answer.

#![forbid(unsafe_code)]

use resp::Reply;
use std::net::TcpListener;
use std::time::Duration;
use tests::{Client, NOBODYS_PORT, Options, Server, encode};

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port().to_string();
    (listener, port)
}

/// Sends a command and does not wait for its reply.
fn send(client: &mut Client, words: &[&str]) {
    let mut request = Vec::new();
    encode(words, &mut request);
    client.send(&request).expect("sent");
}

/// The words of the next request.
fn request(peer: &mut Client) -> Vec<Vec<u8>> {
    let Reply::Array(Some(words)) = peer.read() else { panic!("a request is an array") };
    let word = |word| match word {
        Reply::Bulk(Some(word)) => word,
        other => panic!("{other:?} in a request"),
    };
    words.into_iter().map(word).collect()
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn error(text: &str) -> Reply {
    Reply::Error(text.as_bytes().to_vec())
}

#[test]
fn a_write_that_comes_while_the_key_is_on_its_way_moves_too() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let (mut mover, mut writer) = (server.client(), server.client());
        let (listener, port) = listener();
        writer.run("SET key old");
        send(&mut mover, &["MIGRATE", "127.0.0.1", &port, "key", "3", "60000"]);
        let mut peer = Client::accept(&listener);
        assert_eq!(request(&mut peer), [&b"SELECT"[..], b"3"]);
        peer.send(b"+OK\r\n").expect("sent");
        let first = request(&mut peer);
        assert_eq!(
            (first.len(), &first[0][..], &first[1][..], &first[2][..]),
            (4, &b"RESTORE"[..], &b"key"[..], &b"0"[..])
        );
        // The server serves everybody else, and this key, while it waits.
        assert_eq!(writer.run("SET key new EX 1000"), ok());
        peer.send(b"+OK\r\n").expect("sent");
        let second = request(&mut peer);
        assert_eq!((second.len(), &second[1][..], &second[4][..]), (5, &b"key"[..], &b"REPLACE"[..]));
        assert_ne!((&second[2], &second[3]), (&first[2], &first[3]));
        assert_eq!(writer.run("GET key"), Reply::Bulk(Some(b"new".to_vec())));
        peer.send(b"+OK\r\n").expect("sent");
        assert_eq!(mover.read(), ok());
        assert_eq!(writer.run("EXISTS key"), Reply::Int(0));
        // What went over is what was written last.
        let restored = [&b"RESTORE"[..], b"copy", b"0", &second[3]];
        assert_eq!(writer.call(&restored), ok());
        assert_eq!(writer.run("GET copy"), Reply::Bulk(Some(b"new".to_vec())));
    }
}

#[test]
fn a_key_that_ended_or_was_renamed_under_way_does_not_live_on_at_the_target() {
    for (ends, there, reply) in [("DEL key", 0, "OK"), ("FLUSHALL", 0, "NOKEY"), ("RENAME key other", 1, "OK")] {
        let server = Server::start(Options::codis(4));
        let (mut mover, mut writer) = (server.client(), server.client());
        let (listener, port) = listener();
        writer.run("MSET key old more x");
        send(&mut mover, &["MIGRATE", "127.0.0.1", &port, "", "0", "60000", "KEYS", "key", "more"]);
        let mut peer = Client::accept(&listener);
        (0..3).for_each(|_| drop(request(&mut peer)));
        writer.run(ends);
        peer.send(b"+OK\r\n+OK\r\n+OK\r\n").expect("sent");
        assert_eq!(request(&mut peer), [&b"DEL"[..], b"key"], "{ends}");
        if ends == "FLUSHALL" {
            assert_eq!(request(&mut peer), [&b"DEL"[..], b"more"]);
            peer.send(b":1\r\n").expect("sent");
        }
        peer.send(b":1\r\n").expect("sent");
        assert_eq!(mover.read(), Reply::Simple(reply.into()), "{ends}");
        assert_eq!(writer.run("DBSIZE"), Reply::Int(there), "{ends}");
        assert_eq!(writer.run("EXISTS other"), Reply::Int(there), "{ends}");
    }
}

/// Has `key` migrated to whom this gives, who has been told all of it and has not answered.
fn begin(mover: &mut Client, listener: &TcpListener, port: &str) -> Client {
    send(mover, &["MIGRATE", "127.0.0.1", port, "key", "0", "60000"]);
    let mut peer = Client::accept(listener);
    (0..2).for_each(|_| drop(request(&mut peer)));
    peer
}

#[test]
fn what_was_taken_before_a_failure_is_forgotten() {
    let server = Server::start(Options::codis(1));
    let (mut mover, mut writer) = (server.client(), server.client());
    let (listener, port) = listener();
    writer.run("SET key old");
    let mut peer = begin(&mut mover, &listener, &port);
    writer.run("SET key new");
    peer.send(b"+OK\r\n+OK\r\n").expect("sent");
    assert_eq!(request(&mut peer)[0], b"RESTORE");
    peer.send(b"-OOM no room\r\n").expect("sent");
    let mut peer = Client::accept(&listener);
    assert_eq!(request(&mut peer)[0], b"SELECT");
    assert_eq!(request(&mut peer), [&b"DEL"[..], b"key"]);
    peer.send(b"+OK\r\n:1\r\n").expect("sent");
    assert_eq!(mover.read(), error("ERR Target instance replied with error: OOM no room"));
    assert_eq!(writer.run("GET key"), Reply::Bulk(Some(b"new".to_vec())));
}

#[test]
fn who_became_a_replica_under_way_removes_nothing_here_or_there() {
    let server = Server::start(Options::codis(4));
    let (mut mover, mut admin) = (server.client(), server.client());
    let (listener, port) = listener();
    admin.run("SET key value");
    let mut peer = begin(&mut mover, &listener, &port);
    assert_eq!(admin.call(&["SLAVEOF", "127.0.0.1", &NOBODYS_PORT.to_string()]), ok());
    peer.send(b"+OK\r\n+OK\r\n").expect("sent");
    assert_eq!(mover.read(), error("READONLY You can't write against a read only slave."));
    assert_eq!(admin.run("GET key"), Reply::Bulk(Some(b"value".to_vec())));
    assert!(peer.hears_nothing(Duration::from_millis(200)), "something was asked for besides");
}

#[test]
fn nothing_is_removed_while_clients_are_paused() {
    for (threads, timeout, pause) in [(1, "60000", "300"), (4, "3000", "600000")] {
        let options = Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always");
        let server = Server::start(options);
        let (mut mover, mut admin) = (server.client(), server.client());
        let (listener, port) = listener();
        admin.run("MSET key 1 more 2");
        send(&mut mover, &["MIGRATE", "127.0.0.1", &port, "", "0", timeout, "KEYS", "key", "more"]);
        let mut peer = Client::accept(&listener);
        (0..3).for_each(|_| drop(request(&mut peer)));
        assert_eq!(admin.run(&format!("CLIENT PAUSE {pause}")), ok());
        peer.send(b"+OK\r\n+OK\r\n+OK\r\n").expect("sent");
        let left = if pause == "300" {
            // It ends in time.
            assert_eq!(mover.read(), ok());
            0
        } else {
            assert_eq!(request(&mut peer), [&b"DEL"[..], b"key"]);
            assert_eq!(request(&mut peer), [&b"DEL"[..], b"more"]);
            peer.send(b":1\r\n:1\r\n").expect("sent");
            assert_eq!(mover.read(), error("TRYAGAIN clients are paused, and the keys stay here"));
            2
        };
        let server = server.crash().start_again();
        assert_eq!(server.client().run("DBSIZE"), Reply::Int(left));
    }
}

#[test]
fn keys_that_were_not_taken_stay() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    let (listener, port) = listener();
    client.run("MSET a 1 b 2 c 3 d 4");
    send(&mut client, &["MIGRATE", "127.0.0.1", &port, "", "0", "60000", "KEYS", "a", "b", "c", "d"]);
    let mut peer = Client::accept(&listener);
    // SELECT, then four keys; the connection ends before the last answer.
    (0..5).for_each(|_| drop(request(&mut peer)));
    peer.send(b"+OK\r\n+OK\r\n-BUSYKEY there\r\n+OK\r\n").expect("sent");
    drop(peer);
    assert_eq!(client.read(), error("ERR Target instance replied with error: BUSYKEY there"));
    let exists = ["a", "b", "c", "d"].map(|key| client.call(&["EXISTS", key]));
    assert_eq!(exists, [0, 1, 0, 1].map(Reply::Int));
}

#[test]
fn a_connection_that_the_other_side_has_closed_is_replaced() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    let (listener, port) = listener();
    for key in ["first", "second"] {
        client.call(&["SET", key, "x"]);
        send(&mut client, &["MIGRATE", "127.0.0.1", &port, key, "0", "60000"]);
        let mut peer = Client::accept(&listener);
        assert_eq!(request(&mut peer)[0], b"SELECT");
        assert_eq!(request(&mut peer)[1], key.as_bytes());
        peer.send(b"+OK\r\n+OK\r\n").expect("sent");
        assert_eq!(client.read(), ok(), "{key}");
    }
}

#[test]
fn what_cannot_be_moved_is_said() {
    let server = Server::start(Options::codis(1));
    let target = Server::start(Options::codis(1).set("requirepass", "secret"));
    let mut client = server.client();
    let port = target.addr().port().to_string();
    let nobody = NOBODYS_PORT.to_string();
    client.run("SET key value");
    let mut migrate =
        |port: &str, more: &[&str]| client.call(&[&["MIGRATE", "127.0.0.1", port, "key", "0", "60000"], more].concat());
    assert_eq!(migrate(&nobody, &[]), error("IOERR error or timeout connecting to the client"));
    assert_eq!(migrate(&port, &["NONSENSE"]), error("ERR syntax error"));
    assert_eq!(
        migrate(&port, &["KEYS", "a"]),
        error("ERR When using MIGRATE KEYS option, the key argument must be set to the empty string")
    );
    let refused = error("ERR Target instance replied with error: NOAUTH Authentication required.");
    assert_eq!(migrate(&port, &[]), refused);
    assert_eq!(migrate(&port, &["COPY", "AUTH", "secret"]), ok());
    assert_eq!(
        migrate(&port, &["AUTH", "secret"]),
        error("ERR Target instance replied with error: BUSYKEY Target key name already exists.")
    );
    assert_eq!(migrate(&port, &["REPLACE", "AUTH", "secret"]), ok());
    assert_eq!(migrate(&port, &[]), Reply::Simple(b"NOKEY".to_vec()));
    client.run("SET key value");
    client.run("MULTI");
    client.call(&["MIGRATE", "127.0.0.1", &port, "key", "0", "60000"]);
    let Reply::Array(Some(replies)) = client.run("EXEC") else { panic!("EXEC gives an array") };
    assert!(matches!(&replies[..], [Reply::Error(_)]), "{replies:?}");
    assert_eq!(client.run("EXISTS key"), Reply::Int(1));
}

#[test]
fn nothing_is_lost_on_the_way_from_a_server_to_itself() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let relay = tests::Relay::to(server.addr());
        let mut client = server.client();
        client.run("SET key value");
        for port in [server.addr().port(), relay.addr().port()].map(|port| port.to_string()) {
            let refused = error("ERR Target instance replied with error: ERR the specified key is being migrated");
            assert_eq!(client.call(&["MIGRATE", "127.0.0.1", &port, "key", "0", "60000", "REPLACE"]), refused);
            assert_eq!(client.run("GET key"), Reply::Bulk(Some(b"value".to_vec())));
        }
        // Into another database it may.
        let port = server.addr().port().to_string();
        assert_eq!(client.call(&["MIGRATE", "127.0.0.1", &port, "key", "3", "60000", "REPLACE"]), ok());
        assert_eq!(client.run("EXISTS key"), Reply::Int(0));
        client.run("SELECT 3");
        assert_eq!(client.run("GET key"), Reply::Bulk(Some(b"value".to_vec())));
    }
}

#[test]
fn no_key_goes_before_its_database_is_chosen() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    let (listener, port) = listener();
    client.run("MSET first 1 second 2");
    send(&mut client, &["MIGRATE", "127.0.0.1", &port, "first", "3", "60000"]);
    let mut peer = Client::accept(&listener);
    assert_eq!(request(&mut peer), [&b"SELECT"[..], b"3"]);
    assert!(peer.hears_nothing(Duration::from_millis(100)), "a key went before the answer");
    peer.send(b"-BUSY a script\r\n").expect("sent");
    assert_eq!(client.read(), error("ERR Target instance replied with error: BUSY a script"));
    assert_eq!(client.run("EXISTS first"), Reply::Int(1));
}

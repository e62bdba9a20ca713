//! What is left of a link that was given up: a target of ours drops it when the source names the link over a new one.

use crate::data::{Caller, PATIENCE, Script, run, show};
use resp::Reply;
use rustix::net::{self, AddressFamily, SocketType};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use tests::{Options, Server, encode, wait_until};

const SELECT: &str = "SLOTSRESTORE-ASYNC-SELECT 0";

fn message(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(words, &mut bytes);
    bytes
}

#[test]
fn what_is_left_of_a_link_comes_to_nothing_once_the_source_has_named_it() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let mut client = server.client();
        let mut old = TcpStream::connect(server.addr()).expect("it listens");
        let stale = message(&["SLOTSRESTORE-ASYNC", "string", "k", "0", "old"]);
        let (begin, rest) = stale.split_at(stale.len() / 2);
        old.write_all(begin).expect("sent");
        let addr = old.local_addr().expect("connected").to_string();
        // Not before it is a client.
        let begun = |list: String| list.contains(&format!(" addr={addr} "));
        assert!(wait_until(PATIENCE, || begun(run(&mut client, "CLIENT LIST"))));
        let mut new = server.client();
        // Other hosts' connections, and one's own, are not named.
        let own = run(&mut new, "CLIENT LIST");
        assert!(own.contains(" cmd=client"));
        for (line, reply) in [
            ("SLOTSRESTORE-ASYNC-SELECT 0".to_owned(), "OK parts many ends"),
            ("SLOTSRESTORE-ASYNC ends 192.0.2.1:80".to_owned(), "0"),
            ("SLOTSRESTORE-ASYNC ends nonsense".to_owned(), "0"),
            (format!("SLOTSRESTORE-ASYNC ends {addr}"), "1"),
            (format!("SLOTSRESTORE-ASYNC ends {addr}"), "0"),
            ("SLOTSRESTORE-ASYNC delete k".to_owned(), "0"),
            ("SLOTSRESTORE-ASYNC string k 0 new".to_owned(), "1"),
        ] {
            assert_eq!(run(&mut new, &line), format!("[SLOTSRESTORE-ASYNC-ACK 0 {reply}]"), "{line}");
        }
        let overwrites = message(&["SLOTSRESTORE-ASYNC", "many", "k", "0", "sold"]);
        // It may be closed by now.
        let _ = old.write_all(&[rest, &overwrites].concat());
        old.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
        let mut said = Vec::new();
        let ended = old.read_to_end(&mut said);
        assert!(ended.as_ref().err().is_none_or(tests::is_end), "{ended:?}");
        assert_eq!(said.escape_ascii().to_string(), "");
        assert_eq!(run(&mut client, "GET k"), "new");
    }
}

/// A connection from another host than all others.
fn from_elsewhere(server: SocketAddr) -> TcpStream {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    net::bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0))).expect("all of 127 is loopback");
    net::connect(&socket, &server).expect("it listens");
    TcpStream::from(socket)
}

#[test]
fn nobody_can_end_the_links_of_another_host() {
    let server = Server::start(Options::codis(1));
    let mut far = from_elsewhere(server.addr());
    far.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
    let addr = far.local_addr().expect("connected");
    let mut client = server.client();
    let is_there = |list: String| list.contains(&format!(" addr={addr} "));
    assert!(wait_until(PATIENCE, || is_there(run(&mut client, "CLIENT LIST"))));
    assert_eq!(run(&mut client, &format!("SLOTSRESTORE-ASYNC ends {addr}")), "[SLOTSRESTORE-ASYNC-ACK 0 0]");
    far.write_all(b"PING\r\n").expect("sent");
    let mut pong = [0; 7];
    far.read_exact(&mut pong).expect("it was ended");
    assert_eq!(&pong, b"+PONG\r\n");
}

/// A source and its target when its first link has broken with a key under way, the address of that link, and the next one.
fn broken(threads: usize) -> (Server, Script, SocketAddr, Caller) {
    let (source, target) = (Server::start(Options::codis(threads)), Script::new());
    let mut from = source.client();
    run(&mut from, "SET k v");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 4 0 k")).as_bytes()).expect("sent");
    let mut link = target.accept();
    assert_eq!(link.line(), SELECT);
    for line in ["SLOTSRESTORE-ASYNC delete k", "SLOTSRESTORE-ASYNC string k 0 v"] {
        assert_eq!(link.line(), line);
    }
    let addr = link.peer();
    drop(link);
    let mut next = target.accept();
    assert_eq!(next.line(), SELECT);
    (source, target, addr, next)
}

#[test]
fn a_source_names_the_link_that_broke_before_anything_else() {
    let (source, _target, addr, mut next) = broken(1);
    next.ack("0", "OK parts many ends");
    assert_eq!(next.line(), format!("SLOTSRESTORE-ASYNC ends {addr}"));
    next.ack("0", "1");
    assert_eq!(next.line(), "SLOTSRESTORE-ASYNC delete k");
    next.ack("0", "1");
    assert_eq!(next.line(), "(closed)");
    assert_eq!(run(&mut source.client(), "GET k"), "v");
}

#[test]
fn an_original_is_told_to_end_the_link_that_broke_and_nothing_else_before_it_has() {
    let gone = ["+OK\r\n", "-ERR No such client\r\n", "-ERR unknown command 'CLIENT'\r\n"];
    let stays = ["-BUSY Redis is busy running a script.\r\n", "-NOAUTH Authentication required.\r\n", ":1\r\n"];
    for (answer, ends) in gone.map(|answer| (answer, true)).into_iter().chain(stays.map(|answer| (answer, false))) {
        let (source, target, addr, mut next) = broken(4);
        let second = next.addr();
        next.ack("0", "OK");
        assert_eq!(next.line(), format!("CLIENT KILL {addr}"));
        // In pieces: it is heard when all of it is there.
        let (begin, rest) = answer.split_at(3);
        next.send(begin.as_bytes());
        assert!(answer.starts_with(':') || next.is_silent(), "{answer}: something was sent before it was there");
        next.send(rest.as_bytes());
        if ends {
            assert_eq!(next.line(), "SLOTSRESTORE-ASYNC delete k", "{answer}");
            next.ack("0", "1");
        }
        assert_eq!(next.line(), "(closed)", "{answer}");
        let mut from = source.client();
        assert_eq!(run(&mut from, "GET k"), "v");
        // What has not been ended is still to be, before the next batch.
        let olds = if ends { vec![] } else { vec![addr.to_string(), second] };
        // The last batch's end takes a moment.
        assert!(wait_until(PATIENCE, || run(&mut from, "SLOTSMGRT-ASYNC-STATUS") == "(nil)"));
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 4 0 k")).as_bytes()).expect("sent");
        let mut third = target.accept();
        assert_eq!(third.line(), SELECT);
        if !olds.is_empty() {
            third.ack("0", "OK");
        }
        for old in &olds {
            assert_eq!(third.line(), format!("CLIENT KILL {old}"), "{answer}");
        }
        third.send("+OK\r\n".repeat(olds.len()).as_bytes());
        if !olds.is_empty() {
            // What it could not be told then.
            assert_eq!(third.line(), "SLOTSRESTORE-ASYNC delete k", "{answer}");
            third.ack("0", "0");
        }
        for line in ["SLOTSRESTORE-ASYNC delete k", "SLOTSRESTORE-ASYNC string k 0 v"] {
            assert_eq!(third.line(), line, "{answer}");
        }
        third.acks(if olds.is_empty() { &["OK", "0", "1"] } else { &["0", "1"] });
        assert_eq!(from.read(), Reply::Int(1), "{answer}");
    }
}

#[test]
fn a_synchronous_source_says_nothing_more_before_what_is_left_of_its_old_links_is_dropped() {
    for threads in [1, 4] {
        let (source, target) = (Server::start(Options::codis(threads)), Script::new());
        let mut from = source.client();
        run(&mut from, "SET k v");
        let line = target.to("SLOTSMGRTONE", "500 k");
        let ask = |from: &mut tests::Client, line: &str| from.send(format!("{line}\r\n").as_bytes()).expect("sent");
        ask(&mut from, &line);
        let mut old = target.accept();
        assert!(old.line().starts_with("SELECT 0"));
        assert!(old.line().starts_with("SLOTSRESTORE k 0 "));
        // It does not answer, and the keys are to be forgotten: not before the old link is.
        let mut second = target.accept();
        let drop_old = format!("CLIENT KILL {}", old.addr());
        assert_eq!(second.line(), drop_old);
        assert_eq!(show(&from.read()), "-IOERR error or timeout reading from target");
        assert!(second.line().starts_with("SELECT 0"));
        assert_eq!(second.line(), "(closed)", "a silent target was told to remove something");
        // Later the key is sent again.
        let again = target.to("SLOTSMGRTONE", "60000 k");
        ask(&mut from, &again);
        let mut third = target.accept();
        assert_eq!(third.line(), drop_old);
        assert_eq!(third.line(), format!("CLIENT KILL {}", second.addr()));
        assert!(third.line().starts_with("SELECT 0"));
        third.send(b"+OK\r\n-ERR No such client\r\n");
        third.send(b"+OK\r\n");
        assert_eq!(third.line(), "DEL k");
        third.send(b":0\r\n");
        assert!(third.line().starts_with("SLOTSRESTORE k 0 "));
        third.send(b"+OK\r\n");
        assert_eq!(from.read(), Reply::Int(1));
        // That is over with it.
        run(&mut from, "SET k v");
        ask(&mut from, &again);
        assert!(third.line().starts_with("SLOTSRESTORE k 0 "));
        third.send(b"+OK\r\n");
        assert_eq!(from.read(), Reply::Int(1));
    }
}

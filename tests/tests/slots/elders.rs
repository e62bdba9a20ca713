//! What is left of an original's old links, which nobody names: it comes before what a newer link brings, or not at all.

use crate::data::{PATIENCE, run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::{Client, Options, Server, encode, wait_until};

fn messages(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    lines.iter().for_each(|line| encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes));
    bytes
}

/// Whether nobody is connected any more but who asks.
fn are_gone(client: &mut Client) -> bool {
    run(client, "CLIENT LIST").matches("addr=").count() == 1
}

/// Rounds: which thread gets which link differs.
const ROUNDS: usize = 20;
const SELECT: &str = "SLOTSRESTORE-ASYNC-SELECT 0";

#[test]
fn what_an_old_link_has_left_does_not_come_after_what_a_new_one_brings() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let mut client = server.client();
        let filler = format!("SLOTSRESTORE-ASYNC string filler 0 {}", "x".repeat(100_000));
        for round in 0..ROUNDS {
            let begun = round % 2 == 0;
            let connect = || TcpStream::connect(server.addr()).expect("it listens");
            // Links that have begun, or that are not even accepted.
            let mut olds: Vec<TcpStream> = (0..if begun { 3 } else { 0 }).map(|_| connect()).collect();
            for old in &mut olds {
                old.write_all(&messages(&[SELECT, "SLOTSRESTORE-ASYNC delete other"])).expect("sent");
                let mut answers = Vec::new();
                while answers.iter().filter(|&&byte| byte == b'*').count() < 2 || !answers.ends_with(b"\r\n") {
                    let mut more = [0; 1024];
                    let n = old.read(&mut more).expect("answers");
                    assert!(n > 0, "the link was ended");
                    answers.extend_from_slice(&more[..n]);
                }
            }
            server.stand_still(true);
            if !begun {
                olds = (0..3).map(|_| connect()).collect();
            }
            for mut old in olds {
                let greeting: &[&str] = if begun { &[] } else { &[SELECT] };
                let lines = ["SLOTSRESTORE-ASYNC delete filler", &filler, "SLOTSRESTORE-ASYNC delete k"];
                let last = ["SLOTSRESTORE-ASYNC string k 0 old"];
                old.write_all(&messages(&[greeting, &lines, &last].concat())).expect("there is room");
            }
            let mut new = Client::connect(server.addr()).expect("it listens");
            new.send(&messages(&[SELECT, "SLOTSRESTORE-ASYNC delete k", "SLOTSRESTORE-ASYNC string k 0 new"]))
                .expect("there is room");
            server.stand_still(false);
            (0..3).for_each(|n| {
                let reply = crate::data::show(&new.read());
                assert!(
                    reply.starts_with("[SLOTSRESTORE-ASYNC-ACK 0 "),
                    "{threads} threads, round {round}, {n}: {reply}"
                );
            });
            drop(new);
            assert!(wait_until(PATIENCE, || are_gone(&mut client)));
            assert_eq!(run(&mut client, "GET k"), "new", "{threads} threads, round {round}");
        }
    }
}

#[test]
fn whole_keys_of_an_old_link_do_not_come_after_those_of_a_new_one() {
    let server = Server::start(Options::codis(4));
    let mut client = server.client();
    run(&mut client, "MSET old old new new");
    let mut payload = |key: &str| match client.run(&format!("DUMP {key}")) {
        resp::Reply::Bulk(Some(payload)) => payload,
        other => panic!("{other:?}"),
    };
    let mut whole = |key: &str| {
        let mut bytes = messages(&["SELECT 0"]);
        encode(&[b"SLOTSRESTORE".as_slice(), b"k", b"0", &payload(key)], &mut bytes);
        bytes
    };
    let (old, new) = (whole("old"), whole("new"));
    for round in 0..ROUNDS {
        server.stand_still(true);
        for _ in 0..4 {
            TcpStream::connect(server.addr()).and_then(|mut link| link.write_all(&old)).expect("it listens");
        }
        let mut link = Client::connect(server.addr()).expect("it listens");
        link.send(&new).expect("there is room");
        server.stand_still(false);
        (0..2).for_each(|_| assert_eq!(crate::data::show(&link.read()), "OK"));
        drop(link);
        assert!(wait_until(PATIENCE, || are_gone(&mut client)));
        assert_eq!(run(&mut client, "GET k"), "new", "round {round}");
    }
}

#[test]
fn a_new_link_does_not_wait_for_ever_for_one_that_goes_on() {
    let server = Server::start(Options::codis(4));
    let mut busy = server.client();
    busy.send(&messages(&[SELECT, "SLOTSRESTORE-ASYNC delete a"])).expect("sent");
    (0..2).for_each(|_| drop(busy.read()));
    // It stands in the middle of a message, as if more were to come at any moment.
    let message = messages(&["SLOTSRESTORE-ASYNC string a 0 v"]);
    busy.send(&message[..10]).expect("sent");
    let mut new = server.client();
    new.send(&messages(&[SELECT, "SLOTSRESTORE-ASYNC string b 0 v"])).expect("sent");
    (0..2).for_each(|_| assert!(crate::data::show(&new.read()).starts_with("[SLOTSRESTORE-ASYNC-ACK 0 ")));
    // And that one has not been ended.
    busy.send(&message[10..]).expect("sent");
    assert_eq!(crate::data::show(&busy.read()), "[SLOTSRESTORE-ASYNC-ACK 0 1]");
}

/// A request that never ends, from the same host, keeps a link waiting for half a second: a source that waits for less must
/// not begin to wait anew each time.
#[test]
fn who_never_ends_its_request_does_not_stop_a_source_of_little_patience() {
    for command in ["SLOTSRESTORE k 0 x", "SLOTSRESTORE-ASYNC string k 0 x"] {
        let server = Server::start(Options::codis(1));
        let mut client = server.client();
        let mut half = TcpStream::connect(server.addr()).expect("it listens");
        half.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nh\r\n$1000\r\nabc").expect("sent");
        // Not before it is known.
        assert!(wait_until(PATIENCE, || run(&mut client, "CLIENT LIST").matches("addr=").count() == 2));
        let is_answered = || {
            let mut link = Client::connect(server.addr()).expect("it listens");
            link.send(&messages(&[command])).expect("there is room");
            // It is answered, not ended.
            !link.hears_nothing(Duration::from_millis(100)) && !crate::data::show(&link.read()).is_empty()
        };
        assert!(wait_until(PATIENCE, is_answered), "{command}");
    }
}

//! Bytes that no server sends: whatever comes over a link, who hears it stays well and loses nothing.

use crate::data::{PATIENCE, Script, fill, run, values};
use crate::dialogues::{Recording, messages};
use resp::Reply;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tests::{Options, Random, Server, encode, wait_until};

/// Takes bytes away, changes them, repeats them.
fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let (at, end) = (random.below(bytes.len()), random.below(bytes.len()));
        match random.below(5) {
            0 => bytes[at] = random.number() as u8,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at.min(end)..at.max(end))),
            3 => {
                let piece = bytes[at.min(end)..at.max(end)].to_vec();
                bytes.splice(at..at, piece);
            }
            // A length, a count, a time, a hint.
            _ => {
                let numbers = ["-1", "0", "99999999999", "9223372036854775807", "1048577", "x"];
                let digits = bytes[at..].iter().position(u8::is_ascii_digit).map(|first| at + first);
                if let Some(first) = digits {
                    let last = first + bytes[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    bytes.splice(first..last, numbers[random.below(numbers.len())].bytes());
                }
            }
        }
    }
}

#[test]
fn a_target_survives_whatever_it_is_sent() {
    let server = Server::start(Options::codis(4));
    let mut random = Random::new(7);
    let recordings = Recording::all();
    let mut control = server.client();
    for round in 0..600 {
        let recording = &recordings[round % recordings.len()];
        let mut bytes = recording.sent_by_source();
        spoil(&mut bytes, &mut random);
        let mut stream = TcpStream::connect(server.addr()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_millis(2))).expect("a time can be set");
        // It may have had enough before all is sent.
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 4096]);
        drop(stream);
        if round % 50 == 49 {
            assert_eq!(run(&mut control, "PING"), "PONG", "after round {round}");
        }
    }
    assert_eq!(run(&mut control, "SLOTSCHECK"), "OK");
    // What was sent last may be read only now.
    let alone =
        |list: &Reply| matches!(list, Reply::Bulk(Some(text)) if text.iter().filter(|&&b| b == b'\n').count() == 1);
    assert!(wait_until(PATIENCE, || alone(&control.run("CLIENT LIST"))));
    assert_eq!(run(&mut control, "FLUSHALL"), "OK");
    assert_eq!(run(&mut control, "SLOTSINFO"), "[]");
}

/// What no source says in place of a number, a key, a score or a payload.
fn hostile() -> [Vec<u8>; 9] {
    let texts = [&b""[..], b"-1", b"0", b"x", b"99999999999", b"9223372036854775807", b"-9223372036854775808"];
    let nan = f64::NAN.to_le_bytes().to_vec();
    let [a, b, c, d, e, f, g] = texts.map(<[u8]>::to_vec);
    [a, b, c, d, e, f, g, nan, vec![0xff; 70_000]]
}

#[test]
fn any_argument_of_any_message_may_be_anything() {
    let server = Server::start(Options::codis(1));
    let mut control = server.client();
    // One message of each kind, and of each number of arguments up to some.
    let mut kinds = BTreeMap::new();
    for message in Recording::all().iter().flat_map(|recording| messages(&recording.sent_by_source())) {
        let kind = message.get(1).filter(|_| message[0] == b"SLOTSRESTORE-ASYNC").cloned();
        let len = if message.len() < 8 { message.len() } else { 8 + message.len() % 2 };
        kinds.entry((message[0].clone(), kind, len)).or_insert(message);
    }
    assert!(kinds.len() >= 15, "{}", kinds.len());
    let mut count = 0;
    for ((_, kind, _), message) in &kinds {
        for at in 1..message.len().min(8) {
            for argument in hostile() {
                let mut words = message.clone();
                // Of its own: what is left of another connection's key would be in the way.
                count += 1;
                words[if kind.is_some() { 2 } else { 1 }] = format!("key{count}").into_bytes();
                words[at] = argument;
                let shown = || words.join(&b' ').escape_ascii().to_string();
                // It is answered, whatever the answer is, or the link ends.
                if let Err(error) = server.client().try_call(&words) {
                    assert!(tests::is_end(&error), "{error}: {:.200}", shown());
                }
                assert_eq!(run(&mut control, "PING"), "PONG", "after {:.200}", shown());
            }
        }
    }
    assert_eq!(run(&mut control, "SLOTSCHECK"), "OK");
    assert_eq!(run(&mut control, "FLUSHALL"), "OK");
}

#[test]
fn a_source_survives_whatever_it_is_answered() {
    let (source, target) = (Server::start(Options::codis(4)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    let keys = fill(&mut from);
    let before = values(&mut other, &keys);
    let line = target.to("SLOTSMGRTONE-ASYNC", &format!("60000 100 0 {}", keys.join(" ")));
    let mut random = Random::new(11);
    for round in 0..60 {
        from.send(format!("{line}\r\n").as_bytes()).expect("sent");
        let mut link = target.accept();
        // From now on there is something for the target to forget.
        (0..2).for_each(|_| drop(link.line()));
        let mut bytes = Vec::new();
        (0..random.below(8)).for_each(|_| encode(&["SLOTSRESTORE-ASYNC-ACK", "0", "1"], &mut bytes));
        if random.below(4) == 0 {
            bytes.extend((0..random.below(200)).map(|_| random.number() as u8));
        }
        spoil(&mut bytes, &mut random);
        link.send(&bytes);
        // Whatever it was, it is not all that the source waits for.
        drop(link);
        target.accept().play_along();
        let reply = crate::data::show(&from.read());
        assert!(reply.starts_with("-ERR interrupted: connection closed"), "round {round}: {reply}");
    }
    assert_eq!(values(&mut other, &keys), before);
    // None of them is on its way any more: who writes to one does not wait, while another one is and marks are looked at.
    let mut receiving = source.client();
    run(&mut receiving, "SLOTSRESTORE-ASYNC list another 60000 2 x");
    for key in &keys {
        assert_eq!(run(&mut other, &format!("PEXPIRE {key} 600000")), ":1");
    }
    assert_eq!(run(&mut other, "SLOTSCHECK"), "OK");
}

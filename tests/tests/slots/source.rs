//! What a source sends, byte for byte as an original server was seen to send it, and what it takes for an answer.

use crate::data::{Script, run, show};
use resp::Reply;
use tests::{Options, Server};

const OK_0_1: &[u8] = b"*3\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$1\r\n0\r\n$2\r\nOK\r\n\
    *3\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$1\r\n0\r\n$2\r\nOK\r\n\
    *3\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$1\r\n0\r\n$1\r\n0\r\n\
    *3\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$1\r\n0\r\n$1\r\n1\r\n";

#[test]
fn a_string_over_a_new_link_with_a_password() {
    let source = Server::start(Options::codis(1).set("requirepass", "secret"));
    let target = Script::new();
    let mut from = source.client();
    run(&mut from, "AUTH secret");
    run(&mut from, "SET greeting hello");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "5000 200 33554432 greeting")).as_bytes())
        .expect("sent");
    let mut link = target.accept();
    link.expect(
        b"*2\r\n$23\r\nSLOTSRESTORE-ASYNC-AUTH\r\n$6\r\nsecret\r\n\
        *2\r\n$25\r\nSLOTSRESTORE-ASYNC-SELECT\r\n$1\r\n0\r\n\
        *3\r\n$18\r\nSLOTSRESTORE-ASYNC\r\n$6\r\ndelete\r\n$8\r\ngreeting\r\n\
        *5\r\n$18\r\nSLOTSRESTORE-ASYNC\r\n$6\r\nstring\r\n$8\r\ngreeting\r\n$1\r\n0\r\n$5\r\nhello\r\n",
    );
    link.send(OK_0_1);
    assert_eq!(from.read(), Reply::Int(1));
}

#[test]
fn collections_in_chunks() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "CONFIG SET zset-max-ziplist-entries 0");
    run(&mut from, "ZADD myz inf c 1.5 a -2 b");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "5000 2 0 myz")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.expect(b"*2\r\n$25\r\nSLOTSRESTORE-ASYNC-SELECT\r\n$1\r\n0\r\n");
    link.expect(b"*3\r\n$18\r\nSLOTSRESTORE-ASYNC\r\n$6\r\ndelete\r\n$3\r\nmyz\r\n");
    // The highest first, scores as eight bytes.
    for (member, bits) in [("c", b"\0\0\0\0\0\0\xf0\x7f"), ("a", b"\0\0\0\0\0\0\xf8?"), ("b", b"\0\0\0\0\0\0\0\xc0")] {
        link.expect(b"*7\r\n$18\r\nSLOTSRESTORE-ASYNC\r\n$4\r\nzset\r\n$3\r\nmyz\r\n$5\r\n15000\r\n$1\r\n3\r\n");
        link.expect(&[format!("$1\r\n{member}\r\n$8\r\n").as_bytes(), bits, b"\r\n"].concat());
    }
    link.expect(b"*5\r\n$18\r\nSLOTSRESTORE-ASYNC\r\n$4\r\nzset\r\n$3\r\nmyz\r\n$5\r\n15000\r\n$1\r\n3\r\n");
    link.expect(b"*4\r\n$18\r\nSLOTSRESTORE-ASYNC\r\n$6\r\nexpire\r\n$3\r\nmyz\r\n$1\r\n0\r\n");
    link.acks(&["OK", "0", "1", "2", "3", "3", "1"]);
    assert_eq!(from.read(), Reply::Int(1));
    // A hash's and a set's elements come in any order, but in chunks of the announced size, and all of them.
    run(&mut from, "CONFIG SET hash-max-ziplist-entries 0");
    run(&mut from, "HMSET h f1 1 f2 2 f3 3 f4 4 f5 5");
    run(&mut from, "PEXPIRE h 90000");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "5000 4 0 h")).as_bytes()).expect("sent");
    let lines = std::iter::from_fn(|| {
        let line = link.line();
        link.carry_out(&line);
        Some(line).filter(|line| !line.starts_with("SLOTSRESTORE-ASYNC expire h "))
    });
    let mut lines: Vec<String> = lines.collect();
    assert_eq!(lines.remove(0), "SLOTSRESTORE-ASYNC delete h");
    let mut fields: Vec<String> = Vec::new();
    for line in lines {
        let rest = line.strip_prefix("SLOTSRESTORE-ASYNC hash h 15000 5").expect("a chunk");
        let words: Vec<&str> = rest.split_whitespace().collect();
        fields.extend(words.chunks(2).map(|pair| pair.join("=")));
    }
    fields.sort();
    assert_eq!(fields, ["f1=1", "f2=2", "f3=3", "f4=4", "f5=5"]);
    assert_eq!(from.read(), Reply::Int(1));
}

#[test]
fn what_ended_half_sent_at_the_target_is_sent_anew() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "RPUSH l 1 2 3 4 5");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "5000 2 33554432 l")).as_bytes()).expect("sent");
    let mut link = target.accept();
    assert_eq!(link.line(), "SLOTSRESTORE-ASYNC-SELECT 0");
    link.ack("0", "OK");
    let key = ["delete l", "list l 15000 5 1 2", "list l 15000 5 3 4", "list l 15000 5 5", "expire l 0"];
    // Behind the first chunk nothing came for so long that the next one began another list.
    for (line, number) in key.iter().zip(["0", "2", "2", "3", "1"]) {
        assert_eq!(link.line(), format!("SLOTSRESTORE-ASYNC {line}"));
        link.ack("0", number);
    }
    for line in key {
        assert_eq!(link.line(), format!("SLOTSRESTORE-ASYNC {line}"));
        assert_eq!(run(&mut source.client(), "LLEN l"), ":5");
        link.carry_out(&format!("SLOTSRESTORE-ASYNC {line}"));
    }
    assert_eq!(from.read(), Reply::Int(1));
    assert_eq!(run(&mut from, "EXISTS l"), ":0");
}

#[test]
fn small_collections_are_whole() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    for line in ["RPUSH l a b c d", "HMSET h f v", "SADD s 1 2", "ZADD z 1 m"] {
        run(&mut from, line);
    }
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "5000 4 0 l h s z nokey")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.line();
    link.ack("0", "OK");
    for key in ["l", "h", "s", "z"] {
        assert_eq!(link.line(), format!("SLOTSRESTORE-ASYNC delete {key}"));
        let line = link.line();
        assert!(line.starts_with(&format!("SLOTSRESTORE-ASYNC object {key} 0 ")), "{line}");
        (0..2).for_each(|_| link.ack("0", "1"));
    }
    assert_eq!(from.read(), Reply::Int(4));
}

#[test]
fn few_elements_go_in_chunks_where_they_are_long() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    let long = "e".repeat(200_000);
    for line in [
        format!("RPUSH l {long} {long}"),
        format!("HMSET h f {long} g {long}"),
        format!("SADD s f{long} g{long}"),
        format!("ZADD z 1 f{long} 2 g{long}"),
    ] {
        assert!(!run(&mut from, &line).starts_with('-'));
    }
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 200 0 l h s z")).as_bytes()).expect("sent");
    let mut link = target.accept();
    let mut elements = 0;
    for (key, word) in [("l", "list"), ("h", "hash"), ("s", "dict"), ("z", "zset")] {
        loop {
            let line = link.line();
            link.carry_out(&line);
            if line == format!("SLOTSRESTORE-ASYNC expire {key} 0") {
                break;
            }
            let begins = line == format!("SLOTSRESTORE-ASYNC delete {key}") || line == "SLOTSRESTORE-ASYNC-SELECT 0";
            let chunk = line.starts_with(&format!("SLOTSRESTORE-ASYNC {word} {key} 180000 2"));
            assert!(begins || chunk, "{line:.60}");
            elements += line.matches(&long).count();
        }
    }
    assert_eq!((from.read(), elements), (Reply::Int(4), 8));
}

#[test]
fn only_acknowledgements_are_taken_from_a_target() {
    let source = Server::start(Options::codis(1));
    let mut other = source.client();
    for (answer, text) in [
        (&b"*3\r\n$3\r\nSET\r\n$5\r\npwned\r\n$1\r\n1\r\n"[..], "target sent: *3"),
        (b"SELECT 2\r\n", "target sent: SELECT 2"),
        (b"-NOAUTH Authentication required.\r\n", "target sent: -NOAUTH Authentication required."),
        (b"+OK\r\n", "target sent: +OK"),
        (b"*3\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$2\r\n-1\r\n$7\r\nno room\r\n", "target refused: no room"),
        (b"*2\r\n$22\r\nSLOTSRESTORE-ASYNC-ACK\r\n$1\r\n0\r\n", "target sent: *2"),
    ] {
        let target = Script::new();
        let mut from = source.client();
        run(&mut from, "SET k v");
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "20000 0 0 k")).as_bytes()).expect("sent");
        let mut link = target.accept();
        (0..3).for_each(|_| drop(link.line()));
        link.send(answer);
        // The key was sent, so the target is told to forget it.
        let told = target.accept().play_along();
        assert_eq!(told, ["SLOTSRESTORE-ASYNC-SELECT 0", "SLOTSRESTORE-ASYNC delete k"]);
        assert_eq!(show(&from.read()), format!("-ERR interrupted: connection closed ({text})"));
        assert_eq!(run(&mut other, "GET k"), "v");
        assert_eq!(run(&mut other, "EXISTS pwned"), ":0");
    }
    // More acknowledgements than messages.
    let target = Script::new();
    let mut from = source.client();
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "20000 0 0 k")).as_bytes()).expect("sent");
    let mut link = target.accept();
    (0..3).for_each(|_| {
        link.line();
        link.ack("0", "1");
    });
    assert_eq!(from.read(), Reply::Int(1));
    link.ack("0", "1");
    assert_eq!(link.line(), "(closed)");
    assert_eq!(run(&mut other, "PING"), "PONG");
}

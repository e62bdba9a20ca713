//! Rows of the commands' description that stand alone: what a 0 means, limits, pages, refusals, and the ends of links.

use crate::data::{Script, names, pair, run, show, to};
use resp::Reply;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;
use tests::{Client, Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_zero_is_the_default_and_what_is_too_much_is_cut() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    for (limits, given, taken) in [
        ("normal 0 0 0", "0 0 0", "timeout 30000 maxbulks 200 maxbytes 524288 "),
        ("normal 0 0 0", "2147483647 2147483647 2147483647", "timeout 2147483647 maxbulks 524288 maxbytes 1073741823 "),
        ("normal 90000 50000 60", "60000 1 70000", "timeout 60000 maxbulks 1 maxbytes 50000 "),
        ("normal 40000 50000 60", "60000 1 2147483647", "timeout 60000 maxbulks 1 maxbytes 40000 "),
        ("normal 0 50000 60", "60000 1 20", "timeout 60000 maxbulks 1 maxbytes 20 "),
    ] {
        assert_eq!(show(&other.call(&["CONFIG", "SET", "client-output-buffer-limit", limits])), "OK");
        run(&mut from, "SET k v");
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", &format!("{given} k"))).as_bytes()).expect("sent");
        let mut link = target.accept();
        link.line();
        let shown = format!("keys [1 [k]] {taken}");
        let mut status = String::new();
        wait_until(PATIENCE, || {
            status = run(&mut other, "SLOTSMGRT-ASYNC-STATUS");
            status.contains(&shown)
        });
        assert!(status.contains(&shown), "{given}: {status}");
        drop(link);
        target.accept().play_along();
        let reply = show(&from.read());
        assert!(reply.starts_with("-ERR interrupted: "), "{reply}");
        assert!(wait_until(PATIENCE, || run(&mut other, "SLOTSMGRT-ASYNC-STATUS") == "(nil)"));
    }
    // A synchronous command waits a little, and neither for ever nor not at all.
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "0 k")).as_bytes()).expect("sent");
    let _link = target.accept();
    assert_eq!(show(&from.read()), "-IOERR error or timeout reading from target");
    // Messages that are only shown have limits of their own.
    let elements: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    run(&mut from, &format!("RPUSH l {}", elements.join(" ")));
    let shown = run(&mut from, "SLOTSMGRTONE-ASYNC-DUMP 0 0 l");
    assert!(shown.contains("[SLOTSRESTORE-ASYNC list l 90000 1001 0 1 "), "{shown:.200}");
    assert!(shown.contains("[SLOTSRESTORE-ASYNC list l 90000 1001 1000]"), "a chunk has other than 1000 elements");
}

#[test]
fn words_are_quoted_up_to_their_first_zero_byte_and_in_one_line() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    let words: [&[u8]; 7] = [b"SLOTSMGRTONE-ASYNC", b"h", b"1\r\n2\x003", b"1", b"1", b"1", b"k"];
    assert_eq!(show(&client.call(&words)), "-ERR invalid value of port (1  2)");
    let words: [&[u8]; 4] = [b"SLOTSMGRT-EXEC-WRAPPER", b"k", b"no\r\nsuch\0", b"x"];
    assert_eq!(show(&client.call(&words)), "[:-1 -ERR invalid command specified (no  such)]");
    assert_eq!(run(&mut client, "PING"), "PONG");
}

#[test]
fn a_slot_is_read_in_pages_that_miss_nothing() {
    let server = Server::start(Options::codis(4));
    let (mut client, mut other) = (server.client(), server.client());
    let keys: Vec<String> = (0..1000).map(|n| format!("{{a}}{n}")).collect();
    let pairs: Vec<String> = keys.iter().map(|key| format!("{key} v")).collect();
    run(&mut client, &format!("MSET {} a v b v", pairs.join(" ")));
    run(&mut other, "SELECT 1");
    for count in [1, 10, 100, 5000] {
        let (mut cursor, mut found, mut pages) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            let reply = client.run(&format!("SLOTSSCAN 579 {cursor} count {count}"));
            let Reply::Array(Some(page)) = reply else { panic!("a page") };
            let (Reply::Bulk(Some(next)), Reply::Array(Some(some))) = (&page[0], &page[1]) else { panic!("{page:?}") };
            found.extend(some.iter().map(show));
            assert!(some.len() <= 2 * count + 100, "a page of {} keys for {count}", some.len());
            cursor = String::from_utf8_lossy(next).into_owned();
            pages += 1;
            // What comes and goes meanwhile does not hide what stays.
            run(&mut client, &format!("SET {{a}}new{pages} v"));
            run(&mut client, &format!("DEL {{a}}new{}", pages - 3));
            if cursor == "0" {
                break;
            }
        }
        assert!(keys.iter().all(|key| found.contains(key)) && found.contains("a"), "COUNT {count} misses keys");
        assert!(!found.contains("b"), "a key of another slot");
    }
    // Another database has other slots.
    assert_eq!(run(&mut other, "SLOTSSCAN 579 0"), "[0 []]");
    assert_eq!(run(&mut other, "SLOTSINFO"), "[]");
    assert_eq!(run(&mut other, "SLOTSDEL 579"), "[[:579 :0]]");
    assert_eq!(run(&mut client, "SLOTSDEL 579 1017"), "[[:579 :0] [:1017 :0]]");
    assert_eq!(run(&mut client, "DBSIZE"), ":0");
}

#[test]
fn keys_of_the_empty_tag_are_one_group() {
    let (source, target) = pair(1);
    let mut from = source.client();
    run(&mut from, "MSET {} 1 {}a 2 x{} 3 {}{a} 4 {a} 5");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE", "5000 {}nokey")), ":4");
    run(&mut from, "MSET {} 1 {}a 2");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE-ASYNC", "5000 0 0 x{}y")), ":2");
    assert_eq!(names(&mut from), ["{a}"]);
    assert_eq!(names(&mut target.client()), ["x{}", "{}", "{}a", "{}{a}"]);
}

#[test]
fn messages_are_refused_with_the_originals_words() {
    let server = Server::start(Options::codis(1));
    // Payloads whose checksums are right: of no known type, of a torn list, of a string that is longer than it says.
    let unknown = b"\xff\x01a\x07\x00\x91\x28\xfd\x52\xee\x65\xc3\x20";
    let torn = b"\x0e\x05\x03abc\x07\x00\xa4\x75\xf5\x5d\xe6\x92\xdd\x40";
    let short = b"\x00\x05ab\x07\x00\xd8\x9b\x66\xa7\xd9\x5e\x2c\x84";
    let wrong = |argc: usize, cmd: &str| format!("wrong number of arguments (argc={argc},cmd={cmd})");
    let cases: Vec<(Vec<&[u8]>, String)> = vec![
        (vec![b"object", b"k", b"0", unknown], "invalid payload type".to_owned()),
        (vec![b"object", b"k", b"0", torn], "invalid payload body".to_owned()),
        (vec![b"object", b"k", b"0", short], "invalid payload body".to_owned()),
        (vec![b"object", b"k", b"-1", unknown], "invalid TTL value (TTL=-1)".to_owned()),
        (vec![b"object", b"k", b"0"], wrong(4, "object")),
        (vec![b"string", b"k", b"0", b"v", b"w"], wrong(6, "string")),
        (vec![b"string", b"k", b"01", b"v"], "invalid TTL value (TTL=01)".to_owned()),
        (vec![b"Delete", b"k", b"0"], wrong(4, "Delete")),
        (vec![b"expire", b"k"], wrong(3, "expire")),
        (vec![b"expire", b"k", b"0", b"0"], wrong(5, "expire")),
        (vec![b"list", b"k", b"0"], wrong(4, "list")),
        (vec![b"hash", b"k", b"0", b"1.5", b"f", b"v"], "invalid Hint value (Hint=1.5)".to_owned()),
        (vec![b"zset", b"k", b"0", b"0", b"m"], wrong(6, "zset")),
        (
            vec![b"zset", b"k", b"0", b"0", b"m", &[0; 8], b"n", &[0; 7]],
            "invalid zset score ([1]), bad raw bits".to_owned(),
        ),
        // An unknown word is known as such from five arguments on.
        (vec![b"nosuch", b"k", b"0"], wrong(4, "nosuch")),
        (vec![b"select", b"0"], wrong(3, "select")),
        (vec![b"del", b"k", b"0", b"0"], "unknown command (argc=5,cmd=del)".to_owned()),
    ];
    for (words, text) in cases {
        let mut client = server.client();
        let reply = show(&client.call(&[&[&b"SLOTSRESTORE-ASYNC"[..]], &words[..]].concat()));
        assert_eq!(reply, format!("[SLOTSRESTORE-ASYNC-ACK -1 {text}]"));
        assert!(client.is_ended(), "the link goes on after: {text}");
    }
    let mut client = server.client();
    for payload in [&unknown[..], torn, short] {
        let words: [&[u8]; 7] =
            [b"SLOTSRESTORE", b"good", b"0", b"\x00\x02v2\x07\x00\x09\r2\xa7\xeaO\xc3v", b"k", b"0", payload];
        assert_eq!(show(&client.call(&words)), "-ERR bad data format");
    }
    assert_eq!(run(&mut client, "DBSIZE"), ":0");
}

#[test]
fn a_link_to_another_target_takes_the_place_of_the_old_one() {
    let (source, first, second) = (Server::start(Options::codis(1)), Script::new(), Script::new());
    let mut from = source.client();
    let mut links = Vec::new();
    for target in [&first, &second, &first] {
        run(&mut from, "SET k v");
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "20000 0 0 k")).as_bytes()).expect("sent");
        let mut link = target.accept();
        for line in ["SLOTSRESTORE-ASYNC-SELECT 0", "SLOTSRESTORE-ASYNC delete k", "SLOTSRESTORE-ASYNC string k 0 v"] {
            assert_eq!(link.line(), line);
            link.ack("0", "1");
        }
        assert_eq!(from.read(), Reply::Int(1));
        links.push(link);
    }
    for link in &mut links[..2] {
        assert_eq!(link.line(), "(closed)");
    }
}

#[test]
fn a_silent_target_keeps_a_canceled_batch_for_a_moment_only() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    run(&mut from, "SET k v");
    // The batch itself would wait for ten minutes.
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "600000 0 0 k")).as_bytes()).expect("sent");
    let mut link = target.accept();
    for _ in 0..3 {
        link.line();
    }
    other.send(b"SLOTSMGRT-ASYNC-CANCEL\r\nAPPEND k w\r\n").expect("sent");
    assert_eq!(other.read(), Reply::Int(1));
    // Told over this link, and over a new one, and deaf on both.
    let _deaf = target.accept();
    assert_eq!(show(&from.read()), "-ERR interrupted: canceled");
    assert_eq!(other.read(), Reply::Int(2));
}

#[test]
fn what_an_old_link_has_not_carried_is_not_carried_later() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    let value = "v".repeat(10_000);
    for n in 0..200 {
        run(&mut from, &format!("SET {{t}}{n} {value}"));
    }
    let line = target.to("SLOTSMGRTTAGONE-ASYNC", "500 0 1073741823 {t}0");
    from.send(format!("{line}\r\n").as_bytes()).expect("sent");
    let mut old = target.accept();
    // Nobody reads it, so in the end the target is told over a new one, which has so much time and no more.
    target.accept().play_along();
    assert_eq!(show(&from.read()), "-ERR interrupted: migration timeout");
    assert!(wait_until(PATIENCE, || old.is_reset()), "the old link goes on");
    assert_eq!(run(&mut from, "DBSIZE"), ":200");
}

#[test]
fn a_target_may_be_named_by_an_address_of_the_sixth_version() {
    let Ok(target) = Script::on(Ipv6Addr::LOCALHOST.into()) else {
        return eprintln!("there is no such address here, and nothing to be seen");
    };
    let source = Server::start(Options::codis(1));
    let (mut from, port) = (source.client(), target.port());
    run(&mut from, "SET k v");
    from.send(format!("SLOTSMGRTONE-ASYNC ::1 {port} 60000 0 0 k\r\n").as_bytes()).expect("sent");
    let mut link = target.accept();
    for line in ["SLOTSRESTORE-ASYNC-SELECT 0", "SLOTSRESTORE-ASYNC delete k", "SLOTSRESTORE-ASYNC string k 0 v"] {
        assert_eq!(link.line(), line);
    }
    let begins = format!("[host ::1 port {port} used 1 ");
    assert!(run(&mut source.client(), "SLOTSMGRT-ASYNC-STATUS").starts_with(&begins));
    link.acks(&["OK", "0", "1"]);
    assert_eq!(show(&from.read()), ":1");
    run(&mut from, "SET k v");
    from.send(format!("SLOTSMGRTONE ::1 {port} 60000 k\r\n").as_bytes()).expect("sent");
    let mut link = target.accept();
    assert_eq!(link.line(), "SELECT 0");
    assert!(link.line().starts_with("SLOTSRESTORE k 0 "));
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(show(&from.read()), ":1");
}

/// What STATUS says, with an N in place of each number that is not known beforehand.
fn standing(client: &mut Client) -> String {
    const UNKNOWN: [&str; 5] = ["lastuse", "since_lastuse", "sent_bytes", "bytes_per_sec", "left_bytes"];
    let (mut text, mut before) = (String::new(), "");
    let status = run(client, "SLOTSMGRT-ASYNC-STATUS");
    for word in status.split(' ') {
        let number = word.trim_end_matches(']');
        // A place in a table is any but its beginning.
        match (UNKNOWN.contains(&before) || before == "cursor" && number != "0") && number.parse::<u64>().is_ok() {
            true => text += &format!(" N{}", &word[number.len()..]),
            false => text += &format!(" {word}"),
        }
        before = word;
    }
    text.trim_start().to_owned()
}

#[test]
fn in_the_middle_of_a_big_value_its_place_is_shown_in_the_originals_words() {
    let small = ["hash-max-ziplist-entries", "zset-max-ziplist-entries", "set-max-intset-entries"];
    let source = Server::start(small.iter().fold(Options::codis(1), |options, name| options.set(name, "0")));
    let (mut from, mut other) = (source.client(), source.client());
    for (fill, until, chunk, shown) in [
        (
            "RPUSH k a b c d e f g h",
            "-1",
            "list",
            "val.type 1 stage 2 expire -1 cursor 0 lindex 4 zindex 0 chunked_msgs 2",
        ),
        (
            "ZADD k 1 a 2 b 3 c 4 d 5 e 6 f",
            "9999999999999",
            "zset",
            "val.type 3 stage 2 expire 9999999999999 cursor 0 lindex 0 zindex 2 chunked_msgs 3",
        ),
        (
            "HMSET k a 1 b 1 c 1 d 1 e 1 f 1 g 1 h 1 i 1 j 1 k 1 l 1",
            "-1",
            "hash",
            "val.type 4 stage 2 expire -1 cursor N lindex 0 zindex 0 chunked_msgs 6",
        ),
        (
            "SADD k a b c d e f g h i j k l m n o p",
            "9999999999999",
            "dict",
            "val.type 2 stage 2 expire 9999999999999 cursor N lindex 0 zindex 0 chunked_msgs 4",
        ),
    ] {
        let target = Script::new();
        run(&mut from, "DEL k");
        run(&mut from, fill);
        if until != "-1" {
            run(&mut from, &format!("PEXPIREAT k {until}"));
        }
        // One message at a time.
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 4 50 k")).as_bytes()).expect("sent");
        let mut link = target.accept();
        assert_eq!(link.line(), "SLOTSRESTORE-ASYNC-SELECT 0");
        assert_eq!(link.line(), "SLOTSRESTORE-ASYNC delete k");
        link.acks(&["OK", "0"]);
        let line = link.line();
        assert!(line.starts_with(&format!("SLOTSRESTORE-ASYNC {chunk} k ")), "{line}");
        let shown = format!(
            "[host 127.0.0.1 port {} used 1 timeout 60000 lastuse N since_lastuse N sending_msgs 1 blocked_clients 1 \
             batched_iterator [keys [1 [k]] timeout 60000 maxbulks 4 maxbytes 50 estimate_msgs 1 removed_keys 0 \
             chunked_vals 0 iterators [1 [key k {shown}]] sent_bytes N bytes_per_sec N left_keys 1 left_bytes N]]",
            target.port()
        );
        let mut seen = String::new();
        let is_shown = wait_until(PATIENCE, || {
            seen = standing(&mut other);
            seen == shown
        });
        assert!(is_shown, "{seen}\n{shown}");
        drop(link);
        let told = target.accept();
        assert!(told.play_along().iter().any(|line| line == "SLOTSRESTORE-ASYNC delete k"));
        assert_eq!(show(&from.read()), "-ERR interrupted: connection closed");
    }
}

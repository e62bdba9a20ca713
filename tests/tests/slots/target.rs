//! SLOTSRESTORE and SLOTSRESTORE-ASYNC, -AUTH, -SELECT, -ACK: what a target takes, and the words with which it refuses.

use crate::data::{PATIENCE, run, show, value};
use resp::Reply;
use std::io::ErrorKind;
use std::time::Duration;
use tests::{Client, Options, Server, encode, wait_until};

fn ack(code: i32, text: &str) -> String {
    format!("[SLOTSRESTORE-ASYNC-ACK {code} {text}]")
}

/// Sends one message; true if the connection is closed after the answer.
fn send(client: &mut Client, words: &[&[u8]]) -> (String, bool) {
    let reply = show(&client.call(words));
    let closed = reply.contains("ACK -1") && client.is_ended();
    (reply, closed)
}

#[test]
fn messages_build_keys() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    for (line, text) in [
        ("SLOTSRESTORE-ASYNC delete s", "0"),
        ("SLOTSRESTORE-ASYNC string s 60000 hello", "1"),
        ("SLOTSRESTORE-ASYNC list L 3000 8 a b c d", "4"),
        ("SLOTSRESTORE-ASYNC list L 3000 8 e f", "6"),
        // An empty chunk of a key that is there.
        ("SLOTSRESTORE-ASYNC list L 3000 8", "6"),
        ("SLOTSRESTORE-ASYNC EXPIRE L 0", "1"),
        ("SLOTSRESTORE-ASYNC hash h 3000 9223372036854775807 f 1 g 2", "2"),
        ("SLOTSRESTORE-ASYNC hash h 3000 10000000 g 3", "2"),
        ("SLOTSRESTORE-ASYNC dict d 3000 0 1 2 x", "3"),
        ("SLOTSRESTORE-ASYNC expire h 0", "1"),
        ("SLOTSRESTORE-ASYNC expire d 0", "1"),
        ("SLOTSRESTORE-ASYNC-SELECT 5", "OK parts many ends"),
        ("SLOTSRESTORE-ASYNC string s 0 12", "1"),
        ("SLOTSRESTORE-ASYNC delete s", "1"),
        ("SLOTSRESTORE-ASYNC-SELECT 0", "OK parts many ends"),
    ] {
        assert_eq!(run(&mut client, line), ack(0, text), "{line}");
    }
    let scores = [f64::INFINITY, 1.5, -2.0].map(f64::to_le_bytes);
    let words: [&[u8]; 11] =
        [b"SLOTSRESTORE-ASYNC", b"zset", b"z", b"3000", b"3", b"c", &scores[0], b"a", &scores[1], b"b", &scores[2]];
    assert_eq!(send(&mut client, &words).0, ack(0, "3"));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC expire z 0"), ack(0, "1"));
    let mut other = server.client();
    assert_eq!(value(&mut other, "s"), "string embstr true hello");
    assert_eq!(value(&mut other, "L"), "list quicklist false a b c d e f");
    assert_eq!(value(&mut other, "h"), "hash hashtable false f=1 g=3");
    assert_eq!(value(&mut other, "d"), "set hashtable false 1 2 x");
    assert_eq!(value(&mut other, "z"), "zset skiplist false b -2 a 1.5 c inf");
}

#[test]
fn refusals_are_acknowledgements_and_end_the_connection() {
    let server = Server::start(Options::codis(1));
    let nan = f64::NAN.to_le_bytes();
    let bad: &[&[u8]] = &[b"SLOTSRESTORE-ASYNC", b"zset", b"z", b"1", b"1", b"m", &nan];
    run(&mut server.client(), "MSET there 1 text 1");
    for (line, text) in [
        ("SLOTSRESTORE-ASYNC delete", "wrong number of arguments (argc=2,cmd=delete)"),
        ("SLOTSRESTORE-ASYNC expire k x", "invalid TTL value (TTL=x)"),
        ("SLOTSRESTORE-ASYNC expire nokey 5", "the specified key doesn\'t exist (nokey)"),
        ("SLOTSRESTORE-ASYNC string there 0 v", "the specified key already exists (there)"),
        ("SLOTSRESTORE-ASYNC object there 0 v", "the specified key already exists (there)"),
        ("SLOTSRESTORE-ASYNC object k 0 v", "invalid payload checksum"),
        ("SLOTSRESTORE-ASYNC list k 0 -1 a", "invalid Hint value (Hint=-1)"),
        ("SLOTSRESTORE-ASYNC list k 0 0", "the specified key doesn\'t exist (k)"),
        ("SLOTSRESTORE-ASYNC hash k 0 0 f", "wrong number of arguments (argc=6,cmd=hash)"),
        ("SLOTSRESTORE-ASYNC zset k 0 0 m 1", "invalid zset score ([0]), bad raw bits"),
        ("SLOTSRESTORE-ASYNC list text 0 0 a", "wrong type (expect=1/9,got=0/1)"),
        ("SLOTSRESTORE-ASYNC nosuch k 0 0", "unknown command (argc=5,cmd=nosuch)"),
        ("SLOTSRESTORE-ASYNC-SELECT x", "invalid DB index (x)"),
        ("SLOTSRESTORE-ASYNC-SELECT 16", "invalid DB index (16)"),
        ("SLOTSRESTORE-ASYNC-AUTH pw", "Client sent AUTH, but no password is set"),
    ] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let (reply, closed) = send(&mut server.client(), &words);
        assert_eq!((reply, closed), (ack(-1, text), true), "{line}");
    }
    // A word is quoted up to its first NUL, with its line ends: the answer is no line.
    let quoted: [&[u8]; 5] = [b"SLOTSRESTORE-ASYNC", b"string", b"k", b"a\r\nb\0c", b"v"];
    assert_eq!(send(&mut server.client(), &quoted), (ack(-1, "invalid TTL value (TTL=a\\r\\nb)"), true));
    // A score that is no number, a huge hint: the original dies of these.
    let (reply, closed) = send(&mut server.client(), bad);
    assert_eq!((reply, closed), (ack(-1, "invalid zset score ([0]), bad raw bits"), true));
    // The original's own words stay for a wrong number of arguments and for a stray acknowledgement.
    let mut client = server.client();
    let arity = "-ERR wrong number of arguments for 'slotsrestore-async' command";
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC"), arity);
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC-ACK 0 OK"), "-ERR invalid client, permission denied");
    assert!(client.is_ended());
}

#[test]
fn general_refusals_are_acknowledgements_too() {
    let server = Server::start(Options::codis(1).set("requirepass", "secret"));
    let mut client = server.client();
    let (reply, closed) = send(&mut client, &[b"SLOTSRESTORE-ASYNC", b"delete", b"k"]);
    assert_eq!((reply, closed), (ack(-1, "NOAUTH Authentication required."), true));
    let (reply, closed) = send(&mut server.client(), &[b"SLOTSRESTORE-ASYNC-AUTH", b"wrong"]);
    assert_eq!((reply, closed), (ack(-1, "invalid password"), true));
    let mut client = server.client();
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC-AUTH secret"), ack(0, "OK"));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC delete k"), ack(0, "0"));
    run(&mut client, "SLOTSRESTORE-ASYNC list L 60000 2 a b");
    run(&mut client, "CONFIG SET maxmemory 1");
    // What brings nothing is taken by a full server too.
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC expire L 0"), ack(0, "1"));
    assert_eq!(run(&mut client, "SLOTSRESTORE-ASYNC DELETE L"), ack(0, "1"));
    let (reply, closed) = send(&mut client, &[b"SLOTSRESTORE-ASYNC", b"string", b"k", b"0", b"v"]);
    assert!(reply.contains("ACK -1 OOM command not allowed") && closed, "{reply}");
}

#[test]
fn whole_keys_are_restored_all_or_none() {
    let server = Server::start(Options::codis(4));
    let mut client = server.client();
    run(&mut client, "SET a 100");
    let Reply::Bulk(Some(payload)) = client.run("DUMP a") else { panic!("a payload") };
    let call = |client: &mut Client, words: &[&[u8]]| {
        let words = [&[&b"SLOTSRESTORE"[..]], words].concat();
        show(&client.call(&words))
    };
    assert_eq!(call(&mut client, &[b"x", b"0", &payload, b"y", b"90000", &payload, b"x", b"90000", &payload]), "OK");
    assert_eq!(value(&mut client, "x"), "string int true 100");
    assert_eq!(call(&mut client, &[b"x", b"0", &payload]), "OK");
    assert_eq!(value(&mut client, "x"), "string int false 100");
    for (words, reply) in [
        (&[b"p", b"0", &payload[..], b"q", b"01", &payload][..], "-ERR value is not an integer or out of range"),
        (&[b"p", b"0", &payload, b"q", b"-1", &payload], "-ERR invalid ttl value, must be >= 0"),
        (&[b"p", b"0", &payload, b"q", b"0", b"junk"], "-ERR dump payload version or checksum are wrong"),
        (&[b"p", b"0", &payload, b"q"], "-ERR wrong number of arguments for 'slotsrestore' command"),
    ] {
        assert_eq!(call(&mut client, words), reply);
    }
    assert_eq!(run(&mut client, "EXISTS p q"), ":0");
    assert_eq!(call(&mut client, &[b"far", b"9223372036854775807", &payload]), "OK");
    assert_eq!(run(&mut client, "GET far"), "100");
}

#[test]
fn the_table_shows_what_the_original_shows() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    for (name, arity, flags, keys) in [
        ("slotsinfo", -1, "readonly fast", ":0 :0 :0"),
        ("slotsscan", -3, "readonly random", ":0 :0 :0"),
        ("slotsdel", -2, "write", ":1 :-1 :1"),
        ("slotsmgrtslot", 5, "write", ":0 :0 :0"),
        ("slotsmgrttagslot", 5, "write", ":0 :0 :0"),
        ("slotsmgrtone", 5, "write", ":0 :0 :0"),
        ("slotsmgrttagone", 5, "write", ":0 :0 :0"),
        ("slotshashkey", -1, "readonly fast", ":0 :0 :0"),
        ("slotscheck", 0, "readonly", ":0 :0 :0"),
        ("slotsrestore", -4, "write denyoom", ":0 :0 :0"),
        ("slotsmgrtslot-async", 8, "write noscript", ":0 :0 :0"),
        ("slotsmgrttagslot-async", 8, "write noscript", ":0 :0 :0"),
        ("slotsmgrtone-async", -7, "write noscript", ":0 :0 :0"),
        ("slotsmgrttagone-async", -7, "write noscript", ":0 :0 :0"),
        ("slotsmgrtone-async-dump", -4, "readonly denyoom", ":0 :0 :0"),
        ("slotsmgrttagone-async-dump", -4, "readonly denyoom", ":0 :0 :0"),
        ("slotsmgrt-async-fence", 0, "readonly noscript", ":0 :0 :0"),
        ("slotsmgrt-async-cancel", 0, "fast", ":0 :0 :0"),
        ("slotsmgrt-async-status", 0, "fast", ":0 :0 :0"),
        ("slotsmgrt-exec-wrapper", -3, "write denyoom", ":0 :0 :0"),
        ("slotsrestore-async", -2, "write denyoom", ":0 :0 :0"),
        ("slotsrestore-async-auth", 2, "noscript loading stale fast", ":0 :0 :0"),
        ("slotsrestore-async-select", 2, "loading fast", ":0 :0 :0"),
        ("slotsrestore-async-ack", 3, "write", ":0 :0 :0"),
    ] {
        let shown = run(&mut client, &format!("COMMAND INFO {name}"));
        assert_eq!(shown, format!("[[{name} :{arity} [{flags}] {keys}]]"));
    }
}

#[test]
fn nobody_sees_a_key_before_it_is_whole() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let (mut source, mut reader, mut popper) = (server.client(), server.client(), server.client());
        popper.send(b"BLPOP L 0\r\n").expect("sent");
        let blocked = |client: &mut Client| run(client, "INFO clients").contains("blocked_clients:1");
        assert!(tests::wait_until(PATIENCE, || blocked(&mut reader)));
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list L 60000 3 a b"), ack(0, "2"));
        reader.send(b"LLEN L\r\n").expect("sent");
        let unseen = [&mut reader, &mut popper].map(|client| client.hears_nothing(Duration::from_millis(200)));
        assert_eq!(unseen, [true, true], "a key was seen that is not whole");
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list L 60000 3 c"), ack(0, "3"));
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC expire L 0"), ack(0, "1"));
        assert_eq!(show(&popper.read()), "[L a]");
        assert_eq!(reader.read(), Reply::Int(2));
        // What a source leaves half goes with its connection.
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC hash H 600000 9 f v"), ack(0, "1"));
        drop(source);
        assert_eq!(run(&mut reader, "EXISTS H"), ":0");
    }
}

#[test]
fn nobody_finds_a_key_before_it_is_whole_nor_names_it_in_a_script_or_a_transaction() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let (mut source, mut other) = (server.client(), server.client());
        run(&mut source, "SELECT 2");
        run(&mut other, "SELECT 2");
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list L{a} 60000 3 a b"), ack(0, "2"));
        for (line, nothing) in [
            ("KEYS *", "[]"),
            ("KEYS L*", "[]"),
            ("SCAN 0 COUNT 2000", "[0 []]"),
            ("SLOTSSCAN 579 0 COUNT 2000", "[0 []]"),
            ("RANDOMKEY", "(nil)"),
        ] {
            assert_eq!(run(&mut other, line), nothing, "{line}");
        }
        let requests: [&[u8]; 5] = [
            b"EVAL \"return redis.call('llen',KEYS[1])\" 1 L{a}\r\n",
            b"MULTI\r\nLLEN L{a}\r\nEXEC\r\n",
            // In another database than the one it was begun in.
            b"SELECT 0\r\nMULTI\r\nSELECT 2\r\nLLEN L{a}\r\nEXEC\r\n",
            b"SORT L{a} ALPHA BY nosort\r\n",
            b"LLEN L{a}\r\n",
        ];
        let mut waiting = requests.map(|request| {
            let mut client = server.client();
            run(&mut client, "SELECT 2");
            client.send(request).expect("sent");
            client
        });
        let before_it: [&[&str]; 5] = [&[], &["OK", "QUEUED"], &["OK", "OK", "QUEUED", "QUEUED"], &[], &[]];
        for (client, replies) in waiting.iter_mut().zip(before_it) {
            replies.iter().for_each(|reply| assert_eq!(show(&client.read()), *reply));
            assert!(client.hears_nothing(Duration::from_millis(100)), "a key was seen that is not whole");
        }
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list L{a} 60000 3 c"), ack(0, "3"));
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC expire L{a} 0"), ack(0, "1"));
        for (client, reply) in waiting.iter_mut().zip([":3", "[:3]", "[OK :3]", "[a b c]", ":3"]) {
            assert_eq!(show(&client.read()), reply);
        }
        assert_eq!(run(&mut other, "KEYS *"), "[L{a}]");
    }
}

#[test]
fn nobody_waits_for_a_key_whose_time_is_over() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let (mut source, mut reader) = (server.client(), server.client());
        // Only who asks for the key finds that it is due.
        run(&mut reader, "DEBUG SET-ACTIVE-EXPIRE 0");
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list L 50 6 a b"), ack(0, "2"));
        assert_eq!(run(&mut reader, "LLEN L"), ":0");
        assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list M 50 6 a b"), ack(0, "2"));
        assert_eq!(run(&mut reader, "RPUSH M x"), ":1");
        assert_eq!(run(&mut reader, "TTL M"), ":-1");
    }
}

#[test]
fn a_half_key_is_neither_read_by_a_proxy_nor_sent_on() {
    let (server, next) = (Server::start(Options::codis(4)), Server::start(Options::codis(1)));
    let (mut source, mut client, mut there) = (server.client(), server.client(), next.client());
    assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list k{t} 60000 3 a b"), ack(0, "2"));
    let migrated = "[:1 -ERR the specified key is being migrated]";
    assert_eq!(run(&mut client, "SLOTSMGRT-EXEC-WRAPPER k{t} LLEN k{t}"), migrated);
    for (command, rest, moved) in [
        ("SLOTSMGRTONE-ASYNC", "5000 200 1000000 k{t}", ":0"),
        ("SLOTSMGRTTAGONE-ASYNC", "5000 200 1000000 k{t}", ":0"),
        ("SLOTSMGRTONE", "5000 k{t}", ":0"),
        ("SLOTSMGRTTAGONE", "5000 k{t}", ":0"),
    ] {
        assert_eq!(run(&mut client, &crate::data::to(&next, command, rest)), moved, "{command}");
        assert_eq!(run(&mut there, "DBSIZE"), ":0", "{command}");
    }
    assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list k{t} 60000 3 c"), ack(0, "3"));
    assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC expire k{t} 0"), ack(0, "1"));
    assert_eq!(value(&mut client, "k{t}"), "list quicklist false a b c");
}

#[test]
fn a_half_key_in_place_of_one_that_was_being_sent_is_not_taken_for_it() {
    let (server, target) = (Server::start(Options::codis(4)), crate::data::Script::new());
    let (mut client, mut source) = (server.client(), server.client());
    run(&mut source, "SET k old");
    client.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "30000 k")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.line();
    link.line();
    run(&mut source, "EVAL redis.call('del','k') 0");
    assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC list k 60000 3 a b"), ack(0, "2"));
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(link.line(), "DEL k");
    link.send(b":1\r\n");
    assert_eq!(show(&client.read()), ":0");
    assert_eq!(run(&mut source, "SLOTSRESTORE-ASYNC expire k 0"), ack(0, "1"));
    assert_eq!(value(&mut source, "k"), "list quicklist false a b");
}

#[test]
fn a_key_that_went_away_in_the_middle_is_not_begun_anew() {
    let server = Server::start(Options::codis(4));
    let mut admin = server.client();
    for (key, vanish, last) in [
        ("a", "FLUSHALL", "SLOTSRESTORE-ASYNC list a 60000 4 c d"),
        ("b", "FLUSHALL", "SLOTSRESTORE-ASYNC expire b 0"),
        ("c", "EVAL redis.call('del','c');redis.call('rpush','c','x') 0", "SLOTSRESTORE-ASYNC list c 60000 4 c d"),
        ("d", "EVAL redis.call('del','d');redis.call('rpush','d','x') 0", "SLOTSRESTORE-ASYNC expire d 0"),
    ] {
        let mut source = server.client();
        assert_eq!(run(&mut source, &format!("SLOTSRESTORE-ASYNC delete {key}")), ack(0, "0"));
        assert_eq!(run(&mut source, &format!("SLOTSRESTORE-ASYNC list {key} 60000 4 a b")), ack(0, "2"));
        run(&mut admin, vanish);
        let words: Vec<&[u8]> = last.split(' ').map(str::as_bytes).collect();
        let text = format!("the specified key doesn't exist ({key})");
        assert_eq!(send(&mut source, &words), (ack(-1, &text), true), "{vanish}, {last}");
        // From its beginning it comes all the same.
        let mut source = server.client();
        run(&mut source, &format!("SLOTSRESTORE-ASYNC delete {key}"));
        assert_eq!(run(&mut source, &format!("SLOTSRESTORE-ASYNC list {key} 60000 4 a b")), ack(0, "2"));
        assert_eq!(run(&mut source, &format!("SLOTSRESTORE-ASYNC expire {key} 0")), ack(0, "1"));
        assert_eq!(value(&mut admin, key), "list quicklist false a b");
    }
}

#[test]
fn what_is_left_of_an_old_link_does_not_mix_with_a_new_ones() {
    let server = Server::start(Options::codis(4));
    let exists = |key: &str| ack(-1, &format!("the specified key already exists ({key})"));
    let gone = |key: &str| ack(-1, &format!("the specified key doesn't exist ({key})"));
    for (key, first, more) in
        [("L", "list L 60000 4 a b", "list L 60000 4 x"), ("s", "part s 60000 4 ab", "part s 60000 4 x")]
    {
        let begin = |client: &mut Client| {
            let deleted = run(client, &format!("SLOTSRESTORE-ASYNC delete {key}"));
            assert!(deleted.contains("ACK 0"), "{deleted}");
        };
        let words = |line: &str| -> Vec<Vec<u8>> {
            format!("SLOTSRESTORE-ASYNC {line}").split(' ').map(|word| word.as_bytes().to_vec()).collect()
        };
        let say = |client: &mut Client, line: &str| {
            let words = words(line);
            send(client, &words.iter().map(|word| &word[..]).collect::<Vec<_>>()).0
        };
        // Its rest comes when the new one has removed the key, when it has begun it, and when it has to end it.
        let mut olds = [server.client(), server.client(), server.client()];
        let mut new = server.client();
        begin(&mut olds[0]);
        assert_eq!(say(&mut olds[0], first), ack(0, "2"));
        begin(&mut new);
        assert_eq!(say(&mut olds[0], more), gone(key));
        assert_eq!(say(&mut new, first), ack(0, "2"));
        assert_eq!(say(&mut olds[1], more), exists(key));
        assert_eq!(say(&mut olds[2], &format!("expire {key} 0")), exists(key));
        assert_eq!(say(&mut new, &format!("expire {key} 0")), ack(0, "1"));
        let shown = value(&mut server.client(), key);
        assert!(shown.ends_with(" a b") || shown.ends_with(" ab"), "{shown}");
        // And when it removes what the new one has begun, that one is not taken for a beginning.
        let (mut old, mut new) = (server.client(), server.client());
        begin(&mut new);
        assert_eq!(say(&mut new, first), ack(0, "2"));
        begin(&mut old);
        assert_eq!(say(&mut new, more), gone(key));
    }
}

#[test]
fn a_target_whose_script_is_late_refuses_and_ends_the_link() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads).set("lua-time-limit", "5"));
        let mut other = server.client();
        run(&mut other, "SET k here");
        let mut spinner = server.client();
        let mut bytes = Vec::new();
        encode(&["EVAL", "while true do end", "0"], &mut bytes);
        spinner.send(&bytes).expect("sent");
        assert!(wait_until(PATIENCE, || run(&mut other, "PING").starts_with("-BUSY")));
        // On the script's own thread, and on others.
        let mut links: Vec<Client> = (0..2 * threads).map(|_| server.client()).collect();
        for link in &mut links {
            let mut bytes = Vec::new();
            encode(&["SLOTSRESTORE-ASYNC-SELECT", "3"], &mut bytes);
            encode(&["SLOTSRESTORE-ASYNC", "delete", "k"], &mut bytes);
            link.send(&bytes).expect("sent");
            let reply = show(&link.read());
            assert!(reply.starts_with("[SLOTSRESTORE-ASYNC-ACK -1 BUSY Redis is busy"), "{reply}");
        }
        // An original source waits for the end of the link, which is not that of the script.
        for link in &mut links {
            let end = link.try_read().expect_err("the rest was carried out").kind();
            assert_ne!(end, ErrorKind::WouldBlock, "the link goes on");
        }
        assert_eq!(run(&mut other, "SCRIPT KILL"), "OK");
        for link in &mut links {
            assert!(link.is_ended(), "the rest was carried out");
        }
        assert!(wait_until(PATIENCE, || run(&mut other, "GET k") == "here"));
    }
}

//! SLOTSMGRTONE, -TAGONE, -SLOT, -TAGSLOT.

use crate::data::{Script, fill, names, pair, run, same, show, to, two_numbers, value, values};
use std::time::Duration;
use tests::{NOBODYS_PORT, Options, Server};

#[test]
fn every_type_moves_and_is_found_with_its_expiry() {
    for threads in [1, 4] {
        let (source, target) = pair(threads);
        let (mut from, mut there) = (source.client(), target.client());
        let keys = fill(&mut from);
        let before = values(&mut from, &keys);
        for (n, key) in keys.iter().enumerate() {
            let command = if n % 2 == 0 { "SLOTSMGRTONE" } else { "SLOTSMGRTTAGONE" };
            let moved = run(&mut from, &to(&target, command, &format!("60000 {key}")));
            assert!(moved.starts_with(':'), "{key}: {moved}");
            assert_eq!(value(&mut from, key), "", "{key} is still at the source");
        }
        assert_eq!(names(&mut from), Vec::<String>::new());
        same(&keys, &values(&mut there, &keys), &before);
    }
}

#[test]
fn big_values_move_whole_whatever_a_script_does_to_them() {
    let (source, target) = pair(4);
    let (mut from, mut there, mut other) = (source.client(), target.client(), source.client());
    let fill = "for n = 1, 50000 do
        redis.call('HSET', 'h', 'field:' .. n, n) redis.call('SADD', 's', 'member:' .. n)
        redis.call('ZADD', 'z', n, 'member:' .. n) redis.call('RPUSH', 'l', 'element:' .. n) end
        redis.call('SETRANGE', 'text', 5000000, 'end')";
    from.call(&[b"EVAL".as_slice(), fill.as_bytes(), b"0"]);
    // Scripts do not wait for keys that leave; what they change is in what arrives.
    let change = "redis.call('HSET', 'h', 'field:1', 'x') redis.call('SADD', 's', 'x') redis.call('ZADD', 'z', 0, 'x')
        redis.call('RPUSH', 'l', 'x') redis.call('APPEND', 'text', 'x')";
    let keys = ["h", "s", "z", "l", "text"];
    let lengths = "return {redis.call('HLEN', 'h'), redis.call('SCARD', 's'), redis.call('ZCARD', 'z'),
        redis.call('LLEN', 'l'), redis.call('STRLEN', 'text'), redis.call('HGET', 'h', 'field:1')}";
    for key in keys {
        let line = to(&target, "SLOTSMGRTONE", &format!("60000 {key}"));
        let mover = std::thread::spawn(move || {
            let reply = run(&mut from, &line);
            (from, reply)
        });
        if key == "h" {
            other.call(&[b"EVAL".as_slice(), change.as_bytes(), b"0"]);
        }
        let (back, reply) = mover.join().expect("no panic");
        from = back;
        assert_eq!(reply, ":1", "{key}");
    }
    let lengths = show(&there.call(&[b"EVAL".as_slice(), lengths.as_bytes(), b"0"]));
    // The script came before the hash was removed, or after: then it made another one at the source.
    let changed = "[:50000 :50001 :50001 :50001 :5000004 x]";
    let unchanged = "[:50000 :50001 :50001 :50001 :5000004 1]";
    match run(&mut from, "HLEN h").as_str() {
        ":0" => assert_eq!(lengths, changed),
        _ => assert_eq!(lengths, unchanged),
    }
}

#[test]
fn a_tag_moves_as_a_whole_and_a_slot_until_nothing_is_left() {
    let (source, target) = pair(1);
    let mut from = source.client();
    let group = "A{t} m{t} z{t} {t}{u}";
    let pairs: Vec<String> = format!("t {{u}}{{t}} {group}").split(' ').map(|key| format!("{key} 1")).collect();
    run(&mut from, &format!("MSET {}", pairs.join(" ")));
    // An untagged key of the same checksum and a key of another tag stay.
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE", "60000 nokey{t}")), ":4");
    assert_eq!(names(&mut from), ["t", "{u}{t}"]);
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE", "60000 t")), ":1");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE", "60000 t")), ":0");
    let keys: Vec<String> = (0..50).map(|n| format!("{{a}}{n} v")).collect();
    run(&mut from, &format!("MSET {} a v", keys.join(" ")));
    let mut moved = 0;
    loop {
        let reply = run(&mut from, &to(&target, "SLOTSMGRTSLOT", "60000 579"));
        moved += 1;
        assert_eq!(reply, format!("[:1 :{}]", 51 - moved));
        if moved == 3 {
            break;
        }
    }
    let mut left = 48;
    while left > 0 {
        let reply = run(&mut from, &to(&target, "SLOTSMGRTTAGSLOT", "60000 579"));
        let [moved, still_left] = two_numbers(&reply);
        left -= moved;
        assert_eq!(still_left, left, "{reply}");
    }
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGSLOT", "60000 579")), "[:0 :0]");
    assert_eq!(run(&mut target.client(), "SLOTSINFO 579 1"), "[[:579 :51]]");
}

#[test]
fn arguments_are_checked_in_order() {
    let source = Server::start(Options::codis(1));
    let mut from = source.client();
    for (line, reply) in [
        ("SLOTSMGRTONE h p x k", "-ERR value is not an integer or out of range"),
        ("SLOTSMGRTONE h p 2147483648 k", "-ERR value is out of range"),
        ("SLOTSMGRTONE h p -5 k", "-ERR invalid timeout = -5"),
        ("SLOTSMGRTSLOT h p -5 1024", "-ERR invalid timeout = -5"),
        ("SLOTSMGRTSLOT h p 5 1024", "-ERR invalid slot number = 1024"),
        ("SLOTSMGRTTAGSLOT h p 5 x", "-ERR value is not an integer or out of range"),
        // An empty slot needs no target.
        ("SLOTSMGRTSLOT no.such.host 1 5 0", "[:0 :0]"),
        ("SLOTSMGRTONE h p 5", "-ERR wrong number of arguments for 'slotsmgrtone' command"),
    ] {
        assert_eq!(run(&mut from, line), reply, "{line}");
    }
    // That a link is refused is noticed only when there is something to send; that there is no such host, always.
    let refused = "-IOERR error or timeout writing to target";
    let line = |key: &str| format!("SLOTSMGRTONE 127.0.0.1 {NOBODYS_PORT} 60000 {key}");
    assert_eq!(run(&mut from, &line("k")), ":0");
    run(&mut from, "SET there v");
    assert_eq!(run(&mut from, &line("there")), refused);
    assert_eq!(run(&mut from, "GET there"), "v");
    let reply = run(&mut from, "SLOTSMGRTONE no.such.host.invalid 1 100 k");
    assert!(reply.starts_with("-ERR Can't connect to target node: "), "{reply}");
    let own = source.addr().port();
    run(&mut from, "SET k v");
    let reply = run(&mut from, &format!("SLOTSMGRTONE 127.0.0.1 {own} 100 k"));
    assert!(reply.starts_with("-ERR Can't connect to target node: "), "{reply}");
    assert_eq!(run(&mut from, "GET k"), "v");
}

#[test]
fn the_dialogue_is_the_originals() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "MSET a 100 k2 v2");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "60000 a")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.expect(
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*4\r\n$12\r\nSLOTSRESTORE\r\n$1\r\na\r\n$1\r\n0\r\n$13\r\n\x00\xc0d\x07\x00x\x1b@\xc2h\xc4X\xa9\r\n",
    );
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(from.read(), resp::Reply::Int(1));
    // The same link, which needs no SELECT any more.
    from.send(format!("{}\r\n", target.to("SLOTSMGRTTAGSLOT", "60000 275")).as_bytes()).expect("sent");
    link.expect(b"*4\r\n$12\r\nSLOTSRESTORE\r\n$2\r\nk2\r\n$1\r\n0\r\n$14\r\n\x00\x02v2\x07\x00");
    link.send(b"+OK\r\n");
    assert_eq!(crate::data::show(&from.read()), "[:1 :0]");
}

#[test]
fn a_group_is_one_command_in_the_order_of_its_keys() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    for line in ["HSET h{t} f v", "RPUSH l{t} 1 x", "SADD s{t} 1 2", "ZADD z{t} 1.5 m"] {
        run(&mut from, line);
    }
    from.send(format!("{}\r\n", target.to("SLOTSMGRTTAGONE", "60000 zzz{t}")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.expect(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*13\r\n$12\r\nSLOTSRESTORE\r\n");
    link.expect(b"$4\r\nh{t}\r\n$1\r\n0\r\n$29\r\n\r\x11\x11\x00\x00\x00\r\x00\x00\x00\x02\x00\x00\x01f\x03\x01v\xff\x07\x00\xff'G\xb3\xe7N\x9d\xd3\r\n");
    link.expect(b"$4\r\nl{t}\r\n$1\r\n0\r\n$29\r\n\x0e\x01\x10\x10\x00\x00\x00\x0c\x00\x00\x00\x02\x00\x00\xf2\x02\x01x\xff\x07\x00t\xdd)\x1b\xf4\xd9(\x5c\r\n");
    link.expect(b"$4\r\ns{t}\r\n$1\r\n0\r\n$24\r\n\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00\x07\x00\x90K\xedB<!\xf54\r\n");
    link.expect(b"$4\r\nz{t}\r\n$1\r\n0\r\n$31\r\n\x0c\x13\x13\x00\x00\x00\r\x00\x00\x00\x02\x00\x00\x01m\x03\x031.5\xff\x07\x00r\xf8D\x8b\xc7T\xd6\xf4\r\n");
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(from.read(), resp::Reply::Int(4));
}

#[test]
fn passwords_are_sent_before_any_key() {
    let source = Server::start(Options::codis(1).set("requirepass", "pw"));
    let mut from = source.client();
    run(&mut from, "AUTH pw");
    run(&mut from, "SET a 1");
    let right = Server::start(Options::codis(1).set("requirepass", "pw"));
    let wrong = Server::start(Options::codis(1).set("requirepass", "other"));
    let without = Server::start(Options::codis(1));
    let refused = "-ERR error on slotsrestore, auth failed";
    assert_eq!(run(&mut from, &to(&wrong, "SLOTSMGRTONE", "60000 a")), refused);
    assert_eq!(run(&mut from, &to(&without, "SLOTSMGRTONE", "60000 a")), refused);
    // The original's target has the key now.
    assert_eq!(run(&mut without.client(), "EXISTS a"), ":0");
    assert_eq!(run(&mut from, &to(&right, "SLOTSMGRTONE", "60000 a")), ":1");
    let mut plain = without.client();
    run(&mut plain, "SET b 1");
    let reply = run(&mut plain, &to(&right, "SLOTSMGRTONE", "60000 b"));
    assert_eq!(reply, "-ERR error on slotsrestore, select failed");
}

#[test]
fn a_failure_leaves_the_key_where_it_is() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    run(&mut from, "SET a 1");
    // Silence, a refusal, an end.
    for (timeout_ms, answer, reply) in [
        (3000, Some(&b""[..]), "-IOERR error or timeout reading from target"),
        (60000, Some(b"+OK\r\n-OOM no room\r\n"), "-ERR error on slotsrestore, migration failed"),
        (60000, Some(b"-LOADING wait\r\n"), "-ERR error on slotsrestore, select failed"),
        (60000, None, "-IOERR error or timeout reading from target"),
    ] {
        let line = target.to("SLOTSMGRTONE", &format!("{timeout_ms} a"));
        from.send(format!("{line}\r\n").as_bytes()).expect("sent");
        let mut link = target.accept();
        assert_eq!(link.line(), "SELECT 0");
        assert!(link.line().starts_with("SLOTSRESTORE a 0 "));
        // Nobody waits meanwhile but who would change the key.
        assert_eq!(run(&mut other, "GET a"), "1");
        assert_eq!(run(&mut other, "SET b 1"), "OK");
        let silent = answer.map(|_| link.addr());
        match answer {
            Some(answer) => link.send(answer),
            None => drop(link),
        }
        // Who has not answered may have stored it.
        if reply.ends_with("reading from target") {
            let mut told = target.accept();
            if let Some(old) = silent {
                assert_eq!(told.line(), format!("CLIENT KILL {old}"));
                told.send(b"+OK\r\n");
            }
            assert_eq!(told.line(), "SELECT 0");
            told.send(b"+OK\r\n");
            assert_eq!(told.line(), "DEL a");
            told.send(b":1\r\n");
        }
        assert_eq!(crate::data::show(&from.read()), reply);
        assert_eq!(run(&mut other, "GET a"), "1");
    }
    assert_eq!(run(&mut other, "SET a 2"), "OK");
}

#[test]
fn a_copy_that_nobody_knows_of_does_not_come_back() {
    let (source, target) = pair(4);
    let relay = tests::Relay::to(target.addr());
    let (mut from, mut there) = (source.client(), target.client());
    run(&mut from, "SET k v");
    // The target stores it, and its answer does not arrive.
    relay.stall_one_way(tests::Way::FromFar, true);
    from.send(format!("SLOTSMGRTONE 127.0.0.1 {} 30000 k\r\n", relay.addr().port()).as_bytes()).expect("sent");
    assert!(tests::wait_until(Duration::from_secs(30), || run(&mut there, "EXISTS k") == ":1"));
    relay.cut();
    relay.stall_one_way(tests::Way::FromFar, false);
    assert_eq!(crate::data::show(&from.read()), "-IOERR error or timeout reading from target");
    assert_eq!(run(&mut there, "EXISTS k"), ":0");
    assert_eq!(run(&mut from, "GET k"), "v");
}

#[test]
fn a_key_that_ended_under_way_does_not_live_on_at_the_target() {
    for ends in [&["MULTI", "DEL k{t}", "EXEC"][..], &["FLUSHALL"], &["EVAL redis.call('del','k{t}') 0"]] {
        let (source, target) = (Server::start(Options::codis(4)), Script::new());
        let (mut from, mut other) = (source.client(), source.client());
        run(&mut from, "MSET k{t} old stays{t} 1");
        // Alone, and among keys that are sent again.
        for (command, moved) in [("SLOTSMGRTONE", ":0"), ("SLOTSMGRTTAGONE", ":1")] {
            run(&mut from, "SET k{t} old");
            from.send(format!("{}\r\n", target.to(command, "30000 k{t}")).as_bytes()).expect("sent");
            let mut link = target.accept();
            assert_eq!(link.line(), "SELECT 0");
            assert!(link.line().starts_with("SLOTSRESTORE k{t} 0 "));
            ends.iter().for_each(|line| drop(run(&mut other, line)));
            let again = "EVAL redis.call('set','stays{t}','2') 0";
            if moved == ":1" {
                run(&mut other, again);
            }
            link.send(b"+OK\r\n+OK\r\n");
            if moved == ":1" {
                assert!(link.line().starts_with("SLOTSRESTORE stays{t} 0 "));
                link.send(b"+OK\r\n");
            }
            assert_eq!(link.line(), "DEL k{t}", "{command}, {ends:?}");
            link.send(b":1\r\n");
            assert_eq!(crate::data::show(&from.read()), moved, "{command}, {ends:?}");
            assert_eq!(run(&mut other, "EXISTS k{t}"), ":0");
            run(&mut other, "SET stays{t} 1");
            // The next command comes over a new link.
            drop(link);
        }
    }
}

#[test]
fn what_was_taken_before_a_refusal_is_forgotten() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    run(&mut from, "MSET gone{t} 1 k{t} 1");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTTAGONE", "30000 k{t}")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.line();
    link.line();
    run(&mut other, "EVAL redis.call('del','gone{t}');redis.call('set','k{t}','2') 0");
    link.send(b"+OK\r\n+OK\r\n");
    assert!(link.line().starts_with("SLOTSRESTORE k{t} 0 "));
    link.send(b"-OOM no room\r\n");
    let mut told = target.accept();
    assert_eq!((told.line(), told.line()), ("SELECT 0".to_owned(), "DEL k{t} gone{t}".to_owned()));
    told.send(b"+OK\r\n:2\r\n");
    assert_eq!(crate::data::show(&from.read()), "-ERR error on slotsrestore, migration failed");
    assert_eq!(run(&mut other, "GET k{t}"), "2");
}

#[test]
fn a_write_waits_until_the_key_has_moved_or_not() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    run(&mut from, "SET a 1");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "30000 a")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.line();
    link.line();
    other.send(b"APPEND a x\r\n").expect("sent");
    let waits = other.hears_nothing(Duration::from_millis(200));
    assert!(waits, "the write was answered while the key was on its way");
    // A script changes the key without having announced it: it is sent again, with what the script wrote.
    let mut script = source.client();
    assert_eq!(run(&mut script, "EVAL return(redis.call('incrby','a',41)) 0"), ":42");
    link.send(b"+OK\r\n+OK\r\n");
    let again = link.line();
    assert!(again.starts_with("SLOTSRESTORE a 0 \\x00\\xc0*"), "{again}");
    link.send(b"+OK\r\n");
    assert_eq!(from.read(), resp::Reply::Int(1));
    // The append finds no key any more, and makes one, as it would have a moment later.
    assert_eq!(other.read(), resp::Reply::Int(1));
}

#[test]
fn a_link_that_the_target_has_closed_is_made_anew() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let mut from = source.client();
    run(&mut from, "MSET a 1 b 2");
    from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "60000 a")).as_bytes()).expect("sent");
    let mut link = target.accept();
    link.line();
    link.line();
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(from.read(), resp::Reply::Int(1));
    drop(link);
    // Also where a database would be chosen first.
    for db in ["0", "3"] {
        run(&mut from, &format!("SELECT {db}"));
        run(&mut from, "SET b 2");
        from.send(format!("{}\r\n", target.to("SLOTSMGRTONE", "60000 b")).as_bytes()).expect("sent");
        let mut link = target.accept();
        assert_eq!(link.line(), format!("SELECT {db}"));
        link.send(b"+OK\r\n+OK\r\n");
        assert!(link.line().starts_with("SLOTSRESTORE b 0 "));
        assert_eq!(from.read(), resp::Reply::Int(1));
    }
}

#[test]
fn expired_keys_are_left_out() {
    let (source, target) = pair(1);
    let mut from = source.client();
    run(&mut from, "DEBUG SET-ACTIVE-EXPIRE 0");
    for line in ["PSETEX x{t} 1 v", "SET y{t} v", "PSETEX alone 1 v"] {
        run(&mut from, line);
    }
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE", "60000 x{t}")), ":1");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE", "60000 alone")), ":0");
    assert_eq!(names(&mut target.client()), ["y{t}"]);
    assert_eq!(run(&mut from, "DBSIZE"), ":0");
    // Over a new link, and over one whose target takes many keys at once.
    for _ in 0..2 {
        run(&mut from, "PSETEX x{t} 1 v");
        run(&mut from, "SET y{t} v");
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTTAGONE-ASYNC", "60000 0 0 x{t}")), ":1");
        assert_eq!(names(&mut target.client()), ["y{t}"]);
        assert_eq!(run(&mut from, "DBSIZE"), ":0");
    }
}

#[test]
fn no_script_and_no_transaction_migrates() {
    let (source, target) = pair(1);
    let mut from = source.client();
    run(&mut from, "SET a 1");
    run(&mut from, "MULTI");
    run(&mut from, &to(&target, "SLOTSMGRTONE", "60000 a"));
    let refused = "-ERR keys can't be migrated from a script or a transaction";
    assert_eq!(run(&mut from, "EXEC"), format!("[{refused}]"));
    assert_eq!(run(&mut from, "GET a"), "1");
}

#[test]
fn a_database_that_the_target_lacks_costs_no_key_of_another() {
    let source = Server::start(Options::codis(1).set("databases", "20"));
    let target = Server::start(Options::codis(1));
    let (mut from, mut there) = (source.client(), target.client());
    run(&mut there, "SET k there");
    for db in ["0", "18"] {
        run(&mut from, &format!("SELECT {db}"));
        run(&mut from, &format!("MSET k {db} first{db} 1"));
    }
    // Over a new link, and over one that has served another database.
    let refused = "-ERR error on slotsrestore, select failed";
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE", "1000 k")), refused);
    run(&mut from, "SELECT 0");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE", "1000 first0")), ":1");
    run(&mut from, "SELECT 18");
    assert_eq!(run(&mut from, &to(&target, "SLOTSMGRTONE", "1000 k")), refused);
    assert_eq!(run(&mut from, "GET k"), "18");
    assert_eq!(run(&mut there, "GET k"), "there");
}

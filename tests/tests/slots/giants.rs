//! Tags of so many keys that they are sent and removed by several steps, between which others have their slot.

use crate::data::{Script, pair, run, show, to};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::{Client, Options, Server};

/// Keys that are removed by some dozens of steps.
const KEYS: usize = 30_000;
/// Of one SLOTSRESTORE, and of one DEL at the target.
const PIECE: usize = 1024;
/// How often something is tried that must come in the middle of a command.
const TRIES: usize = 50;

fn fill(server: &Server, keys: usize) {
    let fill = format!("for i=1,{keys} do redis.call('set','k'..i..'{{t}}','old') end");
    server.client().call(&["EVAL", &fill, "0"]);
}

/// Whether so many keys as are asked for may be there at once: all or none.
fn read(client: &mut Client, how: usize) -> bool {
    // Wherever the order begins, some of these come early and some late.
    let some = "k1{t} k12345{t} k2222{t} k777{t} k9{t}";
    let reply = match how {
        0 => run(client, &format!("EXISTS {some}")),
        1 => {
            ["MULTI", "EXISTS k1{t} k12345{t} k2222{t}", "EXISTS k777{t} k9{t}"].iter().for_each(|line| {
                run(client, line);
            });
            run(client, "EXEC").replace("[:3 :2]", ":5").replace("[:0 :0]", ":0")
        }
        2 => run(client, &format!("EVAL return(redis.call('exists',unpack(KEYS))) 5 {some}")),
        _ => run(client, &format!("MGET {some}")).replace("(nil) (nil) (nil) (nil) (nil)", "none"),
    };
    match reply.as_str() {
        ":5" | "[old old old old old]" => true,
        ":0" | "[none]" => false,
        part => panic!("a part of the tag is there, asked in way {how}: {part}"),
    }
}

#[test]
fn a_tag_is_gone_at_once_however_many_keys_it_has() {
    for (threads, command, rest, moved) in [
        (1, "SLOTSMGRTTAGONE", "60000 k1{t}", format!(":{KEYS}")),
        (4, "SLOTSMGRTTAGSLOT", "60000 680", format!("[:{KEYS} :")),
        (4, "SLOTSMGRTTAGSLOT-ASYNC", "60000 0 0 680 100", format!("[:{KEYS} :")),
    ] {
        let (source, target) = pair(threads);
        fill(&source, KEYS);
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for how in 0..4 {
                let (source, ended) = (&source, &ended);
                scope.spawn(move || {
                    let mut client = source.client();
                    while read(&mut client, how) || !ended.load(Ordering::Relaxed) {}
                });
            }
            // A write is answered before the tag leaves or when it is gone, and found there or here.
            let writer = scope.spawn(|| {
                let mut client = source.client();
                let mut last = HashMap::new();
                for n in (0..).take_while(|_| !ended.load(Ordering::Relaxed)) {
                    let key = format!("k{}{{t}}", 100 + n * 41 % 600);
                    assert_eq!(run(&mut client, &format!("SET {key} {n}")), "OK");
                    last.insert(key, n.to_string());
                }
                last
            });
            let reply = run(&mut source.client(), &to(&target, command, rest));
            ended.store(true, Ordering::Relaxed);
            assert!(reply.starts_with(&moved), "{command}: {reply}\n{}", source.log());
            let (mut here, mut there) = (source.client(), target.client());
            for (key, value) in writer.join().expect("no write fails") {
                let found = [&mut here, &mut there].map(|client| run(client, &format!("GET {key}")));
                let found = found.iter().find(|found| *found != "(nil)");
                assert_eq!(found, Some(&value), "{command}: {key}");
            }
        });
    }
}

#[test]
fn who_takes_some_of_a_tag_and_not_all_is_told_to_forget_them() {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other) = (source.client(), source.client());
    fill(&source, 2 * PIECE + 100);
    let count = |words: Option<Vec<Vec<u8>>>, name: &str, each: usize| {
        let words = words.expect("the link goes on");
        assert_eq!(words[0].escape_ascii().to_string(), name);
        (words.len() - 1) / each
    };
    from.send(format!("{}\r\n", target.to("SLOTSMGRTTAGONE", "60000 k1{t}")).as_bytes()).expect("sent");
    let mut link = target.accept();
    assert_eq!(link.line(), "SELECT 0");
    assert_eq!(count(link.next(), "SLOTSRESTORE", 3), PIECE);
    link.send(b"+OK\r\n+OK\r\n");
    assert_eq!(count(link.next(), "SLOTSRESTORE", 3), PIECE);
    link.send(b"-OOM no room\r\n");
    let mut told = target.accept();
    assert_eq!(told.line(), "SELECT 0");
    told.send(b"+OK\r\n");
    for keys in [PIECE, PIECE, 100] {
        assert_eq!(count(told.next(), "DEL", 1), keys);
        told.send(b":1\r\n");
    }
    assert_eq!(show(&from.read()), "-ERR error on slotsrestore, migration failed");
    assert_eq!(run(&mut other, "DBSIZE"), format!(":{}", 2 * PIECE + 100));
    assert_eq!(run(&mut other, "SET k1{t} new"), "OK");
}

#[test]
fn clients_that_are_paused_in_the_middle_find_no_half_of_a_tag() {
    for (command, rest) in [("SLOTSMGRTTAGONE", "1000 k1{t}"), ("SLOTSMGRTTAGONE-ASYNC", "1000 0 0 k1{t}")] {
        let (source, target) = pair(2);
        let (mut from, mut other) = (source.client(), source.client());
        let hit = (0..TRIES).any(|_| {
            fill(&source, KEYS);
            from.send(format!("{}\r\n", to(&target, command, rest)).as_bytes()).expect("sent");
            while run(&mut other, "DBSIZE") == format!(":{KEYS}") {
                if !from.hears_nothing(Duration::from_micros(1)) {
                    break;
                }
            }
            // Longer than the command waits for its target.
            assert_eq!(run(&mut other, "CLIENT PAUSE 2000"), "OK");
            let hit = from.hears_nothing(Duration::from_millis(200));
            let reply = show(&from.read());
            let left = run(&mut other, "DBSIZE");
            run(&mut other, "FLUSHALL");
            if reply.starts_with('-') {
                // It did not come to remove anything.
                assert_eq!(left, format!(":{KEYS}"), "{command}: {reply}");
                return false;
            }
            assert_eq!((reply, left), (format!(":{KEYS}"), ":0".to_owned()), "{command}");
            hit
        });
        assert!(hit, "{command}: nobody is paused in the middle");
    }
}

//! Groups of keys with one tag, that clients change while they are gathered.

use crate::data::{Script, pair, run, show, to};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use tests::{Client, Options, Server, encode};

const KEYS: usize = 5000;
/// How often something is tried that must come in the middle of a command.
const TRIES: usize = 50;

fn fill(server: &Server) {
    let fill = format!("for i=1,{KEYS} do redis.call('set','k'..i..'{{t}}','old') end");
    server.client().call(&["EVAL", &fill, "0"]);
}

fn names(client: &mut Client) -> HashSet<String> {
    show(&client.run("KEYS *")).trim_matches(['[', ']']).split(' ').map(str::to_owned).collect()
}

/// Moves the group with each command while `write` goes on; `check` sees both servers afterwards.
fn move_beside(write: impl Fn(&mut Client, usize) + Sync, check: impl Fn(&Server, &Server, &str)) {
    for (command, rest) in [
        ("SLOTSMGRTTAGONE", "60000 k1{t}"),
        ("SLOTSMGRTTAGSLOT", "60000 680"),
        ("SLOTSMGRTTAGSLOT-ASYNC", "60000 0 0 680 100"),
    ] {
        let (source, target) = pair(2);
        fill(&source);
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..2 {
                let (source, write, ended) = (&source, &write, &ended);
                scope.spawn(move || {
                    let mut client = source.client();
                    for n in (writer..).step_by(2).take_while(|_| !ended.load(Ordering::Relaxed)) {
                        write(&mut client, n);
                    }
                });
            }
            let reply = run(&mut source.client(), &to(&target, command, rest));
            ended.store(true, Ordering::Relaxed);
            assert!(!reply.starts_with('-'), "{command}: {reply}\n{}", source.log());
        });
        check(&source, &target, command);
    }
}

#[test]
fn a_key_that_is_made_anew_while_its_group_is_gathered_is_not_lost() {
    // Whatever the order is, it goes over all keys.
    let write = |client: &mut Client, n: usize| {
        let key = format!("k{}{{t}}", n * 7 % KEYS + 1);
        client.call(&["EVAL", "redis.call('del',KEYS[1]) return redis.call('set',KEYS[1],'new')", "1", &key]);
    };
    move_beside(write, |source, target, command| {
        let there: HashSet<String> = names(&mut source.client()).union(&names(&mut target.client())).cloned().collect();
        let lost = (1..=KEYS).map(|n| format!("k{n}{{t}}")).filter(|key| !there.contains(key)).count();
        assert_eq!(lost, 0, "{command}");
    });
}

#[test]
fn a_group_that_somebody_adds_to_all_the_time_is_moved() {
    let write = |client: &mut Client, n: usize| {
        client.run(&format!("SET more{n}{{t}} v"));
    };
    move_beside(write, |_, target, command| {
        let there = names(&mut target.client());
        assert!((1..=KEYS).all(|n| there.contains(&format!("k{n}{{t}}"))), "{command}");
    });
}

#[test]
fn a_group_that_scripts_change_all_the_time_is_found_once_with_all_that_they_wrote() {
    let written = AtomicUsize::new(0);
    let write = |client: &mut Client, n: usize| {
        let append = "return redis.call('append',KEYS[1] or ARGV[1],'x')";
        let append = format!("if redis.call('exists',KEYS[1] or ARGV[1])==1 then {append} end return 0");
        let key = format!("k{}{{t}}", n * 7 % KEYS + 1);
        // Some name the key and some do not.
        let reply = client.call(&["EVAL", &append, if n.is_multiple_of(3) { "0" } else { "1" }, &key]);
        written.fetch_add(usize::from(show(&reply) != ":0"), Ordering::Relaxed);
    };
    move_beside(write, |source, target, command| {
        let (mut here, mut there) = (source.client(), target.client());
        let lengths = "local n=0 for _,k in ipairs(redis.call('keys','*')) do n=n+redis.call('strlen',k) end return n";
        let mut sum = |line: &str| -> usize {
            let words: Vec<&str> = if line == "DBSIZE" { vec![line] } else { vec!["EVAL", line, "0"] };
            let number = |client: &mut Client| show(&client.call(&words))[1..].parse::<usize>().expect("a number");
            number(&mut here) + number(&mut there)
        };
        assert_eq!(sum("DBSIZE"), KEYS, "{command}");
        assert_eq!(sum(lengths), KEYS * "old".len() + written.swap(0, Ordering::Relaxed), "{command}");
    });
}

#[test]
fn of_a_group_that_scripts_go_on_changing_the_rest_moves_after_few_rounds() {
    // In the last round scripts wait that name a key, for a while.
    assert!((0..TRIES).any(|_| !changes_in_each_round()));
}

/// Has a script change another key in each round of a batch; whether one that names a key still found it in the last.
fn changes_in_each_round() -> bool {
    let (source, target) = (Server::start(Options::codis(1)), Script::new());
    let (mut from, mut other, mut naming) = (source.client(), source.client(), source.client());
    run(&mut from, "MSET a{t} 1 b{t} 1 c{t} 1");
    let mut change = |key: &str| {
        let reply = other.call(&["EVAL", "return redis.call('incr',ARGV[1])", "0", key]);
        assert!(show(&reply).starts_with(':'));
    };
    from.send(format!("{}\r\n", target.to("SLOTSMGRTTAGONE-ASYNC", "60000 0 0 a{t}")).as_bytes()).expect("sent");
    let mut link = target.accept();
    let mut expect = |lines: &[&str], then: &mut dyn FnMut()| {
        for line in lines {
            assert_eq!(link.line(), *line);
        }
        // It goes on with the last acknowledgement.
        then();
        lines.iter().for_each(|line| link.carry_out(line));
    };
    let all = [
        "SLOTSRESTORE-ASYNC-SELECT 0",
        "SLOTSRESTORE-ASYNC delete a{t}",
        "SLOTSRESTORE-ASYNC string a{t} 0 1",
        "SLOTSRESTORE-ASYNC delete b{t}",
        "SLOTSRESTORE-ASYNC string b{t} 0 1",
        "SLOTSRESTORE-ASYNC delete c{t}",
        "SLOTSRESTORE-ASYNC string c{t} 0 1",
    ];
    expect(&all, &mut || change("c{t}"));
    expect(&["SLOTSRESTORE-ASYNC delete c{t}", "SLOTSRESTORE-ASYNC string c{t} 0 2"], &mut || change("b{t}"));
    expect(&["SLOTSRESTORE-ASYNC delete b{t}", "SLOTSRESTORE-ASYNC string b{t} 0 2"], &mut || {
        let mut request = Vec::new();
        encode(&["EVAL", "return redis.call('exists',KEYS[1])", "1", "a{t}"], &mut request);
        naming.send(&request).expect("sent");
        // Answered behind it, unless that waits.
        change("c{t}");
        change("c{t}");
    });
    // It is not sent again, and does not keep the others.
    expect(&["SLOTSRESTORE-ASYNC delete c{t}"], &mut || {});
    assert_eq!(show(&from.read()), ":2");
    assert_eq!(run(&mut from, "GET c{t}"), "4");
    assert_eq!(run(&mut from, "DBSIZE"), ":1");
    match show(&naming.read()).as_str() {
        ":1" => true,
        ":0" => false,
        other => panic!("{other}"),
    }
}

//! Groups of keys with one tag, that clients change while they are gathered.

use crate::data::{pair, run, show, to};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tests::{Client, Server};

const KEYS: usize = 5000;

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

//! Queues on lists that clients wait for, locks on WATCH, and channels, on a server of four threads: what clients rely on
//! when many of them push, wait, give up and die at once, and when keys come from another server.

#![forbid(unsafe_code)]

use resp::Reply;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tests::{Client, Options, Server, wait_until};

/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The element of a blocking pop's reply; `None` if its time ran out.
fn element(reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Array(None) | Reply::Bulk(None) => None,
        Reply::Bulk(Some(element)) => Some(element),
        Reply::Array(Some(mut pair)) => match pair.pop() {
            Some(Reply::Bulk(Some(element))) => Some(element),
            other => panic!("no element: {other:?}"),
        },
        other => panic!("no pop's reply: {other:?}"),
    }
}

fn int(reply: Reply) -> i64 {
    match reply {
        Reply::Int(int) => int,
        other => panic!("no integer: {other:?}"),
    }
}

/// What consumers have been given, and how many of them died with a pop under way.
#[derive(Default)]
struct Taken {
    elements: Mutex<HashMap<Vec<u8>, usize>>,
    died: AtomicUsize,
}

impl Taken {
    fn add(&self, element: Vec<u8>) {
        *self.elements.lock().expect("no panic").entry(element).or_default() += 1;
    }
}

/// Takes elements from any of the queues until `STOP`; every `dies_after` pops the client dies waiting.
fn consume(server: &Server, taken: &Taken, consumer: usize, dies_after: usize) {
    let mut client = server.client();
    for round in 1.. {
        let pop: &[&str] = match (consumer + round) % 4 {
            0 => &["BLPOP", "q0", "q1", "q2", "1"],
            1 => &["BRPOP", "q2", "q1", "q0", "0"],
            2 => &["BLPOP", "q1", "q1", "1"],
            _ => &["BRPOPLPUSH", "q0", "done", "1"],
        };
        if round % dies_after == 0 {
            let mut request = Vec::new();
            tests::encode(pop, &mut request);
            client.send(&request).expect("a live server");
            taken.died.fetch_add(1, Ordering::Relaxed);
            client = server.client();
            continue;
        }
        match element(client.call(pop)) {
            Some(element) if element == b"STOP" => return,
            Some(element) => taken.add(element),
            None => {}
        }
    }
}

#[test]
fn no_element_of_a_queue_is_lost_or_given_twice() {
    const PRODUCERS: usize = 4;
    const EACH: usize = 1500;
    const CONSUMERS: usize = 12;
    let server = Server::start(Options::codis(4));
    let taken = Taken::default();
    thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|consumer| {
                let (server, taken) = (&server, &taken);
                let dies_after = if consumer % 3 == 0 { 40 } else { usize::MAX };
                scope.spawn(move || consume(server, taken, consumer, dies_after))
            })
            .collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    for n in (0..EACH).step_by(3) {
                        let queue = |k: usize| format!("q{}", (n / 3 + producer + k) % 3);
                        let name = |k: usize| format!("{producer}:{}", n + k);
                        match n % 2 {
                            0 => {
                                client.call(&["LPUSH", &queue(0), &name(0), &name(1)]);
                                client.call(&["RPUSH", &queue(1), &name(2)]);
                            }
                            _ => {
                                client.run("MULTI");
                                client.call(&["RPUSH", &queue(0), &name(0)]);
                                client.call(&["LPUSH", &queue(1), &name(1), &name(2)]);
                                client.run("EXEC");
                            }
                        }
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().expect("a producer failed"));
        // Every consumer takes one of these at its next pop; those of the dead are taken by nobody.
        let mut client = server.client();
        while !consumers.iter().all(|consumer| consumer.is_finished()) {
            for queue in ["q0", "q1", "q2"] {
                if int(client.run(&format!("LLEN {queue}"))) == 0 {
                    client.run(&format!("RPUSH {queue} STOP"));
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
        consumers.into_iter().for_each(|consumer| consumer.join().expect("a consumer failed"));
    });
    let mut client = server.client();
    for queue in ["q0", "q1", "q2"] {
        while let Some(element) = element(client.run(&format!("LPOP {queue}"))) {
            if element != b"STOP" {
                taken.add(element);
            }
        }
    }
    let elements = taken.elements.into_inner().expect("no panic");
    assert!(elements.values().all(|&times| times == 1), "an element was given twice");
    let (lost, died) = (PRODUCERS * EACH - elements.len(), taken.died.into_inner());
    assert!(lost <= died, "{lost} elements are lost, but only {died} clients died waiting");
    // That the last of them have died may be seen later.
    assert!(wait_until(PATIENCE, || parked(&mut client, 0)));
}

#[test]
fn who_waits_longest_is_served_first_whichever_thread_serves_it() {
    let server = Server::start(Options::codis(4));
    let mut waiting: Vec<Client> = (0..8).map(|_| server.client()).collect();
    let mut pusher = server.client();
    for (n, client) in waiting.iter_mut().enumerate() {
        client.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n").expect("a live server");
        let blocked = format!("blocked_clients:{}", n + 1);
        let counted = |pusher: &mut Client| match pusher.run("INFO clients") {
            Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).contains(&blocked),
            _ => false,
        };
        assert!(wait_until(PATIENCE, || counted(&mut pusher)));
    }
    assert_eq!(int(pusher.run("RPUSH q 0 1 2 3")), 4);
    assert_eq!(int(pusher.run("RPUSH q 4 5 6 7")), 4);
    for (n, client) in waiting.iter_mut().enumerate() {
        assert_eq!(element(client.read()), Some(n.to_string().into_bytes()));
    }
}

#[test]
fn a_counter_on_watch_loses_no_increment() {
    const CLIENTS: usize = 6;
    const EACH: usize = 150;
    let server = Server::start(Options::codis(4));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut client_ = server.client();
                let mut done = 0;
                while done < EACH {
                    client_.run("WATCH {a}n {b}n");
                    let read = |reply| match reply {
                        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).parse().expect("a number"),
                        _ => 0i64,
                    };
                    let (a, b) = (read(client_.run("GET {a}n")), read(client_.run("GET {b}n")));
                    client_.run("MULTI");
                    client_.run(&format!("SET {{a}}n {}", a + 1));
                    client_.run(&format!("SET {{b}}n {}", b + 1));
                    match client_.run("EXEC") {
                        Reply::Array(Some(_)) => done += 1,
                        Reply::Array(None) => {}
                        other => panic!("client {client}: EXEC replied {other:?}"),
                    }
                }
            });
        }
    });
    let mut client = server.client();
    let total = (CLIENTS * EACH).to_string().into_bytes();
    for key in ["{a}n", "{b}n"] {
        assert_eq!(client.run(&format!("GET {key}")), Reply::Bulk(Some(total.clone())));
    }
}

#[test]
fn subscribers_on_all_threads_see_one_order() {
    const SUBSCRIBERS: usize = 8;
    const PUBLISHERS: usize = 3;
    const EACH: usize = 400;
    let server = Server::start(Options::codis(4));
    let mut subscribers: Vec<Client> = (0..SUBSCRIBERS).map(|_| server.client()).collect();
    for (n, subscriber) in subscribers.iter_mut().enumerate() {
        subscriber.call(if n % 2 == 0 { &["SUBSCRIBE", "news"] } else { &["PSUBSCRIBE", "ne*"] });
    }
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for n in 0..EACH {
                    let receivers = client.call(&["PUBLISH", "news", &format!("{publisher}:{n}")]);
                    assert_eq!(receivers, Reply::Int(SUBSCRIBERS as i64));
                }
            });
        }
    });
    let read_all = |subscriber: &mut Client| -> Vec<Vec<u8>> {
        (0..PUBLISHERS * EACH)
            .map(|_| match subscriber.read() {
                Reply::Array(Some(mut parts)) => match parts.pop() {
                    Some(Reply::Bulk(Some(payload))) => payload,
                    other => panic!("no payload: {other:?}"),
                },
                other => panic!("no message: {other:?}"),
            })
            .collect()
    };
    let first = read_all(&mut subscribers[0]);
    for subscriber in &mut subscribers[1..] {
        assert!(read_all(subscriber) == first, "two subscribers saw two orders");
    }
}

#[test]
fn a_paused_server_keeps_requests_and_answers_them_after() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let (mut admin, mut client) = (server.client(), server.client());
        assert_eq!(admin.run("CLIENT PAUSE 300"), Reply::Simple(b"OK".to_vec()));
        assert_eq!(int(client.run("INCR n")), 1);
        assert_eq!(int(admin.run("INCR n")), 2);
    }
}

#[test]
fn what_follows_a_pause_in_one_batch_waits_for_its_end() {
    const PAUSE_MS: i64 = 300;
    for inline in [false, true] {
        let server = Server::start(Options::codis(1));
        let mut client = server.client();
        let pause = PAUSE_MS.to_string();
        let mut request = Vec::new();
        for words in [&["TIME"][..], &["CLIENT", "PAUSE", &pause], &["TIME"]] {
            match inline {
                true => request.extend_from_slice(format!("{}\r\n", words.join(" ")).as_bytes()),
                false => tests::encode(words, &mut request),
            }
        }
        client.send(&request).expect("a live server");
        // The server's clock says when each ran.
        let mut time_ms = || match client.read() {
            Reply::Array(Some(words)) => {
                let number = |word: &Reply| match word {
                    Reply::Bulk(Some(text)) => String::from_utf8_lossy(text).parse::<i64>().expect("a number"),
                    other => panic!("{other:?}"),
                };
                number(&words[0]) * 1000 + number(&words[1]) / 1000
            }
            _ => 0,
        };
        let (before, _, after) = (time_ms(), time_ms(), time_ms());
        assert!(after - before >= PAUSE_MS - 1, "{before} {after}");
    }
}

#[test]
fn a_late_reply_is_kept_back_only_while_replies_are_off() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let mut pusher = server.client();
        for (mode, told) in [("SKIP", true), ("OFF", false)] {
            let mut waiter = server.client();
            let mut request = Vec::new();
            tests::encode(&["CLIENT", "REPLY", mode], &mut request);
            tests::encode(&["BLPOP", "q", "0"], &mut request);
            waiter.send(&request).expect("a live server");
            let blocked = || {
                let Reply::Bulk(Some(list)) = server.client().run("CLIENT LIST") else { panic!("no list") };
                String::from_utf8_lossy(&list).contains("flags=b")
            };
            assert!(wait_until(PATIENCE, blocked));
            assert_eq!(pusher.run("RPUSH q v"), Reply::Int(1));
            assert_eq!(pusher.run("EXISTS q"), Reply::Int(0));
            if told {
                assert_eq!(element(waiter.read()), Some(b"v".to_vec()));
            } else {
                assert!(wait_until(PATIENCE, || !blocked()));
                assert_eq!(waiter.run("CLIENT REPLY ON"), Reply::Simple(b"OK".to_vec()));
            }
        }
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_ended_and_others_go_on() {
    let server = Server::start(Options::codis(4));
    let mut admin = server.client();
    admin.call(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1000000 0 0"]);
    let (mut reads, mut stalls) = (server.client(), server.client());
    reads.call(&["SUBSCRIBE", "c"]);
    stalls.call(&["SUBSCRIBE", "c"]);
    let payload = "x".repeat(100_000);
    let ended = wait_until(PATIENCE, || {
        let receivers = int(admin.call(&["PUBLISH", "c", &payload]));
        assert!(matches!(reads.read(), Reply::Array(Some(_))));
        receivers == 1
    });
    assert!(ended, "the client that does not read is still there");
}

/// Whether as many clients as this are parked.
fn parked(client: &mut Client, count: usize) -> bool {
    let Reply::Bulk(Some(text)) = client.run("INFO clients") else { panic!("no text") };
    String::from_utf8_lossy(&text).contains(&format!("blocked_clients:{count}\r\n"))
}

/// What a client sends in one piece, as requests.
fn batch(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        tests::encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes);
    }
    bytes
}

#[test]
fn a_reply_from_another_thread_keeps_its_place_among_the_others() {
    const ROUNDS: usize = 300;
    let server = Server::start(Options::codis(4));
    let pong = Reply::Simple(b"PONG".to_vec());
    thread::scope(|scope| {
        for waiter in 0..8 {
            let (server, pong) = (&server, &pong);
            scope.spawn(move || {
                let (mut client, mut pusher) = (server.client(), server.client());
                let (pop, push) = (format!("BLPOP q{waiter} 0"), format!("RPUSH q{waiter}"));
                for round in 0..ROUNDS {
                    let element = format!("{round}");
                    match round % 4 {
                        0 => client.send(&batch(&[&pop])).expect("a live server"),
                        1 => client.send(&batch(&["PING", &pop, "PING"])).expect("a live server"),
                        _ => {
                            // What comes while it waits is served after; so is what comes with its reply.
                            client.send(&batch(&["PING", &pop])).expect("a live server");
                        }
                    }
                    if round % 8 < 4 {
                        thread::sleep(Duration::from_micros((round * 7 % 400) as u64));
                    }
                    if round % 4 == 2 {
                        client.send(&batch(&["PING"])).expect("a live server");
                    }
                    if round % 5 == 0 {
                        pusher.run("MULTI");
                    }
                    pusher.run(&format!("{push} {element}"));
                    if round % 5 == 0 {
                        pusher.run("EXEC");
                    }
                    if round % 4 == 3 {
                        client.send(&batch(&["PING"])).expect("a live server");
                    }
                    if round % 4 != 0 {
                        assert_eq!(client.read(), *pong);
                    }
                    assert_eq!(crate::element(client.read()), Some(element.into_bytes()), "round {round}");
                    if round % 4 != 0 {
                        assert_eq!(client.read(), *pong);
                    }
                }
            });
        }
    });
    assert!(wait_until(PATIENCE, || parked(&mut server.client(), 0)));
}

#[test]
fn a_long_reply_from_another_thread_arrives_whole() {
    let server = Server::start(Options::codis(4));
    let mut pusher = server.client();
    let long = "0123456789abcdef".repeat(1 << 20);
    let mut waiting: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for (n, client) in waiting.iter_mut().enumerate() {
        client.send(&batch(&["BLPOP q 0"])).expect("a live server");
        assert!(wait_until(PATIENCE, || parked(&mut pusher, n + 1)));
    }
    for _ in &waiting {
        pusher.call(&["RPUSH", "q", &long]);
    }
    for client in &mut waiting {
        assert_eq!(element(client.read()).map(|element| element == long.as_bytes()), Some(true));
        assert_eq!(client.run("PING"), Reply::Simple(b"PONG".to_vec()));
    }
}

#[test]
fn a_monitor_that_does_not_read_is_ended_and_others_go_on() {
    let server = Server::start(Options::codis(4));
    let mut admin = server.client();
    admin.call(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1000000 0 0"]);
    let (mut reads, mut stalls) = (server.client(), server.client());
    reads.run("MONITOR");
    stalls.run("MONITOR");
    let payload = "x".repeat(100_000);
    let monitors = |admin: &mut Client| match admin.run("CLIENT LIST") {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).matches("flags=O").count(),
        other => panic!("no list: {other:?}"),
    };
    assert!(wait_until(PATIENCE, || monitors(&mut admin) == 2));
    let mut shown = |part: &str| loop {
        match reads.read() {
            Reply::Simple(line) if String::from_utf8_lossy(&line).contains(part) => break,
            Reply::Simple(_) => {}
            other => panic!("no line of a command: {other:?}"),
        }
    };
    let ended = wait_until(PATIENCE, || {
        admin.call(&["ECHO", &payload]);
        shown(&payload);
        monitors(&mut admin) == 1
    });
    assert!(ended, "the monitor that does not read is still there");
    admin.run("SET after 1");
    shown("\"after\"");
}

#[test]
fn who_waits_is_given_what_a_migration_brings() {
    for threads in [1, 4] {
        let (source, target) = (Server::start(Options::codis(threads)), Server::start(Options::codis(threads)));
        let (mut from, mut to) = (source.client(), target.client());
        let port = target.addr().port();
        let many = (0..500).map(|n| format!("e{n}")).collect::<Vec<_>>().join(" ");
        for (n, command) in ["one", "slot", "async", "payload"].into_iter().enumerate() {
            let key = format!("list{n}");
            assert_eq!(from.run(&format!("RPUSH {key} {many}")), Reply::Int(500));
            let mut waiting = [target.client(), target.client()];
            for client in &mut waiting {
                client.send(&batch(&[&format!("BLPOP other{n} {key} 0")])).expect("a live server");
            }
            assert!(wait_until(PATIENCE, || parked(&mut to, 2)));
            let Reply::Array(Some(slot)) = from.run(&format!("SLOTSHASHKEY {key}")) else { panic!("no slot") };
            let slot = int(slot[0].clone());
            match command {
                "one" => from.run(&format!("SLOTSMGRTONE 127.0.0.1 {port} 60000 {key}")),
                "slot" => from.run(&format!("SLOTSMGRTSLOT 127.0.0.1 {port} 60000 {slot}")),
                "async" => from.run(&format!("SLOTSMGRTTAGSLOT-ASYNC 127.0.0.1 {port} 60000 7 0 {slot} 20")),
                _ => {
                    let Reply::Bulk(Some(payload)) = from.run(&format!("DUMP {key}")) else { panic!("no payload") };
                    from.run(&format!("DEL {key}"));
                    to.call(&[&b"SLOTSRESTORE"[..], key.as_bytes(), b"0", &payload])
                }
            };
            let mut taken: Vec<_> = waiting.iter_mut().map(|client| element(client.read())).collect();
            taken.sort();
            assert_eq!(taken, [Some(b"e0".to_vec()), Some(b"e1".to_vec())], "{command}");
            assert_eq!(to.run(&format!("LLEN {key}")), Reply::Int(498), "{command}");
            assert_eq!(from.run(&format!("EXISTS {key}")), Reply::Int(0), "{command}");
        }
    }
}

#[test]
fn what_a_served_client_sends_before_it_ends_is_carried_out() {
    const ROUNDS: usize = 400;
    let server = Server::start(Options::codis(4).set("unixsocket", "socket"));
    let path = server.dir().join("socket");
    thread::scope(|scope| {
        for pair in 0..4 {
            let queue = format!("queue:{pair}");
            let (path, server) = (&path, &server);
            scope.spawn(move || {
                let mut pusher = server.client();
                for _ in 0..ROUNDS {
                    let mut client = Client::connect_unix(path).expect("connected");
                    client.send(&batch(&[&format!("BLPOP {queue} 0")])).expect("sent");
                    // Mostly it waits by then.
                    thread::yield_now();
                    pusher.run(&format!("RPUSH {queue} e"));
                    assert_eq!(element(client.read()), Some(b"e".to_vec()));
                    client.send(&batch(&["INCR served"])).expect("sent");
                }
            });
        }
    });
    let mut client = server.client();
    let all = Reply::Bulk(Some((4 * ROUNDS).to_string().into_bytes()));
    assert!(wait_until(PATIENCE, || client.run("GET served") == all), "{:?}", client.run("GET served"));
}

#[test]
fn who_sends_and_ends_during_a_pause_is_answered_and_ended_after_it() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let (mut admin, mut client) = (server.client(), server.client());
        client.run("PING");
        assert_eq!(admin.run("CLIENT PAUSE 200"), Reply::Simple(b"OK".to_vec()));
        client.send(&batch(&["PING"])).expect("sent");
        client.shutdown_write().expect("shut down");
        assert_eq!(client.read_to_end(), b"+PONG\r\n");
    }
}

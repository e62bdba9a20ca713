//! What clients may rely on in the order of things: who has a reply knows that what it says is so, for everybody.
//!
//! Most of it is that of one thread, where requests run in the order in which they came; the last tests are of four.

#![forbid(unsafe_code)]

use resp::Reply;
use std::time::Duration;
use tests::{Client, Options, Server, encode};

/// A script that keeps its thread busy for 300 ms, notes the time, in milliseconds, does what its arguments say, and returns
/// the time. With `ended` as its key it stores it there.
const BUSY: &str = "redis.replicate_commands() \
    local function ms() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end \
    local ends = ms() + 300 while ms() < ends do end \
    local now = ms() if #ARGV > 0 then redis.call(unpack(ARGV)) end \
    if KEYS[1] == 'ended' then redis.call('SET', 'ended', now) end return now";

/// Sends all in one piece.
fn send(client: &mut Client, commands: &[&[&str]]) {
    let mut bytes = Vec::new();
    commands.iter().for_each(|command| encode(command, &mut bytes));
    client.send(&bytes).expect("sent");
}

/// Sends all in one piece and reads every reply.
fn pipeline(client: &mut Client, commands: &[&[&str]]) -> Vec<Reply> {
    send(client, commands);
    commands.iter().map(|_| client.read()).collect()
}

fn int(reply: &Reply) -> i64 {
    match reply {
        Reply::Int(int) => *int,
        other => panic!("no integer: {other:?}"),
    }
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("no text: {other:?}"),
    }
}

/// The reply to TIME, in milliseconds.
fn time_ms(reply: &Reply) -> i64 {
    match reply {
        Reply::Array(Some(parts)) => {
            let part = |i: usize| text(&parts[i]).parse::<i64>().expect("a number");
            part(0) * 1000 + part(1) / 1000
        }
        other => panic!("no time: {other:?}"),
    }
}

fn ok() -> Reply {
    Reply::Simple(b"OK".into())
}

fn id_of(client: &mut Client, name: &str) -> String {
    assert_eq!(client.call(&["CLIENT", "SETNAME", name]), ok());
    let list = text(&client.call(&["CLIENT", "LIST"]));
    let line = list.lines().find(|line| line.contains(&format!(" name={name} "))).expect("it is there");
    line.split(' ').next().and_then(|field| field.strip_prefix("id=")).expect("its id").to_owned()
}

/// Waits until so many clients wait for a list.
fn wait_for_blocked(client: &mut Client, count: usize) {
    let wanted = format!("blocked_clients:{count}\r\n");
    assert!(tests::wait_until(Duration::from_secs(60), || text(&client.call(&["INFO", "clients"])).contains(&wanted)));
}

#[test]
fn nothing_is_given_to_a_client_that_was_killed() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let mut client = server.client();
        for round in 0..50 {
            let mut waiting = server.client();
            let id = id_of(&mut waiting, "waiting");
            waiting.send(b"BLPOP l 0\r\n").expect("sent");
            wait_for_blocked(&mut client, 1);
            let kill: &[&str] = &["CLIENT", "KILL", "ID", &id];
            let replies = pipeline(&mut client, &[kill, &["RPUSH", "l", "x"], &["LPOP", "l"]]);
            assert_eq!(replies, [Reply::Int(1), Reply::Int(1), Reply::Bulk(Some(b"x".into()))], "round {round}");
            assert!(waiting.is_ended(), "round {round}");
        }
    }
}

#[test]
fn a_client_of_the_same_thread_that_was_killed_hears_nothing_more() {
    let server = Server::start(Options::codis(1));
    let (mut client, mut listening) = (server.client(), server.client());
    let id = id_of(&mut listening, "listening");
    listening.call(&["SUBSCRIBE", "ch"]);
    let replies =
        pipeline(&mut client, &[&["CLIENT", "KILL", "ID", &id], &["PUBLISH", "ch", "m"], &["PUBSUB", "NUMSUB", "ch"]]);
    let none = Reply::Array(Some(vec![Reply::Bulk(Some(b"ch".into())), Reply::Int(0)]));
    assert_eq!(replies, [Reply::Int(1), Reply::Int(0), none]);
}

#[test]
fn a_command_of_a_client_that_was_killed_does_not_run_behind_the_one_that_runs() {
    let server = Server::start(Options::codis(2));
    // Connections go to the two threads in turn.
    let mut client = server.client();
    let was_in_time = |client: &mut Client| {
        let mut busy = server.client();
        let id = id_of(&mut busy, "busy");
        // All in one read: the script is what runs when the other thread's reply leaves.
        send(&mut busy, &[&["SET", "begun", "1"], &["EVAL", BUSY, "1", "ended"], &["SET", "behind", "1"]]);
        while client.call(&["EXISTS", "begun"]) == Reply::Int(0) {}
        assert_eq!(client.call(&["CLIENT", "KILL", "ID", &id]), Reply::Int(1));
        let killed = time_ms(&client.call(&["TIME"]));
        // Until the connection is gone.
        busy.read_to_end();
        killed < text(&client.call(&["GET", "ended"])).parse::<i64>().expect("a number")
    };
    for _ in 0..20 {
        if was_in_time(&mut client) {
            return assert_eq!(client.call(&["EXISTS", "behind"]), Reply::Int(0));
        }
        client.call(&["FLUSHALL"]);
        // The next one goes to the other thread again.
        drop(server.client());
    }
    panic!("never killed in time");
}

#[test]
fn times_count_from_when_a_command_runs() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    // A command behind one that took long, and one that a script runs at its end.
    let behind: [&[&str]; 4] = [&["EVAL", BUSY, "0"], &["SET", "k", "v", "PX", "100000"], &["PTTL", "k"], &["TIME"]];
    let within: [&[&str]; 4] =
        [&["EVAL", BUSY, "1", "k", "SET", "k", "v", "PX", "100000"], &["PING"], &["PTTL", "k"], &["TIME"]];
    for commands in [behind, within] {
        let replies = pipeline(&mut client, &commands);
        let (before, left, after) = (int(&replies[0]), int(&replies[2]), time_ms(&replies[3]));
        assert!(left + after >= before + 100_000, "{replies:?}");
    }
    // A wait behind it lasts as long as it should.
    let replies = pipeline(&mut client, &[&["EVAL", BUSY, "0"], &["BLPOP", "l", "1"], &["TIME"]]);
    assert!(time_ms(&replies[2]) >= int(&replies[0]) + 1000, "{replies:?}");
    // What has expired meanwhile is gone for the next command of the same piece.
    let replies = pipeline(&mut client, &[&["SET", "k", "v", "PX", "100"], &["EVAL", BUSY, "0"], &["GET", "k"]]);
    assert_eq!(replies[2], Reply::Bulk(None));
}

#[test]
fn who_was_given_an_element_is_blocked_no_more_and_goes_on_first() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    for round in 0..100 {
        let mut waiting = server.client();
        send(&mut waiting, &[&["BLPOP", "l", "0"], &["SET", "behind", "1"]]);
        wait_for_blocked(&mut client, 1);
        let replies = pipeline(&mut client, &[&["RPUSH", "l", "x"], &["INFO", "clients"]]);
        assert!(text(&replies[1]).contains("blocked_clients:0\r\n"), "round {round}");
        // What it had sent behind its wait has run when the pusher has its reply.
        assert_eq!(client.call(&["DEL", "behind"]), Reply::Int(1), "round {round}");
    }
}

#[test]
fn a_message_that_was_published_comes_before_what_its_reader_asks_next() {
    let server = Server::start(Options::codis(1));
    let (mut client, mut listening) = (server.client(), server.client());
    let message = |parts: [&str; 3]| Reply::Array(Some(parts.map(|part| Reply::Bulk(Some(part.into()))).into()));
    for _ in 0..100 {
        listening.call(&["SUBSCRIBE", "ch"]);
        // Both are there when the thread looks again.
        let mut busy = server.client();
        send(&mut busy, &[&["DEBUG", "SLEEP", "0.01"]]);
        send(&mut client, &[&["PUBLISH", "ch", "m"]]);
        send(&mut listening, &[&["UNSUBSCRIBE", "ch"]]);
        if client.read() == Reply::Int(1) {
            assert_eq!(listening.read(), message(["message", "ch", "m"]));
        }
        assert!(
            matches!(listening.read(), Reply::Array(Some(parts)) if parts[0] == Reply::Bulk(Some(b"unsubscribe".into())))
        );
        busy.read();
    }
}

#[test]
fn a_monitor_reads_its_own_commands_before_their_replies() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    assert_eq!(client.call(&["MONITOR"]), ok());
    client.send(b"PING\r\n").expect("sent");
    assert!(matches!(client.read(), Reply::Simple(line) if line.ends_with(b" \"PING\"")));
    assert_eq!(client.read(), Reply::Simple(b"PONG".into()));
    // Once.
    client.send(b"PING\r\n").expect("sent");
    assert!(matches!(client.read(), Reply::Simple(line) if line.ends_with(b" \"PING\"")));
    assert_eq!(client.read(), Reply::Simple(b"PONG".into()));
}

#[test]
fn a_setting_holds_from_the_next_command_on() {
    let server = Server::start(Options::codis(1));
    let (mut client, mut listening) = (server.client(), server.client());
    listening.call(&["PSUBSCRIBE", "__key*"]);
    pipeline(&mut client, &[&["CONFIG", "SET", "notify-keyspace-events", "KEA"], &["SET", "q", "1"]]);
    assert!(matches!(listening.read(), Reply::Array(Some(parts)) if parts[3] == Reply::Bulk(Some(b"set".into()))));
    // A password is asked of everybody, also of who set it.
    let replies = pipeline(&mut client, &[&["CONFIG", "SET", "requirepass", "secret"], &["PING"]]);
    assert_eq!(replies[0], ok());
    assert!(matches!(&replies[1], Reply::Error(error) if error.starts_with(b"NOAUTH")));
    assert_eq!(client.call(&["AUTH", "secret"]), ok());
    assert_eq!(client.call(&["PING"]), Reply::Simple(b"PONG".into()));
}

#[test]
fn a_client_list_shows_who_asks_as_it_is() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    let replies = pipeline(&mut client, &[&["SELECT", "9"], &["CLIENT", "LIST"]]);
    let own = text(&replies[1]);
    assert!(own.contains(" idle=0 ") && own.contains(" db=9 ") && own.contains(" cmd=client"), "{own}");
}

#[test]
fn nobody_sees_an_element_that_belongs_to_who_waits_with_a_destination() {
    let server = Server::start(Options::codis(4));
    let mut client = server.client();
    for round in 0..3 {
        let (mut waiting, mut busy) = (server.client(), server.client());
        send(&mut waiting, &[&["BRPOPLPUSH", "src", "dst", "0"]]);
        wait_for_blocked(&mut client, 1);
        // It has the destination's slot, and any other that it wants.
        let script = format!("redis.call('EXISTS', 'dst') redis.call('SET', 'begun', '1') {BUSY}");
        send(&mut busy, &[&["EVAL", &script, "2", "dst", "begun"]]);
        // Mostly enough for it to begin.
        std::thread::sleep(Duration::from_millis(20));
        let pushed = client.call(&["RPUSH", "src", "v"]);
        assert_eq!(pushed, Reply::Int(1), "round {round}");
        assert_eq!(client.call(&["LLEN", "src"]), Reply::Int(0), "round {round}");
        assert_eq!(client.call(&["LPOP", "src"]), Reply::Bulk(None), "round {round}");
        assert_eq!(waiting.read(), Reply::Bulk(Some(b"v".into())), "round {round}");
        busy.read();
        client.call(&["DEL", "dst"]);
    }
}

//! Scripts on whole servers of one and of several threads: what other clients see while one runs too long, and how it
//! ends.

#![forbid(unsafe_code)]

use resp::Reply;
use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::{Client, Options, Server, encode, wait_until};

/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOP: &str = "while true do redis.pcall('ping') end";

fn error(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("no error: {other:?}"),
    }
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn send<A: AsRef<[u8]>>(client: &mut Client, commands: &[&[A]]) {
    let mut request = Vec::new();
    commands.iter().for_each(|command| encode(command, &mut request));
    client.send(&request).expect("the server reads");
}

/// Starts a server whose scripts may run 5 ms, and `script` on it. Returns when others are told that it is busy.
fn busy(options: Options, script: &[&str]) -> (Server, Client, Client) {
    let server = Server::start(options.set("lua-time-limit", "5"));
    let (mut runner, mut other) = (server.client(), server.client());
    send(&mut runner, &[script]);
    wait_until_busy(&mut other);
    (server, runner, other)
}

fn wait_until_busy(client: &mut Client) {
    let deadline = Instant::now() + PATIENCE;
    while !matches!(client.run("PING"), Reply::Error(text) if text.starts_with(b"BUSY Redis is busy")) {
        assert!(Instant::now() < deadline, "the script is never late");
    }
}

/// Both with one thread, which serves its clients from within the script, and with several.
fn each(test: impl Fn(Options)) {
    [1, 4].into_iter().for_each(|threads| test(Options::codis(threads)));
}

#[test]
fn others_are_told_and_may_kill_a_script_that_only_reads() {
    each(|options| {
        let (server, mut runner, mut other) = busy(options, &["EVAL", LOOP, "0"]);
        // Connections that come now are served, and so is what comes in pieces or in one.
        for _ in 0..5 {
            let mut late = server.client();
            late.send(b"*1\r\n$4\r\nPI").expect("the server reads");
            assert!(error(&other.run("SET k v")).starts_with("BUSY"));
            late.send(b"NG\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nnonsense\r\nGET\r\nQUIT\r\n").expect("the server reads");
            assert!(error(&late.read()).starts_with("BUSY"));
            assert!(error(&late.read()).starts_with("BUSY"));
            assert!(error(&late.read()).contains("unknown command"));
            assert!(error(&late.read()).contains("wrong number of arguments"));
            assert_eq!(late.read(), ok());
        }
        assert_eq!(other.run("SCRIPT KILL"), ok());
        let ended = error(&runner.read());
        assert!(ended.contains("Script killed by user with SCRIPT KILL..."), "{ended}");
        assert!(error(&other.run("SCRIPT KILL")).starts_with("NOTBUSY"));
        assert_eq!(other.run("SET k v"), ok());
        assert_eq!(runner.run("GET k"), Reply::Bulk(Some(b"v".to_vec())));
    });
}

#[test]
fn a_script_that_has_written_ends_only_with_the_server() {
    each(|options| {
        let script = ["EVAL", "redis.call('set', KEYS[1], 'half'); while true do end", "1", "k"];
        let (mut server, mut runner, mut other) = busy(options, &script);
        assert!(error(&other.run("SCRIPT KILL")).starts_with("UNKILLABLE"));
        assert!(error(&other.run("SHUTDOWN SAVE")).starts_with("BUSY"));
        assert!(error(&other.run("GET k")).starts_with("BUSY"));
        send(&mut other, &[&["SHUTDOWN", "NOSAVE"][..]]);
        assert_eq!(other.read_to_end(), b"");
        runner.read_to_end();
        assert!(server.wait(PATIENCE).is_some_and(|status| status.success()));
    });
}

/// Writes, waits for more clients than there are, and writes again: nobody can end it from outside in another way.
const WAITING_WRITER: &str = "redis.call('set', KEYS[1], 'half') \
    local function clients() return tonumber(string.match(redis.call('info', 'clients'), 'connected_clients:(%d+)')) end \
    local before = clients() repeat for i = 1, 20000 do end until clients() > before \
    redis.call('set', KEYS[1], 'whole') return 'done'";

/// Runs [`WAITING_WRITER`] and, while it is late, each of `commands`, which it must survive. Returns their answers.
fn survived(server: &Server, commands: &[&str]) -> Vec<String> {
    let (mut runner, mut other) = (server.client(), server.client());
    for client in [&mut runner, &mut other] {
        assert_eq!(client.run("PING"), Reply::Simple(b"PONG".to_vec()));
    }
    send(&mut runner, &[&["EVAL", WAITING_WRITER, "1", "k"][..]]);
    wait_until_busy(&mut other);
    let mut answers = Vec::new();
    for command in commands {
        answers.push(error(&other.run(command)));
        assert!(error(&other.run("PING")).starts_with("BUSY"), "after {command}");
    }
    // More than may have left since the script has counted.
    let _more: [Client; 8] = std::array::from_fn(|_| server.client());
    assert_eq!(runner.read(), Reply::Bulk(Some(b"done".to_vec())));
    assert_eq!(other.run("GET k"), Reply::Bulk(Some(b"whole".to_vec())));
    answers
}

#[test]
fn a_shutdown_that_is_misspelt_ends_no_script() {
    each(|options| {
        let server = Server::start(options.set("lua-time-limit", "5").set("appendonly", "yes"));
        let answers = survived(&server, &["SHUTDOWN nx", "SHUTDOWN nosaves", "SHUTDOWN n", "SHUTDOWN nosave now"]);
        assert!(answers[..3].iter().all(|answer| answer == "ERR syntax error"), "{answers:?}");
        assert!(answers[3].starts_with("BUSY"), "{answers:?}");
        server.client().wait_until_written();
        let server = server.crash().start_again();
        assert_eq!(server.client().run("GET k"), Reply::Bulk(Some(b"whole".to_vec())));
    });
}

#[test]
fn a_shutdown_that_cannot_be_ends_no_script() {
    each(|options| {
        let server = Server::start(options.set("lua-time-limit", "5"));
        let pipe = server.dir().join(format!("temp-rewriteaof-bg-{}.aof", server.pid()));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let mut client = server.client();
        client.call(&["DEBUG", "POPULATE", "100000"]);
        // Nobody reads what is written to the pipe, so the first AOF is never done.
        let _reader = File::options().read(true).write(true).open(&pipe).expect("opened");
        assert_eq!(client.run("CONFIG SET appendonly yes"), ok());
        assert!(wait_until(PATIENCE, || client.persistence("aof_rewrite_in_progress") == "1"));
        let refused = "ERR Errors trying to SHUTDOWN. Check logs.";
        assert_eq!(survived(&server, &["SHUTDOWN NOSAVE"; 2]), [refused; 2]);
        assert!(server.log().contains("Writing initial AOF, can't exit."));
        assert_eq!(error(&client.run("SHUTDOWN NOSAVE")), refused);
        // A script that asks for it is told so too, and goes on.
        let asks = "redis.call('set', KEYS[1], 'half') redis.pcall('shutdown', 'nosave') \
            redis.call('set', KEYS[1], 'whole') return 'done'";
        assert_eq!(client.call(&["EVAL", asks, "1", "other"]), Reply::Bulk(Some(b"done".to_vec())));
        assert_eq!(client.run("GET other"), Reply::Bulk(Some(b"whole".to_vec())));
    });
}

#[test]
fn a_late_script_that_ends_leaves_nothing_undone() {
    each(|options| {
        // Longer than the limit, but not for ever.
        let script = "for i = 1, tonumber(ARGV[1]) do redis.call('incr', KEYS[1]) end return 'done'";
        let server = Server::start(options.set("lua-time-limit", "1"));
        let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
        for round in 1..=5 {
            send(&mut clients[0], &[&["EVAL", script, "1", "count", "200000"][..], &["PING"][..]]);
            for client in &mut clients[1..] {
                // Some of these come while it is busy, some before, some after.
                send(client, &vec![&["ECHO", "x"][..]; 200]);
            }
            for client in &mut clients[1..] {
                for _ in 0..200 {
                    match client.read() {
                        Reply::Bulk(Some(text)) => assert_eq!(text, b"x"),
                        other => assert!(error(&other).starts_with("BUSY")),
                    }
                }
            }
            assert_eq!(clients[0].read(), Reply::Bulk(Some(b"done".to_vec())));
            assert_eq!(clients[0].read(), Reply::Simple(b"PONG".to_vec()));
            assert_eq!(clients[1].run("GET count"), Reply::Bulk(Some((round * 200_000).to_string().into_bytes())));
        }
    });
}

#[test]
fn a_password_may_be_given_to_a_busy_server() {
    each(|options| {
        let server = Server::start(options.set("lua-time-limit", "5"));
        let mut runner = server.client();
        assert_eq!(runner.run("CONFIG SET requirepass secret"), ok());
        assert_eq!(runner.run("AUTH secret"), ok());
        let mut stranger = server.client();
        assert!(error(&stranger.run("PING")).starts_with("NOAUTH"));
        send(&mut runner, &[&["EVAL", LOOP, "0"][..]]);
        let mut other = server.client();
        assert_eq!(other.run("AUTH secret"), ok());
        wait_until_busy(&mut other);
        assert!(error(&stranger.run("SCRIPT KILL")).starts_with("NOAUTH"));
        assert!(error(&stranger.run("AUTH guess")).contains("invalid password"));
        assert_eq!(stranger.run("AUTH secret"), ok());
        assert_eq!(stranger.run("SCRIPT KILL"), ok());
        assert!(error(&runner.read()).contains("killed"));
    });
}

#[test]
fn a_transaction_that_meets_a_busy_server_fails() {
    each(|options| {
        let server = Server::start(options.set("lua-time-limit", "5"));
        let (mut runner, mut other, mut killer) = (server.client(), server.client(), server.client());
        assert_eq!(other.run("MULTI"), ok());
        send(&mut runner, &[&["EVAL", LOOP, "0"][..]]);
        wait_until_busy(&mut killer);
        assert!(error(&other.run("SET k v")).starts_with("BUSY"));
        assert_eq!(killer.run("SCRIPT KILL"), ok());
        assert!(error(&runner.read()).contains("killed"));
        assert!(error(&other.run("EXEC")).starts_with("EXECABORT"));
    });
}

#[test]
fn a_flush_is_seen_by_all_threads() {
    let server = Server::start(Options::codis(4));
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    for _ in 0..3 {
        assert_eq!(clients[0].call(&["SCRIPT", "LOAD", "return 1"]), Reply::Bulk(Some(sha.into())));
        for client in &mut clients {
            assert_eq!(client.run(&format!("EVALSHA {sha} 0")), Reply::Int(1));
        }
        assert_eq!(clients[5].run("SCRIPT FLUSH"), ok());
        for client in &mut clients {
            assert!(error(&client.run(&format!("EVALSHA {sha} 0"))).starts_with("NOSCRIPT"));
        }
    }
}

#[test]
fn the_words_of_refused_calls_are_those_of_redis() {
    let server = Server::start(Options::codis(1).set("maxmemory", "1"));
    let mut client = server.client();
    for (script, expected) in [
        ("redis.call('nosuch')", "@user_script: 1: Unknown Redis command called from Lua script "),
        ("redis.call('get')", "@user_script: 1: Wrong number of args calling Redis command From Lua script "),
        ("redis.call('multi')", "@user_script: 1: This Redis command is not allowed from scripts "),
        ("redis.call('set', 'k', 'v')", "@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.   "),
        (
            "redis.call('time') redis.call('del', 'k')",
            "@user_script: 1: Write commands not allowed after non deterministic commands. Call \
             redis.replicate_commands() at the start of your script in order to switch to single commands replication \
             mode. ",
        ),
    ] {
        let text = error(&client.call(&["EVAL", script, "0"]));
        assert!(text.starts_with("ERR Error running script (call to f_"), "{text}");
        assert!(text.ends_with(&format!("): @user_script:1: {expected}")), "{text:?} {expected:?}");
    }
    assert_eq!(error(&client.run("SCRIPT DEBUG yes")), "ERR The Lua debugger is not supported");
    assert_eq!(error(&client.run("SCRIPT DEBUG x")), "ERR Use SCRIPT DEBUG yes/sync/no");
    assert_eq!(client.run("SCRIPT DEBUG no"), ok());
    assert_eq!(error(&client.run("SCRIPT")), "ERR wrong number of arguments for 'script' command");
    assert_eq!(error(&client.run("SCRIPT nonsense")), "ERR Unknown SCRIPT subcommand or wrong # of args.");
}

#[test]
fn who_runs_a_late_script_is_answered_what_it_sends_meanwhile() {
    each(|options| {
        let script = "while redis.call('incr', KEYS[1]) < tonumber(ARGV[1]) do end \
                      return 'done'";
        let server = Server::start(options.set("lua-time-limit", "1"));
        for ends in [false, true] {
            let (mut runner, mut other) = (server.client(), server.client());
            // Until it is seen to be late.
            let mut rounds = 600_000;
            loop {
                runner.run("DEL n");
                let count = rounds.to_string();
                send(&mut runner, &[&["EVAL", script, "1", "n", &count]]);
                let end = Reply::bulk(count.as_str());
                let is_late = loop {
                    match other.run("GET n") {
                        Reply::Error(_) => break true,
                        value if value == end => break false,
                        _ => {}
                    }
                };
                if is_late {
                    break;
                }
                assert_eq!(runner.read(), Reply::bulk("done"));
                rounds *= 2;
            }
            send(&mut runner, &[&["PING"]]);
            if ends {
                runner.shutdown_write().expect("shut down");
            }
            assert_eq!(runner.read(), Reply::Bulk(Some(b"done".to_vec())));
            assert_eq!(runner.read(), Reply::Simple(b"PONG".to_vec()));
            if ends {
                assert_eq!(runner.read_to_end(), b"");
            }
        }
    });
}

#[test]
fn a_replica_that_reads_on_during_a_late_script_misses_nothing() {
    const VALUES: usize = 24;
    let options = Options::codis(1).set("lua-time-limit", "1").set("repl-timeout", "600");
    // An image of what is written before it is asked for is as long.
    let server = Server::start(options.set("rdbcompression", "no"));
    let (mut writer, mut runner, mut replica) = (server.client(), server.client(), server.client());
    replica.send(b"SYNC\r\n").expect("the server reads");
    let value = "x".repeat(1 << 20);
    // More than a socket holds, so that the server waits for the replica.
    for n in 0..VALUES {
        writer.call(&["SET", &format!("k:{n}"), &value]);
    }
    send(&mut runner, &[&["EVAL", LOOP, "0"]]);
    wait_until_busy(&mut writer);
    // Nothing is sent from within the script, but what the socket holds may be read.
    replica.set_patience(Duration::from_millis(300));
    let mut read = 0;
    while let Ok(n @ 1..) = replica.skip_some() {
        read += n;
    }
    assert_eq!(writer.run("SCRIPT KILL"), ok());
    assert!(error(&runner.read()).contains("killed"));
    replica.set_patience(PATIENCE);
    while read < VALUES << 20 {
        match replica.skip_some() {
            Ok(n @ 1..) => read += n,
            other => panic!("{other:?} after {read} bytes\n{}", server.log()),
        }
    }
}

#[test]
fn who_was_served_just_before_a_script_was_late_may_kill_it() {
    let server = Server::start(Options::codis(2).set("lua-time-limit", "500"));
    // Several, so that some are served by the script's thread.
    let mut waiting: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for client in &mut waiting {
        send(client, &[&["BLPOP", "queue", "0"]]);
    }
    let mut pushers: Vec<Client> = (0..2).map(|_| server.client()).collect();
    let (mut runner, mut other) = (server.client(), server.client());
    let parked = |client: &mut Client| match client.run("INFO clients") {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).contains("blocked_clients:8\r\n"),
        other => panic!("{other:?}"),
    };
    assert!(wait_until(PATIENCE, || parked(&mut pushers[0])));
    let elements = ["RPUSH", "queue", "1", "2", "3", "4", "5", "6", "7", "8"];
    let mut served = false;
    while !served {
        send(&mut runner, &[&["EVAL", LOOP, "0"]]);
        for pusher in &mut pushers {
            send(pusher, &[&elements]);
        }
        wait_until_busy(&mut other);
        // One of them is not served by the script's thread, and mostly comes before the script is late.
        for pusher in &mut pushers {
            served |= matches!(pusher.read(), Reply::Int(_));
        }
        if !served {
            assert_eq!(other.run("SCRIPT KILL"), ok());
            assert!(error(&runner.read()).contains("killed"));
        }
    }
    for client in &mut waiting {
        assert!(matches!(client.read(), Reply::Array(Some(_))));
    }
    for client in &mut waiting {
        assert!(error(&client.run("PING")).starts_with("BUSY"));
    }
    assert_eq!(waiting[0].run("SCRIPT KILL"), ok());
    assert!(error(&runner.read()).contains("killed"));
}

#[test]
fn a_second_interrupt_ends_a_server_whose_script_does_not_end() {
    each(|options| {
        let (mut server, _runner, _other) = busy(options, &["EVAL", LOOP, "0"]);
        server.interrupt();
        assert!(wait_until(PATIENCE, || server.log().contains("Received SIGINT scheduling shutdown")));
        server.interrupt();
        let ended = server.wait(PATIENCE).expect("it does not end");
        assert_eq!(ended.code(), Some(1), "{}", server.log());
        assert!(server.log().contains("You insist... exiting now."));
    });
}

#[test]
fn a_replica_is_heard_while_a_script_runs_too_long() {
    each(|options| {
        let (_server, _runner, mut other) = busy(options, &["EVAL", LOOP, "0"]);
        assert_eq!(other.run("REPLCONF listening-port 7000 capa eof"), ok());
        assert_eq!(other.run("REPLCONF GETACK *"), ok());
        assert_eq!(error(&other.run("REPLCONF nonsense 1")), "ERR Unrecognized REPLCONF option: nonsense");
        // Whatever this says, it says nothing.
        send(&mut other, &[&["REPLCONF", "ACK", "1"]]);
        assert_eq!(other.run("SCRIPT KILL"), ok());
    });
}

#[test]
fn a_script_that_publishes_more_than_anybody_reads_can_be_ended() {
    const MESSAGES: &str = "150";
    for threads in [1, 2] {
        let server = Server::start(Options::codis(threads).set("lua-time-limit", "5"));
        // They go to the threads in turn.
        let mut clients: [Client; 4] = std::array::from_fn(|_| server.client());
        for client in &mut clients {
            assert_eq!(client.run("PING"), Reply::Simple(b"PONG".to_vec()));
        }
        let [listener, elsewhere, runner, killer] = &mut clients;
        assert!(matches!(listener.run("SUBSCRIBE c"), Reply::Array(Some(_))));
        let script = "local v = string.rep('x', 1000000) for i = 1, tonumber(ARGV[1]) do redis.call('publish', 'c', v) end \
            redis.log(redis.LOG_WARNING, 'all is published') while true do end";
        send(runner, &[&["EVAL", script, "0", MESSAGES][..]]);
        assert!(wait_until(PATIENCE, || server.log().contains("all is published")));
        wait_until_busy(elsewhere);
        assert!(error(&killer.run("GET k")).starts_with("BUSY"));
        assert_eq!(killer.run("SCRIPT KILL"), ok());
        assert!(error(&runner.read()).contains("Script killed by user"));
        assert_eq!(elsewhere.run("PING"), Reply::Simple(b"PONG".to_vec()));
        // It was not to have so much waiting.
        assert!(wait_until(PATIENCE, || elsewhere.run("PUBLISH c x") == Reply::Int(0)));
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        let peak_mib = peak.and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10;
        assert!(peak_mib < 220, "{peak_mib} MiB");
    }
}

//! The program as its users start, configure and stop it.

#![forbid(unsafe_code)]

use resp::Reply;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;
use tests::{Client, Options, Server, alive, codis_server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn error(text: &str) -> Reply {
    Reply::Error(text.as_bytes().to_vec())
}

fn setting(client: &mut Client, name: &str) -> String {
    match client.call(&["CONFIG", "GET", name]) {
        Reply::Array(Some(pair)) => match pair.as_slice() {
            [_, Reply::Bulk(Some(value))] => String::from_utf8_lossy(value).into_owned(),
            other => panic!("CONFIG GET {name} replies {other:?}"),
        },
        other => panic!("CONFIG GET {name} replies {other:?}"),
    }
}

fn output(args: &[&str]) -> Output {
    Command::new(codis_server()).args(args).output().expect("the server's program starts")
}

#[test]
fn version_and_help_are_printed() {
    for flag in ["-v", "--version"] {
        let output = output(&[flag]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("v=3.2.11"), "{flag}: {text}");
    }
    for flag in ["-h", "--help"] {
        let output = output(&[flag]);
        let text = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&text).contains("Usage"), "{flag} prints no usage");
    }
}

#[test]
fn a_bad_setting_is_named_and_nothing_starts() {
    let output = output(&["--maxclients", "many"]);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && text.contains("maxclients"), "{text}");
}

#[test]
fn files_include_each_other_and_the_command_line_wins() {
    let included = tempfile::NamedTempFile::new().expect("a file can be made");
    fs::write(included.path(), "timeout 77\nmaxclients 50\n").expect("a file can be written");
    let text = format!(
        "# a comment\ninclude {}\nmaxclients 60\nhash-max-ziplist-entries 9\nrequirepass \"a \\x62\\\"c\"\n",
        included.path().display()
    );
    let server = Server::start(Options::codis(1).config(&text).set("hash-max-ziplist-entries", "11"));
    let mut client = server.client();
    assert_eq!(client.call(&["AUTH", "a b\"c"]), ok());
    assert_eq!(setting(&mut client, "timeout"), "77");
    assert_eq!(setting(&mut client, "maxclients"), "60");
    assert_eq!(setting(&mut client, "hash-max-ziplist-entries"), "11");
}

#[test]
fn a_password_is_asked_for() {
    let server = Server::start(Options::codis(1).set("requirepass", "secret"));
    let mut client = server.client();
    assert_eq!(client.run("GET key"), error("NOAUTH Authentication required."));
    assert_eq!(client.run("AUTH wrong"), error("ERR invalid password"));
    assert_eq!(client.run("PING"), error("NOAUTH Authentication required."));
    assert_eq!(client.run("AUTH secret"), ok());
    assert_eq!(client.run("GET key"), Reply::Bulk(None));
    let open = Server::start(Options::codis(1));
    assert_eq!(open.client().run("AUTH any"), error("ERR Client sent AUTH, but no password is set"));
}

#[test]
fn commands_are_renamed_and_removed() {
    let server =
        Server::start(Options::codis(1).config("rename-command CONFIG configure-17\nrename-command FLUSHALL \"\"\n"));
    let mut client = server.client();
    assert_eq!(client.run("CONFIG GET port"), error("ERR unknown command 'CONFIG'"));
    assert_eq!(client.run("FLUSHALL"), error("ERR unknown command 'FLUSHALL'"));
    assert!(matches!(client.run("configure-17 GET port"), Reply::Array(Some(_))));
}

#[test]
fn a_unix_socket_is_a_way_in() {
    let dir = tempfile::TempDir::new().expect("a directory can be made");
    let path = dir.path().join("socket");
    let server =
        Server::start(Options::codis(1).set("unixsocket", &path.display().to_string()).set("unixsocketperm", "700"));
    let mut client = Client::connect_unix(&path).expect("the socket is there");
    assert_eq!(client.run("SET key value"), ok());
    assert_eq!(server.client().run("GET key"), Reply::bulk("value"));
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::start(Options::codis(1).set("maxclients", "3"));
    // Who saw it start has gone, which it may see later.
    let mut first = server.client();
    let is_alone = |client: &mut Client| match client.run("INFO clients") {
        Reply::Bulk(Some(text)) => String::from_utf8_lossy(&text).contains("connected_clients:1\r\n"),
        _ => false,
    };
    assert!(wait_until(PATIENCE, || is_alone(&mut first)));
    let mut clients: Vec<Client> = [first, server.client(), server.client()].into();
    for client in &mut clients {
        assert_eq!(client.run("PING"), Reply::Simple(b"PONG".to_vec()));
    }
    let mut refused = server.client();
    assert_eq!(refused.read(), error("ERR max number of clients reached"));
    assert_eq!(refused.read_to_end(), b"");
    drop(clients.pop());
    let again = wait_until(PATIENCE, || {
        server.client().try_call(&["PING"]).is_ok_and(|reply| reply == Reply::Simple(b"PONG".to_vec()))
    });
    assert!(again, "nobody is let in after a client has left");
}

#[test]
fn idle_clients_are_closed_after_the_timeout() {
    let server = Server::start(Options::codis(1));
    let mut idle = server.client();
    assert_eq!(idle.run("CONFIG SET timeout 1"), ok());
    assert_eq!(idle.read_to_end(), b"");
}

#[test]
fn sigterm_ends_the_server_well() {
    for threads in [1, 4] {
        let mut server = Server::start(Options::codis(threads));
        let mut client = server.client();
        assert_eq!(client.run("SET key value"), ok());
        let status = server.terminate(PATIENCE);
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", server.log());
        assert_eq!(client.read_to_end(), b"");
    }
}

#[test]
fn shutdown_ends_the_server_well() {
    let mut server = Server::start(Options::codis(1));
    let mut client = server.client();
    client.send(b"SHUTDOWN NOSAVE\r\n").expect("a small request fits");
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(server.wait(PATIENCE).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = Server::start(Options::codis(1));
    let port = server.addr().port().to_string();
    let output = output(&["--port", &port, "--bind", "127.0.0.1"]);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("already in use"), "{text}");
}

#[test]
fn in_the_background_it_writes_its_pid_and_removes_it_at_the_end() {
    let dir = tempfile::TempDir::new().expect("a directory can be made");
    let (pidfile, log) = (dir.path().join("server.pid"), dir.path().join("log"));
    // A free port could be somebody else's by the time that it is bound.
    let socket = dir.path().join("socket");
    let text = format!(
        "daemonize yes\nport 0\nunixsocket {}\ndir {}\npidfile {}\nlogfile {}\nsave \"\"\n",
        socket.display(),
        dir.path().display(),
        pidfile.display(),
        log.display()
    );
    let config = dir.path().join("redis.conf");
    fs::write(&config, text).expect("a file can be written");
    let started = output(&[&config.display().to_string()]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let pid = || fs::read_to_string(&pidfile).ok()?.trim().parse::<u32>().ok();
    assert!(wait_until(PATIENCE, || pid().is_some()), "no pid file");
    let pid = pid().expect("the file was there a moment ago");
    let _daemon = Daemon(pid);
    let answers = || Client::connect_unix(&socket).and_then(|mut client| client.try_call(&["PING"])).is_ok();
    assert!(wait_until(PATIENCE, answers), "{}", fs::read_to_string(&log).unwrap_or_default());
    kill_process(Pid::from_raw(pid as i32).expect("a pid is no 0"), Signal::TERM).expect("the daemon is there");
    assert!(wait_until(PATIENCE, || !alive(pid)), "the daemon does not end");
    assert!(!pidfile.exists(), "the pid file is still there");
}

/// A process that is not our child: killed at the end all the same.
struct Daemon(u32);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.0 as i32) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn a_rewritten_file_keeps_what_was_set() {
    let server = Server::start(Options::codis(1).config("# mine\nmaxclients 100\ntimeout 5\n"));
    let mut client = server.client();
    for (name, value) in [("timeout", "600"), ("maxmemory", "104857600"), ("requirepass", "two words")] {
        assert_eq!(client.call(&["CONFIG", "SET", name, value]), ok(), "{name}");
    }
    client.call(&["AUTH", "two words"]);
    assert_eq!(client.run("CONFIG REWRITE"), ok());
    let text = fs::read_to_string(server.dir().join("server.conf")).expect("the file is there");
    assert!(text.starts_with("# mine\n"), "comments are kept: {text}");
    let server = server.restart(&[]);
    let mut client = server.client();
    assert_eq!(client.run("PING"), error("NOAUTH Authentication required."));
    assert_eq!(client.call(&["AUTH", "two words"]), ok());
    assert_eq!(setting(&mut client, "timeout"), "600");
    assert_eq!(setting(&mut client, "maxmemory"), "104857600");
    assert_eq!(setting(&mut client, "maxclients"), "100");
}

#[test]
fn a_crash_is_reported_with_the_command_that_ran() {
    for (words, cause) in [("DEBUG SEGFAULT", "crashed by signal: 11"), ("DEBUG ASSERT", "failed assertion")] {
        let server = Server::start(Options::codis(2));
        let mut client = server.client();
        client.send(format!("{words}\r\n").as_bytes()).expect("sent");
        assert!(client.is_ended(), "{words} is answered");
        wait_until(PATIENCE, || server.log().contains("BUG REPORT END"));
        let log = server.log();
        for part in ["=== REDIS BUG REPORT START", cause, "in debugCommand", "STACK TRACE", "=== REDIS BUG REPORT END"]
        {
            assert!(log.contains(part), "no {part} in:\n{log}");
        }
    }
}

#[test]
fn the_watchdog_names_the_command_that_takes_long() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    assert_eq!(client.run("CONFIG SET watchdog-period 200"), ok());
    // A watchdog that is late sees another one.
    let seen = wait_until(PATIENCE, || {
        client.run("DEBUG SLEEP 0.9");
        server.log().contains("--------")
    });
    let log = server.log();
    assert!(seen, "{log}");
    assert!(log.contains("WATCHDOG TIMER EXPIRED") && log.contains("in debugCommand"), "{log}");
    assert_eq!(client.run("CONFIG SET watchdog-period 0"), ok());
}

#[test]
fn who_came_while_descriptors_were_short_is_served_when_they_are_not() {
    let limit = |server: &Server, files: &str| {
        let pid = server.pid().to_string();
        let status =
            std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        assert!(status.expect("prlimit (package util-linux) runs").success());
    };
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        limit(&server, "1");
        let mut client = server.client();
        client.send(b"PING\r\n").expect("the socket takes it");
        assert!(wait_until(PATIENCE, || server.log().contains("Accepting client connection: accept: Too many open")));
        limit(&server, "4096");
        // Nobody else comes, whose connection would tell of this one too.
        assert_eq!(client.read(), Reply::Simple(b"PONG".to_vec()));
    }
}

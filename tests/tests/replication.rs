//! Replication between whole programs: ours and real Redis 7.0, in both directions, over links that break.

use resp::Reply;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use tests::replicas::{Load, assert_same, follow, info, number, serve_sync, wait_for_link, wait_for_stream};
use tests::{Options, Relay, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A load on `primary` while the link of `replica` through `relay` breaks again and again.
fn break_links_under_load(primary: &Server, relay: &Relay, cuts: usize) {
    let load = Load::start(primary.addr(), 4);
    for _ in 0..cuts {
        thread::sleep(Duration::from_millis(700));
        relay.cut();
    }
    thread::sleep(Duration::from_millis(300));
    load.stop();
}

fn a_pair_survives(primary: Options, replica: Options) -> (Server, Server) {
    let primary = Server::start(primary);
    let replica = Server::start(replica);
    let relay = Relay::to(primary.addr());
    follow(&replica, relay.addr());
    wait_for_link(&replica);
    break_links_under_load(&primary, &relay, 6);
    assert_same(&primary, &replica);
    assert!(number(&mut primary.client(), "sync_partial_ok") > 0, "no partial sync");
    drop(relay);
    (primary, replica)
}

fn backlog(options: Options) -> Options {
    options.set("repl-backlog-size", "64mb")
}

#[test]
fn ours_follows_ours_over_a_link_that_breaks() {
    for threads in [1, 4] {
        let (primary, replica) = a_pair_survives(backlog(Options::codis(threads)), Options::codis(threads));
        assert_eq!(primary.client().run("DEBUG DIGEST"), replica.client().run("DEBUG DIGEST"));
        assert!(!replica.log().contains("so the data differ"), "{}", replica.log());
    }
}

#[test]
fn ours_follows_redis_7_over_a_link_that_breaks() {
    for threads in [1, 4] {
        a_pair_survives(backlog(Options::redis()), Options::codis(threads));
    }
}

#[test]
fn redis_7_follows_ours_over_a_link_that_breaks() {
    for threads in [1, 4] {
        a_pair_survives(backlog(Options::codis(threads)), Options::redis());
    }
}

#[test]
fn a_replica_of_a_replica_and_a_promoted_one_go_on_without_a_full_sync() {
    let [first, second, third] = [(); 3].map(|()| Server::start(backlog(Options::codis(2))));
    follow(&second, first.addr());
    wait_for_link(&second);
    follow(&third, second.addr());
    wait_for_link(&third);
    let load = Load::start(first.addr(), 2);
    thread::sleep(Duration::from_millis(500));
    load.stop();
    assert_same(&first, &second);
    assert_same(&second, &third);
    let full_before = number(&mut second.client(), "sync_full");

    // The middle one takes over; the others follow it.
    assert_eq!(second.client().run("SLAVEOF NO ONE"), Reply::Simple(b"OK".to_vec()));
    second.client().run("SET after promotion");
    follow(&first, second.addr());
    assert_same(&second, &first);
    assert_same(&second, &third);
    assert_eq!(number(&mut second.client(), "sync_full"), full_before, "{}", second.log());
}

#[test]
fn a_replica_that_stops_reading_is_dropped_at_the_limit_and_comes_back() {
    let limit = ["slave", "4mb", "0", "0"];
    let options = Options::codis(1).set_words("client-output-buffer-limit", &limit).set("repl-timeout", "5");
    let primary = Server::start(options);
    let replica = Server::start(Options::codis(1).set("repl-timeout", "5"));
    let relay = Relay::to(primary.addr());
    follow(&replica, relay.addr());
    wait_for_link(&replica);
    relay.stall(true);
    let before = primary.resident_bytes();
    let mut client = primary.client();
    let value = "x".repeat(64 * 1024);
    for _ in 0..2000 {
        client.call(&["SET", "big", &value]);
    }
    let dropped = wait_until(PATIENCE, || number(&mut client, "connected_slaves") == 0);
    assert!(dropped, "the replica is still there");
    let grown = primary.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "128 MB were written, and memory has grown by {grown} bytes");
    relay.stall(false);
    assert!(wait_until(PATIENCE, || number(&mut client, "connected_slaves") == 1), "it does not come back");
    assert_same(&primary, &replica);
}

#[test]
fn wait_counts_replicas_that_have_the_clients_writes() {
    let primary = Server::start(Options::codis(2));
    let replicas = [(); 2].map(|()| Server::start(Options::codis(1)));
    for replica in &replicas {
        follow(replica, primary.addr());
        wait_for_link(replica);
    }
    let mut client = primary.client();
    client.run("SET a 1");
    assert_eq!(client.run("WAIT 2 60000"), Reply::Int(2));
    assert_eq!(replicas[0].client().run("GET a"), Reply::bulk("1"));
    client.run("SET a 2");
    assert_eq!(client.run("WAIT 2 60000"), Reply::Int(2));
    assert_eq!(client.run("WAIT 3 100"), Reply::Int(2));
    assert_eq!(client.run("WAIT 0 0"), Reply::Int(2));
    assert_eq!(client.run("WAIT 1 -1"), Reply::Error(b"ERR timeout is negative".to_vec()));
    client.run("MULTI");
    client.run("WAIT 9 0");
    assert_eq!(client.run("EXEC"), Reply::Array(Some(vec![Reply::Int(2)])));
}

#[test]
fn a_replica_refuses_writes_and_without_its_primary_old_data_if_told_so() {
    let primary = Server::start(Options::codis(1));
    let replica = Server::start(Options::codis(4).set("slave-serve-stale-data", "no"));
    primary.client().run("SET k v");
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let mut client = replica.client();
    assert_eq!(client.run("GET k"), Reply::bulk("v"));
    let refused = |reply: Reply, code: &str| matches!(reply, Reply::Error(text) if text.starts_with(code.as_bytes()));
    assert!(refused(client.run("SET k w"), "READONLY"));
    client.run("CONFIG SET slave-read-only no");
    assert_eq!(client.run("SET own 1"), Reply::Simple(b"OK".to_vec()));
    drop(primary);
    assert!(wait_until(PATIENCE, || refused(client.run("GET k"), "MASTERDOWN")));
    assert!(matches!(client.run("INFO"), Reply::Bulk(Some(_))));
    client.run("SLAVEOF NO ONE");
    assert_eq!(client.run("GET k"), Reply::bulk("v"));
    assert_eq!(client.run("SET k w"), Reply::Simple(b"OK".to_vec()));
}

#[test]
fn a_key_past_its_expiry_is_hidden_on_a_replica_until_the_primary_deletes_it() {
    let primary = Server::start(Options::codis(1));
    let replica = Server::start(Options::codis(1));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let (mut client, mut other) = (primary.client(), replica.client());
    client.run("DEBUG SET-ACTIVE-EXPIRE 0");
    client.run("SET k v PX 50");
    assert_eq!(client.run("WAIT 1 60000"), Reply::Int(1));
    assert!(wait_until(PATIENCE, || other.run("GET k") == Reply::Bulk(None)));
    assert_eq!(other.run("DBSIZE"), Reply::Int(1));
    assert_eq!(client.run("GET k"), Reply::Bulk(None));
    assert!(wait_until(PATIENCE, || other.run("DBSIZE") == Reply::Int(0)));
}

#[test]
fn a_password_and_a_restart_with_the_file_that_config_rewrite_wrote() {
    let primary = Server::start(Options::codis(1).set("requirepass", "secret word"));
    let mut client = primary.client();
    client.call(&["AUTH", "secret word"]);
    client.run("SET k v");
    let text = format!("slaveof 127.0.0.1 {}\nmasterauth \"secret word\"\n", primary.addr().port());
    let replica = Server::start(Options::codis(1).config(&text));
    wait_for_link(&replica);
    assert_eq!(replica.client().run("GET k"), Reply::bulk("v"));
    assert_eq!(replica.client().run("CONFIG REWRITE"), Reply::Simple(b"OK".to_vec()));
    let replica = replica.restart(&[]);
    wait_for_link(&replica);
    assert_eq!(replica.client().run("GET k"), Reply::bulk("v"));
}

#[test]
fn a_stream_that_goes_on_after_a_break_goes_on_in_its_database() {
    // Real Redis does not repeat the SELECT after the break.
    let redis = || Options::redis().set("repl-diskless-sync-delay", "0");
    for (primary, threads) in [(redis(), 1), (redis(), 4), (Options::codis(4), 4)] {
        let (primary, replica) = (Server::start(backlog(primary)), Server::start(Options::codis(threads)));
        let relay = Relay::to(primary.addr());
        follow(&replica, relay.addr());
        wait_for_link(&replica);
        let mut writer = primary.client();
        writer.run("SELECT 2");
        writer.run("SET before 1");
        wait_for_stream(&primary, &replica);
        relay.cut();
        writer.run("SET after 1");
        wait_for_stream(&primary, &replica);
        assert_eq!(number(&mut primary.client(), "sync_partial_ok"), 1, "no partial sync");
        let mut reader = replica.client();
        assert_eq!(reader.run("EXISTS after"), Reply::Int(0));
        reader.run("SELECT 2");
        assert_eq!(reader.run("EXISTS before after"), Reply::Int(2));
    }
}

/// With a file and a backlog, so that a restart finds both.
fn durable(threads: usize) -> Options {
    backlog(Options::codis(threads)).set_words("save", &["900", "1"]).set("repl-timeout", "5")
}

#[test]
fn a_restart_of_either_end_costs_no_full_sync() {
    for threads in [1, 4] {
        let primary = Server::start(durable(threads));
        let text = format!("slaveof 127.0.0.1 {}\n", primary.addr().port());
        let replica = Server::start(durable(threads).config(&text));
        wait_for_link(&replica);
        let mut client = primary.client();
        client.run("SELECT 1");
        client.run("SET before 1");
        client.run("SET dying 1 PX 1");
        wait_for_stream(&primary, &replica);

        // The replica missed something meanwhile.
        let ended = replica.end();
        client.run("SET missed 1");
        let replica = ended.start_again();
        wait_for_stream(&primary, &replica);
        assert_eq!(number(&mut client, "sync_full"), 1, "{}", primary.log());
        assert_same(&primary, &replica);

        // The primary writes on after its restart.
        let primary = primary.end().start_again();
        wait_for_link(&replica);
        let mut client = primary.client();
        client.run("SELECT 1");
        client.run("SET after 1");
        wait_for_stream(&primary, &replica);
        assert_eq!(number(&mut client, "sync_full"), 0, "{}", primary.log());
        assert_eq!(number(&mut client, "sync_partial_ok"), 1);
        assert_same(&primary, &replica);
        let digests = [&primary, &replica].map(|server| server.client().run("DEBUG DIGEST"));
        assert_eq!(digests[0], digests[1]);
    }
}

#[test]
fn a_primary_that_was_restarted_follows_its_successor_without_a_full_sync() {
    let first = Server::start(durable(2));
    let second = Server::start(durable(2));
    follow(&second, first.addr());
    wait_for_link(&second);
    first.client().run("SET k v");
    wait_for_stream(&first, &second);
    let ended = first.end();
    second.client().run("SLAVEOF NO ONE");
    second.client().run("SET k w");
    let first = ended.start_again();
    follow(&first, second.addr());
    wait_for_stream(&second, &first);
    assert_eq!(number(&mut second.client(), "sync_full"), 0, "{}", second.log());
    assert_same(&second, &first);
}

#[test]
fn what_a_primary_wrote_after_its_file_is_not_taken_for_the_old_stream() {
    let primary = Server::start(durable(1));
    let replica = Server::start(durable(1));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    primary.client().run("SET k 1");
    assert_eq!(primary.client().run("SAVE"), Reply::Simple(b"OK".to_vec()));
    primary.client().run("SET lost 1");
    wait_for_stream(&primary, &replica);
    let primary = primary.crash().start_again();
    wait_for_stream(&primary, &replica);
    assert_eq!(number(&mut primary.client(), "sync_full"), 1, "{}", primary.log());
    assert_same(&primary, &replica);
    assert_eq!(replica.client().run("EXISTS k lost"), Reply::Int(1));
}

#[test]
fn a_file_of_the_middle_of_a_transaction_is_of_no_offset() {
    for save in ["SAVE", "BGSAVE"] {
        let primary = Server::start(durable(1));
        let text = format!("slaveof 127.0.0.1 {}\n", primary.addr().port());
        let replica = Server::start(durable(1).config(&text));
        wait_for_link(&replica);
        let mut client = primary.client();
        client.run("SET a 1");
        wait_for_stream(&primary, &replica);
        let ended = replica.end();
        for line in ["MULTI", "INCR a", save, "EXEC"] {
            client.run(line);
        }
        assert!(wait_until(PATIENCE, || info(&mut client, "rdb_bgsave_in_progress").as_deref() == Some("0")));
        let primary = primary.crash().start_again();
        let replica = ended.start_again();
        wait_for_stream(&primary, &replica);
        assert_same(&primary, &replica);
        assert_eq!(replica.client().run("GET a"), Reply::Bulk(Some(b"2".to_vec())), "{save}");
    }
}

#[test]
fn redis_7_and_ours_start_from_each_others_files_where_they_left_off() {
    let primary = Server::start(backlog(Options::redis()).set("repl-diskless-sync-delay", "0"));
    let follower = Server::start(backlog(Options::redis()).set_words("save", &["900", "1"]));
    follow(&follower, primary.addr());
    wait_for_link(&follower);
    primary.client().run("SET k v");
    wait_for_stream(&primary, &follower);
    let ended = follower.end();
    primary.client().run("SET missed 1");
    let text = format!("slaveof 127.0.0.1 {}\n", primary.addr().port());
    let ours = ended.start_as(durable(4).config(&text));
    wait_for_stream(&primary, &ours);
    assert_same(&primary, &ours);
    let ended = ours.end();
    primary.client().run("SET missed 2");
    let theirs = ended.start_as(backlog(Options::redis()).config(&text));
    wait_for_stream(&primary, &theirs);
    assert_same(&primary, &theirs);
    assert_eq!(number(&mut primary.client(), "sync_full"), 1, "{}", primary.log());
}

#[test]
fn keys_that_a_transaction_or_a_script_finds_expired_go_in_their_own_database() {
    let (primary, replica) = (Server::start(Options::codis(1)), Server::start(Options::codis(1)));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let mut client = primary.client();
    client.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    let script = "redis.replicate_commands() redis.call('select', ARGV[1]) return redis.call('incr', 'k')";
    let plain = "redis.call('select', ARGV[1]) return redis.call('incr', 'k')";
    for (db, script) in [("4", None), ("5", Some(script)), ("6", Some(plain))] {
        client.call(&["SELECT", db]);
        client.call(&["SET", "k", "10", "PX", "1"]);
        client.call(&["SELECT", "0"]);
        thread::sleep(Duration::from_millis(5));
        match script {
            Some(script) => assert_eq!(client.call(&["EVAL", script, "0", db]), Reply::Int(1)),
            None => {
                for words in [&["MULTI"][..], &["SELECT", db], &["INCR", "k"], &["EXEC"]] {
                    client.call(words);
                }
                client.call(&["SELECT", "0"]);
            }
        }
        client.call(&["SET", "last", db]);
    }
    wait_for_stream(&primary, &replica);
    assert_same(&primary, &replica);
}

#[test]
fn a_key_that_a_transaction_of_reads_finds_ended_is_gone_everywhere() {
    for threads in [1, 4] {
        let options = || Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always");
        let (primary, replica) = (Server::start(options()), Server::start(Options::codis(1)));
        follow(&replica, primary.addr());
        wait_for_link(&replica);
        let mut client = primary.client();
        client.run("DEBUG SET-ACTIVE-EXPIRE 0");
        client.run("SET k text PX 1");
        client.run("RPUSH l a");
        client.run("PEXPIRE l 1");
        thread::sleep(Duration::from_millis(20));
        for line in ["MULTI", "GET k", "TTL l", "EXEC"] {
            client.run(line);
        }
        assert_eq!(client.run("RPUSH l b"), Reply::Int(1));
        assert_eq!(client.run("INCR k"), Reply::Int(1));
        wait_for_stream(&primary, &replica);
        assert_same(&primary, &replica);
        let before = client.run("DEBUG DIGEST");
        let primary = primary.end().start_again();
        assert_eq!(primary.client().run("DEBUG DIGEST"), before);
    }
}

#[test]
fn old_data_go_first_only_where_old_and_new_do_not_fit() {
    let primaries = [(); 2].map(|()| Server::start(Options::codis(1)));
    let value = "x".repeat(1 << 20);
    for primary in &primaries {
        let mut client = primary.client();
        (0..12).for_each(|n| drop(client.call(&["SET", &format!("big:{n}"), &value])));
    }
    for (maxmemory, goes_first) in [("0", false), ("200mb", false), ("20mb", true)] {
        let replica = Server::start(Options::codis(4).set("maxmemory", maxmemory));
        for primary in &primaries {
            follow(&replica, primary.addr());
            assert_same(primary, &replica);
        }
        assert_eq!(replica.log().contains("Flushing old data first"), goes_first, "{}", replica.log());
    }
}

#[test]
fn a_request_of_more_than_a_mebibyte_comes_through_the_stream() {
    for threads in [1, 4] {
        let (primary, replica) = (Server::start(Options::codis(threads)), Server::start(Options::codis(threads)));
        follow(&replica, primary.addr());
        wait_for_link(&replica);
        primary.client().call(&["SET", "big", &"x".repeat(3 << 20)]);
        primary.client().run("SET behind it");
        wait_for_stream(&primary, &replica);
        assert_eq!(replica.client().run("STRLEN big"), Reply::Int(3 << 20));
        assert_eq!(number(&mut primary.client(), "sync_full"), 1, "{}", primary.log());
        assert_eq!(number(&mut primary.client(), "sync_partial_ok"), 0, "{}", primary.log());
    }
}

#[test]
fn what_came_behind_an_image_that_cannot_be_loaded_is_not_applied_later() {
    const INCR: &[u8] = b"*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let replica = Server::start(Options::codis(1));
    follow(&replica, listener.local_addr().expect("an address"));
    let sync = |image: &[u8]| {
        let mut answer = format!("+FULLRESYNC {} 100\r\n${}\r\n", "a".repeat(40), image.len()).into_bytes();
        answer.extend_from_slice(image);
        answer.extend_from_slice(INCR);
        serve_sync(&listener, &answer)
    };
    let _first = sync(b"REDIS0007\x77garbage");
    let _second = sync(b"REDIS0007\xff\0\0\0\0\0\0\0\0");
    let mut client = replica.client();
    let end = 100 + INCR.len() as u64;
    assert!(wait_until(PATIENCE, || number(&mut client, "slave_repl_offset") >= end), "{}", replica.log());
    assert_eq!(client.run("GET x"), Reply::bulk("1"));
    assert_eq!(number(&mut client, "slave_repl_offset"), end);
}

#[test]
fn an_empty_line_of_a_replica_is_a_sign_of_life() {
    let primary = Server::start(Options::codis(1));
    let mut replica = primary.client();
    replica.send(b"PSYNC ? -1\r\n").expect("the primary listens");
    let mut client = primary.client();
    let mut lags = |wanted: bool| {
        wait_until(PATIENCE, || {
            if !wanted {
                replica.send(b"\n").expect("the primary listens");
            }
            let line = info(&mut client, "slave0").unwrap_or_default();
            line.contains("state=online") && line.ends_with("lag=0") != wanted
        })
    };
    assert!(lags(true), "a silent replica does not lag");
    assert!(lags(false), "an empty line is no sign of life");
}

#[test]
fn a_demotion_as_sentinel_does_it_costs_no_full_sync() {
    for threads in [1, 4] {
        let [first, second] = [(); 2].map(|()| {
            Server::start(backlog(Options::codis(threads)).set("repl-ping-slave-period", "3600").config("# Ours.\n"))
        });
        follow(&second, first.addr());
        first.client().run("SET k v");
        wait_for_stream(&first, &second);
        let in_transaction = |server: &Server, command: &str| {
            let mut client = server.client();
            for line in ["MULTI", command, "CONFIG REWRITE"] {
                client.run(line);
            }
            let ok = || Reply::Simple(b"OK".to_vec());
            assert_eq!(client.run("EXEC"), Reply::Array(Some(vec![ok(), ok()])));
        };
        let before = number(&mut first.client(), "master_repl_offset");
        in_transaction(&second, "SLAVEOF NO ONE");
        in_transaction(&first, &format!("SLAVEOF {} {}", second.addr().ip(), second.addr().port()));
        wait_for_link(&first);
        assert_eq!(number(&mut second.client(), "sync_full"), 0, "{}", second.log());
        assert_eq!(number(&mut second.client(), "sync_partial_ok"), 1, "{}", second.log());
        for server in [&first, &second] {
            assert_eq!(number(&mut server.client(), "master_repl_offset"), before);
        }
        second.client().run("SET k w");
        assert_same(&second, &first);
    }
}

#[test]
fn what_a_demoting_transaction_wrote_before_is_not_kept() {
    let [first, second] = [(); 2].map(|()| Server::start(backlog(Options::codis(2))));
    follow(&second, first.addr());
    first.client().run("SET k v");
    wait_for_stream(&first, &second);
    second.client().run("SLAVEOF NO ONE");
    let mut client = first.client();
    for line in ["MULTI", "SET only here", &format!("SLAVEOF {} {}", second.addr().ip(), second.addr().port())] {
        client.run(line);
    }
    client.run("EXEC");
    assert_same(&second, &first);
    assert_eq!(client.run("EXISTS only"), Reply::Int(0));
}

#[test]
fn an_old_replica_cut_off_before_the_log_begins_gets_no_partial_sync() {
    const SELECT_BYTES: u64 = b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n".len() as u64;
    let quiet = || backlog(Options::codis(1)).set("repl-ping-slave-period", "3600");
    let (primary, middle) = (Server::start(quiet()), Server::start(quiet()));
    follow(&middle, primary.addr());
    wait_for_link(&middle);
    let mut writer = primary.client();
    writer.run("SELECT 3");
    writer.run("SET k v");
    wait_for_stream(&primary, &middle);
    let ask = |what: &str| {
        let mut client = middle.client().as_link();
        let Reply::Simple(line) = client.run(&format!("PSYNC {what}")) else { panic!("no answer to PSYNC") };
        let words = String::from_utf8_lossy(&line).into_owned();
        (client, words)
    };
    let (_first, line) = ask("? -1");
    let words: Vec<&str> = line.split(' ').collect();
    let (id, offset) = (words[1], words[2].parse::<u64>().expect("an offset"));
    let after = |bytes: u64| ask(&format!("{id} {}", offset + bytes + 1));
    assert!(after(0).1.starts_with("FULLRESYNC"));
    assert!(after(SELECT_BYTES - 1).1.starts_with("FULLRESYNC"));
    assert_eq!(after(SELECT_BYTES).1, "CONTINUE");
}

/// Asks to go on from the byte with this number, counted from 1; the bytes up to `end` if that is possible.
fn go_on(server: &Server, id: &str, from: u64, end: u64) -> Option<Vec<u8>> {
    let mut link = BufReader::new(TcpStream::connect(server.addr()).expect("a server listens"));
    link.get_mut().write_all(format!("PSYNC {id} {from}\r\n").as_bytes()).expect("sent");
    let mut line = String::from("\n");
    // Empty ones only say that it is still there.
    while line == "\n" {
        line.clear();
        link.read_line(&mut line).expect("answered");
    }
    if line.starts_with("+FULLRESYNC") {
        return None;
    }
    assert_eq!(line, "+CONTINUE\r\n");
    let mut bytes = vec![0; usize::try_from(end + 1 - from).expect("not too many")];
    link.read_exact(&mut bytes).expect("the backlog");
    Some(bytes)
}

#[test]
fn a_partial_sync_may_begin_at_either_end_of_the_backlog_and_no_byte_beyond() {
    // From within the log's first segment, and with some of them gone.
    for megabytes in [0, 5] {
        let quiet = Options::codis(4).set("repl-ping-slave-period", "3600").set("repl-backlog-size", "16kb");
        let primary = Server::start(quiet);
        let mut client = primary.client();
        // Whoever asks makes a backlog begin.
        assert_eq!(go_on(&primary, "?", 0, 0), None);
        let id = info(&mut client, "master_replid").expect("an id");
        let mut whole = Vec::new();
        for n in 0..200 {
            client.run(&format!("SET k{n} {}", "v".repeat(100 + n)));
        }
        for _ in 0..megabytes {
            client.run(&format!("SET big {}", "v".repeat(1 << 20)));
        }
        for n in 0..200 {
            client.run(&format!("SET k{n} {}", "w".repeat(100 + n)));
            tests::encode(&["SET", &format!("k{n}"), &"w".repeat(100 + n)], &mut whole);
        }
        let field = |name| number(&mut primary.client(), name);
        let (first, end) = (field("repl_backlog_first_byte_offset"), field("master_repl_offset"));
        let kept = field("repl_backlog_histlen");
        assert_eq!((first + kept, kept), (end + 1, 16 << 10));
        let expected = &whole[whole.len() - kept as usize..];
        assert!(go_on(&primary, &id, first, end).is_some_and(|bytes| bytes == expected), "{megabytes}");
        assert_eq!(go_on(&primary, &id, end, end).as_deref(), Some(&b"\n"[..]), "{megabytes}");
        assert_eq!(go_on(&primary, &id, end + 1, end).as_deref(), Some(&b""[..]), "{megabytes}");
        assert_eq!(go_on(&primary, &id, first - 1, end), None, "{megabytes}");
        assert_eq!(go_on(&primary, &id, end + 2, end), None, "{megabytes}");
    }
}

#[test]
fn a_primary_is_told_where_its_replica_is_and_may_ask_how_far() {
    let (listener, far) = (TcpListener::bind("127.0.0.1:0").expect("a port"), Server::start(Options::codis(1)));
    let config =
        |port: u16| format!("slaveof 127.0.0.1 {port}\nslave-announce-ip 10.1.2.3\nslave-announce-port 4321\n");
    let replica = Server::start(Options::codis(1).config(&config(far.addr().port())));
    wait_for_link(&replica);
    let mut client = far.client();
    assert!(info(&mut client, "slave0").is_some_and(|line| line.starts_with("ip=10.1.2.3,port=4321,state=online")));
    let Reply::Array(Some(role)) = client.run("ROLE") else { panic!("no array") };
    let Some(Reply::Array(Some(replicas))) = role.get(2) else { panic!("{role:?}") };
    let Some(Reply::Array(Some(words))) = replicas.first() else { panic!("{role:?}") };
    assert_eq!(words[..2], [Reply::bulk("10.1.2.3"), Reply::bulk("4321")]);
    drop(replica);

    let image = b"REDIS0007\xff\0\0\0\0\0\0\0\0";
    let mut answer = format!("+FULLRESYNC {} 100\r\n${}\r\n", "a".repeat(40), image.len()).into_bytes();
    answer.extend_from_slice(image);
    let _replica = Server::start(Options::codis(1).config(&config(listener.local_addr().expect("bound").port())));
    let mut primary = serve_sync(&listener, &answer);
    let ask = "*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
    primary.send(ask.as_bytes()).expect("sent");
    // Unasked it says so about twice a second: too seldom for all of these.
    let began = Instant::now();
    let mut acked = 0;
    for asked in 1..=400 {
        primary.send(ask.as_bytes()).expect("sent");
        while acked < 100 + asked * ask.len() as u64 {
            assert!(began.elapsed() < PATIENCE, "{asked}");
            let Reply::Array(Some(words)) = primary.read() else { continue };
            assert_eq!(words[..2], [Reply::bulk("REPLCONF"), Reply::bulk("ACK")]);
            let Reply::Bulk(Some(offset)) = &words[2] else { panic!("{words:?}") };
            acked = String::from_utf8_lossy(offset).parse().expect("an offset");
        }
    }
}

#[test]
fn a_backlog_that_nobody_needs_any_more_ends_with_its_history() {
    let primary = Server::start(Options::codis(2).set("repl-backlog-ttl", "1"));
    let replica = Server::start(Options::codis(2));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let mut client = primary.client();
    client.run("SET k v");
    wait_for_stream(&primary, &replica);
    let id = info(&mut client, "master_replid");
    // As long as it follows nothing ends.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(number(&mut client, "repl_backlog_active"), 1);
    replica.client().run("SLAVEOF NO ONE");
    assert!(wait_until(PATIENCE, || number(&mut client, "repl_backlog_active") == 0), "{}", primary.log());
    assert_ne!(info(&mut client, "master_replid"), id);
    client.run("SET unlogged 1");
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    assert_eq!((number(&mut client, "sync_full"), number(&mut client, "sync_partial_ok")), (2, 0));
    assert_same(&primary, &replica);
}

#[test]
fn a_replica_publishes_the_events_of_what_its_primary_does() {
    for threads in [1, 4] {
        let options = || Options::codis(threads).set("notify-keyspace-events", "KEA");
        let (primary, replica) = (Server::start(options()), Server::start(options()));
        follow(&replica, primary.addr());
        wait_for_link(&replica);
        let mut listener = replica.client();
        listener.run("PSUBSCRIBE *");
        let mut client = primary.client();
        for line in ["SET a 1", "SELECT 1", "LPUSH l x y", "SELECT 0", "DEL a", "MULTI", "INCR n", "RPUSH l z"] {
            client.run(line);
        }
        client.run("EXEC");
        client.call(&["EVAL", "redis.call('set', KEYS[1], 1) redis.call('del', KEYS[1])", "1", "s"]);
        client.run("PSETEX e 1 v");
        assert!(wait_until(PATIENCE, || client.run("GET e") == Reply::Bulk(None)));
        client.run("PUBLISH end now");

        let mut heard = Vec::new();
        loop {
            let Reply::Array(Some(message)) = listener.read() else { panic!("no message") };
            let words: Vec<_> = message.iter().map(|word| format!("{word:?}")).collect();
            let text = |at: usize| match &message[at] {
                Reply::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                _ => panic!("{words:?}"),
            };
            match text(2).split_once(':') {
                Some((channel, topic)) => heard.push(format!("{} {topic} {}", &channel[5..], text(3))),
                None => break,
            }
        }
        let mut expected = Vec::new();
        for (db, event, key) in [
            (0, "set", "a"),
            (1, "lpush", "l"),
            (0, "del", "a"),
            (0, "incrby", "n"),
            (0, "rpush", "l"),
            (0, "set", "s"),
            (0, "del", "s"),
            (0, "set", "e"),
            (0, "expire", "e"),
            (0, "del", "e"),
        ] {
            expected.push(format!("space@{db}__ {key} {event}"));
            expected.push(format!("event@{db}__ {event} {key}"));
        }
        assert_eq!(heard, expected);
    }
}

#[test]
fn wait_counts_who_has_all_that_the_client_may_have_seen() {
    let (primary, replica) = (Server::start(Options::codis(2)), Server::start(Options::codis(1)));
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    let (mut writer, mut reader, mut popper) = (primary.client(), primary.client(), primary.client());
    writer.run("SET k 1");
    assert_eq!(writer.run("WAIT 1 0"), Reply::Int(1));
    popper.send(b"BLPOP q 0\r\n").expect("a live server");
    assert!(wait_until(PATIENCE, || info(&mut writer, "blocked_clients").as_deref() == Some("1")));
    replica.stand_still(true);
    writer.run("SET k 2");
    writer.run("RPUSH q element");
    assert_eq!(reader.run("GET k"), Reply::Bulk(Some(b"2".to_vec())));
    assert!(matches!(popper.read(), Reply::Array(Some(_))));
    // Neither has written itself.
    assert_eq!(reader.run("WAIT 1 100"), Reply::Int(0));
    assert_eq!(popper.run("WAIT 1 100"), Reply::Int(0));
    replica.stand_still(false);
    assert_eq!(reader.run("WAIT 1 0"), Reply::Int(1));
}

#[test]
fn a_transaction_that_was_begun_before_a_demotion_writes_nothing() {
    let [server, primary] = [(); 2].map(|()| Server::start(Options::codis(2)));
    let (mut client, mut reader, mut other) = (server.client(), server.client(), server.client());
    for (client, line) in [(&mut client, "SET k v"), (&mut reader, "PING")] {
        assert_eq!(client.run("MULTI"), Reply::Simple(b"OK".to_vec()));
        assert_eq!(client.run(line), Reply::Simple(b"QUEUED".to_vec()));
    }
    let addr = primary.addr();
    assert_eq!(other.run(&format!("SLAVEOF {} {}", addr.ip(), addr.port())), Reply::Simple(b"OK".to_vec()));
    let refused = "EXECABORT Transaction discarded because of: READONLY You can't write against a read only slave.";
    assert_eq!(client.run("EXEC"), Reply::Error(refused.into()));
    assert_eq!(client.run("EXEC"), Reply::Error(b"ERR EXEC without MULTI".to_vec()));
    assert_eq!(client.run("GET k"), Reply::Bulk(None));
    assert_eq!(reader.run("EXEC"), Reply::Array(Some(vec![Reply::Simple(b"PONG".to_vec())])));
}

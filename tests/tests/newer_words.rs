//! What a Redis 7.0 says to its replicas and 3.2 has no words for: it is done all the same where 3.2's types can hold it.

use resp::Reply;
use std::net::TcpListener;
use std::time::Duration;
use tests::replicas::{assert_same, follow, full_sync_of, info, number, serve_sync, wait_for_link};
use tests::{Client, Options, Server, contents, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing, and no checksum.
const IMAGE: &[u8] = b"REDIS0007\xff\0\0\0\0\0\0\0\0";

#[test]
fn a_replica_of_redis_7_does_what_3_2_has_no_words_for() {
    for threads in [1, 4] {
        let (primary, replica) = (
            Server::start(Options::redis().set("repl-diskless-sync-delay", "0")),
            Server::start(Options::codis(threads).set("appendonly", "yes").set("appendfsync", "always")),
        );
        follow(&replica, primary.addr());
        wait_for_link(&replica);
        // The file begins anew with the image; what comes now is behind that.
        assert!(wait_until(PATIENCE, || replica.client().is_idle()));
        let mut client = primary.client();
        for line in [
            "SET k v EX 1000",
            "SET k w KEEPTTL",
            "SET moment v PXAT 9999999999999",
            "SET got v GET",
            "SET kept v EX 1000",
            "GETEX kept PERSIST",
            "SET longer v",
            "GETEX longer EX 1000",
            "SET taken v",
            "GETDEL taken",
            "SET gone v",
            "UNLINK gone",
            "SET some v",
            "EXPIRE some 100 NX",
            "EXPIRE some 200 GT",
            "PEXPIREAT some 9999999999999 XX",
            "EXPIRE some 100 LT",
            "HSET h a 1 b 2 c 3",
            "RPUSH l a b c d e f g",
            "LPUSHX l 1 2",
            "RPUSHX l 1 2",
            "LPOP l 2",
            "RPOP l 1",
            "LMPOP 1 l LEFT COUNT 1",
            "LMOVE l m RIGHT LEFT",
            "BLMOVE l m RIGHT LEFT 0",
            "LMOVE l m LEFT LEFT",
            "LMOVE l m LEFT RIGHT",
            "LMOVE m l RIGHT RIGHT",
            "LMOVE l l LEFT RIGHT",
            "BLMOVE l m LEFT LEFT 0",
            "RPUSH last x",
            "LMOVE last m LEFT LEFT",
            "ZADD z 1 a 2 b 3 c 4 d 5 e 6 f",
            "ZPOPMIN z",
            "ZPOPMAX z 1",
            "ZMPOP 1 z MIN",
            "ZADD z GT 9 c 1 d 7 new",
            "ZADD z LT CH 1 d 90 e",
            "ZADD z XX GT INCR 1 c",
            "ZADD lex 0 a 0 b 0 c",
            "ZRANGESTORE by-rank z 0 2",
            "ZRANGESTORE by-score z 2 +inf BYSCORE LIMIT 1 2",
            "ZRANGESTORE from-end z +inf (2 BYSCORE REV LIMIT 0 2",
            "ZRANGESTORE by-member lex [b + BYLEX",
            "ZDIFFSTORE rest 2 z by-rank",
            "ZDIFFSTORE by-score 1 none",
            "ZRANGESTORE by-rank z 1 1",
            "GEOADD geo 13.361389 38.115556 p 15.087269 37.502669 c",
            "GEOSEARCHSTORE near geo FROMLONLAT 15 37 BYRADIUS 200 km ASC COUNT 1",
            "GEOSEARCHSTORE far geo FROMMEMBER p BYRADIUS 200 km STOREDIST",
            "COPY h copied",
            "COPY h copied",
            "COPY z copied REPLACE",
            "COPY k with-end",
            "COPY h h DB 2",
            "SADD s a b c d",
            "SPOP s 2",
            "INCRBYFLOAT f 1.5",
            "EVAL return(redis.call('SET','scripted','v','EX','1000')) 0",
            "MULTI",
            "UNLINK some",
            "COPY l copied REPLACE",
            "LMOVE l m LEFT LEFT",
            "INCR n",
            "EXEC",
        ] {
            let reply = client.run(line);
            assert!(!matches!(reply, Reply::Error(_)), "{line}: {reply:?}");
        }
        let Reply::Bulk(Some(payload)) = client.run("DUMP h") else { panic!("a payload") };
        for words in [
            &[&b"RESTORE"[..], b"forever", b"0", &payload][..],
            &[b"RESTORE", b"ends", b"5000000", &payload],
            &[b"RESTORE", b"ends", b"7000000", &payload, b"REPLACE"],
            &[b"RESTORE", b"at", b"9999999999999", &payload, b"ABSTTL", b"IDLETIME", b"5"],
            &[b"RESTORE", b"often", b"0", &payload, b"REPLACE", b"FREQ", b"5"],
        ] {
            assert_eq!(client.call(words), Reply::Simple(b"OK".to_vec()));
        }
        assert_same(&primary, &replica);
        let mut there = replica.client();
        for key in ["k", "with-end", "moment", "kept", "longer", "scripted", "forever", "ends", "at", "often"] {
            let [here, there] = [&mut client, &mut there].map(|client| match client.run(&format!("PTTL {key}")) {
                Reply::Int(left) => left,
                other => panic!("{key}: {other:?}"),
            });
            // They were asked one after the other.
            assert!(here < 0 && here == there || here > 0 && there > here - 60_000 && there <= here, "{key}: {there}");
        }
        assert!(!replica.log().contains("so the data differ"), "{}", replica.log());
        drop(there);
        // Its file has the same words.
        let again = replica.crash().start_again();
        assert_eq!(contents(&mut again.client(), 3), contents(&mut client, 3));
    }
}

#[test]
fn newer_words_are_not_for_clients() {
    let server = Server::start(Options::codis(1));
    let mut client = server.client();
    client.run("SET k v");
    let Reply::Bulk(Some(payload)) = client.run("DUMP k") else { panic!("a payload") };
    for line in ["COPY k l", "LMOVE k l LEFT LEFT", "ZRANGESTORE d z 0 1", "ZDIFFSTORE d 1 z"] {
        let refused = client.run(line);
        assert!(matches!(&refused, Reply::Error(text) if text.starts_with(b"ERR unknown command")), "{refused:?}");
    }
    let syntax = Reply::Error(b"ERR syntax error".to_vec());
    assert_eq!(client.call(&[b"RESTORE", &b"r"[..], b"77", &payload, b"ABSTTL"]), syntax);
    assert_eq!(client.call(&[b"RESTORE", &b"r"[..], b"0", &payload, b"REPLACE", b"FREQ", b"1"]), syntax);
    assert_eq!(client.run("ZADD z GT 1 a"), syntax);
    assert_eq!(client.run("ZADD z GT 1 a 2"), Reply::Error(b"ERR value is not a valid float".to_vec()));
}

fn made_up_primary(replica: &Server) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    follow(replica, listener.local_addr().expect("an address"));
    let answer = full_sync_of(IMAGE, 100);
    let primary = serve_sync(&listener, &answer);
    wait_for_link(replica);
    primary
}

#[test]
fn a_primary_does_not_become_the_replica_of_its_replica() {
    for request in ["*1\r\n$4\r\nSYNC\r\n", "*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n"] {
        let replica = Server::start(Options::codis(1));
        let mut primary = made_up_primary(&replica);
        let mut client = replica.client();
        primary.send(request.as_bytes()).expect("the replica listens");
        primary.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n").expect("the replica listens");
        assert!(wait_until(PATIENCE, || client.run("GET k") == Reply::bulk("v")), "{}", replica.log());
        assert_eq!(number(&mut client, "connected_slaves"), 0, "{}", replica.log());
        assert_eq!(info(&mut client, "master_link_status").as_deref(), Some("up"));
    }
}

#[test]
fn a_writable_replica_without_memory_refuses_its_own_writes_only() {
    for threads in [1, 4] {
        let replica = Server::start(Options::codis(threads).set("slave-read-only", "no"));
        let mut primary = made_up_primary(&replica);
        let mut client = replica.client();
        client.run("CONFIG SET maxmemory 1");
        let refused = Reply::Error(b"OOM command not allowed when used memory > 'maxmemory'.".to_vec());
        assert_eq!(client.run("SET own v"), refused);
        let by_script = client.run("EVAL return(redis.call('SET','own','v')) 0");
        assert!(
            matches!(&by_script, Reply::Error(text) if text.windows(3).any(|part| part == b"OOM")),
            "{by_script:?}"
        );
        primary.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n").expect("the replica listens");
        assert!(wait_until(PATIENCE, || client.run("GET k") == Reply::bulk("v")), "{}", replica.log());
        // Where nobody may write, that is what is said.
        client.run("CONFIG SET slave-read-only yes");
        let read_only = Reply::Error(b"READONLY You can't write against a read only slave.".to_vec());
        assert_eq!(client.run("SET own v"), read_only);
    }
}

#[test]
fn who_cannot_swap_databases_gets_all_keys_anew() {
    for (threads, swap) in [(1, "SWAPDB 0 1"), (4, "SWAPDB 1 0")] {
        let primary = Server::start(Options::redis().set("repl-diskless-sync-delay", "0"));
        let replica = Server::start(Options::codis(threads).set("appendonly", "yes"));
        let below = Server::start(Options::codis(1));
        let mut client = primary.client();
        client.run("SET k 0");
        follow(&replica, primary.addr());
        wait_for_link(&replica);
        follow(&below, replica.addr());
        wait_for_link(&below);
        for line in ["SET later 0", swap, "SET after 0", "SELECT 2", "SET two 2"] {
            assert_eq!(client.run(line), Reply::Simple(b"OK".to_vec()), "{line}");
        }
        assert_same(&primary, &replica);
        // In a transaction what stands before it must not be done twice.
        for line in ["SELECT 0", "MULTI", "INCR n", swap, "INCR n", "EXEC"] {
            client.run(line);
        }
        assert_same(&primary, &replica);
        assert_same(&primary, &below);
        assert_eq!(replica.log().matches("has swapped databases").count(), 2, "{}", replica.log());
        assert!(!replica.log().contains("so the data differ"), "{}", replica.log());
        let again = replica.crash().start_again();
        assert_eq!(contents(&mut again.client(), 3), contents(&mut client, 3));
    }
}

#[test]
fn an_image_that_no_attempt_can_load_is_asked_for_ever_more_seldom() {
    let primary = Server::start(Options::redis().set("repl-diskless-sync-delay", "0"));
    let replica = Server::start(Options::codis(1));
    replica.client().run("SET old v");
    primary.client().run("XADD s * a 1");
    follow(&replica, primary.addr());
    assert!(wait_until(PATIENCE, || replica.log().contains("asked for again in 4 seconds")), "{}", replica.log());
    let named = "the data contain a stream, which this server does not have";
    assert!(replica.log().contains(named), "{}", replica.log());
    let mut client = replica.client();
    assert_eq!((client.run("GET old"), client.run("DBSIZE")), (Reply::bulk("v"), Reply::Int(1)));
    // Once it is gone all is well, and who asks for it need not wait.
    primary.client().run("DEL s");
    primary.client().run("SET k v");
    client.run("SLAVEOF NO ONE");
    follow(&replica, primary.addr());
    wait_for_link(&replica);
    assert_same(&primary, &replica);
}

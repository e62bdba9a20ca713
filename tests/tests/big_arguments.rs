//! Arguments of megabytes: nobody waits for one to come and be stored, and none costs memory before it is there.

#![forbid(unsafe_code)]

use resp::Reply;
use std::time::Duration;
use tests::replicas::number;
use tests::{Client, Options, Random, Server, encode, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const MEGABYTE: usize = 1 << 20;
/// How often something is tried that must come in the middle of a command: whoever is to see it may be put aside.
const TRIES: usize = 50;

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    (0..bytes / 8).flat_map(|_| random.number().to_le_bytes()).collect()
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(words, &mut bytes);
    bytes
}

/// How many clients have sent so many bytes of a request that is not whole.
fn senders(watcher: &mut Client, bytes: usize) -> usize {
    let Reply::Bulk(Some(list)) = watcher.run("CLIENT LIST") else { panic!("a list") };
    String::from_utf8_lossy(&list).matches(&format!(" qbuf={bytes} ")).count()
}

#[test]
fn who_announces_a_long_argument_uses_no_memory_before_it_comes() {
    const SENDERS: usize = 8;
    const LIMIT: u64 = 64 << 20;
    let options = Options::codis(1).set("maxmemory", &LIMIT.to_string()).set("maxmemory-policy", "allkeys-lru");
    let server = Server::start(options);
    let mut client = server.client();
    client.run("SET key v");
    let resident = server.resident_bytes();
    let begin = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n".to_vec(), noise(MEGABYTE / 2)].concat();
    let mut announcers: Vec<Client> = (0..SENDERS).map(|_| server.client()).collect();
    announcers.iter_mut().for_each(|sender| sender.send(&begin).expect("sent"));
    assert!(wait_until(PATIENCE, || senders(&mut client, begin.len()) == SENDERS), "all of them are read");
    let used = number(&mut client, "used_memory");
    assert!((SENDERS * begin.len()..LIMIT as usize).contains(&(used as usize)), "{used} bytes are used");
    assert!(server.resident_bytes() < resident + LIMIT, "memory was given");
    // More comes, counts, and goes with who sent it.
    announcers[0].send(&noise(16 * MEGABYTE)).expect("sent");
    assert!(wait_until(PATIENCE, || senders(&mut client, begin.len() + 16 * MEGABYTE) == 1), "it is read");
    let more = number(&mut client, "used_memory");
    assert!((12 * MEGABYTE as u64..20 * MEGABYTE as u64).contains(&(more - used)), "{used}, then {more}");
    drop(announcers);
    let is_free = |client: &mut Client| number(client, "used_memory") < used - (SENDERS * begin.len() / 2) as u64;
    assert!(wait_until(PATIENCE, || is_free(&mut client)), "it is still used");
    assert_eq!(number(&mut client, "evicted_keys"), 0);
    assert_eq!(client.run("GET key"), Reply::Bulk(Some(b"v".to_vec())));
}

#[test]
fn others_are_served_while_a_long_text_is_stored_and_see_all_of_it_or_nothing() {
    let text = noise(16 * MEGABYTE);
    let server = Server::start(Options::codis(1));
    let mut other = server.client();
    let mut sender = server.client();
    let ok = Reply::Simple(b"OK".to_vec());
    for (words, reply) in [
        (&[b"SET", &b"k"[..], &text][..], ok.clone()),
        (&[b"SETNX", b"k", &text], Reply::Int(1)),
        (&[b"GETSET", b"k", &text], Reply::Bulk(None)),
        (&[b"SETEX", b"k", b"1000", &text], ok.clone()),
        (&[b"PSETEX", b"k", b"1000000", &text], ok.clone()),
        (&[b"MSET", b"first", b"v", b"k", &text], ok),
        (&[b"MSETNX", b"k", &text, b"second", b"v"], Reply::Int(1)),
    ] {
        let request = request(words);
        let (last, most) = request.split_last().expect("some bytes");
        let enough = (0..TRIES).any(|_| {
            other.run("DEL k second");
            sender.send(most).expect("sent");
            assert!(wait_until(PATIENCE, || senders(&mut other, most.len()) == 1), "it is read");
            sender.send(&[*last]).expect("sent");
            let mut served = 0;
            while other.run("STRLEN k") == Reply::Int(0) {
                served += 1;
            }
            assert_eq!(other.run("STRLEN k"), Reply::Int(text.len() as i64));
            assert_eq!(sender.read(), reply);
            served > 5
        });
        assert!(enough, "{}: nobody is served meanwhile", words[0].escape_ascii());
        assert!(other.run("GET k") == Reply::Bulk(Some(text.clone())), "{}", words[0].escape_ascii());
    }
    let v = Reply::Bulk(Some(b"v".to_vec()));
    assert_eq!(other.run("MGET first second"), Reply::Array(Some(vec![v.clone(), v])));
}

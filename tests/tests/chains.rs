//! Replicas of replicas: what one of ours in the middle must say to those below it.

use resp::Reply;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::thread;
use tests::replicas::{follow, full_sync_of, number, serve_sync, wait_for_link, wait_for_stream};
use tests::{Options, Server};

/// Asks for a full sync with this capability, and reads up to the end of the image; the connection, the offset and the image.
fn image(addr: SocketAddr, capability: &str) -> (BufReader<TcpStream>, u64, Vec<u8>) {
    let mut link = BufReader::new(TcpStream::connect(addr).expect("a server listens"));
    let mut line = String::new();
    link.get_mut().write_all(format!("REPLCONF capa {capability}\r\n").as_bytes()).expect("sent");
    link.read_line(&mut line).expect("answered");
    assert_eq!(line, "+OK\r\n");
    link.get_mut().write_all(b"PSYNC ? -1\r\n").expect("sent");
    let mut words = Vec::new();
    let length = loop {
        let mut line = String::new();
        link.read_line(&mut line).expect("answered");
        if let Some(length) = line.strip_prefix('$') {
            break length.trim().parse().expect("a length");
        }
        words.extend(line.split_whitespace().map(str::to_owned));
    };
    let mut image = vec![0; length];
    link.read_exact(&mut image).expect("an image");
    assert!(image.starts_with(b"REDIS"));
    (link, words[2].parse().expect("an offset"), image)
}

fn full_sync(addr: SocketAddr, capability: &str) -> (BufReader<TcpStream>, u64) {
    let (link, offset, _) = image(addr, capability);
    (link, offset)
}

/// The database that an image says the stream is in: behind its name, as a number of one byte or as text.
fn noted_db(image: &[u8]) -> u8 {
    const NAME: &[u8] = b"repl-stream-db";
    let at = image.windows(NAME.len()).position(|window| window == NAME).expect("noted");
    match image[at + NAME.len()..] {
        [0xc0, db, ..] => db,
        [1, digit, ..] => digit - b'0',
        [2, tens, ones, ..] => (tens - b'0') * 10 + ones - b'0',
        _ => panic!("an unknown form"),
    }
}

fn read(link: &mut BufReader<TcpStream>, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    link.read_exact(&mut bytes).expect("a stream");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

#[test]
fn a_replica_of_a_replica_goes_on_in_the_database_of_the_stream() {
    let (select, set) = ("*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n");
    for threads in [1, 4] {
        // No pings, so that offsets can be compared.
        let quiet = || Options::codis(threads).set("repl-ping-slave-period", "1000");
        let (primary, middle) = (Server::start(quiet()), Server::start(quiet()));
        follow(&middle, primary.addr());
        wait_for_link(&middle);
        let mut client = primary.client();
        client.run("SELECT 2");
        client.run("SET before 1");
        wait_for_stream(&primary, &middle);
        let end = number(&mut middle.client(), "master_repl_offset");
        // One that knows nothing of notes in images is told, and counts what it is told.
        let (mut old, at) = full_sync(middle.addr(), "eof-not");
        assert_eq!(at + select.len() as u64, end);
        let (mut new, at) = full_sync(middle.addr(), "psync2");
        assert_eq!(at, end);
        client.run("SET k 1");
        read(&mut old, select);
        read(&mut old, set);
        read(&mut new, set);
    }
}

#[test]
fn a_replica_of_a_replica_that_begins_anew_follows_into_the_database_of_the_stream() {
    let [primary, middle, last] = [(); 3].map(|()| Server::start(Options::codis(2)));
    follow(&middle, primary.addr());
    wait_for_link(&middle);
    let mut client = primary.client();
    client.run("SELECT 3");
    client.run("SET before 1");
    wait_for_stream(&primary, &middle);
    follow(&last, middle.addr());
    wait_for_link(&last);
    client.run("SET after 1");
    wait_for_stream(&primary, &last);
    let mut below = last.client();
    below.run("SELECT 3");
    assert_eq!(below.run("EXISTS before after"), Reply::Int(2));
}

/// The stream selects another database all the time, so nearly every moment for a cut is a bad one.
#[test]
fn the_database_that_an_image_notes_is_that_of_its_offset() {
    const ROUNDS: usize = 60;
    const IMAGE: &[u8] = b"REDIS0007\xff\0\0\0\0\0\0\0\0";
    // All of one length.
    const DATABASES: RangeInclusive<u8> = 10..=15;
    let select = |db: u8| format!("*2\r\n$6\r\nSELECT\r\n$2\r\n{db}\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let middle = Server::start(Options::codis(4).set_words("client-output-buffer-limit", &["slave", "0", "0", "0"]));
    follow(&middle, listener.local_addr().expect("an address"));
    let answer = full_sync_of(IMAGE, 100);
    let mut primary = serve_sync(&listener, &answer);
    wait_for_link(&middle);
    let all: String = DATABASES.map(select).collect();
    let flood = thread::spawn(move || {
        let all = all.repeat(50);
        // Until the server has gone.
        while primary.send(all.as_bytes()).is_ok() {}
    });
    for round in 0..ROUNDS {
        let (mut link, _, image) = image(middle.addr(), "psync2");
        // The first image may be of before the first of them.
        let next = Some(noted_db(&image) + 1).filter(|next| DATABASES.contains(next)).unwrap_or(*DATABASES.start());
        let mut bytes = vec![0; select(next).len()];
        link.read_exact(&mut bytes).expect("a stream");
        assert_eq!(String::from_utf8_lossy(&bytes), select(next), "round {round}");
    }
    drop(middle);
    flood.join().expect("no panic");
}

//! What no client should send: the sender gets its error or is cut off, memory stays bounded, and others notice nothing.

#![forbid(unsafe_code)]

use resp::Reply;
use std::time::Duration;
use tests::{Client, Options, Random, Server, encode, wait_until};

/// What a server may need beyond its start while it is abused.
const MEMORY_BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, a client that behaves, and what the server needed before.
struct Scene {
    server: Server,
    bystander: Client,
    resident: u64,
}

impl Scene {
    fn new(options: Options) -> Scene {
        let server = Server::start(options);
        let mut bystander = server.client();
        assert_eq!(bystander.run("SET bystander unharmed"), Reply::Simple(b"OK".to_vec()));
        let resident = server.resident_bytes();
        Scene { server, bystander, resident }
    }

    fn check(&mut self) {
        assert_eq!(self.bystander.run("GET bystander"), Reply::bulk("unharmed"));
        assert_eq!(self.server.client().run("PING"), Reply::Simple(b"PONG".to_vec()));
        let grown = self.server.resident_bytes().saturating_sub(self.resident);
        assert!(grown < MEMORY_BYTES, "the server has grown by {grown} bytes");
    }
}

fn both(check: impl Fn(&mut Scene)) {
    for threads in [1, 4] {
        let mut scene = Scene::new(Options::codis(threads));
        check(&mut scene);
        scene.check();
    }
}

#[test]
fn malformed_requests_get_the_protocol_error_and_are_cut_off() {
    let cases: &[(&[u8], &str)] = &[
        (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "ERR Protocol error: expected '$', got 'f'"),
        (b"*20000000\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*9223372036854775808\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*x\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$-10\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$x\r\n", "ERR Protocol error: invalid bulk length"),
        (b"set \"unbalanced\r\n", "ERR Protocol error: unbalanced quotes in request"),
    ];
    both(|scene| {
        for (request, text) in cases {
            let mut client = scene.server.client();
            client.send(request).expect("a small request fits");
            assert_eq!(client.read(), Reply::Error(text.as_bytes().to_vec()), "{}", request.escape_ascii());
            assert_eq!(client.read_to_end(), b"", "the connection is closed after {text}");
        }
    });
}

#[test]
fn empty_requests_are_passed_over() {
    both(|scene| {
        let mut client = scene.server.client();
        client.send(b"\r\n*0\r\n*-10\r\n\r\nPING\r\n").expect("a small request fits");
        assert_eq!(client.read(), Reply::Simple(b"PONG".to_vec()));
    });
}

#[test]
fn random_bytes_harm_nobody() {
    both(|scene| {
        let mut random = Random::new(7);
        for _ in 0..200 {
            let mut client = scene.server.client();
            let len = random.below(3000);
            let mut bytes: Vec<u8> = (0..len).map(|_| random.number() as u8).collect();
            if random.once_in(2) {
                bytes.splice(0..0, *b"*4\r\n$4\r\nMGET\r\n$900\r\n");
            }
            // The server may close in the middle.
            let _ = client.send(&bytes);
        }
        scene.check();
    });
}

#[test]
fn one_byte_at_a_time_is_a_request_like_any_other() {
    both(|scene| {
        let mut client = scene.server.client();
        let mut request = Vec::new();
        encode(&["SET", "slow", "value"], &mut request);
        encode(&["GET", "slow"], &mut request);
        request.extend_from_slice(b"PING\r\n");
        request.iter().for_each(|byte| client.send(&[*byte]).expect("the server goes on reading"));
        assert_eq!(client.read(), Reply::Simple(b"OK".to_vec()));
        assert_eq!(client.read(), Reply::bulk("value"));
        assert_eq!(client.read(), Reply::Simple(b"PONG".to_vec()));
    });
}

#[test]
fn announced_and_unsent_data_costs_no_memory() {
    both(|scene| {
        let mut idle = Vec::new();
        for _ in 0..20 {
            for header in ["*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc", "*1048576\r\n", "*1048576\r\n$1\r\na\r\n"]
            {
                let mut client = scene.server.client();
                client.send(header.as_bytes()).expect("a small request fits");
                idle.push(client);
            }
        }
        // Twice, so that all headers have been read by the second check.
        scene.check();
        std::thread::sleep(Duration::from_millis(200));
        scene.check();
    });
}

#[test]
fn a_line_without_end_is_cut_off() {
    both(|scene| {
        let mut client = scene.server.client();
        let _ = client.send(&vec![b'a'; 70 * 1024]);
        assert_eq!(client.read(), Reply::Error(b"ERR Protocol error: too big inline request".to_vec()));
    });
}

#[test]
fn a_client_that_never_reads_is_cut_off_at_its_limit() {
    for threads in ["1", "4"] {
        let limit = ["normal", "8388608", "0", "0"];
        let mut scene = Scene::new(
            Options::codis(1).set("server-threads", threads).set_words("client-output-buffer-limit", &limit),
        );
        let mut value = vec![b"SET".to_vec(), b"big".to_vec()];
        value.push(vec![b'x'; 1 << 20]);
        assert_eq!(scene.bystander.call(&value), Reply::Simple(b"OK".to_vec()));
        let mut greedy = scene.server.client();
        let mut request = Vec::new();
        (0..500).for_each(|_| encode(&["GET", "big"], &mut request));
        let _ = greedy.send(&request);
        let mut watcher = scene.server.client();
        let gone = wait_until(PATIENCE, || {
            let Reply::Bulk(Some(list)) = watcher.run("CLIENT LIST") else { panic!("CLIENT LIST replies text") };
            list.iter().filter(|byte| **byte == b'\n').count() == 2
        });
        assert!(gone, "a client with 500 MB of replies outstanding is still connected");
        scene.check();
    }
}

#[test]
fn disconnecting_in_the_middle_of_a_pipeline_harms_nobody() {
    both(|scene| {
        let mut request = Vec::new();
        (0..500).for_each(|number| encode(&["SET", &format!("key:{number}"), "value"], &mut request));
        let mut random = Random::new(11);
        for _ in 0..100 {
            let mut client = scene.server.client();
            let cut = 1 + random.below(request.len() - 1);
            client.send(&request[..cut]).expect("the server reads pipelines");
        }
        assert!(wait_until(PATIENCE, || {
            let reply = scene.bystander.run("CLIENT LIST");
            matches!(reply, Reply::Bulk(Some(list)) if list.iter().filter(|byte| **byte == b'\n').count() == 1)
        }));
    });
}

#[test]
fn a_client_that_stops_sending_gets_its_replies() {
    both(|scene| {
        let mut client = scene.server.client();
        client.send(b"PING\r\nPING\r\n").expect("a small request fits");
        client.shutdown_write().expect("a direction can be closed");
        assert_eq!(client.read_to_end(), b"+PONG\r\n+PONG\r\n");
    });
}

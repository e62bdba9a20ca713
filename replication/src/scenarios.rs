//! Both ends of a link in one thread, over a network that is cut at any byte and a clock that is wound.
//!
//! The model of a data set is the stream itself: a replica is right if it holds its primary's bytes up to its offset.

use crate::history::{History, ReplId};
use crate::link::{Action, Event, Introduction, Link, Phase, RETRY_MS};
use crate::psync::{Backlog, Decision, continue_line, decide, full_line};
use proptest::prelude::*;

const TIMEOUT_MS: i64 = 60_000;

fn id(letter: char) -> ReplId {
    ReplId::parse(letter.to_string().repeat(40).as_bytes()).expect("40 letters")
}

/// A server that can be either end: its whole stream since offset 0, and the part of it that it still keeps.
struct Node {
    history: History,
    stream: Vec<u8>,
    first: u64,
}

impl Node {
    fn new(letter: char) -> Node {
        Node { history: History::new(id(letter)), stream: Vec::new(), first: 0 }
    }

    fn end(&self) -> u64 {
        self.stream.len() as u64
    }

    fn write(&mut self, bytes: &[u8], keep: u64) {
        self.stream.extend_from_slice(bytes);
        self.first = self.first.max(self.end().saturating_sub(keep));
    }

    /// Answers one request of a handshake; the image is the stream itself.
    fn answer(&self, request: &[u8], full_syncs: &mut usize) -> Vec<u8> {
        let words: Vec<&[u8]> = request.split(|&b| b == b'\n').skip(2).step_by(2).collect();
        let word = |i: usize| words.get(i).map(|w| w.strip_suffix(b"\r").unwrap_or(w)).unwrap_or_default();
        match word(0) {
            b"PING" => b"+PONG\r\n".to_vec(),
            b"PSYNC" => {
                let backlog = Backlog { first: self.first, end: self.end() };
                match decide(&self.history, Some(backlog), word(1), word(2)) {
                    Decision::Partial { from } => {
                        let mut wire = continue_line(self.history.id, true).into_bytes();
                        wire.extend_from_slice(&self.stream[from as usize..]);
                        wire
                    }
                    Decision::Full | Decision::Refused(_) => {
                        *full_syncs += 1;
                        let mut wire = full_line(self.history.id, self.end()).into_bytes();
                        wire.extend_from_slice(format!("${}\r\n", self.stream.len()).as_bytes());
                        wire.extend_from_slice(&self.stream);
                        wire
                    }
                }
            }
            _ => b"+OK\r\n".to_vec(),
        }
    }
}

/// A replica: the machine, and what a server does for it.
struct Replica {
    node: Node,
    link: Link,
    image: Vec<u8>,
    resumable: bool,
}

impl Replica {
    fn new() -> Replica {
        Replica { node: Node::new('0'), link: Link::default(), image: Vec::new(), resumable: false }
    }

    /// Carries an event out. Returns what is to be sent, and whether a connection is wanted.
    fn step(&mut self, event: Event<'_>, now_ms: i64) -> (Vec<u8>, bool) {
        let bytes = if let Event::Bytes(bytes) = &event { bytes.to_vec() } else { Vec::new() };
        let (mut sent, mut connect, mut loaded) = (Vec::new(), false, false);
        for action in self.link.step(event, now_ms, TIMEOUT_MS) {
            match action {
                Action::Connect => connect = true,
                Action::Send(request) => sent.extend_from_slice(&request),
                Action::BeginImage => self.image.clear(),
                Action::Image(range) => self.image.extend_from_slice(&bytes[range]),
                Action::Load { cut, of } => {
                    self.image.truncate(self.image.len() - cut);
                    self.node.stream = std::mem::take(&mut self.image);
                    self.resumable = of.is_some();
                    if let Some((id, offset)) = of {
                        assert_eq!(offset, self.node.end());
                        self.node.history.renew(id);
                    }
                    loaded = true;
                }
                Action::Stream { from, id } => {
                    if let Some(id) = id {
                        let end = self.node.end();
                        self.node.history.branch(id, end);
                    }
                    self.node.stream.extend_from_slice(&bytes[from..]);
                }
                Action::Forget => self.resumable = false,
                Action::Close | Action::DropImage | Action::Suspend | Action::Log(..) => {}
            }
        }
        if loaded {
            self.step(Event::Loaded, now_ms);
        }
        (sent, connect)
    }

    fn intro(&self) -> Introduction {
        let resume = self.resumable.then(|| (self.node.history.id, self.node.end()));
        Introduction { port: 6379, resume, ..Introduction::default() }
    }
}

/// Lets `replica` connect and talk until it follows, or until `budget` bytes have come from the primary, when the
/// network breaks. Bytes arrive `step` at a time.
fn attempt(primary: &Node, replica: &mut Replica, now_ms: &mut i64, budget: usize, step: usize) -> usize {
    let (mut full_syncs, mut left) = (0, budget);
    *now_ms += 2000;
    if !replica.step(Event::Tick, *now_ms).1 {
        return 0;
    }
    let intro = replica.intro();
    let mut request = replica.step(Event::Connected(intro), *now_ms).0;
    while !request.is_empty() {
        let wire = primary.answer(&std::mem::take(&mut request), &mut full_syncs);
        for piece in wire.chunks(step.max(1)) {
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            if replica.link.phase() == Phase::Streaming {
                replica.node.stream.extend_from_slice(piece);
            } else {
                request.extend(replica.step(Event::Bytes(piece), *now_ms).0);
            }
            if left == 0 {
                replica.step(Event::Broke("cut".into()), *now_ms);
                return full_syncs;
            }
        }
    }
    full_syncs
}

fn settle(primary: &Node, replica: &mut Replica, now_ms: &mut i64) -> usize {
    if replica.link.phase() == Phase::Streaming {
        replica.step(Event::Broke("again".into()), *now_ms);
    }
    let full_syncs = attempt(primary, replica, now_ms, usize::MAX, 7);
    assert_eq!(replica.link.phase(), Phase::Streaming);
    assert_eq!(replica.node.stream, primary.stream);
    full_syncs
}

proptest! {
    /// However often and wherever the network breaks, a replica holds a prefix of its primary's stream, and all of it
    /// once the network holds.
    #[test]
    fn whatever_breaks_a_replica_holds_its_primarys_stream(
        turns in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), 1usize..400, 1usize..50), 1..12),
        keep in 0u64..200,
    ) {
        let (mut primary, mut replica, mut now_ms) = (Node::new('a'), Replica::new(), 0);
        replica.step(Event::Follow, now_ms);
        for (written, budget, step) in turns {
            primary.write(&written, keep);
            attempt(&primary, &mut replica, &mut now_ms, budget, step);
            if replica.resumable {
                prop_assert!(primary.stream.starts_with(&replica.node.stream));
            }
            if replica.link.phase() == Phase::Streaming {
                replica.step(Event::Broke("cut".into()), now_ms);
            }
        }
        settle(&primary, &mut replica, &mut now_ms);
    }
}

#[test]
fn a_link_that_breaks_costs_what_was_missed_and_no_full_sync() {
    let (mut primary, mut replica, mut now_ms) = (Node::new('a'), Replica::new(), 0);
    primary.write(b"one two three", 1000);
    replica.step(Event::Follow, now_ms);
    assert_eq!(settle(&primary, &mut replica, &mut now_ms), 1);
    primary.write(b" four", 1000);
    assert_eq!(settle(&primary, &mut replica, &mut now_ms), 0);
    primary.write(&[b'x'; 2000], 1000);
    assert_eq!(settle(&primary, &mut replica, &mut now_ms), 1);
}

#[test]
fn after_a_failover_the_sibling_and_the_old_primary_need_no_full_sync() {
    let (mut old, mut promoted, mut sibling, mut now_ms) = (Node::new('a'), Replica::new(), Replica::new(), 0);
    old.write(b"shared", 1000);
    for replica in [&mut promoted, &mut sibling] {
        replica.step(Event::Follow, now_ms);
        settle(&old, replica, &mut now_ms);
    }
    promoted.step(Event::Unfollow, now_ms);
    let end = promoted.node.end();
    promoted.node.history.branch(id('b'), end);
    promoted.node.write(b" and new", 1000);
    sibling.step(Event::Follow, now_ms);
    assert_eq!(attempt(&promoted.node, &mut sibling, &mut now_ms, usize::MAX, 3), 0);
    assert_eq!(sibling.node.stream, promoted.node.stream);
    assert_eq!(sibling.node.history.id, id('b'));
    // The old primary wrote nothing since: it comes back for the difference alone.
    let mut back = Replica { node: old, link: Link::default(), image: Vec::new(), resumable: true };
    back.step(Event::Follow, now_ms);
    assert_eq!(attempt(&promoted.node, &mut back, &mut now_ms, usize::MAX, 3), 0);
    assert_eq!(back.node.stream, promoted.node.stream);
}

#[test]
fn an_old_primary_that_went_on_writing_needs_a_full_sync() {
    let (mut old, mut promoted, mut now_ms) = (Node::new('a'), Replica::new(), 0);
    old.write(b"shared", 1000);
    promoted.step(Event::Follow, now_ms);
    settle(&old, &mut promoted, &mut now_ms);
    promoted.step(Event::Unfollow, now_ms);
    let end = promoted.node.end();
    promoted.node.history.branch(id('b'), end);
    promoted.node.write(b" and new", 1000);
    old.write(b" lost", 1000);
    let mut back = Replica { node: old, link: Link::default(), image: Vec::new(), resumable: true };
    back.step(Event::Follow, now_ms);
    assert_eq!(attempt(&promoted.node, &mut back, &mut now_ms, usize::MAX, 3), 1);
    assert_eq!(back.node.stream, promoted.node.stream);
}

#[test]
fn a_primary_that_says_nothing_is_given_up_and_tried_again() {
    let mut replica = Replica::new();
    replica.step(Event::Follow, 0);
    assert!(replica.step(Event::Tick, 0).1);
    assert!(!replica.step(Event::Tick, TIMEOUT_MS).1);
    assert_eq!(replica.link.phase(), Phase::Connecting);
    replica.step(Event::Tick, TIMEOUT_MS + 1);
    assert_eq!(replica.link.phase(), Phase::Waiting);
    assert!(replica.step(Event::Tick, TIMEOUT_MS + 1001).1);
    // In the handshake, and while following, as well.
    replica.step(Event::Connected(Introduction::default()), 70_000);
    assert_eq!(replica.link.phase(), Phase::Handshake);
    replica.step(Event::Tick, 200_000);
    assert_eq!(replica.link.phase(), Phase::Waiting);
}

/// A replica that has asked for a sync at time 0, and the request.
fn asking() -> (Replica, Vec<u8>) {
    let mut replica = Replica::new();
    replica.step(Event::Follow, 0);
    replica.step(Event::Tick, 0);
    let mut asked = replica.step(Event::Connected(Introduction::default()), 0).0;
    for answer in [&b"+PONG\r\n"[..], b"+OK\r\n", b"+OK\r\n"] {
        asked = replica.step(Event::Bytes(answer), 0).0;
    }
    (replica, asked)
}

#[test]
fn a_primary_that_falls_silent_in_its_image_or_its_stream_is_given_up() {
    for (answer, phase, retry_ms) in [
        (&b"+FULLRESYNC aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 3\r\n$3\r\nab"[..], Phase::Transfer, RETRY_MS),
        // What is missed meanwhile must still be in the backlog.
        (b"+FULLRESYNC aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 3\r\n$3\r\nabc", Phase::Streaming, 0),
    ] {
        let (mut replica, _) = asking();
        replica.step(Event::Bytes(answer), 0);
        assert_eq!(replica.link.phase(), phase);
        assert!(!replica.step(Event::Tick, TIMEOUT_MS).1);
        assert_eq!(replica.link.phase(), phase, "it was given up too early");
        let begins = replica.step(Event::Tick, TIMEOUT_MS + 1).1;
        assert_eq!(begins, retry_ms == 0, "{phase:?}");
        assert!(begins || replica.step(Event::Tick, TIMEOUT_MS + 1 + retry_ms).1, "{phase:?}");
    }
}

#[test]
fn an_image_that_does_not_come_to_its_end_is_dropped() {
    for end in [Event::Broke("cut".into()), Event::Follow, Event::Unfollow] {
        let (mut replica, _) = asking();
        replica.step(Event::Bytes(b"+FULLRESYNC aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 3\r\n$3\r\nab"), 0);
        let actions = replica.link.step(end, 1, TIMEOUT_MS);
        assert!(actions.contains(&Action::Close) && actions.contains(&Action::DropImage), "{actions:?}");
    }
}

#[test]
fn an_answer_without_end_is_not_kept() {
    let (mut replica, _) = asking();
    let piece = [b'x'; 1 << 14];
    let pieces = (0..100).take_while(|_| {
        replica.step(Event::Bytes(&piece), 0);
        replica.link.phase() == Phase::Handshake
    });
    assert!(pieces.count() < 10);
    assert_eq!(replica.link.phase(), Phase::Waiting);
}

#[test]
fn a_primary_that_cannot_serve_yet_is_asked_again_later() {
    for answer in [&b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n"[..], b"-LOADING wait\r\n"] {
        let (mut replica, asked) = asking();
        assert!(asked.starts_with(b"*3\r\n$5\r\nPSYNC"));
        let (sent, _) = replica.step(Event::Bytes(answer), 0);
        assert_eq!((sent.escape_ascii().to_string(), replica.link.phase()), (String::new(), Phase::Waiting));
        assert!(!replica.step(Event::Tick, RETRY_MS - 1).1 && replica.step(Event::Tick, RETRY_MS).1);
    }
}

#[test]
fn an_old_primary_without_psync_is_asked_for_sync() {
    let mut replica = Replica::new();
    replica.step(Event::Follow, 0);
    replica.step(Event::Tick, 0);
    let mut asked = replica.step(Event::Connected(Introduction::default()), 0).0;
    for answer in [&b"+PONG\r\n"[..], b"-ERR unknown\r\n", b"-ERR unknown\r\n"] {
        asked = replica.step(Event::Bytes(answer), 0).0;
    }
    assert!(asked.ends_with(b"PSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n"));
    assert!(replica.step(Event::Bytes(b"-ERR unknown command 'PSYNC'\r\n"), 0).0.ends_with(b"SYNC\r\n"));
    replica.step(Event::Bytes(b"\n$3\r\nabcSTREAM"), 0);
    assert_eq!((replica.link.phase(), &replica.node.stream[..]), (Phase::Streaming, &b"abcSTREAM"[..]));
    assert!(!replica.resumable);
}

#[test]
fn a_password_is_sent_first_and_a_wrong_one_ends_the_attempt() {
    let mut replica = Replica::new();
    replica.step(Event::Follow, 0);
    replica.step(Event::Tick, 0);
    let intro = Introduction { password: Some(b"pass word".to_vec()), ..Introduction::default() };
    replica.step(Event::Connected(intro), 0);
    let asked = replica.step(Event::Bytes(b"-NOAUTH Authentication required.\r\n"), 0).0;
    assert_eq!(asked, b"*2\r\n$4\r\nAUTH\r\n$9\r\npass word\r\n");
    replica.step(Event::Bytes(b"-ERR invalid password\r\n"), 0);
    assert_eq!(replica.link.phase(), Phase::Waiting);
}

#[test]
fn who_was_started_again_goes_on_only_with_a_primary_that_says_an_id() {
    let id_said = format!("+CONTINUE {}\r\n", id('b'));
    for (restarted, answer, goes_on) in
        [(false, "+CONTINUE\r\n", true), (true, &id_said, true), (true, "+CONTINUE\r\n", false)]
    {
        let mut replica = Replica::new();
        replica.resumable = true;
        replica.step(Event::Follow, 0);
        replica.step(Event::Tick, 0);
        let mut asked = replica.step(Event::Connected(Introduction { restarted, ..replica.intro() }), 0).0;
        for answer in [&b"+PONG\r\n"[..], b"+OK\r\n", b"+OK\r\n"] {
            asked = replica.step(Event::Bytes(answer), 0).0;
        }
        assert!(asked.starts_with(b"*3\r\n$5\r\nPSYNC\r\n$40\r\n"), "{}", asked.escape_ascii());
        replica.step(Event::Bytes(answer.as_bytes()), 0);
        let phase = if goes_on { Phase::Streaming } else { Phase::Waiting };
        assert_eq!((replica.link.phase(), replica.resumable), (phase, goes_on), "{restarted} {answer}");
    }
}

#[test]
fn all_keys_that_come_in_vain_are_asked_for_ever_more_seldom() {
    let full = b"+FULLRESYNC aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0\r\n$0\r\n";
    let mut now = 0;
    let mut replica = Replica::new();
    replica.step(Event::Follow, now);
    // How long it waits after the next image, which loads or does not.
    let mut wait = |replica: &mut Replica, loads: bool| {
        while !replica.step(Event::Tick, now).1 {
            now += 1;
        }
        replica.step(Event::Connected(Introduction::default()), now);
        for answer in [&b"+PONG\r\n"[..], b"+OK\r\n", b"+OK\r\n", full] {
            replica.link.step(Event::Bytes(answer), now, TIMEOUT_MS);
        }
        assert_eq!(replica.link.phase(), Phase::Loading);
        if loads {
            replica.step(Event::Loaded, now);
            let actions = replica.link.step(Event::Lost("for a reason".into()), now, TIMEOUT_MS);
            assert!(actions.contains(&Action::Forget) && actions.contains(&Action::Suspend), "{actions:?}");
        } else {
            replica.step(Event::LoadFailed("for a reason".into()), now);
        }
        let failed = now;
        while !replica.link.is_due(now) {
            now += 1;
        }
        now - failed
    };
    let seconds = [1, 2, 4, 8, 16, 32, 64, 64].map(|seconds| 1000 * seconds);
    assert_eq!(seconds.map(|_| wait(&mut replica, false)), seconds);
    replica.step(Event::Follow, 0);
    assert_eq!(seconds.map(|_| wait(&mut replica, true)), seconds);
}

//! What reaches a connection that listens, and in which order.

use super::{Net, WAKER};
use crate::config::{ClientClass, Config};
use crate::conn::Socket;
use crate::mailbox::{Mail, Mailbox};
use crate::node::Node;
use crate::pubsub::Subscriptions;
use commands::args::Args;
use engine::clock::Now;
use mio::{Poll, Waker};
use resp::{Arg, Out};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// The place of the only connection.
const PLACE: usize = 0;

/// One connection of one reactor, its other end, and what the reactor knows.
fn listener() -> (Net, TcpStream, &'static Node) {
    let poll = Poll::new().expect("a poll");
    let mailbox = Mailbox::new(Waker::new(poll.registry(), WAKER).expect("a waker"));
    let node: &'static Node =
        Box::leak(Box::new(Node::new(Config::default(), vec![mailbox], sync_channel(1).0, String::new())));
    let mut net = Net::new(poll, node, 0, None);
    let gate = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = TcpStream::connect(gate.local_addr().expect("an address")).expect("connected");
    peer.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let (stream, _) = gate.accept().expect("accepted");
    stream.set_nonblocking(true).expect("set");
    net.adopt(Socket::Tcp(mio::net::TcpStream::from_std(stream)), 1, &Config::default(), Now::default());
    (net, peer, node)
}

/// As SUBSCRIBE does it in a turn: the reply is kept until the end of the turn.
fn subscribe(net: &mut Net, channel: &[u8]) {
    let mut conn = net.conns[PLACE].take().expect("there");
    conn.client.subscriptions = Some(Box::new(Subscriptions::default()));
    net.join(conn.client.info.id, channel);
    let mut reply = Out::new();
    reply.simple("subscribed");
    assert!(net.keep(&mut conn, &mut reply, 1));
    net.conns[PLACE] = Some(conn);
}

fn deliver(net: &mut Net, node: &Node, config: &Config) {
    let mut mail = Vec::new();
    node.mailboxes[0].take(&mut mail);
    for mail in mail {
        match mail {
            Mail::Published(message) => net.deliver(&message, config),
            Mail::Shown(line) => net.show(&line, config),
            _ => {}
        }
    }
}

#[test]
fn a_message_comes_after_the_reply_to_subscribe_also_within_one_turn() {
    let (mut net, mut peer, node) = listener();
    let config = Config::default();
    subscribe(&mut net, b"c");
    node.pubsub.publish(&node.mailboxes, b"c", b"hello");
    deliver(&mut net, node, &config);
    net.send_kept();
    net.flush_due(&config, Now::default());
    let expected = "+subscribed\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n";
    let mut heard = vec![0; expected.len()];
    peer.read_exact(&mut heard).expect("it comes");
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

#[test]
fn who_monitors_is_not_shown_what_ran_before_though_it_is_still_on_its_way() {
    let (mut net, mut peer, node) = listener();
    let config = Config::default();
    let show = |text: &[u8]| {
        let whole = [Arg { start: 0, len: text.len() as u32 }];
        node.monitors.show(&node.mailboxes, 9, b"127.0.0.1:5", &Args::new(text, &whole), 0);
    };
    // Somebody else watches already.
    node.monitors.join(0);
    show(b"before");
    let id = net.conns[PLACE].as_ref().expect("there").client.info.id;
    net.watch_commands(id);
    show(b"after");
    deliver(&mut net, node, &config);
    net.flush_due(&config, Now::default());
    net.close(PLACE);
    let mut heard = String::new();
    peer.read_to_string(&mut heard).expect("it ends");
    assert!(heard.ends_with(" [9 127.0.0.1:5] \"after\"\r\n") && !heard.contains("before"), "{heard}");
}

#[test]
fn a_new_connection_has_its_turn_when_the_poll_tells_of_it() {
    let (mut net, _peer, _) = listener();
    assert!(net.take_again().is_empty());
}

#[test]
fn who_has_missed_a_message_is_ended_even_if_it_reads_on() {
    let (mut net, mut peer, node) = listener();
    let mut config = Config::default();
    let limit = &mut config.client_output_buffer_limit[ClientClass::Pubsub as usize];
    (limit.hard_bytes, limit.soft_bytes) = (1 << 20, 0);
    subscribe(&mut net, b"c");
    let waits = |net: &Net| net.conns[PLACE].as_ref().expect("there").waiting();
    let mut before = 0;
    // Until one does not fit any more.
    loop {
        node.pubsub.publish(&node.mailboxes, b"c", &[b'x'; 1000]);
        deliver(&mut net, node, &config);
        if waits(&net) >= 1 << 20 && waits(&net) == before {
            break;
        }
        before = waits(&net);
    }
    // It takes all that it was sent, and all that waits fits then.
    peer.set_nonblocking(true).expect("set");
    let mut scratch = vec![0; 1 << 20];
    while waits(&net) > 0 {
        while peer.read(&mut scratch).is_ok_and(|n| n > 0) {}
        net.conns[PLACE].as_mut().expect("there").flush();
    }
    net.flush_due(&config, Now::default());
    assert!(net.conns[PLACE].is_none());
}

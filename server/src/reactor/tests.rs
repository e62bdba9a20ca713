//! How long a reactor sleeps when its link to the primary cannot have a slot.

use super::*;
use crate::dispatch::tests::Desk;
use crate::repl::link::tests::{is_put_off, streaming};
use slots::slot_of;
use std::io::Write;
use std::net::{TcpListener, TcpStream};

impl Reactor {
    /// What the link has in a turn, as [`Reactor::run`] does it.
    fn link_turn(&mut self) {
        self.node().mailboxes[0].woke();
        self.guests_asked = self.all_wait_for_guests();
        if self.guests_asked {
            self.node().locks.want(0);
        }
        let link = self.link.as_mut().expect("the first reactor has one");
        link.on_event(true, false, &mut self.exec, &mut self.net, Now::read());
        link.turn(&mut self.exec, &mut self.net, Now::read());
    }
}

/// The first reactor of a replica, and its primary.
fn replica() -> (Reactor, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut desk = Desk::new();
    let (driver, primary) = streaming(&mut desk, &listener);
    let mut reactor = Reactor::new(Poll::new().expect("a poll"), desk.exec, None);
    reactor.link = Some(Box::new(driver));
    (reactor, primary)
}

/// Has the primary say something, and waits until that has been tried in vain.
fn say(reactor: &mut Reactor, primary: &mut TcpStream, request: &[u8]) {
    primary.write_all(request).expect("sent");
    while !reactor.link.as_deref().is_some_and(is_put_off) {
        reactor.link_turn();
    }
}

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nw\r\n";

#[test]
fn a_link_behind_a_guest_sleeps_until_that_is_gone() {
    let (mut reactor, mut primary) = replica();
    let node = reactor.node();
    let mut guest = node.guest();
    let held = guest.owner().wait_one(slot_of(b"k"));
    say(&mut reactor, &mut primary, SET);
    // It has not asked to be told yet, so it comes again.
    assert_eq!(reactor.timeout(), Duration::ZERO);
    reactor.link_turn();
    assert_eq!(reactor.timeout(), SLOTS_PAUSE);
    drop(held);
    assert_eq!(reactor.timeout(), Duration::ZERO, "the guest has said so");
    reactor.link_turn();
    assert!(!reactor.has_link_work(), "it is applied");
    // The right to take more slots is one that a guest may have too.
    let held = guest.owner().wait_privileged();
    say(&mut reactor, &mut primary, b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n");
    reactor.link_turn();
    assert_eq!(reactor.timeout(), SLOTS_PAUSE);
    drop(held);
    assert_eq!(reactor.timeout(), Duration::ZERO);
}

#[test]
fn a_link_behind_another_reactor_comes_again_and_sleeps_when_that_takes_long() {
    let (mut reactor, mut primary) = replica();
    let mut other = reactor.node().locks.register().expect("nobody is alone");
    let held = other.try_one(slot_of(b"k")).expect("nobody has it");
    say(&mut reactor, &mut primary, SET);
    reactor.link_turn();
    assert_eq!(reactor.timeout(), Duration::ZERO);
    for _ in 0..=crate::net::LONG_WAIT_TURNS {
        reactor.link_turn();
    }
    assert_eq!(reactor.timeout(), SLOTS_PAUSE);
    drop(held);
    reactor.link_turn();
    assert!(!reactor.has_link_work(), "it is applied");
}

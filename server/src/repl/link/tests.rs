//! The link at moments that no other thread can be made to meet: between what it was told last and what it reads next.

use super::*;
use crate::config::Primary;
use crate::dispatch::tests::Desk;
use crate::mailbox::Mail;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

/// Key `k`, whose value is `v`, and no checksum.
const IMAGE: &[u8] = b"REDIS0007\xfe\0\0\x01k\x01v\xff\0\0\0\0\0\0\0\0";

/// A link that lacks the last byte of its image, and its primary's end.
fn at_the_images_end(desk: &mut Desk, listener: &TcpListener) -> (Driver, std::net::TcpStream) {
    let node = desk.exec.node;
    let port = listener.local_addr().expect("an address").port();
    node.set_primary(Some(Primary { host: "127.0.0.1".into(), port }), true, 0);
    let mut driver = Driver::new(node);
    driver.turn(&mut desk.exec, &mut desk.net, Now::read());
    let (mut primary, _) = listener.accept().expect("the link");
    // Whatever it asks for: it reads one line after the other.
    let mut answer = b"+PONG\r\n+OK\r\n+OK\r\n".to_vec();
    answer.extend_from_slice(format!("+FULLRESYNC {} 100\r\n${}\r\n", "a".repeat(40), IMAGE.len()).as_bytes());
    answer.extend_from_slice(&IMAGE[..IMAGE.len() - 1]);
    while driver.link.phase() == Phase::Connecting {
        driver.on_event(false, true, &mut desk.exec, &mut desk.net, Now::read());
    }
    primary.write_all(&answer).expect("sent");
    while driver.link.progress.0 != IMAGE.len() as u64 - 1 {
        assert!(matches!(driver.link.phase(), Phase::Handshake | Phase::Transfer), "{:?}", driver.link.phase());
        driver.read(&mut desk.exec, &mut desk.net, Now::read());
    }
    (driver, primary)
}

/// A link whose stream has begun.
pub(crate) fn streaming(desk: &mut Desk, listener: &TcpListener) -> (Driver, std::net::TcpStream) {
    let (mut driver, mut primary) = at_the_images_end(desk, listener);
    primary.write_all(&IMAGE[IMAGE.len() - 1..]).expect("sent");
    while driver.link.phase() != Phase::Streaming {
        driver.on_event(true, false, &mut desk.exec, &mut desk.net, Now::read());
        driver.turn(&mut desk.exec, &mut desk.net, Now::read());
        let mut mails = Vec::new();
        desk.exec.node.mailboxes[0].take(&mut mails);
        for mail in mails {
            if let Mail::Link(news) = mail {
                driver.on_news(news, &mut desk.exec, &mut desk.net, Now::read());
            }
        }
    }
    (driver, primary)
}

/// Whether the stream has a request that was tried, and must come again.
pub(crate) fn is_put_off(driver: &Driver) -> bool {
    driver.applier.has_unfinished()
}

/// What became of the image whose last byte comes now.
fn outcome(desk: &mut Desk, mut driver: Driver, mut primary: std::net::TcpStream) -> Result<u32, String> {
    primary.write_all(&IMAGE[IMAGE.len() - 1..]).expect("sent");
    while driver.link.phase() == Phase::Transfer {
        driver.read(&mut desk.exec, &mut desk.net, Now::read());
    }
    loop {
        let mut mails = Vec::new();
        desk.exec.node.mailboxes[0].take(&mut mails);
        for mail in mails {
            if let Mail::Link(News::Loaded { outcome, .. }) = mail {
                return outcome;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_image_is_void_when_whom_to_follow_has_changed_before_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut desk = Desk::new();
    let (driver, primary) = at_the_images_end(&mut desk, &listener);
    assert_eq!(outcome(&mut desk, driver, primary), Ok(0));

    // Another reactor carries these out, and the link has not yet heard of it.
    let orders: [&[Option<u16>]; 2] = [&[None], &[None, Some(1)]];
    for orders in orders {
        let mut desk = Desk::new();
        let node = desk.exec.node;
        let (driver, primary) = at_the_images_end(&mut desk, &listener);
        for port in orders {
            node.set_primary(port.map(|port| Primary { host: "127.0.0.1".into(), port }), true, 0);
        }
        assert!(outcome(&mut desk, driver, primary).is_err(), "{orders:?}");
        assert!(!node.repl.state().resumable, "{orders:?}");
    }
}

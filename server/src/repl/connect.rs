//! Opening a connection to a primary without waiting for it.

use crate::config::{Config, Primary};
use crate::mailbox::Mail;
use crate::node::Node;
use crate::repl::link::News;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};

/// EINPROGRESS of Linux.
const IN_PROGRESS: i32 = 115;

/// Finds the primary's address: at once if it is given as one, else a thread asks and mails the answer.
pub fn resolve(node: &'static Node, primary: &Primary, attempt: u64) -> Option<SocketAddr> {
    let (host, port) = (primary.host.clone(), primary.port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let mail = move |address| {
        if let Some(reactor) = node.mailboxes.first() {
            reactor.send(Mail::Link(News::Resolved { attempt, address }));
        }
    };
    let look_up = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|mut all| all.next());
        mail(found.map_err(|error| error.to_string()).and_then(|address| address.ok_or("no address".into())));
    };
    if let Err(error) = crate::start::spawn("resolve", look_up) {
        mail(Err(error.to_string()));
    }
    None
}

/// Begins to connect, from the first address that this server is bound to. One that does not work for this (a loopback's,
/// while the primary is elsewhere) is no reason not to try without, as in the original.
pub fn open(address: SocketAddr, config: &Config) -> io::Result<TcpStream> {
    let source = config.bind.first().and_then(|host| host.parse::<IpAddr>().ok());
    let source = source.filter(|ip| ip.is_ipv4() == address.is_ipv4());
    source.and_then(|source| connect(address, Some(source)).ok()).map_or_else(|| connect(address, None), Ok)
}

fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(ip) = source {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
        Err(error) => return Err(error),
    }
    // Small acknowledgements must not wait for each other.
    let _ = socket.set_tcp_nodelay(true);
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_address_to_connect_from_that_does_not_work_is_none() {
        let bound_to = |host: &str| Config { bind: vec![host.to_owned()], ..Config::default() };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = listener.local_addr().expect("an address");
        // One that is not this machine's, one of the other family, one that is no address.
        for host in ["203.0.113.1", "::1", "localhost", "127.0.0.1"] {
            open(here, &bound_to(host)).expect(host);
            listener.accept().expect(host);
        }
        // From a loopback's address nobody reaches another host. What says so is not that there is no network.
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 9));
        let failed = |opened: io::Result<TcpStream>| opened.err().and_then(|error| error.raw_os_error());
        assert_eq!(failed(open(elsewhere, &bound_to("127.0.0.1"))), failed(connect(elsewhere, None)));
    }
}

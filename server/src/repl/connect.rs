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

/// Begins to connect, from the first address that this server is bound to.
pub fn open(address: SocketAddr, config: &Config) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let source = config.bind.first().and_then(|host| host.parse::<IpAddr>().ok());
    if let Some(ip) = source.filter(|ip| ip.is_ipv4() == address.is_ipv4()) {
        // As the original: an address that does not work for this is no reason not to try.
        let _ = socket.bind(&SocketAddr::new(ip, 0).into());
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

//! Connecting to another server, for threads that may wait.

use crate::resolve::resolve;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Time between two looks at whether to go on connecting.
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no connection.
#[derive(Debug)]
pub enum NoLink {
    /// The name has no address, or the attempt could not even begin: with the system's text.
    Failed(String),
    /// The target refused it.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// It is this server itself.
    Itself,
    /// It is not wanted any more.
    Stopped,
}

/// Connects to the first address of `host` that takes a connection, until `stops`.
pub fn connect(
    host: &str,
    port: u16,
    timeout: Duration,
    own_port: u16,
    stops: impl Fn() -> bool,
) -> Result<TcpStream, NoLink> {
    let addrs = match resolve(host, port, timeout, &stops) {
        Ok(addrs) => addrs,
        Err(_) if stops() => return Err(NoLink::Stopped),
        Err(error) => return Err(NoLink::Failed(text(&error))),
    };
    let mut why = NoLink::Failed("Name or service not known".to_owned());
    for addr in addrs {
        // Port 0 stands for any port in the system's interface, and nobody listens there.
        if port == 0 {
            return Err(NoLink::Refused);
        }
        if stops() {
            return Err(NoLink::Stopped);
        }
        match connect_to(addr, timeout, &stops) {
            Ok(stream) => {
                // Not `addr`: it may be that of any interface.
                if let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr())
                    && port == own_port
                    && local.ip() == peer.ip()
                {
                    return Err(NoLink::Itself);
                }
                stream.set_nodelay(true).map_err(|error| NoLink::Failed(text(&error)))?;
                return Ok(stream);
            }
            Err(_) if stops() => return Err(NoLink::Stopped),
            Err(error) => {
                why = match error.kind() {
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => NoLink::Refused,
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => NoLink::TimedOut,
                    _ => NoLink::Failed(format!("connect: {}", text(&error))),
                };
            }
        }
    }
    Err(why)
}

/// As [`TcpStream::connect_timeout`], and looks now and then whether to go on.
fn connect_to(addr: SocketAddr, timeout: Duration, stops: &impl Fn() -> bool) -> io::Result<TcpStream> {
    let until = Instant::now() + timeout;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&addr.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() || stops() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
                let look = Timespec { tv_sec: 0, tv_nsec: left.min(LOOK).subsec_nanos().into() };
                match poll(&mut fds, Some(&look)) {
                    Ok(0) | Err(rustix::io::Errno::INTR) => {}
                    Ok(_) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
        }
        Err(error) => return Err(error),
    }
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

/// The system's own words.
fn text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::net::TcpListener;

    #[test]
    fn who_waits_for_a_target_that_does_not_answer_can_be_stopped() {
        const LONG: Duration = Duration::from_secs(60);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let addr = listener.local_addr().expect("bound");
        // Until its queue is full, nobody being accepted.
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
            waiting.push(stream);
        }
        let looks = Cell::new(0);
        let stops = || looks.replace(looks.get() + 1) > 2;
        assert!(matches!(connect("127.0.0.1", addr.port(), LONG, 0, stops), Err(NoLink::Stopped)));
        assert!(matches!(connect("127.0.0.1", addr.port(), LOOK, 0, || false), Err(NoLink::TimedOut)));
    }

    #[test]
    fn a_target_that_listens_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        assert!(connect("127.0.0.1", port, Duration::from_secs(60), 0, || false).is_ok());
        assert!(matches!(connect("127.0.0.1", port, Duration::from_secs(60), port, || false), Err(NoLink::Itself)));
    }
}

//! Connecting to another server, for threads that may wait.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

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
}

/// Connects to the first address of `host` that takes a connection.
pub fn connect(host: &str, port: u16, timeout: Duration, own_port: u16) -> Result<TcpStream, NoLink> {
    let addrs: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|error| NoLink::Failed(text(&error)))?.collect();
    let mut why = NoLink::Failed("Name or service not known".to_owned());
    for addr in addrs {
        // Port 0 stands for any port in the system's interface, and nobody listens there.
        if port == 0 {
            return Err(NoLink::Refused);
        }
        match TcpStream::connect_timeout(&addr, timeout) {
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

/// The system's own words.
fn text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

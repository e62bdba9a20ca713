//! Where clients come in: TCP addresses and a Unix socket.

use crate::config::Config;
use crate::conn::Socket;
use crate::log;
use crate::node::Node;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Connections accepted for one event.
const ACCEPTS_MAX: usize = 1000;

const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
const DENIED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled, no bind address \
was specified, no authentication password is requested to clients. In this mode connections are only accepted from the \
loopback interface. If you want to connect from external computers to Redis you may adopt one of the following \
solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback \
interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly \
accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just \
disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and \
then restarting the server. 3) If you started the server manually just for testing, restart it with the \
'--protected-mode no' option. 4) Setup a bind address or an authentication password. NOTE: You only need to do one of \
the above things in order for the server to start accepting connections from the outside.\r\n";

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// All listening sockets; their tokens count from 1.
pub struct Listeners {
    all: Vec<Listener>,
    /// By listener: connections may wait there of which no event will tell again.
    pending: Vec<bool>,
    unix_path: Option<std::path::PathBuf>,
}

impl Listeners {
    /// Binds what the settings ask for. The error says which address, in the log's words.
    pub fn bind(config: &Config) -> Result<Listeners, String> {
        let mut all = Vec::new();
        if config.port != 0 {
            for (host, required) in addresses(config) {
                match bind_tcp(&host, config) {
                    Ok(listener) => all.push(Listener::Tcp(listener)),
                    // Without a bind address both families are tried, and one may be missing.
                    Err(error) if !required && is_unsupported(&error) => {}
                    Err(error) => {
                        return Err(format!(
                            "Creating Server TCP listening socket {host}:{}: bind: {}",
                            config.port,
                            crate::os_error::text(&error)
                        ));
                    }
                }
            }
        }
        if let Some(path) = &config.unixsocket {
            if std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
                // A socket file that a former server left behind.
                let _ = std::fs::remove_file(path);
            }
            let open = || -> io::Result<UnixListener> {
                let listener = UnixListener::bind(path)?;
                if config.unixsocketperm != 0 {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(config.unixsocketperm))?;
                }
                Ok(listener)
            };
            let listener =
                open().map_err(|error| format!("Opening Unix socket: bind: {}", crate::os_error::text(&error)))?;
            all.push(Listener::Unix(listener));
        }
        if all.is_empty() {
            return Err("Configured to not listen anywhere, exiting.".into());
        }
        Ok(Listeners { pending: vec![false; all.len()], all, unix_path: config.unixsocket.clone() })
    }

    /// Asks for their events.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (i, listener) in self.all.iter_mut().enumerate() {
            let token = Token(1 + i);
            match listener {
                Listener::Tcp(listener) => registry.register(listener, token, Interest::READABLE)?,
                Listener::Unix(listener) => registry.register(listener, token, Interest::READABLE)?,
            }
        }
        Ok(())
    }

    /// A listener's token, if connections may wait there of which no event will tell again.
    pub fn pending(&self) -> Option<usize> {
        self.pending.iter().position(|pending| *pending).map(|at| at + 1)
    }

    /// Accepts what waits at the listener with this token, but for those that must be refused.
    pub fn accept(&mut self, token: usize, config: &Config, node: &Node, into: &mut Vec<Socket>) {
        let Some(at) = token.checked_sub(1) else { return };
        let (Some(listener), Some(pending)) = (self.all.get(at), self.pending.get_mut(at)) else { return };
        // Said once, not each time that it is tried again.
        let has_failed = std::mem::replace(pending, true);
        for _ in 0..ACCEPTS_MAX {
            let accepted = match listener {
                Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Socket::Tcp(stream)),
                Listener::Unix(listener) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
            };
            match accepted {
                Ok(socket) => {
                    if let Some(socket) = admit(socket, config, node, into.len()) {
                        into.push(socket);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *pending = false;
                    return;
                }
                Err(error) => {
                    if has_failed {
                        return;
                    }
                    log::warning!("Accepting client connection: accept: {}", crate::os_error::text(&error));
                    return;
                }
            }
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        if let Some(path) = &self.unix_path {
            log::notice!("Removing the unix socket file.");
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Sets a new connection's options, or refuses it with a text.
fn admit(mut socket: Socket, config: &Config, node: &Node, just_accepted: usize) -> Option<Socket> {
    let refuse = |socket: &mut Socket, text: &[u8]| {
        // A courtesy: whether it arrives does not matter.
        let _ = socket.write(text);
        node.stats[0].rejected.add(1);
    };
    if let Socket::Tcp(stream) = &socket {
        let remote = stream.peer_addr().ok()?;
        let open = config.protected_mode && config.bind.is_empty() && config.requirepass.is_none();
        if open && !remote.ip().to_canonical().is_loopback() {
            refuse(&mut socket, DENIED);
            return None;
        }
        // Options that cannot be set leave a connection that works.
        let _ = stream.set_nodelay(true);
        if config.tcp_keepalive > 0 {
            let interval = Duration::from_secs(config.tcp_keepalive);
            let probe = Duration::from_secs((config.tcp_keepalive / 3).max(1));
            let keepalive = TcpKeepalive::new().with_time(interval).with_interval(probe).with_retries(3);
            let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
        }
    }
    let arriving = node.clients.arriving.load(Ordering::Relaxed);
    if node.clients.len() + arriving + just_accepted >= config.maxclients as usize {
        refuse(&mut socket, TOO_MANY);
        return None;
    }
    Some(socket)
}

/// The addresses to bind, and whether failing to bind one is fatal whatever the reason.
fn addresses(config: &Config) -> Vec<(String, bool)> {
    if config.bind.is_empty() {
        return vec![("::".into(), false), ("0.0.0.0".into(), false)];
    }
    config.bind.iter().map(|host| (host.clone(), true)).collect()
}

fn is_unsupported(error: &io::Error) -> bool {
    /// EAFNOSUPPORT, EPROTONOSUPPORT, EADDRNOTAVAIL of Linux.
    const CODES: [i32; 3] = [97, 93, 99];
    error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

fn bind_tcp(host: &str, config: &Config) -> io::Result<TcpListener> {
    let host = if host == "*" { "0.0.0.0" } else { host };
    let resolved = match host.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, config.port)),
        Err(_) => (host, config.port).to_socket_addrs()?.next(),
    };
    let addr = resolved.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))?;
    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A peer as CLIENT LIST names it, and whether it came over a Unix socket.
pub fn peer(socket: &Socket, config: &Config) -> (String, bool) {
    match socket {
        Socket::Unix(_) => {
            let path = config.unixsocket.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            (format!("{path}:0"), true)
        }
        Socket::Tcp(stream) => match stream.peer_addr() {
            Ok(SocketAddr::V6(addr)) => (format!("[{}]:{}", addr.ip(), addr.port()), false),
            Ok(addr) => (addr.to_string(), false),
            Err(_) => ("?:0".into(), false),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_error_lines() {
        for text in [TOO_MANY, DENIED] {
            assert!(text.starts_with(b"-") && text.ends_with(b"\r\n") && !text[..text.len() - 2].contains(&b'\n'));
        }
    }
}

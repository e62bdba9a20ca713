//! The system log, as RFC 3164 wants its lines, over the local socket.
//!
//! Lines are dropped when the system log does not take them at once: it must not be able to stop the server.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Level, LocalTime};

/// A sender to the system log.
#[derive(Debug)]
pub struct Syslog {
    ident: String,
    facility: u8,
    path: PathBuf,
    /// Connected when first needed, and anew when the system log was restarted.
    socket: Mutex<Option<UnixDatagram>>,
}

impl Syslog {
    /// A sender with this name and facility (a number of RFC 3164).
    pub fn new(ident: &str, facility: u8) -> Self {
        Self::with_socket(ident, facility, Path::new("/dev/log"))
    }

    fn with_socket(ident: &str, facility: u8, path: &Path) -> Self {
        Syslog { ident: ident.to_owned(), facility, path: path.to_owned(), socket: Mutex::new(None) }
    }

    pub(super) fn send(&self, level: Level, now: &LocalTime, message: &str) {
        let priority = u32::from(self.facility) * 8 + severity(level);
        let line = format!("<{priority}>{} {}[{}]: {message}", now.rfc3164(), self.ident, std::process::id());
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        for _attempt in 0..2 {
            let sent = match &*socket {
                Some(socket) => socket.send(line.as_bytes()).map(drop),
                None => self.connect().and_then(|fresh| socket.insert(fresh).send(line.as_bytes()).map(drop)),
            };
            match sent {
                Err(error) if error.kind() != ErrorKind::WouldBlock => *socket = None,
                _ => return,
            }
        }
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(socket)
    }
}

/// RFC 3164's number, as Redis assigns it.
fn severity(level: Level) -> u32 {
    match level {
        Level::Debug => 7,
        Level::Verbose => 6,
        Level::Notice => 5,
        Level::Warning => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut line = [0; 200];
        let len = socket.recv(&mut line).unwrap();
        String::from_utf8(line[..len].to_vec()).unwrap()
    }

    #[test]
    fn lines_are_sent_also_after_the_system_log_was_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let now = LocalTime::with_offset(SystemTime::UNIX_EPOCH, 0);
        let syslog = Syslog::with_socket("redis", 16, &path);
        syslog.send(Level::Notice, &now, "nobody listens");
        for _restart in 0..2 {
            let server = UnixDatagram::bind(&path).unwrap();
            syslog.send(Level::Warning, &now, "hello");
            let expected = format!("<132>Jan  1 00:00:00 redis[{}]: hello", std::process::id());
            assert_eq!(receive(&server), expected);
            drop(server);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_full_system_log_loses_lines_rather_than_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let _server = UnixDatagram::bind(&path).unwrap();
        let syslog = Syslog::with_socket("redis", 1, &path);
        for _line in 0..2000 {
            syslog.send(Level::Debug, &LocalTime::with_offset(SystemTime::UNIX_EPOCH, 0), "hello");
        }
    }
}

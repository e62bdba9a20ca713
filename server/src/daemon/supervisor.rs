//! Telling a supervisor that the server is ready: systemd by a datagram, Upstart by stopping.
//!
//! Redis 3.2 tells it before it has loaded its data; we leave the moment to the caller, who knows when clients are served.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::process::{Signal, getpid, kill_process};

use crate::config::Supervised;
use crate::log;

/// The supervisor that waits for us to be ready.
#[derive(Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Waits until we stop, then lets us go on.
    Upstart,
    /// Listens at this address: a path, or a name in the abstract namespace after `@`.
    Systemd(OsString),
}

impl Supervisor {
    /// The supervisor that the setting and the environment name. A supervised server must stay in the foreground.
    pub fn find(mode: Supervised) -> Option<Self> {
        Self::find_in(mode, |name| std::env::var_os(name))
    }

    fn find_in(mode: Supervised, variable: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let upstart = variable("UPSTART_JOB").map(|_| Supervisor::Upstart);
        let systemd = variable("NOTIFY_SOCKET").filter(|address| is_address(address)).map(Supervisor::Systemd);
        match mode {
            Supervised::No => None,
            Supervised::Auto => upstart.or(systemd),
            Supervised::Upstart => upstart.or_else(|| {
                log::warning!("upstart supervision requested, but UPSTART_JOB not found");
                None
            }),
            Supervised::Systemd => systemd.or_else(|| {
                log::warning!("systemd supervision requested, but NOTIFY_SOCKET not found");
                None
            }),
        }
    }

    /// Says that the server is ready.
    pub fn ready(&self) {
        match self {
            Supervisor::Upstart => {
                log::notice!("supervised by upstart, will stop to signal readiness");
                if kill_process(getpid(), Signal::STOP).is_err() {
                    log::warning!("Can't stop to notify upstart");
                }
            }
            Supervisor::Systemd(address) => {
                log::notice!("supervised by systemd, will signal readiness");
                if send(address, b"READY=1").is_err() {
                    log::warning!("Can't send notification to systemd");
                }
            }
        }
    }
}

fn is_address(address: &OsStr) -> bool {
    address.len() >= 2 && matches!(address.as_bytes().first(), Some(b'@' | b'/'))
}

fn send(address: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(mode: Supervised, set: &[(&str, &str)]) -> Option<Supervisor> {
        let value = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Supervisor::find_in(mode, value)
    }

    #[test]
    fn setting_and_environment_must_agree() {
        let both = [("UPSTART_JOB", "redis"), ("NOTIFY_SOCKET", "/run/x")];
        assert_eq!(find(Supervised::No, &both), None);
        assert_eq!(find(Supervised::Auto, &both), Some(Supervisor::Upstart));
        assert_eq!(find(Supervised::Auto, &both[1..]), Some(Supervisor::Systemd("/run/x".into())));
        assert_eq!(find(Supervised::Systemd, &both), Some(Supervisor::Systemd("/run/x".into())));
        assert_eq!(find(Supervised::Systemd, &both[..1]), None);
        assert_eq!(find(Supervised::Upstart, &both[1..]), None);
        assert_eq!(find(Supervised::Auto, &[("NOTIFY_SOCKET", "x")]), None);
        assert_eq!(find(Supervised::Auto, &[("NOTIFY_SOCKET", "@")]), None);
    }

    #[test]
    fn systemd_is_told_at_a_path_or_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("codis-server-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        for (socket, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}").into()),
        ] {
            Supervisor::Systemd(address).ready();
            let mut message = [0; 20];
            let len = socket.recv(&mut message).unwrap();
            assert_eq!(&message[..len], b"READY=1");
        }
    }
}

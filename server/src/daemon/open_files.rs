//! The limit of open files, which `maxclients` needs to be high enough.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::{log, os_error};

/// Files that are not clients: logs, data files, listening sockets, the reactor's own.
const RESERVED: u64 = 32;
/// The poll and the waker of each reactor beyond the first.
const RESERVED_PER_THREAD: u64 = 4;

/// The limit of this process, or one for tests.
trait Limit {
    fn get(&self) -> Rlimit;
    fn set(&mut self, limit: Rlimit) -> io::Result<()>;
}

struct ProcessLimit;

impl Limit for ProcessLimit {
    fn get(&self) -> Rlimit {
        getrlimit(Resource::Nofile)
    }

    fn set(&mut self, limit: Rlimit) -> io::Result<()> {
        Ok(setrlimit(Resource::Nofile, limit)?)
    }
}

/// What became of the wish for so many open files.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The limit was high enough, or is none.
    Enough,
    /// It was raised from this one.
    Raised { from: u64 },
    /// It is less than wanted, and why.
    TooLow { from: u64, now: u64, reason: String },
}

/// Raises the limit of open files so that `maxclients` can be served, or lowers `maxclients` to what can be. Logs
/// what it did.
///
/// # Errors
/// Not even one client could be served: the line to log before exiting.
pub fn adjust_open_files_limit(config: &mut Config) -> Result<(), String> {
    adjust(config, &mut ProcessLimit)
}

/// Carries out `Effect::MaxClients`: `new` is the configuration with the number asked for.
///
/// # Errors
/// The error reply: the system does not allow so many. Keep the old configuration then.
pub fn raise_max_clients(new: &Config) -> Result<(), String> {
    let mut possible = new.clone();
    let adjusted = adjust(&mut possible, &mut ProcessLimit);
    if adjusted.is_ok() && possible.maxclients == new.maxclients {
        return Ok(());
    }
    Err(format!(
        "ERR The operating system is not able to handle the specified number of clients, try with {}",
        possible.maxclients
    ))
}

fn adjust(config: &mut Config, limit: &mut impl Limit) -> Result<(), String> {
    let reserved = RESERVED + RESERVED_PER_THREAD * u64::from(config.server_threads.saturating_sub(1));
    let wanted = u64::from(config.maxclients) + reserved;
    match raise(wanted, limit) {
        Outcome::Enough => {}
        Outcome::Raised { from } => {
            log::notice!("Increased maximum number of open files to {wanted} (it was originally set to {from}).");
        }
        Outcome::TooLow { from, now, reason } => {
            let possible = now.saturating_sub(reserved);
            if possible < 1 {
                return Err(format!(
                    "Your current 'ulimit -n' of {from} is not enough for the server to start. Please increase your open file \
                     limit to at least {wanted}. Exiting."
                ));
            }
            log::warning!(
                "You requested maxclients of {} requiring at least {wanted} max file descriptors.",
                config.maxclients
            );
            log::warning!("Server can't set maximum open files to {wanted} because of OS error: {reason}.");
            config.maxclients = u32::try_from(possible).unwrap_or(u32::MAX);
            log::warning!(
                "Current maximum open files is {now}. maxclients has been reduced to {} to compensate for low ulimit. If \
                 you need higher maxclients increase 'ulimit -n'.",
                config.maxclients
            );
        }
    }
    Ok(())
}

/// Raises the limit to `wanted`, or as far as the system allows.
fn raise(wanted: u64, limit: &mut impl Limit) -> Outcome {
    let old = limit.get();
    let Some(from) = old.current.filter(|&current| current < wanted) else { return Outcome::Enough };
    let mut set = |files: u64| {
        let maximum = old.maximum.map(|maximum| maximum.max(files));
        limit.set(Rlimit { current: Some(files), maximum })
    };
    let Err(error) = set(wanted) else { return Outcome::Raised { from } };
    // What the system allows lies in `now..too_many`.
    let (mut now, mut too_many) = (from, wanted);
    while too_many - now > 1 {
        let middle = now + (too_many - now) / 2;
        match set(middle) {
            Ok(()) => now = middle,
            Err(_) => too_many = middle,
        }
    }
    Outcome::TooLow { from, now, reason: os_error::text(&error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allows up to `allowed` files.
    struct Fake {
        now: Rlimit,
        allowed: u64,
    }

    impl Fake {
        fn new(current: u64, maximum: u64, allowed: u64) -> Self {
            Fake { now: Rlimit { current: Some(current), maximum: Some(maximum) }, allowed }
        }
    }

    impl Limit for Fake {
        fn get(&self) -> Rlimit {
            self.now
        }

        fn set(&mut self, limit: Rlimit) -> io::Result<()> {
            assert!(limit.maximum >= limit.current);
            if limit.current.unwrap() > self.allowed {
                return Err(io::Error::from_raw_os_error(1));
            }
            self.now = limit;
            Ok(())
        }
    }

    fn adjusted(maxclients: u32, limit: &mut Fake) -> Result<u32, String> {
        let mut config = Config { maxclients, ..Config::default() };
        adjust(&mut config, limit).map(|()| config.maxclients)
    }

    #[test]
    fn a_limit_that_is_high_enough_stays() {
        let mut limit = Fake::new(10_032, 20_000, 0);
        assert_eq!(adjusted(10_000, &mut limit), Ok(10_000));
        assert_eq!(limit.now.current, Some(10_032));
        limit.now.current = None;
        assert_eq!(raise(u64::MAX, &mut limit), Outcome::Enough);
    }

    #[test]
    fn a_low_limit_is_raised_and_the_hard_limit_is_never_lowered() {
        let mut limit = Fake::new(1024, 20_000, 20_000);
        assert_eq!(adjusted(10_000, &mut limit), Ok(10_000));
        assert_eq!(limit.now, Rlimit { current: Some(10_032), maximum: Some(20_000) });
    }

    #[test]
    fn clients_are_reduced_to_what_the_system_allows() {
        let mut limit = Fake::new(1024, 4096, 4096);
        assert_eq!(adjusted(10_000, &mut limit), Ok(4064));
        assert_eq!(limit.now.current, Some(4096));
        assert_eq!(adjusted(u32::MAX, &mut Fake::new(1024, 1024, 1024)), Ok(992));
    }

    #[test]
    fn without_room_for_one_client_the_server_cannot_start() {
        let error = adjusted(10_000, &mut Fake::new(32, 32, 32)).unwrap_err();
        assert_eq!(
            error,
            "Your current 'ulimit -n' of 32 is not enough for the server to start. Please increase your open file limit \
             to at least 10032. Exiting."
        );
    }

    #[test]
    fn more_threads_need_more_files() {
        let mut config = Config { maxclients: 1000, server_threads: 4, ..Config::default() };
        adjust(&mut config, &mut Fake::new(100, 144, 144)).unwrap();
        assert_eq!(config.maxclients, 100);
    }

    #[test]
    fn a_number_that_the_system_refuses_is_not_taken() {
        let config = Config { maxclients: u32::MAX, ..Config::default() };
        let text = raise_max_clients(&config).unwrap_err();
        assert!(
            text.starts_with(
                "ERR The operating system is not able to handle the specified number of clients, try with "
            )
        );
    }
}

//! The log: one line a message, to standard output or a file, and to the system log if asked.
//!
//! ```text
//! 4711:M 08 Nov 21:05:33.123 * DB loaded from disk: 0.000 seconds
//! pid  | day and local time  | message
//!      role: M primary       level: . debug  - verbose  * notice  # warning
//!            S replica
//! ```
//!
//! 1. A message below the level in force costs one relaxed load and is not formatted.
//! 2. A line is one write. The file is opened for each line, so that it can be moved or removed at any time.
//! 3. A message is at most 1023 bytes; what is longer is cut.
//! 4. Failures to log are not reported: there is nowhere left to report them.
//!
//! Passwords and values of keys never belong into a message. The format is that of Redis 3.2 (`serverLogRaw`).

mod local_time;
mod posix_tz;
mod syslog;
mod tzif;

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

pub use local_time::LocalTime;
pub use syslog::Syslog;

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1023;

/// How severe a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Details for developers.
    Debug,
    /// Details that are rarely of use.
    Verbose,
    /// What an operator wants to see.
    Notice,
    /// What an operator has to see.
    Warning,
}

impl Level {
    fn char(self) -> char {
        match self {
            Level::Debug => '.',
            Level::Verbose => '-',
            Level::Notice => '*',
            Level::Warning => '#',
        }
    }
}

/// Where lines go.
#[derive(Debug, Default)]
pub struct Target {
    /// `None` is standard output. A relative path means the directory in force when a line is written.
    pub file: Option<PathBuf>,
    /// The system log as well.
    pub syslog: Option<Syslog>,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static IS_REPLICA: AtomicBool = AtomicBool::new(false);
static TARGET: RwLock<Target> = RwLock::new(Target { file: None, syslog: None });

/// From now on lines go there.
pub fn set_target(target: Target) {
    *TARGET.write().unwrap_or_else(PoisonError::into_inner) = target;
}

/// From now on lines below `level` are dropped.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Relaxed);
}

/// From now on lines say that this server is a replica, or a primary.
pub fn set_replica(is_replica: bool) {
    IS_REPLICA.store(is_replica, Relaxed);
}

/// Whether lines of this level are logged.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 >= LEVEL.load(Relaxed)
}

/// Logs one message. Rather than this, use `notice!` and its kin, which format only what is logged.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if !enabled(level) {
        return;
    }
    let mut cut = Cut(String::new());
    // An error only says that the message was cut.
    let _ = cut.write_fmt(message);
    let role = if IS_REPLICA.load(Relaxed) { 'S' } else { 'M' };
    let now = LocalTime::at(SystemTime::now());
    let line = format_line(std::process::id(), role, &now, level, &cut.0);
    let target = TARGET.read().unwrap_or_else(PoisonError::into_inner);
    target.append(line.as_bytes());
    if let Some(syslog) = &target.syslog {
        syslog.send(level, &now, &cut.0);
    }
}

/// Logs `text` as it is, of any length, without what stands before a message. Not for the system log.
pub fn raw(level: Level, text: &str) {
    if enabled(level) {
        TARGET.read().unwrap_or_else(PoisonError::into_inner).append(text.as_bytes());
    }
}

fn format_line(pid: u32, role: char, now: &LocalTime, level: Level, message: &str) -> String {
    format!("{pid}:{role} {now} {} {message}\n", level.char())
}

impl Target {
    fn append(&self, line: &[u8]) {
        // Errors: see 4.
        let _ = match &self.file {
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line).and_then(|()| stdout.flush())
            }
            Some(file) => {
                let file = OpenOptions::new().append(true).create(true).open(file);
                file.and_then(|mut file| file.write_all(line))
            }
        };
    }
}

/// A text that takes no more than a message may have.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MESSAGE_BYTES_MAX - self.0.len();
        let fits = |&end: &usize| text.is_char_boundary(end);
        let taken = (0..=room.min(text.len())).rev().find(fits).unwrap_or(0);
        self.0.push_str(text.get(..taken).unwrap_or_default());
        if taken < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:tt)+) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, ::std::format_args!($($message)+));
        }
    };
}

/// Logs a detail for developers; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($message:tt)+) => { $crate::__log!(Debug, $($message)+) }; }

/// Logs a detail that is rarely of use; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_verbose { ($($message:tt)+) => { $crate::__log!(Verbose, $($message)+) }; }

/// Logs what an operator wants to see; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_notice { ($($message:tt)+) => { $crate::__log!(Notice, $($message)+) }; }

/// Logs what an operator has to see; takes what `format!` takes.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warning { ($($message:tt)+) => { $crate::__log!(Warning, $($message)+) }; }

#[doc(inline)]
pub use crate::{__log_debug as debug, __log_notice as notice, __log_verbose as verbose, __log_warning as warning};

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// There is one logger in a process; tests that change it take turns.
    static TURN: Mutex<()> = Mutex::new(());

    #[test]
    fn a_line_has_the_form_of_redis() {
        let time = LocalTime::with_offset(SystemTime::UNIX_EPOCH + Duration::from_millis(1_510_174_533_007), 0);
        assert_eq!(
            format_line(4711, 'M', &time, Level::Notice, "DB loaded"),
            "4711:M 08 Nov 20:55:33.007 * DB loaded\n"
        );
        let chars: String =
            [Level::Debug, Level::Verbose, Level::Notice, Level::Warning].map(Level::char).iter().collect();
        assert_eq!(chars, ".-*#");
    }

    #[test]
    fn lines_of_the_level_and_above_reach_the_file() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("redis.log");
        set_target(Target { file: Some(file.clone()), syslog: None });
        set_level(Level::Verbose);
        crate::log::debug!("none of ours {}", 1);
        crate::log::verbose!("one of ours {}", 1);
        std::fs::rename(&file, dir.path().join("redis.log.1")).unwrap();
        set_replica(true);
        crate::log::warning!("two of ours");
        raw(Level::Notice, "raw\ntext of ours\n");
        raw(Level::Debug, "none of ours either");
        set_level(Level::Notice);
        set_replica(false);
        set_target(Target::default());

        // Other tests log meanwhile.
        let ours =
            |text: &str| text.lines().filter(|line| line.contains("of ours")).map(str::to_owned).collect::<Vec<_>>();
        let old = std::fs::read_to_string(dir.path().join("redis.log.1")).unwrap();
        let [one] = &ours(&old)[..] else { panic!("{old}") };
        assert!(one.starts_with(&format!("{}:M ", std::process::id())) && one.ends_with(" - one of ours 1"), "{old}");
        let new = std::fs::read_to_string(&file).unwrap();
        let [two, text] = &ours(&new)[..] else { panic!("{new}") };
        assert!(two.contains(":S ") && two.ends_with(" # two of ours") && text == "text of ours", "{new}");
        assert!(new.contains("\nraw\ntext of ours\n"), "{new}");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut cut = Cut(String::new());
        assert!(write!(cut, "{}é and more", "x".repeat(1022)).is_err());
        assert_eq!(cut.0, "x".repeat(1022));
        let mut whole = Cut(String::new());
        assert!(write!(whole, "{}", "x".repeat(1023)).is_ok());
    }
}

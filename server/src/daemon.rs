//! The process in its surroundings: background, pid file, supervisor, open files, and settings of the system that
//! an operator should know about.
//!
//! Going to the background does not fork, which safe code cannot: the server starts itself once more, with a mark in
//! its environment, from the directory and with the standard input that it was started with itself; the first process exits. The second has
//! the pid that counts, and writes the pid file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::Config;
use crate::{log, os_error};

mod open_files;
mod supervisor;
mod warnings;

pub use open_files::{adjust_open_files_limit, raise_max_clients};
pub use supervisor::Supervisor;
pub use warnings::log_warnings;

/// Where the process id goes if nothing else is said and the server runs in the background.
const DEFAULT_PIDFILE: &str = "/var/run/redis.pid";

/// Set in the environment of the process that stays.
const MARK: &str = "CODIS_SERVER_IN_BACKGROUND";

/// Which of the two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Another runs in the background: exit with status 0.
    First,
    /// This one runs in the background.
    Background,
}

/// Goes to the background. To be called before any thread is started and any socket opened.
///
/// `start_dir` is the directory in which the process was started, `stdin` what it has read from standard input.
///
/// # Errors
/// The second process could not be started, or did not take its input.
pub fn go_to_background(start_dir: &Path, stdin: Option<&[u8]>) -> io::Result<Process> {
    if in_background() {
        // Fails only for the leader of a group, which has what it wants already.
        let _ = rustix::process::setsid();
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        return Ok(Process::Background);
    }
    let mut args = std::env::args_os();
    let name = args.next();
    let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let mut command = Command::new(&program);
    command.arg0(name.as_deref().unwrap_or(program.as_os_str())).args(args);
    start(command, start_dir, stdin)?;
    Ok(Process::First)
}

/// Whether this process was started by `go_to_background`.
pub fn in_background() -> bool {
    std::env::var_os(MARK).as_deref() == Some(OsStr::new("1"))
}

fn start(mut command: Command, dir: &Path, stdin: Option<&[u8]>) -> io::Result<()> {
    command.env(MARK, "1").current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text)?;
    }
    Ok(())
}

/// The file with the process id; it goes when the server ends in an orderly way.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file that the settings ask for; in the background there is always one.
    pub fn for_config(config: &mut Config, in_background: bool) -> Option<Self> {
        if in_background {
            config.pidfile.get_or_insert_with(|| DEFAULT_PIDFILE.into());
        }
        config.pidfile.as_deref().and_then(Self::write)
    }

    /// Writes the id of this process. A server that cannot write it runs nevertheless.
    fn write(path: &Path) -> Option<Self> {
        match fs::write(path, format!("{}\n", std::process::id())) {
            // The directory may change until the file is removed.
            Ok(()) => Some(PidFile(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))),
            Err(error) => {
                log::warning!("Failed to write PID file {}: {}", path.display(), os_error::text(&error));
                None
            }
        }
    }

    /// Removes the file.
    pub fn remove(self) {
        log::notice!("Removing the pid file.");
        // It may be gone already, which is what we want.
        let _ = fs::remove_file(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_process_has_mark_directory_and_input_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("(echo ${MARK}; cat) > pipe"));
        start(shell, dir.path(), Some(b"port 7000\n")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("pipe")).unwrap(), "1\nport 7000\n");
    }

    #[test]
    fn a_pid_file_holds_the_process_id_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redis.pid");
        let mut config = Config { pidfile: Some(path.clone()), ..Config::default() };
        let file = PidFile::for_config(&mut config, true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        file.remove();
        assert!(!path.exists());
        assert!(PidFile::write(&dir.path().join("no/such/dir")).is_none());
        assert!(PidFile::for_config(&mut Config::default(), false).is_none());
    }
}

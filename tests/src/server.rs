//! A server process in a directory of its own, on a port of its own, that does not outlive the test.
//!
//! It leads a process group, which is killed when the [`Server`] is dropped; should the test itself be killed, the kernel
//! kills the server (`setpriv --pdeathsig`). Its output is kept in `server.log` of its directory and shown when it fails to
//! start.

use crate::{Client, codis_server, redis_server};
use resp::Reply;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Another process may take the port between our asking for it and the server's binding it.
const START_ATTEMPTS: usize = 5;
/// Below those that Linux gives to connections, and below those of Redis's own suite.
const FREE_PORTS: Range<u16> = 11_000..21_000;
/// When a test fails, so much of its servers' output is shown.
const LOG_LINES_SHOWN: usize = 60;
const START_PATIENCE: Duration = Duration::from_secs(90);
/// How long a server that was told to end may take.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// A loopback port where connections are refused: the system hands out higher ones, and nobody serves what it is for.
pub const NOBODYS_PORT: u16 = 1;

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    program: PathBuf,
    settings: Vec<(String, Vec<String>)>,
    config: Option<String>,
}

impl Options {
    /// Our server with `threads` reactors.
    pub fn codis(threads: usize) -> Options {
        Options::program(codis_server()).set("server-threads", &threads.to_string())
    }

    /// Debian's Redis 7.0.
    pub fn redis() -> Options {
        Options::program(&redis_server())
    }

    /// Any server that takes Redis's options.
    pub fn program(path: &Path) -> Options {
        Options { program: path.to_owned(), settings: Vec::new(), config: None }.set("save", "")
    }

    /// Adds an option of the command line; `value` is one word.
    pub fn set(self, name: &str, value: &str) -> Options {
        self.set_words(name, &[value])
    }

    /// Adds an option of the command line with several words.
    pub fn set_words(mut self, name: &str, words: &[&str]) -> Options {
        self.settings.push((name.to_owned(), words.iter().map(|&word| word.to_owned()).collect()));
        self
    }

    /// Gives the server a configuration file with this text. The options of the command line stand behind it.
    pub fn config(mut self, text: &str) -> Options {
        self.config = Some(text.to_owned());
        self
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    dir: TempDir,
    options: Options,
}

impl Server {
    /// Starts a server and waits until it answers. Panics with its output if it does not.
    pub fn start(options: Options) -> Server {
        let dir = TempDir::new().expect("a temporary directory can be made");
        Server::start_in(options, dir)
    }

    fn start_in(options: Options, mut dir: TempDir) -> Server {
        for attempt in 1.. {
            let port = free_port();
            let mut server = Server { child: launch(&options, port, dir.path()), port, dir, options: options.clone() };
            match server.wait_until_it_answers() {
                Ok(()) => return server,
                Err(log) if attempt == START_ATTEMPTS || !log.contains("in use") => {
                    panic!("{} did not start:\n{log}", options.program.display())
                }
                Err(_) => dir = server.into_dir(),
            }
        }
        unreachable!("the last attempt returns or panics")
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(self.log());
            }
            let reply = Client::connect(self.addr()).and_then(|mut client| client.try_call(&["PING"]));
            let up = match &reply {
                Ok(Reply::Simple(text)) => text == b"PONG",
                Ok(Reply::Error(text)) => !text.starts_with(b"LOADING"),
                _ => false,
            };
            // Whoever answered may be another server on a port that ours did not get: that one ends at once.
            if up && self.log_is_settled() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("no answer within {START_PATIENCE:?}\n{}", self.log()))
    }

    fn log_is_settled(&mut self) -> bool {
        self.log().to_lowercase().contains("ready to accept") && matches!(self.child.try_wait(), Ok(None))
    }

    /// A connection.
    pub fn client(&self) -> Client {
        Client::connect(self.addr()).unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.log()))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("server.log")).unwrap_or_default()).into_owned()
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    /// Stops its process where it is, or lets it go on.
    pub fn stand_still(&self, still: bool) {
        if let Some(pid) = self.child_pid() {
            let _ = kill_process(pid, if still { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Asks it to end with SIGTERM and waits; `None` if it does not end within `patience`.
    pub fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        if let Some(pid) = self.child_pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
        self.wait(patience)
    }

    /// Sends it SIGINT.
    pub fn interrupt(&self) {
        if let Some(pid) = self.child_pid() {
            let _ = kill_process(pid, Signal::INT);
        }
    }

    /// Waits until it has ended by itself; `None` if it has not within `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut ended = None;
        wait_until(patience, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        });
        ended
    }

    /// Ends it with SIGTERM and starts it again in the same directory, with the same options except those of the
    /// command line that `forget` names.
    pub fn restart(mut self, forget: &[&str]) -> Server {
        let ended = self.terminate(END_PATIENCE);
        assert!(ended.is_some_and(|status| status.success()), "the server did not end well: {ended:?}\n{}", self.log());
        let mut options = self.options.clone();
        options.settings.retain(|(name, _)| !forget.contains(&name.as_str()));
        // The file in the directory is the one that the server may have rewritten.
        if options.config.is_some() {
            options.config = fs::read_to_string(self.dir.path().join("server.conf")).ok();
        }
        let dir = self.into_dir();
        Server::start_in(options, dir)
    }

    /// Ends it with SIGTERM. It can be started again where it was.
    pub fn end(mut self) -> Crashed {
        let ended = self.terminate(END_PATIENCE);
        assert!(ended.is_some_and(|status| status.success()), "the server did not end well: {ended:?}\n{}", self.log());
        self.crash()
    }

    /// Kills it as a crash would. It can be started again where it was.
    pub fn crash(self) -> Crashed {
        let (port, options) = (self.port, self.options.clone());
        Crashed { dir: self.into_dir(), port, options }
    }

    fn child_pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id() as i32)
    }

    fn kill(&mut self) {
        if let Some(group) = self.child_pid() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn into_dir(mut self) -> TempDir {
        self.kill();
        // The value behind has nothing left to remove.
        let empty = TempDir::new().expect("a temporary directory can be made");
        std::mem::replace(&mut self.dir, empty)
    }
}

/// A server that has crashed or ended.
#[derive(Debug)]
pub struct Crashed {
    dir: TempDir,
    port: u16,
    options: Options,
}

impl Crashed {
    /// Starts it again, on the same port and with the files that it left, also that of the settings.
    pub fn start_again(self) -> Server {
        let mut options = self.options.clone();
        if options.config.is_some() {
            options.config = fs::read_to_string(self.dir.path().join("server.conf")).ok();
        }
        self.start_as(options)
    }

    /// Starts another program where it was, or the same with other options.
    pub fn start_as(self, options: Options) -> Server {
        let Crashed { mut dir, port, .. } = self;
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let mut server = Server { child: launch(&options, port, dir.path()), port, dir, options: options.clone() };
            match server.wait_until_it_answers() {
                Ok(()) => return server,
                // The system may have handed the port to somebody else meanwhile, whom others may wait for.
                Err(log) if log.contains("in use") && Instant::now() < deadline => dir = server.into_dir(),
                Err(log) => panic!("{} did not start again:\n{log}", options.program.display()),
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let tail = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let lines: Vec<_> = log.lines().skip(tail).collect();
            eprintln!("the log of {} ends:\n{}\n", self.options.program.display(), lines.join("\n"));
        }
        self.kill();
    }
}

fn launch(options: &Options, port: u16, dir: &Path) -> Child {
    let log = File::create(dir.join("server.log")).expect("a log file can be made");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(&options.program);
    if let Some(text) = &options.config {
        let path = dir.join("server.conf");
        fs::write(&path, text).expect("a configuration file can be made");
        command.arg(path);
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(dir);
    for (name, words) in &options.settings {
        command.arg(format!("--{name}")).args(words);
    }
    command.process_group(0).current_dir(dir).stdin(Stdio::null());
    command.stderr(log.try_clone().expect("a log file can be shared")).stdout(log);
    command.spawn().unwrap_or_else(|error| panic!("setpriv (package util-linux) does not start: {error}"))
}

/// A port that was free a moment ago. None that the system gives to connections of its own accord, where it can be helped:
/// so it is still free when a server is started again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = (std::process::id() as u16).wrapping_mul(997);
    for _ in 0..FREE_PORTS.len() {
        let nth = seed.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % FREE_PORTS.len() as u16;
        let port = FREE_PORTS.start + nth;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address").port()
}

/// Polls until `done`; false if it is not within `patience`.
pub fn wait_until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Ends a process at once.
pub fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether a process exists.
pub fn alive(pid: u32) -> bool {
    Pid::from_raw(pid as i32).is_some_and(|pid| test_kill_process(pid).is_ok())
}

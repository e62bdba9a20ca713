//! A server process of a run: started on a free port in a directory of its own, and gone afterwards, whatever happens.
//!
//! 1. Every child is in `RUNNING` from before it can serve until it has been killed and waited for.
//! 2. `Drop`, a termination signal and a panic each end what is in `RUNNING` (panics abort: no destructor would run).

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use super::error::{Context, Error, Result};
use super::process;
use super::wire::Client;

const START_MAX: Duration = Duration::from_secs(10);
const LOAD_MAX: Duration = Duration::from_secs(120);
const SETTLE_MAX: Duration = Duration::from_secs(10);

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

struct Running {
    child: Child,
    /// Removed from disk with the entry.
    dir: TempDir,
}

impl Running {
    fn end(mut self) {
        // Both fail only if the child has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.dir);
    }
}

fn running() -> MutexGuard<'static, Vec<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a termination signal or a panic ends all servers of this process first.
pub fn end_servers_with_us() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context(|| "signal handler".into())?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // The lock is kept to the end, so nothing can be started any more.
            let mut servers = running();
            servers.drain(..).for_each(Running::end);
            std::process::exit(128 + signal);
        }
    });
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        // Not `lock`: the panicking thread may hold it.
        if let Ok(mut servers) = RUNNING.try_lock() {
            servers.drain(..).for_each(Running::end);
        }
    }));
    Ok(())
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name in the tables.
    pub name: String,
    /// The binary, or a name to look up on PATH.
    pub path: PathBuf,
    /// Arguments behind those that all servers get.
    pub args: Vec<String>,
}

/// A running server that answers.
pub struct Server {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub addr: SocketAddr,
    /// From the start of the process to the first PONG.
    pub started_in: Duration,
    /// The connection for questions; the only one while nothing is measured.
    pub client: Client,
}

impl Server {
    /// Starts `program` without persistence and waits until it answers.
    pub fn start(program: &Program) -> Result<Self> {
        Self::start_with(program, None)
    }

    /// As [`Server::start`], with a copy of `file` to load.
    pub fn start_with(program: &Program, file: Option<&Path>) -> Result<Self> {
        let port = free_port()?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |why: String| Error::Start { server: program.name.clone(), why };
        let begin = Instant::now();
        let pid = spawn(program, port, file).map_err(|error| failed(error.to_string()))?;
        let client = loop {
            if let Some(mut client) = TcpStream::connect(addr).ok().and_then(|_| Client::connect(addr).ok())
                && client.run(&["PING"]).is_ok()
            {
                break client;
            }
            let patience = if file.is_some() { LOAD_MAX } else { START_MAX };
            if has_exited(pid) || begin.elapsed() > patience {
                let log = log_tail(pid);
                end(pid);
                return Err(failed(log));
            }
            // Who loads has better things to do than to answer often.
            thread::sleep(Duration::from_micros(if file.is_some() { 5000 } else { 200 }));
        };
        let mut server = Self { pid, addr, started_in: begin.elapsed(), client };
        // Another process may have taken the port between our look and the start.
        match server.client.info_number("server", "process_id") {
            Ok(answering) if answering == u64::from(pid) => Ok(server),
            Ok(answering) => Err(failed(format!("process {answering} answers on its port"))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Its working directory.
    pub fn dir(&self) -> PathBuf {
        let servers = running();
        servers
            .iter()
            .find(|server| server.child.id() == self.pid)
            .map(|server| server.dir.path().into())
            .unwrap_or_default()
    }

    /// CPU time used so far, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64> {
        process::cpu_ns(self.pid)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.pid)
    }

    /// Waits, a bounded time, until background work (frees, rehashing, accepted connections) uses no CPU to speak of.
    pub fn settle(&self) -> Result<()> {
        const LOOK_EVERY: Duration = Duration::from_millis(40);
        const BUSY_NS: u64 = 2_000_000;
        let begin = Instant::now();
        let mut before = self.cpu_ns()?;
        while begin.elapsed() < SETTLE_MAX {
            thread::sleep(LOOK_EVERY);
            let now = self.cpu_ns()?;
            if now.saturating_sub(before) < BUSY_NS {
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// `used_memory` once it has stopped changing (bounded as well).
    pub fn used_memory_settled(&mut self) -> Result<u64> {
        self.settle()?;
        let begin = Instant::now();
        let (mut value, mut since) = (self.used_memory()?, Instant::now());
        while since.elapsed() < Duration::from_millis(400) && begin.elapsed() < SETTLE_MAX {
            thread::sleep(Duration::from_millis(100));
            let now = self.used_memory()?;
            if now.abs_diff(value) > 4096 {
                since = Instant::now();
            }
            value = now;
        }
        Ok(value)
    }

    fn used_memory(&mut self) -> Result<u64> {
        self.client.info_number("memory", "used_memory")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(self.pid);
    }
}

fn spawn(program: &Program, port: u16, file: Option<&Path>) -> Result<u32> {
    let dir = tempfile::Builder::new().prefix("codis-bench-").tempdir().context(|| "temporary directory".into())?;
    if let Some(file) = file {
        // Another name costs nothing that would count as loading; a copy does where there is no other way.
        let to = dir.path().join("dump.rdb");
        fs::hard_link(file, &to).or_else(|_| fs::copy(file, &to).map(drop)).context(|| file.display().to_string())?;
    }
    let log = File::create(dir.path().join("log")).context(|| "log file".into())?;
    let errors = log.try_clone().context(|| "log file".into())?;
    let mut command = Command::new(&program.path);
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--port", &port.to_string(), "--loglevel", "notice"])
        .args(&program.args)
        .arg("--dir")
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    // Under the lock, so that no signal falls between start and entry.
    let mut servers = running();
    let child = command.spawn().context(|| program.path.display().to_string())?;
    let pid = child.id();
    servers.push(Running { child, dir });
    Ok(pid)
}

fn end(pid: u32) {
    let mut servers = running();
    if let Some(at) = servers.iter().position(|server| server.child.id() == pid) {
        servers.swap_remove(at).end();
    }
}

fn has_exited(pid: u32) -> bool {
    running()
        .iter_mut()
        .find(|server| server.child.id() == pid)
        .is_none_or(|server| !matches!(server.child.try_wait(), Ok(None)))
}

/// The last lines that a server wrote, or that there are none.
fn log_tail(pid: u32) -> String {
    let servers = running();
    let text = servers
        .iter()
        .find(|server| server.child.id() == pid)
        .and_then(|server| fs::read_to_string(server.dir.path().join("log")).ok())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    if lines.is_empty() {
        return "it logged nothing".into();
    }
    lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "a free port".into())?;
    Ok(listener.local_addr().context(|| "a free port".into())?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_what_it_said() {
        let program = Program { name: "broken".into(), path: "sh".into(), args: vec![] };
        // A shell refuses `--bind` and ends.
        let error = Server::start(&program).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("broken did not start: "), "{error}");
        assert!(error.contains("option"), "{error}");
        assert!(running().is_empty());
    }

    #[test]
    fn a_missing_program_is_named() {
        let program = Program { name: "none".into(), path: "no-such-server-here".into(), args: vec![] };
        let error = Server::start(&program).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("no-such-server-here"), "{error}");
    }
}

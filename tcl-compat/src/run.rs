//! Runs one unit: lays out its directory, reserves ports, starts the suite in a process group of
//! its own, follows its output, and leaves no process of the group behind.
//!
//! Ports: the suite takes the first free port upward from `--port` + 100 for each server it
//! starts, and looks at that port + 10000 too. So every running unit holds one block of
//! [`PORTS_PER_BLOCK`] ports, reserved machine-wide by listening on the block's first port,
//! which the suite never asks for. All ports lie below the range that the kernel gives out.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, set_child_subreaper, waitpgid};

use crate::lists::Skip;
use crate::output::Report;
use crate::{Result, Threads, suite};

const FIRST_PORT: u16 = 12_200;
const PORTS_PER_BLOCK: u16 = 500;
const BLOCKS: u16 = 20;
const _: () = assert!(FIRST_PORT + BLOCKS * PORTS_PER_BLOCK + 10_000 < 32_768);

/// The suite gives up when nothing has happened for this long; its longest silent test takes
/// about 30 s on a slow machine.
const SILENCE_MAX: Duration = Duration::from_secs(240);
/// No unit takes this long; the longest is a few minutes.
const UNIT_TIME_MAX: Duration = Duration::from_secs(900);
/// So many hung units, and the rest is not run: a server that always hangs must not take hours.
const HUNG_MAX: usize = 4;
/// How often a unit is started anew when another run took the suite's control port first.
const STARTS_MAX: u32 = 5;

/// One run of one unit.
pub struct Job {
    /// The unit, as the suite names it: its path under `tests/` without the suffix.
    pub unit: String,
    /// What the server's `--server-threads` is set to.
    pub threads: Threads,
    /// The tests that are not run.
    pub skips: Vec<Skip>,
    /// The tests of the unit that measure time by an upper bound.
    pub timed: Vec<String>,
    /// The listed test that this run tries, if it is made for that.
    pub tried: Option<String>,
}

/// Runs jobs against one server.
pub struct Runner<'a> {
    server: &'a Path,
    scratch: &'a Path,
    tclsh: PathBuf,
    quiet: bool,
    keep_going: bool,
    stop: &'a AtomicBool,
    /// Numbers the directories, since two jobs may run the same unit.
    runs: AtomicUsize,
    hung: AtomicUsize,
}

/// The part of the suite that has its own framework: many servers, and Sentinels that watch them.
const SENTINEL: &str = "sentinel";

impl Job {
    /// Whether the unit is one of Sentinel's.
    pub fn is_sentinels(&self) -> bool {
        self.unit.split('/').next() == Some(SENTINEL)
    }

    /// How long a request without an answer is given before another client speaks, in milliseconds: see `unit.tcl`.
    fn settle_ms(&self) -> u32 {
        /// Some turns of a busy machine's scheduler.
        const ARRIVAL_MS: u32 = 30;
        if self.threads.is_some_and(|threads| threads > 1) { ARRIVAL_MS } else { 0 }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.unit)?;
        match self.threads {
            None => Ok(()),
            Some(1) => f.write_str(", 1 thread"),
            Some(threads) => write!(f, ", {threads} threads"),
        }?;
        match &self.tried {
            None => Ok(()),
            Some(name) => write!(f, ", trying {name}"),
        }
    }
}

// === impl Runner ===

impl<'a> Runner<'a> {
    /// A runner that works under `scratch`, which must not exist yet, and ends early once `stop` is set.
    pub fn new(
        server: &'a Path,
        scratch: &'a Path,
        quiet: bool,
        keep_going: bool,
        stop: &'a AtomicBool,
    ) -> Result<Runner<'a>> {
        let tclsh = in_path("tclsh8.6").ok_or("tclsh8.6 is missing (`make deps` installs it)")?;
        set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Runner {
            server,
            scratch,
            tclsh,
            quiet,
            keep_going,
            stop,
            runs: AtomicUsize::new(0),
            hung: AtomicUsize::new(0),
        })
    }

    /// Where the unpacked suite has to be.
    pub fn suite_dir(&self) -> PathBuf {
        self.scratch.join("suite")
    }

    /// Whether a signal asks the runner to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs one job to its end, whatever that is.
    ///
    /// # Errors
    /// If the suite could not be started, or is not because too many units hung.
    pub fn run(&self, job: &Job) -> Result<Report> {
        if self.hung.load(Ordering::Relaxed) >= HUNG_MAX {
            return Err(format!("not run, because {HUNG_MAX} units hung").into());
        }
        let mut report = self.run_once(job)?;
        for _ in 1..STARTS_MAX {
            let never_began = report.port_taken && report.tests() == 0;
            if !never_began || self.stopped() {
                break;
            }
            report = self.run_once(job)?;
        }
        if report.hung {
            self.hung.fetch_add(1, Ordering::Relaxed);
        }
        Ok(report)
    }

    fn run_once(&self, job: &Job) -> Result<Report> {
        let block = reserve_ports()?;
        let dir = self.lay_out(job)?;
        let names: Vec<&str> = job.skips.iter().map(|skip| skip.name.as_str()).collect();
        let port = block.local_addr()?.port().to_string();
        let mut command = Command::new(&self.tclsh);
        if job.is_sentinels() {
            command.arg("sentinel.tcl");
        } else {
            command.args(["suite.tcl", "--clients", "1", "--single", "../unit", "--port", &port]);
            command.args(["--timeout", &SILENCE_MAX.as_secs().to_string()]);
        }
        let child = command
            .current_dir(&dir)
            .env("TCL_COMPAT_PORT", &port)
            .env("TCL_COMPAT_UNIT", &job.unit)
            .env("TCL_COMPAT_SKIP", names.join("\n"))
            .env("TCL_COMPAT_SETTLE_MS", job.settle_ms().to_string())
            .env("TCL_COMPAT_KEEP_GOING", u8::from(self.keep_going).to_string())
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join("stderr"))?)
            .process_group(0)
            .spawn()?;
        let report = self.follow(job, child);
        if report.finished && report.failed.is_empty() && report.ending.is_none() {
            fs::remove_dir_all(&dir)?;
        }
        Ok(report)
    }

    /// The directory that a unit runs in: the suite's files as links, and programs under `src`.
    fn lay_out(&self, job: &Job) -> Result<PathBuf> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let dir = self.scratch.join(format!("{number}-{}", job.unit.replace('/', "-")));
        fs::create_dir_all(dir.join("tests/tmp"))?;
        fs::create_dir(dir.join("src"))?;
        for part in suite::parts().filter(|part| *part != SENTINEL) {
            symlink(self.suite_dir().join(part), dir.join("tests").join(part))?;
        }
        // Its scripts work in a folder of their own.
        fs::create_dir_all(dir.join("tests/sentinel/tmp"))?;
        for part in ["tests", "run.tcl"] {
            symlink(self.suite_dir().join(SENTINEL).join(part), dir.join("tests/sentinel").join(part))?;
        }
        fs::write(dir.join("suite.tcl"), include_str!("../suite.tcl"))?;
        fs::write(dir.join("unit.tcl"), include_str!("../unit.tcl"))?;
        fs::write(dir.join("sentinel.tcl"), include_str!("../sentinel.tcl"))?;

        let program = |name: &str| dir.join("src").join(name);
        // The suite knows a server by the process it started: `exec` keeps that true.
        let script = |name: &str, line: String| -> Result<()> {
            fs::write(program(name), format!("#!/bin/sh\nexec {line}\n"))?;
            Ok(fs::set_permissions(program(name), fs::Permissions::from_mode(0o755))?)
        };
        match job.threads {
            None => symlink(self.server, program("redis-server"))?,
            Some(threads) => {
                symlink(self.server, program("codis-server"))?;
                let server = program("codis-server");
                script("redis-server", format!("'{}' \"$@\" --server-threads {threads}", server.display()))?;
            }
        }
        if job.is_sentinels() {
            // Debian's is a name of its server, which asks how it was called; a path of ours would tell it nothing.
            let real = in_path("redis-server").ok_or("redis-server is missing (`make deps` installs it)")?;
            script("redis-sentinel", format!("'{}' \"$@\" --sentinel", real.display()))?;
        }
        for name in ["redis-check-aof", "redis-check-rdb"] {
            let beside = self.server.with_file_name(name);
            symlink(if beside.is_file() { &beside } else { self.server }, program(name))?;
        }
        for name in ["redis-cli", "redis-benchmark"] {
            if let Some(path) = in_path(name) {
                symlink(path, program(name))?;
            }
        }
        Ok(dir)
    }

    /// Reads what the suite prints until it has ended, or has to be ended.
    fn follow(&self, job: &Job, mut child: Child) -> Report {
        let mut report = Report::default();
        let lines = lines_of(&mut child);
        let deadline = Instant::now() + UNIT_TIME_MAX;
        let ending = loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => self.take(job, &mut report, &line),
                // All who could print have gone, or nobody has for a moment.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(10)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Ok(Some(status)) = child.try_wait() {
                break ending(status);
            }
            if self.stopped() {
                break Some("was stopped".to_owned());
            }
            if Instant::now() > deadline {
                report.hung = true;
                break Some(format!("was killed after {} s", UNIT_TIME_MAX.as_secs()));
            }
        };
        // Whoever is left holds the pipe: only after this will it end.
        end_group(&mut child);
        lines.iter().for_each(|line| self.take(job, &mut report, &line));
        report.ending = ending;
        report
    }

    fn take(&self, job: &Job, report: &mut Report, line: &str) {
        // What follows the end repeats what was said before.
        let news = !report.finished && !line.trim().is_empty();
        report.line(line);
        if news && (!self.quiet || line.starts_with("[err]") || line.starts_with("[exception]")) {
            println!("{job}: {line}");
        }
    }
}

/// Kills every process of the suite's group - servers, clients, load generators - and waits
/// until they are gone: this process adopts those whose parent went first.
fn end_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // Failing means that nobody is left.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::empty()) {}
    }
}

fn ending(status: ExitStatus) -> Option<String> {
    (!status.success()).then(|| format!("ended with {status}"))
}

/// The suite's output by lines, read on a thread that ends with the output.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1024);
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).split(b'\n').map_while(std::io::Result::ok);
            for line in lines {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// Takes a block of ports that no other run holds, for as long as the listener lives.
fn reserve_ports() -> Result<TcpListener> {
    (0..BLOCKS)
        .find_map(|block| TcpListener::bind(("127.0.0.1", FIRST_PORT + block * PORTS_PER_BLOCK)).ok())
        .ok_or_else(|| "all blocks of ports are taken by other runs".into())
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_blocks_do_not_overlap_while_they_are_held() {
        let one = reserve_ports().unwrap().local_addr().unwrap().port();
        let held = [reserve_ports().unwrap(), reserve_ports().unwrap()];
        let [first, second] = held.each_ref().map(|block| block.local_addr().unwrap().port());
        assert!(first.abs_diff(second) >= PORTS_PER_BLOCK);
        assert_eq!((one - FIRST_PORT) % PORTS_PER_BLOCK, 0);
    }
}

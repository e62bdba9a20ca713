//! Everything measured in a run, as JSON: for plots, and for comparing two revisions later.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::error::{Context, Result};
use super::server::{Program, Server};
use super::{Plan, memory, migrate, pause, save, speed, start};

/// A run.
#[derive(Serialize)]
pub struct Report<'a> {
    machine: Machine,
    /// Of the working tree, empty outside git.
    revision: String,
    settings: &'a Plan,
    servers: Vec<Version>,
    /// Part by part; empty if left out.
    pub start: Vec<start::Row>,
    /// Bytes a key.
    pub memory: Vec<memory::Row>,
    /// Waits of a bystander.
    pub pause: Vec<pause::Row>,
    /// Rates, CPU, latencies.
    pub speed: Vec<speed::Row>,
    /// Slots that move.
    pub migrate: Vec<migrate::Row>,
    /// Saving under load.
    pub save: Vec<save::Row>,
    /// Loading what was saved.
    pub load: Vec<save::LoadRow>,
    /// Full syncs under load.
    pub sync: Vec<save::Row>,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    cpu: String,
    memory_kib: u64,
    kernel: String,
}

#[derive(Serialize)]
struct Version {
    name: String,
    path: String,
    version: String,
    allocator: String,
}

impl<'a> Report<'a> {
    /// A report without figures.
    pub fn new(settings: &'a Plan) -> Result<Self> {
        Ok(Self {
            machine: Machine::here()?,
            revision: revision(),
            settings,
            servers: Vec::new(),
            start: Vec::new(),
            memory: Vec::new(),
            pause: Vec::new(),
            speed: Vec::new(),
            migrate: Vec::new(),
            save: Vec::new(),
            load: Vec::new(),
            sync: Vec::new(),
        })
    }

    /// Notes what a server says about itself.
    pub fn add_server(&mut self, program: &Program, server: &mut Server) -> Result<()> {
        self.servers.push(Version {
            name: program.name.clone(),
            path: program.path.display().to_string(),
            version: server.client.info("server", "redis_version")?,
            allocator: server.client.info("memory", "mem_allocator")?,
        });
        Ok(())
    }

    /// The machine and the servers, a line each.
    pub fn heading(&self) -> String {
        let machine = &self.machine;
        let mut text = format!("{} cores of {}, Linux {}\n", machine.cores, machine.cpu, machine.kernel);
        for server in &self.servers {
            text += &format!("{}: {}, {}, {}\n", server.name, server.version, server.allocator, server.path);
        }
        text + "Ratios are ours to the peer: above 1 is better for req/s, below 1 for everything else.\n"
    }

    /// Writes the file anew.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from);
        let write = |text: String| fs::write(path, text + "\n");
        text.and_then(write).context(|| path.display().to_string())
    }
}

impl Machine {
    fn here() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).context(|| path.to_owned());
        let after_colon = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = after_colon(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: after_colon(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown CPU".into()),
            memory_kib: memory.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

fn revision() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

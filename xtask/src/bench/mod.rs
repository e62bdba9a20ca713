//! `cargo xtask bench`: codis-server against real Redis servers, side by side in one run.
//!
//! Absolute figures of a shared machine mean little, so every figure comes with the ratio to each peer, measured in
//! turns with it, and CPU time a request is counted beside the rate. All servers run on loopback, without persistence
//! unless that is measured, in temporary directories, and get identical bytes. Raw figures go to a JSON file.
//!
//! The peer needs no preparation: give the same program on both sides and the ratios show the noise.

mod data;
mod error;
mod far;
mod load;
mod memory;
mod migrate;
mod pause;
mod place;
mod process;
mod random;
mod report;
mod save;
mod server;
mod speed;
mod start;
mod stats;
mod steady;
mod table;
mod wire;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;

use serde::Serialize;

pub use error::{Error, Result};
use report::Report;
use server::{Program, Server};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Tests: {}", speed::test_names()))]
pub struct Args {
    /// The codis-server to measure; built in the release profile if not given
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Arguments for our server, separated by blanks
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, default_value = "")]
    server_args: String,
    /// server-threads of our server
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// A further server to compare with; may be repeated. `redis` is always there: redis-server from PATH
    #[arg(long = "peer", value_name = "NAME=PATH")]
    peers: Vec<Peer>,
    /// No other server than ours
    #[arg(long)]
    alone: bool,
    /// A tenth of the work, for a first look
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<Part>,
    /// Only these speed tests
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    tests: Vec<String>,
    /// Pipeline depths
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_name = "DEPTHS")]
    pipeline: Vec<usize>,
    /// Requests of a run with pipelining; a quarter of it without
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// Runs of each server for each figure
    #[arg(long, default_value_t = 3, value_name = "N")]
    repeats: usize,
    /// Range of random keys and elements
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// Connections of the load generator
    #[arg(long, default_value_t = 50, value_name = "N")]
    connections: usize,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_name = "N")]
    client_threads: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 32, value_name = "N")]
    value_bytes: usize,
    /// Servers between which slots are moved share all cores, also while their clients' waits are measured
    #[arg(long)]
    together: bool,
    /// Where the raw figures go
    #[arg(long, default_value = "bench-results.json", value_name = "PATH")]
    out: PathBuf,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Start-up time and the size of an empty server
    Start,
    /// Bytes a key
    Mem,
    /// Waits of a bystander
    Pause,
    /// Rate, CPU a request, latency
    Speed,
    /// Moving slots to another server; only if asked for
    Migrate,
    /// Saving and loading under a steady load
    Save,
    /// A full sync under a steady load
    Sync,
}

#[derive(Debug, Clone)]
struct Peer {
    name: String,
    path: PathBuf,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.into(), path: path.into() })
            }
            _ => Err("wanted NAME=PATH".into()),
        }
    }
}

/// What is measured, with all defaults filled in.
#[derive(Debug, Serialize)]
struct Plan {
    #[serde(skip)]
    programs: Vec<Program>,
    tests: Vec<String>,
    pipelines: Vec<usize>,
    requests: u64,
    repeats: usize,
    keys: u64,
    connections: usize,
    client_threads: usize,
    value_bytes: usize,
    server_threads: Option<usize>,
    /// Of a migration's two servers none has a core for itself.
    together: bool,
    /// Data sets for memory have this part of their keys.
    data_divisor: u64,
    /// Elements of the big hash, and keys, whose growth is watched for pauses.
    big_elements: u64,
    /// Keys of a server that saves.
    save_keys: u64,
}

impl Plan {
    /// Requests without pipelining cost several times as much: fewer give the same precision in the same time.
    fn requests_for(&self, pipeline: usize, weight: u64) -> u64 {
        let share = if pipeline < 4 { 4 } else { 1 };
        (self.requests / share / weight).max(1)
    }

    fn value(&self) -> Vec<u8> {
        vec![b'x'; self.value_bytes]
    }
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<()> {
    let plan = plan(args)?;
    server::end_servers_with_us()?;
    let mut report = Report::new(&plan)?;
    for program in &plan.programs {
        report.add_server(program, &mut Server::start(program)?)?;
    }
    print!("{}", report.heading());
    for part in [Part::Start, Part::Mem, Part::Pause, Part::Speed, Part::Save, Part::Sync, Part::Migrate] {
        if !args.only.contains(&part) && (part == Part::Migrate || !args.only.is_empty()) {
            continue;
        }
        match part {
            Part::Start => {
                report.start = start::measure(&plan)?;
                println!("\nEmpty server\n{}", start::table(&report.start));
            }
            Part::Mem => {
                report.memory = memory::measure(&plan)?;
                println!("\nMemory\n{}", memory::table(&report.memory));
            }
            Part::Pause => {
                report.pause = pause::measure(&plan)?;
                println!("\nWaits of a bystander's GET\n{}", pause::table(&report.pause));
            }
            Part::Migrate => {
                report.migrate = migrate::measure(&plan)?;
                println!("\nMigration\n{}", migrate::table(&report.migrate));
            }
            Part::Speed => {
                report.speed = speed::measure(&plan)?;
                println!("\nSpeed\n{}\n{}", speed::table(&report.speed), speed::summary(&report.speed));
            }
            Part::Save => {
                (report.save, report.load) = save::measure(&plan)?;
                println!("\nSaving under a steady load\n{}", save::table(&report.save));
                println!("Loading\n{}", save::load_table(&report.load));
            }
            Part::Sync => {
                report.sync = save::measure_sync(&plan)?;
                println!("\nA full sync under a steady load\n{}", save::table(&report.sync));
            }
        }
        report.write(&args.out)?;
    }
    println!("Raw figures: {}", args.out.display());
    Ok(())
}

fn plan(args: &Args) -> Result<Plan> {
    let at_least_1 = [args.repeats, args.connections, args.client_threads, args.value_bytes];
    if at_least_1.contains(&0) || args.pipeline.is_empty() || args.pipeline.contains(&0) || args.keys == Some(0) {
        return Err(Error::Usage("a count is 0".into()));
    }
    let path = args.server.clone().map_or_else(build_server, Ok)?;
    let mut ours: Vec<String> = args.server_args.split_whitespace().map(str::to_owned).collect();
    if let Some(threads) = args.threads {
        ours.extend(["--server-threads".into(), threads.to_string()]);
    }
    let mut programs = vec![Program { name: "codis-rs".into(), path, args: ours }];
    if !args.alone && !args.peers.iter().any(|peer| peer.name == "redis") {
        programs.push(Program { name: "redis".into(), path: "redis-server".into(), args: Vec::new() });
    }
    let peer = |peer: &Peer| Program { name: peer.name.clone(), path: peer.path.clone(), args: Vec::new() };
    programs.extend(args.peers.iter().map(peer));
    let tenth = |count: u64| if args.quick { count / 10 } else { count };
    Ok(Plan {
        programs,
        tests: args.tests.clone(),
        pipelines: args.pipeline.clone(),
        requests: args.requests.unwrap_or_else(|| tenth(1_000_000)).max(1),
        repeats: args.repeats,
        keys: args.keys.unwrap_or_else(|| tenth(1_000_000)),
        connections: args.connections.max(args.client_threads),
        client_threads: args.client_threads,
        value_bytes: args.value_bytes,
        server_threads: args.threads,
        together: args.together,
        data_divisor: if args.quick { 10 } else { 1 },
        big_elements: tenth(1_000_000),
        save_keys: args.keys.unwrap_or_else(|| tenth(2_000_000)),
    })
}

/// Builds codis-server in the release profile; the path of the binary, as cargo tells it.
fn build_server() -> Result<PathBuf> {
    use error::Context;
    eprintln!("building codis-server ...");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--package", "server", "--bin", "codis-server"])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context(|| "cargo build".into())?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut binary = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    match binary.next_back() {
        Some(path) if output.status.success() => Ok(path),
        _ => Err(Error::Usage("codis-server does not build".into())),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn plan_of(line: &str) -> Result<Plan> {
        plan(&Cli::try_parse_from(line.split(' ')).expect("a valid line").args)
    }

    #[test]
    fn redis_from_path_is_a_peer_unless_the_name_is_given_to_another() {
        let names = |line: &str| -> Vec<String> {
            plan_of(line)
                .unwrap()
                .programs
                .iter()
                .map(|program| format!("{}={}", program.name, program.path.display()))
                .collect()
        };
        assert_eq!(names("bench --server s --peer old=o"), ["codis-rs=s", "redis=redis-server", "old=o"]);
        assert_eq!(names("bench --server s --peer redis=r"), ["codis-rs=s", "redis=r"]);
    }

    #[test]
    fn threads_are_for_our_server_only() {
        let plan = plan_of("bench --server s --threads 2 --server-args=--hz=5").unwrap();
        assert_eq!(plan.programs[0].args, ["--hz=5", "--server-threads", "2"]);
        assert!(plan.programs[1].args.is_empty());
    }

    #[test]
    fn heavy_requests_and_those_without_pipelining_are_fewer() {
        let plan = plan_of("bench --server s --requests 1000").unwrap();
        assert_eq!((plan.requests_for(16, 1), plan.requests_for(1, 1), plan.requests_for(64, 5)), (1000, 250, 200));
    }

    #[test]
    fn counts_of_zero_are_refused() {
        for option in ["--repeats", "--connections", "--pipeline", "--keys"] {
            assert!(plan_of(&format!("bench --server s {option} 0")).is_err(), "{option}");
        }
    }
}

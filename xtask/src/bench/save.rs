//! Saving while clients write: what it costs them, in memory, and in time; and how long loading the file takes.
//!
//! A server with many small keys is under a steady load. After some seconds of that alone it saves (BGSAVE), writes its
//! AOF anew (BGREWRITEAOF, with `appendonly yes`), or fills a replica. The clients' waits of both phases stand side by
//! side; memory is that of the process and of what its child has for itself. Both servers write the AOF as commands, and
//! send the replica's image at once.
//!
//! A real replica on the same machine shows how long a full sync takes until it can be read from; what it takes of the
//! machine for loading, its primary's clients feel as well, whatever the primary does. So a sync is also measured as if
//! replica and clients were elsewhere: the replica only takes the image and follows until it has caught up (`far.rs`), and
//! all of them get a core whenever they want one. What clients then wait for is the primary's doing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::data::fill_strings;
use super::error::{Error, Result};
use super::far::{FarReplica, StandBy};
use super::load::new_histogram;
use super::process;
use super::server::{Program, Server};
use super::stats::{median, ratio};
use super::steady::{Phase, Steady};
use super::table::{Table, figure, ratio_cell};
use super::{Plan, wire};

/// How long the load goes on alone.
const ALONE: Duration = Duration::from_secs(4);
/// A job that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(100);
/// Looking costs the server something, and the machine: it is done in both phases alike.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// What is done beside the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// BGSAVE.
    Save,
    /// BGREWRITEAOF.
    Rewrite,
    /// A full sync with a replica and clients as if on other machines.
    SyncAway,
    /// A full sync with a replica and clients on the same machine.
    Sync,
}

impl Job {
    fn name(self) -> &'static str {
        match self {
            Job::Save => "BGSAVE",
            Job::Rewrite => "BGREWRITEAOF",
            Job::SyncAway => "sync, all away",
            Job::Sync => "sync, all here",
        }
    }
}

/// One server and one job; one figure a repeat.
#[derive(Debug, Serialize)]
pub struct Row {
    job: Job,
    server: String,
    /// The waits of all repeats, with the load alone and with the job: one repeat has few that are beyond p99.9.
    #[serde(skip)]
    all: [Histogram<u64>; 2],
    /// p99.9 of them in microseconds.
    all_p999_us: [f64; 2],
    /// Requests seen with the load alone, and with the job.
    requests: Vec<[u64; 2]>,
    /// Waits in microseconds with the load alone: p50, p99, p99.9, longest.
    before_us: Vec<[f64; 4]>,
    /// The same with the job.
    during_us: Vec<[f64; 4]>,
    seconds: Vec<f64>,
    /// CPU seconds of the server and its child beyond what the load alone needs.
    cpu_seconds: Vec<f64>,
    /// Resident bytes before the job, and the most during it.
    base_bytes: Vec<u64>,
    peak_bytes: Vec<u64>,
}

/// Loading a file at the start.
#[derive(Debug, Serialize)]
pub struct LoadRow {
    server: String,
    /// Who wrote the file.
    written_by: String,
    file_bytes: Vec<u64>,
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
}

/// Measures saves, rewrites, and loading; the servers in turns.
pub fn measure(plan: &Plan) -> Result<(Vec<Row>, Vec<LoadRow>)> {
    let mut rows = empty_rows(plan, &[Job::Save, Job::Rewrite]);
    let load_row = |program: &Program, by: &Program| LoadRow {
        server: program.name.clone(),
        written_by: by.name.clone(),
        file_bytes: Vec::new(),
        seconds: Vec::new(),
        cpu_seconds: Vec::new(),
    };
    let mut loads: Vec<LoadRow> = plan.programs.iter().map(|program| load_row(program, program)).collect();
    for _ in 0..plan.repeats {
        for (nth, program) in plan.programs.iter().enumerate() {
            let mut server = filled(program, plan)?;
            for (job, group) in [Job::Save, Job::Rewrite].into_iter().zip(rows.chunks_mut(plan.programs.len())) {
                let seen = watch(&mut server, program, plan, job)?;
                if let Some(row) = group.get_mut(nth) {
                    row.push(&seen);
                }
                if job == Job::Save {
                    let (seconds, cpu) = load(program, &server.dir().join("dump.rdb"), plan.save_keys)?;
                    if let Some(row) = loads.get_mut(nth) {
                        row.file_bytes
                            .push(std::fs::metadata(server.dir().join("dump.rdb")).map_or(0, |file| file.len()));
                        row.seconds.push(seconds);
                        row.cpu_seconds.push(cpu);
                    }
                }
            }
        }
    }
    Ok((rows, loads))
}

/// Measures full syncs; the servers in turns.
pub fn measure_sync(plan: &Plan) -> Result<Vec<Row>> {
    let jobs = [Job::SyncAway, Job::Sync];
    let mut rows = empty_rows(plan, &jobs);
    for _ in 0..plan.repeats {
        for (nth, program) in plan.programs.iter().enumerate() {
            let mut server = filled(program, plan)?;
            for (job, group) in jobs.into_iter().zip(rows.chunks_mut(plan.programs.len())) {
                let seen = watch(&mut server, program, plan, job)?;
                if let Some(row) = group.get_mut(nth) {
                    row.push(&seen);
                }
            }
        }
    }
    Ok(rows)
}

fn empty_rows(plan: &Plan, jobs: &[Job]) -> Vec<Row> {
    let row = |job: Job, program: &Program| Row {
        job,
        server: program.name.clone(),
        all: [new_histogram(), new_histogram()],
        all_p999_us: [0.0; 2],
        requests: Vec::new(),
        before_us: Vec::new(),
        during_us: Vec::new(),
        seconds: Vec::new(),
        cpu_seconds: Vec::new(),
        base_bytes: Vec::new(),
        peak_bytes: Vec::new(),
    };
    jobs.iter().flat_map(|&job| plan.programs.iter().map(move |program| row(job, program))).collect()
}

fn filled(program: &Program, plan: &Plan) -> Result<Server> {
    let server = Server::start(program)?;
    // What newer servers do by default, and others may not know: each on a connection of its own.
    for (name, value) in [("aof-use-rdb-preamble", "no"), ("repl-diskless-sync-delay", "0")] {
        let _ = wire::Client::connect(server.addr)?.run(&["CONFIG", "SET", name, value]);
    }
    fill_strings(&mut wire::Client::connect(server.addr)?, "key:", plan.save_keys, &plan.value())?;
    server.settle()?;
    Ok(server)
}

struct Seen {
    waits: super::steady::Waits,
    seconds: f64,
    cpu_seconds: f64,
    base_bytes: u64,
    peak_bytes: u64,
}

/// The load alone, then with the job.
fn watch(server: &mut Server, program: &Program, plan: &Plan, job: Job) -> Result<Seen> {
    if job == Job::Rewrite {
        server.client.run(&["CONFIG", "SET", "appendonly", "yes"])?;
        server.client.run(&["CONFIG", "SET", "auto-aof-rewrite-percentage", "0"])?;
        until(|| is_idle(&mut server.client, "aof_rewrite_in_progress"))?;
    }
    let replica = match job {
        Job::Sync => Some(Follower::Here(Server::start(program)?)),
        Job::SyncAway => Some(Follower::Away(FarReplica::stand_by(server.addr))),
        Job::Save | Job::Rewrite => None,
    };
    server.settle()?;
    let load = Steady::start(server.addr, plan.save_keys, &plan.value(), job == Job::SyncAway)?;
    thread::sleep(ALONE / 8);
    let cpu_before = process::cpu_with_children_s(server.pid)?;
    let memory = Memory::default();
    let (pid, log) = (server.pid, server.dir().join("log"));
    let (seconds, cpu_alone, base_bytes) = thread::scope(|scope| {
        scope.spawn(|| memory.sample(&log, pid));
        let result = alone_and_with(server, job, replica, &load, &memory);
        memory.done.store(true, Ordering::Relaxed);
        result
    })?;
    let cpu_rate = (cpu_alone - cpu_before) / ALONE.as_secs_f64();
    let waits = load.finish()?;
    // A child's time is counted when it has been waited for.
    thread::sleep(Duration::from_millis(300));
    let cpu = process::cpu_with_children_s(server.pid)? - cpu_alone;
    Ok(Seen {
        waits,
        seconds,
        cpu_seconds: (cpu - cpu_rate * seconds).max(0.0),
        base_bytes,
        peak_bytes: memory.peak.load(Ordering::Relaxed),
    })
}

/// Seconds that the job took, CPU seconds used by its beginning, resident bytes then.
fn alone_and_with(
    server: &mut Server,
    job: Job,
    replica: Option<Follower>,
    load: &Steady,
    memory: &Memory,
) -> Result<(f64, f64, u64)> {
    load.enter(Phase::Before);
    let began = Instant::now();
    until(|| Ok(is_idle(&mut server.client, "rdb_bgsave_in_progress")? && began.elapsed() >= ALONE))?;
    load.enter(Phase::Unwatched);
    let cpu_alone = process::cpu_with_children_s(server.pid)?;
    let base_bytes = process::status_bytes(server.pid);
    memory.peak.store(base_bytes, Ordering::Relaxed);
    let began = Instant::now();
    load.enter(Phase::During);
    run_job(&mut server.client, job, server.addr.port(), replica)?;
    let seconds = began.elapsed().as_secs_f64();
    load.enter(Phase::Unwatched);
    Ok((seconds, cpu_alone, base_bytes))
}

/// Who is to be filled.
enum Follower {
    /// A server on this machine.
    Here(Server),
    /// One that stands for a server elsewhere.
    Away(StandBy),
}

fn run_job(client: &mut wire::Client, job: Job, port: u16, replica: Option<Follower>) -> Result<()> {
    match (job, replica) {
        (Job::Save, _) => {
            client.run(&["BGSAVE"])?;
            until(|| is_idle(client, "rdb_bgsave_in_progress"))?;
            match client.info("persistence", "rdb_last_bgsave_status")?.as_str() {
                "ok" => Ok(()),
                other => Err(Error::Reply(format!("rdb_last_bgsave_status is {other}"))),
            }
        }
        (Job::Rewrite, _) => {
            client.run(&["BGREWRITEAOF"])?;
            until(|| is_idle(client, "aof_rewrite_in_progress"))?;
            match client.info("persistence", "aof_last_bgrewrite_status")?.as_str() {
                "ok" => Ok(()),
                other => Err(Error::Reply(format!("aof_last_bgrewrite_status is {other}"))),
            }
        }
        (_, Some(Follower::Away(replica))) => {
            let synced = replica.sync()?;
            synced.follow_to(client.info_number("replication", "master_repl_offset")?)
        }
        (_, Some(Follower::Here(mut replica))) => {
            replica.client.run(&["SLAVEOF", "127.0.0.1", &port.to_string()])?;
            until(|| Ok(replica.client.info("replication", "master_link_status")? == "up"))
        }
        (Job::Sync | Job::SyncAway, None) => Err(Error::Usage("a full sync needs a replica".into())),
    }
}

fn is_idle(client: &mut wire::Client, field: &str) -> Result<bool> {
    Ok(client.info("persistence", field)? == "0")
}

fn until(mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !done()? {
        if begin.elapsed() > PATIENCE {
            return Err(Error::Stalled(PATIENCE.as_secs()));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The most memory seen.
#[derive(Default)]
struct Memory {
    done: AtomicBool,
    peak: AtomicU64,
}

impl Memory {
    /// Looks now and then. Nothing here may take long: the clients would feel it.
    fn sample(&self, log: &Path, pid: u32) {
        while !self.done.load(Ordering::Relaxed) {
            let child = child_named_in(log).filter(|child| *child != pid);
            let bytes = process::status_bytes(pid) + child.map_or(0, process::private_bytes);
            self.peak.fetch_max(bytes, Ordering::Relaxed);
            thread::sleep(SAMPLE_EVERY);
        }
    }
}

/// The process that a server's log names last. Looking through all processes would take a millisecond.
fn child_named_in(log: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(log).ok()?;
    let (_, behind) = text.rsplit_once("started by pid ")?;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Starts a server with a file; wall and CPU seconds until it has all keys.
fn load(program: &Program, file: &Path, keys: u64) -> Result<(f64, f64)> {
    let mut server = Server::start_with(program, Some(file))?;
    let cpu = process::cpu_with_children_s(server.pid)?;
    let found = server.client.ask(&["DBSIZE"])?;
    if found != keys.to_string() {
        return Err(Error::Reply(format!("{}: DBSIZE is {found} after loading {keys} keys", program.name)));
    }
    Ok((server.started_in.as_secs_f64(), cpu))
}

impl Row {
    fn push(&mut self, seen: &Seen) {
        let us = |waits: &Histogram<u64>| {
            let at = |quantile| waits.value_at_quantile(quantile) as f64 / 1000.0;
            [at(0.5), at(0.99), at(0.999), waits.max() as f64 / 1000.0]
        };
        for (nth, waits) in [&seen.waits.before, &seen.waits.during].into_iter().enumerate() {
            self.all[nth].add(waits).expect("equal bounds");
            self.all_p999_us[nth] = self.all[nth].value_at_quantile(0.999) as f64 / 1000.0;
        }
        self.requests.push([seen.waits.before.len(), seen.waits.during.len()]);
        self.before_us.push(us(&seen.waits.before));
        self.during_us.push(us(&seen.waits.during));
        self.seconds.push(seen.seconds);
        self.cpu_seconds.push(seen.cpu_seconds);
        self.base_bytes.push(seen.base_bytes);
        self.peak_bytes.push(seen.peak_bytes);
    }

    /// Of the medians: one column of waits.
    fn wait(waits: &[[f64; 4]], column: usize) -> f64 {
        let values: Vec<f64> = waits.iter().filter_map(|row| row.get(column).copied()).collect();
        median(&values).unwrap_or(0.0)
    }

    fn growth(&self) -> Option<f64> {
        let growth = |(peak, base): (&u64, &u64)| ratio(*peak as f64, *base as f64);
        median(&self.peak_bytes.iter().zip(&self.base_bytes).filter_map(growth).collect::<Vec<_>>())
    }
}

/// The rows as a table; rows of one job stand together, ours first.
pub fn table(rows: &[Row]) -> String {
    #[rustfmt::skip]
    let header = [
        "job", "server", "alone us p50", "p99", "p99.9", "max", "with job p50", "p99", "p99.9", "max", "p99.9 x",
        "all p99.9", "with", "x", "s", "CPU s", "peak MiB", "x", "| ours/it:", "p99.9", "s", "CPU", "peak",
    ];
    let mut table = Table::new(2, &header);
    let of = |values: &Vec<f64>| median(values).unwrap_or(0.0);
    let peak = |row: &Row| of(&row.peak_bytes.iter().map(|&bytes| bytes as f64).collect());
    for group in rows.chunk_by(|a, b| a.job == b.job) {
        let Some(ours) = group.first() else { continue };
        for (nth, row) in group.iter().enumerate() {
            let mut cells = vec![row.job.name().into(), row.server.clone()];
            cells.extend((0..4).map(|column| figure(Row::wait(&row.before_us, column))));
            cells.extend((0..4).map(|column| figure(Row::wait(&row.during_us, column))));
            cells.push(ratio_cell(ratio(Row::wait(&row.during_us, 2), Row::wait(&row.before_us, 2))));
            let [alone, with] = row.all_p999_us;
            cells.extend([figure(alone), figure(with), ratio_cell(ratio(with, alone))]);
            cells.extend([figure(of(&row.seconds)), figure(of(&row.cpu_seconds))]);
            cells.extend([figure(peak(row) / f64::from(1 << 20)), ratio_cell(row.growth()), "|".into()]);
            if nth > 0 {
                cells.push(ratio_cell(ratio(Row::wait(&ours.during_us, 2), Row::wait(&row.during_us, 2))));
                cells.push(ratio_cell(ratio(of(&ours.seconds), of(&row.seconds))));
                cells.push(ratio_cell(ratio(of(&ours.cpu_seconds), of(&row.cpu_seconds))));
                cells.push(ratio_cell(ratio(peak(ours), peak(row))));
            }
            table.row(cells);
        }
    }
    table.text()
}

/// Loading as a table, ours first.
pub fn load_table(rows: &[LoadRow]) -> String {
    let mut table = Table::new(1, &["server", "file MiB", "load s", "CPU s", "| ours/it:", "s", "CPU"]);
    let of = |values: &Vec<f64>| median(values).unwrap_or(0.0);
    for (nth, row) in rows.iter().enumerate() {
        let mib = row.file_bytes.last().copied().unwrap_or(0) as f64 / f64::from(1 << 20);
        let mut cells =
            vec![row.server.clone(), figure(mib), figure(of(&row.seconds)), figure(of(&row.cpu_seconds)), "|".into()];
        if let (Some(ours), true) = (rows.first(), nth > 0) {
            cells.push(ratio_cell(ratio(of(&ours.seconds), of(&row.seconds))));
            cells.push(ratio_cell(ratio(of(&ours.cpu_seconds), of(&row.cpu_seconds))));
        }
        table.row(cells);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_medians_and_growth_of_each_repeat() {
        let row = |server: &str, us: f64, peak: u64| Row {
            job: Job::Save,
            server: server.into(),
            all: [new_histogram(), new_histogram()],
            all_p999_us: [50.0, us],
            requests: vec![[1, 1]; 3],
            before_us: vec![[1.0, 1.0, 100.0, 1.0]; 3],
            during_us: vec![[1.0, 1.0, us, 1.0], [1.0, 1.0, 2.0 * us, 1.0], [1.0, 1.0, 9.0 * us, 1.0]],
            seconds: vec![us; 3],
            cpu_seconds: vec![us; 3],
            base_bytes: vec![100; 3],
            peak_bytes: vec![peak; 3],
        };
        let text = table(&[row("ours", 55.0, 110), row("peer", 220.0, 220)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains(" 1.10 ") && lines[2].contains(" 2.20 "), "{text}");
        assert!(lines[2].ends_with("0.25  0.25  0.25  0.50"), "{text}");
    }
}

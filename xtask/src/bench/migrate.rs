//! Migration: two servers of one program, one moves everything it has to the other with SLOTSMGRTTAGSLOT-ASYNC as the
//! dashboard sends it.
//!
//! Each case runs three times: alone, for the rate and the CPU time of both servers, and once for each side with a steady
//! load on it, for what its clients feel (`steady.rs`). Their waits before the migration, on the same servers with the same
//! data, stand beside those with it. The clients use a database of their own, since who writes to a key that moves waits
//! until it has moved.
//!
//! In the runs for waits the server that is looked at has a core for itself, and the other one shares a core with the
//! clients, which go before it (`place.rs`): it stands for a server on another machine. With `--together` all share all
//! cores instead. What other programs of the machine make a server wait for is in the waits all the same, so there is a second
//! measure of the probe's: its waits without what the server stood in line for a core behind strangers (`process.rs`).

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Plan;
use super::data::{Loader, fill_strings};
use super::error::{Error, Result};
use super::place::Apart;
use super::server::Server;
use super::stats::{median, ratio};
use super::steady::{Far, Phase, Steady};
use super::table::{Table, figure, ratio_cell};
use super::wire::Client;

/// What the dashboard sends by default: timeout, maxbulks, maxbytes; and numkeys.
const ARGUMENTS: [&str; 3] = ["30000", "200", "33554432"];
const NUMKEYS: &str = "500";
const SLOTS: usize = 1024;
/// The load's database, and its keys.
const LOAD_DB: u64 = 1;
const LOAD_KEYS: u64 = 10_000;
/// Of the load's probe: a server that takes what it gets as fast as it can answers some thousand turns a second.
const PACE: Duration = Duration::from_millis(1);
/// How long the load goes on alone before the migration.
const BEFORE: Duration = Duration::from_secs(2);
/// The load goes on for this long, to see work that is put off.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// What is moved.
struct Case {
    name: &'static str,
    /// Its part of the full size if `--quick` is given.
    quick: u64,
    count: u64,
    value_bytes: usize,
    command: &'static str,
}

const fn case(name: &'static str, command: &'static str, count: u64, value_bytes: usize) -> Case {
    Case { name, quick: 10, count, value_bytes, command }
}

/// Many keys, and one big value of each type.
const CASES: [Case; 9] = [
    case("keys", "SET", 1_000_000, 16),
    case("tagged", "SETTAG", 1_000_000, 16),
    case("hash 100B", "HSET", 1_000_000, 100),
    case("hash 1KB", "HSET", 300_000, 1000),
    case("hash 5M", "HSET", 5_000_000, 16),
    case("set 5M", "SADD", 5_000_000, 0),
    case("zset 5M", "ZADD", 5_000_000, 0),
    case("list 5M", "RPUSH", 5_000_000, 16),
    case("string", "APPEND", 200, 1_000_000),
];

/// One program and case; one figure a repeat.
#[derive(Debug, Serialize)]
pub struct Row {
    case: &'static str,
    server: String,
    elements_per_s: Vec<f64>,
    mb_per_s: Vec<f64>,
    /// CPU time of both servers for an element, microseconds.
    cpu_us: Vec<f64>,
    /// Of clients of the source, and of the target.
    source: Waits,
    target: Waits,
}

/// Waits of clients, in microseconds; one figure a repeat.
#[derive(Debug, Default, Serialize)]
struct Waits {
    before_p99_9: Vec<f64>,
    before_max: Vec<f64>,
    p99: Vec<f64>,
    p99_9: Vec<f64>,
    max: Vec<f64>,
    /// What of the probe's waits is the server's own doing: p99.9, and the longest pause, before and with the migration.
    own: [[Vec<f64>; 2]; 2],
}

impl Waits {
    fn push(&mut self, seen: &super::steady::Waits) {
        let us = |ns: u64| ns as f64 / 1000.0;
        self.before_p99_9.push(us(seen.before.value_at_quantile(0.999)));
        self.before_max.push(us(seen.before.max()));
        self.p99.push(us(seen.during.value_at_quantile(0.99)));
        self.p99_9.push(us(seen.during.value_at_quantile(0.999)));
        self.max.push(us(seen.during.max()));
        for ([p99_9, pause], (seen, trips)) in self.own.iter_mut().zip(seen.own.iter().zip(&seen.trips)) {
            p99_9.push(us(seen.value_at_quantile(0.999)));
            pause.push(us(trips.max()));
        }
    }

    fn cells(&self) -> Vec<String> {
        let middle = |values: &[f64]| median(values).unwrap_or(0.0);
        let of = |values: &[f64]| figure(middle(values));
        let [[own_before, pause_before], [own, pause]] = &self.own;
        vec![
            of(&self.before_p99_9),
            of(&self.before_max),
            of(&self.p99),
            of(&self.p99_9),
            ratio_cell(ratio(middle(&self.p99_9), middle(&self.before_p99_9))),
            of(&self.max),
            of(own_before),
            of(pause_before),
            of(own),
            ratio_cell(ratio(middle(own), middle(own_before))),
            of(pause),
        ]
    }
}

/// Whose clients are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// Measures all cases with all programs that know slots.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let wanted = plan.tests.is_empty() || plan.tests.iter().any(|name| case.name.contains(name.as_str()));
        if !wanted {
            continue;
        }
        let mut group: Vec<Row> = Vec::new();
        for _ in 0..plan.repeats {
            for program in &plan.programs {
                if Server::start(program)?.client.run(&["SLOTSINFO"]).is_err() {
                    continue;
                }
                let at = group.iter().position(|row| row.server == program.name);
                let at = at.unwrap_or_else(|| {
                    group.push(Row::new(case, &program.name));
                    group.len() - 1
                });
                let count = if plan.big_elements < 1_000_000 { case.count / case.quick } else { case.count };
                group[at].measure(case, count, plan.together, &|| Server::start(program))?;
            }
        }
        rows.append(&mut group);
    }
    Ok(rows)
}

impl Row {
    fn new(case: &Case, server: &str) -> Row {
        Row {
            case: case.name,
            server: server.to_owned(),
            elements_per_s: Vec::new(),
            mb_per_s: Vec::new(),
            cpu_us: Vec::new(),
            source: Waits::default(),
            target: Waits::default(),
        }
    }

    fn measure(&mut self, case: &Case, count: u64, together: bool, start: &dyn Fn() -> Result<Server>) -> Result<()> {
        let pair = || -> Result<(Server, Server, u64)> {
            let (mut source, target) = (start()?, start()?);
            let bytes = fill(&mut source.client, case, count)?;
            source.settle()?;
            Ok((source, target, bytes))
        };
        let (mut source, target, bytes) = pair()?;
        let before = source.cpu_ns()? + target.cpu_ns()?;
        let begin = Instant::now();
        move_all(&mut source.client, &target)?;
        let took = begin.elapsed().as_secs_f64();
        source.settle()?;
        let used = source.cpu_ns()? + target.cpu_ns()? - before;
        self.elements_per_s.push(count as f64 / took);
        self.mb_per_s.push(bytes as f64 / 1e6 / took);
        self.cpu_us.push(used as f64 / 1000.0 / count as f64);
        drop((source, target));

        for side in [Side::Source, Side::Target] {
            let (source, target, _) = pair()?;
            let seen = watch(side, &source, &target, together)?;
            match side {
                Side::Source => self.source.push(&seen),
                Side::Target => self.target.push(&seen),
            }
        }
        Ok(())
    }
}

/// Moves all under a steady load on one side.
fn watch(side: Side, source: &Server, target: &Server, together: bool) -> Result<super::steady::Waits> {
    let (watched, other) = if side == Side::Source { (source, target) } else { (target, source) };
    let value = [b'x'; 16];
    let mut client = Client::connect(watched.addr)?;
    client.run(&["SELECT", &LOAD_DB.to_string()])?;
    fill_strings(&mut client, "key:", LOAD_KEYS, &value)?;
    let _placed = (!together).then(|| Apart::place(watched.pid, other.pid));
    let far = Far { db: LOAD_DB, pid: watched.pid, probe_pace: PACE };
    let load = Steady::start_as(watched.addr, LOAD_KEYS, &value, true, Some(far))?;
    thread::sleep(BEFORE / 4);
    load.enter(Phase::Before);
    thread::sleep(BEFORE);
    load.enter(Phase::During);
    let moved = Client::connect(source.addr).and_then(|mut client| move_all(&mut client, target));
    thread::sleep(AFTERWARDS);
    load.enter(Phase::Unwatched);
    let seen = load.finish();
    moved.and(seen)
}

/// Puts the data of a case in; returns the bytes of its keys or elements.
fn fill(client: &mut Client, case: &Case, count: u64) -> Result<u64> {
    const BATCH: u64 = 100;
    let mut loader = Loader::new(client);
    let value = vec![b'x'; case.value_bytes];
    let mut bytes = 0;
    for first in (0..count).step_by(BATCH as usize) {
        let names: Vec<String> = (first..count.min(first + BATCH)).map(|n| format!("key:{n:012}")).collect();
        bytes += names.iter().map(|name| name.len() + value.len()).sum::<usize>() as u64;
        let mut args: Vec<&[u8]> = vec![case.command.as_bytes(), b"big"];
        match case.command {
            "SET" | "SETTAG" => {
                for (name, n) in names.iter().zip(first..) {
                    let tagged = format!("{{t{}}}{n:012}", n / 8);
                    let key = if case.command == "SET" { name.as_bytes() } else { tagged.as_bytes() };
                    loader.push(&[b"SET", key, &value])?;
                }
                continue;
            }
            "APPEND" => {
                for _ in &names {
                    loader.push(&[b"APPEND", b"big", &value])?;
                }
                continue;
            }
            "HSET" => {
                args[0] = b"HMSET";
                args.extend(names.iter().flat_map(|name| [name.as_bytes(), &value]));
            }
            "ZADD" => args.extend(names.iter().flat_map(|name| [&name.as_bytes()[4..], name.as_bytes()])),
            _ => args.extend(names.iter().map(String::as_bytes)),
        }
        loader.push(&args)?;
    }
    loader.finish()?;
    Ok(bytes)
}

/// Moves every slot, as the dashboard does.
fn move_all(client: &mut Client, target: &Server) -> Result<()> {
    let (host, port) = (target.addr.ip().to_string(), target.addr.port().to_string());
    let info = client.numbers(&["SLOTSINFO"])?;
    for slot in info.chunks(2).map(|pair| pair[0] as usize) {
        if slot >= SLOTS {
            return Err(Error::Reply(format!("SLOTSINFO names slot {slot}")));
        }
        let number = slot.to_string();
        let mut line = vec!["SLOTSMGRTTAGSLOT-ASYNC", &host, &port];
        line.extend(ARGUMENTS);
        line.extend([number.as_str(), NUMKEYS]);
        while client.numbers(&line)?.get(1).copied() != Some(0) {}
    }
    Ok(())
}

/// The rows as a table; rows of one case stand together, ours first.
pub fn table(rows: &[Row]) -> String {
    #[rustfmt::skip]
    let header = [
        "case", "server", "k/s", "MB/s", "CPU us",
        "source us before: p99.9", "max", "with: p99", "p99.9", "ratio", "max",
        "own before: p99.9", "pause", "with: p99.9", "ratio", "pause",
        "target us before: p99.9", "max", "with: p99", "p99.9", "ratio", "max",
        "own before: p99.9", "pause", "with: p99.9", "ratio", "pause",
        "| ours/it:", "k/s", "CPU",
    ];
    let mut table = Table::new(2, &header);
    let middle = |values: &[f64]| median(values).unwrap_or(0.0);
    for group in rows.chunk_by(|a, b| a.case == b.case) {
        let Some(ours) = group.first() else { continue };
        for (nth, row) in group.iter().enumerate() {
            let mut cells = vec![row.case.to_owned(), row.server.clone()];
            cells.push(figure(middle(&row.elements_per_s) / 1000.0));
            cells.extend([&row.mb_per_s, &row.cpu_us].map(|values| figure(middle(values))));
            cells.extend(row.source.cells());
            cells.extend(row.target.cells());
            cells.push("|".into());
            if nth > 0 {
                let of = |ours: &[f64], theirs: &[f64]| ratio_cell(ratio(middle(ours), middle(theirs)));
                cells.push(of(&ours.elements_per_s, &row.elements_per_s));
                cells.push(of(&ours.cpu_us, &row.cpu_us));
            }
            table.row(cells);
        }
    }
    table.text()
}

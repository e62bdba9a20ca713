//! Migration: two servers of one program, one moves everything it has to the other with SLOTSMGRTTAGSLOT-ASYNC as the
//! dashboard sends it.
//!
//! Each case runs twice: alone, for the rate and the CPU time of both servers, and with a probe on each side, for what
//! clients feel. The probes are those of the pauses: a late reply counts for all that were due meanwhile. Waits without
//! a migration are measured just before, on the same servers with the same data.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Plan;
use super::data::Loader;
use super::error::{Error, Result};
use super::pause::probe;
use super::server::Server;
use super::stats::{median, ratio};
use super::table::{Table, figure, ratio_cell};
use super::wire::Client;

/// What the dashboard sends by default: timeout, maxbulks, maxbytes; and numkeys.
const ARGUMENTS: [&str; 3] = ["30000", "200", "33554432"];
const NUMKEYS: &str = "500";
const SLOTS: usize = 1024;
/// Of the probes: so slow that a probe whose replies take some hundred microseconds each is not late by itself.
const PACE: Duration = Duration::from_millis(1);
/// How long probes look at servers that do nothing else.
const IDLE: Duration = Duration::from_secs(2);
/// The probes run on for this long, to see work that is put off.
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
    case("keys", "SET", 200_000, 16),
    case("tagged", "SETTAG", 200_000, 16),
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
    /// p99.9 and max on the source and on the target, microseconds: idle, then while keys move.
    source: Waits,
    target: Waits,
}

#[derive(Debug, Default, Serialize)]
struct Waits {
    idle_p99_9_us: Vec<f64>,
    p99_us: Vec<f64>,
    p99_9_us: Vec<f64>,
    max_us: Vec<f64>,
}

impl Waits {
    fn push(&mut self, idle: &Histogram<u64>, seen: &Histogram<u64>) {
        let us = |ns: u64| ns as f64 / 1000.0;
        self.idle_p99_9_us.push(us(idle.value_at_quantile(0.999)));
        self.p99_us.push(us(seen.value_at_quantile(0.99)));
        self.p99_9_us.push(us(seen.value_at_quantile(0.999)));
        self.max_us.push(us(seen.max()));
    }

    fn cells(&self) -> [String; 4] {
        let cell = |values: &[f64]| figure(median(values).unwrap_or(0.0));
        [cell(&self.idle_p99_9_us), cell(&self.p99_us), cell(&self.p99_9_us), cell(&self.max_us)]
    }
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
                group[at].measure(case, count, &|| Server::start(program))?;
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

    fn measure(&mut self, case: &Case, count: u64, start: &dyn Fn() -> Result<Server>) -> Result<()> {
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

        let (mut source, target, _) = pair()?;
        let idle = watch([&source, &target], || {
            thread::sleep(IDLE);
            Ok(())
        })?;
        let mut client = Client::connect(source.addr)?;
        let seen = watch([&source, &target], || {
            let moved = move_all(&mut client, &target);
            thread::sleep(AFTERWARDS);
            moved
        })?;
        source.client.run(&["PING"])?;
        self.source.push(&idle[0], &seen[0]);
        self.target.push(&idle[1], &seen[1]);
        Ok(())
    }
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

/// Probes both servers while something is done.
fn watch(servers: [&Server; 2], work: impl FnOnce() -> Result<()>) -> Result<[Histogram<u64>; 2]> {
    let done = AtomicBool::new(false);
    let mut clients = Vec::new();
    for server in servers {
        clients.push(Client::connect(server.addr)?);
    }
    thread::scope(|scope| {
        let probes: Vec<_> = clients
            .into_iter()
            .map(|client| scope.spawn(|| probe(client, &[b"EXISTS", b"probe"], PACE, &done)))
            .collect();
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let mut seen = probes.into_iter().map(|probe| probe.join().expect("panics abort the process"));
        let both = [seen.next(), seen.next()];
        worked?;
        let [Some(source), Some(target)] = both else { return Err(Error::Reply("no probe".into())) };
        Ok([source?, target?])
    })
}

/// The rows as a table; rows of one case stand together, ours first.
pub fn table(rows: &[Row]) -> String {
    #[rustfmt::skip]
    let header = [
        "case", "server", "k/s", "MB/s", "CPU us", "source us: idle p99.9", "p99", "p99.9", "max",
        "target us: idle p99.9", "p99", "p99.9", "max", "| ours/it:", "k/s", "CPU",
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

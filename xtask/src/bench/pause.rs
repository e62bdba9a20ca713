//! Pauses: how long one client waits while another makes something big grow, change or go away.
//!
//! A probe sends GET at a steady pace. If a reply is late, the probes that should have been sent meanwhile are sent
//! together and counted from the moments they were due, so one pause is not hidden behind one late reply, nor do short
//! ones add up because each probe waits for the one before; a late timer of the probe's own thread is not counted. The
//! `idle` and `overwrite` phases show what the machine itself adds.
//!
//! On a busy machine that is milliseconds, so there is a second measure that the rest of the machine does not touch:
//! the CPU time that the server's busiest thread uses for each of the writer's small batches. A table that is enlarged
//! in one go shows there as one expensive batch.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Plan;
use super::data::Loader;
use super::error::Result;
use super::load::new_histogram;
use super::process::ThreadMeter;
use super::random::Random;
use super::server::Server;
use super::stats::{lowest, median, ratio};
use super::table::{Table, figure, ratio_cell};
use super::wire::{Client, Shape, write_request};

const PACE: Duration = Duration::from_micros(250);
/// Requests that the writer has under way: the probe waits behind few of them.
const WRITER_PIPELINE: u64 = 16;
/// Late probes that are sent together, at most.
const LATE_MAX: u128 = 1000;
/// How often it is looked whether a save has ended.
const SAVE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// The probe runs on for this long, to see work that is put off.
const AFTERWARDS: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// Nothing else happens.
    Idle,
    /// SET of new keys.
    KeysGrow,
    /// HSET of new fields into one hash.
    HashGrow,
    /// HSET of fields that exist.
    HashOverwrite,
    /// HSET of fields that exist while BGSAVE goes over the hash.
    HashSave,
    /// The same, one request at a time: the probe itself is the one that writes.
    HashSaveAlone,
    /// DEL of the hash.
    HashDelete,
    /// ZADD of members that exist, with other scores, during BGSAVE.
    SortedSetSave,
    /// SADD and SREM during BGSAVE.
    SetSave,
    /// LSET during BGSAVE.
    ListSave,
}

const PHASES: [Phase; 10] = [
    Phase::Idle,
    Phase::KeysGrow,
    Phase::HashGrow,
    Phase::HashOverwrite,
    Phase::HashSave,
    Phase::HashSaveAlone,
    Phase::HashDelete,
    Phase::SortedSetSave,
    Phase::SetSave,
    Phase::ListSave,
];

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::KeysGrow => "keys grow",
            Phase::HashGrow => "hash grows",
            Phase::HashOverwrite => "hash overwrite",
            Phase::HashSave => "hash, BGSAVE",
            Phase::HashSaveAlone => "HSET, BGSAVE",
            Phase::HashDelete => "hash DEL",
            Phase::SortedSetSave => "zset, BGSAVE",
            Phase::SetSave => "set, BGSAVE",
            Phase::ListSave => "list, BGSAVE",
        }
    }
}

/// One server in one phase; latencies of the probe, one figure a repeat.
#[derive(Debug, Serialize)]
pub struct Row {
    phase: Phase,
    server: String,
    probes: Vec<u64>,
    p50_us: Vec<f64>,
    p99_9_us: Vec<f64>,
    max_us: Vec<f64>,
    /// CPU time of the server's busiest thread for one batch of the writer.
    step_p99_9_us: Vec<f64>,
    step_max_us: Vec<f64>,
    /// How long the writer needed.
    writer_ms: Vec<f64>,
}

/// Measures all phases, the servers in turns.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for phase in PHASES {
        rows.extend(plan.programs.iter().map(|program| Row {
            phase,
            server: program.name.clone(),
            probes: Vec::new(),
            p50_us: Vec::new(),
            p99_9_us: Vec::new(),
            max_us: Vec::new(),
            step_p99_9_us: Vec::new(),
            step_max_us: Vec::new(),
            writer_ms: Vec::new(),
        }));
    }
    for _ in 0..plan.repeats {
        for (nth, program) in plan.programs.iter().enumerate() {
            let mut server = Server::start(program)?;
            server.client.run(&["SET", "probe", "value"])?;
            for (phase, group) in PHASES.into_iter().zip(rows.chunks_mut(plan.programs.len())) {
                prepare(&mut server.client, phase, plan.big_elements)?;
                server.settle()?;
                let seen = watch(&server, phase, plan.big_elements)?;
                if let Some(row) = group.get_mut(nth) {
                    row.push(&seen);
                }
            }
        }
    }
    Ok(rows)
}

impl Row {
    fn push(&mut self, seen: &Seen) {
        let us = |ns: u64| ns as f64 / 1000.0;
        self.probes.push(seen.waits.len());
        self.p50_us.push(us(seen.waits.value_at_quantile(0.5)));
        self.p99_9_us.push(us(seen.waits.value_at_quantile(0.999)));
        self.max_us.push(us(seen.waits.max()));
        self.step_p99_9_us.push(us(seen.steps.value_at_quantile(0.999)));
        self.step_max_us.push(us(seen.steps.max()));
        self.writer_ms.push(seen.took.as_secs_f64() * 1000.0);
    }

    /// Of the medians: wait p99.9 and max, step p99.9 and max, writer.
    fn ratios_to(&self, peer: &Row) -> [Option<f64>; 5] {
        let of_medians = |values: fn(&Row) -> &Vec<f64>| ratio(median(values(self))?, median(values(peer))?);
        [
            of_medians(|row| &row.p99_9_us),
            of_medians(|row| &row.max_us),
            of_medians(|row| &row.step_p99_9_us),
            of_medians(|row| &row.step_max_us),
            of_medians(|row| &row.writer_ms),
        ]
    }
}

/// One phase on one server; histograms in nanoseconds.
struct Seen {
    waits: Histogram<u64>,
    steps: Histogram<u64>,
    took: Duration,
}

/// Makes the one large value that a phase writes to, where an earlier phase has not.
fn prepare(client: &mut Client, phase: Phase, count: u64) -> Result<()> {
    let name = match phase {
        Phase::SortedSetSave => "ZADD",
        Phase::SetSave => "SADD",
        Phase::ListSave => "RPUSH",
        _ => return Ok(()),
    };
    client.run(&["DEL", "big"])?;
    let mut loader = Loader::new(client);
    for number in 0..count {
        let (score, member) = (number.to_string(), format!("member:{number:09}"));
        match phase {
            Phase::SortedSetSave => loader.push(&[name.as_bytes(), b"big", score.as_bytes(), member.as_bytes()])?,
            _ => loader.push(&[name.as_bytes(), b"big", member.as_bytes()])?,
        }
    }
    loader.finish()
}

/// Probes while the writer does its part, and a little longer.
fn watch(server: &Server, phase: Phase, count: u64) -> Result<Seen> {
    let done = AtomicBool::new(false);
    let probe_client = Client::connect(server.addr)?;
    let mut writer =
        Writer { client: Client::connect(server.addr)?, meter: ThreadMeter::open(server.pid)?, steps: new_histogram() };
    thread::scope(|scope| {
        let prober = scope.spawn(|| match phase {
            Phase::HashSaveAlone => {
                let mut random = Random::new(count + 1);
                probe_with(probe_client, PACE, &done, |out| overwrite_field(out, random.below(count)))
            }
            _ => probe(probe_client, &[b"GET", b"probe"], PACE, &done),
        });
        thread::sleep(AFTERWARDS / 3);
        let begin = Instant::now();
        let written = writer.write(phase, count);
        let took = begin.elapsed();
        thread::sleep(AFTERWARDS);
        done.store(true, Ordering::Relaxed);
        let waits = prober.join().expect("panics abort the process")?;
        written?;
        Ok(Seen { waits, steps: writer.steps, took })
    })
}

/// Waits until a request is due, and says from when on its wait counts: a request that is late counts from when it was due.
pub fn wait_until(due: Instant) -> Instant {
    let now = Instant::now();
    if now >= due {
        return due;
    }
    thread::sleep(due - now);
    Instant::now()
}

/// The calling thread goes before all others where that is allowed: it stands for a client on another machine, and how long
/// it waits for a core of this one is nothing that a client would feel.
pub fn go_first() {
    if let Ok(path) = std::fs::read_link("/proc/thread-self")
        && let Some(thread) = path.file_name()
    {
        // Where it is not allowed, waits are only measured with more noise.
        let _ = Command::new("chrt").args(["--fifo", "--pid", "1"]).arg(thread).stderr(Stdio::null()).status();
    }
}

/// Sends a command at a steady pace until `done`; how long each had to wait, in nanoseconds.
pub fn probe(client: Client, command: &[&[u8]], pace: Duration, done: &AtomicBool) -> Result<Histogram<u64>> {
    probe_with(client, pace, done, |out| write_request(out, command))
}

fn probe_with(
    mut client: Client,
    pace: Duration,
    done: &AtomicBool,
    mut command: impl FnMut(&mut Vec<u8>),
) -> Result<Histogram<u64>> {
    let mut request = Vec::new();
    let mut latency = new_histogram();
    go_first();
    let mut due = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let begin = wait_until(due);
        // After a late reply that is in the past.
        let late = (begin.elapsed().as_nanos() / pace.as_nanos().max(1)).min(LATE_MAX);
        let count = 1 + late as u32;
        request.clear();
        (0..count).for_each(|_| command(&mut request));
        client.exchange(&request, count.into(), Shape::Any)?;
        let end = Instant::now();
        for nth in 0..count {
            latency.saturating_record((end - (begin + pace * nth)).as_nanos() as u64);
        }
        due = begin + pace * count;
    }
    Ok(latency)
}

/// HSET of one of the big hash's fields.
fn overwrite_field(out: &mut Vec<u8>, number: u64) {
    write_request(out, &[b"HSET", b"big", format!("field:{number:010}").as_bytes(), &[b'y'; 16]]);
}

struct Writer {
    client: Client,
    meter: ThreadMeter,
    steps: Histogram<u64>,
}

impl Writer {
    fn write(&mut self, phase: Phase, count: u64) -> Result<()> {
        // What the server did before is not this phase's.
        self.meter.busiest_ns();
        match phase {
            Phase::Idle => {
                thread::sleep(Duration::from_secs(1));
                Ok(())
            }
            Phase::KeysGrow => self.batches(count, |out, number| {
                let key = format!("key:{number:012}");
                write_request(out, &[b"SET", key.as_bytes(), &[b'x'; 32]]);
            }),
            Phase::HashGrow | Phase::HashOverwrite => self.batches(count, |out, number| {
                let field = format!("field:{number:010}");
                write_request(out, &[b"HSET", b"big", field.as_bytes(), &[b'x'; 16]]);
            }),
            Phase::HashDelete => {
                self.client.run(&["DEL", "big"])?;
                self.end_step();
                Ok(())
            }
            Phase::HashSaveAlone => {
                self.begin_save()?;
                self.wait_for_save()
            }
            Phase::HashSave | Phase::SortedSetSave | Phase::SetSave | Phase::ListSave => {
                self.begin_save()?;
                let mut random = Random::new(count);
                // Enough to go on until the value is saved, all over it.
                self.batches(count / 4, |out, number| {
                    let at = random.below(count);
                    let member = format!("member:{at:09}");
                    match phase {
                        Phase::HashSave => overwrite_field(out, at),
                        Phase::SortedSetSave => {
                            write_request(out, &[b"ZADD", b"big", number.to_string().as_bytes(), member.as_bytes()]);
                        }
                        Phase::SetSave if number % 2 == 0 => {
                            write_request(out, &[b"SREM", b"big", member.as_bytes()]);
                        }
                        Phase::SetSave => {
                            write_request(out, &[b"SADD", b"big", format!("another:{at:09}").as_bytes()]);
                        }
                        _ => write_request(out, &[b"LSET", b"big", at.to_string().as_bytes(), &[b'y'; 16]]),
                    }
                })
            }
        }
    }

    /// BGSAVE, once that of an earlier phase has ended.
    fn begin_save(&mut self) -> Result<()> {
        self.wait_for_save()?;
        self.meter.busiest_ns();
        self.client.run(&["BGSAVE"])?;
        self.end_step();
        Ok(())
    }

    fn wait_for_save(&mut self) -> Result<()> {
        while self.client.info("persistence", "rdb_bgsave_in_progress")? != "0" {
            thread::sleep(SAVE_LOOK_EVERY);
        }
        Ok(())
    }

    fn batches(&mut self, count: u64, mut request: impl FnMut(&mut Vec<u8>, u64)) -> Result<()> {
        let mut out = Vec::new();
        for first in (0..count).step_by(WRITER_PIPELINE as usize) {
            let last = count.min(first + WRITER_PIPELINE);
            out.clear();
            (first..last).for_each(|number| request(&mut out, number));
            self.client.exchange(&out, last - first, Shape::Any)?;
            self.end_step();
        }
        Ok(())
    }

    /// A step that the server has not quite finished is carried on in the next: nothing is lost.
    fn end_step(&mut self) {
        if let Some(used) = self.meter.busiest_ns() {
            self.steps.saturating_record(used);
        }
    }
}

/// The rows as a table; rows of one phase stand together, ours first.
pub fn table(rows: &[Row]) -> String {
    #[rustfmt::skip]
    let header = [
        "phase", "server", "wait us p50", "p99.9", "max", "best", "step us p99.9", "max", "writer ms",
        "| ours/it:", "wait p99.9", "max", "step p99.9", "max", "writer",
    ];
    let mut table = Table::new(2, &header);
    let middle_cell = |values: &Vec<f64>| figure(median(values).unwrap_or(0.0));
    for group in rows.chunk_by(|a, b| a.phase == b.phase) {
        let Some(ours) = group.first() else { continue };
        for (nth, row) in group.iter().enumerate() {
            let mut cells = vec![row.phase.name().into(), row.server.clone()];
            cells.extend([&row.p50_us, &row.p99_9_us, &row.max_us].map(middle_cell));
            cells.push(figure(lowest(&row.max_us).unwrap_or(0.0)));
            cells.extend([&row.step_p99_9_us, &row.step_max_us, &row.writer_ms].map(middle_cell));
            cells.push("|".into());
            if nth > 0 {
                cells.extend(ours.ratios_to(row).map(ratio_cell));
            }
            table.row(cells);
        }
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stand_in_the_peers_rows_of_each_phase() {
        let row = |phase, server: &str, us: f64| Row {
            phase,
            server: server.into(),
            probes: vec![1, 1, 1],
            p50_us: vec![us; 3],
            p99_9_us: vec![us, 2.0 * us, 9.0 * us],
            max_us: vec![3.0 * us; 3],
            step_p99_9_us: vec![us; 3],
            step_max_us: vec![5.0 * us; 3],
            writer_ms: vec![us; 3],
        };
        let rows = [
            row(Phase::Idle, "ours", 1.0),
            row(Phase::Idle, "peer", 1.0),
            row(Phase::HashGrow, "ours", 1.0),
            row(Phase::HashGrow, "peer", 4.0),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        let ratios = |line: &str| -> Vec<String> {
            let (_, ratios) = line.split_once('|').unwrap();
            ratios.split_whitespace().map(str::to_owned).collect()
        };
        assert!(ratios(lines[1]).is_empty(), "{text}");
        assert_eq!(ratios(lines[2]), ["1.00"; 5], "{text}");
        assert!(lines[4].starts_with("hash grows"), "{text}");
        assert_eq!(ratios(lines[4]), ["0.25"; 5], "{text}");
    }
}

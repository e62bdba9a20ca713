//! Requests a second, server CPU a request, and latencies, per command and pipeline depth.
//!
//! The servers take turns, run by run (A B A B ...), so that what else the machine does falls on all of them alike.
//! Each run finds the same state: tests that change nothing that matters run on data loaded once; tests that grow or
//! empty a collection get a fresh start every time. Filling is not measured.

use serde::Serialize;

use super::Plan;
use super::data::{fill_list, fill_strings};
use super::error::{Error, Result};
use super::load::{Arg, Load, Outcome, Template};
use super::server::{Program, Server};
use super::stats::{geometric_mean, highest, lowest, median, ratio};
use super::table::{Table, figure, ratio_cell};
use super::wire::Shape;

use Arg::{Random, Text, Value};

/// What is in the server when a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Every key of the key range, with a value, and a script; stays so over the runs.
    Strings,
    /// Every counter of the key range; stays so.
    Counters,
    /// A list of 100,000 elements; stays so.
    List,
    /// Nothing, anew for each run.
    Empty,
    /// A list long enough for the run, anew for each run.
    ListToPop,
}

impl State {
    fn outlives_a_run(self) -> bool {
        !matches!(self, State::Empty | State::ListToPop)
    }
}

/// The script of EVAL and EVALSHA, and its SHA-1.
const GET: &str = "return redis.call('get',KEYS[1])";
const GET_SHA: &str = "fd758d1589d044dd850a6f05d52f2eefd27f033f";

const LRANGE_LIST: u64 = 100_000;

struct Test {
    name: &'static str,
    args: &'static [Arg],
    state: State,
    shape: Shape,
    /// The number of requests is divided by this: for requests that do the work of several.
    weight: u64,
}

const fn test(name: &'static str, args: &'static [Arg], state: State, shape: Shape, weight: u64) -> Test {
    Test { name, args, state, shape, weight }
}

const KEY: Arg = Random("key:");
const ELEMENT: Arg = Random("element:");

/// The commands of redis-benchmark 7.0 (`-r`, `-d 32`) under its names. INSERT is ours: SET into an empty server; and so
/// are the scripts.
#[rustfmt::skip]
const TESTS: &[Test] = &[
    test("SET",        &[Text("SET"), KEY, Value],                        State::Strings,   Shape::Status,     1),
    test("GET",        &[Text("GET"), KEY],                               State::Strings,   Shape::Bulk,       1),
    test("MSET",       &[Text("MSET"), KEY, Value, KEY, Value, KEY, Value, KEY, Value, KEY, Value,
                         KEY, Value, KEY, Value, KEY, Value, KEY, Value, KEY, Value],
                                                                          State::Strings,   Shape::Status,     5),
    test("INCR",       &[Text("INCR"), Random("counter:")],               State::Counters,  Shape::Integer,    1),
    test("LPUSH",      &[Text("LPUSH"), Text("mylist"), Value],           State::Empty,     Shape::Integer,    1),
    test("LPOP",       &[Text("LPOP"), Text("mylist")],                   State::ListToPop, Shape::Bulk,       1),
    test("LRANGE_100", &[Text("LRANGE"), Text("mylist"), Text("0"), Text("99")],
                                                                          State::List,      Shape::Array(100), 5),
    test("SADD",       &[Text("SADD"), Text("myset"), ELEMENT],           State::Empty,     Shape::Integer,    1),
    test("HSET",       &[Text("HSET"), Text("myhash"), ELEMENT, Value],   State::Empty,     Shape::Integer,    1),
    test("ZADD",       &[Text("ZADD"), Text("myzset"), Random(""), ELEMENT],
                                                                          State::Empty,     Shape::Integer,    1),
    test("EVAL_1",     &[Text("EVAL"), Text("return 1"), Text("0")],      State::Strings,   Shape::Integer,    1),
    test("EVAL",       &[Text("EVAL"), Text(GET), Text("1"), KEY],        State::Strings,   Shape::Bulk,       1),
    test("EVALSHA",    &[Text("EVALSHA"), Text(GET_SHA), Text("1"), KEY], State::Strings,   Shape::Bulk,       1),
    test("INSERT",     &[Text("SET"), KEY, Value],                        State::Empty,     Shape::Status,     1),
];

/// Left out unless asked for by name.
const NOT_BY_DEFAULT: &[&str] = &["INSERT"];

/// One run of one server.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    requests: u64,
    requests_per_second: f64,
    server_cpu_us_per_request: f64,
    client_cpu_us_per_request: f64,
    p50_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
}

/// All runs of one server in one test at one depth.
#[derive(Debug, Serialize)]
pub struct Row {
    test: &'static str,
    pipeline: usize,
    server: String,
    runs: Vec<Run>,
}

impl Row {
    fn of(&self, figure: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().map(figure).collect()
    }

    fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(&self.of(figure)).unwrap_or(0.0)
    }
}

struct Side {
    name: String,
    server: Server,
    state: Option<State>,
}

/// Runs the chosen tests.
pub fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let tests = choose(&plan.tests)?;
    let mut sides = plan.programs.iter().map(Side::start).collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for test in tests {
        for &pipeline in &plan.pipelines {
            let first = rows.len();
            rows.extend(sides.iter().map(|side| Row {
                test: test.name,
                pipeline,
                server: side.name.clone(),
                runs: Vec::new(),
            }));
            for repeat in 0..plan.repeats {
                for (side, row) in sides.iter_mut().zip(&mut rows[first..]) {
                    row.runs.push(side.run(plan, test, pipeline, repeat)?);
                }
            }
            eprint!("{}", table(&rows[first..]));
        }
    }
    Ok(rows)
}

/// The names of all tests, for the command line's help.
pub fn test_names() -> String {
    TESTS.iter().map(|test| test.name).collect::<Vec<_>>().join(", ")
}

fn choose(names: &[String]) -> Result<Vec<&'static Test>> {
    if names.is_empty() {
        return Ok(TESTS.iter().filter(|test| !NOT_BY_DEFAULT.contains(&test.name)).collect());
    }
    let find = |name: &String| {
        let wanted = name.trim();
        TESTS
            .iter()
            .find(|test| test.name.eq_ignore_ascii_case(wanted))
            .ok_or_else(|| Error::Usage(format!("no test {wanted:?}; there are {}", test_names())))
    };
    names.iter().map(find).collect()
}

impl Side {
    fn start(program: &Program) -> Result<Self> {
        Ok(Self { name: program.name.clone(), server: Server::start(program)?, state: None })
    }

    fn run(&mut self, plan: &Plan, test: &Test, pipeline: usize, repeat: usize) -> Result<Run> {
        let requests = plan.requests_for(pipeline, test.weight);
        self.prepare(plan, test.state, requests, pipeline)?;
        let template = Template::new(test.args, &plan.value());
        let load = Load {
            addr: self.server.addr,
            connections: plan.connections,
            threads: plan.client_threads,
            pipeline,
            requests,
            template: &template,
            shape: test.shape,
            keys: plan.keys,
            seed: repeat as u64 + 1,
        };
        let ready = load.connect()?;
        self.server.settle()?;
        let before = self.server.cpu_ns()?;
        let outcome = ready.go();
        let server_ns = self.server.cpu_ns()?.saturating_sub(before);
        let outcome = outcome.map_err(|error| match error {
            Error::Reply(text) => Error::Reply(format!("{}, {} at P{pipeline}: {text}", self.name, test.name)),
            other => other,
        })?;
        Ok(Run::new(&outcome, server_ns))
    }

    fn prepare(&mut self, plan: &Plan, state: State, requests: u64, pipeline: usize) -> Result<()> {
        if self.state == Some(state) && state.outlives_a_run() {
            return Ok(());
        }
        let client = &mut self.server.client;
        client.run(&["FLUSHALL"])?;
        let value = plan.value();
        match state {
            State::Empty => {}
            State::Strings => {
                fill_strings(client, "key:", plan.keys, &value)?;
                client.run(&["EVAL", GET, "1", "key:"])?;
            }
            State::Counters => fill_strings(client, "counter:", plan.keys, b"1")?,
            State::List => fill_list(client, "mylist", LRANGE_LIST, &value)?,
            // Each client thread rounds up to whole batches.
            State::ListToPop => {
                let rounding = ((pipeline + 1) * plan.client_threads) as u64;
                fill_list(client, "mylist", requests + rounding, &value)?;
            }
        }
        self.state = Some(state);
        Ok(())
    }
}

impl Run {
    fn new(outcome: &Outcome, server_ns: u64) -> Self {
        let requests = outcome.requests as f64;
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile: f64| us(outcome.latency.value_at_quantile(quantile));
        Self {
            requests: outcome.requests,
            requests_per_second: requests / outcome.wall.as_secs_f64(),
            server_cpu_us_per_request: us(server_ns) / requests,
            client_cpu_us_per_request: us(outcome.client_cpu_ns) / requests,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: us(outcome.latency.max()),
        }
    }
}

/// The rows as a table; rows of one test and depth stand together, ours first.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new(
        3,
        &[
            "test",
            "P",
            "server",
            "req/s",
            "best",
            "cpu us",
            "best",
            "p50 us",
            "p99",
            "p99.9",
            "| ours/it:",
            "req/s",
            "cpu",
            "best",
            "p99.9",
        ],
    );
    for group in groups(rows) {
        let Some((ours, _)) = group.split_first() else {
            continue;
        };
        for (nth, row) in group.iter().enumerate() {
            let mut cells = row.figures();
            if nth > 0 {
                cells.push("|".into());
                cells.extend(ours.ratios_to(row).map(ratio_cell));
            } else {
                cells.push("|".into());
            }
            table.row(cells);
        }
    }
    table.text()
}

fn groups(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| (a.test, a.pipeline) == (b.test, b.pipeline))
}

impl Row {
    fn figures(&self) -> Vec<String> {
        let rates = self.of(|run| run.requests_per_second);
        let costs = self.of(|run| run.server_cpu_us_per_request);
        vec![
            self.test.into(),
            self.pipeline.to_string(),
            self.server.clone(),
            figure(median(&rates).unwrap_or(0.0)),
            figure(highest(&rates).unwrap_or(0.0)),
            figure(median(&costs).unwrap_or(0.0)),
            figure(lowest(&costs).unwrap_or(0.0)),
            figure(self.median(|run| run.p50_us)),
            figure(self.median(|run| run.p99_us)),
            figure(self.median(|run| run.p99_9_us)),
        ]
    }

    /// Median rate, median CPU, best CPU, median p99.9.
    fn ratios_to(&self, peer: &Row) -> [Option<f64>; 4] {
        let cost = |run: &Run| run.server_cpu_us_per_request;
        let best = |row: &Row| lowest(&row.of(cost)).unwrap_or(0.0);
        let of_medians = |figure: fn(&Run) -> f64| ratio(self.median(figure), peer.median(figure));
        [
            of_medians(|run| run.requests_per_second),
            of_medians(cost),
            ratio(best(self), best(peer)),
            of_medians(|run| run.p99_9_us),
        ]
    }
}

/// Per peer and depth: the geometric means over all tests.
pub fn summary(rows: &[Row]) -> String {
    let mut table = Table::new(2, &["all tests, ours to", "P", "req/s", "cpu", "cpu best", "p99.9"]);
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for group in groups(rows) {
        seen.extend(group.iter().skip(1).map(|row| (row.server.as_str(), row.pipeline)));
    }
    seen.sort_unstable();
    seen.dedup();
    for (peer, pipeline) in seen {
        let ratios: Vec<[Option<f64>; 4]> = groups(rows)
            .filter(|group| group.first().is_some_and(|row| row.pipeline == pipeline))
            .filter_map(|group| {
                let theirs = group.iter().skip(1).find(|row| row.server == peer)?;
                Some(group.first()?.ratios_to(theirs))
            })
            .collect();
        let mean = |column: usize| {
            let known: Vec<f64> = ratios.iter().filter_map(|row| row.get(column).copied().flatten()).collect();
            ratio_cell(geometric_mean(&known))
        };
        let mut cells = vec![peer.to_owned(), pipeline.to_string()];
        cells.extend((0..4).map(mean));
        table.row(cells);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: &str, cpu: &[f64]) -> Row {
        let run = |&cpu: &f64| Run {
            requests: 10,
            requests_per_second: 1000.0 / cpu,
            server_cpu_us_per_request: cpu,
            client_cpu_us_per_request: 1.0,
            p50_us: 1.0,
            p99_us: 2.0,
            p99_9_us: 3.0,
            max_us: 4.0,
        };
        Row { test: "GET", pipeline: 16, server: server.into(), runs: cpu.iter().map(run).collect() }
    }

    #[test]
    fn ratios_are_ours_to_the_peer_by_median_and_by_best() {
        let (ours, peer) = (row("ours", &[1.0, 0.5, 9.0]), row("peer", &[4.0, 2.0, 4.0]));
        assert_eq!(ours.ratios_to(&peer), [Some(4.0), Some(0.25), Some(0.25), Some(1.0)]);
        let text = table(&[ours, peer]);
        let ratios = |line: &str| -> Vec<String> {
            let (_, ratios) = line.split_once('|').unwrap();
            ratios.split_whitespace().map(str::to_owned).collect()
        };
        let lines: Vec<&str> = text.lines().collect();
        assert!(ratios(lines[1]).is_empty(), "{text}");
        assert_eq!(ratios(lines[2]), ["4.00", "0.25", "0.25", "1.00"], "{text}");
    }

    #[test]
    fn the_summary_has_one_line_a_peer_and_depth() {
        let rows = [row("ours", &[1.0]), row("a", &[2.0]), row("b", &[4.0])];
        let text = summary(&rows);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().last().unwrap().contains("0.25"), "{text}");
    }

    #[test]
    fn tests_are_chosen_by_name_in_any_case() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            choose(&names).map(|tests| tests.iter().map(|test| test.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["get", "INSERT"]).unwrap(), ["GET", "INSERT"]);
        assert_eq!(names(&[]).unwrap().len(), 13);
        assert!(names(&["GTE"]).unwrap_err().to_string().contains("LRANGE_100"));
    }
}

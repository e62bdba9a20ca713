//! Runs Redis 3.2's own Tcl test suite, unmodified, against `codis-server`.
//!
//! Shape: [`suite`] fetches and unpacks the suite; [`lists`] reads which units are run and which
//! tests are known gaps; [`run`] runs one unit in a directory, a port range and a process group
//! of its own; [`output`] reads what the suite prints; [`verdict`] holds that against the lists.
//!
//! 1. No file of the suite is changed; `suite.tcl` and `unit.tcl` wrap it from outside.
//! 2. A unit passes only if it reached its end and ran exactly the tests that `units.txt` says.
//! 3. When the runner ends, by a signal too, none of the processes it started is left.
//!
//! It knows nothing of the server but its path and one option, `--server-threads`.
#![forbid(unsafe_code)]

mod lists;
mod output;
mod run;
mod suite;
mod verdict;

use std::collections::VecDeque;
use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;

use lists::{Skip, Skips, Timed, Units};
use run::{Job, Runner};
use suite::Suite;
use verdict::{Verdict, failed_only_in_time, judge, judge_tried};

/// Errors of setting up and running; there is one reaction to all of them: print, and end.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs Redis 3.2's Tcl test suite against codis-server.
#[derive(Parser)]
struct Options {
    /// Values of --server-threads to test with, separated by commas; `none` leaves the option
    /// away, as a server that does not know it needs
    #[arg(long, default_value = "1,4", value_delimiter = ',', value_parser = parse_threads)]
    threads: Vec<Threads>,
    /// Run only this unit, e.g. unit/type/set (may be repeated)
    #[arg(long = "unit", value_delimiter = ',')]
    units: Vec<String>,
    /// The server to test [default: codis-server beside this program]
    #[arg(long)]
    server: Option<PathBuf>,
    /// How many units run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    clients: u16,
    /// Print only failures and one line a unit
    #[arg(long)]
    quiet: bool,
    /// After a test that ends its unit, e.g. by a missing command, go on with the next one
    #[arg(long)]
    keep_going: bool,
    /// Run each skipped test, alone of the skipped, and fail if it passes
    #[arg(long)]
    try_skipped: bool,
    /// List the units with their numbers of tests, and run nothing
    #[arg(long)]
    list: bool,
}

/// A value for `--server-threads`; `None` starts the server without the option.
pub type Threads = Option<u16>;

fn parse_threads(text: &str) -> std::result::Result<Threads, String> {
    match text {
        "none" => Ok(None),
        _ => match text.parse() {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err("a positive number or `none`".to_owned()),
        },
    }
}

fn main() -> ExitCode {
    match test(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tcl-compat: {error}");
            ExitCode::from(2)
        }
    }
}

/// Does what the command line asks; whether all is as it should be.
fn test(options: &Options) -> Result<bool> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let units = Units::parse(&read(&home.join("units.txt"))?)?;
    let skips = Skips::parse(&read(&home.join("skip.txt"))?)?;
    skips.check(&units)?;
    let timed = Timed::parse(&read(&home.join("timed.txt"))?)?;
    timed.check(&units)?;
    if options.list {
        list(&units, &skips);
        return Ok(true);
    }

    let jobs = plan(options, &units, &skips, &timed);
    if jobs.is_empty() {
        println!("0 passed, 0 failed, 0 skipped");
        return Ok(true);
    }
    let program = std::env::current_exe()?;
    let server = match &options.server {
        Some(path) => path.clone(),
        None => program.with_file_name("codis-server"),
    };
    if !server.is_file() {
        return Err(format!("no server at {}: build it in the same profile, or say --server", server.display()).into());
    }
    let server = std::path::absolute(server)?;

    // .../target/<profile>/tcl-compat -> .../target/tcl-compat/<pid>
    let target = program.ancestors().nth(2).ok_or("this program has no target directory")?;
    let runs = target.join("tcl-compat");
    let scratch = runs.join(std::process::id().to_string());
    remove_ended(&runs)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }

    let suite = Suite::parse(&read(&home.join("revision.txt"))?)?;
    let archive = suite.fetch(home)?;
    let runner = Runner::new(&server, &scratch, options.quiet, options.keep_going, &stop)?;
    suite.unpack(&archive, &runner.suite_dir())?;

    println!("testing {}", server.display());
    let verdicts = run_all(&runner, jobs, usize::from(options.clients), &units, options.try_skipped);
    let good = summary(&verdicts) && !stop.load(Ordering::Relaxed);
    if stop.load(Ordering::Relaxed) {
        eprintln!("tcl-compat: stopped by a signal");
    }
    if good {
        std::fs::remove_dir_all(&scratch)?;
    } else {
        eprintln!("tcl-compat: what the failed units left is in {}", scratch.display());
    }
    Ok(good)
}

/// Removes what runs that failed and have ended left for their reader.
fn remove_ended(runs: &Path) -> Result<()> {
    std::fs::create_dir_all(runs)?;
    for run in std::fs::read_dir(runs)? {
        let run = run?;
        if !Path::new("/proc").join(run.file_name()).exists() {
            match std::fs::remove_dir_all(run.path()) {
                // Another run was first.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn list(units: &Units, skips: &Skips) {
    for (unit, tests) in units.iter() {
        println!("{unit:<32} {tests:>4} tests, {} skipped", skips.of(unit, u16::MAX).len());
    }
}

/// Every unit with every thread count; or, to try the skipped tests, each of them once.
fn plan(options: &Options, units: &Units, skips: &Skips, timed: &Timed) -> VecDeque<Job> {
    let wanted: Vec<String> = match options.units.is_empty() {
        true => units.iter().map(|(unit, _)| unit.to_owned()).collect(),
        false => options.units.clone(),
    };
    let mut jobs = VecDeque::new();
    for unit in &wanted {
        for &threads in &options.threads {
            let skips = skips.of(unit, threads.unwrap_or(1));
            if !options.try_skipped {
                jobs.push_back(Job { unit: unit.clone(), threads, skips, timed: timed.of(unit), tried: None });
                continue;
            }
            // One that may pass by chance proves nothing.
            for tried in skips.iter().filter(|skip| !skip.several_threads) {
                let others: Vec<Skip> = skips.iter().filter(|skip| *skip != tried).cloned().collect();
                let tried = Some(tried.name.clone());
                jobs.push_back(Job { unit: unit.clone(), threads, skips: others, timed: Vec::new(), tried });
            }
        }
    }
    jobs
}

/// Runs the jobs, `clients` at a time, and judges each as it ends. Sentinel's have a thread of their own besides: they
/// wait most of the time.
fn run_all(runner: &Runner, jobs: VecDeque<Job>, clients: usize, units: &Units, try_skipped: bool) -> Vec<Verdict> {
    let (sentinels, others): (VecDeque<Job>, VecDeque<Job>) = jobs.into_iter().partition(Job::is_sentinels);
    let (sentinels, others) = (&Mutex::new(sentinels), &Mutex::new(others));
    let verdicts = &Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for jobs in std::iter::repeat_n(others, clients).chain([sentinels]) {
            scope.spawn(move || {
                let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some(job) = next() {
                    if runner.stopped() {
                        break;
                    }
                    let verdict = run_one(runner, &job, units, try_skipped);
                    verdicts.lock().unwrap_or_else(PoisonError::into_inner).push(verdict);
                }
            });
        }
    });
    std::mem::take(&mut *verdicts.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs a job, and once more if nothing but tests that measure time failed; the verdict on the last run. All runs are shown.
fn run_one(runner: &Runner, job: &Job, units: &Units, try_skipped: bool) -> Verdict {
    let expected = units.tests(&job.unit);
    let mut is_second = false;
    loop {
        let start = Instant::now();
        let (verdict, may_run_again) = match runner.run(job) {
            Ok(report) if try_skipped => (judge_tried(job, &report), false),
            Ok(report) => (judge(job, expected, &report), failed_only_in_time(job, expected, &report)),
            Err(error) => (Verdict::broken(job, expected.unwrap_or(0), &error.to_string()), false),
        };
        println!("{verdict}, {} s", start.elapsed().as_secs());
        if is_second || !may_run_again || runner.stopped() {
            return verdict;
        }
        verdict.problems.iter().for_each(|problem| println!("{job}: {problem}"));
        println!("{job}: only tests that measure time failed (timed.txt): it is run once more, and that decides");
        is_second = true;
    }
}

/// Prints what went wrong, then the sums as the last line; whether nothing went wrong.
fn summary(verdicts: &[Verdict]) -> bool {
    let mut problems = 0;
    for verdict in verdicts {
        for problem in &verdict.problems {
            problems += 1;
            println!("{problems}. {}: {problem}", verdict.job);
        }
    }
    let sum = |count: fn(&Verdict) -> usize| verdicts.iter().map(count).sum::<usize>();
    println!(
        "{} passed, {} failed, {} skipped",
        sum(|verdict| verdict.passed),
        sum(|verdict| verdict.failed),
        sum(|verdict| verdict.skipped)
    );
    problems == 0
}

//! `codis-server`: the command line, the settings, the surroundings of the process; then `start::serve`.

#![forbid(unsafe_code)]

use server::cli::{self, Invocation, Program};
use server::config::{Config, ConfigSource, ProcessHost};
use server::daemon::{self, PidFile, Process, Supervisor};
use server::{banner, check, log, node, os_error, start};
use std::ffi::OsString;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: engine::raw::alloc::Jemalloc = engine::raw::alloc::Jemalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    let program = name.to_string_lossy().into_owned();
    match Program::of(&name) {
        Program::Server => {}
        Program::CheckRdb => return ExitCode::from(check::rdb::main(&program, &args)),
        Program::CheckAof => return ExitCode::from(check::aof::main(&program, &args)),
    }
    match cli::parse(&args) {
        Invocation::Answer(question) => {
            let answer = question.answer(&program);
            if answer.status == 0 {
                print!("{}", answer.text);
            } else {
                eprint!("{}", answer.text);
            }
            ExitCode::from(answer.status)
        }
        Invocation::Run { source, options } => match run(&program, source.as_ref(), &options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(()) => ExitCode::FAILURE,
        },
    }
}

/// Starts and serves. What goes wrong is told to standard error before the log is known, and to the log after.
fn run(program: &str, source: Option<&ConfigSource>, options: &[u8]) -> Result<(), ()> {
    let start_dir = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut host = ProcessHost::new(node::is_command);
    let mut config = Config::load(source, options, &mut host).map_err(|error| eprintln!("{error}"))?;
    config.apply_to_log();
    let fatal = |error: String| log::warning!("{error}");
    let supervisor = Supervisor::find(config.supervised);
    let mut in_background = false;
    if config.daemonize && supervisor.is_none() {
        match daemon::go_to_background(&start_dir, host.stdin_read()) {
            Ok(Process::First) => return Ok(()),
            Ok(Process::Background) => in_background = true,
            Err(error) => {
                fatal(format!("Can't go to the background: {}", os_error::text(&error)));
                return Err(());
            }
        }
    }
    if source.is_none() && options.is_empty() {
        log::warning!("{}", cli::no_config_warning(program));
    }
    daemon::adjust_open_files_limit(&mut config).map_err(fatal)?;
    let pid_file = PidFile::for_config(&mut config, in_background);
    banner::log(&config);
    let served = start::serve(config, supervisor).map_err(fatal);
    if let Some(file) = pid_file {
        file.remove();
    }
    served
}

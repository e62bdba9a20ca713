//! `codis-server`: reads the command line, loads the settings, serves.

#![forbid(unsafe_code)]

use server::config::{Config, ConfigSource, ProcessHost};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: engine::raw::alloc::Jemalloc = engine::raw::alloc::Jemalloc;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let source = args.next_if(|arg| !arg.starts_with("--")).map(|path| match path.as_str() {
        "-" => ConfigSource::Stdin,
        _ => ConfigSource::File(path.into()),
    });
    let mut options = String::new();
    for arg in args {
        match arg.strip_prefix("--") {
            Some(name) => options.push_str(&format!("\n{name}")),
            None => options.push_str(&format!(" {:?}", arg)),
        }
    }
    let served = Config::load(source.as_ref(), options.as_bytes(), &mut ProcessHost::new(|_| true))
        .map_err(|error| error.to_string())
        .and_then(server::start::serve);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

//! Chores of the project that need more than a cargo command: `cargo xtask <chore>`.
//!
//! Nothing here is part of a program that users run, and nothing here depends on our other crates:
//! a chore looks at them from outside, as files or as processes.
#![forbid(unsafe_code)]

mod bench;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the codis-rs workspace")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Compare codis-server with real Redis servers, side by side in one run
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match Cli::parse().chore {
        Chore::Bench(args) => match bench::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

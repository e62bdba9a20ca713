//! Chores of the project that need more than a cargo command: `cargo xtask <chore>`.
//!
//! Nothing here is part of a program that users run, and nothing here depends on our other crates:
//! a chore looks at them from outside, as files or as processes.
#![forbid(unsafe_code)]

mod bench;
mod tidy;

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
    Bench(Box<bench::Args>),
    /// Check the habits that compiler and clippy cannot
    Tidy,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Bench(args) => bench::run(&args).map(|()| true).map_err(|error| format!("bench: {error}")),
        Chore::Tidy => tidy::run().map_err(|error| format!("tidy: {error}")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

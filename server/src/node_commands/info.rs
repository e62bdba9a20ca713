//! INFO: the node's figures, in the sections, order and names of Redis 3.2. Each section is a file that ends in one
//! function; what this server has besides comes last in its section.

/// Appends one line. Writing to a string cannot fail.
macro_rules! field {
    ($text:expr, $name:literal, $value:expr) => {
        let _ = write!($text, concat!($name, ":{}\r\n"), $value);
    };
}

mod clients;
mod commandstats;
mod cpu;
mod keyspace;
mod memory;
mod persistence;
mod replication;
mod server;
mod stats;

use super::{Handler, NodeCtx};
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use resp::{Flags, KeySpec, errors};
use std::fmt::Write;

/// Writes the lines of one section.
type Section = fn(&mut NodeCtx<'_, '_>, &mut String);

/// The sections in order, and whether `default` has them.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("Server", true, server::server),
    ("Clients", true, clients::clients),
    ("Memory", true, memory::memory),
    ("Persistence", true, persistence::persistence),
    ("Stats", true, stats::stats),
    ("Replication", true, replication::replication),
    ("CPU", true, cpu::cpu),
    ("Commandstats", false, commandstats::commandstats),
    ("Cluster", true, cluster),
    ("Keyspace", true, keyspace::keyspace),
];

fn info(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    if ctx.args.len() > 2 {
        return Err(Error::Text(errors::SYNTAX));
    }
    let wanted = ctx.args.get(1).unwrap_or(b"default").to_ascii_lowercase();
    let mut text = String::new();
    for (name, default, write) in SECTIONS {
        let is_wanted = match &wanted[..] {
            b"all" | b"everything" => true,
            b"default" => *default,
            section => section.eq_ignore_ascii_case(name.as_bytes()),
        };
        if is_wanted {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            text.push_str("# ");
            text.push_str(name);
            text.push_str("\r\n");
            write(ctx, &mut text);
        }
    }
    ctx.out.bulk(text.as_bytes());
    Ok(())
}

fn cluster(_: &mut NodeCtx<'_, '_>, text: &mut String) {
    field!(text, "cluster_enabled", 0);
}

pub(super) static TABLE: &[Command<Handler>] =
    &[command::<Handler>("info", -1, KeySpec::NONE, Flags::LOADING.or(Flags::STALE), info).holding(Access::Touch)];

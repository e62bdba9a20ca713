//! COMMAND: the command table, as clients and proxies ask for it.

use super::{Handler, NodeCtx};
use crate::node::Run;
use commands::error::{Error, Outcome};
use commands::table::{Command, command as row};
use resp::{ArgList, CommandSpec, Flags, KeySpec, Out};

/// Commands that COMMAND does not know: what the original answers outside of its table, and newer names of commands.
const UNLISTED: &[&str] = &["quit", "replicaof"];

fn command(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let registry = &ctx.node.registry;
    let listed = || registry.iter().filter(|row| !UNLISTED.contains(&row.spec.name));
    let args = ctx.args;
    if args.len() == 1 {
        ctx.out.array(listed().count());
        listed().for_each(|row| describe(row, ctx.ctx.out));
    } else if args.is(1, "info") {
        ctx.out.array(args.len() - 2);
        for name in args.from(2).iter() {
            match registry.get(name).filter(|row| !UNLISTED.contains(&row.spec.name)) {
                Some(row) => describe(row, ctx.ctx.out),
                None => ctx.out.null_bulk(),
            }
        }
    } else if args.is(1, "count") && args.len() == 2 {
        ctx.out.int(listed().count() as i64);
    } else if args.is(1, "getkeys") && args.len() >= 3 {
        let call = args.from(2);
        let row = registry.get(call.at(0)).ok_or(Error::Text("ERR Invalid command specified"))?;
        if !row.spec.arity_ok(call.count()) {
            return Err(Error::Text("ERR Invalid number of arguments specified for command"));
        }
        let keys: Vec<usize> = resp::key_positions(&row.spec, &call).collect();
        ctx.out.array(keys.len());
        keys.iter().for_each(|&i| ctx.ctx.out.bulk(call.at(i)));
    } else {
        return Err(Error::Text("ERR Unknown subcommand or wrong number of arguments."));
    }
    Ok(())
}

/// The last key as COMMAND shows it: 3.2 says of TOUCH that it has only one, though it takes many.
fn shown_last_key(spec: &CommandSpec) -> i32 {
    if spec.name == "touch" { 1 } else { spec.keys.last }
}

fn describe(row: &Command<Run>, out: &mut Out) {
    let spec = &row.spec;
    out.array(6);
    out.bulk(spec.name.as_bytes());
    out.int(spec.arity.into());
    out.array(spec.flags.names().count());
    spec.flags.names().for_each(|flag| out.simple(flag));
    for number in [spec.keys.first, shown_last_key(spec), spec.keys.step] {
        out.int(number.into());
    }
}

pub(super) static TABLE: &[Command<Handler>] =
    &[row("command", 0, KeySpec::NONE, Flags::LOADING.or(Flags::STALE), command)];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What COMMAND says, one line a command.
    fn described() -> BTreeMap<String, String> {
        let specs = commands::tables().map(|row| row.spec).chain(crate::node_commands::tables().map(|row| row.spec));
        let line = |spec: CommandSpec| {
            let flags: Vec<&str> = spec.flags.names().collect();
            let flags = if flags.is_empty() { "-".to_owned() } else { flags.join(",") };
            let (arity, keys) = (spec.arity, spec.keys);
            (spec.name.to_owned(), format!("{arity} {flags} {} {} {}", keys.first, shown_last_key(&spec), keys.step))
        };
        specs.filter(|spec| !UNLISTED.contains(&spec.name)).map(line).collect()
    }

    #[test]
    fn the_table_says_of_each_command_what_3_2_says() {
        let lines = include_str!("../../testdata/commands.txt").lines().filter(|line| !line.starts_with('#'));
        let mut ours = described();
        let mut wrong = Vec::new();
        for line in lines {
            let (name, facts) = line.split_once(' ').expect("a name and facts");
            match ours.remove(name) {
                Some(described) if described == facts => {}
                Some(described) => wrong.push(format!("{name} is {described}, 3.2 says {facts}")),
                None => wrong.push(format!("{name} is missing")),
            }
        }
        wrong.extend(ours.keys().map(|name| format!("3.2 has no {name}")));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

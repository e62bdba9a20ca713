//! EVAL, EVALSHA and SCRIPT: runs scripts against the node.
//!
//! A script may touch any key: its slots are taken when first touched, under the transaction mutex, and kept to its
//! end, so a script is atomic, and serial among scripts. Each thread has an engine of its own; sources are shared.

use super::{Handler, NodeCtx};
use crate::log;
use crate::node::Run;
use commands::args::Args;
use commands::ctx::Session;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use lua::{Host, Replication, ScriptError, Sha, Tick, Vm};
use resp::{Arg, Flags, GetKeys, KeySpec, Out, Reply, errors};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

const NOT_DETERMINISTIC: &str = "Write commands not allowed after non deterministic commands. Call \
    redis.replicate_commands() at the start of your script in order to switch to single commands replication mode.";

fn eval(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let source = ctx.args.at(1);
    let sha = Sha::of(source);
    run(ctx, sha, Some(source))
}

fn evalsha(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let sha = Sha::parse(ctx.args.at(1)).ok_or(Error::Text(errors::NO_SCRIPT))?;
    run(ctx, sha, None)
}

/// The source of a script that was sent before.
fn known_source(ctx: &NodeCtx<'_, '_>, sha: &Sha) -> Option<std::sync::Arc<[u8]>> {
    ctx.node.scripts.lock().unwrap_or_else(PoisonError::into_inner).get(sha).cloned()
}

/// Makes `sha` runnable on this thread and known to the others.
fn compile(ctx: &mut NodeCtx<'_, '_>, vm: &mut Vm, sha: &Sha, source: Option<&[u8]>) -> Result<(), ScriptError> {
    if vm.has(sha) && (source.is_none() || known_source(ctx, sha).is_some()) {
        return Ok(());
    }
    match source {
        Some(source) => {
            vm.compile(sha, source)?;
            ctx.node.scripts.lock().unwrap_or_else(PoisonError::into_inner).insert(*sha, source.into());
            Ok(())
        }
        None => vm.compile(sha, &known_source(ctx, sha).ok_or(ScriptError::NoScript)?),
    }
}

fn run(ctx: &mut NodeCtx<'_, '_>, sha: Sha, source: Option<&[u8]>) -> Outcome {
    let args = ctx.args;
    let count = ctx.int(2)?;
    if count > args.len() as i64 - 3 {
        return Err(Error::Text("ERR Number of keys can't be greater than number of args"));
    }
    let Ok(count) = usize::try_from(count) else { return Err(Error::Text("ERR Number of keys can't be negative")) };
    let mut vm = ctx.vm.take().unwrap_or_else(|| Vm::new(lua::Options::default()));
    let rest = args.from(3).to_vec();
    let (keys, argv) = rest.split_at(count);
    let mut reply = Out::new();
    let ran = compile(ctx, &mut vm, &sha, source).and_then(|()| {
        let session = Session { db: ctx.session.db };
        let mut host = ScriptHost { ctx, session, random: false, wrote: false, effects: false };
        vm.run(&sha, keys, argv, &mut host, &mut reply)
    });
    ctx.node.script_memory[ctx.reactor].store(vm.used_memory() as u64, Relaxed);
    *ctx.vm = Some(vm);
    ctx.keys.effects().log_verbatim();
    match ran {
        Ok(()) => ctx.out.extend_raw(reply.as_slice()),
        Err(error) => error.write_reply(ctx.ctx.out),
    }
    Ok(())
}

/// The node's side of a running script.
struct ScriptHost<'s, 'c, 'h> {
    ctx: &'s mut NodeCtx<'c, 'h>,
    session: Session,
    /// A command whose result is random was called: nothing may be written from then on.
    random: bool,
    wrote: bool,
    /// Effects are replicated, not the script.
    effects: bool,
}

impl ScriptHost<'_, '_, '_> {
    /// Whether the script may call this command now.
    fn check(&mut self, row: &Command<Run>, args: &[&[u8]]) -> Result<(), &'static str> {
        let flags = row.spec.flags;
        if !row.spec.arity_ok(args.len()) {
            return Err("Wrong number of args calling Redis command From Lua script");
        }
        if flags.contains(Flags::NOSCRIPT) {
            return Err("This Redis command is not allowed from scripts");
        }
        if flags.contains(Flags::WRITE) && self.random && !self.effects {
            return Err(NOT_DETERMINISTIC);
        }
        let config = self.ctx.node.config();
        if flags.contains(Flags::DENYOOM) && !self.wrote && crate::memory::is_over(self.ctx.node, &config) {
            return Err("OOM command not allowed when used memory > 'maxmemory'.");
        }
        self.random |= flags.contains(Flags::RANDOM);
        self.wrote |= flags.contains(Flags::WRITE);
        Ok(())
    }
}

impl Host for ScriptHost<'_, '_, '_> {
    fn call(&mut self, args: &[&[u8]], reply: &mut Out) -> lua::Outcome {
        let row = args.first().and_then(|name| self.ctx.node.registry.get(name)).copied();
        let checked = match &row {
            None => Err("Unknown Redis command called from Lua script"),
            Some(row) => self.check(row, args),
        };
        let row = match (checked, row) {
            (Ok(()), Some(row)) => row,
            (refused, _) => {
                reply.extend_raw(refused.err().unwrap_or_default().as_bytes());
                return lua::Outcome::Refused;
            }
        };
        let bytes = args.concat();
        let mut start = 0;
        let ranges = args.iter().map(|arg| {
            let range = Arg { start, len: arg.len() as u32 };
            start += range.len;
            range
        });
        let ranges: Vec<Arg> = ranges.collect();
        let begin = reply.len();
        self.ctx.invoke(&row, Args::new(&bytes, &ranges), Some(&mut self.session), reply);
        if row.spec.flags.contains(Flags::SORT_FOR_SCRIPT) && !self.effects {
            sort_reply(reply, begin);
        }
        lua::Outcome::Replied
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        let text = String::from_utf8_lossy(message);
        match level {
            0 => log::debug!("{text}"),
            1 => log::verbose!("{text}"),
            2 => log::notice!("{text}"),
            _ => log::warning!("{text}"),
        }
    }

    fn replicates_commands(&self) -> bool {
        self.effects
    }

    fn replicate_commands(&mut self) -> Option<i32> {
        if self.wrote {
            return None;
        }
        self.effects = true;
        Some(self.ctx.keys.random() as i32)
    }

    fn set_replication(&mut self, _to: Replication) {}

    fn tick(&mut self) -> Tick {
        if self.ctx.node.stopping.load(Relaxed) && !self.wrote { Tick::Kill } else { Tick::Continue }
    }
}

/// Sorts an array of strings, so that a script sees the same order everywhere.
fn sort_reply(reply: &mut Out, begin: usize) {
    let Ok(Some((Reply::Array(Some(mut items)), _))) = Reply::decode(&reply.as_slice()[begin..]) else { return };
    items.sort_by(|a, b| match (a, b) {
        (Reply::Bulk(a), Reply::Bulk(b)) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    reply.truncate(begin);
    Reply::Array(Some(items)).encode(reply);
}

fn script(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    match &args.at(1).to_ascii_lowercase()[..] {
        b"flush" if args.len() == 2 => {
            ctx.node.scripts.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *ctx.vm = None;
            ctx.keys.dirty(1);
            ctx.out.ok();
        }
        b"exists" => {
            ctx.out.array(args.len() - 2);
            for name in args.from(2).iter() {
                let known = Sha::parse(name).is_some_and(|sha| known_source(ctx, &sha).is_some());
                ctx.out.int(known.into());
            }
        }
        b"load" if args.len() == 3 => {
            let sha = Sha::of(args.at(2));
            let mut vm = ctx.vm.take().unwrap_or_else(|| Vm::new(lua::Options::default()));
            let compiled = compile(ctx, &mut vm, &sha, Some(args.at(2)));
            *ctx.vm = Some(vm);
            match compiled {
                Ok(()) => {
                    ctx.keys.dirty(1);
                    ctx.out.bulk(sha.as_bytes());
                }
                Err(error) => error.write_reply(ctx.ctx.out),
            }
        }
        b"kill" if args.len() == 2 => return Err(Error::Text("NOTBUSY No scripts in execution right now.")),
        _ => return Err(Error::Text("ERR Unknown SCRIPT subcommand or wrong # of args.")),
    }
    Ok(())
}

const EVAL_KEYS: KeySpec = KeySpec::movable(0, 0, 0, GetKeys::Eval);

pub(super) static TABLE: &[Command<Handler>] = &[
    command::<Handler>("eval", -3, EVAL_KEYS, Flags::NOSCRIPT, eval).holding(Access::Touch),
    command::<Handler>("evalsha", -3, EVAL_KEYS, Flags::NOSCRIPT, evalsha).holding(Access::Touch),
    command("script", -2, KeySpec::NONE, Flags::NOSCRIPT, script),
];

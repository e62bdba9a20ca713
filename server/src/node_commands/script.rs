//! EVAL, EVALSHA and SCRIPT.
//!
//! A script may touch any key: its slots are taken when first touched, under the transaction mutex, and kept to its
//! end, so a script is atomic, and serial among scripts. What it does is logged as the script itself, EVALSHA as the
//! EVAL that every reader understands, or as what its commands did (`redis.replicate_commands`).

use super::{Handler, NodeCtx};
use crate::persist::gate;
use crate::scripting::engine::{Engine, Named};
use crate::scripting::host::ScriptHost;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::keyspace::Key;
use lua::{ScriptError, Sha};
use resp::{Flags, GetKeys, KeySpec, Out, errors};

/// Arguments of a script that need no allocation to be handed on.
const FEW: usize = 16;

fn eval(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let source = ctx.args.at(1);
    run(ctx, Named::Source(source))
}

fn evalsha(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let sha = Sha::parse(ctx.args.at(1)).ok_or(Error::Text(errors::NO_SCRIPT))?;
    run(ctx, Named::Sha(sha))
}

fn run(ctx: &mut NodeCtx<'_, '_>, named: Named<'_>) -> Outcome {
    let count = ctx.int(2)?;
    if count > ctx.args.len() as i64 - 3 {
        return Err(Error::Text("ERR Number of keys can't be greater than number of args"));
    }
    let Ok(count) = usize::try_from(count) else { return Err(Error::Text("ERR Number of keys can't be negative")) };
    let start = ctx.out.len();
    let mut engine = ctx.engine.take().unwrap_or_else(|| Box::new(Engine::new(&ctx.node.scripts)));
    let ran = run_with(ctx, &mut engine, named, count);
    ctx.node.scripts.set_memory(ctx.reactor, engine.vm.used_memory());
    *ctx.engine = Some(engine);
    if ctx.node.persist.gate.has(gate::STOPPING) {
        // It has called SHUTDOWN. What it did after that is not saved, and it is not answered.
        ctx.out.truncate(start);
        return Ok(());
    }
    if let Err(error) = ran {
        error.write_reply(ctx.ctx.out);
    }
    Ok(())
}

fn run_with(
    ctx: &mut NodeCtx<'_, '_>,
    engine: &mut Engine,
    named: Named<'_>,
    key_count: usize,
) -> Result<(), ScriptError> {
    // The key that the script will ask for comes into the cache while the script is found and made ready.
    let first = (key_count > 0).then(|| Key::new(ctx.args.at(3)));
    if let Some(key) = &first {
        ctx.keys.prefetch(key, false);
    }
    let script = engine.script(&ctx.node.scripts, named)?;
    let rest = ctx.args.from(3);
    let mut few = [&[][..]; FEW];
    let mut many = Vec::new();
    let rest = match few.get_mut(..rest.len()) {
        Some(few) => {
            few.iter_mut().zip(rest.iter()).for_each(|(to, from)| *to = from);
            few
        }
        None => {
            many.extend(rest.iter());
            &mut many[..]
        }
    };
    let (keys, argv) = rest.split_at(key_count);
    if let Some(key) = &first {
        ctx.keys.prefetch(key, true);
    }
    // The script's reply goes straight to the client's; the commands of the script have one of their own.
    let mut out = std::mem::replace(ctx.out, Out::new());
    let mut host = ScriptHost::new(ctx, &mut engine.scratch, &mut engine.evictor, first);
    let ran = engine.vm.run(&script, keys, argv, &mut host, &mut out);
    let verbatim = host.finish();
    *ctx.out = out;
    if verbatim && matches!(named, Named::Sha(_)) {
        let effects = ctx.keys.effects();
        if effects.is_logged_as_sent() {
            let source = ctx.node.scripts.source(script.sha()).or_else(|| engine.source(&script)).unwrap_or_default();
            let mut record: Vec<&[u8]> = vec![b"EVAL", &source];
            record.extend(ctx.args.from(2).iter());
            ctx.keys.effects().log_instead(&record);
        }
    }
    ran
}

fn script(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    let scripts = &ctx.node.scripts;
    match &args.at(1).to_ascii_lowercase()[..] {
        b"flush" if args.len() == 2 => {
            scripts.flush();
            ctx.keys.dirty(1);
            ctx.out.ok();
        }
        b"exists" => {
            ctx.out.array(args.len() - 2);
            for name in args.from(2).iter() {
                let known = Sha::parse(name).is_some_and(|sha| scripts.knows(&sha));
                ctx.out.int(known.into());
            }
        }
        b"load" if args.len() == 3 => {
            let mut engine = ctx.engine.take().unwrap_or_else(|| Box::new(Engine::new(scripts)));
            let loaded = engine.script(scripts, Named::Source(args.at(2)));
            scripts.set_memory(ctx.reactor, engine.vm.used_memory());
            *ctx.engine = Some(engine);
            match loaded {
                Ok(script) => {
                    ctx.keys.effects().log_also(&args.to_vec());
                    ctx.out.bulk(script.sha().as_bytes());
                }
                Err(error) => error.write_reply(ctx.ctx.out),
            }
        }
        b"kill" if args.len() == 2 => {
            scripts.kill()?;
            ctx.out.ok();
        }
        b"debug" if args.len() == 3 => {
            // Whoever asks for no debugger gets what is wanted.
            match () {
                () if args.is(2, "no") => ctx.out.ok(),
                () if args.is(2, "yes") || args.is(2, "sync") => {
                    return Err(Error::Text("ERR The Lua debugger is not supported"));
                }
                () => return Err(Error::Text("ERR Use SCRIPT DEBUG yes/sync/no")),
            }
        }
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

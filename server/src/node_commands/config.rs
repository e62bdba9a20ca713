//! CONFIG GET, SET, RESETSTAT and REWRITE.

use super::{Handler, NodeCtx};
use crate::config::{Effect, ProcessHost};
use crate::{log, persist};
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use resp::{Flags, KeySpec};

fn config(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    let sub = args.at(1).to_ascii_lowercase();
    let wanted = match &sub[..] {
        b"get" => 3,
        b"set" => 4,
        b"resetstat" | b"rewrite" => 2,
        _ => return Err(Error::Text("ERR CONFIG subcommand must be one of GET, SET, RESETSTAT, REWRITE")),
    };
    if args.len() != wanted {
        return Err(format!("ERR Wrong number of arguments for CONFIG {}", String::from_utf8_lossy(args.at(1))).into());
    }
    match &sub[..] {
        b"get" => {
            let settings = ctx.node.config().get(args.at(2));
            ctx.out.array(settings.len() * 2);
            for (name, value) in settings {
                ctx.out.bulk(name.as_bytes());
                ctx.out.bulk(&value);
            }
            return Ok(());
        }
        b"set" => {
            set(ctx, args.at(2), args.at(3))?;
            ctx.node.apply_replication_settings(ctx.keys.now().ms);
        }
        b"resetstat" => {
            ctx.node.stats.iter().for_each(crate::stats::ReactorStats::reset);
            ctx.node.moves.expired.store(0, std::sync::atomic::Ordering::Relaxed);
            *ctx.keys.stats() = Default::default();
        }
        _ => match ctx.node.config().rewrite() {
            Ok(()) => log::warning!("CONFIG REWRITE executed with success."),
            Err(error) => {
                log::warning!("CONFIG REWRITE failed: {error}");
                return Err(error.into());
            }
        },
    }
    ctx.out.ok();
    Ok(())
}

fn set(ctx: &mut NodeCtx<'_, '_>, name: &[u8], value: &[u8]) -> Outcome {
    if name.eq_ignore_ascii_case(b"appendonly") {
        return turn_aof(ctx, value);
    }
    change(ctx, name, value)?;
    persist::aof::settings_changed(ctx.node);
    Ok(())
}

/// The AOF is turned on or off first: the setting follows only if that could be done.
fn turn_aof(ctx: &mut NodeCtx<'_, '_>, value: &[u8]) -> Outcome {
    let before = ctx.node.config().appendonly;
    change(ctx, b"appendonly", value)?;
    let node = ctx.node;
    let on = node.config().appendonly;
    node.persist.aof.turn(node, &mut ctx.ctx.keys, on).map_err(|error| {
        // Back to what it was, which cannot be refused.
        let _ = change(ctx, b"appendonly", if before { b"yes" } else { b"no" });
        Error::Text(error)
    })
}

fn change(ctx: &mut NodeCtx<'_, '_>, name: &[u8], value: &[u8]) -> Outcome {
    let mut watch = false;
    ctx.node.change_config(|config| {
        match config.set(name, value).map_err(Error::Owned)? {
            Effect::ChangeDir => {
                config.enter_dir(&mut ProcessHost::new(crate::node::is_command)).map_err(Error::from)?
            }
            Effect::MaxClients => crate::daemon::raise_max_clients(config)?,
            Effect::Watchdog => watch = config.watchdog_period_ms != 0,
            Effect::LogLevel => log::set_level(config.loglevel),
            // Whoever needs the others reads the setting at its next turn.
            _ => {}
        }
        Ok::<(), Error>(())
    })?;
    if watch {
        crate::crash_report::start_watchdog(ctx.node);
    }
    Ok(())
}

pub(super) static TABLE: &[Command<Handler>] =
    &[command::<Handler>("config", -2, KeySpec::NONE, Flags::LOADING.or(Flags::ADMIN).or(Flags::STALE), config)
        .holding(Access::Touch)];

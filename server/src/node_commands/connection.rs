//! The connection itself: AUTH, PING, ECHO, SELECT, QUIT; and what browsers send.

use super::{Handler, NodeCtx};
use crate::config::Config;
use crate::log;
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use resp::{Flags, KeySpec, errors};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

fn auth(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    authenticate(&ctx.node.config(), ctx.args.at(1), ctx.client.authenticated)?;
    ctx.out.ok();
    Ok(())
}

/// Whether `guess` is the password; `authenticated` says so from then on.
pub fn authenticate(config: &Config, guess: &[u8], authenticated: &mut bool) -> Outcome {
    let Some(password) = &config.requirepass else { return Err(Error::Text(errors::NO_PASSWORD_SET)) };
    *authenticated = equal_in_constant_time(password, guess);
    if *authenticated { Ok(()) } else { Err(Error::Text(errors::INVALID_PASSWORD)) }
}

/// Compares without telling by its time how much of the guess was right.
pub fn equal_in_constant_time(secret: &[u8], guess: &[u8]) -> bool {
    let differing = secret.iter().zip(guess.iter().chain(std::iter::repeat(&0))).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differing) == 0 && secret.len() == guess.len()
}

fn ping(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    if ctx.client.subscriptions.is_some() && ctx.args.len() <= 2 {
        ctx.out.array(2);
        ctx.out.bulk(b"pong");
        let text = ctx.args.at(1);
        ctx.out.bulk(text);
        return Ok(());
    }
    match (ctx.args.len(), ctx.args.get(1)) {
        (1, _) => ctx.out.simple("PONG"),
        (2, Some(text)) => ctx.ctx.out.bulk(text),
        _ => return Err(Error::Owned(errors::wrong_arity("ping"))),
    }
    Ok(())
}

fn echo(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let text = ctx.args.at(1);
    ctx.out.bulk(text);
    Ok(())
}

fn select(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let invalid = Error::Text(errors::INVALID_DB);
    let number = resp::parse_i64(ctx.args.at(1)).ok_or(invalid.clone())?;
    match u32::try_from(number) {
        Ok(db) if db < ctx.settings.databases => ctx.session.db = db,
        _ => return Err(invalid),
    }
    ctx.out.ok();
    Ok(())
}

fn quit(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    ctx.out.ok();
    *ctx.client.close_after_reply = true;
    Ok(())
}

/// A web page that a person's browser was made to load sends this to ports that it cannot reach itself.
fn http(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    /// How often the log says so at most.
    const EVERY_MS: i64 = 60_000;
    static LOGGED_AT_MS: AtomicI64 = AtomicI64::new(i64::MIN);
    let now_ms = ctx.keys.now().ms;
    if now_ms.saturating_sub(LOGGED_AT_MS.load(Relaxed)) > EVERY_MS {
        LOGGED_AT_MS.store(now_ms, Relaxed);
        let peer = &ctx.client.info.addr;
        log::warning!("Possible SECURITY ATTACK detected: {peer} speaks HTTP (POST or Host:). Connection aborted.");
    }
    *ctx.client.close_after_reply = true;
    Ok(())
}

const OPEN: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("auth", 2, KeySpec::NONE, OPEN, auth),
    command("ping", -1, KeySpec::NONE, Flags::STALE.or(Flags::FAST), ping),
    command("echo", 2, KeySpec::NONE, Flags::FAST, echo),
    command("select", 2, KeySpec::NONE, Flags::LOADING.or(Flags::FAST), select),
    command("quit", -1, KeySpec::NONE, OPEN, quit),
    command("post", -1, KeySpec::NONE, Flags::LOADING.or(Flags::STALE), http),
    command("host:", -1, KeySpec::NONE, Flags::LOADING.or(Flags::STALE), http),
];

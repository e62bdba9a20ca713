//! SUBSCRIBE, UNSUBSCRIBE, PSUBSCRIBE, PUNSUBSCRIBE, PUBLISH and PUBSUB.

use super::{Handler, NodeCtx};
use crate::pubsub::Subscriptions;
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use engine::oplog::Consumer;
use resp::{Flags, KeySpec};
use std::sync::atomic::Ordering::Relaxed;

/// Tells the client that it subscribes to `topic` from now on, or no longer.
fn confirm(ctx: &mut NodeCtx<'_, '_>, what: &str, topic: Option<&[u8]>) {
    let (channels, patterns) =
        ctx.client.subscriptions.as_ref().map_or((0, 0), |subs| (subs.channels.len(), subs.patterns.len()));
    ctx.client.info.subscriptions[0].store(channels, Relaxed);
    ctx.client.info.subscriptions[1].store(patterns, Relaxed);
    ctx.out.array(3);
    ctx.out.bulk(what.as_bytes());
    ctx.out.bulk_or_null(topic);
    ctx.out.int((channels + patterns) as i64);
}

fn subscribe(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    for channel in ctx.args.from(1).iter() {
        let subs = ctx.client.subscriptions.get_or_insert_default();
        if subs.channels.insert(channel.into()) {
            ctx.net.join(ctx.client.info.id, channel);
        }
        confirm(ctx, "subscribe", Some(channel));
    }
    Ok(())
}

fn psubscribe(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    for pattern in ctx.args.from(1).iter() {
        let subs = ctx.client.subscriptions.get_or_insert_default();
        if !subs.patterns.iter().any(|known| **known == *pattern) {
            subs.patterns.push(pattern.into());
            ctx.net.join_pattern(ctx.client.info.id, pattern);
        }
        confirm(ctx, "psubscribe", Some(pattern));
    }
    Ok(())
}

/// The topics that an UNSUBSCRIBE or PUNSUBSCRIBE means: its arguments, or all that `all` finds.
fn topics(ctx: &NodeCtx<'_, '_>, all: impl FnOnce(&Subscriptions) -> Vec<Box<[u8]>>) -> Vec<Box<[u8]>> {
    match ctx.args.len() {
        1 => ctx.client.subscriptions.as_deref().map(all).unwrap_or_default(),
        _ => ctx.args.from(1).iter().map(Box::from).collect(),
    }
}

/// Ends an UNSUBSCRIBE or PUNSUBSCRIBE: who subscribes to nothing is an ordinary client again.
fn done(ctx: &mut NodeCtx<'_, '_>, what: &str, topics: usize) {
    if topics == 0 {
        confirm(ctx, what, None);
    }
    if ctx.client.subscriptions.as_ref().is_some_and(|subs| subs.count() == 0) {
        *ctx.client.subscriptions = None;
    }
}

fn unsubscribe(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let topics = topics(ctx, |subs| subs.channels.iter().cloned().collect());
    for channel in &topics {
        if ctx.client.subscriptions.as_mut().is_some_and(|subs| subs.channels.remove(channel)) {
            ctx.net.leave(ctx.client.info.id, channel);
        }
        confirm(ctx, "unsubscribe", Some(channel));
    }
    done(ctx, "unsubscribe", topics.len());
    Ok(())
}

fn punsubscribe(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let topics = topics(ctx, |subs| subs.patterns.clone());
    for pattern in &topics {
        let patterns = ctx.client.subscriptions.as_mut().map(|subs| &mut subs.patterns);
        if let Some(patterns) = patterns
            && let Some(at) = patterns.iter().position(|known| known == pattern)
        {
            patterns.remove(at);
            ctx.net.leave_pattern(ctx.client.info.id, pattern);
        }
        confirm(ctx, "punsubscribe", Some(pattern));
    }
    done(ctx, "punsubscribe", topics.len());
    Ok(())
}

fn publish(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let (channel, payload) = (ctx.args.at(1), ctx.args.at(2));
    let receivers = ctx.node.pubsub.publish(&ctx.node.mailboxes, channel, payload);
    // Replicas have subscribers too. (A replica's own messages do not belong in the stream that it follows.)
    if ctx.node.oplog.is_wanted_by(Consumer::Replicas) {
        ctx.keys.effects().tell_replicas(&[b"PUBLISH", channel, payload]);
    }
    ctx.out.int(receivers as i64);
    if receivers > 0 {
        ctx.hand_out();
    }
    Ok(())
}

fn pubsub(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    if args.is(1, "channels") && args.len() <= 3 {
        let channels = ctx.node.pubsub.channels(args.get(2));
        ctx.out.array(channels.len());
        channels.iter().for_each(|channel| ctx.ctx.out.bulk(channel));
    } else if args.is(1, "numsub") {
        ctx.out.array((args.len() - 2) * 2);
        for channel in args.from(2).iter() {
            let count = ctx.node.pubsub.subscribers(channel);
            ctx.out.bulk(channel);
            ctx.out.int(count as i64);
        }
    } else if args.is(1, "numpat") && args.len() == 2 {
        let count = ctx.node.pubsub.pattern_count();
        ctx.out.int(count as i64);
    } else {
        let mut text = b"ERR Unknown PUBSUB subcommand or wrong number of arguments for '".to_vec();
        text.extend(args.at(1).iter().take_while(|&&byte| byte != 0));
        text.push(b'\'');
        return Err(Error::Owned(text));
    }
    Ok(())
}

const OPEN: Flags = Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE);
const LISTENS: Flags = OPEN.or(Flags::NOSCRIPT);

pub(super) static TABLE: &[Command<Handler>] = &[
    command("subscribe", -2, KeySpec::NONE, LISTENS, subscribe),
    command("unsubscribe", -1, KeySpec::NONE, LISTENS, unsubscribe),
    command("psubscribe", -2, KeySpec::NONE, LISTENS, psubscribe),
    command("punsubscribe", -1, KeySpec::NONE, LISTENS, punsubscribe),
    command("publish", 3, KeySpec::NONE, OPEN.or(Flags::FAST), publish),
    command("pubsub", -2, KeySpec::NONE, OPEN.or(Flags::RANDOM), pubsub),
];

//! SLOTSMGRT-ASYNC-STATUS: how a batch stands, in the original's fields and in its order, and behind them ours.
//!
//! What is known of the key that is being sent is its place in the batch; the rest is asked of the key itself, which may have
//! changed by then. `chunked_vals` is 0: the original counts there what it will free when the batch has ended.

use super::chunks;
use crate::node_commands::NodeCtx;
use commands::error::Outcome;
use engine::keyspace::Key;
use engine::raw::entry::Kind;
use resp::Out;
use slots::migration::export::Stage;

/// The key that is being sent, as the original shows it.
struct Current {
    /// -1 before it has begun, or if it is not there any more.
    kind: i64,
    stage: i64,
    /// When it ends, Unix milliseconds; -1 never, 0 before it has begun.
    expire_ms: i64,
    /// How far it is, by elements of a list, by members of a sorted set, or by anything else.
    lindex: u64,
    zindex: u64,
    cursor: u64,
    /// Chunks that it makes.
    chunks: usize,
}

impl Current {
    fn of(ctx: &mut NodeCtx<'_, '_>, key: &[u8], stage: Stage, maxbulks: usize) -> Current {
        let key = Key::new(key);
        let is_chunked = matches!(stage, Stage::Chunked { .. } | Stage::FillTtl);
        let seen = ctx.keys.visit_slot(key.slot, |keys| {
            let entry = keys.find(key.hash, key.bytes).filter(|_| stage != Stage::Prepare)?;
            let chunks = if is_chunked { chunks::estimate(entry.value(), maxbulks) } else { 0 };
            Some((entry.kind(), entry.expire_at_ms().unwrap_or(-1), chunks))
        });
        let mut current =
            Current { kind: -1, stage: stage.number(), expire_ms: 0, lindex: 0, zindex: 0, cursor: 0, chunks: 0 };
        let Some((kind, expire_ms, chunks)) = seen.flatten() else { return current };
        current = Current { kind: kind as i64, expire_ms, chunks, ..current };
        if let Stage::Chunked { cursor } = stage {
            match kind {
                Kind::List => current.lindex = cursor,
                Kind::ZSet => current.zindex = cursor,
                _ => current.cursor = cursor,
            }
        }
        current
    }
}

fn pair(name: &str, value: i64, out: &mut Out) {
    out.bulk(name.as_bytes());
    out.bulk_int(value);
}

/// SLOTSMGRT-ASYNC-STATUS.
pub fn status(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let Some(link) = ctx.node.moves.exports.link(ctx.session.db) else {
        ctx.out.null_array();
        return Ok(());
    };
    // Its slot is not looked at under the link's mutex.
    let (current, limits) = {
        let state = link.state();
        let current = state.standing.current.filter(|_| state.busy);
        let named = current.and_then(|(at, stage)| Some((state.standing.keys.get(at)?.clone(), stage)));
        (named, state.limits.unwrap_or_default())
    };
    let current = current.map(|(key, stage)| {
        let standing = Current::of(ctx, &key, stage, limits.maxbulks);
        (key, standing)
    });
    let now_ms = ctx.keys.now().ms;
    let state = link.state();
    let out = &mut *ctx.ctx.out;
    out.array(18);
    out.bulk(b"host");
    out.bulk(link.host.as_bytes());
    pair("port", link.port.into(), out);
    pair("used", state.used.into(), out);
    pair("timeout", limits.timeout_ms, out);
    pair("lastuse", state.heard_ms, out);
    pair("since_lastuse", now_ms - state.heard_ms, out);
    pair("sending_msgs", state.unacknowledged as i64, out);
    pair("blocked_clients", state.waiting.len() as i64, out);
    out.bulk(b"batched_iterator");
    if !state.busy {
        out.null_array();
        return Ok(());
    }
    let standing = &state.standing;
    out.array(24);
    out.bulk(b"keys");
    out.array(2);
    out.bulk_int(standing.keys.len() as i64);
    out.array(standing.keys.len());
    standing.keys.iter().for_each(|key| out.bulk(key));
    pair("timeout", limits.timeout_ms, out);
    pair("maxbulks", limits.maxbulks as i64, out);
    pair("maxbytes", limits.maxbytes as i64, out);
    pair("estimate_msgs", standing.estimate as i64, out);
    pair("removed_keys", standing.done as i64, out);
    pair("chunked_vals", 0, out);
    out.bulk(b"iterators");
    out.array(2);
    out.bulk_int(standing.left as i64);
    match current {
        None => out.null_array(),
        Some((key, current)) => {
            out.array(16);
            out.bulk(b"key");
            out.bulk(&key);
            pair("val.type", current.kind, out);
            pair("stage", current.stage, out);
            pair("expire", current.expire_ms, out);
            pair("cursor", current.cursor as i64, out);
            pair("lindex", current.lindex as i64, out);
            pair("zindex", current.zindex as i64, out);
            pair("chunked_msgs", current.chunks as i64, out);
        }
    }
    // Ours: how fast it goes, and how much of it is left.
    let took_ms = (now_ms - standing.since_ms).max(1);
    pair("sent_bytes", standing.bytes as i64, out);
    pair("bytes_per_sec", (standing.bytes.saturating_mul(1000) / took_ms as u64) as i64, out);
    pair("left_keys", standing.left as i64, out);
    pair("left_bytes", standing.left_bytes as i64, out);
    Ok(())
}

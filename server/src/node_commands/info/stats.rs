//! INFO stats: totals since the start or the last CONFIG RESETSTAT, and rates.

use super::super::NodeCtx;
use crate::stats::sum;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn stats(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let running = ctx.keys.stats().clone();
    let (stats, [commands, bytes_in, bytes_out]) = (&ctx.node.stats, ctx.node.rates.get());
    field!(text, "total_connections_received", sum(stats, |s| &s.connections));
    field!(text, "total_commands_processed", sum(stats, |s| &s.commands));
    field!(text, "instantaneous_ops_per_sec", commands);
    field!(text, "total_net_input_bytes", sum(stats, |s| &s.bytes_in));
    field!(text, "total_net_output_bytes", sum(stats, |s| &s.bytes_out));
    field!(text, "instantaneous_input_kbps", format_args!("{:.2}", bytes_in as f64 / 1024.0));
    field!(text, "instantaneous_output_kbps", format_args!("{:.2}", bytes_out as f64 / 1024.0));
    field!(text, "rejected_connections", sum(stats, |s| &s.rejected));
    field!(text, "sync_full", ctx.node.repl.syncs[0].load(Relaxed));
    field!(text, "sync_partial_ok", ctx.node.repl.syncs[1].load(Relaxed));
    field!(text, "sync_partial_err", ctx.node.repl.syncs[2].load(Relaxed));
    // The running batch's counts are not published yet.
    field!(text, "expired_keys", sum(stats, |s| &s.expired) + running.expired + ctx.node.moves.expired.load(Relaxed));
    field!(text, "evicted_keys", sum(stats, |s| &s.evicted) + running.evicted);
    field!(text, "keyspace_hits", sum(stats, |s| &s.hits) + running.hits);
    field!(text, "keyspace_misses", sum(stats, |s| &s.misses) + running.misses);
    field!(text, "pubsub_channels", ctx.node.pubsub.channel_count());
    field!(text, "pubsub_patterns", ctx.node.pubsub.pattern_count());
    field!(text, "latest_fork_usec", ctx.node.persist.cut_us.load(Relaxed));
    field!(text, "migrate_cached_sockets", ctx.node.migrations.cached_sockets());
}

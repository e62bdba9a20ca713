//! INFO replication: the role, the link, the replicas, the backlog.

use super::super::NodeCtx;
use crate::config::Config;
use crate::node_commands::replication::backlog;
use crate::repl::State;
use crate::repl::peer::Replica;
use replication::link::Phase;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn replication(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let (node, now_ms, config) = (ctx.node, ctx.keys.now().ms, ctx.node.config());
    let end = node.oplog.end();
    let backlog_from = {
        let state = node.repl.state();
        field!(text, "role", if state.primary.is_some() { "slave" } else { "master" });
        link(&state, &config, end, now_ms, text);
        state.backlog_from
    };
    let replicas: Vec<Arc<Replica>> = node.repl.replicas().clone();
    field!(text, "connected_slaves", replicas.len());
    if config.min_slaves_to_write > 0 && config.min_slaves_max_lag > 0 {
        field!(text, "min_slaves_good_slaves", node.good_replicas(config.min_slaves_max_lag, now_ms));
    }
    for (number, replica) in replicas.iter().enumerate() {
        let lag_s = if replica.stage().is_online() { replica.lag_s(now_ms) } else { 0 };
        let _ = write!(
            text,
            "slave{number}:ip={},port={},state={},offset={},lag={lag_s}\r\n",
            replica.ip(),
            replica.intro.port,
            replica.stage().word(),
            replica.ack.load(Relaxed)
        );
    }
    let history = node.repl.state().history;
    field!(text, "master_replid", history.id);
    match history.previous {
        Some((id, until)) => {
            field!(text, "master_replid2", id);
            field!(text, "second_repl_offset", until + 1);
        }
        None => {
            field!(text, "master_replid2", "0".repeat(replication::history::ID_LEN));
            field!(text, "second_repl_offset", -1);
        }
    }
    let backlog = backlog(node, backlog_from);
    field!(text, "master_repl_offset", end);
    field!(text, "repl_backlog_active", u8::from(backlog.is_some()));
    field!(text, "repl_backlog_size", config.repl_backlog_size);
    field!(text, "repl_backlog_first_byte_offset", backlog.map_or(0, |backlog| backlog.first + 1));
    field!(text, "repl_backlog_histlen", backlog.map_or(0, |backlog| backlog.end - backlog.first));
}

/// What a replica says of its primary.
fn link(state: &State, config: &Config, end: u64, now_ms: i64, text: &mut String) {
    let Some(primary) = &state.primary else { return };
    let up = state.phase == Phase::Streaming;
    let in_sync = matches!(state.phase, Phase::Transfer | Phase::Loading);
    let heard_s = (now_ms - state.heard_ms).max(0) / 1000;
    field!(text, "master_host", primary.host);
    field!(text, "master_port", primary.port);
    field!(text, "master_link_status", if up { "up" } else { "down" });
    field!(text, "master_last_io_seconds_ago", if up { heard_s } else { -1 });
    field!(text, "master_sync_in_progress", u8::from(in_sync));
    field!(text, "slave_repl_offset", if state.resumable { end } else { 0 });
    if in_sync {
        let (done, all) = state.progress;
        let left = all.map_or(-1, |all| all.saturating_sub(done) as i64);
        field!(text, "master_sync_left_bytes", left);
        field!(text, "master_sync_last_io_seconds_ago", heard_s);
    }
    if !up {
        field!(text, "master_link_down_since_seconds", (now_ms - state.down_since_ms).max(0) / 1000);
    }
    field!(text, "slave_priority", config.slave_priority);
    field!(text, "slave_read_only", u8::from(config.slave_read_only));
}

//! INFO persistence: files on disk.

use super::super::NodeCtx;
use crate::persist::gate;
use crate::persist::job::Kind;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn persistence(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let node = ctx.node;
    let persist = &node.persist;
    let (changes, now_s) = (node.changes(), ctx.keys.now().ms / 1000);
    let state = persist.state();
    let ok = |ok: bool| if ok { "ok" } else { "err" };
    let since = |kind| state.running_since_s(kind).map_or(-1, |since| (now_s - since).max(0));
    let (saving, rewriting) = (since(Kind::Save).max(since(Kind::Sync)), since(Kind::Rewrite));
    let is_loading = persist.gate.has(gate::LOADING);
    // One that was asked for while another is ending counts as running.
    let awaited = state.save_scheduled && state.job().is_some_and(|job| job.killed);
    field!(text, "loading", u8::from(is_loading));
    field!(text, "rdb_changes_since_last_save", changes);
    field!(text, "rdb_bgsave_in_progress", u8::from(saving >= 0 || awaited));
    field!(text, "rdb_last_save_time", state.last_save_s(node));
    field!(text, "rdb_last_bgsave_status", ok(state.save_ok()));
    field!(text, "rdb_last_bgsave_time_sec", state.save_took_s());
    field!(text, "rdb_current_bgsave_time_sec", saving);
    field!(text, "aof_enabled", u8::from(persist.aof.is_on()));
    field!(text, "aof_rewrite_in_progress", u8::from(rewriting >= 0));
    field!(text, "aof_rewrite_scheduled", u8::from(state.rewrite_scheduled));
    field!(text, "aof_last_rewrite_time_sec", state.rewrite_took_s());
    field!(text, "aof_current_rewrite_time_sec", rewriting);
    field!(text, "aof_last_bgrewrite_status", ok(state.rewrite_ok()));
    field!(text, "aof_last_write_status", ok(persist.aof.error().is_none()));
    if persist.aof.is_on() {
        let (size, base) = persist.aof.sizes();
        field!(text, "aof_current_size", size);
        field!(text, "aof_base_size", base);
        field!(text, "aof_pending_rewrite", u8::from(state.rewrite_scheduled));
        field!(text, "aof_buffer_length", persist.aof.unwritten(node));
        field!(text, "aof_rewrite_buffer_length", 0);
        field!(text, "aof_pending_bio_fsync", u8::from(persist.aof.syncing.load(Relaxed)));
        field!(text, "aof_delayed_fsync", persist.aof.delayed.load(Relaxed));
    }
    if let Some(job) = state.job() {
        let (all, done) = job.image.progress();
        let seconds = (now_s - job.since_s).max(1) as u64;
        let rate = done / seconds;
        field!(text, "snapshot_keys_total", all);
        field!(text, "snapshot_keys_processed", done);
        field!(text, "snapshot_keys_per_sec", rate);
        field!(text, "snapshot_eta_seconds", (all - done) / rate.max(1));
        field!(text, "snapshot_pending_bytes", job.image.pending());
    }
    if is_loading {
        let (since_s, total, done) = persist.loading.progress();
        let elapsed = (now_s - since_s).max(0) as u64;
        let eta = if elapsed == 0 { 1 } else { elapsed * total.saturating_sub(done) / (done + 1) };
        field!(text, "loading_start_time", since_s);
        field!(text, "loading_total_bytes", total);
        field!(text, "loading_loaded_bytes", done);
        field!(text, "loading_loaded_perc", format_args!("{:.2}", done as f64 / (total + 1) as f64 * 100.0));
        field!(text, "loading_eta_seconds", eta);
    }
}

//! INFO persistence: files on disk.

use super::super::NodeCtx;
use crate::stats::sum;
use std::fmt::Write;

pub(super) fn persistence(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    field!(text, "loading", 0);
    field!(text, "rdb_changes_since_last_save", sum(&ctx.node.stats, |s| &s.dirty));
    field!(text, "rdb_bgsave_in_progress", 0);
    field!(text, "rdb_last_save_time", ctx.node.started.ms / 1000);
    field!(text, "rdb_last_bgsave_status", "ok");
    field!(text, "rdb_last_bgsave_time_sec", -1);
    field!(text, "rdb_current_bgsave_time_sec", -1);
    field!(text, "aof_enabled", 0);
    field!(text, "aof_rewrite_in_progress", 0);
    field!(text, "aof_rewrite_scheduled", 0);
    field!(text, "aof_last_rewrite_time_sec", -1);
    field!(text, "aof_current_rewrite_time_sec", -1);
    field!(text, "aof_last_bgrewrite_status", "ok");
    field!(text, "aof_last_write_status", "ok");
}

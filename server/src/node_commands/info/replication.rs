//! INFO replication: the role, the replicas, the backlog.

use super::super::NodeCtx;
use std::fmt::Write;

pub(super) fn replication(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let config = ctx.node.config();
    field!(text, "role", "master");
    field!(text, "connected_slaves", 0);
    field!(text, "master_repl_offset", ctx.node.oplog.end());
    field!(text, "repl_backlog_active", 0);
    field!(text, "repl_backlog_size", config.repl_backlog_size);
    field!(text, "repl_backlog_first_byte_offset", 0);
    field!(text, "repl_backlog_histlen", 0);
}

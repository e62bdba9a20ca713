//! INFO clients: connections of all reactors.

use super::super::NodeCtx;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn clients(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let all = ctx.node.clients.all();
    let longest = all.iter().filter(|client| client.output.load(Relaxed) > 0).count().min(1);
    field!(text, "connected_clients", all.len());
    field!(text, "client_longest_output_list", longest);
    field!(text, "client_biggest_input_buf", all.iter().map(|c| c.input[0].load(Relaxed)).max().unwrap_or(0));
    field!(text, "blocked_clients", all.iter().filter(|client| client.is_blocked()).count());
}

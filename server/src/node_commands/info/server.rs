//! INFO server: which program this is, where and since when it runs.

use super::super::NodeCtx;
use crate::config::REDIS_VERSION;
use std::fmt::Write;

pub(super) fn server(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let (node, config, now) = (ctx.node, ctx.node.config(), ctx.keys.now());
    let up = (now.ms - node.started.ms).max(0) / 1000;
    field!(text, "redis_version", REDIS_VERSION);
    field!(text, "redis_git_sha1", "00000000");
    field!(text, "redis_git_dirty", 0);
    field!(text, "redis_build_id", format_args!("codis-rs-{}", env!("CARGO_PKG_VERSION")));
    field!(text, "redis_mode", "standalone");
    let system = rustix::system::uname();
    let of = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    field!(text, "os", format_args!("{} {} {}", of(system.sysname()), of(system.release()), of(system.machine())));
    field!(text, "arch_bits", usize::BITS);
    field!(text, "multiplexing_api", "epoll");
    field!(text, "gcc_version", "0.0.0");
    field!(text, "process_id", std::process::id());
    field!(text, "run_id", node.run_id);
    field!(text, "tcp_port", config.port);
    field!(text, "uptime_in_seconds", up);
    field!(text, "uptime_in_days", up / 86_400);
    field!(text, "hz", config.hz);
    field!(text, "lru_clock", now.lru());
    field!(text, "executable", std::env::current_exe().unwrap_or_default().display());
    field!(text, "config_file", config.config_file.clone().unwrap_or_default().display());
    field!(text, "server_threads", node.mailboxes.len());
}

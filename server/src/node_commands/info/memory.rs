//! INFO memory: what the allocator handed out, what the system gave for it, and the limit.

use super::super::NodeCtx;
use crate::config::Choice;
use engine::raw::alloc;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes as people read them: `1.50M`.
fn human(bytes: u64) -> String {
    const UNITS: [(u32, char); 4] = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    match UNITS.iter().find(|(shift, _)| bytes >= 1 << shift) {
        Some((shift, letter)) => format!("{:.2}{letter}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes}B"),
    }
}

pub(super) fn memory(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let (config, used) = (ctx.node.config(), crate::memory::used(ctx.node));
    let (rss, total) = (resident(), total_memory());
    let peak = ctx.node.peak_memory.load(Relaxed);
    field!(text, "used_memory", used);
    field!(text, "used_memory_human", human(used));
    field!(text, "used_memory_rss", rss);
    field!(text, "used_memory_rss_human", human(rss));
    field!(text, "used_memory_peak", peak);
    field!(text, "used_memory_peak_human", human(peak));
    field!(text, "total_system_memory", total);
    field!(text, "total_system_memory_human", human(total));
    let lua = ctx.node.scripts.memory();
    field!(text, "used_memory_lua", lua);
    field!(text, "used_memory_lua_human", human(lua));
    field!(text, "maxmemory", config.maxmemory);
    field!(text, "maxmemory_human", human(config.maxmemory));
    field!(text, "maxmemory_policy", config.maxmemory_policy.word());
    field!(text, "mem_fragmentation_ratio", format_args!("{:.2}", rss as f64 / used.max(1) as f64));
    field!(text, "mem_allocator", alloc::NAME);
}

/// Bytes of this process in physical memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

fn total_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

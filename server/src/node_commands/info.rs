//! INFO: the node's figures, in the sections and under the names of Redis 3.2.

use super::{Handler, NodeCtx};
use crate::config::{Choice, REDIS_VERSION};
use crate::stats::sum;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::keyspace::Local;
use engine::raw::{alloc, ticks};
use resp::{Flags, KeySpec, errors};
use slots::SlotId;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// Writes the lines of one section.
type Section = fn(&mut NodeCtx<'_, '_>, &mut String);

/// The sections in order, and whether `default` has them.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("Server", true, server),
    ("Clients", true, clients),
    ("Memory", true, memory),
    ("Persistence", true, persistence),
    ("Stats", true, stats),
    ("Replication", true, replication),
    ("CPU", true, cpu),
    ("Commandstats", false, commandstats),
    ("Cluster", true, cluster),
    ("Keyspace", true, keyspace),
];

fn info(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    if ctx.args.len() > 2 {
        return Err(Error::Text(errors::SYNTAX));
    }
    let wanted = ctx.args.get(1).unwrap_or(b"default").to_ascii_lowercase();
    let mut text = String::new();
    for (name, default, write) in SECTIONS {
        let is_wanted = match &wanted[..] {
            b"all" => true,
            b"default" => *default,
            section => section.eq_ignore_ascii_case(name.as_bytes()),
        };
        if is_wanted {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            text.push_str("# ");
            text.push_str(name);
            text.push_str("\r\n");
            write(ctx, &mut text);
        }
    }
    ctx.out.bulk(text.as_bytes());
    Ok(())
}

/// Appends one line. Writing to a string cannot fail.
macro_rules! field {
    ($text:expr, $name:literal, $value:expr) => {
        let _ = write!($text, concat!($name, ":{}\r\n"), $value);
    };
}

/// Bytes as people read them: `1.50M`.
fn human(bytes: u64) -> String {
    const UNITS: [(u32, char); 4] = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    match UNITS.iter().find(|(shift, _)| bytes >= 1 << shift) {
        Some((shift, letter)) => format!("{:.2}{letter}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes}B"),
    }
}

fn server(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
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

fn clients(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let all = ctx.node.clients.all();
    let longest = all.iter().filter(|client| client.output.load(Relaxed) > 0).count().min(1);
    field!(text, "connected_clients", all.len());
    field!(text, "client_longest_output_list", longest);
    field!(text, "client_biggest_input_buf", all.iter().map(|c| c.input[0].load(Relaxed)).max().unwrap_or(0));
    field!(text, "blocked_clients", 0);
}

fn memory(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
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
    let lua = ctx.node.script_memory.iter().map(|bytes| bytes.load(Relaxed)).sum();
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

fn persistence(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
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

fn stats(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
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
    field!(text, "sync_full", 0);
    field!(text, "sync_partial_ok", 0);
    field!(text, "sync_partial_err", 0);
    // The running batch's counts are not published yet.
    field!(text, "expired_keys", sum(stats, |s| &s.expired) + running.expired);
    field!(text, "evicted_keys", sum(stats, |s| &s.evicted) + running.evicted);
    field!(text, "keyspace_hits", sum(stats, |s| &s.hits) + running.hits);
    field!(text, "keyspace_misses", sum(stats, |s| &s.misses) + running.misses);
    field!(text, "pubsub_channels", 0);
    field!(text, "pubsub_patterns", 0);
    field!(text, "latest_fork_usec", 0);
    field!(text, "migrate_cached_sockets", 0);
}

fn replication(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let config = ctx.node.config();
    field!(text, "role", "master");
    field!(text, "connected_slaves", 0);
    field!(text, "master_repl_offset", ctx.node.oplog.end());
    field!(text, "repl_backlog_active", 0);
    field!(text, "repl_backlog_size", config.repl_backlog_size);
    field!(text, "repl_backlog_first_byte_offset", 0);
    field!(text, "repl_backlog_histlen", 0);
}

fn cpu(_: &mut NodeCtx<'_, '_>, text: &mut String) {
    // utime and stime stand 11 and 12 fields behind the command's closing bracket, in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    let seconds = |i: usize| format!("{:.2}", fields.get(i).unwrap_or(&0.0) / 100.0);
    field!(text, "used_cpu_sys", seconds(1));
    field!(text, "used_cpu_user", seconds(0));
    field!(text, "used_cpu_sys_children", "0.00");
    field!(text, "used_cpu_user_children", "0.00");
}

fn commandstats(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let rate = ticks::per_microsecond();
    let mut rows: Vec<_> = ctx.node.registry.iter().collect();
    rows.sort_by_key(|row| row.id);
    for row in rows {
        let of = |reactor: &crate::stats::ReactorStats| {
            let (calls, ticks) = &reactor.commands_by_id[usize::from(row.id)];
            (calls.get(), ticks.get())
        };
        let (calls, ticks) = ctx.node.stats.iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if calls > 0 {
            let us = ticks as f64 / rate as f64;
            let name = row.spec.name;
            let per_call = us / calls as f64;
            let _ = write!(text, "cmdstat_{name}:calls={calls},usec={us:.0},usec_per_call={per_call:.2}\r\n");
        }
    }
}

fn cluster(_: &mut NodeCtx<'_, '_>, text: &mut String) {
    field!(text, "cluster_enabled", 0);
}

/// Sums over one database.
#[derive(Default, Clone)]
struct Counts {
    keys: usize,
    expires: usize,
    ttl_sum_ms: i128,
}

fn keyspace(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let now = ctx.keys.now().ms;
    let mut seed = Local { seed: ctx.keys.random(), ..Local::default() };
    let mut counts = vec![Counts::default(); ctx.settings.databases as usize];
    for slot in SlotId::all() {
        for (db, keys) in ctx.keys.slot_mut(slot).dbs() {
            if let Some(counts) = counts.get_mut(db as usize) {
                counts.keys += keys.len();
                counts.expires += keys.expires_len();
                // One key a slot stands for the slot's others.
                let sample = keys.random_expiring(|| seed.random()).and_then(|entry| entry.expire_at_ms());
                let ttl = sample.map_or(0, |at| (at - now).max(0));
                counts.ttl_sum_ms += ttl as i128 * keys.expires_len() as i128;
            }
        }
    }
    for (db, Counts { keys, expires, ttl_sum_ms }) in counts.into_iter().enumerate() {
        if keys > 0 {
            let ttl_ms = ttl_sum_ms / expires.max(1) as i128;
            let _ = write!(text, "db{db}:keys={keys},expires={expires},avg_ttl={ttl_ms}\r\n");
        }
    }
}

pub(super) static TABLE: &[Command<Handler>] =
    &[command::<Handler>("info", -1, KeySpec::NONE, Flags::LOADING.or(Flags::STALE), info).holding(Access::Touch)];

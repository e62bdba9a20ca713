//! INFO has what tools that were written for Redis 3.2 look for, where they look for it.

#![forbid(unsafe_code)]

use resp::Reply;
use tests::{Client, Options, Server};

/// Sections of 3.2 and their fields on a primary without replicas that neither loads nor keeps an append-only file.
const SECTIONS: &[(&str, &str)] = &[
    (
        "Server",
        "redis_version redis_git_sha1 redis_git_dirty redis_build_id redis_mode os arch_bits multiplexing_api gcc_version \
         process_id run_id tcp_port uptime_in_seconds uptime_in_days hz lru_clock executable config_file",
    ),
    ("Clients", "connected_clients client_longest_output_list client_biggest_input_buf blocked_clients"),
    (
        "Memory",
        "used_memory used_memory_human used_memory_rss used_memory_rss_human used_memory_peak used_memory_peak_human \
         total_system_memory total_system_memory_human used_memory_lua used_memory_lua_human maxmemory maxmemory_human \
         maxmemory_policy mem_fragmentation_ratio mem_allocator",
    ),
    (
        "Persistence",
        "loading rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status \
         rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled \
         aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_bgrewrite_status aof_last_write_status",
    ),
    (
        "Stats",
        "total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes \
         total_net_output_bytes instantaneous_input_kbps instantaneous_output_kbps rejected_connections sync_full \
         sync_partial_ok sync_partial_err expired_keys evicted_keys keyspace_hits keyspace_misses pubsub_channels \
         pubsub_patterns latest_fork_usec migrate_cached_sockets",
    ),
    (
        "Replication",
        "role connected_slaves master_repl_offset repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset \
         repl_backlog_histlen",
    ),
    ("CPU", "used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children"),
    ("Commandstats", "cmdstat_set cmdstat_info"),
    ("Cluster", "cluster_enabled"),
    ("Keyspace", "db0 db3"),
];

/// What follows the section's title and the fields' names, in order.
fn info(client: &mut Client, section: &str) -> Vec<(String, Vec<String>)> {
    let Reply::Bulk(Some(text)) = client.call(&["INFO", section]) else { panic!("INFO {section} gives no text") };
    let text = String::from_utf8(text).expect("text");
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("# "), line.split_once(':'), sections.last_mut()) {
            (Some(title), _, _) => sections.push((title.to_owned(), Vec::new())),
            (None, Some((name, value)), Some((_, fields))) => {
                assert!(!value.is_empty() || name == "config_file", "{name} has no value");
                fields.push(name.to_owned());
            }
            _ => assert!(line.is_empty(), "{line} is not a field"),
        }
    }
    sections
}

#[test]
fn info_has_the_sections_and_fields_of_3_2_in_order() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let mut client = server.client();
        for line in ["SET k v", "SELECT 3", "SET k v EX 100", "INFO"] {
            client.run(line);
        }
        let all = info(&mut client, "all");
        assert!(all.iter().map(|(title, _)| title).eq(SECTIONS.iter().map(|(title, _)| title)));
        for ((title, fields), (_, expected)) in all.iter().zip(SECTIONS) {
            let expected: Vec<&str> = expected.split(' ').collect();
            if *title == "Commandstats" {
                assert!(expected.iter().all(|&name| fields.iter().any(|field| field == name)), "{fields:?}");
            } else {
                // What 3.2 does not have may stand in between.
                let known = fields.iter().map(String::as_str).filter(|field| expected.contains(field));
                assert_eq!(known.collect::<Vec<_>>(), expected, "{title}");
            }
            assert_eq!(info(&mut client, &title.to_lowercase()).len(), 1, "{title}");
        }
        let titles: Vec<String> = info(&mut client, "default").into_iter().map(|(title, _)| title).collect();
        assert!(
            !titles.iter().any(|title| title == "Commandstats") && titles.len() == SECTIONS.len() - 1,
            "{titles:?}"
        );
        assert!(info(&mut client, "nothing").is_empty());
    }
}

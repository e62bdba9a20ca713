//! The value of every setting that nothing sets: those of Redis 3.2.11 (`server.h`, `initServerConfig`).

use std::path::PathBuf;

use super::{
    AppendFsync, BufferLimit, CommandNames, Config, Level, MaxmemoryPolicy, NotifyFlags, SavePoint, Supervised,
    SyslogFacility,
};

const MIB: u64 = 1 << 20;

/// Output limits of ordinary clients, replicas and subscribers.
pub(super) const BUFFER_LIMITS: [BufferLimit; 3] = [
    BufferLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 },
    BufferLimit { hard_bytes: 256 * MIB, soft_bytes: 64 * MIB, soft_seconds: 60 },
    BufferLimit { hard_bytes: 32 * MIB, soft_bytes: 8 * MIB, soft_seconds: 60 },
];

impl Default for Config {
    fn default() -> Self {
        Config {
            config_file: None,
            dir: PathBuf::new(),
            daemonize: false,
            pidfile: None,
            supervised: Supervised::No,
            loglevel: Level::Notice,
            logfile: None,
            syslog_enabled: false,
            syslog_ident: "redis".into(),
            syslog_facility: SyslogFacility::Local0,
            slots_migration_rate_limit: 0,
            slots_migration_durability: Default::default(),
            server_threads: 1,
            hz: 10,
            watchdog_period_ms: 0,

            bind: Vec::new(),
            port: 6379,
            tcp_backlog: 511,
            unixsocket: None,
            unixsocketperm: 0,
            timeout: 0,
            tcp_keepalive: 300,
            protected_mode: true,
            requirepass: None,
            maxclients: 10_000,
            client_output_buffer_limit: BUFFER_LIMITS,
            command_names: CommandNames::default(),

            databases: 16,
            maxmemory: 0,
            maxmemory_policy: MaxmemoryPolicy::Noeviction,
            maxmemory_samples: 5,
            hash_max_ziplist_entries: 512,
            hash_max_ziplist_value: 64,
            list_max_ziplist_size: -2,
            list_compress_depth: 0,
            set_max_intset_entries: 512,
            zset_max_ziplist_entries: 128,
            zset_max_ziplist_value: 64,
            hll_sparse_max_bytes: 3000,
            activerehashing: true,
            notify_keyspace_events: NotifyFlags::default(),

            lua_time_limit_ms: 5000,
            slowlog_log_slower_than_us: 10_000,
            slowlog_max_len: 128,
            latency_monitor_threshold_ms: 0,

            save: vec![
                SavePoint { seconds: 3600, changes: 1 },
                SavePoint { seconds: 300, changes: 100 },
                SavePoint { seconds: 60, changes: 10_000 },
            ],
            stop_writes_on_bgsave_error: true,
            rdbcompression: true,
            rdbchecksum: true,
            dbfilename: "dump.rdb".into(),
            appendonly: false,
            appendfilename: "appendonly.aof".into(),
            appendfsync: AppendFsync::Everysec,
            no_appendfsync_on_rewrite: false,
            auto_aof_rewrite_percentage: 100,
            auto_aof_rewrite_min_size: 64 * MIB,
            aof_rewrite_incremental_fsync: true,
            aof_load_truncated: true,

            slaveof: None,
            masterauth: None,
            slave_serve_stale_data: true,
            slave_read_only: true,
            slave_priority: 100,
            slave_announce_ip: None,
            slave_announce_port: 0,
            repl_ping_slave_period: 10,
            repl_timeout: 60,
            repl_backlog_size: MIB,
            repl_backlog_ttl: 3600,
            repl_disable_tcp_nodelay: false,
            repl_diskless_sync: false,
            repl_diskless_sync_delay: 5,
            min_slaves_to_write: 0,
            min_slaves_max_lag: 10,

            cluster_enabled: false,
            cluster_config_file: "nodes.conf".into(),
            cluster_node_timeout_ms: 15_000,
            cluster_migration_barrier: 1,
            cluster_slave_validity_factor: 10,
            cluster_require_full_coverage: true,
        }
    }
}

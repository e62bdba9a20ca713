//! The server's settings: read from a file and the command line, asked for and changed by CONFIG, written back.
//!
//! `Config` holds every setting in a field of its own, so that whoever needs one reads a field. `table.rs` holds one
//! row a directive: its name, how its value is spelled and checked, which of file, CONFIG SET, CONFIG GET and CONFIG
//! REWRITE know it, and what the server has to do when it changes. `load.rs`, `set.rs`, `get.rs` and `rewrite.rs` walk that table
//! and know no setting by name, but for the four that act on the process while they are read (`include`, `dir`,
//! `logfile`, `rename-command`); those reach it through `Host` alone.
//!
//! 1. A `Config` is always valid: every setter checks before it assigns, and a refused change changes nothing.
//! 2. Nothing here opens a socket or starts anything. A change that needs more than a new value returns an `Effect`,
//!    and the server carries it out.
//! 3. Writing a `Config` to a file and loading that file gives an equal `Config`.
//!
//! To change a setting of a running server: clone the `Config`, `set` on the clone, carry out the effect, and put the
//! clone in place only if that succeeded.
//!
//! Source of names, defaults, formats and error texts: Redis 3.2.11 `config.c`, which Codis 3.2 uses unchanged.

mod commands;
mod defaults;
mod directive;
mod document;
mod get;
mod host;
mod load;
mod numbers;
mod replace;
mod rewrite;
mod set;
mod special;
mod table;
mod types;
mod words;

use std::path::PathBuf;

use crate::log::{self, Syslog};

pub use commands::CommandNames;
pub use directive::Effect;
pub use document::document;
pub use host::{Host, ProcessHost};
pub use load::{ConfigSource, LoadError};
pub use types::{
    AppendFsync, BufferLimit, Choice, ClientClass, Level, MaxmemoryPolicy, NotifyFlags, Primary, SavePoint, Supervised,
    SyslogFacility,
};
pub use words::quote;

/// The version of Redis that the server says it is, and behaves as.
pub const REDIS_VERSION: &str = "3.2.11";

/// The most addresses that `bind` takes.
pub const BIND_ADDRESSES_MAX: usize = 16;

/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// The smallest replication backlog, in bytes; smaller sizes are raised to it.
pub const BACKLOG_BYTES_MIN: u64 = 16 * 1024;

/// The most reactors.
pub const SERVER_THREADS_MAX: u32 = 64;

/// How safe keys that arrive must be before they are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MigrationDurability {
    /// On disk, in the append only file.
    pub aof: bool,
    /// Acknowledged by so many replicas.
    pub replicas: u32,
}

impl MigrationDurability {
    /// Whether an acknowledgement waits for anything.
    pub fn is_on(self) -> bool {
        self.aof || self.replicas > 0
    }
}

/// Every setting. `Default` gives what a server has that is started without arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    // --- The process
    /// The file that was loaded, as an absolute path: INFO names it and CONFIG REWRITE writes it.
    pub config_file: Option<PathBuf>,
    /// The working directory; relative file names start there. Empty until a `Host` was asked.
    pub dir: PathBuf,
    /// Run in the background.
    pub daemonize: bool,
    /// Where the process id is written.
    pub pidfile: Option<PathBuf>,
    /// Which supervisor to tell that the server is ready.
    pub supervised: Supervised,
    /// The least severe level that is logged.
    pub loglevel: Level,
    /// The log file; `None` is standard output.
    pub logfile: Option<PathBuf>,
    /// Log to the system log as well.
    pub syslog_enabled: bool,
    /// The name in the system log.
    pub syslog_ident: String,
    /// The facility in the system log.
    pub syslog_facility: SyslogFacility,
    /// Bytes a second that a database's asynchronous migration may send; 0 is any number.
    pub slots_migration_rate_limit: u64,
    /// What happens to keys that arrive before their source is told that it may remove them.
    pub slots_migration_durability: MigrationDurability,
    /// Number of reactors, 1 to 64.
    pub server_threads: u32,
    /// How often a second housekeeping runs, 1 to 500.
    pub hz: u32,
    /// Report in the log whatever blocks a reactor longer than this, in ms; 0 is never.
    pub watchdog_period_ms: u64,

    // --- Network
    /// Addresses to listen on; none means all.
    pub bind: Vec<String>,
    /// TCP port; 0 means no TCP.
    pub port: u16,
    /// Length of the queue of connections not yet accepted.
    pub tcp_backlog: u32,
    /// Unix socket to listen on.
    pub unixsocket: Option<PathBuf>,
    /// Mode of the Unix socket, 0 to 0o777; 0 leaves it to the umask.
    pub unixsocketperm: u32,
    /// Close a client that is idle for so long, in seconds; 0 is never.
    pub timeout: u64,
    /// Interval of TCP keepalive, in seconds; 0 is none.
    pub tcp_keepalive: u64,
    /// Refuse other hosts while neither `bind` nor a password is set.
    pub protected_mode: bool,
    /// The password that clients must give.
    pub requirepass: Option<Vec<u8>>,
    /// The most clients, at least 1.
    pub maxclients: u32,
    /// Output limits, indexed by `ClientClass as usize`.
    pub client_output_buffer_limit: [BufferLimit; 3],
    /// Commands renamed or removed.
    pub command_names: CommandNames,

    // --- Data
    /// Number of databases, at least 1.
    pub databases: u32,
    /// Memory for data, in bytes; 0 is no limit.
    pub maxmemory: u64,
    /// What to do when it is used up.
    pub maxmemory_policy: MaxmemoryPolicy,
    /// Keys looked at to choose one to evict, at least 1.
    pub maxmemory_samples: u64,
    /// The most entries of a compact hash.
    pub hash_max_ziplist_entries: usize,
    /// The longest field or value of a compact hash, in bytes.
    pub hash_max_ziplist_value: usize,
    /// Size of a list's nodes: entries if positive, -1 to -5 for 4 to 64 KiB.
    pub list_max_ziplist_size: i32,
    /// Nodes at each end of a list that stay uncompressed; 0 compresses none.
    pub list_compress_depth: u32,
    /// The most members of a set of integers.
    pub set_max_intset_entries: usize,
    /// The most members of a compact sorted set.
    pub zset_max_ziplist_entries: usize,
    /// The longest member of a compact sorted set, in bytes.
    pub zset_max_ziplist_value: usize,
    /// The longest sparse HyperLogLog, in bytes.
    pub hll_sparse_max_bytes: usize,
    /// Let tables grow and shrink in the background.
    pub activerehashing: bool,
    /// Keyspace events that are published.
    pub notify_keyspace_events: NotifyFlags,

    // --- Scripts, slow log, latency
    /// A script may run so long before others are told BUSY, in ms; 0 or less is for ever.
    pub lua_time_limit_ms: i64,
    /// Log commands that take longer, in microseconds; negative logs none.
    pub slowlog_log_slower_than_us: i64,
    /// Entries that the slow log keeps.
    pub slowlog_max_len: u64,
    /// Record events that take at least so long, in ms; 0 is off.
    pub latency_monitor_threshold_ms: u64,

    // --- RDB and AOF
    /// When to save.
    pub save: Vec<SavePoint>,
    /// Refuse writes after a save has failed.
    pub stop_writes_on_bgsave_error: bool,
    /// Compress strings in RDB files.
    pub rdbcompression: bool,
    /// Check the sum at the end of RDB files, and write it.
    pub rdbchecksum: bool,
    /// Name of the RDB file in `dir`.
    pub dbfilename: PathBuf,
    /// Write the AOF.
    pub appendonly: bool,
    /// Name of the AOF in `dir`.
    pub appendfilename: PathBuf,
    /// When to synchronise it.
    pub appendfsync: AppendFsync,
    /// Do not synchronise it while a save or a rewrite runs.
    pub no_appendfsync_on_rewrite: bool,
    /// Rewrite it when it has grown by so many percent; 0 is never.
    pub auto_aof_rewrite_percentage: u64,
    /// Do not rewrite it below this size, in bytes.
    pub auto_aof_rewrite_min_size: u64,
    /// Synchronise a rewrite as it goes.
    pub aof_rewrite_incremental_fsync: bool,
    /// Accept an AOF whose last command is cut short.
    pub aof_load_truncated: bool,

    // --- Replication
    /// The primary to replicate.
    pub slaveof: Option<Primary>,
    /// The primary's password.
    pub masterauth: Option<Vec<u8>>,
    /// Answer reads while the link to the primary is down.
    pub slave_serve_stale_data: bool,
    /// Refuse writes of clients while a replica.
    pub slave_read_only: bool,
    /// Preference in a failover: lower is better, 0 is never.
    pub slave_priority: u64,
    /// Address that INFO of the primary gives for us.
    pub slave_announce_ip: Option<String>,
    /// Port that INFO of the primary gives for us; 0 is `port`.
    pub slave_announce_port: u16,
    /// Interval of pings to replicas, in seconds, at least 1.
    pub repl_ping_slave_period: u64,
    /// Silence after which a link counts as broken, in seconds, at least 1.
    pub repl_timeout: u64,
    /// Size of the backlog, in bytes, at least 16 KiB.
    pub repl_backlog_size: u64,
    /// Drop the backlog when no replica was connected for so long, in seconds; 0 is never.
    pub repl_backlog_ttl: u64,
    /// Let TCP gather small packets to replicas.
    pub repl_disable_tcp_nodelay: bool,
    /// Full syncs without a file.
    pub repl_diskless_sync: bool,
    /// Wait so long for more replicas before one, in seconds.
    pub repl_diskless_sync_delay: u64,
    /// Refuse writes with fewer good replicas; 0 is off.
    pub min_slaves_to_write: u64,
    /// A replica is good while its lag is at most so many seconds; 0 is off.
    pub min_slaves_max_lag: u64,

    // --- Cluster mode, which does not exist here
    /// Accepted only.
    pub cluster_enabled: bool,
    /// Accepted only.
    pub cluster_config_file: PathBuf,
    /// Accepted only, in ms.
    pub cluster_node_timeout_ms: u64,
    /// Accepted only.
    pub cluster_migration_barrier: u64,
    /// Accepted only.
    pub cluster_slave_validity_factor: u64,
    /// Accepted only.
    pub cluster_require_full_coverage: bool,
}

impl Config {
    /// Lets the log go where the settings say, from their level on.
    pub fn apply_to_log(&self) {
        let syslog = || Syslog::new(&self.syslog_ident, self.syslog_facility.number());
        log::set_level(self.loglevel);
        log::set_replica(self.slaveof.is_some());
        log::set_target(log::Target { file: self.logfile.clone(), syslog: self.syslog_enabled.then(syslog) });
    }
}

//! The directives, one row each, in the order in which CONFIG GET lists them.
//!
//! Legend. The first call gives the kind, the name and the field; then, in any order:
//!
//! ```text
//! .or("text")             what a file with a bad value is told (a number without it: a general text)
//! .set()                  CONFIG SET changes it, within the same range as a file
//! .set_within(min, max)   CONFIG SET changes it, within another range
//! .set_does(effect)       CONFIG SET changes it, and the server has something to do then
//! .alias("name")          the name in newer versions of Redis, taken as well
//! .hidden()               CONFIG GET does not show it (as in 3.2)
//! .unwritten()             CONFIG REWRITE leaves its lines alone
//! .units()                a file may use units of memory for a number (as in 3.2)
//! .run_time_only()        no file contains it
//! .ignored("why")         accepted, but changes nothing here
//! .about("what")          for people: ends up in docs/config.md
//! ```
//!
//! Source: Redis 3.2.11 `config.c`. `server-threads` and `slots-migration-..` are ours.

use super::directive::{ChoiceField, Directive, Effect, Flag, Number, Text, words_of};
use super::special::{
    BIND, CLIENT_OUTPUT_BUFFER_LIMIT, DIR, NOTIFY_KEYSPACE_EVENTS, SAVE, SKIPPED, SLAVEOF, SLOTS_MIGRATION_DURABILITY,
    UNIXSOCKETPERM, file_name, password, password_of_primary, path, path_bytes, path_if_any, text, text_if_any,
};
use super::types::Choice;
use super::{AppendFsync, BACKLOG_BYTES_MIN, Level, MaxmemoryPolicy, SERVER_THREADS_MAX, Supervised, SyslogFacility};

macro_rules! flag {
    ($field:ident) => {
        Flag { get: |config| config.$field, set: |config, value| config.$field = value }
    };
}

macro_rules! number {
    ($field:ident: $type:ident) => {
        Number {
            get: |config| i64::try_from(config.$field).unwrap_or(i64::MAX),
            set: |config, value| config.$field = $type::try_from(value).unwrap_or($type::MAX),
        }
    };
}

macro_rules! choice {
    ($field:ident: $type:ident) => {
        ChoiceField {
            get: |config| config.$field.word(),
            set: |config, word| $type::from_word(word).map(|value| config.$field = value).is_some(),
            words: words_of::<$type>,
        }
    };
}

macro_rules! optional_path {
    ($field:ident) => {
        Text {
            get: |config| config.$field.as_deref().map(path_bytes),
            set: |config, value| {
                config.$field = path_if_any(value);
                Ok(())
            },
            shape: "a path",
        }
    };
}

macro_rules! name_in_dir {
    ($field:ident, $refusal:literal) => {
        Text {
            get: |config| Some(path_bytes(&config.$field)),
            set: |config, value| {
                config.$field = file_name(value, $refusal)?;
                Ok(())
            },
            shape: "a file name",
        }
    };
}

macro_rules! secret {
    ($field:ident, $check:expr) => {
        Text {
            get: |config| config.$field.clone(),
            set: |config, value| {
                config.$field = $check(value)?;
                Ok(())
            },
            shape: "a password",
        }
    };
}

const MAX: i64 = i64::MAX;
const U16: i64 = u16::MAX as i64;
const I32: i64 = i32::MAX as i64;

const NO_CLUSTER: &str = "there is no cluster mode: slots are assigned by the dashboard";
const NO_REHASH: &str = "tables grow by splitting small parts, never as a whole";
const NOT_COMPRESSED: &str = "lists are never compressed";

const LOGFILE: Text = Text {
    // Present even if empty, so that a file keeps its `logfile ""`.
    get: |config| Some(config.logfile.as_deref().map(path_bytes).unwrap_or_default()),
    ..optional_path!(logfile)
};
const CLUSTER_CONFIG_FILE: Text = Text {
    get: |config| Some(path_bytes(&config.cluster_config_file)),
    set: |config, value| {
        config.cluster_config_file = path(value);
        Ok(())
    },
    shape: "a path",
};
const SYSLOG_IDENT: Text = Text {
    get: |config| Some(config.syslog_ident.clone().into_bytes()),
    set: |config, value| {
        config.syslog_ident = text(value)?;
        Ok(())
    },
    shape: "a name",
};
const SLAVE_ANNOUNCE_IP: Text = Text {
    get: |config| config.slave_announce_ip.clone().map(String::into_bytes),
    set: |config, value| {
        config.slave_announce_ip = text_if_any(value)?;
        Ok(())
    },
    shape: "an address",
};
const BACKLOG_SIZE: Number = Number {
    get: |config| i64::try_from(config.repl_backlog_size).unwrap_or(MAX),
    set: |config, value| config.repl_backlog_size = u64::try_from(value).unwrap_or(0).max(BACKLOG_BYTES_MIN),
};
const HZ: Number = Number {
    get: |config| config.hz.into(),
    set: |config, value| config.hz = u32::try_from(value.clamp(1, 500)).unwrap_or(1),
};
const WATCHDOG_PERIOD: Number = Number {
    get: |config| i64::try_from(config.watchdog_period_ms).unwrap_or(MAX),
    // Shorter than two turns of housekeeping, and every turn would be reported.
    set: |config, value| {
        let least = 2000 / u64::from(config.hz.max(1));
        config.watchdog_period_ms = if value == 0 { 0 } else { u64::try_from(value).unwrap_or(0).max(least) };
    },
};

/// The row for a name that a file or a client gave; case does not matter.
pub(super) fn find(name: &[u8]) -> Option<&'static Directive> {
    let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
    TABLE.iter().find(|row| is(row.name) || row.alias.is_some_and(is))
}

#[rustfmt::skip]
pub(super) static TABLE: &[Directive] = &[
    Directive::text("dbfilename", name_in_dir!(dbfilename, "dbfilename can't be a path, just a filename")).set()
        .about("name of the RDB file in `dir`"),
    Directive::text("requirepass", secret!(requirepass, password)).set()
        .about("password that clients must give with AUTH"),
    Directive::text("masterauth", secret!(masterauth, password_of_primary)).set()
        .about("password for the primary that is replicated"),
    Directive::text("unixsocket", optional_path!(unixsocket))
        .about("Unix socket to listen on"),
    Directive::text("logfile", LOGFILE)
        .about("file to log to; empty is standard output"),
    Directive::text("pidfile", optional_path!(pidfile))
        .about("file for the process id; /var/run/redis.pid if daemonized without one"),
    Directive::text("slave-announce-ip", SLAVE_ANNOUNCE_IP).set().alias("replica-announce-ip")
        .about("address that the primary lists for this replica"),

    Directive::memory("maxmemory", number!(maxmemory: u64)).set_does(Effect::MaxMemory)
        .about("memory for data; 0 is no limit"),
    Directive::int("maxmemory-samples", number!(maxmemory_samples: u64), 1, MAX).or("maxmemory-samples must be 1 or greater").set()
        .about("keys looked at to choose one to evict"),
    Directive::int("timeout", number!(timeout: u64), 0, MAX).or("Invalid timeout value").set()
        .about("close clients idle for so many seconds; 0 is never"),
    Directive::int("auto-aof-rewrite-percentage", number!(auto_aof_rewrite_percentage: u64), 0, MAX)
        .or("Invalid negative percentage for AOF auto rewrite").set()
        .about("rewrite the AOF when it has grown by so many percent; 0 is never"),
    Directive::memory("auto-aof-rewrite-min-size", number!(auto_aof_rewrite_min_size: u64)).set()
        .about("do not rewrite a smaller AOF"),
    Directive::int("hash-max-ziplist-entries", number!(hash_max_ziplist_entries: usize), 0, MAX).units().set()
        .about("most entries of a compact hash"),
    Directive::int("hash-max-ziplist-value", number!(hash_max_ziplist_value: usize), 0, MAX).units().set()
        .about("longest field or value of a compact hash, in bytes"),
    Directive::int("list-max-ziplist-size", number!(list_max_ziplist_size: i32), -1 - I32, I32).set()
        .about("size of a list's nodes: entries, or -1 to -5 for 4 to 64 KiB"),
    Directive::int("list-compress-depth", number!(list_compress_depth: u32), 0, I32).set().ignored(NOT_COMPRESSED),
    Directive::int("set-max-intset-entries", number!(set_max_intset_entries: usize), 0, MAX).units().set()
        .about("most members of a set kept as sorted integers"),
    Directive::int("zset-max-ziplist-entries", number!(zset_max_ziplist_entries: usize), 0, MAX).units().set()
        .about("most members of a compact sorted set"),
    Directive::int("zset-max-ziplist-value", number!(zset_max_ziplist_value: usize), 0, MAX).units().set()
        .about("longest member of a compact sorted set, in bytes"),
    Directive::int("hll-sparse-max-bytes", number!(hll_sparse_max_bytes: usize), 0, MAX).units().set()
        .about("longest sparse HyperLogLog, in bytes"),
    Directive::int("lua-time-limit", number!(lua_time_limit_ms: i64), i64::MIN, MAX).set_within(0, MAX)
        .about("ms that a script may run before others are told BUSY; 0 is for ever"),
    Directive::int("slowlog-log-slower-than", number!(slowlog_log_slower_than_us: i64), i64::MIN, MAX).set_within(0, MAX)
        .about("log commands that take more microseconds; negative logs none"),
    Directive::int("latency-monitor-threshold", number!(latency_monitor_threshold_ms: u64), 0, MAX)
        .or("The latency threshold can't be negative").set()
        .about("record events of at least so many ms; 0 is off"),
    Directive::int("slowlog-max-len", number!(slowlog_max_len: u64), 0, MAX).set()
        .about("entries that the slow log keeps"),
    Directive::int("port", number!(port: u16), 0, U16).or("Invalid port")
        .about("TCP port; 0 is no TCP"),
    Directive::int("tcp-backlog", number!(tcp_backlog: u32), 0, I32).or("Invalid backlog value")
        .about("length of the queue of connections not yet accepted"),
    Directive::int("databases", number!(databases: u32), 1, I32).or("Invalid number of databases")
        .about("number of databases"),
    Directive::int("repl-ping-slave-period", number!(repl_ping_slave_period: u64), 1, MAX)
        .or("repl-ping-slave-period must be 1 or greater").set().alias("repl-ping-replica-period")
        .about("seconds between pings to replicas"),
    Directive::int("repl-timeout", number!(repl_timeout: u64), 1, MAX).or("repl-timeout must be 1 or greater").set()
        .about("seconds of silence after which a link is broken"),
    Directive::memory("repl-backlog-size", BACKLOG_SIZE).or("repl-backlog-size must be 1 or greater.").set_does(Effect::BacklogSize)
        .about("size of the backlog for partial syncs; at least 16kb"),
    Directive::int("repl-backlog-ttl", number!(repl_backlog_ttl: u64), 0, MAX).or("repl-backlog-ttl can't be negative ").set()
        .about("seconds without replicas after which the backlog is dropped; 0 is never"),
    Directive::int("maxclients", number!(maxclients: u32), 1, MAX).or("Invalid max clients limit").set_does(Effect::MaxClients)
        .about("most clients at a time"),
    Directive::int("watchdog-period", WATCHDOG_PERIOD, 0, MAX).run_time_only().set_does(Effect::Watchdog)
        .about("report what blocks the server for so many ms; 0 is off"),
    Directive::int("slave-priority", number!(slave_priority: u64), 0, MAX).set().alias("replica-priority")
        .about("preference of Sentinel: lower is better, 0 is never"),
    Directive::int("slave-announce-port", number!(slave_announce_port: u16), 0, U16).or("Invalid port").set()
        .alias("replica-announce-port")
        .about("port that the primary lists for this replica; 0 is `port`"),
    Directive::int("min-slaves-to-write", number!(min_slaves_to_write: u64), 0, MAX)
        .or("Invalid value for min-slaves-to-write.").set_does(Effect::MinSlaves).alias("min-replicas-to-write")
        .about("refuse writes with fewer good replicas; 0 is off"),
    Directive::int("min-slaves-max-lag", number!(min_slaves_max_lag: u64), 0, MAX)
        .or("Invalid value for min-slaves-max-lag.").set_does(Effect::MinSlaves).alias("min-replicas-max-lag")
        .about("most seconds of lag of a good replica; 0 is off"),
    Directive::int("hz", HZ, i64::MIN, MAX).set_within(0, MAX)
        .about("how often a second housekeeping runs; kept within 1 to 500"),
    Directive::int("cluster-node-timeout", number!(cluster_node_timeout_ms: u64), 1, MAX)
        .or("cluster node timeout must be 1 or greater").set_within(0, MAX).ignored(NO_CLUSTER),
    Directive::int("cluster-migration-barrier", number!(cluster_migration_barrier: u64), 0, MAX)
        .or("cluster migration barrier must zero or positive").set().ignored(NO_CLUSTER),
    Directive::int("cluster-slave-validity-factor", number!(cluster_slave_validity_factor: u64), 0, MAX)
        .or("cluster slave validity factor must be zero or positive").set().ignored(NO_CLUSTER),
    Directive::int("repl-diskless-sync-delay", number!(repl_diskless_sync_delay: u64), 0, MAX)
        .or("repl-diskless-sync-delay can't be negative").set()
        .about("seconds to wait for more replicas before a diskless sync"),
    Directive::int("tcp-keepalive", number!(tcp_keepalive: u64), 0, MAX).or("Invalid tcp-keepalive value").set()
        .about("seconds between TCP keepalives; 0 is none"),

    Directive::flag("cluster-require-full-coverage", flag!(cluster_require_full_coverage)).set().ignored(NO_CLUSTER),
    Directive::flag("no-appendfsync-on-rewrite", flag!(no_appendfsync_on_rewrite)).set()
        .about("do not fsync the AOF while a save or a rewrite runs"),
    Directive::flag("slave-serve-stale-data", flag!(slave_serve_stale_data)).set().alias("replica-serve-stale-data")
        .about("answer reads while the link to the primary is down"),
    Directive::flag("slave-read-only", flag!(slave_read_only)).set().alias("replica-read-only")
        .about("refuse writes of clients while a replica"),
    Directive::flag("stop-writes-on-bgsave-error", flag!(stop_writes_on_bgsave_error)).set()
        .about("refuse writes after a save has failed"),
    Directive::flag("daemonize", flag!(daemonize))
        .about("run in the background"),
    Directive::flag("rdbcompression", flag!(rdbcompression)).set()
        .about("compress strings in RDB files"),
    Directive::flag("rdbchecksum", flag!(rdbchecksum))
        .about("write and check the sum of RDB files"),
    Directive::flag("activerehashing", flag!(activerehashing)).set().ignored(NO_REHASH),
    Directive::flag("protected-mode", flag!(protected_mode)).set()
        .about("refuse other hosts while neither `bind` nor a password is set"),
    Directive::flag("repl-disable-tcp-nodelay", flag!(repl_disable_tcp_nodelay)).set()
        .about("let TCP gather small packets to replicas"),
    Directive::flag("repl-diskless-sync", flag!(repl_diskless_sync)).set()
        .about("full syncs without a file on the primary"),
    Directive::flag("aof-rewrite-incremental-fsync", flag!(aof_rewrite_incremental_fsync)).set()
        .about("fsync a rewrite of the AOF as it goes"),
    Directive::flag("aof-load-truncated", flag!(aof_load_truncated)).set()
        .about("accept an AOF whose last command is cut short"),

    Directive::choice("maxmemory-policy", choice!(maxmemory_policy: MaxmemoryPolicy), "Invalid maxmemory policy").set()
        .about("what to do when `maxmemory` is reached"),
    Directive::choice("loglevel", choice!(loglevel: Level), "Invalid log level. Must be one of debug, verbose, notice, warning")
        .set_does(Effect::LogLevel)
        .about("least severe level that is logged"),
    Directive::choice("supervised", choice!(supervised: Supervised),
        "Invalid option for 'supervised'. Allowed values: 'upstart', 'systemd', 'auto', or 'no'")
        .about("supervisor to tell that the server is ready"),
    Directive::choice("appendfsync", choice!(appendfsync: AppendFsync), "argument must be 'no', 'always' or 'everysec'").set()
        .about("when the AOF is synchronised to disk"),
    Directive::choice("syslog-facility", choice!(syslog_facility: SyslogFacility),
        "Invalid log facility. Must be one of USER or between LOCAL0-LOCAL7")
        .about("facility in the system log"),

    Directive::flag("appendonly", flag!(appendonly)).set_does(Effect::AppendOnly)
        .about("log every write to the AOF"),
    Directive::special("dir", DIR).set_does(Effect::ChangeDir)
        .about("working directory: RDB file, AOF and relative names are there"),
    Directive::special("save", SAVE).set()
        .about("save after so many seconds if so many keys changed; \"\" never saves"),
    Directive::special("client-output-buffer-limit", CLIENT_OUTPUT_BUFFER_LIMIT).set()
        .about("cut off clients with more unsent output"),
    Directive::special("unixsocketperm", UNIXSOCKETPERM)
        .about("mode of the Unix socket"),
    Directive::special("slaveof", SLAVEOF).alias("replicaof")
        .about("replicate this primary; `no one` replicates none"),
    Directive::special("notify-keyspace-events", NOTIFY_KEYSPACE_EVENTS).set()
        .about("classes of keyspace events that are published"),
    Directive::special("bind", BIND)
        .about("addresses to listen on; none is all"),

    Directive::memory("slots-migration-rate-limit", number!(slots_migration_rate_limit: u64)).set()
        .about("most bytes a second that an asynchronous migration sends, for each database; 0 is no limit"),
    Directive::special("slots-migration-durability", SLOTS_MIGRATION_DURABILITY).set()
        .about("before keys that arrive are acknowledged: `no`, `aof` (on disk), `replicas N`, or both"),
    Directive::int("server-threads", number!(server_threads: u32), 1, SERVER_THREADS_MAX as i64)
        .or("server-threads must be between 1 and 64")
        .about("number of threads that execute commands"),

    Directive::flag("syslog-enabled", flag!(syslog_enabled)).hidden()
        .about("log to the system log as well"),
    Directive::text("syslog-ident", SYSLOG_IDENT).hidden()
        .about("name in the system log"),
    Directive::text("appendfilename", name_in_dir!(appendfilename, "appendfilename can't be a path, just a filename")).hidden()
        .about("name of the AOF in `dir`"),
    Directive::flag("cluster-enabled", flag!(cluster_enabled)).hidden().ignored(NO_CLUSTER),
    Directive::text("cluster-config-file", CLUSTER_CONFIG_FILE).hidden().ignored(NO_CLUSTER),
    Directive::special("list-max-ziplist-entries", SKIPPED).hidden().unwritten().ignored("lists have known no such limit since Redis 3.2"),
    Directive::special("list-max-ziplist-value", SKIPPED).hidden().unwritten().ignored("lists have known no such limit since Redis 3.2"),
    Directive::load("include", 1, "a path")
        .about("read another file here"),
    Directive::load("rename-command", 2, "old and new name")
        .about("give a command another name; an empty one removes it"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::Config;
    use super::super::directive::Refused;
    use super::*;

    #[test]
    fn every_name_stands_for_one_row() {
        let names: Vec<_> = TABLE.iter().flat_map(|row| std::iter::once(row.name).chain(row.alias)).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| *name == name.to_ascii_lowercase()));
    }

    /// A line for each directive that Redis 3.2.11 takes in a file.
    const REDIS_3_2_11: &str = "\
        activerehashing yes;aof-load-truncated yes;aof-rewrite-incremental-fsync yes;appendfilename a.aof;\
        appendfsync no;appendonly no;auto-aof-rewrite-min-size 64mb;auto-aof-rewrite-percentage 100;bind 127.0.0.1;\
        client-output-buffer-limit normal 0 0 0;cluster-config-file nodes.conf;cluster-enabled no;\
        cluster-migration-barrier 1;cluster-node-timeout 15000;cluster-require-full-coverage yes;\
        cluster-slave-validity-factor 10;daemonize no;databases 16;dbfilename dump.rdb;dir ./;\
        hash-max-ziplist-entries 512;hash-max-ziplist-value 64;hll-sparse-max-bytes 3000;hz 10;include x.conf;\
        latency-monitor-threshold 0;list-compress-depth 0;list-max-ziplist-entries 512;list-max-ziplist-size -2;\
        list-max-ziplist-value 64;logfile x;loglevel notice;lua-time-limit 5000;masterauth x;maxclients 10000;\
        maxmemory 1gb;maxmemory-policy noeviction;maxmemory-samples 5;min-slaves-max-lag 10;min-slaves-to-write 3;\
        no-appendfsync-on-rewrite no;notify-keyspace-events KEA;pidfile x.pid;port 6379;protected-mode yes;\
        rdbchecksum yes;rdbcompression yes;rename-command a b;repl-backlog-size 1mb;repl-backlog-ttl 3600;\
        repl-disable-tcp-nodelay no;repl-diskless-sync no;repl-diskless-sync-delay 5;repl-ping-slave-period 10;\
        repl-timeout 60;requirepass foobared;save 900 1;set-max-intset-entries 512;slave-announce-ip 5.5.5.5;\
        slave-announce-port 1234;slave-priority 100;slave-read-only yes;slave-serve-stale-data yes;slaveof h 1;\
        slowlog-log-slower-than 10000;slowlog-max-len 128;stop-writes-on-bgsave-error yes;supervised no;\
        syslog-enabled no;syslog-facility local0;syslog-ident redis;tcp-backlog 511;tcp-keepalive 300;timeout 0;\
        unixsocket /tmp/redis.sock;unixsocketperm 700;zset-max-ziplist-entries 128;zset-max-ziplist-value 64";

    #[test]
    fn every_directive_of_redis_is_taken() {
        let lines: Vec<_> = REDIS_3_2_11.split(';').map(str::trim).collect();
        assert_eq!(lines.len(), 78);
        for line in &lines {
            let words: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            let row = find(&words[0]).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(row.load_args(&mut Config::default(), &words[1..]), Ok(()), "{line}");
        }
        let known: HashSet<_> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        let ours: Vec<_> = TABLE.iter().filter(|row| !known.contains(row.name)).map(|row| row.name).collect();
        assert_eq!(
            ours,
            ["watchdog-period", "slots-migration-rate-limit", "slots-migration-durability", "server-threads"]
        );
    }

    #[test]
    fn every_row_is_explained() {
        for row in TABLE {
            assert!(!row.about.is_empty() || row.accepted_only.is_some(), "{}", row.name);
        }
    }

    #[test]
    fn rows_do_not_share_a_field() {
        // Whatever changes when a row's value is set must be that row alone.
        let default = Config::default();
        for row in TABLE.iter().filter(|row| row.shown || row.written) {
            for value in
                ["yes", "no", "7", "1mb", "Always", "debug", "local3", "upstart", "allkeys-lru", "x", "5 6", "K"]
            {
                let mut config = default.clone();
                if row.set_value(&mut config, value.as_bytes()).is_err() {
                    continue;
                }
                let changed: Vec<_> =
                    TABLE.iter().filter(|other| other.value(&config) != other.value(&default)).collect();
                assert!(changed.iter().all(|other| other.name == row.name), "{} {value}", row.name);
            }
        }
    }

    #[test]
    fn the_number_macros_keep_every_value_of_the_range() {
        for (name, value) in [("port", "65535"), ("list-max-ziplist-size", "-5"), ("maxmemory", "9223372036854775807")]
        {
            let mut config = Config::default();
            let row = find(name.as_bytes()).unwrap();
            row.load_args(&mut config, &[value.into()]).unwrap();
            assert_eq!(row.value(&config), value.as_bytes());
        }
    }

    #[test]
    fn a_refused_value_is_the_callers_to_explain() {
        let mut config = Config::default();
        let row = find(b"DBFILENAME").unwrap();
        let refusal = "dbfilename can't be a path, just a filename";
        assert_eq!(row.set_value(&mut config, b"a/b"), Err(Refused::Because(refusal)));
        assert_eq!(config, Config::default());
    }
}

//! What all threads of the server share.
//!
//! Made once, at start, and never dropped: threads hold plain references to it.

use crate::clients::Clients;
use crate::config::{Config, MaxmemoryPolicy, NotifyFlags};
use crate::guests::Guests;
use crate::latency::Latency;
use crate::mailbox::Mailbox;
use crate::migrate::Migrations;
use crate::monitor::Monitors;
use crate::owed::Owed;
use crate::persist::Persist;
use crate::pubsub::PubSub;
use crate::repl::Replication;
use crate::scripting::Scripts;
use crate::slots_commands::Moves;
use crate::slow::Slow;
use crate::slowlog::SlowLog;
use crate::stakes::Leaving;
use crate::stats::{Rates, ReactorStats};
use commands::settings::Settings;
use commands::table::{Command, Registry};
use engine::clock::Now;
use engine::effects::class;
use engine::keyspace::Waste;
use engine::oplog::Oplog;
use engine::raw::lock::SlotLocks;
use engine::slot::Slot;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A handler of either kind.
#[derive(Clone, Copy)]
pub enum Run {
    /// A command on keys.
    Keys(commands::table::Handler),
    /// A command on the node itself.
    Node(crate::node_commands::Handler),
}

/// The node.
pub struct Node {
    /// The keys.
    pub locks: SlotLocks<Slot>,
    /// The effects.
    pub oplog: Oplog,
    /// Whom this server follows, and who follows it.
    pub repl: Replication,
    /// The commands.
    pub registry: Registry<Run>,
    /// Commands that only a primary may give.
    pub newer: Registry<Run>,
    /// The connections of all reactors.
    pub clients: Clients,
    /// One mailbox a reactor.
    pub mailboxes: Vec<Mailbox>,
    /// Counters, one line a reactor.
    pub stats: Vec<ReactorStats>,
    /// What happened in the last moments, a second.
    pub rates: Rates,
    /// When the server started.
    pub started: Now,
    /// 40 hexadecimal digits, new at every start.
    pub run_id: String,
    /// Files.
    pub persist: Persist,
    /// Changes by threads that are no reactors.
    pub dirty: AtomicU64,
    /// Set when the server is to end.
    pub stopping: AtomicBool,
    /// Whether keys that are due are deleted without being asked for (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: AtomicBool,
    /// DEBUG SLEEP runs: no thread serves anybody, as in a process with one thread.
    pub asleep: AtomicBool,
    /// The highest `used_memory` seen.
    pub peak_memory: AtomicU64,
    /// What scripts share.
    pub scripts: Scripts,
    /// Registrations that clients' ends left in slots, by reactor.
    pub leaving: Vec<Leaving>,
    /// Channels and their subscribers.
    pub pubsub: PubSub,
    /// Who is shown every command.
    pub monitors: Monitors,
    /// From when on a command is slow.
    pub slow: Slow,
    /// Slow commands.
    pub slowlog: SlowLog,
    /// Events that took long.
    pub latency: Latency,
    /// Until when clients are paused, Unix milliseconds; 0 if they are not.
    pub paused_until_ms: AtomicI64,
    /// Held while a pause begins, and by who is no client while it changes keys: so a pause begins after that.
    pausing: Mutex<()>,
    /// Threads besides the reactors that take slot locks.
    pub guests: Guests,
    /// Keys on their way to and from other servers.
    pub moves: Moves,
    /// Values that another thread frees.
    free: SyncSender<Vec<Waste>>,
    /// Bytes of those, at the least.
    pub freeing: AtomicU64,
    /// Bytes of large records on their way into the log: see [`crate::memory::Aside`].
    pub aside: AtomicU64,
    /// Elements that belong to who waits for them.
    pub owed: Owed,
    /// Whether a thread watches the reactors (`watchdog-period`).
    pub watched: AtomicBool,
    /// Keys on their way to other servers.
    pub migrations: Migrations,
    /// The settings in force.
    config: RwLock<Arc<Config>>,
    config_version: AtomicU64,
}

/// The settings as one thread knows them: refreshed when they have changed.
pub struct Settled {
    version: u64,
    /// All of them.
    pub config: Arc<Config>,
    /// Those that commands on keys depend on.
    pub settings: Settings,
    /// Classes of keyspace events that are wanted, and on which channels; 0 if none.
    pub notify: u32,
}

impl Node {
    /// A node with nothing in it.
    pub fn new(config: Config, mailboxes: Vec<Mailbox>, free: SyncSender<Vec<Waste>>, run_id: String) -> Node {
        let registry = registry(&config);
        let node = Node {
            locks: SlotLocks::new(slots::SLOTS, Slot::default),
            oplog: Oplog::new(config.repl_backlog_size),
            repl: Replication::new(&run_id, config.slaveof.clone(), mailboxes.len()),
            clients: Clients::default(),
            stats: mailboxes.iter().map(|_| ReactorStats::new(registry.ids())).collect(),
            registry,
            newer: newer(),
            rates: Rates::default(),
            scripts: Scripts::new(mailboxes.len()),
            leaving: mailboxes.iter().map(|_| Leaving::default()).collect(),
            mailboxes,
            started: Now::read(),
            run_id,
            persist: Persist::default(),
            dirty: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            active_expire: AtomicBool::new(true),
            asleep: AtomicBool::new(false),
            peak_memory: AtomicU64::new(0),
            guests: Guests::default(),
            moves: Moves::default(),
            pubsub: PubSub::default(),
            monitors: Monitors::default(),
            slow: Slow::default(),
            slowlog: SlowLog::default(),
            latency: Latency::default(),
            paused_until_ms: AtomicI64::new(0),
            pausing: Mutex::default(),
            free,
            freeing: AtomicU64::new(0),
            aside: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            owed: Owed::default(),
            migrations: Migrations::default(),
            config: RwLock::new(Arc::new(config)),
            config_version: AtomicU64::new(1),
        };
        node.set_slow(&node.config());
        node
    }

    /// Changes the settings: `change` gets a copy, which comes in force if it succeeds. One change at a time.
    pub fn change_config<R, E>(&self, change: impl FnOnce(&mut Config) -> Result<R, E>) -> Result<R, E> {
        let mut current = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Config::clone(&current);
        let result = change(&mut changed)?;
        self.set_slow(&changed);
        *current = Arc::new(changed);
        self.config_version.fetch_add(1, Ordering::Release);
        Ok(result)
    }

    /// Whether clients are not served at `now`: they are paused, or messages to clients pile up in some mailbox. Not for
    /// that while a script is late: what is let through then makes no messages, and is all that can end the script.
    #[inline]
    pub fn holds_back(&self, now: Now) -> bool {
        self.is_paused(now) || self.mailboxes.iter().any(Mailbox::is_flooded) && !self.scripts.is_busy()
    }

    /// Pauses clients until then, Unix milliseconds; a pause that is under way is made longer, never shorter.
    pub fn pause(&self, until_ms: i64) {
        let _alone = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        self.paused_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    /// Keeps a pause from beginning until what this returns is dropped; `None` if there is one. For who holds a slot, and
    /// waits for nothing.
    pub fn unpaused(&self) -> Option<MutexGuard<'_, ()>> {
        let alone = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_paused(Now::read())).then_some(alone)
    }

    /// Whether clients are paused at `now`.
    #[inline]
    pub fn is_paused(&self, now: Now) -> bool {
        now.ms <= self.paused_until_ms.load(Ordering::Relaxed)
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets another thread free `waste`; frees it here when that thread is far behind.
    pub fn free_later(&self, waste: Vec<Waste>) {
        self.freeing.fetch_add(bytes_min(&waste), Ordering::Relaxed);
        if let Err(TrySendError::Full(waste) | TrySendError::Disconnected(waste)) = self.free.try_send(waste) {
            self.free_now(waste);
        }
    }

    /// Frees what [`Node::free_later`] was given.
    pub fn free_now(&self, waste: Vec<Waste>) {
        let bytes = bytes_min(&waste);
        drop(waste);
        self.freeing.fetch_sub(bytes, Ordering::Release);
    }

    /// Asks every thread to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.mailboxes.iter().for_each(Mailbox::wake);
    }
}

fn bytes_min(waste: &[Waste]) -> u64 {
    waste.iter().map(Waste::bytes_min).sum()
}

impl Settled {
    /// Reads the settings.
    pub fn new(node: &Node) -> Settled {
        let version = node.config_version.load(Ordering::Acquire);
        let config = node.config();
        let settings = settings_of(&config);
        let NotifyFlags(notify) = config.notify_keyspace_events;
        let notify = if notify & (class::KEYSPACE | class::KEYEVENT) == 0 { 0 } else { notify };
        Settled { version, config, settings, notify }
    }

    /// Reads them again if they have changed.
    #[inline]
    pub fn refresh(&mut self, node: &Node) {
        if node.config_version.load(Ordering::Acquire) != self.version {
            *self = Settled::new(node);
        }
    }
}

/// The part of the settings that commands on keys depend on.
pub fn settings_of(config: &Config) -> Settings {
    Settings {
        databases: config.databases,
        hash: engine::value::hash::HashLimits {
            entries: config.hash_max_ziplist_entries,
            value: config.hash_max_ziplist_value,
        },
        list_node: engine::value::list::NodeLimit::from_config(config.list_max_ziplist_size.into()),
        set_max_intset_entries: config.set_max_intset_entries,
        zset: engine::value::zset::ZSetLimits {
            entries: config.zset_max_ziplist_entries,
            value: config.zset_max_ziplist_value,
        },
        hll_sparse_max_bytes: config.hll_sparse_max_bytes,
        shared_integers: !(config.maxmemory != 0
            && matches!(config.maxmemory_policy, MaxmemoryPolicy::VolatileLru | MaxmemoryPolicy::AllkeysLru)),
    }
}

/// Whether there is a command of this name, before any renaming.
pub fn is_command(name: &[u8]) -> bool {
    let named = |spec: &resp::CommandSpec| spec.name.as_bytes().eq_ignore_ascii_case(name);
    commands::tables().any(|row| named(&row.spec)) || crate::node_commands::tables().any(|row| named(&row.spec))
}

/// What newer primaries give their replicas to do besides, whatever it is called for clients.
fn newer() -> Registry<Run> {
    let keys = commands::newer::TABLE.iter().map(|row| row.with_handler(Run::Keys(row.handler)));
    let node = crate::node_commands::newer().iter().map(|row| row.with_handler(Run::Node(row.handler)));
    let mut newer = Registry::new([]);
    keys.chain(node).for_each(|row| newer.insert(row.spec.name.as_bytes(), Command { id: u16::MAX, ..row }));
    newer
}

/// All commands, under the names that the settings give them.
fn registry(config: &Config) -> Registry<Run> {
    let keys = commands::tables().map(|row| row.with_handler(Run::Keys(row.handler)));
    let node = crate::node_commands::tables().map(|row| row.with_handler(Run::Node(row.handler)));
    let built_in: Vec<Command<Run>> = keys.chain(node).collect();
    let mut registry = Registry::new(built_in.iter().copied());
    if !config.command_names.is_empty() {
        let keeps = |name: &str| config.command_names.resolve(name.as_bytes()) == Some(name.as_bytes());
        // Who renames a command does not want it to be there under a newer name.
        let renamed =
            built_in.iter().filter(|row| keeps(row.spec.name) && (row.spec.name != "replicaof" || keeps("slaveof")));
        registry = Registry::new(renamed.copied());
        for (name, runs) in config.command_names.changes() {
            let row = runs.and_then(|runs| built_in.iter().find(|row| row.spec.name.as_bytes() == runs));
            if let Some(row) = row {
                registry.insert(name, *row);
            }
        }
    }
    registry
}

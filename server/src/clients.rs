//! The connections of all reactors, as CLIENT LIST shows them.
//!
//! A connection's own thread writes its figures with plain atomic stores; anybody reads them.

use crate::conn::Socket;
use crate::door::Door;
use crate::slots_commands::elders;
use engine::interest::{Waiter, Watch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// What others may know of a connection.
#[derive(Default)]
pub struct ClientInfo {
    /// Counts up from 1 in the order in which connections come, never used twice.
    pub id: u64,
    /// `ip:port` of the peer, or the path of a Unix socket and `:0`.
    pub addr: String,
    /// Whether it came over a Unix socket.
    pub unix: bool,
    /// The descriptor.
    pub fd: i32,
    /// The reactor that serves it.
    pub reactor: usize,
    /// When it came, Unix milliseconds.
    pub since_ms: i64,
    /// When it last said something.
    pub last_ms: AtomicI64,
    /// The selected database.
    pub db: AtomicU32,
    /// CLIENT SETNAME.
    pub name: Mutex<Vec<u8>>,
    /// Number of channels and of patterns it is subscribed to.
    pub subscriptions: [AtomicUsize; 2],
    /// Commands queued by MULTI, -1 outside.
    pub queued: AtomicI64,
    /// Bytes of requests that wait, and room for more.
    pub input: [AtomicUsize; 2],
    /// Bytes of replies that wait.
    pub output: AtomicUsize,
    /// Whether it ends once its replies are sent.
    pub closing: AtomicBool,
    /// Whether it waits for a reply that comes later.
    pub parked: AtomicBool,
    /// Where another thread may hand it the reply that it waits for.
    pub door: Door,
    /// What it is to us ([`Kind`]).
    pub kind: AtomicU8,
    /// Whether CLIENT KILL has ended it: it is served no more.
    pub killed: AtomicBool,
    /// Whether it is shown every command (MONITOR).
    pub monitor: AtomicBool,
    /// What it watches, if it does.
    pub watch: Mutex<Option<Weak<Watch>>>,
    /// Its wait for an element of a list, if it has one ([`ClientInfo::begin_wait`]).
    pub waiter: Mutex<Weak<Waiter>>,
    /// What it is as a link of a source that sends keys.
    pub link: elders::Link,
    /// Its socket, for who looks whether there is something to read of it.
    pub socket: OnceLock<Weak<Socket>>,
    /// Its last command: one more than the row's id, 0 for none.
    pub command: AtomicU32,
}

/// What a connection is to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A client.
    Normal = 0,
    /// A replica of ours.
    Replica = 1,
    /// Our primary.
    Primary = 2,
}

impl ClientInfo {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.kind.load(Ordering::Relaxed) {
            1 => Kind::Replica,
            2 => Kind::Primary,
            _ => Kind::Normal,
        }
    }

    /// It is this from now on.
    pub fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    fn waiter(&self) -> MutexGuard<'_, Weak<Waiter>> {
        self.waiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It waits for an element of a list.
    pub fn begin_wait(&self, waiter: &Arc<Waiter>) {
        *self.waiter() = Arc::downgrade(waiter);
        if self.killed.load(Ordering::Relaxed) {
            waiter.leave();
        }
    }

    /// It waits no longer.
    pub fn end_wait(&self) {
        *self.waiter() = Weak::new();
    }

    /// Whether it waits for something: not who has been given an element that is on its way to it.
    pub fn is_blocked(&self) -> bool {
        self.parked.load(Ordering::Relaxed) && self.waiter().upgrade().is_none_or(|waiter| waiter.is_pending())
    }

    /// It is served no more, and nothing is given to it, from now on: its own thread ends it when it hears of this.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        if let Some(waiter) = self.waiter().upgrade() {
            waiter.leave();
        }
    }

    /// Its address as MONITOR shows it.
    pub fn monitor_name(&self) -> Vec<u8> {
        match self.addr.strip_suffix(":0") {
            Some(path) if self.unix => format!("unix:{path}").into_bytes(),
            _ => self.addr.clone().into_bytes(),
        }
    }
}

/// All connections, by id.
#[derive(Default)]
pub struct Clients {
    /// Connections that are accepted and on their way to their reactors.
    pub arriving: AtomicUsize,
    /// Their numbers.
    on_their_way: Mutex<BTreeSet<u64>>,
    next_id: AtomicU64,
    by_id: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<ClientInfo>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new id.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// This number belongs to a connection that is on its way to its reactor.
    pub fn sets_out(&self, id: u64) {
        self.arriving.fetch_add(1, Ordering::Relaxed);
        self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// It is there.
    pub fn arrives(&self, id: u64) {
        self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.arriving.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether one is on its way that came before that with this number.
    pub fn is_one_on_its_way_before(&self, id: u64) -> bool {
        let on_their_way = self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner);
        on_their_way.first().is_some_and(|&first| first < id)
    }

    /// Adds a connection.
    pub fn add(&self, info: Arc<ClientInfo>) {
        self.lock().insert(info.id, info);
    }

    /// Removes one.
    pub fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// The one with this id.
    pub fn get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        self.lock().get(&id).cloned()
    }

    /// Those of which `is_meant` says yes, oldest first. It is asked under the lock.
    pub fn matching(&self, is_meant: impl Fn(&ClientInfo) -> bool) -> Vec<Arc<ClientInfo>> {
        self.lock().values().filter(|info| is_meant(info)).cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Arc<ClientInfo>> {
        self.lock().values().cloned().collect()
    }
}

//! What a primary knows of a replica: what it said of itself, and where its feeding stands.

use super::pipe::Reader;
use crate::clients::ClientInfo;
use crate::node::Node;
use engine::oplog::{Cursor, Offset};
use replication::feed::{Lag, Stage};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a connection said of itself with REPLCONF.
#[derive(Clone, Debug, Default)]
pub struct Introduced {
    /// The port it listens on; 0 if it did not say.
    pub port: u16,
    /// Its address, if it is not the one we see.
    pub ip: Option<String>,
    /// It takes an image of unknown length.
    pub takes_mark: bool,
    /// It understands that a stream goes on under another id.
    pub knows_psync2: bool,
}

/// A connection's part in replication.
#[derive(Default)]
pub struct Peer {
    /// What it said of itself.
    pub intro: Introduced,
    /// Once it has asked for a sync.
    pub feed: Option<Feed>,
}

/// A replica as all threads see it.
pub struct Replica {
    /// Its client's id.
    pub client: u64,
    /// The reactor that has its connection.
    pub reactor: usize,
    /// What it said of itself.
    pub intro: Introduced,
    /// Its address, as we see it.
    peer_ip: String,
    /// It came with PSYNC, and so says how far it is.
    pub says_acks: bool,
    /// When it asked, Unix milliseconds.
    pub since_ms: i64,
    stage: AtomicU8,
    /// The offset that it has said it has.
    pub ack: AtomicU64,
    /// When it said so, Unix milliseconds.
    pub ack_ms: AtomicI64,
    /// Something is in `inbox`.
    pub has_mail: AtomicBool,
    inbox: Mutex<Vec<Delivery>>,
}

/// What another thread has ready for a replica.
pub enum Delivery {
    /// The cut is made: the line that says so, and the place in the log.
    Cut {
        /// The line.
        line: Vec<u8>,
        /// The place.
        cursor: Cursor,
        /// What comes between the image and the log.
        prologue: Vec<u8>,
    },
    /// A line to send at once.
    Line(Vec<u8>),
    /// The image is on its way, and ends in a mark.
    Stream(Reader),
    /// The image is complete.
    Image(Arc<File>, u64),
    /// There will be no image.
    Failed,
}

/// What a reactor needs to feed a replica.
pub struct Feed {
    /// What others see.
    pub replica: Arc<Replica>,
    /// Its place in the log, from the cut on.
    pub cursor: Option<Cursor>,
    /// Where the log ended when it was last sent some of it; none if it has taken less than it was given since.
    pub log_seen: Option<Offset>,
    /// What it must be sent before the log.
    pub prologue: Vec<u8>,
    /// What is left of its image.
    pub image: Option<Image>,
    /// Whether it falls behind.
    pub lag: Lag,
    /// The socket took less than it was given: wait for the event.
    pub blocked: bool,
    /// The era of the history that it asked in ([`super::Replication::era`]).
    pub era: u64,
}

/// An image on its way.
pub struct Image {
    /// Where the rest is.
    pub source: Source,
    /// What comes before the rest.
    pub head: Vec<u8>,
    /// What comes after it.
    pub tail: Vec<u8>,
    /// Whether it ends in a mark.
    pub by_mark: bool,
}

/// Where the rest of an image comes from.
pub enum Source {
    /// A file that all replicas share.
    File {
        /// The file.
        file: Arc<File>,
        /// How far it was read.
        at: u64,
        /// Where it ends.
        end: u64,
    },
    /// It is made while it is sent.
    Pipe(Reader),
}

impl Replica {
    /// A replica that has just asked.
    pub fn new(info: &ClientInfo, intro: Introduced, says_acks: bool, now_ms: i64) -> Replica {
        let peer_ip = info.addr.rsplit_once(':').map_or(info.addr.as_str(), |(ip, _)| ip);
        Replica {
            client: info.id,
            reactor: info.reactor,
            intro,
            peer_ip: peer_ip.trim_matches(['[', ']']).to_owned(),
            says_acks,
            since_ms: now_ms,
            stage: AtomicU8::new(Stage::WaitCut as u8),
            ack: AtomicU64::new(0),
            ack_ms: AtomicI64::new(now_ms),
            has_mail: AtomicBool::new(false),
            inbox: Mutex::default(),
        }
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        Stage::from_u8(self.stage.load(Ordering::Acquire))
    }

    /// It stands here now.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// The address that others reach it at.
    pub fn ip(&self) -> &str {
        self.intro.ip.as_deref().unwrap_or(&self.peer_ip)
    }

    /// As the log names it.
    pub fn name(&self) -> String {
        match self.intro.port {
            0 => format!("{}:<unknown-slave-port>", self.ip()),
            port if self.ip().contains(':') => format!("[{}]:{port}", self.ip()),
            port => format!("{}:{port}", self.ip()),
        }
    }

    /// Seconds since it last said how far it is.
    pub fn lag_s(&self, now_ms: i64) -> i64 {
        ((now_ms - self.ack_ms.load(Ordering::Relaxed)) / 1000).max(0)
    }

    /// Hands it something; its reactor looks soon.
    pub fn deliver(&self, node: &Node, delivery: Delivery) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
        self.has_mail.store(true, Ordering::Release);
        node.mailboxes[self.reactor].nudge();
    }

    /// What was handed to it.
    pub fn take_deliveries(&self) -> Vec<Delivery> {
        if !self.has_mail.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Feed {
    /// For a replica that has just asked, or one that goes on from `cursor`. It is one of the node's replicas from now
    /// on, until [`Peer::leave`]. The caller holds all slots.
    pub fn start(node: &Node, replica: Replica, cursor: Option<Cursor>) -> Feed {
        let replica = Arc::new(replica);
        if cursor.is_some() {
            replica.set_stage(Stage::Online);
        }
        node.repl.replicas().push(replica.clone());
        node.repl.hosts[replica.reactor].fetch_add(1, Ordering::Relaxed);
        let era = node.repl.era();
        Feed {
            replica,
            cursor,
            log_seen: None,
            prologue: Vec::new(),
            image: None,
            lag: Lag::default(),
            blocked: false,
            era,
        }
    }
}

impl Peer {
    /// The connection has ended.
    pub fn leave(&mut self, node: &Node, now_ms: i64) {
        let Some(feed) = self.feed.take() else { return };
        node.repl.hosts[feed.replica.reactor].fetch_sub(1, Ordering::Relaxed);
        let none_left = {
            let mut replicas = node.repl.replicas();
            replicas.retain(|replica| !Arc::ptr_eq(replica, &feed.replica));
            replicas.is_empty()
        };
        if none_left {
            node.repl.state().unneeded_since_ms = now_ms;
        }
        crate::log::warning!("Connection with slave {} lost.", feed.replica.name());
        node.refresh_gate(now_ms);
    }
}

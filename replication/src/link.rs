//! A replica's link to its primary: connect, introduce yourself, ask for what is missing, take the image, follow the
//! stream; and all over again when it breaks.
//!
//! ```text
//!   Off -- follow --> Waiting -- tick --> Connecting -- Connected --> Handshake(step) --> Asking
//!    ^                   ^ ^                                                                |
//!    | unfollow          | '--- broke, timeout ---------------------------------------------|
//!    |                   |                                                                  |
//!    |                   '--- broke ---- Streaming <--- loaded --- Loading <--- Transfer <--+ full
//!    |                                       ^                                              | partial
//!    '---------------------------------------+----------------------------------------------'
//! ```
//! 1. One socket at a time: `Connect` is asked for only after `Close`, or at first.
//! 2. Bytes are looked at only between `Connected` and `Streaming`; from there on they are requests, for the server.
//! 3. Every wait ends: a peer that says nothing for `timeout_ms` is given up.
//! 4. All keys that were asked for in vain are not asked for again at once: each such attempt costs the primary a snapshot,
//!    and what spoiled it, a type that only newer servers have, may well be there the next time.
//!
//! Texts of the log are those of 3.2, since people and tests look for them.

use crate::history::ReplId;
use crate::psync::Answer;
use crate::transfer::{Piece, Transfer};
use engine::effects::encode;
use std::ops::Range;

/// After an attempt that failed the next one comes so much later, in milliseconds; a link that broke is tried at once.
pub const RETRY_MS: i64 = 1000;
/// The longest wait after images that came in vain, each of which doubles it.
const RETRY_MS_MAX: i64 = 64_000;
/// After so long one that came in vain does not count any more.
const FORGET_MS: i64 = 10 * RETRY_MS_MAX;
/// The longest line that a primary may answer with, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// How a replica introduces itself.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// The primary's password.
    pub password: Option<Vec<u8>>,
    /// The port that others reach this server at.
    pub port: u16,
    /// The address that others reach this server at, if it is not the one the primary sees.
    pub ip: Option<String>,
    /// Where to go on: a history and an offset reached in it.
    pub resume: Option<(ReplId, u64)>,
    /// This server was started since then, and has forgotten the scripts that a primary before Redis 4 goes on to name by
    /// their digests.
    pub restarted: bool,
}

/// What happened.
pub enum Event<'e> {
    /// There is a primary to follow from now on; what there was before is over.
    Follow,
    /// There is none any more.
    Unfollow,
    /// Time has passed.
    Tick,
    /// The connection stands.
    Connected(Introduction),
    /// The primary sent something.
    Bytes(&'e [u8]),
    /// The connection could not be made, or broke.
    Broke(String),
    /// The image is in place of the old data.
    Loaded,
    /// The image could not be read.
    LoadFailed(String),
    /// The stream cannot be followed any further, and why: all keys are wanted anew.
    Lost(String),
}

/// What to do about it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection.
    Connect,
    /// Give the connection up.
    Close,
    /// Send these bytes.
    Send(Vec<u8>),
    /// A full sync begins: replicas of this server must follow, and a new image is on its way.
    BeginImage,
    /// These of the bytes given belong to the image.
    Image(Range<usize>),
    /// The image is complete, less this many bytes at its end: read it. Says what it is an image of, if known.
    Load {
        /// Bytes of the mark.
        cut: usize,
        /// History and offset.
        of: Option<(ReplId, u64)>,
    },
    /// Forget the image.
    DropImage,
    /// The stream begins at this place of the bytes given. Says under which history, if that changed.
    Stream {
        /// Index into the bytes.
        from: usize,
        /// The primary's new id.
        id: Option<ReplId>,
    },
    /// The connection of a stream is gone; it may be resumed.
    Suspend,
    /// What was reached is nothing to go on from any more.
    Forget,
    /// Say this in the log.
    Log(Say, String),
}

/// How loudly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// For whoever looks.
    Notice,
    /// Something is wrong.
    Warning,
}

/// Where the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No primary.
    Off,
    /// Between attempts.
    Waiting,
    /// The connection is being made.
    Connecting,
    /// Question and answer.
    Handshake,
    /// The image is on its way.
    Transfer,
    /// The image is being read.
    Loading,
    /// Following.
    Streaming,
}

impl Phase {
    /// As ROLE says it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Off => "none",
            Phase::Waiting => "connect",
            Phase::Connecting => "connecting",
            Phase::Handshake => "handshake",
            Phase::Transfer | Phase::Loading => "sync",
            Phase::Streaming => "connected",
        }
    }
}

/// The question that an answer is awaited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Ping,
    Auth,
    Port,
    Ip,
    Capa,
    Psync,
}

/// The link.
pub struct Link {
    phase: Phase,
    asked: Asked,
    intro: Introduction,
    line: Vec<u8>,
    transfer: Transfer,
    image_of: Option<(ReplId, u64)>,
    /// When the primary last said something, or the attempt began.
    last_ms: i64,
    next_try_ms: i64,
    /// When an image was last in vain, and the wait that followed.
    in_vain: Option<(i64, i64)>,
    /// Bytes of the image so far, and in all, if that is known.
    pub progress: (u64, Option<u64>),
}

impl Default for Link {
    fn default() -> Self {
        Link {
            phase: Phase::Off,
            asked: Asked::Ping,
            intro: Introduction::default(),
            line: Vec::new(),
            transfer: Transfer::default(),
            image_of: None,
            last_ms: 0,
            next_try_ms: 0,
            in_vain: None,
            progress: (0, None),
        }
    }
}

impl Link {
    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a tick would begin an attempt.
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.phase == Phase::Waiting && now_ms >= self.next_try_ms
    }

    /// When the primary last said something, Unix milliseconds.
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// The primary said something: what the server reads of the stream it tells here.
    pub fn heard(&mut self, now_ms: i64) {
        self.last_ms = now_ms;
    }

    /// Takes an event; `timeout_ms` is `repl-timeout`.
    pub fn step(&mut self, event: Event<'_>, now_ms: i64, timeout_ms: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Follow => {
                self.abandon(&mut actions);
                self.phase = Phase::Waiting;
                self.next_try_ms = now_ms;
                self.in_vain = None;
            }
            Event::Unfollow => {
                self.abandon(&mut actions);
                self.phase = Phase::Off;
            }
            Event::Tick => self.tick(now_ms, timeout_ms, &mut actions),
            Event::Connected(intro) => {
                if self.phase == Phase::Connecting {
                    self.intro = intro;
                    self.phase = Phase::Handshake;
                    self.line.clear();
                    notice(&mut actions, "Non blocking connect for SYNC fired the event.".into());
                    self.ask(Asked::Ping, &[b"PING"], &mut actions);
                }
            }
            Event::Bytes(bytes) => {
                self.last_ms = now_ms;
                self.bytes(bytes, now_ms, &mut actions);
            }
            Event::Broke(why) => self.broke(why, now_ms, &mut actions),
            Event::Loaded => {
                if self.phase == Phase::Loading {
                    self.phase = Phase::Streaming;
                    self.last_ms = now_ms;
                    notice(&mut actions, "MASTER <-> SLAVE sync: Finished with success".into());
                }
            }
            Event::LoadFailed(why) => {
                if self.phase == Phase::Loading {
                    warning(
                        &mut actions,
                        format!("Failed trying to load the MASTER synchronization DB from disk: {why}"),
                    );
                    self.retry_later(now_ms, &mut actions);
                }
            }
            Event::Lost(why) => {
                if self.phase == Phase::Streaming {
                    warning(&mut actions, why);
                    self.retry_later(now_ms, &mut actions);
                    actions.push(Action::Forget);
                }
            }
        }
        actions
    }

    fn tick(&mut self, now_ms: i64, timeout_ms: i64, actions: &mut Vec<Action>) {
        let silent = now_ms - self.last_ms > timeout_ms;
        match self.phase {
            Phase::Connecting | Phase::Handshake if silent => {
                warning(actions, "Timeout connecting to the MASTER...".into());
                self.retry(now_ms, actions);
            }
            Phase::Transfer if silent => {
                let text = "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
                            'repl-timeout' parameter in redis.conf to a larger value.";
                warning(actions, text.into());
                self.retry(now_ms, actions);
            }
            Phase::Streaming if silent => {
                warning(actions, "MASTER timeout: no data nor PING received...".into());
                self.broke("timeout".into(), now_ms, actions);
            }
            _ => {}
        }
        if self.phase == Phase::Waiting && now_ms >= self.next_try_ms {
            self.phase = Phase::Connecting;
            self.last_ms = now_ms;
            actions.push(Action::Connect);
        }
    }

    /// Ends what is under way, without a word about what comes next.
    fn abandon(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Off | Phase::Waiting => {}
            Phase::Connecting | Phase::Handshake => actions.push(Action::Close),
            Phase::Transfer | Phase::Loading => actions.extend([Action::Close, Action::DropImage]),
            Phase::Streaming => actions.extend([Action::Close, Action::Suspend]),
        }
    }

    /// Gives up and tries again in a while.
    fn retry(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        self.abandon(actions);
        self.phase = Phase::Waiting;
        self.next_try_ms = now_ms + RETRY_MS;
    }

    /// As [`Link::retry`], the later the more often this was necessary lately.
    fn retry_later(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        let recent = self.in_vain.filter(|(then, _)| (0..FORGET_MS).contains(&(now_ms - then)));
        let wait = recent.map_or(RETRY_MS, |(_, wait)| (2 * wait).min(RETRY_MS_MAX));
        self.in_vain = Some((now_ms, wait));
        self.retry(now_ms, actions);
        self.next_try_ms = now_ms + wait;
        if wait > RETRY_MS {
            notice(actions, format!("All keys are asked for again in {} seconds", wait / 1000));
        }
    }

    fn broke(&mut self, why: String, now_ms: i64, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Off | Phase::Waiting => return,
            Phase::Connecting => warning(actions, format!("Error condition on socket for SYNC: {why}")),
            Phase::Handshake => warning(actions, format!("Reading from master: {why}")),
            Phase::Transfer | Phase::Loading => {
                warning(actions, format!("I/O error trying to sync with MASTER: {why}"));
            }
            Phase::Streaming => {
                warning(actions, "Connection with master lost.".into());
                notice(actions, "Caching the disconnected master state.".into());
            }
        }
        let followed = self.phase == Phase::Streaming;
        self.retry(now_ms, actions);
        if followed {
            // What is missed meanwhile must still be in the backlog.
            self.next_try_ms = now_ms;
        }
    }

    fn ask(&mut self, asked: Asked, words: &[&[u8]], actions: &mut Vec<Action>) {
        let mut request = Vec::new();
        encode(words.iter().copied(), &mut request);
        self.asked = asked;
        actions.push(Action::Send(request));
    }

    fn bytes(&mut self, bytes: &[u8], now_ms: i64, actions: &mut Vec<Action>) {
        let mut at = 0;
        while at < bytes.len() && self.phase == Phase::Handshake {
            let rest = &bytes[at..];
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                self.line.extend_from_slice(rest);
                if self.line.len() > LINE_BYTES_MAX {
                    self.broke("an answer without end".into(), now_ms, actions);
                }
                return;
            };
            self.line.extend_from_slice(&rest[..end]);
            at += end + 1;
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            self.answer(line, at, now_ms, actions);
        }
        while self.phase == Phase::Transfer && (at < bytes.len() || self.transfer.is_complete()) {
            self.piece(bytes, &mut at, now_ms, actions);
        }
    }

    /// The answer to the last question; the bytes behind it begin at `at`.
    fn answer(&mut self, line: &[u8], at: usize, now_ms: i64, actions: &mut Vec<Action>) {
        let text = || String::from_utf8_lossy(line).into_owned();
        let refused = line.first() == Some(&b'-');
        let not_understood = |option: &str, actions: &mut Vec<Action>| {
            if refused {
                let text = format!("(Non critical) Master does not understand REPLCONF {option}: {}", text());
                notice(actions, text);
            }
        };
        match self.asked {
            Asked::Ping => {
                let wants_password = line.starts_with(b"-NOAUTH") || line.starts_with(b"-ERR operation not permitted");
                if line.first() != Some(&b'+') && !wants_password {
                    warning(actions, format!("Error reply to PING from master: '{}'", text()));
                    return self.retry(now_ms, actions);
                }
                notice(actions, "Master replied to PING, replication can continue...".into());
                match self.intro.password.clone() {
                    Some(password) => self.ask(Asked::Auth, &[b"AUTH", &password], actions),
                    None => self.ask_port(actions),
                }
            }
            Asked::Auth if refused => {
                warning(actions, format!("Unable to AUTH to MASTER: {}", text()));
                self.retry(now_ms, actions);
            }
            Asked::Auth => self.ask_port(actions),
            Asked::Port => {
                not_understood("listening-port", actions);
                match self.intro.ip.clone() {
                    Some(ip) => self.ask(Asked::Ip, &[b"REPLCONF", b"ip-address", ip.as_bytes()], actions),
                    None => self.ask_capa(actions),
                }
            }
            Asked::Ip => {
                not_understood("ip-address", actions);
                self.ask_capa(actions);
            }
            Asked::Capa => {
                not_understood("capa", actions);
                self.ask_psync(actions);
            }
            Asked::Psync => self.psync_answer(line, at, now_ms, actions),
        }
    }

    fn ask_port(&mut self, actions: &mut Vec<Action>) {
        let port = self.intro.port.to_string();
        self.ask(Asked::Port, &[b"REPLCONF", b"listening-port", port.as_bytes()], actions);
    }

    fn ask_capa(&mut self, actions: &mut Vec<Action>) {
        self.ask(Asked::Capa, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"], actions);
    }

    fn ask_psync(&mut self, actions: &mut Vec<Action>) {
        let (id, next) = match &self.intro.resume {
            Some((id, offset)) => {
                let next = offset.saturating_add(1).to_string();
                notice(actions, format!("Trying a partial resynchronization (request {id}:{next})."));
                (id.to_string(), next)
            }
            None => {
                notice(actions, "Partial resynchronization not possible (no cached master)".into());
                ("?".into(), "-1".into())
            }
        };
        self.ask(Asked::Psync, &[b"PSYNC", id.as_bytes(), next.as_bytes()], actions);
    }

    fn psync_answer(&mut self, line: &[u8], at: usize, now_ms: i64, actions: &mut Vec<Action>) {
        let text = || String::from_utf8_lossy(line).into_owned();
        match Answer::parse(line) {
            Answer::KeepAlive => {}
            Answer::Full(of) => {
                match of {
                    Some((id, offset)) => notice(actions, format!("Full resync from master: {id}:{offset}")),
                    None => warning(actions, "Master replied with wrong +FULLRESYNC syntax.".into()),
                }
                self.begin_image(of, actions);
            }
            Answer::Partial(None) if self.intro.resume.is_some() && self.intro.restarted => {
                notice(
                    actions,
                    "The MASTER may name scripts that this server forgot when it ended: asking for all".into(),
                );
                actions.push(Action::Forget);
                self.retry(now_ms, actions);
            }
            Answer::Partial(id) if let Some((asked, _)) = &self.intro.resume => {
                // Who does not say under which id the stream goes on does so under the one that was asked for.
                let id = id.unwrap_or(*asked);
                notice(actions, "Successful partial resynchronization with master.".into());
                notice(actions, "MASTER <-> SLAVE sync: Master accepted a Partial Resynchronization.".into());
                self.phase = Phase::Streaming;
                actions.push(Action::Stream { from: at, id: Some(id) });
            }
            Answer::Later => {
                notice(actions, format!("Master is currently unable to PSYNC but should be in the future: {}", text()));
                self.retry(now_ms, actions);
            }
            Answer::Partial(_) | Answer::Unknown => {
                match line.starts_with(b"-ERR") {
                    true => {
                        let text = format!("Master does not support PSYNC or is in error state (reply: {})", text());
                        notice(actions, text);
                    }
                    false => warning(actions, format!("Unexpected reply to PSYNC from master: {}", text())),
                }
                notice(actions, "Retrying with SYNC...".into());
                self.begin_image(None, actions);
                self.ask(Asked::Psync, &[b"SYNC"], actions);
            }
        }
    }

    fn begin_image(&mut self, of: Option<(ReplId, u64)>, actions: &mut Vec<Action>) {
        self.phase = Phase::Transfer;
        self.transfer = Transfer::default();
        self.image_of = of;
        self.progress = (0, None);
        actions.push(Action::BeginImage);
    }

    fn piece(&mut self, bytes: &[u8], at: &mut usize, now_ms: i64, actions: &mut Vec<Action>) {
        match self.transfer.step(bytes, at) {
            Piece::Head => {}
            Piece::Begins(length) => {
                self.progress = (0, length);
                let text = match length {
                    Some(length) => format!("MASTER <-> SLAVE sync: receiving {length} bytes from master"),
                    None => "MASTER <-> SLAVE sync: receiving streamed RDB from master".into(),
                };
                notice(actions, text);
            }
            Piece::Image(range) => {
                self.progress.0 += range.len() as u64;
                actions.push(Action::Image(range));
            }
            Piece::Ends { cut } => {
                self.phase = Phase::Loading;
                actions.push(Action::Load { cut, of: self.image_of });
                actions.push(Action::Stream { from: *at, id: None });
            }
            Piece::Refused(why) => {
                warning(actions, format!("MASTER aborted replication with an error: {why}"));
                self.retry(now_ms, actions);
            }
            Piece::Broken => {
                let text = "Bad protocol from MASTER, the first byte is not '$', are you sure the host and port are \
                            right?";
                warning(actions, text.into());
                self.retry(now_ms, actions);
            }
        }
    }
}

fn notice(actions: &mut Vec<Action>, text: String) {
    actions.push(Action::Log(Say::Notice, text));
}

fn warning(actions: &mut Vec<Action>, text: String) {
    actions.push(Action::Log(Say::Warning, text));
}

//! The primary's stream, applied: each request through the same executor as a client's, its reply dropped, its bytes
//! appended to the log while its slots are held.
//!
//! What the append only file cannot have as it came, it gets as what it did here.
//!
//! The log is the stream, so this server's offset is its primary's, its own replicas may go on with either, and a
//! snapshot taken here is one of that stream.

use crate::clients::{ClientInfo, Kind};
use crate::conn::Client;
use crate::dispatch::{Executor, Ran, Turn};
use crate::log;
use crate::net::Net;
use crate::node::Node;
use commands::args::Args;
use commands::ctx::Session;
use engine::clock::Now;
use replication::filed;
use replication::stream::{Stream, Task};
use replication::translate::{may_differ, translated};
use replication::unit::Unit;
use resp::{Arg, Out, Parser, Progress};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Requests applied before others have their turn.
const REQUESTS_MAX: usize = 1024;
/// Errors that are logged of one link; each means that this server differs from its primary.
const ERRORS_LOGGED: u32 = 10;
/// Bytes of memory kept for the next request's.
const PIECE_BYTES: usize = 64 * 1024;

/// Who applies.
pub struct Applier {
    node: &'static Node,
    client: Option<Client>,
    parser: Parser,
    input: Vec<u8>,
    args: Vec<Arg>,
    stream: Stream,
    out: Out,
    deferrals: u32,
    errors: u32,
    /// The bytes of a request on their way to the log: memory that is used again.
    piece: Vec<u8>,
    /// The attempt at following that the stream belongs to.
    attempt: u64,
    /// More requests are there than one turn may have.
    unfinished: bool,
    /// It waits for room in a snapshot's queue, or for the disk; the reactor is woken when there may be some.
    stalled: bool,
    /// It was a guest that had the slots.
    behind_guest: bool,
    /// The primary's address, as CLIENT LIST shows it.
    pub peer: String,
}

impl Applier {
    /// For nobody yet.
    pub fn new(node: &'static Node) -> Applier {
        Applier {
            node,
            client: None,
            parser: Parser::new(),
            input: Vec::new(),
            args: Vec::new(),
            stream: Stream::default(),
            out: Out::new(),
            deferrals: 0,
            errors: 0,
            piece: Vec::new(),
            attempt: 0,
            unfinished: false,
            stalled: false,
            behind_guest: false,
            peer: String::new(),
        }
    }

    /// The stream of `attempt` begins, in database `db`.
    pub fn begin(&mut self, db: u32, attempt: u64, node: &'static Node) {
        if self.client.is_some() {
            return;
        }
        let info = ClientInfo {
            id: node.clients.next_id(),
            addr: self.peer.clone(),
            since_ms: Now::read().ms,
            last_ms: Now::read().ms.into(),
            queued: (-1).into(),
            ..ClientInfo::default()
        };
        info.set_kind(Kind::Primary);
        let info = Arc::new(info);
        node.clients.add(info.clone());
        self.errors = 0;
        self.attempt = attempt;
        self.client = Some(Client { session: Session { db }, ..Client::new(info, true) });
    }

    /// The stream has broken. What was understood of it counts; a request or transaction that is not whole will come
    /// again.
    pub fn suspend(&mut self, node: &'static Node) {
        if let Some(client) = self.client.take() {
            node.clients.remove(client.info.id);
        }
        self.input.clear();
        self.parser.reset();
        self.stream = Stream::default();
        self.unfinished = false;
        self.deferrals = 0;
    }

    /// Bytes have come.
    pub fn add(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.input.len()
    }

    /// Whether whole requests wait.
    pub fn has_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Whether requests wait that could run.
    pub fn is_put_off(&self) -> bool {
        self.unfinished && !(self.stalled && self.node.persist.is_stalled(self.node))
    }

    /// Whether requests wait for room in a queue.
    pub fn is_stalled(&self) -> bool {
        self.unfinished && self.stalled
    }

    /// Whether the next request could not have its slots, and whether it was a guest that had them.
    pub fn in_vain(&self) -> (bool, bool) {
        (self.deferrals > 0, self.behind_guest)
    }

    /// Whether it is time to tell the primary how far we are.
    pub fn is_ack_due(&self, now_ms: i64) -> bool {
        self.stream.is_ack_due(now_ms)
    }

    /// The primary has been told.
    pub fn acknowledged(&mut self, now_ms: i64) {
        self.stream.acknowledged(now_ms);
    }

    /// Applies what is there. The error says what is no stream.
    pub fn apply(&mut self, exec: &mut Executor, net: &mut Net, now: Now) -> Result<(), String> {
        let input = std::mem::take(&mut self.input);
        let (mut at, mut result, mut count) = (0, Ok(()), 0);
        (self.unfinished, self.behind_guest) = (false, false);
        exec.begin_batch();
        while at < input.len() {
            if count == REQUESTS_MAX {
                self.unfinished = true;
                break;
            }
            count += 1;
            self.args.clear();
            let consumed = match self.parser.parse(&input[at..], &mut self.args) {
                Ok(Progress::Complete { consumed }) => consumed,
                Ok(Progress::Inline { .. }) => {
                    result = Err("a line where a request should be".to_owned());
                    break;
                }
                Ok(Progress::NeedMore { .. }) => break,
                Err(error) => {
                    result = Err(error.to_string());
                    break;
                }
            };
            let bytes = &input[at..at + consumed];
            if !self.request(bytes, exec, net, now) {
                self.parser.reset();
                self.unfinished = true;
                break;
            }
            at += consumed;
        }
        self.input = input;
        self.input.drain(..at);
        if let Some(client) = &self.client {
            client.info.last_ms.store(now.ms, Ordering::Relaxed);
            client.info.db.store(client.session.db, Ordering::Relaxed);
        }
        result
    }

    /// Runs one request; false if it must come again.
    fn request(&mut self, bytes: &[u8], exec: &mut Executor, net: &mut Net, now: Now) -> bool {
        if self.client.is_none() {
            return true;
        }
        if self.args.is_empty() {
            // An empty line keeps the link alive, and counts.
            self.node.oplog.append_stream_for_replicas(bytes);
            return true;
        }
        let words = std::mem::take(&mut self.args);
        let given = Args::new(bytes, &words);
        let name = given.at(0);
        let other = may_differ(name, given.len()).then(|| translated(given.iter())).flatten();
        let differs = other.is_some() || filed::differs(name, given.len());
        let ran = match self.stream.take((bytes, &words), differs) {
            Task::Keep => Ran::Done,
            Task::Run => {
                let args = other.as_ref().map_or(given, |(bytes, bounds)| Args::new(bytes, bounds));
                let mut piece = std::mem::take(&mut self.piece);
                piece.extend_from_slice(bytes);
                self.run(args, name, (piece, differs), exec, net, now)
            }
            Task::RunUnit => self.run_unit(exec, net, now),
        };
        self.args = words;
        if ran == Ran::PutOff {
            self.stalled = std::mem::take(&mut exec.stalled);
            self.behind_guest = exec.owner.met_guest();
            self.deferrals += 1;
            return false;
        }
        self.deferrals = 0;
        true
    }

    /// Runs a request, with which `piece` takes effect; the file gets what it did instead if it `differs`.
    fn run(
        &mut self,
        args: Args<'_>,
        name: &[u8],
        (piece, differs): (Vec<u8>, bool),
        exec: &mut Executor,
        net: &mut Net,
        now: Now,
    ) -> Ran {
        let Some(client) = &mut self.client else { return Ran::Done };
        let mut prepared = exec.prepare(&args);
        prepared.row = prepared.row.or_else(|| self.node.newer.get(args.at(0)));
        exec.begin_piece(piece, self.attempt, differs);
        self.out.clear();
        let mut turn = Turn { net, client, out: &mut self.out, now, deferrals: self.deferrals };
        let ran = exec.run(&mut turn, args, &prepared);
        self.piece = exec.end_piece();
        if ran != Ran::PutOff {
            if !self.piece.is_empty() {
                // It was refused, and changed nothing: its bytes count, but who loads the file may refuse all for its sake.
                self.node.oplog.append_stream_for_replicas(&self.piece);
            }
            self.note_error(name);
        }
        self.piece.clear();
        self.piece.shrink_to(PIECE_BYTES);
        ran
    }

    /// Runs the transaction that has come to its end: at once if it can be, else as a client's.
    fn run_unit(&mut self, exec: &mut Executor, net: &mut Net, now: Now) -> Ran {
        let stream = std::mem::take(&mut self.stream);
        let (unit, differs) = stream.unit();
        let ran = match self.run_whole(unit, differs, exec, net, now) {
            Some(ran) => ran,
            None => self.run_queued(unit, differs, exec, net, now),
        };
        self.stream = stream;
        match ran {
            Ran::PutOff => self.stream.put_off(),
            _ => self.stream.ended(),
        }
        ran
    }

    fn run_whole(&mut self, unit: &Unit, differs: bool, exec: &mut Executor, net: &mut Net, now: Now) -> Option<Ran> {
        let Some(client) = &mut self.client else { return Some(Ran::Done) };
        // Once queued it is carried out from there.
        if differs || client.queue.is_some() {
            return None;
        }
        exec.begin_piece(Vec::new(), self.attempt, false);
        self.out.clear();
        let mut turn = Turn { net, client, out: &mut self.out, now, deferrals: self.deferrals };
        let ran = exec.run_unit(&mut turn, unit);
        exec.end_piece();
        self.note_error(b"exec");
        ran
    }

    fn run_queued(&mut self, unit: &Unit, differs: bool, exec: &mut Executor, net: &mut Net, now: Now) -> Ran {
        let request = |at| {
            let (bytes, words) = unit.request(at);
            Args::new(bytes, words)
        };
        let last = unit.len().saturating_sub(1);
        let is_queued = self.client.as_ref().is_some_and(|client| client.queue.is_some());
        for at in (0..last).filter(|_| !is_queued) {
            let given = request(at);
            let other = may_differ(given.at(0), given.len()).then(|| translated(given.iter())).flatten();
            let args = other.as_ref().map_or(given, |(bytes, bounds)| Args::new(bytes, bounds));
            if self.run(args, given.at(0), (Vec::new(), false), exec, net, now) == Ran::PutOff {
                if let Some(client) = &mut self.client {
                    client.queue = None;
                }
                return Ran::PutOff;
            }
        }
        // One that this server does not understand all of changes nothing, and is as a refused request.
        let is_aborted = self.client.iter().flat_map(|client| &client.queue).any(|queue| queue.failed);
        let piece = if is_aborted { Vec::new() } else { unit.bytes().to_vec() };
        let ran = self.run(request(last), request(last).at(0), (piece, differs), exec, net, now);
        if ran != Ran::PutOff && is_aborted {
            self.node.oplog.append_stream_for_replicas(unit.bytes());
        }
        ran
    }

    /// If the last reply is an error, the log says so.
    fn note_error(&mut self, name: &[u8]) {
        if self.out.as_slice().first() == Some(&b'-') && self.errors < ERRORS_LOGGED {
            self.errors += 1;
            log::warning!(
                "The stream of the MASTER has a command that fails here, so the data differ: '{}' after '{}'",
                self.out.as_slice().trim_ascii_end().escape_ascii(),
                name.escape_ascii()
            );
        }
    }
}

//! The primary's stream, applied: each request through the same executor as a client's, its reply dropped, its bytes
//! appended to the log while its slots are held.
//!
//! What the append only file cannot have as it came, it gets as what it did here.
//!
//! A few requests are understood before the first of them runs, so that their keys' places come into the cache together.
//!
//! The log is the stream, so this server's offset is its primary's, its own replicas may go on with either, and a
//! snapshot taken here is one of that stream.

use crate::clients::{ClientInfo, Kind};
use crate::conn::Client;
use crate::dispatch::{Executor, Prepared, Ran, Turn};
use crate::log;
use crate::net::Net;
use crate::node::Node;
use crate::offers::Offers;
use commands::args::Args;
use commands::ctx::Session;
use engine::clock::Now;
use replication::filed;
use replication::stream::{Stream, Task};
use replication::translate::{may_differ, translated};
use replication::unit::Unit;
use resp::{Arg, Out, Parser, Progress};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Requests applied before others have their turn.
const REQUESTS_MAX: usize = 1024;
/// Errors that are logged of one link; each means that this server differs from its primary.
const ERRORS_LOGGED: u32 = 10;
/// Bytes of memory kept for the next request's.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of memory kept for what comes next: more than one read brings, with the beginning of a request before it.
const INPUT_KEPT_BYTES: usize = 256 * 1024;
/// Words for which memory is kept.
const WORDS_KEPT: usize = 4096;
/// Requests that are looked ahead for together.
const LOOK_AHEAD: usize = 48;
/// Bytes after which no more are looked ahead for.
const LOOK_AHEAD_BYTES: usize = 64 * 1024;
/// Needs of a transaction's requests for which memory is kept.
const PLAN_MAX: usize = 1024;

/// Nothing like it can be done here without all other keys waiting, and without it every key is another.
const SWAPPED: &str =
    "The MASTER has swapped databases with SWAPDB, which this server cannot do: it asks for all keys anew";

fn no_stream(why: &dyn std::fmt::Display) -> String {
    format!("Protocol error in the stream of the MASTER: {why}")
}

/// A request that is whole.
struct Request {
    /// Where it lies in the input.
    bytes: Range<usize>,
    /// Its words among those of all.
    words: Range<usize>,
    prepared: Prepared,
}

/// Who applies.
pub struct Applier {
    node: &'static Node,
    client: Option<Client>,
    parser: Parser,
    input: Vec<u8>,
    /// So much of the input is done with.
    done: usize,
    /// Words of the requests that are looked ahead for.
    args: Vec<Arg>,
    ahead: Vec<Request>,
    stream: Stream,
    /// What each request of the transaction that is open needs.
    plan: Vec<Prepared>,
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
    offers: Offers,
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
            done: 0,
            args: Vec::new(),
            ahead: Vec::new(),
            stream: Stream::default(),
            plan: Vec::new(),
            out: Out::new(),
            deferrals: 0,
            errors: 0,
            piece: Vec::new(),
            attempt: 0,
            unfinished: false,
            stalled: false,
            behind_guest: false,
            offers: Offers::fair(Instant::now()),
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
        self.input = Vec::new();
        self.done = 0;
        self.parser.reset();
        self.stream = Stream::default();
        self.plan.clear();
        self.unfinished = false;
        self.deferrals = 0;
    }

    /// Bytes have come.
    pub fn add(&mut self, bytes: &[u8]) {
        if self.done >= self.input.len() - self.done {
            // What is moved is no more than what has been done.
            self.input.drain(..self.done);
            self.done = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.input.len() - self.done
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
        let mut ahead = std::mem::take(&mut self.ahead);
        let (mut count, mut is_over) = (0, false);
        let mut result = Ok(());
        (self.unfinished, self.behind_guest) = (false, false);
        exec.begin_batch();
        while !is_over {
            if count == REQUESTS_MAX {
                self.unfinished = self.done < input.len();
                break;
            }
            if count > 0 {
                self.offers.offer();
            }
            (is_over, result) = match self.look_ahead(&input, LOOK_AHEAD.min(REQUESTS_MAX - count), &mut ahead, exec) {
                Ok(is_over) => (is_over, Ok(())),
                Err(why) => (true, Err(why)),
            };
            count += ahead.len();
            let ran = ahead.iter().try_for_each(|request| {
                let is_done = self.request(&input, request, exec, net, now);
                self.done = if is_done { request.bytes.end } else { request.bytes.start };
                is_done.then_some(())
            });
            if ran.is_none() {
                self.parser.reset();
                (self.unfinished, result) = (true, Ok(()));
                break;
            }
        }
        (self.input, self.ahead) = (input, ahead);
        self.tidy();
        if let Some(client) = &self.client {
            client.info.last_ms.store(now.ms, Ordering::Relaxed);
            client.info.db.store(client.session.db, Ordering::Relaxed);
        }
        result
    }

    /// Keeps no memory that only a large request has needed.
    fn tidy(&mut self) {
        let is_large = self.input.capacity() > INPUT_KEPT_BYTES && self.waiting() < INPUT_KEPT_BYTES;
        if is_large || self.waiting() == 0 {
            self.input.drain(..self.done);
            self.done = 0;
        }
        if is_large {
            self.input.shrink_to(INPUT_KEPT_BYTES);
        }
        self.args.clear();
        self.args.shrink_to(WORDS_KEPT);
    }

    /// Finds the next requests, `max` of them at most, and loads what they will need; whether there are no more for now.
    fn look_ahead(
        &mut self,
        input: &[u8],
        max: usize,
        ahead: &mut Vec<Request>,
        exec: &mut Executor,
    ) -> Result<bool, String> {
        ahead.clear();
        self.args.clear();
        let mut end = Ok(false);
        let mut at = self.done;
        while end == Ok(false) && ahead.len() < max && at - self.done < LOOK_AHEAD_BYTES {
            let rest = input.get(at..).unwrap_or_default();
            if rest.is_empty() {
                end = Ok(true);
                break;
            }
            let first = self.args.len();
            match self.parser.parse(rest, &mut self.args) {
                Ok(Progress::Complete { consumed }) => {
                    let words = first..self.args.len();
                    let args = Args::new(rest, self.args.get(words.clone()).unwrap_or_default());
                    let prepared = exec.prepare(&args);
                    if prepared.row.is_none() && args.is(0, "swapdb") {
                        end = Err(SWAPPED.to_owned());
                        break;
                    }
                    ahead.push(Request { bytes: at..at + consumed, words, prepared });
                    at += consumed;
                }
                Ok(Progress::Inline { .. }) => end = Err(no_stream(&"a line where a request should be")),
                Ok(Progress::NeedMore { .. }) => end = Ok(true),
                Err(error) => end = Err(no_stream(&error)),
            }
        }
        if let Some(client) = &self.client {
            let needs = ahead.iter().map(|request| (&request.prepared, request.words.len()));
            exec.prefetch_all(needs, client.session.db);
        }
        end
    }

    /// Runs one request; false if it must come again.
    fn request(&mut self, input: &[u8], request: &Request, exec: &mut Executor, net: &mut Net, now: Now) -> bool {
        if self.client.is_none() {
            return true;
        }
        let bytes = input.get(request.bytes.clone()).unwrap_or_default();
        if request.words.is_empty() {
            // An empty line keeps the link alive, and counts.
            self.node.oplog.append_stream_for_replicas(bytes);
            return true;
        }
        let args = std::mem::take(&mut self.args);
        let words = args.get(request.words.clone()).unwrap_or_default();
        let given = Args::new(bytes, words);
        let name = given.at(0);
        let other = may_differ(name, given.len()).then(|| translated(given.iter())).flatten();
        let differs = other.is_some() || filed::differs(name, given.len());
        let ran = match self.stream.take((bytes, words), differs) {
            Task::Keep => {
                self.plan.push(request.prepared);
                Ran::Done
            }
            Task::Run => {
                let mut piece = std::mem::take(&mut self.piece);
                piece.extend_from_slice(bytes);
                match &other {
                    None => self.run((given, request.prepared), name, (piece, differs), exec, net, now),
                    Some((bytes, bounds)) => {
                        let args = Args::new(bytes, bounds);
                        let prepared = exec.prepare(&args);
                        self.run((args, prepared), name, (piece, differs), exec, net, now)
                    }
                }
            }
            Task::RunUnit => self.run_unit(exec, net, now),
        };
        self.args = args;
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
        (args, mut prepared): (Args<'_>, Prepared),
        name: &[u8],
        (piece, differs): (Vec<u8>, bool),
        exec: &mut Executor,
        net: &mut Net,
        now: Now,
    ) -> Ran {
        let Some(client) = &mut self.client else { return Ran::Done };
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
            _ => {
                self.stream.ended();
                self.plan.clear();
                self.plan.shrink_to(PLAN_MAX);
            }
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
        let ran = exec.run_unit(&mut turn, unit, &self.plan);
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
            let prepared = exec.prepare(&args);
            if self.run((args, prepared), given.at(0), (Vec::new(), false), exec, net, now) == Ran::PutOff {
                if let Some(client) = &mut self.client {
                    client.queue = None;
                }
                return Ran::PutOff;
            }
        }
        // One that this server does not understand all of changes nothing, and is as a refused request.
        let is_aborted = self.client.iter().flat_map(|client| &client.queue).any(|queue| queue.failed);
        let piece = if is_aborted { Vec::new() } else { unit.bytes().to_vec() };
        let end = request(last);
        let prepared = exec.prepare(&end);
        let ran = self.run((end, prepared), end.at(0), (piece, differs), exec, net, now);
        if ran != Ran::PutOff && is_aborted {
            self.node.oplog.append_stream_for_replicas(unit.bytes());
        }
        ran
    }

    /// If the last reply is an error, the log says so. It is not wanted any more then, nor is much memory.
    fn note_error(&mut self, name: &[u8]) {
        if self.out.as_slice().first() == Some(&b'-') && self.errors < ERRORS_LOGGED {
            self.errors += 1;
            log::warning!(
                "The stream of the MASTER has a command that fails here, so the data differ: '{}' after '{}'",
                self.out.as_slice().trim_ascii_end().escape_ascii(),
                name.escape_ascii()
            );
        }
        self.out.clear();
        self.out.shrink(PIECE_BYTES);
    }
}

//! Loading at the start: the AOF if it is on, else the RDB file. Clients are accepted meanwhile and read -LOADING.
//! With nothing to load it is over before anybody is served.
//!
//! A file that is damaged ends the process: a server with half of its data must not pretend to be whole.

use super::job::now_s;
use super::names::here;
use super::{Logged, aof_note, gate};
use crate::clients::ClientInfo;
use crate::config::Config;
use crate::conn::{Client, Replies};
use crate::dispatch::{Executor, Turn};
use crate::net::Net;
use crate::node::Node;
use crate::repl::note::Found;
use crate::{log, os_error, rdb_file};
use commands::args::Args;
use commands::ctx::Session;
use engine::clock::Now;
use engine::keyspace::{Keyspace, Local};
use mio::Poll;
use persistence::aof::read::{Outcome, Reader, Start, Step, open};
use persistence::rdb::RdbError;
use persistence::rdb::load::{Batch, Event, LoadedEntry, Loader};
use replication::translate::{may_differ, translated};
use resp::Out;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a file that are decoded together.
const BATCH_BYTES: u64 = 256 << 10;
/// Batches that may wait to be inserted.
const BATCHES: usize = 16;
/// Entries whose places are fetched before their turn, so that cache misses overlap.
const LOOK_AHEAD: usize = 16;
/// How often the log says how far loading is.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How far loading is.
#[derive(Default)]
pub struct Loading {
    since_s: AtomicI64,
    total: AtomicU64,
    done: AtomicU64,
}

impl Loading {
    /// Since when, Unix time in seconds; bytes in all, bytes done.
    pub fn progress(&self) -> (i64, u64, u64) {
        (self.since_s.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed), self.done.load(Ordering::Relaxed))
    }

    fn begin(&self, total: u64) {
        self.since_s.store(now_s(), Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    fn at(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }
}

/// Says in the log, now and then, how far loading is.
struct Reporter {
    began: Instant,
    last: Instant,
}

impl Reporter {
    fn new() -> Reporter {
        Reporter { began: Instant::now(), last: Instant::now() }
    }

    fn report(&mut self, loading: &Loading) {
        if self.last.elapsed() < REPORT_EVERY {
            return;
        }
        self.last = Instant::now();
        let (_, total, done) = loading.progress();
        let seconds = self.began.elapsed().as_secs_f64();
        let left = total.saturating_sub(done) as f64 * seconds / done.max(1) as f64;
        log::notice!("Loading: {}% of {total} bytes, about {left:.0} seconds left", done * 100 / total.max(1));
    }
}

/// Whether there is something to load; from then on clients read -LOADING. Ends the process when the file that should
/// be loaded cannot be looked at. Returns the settings for loading, with the files where they are now.
pub fn announce(node: &Node) -> Config {
    let mut config = Config::clone(&node.config());
    config.appendfilename = here(&config.appendfilename);
    config.dbfilename = here(&config.dbfilename);
    let name = if config.appendonly { &config.appendfilename } else { &config.dbfilename };
    match fs::metadata(name) {
        Ok(about) => {
            node.persist.loading.begin(about.len());
            node.persist.gate.set(gate::LOADING, true);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => fatal(&error),
    }
    config
}

/// A file as the settings name it.
fn short(path: &Path) -> std::path::Display<'_> {
    Path::new(path.file_name().unwrap_or(path.as_os_str())).display()
}

fn fatal(error: &io::Error) -> ! {
    log::warning!("Fatal error loading the DB: {}. Exiting.", os_error::text(error));
    std::process::exit(1);
}

/// Loads what there is and opens the AOF if it is on. Whatever is wrong ends the process. `config` is what [`announce`] gave.
pub fn at_start(node: &'static Node, config: &Config) {
    let began = Instant::now();
    // Used up also when it is not needed.
    let claim = aof_note::take(config);
    if node.persist.gate.has(gate::LOADING) {
        if config.appendonly {
            if let Some(db) = load_aof(node, config) {
                if let Some(claim) = claim {
                    claim.resume(node, config, db, Now::read().ms);
                }
                log::notice!("DB loaded from append only file: {:.3} seconds", began.elapsed().as_secs_f32());
            }
        } else {
            match load_rdb(node, config, &config.dbfilename) {
                Ok(stream) => {
                    stream.resume(node, Now::read().ms);
                    log::notice!("DB loaded from disk: {:.3} seconds", began.elapsed().as_secs_f32());
                }
                Err(error) => {
                    // The original's words for this one, which people look for.
                    let why =
                        if matches!(error.what, persistence::rdb::Error::Checksum) { "RDB CRC error: " } else { "" };
                    let name = short(&config.dbfilename);
                    log::warning!("Fatal error loading the DB: {why}{error}, file {name}. Exiting.");
                    std::process::exit(1);
                }
            }
        }
    }
    if let Err(error) = node.persist.aof.begin(node, config) {
        log::warning!("Can't open the append-only file: {}", os_error::text(&error));
        std::process::exit(1);
    }
}

// --- RDB

fn load_rdb(node: &'static Node, config: &Config, name: &Path) -> Result<Found, RdbError> {
    let file = File::open(name)?;
    let mut loader = Loader::new(file, rdb_file::options(config, Now::read()))?;
    load_entries(node, &mut loader, node.config().slaveof.is_some())
}

/// Decodes here and inserts on another thread. Keys past their expiry stay where something goes on that has not deleted them
/// yet: if the caller says so, or if the file is of a moment of a stream. Returns what it says of the stream.
fn load_entries<R: Read>(node: &'static Node, loader: &mut Loader<R>, keeps_expired: bool) -> Result<Found, RdbError> {
    let now = Now::read();
    let keeps_expired = Arc::new(AtomicBool::new(keeps_expired));
    let keeps = keeps_expired.clone();
    let (send, receive) = sync_channel::<Vec<LoadedEntry>>(BATCHES);
    let inserter = move || {
        let _account = engine::raw::alloc::open_account();
        let mut guest = node.guest();
        let mut local = Local::default();
        let owner = guest.owner();
        for entries in receive {
            // All slots for the whole batch: nobody else has business there, and what comes can be looked up ahead.
            let mut held = owner.wait_privileged();
            held.add_all();
            let mut entries = entries.into_iter();
            while let Some(LoadedEntry { db, hash, slot, entry, .. }) = entries.next() {
                if let Some(ahead) = entries.as_slice().get(LOOK_AHEAD)
                    && let Some(keys) = held.slot(ahead.slot).db(ahead.db)
                {
                    keys.prefetch_bucket(ahead.hash);
                }
                if entry.view().expire_at_ms().is_some_and(|at| at < now.ms) && !keeps.load(Ordering::Relaxed) {
                    continue;
                }
                let put = Keyspace::new(&mut held, &mut local, db, now).put_loaded(slot, hash, entry);
                if let Err(entry) = put {
                    let key = entry.view().key().escape_ascii().to_string();
                    log::warning!("Fatal error loading the DB: the key \"{key}\" is there twice. Exiting.");
                    std::process::exit(1);
                }
            }
        }
    };
    let thread = thread::Builder::new().name("insert".into()).spawn(inserter)?;
    let mut reporter = Reporter::new();
    let mut batch = Batch::default();
    let mut more = true;
    let mut result = Ok(());
    let mut stream = Found::default();
    while more {
        let note = |event: Event<'_>| match event {
            Event::Skipped(what) => log::warning!("The RDB file has {what}, which is left out"),
            Event::Aux { name, value } => stream.take(name, value),
            _ => {}
        };
        match loader.batch(&mut batch, BATCH_BYTES, note) {
            Ok(again) => more = again,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
        if stream.is_whole() {
            keeps_expired.store(true, Ordering::Relaxed);
        }
        node.persist.loading.at(batch.position);
        reporter.report(&node.persist.loading);
        if send.send(batch.take()).is_err() {
            break;
        }
    }
    drop(send);
    // It ends the process itself if it cannot go on.
    let _ = thread.join();
    result.map(|()| stream)
}

// --- AOF

/// Carries out what a file holds.
pub trait Replay {
    /// Stores the snapshot that stands in front.
    fn restore(&mut self, snapshot: &mut Loader<File>) -> Result<(), RdbError>;
    /// Carries out one; false if there is no such command.
    fn replay(&mut self, args: Args<'_>) -> bool;
}

/// How reading an AOF ended.
enum Read1 {
    /// All of it was carried out.
    Whole,
    /// The process must end; the log says why.
    Fatal,
}

/// Loads the AOF. Returns the database that is selected at its end; `None` if it is empty. Ends the process if it cannot.
fn load_aof(node: &'static Node, config: &Config) -> Option<u32> {
    let mut replayer = match Replayer::new(node) {
        Ok(replayer) => replayer,
        Err(error) => fatal(&error),
    };
    match replay_file(node, config, &mut replayer) {
        Ok(loaded) => loaded.then_some(replayer.client.session.db),
        Err(Logged) => std::process::exit(1),
    }
}

/// Carries out what the AOF holds: whether it held anything, or an error that the log tells of.
pub fn replay_file(node: &'static Node, config: &Config, to: &mut impl Replay) -> Result<bool, Logged> {
    let name = &config.appendfilename;
    let opened = File::open(name).and_then(|file| file.metadata().map(|about| (file, about.len())));
    let (file, len) = opened.map_err(|error| {
        log::warning!("Fatal error: can't open the append log file for reading: {}", os_error::text(&error));
        Logged
    })?;
    if len == 0 {
        return Ok(false);
    }
    node.persist.loading.begin(len);
    let reader = match open(file, rdb_file::options(config, Now::read())) {
        Ok(Start::Commands(reader)) => reader,
        Ok(Start::Snapshot(mut loader)) => {
            log::notice!("Reading RDB preamble from AOF file...");
            if let Err(error) = to.restore(&mut loader) {
                log::warning!("Error reading the RDB preamble of the AOF file, AOF loading aborted: {error}");
                return Err(Logged);
            }
            Reader::after(loader)
        }
        Err(error) => {
            log::warning!("Unrecoverable error reading the append only file: {error}");
            return Err(Logged);
        }
    };
    match replay_commands(node, config, reader, to) {
        Read1::Whole => Ok(true),
        Read1::Fatal => Err(Logged),
    }
}

fn replay_commands(node: &'static Node, config: &Config, mut reader: Reader<File>, to: &mut impl Replay) -> Read1 {
    let mut reporter = Reporter::new();
    let mut count = 0u64;
    loop {
        let step = match reader.step() {
            Ok(step) => step,
            Err(error) => {
                log::warning!("Unrecoverable error reading the append only file: {}", os_error::text(&error));
                return Read1::Fatal;
            }
        };
        match step {
            Step::Command(command) => {
                if !to.replay(Args::new(command.text, command.args)) {
                    let name = String::from_utf8_lossy(command.arg(0)).into_owned();
                    let (file, end) = (short(&config.appendfilename), command.end);
                    log::warning!(
                        "Unknown command '{name}' reading the append only file ({file}, before offset {end})"
                    );
                    return Read1::Fatal;
                }
                count += 1;
                if count.is_multiple_of(1000) {
                    node.persist.loading.at(command.end);
                    reporter.report(&node.persist.loading);
                }
            }
            Step::End(Outcome::Complete) => return Read1::Whole,
            Step::End(Outcome::Truncated { ok_up_to, .. }) => return truncated(config, ok_up_to),
            Step::End(Outcome::Bad { offset, why, .. }) => {
                log::warning!("{why} at offset {offset} of {}", short(&config.appendfilename));
                log::warning!(
                    "Bad file format reading the append only file: make a backup of your AOF file, \
                     then use ./redis-check-aof --fix <filename>"
                );
                return Read1::Fatal;
            }
        }
    }
}

/// The file ends in the middle of a command or transaction, as after a crash.
fn truncated(config: &Config, ok_up_to: u64) -> Read1 {
    if config.aof_load_truncated {
        log::warning!("!!! Warning: short read while loading the AOF file !!!");
        log::warning!("!!! Truncating the AOF at offset {ok_up_to} !!!");
        match OpenOptions::new().write(true).open(&config.appendfilename).and_then(|file| file.set_len(ok_up_to)) {
            Ok(()) => {
                log::warning!("AOF loaded anyway because aof-load-truncated is enabled");
                return Read1::Whole;
            }
            Err(error) => log::warning!("Error truncating the AOF file: {}", os_error::text(&error)),
        }
    }
    log::warning!(
        "Unexpected end of file reading the append only file. You can: 1) Make a backup of your AOF file, then use \
         ./redis-check-aof --fix <filename>. 2) Alternatively you can set the 'aof-load-truncated' configuration \
         option to yes and restart the server."
    );
    Read1::Fatal
}

/// Carries out commands as a client of its own.
struct Replayer {
    exec: Executor,
    net: Net,
    client: Client,
    out: Out,
    /// Announces that somebody besides the reactors takes locks.
    _guest: crate::guests::Guest,
}

impl Replayer {
    fn new(node: &'static Node) -> io::Result<Replayer> {
        let guest = node.guest();
        let owner = node.locks.register().ok_or_else(|| io::Error::other("the slots belong to another thread"))?;
        let mut exec = Executor::new(node, 0, owner, Local::default());
        exec.replaying = true;
        // As a primary's commands: keys past their expiry were there when these were written.
        (exec.local.is_replica, exec.local.is_from_primary) = (true, true);
        let client = Client {
            info: Arc::new(ClientInfo::default()),
            session: Session::default(),
            authenticated: true,
            close_after_reply: false,
            replies: Replies::On,
            queue: None,
            watched: Default::default(),
            parking: Default::default(),
            peer: Default::default(),
            unpacking: Default::default(),
            written: 0,
            subscriptions: Default::default(),
        };
        Ok(Replayer { exec, net: Net::new(Poll::new()?, node, 0, None), client, out: Out::new(), _guest: guest })
    }
}

impl Replay for Replayer {
    fn restore(&mut self, snapshot: &mut Loader<File>) -> Result<(), RdbError> {
        // The commands behind it may still want them.
        load_entries(self.exec.node, snapshot, true).map(drop)
    }

    fn replay(&mut self, args: Args<'_>) -> bool {
        let Replayer { exec, net, client, out, .. } = self;
        // A newer server may have written it.
        let other = may_differ(args.at(0), args.len()).then(|| translated(args.iter())).flatten();
        let args = other.as_ref().map_or(args, |(bytes, bounds)| Args::new(bytes, bounds));
        let done = exec.replay(&mut Turn { net, client, out, now: Now::read(), deferrals: 0 }, args);
        self.out.clear();
        done
    }
}

//! From settings to a serving node: sockets, threads, signals; and the end.

use crate::config::Config;
use crate::crash_report;
use crate::daemon::{self, Supervisor};
use crate::dispatch::Executor;
use crate::listener::Listeners;
use crate::log;
use crate::mailbox::Mailbox;
use crate::net::WAKER;
use crate::node::Node;
use crate::persist::gate;
use crate::reactor::Reactor;
use engine::keyspace::Local;
use engine::raw::{alloc, collate, schedule, ticks};
use mio::{Poll, Waker};
use replication::history::ReplId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

/// Batches of values that wait for the thread that frees them; beyond that they are freed where they are.
const FREE_QUEUE: usize = 1024;

/// Serves until SIGTERM, SIGINT or SHUTDOWN.
pub fn serve(config: Config, supervisor: Option<Supervisor>) -> Result<(), String> {
    let fail = |what: &'static str| move |error: io::Error| format!("{what}: {}", crate::os_error::text(&error));
    collate::init();
    let _account = alloc::open_account();
    alloc::start_background_purge();
    ticks::per_microsecond();
    let listeners = Listeners::bind(&config)?;
    daemon::log_warnings(&config);
    let threads = config.server_threads.max(1) as usize;
    let mut polls = Vec::new();
    let mut mailboxes = Vec::new();
    for _ in 0..threads {
        let poll = Poll::new().map_err(fail("Opening a poll"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(fail("Opening a waker"))?;
        polls.push(poll);
        mailboxes.push(Mailbox::new(waker));
    }
    let (free, garbage) = mpsc::sync_channel(FREE_QUEUE);
    let port = config.port;
    let unix = config.unixsocket.clone();
    // Lives as long as the process: threads refer to it freely.
    let node: &'static Node = Box::leak(Box::new(Node::new(config, mailboxes, free, run_id())));
    spawn("free", move || garbage.into_iter().for_each(|waste| node.free_now(waste)))
        .map_err(fail("Starting a thread"))?;
    node.locks.tell_by(Box::new(move |reactors| node.nudge(reactors)));
    crash_report::install(node);
    node.start_replication(engine::clock::Now::read().ms);
    watch_signals(node).map_err(fail("Watching signals"))?;

    log::warning!("Server started, Redis version {}", crate::config::REDIS_VERSION);
    if let Some(supervisor) = supervisor {
        supervisor.ready();
    }
    let at_start = crate::persist::load::announce(node);
    node.persist.aof.start(node).map_err(fail("Starting a thread"))?;
    let load = move || {
        crate::persist::load::at_start(node, &at_start);
        // Said before it is true, because whoever is served may look for it.
        if port != 0 {
            log::notice!("The server is now ready to accept connections on port {port}");
        }
        if let Some(path) = unix {
            log::notice!("The server is now ready to accept connections at {}", path.display());
        }
        node.persist.gate.set(gate::LOADING, false);
    };
    if node.persist.gate.has(gate::LOADING) {
        spawn("load", load).map_err(fail("Starting a thread"))?;
    } else {
        // Nothing refuses clients meanwhile, and the AOF must be open before the first of them writes.
        load();
    }

    let mut handles = Vec::new();
    let mut first = None;
    for (reactor, poll) in polls.into_iter().enumerate() {
        if reactor == 0 {
            first = Some(poll);
            continue;
        }
        let run = move || reactor_thread(node, reactor, poll, None);
        handles.push(spawn(&format!("reactor-{reactor}"), run).map_err(fail("Starting a thread"))?);
    }
    let Some(poll) = first else { return Ok(()) };
    let ended = reactor_thread(node, 0, poll, Some(listeners));
    node.stop();
    for handle in handles {
        let _ = handle.join();
    }
    ended.map_err(fail("Waiting for events"))?;
    log::warning!("Redis is now ready to exit, bye bye...");
    Ok(())
}

fn reactor_thread(node: &'static Node, reactor: usize, poll: Poll, listeners: Option<Listeners>) -> io::Result<()> {
    let Some(owner) = node.locks.register() else {
        return Err(io::Error::other("the slots belong to another thread alone"));
    };
    // Whoever works in the background beside it, and a client's own process on the same machine, lets it go first. Where
    // that is not to be had, clients are only slower.
    let _ = schedule::go_soon();
    let local = Local { seed: random_seed(), ..Local::default() };
    Reactor::new(poll, Executor::new(node, reactor, owner, local), listeners).run()
}

/// A thread with an account in the memory figures.
pub fn spawn<R: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> R + Send + 'static,
) -> io::Result<thread::JoinHandle<R>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        let _account = alloc::open_account();
        run()
    })
}

/// A seed for a thread's random numbers.
pub fn random_seed() -> u64 {
    RandomState::new().hash_one("seed")
}

/// A name that nothing else has: for a history, or the end of an image.
pub fn random_id() -> ReplId {
    ReplId::from_random([0, 1, 2].map(|n: u8| RandomState::new().hash_one(n)))
}

/// 40 hexadecimal digits from the system's random source.
fn run_id() -> String {
    (0..3).map(|n| format!("{:016x}", RandomState::new().hash_one(n))).collect::<String>()[..40].to_owned()
}

/// SIGTERM and SIGINT end the server; a SIGINT while that is still to be done, since a script has the slots for example,
/// ends it at once. SIGHUP and SIGPIPE are ignored, as the original ignores them; so is SIGXFSZ, since a file that may not
/// grow is an error like a full disk.
fn watch_signals(node: &'static Node) -> io::Result<()> {
    /// A shutdown was asked for and has not failed.
    static ASKED: AtomicBool = AtomicBool::new(false);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGXFSZ])?;
    spawn("signals", move || {
        for signal in signals.forever() {
            if signal == SIGHUP || signal == SIGXFSZ {
                continue;
            }
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            let asked = ASKED.swap(true, Ordering::SeqCst);
            if signal == SIGINT && (asked || node.stopping.load(Ordering::SeqCst)) {
                log::warning!("You insist... exiting now.");
                std::process::exit(1);
            }
            log::warning!("Received {name} scheduling shutdown...");
            if asked {
                continue;
            }
            let shut_down = move || {
                crate::persist::shutdown::by_signal(node);
                // If it could not be done, the next signal asks again.
                ASKED.store(false, Ordering::SeqCst);
            };
            // It may wait for long, and the next signal must be heard meanwhile.
            if let Err(error) = spawn("shutdown", shut_down) {
                ASKED.store(false, Ordering::SeqCst);
                log::warning!("Cannot shut down, no thread for it: {}", crate::os_error::text(&error));
            }
        }
    })?;
    Ok(())
}

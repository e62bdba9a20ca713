//! What the log says of a reactor that does not come back, and of a process that is about to die of a bug: what runs, in
//! the form in which tools look for it in the log of Redis 3.2.
//!
//! A report is made from atomics and the log only: it takes no lock of the node, which the dying thread may hold.

use crate::config::REDIS_VERSION;
use crate::log::{self, Level};
use crate::node::Node;
use engine::clock::Now;
use engine::raw::{alloc, crash};
use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

static NODE: OnceLock<&'static Node> = OnceLock::new();

/// From now on panics and fatal signals are reported.
pub fn install(node: &'static Node) {
    if NODE.set(node).is_ok() {
        std::panic::set_hook(Box::new(on_panic));
        crash::on_fatal_signal(|signal| report(&format!("crashed by signal: {signal}")));
    }
}

fn on_panic(info: &PanicHookInfo<'_>) {
    report(&format!("crashed by a failed assertion: {info}"));
}

fn report(what: &str) {
    log::warning!("=== REDIS BUG REPORT START: Cut & paste starting from here ===");
    log::warning!("Redis {REDIS_VERSION} (codis-rs {}) {what}", env!("CARGO_PKG_VERSION"));
    if let Some(node) = NODE.get() {
        let up_s = (Now::read().ms - node.started.ms) / 1000;
        log::warning!("Up {up_s} seconds, {} bytes used at the peak", node.peak_memory.load(Relaxed));
        log::raw(Level::Warning, &running(node));
    }
    let trace = Backtrace::force_capture();
    log::raw(Level::Warning, &format!("------ STACK TRACE ------\n{trace}\n"));
    log::warning!("=== REDIS BUG REPORT END. Make sure to include from START to END. ===");
}

/// One line a reactor: its command, under the name of the function that runs it in the original, and since when it has
/// been at it.
fn running(node: &Node) -> String {
    let now_ms = Now::read().ms;
    let mut text = String::new();
    for (reactor, stats) in node.stats.iter().enumerate() {
        let command = stats.running.load(Relaxed).checked_sub(1);
        let row = command.and_then(|id| node.registry.iter().find(|row| u32::from(row.id) == id));
        let name = row.map_or("nothing yet".to_owned(), |row| format!("{}Command", row.spec.name));
        let began_ms = stats.turn_began_ms.load(Relaxed);
        // Writing to a string cannot fail.
        let _ = match began_ms {
            0 => writeln!(text, "reactor {reactor}: waiting, after {name}"),
            _ => writeln!(text, "reactor {reactor}: in {name}, {} ms after it began to serve", now_ms - began_ms),
        };
    }
    text
}

/// Sees to it that a thread watches the reactors while `watchdog-period` is not 0.
pub fn start_watchdog(node: &'static Node) {
    if node.watched.swap(true, Relaxed) {
        return;
    }
    let watch = move || {
        let _account = alloc::open_account();
        watch(node);
    };
    if let Err(error) = thread::Builder::new().name("watchdog".into()).spawn(watch) {
        node.watched.store(false, Relaxed);
        log::warning!("Can't start the watchdog: {}", crate::os_error::text(&error));
    }
}

/// Reports each turn of a reactor that takes longer than the period, once.
fn watch(node: &'static Node) {
    let mut reported = vec![0; node.stats.len()];
    loop {
        let period_ms = node.config().watchdog_period_ms;
        if period_ms == 0 {
            node.watched.store(false, Relaxed);
            // It may have been set again just before.
            if node.config().watchdog_period_ms == 0 || node.watched.swap(true, Relaxed) {
                return;
            }
            continue;
        }
        thread::sleep(Duration::from_millis((period_ms / 4).clamp(1, 1000)));
        let now_ms = Now::read().ms;
        for (stats, reported) in node.stats.iter().zip(&mut reported) {
            let began_ms = stats.turn_began_ms.load(Relaxed);
            let late = began_ms != 0 && now_ms - began_ms > period_ms as i64;
            if late && *reported != began_ms {
                *reported = began_ms;
                log::warning!("--- WATCHDOG TIMER EXPIRED ---");
                log::raw(Level::Warning, &running(node));
                log::warning!("--------");
            }
        }
    }
}

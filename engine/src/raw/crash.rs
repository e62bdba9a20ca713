//! Signals that a bug in native code ends in: the last words are said before the process dies of the signal.
//!
//! 1. The handler runs once: the signal's default action is back in force when it begins, so a fault in it is the end.
//! 2. Saying the last words may allocate and lock, which can hang in a process whose memory is broken. An alarm that was
//!    set before ends the process then.

use std::ffi::c_int;
use std::sync::OnceLock;

/// Signals that are reported.
pub const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// Seconds that the last words may take.
const PATIENCE_S: u32 = 10;

/// Says the last words, given the signal.
static REPORT: OnceLock<fn(c_int)> = OnceLock::new();

/// Calls `report` with the signal before the process dies of one of [`SIGNALS`]. Only the first call counts.
pub fn on_fatal_signal(report: fn(c_int)) {
    if REPORT.set(report).is_err() {
        return;
    }
    for signal in SIGNALS {
        // SAFETY: all zero is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER;
        action.sa_sigaction = handle as extern "C" fn(c_int) as usize;
        // SAFETY: the handler has the form that a `sigaction` without SA_SIGINFO asks for, and lives as long as the
        // process. It never returns to what was interrupted in a state that differs: the signal comes again (1).
        unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    }
}

extern "C" fn handle(signal: c_int) {
    // SAFETY: async-signal-safe calls without memory of ours. An alarm's default action ends the process.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(PATIENCE_S);
    }
    if let Some(report) = REPORT.get() {
        report(signal);
    }
    // SAFETY: raising a signal whose default action is in force ends the process.
    unsafe { libc::raise(signal) };
}

//! Addresses of names, for threads that may wait, but not for as long as a name server may be silent.
//!
//! The system's own look-up cannot be ended. So a thread of its own does it, and who has waited for long enough goes on
//! without it. An address needs none.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Look-ups under way at a time; others fail meanwhile.
const LOOK_UPS_MAX: usize = 8;
/// Shortest time for a look-up, whatever time there is for connecting: the first answer of a name server takes longer than
/// one of the network.
const TIME_MIN: Duration = Duration::from_secs(1);
/// Time between two looks at whether to go on waiting.
const LOOK: Duration = Duration::from_millis(20);

/// Look-ups under way, also those for which nobody waits any more.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// The addresses of `host`, in the system's order. Waits for `time` or a little longer, and not if `stops`.
///
/// # Errors
/// It has none that is known. [`io::ErrorKind::TimedOut`]: that is not known in time.
pub fn resolve(host: &str, port: u16, time: Duration, stops: impl Fn() -> bool) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let host = host.to_owned();
    let look_up = move || Ok((host.as_str(), port).to_socket_addrs()?.collect());
    wait_for(&UNDER_WAY, look_up, time.max(TIME_MIN), stops)
}

/// One look-up, from its beginning until this is dropped.
struct LookUp<'c>(&'c AtomicUsize);

impl<'c> LookUp<'c> {
    /// If there are not too many.
    fn begin(count: &'c AtomicUsize) -> Option<LookUp<'c>> {
        let look_up = LookUp(count);
        (count.fetch_add(1, Ordering::AcqRel) < LOOK_UPS_MAX).then_some(look_up)
    }
}

impl Drop for LookUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn wait_for(
    count: &'static AtomicUsize,
    look_up: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    time: Duration,
    stops: impl Fn() -> bool,
) -> io::Result<Vec<SocketAddr>> {
    let counted = LookUp::begin(count).ok_or_else(|| io::Error::other("too many names are being looked up"))?;
    let (sender, found) = sync_channel(1);
    crate::start::spawn("resolve", move || {
        let found = look_up();
        drop(counted);
        // Nobody may be waiting any more.
        let _ = sender.send(found);
    })?;
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match found.recv_timeout(left.min(LOOK)) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the look-up has ended")),
            Err(RecvTimeoutError::Timeout) if left.is_zero() || stops() => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the name was not found in time"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::thread;

    const LONG: Duration = Duration::from_secs(600);
    /// Whoever has not come back by then waits for ever, or for [`LONG`].
    const PATIENCE: Duration = Duration::from_secs(30);

    /// What `work` comes back with, which a thread of its own does.
    fn within<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
        let (sender, done) = sync_channel(1);
        thread::spawn(move || sender.send(work()));
        done.recv_timeout(PATIENCE).expect("it waits for ever")
    }

    #[test]
    fn an_address_needs_no_look_up_and_a_name_does() {
        assert_eq!(resolve("127.0.0.1", 7, LONG, || true).expect("an address"), [([127, 0, 0, 1], 7).into()]);
        assert!(resolve("::1", 7, LONG, || true).is_ok_and(|found| found[0].is_ipv6()));
        assert!(resolve("localhost", 7, LONG, || false).is_ok_and(|found| found.iter().all(|addr| addr.port() == 7)));
    }

    #[test]
    fn nobody_waits_for_ever_and_few_look_ups_hang() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (end, ends) = channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        // How a wait of at most `time` for a look-up without end ends, which is told to stop at the third look if `stops`.
        let wait = |time: Duration, stops: bool| {
            let ends = ends.clone();
            let hang = move || {
                let _ = ends.lock().expect("nobody has panicked").recv();
                Ok(Vec::new())
            };
            let looks = AtomicUsize::new(0);
            let stops = move || stops && looks.fetch_add(1, Ordering::Relaxed) > 2;
            within(move || wait_for(&COUNT, hang, time, stops)).expect_err("it hangs").kind()
        };
        assert_eq!(wait(LONG, true), io::ErrorKind::TimedOut);
        for _ in 1..LOOK_UPS_MAX {
            assert_eq!(wait(Duration::ZERO, false), io::ErrorKind::TimedOut);
        }
        assert_eq!(wait(LONG, false), io::ErrorKind::Other);
        // All end at once, and there is room again.
        drop(end);
        within(|| {
            while COUNT.load(Ordering::Acquire) > 0 {
                thread::yield_now();
            }
        });
        assert!(within(|| wait_for(&COUNT, || Ok(Vec::new()), LONG, || false)).is_ok());
    }
}

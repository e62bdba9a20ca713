//! A faulty network between two programs: a relay that can be cut, stalled, slowed and cut short while it carries bytes.
//!
//! *Near* is who connected to the relay, *far* who it connects to; for a replica that follows through it the primary is
//! far.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a stalled direction looks whether it may go on.
const LOOK: Duration = Duration::from_millis(5);
const PIECE_BYTES: usize = 16 * 1024;

/// The relay; it ends when it is dropped.
pub struct Relay {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who connected to the relay.
    FromNear = 0,
    /// To who connected to the relay.
    FromFar = 1,
}

struct Shared {
    target: SocketAddr,
    stalled: [AtomicBool; 2],
    /// Bytes carried at a time, and microseconds between them.
    piece_bytes: AtomicUsize,
    pause_us: AtomicU64,
    /// Bytes of each connection from the far side before it is cut.
    far_bytes_max: AtomicU64,
    /// Connections that were cut short.
    cut_short: AtomicU64,
    /// Bytes of a connection from the far side before all stalls.
    far_bytes_before_stall: AtomicU64,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A relay to `target`, on a port of its own.
    pub fn to(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let addr = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            target,
            stalled: Default::default(),
            piece_bytes: PIECE_BYTES.into(),
            pause_us: 0.into(),
            far_bytes_max: u64::MAX.into(),
            cut_short: 0.into(),
            far_bytes_before_stall: u64::MAX.into(),
            ended: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    accepting.carry(stream);
                }
            }
        });
        Relay { addr, shared }
    }

    /// Where to connect instead of the target.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for stream in self.shared.open().drain(..) {
            // One that has ended by itself needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Carries nothing until told otherwise; connections stay open, and nobody is told of those that end meanwhile.
    pub fn stall(&self, stalled: bool) {
        [Way::FromNear, Way::FromFar].iter().for_each(|&way| self.stall_one_way(way, stalled));
    }

    /// As [`Relay::stall`], for bytes that go this way only.
    pub fn stall_one_way(&self, way: Way, stalled: bool) {
        self.shared.stalled[way as usize].store(stalled, SeqCst);
    }

    /// As [`Relay::stall`], once the far side has sent so many bytes on a connection.
    pub fn stall_after(&self, bytes: u64) {
        self.shared.far_bytes_before_stall.store(bytes, SeqCst);
    }

    /// Whether nothing is carried from the far side.
    pub fn is_stalled(&self) -> bool {
        self.shared.stalled[Way::FromFar as usize].load(SeqCst)
    }

    /// Carries so many bytes at a time in each direction, with a pause after each.
    pub fn slow_down(&self, piece_bytes: usize, pause: Duration) {
        self.shared.piece_bytes.store(piece_bytes.clamp(1, PIECE_BYTES), SeqCst);
        self.shared.pause_us.store(pause.as_micros() as u64, SeqCst);
    }

    /// As fast as it can again.
    pub fn speed_up(&self) {
        self.slow_down(PIECE_BYTES, Duration::ZERO);
    }

    /// Cuts each connection, also those that come later, when the far side has sent so many bytes; `None`: none.
    pub fn cut_after(&self, bytes: Option<u64>) {
        self.shared.far_bytes_max.store(bytes.unwrap_or(u64::MAX), SeqCst);
    }

    /// How many connections [`Relay::cut_after`] has cut.
    pub fn cut_short(&self) -> u64 {
        self.shared.cut_short.load(SeqCst)
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(self: &Arc<Self>, near: TcpStream) {
        let Ok(far) = TcpStream::connect(self.target) else { return };
        for (from, to, way) in [(&near, &far, Way::FromNear), (&far, &near, Way::FromFar)] {
            let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone()) else { return };
            // Small pieces are to arrive as such.
            let _ = to.set_nodelay(true);
            self.open().push(kept);
            let shared = self.clone();
            thread::spawn(move || shared.copy(from, to, way));
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, way: Way) {
        let mut buffer = [0; PIECE_BYTES];
        let mut carried = 0;
        loop {
            if way == Way::FromFar && carried >= self.far_bytes_before_stall.load(SeqCst) {
                self.far_bytes_before_stall.store(u64::MAX, SeqCst);
                self.stalled.iter().for_each(|stalled| stalled.store(true, SeqCst));
            }
            self.wait_while_stalled(way);
            let max = if way == Way::FromFar { self.far_bytes_max.load(SeqCst) } else { u64::MAX };
            if carried >= max {
                self.cut_short.fetch_add(1, SeqCst);
                break;
            }
            let len = self.piece_bytes.load(SeqCst).min(usize::try_from(max - carried).unwrap_or(usize::MAX));
            let Some(piece) = buffer.get_mut(..len) else { break };
            match from.read(piece) {
                Ok(0) => break,
                Ok(n) if to.write_all(&piece[..n]).is_ok() => carried += n as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
            let pause_us = self.pause_us.load(SeqCst);
            if pause_us > 0 {
                thread::sleep(Duration::from_micros(pause_us));
            }
        }
        // Of a link that carries nothing the end does not arrive either.
        self.wait_while_stalled(way);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn wait_while_stalled(&self, way: Way) {
        while self.stalled[way as usize].load(SeqCst) && !self.ended.load(SeqCst) {
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.cut();
        // Wakes the thread that accepts, which then sees the end.
        let _ = TcpStream::connect(self.addr);
    }
}

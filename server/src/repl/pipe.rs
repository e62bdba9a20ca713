//! An image on its way from the thread that makes it to the reactors that send it, through no file: pieces that all
//! replicas read, each at its own pace, and that are kept until the last one has them.
//!
//! ```text
//!   let go |  kept: at most KEEP_BYTES  | made by the walker, which waits when there is no room
//!          ^ slowest reader      ^ fastest reader
//! ```
//! 1. The maker waits for the slowest reader, but not for ever: one that keeps others waiting for longer than
//!    `repl-timeout` in all is given up. One that takes nothing at all is given up by its reactor after that time.
//! 2. The maker holds no slot while it waits. Should what writers leave for it fill up meanwhile, more is kept, up to
//!    the output limit of replicas; beyond that the slowest is given up rather than that writers wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes kept for readers that are behind.
pub const KEEP_BYTES: u64 = 4 << 20;
/// How often a maker that waits looks around.
const LOOK: Duration = Duration::from_millis(20);

/// The pieces between maker and readers.
pub struct Pipe {
    state: Mutex<State>,
    /// A piece was let go, or a reader has gone.
    freed: Condvar,
    /// Pieces made so far, and one more at the end: readers look without locking.
    made: AtomicU64,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Arc<[u8]>>,
    /// Number of the first piece that is kept.
    first: u64,
    bytes: u64,
    /// Whether it ended, and well.
    ended: Option<bool>,
    /// The piece that each reader wants next; `None` if it has gone or was given up.
    readers: Vec<Option<u64>>,
    /// How long a slower reader has kept a faster one waiting.
    held_back: Duration,
}

/// How much may be kept, at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Writers are about to wait for the maker.
    pub is_pressed: bool,
    /// Bytes that may be kept then.
    pub pressed_bytes: u64,
    /// How long in all a reader may keep others waiting.
    pub patience: Duration,
}

/// Nobody reads any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Deserted;

/// One replica's place.
pub struct Reader {
    pipe: Arc<Pipe>,
    index: usize,
    at: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A piece.
    Piece(Arc<[u8]>),
    /// Nothing yet.
    NotYet,
    /// That was all.
    End,
    /// There will be no more, though that was not all; or this reader was too slow.
    Failed,
}

impl Pipe {
    /// A pipe with so many readers.
    pub fn new(readers: usize) -> (Arc<Pipe>, Vec<Reader>) {
        let state = State { readers: vec![Some(0); readers], ..State::default() };
        let pipe = Arc::new(Pipe { state: Mutex::new(state), freed: Condvar::new(), made: AtomicU64::new(0) });
        let reader = |index| Reader { pipe: pipe.clone(), index, at: 0 };
        let readers = (0..readers).map(reader).collect();
        (pipe, readers)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece, once there is room for it.
    pub fn put(&self, piece: &[u8], bounds: impl Fn() -> Bounds) -> Result<(), Deserted> {
        let mut state = self.state();
        loop {
            if state.readers.iter().all(Option::is_none) {
                return Err(Deserted);
            }
            let bounds = bounds();
            if state.bytes < KEEP_BYTES || bounds.is_pressed && state.bytes < bounds.pressed_bytes {
                state.pieces.push_back(piece.into());
                state.bytes += piece.len() as u64;
                self.made.fetch_add(1, Ordering::Release);
                return Ok(());
            }
            if bounds.is_pressed || state.held_back > bounds.patience {
                state.give_up_slowest();
                continue;
            }
            let (began, starving) = (Instant::now(), state.somebody_starves());
            state = self.freed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            if starving {
                state.held_back += began.elapsed();
            }
        }
    }

    /// There are no more pieces.
    pub fn end(&self, well: bool) {
        self.state().ended = Some(well);
        self.made.fetch_add(1, Ordering::Release);
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    fn somebody_starves(&self) -> bool {
        self.readers.contains(&Some(self.end()))
    }

    fn give_up_slowest(&mut self) {
        let slowest = self.readers.iter().flatten().min().copied();
        // One of them: the others may do now that there is room.
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.is_some() && **reader == slowest) {
            *reader = None;
        }
        self.held_back = Duration::ZERO;
        self.let_go();
    }

    /// Drops pieces that all readers have.
    fn let_go(&mut self) {
        let needed = self.readers.iter().flatten().min().copied().unwrap_or(u64::MAX);
        while self.first < needed
            && let Some(piece) = self.pieces.pop_front()
        {
            self.first += 1;
            self.bytes -= piece.len() as u64;
        }
    }
}

impl Reader {
    /// Whether [`Reader::next`] has something to say.
    pub fn has_news(&self) -> bool {
        self.pipe.made.load(Ordering::Acquire) > self.at
    }

    /// Whether it was too slow.
    pub fn is_given_up(&self) -> bool {
        self.pipe.state().readers.get(self.index).is_none_or(Option::is_none)
    }

    /// Takes the next piece.
    pub fn next(&mut self) -> Next {
        let mut state = self.pipe.state();
        if state.readers.get(self.index).copied().flatten() != Some(self.at) {
            return Next::Failed;
        }
        let piece = state.pieces.get((self.at - state.first) as usize).cloned();
        match (piece, state.ended) {
            (Some(piece), _) => {
                self.at += 1;
                state.readers[self.index] = Some(self.at);
                state.let_go();
                self.pipe.freed.notify_one();
                Next::Piece(piece)
            }
            (None, Some(true)) => Next::End,
            (None, Some(false)) => Next::Failed,
            (None, None) => Next::NotYet,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.pipe.state();
        state.readers[self.index] = None;
        state.let_go();
        self.pipe.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PIECE: [u8; 1 << 20] = [1; 1 << 20];

    fn bounds(is_pressed: bool) -> Bounds {
        Bounds { is_pressed, pressed_bytes: 2 * KEEP_BYTES, patience: Duration::ZERO }
    }

    fn take(reader: &mut Reader) -> usize {
        let mut count = 0;
        while let Next::Piece(piece) = reader.next() {
            assert_eq!(piece.len(), PIECE.len());
            count += 1;
        }
        count
    }

    #[test]
    fn all_readers_get_all_pieces_and_then_the_end() {
        let (pipe, mut readers) = Pipe::new(2);
        assert!(!readers[0].has_news());
        assert_eq!(pipe.put(&PIECE, || bounds(false)), Ok(()));
        assert_eq!((take(&mut readers[0]), readers[0].next()), (1, Next::NotYet));
        assert_eq!(pipe.put(&PIECE, || bounds(false)), Ok(()));
        pipe.end(true);
        assert_eq!((take(&mut readers[0]), take(&mut readers[1])), (1, 2));
        assert!(readers.iter_mut().all(|reader| reader.has_news() && reader.next() == Next::End));
        assert_eq!(pipe.state().bytes, 0);
    }

    #[test]
    fn who_keeps_others_waiting_is_given_up() {
        let (pipe, mut readers) = Pipe::new(2);
        for _ in 0..20 {
            assert_eq!(pipe.put(&PIECE, || bounds(false)), Ok(()));
            take(&mut readers[0]);
        }
        assert_eq!(readers[1].next(), Next::Failed);
        assert_eq!(readers[0].next(), Next::NotYet);
        assert!(readers[1].is_given_up() && !readers[0].is_given_up());
        assert!(pipe.state().bytes <= KEEP_BYTES);
    }

    #[test]
    fn while_writers_are_about_to_wait_more_is_kept_and_then_the_slowest_goes() {
        let (pipe, mut readers) = Pipe::new(1);
        for _ in 0..2 * KEEP_BYTES / PIECE.len() as u64 {
            assert_eq!(pipe.put(&PIECE, || bounds(true)), Ok(()));
        }
        assert_eq!(pipe.put(&PIECE, || bounds(true)), Err(Deserted));
        assert_eq!(readers[0].next(), Next::Failed);
    }

    #[test]
    fn when_all_readers_have_gone_the_maker_is_told_also_while_it_waits() {
        let (pipe, readers) = Pipe::new(1);
        let maker = std::thread::spawn(move || {
            let patient = || Bounds { patience: Duration::MAX, ..bounds(false) };
            while pipe.put(&PIECE, patient).is_ok() {}
            pipe.state().bytes
        });
        drop(readers);
        assert_eq!(maker.join().expect("no panic"), 0);
    }

    #[test]
    fn an_image_that_failed_is_no_whole_one() {
        let (pipe, mut readers) = Pipe::new(1);
        assert_eq!(pipe.put(&PIECE, || bounds(false)), Ok(()));
        pipe.end(false);
        assert_eq!((take(&mut readers[0]), readers[0].next()), (1, Next::Failed));
    }
}

//! Where the RDB image ends in the bytes that a primary sends.
//!
//! ```text
//!   \n* $<length>\r\n <length bytes>                  through a file
//!   \n* $EOF:<40 bytes>\r\n <image> <the 40 bytes>    straight from memory, length unknown
//! ```
//! Line ends before the head only keep the connection alive. What follows the image is the stream.

use std::ops::Range;

/// Bytes of the mark that ends an image of unknown length.
pub const MARK_LEN: usize = 40;
/// The longest head.
const HEAD_BYTES_MAX: usize = 1024;

/// What a piece of bytes was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All of it was taken; the head is not complete.
    Head,
    /// The image begins: its length, if that is known.
    Begins(Option<u64>),
    /// These of the bytes belong to the image.
    Image(Range<usize>),
    /// The image has ended, and is shorter than what was given out by so many bytes: those of the mark.
    Ends {
        /// Bytes to cut off the end of what was given out.
        cut: usize,
    },
    /// The primary gave up, and says why.
    Refused(String),
    /// No image begins like this.
    Broken,
}

/// Follows one transfer.
#[derive(Debug, Default)]
pub struct Transfer {
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    Length { left: u64 },
    Mark { mark: [u8; MARK_LEN], last: Vec<u8> },
    Ended,
}

impl Default for State {
    fn default() -> Self {
        State::Head(Vec::new())
    }
}

impl Transfer {
    /// Looks at `bytes` from `at` on, moves `at` past what was understood, and says what that was. To be called until
    /// `at` is at the end, or the transfer has ended.
    pub fn step(&mut self, bytes: &[u8], at: &mut usize) -> Piece {
        let rest = bytes.get(*at..).unwrap_or_default();
        match &mut self.state {
            State::Head(head) => {
                let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                    *at += rest.len();
                    head.extend_from_slice(rest);
                    return if head.len() > HEAD_BYTES_MAX { Piece::Broken } else { Piece::Head };
                };
                head.extend_from_slice(&rest[..end]);
                *at += end + 1;
                let line = std::mem::take(head);
                self.begin(line.strip_suffix(b"\r").unwrap_or(&line))
            }
            State::Length { left: 0 } => {
                self.state = State::Ended;
                Piece::Ends { cut: 0 }
            }
            State::Length { left } => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                let from = *at;
                *at += len;
                *left -= len as u64;
                Piece::Image(from..*at)
            }
            State::Mark { mark, last } => {
                if last.as_slice() == mark.as_slice() {
                    self.state = State::Ended;
                    return Piece::Ends { cut: MARK_LEN };
                }
                let from = *at;
                let end = mark_end(mark, last, rest);
                *at += end;
                remember(last, &rest[..end]);
                Piece::Image(from..*at)
            }
            State::Ended => Piece::Ends { cut: 0 },
        }
    }

    /// Whether a call would say something even without more bytes.
    pub fn is_complete(&self) -> bool {
        match &self.state {
            State::Length { left } => *left == 0,
            State::Mark { mark, last } => last.as_slice() == mark.as_slice(),
            State::Head(_) => false,
            State::Ended => true,
        }
    }

    fn begin(&mut self, line: &[u8]) -> Piece {
        match line {
            [] => Piece::Head,
            [b'-', why @ ..] => Piece::Refused(String::from_utf8_lossy(why).into_owned()),
            [b'$', b'E', b'O', b'F', b':', mark @ ..] => match mark.first_chunk::<MARK_LEN>() {
                Some(mark) => {
                    self.state = State::Mark { mark: *mark, last: Vec::with_capacity(2 * MARK_LEN) };
                    Piece::Begins(None)
                }
                None => Piece::Broken,
            },
            [b'$', length @ ..] => match resp::parse_u64(length) {
                Some(left) => {
                    self.state = State::Length { left };
                    Piece::Begins(Some(left))
                }
                None => Piece::Broken,
            },
            _ => Piece::Broken,
        }
    }
}

/// How many of `rest` belong to the image or its mark: all, unless the mark ends before.
fn mark_end(mark: &[u8; MARK_LEN], last: &[u8], rest: &[u8]) -> usize {
    // A mark that began in earlier bytes.
    let mut joined = last.to_vec();
    joined.extend_from_slice(&rest[..rest.len().min(MARK_LEN)]);
    if let Some(at) = joined.windows(MARK_LEN).position(|window| window == mark) {
        return (at + MARK_LEN).saturating_sub(last.len());
    }
    memchr::memmem::find(rest, mark).map_or(rest.len(), |at| at + MARK_LEN)
}

/// Keeps the last bytes seen, as many as a mark has.
fn remember(last: &mut Vec<u8>, seen: &[u8]) {
    last.extend_from_slice(&seen[seen.len().saturating_sub(MARK_LEN)..]);
    last.drain(..last.len().saturating_sub(MARK_LEN));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `wire` in pieces; returns the image and what followed it.
    fn receive(wire: &[u8], cuts: &[usize]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut transfer = Transfer::default();
        let (mut image, mut from) = (Vec::new(), 0);
        let ends = cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([wire.len()]);
        for end in ends {
            let end = end.max(from);
            let mut at = from;
            while at < end || transfer.is_complete() {
                match transfer.step(&wire[..end], &mut at) {
                    Piece::Image(range) => image.extend_from_slice(&wire[range]),
                    Piece::Ends { cut } => {
                        image.truncate(image.len() - cut);
                        return Some((image, wire[at..].to_vec()));
                    }
                    Piece::Head | Piece::Begins(_) => {}
                    Piece::Refused(_) | Piece::Broken => return None,
                }
            }
            from = end;
        }
        None
    }

    proptest! {
        /// However the bytes are cut, the image and the stream behind it come out whole.
        #[test]
        fn however_it_is_cut_the_image_comes_out_whole(
            image in proptest::collection::vec(any::<u8>(), 0..300),
            behind in proptest::collection::vec(any::<u8>(), 0..100),
            mut cuts in proptest::collection::vec(0usize..600, 0..8),
            by_mark: bool,
        ) {
            cuts.sort_unstable();
            let mark = [b'm'; MARK_LEN];
            let mut wire = b"\n\n".to_vec();
            match by_mark {
                true => wire.extend_from_slice(&[b"$EOF:", &mark[..], b"\r\n", &image, &mark].concat()),
                false => wire.extend_from_slice(&[format!("${}\r\n", image.len()).as_bytes(), &image].concat()),
            }
            // An image that ends in bytes of the mark would end early; real marks are random.
            prop_assume!(!by_mark || image.last() != Some(&b'm'));
            wire.extend_from_slice(&behind);
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(wire.len()));
            prop_assert_eq!(receive(&wire, &cuts), Some((image, behind)));
        }

        #[test]
        fn no_bytes_make_it_fail(bytes: Vec<u8>) {
            let mut transfer = Transfer::default();
            let mut at = 0;
            for _ in 0..bytes.len() + 2 {
                transfer.step(&bytes, &mut at);
            }
            prop_assert!(at <= bytes.len());
        }
    }

    #[test]
    fn an_error_line_instead_of_an_image_is_the_primary_giving_up() {
        let mut at = 0;
        let piece = Transfer::default().step(b"-ERR no\r\n", &mut at);
        assert_eq!(piece, Piece::Refused("ERR no".into()));
        assert_eq!(Transfer::default().step(b"hello\r\n", &mut 0), Piece::Broken);
        assert_eq!(Transfer::default().step(b"$EOF:short\r\n", &mut 0), Piece::Broken);
    }
}

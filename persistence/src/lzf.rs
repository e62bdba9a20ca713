//! LZF, Marc Lehmann's small and fast compression, in the variant and with the choices of Redis 3.2, so that the lengths
//! that DEBUG OBJECT shows are the same.
//!
//! ```text
//! 000LLLLL <L+1 bytes>          literals: L+1 = 1 to 32
//! LLLooooo oooooooo             a reference: L+2 = 3 to 8 bytes from o+1 = 1 to 8192 before
//! 111ooooo LLLLLLLL oooooooo    a reference: L+9 = 9 to 264 bytes
//! ```

const HASH_BITS: u32 = 16;
const LITERALS_MAX: usize = 1 << 5;
/// How far back a reference may go.
pub const DISTANCE_MAX: usize = 1 << 13;
const REFERENCE_MAX: usize = (1 << 8) + (1 << 3);

/// A compressor; keeps its table between inputs.
pub struct Compressor {
    /// Where a hash of three bytes was last seen, plus `base`; below `base` are those of earlier inputs.
    seen: Box<[u32]>,
    base: u32,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor { seen: vec![0; 1 << HASH_BITS].into(), base: 1 }
    }
}

fn hash(bytes: &[u8], at: usize) -> usize {
    let three = match bytes.get(at..at + 3) {
        Some(&[a, b, c]) => u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c),
        _ => 0,
    };
    ((three >> (24 - HASH_BITS)).wrapping_sub(three.wrapping_mul(5)) & ((1 << HASH_BITS) - 1)) as usize
}

/// The compressed bytes, with the literals that are under way.
struct Output<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    max: usize,
    /// Literals of the run under way, whose length byte precedes them.
    run: usize,
}

impl Output<'_> {
    fn len(&self) -> usize {
        self.out.len() - self.start
    }

    fn begin_run(&mut self) {
        self.run = 0;
        self.out.push(0);
    }

    fn end_run(&mut self) {
        if self.run == 0 {
            self.out.pop();
        } else {
            let head = self.out.len() - self.run - 1;
            self.out[head] = (self.run - 1) as u8;
        }
    }

    fn literal(&mut self, byte: u8) {
        self.out.push(byte);
        self.run += 1;
        if self.run == LITERALS_MAX {
            self.end_run();
            self.begin_run();
        }
    }

    fn reference(&mut self, distance: usize, len: usize) {
        self.end_run();
        let (far, len) = ((distance >> 8) as u8, len - 2);
        if len < 7 {
            self.out.push(far | (len as u8) << 5);
        } else {
            self.out.extend_from_slice(&[far | 7 << 5, (len - 7) as u8]);
        }
        self.out.push(distance as u8);
        self.begin_run();
    }
}

impl Compressor {
    /// Appends the compressed form of `input` to `out` if that takes at most `max` bytes; else appends nothing and
    /// returns false.
    pub fn compress(&mut self, input: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
        let Ok(len) = u32::try_from(input.len()) else { return false };
        if input.is_empty() || max == 0 || len > u32::MAX / 2 {
            return false;
        }
        if self.base > u32::MAX / 2 {
            self.seen.fill(0);
            self.base = 1;
        }
        let start = out.len();
        let fits = self.fill(input, Output { out, start, max, run: 0 });
        self.base += len;
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// Notes that `at` has its three bytes, and gives where they, or others with their hash, were before.
    fn note(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let place = &mut self.seen[hash(input, at)];
        let before = std::mem::replace(place, self.base + at as u32);
        before.checked_sub(self.base).map(|at| at as usize)
    }

    fn fill(&mut self, input: &[u8], mut out: Output<'_>) -> bool {
        out.begin_run();
        let (mut at, last) = (0, input.len().saturating_sub(2));
        while at < last {
            let Some(before) = self.note(input, at).filter(|&before| is_match(input, before, at)) else {
                if out.len() >= out.max {
                    return false;
                }
                out.literal(input[at]);
                at += 1;
                continue;
            };
            if out.len() - usize::from(out.run == 0) + 4 >= out.max {
                return false;
            }
            let len = match_len(input, before, at);
            out.reference(at - before - 1, len);
            at += len;
            if at >= last {
                break;
            }
            self.note(input, at - 2);
            self.note(input, at - 1);
        }
        if out.len() + 3 > out.max {
            return false;
        }
        input[at..].iter().for_each(|&byte| out.literal(byte));
        out.end_run();
        true
    }
}

/// The original never refers to the very first byte.
fn is_match(input: &[u8], before: usize, at: usize) -> bool {
    before > 0 && before < at && at - before - 1 < DISTANCE_MAX && input[before..before + 3] == input[at..at + 3]
}

/// Bytes that are equal, of which at least three are. The original looks at 16 bytes without watching for the end when
/// more than 18 are left, so that the last two are now and then part of a reference and mostly not.
fn match_len(input: &[u8], before: usize, at: usize) -> usize {
    const UNWATCHED: usize = 16;
    let max = (input.len() - at - 2).min(REFERENCE_MAX);
    let differs = |i: &usize| input[before + i] != input[at + i];
    let mut from = 3;
    if max > UNWATCHED {
        if let Some(end) = (from..from + UNWATCHED).find(differs) {
            return end;
        }
        from += UNWATCHED;
    }
    (from..max).find(differs).unwrap_or(max.max(from))
}

/// Bytes were not what [`Compressor::compress`] gives, or of another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid LZF compressed string")]
pub struct Corrupt;

/// The bytes that were compressed, of which there must be `len`.
pub fn decompress(input: &[u8], len: usize) -> Result<Vec<u8>, Corrupt> {
    let mut out = Vec::new();
    decompress_into(input, len, &mut out).map(|()| out)
}

/// As [`decompress`], in place of what is in `out`.
pub fn decompress_into(input: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    /// What a compressed byte mostly stands for.
    const RATIO_LIKELY: usize = 4;
    out.clear();
    if len > len_max(input) {
        return Err(Corrupt);
    }
    // What is announced may not come; mostly it does.
    out.reserve(len.min(input.len().saturating_mul(RATIO_LIKELY)));
    let rest = unpack(input, len, out)?;
    if out.len() == len && rest.is_empty() { Ok(()) } else { Err(Corrupt) }
}

/// No more bytes than this can be in `input`.
pub fn len_max(input: &[u8]) -> usize {
    input.len().saturating_mul(REFERENCE_MAX)
}

/// Appends what stands in `input` to `out`, which has the [`DISTANCE_MAX`] bytes before it or all there are, until that has
/// `until` bytes, or somewhat more. Returns what is left of the input.
pub fn unpack<'i>(input: &'i [u8], until: usize, out: &mut Vec<u8>) -> Result<&'i [u8], Corrupt> {
    let mut rest = input;
    while out.len() < until {
        let (&head, after) = rest.split_first().ok_or(Corrupt)?;
        if usize::from(head) < LITERALS_MAX {
            let (literals, after) = after.split_at_checked(usize::from(head) + 1).ok_or(Corrupt)?;
            out.extend_from_slice(literals);
            rest = after;
            continue;
        }
        let (more, after) = if head >> 5 == 7 { after.split_first().ok_or(Corrupt)? } else { (&0, after) };
        let (&near, after) = after.split_first().ok_or(Corrupt)?;
        rest = after;
        let distance = usize::from(head & 0x1f) << 8 | usize::from(near);
        let run = usize::from(head >> 5) + usize::from(*more) + 2;
        let from = out.len().checked_sub(distance + 1).ok_or(Corrupt)?;
        repeat(out, from, run);
    }
    Ok(rest)
}

/// Appends `run` bytes from `from` on, of which the last may be among those that are appended.
fn repeat(out: &mut Vec<u8>, from: usize, run: usize) {
    let mut left = run;
    while left > 0 {
        // What there is doubles with each turn.
        let part = left.min(out.len() - from);
        out.extend_from_within(from..from + part);
        left -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compress(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        Compressor::default().compress(input, input.len().saturating_sub(4), &mut out).then_some(out)
    }

    #[test]
    fn repeats_shrink_and_noise_is_refused() {
        let zeros = vec![0; 10_000];
        let packed = compress(&zeros).expect("smaller");
        assert!(packed.len() < 200, "{}", packed.len());
        assert_eq!(decompress(&packed, zeros.len()), Ok(zeros));
        assert_eq!(compress(b"no repeats!"), None);
    }

    #[test]
    fn damage_is_an_error() {
        let packed = compress(&b"abcabcabc".repeat(9)).expect("smaller");
        assert_eq!(decompress(&packed, 80), Err(Corrupt));
        assert_eq!(decompress(&packed, 82), Err(Corrupt));
        assert_eq!(decompress(&packed[1..], 81), Err(Corrupt));
        assert_eq!(decompress(b"\xe0\xff\xff", 1 << 40), Err(Corrupt));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            parts in prop::collection::vec((prop::collection::vec(0u8..4, 1..40), 1usize..300), 0..8),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut compressor = Compressor::default();
            let mut input: Vec<u8> = parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect();
            input.extend(noise);
            // The second time the table is full of what the first one left.
            let mut outs = [Vec::new(), Vec::new()];
            for out in &mut outs {
                if compressor.compress(&input, input.len().saturating_sub(4), out) {
                    prop_assert!(out.len() <= input.len() - 4);
                    prop_assert_eq!(decompress(out, input.len()), Ok(input.clone()));
                } else {
                    prop_assert!(out.is_empty());
                }
            }
            prop_assert_eq!(&outs[0], &outs[1]);
        }

        #[test]
        fn garbage_ends_in_an_error_or_the_length(bytes in prop::collection::vec(any::<u8>(), 0..200), len in 0usize..5000) {
            if let Ok(out) = decompress(&bytes, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}

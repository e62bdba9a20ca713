//! The bytes of a HyperLogLog, as Redis 2.8.9 to 3.2 store them in a string.
//!
//! ```text
//! | HYLL | encoding 1 | 0 0 0 | cached cardinality, 8 bytes little endian; the top bit says that it is stale |
//! dense  (0): 16384 registers of 6 bits, packed from the low bits of each byte on: 12288 bytes
//! sparse (1): runs over the registers in order
//!             00llllll           l + 1 zeros
//!             01llllll llllllll  l + 1 zeros
//!             1vvvvvll           l + 1 registers of value v + 1
//! ```
//! Bytes come from clients too, so every reader checks what it reads; what does not add up is [`Corrupt`].
//! Source of the algorithm: Flajolet et al. 2007, with the bias correction of Redis 3.2.

/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
const HEADER: usize = 16;
/// Bytes of a dense sketch.
pub const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;
const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The largest value of a sparse register.
const SPARSE_VALUE_MAX: u8 = 32;
const SPARSE_VALUE_RUN_MAX: usize = 4;
const ZERO_RUN_MAX: usize = 64;
/// Runs looked at when neighbours may be joined after a change.
const JOIN_RUNS: usize = 5;

/// The bytes are no HyperLogLog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// All registers, one byte each.
pub type Registers = [u8; REGISTERS];

/// MurmurHash64A (Appleby, public domain), which the stored registers depend on.
pub fn hash(element: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xadc8_3b19;
    let mut h = SEED ^ (element.len() as u64).wrapping_mul(M);
    let (words, rest) = element.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 47)).wrapping_mul(M);
        h = (h ^ k).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = (h ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    h = (h ^ (h >> 47)).wrapping_mul(M);
    h ^ (h >> 47)
}

/// The register of an element and the value that it wants there: the length of the row of zeros, plus one.
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let rest = (hash >> INDEX_BITS) | 1 << (63 - INDEX_BITS);
    (hash as usize & (REGISTERS - 1), rest.trailing_zeros() as u8 + 1)
}

/// Whether the header is right, and a dense body complete.
pub fn check(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && &bytes[..4] == MAGIC
        && (bytes[4] == SPARSE || bytes[4] == DENSE && bytes.len() == DENSE_BYTES)
}

/// Whether the encoding is sparse.
pub fn is_sparse(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&SPARSE)
}

/// A sketch of nothing.
pub fn empty() -> Vec<u8> {
    let mut bytes = header(SPARSE);
    push_zeros(REGISTERS, &mut bytes);
    bytes
}

fn header(encoding: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(encoding);
    bytes.resize(HEADER, 0);
    bytes
}

/// The cached cardinality, unless it is stale.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let cached = u64::from_le_bytes(bytes.get(8..HEADER)?.try_into().ok()?);
    (cached >> 63 == 0).then_some(cached)
}

/// Remembers the cardinality.
pub fn set_cached(bytes: &mut [u8], cardinality: u64) {
    if let Some(field) = bytes.get_mut(8..HEADER) {
        field.copy_from_slice(&cardinality.to_le_bytes());
    }
}

/// Marks the cached cardinality as stale.
pub fn invalidate(bytes: &mut [u8]) {
    if let Some(last) = bytes.get_mut(HEADER - 1) {
        *last |= 0x80;
    }
}

/// A dense register.
pub fn dense_get(bytes: &[u8], index: usize) -> u8 {
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let pair = u16::from(bytes[at]) | u16::from(bytes.get(at + 1).copied().unwrap_or(0)) << 8;
    (pair >> shift) as u8 & 63
}

/// Sets a dense register.
pub fn dense_set(bytes: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let (mask, value) = (63u16 << shift, u16::from(value) << shift);
    bytes[at] = bytes[at] & !(mask as u8) | value as u8;
    if shift > 2 {
        bytes[at + 1] = bytes[at + 1] & !((mask >> 8) as u8) | (value >> 8) as u8;
    }
}

/// A run of a sparse body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The registers' value.
    pub value: u8,
    /// How many.
    pub len: usize,
    /// Bytes of its encoding.
    pub bytes: usize,
}

fn run_at(bytes: &[u8], at: usize) -> Result<Run, Corrupt> {
    let first = *bytes.get(at).ok_or(Corrupt)?;
    let low = usize::from(first & 63);
    Ok(match first >> 6 {
        0 => Run { value: 0, len: low + 1, bytes: 1 },
        1 => Run { value: 0, len: (low << 8 | usize::from(*bytes.get(at + 1).ok_or(Corrupt)?)) + 1, bytes: 2 },
        _ => Run { value: (first >> 2 & 31) + 1, len: usize::from(first & 3) + 1, bytes: 1 },
    })
}

/// The runs of a sparse sketch.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Result<Run, Corrupt>> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let run = run_at(bytes, at);
        at = run.map_or(bytes.len(), |run| at + run.bytes);
        Some(run)
    })
}

fn push_zeros(count: usize, to: &mut Vec<u8>) {
    if count > ZERO_RUN_MAX {
        to.extend_from_slice(&[0x40 | ((count - 1) >> 8) as u8, (count - 1) as u8]);
    } else if count > 0 {
        to.push((count - 1) as u8);
    }
}

fn push_run(value: u8, count: usize, to: &mut Vec<u8>) {
    if value == 0 {
        push_zeros(count, to);
    } else if count > 0 {
        to.push(0x80 | (value - 1) << 2 | (count - 1) as u8);
    }
}

/// How a change to a sparse sketch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sparse {
    /// The register was that high already.
    Unchanged,
    /// Done.
    Changed,
    /// It does not fit the sparse form.
    NeedsDense,
}

/// Raises a register of a sparse sketch to `value`, unless the sketch would get longer than `bytes_max` by that.
pub fn sparse_raise(bytes: &mut Vec<u8>, index: usize, value: u8, bytes_max: usize) -> Result<Sparse, Corrupt> {
    if value > SPARSE_VALUE_MAX {
        return Ok(Sparse::NeedsDense);
    }
    let (mut at, mut first, mut before_at) = (HEADER, 0, HEADER);
    let run = loop {
        let run = run_at(bytes, at)?;
        if index < first + run.len {
            break run;
        }
        (before_at, at, first) = (at, at + run.bytes, first + run.len);
    };
    if run.value >= value {
        return Ok(Sparse::Unchanged);
    }
    let mut split = Vec::with_capacity(5);
    push_run(run.value, index - first, &mut split);
    push_run(value, 1, &mut split);
    push_run(run.value, first + run.len - 1 - index, &mut split);
    if split.len() > run.bytes && bytes.len() + split.len() - run.bytes > bytes_max {
        return Ok(Sparse::NeedsDense);
    }
    bytes.splice(at..at + run.bytes, split);
    join(bytes, before_at)?;
    invalidate(bytes);
    Ok(Sparse::Changed)
}

/// Joins neighbouring runs of the same value, from the run at `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) -> Result<(), Corrupt> {
    for _ in 0..JOIN_RUNS {
        if at >= bytes.len() {
            break;
        }
        let run = run_at(bytes, at)?;
        let next_at = at + run.bytes;
        if run.value > 0 && next_at < bytes.len() {
            let next = run_at(bytes, next_at)?;
            if next.value == run.value && run.len + next.len <= SPARSE_VALUE_RUN_MAX {
                let mut joined = Vec::with_capacity(1);
                push_run(run.value, run.len + next.len, &mut joined);
                bytes.splice(at..next_at + next.bytes, joined);
                continue;
            }
        }
        at = next_at;
    }
    Ok(())
}

/// All registers of a sketch.
pub fn registers(bytes: &[u8]) -> Result<Box<Registers>, Corrupt> {
    let mut registers = Box::new([0; REGISTERS]);
    merge(bytes, &mut registers)?;
    Ok(registers)
}

/// Raises `into` to the registers of a sketch.
pub fn merge(bytes: &[u8], into: &mut Registers) -> Result<(), Corrupt> {
    if !check(bytes) {
        return Err(Corrupt);
    }
    if !is_sparse(bytes) {
        for (index, register) in into.iter_mut().enumerate() {
            *register = (*register).max(dense_get(bytes, index));
        }
        return Ok(());
    }
    let mut first = 0;
    for run in runs(bytes) {
        let run = run?;
        let covered = into.get_mut(first..first + run.len).ok_or(Corrupt)?;
        covered.iter_mut().for_each(|register| *register = (*register).max(run.value));
        first += run.len;
    }
    if first == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// A dense sketch of these registers, its cache stale.
pub fn dense(registers: &Registers) -> Vec<u8> {
    let mut bytes = header(DENSE);
    bytes.resize(DENSE_BYTES, 0);
    for (index, &value) in registers.iter().enumerate() {
        dense_set(&mut bytes, index, value);
    }
    invalidate(&mut bytes);
    bytes
}

/// The estimate of how many different elements were added.
pub fn count(registers: &Registers) -> u64 {
    const M: f64 = REGISTERS as f64;
    const ALPHA: f64 = 0.7213 / (1.0 + 1.079 / M);
    // Below this the raw estimate is off by a known curve.
    const BIASED_BELOW: f64 = 72_000.0;
    let zeros = registers.iter().filter(|&&register| register == 0).count();
    let sum: f64 = registers.iter().map(|&register| 1.0 / (1u64 << register) as f64).sum();
    let mut estimate = (1.0 / sum) * ALPHA * M * M;
    if estimate < M * 2.5 && zeros != 0 {
        estimate = M * (M / zeros as f64).ln();
    } else if estimate < BIASED_BELOW {
        let e = estimate;
        let bias =
            5.9119e-18 * (e * e * e * e) - 1.4253e-12 * (e * e * e) + 1.2940e-7 * (e * e) - 5.2921e-3 * e + 83.3216;
        estimate -= estimate * (bias / 100.0);
    }
    estimate as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sparse_and_dense_agree_with_plain_registers(elements in prop::collection::vec(any::<u32>(), 0..600)) {
            let (mut sparse, mut plain) = (empty(), [0u8; REGISTERS]);
            let mut dense_bytes = dense(&plain);
            for element in &elements {
                let (index, value) = place(&element.to_le_bytes());
                let changed = plain[index] < value;
                plain[index] = plain[index].max(value);
                let outcome = sparse_raise(&mut sparse, index, value, 100_000).expect("sound");
                prop_assert_eq!(outcome == Sparse::Changed, changed);
                if changed {
                    dense_set(&mut dense_bytes, index, value);
                }
            }
            prop_assert_eq!(&registers(&sparse).expect("sound")[..], &plain[..]);
            prop_assert_eq!(&registers(&dense_bytes).expect("sound")[..], &plain[..]);
            prop_assert_eq!(dense(&plain), dense_bytes);
        }

        #[test]
        fn garbage_is_refused_without_harm(tail in prop::collection::vec(any::<u8>(), 0..200), index in 0usize..REGISTERS) {
            let mut bytes = header(SPARSE);
            bytes.extend(tail);
            let _ = registers(&bytes);
            let _ = sparse_raise(&mut bytes, index, 5, 3000);
            let _ = runs(&bytes).count();
        }
    }

    #[test]
    fn the_estimate_is_within_its_error() {
        let mut plain = [0u8; REGISTERS];
        for (n, step) in (1..=200_000u64).zip([1_000, 20_000, 60_000, 200_000].iter().cycle()) {
            let (index, value) = place(format!("ele:{n}").as_bytes());
            plain[index] = plain[index].max(value);
            if n == *step || n % 50_000 == 0 {
                let error = (count(&plain) as f64 - n as f64).abs() / n as f64;
                // Five standard errors of 1.04 / sqrt(16384).
                assert!(error < 0.041, "{error} at {n}");
            }
        }
    }

    #[test]
    fn an_empty_sketch_is_two_bytes_of_runs() {
        assert_eq!(&empty()[HEADER..], [0x7f, 0xff]);
        assert_eq!(count(&registers(&empty()).expect("sound")), 0);
    }
}

//! A sketch as it is stored: the bytes of a string, in the format of Redis 3.2.
//!
//! ```text
//!   | "HYLL" | encoding u8 | 0 0 0 | cached count u64, little-endian, top bit set: stale | registers ...
//!
//!   dense (0)    16384 registers of 6 bits, from the lowest bit of the first byte on: 12288 bytes
//!   sparse (1)   runs:  00nnnnnn            n + 1 registers of 0
//!                       01nnnnnn nnnnnnnn   n + 1 registers of 0
//!                       1vvvvvnn            n + 1 registers of v + 1
//! ```
//! Clients can write such bytes themselves, so nothing about them is believed: runs may end early, go too far, or stop in the
//! middle of one. Whatever does not add up is [`Corrupt`].
//!
//! A sparse sketch becomes dense when a register outgrows 32 or when it would get longer than a limit. Its bytes after each
//! change are the very ones that Redis would have: replicas, digests and dumps may be compared.

use super::estimate::{Histogram, REGISTERS, register_of};

pub(super) const HEADER: usize = 16;
/// Bytes of a dense sketch.
pub(super) const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
const STALE: u64 = 1 << 63;
const SPARSE_VALUE_MAX: u8 = 32;
const SPARSE_RUN_MAX: usize = 4;
/// Longest run of zeros that takes one byte.
pub(super) const ZERO_RUN_MAX: usize = 64;

/// How registers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Dense,
    Sparse,
}

/// The runs of a sparse sketch are not 16384 registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Corrupt;

/// All registers, a byte each.
pub(super) type Registers = [u8; REGISTERS];

/// The encoding of these bytes, if they look like a sketch.
pub(super) fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[ENCODING_AT] {
        0 => (bytes.len() == DENSE_LEN).then_some(Encoding::Dense),
        1 => Some(Encoding::Sparse),
        _ => None,
    }
}

/// A sketch of nothing, sparse.
pub(super) fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[ENCODING_AT] = 1;
    Run::Zeros(REGISTERS).encode(&mut bytes);
    bytes
}

/// The count that the header keeps, unless it is stale.
pub(super) fn cached(bytes: &[u8]) -> Option<u64> {
    let field = bytes.get(CARDINALITY_AT..HEADER)?.try_into().ok()?;
    let cardinality = u64::from_le_bytes(field);
    (cardinality & STALE == 0).then_some(cardinality)
}

/// Keeps a count in the header.
pub(super) fn set_cached(bytes: &mut [u8], cardinality: u64) {
    if let Some(field) = bytes.get_mut(CARDINALITY_AT..HEADER) {
        field.copy_from_slice(&cardinality.to_le_bytes());
    }
}

/// Marks the count in the header as stale.
pub(super) fn invalidate(bytes: &mut [u8]) {
    if let Some(last) = bytes.get_mut(HEADER - 1) {
        *last |= 0x80;
    }
}

/// A stretch of equal registers in a sparse sketch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Run {
    Zeros(usize),
    /// A value and how often.
    Values(u8, usize),
}

impl Run {
    /// The run that starts at `at`, and the bytes it takes.
    fn at(bytes: &[u8], at: usize) -> Result<(Run, usize), Corrupt> {
        let first = *bytes.get(at).ok_or(Corrupt)?;
        let low = usize::from(first & 0x3f);
        match first >> 6 {
            0 => Ok((Run::Zeros(low + 1), 1)),
            1 => Ok((Run::Zeros((low << 8 | usize::from(*bytes.get(at + 1).ok_or(Corrupt)?)) + 1), 2)),
            _ => Ok((Run::Values((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1), 1)),
        }
    }

    fn len(self) -> usize {
        match self {
            Run::Zeros(len) | Run::Values(_, len) => len,
        }
    }

    /// The same with another length.
    fn with_len(self, len: usize) -> Run {
        match self {
            Run::Zeros(_) => Run::Zeros(len),
            Run::Values(value, _) => Run::Values(value, len),
        }
    }

    /// Appends the run, in the shorter form if there are two; nothing if its length is 0.
    fn encode(self, to: &mut Vec<u8>) {
        match self {
            Run::Zeros(0) | Run::Values(_, 0) => {}
            Run::Zeros(len) if len <= ZERO_RUN_MAX => to.push((len - 1) as u8),
            Run::Zeros(len) => to.extend_from_slice(&[0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
            Run::Values(value, len) => to.push(0x80 | (value - 1) << 2 | (len - 1) as u8),
        }
    }
}

/// Visits the runs of a sparse sketch; checks that they are as many registers as there should be.
pub(super) fn for_each_run(bytes: &[u8], mut visit: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let (mut at, mut index) = (HEADER, 0);
    while at < bytes.len() {
        let (run, size) = Run::at(bytes, at)?;
        if index + run.len() > REGISTERS {
            return Err(Corrupt);
        }
        visit(index, run);
        index += run.len();
        at += size;
    }
    if index == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// Raises `registers` to those of a sketch of this encoding, where those are higher.
pub(super) fn merge(registers: &mut Registers, bytes: &[u8], encoding: Encoding) -> Result<(), Corrupt> {
    match encoding {
        Encoding::Dense => {
            registers.iter_mut().enumerate().for_each(|(index, own)| *own = dense_get(bytes, index).max(*own));
            Ok(())
        }
        Encoding::Sparse => for_each_run(bytes, |index, run| {
            if let Run::Values(value, len) = run {
                registers[index..index + len].iter_mut().for_each(|own| *own = value.max(*own));
            }
        }),
    }
}

/// The estimate for a sketch of this encoding.
pub(super) fn count(bytes: &[u8], encoding: Encoding) -> Result<u64, Corrupt> {
    let mut histogram = Histogram::new();
    match encoding {
        Encoding::Dense => (0..REGISTERS).for_each(|index| histogram.add(dense_get(bytes, index), 1)),
        Encoding::Sparse => for_each_run(bytes, |_, run| match run {
            Run::Zeros(len) => histogram.add(0, len),
            Run::Values(value, len) => histogram.add(value, len),
        })?,
    }
    Ok(histogram.cardinality())
}

/// The bytes of a dense sketch with these registers, and with the header of `bytes`.
pub(super) fn dense(bytes: &[u8], registers: &Registers) -> Vec<u8> {
    let mut dense = vec![0; DENSE_LEN];
    dense[..HEADER].copy_from_slice(&bytes[..HEADER]);
    dense[ENCODING_AT] = 0;
    registers.iter().enumerate().for_each(|(index, &value)| dense_set(&mut dense, index, value));
    dense
}

/// A sparse sketch as a dense one.
pub(super) fn to_dense(bytes: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut registers = [0; REGISTERS];
    merge(&mut registers, bytes, Encoding::Sparse)?;
    Ok(dense(bytes, &registers))
}

/// Register `index` of a dense sketch.
pub(super) fn dense_get(bytes: &[u8], index: usize) -> u8 {
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let pair = u16::from_le_bytes([byte(bytes, at), byte(bytes, at + 1)]);
    (pair >> shift) as u8 & 0x3f
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// Sets register `index` of a dense sketch.
pub(super) fn dense_set(bytes: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let pair = u16::from_le_bytes([byte(bytes, at), byte(bytes, at + 1)]);
    let pair = (pair & !(0x3f << shift) | u16::from(value & 0x3f) << shift).to_le_bytes();
    bytes.iter_mut().skip(at).zip(pair).for_each(|(to, from)| *to = from);
}

/// Whether an element would change a sketch of this encoding.
pub(super) fn would_change(bytes: &[u8], encoding: Encoding, element: &[u8]) -> Result<bool, Corrupt> {
    let (index, run) = register_of(element);
    let old = match encoding {
        Encoding::Dense => dense_get(bytes, index),
        Encoding::Sparse => match locate(bytes, index)?.run {
            Run::Zeros(_) => 0,
            Run::Values(value, _) => value,
        },
    };
    Ok(run > old)
}

/// Adds an element to a dense sketch; true if that changed it.
pub(super) fn add_to_dense(bytes: &mut [u8], element: &[u8]) -> bool {
    let (index, run) = register_of(element);
    let higher = run > dense_get(bytes, index);
    if higher {
        dense_set(bytes, index, run);
    }
    higher
}

/// Adds an element to a sketch, which becomes dense if it has to; true if that changed it.
pub(super) fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_len_max: usize) -> Result<bool, Corrupt> {
    if bytes[ENCODING_AT] == 0 {
        return Ok(add_to_dense(bytes, element));
    }
    let (index, run) = register_of(element);
    let raised = if run > SPARSE_VALUE_MAX { None } else { sparse_raise(bytes, index, run, sparse_len_max)? };
    if let Some(changed) = raised {
        return Ok(changed);
    }
    *bytes = to_dense(bytes)?;
    Ok(add_to_dense(bytes, element))
}

/// Where a register is in a sparse sketch.
struct Located {
    run: Run,
    /// Offset of the run and the bytes it takes.
    at: usize,
    size: usize,
    /// Offset of the run before, or of this one if it is the first.
    before: usize,
    /// The run's first register.
    first: usize,
}

fn locate(bytes: &[u8], index: usize) -> Result<Located, Corrupt> {
    let (mut at, mut before, mut first) = (HEADER, HEADER, 0);
    loop {
        let (run, size) = Run::at(bytes, at)?;
        if index < first + run.len() {
            return Ok(Located { run, at, size, before, first });
        }
        before = at;
        at += size;
        first += run.len();
    }
}

/// Raises a register of a sparse sketch to `value`: whether that changed anything, or `None` if the sketch must be dense first.
fn sparse_raise(bytes: &mut Vec<u8>, index: usize, value: u8, len_max: usize) -> Result<Option<bool>, Corrupt> {
    let Located { run, at, size, before, first } = locate(bytes, index)?;
    if matches!(run, Run::Values(old, _) if old >= value) {
        return Ok(Some(false));
    }
    // The run becomes: what was before the register, the register, what was behind it.
    let mut parts = Vec::with_capacity(5);
    run.with_len(index - first).encode(&mut parts);
    Run::Values(value, 1).encode(&mut parts);
    run.with_len(first + run.len() - 1 - index).encode(&mut parts);
    if parts.len() > size && bytes.len() + parts.len() - size > len_max {
        return Ok(None);
    }
    bytes.splice(at..at + size, parts);
    join_values(bytes, before);
    invalidate(bytes);
    Ok(Some(true))
}

/// Joins equal neighbours among the next few runs.
fn join_values(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Ok((run, size)) = Run::at(bytes, at) else { return };
        if let (Run::Values(value, len), Ok((Run::Values(next, more), _))) = (run, Run::at(bytes, at + 1))
            && value == next
            && len + more <= SPARSE_RUN_MAX
        {
            bytes.remove(at);
            bytes[at] = 0x80 | (value - 1) << 2 | (len + more - 1) as u8;
            continue;
        }
        at += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registers(bytes: &[u8]) -> Registers {
        let mut registers = [0; REGISTERS];
        merge(&mut registers, bytes, encoding(bytes).expect("a sketch")).expect("whole");
        registers
    }

    #[test]
    fn an_empty_sketch_is_one_long_run() {
        let bytes = empty();
        assert_eq!(&bytes[..], b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        assert_eq!((encoding(&bytes), cached(&bytes)), (Some(Encoding::Sparse), Some(0)));
        assert_eq!(count(&bytes, Encoding::Sparse), Ok(0));
        assert_eq!(encoding(&to_dense(&bytes).expect("whole")), Some(Encoding::Dense));
    }

    #[test]
    fn neighbours_of_equal_value_are_joined_up_to_four() {
        let mut bytes = empty();
        for index in [1000, 1002, 1001, 1003, 1004] {
            assert_eq!(sparse_raise(&mut bytes, index, 3, 3000), Ok(Some(true)));
        }
        let mut runs = Vec::new();
        for_each_run(&bytes, |_, run| runs.push(run)).expect("whole");
        assert_eq!(runs, [Run::Zeros(1000), Run::Values(3, 4), Run::Values(3, 1), Run::Zeros(16384 - 1005)]);
        assert_eq!(sparse_raise(&mut bytes, 1001, 3, 3000), Ok(Some(false)));
        let len = bytes.len();
        assert_eq!(sparse_raise(&mut bytes, 5, 1, len), Ok(None));
    }

    #[test]
    fn bytes_that_do_not_add_up_are_corrupt() {
        let whole = empty();
        for bytes in [&whole[..17], &whole[..16], &[&whole[..], b"\0"].concat(), &[&whole[..16], b"\x7f\xfe"].concat()]
        {
            assert_eq!(count(bytes, Encoding::Sparse), Err(Corrupt));
            assert_eq!(to_dense(bytes), Err(Corrupt));
        }
        assert_eq!(encoding(b"HYLL\x01"), None);
        assert_eq!(encoding(b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(encoding(b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0"), None);
    }

    proptest! {
        #[test]
        fn sparse_and_dense_agree_with_plain_registers(
            elements in prop::collection::vec(any::<u32>(), 0..1500),
            limit in prop::sample::select(vec![0usize, 100, 500, 3000, 16384]),
        ) {
            let (mut bytes, mut plain) = (empty(), [0u8; REGISTERS]);
            for element in &elements {
                let element = element.to_le_bytes();
                let (index, run) = register_of(&element);
                let changes = run > plain[index];
                plain[index] = run.max(plain[index]);
                let encoding = encoding(&bytes).expect("a sketch");
                prop_assert_eq!(would_change(&bytes, encoding, &element), Ok(changes));
                prop_assert_eq!(add(&mut bytes, &element, limit), Ok(changes));
            }
            prop_assert_eq!(&registers(&bytes)[..], &plain[..]);
            let encoding = encoding(&bytes).expect("a sketch");
            prop_assert_eq!(count(&bytes, encoding), Ok(plain.iter().collect::<Histogram>().cardinality()));
            prop_assert_eq!(&registers(&dense(&bytes, &plain))[..], &plain[..]);
        }

        #[test]
        fn any_bytes_are_read_and_changed_without_harm(
            tail in prop::collection::vec(any::<u8>(), 0..60),
            element in any::<u64>(),
            limit in 0usize..100,
        ) {
            let mut bytes = [&empty()[..HEADER], &tail].concat();
            let _ = count(&bytes, Encoding::Sparse);
            let _ = to_dense(&bytes);
            let _ = would_change(&bytes, Encoding::Sparse, &element.to_le_bytes());
            let _ = add(&mut bytes, &element.to_le_bytes(), limit);
            prop_assert!(bytes.len() <= DENSE_LEN);
        }
    }
}

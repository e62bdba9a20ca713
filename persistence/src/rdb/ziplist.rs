//! The packed form in which files of Redis 3.2 hold small lists, hashes and sorted sets.
//!
//! ```text
//! bytes u32 | offset of last entry u32 | entries u16 (65535: count them) | entry* | 0xff         little-endian
//! entry = length of the entry before: 1 byte, or 0xfe and u32 | encoding | payload
//! encoding = 00nnnnnn | 01nnnnnn n | 10000000 n n n n   text of n bytes, n big-endian
//!          = 0xfe i8 | 0xc0 i16 | 0xf0 i24 | 0xd0 i32 | 0xe0 i64 | 0xf1 .. 0xfd   the integer, the last 0 to 12
//! ```

use engine::encoding::item::Item;

const HEADER: usize = 10;
const END: u8 = 0xff;
/// An entry this long or longer has its length in five bytes.
const BIG: usize = 254;

/// Appends a ziplist entry by entry; takes over `out` until finished.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    last: usize,
    entries: usize,
}

impl<'o> Writer<'o> {
    /// Begins a ziplist at the end of `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Writer<'o> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        Writer { last: out.len(), out, start, entries: 0 }
    }

    /// Appends one entry.
    pub fn push(&mut self, item: Item<'_>) {
        let at = self.out.len();
        let before = at - self.last;
        if before < BIG {
            self.out.push(before as u8);
        } else {
            self.out.push(BIG as u8);
            self.out.extend_from_slice(&(before as u32).to_le_bytes());
        }
        match item {
            Item::Int(int) => self.push_int(int),
            Item::Str(bytes) => self.push_text(bytes),
        }
        self.last = at;
        self.entries += 1;
    }

    fn push_int(&mut self, int: i64) {
        let (head, width) = match int {
            0..=12 => (0xf1 + int as u8, 0),
            -0x80..=0x7f => (0xfe, 1),
            -0x8000..=0x7fff => (0xc0, 2),
            -0x80_0000..=0x7f_ffff => (0xf0, 3),
            -0x8000_0000..=0x7fff_ffff => (0xd0, 4),
            _ => (0xe0, 8),
        };
        self.out.push(head);
        self.out.extend_from_slice(&int.to_le_bytes()[..width]);
    }

    fn push_text(&mut self, bytes: &[u8]) {
        match bytes.len() {
            len @ 0..0x40 => self.out.push(len as u8),
            len @ 0x40..0x4000 => self.out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
            len => {
                self.out.push(0x80);
                self.out.extend_from_slice(&(len as u32).to_be_bytes());
            }
        }
        self.out.extend_from_slice(bytes);
    }

    /// Ends the ziplist.
    pub fn finish(self) {
        self.out.push(END);
        let bytes = (self.out.len() - self.start) as u32;
        let last = (self.last - self.start) as u32;
        let entries = self.entries.min(usize::from(u16::MAX)) as u16;
        let header = &mut self.out[self.start..self.start + HEADER];
        header[..4].copy_from_slice(&bytes.to_le_bytes());
        header[4..8].copy_from_slice(&last.to_le_bytes());
        header[8..].copy_from_slice(&entries.to_le_bytes());
    }
}

/// Gives the entries of `blob` to `take`; `None`, perhaps after some entries, if it is no ziplist. Every length is checked,
/// and that they all fit together; what an entry says of the one before is not: nobody reads it, and 3.2 writes it in five
/// bytes now and then where one would do.
pub fn each<'b>(blob: &'b [u8], mut take: impl FnMut(Item<'b>)) -> Option<()> {
    let word = |at: usize| Some(u32::from_le_bytes(*blob.get(at..at + 4)?.first_chunk()?) as usize);
    if word(0)? != blob.len() || blob.len() <= HEADER || blob.last() != Some(&END) {
        return None;
    }
    let count = usize::from(u16::from_le_bytes([*blob.get(8)?, *blob.get(9)?]));
    let (mut at, end, mut seen) = (HEADER, blob.len() - 1, 0);
    while at < end {
        at += if *blob.get(at)? < BIG as u8 { 1 } else { 5 };
        let (item, len) = entry(blob.get(at..end)?)?;
        take(item);
        seen += 1;
        at += len;
    }
    let counted = count == usize::from(u16::MAX) || count == seen;
    (at == end && counted).then_some(())
}

/// The entry that begins with its encoding, and its length from there.
fn entry(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let head = *bytes.first()?;
    let text = |from: usize, len: usize| {
        let text = bytes.get(from..from.checked_add(len)?)?;
        Some((Item::parse(text), from + len))
    };
    let int = |width: usize| {
        let mut wide = [0; 8];
        wide[8 - width..].copy_from_slice(bytes.get(1..1 + width)?);
        // The value stands in the top bytes: shifting down extends the sign.
        Some((Item::Int(i64::from_le_bytes(wide) >> (64 - 8 * width)), 1 + width))
    };
    match head {
        0..0x40 => text(1, usize::from(head)),
        0x40..0x80 => text(2, usize::from(head & 0x3f) << 8 | usize::from(*bytes.get(1)?)),
        0x80 => text(5, u32::from_be_bytes(*bytes.get(1..5)?.first_chunk()?) as usize),
        0xfe => int(1),
        0xc0 => int(2),
        0xf0 => int(3),
        0xd0 => int(4),
        0xe0 => int(8),
        0xf1..=0xfd => Some((Item::Int(i64::from(head - 0xf1)), 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut blob = b"before".to_vec();
        let mut writer = Writer::new(&mut blob);
        elements.iter().for_each(|element| writer.push(Item::parse(element)));
        writer.finish();
        blob.split_off(6)
    }

    #[test]
    fn the_bytes_are_those_of_the_original() {
        // RPUSH of "2", "a" and 300, as a 3.2 server saves it.
        let blob = write(&[b"2".to_vec(), b"a".to_vec(), b"300".to_vec()]);
        let expected = b"\x14\0\0\0\x0f\0\0\0\x03\0\0\xf3\x02\x01a\x03\xc0\x2c\x01\xff";
        assert_eq!(blob, expected);
    }

    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<i64>().prop_flat_map(|n| (0u32..64).prop_map(move |shift| (n >> shift).to_string().into_bytes())),
            prop::collection::vec(any::<u8>(), 0..80),
            (240usize..260, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
            Just(vec![b'x'; 20_000]),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(elements in prop::collection::vec(element(), 0..30)) {
            let blob = write(&elements);
            let mut read = Vec::new();
            prop_assert_eq!(each(&blob, |item| read.push(item.to_vec())), Some(()));
            prop_assert_eq!(read, elements);
        }

        #[test]
        fn damage_is_found_or_harmless(elements in prop::collection::vec(element(), 0..5), at: usize, to: u8, cut: usize) {
            let mut blob = write(&elements);
            let at = at % blob.len();
            blob[at] = to;
            let _ = each(&blob, |_| ());
            prop_assert!(each(&blob[..cut % blob.len()], |_| ()).is_none());
        }
    }
}

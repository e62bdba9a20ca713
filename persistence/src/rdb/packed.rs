//! Packed forms that only other versions write: the zipmap of Redis 2, the listpack of Redis 7.
//!
//! ```text
//! zipmap   = entries u8 (254: count them) | (len | field | len | free u8 | value | free bytes)* | 0xff
//!            len is one byte, or 0xfe and u32, little-endian
//! listpack = bytes u32 | entries u16 (65535: count them) | (encoding | payload | length backwards)* | 0xff    little-endian
//!            encoding 0nnnnnnn: 0 to 127      10nnnnnn: text      110nnnnn n: 13 bits, signed      1110nnnn n: text
//!            0xf0 u32: text      0xf1 i16      0xf2 i24      0xf3 i32      0xf4 i64
//! ```

use engine::encoding::item::Item;

const END: u8 = 0xff;

/// Gives the entries of a listpack to `take`; `None`, perhaps after some entries, if it is none.
pub fn listpack<'b>(blob: &'b [u8], mut take: impl FnMut(Item<'b>)) -> Option<()> {
    const HEADER: usize = 6;
    let bytes = u32::from_le_bytes(*blob.first_chunk()?) as usize;
    let count = usize::from(u16::from_le_bytes([*blob.get(4)?, *blob.get(5)?]));
    if bytes != blob.len() || blob.len() <= HEADER || blob.last() != Some(&END) {
        return None;
    }
    let (mut at, end, mut seen) = (HEADER, blob.len() - 1, 0);
    while at < end {
        let (item, len) = listpack_entry(blob.get(at..end)?)?;
        take(item);
        seen += 1;
        at += len + backwards_len(len);
    }
    let counted = count == usize::from(u16::MAX) || count == seen;
    (at == end && counted).then_some(())
}

/// Bytes that the length of an entry of `len` bytes takes behind it.
fn backwards_len(len: usize) -> usize {
    match len {
        0..128 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The entry at the front, and its length without the one backwards.
fn listpack_entry(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
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
    let twelve = || Some(i64::from(head & 0x1f) << 8 | i64::from(*bytes.get(1)?));
    match head {
        0..0x80 => Some((Item::Int(i64::from(head)), 1)),
        0x80..0xc0 => text(1, usize::from(head & 0x3f)),
        0xc0..0xe0 => Some((Item::Int(twelve()? << 51 >> 51), 2)),
        0xe0..0xf0 => text(2, twelve()? as usize & 0xfff),
        0xf0 => text(5, u32::from_le_bytes(*bytes.get(1..5)?.first_chunk()?) as usize),
        0xf1 => int(2),
        0xf2 => int(3),
        0xf3 => int(4),
        0xf4 => int(8),
        _ => None,
    }
}

/// Gives the fields and values of a zipmap in turns to `take`; `None`, perhaps after some of them, if it is none.
pub fn zipmap<'b>(blob: &'b [u8], mut take: impl FnMut(Item<'b>)) -> Option<()> {
    let mut rest = blob.get(1..)?;
    while *rest.first()? != END {
        let (len, after) = zipmap_len(rest)?;
        let (field, after) = after.split_at_checked(len)?;
        let (len, after) = zipmap_len(after)?;
        let (&free, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(len)?;
        rest = after.get(usize::from(free)..)?;
        take(Item::parse(field));
        take(Item::parse(value));
    }
    (rest.len() == 1).then_some(())
}

fn zipmap_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    if head < 254 {
        return Some((usize::from(head), rest));
    }
    let (len, rest) = rest.split_first_chunk()?;
    (head == 254).then_some((u32::from_le_bytes(*len) as usize, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_listpack_of_redis_7_is_read() {
        // 1, -1, "ab", 300, -4097, 70000, 2^40 and a text of 70 bytes, packed by hand after the format's description.
        let mut blob = vec![0, 0, 0, 0, 8, 0, 1, 1, 0xdf, 0xff, 2, 0x82, b'a', b'b', 3, 0xc1, 0x2c, 2];
        blob.extend([0xf1, 0xff, 0xef, 3, 0xf2, 0x70, 0x11, 1, 4, 0xf4, 0, 0, 0, 0, 0, 1, 0, 0, 9]);
        blob.extend([0xe0, 70]);
        blob.extend([b'x'; 70]);
        blob.extend([72, END]);
        blob[0] = blob.len() as u8;
        let mut texts = Vec::new();
        listpack(&blob, |item| texts.push(item.to_vec())).expect("whole");
        let long = [b'x'; 70];
        let expected: [&[u8]; 8] = [b"1", b"-1", b"ab", b"300", b"-4097", b"70000", b"1099511627776", &long];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_zipmap_of_redis_2_is_read() {
        let texts = |blob| {
            let mut texts = Vec::new();
            zipmap(blob, |item| texts.push(item.to_vec())).map(|()| texts)
        };
        let whole = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world##\xff";
        assert_eq!(
            texts(whole).expect("whole"),
            [b"foo".to_vec(), b"bar".to_vec(), b"hello".to_vec(), b"world".to_vec()]
        );
        assert!(texts(&whole[..whole.len() - 1]).is_none());
        assert!(texts(b"\x01\x03foo\xff").is_none());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_read_but_never_overrun(mut bytes in prop::collection::vec(any::<u8>(), 7..60)) {
            let _ = zipmap(&bytes, |_| ());
            // With a valid frame, so that the entries are looked at.
            let len = bytes.len();
            bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
            bytes[4..6].copy_from_slice(&[0xff, 0xff]);
            bytes[len - 1] = END;
            let _ = listpack(&bytes, |_| ());
        }
    }
}

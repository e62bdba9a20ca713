//! Files of the zone database (`/etc/localtime`, `/usr/share/zoneinfo`), as RFC 8536 describes them.
//!
//! A file of version 2 or later holds everything twice, first with 32-bit times; only the second part is used then.

use super::local_time::Zone;
use super::posix_tz::Rule;

const HEADER_BYTES: usize = 44;

/// The zone that a file describes; `None` if it is no such file or cut short.
pub(super) fn parse(file: &[u8]) -> Option<Zone> {
    let header = Header::parse(file)?;
    if header.version < b'2' {
        return Some(header.block(file.get(HEADER_BYTES..)?, 4)?.0);
    }
    let file = file.get(HEADER_BYTES.checked_add(header.block_bytes(4))?..)?;
    let (mut zone, after) = Header::parse(file)?.block(file.get(HEADER_BYTES..)?, 8)?;
    let rule = after.strip_prefix(b"\n").and_then(|rule| rule.split(|&byte| byte == b'\n').next());
    zone.rule = rule.and_then(|rule| Rule::parse(std::str::from_utf8(rule).ok()?));
    Some(zone)
}

/// The counts at the head of a block.
struct Header {
    version: u8,
    utc_indicators: usize,
    standard_indicators: usize,
    leap_seconds: usize,
    changes: usize,
    types: usize,
    name_bytes: usize,
}

impl Header {
    fn parse(file: &[u8]) -> Option<Self> {
        let rest = file.strip_prefix(b"TZif")?;
        let version = *rest.first()?;
        let (counts, _) = rest.get(16..40)?.as_chunks::<4>();
        let &[utc_indicators, standard_indicators, leap_seconds, changes, types, name_bytes] =
            <&[[u8; 4]; 6]>::try_from(counts).ok()?;
        let count = |bytes: [u8; 4]| usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
        Some(Header {
            version,
            utc_indicators: count(utc_indicators),
            standard_indicators: count(standard_indicators),
            leap_seconds: count(leap_seconds),
            changes: count(changes),
            types: count(types),
            name_bytes: count(name_bytes),
        })
    }

    /// The length of the block behind the header, whose times have so many bytes.
    fn block_bytes(&self, time_bytes: usize) -> usize {
        // Counts are of 32 bits, so no sum of a few of them overflows 64.
        self.changes * (time_bytes + 1)
            + self.types * 6
            + self.name_bytes
            + self.leap_seconds * (time_bytes + 4)
            + self.standard_indicators
            + self.utc_indicators
    }

    /// Reads the block; also returns what follows it.
    fn block<'a>(&self, block: &'a [u8], time_bytes: usize) -> Option<(Zone, &'a [u8])> {
        let after = block.get(self.block_bytes(time_bytes)..)?;
        let (times, rest) = block.split_at_checked(self.changes * time_bytes)?;
        let (type_of, rest) = rest.split_at_checked(self.changes)?;
        let (types, _) = rest.get(..self.types * 6)?.as_chunks::<6>();
        let offset_of =
            |index: usize| types.get(index).map(|&[a, b, c, d, ..]| i64::from(i32::from_be_bytes([a, b, c, d])));
        let mut changes = Vec::with_capacity(self.changes);
        for (time, &index) in times.chunks_exact(time_bytes).zip(type_of) {
            let at = match time_bytes {
                8 => i64::from_be_bytes(time.try_into().ok()?),
                _ => i64::from(i32::from_be_bytes(time.try_into().ok()?)),
            };
            changes.push((at, offset_of(index.into())?));
        }
        Some((Zone { changes, first_offset_s: offset_of(0)?, rule: None }, after))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A block: two types (0 s and 3600 s), changes at these moments to types 1, 0, 1, ...
    fn block(version: u8, time_bytes: usize, moments: &[i64]) -> Vec<u8> {
        let mut file = [b"TZif".as_slice(), &[version], &[0; 15]].concat();
        for count in [1, 1, 0, u32::try_from(moments.len()).unwrap(), 2, 4] {
            file.extend(count.to_be_bytes());
        }
        for moment in moments {
            file.extend(&moment.to_be_bytes()[8 - time_bytes..]);
        }
        file.extend((0..moments.len()).map(|index| 1 - index as u8 % 2));
        for offset in [0i32, 3600] {
            file.extend(offset.to_be_bytes());
            file.extend([0, 0]);
        }
        file.extend(b"ABC\0\0\0");
        file
    }

    #[test]
    fn the_first_version_has_short_times_and_no_rule() {
        let zone = parse(&block(0, 4, &[-10, 20])).unwrap();
        assert_eq!(zone, Zone { changes: vec![(-10, 3600), (20, 0)], first_offset_s: 0, rule: None });
    }

    #[test]
    fn later_versions_have_long_times_and_a_rule_behind() {
        let file = [block(b'2', 4, &[1, 2, 3]), block(b'2', 8, &[-1 << 40, 1 << 40]), b"\nX-2\n".to_vec()].concat();
        let zone = parse(&file).unwrap();
        assert_eq!(zone.changes, [(-1 << 40, 3600), (1 << 40, 0)]);
        assert_eq!(zone.offset_s(1 << 41), 7200);
        for len in 0..file.len() - 5 {
            assert_eq!(parse(&file[..len]), None, "cut at {len}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_parsing_panic(
            moments in prop::collection::vec(any::<i64>(), 0..4),
            at in 0usize..400,
            byte: u8,
        ) {
            let mut file = [block(b'2', 4, &moments), block(b'2', 8, &moments), b"\nX-2\n".to_vec()].concat();
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            let _ = parse(&file);
        }
    }
}

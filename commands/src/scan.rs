//! What SCAN, SSCAN, HSCAN and ZSCAN have in common: cursor, options, and how far one call walks.

use crate::args::Args;
use crate::error::Error;
use engine::encoding::item::Item;
use engine::raw::entry::Kind;
use resp::Out;
use resp::errors;

/// COUNT unless given.
const COUNT: usize = 10;

/// MATCH and COUNT, and TYPE where it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<&'a [u8]>,
}

/// The cursor that a client sent.
pub fn cursor(text: &[u8]) -> Result<u64, Error> {
    resp::parse_cursor(text).ok_or(Error::Text(errors::INVALID_CURSOR))
}

/// The reply for a key that is not there.
pub fn reply_empty(out: &mut Out) {
    reply_header(out, 0, 0);
}

/// The next cursor, and the header of an array of `len` elements that follow.
pub fn reply_header(out: &mut Out, cursor: u64, len: usize) {
    out.array(2);
    out.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    out.array(len);
}

impl<'a> ScanOptions<'a> {
    /// The options from argument `from` on.
    pub fn parse(args: Args<'a>, from: usize) -> Result<Self, Error> {
        Self::parse_all(args, from, false)
    }

    /// As [`ScanOptions::parse`], with TYPE among the options.
    pub fn parse_with_type(args: Args<'a>, from: usize) -> Result<Self, Error> {
        Self::parse_all(args, from, true)
    }

    fn parse_all(args: Args<'a>, from: usize, with_type: bool) -> Result<Self, Error> {
        let mut options = ScanOptions { pattern: None, count: COUNT, kind: None };
        for i in (from..args.len()).step_by(2) {
            let Some(value) = args.get(i + 1) else { return Err(Error::Text(errors::SYNTAX)) };
            if args.is(i, "count") {
                let count = resp::parse_i64(value).ok_or(Error::Text(errors::NOT_AN_INTEGER))?;
                options.count =
                    usize::try_from(count).ok().filter(|&count| count > 0).ok_or(Error::Text(errors::SYNTAX))?;
            } else if args.is(i, "match") {
                options.pattern = (value != b"*").then_some(value);
            } else if with_type && args.is(i, "type") {
                options.kind = Some(value);
            } else {
                return Err(Error::Text(errors::SYNTAX));
            }
        }
        Ok(options)
    }

    /// Whether MATCH lets `text` through.
    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| resp::glob_match(pattern, text, false))
    }

    /// Whether TYPE lets a value of this kind through.
    #[inline]
    pub fn matches_type(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|name| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }

    /// Whether MATCH lets `item` through.
    #[inline]
    pub fn matches_item(&self, item: Item<'_>) -> bool {
        self.pattern.is_none() || item.with_bytes(|text| self.matches(text))
    }

    /// What one call finds in a value: `scan` visits some elements from a cursor on (name and the rest) and returns the next
    /// one. Returns where to go on, and those whose names MATCH lets through.
    pub fn collect<'v, T>(
        &self,
        cursor: u64,
        mut scan: impl FnMut(u64, &mut dyn FnMut(Item<'v>, T)) -> u64,
    ) -> (u64, Vec<(Item<'v>, T)>) {
        let mut found = Vec::new();
        let next = self.walk(cursor, |cursor| {
            let mut seen = 0;
            let next = scan(cursor, &mut |name, rest| {
                seen += 1;
                if self.matches_item(name) {
                    found.push((name, rest));
                }
            });
            (next, seen)
        });
        (next, found)
    }

    /// Walks from `cursor` until COUNT elements were seen, or ten times as many steps taken, and returns where to go on.
    /// `step` makes one step from a cursor: it returns the next one, 0 at the end, and how many elements it saw.
    pub fn walk(&self, mut cursor: u64, mut step: impl FnMut(u64) -> (u64, usize)) -> u64 {
        let mut seen = 0;
        for _ in 0..=self.count.saturating_mul(10) {
            let (next, more) = step(cursor);
            cursor = next;
            seen += more;
            if cursor == 0 || seen >= self.count {
                break;
            }
        }
        cursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resp::Arg;

    fn parse<'a>(words: &[&'a str], buf: &'a mut String) -> Result<ScanOptions<'a>, Error> {
        let mut ranges = Vec::new();
        for word in words {
            ranges.push(Arg { start: buf.len() as u32, len: word.len() as u32 });
            buf.push_str(word);
        }
        // The ranges live only here; the options borrow from the buffer alone.
        ScanOptions::parse(Args::new(buf.as_bytes(), ranges.leak()), 0)
    }

    #[test]
    fn options_may_stand_in_any_order_and_case_and_the_last_one_counts() {
        let mut buf = String::new();
        let options = parse(&["COUNT", "3", "match", "a*", "count", "7"], &mut buf).unwrap();
        assert_eq!(options.count, 7);
        assert!(options.matches(b"ab") && !options.matches(b"b"));
        assert!(options.matches_item(Item::Str(b"a")) && !options.matches_item(Item::Int(5)));
        assert!(parse(&["match", "*"], &mut String::new()).unwrap().matches(b"anything"));
    }

    #[test]
    fn bad_options_are_refused_as_redis_does() {
        for (words, error) in [
            (&["count"][..], errors::SYNTAX),
            (&["count", "0"], errors::SYNTAX),
            (&["count", "-1"], errors::SYNTAX),
            (&["count", "x"], errors::NOT_AN_INTEGER),
            (&["type", "set"], errors::SYNTAX),
            (&["match", "a", "b"], errors::SYNTAX),
        ] {
            assert_eq!(parse(words, &mut String::new()), Err(Error::Text(error)), "{words:?}");
        }
    }

    #[test]
    fn a_walk_ends_with_the_table_the_count_or_the_patience() {
        let mut buf = String::new();
        let options = parse(&["count", "5"], &mut buf).unwrap();
        assert_eq!(options.walk(0, |cursor| (cursor + 1, 2)), 3);
        assert_eq!(options.walk(0, |cursor| (if cursor == 1 { 0 } else { 1 }, 2)), 0);
        assert_eq!(options.walk(0, |cursor| (cursor + 1, 0)), 51);
    }

    #[test]
    fn a_cursor_is_a_number_without_blanks() {
        assert_eq!(cursor(b"17"), Ok(17));
        for text in [" 1", "1 ", "foobar", "18446744073709551616"] {
            assert!(cursor(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}

//! Building replies: RESP version 2 appended to one growing buffer.
//!
//! Everything a command replies goes through here, so headers of small numbers, which are nearly all, are written without
//! formatting. Whoever sends the buffer decides when it is too long; nothing here blocks or refuses.

use crate::float::format_f64_17g;

/// A reply buffer.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
}

/// An array header that is still to be filled in, from [`Out::deferred_array`].
#[derive(Debug)]
#[must_use = "an array without its header is no reply"]
pub struct Deferred {
    at: usize,
}

/// The header of an array of up to nine elements, so that only longer ones move the elements when their number is known.
const DEFERRED: &[u8] = b"*0\r\n";

impl Out {
    /// An empty buffer.
    pub const fn new() -> Out {
        Out { bytes: Vec::new() }
    }

    /// An empty buffer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Out {
        Out { bytes: Vec::with_capacity(bytes) }
    }

    // === Replies ===

    /// A status: `+text`. The text must have no line end in it.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.bytes.reserve(text.len() + 3);
        self.bytes.push(b'+');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A status of any bytes: line ends within are replaced by blanks.
    pub fn simple_line(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// A string of any bytes.
    #[inline]
    pub fn bulk(&mut self, text: &[u8]) {
        self.bytes.reserve(text.len() + 16);
        self.header(b'$', text.len() as u64);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A string of any bytes, or none.
    #[inline]
    pub fn bulk_or_null(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => self.bulk(text),
            None => self.null_bulk(),
        }
    }

    /// The header of a string whose `len` bytes and line end are appended by [`Out::extend_raw`].
    #[inline]
    pub fn bulk_header(&mut self, len: usize) {
        self.header(b'$', len as u64);
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.header(b':', value),
            Err(_) => {
                self.bytes.extend_from_slice(b":-");
                self.number(value.unsigned_abs());
            }
        }
    }

    /// No string.
    #[inline]
    pub fn null_bulk(&mut self) {
        self.bytes.extend_from_slice(b"$-1\r\n");
    }

    /// No array.
    #[inline]
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(b"*-1\r\n");
    }

    /// The header of an array; its `len` elements follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as u64);
    }

    /// An error with its code, from [`crate::errors`] or `"ERR ..."`: `-text`.
    #[inline]
    pub fn error(&mut self, text: &str) {
        self.error_line(text.as_bytes());
    }

    /// An error with its code, of any bytes: line ends within are replaced by blanks.
    #[cold]
    pub fn error_line(&mut self, text: &[u8]) {
        self.line(b'-', text);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.reserve(text.len() + 3);
        self.bytes.push(kind);
        let in_line = |&byte: &u8| {
            if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }
        };
        self.bytes.extend(text.iter().map(in_line));
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A float as a string, printed as scores are: `%.17g`, `inf`, `-inf`.
    pub fn double_bulk(&mut self, value: f64) {
        self.bulk_of(|text| format_f64_17g(value, text));
    }

    /// An integer as a string.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A string that `write` appends and that is short, under ten bytes best: its header is written afterwards.
    pub fn bulk_of(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(b"$0\r\n");
        let start = self.bytes.len();
        write(&mut self.bytes);
        let len = self.bytes.len() - start;
        self.fill_in(at, b'$', len);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The header of an array whose length is not yet known. Give it to [`Out::finish_array`] when the elements are
    /// there; of nested ones the inner first.
    #[inline]
    pub fn deferred_array(&mut self) -> Deferred {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(DEFERRED);
        Deferred { at }
    }

    /// Fills in the number of elements that followed. With ten or more the elements are moved a few bytes up, which is
    /// cheaper than collecting them elsewhere first.
    #[inline]
    pub fn finish_array(&mut self, deferred: Deferred, len: usize) {
        self.fill_in(deferred.at, b'*', len);
    }

    /// Replaces the four-byte header at `at`.
    #[inline]
    fn fill_in(&mut self, at: usize, kind: u8, len: usize) {
        debug_assert_eq!(self.bytes.get(at..at + 4), Some(&[kind, b'0', b'\r', b'\n'][..]));
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(len).as_bytes();
        if let ([digit], Some(place)) = (digits, self.bytes.get_mut(at + 1)) {
            *place = *digit;
        } else if at + 2 <= self.bytes.len() {
            self.bytes.splice(at + 1..at + 2, digits.iter().copied());
        }
    }

    /// Kind, number, line end.
    #[inline]
    fn header(&mut self, kind: u8, value: u64) {
        match value {
            0..10 => self.bytes.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']),
            10..100 => {
                let (tens, ones) = (b'0' + (value / 10) as u8, b'0' + (value % 10) as u8);
                self.bytes.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
            }
            _ => {
                self.bytes.push(kind);
                self.number(value);
            }
        }
    }

    fn number(&mut self, value: u64) {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    // === The buffer ===

    /// Bytes in the buffer.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is in it.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Drops what was appended after it was `len` long.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Drops everything, keeps the room.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Drops the first `count` bytes: they have been sent.
    pub fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
    }

    /// Appends bytes that are already in protocol form.
    #[inline]
    pub fn extend_raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for `bytes` more.
    #[inline]
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Bytes it has room for.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives room over `bytes` back, as far as it is unused.
    pub fn shrink(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    /// The buffer itself, for writers that append in place.
    #[inline]
    pub fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is in it, as a vector.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }
}

impl From<Vec<u8>> for Out {
    /// Goes on behind `bytes`.
    fn from(bytes: Vec<u8>) -> Out {
        Out { bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Out)) -> String {
        let mut out = Out::new();
        write(&mut out);
        String::from_utf8(out.into_vec()).unwrap()
    }

    #[test]
    fn every_kind_of_reply() {
        assert_eq!(written(Out::ok), "+OK\r\n");
        assert_eq!(written(|out| out.simple("PONG")), "+PONG\r\n");
        assert_eq!(written(|out| out.bulk(b"")), "$0\r\n\r\n");
        assert_eq!(written(|out| out.bulk(b"twelve bytes")), "$12\r\ntwelve bytes\r\n");
        assert_eq!(written(|out| out.bulk_or_null(None)), "$-1\r\n");
        assert_eq!(written(Out::null_array), "*-1\r\n");
        assert_eq!(written(|out| out.array(10)), "*10\r\n");
        assert_eq!(written(|out| out.error("ERR no\r\nsuch")), "-ERR no  such\r\n");
        assert_eq!(written(|out| out.double_bulk(0.1)), "$19\r\n0.10000000000000001\r\n");
        assert_eq!(written(|out| out.double_bulk(3.0)), "$1\r\n3\r\n");
        assert_eq!(written(|out| out.double_bulk(f64::NEG_INFINITY)), "$4\r\n-inf\r\n");
        assert_eq!(written(|out| out.bulk_int(-12)), "$3\r\n-12\r\n");
    }

    #[test]
    fn deferred_arrays_nest() {
        let mut out = Out::new();
        out.int(1);
        let outer = out.deferred_array();
        let inner = out.deferred_array();
        for n in 0..11 {
            out.int(n);
        }
        out.finish_array(inner, 11);
        out.finish_array(outer, 1);
        let elements: String = (0..11).map(|n| format!(":{n}\r\n")).collect();
        assert_eq!(out.as_slice(), format!(":1\r\n*1\r\n*11\r\n{elements}").as_bytes());
    }

    #[test]
    fn what_was_sent_goes_away() {
        let mut out = Out::with_capacity(100);
        out.ok();
        out.int(7);
        out.consume(5);
        assert_eq!(out.as_slice(), b":7\r\n");
        out.truncate(2);
        out.extend_raw(b"8\r\n");
        assert_eq!(out.as_slice(), b":78\r\n");
        out.consume(99);
        assert!(out.is_empty() && out.capacity() >= 100);
        out.shrink(0);
        assert_eq!(out.capacity(), 0);
    }

    proptest! {
        #[test]
        fn integers_print_as_they_are(value: i64, small in -1000i64..1000) {
            prop_assert_eq!(written(|out| out.int(value)), format!(":{value}\r\n"));
            prop_assert_eq!(written(|out| out.int(small)), format!(":{small}\r\n"));
        }

        #[test]
        fn deferred_headers_equal_known_ones(len in 0usize..100_000) {
            let known = written(|out| out.array(len));
            let filled = written(|out| { let header = out.deferred_array(); out.finish_array(header, len) });
            prop_assert_eq!(known, filled);
        }
    }
}

//! The arguments of one request: ranges into the buffer in which it arrived, so nothing is copied.

use resp::Arg;

/// Arguments, the command's name first.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    ranges: &'a [Arg],
}

impl<'a> Args<'a> {
    /// `ranges` of `buf`.
    pub fn new(buf: &'a [u8], ranges: &'a [Arg]) -> Self {
        Args { buf, ranges }
    }

    /// Number of arguments, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `i`; empty if there is none, which arity has ruled out for those a command must have.
    #[inline]
    pub fn at(&self, i: usize) -> &'a [u8] {
        self.get(i).unwrap_or_default()
    }

    /// Argument `i`, if there is one.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.ranges.get(i).map(|range| range.of(self.buf))
    }

    /// Bytes from the beginning of the first argument to the end of the last.
    #[inline]
    pub fn span(&self) -> usize {
        let ends = self.ranges.first().zip(self.ranges.last());
        ends.map_or(0, |(first, last)| (last.start as usize + last.len as usize).saturating_sub(first.start as usize))
    }

    /// Whether argument `i` is this word in any case.
    #[inline]
    pub fn is(&self, i: usize, word: &str) -> bool {
        self.get(i).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The arguments from `i` on.
    pub fn from(&self, i: usize) -> Args<'a> {
        Args { buf: self.buf, ranges: self.ranges.get(i..).unwrap_or_default() }
    }

    /// All arguments.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let buf = self.buf;
        self.ranges.iter().map(move |range| range.of(buf))
    }

    /// The arguments as a slice, for building records.
    pub fn to_vec(&self) -> Vec<&'a [u8]> {
        self.iter().collect()
    }
}

impl resp::ArgList for Args<'_> {
    fn count(&self) -> usize {
        self.ranges.len()
    }

    fn arg(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

//! A transaction on its way in: what its requests say, kept until EXEC comes.
//!
//! Its bytes are kept as they came, which is how they go into the log, and its words are ranges of them: nothing is copied
//! to be carried out.

use resp::Arg;

/// Bytes of buffers that are kept for the next one.
const KEPT_BYTES: usize = 64 * 1024;

/// The requests of a transaction.
#[derive(Debug, Default)]
pub struct Unit {
    bytes: Vec<u8>,
    words: Vec<Arg>,
    requests: Vec<Place>,
}

/// Where a request lies: its first byte, and its first word.
#[derive(Clone, Copy, Debug)]
struct Place {
    byte: usize,
    word: usize,
}

impl Unit {
    /// Nothing more is to be kept of it, nor much memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.words.clear();
        self.requests.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.words.shrink_to(KEPT_BYTES / size_of::<Arg>());
        self.requests.shrink_to(KEPT_BYTES / size_of::<Place>());
    }

    /// A request has come, whose words are these ranges of its bytes.
    pub fn push(&mut self, bytes: &[u8], words: &[Arg]) {
        self.requests.push(Place { byte: self.bytes.len(), word: self.words.len() });
        self.bytes.extend_from_slice(bytes);
        self.words.extend_from_slice(words);
    }

    /// The last request has not come after all.
    pub fn pop(&mut self) {
        if let Some(last) = self.requests.pop() {
            self.bytes.truncate(last.byte);
            self.words.truncate(last.word);
        }
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether it has no request.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Request number `at`: bytes, and ranges of them that are its words. No words if there is none.
    pub fn request(&self, at: usize) -> (&[u8], &[Arg]) {
        let Some(place) = self.requests.get(at) else { return (&[], &[]) };
        let until = self.requests.get(at + 1).map_or(self.words.len(), |next| next.word);
        let bytes = self.bytes.get(place.byte..).unwrap_or_default();
        (bytes, self.words.get(place.word..until).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_where_they_lie() {
        let mut unit = Unit::default();
        let words = |unit: &Unit, at: usize| {
            let (bytes, words) = unit.request(at);
            words.iter().map(|word| String::from_utf8_lossy(word.of(bytes)).into_owned()).collect::<Vec<_>>()
        };
        unit.push(b"multi", &[Arg { start: 0, len: 5 }]);
        unit.push(b" set a", &[Arg { start: 1, len: 3 }, Arg { start: 5, len: 1 }]);
        unit.push(b" exec", &[Arg { start: 1, len: 4 }]);
        assert_eq!(words(&unit, 1), ["set", "a"]);
        assert_eq!(words(&unit, 2), ["exec"]);
        unit.pop();
        assert_eq!((unit.bytes(), unit.len(), words(&unit, 2).len()), (&b"multi set a"[..], 2, 0));
        unit.push(b"x", &[Arg { start: 0, len: 1 }]);
        assert_eq!((words(&unit, 1).len(), words(&unit, 2)), (2, vec!["x".to_owned()]));
        unit.clear();
        assert!(unit.is_empty() && unit.bytes().is_empty());
    }
}

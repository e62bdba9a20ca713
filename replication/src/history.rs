//! Whose stream an offset belongs to: the id of the history a server is in, and of the one it comes from.
//!
//! Two servers agree on an offset only if they agree on the id. A promoted replica begins a history of its own, and
//! still answers for the offsets of the one before up to the point where it left it, so that its siblings need no full
//! sync: that is what Redis 4 calls PSYNC2.

use std::fmt;

/// Length of an id on the wire.
pub const ID_LEN: usize = 40;

/// The name of a history: 40 characters, usually hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReplId([u8; ID_LEN]);

impl ReplId {
    /// Reads one; `None` unless it is 40 letters and digits.
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        let bytes: [u8; ID_LEN] = text.try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(ReplId(bytes))
    }

    /// One made of random numbers.
    pub fn from_random(random: [u64; 3]) -> ReplId {
        let digits = random.map(|n| format!("{n:016x}")).concat();
        let mut bytes = [b'0'; ID_LEN];
        bytes.iter_mut().zip(digits.bytes()).for_each(|(to, from)| *to = from);
        ReplId(bytes)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The history a server is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Its id.
    pub id: ReplId,
    /// The one before, and the offset up to which this server's stream is that one's too.
    pub previous: Option<(ReplId, u64)>,
    /// Whether it was this server that gave it its id.
    begun_here: bool,
}

impl History {
    /// A first history.
    pub fn new(id: ReplId) -> History {
        History { id, previous: None, begun_here: true }
    }

    /// Goes on under an id of its own; up to `end` the stream was the same.
    pub fn branch(&mut self, id: ReplId, end: u64) {
        self.go_on(id, end, true);
    }

    /// Goes on under the id that the primary gives; up to `end` the stream was the same.
    pub fn learn(&mut self, id: ReplId, end: u64) {
        self.go_on(id, end, false);
    }

    fn go_on(&mut self, id: ReplId, end: u64, begun_here: bool) {
        if id != self.id {
            *self = History { id, previous: Some((self.id, end)), begun_here };
        }
    }

    /// Another stream from here on: no offset of before means anything.
    pub fn renew(&mut self, id: ReplId) {
        *self = History::new(id);
    }

    /// The id under which most others know what was reached at `end`: the one before, if nothing has come yet under a new
    /// one of our own. So a primary that was restarted, and failed over meanwhile, finds its place with its successor. An
    /// id that the primary gave it knows in any case, and perhaps not what we called ourselves before.
    pub fn known_as(&self, end: u64) -> ReplId {
        let before = self.previous.filter(|(_, until)| self.begun_here && *until == end);
        before.map_or(self.id, |(id, _)| id)
    }

    /// Whether an offset reached under `id` is a place in this server's stream.
    pub fn covers(&self, id: &[u8], offset: u64) -> bool {
        let same = |known: &ReplId| known.0.eq_ignore_ascii_case(id);
        same(&self.id) || self.previous.is_some_and(|(previous, until)| same(&previous) && offset <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: char) -> ReplId {
        ReplId::parse(letter.to_string().repeat(ID_LEN).as_bytes()).expect("40 letters")
    }

    #[test]
    fn a_promoted_replica_answers_for_the_old_history_up_to_where_it_left_it() {
        let mut history = History::new(id('a'));
        history.branch(id('b'), 100);
        assert!(history.covers(id('a').as_str().as_bytes(), 100));
        assert!(!history.covers(id('a').as_str().as_bytes(), 101));
        assert!(history.covers(id('b').as_str().as_bytes(), 10_000));
        assert_eq!((history.known_as(100), history.known_as(101)), (id('a'), id('b')));
        history.renew(id('c'));
        assert_eq!(history.known_as(100), id('c'));
        assert!(!history.covers(id('a').as_str().as_bytes(), 1));
    }

    #[test]
    fn going_on_under_the_same_id_keeps_the_history_before() {
        let mut history = History::new(id('a'));
        history.branch(id('b'), 100);
        history.branch(id('b'), 200);
        assert_eq!(history.previous, Some((id('a'), 100)));
    }

    #[test]
    fn a_replica_goes_by_the_name_that_its_primary_gave() {
        let mut history = History::new(id('a'));
        // Promoted, and back before anything was written.
        history.branch(id('b'), 100);
        history.learn(id('a'), 100);
        assert_eq!(history.known_as(100), id('a'));
        assert!(history.covers(id('b').as_str().as_bytes(), 100));
        history.learn(id('a'), 200);
        assert_eq!(history.previous, Some((id('b'), 100)));
        history.branch(id('c'), 100);
        assert_eq!(history.known_as(100), id('a'));
    }

    #[test]
    fn ids_are_40_letters_and_digits() {
        assert!(ReplId::parse(&[b'x'; 39]).is_none());
        assert!(ReplId::parse(&[b' '; 40]).is_none());
        assert_eq!(ReplId::from_random([u64::MAX, 0, 1]).as_str(), "ffffffffffffffff000000000000000000000000");
    }
}

//! The stream as a replica takes it: which bytes belong together, what a file must have otherwise, and when to say how far
//! it is.
//!
//! A transaction's bytes are one piece, from MULTI to EXEC: an offset never lies within, so that a snapshot taken on
//! the replica, or a link that breaks, leaves no half transaction behind.

use crate::unit::Unit;
use resp::Arg;

/// Milliseconds between acknowledgements.
pub const ACK_MS: i64 = 1000;

/// What is under way.
#[derive(Debug, Default)]
pub struct Stream {
    /// A transaction whose EXEC has not been carried out yet.
    unit: Unit,
    /// Something of it must be put otherwise for the file.
    differs: bool,
    next_ack_ms: i64,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// It is one by itself.
    Run,
    /// Nothing: it waits for the end of its transaction.
    Keep,
    /// It ends the transaction that is open, of which it is the last now: to be told [`Stream::ended`] or
    /// [`Stream::put_off`].
    RunUnit,
}

impl Stream {
    /// A request has come: its bytes, and the ranges of them that are its words; `differs` says that a file cannot have it as
    /// it came.
    pub fn take(&mut self, (bytes, words): (&[u8], &[Arg]), differs: bool) -> Task {
        let is_open = !self.unit.is_empty();
        let is = |name: &[u8]| words.first().is_some_and(|word| word.of(bytes).eq_ignore_ascii_case(name));
        let opens = words.len() == 1 && is(b"multi");
        if !is_open && !opens {
            return Task::Run;
        }
        self.unit.push(bytes, words);
        self.differs |= differs;
        // A file has no transaction within another one, which 3.2 says where a script begins its own, nor one that came to nothing.
        self.differs |= is_open && opens || is(b"discard");
        let closes = is(b"exec") || is(b"discard");
        if is_open && closes { Task::RunUnit } else { Task::Keep }
    }

    /// The transaction, and whether a file needs it put otherwise.
    pub fn unit(&self) -> (&Unit, bool) {
        (&self.unit, self.differs)
    }

    /// The transaction was carried out.
    pub fn ended(&mut self) {
        self.unit.clear();
        self.differs = false;
    }

    /// It could not be carried out: its last request comes again.
    pub fn put_off(&mut self) {
        self.unit.pop();
    }

    /// Whether it is time to say how far we are.
    pub fn is_ack_due(&self, now_ms: i64) -> bool {
        // A clock that was set back must not stop it.
        now_ms >= self.next_ack_ms || self.next_ack_ms - now_ms > ACK_MS
    }

    /// That was said.
    pub fn acknowledged(&mut self, now_ms: i64) {
        self.next_ack_ms = now_ms + ACK_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(stream: &mut Stream, name: &str, differs: bool) -> Task {
        stream.take((name.as_bytes(), &[Arg { start: 0, len: name.len() as u32 }]), differs)
    }

    #[test]
    fn a_transaction_is_one_piece() {
        let mut stream = Stream::default();
        assert_eq!(take(&mut stream, "set", false), Task::Run);
        assert_eq!(take(&mut stream, "Exec", false), Task::Run);
        assert_eq!(take(&mut stream, "Multi", false), Task::Keep);
        assert_eq!(take(&mut stream, "a", false), Task::Keep);
        for _ in 0..2 {
            assert_eq!(take(&mut stream, "exec", false), Task::RunUnit);
            assert_eq!((stream.unit().0.bytes(), stream.unit().0.len()), (&b"Multiaexec"[..], 3));
            stream.put_off();
        }
        assert_eq!(take(&mut stream, "DISCARD", false), Task::RunUnit);
        stream.ended();
        assert_eq!((stream.unit().0.len(), take(&mut stream, "a", false)), (0, Task::Run));
    }

    #[test]
    fn a_transaction_differs_when_one_of_its_requests_does_and_the_next_one_does_not() {
        let mut stream = Stream::default();
        assert_eq!(take(&mut stream, "setex", true), Task::Run);
        for name in ["multi", "a"] {
            take(&mut stream, name, false);
        }
        assert!(!stream.unit().1);
        take(&mut stream, "setex", true);
        take(&mut stream, "exec", false);
        assert!(stream.unit().1);
        stream.put_off();
        assert!(stream.unit().1);
        stream.ended();
        take(&mut stream, "multi", false);
        assert!(!stream.unit().1);
    }

    #[test]
    fn a_transaction_within_another_and_one_that_came_to_nothing_differ() {
        let mut stream = Stream::default();
        let mut differs = |names: [&str; 3]| {
            for name in names {
                take(&mut stream, name, false);
            }
            let differs = stream.unit().1;
            stream.ended();
            differs
        };
        assert!(differs(["multi", "MULTI", "exec"]) && differs(["multi", "a", "discard"]));
        assert!(!differs(["multi", "a", "exec"]));
    }

    #[test]
    fn acknowledgements_are_a_second_apart() {
        let mut stream = Stream::default();
        assert!(stream.is_ack_due(5));
        stream.acknowledged(5);
        assert!(!stream.is_ack_due(1004) && stream.is_ack_due(1005));
        assert!(stream.is_ack_due(4), "a clock was set back");
    }
}

//! SYNC or PSYNC: does a replica get the whole data set, or only what it missed?
//!
//! Partial means: its history is ours, and everything after its offset is still in the backlog. Texts on the wire and
//! the rules are those of 3.2's `masterTryPartialResynchronization`, with the ids of Redis 4.

use crate::history::{History, ReplId};

/// The part of the stream that is kept for replicas that come back. Offsets, `first <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The first byte that is there.
    pub first: u64,
    /// After the last one.
    pub end: u64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on from this offset of the log.
    Partial {
        /// The first byte to send.
        from: u64,
    },
    /// The replica asked for everything.
    Full,
    /// The replica would have liked less, but: why not.
    Refused(Why),
}

/// Why a partial sync was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Another history.
    OtherHistory,
    /// The offset is no longer, or not yet, in the backlog.
    NotKept,
    /// The offset is no number.
    NoOffset,
}

/// Decides on `PSYNC id offset` as it was sent.
pub fn decide(history: &History, backlog: Option<Backlog>, id: &[u8], offset: &[u8]) -> Decision {
    if id == b"?" {
        return Decision::Full;
    }
    let Some(next) = resp::parse_i64(offset) else { return Decision::Refused(Why::NoOffset) };
    // The request counts from 1.
    let Some(from) = next.checked_sub(1).and_then(|from| u64::try_from(from).ok()) else {
        return Decision::Refused(Why::NotKept);
    };
    if !history.covers(id, from) {
        return Decision::Refused(Why::OtherHistory);
    }
    match backlog {
        Some(backlog) if (backlog.first..=backlog.end).contains(&from) => Decision::Partial { from },
        _ => Decision::Refused(Why::NotKept),
    }
}

/// The line that begins a full sync as of `offset`.
pub fn full_line(id: ReplId, offset: u64) -> String {
    format!("+FULLRESYNC {id} {offset}\r\n")
}

/// The line that begins a partial sync; only a replica that knows PSYNC2 is told the id.
pub fn continue_line(id: ReplId, knows_psync2: bool) -> String {
    if knows_psync2 { format!("+CONTINUE {id}\r\n") } else { "+CONTINUE\r\n".into() }
}

/// A primary's answer to PSYNC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An empty line: it is still there and will answer.
    KeepAlive,
    /// The whole data set follows. Without an id and offset that can be understood there is nothing to resume later.
    Full(Option<(ReplId, u64)>),
    /// What was missed follows, perhaps under another id.
    Partial(Option<ReplId>),
    /// Not now: ask again later.
    Later,
    /// It does not know PSYNC.
    Unknown,
}

impl Answer {
    /// Reads a line without its end.
    pub fn parse(line: &[u8]) -> Answer {
        let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        match words.next() {
            None => Answer::KeepAlive,
            Some(b"+FULLRESYNC") => {
                let id = words.next().and_then(ReplId::parse);
                // Offsets are signed with all others, and only grow.
                let offset = words.next().and_then(resp::parse_i64).and_then(|offset| u64::try_from(offset).ok());
                Answer::Full(id.zip(offset))
            }
            Some(b"+CONTINUE") => Answer::Partial(words.next().and_then(ReplId::parse)),
            Some(b"-NOMASTERLINK" | b"-LOADING") => Answer::Later,
            Some(_) => Answer::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(letter: char) -> ReplId {
        ReplId::parse(letter.to_string().repeat(40).as_bytes()).expect("40 letters")
    }

    fn ask(history: &History, backlog: Option<Backlog>, id: ReplId, offset: i64) -> Decision {
        decide(history, backlog, id.as_str().as_bytes(), offset.to_string().as_bytes())
    }

    #[test]
    fn a_replica_that_missed_only_what_is_kept_gets_only_that() {
        let history = History::new(id('a'));
        let backlog = Some(Backlog { first: 50, end: 100 });
        assert_eq!(ask(&history, backlog, id('a'), 51), Decision::Partial { from: 50 });
        assert_eq!(ask(&history, backlog, id('a'), 101), Decision::Partial { from: 100 });
        assert_eq!(ask(&history, backlog, id('a'), 50), Decision::Refused(Why::NotKept));
        assert_eq!(ask(&history, backlog, id('a'), 102), Decision::Refused(Why::NotKept));
        assert_eq!(ask(&history, backlog, id('b'), 101), Decision::Refused(Why::OtherHistory));
        assert_eq!(ask(&history, None, id('a'), 101), Decision::Refused(Why::NotKept));
        for strange in [0, -1, i64::MIN] {
            assert_eq!(ask(&history, backlog, id('a'), strange), Decision::Refused(Why::NotKept));
        }
        assert_eq!(decide(&history, backlog, b"?", b"-1"), Decision::Full);
        assert_eq!(decide(&history, backlog, id('a').as_str().as_bytes(), b"x"), Decision::Refused(Why::NoOffset));
    }

    #[test]
    fn answers_are_understood_in_the_forms_of_all_versions() {
        let full = full_line(id('a'), 7);
        assert_eq!(Answer::parse(full.trim_end().as_bytes()), Answer::Full(Some((id('a'), 7))));
        assert_eq!(Answer::parse(b"+FULLRESYNC short 7"), Answer::Full(None));
        assert_eq!(Answer::parse(b"+CONTINUE"), Answer::Partial(None));
        let renamed = continue_line(id('b'), true);
        assert_eq!(Answer::parse(renamed.trim_end().as_bytes()), Answer::Partial(Some(id('b'))));
        assert_eq!(Answer::parse(b""), Answer::KeepAlive);
        let wraps = format!("+FULLRESYNC {} 18446744073709551610", id('a'));
        assert_eq!(Answer::parse(wraps.as_bytes()), Answer::Full(None));
        assert_eq!(Answer::parse(b"-NOMASTERLINK Can't SYNC while not connected with my master"), Answer::Later);
        assert_eq!(Answer::parse(b"-ERR unknown command 'PSYNC'"), Answer::Unknown);
    }

    proptest! {
        /// Whatever is asked, a partial sync never begins outside of the backlog.
        #[test]
        fn a_partial_sync_begins_in_the_backlog(first in 0u64..100, len in 0u64..100, offset: i64, near in -10i64..220) {
            let mut history = History::new(id('b'));
            history.branch(id('a'), first + len / 2);
            let backlog = Backlog { first, end: first + len };
            for (whose, asked) in [(id('a'), offset), (id('a'), near), (id('b'), near), (id('c'), near)] {
                if let Decision::Partial { from } = ask(&history, Some(backlog), whose, asked) {
                    prop_assert!(from >= first && from <= first + len && whose != id('c'));
                    prop_assert!(whose != id('b') || from <= first + len / 2);
                }
            }
        }

        #[test]
        fn no_line_makes_the_parser_fail(line: Vec<u8>) {
            Answer::parse(&line);
        }
    }
}

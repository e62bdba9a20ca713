//! Which arguments of a command are keys (`getKeysFromCommand` of 3.2): needed to lock slots, to route, and to answer
//! COMMAND GETKEYS. No call allocates: every rule gives an even row of positions and at most one more.

use crate::number::atoi;
use crate::spec::{CommandSpec, GetKeys};

/// A command's arguments, its name at 0.
pub trait ArgList {
    /// Number of arguments.
    fn count(&self) -> usize;
    /// The bytes of one; empty beyond the end.
    fn arg(&self, index: usize) -> &[u8];
}

impl<T: AsRef<[u8]>> ArgList for [T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn arg(&self, index: usize) -> &[u8] {
        self.get(index).map(AsRef::as_ref).unwrap_or_default()
    }
}

/// Positions of keys, in the order of COMMAND GETKEYS; all are positions of arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPositions {
    next: usize,
    end: usize,
    step: usize,
    /// A destination, which comes last.
    extra: Option<usize>,
}

impl KeyPositions {
    const NONE: KeyPositions = KeyPositions { next: 0, end: 0, step: 1, extra: None };

    fn row(first: usize, count: usize) -> KeyPositions {
        KeyPositions { next: first, end: first + count, step: 1, extra: None }
    }
}

impl Iterator for KeyPositions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.next < self.end {
            let position = self.next;
            self.next += self.step;
            Some(position)
        } else {
            self.extra.take()
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.saturating_sub(self.next).div_ceil(self.step) + usize::from(self.extra.is_some());
        (left, Some(left))
    }
}

impl ExactSizeIterator for KeyPositions {}

/// The positions of the keys of this call. A call that its command would refuse may have none.
#[inline]
pub fn key_positions<A: ArgList + ?Sized>(spec: &CommandSpec, args: &A) -> KeyPositions {
    match spec.keys.getkeys {
        GetKeys::Fixed => fixed(spec, args.count()),
        GetKeys::ZUnionInter => match counted(args) {
            Some(count) => KeyPositions { extra: Some(1), ..KeyPositions::row(3, count) },
            None => KeyPositions::NONE,
        },
        GetKeys::Eval => counted(args).map_or(KeyPositions::NONE, |count| KeyPositions::row(3, count)),
        GetKeys::Sort => with_destination(args, sort_destination(args)),
        GetKeys::Migrate => migrate(args),
        GetKeys::GeoRadius => with_destination(args, geo_destination(args)),
    }
}

#[inline]
fn fixed(spec: &CommandSpec, argc: usize) -> KeyPositions {
    let keys = &spec.keys;
    if keys.first <= 0 {
        return KeyPositions::NONE;
    }
    let last = if keys.last < 0 { argc as i64 + i64::from(keys.last) } else { i64::from(keys.last) };
    KeyPositions {
        next: keys.first as usize,
        end: usize::try_from(last + 1).unwrap_or(0).min(argc),
        step: keys.step.max(1) as usize,
        extra: None,
    }
}

/// The key count in argument 2, if so many arguments follow it.
fn counted<A: ArgList + ?Sized>(args: &A) -> Option<usize> {
    let count = usize::try_from(atoi(args.arg(2))).ok()?;
    (count <= args.count().checked_sub(3)?).then_some(count)
}

fn with_destination<A: ArgList + ?Sized>(args: &A, destination: Option<usize>) -> KeyPositions {
    if args.count() < 2 {
        return KeyPositions::NONE;
    }
    KeyPositions { extra: destination, ..KeyPositions::row(1, 1) }
}

fn is<A: ArgList + ?Sized>(args: &A, index: usize, word: &[u8]) -> bool {
    args.arg(index).eq_ignore_ascii_case(word)
}

/// The argument behind SORT's last STORE. Words that are arguments of other options are skipped.
fn sort_destination<A: ArgList + ?Sized>(args: &A) -> Option<usize> {
    let (mut destination, mut at) = (None, 2);
    while at < args.count() {
        if is(args, at, b"limit") {
            at += 2;
        } else if is(args, at, b"get") || is(args, at, b"by") {
            at += 1;
        } else if is(args, at, b"store") && at + 1 < args.count() {
            // The original goes on with the destination as if it were an option, and so do we.
            destination = Some(at + 1);
        }
        at += 1;
    }
    destination
}

/// The argument behind GEORADIUS's last STORE or STOREDIST.
fn geo_destination<A: ArgList + ?Sized>(args: &A) -> Option<usize> {
    let (mut destination, mut at) = (None, 5);
    while at + 1 < args.count() {
        if is(args, at, b"store") || is(args, at, b"storedist") {
            at += 1;
            destination = Some(at);
        }
        at += 1;
    }
    destination
}

/// MIGRATE host port key|"" db timeout [COPY] [REPLACE] [KEYS key ...]
fn migrate<A: ArgList + ?Sized>(args: &A) -> KeyPositions {
    let argc = args.count();
    if args.arg(3).is_empty()
        && let Some(word) = (6..argc).find(|&at| is(args, at, b"keys"))
    {
        return KeyPositions::row(word + 1, argc - word - 1);
    }
    if argc > 3 { KeyPositions::row(3, 1) } else { KeyPositions::NONE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Flags, KeySpec};
    use proptest::prelude::*;

    fn keys(spec: KeySpec, call: &str) -> Vec<usize> {
        let args: Vec<&str> = call.split(' ').map(|arg| if arg == "-" { "" } else { arg }).collect();
        let positions = key_positions(&CommandSpec::new("x", -1, Flags::NONE, spec), &args[..]);
        assert_eq!(positions.len(), positions.clone().count());
        positions.collect()
    }

    #[test]
    fn fixed_positions() {
        assert_eq!(keys(KeySpec::NONE, "ping"), []);
        assert_eq!(keys(KeySpec::FIRST, "get k"), [1]);
        assert_eq!(keys(KeySpec::range(1, -1, 2), "mset a 1 b 2"), [1, 3]);
        assert_eq!(keys(KeySpec::range(1, -1, 2), "mset a 1 b"), [1, 3]);
        assert_eq!(keys(KeySpec::range(1, -2, 1), "blpop a b 0"), [1, 2]);
        assert_eq!(keys(KeySpec::range(2, -1, 1), "bitop and d a b"), [2, 3, 4]);
        assert_eq!(keys(KeySpec::range(1, 2, 1), "rename a"), [1]);
    }

    #[test]
    fn counted_keys() {
        let zunionstore = KeySpec::movable(0, 0, 0, GetKeys::ZUnionInter);
        assert_eq!(keys(zunionstore, "zunionstore d 2 a b weights 1 2"), [3, 4, 1]);
        assert_eq!(keys(zunionstore, "zunionstore d 3 a b"), []);
        assert_eq!(keys(zunionstore, "zunionstore d 0 a"), [1]);
        assert_eq!(keys(zunionstore, "zunionstore d -1 a"), []);
        let eval = KeySpec::movable(0, 0, 0, GetKeys::Eval);
        assert_eq!(keys(eval, "eval script 2 a b c"), [3, 4]);
        assert_eq!(keys(eval, "eval script 0 a"), []);
        assert_eq!(keys(eval, "eval script 2x a b"), [3, 4]);
        assert_eq!(keys(eval, "eval script -4 a b"), []);
    }

    #[test]
    fn destinations_come_last() {
        let sort = KeySpec::movable(1, 1, 1, GetKeys::Sort);
        assert_eq!(keys(sort, "sort k"), [1]);
        assert_eq!(keys(sort, "sort k by store get x limit 0 store STORE a store b"), [1, 12]);
        assert_eq!(keys(sort, "sort k store"), [1]);
        let geo = KeySpec::movable(1, 1, 1, GetKeys::GeoRadius);
        assert_eq!(keys(geo, "georadius k 1 2 3 km store a storedist b"), [1, 9]);
        assert_eq!(keys(geo, "georadius k 1 2 3 km asc"), [1]);
        assert_eq!(keys(geo, "georadiusbymember k m 3 km store"), [1]);
    }

    #[test]
    fn migrate_takes_one_key_or_many() {
        let migrate = KeySpec::movable(0, 0, 0, GetKeys::Migrate);
        assert_eq!(keys(migrate, "migrate h 1 k 0 5"), [3]);
        assert_eq!(keys(migrate, "migrate h 1 - 0 5 COPY KEYS a b"), [8, 9]);
        assert_eq!(keys(migrate, "migrate h 1 k 0 5 KEYS a b"), [3]);
    }

    proptest! {
        #[test]
        fn positions_are_always_of_arguments(first in -1..4i32, last in -4..5i32, step in -1..3i32, rule in 0..6usize,
                                             words in proptest::collection::vec("|-1|0|2|store|keys|limit|get|k", 0..12)) {
            let rules = [GetKeys::Fixed, GetKeys::ZUnionInter, GetKeys::Eval, GetKeys::Sort, GetKeys::Migrate, GetKeys::GeoRadius];
            let spec = CommandSpec::new("x", -1, Flags::NONE, KeySpec::movable(first, last, step, rules[rule]));
            for position in key_positions(&spec, &words[..]) {
                prop_assert!(position > 0 && position < words.len());
            }
        }
    }
}

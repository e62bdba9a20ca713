//! One row of the command table: what dispatch, routing, COMMAND and the proxy need to know of a command. The rows
//! themselves live beside the commands' code.

use std::ops::BitOr;

/// A set of command flags, named as COMMAND prints them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// May change the key space.
    pub const WRITE: Flags = Flags(1);
    /// Never changes it.
    pub const READONLY: Flags = Flags(1 << 1);
    /// Refused over maxmemory.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// Administration.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// About channels.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not callable from a script.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// The same call may give another result; a script may not write after it.
    pub const RANDOM: Flags = Flags(1 << 6);
    /// A script gets its array sorted, because its order is arbitrary.
    pub const SORT_FOR_SCRIPT: Flags = Flags(1 << 7);
    /// Allowed while the data set is loading.
    pub const LOADING: Flags = Flags(1 << 8);
    /// Allowed on a replica whose data may be old.
    pub const STALE: Flags = Flags(1 << 9);
    /// Not shown by MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 10);
    /// Implies ASKING.
    pub const ASKING: Flags = Flags(1 << 11);
    /// Constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 12);
    /// The positions of its keys depend on its arguments. Set by [`CommandSpec::new`].
    pub const MOVABLE_KEYS: Flags = Flags(1 << 13);

    /// In the order in which COMMAND lists them.
    const NAMES: [&'static str; 14] = [
        "write",
        "readonly",
        "denyoom",
        "admin",
        "pubsub",
        "noscript",
        "random",
        "sort_for_script",
        "loading",
        "stale",
        "skip_monitor",
        "asking",
        "fast",
        "movablekeys",
    ];

    /// The flags of both; like `|`, but usable in constants.
    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all flags of `other` are set.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some flag of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Names of the flags that are set, in COMMAND's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Flags::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        self.or(other)
    }
}

/// How a command's keys are found among its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GetKeys {
    /// At the positions in [`KeySpec`].
    Fixed,
    /// ZUNIONSTORE and ZINTERSTORE: destination, count, that many keys.
    ZUnionInter,
    /// EVAL and EVALSHA: script, count, that many keys.
    Eval,
    /// SORT: the key, and the last STORE's destination.
    Sort,
    /// MIGRATE: the key, or all that follow KEYS.
    Migrate,
    /// GEORADIUS and GEORADIUSBYMEMBER: the key, and the last STORE's or STOREDIST's destination.
    GeoRadius,
}

/// Positions of a command's keys; the command's name is argument 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeySpec {
    /// First key; 0 if the command has none.
    pub first: i32,
    /// Last key; -1 is the last argument, -2 the one before it.
    pub last: i32,
    /// Distance between keys: 2 for MSET.
    pub step: i32,
    /// The rule, where positions alone do not tell.
    pub getkeys: GetKeys,
}

impl KeySpec {
    /// No keys.
    pub const NONE: KeySpec = KeySpec::range(0, 0, 0);
    /// Argument 1 is the only key.
    pub const FIRST: KeySpec = KeySpec::range(1, 1, 1);

    /// Keys at `first`, `first + step` and so on up to `last`.
    pub const fn range(first: i32, last: i32, step: i32) -> KeySpec {
        KeySpec { first, last, step, getkeys: GetKeys::Fixed }
    }

    /// Keys by rule. COMMAND still shows the positions given here.
    pub const fn movable(first: i32, last: i32, step: i32, getkeys: GetKeys) -> KeySpec {
        KeySpec { first, last, step, getkeys }
    }
}

/// A row of the command table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandSpec {
    /// Name in lower case.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i32,
    /// What it may do and when.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: KeySpec,
}

impl CommandSpec {
    /// A row; [`Flags::MOVABLE_KEYS`] follows from `keys`.
    pub const fn new(name: &'static str, arity: i32, flags: Flags, keys: KeySpec) -> CommandSpec {
        let flags = if matches!(keys.getkeys, GetKeys::Fixed) { flags } else { flags.or(Flags::MOVABLE_KEYS) };
        CommandSpec { name, arity, flags, keys }
    }

    /// Whether a call with `argc` arguments, the name included, has the right number of them.
    #[inline]
    pub const fn arity_ok(&self, argc: usize) -> bool {
        if self.arity > 0 { argc == self.arity as usize } else { argc >= self.arity.unsigned_abs() as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_the_order_of_command() {
        let flags = Flags::FAST | Flags::WRITE | Flags::DENYOOM;
        assert!(flags.names().eq(["write", "denyoom", "fast"]));
        let all = Flags(u32::MAX);
        assert_eq!(all.names().count(), 14);
        assert!(all.contains(flags) && !flags.contains(Flags::READONLY | Flags::FAST));
        assert!(flags.intersects(Flags::READONLY | Flags::FAST));
    }

    #[test]
    fn movable_keys_show_as_a_flag() {
        const EVAL: CommandSpec =
            CommandSpec::new("eval", -3, Flags::NOSCRIPT, KeySpec::movable(0, 0, 0, GetKeys::Eval));
        assert!(EVAL.flags.names().eq(["noscript", "movablekeys"]));
    }

    #[test]
    fn arity_counts_the_name_and_negative_is_a_minimum() {
        let spec = |arity| CommandSpec::new("x", arity, Flags::NONE, KeySpec::NONE);
        assert!(spec(2).arity_ok(2) && !spec(2).arity_ok(1) && !spec(2).arity_ok(3));
        assert!(!spec(-2).arity_ok(1) && spec(-2).arity_ok(2) && spec(-2).arity_ok(9));
        assert!(spec(0).arity_ok(1));
    }
}

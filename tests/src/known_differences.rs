//! Where Redis 7.0 answers otherwise than Redis 3.2, which ours follows. Each rule says when it applies and why.
//!
//! A peer of version 3.2 is compared without these; only [`RULES_3_2`], undefined behaviour of its own, is excused there.

use crate::differential::Command;
use resp::Reply;

/// One deliberate difference.
pub struct Rule {
    /// What changed after 3.2, for people.
    pub why: &'static str,
    /// What follows from it.
    pub effect: Effect,
}

/// How a difference shows.
pub enum Effect {
    /// 7.0 has since learnt to do what 3.2 refuses: a command for which this is a text goes to ours only, which must reply
    /// with that error.
    OursRefuses(fn(&Command) -> Option<String>),
    /// Both do the same, but reply differently: true if the replies to the command are a known pair.
    Replies(fn(&Command, &Reply, &Reply) -> bool),
    /// The same, but the two keyspaces part here: the rest of the sequence is not compared.
    Parts(fn(&Command, &Reply, &Reply) -> bool),
}

use Effect::{OursRefuses, Parts, Replies};

/// What Redis 7.0 does otherwise.
pub const RULES: &[Rule] = &[
    Rule {
        why: "SORT ALPHA compares up to the first NUL byte; elements equal so far come as the set's table has them",
        effect: Replies(same_up_to_nul),
    },
    Rule {
        why: "EXPIRE and its kin take options since 7.0, LPOP and RPOP a count since 6.2, LPUSHX, RPUSHX and HSET many values since 4.0",
        effect: OursRefuses(|command| {
            let name = name(command).to_lowercase();
            let most = match name.as_str() {
                "lpop" | "rpop" => 2,
                "expire" | "pexpire" | "expireat" | "pexpireat" | "lpushx" | "rpushx" => 3,
                "hset" => 4,
                _ => return None,
            };
            (command.len() > most).then(|| format!("ERR wrong number of arguments for '{name}' command"))
        }),
    },
    Rule {
        why: "7.0 words the arity error of MSET, MSETNX and HMSET as that of all commands",
        effect: Replies(|command, ours, theirs| {
            let lower = name(command).to_lowercase();
            let old = match lower.as_str() {
                "mset" | "msetnx" => "ERR wrong number of arguments for MSET",
                "hmset" => "ERR wrong number of arguments for HMSET",
                _ => return false,
            };
            is(ours, old) && is(theirs, &format!("ERR wrong number of arguments for '{lower}' command"))
        }),
    },
    Rule {
        why: "7.0 quotes the arguments of an unknown command, 3.2 its name only",
        effect: Replies(|command, ours, theirs| {
            let text = format!("ERR unknown command '{}'", name(command));
            is(ours, &text) && begins(theirs, &format!("{text}, with args beginning with: "))
        }),
    },
    Rule {
        why: "7.0 quotes the command in the error about a bad expire time",
        effect: Replies(|command, ours, theirs| {
            let name = name(command).to_lowercase();
            is(ours, &format!("ERR invalid expire time in {name}"))
                && is(theirs, &format!("ERR invalid expire time in '{name}' command"))
        }),
    },
    Rule {
        why: "error texts reworded after 3.2, for the same error at the same moment",
        effect: Replies(|command, ours, theirs| {
            let names = |of: &[&str]| of.contains(&name(command).to_uppercase().as_str());
            REWORDED.iter().any(|(of, old, new)| names(of) && is(ours, old) && is(theirs, new))
        }),
    },
    Rule {
        why: "7.0's compact encoding is the listpack, 3.2's the ziplist",
        effect: Replies(|command, ours, theirs| {
            name(command).eq_ignore_ascii_case("OBJECT")
                && *ours == Reply::bulk("ziplist")
                && *theirs == Reply::bulk("listpack")
        }),
    },
    Rule {
        why: "SORT of a sorted set turns it into a skiplist in 3.2 and 7.0, for no one's good; ours stays compact",
        effect: Replies(sort_leaves_compact),
    },
    Rule {
        why: "OBJECT's subcommand and its arity are looked up in a table by 7.0; 3.2 has one text for all that is not understood",
        effect: Replies(|command, ours, theirs| {
            name(command).eq_ignore_ascii_case("OBJECT")
                && (is(ours, "ERR Syntax error. Try OBJECT (refcount|encoding|idletime)")
                    || is(ours, "ERR wrong number of arguments for 'object' command"))
                && (begins(theirs, "ERR unknown subcommand")
                    || begins(theirs, "ERR wrong number of arguments for 'object"))
        }),
    },
    Rule {
        why: "HINCRBYFLOAT's result may be longer than an element of a ziplist should be; 7.0 minds",
        effect: Replies(|command, ours, theirs| {
            name(command).eq_ignore_ascii_case("OBJECT")
                && command.last().is_some_and(|key| key.starts_with(b"hash:"))
                && *ours == Reply::bulk("ziplist")
                && *theirs == Reply::bulk("hashtable")
        }),
    },
    Rule {
        why: "a score in a listpack that is whole is an integer: -0 is 0, and 1e+17 is written out",
        effect: Replies(|command, ours, theirs| {
            name(command).to_uppercase().starts_with('Z') && same_numbers(ours, theirs)
        }),
    },
    Rule {
        why: "7.0 reads all options of the ZRANGE family, in one function, before it reads the range",
        effect: Replies(|command, ours, theirs| {
            let name = name(command).to_uppercase();
            let texts = |reply| READ_BY_ZRANGE.iter().any(|text| is(reply, text));
            (name.starts_with("ZRANGE") || name.starts_with("ZREVRANGE")) && texts(ours) && texts(theirs)
        }),
    },
    Rule {
        why: "BITCOUNT and BITPOS take BIT and BYTE since 7.0, and read the range before they find another word wrong",
        effect: Replies(|command, ours, theirs| {
            (name(command).eq_ignore_ascii_case("BITCOUNT") || name(command).eq_ignore_ascii_case("BITPOS"))
                && command.len() > 4
                && is(ours, "ERR syntax error")
                && (is(theirs, "ERR value is not an integer or out of range") || *theirs == Reply::Int(0))
        }),
    },
    Rule {
        why: "7.0 takes WITHSCORES twice",
        effect: Replies(|command, ours, theirs| {
            let twice = command.iter().filter(|word| word.eq_ignore_ascii_case(b"WITHSCORES")).count() > 1;
            ["ZRANGE", "ZREVRANGE"].contains(&name(command).to_uppercase().as_str())
                && twice
                && is(ours, "ERR syntax error")
                && matches!(theirs, Reply::Array(_))
        }),
    },
    Rule { why: "moments too far ahead are refused since 6.2, all in one way", effect: Parts(moment_overflows) },
    SPOP_REBUILDS,
    Rule {
        why: "7.0 names the command that lacks an input key",
        effect: Replies(|_, ours, theirs| {
            is(ours, "ERR at least 1 input key is needed for ZUNIONSTORE/ZINTERSTORE")
                && begins(theirs, "ERR at least 1 input key is needed for '")
        }),
    },
    Rule {
        why: "7.0 reads all options of SORT before it looks at the key",
        effect: Replies(|command, ours, theirs| {
            name(command).eq_ignore_ascii_case("SORT")
                && begins(ours, "WRONGTYPE")
                && (is(theirs, "ERR syntax error") || is(theirs, "ERR value is not an integer or out of range"))
        }),
    },
    Rule {
        why: "7.0 looks at the type of every key of SINTER; 3.2 stops at the first that is missing",
        effect: Parts(|command, ours, theirs| {
            let empty = *ours == Reply::Int(0) || *ours == Reply::Array(Some(Vec::new()));
            name(command).to_uppercase().starts_with("SINTER") && empty && begins(theirs, "WRONGTYPE")
        }),
    },
    Rule {
        why: "text that C's strtod reads as an empty number, and HINCRBYFLOAT by infinity, were refused after 3.2",
        effect: Parts(|command, ours, theirs| {
            let reads_a_float =
                ["INCRBYFLOAT", "HINCRBYFLOAT", "ZADD", "ZINCRBY", "ZUNIONSTORE", "ZINTERSTORE", "SORT"];
            reads_a_float.contains(&name(command).to_uppercase().as_str())
                && FLOAT_ERRORS.iter().any(|text| is(theirs, text))
                && (!matches!(ours, Reply::Error(_)) || begins(ours, "WRONGTYPE") || is(ours, "ERR syntax error"))
        }),
    },
    Rule {
        why: "DECRBY of the least integer overflowed in 3.2 and is refused since 5.0",
        effect: Parts(|command, ours, theirs| {
            name(command).eq_ignore_ascii_case("DECRBY")
                && command.get(2).is_some_and(|by| by == b"-9223372036854775808")
                && !matches!(ours, Reply::Simple(_))
                && is(theirs, "ERR decrement would overflow")
        }),
    },
];

const FLOAT_ERRORS: &[&str] = &[
    "ERR value is not a valid float",
    "ERR hash value is not a float",
    "ERR value is NaN or Infinity",
    "ERR weight value is not a float",
];

const READ_BY_ZRANGE: &[&str] = &[
    "ERR syntax error",
    "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
    "ERR value is not an integer or out of range",
    "ERR min or max is not a float",
    "ERR min or max not valid string range item",
];

/// Commands, the text of 3.2, the text of 7.0.
const REWORDED: &[(&[&str], &str, &str)] = &[
    (&["HINCRBYFLOAT"], "ERR hash value is not a valid float", "ERR hash value is not a float"),
    (&["HINCRBYFLOAT"], "ERR hash value is not a valid float", "ERR value is NaN or Infinity"),
    (&["HINCRBYFLOAT"], "ERR hash value is not a valid float", "ERR value is not a valid float"),
    (&["INCRBYFLOAT"], "ERR increment would produce NaN or Infinity", "ERR value is not a valid float"),
    (
        &["MOVE", "SELECT"],
        "ERR index out of range",
        "ERR value is out of range, value must between -2147483648 and 2147483647",
    ),
    (
        &["MOVE", "SELECT"],
        "ERR invalid DB index",
        "ERR value is out of range, value must between -2147483648 and 2147483647",
    ),
    (&["MOVE"], "ERR index out of range", "ERR DB index is out of range"),
    (&["MOVE"], "ERR index out of range", "ERR value is not an integer or out of range"),
    (&["SELECT"], "ERR invalid DB index", "ERR value is not an integer or out of range"),
    (&["SELECT"], "ERR invalid DB index", "ERR DB index is out of range"),
    (
        &["SETRANGE", "APPEND"],
        "ERR string exceeds maximum allowed size (512MB)",
        "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
    ),
    (&["SPOP"], "ERR index out of range", "ERR value is out of range, must be positive"),
    (&["SPOP"], "ERR value is not an integer or out of range", "ERR value is out of range, must be positive"),
];

/// What Redis 3.2 itself gets wrong by accident of memory, so that no server could answer the same.
pub const RULES_3_2: &[Rule] = &[
    Rule {
        why: "SORT ALPHA compares up to the first NUL byte; elements equal so far come as the set's table has them",
        effect: Replies(same_up_to_nul),
    },
    Rule {
        why: "numbers printed longer than 255 bytes: 3.2 sends what lies behind its buffer",
        effect: Parts(|command, ours, theirs| {
            let (Reply::Bulk(Some(ours)), Reply::Bulk(Some(theirs))) = (ours, theirs) else { return false };
            name(command).to_uppercase().ends_with("INCRBYFLOAT") && theirs.len() > 255 && ours[..255] == theirs[..255]
        }),
    },
    Rule {
        why: "BITFIELD of i64 shifts by 64 bits in 3.2, which means nothing in C",
        effect: Parts(|command, _, _| {
            name(command).eq_ignore_ascii_case("BITFIELD") && command.iter().any(|word| word == b"i64")
        }),
    },
    Rule {
        why: "3.2 cuts the number of a database to 32 bits; ours refuses it",
        effect: Parts(|command, ours, _| {
            ["SELECT", "MOVE"].contains(&name(command).to_uppercase().as_str())
                && matches!(ours, Reply::Error(_))
                && command.last().and_then(|id| resp::parse_i64(id)).is_some_and(|id| i32::try_from(id).is_err())
        }),
    },
    Rule {
        why: "3.2 cuts the count of SPOP and SRANDMEMBER to 32 bits",
        effect: Parts(|command, _, _| {
            ["SPOP", "SRANDMEMBER"].contains(&name(command).to_uppercase().as_str())
                && command
                    .get(2)
                    .and_then(|count| resp::parse_i64(count))
                    .is_some_and(|count| i32::try_from(count).is_err())
        }),
    },
    Rule { why: "moments overflow in 3.2; ours refuses them", effect: Parts(moment_overflows) },
    SPOP_REBUILDS,
    Rule {
        why: "SORT turns a sorted set into a skiplist in 3.2; ours stays compact",
        effect: Replies(sort_leaves_compact),
    },
];

const SPOP_REBUILDS: Rule = Rule {
    why: "SPOP with a count builds a new set of what is left; the peer is told to remove the members one by one instead",
    effect: Replies(|command, ours, theirs| {
        name(command).eq_ignore_ascii_case("OBJECT")
            && *ours == Reply::bulk("intset")
            && *theirs == Reply::bulk("hashtable")
    }),
};

/// Seconds or milliseconds beyond this are too many once the present is added in milliseconds.
const MOMENT_MAX: i64 = i64::MAX / 2000;

fn moment_overflows(command: &Command, _: &Reply, _: &Reply) -> bool {
    let sets_time = ["SET", "SETEX", "PSETEX", "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"];
    sets_time.contains(&name(command).to_uppercase().as_str())
        && command.iter().skip(2).filter_map(|word| resp::parse_i64(word)).any(|moment| moment > MOMENT_MAX)
}

fn sort_leaves_compact(command: &Command, ours: &Reply, theirs: &Reply) -> bool {
    name(command).eq_ignore_ascii_case("OBJECT")
        && *ours == Reply::bulk("ziplist")
        && *theirs == Reply::bulk("skiplist")
}

fn same_up_to_nul(command: &Command, ours: &Reply, theirs: &Reply) -> bool {
    let (Reply::Array(Some(ours)), Reply::Array(Some(theirs))) = (ours, theirs) else { return false };
    let text = |reply: &Reply| match reply {
        Reply::Bulk(Some(bytes)) => bytes.split(|&byte| byte == 0).next().map(<[u8]>::to_vec),
        _ => None,
    };
    let is_sort =
        name(command).eq_ignore_ascii_case("SORT") && command.iter().any(|w| w.eq_ignore_ascii_case(b"ALPHA"));
    is_sort && ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, other)| text(one) == text(other))
}

fn same_numbers(ours: &Reply, theirs: &Reply) -> bool {
    match (ours, theirs) {
        (Reply::Array(Some(ours)), Reply::Array(Some(theirs))) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same_numbers(ours, theirs))
        }
        (Reply::Bulk(Some(one)), Reply::Bulk(Some(other))) => {
            one == other || resp::parse_f64(one).is_some_and(|number| Some(number) == resp::parse_f64(other))
        }
        _ => ours == theirs,
    }
}

fn name(command: &Command) -> String {
    command.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default()
}

fn is(reply: &Reply, text: &str) -> bool {
    matches!(reply, Reply::Error(error) if error == text.as_bytes())
}

fn begins(reply: &Reply, text: &str) -> bool {
    matches!(reply, Reply::Error(error) if error.starts_with(text.as_bytes()))
}

/// The error with which ours has to refuse a command that must not be sent to the peer.
pub fn refused_by_ours(rules: &[Rule], command: &Command) -> Option<String> {
    rules.iter().find_map(|rule| match rule.effect {
        OursRefuses(text) => text(command),
        Replies(_) | Parts(_) => None,
    })
}

/// What a rule says about two replies that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    /// No rule excuses them.
    No,
    /// The difference is known.
    Yes,
    /// The difference is known, and what follows cannot be compared.
    Parted,
}

/// Whether a rule explains that the replies to `command` differ.
pub fn explained(rules: &[Rule], command: &Command, ours: &Reply, theirs: &Reply) -> Explained {
    for rule in rules {
        match rule.effect {
            Replies(known) if known(command, ours, theirs) => return Explained::Yes,
            Parts(known) if known(command, ours, theirs) => return Explained::Parted,
            _ => {}
        }
    }
    Explained::No
}

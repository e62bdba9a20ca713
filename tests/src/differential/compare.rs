//! When two replies to one command are equal although their bytes may differ: orders that no server promises, chance, time.

use super::grammar::Command;
use resp::Reply;

/// How the replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Byte by byte.
    Exact,
    /// As multisets.
    Unordered,
    /// As numbers of elements.
    Count,
    /// As multisets of pairs.
    Pairs,
    /// As times left: negative ones exactly, the others with so much slack.
    Left(i64),
    /// By collecting a whole iteration; the cursor is this argument.
    Scan(usize),
    /// What ours popped is taken from the peer's set by name.
    Pop,
    /// Members drawn must be members.
    Draw,
    /// The key named must be there.
    RandomKey,
    /// Each server must understand the other's payload.
    Dump,
}

/// Times left may differ by what passes between two servers' executing a command, in seconds.
const SLACK_S: i64 = 30;

impl How {
    /// How replies to `command` are compared.
    pub fn of(command: &Command) -> How {
        let name = command.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let has = |word: &[u8]| command.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word));
        let cursor_is_zero = |at: usize| command.get(at).is_some_and(|cursor| cursor == b"0");
        match name.as_slice() {
            b"SMEMBERS" | b"SINTER" | b"SUNION" | b"SDIFF" | b"KEYS" | b"HKEYS" | b"HVALS" => How::Unordered,
            b"SORT" if !has(b"STORE") => sort(command),
            b"GEORADIUS" | b"GEORADIUSBYMEMBER" if !has(b"ASC") && !has(b"DESC") && !has(b"COUNT") => How::Unordered,
            b"HGETALL" => How::Pairs,
            b"TTL" => How::Left(SLACK_S),
            b"PTTL" => How::Left(SLACK_S * 1000),
            b"SCAN" if cursor_is_zero(1) => How::Scan(1),
            b"SSCAN" | b"HSCAN" | b"ZSCAN" if cursor_is_zero(2) => How::Scan(2),
            b"SPOP" => How::Pop,
            b"SRANDMEMBER" => How::Draw,
            b"RANDOMKEY" => How::RandomKey,
            b"DUMP" => How::Dump,
            _ => How::Exact,
        }
    }

    /// Whether the replies are equal in this way.
    pub fn equal(self, ours: &Reply, theirs: &Reply) -> bool {
        match (self, ours, theirs) {
            (How::Left(slack), Reply::Int(ours), Reply::Int(theirs)) if *ours >= 0 && *theirs >= 0 => {
                (ours - theirs).abs() <= slack
            }
            (How::Count, Reply::Array(Some(ours)), Reply::Array(Some(theirs))) => ours.len() == theirs.len(),
            (How::Unordered, Reply::Array(Some(ours)), Reply::Array(Some(theirs))) => {
                multiset(ours, 1) == multiset(theirs, 1)
            }
            (How::Pairs, Reply::Array(Some(ours)), Reply::Array(Some(theirs))) => {
                multiset(ours, 2) == multiset(theirs, 2)
            }
            _ => ours == theirs,
        }
    }
}

/// What SORT without STORE promises. A set, which may be at any key, has an order of its own, which shows when nothing is
/// sorted (BY a word without a star) and among equals that are not told apart (BY weights, ALPHA).
fn sort(command: &Command) -> How {
    let has = |word: &[u8]| command.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word));
    let by = command.iter().skip(2).skip_while(|arg| !arg.eq_ignore_ascii_case(b"BY")).nth(1);
    match by {
        Some(pattern) if !pattern.contains(&b'*') && has(b"LIMIT") => How::Count,
        Some(pattern) if !pattern.contains(&b'*') || has(b"ALPHA") => How::Unordered,
        _ => How::Exact,
    }
}

/// The elements in groups of `size`, in an order of their own.
fn multiset(elements: &[Reply], size: usize) -> Vec<String> {
    let mut groups: Vec<String> =
        elements.chunks(size).map(|group| group.iter().map(show).collect::<Vec<_>>().join(" ")).collect();
    groups.sort();
    groups
}

/// A reply for people.
pub fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) => format!("+{}", text.escape_ascii()),
        Reply::Error(text) => format!("-{}", text.escape_ascii()),
        Reply::Int(value) => format!(":{value}"),
        Reply::Bulk(None) => "nil".to_owned(),
        Reply::Bulk(Some(text)) => format!("\"{}\"", text.escape_ascii()),
        Reply::Array(None) => "nil array".to_owned(),
        Reply::Array(Some(elements)) => format!("[{}]", elements.iter().map(show).collect::<Vec<_>>().join(", ")),
    }
}

/// A command for people, in a form that redis-cli takes.
pub fn show_command(command: &Command) -> String {
    let plain =
        |arg: &[u8]| !arg.is_empty() && arg.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
    let word = |arg: &Vec<u8>| {
        if plain(arg) { String::from_utf8_lossy(arg).into_owned() } else { format!("\"{}\"", arg.escape_ascii()) }
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Command {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn array(texts: &[&str]) -> Reply {
        Reply::Array(Some(texts.iter().map(|&text| Reply::bulk(text)).collect()))
    }

    #[test]
    fn orders_count_where_they_are_promised() {
        let (one, other) = (array(&["a", "b"]), array(&["b", "a"]));
        assert!(How::of(&words("smembers set:1")).equal(&one, &other));
        assert!(!How::of(&words("LRANGE list:1 0 -1")).equal(&one, &other));
        assert!(!How::of(&words("SMEMBERS set:1")).equal(&one, &array(&["a", "a"])));
    }

    #[test]
    fn a_hash_is_a_multiset_of_pairs() {
        let how = How::of(&words("HGETALL hash:1"));
        assert!(how.equal(&array(&["a", "1", "b", "2"]), &array(&["b", "2", "a", "1"])));
        assert!(!how.equal(&array(&["a", "1", "b", "2"]), &array(&["a", "2", "b", "1"])));
    }

    #[test]
    fn times_left_have_slack_but_their_absence_has_none() {
        let how = How::of(&words("TTL str:1"));
        assert!(how.equal(&Reply::Int(100), &Reply::Int(99)));
        assert!(!how.equal(&Reply::Int(100), &Reply::Int(200)));
        assert!(!how.equal(&Reply::Int(-1), &Reply::Int(-2)));
        assert!(!how.equal(&Reply::Int(-1), &Reply::Int(0)));
    }
}

//! What the target reads: one message, or the text with which it refuses it.
//!
//! The checks stand in the original's order, since which of two errors is told first can be seen.

/// Types of values as the original numbers them, with the one encoding that a chunk may meet there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// A list: elements, head to tail.
    List,
    /// A hash: field, value, ..
    Hash,
    /// A set: members.
    Set,
    /// A sorted set: member, eight bytes of score, ..
    ZSet,
}

impl Collection {
    /// `type/encoding`, as the original prints what it expects.
    pub fn expected(self) -> &'static str {
        match self {
            Collection::List => "1/9",
            Collection::Hash => "4/2",
            Collection::Set => "2/2",
            Collection::ZSet => "3/7",
        }
    }

    /// The word that stands in messages.
    pub fn word(self) -> &'static [u8] {
        match self {
            Collection::List => b"list",
            Collection::Hash => b"hash",
            Collection::Set => b"dict",
            Collection::ZSet => b"zset",
        }
    }

    /// Arguments for one element.
    pub fn arity(self) -> usize {
        match self {
            Collection::List | Collection::Set => 1,
            Collection::Hash | Collection::ZSet => 2,
        }
    }
}

/// What a message asks for. A time to live is in milliseconds, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Remove the key, expired or not.
    Delete,
    /// Give the key, which must be there, its expiry: it is whole.
    Expire {
        /// The time to live.
        ttl_ms: i64,
    },
    /// Make the key, which must not be there: the text is argument 4.
    Text {
        /// The time to live.
        ttl_ms: i64,
    },
    /// Make the key, which must not be there, of the DUMP payload in argument 4.
    Object {
        /// The time to live.
        ttl_ms: i64,
    },
    /// Add the bytes of argument 5 to a string that nobody sees before it is whole. Only between servers of ours.
    Part {
        /// The time to live until the next part.
        ttl_ms: i64,
        /// Bytes of the whole: advice, and not to be believed.
        hint: i64,
    },
    /// Make or replace the keys of all [`items`], which are in one slot. Only between servers of ours.
    Many,
    /// Answer when all that came before is as durable as this server's operator wants it. Only between servers of ours.
    Sync,
    /// Drop what is left of the link that came from the address in the key's place. Only between servers of ours.
    Ends,
    /// Add the arguments from 5 on to the key, which is made if there are any.
    Chunk {
        /// Of what.
        kind: Collection,
        /// The time to live until the next chunk.
        ttl_ms: i64,
        /// Number of elements of the whole: advice, and not to be believed.
        hint: i64,
    },
}

/// Index of a message's key.
pub const KEY: usize = 2;
/// Index of the value of [`Message::Text`] and [`Message::Object`].
pub const VALUE: usize = 4;
/// Index of a chunk's first element.
pub const ELEMENTS: usize = 5;
/// The word of [`Message::Part`].
pub const PART: &[u8] = b"part";
/// The word of [`Message::Many`].
pub const MANY: &[u8] = b"many";
/// The word of [`Message::Sync`].
pub const SYNC: &[u8] = b"sync";
/// The word of [`Message::Ends`].
pub const ENDS: &[u8] = b"ends";
/// The word of [`Message::Delete`].
const DELETE: &[u8] = b"delete";
/// The word of [`Message::Expire`].
const EXPIRE: &[u8] = b"expire";
/// Arguments of an [`Item`]: key, time to live, value.
const ITEM_ARGS: usize = 3;

/// One key of [`Message::Many`].
pub struct Item<'a> {
    /// The key.
    pub key: &'a [u8],
    ttl: &'a [u8],
    /// The time to live, if that is a number.
    pub ttl_ms: Option<i64>,
    /// What it is made of.
    pub value: Packed<'a>,
}

/// The value of an [`Item`]: behind one letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed<'a> {
    /// `s`: a string.
    Text(&'a [u8]),
    /// `o`: a DUMP payload.
    Object(&'a [u8]),
    /// Another letter, or none.
    Unknown,
}

impl Packed<'_> {
    /// The letter of a string.
    pub const TEXT: u8 = b's';
    /// The letter of a DUMP payload.
    pub const OBJECT: u8 = b'o';
}

/// The keys of a [`Message::Many`].
pub fn items<'a>(args: &'a [&'a [u8]]) -> impl Iterator<Item = Item<'a>> {
    args.get(KEY..).unwrap_or_default().chunks_exact(ITEM_ARGS).map(|item| Item {
        key: item[0],
        ttl: item[1],
        ttl_ms: at_least_0(item[1]),
        value: match item[2].split_first() {
            Some((&Packed::TEXT, text)) => Packed::Text(text),
            Some((&Packed::OBJECT, payload)) => Packed::Object(payload),
            _ => Packed::Unknown,
        },
    })
}

impl Message {
    /// What `SLOTSRESTORE-ASYNC` with these arguments (its name first) asks for.
    pub fn parse(args: &[&[u8]]) -> Result<Message, Vec<u8>> {
        let word = args.get(1).copied().unwrap_or_default();
        let wrong = || {
            let mut text = format!("wrong number of arguments (argc={},cmd=", args.len()).into_bytes();
            text.extend_from_slice(quoted(word));
            text.push(b')');
            text
        };
        let exactly = |n: usize| if args.len() == n { Ok(()) } else { Err(wrong()) };
        if args.len() < 3 {
            return Err(wrong());
        }
        if word.eq_ignore_ascii_case(DELETE) {
            return exactly(3).map(|()| Message::Delete);
        }
        if word.eq_ignore_ascii_case(SYNC) {
            return exactly(3).map(|()| Message::Sync);
        }
        if word.eq_ignore_ascii_case(ENDS) {
            return exactly(3).map(|()| Message::Ends);
        }
        if word.eq_ignore_ascii_case(MANY) {
            let whole = (args.len() - KEY).is_multiple_of(ITEM_ARGS);
            if !whole {
                return Err(wrong());
            }
            if let Some(item) = items(args).find(|item| item.ttl_ms.is_none()) {
                return Err(with_quote("invalid TTL value (TTL=", item.ttl));
            }
            return Ok(Message::Many);
        }
        let Some(&ttl) = args.get(3) else { return Err(wrong()) };
        let ttl_ms = at_least_0(ttl).ok_or_else(|| with_quote("invalid TTL value (TTL=", ttl))?;
        if word.eq_ignore_ascii_case(EXPIRE) {
            return exactly(4).map(|()| Message::Expire { ttl_ms });
        }
        if word.eq_ignore_ascii_case(b"string") {
            return exactly(5).map(|()| Message::Text { ttl_ms });
        }
        if word.eq_ignore_ascii_case(b"object") {
            return exactly(5).map(|()| Message::Object { ttl_ms });
        }
        let Some(&hint) = args.get(4) else { return Err(wrong()) };
        let hint = at_least_0(hint).ok_or_else(|| with_quote("invalid Hint value (Hint=", hint))?;
        if word.eq_ignore_ascii_case(PART) {
            return exactly(6).map(|()| Message::Part { ttl_ms, hint });
        }
        let kinds = [Collection::List, Collection::Hash, Collection::Set, Collection::ZSet];
        let Some(kind) = kinds.into_iter().find(|kind| word.eq_ignore_ascii_case(kind.word())) else {
            let mut text = format!("unknown command (argc={},cmd=", args.len()).into_bytes();
            text.extend_from_slice(quoted(word));
            text.push(b')');
            return Err(text);
        };
        let elements = args.get(ELEMENTS..).unwrap_or_default();
        if !elements.len().is_multiple_of(kind.arity()) {
            return Err(wrong());
        }
        if kind == Collection::ZSet {
            let bad = |pair: &[&[u8]]| pair.get(1).and_then(|bits| score(bits)).is_none();
            if let Some(index) = elements.chunks(2).position(bad) {
                return Err(format!("invalid zset score ([{index}]), bad raw bits").into_bytes());
            }
        }
        Ok(Message::Chunk { kind, ttl_ms, hint })
    }
}

/// Whether a message with this word brings no data.
pub fn brings_nothing(word: &[u8]) -> bool {
    [DELETE, EXPIRE, SYNC, ENDS].iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// A score from its eight bytes; not-a-number is none.
pub fn score(bits: &[u8]) -> Option<f64> {
    let score = f64::from_le_bytes(bits.try_into().ok()?);
    (!score.is_nan()).then_some(score)
}

fn at_least_0(text: &[u8]) -> Option<i64> {
    strict_int(text).filter(|&value| value >= 0)
}

/// An integer as the original reads them: an optional minus, digits without a leading zero, nothing else.
pub fn strict_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// An argument as errors show it: up to its first NUL byte.
pub fn quoted(arg: &[u8]) -> &[u8] {
    arg.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// `text`, the argument, and a closing parenthesis.
pub fn with_quote(text: &str, arg: &[u8]) -> Vec<u8> {
    [text.as_bytes(), quoted(arg), b")"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<Message, String> {
        let args: Vec<&[u8]> = line.split(' ').map(|word| if word == "-" { "" } else { word }.as_bytes()).collect();
        Message::parse(&args).map_err(|text| String::from_utf8(text).expect("text"))
    }

    #[test]
    fn messages_say_what_they_ask_for() {
        assert_eq!(parse("x delete k"), Ok(Message::Delete));
        assert_eq!(parse("x EXPIRE k 0"), Ok(Message::Expire { ttl_ms: 0 }));
        assert_eq!(parse("x string k 5 v"), Ok(Message::Text { ttl_ms: 5 }));
        assert_eq!(parse("x object k 5 v"), Ok(Message::Object { ttl_ms: 5 }));
        let chunk = |kind, hint| Ok(Message::Chunk { kind, ttl_ms: 3, hint });
        assert_eq!(parse("x list k 3 9"), chunk(Collection::List, 9));
        assert_eq!(parse("x dict k 3 9223372036854775807 a b c"), chunk(Collection::Set, i64::MAX));
        assert_eq!(parse("x hash k 3 0 f v"), chunk(Collection::Hash, 0));
        assert_eq!(parse("x zset k 3 0 m 12345678"), chunk(Collection::ZSet, 0));
    }

    #[test]
    fn what_only_servers_of_ours_say_is_understood_too() {
        assert_eq!(parse("x part k 3 900 abc"), Ok(Message::Part { ttl_ms: 3, hint: 900 }));
        assert_eq!(parse("x sync k"), Ok(Message::Sync));
        assert_eq!(parse("x many a 0 stext b 5 opayload"), Ok(Message::Many));
        let args: [&[u8]; 8] = [b"x", b"many", b"a", b"0", b"stext", b"b", b"5", b"opayload"];
        let found: Vec<_> = items(&args).map(|item| (item.key, item.ttl_ms, item.value)).collect();
        let (text, object) = (Packed::Text(b"text"), Packed::Object(b"payload"));
        assert_eq!(found, [(&b"a"[..], Some(0), text), (b"b", Some(5), object)]);
        for line in ["x part k 3 900", "x part k 3 900 a b", "x sync k 1", "x many a 0", "x many a 0 s b", "x many a"] {
            assert!(parse(line).is_err_and(|text| text.starts_with("wrong number of arguments")), "{line}");
        }
        assert_eq!(parse("x many a 0 s b x s"), Err("invalid TTL value (TTL=x)".to_owned()));
    }

    #[test]
    fn refusals_are_those_of_the_original() {
        for (line, text) in [
            ("x nosuch", "wrong number of arguments (argc=2,cmd=nosuch)"),
            ("x nosuch k", "wrong number of arguments (argc=3,cmd=nosuch)"),
            ("x nosuch k 1 1", "unknown command (argc=5,cmd=nosuch)"),
            ("x nosuch k 1", "wrong number of arguments (argc=4,cmd=nosuch)"),
            ("x delete k 0", "wrong number of arguments (argc=4,cmd=delete)"),
            ("x expire k", "wrong number of arguments (argc=3,cmd=expire)"),
            ("x expire k -1", "invalid TTL value (TTL=-1)"),
            ("x expire k 01", "invalid TTL value (TTL=01)"),
            ("x string k 1", "wrong number of arguments (argc=4,cmd=string)"),
            ("x object k 1 2 3", "wrong number of arguments (argc=6,cmd=object)"),
            ("x list k 1 x", "invalid Hint value (Hint=x)"),
            ("x hash k 1 1 f", "wrong number of arguments (argc=6,cmd=hash)"),
            ("x zset k 1 1 m", "wrong number of arguments (argc=6,cmd=zset)"),
            ("x zset k 1 1 m 1.5", "invalid zset score ([0]), bad raw bits"),
            ("x zset k 1 1 m 12345678 n 1234567", "invalid zset score ([1]), bad raw bits"),
        ] {
            assert_eq!(parse(line), Err(text.to_owned()), "{line}");
        }
        let nan = f64::NAN.to_le_bytes();
        let args: [&[u8]; 7] = [b"x", b"zset", b"k", b"1", b"1", b"m", &nan];
        assert!(Message::parse(&args).is_err_and(|text| text == b"invalid zset score ([0]), bad raw bits"));
    }

    #[test]
    fn integers_are_strict() {
        for text in ["", "-", "01", "+1", " 1", "1.0", "0x1", "-0", "9223372036854775808"] {
            assert_eq!(strict_int(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(strict_int(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(strict_int(b"0"), Some(0));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_parsed_or_refused(args in prop::collection::vec(prop_oneof![
            Just(b"zset".to_vec()), Just(b"list".to_vec()), Just(b"expire".to_vec()), Just(b"1".to_vec()),
            prop::collection::vec(any::<u8>(), 0..12)], 0..9)) {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let _ = Message::parse(&args);
        }
    }
}

//! The words that templates name: few enough keys and members that commands meet, and every edge we know of.

use crate::Random;
use std::time::{SystemTime, UNIX_EPOCH};

/// Classes of keys: the commands of a type mostly meet values of that type.
const KEYS: &[(&str, [&[u8]; 3])] = &[
    ("s", [b"str:1", b"str:{tag}", b"\x00bin\xff\r\nkey"]),
    ("b", [b"bits:1", b"bits:2", b"bits:{tag}"]),
    ("l", [b"list:1", b"list:2", b"list:{tag}"]),
    ("t", [b"set:1", b"set:2", b"set:{tag}"]),
    ("z", [b"zset:1", b"zset:2", b"zset:{tag}"]),
    ("h", [b"hash:1", b"hash:2", b"hash:{tag}"]),
    ("g", [b"geo:1", b"geo:2", b"geo:{tag}"]),
];

/// HyperLogLogs stay apart: whatever else writes to one, such as APPEND, makes Redis 3.2 crash when it counts.
const HYPERLOGLOGS: [&[u8]; 3] = [b"hll:1", b"hll:2", b"hll:{tag}"];

/// Sorted sets whose scores are all equal stay apart too: otherwise ranges of names are not defined.
const LEXICOGRAPHIC: [&[u8]; 3] = [b"lex:1", b"lex:2", b"lex:{tag}"];

/// A command aims at a key of another class once in so many.
const STRAY_ONE_IN: usize = 25;

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "7",
    "10",
    "100",
    "255",
    "256",
    "-128",
    "127",
    "128",
    "32767",
    "32768",
    "65535",
    "65536",
    "-32769",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9999",
    "8388607",
    "8388608",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775806",
];
const NO_NUMBERS: &[&str] = &[
    "",
    " 1",
    "1 ",
    "+1",
    "01",
    "-0",
    "1.0",
    "abc",
    "1e3",
    "0x10",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "--1",
    "-",
    "1\0",
];
// No number here is out of a double's range: having read one, SORT of Redis 7.0 refuses whatever it reads next.
const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "1.5",
    "-2.25",
    "0.1",
    "3.14159265358979",
    "1e10",
    "1e-10",
    "1e300",
    "-1e300",
    "1e17",
    "123456789",
    "0.30000000000000004",
    "1.7976931348623157e308",
    "17179869184",
    "9007199254740993",
    "100.0",
];
const NO_FLOATS: &[&str] = &["", "abc", " 1.5", "1.5 ", "1.5.5", "1e", "nan", "0x1p3", "inf", "-inf", "+inf"];
const ODD: &[&str] = &[
    "-1",
    "abc",
    "",
    "1.5",
    "4294967296",
    "9223372036854775808",
    " ",
    "0x1",
    "NX",
    "WITHSCORES",
    "LIMIT",
    "*",
    "(1",
    "[a",
    "+inf",
];

/// A word of the class `name`; panics on a class that is not there.
pub fn word(name: &str, random: &mut Random) -> Vec<u8> {
    if let Some((_, keys)) = KEYS.iter().find(|(class, _)| *class == name) {
        return if random.once_in(STRAY_ONE_IN) { any_key(random) } else { keys[random.below(3)].to_vec() };
    }
    match name {
        "k" => any_key(random),
        "y" => LEXICOGRAPHIC[random.below(3)].to_vec(),
        "p" => HYPERLOGLOGS[random.below(3)].to_vec(),
        "v" => value(random),
        "m" => member(random),
        "many" => format!("element:{}", random.below(100_000)).into_bytes(),
        "small" => random.within(1, 5).to_string().into_bytes(),
        "n" => mostly(random, 8, number, NO_NUMBERS),
        "x" => mostly(random, 8, float, NO_FLOATS),
        "score" => mostly(random, 12, score, NO_FLOATS),
        "i" => mostly(random, 40, index, NO_NUMBERS),
        "c" => mostly(random, 40, |random| random.within(-3, 12).to_string(), &["", "x", "1.5", "9223372036854775808"]),
        "off" => mostly(random, 20, |random| random.below(90).to_string(), &["-1", "x", "536870912", "4294967296"]),
        "bit" => mostly(random, 20, |random| random.below(300).to_string(), &["-1", "x", "4294967296", "01"]),
        "bft" => mostly(random, 20, bitfield_type, &["u64", "u0", "i65", "i0", "x8", "u", "i08", "-8", "u-8"]),
        "bfo" => mostly(random, 20, bitfield_offset, &["#", "-1", "x", "#x", "#-1", "4294967296"]),
        "ttl" => mostly(random, 10, |random| random.within(1000, 100_000).to_string(), &["0", "-1", "x", "", "1.5"]),
        "pttl" => {
            mostly(random, 10, |random| random.within(1_000_000, 99_000_000).to_string(), &["0", "-1", "x", "", "1.5"])
        }
        "at" => moment(random, 1).into_bytes(),
        "pat_at" => moment(random, 1000).into_bytes(),
        "pat" => pattern(random),
        "min" | "max" => mostly(random, 20, bound, &["(", "x", "", "((1", "nan", "(nan", "( 1", "[1"]),
        "lexmin" | "lexmax" => lex_bound(random),
        "lon" => mostly(random, 20, |random| coordinate(random, 180.0), &["181", "-180.1", "x", "nan", ""]),
        "lat" => mostly(random, 20, |random| coordinate(random, 85.0), &["86", "-85.1", "x", "inf"]),
        "dist" => mostly(random, 20, |random| random.below(9000).to_string(), &["-1", "x", "", "0", "1e9"]),
        "unit" => random.pick(&["m", "km", "ft", "mi", "km", "KM", "x"]).as_bytes().to_vec(),
        "get" => random.pick(&["#", "w_*", "h_*->f", "nothing", "w_*->f", "*", "h_*->"]).as_bytes().to_vec(),
        // Of scripts alone: errors inside of scripts are worded otherwise in later versions.
        "string" => format!("script:string:{}", random.below(3)).into_bytes(),
        "counter" => format!("script:counter:{}", random.below(3)).into_bytes(),
        "weight" => format!("w_{}", random.within(1, 5)).into_bytes(),
        "weight_hash" => format!("h_{}", random.within(1, 5)).into_bytes(),
        "odd" => random.pick(ODD).as_bytes().to_vec(),
        _ => panic!("templates name a class of words that is not there: <{name}>"),
    }
}

fn mostly(random: &mut Random, seldom: usize, usual: impl Fn(&mut Random) -> String, else_of: &[&str]) -> Vec<u8> {
    if random.once_in(seldom) { random.pick(else_of).as_bytes().to_vec() } else { usual(random).into_bytes() }
}

fn any_key(random: &mut Random) -> Vec<u8> {
    let (_, keys) = KEYS[random.below(KEYS.len())];
    if random.once_in(12) { b"missing".to_vec() } else { keys[random.below(3)].to_vec() }
}

fn number(random: &mut Random) -> String {
    if random.once_in(2) { random.pick(NUMBERS).to_owned() } else { random.within(-50, 50).to_string() }
}

fn float(random: &mut Random) -> String {
    match random.below(3) {
        0 => random.pick(FLOATS).to_owned(),
        1 => random.within(-20, 20).to_string(),
        _ => format!("{}", random.within(-100_000, 100_000) as f64 / 64.0),
    }
}

fn score(random: &mut Random) -> String {
    if random.once_in(15) { random.pick(&["inf", "-inf", "+inf", "Infinity"]).to_owned() } else { float(random) }
}

fn index(random: &mut Random) -> String {
    match random.below(12) {
        0 => random.pick(NUMBERS).to_owned(),
        1..6 => random.within(-12, 12).to_string(),
        _ => random.within(-3, 5).to_string(),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => vec![],
        1 => number(random).into_bytes(),
        2 => float(random).into_bytes(),
        3 => (0..random.below(12)).map(|_| random.number() as u8).collect(),
        // Around the longest elements of compact values and the longest string stored beside its object.
        4 => vec![b'a' + random.below(4) as u8; random.within(43, 46) as usize],
        5 => vec![b'z'; random.within(62, 67) as usize],
        6 if random.once_in(8) => vec![b'q'; random.within(250, 9000) as usize],
        _ => format!("v{}", random.below(100)).into_bytes(),
    }
}

fn member(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => value(random),
        1 => number(random).into_bytes(),
        2 => random.pick(&["", "n\0", "é", "a b", "A", "*", "[a]", "10000000000000000000000"]).as_bytes().to_vec(),
        3..8 => random.within(-3, 12).to_string().into_bytes(),
        _ => vec![b'a' + random.below(10) as u8],
    }
}

fn bitfield_type(random: &mut Random) -> String {
    if random.once_in(2) { format!("u{}", random.within(1, 63)) } else { format!("i{}", random.within(1, 64)) }
}

fn bitfield_offset(random: &mut Random) -> String {
    if random.once_in(3) { format!("#{}", random.below(8)) } else { random.below(150).to_string() }
}

/// A moment long past or far ahead, in seconds times `scale`.
fn moment(random: &mut Random, scale: i64) -> String {
    // Only its far future is used, so that two runs with one seed do the same.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    match random.below(8) {
        0 => random.pick(&["0", "-1", "1", "x", "1000000000"]).to_owned(),
        _ => ((now + random.within(10_000, 90_000)) * scale).to_string(),
    }
}

fn pattern(random: &mut Random) -> Vec<u8> {
    let patterns: &[&str] = &[
        "*", "*", "*:1", "str:*", "[a-e]", "?", "[^a]", "h*[12]", "\\*", "[", "[z-a]*", "", "**1", "*{tag}", "a\\",
        "[a-", "???",
    ];
    random.pick(patterns).as_bytes().to_vec()
}

fn bound(random: &mut Random) -> String {
    match random.below(6) {
        0 => random.pick(&["-inf", "+inf", "inf", "(inf", "(-inf"]).to_owned(),
        1 | 2 => format!("({}", float(random)),
        _ => float(random),
    }
}

fn lex_bound(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => b"-".to_vec(),
        1 => b"+".to_vec(),
        2 => random.pick(&["", "a", "(", "[", "-x", "+x"]).as_bytes().to_vec(),
        _ => [random.pick(&["[", "("]).as_bytes(), &member(random)].concat(),
    }
}

fn coordinate(random: &mut Random, most: f64) -> String {
    let most = (most * 1e6) as i64;
    // Most places are near each other, so that searches find some.
    let range = if random.once_in(3) { most } else { most / 90 };
    format!("{:.6}", random.within(-range, range) as f64 / 1e6)
}

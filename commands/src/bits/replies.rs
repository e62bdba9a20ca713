//! The commands on bits, against the words of the original and against sums without a limit.

use crate::testing::World;
use proptest::prelude::*;

#[test]
fn single_bits() {
    let mut world = World::new();
    assert_eq!(world.run("getbit k 9"), ":0");
    assert_eq!(world.run("setbit k 1 1"), ":0");
    assert_eq!(world.events, ["setbit k"]);
    assert_eq!(world.run("get k"), "@");
    assert_eq!(world.run("setbit k 1 0"), ":1");
    assert_eq!(world.run("setbit k 20 1"), ":0");
    assert_eq!(world.run("strlen k"), ":3");
    world.run("set n 1");
    assert_eq!(world.run("setbit n 6 1"), ":0");
    assert_eq!(world.run("get n"), "3");
    assert_eq!(world.run("getbit n 7"), ":1");
    world.run("rpush l a");
    assert!(world.run("setbit l 0 1").starts_with("-WRONGTYPE"));
    let offset = "-ERR bit offset is not an integer or out of range";
    for bad in ["setbit k -1 1", "setbit k 4294967296 1", "getbit k x", "getbit k #1", "setbit k x y"] {
        assert_eq!(world.run(bad), offset, "{bad}");
    }
    for bad in ["setbit k 0 2", "setbit k 0 -1", "setbit k 0 x"] {
        assert_eq!(world.run(bad), "-ERR bit is not an integer or out of range", "{bad}");
    }
}

#[test]
fn counts_and_positions() {
    let mut world = World::new();
    world.run(r#"set k "\xff\xf0\x00""#);
    for (line, reply) in [
        ("bitcount k", ":12"),
        ("bitcount k 1 -1", ":4"),
        ("bitcount k -2 -3", ":0"),
        ("bitcount k 5 9", ":0"),
        ("bitcount k 0 x", "-ERR value is not an integer or out of range"),
        ("bitcount k 0", "-ERR syntax error"),
        ("bitcount nothing 0", ":0"),
        ("bitpos k 0", ":12"),
        ("bitpos k 1 2", ":-1"),
        ("bitpos k 0 0 0", ":-1"),
        ("bitpos k 0 0 -1", ":12"),
        ("bitpos k 1 1", ":8"),
        ("bitpos k 0 7", ":-1"),
        ("bitpos k 2", "-ERR The bit argument must be 1 or 0."),
        ("bitpos k 1 0 1 2", "-ERR syntax error"),
        ("bitpos nothing 0", ":0"),
        ("bitpos nothing 1", ":-1"),
    ] {
        assert_eq!(world.run(line), reply, "{line}");
    }
    world.run(r#"set ones "\xff\xff""#);
    assert_eq!(world.run("bitpos ones 0"), ":16");
    assert_eq!(world.run("bitpos ones 0 1"), ":16");
}

#[test]
fn whole_strings() {
    let mut world = World::new();
    world.run(r#"mset a "\xff\x0f" b "\xf0""#);
    for (line, reply, result) in [
        ("bitop and t a b", ":2", r"\xf0\x00"),
        ("bitop or t a b", ":2", r"\xff\x0f"),
        ("bitop xor t a b nothing", ":2", r"\x0f\x0f"),
        ("bitop not t a", ":2", r"\x00\xf0"),
        ("bitop or t a", ":2", r"\xff\x0f"),
        ("bitop xor t b", ":1", r"\xf0"),
    ] {
        assert_eq!((world.run(line).as_str(), world.run("get t").as_str()), (reply, result), "{line}");
    }
    assert_eq!(world.run("bitop and b b a"), ":2");
    assert_eq!(world.run("get b"), r"\xf0\x00");
    assert_eq!(world.run("bitop or t x y"), ":0");
    assert_eq!(world.events, ["del t"]);
    assert_eq!(world.dirty, 1);
    assert_eq!(world.run("bitop or t x y"), ":0");
    assert_eq!(world.dirty, 1);
    assert_eq!(world.run("bitop not t a b"), "-ERR BITOP NOT must be called with a single source key.");
    assert_eq!(world.run("bitop nand t a b"), "-ERR syntax error");
    world.run("rpush l x");
    assert!(world.run("bitop or t a l").starts_with("-WRONGTYPE"));
}

#[test]
fn fields() {
    let mut world = World::new();
    for (line, reply) in [
        ("bitfield k", "[]"),
        ("bitfield k get u8 0", "[:0]"),
        ("bitfield k set u8 0 255 get i8 0 incrby u4 #1 1", "[:0 :-1 :0]"),
        ("bitfield k overflow sat incrby u4 #0 5 overflow fail incrby i4 0 -8 get u4 0", "[:15 (nil) :15]"),
        ("bitfield k set u8 8 -1", "[:0]"),
        ("bitfield k overflow sat set u8 8 -1 get u8 8", "[:255 :255]"),
        ("bitfield i set i64 0 -5 get i64 0 incrby i64 0 3", "[:0 :-5 :-2]"),
        ("bitfield i overflow sat set i8 0 -9223372036854775808 get i8 0", "[:-1 :-128]"),
        (
            "bitfield i overflow sat incrby i64 0 -9223372036854775808 get i64 0",
            "[:-9223372036854775808 :-9223372036854775808]",
        ),
        ("bitfield i incrby i64 0 -1 get u8 56", "[:9223372036854775807 :255]"),
        (
            "bitfield k get u64 0",
            "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ),
        ("bitfield k get u8 #9223372036854775807", "-ERR bit offset is not an integer or out of range"),
        ("bitfield k overflow no", "-ERR Invalid OVERFLOW type specified"),
        ("bitfield k get u8", "-ERR syntax error"),
        ("bitfield k set u8 0 x", "-ERR value is not an integer or out of range"),
    ] {
        assert_eq!(world.run(line), reply, "{line}");
    }
    world.run("bitfield k set u1 0 1 get u8 0 incrby u1 1 1");
    assert_eq!((world.dirty, &world.events), (2, &vec!["setbit k".to_owned()]));
    world.run("rpush l x");
    assert!(world.run("bitfield l get u8 0").starts_with("-WRONGTYPE"));
    assert!(world.run("bitfield l set u8 0 1").starts_with("-WRONGTYPE"));
}

proptest! {
    #[test]
    fn sums_that_do_not_fit(bits in 1u32..65, signed: bool, old: i64, amount: i64, mode in 0usize..3) {
        let bits = if signed { bits } else { bits.min(63) };
        let word = ["wrap", "sat", "fail"][mode];
        let (min, max) = if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
        let modulus = 1i128 << bits;
        let old = (i128::from(old) - min).rem_euclid(modulus) + min;
        let sum = old + i128::from(amount);
        let expected = match word {
            _ if (min..=max).contains(&sum) => format!(":{sum}"),
            "wrap" => format!(":{}", (sum - min).rem_euclid(modulus) + min),
            "sat" => format!(":{}", if sum > max { max } else { min }),
            _ => "(nil)".into(),
        };
        let mut world = World::new();
        let width = format!("{}{bits}", if signed { 'i' } else { 'u' });
        world.run(&format!("bitfield k set {width} 3 {old}"));
        prop_assert_eq!(world.run(&format!("bitfield k overflow {word} incrby {width} 3 {amount}")), format!("[{expected}]"));
    }
}

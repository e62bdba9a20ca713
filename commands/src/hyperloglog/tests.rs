//! HyperLogLog commands as a client, the log and a subscriber see them.

use crate::testing::World;

const INVALID: &str = "-INVALIDOBJ Corrupted HLL object detected";
const NOT_A_SKETCH: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.";

#[test]
fn pfadd_says_whether_the_sketch_has_changed() {
    let mut world = World::new();
    assert_eq!(world.run("pfadd h"), ":1");
    assert_eq!((world.dirty, &world.events[..]), (1, &["pfadd h".to_string()][..]));
    assert_eq!(world.run("pfadd h"), ":0");
    assert_eq!(world.run("pfadd h a b c"), ":1");
    assert_eq!(world.run("pfadd h c b a"), ":0");
    assert!(world.log.is_empty() && world.events.is_empty());
    assert_eq!(world.run("pfadd h \"\""), ":1");
}

#[test]
fn the_count_is_kept_in_the_string_until_it_changes() {
    let mut world = World::new();
    world.run("pfadd h a b c");
    assert_eq!(world.run("getrange h 15 15"), "\\x80");
    assert_eq!(world.run("pfcount h"), ":3");
    // Logged, since the bytes have changed, but no event.
    assert_eq!((&world.log[..], world.events.len()), (&["pfcount h".to_string()][..], 0));
    assert_eq!(world.run("getrange h 8 15"), "\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00");
    assert_eq!(world.run("pfcount h"), ":3");
    assert!(world.log.is_empty());
    world.run("pfadd h a b c");
    assert_eq!(world.run("getrange h 15 15"), "\\x00");
    world.run("pfadd h d");
    assert_eq!(world.run("getrange h 15 15"), "\\x80");
    assert_eq!(world.run("pfcount none"), ":0");
}

#[test]
fn a_sketch_becomes_dense_at_the_limit_and_keeps_its_expiry() {
    let mut world = World::new();
    world.settings.hll_sparse_max_bytes = 100;
    world.run("pfadd h a");
    world.now.ms += 1;
    let at = world.now.ms + 1000;
    world.run(&format!("pexpireat h {at}"));
    for n in 0..200 {
        world.run(&format!("pfadd h {n}"));
        let expected = if world.run("strlen h") == ":12304" { "dense" } else { "sparse" };
        assert_eq!(world.run("pfdebug encoding h"), expected);
    }
    assert_eq!(world.run("pfdebug encoding h"), "dense");
    let count: u64 = world.run("pfcount h")[1..].parse().expect("a number");
    assert!(count.abs_diff(201) < 5, "{count}");
    assert_eq!(world.run("pttl h"), ":1000");
}

#[test]
fn unions_are_counted_and_stored_dense() {
    let mut world = World::new();
    world.run("pfadd a 1 2 3");
    world.run("pfadd b 3 4");
    world.run("pfdebug todense b");
    assert_eq!(world.run("pfcount a b none"), ":4");
    assert!(world.log.is_empty());
    assert_eq!(world.run("pfmerge d a b none"), "OK");
    assert_eq!((world.dirty, &world.events[..]), (1, &["pfadd d".to_string()][..]));
    assert_eq!((world.run("pfcount d"), world.run("pfdebug encoding d")), (":4".into(), "dense".into()));
    assert_eq!(world.run("pfmerge a b"), "OK");
    assert_eq!(world.run("pfcount a"), ":4");
    assert_eq!(world.run("pfmerge empty"), "OK");
    assert_eq!(world.run("pfcount empty"), ":0");
}

#[test]
fn strings_that_are_no_sketch_are_refused() {
    let mut world = World::new();
    world.run("set text bar");
    world.run("set int 5");
    world.run("rpush list x");
    world.run("pfadd h a b c");
    for (key, error) in [
        ("text", NOT_A_SKETCH),
        ("int", NOT_A_SKETCH),
        ("list", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ] {
        for line in
            ["pfadd KEY x", "pfcount KEY", "pfcount h KEY", "pfmerge KEY h", "pfmerge x KEY", "pfdebug encoding KEY"]
        {
            let line = line.replace("KEY", key);
            assert_eq!(world.run(&line), error, "{line}");
        }
    }
    assert_eq!(world.run("exists x"), ":0");
    for (change, error) in
        [("append h hello", INVALID), ("setrange h 0 0123", NOT_A_SKETCH), ("setrange h 4 x", NOT_A_SKETCH)]
    {
        world.run("del h");
        world.run("pfadd h a b c");
        world.run(change);
        assert_eq!(world.run("pfcount h"), error, "{change}");
        assert_eq!(world.run("pfcount h h"), error, "{change}");
        assert_eq!(world.run("pfmerge d h"), error, "{change}");
    }
}

#[test]
fn pfdebug_looks_inside() {
    let mut world = World::new();
    world.run("pfadd h a");
    // "a" has a run of 2 in register 12711.
    assert_eq!(world.run("pfdebug decode h"), "Z:12711 v:2,1 Z:3672");
    assert_eq!(world.run("PFDEBUG Encoding h"), "sparse");
    let registers = world.run("pfdebug getreg h");
    assert_eq!(registers.matches(':').count(), 16384);
    assert_eq!(registers.matches(":2").count(), 1);
    assert_eq!(world.log, ["pfdebug getreg h"]);
    assert_eq!(world.run("pfdebug todense h"), ":0");
    assert_eq!(world.run("pfdebug decode h"), "-ERR HLL encoding is not sparse");
    assert_eq!(world.run("pfdebug getreg none"), "-ERR The specified key does not exist");
    assert_eq!(world.run("pfdebug foo h"), "-ERR Unknown PFDEBUG subcommand \\'foo\\'");
    assert_eq!(world.run("pfdebug decode h h"), "-ERR Wrong number of arguments for the \\'decode\\' subcommand");
}

#[test]
fn the_self_test_passes() {
    assert_eq!(World::new().run("pfselftest"), "OK");
}

//! Set commands as a client, the log and a subscriber see them.

use crate::testing::World;
use std::collections::BTreeSet;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// The elements of an array of plain words.
fn words(reply: &str) -> Vec<String> {
    reply.trim_matches(['[', ']']).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn members_are_added_once_and_removed_once() {
    let mut world = World::new();
    assert_eq!(world.run("SADD s 3 1 2 3"), ":3");
    assert_eq!((world.dirty, &world.events[..]), (3, &["sadd s".into()][..]));
    assert_eq!(world.log, ["SADD s 3 1 2 3"]);
    assert_eq!(world.run("SADD s 1"), ":0");
    assert!(world.log.is_empty() && world.events.is_empty());
    assert_eq!(world.run("SMEMBERS s"), "[1 2 3]");
    assert_eq!(world.run("SADD s x"), ":1");
    assert_eq!(world.sorted("SMEMBERS s"), "[1 2 3 x]");
    assert_eq!([world.run("SCARD s"), world.run("SCARD none")], [":4", ":0"]);
    assert_eq!(
        [world.run("SISMEMBER s x"), world.run("SISMEMBER s y"), world.run("SISMEMBER none x")],
        [":1", ":0", ":0"]
    );
    assert_eq!(world.run("SREM s 1 9 x"), ":2");
    assert_eq!((world.dirty, &world.events[..]), (2, &["srem s".into()][..]));
    assert_eq!(world.run("SREM s 2 3 4"), ":2");
    assert_eq!(world.events, ["srem s", "del s"]);
    assert_eq!([world.run("SREM s 2"), world.run("SMEMBERS s")], [":0", "[]"]);
}

#[test]
fn a_command_on_another_type_is_refused() {
    let mut world = World::new();
    world.run("SET t x");
    for line in [
        "SADD t a",
        "SREM t a",
        "SMOVE t u a",
        "SISMEMBER t a",
        "SCARD t",
        "SPOP t",
        "SPOP t 0",
        "SRANDMEMBER t",
        "SRANDMEMBER t 0",
        "SINTER t",
        "SUNION t",
        "SDIFF t",
        "SMEMBERS t",
        "SSCAN t 0",
        "SUNION none t",
        "SDIFF none t",
        "SINTERSTORE d t",
        "SUNIONSTORE d none t",
        "SDIFFSTORE d none t",
        "SINTER t none",
    ] {
        assert_eq!(world.run(line), WRONG_TYPE, "{line}");
        assert_eq!(world.dirty, 0);
    }
    // A key that is missing ends an intersection before the wrong one is seen.
    assert_eq!(world.run("SINTER none t"), "[]");
    assert_eq!(world.run("SINTERSTORE d none t"), ":0");
}

#[test]
fn smove_reports_both_ends() {
    let mut world = World::new();
    world.run("SADD a 1 x");
    world.run("SADD b 1");
    world.run("SET t x");
    assert_eq!([world.run("SMOVE none t x"), world.run("SMOVE a b y")], [":0", ":0"]);
    assert_eq!(world.run("SMOVE a t y"), WRONG_TYPE);
    assert_eq!([world.run("SMOVE a a x"), world.run("SMOVE a a y")], [":1", ":0"]);
    assert_eq!(world.dirty, 0);
    assert_eq!(world.run("SMOVE a b x"), ":1");
    assert_eq!((world.dirty, &world.events[..]), (2, &["srem a".into(), "sadd b".into()][..]));
    assert_eq!(world.log, ["SMOVE a b x"]);
    assert_eq!(world.run("SMOVE a b 1"), ":1");
    assert_eq!((world.dirty, &world.events[..]), (1, &["srem a".into(), "del a".into()][..]));
    assert_eq!(world.sorted("SMEMBERS b"), "[1 x]");
    assert_eq!(world.run("SMOVE b c x"), ":1");
    assert_eq!(world.run("SMEMBERS c"), "[x]");
}

#[test]
fn spop_is_logged_as_the_removal_of_what_it_took() {
    for first in ["", "x"] {
        let mut world = World::new();
        world.run(&format!("SADD s 1 2 3 {first}"));
        let mut left: BTreeSet<String> = words(&world.run("SMEMBERS s")).into_iter().collect();
        while !left.is_empty() {
            let popped = world.run("SPOP s");
            assert!(left.remove(&popped));
            assert_eq!(world.log, [format!("SREM s {popped}")]);
            let events: &[&str] = if left.is_empty() { &["spop s", "del s"] } else { &["spop s"] };
            assert_eq!(
                (world.dirty, &world.events[..]),
                (1, &events.iter().map(|&e| e.to_owned()).collect::<Vec<_>>()[..])
            );
        }
        assert_eq!([world.run("SPOP s"), world.run("SPOP s 3")], ["(nil)", "[]"]);
    }
}

#[test]
fn spop_with_a_count_takes_different_members() {
    // 2 of 100: drawn; 97 of 100: the rest is kept; 100 and 200: all.
    for (count, text) in [(2, false), (97, false), (2, true), (97, true), (100, true), (200, false)] {
        let mut world = World::new();
        (0..100).for_each(|n| {
            world.run(&format!("SADD s {n}{}", if text { "x" } else { "" }));
        });
        let popped = words(&world.run(&format!("SPOP s {count}")));
        let distinct: BTreeSet<&String> = popped.iter().collect();
        assert_eq!((popped.len(), distinct.len()), (count.min(100), count.min(100)));
        if count < 100 {
            let log = format!("SREM s {}", popped.join(" "));
            assert_eq!((&world.log[..], &world.events[..]), (&[log][..], &["spop s".into()][..]));
        } else {
            assert_eq!(
                (&world.log[..], &world.events[..]),
                (&["DEL s".into()][..], &["spop s".into(), "del s".into()][..])
            );
        }
        let left = words(&world.run("SMEMBERS s"));
        assert_eq!(left.len() + popped.len(), 100);
        assert!(left.iter().all(|member| !distinct.contains(member)));
    }
}

#[test]
fn bad_counts_are_refused_as_redis_does() {
    let mut world = World::new();
    world.run("SADD s a b");
    assert_eq!(world.run("SPOP s -1"), "-ERR index out of range");
    assert_eq!(world.run("SPOP s x"), "-ERR value is not an integer or out of range");
    assert_eq!(world.run("SPOP s 1 2"), "-ERR syntax error");
    assert_eq!(world.run("SPOP s 0"), "[]");
    assert_eq!(world.run("SRANDMEMBER s x"), "-ERR value is not an integer or out of range");
    assert_eq!(world.run("SRANDMEMBER s 1 2"), "-ERR syntax error");
    assert_eq!(world.run("SRANDMEMBER s -9223372036854775808"), "-ERR index out of range");
    assert_eq!(
        [world.run("SRANDMEMBER s 0"), world.run("SRANDMEMBER none 4"), world.run("SRANDMEMBER none")],
        ["[]", "[]", "(nil)"]
    );
    assert_eq!(world.run("SCARD s"), ":2");
}

#[test]
fn srandmember_with_a_count_takes_each_member_alike() {
    for text in ["", "x"] {
        let mut world = World::new();
        (0..30).for_each(|n| {
            world.run(&format!("SADD s {n}{text}"));
        });
        for count in [3, 20] {
            let mut times = std::collections::BTreeMap::new();
            for _ in 0..3000 {
                let drawn = words(&world.run(&format!("SRANDMEMBER s {count}")));
                assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), count);
                drawn.into_iter().for_each(|member| *times.entry(member).or_insert(0usize) += 1);
            }
            assert_eq!(times.len(), 30);
            let mean = 3000 * count / 30;
            // Binomial: a deviation of at most 27; six of them.
            assert!(times.values().all(|&n| n.abs_diff(mean) < 6 * 27), "{times:?}");
        }
        assert_eq!(words(&world.run("SRANDMEMBER s 31")).len(), 30);
        assert_eq!(words(&world.run("SRANDMEMBER s -100")).len(), 100);
        assert_eq!((world.dirty, world.run("SCARD s")), (0, ":30".into()));
    }
}

#[test]
fn algebra_of_sets_that_are_there_and_that_are_not() {
    let mut world = World::new();
    world.run("SADD a 1 2 3 4 x");
    world.run("SADD b 3 4 5");
    world.run("SADD c 4 x");
    for (line, reply) in [
        ("SINTER a b", "[3 4]"),
        ("SINTER a b c", "[4]"),
        ("SINTER a a", "[1 2 3 4 x]"),
        ("SINTER a none", "[]"),
        ("SUNION a b c none", "[1 2 3 4 5 x]"),
        ("SUNION none", "[]"),
        ("SDIFF a b", "[1 2 x]"),
        ("SDIFF a b c", "[1 2]"),
        ("SDIFF a none c", "[1 2 3]"),
        ("SDIFF none a", "[]"),
        ("SDIFF a a", "[]"),
        ("SMEMBERS none", "[]"),
    ] {
        assert_eq!(world.sorted(line), reply, "{line}");
    }
}

#[test]
fn many_members_that_spop_took_are_logged_by_the_thousand() {
    let mut world = World::new();
    let members: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    world.run(&format!("SADD s {}", members.join(" ")));
    let popped = words(&world.run("SPOP s 2050"));
    let sizes: Vec<usize> = world.log.iter().map(|record| record.split(' ').count()).collect();
    assert_eq!(sizes, [1, 1026, 1026, 4, 1]);
    let logged = world.log.iter().flat_map(|record| record.split(' ').skip(2)).collect::<Vec<_>>();
    assert_eq!(logged, popped);
}

#[test]
fn a_stored_result_replaces_whatever_was_there() {
    let mut world = World::new();
    world.run("SADD a 1 2 3 x");
    world.run("SADD b 2 3 4");
    world.run("SET d text");
    for (line, len, event, members) in [
        ("SINTERSTORE d a b", ":2", "sinterstore d", "[2 3]"),
        ("SUNIONSTORE d a b", ":5", "sunionstore d", "[1 2 3 4 x]"),
        ("SDIFFSTORE d a b", ":2", "sdiffstore d", "[1 x]"),
        ("SUNIONSTORE d d b", ":5", "sunionstore d", "[1 2 3 4 x]"),
        ("SDIFFSTORE d d a", ":1", "sdiffstore d", "[4]"),
    ] {
        assert_eq!(world.run(line), len, "{line}");
        assert_eq!((&world.log[..], &world.events[..]), (&[line.into()][..], &[event.into()][..]));
        assert_eq!(world.sorted("SMEMBERS d"), members, "{line}");
    }
    assert_eq!(world.run("SDIFFSTORE d a a"), ":0");
    assert_eq!((&world.log[..], &world.events[..]), (&["SDIFFSTORE d a a".into()][..], &["del d".into()][..]));
    assert_eq!(world.run("SDIFFSTORE d a a"), ":0");
    assert_eq!((world.log.len(), world.events.len()), (1, 0));
    world.run("SET d text");
    assert_eq!(world.run("SINTERSTORE d a none"), ":0");
    assert_eq!((world.log.len(), world.events.len()), (1, 0));
    assert_eq!(world.run("SINTERSTORE d a none"), ":0");
    assert_eq!(world.log.len(), 0);
    assert_eq!(world.run("SCARD d"), ":0");
}

#[test]
fn sscan_gives_a_small_set_at_once() {
    let mut world = World::new();
    assert_eq!(world.run("SSCAN none 0 bogus"), "[0 []]");
    world.run("SADD s 3 20 1");
    assert_eq!(world.run("SSCAN s 0 COUNT 1"), "[0 [1 3 20]]");
    assert_eq!(world.run("SSCAN s 0 MATCH 2*"), "[0 [20]]");
    (0..200).for_each(|n| {
        world.run(&format!("SADD s m{n}"));
    });
    assert!(!world.run("SSCAN s 0 COUNT 5").starts_with("[0 "));
    assert_eq!(words(&world.run("SSCAN s 0 COUNT 1000")).len(), 204);
}

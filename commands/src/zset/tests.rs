//! Sorted set commands as a client, the log and a subscriber see them, in both encodings.

use crate::testing::World;
use engine::value::zset::ZSetLimits;

fn worlds() -> [World; 2] {
    let small = World::new();
    let mut big = World::new();
    big.settings.zset = ZSetLimits { entries: 0, value: 64 };
    [small, big]
}

fn each(test: impl Fn(&mut World)) {
    worlds().iter_mut().for_each(test);
}

#[test]
fn zadd_adds_and_updates_and_counts_what_is_new() {
    each(|world| {
        assert_eq!(world.run("zadd z 10 x 20 y 30 z"), ":3");
        assert_eq!(world.run("zadd z 11 x 21 y 40 w 30 z"), ":1");
        assert_eq!((world.dirty, &world.events[..]), (3, &["zadd z".to_string()][..]));
        assert_eq!(world.run("zadd z ch 12 x 40 w 1 v"), ":2");
        assert_eq!(world.run("zrange z 0 -1 withscores"), "[v 1 x 12 y 21 z 30 w 40]");
        assert_eq!(world.run("zadd z 1 v"), ":0");
        assert!(world.log.is_empty() && world.events.is_empty());
    });
}

#[test]
fn zadd_options_restrict_what_is_touched() {
    each(|world| {
        assert_eq!(world.run("zadd z xx 1 a"), ":0");
        assert_eq!(world.run("zcard z"), ":0");
        assert_eq!(world.run("zadd z nx 1 a 2 b"), ":2");
        assert_eq!(world.run("zadd z nx 5 a 3 c"), ":1");
        assert_eq!(world.run("zadd z xx ch 7 a 8 nobody"), ":1");
        assert_eq!(world.run("zrange z 0 -1 withscores"), "[b 2 c 3 a 7]");
        assert_eq!(world.run("zadd z incr nx 1 a"), "(nil)");
        assert_eq!(world.run("zadd z INCR xx 1 nobody"), "(nil)");
        assert_eq!(world.run("zadd z incr 0.5 a"), "7.5");
        assert_eq!(world.events, ["zincr z"]);
        assert_eq!(world.run("zadd z incr 0 a"), "7.5");
        assert!(world.log.is_empty());
    });
}

#[test]
fn zadd_refuses_as_redis_does_and_changes_nothing() {
    each(|world| {
        world.run("set s x");
        for (line, error) in [
            ("zadd z 1 a 2", "-ERR syntax error"),
            ("zadd z nx xx ch", "-ERR syntax error"),
            ("zadd z nx xx 1 a", "-ERR XX and NX options at the same time are not compatible"),
            ("zadd z incr 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
            ("zadd z 1 a nan b", "-ERR value is not a valid float"),
            ("zadd z foo a", "-ERR value is not a valid float"),
            ("zincrby z 1x a", "-ERR value is not a valid float"),
            ("zadd s 1 a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("zrange s 0 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ] {
            assert_eq!(world.run(line), error, "{line}");
        }
        assert_eq!(world.run("zcard z"), ":0");
        world.run("zadd z inf a");
        assert_eq!(world.run("zincrby z -inf a"), "-ERR resulting score is not a number (NaN)");
        assert_eq!((world.run("zscore z a"), world.dirty), ("inf".into(), 0));
    });
}

#[test]
fn scores_are_printed_with_17_digits() {
    each(|world| {
        world.run("zadd z 0.1 a -inf b 1e17 c 3.0 d -0 e 0x10 f");
        let scores = ["a", "b", "c", "d", "e", "f"].map(|member| world.run(&format!("zscore z {member}")));
        assert_eq!(scores, ["0.10000000000000001", "-inf", "1e+17", "3", "-0", "16"]);
        assert_eq!(world.run("zscore z nobody"), "(nil)");
        assert_eq!(world.run("zincrby z 1 d"), "4");
    });
}

#[test]
fn zrem_deletes_the_key_with_its_last_member() {
    each(|world| {
        world.run("zadd z 1 a 2 b 3 c");
        assert_eq!(world.run("zrem z x a b a"), ":2");
        assert_eq!((world.dirty, &world.events[..]), (2, &["zrem z".to_string()][..]));
        assert_eq!(world.run("zrem z c"), ":1");
        assert_eq!(world.events, ["zrem z", "del z"]);
        assert_eq!(world.run("zrem z c"), ":0");
        assert!(world.events.is_empty() && world.log.is_empty());
    });
}

#[test]
fn ranks_count_from_both_ends() {
    each(|world| {
        world.run("zadd z 1 a 2 b 2 c");
        assert_eq!((world.run("zrank z c"), world.run("zrevrank z c")), (":2".into(), ":0".into()));
        assert_eq!((world.run("zrank z x"), world.run("zrevrank none a")), ("(nil)".into(), "(nil)".into()));
    });
}

#[test]
fn ranges_by_rank() {
    each(|world| {
        world.run("zadd z 1 a 2 b 3 c 4 d");
        for (line, reply) in [
            ("zrange z 0 -1", "[a b c d]"),
            ("zrange z 1 2 withscores", "[b 2 c 3]"),
            ("zrange z -100 1", "[a b]"),
            ("zrange z 5 -1", "[]"),
            ("zrange z 5 -2", "[]"),
            ("zrange z 0 100", "[a b c d]"),
            ("zrange z 0 -5", "[]"),
            ("zrange z -9223372036854775808 9223372036854775807", "[a b c d]"),
            ("zrevrange z 0 1", "[d c]"),
            ("zrevrange z -2 -1 WITHSCORES", "[b 2 a 1]"),
            ("zrange none 0 -1", "[]"),
            ("zrange z 0 -1 foo", "-ERR syntax error"),
            ("zrange z 0 -1 withscores withscores", "-ERR syntax error"),
            ("zrange z a 1", "-ERR value is not an integer or out of range"),
        ] {
            assert_eq!(world.run(line), reply, "{line}");
        }
    });
}

#[test]
fn ranges_by_score() {
    each(|world| {
        world.run("zadd z -inf a 1 b 2 c 3 d 4 e 5 f +inf g");
        for (line, reply) in [
            ("zrangebyscore z -inf 2", "[a b c]"),
            ("zrangebyscore z (-inf (2", "[b]"),
            ("zrangebyscore z 0 3 limit 1 2 withscores", "[c 2 d 3]"),
            ("zrangebyscore z 0 3 withscores limit 2 -1", "[d 3]"),
            ("zrangebyscore z 0 3 limit -1 2", "[]"),
            ("zrangebyscore z 0 3 limit 0 0", "[]"),
            ("zrangebyscore z 0 3 limit 4 1", "[]"),
            ("zrangebyscore z 4 2", "[]"),
            ("zrangebyscore z (2 (2", "[]"),
            ("zrevrangebyscore z 2 -inf", "[c b a]"),
            ("zrevrangebyscore z 10 0 limit 2 3", "[d c b]"),
            ("zcount z 0 (3", ":2"),
            ("zcount z 4 2", ":0"),
            ("zcount none 4 2", ":0"),
            ("zrangebyscore z foo 1", "-ERR min or max is not a float"),
            ("zrangebyscore z 1 nan", "-ERR min or max is not a float"),
            ("zcount z 1 (2x", "-ERR min or max is not a float"),
            ("zrangebyscore z 0 1 limit 1", "-ERR syntax error"),
            ("zrangebyscore z 0 1 limit a 1", "-ERR value is not an integer or out of range"),
            ("zrevrangebyscore none 0 1 withscores", "[]"),
        ] {
            assert_eq!(world.run(line), reply, "{line}");
        }
    });
}

#[test]
fn ranges_by_member() {
    each(|world| {
        world.run("zadd z 0 alpha 0 bar 0 cool 0 down 0 elephant 0 10 0 9");
        for (line, reply) in [
            ("zrangebylex z - [cool", "[10 9 alpha bar cool]"),
            ("zrangebylex z [bar (down", "[bar cool]"),
            ("zrangebylex z [1 (a", "[10 9]"),
            ("zrangebylex z (cool + limit 1 5", "[elephant]"),
            ("zrangebylex z + -", "[]"),
            ("zrangebylex z + [z", "[]"),
            ("zrevrangebylex z + (d", "[elephant down]"),
            ("zrevrangebylex z [d - limit 0 2", "[cool bar]"),
            ("zlexcount z - +", ":7"),
            ("zlexcount z (bar [d", ":1"),
            ("zrangebylex z foo bar", "-ERR min or max not valid string range item"),
            ("zrangebylex z [foo -x", "-ERR min or max not valid string range item"),
            ("zrangebylex z - + withscores", "-ERR syntax error"),
            ("zrangebylex none - +", "[]"),
        ] {
            assert_eq!(world.run(line), reply, "{line}");
        }
    });
}

#[test]
fn ranges_are_removed() {
    each(|world| {
        for (line, left, removed) in [
            ("zremrangebyscore z (1 3", "[a d e]", ":2"),
            ("zremrangebyscore z 9 10", "[a b c d e]", ":0"),
            ("zremrangebyrank z 1 -2", "[a e]", ":3"),
            ("zremrangebyrank z -2 -1", "[a b c]", ":2"),
            ("zremrangebyrank z 5 9", "[a b c d e]", ":0"),
            ("zremrangebyscore z -inf +inf", "[]", ":5"),
        ] {
            world.run("zadd z 1 a 2 b 3 c 4 d 5 e");
            assert_eq!(world.run(line), removed, "{line}");
            assert_eq!(world.dirty, removed[1..].parse::<u64>().expect("a number"));
            let event = line.replace(char::is_numeric, "").split(' ').next().expect("a name").to_owned() + " z";
            match (removed, left) {
                (":0", _) => assert!(world.events.is_empty()),
                (_, "[]") => assert_eq!(world.events, [event, "del z".into()]),
                _ => assert_eq!(world.events, [event]),
            }
            assert_eq!(world.run("zrange z 0 -1"), left, "{line}");
        }
        world.run("zadd l 0 a 0 b 0 c");
        assert_eq!(world.run("zremrangebylex l [b +"), ":2");
        assert_eq!(world.run("zrange l 0 -1"), "[a]");
        assert_eq!(world.run("zremrangebylex none - +"), ":0");
    });
}

#[test]
fn unions_and_intersections_weigh_and_aggregate() {
    each(|world| {
        world.run("zadd a 1 x 2 y 3 z");
        world.run("zadd b 1 y 2 z 3 w");
        world.run("sadd i 3 7");
        world.run("sadd j 7 x");
        let long = "l".repeat(65);
        world.run(&format!("zadd l 1 3 1 7 1 {long}"));
        world.run(&format!("zrem l {long}"));
        for (line, reply, content) in [
            ("zunionstore d 2 a b", ":4", "[x 1 w 3 y 3 z 5]"),
            ("zunionstore d 2 a b weights 2 3", ":4", "[x 2 y 7 w 9 z 12]"),
            ("zunionstore d 2 a b aggregate min", ":4", "[x 1 y 1 z 2 w 3]"),
            ("zunionstore d 2 a b aggregate MAX weights 1 10", ":4", "[x 1 y 10 z 20 w 30]"),
            ("zunionstore d 3 a none a", ":3", "[x 2 y 4 z 6]"),
            ("zunionstore d 3 i j l", ":3", "[x 1 3 2 7 3]"),
            ("zinterstore d 2 j l", ":1", "[7 2]"),
            ("zinterstore d 2 a b", ":2", "[y 3 z 5]"),
            ("zinterstore d 2 a b weights 2 3 aggregate min", ":2", "[y 3 z 6]"),
            ("zinterstore d 2 a a", ":3", "[x 2 y 4 z 6]"),
            ("zinterstore a 2 a b", ":2", "[y 3 z 5]"),
        ] {
            assert_eq!(world.run(line), reply, "{line}");
            let words: Vec<_> = line.split(' ').take(2).collect();
            assert_eq!((world.dirty, &world.events[..]), (1, &[words.join(" ")][..]));
            assert_eq!(world.run(&format!("zrange {} 0 -1 withscores", words[1])), content, "{line}");
        }
        assert_eq!(world.run("zinterstore d 2 a none"), ":0");
        assert_eq!(world.events, ["del d"]);
        assert_eq!(world.run("zinterstore d 2 a none"), ":0");
        assert!(world.events.is_empty() && world.dirty == 0);
    });
}

#[test]
fn infinities_of_both_signs_add_up_to_nothing() {
    each(|world| {
        world.run("zadd a inf x");
        world.run("zadd b -inf x");
        world.run("zunionstore d 2 a b");
        assert_eq!(world.run("zscore d x"), "0");
        world.run("zinterstore d 2 a b weights 0 1 aggregate max");
        assert_eq!(world.run("zscore d x"), "0");
        world.run("zunionstore d 1 a weights 0");
        assert_eq!(world.run("zscore d x"), "0");
        // A sum of 0 and -0 is 0, and -0 alone stays.
        world.run("zadd c -0 x");
        world.run("zunionstore d 2 c d");
        assert_eq!(world.run("zscore d x"), "0");
        world.run("zunionstore d 1 c");
        assert_eq!(world.run("zscore d x"), "-0");
    });
}

#[test]
fn stores_refuse_as_redis_does() {
    each(|world| {
        world.run("set s x");
        world.run("zadd a 1 x");
        for (line, error) in [
            ("zunionstore d 0 a", "-ERR at least 1 input key is needed for ZUNIONSTORE/ZINTERSTORE"),
            ("zunionstore d x a", "-ERR value is not an integer or out of range"),
            ("zunionstore d 3 a b", "-ERR syntax error"),
            ("zunionstore d 2 a s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("zunionstore d 2 a b weights 1", "-ERR syntax error"),
            ("zunionstore d 2 a b weights 1 x", "-ERR weight value is not a float"),
            ("zunionstore d 1 a aggregate avg", "-ERR syntax error"),
            ("zinterstore d 1 a aggregate", "-ERR syntax error"),
        ] {
            assert_eq!(world.run(line), error, "{line}");
        }
        assert_eq!(world.run("zcard d"), ":0");
    });
}

#[test]
fn zscan_shows_every_member_once_or_more() {
    each(|world| {
        assert_eq!(world.run("zscan none 0"), "[0 []]");
        assert_eq!(world.run("zscan none x"), "-ERR invalid cursor");
        for i in 0..100 {
            world.run(&format!("zadd z {i}.5 member:{i}"));
        }
        let (mut cursor, mut seen) = ("0".to_string(), std::collections::BTreeSet::new());
        loop {
            let reply = world.run(&format!("zscan z {cursor} match member:*5 count 7"));
            let words: Vec<_> =
                reply.split([' ', '[', ']']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
            cursor.clone_from(&words[0]);
            for pair in words[1..].chunks(2) {
                assert_eq!(pair[0], format!("member:{}", pair[1].trim_end_matches(".5")));
                seen.insert(pair[0].clone());
            }
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 10);
    });
}

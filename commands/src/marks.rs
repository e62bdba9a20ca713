//! What commands leave behind besides their effects, as 3.2 does: whatever changes fails those who watch it, only reading
//! commands count as hits and misses, and writing ones are accesses also when they change nothing.

use crate::testing::World;

#[test]
fn whoever_watches_a_key_learns_of_every_change() {
    for (before, command, key) in [
        ("SET d x", "DEL d", "d"),
        ("SET d x", "EXPIRE d 0", "d"),
        ("SET d x", "EXPIRE d 100", "d"),
        ("SET d x", "RENAME d e", "d"),
        ("MSET d x e y", "RENAME d e", "e"),
        ("SET d x", "SINTERSTORE d none", "d"),
        ("SET d x", "SUNIONSTORE d none", "d"),
        ("SET d x", "SDIFFSTORE d none", "d"),
        ("SADD s 1", "SUNIONSTORE d s", "d"),
        ("SADD s 1", "SMOVE s d 1", "s"),
        ("SADD s 1", "SMOVE s d 1", "d"),
        ("SADD s 1", "SPOP s", "s"),
        ("SADD s 1 2 3", "SPOP s 2", "s"),
        ("SADD s 1", "SPOP s 9", "s"),
        ("SADD s 1", "SREM s 1", "s"),
        ("SET d x", "ZUNIONSTORE d 1 none", "d"),
        ("SET d x", "ZINTERSTORE d 1 none", "d"),
        ("ZADD z 1 a", "ZUNIONSTORE d 1 z", "d"),
        ("ZADD z 1 a", "ZREM z a", "z"),
        ("ZADD z 1 a", "ZREMRANGEBYRANK z 0 -1", "z"),
        ("SET d x", "BITOP AND d none", "d"),
        ("SET d x", "BITOP NOT d none", "d"),
        ("SET d x", "BITFIELD d SET u8 0 1", "d"),
        ("SET d x", "SORT none STORE d", "d"),
        ("GEOADD d 1 1 a", "GEORADIUS d 90 45 1 m STORE d", "d"),
        ("RPUSH l a", "LPOP l", "l"),
        ("RPUSH l a", "RPOPLPUSH l d", "d"),
        ("RPUSH l a", "LTRIM l 5 6", "l"),
        ("RPUSH l a", "LREM l 0 a", "l"),
        ("HSET h f v", "HDEL h f", "h"),
        ("PFADD p a", "PFMERGE d p", "d"),
        ("PFADD p a", "PFCOUNT p", "p"),
        ("SET d x", "FLUSHDB", "d"),
    ] {
        let mut world = World::new();
        world.run(before);
        let watch = world.watch(key);
        world.run(command);
        assert!(watch.is_dirty(), "{before}, {command}: {key}");
    }
}

#[test]
fn only_reading_commands_are_hits_and_misses() {
    for (before, command, hits, misses) in [
        ("SET k 1", "GET k", 1, 0),
        ("SET k 1", "INCR k", 0, 0),
        ("SET k 1", "DECR none", 0, 0),
        ("SET k 1", "INCRBY k 2", 0, 0),
        ("SET k 1", "DECRBY k 2", 0, 0),
        ("SET k 1", "INCRBYFLOAT k 2", 0, 0),
        ("SET k 1", "APPEND k 2", 0, 0),
        ("SET k 1", "APPEND none 2", 0, 0),
        ("SET k 1", "SETRANGE k 2 x", 0, 0),
        ("SET k 1", "SETBIT none 2 1", 0, 0),
        ("SET k 1", "SETNX k 2", 0, 0),
        ("SET k 1", "GETSET k 2", 1, 0),
        ("SET k 1", "STRLEN k", 1, 0),
        ("SET k 1", "BITFIELD k GET u8 0 GET u8 1", 1, 0),
        ("SET k 1", "BITFIELD none GET u8 0", 0, 1),
        ("SET k 1", "BITFIELD k GET u8 0 SET u8 1 2", 0, 0),
        ("SET k 1", "BITPOS k 1", 1, 0),
        ("SET k 1", "BITPOS none 1", 0, 1),
        ("SET k 1", "BITOP AND d k none", 1, 1),
        ("PFADD p a", "PFADD p b", 0, 0),
        ("PFADD p a", "PFCOUNT p", 0, 0),
        ("PFADD p a", "PFCOUNT p none", 1, 1),
        ("PFADD p a", "PFMERGE d p", 1, 1),
        ("PFADD p a", "PFDEBUG ENCODING p", 0, 0),
        ("SADD s a b", "SPOP s", 0, 0),
        ("SADD s a b", "SPOP s 0", 1, 0),
        ("SADD s a b", "SPOP s 1", 1, 0),
        ("SADD s a b", "SPOP none 1", 0, 1),
        ("SADD s a b", "SMOVE s none a", 0, 0),
        ("SADD s a b", "SUNIONSTORE d s none", 0, 0),
    ] {
        let mut world = World::new();
        world.run(before);
        world.run(command);
        let stats = world.look(|keys| keys.stats().clone());
        assert_eq!((stats.hits, stats.misses), (hits, misses), "{command}");
    }
}

#[test]
fn a_write_that_changes_nothing_is_an_access() {
    for (before, command, key) in [
        ("SET k 1", "SET k 2 NX", "k"),
        ("SET k 1", "SETNX k 2", "k"),
        ("MSET k 1 l 1", "MSETNX k 2 l 2", "l"),
        ("SET k x", "INCR k", "k"),
        ("SET k 1", "PERSIST k", "k"),
        ("SET k 1", "RENAME k k", "k"),
        ("MSET k 1 l 1", "RENAMENX k l", "l"),
        ("SET k 1", "RENAME k l", "l"),
        ("SET k 1", "SETRANGE k 0 \"\"", "k"),
        ("SADD k 1", "SINTERSTORE d k none", "k"),
        ("SADD k 1", "SUNIONSTORE d k", "k"),
        ("ZADD k 1 a", "ZUNIONSTORE d 1 k", "k"),
        ("SADD k 1", "SADD k 1", "k"),
        ("SADD k 1", "SREM k 2", "k"),
        ("SADD k 1", "SMOVE k d 2", "k"),
        ("PFADD k a", "PFADD k a", "k"),
    ] {
        let mut world = World::new();
        world.run(before);
        world.now.ms += 50_000;
        world.run(command);
        assert_eq!(world.run(&format!("OBJECT IDLETIME {key}")), ":0", "{command}");
    }
    // Asking for what a key is, or when it ends, is none.
    let mut world = World::new();
    world.run("SET k 1");
    world.now.ms += 50_000;
    for command in ["TTL k", "TYPE k", "EXISTS k"] {
        world.run(command);
        assert_eq!(world.run("OBJECT IDLETIME k"), ":50", "{command}");
    }
}

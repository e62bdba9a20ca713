//! Which commands are sent, as templates in a small language of words between blanks:
//!
//! * `<name>` is a word made by `words.rs`; `A|B` is one of several literal words;
//! * `[ ... ]` is there or not; `( ... )+` is there one to four times, `( ... )*` none to three times;
//! * `;` ends a command: a template may be several that belong together;
//! * anything else stands for itself.
//!
//! What the templates never make (missing words, wrong words, keys of the wrong type) is done to some commands afterwards,
//! but not where several belong together, nor to commands on the node, whose errors 7.0 words differently.
//!
//! Left out because one server's own order shows: sets sorted ALPHA BY weights that may be missing or equal. Left out because nothing can be compared: what depends on time passing (pops that wait; OBJECT IDLETIME, LASTSAVE, TIME, SLOWLOG, LATENCY), on memory layout or on the
//! process (INFO, CONFIG, CLIENT LIST, KILL, PAUSE and REPLY, COMMAND, DEBUG, MONITOR, SUBSCRIBE and its kin, AUTH, QUIT, SCRIPT FLUSH and
//! KILL, saving, replication, MIGRATE): other tests have those.

use super::words;
use crate::Random;

/// Arguments of a command, its name first.
pub type Command = Vec<Vec<u8>>;

/// One in so many commands is spoilt.
const SPOIL_ONE_IN: usize = 14;

const STRINGS: &[&str] = &[
    "GET <s>",
    "SET <s> <v>",
    "SET <s> <v>",
    "SET <s> <n>",
    "SET <s> <v> [ EX <ttl> ] [ NX|XX ]",
    "SET <s> <v> [ NX|XX|nx|xX ] [ PX <pttl> ]",
    "SETNX <s> <v>",
    "SETEX <s> <ttl> <v>",
    "PSETEX <s> <pttl> <v>",
    "APPEND <s> <v>",
    "STRLEN <s>",
    "SETRANGE <s> <off> <v>",
    "GETRANGE <s> <i> <i>",
    "SUBSTR <s> <i> <i>",
    "INCR <s>",
    "DECR <s>",
    "INCRBY <s> <n>",
    "DECRBY <s> <n>",
    "INCRBYFLOAT <s> <x>",
    "GETSET <s> <v>",
    "MGET ( <s> )+",
    "MGET ( <k> )+",
    "MSET ( <s> <v> )+",
    "MSETNX ( <s> <v> )+",
];

const BITS: &[&str] = &[
    "SETBIT <b> <bit> 0|1",
    "SETBIT <b> <bit> 0|1",
    "GETBIT <b> <bit>",
    "SET <b> <v>",
    "SETBIT <b> <bit> 2|x|-1",
    "GETBIT <b> <n>",
    "BITCOUNT <b>",
    "BITCOUNT <b> <i> <i>",
    "BITCOUNT <b> <i>",
    "BITPOS <b> 0|1|2",
    "BITPOS <b> 0|1 <i>",
    "BITPOS <b> 0|1 <i> <i>",
    "BITOP AND|OR|XOR|NOT|and <b> ( <b> )+",
    "BITOP NOT <b> <b>",
    "BITFIELD <b> ( GET <bft> <bfo> )+",
    "BITFIELD <b> ( SET <bft> <bfo> <n> )+",
    "BITFIELD <b> [ OVERFLOW WRAP|SAT|FAIL|BAD ] ( INCRBY <bft> <bfo> <n> )+",
    "BITFIELD <b> [ OVERFLOW FAIL ] ( SET <bft> <bfo> <n> )+ [ OVERFLOW SAT ] ( INCRBY <bft> <bfo> <n> )+ ( GET <bft> <bfo> )*",
    "GETRANGE <b> <i> <i>",
    "GET <b>",
];

const LISTS: &[&str] = &[
    "LPUSH <l> ( <v> )+",
    "RPUSH <l> ( <v> )+",
    "RPUSH <l> ( <m> )+",
    "RPUSH <l> ( <m> )+",
    "LPUSH <l> ( <n> )+",
    "LPUSHX <l> <v>",
    "RPUSHX <l> <v>",
    "LINSERT <l> BEFORE|AFTER|before|x <m> <v>",
    "LPOP <l>",
    "RPOP <l>",
    "LLEN <l>",
    "LINDEX <l> <i>",
    "LINDEX <l> <n>",
    "LSET <l> <i> <v>",
    "LRANGE <l> <i> <i>",
    "LRANGE <l> 0 -1",
    "LTRIM <l> <i> <i>",
    "LREM <l> <i> <m>",
    "RPOPLPUSH <l> <l>",
];

const SETS: &[&str] = &[
    "SADD <t> ( <m> )+",
    "SADD <t> ( <m> )+",
    "SADD <t> ( <n> )+",
    "SADD <t> ( <v> )+",
    "SREM <t> ( <m> )+",
    "SMOVE <t> <t> <m>",
    "SISMEMBER <t> <m>",
    "SCARD <t>",
    "SMEMBERS <t>",
    "SPOP <t>",
    "SPOP <t> <c>",
    "SRANDMEMBER <t>",
    "SRANDMEMBER <t> <c>",
    "SINTER ( <t> )+",
    "SUNION ( <t> )+",
    "SDIFF ( <t> )+",
    "SINTERSTORE <t> ( <t> )+",
    "SUNIONSTORE <t> ( <t> )+",
    "SDIFFSTORE <t> ( <t> )+",
    "SSCAN <t> 0 [ MATCH <pat> ] [ COUNT <c> ]",
    "SSCAN <t> x",
];

const ZSETS: &[&str] = &[
    "ZADD <z> ( <score> <m> )+",
    "ZADD <z> ( <score> <m> )+",
    "ZADD <z> ( <n> <m> )+",
    "ZADD <z> [ NX|XX ] [ CH ] [ INCR ] ( <score> <m> )+",
    "ZADD <z> ( NX|XX|CH|INCR|incr )* <score> <m>",
    "ZINCRBY <z> <score> <m>",
    "ZREM <z> ( <m> )+",
    "ZSCORE <z> <m>",
    "ZCARD <z>",
    "ZRANK <z> <m>",
    "ZREVRANK <z> <m>",
    "ZCOUNT <z> <min> <max>",
    // Ranges of names are defined where all scores are equal.
    "ZADD <y> ( 0 <m> )+",
    "ZADD <y> ( 0 <m> )+",
    "ZRANGE <y> 0 -1",
    "ZLEXCOUNT <y> <lexmin> <lexmax>",
    "ZRANGE <z> <i> <i> [ WITHSCORES ]",
    "ZREVRANGE <z> <i> <i> [ WITHSCORES ]",
    "ZRANGEBYSCORE <z> <min> <max> [ WITHSCORES ] [ LIMIT <i> <i> ]",
    "ZREVRANGEBYSCORE <z> <max> <min> [ LIMIT <i> <i> ] [ WITHSCORES ]",
    "ZRANGEBYLEX <y> <lexmin> <lexmax> [ LIMIT <i> <i> ]",
    "ZREVRANGEBYLEX <y> <lexmax> <lexmin> [ LIMIT <i> <i> ]",
    "ZREMRANGEBYRANK <z> <i> <i>",
    "ZREMRANGEBYSCORE <z> <min> <max>",
    "ZREMRANGEBYLEX <y> <lexmin> <lexmax>",
    "ZUNIONSTORE <z> 2 <z> <z> [ WEIGHTS <score> <score> ] [ AGGREGATE SUM|MIN|MAX|AVG ]",
    "ZINTERSTORE <z> 2 <z> <z> [ AGGREGATE SUM|MIN|MAX ] [ WEIGHTS <x> <score> ]",
    "ZUNIONSTORE <z> <c> ( <z> )+",
    "ZUNIONSTORE <z> 2 <z> <t>",
    "ZINTERSTORE <z> 3 <z> <t> <z> [ WEIGHTS 1 2 ]",
    "ZSCAN <z> 0 [ MATCH <pat> ] [ COUNT <c> ]",
];

const HASHES: &[&str] = &[
    "HSET <h> <m> <v>",
    "HSET <h> <m> <n>",
    // Short values: 3.2 makes a table of a hash for a long one even if it then does not take it, 7.0 does not.
    "HSETNX <h> <m> <n>",
    "HMSET <h> ( <m> <v> )+",
    "HMSET <h> ( <v> <v> )+",
    "HMSET <h> ( <m> )+",
    "HGET <h> <m>",
    "HMGET <h> ( <m> )+",
    "HDEL <h> ( <m> )+",
    "HLEN <h>",
    "HSTRLEN <h> <m>",
    "HEXISTS <h> <m>",
    "HKEYS <h>",
    "HVALS <h>",
    "HGETALL <h>",
    "HINCRBY <h> <m> <n>",
    "HINCRBYFLOAT <h> <m> <x>",
    "HSCAN <h> 0 [ MATCH <pat> ] [ COUNT <c> ]",
];

const HYPERLOGLOGS: &[&str] = &[
    "PFADD <p> ( <m> )+",
    "PFADD <p> ( <v> )+",
    "PFADD <p> ( <many> )+",
    "PFADD <p>",
    "PFCOUNT <p>",
    "PFCOUNT ( <p> )+",
    "PFMERGE <p> ( <p> )*",
    "GET <p>",
    "STRLEN <p>",
    "PFCOUNT <k>",
    "LPUSH <p> <v>",
    "INCR <p>",
    "DEL <p>",
    "TYPE <p>",
    "RENAME <p> <p>",
    "EXPIRE <p> <ttl>",
];

const GEO: &[&str] = &[
    "GEOADD <g> ( <lon> <lat> <m> )+",
    "GEOADD <g> ( <lon> <lat> <m> )+",
    "GEOADD <g> <n> <n> <m>",
    "GEODIST <g> <m> <m> [ <unit> ]",
    "GEOPOS <g> ( <m> )+",
    "GEOHASH <g> ( <m> )+",
    "GEORADIUS <g> <lon> <lat> <dist> <unit> [ ASC|DESC ] [ WITHCOORD ] [ WITHDIST ] [ WITHHASH ]",
    "GEORADIUS <g> <lon> <lat> <dist> <unit> [ COUNT <c> ] [ ASC|DESC ]",
    "GEORADIUSBYMEMBER <g> <m> <dist> <unit> [ WITHDIST ] [ ASC|DESC ]",
    "GEORADIUS <g> <lon> <lat> <dist> <unit> [ ASC ] STORE|STOREDIST <g>",
    "GEORADIUSBYMEMBER <g> <m> <dist> <unit> STORE|STOREDIST <g> [ WITHDIST ]",
    "ZRANGE <g> 0 -1 WITHSCORES",
    "ZREM <g> <m>",
];

const GENERIC: &[&str] = &[
    "DEL ( <k> )+",
    "DEL <k>",
    "EXISTS ( <k> )+",
    "TYPE <k>",
    "RENAME <k> <k>",
    "RENAMENX <k> <k>",
    "EXPIRE <k> <ttl>",
    "PEXPIRE <k> <pttl>",
    "EXPIREAT <k> <at>",
    "PEXPIREAT <k> <pat_at>",
    "PERSIST <k>",
    "TTL <k>",
    "PTTL <k>",
    "KEYS <pat>",
    "SCAN 0 [ MATCH <pat> ] [ COUNT <c> ]",
    "SCAN x",
    "DBSIZE",
    "RANDOMKEY",
    "TOUCH ( <k> )+",
    "OBJECT ENCODING <k>",
    "OBJECT REFCOUNT <k>",
    "OBJECT REFCOUNT <s>",
    "MOVE <k> 0|1|2|99|-1|x",
    "SELECT 0|0|1|2|99|x",
    "ECHO <v>",
    "PING",
    "PING <v>",
    "NOSUCHCOMMAND ( <v> )*",
    "OBJECT",
    "OBJECT ENCODING",
];

const SORT: &[&str] = &[
    "SORT <l> [ LIMIT <c> <c> ] [ ASC|DESC ] [ ALPHA ]",
    "SORT <t> [ DESC ] [ ALPHA ] [ LIMIT <c> <c> ]",
    "SORT <z> [ ALPHA ] [ DESC ]",
    "SORT <z> BY nosort [ DESC ] [ LIMIT <c> <c> ]",
    "SORT <l> BY nosort [ LIMIT <c> <c> ] [ GET # ] [ GET w_* ]",
    "SORT <t> BY w_* [ DESC ] ( GET <get> )*",
    "SORT <l> BY h_*->f [ ALPHA ] ( GET <get> )*",
    "SORT <l> ALPHA STORE <l>",
    "SORT <t> STORE <l> [ DESC ] [ ALPHA ] [ GET <get> ]",
    "SORT <t> BY nosort STORE <l>",
    "SORT <t> BY nosort",
    "SET <weight> <n>",
    "SET <weight> <x>",
    "HSET <weight_hash> f <n>",
    "RPUSH <l> ( <small> )+",
    "SADD <t> ( <small> )+",
    "ZADD <z> ( <score> <small> )+",
    "LRANGE <l> 0 -1",
];

/// Scripts without blanks, whose replies no server's order or wording of errors shows.
const SCRIPTS: &[&str] = &[
    "EVAL return{KEYS[1],ARGV[1],ARGV[2],#KEYS,#ARGV} 1 <k> <v> <v>",
    "EVAL return(tonumber(ARGV[1])/2) 0 <small>",
    "EVAL return{1,{2,ARGV[1]},'x',false,4} 0 <v>",
    "EVAL return(redis.call('get',KEYS[1])) 1 <string>",
    "EVAL return(redis.call('set',KEYS[1],ARGV[1])) 1 <string> <v>",
    "EVAL return(redis.call('incrby',KEYS[1],ARGV[1])) 1 <counter> <small>",
    "EVAL return(redis.call('exists',KEYS[1])+redis.call('exists',KEYS[2])) 2 <k> <k>",
    "EVAL return(redis.call('type',KEYS[1]).ok) 1 <k>",
    "EVAL return(type(redis.pcall('lpush',KEYS[1],ARGV[1]))) 1 <k> <v>",
    "EVAL redis.call('select',1)return(redis.call('exists',KEYS[1])) 1 <k>",
    "EVAL return(cjson.encode({ARGV[1],1,true})) 0 <small>",
    "EVAL return(redis.sha1hex(ARGV[1])) 0 <v>",
    "EVAL return 0",
    "EVAL return(1) <n>",
    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
    "GET <string>",
    "GET <counter>",
];

const TRANSACTIONS: &[&str] = &[
    "MULTI ; SET <string> <v> ; GET <string> ; SETNX <string> <v> ; EXEC",
    "MULTI ; INCR <counter> ; APPEND <string> <v> ; STRLEN <string> ; GETSET <counter> 7 ; EXEC",
    "MULTI ; RPUSH <l> ( <v> )+ ; LRANGE <l> 0 -1 ; RPOPLPUSH <l> <l> ; LLEN <l> ; EXEC",
    "MULTI ; SADD <t> ( <m> )+ ; SCARD <t> ; SISMEMBER <t> <m> ; SMOVE <t> <t> <m> ; EXEC",
    "MULTI ; ZADD <z> <small> <m> ; ZCARD <z> ; ZRANK <z> <m> ; EXEC",
    "MULTI ; HMSET <h> <m> <v> ; HGET <h> <m> ; HLEN <h> ; HDEL <h> <m> ; EXEC",
    "MULTI ; DEL <k> ; EXISTS <k> ; TYPE <k> ; PERSIST <k> ; RENAMENX <k> <k> ; EXEC",
    "MULTI ; SELECT 1 ; SET <string> <v> ; MOVE <string> 0 ; SELECT 0 ; EXEC",
    "MULTI ; EVAL return{redis.call('incr',KEYS[1]),ARGV[1]} 1 <counter> <v> ; EXEC",
    "MULTI ; BLPOP <l> <l> 1 ; BRPOP <l> 1 ; BRPOPLPUSH <l> <l> 1 ; EXEC",
    "MULTI ; SORT <l> ALPHA STORE <l> ; EXEC",
    "MULTI ; EXEC",
    "MULTI ; GET ; SET <string> <v> ; EXEC",
    "MULTI ; NOSUCHCOMMAND ; SET <string> <v> ; EXEC",
    "MULTI ; SET <string> <v> ; MULTI ; WATCH <k> ; EXEC",
    "MULTI ; SET <string> <v> ; DISCARD",
    "MULTI ; UNWATCH ; FLUSHDB ; DBSIZE ; EXEC",
    "DISCARD ;",
    "EXEC ;",
    "WATCH ( <k> )+ ; MULTI ; EXISTS <k> ; EXEC",
    "WATCH ( <k> )+ ; SET <string> <v> ; MULTI ; PING ; EXEC",
    "WATCH ( <k> )+ ; DEL <k> ; MULTI ; PING ; EXEC",
    "WATCH <k> <k> ; PEXPIRE <k> 100000 ; MULTI ; PING ; EXEC",
    "WATCH ( <k> )+ ; RENAME <k> <k> ; MULTI ; PING ; EXEC",
    "WATCH ( <k> )+ ; SELECT 1 ; SET <string> <v> ; SELECT 0 ; MULTI ; PING ; EXEC",
    "WATCH ( <k> )+ ; SET <string> <v> ; UNWATCH ; MULTI ; PING ; EXEC",
    "WATCH <k> ; MULTI ; DISCARD ; SET <string> <v> ; MULTI ; PING ; EXEC",
    "WATCH <k> ; FLUSHDB ; MULTI ; PING ; EXEC",
    "WATCH ( <k> )+ ; RPOPLPUSH <l> <l> ; SADD <t> <m> ; MULTI ; PING ; EXEC",
    "WATCH ;",
];

/// Pops that find something, and the making of lists by commands of other types.
const POPS: &[&str] = &[
    "RPUSH list:1 ( <v> )+ ; BLPOP list:1 1",
    "RPUSH list:1 ( <v> )+ ; BLPOP <l> list:1 1",
    "RPUSH list:2 ( <v> )+ ; BRPOP list:2 <l> 1",
    "RPUSH list:1 ( <v> )+ ; BRPOPLPUSH list:1 <l> 1",
    "SADD set:1 ( <m> )+ ; SORT set:1 ALPHA STORE list:1 ; RPUSH list:1 <v> ; BLPOP list:1 1",
    "RPUSH list:2 ( <v> )+ ; RENAME list:2 list:1 ; BRPOP list:1 1",
    "LRANGE <l> 0 -1",
    "LLEN <l>",
];

const DUMPS: &[&str] = &[
    "DUMP <k>",
    "DUMP <k>",
    "DUMP <k>",
    "DUMP <string>",
    "RESTORE <k> 0 <v>",
    "RESTORE <k> <n> <v>",
    "RESTORE <k> 0 <v> REPLACE",
    "RESTORE <k> -1 <v>",
];

const NODE: &[&str] = &[
    "PUBLISH <m> <v> ;",
    "PUBSUB CHANNELS [ <pat> ] ;",
    "PUBSUB NUMSUB ( <m> )* ;",
    "PUBSUB NUMPAT ;",
    "SCRIPT LOAD return(1) ;",
    "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db <m> ;",
    "CLIENT SETNAME <m> ;",
    "CLIENT GETNAME ;",
    "WAIT 0 1 ;",
    "READONLY ;",
    "FLUSHDB ;",
    "FLUSHALL ;",
    "DBSIZE ;",
    "MSET ( <string> <v> )+ ;",
];

const GROUPS: &[&[&str]] =
    &[STRINGS, BITS, LISTS, SETS, ZSETS, HASHES, GENERIC, SORT, SCRIPTS, TRANSACTIONS, POPS, DUMPS, NODE];

/// Groups that are compared with version 3.2 only: almost every reply of these has changed since.
const GROUPS_3_2: &[&[&str]] = &[HYPERLOGLOGS, GEO];

/// A sequence of `count` commands or a few more, fixed by `seed`, for a peer of version 3.2 or 7.0.
pub fn sequence(seed: u64, count: usize, peer_is_3_2: bool) -> Vec<Command> {
    let mut random = Random::new(seed);
    // A few groups at a time: values grow, instead of everything being touched once.
    let all = [GROUPS, if peer_is_3_2 { GROUPS_3_2 } else { &[] }].concat();
    let groups: Vec<_> = (0..3).map(|_| all[random.below(all.len())]).chain([GENERIC]).collect();
    let mut sequence = Vec::new();
    while sequence.len() < count {
        let generic_too = random.once_in(3);
        let group = groups[random.below(if generic_too { 4 } else { 3 })];
        commands(group[random.below(group.len())], &mut random, &mut sequence);
    }
    sequence
}

/// The commands of a template; a single one is now and then spoilt.
fn commands(template: &str, random: &mut Random, sequence: &mut Vec<Command>) {
    let tokens: Vec<&str> = template.split(' ').collect();
    for tokens in tokens.split(|&token| token == ";").filter(|tokens| !tokens.is_empty()) {
        let mut command = Command::new();
        expand(tokens, random, &mut command);
        if !template.contains(';') && random.once_in(SPOIL_ONE_IN) {
            spoil(&mut command, random);
        }
        sequence.push(command);
    }
}

fn expand(mut tokens: &[&str], random: &mut Random, command: &mut Command) {
    while let Some((&token, rest)) = tokens.split_first() {
        tokens = rest;
        if token == "[" || token == "(" {
            let end = tokens.iter().position(|token| matches!(*token, "]" | ")+" | ")*"));
            let end = end.unwrap_or_else(|| panic!("a group has no end: {tokens:?}"));
            let times = match tokens[end] {
                "]" => random.below(2),
                ")+" => 1 + random.below(4),
                _ => random.below(4),
            };
            (0..times).for_each(|_| expand(&tokens[..end], random, command));
            tokens = &tokens[end + 1..];
            continue;
        }
        let choices: Vec<&str> = token.split('|').collect();
        let word = choices[random.below(choices.len())];
        match word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
            Some(name) => command.push(words::word(name, random)),
            None => command.push(word.as_bytes().to_vec()),
        }
    }
}

fn spoil(command: &mut Command, random: &mut Random) {
    let name = command[0].to_ascii_uppercase();
    if name.starts_with(b"EVAL") {
        return;
    }
    // An odd word may be a valid cursor, which means something else in each server.
    let keep_words = name.ends_with(b"SCAN");
    let at = if command.len() > 1 { 1 + random.below(command.len() - 1) } else { 1 };
    match random.below(4) {
        0 if command.len() > 1 => drop(command.remove(at)),
        1 => command.push(words::word("odd", random)),
        2 if command.len() > 1 && !keep_words => command[at] = words::word("odd", random),
        _ if command.len() > 1 && !name.starts_with(b"PF") && name != b"SCAN" => command[1] = words::word("k", random),
        _ => command.push(words::word("k", random)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_names_words_that_are_there() {
        let mut random = Random::new(1);
        for template in GROUPS.iter().chain(GROUPS_3_2).flat_map(|group| group.iter()) {
            for _ in 0..100 {
                let mut made = Vec::new();
                commands(template, &mut random, &mut made);
                assert!(!made.is_empty() && made.iter().all(|command| !command.is_empty()), "{template}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_commands_again() {
        assert!((3000..3010).contains(&sequence(5, 3000, true).len()));
        let names = |seed| sequence(seed, 3000, true).iter().map(|command| command[0].clone()).collect::<Vec<_>>();
        assert_eq!(names(5), names(5));
        assert_ne!(names(5), names(6));
    }
}

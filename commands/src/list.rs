//! Lists: pushing and popping at both ends, and changes in the middle.
//!
//! Commands that wait for an element are in [`crate::blocking`].

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use crate::table::{Command, command};
use engine::effects::class::{GENERIC, LIST};
use engine::keyspace::{Key, Keyspace};
use engine::value::List;
use engine::value::list::{End, NodeLimit};
use resp::errors;
use resp::{Flags, KeySpec};
use std::ops::Range;

/// Adds `values` at an end of the list at `key`, which is made if there is none, and returns its length.
pub(crate) fn push_to<'v>(
    ctx: &mut Ctx<'_, '_>,
    key: &Key<'_>,
    end: End,
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Result<usize, Error> {
    push_at(&mut ctx.keys, ctx.settings.list_node, key, end, values)
}

/// As [`push_to`], outside of a command.
pub(crate) fn push_at<'v>(
    keys: &mut Keyspace<'_, '_>,
    limit: NodeLimit,
    key: &Key<'_>,
    end: End,
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Result<usize, Error> {
    let list = keys.collection_or_insert::<List>(key)?;
    values.into_iter().for_each(|value| list.push(end, value, limit));
    let len = list.len();
    let event = if end == End::Front { "lpush" } else { "rpush" };
    keys.touched(key, LIST, event);
    Ok(len)
}

/// Takes an element from an end of the list at `key`, which stays there even when it is left empty.
pub(crate) fn pop_element(keys: &mut Keyspace<'_, '_>, key: &Key<'_>, end: End) -> Result<Option<Vec<u8>>, Error> {
    let Some(list) = keys.collection_mut::<List>(key)? else { return Ok(None) };
    let mut element = Vec::new();
    Ok(list.pop_with(end, |item| item.write_to(&mut element)).map(|()| element))
}

fn push(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let (key, values) = (ctx.key(1), ctx.args.from(2));
    let len = push_to(ctx, &key, end, values.iter())?;
    ctx.keys.dirty(values.len() as u64);
    ctx.out.int(len as i64);
    Ok(())
}

fn lpush(ctx: &mut Ctx<'_, '_>) -> Outcome {
    push(ctx, End::Front)
}

fn rpush(ctx: &mut Ctx<'_, '_>) -> Outcome {
    push(ctx, End::Back)
}

/// Pushes to a list that is there already.
fn push_existing(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let key = ctx.key(1);
    if ctx.keys.collection_mut::<List>(&key)?.is_none() {
        ctx.out.int(0);
        return Ok(());
    }
    push(ctx, end)
}

fn lpushx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    push_existing(ctx, End::Front)
}

fn rpushx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    push_existing(ctx, End::Back)
}

/// Removes the key of a list that was left empty.
pub(crate) fn settle(ctx: &mut Ctx<'_, '_>, key: &Key<'_>) {
    if ctx.keys.remove_if_empty::<List>(key) {
        ctx.keys.notify(key, GENERIC, "del");
    }
}

fn pop(ctx: &mut Ctx<'_, '_>, end: End, event: &'static str) -> Outcome {
    let key = ctx.key(1);
    let popped = match ctx.keys.collection_mut::<List>(&key)? {
        Some(list) => list.pop_with(end, |item| reply_item(ctx.out, item)).map(|()| list.is_empty()),
        None => None,
    };
    let Some(emptied) = popped else {
        ctx.out.null_bulk();
        return Ok(());
    };
    ctx.keys.changed(&key, LIST, event);
    if emptied {
        settle(ctx, &key);
    }
    Ok(())
}

fn lpop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    pop(ctx, End::Front, "lpop")
}

fn rpop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    pop(ctx, End::Back, "rpop")
}

pub(crate) fn rpoplpush(ctx: &mut Ctx<'_, '_>) -> Outcome {
    move_element(ctx, End::Back, End::Front).map(drop)
}

/// Moves an element between ends of the lists that are arguments 1 and 2, and replies with it. Returns it.
pub(crate) fn move_element(ctx: &mut Ctx<'_, '_>, from: End, to: End) -> Result<Option<Vec<u8>>, Error> {
    let (source, destination) = (ctx.key(1), ctx.key(2));
    if ctx.keys.collection_mut::<List>(&source)?.is_none() {
        ctx.out.null_bulk();
        return Ok(None);
    }
    ctx.keys.expire_if_due(&destination);
    ctx.keys.collection_at::<List>(&destination)?;
    let mut element = Vec::new();
    if let Some(list) = ctx.keys.collection_mut::<List>(&source)? {
        list.pop_with(from, |item| item.write_to(&mut element));
    }
    push_to(ctx, &destination, to, [&element[..]])?;
    ctx.keys.changed(&source, LIST, if from == End::Front { "lpop" } else { "rpop" });
    settle(ctx, &source);
    ctx.out.bulk(&element);
    Ok(Some(element))
}

fn llen(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let len = ctx.keys.collection::<List>(&ctx.key(1))?.map_or(0, List::len);
    ctx.out.int(len as i64);
    Ok(())
}

fn lindex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, index) = (ctx.key(1), ctx.int(2));
    match ctx.keys.collection::<List>(&key)? {
        None => ctx.out.null_bulk(),
        Some(list) => match list.get(index?) {
            Some(item) => reply_item(ctx.out, item),
            None => ctx.out.null_bulk(),
        },
    }
    Ok(())
}

fn lset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, index, value, limit) = (ctx.key(1), ctx.int(2), ctx.args.at(3), ctx.settings.list_node);
    let list = ctx.keys.collection_mut::<List>(&key)?.ok_or(Error::Text(errors::NO_SUCH_KEY))?;
    if !list.set(index?, value, limit) {
        return Err(Error::Text(errors::INDEX_OUT_OF_RANGE));
    }
    ctx.keys.changed(&key, LIST, "lset");
    ctx.out.ok();
    Ok(())
}

fn linsert(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, pivot, value, limit) = (ctx.key(1), ctx.args.at(3), ctx.args.at(4), ctx.settings.list_node);
    let side = if ctx.args.is(2, "after") {
        End::Back
    } else if ctx.args.is(2, "before") {
        End::Front
    } else {
        return Err(Error::Text(errors::SYNTAX));
    };
    let Some(list) = ctx.keys.collection_mut::<List>(&key)? else {
        ctx.out.int(0);
        return Ok(());
    };
    if !list.insert(side, pivot, value, limit) {
        ctx.out.int(-1);
        return Ok(());
    }
    ctx.out.int(list.len() as i64);
    ctx.keys.changed(&key, LIST, "linsert");
    Ok(())
}

/// The part of a sequence of `len` elements that a command means by `start` and `end`: both inclusive, from the end if
/// negative, and empty if they miss it.
pub(crate) fn inclusive(start: i64, end: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, end) = (from_end(start).max(0), from_end(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

fn lrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (start, end, key) = (ctx.int(2)?, ctx.int(3)?, ctx.key(1));
    let Some(list) = ctx.keys.collection::<List>(&key)? else {
        ctx.out.array(0);
        return Ok(());
    };
    let range = inclusive(start, end, list.len());
    ctx.out.array(range.len());
    for item in list.iter_from(range.start).take(range.len()) {
        reply_item(ctx.out, item);
    }
    Ok(())
}

fn ltrim(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (start, end, key) = (ctx.int(2)?, ctx.int(3)?, ctx.key(1));
    if let Some(list) = ctx.keys.collection_mut::<List>(&key)? {
        let range = inclusive(start, end, list.len());
        let debris = list.trim(range.start, range.len());
        ctx.keys.garbage().add_debris(debris);
        ctx.keys.changed(&key, LIST, "ltrim");
        settle(ctx, &key);
    }
    ctx.out.ok();
    Ok(())
}

fn lrem(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, count, value) = (ctx.key(1), ctx.int(2)?, ctx.args.at(3));
    let removed = match ctx.keys.collection_mut::<List>(&key)? {
        Some(list) => list.remove(count, value),
        None => 0,
    };
    if removed > 0 {
        ctx.keys.touched(&key, GENERIC, "lrem");
        ctx.keys.dirty(removed as u64);
        settle(ctx, &key);
    }
    ctx.out.int(removed as i64);
    Ok(())
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const FAST: Flags = Flags::FAST;
const ONE: KeySpec = KeySpec::FIRST;

pub(crate) static TABLE: &[Command] = &[
    command("rpush", -3, ONE, GROWS.or(FAST), rpush),
    command("lpush", -3, ONE, GROWS.or(FAST), lpush),
    command("rpushx", 3, ONE, GROWS.or(FAST), rpushx),
    command("lpushx", 3, ONE, GROWS.or(FAST), lpushx),
    command("linsert", 5, ONE, GROWS, linsert),
    command("rpop", 2, ONE, WRITE.or(FAST), rpop),
    command("lpop", 2, ONE, WRITE.or(FAST), lpop),
    command("llen", 2, ONE, READ.or(FAST), llen),
    command("lindex", 3, ONE, READ, lindex),
    command("lset", 4, ONE, GROWS, lset),
    command("lrange", 4, ONE, READ, lrange),
    command("ltrim", 4, ONE, WRITE, ltrim),
    command("lrem", 4, ONE, WRITE, lrem),
    command("rpoplpush", 3, KeySpec::range(1, 2, 1), GROWS, rpoplpush),
];

#[cfg(test)]
mod tests {
    use crate::testing::World;

    #[test]
    fn pushes_reply_the_length_and_are_logged_as_sent() {
        let mut world = World::new();
        assert_eq!(world.run("LPUSH l a b 3"), ":3");
        assert_eq!(world.log, ["LPUSH l a b 3"]);
        assert_eq!((world.dirty, &world.events[..]), (3, &["lpush l".to_owned()][..]));
        assert_eq!(world.run("RPUSH l z"), ":4");
        assert_eq!(world.run("LRANGE l 0 -1"), "[3 b a z]");
        assert_eq!(world.run("LPUSHX none x"), ":0");
        assert!(world.log.is_empty());
        assert_eq!(world.run("RPUSHX l x"), ":5");
        assert_eq!(world.events, ["rpush l"]);
        world.run("SET s v");
        for line in ["LPUSH s a", "RPUSHX s a", "LPOP s", "LLEN s", "LINDEX s x", "LSET s x v", "LRANGE s 0 1"] {
            assert!(world.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
    }

    #[test]
    fn popping_the_last_element_removes_the_key() {
        let mut world = World::new();
        world.run("RPUSH l a 2");
        assert_eq!(world.run("RPOP l"), "2");
        assert_eq!(world.events, ["rpop l"]);
        assert_eq!(world.run("LPOP l"), "a");
        assert_eq!(
            (&world.events[..], &world.log[..]),
            (&["lpop l".to_owned(), "del l".to_owned()][..], &["LPOP l".to_owned()][..])
        );
        assert_eq!(world.run("LPOP l"), "(nil)");
        assert_eq!((world.dirty, world.run("LLEN l")), (0, ":0".into()));
    }

    #[test]
    fn index_set_and_insert() {
        let mut world = World::new();
        world.run("RPUSH l a b c");
        assert_eq!(world.run("LINDEX l -1"), "c");
        assert_eq!(world.run("LINDEX l 3"), "(nil)");
        assert_eq!(world.run("LINDEX none x"), "(nil)");
        assert_eq!(world.run("LINDEX l x"), "-ERR value is not an integer or out of range");
        assert_eq!(world.run("LSET l 1 B"), "OK");
        assert_eq!(world.run("LSET l 3 x"), "-ERR index out of range");
        assert_eq!(world.run("LSET none x x"), "-ERR no such key");
        assert_eq!(world.run("LINSERT l before B 1"), ":4");
        assert_eq!(world.run("LINSERT l AFTER c 2"), ":5");
        assert_eq!(world.events, ["linsert l"]);
        assert_eq!(world.run("LINSERT l AFTER none 2"), ":-1");
        assert_eq!(world.run("LINSERT none AFTER none 2"), ":0");
        assert_eq!(world.run("LINSERT none at none 2"), "-ERR syntax error");
        assert_eq!(world.run("LRANGE l -100 100"), "[a 1 B c 2]");
    }

    #[test]
    fn ranges_are_inclusive_and_clamped() {
        let mut world = World::new();
        world.run("RPUSH l 0 1 2 3");
        for (range, elements) in [
            ("0 0", "[0]"),
            ("1 2", "[1 2]"),
            ("-2 -1", "[2 3]"),
            ("2 1", "[]"),
            ("4 9", "[]"),
            ("0 -5", "[]"),
            ("-9 -4", "[0]"),
            ("-9223372036854775808 9223372036854775807", "[0 1 2 3]"),
        ] {
            assert_eq!(world.run(&format!("LRANGE l {range}")), elements, "{range}");
        }
        assert_eq!(world.run("LRANGE l 0 x"), "-ERR value is not an integer or out of range");
        assert_eq!(world.run("LRANGE none 0 1"), "[]");
    }

    #[test]
    fn trimming_and_removing() {
        let mut world = World::new();
        world.run("RPUSH l a b a c a d");
        assert_eq!(world.run("LREM l -2 a"), ":2");
        assert_eq!((world.dirty, &world.events[..]), (2, &["lrem l".to_owned()][..]));
        assert_eq!(world.run("LREM l 0 x"), ":0");
        assert!(world.log.is_empty());
        assert_eq!(world.run("LTRIM l 1 2"), "OK");
        assert_eq!(world.run("LRANGE l 0 -1"), "[b c]");
        assert_eq!(world.run("LTRIM l 5 9"), "OK");
        assert_eq!(world.events, ["ltrim l", "del l"]);
        assert_eq!(world.run("LTRIM l 0 1"), "OK");
        assert_eq!(world.dirty, 0);
        world.run("RPUSH l 7 7");
        assert_eq!(world.run("LREM l 0 7"), ":2");
        assert_eq!(world.events, ["lrem l", "del l"]);
    }

    #[test]
    fn rpoplpush_moves_or_rotates() {
        let mut world = World::new();
        world.run("RPUSH l a b");
        assert_eq!(world.run("RPOPLPUSH l l"), "b");
        assert_eq!(world.run("LRANGE l 0 -1"), "[b a]");
        assert_eq!(world.run("RPOPLPUSH l m"), "a");
        assert_eq!((world.dirty, &world.events[..]), (1, &["lpush m".to_owned(), "rpop l".to_owned()][..]));
        assert_eq!(world.log, ["RPOPLPUSH l m"]);
        assert_eq!(world.run("RPOPLPUSH l m"), "b");
        assert_eq!(world.events, ["lpush m", "rpop l", "del l"]);
        world.run("SET s v");
        assert_eq!(world.run("RPOPLPUSH l s"), "(nil)");
        assert!(world.run("RPOPLPUSH m s").starts_with("-WRONGTYPE"));
        assert_eq!(world.run("LRANGE m 0 -1"), "[b a]");
        assert_eq!(world.run("RPOPLPUSH m m2"), "a");
        assert_eq!(world.run("RPOPLPUSH m m"), "b");
        assert_eq!(world.run("LLEN m"), ":1");
    }
}

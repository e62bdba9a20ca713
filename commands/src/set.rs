//! Sets: members, random members, and algebra of several sets.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use crate::scan::{self, ScanOptions};
use crate::table::{Command, command};
use engine::effects::class::{GENERIC, SET};
use engine::encoding::item::Item;
use engine::keyspace::{Key, SetExpire};
use engine::random::SplitMix;
use engine::raw::entry::Body;
use engine::value::set::Taken;
use engine::value::{Set, setops};
use foldhash::fast::FixedState;
use resp::errors;
use resp::{Flags, KeySpec};
use std::collections::HashSet;

fn sadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, intset_entries) = (ctx.key(1), ctx.settings.set_max_intset_entries);
    let set = ctx.keys.collection_or_insert::<Set>(&key)?;
    let mut added = 0;
    for member in ctx.args.from(2).iter() {
        added += u64::from(set.add(member, intset_entries));
    }
    if added > 0 {
        ctx.keys.changed(&key, SET, "sadd");
        ctx.keys.dirty(added - 1);
    }
    ctx.out.int(added as i64);
    Ok(())
}

fn srem(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let mut removed = 0;
    if let Some(set) = ctx.keys.collection_mut::<Set>(&key)? {
        for member in ctx.args.from(2).iter() {
            removed += u64::from(set.remove(member));
        }
    }
    if removed > 0 {
        ctx.keys.changed(&key, SET, "srem");
        ctx.keys.dirty(removed - 1);
        delete_if_empty(ctx, &key);
    }
    ctx.out.int(removed as i64);
    Ok(())
}

fn delete_if_empty(ctx: &mut Ctx<'_, '_>, key: &Key<'_>) {
    if ctx.keys.remove_if_empty::<Set>(key) {
        ctx.keys.notify(key, GENERIC, "del");
    }
}

fn smove(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (from, to, member) = (ctx.key(1), ctx.key(2), ctx.args.at(3));
    let intset_entries = ctx.settings.set_max_intset_entries;
    ctx.keys.expire_if_due(&from);
    ctx.keys.expire_if_due(&to);
    let moved = match ctx.keys.collection_at::<Set>(&from)? {
        None => false,
        Some(set) => {
            let present = set.contains(member);
            ctx.keys.collection_at::<Set>(&to)?;
            if from.bytes == to.bytes {
                ctx.out.int(present.into());
                return Ok(());
            }
            present
        }
    };
    if moved {
        if let Some(set) = ctx.keys.collection_mut::<Set>(&from)? {
            set.remove(member);
        }
        ctx.keys.changed(&from, SET, "srem");
        delete_if_empty(ctx, &from);
        if ctx.keys.collection_or_insert::<Set>(&to)?.add(member, intset_entries) {
            ctx.keys.changed(&to, SET, "sadd");
        }
    }
    ctx.out.int(moved.into());
    Ok(())
}

fn sismember(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let set = ctx.keys.collection::<Set>(&ctx.key(1))?;
    ctx.out.int(set.is_some_and(|set| set.contains(ctx.args.at(2))).into());
    Ok(())
}

fn scard(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let len = ctx.keys.collection::<Set>(&ctx.key(1))?.map_or(0, Set::len);
    ctx.out.int(len as i64);
    Ok(())
}

// --- random members

fn spop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.args.len() {
        2 => spop_one(ctx),
        3 => spop_many(ctx),
        _ => Err(Error::Text(errors::SYNTAX)),
    }
}

fn spop_one(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let mut random = SplitMix::new(ctx.keys.random());
    let Some(taken) = ctx.keys.collection_mut::<Set>(&key)?.and_then(|set| set.pop(|| random.next())) else {
        ctx.out.null_bulk();
        return Ok(());
    };
    reply_item(ctx.out, taken.item());
    ctx.keys.changed(&key, SET, "spop");
    log_removal(ctx, &key, taken.item());
    delete_if_empty(ctx, &key);
    Ok(())
}

/// A random choice is logged as what was chosen.
fn log_removal(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, member: Item<'_>) {
    let effects = ctx.keys.effects();
    member.with_bytes(|member| effects.log_instead(&[b"SREM", key.bytes, member]));
}

/// SPOP with a count.
fn spop_many(ctx: &mut Ctx<'_, '_>) -> Outcome {
    /// From a set that keeps less than one in so many members, those that stay are taken out instead of those that go.
    const FEW: usize = 5;
    let count = usize::try_from(ctx.int(2)?).map_err(|_| Error::Text(errors::INDEX_OUT_OF_RANGE))?;
    let (key, intset_entries) = (ctx.key(1), ctx.settings.set_max_intset_entries);
    let mut random = SplitMix::new(ctx.keys.random());
    let Some(set) = ctx.keys.collection_mut::<Set>(&key)?.filter(|_| count > 0) else {
        ctx.out.array(0);
        return Ok(());
    };
    let len = set.len();
    if count >= len {
        let all = std::mem::take(set);
        ctx.out.array(len);
        all.iter().for_each(|item| reply_item(ctx.out, item));
        ctx.keys.changed(&key, SET, "spop");
        ctx.keys.dirty(len as u64);
        ctx.keys.effects().log_instead(&[b"DEL", key.bytes]);
        delete_if_empty(ctx, &key);
        return Ok(());
    }
    ctx.out.array(count);
    let rest = len - count;
    if rest * FEW > count {
        let taken: Vec<Taken> = (0..count).map_while(|_| set.pop(|| random.next())).collect();
        report_popped(ctx, &key, taken.iter().map(Taken::item));
    } else {
        let mut kept = Set::new();
        for _ in 0..rest {
            if let Some(taken) = set.pop(|| random.next()) {
                taken.item().with_bytes(|member| kept.add(member, intset_entries));
            }
        }
        let gone = std::mem::replace(set, kept);
        report_popped(ctx, &key, gone.iter());
    }
    Ok(())
}

/// Replies with the members that SPOP took, but for the array's header, and reports their going.
fn report_popped<'m>(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, members: impl Iterator<Item = Item<'m>>) {
    ctx.keys.changed(key, SET, "spop");
    for member in members {
        reply_item(ctx.out, member);
        ctx.keys.dirty(1);
        log_removal(ctx, key, member);
    }
}

fn srandmember(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.args.len() {
        2 => {
            let mut random = SplitMix::new(ctx.keys.random());
            let set = ctx.keys.collection::<Set>(&ctx.key(1))?;
            match set.and_then(|set| set.random(|| random.next())) {
                Some(item) => reply_item(ctx.out, item),
                None => ctx.out.null_bulk(),
            }
            Ok(())
        }
        3 => srandmember_many(ctx),
        _ => Err(Error::Text(errors::SYNTAX)),
    }
}

/// SRANDMEMBER with a count: so many different members, or, if it is negative, so many that may be equal.
fn srandmember_many(ctx: &mut Ctx<'_, '_>) -> Outcome {
    /// A set of fewer than so many times the members asked for is walked once; from a larger one they are drawn.
    const SMALL: usize = 3;
    let count = ctx.int(2)?;
    let mut random = SplitMix::new(ctx.keys.random());
    let Some(set) = ctx.keys.collection::<Set>(&ctx.key(1))?.filter(|_| count != 0) else {
        ctx.out.array(0);
        return Ok(());
    };
    let (wanted, out) = (usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX), &mut *ctx.out);
    if count < 0 {
        // The original would go on for years; nobody can read so long an array.
        if count < -i64::from(i32::MAX) {
            return Err(Error::Text(errors::INDEX_OUT_OF_RANGE));
        }
        out.array(wanted);
        (0..wanted).filter_map(|_| set.random(|| random.next())).for_each(|item| reply_item(out, item));
    } else if wanted >= set.len() {
        out.array(set.len());
        set.iter().for_each(|item| reply_item(out, item));
    } else if wanted.saturating_mul(SMALL) > set.len() {
        // Selection sampling: each member is taken with the chance that makes every choice equally likely.
        out.array(wanted);
        let mut missing = wanted;
        for (i, item) in set.iter().enumerate() {
            if random.below(set.len() - i) < missing {
                missing -= 1;
                reply_item(out, item);
            }
        }
    } else {
        out.array(wanted);
        let mut drawn = HashSet::with_capacity_and_hasher(wanted, FixedState::default());
        while drawn.len() < wanted {
            let Some(item) = set.random(|| random.next()) else { break };
            // A member of a big set is known by its place in memory.
            let identity = match item {
                Item::Int(int) => int as u64,
                Item::Str(bytes) => bytes.as_ptr().addr() as u64,
            };
            if drawn.insert(identity) {
                reply_item(out, item);
            }
        }
    }
    Ok(())
}

// --- algebra

/// Which result of several sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Algebra {
    Intersection,
    Union,
    Difference,
}

impl Algebra {
    /// The event of the storing command.
    fn stored(self) -> &'static str {
        match self {
            Algebra::Intersection => "sinterstore",
            Algebra::Union => "sunionstore",
            Algebra::Difference => "sdiffstore",
        }
    }

    /// Hands each member of the result to `emit`; a missing set is an empty one.
    fn run<'s>(self, sets: &[Option<&'s Set>], emit: impl FnMut(Item<'s>)) {
        let present: Vec<&Set> = sets.iter().copied().flatten().collect();
        match self {
            Algebra::Intersection if present.len() < sets.len() => {}
            Algebra::Intersection => setops::intersection(&present, emit),
            Algebra::Union => setops::union(&present, emit),
            Algebra::Difference => {
                if let (Some(Some(first)), Some(others)) = (sets.first(), present.get(1..)) {
                    setops::difference(first, others, emit);
                }
            }
        }
    }
}

/// Looks all of `keys` up before any is borrowed: removes those that have expired, and finds a wrong type. As in the
/// original, an intersection does not look beyond a key that is missing.
fn look_up(ctx: &mut Ctx<'_, '_>, keys: &[Key<'_>], algebra: Algebra, reading: bool) -> Result<bool, Error> {
    for key in keys {
        let present = if reading {
            ctx.keys.collection::<Set>(key)?.is_some()
        } else {
            ctx.keys.expire_if_due(key);
            ctx.keys.collection_at::<Set>(key)?.is_some()
        };
        if !present && algebra == Algebra::Intersection {
            return Ok(false);
        }
    }
    Ok(true)
}

fn reply_algebra(ctx: &mut Ctx<'_, '_>, algebra: Algebra) -> Outcome {
    let keys = ctx.keys_at(1, ctx.args.len(), 1);
    if !look_up(ctx, &keys, algebra, true)? {
        ctx.out.array(0);
        return Ok(());
    }
    let sets = keys.iter().map(|key| ctx.keys.collection_at(key)).collect::<Result<Vec<Option<&Set>>, _>>()?;
    if let [Some(set)] = sets[..] {
        ctx.out.array(set.len());
        set.iter().for_each(|item| reply_item(ctx.out, item));
        return Ok(());
    }
    let mut len = 0;
    let header = ctx.out.deferred_array();
    algebra.run(&sets, |item| {
        reply_item(ctx.out, item);
        len += 1;
    });
    ctx.out.finish_array(header, len);
    Ok(())
}

fn store_algebra(ctx: &mut Ctx<'_, '_>, algebra: Algebra) -> Outcome {
    let (target, keys) = (ctx.key(1), ctx.keys_at(2, ctx.args.len(), 1));
    let intset_entries = ctx.settings.set_max_intset_entries;
    if !look_up(ctx, &keys, algebra, false)? {
        if ctx.keys.remove(&target) {
            ctx.keys.dirty(1);
        }
        ctx.out.int(0);
        return Ok(());
    }
    let sets = keys.iter().map(|key| ctx.keys.collection_at(key)).collect::<Result<Vec<Option<&Set>>, _>>()?;
    let mut result = Set::new();
    if algebra == Algebra::Union {
        // Adding finds equal members by itself.
        for set in sets.into_iter().flatten() {
            result.add_all(set.iter(), intset_entries);
        }
    } else {
        algebra.run(&sets, |item| {
            item.with_bytes(|member| result.add(member, intset_entries));
        });
    }
    let len = result.len();
    if len > 0 {
        ctx.keys.put(&target, Body::Set(result), SetExpire::Clear);
        ctx.keys.changed(&target, SET, algebra.stored());
    } else {
        if ctx.keys.remove(&target) {
            ctx.keys.notify(&target, GENERIC, "del");
        }
        ctx.keys.dirty(1);
    }
    ctx.out.int(len as i64);
    Ok(())
}

fn sinter(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_algebra(ctx, Algebra::Intersection)
}

fn sinterstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store_algebra(ctx, Algebra::Intersection)
}

fn sunion(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_algebra(ctx, Algebra::Union)
}

fn sunionstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store_algebra(ctx, Algebra::Union)
}

fn sdiff(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_algebra(ctx, Algebra::Difference)
}

fn sdiffstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store_algebra(ctx, Algebra::Difference)
}

fn sscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let cursor = scan::cursor(ctx.args.at(2))?;
    let Some(set) = ctx.keys.collection::<Set>(&ctx.key(1))? else {
        scan::reply_empty(ctx.out);
        return Ok(());
    };
    // After the look-up: a key that is not there hides what is wrong with the options.
    let options = ScanOptions::parse(ctx.args, 3)?;
    let mut found = Vec::new();
    let next = options.walk(cursor, |cursor| {
        let mut seen = 0;
        let next = set.scan(cursor, |member| {
            seen += 1;
            if options.matches_item(member) {
                found.push(member);
            }
        });
        (next, seen)
    });
    scan::reply_header(ctx.out, next, found.len());
    found.into_iter().for_each(|member| reply_item(ctx.out, member));
    Ok(())
}

const READ: Flags = Flags::READONLY;
const FAST: Flags = Flags::FAST;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const RANDOM: Flags = Flags::RANDOM;
const SORTED: Flags = Flags::READONLY.or(Flags::SORT_FOR_SCRIPT);
const ONE: KeySpec = KeySpec::FIRST;
const ALL: KeySpec = KeySpec::range(1, -1, 1);

pub(crate) static TABLE: &[Command] = &[
    command("sadd", -3, ONE, GROWS.or(FAST), sadd),
    command("srem", -3, ONE, WRITE.or(FAST), srem),
    command("smove", 4, KeySpec::range(1, 2, 1), WRITE.or(FAST), smove),
    command("sismember", 3, ONE, READ.or(FAST), sismember),
    command("scard", 2, ONE, READ.or(FAST), scard),
    command("spop", -2, ONE, WRITE.or(RANDOM).or(FAST), spop),
    command("srandmember", -2, ONE, READ.or(RANDOM), srandmember),
    command("sinter", -2, ALL, SORTED, sinter),
    command("sinterstore", -3, ALL, GROWS, sinterstore),
    command("sunion", -2, ALL, SORTED, sunion),
    command("sunionstore", -3, ALL, GROWS, sunionstore),
    command("sdiff", -2, ALL, SORTED, sdiff),
    command("sdiffstore", -3, ALL, GROWS, sdiffstore),
    command("smembers", 2, ONE, SORTED, sinter),
    command("sscan", -3, ONE, READ.or(RANDOM), sscan),
];

#[cfg(test)]
mod tests {
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
        assert_eq!([world.run("SISMEMBER s x"), world.run("SISMEMBER s y"), world.run("SISMEMBER none x")], [":1", ":0", ":0"]);
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
            "SADD t a", "SREM t a", "SMOVE t u a", "SISMEMBER t a", "SCARD t", "SPOP t", "SPOP t 0", "SRANDMEMBER t",
            "SRANDMEMBER t 0", "SINTER t", "SUNION t", "SDIFF t", "SMEMBERS t", "SSCAN t 0", "SUNION none t",
            "SDIFF none t", "SINTERSTORE d t", "SUNIONSTORE d none t", "SDIFFSTORE d none t", "SINTER t none",
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
                assert_eq!((world.dirty, &world.events[..]), (1, &events.iter().map(|&e| e.to_owned()).collect::<Vec<_>>()[..]));
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
                let log: Vec<String> = popped.iter().map(|member| format!("SREM s {member}")).collect();
                assert_eq!((&world.log, &world.events[..]), (&log, &["spop s".into()][..]));
            } else {
                assert_eq!((&world.log[..], &world.events[..]), (&["DEL s".into()][..], &["spop s".into(), "del s".into()][..]));
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
        assert_eq!([world.run("SRANDMEMBER s 0"), world.run("SRANDMEMBER none 4"), world.run("SRANDMEMBER none")], ["[]", "[]", "(nil)"]);
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
}

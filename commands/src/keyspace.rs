//! All keys at once: listing, counting, choosing and removing them.
//!
//! Every walk goes slot by slot and gives a slot back after its visit, so it sees each slot as of another moment. A key
//! that stays throughout is seen. A key that another server is still sending is not there yet. Keys past their expiry are passed over, and removed afterwards with their slots held
//! to the end of the command, so that their DELs reach the log before any later change of theirs.

use crate::ctx::Ctx;
use crate::error::Outcome;
use crate::scan::{self, ScanOptions};
use crate::table::{Access, Command, Handler, command};
use engine::keyspace::Key;
use engine::raw::entry::Transit;
use resp::{Flags, KeySpec};
use slots::SlotId;

/// What a walk has found.
struct Found {
    now_ms: i64,
    expired: Vec<Box<[u8]>>,
}

impl Found {
    fn new(ctx: &Ctx<'_, '_>) -> Found {
        Found { now_ms: ctx.keys.now().ms, expired: Vec::new() }
    }

    /// Whether a key lives; if not, it is noted for [`Found::remove_expired`].
    fn lives(&mut self, key: &[u8], expire_at_ms: Option<i64>) -> bool {
        let due = expire_at_ms.is_some_and(|at| self.now_ms > at);
        if due {
            self.expired.push(key.into());
        }
        !due
    }

    fn remove_expired(self, ctx: &mut Ctx<'_, '_>) {
        if !ctx.keys.is_replica() {
            for key in &self.expired {
                ctx.keys.expire_if_due(&Key::new(key));
            }
        }
    }
}

fn keys(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let pattern = ctx.args.at(1);
    let all = pattern == b"*";
    let mut found = Found::new(ctx);
    let header = ctx.out.deferred_array();
    let mut count = 0;
    let out = &mut *ctx.out;
    ctx.keys.visit_slots(|_, keys| {
        for entry in keys.iter() {
            let key = entry.key();
            if entry.transit() == Transit::Arriving {
                continue;
            }
            if (all || resp::glob_match(pattern, key, false)) && found.lives(key, entry.expire_at_ms()) {
                out.bulk(key);
                count += 1;
            }
        }
    });
    ctx.out.finish_array(header, count);
    found.remove_expired(ctx);
    Ok(())
}

/// A cursor is a slot and a position in the order of the slot's table; 0 is both the start and the end.
const ORDER_BITS: u32 = 48;

fn scan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let cursor = scan::cursor(ctx.args.at(1))?;
    let options = ScanOptions::parse(ctx.args, 2)?;
    let mut found = Found::new(ctx);
    let mut live: Vec<Box<[u8]>> = Vec::new();
    let next = options.walk(cursor, |cursor| {
        step(ctx, cursor, |key, expire_at_ms| {
            if options.matches(key) && found.lives(key, expire_at_ms) {
                live.push(key.into());
            }
        })
    });
    scan::reply_header(ctx.out, next, live.len());
    live.iter().for_each(|key| ctx.out.bulk(key));
    found.remove_expired(ctx);
    Ok(())
}

/// Visits one bucket, in the first slot from the cursor on that has keys. Returns the next cursor, 0 at the end, and the
/// number of keys seen.
fn step(ctx: &mut Ctx<'_, '_>, cursor: u64, mut visit: impl FnMut(&[u8], Option<i64>)) -> (u64, usize) {
    let slot = (cursor >> ORDER_BITS) as usize;
    let mut order = cursor & ((1 << ORDER_BITS) - 1);
    for slot in SlotId::all().skip(slot) {
        let seen = ctx.keys.visit_slot(slot, |keys| {
            let mut seen = 0;
            let next = keys.scan(order, |entry| {
                if entry.transit() != Transit::Arriving {
                    visit(entry.key(), entry.expire_at_ms());
                }
                seen += 1;
            });
            (!keys.is_empty()).then_some((next, seen))
        });
        if let Some(Some((next, seen))) = seen {
            let at = slot.index() as u64;
            let end = at + 1 == slots::SLOTS as u64;
            let cursor = if next != 0 {
                at << ORDER_BITS | next
            } else if end {
                0
            } else {
                (at + 1) << ORDER_BITS
            };
            return (cursor, seen);
        }
        order = 0;
    }
    (0, 0)
}

fn dbsize(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let mut count = 0;
    ctx.keys.visit_slots(|_, keys| count += keys.len());
    ctx.out.int(count as i64);
    Ok(())
}

/// Draws after which a key is taken although it has expired: on a replica they all may have, and stay. One that arrives is
/// never taken.
const DRAWS_MAX: u32 = 100;

fn randomkey(ctx: &mut Ctx<'_, '_>) -> Outcome {
    for draw in 1.. {
        let Some((key, expire_at_ms, arrives)) = random_key(ctx) else { break };
        if arrives {
            // There may be no others.
            if draw == DRAWS_MAX {
                break;
            }
            continue;
        }
        let mut found = Found::new(ctx);
        if found.lives(&key, expire_at_ms) || draw == DRAWS_MAX {
            ctx.out.bulk(&key);
            return Ok(());
        }
        found.remove_expired(ctx);
    }
    ctx.out.null_bulk();
    Ok(())
}

/// Any key with its expiry, and whether it is still on its way here; all alike.
fn random_key(ctx: &mut Ctx<'_, '_>) -> Option<(Box<[u8]>, Option<i64>, bool)> {
    loop {
        let mut sizes = Vec::new();
        let mut total = 0;
        ctx.keys.visit_slots(|slot, keys| {
            total += keys.len() as u64;
            sizes.push((slot, total));
        });
        if total == 0 {
            return None;
        }
        let pick = ctx.keys.random() % total;
        let (slot, _) = *sizes.get(sizes.partition_point(|&(_, up_to)| up_to <= pick))?;
        let mut seed = ctx.keys.random();
        let random = || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            seed ^ seed >> 32
        };
        let found = ctx.keys.visit_slot(slot, |keys| {
            let entry = keys.random(random)?;
            Some((entry.key().into(), entry.expire_at_ms(), entry.transit() == Transit::Arriving))
        });
        // Others may have emptied the slot in between.
        if let Some(Some(found)) = found {
            return Some(found);
        }
    }
}

fn flushdb(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let removed = ctx.keys.flush(Some(ctx.session.db));
    ctx.keys.dirty(removed);
    ctx.out.ok();
    Ok(())
}

fn flushall(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let removed = ctx.keys.flush(None);
    ctx.keys.effects().flushed = true;
    // One more than was removed: it is logged even when there was nothing.
    ctx.keys.dirty(removed + 1);
    ctx.out.ok();
    Ok(())
}

const READ: Flags = Flags::READONLY;
const NONE: KeySpec = KeySpec::NONE;

pub(crate) static TABLE: &[Command] = &[
    command("keys", 2, NONE, READ.or(Flags::SORT_FOR_SCRIPT), keys as Handler).holding(Access::Touch),
    command("scan", -2, NONE, READ.or(Flags::RANDOM), scan as Handler).holding(Access::Touch),
    command("dbsize", 1, NONE, READ.or(Flags::FAST), dbsize as Handler).holding(Access::Touch),
    command("randomkey", 1, NONE, READ.or(Flags::RANDOM), randomkey as Handler).holding(Access::Touch),
    command("flushdb", 1, NONE, Flags::WRITE, flushdb as Handler).holding(Access::All),
    command("flushall", 1, NONE, Flags::WRITE, flushall as Handler).holding(Access::All),
];

#[cfg(test)]
mod tests {
    use crate::testing::World;
    use resp::Reply;
    use std::collections::{BTreeMap, BTreeSet};

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    /// One SCAN: the next cursor and the keys.
    fn scan(world: &mut World, line: &str) -> (String, Vec<String>) {
        let text = |reply: &Reply| match reply {
            Reply::Bulk(Some(text)) => String::from_utf8(text.clone()).expect("text"),
            other => panic!("{other:?}"),
        };
        let Reply::Array(Some(parts)) = world.run_words(&words(line)) else { panic!("an array") };
        let Reply::Array(Some(keys)) = &parts[1] else { panic!("an array of keys") };
        (text(&parts[0]), keys.iter().map(text).collect())
    }

    fn fill(world: &mut World, n: usize) {
        (0..n).for_each(|i| drop(world.run(&format!("set key:{i} {i}"))));
    }

    #[test]
    fn keys_gives_the_matching_ones() {
        let mut world = World::new();
        world.run("mset foo1 a foo2 b {x}bar c");
        assert_eq!(world.sorted("keys foo?"), "[foo1 foo2]");
        assert_eq!(world.sorted("keys *"), "[foo1 foo2 {x}bar]");
        assert_eq!(world.run("keys nothing*"), "[]");
        world.run("pexpire foo2 5");
        world.now.ms += 6;
        assert_eq!(world.run("keys foo*"), "[foo1]");
        assert_eq!(world.log, ["DEL foo2"]);
        assert_eq!(world.run("dbsize"), ":2");
    }

    #[test]
    fn a_scan_sees_every_key_that_stays_while_others_come_and_go() {
        let mut world = World::new();
        fill(&mut world, 1_000);
        let (mut cursor, mut seen, mut calls) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            let (next, keys) = scan(&mut world, &format!("scan {cursor} count 7"));
            seen.extend(keys);
            cursor = next;
            if cursor == "0" {
                break;
            }
            (0..5).for_each(|i| drop(world.run(&format!("set {{tag}}:{calls}:{i} x"))));
            calls += 1;
        }
        assert!((0..1_000).all(|i| seen.contains(&format!("key:{i}"))));
        assert!(calls > 50, "{calls} calls");
    }

    #[test]
    fn a_scan_of_few_keys_ends_soon_and_filters() {
        let mut world = World::new();
        world.run("mset a 1 b 2 ab 3");
        let (cursor, keys) = scan(&mut world, "scan 0 match a*");
        assert_eq!((cursor.as_str(), keys.len()), ("0", 2));
        world.run("pexpire ab 5");
        world.now.ms += 6;
        assert_eq!(scan(&mut world, "scan 0 match a*").1, ["a"]);
        assert_eq!(world.log, ["DEL ab"]);
        assert_eq!(world.run("scan x"), "-ERR invalid cursor");
        assert_eq!(world.run("scan 0 bad"), "-ERR syntax error");
        // Cursors nobody gave out find nothing or something, and end.
        assert_eq!(scan(&mut world, "scan 18446744073709551615").0, "0");
    }

    #[test]
    fn randomkey_gives_every_key_the_same_chance() {
        let mut world = World::new();
        assert_eq!(world.run("randomkey"), "(nil)");
        // Ten keys in one slot, two alone.
        (0..10).for_each(|i| drop(world.run(&format!("set {{t}}{i} x"))));
        world.run("mset a 1 b 2");
        let mut drawn = BTreeMap::new();
        for _ in 0..12_000 {
            *drawn.entry(world.run("randomkey")).or_insert(0) += 1;
        }
        assert_eq!(drawn.len(), 12);
        assert!(drawn.values().all(|&n| (800..1_200).contains(&n)), "{drawn:?}");
    }

    #[test]
    fn randomkey_removes_what_it_finds_expired() {
        let mut world = World::new();
        world.run("psetex k 5 v");
        world.now.ms += 6;
        assert_eq!(world.run("randomkey"), "(nil)");
        assert_eq!(world.log, ["DEL k"]);
    }

    #[test]
    fn flushing_empties_one_database_or_all() {
        let mut world = World::new();
        fill(&mut world, 100);
        world.run("move key:1 3");
        assert_eq!(world.run("flushdb"), "OK");
        assert_eq!((world.dirty, world.run("dbsize").as_str()), (99, ":0"));
        world.run("flushdb");
        assert!(world.log.is_empty());
        fill(&mut world, 10);
        assert_eq!(world.run("flushall"), "OK");
        assert_eq!(world.dirty, 12);
        assert_eq!(world.log, ["flushall"]);
        assert_eq!(world.run("dbsize"), ":0");
        world.run("flushall");
        assert_eq!(world.log, ["flushall"]);
    }
}

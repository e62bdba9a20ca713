//! What a slot holds: counting, listing, checking and removing the keys of whole slots of the selected database.
//!
//! Slots are numbered 0 to 1023 in every database. A server does not know which slots it is responsible for: it answers
//! for whatever keys it has.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::scan::{self, ScanOptions};
use crate::table::{Access, Command, Handler, command};
use engine::raw::entry::Transit;
use resp::{Flags, KeySpec, errors};
use slots::{SLOTS, SlotId};

/// An integer argument of 32 bits.
pub fn int32(text: &[u8]) -> Result<i64, Error> {
    let value = resp::parse_i64(text).ok_or(Error::Text(errors::NOT_AN_INTEGER))?;
    if i32::try_from(value).is_err() {
        return Err(Error::Text(errors::OUT_OF_RANGE));
    }
    Ok(value)
}

/// A slot's number.
pub fn slot_number(text: &[u8]) -> Result<SlotId, Error> {
    let value = int32(text)?;
    let slot = usize::try_from(value).ok().and_then(SlotId::new);
    slot.ok_or_else(|| format!("ERR invalid slot number = {value}").into())
}

fn slotshashkey(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.out.array(ctx.args.len() - 1);
    for key in ctx.args.from(1).iter() {
        ctx.out.int(slots::slot_of(key).get().into());
    }
    Ok(())
}

/// SLOTSINFO [start [count [BYTES]]]; the last is ours, and adds what the entries of a slot take.
fn slotsinfo(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let mut range = 0..SLOTS;
    if let Some(start) = ctx.args.get(1) {
        range.start = slot_number(start)?.index();
    }
    if let Some(count) = ctx.args.get(2) {
        let count = int32(count)?;
        let Ok(count) = usize::try_from(count) else { return Err(format!("ERR invalid slot count = {count}").into()) };
        range.end = range.start.saturating_add(count).min(SLOTS);
    }
    let bytes = ctx.args.len() == 4 && ctx.args.is(3, "bytes");
    if ctx.args.len() > 3 && !bytes {
        return Err(Error::Owned(errors::wrong_arity("slotsinfo")));
    }
    let header = ctx.out.deferred_array();
    let mut rows = 0;
    for slot in range.filter_map(SlotId::new) {
        let seen = ctx.keys.visit_slot(slot, |keys| (keys.len(), keys.entry_bytes()));
        let (keys, taken) = seen.unwrap_or_default();
        if keys > 0 {
            ctx.out.array(if bytes { 3 } else { 2 });
            ctx.out.int(slot.get().into());
            ctx.out.int(keys as i64);
            if bytes {
                ctx.out.int(taken as i64);
            }
            rows += 1;
        }
    }
    ctx.out.finish_array(header, rows);
    Ok(())
}

/// SLOTSSCAN slot cursor [COUNT n] [MATCH pattern] [TYPE name]; the last two are ours. A cursor is a position in the order
/// of the slot's table.
fn slotsscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let slot = slot_number(ctx.args.at(1))?;
    let cursor = scan::cursor(ctx.args.at(2))?;
    if ctx.args.len().is_multiple_of(2) {
        return Err(Error::Owned(errors::wrong_arity("slotsscan")));
    }
    for i in (3..ctx.args.len()).step_by(2).filter(|&i| ctx.args.is(i, "count")) {
        int32(ctx.args.at(i + 1))?;
    }
    let options = ScanOptions::parse_with_type(ctx.args, 3)?;
    let mut found: Vec<Box<[u8]>> = Vec::new();
    let next = options.walk(cursor, |cursor| {
        let step = ctx.keys.visit_slot(slot, |keys| {
            let mut seen = 0;
            let next = keys.scan(cursor, |entry| {
                seen += 1;
                let here = entry.transit() != Transit::Arriving;
                if here && options.matches_type(entry.kind()) && options.matches(entry.key()) {
                    found.push(entry.key().into());
                }
            });
            (next, seen)
        });
        step.unwrap_or((0, 0))
    });
    scan::reply_header(ctx.out, next, found.len());
    found.iter().for_each(|key| ctx.out.bulk(key));
    Ok(())
}

/// SLOTSCHECK: whether every key is where it is looked for. Looks at each key, one slot at a time.
fn slotscheck(ctx: &mut Ctx<'_, '_>) -> Outcome {
    for slot in SlotId::all() {
        let missing = ctx.keys.visit_slot(slot, |keys| {
            let mut missing: Option<(u32, Vec<u8>)> = None;
            for entry in keys.iter() {
                let key = entry.key();
                if slots::slot_of(key) != slot {
                    missing = missing.or_else(|| Some((2, key.to_vec())));
                } else if !keys.is_indexed(entry) {
                    missing = missing.or_else(|| Some((3, key.to_vec())));
                }
            }
            missing
        });
        if let Some((step, key)) = missing.flatten() {
            let text = [format!("ERR step {step}, miss = '").as_bytes(), &key, b"'"].concat();
            return Err(Error::Owned(text));
        }
    }
    ctx.out.ok();
    Ok(())
}

fn slotsdel(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let slots = ctx.args.from(1).iter().map(slot_number).collect::<Result<Vec<SlotId>, Error>>()?;
    for &slot in &slots {
        let removed = ctx.keys.flush_slot(slot);
        ctx.keys.dirty(removed);
    }
    ctx.out.array(slots.len());
    for slot in slots {
        ctx.out.array(2);
        ctx.out.int(slot.get().into());
        let left = ctx.keys.slot_keys(slot).map_or(0, |keys| keys.len());
        ctx.out.int(left as i64);
    }
    Ok(())
}

const READ: Flags = Flags::READONLY;
const NONE: KeySpec = KeySpec::NONE;

pub(crate) static TABLE: &[Command] = &[
    command("slotshashkey", -1, NONE, READ.or(Flags::FAST), slotshashkey as Handler),
    command("slotsinfo", -1, NONE, READ.or(Flags::FAST), slotsinfo as Handler).holding(Access::Touch),
    command("slotsscan", -3, NONE, READ.or(Flags::RANDOM), slotsscan as Handler).holding(Access::Touch),
    command("slotscheck", 0, NONE, READ, slotscheck as Handler).holding(Access::Touch),
    // The positions are those that the original shows, though the arguments are slots and not keys.
    command("slotsdel", -2, KeySpec::range(1, -1, 1), Flags::WRITE, slotsdel as Handler).holding(Access::Touch),
];

#[cfg(test)]
mod tests {
    use crate::testing::World;

    #[test]
    fn hashes_are_those_of_codis() {
        let mut world = World::new();
        assert_eq!(world.run("slotshashkey a b {}x \"\""), "[:579 :1017 :0 :0]");
        assert_eq!(world.run("slotshashkey"), "[]");
    }

    #[test]
    fn info_has_bytes_for_who_asks_for_them() {
        let mut world = World::new();
        // A header of 8 bytes, the key, the value; an integer takes 8.
        world.run("mset a 1 x{a} 1234567890 b xy");
        assert_eq!(world.run("slotsinfo 0 1024 bytes"), "[[:579 :2 :48] [:1017 :1 :16]]");
        for line in ["slotsinfo 0 1024 byte", "slotsinfo 0 1024 bytes 1"] {
            assert!(world.run(line).starts_with("-ERR wrong number of arguments"), "{line}");
        }
        world.run("rpush l{a} a b c");
        world.run("hset h{a} f v");
        world.run("flushall");
        assert_eq!(world.run("slotsinfo 0 1024 BYTES"), "[]");
    }

    #[test]
    fn info_counts_the_slots_that_have_keys() {
        let mut world = World::new();
        assert_eq!(world.run("slotsinfo"), "[]");
        world.run("mset a 1 x{a} 2 b 3");
        assert_eq!(world.run("slotsinfo"), "[[:579 :2] [:1017 :1]]");
        assert_eq!(world.run("slotsinfo 580"), "[[:1017 :1]]");
        assert_eq!(world.run("slotsinfo 0 580"), "[[:579 :2]]");
        assert_eq!(world.run("slotsinfo 0 579"), "[]");
        assert_eq!(world.run("slotsinfo 0 0"), "[]");
        // The original loses the sum's upper bits here.
        assert_eq!(world.run("slotsinfo 1 2147483647"), "[[:579 :2] [:1017 :1]]");
        world.run("pexpire a 5");
        world.now.ms += 6;
        assert_eq!(world.run("slotsinfo 579 1"), "[[:579 :2]]");
        for (line, error) in [
            ("slotsinfo x", "-ERR value is not an integer or out of range"),
            ("slotsinfo 2147483648", "-ERR value is out of range"),
            ("slotsinfo 1024", "-ERR invalid slot number = 1024"),
            ("slotsinfo -1", "-ERR invalid slot number = -1"),
            ("slotsinfo 0 -5", "-ERR invalid slot count = -5"),
            ("slotsinfo 0 +5", "-ERR value is not an integer or out of range"),
            ("slotsinfo 0 1 2", "-ERR wrong number of arguments for 'slotsinfo' command"),
            ("slotsinfo 01 1 2", "-ERR value is not an integer or out of range"),
        ] {
            assert_eq!(world.run(line).replace('\\', ""), error, "{line}");
        }
    }

    #[test]
    fn a_scan_of_a_slot_gives_its_keys() {
        let mut world = World::new();
        for cursor in ["0", "17", "", "+1", "-1"] {
            assert_eq!(world.run(&format!("slotsscan 579 \"{cursor}\"")), "[0 []]");
        }
        world.run("mset a 1 x{a} 2 b 3");
        world.run("rpush y{a} e");
        let scan = |world: &mut World, line: &str| {
            let reply = world.run(line);
            let mut keys: Vec<_> = reply.trim_matches(|c| "[]0 ".contains(c)).split(' ').map(str::to_owned).collect();
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(scan(&mut world, "slotsscan 579 0"), "a x{a} y{a}");
        assert_eq!(scan(&mut world, "slotsscan 579 0 count 100 match *{a}"), "x{a} y{a}");
        assert_eq!(scan(&mut world, "slotsscan 579 0 TYPE list"), "y{a}");
        for (line, error) in [
            ("slotsscan 1024 x", "-ERR invalid slot number = 1024"),
            ("slotsscan 1 x", "-ERR invalid cursor"),
            ("slotsscan 1 1x", "-ERR invalid cursor"),
            ("slotsscan 1 0 count", "-ERR wrong number of arguments for 'slotsscan' command"),
            ("slotsscan 1 0 counts 1", "-ERR syntax error"),
            ("slotsscan 1 0 count x", "-ERR value is not an integer or out of range"),
            ("slotsscan 1 0 count 2147483648", "-ERR value is out of range"),
            ("slotsscan 1 0 count 0", "-ERR syntax error"),
        ] {
            assert_eq!(world.run(line).replace('\\', ""), error, "{line}");
        }
    }

    #[test]
    fn keys_of_a_slot_are_removed_together() {
        let mut world = World::new();
        world.run("mset a 1 x{a} 2 b 3");
        assert_eq!(world.run("slotsdel 579 1024"), "-ERR invalid slot number = 1024");
        assert_eq!(world.run("slotsdel 579 551 579"), "[[:579 :0] [:551 :0] [:579 :0]]");
        assert_eq!((world.dirty, world.log.as_slice()), (2, &["slotsdel 579 551 579".to_owned()][..]));
        assert_eq!(world.run("slotsinfo"), "[[:1017 :1]]");
        world.run("slotsdel 579");
        assert!(world.log.is_empty());
        assert_eq!(world.run("slotscheck with anything"), "OK");
    }
}

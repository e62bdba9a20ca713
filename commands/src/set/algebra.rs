//! Intersection, union and difference: replied or stored.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use engine::effects::class::{GENERIC, SET};
use engine::encoding::item::Item;
use engine::keyspace::{Key, SetExpire};
use engine::raw::entry::Body;
use engine::value::{Set, setops};

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
            ctx.keys.look(key);
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
            // As in the original nobody is notified.
            ctx.keys.changed(&target, 0, "sinterstore");
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
            ctx.keys.touched(&target, GENERIC, "del");
        }
        ctx.keys.dirty(1);
    }
    ctx.out.int(len as i64);
    Ok(())
}

pub(super) fn sinter(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_algebra(ctx, Algebra::Intersection)
}

pub(super) fn sinterstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store_algebra(ctx, Algebra::Intersection)
}

pub(super) fn sunion(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_algebra(ctx, Algebra::Union)
}

pub(super) fn sunionstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store_algebra(ctx, Algebra::Union)
}

pub(super) fn sdiff(ctx: &mut Ctx<'_, '_>) -> Outcome {
    reply_algebra(ctx, Algebra::Difference)
}

pub(super) fn sdiffstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store_algebra(ctx, Algebra::Difference)
}

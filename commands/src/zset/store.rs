//! ZUNIONSTORE and ZINTERSTORE: a new sorted set from several sorted sets and sets.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::table::{Access, Command, Handler, command};
use engine::effects::class::{GENERIC, ZSET};
use engine::encoding::item::Item;
use engine::keyspace::{Key, SetExpire};
use engine::raw::entry::{Body, Value};
use engine::value::zset::ZSetLimits;
use engine::value::{Set, ZSet};
use foldhash::fast::RandomState;
use resp::errors;
use resp::{Flags, GetKeys, KeySpec};
use std::collections::HashMap;

/// How scores of one member are put together.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, old: f64, new: f64) -> f64 {
        match self {
            // Infinities of both signs add up to 0.
            Aggregate::Sum => or_zero(old + new),
            Aggregate::Min => {
                if new < old {
                    new
                } else {
                    old
                }
            }
            Aggregate::Max => {
                if new > old {
                    new
                } else {
                    old
                }
            }
        }
    }
}

fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// One input; a plain set counts as a sorted one with scores of 1.
#[derive(Clone, Copy)]
enum Members<'a> {
    None,
    Set(&'a Set),
    ZSet(&'a ZSet),
}

impl<'a> Members<'a> {
    fn len(self) -> usize {
        match self {
            Members::None => 0,
            Members::Set(set) => set.len(),
            Members::ZSet(zset) => zset.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Members::None => None,
            Members::Set(set) => set.contains(member).then_some(1.0),
            Members::ZSet(zset) => zset.score(member),
        }
    }

    fn for_each(self, mut visit: impl FnMut(Item<'a>, f64)) {
        match self {
            Members::None => {}
            Members::Set(set) => set.iter().for_each(|member| visit(member, 1.0)),
            Members::ZSet(zset) => zset.iter().for_each(|(member, score)| visit(member, score)),
        }
    }
}

/// Members of one ZADD in the log.
const ADDED_TOGETHER: usize = 512;

/// Inputs and their weights, the smallest first.
type Inputs<'a> = Vec<(Members<'a>, f64)>;

fn union(inputs: &Inputs<'_>, aggregate: Aggregate, limits: ZSetLimits) -> ZSet {
    // Scores are put together beside the result: there, a member would move at every step.
    let mut scores: HashMap<Member<'_>, f64, RandomState> = HashMap::default();
    for &(input, weight) in inputs {
        input.for_each(|member, score| {
            let score = or_zero(weight * score);
            let total = |old: &mut f64| *old = aggregate.of(*old, score);
            scores.entry(Member::of(member)).and_modify(total).or_insert(score);
        });
    }
    // Ascending insertion is the fastest and leaves the fullest nodes.
    let mut sorted: Vec<_> = scores.into_iter().collect();
    sorted.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
    let mut union = ZSet::new();
    for (member, score) in sorted {
        member.item().with_bytes(|member| union.add(member, score, limits));
    }
    union
}

/// A member, equal to every other with the same bytes, however its set stores it.
#[derive(PartialEq, Eq, Hash)]
enum Member<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl<'a> Member<'a> {
    fn of(item: Item<'a>) -> Self {
        let item = if let Item::Str(bytes) = item { Item::parse(bytes) } else { item };
        match item {
            Item::Int(int) => Member::Int(int),
            Item::Str(bytes) => Member::Str(bytes),
        }
    }

    fn item(&self) -> Item<'a> {
        match *self {
            Member::Int(int) => Item::Int(int),
            Member::Str(bytes) => Item::Str(bytes),
        }
    }
}

fn intersection(inputs: &Inputs<'_>, aggregate: Aggregate, limits: ZSetLimits) -> ZSet {
    let mut intersection = ZSet::new();
    let Some(((smallest, weight), others)) = inputs.split_first() else { return intersection };
    smallest.for_each(|member, score| {
        member.with_bytes(|member| {
            let total = others.iter().try_fold(or_zero(weight * score), |total, (input, weight)| {
                Some(aggregate.of(total, input.score(member)? * weight))
            });
            if let Some(total) = total {
                intersection.add(member, total, limits);
            }
        });
    });
    intersection
}

/// WEIGHTS and AGGREGATE, from argument `at` on.
fn options(ctx: &Ctx<'_, '_>, mut at: usize, inputs: usize) -> Result<(Vec<f64>, Aggregate), Error> {
    let mut weights = vec![1.0; inputs];
    let mut aggregate = Aggregate::Sum;
    while at < ctx.args.len() {
        let left = ctx.args.len() - at;
        if left > inputs && ctx.args.is(at, "weights") {
            for (i, weight) in weights.iter_mut().enumerate() {
                let number = resp::parse_f64(ctx.args.at(at + 1 + i));
                *weight = number.ok_or(Error::Text("ERR weight value is not a float"))?;
            }
            at += 1 + inputs;
        } else if left >= 2 && ctx.args.is(at, "aggregate") {
            aggregate = match () {
                () if ctx.args.is(at + 1, "sum") => Aggregate::Sum,
                () if ctx.args.is(at + 1, "min") => Aggregate::Min,
                () if ctx.args.is(at + 1, "max") => Aggregate::Max,
                () => return Err(Error::Text(errors::SYNTAX)),
            };
            at += 2;
        } else {
            return Err(Error::Text(errors::SYNTAX));
        }
    }
    Ok((weights, aggregate))
}

fn store(
    ctx: &mut Ctx<'_, '_>,
    event: &'static str,
    combine: fn(&Inputs<'_>, Aggregate, ZSetLimits) -> ZSet,
) -> Outcome {
    let count = ctx.int(2)?;
    if count < 1 {
        return Err(Error::Text("ERR at least 1 input key is needed for ZUNIONSTORE/ZINTERSTORE"));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > ctx.args.len() - 3 {
        return Err(Error::Text(errors::SYNTAX));
    }
    let keys = ctx.keys_at(3, 3 + count, 1);
    keys.iter().for_each(|key| {
        ctx.keys.look(key);
    });
    let mut inputs = Inputs::with_capacity(count);
    for key in &keys {
        inputs.push((members_at(ctx, key)?, 1.0));
    }
    let (weights, aggregate) = options(ctx, 3 + count, count)?;
    inputs.iter_mut().zip(weights).for_each(|(input, weight)| input.1 = weight);
    inputs.sort_by_key(|(members, _)| members.len());
    let result = combine(&inputs, aggregate, ctx.settings.zset);
    ctx.out.int(result.len() as i64);
    put_result(ctx, &ctx.key(1), result, ZSET, event);
    Ok(())
}

/// Stores a result in place of whatever `key` held; an empty one removes the key.
pub(crate) fn put_result(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, result: ZSet, class: u32, event: &'static str) {
    if !result.is_empty() {
        ctx.keys.put(key, Body::ZSet(result), SetExpire::Clear);
        ctx.keys.changed(key, class, event);
    } else if ctx.keys.remove(key) {
        ctx.keys.changed(key, GENERIC, "del");
    }
}

/// As [`put_result`], logged as 3.2 would say it.
pub(super) fn put_as_added(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, result: ZSet, event: &'static str) {
    let was_there = ctx.keys.look(key).is_some();
    let mut words = Vec::new();
    if ctx.keys.effects().logging {
        for (member, score) in result.iter() {
            let mut text = Vec::new();
            resp::format_f64_17g(score, &mut text);
            words.push(text);
            words.push(member.with_bytes(<[u8]>::to_vec));
        }
    }
    put_result(ctx, key, result, ZSET, event);
    let effects = ctx.keys.effects();
    if was_there {
        effects.log_instead(&[b"DEL", key.bytes]);
    }
    for words in words.chunks(2 * ADDED_TOGETHER) {
        let added = [&b"ZADD"[..], key.bytes].into_iter().chain(words.iter().map(Vec::as_slice));
        effects.log_instead(&added.collect::<Vec<_>>());
    }
}

/// ZDIFFSTORE destination numkeys key [key ...], of Redis 6.2: what of the first one is in none of the others.
pub(crate) fn zdiffstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let count = usize::try_from(ctx.int(2)?).ok().filter(|count| *count > 0 && count + 3 == ctx.args.len());
    let count = count.ok_or(Error::Text(errors::SYNTAX))?;
    let keys = ctx.keys_at(3, 3 + count, 1);
    let mut inputs = Vec::with_capacity(count);
    for key in &keys {
        inputs.push(members_at(ctx, key)?);
    }
    let mut difference = ZSet::new();
    if let Some((first, others)) = inputs.split_first() {
        first.for_each(|member, score| {
            member.with_bytes(|member| {
                if others.iter().all(|other| other.score(member).is_none()) {
                    difference.add(member, score, ctx.settings.zset);
                }
            });
        });
    }
    ctx.out.int(difference.len() as i64);
    put_as_added(ctx, &ctx.key(1), difference, "zdiffstore");
    Ok(())
}

/// What an input holds.
fn members_at<'k>(ctx: &'k Ctx<'_, '_>, key: &Key<'_>) -> Result<Members<'k>, Error> {
    match ctx.keys.at(key).map(|entry| entry.value()) {
        None => Ok(Members::None),
        Some(Value::Set(set)) => Ok(Members::Set(set)),
        Some(Value::ZSet(zset)) => Ok(Members::ZSet(zset)),
        Some(_) => Err(Error::Text(errors::WRONG_TYPE)),
    }
}

fn zunionstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store(ctx, "zunionstore", union)
}

fn zinterstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    store(ctx, "zinterstore", intersection)
}

const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const COUNTED: KeySpec = KeySpec::movable(0, 0, 0, GetKeys::ZUnionInter);

pub(crate) static TABLE: &[Command] = &[
    command::<Handler>("zunionstore", -4, COUNTED, GROWS, zunionstore).holding(Access::Keys),
    command::<Handler>("zinterstore", -4, COUNTED, GROWS, zinterstore).holding(Access::Keys),
];

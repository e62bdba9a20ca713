//! Places: sorted sets whose scores are positions on the earth. `cell` has the arithmetic, `search` finds what to look into.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::reply::reply_item;
use crate::table::{Command, command};
use crate::zset::add_scores;
use crate::zset::store::put_result;
use engine::effects::class::LIST;
use engine::encoding::item::Item;
use engine::value::ZSet;
use engine::value::zset::{ScoreBound, ScoreRange, ZSetLimits};
use resp::errors;
use resp::{Flags, GetKeys, KeySpec, Out};

use cell::{Cell, LATITUDE_MAX, LONGITUDE_MAX, Point, STEP_MAX};

mod cell;
mod search;
#[cfg(test)]
mod tests;

/// Arguments `at` (longitude) and `at + 1` (latitude).
fn point(ctx: &Ctx<'_, '_>, at: usize) -> Result<Point, Error> {
    let (longitude, latitude) = (ctx.float(at)?, ctx.float(at + 1)?);
    if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
        return Err(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into());
    }
    Ok(Point { longitude, latitude })
}

/// Metres in the unit that argument `at` names.
fn unit(ctx: &Ctx<'_, '_>, at: usize) -> Result<f64, Error> {
    match ctx.args.at(at) {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(Error::Text("ERR unsupported unit provided. please use m, km, ft, mi")),
    }
}

/// A distance, with four digits.
fn reply_distance(out: &mut Out, distance: f64) {
    out.bulk(format!("{distance:.4}").as_bytes());
}

fn reply_point(out: &mut Out, point: Point) {
    out.array(2);
    reply_coordinate(out, point.longitude);
    reply_coordinate(out, point.latitude);
}

/// Degrees with up to 17 decimals: what C's `%.17Lf` prints, without zeros at the end.
fn reply_coordinate(out: &mut Out, degrees: f64) {
    let digits = format!("{degrees:.17}");
    out.bulk(digits.trim_end_matches('0').trim_end_matches('.').as_bytes());
}

fn geoadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if !(ctx.args.len() - 2).is_multiple_of(3) {
        return Err(Error::Text("ERR syntax error. Try GEOADD key [x1] [y1] [name1] [x2] [y2] [name2] ... "));
    }
    let mut scored = Vec::with_capacity((ctx.args.len() - 2) / 3);
    for at in (2..ctx.args.len()).step_by(3) {
        scored.push((point(ctx, at)?.score() as f64, ctx.args.at(at + 2)));
    }
    let key = ctx.key(1);
    let added = add_scores(ctx, &key, &scored)?;
    if ctx.keys.effects().logging {
        let scores: Vec<String> = scored.iter().map(|(score, _)| score.to_string()).collect();
        let pairs = scores.iter().zip(&scored).flat_map(|(score, (_, member))| [score.as_bytes(), *member]);
        let record: Vec<&[u8]> = [&b"zadd"[..], key.bytes].into_iter().chain(pairs).collect();
        ctx.keys.effects().log_instead(&record);
    }
    ctx.out.int(added as i64);
    Ok(())
}

fn geodist(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let metres = match ctx.args.len() {
        4 => 1.0,
        5 => unit(ctx, 4)?,
        _ => return Err(Error::Text(errors::SYNTAX)),
    };
    let Some(zset) = ctx.keys.collection::<ZSet>(&ctx.key(1))? else {
        ctx.out.bulk(b"");
        return Ok(());
    };
    let place = |at| zset.score(ctx.args.at(at)).map(Point::of_score);
    match place(2).zip(place(3)) {
        Some((from, to)) => reply_distance(ctx.out, from.distance(to) / metres),
        None => ctx.out.null_bulk(),
    }
    Ok(())
}

fn geopos(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Some(zset) = ctx.keys.collection::<ZSet>(&ctx.key(1))? else {
        ctx.out.array(0);
        return Ok(());
    };
    ctx.out.array(ctx.args.len() - 2);
    for member in ctx.args.from(2).iter() {
        match zset.score(member) {
            Some(score) => reply_point(ctx.out, Point::of_score(score)),
            None => ctx.out.null_array(),
        }
    }
    Ok(())
}

fn geohash(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Some(zset) = ctx.keys.collection::<ZSet>(&ctx.key(1))? else {
        ctx.out.array(0);
        return Ok(());
    };
    ctx.out.array(ctx.args.len() - 2);
    for member in ctx.args.from(2).iter() {
        match zset.score(member).map(|score| geohash_text(Point::of_score(score))) {
            Some(text) => ctx.out.bulk(&text),
            None => ctx.out.null_bulk(),
        }
    }
    Ok(())
}

/// The usual geohash, whose latitude spans 180 degrees: ten digits of base 32, and an eleventh for which 52 bits are too few.
fn geohash_text(point: Point) -> [u8; 11] {
    const DIGITS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Cell::within(point, 90.0, STEP_MAX).bits();
    let mut text = [b'0'; 11];
    for (digit, shift) in text.iter_mut().zip((2..=47).rev().step_by(5)) {
        *digit = DIGITS[(bits >> shift) as usize & 31];
    }
    text
}

/// What a search is centred on.
#[derive(Clone, Copy)]
enum Around {
    Point,
    Member,
}

/// Where found places go, instead of to the client.
#[derive(Clone, Copy)]
struct Target {
    /// Argument of the key.
    key: usize,
    /// Whether scores are distances rather than positions.
    distances: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    None,
    Nearest,
    Farthest,
}

/// GEORADIUS's options.
struct Options {
    with_distance: bool,
    with_hash: bool,
    with_point: bool,
    sort: Sort,
    count: usize,
    target: Option<Target>,
}

impl Options {
    fn parse(ctx: &Ctx<'_, '_>, mut at: usize, may_store: bool) -> Result<Self, Error> {
        let mut options = Options {
            with_distance: false,
            with_hash: false,
            with_point: false,
            sort: Sort::None,
            count: usize::MAX,
            target: None,
        };
        while at < ctx.args.len() {
            let has_value = at + 1 < ctx.args.len();
            let is = |word| ctx.args.is(at, word);
            if is("withdist") {
                options.with_distance = true;
            } else if is("withhash") {
                options.with_hash = true;
            } else if is("withcoord") {
                options.with_point = true;
            } else if is("asc") {
                options.sort = Sort::Nearest;
            } else if is("desc") {
                options.sort = Sort::Farthest;
            } else if is("count") && has_value {
                let count = ctx.int(at + 1)?;
                if count <= 0 {
                    return Err(Error::Text("ERR COUNT must be > 0"));
                }
                options.count = usize::try_from(count).unwrap_or(usize::MAX);
                at += 1;
            } else if (is("store") || is("storedist")) && has_value && may_store {
                options.target = Some(Target { key: at + 1, distances: is("storedist") });
                at += 1;
            } else {
                return Err(Error::Text(errors::SYNTAX));
            }
            at += 1;
        }
        if options.target.is_some() && (options.with_distance || options.with_hash || options.with_point) {
            return Err(Error::Text(
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORDS options",
            ));
        }
        // The first few of no order at all would be no answer.
        if options.count != usize::MAX && options.sort == Sort::None {
            options.sort = Sort::Nearest;
        }
        Ok(options)
    }
}

/// A place in the circle.
struct Found<'a> {
    member: Item<'a>,
    score: f64,
    point: Point,
    /// In metres.
    distance: f64,
}

/// All places within `radius` metres of `centre`, cell by cell.
fn within<'a>(zset: &'a ZSet, centre: Point, radius: f64) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for cell in search::cover(centre, radius) {
        let scores = cell.scores();
        let range = ScoreRange {
            min: ScoreBound { score: scores.start, exclusive: false },
            max: ScoreBound { score: scores.end, exclusive: true },
        };
        for (member, score) in zset.ascending(zset.ranks_by_score(&range)) {
            let point = Point::of_score(score);
            let distance = centre.distance(point);
            if distance <= radius {
                found.push(Found { member, score, point, distance });
            }
        }
    }
    found
}

fn radius_with(ctx: &mut Ctx<'_, '_>, around: Around, may_store: bool) -> Outcome {
    let Some(zset) = ctx.keys.collection::<ZSet>(&ctx.key(1))? else {
        ctx.out.array(0);
        return Ok(());
    };
    let (centre, at) = match around {
        Around::Point => (None, 4),
        Around::Member => {
            let score = zset.score(ctx.args.at(2));
            (Some(score.ok_or(Error::Text("ERR could not decode requested zset member"))?), 3)
        }
    };
    let centre = centre.map_or_else(|| point(ctx, 2), |score| Ok(Point::of_score(score)))?;
    let radius = resp::parse_f64(ctx.args.at(at)).ok_or(Error::Text("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(Error::Text("ERR radius cannot be negative"));
    }
    let metres = unit(ctx, at + 1)?;
    let options = Options::parse(ctx, at + 2, may_store)?;
    let Some(zset) = ctx.keys.collection_at::<ZSet>(&ctx.key(1))? else { return Ok(()) };
    let mut found = within(zset, centre, radius * metres);
    match options.sort {
        Sort::None => {}
        Sort::Nearest => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Sort::Farthest => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    found.truncate(options.count);
    match options.target {
        None => reply_found(ctx.out, &found, &options, metres),
        Some(target) => {
            let stored = collect(&found, target, metres, ctx.settings.zset);
            let count = found.len();
            let key = ctx.key(target.key);
            ctx.out.int(count as i64);
            put_result(ctx, &key, stored, LIST, "georadiusstore");
            ctx.keys.dirty((count as u64).saturating_sub(1));
        }
    }
    Ok(())
}

fn reply_found(out: &mut Out, found: &[Found<'_>], options: &Options, metres: f64) {
    let extras =
        [options.with_distance, options.with_hash, options.with_point].into_iter().filter(|&with| with).count();
    out.array(found.len());
    for place in found {
        if extras > 0 {
            out.array(1 + extras);
        }
        reply_item(out, place.member);
        if options.with_distance {
            reply_distance(out, place.distance / metres);
        }
        if options.with_hash {
            out.int(place.score as i64);
        }
        if options.with_point {
            reply_point(out, place.point);
        }
    }
}

/// The places as a sorted set.
fn collect(found: &[Found<'_>], target: Target, metres: f64, limits: ZSetLimits) -> ZSet {
    let mut zset = ZSet::new();
    for place in found {
        let score = if target.distances { place.distance / metres } else { place.score };
        place.member.with_bytes(|member| zset.add(member, score, limits));
    }
    zset
}

fn georadius(ctx: &mut Ctx<'_, '_>) -> Outcome {
    radius_with(ctx, Around::Point, true)
}

fn georadius_ro(ctx: &mut Ctx<'_, '_>) -> Outcome {
    radius_with(ctx, Around::Point, false)
}

fn georadiusbymember(ctx: &mut Ctx<'_, '_>) -> Outcome {
    radius_with(ctx, Around::Member, true)
}

fn georadiusbymember_ro(ctx: &mut Ctx<'_, '_>) -> Outcome {
    radius_with(ctx, Around::Member, false)
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const ONE: KeySpec = KeySpec::FIRST;
const TARGET: KeySpec = KeySpec::movable(1, 1, 1, GetKeys::GeoRadius);

pub(crate) static TABLE: &[Command] = &[
    command("geoadd", -5, ONE, GROWS, geoadd),
    command("georadius", -6, TARGET, WRITE, georadius),
    command("georadius_ro", -6, TARGET, READ, georadius_ro),
    command("georadiusbymember", -5, TARGET, WRITE, georadiusbymember),
    command("georadiusbymember_ro", -5, TARGET, READ, georadiusbymember_ro),
    command("geohash", -2, ONE, READ, geohash),
    command("geopos", -2, ONE, READ, geopos),
    command("geodist", -4, ONE, READ, geodist),
];

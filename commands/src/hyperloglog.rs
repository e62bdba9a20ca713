//! PFADD, PFCOUNT, PFMERGE and the commands that look inside a HyperLogLog.

pub mod sketch;

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::table::{Access, Command, command};
use engine::effects::class::STRING;
use engine::keyspace::{Key, SetExpire};
use engine::raw::entry::Body;
use resp::{Flags, KeySpec};
use sketch::{Corrupt, REGISTERS, Registers, Sparse};

const NOT_ONE: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
const CORRUPT: &str = "INVALIDOBJ Corrupted HLL object detected";

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Error {
        Error::Text(CORRUPT)
    }
}

/// Looks at the sketch at `key`, if there is one.
fn look<R>(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Error> {
    let Some(text) = ctx.keys.text(key)? else { return Ok(None) };
    let seen = text.with_bytes(|bytes| sketch::check(bytes).then(|| look(bytes)));
    seen.map(Some).ok_or(Error::Text(NOT_ONE))
}

fn put(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, bytes: &[u8]) {
    ctx.keys.put(key, Body::Bytes { bytes, raw: true }, SetExpire::Keep);
}

fn pfadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let bytes_max = ctx.settings.hll_sparse_max_bytes;
    let found = look(ctx, &key, |bytes| sketch::is_sparse(bytes).then(|| bytes.to_vec()))?;
    let created = found.is_none();
    let mut changed = 0;
    let mut elements = ctx.args.from(2).iter();
    if let Some(mut sparse) = found.unwrap_or_else(|| Some(sketch::empty())) {
        let mut dense = None;
        for element in elements.by_ref() {
            let (index, value) = sketch::place(element);
            match sketch::sparse_raise(&mut sparse, index, value, bytes_max)? {
                Sparse::Unchanged => {}
                Sparse::Changed => changed += 1,
                Sparse::NeedsDense => {
                    let mut registers = sketch::registers(&sparse)?;
                    changed += u64::from(registers[index] < value);
                    registers[index] = registers[index].max(value);
                    dense = Some(sketch::dense(&registers));
                    break;
                }
            }
        }
        if created || changed > 0 {
            put(ctx, &key, dense.as_deref().unwrap_or(&sparse));
        }
    }
    // What is left goes into a dense sketch, in place.
    for element in elements {
        let (index, value) = sketch::place(element);
        if look(ctx, &key, |bytes| sketch::dense_get(bytes, index))?.is_some_and(|old| old < value) {
            ctx.keys.edit_text(&key, sketch::DENSE_BYTES, |bytes| {
                sketch::dense_set(bytes, index, value);
                sketch::invalidate(bytes);
            })?;
            changed += 1;
        }
    }
    if created || changed > 0 {
        ctx.keys.changed(&key, STRING, "pfadd");
    }
    ctx.out.int((created || changed > 0).into());
    Ok(())
}

fn pfcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.len() > 2 {
        let registers = merged(ctx, 1)?;
        ctx.out.int(sketch::count(&registers) as i64);
        return Ok(());
    }
    let key = ctx.key(1);
    let seen = look(ctx, &key, |bytes| match sketch::cached(bytes) {
        Some(cached) => Ok((cached, None)),
        None => Ok((sketch::count(&*sketch::registers(bytes)?), Some(bytes.len()))),
    })?;
    let count = match seen {
        None => 0,
        Some(Err(Corrupt)) => return Err(Corrupt.into()),
        Some(Ok((count, None))) => count,
        Some(Ok((count, Some(len)))) => {
            // The value changes, so replicas are told, as the original tells them.
            ctx.keys.edit_text(&key, len, |bytes| sketch::set_cached(bytes, count))?;
            ctx.keys.dirty(1);
            count
        }
    };
    ctx.out.int(count as i64);
    Ok(())
}

/// The union of the sketches at the keys from argument `from` on.
fn merged(ctx: &mut Ctx<'_, '_>, from: usize) -> Result<Box<Registers>, Error> {
    let mut union = Box::new([0; REGISTERS]);
    for i in from..ctx.args.len() {
        let key = ctx.key(i);
        if let Some(merged) = look(ctx, &key, |bytes| sketch::merge(bytes, &mut union))? {
            merged?;
        }
    }
    Ok(union)
}

fn pfmerge(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(1);
    let union = merged(ctx, 1)?;
    put(ctx, &key, &sketch::dense(&union));
    ctx.keys.changed(&key, STRING, "pfadd");
    ctx.out.ok();
    Ok(())
}

fn pfdebug(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(2);
    let name = ctx.args.at(1).to_ascii_lowercase();
    let Some(bytes) = look(ctx, &key, <[u8]>::to_vec)? else {
        return Err(Error::Text("ERR The specified key does not exist"));
    };
    if ctx.args.len() != 3 && matches!(&name[..], b"getreg" | b"decode" | b"encoding" | b"todense") {
        let name = String::from_utf8_lossy(ctx.args.at(1));
        return Err(format!("ERR Wrong number of arguments for the '{name}' subcommand").into());
    }
    match &name[..] {
        b"getreg" => {
            let registers = make_dense(ctx, &key, &bytes)?;
            ctx.out.array(REGISTERS);
            registers.iter().for_each(|&register| ctx.out.int(register.into()));
        }
        b"decode" if !sketch::is_sparse(&bytes) => return Err(Error::Text("ERR HLL encoding is not sparse")),
        b"decode" => {
            let mut text = Vec::new();
            for run in sketch::runs(&bytes) {
                let run = run?;
                text.push(match (run.value, run.bytes) {
                    (0, 1) => format!("z:{}", run.len),
                    (0, _) => format!("Z:{}", run.len),
                    (value, _) => format!("v:{value},{}", run.len),
                });
            }
            ctx.out.bulk(text.join(" ").as_bytes());
        }
        b"encoding" => ctx.out.simple(if sketch::is_sparse(&bytes) { "sparse" } else { "dense" }),
        b"todense" => {
            let sparse = sketch::is_sparse(&bytes);
            make_dense(ctx, &key, &bytes)?;
            ctx.out.int(sparse.into());
        }
        _ => {
            let name = String::from_utf8_lossy(ctx.args.at(1));
            return Err(format!("ERR Unknown PFDEBUG subcommand '{name}'").into());
        }
    }
    Ok(())
}

/// Turns a sparse sketch into a dense one; returns its registers.
fn make_dense(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, bytes: &[u8]) -> Result<Box<Registers>, Error> {
    let registers = sketch::registers(bytes)?;
    if sketch::is_sparse(bytes) {
        let cached = sketch::cached(bytes);
        let mut dense = sketch::dense(&registers);
        if let Some(cached) = cached {
            sketch::set_cached(&mut dense, cached);
        }
        put(ctx, key, &dense);
        ctx.keys.dirty(1);
    }
    Ok(registers)
}

/// Adds numbers and checks that the estimate stays within six standard errors, and both encodings alike.
fn pfselftest(ctx: &mut Ctx<'_, '_>) -> Outcome {
    const NUMBERS: u64 = 200_000;
    const CHECK_EVERY: u64 = 20_000;
    let error_max = 6.0 * 1.04 / (REGISTERS as f64).sqrt();
    let mut plain = Box::new([0; REGISTERS]);
    let (mut sparse, mut fits) = (sketch::empty(), true);
    for n in 1..=NUMBERS {
        let (index, value) = sketch::place(&n.to_le_bytes());
        plain[index] = plain[index].max(value);
        if fits {
            fits = sketch::sparse_raise(&mut sparse, index, value, 3000)? != Sparse::NeedsDense;
            if fits && n % 100 == 0 && *sketch::registers(&sparse)? != *plain {
                return Err(format!("ERR TESTFAILED sparse registers differ after {n} elements").into());
            }
        }
        if n % CHECK_EVERY == 0 {
            let count = sketch::count(&plain);
            if (count as f64 - n as f64).abs() > n as f64 * error_max {
                return Err(format!("ERR TESTFAILED Too big error. card:{n} estimate:{count}").into());
            }
        }
    }
    if *sketch::registers(&sketch::dense(&plain))? != *plain {
        return Err(Error::Text("ERR TESTFAILED dense registers differ"));
    }
    ctx.out.ok();
    Ok(())
}

const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);

pub(crate) static TABLE: &[Command] = &[
    command("pfselftest", 1, KeySpec::NONE, Flags::ADMIN, pfselftest),
    command("pfadd", -2, KeySpec::FIRST, GROWS.or(Flags::FAST), pfadd),
    command("pfcount", -2, KeySpec::range(1, -1, 1), Flags::READONLY, pfcount),
    command("pfmerge", -2, KeySpec::range(1, -1, 1), GROWS, pfmerge),
    command::<crate::table::Handler>("pfdebug", -3, KeySpec::NONE, Flags::WRITE, pfdebug).holding(Access::Touch),
];

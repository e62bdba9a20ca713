//! HyperLogLog: how many different elements were seen, to a percent, in 12 kB at most. `sketch` has the bytes, `estimate` the
//! mathematics. A sketch is a string, and clients may read and write it as one.

use crate::args::Args;
use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::table::{Access, Command, Handler, command};
use engine::effects::class::STRING;
use engine::keyspace::{Key, SetExpire, Text};
use engine::raw::entry::Body;
use resp::{Flags, KeySpec};

use estimate::{Histogram, REGISTER_MAX, REGISTERS};
use sketch::{Corrupt, Encoding, Run};

mod estimate;
mod sketch;
#[cfg(test)]
mod tests;

const NOT_A_SKETCH: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
const CORRUPT: &str = "INVALIDOBJ Corrupted HLL object detected";

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Error {
        Error::Text(CORRUPT)
    }
}

/// The sketch at `key`, for a command that may change it.
fn sketch_at<'k>(ctx: &'k mut Ctx<'_, '_>, key: &Key<'_>) -> Result<Option<(&'k [u8], Encoding)>, Error> {
    sketch_of(ctx.keys.text_to_change(key)?)
}

/// The sketch that a string is.
fn sketch_of(text: Option<Text<'_>>) -> Result<Option<(&[u8], Encoding)>, Error> {
    match text {
        None => Ok(None),
        Some(Text::Bytes(bytes)) => {
            let encoding = sketch::encoding(bytes).ok_or(Error::Text(NOT_A_SKETCH))?;
            Ok(Some((bytes, encoding)))
        }
        Some(Text::Int(_)) => Err(Error::Text(NOT_A_SKETCH)),
    }
}

/// Puts a sketch in place of the one at `key`; its expiry stays.
fn put(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, bytes: &[u8]) {
    ctx.keys.put(key, Body::Bytes { bytes, raw: true }, SetExpire::Keep);
}

fn pfadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, elements) = (ctx.key(1), ctx.args.from(2));
    // Most elements have been seen before: look before anything is copied or marked as changed.
    let found = sketch_at(ctx, &key)?;
    let changes = |bytes, encoding| {
        elements.iter().try_fold(false, |yes, element| Ok(yes || sketch::would_change(bytes, encoding, element)?))
    };
    let changed = found.map_or(Ok::<_, Corrupt>(true), |(bytes, encoding)| changes(bytes, encoding))?;
    match found {
        _ if !changed => {}
        Some((_, Encoding::Dense)) => ctx.keys.edit_text(&key, sketch::DENSE_LEN, |bytes| {
            elements.iter().for_each(|element| {
                sketch::add_to_dense(bytes, element);
            });
            sketch::invalidate(bytes);
        })?,
        Some((bytes, Encoding::Sparse)) => {
            let bytes = bytes.to_vec();
            put_with(ctx, &key, bytes, elements)?;
        }
        None => put_with(ctx, &key, sketch::empty(), elements)?,
    }
    if changed {
        ctx.keys.changed(&key, STRING, "pfadd");
    }
    ctx.out.int(changed.into());
    Ok(())
}

/// Stores a sketch with more elements in it.
fn put_with(ctx: &mut Ctx<'_, '_>, key: &Key<'_>, mut bytes: Vec<u8>, elements: Args<'_>) -> Outcome {
    for element in elements.iter() {
        sketch::add(&mut bytes, element, ctx.settings.hll_sparse_max_bytes)?;
    }
    sketch::invalidate(&mut bytes);
    put(ctx, key, &bytes);
    Ok(())
}

fn pfcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.len() > 2 {
        let registers = merged(ctx, None)?;
        ctx.out.int(registers.iter().collect::<Histogram>().cardinality() as i64);
        return Ok(());
    }
    let key = ctx.key(1);
    let Some((bytes, encoding)) = sketch_at(ctx, &key)? else {
        ctx.out.int(0);
        return Ok(());
    };
    let cardinality = match sketch::cached(bytes) {
        Some(cardinality) => cardinality,
        None => {
            let (cardinality, len) = (sketch::count(bytes, encoding)?, bytes.len());
            ctx.keys.edit_text(&key, len, |bytes| sketch::set_cached(bytes, cardinality))?;
            // The bytes have changed, so it is logged, but nobody is notified.
            ctx.keys.changed(&key, 0, "pfcount");
            cardinality
        }
    };
    ctx.out.int(cardinality as i64);
    Ok(())
}

/// The highest registers of the sketches at all keys, and the header of the first one's in `first`.
fn merged(ctx: &mut Ctx<'_, '_>, mut first: Option<&mut Vec<u8>>) -> Result<Box<sketch::Registers>, Error> {
    let mut registers = Box::new([0; REGISTERS]);
    for i in 1..ctx.args.len() {
        let key = ctx.key(i);
        if let Some((bytes, encoding)) = sketch_of(ctx.keys.text(&key)?)? {
            sketch::merge(&mut registers, bytes, encoding)?;
            if let Some(first) = first.take_if(|_| i == 1) {
                *first = bytes[..sketch::HEADER].to_vec();
            }
        }
    }
    Ok(registers)
}

fn pfmerge(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let mut header = sketch::empty();
    let registers = merged(ctx, Some(&mut header))?;
    let mut bytes = sketch::dense(&header, &registers);
    sketch::invalidate(&mut bytes);
    let key = ctx.key(1);
    put(ctx, &key, &bytes);
    ctx.keys.changed(&key, STRING, "pfadd");
    ctx.out.ok();
    Ok(())
}

fn pfdebug(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.key(2);
    let Some((bytes, encoding)) = sketch_at(ctx, &key)? else {
        return Err(Error::Text("ERR The specified key does not exist"));
    };
    let bytes = bytes.to_vec();
    let name = String::from_utf8_lossy(ctx.args.at(1));
    if !["getreg", "decode", "encoding", "todense"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Err(format!("ERR Unknown PFDEBUG subcommand '{name}'").into());
    }
    if ctx.args.len() != 3 {
        return Err(format!("ERR Wrong number of arguments for the '{name}' subcommand").into());
    }
    if ctx.args.is(1, "encoding") {
        ctx.out.simple(if encoding == Encoding::Dense { "dense" } else { "sparse" });
    } else if ctx.args.is(1, "decode") {
        if encoding == Encoding::Dense {
            return Err(Error::Text("ERR HLL encoding is not sparse"));
        }
        ctx.out.bulk(decoded(&bytes)?.as_bytes());
    } else {
        let converted = encoding == Encoding::Sparse;
        let bytes = if converted { sketch::to_dense(&bytes)? } else { bytes };
        if converted {
            put(ctx, &key, &bytes);
            ctx.keys.changed(&key, 0, "pfdebug");
        }
        if ctx.args.is(1, "todense") {
            ctx.out.int(converted.into());
        } else {
            ctx.out.array(REGISTERS);
            (0..REGISTERS).for_each(|index| ctx.out.int(sketch::dense_get(&bytes, index).into()));
        }
    }
    Ok(())
}

/// The runs of a sparse sketch as PFDEBUG DECODE shows them: `z:` and `Z:` for zeros of one and two bytes, `v:` for values.
fn decoded(bytes: &[u8]) -> Result<String, Error> {
    let mut text = String::new();
    sketch::for_each_run(bytes, |_, run| {
        text += &match run {
            Run::Zeros(len) if len <= sketch::ZERO_RUN_MAX => format!("z:{len} "),
            Run::Zeros(len) => format!("Z:{len} "),
            Run::Values(value, len) => format!("v:{value},{len} "),
        };
    })?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Checks on this machine that registers keep their values and that estimates of both encodings are equal and near the truth.
fn pfselftest(ctx: &mut Ctx<'_, '_>) -> Outcome {
    /// Rounds over all registers, and elements counted: some hundredths of a second each.
    const ROUNDS: usize = 100;
    const ELEMENTS: u64 = 1_000_000;
    /// 1.04 / sqrt(16384), the expected relative error.
    const ERROR: f64 = 1.04 / 128.0;

    let mut dense = sketch::dense(&sketch::empty(), &[0; REGISTERS]);
    for _ in 0..ROUNDS {
        let values: Vec<u8> = (0..REGISTERS).map(|_| ctx.keys.random() as u8 & REGISTER_MAX).collect();
        values.iter().enumerate().for_each(|(index, &value)| sketch::dense_set(&mut dense, index, value));
        for (index, &value) in values.iter().enumerate() {
            let is = sketch::dense_get(&dense, index);
            if is != value {
                return Err(format!("ERR TESTFAILED Register {index} should be {value} but is {is}").into());
            }
        }
    }

    let mut any = sketch::empty();
    dense = sketch::dense(&any, &[0; REGISTERS]);
    let (seed, sparse_len_max) = (ctx.keys.random(), ctx.settings.hll_sparse_max_bytes);
    let mut next = 1;
    for n in 1..=ELEMENTS {
        let element = (n ^ seed).to_le_bytes();
        sketch::add_to_dense(&mut dense, &element);
        sketch::add(&mut any, &element, sparse_len_max)?;
        if n < next {
            continue;
        }
        next *= 10;
        let encoding = sketch::encoding(&any).ok_or(Corrupt)?;
        if n < sparse_len_max as u64 / 2 && encoding == Encoding::Dense {
            return Err(Error::Text("ERR TESTFAILED sparse encoding not used"));
        }
        let count = sketch::count(&dense, Encoding::Dense)?;
        if sketch::count(&any, encoding)? != count {
            return Err(Error::Text("ERR TESTFAILED dense/sparse disagree"));
        }
        let error = count.abs_diff(n);
        if error as f64 > (ERROR * 6.0 * n as f64).ceil() {
            return Err(format!("ERR TESTFAILED Too big error. card:{n} abserr:{error}").into());
        }
    }
    ctx.out.ok();
    Ok(())
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);

pub(crate) static TABLE: &[Command] = &[
    command("pfselftest", 1, KeySpec::NONE, Flags::ADMIN, pfselftest),
    command("pfadd", -2, KeySpec::FIRST, GROWS.or(Flags::FAST), pfadd),
    command("pfcount", -2, KeySpec::range(1, -1, 1), READ, pfcount),
    command("pfmerge", -2, KeySpec::range(1, -1, 1), GROWS, pfmerge),
    // COMMAND has never shown that it takes a key.
    command::<Handler>("pfdebug", -3, KeySpec::NONE, WRITE, pfdebug).holding(Access::Touch),
];

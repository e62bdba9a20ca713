//! Commands of newer servers that a replica of those is told to carry out, where their words say nothing in 3.2's. Clients do
//! not have them. What they did is logged as 3.2 would say it.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::list::move_element;
use crate::table::{Access, Command, Handler, command};
use crate::zset::{zdiffstore, zrangestore};
use engine::value::list::End;
use resp::errors;
use resp::{Flags, GetKeys, KeySpec};

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
fn lmove(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let end = |ctx: &Ctx<'_, '_>, at| match () {
        () if ctx.args.is(at, "left") => Ok(End::Front),
        () if ctx.args.is(at, "right") => Ok(End::Back),
        () => Err(Error::Text(errors::SYNTAX)),
    };
    let (from, to) = (end(ctx, 3)?, end(ctx, 4)?);
    if let Some(element) = move_element(ctx, from, to)? {
        let (source, destination) = (ctx.args.at(1), ctx.args.at(2));
        let word = |end, front: &'static [u8], back: &'static [u8]| if end == End::Front { front } else { back };
        let effects = ctx.keys.effects();
        effects.log_instead(&[word(from, b"LPOP", b"RPOP"), source]);
        effects.log_instead(&[word(to, b"LPUSH", b"RPUSH"), destination, &element]);
    }
    Ok(())
}

const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const COUNTED: KeySpec = KeySpec::movable(0, 0, 0, GetKeys::ZUnionInter);

/// They have no counters, and so no number of their own.
pub static TABLE: &[Command] = &[
    command("lmove", 5, KeySpec::range(1, 2, 1), GROWS, lmove),
    command("zrangestore", -5, KeySpec::range(1, 2, 1), GROWS, zrangestore),
    command::<Handler>("zdiffstore", -4, COUNTED, GROWS, zdiffstore).holding(Access::Keys),
];

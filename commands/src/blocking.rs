//! Lists that clients wait for: what BLPOP, BRPOP and BRPOPLPUSH do when there is an element, and how an element that
//! comes later reaches who has waited longest.
//!
//! Waiting itself is the server's: a command that found nothing registers a [`Waiter`] and its client rests. When a list
//! comes into being, the command that made it runs to its end (a transaction or a script as a whole), then [`serve`] gives
//! its elements away, still under the slot's lock. As in 3.2, an element that is given away is logged as the pop it is,
//! with no event of its own but that of a push to BRPOPLPUSH's destination.

use crate::ctx::Ctx;
use crate::error::{Error, Outcome};
use crate::list::{pop_element, push_at, settle};
use engine::effects::class::LIST;
use engine::interest::{Stake, Waiter};
use engine::keyspace::{Key, Keyspace};
use engine::value::List;
use engine::value::list::{End, NodeLimit};
use resp::{Out, errors};
use slots::SlotId;
use std::sync::Arc;

/// Milliseconds that the timeout at argument `i` asks for; `None` is for ever.
pub fn timeout_ms(ctx: &Ctx<'_, '_>, i: usize) -> Result<Option<i64>, Error> {
    let seconds = resp::parse_i64(ctx.args.at(i)).ok_or(Error::Text(errors::TIMEOUT_NOT_AN_INTEGER))?;
    match seconds {
        ..0 => Err(Error::Text(errors::TIMEOUT_NEGATIVE)),
        0 => Ok(None),
        _ => Ok(Some(seconds.saturating_mul(1000))),
    }
}

/// Pops from the first of the keys at arguments 1 to the last but one that has a list, and replies; false if none has.
pub fn pop_first(ctx: &mut Ctx<'_, '_>, end: End) -> Result<bool, Error> {
    let (command, event) = names(end);
    for i in 1..ctx.args.len() - 1 {
        let key = ctx.key(i);
        let Some(element) = pop_element(&mut ctx.keys, &key, end)? else { continue };
        reply_pair(ctx.out, key.bytes, &element);
        ctx.keys.notify(&key, LIST, event);
        settle(ctx, &key);
        ctx.keys.changed(&key, 0, event);
        ctx.keys.effects().log_instead(&[command, key.bytes]);
        return Ok(true);
    }
    Ok(false)
}

/// BRPOPLPUSH when there is an element: as RPOPLPUSH, and replies; false if there is no list. It is logged as it was sent.
pub fn move_first(ctx: &mut Ctx<'_, '_>) -> Result<bool, Error> {
    let source = ctx.key(1);
    if ctx.keys.collection_mut::<List>(&source)?.is_none() {
        return Ok(false);
    }
    crate::list::rpoplpush(ctx)?;
    Ok(true)
}

/// The command that is logged, and the event.
fn names(end: End) -> (&'static [u8], &'static str) {
    match end {
        End::Front => (b"LPOP", "lpop"),
        End::Back => (b"RPOP", "rpop"),
    }
}

fn reply_pair(out: &mut Out, key: &[u8], element: &[u8]) {
    // Mostly a buffer of its own: it takes its memory once.
    out.as_mut_vec().reserve(key.len() + element.len() + 64);
    out.array(2);
    out.bulk(key);
    out.bulk(element);
}

/// How serving ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Served {
    /// Nobody waits any more, or nothing is left to give.
    All,
    /// Who is next wants its element in a list of this slot, which somebody else holds: come again.
    Wants(SlotId),
}

/// Gives the elements of the list at `key` to those who wait for them, who came first first; `answer` delivers the
/// replies. The slot of `key` is held.
pub fn serve(
    keys: &mut Keyspace<'_, '_>,
    limit: NodeLimit,
    key: &Key<'_>,
    mut answer: impl FnMut(&Waiter, Out),
) -> Served {
    loop {
        keys.expire_if_due(key);
        let Ok(Some(_)) = keys.collection_at::<List>(key) else { return Served::All };
        let Some(waiter) = keys.first_waiter(key) else { return Served::All };
        let destination = waiter.destination.as_deref().map(Key::new);
        if let Some(destination) = &destination
            && !keys.try_reach(destination.slot)
        {
            return Served::Wants(destination.slot);
        }
        if waiter.claim() {
            let mut out = Out::new();
            if let Err(error) = give(keys, limit, key, &waiter, destination, &mut out) {
                out.error_line(error.text());
            }
            answer(&waiter, out);
        }
        keys.withdraw(key, &Stake::Wait(Arc::clone(&waiter)));
        keys.remove_if_empty::<List>(key);
    }
}

/// Gives one element to a waiter that was claimed. An error is for the waiter; nothing was popped then.
fn give(
    keys: &mut Keyspace<'_, '_>,
    limit: NodeLimit,
    key: &Key<'_>,
    waiter: &Waiter,
    destination: Option<Key<'_>>,
    out: &mut Out,
) -> Outcome {
    let (command, _) = names(waiter.end);
    if let Some(destination) = &destination {
        keys.expire_if_due(destination);
        keys.collection_at::<List>(destination)?;
    }
    let element = pop_element(keys, key, waiter.end)?.unwrap_or_default();
    keys.effects().log_also(&[command, key.bytes]);
    match &destination {
        None => reply_pair(out, key.bytes, &element),
        Some(destination) => {
            push_at(keys, limit, destination, End::Front, [&element[..]])?;
            keys.effects().log_also(&[b"LPUSH", destination.bytes, &element]);
            out.bulk(&element);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use std::cell::RefCell;

    fn wait(world: &mut World, key: &[u8], client: u64, end: End, destination: Option<&[u8]>) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::new(0, client, 1, end, destination));
        world.look(|keys| keys.register(&Key::new(key), Stake::Wait(waiter.clone())));
        waiter
    }

    /// Serves what is ready, as the server does; gives each answer as client and reply.
    fn serve_ready(world: &mut World) -> Vec<(u64, String)> {
        let answers = RefCell::new(Vec::new());
        while let Some(ready) = world.take_ready() {
            let served = world.look(|keys| {
                serve(keys, NodeLimit::from_config(-2), &Key::new(&ready.key), |waiter, out| {
                    let text = String::from_utf8_lossy(out.as_slice()).replace("\r\n", " ");
                    answers.borrow_mut().push((waiter.client, text.trim().to_owned()));
                })
            });
            assert_eq!(served, Served::All);
        }
        answers.into_inner()
    }

    #[test]
    fn who_came_first_is_served_first_and_each_from_its_end() {
        let mut world = World::new();
        wait(&mut world, b"l", 1, End::Front, None);
        let gone = wait(&mut world, b"l", 2, End::Front, None);
        wait(&mut world, b"l", 3, End::Back, None);
        wait(&mut world, b"l", 4, End::Front, None);
        gone.leave();
        world.run("RPUSH l a b");
        let answers = serve_ready(&mut world);
        assert_eq!(answers, [(1, "*2 $1 l $1 a".to_owned()), (3, "*2 $1 l $1 b".to_owned())]);
        assert_eq!(world.run("EXISTS l"), ":0");
    }

    #[test]
    fn a_list_that_comes_by_any_way_is_ready() {
        for line in ["LPUSH l a", "RENAME other l", "SORT other STORE l", "RPOPLPUSH other l"] {
            let mut world = World::new();
            world.run("RPUSH other 1");
            wait(&mut world, b"l", 1, End::Front, None);
            world.run(line);
            assert_eq!(serve_ready(&mut world).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_moved_element_wakes_who_waits_for_its_destination() {
        let mut world = World::new();
        wait(&mut world, b"a", 1, End::Back, Some(b"b"));
        wait(&mut world, b"b", 2, End::Front, None);
        world.run("RPUSH a x");
        let answers = serve_ready(&mut world);
        assert_eq!(answers, [(1, "$1 x".to_owned()), (2, "*2 $1 b $1 x".to_owned())]);
    }

    #[test]
    fn a_destination_of_another_type_is_an_error_that_takes_nothing() {
        let mut world = World::new();
        world.run("SET s v");
        wait(&mut world, b"l", 1, End::Back, Some(b"s"));
        wait(&mut world, b"l", 2, End::Back, None);
        world.run("RPUSH l a b");
        let answers = serve_ready(&mut world);
        assert!(answers[0].1.starts_with("-WRONGTYPE"));
        assert_eq!(answers[1], (2, "*2 $1 l $1 b".to_owned()));
        assert_eq!(world.run("LRANGE l 0 -1"), "[a]");
    }

    #[test]
    fn a_list_may_be_its_own_destination() {
        let mut world = World::new();
        wait(&mut world, b"l", 1, End::Back, Some(b"l"));
        world.run("RPUSH l a");
        assert_eq!(serve_ready(&mut world), [(1, "$1 a".to_owned())]);
        assert_eq!(world.run("LRANGE l 0 -1"), "[a]");
    }
}

//! Payloads of RESTORE, SLOTSRESTORE and SLOTSRESTORE-ASYNC, and long texts of SET and its like, of which values are made before their command
//! runs, step by step.
//!
//! Why: a value of millions of elements takes a second to make, and a text of a gigabyte as long to copy, for which nobody
//! else should wait: neither the other clients of the thread nor, since a command holds its slots, those of other threads
//! with keys in them.
//!
//! ```text
//!   request --checks--> put off: a stretch of its values a turn --> .. --all made--> runs as any command, with the values
//! ```
//! 1. Nothing is held, and nothing is to be seen, until all is read. What the server answers is decided when the command
//!    runs, from then on as if it had just come: the keys appear at once, or none.
//! 2. Payloads and texts stay where they are, in the connection's input; what was made of them belongs to its first request,
//!    and goes with the connection, with a request that is refused meanwhile, or unused.
//! 3. A transaction, a script, a primary's stream and a file do not stop in the middle: there the command reads for itself.

use crate::node::Node;
use crate::node_commands::NodeCtx;
use commands::args::Args;
use commands::settings::Settings;
use engine::keyspace::{Copies, Waste};
use engine::raw::entry::{Body, Entry};
use engine::raw::thin::ThinBytes;
use engine::raw::ticks::{self, Ticks};
use persistence::rdb::decode::Limits;
use persistence::rdb::dump;
use persistence::rdb::restoring::{Restoring, Wrong};
use slots::migration::message::VALUE;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Shorter payloads are read when the command runs.
const BYTES_MIN: usize = 16 * 1024;
/// With more arguments a request is not looked at again and again: to store so many keys takes its time anyway. Servers of
/// ours send at most 1024 keys at once.
const ARGS_MAX: usize = 4096;
/// A stretch.
const STRETCH_US: u64 = 100;
/// Bytes of a text that are copied before the time is looked at.
const PIECE_BYTES: usize = 16 * 1024;

/// What the values of one request are made of.
pub struct Unpacking {
    node: &'static Node,
    /// Which argument each is, in order, and how far it is.
    payloads: VecDeque<(usize, Restoring)>,
    /// The first ones are read to the end.
    read: usize,
    /// Which arguments are texts to be copied, in order.
    texts: Vec<usize>,
    /// The one that is being copied.
    copy: ThinBytes,
    /// Those that are.
    copies: Copies,
}

/// The arguments of a command that are payloads or texts: the first of them, and how far it is from one to the next.
struct Places {
    first: usize,
    step: usize,
    are_texts: bool,
}

/// What a command stores as values.
fn places(name: &str, args: &Args<'_>) -> Option<Places> {
    let (first, step, are_texts) = match name {
        "restore" | "restore-asking" => (3, usize::MAX, false),
        "slotsrestore" => (3, 3, false),
        "set" | "setnx" | "getset" => (2, usize::MAX, true),
        "setex" | "psetex" => (3, usize::MAX, true),
        "mset" | "msetnx" => (2, 2, true),
        // SLOTSRESTORE-ASYNC object key ttl payload, SLOTSRESTORE-ASYNC string key ttl text
        "slotsrestore-async" => (VALUE, usize::MAX, !args.is(1, "object")),
        _ => return None,
    };
    Some(Places { first, step, are_texts })
}

/// Whether a request is one for [`Unpacking::of`] at all, as far as its size tells.
#[inline]
pub fn is_long(args: &Args<'_>) -> bool {
    args.span() > BYTES_MIN
}

impl Unpacking {
    /// The long payloads or texts of a request; `None` if there is nothing to make before it runs.
    #[cold]
    pub fn of(node: &'static Node, name: &str, args: &Args<'_>, settings: &Settings) -> Option<Box<Unpacking>> {
        let Places { first, step, are_texts } = places(name, args)?;
        let bytes_min = if are_texts { Copies::BYTES_MIN } else { BYTES_MIN };
        let indices = (first..args.len().min(ARGS_MAX)).step_by(step);
        let long = indices.filter(|&at| args.len() <= ARGS_MAX && args.at(at).len() > bytes_min);
        let (mut payloads, mut texts) = (VecDeque::new(), Vec::new());
        match are_texts {
            true => texts.extend(long),
            false => payloads.extend(long.map(|at| (at, Restoring::new(limits(settings))))),
        }
        if payloads.is_empty() && texts.is_empty() {
            return None;
        }
        // The next one stands last.
        texts.reverse();
        let (copy, copies) = (ThinBytes::new(), Copies::default());
        Some(Box::new(Unpacking { node, payloads, read: 0, texts, copy, copies }))
    }

    /// Goes on for a stretch; true when all is made.
    pub fn go_on(&mut self, args: &Args<'_>) -> bool {
        let (begin, stretch) = (Ticks::now(), STRETCH_US * ticks::per_microsecond());
        let has_time = || Ticks::now().since(begin) < stretch;
        while let Some((at, restoring)) = self.payloads.get_mut(self.read) {
            if !restoring.step(args.at(*at), has_time) {
                return false;
            }
            self.read += 1;
        }
        while let Some(&at) = self.texts.last() {
            let text = args.at(at);
            if self.copy.capacity() < text.len() {
                self.copy = ThinBytes::with_capacity(text.len());
            }
            for piece in text.get(self.copy.len()..).unwrap_or_default().chunks(PIECE_BYTES) {
                self.copy.extend(piece);
                if !has_time() {
                    return false;
                }
            }
            self.copies.add(text, std::mem::take(&mut self.copy));
            self.texts.pop();
        }
        true
    }

    /// The copies, for as long as the command runs; to be put back if it has to come again.
    pub fn copies(&mut self) -> &mut Copies {
        &mut self.copies
    }

    fn take(&mut self, at: usize) -> Option<Result<Body<'static>, Wrong>> {
        let nth = self.payloads.iter().take(self.read).position(|&(index, _)| index == at)?;
        self.read -= 1;
        // Mostly the first one.
        Some(self.payloads.remove(nth)?.1.into_body())
    }
}

/// The entry that the payload in argument `at` makes under `key`, out of what was read before if it was.
pub fn entry(ctx: &mut NodeCtx<'_, '_>, at: usize, key: &[u8], expire_at_ms: Option<i64>) -> Result<Entry, Wrong> {
    match made(ctx, at, key, expire_at_ms) {
        Some(entry) => entry,
        None => {
            let lru = ctx.keys.now().lru();
            let verified = dump::verify(ctx.args.at(at)).ok_or(Wrong::Seal)?;
            dump::restore(verified, limits(ctx.settings), key, expire_at_ms, lru).map_err(|_| Wrong::Data)
        }
    }
}

/// The entry that was made of the payload in argument `at` before its command ran, if it was.
pub fn made(
    ctx: &mut NodeCtx<'_, '_>,
    at: usize,
    key: &[u8],
    expire_at_ms: Option<i64>,
) -> Option<Result<Entry, Wrong>> {
    let lru = ctx.keys.now().lru();
    let body = ctx.client.unpacking.as_mut()?.take(at)?;
    Some(body.map(|body| Entry::new(key, body, expire_at_ms, lru)))
}

/// What replicas and files are told of that payload: one that every reader knows.
pub fn for_log<'p>(ctx: &mut NodeCtx<'_, '_>, payload: &'p [u8], entry: &Entry) -> Cow<'p, [u8]> {
    match ctx.keys.effects().logging {
        true => dump::for_older_readers(payload, entry.view().value()),
        false => Cow::Borrowed(payload),
    }
}

/// When values take their compact forms.
pub fn limits(settings: &Settings) -> Limits {
    Limits {
        hash: settings.hash,
        list_node: settings.list_node,
        set_max_intset_entries: settings.set_max_intset_entries,
        zset: settings.zset,
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        let waste = |body| Waste::Entry(Entry::new(b"", body, None, 0));
        let made = self.payloads.drain(..).filter_map(|(_, restoring)| restoring.into_body().ok());
        let copies = self.copies.take_rest().chain([std::mem::take(&mut self.copy)]).filter(|copy| !copy.is_empty());
        let waste: Vec<Waste> = made.chain(copies.map(Body::Long)).map(waste).collect();
        if !waste.is_empty() {
            self.node.free_later(waste);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::{Desk, laid_out};
    use engine::raw::entry::Value;

    /// What is made of a request before it runs, once it is.
    fn unpacked(words: &[&[u8]]) -> Option<Box<Unpacking>> {
        let (bytes, ranges) = laid_out(words);
        let (args, desk) = (Args::new(&bytes, &ranges), Desk::new());
        let name = std::str::from_utf8(words[0]).expect("text");
        let mut unpacking = Unpacking::of(desk.exec.node, name, &args, &desk.exec.settled.settings)?;
        while !unpacking.go_on(&args) {}
        Some(unpacking)
    }

    #[test]
    fn what_sources_send_is_made_before_it_is_stored() {
        let (text, few) = (vec![b'x'; 4 * Copies::BYTES_MIN.max(BYTES_MIN)], &b"x"[..]);
        let payload = dump::dump(Value::Bytes(&text), false);
        let is_made = |words: &[&[u8]], at| {
            let mut unpacking = unpacked(words).expect("it is long");
            matches!(unpacking.take(at), Some(Ok(Body::Long(made))) if made.as_slice() == text)
        };
        assert!(is_made(&[b"slotsrestore-async", b"object", b"k", b"0", &payload], 4));
        // As many keys as servers of ours send at once, the last of them a big one.
        let mut words = vec![&b"slotsrestore"[..]];
        (0..1023).for_each(|_| words.extend([few, few, few]));
        words.extend([few, few, &payload]);
        assert!(is_made(&words, words.len() - 1));
        let copies = unpacked(&[b"slotsrestore-async", b"string", b"k", b"0", &text]).expect("it is long");
        assert!(copies.payloads.is_empty() && copies.texts.is_empty());
        assert!(unpacked(&[b"slotsrestore-async", b"object", b"k", b"0", few]).is_none());
    }
}

//! Payloads of RESTORE and SLOTSRESTORE that are read before their command runs, step by step.
//!
//! Why: a value of millions of elements takes a second to make, for which nobody else should wait: neither the other clients
//! of the thread nor, since a command holds its slots, those of other threads with keys in them.
//!
//! ```text
//!   request --checks--> put off: a stretch of its payloads a turn --> .. --all read--> runs as any command, with the values
//! ```
//! 1. Nothing is held, and nothing is to be seen, until all is read. What the server answers is decided when the command
//!    runs, from then on as if it had just come: the keys appear at once, or none.
//! 2. The payloads stay where they are, in the connection's input; what was made of them belongs to its first request, and
//!    goes with the connection, with a request that is refused meanwhile, or unused.
//! 3. A transaction, a script, a primary's stream and a file do not stop in the middle: there the command reads for itself.

use crate::node::Node;
use crate::node_commands::NodeCtx;
use commands::args::Args;
use commands::settings::Settings;
use engine::keyspace::Waste;
use engine::raw::entry::{Body, Entry};
use engine::raw::ticks::{self, Ticks};
use persistence::rdb::decode::Limits;
use persistence::rdb::dump;
use persistence::rdb::restoring::{Restoring, Wrong};
use std::borrow::Cow;

/// Shorter payloads are read when the command runs.
const BYTES_MIN: usize = 16 * 1024;
/// With more arguments a request is not looked at again and again: to store so many keys takes its time anyway.
const ARGS_MAX: usize = 1024;
/// A stretch.
const STRETCH_US: u64 = 100;

/// The payloads of one request.
pub struct Unpacking {
    node: &'static Node,
    /// Which argument each is, in order, and how far it is.
    payloads: Vec<(usize, Restoring)>,
    /// The first ones are read to the end.
    read: usize,
}

/// Whether a request is one for [`Unpacking::of`] at all, as far as its size tells.
#[inline]
pub fn is_long(args: &Args<'_>) -> bool {
    args.span() > BYTES_MIN
}

impl Unpacking {
    /// The long payloads of a request; `None` if there is nothing to read before it runs.
    #[cold]
    pub fn of(node: &'static Node, name: &str, args: &Args<'_>, settings: &Settings) -> Option<Box<Unpacking>> {
        let step = match name {
            "restore" | "restore-asking" => usize::MAX,
            "slotsrestore" => 3,
            _ => return None,
        };
        let indices = (3..args.len().min(ARGS_MAX)).step_by(step);
        let long = indices.filter(|&at| args.len() <= ARGS_MAX && args.at(at).len() > BYTES_MIN);
        let payloads: Vec<_> = long.map(|at| (at, Restoring::new(limits(settings)))).collect();
        (!payloads.is_empty()).then(|| Box::new(Unpacking { node, payloads, read: 0 }))
    }

    /// Reads on for a stretch; true when all is read.
    pub fn go_on(&mut self, args: &Args<'_>) -> bool {
        let (begin, stretch) = (Ticks::now(), STRETCH_US * ticks::per_microsecond());
        while let Some((at, restoring)) = self.payloads.get_mut(self.read) {
            if !restoring.step(args.at(*at), || Ticks::now().since(begin) < stretch) {
                return false;
            }
            self.read += 1;
        }
        true
    }

    fn take(&mut self, at: usize) -> Option<Result<Body<'static>, Wrong>> {
        let nth = self.payloads.iter().take(self.read).position(|&(index, _)| index == at)?;
        self.read -= 1;
        Some(self.payloads.remove(nth).1.into_body())
    }
}

/// The entry that the payload in argument `at` makes under `key`, out of what was read before if it was.
pub fn entry(ctx: &mut NodeCtx<'_, '_>, at: usize, key: &[u8], expire_at_ms: Option<i64>) -> Result<Entry, Wrong> {
    let lru = ctx.keys.now().lru();
    match ctx.client.unpacking.as_mut().and_then(|unpacking| unpacking.take(at)) {
        Some(body) => Ok(Entry::new(key, body?, expire_at_ms, lru)),
        None => {
            let verified = dump::verify(ctx.args.at(at)).ok_or(Wrong::Seal)?;
            dump::restore(verified, limits(ctx.settings), key, expire_at_ms, lru).map_err(|_| Wrong::Data)
        }
    }
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
        let waste: Vec<Waste> = made.map(waste).collect();
        if !waste.is_empty() {
            self.node.free_later(waste);
        }
    }
}

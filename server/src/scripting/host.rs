//! The node's side of a running script: carries out its commands, and keeps an eye on its time.

use super::busy::Visits;
use super::engine::Scratch;
use super::record::Block;
use super::{Fate, Scripts};
use crate::log;
use crate::memory::Aside;
use crate::node::Run;
use crate::node_commands::NodeCtx;
use crate::persist::gate;
use crate::repl::Gate;
use commands::args::Args;
use commands::ctx::Session;
use commands::table::{Access, Command};
use engine::clock::Now;
use engine::evict::Evictor;
use engine::keyspace::Key;
use engine::records::Reach;
use lua::{Host, Outcome, Replication, Tick};
use resp::{Flags, Out, Reply};
use std::sync::atomic::Ordering::Relaxed;

const UNKNOWN: &str = "Unknown Redis command called from Lua script";
const ARITY: &str = "Wrong number of args calling Redis command From Lua script";
const NOT_ALLOWED: &str = "This Redis command is not allowed from scripts";
const NOT_DETERMINISTIC: &str = "Write commands not allowed after non deterministic commands. Call \
    redis.replicate_commands() at the start of your script in order to switch to single commands replication mode.";
const KILLED: &str = "Script killed by user with SCRIPT KILL...";
/// As [`OOM`].
const READ_ONLY: &str = "-READONLY You can't write against a read only slave.\r\n";
/// As [`OOM`].
const MISCONF: &str = "-MISCONF Redis is configured to save RDB snapshots, but is currently not able to persist on disk. \
    Commands that may modify the data set are disabled. Please check Redis logs for details about the error.\r\n";
/// With the mark and the line end of a reply, which the original leaves in.
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// A running script, as its commands see it.
pub struct ScriptHost<'s, 'c, 'h> {
    ctx: &'s mut NodeCtx<'c, 'h>,
    scratch: &'s mut Scratch,
    evictor: &'s mut Evictor,
    /// The script's first key, whose hash and slot are known.
    first: Option<Key<'s>>,
    session: Session,
    /// A command whose result is random was called: nothing may be written from then on.
    random: bool,
    wrote: bool,
    /// Effects are logged one by one, not the script.
    effects: Option<Block>,
    /// Their memory.
    aside: Aside<'static>,
    /// Where effects go.
    to: Replication,
    /// When the hook was first called, Unix milliseconds: a tick after the script's start at most.
    since_ms: Option<i64>,
    /// Past its time: the connections served meanwhile.
    visits: Option<Visits>,
}

impl<'s, 'c, 'h> ScriptHost<'s, 'c, 'h> {
    /// Ready to run a script for the client of `ctx`. Call [`ScriptHost::finish`] after.
    pub fn new(
        ctx: &'s mut NodeCtx<'c, 'h>,
        scratch: &'s mut Scratch,
        evictor: &'s mut Evictor,
        first: Option<Key<'s>>,
    ) -> ScriptHost<'s, 'c, 'h> {
        let home = ctx.session.db;
        let scripts = &ctx.node.scripts;
        let effects = scripts.always_effects.load(Relaxed).then(|| Block::new(home));
        scripts.begin();
        let aside = Aside::new(ctx.node);
        ScriptHost {
            ctx,
            scratch,
            evictor,
            first,
            session: Session { db: home },
            random: false,
            wrote: false,
            effects,
            aside,
            to: Replication { aof: true, replicas: true },
            since_ms: None,
            visits: None,
        }
    }

    fn scripts(&self) -> &'static Scripts {
        &self.ctx.node.scripts
    }

    /// The script has ended: hands the node's connections back, and leaves in the effects what is to be logged. True if
    /// that is the script itself.
    pub fn finish(self) -> bool {
        let abandoned = self.scripts().end();
        if let Some(visits) = self.visits {
            visits.finish(self.ctx.net);
        }
        let effects = self.ctx.keys.effects();
        if abandoned {
            // Also what EXEC has run around it.
            effects.logging = false;
        }
        match self.effects {
            Some(block) => {
                block.log(effects);
                false
            }
            None => true,
        }
    }

    /// Whether the script may call this command now.
    #[inline]
    fn check(&mut self, row: &Command<Run>, argc: usize) -> Result<(), &'static str> {
        let flags = row.spec.flags;
        if !row.spec.arity_ok(argc) {
            return Err(ARITY);
        }
        if flags.contains(Flags::NOSCRIPT) {
            return Err(NOT_ALLOWED);
        }
        if flags.contains(Flags::WRITE) && self.random && self.effects.is_none() {
            return Err(NOT_DETERMINISTIC);
        }
        if flags.contains(Flags::WRITE)
            && !self.ctx.keys.is_from_primary()
            && let Some(refusal) = self.refusal()
        {
            return Err(refusal);
        }
        if flags.contains(Flags::DENYOOM) && !self.wrote && !self.has_room() {
            return Err(OOM);
        }
        self.random |= flags.contains(Flags::RANDOM);
        if flags.contains(Flags::WRITE) && !self.wrote {
            if !self.scripts().may_write() {
                return Err(KILLED);
            }
            self.wrote = true;
        }
        Ok(())
    }

    /// Why nothing may be written now, in the original's order.
    #[inline]
    fn refusal(&self) -> Option<&'static str> {
        let node = self.ctx.node;
        if node.repl.gate.bits() & Gate::READ_ONLY != 0 {
            return Some(READ_ONLY);
        }
        (node.persist.gate.has(gate::SAVE_FAILED) && gate::after_failed_save(node, self.ctx.config)).then_some(MISCONF)
    }

    /// Whether memory may grow, once keys are dropped that may be.
    #[inline]
    fn has_room(&mut self) -> bool {
        if !crate::memory::is_over(self.ctx.node, self.ctx.config) || self.ctx.keys.is_from_primary() {
            return true;
        }
        if self.ctx.keys.is_replica() {
            return false;
        }
        let room = crate::memory::make_room_within(self.ctx, self.evictor);
        if let Some(block) = &mut self.effects {
            let home = self.ctx.session.db;
            block.add(self.ctx.keys.effects(), home, Args::new(&[], &[]), Reach::All);
        }
        room
    }

    /// Takes the effects of the command that was just run in database `db`.
    fn collect(&mut self, db: u32) {
        let node = self.ctx.node;
        let effects = self.ctx.keys.effects();
        match &mut self.effects {
            None => effects.log_verbatim(),
            Some(block) => {
                let reach = match self.to {
                    Replication { aof: true, replicas: true } => Reach::All,
                    Replication { aof: true, .. } => Reach::File,
                    Replication { replicas: true, .. } => Reach::Replicas,
                    Replication { .. } => Reach::Nobody,
                };
                if !self.to.replicas && effects.dirty > 0 && node.repl.has_stream() {
                    node.repl.strays();
                }
                block.add(effects, db, Args::new(&self.scratch.bytes, &self.scratch.args), reach);
                self.aside.set(block.memory());
            }
        }
    }

    /// Past its time, the script lets its thread look after the other connections.
    fn look_around(&mut self) {
        let (limit_ms, now) = (self.ctx.config.lua_time_limit_ms, Now::read());
        let since_ms = *self.since_ms.get_or_insert(now.ms);
        // A replica's scripts are its primary's, which nobody may stop.
        if limit_ms <= 0 || self.ctx.keys.is_replica() || now.ms - since_ms < limit_ms {
            return;
        }
        let visits = self.visits.get_or_insert_with(|| {
            log::warning!(
                "Lua slow script detected: still in execution after {} milliseconds. You can try killing the script \
                 using the SCRIPT KILL command.",
                now.ms - since_ms
            );
            self.ctx.node.scripts.set_busy();
            Visits::default()
        });
        visits.serve(self.ctx.net, self.ctx.node, self.ctx.reactor, self.ctx.config, now);
        self.ctx.hand_out_all();
    }
}

impl Host for ScriptHost<'_, '_, '_> {
    fn call(&mut self, args: &[&[u8]], reply: &mut Out) -> Outcome {
        let registry = &self.ctx.node.registry;
        let row = args.first().and_then(|name| self.scratch.recent.row(registry, name));
        let row = match row.ok_or(UNKNOWN).and_then(|row| self.check(row, args.len()).map(|()| row)) {
            Ok(row) => row,
            Err(reason) => {
                reply.extend_raw(reason.as_bytes());
                return Outcome::Refused;
            }
        };
        self.scratch.fill(args);
        let (begin, db) = (reply.len(), self.session.db);
        let args = Args::new(&self.scratch.bytes, &self.scratch.args);
        let first = self
            .first
            .filter(|key| row.access == Access::Keys && row.spec.keys.first == 1 && args.get(1) == Some(key.bytes));
        self.ctx.invoke(row, args, first, Some(&mut self.session), self.effects.is_some(), reply);
        if row.spec.flags.contains(Flags::SORT_FOR_SCRIPT) && self.effects.is_none() {
            sort_reply(reply, begin);
        }
        self.collect(db);
        self.scratch.shrink();
        Outcome::Replied
    }

    fn log(&mut self, level: u8, message: &[u8]) {
        let text = String::from_utf8_lossy(message);
        match level {
            0 => log::debug!("{text}"),
            1 => log::verbose!("{text}"),
            2 => log::notice!("{text}"),
            _ => log::warning!("{text}"),
        }
    }

    fn replicates_commands(&self) -> bool {
        self.effects.is_some()
    }

    fn replicate_commands(&mut self) -> Option<i32> {
        if self.wrote {
            return None;
        }
        let home = self.ctx.session.db;
        self.effects.get_or_insert_with(|| Block::new(home));
        Some(self.ctx.keys.random() as i32)
    }

    fn set_replication(&mut self, to: Replication) {
        self.to = to;
    }

    fn tick(&mut self) -> Tick {
        self.look_around();
        let stopping = self.ctx.node.stopping.load(Relaxed) && !self.wrote;
        match self.scripts().fate() {
            Fate::Run if stopping => Tick::Kill,
            Fate::Run => Tick::Continue,
            Fate::Killed => {
                log::warning!("Lua script killed by user with SCRIPT KILL.");
                Tick::Kill
            }
            Fate::Abandoned => Tick::Kill,
        }
    }
}

/// Sorts an array of strings, so that a script sees the same order everywhere.
fn sort_reply(reply: &mut Out, begin: usize) {
    let Ok(Some((Reply::Array(Some(mut items)), _))) = Reply::decode(&reply.as_slice()[begin..]) else { return };
    items.sort_by(|a, b| match (a, b) {
        (Reply::Bulk(a), Reply::Bulk(b)) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    reply.truncate(begin);
    Reply::Array(Some(items)).encode(reply);
}

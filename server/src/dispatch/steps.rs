//! The steps of one command while its slots are held: whether it still may run, the handler, the log, those who wait.

use super::{Desk, Turn, log_effects, publish_events, reply_error};
use crate::conn::Client;
use crate::node::Run;
use crate::node_commands::{NodeCtx, Seat};
use crate::persist::gate;
use crate::repl::Gate;
use crate::slots_commands::must_wait;
use commands::args::Args;
use commands::ctx::Ctx;
use commands::table::{Access, Command};
use engine::clock::Now;
use engine::keyspace::{Key, Keyspace};
use engine::raw::lock::Held;
use engine::slot::Slot;
use resp::{Flags, Out};
use std::sync::atomic::Ordering;

impl Desk {
    /// Whether the command must come again, now that its slots are held. Who was ended by CLIENT KILL finds that out when it
    /// comes again: whoever has its answer and these slots after that sees nothing more change.
    #[inline]
    pub(super) fn must_come_again(
        &self,
        held: &mut Held<'_, Slot>,
        row: &Command<Run>,
        args: &Args<'_>,
        client: &Client,
        now: Now,
    ) -> bool {
        if client.info.killed.load(Ordering::Relaxed) {
            return true;
        }
        let (queue, db) = (client.queue.as_ref(), client.session.db);
        // What a primary has done is done: its stream and its file wait for nobody.
        if self.node.moves.claims.are_there()
            && self.piece.is_none()
            && !self.replaying
            && must_wait(self.node, held, row, args, (queue, db), (!self.is_replica()).then_some(now))
        {
            return true;
        }
        if self.node.owed.is_there()
            && self.piece.is_none()
            && !self.replaying
            && self.node.owed.concerns(row, args, db)
        {
            return true;
        }
        // What was asked before the slots were held is true no longer. A stream that is not followed any more is put off
        // until the link hears of that, which is in its next turn.
        !self.replaying
            && (self.node.repl.gate.bits() != self.gate
                || self.node.persist.gate.has(gate::STOPPING) && self.is_too_late(row))
            || self.piece.is_some() && (self.gate & Gate::REPLICA == 0 || !self.node.repl.is_attempt(&self.piece))
    }

    /// Whether keys past their expiry are somebody else's to remove.
    #[inline]
    fn is_replica(&self) -> bool {
        self.replaying || self.gate & Gate::REPLICA != 0
    }

    /// Whether a replica may not be told yet whom to follow: see [`crate::repl::drain`].
    #[inline]
    pub(super) fn must_apply_first(
        &self,
        held: &mut Held<'_, Slot>,
        client: &Client,
        row: &Command<Run>,
        now: Now,
    ) -> bool {
        let asks = self.gate & Gate::REPLICA != 0
            && matches!(row.access, Access::All | Access::Touch)
            && self.piece.is_none()
            && !self.replaying
            && changes_primary(client, row);
        if asks {
            // A transaction takes them one by one.
            held.add_all();
        }
        asks && self.node.repl.drain.must_wait(now.ms)
    }

    /// Whether the command may change something after the last save, or begin another one: it never runs.
    #[cold]
    fn is_too_late(&self, row: &Command<Run>) -> bool {
        row.access == Access::All || gate::must_wait(self.node, gate::STOPPING, row, self.reactor)
    }

    /// It runs: sets what it is to do besides, and shows it to those who watch.
    #[inline]
    pub(super) fn begin(&mut self, client: &Client, out: &mut Out, row: &Command<Run>, args: &Args<'_>) {
        // Commands of a file are a primary's.
        self.local.is_replica = self.is_replica();
        let as_it_came = self.piece.is_some() && !self.differs;
        self.local.effects.logging = self.node.oplog.wants_records(as_it_came) && !self.replaying;
        if self.node.monitors.are_there()
            && !self.replaying
            && !row.spec.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN)
        {
            let watches = client.info.monitor.load(Ordering::Relaxed);
            let own = if watches { client.info.id } else { 0 };
            let from = client.info.monitor_name();
            let line = self.node.monitors.show(&self.node.mailboxes, client.session.db, &from, args, own);
            if let Some(line) = line.filter(|_| watches) {
                out.extend_raw(&line.bytes);
            }
        }
    }

    /// Calls the handler, which replies; `first` is argument 1 as a key, if it is one.
    #[inline]
    pub(super) fn handle(
        &mut self,
        turn: &mut Turn<'_>,
        held: &mut Held<'_, Slot>,
        args: Args<'_>,
        row: &Command<Run>,
        first: Option<Key<'_>>,
    ) {
        let Turn { net, client, out, now, .. } = turn;
        let start = out.len();
        let mut ctx = Ctx {
            args,
            out,
            keys: Keyspace::new(held, &mut self.local, client.session.db, *now),
            session: &mut client.session,
            settings: &self.settled.settings,
            first,
            in_script: false,
        };
        let outcome = match row.handler {
            Run::Keys(handler) => handler(&mut ctx),
            Run::Node(handler) => {
                let seat = Seat {
                    info: &client.info,
                    authenticated: &mut client.authenticated,
                    close_after_reply: &mut client.close_after_reply,
                    replies: &mut client.replies,
                    queue: &mut client.queue,
                    watched: &mut client.watched,
                    subscriptions: &mut client.subscriptions,
                    parking: Some(&mut client.parking),
                    peer: &mut client.peer,
                    unpacking: &mut client.unpacking,
                };
                let (node, reactor, config) = (self.node, self.reactor, &*self.settled.config);
                handler(&mut NodeCtx { ctx, node, client: seat, reactor, net, config, engine: &mut self.engine })
            }
        };
        reply_error(turn.out, start, outcome);
    }

    /// Counts and logs what the command did in database `db`. Returns whether it emptied all databases.
    #[inline]
    pub(super) fn log(&mut self, client: &mut Client, row: &Command<Run>, args: Args<'_>, db: u32) -> bool {
        let dirty = self.local.effects.dirty;
        if dirty > 0 {
            self.node.stats[self.reactor].dirty.add(dirty);
        }
        if let Some((piece, _)) = &mut self.piece {
            match row.spec.name {
                // A file need not repeat them.
                "publish" | "ping" | "replconf" => self.node.oplog.append_stream_for_replicas(piece),
                _ if self.differs => {
                    self.records.clear();
                    if self.local.effects.has_records() {
                        self.local.effects.records(args.iter(), &mut self.records);
                    }
                    let of_file = self.records.of_file();
                    self.records.clear_large();
                    self.node.oplog.append_stream_otherwise(piece, client.session.db, (db, &of_file));
                }
                _ => self.node.oplog.append_stream(piece, client.session.db),
            };
            piece.clear();
            publish_events(self.node, &self.local);
        } else {
            if dirty > 0 && self.gate & Gate::REPLICA != 0 && !self.replaying {
                self.node.repl.strays();
            }
            if let Some(end) = log_effects(self.node, &self.local, &mut self.records, db, args) {
                client.written = end;
            }
        }
        dirty > 0 && self.local.effects.flushed
    }
}

/// Whether a command may change whom this server follows.
fn changes_primary(client: &Client, row: &Command<Run>) -> bool {
    let is_slaveof = |name: &str| matches!(name, "slaveof" | "replicaof");
    match row.spec.name {
        "exec" => client.queue.iter().flat_map(|queue| &queue.requests).any(|queued| is_slaveof(queued.row.spec.name)),
        name => is_slaveof(name),
    }
}

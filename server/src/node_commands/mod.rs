//! Commands on the node itself rather than on keys: connections, settings, figures, debugging.
//!
//! Their rows have the same shape as those of `commands`; their handlers see the node and the client besides.

mod blocking;
mod client;
mod cluster;
mod command;
mod config;
pub mod connection;
mod debug;
mod dump;
mod info;
mod latency;
mod migrate;
mod monitor;
mod process;
mod pubsub;
pub mod replication;
mod saving;
mod script;
mod slowlog;
mod transaction;

pub use connection::equal_in_constant_time;

use crate::clients::ClientInfo;
use crate::config::Config;
use crate::conn::{Queue, Replies};
use crate::dispatch::reply_error;
use crate::net::Net;
use crate::node::{Node, Run};
use crate::park::Parking;
use crate::persist::gate;
use crate::pubsub::Subscriptions;
use crate::repl::peer::Peer;
use crate::scripting::engine::Engine;
use crate::stakes::Stakes;
use crate::unpack::Unpacking;
use commands::args::Args;
use commands::ctx::{Ctx, Session};
use commands::error::Outcome;
use commands::table::{Access, Command};
use engine::clock::Now;
use engine::keyspace::Key;
use engine::raw::ticks::Ticks;
use resp::{Flags, Out};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Runs one command on the node.
pub type Handler = fn(&mut NodeCtx<'_, '_>) -> Outcome;

/// What a command may change of the connection it came from.
pub struct Seat<'c> {
    /// What others see.
    pub info: &'c Arc<ClientInfo>,
    /// Whether the password was given, or none is needed.
    pub authenticated: &'c mut bool,
    /// End the connection once the replies are sent.
    pub close_after_reply: &'c mut bool,
    /// CLIENT REPLY.
    pub replies: &'c mut Replies,
    /// What MULTI has queued.
    pub queue: &'c mut Option<Queue>,
    /// What WATCH has registered.
    pub watched: &'c mut Option<Stakes>,
    /// What it listens to.
    pub subscriptions: &'c mut Option<Box<Subscriptions>>,
    /// How to wait for a reply that comes later; `None` in a script or a transaction, which never wait.
    pub parking: Option<&'c mut Parking>,
    /// What it is in replication.
    pub peer: &'c mut Option<Box<Peer>>,
    /// What was read of the request before it ran.
    pub unpacking: &'c mut Option<Box<Unpacking>>,
}

/// The surroundings of a command on the node.
pub struct NodeCtx<'c, 'h> {
    /// What commands on keys see too.
    pub ctx: Ctx<'c, 'h>,
    /// The node.
    pub node: &'static Node,
    /// The connection.
    pub client: Seat<'c>,
    /// The reactor that runs it.
    pub reactor: usize,
    /// That reactor's other connections.
    pub net: &'c mut Net,
    /// The settings in force.
    pub config: &'c Config,
    /// The thread's scripting engine, made when it is first needed; a script has taken it out while it runs.
    pub engine: &'c mut Option<Box<Engine>>,
}

impl<'c, 'h> Deref for NodeCtx<'c, 'h> {
    type Target = Ctx<'c, 'h>;

    fn deref(&self) -> &Self::Target {
        &self.ctx
    }
}

impl DerefMut for NodeCtx<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.ctx
    }
}

impl NodeCtx<'_, '_> {
    /// Runs another command for this one (a script's, a transaction's): with the slots held so far, in `session` if
    /// it has its own, replying to `out`. If `logged_alone`, the caller collects its effects under its own database.
    pub fn invoke(
        &mut self,
        row: &Command<Run>,
        args: Args<'_>,
        first: Option<Key<'_>>,
        session: Option<&mut Session>,
        logged_alone: bool,
        out: &mut Out,
    ) {
        let in_script = session.is_some();
        let session = session.unwrap_or(self.ctx.session);
        let mut keys = self.ctx.keys.reborrow();
        keys.select(session.db);
        keys.set_clock(Now::read);
        if logged_alone {
            keys.rehome(session.db);
        }
        if row.access == Access::All {
            keys.hold_all();
        }
        let shown = self.node.monitors.are_there();
        if shown {
            Self::show(self.node, self.client.info, row, session.db, in_script, &args);
        }
        let (begin, started) = (out.len(), Ticks::now());
        let mut ctx = Ctx { args, out, keys, session, settings: self.ctx.settings, first, in_script };
        let outcome = match row.handler {
            Run::Keys(handler) => handler(&mut ctx),
            Run::Node(handler) => handler(&mut NodeCtx {
                ctx,
                node: self.node,
                client: Seat {
                    info: self.client.info,
                    authenticated: &mut *self.client.authenticated,
                    close_after_reply: &mut *self.client.close_after_reply,
                    replies: &mut *self.client.replies,
                    queue: &mut None,
                    watched: &mut *self.client.watched,
                    subscriptions: &mut *self.client.subscriptions,
                    parking: None,
                    peer: &mut *self.client.peer,
                    unpacking: &mut None,
                },
                reactor: self.reactor,
                net: &mut *self.net,
                engine: &mut *self.engine,
                config: self.config,
            }),
        };
        reply_error(out, begin, outcome);
        let (took, stats) = (Ticks::now().since(started), &self.node.stats[self.reactor]);
        stats.commands.add(1);
        if let Some((calls, ticks)) = stats.commands_by_id.get(usize::from(row.id)) {
            calls.add(1);
            ticks.add(took);
        }
        self.node.note_time(row, &args, took);
        if shown {
            self.hand_out();
        }
    }

    /// Hands out what waits for this thread's clients, if it is much: while a script or a transaction runs, nobody else
    /// does. Not if the client that runs it listens too, whose turn comes after.
    pub fn hand_out(&mut self) {
        if self.node.mailboxes[self.reactor].has_many_messages() {
            self.hand_out_all();
        }
    }

    /// As [`NodeCtx::hand_out`], however little it is.
    pub fn hand_out_all(&mut self) {
        let listens = self.client.subscriptions.is_some() || self.client.info.monitor.load(Relaxed);
        // The thread that loads a file has no clients.
        if !listens && !self.node.persist.gate.has(gate::LOADING) {
            self.net.hand_out(self.config);
        }
    }

    /// Shows a command that a script or a transaction runs to those who MONITOR.
    #[cold]
    fn show(node: &Node, info: &ClientInfo, row: &Command<Run>, db: u32, in_script: bool, args: &Args<'_>) {
        if !row.spec.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN) {
            let from = if in_script { b"lua".to_vec() } else { info.monitor_name() };
            node.monitors.show(&node.mailboxes, db, &from, args, 0);
        }
    }
}

/// What only a primary may give a server to do: commands of newer servers.
pub fn newer() -> &'static [Command<Handler>] {
    dump::NEWER
}

/// The tables of all files.
pub fn tables() -> impl Iterator<Item = Command<Handler>> {
    [
        blocking::TABLE,
        client::TABLE,
        cluster::TABLE,
        command::TABLE,
        config::TABLE,
        connection::TABLE,
        debug::TABLE,
        dump::TABLE,
        info::TABLE,
        migrate::TABLE,
        latency::TABLE,
        monitor::TABLE,
        process::TABLE,
        replication::TABLE,
        pubsub::TABLE,
        saving::TABLE,
        script::TABLE,
        slowlog::TABLE,
        transaction::TABLE,
    ]
    .into_iter()
    .flatten()
    .copied()
    .chain(crate::slots_commands::tables())
}

//! Commands on the node itself rather than on keys: connections, settings, figures, debugging.
//!
//! Their rows have the same shape as those of `commands`; their handlers see the node and the client besides.

mod client;
mod command;
mod config;
mod connection;
mod debug;
mod info;
mod process;
mod script;

use crate::clients::ClientInfo;
use crate::conn::Replies;
use crate::node::Node;
use commands::ctx::Ctx;
use commands::error::Outcome;
use commands::table::Command;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

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
    /// The thread's scripting engine, made when it is first needed; a script has taken it out while it runs.
    pub vm: &'c mut Option<lua::Vm>,
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

/// The tables of all files.
pub fn tables() -> impl Iterator<Item = Command<Handler>> {
    [client::TABLE, command::TABLE, config::TABLE, connection::TABLE, debug::TABLE, info::TABLE, process::TABLE, script::TABLE].into_iter().flatten().copied()
}

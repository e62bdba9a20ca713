//! The node: wires the engine, the commands and the sockets together; decides little.

#![forbid(unsafe_code)]

pub mod clients;
pub mod config;
pub mod conn;
pub mod cron;
pub mod dispatch;
pub mod listener;
pub mod log;
pub mod mailbox;
pub mod memory;
pub mod node;
pub mod node_commands;
pub mod os_error;
pub mod reactor;
pub mod start;
pub mod stats;

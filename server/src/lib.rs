//! The node: wires the engine, the commands and the sockets together; decides little.
//!
//! A start, in order: `cli::Program::of` the name; `cli::parse` the arguments; `Config::load`; `Config::apply_to_log`;
//! `Supervisor::find`; `daemon::go_to_background` unless there is one; `daemon::adjust_open_files_limit`;
//! `PidFile::for_config`; `banner::log`; then `start::serve`: sockets, `daemon::log_warnings`, the node,
//! `Supervisor::ready`, threads.
//!
//! It knows no layout of a value and no command on keys: `engine` keeps and locks keys, `commands` changes them. Here is
//! what has a socket, a thread, a setting or a process to do with it.

#![forbid(unsafe_code)]

pub mod banner;
pub mod check;
pub mod cli;
pub mod clients;
pub mod config;
pub mod conn;
pub mod crash_report;
pub mod cron;
pub mod daemon;
pub mod dispatch;
pub mod door;
pub mod guests;
pub mod input;
pub mod latency;
pub mod listener;
pub mod log;
pub mod mailbox;
pub mod memory;
pub mod migrate;
pub mod monitor;
pub mod net;
pub mod node;
pub mod node_commands;
pub mod notices;
mod offers;
pub mod os_error;
pub mod owed;
pub mod park;
pub mod persist;
pub mod pubsub;
pub mod rdb_file;
pub mod reactor;
pub mod repl;
pub mod resolve;
pub mod scripting;
pub mod slots_commands;
pub mod slow;
pub mod slowlog;
pub mod stakes;
pub mod start;
pub mod stats;
pub mod unpack;

//! Whole programs under test: real processes on free loopback ports, in directories of their own, killed in every case.
//!
//! * `server.rs`: starts a server and ends it, whatever happens to the test. `programs.rs`: where the programs are.
//! * `relay.rs`: a network that breaks. `replicas.rs`: primaries and replicas under load. `contents.rs`: all that a server
//!   stores, to compare.
//! * `client.rs`: a blocking client that can also speak nonsense.
//! * `differential/`: random commands to two servers, whose replies must be equal.
//! * `known_differences.rs`: where Redis 7.0 answers otherwise than 3.2, each with its reason.
//!
//! What is tested is the programs' outside: nothing here knows the engine or the commands.

#![forbid(unsafe_code)]

mod client;
mod contents;
pub mod differential;
pub mod known_differences;
mod programs;
mod random;
mod relay;
pub mod replicas;
mod server;

pub use client::{Client, accept, encode, is_end, is_late};
pub use contents::{Contents, contents};
pub use programs::{codis_server, redis_server};
pub use random::Random;
pub use relay::{Relay, Way};
pub use server::{Crashed, NOBODYS_PORT, Options, Server, alive, free_port, kill, wait_until};

//! The node: start-up, settings, log. `main.rs` wires them to the engine.
#![forbid(unsafe_code)]

pub mod config;
pub mod log;
pub mod os_error;

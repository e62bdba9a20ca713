//! What scripts see and what clients get, over a host that is a small map.
//!
//! Expected replies were taken from a real Redis 3.2 where they could be.

mod conversion;
mod errors;
mod host;
mod libs;
mod limits;
mod sandbox;

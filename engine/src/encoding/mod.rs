//! Compact forms of values, each with its drawing: how a value is laid out while it is small.

pub mod compact;
pub mod intset;
pub mod item;
pub mod rope;

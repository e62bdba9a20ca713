//! How much memory is in use, and whether that is too much.

use crate::config::Config;
use crate::node::Node;
use engine::raw::alloc;
use std::sync::atomic::Ordering;

/// Bytes handed out by the allocator; remembers the highest figure.
pub fn used(node: &Node) -> u64 {
    let used = alloc::used_memory();
    node.peak_memory.fetch_max(used, Ordering::Relaxed);
    used
}

/// Whether `maxmemory` is set and exceeded.
#[inline]
pub fn is_over(node: &Node, config: &Config) -> bool {
    config.maxmemory != 0 && used(node) > config.maxmemory
}

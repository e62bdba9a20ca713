//! Settings that commands on keys depend on, as one value that is replaced when CONFIG SET changes it.

use engine::value::hash::HashLimits;
use engine::value::list::NodeLimit;
use engine::value::zset::ZSetLimits;

/// Thresholds and limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of databases.
    pub databases: u32,
    /// `hash-max-ziplist-entries` and `-value`.
    pub hash: HashLimits,
    /// `list-max-ziplist-size`.
    pub list_node: NodeLimit,
    /// `set-max-intset-entries`.
    pub set_max_intset_entries: usize,
    /// `zset-max-ziplist-entries` and `-value`.
    pub zset: ZSetLimits,
    /// `hll-sparse-max-bytes`.
    pub hll_sparse_max_bytes: usize,
    /// Whether OBJECT REFCOUNT says that small integers are shared: not while each key needs a time of last use of its own.
    pub shared_integers: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            databases: 16,
            hash: HashLimits::default(),
            list_node: NodeLimit::default(),
            set_max_intset_entries: 512,
            zset: ZSetLimits::default(),
            hll_sparse_max_bytes: 3000,
            shared_integers: true,
        }
    }
}

//! What the targets share: the server's allocator, limits that make values big early, and entries as plain data.

use engine::raw::entry::{EntryRef, Value};
use engine::value::hash::HashLimits;
use engine::value::list::NodeLimit;
use engine::value::zset::ZSetLimits;
use persistence::rdb::decode::Limits;

#[global_allocator]
static ALLOCATOR: engine::raw::alloc::Jemalloc = engine::raw::alloc::Jemalloc;

/// Limits so small that a short input reaches the big forms.
pub fn small_limits() -> Limits {
    Limits {
        hash: HashLimits { entries: 2, value: 4 },
        list_node: NodeLimit::from_config(2),
        set_max_intset_entries: 2,
        zset: ZSetLimits { entries: 2, value: 4 },
    }
}

/// A value as plain data, which is equal for equal values whatever their form.
pub fn plain(entry: EntryRef<'_>) -> Vec<Vec<u8>> {
    let mut parts = match entry.value() {
        Value::Int(int) => return vec![int.to_string().into()],
        Value::Bytes(bytes) => return vec![bytes.to_vec()],
        Value::List(list) => return list.iter().map(|item| item.to_vec()).collect(),
        Value::Set(set) => set.iter().map(|item| item.to_vec()).collect::<Vec<_>>(),
        Value::ZSet(zset) => {
            let pair = |(member, score): (engine::encoding::item::Item<'_>, f64)| {
                // Both zeros are one score.
                [&member.to_vec()[..], &(score + 0.0).to_be_bytes()].concat()
            };
            zset.iter().map(pair).collect()
        }
        Value::Hash(hash) => {
            let pair = |(field, value): (engine::encoding::item::Item<'_>, engine::encoding::item::Item<'_>)| {
                let (field, value) = (field.to_vec(), value.to_vec());
                [&field.len().to_be_bytes()[..], &field, &value].concat()
            };
            hash.iter().map(pair).collect()
        }
    };
    parts.sort();
    parts
}

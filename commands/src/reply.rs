//! Replies of elements as they are stored.

use engine::encoding::item::Item;
use resp::Out;

/// An element as a string.
#[inline]
pub fn reply_item(out: &mut Out, item: Item<'_>) {
    match item {
        Item::Int(int) => out.bulk_int(int),
        Item::Str(bytes) => out.bulk(bytes),
    }
}

//! The library `cmsgpack`: MessagePack as lua-cmsgpack 0.4.0 reads and writes it.
//!
//! Strings are "raw" of the old specification (with its later 8-bit form); the binary and extension types are unknown.

mod pack;
mod unpack;

use crate::ffi::{Raise, Stack, native};

pub(super) fn open(stack: &mut Stack<'_>) -> Result<(), Raise> {
    super::push_library(
        stack,
        &[
            (b"pack", native(pack::pack)),
            (b"unpack", native(unpack::unpack)),
            (b"unpack_one", native(unpack::unpack_one)),
            (b"unpack_limit", native(unpack::unpack_limit)),
        ],
    )?;
    let table = stack.top();
    for (name, value) in [
        (&b"_NAME"[..], &b"cmsgpack"[..]),
        (b"_VERSION", b"lua-cmsgpack 0.4.0"),
        (b"_DESCRIPTION", b"MessagePack C implementation for Lua"),
    ] {
        stack.push_bytes(value)?;
        stack.set_field(table, name)?;
    }
    stack.set_global(b"cmsgpack")
}

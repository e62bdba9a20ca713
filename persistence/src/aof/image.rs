//! A snapshot of the engine as the commands that make its keys anew.

use super::rewrite;
use engine::raw::entry::EntryRef;
use engine::snapshot::{ELEMENTS_MAX, Element, Format, Head, Sizes};
use resp::Out;

// Each piece that a snapshot gives becomes one command.
const _: () = assert!(ELEMENTS_MAX == rewrite::ITEMS_PER_COMMAND);

/// Encodes keys as commands.
#[derive(Default)]
pub struct AofFormat(Out);

impl AofFormat {
    /// Appends to `out` what `write` writes.
    fn with(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Out)) {
        self.0.clear();
        write(&mut self.0);
        out.extend_from_slice(self.0.as_slice());
    }
}

impl Format for AofFormat {
    fn database(&mut self, db: u32, _sizes: Option<Sizes>, out: &mut Vec<u8>) {
        self.with(out, |to| rewrite::select(to, db));
    }

    fn entry(&mut self, entry: EntryRef<'_>, out: &mut Vec<u8>) {
        self.with(out, |to| rewrite::entry(to, entry));
    }

    fn head(&mut self, _head: &Head, _out: &mut Vec<u8>) {}

    fn elements(&mut self, head: &Head, elements: &[Element<'_>], out: &mut Vec<u8>) {
        self.with(out, |to| rewrite::elements(to, &head.key, elements));
    }

    fn tail(&mut self, head: &Head, out: &mut Vec<u8>) {
        self.with(out, |to| rewrite::expiry(to, &head.key, head.expire_at_ms));
    }
}

//! A snapshot of the engine in the form of an RDB file's middle: what stands between its notes and its end.

use super::encode::{Encoder, kind_of_elements};
use super::opcode;
use engine::raw::entry::EntryRef;
use engine::snapshot::{Element, Format, Head, Sizes};

/// Encodes keys for an RDB file.
pub struct RdbFormat(Encoder);

impl RdbFormat {
    /// `compress` is `rdbcompression`.
    pub fn new(compress: bool) -> RdbFormat {
        RdbFormat(Encoder::new(compress))
    }

    /// Lets `write` write to the end of `out`.
    fn with(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Encoder)) {
        std::mem::swap(&mut self.0.out, out);
        write(&mut self.0);
        std::mem::swap(&mut self.0.out, out);
    }
}

impl Format for RdbFormat {
    fn database(&mut self, db: u32, sizes: Option<Sizes>, out: &mut Vec<u8>) {
        self.with(out, |to| match sizes {
            Some(sizes) => to.database(db, sizes.keys, sizes.expiring),
            None => to.select(db),
        });
    }

    fn entry(&mut self, entry: EntryRef<'_>, out: &mut Vec<u8>) {
        self.with(out, |to| to.entry(entry));
    }

    fn head(&mut self, head: &Head, out: &mut Vec<u8>) {
        self.with(out, |to| {
            if let Some(at_ms) = head.expire_at_ms {
                to.out.push(opcode::EXPIRE_MS);
                to.out.extend_from_slice(&at_ms.to_le_bytes());
            }
            to.out.push(kind_of_elements(head.kind));
            to.string(&head.key);
            to.len(head.len);
        });
    }

    fn elements(&mut self, _head: &Head, elements: &[Element<'_>], out: &mut Vec<u8>) {
        self.with(out, |to| {
            for element in elements {
                match element {
                    Element::Member(member) => to.string(member),
                    Element::Pair(field, value) => {
                        to.string(field);
                        to.string(value);
                    }
                    Element::Scored(member, score) => {
                        to.string(member);
                        to.score(*score);
                    }
                    Element::Node(node) => to.packed(node.iter()),
                }
            }
        });
    }

    fn tail(&mut self, _head: &Head, _out: &mut Vec<u8>) {}
}

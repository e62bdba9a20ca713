//! Copies of a command's long texts, made before it began.
//!
//! Why: a value is a block of its own, and to copy a text of hundreds of megabytes into one takes as many milliseconds, while
//! the command's slots are held. Whoever has time before makes the copies, and [`super::Keyspace::put_text`] finds them.
//!
//! 1. A copy is known by where its text lies, so it is here only while that text does: from a command's beginning to its end.

use crate::raw::thin::ThinBytes;

/// The copies.
#[derive(Default)]
pub struct Copies(Vec<(usize, ThinBytes)>);

impl Copies {
    /// Nobody waits long for shorter texts to be copied: nothing is looked for.
    pub const BYTES_MIN: usize = 1 << 20;

    /// Adds the copy of a text that stays where it is until the copy is taken back.
    pub fn add(&mut self, text: &[u8], copy: ThinBytes) {
        self.0.push((text.as_ptr().addr(), copy));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The copy of this text, if there is one and nobody has taken it.
    #[cold]
    pub(super) fn take(&mut self, text: &[u8]) -> Option<ThinBytes> {
        let at = text.as_ptr().addr();
        let place = self.0.iter().position(|(of, copy)| *of == at && copy.len() == text.len())?;
        Some(self.0.swap_remove(place).1)
    }

    /// All that nobody has taken, in no order.
    pub fn take_rest(&mut self) -> impl Iterator<Item = ThinBytes> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|(_, copy)| copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_found_by_its_own_text_only_and_once() {
        let text = b"text, text".to_vec();
        let copy = |bytes: &[u8]| {
            let mut copy = ThinBytes::new();
            copy.extend(bytes);
            copy
        };
        let mut copies = Copies::default();
        copies.add(&text[..4], copy(b"text"));
        copies.add(&text[6..], copy(b"TEXT"));
        let taken = |copies: &mut Copies, of: &[u8]| copies.take(of).map(|copy| copy.as_slice().to_vec());
        assert_eq!(taken(&mut copies, &text), None);
        assert_eq!(taken(&mut copies, &text[..3]), None);
        assert_eq!(taken(&mut copies, &text.clone()[..4]), None);
        assert_eq!(taken(&mut copies, &text[6..]), Some(b"TEXT".to_vec()));
        assert_eq!(taken(&mut copies, &text[6..]), None);
        assert_eq!(copies.take_rest().count(), 1);
        assert!(copies.is_empty());
    }
}

//! Comparing text as the locale of the environment has it (`LC_COLLATE`): what SORT ALPHA does.
//!
//! The standard library has no collation, so this is the C library's, which knows the installed locales.

use std::cmp::Ordering;
use std::ffi::CStr;

/// Takes the order from the environment. To be called once, before other threads start; until then the order is that of
/// the bytes.
pub fn init() {
    // SAFETY: the text is NUL-terminated, and no other thread runs that could read the locale.
    unsafe { libc::setlocale(libc::LC_COLLATE, c"".as_ptr()) };
}

/// Compares two texts up to their first NUL; one without NUL is not allowed to matter and counts as empty.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let text = |bytes| CStr::from_bytes_until_nul(bytes).unwrap_or(c"");
    let (a, b): (&CStr, &CStr) = (text(a), text(b));
    // SAFETY: both are NUL-terminated; the locale is not changed while threads run.
    unsafe { libc::strcoll(a.as_ptr(), b.as_ptr()) }.cmp(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_at_their_first_nul() {
        assert_eq!(compare(b"a\0z\0", b"a\0"), Ordering::Equal);
        assert_eq!(compare(b"B\0", b"a\0"), Ordering::Less);
        assert_eq!(compare(b"ab\0", b"a\0"), Ordering::Greater);
    }
}

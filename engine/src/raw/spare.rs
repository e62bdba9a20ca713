//! Reading into a vector's spare capacity, a bounded part at a time.
//!
//! Why: a big request's buffer is made ready for more bytes than one read may take, and to write zeroes over what the
//! kernel is about to fill would cost as much as the read itself.

use std::mem::MaybeUninit;

/// Has `fill` fill the front of `into`'s spare capacity, at most `limit` bytes, and lengthens `into` by the part that
/// it returns, which must begin where its argument does. Returns how many bytes came.
///
/// # Panics
/// When `fill` returns another slice than the front of what it was given.
pub fn extend<E>(
    into: &mut Vec<u8>,
    limit: usize,
    fill: impl for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], E>,
) -> Result<usize, E> {
    let spare = into.spare_capacity_mut();
    let most = limit.min(spare.len());
    let front = spare.as_ptr().cast::<u8>();
    let filled = fill(&mut spare[..most])?;
    let count = filled.len();
    assert!(count == 0 || std::ptr::eq(filled.as_ptr(), front) && count <= most, "not the front of the spare capacity");
    // SAFETY: `filled` is a slice of initialised bytes that begins where the spare capacity does and is no longer than
    // it, so these bytes of the vector's allocation are initialised and within its capacity.
    unsafe { into.set_len(into.len() + count) };
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<'a>(part: &'a mut [MaybeUninit<u8>], bytes: &[u8]) -> &'a mut [u8] {
        part[..bytes.len()].write_copy_of_slice(bytes)
    }

    #[test]
    fn what_was_filled_is_appended_up_to_the_limit() {
        let mut into = b"ab".to_vec();
        into.reserve_exact(10);
        let mut offered = 0;
        let count = extend::<()>(&mut into, 4, |part| {
            offered = part.len();
            Ok(write(part, b"cde"))
        });
        assert_eq!((count, offered), (Ok(3), 4));
        assert_eq!(into, b"abcde");
        assert_eq!(extend(&mut into, 4, |_| Err("gone")), Err("gone"));
        assert_eq!(extend::<()>(&mut into, 4, |part| Ok(write(part, b""))), Ok(0));
        assert_eq!(into, b"abcde");
    }

    #[test]
    #[should_panic(expected = "not the front")]
    fn other_bytes_are_refused() {
        let mut into = Vec::with_capacity(16);
        let other = Box::leak(Box::new(*b"zzzz"));
        let _ = extend::<()>(&mut into, 16, |_| Ok(other));
    }
}

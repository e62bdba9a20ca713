//! `Item`: one element of a compact sequence, an integer or a byte string.
//!
//! A byte string that is the canonical decimal form of an `i64` (what printing the integer gives: no plus, no leading
//! zero, no "-0") is held as the integer; every other one as it is. So equal strings are equal items, and an item prints
//! back to the very bytes it was made of.

/// An element: see the module. `Str` never holds the canonical form of an `i64`; [`Item::parse`] sees to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// Its bytes are the canonical decimal form of this.
    Int(i64),
    /// Any other bytes.
    Str(&'a [u8]),
}

/// Longest canonical form: `-9223372036854775808`.
const DIGITS_MAX: usize = 20;

impl<'a> Item<'a> {
    /// The item of these bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Item<'a> {
        match parse_int(bytes) {
            Some(int) => Item::Int(int),
            None => Item::Str(bytes),
        }
    }

    /// Length in bytes of the string.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Item::Int(int) => decimal_len(*int),
            Item::Str(bytes) => bytes.len(),
        }
    }

    /// Whether it is the empty string.
    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(self, Item::Str([]))
    }

    /// Whether its string is `bytes`.
    #[inline]
    pub fn eq_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Item::Int(int) => parse_int(bytes) == Some(*int),
            Item::Str(own) => *own == bytes,
        }
    }

    /// Appends its string to `out`.
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Item::Int(int) => out.extend_from_slice(itoa::Buffer::new().format(*int).as_bytes()),
            Item::Str(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// Calls `f` with its string; an integer is printed on the stack.
    #[inline]
    pub fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Item::Int(int) => f(itoa::Buffer::new().format(*int).as_bytes()),
            Item::Str(bytes) => f(bytes),
        }
    }

    /// Its string; an integer is printed into `scratch`, which must outlive the result.
    #[inline]
    pub fn bytes_in<'s>(&self, scratch: &'s mut Scratch) -> &'s [u8]
    where
        'a: 's,
    {
        match self {
            Item::Int(int) => scratch.0.format(*int).as_bytes(),
            Item::Str(bytes) => bytes,
        }
    }

    /// A copy of its string.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with_bytes(<[u8]>::to_vec)
    }
}

/// Room to print an integer in: see [`Item::bytes_in`].
pub struct Scratch(itoa::Buffer);

impl Scratch {
    /// Fresh room.
    #[inline]
    pub fn new() -> Scratch {
        Scratch(itoa::Buffer::new())
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

/// The `i64` of which `bytes` is the canonical decimal form, if it is one.
#[inline]
pub fn parse_int(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let (&first, rest) = digits.split_first()?;
    if bytes.len() > DIGITS_MAX || !first.is_ascii_digit() {
        return None;
    }
    if first == b'0' {
        return (bytes.len() == 1).then_some(0);
    }
    let mut value = u64::from(first - b'0');
    for &digit in rest {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

fn decimal_len(int: i64) -> usize {
    usize::from(int < 0) + int.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "-01",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "100000000000000000000",
        ] {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
        for int in [0, 7, -7, 10, i64::MAX, i64::MIN] {
            assert_eq!(parse_int(int.to_string().as_bytes()), Some(int));
        }
    }

    proptest! {
        #[test]
        fn an_item_prints_back_to_its_bytes(bytes in prop_oneof![
            "[-+]?[0-9]{0,21}".prop_map(String::into_bytes),
            any::<i64>().prop_map(|int| int.to_string().into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..30),
        ]) {
            let item = Item::parse(&bytes);
            let mut out = Vec::new();
            item.write_to(&mut out);
            prop_assert_eq!(&out, &bytes);
            prop_assert_eq!(item.len(), bytes.len());
            prop_assert!(item.eq_bytes(&bytes));
            let mut scratch = Scratch::new();
            prop_assert_eq!(item.bytes_in(&mut scratch), &bytes[..]);
            let model = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<i64>().ok())
                .filter(|int| int.to_string().as_bytes() == bytes);
            prop_assert_eq!(parse_int(&bytes), model);
        }
    }
}

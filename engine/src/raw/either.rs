//! `Either<A, B>`: one word that owns a small form of a value or a boxed large one.
//!
//! A list is one compact block or a tree of blocks, a set is integers or a table; which of the two it is, is told by the
//! lowest bit of the pointer, so that the value in a key's entry stays 8 bytes:
//!
//! ```text
//!   | address of A's block .. 0 |    the word is an `A`, bit for bit
//!   | address of the B      .. 1 |    the word is `B::into_raw()` with the bit set
//! ```
//!
//! 1. Both pointer types are at least 2-aligned, so the bit is free (the contract of [`ThinPtr`]).
//! 2. The word always owns exactly one value of the type that its bit names.
//! 3. Addresses are only ever changed by `map_addr`: the pointer keeps its provenance, and no integer becomes a pointer.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::ptr::NonNull;

const TAG_B: usize = 1;

/// An owning pointer of one word.
///
/// # Safety
/// `Self` is one non-null pointer, transparently: `into_raw` returns its very bits, and `from_raw` of these gives `Self`
/// back. The address is even.
pub unsafe trait ThinPtr: Sized {
    /// Gives up ownership.
    fn into_raw(self) -> NonNull<u8>;

    /// # Safety
    /// `raw` came from `into_raw` of the same type, and is turned back at most once.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;
}

/// A [`ThinPtr`] that owns a value of type `Target` alone, as `Box` does.
///
/// # Safety
/// The pointer that `into_raw` returns points at a valid `Target` until ownership is taken back.
pub unsafe trait ThinBox: ThinPtr {
    /// What it points at.
    type Target;
}

// SAFETY: a box of a sized type is one non-null pointer to it. Evenness is checked when compiled.
unsafe impl<T> ThinPtr for Box<T> {
    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        const { assert!(align_of::<T>() >= 2 && size_of::<T>() > 0) };
        NonNull::from(Box::leak(self)).cast()
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Box<T> {
        // SAFETY: from `into_raw`, hence from a box of `T`, once.
        unsafe { Box::from_raw(raw.cast().as_ptr()) }
    }
}

// SAFETY: a box owns its target alone.
unsafe impl<T> ThinBox for Box<T> {
    type Target = T;
}

/// One word: an `A` or a `B`.
#[repr(transparent)]
pub struct Either<A: ThinPtr, B: ThinBox> {
    word: NonNull<u8>,
    _owns: PhantomData<(A, B)>,
}

/// What an [`Either`] holds, to read.
pub enum EitherRef<'a, A, T> {
    /// The small form.
    A(&'a A),
    /// The boxed form.
    B(&'a T),
}

/// What an [`Either`] holds, to change.
pub enum EitherMut<'a, A, T> {
    /// The small form.
    A(&'a mut A),
    /// The boxed form.
    B(&'a mut T),
}

/// What an [`Either`] held, taken out.
pub enum EitherOwned<A, B> {
    /// The small form.
    A(A),
    /// The boxed form.
    B(B),
}

// SAFETY: it is an `A` or a `B`, nothing else.
unsafe impl<A: ThinPtr + Send, B: ThinBox + Send> Send for Either<A, B> {}
// SAFETY: shared access gives `&A` or `&B::Target`.
unsafe impl<A: ThinPtr + Sync, B: ThinBox + Sync> Sync for Either<A, B> where B::Target: Sync {}

impl<A: ThinPtr, B: ThinBox> Either<A, B> {
    /// One that holds an `A`.
    #[inline]
    pub fn from_a(value: A) -> Self {
        const { assert!(size_of::<A>() == size_of::<NonNull<u8>>() && align_of::<A>() == align_of::<NonNull<u8>>()) };
        Either { word: value.into_raw(), _owns: PhantomData }
    }

    /// One that holds a `B`.
    #[inline]
    pub fn from_b(value: B) -> Self {
        Either { word: value.into_raw().map_addr(|addr| addr | TAG_B), _owns: PhantomData }
    }

    /// Whether it holds an `A`.
    #[inline]
    pub fn is_a(&self) -> bool {
        self.word.addr().get() & TAG_B == 0
    }

    /// What it holds.
    #[inline]
    pub fn as_ref(&self) -> EitherRef<'_, A, B::Target> {
        if self.is_a() {
            // SAFETY: the word is an `A` bit for bit (2, contract of `ThinPtr`), same size and alignment; it lives in `self`.
            EitherRef::A(unsafe { &*NonNull::from(&self.word).cast().as_ptr() })
        } else {
            // SAFETY: the word is a `B`, which points at a valid target that it owns alone; borrowed as long as `self`.
            EitherRef::B(unsafe { self.untagged().cast().as_ref() })
        }
    }

    /// The small form, if it holds that.
    #[inline]
    pub fn a(&self) -> Option<&A> {
        match self.as_ref() {
            EitherRef::A(small) => Some(small),
            EitherRef::B(_) => None,
        }
    }

    /// The boxed form, if it holds that.
    #[inline]
    pub fn b(&self) -> Option<&B::Target> {
        match self.as_ref() {
            EitherRef::A(_) => None,
            EitherRef::B(boxed) => Some(boxed),
        }
    }

    /// The boxed form, to change in place, if it holds that.
    #[inline]
    pub fn b_mut(&mut self) -> Option<&mut B::Target> {
        match self.as_mut() {
            EitherMut::A(_) => None,
            EitherMut::B(boxed) => Some(boxed),
        }
    }

    /// What it holds, to change in place.
    #[inline]
    pub fn as_mut(&mut self) -> EitherMut<'_, A, B::Target> {
        if self.is_a() {
            // SAFETY: as in `as_ref`; whatever `A` is left there has an even address, so the tag stays right.
            EitherMut::A(unsafe { &mut *NonNull::from(&mut self.word).cast().as_ptr() })
        } else {
            // SAFETY: as in `as_ref`, and `&mut self` is exclusive.
            EitherMut::B(unsafe { self.untagged().cast().as_mut() })
        }
    }

    /// Takes out what it holds.
    #[inline]
    pub fn into_owned(self) -> EitherOwned<A, B> {
        let this = ManuallyDrop::new(self);
        let raw = this.untagged();
        // SAFETY: the word came from `into_raw` of the type that its tag names (2), and `this` is never dropped.
        unsafe { if this.is_a() { EitherOwned::A(A::from_raw(raw)) } else { EitherOwned::B(B::from_raw(raw)) } }
    }

    /// Gives up ownership: the word to store, tag included. Only the lowest bit of the address may be set among those
    /// that the alignment of both types leaves free.
    #[inline]
    pub fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).word
    }

    /// # Safety
    /// `raw` came from [`Either::into_raw`] of the same type, and is turned back at most once.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Either { word: raw, _owns: PhantomData }
    }

    #[inline]
    fn untagged(&self) -> NonNull<u8> {
        // Clearing the tag of a non-null, aligned address leaves it non-null.
        self.word.map_addr(|addr| NonZero::new(addr.get() & !TAG_B).unwrap_or(addr))
    }
}

impl<A: ThinPtr, B: ThinBox> Drop for Either<A, B> {
    fn drop(&mut self) {
        let raw = self.untagged();
        // SAFETY: as in `into_owned`; the word is not used again.
        unsafe {
            if self.is_a() {
                drop(A::from_raw(raw));
            } else {
                drop(B::from_raw(raw));
            }
        }
    }
}

impl<A: ThinPtr + Clone, B: ThinBox> Clone for Either<A, B>
where
    B::Target: Clone,
    B: From<B::Target>,
{
    fn clone(&self) -> Self {
        match self.as_ref() {
            EitherRef::A(a) => Either::from_a(a.clone()),
            EitherRef::B(b) => Either::from_b(B::from(b.clone())),
        }
    }
}

impl<A: ThinPtr + fmt::Debug, B: ThinBox> fmt::Debug for Either<A, B>
where
    B::Target: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_ref() {
            EitherRef::A(a) => a.fmt(f),
            EitherRef::B(b) => b.fmt(f),
        }
    }
}

impl<A: ThinPtr, T> From<Box<T>> for Either<A, Box<T>> {
    fn from(value: Box<T>) -> Self {
        Either::from_b(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::thin::ThinBytes;
    use std::rc::Rc;

    type Word = Either<ThinBytes, Box<Vec<Rc<()>>>>;

    #[test]
    fn it_is_one_word_with_a_niche() {
        assert_eq!(size_of::<Option<Word>>(), 8);
    }

    #[test]
    fn each_side_comes_back_as_itself_and_changes_in_place() {
        let mut small = Word::from_a(ThinBytes::from(&b"abc"[..]));
        match small.as_mut() {
            EitherMut::A(bytes) => bytes.extend(&[b'x'; 500]), // Moves the block: the word must follow.
            EitherMut::B(_) => panic!("tag"),
        }
        assert!(matches!(small.as_ref(), EitherRef::A(bytes) if bytes.len() == 503));

        let mut large = Word::from(Box::new(vec![Rc::new(())]));
        match large.as_mut() {
            EitherMut::A(_) => panic!("tag"),
            EitherMut::B(rcs) => rcs.push(Rc::new(())),
        }
        assert!(matches!(large.as_ref(), EitherRef::B(rcs) if rcs.len() == 2));
        assert!(matches!(large.into_owned(), EitherOwned::B(rcs) if rcs.len() == 2));
        assert!(matches!(small.clone().into_owned(), EitherOwned::A(bytes) if bytes.len() == 503));
    }

    #[test]
    fn dropping_frees_the_boxed_side_once() {
        let witness = Rc::new(());
        let word = Word::from(Box::new(vec![witness.clone()]));
        let copy = word.clone();
        assert_eq!(Rc::strong_count(&witness), 3);
        drop(word);
        assert_eq!(Rc::strong_count(&witness), 2);
        let raw = copy.into_raw();
        assert_eq!(Rc::strong_count(&witness), 2);
        // SAFETY: from `into_raw` just above, once.
        drop(unsafe { Word::from_raw(raw) });
        assert_eq!(Rc::strong_count(&witness), 1);
    }

    #[test]
    fn the_shared_empty_block_is_a_valid_small_side() {
        let word = Word::from_a(ThinBytes::new());
        assert!(matches!(word.as_ref(), EitherRef::A(bytes) if bytes.is_empty()));
    }
}

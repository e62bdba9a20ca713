//! A key, its expiry and its value (or a pointer to it) in one allocation.
//!
//! ```text
//!  0      1       2      4          7      8
//! | kind | flags | vlen | lru 24   | klen | expire ms i64, if any | word 8, if any | klen u32, if klen = 255 | key | value |
//! ```
//! `word` is an integer (string of encoding "int") or an owning pointer: a long string's [`ThinBytes`], or a collection.
//! Short strings lie behind the key. A 16-byte key with a 32-byte value takes 56 bytes, 64 with an expiry.
//!
//! 1. The block is `size_class(total)` bytes, total as computed from its header, aligned to 8.
//! 2. Exactly one entry owns what its word points to; `kind` says what that is.
//! 3. `lru` and `klen` share an aligned 32-bit word that is written atomically, so that readers may mark accesses.

use super::alloc::size_class;
use super::table::{FrostTable, Item};
use super::thin::ThinBytes;
use crate::value::{Hash, List, Set, ZSet};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

const HEADER: usize = 8;
const LONG_KEY: usize = 255;
/// A string value lies inside the block while the block is at most this long.
pub const INLINE_BLOCK_MAX: usize = 192;
/// Redis calls strings up to this length "embstr" until they are modified in place.
const EMBSTR_MAX: usize = 44;

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A string or integer.
    String = 0,
    /// A list.
    List = 1,
    /// A set.
    Set = 2,
    /// A sorted set.
    ZSet = 3,
    /// A hash.
    Hash = 4,
}

impl Kind {
    /// The name that TYPE replies with.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Hash => "hash",
        }
    }
}

/// How the value is stored: the low bits of the first header byte.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Store {
    Inline = 0,
    Int = 1,
    Long = 2,
    List = 3,
    Set = 4,
    ZSet = 5,
    Hash = 6,
}

impl Store {
    const ALL: [Store; 7] = [Store::Inline, Store::Int, Store::Long, Store::List, Store::Set, Store::ZSet, Store::Hash];
}

const HAS_EXPIRE: u8 = 1;
const RAW: u8 = 2;
/// The key has a hash tag, so the entry is in its slot's index of tags.
const TAGGED: u8 = 4;
/// On its way to another server.
const LEAVING: u8 = 8;
/// Changed since it was marked as leaving.
const CHANGED: u8 = 16;
/// On its way from another server, and not whole yet.
const ARRIVING: u8 = 32;
/// What belongs to the key and its place rather than to the block.
const OF_PLACE: u8 = TAGGED | LEAVING | CHANGED | ARRIVING;

/// Whether an entry is moving between servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transit {
    /// It is not.
    Settled,
    /// It is being sent to another server.
    Leaving,
    /// It was being sent, and has changed since it was marked: what was sent is not what it is now.
    Stale,
    /// It is being received, and not whole yet.
    Arriving,
}

/// A value to store.
pub enum Body<'a> {
    /// String bytes. `raw` is set when OBJECT ENCODING must say so although they are short.
    Bytes {
        /// The string.
        bytes: &'a [u8],
        /// Whether it was modified in place.
        raw: bool,
    },
    /// A string that is a canonical integer.
    Int(i64),
    /// A string that already has its own allocation.
    Long(ThinBytes),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    ZSet(ZSet),
    /// A hash.
    Hash(Hash),
}

/// A value as stored.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A string of encoding "int".
    Int(i64),
    /// A string.
    Bytes(&'a [u8]),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A sorted set.
    ZSet(&'a ZSet),
    /// A hash.
    Hash(&'a Hash),
}

/// A collection type that an entry's word can own.
///
/// # Safety
/// `STORE` belongs to this type alone, and the type is 8 bytes of at most 8-byte alignment.
pub unsafe trait Collection: Sized {
    #[doc(hidden)]
    const STORE: Store;
    /// The type's kind.
    const KIND: Kind;
    /// As something to store.
    fn body(self) -> Body<'static>;
    /// Whether no element is left, so that the key must go.
    fn is_empty(&self) -> bool;
}

macro_rules! collection {
    ($type:ident) => {
        const _: () = assert!(size_of::<$type>() == 8 && align_of::<$type>() <= 8);
        // SAFETY: one line for each type, with the store of the same name.
        unsafe impl Collection for $type {
            const STORE: Store = Store::$type;
            const KIND: Kind = Kind::$type;
            fn body(self) -> Body<'static> {
                Body::$type(self)
            }
            fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}
collection!(List);
collection!(Set);
collection!(ZSet);
collection!(Hash);

/// An owned entry.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns its block and what it points to, all of which may change threads.
unsafe impl Send for Entry {}

/// What an entry's header says of its key and its place, to be taken over by the entry that replaces it.
#[derive(Clone, Copy)]
pub(super) struct PlaceFlags(u8);

/// A shared view of an entry.
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(NonNull<u8>, PhantomData<&'a u8>);

fn layout(total: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and no block comes near `isize::MAX`: keys are at most 512 MB.
    unsafe { Layout::from_size_align_unchecked(size_class(total), 8) }
}

/// Where the parts of a block are.
struct Shape {
    expire: bool,
    word: bool,
    klen: usize,
    vlen: usize,
}

impl Shape {
    fn word_at(&self) -> usize {
        HEADER + 8 * usize::from(self.expire)
    }

    fn klen_at(&self) -> usize {
        self.word_at() + 8 * usize::from(self.word)
    }

    fn key_at(&self) -> usize {
        self.klen_at() + if self.klen >= LONG_KEY { 4 } else { 0 }
    }

    fn total(&self) -> usize {
        self.key_at() + self.klen + self.vlen
    }
}

impl Entry {
    /// Makes the block. `lru` is the 24-bit clock; `expire_at_ms` an absolute Unix time.
    pub fn new(key: &[u8], body: Body<'_>, expire_at_ms: Option<i64>, lru: u32) -> Entry {
        let expire = expire_at_ms.is_some();
        let bytes = match &body {
            Body::Bytes { bytes, .. } => *bytes,
            _ => &[],
        };
        let inline = Shape { expire, word: false, klen: key.len(), vlen: bytes.len() };
        let long = inline.total() > INLINE_BLOCK_MAX && bytes.len() >= 8;
        let (store, word, raw) = match body {
            Body::Bytes { bytes, raw } if long => {
                let mut long = ThinBytes::with_capacity(bytes.len());
                long.extend(bytes);
                (Store::Long, Some(Word::Pointer(long.into_raw())), raw)
            }
            Body::Bytes { raw, .. } => (Store::Inline, None, raw),
            Body::Int(n) => (Store::Int, Some(Word::Int(n)), false),
            Body::Long(long) => (Store::Long, Some(Word::Pointer(long.into_raw())), true),
            Body::List(v) => (Store::List, Some(Word::of(v)), false),
            Body::Set(v) => (Store::Set, Some(Word::of(v)), false),
            Body::ZSet(v) => (Store::ZSet, Some(Word::of(v)), false),
            Body::Hash(v) => (Store::Hash, Some(Word::of(v)), false),
        };
        let vlen = if store == Store::Inline { bytes.len() } else { 0 };
        let shape = Shape { expire, word: word.is_some(), klen: key.len(), vlen };
        let layout = layout(shape.total());
        // SAFETY: the size is at least the header's.
        let block = unsafe { alloc(layout) };
        let Some(at) = NonNull::new(block) else { handle_alloc_error(layout) };
        let flags = if expire { HAS_EXPIRE } else { 0 } | if raw { RAW } else { 0 };
        let short_klen = key.len().min(LONG_KEY) as u32;
        // SAFETY: every write is inside the block by `Shape`, at offsets aligned for what is written, and nobody else
        // knows the block yet.
        unsafe {
            block.write(store as u8);
            block.add(1).write(flags);
            block.add(2).cast::<u16>().write(vlen as u16);
            block.add(4).cast::<u32>().write(lru & 0xff_ffff | short_klen << 24);
            if let Some(ms) = expire_at_ms {
                block.add(HEADER).cast::<i64>().write(ms);
            }
            match word {
                Some(Word::Int(n)) => block.add(shape.word_at()).cast::<i64>().write(n),
                Some(Word::Pointer(p)) => block.add(shape.word_at()).cast::<NonNull<u8>>().write(p),
                Some(Word::Other(bits)) => block.add(shape.word_at()).cast::<*mut u8>().write(bits),
                None => {}
            }
            if key.len() >= LONG_KEY {
                block.add(shape.klen_at()).cast::<u32>().write(key.len() as u32);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), block.add(shape.key_at()), key.len());
            ptr::copy_nonoverlapping(bytes.as_ptr(), block.add(shape.key_at() + key.len()), vlen);
        }
        Entry(at)
    }

    /// A shared view.
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    /// The same entry under another expiry, which moves it to another block when there was none or is none now.
    #[must_use]
    pub fn with_expire(mut self, expire_at_ms: Option<i64>) -> Entry {
        if self.set_expire(expire_at_ms) {
            return self;
        }
        self.rebuild(|key, body, lru| Entry::new(key, body, expire_at_ms, lru))
    }

    /// Changes the expiry in place; false if the block has no room for one, or has some for none.
    pub fn set_expire(&mut self, expire_at_ms: Option<i64>) -> bool {
        match (self.view().has_expire(), expire_at_ms) {
            (true, Some(ms)) => {
                // SAFETY: the flag says that the expiry is there; we own the block.
                unsafe { self.0.as_ptr().add(HEADER).cast::<i64>().write(ms) };
                true
            }
            (has, wanted) => has == wanted.is_some(),
        }
    }

    /// The same value and expiry under another key.
    #[must_use]
    pub fn with_key(mut self, key: &[u8]) -> Entry {
        let expire = self.view().expire_at_ms();
        self.rebuild(|_, body, lru| Entry::new(key, body, expire, lru))
    }

    fn rebuild(&mut self, make: impl FnOnce(&[u8], Body<'_>, u32) -> Entry) -> Entry {
        let view = EntryRef::<'static>(self.0, PhantomData);
        let body = match view.store() {
            Store::Inline => Body::Bytes { bytes: view.inline_bytes(), raw: view.flags() & RAW != 0 },
            _ => self.take_body(),
        };
        let raw = view.flags() & RAW;
        let made = make(view.key(), body, view.lru());
        // SAFETY: the new header is ours.
        unsafe { made.0.as_ptr().add(1).write(made.view().flags() & !RAW | raw) };
        made
    }

    /// Moves the value out; what stays is an empty inline string, to be dropped.
    fn take_body(&mut self) -> Body<'static> {
        let view = EntryRef::<'static>(self.0, PhantomData);
        let body = match view.store() {
            Store::Inline => Body::Long({
                let bytes = view.inline_bytes();
                let mut long = ThinBytes::with_capacity(bytes.len());
                long.extend(bytes);
                long
            }),
            Store::Int => Body::Int(view.int()),
            // SAFETY: the store says what the word owns; the word is forgotten below.
            Store::Long => Body::Long(unsafe { self.word_as::<ThinBytes>().read() }),
            // SAFETY: as above.
            Store::List => Body::List(unsafe { self.word_as::<List>().read() }),
            // SAFETY: as above.
            Store::Set => Body::Set(unsafe { self.word_as::<Set>().read() }),
            // SAFETY: as above.
            Store::ZSet => Body::ZSet(unsafe { self.word_as::<ZSet>().read() }),
            // SAFETY: as above.
            Store::Hash => Body::Hash(unsafe { self.word_as::<Hash>().read() }),
        };
        if view.has_word() {
            // An integer owns nothing and has the same shape.
            // SAFETY: the header is ours.
            unsafe { self.0.as_ptr().write(Store::Int as u8) };
        }
        body
    }

    fn word_as<T>(&self) -> *mut T {
        const { assert!(size_of::<T>() == 8 && align_of::<T>() <= 8) };
        // SAFETY: inside the block; only called when the entry has a word.
        unsafe { self.0.as_ptr().add(self.view().shape().word_at()).cast() }
    }

    /// Takes the value out of an entry that is no longer needed. A short string comes as [`Body::Long`].
    pub fn into_body(mut self) -> Body<'static> {
        self.take_body()
    }

    /// Overwrites a string value in place if the block keeps its size class; false when it must be made anew.
    pub fn overwrite(&mut self, bytes: &[u8]) -> bool {
        let view = self.view();
        let mut shape = view.shape();
        if view.store() != Store::Inline {
            return false;
        }
        let old = size_class(shape.total());
        shape.vlen = bytes.len();
        if shape.total() > INLINE_BLOCK_MAX || size_class(shape.total()) != old {
            return false;
        }
        let block = self.0.as_ptr();
        // SAFETY: the new total is in the same size class, so inside the block, which we own.
        unsafe {
            block.add(1).write(block.add(1).read() & !RAW);
            block.add(2).cast::<u16>().write(bytes.len() as u16);
            ptr::copy_nonoverlapping(bytes.as_ptr(), block.add(shape.key_at() + shape.klen), bytes.len());
        }
        true
    }

    /// Overwrites an integer in place; false when the value is something else.
    pub fn overwrite_int(&mut self, n: i64) -> bool {
        let int = self.view().store() == Store::Int;
        if int {
            // SAFETY: the store says that the word is an integer; we own the block.
            unsafe { self.word_as::<i64>().write(n) };
        }
        int
    }

    /// The collection in this entry, if it is of that type.
    pub fn collection_mut<C: Collection>(&mut self) -> Option<&mut C> {
        // SAFETY: the store says what the word is; our borrow is exclusive.
        (self.view().store() == C::STORE).then(|| unsafe { &mut *self.word_as::<C>() })
    }

    /// Gives a string value exactly `len` bytes, in its own allocation or inline, new ones zero; it counts as modified
    /// in place from then on. The entry must be a string.
    #[must_use]
    pub fn with_string_len(mut self, len: usize) -> Entry {
        let (key, expire, lru) =
            (EntryRef::<'static>(self.0, PhantomData).key(), self.view().expire_at_ms(), self.view().lru());
        if self.view().store() == Store::Long {
            // SAFETY: the store says what the word is; we own the entry.
            let long = unsafe { &mut *self.word_as::<ThinBytes>() };
            resize(long, len);
            self.set_raw();
            return self;
        }
        let mut scratch = [0; 20];
        let bytes = match self.view().value() {
            Value::Bytes(bytes) => bytes,
            Value::Int(n) => itoa_into(n, &mut scratch),
            _ => unreachable!("only strings have a length in bytes"),
        };
        let shape = Shape { expire: expire.is_some(), word: false, klen: key.len(), vlen: len };
        let kept = bytes.len().min(len);
        if shape.total() <= INLINE_BLOCK_MAX {
            let mut whole = [0; INLINE_BLOCK_MAX];
            whole[..kept].copy_from_slice(&bytes[..kept]);
            return Entry::new(key, Body::Bytes { bytes: &whole[..len], raw: true }, expire, lru);
        }
        let mut long = ThinBytes::with_capacity(len);
        long.extend(&bytes[..kept]);
        resize(&mut long, len);
        Entry::new(key, Body::Long(long), expire, lru)
    }

    fn set_raw(&mut self) {
        // SAFETY: the header is ours.
        unsafe { self.0.as_ptr().add(1).write(self.view().flags() | RAW) };
    }

    /// The table of a big collection, to freeze it for a snapshot.
    pub fn table_mut(&mut self) -> Option<&mut dyn FrostTable> {
        match self.view().store() {
            Store::Set => self.collection_mut::<Set>()?.table_mut(),
            Store::ZSet => self.collection_mut::<ZSet>()?.table_mut(),
            Store::Hash => self.collection_mut::<Hash>()?.table_mut(),
            _ => None,
        }
    }

    /// An entry with the same key, expiry and value for a reader elsewhere: a copy, or of a list another reference to
    /// the same blocks. Not for big tables: of these it has nothing.
    pub fn detach(&mut self) -> Entry {
        let lru = self.view().lru();
        let key = self.view().key().to_vec();
        let expire = self.view().expire_at_ms();
        if let Some(list) = self.collection_mut::<List>() {
            return Entry::new(&key, Body::List(list.freeze()), expire, lru);
        }
        let body = match self.view().value() {
            Value::Int(n) => Body::Int(n),
            Value::Bytes(bytes) => Body::Bytes { bytes, raw: false },
            Value::List(_) => Body::List(List::new()),
            Value::Set(set) => Body::Set(set.as_ints().cloned().unwrap_or_default().into()),
            Value::ZSet(zset) => Body::ZSet(zset.as_compact().cloned().unwrap_or_default().into()),
            Value::Hash(hash) => Body::Hash(hash.as_compact().cloned().unwrap_or_default().into()),
        };
        Entry::new(&key, body, expire, lru)
    }

    fn set_of_place(&mut self, mask: u8, flags: u8) {
        // SAFETY: the header is ours.
        unsafe { self.0.as_ptr().add(1).write(self.view().flags() & !mask | flags) };
    }

    /// Notes that the key has a hash tag.
    pub(super) fn set_tagged(&mut self, tagged: bool) {
        self.set_of_place(TAGGED, if tagged { TAGGED } else { 0 });
    }

    /// Takes over what `old` said of the key and its place.
    pub(super) fn inherit(&mut self, old: PlaceFlags) {
        self.set_of_place(OF_PLACE, old.0);
    }

    /// Marks it as moving or not.
    pub fn set_transit(&mut self, transit: Transit) {
        let flags = match transit {
            Transit::Settled => 0,
            Transit::Leaving => LEAVING,
            Transit::Stale => LEAVING | CHANGED,
            Transit::Arriving => ARRIVING,
        };
        self.set_of_place(LEAVING | CHANGED | ARRIVING, flags);
    }

    /// The bytes of a string, to change in place; `None` for integers and collections. Marks it as modified in place.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self.view().store() {
            Store::Inline => {
                self.set_raw();
                let shape = self.view().shape();
                // SAFETY: the value lies behind the key, inside the block; our borrow is exclusive.
                Some(unsafe {
                    std::slice::from_raw_parts_mut(self.0.as_ptr().add(shape.key_at() + shape.klen), shape.vlen)
                })
            }
            Store::Long => {
                self.set_raw();
                // SAFETY: the store says what the word is; our borrow is exclusive.
                Some(unsafe { &mut *self.word_as::<ThinBytes>() }.as_mut_slice())
            }
            _ => None,
        }
    }
}

/// Grows by doubling up to 1 MiB more, as Redis's strings do, so that appending is linear.
fn resize(bytes: &mut ThinBytes, len: usize) {
    const ZEROS: [u8; 4096] = [0; 4096];
    if len < bytes.len() {
        bytes.truncate(len);
        return;
    }
    if len > bytes.capacity() {
        bytes.reserve(len - bytes.len() + len.min(1 << 20));
    }
    while bytes.len() < len {
        bytes.extend(&ZEROS[..(len - bytes.len()).min(ZEROS.len())]);
    }
}

fn itoa_into(n: i64, scratch: &mut [u8; 20]) -> &[u8] {
    use std::io::Write;
    let mut rest: &mut [u8] = scratch;
    // 20 bytes hold every i64.
    let _ = write!(rest, "{n}");
    let free = rest.len();
    &scratch[..20 - free]
}

enum Word {
    Int(i64),
    Pointer(NonNull<u8>),
    Other(*mut u8),
}

impl Word {
    fn of<C: Collection>(collection: C) -> Word {
        let collection = ManuallyDrop::new(collection);
        // SAFETY: `Collection` promises 8 bytes; they are an owning pointer that moves into the word.
        Word::Other(unsafe { (&raw const *collection).cast::<*mut u8>().read_unaligned() })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let layout = layout(self.view().shape().total());
        if !matches!(self.view().store(), Store::Inline | Store::Int) {
            drop(self.take_body());
        }
        // SAFETY: the layout is the one the block was made with (1).
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}

impl<'a> EntryRef<'a> {
    fn byte(self, at: usize) -> u8 {
        // SAFETY: header bytes are always there.
        unsafe { self.0.as_ptr().add(at).read() }
    }

    fn store(self) -> Store {
        Store::ALL[usize::from(self.byte(0))]
    }

    fn flags(self) -> u8 {
        self.byte(1)
    }

    fn has_word(self) -> bool {
        self.byte(0) != Store::Inline as u8
    }

    fn tail_word(self) -> &'a AtomicU32 {
        // SAFETY: the aligned second half of the header, only ever accessed atomically while shared (3).
        unsafe { AtomicU32::from_ptr(self.0.as_ptr().add(4).cast()) }
    }

    #[inline]
    fn shape(self) -> Shape {
        let mut shape = Shape {
            expire: self.has_expire(),
            word: self.has_word(),
            klen: (self.tail_word().load(Ordering::Relaxed) >> 24) as usize,
            // SAFETY: the header is always there, and aligned.
            vlen: usize::from(unsafe { self.0.as_ptr().add(2).cast::<u16>().read() }),
        };
        if shape.klen == LONG_KEY {
            // SAFETY: a long key has its length behind the word, aligned to 4.
            shape.klen = unsafe { self.0.as_ptr().add(shape.klen_at()).cast::<u32>().read() } as usize;
        }
        shape
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let shape = self.shape();
        // SAFETY: the key lies inside the block and does not change while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(shape.key_at()), shape.klen) }
    }

    /// Whether it expires.
    #[inline]
    pub fn has_expire(self) -> bool {
        self.flags() & HAS_EXPIRE != 0
    }

    /// Whether its key has a hash tag.
    #[inline]
    pub(super) fn is_tagged(self) -> bool {
        self.flags() & TAGGED != 0
    }

    pub(super) fn place_flags(self) -> PlaceFlags {
        PlaceFlags(self.flags() & OF_PLACE)
    }

    /// Whether it is moving between servers.
    #[inline]
    pub fn transit(self) -> Transit {
        match self.flags() & (LEAVING | CHANGED | ARRIVING) {
            0 => Transit::Settled,
            LEAVING => Transit::Leaving,
            ARRIVING => Transit::Arriving,
            _ => Transit::Stale,
        }
    }

    /// When it expires: Unix time in milliseconds.
    #[inline]
    pub fn expire_at_ms(self) -> Option<i64> {
        // SAFETY: the flag says that it is there, aligned to 8.
        self.has_expire().then(|| unsafe { self.0.as_ptr().add(HEADER).cast::<i64>().read() })
    }

    fn inline_bytes(self) -> &'a [u8] {
        let shape = self.shape();
        // SAFETY: the value lies behind the key, inside the block.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(shape.key_at() + shape.klen), shape.vlen) }
    }

    fn word<T>(self) -> &'a T {
        // SAFETY: only called with the type that the store names; shared like the entry.
        unsafe { &*self.0.as_ptr().add(self.shape().word_at()).cast::<T>() }
    }

    fn int(self) -> i64 {
        *self.word::<i64>()
    }

    /// The value.
    #[inline]
    pub fn value(self) -> Value<'a> {
        match self.store() {
            Store::Inline => Value::Bytes(self.inline_bytes()),
            Store::Int => Value::Int(self.int()),
            Store::Long => Value::Bytes(self.word::<ThinBytes>().as_slice()),
            Store::List => Value::List(self.word()),
            Store::Set => Value::Set(self.word()),
            Store::ZSet => Value::ZSet(self.word()),
            Store::Hash => Value::Hash(self.word()),
        }
    }

    /// The collection in this entry, if it is of that type.
    pub fn collection<C: Collection>(self) -> Option<&'a C> {
        (self.store() == C::STORE).then(|| self.word())
    }

    /// The value's type.
    pub fn kind(self) -> Kind {
        match self.store() {
            Store::Inline | Store::Int | Store::Long => Kind::String,
            Store::List => Kind::List,
            Store::Set => Kind::Set,
            Store::ZSet => Kind::ZSet,
            Store::Hash => Kind::Hash,
        }
    }

    /// The name that OBJECT ENCODING replies with.
    pub fn encoding(self) -> &'static str {
        match self.value() {
            Value::Int(_) => "int",
            Value::Bytes(bytes) if bytes.len() > EMBSTR_MAX || self.flags() & RAW != 0 => "raw",
            Value::Bytes(_) => "embstr",
            Value::List(list) => list.encoding(),
            Value::Set(set) => set.encoding(),
            Value::ZSet(zset) => zset.encoding(),
            Value::Hash(hash) => hash.encoding(),
        }
    }

    /// The 24-bit clock of the last access.
    pub fn lru(self) -> u32 {
        self.tail_word().load(Ordering::Relaxed) & 0xff_ffff
    }

    /// Notes an access at the 24-bit clock `now`. Writes only when the clock has moved on.
    #[inline]
    pub fn touch(self, now: u32) {
        let old = self.tail_word().load(Ordering::Relaxed);
        if old & 0xff_ffff != now & 0xff_ffff {
            self.tail_word().store(old & 0xff00_0000 | now & 0xff_ffff, Ordering::Relaxed);
        }
    }

    /// The table of a big collection.
    pub fn table(self) -> Option<&'a dyn FrostTable> {
        match self.value() {
            Value::Set(set) => set.table(),
            Value::ZSet(zset) => zset.table(),
            Value::Hash(hash) => hash.table(),
            _ => None,
        }
    }

    /// Bytes of a value that is one piece, or a list.
    pub fn value_bytes(self) -> usize {
        match self.value() {
            Value::Int(_) => 8,
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.heap_bytes(),
            Value::Set(set) => set.as_ints().map_or(0, |ints| ints.redis_intset_bytes()),
            Value::ZSet(zset) => zset.as_compact().map_or(0, |compact| compact.bytes()),
            Value::Hash(hash) => hash.as_compact().map_or(0, |compact| compact.bytes()),
        }
    }

    /// Bytes of the block, without what its word points to.
    #[inline]
    pub fn block_bytes(self) -> usize {
        size_class(self.shape().total())
    }

    /// Bytes of the block and of what its word owns: a long string's block, the blocks of a collection's elements, but not
    /// the tables and trees that find those. O(1).
    #[inline]
    pub fn footprint(self) -> usize {
        if self.byte(0) <= Store::Int as u8 { self.block_bytes() } else { self.block_bytes() + self.owned_bytes() }
    }

    fn owned_bytes(self) -> usize {
        match self.store() {
            Store::Inline | Store::Int => 0,
            Store::Long => self.word::<ThinBytes>().heap_bytes(),
            Store::List => self.word::<List>().heap_bytes(),
            Store::Set => self.word::<Set>().heap_bytes(),
            Store::ZSet => self.word::<ZSet>().heap_bytes(),
            Store::Hash => self.word::<Hash>().heap_bytes(),
        }
    }

    /// The address, from which a view may be made again.
    pub(super) fn expose(self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// The address, as DEBUG OBJECT shows it.
    pub fn address(self) -> usize {
        self.0.as_ptr().addr()
    }
}

// SAFETY: a block's address fits 48 bits in user space; the key never changes while the entry is in a table.
unsafe impl Item for Entry {
    type Ref<'a> = EntryRef<'a>;

    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Entry(raw)
    }

    #[inline]
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        EntryRef(raw, PhantomData).key()
    }

    unsafe fn view<'a>(raw: NonNull<u8>) -> EntryRef<'a> {
        EntryRef(raw, PhantomData)
    }
}

/// The place of an entry in the expiry table: the same pointer, not owned.
pub(super) struct Alias(pub(super) NonNull<u8>);

// SAFETY: as for `Entry`; an alias owns nothing, and whoever frees an entry removes its alias first.
unsafe impl Item for Alias {
    type Ref<'a> = EntryRef<'a>;

    fn into_raw(self) -> NonNull<u8> {
        self.0
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Alias(raw)
    }

    #[inline]
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        EntryRef(raw, PhantomData).key()
    }

    unsafe fn view<'a>(raw: NonNull<u8>) -> EntryRef<'a> {
        EntryRef(raw, PhantomData)
    }
}

// SAFETY: aliases move with the table of entries that they name.
unsafe impl Send for Alias {}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;

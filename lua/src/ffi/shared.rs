//! What Rust code keeps beside a Lua state: reachable from every callback through the allocator's user pointer.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use mlua_sys::{lua_CFunction, lua_State};
use resp::Out;

use super::memory::Memory;
use crate::host::Host;
use crate::prng::Prng;

/// Library functions that a native guard runs in front of.
#[derive(Clone, Copy)]
pub(crate) enum Original {
    Find,
    Match,
    Gmatch,
    Gsub,
    CollectGarbage,
}

/// One per Lua state. All fields are cells: several callbacks may be on the C stack at once.
pub(crate) struct Shared {
    pub(crate) memory: Memory,
    /// The generator behind `math.random`.
    pub(crate) prng: Cell<Prng>,
    /// Largest reply of a script, in bytes.
    pub(crate) reply_bytes_max: usize,
    /// Reply of the last redis.call, kept for its capacity.
    pub(crate) reply: RefCell<Out>,
    /// Output of an encoder, kept for its capacity.
    pub(crate) scratch: RefCell<Vec<u8>>,
    /// Set when a script has changed the collector's settings.
    pub(crate) collector_changed: Cell<bool>,
    /// Set, to the error of the script, when it must end; stays until the run is over.
    pub(super) killed: RefCell<Option<Vec<u8>>>,
    pub(super) host: Cell<Option<NonNull<dyn Host>>>,
    pub(super) panic: Cell<Option<Box<dyn Any + Send>>>,
    pub(super) originals: [Cell<Option<lua_CFunction>>; 5],
    pub(super) main: Cell<*mut lua_State>,
    /// Address of a local of the outermost frame of a run.
    pub(super) stack_base: Cell<usize>,
}

impl Shared {
    pub(super) fn new(memory_bytes_max: usize, reply_bytes_max: usize) -> Shared {
        Shared {
            memory: Memory::new(memory_bytes_max),
            prng: Cell::new(Prng::seeded(0)),
            reply_bytes_max,
            reply: RefCell::default(),
            scratch: RefCell::default(),
            collector_changed: Cell::new(false),
            killed: RefCell::default(),
            host: Cell::new(None),
            panic: Cell::new(None),
            originals: Default::default(),
            main: Cell::new(std::ptr::null_mut()),
            stack_base: Cell::new(0),
        }
    }

    /// Bytes of C stack between the start of the run and here.
    pub(crate) fn c_stack_used(&self) -> usize {
        self.stack_base.get().abs_diff(stack_address())
    }
}

/// The address of a local: where the C stack ends now.
#[inline(never)]
pub(super) fn stack_address() -> usize {
    let here = 0u8;
    &raw const here as usize
}

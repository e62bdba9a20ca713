//! Arguments of native functions, checked and converted with the messages of Lua's own library (`luaL_check*`).

use crate::ffi::{Kind, Raise, Stack};

impl Stack<'_> {
    /// The error of an argument of the wrong type.
    pub(crate) fn type_error(&self, argument: u32, expected: &str) -> Raise {
        Raise::argument(argument, format!("{expected} expected, got {}", self.kind(argument).name()))
    }

    /// A table.
    pub(crate) fn check_kind(&self, argument: u32, kind: Kind) -> Result<(), Raise> {
        if self.kind(argument) == kind { Ok(()) } else { Err(self.type_error(argument, kind.name())) }
    }

    /// A string, or a number, which becomes one; then [`Stack::bytes`] gives it.
    pub(crate) fn check_text(&mut self, argument: u32) -> Result<(), Raise> {
        if self.text(argument).is_some() { Ok(()) } else { Err(self.type_error(argument, "string")) }
    }

    /// A number, or a string that reads as one.
    pub(crate) fn check_number(&self, argument: u32) -> Result<f64, Raise> {
        self.number(argument).ok_or_else(|| self.type_error(argument, "number"))
    }

    /// A number cut to 32 bits.
    pub(crate) fn check_int(&self, argument: u32) -> Result<i32, Raise> {
        Ok(self.check_integer(argument)? as i32)
    }

    /// A number cut to 64 bits.
    pub(crate) fn check_integer(&self, argument: u32) -> Result<i64, Raise> {
        self.integer(argument).ok_or_else(|| self.type_error(argument, "number"))
    }

    /// [`Self::check_integer`], with a value for none or nil.
    pub(crate) fn optional_integer(&self, argument: u32, default: i64) -> Result<i64, Raise> {
        match self.kind(argument) {
            Kind::None | Kind::Nil => Ok(default),
            _ => self.check_integer(argument),
        }
    }
}

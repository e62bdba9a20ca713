//! The log: lines that say what happened and to whom, on standard output.

/// How severe a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Details for developers.
    Debug,
    /// Details that are rarely of use.
    Verbose,
    /// What an operator wants to see.
    Notice,
    /// What an operator has to see.
    Warning,
}

/// Changes what is written.
pub fn set_level(_level: Level) {}

/// Writes one line.
#[macro_export]
macro_rules! log_line {
    ($($text:tt)*) => {
        println!("{}:M {}", std::process::id(), format_args!($($text)*))
    };
}

/// Writes nothing yet.
#[macro_export]
macro_rules! log_detail {
    ($($text:tt)*) => {
        { let _ = format_args!($($text)*); }
    };
}

pub use log_detail as debug;
pub use log_detail as verbose;
pub use log_line as notice;
pub use log_line as warning;

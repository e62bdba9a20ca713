//! Reading an append only file, command by command, and telling where it stops being one.
//!
//! ```text
//!   ..EXEC | SET a 1 | MULTI | SET b 2 | SET c 3 | EXEC | SET d
//!          ^ ok_up_to          held back until EXEC ^     ^ end of the file: Truncated { ok_up_to: behind EXEC }
//! ```
//! 1. A command of a transaction is given out when its EXEC has been read: a torn transaction changes nothing.
//!    MULTI within one and EXEC outside of one are passed over, as servers do: 3.2 writes both where a script that has
//!    begun a transaction of its own (`redis.replicate_commands`) runs within another one.
//! 2. An announced length reserves nothing: room grows as the bytes arrive. A transaction takes the room of its bytes.
//! 3. A file that ends in the middle is [`Outcome::Truncated`], as a crash leaves it; bytes that no server writes are
//!    [`Outcome::Bad`]. Both say up to where all is well, which is where to cut.

use crate::rdb::Error;
use crate::rdb::RdbError;
use crate::rdb::load::{LoadOptions, Loader};
use crate::rdb::source::Source;
use resp::Arg;
use std::fmt;
use std::io::{self, Read};

/// A line with a number has no more bytes, its end included.
const LINE_BYTES_MAX: usize = 32;
/// A longer argument cannot come from a server, see [`crate::rdb::source`].
const ARGUMENT_BYTES_MAX: i64 = 1 << 30;
/// A command of more bytes cannot come from a server; an [`Arg`] counts no further.
const COMMAND_BYTES_MAX: usize = u32::MAX as usize;
/// Room that is kept for the next command.
const KEPT_BYTES: usize = 1 << 20;

/// What is at the beginning of a file.
pub enum Start<R> {
    /// Commands.
    Commands(Reader<R>),
    /// A snapshot, and then commands: load it to its end, then go on with [`Reader::after`].
    Snapshot(Loader<R>),
}

/// Looks at the beginning of a file. `options` are for a snapshot.
pub fn open<R: Read>(from: R, options: LoadOptions) -> Result<Start<R>, RdbError> {
    const MAGIC: &[u8] = b"REDIS";
    let mut source = Source::new(from, options.checksum);
    let is_snapshot = source.fill(MAGIC.len()).map(|bytes| bytes.starts_with(MAGIC));
    match is_snapshot {
        Ok(true) => Ok(Start::Snapshot(Loader::of(source, options)?)),
        Ok(false) => Ok(Start::Commands(Reader::of(source))),
        Err(what) => Err(RdbError { offset: 0, key: None, what }),
    }
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a whole command.
    Complete,
    /// In the middle of a command or transaction.
    Truncated {
        /// Bytes of the file before that command or transaction.
        ok_up_to: u64,
        /// Where the file ends.
        end: u64,
        /// Whether it is only the EXEC of a transaction that is missing.
        in_transaction: bool,
    },
    /// There is something else than a command.
    Bad {
        /// Bytes of the file before that command, or before its transaction.
        ok_up_to: u64,
        /// Where the wrong bytes are.
        offset: u64,
        /// What is wrong.
        why: Why,
    },
}

/// What is wrong with bytes that are no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// This prefix should have been here; the other byte is.
    Prefix {
        /// `*` or `$`.
        expected: u8,
        /// What is here.
        got: u8,
    },
    /// A number of arguments or bytes is none, or out of range.
    Number,
    /// A line or an argument has no line end, but these bytes.
    LineEnd([u8; 2]),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Prefix { expected, got } => {
                write!(f, "Expected prefix '{}', got: '{}'", char::from(*expected), got.escape_ascii())
            }
            Why::Number => f.write_str("Invalid number of arguments or bytes"),
            Why::LineEnd([first, second]) => write!(f, "Expected \\r\\n, got: {first:02x}{second:02x}"),
        }
    }
}

/// What comes next in a file.
pub enum Step<'r> {
    /// A command to be carried out.
    Command(Command<'r>),
    /// The end.
    End(Outcome),
}

/// A command.
pub struct Command<'r> {
    /// What the arguments are ranges of.
    pub text: &'r [u8],
    /// The arguments, of which there is at least one, the name.
    pub args: &'r [Arg],
    /// Bytes of the file up to and with this command; with the whole transaction, if it is part of one.
    pub end: u64,
    /// Whether it is part of a transaction.
    pub in_transaction: bool,
}

impl<'r> Command<'r> {
    /// Argument `at`, of which 0 is the name; empty if there are not so many.
    pub fn arg(&self, at: usize) -> &'r [u8] {
        self.args.get(at).map_or(&[], |arg| arg.of(self.text))
    }
}

/// A command in the reader.
struct Held {
    text: std::ops::Range<usize>,
    args: std::ops::Range<usize>,
}

/// Why a command could not be read.
enum Stop {
    /// At the very end.
    End,
    Truncated,
    Bad(Why),
    Io(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error {
            Error::Io(error) => Stop::Io(error),
            _ => Stop::Truncated,
        }
    }
}

/// Reads commands.
pub struct Reader<R> {
    source: Source<R>,
    /// Bytes and arguments of the commands in `held`.
    text: Vec<u8>,
    args: Vec<Arg>,
    held: Vec<Held>,
    /// The next of `held` to give out, once they are complete.
    given: usize,
    /// Where the command or transaction under way begins.
    ok_up_to: u64,
    in_transaction: bool,
    /// Where the bytes begin that were looked at last.
    looked_at: u64,
    outcome: Option<Outcome>,
}

impl<R: Read> Reader<R> {
    /// From the beginning of `from`, where there must be a command.
    pub fn new(from: R) -> Reader<R> {
        Reader::of(Source::new(from, false))
    }

    /// The commands behind a snapshot whose end has been reached.
    pub fn after(snapshot: Loader<R>) -> Reader<R> {
        Reader::of(snapshot.into_source())
    }

    fn of(mut source: Source<R>) -> Reader<R> {
        source.end_checksum();
        let ok_up_to = source.position();
        Reader {
            source,
            text: Vec::new(),
            args: Vec::new(),
            held: Vec::new(),
            given: 0,
            ok_up_to,
            in_transaction: false,
            looked_at: ok_up_to,
            outcome: None,
        }
    }

    /// Bytes of the file that were read.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// Bytes of the file that are whole commands and transactions.
    pub fn ok_up_to(&self) -> u64 {
        self.ok_up_to
    }

    /// What comes next; after the end the end again. An error is that of reading, not of what was read.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        if self.given >= self.held.len()
            && let Err(stop) = self.gather()
        {
            return Ok(Step::End(self.end(stop)?));
        }
        self.given += 1;
        let Some(held) = self.held.get(self.given - 1) else { return Ok(Step::End(Outcome::Complete)) };
        Ok(Step::Command(Command {
            text: self.text.get(held.text.clone()).unwrap_or_default(),
            args: self.args.get(held.args.clone()).unwrap_or_default(),
            end: self.ok_up_to,
            in_transaction: self.in_transaction,
        }))
    }

    fn end(&mut self, stop: Stop) -> io::Result<Outcome> {
        let truncated = Outcome::Truncated {
            ok_up_to: self.ok_up_to,
            end: self.source.position() + self.source.ready().len() as u64,
            in_transaction: self.in_transaction && matches!(stop, Stop::End),
        };
        let outcome = match stop {
            Stop::Io(error) => return Err(error),
            Stop::End if !self.in_transaction => Outcome::Complete,
            Stop::End | Stop::Truncated => truncated,
            Stop::Bad(why) => Outcome::Bad { ok_up_to: self.ok_up_to, offset: self.looked_at, why },
        };
        self.held.clear();
        Ok(self.outcome.get_or_insert(outcome).clone())
    }

    /// Reads the next command, or all of the next transaction.
    fn gather(&mut self) -> Result<(), Stop> {
        match &self.outcome {
            Some(Outcome::Complete) => return Err(Stop::End),
            Some(_) => return Err(Stop::Truncated),
            None => {}
        }
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.args.clear();
        self.args.shrink_to(KEPT_BYTES / size_of::<Arg>());
        self.held.clear();
        self.given = 0;
        self.in_transaction = false;
        loop {
            let command = self.command()?;
            let name =
                self.args.get(command.args.start).map_or(&[][..], |name| name.of(&self.text[command.text.start..]));
            if name.eq_ignore_ascii_case(b"MULTI") {
                self.in_transaction = true;
            } else if name.eq_ignore_ascii_case(b"EXEC") {
                self.ok_up_to = self.source.position();
                if !self.held.is_empty() {
                    return Ok(());
                }
                // There was nothing between the two, or this is one too many.
                self.in_transaction = false;
            } else if self.in_transaction && name.eq_ignore_ascii_case(b"DISCARD") {
                self.ok_up_to = self.source.position();
                self.held.clear();
                self.in_transaction = false;
            } else {
                self.held.push(command);
                if !self.in_transaction {
                    self.ok_up_to = self.source.position();
                    return Ok(());
                }
            }
        }
    }

    /// Reads one command to the end of `text` and `args`.
    fn command(&mut self) -> Result<Held, Stop> {
        self.skip_notes()?;
        let count = self.number(b'*')?;
        if count < 1 {
            return Err(Stop::Bad(Why::Number));
        }
        let (text, args) = (self.text.len(), self.args.len());
        for _ in 0..count {
            let len = self.number(b'$')?;
            let start = self.text.len() - text;
            let fits = (0..=ARGUMENT_BYTES_MAX).contains(&len) && start + len as usize <= COMMAND_BYTES_MAX;
            if !fits {
                return Err(Stop::Bad(Why::Number));
            }
            self.source.bytes(len as usize, &mut self.text)?;
            self.args.push(Arg { start: start as u32, len: len as u32 });
            self.looked_at = self.source.position();
            let end = self.source.array()?;
            if &end != b"\r\n" {
                return Err(Stop::Bad(Why::LineEnd(end)));
            }
        }
        Ok(Held { text: text..self.text.len(), args: args..self.args.len() })
    }

    /// Skips notes, and sees whether there is anything behind them.
    fn skip_notes(&mut self) -> Result<(), Stop> {
        loop {
            self.looked_at = self.source.position();
            match self.source.fill(1)?.first() {
                None => return Err(Stop::End),
                Some(b'#') => {}
                Some(_) => return Ok(()),
            }
            loop {
                let ready = self.source.fill(1)?;
                let (taken, ended) = match memchr::memchr(b'\n', ready) {
                    Some(at) => (at + 1, true),
                    None => (ready.len(), false),
                };
                if taken == 0 {
                    return Err(Stop::Truncated);
                }
                self.source.take(taken);
                if ended {
                    break;
                }
            }
            if !self.in_transaction {
                self.ok_up_to = self.source.position();
            }
        }
    }

    /// A line that is a number behind `prefix`.
    fn number(&mut self, prefix: u8) -> Result<i64, Stop> {
        self.looked_at = self.source.position();
        let line = self.source.fill(LINE_BYTES_MAX)?;
        let line = line.get(..LINE_BYTES_MAX).unwrap_or(line);
        match line.first() {
            None => return Err(Stop::Truncated),
            Some(&got) if got != prefix => return Err(Stop::Bad(Why::Prefix { expected: prefix, got })),
            Some(_) => {}
        }
        // Where the line could still go on, the file ends; where it could not, it is no number.
        let cut_off = || if line.len() < LINE_BYTES_MAX { Stop::Truncated } else { Stop::Bad(Why::Number) };
        let Some(end) = memchr::memchr(b'\r', line) else {
            return Err(if line.contains(&b'\n') { Stop::Bad(Why::Number) } else { cut_off() });
        };
        match line.get(end + 1) {
            None => return Err(cut_off()),
            Some(b'\n') => {}
            Some(&other) => return Err(Stop::Bad(Why::LineEnd([b'\r', other]))),
        }
        let number = line.get(1..end).and_then(resp::parse_i64).ok_or(Stop::Bad(Why::Number))?;
        self.source.take(end + 2);
        Ok(number)
    }
}

//! Reading whole data sets: one event after the other, from any reader, with entries ready to be put into a keyspace.
//!
//! ```text
//!  Read -> Source -> Loader::event -> Event::Entry(LoadedEntry { db, hash, slot, entry }) -> keyspace
//!                    Loader::batch -> Batch of entries, to be put in by another thread
//! ```
//! 1. Nothing is believed: damage is an [`RdbError`] with offset and key, never a panic.
//! 2. Memory is what arrived: the buffer, one value, and what the caller keeps.
//! 3. The checksum comes last. When it is wrong, everything was handed out already: the caller throws it away.

use super::decode::{Decoder, Limits};
use super::source::Source;
use super::{Error, MAGIC, RdbError, VERSION_READ_MAX, kind, opcode};
use engine::hash;
use engine::raw::entry::Entry;
use slots::SlotId;
use std::io::Read;
use std::mem;

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// How long collections stay small.
    pub limits: Limits,
    /// `databases`: entries of others are refused.
    pub databases: u32,
    /// `rdbchecksum`: whether to compare the checksum.
    pub checksum: bool,
    /// The 24-bit clock that entries have as their last access.
    pub lru: u32,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions { limits: Limits::default(), databases: 16, checksum: true, lru: 0 }
    }
}

/// A key with its value, and what a keyspace needs besides.
pub struct LoadedEntry {
    /// The database.
    pub db: u32,
    /// [`hash::fast`] of the key.
    pub hash: u64,
    /// The key's slot.
    pub slot: SlotId,
    /// Where its record begins in the data set.
    pub offset: u64,
    /// Key, value and expiry.
    pub entry: Entry,
}

/// One piece of a data set.
pub enum Event<'l> {
    /// A note about the data set: `redis-ver` and so on.
    Aux {
        /// What it is about.
        name: &'l [u8],
        /// What it says.
        value: &'l [u8],
    },
    /// The entries that follow are in this database. Said also of databases that turn out to be empty.
    Database(u32),
    /// How much follows in a database; a hint.
    Sizes {
        /// The database.
        db: u32,
        /// Number of keys.
        keys: usize,
        /// Number of keys with an expiry.
        expiring: usize,
    },
    /// A key.
    Entry(LoadedEntry),
    /// Something that was left out, because this server has no place for it and misses nothing without it.
    Skipped(Skipped),
    /// The end; the checksum, if there is one, is right.
    End {
        /// Whether the checksum was compared.
        checked: bool,
    },
}

/// What is left out of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skipped {
    /// A library of functions of Redis 7.
    #[error("a library of functions")]
    Functions,
    /// What a module keeps beside the keys.
    #[error("a module's own data")]
    ModuleAux,
    /// A key with a collection that has no elements.
    #[error("a key without elements")]
    Empty,
}

/// What a loader was reading when it came upon an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// The header.
    Start,
    /// A type, or what stands in its place.
    Type,
    /// A key's expiry, or another property of it.
    Expire,
    /// A key.
    Key,
    /// A value of this type.
    Value(u8),
    /// The checksum.
    Checksum,
    /// A database's number or size.
    Len,
    /// A note.
    Aux,
}

impl Doing {
    /// A word for it, as `redis-check-rdb` says.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Start => "start",
            Doing::Type => "read-type",
            Doing::Expire => "read-expire",
            Doing::Key => "read-key",
            Doing::Value(_) => "read-object-value",
            Doing::Checksum => "check-sum",
            Doing::Len => "read-len",
            Doing::Aux => "read-aux",
        }
    }
}

/// An event whose bytes are in the loader.
enum Step {
    Aux,
    Database,
    Sizes { keys: usize, expiring: usize },
    Entry(LoadedEntry),
    Skipped(Skipped),
    End { checked: bool },
}

/// Entries that were read together.
#[derive(Default)]
pub struct Batch {
    /// In the order of the data set.
    pub entries: Vec<LoadedEntry>,
    /// Bytes of the data set that are read with them.
    pub position: u64,
}

/// Reads a data set.
pub struct Loader<R> {
    decoder: Decoder<R>,
    options: LoadOptions,
    version: u32,
    db: u32,
    key: Vec<u8>,
    doing: Doing,
    aux: Vec<u8>,
    ended: bool,
}

impl<R: Read> Loader<R> {
    /// Reads the header.
    pub fn new(from: R, options: LoadOptions) -> Result<Loader<R>, RdbError> {
        Loader::of(Source::new(from, options.checksum), options)
    }

    /// As [`Loader::new`], from where `source` is.
    pub(crate) fn of(source: Source<R>, options: LoadOptions) -> Result<Loader<R>, RdbError> {
        let mut loader = Loader {
            decoder: Decoder::new(source, options.limits),
            options,
            version: 0,
            db: 0,
            key: Vec::new(),
            doing: Doing::Start,
            aux: Vec::new(),
            ended: false,
        };
        loader.version = loader.header().map_err(|what| loader.error(what))?;
        Ok(loader)
    }

    /// The version that the header says.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes of the data set that were read.
    pub fn position(&self) -> u64 {
        self.decoder.source.position()
    }

    /// What is being read, or was read last.
    pub fn doing(&self) -> Doing {
        self.doing
    }

    /// The error that `what` is wrong here.
    pub fn error(&self, what: Error) -> RdbError {
        let key = matches!(self.doing, Doing::Value(_)).then(|| self.key.clone().into());
        RdbError { offset: self.position(), key, what }
    }

    /// What comes next. After [`Event::End`] there is nothing more: the end is said again.
    pub fn event(&mut self) -> Result<Event<'_>, RdbError> {
        match self.step() {
            Err(what) => Err(self.error(what)),
            Ok(step) => Ok(match step {
                Step::Aux => Event::Aux { name: &self.key, value: &self.aux },
                Step::Database => Event::Database(self.db),
                Step::Sizes { keys, expiring } => Event::Sizes { db: self.db, keys, expiring },
                Step::Entry(entry) => Event::Entry(entry),
                Step::Skipped(what) => Event::Skipped(what),
                Step::End { checked } => Event::End { checked },
            }),
        }
    }

    /// Reads all to the end, and gives each event to `take`, which may refuse to go on.
    pub fn each(&mut self, mut take: impl FnMut(Event<'_>) -> Result<(), String>) -> Result<(), RdbError> {
        loop {
            let event = self.event()?;
            let ended = matches!(event, Event::End { .. });
            take(event).map_err(|why| self.error(Error::Refused(why)))?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Fills `batch` with the next entries, about `bytes` of the data set; all other events go to `take`. Returns false when
    /// the end has come, with the last entries perhaps in the batch.
    pub fn batch(&mut self, batch: &mut Batch, bytes: u64, mut take: impl FnMut(Event<'_>)) -> Result<bool, RdbError> {
        let until = self.position() + bytes;
        let mut more = true;
        while more && self.position() < until {
            match self.event()? {
                Event::Entry(entry) => batch.entries.push(entry),
                event => {
                    more = !matches!(event, Event::End { .. });
                    take(event);
                }
            }
        }
        batch.position = self.position();
        Ok(more)
    }

    /// The bytes behind the data set, once its end has come.
    pub(crate) fn into_source(self) -> Source<R> {
        self.decoder.source
    }

    fn header(&mut self) -> Result<u32, Error> {
        let source = &mut self.decoder.source;
        let magic: [u8; MAGIC.len()] = source.array()?;
        if &magic != MAGIC {
            return Err(Error::Signature);
        }
        let digits: [u8; 4] = source.array()?;
        let version =
            digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')));
        match version {
            Some(version @ 1..=VERSION_READ_MAX) => Ok(version),
            Some(version) => Err(Error::Version(version)),
            None => Err(Error::Corrupt("the version is no number")),
        }
    }

    fn step(&mut self) -> Result<Step, Error> {
        if self.ended {
            return Ok(Step::End { checked: false });
        }
        let mut expire_at_ms = None;
        let offset = self.decoder.source.position();
        loop {
            let source = &mut self.decoder.source;
            self.doing = Doing::Type;
            let kind = source.byte()?;
            self.doing = match kind {
                opcode::EXPIRE_MS | opcode::EXPIRE_SECONDS | opcode::FREQ | opcode::IDLE => Doing::Expire,
                opcode::SELECT_DB | opcode::RESIZE_DB => Doing::Len,
                opcode::AUX | opcode::FUNCTION | opcode::MODULE_AUX => Doing::Aux,
                opcode::END => Doing::Checksum,
                _ => Doing::Key,
            };
            match kind {
                opcode::EXPIRE_MS => expire_at_ms = Some(i64::from_le_bytes(source.array()?)),
                opcode::EXPIRE_SECONDS => {
                    expire_at_ms = Some(i64::from(i32::from_le_bytes(source.array()?)) * 1000);
                }
                opcode::FREQ => drop(source.byte()?),
                opcode::IDLE => drop(source.count()?),
                opcode::SELECT_DB => {
                    let db = u32::try_from(source.count()?).unwrap_or(u32::MAX);
                    if db >= self.options.databases {
                        return Err(Error::Databases(self.options.databases));
                    }
                    self.db = db;
                    return Ok(Step::Database);
                }
                opcode::RESIZE_DB => {
                    let (keys, expiring) = (source.count()?, source.count()?);
                    return Ok(Step::Sizes { keys, expiring });
                }
                opcode::AUX => {
                    source.string(&mut self.key)?;
                    source.string(&mut self.aux)?;
                    return Ok(Step::Aux);
                }
                opcode::FUNCTION => {
                    source.string(&mut self.aux)?;
                    return Ok(Step::Skipped(Skipped::Functions));
                }
                opcode::FUNCTION_BEFORE_RELEASE => {
                    return Err(Error::Unsupported("functions of a preview of Redis 7"));
                }
                opcode::MODULE_AUX => {
                    self.skip_module()?;
                    return Ok(Step::Skipped(Skipped::ModuleAux));
                }
                opcode::END => {
                    let checked = self.compare_checksum()?;
                    self.ended = true;
                    return Ok(Step::End { checked });
                }
                // Nothing after an unknown type can be made sense of, not even the key.
                _ if !kind::is_known(kind) => return Err(Error::Type(kind)),
                _ => return self.entry(kind, expire_at_ms, offset),
            }
        }
    }

    #[inline]
    fn entry(&mut self, kind: u8, expire_at_ms: Option<i64>, offset: u64) -> Result<Step, Error> {
        self.decoder.source.string(&mut self.key)?;
        self.doing = Doing::Value(kind);
        let Some(body) = self.decoder.value(kind)? else { return Ok(Step::Skipped(Skipped::Empty)) };
        let entry = Entry::new(&self.key, body, expire_at_ms, self.options.lru);
        let (hash, slot) = (hash::fast(&self.key), slots::slot_of(&self.key));
        Ok(Step::Entry(LoadedEntry { db: self.db, hash, slot, offset, entry }))
    }

    /// What a module keeps beside the keys: its number, then values, each behind what it is.
    fn skip_module(&mut self) -> Result<(), Error> {
        const END: usize = 0;
        const SIGNED: usize = 1;
        const UNSIGNED: usize = 2;
        const FLOAT: usize = 3;
        const DOUBLE: usize = 4;
        const STRING: usize = 5;
        let source = &mut self.decoder.source;
        source.count()?;
        loop {
            match source.count()? {
                END => return Ok(()),
                SIGNED | UNSIGNED => drop(source.count()?),
                FLOAT => drop(source.array::<4>()?),
                DOUBLE => drop(source.array::<8>()?),
                STRING => source.string(&mut self.aux)?,
                _ => return Err(Error::Corrupt("a module's own data")),
            }
        }
    }

    /// Whether there is a checksum to compare with; an error if it is another one.
    fn compare_checksum(&mut self) -> Result<bool, Error> {
        /// The first version with a checksum.
        const SUMMED: u32 = 5;
        if self.version < SUMMED {
            return Ok(false);
        }
        let source = &mut self.decoder.source;
        let computed = source.checksum();
        source.end_checksum();
        let written = u64::from_le_bytes(source.array()?);
        match computed {
            Some(computed) if written != 0 && written != computed => Err(Error::Checksum),
            Some(_) => Ok(written != 0),
            None => Ok(false),
        }
    }
}

impl Batch {
    /// The entries, leaving the room for others.
    pub fn take(&mut self) -> Vec<LoadedEntry> {
        mem::take(&mut self.entries)
    }
}

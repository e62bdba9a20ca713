//! Whole data sets.

use super::decode::{Decoder, Limits};
use super::encode::Encoder;
use super::{Error, VERSION, VERSION_READ_MAX};
use crate::crc64::Crc64;
use engine::raw::entry::{Body, EntryRef};
use std::io::{self, Read, Write};

const MAGIC: &[u8; 5] = b"REDIS";
/// Bytes gathered before they are written.
const WRITE_AT_BYTES: usize = 64 * 1024;

mod opcode {
    pub const MODULE_AUX: u8 = 0xf7;
    pub const FUNCTION_BEFORE_RELEASE: u8 = 0xf6;
    pub const FUNCTION: u8 = 0xf5;
    pub const IDLE: u8 = 0xf8;
    pub const FREQ: u8 = 0xf9;
    pub const AUX: u8 = 0xfa;
    pub const RESIZE_DB: u8 = 0xfb;
    pub const EXPIRE_MS: u8 = 0xfc;
    pub const EXPIRE_SECONDS: u8 = 0xfd;
    pub const SELECT_DB: u8 = 0xfe;
    pub const END: u8 = 0xff;
}

/// Writes a data set: header, then each database, then the end.
pub struct Writer<W> {
    to: W,
    encoder: Encoder,
    checksum: Option<Crc64>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins. `compress` is `rdbcompression`, `checksum` is `rdbchecksum`.
    pub fn new(to: W, compress: bool, checksum: bool) -> Writer<W> {
        let mut encoder = Encoder::new(compress);
        encoder.out.extend_from_slice(MAGIC);
        encoder.out.extend_from_slice(format!("{VERSION:04}").as_bytes());
        Writer { to, encoder, checksum: checksum.then(Crc64::default), written: 0 }
    }

    /// A note about the file, before all databases: `redis-ver` and so on.
    pub fn aux(&mut self, name: &str, value: &[u8]) {
        self.encoder.out.push(opcode::AUX);
        self.encoder.string(name.as_bytes());
        self.encoder.string(value);
    }

    /// Begins a database, which has about `keys` keys, `expiring` of them with an expiry.
    pub fn database(&mut self, db: u32, keys: usize, expiring: usize) {
        self.encoder.out.push(opcode::SELECT_DB);
        self.encoder.len(db as usize);
        self.encoder.out.push(opcode::RESIZE_DB);
        // The sizes are hints, and have 32 bits.
        self.encoder.len(keys.min(u32::MAX as usize));
        self.encoder.len(expiring.min(u32::MAX as usize));
    }

    /// A key of the database that was begun last.
    pub fn entry(&mut self, entry: EntryRef<'_>) -> io::Result<()> {
        self.encoder.entry(entry);
        if self.encoder.out.len() >= WRITE_AT_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&self.encoder.out);
        }
        self.to.write_all(&self.encoder.out)?;
        self.written += self.encoder.out.len() as u64;
        self.encoder.out.clear();
        Ok(())
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written + self.encoder.out.len() as u64
    }

    /// Ends the data set and gives back what it was written to, not flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.encoder.out.push(opcode::END);
        self.write()?;
        // 0 says that there is no checksum.
        let checksum = self.checksum.as_ref().map_or(0, Crc64::value);
        self.to.write_all(&checksum.to_le_bytes())?;
        Ok(self.to)
    }
}

/// One piece of a data set.
pub enum Record<'r> {
    /// A note about the file.
    Aux {
        /// What it is about.
        name: &'r [u8],
        /// What it says.
        value: &'r [u8],
    },
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
    Entry {
        /// The database.
        db: u32,
        /// The key.
        key: &'r [u8],
        /// Its value.
        body: Body<'r>,
        /// Its expiry, in Unix milliseconds.
        expire_at_ms: Option<i64>,
    },
    /// Something that newer versions know and this one has no place for.
    Ignored(&'static str),
}

/// Reads a data set from its header to its end and gives each piece to `take`, which may refuse it with a reason. Returns
/// the version.
///
/// The checksum comes last: when it is wrong, everything was given to `take` already.
pub fn read<R: Read>(
    from: R,
    limits: Limits,
    mut take: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Result<u32, Error> {
    let mut decoder = Decoder::new(from, limits);
    let version = header(&mut decoder)?;
    let mut take = |record: Record<'_>| take(record).map_err(Error::Refused);
    let (mut db, mut expire_at_ms) = (0, None);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    loop {
        let head = decoder.source.byte()?;
        match head {
            opcode::EXPIRE_MS => expire_at_ms = Some(i64::from_le_bytes(decoder.source.array()?)),
            opcode::EXPIRE_SECONDS => {
                expire_at_ms = Some(i64::from(i32::from_le_bytes(decoder.source.array()?)) * 1000);
            }
            opcode::FREQ => drop(decoder.source.byte()?),
            opcode::IDLE => drop(decoder.source.count()?),
            opcode::SELECT_DB => {
                let number = decoder.source.count()?;
                db = u32::try_from(number).map_err(|_| decoder.source.corrupt("a database's number"))?;
            }
            opcode::RESIZE_DB => {
                let (keys, expiring) = (decoder.source.count()?, decoder.source.count()?);
                take(Record::Sizes { db, keys, expiring })?;
            }
            opcode::AUX => {
                decoder.source.string(&mut key)?;
                decoder.source.string(&mut value)?;
                take(Record::Aux { name: &key, value: &value })?;
            }
            opcode::FUNCTION => {
                decoder.source.string(&mut value)?;
                take(Record::Ignored("a library of functions"))?;
            }
            opcode::FUNCTION_BEFORE_RELEASE => {
                return Err(Error::Unsupported { what: "functions of a preview version" });
            }
            opcode::MODULE_AUX => return Err(Error::Unsupported { what: "data of a module" }),
            opcode::END => {
                check_sum(&mut decoder, version)?;
                return Ok(version);
            }
            kind => {
                decoder.source.string(&mut key)?;
                let expire_at_ms = expire_at_ms.take();
                match decoder.value(kind)? {
                    Some(body) => take(Record::Entry { db, key: &key, body, expire_at_ms })?,
                    None => take(Record::Ignored("a key without elements"))?,
                }
            }
        }
    }
}

fn header<R: Read>(decoder: &mut Decoder<R>) -> Result<u32, Error> {
    let magic: [u8; 5] = decoder.source.array()?;
    let digits: [u8; 4] = decoder.source.array()?;
    if &magic != MAGIC {
        return Err(decoder.source.corrupt("the first bytes are not those of an RDB file"));
    }
    let version =
        digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')));
    match version {
        Some(version @ 1..=VERSION_READ_MAX) => Ok(version),
        Some(version) => Err(Error::Version(version)),
        None => Err(decoder.source.corrupt("the version is no number")),
    }
}

fn check_sum<R: Read>(decoder: &mut Decoder<R>, version: u32) -> Result<(), Error> {
    /// The first one with a checksum.
    const SUMMED: u32 = 5;
    if version < SUMMED {
        return Ok(());
    }
    let computed = decoder.source.checksum();
    let written = u64::from_le_bytes(decoder.source.array()?);
    if written != 0 && written != computed {
        return Err(decoder.source.corrupt("the checksum does not fit"));
    }
    Ok(())
}

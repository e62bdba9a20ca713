//! Writing whole data sets, at once or in pieces.
//!
//! ```text
//!  header | database entry* | database entry* | .. | end          each piece is bytes of an Encoder, by any thread
//!  ------------------------- Sum: over all pieces in the order of the file, by who writes them --- checksum 8
//! ```
//! [`Writer`] does both in one thread. A database may be begun more than once.

use super::encode::Encoder;
use super::{MAGIC, VERSION, opcode};
use crate::crc64::Crc64;
use engine::raw::entry::EntryRef;
use std::io::{self, Write};

/// Bytes gathered before they are written.
const WRITE_AT_BYTES: usize = 64 * 1024;

/// The pieces of a data set that are not entries; [`Encoder::entry`] makes those.
impl Encoder {
    /// What begins a data set: the version, and what 3.2 notes about the server. `ctime_s` is Unix time in seconds.
    pub fn header(&mut self, redis_version: &str, ctime_s: i64, used_memory: u64) {
        self.out.extend_from_slice(MAGIC);
        self.out.extend_from_slice(format!("{VERSION:04}").as_bytes());
        self.aux("redis-ver", redis_version.as_bytes());
        self.aux("redis-bits", b"64");
        self.aux("ctime", ctime_s.to_string().as_bytes());
        self.aux("used-mem", used_memory.to_string().as_bytes());
    }

    /// A note about the data set, before all databases.
    pub fn aux(&mut self, name: &str, value: &[u8]) {
        self.out.push(opcode::AUX);
        self.string(name.as_bytes());
        self.string(value);
    }

    /// The entries behind this are in database `db`.
    pub fn select(&mut self, db: u32) {
        self.out.push(opcode::SELECT_DB);
        self.len(db as usize);
    }

    /// Begins a database, which has about `keys` keys, `expiring` of them with an expiry.
    pub fn database(&mut self, db: u32, keys: usize, expiring: usize) {
        self.select(db);
        self.out.push(opcode::RESIZE_DB);
        // The sizes are hints, and have 32 bits.
        self.len(keys.min(u32::MAX as usize));
        self.len(expiring.min(u32::MAX as usize));
    }

    /// What ends a data set, before its checksum.
    pub fn end(&mut self) {
        self.out.push(opcode::END);
    }
}

/// The checksum of a data set that is written in pieces.
pub struct Sum(Option<Crc64>);

impl Sum {
    /// `wanted` is `rdbchecksum`.
    pub fn new(wanted: bool) -> Sum {
        Sum(wanted.then(Crc64::default))
    }

    /// Goes on with the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        if let Some(sum) = &mut self.0 {
            sum.update(piece);
        }
    }

    /// What stands behind the last piece; 0 says that there is no checksum.
    pub fn trailer(&self) -> [u8; 8] {
        self.0.as_ref().map_or(0, Crc64::value).to_le_bytes()
    }
}

/// Writes a data set: header, then each database, then the end.
pub struct Writer<W> {
    to: W,
    /// Where the pieces are made that are not entries.
    pub encoder: Encoder,
    sum: Sum,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins, with nothing written yet. `compress` is `rdbcompression`, `checksum` is `rdbchecksum`.
    pub fn new(to: W, compress: bool, checksum: bool) -> Writer<W> {
        Writer { to, encoder: Encoder::new(compress), sum: Sum::new(checksum), written: 0 }
    }

    /// A key of the database that was begun last.
    pub fn entry(&mut self, entry: EntryRef<'_>) -> io::Result<()> {
        self.encoder.entry(entry);
        if self.encoder.out.len() >= WRITE_AT_BYTES { self.pass_on() } else { Ok(()) }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.sum.update(&self.encoder.out);
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
        self.encoder.end();
        self.pass_on()?;
        self.to.write_all(&self.sum.trailer())?;
        Ok(self.to)
    }
}

/// Takes what a snapshot of the engine writes as [`RdbFormat`](super::image::RdbFormat).
impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pass_on()?;
        self.sum.update(bytes);
        self.to.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.to.flush()
    }
}

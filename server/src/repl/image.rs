//! A full sync: one image for all replicas that wait, as of one offset of the log, taken while writes go on.
//!
//! The cut is made by whoever holds all slots; a thread of its own then walks over the keys and writes the image, into a
//! file without a name or (`repl-diskless-sync`) through a pipe, from where each replica's reactor sends it.

use super::peer::{Delivery, Replica};
use super::pipe::{Bounds, Deserted, Pipe};
use crate::config::{ClientClass, REDIS_VERSION};
use crate::log;
use crate::node::Node;
use crate::persist::job::{self, Ended, Kind};
use crate::persist::{Pace, STRETCH_BYTES, go_after_others, shrink_away};
use engine::effects::encode;
use engine::keyspace::Keyspace;
use engine::raw::lock::Owner;
use engine::slot::Slot;
use engine::snapshot::{Format, Image, walk};
use persistence::rdb::encode::Encoder;
use persistence::rdb::file::Sum;
use persistence::rdb::image::RdbFormat;
use replication::feed::Stage;
use replication::psync::full_line;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Bytes that are handed on at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// How often it is looked whether all replicas have an image.
const CLOSE_LOOK_EVERY: Duration = Duration::from_millis(100);

/// Begins a full sync for every replica that waits for one, unless another snapshot is under way: then the replicas are
/// looked at again each second. The caller holds all slots: this is the cut.
pub fn begin(node: &'static Node, keys: &mut Keyspace<'_, '_>) {
    let waiting: Vec<Arc<Replica>> =
        node.repl.replicas().iter().filter(|replica| replica.stage() == Stage::WaitCut).cloned().collect();
    if waiting.is_empty() {
        return;
    }
    let compress = node.config().rdbcompression;
    let stream_db = node.repl.is_replica().then(|| node.oplog.stream_db());
    let config = node.config();
    let (readers, to) = if config.repl_diskless_sync && waiting.iter().all(|replica| replica.intro.takes_mark) {
        let (pipe, readers) = Pipe::new(waiting.len());
        // It must not keep the replicas: who leaves is one reader less.
        (readers, Target::Pipe(pipe, waiting.iter().map(|replica| replica.reactor).collect()))
    } else {
        (Vec::new(), Target::File(waiting.clone()))
    };
    let target = if readers.is_empty() { "disk" } else { "slaves sockets" };
    let job = Job { notes: (stream_db, node.repl.has_strayed()), to };
    let make = move || Box::new(RdbFormat::new(compress)) as Box<dyn Format>;
    let work = move |image: &Arc<Image>, owner: &mut Owner<'static, Slot>| job.run(node, image, owner);
    let Ok(image) = job::begin(node, keys, Kind::Sync, make, work) else { return };
    log::notice!("Starting BGSAVE for SYNC with target: {target}");
    let id = node.repl.state().history.id;
    let mut readers = readers.into_iter();
    for replica in &waiting {
        let prologue = prologue(stream_db, replica.intro.knows_psync2);
        // It counts as bytes of the stream, and after it the offset is ours.
        let offset = image.offset().saturating_sub(prologue.len() as u64);
        if !prologue.is_empty() {
            node.repl.state().prologues.add(offset, image.offset());
        }
        // Of a replica that came with SYNC nothing but an image is expected.
        let line = if replica.says_acks { full_line(id, offset).into_bytes() } else { Vec::new() };
        match node.oplog.pinned(image.offset()) {
            Ok(cursor) => {
                replica.set_stage(Stage::WaitImage);
                replica.deliver(node, Delivery::Cut { line, cursor, prologue });
                if let Some(reader) = readers.next() {
                    replica.deliver(node, Delivery::Stream(reader));
                }
            }
            Err(_) => replica.deliver(node, Delivery::Failed),
        }
    }
}

/// What a replica must be told that does not read in the image's notes that the stream goes on in database `stream_db`, as
/// 3.2 does not: it would go on in database 0.
fn prologue(stream_db: Option<u32>, reads_notes: bool) -> Vec<u8> {
    let mut select = Vec::new();
    if let Some(db) = stream_db.filter(|db| *db != 0 && !reads_notes) {
        encode([&b"SELECT"[..], db.to_string().as_bytes()].into_iter(), &mut select);
    }
    select
}

/// The database that the stream behind the image is in, if this server's log does not say so, and whether its keys are not
/// what the stream says.
type Notes = (Option<u32>, bool);

/// What the thread is to do.
struct Job {
    notes: Notes,
    to: Target,
}

/// Where the image goes.
enum Target {
    /// Into a file, for these replicas.
    File(Vec<Arc<Replica>>),
    /// To replicas that these reactors have, as it is made.
    Pipe(Arc<Pipe>, Vec<usize>),
}

impl Job {
    fn run(self, node: &'static Node, image: &Arc<Image>, owner: &mut Owner<'static, Slot>) -> Ended {
        let written = match &self.to {
            Target::File(replicas) => {
                let written =
                    write(node, image, owner, self.notes, open().map(BufWriter::new)).and_then(|(to, len)| {
                        let file = to.into_inner().map_err(|error| error.to_string())?;
                        Ok((Arc::new(file), len))
                    });
                for replica in replicas {
                    replica.deliver(
                        node,
                        match &written {
                            Ok((file, len)) => Delivery::Image(file.clone(), *len),
                            Err(_) => Delivery::Failed,
                        },
                    );
                }
                written.map(|(file, _)| close_after_others(file))
            }
            Target::Pipe(pipe, reactors) => {
                let to = Piping { pipe, reactors, node, piece: Vec::with_capacity(PIECE_BYTES) };
                let written = write(node, image, owner, self.notes, Ok(to));
                pipe.end(written.is_ok());
                reactors.iter().for_each(|reactor| node.mailboxes[*reactor].nudge());
                written.map(drop)
            }
        };
        match written {
            Ok(()) => {
                log::notice!("Background saving terminated with success");
                Ended::Well
            }
            Err(error) => {
                log::warning!("BGSAVE for replication failed: {error}");
                Ended::Badly
            }
        }
    }
}

/// Closes a file when nobody else has it any more. That frees its blocks and waits for those on their way to the disk,
/// which no reactor should do.
fn close_after_others(file: Arc<File>) {
    let wait = move || {
        while Arc::strong_count(&file) > 1 {
            thread::sleep(CLOSE_LOOK_EVERY);
        }
        go_after_others();
        shrink_away(&file);
    };
    // Without a thread the last of the reactors closes it.
    drop(thread::Builder::new().name("close".into()).spawn(wait));
}

/// Writes the image; returns what it was written to and how many bytes it has.
fn write<W: Write>(
    node: &'static Node,
    image: &Arc<Image>,
    owner: &mut Owner<'static, Slot>,
    (stream_db, strayed): Notes,
    to: io::Result<W>,
) -> Result<(W, u64), String> {
    let config = node.config();
    let mut to = Summed { to: to.map_err(Some), sum: Sum::new(config.rdbchecksum), written: 0, pace: Pace::new(node) };
    let mut ends = Encoder::new(config.rdbcompression);
    ends.header(REDIS_VERSION, image.now_ms() / 1000, crate::memory::used(node));
    super::note::of_image(stream_db, strayed, &mut ends);
    let begun = to.write_all(&ends.out);
    // Whatever happened: what was cut must be walked over.
    let walked = walk(image, owner, &mut to).map_err(|error| error.to_string());
    begun.map_err(|error| error.to_string())?;
    walked?;
    ends.out.clear();
    ends.end();
    to.finish(&ends.out).map_err(|error| error.to_string())
}

fn open() -> io::Result<File> {
    // Where the filesystem can do that, it never has a name: whenever the process ends, nothing is left of it.
    let nameless = File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open(".");
    nameless.or_else(|_| {
        let path = PathBuf::from(format!("temp-sync-{}.rdb", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    })
}

/// Gathers pieces for a pipe.
struct Piping<'p> {
    pipe: &'p Pipe,
    reactors: &'p [usize],
    node: &'static Node,
    piece: Vec<u8>,
}

impl Write for Piping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let bounds = || {
            let config = self.node.config();
            let limit = config.client_output_buffer_limit[ClientClass::Slave as usize].hard_bytes;
            Bounds {
                is_pressed: self.node.persist.is_full(),
                pressed_bytes: if limit == 0 { u64::MAX } else { limit },
                patience: Duration::from_secs(config.repl_timeout),
            }
        };
        self.pipe.put(&self.piece, bounds).map_err(|Deserted| io::Error::other("no replica waits for it any more"))?;
        self.piece.clear();
        self.reactors.iter().for_each(|reactor| self.node.mailboxes[*reactor].nudge());
        Ok(())
    }
}

/// What is written to, with the checksum of what was written. What could not be opened fails at the first write.
struct Summed<W> {
    to: Result<W, Option<io::Error>>,
    sum: Sum,
    written: u64,
    pace: Pace,
}

impl<W: Write> Summed<W> {
    fn finish(mut self, end: &[u8]) -> io::Result<(W, u64)> {
        self.write_all(end)?;
        let trailer = self.sum.trailer();
        self.write_all(&trailer)?;
        self.flush()?;
        let written = self.written;
        Ok((self.to.map_err(|error| error.unwrap_or(io::ErrorKind::NotFound.into()))?, written))
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let to = match &mut self.to {
            Ok(to) => to,
            Err(error) => return Err(error.take().unwrap_or(io::ErrorKind::NotFound.into())),
        };
        let written = to.write(&bytes[..bytes.len().min(STRETCH_BYTES)])?;
        self.sum.update(&bytes[..written]);
        self.written += written as u64;
        self.pace.rest();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Ok(to) => to.flush(),
            Err(_) => Ok(()),
        }
    }
}

//! A full sync: one image for all replicas that wait, as of one offset of the log, taken while writes go on.
//!
//! The cut is made by whoever holds all slots; a thread of its own then walks over the keys and writes the image into a
//! file without a name, from which each replica's reactor sends it.

use super::peer::{Delivery, Replica};
use crate::config::REDIS_VERSION;
use crate::log;
use crate::node::Node;
use crate::persist::Pace;
use crate::persist::job::{self, Ended, Kind};
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
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

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
    let stream_db = node.repl.is_replica().then(|| node.repl.stream_db.load(Ordering::Acquire));
    let job = Job { stream_db, waiting: waiting.clone() };
    let make = move || Box::new(RdbFormat::new(compress)) as Box<dyn Format>;
    let work = move |image: &Arc<Image>, owner: &mut Owner<'static, Slot>| job.run(node, image, owner);
    let Ok(image) = job::begin(node, keys, Kind::Sync, make, work) else { return };
    log::notice!("Starting BGSAVE for SYNC with target: disk");
    let id = node.repl.state().history.id;
    for replica in &waiting {
        let prologue = prologue(stream_db, replica.intro.knows_psync2);
        // It counts as bytes of the stream, and after it the offset is ours.
        let offset = image.offset().saturating_sub(prologue.len() as u64);
        // Of a replica that came with SYNC nothing but an image is expected.
        let line = if replica.says_acks { full_line(id, offset).into_bytes() } else { Vec::new() };
        match node.oplog.pinned(image.offset()) {
            Ok(cursor) => {
                replica.set_stage(Stage::WaitImage);
                replica.deliver(node, Delivery::Cut { line, cursor, prologue });
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

/// What the thread is to do.
struct Job {
    /// The database that the stream behind the image is in, if this server's log does not say so.
    stream_db: Option<u32>,
    waiting: Vec<Arc<Replica>>,
}

impl Job {
    fn run(self, node: &'static Node, image: &Arc<Image>, owner: &mut Owner<'static, Slot>) -> Ended {
        match write(node, image, owner, self.stream_db) {
            Ok((file, len)) => {
                log::notice!("Background saving terminated with success");
                let file = Arc::new(file);
                self.waiting.iter().for_each(|replica| replica.deliver(node, Delivery::Image(file.clone(), len)));
                close_after_others(file);
                Ended::Well
            }
            Err(error) => {
                log::warning!("BGSAVE for replication failed: {error}");
                self.waiting.iter().for_each(|replica| replica.deliver(node, Delivery::Failed));
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
    };
    // Without a thread the last of the reactors closes it.
    drop(thread::Builder::new().name("close".into()).spawn(wait));
}

/// Writes the image into a file without a name.
fn write(
    node: &'static Node,
    image: &Arc<Image>,
    owner: &mut Owner<'static, Slot>,
    stream_db: Option<u32>,
) -> Result<(File, u64), String> {
    let config = node.config();
    let file = open();
    let mut to = Summed {
        to: file.map(BufWriter::new).map_err(Some),
        sum: Sum::new(config.rdbchecksum),
        written: 0,
        pace: Pace::new(node),
    };
    let mut ends = Encoder::new(config.rdbcompression);
    ends.header(REDIS_VERSION, image.now_ms() / 1000, crate::memory::used(node));
    if let Some(db) = stream_db {
        super::note::stream_db(db, &mut ends);
    }
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
    let path = PathBuf::from(format!("temp-sync-{}.rdb", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    // Open files need no name, and a crash leaves nothing behind.
    fs::remove_file(&path)?;
    Ok(file)
}

/// A file with the checksum of what was written to it. One that could not be opened fails at the first write.
struct Summed {
    to: Result<BufWriter<File>, Option<io::Error>>,
    sum: Sum,
    written: u64,
    pace: Pace,
}

impl Summed {
    fn finish(mut self, end: &[u8]) -> io::Result<(File, u64)> {
        self.write_all(end)?;
        let trailer = self.sum.trailer();
        self.write_all(&trailer)?;
        let written = self.written;
        let to = self.to.map_err(|error| error.unwrap_or(io::ErrorKind::NotFound.into()))?;
        Ok((to.into_inner().map_err(io::IntoInnerError::into_error)?, written))
    }
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let to = match &mut self.to {
            Ok(to) => to,
            Err(error) => return Err(error.take().unwrap_or(io::ErrorKind::NotFound.into())),
        };
        let written = to.write(bytes)?;
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

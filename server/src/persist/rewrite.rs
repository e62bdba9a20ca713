//! A new AOF: a snapshot as commands, then what the log has had since, then the old one's name.
//!
//! ```text
//!   old file   | .......................... | what came after the cut | and goes on coming
//!                                           '----- copied from here --'--> switched under the tail's lock
//!   new file   | snapshot as of the cut     | the same                |
//! ```
//! What comes after the cut is not kept in memory: the old file has it.

use super::aof_tail::Error;
use super::file::{Output, Renamed, Temporary};
use super::job::{self, Busy, Ended, Kind};
use super::names::here;
use crate::config::Config;
use crate::node::Node;
use crate::{log, os_error};
use engine::effects::encode;
use engine::keyspace::Keyspace;
use engine::oplog::{Consumer, Cursor};
use engine::raw::lock::Owner;
use engine::slot::Slot;
use engine::snapshot::{Failed, Image, walk};
use persistence::aof::image::AofFormat;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Less than this is copied while nothing is written to the old file.
const SWITCH_BYTES: u64 = 256 << 10;
const COPY_BYTES: usize = 256 << 10;

/// Where what came after the cut is.
struct Rest {
    file: File,
    at: u64,
}

/// Keeps what the log has around the cut, and beside it, until it is known where in the old file the cut is: a fast disk
/// may have all of it before the thread of the rewrite runs.
struct AroundCut {
    node: &'static Node,
    _pin: Option<Cursor>,
}

impl AroundCut {
    fn keep(node: &'static Node) -> AroundCut {
        let end = node.oplog.place();
        node.oplog.hold_apart(Some(end));
        AroundCut { node, _pin: node.oplog.pinned(end.offset).ok() }
    }
}

impl Drop for AroundCut {
    fn drop(&mut self) {
        self.node.oplog.hold_apart(None);
    }
}

/// Begins a rewrite in the background; all slots are held. Not in the middle of a transaction or script that has changed
/// something: that would be in the image, and once more behind it.
pub fn begin(node: &'static Node, keys: &mut Keyspace<'_, '_>) -> Result<(), Busy> {
    let config = node.config();
    let aof = &node.persist.aof;
    if node.persist.state().job().is_some() || !keys.effects().are_logged() || !aof.has_begun() {
        return Err(Busy);
    }
    keys.hold_all();
    let is_first = aof.is_waiting() && !node.oplog.is_wanted_by(Consumer::Aof);
    if is_first {
        node.oplog.want(Consumer::Aof, true);
    }
    if aof.is_waiting() && !aof.is_written() {
        let place = node.oplog.cut();
        if let Err(error) = aof.begin_provisional(node, place) {
            if is_first {
                node.oplog.want(Consumer::Aof, false);
            }
            log::warning!("Can't make a temporary append only file: {}", os_error::text(&error));
            return Err(Busy);
        }
    }
    if is_first {
        // What stands behind this in a transaction or script is not in the cut.
        keys.effects().logging = node.oplog.wants_records(keys.is_from_primary());
    }
    let around_cut = AroundCut::keep(node);
    // On a replica the log is the primary's stream, in which no SELECT follows the cut.
    let stream_db = node.repl.is_replica().then(|| node.oplog.stream_db());
    let temporary = here(format!("temp-rewriteaof-bg-{}.aof", std::process::id()));
    let target = here(&config.appendfilename);
    let rewrite = Rewrite { node, config, temporary, target, stream_db };
    let work = move |image: &Arc<Image>, owner: &mut Owner<'static, Slot>| rewrite.run(around_cut, image, owner);
    job::begin(node, keys, Kind::Rewrite, || Box::new(AofFormat::default()), work)?;
    let mut state = node.persist.state();
    state.rewrite_scheduled = false;
    log::notice!("Background append only file rewriting started by pid {}", std::process::id());
    drop(state);
    Ok(())
}

/// A rewrite, from its cut on.
struct Rewrite {
    node: &'static Node,
    /// The settings at the cut.
    config: Arc<Config>,
    /// Where it is written.
    temporary: PathBuf,
    /// Where the AOF is to be.
    target: PathBuf,
    /// The database that what follows the cut belongs to, if no SELECT does.
    stream_db: Option<u32>,
}

impl Rewrite {
    fn run(&self, around_cut: AroundCut, image: &Arc<Image>, owner: &mut Owner<'static, Slot>) -> Ended {
        match self.make(around_cut, image, owner) {
            Ok(()) => Ended::Well,
            Err(error) => {
                if !self.node.persist.state().is_killed() {
                    log::warning!("Write error writing append only file on disk: {}", os_error::text(&error));
                }
                Ended::Badly
            }
        }
    }

    fn make(&self, around_cut: AroundCut, image: &Arc<Image>, owner: &mut Owner<'static, Slot>) -> io::Result<()> {
        let Rewrite { node, ref config, ref target, stream_db, .. } = *self;
        let opened = self.open(image);
        drop(around_cut);
        let (mut temporary, rest) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                image.cancel();
                // The walk must be done; nothing is written by it.
                let _ = walk(image, owner, &mut io::sink());
                return Err(error);
            }
        };
        {
            let incremental = config.aof_rewrite_incremental_fsync;
            let mut output = Output::new(node, &temporary.file, image, "Background AOF rewrite", incremental);
            match walk(image, owner, &mut output) {
                Ok(()) => {}
                Err(Failed::Write(error)) => return Err(error),
                Err(Failed::Void(why)) => return Err(io::Error::other(why)),
            }
            if let Some(db) = stream_db {
                let mut select = Vec::new();
                encode([&b"SELECT"[..], db.to_string().as_bytes()].into_iter(), &mut select);
                output.write_all(&select)?;
            }
            output.flush()?;
        }
        temporary.file.sync_all()?;
        log::notice!("Background AOF rewrite terminated with success");
        let Some(mut rest) = rest else {
            return take_name(node, &mut temporary, target)?.settle();
        };
        let begin = rest.at;
        loop {
            let end = node.persist.aof.with_tail(node, |tail| tail.as_ref().map(|tail| tail.len()));
            let Some(end) = end else { return Err(io::Error::other("the append only file was closed")) };
            if end.saturating_sub(rest.at) < SWITCH_BYTES || image_is_of_no_use(node) {
                break;
            }
            rest.copy(&temporary.file, end)?;
            temporary.file.sync_data()?;
        }
        let (base, old, renamed) = node.persist.aof.switch(node, |tail| {
            let Some(tail) = tail else { return Err(io::Error::other("the append only file was closed")) };
            tail.write(&node.oplog).map_err(|error| match error {
                Error::Io(error) => error,
                Error::Lost => io::Error::other("the log began anew"),
            })?;
            node.latency.watch(&["aof-rewrite-diff-write"], || rest.copy(&temporary.file, tail.len()))?;
            temporary.file.sync_all()?;
            let len = temporary.file.metadata()?.len();
            let file = File::options().read(true).append(true).open(temporary.path())?;
            let was_provisional = tail.provisional.then(|| tail.path().to_owned());
            let renamed = take_name(node, &mut temporary, target)?;
            // From here on the new file is the AOF, whatever else fails.
            let old = tail
                .adopt(&node.oplog, file, target.clone(), len)
                .map_err(|_| io::Error::other("the log began anew"))?;
            if let Some(path) = was_provisional {
                // Its content is in the new file.
                let _ = std::fs::remove_file(path);
            }
            node.persist.aof.rewritten(node, len);
            renamed.settle()?;
            Ok((len, old, renamed))
        })?;
        // What it takes to let go of the old file, nobody waits for.
        drop((old, renamed, rest.file));
        let copied = (rest.at - begin) as f64 / f64::from(1 << 20);
        log::notice!("Residual parent diff successfully flushed to the rewritten AOF ({copied:.2} MB)");
        log::verbose!("The append only file has {base} bytes now");
        Ok(())
    }

    fn open(&self, image: &Arc<Image>) -> io::Result<(Temporary, Option<Rest>)> {
        let node = self.node;
        let temporary = node.persist.create_temporary(&self.temporary)?;
        let rest = node.persist.aof.with_tail(node, |tail| {
            tail.as_ref().map(|tail| {
                // Not by its name, which may mean another file by now: the directory can be changed.
                let at = tail.position_at(&node.oplog, image.place());
                tail.duplicate().map(|file| Rest { file, at })
            })
        });
        Ok((temporary, rest.transpose()?))
    }
}

fn image_is_of_no_use(node: &Node) -> bool {
    node.persist.state().is_killed()
}

fn take_name(node: &Node, temporary: &mut Temporary, target: &Path) -> io::Result<Renamed> {
    node.persist.unless_killed(false, || node.latency.watch(&["aof-rename"], || temporary.take_name(target)))
}

impl Rest {
    /// Copies up to `end` of the old file to the end of `to`.
    fn copy(&mut self, to: &File, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut to = to;
        while self.at < end {
            let len = buffer.len().min((end - self.at) as usize);
            self.file.read_exact_at(&mut buffer[..len], self.at)?;
            to.write_all(&buffer[..len])?;
            self.at += len as u64;
        }
        Ok(())
    }
}

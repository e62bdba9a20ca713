//! RDB files: in the foreground, in the background, and the empty one that FLUSHALL leaves.

use super::file::{Output, Temporary};
use super::job::{self, Busy, Ended, Kind};
use super::names::here;
use super::{Logged, gate};
use crate::config::{Config, REDIS_VERSION};
use crate::node::Node;
use crate::repl::note::Note;
use crate::{log, memory, os_error, rdb_file};
use engine::keyspace::Keyspace;
use engine::raw::lock::Owner;
use engine::slot::Slot;
use engine::snapshot::{Failed, Image, walk};
use persistence::rdb::file::Writer;
use persistence::rdb::image::RdbFormat;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

fn dir() -> String {
    std::env::current_dir().map_or_else(|_| "unknown".into(), |dir| dir.display().to_string())
}

/// Saves in the foreground; all slots are held. Says in the log why it could not.
pub fn foreground(node: &Node, config: &Config, keys: &mut Keyspace<'_, '_>) -> Result<(), Logged> {
    keys.hold_all();
    let dirty = node.changes_ever();
    match rdb_file::save(node, config, keys) {
        Ok(()) => {
            log::notice!("DB saved on disk");
            let mut state = node.persist.state();
            state.saved(Some(dirty));
            node.persist.show_save(&state);
            Ok(())
        }
        Err(error) => {
            log_failure(config, &error);
            Err(Logged)
        }
    }
}

fn log_failure(config: &Config, error: &io::Error) {
    let (error, name) = (os_error::text(error), config.dbfilename.display());
    log::warning!("Failed saving the RDB file {name} (in server root dir {}): {error}", dir());
    log::warning!("Write error saving DB on disk: {error}");
}

/// Begins to save in the background; all slots are held.
pub fn begin(node: &'static Node, keys: &mut Keyspace<'_, '_>) -> Result<(), Busy> {
    let config = node.config();
    let compress = config.rdbcompression;
    keys.hold_all();
    let temporary = here(format!("temp-{}-bg.rdb", std::process::id()));
    let (target, note) = (here(&config.dbfilename), Note::of(node, keys));
    let about = About { temporary, target, used: memory::used(node), note };
    job::begin(
        node,
        keys,
        Kind::Save,
        move || Box::new(RdbFormat::new(compress)),
        move |image, owner| background(node, &config, image, owner, &about),
    )?;
    node.persist.state().save_scheduled = false;
    log::notice!("Background saving started by pid {}", std::process::id());
    Ok(())
}

/// Where a file is to be, and what is written at its head.
struct About {
    temporary: PathBuf,
    target: PathBuf,
    used: u64,
    note: Option<Note>,
}

fn background(
    node: &'static Node,
    config: &Config,
    image: &Arc<Image>,
    owner: &mut Owner<'static, Slot>,
    about: &About,
) -> Ended {
    let mut temporary = match node.persist.create_temporary(&about.temporary) {
        Ok(temporary) => temporary,
        Err(error) => {
            image.cancel();
            // The walk must be done; nothing is written by it.
            let _ = walk(image, owner, &mut io::sink());
            if !node.persist.state().is_killed() {
                log_failure(config, &error);
            }
            return Ended::Badly;
        }
    };
    let result = write(node, config, image, owner, &temporary, about).and_then(|()| {
        let renamed = node.persist.unless_killed(true, || temporary.take_name(&about.target))?;
        renamed.settle()
    });
    match result {
        Ok(()) => {
            log::notice!("DB saved on disk");
            Ended::Well
        }
        Err(error) => {
            if node.persist.state().is_killed() {
                node.latency.watch(&["rdb-unlink-temp-file"], || drop(temporary));
            } else {
                log_failure(config, &error);
            }
            Ended::Badly
        }
    }
}

fn write(
    node: &'static Node,
    config: &Config,
    image: &Arc<Image>,
    owner: &mut Owner<'static, Slot>,
    temporary: &Temporary,
    about: &About,
) -> io::Result<()> {
    let output = Output::new(node, &temporary.file, image, "Background saving", true);
    let mut writer = Writer::new(output, config.rdbcompression, config.rdbchecksum);
    writer.encoder.header(REDIS_VERSION, image.now_ms() / 1000, about.used);
    if let Some(note) = &about.note {
        note.write(image.offset(), &mut writer.encoder);
    }
    match walk(image, owner, &mut writer) {
        Ok(()) => {}
        Err(Failed::Write(error)) => return Err(error),
        Err(Failed::Void(why)) => return Err(io::Error::other(why)),
    }
    writer.finish()?.flush()?;
    temporary.file.sync_all()
}

/// All keys were removed; what is left to do about the file.
pub struct Flushed {
    /// How many RDB files had got their names.
    named: u64,
}

/// FLUSHALL was carried out, and all slots are still held: a save that is under way is of no use.
#[cold]
pub fn flushed(node: &Node) -> Option<Flushed> {
    if node.persist.gate.has(gate::LOADING) {
        return None;
    }
    let mut state = node.persist.state();
    state.kill(Kind::Save);
    Some(Flushed { named: state.named })
}

/// With save points the file is emptied too; no slot is held for that. A file that was saved since is newer.
#[cold]
pub fn after_flushall(node: &Node, flushed: &Flushed) {
    let config = node.config();
    if config.save.is_empty() {
        return;
    }
    let _lock = node.persist.names.lock();
    if node.persist.state().named != flushed.named {
        return;
    }
    match write_empty(node, &config) {
        Ok(()) => {
            log::notice!("DB saved on disk");
            let mut state = node.persist.state();
            state.named += 1;
            state.saved(None);
            node.persist.show_save(&state);
        }
        Err(error) => log_failure(&config, &error),
    }
}

fn write_empty(node: &Node, config: &Config) -> io::Result<()> {
    let mut temporary = Temporary::create(format!("temp-{}-empty.rdb", std::process::id()).into())?;
    let mut writer = Writer::new(&temporary.file, config.rdbcompression, config.rdbchecksum);
    writer.encoder.header(REDIS_VERSION, job::now_s(), memory::used(node));
    writer.finish()?.sync_all()?;
    temporary.rename(&config.dbfilename)
}

//! The RDB file: all keys written by a thread that holds all slots, and read back into them.
//!
//! A file takes the old one's place in one step, once all of it is on disk.

use crate::config::{Config, REDIS_VERSION};
use crate::memory;
use crate::node::Node;
use crate::node::settings_of;
use crate::persist::Temporary;
use crate::repl::note::{Found, Note};
use engine::clock::Now;
use engine::keyspace::Keyspace;
use persistence::rdb::RdbError;
use persistence::rdb::decode::Limits;
use persistence::rdb::file::Writer;
use persistence::rdb::load::{Event, LoadOptions, Loader};
use std::fs::File;
use std::io::{self, BufWriter};

/// What a file had in it.
#[derive(Default)]
pub struct Loaded {
    /// Number of keys.
    pub keys: u64,
    /// What it says of the stream.
    pub stream: Found,
}

/// Writes all keys to the file that the settings name, in the working directory. All slots must be held.
pub fn save(node: &Node, config: &Config, keys: &mut Keyspace<'_, '_>) -> io::Result<()> {
    let mut temporary = Temporary::create(format!("temp-{}.rdb", std::process::id()).into())?;
    write(node, config, keys, &temporary.file)?;
    let renamed = {
        let _lock = node.persist.names.lock();
        node.persist.state().named += 1;
        temporary.take_name(&config.dbfilename)?
    };
    renamed.settle()
}

fn write(node: &Node, config: &Config, keys: &mut Keyspace<'_, '_>, file: &File) -> io::Result<()> {
    let mut writer = Writer::new(BufWriter::new(file), config.rdbcompression, config.rdbchecksum);
    writer.encoder.header(REDIS_VERSION, keys.now().ms / 1000, memory::used(node));
    if let Some(note) = Note::of(node, keys) {
        note.write(node.oplog.end(), &mut writer.encoder);
    }
    let selected = keys.db();
    let mut result = Ok(());
    for db in 0..config.databases {
        keys.select(db);
        let (mut len, mut expiring) = (0, 0);
        keys.visit_slots(|_, slot| {
            len += slot.len();
            expiring += slot.expires_len();
        });
        if len == 0 {
            continue;
        }
        writer.encoder.database(db, len, expiring);
        keys.visit_slots(|_, slot| {
            for entry in slot.iter() {
                if result.is_ok() {
                    result = writer.entry(entry);
                }
            }
        });
    }
    keys.select(selected);
    result?;
    let file = writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// How the settings want an RDB file to be read at the moment `now`.
pub fn options(config: &Config, now: Now) -> LoadOptions {
    let settings = settings_of(config);
    LoadOptions {
        limits: Limits {
            hash: settings.hash,
            list_node: settings.list_node,
            set_max_intset_entries: settings.set_max_intset_entries,
            zset: settings.zset,
        },
        databases: config.databases,
        checksum: config.rdbchecksum,
        lru: now.lru(),
    }
}

/// Puts the keys of the file that the settings name among those that are there; keys past their expiry are left out
/// unless this is a replica.
pub fn load(config: &Config, keys: &mut Keyspace<'_, '_>) -> Result<Loaded, RdbError> {
    load_from(File::open(&config.dbfilename).map_err(RdbError::from)?, config, keys)
}

/// As [`load`], from `file`.
pub fn load_from(file: File, config: &Config, keys: &mut Keyspace<'_, '_>) -> Result<Loaded, RdbError> {
    restore(&mut Loader::new(file, options(config, keys.now()))?, keys)
}

/// As [`load`], from what `loader` reads.
pub fn restore(loader: &mut Loader<File>, keys: &mut Keyspace<'_, '_>) -> Result<Loaded, RdbError> {
    let (selected, now_ms) = (keys.db(), keys.now().ms);
    let mut found = Loaded::default();
    let loaded = loader.each(|event| {
        match event {
            Event::Entry(loaded) => {
                let entry = loaded.entry;
                if keys.is_replica() || entry.view().expire_at_ms().is_none_or(|at| at >= now_ms) {
                    keys.select(loaded.db);
                    keys.put_loaded(loaded.slot, loaded.hash, entry)
                        .map_err(|entry| format!("the key \"{}\" is there twice", entry.view().key().escape_ascii()))?;
                    found.keys += 1;
                }
            }
            Event::Skipped(what) => crate::log::warning!("The RDB file has {what}, which is left out"),
            Event::Aux { name, value } => found.stream.take(name, value),
            Event::Database(_) | Event::Sizes { .. } | Event::End { .. } => {}
        }
        Ok(())
    });
    keys.select(selected);
    loaded.map(|()| found)
}

//! The RDB file: all keys written by a thread that holds all slots, and read back into them.
//!
//! A file takes the old one's place in one step, once all of it is on disk.

use crate::config::{Config, REDIS_VERSION};
use crate::memory;
use crate::node::Node;
use commands::settings::Settings;
use engine::keyspace::{Key, Keyspace, SetExpire};
use persistence::rdb::decode::Limits;
use persistence::rdb::file::{Record, Writer, read};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::PathBuf;

/// Writes all keys to the file that the settings name, in the working directory. All slots must be held.
pub fn save(node: &Node, config: &Config, keys: &mut Keyspace<'_, '_>) -> io::Result<()> {
    let temporary = PathBuf::from(format!("temp-{}.rdb", std::process::id()));
    let written = write(node, config, keys, File::create(&temporary)?);
    let replaced = written.and_then(|()| fs::rename(&temporary, &config.dbfilename));
    if replaced.is_err() {
        // The error that matters is the one before.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

fn write(node: &Node, config: &Config, keys: &mut Keyspace<'_, '_>, file: File) -> io::Result<()> {
    let mut writer = Writer::new(BufWriter::new(file), config.rdbcompression, config.rdbchecksum);
    writer.aux("redis-ver", REDIS_VERSION.as_bytes());
    writer.aux("redis-bits", b"64");
    writer.aux("ctime", (keys.now().ms / 1000).to_string().as_bytes());
    writer.aux("used-mem", memory::used(node).to_string().as_bytes());
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
        writer.database(db, len, expiring);
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

/// Puts the keys of the file that the settings name among those that are there; keys past their expiry are left out
/// unless this is a replica. Returns the number of keys.
pub fn load(config: &Config, settings: &Settings, keys: &mut Keyspace<'_, '_>) -> Result<u64, persistence::rdb::Error> {
    let limits = Limits {
        hash: settings.hash,
        list_node: settings.list_node,
        set_max_intset_entries: settings.set_max_intset_entries,
        zset: settings.zset,
    };
    let (selected, now_ms) = (keys.db(), keys.now().ms);
    let mut count = 0;
    let loaded = read(File::open(&config.dbfilename)?, limits, |record| {
        match record {
            Record::Entry { db, .. } if db >= config.databases => {
                let databases = config.databases;
                return Err(format!("the data have a database {db}, but there are to be no more than {databases}"));
            }
            Record::Entry { db, key, body, expire_at_ms } => {
                if keys.is_replica() || expire_at_ms.is_none_or(|at| at >= now_ms) {
                    keys.select(db);
                    keys.put(&Key::new(key), body, expire_at_ms.map_or(SetExpire::Clear, SetExpire::At));
                    count += 1;
                }
            }
            Record::Ignored(what) => crate::log::warning!("The RDB file has {what}, which is left out"),
            Record::Aux { .. } | Record::Sizes { .. } => {}
        }
        Ok(())
    });
    keys.select(selected);
    loaded.map(|_| count)
}

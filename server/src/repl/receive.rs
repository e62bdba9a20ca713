//! A primary's image: into a file as it comes, or memory where there is no disk for it, and from there into the keyspaces.
//!
//! The old data are served until the new are whole: the image is read into slots of its own by a thread of its own,
//! and those take the place of the old ones while all slots are held. Where memory is short for both, the old go first.

use crate::config::Config;
use crate::log;
use crate::mailbox::Mail;
use crate::node::Node;
use crate::persist::{go_after_others, shrink_away};
use crate::rdb_file;
use crate::repl::link::News;
use crate::repl::{State, room};
use engine::clock::Now;
use engine::keyspace::{Keyspace, Local};
use engine::oplog::Consumer;
use engine::raw::lock::SlotLocks;
use engine::slot::Slot;
use replication::history::ReplId;
use replication::prologue::Prologues;
use rustix::fs::{MemfdFlags, memfd_create};
use slots::SlotId;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// An image on its way in.
pub struct Incoming {
    file: File,
    len: u64,
    /// In memory: so much of it may be taken.
    in_memory: Option<u64>,
}

impl Incoming {
    /// An empty one, in a file without a name in the working directory, or in memory if there can be none.
    pub fn create(config: &Config) -> io::Result<Incoming> {
        match on_disk() {
            Ok(file) => Ok(Incoming { file, len: 0, in_memory: None }),
            Err(error) => {
                let error = crate::os_error::text(&error);
                log::warning!("No temp file for MASTER <-> SLAVE synchronization ({error}): memory is used instead");
                Ok(Incoming { file: in_memory()?, len: 0, in_memory: Some(room::for_image(config)) })
            }
        }
    }

    /// Appends what has come. When the disk takes no more, memory does, as far as there is any to spare.
    pub fn add(&mut self, bytes: &[u8], config: &Config) -> io::Result<()> {
        self.check_room(bytes)?;
        match self.file.write_all_at(bytes, self.len) {
            Err(error) if self.in_memory.is_none() => {
                let error = crate::os_error::text(&error);
                log::warning!("The temp file for MASTER <-> SLAVE synchronization is no good ({error}): on in memory");
                self.in_memory = Some(room::for_image(config));
                self.check_room(bytes)?;
                let mut memory = in_memory()?;
                self.file.rewind()?;
                io::copy(&mut (&self.file).take(self.len), &mut memory)?;
                self.file = memory;
                self.file.write_all_at(bytes, self.len)?;
            }
            written => written?,
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Whether there is room for so much more.
    fn check_room(&self, bytes: &[u8]) -> io::Result<()> {
        match self.in_memory {
            Some(room) if self.len + bytes.len() as u64 > room => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// It is complete but for the `cut` last bytes, which are none of it: gives it to a thread that loads it and mails
    /// the outcome. `of` says of what it is an image.
    pub fn load(mut self, cut: usize, of: Option<(ReplId, u64)>, node: &'static Node, attempt: u64) -> io::Result<()> {
        self.file.set_len(self.len.saturating_sub(cut as u64))?;
        self.file.rewind()?;
        let file = self.file;
        let again = file.try_clone()?;
        let run = move || {
            go_after_others();
            let outcome = load(file, of, node, attempt);
            if let Some(reactor) = node.mailboxes.first() {
                reactor.send(Mail::Link(News::Loaded { attempt, outcome }));
            }
            shrink_away(&again);
        };
        crate::start::spawn("load", run).map(drop)
    }
}

fn on_disk() -> io::Result<File> {
    let path = PathBuf::from(format!("temp-primary-{}.rdb", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    // Open files need no name, and a crash leaves nothing behind.
    fs::remove_file(&path)?;
    Ok(file)
}

fn in_memory() -> io::Result<File> {
    Ok(memfd_create("image", MemfdFlags::CLOEXEC)?.into())
}

/// Whether the image is still wanted. The caller holds all slots, and the state's lock until what follows from the answer
/// is in the state: attempts begin at any time, for this thread may be held up for longer than a link waits. An attempt
/// may have begun after nobody was followed any more: the link hears of that later.
fn check_wanted(node: &Node, attempt: u64, state: &State) -> Result<(), String> {
    match node.repl.counts(attempt, state) {
        true => Ok(()),
        false if state.primary.is_none() => Err("no primary is followed any more".into()),
        false => Err("another attempt has begun".into()),
    }
}

/// Drops all keys; what was reached of the stream is reached no more.
fn empty(node: &'static Node, attempt: u64) -> Result<(), String> {
    let mut guest = node.guest();
    let mut held = guest.owner().wait_privileged();
    held.add_all();
    {
        let mut state = node.repl.state();
        check_wanted(node, attempt, &state)?;
        state.resumable = false;
    }
    let mut local = Local { is_replica: true, ..Local::default() };
    let garbage = {
        let mut keys = Keyspace::new(&mut held, &mut local, 0, Now::read());
        keys.flush(None);
        keys.garbage().take()
    };
    drop(held);
    // Here, so that the memory is there when the new data need it.
    drop(garbage);
    Ok(())
}

/// Reads the image and puts it in place of all keys. Returns the database that the stream behind it is in.
fn load(mut file: File, of: Option<(ReplId, u64)>, node: &'static Node, attempt: u64) -> Result<u32, String> {
    let config: &Config = &node.config();
    if let Some(why) = room::lack(&mut file, node, config).map_err(|error| error.to_string())? {
        log::warning!("MASTER <-> SLAVE sync: Flushing old data first, since old and new do not fit together: {why}");
        empty(node, attempt)?;
    }
    log::notice!("MASTER <-> SLAVE sync: Loading DB in memory");
    let fresh = SlotLocks::new(slots::SLOTS, Slot::default);
    let mut fresh_owner = fresh.register().ok_or("no owner of new slots")?;
    fresh_owner.go_alone();
    let mut fresh_slots = fresh_owner.nothing();
    // A replica keeps keys past their expiry until its primary says otherwise.
    let mut local = Local { is_replica: true, ..Local::default() };
    let loaded = {
        let mut keys = Keyspace::new(&mut fresh_slots, &mut local, 0, Now::read());
        rdb_file::load_from(file, config, &mut keys).map_err(|error| error.to_string())?
    };
    if !loaded.stream.fits(config) {
        return Err("it belongs to a stream that is in no database of this server".into());
    }
    log::notice!("MASTER <-> SLAVE sync: Flushing old data");
    let mut guest = node.guest();
    let mut held = guest.owner().wait_privileged();
    held.add_all();
    let stream_db = loaded.stream.stream_db.unwrap_or(0);
    {
        let mut state = node.repl.state();
        check_wanted(node, attempt, &state)?;
        let offset = of.map_or_else(|| node.oplog.end(), |(_, offset)| offset);
        node.oplog.restart(offset, stream_db);
        state.backlog_from = Some(offset);
        state.prologues = Prologues::default();
        (state.resumable, state.restarted) = (of.is_some(), false);
        let id = of.map_or_else(crate::start::random_id, |(id, _)| id);
        state.history.renew(id);
        node.oplog.want(Consumer::Replicas, true);
    }
    let garbage = {
        let mut keys = Keyspace::new(&mut held, &mut local, 0, Now::read());
        keys.flush(None);
        for id in SlotId::all() {
            keys.slot_mut(id).adopt(std::mem::take(fresh_slots.slot_mut(id)));
        }
        keys.garbage().take()
    };
    node.repl.end_stray();
    if loaded.stream.strayed {
        node.repl.strays();
    }
    node.persist.aof.log_restarted(node);
    drop(held);
    node.free_later(garbage);
    Ok(stream_db)
}

//! Whether memory is enough for the old data and the new at once, when an image has come.
//!
//! The new data take about what the primary says that its own take (the note `used-mem` of an image), or the image's
//! length, whichever is more. Old and new must fit below `maxmemory`; without one, the new data must fit into what the
//! system says is available. Else the old data go first, as they always do in 3.2.

use crate::config::Config;
use crate::node::Node;
use crate::rdb_file;
use engine::clock::Now;
use persistence::rdb::load::{Event, Loader};
use std::fs::{self, File};
use std::io::{self, Seek};

/// The note of Redis 3.2 and later with the memory in use where an image was made.
const USED_MEMORY: &[u8] = b"used-mem";

/// Why old and new data do not fit, if they do not. `file` is at its beginning before and after.
pub fn lack(file: &mut File, node: &Node, config: &Config) -> io::Result<Option<String>> {
    let needed = announced(file, config)?.max(file.metadata()?.len());
    let used = crate::memory::used(node);
    Ok(judge(used, needed, config.maxmemory, available()))
}

fn judge(used: u64, needed: u64, maxmemory: u64, available: Option<u64>) -> Option<String> {
    if maxmemory != 0 {
        let both = used.saturating_add(needed);
        return (both > maxmemory)
            .then(|| format!("{used} bytes are used, about {needed} come, maxmemory is {maxmemory}"));
    }
    let available = available.filter(|available| needed > *available)?;
    Some(format!("about {needed} bytes come, {available} are available"))
}

/// How much memory an image may take that no disk takes: it comes before the data that it holds, which take as much again.
pub fn for_image(config: &Config) -> u64 {
    let available = available().unwrap_or(u64::MAX) / 2;
    if config.maxmemory != 0 { available.min(config.maxmemory) } else { available }
}

/// What the primary says that its data take; 0 if it does not. Reads no more than the notes before the first key.
fn announced(file: &mut File, config: &Config) -> io::Result<u64> {
    let mut announced = 0;
    if let Ok(mut loader) = Loader::new(&*file, rdb_file::options(config, Now::read())) {
        // It ends with the first key, or with an error that loading will tell of.
        let _ = loader.each(|event| match event {
            Event::Aux { name: USED_MEMORY, value } => {
                announced = resp::parse_u64(value).unwrap_or(0);
                Ok(())
            }
            Event::Entry(_) => Err(String::new()),
            _ => Ok(()),
        });
    }
    file.rewind()?;
    Ok(announced)
}

/// Bytes that the system could give to programs.
fn available() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_fit_below_maxmemory_or_the_new_into_what_is_available() {
        assert!(judge(60, 40, 100, Some(1)).is_none());
        assert!(judge(60, 41, 100, Some(1000)).is_some());
        assert!(judge(60, 41, 0, Some(41)).is_none());
        assert!(judge(0, 41, 0, Some(40)).is_some());
        assert!(judge(60, u64::MAX, 0, None).is_none());
    }

    #[test]
    fn the_system_says_what_is_available() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}

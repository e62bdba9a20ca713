//! Elements that belong to a client which waits, and that could not be given to it yet.
//!
//! Who waits in BRPOPLPUSH gets its element together with the slot of the destination, and another thread may hold that slot
//! just then. Until it can be had, commands on the list come again, as they would have come after it in a Redis: nobody
//! takes or sees what is owed. A list is put down, and struck off, while its slot is held.

use commands::args::Args;
use commands::table::{Access, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lists, by database and name. There is hardly ever one.
#[derive(Default)]
pub struct Owed {
    count: AtomicUsize,
    lists: Mutex<Vec<(u32, Box<[u8]>)>>,
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Box<[u8]>)>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is owed.
    #[inline]
    pub fn is_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// An element of the list `key` of database `db` is owed.
    pub fn add(&self, db: u32, key: &[u8]) {
        self.lock().push((db, key.into()));
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// It is given away now.
    pub fn remove(&self, db: u32, key: &[u8]) {
        let mut lists = self.lock();
        if let Some(at) = lists.iter().position(|(list_db, list)| *list_db == db && **list == *key) {
            lists.swap_remove(at);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a command of database `db` must wait: one on such a list, and one that says only as it goes which keys it is
    /// about.
    #[cold]
    pub fn concerns<H>(&self, row: &Command<H>, args: &Args<'_>, db: u32) -> bool {
        let lists = self.lock();
        let owed = |key: &[u8]| lists.iter().any(|(list_db, list)| *list_db == db && **list == *key);
        !lists.is_empty()
            && (matches!(row.access, Access::Touch) || resp::key_positions(&row.spec, args).any(|i| owed(args.at(i))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resp::{Arg, Flags, KeySpec};

    fn concerns(owed: &Owed, access: Access, line: &str, db: u32) -> bool {
        let mut row = commands::table::command("x", -1, KeySpec::range(1, -1, 1), Flags::NONE, ());
        row.access = access;
        let mut ranges = Vec::new();
        for word in line.split(' ') {
            let start = ranges.last().map_or(0, |arg: &Arg| arg.start + arg.len + 1);
            ranges.push(Arg { start, len: word.len() as u32 });
        }
        owed.concerns(&row, &Args::new(line.as_bytes(), &ranges), db)
    }

    #[test]
    fn only_who_could_see_the_element_waits() {
        let owed = Owed::default();
        assert!(!owed.is_there() && !concerns(&owed, Access::Touch, "x", 0));
        owed.add(3, b"l");
        assert!(owed.is_there());
        assert!(concerns(&owed, Access::Keys, "x other l", 3));
        assert!(!concerns(&owed, Access::Keys, "x other l", 2));
        assert!(!concerns(&owed, Access::Keys, "x other", 3));
        assert!(concerns(&owed, Access::Touch, "x", 0));
        owed.remove(3, b"other");
        assert!(owed.is_there());
        owed.remove(3, b"l");
        assert!(!owed.is_there() && !concerns(&owed, Access::Keys, "x l", 3));
    }
}

//! The log's block for a script whose effects are replicated one by one: what its commands did, between MULTI and EXEC.

use commands::args::Args;
use engine::effects::{Effects, encode};
use engine::records::{Reach, Records};

/// Records of several commands, in order.
#[derive(Debug)]
pub struct Block {
    records: Records,
    /// The database in which the block begins and ends.
    home: u32,
    /// The one that a reader is in after the last record.
    db: u32,
    dirty: u64,
}

impl Block {
    /// Nothing yet; the log is in `home`.
    pub fn new(home: u32) -> Block {
        Block { records: Records::default(), home, db: home, dirty: 0 }
    }

    /// Adds what the command `args` did in database `db`, for `reach`.
    pub fn add(&mut self, effects: &mut Effects, db: u32, args: Args<'_>, reach: Reach) {
        let (before, was) = (self.records.mark(), self.db);
        if effects.has_records() && self.db != db {
            self.select(db);
        }
        let selected = self.records.mark();
        self.dirty += effects.drain(args.iter(), &mut self.records, reach);
        if self.records.mark() == selected {
            self.records.truncate(before);
            self.db = was;
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.records.capacity()
    }

    /// Makes it the record of the command that ran the others; nothing is no transaction.
    pub fn log(mut self, effects: &mut Effects) {
        if self.db != self.home {
            self.select(self.home);
        }
        effects.dirty += self.dirty;
        if self.records.is_empty() {
            effects.log_nothing();
        } else {
            effects.log_transaction(self.records);
        }
    }

    fn select(&mut self, db: u32) {
        self.records.push(Reach::All, |to| encode([&b"SELECT"[..], db.to_string().as_bytes()].into_iter(), to));
        self.db = db;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resp::Arg;

    fn add(block: &mut Block, effects: &mut Effects, db: u32, dirty: u64, reach: Reach) {
        effects.dirty = dirty;
        let arg = Arg { start: 0, len: 4 };
        block.add(effects, db, Args::new(b"INCR", &[arg]), reach);
    }

    /// What replicas get, and what the file gets.
    fn logged(effects: &Effects) -> [String; 2] {
        let mut to = Records::default();
        effects.records(std::iter::empty(), &mut to);
        [to.bytes(), &to.of_file()].map(|bytes| String::from_utf8_lossy(bytes).replace("\r\n", " "))
    }

    #[test]
    fn commands_of_other_databases_are_led_by_a_select() {
        let mut effects = Effects::default();
        effects.logging = true;
        let mut block = Block::new(9);
        add(&mut block, &mut effects, 9, 1, Reach::All);
        add(&mut block, &mut effects, 3, 0, Reach::All);
        add(&mut block, &mut effects, 5, 1, Reach::Nobody);
        add(&mut block, &mut effects, 4, 1, Reach::File);
        block.log(&mut effects);
        assert_eq!(effects.dirty, 3);
        assert_eq!(
            logged(&effects),
            [
                "*1 $5 MULTI *1 $4 INCR *2 $6 SELECT $1 4 *2 $6 SELECT $1 9 *1 $4 EXEC ",
                "*1 $5 MULTI *1 $4 INCR *2 $6 SELECT $1 4 *1 $4 INCR *2 $6 SELECT $1 9 *1 $4 EXEC "
            ]
        );
    }

    #[test]
    fn what_changed_nothing_is_no_transaction() {
        let mut effects = Effects::default();
        effects.logging = true;
        let mut block = Block::new(0);
        add(&mut block, &mut effects, 1, 0, Reach::All);
        block.log(&mut effects);
        assert!(!effects.has_records());
    }
}

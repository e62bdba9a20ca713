//! What a command did besides replying: changes counted, records for the oplog, events for subscribers.
//!
//! A handler reports; whoever ran it appends the records while the slots are still held and publishes the events after.
//! Nothing is stored when nobody wants it: the masks say so.
//!
//! What one command changed reaches its readers as one unit: several records of its own (SET and PEXPIREAT, the SREMs of
//! one SPOP) stand between MULTI and EXEC, in a frame that is here so that no command can forget it. So nobody downstream
//! sees, keeps or is cut off at the half of a command. Keys found expired or dropped before it are no part of it.

use crate::records::{KEPT_BYTES, Reach, Records};

/// The classes of keyspace events, as letters of `notify-keyspace-events`.
pub mod class {
    /// `g`: commands of no particular type.
    pub const GENERIC: u32 = 1 << 2;
    /// `$`: strings.
    pub const STRING: u32 = 1 << 3;
    /// `l`: lists.
    pub const LIST: u32 = 1 << 4;
    /// `s`: sets.
    pub const SET: u32 = 1 << 5;
    /// `h`: hashes.
    pub const HASH: u32 = 1 << 6;
    /// `z`: sorted sets.
    pub const ZSET: u32 = 1 << 7;
    /// `x`: a key expired.
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`: a key was evicted.
    pub const EVICTED: u32 = 1 << 9;
    /// `K`: publish on the key's channel.
    pub const KEYSPACE: u32 = 1 << 0;
    /// `E`: publish on the event's channel.
    pub const KEYEVENT: u32 = 1 << 1;
}

/// Events for which memory is kept.
const NOTICES_KEPT: usize = 1024;

/// One keyspace event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One of [`class`].
    pub class: u32,
    /// For example `lpush`.
    pub event: &'static str,
    /// The database.
    pub db: u32,
    /// The key.
    pub key: Box<[u8]>,
}

/// How the command goes into the log if it changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    /// As the client sent it.
    #[default]
    Verbatim,
    /// As the records that the handler gave.
    Instead,
}

/// The effects of one command.
#[derive(Default)]
pub struct Effects {
    /// Number of changes, as counted by `rdb_changes_since_last_save`.
    pub dirty: u64,
    /// Classes of events that somebody wants; 0 when nobody does.
    pub wanted: u32,
    /// FLUSHALL was carried out.
    pub flushed: bool,
    /// Whether the oplog wants records.
    pub logging: bool,
    /// Changes whose records a transaction or script keeps until it ends.
    kept_back: u64,
    form: Form,
    /// What stands in `before` is one transaction.
    framed: bool,
    /// The command as sent goes to replicas although it changed nothing.
    told: bool,
    /// What stands in `also` is for replicas only.
    also_told: bool,
    before: Records,
    instead: Vec<u8>,
    also: Vec<u8>,
    /// Records in `instead`, and in `also`.
    counts: [u32; 2],
    notices: Vec<Notice>,
}

/// Appends one command in RESP form.
pub fn encode<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>, to: &mut Vec<u8>) {
    let header = |kind: u8, n: usize, to: &mut Vec<u8>| {
        to.push(kind);
        resp::format_i64(n as i64, to);
        to.extend_from_slice(b"\r\n");
    };
    header(b'*', args.len(), to);
    for arg in args {
        header(b'$', arg.len(), to);
        // A buffer is not to become twice as large as a big one for the little that follows it.
        to.reserve(arg.len() + 2 + arg.len() / 16);
        to.extend_from_slice(arg);
        to.extend_from_slice(b"\r\n");
    }
}

/// What `write` adds as one unit.
fn frame(to: &mut Records, reach: Reach, write: impl FnOnce(&mut Records)) {
    to.push(reach, |to| to.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n"));
    write(to);
    to.push(reach, |to| to.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n"));
}

/// What replicas alone are told of does not reach further than all the command does.
fn told(reach: Reach) -> Reach {
    if matches!(reach, Reach::All | Reach::Replicas) { Reach::Replicas } else { Reach::Nobody }
}

impl Effects {
    /// Ready for the next command; keeps the masks, and the buffers' memory as far as it is little.
    pub fn reset(&mut self) {
        (self.dirty, self.kept_back) = (0, 0);
        self.flushed = false;
        self.clear_records();
        self.notices.clear();
        if self.records_memory() > KEPT_BYTES || self.notices.capacity() > NOTICES_KEPT {
            self.shrink();
        }
    }

    /// Gives back what a large command has needed.
    #[cold]
    fn shrink(&mut self) {
        self.before.clear_large();
        self.instead.shrink_to(0);
        self.also.shrink_to(0);
        self.notices.shrink_to(NOTICES_KEPT);
    }

    #[inline]
    fn clear_records(&mut self) {
        self.form = Form::Verbatim;
        (self.framed, self.told, self.also_told) = (false, false, false);
        self.before.clear();
        self.clear_own();
    }

    #[inline]
    fn clear_own(&mut self) {
        self.instead.clear();
        self.also.clear();
        self.counts = [0, 0];
    }

    /// Moves the records of one command of a transaction to `block`, for `reach`, and gets ready for the next one; counts
    /// and events stay with the transaction. A transaction within it has no MULTI and EXEC of its own, nor have several
    /// records of one command. Keys found expired are everybody's. Returns the number of changes.
    pub fn drain<'a>(
        &mut self,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        block: &mut Records,
        reach: Reach,
    ) -> u64 {
        if self.has_records() {
            block.extend(&self.before);
            self.write_own(args, block, reach);
        }
        self.clear_records();
        let dirty = std::mem::take(&mut self.dirty);
        self.kept_back += dirty;
        dirty
    }

    /// Whether the log has all changes that were made so far: it has those of a command, a transaction, a script only when
    /// that ends. Until then the keys are those of no offset.
    pub fn are_logged(&self) -> bool {
        self.dirty == 0 && self.kept_back == 0
    }

    /// Logs records that are encoded already as one transaction, instead of the command as sent, whether or not that
    /// changed anything.
    pub fn log_transaction(&mut self, block: Records) {
        self.form = Form::Instead;
        self.framed = true;
        if self.before.is_empty() {
            self.before = block;
        } else {
            self.before.extend(&block);
        }
    }

    /// Forgets how a command of a script wanted to be logged: the script is logged as a whole. Keys found expired stay,
    /// and what was to be told to replicas is told by the script.
    pub fn log_verbatim(&mut self) {
        self.form = Form::Verbatim;
        self.told |= self.also_told;
        self.also_told = false;
        self.clear_own();
    }

    /// Reports an event on `key`.
    #[inline]
    pub fn notify(&mut self, class: u32, event: &'static str, db: u32, key: &[u8]) {
        if self.wanted & class != 0 {
            self.notices.push(Notice { class, event, db, key: key.into() });
        }
    }

    /// Logs `args` before the command itself, whether or not that changes anything: a key found expired.
    pub fn log_before(&mut self, args: &[&[u8]]) {
        if self.logging {
            self.before.push(Reach::All, |to| encode(args.iter().copied(), to));
        }
    }

    /// Logs records that are encoded already before the command itself, whether or not that changes anything.
    pub fn log_all_before(&mut self, block: &Records) {
        self.before.extend(block);
    }

    /// Memory that records of [`Effects::log_before`] take.
    pub fn bytes_before(&self) -> u64 {
        self.before.capacity() as u64
    }

    /// Logs `args` instead of the command as the client sent it; may be called several times.
    pub fn log_instead(&mut self, args: &[&[u8]]) {
        self.form = Form::Instead;
        if self.logging {
            self.counts[0] += 1;
            encode(args.iter().copied(), &mut self.instead);
        }
    }

    /// Logs `args`, a command that the one as sent has called, in its place, unless that has asked for other records.
    pub fn log_called<'a>(&mut self, args: impl ExactSizeIterator<Item = &'a [u8]>) {
        if self.form == Form::Verbatim {
            self.form = Form::Instead;
            if self.logging {
                self.counts[0] += 1;
                encode(args, &mut self.instead);
            }
        }
    }

    /// Logs nothing for the command as sent, though it changes something.
    pub fn log_nothing(&mut self) {
        self.form = Form::Instead;
    }

    /// Logs `args` after the command itself.
    pub fn log_also(&mut self, args: &[&[u8]]) {
        if self.logging {
            self.counts[1] += 1;
            encode(args.iter().copied(), &mut self.also);
        }
    }

    /// Tells replicas, and nobody else, of `args` after the command itself: what they carry out again, and what a file
    /// need not repeat.
    pub fn tell_replicas(&mut self, args: &[&[u8]]) {
        if self.logging {
            self.also_told = true;
            self.counts[1] += 1;
            encode(args.iter().copied(), &mut self.also);
        }
    }

    /// Whether the command as sent is to be logged.
    pub fn is_logged_as_sent(&self) -> bool {
        self.logging && self.form == Form::Verbatim && (self.dirty > 0 || self.told)
    }

    /// Whether [`Effects::records`] would have something to say.
    #[inline]
    pub fn has_records(&self) -> bool {
        self.logging && (self.dirty > 0 || self.framed || self.told || !self.before.is_empty() || !self.also.is_empty())
    }

    /// About how many bytes [`Effects::records`] will add, not less, when the command as the client sent it has `args`
    /// arguments in `span` bytes.
    #[inline]
    pub fn records_bytes(&self, args: usize, span: usize) -> usize {
        /// What stands around a transaction, and around the arguments.
        const FRAMES: usize = 128;
        let own = if self.form == Form::Verbatim { span + args * 16 } else { self.instead.len() };
        self.before.bytes().len() + own + self.also.len() + FRAMES
    }

    /// Bytes of memory that the records take here.
    #[inline]
    pub fn records_memory(&self) -> usize {
        self.before.capacity() + self.instead.capacity() + self.also.capacity()
    }

    /// All records in order, for one append; `args` is the command as the client sent it.
    pub fn records<'a>(&self, args: impl ExactSizeIterator<Item = &'a [u8]>, to: &mut Records) {
        if self.framed {
            frame(to, Reach::All, |to| to.extend(&self.before));
        } else {
            to.extend(&self.before);
        }
        match self.own_count() {
            0 | 1 => self.write_own(args, to, Reach::All),
            _ => frame(to, self.own_reach(Reach::All), |to| self.write_own(args, to, Reach::All)),
        }
    }

    /// Records of the command's own.
    #[inline]
    fn own_count(&self) -> u32 {
        let [instead, also] = self.counts;
        let main = if self.form == Form::Verbatim { 1 } else { instead };
        also + if self.has_main() { main } else { 0 }
    }

    /// Whether there is more than what stands before and after.
    #[inline]
    fn has_main(&self) -> bool {
        self.dirty > 0 || self.told
    }

    /// Whom the command's own records reach of those whom `reach` names.
    fn own_reach(&self, reach: Reach) -> Reach {
        if self.dirty > 0 || !self.told && !self.also_told { reach } else { told(reach) }
    }

    fn write_own<'a>(&self, args: impl ExactSizeIterator<Item = &'a [u8]>, to: &mut Records, reach: Reach) {
        if self.has_main() {
            to.push(if self.dirty > 0 { reach } else { told(reach) }, |to| match self.form {
                Form::Verbatim => encode(args, to),
                Form::Instead => to.extend_from_slice(&self.instead),
            });
        }
        to.push(if self.also_told { told(reach) } else { reach }, |to| to.extend_from_slice(&self.also));
    }

    /// The events since the last reset.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(effects: &Effects) -> String {
        let mut to = Records::default();
        effects.records([&b"SPOP"[..], b"s"].into_iter(), &mut to);
        String::from_utf8(to.of_file()).expect("text")
    }

    #[test]
    fn a_command_is_logged_verbatim_only_when_it_changed_something() {
        let mut effects = Effects { logging: true, ..Effects::default() };
        assert!(!effects.has_records());
        effects.dirty = 1;
        assert_eq!(records(&effects), "*2\r\n$4\r\nSPOP\r\n$1\r\ns\r\n");
        effects.log_instead(&[b"SREM", b"s", b"m"]);
        assert_eq!(records(&effects), "*3\r\n$4\r\nSREM\r\n$1\r\ns\r\n$1\r\nm\r\n");
        effects.log_before(&[b"DEL", b"x"]);
        assert!(records(&effects).starts_with("*2\r\n$3\r\nDEL\r\n$1\r\nx\r\n*3"));
        effects.reset();
        assert!(!effects.has_records());
    }

    #[test]
    fn several_records_of_one_command_are_one_unit() {
        let mut effects = Effects { logging: true, ..Effects::default() };
        effects.dirty = 1;
        effects.log_before(&[b"D"]);
        effects.log_instead(&[b"S"]);
        assert_eq!(records(&effects), "*1\r\n$1\r\nD\r\n*1\r\n$1\r\nS\r\n");
        effects.log_instead(&[b"P"]);
        let own = "*1\r\n$1\r\nS\r\n*1\r\n$1\r\nP\r\n";
        let framed = format!("*1\r\n$1\r\nD\r\n*1\r\n$5\r\nMULTI\r\n{own}*1\r\n$4\r\nEXEC\r\n");
        assert_eq!(records(&effects), framed);
        // Within a transaction it is that one's.
        let mut block = Records::default();
        effects.drain(std::iter::empty(), &mut block, Reach::All);
        assert_eq!(block.bytes(), format!("*1\r\n$1\r\nD\r\n{own}").as_bytes());
        // What was counted is over with it; the command as sent counts as well.
        effects.dirty = 1;
        assert_eq!(records(&effects), "*2\r\n$4\r\nSPOP\r\n$1\r\ns\r\n");
        effects.log_also(&[b"P"]);
        assert!(records(&effects).starts_with("*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nSPOP"));
        // Two records that replicas alone are told of are no business of a file.
        effects.reset();
        effects.tell_replicas(&[b"P"]);
        effects.tell_replicas(&[b"Q"]);
        assert_eq!(records(&effects), "");
    }

    #[test]
    fn a_transaction_is_framed_once() {
        let mut effects = Effects { logging: true, ..Effects::default() };
        let mut inner = Records::default();
        inner.push(Reach::All, |to| to.extend_from_slice(b"+x\r\n"));
        effects.log_transaction(inner);
        assert_eq!(records(&effects), "*1\r\n$5\r\nMULTI\r\n+x\r\n*1\r\n$4\r\nEXEC\r\n");
        let mut block = Records::default();
        effects.drain(std::iter::empty(), &mut block, Reach::All);
        assert_eq!(block.bytes(), b"+x\r\n");
        effects.log_transaction(Records::default());
        assert!(effects.has_records());
    }

    #[test]
    fn what_a_script_published_is_told_to_replicas_by_the_script() {
        let mut effects = Effects { logging: true, ..Effects::default() };
        effects.tell_replicas(&[b"PUBLISH", b"c", b"m"]);
        let mut to = Records::default();
        effects.records(std::iter::empty(), &mut to);
        assert!(to.of_file().is_empty() && !to.bytes().is_empty());
        effects.log_verbatim();
        assert!(effects.is_logged_as_sent());
        to.clear();
        effects.records([&b"EVAL"[..]].into_iter(), &mut to);
        assert_eq!((to.bytes(), to.of_file().is_empty()), (&b"*1\r\n$4\r\nEVAL\r\n"[..], true));
        effects.dirty = 1;
        assert_eq!(records(&effects), "*2\r\n$4\r\nSPOP\r\n$1\r\ns\r\n");
    }

    #[test]
    fn a_key_found_expired_is_told_to_all_whatever_a_script_says() {
        let mut effects = Effects { logging: true, ..Effects::default() };
        for (reach, bytes, file) in [(Reach::Nobody, "D", "D"), (Reach::File, "D", "DC"), (Reach::Replicas, "DC", "D")]
        {
            effects.dirty = 1;
            effects.before.push(Reach::All, |to| to.push(b'D'));
            effects.form = Form::Instead;
            effects.instead.push(b'C');
            let mut block = Records::default();
            assert_eq!(effects.drain(std::iter::empty(), &mut block, reach), 1);
            assert_eq!((block.bytes(), &block.of_file()[..]), (bytes.as_bytes(), file.as_bytes()));
        }
    }

    #[test]
    fn a_large_record_takes_its_own_size_and_leaves_nothing_behind() {
        const LARGE: usize = 10 << 20;
        let large = vec![b'x'; LARGE];
        let is_about = |bytes: usize| (LARGE..LARGE + LARGE / 8).contains(&bytes);
        let mut to = Vec::new();
        encode([&b"SET"[..], b"k", &large, b"EX", b"1"].into_iter(), &mut to);
        assert!(is_about(to.capacity()), "{}", to.capacity());
        let mut effects = Effects { logging: true, ..Effects::default() };
        let mut block = Records::default();
        block.push(Reach::All, |to| to.extend_from_slice(&large));
        effects.log_transaction(block);
        let bytes = effects.records_bytes(1, 4);
        assert!(is_about(bytes) && is_about(effects.records_memory()));
        let mut records = Records::default();
        records.reserve(bytes);
        effects.records([&b"EXEC"[..]].into_iter(), &mut records);
        assert!(records.bytes().len() <= bytes && is_about(records.capacity()), "{}", records.capacity());
        records.clear_large();
        effects.reset();
        assert!(records.capacity() <= KEPT_BYTES && effects.records_memory() <= KEPT_BYTES);
        effects.dirty = 1;
        effects.log_instead(&[b"SET", b"k", &large]);
        effects.log_also(&[b"SET", b"l", &large]);
        effects.log_before(&[b"DEL", &large]);
        assert!(effects.records_memory() > 3 * LARGE);
        effects.reset();
        assert!(effects.records_memory() <= KEPT_BYTES, "{}", effects.records_memory());
    }

    #[test]
    fn unwanted_events_are_not_stored() {
        let mut effects = Effects { wanted: class::SET, ..Effects::default() };
        effects.notify(class::LIST, "lpush", 0, b"k");
        effects.notify(class::SET, "sadd", 0, b"k");
        assert_eq!(effects.notices().len(), 1);
    }
}

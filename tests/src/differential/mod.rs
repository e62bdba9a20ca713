//! Random commands to two servers: ours and a peer. Every reply must be equal, and so must be all values at the end.
//!
//! * `grammar.rs`, `words.rs`: the commands, from a seed alone.
//! * `compare.rs`: when replies count as equal.
//!
//! Commands whose replies are comparable go out in pipelines; those that draw lots go one by one, and where ours has popped
//! members at random the peer is told which ones, so that the two stay equal. What one dumps the other restores. A sequence that fails is shrunk by leaving out
//! commands while it still fails.

mod compare;
mod grammar;
mod words;

pub use compare::show_command;
pub use grammar::{Command, sequence};

use crate::known_differences::{Explained, Rule, explained, refused_by_ours};
use crate::{Client, encode};
use compare::{How, show};
use resp::Reply;
use std::fmt;

/// Longest iteration of a SCAN command, in calls.
const SCAN_CALLS_MAX: usize = 100_000;

/// Two servers and the differences allowed between them.
pub struct Pair<'a> {
    /// Ours.
    pub ours: Client,
    /// The peer.
    pub peer: Client,
    /// Known differences.
    pub rules: &'a [Rule],
}

/// Why a run ended early.
#[derive(Debug)]
enum Stop {
    /// A known difference after which the keyspaces are not the same.
    Parted,
    /// A difference that no rule explains.
    Differs(Difference),
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The command, for people.
    pub command: String,
    /// What ours replied.
    pub ours: String,
    /// What the peer replied.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  ours: {}\n  peer: {}", self.command, self.ours, self.theirs)
    }
}

impl Pair<'_> {
    /// Runs a sequence on empty servers. The first difference is the error.
    pub fn run(&mut self, commands: &[Command]) -> Result<(), Difference> {
        self.reset();
        match self.run_all(commands) {
            Ok(()) | Err(Stop::Parted) => Ok(()),
            Err(Stop::Differs(difference)) => Err(difference),
        }
    }

    /// The shortest sequence found, by leaving out commands of `commands`, that still differs, and its difference.
    pub fn shrink(&mut self, commands: &[Command], difference: Difference) -> (Vec<Command>, Difference) {
        let (mut shortest, mut difference) = (commands.to_vec(), difference);
        let mut piece = shortest.len().div_ceil(2);
        loop {
            let mut at = 0;
            let before = shortest.len();
            while at < shortest.len() {
                let mut shorter = shortest.clone();
                shorter.drain(at..(at + piece).min(shortest.len()));
                match self.run(&shorter) {
                    Err(found) => (shortest, difference) = (shorter, found),
                    Ok(()) => at += piece,
                }
            }
            if piece == 1 && shortest.len() == before {
                return (shortest, difference);
            }
            piece = (piece / 2).max(1);
        }
    }

    fn run_all(&mut self, commands: &[Command]) -> Result<(), Stop> {
        let mut batch = Vec::new();
        for command in commands {
            let how = How::of(command);
            let refusal = refused_by_ours(self.rules, command);
            if refusal.is_none() && !matches!(how, How::Pop | How::Draw | How::RandomKey | How::Scan(_) | How::Dump) {
                batch.push(command.clone());
                continue;
            }
            self.run_batch(&batch)?;
            batch.clear();
            match (refusal, how) {
                (Some(text), _) => self.refused(command, &text)?,
                (None, How::Pop) => self.pop(command)?,
                (None, How::Dump) => self.swap(command)?,
                (None, How::Scan(cursor)) => self.scan(command, cursor)?,
                (None, _) => self.draw(command)?,
            }
        }
        self.run_batch(&batch)?;
        self.compare_values()
    }

    fn reset(&mut self) {
        for client in [&mut self.ours, &mut self.peer] {
            // A sequence that was cut short may have left a transaction or watches.
            client.run("DISCARD");
            for line in ["UNWATCH", "CLIENT SETNAME \"\"", "FLUSHALL", "SELECT 0"] {
                let reply = client.run(line);
                assert_eq!(reply, Reply::Simple(b"OK".to_vec()), "{line}");
            }
        }
    }

    fn run_batch(&mut self, commands: &[Command]) -> Result<(), Stop> {
        let mut request = Vec::new();
        commands.iter().for_each(|command| encode(command, &mut request));
        for client in [&mut self.ours, &mut self.peer] {
            client.send(&request).unwrap_or_else(|error| panic!("a server does not take commands: {error}"));
        }
        let mut first = Ok(());
        for command in commands {
            // All replies are read even after a difference: the connections are used again.
            let ours = read("ours", &mut self.ours, command);
            let theirs = read("the peer", &mut self.peer, command);
            if first.is_ok() {
                first = self.check(command, How::of(command), &ours, &theirs);
            }
        }
        first
    }

    fn check(&self, command: &Command, how: How, ours: &Reply, theirs: &Reply) -> Result<(), Stop> {
        if how.equal(ours, theirs) {
            return Ok(());
        }
        match explained(self.rules, command, ours, theirs) {
            Explained::Yes => Ok(()),
            Explained::Parted => Err(Stop::Parted),
            Explained::No => Err(Stop::Differs(Difference {
                command: show_command(command),
                ours: show(ours),
                theirs: show(theirs),
            })),
        }
    }

    fn refused(&mut self, command: &Command, text: &str) -> Result<(), Stop> {
        let ours = self.ours.call(command);
        self.check(command, How::Exact, &ours, &Reply::Error(text.as_bytes().to_vec()))
    }

    /// SPOP: the peer removes by name what ours has popped.
    fn pop(&mut self, command: &Command) -> Result<(), Stop> {
        let ours = self.ours.call(command);
        let popped: Vec<Vec<u8>> = match &ours {
            Reply::Bulk(Some(member)) => vec![member.clone()],
            Reply::Array(Some(members)) if !members.is_empty() => members.iter().filter_map(text).collect(),
            _ => {
                let theirs = self.peer.call(command);
                return self.check(command, How::Exact, &ours, &theirs);
            }
        };
        let Reply::Int(card) = self.peer.call(&[b"SCARD".as_slice(), &command[1]]) else {
            return self.check(command, How::Exact, &ours, &Reply::Simple(b"(no set)".to_vec()));
        };
        let wanted = command.get(2).and_then(|count| resp::parse_i64(count)).unwrap_or(1).min(card);
        let mut removal = vec![b"SREM".to_vec(), command[1].clone()];
        removal.extend(popped.iter().cloned());
        let removed = self.peer.call(&removal);
        let expected = Reply::Int(wanted);
        self.check(command, How::Exact, &Reply::Int(popped.len() as i64), &expected)?;
        self.check(&removal, How::Exact, &expected, &removed)
    }

    /// DUMP: each server stores in place of its own value what the other has made of it, so that they stay equal if both
    /// have understood.
    fn swap(&mut self, command: &Command) -> Result<(), Stop> {
        let (ours, theirs) = (self.ours.call(command), self.peer.call(command));
        let (Reply::Bulk(Some(from_ours)), Reply::Bulk(Some(from_peer)), [_, key]) = (&ours, &theirs, &command[..])
        else {
            return self.check(command, How::Exact, &ours, &theirs);
        };
        let restore =
            |payload: &Vec<u8>| [b"RESTORE", &key[..], b"0", payload, b"REPLACE"].map(<[u8]>::to_vec).to_vec();
        let (here, there) = (restore(from_peer), restore(from_ours));
        let (ours, theirs) = (self.ours.call(&here), self.peer.call(&there));
        self.check(&here, How::Exact, &ours, &theirs)?;
        self.check(&here, How::Exact, &ours, &Reply::Simple(b"OK".to_vec()))
    }

    /// SRANDMEMBER and RANDOMKEY: what ours draws must be there; how much it draws is checked against the peer.
    fn draw(&mut self, command: &Command) -> Result<(), Stop> {
        let (ours, theirs) = (self.ours.call(command), self.peer.call(command));
        let drawn: Vec<Vec<u8>> = match (&ours, &theirs) {
            (Reply::Bulk(Some(member)), Reply::Bulk(Some(_))) => vec![member.clone()],
            (Reply::Array(Some(ours)), Reply::Array(Some(theirs))) if ours.len() == theirs.len() => {
                ours.iter().filter_map(text).collect()
            }
            _ => return self.check(command, How::Exact, &ours, &theirs),
        };
        for member in &drawn {
            let question = match command.get(1) {
                Some(key) if How::of(command) == How::Draw => vec![b"SISMEMBER".to_vec(), key.clone(), member.clone()],
                _ => vec![b"EXISTS".to_vec(), member.clone()],
            };
            let there = self.peer.call(&question);
            self.check(&question, How::Exact, &Reply::Int(1), &there)?;
        }
        let counted = command.get(2).and_then(|count| resp::parse_i64(count));
        if counted.is_some_and(|count| count > 0) {
            let mut distinct = drawn.clone();
            distinct.sort();
            distinct.dedup();
            let all_distinct = |count: usize| Reply::Int(count as i64);
            self.check(command, How::Exact, &all_distinct(distinct.len()), &all_distinct(drawn.len()))?;
        }
        Ok(())
    }

    fn scan(&mut self, command: &Command, cursor: usize) -> Result<(), Stop> {
        let ours = iterate(&mut self.ours, command, cursor);
        let theirs = iterate(&mut self.peer, command, cursor);
        self.check(command, How::Exact, &ours, &theirs)
    }

    /// All values of the databases used.
    fn compare_values(&mut self) -> Result<(), Stop> {
        for database in ["0", "1", "2"] {
            self.run_batch(&[line(&["SELECT", database]), line(&["DBSIZE"]), line(&["KEYS", "*"])])?;
            let Reply::Array(Some(keys)) = self.peer.call(&["KEYS", "*"]) else { continue };
            let mut commands = Vec::new();
            for key in keys.iter().filter_map(text) {
                let kind = self.peer.call(&[b"TYPE".as_slice(), &key]);
                let reader: &[&[u8]] = match &kind {
                    Reply::Simple(kind) => match kind.as_slice() {
                        b"list" => &[b"LRANGE", &key, b"0", b"-1"],
                        b"set" => &[b"SMEMBERS", &key],
                        b"zset" => &[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"],
                        b"hash" => &[b"HGETALL", &key],
                        _ => &[b"GET", &key],
                    },
                    _ => continue,
                };
                commands.push(vec![b"TYPE".to_vec(), key.clone()]);
                commands.push(reader.iter().map(|arg| arg.to_vec()).collect());
                commands.push(vec![b"PTTL".to_vec(), key.clone()]);
            }
            self.run_batch(&commands)?;
        }
        Ok(())
    }
}

fn read(name: &str, client: &mut Client, command: &Command) -> Reply {
    client.try_read().unwrap_or_else(|error| panic!("{name} does not reply to {}: {error}", show_command(command)))
}

fn line(words: &[&str]) -> Command {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn text(reply: &Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::Bulk(Some(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Everything that a SCAN command gives from cursor 0 to cursor 0, each element once; or the error it gives.
fn iterate(client: &mut Client, command: &Command, cursor: usize) -> Reply {
    let pairs = matches!(command[0].to_ascii_uppercase().as_slice(), b"HSCAN" | b"ZSCAN");
    let (mut call, mut found) = (command.clone(), Vec::new());
    for _ in 0..SCAN_CALLS_MAX {
        let reply = client.call(&call);
        let Reply::Array(Some(parts)) = &reply else { return reply };
        let [Reply::Bulk(Some(next)), Reply::Array(Some(elements))] = parts.as_slice() else { return reply };
        found.extend(elements.chunks(if pairs { 2 } else { 1 }).map(|element| Reply::Array(Some(element.to_vec()))));
        if next == b"0" {
            found.sort_by_cached_key(show);
            found.dedup();
            return Reply::Array(Some(found));
        }
        call[cursor] = next.clone();
    }
    panic!("{} does not end within {SCAN_CALLS_MAX} calls", show_command(command));
}

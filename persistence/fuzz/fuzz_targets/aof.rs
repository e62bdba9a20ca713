//! Any bytes as an append only file: however they arrive they are the same commands and the same end, and what is said to be
//! whole is a whole file with these commands.
//!
//! The first byte says how many bytes arrive at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use persistence::aof::read::{Outcome, Reader, Start, Step, open};
use persistence::rdb::load::LoadOptions;
use std::io::{self, Read};

struct Drops<'a>(&'a [u8], usize);

impl Read for Drops<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(to.len()).min(self.0.len());
        let (now, later) = self.0.split_at(len);
        to[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

type Commands = Vec<(Vec<Vec<u8>>, u64)>;

/// All commands and the end; `None` if there is a snapshot in front that cannot be read.
fn read(bytes: &[u8], at_once: usize) -> Option<(Commands, Outcome)> {
    let options = LoadOptions { checksum: false, ..LoadOptions::default() };
    let mut reader = match open(Drops(bytes, at_once), options).ok()? {
        Start::Commands(reader) => reader,
        Start::Snapshot(mut loader) => {
            loader.each(|_| Ok(())).ok()?;
            Reader::after(loader)
        }
    };
    let mut all = Vec::new();
    loop {
        match reader.step().expect("memory can be read") {
            Step::Command(command) => {
                assert!(!command.args.is_empty());
                all.push(((0..command.args.len()).map(|at| command.arg(at).to_vec()).collect(), command.end));
            }
            Step::End(outcome) => return Some((all, outcome)),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&at_once, bytes)) = input.split_first() else { return };
    let whole = read(bytes, usize::MAX);
    assert!(read(bytes, usize::from(at_once) + 1) == whole);
    let Some((commands, outcome)) = whole else { return };
    let ok_up_to = match outcome {
        Outcome::Complete => bytes.len() as u64,
        Outcome::Truncated { ok_up_to, .. } | Outcome::Bad { ok_up_to, .. } => ok_up_to,
    };
    let kept = read(&bytes[..ok_up_to as usize], usize::MAX).expect("the same snapshot");
    assert!(kept == (commands, Outcome::Complete));
});

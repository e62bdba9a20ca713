//! A cut, a walk and two writes in every interleaving: what is saved is what a prefix of the log gives.

use super::{Format, Head, Image, Sizes, walk};
use crate::clock::Now;
use crate::keyspace::{Key, Keyspace, Local, SetExpire};
use crate::oplog::Oplog;
use crate::raw::entry::{EntryRef, Value};
use crate::raw::lock::SlotLocks;
use crate::slot::Slot;
use slots::SlotId;
use std::sync::{Arc, Mutex};

/// One byte a key and one a value.
struct Bytes;

impl Format for Bytes {
    fn database(&mut self, _: u32, _: Option<Sizes>, _: &mut Vec<u8>) {}
    fn entry(&mut self, entry: EntryRef<'_>, out: &mut Vec<u8>) {
        let Value::Int(value) = entry.value() else { panic!("an integer") };
        out.extend_from_slice(&[entry.key()[0], value as u8]);
    }
    fn head(&mut self, _: &Head, _: &mut Vec<u8>) {}
    fn elements(&mut self, _: &Head, _: &[super::Element<'_>], _: &mut Vec<u8>) {}
    fn tail(&mut self, _: &Head, _: &mut Vec<u8>) {}
}

/// Sets the one key of slot `n`, and notes it in the log while the slot is held.
fn write(locks: &SlotLocks<Slot>, log: &Mutex<Vec<(usize, u8)>>, n: usize, value: u8) {
    let slot = SlotId::new(n).expect("valid");
    let mut owner = locks.register().expect("nobody is alone");
    let mut held = owner.wait_one(slot);
    let mut local = Local::default();
    let name = [n as u8];
    let key = Key { bytes: &name, hash: n as u64, slot };
    let mut keys = Keyspace::new(&mut held, &mut local, 0, Now { ms: 1 });
    keys.put(&key, crate::raw::entry::Body::Int(value.into()), SetExpire::Clear);
    log.lock().expect("no panic").push((n, value));
}

fn replay(log: &[(usize, u8)]) -> [u8; 2] {
    let mut values = [0; 2];
    log.iter().for_each(|&(n, value)| values[n] = value);
    values
}

#[test]
fn loom_a_snapshot_is_a_prefix_of_the_log() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let locks = loom::sync::Arc::new(SlotLocks::new(2, Slot::default));
        let log = Arc::new(Mutex::new(Vec::new()));
        write(&locks, &log, 0, 1);
        write(&locks, &log, 1, 1);
        let writer = {
            let (locks, log) = (locks.clone(), log.clone());
            loom::thread::spawn(move || {
                write(&locks, &log, 1, 2);
                write(&locks, &log, 0, 2);
            })
        };
        let mut owner = locks.register().expect("nobody is alone");
        let oplog = Oplog::new(64);
        let (image, prefix) = {
            let mut held = owner.wait_privileged();
            let image = Image::cut(&mut held, &oplog, Now { ms: 1 }, Arc::default(), || Box::new(Bytes));
            (image, log.lock().expect("no panic").len())
        };
        let mut saved = Vec::new();
        walk(&image, &mut owner, &mut saved).expect("nothing fails");
        drop(owner);
        writer.join().expect("no panic");
        assert_eq!(saved.len(), 4, "each key once: {saved:?}");
        let mut values = [0; 2];
        saved.chunks(2).for_each(|pair| values[usize::from(pair[0])] = pair[1]);
        assert_eq!(values, replay(&log.lock().expect("no panic")[..prefix]));
        for n in 0..2 {
            let slot = SlotId::new(n).expect("valid");
            let mut owner = locks.register().expect("nobody is alone");
            let held = owner.wait_one(slot);
            let entry = held.slot(slot).db(0).and_then(|keys| keys.find(n as u64, &[n as u8])).expect("there");
            assert!(matches!(entry.value(), Value::Int(2)));
        }
    });
}

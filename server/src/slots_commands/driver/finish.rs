//! The end of a batch: removing what has moved, or having the target forget what has not.

use super::{Batch, Driver, Ending};
use crate::log;
use crate::slots_commands::chunks::Limits;
use crate::slots_commands::debts::Target;
use crate::slots_commands::worker::{REMOVED_KEYS, REST, Worker};
use engine::keyspace::{Key, Keyspace};
use engine::raw::entry::Transit;
use slots::SlotId;
use slots::migration::export::{Event, Export, Reason};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Time for telling a target to forget, over the old link and a new one together: as long as the batch's target might be
/// silent, but within these bounds, since writes to the batch's keys wait for it. The old link has half of it.
const RETRACT_MIN: Duration = Duration::from_secs(1);
const RETRACT_MAX: Duration = Duration::from_secs(5);
/// Time for reaching a target again that broke the link.
const RECONNECT: Duration = Duration::from_millis(300);
/// In a batch's last round who reads its keys, and scripts, wait for so long at most.
const SHUT_MAX: Duration = Duration::from_millis(200);

/// Pause between two looks at whether clients are paused.
const PAUSED_LOOK: Duration = Duration::from_millis(1);

impl Driver {
    /// Sees whether all that was sent is as it was, and removes it; `None` if it is to be called again because clients are
    /// paused: who pauses them relies on nothing changing. If they are when some of it is removed, it waits for the end of that.
    /// `partly`: what has changed stays, and the rest is removed.
    pub(super) fn commit(&mut self, batch: &mut Batch, export: &Export, partly: bool) -> Option<Event> {
        if batch.retracting {
            return Some(Event::Committed { kept: Vec::new() });
        }
        let mut by_slot: BTreeMap<SlotId, Vec<usize>> = BTreeMap::new();
        for index in export.done().filter(|&index| !batch.removed[index]) {
            by_slot.entry(Key::new(&batch.keys[index]).slot).or_default().push(index);
        }
        let keys = batch.keys.clone();
        self.offers.offer();
        let many = by_slot.len() > 1 || by_slot.values().any(|indices| indices.len() > REMOVED_KEYS);
        if export.is_last_but_one() && !batch.removed.contains(&true) {
            // Before anybody looks: what is found changed is all that has.
            self.shut(batch);
        }
        if many && !partly {
            let mut stale = Vec::new();
            for (&slot, indices) in &by_slot {
                for step in indices.chunks(REMOVED_KEYS) {
                    stale.extend(self.in_slot(slot, |here| changed(here, &keys, step)));
                    thread::sleep(REST);
                }
            }
            if !stale.is_empty() {
                if batch.shut_until.is_some() {
                    // It is for what is sent now.
                    self.shut(batch);
                }
                return Some(Event::Stale { keys: stale });
            }
        }
        let (node, db, tenure) = (self.node, self.link.db, self.tenure);
        let (mut kept, mut begun) = (Vec::new(), false);
        for (&slot, indices) in &by_slot {
            node.moves.claims.set_ending(db, slot, true);
            for step in indices.chunks(REMOVED_KEYS) {
                let removed = loop {
                    let removed = self.in_slot_unless_paused(slot, |here| {
                        if node.repl.tenure() != tenure {
                            return None;
                        }
                        let stale = if many || partly { Vec::new() } else { changed(here, &keys, step) };
                        let gone = if stale.is_empty() { remove(here, &keys, step) } else { Vec::new() };
                        Some((stale, gone))
                    });
                    // They find no half of what goes together after the pause.
                    let goes_on = removed.is_none() && begun && !self.worker.as_ref().is_none_or(Worker::is_over);
                    if !goes_on {
                        break removed;
                    }
                    thread::sleep(PAUSED_LOOK);
                };
                let Some((stale, gone)) = removed? else { return Some(Event::Failed(Reason::Demoted)) };
                if !stale.is_empty() {
                    // Nothing is removed, and it may be long before it comes to that again.
                    if batch.shut_until.is_none() {
                        by_slot.keys().for_each(|&slot| node.moves.claims.set_ending(db, slot, false));
                    }
                    return Some(Event::Stale { keys: stale });
                }
                begun |= !gone.is_empty();
                // Once a key is removed, who reads others waits for the end and not only for a while.
                batch.shut_until = None;
                gone.into_iter().for_each(|index| batch.removed[index] = true);
                kept.extend(step.iter().filter(|&&index| !batch.removed[index]));
                if many {
                    thread::sleep(REST);
                }
                self.offers.offer();
            }
        }
        // What is left here stays, or is sent again.
        batch.slots.iter().for_each(|&slot| node.moves.claims.set_ending(db, slot, false));
        Some(Event::Committed { kept })
    }

    /// The last round of a batch is about to begin: scripts that name its keys wait for a while, or would change some again.
    fn shut(&mut self, batch: &mut Batch) {
        batch.shut_until = Some(Instant::now() + SHUT_MAX);
        batch.slots.iter().for_each(|&slot| self.node.moves.claims.set_ending(self.link.db, slot, true));
    }

    /// The end of that while, if it is not over.
    pub(super) fn open(&mut self, batch: &mut Batch) {
        if batch.shut_until.take().is_some() {
            batch.slots.iter().for_each(|&slot| self.node.moves.claims.set_ending(self.link.db, slot, false));
        }
    }

    /// Has the target forget what it got of keys that stay here.
    pub(super) fn retract(&mut self, batch: &Batch, export: &mut Export, reason: &Reason) {
        let sent: Vec<Box<[u8]>> =
            export.sent().filter(|&index| !batch.removed[index]).map(|index| batch.keys[index].clone()).collect();
        if sent.is_empty() {
            return;
        }
        let count = sent.len();
        if *reason == Reason::Demoted {
            // Some may have moved again by now, from the new primary.
            self.give_up_link();
            log::warning!("slotsmgrt_async: {count} keys that were sent are the new primary's business");
            return;
        }
        if !self.node.moves.closing.takes_back() {
            self.give_up_link();
            log::warning!("slotsmgrt_async: {count} keys that were sent are not saved here: the target may keep them");
            return;
        }
        // A link that the target has ended carries nothing any more; what it had taken from it is done by now. One that is
        // only silent may bring the message yet, after all that went before; if it does not, another one may.
        let silent = matches!(reason, Reason::Canceled | Reason::Timeout | Reason::Closing) && !export.is_asking();
        let keys = Arc::new(sent);
        let mut why = String::new();
        let patience = Duration::from_millis(batch.limits.timeout_ms.max(0) as u64).clamp(RETRACT_MIN, RETRACT_MAX);
        let left = self.node.moves.closing.left_ms().map(|left| Duration::from_millis(left.max(0) as u64));
        let patience = left.map_or(patience, |left| left.min(patience));
        let until = Instant::now() + patience;
        if silent && self.forget(batch, keys.clone(), export.unacknowledged(), until - patience / 2, &mut why) {
            return;
        }
        // Nothing more of the old link is to set out. What is on its way is to be dropped by a target that can.
        self.give_up_link();
        match self.connect(RECONNECT) {
            Ok(()) if self.forget(batch, keys.clone(), 0, until, &mut why) => return,
            Ok(()) => {}
            Err(error) => why = format!("{error:?}"),
        }
        self.give_up_link();
        log::warning!("slotsmgrt_async: the target may keep {count} keys until more of their slots are sent: {why}");
        if !self.node.moves.debts.add(self.target(), &keys) {
            log::warning!("slotsmgrt_async: too many to be noted: what is deleted here may come back there");
        }
    }

    /// Before anything else of its slots is sent: has the target forget what it may have of them of earlier batches. The
    /// error says why it could not be told.
    pub(super) fn pay_debts(&mut self, batch: &Batch) -> Result<(), String> {
        let owed = self.node.moves.debts.of(self.target(), &batch.slots);
        if owed.is_empty() {
            return Ok(());
        }
        let (keys, mut why) = (Arc::new(owed), String::new());
        let patience = Duration::from_millis(batch.limits.timeout_ms.max(0) as u64).clamp(RETRACT_MIN, RETRACT_MAX);
        if self.peer.is_none() || !self.forget(batch, keys.clone(), 0, Instant::now() + patience, &mut why) {
            return Err(why);
        }
        log::notice!("slotsmgrt_async: the target has forgotten {} keys of batches that broke off", keys.len());
        self.node.moves.debts.are_paid(self.target(), keys.iter());
        Ok(())
    }

    /// Who is owed.
    pub(super) fn target(&self) -> Target<'_> {
        Target { host: &self.link.host, port: self.link.port, db: self.link.db, tenure: self.tenure }
    }

    /// Has the target forget keys over the link at hand, on which `waiting` messages are not acknowledged; false and `why`
    /// if it does not say until `until` that it has.
    fn forget(
        &mut self,
        batch: &Batch,
        keys: Arc<Vec<Box<[u8]>>>,
        waiting: usize,
        until: Instant,
        why: &mut String,
    ) -> bool {
        let count = keys.len();
        let mut forget = Batch {
            removed: vec![false; count],
            keys,
            slots: Vec::new(),
            limits: batch.limits,
            estimate: count,
            since_ms: batch.since_ms,
            bytes_max: 0,
            bytes_before: batch.bytes_before,
            retracting: true,
            until: Some(until),
            shut_until: None,
        };
        let Limits { maxbytes, timeout_ms, .. } = batch.limits;
        let mut export = Export::retraction(count, maxbytes, timeout_ms, waiting, Self::now_ms());
        match self.drive(&mut forget, &mut export) {
            Ending::Finished { .. } => true,
            Ending::Aborted(reason) => {
                *why = reason.text().escape_ascii().to_string();
                false
            }
        }
    }

    /// Takes all marks and claims back.
    pub(super) fn settle(&mut self, batch: &Batch) {
        let (node, db) = (self.node, self.link.db);
        let worker = self.worker.get_or_insert_with(|| Worker::new(node));
        let mut by_slot: BTreeMap<SlotId, Vec<&[u8]>> = BTreeMap::new();
        for (key, _) in batch.keys.iter().zip(&batch.removed).filter(|(_, removed)| !**removed) {
            by_slot.entry(slots::slot_of(key)).or_default().push(key);
        }
        by_slot.into_iter().for_each(|(slot, keys)| worker.stay(slot, db, keys.into_iter()));
        batch.slots.iter().for_each(|&slot| self.node.moves.claims.release(self.link.db, slot));
    }
}

/// Keys of a step that are not as they were marked.
fn changed(here: &mut Keyspace<'_, '_>, keys: &[Box<[u8]>], step: &[usize]) -> Vec<usize> {
    let mut stale = Vec::new();
    for &index in step {
        let key = Key::new(&keys[index]);
        let entry = here.slot_keys(key.slot).and_then(|db| db.find(key.hash, key.bytes));
        if entry.is_none_or(|entry| entry.transit() != Transit::Leaving) {
            stale.push(index);
        }
    }
    stale
}

/// Removes the keys of a step that are as they were marked, logs it as one command, and returns them.
fn remove(here: &mut Keyspace<'_, '_>, keys: &[Box<[u8]>], step: &[usize]) -> Vec<usize> {
    let mut record: Vec<&[u8]> = vec![b"DEL"];
    let mut gone = Vec::new();
    for &index in step {
        let key = Key::new(&keys[index]);
        if here.remove_left(&key) {
            here.changed(&key, 0, "del");
            record.push(&keys[index]);
            gone.push(index);
        }
    }
    if !gone.is_empty() {
        here.effects().log_instead(&record);
    }
    gone
}

//! A transaction of the primary's stream, carried out from where its bytes lie.
//!
//! Why: whatever changes a key in two steps (SET with EX) comes as MULTI, two requests and EXEC. Queued and run by EXEC as a
//! client's transaction it costs several times what it does. A unit whose requests say beforehand which keys they are about
//! needs no queue, and within one slot no privileged holder: that slot's lock is all that keeps readers from a half of it.
//!
//! 1. All its slots are held from before the first request until its bytes are in the log, in one append.
//! 2. What it cannot say beforehand, or what others are to be shown request by request, is left to EXEC, before anything is
//!    done.

use super::{DEFERRALS_MAX, Desk, Executor, Prepared, Ran, Turn, publish_events};
use crate::node::Run;
use commands::args::Args;
use commands::string::set_until;
use commands::table::{Access, Command};
use engine::keyspace::Key;
use engine::raw::ticks::Ticks;
use engine::records::Reach;
use replication::unit::Unit;
use resp::{Arg, GetKeys};
use slots::{SlotId, SlotSet};
use std::sync::atomic::Ordering;

/// The slots of a unit.
#[derive(Clone)]
enum Slots {
    None,
    One(SlotId),
    Many(Box<SlotSet>),
}

impl Slots {
    fn insert(&mut self, slot: SlotId) {
        match self {
            Slots::None => *self = Slots::One(slot),
            Slots::One(first) if *first == slot => {}
            Slots::One(first) => *self = Slots::Many(Box::new([*first, slot].into_iter().collect())),
            Slots::Many(set) => {
                set.insert(slot);
            }
        }
    }
}

fn request(unit: &Unit, at: usize) -> Args<'_> {
    let (bytes, words) = unit.request(at);
    Args::new(bytes, words)
}

/// If request number `at` is a plain SET and the `next` one gives its key an end: the words of both as one, which are ranges
/// of the first one's bytes, and the other's row. A key that is made with its end is made once.
fn end_of(unit: &Unit, at: usize, set: &Prepared, next: &Prepared) -> Option<([Arg; 4], &'static Command<Run>)> {
    let (row, end) = (set.row?, next.row?);
    let (bytes, &[name, key, value]) = unit.request(at) else { return None };
    let (after, &[_, other, moment]) = unit.request(at + 1) else { return None };
    if row.spec.name != "set" || end.spec.name != "pexpireat" || key.of(bytes) != other.of(after) {
        return None;
    }
    let between = u32::try_from(bytes.len() - after.len()).ok()?;
    let moment = Arg { start: moment.start.checked_add(between)?, ..moment };
    Some(([name, key, value, moment], end))
}

/// The slots of the requests between the first and the last one, if each says so.
fn slots_of(unit: &Unit, plan: &[Prepared]) -> Option<Slots> {
    let mut slots = Slots::None;
    for (before, prepared) in plan.iter().enumerate() {
        let args = request(unit, before + 1);
        let row = prepared.row?;
        let is_plain = row.access == Access::Keys && matches!(row.handler, Run::Keys(_));
        if !is_plain || !row.spec.arity_ok(args.len()) {
            return None;
        }
        match (prepared.first, row.spec.keys.last, row.spec.keys.getkeys) {
            (Some((_, slot)), 1, GetKeys::Fixed) => slots.insert(slot),
            _ => resp::key_positions(&row.spec, &args).for_each(|at| slots.insert(slots::slot_of(args.at(at)))),
        }
    }
    (!matches!(slots, Slots::None)).then_some(slots)
}

impl Executor {
    /// Carries out a whole transaction of the primary's stream, from MULTI to EXEC: `None` if it must be queued for EXEC. The
    /// replies are those that are errors.
    /// `plan` has what each request before EXEC needs, as [`Executor::prepare`] says.
    pub fn run_unit(&mut self, turn: &mut Turn<'_>, unit: &Unit, plan: &[Prepared]) -> Option<Ran> {
        let end = request(unit, unit.len().saturating_sub(1));
        if turn.deferrals > DEFERRALS_MAX || self.node.monitors.are_there() || !end.is(0, "exec") || end.len() != 1 {
            return None;
        }
        // The first one is MULTI.
        let plan = plan.get(1..unit.len().saturating_sub(1))?;
        let slots = slots_of(unit, plan)?;
        let row = self.prepare(&end).row?;
        Some(if self.must_stall(row) { Ran::PutOff } else { self.run_planned(turn, unit, (plan, slots), (row, end)) })
    }

    fn run_planned(
        &mut self,
        turn: &mut Turn<'_>,
        unit: &Unit,
        planned: (&[Prepared], Slots),
        (row, end): (&Command<Run>, Args<'_>),
    ) -> Ran {
        if !self.run_held(turn, unit, planned, (row, end)) {
            return Ran::PutOff;
        }
        if !self.answers.is_empty() {
            self.answer();
        }
        self.count(row, &end);
        turn.client.info.command.store(u32::from(row.id) + 1, Ordering::Relaxed);
        self.finish();
        Ran::Done
    }

    /// The part in which the slots are held; false if it must come again, and then it has done nothing.
    fn run_held(
        &mut self,
        turn: &mut Turn<'_>,
        unit: &Unit,
        (plan, slots): (&[Prepared], Slots),
        (row, end): (&Command<Run>, Args<'_>),
    ) -> bool {
        let Executor { owner, desk } = self;
        desk.gate = desk.node.repl.gate.bits();
        let mut held = match &slots {
            Slots::None => None,
            Slots::One(slot) => owner.try_one(*slot),
            // Who looks at one slot after the other is privileged too, and sees all of it or nothing.
            Slots::Many(set) => owner.try_privileged().map(|mut held| {
                set.iter().for_each(|slot| held.add(slot));
                held
            }),
        };
        let Some(held) = &mut held else { return false };
        let db = turn.client.session.db;
        if desk.must_come_again(held, row, &end, turn.client, turn.now) {
            return false;
        }
        desk.begin(turn.client, turn.out, row, &end);
        let mut dirty = 0;
        let mut at = 0;
        while let Some(prepared) = plan.get(at) {
            at += 1;
            let (args, Some(row)) = (request(unit, at), prepared.row) else { continue };
            let first = prepared.first.map(|(hash, slot)| Key { bytes: args.at(1), hash, slot });
            let start = turn.out.len();
            desk.node.stats[desk.reactor].running.store(u32::from(row.id) + 1, Ordering::Relaxed);
            let end = plan.get(at).and_then(|next| end_of(unit, at, prepared, next));
            if let Some((words, end)) = end {
                let args = Args::new(unit.request(at).0, &words);
                desk.handle(turn, held, args, &Command { handler: Run::Keys(set_until), ..*row }, first);
                desk.count(row, &args);
                desk.count(end, &request(unit, at + 1));
                at += 1;
            } else {
                desk.handle(turn, held, args, row, first);
                desk.count(row, &args);
            }
            if turn.out.as_slice().get(start) != Some(&b'-') {
                turn.out.truncate(start);
            }
            dirty += desk.local.effects.drain(args.iter(), &mut desk.records, Reach::Nobody);
            desk.records.clear_large();
        }
        desk.local.effects.dirty = dirty;
        if dirty > 0 {
            desk.node.stats[desk.reactor].dirty.add(dirty);
        }
        desk.node.oplog.append_stream(unit.bytes(), db);
        publish_events(desk.node, &desk.local);
        if !desk.local.ready.is_empty() {
            desk.serve(held, turn.now);
        }
        true
    }
}

impl Desk {
    /// A command of this row has run since the last one ended.
    #[inline]
    pub(super) fn count(&mut self, row: &Command<Run>, args: &Args<'_>) {
        let stats = &self.node.stats[self.reactor];
        stats.commands.add(1);
        let ended = Ticks::now();
        let took = ended.since(self.last);
        if let Some((calls, ticks)) = stats.commands_by_id.get(usize::from(row.id)) {
            calls.add(1);
            ticks.add(took);
        }
        self.node.note_time(row, args, took);
        self.last = ended;
    }
}

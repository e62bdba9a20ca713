//! After a command: elements of lists that came into being go to the clients that wait for them.
//!
//! Still under the command's slots, so nobody takes an element away from who waits for it; where a slot is missing, the
//! element is put down as owed ([`crate::owed`]). The records of what was given
//! are in the log before anybody is told.

use super::{Desk, Executor, log_effects};
use crate::park::Ticket;
use crate::persist::gate;
use commands::args::Args;
use commands::blocking::{Served, serve};
use engine::clock::Now;
use engine::keyspace::{Key, Keyspace};
use engine::raw::lock::Held;
use engine::slot::Slot;

impl Desk {
    /// Serves every list that is ready; a BRPOPLPUSH that is served may make the next one so.
    pub(super) fn serve(&mut self, held: &mut Held<'_, Slot>, now: Now) {
        // What a primary's command has brought about here is not of its stream.
        self.local.effects.logging = self.node.oplog.wants_records(false) && !self.replaying;
        while let Some(ready) = self.local.ready.pop_front() {
            self.local.effects.reset();
            let before = self.answers.len();
            let mut keys = Keyspace::new(held, &mut self.local, ready.db, now);
            let served = serve(&mut keys, self.settled.settings.list_node, &Key::new(&ready.key), |waiter, out| {
                let ticket = Ticket { reactor: waiter.reactor, client: waiter.client, wait: waiter.wait };
                self.answers.push((ticket, out.into_vec()));
            });
            if self.answers.len() > before && self.node.repl.is_replica() && !self.replaying {
                self.node.repl.strays();
            }
            log_effects(self.node, &self.local, &mut self.records, ready.db, Args::new(&[], &[]));
            if let Served::Wants(_) = served {
                self.node.owed.add(ready.db, &ready.key);
                self.unserved.push(ready);
            }
        }
    }

    /// Tells clients what they were given, with no slot held any more.
    pub(super) fn answer(&mut self) {
        let Desk { node, reactor, answers, .. } = self;
        for (ticket, reply) in answers.drain(..) {
            node.hand_over(*reactor, ticket, reply);
        }
    }
}

impl Executor {
    /// What was left to do after commands: serves lists whose waiters wanted slots that could not be had, and withdraws
    /// registrations of clients that are done. True if something is left still.
    pub fn settle(&mut self, now: Now) -> bool {
        if !self.unserved.is_empty() {
            self.serve_again(now);
        }
        let leaving = &self.node.leaving[self.reactor];
        if leaving.is_due() {
            leaving.withdraw(&mut self.owner);
        }
        !self.unserved.is_empty() || leaving.is_due()
    }

    /// The privileged owner can have any slot that a waiter wants.
    fn serve_again(&mut self, now: Now) {
        let Executor { owner, desk } = self;
        let Some(mut held) = owner.try_privileged() else { return };
        if desk.node.persist.gate.has(gate::STOPPING) {
            // What would be given to them is saved as not given.
            return;
        }
        for ready in std::mem::take(&mut desk.unserved) {
            held.add(slots::slot_of(&ready.key));
            desk.node.owed.remove(ready.db, &ready.key);
            desk.local.ready.push_back(ready);
        }
        desk.serve(&mut held, now);
        drop(held);
        self.answer();
        self.finish();
    }
}

//! WAIT: clients that want to know how many replicas have what they wrote.
//!
//! A client waits for an offset of the log; each acknowledgement of a replica is a chance to let it go on.

use crate::node::Node;
use crate::park::{Ticket, Wait};
use engine::oplog::Offset;
use resp::Out;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who waits.
#[derive(Default)]
pub struct Waits(Arc<Mutex<Vec<Waiting>>>);

struct Waiting {
    ticket: Ticket,
    offset: Offset,
    replicas: i64,
}

/// One client's place among them.
struct Place {
    list: Arc<Mutex<Vec<Waiting>>>,
    ticket: Ticket,
    offset: Offset,
    node: &'static Node,
}

fn lock(list: &Mutex<Vec<Waiting>>) -> MutexGuard<'_, Vec<Waiting>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// Gives the place up; false if the reply is under way already.
    fn leave(&self) -> bool {
        let mut list = lock(&self.list);
        let before = list.len();
        list.retain(|waiting| waiting.ticket != self.ticket);
        list.len() < before
    }
}

impl Wait for Place {
    fn time_out(&self, out: &mut Out) -> bool {
        let left = self.leave();
        if left {
            out.int(self.node.replicas_at(self.offset));
        }
        left
    }

    fn abandon(&self) {
        self.leave();
    }
}

impl Node {
    /// Replicas that have said that they have everything up to `offset`.
    pub fn replicas_at(&self, offset: Offset) -> i64 {
        let has = |replica: &&Arc<super::peer::Replica>| {
            replica.stage().is_online() && replica.ack.load(std::sync::atomic::Ordering::Acquire) >= offset
        };
        self.repl.replicas().iter().filter(has).count() as i64
    }

    /// Notes that a client waits until so many `replicas` have `offset`; what it waits for, to park it with.
    pub fn wait_for_replicas(&'static self, ticket: Ticket, offset: Offset, replicas: i64) -> Box<dyn Wait> {
        lock(&self.repl.waits.0).push(Waiting { ticket, offset, replicas });
        Box::new(Place { list: self.repl.waits.0.clone(), ticket, offset, node: self })
    }

    /// A replica has said how far it is: lets clients go on that waited for that.
    pub fn let_waiting_go_on(&self) {
        let mut list = lock(&self.repl.waits.0);
        if list.is_empty() {
            return;
        }
        list.retain(|waiting| {
            let there = self.replicas_at(waiting.offset);
            if there >= waiting.replicas {
                self.resume(waiting.ticket, format!(":{there}\r\n").into_bytes());
            }
            there < waiting.replicas
        });
    }
}

//! What one thread tells a reactor: a queue, and a wake-up when the reactor sleeps.
//!
//! A reactor announces that it is about to sleep, looks into the queue once more, and only then sleeps; a sender queues
//! first and looks for the announcement after. So a message is never left lying while its reader sleeps, and a reader
//! that is awake costs the sender no system call.

use crate::conn::Socket;
use crate::dispatch::Executor;
use crate::monitor::Line;
use crate::park::Ticket;
use crate::pubsub::Message;
use crate::repl::link::News;
use engine::clock::Now;
use mio::Waker;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages to clients that may wait in one mailbox, bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// So many are handed out by the thread itself before its command ends.
const MESSAGE_BYTES_MANY: usize = 1 << 20;

/// Work for another thread.
pub type Call = Box<dyn FnOnce(&mut Executor, Now) + Send>;

/// A message.
pub enum Mail {
    /// A new connection to serve.
    Accepted(Socket, u64),
    /// End the connection of the client with this id.
    Kill(u64),
    /// This server follows another primary: nobody may wait here for what a client will write.
    EndWaits,
    /// For the link to the primary.
    Link(News),
    /// The reply that a parked client waits for.
    Resume {
        /// Which wait of which client it ends.
        ticket: Ticket,
        /// Whole RESP bytes.
        reply: Vec<u8>,
        /// The connection ends after it.
        close: bool,
    },
    /// To be done by the reactor's thread, with no slot held.
    Call(Call),
    /// A message for those who subscribe.
    Published(Arc<Message>),
    /// A command for those who watch.
    Shown(Arc<Line>),
}

/// A reactor's queue.
pub struct Mailbox {
    queue: Mutex<Vec<Mail>>,
    /// Bytes of messages that wait.
    load: AtomicUsize,
    sleeping: AtomicBool,
    waker: Waker,
}

impl Mailbox {
    /// An empty queue whose reactor is woken by `waker`.
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox { queue: Mutex::default(), load: AtomicUsize::new(0), sleeping: AtomicBool::new(false), waker }
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Mail>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message. Its bound is that of what it is about: connections and clients are limited in number.
    pub fn send(&self, mail: Mail) {
        self.queue().push(mail);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Queues a message that can wait until something else wakes the reactor.
    pub fn leave(&self, mail: Mail) {
        self.queue().push(mail);
    }

    /// Wakes the reactor if it sleeps: something has changed that it looks at before it sleeps.
    pub fn nudge(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// As [`Mailbox::send`], of a message to clients of `bytes`: when too many wait, clients are not served until they
    /// are delivered ([`Mailbox::is_flooded`]).
    pub fn send_message(&self, mail: Mail, bytes: usize) {
        self.load.fetch_add(bytes, Ordering::Relaxed);
        self.send(mail);
    }

    /// Whether more messages wait than should.
    #[inline]
    pub fn is_flooded(&self) -> bool {
        self.load.load(Ordering::Relaxed) > MESSAGE_BYTES_MAX
    }

    /// Whether more messages wait than a command that goes on for long should leave.
    #[inline]
    pub fn has_many_messages(&self) -> bool {
        self.load.load(Ordering::Relaxed) > MESSAGE_BYTES_MANY
    }

    /// Wakes the reactor, whatever it does.
    pub fn wake(&self) {
        // It fails only when the descriptor is gone, and then so is the reactor.
        let _: io::Result<()> = self.waker.wake();
    }

    /// Takes everything that is queued into `mail`, which must be empty.
    pub fn take(&self, mail: &mut Vec<Mail>) {
        self.load.store(0, Ordering::Relaxed);
        std::mem::swap(&mut *self.queue(), mail);
    }

    /// Takes the messages to clients, and leaves all else in order.
    pub fn take_messages(&self) -> Vec<Mail> {
        self.load.store(0, Ordering::Relaxed);
        self.queue().extract_if(.., |mail| matches!(mail, Mail::Published(_) | Mail::Shown(_))).collect()
    }

    /// Takes the new connections, and leaves all else in order.
    pub fn take_accepted(&self) -> Vec<(Socket, u64)> {
        let mut queue = self.queue();
        let accepted = queue.extract_if(.., |mail| matches!(mail, Mail::Accepted(..)));
        accepted
            .filter_map(|mail| if let Mail::Accepted(socket, id) = mail { Some((socket, id)) } else { None })
            .collect()
    }

    /// Takes the replies that end waits, and leaves all else in order.
    pub fn take_resumed(&self) -> Vec<Mail> {
        self.queue().extract_if(.., |mail| matches!(mail, Mail::Resume { .. })).collect()
    }

    /// Announces that the reactor is about to sleep; false if it must not, because something is queued.
    pub fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let empty = self.queue().is_empty();
        if !empty {
            self.woke();
        }
        empty
    }

    /// Takes the announcement back.
    pub fn woke(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

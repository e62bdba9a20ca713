//! The source's side of one batch: what to send next, when it is whole, and what becomes of it when something breaks.
//!
//! ```text
//!            .------------------ the key has changed: once more, at most TRIES times ----------------.
//!            v                                                                                       |
//!  keys:  Prepare --"delete"--> Chunked --chunk, chunk, ..--> FillTtl --"expire"--> Done --.         |
//!            |  '--"delete", "string" | "object"---------------------------------> Done ---+--> Commit
//!            '-- gone, nothing sent --> Absent                                             |         |
//!                changed too often, or gone after something was sent: Retract --"delete"--> Withdrawn '--> moved
//! ```
//! 1. A key is reported as moved only if every message of the batch was acknowledged after its last one was made, and
//!    whoever carried out [`Action::Commit`] found it unchanged and removed it. Keys that go together are removed together:
//!    while some have changed, those are sent again and all wait. But only for [`ROUNDS`] rounds: among many keys that scripts
//!    change without end there is always one. Then those that have changed stay, and the target is to forget them.
//! 2. After any other end, [`Export::sent`] names the keys of which the target may hold copies.
//! 3. Bytes sent and not acknowledged are bounded: a message is made only while they are below the limit.
//! 4. A target is silent only as long as somebody listens: of the time between two events no more counts than
//!    [`LISTENING_MS_MAX`]. Who had no processor for longer finds in the socket what has come meanwhile.

use std::collections::VecDeque;

/// How often a key that changes while it is sent is sent again before it is left where it is.
const TRIES: u8 = 3;
/// How often a batch is sent, after the first time only what has changed, before its unchanged keys are removed without the
/// others.
const ROUNDS: u8 = 3;
/// Messages that may be unacknowledged, whatever their size: a target's queue of answers is bounded by it.
const MESSAGES_MAX: usize = 8192;

/// How far a key has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of it.
    Prepare,
    /// Chunks up to a place that only their maker understands.
    Chunked {
        /// The place.
        cursor: u64,
    },
    /// All chunks; its expiry is still to be sent.
    FillTtl,
    /// The target is to forget what it has of it.
    Retract,
    /// All of it.
    Done,
    /// It is not there.
    Absent,
    /// It stays where it is, and the target has nothing of it.
    Withdrawn,
}

impl Stage {
    /// The number that the original's status shows.
    pub fn number(self) -> i64 {
        match self {
            Stage::Prepare => 0,
            Stage::Chunked { .. } => 2,
            Stage::FillTtl => 3,
            Stage::Retract | Stage::Done | Stage::Absent | Stage::Withdrawn => 4,
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Stage::Done | Stage::Absent | Stage::Withdrawn)
    }
}

/// Why a batch did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The link broke, from either side.
    Closed,
    /// The target refused a message; this is what it said.
    Refused(Vec<u8>),
    /// The target sent something that is no acknowledgement.
    Nonsense(Vec<u8>),
    /// Nothing was heard for too long.
    Timeout,
    /// Somebody asked for it.
    Canceled,
    /// This server is about to end.
    Closing,
    /// This server has become a replica: its primary has the say over the keys from now on, and over the target's copies.
    Demoted,
}

impl Reason {
    /// The error that those who wait for the batch read, without its code. It begins as the original's does.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Reason::Closed => b"interrupted: connection closed".to_vec(),
            Reason::Refused(said) => [b"interrupted: connection closed (target refused: ", &said[..], b")"].concat(),
            Reason::Nonsense(said) => [b"interrupted: connection closed (target sent: ", &said[..], b")"].concat(),
            Reason::Timeout => b"interrupted: migration timeout".to_vec(),
            Reason::Canceled => b"interrupted: canceled".to_vec(),
            Reason::Closing => b"interrupted: this server is shutting down".to_vec(),
            Reason::Demoted => b"interrupted: this server has become a replica".to_vec(),
        }
    }
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The link takes messages.
    Ready,
    /// [`Action::Make`] was carried out: so many messages of so many bytes in all, after which the key is at `stage`.
    Made {
        /// How many messages.
        messages: u32,
        /// Their bytes.
        bytes: usize,
        /// Where the key is now.
        stage: Stage,
        /// If the last of the messages is a chunk of a collection: its elements.
        elements: Option<u64>,
    },
    /// Instead of carrying out [`Action::Make`] one message was made of several keys, the ones that [`Export::ahead`] gives,
    /// in that order: where each is now. No message was made if `bytes` is 0.
    Packed {
        /// [`Stage::Done`] or [`Stage::Absent`] of each.
        stages: Vec<Stage>,
        /// Bytes of the message.
        bytes: usize,
    },
    /// The link's greeting was made, of so many messages.
    Greeted {
        /// How many messages.
        messages: u32,
    },
    /// [`Action::Sync`] was carried out by a message of so many bytes.
    Asked {
        /// Its bytes.
        bytes: usize,
    },
    /// [`Action::Make`] found that the key is not what its earlier messages said.
    Changed,
    /// One message was acknowledged, with a number; of a chunk it is the size that the target's collection has now.
    Answered(u64),
    /// One message was acknowledged.
    Acknowledged,
    /// [`Action::Commit`] found all keys unchanged and has removed them, but for `kept` that changed in the meantime.
    Committed {
        /// Keys that were not removed.
        kept: Vec<usize>,
    },
    /// [`Action::Commit`] found keys changed and has removed none.
    Stale {
        /// The changed ones.
        keys: Vec<usize>,
    },
    /// Some time has passed.
    Tick,
    /// It cannot go on.
    Failed(Reason),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the next messages of a key, and report.
    Make {
        /// Which key.
        key: usize,
        /// Where it is.
        stage: Stage,
        /// The target has something of it from an earlier try.
        again: bool,
    },
    /// Wait for the next event.
    Wait,
    /// Ask the target to answer when all that it has got is as durable as it is to be.
    Sync,
    /// See that all keys at [`Stage::Done`] are unchanged, remove them, and report.
    Commit {
        /// Those that are unchanged are removed also if others have changed.
        partly: bool,
    },
    /// The batch is over and these many keys have moved.
    Finish {
        /// How many.
        moved: usize,
    },
    /// The batch is over and nothing has moved.
    Abort(Reason),
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    stage: Stage,
    tries: u8,
    /// A message of it was made, in any try.
    sent: bool,
    /// Elements sent in this try.
    elements: u64,
}

/// Who listens has an event at least this often.
const LISTENING_MS_MAX: i64 = 200;

/// A message that was made and not acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    bytes: usize,
    chunk: Option<Chunk>,
}

/// What is known of a chunk: of which try of which key, and the size of the target's collection behind it.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    key: usize,
    tries: u8,
    size: u64,
}

/// A batch under way.
#[derive(Debug)]
pub struct Export {
    keys: Vec<Progress>,
    /// Keys with something left to send, the current one first.
    queue: VecDeque<usize>,
    /// Messages made and not acknowledged: an even share of the bytes that were made with them.
    unacknowledged: VecDeque<Pending>,
    bytes: usize,
    /// Withdrawn keys whose end the target has not acknowledged yet.
    withdrawing: Vec<usize>,
    bytes_max: usize,
    timeout_ms: i64,
    heard_ms: i64,
    /// How long the target has been listened to since then, in vain, and when that was last counted.
    silent_ms: i64,
    stepped_ms: i64,
    committing: bool,
    /// How often keys had changed when all was sent.
    stale: u8,
    /// The target wants to be asked before keys are removed here.
    sync: bool,
    /// It was asked, and nothing was sent since.
    asked: bool,
    over: bool,
}

impl Export {
    /// A batch of `keys` keys. At most about `bytes_max` bytes may be unacknowledged; silence of more than `timeout_ms`
    /// ends it. `greeting` messages of the link itself were made already.
    pub fn new(keys: usize, bytes_max: usize, timeout_ms: i64, greeting: usize, now_ms: i64) -> Export {
        Export {
            keys: vec![Progress { stage: Stage::Prepare, tries: 0, sent: false, elements: 0 }; keys],
            queue: (0..keys).collect(),
            unacknowledged: vec![Pending::default(); greeting].into(),
            bytes: 0,
            withdrawing: Vec::new(),
            bytes_max: bytes_max.max(1),
            timeout_ms,
            heard_ms: now_ms,
            silent_ms: 0,
            stepped_ms: now_ms,
            committing: false,
            stale: 0,
            sync: false,
            asked: false,
            over: false,
        }
    }

    /// A batch that has the target forget `keys` keys. `waiting` messages of the link are not acknowledged yet.
    pub fn retraction(keys: usize, bytes_max: usize, timeout_ms: i64, waiting: usize, now_ms: i64) -> Export {
        let mut export = Export::new(keys, bytes_max, timeout_ms, waiting, now_ms);
        export.keys.iter_mut().for_each(|key| key.stage = Stage::Retract);
        export
    }

    /// Takes an event in and says what to do next.
    pub fn step(&mut self, event: Event, now_ms: i64) -> Action {
        if self.over {
            return Action::Wait;
        }
        let owed = !self.unacknowledged.is_empty();
        self.silent_ms += (now_ms - self.stepped_ms).clamp(0, LISTENING_MS_MAX);
        self.stepped_ms = now_ms;
        match event {
            Event::Ready => {}
            Event::Tick => {
                if owed && self.silent_ms > self.timeout_ms {
                    return self.abort(Reason::Timeout);
                }
            }
            Event::Failed(reason) => return self.abort(reason),
            Event::Acknowledged | Event::Answered(_) => {
                self.heard(now_ms);
                let Some(pending) = self.unacknowledged.pop_front() else {
                    return self.abort(Reason::Nonsense(b"an acknowledgement of nothing".to_vec()));
                };
                self.bytes -= pending.bytes;
                if let (Event::Answered(size), Some(chunk)) = (event, pending.chunk) {
                    self.counted(chunk, size);
                }
                if self.unacknowledged.is_empty() {
                    for key in self.withdrawing.drain(..) {
                        self.keys[key].sent = false;
                    }
                }
            }
            Event::Made { messages, bytes, stage, elements } => self.made(messages as usize, bytes, stage, elements),
            Event::Greeted { messages } => {
                self.unacknowledged.extend(std::iter::repeat_n(Pending::default(), messages as usize));
            }
            Event::Asked { bytes } => {
                self.asked = true;
                self.unacknowledged.push_back(Pending { bytes, chunk: None });
                self.bytes += bytes;
            }
            Event::Packed { stages, bytes } => self.packed(&stages, bytes),
            Event::Changed => {
                if let Some(key) = self.queue.pop_front() {
                    self.once_more(key);
                }
            }
            Event::Stale { keys } => {
                self.committing = false;
                self.stale = self.stale.saturating_add(1);
                keys.into_iter().for_each(|key| self.once_more(key));
            }
            Event::Committed { kept } => {
                self.committing = false;
                for key in kept {
                    // Whatever else the target got, the source still has this key and answers for it.
                    self.retract(key);
                }
                if self.queue.is_empty() {
                    self.over = true;
                    return Action::Finish { moved: self.moved() };
                }
                self.keys.iter_mut().filter(|key| key.stage == Stage::Done).for_each(|key| key.sent = false);
            }
        }
        if !owed && !self.unacknowledged.is_empty() {
            // It is from now on that the target has something to say.
            self.heard(now_ms);
        }
        self.next()
    }

    fn heard(&mut self, now_ms: i64) {
        self.heard_ms = now_ms;
        self.silent_ms = 0;
    }

    fn made(&mut self, messages: usize, bytes: usize, stage: Stage, elements: Option<u64>) {
        let Some(&key) = self.queue.front() else { return };
        let progress = &mut self.keys[key];
        progress.stage = stage;
        progress.sent |= messages > 0;
        self.asked &= messages == 0;
        let share = bytes.checked_div(messages).unwrap_or(0);
        for n in 0..messages {
            let bytes = if n == 0 { bytes - share * (messages - 1) } else { share };
            self.unacknowledged.push_back(Pending { bytes, chunk: None });
        }
        if let (Some(elements), Some(last)) = (elements, self.unacknowledged.back_mut()) {
            progress.elements += elements;
            last.chunk = Some(Chunk { key, tries: progress.tries, size: progress.elements });
        }
        self.bytes += if messages > 0 { bytes } else { 0 };
        if stage.is_final() {
            self.queue.pop_front();
        }
        if stage == Stage::Withdrawn {
            self.withdrawing.push(key);
        }
    }

    /// The target's collection has another size than what was sent of it: it ended there meanwhile, since nothing came for
    /// longer than it lives half sent, and the chunk began a new one.
    fn counted(&mut self, chunk: Chunk, size: u64) {
        let Progress { stage, tries, .. } = self.keys[chunk.key];
        let told_already = tries != chunk.tries || matches!(stage, Stage::Retract | Stage::Withdrawn | Stage::Absent);
        if size == chunk.size || told_already {
            return;
        }
        if self.queue.front() == Some(&chunk.key) {
            self.queue.pop_front();
        }
        self.once_more(chunk.key);
    }

    fn packed(&mut self, stages: &[Stage], bytes: usize) {
        for &stage in stages {
            let Some(key) = self.queue.pop_front() else { break };
            self.keys[key].stage = stage;
            self.keys[key].sent |= stage == Stage::Done;
        }
        if bytes > 0 {
            self.unacknowledged.push_back(Pending { bytes, chunk: None });
            self.bytes += bytes;
            self.asked = false;
        }
    }

    /// The target has said that it wants to be asked before keys are removed here.
    pub fn ask_before_the_end(&mut self) {
        self.sync = true;
    }

    /// Whether the target was asked and has not answered: until then it looks at nothing else that comes on the link.
    pub fn is_asking(&self) -> bool {
        self.asked && !self.unacknowledged.is_empty()
    }

    /// The keys that are next and of which nothing was sent yet: they may go in one message.
    pub fn ahead(&self) -> impl Iterator<Item = usize> {
        let fresh = |key: &&usize| self.keys[**key].stage == Stage::Prepare && !self.keys[**key].sent;
        self.queue.iter().take_while(fresh).copied()
    }

    fn once_more(&mut self, key: usize) {
        let progress = &mut self.keys[key];
        progress.tries += 1;
        progress.elements = 0;
        if progress.tries > TRIES {
            return self.retract(key);
        }
        progress.stage = Stage::Prepare;
        self.queue.push_back(key);
    }

    fn retract(&mut self, key: usize) {
        self.keys[key].stage = Stage::Retract;
        self.queue.push_back(key);
    }

    fn next(&mut self) -> Action {
        if self.committing {
            return Action::Wait;
        }
        if let Some(&key) = self.queue.front() {
            let full = self.bytes >= self.bytes_max || self.unacknowledged.len() >= MESSAGES_MAX;
            if full && !self.unacknowledged.is_empty() {
                return Action::Wait;
            }
            let Progress { stage, sent, .. } = self.keys[key];
            return Action::Make { key, stage, again: sent };
        }
        if !self.unacknowledged.is_empty() {
            return Action::Wait;
        }
        if self.sync && !self.asked && self.done().next().is_some() {
            return Action::Sync;
        }
        self.committing = true;
        Action::Commit { partly: self.stale >= ROUNDS - 1 }
    }

    /// Whether what is found changed now is sent for the last time: what changes after that stays.
    pub fn is_last_but_one(&self) -> bool {
        self.stale == ROUNDS - 2
    }

    /// What to do instead of `action` now that somebody wants the batch to end: one that is over stays as it ended.
    pub fn end(&mut self, action: Action, reason: Reason) -> Action {
        if self.over { action } else { self.abort(reason) }
    }

    fn abort(&mut self, reason: Reason) -> Action {
        self.over = true;
        Action::Abort(reason)
    }

    fn moved(&self) -> usize {
        self.keys.iter().filter(|key| key.stage == Stage::Done).count()
    }

    /// Keys of which the target may hold copies that the source answers for.
    pub fn sent(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().enumerate().filter(|(_, key)| key.sent).map(|(index, _)| index)
    }

    /// Keys that are sent completely, as far as is known.
    pub fn done(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().enumerate().filter(|(_, key)| key.stage == Stage::Done).map(|(index, _)| index)
    }

    /// Messages that wait for their acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Keys that have something left to send, and the first one's stage.
    pub fn left(&self) -> (usize, Option<(usize, Stage)>) {
        (self.queue.len(), self.queue.front().map(|&key| (key, self.keys[key].stage)))
    }

    /// When the last acknowledgement came, or the first message after it was made, or the batch began.
    pub fn heard_ms(&self) -> i64 {
        self.heard_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Action = Action::Commit { partly: false };

    fn made(messages: u32, bytes: usize, stage: Stage) -> Event {
        Event::Made { messages, bytes, stage, elements: None }
    }

    fn chunk(elements: u64, stage: Stage) -> Event {
        Event::Made { messages: 1, bytes: 5, stage, elements: Some(elements) }
    }

    fn make(key: usize, stage: Stage) -> Action {
        Action::Make { key, stage, again: false }
    }

    #[test]
    fn keys_are_sent_one_after_the_other_and_committed_together() {
        let mut export = Export::new(2, 1000, 100, 1, 0);
        assert_eq!(export.step(Event::Ready, 0), make(0, Stage::Prepare));
        let chunked = Stage::Chunked { cursor: 7 };
        assert_eq!(export.step(made(2, 50, chunked), 0), Action::Make { key: 0, stage: chunked, again: true });
        export.step(made(1, 50, Stage::FillTtl), 0);
        assert_eq!(export.step(made(1, 10, Stage::Done), 0), make(1, Stage::Prepare));
        assert_eq!(export.step(made(2, 10, Stage::Done), 0), Action::Wait);
        (0..6).for_each(|_| assert_eq!(export.step(Event::Acknowledged, 90), Action::Wait));
        assert_eq!(export.step(Event::Acknowledged, 90), COMMIT);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 91), Action::Finish { moved: 2 });
    }

    #[test]
    fn a_collection_that_ended_at_the_target_is_sent_anew() {
        let chunked = Stage::Chunked { cursor: 7 };
        let anew = Action::Make { key: 0, stage: Stage::Prepare, again: true };
        let mut export = Export::new(1, 1000, 100, 0, 0);
        export.step(Event::Ready, 0);
        let mut send = |answers: [u64; 5], until: usize| {
            let mut action = Action::Wait;
            export.step(made(1, 5, chunked), 0);
            export.step(chunk(3, chunked), 0);
            export.step(chunk(2, chunked), 0);
            export.step(chunk(0, Stage::FillTtl), 0);
            export.step(made(1, 5, Stage::Done), 0);
            for answer in &answers[..until] {
                action = export.step(Event::Answered(*answer), 0);
            }
            action
        };
        // The second chunk began a new one. What else was under way is no second reason.
        assert_eq!(send([1, 3, 2, 2, 1], 5), anew);
        assert_eq!(send([0, 3, 5, 5, 1], 5), COMMIT);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 0), Action::Finish { moved: 1 });

        // It shows before all of it was made.
        let mut export = Export::new(2, 1000, 100, 0, 0);
        export.step(Event::Ready, 0);
        export.step(made(1, 5, chunked), 0);
        export.step(chunk(3, chunked), 0);
        export.step(Event::Acknowledged, 0);
        assert_eq!(export.step(Event::Answered(2), 0), make(1, Stage::Prepare));
        assert_eq!(export.step(made(0, 0, Stage::Absent), 0), anew);
    }

    #[test]
    fn nothing_to_send_is_committed_at_once() {
        let mut export = Export::new(1, 1000, 100, 0, 0);
        export.step(Event::Ready, 0);
        assert_eq!(export.step(made(0, 0, Stage::Absent), 0), COMMIT);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 0), Action::Finish { moved: 0 });
        assert_eq!(export.sent().count(), 0);
    }

    #[test]
    fn keys_that_go_in_one_message_have_one_acknowledgement() {
        let mut export = Export::new(4, 1000, 100, 0, 0);
        assert_eq!(export.step(Event::Ready, 0), make(0, Stage::Prepare));
        assert_eq!(export.ahead().collect::<Vec<_>>(), [0, 1, 2, 3]);
        let stages = vec![Stage::Done, Stage::Absent, Stage::Done];
        assert_eq!(export.step(Event::Packed { stages, bytes: 10 }, 0), make(3, Stage::Prepare));
        assert_eq!(export.step(Event::Packed { stages: vec![Stage::Absent], bytes: 0 }, 0), Action::Wait);
        assert_eq!(export.sent().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(export.step(Event::Acknowledged, 0), COMMIT);
        assert_eq!(
            export.step(Event::Stale { keys: vec![2] }, 0),
            Action::Make { key: 2, stage: Stage::Prepare, again: true }
        );
        assert_eq!(export.ahead().count(), 0);
        export.step(made(2, 10, Stage::Done), 0);
        export.step(Event::Acknowledged, 0);
        assert_eq!(export.step(Event::Acknowledged, 0), COMMIT);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 0), Action::Finish { moved: 2 });
    }

    #[test]
    fn a_target_that_wants_to_be_asked_is_asked_after_the_last_message() {
        let mut export = Export::new(1, 1000, 100, 0, 0);
        export.ask_before_the_end();
        export.step(Event::Ready, 0);
        export.step(made(2, 10, Stage::Done), 0);
        export.step(Event::Acknowledged, 0);
        assert_eq!(export.step(Event::Acknowledged, 0), Action::Sync);
        assert!(!export.is_asking());
        assert_eq!(export.step(Event::Asked { bytes: 5 }, 0), Action::Wait);
        assert!(export.is_asking(), "it looks at nothing else before it answers");
        assert_eq!(export.step(Event::Acknowledged, 0), COMMIT);
        assert!(!export.is_asking());
        // The key is sent again, and asked for again.
        export.step(Event::Stale { keys: vec![0] }, 0);
        export.step(made(2, 10, Stage::Done), 0);
        export.step(Event::Acknowledged, 0);
        assert_eq!(export.step(Event::Acknowledged, 0), Action::Sync);
    }

    #[test]
    fn what_has_become_of_a_chunk_of_a_key_that_is_given_up_is_no_news() {
        let chunked = Stage::Chunked { cursor: 7 };
        let retract = Action::Make { key: 0, stage: Stage::Retract, again: true };
        let mut export = Export::new(1, 1000, 100, 0, 0);
        export.step(Event::Ready, 0);
        for _ in 0..TRIES {
            export.step(made(1, 5, chunked), 0);
            export.step(Event::Changed, 0);
        }
        export.step(made(1, 5, chunked), 0);
        export.step(chunk(3, chunked), 0);
        assert_eq!(export.step(Event::Changed, 0), retract);
        assert_eq!(export.step(made(1, 5, Stage::Withdrawn), 0), Action::Wait);
        (0..=TRIES).for_each(|_| assert_eq!(export.step(Event::Acknowledged, 0), Action::Wait));
        // The target had it end meanwhile; it is withdrawn in any case, and once.
        assert_eq!(export.step(Event::Answered(1), 0), Action::Wait);
        assert_eq!(export.step(Event::Acknowledged, 0), COMMIT);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 0), Action::Finish { moved: 0 });
    }

    #[test]
    fn no_more_is_made_while_too_much_is_unacknowledged() {
        let mut export = Export::new(3, 100, 100, 0, 0);
        export.step(Event::Ready, 0);
        // One message may be larger than the limit.
        assert_eq!(export.step(made(2, 5000, Stage::Done), 0), Action::Wait);
        assert_eq!(export.step(Event::Acknowledged, 0), Action::Wait);
        assert_eq!(export.step(Event::Acknowledged, 0), make(1, Stage::Prepare));
    }

    #[test]
    fn no_more_is_made_while_too_many_messages_are_unacknowledged() {
        let mut export = Export::new(2, usize::MAX, 100, MESSAGES_MAX - 1, 0);
        export.step(Event::Ready, 0);
        assert_eq!(export.step(made(1, 1, Stage::Done), 0), Action::Wait);
        assert_eq!(export.step(Event::Acknowledged, 0), make(1, Stage::Prepare));
    }

    #[test]
    fn silence_and_refusals_end_it_once() {
        let mut export = Export::new(1, 100, 100, 0, 0);
        export.step(Event::Ready, 0);
        export.step(made(2, 5, Stage::Done), 0);
        export.step(Event::Acknowledged, 50);
        assert_eq!(export.step(Event::Tick, 150), Action::Wait);
        assert_eq!(export.step(Event::Tick, 151), Action::Abort(Reason::Timeout));
        assert_eq!(export.step(Event::Failed(Reason::Closed), 151), Action::Wait);
        assert_eq!(export.sent().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn time_in_which_nobody_listens_is_no_silence() {
        let mut export = Export::new(2, 100, 1000, 0, 0);
        export.step(Event::Ready, 0);
        export.step(made(1, 5, Stage::Done), 0);
        assert_eq!(export.step(made(1, 5, Stage::Done), 0), Action::Wait);
        // A thread that had no processor for an hour has not looked what has come in that time, and does so next.
        assert_eq!(export.step(Event::Tick, 3_600_000), Action::Wait);
        assert_eq!(export.step(Event::Acknowledged, 3_600_000), Action::Wait);
        // And a clock that is set back costs no more than one look.
        let looks = |export: &mut Export, from: i64| {
            (1..).find(|n| export.step(Event::Tick, from + n * 100) == Action::Abort(Reason::Timeout))
        };
        assert_eq!(looks(&mut export, 0), Some(12));
        let mut export = Export::new(1, 100, 1000, 1, 0);
        export.step(Event::Ready, 0);
        // The share of each long pause counts.
        let pauses = (1..).find(|n| export.step(Event::Tick, n * 10_000) == Action::Abort(Reason::Timeout));
        assert_eq!(pauses, Some(1000 / LISTENING_MS_MAX + 1));
    }

    #[test]
    fn a_cancel_ends_what_is_not_over() {
        let mut export = Export::new(1, 100, 100, 0, 0);
        let action = export.step(Event::Ready, 0);
        assert_eq!(export.end(action, Reason::Canceled), Action::Abort(Reason::Canceled));
        let mut export = Export::new(1, 100, 100, 0, 0);
        export.step(Event::Ready, 0);
        assert_eq!(export.step(made(0, 0, Stage::Absent), 0), COMMIT);
        let action = export.step(Event::Committed { kept: Vec::new() }, 0);
        // What has moved has moved.
        assert_eq!(export.end(action, Reason::Canceled), Action::Finish { moved: 0 });
        let mut export = Export::new(1, 100, 100, 0, 0);
        let action = export.step(Event::Failed(Reason::Closed), 0);
        assert_eq!(export.end(action, Reason::Canceled), Action::Abort(Reason::Closed));
    }

    #[test]
    fn a_target_that_owes_nothing_is_not_silent() {
        let mut export = Export::new(2, 100, 100, 0, 0);
        export.step(Event::Ready, 0);
        // Its own pace keeps the source from sending.
        assert_eq!(export.step(Event::Tick, 500), make(0, Stage::Prepare));
        export.step(made(1, 5, Stage::Done), 500);
        assert_eq!(export.step(Event::Tick, 600), make(1, Stage::Prepare));
        // A second message is no sign of the target.
        export.step(made(1, 5, Stage::Done), 600);
        assert_eq!(export.step(Event::Tick, 601), Action::Abort(Reason::Timeout));
    }

    #[test]
    fn an_acknowledgement_of_nothing_ends_it() {
        let mut export = Export::new(1, 100, 100, 0, 0);
        export.step(Event::Ready, 0);
        assert!(matches!(export.step(Event::Acknowledged, 0), Action::Abort(Reason::Nonsense(_))));
    }

    #[test]
    fn a_key_that_changes_is_sent_again_and_left_alone_in_the_end() {
        let mut export = Export::new(1, 100, 100, 0, 0);
        export.step(Event::Ready, 0);
        let chunked = Stage::Chunked { cursor: 7 };
        for _ in 0..TRIES {
            export.step(made(1, 5, chunked), 0);
            let again = export.step(Event::Changed, 0);
            assert_eq!(again, Action::Make { key: 0, stage: Stage::Prepare, again: true });
            assert_eq!(export.step(Event::Acknowledged, 0), again);
        }
        export.step(made(1, 5, chunked), 0);
        let retract = Action::Make { key: 0, stage: Stage::Retract, again: true };
        assert_eq!(export.step(Event::Changed, 0), retract);
        export.step(made(1, 5, Stage::Withdrawn), 0);
        export.step(Event::Acknowledged, 0);
        assert_eq!(export.sent().count(), 1);
        assert_eq!(export.step(Event::Acknowledged, 0), COMMIT);
        assert_eq!(export.sent().count(), 0);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 0), Action::Finish { moved: 0 });
    }

    #[test]
    fn keys_of_which_one_or_another_always_changes_are_sent_in_few_rounds() {
        const KEYS: usize = 50;
        let mut export = Export::new(KEYS, 1000, 100, 0, 0);
        export.step(Event::Ready, 0);
        let (mut messages, mut commits) = (0, 0);
        let mut send = |export: &mut Export, keys: usize| {
            messages += keys;
            (0..keys).for_each(|_| drop(export.step(made(1, 5, Stage::Done), 0)));
            (1..keys).for_each(|_| assert_eq!(export.step(Event::Acknowledged, 0), Action::Wait));
            export.step(Event::Acknowledged, 0)
        };
        let mut action = send(&mut export, KEYS);
        while action == COMMIT {
            commits += 1;
            // Never the same ones.
            let keys = vec![2 * commits, 2 * commits + 1];
            assert_eq!(export.is_last_but_one(), commits + 1 == usize::from(ROUNDS));
            let again = export.step(Event::Stale { keys }, 0);
            assert_eq!(again, Action::Make { key: 2 * commits, stage: Stage::Prepare, again: true });
            action = send(&mut export, 2);
        }
        assert!(!export.is_last_but_one());
        assert_eq!(action, Action::Commit { partly: true });
        assert_eq!((commits + 1, messages), (usize::from(ROUNDS), KEYS + 2 * (usize::from(ROUNDS) - 1)));
        let retract = Action::Make { key: 7, stage: Stage::Retract, again: true };
        assert_eq!(export.step(Event::Committed { kept: vec![7] }, 0), retract);
        export.step(made(1, 5, Stage::Withdrawn), 0);
        export.step(Event::Acknowledged, 0);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 0), Action::Finish { moved: KEYS - 1 });
    }

    #[test]
    fn what_was_kept_by_a_commit_is_taken_back_from_the_target() {
        let mut export = Export::new(2, 100, 100, 0, 0);
        export.step(Event::Ready, 0);
        export.step(made(1, 5, Stage::Done), 0);
        export.step(made(1, 5, Stage::Done), 0);
        export.step(Event::Acknowledged, 0);
        assert_eq!(export.step(Event::Acknowledged, 0), COMMIT);
        let retract = Action::Make { key: 1, stage: Stage::Retract, again: true };
        assert_eq!(export.step(Event::Committed { kept: vec![1] }, 0), retract);
        // The other one has moved and is the target's now, whatever happens from here on.
        assert_eq!(export.sent().collect::<Vec<_>>(), [1]);
        export.step(made(1, 5, Stage::Withdrawn), 0);
        assert_eq!(export.step(Event::Acknowledged, 0), COMMIT);
        assert_eq!(export.step(Event::Committed { kept: vec![] }, 0), Action::Finish { moved: 1 });
    }
}

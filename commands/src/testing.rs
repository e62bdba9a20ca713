//! A whole engine for a test: run a command as a person would type it, and look at what came of it.

use crate::args::Args;
use crate::ctx::{Ctx, Session};
use crate::settings::Settings;
use crate::table::Registry;
use engine::clock::Now;
use engine::interest::{Stake, Watch};
use engine::keyspace::{Key, Keyspace, Local};
use engine::raw::lock::SlotLocks;
use engine::records::Records;
use engine::slot::Slot;
use resp::{Arg, Out, Reply};
use std::sync::Arc;

/// One engine, one client.
pub(crate) struct World {
    locks: SlotLocks<Slot>,
    commands: Registry<crate::table::Handler>,
    local: Local,
    session: Session,
    /// The settings in force.
    pub(crate) settings: Settings,
    /// The moment at which the next command runs.
    pub(crate) now: Now,
    /// Records of the last command, each as its words.
    pub(crate) log: Vec<String>,
    /// Events of the last command, each as event and key.
    pub(crate) events: Vec<String>,
    /// Changes counted by the last command.
    pub(crate) dirty: u64,
}

impl World {
    pub(crate) fn new() -> World {
        let mut local = Local { seed: 1, ..Local::default() };
        local.effects.logging = true;
        local.effects.wanted = u32::MAX;
        World {
            locks: SlotLocks::new(slots::SLOTS, Slot::default),
            commands: Registry::new(crate::tables()),
            local,
            session: Session::default(),
            settings: Settings::default(),
            now: Now { ms: 1_000_000_000_000 },
            log: Vec::new(),
            events: Vec::new(),
            dirty: 0,
        }
    }

    /// Runs a line, quoted as in redis-cli, and gives the reply in one line: strings as they are, `:1` for an integer,
    /// `(nil)`, `[a b]` for an array, `-ERR ..` for an error.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words = resp::split_args(line.as_bytes()).expect("balanced quotes");
        show(&self.run_words(&words))
    }

    /// As [`World::run`], with the elements of an array in order, for replies whose order is arbitrary.
    pub(crate) fn sorted(&mut self, line: &str) -> String {
        let words = resp::split_args(line.as_bytes()).expect("balanced quotes");
        match self.run_words(&words) {
            Reply::Array(Some(mut elements)) => {
                elements.sort_by_key(show);
                show(&Reply::Array(Some(elements)))
            }
            other => show(&other),
        }
    }

    /// Runs a command of these words.
    pub(crate) fn run_words(&mut self, words: &[Vec<u8>]) -> Reply {
        let (mut buf, mut ranges) = (Vec::new(), Vec::new());
        for word in words {
            ranges.push(Arg { start: buf.len() as u32, len: word.len() as u32 });
            buf.extend_from_slice(word);
        }
        let args = Args::new(&buf, &ranges);
        let row = *self.commands.get(args.at(0)).expect("a known command");
        assert!(row.spec.arity_ok(args.len()), "number of arguments");

        self.local.effects.reset();
        let mut out = Out::new();
        let mut owner = self.locks.register().expect("a free owner");
        let mut held = owner.try_privileged().expect("nobody else");
        let keys = Keyspace::new(&mut held, &mut self.local, self.session.db, self.now);
        let (session, settings) = (&mut self.session, &self.settings);
        let mut ctx = Ctx { args, out: &mut out, keys, session, settings, first: None, in_script: false };
        if let Err(error) = (row.handler)(&mut ctx) {
            out.clear();
            out.error_line(error.text());
        }
        let effects = &self.local.effects;
        let mut records = Records::default();
        if effects.has_records() {
            effects.records(args.iter(), &mut records);
        }
        self.log =
            replies(records.bytes()).iter().map(|record| show(record).trim_matches(['[', ']']).to_owned()).collect();
        let event = |notice: &engine::effects::Notice| format!("{} {}", notice.event, notice.key.escape_ascii());
        self.events = effects.notices().iter().map(event).collect();
        self.dirty = effects.dirty;
        replies(out.as_slice()).pop().expect("one reply")
    }

    /// Watches a key.
    pub(crate) fn watch(&mut self, key: &str) -> Arc<Watch> {
        let watch = Arc::new(Watch::default());
        self.look(|keys| keys.register(&Key::new(key.as_bytes()), Stake::Watch(Arc::clone(&watch))));
        watch
    }

    /// The next list that somebody waits for.
    pub(crate) fn take_ready(&mut self) -> Option<engine::keyspace::Ready> {
        self.local.ready.pop_front()
    }

    /// What `look` makes of all keys, database 0 selected.
    pub(crate) fn look<R>(&mut self, look: impl FnOnce(&mut Keyspace<'_, '_>) -> R) -> R {
        let mut owner = self.locks.register().expect("a free owner");
        let mut held = owner.try_privileged().expect("nobody else");
        look(&mut Keyspace::new(&mut held, &mut self.local, 0, self.now))
    }
}

fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut all = Vec::new();
    while let Some((reply, len)) = Reply::decode(bytes).expect("well-formed replies") {
        all.push(reply);
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "half a reply");
    all
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) | Reply::Bulk(Some(text)) => text.escape_ascii().to_string(),
        Reply::Error(text) => format!("-{}", text.escape_ascii()),
        Reply::Int(int) => format!(":{int}"),
        Reply::Bulk(None) | Reply::Array(None) => "(nil)".into(),
        Reply::Array(Some(elements)) => {
            let shown: Vec<_> = elements.iter().map(show).collect();
            format!("[{}]", shown.join(" "))
        }
    }
}

//! Both ends over a fake network: keys change while they move, acknowledgements come late, links break, and in the end
//! every key is found once, with its last value.

use super::export::{Action, Event, Export, Reason, Stage};
use super::message::{ELEMENTS, KEY, MANY, Message, Packed, SYNC, items};
use super::wire;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Key = u8;
/// A list of elements: one is sent whole, several in chunks of one.
type Elements = Vec<u8>;

#[derive(Default)]
struct Source {
    keys: BTreeMap<Key, Elements>,
    /// Marked, and not changed since.
    leaving: BTreeSet<Key>,
}

impl Source {
    fn write(&mut self, key: Key, value: Elements) {
        self.leaving.remove(&key);
        if value.is_empty() {
            self.keys.remove(&key)
        } else {
            self.keys.insert(key, value)
        };
    }
}

/// One link with what is under way on it.
struct Link {
    messages: VecDeque<Vec<Vec<u8>>>,
    acks: VecDeque<Option<u64>>,
    /// What the target has a part of.
    half: Option<Key>,
}

/// Carries out one message as a target does, and answers with a number, or refuses it.
fn receive(target: &mut BTreeMap<Key, Elements>, half: &mut Option<Key>, args: &[Vec<u8>]) -> Option<u64> {
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    let key = args[KEY][0];
    *half = None;
    match Message::parse(&args).expect("what the source sends is understood") {
        Message::Delete => return Some(target.remove(&key).is_some().into()),
        Message::Expire { .. } => return target.contains_key(&key).then_some(1),
        Message::Text { .. } | Message::Object { .. } => {
            return target.insert(key, args[4].to_vec()).is_none().then_some(1);
        }
        Message::Many => items(&args).for_each(|item| {
            let Packed::Text(text) = item.value else { panic!("only texts are packed here") };
            target.insert(item.key[0], text.to_vec());
        }),
        Message::Sync => {}
        Message::Part { .. } => unreachable!("nothing is long here"),
        Message::Ends => unreachable!("nobody breaks a link here"),
        Message::Chunk { .. } => {
            let elements = target.entry(key).or_default();
            elements.extend(args[ELEMENTS..].concat());
            *half = Some(key);
            return Some(elements.len() as u64);
        }
    }
    Some(1)
}

/// Makes the messages of one step.
fn make(source: &mut Source, key: Key, stage: Stage, again: bool, link: &mut Link) -> Event {
    let before = link.messages.len();
    let mut send = |args: &[&[u8]]| {
        let mut whole = vec![wire::RESTORE.to_vec()];
        whole.extend(args.iter().map(|arg| arg.to_vec()));
        link.messages.push_back(whole);
    };
    let name = [key];
    let mut elements = None;
    let stage = match (stage, source.keys.get(&key).cloned()) {
        (Stage::Retract, _) => {
            send(&[b"delete", &name]);
            source.leaving.remove(&key);
            Stage::Withdrawn
        }
        (Stage::Prepare, None) if again => {
            send(&[b"delete", &name]);
            Stage::Withdrawn
        }
        (Stage::Prepare, None) => Stage::Absent,
        (Stage::Prepare, Some(value)) => {
            source.leaving.insert(key);
            send(&[b"delete", &name]);
            if value.len() > 1 {
                Stage::Chunked { cursor: 0 }
            } else {
                send(&[b"string", &name, b"0", &value]);
                Stage::Done
            }
        }
        _ if !source.leaving.contains(&key) => return Event::Changed,
        (Stage::Chunked { cursor }, Some(value)) => {
            let at = cursor as usize;
            elements = Some(1);
            send(&[b"list", &name, b"9", b"0", &value[at..at + 1]]);
            if at + 1 == value.len() { Stage::FillTtl } else { Stage::Chunked { cursor: cursor + 1 } }
        }
        (Stage::FillTtl, Some(_)) => {
            send(&[b"expire", &name, b"0"]);
            Stage::Done
        }
        (stage, value) => panic!("{stage:?} {value:?}"),
    };
    let messages = (link.messages.len() - before) as u32;
    Event::Made { messages, bytes: 10 * messages as usize, stage, elements }
}

/// Makes one message of the keys that are next, up to one that goes in chunks.
fn pack(source: &mut Source, names: &[Key], export: &Export, link: &mut Link) -> Option<Event> {
    let mut whole = vec![wire::RESTORE.to_vec(), MANY.to_vec()];
    let mut stages = Vec::new();
    for key in export.ahead().map(|index| names[index]) {
        match source.keys.get(&key) {
            None => stages.push(Stage::Absent),
            Some(value) if value.len() > 1 => break,
            Some(value) => {
                source.leaving.insert(key);
                whole.extend([vec![key], b"0".to_vec(), [b"s", &value[..]].concat()]);
                stages.push(Stage::Done);
            }
        }
    }
    let bytes = if whole.len() > 2 { 10 } else { 0 };
    if bytes > 0 {
        link.messages.push_back(whole);
    }
    (!stages.is_empty()).then_some(Event::Packed { stages, bytes })
}

fn commit(source: &mut Source, export: &Export, names: &[Key], partly: bool, removed: &mut BTreeSet<usize>) -> Event {
    let done: Vec<usize> = export.done().filter(|index| !removed.contains(index)).collect();
    let stale = |&&index: &&usize| !source.leaving.contains(&names[index]);
    let keys: Vec<usize> = done.iter().filter(stale).copied().collect();
    if !keys.is_empty() && !partly {
        return Event::Stale { keys };
    }
    for index in done.into_iter().filter(|index| !keys.contains(index)) {
        source.keys.remove(&names[index]);
        source.leaving.remove(&names[index]);
        removed.insert(index);
    }
    Event::Committed { kept: keys }
}

/// One batch over one link. `steps` is what happens in between, one byte a turn.
fn batch(
    source: &mut Source,
    target: &mut BTreeMap<Key, Elements>,
    expected: &mut BTreeMap<Key, Elements>,
    ours: bool,
    steps: &mut impl Iterator<Item = u8>,
) {
    let names: Vec<Key> = source.keys.keys().copied().collect();
    let mut link = Link { messages: VecDeque::new(), acks: VecDeque::new(), half: None };
    let mut export = Export::new(names.len(), 40, 1000, 0, 0);
    if ours {
        export.ask_before_the_end();
    }
    let mut removed = BTreeSet::new();
    let mut action = export.step(Event::Ready, 0);
    loop {
        let event = match action {
            Action::Make { key, stage, again } => {
                let packed = (ours && (stage, again) == (Stage::Prepare, false))
                    .then(|| pack(source, &names, &export, &mut link))
                    .flatten();
                packed.unwrap_or_else(|| make(source, names[key], stage, again, &mut link))
            }
            Action::Sync => {
                link.messages.push_back(vec![wire::RESTORE.to_vec(), SYNC.to_vec(), vec![0]]);
                Event::Asked { bytes: 10 }
            }
            Action::Commit { partly } => commit(source, &export, &names, partly, &mut removed),
            Action::Finish { .. } => return,
            Action::Abort(_) => {
                // The target is told to forget before the keys may change again.
                export.sent().for_each(|index| drop(target.remove(&names[index])));
                source.leaving.clear();
                return;
            }
            Action::Wait => Event::Tick,
        };
        action = export.step(event, 0);
        if matches!(action, Action::Finish { .. } | Action::Abort(_)) {
            continue;
        }
        match steps.next().unwrap_or(0) {
            // Somebody writes to a key that is still here, or removes it.
            step @ 200..240 => {
                let key = step % 5;
                if source.keys.contains_key(&key) {
                    let value: Elements = (0..step % 4).collect();
                    source.write(key, value.clone());
                    if value.is_empty() {
                        expected.remove(&key)
                    } else {
                        expected.insert(key, value)
                    };
                }
            }
            // What is half there lives only for a while without hearing of it.
            190..200 => {
                if let Some(key) = link.half.take() {
                    target.remove(&key);
                }
            }
            240..250 if action == Action::Wait => action = export.step(Event::Failed(Reason::Closed), 0),
            _ if action != Action::Wait => {}
            step => match (step % 2, link.messages.pop_front()) {
                (0, Some(message)) => link.acks.push_back(receive(target, &mut link.half, &message)),
                (_, message) => {
                    message.into_iter().for_each(|message| link.messages.push_front(message));
                    if let Some(answer) = link.acks.pop_front() {
                        let refused = || Event::Failed(Reason::Refused(b"no".to_vec()));
                        action = export.step(answer.map_or_else(refused, Event::Answered), 0);
                    } else if let Some(message) = link.messages.pop_front() {
                        link.acks.push_back(receive(target, &mut link.half, &message));
                    }
                }
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_key_is_found_once_with_its_last_value(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 5),
        stale in prop::collection::vec(any::<u8>(), 1..3),
        ours in any::<bool>(),
        steps in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut expected = BTreeMap::new();
        let mut source = Source::default();
        for (key, value) in values.into_iter().enumerate().filter(|(_, value)| !value.is_empty()) {
            expected.insert(key as Key, value.clone());
            source.keys.insert(key as Key, value);
        }
        // An old copy from a batch of long ago.
        let mut target = BTreeMap::from([(0, stale)]);
        if !expected.contains_key(&0) {
            target.clear();
        }
        let mut steps = steps.into_iter();
        for _ in 0..200 {
            batch(&mut source, &mut target, &mut expected, ours, &mut steps);
            let twice = source.keys.keys().any(|key| target.contains_key(key));
            // Only the old copy may be there beside the key itself, until the key has moved.
            prop_assert!(!twice || source.keys.contains_key(&0));
            if source.keys.is_empty() {
                break;
            }
        }
        prop_assert!(source.keys.is_empty());
        prop_assert_eq!(target, expected);
    }
}

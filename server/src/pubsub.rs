//! Channels: who subscribes to what, on which reactor, and messages on their way.
//!
//! ```text
//!  PUBLISH -> shard of the channel (mutex): number of subscribers by reactor     one Arc<Message> -> one mail a reactor
//!          -> patterns (copy-on-write list): number of subscribers by reactor                        -> its own Audience
//! ```
//! What is shared knows reactors only; which connections of a reactor listen stands in that reactor's [`Audience`]. So a
//! message is built once, and a thousand subscribers cost one mail a reactor.
//!
//! 1. A message is posted to all mailboxes, the publisher's own included, under its channel's lock: all subscribers see
//!    the messages of one channel in one order.
//! 2. Subscribing takes a stamp under the same lock; a message with an older one was sent before and is not delivered.
//! 3. Locks are leaves, in this order: shard, patterns, mailbox. Slots may be held (keyspace events).

use crate::mailbox::{Mail, Mailbox};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Channels are spread over so many locks.
const SHARDS: usize = 64;

type Map<V> = HashMap<Box<[u8]>, V, foldhash::fast::RandomState>;

/// Numbers of subscribers, by reactor.
#[derive(Default, Clone)]
struct Counts(Vec<(usize, usize)>);

impl Counts {
    fn add(&mut self, reactor: usize) {
        match self.0.iter_mut().find(|(of, _)| *of == reactor) {
            Some((_, count)) => *count += 1,
            None => self.0.push((reactor, 1)),
        }
    }

    fn remove(&mut self, reactor: usize) {
        if let Some((_, count)) = self.0.iter_mut().find(|(of, _)| *of == reactor) {
            *count -= 1;
        }
        self.0.retain(|(_, count)| *count > 0);
    }

    fn sum(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

#[derive(Default)]
struct Shard {
    /// Counts messages.
    stamp: u64,
    channels: Map<Counts>,
}

/// All patterns, as of one moment.
#[derive(Default, Clone)]
struct Patterns {
    /// Counts changes of the list.
    stamp: u64,
    rows: Vec<(Arc<[u8]>, Counts)>,
}

/// A message on its way.
pub struct Message {
    /// The channel.
    pub channel: Box<[u8]>,
    /// The text.
    pub payload: Box<[u8]>,
    /// What subscribers of the channel read; empty if there were none.
    pub frame: Vec<u8>,
    /// Patterns that match and that somebody subscribes to.
    pub patterns: Vec<Arc<[u8]>>,
    stamp: u64,
    patterns_stamp: u64,
}

impl Message {
    /// What subscribers of `pattern` read.
    pub fn frame_for(&self, pattern: &[u8]) -> Vec<u8> {
        let mut frame = resp::Out::new();
        frame.array(4);
        [b"pmessage", pattern, &self.channel, &self.payload].into_iter().for_each(|part| frame.bulk(part));
        frame.into_vec()
    }
}

/// The channels of the node.
pub struct PubSub {
    shards: Box<[Mutex<Shard>]>,
    patterns: RwLock<Arc<Patterns>>,
    /// Subscriptions to channels and to patterns: while both are 0, publishing is free.
    subscriptions: [AtomicUsize; 2],
    hasher: foldhash::fast::RandomState,
}

impl Default for PubSub {
    fn default() -> PubSub {
        PubSub {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            patterns: RwLock::default(),
            subscriptions: Default::default(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl PubSub {
    fn shard(&self, channel: &[u8]) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(channel) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patterns(&self) -> Arc<Patterns> {
        self.patterns.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change_patterns(&self, change: impl FnOnce(&mut Vec<(Arc<[u8]>, Counts)>)) -> u64 {
        let mut current = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Patterns::clone(&current);
        changed.stamp += 1;
        change(&mut changed.rows);
        let stamp = changed.stamp;
        *current = Arc::new(changed);
        stamp
    }

    /// One more client of `reactor` subscribes to a channel. Returns the moment's stamp.
    fn join(&self, reactor: usize, channel: &[u8]) -> u64 {
        self.subscriptions[0].fetch_add(1, Ordering::SeqCst);
        let mut shard = self.shard(channel);
        shard.channels.entry(channel.into()).or_default().add(reactor);
        shard.stamp
    }

    fn leave(&self, reactor: usize, channel: &[u8]) {
        let mut shard = self.shard(channel);
        if let Some(counts) = shard.channels.get_mut(channel) {
            counts.remove(reactor);
            if counts.0.is_empty() {
                shard.channels.remove(channel);
            }
        }
        self.subscriptions[0].fetch_sub(1, Ordering::SeqCst);
    }

    fn join_pattern(&self, reactor: usize, pattern: &[u8]) -> u64 {
        self.subscriptions[1].fetch_add(1, Ordering::SeqCst);
        self.change_patterns(|rows| {
            let at = rows.iter().position(|(known, _)| **known == *pattern).unwrap_or_else(|| {
                rows.push((pattern.into(), Counts::default()));
                rows.len() - 1
            });
            rows[at].1.add(reactor);
        })
    }

    fn leave_pattern(&self, reactor: usize, pattern: &[u8]) {
        self.change_patterns(|rows| {
            if let Some((_, counts)) = rows.iter_mut().find(|(known, _)| **known == *pattern) {
                counts.remove(reactor);
            }
            rows.retain(|(_, counts)| !counts.0.is_empty());
        });
        self.subscriptions[1].fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether anybody subscribes to anything.
    #[inline]
    pub fn has_subscribers(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Ordering::SeqCst) > 0)
    }

    /// Sends a message to all who listen; returns how many do.
    pub fn publish(&self, mailboxes: &[Mailbox], channel: &[u8], payload: &[u8]) -> usize {
        if !self.has_subscribers() {
            return 0;
        }
        let mut shard = self.shard(channel);
        shard.stamp += 1;
        let mut receivers = 0;
        let mut reactors: Vec<usize> = Vec::new();
        let mut frame = Vec::new();
        if let Some(counts) = shard.channels.get(channel) {
            receivers += counts.sum();
            reactors.extend(counts.0.iter().map(|(reactor, _)| reactor));
            let mut out = resp::Out::with_capacity(channel.len() + payload.len() + 64);
            out.array(3);
            [b"message", channel, payload].into_iter().for_each(|part| out.bulk(part));
            frame = out.into_vec();
        }
        let (mut patterns, mut patterns_stamp) = (Vec::new(), 0);
        if self.subscriptions[1].load(Ordering::SeqCst) > 0 {
            let list = self.patterns();
            patterns_stamp = list.stamp;
            for (pattern, counts) in list.rows.iter().filter(|row| resp::glob_match(&row.0, channel, false)) {
                receivers += counts.sum();
                reactors.extend(counts.0.iter().map(|(reactor, _)| reactor));
                patterns.push(pattern.clone());
            }
        }
        if receivers > 0 {
            reactors.sort_unstable();
            reactors.dedup();
            let (channel, payload, stamp) = (channel.into(), payload.into(), shard.stamp);
            let message = Arc::new(Message { channel, payload, frame, patterns, stamp, patterns_stamp });
            let bytes = message.channel.len() + message.payload.len() + message.frame.len();
            for mailbox in reactors.into_iter().filter_map(|reactor| mailboxes.get(reactor)) {
                mailbox.send_message(Mail::Published(message.clone()), bytes);
            }
        }
        receivers
    }

    /// Channels that somebody subscribes to and that match `pattern`, if there is one.
    pub fn channels(&self, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = |channel: &[u8]| pattern.is_none_or(|pattern| resp::glob_match(pattern, channel, false));
            found.extend(shard.channels.keys().filter(|channel| wanted(channel)).cloned());
        }
        found
    }

    /// How many clients subscribe to `channel`.
    pub fn subscribers(&self, channel: &[u8]) -> usize {
        self.shard(channel).channels.get(channel).map_or(0, Counts::sum)
    }

    /// How many channels somebody subscribes to.
    pub fn channel_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).channels.len()).sum()
    }

    /// How many subscriptions to patterns there are.
    pub fn pattern_count(&self) -> usize {
        self.subscriptions[1].load(Ordering::SeqCst)
    }
}

/// One client's subscriptions.
#[derive(Default)]
pub struct Subscriptions {
    /// To channels.
    pub channels: std::collections::HashSet<Box<[u8]>>,
    /// To patterns, in the order in which it came to them.
    pub patterns: Vec<Box<[u8]>>,
}

impl Subscriptions {
    /// To channels and patterns together.
    pub fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }
}

/// A connection that listens.
pub struct Ear {
    /// Where it is among the connections of its reactor.
    pub place: usize,
    /// It hears what is stamped later.
    pub since: u64,
}

/// The connections of one reactor that listen, by what they listen to.
#[derive(Default)]
pub struct Audience {
    channels: Map<Vec<Ear>>,
    patterns: Map<Vec<Ear>>,
}

impl Audience {
    /// The client at `place` of `reactor` listens to `channel` too.
    pub fn join(&mut self, pubsub: &PubSub, reactor: usize, channel: &[u8], place: usize) {
        let since = pubsub.join(reactor, channel);
        self.channels.entry(channel.into()).or_default().push(Ear { place, since });
    }

    /// It does so no longer.
    pub fn leave(&mut self, pubsub: &PubSub, reactor: usize, channel: &[u8], place: usize) {
        pubsub.leave(reactor, channel);
        forget(&mut self.channels, channel, place);
    }

    /// The client at `place` listens to all channels that match `pattern`.
    pub fn join_pattern(&mut self, pubsub: &PubSub, reactor: usize, pattern: &[u8], place: usize) {
        // A list with the pattern in it has its stamp or a later one.
        let since = pubsub.join_pattern(reactor, pattern) - 1;
        self.patterns.entry(pattern.into()).or_default().push(Ear { place, since });
    }

    /// It does so no longer.
    pub fn leave_pattern(&mut self, pubsub: &PubSub, reactor: usize, pattern: &[u8], place: usize) {
        pubsub.leave_pattern(reactor, pattern);
        forget(&mut self.patterns, pattern, place);
    }

    /// Calls `hear` with each place that hears `message`, and the bytes for it.
    pub fn deliver(&self, message: &Message, mut hear: impl FnMut(usize, &[u8])) {
        let mut tell = |ears: Option<&Vec<Ear>>, stamp: u64, frame: &[u8]| {
            for ear in ears.into_iter().flatten().filter(|ear| stamp > ear.since) {
                hear(ear.place, frame);
            }
        };
        if !message.frame.is_empty() {
            tell(self.channels.get(&message.channel), message.stamp, &message.frame);
        }
        for pattern in &message.patterns {
            if let Some(ears) = self.patterns.get(&**pattern) {
                tell(Some(ears), message.patterns_stamp, &message.frame_for(pattern));
            }
        }
    }
}

fn forget(map: &mut Map<Vec<Ear>>, topic: &[u8], place: usize) {
    if let Some(ears) = map.get_mut(topic) {
        ears.retain(|ear| ear.place != place);
        if ears.is_empty() {
            map.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailboxes(polls: &[mio::Poll]) -> Vec<Mailbox> {
        let waker = |poll: &mio::Poll| mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        polls.iter().map(|poll| Mailbox::new(waker(poll))).collect()
    }

    fn polls(n: usize) -> Vec<mio::Poll> {
        (0..n).map(|_| mio::Poll::new().expect("a poll")).collect()
    }

    /// What the audience of a mailbox hears: place and text.
    fn heard(audience: &Audience, mailbox: &Mailbox) -> Vec<(usize, String)> {
        let (mut mail, mut heard) = (Vec::new(), Vec::new());
        mailbox.take(&mut mail);
        for mail in mail {
            let Mail::Published(message) = mail else { continue };
            audience.deliver(&message, |place, frame| {
                heard.push((place, String::from_utf8_lossy(frame).replace("\r\n", " ")));
            });
        }
        heard
    }

    #[test]
    fn a_message_reaches_channels_and_patterns_of_all_reactors_with_one_mail_each() {
        let (pubsub, polls) = (PubSub::default(), polls(2));
        let mailboxes = mailboxes(&polls);
        let mut audiences = [Audience::default(), Audience::default()];
        audiences[0].join(&pubsub, 0, b"news", 7);
        audiences[0].join_pattern(&pubsub, 0, b"n*", 7);
        audiences[1].join(&pubsub, 1, b"news", 3);
        audiences[1].join(&pubsub, 1, b"news", 4);
        assert_eq!(pubsub.publish(&mailboxes, b"news", b"x"), 4);
        assert_eq!(pubsub.publish(&mailboxes, b"other", b"x"), 0);
        let message = "*3 $7 message $4 news $1 x ".to_owned();
        let pmessage = "*4 $8 pmessage $2 n* $4 news $1 x ".to_owned();
        assert_eq!(heard(&audiences[0], &mailboxes[0]), [(7, message.clone()), (7, pmessage)]);
        assert_eq!(heard(&audiences[1], &mailboxes[1]), [(3, message.clone()), (4, message)]);
        assert_eq!((pubsub.subscribers(b"news"), pubsub.channel_count(), pubsub.pattern_count()), (3, 1, 1));
    }

    #[test]
    fn what_was_sent_before_one_subscribed_is_not_heard() {
        let (pubsub, polls) = (PubSub::default(), polls(1));
        let mailboxes = mailboxes(&polls);
        let mut audience = Audience::default();
        audience.join(&pubsub, 0, b"c", 1);
        audience.join_pattern(&pubsub, 0, b"*", 1);
        pubsub.publish(&mailboxes, b"c", b"early");
        audience.join(&pubsub, 0, b"c", 2);
        audience.join_pattern(&pubsub, 0, b"*", 3);
        let places: Vec<usize> = heard(&audience, &mailboxes[0]).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, [1, 1]);
    }

    #[test]
    fn who_left_hears_nothing_and_leaves_nothing_behind() {
        let (pubsub, polls) = (PubSub::default(), polls(1));
        let mailboxes = mailboxes(&polls);
        let mut audience = Audience::default();
        audience.join(&pubsub, 0, b"c", 1);
        audience.join_pattern(&pubsub, 0, b"c*", 1);
        audience.leave(&pubsub, 0, b"c", 1);
        audience.leave_pattern(&pubsub, 0, b"c*", 1);
        assert!(!pubsub.has_subscribers());
        assert_eq!(pubsub.publish(&mailboxes, b"c", b"x"), 0);
        assert!(audience.channels.is_empty() && audience.patterns.is_empty());
        assert!(pubsub.channels(None).is_empty());
    }
}

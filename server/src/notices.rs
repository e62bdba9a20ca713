//! Keyspace events: what commands reported of keys, as messages on `__keyspace@<db>__:<key>` and
//! `__keyevent@<db>__:<event>`.
//!
//! Published while the slots are held, so the events of one key come in the order in which they happened.

use crate::node::Node;
use engine::effects::{Notice, class};

impl Node {
    /// Publishes events; `wanted` says on which of the two kinds of channels.
    #[cold]
    pub fn publish_notices(&self, notices: &[Notice], wanted: u32) {
        if !self.pubsub.has_subscribers() {
            return;
        }
        let publish = |kind: &str, db: u32, topic: &[u8], payload: &[u8]| {
            let mut channel = format!("__{kind}@{db}__:").into_bytes();
            channel.extend_from_slice(topic);
            self.pubsub.publish(&self.mailboxes, &channel, payload);
        };
        for Notice { event, db, key, .. } in notices {
            if wanted & class::KEYSPACE != 0 {
                publish("keyspace", *db, key, event.as_bytes());
            }
            if wanted & class::KEYEVENT != 0 {
                publish("keyevent", *db, event.as_bytes(), key);
            }
        }
    }
}

//! The stream as a replica takes it: which bytes belong together, and when to say how far it is.
//!
//! A transaction's bytes are one piece, from MULTI to EXEC: an offset never lies within, so that a snapshot taken on
//! the replica, or a link that breaks, leaves no half transaction behind.

use std::mem;

/// Milliseconds between acknowledgements.
pub const ACK_MS: i64 = 1000;

/// What is under way.
#[derive(Debug, Default)]
pub struct Stream {
    /// Bytes of a transaction whose EXEC has not come yet.
    open: Vec<u8>,
    next_ack_ms: i64,
}

impl Stream {
    /// A request with this name and these bytes is about to run; `queues` says that a transaction only keeps it.
    /// Returns the bytes that take effect with it: none while a transaction is open.
    pub fn piece(&mut self, bytes: &[u8], queues: bool) -> Vec<u8> {
        self.open.extend_from_slice(bytes);
        if queues { Vec::new() } else { mem::take(&mut self.open) }
    }

    /// The same request comes again, since it could not run: takes back what [`Stream::piece`] was told.
    pub fn take_back(&mut self, piece: Vec<u8>, bytes: &[u8]) {
        self.open = piece;
        self.open.truncate(self.open.len().saturating_sub(bytes.len()));
    }

    /// Bytes that came and have not taken effect.
    pub fn open_bytes(&self) -> usize {
        self.open.len()
    }

    /// Whether it is time to say how far we are.
    pub fn is_ack_due(&self, now_ms: i64) -> bool {
        // A clock that was set back must not stop it.
        now_ms >= self.next_ack_ms || self.next_ack_ms - now_ms > ACK_MS
    }

    /// That was said.
    pub fn acknowledged(&mut self, now_ms: i64) {
        self.next_ack_ms = now_ms + ACK_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_takes_effect_as_one_piece() {
        let mut stream = Stream::default();
        assert_eq!(stream.piece(b"set", false), b"set");
        assert!(stream.piece(b"multi", true).is_empty());
        assert!(stream.piece(b"a", true).is_empty());
        let piece = stream.piece(b"exec", false);
        assert_eq!(piece, b"multiaexec");
        stream.take_back(piece, b"exec");
        assert_eq!(stream.open_bytes(), 6);
        assert_eq!(stream.piece(b"exec", false), b"multiaexec");
        assert_eq!(stream.open_bytes(), 0);
    }

    #[test]
    fn acknowledgements_are_a_second_apart() {
        let mut stream = Stream::default();
        assert!(stream.is_ack_due(5));
        stream.acknowledged(5);
        assert!(!stream.is_ack_due(1004) && stream.is_ack_due(1005));
    }
}

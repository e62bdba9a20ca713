//! The commands by which whole keys go to a target, and by which it forgets them: one for a few, more for the many keys that
//! a tag may have.
//!
//! Why not one for all: a target carries out a command at once, however many keys it has, and has nobody else use their slot
//! meanwhile: 150 ms for 349,525 keys, which is as many as servers read in one. No proxy asks the target for any of them
//! before the source has said that all have moved, and who takes some but not all is told to forget them.

use resp::MULTIBULK_MAX;
use slots::migration::wire;

/// Arguments of a key in SLOTSRESTORE: its name, its time to live, its payload.
const ARGS_OF_KEY: usize = 3;
/// Keys of one command. A target takes less than a millisecond for so many small ones.
const KEYS_OF_PIECE: usize = 1024;
/// Bytes of their arguments, unless one key has more.
const BYTES_OF_PIECE: usize = 256 * 1024;
const _: () = assert!(KEYS_OF_PIECE * ARGS_OF_KEY < MULTIBULK_MAX as usize);

/// SLOTSRESTORE commands under construction.
pub struct Restores {
    /// Keys and bytes of one command.
    piece: (usize, usize),
    /// Keys in `args`.
    keys: usize,
    /// The arguments of the last command.
    args: Vec<u8>,
    whole: Vec<Vec<u8>>,
}

impl Restores {
    /// No command yet.
    pub fn new() -> Restores {
        Restores::of((KEYS_OF_PIECE, BYTES_OF_PIECE))
    }

    fn of(piece: (usize, usize)) -> Restores {
        Restores { piece, keys: 0, args: Vec::new(), whole: Vec::new() }
    }

    /// Adds a key; `ttl_ms` milliseconds are left to it, 0 if there is no end.
    pub fn add(&mut self, key: &[u8], ttl_ms: i64, payload: &[u8]) {
        let (keys, bytes) = self.piece;
        if self.keys == keys || self.args.len() + key.len() + payload.len() > bytes {
            self.end_piece();
        }
        wire::arg(key, &mut self.args);
        wire::arg(ttl_ms.to_string().as_bytes(), &mut self.args);
        wire::arg(payload, &mut self.args);
        self.keys += 1;
    }

    fn end_piece(&mut self) {
        if self.keys > 0 {
            let mut piece = Vec::with_capacity(self.args.len() + 64);
            wire::header(1 + ARGS_OF_KEY * self.keys, &mut piece);
            wire::arg(b"SLOTSRESTORE", &mut piece);
            piece.append(&mut self.args);
            self.whole.push(piece);
        }
        self.args = Vec::new();
        self.keys = 0;
    }

    /// The commands, in the order of the keys.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        self.end_piece();
        self.whole
    }
}

/// The commands that remove keys at the target.
pub fn deletes(keys: &[Box<[u8]>]) -> Vec<Vec<u8>> {
    keys.chunks(KEYS_OF_PIECE).map(delete).collect()
}

fn delete(keys: &[Box<[u8]>]) -> Vec<u8> {
    let mut command: Vec<&[u8]> = vec![b"DEL"];
    command.extend(keys.iter().map(|key| &key[..]));
    let mut out = Vec::new();
    wire::message(&command, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restores(piece: (usize, usize), keys: &[&str]) -> Vec<String> {
        let mut restores = Restores::of(piece);
        keys.iter().for_each(|key| restores.add(key.as_bytes(), 7, b"p"));
        restores.finish().into_iter().map(|piece| String::from_utf8(piece).expect("text")).collect()
    }

    #[test]
    fn a_piece_is_full_before_the_next_one_begins() {
        const MANY: usize = 1000;
        let args = |keys: &[&str]| -> String {
            keys.iter().map(|key| format!("${}\r\n{key}\r\n$1\r\n7\r\n$1\r\np\r\n", key.len())).collect()
        };
        let piece =
            |keys: &[&str]| format!("*{}\r\n$12\r\nSLOTSRESTORE\r\n{}", 1 + ARGS_OF_KEY * keys.len(), args(keys));
        assert_eq!(restores((2, MANY), &["a", "b", "c"]), [piece(&["a", "b"]), piece(&["c"])]);
        assert_eq!(restores((2, MANY), &["a", "b"]), [piece(&["a", "b"])]);
        assert_eq!(restores((3, MANY), &["a", "b", "c"]), [piece(&["a", "b", "c"])]);
        assert!(restores((2, MANY), &[]).is_empty());
        // A key that is too long for a piece has one of its own.
        let bytes = args(&["a", "b"]).len();
        let long = "long".repeat(bytes);
        assert_eq!(restores((9, bytes), &["a", "b", "c"]), [piece(&["a", "b"]), piece(&["c"])]);
        assert_eq!(restores((9, bytes), &["a", &long, "b", "c"]), [piece(&["a"]), piece(&[&long]), piece(&["b", "c"])]);
    }

    #[test]
    fn keys_to_be_forgotten_are_named_once_each() {
        let keys: Vec<Box<[u8]>> = (0..=KEYS_OF_PIECE).map(|n| Box::from(n.to_string().as_bytes())).collect();
        let pieces = deletes(&keys);
        assert!(pieces[0].starts_with(b"*1025\r\n$3\r\nDEL\r\n$1\r\n0\r\n"));
        assert_eq!(&pieces[1..], [b"*2\r\n$3\r\nDEL\r\n$4\r\n1024\r\n".to_vec()]);
        assert!(deletes(&[]).is_empty());
    }
}

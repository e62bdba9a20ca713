//! The commands by which a whole tag's keys go to a target: as few as servers take, which read so many arguments of one
//! command and end the connection at the next. Keys that all go together come back, and are removed here, by one command.

use resp::MULTIBULK_MAX;
use slots::migration::wire;

/// Arguments of one command, its name included.
const ARGS_MAX: usize = MULTIBULK_MAX as usize;
/// Arguments of a key in SLOTSRESTORE: its name, its time to live, its payload.
const ARGS_OF_KEY: usize = 3;
/// Keys of one SLOTSRESTORE.
const KEYS_OF_PIECE: usize = (ARGS_MAX - 1) / ARGS_OF_KEY;
/// Keys that one command can remove, so that can be moved together.
pub const KEYS_MAX: usize = ARGS_MAX - 1;

/// SLOTSRESTORE commands under construction.
pub struct Restores {
    /// Keys of one command.
    keys_of_piece: usize,
    /// Keys in `args`.
    keys: usize,
    /// The arguments of the last command.
    args: Vec<u8>,
    whole: Vec<Vec<u8>>,
}

impl Restores {
    /// No command yet.
    pub fn new() -> Restores {
        Restores::of(KEYS_OF_PIECE)
    }

    fn of(keys_of_piece: usize) -> Restores {
        Restores { keys_of_piece, keys: 0, args: Vec::new(), whole: Vec::new() }
    }

    /// Adds a key; `ttl_ms` milliseconds are left to it, 0 if there is no end.
    pub fn add(&mut self, key: &[u8], ttl_ms: i64, payload: &[u8]) {
        if self.keys == self.keys_of_piece {
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

/// The command that removes keys at the target, at most [`KEYS_MAX`].
pub fn delete(keys: &[Box<[u8]>]) -> Vec<u8> {
    let mut command: Vec<&[u8]> = vec![b"DEL"];
    command.extend(keys.iter().map(|key| &key[..]));
    let mut out = Vec::new();
    wire::message(&command, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restores(keys_of_piece: usize, keys: &[&str]) -> Vec<String> {
        let mut restores = Restores::of(keys_of_piece);
        keys.iter().for_each(|key| restores.add(key.as_bytes(), 7, b"p"));
        restores.finish().into_iter().map(|piece| String::from_utf8(piece).expect("text")).collect()
    }

    #[test]
    fn a_piece_is_full_before_the_next_one_begins() {
        let piece = |args: usize, keys: &[&str]| {
            let keys = keys.iter().map(|key| format!("$1\r\n{key}\r\n$1\r\n7\r\n$1\r\np\r\n"));
            format!("*{args}\r\n$12\r\nSLOTSRESTORE\r\n{}", keys.collect::<String>())
        };
        assert_eq!(restores(2, &["a", "b", "c"]), [piece(7, &["a", "b"]), piece(4, &["c"])]);
        assert_eq!(restores(2, &["a", "b"]), [piece(7, &["a", "b"])]);
        assert_eq!(restores(3, &["a", "b", "c"]), [piece(10, &["a", "b", "c"])]);
        assert!(restores(2, &[]).is_empty());
    }

    #[test]
    fn a_full_piece_is_a_command_that_servers_take() {
        let mut restores = Restores::new();
        (0..=KEYS_OF_PIECE).for_each(|_| restores.add(b"", 0, b""));
        let pieces = restores.finish();
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].starts_with(b"*1048576\r\n"), "{:?}", pieces[0][..12].escape_ascii().to_string());
        assert!(pieces[1].starts_with(b"*4\r\n"));
    }
}

//! The types of settings that are neither a number nor a text: choices, lists of limits, event classes.

use std::fmt;
use std::fmt::Write as _;

use engine::effects::class;

pub use crate::log::Level;

/// A setting that is one word out of a few.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word and its meaning, in the order in which help lists them.
    const WORDS: &'static [(&'static str, Self)];

    /// The value that a word means; case does not matter.
    fn from_word(word: &[u8]) -> Option<Self> {
        Self::WORDS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word)).map(|(_, value)| *value)
    }

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("unknown", |(name, _)| name)
    }
}

macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$what])* $value),+ }

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $name::$value)),+];
        }
    };
}

choice! {
    /// Whom to drop when `maxmemory` is reached.
    MaxmemoryPolicy {
        /// The least recently used key among those with an expire.
        VolatileLru = "volatile-lru",
        /// Any key with an expire.
        VolatileRandom = "volatile-random",
        /// The key that would expire first.
        VolatileTtl = "volatile-ttl",
        /// The least recently used key.
        AllkeysLru = "allkeys-lru",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// None: commands that may grow memory are refused.
        Noeviction = "noeviction",
    }
}

choice! {
    /// When the AOF is synchronised to disk.
    AppendFsync {
        /// Once a second, by a thread of its own.
        Everysec = "everysec",
        /// Before any reply to the commands it holds.
        Always = "always",
        /// When the operating system likes.
        No = "no",
    }
}

choice! {
    /// Which supervisor is told that the server is ready.
    Supervised {
        /// Upstart, by stopping ourselves with SIGSTOP.
        Upstart = "upstart",
        /// systemd, by a datagram to NOTIFY_SOCKET.
        Systemd = "systemd",
        /// Whichever of the two the environment names.
        Auto = "auto",
        /// None.
        No = "no",
    }
}

choice! {
    /// The facility under which the system log files our lines.
    SyslogFacility {
        /// User-level messages.
        User = "user",
        /// For local use 0.
        Local0 = "local0",
        /// For local use 1.
        Local1 = "local1",
        /// For local use 2.
        Local2 = "local2",
        /// For local use 3.
        Local3 = "local3",
        /// For local use 4.
        Local4 = "local4",
        /// For local use 5.
        Local5 = "local5",
        /// For local use 6.
        Local6 = "local6",
        /// For local use 7.
        Local7 = "local7",
    }
}

impl SyslogFacility {
    /// The facility's number in RFC 3164.
    pub fn number(self) -> u8 {
        match self {
            SyslogFacility::User => 1,
            SyslogFacility::Local0 => 16,
            SyslogFacility::Local1 => 17,
            SyslogFacility::Local2 => 18,
            SyslogFacility::Local3 => 19,
            SyslogFacility::Local4 => 20,
            SyslogFacility::Local5 => 21,
            SyslogFacility::Local6 => 22,
            SyslogFacility::Local7 => 23,
        }
    }
}

choice! {
    /// The classes of clients that have an output buffer limit; `as usize` indexes `client_output_buffer_limit`.
    ClientClass {
        /// Ordinary clients, and MONITOR.
        Normal = "normal",
        /// Replicas.
        Slave = "slave",
        /// Clients subscribed to a channel or pattern.
        Pubsub = "pubsub",
    }
}

impl Choice for Level {
    const WORDS: &'static [(&'static str, Self)] =
        &[("debug", Level::Debug), ("verbose", Level::Verbose), ("notice", Level::Notice), ("warning", Level::Warning)];
}

/// How much unsent output a client may pile up before it is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferLimit {
    /// Cut off at once above this many bytes; 0 means no such limit.
    pub hard_bytes: u64,
    /// Cut off after `soft_seconds` above this many bytes; 0 means no such limit.
    pub soft_bytes: u64,
    /// How long output may stay above `soft_bytes`, in seconds.
    pub soft_seconds: u64,
}

/// Save when at least `changes` writes have happened and `seconds` have passed since the last save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// At least 1.
    pub seconds: u64,
    /// 0 saves even without a write.
    pub changes: u64,
}

/// The address of the primary to replicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The classes of keyspace events that are published: a set of `engine::effects::class` bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct NotifyFlags(pub u32);

impl NotifyFlags {
    /// `K`: publish on `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: Self = Self(class::KEYSPACE);
    /// `E`: publish on `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: Self = Self(class::KEYEVENT);
    /// `g`: DEL, EXPIRE, RENAME and others that know no type.
    pub const GENERIC: Self = Self(class::GENERIC);
    /// `$`: strings.
    pub const STRING: Self = Self(class::STRING);
    /// `l`: lists.
    pub const LIST: Self = Self(class::LIST);
    /// `s`: sets.
    pub const SET: Self = Self(class::SET);
    /// `h`: hashes.
    pub const HASH: Self = Self(class::HASH);
    /// `z`: sorted sets.
    pub const ZSET: Self = Self(class::ZSET);
    /// `x`: keys that expired.
    pub const EXPIRED: Self = Self(class::EXPIRED);
    /// `e`: keys that were evicted.
    pub const EVICTED: Self = Self(class::EVICTED);
    /// `A`: every class, that is all but `K` and `E`.
    pub const ALL: Self = Self(0x3fc);

    const LETTERS: [(u8, Self); 10] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
    ];

    /// Whether every bit of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Reads letters such as `KEA`; `None` if one of them names no class.
    pub fn from_letters(letters: &[u8]) -> Option<Self> {
        letters.iter().try_fold(Self::default(), |flags, letter| {
            let class = match letter {
                b'A' => Self::ALL,
                letter => Self::LETTERS.iter().find(|(name, _)| name == letter)?.1,
            };
            Some(Self(flags.0 | class.0))
        })
    }
}

/// The letters in the order in which Redis prints them, `A` standing for all classes.
impl fmt::Display for NotifyFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        if self.contains(Self::ALL) {
            f.write_char('A')?;
            left &= !Self::ALL.0;
        }
        for (letter, class) in Self::LETTERS {
            if left & class.0 != 0 {
                f.write_char(letter.into())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NotifyFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NotifyFlags({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_classes_print_in_redis_order() {
        for (letters, printed) in
            [("", ""), ("KEA", "AKE"), ("Elg", "glE"), ("g$lshzxe", "A"), ("K", "K"), ("xKx", "xK")]
        {
            assert_eq!(NotifyFlags::from_letters(letters.as_bytes()).unwrap().to_string(), printed);
        }
        assert_eq!(NotifyFlags::from_letters(b"KEq"), None);
    }

    #[test]
    fn all_is_every_class_but_the_two_channels() {
        let every = NotifyFlags::LETTERS.iter().fold(0, |bits, (_, class)| bits | class.0);
        assert_eq!(NotifyFlags::ALL.0, every & !NotifyFlags::KEYSPACE.0 & !NotifyFlags::KEYEVENT.0);
    }

    #[test]
    fn a_choice_is_read_in_any_case_and_printed_in_one() {
        assert_eq!(MaxmemoryPolicy::from_word(b"AllKeys-LRU"), Some(MaxmemoryPolicy::AllkeysLru));
        assert_eq!(MaxmemoryPolicy::AllkeysLru.word(), "allkeys-lru");
        assert_eq!(MaxmemoryPolicy::from_word(b"lru"), None);
        assert_eq!(ClientClass::from_word(b"pubsub").map(|class| class as usize), Some(2));
    }
}

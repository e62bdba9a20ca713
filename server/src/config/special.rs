//! Directives whose value is neither a flag, a number, a choice nor one text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::defaults::BUFFER_LIMITS;
use super::directive::{BAD_DIRECTIVE, Line, Refused, Special};
use super::types::Choice;
use super::{
    BIND_ADDRESSES_MAX, BufferLimit, ClientClass, Config, MigrationDurability, NotifyFlags, PASSWORD_BYTES_MAX,
    Primary, SavePoint,
};
use super::{numbers, words};

/// For directives that CONFIG SET does not change.
const NOT_SETTABLE: fn(&mut Config, &[u8]) -> Result<(), Refused> = |_, _| Err(Refused::Invalid(BAD_DIRECTIVE));

const NOT_UTF8: Refused = Refused::Invalid("argument must be text");

/// `save <seconds> <changes> ...`; `save ""` drops all save points.
pub(super) const SAVE: Special = Special {
    args: (1, usize::MAX),
    load: |config, args| {
        if let [none] = args
            && none.is_empty()
        {
            config.save.clear();
            return Ok(());
        }
        config.save.extend(save_points(args, numbers::parse)?);
        Ok(())
    },
    set: |config, value| {
        config.save = save_points(&split_at_spaces(value), numbers::parse)?;
        Ok(())
    },
    get: |config| {
        let points: Vec<_> = config.save.iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect();
        points.join(" ").into_bytes()
    },
    lines: |config| {
        // Always forced: a server that loads a file starts without save points.
        let line = |point: &SavePoint| format!("save {} {}", point.seconds, point.changes).into_bytes();
        config.save.iter().map(|point| Line { text: line(point), force: true }).collect()
    },
    shape: "pairs of seconds and changes, or \"\"",
};

fn save_points(args: &[Vec<u8>], parse: fn(&[u8]) -> Option<i64>) -> Result<Vec<SavePoint>, Refused> {
    const INVALID: Refused = Refused::Invalid("Invalid save parameters");
    let (pairs, rest) = args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(INVALID);
    }
    let at_least = |min: i64, text: &[u8]| {
        let value = parse(text).filter(|&value| value >= min);
        value.and_then(|value| u64::try_from(value).ok()).ok_or(INVALID)
    };
    let points = pairs
        .iter()
        .map(|[seconds, changes]| Ok(SavePoint { seconds: at_least(1, seconds)?, changes: at_least(0, changes)? }));
    points.collect()
}

/// `client-output-buffer-limit <class> <hard> <soft> <soft seconds>`; CONFIG SET takes several classes at once.
pub(super) const CLIENT_OUTPUT_BUFFER_LIMIT: Special = Special {
    args: (4, 4),
    load: set_buffer_limits,
    set: |config, value| set_buffer_limits(config, &split_at_spaces(value)),
    get: |config| {
        let limits = ClientClass::WORDS.iter().zip(&config.client_output_buffer_limit).map(|((class, _), limit)| {
            format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        });
        limits.collect::<Vec<_>>().join(" ").into_bytes()
    },
    lines: |config| {
        // All classes or none: a line alone would take the place of another class' line the next time.
        let force = config.client_output_buffer_limit != BUFFER_LIMITS;
        let lines = ClientClass::WORDS.iter().zip(&config.client_output_buffer_limit).map(|((class, _), limit)| {
            let (hard, soft) = (numbers::format_memory(limit.hard_bytes), numbers::format_memory(limit.soft_bytes));
            let text = format!("client-output-buffer-limit {class} {hard} {soft} {}", limit.soft_seconds);
            Line { text: text.into_bytes(), force }
        });
        lines.collect()
    },
    shape: "class (normal, slave, pubsub), hard limit, soft limit, seconds",
};

fn set_buffer_limits(config: &mut Config, args: &[Vec<u8>]) -> Result<(), Refused> {
    let mut limits = config.client_output_buffer_limit;
    let (groups, rest) = args.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Refused::Invalid(BAD_DIRECTIVE));
    }
    for [class, hard, soft, seconds] in groups {
        let class = if class.eq_ignore_ascii_case(b"replica") { b"slave" } else { class.as_slice() };
        let class = ClientClass::from_word(class).ok_or(Refused::Invalid(
            "Unrecognized client limit class: the user specified an invalid one, or 'master' which has no buffer limits.",
        ))?;
        let not_memory = Refused::Invalid("Error in hard or soft limit: not an amount of memory");
        let memory = |text| numbers::parse_memory(text).and_then(|bytes| u64::try_from(bytes).ok()).ok_or(not_memory);
        let seconds = numbers::parse(seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let limit = BufferLimit {
            hard_bytes: memory(hard)?,
            soft_bytes: memory(soft)?,
            soft_seconds: seconds.ok_or(Refused::Invalid("Negative number of seconds in soft limit is invalid"))?,
        };
        if let Some(slot) = limits.get_mut(class as usize) {
            *slot = limit;
        }
    }
    config.client_output_buffer_limit = limits;
    Ok(())
}

/// `bind <address> ...`.
pub(super) const BIND: Special = Special {
    args: (1, usize::MAX),
    load: |config, args| {
        if args.len() > BIND_ADDRESSES_MAX {
            return Err(Refused::Invalid("Too many bind addresses specified"));
        }
        config.bind = args.iter().map(|address| text(address)).collect::<Result<_, _>>()?;
        Ok(())
    },
    set: NOT_SETTABLE,
    get: |config| config.bind.join(" ").into_bytes(),
    lines: |config| {
        let addresses = config.bind.iter().map(|address| words::quote_if_needed(address.as_bytes()));
        let words: Vec<_> = std::iter::once(b"bind".to_vec()).chain(addresses).collect();
        if config.bind.is_empty() { Vec::new() } else { vec![Line { text: words.join(&b' '), force: true }] }
    },
    shape: "up to 16 addresses",
};

/// `unixsocketperm <octal>`.
pub(super) const UNIXSOCKETPERM: Special = Special {
    args: (1, 1),
    load: |config, args| {
        let digits = args.first().and_then(|arg| std::str::from_utf8(arg).ok()).unwrap_or_default();
        let mode = u32::from_str_radix(digits, 8).ok().filter(|&mode| mode <= 0o777);
        config.unixsocketperm = mode.ok_or(Refused::Invalid("Invalid socket file permissions"))?;
        Ok(())
    },
    set: NOT_SETTABLE,
    get: |config| format!("{:o}", config.unixsocketperm).into_bytes(),
    lines: |config| {
        let text = format!("unixsocketperm {:o}", config.unixsocketperm).into_bytes();
        vec![Line { text, force: config.unixsocketperm != 0 }]
    },
    shape: "an octal mode, at most 777",
};

/// `slaveof <host> <port>`; `slaveof no one` is a primary.
pub(super) const SLAVEOF: Special = Special {
    args: (2, 2),
    load: |config, args| {
        let [host, port] = args else {
            return Err(Refused::Invalid(BAD_DIRECTIVE));
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            config.slaveof = None;
            return Ok(());
        }
        let port = numbers::parse(port).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or(Refused::Invalid("Invalid master port"))?;
        config.slaveof = Some(Primary { host: text(host)?, port });
        Ok(())
    },
    set: NOT_SETTABLE,
    get: |config| match &config.slaveof {
        Some(primary) => format!("{} {}", primary.host, primary.port).into_bytes(),
        None => Vec::new(),
    },
    lines: |config| match &config.slaveof {
        Some(primary) => {
            let host = words::quote_if_needed(primary.host.as_bytes());
            vec![Line {
                text: [b"slaveof ", host.as_slice(), format!(" {}", primary.port).as_bytes()].concat(),
                force: true,
            }]
        }
        None => Vec::new(),
    },
    shape: "host and port",
};

/// `slots-migration-durability no`, or one or both of `aof` and `replicas <number>`.
pub(super) const SLOTS_MIGRATION_DURABILITY: Special = Special {
    args: (1, 3),
    load: set_durability,
    set: |config, value| set_durability(config, &split_at_spaces(value)),
    get: |config| durability(config.slots_migration_durability).into_bytes(),
    lines: |config| {
        let wanted = config.slots_migration_durability;
        let text = format!("slots-migration-durability {}", durability(wanted)).into_bytes();
        vec![Line { text, force: wanted.is_on() }]
    },
    shape: "no, aof, replicas N, or aof replicas N",
};

fn durability(MigrationDurability { aof, replicas }: MigrationDurability) -> String {
    match (aof, replicas) {
        (false, 0) => "no".to_owned(),
        (true, 0) => "aof".to_owned(),
        (false, replicas) => format!("replicas {replicas}"),
        (true, replicas) => format!("aof replicas {replicas}"),
    }
}

fn set_durability(config: &mut Config, args: &[Vec<u8>]) -> Result<(), Refused> {
    const INVALID: Refused =
        Refused::Invalid("argument must be 'no', 'aof', 'replicas <number>' or 'aof replicas <number>'");
    let words: Vec<Vec<u8>> = args.iter().map(|word| word.to_ascii_lowercase()).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let (mut wanted, mut rest) = (MigrationDurability::default(), &words[..]);
    if rest == [b"no"] {
        config.slots_migration_durability = wanted;
        return Ok(());
    }
    while !rest.is_empty() {
        rest = match rest {
            [b"aof", rest @ ..] if !wanted.aof => {
                wanted.aof = true;
                rest
            }
            [b"replicas", number, rest @ ..] if wanted.replicas == 0 => {
                let number = resp::parse_i64(number).and_then(|number| u32::try_from(number).ok());
                wanted.replicas = number.filter(|&number| number > 0).ok_or(INVALID)?;
                rest
            }
            _ => return Err(INVALID),
        };
    }
    config.slots_migration_durability = if wanted.is_on() { wanted } else { return Err(INVALID) };
    Ok(())
}

/// `notify-keyspace-events <letters>`.
pub(super) const NOTIFY_KEYSPACE_EVENTS: Special = Special {
    args: (1, 1),
    load: |config, args| set_events(config, args.first().map_or(b"", Vec::as_slice)),
    set: set_events,
    get: |config| config.notify_keyspace_events.to_string().into_bytes(),
    lines: |config| {
        let text = format!("notify-keyspace-events \"{}\"", config.notify_keyspace_events).into_bytes();
        vec![Line { text, force: config.notify_keyspace_events != NotifyFlags::default() }]
    },
    shape: "letters out of KEg$lshzxeA",
};

fn set_events(config: &mut Config, letters: &[u8]) -> Result<(), Refused> {
    let flags = NotifyFlags::from_letters(letters);
    config.notify_keyspace_events = flags.ok_or(Refused::Invalid("Invalid event class character. Use 'g$lshzxeA'."))?;
    Ok(())
}

/// `dir <path>`. Only assigns; changing the directory is up to who loads the file or carries out the effect.
pub(super) const DIR: Special = Special {
    args: (1, 1),
    load: |config, args| set_dir(config, args.first().map_or(b"", Vec::as_slice)),
    set: set_dir,
    get: |config| path_bytes(&config.dir),
    lines: |config| {
        let text = [b"dir ".as_slice(), &words::quote(&path_bytes(&config.dir))].concat();
        if config.dir.as_os_str().is_empty() { Vec::new() } else { vec![Line { text, force: true }] }
    },
    shape: "a directory",
};

fn set_dir(config: &mut Config, dir: &[u8]) -> Result<(), Refused> {
    config.dir = path(dir);
    Ok(())
}

/// A directive of older versions, which is skipped.
pub(super) const SKIPPED: Special = Special {
    args: (1, 1),
    load: |_, _| Ok(()),
    set: NOT_SETTABLE,
    get: |_| Vec::new(),
    lines: |_| Vec::new(),
    shape: "a number",
};

/// A path of any bytes.
pub(super) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// A path, or none if it is empty.
pub(super) fn path_if_any(bytes: &[u8]) -> Option<PathBuf> {
    (!bytes.is_empty()).then(|| path(bytes))
}

/// The name of a file in `dir`.
pub(super) fn file_name(bytes: &[u8], refusal: &'static str) -> Result<PathBuf, Refused> {
    let is_path = bytes.iter().any(|byte| matches!(byte, b'/' | b'\\'));
    if is_path { Err(Refused::Because(refusal)) } else { Ok(path(bytes)) }
}

/// A password, or none if it is empty.
pub(super) fn password(bytes: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    if bytes.len() > PASSWORD_BYTES_MAX {
        return Err(Refused::Invalid("Password is longer than CONFIG_AUTHPASS_MAX_LEN"));
    }
    Ok((!bytes.is_empty()).then(|| bytes.to_vec()))
}

/// The password of another server, however long it is, or none if it is empty.
pub(super) fn password_of_primary(bytes: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    Ok((!bytes.is_empty()).then(|| bytes.to_vec()))
}

/// A text of Unicode.
pub(super) fn text(bytes: &[u8]) -> Result<String, Refused> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| NOT_UTF8)
}

/// A text of Unicode, or none if it is empty.
pub(super) fn text_if_any(bytes: &[u8]) -> Result<Option<String>, Refused> {
    Ok(Some(text(bytes)?).filter(|text| !text.is_empty()))
}

/// A path's bytes.
pub(super) fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Splits CONFIG SET's one argument at every single space, as Redis does; nothing gives no words.
fn split_at_spaces(value: &[u8]) -> Vec<Vec<u8>> {
    if value.is_empty() { Vec::new() } else { value.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect() }
}

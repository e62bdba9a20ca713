//! DEBUG: what tests and people who look for a bug ask for. Holds all slots, whatever it is asked.

use super::{Handler, NodeCtx};
use crate::persist::load::{Replay, replay_file};
use crate::rdb_file;
use commands::args::Args;
use commands::ctx::Session;
use commands::digest;
use commands::error::{Error, Outcome};
use commands::generic::reference_count;
use commands::table::{Access, Command, command};
use engine::clock::lru_idle_seconds;
use engine::keyspace::{Key, SetExpire};
use engine::raw::alloc;
use engine::raw::entry::{EntryRef, Value};
use persistence::rdb::RdbError;
use persistence::rdb::load::Loader;
use resp::{Flags, KeySpec, Out, errors};
use signal_hook::consts::{SIGABRT, SIGSEGV};
use std::fmt::Write as _;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn debug(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    let name = args.at(1).to_ascii_lowercase();
    match (name.as_slice(), args.len()) {
        (_, 1) => return Err("ERR You must specify a subcommand for DEBUG. Try DEBUG HELP for info.".into()),
        (b"help", _) => help(ctx),
        (b"segfault", _) => raise(SIGSEGV),
        (b"assert" | b"panic", _) => panic!("DEBUG {} was called", String::from_utf8_lossy(args.at(1))),
        (b"oom", _) => {
            crate::log::warning!("Out Of Memory allocating {} bytes!", u64::MAX);
            raise(SIGABRT);
        }
        (b"restart" | b"crash-and-recover", _) => {
            return Err("ERR failed to restart the server. Check server logs.".into());
        }
        (b"reload", _) => return reload(ctx),
        (b"loadaof", _) => return load_aof(ctx),
        (b"object", 3) => return object(ctx),
        (b"sdslen", 3) => return sdslen(ctx),
        (b"populate", 3 | 4) => return populate(ctx),
        (b"digest", 2) => data_set_digest(ctx),
        (b"sleep", 3) => sleep(ctx),
        (b"set-active-expire", 3) => {
            ctx.node.active_expire.store(resp::atoi(args.at(2)) != 0, Ordering::Relaxed);
            ctx.out.ok();
        }
        (b"lua-always-replicate-commands", 3) => {
            ctx.node.scripts.always_effects.store(resp::atoi(args.at(2)) != 0, Ordering::Relaxed);
            ctx.out.ok();
        }
        (b"error", 3) => ctx.out.error_line(args.at(2)),
        (b"structsize", 2) => ctx.out.bulk(STRUCT_SIZES),
        (b"htstats", 3) => return table_stats(ctx),
        (b"jemalloc", 3) => return jemalloc(ctx),
        _ => {
            let shown = args.at(1).iter().copied().take_while(|&byte| byte != 0);
            let text = b"ERR Unknown DEBUG subcommand or wrong number of arguments for '".iter().copied();
            return Err(Error::Owned(text.chain(shown).chain([b'\'']).collect()));
        }
    }
    Ok(())
}

fn help(ctx: &mut NodeCtx<'_, '_>) {
    const LINES: [&str; 20] = [
        "DEBUG <subcommand> [argument ...], where <subcommand> is one of:",
        "assert -- end the server as after a failed assertion.",
        "crash-and-recover [milliseconds] -- not supported.",
        "digest -- a fingerprint of all keys and values.",
        "error <text> -- reply with an error of this text.",
        "loadaof -- forget all keys, and read the append only file.",
        "htstats <db> -- figures of the tables of a database.",
        "jemalloc info -- what the allocator says of itself.",
        "jemalloc purge -- give unused pages back to the system.",
        "lua-always-replicate-commands <0|1> -- whether scripts are logged as what their commands do.",
        "object <key> -- how a value is stored.",
        "populate <count> [prefix] -- make <count> strings named <prefix>:<number>, or key:<number>.",
        "panic -- end the server as after a failed assertion.",
        "reload -- write all keys to the RDB file, forget them, and read the file.",
        "restart -- not supported.",
        "sdslen <key> -- lengths of a key and its string.",
        "segfault -- end the server as after an invalid memory access.",
        "set-active-expire <0|1> -- whether keys that are due are deleted without being asked for.",
        "sleep <seconds> -- do nothing for that time; may have a fraction.",
        "structsize -- sizes of the structures of the original.",
    ];
    ctx.out.array(LINES.len());
    LINES.iter().for_each(|line| ctx.out.simple(line));
}

/// Sizes in the original on a 64-bit machine; nothing here is built of these.
const STRUCT_SIZES: &[u8] = b"bits:64 robj:16 dictentry:24 sdshdr5:1 sdshdr8:3 sdshdr16:5 sdshdr32:9 sdshdr64:17 ";

/// Ends the process by a signal, as a bug would.
fn raise(signal: i32) {
    if let Err(error) = signal_hook::low_level::raise(signal) {
        crate::log::warning!("Can't raise signal {signal}: {}", crate::os_error::text(&error));
    }
}

fn jemalloc(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    if ctx.args.is(2, "info") {
        ctx.out.bulk(&alloc::statistics());
    } else if !ctx.args.is(2, "purge") {
        return Err("ERR Valid jemalloc debug fields: info, purge".into());
    } else if alloc::purge() {
        ctx.out.ok();
    } else {
        return Err("ERR Error purging dirty pages".into());
    }
    Ok(())
}

/// Writes all keys to the RDB file, forgets them, and reads the file.
fn reload(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let config = ctx.node.config();
    rdb_file::save(ctx.node, &config, &mut ctx.ctx.keys).map_err(|error| {
        crate::log::warning!("Error saving DB on disk: {}", crate::os_error::text(&error));
        Error::Text("ERR")
    })?;
    ctx.keys.flush(None);
    // Who goes on with what is logged must be told of each key that ends.
    let keeps_ended = ctx.keys.is_replica() || ctx.node.repl.has_stream();
    let from_primary = ctx.keys.is_from_primary();
    let before = ctx.keys.replaying((keeps_ended, from_primary));
    let loaded = rdb_file::load(&config, &mut ctx.ctx.keys);
    ctx.keys.replaying(before);
    loaded.map_err(|error| {
        crate::log::warning!("Error loading DB from disk: {error}");
        Error::Text("ERR Error trying to load the RDB dump")
    })?;
    crate::log::warning!("DB reloaded by DEBUG RELOAD");
    ctx.out.ok();
    Ok(())
}

/// Carries out what the AOF holds, with the slots that are held.
struct Held<'r, 'c, 'h> {
    ctx: &'r mut NodeCtx<'c, 'h>,
    session: Session,
    out: Out,
}

impl Replay for Held<'_, '_, '_> {
    fn restore(&mut self, snapshot: &mut Loader<File>) -> Result<(), RdbError> {
        rdb_file::restore(snapshot, &mut self.ctx.ctx.keys).map(drop)
    }

    fn replay(&mut self, args: Args<'_>) -> bool {
        let row = self.ctx.node.registry.get(args.at(0)).copied();
        let Some(row) = row.filter(|row| row.spec.arity_ok(args.len())) else { return false };
        self.ctx.invoke(&row, args, None, Some(&mut self.session), false, &mut self.out);
        self.out.clear();
        true
    }
}

fn load_aof(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let node = ctx.node;
    if node.persist.aof.is_written() {
        node.persist.aof.sync_to(node, node.oplog.file_end());
    }
    let logging = std::mem::take(&mut ctx.keys.effects().logging);
    ctx.keys.flush(None);
    let config = node.config();
    let before = ctx.keys.replaying((true, true));
    let mut held = Held { ctx: &mut *ctx, session: Session::default(), out: Out::new() };
    let loaded = replay_file(node, &config, &mut held);
    ctx.keys.replaying(before);
    ctx.keys.effects().reset();
    ctx.keys.effects().logging = logging;
    loaded.map_err(|_| Error::Text("ERR"))?;
    crate::log::warning!("Append Only File loaded by DEBUG LOADAOF");
    ctx.out.ok();
    Ok(())
}

fn object(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let (config, settings) = (ctx.node.config(), ctx.settings);
    let now = ctx.keys.now().lru();
    let key = Key::new(ctx.args.at(2));
    let Some(entry) = ctx.keys.peek(&key) else { return Err(Error::Text(errors::NO_SUCH_KEY)) };
    let mut line = format!(
        "Value at:{:#x} refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        entry.address(),
        reference_count(entry, settings),
        entry.encoding(),
        persistence::rdb::encode::value_len(entry.value(), config.rdbcompression),
        entry.lru(),
        lru_idle_seconds(entry.lru(), now)
    );
    if let Value::List(list) = entry.value() {
        let nodes = list.node_count();
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            " ql_nodes:{nodes} ql_avg_node:{:.2} ql_ziplist_max:{} ql_compressed:{} ql_uncompressed_size:{}",
            list.len() as f64 / nodes.max(1) as f64,
            config.list_max_ziplist_size,
            u8::from(config.list_compress_depth != 0),
            list.ziplist_bytes()
        );
    }
    ctx.out.simple(&line);
    Ok(())
}

fn sdslen(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let key = Key::new(ctx.args.at(2));
    let value = ctx.keys.peek(&key).map(EntryRef::value);
    let Some(value) = value else { return Err(Error::Text(errors::NO_SUCH_KEY)) };
    let Value::Bytes(bytes) = value else { return Err("ERR Not an sds encoded string.".into()) };
    let (key_len, value_len) = (key.bytes.len(), bytes.len());
    ctx.out.simple(&format!("key_sds_len:{key_len}, key_sds_avail:0, val_sds_len:{value_len}, val_sds_avail:0"));
    Ok(())
}

fn populate(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    /// The original makes names and values in a buffer of 128 bytes.
    const NAME_MAX: usize = 127;
    let count = ctx.int(2)?;
    let prefix = ctx.args.get(3).unwrap_or(b"key");
    let mut name = Vec::new();
    // It is not logged, as in the original.
    if ctx.node.repl.has_stream() {
        ctx.node.repl.strays();
    }
    for n in 0..count {
        name.clear();
        name.extend(prefix.iter().take_while(|&&byte| byte != 0));
        name.push(b':');
        resp::format_i64(n, &mut name);
        name.truncate(NAME_MAX);
        let key = Key::new(&name);
        if !ctx.keys.exists(&key) {
            ctx.keys.put_text(&key, format!("value:{n}").as_bytes(), SetExpire::Clear);
        }
    }
    ctx.out.ok();
    Ok(())
}

fn data_set_digest(ctx: &mut NodeCtx<'_, '_>) {
    let databases = ctx.settings.databases;
    let digest = digest::data_set(&mut ctx.keys, databases);
    let hex: String = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
    ctx.out.simple(&hex);
}

fn sleep(ctx: &mut NodeCtx<'_, '_>) {
    let seconds = resp::strtod(ctx.args.at(2)).value;
    // A time that makes no sense (negative, NaN) is none.
    if let Ok(time) = Duration::try_from_secs_f64(seconds) {
        ctx.node.asleep.store(true, Ordering::Relaxed);
        std::thread::sleep(time);
        ctx.node.asleep.store(false, Ordering::Relaxed);
    }
    ctx.out.ok();
}

fn table_stats(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let db = u32::try_from(ctx.int(2)?).ok().filter(|&db| db < ctx.settings.databases);
    let db = db.ok_or(Error::Text("ERR Out of range database"))?;
    let selected = ctx.keys.db();
    ctx.keys.select(db);
    let (mut keys, mut expiring, mut buckets, mut bytes, mut slots) = (0, 0, 0, 0, 0);
    ctx.keys.visit_slots(|_, slot| {
        keys += slot.len();
        expiring += slot.expires_len();
        buckets += slot.buckets();
        bytes += slot.table_bytes();
        slots += 1;
    });
    ctx.keys.select(selected);
    let empty = |title: &str| format!("[{title} HT]\nNo stats available for empty dictionaries\n");
    let mut text = if keys == 0 {
        empty("Dictionary")
    } else {
        format!(
            "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: {buckets}\n \
             number of elements: {keys}\n different slots: {slots}\n bytes of tables: {bytes}\n"
        )
    };
    if expiring == 0 {
        text.push_str(&empty("Expires"));
    } else {
        let _ = write!(text, "[Expires HT]\nHash table 0 stats (main hash table):\n number of elements: {expiring}\n");
    }
    ctx.out.bulk(text.as_bytes());
    Ok(())
}

pub(super) static TABLE: &[Command<Handler>] =
    &[command("debug", -1, KeySpec::NONE, Flags::ADMIN.or(Flags::NOSCRIPT), debug as Handler).holding(Access::All)];

//! The target's side: SLOTSRESTORE takes whole keys, SLOTSRESTORE-ASYNC takes them message by message.
//!
//! What is stored is logged as its effects and with moments instead of times to live, so that a replica or a file read
//! later ends a key when it ends here. The original logs the messages, which restarts every key's time.

use super::arrivals::{Claim, STREAM};
use super::durable::{self, Came, Refuse};
use crate::node_commands::{Handler, NodeCtx};
use crate::unpack;
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use engine::encoding::item::Item;
use engine::keyspace::{Key, SetExpire, WrongType};
use engine::raw::entry::{Body, Collection as _, Entry, Kind, Transit};
use engine::raw::thin::ThinBytes;
use engine::value::hash::HashLimits;
use engine::value::zset::ZSetLimits;
use engine::value::{Hash, List, Set, ZSet};
use persistence::rdb::restoring::Wrong;
use persistence::rdb::{self, dump};
use resp::{Flags, KeySpec, Out, errors};
use slots::SlotId;
use slots::migration::abilities::Abilities;
use slots::migration::message::{
    Collection, ELEMENTS, KEY, Message, Packed, VALUE, items, score, strict_int, with_quote,
};
use slots::migration::wire;
use std::borrow::Cow;

/// No class of events: moved keys wake watchers and tell nobody.
const NO_EVENT: u32 = 0;
/// Keys of one command that are named in the log when they are replaced: to name all takes longer than to store them.
const NAMED_MAX: usize = 16;
/// Chunks belong to big values: collections that they make never take a compact form.
const BIG_HASH: HashLimits = HashLimits { entries: 0, value: 0 };
const BIG_ZSET: ZSetLimits = ZSetLimits { entries: 0, value: 0 };

/// When a time to live that begins now ends.
fn moment(ctx: &NodeCtx<'_, '_>, ttl_ms: i64) -> Option<i64> {
    (ttl_ms > 0).then(|| ctx.keys.moment().ms.saturating_add(ttl_ms))
}

fn log_expire(ctx: &mut NodeCtx<'_, '_>, key: &[u8], at_ms: Option<i64>) {
    if let Some(at) = at_ms {
        ctx.keys.effects().log_instead(&[b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
}

/// SLOTSRESTORE key ttl payload [key ttl payload ...]: all of them or none.
fn slotsrestore(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let args = ctx.args;
    if args.len() % 3 != 1 {
        return Err(Error::Owned(errors::wrong_arity("slotsrestore")));
    }
    durable::check(ctx).map_err(unsafe_keys)?;
    // Who has a key that leaves answers for it, and its source may be this server itself, under another name.
    if (1..args.len()).step_by(3).any(|at| leaves(ctx, &Key::new(args.at(at)))) {
        return Err("ERR the specified key is being migrated".into());
    }
    let mut entries = Vec::with_capacity(args.len() / 3);
    for at in (1..args.len()).step_by(3) {
        match restored(ctx, at) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                // It may be much that was made in vain.
                entries.into_iter().for_each(|(.., entry)| ctx.keys.garbage().add(entry));
                return Err(error);
            }
        }
    }
    let mut replaced = 0;
    for (key, expire_at_ms, payload, entry) in entries {
        if ctx.keys.remove_any(&key) {
            if replaced < NAMED_MAX {
                let name = key.bytes.escape_ascii();
                crate::log::notice!("slotsrestore: the key '{name}' was here already and is replaced");
            }
            replaced += 1;
        }
        ctx.keys.put_entry(&key, entry);
        ctx.keys.changed(&key, NO_EVENT, "restore");
        ctx.keys.effects().log_instead(&[b"RESTORE", key.bytes, b"0", &payload, b"REPLACE"]);
        log_expire(ctx, key.bytes, expire_at_ms);
    }
    if replaced > NAMED_MAX {
        crate::log::notice!("slotsrestore: and so were {} others", replaced - NAMED_MAX);
    }
    match durable::hold(ctx, Came::Whole, b"+OK\r\n", Refuse::Error).map_err(unsafe_keys)? {
        true => {}
        false => ctx.out.ok(),
    }
    Ok(())
}

/// Whether a key is being sent from here, so that nobody may bring another one of its name or remove it. What a primary
/// has taken is taken.
fn leaves(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>) -> bool {
    ctx.node.moves.claims.are_there() && !ctx.keys.is_from_primary() && ctx.keys.is_leaving(key)
}

/// A key with the moment of its end, its payload for the log, and its entry: out of the three arguments from `at` on.
type Restored<'a> = (Key<'a>, Option<i64>, Cow<'a, [u8]>, Entry);

fn restored<'a>(ctx: &mut NodeCtx<'a, '_>, at: usize) -> Result<Restored<'a>, Error> {
    let key = Key::new(ctx.args.at(at));
    let ttl_ms = ctx.int(at + 1)?;
    if ttl_ms < 0 {
        return Err(Error::Text("ERR invalid ttl value, must be >= 0"));
    }
    let expire_at_ms = moment(ctx, ttl_ms);
    let entry = unpack::entry(ctx, at + 2, key.bytes, expire_at_ms).map_err(|wrong| match wrong {
        Wrong::Seal => Error::Text("ERR dump payload version or checksum are wrong"),
        Wrong::Data => Error::Text("ERR bad data format"),
    })?;
    let payload = unpack::for_log(ctx, ctx.args.at(at + 2), &entry);
    Ok((key, expire_at_ms, payload, entry))
}

fn unsafe_keys(text: Vec<u8>) -> Error {
    Error::Owned([b"ERR ", &text[..]].concat())
}

/// Answers one message: a refusal ends the connection.
fn acknowledge(ctx: &mut NodeCtx<'_, '_>, result: Result<Vec<u8>, Vec<u8>>) {
    match result {
        Ok(text) => wire::ack(0, &text, ctx.out.as_mut_vec()),
        Err(text) => {
            crate::log::warning!(
                "slotsrestore_async: refused a message of {}: {}",
                ctx.client.info.addr,
                text.escape_ascii()
            );
            refuse(&text, ctx.out.as_mut_vec());
            *ctx.client.close_after_reply = true;
        }
    }
}

/// The answer to a message that was not carried out; the connection must end after it.
pub fn refuse(text: &[u8], out: &mut Vec<u8>) {
    wire::ack(-1, text, out);
}

fn slotsrestore_async(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let result = carry_out(ctx).and_then(|(came, text)| {
        let mut reply = Vec::new();
        wire::ack(0, &text, &mut reply);
        Ok((durable::hold(ctx, came, &reply, Refuse::Message)?, text))
    });
    match result {
        Ok((true, _)) => {}
        Ok((false, text)) => acknowledge(ctx, Ok(text)),
        Err(text) => acknowledge(ctx, Err(text)),
    }
    Ok(())
}

const LEAVING: &[u8] = b"the specified DB is being migrated";

/// What came, and the text of its answer.
fn carry_out(ctx: &mut NodeCtx<'_, '_>) -> Result<(Came, Vec<u8>), Vec<u8>> {
    let args = ctx.args;
    let message = Message::parse(&args.to_vec());
    // To forget something is in order, since the source still has it, unless it leaves here as well: then this server
    // answers for it, which may be the source itself.
    let forgets = matches!(message, Ok(Message::Delete));
    let names_link = matches!(message, Ok(Message::Ends));
    if !forgets && !names_link && ctx.node.moves.exports.is_leaving(ctx.session.db)
        || !names_link && args.len() > KEY && leaves(ctx, &Key::new(args.at(KEY)))
    {
        return Err(LEAVING.to_vec());
    }
    let message = message?;
    if !matches!(message, Message::Delete | Message::Ends) {
        durable::check(ctx)?;
    }
    let key = Key::new(args.at(KEY));
    let done = || Ok((Came::Whole, b"1".to_vec()));
    let piece = |text: Vec<u8>| Ok((Came::Piece, text));
    if matches!(message, Message::Sync | Message::Many | Message::Part { .. }) {
        ctx.node.moves.durable.is_ours(ctx.client.info.id);
    }
    match message {
        Message::Ends => piece(super::rests::end(ctx, args.at(KEY)).to_string().into_bytes()),
        Message::Sync => Ok((Came::Question, b"1".to_vec())),
        Message::Many => many(ctx, key.slot).map(|text| (Came::Whole, text)),
        Message::Part { ttl_ms, hint } => part(ctx, &key, moment(ctx, ttl_ms), hint).and_then(piece),
        Message::Delete => {
            let was = ctx.keys.remove_any(&key);
            ctx.node.moves.arrivals.drop_text(&mut ctx.ctx.keys, &key);
            ctx.node.moves.arrivals.removed_by(ctx.node, builder(ctx), ctx.session.db, key.bytes);
            if was {
                ctx.keys.changed(&key, NO_EVENT, "del");
                ctx.keys.effects().log_instead(&[b"DEL", key.bytes]);
            }
            piece(if was { b"1" } else { b"0" }.to_vec())
        }
        Message::Expire { ttl_ms } => {
            let at = moment(ctx, ttl_ms);
            check_end(ctx, &key)?;
            if let Some(text) = ctx.node.moves.arrivals.take_text(ctx.session.db, key.bytes) {
                whole_text(ctx, &key, text.whole(), at)?;
                return done();
            }
            if !ctx.keys.set_expire(&key, at) {
                return Err(with_quote("the specified key doesn't exist (", key.bytes));
            }
            if ctx.keys.transit(&key) == Some(Transit::Arriving) {
                ctx.keys.settle(&key);
                ctx.node.moves.arrivals.end(ctx.node, ctx.session.db, key.bytes);
                ctx.keys.announce_list(&key);
            }
            ctx.keys.changed(&key, NO_EVENT, "expire");
            match at {
                Some(_) => log_expire(ctx, key.bytes, at),
                None => ctx.keys.effects().log_instead(&[b"PERSIST", key.bytes]),
            }
            done()
        }
        Message::Text { ttl_ms } => {
            absent(ctx, &key)?;
            let (text, at) = (args.at(VALUE), moment(ctx, ttl_ms));
            ctx.node.moves.arrivals.end(ctx.node, ctx.session.db, key.bytes);
            ctx.keys.put_text(&key, text, at.map_or(SetExpire::Clear, SetExpire::At));
            ctx.keys.changed(&key, NO_EVENT, "set");
            ctx.keys.effects().log_instead(&[b"SET", key.bytes, text]);
            log_expire(ctx, key.bytes, at);
            done()
        }
        Message::Object { ttl_ms } => {
            absent(ctx, &key)?;
            let (payload, at) = (args.at(VALUE), moment(ctx, ttl_ms));
            // What is wrong with it only `decoded` can say.
            let made = unpack::made(ctx, VALUE, key.bytes, at).and_then(Result::ok);
            let entry = made.map_or_else(|| decoded(ctx, payload, &key, at), Ok)?;
            let payload = unpack::for_log(ctx, payload, &entry);
            ctx.node.moves.arrivals.end(ctx.node, ctx.session.db, key.bytes);
            ctx.keys.put_entry(&key, entry);
            ctx.keys.changed(&key, NO_EVENT, "restore");
            ctx.keys.effects().log_instead(&[b"RESTORE", key.bytes, b"0", &payload, b"REPLACE"]);
            log_expire(ctx, key.bytes, at);
            done()
        }
        Message::Chunk { kind, ttl_ms, hint } => {
            let fresh = !ctx.keys.exists(&key);
            let size = append(ctx, &key, kind, usize::try_from(hint).unwrap_or(0))?;
            if fresh {
                ctx.keys.hush_list(&key);
                ctx.keys.set_transit(&key, Transit::Arriving);
                ctx.node.moves.arrivals.begin(ctx.node, builder(ctx), ctx.session.db, key.bytes);
            }
            let at = moment(ctx, ttl_ms);
            ctx.keys.set_expire(&key, at);
            ctx.keys.changed(&key, NO_EVENT, "append");
            match at {
                Some(_) => log_expire(ctx, key.bytes, at),
                None => ctx.keys.effects().log_instead(&[b"PERSIST", key.bytes]),
            }
            piece(size.to_string().into_bytes())
        }
    }
}

/// Who builds the keys of this client.
fn builder(ctx: &NodeCtx<'_, '_>) -> u64 {
    if ctx.keys.is_from_primary() { STREAM } else { ctx.client.info.id }
}

/// How a key stands to whoever sends it. A log that is read, or a primary's, was checked when it was written, and may
/// begin in the middle of a key.
fn claim(ctx: &NodeCtx<'_, '_>, key: &Key<'_>) -> Option<Claim> {
    let arrivals = &ctx.node.moves.arrivals;
    (!ctx.keys.is_from_primary()).then(|| arrivals.claim(ctx.client.info.id, ctx.session.db, key.bytes))
}

/// Refuses a chunk or a part of a key whose earlier ones are not there any more, or which another connection builds, or
/// which has come from elsewhere meanwhile.
fn check_piece(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>, fresh: bool) -> Result<(), Vec<u8>> {
    match (claim(ctx, key), fresh) {
        (None, _) | (Some(Claim::Free), true) => Ok(()),
        (Some(Claim::Own), false) if ctx.keys.transit(key) == Some(Transit::Arriving) => Ok(()),
        (Some(Claim::Own), _) => Err(vanished(ctx, key)),
        (Some(Claim::Foreign), true) => Err(with_quote("the specified key doesn't exist (", key.bytes)),
        (Some(Claim::Free | Claim::Foreign), false) => Err(with_quote("the specified key already exists (", key.bytes)),
    }
}

/// As [`check_piece`], for the message that makes a key whole.
fn check_end(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>) -> Result<(), Vec<u8>> {
    let arrives = ctx.keys.transit(key) == Some(Transit::Arriving);
    match claim(ctx, key) {
        Some(Claim::Own) if !arrives => Err(vanished(ctx, key)),
        Some(Claim::Free | Claim::Foreign) if arrives => {
            Err(with_quote("the specified key already exists (", key.bytes))
        }
        _ => Ok(()),
    }
}

/// What this client was building is gone, and what it sends of it yet is worth nothing.
fn vanished(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>) -> Vec<u8> {
    let arrivals = &ctx.node.moves.arrivals;
    arrivals.drop_text(&mut ctx.ctx.keys, key);
    arrivals.end(ctx.node, ctx.session.db, key.bytes);
    with_quote("the specified key doesn't exist (", key.bytes)
}

/// Takes all keys of one message, each in place of what is there.
fn many(ctx: &mut NodeCtx<'_, '_>, slot: SlotId) -> Result<Vec<u8>, Vec<u8>> {
    let args = ctx.args.to_vec();
    let mut count = 0;
    for item in items(&args) {
        let key = Key::new(item.key);
        if key.slot != slot {
            return Err(with_quote("the key is in another slot (", key.bytes));
        }
        if leaves(ctx, &key) {
            return Err(LEAVING.to_vec());
        }
        let at = moment(ctx, item.ttl_ms.unwrap_or(0));
        let entry = match item.value {
            Packed::Text(_) => None,
            Packed::Object(payload) => Some(decoded(ctx, payload, &key, at)?),
            Packed::Unknown => return Err(b"invalid payload type".to_vec()),
        };
        let was = ctx.keys.remove_any(&key);
        ctx.node.moves.arrivals.drop_text(&mut ctx.ctx.keys, &key);
        ctx.node.moves.arrivals.end(ctx.node, ctx.session.db, key.bytes);
        if was {
            ctx.keys.touched(&key, NO_EVENT, "del");
        }
        match (entry, item.value) {
            (Some(entry), Packed::Object(payload)) => {
                let payload = dump::for_older_readers(payload, entry.view().value());
                ctx.keys.put_entry(&key, entry);
                ctx.keys.effects().log_instead(&[b"RESTORE", key.bytes, b"0", &payload, b"REPLACE"]);
            }
            (_, Packed::Text(text)) => {
                ctx.keys.put_text(&key, text, at.map_or(SetExpire::Clear, SetExpire::At));
                ctx.keys.effects().log_instead(&[b"SET", key.bytes, text]);
            }
            _ => {}
        }
        ctx.keys.changed(&key, NO_EVENT, "restore");
        log_expire(ctx, key.bytes, at);
        count += 1;
    }
    Ok(count.to_string().into_bytes())
}

/// Takes one part of a string. What has come stands aside; the key itself is there, empty and marked as arriving, so that
/// whatever removes it ends this too. Replicas and files get it when it is whole.
fn part(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>, at: Option<i64>, hint: i64) -> Result<Vec<u8>, Vec<u8>> {
    let arrivals = &ctx.node.moves.arrivals;
    let (db, text) = (ctx.session.db, ctx.args.at(ELEMENTS));
    if arrivals.has_text(db, key.bytes) {
        if ctx.keys.transit(key) != Some(Transit::Arriving) {
            return Err(vanished(ctx, key));
        }
        check_piece(ctx, key, false)?;
    } else {
        absent(ctx, key)?;
        check_piece(ctx, key, true)?;
        ctx.keys.put_text(key, b"", SetExpire::Clear);
        ctx.keys.set_transit(key, Transit::Arriving);
        arrivals.begin(ctx.node, builder(ctx), db, key.bytes);
    }
    let until_ms = at.unwrap_or(i64::MAX);
    let Some(len) = arrivals.add_part((db, key.bytes), text, hint, until_ms) else {
        return Err(b"the string is too long".to_vec());
    };
    ctx.keys.set_expire(key, at);
    ctx.keys.dirty(1);
    ctx.keys.effects().log_nothing();
    Ok(len.to_string().into_bytes())
}

/// Puts a string that is whole in the place that was kept for it.
fn whole_text(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>, mut text: ThinBytes, at: Option<i64>) -> Result<(), Vec<u8>> {
    ctx.node.moves.arrivals.end(ctx.node, ctx.session.db, key.bytes);
    if ctx.keys.transit(key) != Some(Transit::Arriving) {
        return Err(with_quote("the specified key doesn't exist (", key.bytes));
    }
    ctx.keys.remove_any(key);
    ctx.keys.effects().log_instead(&[b"SET", key.bytes, text.as_slice()]);
    // Nothing is left over unless the source said too much.
    text.shrink_to_fit();
    let lru = ctx.keys.now().lru();
    ctx.keys.put_entry(key, Entry::new(key.bytes, Body::Long(text), at, lru));
    ctx.keys.changed(key, NO_EVENT, "set");
    log_expire(ctx, key.bytes, at);
    Ok(())
}

/// The entry of a DUMP payload.
fn decoded(ctx: &NodeCtx<'_, '_>, payload: &[u8], key: &Key<'_>, at: Option<i64>) -> Result<Entry, Vec<u8>> {
    let verified = dump::verify(payload).ok_or_else(|| b"invalid payload checksum".to_vec())?;
    dump::restore(verified, unpack::limits(ctx.settings), key.bytes, at, ctx.keys.now().lru()).map_err(|error| {
        match (error, verified.first()) {
            (rdb::Error::Unsupported { .. }, _) => &b"invalid payload type"[..],
            (_, Some(0..=5 | 9..=14 | 16..=18 | 20)) => b"invalid payload body",
            _ => b"invalid payload type",
        }
        .to_vec()
    })
}

/// Refuses a key that is there already.
fn absent(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>) -> Result<(), Vec<u8>> {
    if ctx.keys.exists(key) {
        return Err(with_quote("the specified key already exists (", key.bytes));
    }
    Ok(())
}

/// Adds a chunk's elements to the key, which is to have about `hint` some day, and returns the size that it has then.
fn append(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>, kind: Collection, hint: usize) -> Result<usize, Vec<u8>> {
    let args = ctx.args;
    let elements = args.from(ELEMENTS);
    match ctx.keys.peek(key).map(|entry| (entry.kind(), entry.encoding())) {
        None if elements.is_empty() => return Err(with_quote("the specified key doesn't exist (", key.bytes)),
        Some((found, encoding)) if found != kind_of(kind) => {
            let got = format!("{}/{}", found as u8, encoding_number(encoding));
            return Err(format!("wrong type (expect={},got={got})", kind.expected()).into_bytes());
        }
        found => check_piece(ctx, key, found.is_none())?,
    }
    let wrong = |_: WrongType| b"wrong type".to_vec();
    let words = elements.iter();
    let size = match kind {
        Collection::List => {
            let limit = ctx.settings.list_node;
            let list = ctx.keys.collection_or_insert::<List>(key).map_err(wrong)?;
            words.for_each(|element| list.push_back(element, limit));
            list.len()
        }
        Collection::Set => {
            let set = ctx.keys.collection_or_insert::<Set>(key).map_err(wrong)?;
            set.expect(hint);
            set.add_all(words.map(Item::Str), 0);
            set.len()
        }
        Collection::Hash => {
            let hash = ctx.keys.collection_or_insert::<Hash>(key).map_err(wrong)?;
            hash.expect(hint);
            hash.set_all(words, BIG_HASH);
            hash.len()
        }
        Collection::ZSet => {
            let zset = ctx.keys.collection_or_insert::<ZSet>(key).map_err(wrong)?;
            zset.expect(hint);
            let members = elements.iter().step_by(2).zip(elements.iter().skip(1).step_by(2));
            zset.add_all(members.filter_map(|(member, bits)| Some((member, score(bits)?))), BIG_ZSET);
            zset.len()
        }
    };
    if ctx.keys.effects().logging && !elements.is_empty() {
        log_append(ctx, key, kind);
    }
    Ok(size)
}

/// Logs a chunk as the command that clients would have sent.
fn log_append(ctx: &mut NodeCtx<'_, '_>, key: &Key<'_>, kind: Collection) {
    let args = ctx.args;
    let elements = args.from(ELEMENTS);
    let name: &[u8] = match kind {
        Collection::List => b"RPUSH",
        Collection::Set => b"SADD",
        Collection::Hash => b"HMSET",
        Collection::ZSet => b"ZADD",
    };
    let mut words: Vec<&[u8]> = vec![name, key.bytes];
    let mut scores = Vec::new();
    if kind == Collection::ZSet {
        for bits in elements.iter().skip(1).step_by(2) {
            let mut text = Vec::new();
            resp::format_f64_17g(score(bits).unwrap_or_default(), &mut text);
            scores.push(text);
        }
        for (member, score) in elements.iter().step_by(2).zip(&scores) {
            words.extend([&score[..], member]);
        }
    } else {
        words.extend(elements.iter());
    }
    ctx.keys.effects().log_instead(&words);
}

fn kind_of(kind: Collection) -> Kind {
    match kind {
        Collection::List => List::KIND,
        Collection::Hash => Hash::KIND,
        Collection::Set => Set::KIND,
        Collection::ZSet => ZSet::KIND,
    }
}

/// The original's number of an encoding.
fn encoding_number(name: &str) -> u8 {
    match name {
        "raw" => 0,
        "int" => 1,
        "hashtable" => 2,
        "ziplist" => 5,
        "intset" => 6,
        "skiplist" => 7,
        "embstr" => 8,
        _ => 9,
    }
}

fn slotsrestore_async_auth(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let config = ctx.node.config();
    let result = match &config.requirepass {
        None => Err(&errors::NO_PASSWORD_SET["ERR ".len()..]),
        Some(password) => {
            let right = crate::node_commands::equal_in_constant_time(password, ctx.args.at(1));
            *ctx.client.authenticated = right;
            if right { Ok(b"OK".to_vec()) } else { Err("invalid password") }
        }
    };
    acknowledge(ctx, result.map_err(|text| text.as_bytes().to_vec()));
    Ok(())
}

fn slotsrestore_async_select(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let number = strict_int(ctx.args.at(1)).and_then(|db| u32::try_from(db).ok());
    let result = match number.filter(|&db| db < ctx.settings.databases) {
        Some(db) => {
            ctx.session.db = db;
            let sync = ctx.config.slots_migration_durability.is_on();
            if sync {
                ctx.node.moves.durable.tell(ctx.client.info.id);
            }
            Ok(Abilities { parts: true, many: true, ends: true, sync }.text().into_bytes())
        }
        None => Err(with_quote("invalid DB index (", ctx.args.at(1))),
    };
    acknowledge(ctx, result);
    Ok(())
}

/// Acknowledgements come on the links that this server opened, which are no clients: whoever sends one is mistaken.
fn slotsrestore_async_ack(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    *ctx.client.close_after_reply = true;
    Err(Error::Text("ERR invalid client, permission denied"))
}

/// Answers a command that may not run; true if its connection must end. A message of a migration is answered by an
/// acknowledgement, and the link ends: an original source takes an error line for a command, answers it, and so on for
/// ever. And what stands behind a choice of a database that was refused must not be carried out in another one.
pub fn refuse_command(name: &str, text: &[u8], out: &mut Out) -> bool {
    let message = name.starts_with("slotsrestore-async") && name != "slotsrestore-async-ack";
    let refuses = message && !text.starts_with(b"ERR wrong number of arguments");
    match refuses {
        true => refuse(text, out.as_mut_vec()),
        false => out.error_line(text),
    }
    refuses
}

const NONE: KeySpec = KeySpec::NONE;
const WRITE: Flags = Flags::WRITE.or(Flags::DENYOOM);
const AUTH: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST);

pub(super) static TABLE: &[Command<Handler>] = &[
    command::<Handler>("slotsrestore", -4, NONE, WRITE, slotsrestore).holding(Access::Every { first: 1, step: 3 }),
    command::<Handler>("slotsrestore-async", -2, NONE, WRITE, slotsrestore_async).holding(Access::Argument(KEY as u8)),
    command::<Handler>("slotsrestore-async-auth", 2, NONE, AUTH, slotsrestore_async_auth),
    command::<Handler>("slotsrestore-async-select", 2, NONE, Flags::LOADING.or(Flags::FAST), slotsrestore_async_select),
    command::<Handler>("slotsrestore-async-ack", 3, NONE, Flags::WRITE, slotsrestore_async_ack),
];

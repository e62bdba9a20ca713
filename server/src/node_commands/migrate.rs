//! MIGRATE: reads the keys and parks the client; [`crate::migrate`] does the rest.

use super::{Handler, NodeCtx};
use crate::migrate::{Job, MovingKeys, OnTheWay, Parcel, State, Target};
use commands::error::{Error, Outcome};
use commands::table::{Access, Command, command};
use persistence::rdb::dump;
use resp::{Flags, GetKeys, KeySpec, errors};
use std::collections::HashSet;
use std::time::Duration;

/// What the words behind the timeout say.
struct Options {
    copy: bool,
    replace: bool,
    password: Option<Vec<u8>>,
}

fn options(ctx: &NodeCtx<'_, '_>) -> Result<Options, Error> {
    let args = ctx.args;
    let mut options = Options { copy: false, replace: false, password: None };
    let mut at = 6;
    while at < args.len() {
        if args.is(at, "copy") {
            options.copy = true;
        } else if args.is(at, "replace") {
            options.replace = true;
        } else if args.is(at, "auth") && at + 1 < args.len() {
            at += 1;
            options.password = Some(args.at(at).to_vec());
        } else if args.is(at, "keys") {
            if !args.at(3).is_empty() {
                return Err(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string".into()
                );
            }
            break;
        } else {
            return Err(Error::Text(errors::SYNTAX));
        }
        at += 1;
    }
    Ok(options)
}

fn migrate(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let Options { copy, replace, password } = options(ctx)?;
    let (timeout_ms, target_db) = (ctx.int(5)?, ctx.int(4)?);
    let timeout_ms = u64::try_from(timeout_ms).ok().filter(|&ms| ms > 0).unwrap_or(1000);
    let compress = ctx.node.config().rdbcompression;
    let mut parcels: Vec<Parcel> = Vec::new();
    // A key that is named twice goes once.
    let mut seen = HashSet::new();
    let args = ctx.args;
    for at in resp::key_positions(&SPEC.spec, &args).filter(|&at| seen.insert(args.at(at))) {
        let key = ctx.ctx.key(at);
        if let Some(entry) = ctx.ctx.keys.read(&key) {
            let (payload, expire_at_ms) = (dump::dump(entry.value(), compress), entry.expire_at_ms());
            let (state, taken) = (State::ToSend, false);
            parcels.push(Parcel { key: key.bytes.to_vec(), payload, expire_at_ms, state, taken, moving: None });
        }
    }
    if parcels.is_empty() {
        ctx.out.simple("NOKEY");
        return Ok(());
    }
    let port = u16::try_from(resp::atoi(ctx.args.at(2))).unwrap_or(0);
    let target = Target { host: String::from_utf8_lossy(ctx.args.at(1)).into_owned(), port, password };
    let (db, node) = (ctx.keys.db(), ctx.node);
    let Some(parking) = &mut ctx.client.parking else {
        return Err("ERR MIGRATE waits for another instance, which transactions and scripts cannot".into());
    };
    let ticket = parking.ticket(ctx.client.info);
    if !copy {
        parcels.iter_mut().for_each(|parcel| parcel.moving = Some(MovingKeys::begin(node, db, &parcel.key)));
    }
    let timeout = Duration::from_millis(timeout_ms);
    let job = Job {
        target,
        target_db,
        timeout,
        replace,
        copy,
        db,
        tenure: node.repl.tenure(),
        parcels,
        ticket,
        rounds: 0,
        error: None,
        moved: false,
        paused_since: None,
        under_way: node.moves.closing.begin(),
    };
    node.migrations.start(node, job).map_err(Error::Text)?;
    parking.park(ticket, None, Box::new(OnTheWay));
    Ok(())
}

const SPEC: Command<Handler> =
    command::<Handler>("migrate", -6, KeySpec::movable(0, 0, 0, GetKeys::Migrate), Flags::WRITE, migrate)
        .holding(Access::Keys);

pub(super) static TABLE: &[Command<Handler>] = &[SPEC];

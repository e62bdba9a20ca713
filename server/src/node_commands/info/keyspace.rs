//! INFO keyspace: keys of each database that has some. Slots are visited one at a time, as DBSIZE does: nobody waits for
//! all of them.

use super::super::NodeCtx;
use engine::keyspace::Local;
use std::fmt::Write;

/// Sums over one database.
#[derive(Default, Clone)]
struct Counts {
    keys: usize,
    expires: usize,
    ttl_sum_ms: i128,
}

pub(super) fn keyspace(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let now = ctx.keys.now().ms;
    let mut seed = Local { seed: ctx.keys.random(), ..Local::default() };
    let mut counts = vec![Counts::default(); ctx.settings.databases as usize];
    ctx.keys.visit_databases(|db, keys| {
        if let Some(counts) = counts.get_mut(db as usize) {
            counts.keys += keys.len();
            counts.expires += keys.expires_len();
            // One key a slot stands for the slot's others.
            let sample = keys.random_expiring(|| seed.random()).and_then(|entry| entry.expire_at_ms());
            let ttl = sample.map_or(0, |at| (at - now).max(0));
            counts.ttl_sum_ms += ttl as i128 * keys.expires_len() as i128;
        }
    });
    for (db, Counts { keys, expires, ttl_sum_ms }) in counts.into_iter().enumerate() {
        if keys > 0 {
            let ttl_ms = ttl_sum_ms / expires.max(1) as i128;
            let _ = write!(text, "db{db}:keys={keys},expires={expires},avg_ttl={ttl_ms}\r\n");
        }
    }
}

//! INFO commandstats: calls and time of each command that was called.

use super::super::NodeCtx;
use engine::raw::ticks;
use std::fmt::Write;

pub(super) fn commandstats(ctx: &mut NodeCtx<'_, '_>, text: &mut String) {
    let rate = ticks::per_microsecond();
    let mut rows: Vec<_> = ctx.node.registry.iter().collect();
    rows.sort_by_key(|row| row.id);
    for row in rows {
        let of = |reactor: &crate::stats::ReactorStats| {
            let (calls, ticks) = &reactor.commands_by_id[usize::from(row.id)];
            (calls.get(), ticks.get())
        };
        let (calls, ticks) = ctx.node.stats.iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if calls > 0 {
            let us = ticks as f64 / rate as f64;
            let name = row.spec.name;
            let per_call = us / calls as f64;
            let _ = write!(text, "cmdstat_{name}:calls={calls},usec={us:.0},usec_per_call={per_call:.2}\r\n");
        }
    }
}

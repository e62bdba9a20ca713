//! LATENCY: what the latency monitor has seen, as samples, as a picture, and in words.

mod advice;
mod graph;

use super::{Handler, NodeCtx};
use commands::error::{Error, Outcome};
use commands::table::{Command, command};
use resp::{Flags, KeySpec, errors};

fn latency(ctx: &mut NodeCtx<'_, '_>) -> Outcome {
    let (args, latency, now_s) = (ctx.args, &ctx.node.latency, ctx.keys.now().ms / 1000);
    match (&args.at(1).to_ascii_lowercase()[..], args.len()) {
        (b"history", 3) => {
            let samples = latency.series(args.at(2)).unwrap_or_default().samples;
            ctx.out.array(samples.len());
            for sample in samples {
                ctx.out.array(2);
                ctx.out.int(sample.at_s);
                ctx.out.int(sample.ms as i64);
            }
        }
        (b"graph", 3) => {
            let Some(series) = latency.series(args.at(2)) else {
                let mut text = b"ERR No samples available for event '".to_vec();
                text.extend(args.at(2).iter().take_while(|&&byte| byte != 0));
                text.push(b'\'');
                return Err(Error::Owned(text));
            };
            let event = String::from_utf8_lossy(args.at(2));
            ctx.ctx.out.bulk(graph::draw(&event, &series, now_s).as_bytes());
        }
        (b"latest", 2) => {
            let all = latency.all();
            ctx.out.array(all.len());
            for (event, series) in all {
                let last = series.samples.last().map_or((0, 0), |sample| (sample.at_s, sample.ms));
                ctx.out.array(4);
                ctx.out.bulk(event.as_bytes());
                ctx.out.int(last.0);
                ctx.out.int(last.1 as i64);
                ctx.out.int(series.worst_ms as i64);
            }
        }
        (b"doctor", 2) => {
            let report = advice::report(latency, &ctx.node.config(), now_s);
            ctx.out.bulk(report.as_bytes());
        }
        (b"reset", 2) => {
            let reset = latency.reset(None);
            ctx.out.int(reset as i64);
        }
        (b"reset", _) => {
            let reset: usize = args.from(2).iter().map(|event| latency.reset(Some(event))).sum();
            ctx.out.int(reset as i64);
        }
        _ => return Err(Error::Text(errors::SYNTAX)),
    }
    Ok(())
}

const OPEN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE);

pub(super) static TABLE: &[Command<Handler>] = &[command("latency", -2, KeySpec::NONE, OPEN, latency)];

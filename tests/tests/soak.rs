//! Chains of primaries and replicas, ours and real Redis mixed, under load, over links that break: in the end all have
//! the same keys.
//!
//! By itself a few seconds. `SOAK_SECONDS` makes it longer, `SOAK_CHAINS` says who follows whom, from the primary on
//! (`redis7 ours4; ours1 redis32 ours4`), `SOAK_BACKLOG` how much of the stream each keeps; `REDIS_32` names the program
//! of a Redis 3.2. What happened is printed.

use resp::Reply;
use std::env;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tests::replicas::{Load, assert_same, follow, number, wait_for_link};
use tests::{Options, Random, Relay, Server};

/// Every pair that matters is next to each other in it.
const USUAL_CHAIN: &str = "redis7 ours4 ours1 redis7";
const USUAL_SECONDS: u64 = 5;

fn setting(name: &str, usual: &str) -> String {
    env::var(name).unwrap_or_else(|_| usual.to_owned())
}

fn options(name: &str) -> Options {
    let options = match name {
        "redis7" => Options::redis().set("repl-diskless-sync-delay", "0").set("enable-debug-command", "yes"),
        "redis32" => Options::program(Path::new(&env::var("REDIS_32").expect("REDIS_32 names a Redis 3.2"))),
        _ => {
            let threads = name.strip_prefix("ours").and_then(|threads| threads.parse().ok());
            Options::codis(threads.expect("redis7, redis32, ours1, ours4"))
        }
    };
    options.set("repl-backlog-size", &setting("SOAK_BACKLOG", "64mb")).set("repl-ping-slave-period", "1")
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Simple(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn soak(chain: &[&str], time: Duration) {
    let servers: Vec<Server> = chain.iter().map(|name| Server::start(options(name))).collect();
    let mut relays = Vec::new();
    for pair in servers.windows(2) {
        let relay = Relay::to(pair[0].addr());
        follow(&pair[1], relay.addr());
        wait_for_link(&pair[1]);
        relays.push(relay);
    }
    let mut random = Random::new(time.as_millis() as u64 + chain.len() as u64);
    let load = Load::start(servers[0].addr(), 4);
    let (began, mut cuts, mut stalls) = (Instant::now(), vec![0; relays.len()], 0);
    while began.elapsed() < time || cuts.contains(&0) {
        thread::sleep(Duration::from_millis(200 + random.below(1500) as u64));
        let which = random.below(relays.len());
        let relay = &relays[which];
        if random.below(4) == 0 {
            stalls += 1;
            relay.stall(true);
            thread::sleep(Duration::from_millis(300));
        }
        cuts[which] += 1;
        relay.cut();
        relay.stall(false);
    }
    let written = load.stop();
    println!("{}: {written} commands, {cuts:?} cuts, {stalls} of them after a stall", chain.join(" > "));
    for (pair, names) in servers.windows(2).zip(chain.windows(2)) {
        assert_same(&pair[0], &pair[1]);
        let [mut above, mut below] = [pair[0].client(), pair[1].client()];
        let (full, partial) = (number(&mut above, "sync_full"), number(&mut above, "sync_partial_ok"));
        let keys: Vec<String> = pair.iter().map(|server| text(&server.client().run("DBSIZE"))).collect();
        let digests = [above.run("DEBUG DIGEST"), below.run("DEBUG DIGEST")];
        println!("  {} > {}: {full} full syncs, {partial} partial, keys {keys:?}", names[0], names[1]);
        println!("    digests {:?}", digests.each_ref().map(text));
        if names.iter().all(|name| *name != "redis7") {
            assert_eq!(digests[0], digests[1], "{names:?}");
        }
        assert!(partial > 0, "no partial sync");
        if names[1].starts_with("ours") {
            let log = pair[1].log();
            assert!(!log.contains("so the data differ"), "{log}");
        }
    }
}

#[test]
fn a_chain_has_the_same_keys_whatever_breaks() {
    let seconds = setting("SOAK_SECONDS", "").parse().unwrap_or(USUAL_SECONDS);
    for chain in setting("SOAK_CHAINS", USUAL_CHAIN).split(';') {
        soak(&chain.split_whitespace().collect::<Vec<_>>(), Duration::from_secs(seconds));
    }
}

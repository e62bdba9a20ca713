//! Files, seen from outside: clients' writes go on during a save, and what was asked for meanwhile is done in order.

use resp::Reply;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tests::{Options, Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_save_while_writes_go_on_is_whole_and_loads() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads).set("save", ""));
        let mut client = server.client();
        client.call(&["DEBUG", "POPULATE", "20000"]);
        for n in 0..3000 {
            client.call(&["HSET", "big", &n.to_string(), "before"]);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut writer = server.client();
            let stop = &stop;
            scope.spawn(move || {
                for n in (0..3000).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    writer.call(&["HSET", "big", &n.to_string(), "after"]);
                    writer.call(&["SET", &format!("key:{n}"), "after"]);
                }
            });
            for _ in 0..5 {
                client.call(&["BGSAVE"]);
                let info =
                    || String::from_utf8_lossy(&bulk(server.client().call(&["INFO", "persistence"]))).into_owned();
                assert!(wait_until(PATIENCE, || info().contains("rdb_bgsave_in_progress:0")));
                assert!(info().contains("rdb_last_bgsave_status:ok"));
            }
            stop.store(true, Ordering::Relaxed);
        });
        client.call(&["SAVE"]);
        let before = client.call(&["DEBUG", "DIGEST"]);
        let server = server.restart(&[]);
        assert_eq!(server.client().call(&["DEBUG", "DIGEST"]), before);
    }
}

fn bulk(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(Some(text)) => text.to_vec(),
        other => panic!("{other:?}"),
    }
}

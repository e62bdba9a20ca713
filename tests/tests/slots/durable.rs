//! Acknowledgements that wait for disk and replicas: none comes before all that it is about is there.

use crate::data::{PATIENCE, run, show};
use std::os::unix::fs::symlink;
use std::time::Duration;
use tests::replicas::{follow, wait_for_link};
use tests::{Client, Options, Relay, Server, Way, wait_until};

/// For so long nothing is answered that must not be.
const MOMENT: Duration = Duration::from_millis(200);

/// An original that waits for its key to be acknowledged.
fn original(server: &Server) -> Client {
    let mut client = server.client();
    client.send(b"SLOTSRESTORE-ASYNC string whole 0 v\r\n").expect("sent");
    client
}

/// A source of ours that waits for the answer to its question about all that it has sent.
fn ours(server: &Server) -> Client {
    let mut client = server.client();
    for (line, reply) in
        [("SLOTSRESTORE-ASYNC-SELECT 0", "OK parts many ends sync"), ("SLOTSRESTORE-ASYNC many k 0 sv", "1")]
    {
        assert_eq!(run(&mut client, line), format!("[SLOTSRESTORE-ASYNC-ACK 0 {reply}]"), "{line}");
    }
    client.send(b"SLOTSRESTORE-ASYNC sync k\r\n").expect("sent");
    client
}

#[test]
fn nothing_is_acknowledged_that_a_replica_has_not() {
    let options = Options::codis(1).set_words("slots-migration-durability", &["replicas", "1"]);
    // Nothing else is in the stream.
    let options = options.set("repl-ping-slave-period", "100000");
    let (server, replica) = (Server::start(options), Server::start(Options::codis(1)));
    let relay = Relay::to(server.addr());
    follow(&replica, relay.addr());
    wait_for_link(&replica);
    relay.stall_one_way(Way::FromFar, true);
    // What the relay was waiting for it still carries, and of that the server knows that the replica has it.
    let mut client = server.client();
    run(&mut client, "SET last v");
    assert!(wait_until(PATIENCE, || run(&mut replica.client(), "EXISTS last") == ":1"));
    let has_all = |client: &mut Client| {
        let info = run(client, "INFO replication");
        let end = info.split("master_repl_offset:").nth(1).and_then(|rest| rest.split('\\').next()).unwrap_or("none");
        info.contains(&format!(",offset={end},"))
    };
    assert!(wait_until(PATIENCE, || has_all(&mut client)));
    let mut waiting = [original(&server), ours(&server)];
    let unheard = waiting.each_mut().map(|client| client.hears_nothing(MOMENT));
    assert_eq!(unheard, [true, true], "acknowledged to an original, to one of ours");
    relay.stall_one_way(Way::FromFar, false);
    for client in &mut waiting {
        assert_eq!(show(&client.read()), "[SLOTSRESTORE-ASYNC-ACK 0 1]");
    }
    assert_eq!(run(&mut replica.client(), "EXISTS whole k"), ":2");
}

#[test]
fn nothing_is_acknowledged_that_is_not_on_disk() {
    for source in [original, ours] {
        // Writing to it goes well, synchronising does not.
        let dir = tempfile::TempDir::new().expect("a temporary directory can be made");
        symlink("/dev/null", dir.path().join("appendonly.aof")).expect("made");
        let options = Options::codis(1).set("appendonly", "yes").set("appendfsync", "no");
        let options = options.set("slots-migration-durability", "aof").set("dir", &dir.path().to_string_lossy());
        let server = Server::start(options);
        assert!(source(&server).hears_nothing(MOMENT));
    }
}

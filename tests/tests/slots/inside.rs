//! What sources say to targets, said within transactions, scripts and the wrapper: whoever says it there has slots taken as
//! they are reached, also where keys are on their way.

use crate::data::{Script, run, show};
use tests::{Options, Server};

/// What is said of `q`, and its reply.
const SAID: [(&str, &str); 7] = [
    ("SLOTSRESTORE q 0 x", "-ERR dump payload version or checksum are wrong"),
    ("SLOTSRESTORE-ASYNC delete q", "[SLOTSRESTORE-ASYNC-ACK 0 0]"),
    ("SLOTSRESTORE-ASYNC expire q 0", "[SLOTSRESTORE-ASYNC-ACK -1 the specified key doesn't exist (q)]"),
    ("SLOTSRESTORE-ASYNC string q 0 v", "[SLOTSRESTORE-ASYNC-ACK 0 1]"),
    ("SLOTSRESTORE-ASYNC delete q", "[SLOTSRESTORE-ASYNC-ACK 0 1]"),
    ("SLOTSRESTORE-ASYNC list q 0 2 a b", "[SLOTSRESTORE-ASYNC-ACK 0 2]"),
    ("SLOTSRESTORE-ASYNC delete q", "[SLOTSRESTORE-ASYNC-ACK 0 1]"),
];

/// A refusal ends its connection.
fn say_all(server: &Server) {
    for (said, reply) in SAID {
        let mut client = server.client();
        assert_eq!(run(&mut client, "MULTI"), "OK");
        assert_eq!(run(&mut client, said), "QUEUED");
        assert_eq!(run(&mut client, "EXEC"), format!("[{reply}]"), "{said}");
    }
    for (said, reply) in SAID {
        let words: Vec<String> = said.split(' ').map(|word| format!("'{word}'")).collect();
        let script = format!("return redis.pcall({})", words.join(","));
        assert_eq!(show(&server.client().call(&["EVAL", &script, "0"])), reply, "{said}");
    }
    for (said, reply) in SAID {
        let mut client = server.client();
        assert_eq!(run(&mut client, &format!("SLOTSMGRT-EXEC-WRAPPER k {said}")), format!("[:2 {reply}]"), "{said}");
    }
}

#[test]
fn what_sources_say_may_be_said_in_transactions_scripts_and_the_wrapper() {
    for threads in [1, 4] {
        let server = Server::start(Options::codis(threads));
        let mut client = server.client();
        run(&mut client, "SET k v");
        say_all(&server);
        // One key that arrives, and one that leaves another database: the batch's own takes nothing from others.
        let half = "SLOTSRESTORE-ASYNC list half 600000 9 a";
        assert_eq!(run(&mut server.client(), half), "[SLOTSRESTORE-ASYNC-ACK 0 1]");
        say_all(&server);
        let target = Script::new();
        run(&mut client, "SELECT 1");
        run(&mut client, "SET leaves v");
        client.send(format!("{}\r\n", target.to("SLOTSMGRTONE-ASYNC", "60000 0 0 leaves")).as_bytes()).expect("sent");
        let _link = target.accept();
        say_all(&server);
        assert_eq!(run(&mut server.client(), "GET k"), "v");
    }
}

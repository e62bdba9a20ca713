//! Three real Sentinels over a group of ours: they find the replicas, and when the primary dies they promote one, under
//! load; the old primary comes back as a replica.

use resp::Reply;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tests::{Client, Options, Server, free_port, redis_server, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than a busy machine stands still.
const DOWN_AFTER_MS: u32 = 5000;

/// A Sentinel that does not outlive the test.
struct Sentinel {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Sentinel {
    fn watching(primary: SocketAddr) -> Sentinel {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let port = free_port();
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nlogfile {dir}/log\nsentinel monitor group 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds group {DOWN_AFTER_MS}\nsentinel failover-timeout group 10000\n\
             sentinel parallel-syncs group 1\n",
            dir = dir.path().display(),
            primary = primary.port(),
        );
        let file = dir.path().join("sentinel.conf");
        fs::write(&file, text).expect("a configuration file can be made");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(redis_server()).arg(&file).arg("--sentinel");
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("setpriv (package util-linux) starts");
        Sentinel { child, addr: (Ipv4Addr::LOCALHOST, port).into(), _dir: dir }
    }

    fn ask(&self, line: &str) -> Option<Reply> {
        let words: Vec<&str> = line.split(' ').collect();
        Client::connect(self.addr).and_then(|mut client| client.try_call(&words)).ok()
    }

    fn primary_port(&self) -> Option<u16> {
        let Some(Reply::Array(Some(parts))) = self.ask("SENTINEL get-master-addr-by-name group") else { return None };
        let Some(Reply::Bulk(Some(port))) = parts.get(1) else { return None };
        String::from_utf8_lossy(port).parse().ok()
    }

    /// A figure of what it knows of the primary.
    fn figure(&self, name: &str) -> Option<String> {
        let Some(Reply::Array(Some(fields))) = self.ask("SENTINEL master group") else { return None };
        let is = |reply: &Reply, text: &str| matches!(reply, Reply::Bulk(Some(bytes)) if bytes == text.as_bytes());
        let at = fields.chunks(2).find(|pair| is(&pair[0], name))?;
        let Reply::Bulk(Some(value)) = at.get(1)? else { return None };
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn role(server: &Server) -> String {
    let reply = Client::connect(server.addr()).and_then(|mut client| client.try_call(&["ROLE"]));
    let Ok(Reply::Array(Some(parts))) = reply else { return String::new() };
    let Some(Reply::Bulk(Some(role))) = parts.first() else { return String::new() };
    String::from_utf8_lossy(role).into_owned()
}

#[test]
fn three_sentinels_fail_a_group_over_and_the_old_primary_comes_back_as_a_replica() {
    let config = |priority: &str| Options::codis(2).config(&format!("slave-priority {priority}\n"));
    let primary = Server::start(config("100"));
    // 0 is never promoted, also where the other one has not been heard of for a while.
    let replicas = ["10", "0"].map(|priority| Server::start(config(priority)));
    for replica in &replicas {
        replica.client().run(&format!("SLAVEOF 127.0.0.1 {}", primary.addr().port()));
    }
    let sentinels = [(); 3].map(|()| Sentinel::watching(primary.addr()));
    let knows = |sentinel: &Sentinel| {
        sentinel.figure("num-slaves").as_deref() == Some("2")
            && sentinel.figure("num-other-sentinels").as_deref() == Some("2")
            && sentinel.figure("flags").as_deref() == Some("master")
    };
    assert!(wait_until(PATIENCE, || sentinels.iter().all(knows)), "the Sentinels do not find each other");

    let mut client = primary.client();
    for n in 0..200 {
        client.run(&format!("SET k{n} {n}"));
    }
    assert_eq!(client.run("WAIT 2 60000"), Reply::Int(2));
    // The load goes on while the primary dies.
    let addr = primary.addr();
    let load = thread::spawn(move || {
        let Ok(mut client) = Client::connect(addr) else { return };
        while client.try_call(&["INCR", "load"]).is_ok() {}
    });
    let crashed = primary.crash();
    load.join().expect("no panic");

    let [first, second] = &replicas;
    let new_port = first.addr().port();
    let agreed = || sentinels.iter().all(|sentinel| sentinel.primary_port() == Some(new_port));
    assert!(wait_until(PATIENCE, agreed), "no failover to the replica that may be promoted\n{}", first.log());
    assert!(wait_until(PATIENCE, || role(first) == "master"));
    let mut client = first.client();
    assert_eq!(client.run("GET k199"), Reply::bulk("199"));
    assert_eq!(client.run("SET after failover"), Reply::Simple(b"OK".to_vec()));
    assert!(wait_until(PATIENCE, || second.client().run("GET after") == Reply::bulk("failover")), "{}", second.log());

    // What the Sentinels have changed is in the file of each: CONFIG REWRITE came with SLAVEOF.
    let file = fs::read_to_string(second.dir().join("server.conf")).expect("the file is there");
    assert!(file.contains(&format!("slaveof 127.0.0.1 {new_port}")), "{file}");

    let back = crashed.start_again();
    assert!(wait_until(PATIENCE, || role(&back) == "slave"), "{}", back.log());
    assert!(wait_until(PATIENCE, || back.client().run("GET after") == Reply::bulk("failover")), "{}", back.log());
}

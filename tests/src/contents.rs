//! All that a server stores, in a form in which two servers can be compared, whatever their versions.

use crate::Client;
use resp::Reply;
use std::collections::BTreeMap;

/// Database and key to a text of type, expiry and value.
pub type Contents = BTreeMap<(u32, String), String>;

/// Reads every key of the first `databases` databases.
pub fn contents(client: &mut Client, databases: u32) -> Contents {
    let mut found = Contents::new();
    for db in 0..databases {
        client.run(&format!("SELECT {db}"));
        let Reply::Array(Some(keys)) = client.run("KEYS *") else { panic!("KEYS replies with an array") };
        for key in keys {
            let Reply::Bulk(Some(key)) = key else { panic!("a key is a string") };
            let key = String::from_utf8(key).expect("tests use text");
            found.insert((db, key.clone()), value(client, &key));
        }
    }
    client.run("SELECT 0");
    found
}

fn value(client: &mut Client, key: &str) -> String {
    let Reply::Simple(kind) = client.call(&["TYPE", key]) else { panic!("TYPE replies with a word") };
    let kind = String::from_utf8_lossy(&kind).into_owned();
    let reply = match kind.as_str() {
        "string" => client.call(&["GET", key]),
        "list" => client.call(&["LRANGE", key, "0", "-1"]),
        "set" => client.call(&["SMEMBERS", key]),
        "zset" => client.call(&["ZRANGE", key, "0", "-1", "WITHSCORES"]),
        "hash" => client.call(&["HGETALL", key]),
        _ => Reply::Bulk(None),
    };
    let mut texts = Vec::new();
    flatten(&reply, &mut texts);
    match kind.as_str() {
        "set" => texts.sort(),
        "hash" => {
            let mut pairs: Vec<String> = texts.chunks(2).map(|pair| pair.join("=")).collect();
            pairs.sort();
            texts = pairs;
        }
        _ => {}
    }
    let Reply::Int(ttl_ms) = client.call(&["PTTL", key]) else { panic!("PTTL replies with a number") };
    let expires = if ttl_ms >= 0 { " expires" } else { "" };
    format!("{kind}{expires} {}", texts.join(" "))
}

fn flatten(reply: &Reply, texts: &mut Vec<String>) {
    match reply {
        Reply::Bulk(Some(text)) | Reply::Simple(text) | Reply::Error(text) => {
            texts.push(text.escape_ascii().to_string());
        }
        Reply::Bulk(None) | Reply::Array(None) => texts.push("nil".into()),
        Reply::Int(n) => texts.push(n.to_string()),
        Reply::Array(Some(items)) => items.iter().for_each(|item| flatten(item, texts)),
    }
}

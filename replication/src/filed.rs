//! Which requests of a primary's stream its replica's append only file cannot have as they came.
//!
//! A file is read later, by a server that knows less: a relative expiry would begin anew at each start, and a script that
//! goes by its digest is not there. 3.2 puts most of them otherwise in its own file; the messages of a migration it does not,
//! and those have times to live as well.

/// Whether a request of this name and number of words has to be put otherwise for a file.
pub fn differs(name: &[u8], words: usize) -> bool {
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    match name.len() {
        3 => words > 3 && is("set"),
        4 => is("copy"),
        5 => is("setex") || is("lmove"),
        6 => is("expire") || is("psetex"),
        7 => is("pexpire") || is("evalsha") || is("restore"),
        10 => is("zdiffstore"),
        11 => is("zrangestore"),
        12 => is("slotsrestore"),
        18 => is("slotsrestore-async"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_its_moment_or_on_what_the_server_knows_differs() {
        for request in [
            "SET k v EX 1",
            "setex k 1 v",
            "PSETEX k 1 v",
            "Expire k 1",
            "pexpire k 1",
            "EVALSHA d 0",
            "slotsrestore k 1 p",
            "restore k 1 p",
            "SLOTSRESTORE-ASYNC expire k 1",
        ] {
            let words: Vec<&str> = request.split(' ').collect();
            assert!(differs(words[0].as_bytes(), words.len()), "{request}");
        }
        for request in ["SET k v", "GET k", "PEXPIREAT k 1", "EVAL s 0", "MULTI", "SLOTSRESTORE-ASYNC-ACK 0 b"] {
            let words: Vec<&str> = request.split(' ').collect();
            assert!(!differs(words[0].as_bytes(), words.len()), "{request}");
        }
    }
}

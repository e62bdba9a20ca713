//! Requests of newer servers in the words of 3.2: what a replica of Redis 4 to 7 gets in the stream and has no command
//! for. SET with newer options is not here: it stays one request.

use resp::Arg;

/// Whether a request of this name and number of words may have to be put otherwise: a quick look before [`translate`].
pub fn may_differ(name: &[u8], words: usize) -> bool {
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    match words {
        2 => is("unlink") || is("getdel") || is("flushall") || is("flushdb") || is("zpopmin") || is("zpopmax"),
        3 => is("script") || is("unlink") || is("lpop") || is("rpop") || is("zpopmin") || is("zpopmax"),
        _ => {
            is("unlink")
                || is("lmove")
                || words > 4 && is("hset")
                || words == 4 && is("pexpireat")
                || is("geosearchstore")
                || is("lpushx")
                || is("rpushx")
        }
    }
}

/// As [`translate`], of a request of these words: the bytes of the other one, and where its words are.
pub fn translated<'a>(words: impl ExactSizeIterator<Item = &'a [u8]>) -> Option<(Vec<u8>, Vec<Arg>)> {
    let (mut bytes, mut bounds) = (Vec::new(), Vec::new());
    for word in translate(&words.collect::<Vec<_>>())? {
        bounds.push(Arg { start: bytes.len() as u32, len: word.len() as u32 });
        bytes.extend_from_slice(&word);
    }
    Some((bytes, bounds))
}

/// The request to run instead, if `args` has to be put otherwise.
pub fn translate<'a>(args: &[&'a [u8]]) -> Option<Vec<Vec<u8>>> {
    let (name, rest) = args.split_first()?;
    let name = name.to_ascii_lowercase();
    let owned = |words: &[&'a [u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
    let put = |name: &str, rest: &[&'a [u8]]| Some([vec![name.as_bytes().to_vec()], owned(rest)].concat());
    let is = |word: &[u8], text: &str| word.eq_ignore_ascii_case(text.as_bytes());
    match (name.as_slice(), rest) {
        (b"unlink", keys) => put("DEL", keys),
        (b"hset", [_, _, _, _, ..]) => put("HMSET", rest),
        // The list was there.
        (b"lpushx", [_, _, _, ..]) => put("LPUSH", rest),
        (b"rpushx", [_, _, _, ..]) => put("RPUSH", rest),
        (b"flushall" | b"flushdb", [_]) => Some(vec![name]),
        // It came because it was to be done there.
        (b"pexpireat", [key, at, option])
            if [b"nx", b"xx", b"gt", b"lt"].iter().any(|known| option.eq_ignore_ascii_case(*known)) =>
        {
            put("PEXPIREAT", &[key, at])
        }
        (b"script", [flush, how]) if is(flush, "flush") && (is(how, "async") || is(how, "sync")) => {
            put("SCRIPT", &[flush])
        }
        (b"geosearchstore", [to, from, rest @ ..]) => {
            let (begin, rest) = match rest {
                [by, member, rest @ ..] if is(by, "frommember") => {
                    ([&b"GEORADIUSBYMEMBER"[..], from, member].to_vec(), rest)
                }
                [by, x, y, rest @ ..] if is(by, "fromlonlat") => ([&b"GEORADIUS"[..], from, x, y].to_vec(), rest),
                _ => return None,
            };
            let [by, radius, unit, rest @ ..] = rest else { return None };
            // Any of those that are near may be any other here.
            if !is(by, "byradius") || rest.iter().any(|word| is(word, "any")) {
                return None;
            }
            let (distances, rest): (Vec<_>, Vec<_>) = rest.iter().copied().partition(|word| is(word, "storedist"));
            let store: &[u8] = if distances.is_empty() { b"STORE" } else { b"STOREDIST" };
            Some(owned(&[&begin[..], &[radius, unit], &rest, &[store, to]].concat()))
        }
        (b"getdel", [key]) => put("DEL", &[key]),
        (b"lmove", [from, to, side, other]) if is(side, "right") && is(other, "left") => put("RPOPLPUSH", &[from, to]),
        // So many elements of one end are those that are not in the rest.
        (b"lpop", [key, count]) => put("LTRIM", &[key, count, b"-1"]),
        (b"rpop", [key, count]) => {
            let last = resp::parse_i64(count)?.checked_neg()?.checked_sub(1)?;
            Some(vec![b"LTRIM".to_vec(), key.to_vec(), b"0".to_vec(), last.to_string().into_bytes()])
        }
        (b"zpopmin", [key]) => put("ZREMRANGEBYRANK", &[key, b"0", b"0"]),
        (b"zpopmax", [key]) => put("ZREMRANGEBYRANK", &[key, b"-1", b"-1"]),
        (b"zpopmin", [key, count]) => {
            let last = resp::parse_i64(count)?.checked_sub(1).filter(|last| *last >= 0)?;
            Some(vec![b"ZREMRANGEBYRANK".to_vec(), key.to_vec(), b"0".to_vec(), last.to_string().into_bytes()])
        }
        (b"zpopmax", [key, count]) => {
            let first = resp::parse_i64(count)?.checked_neg().filter(|first| *first < 0)?;
            Some(vec![b"ZREMRANGEBYRANK".to_vec(), key.to_vec(), first.to_string().into_bytes(), b"-1".to_vec()])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: Option<&str>) {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        assert!(expected.is_none() || may_differ(args[0], args.len()), "{request}");
        let put = translate(&args).map(|words| {
            let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            words.join(" ")
        });
        assert_eq!(put.as_deref(), expected, "{request}");
    }

    #[test]
    fn newer_requests_become_older_ones_with_the_same_effect() {
        check("UNLINK a b", Some("DEL a b"));
        check("HSET h a 1 b 2", Some("HMSET h a 1 b 2"));
        check("FLUSHALL ASYNC", Some("flushall"));
        check("LMOVE a b RIGHT left", Some("RPOPLPUSH a b"));
        check("LPUSHX l a b", Some("LPUSH l a b"));
        check("RPUSHX l a b", Some("RPUSH l a b"));
        check("PEXPIREAT k 77 gt", Some("PEXPIREAT k 77"));
        check("LPOP l 3", Some("LTRIM l 3 -1"));
        check("RPOP l 3", Some("LTRIM l 0 -4"));
        check("SCRIPT FLUSH async", Some("SCRIPT FLUSH"));
        let near = "FROMLONLAT 1 2 BYRADIUS 3 km";
        check(&format!("GEOSEARCHSTORE d g {near} ASC COUNT 4"), Some("GEORADIUS g 1 2 3 km ASC COUNT 4 STORE d"));
        let near = "FROMMEMBER m BYRADIUS 3 km STOREDIST";
        check(&format!("GEOSEARCHSTORE d g {near}"), Some("GEORADIUSBYMEMBER g m 3 km STOREDIST d"));
        check("GEOSEARCHSTORE d g FROMMEMBER m BYBOX 3 3 km", None);
        check("GEOSEARCHSTORE d g FROMMEMBER m BYRADIUS 3 km COUNT 1 ANY", None);
        check("ZPOPMIN z 2", Some("ZREMRANGEBYRANK z 0 1"));
        check("ZPOPMAX z 2", Some("ZREMRANGEBYRANK z -2 -1"));
    }

    #[test]
    fn what_3_2_knows_stays_as_it_is() {
        for request in
            ["SET k v", "HSET h f v", "FLUSHALL", "LPOP l", "LPUSHX l a", "DEL a", "LMOVE a b LEFT LEFT", "ZPOPMAX z 0"]
        {
            check(request, None);
        }
    }
}

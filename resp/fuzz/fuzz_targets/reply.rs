//! Decoder and scanner agree on any bytes, whole or in pieces, and what was decoded survives being encoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::{Out, Reply, Scanner};

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut out = Out::new();
    reply.encode(&mut out);
    out.into_vec()
}

fuzz_target!(|input: &[u8]| {
    let decoded = Reply::decode(input);
    let length = decoded.clone().map(|reply| reply.map(|(_, len)| len));
    assert_eq!(Scanner::new().scan(input), length);

    let mut scanner = Scanner::new();
    let piecewise =
        (0..=input.len()).map(|end| scanner.scan(&input[..end])).find(|said| *said != Ok(None)).unwrap_or(Ok(None));
    assert_eq!(piecewise, length);

    if let Ok(Some((reply, _))) = decoded {
        // A lone line end within a line is a blank from then on; all else stays.
        let again = encoded(&reply);
        let (reply, len) = Reply::decode(&again).expect("own bytes").expect("whole bytes");
        assert_eq!((len, encoded(&reply)), (again.len(), again));
    }
});

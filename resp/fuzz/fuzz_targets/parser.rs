//! A stream of requests is the same requests, or the same error, however it is cut into pieces.
//!
//! The first byte of the input says where the cuts are; the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::{Parser, Progress, ProtocolError};

/// Requests up to the end of the stream or its first error.
type Parsed = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// Feeds the stream as a connection would, `piece` bytes at a time.
fn feed(stream: &[u8], piece: usize) -> Parsed {
    let (mut parser, mut args) = (Parser::new(), Vec::new());
    let (mut begin, mut end) = (0, piece.min(stream.len()));
    let mut requests = Vec::new();
    loop {
        let buf = &stream[begin..end];
        let (text, consumed) = match parser.parse(buf, &mut args) {
            Ok(Progress::Complete { consumed }) => (buf, consumed),
            Ok(Progress::Inline { consumed }) => (parser.inline_text(), consumed),
            Ok(Progress::NeedMore { hint }) => {
                assert!(hint > buf.len() && args.is_empty());
                if end == stream.len() {
                    return (requests, None);
                }
                end = (end + piece).min(stream.len());
                continue;
            }
            Err(error) => return (requests, Some(error)),
        };
        assert!(consumed > 0 && consumed <= buf.len());
        assert!(args.iter().all(|arg| (arg.start + arg.len) as usize <= text.len()));
        requests.push(args.drain(..).map(|arg| arg.of(text).to_vec()).collect());
        begin += consumed;
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, stream)) = input.split_first() else { return };
    let whole = feed(stream, stream.len().max(1));
    assert_eq!(feed(stream, usize::from(cut) + 1), whole);
    assert_eq!(feed(stream, 1), whole);
});

//! What the log lets go of, and when.

use super::{Consumer, Oplog};

#[test]
fn what_was_read_of_a_large_record_goes_without_another_one() {
    let log = Oplog::new(1 << 20);
    log.want(Consumer::Replicas, true);
    let mut pinned = log.pinned(0).expect("kept");
    log.append(0, &vec![b'x'; 64 << 20]);
    log.trim();
    assert!(log.oldest() == 0 && log.uncounted_bytes() >= 63 << 20);
    while pinned.read(&log, |bytes| bytes.len()) != Ok(0) {}
    log.trim();
    assert!(log.end() - log.oldest() <= 3 << 20 && log.uncounted_bytes() <= 2 << 20, "{}", log.oldest());
    assert!(log.pinned(log.oldest()).is_ok());
}

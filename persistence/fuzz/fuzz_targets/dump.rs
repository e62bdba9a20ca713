//! Any bytes as the payload of RESTORE: refused, or a value that is the same after being dumped and restored again.
//!
//! The first byte chooses limits; version and checksum are made right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use persistence::crc64;
use persistence::rdb::decode::Limits;
use persistence::rdb::dump;
use persistence_fuzz::{plain, small_limits};

fuzz_target!(|input: &[u8]| {
    // As it is, it has another checksum.
    assert!(dump::verify(input).is_none() || input.len() >= 10);
    let Some((&choice, value)) = input.split_first() else { return };
    let limits = if choice & 1 == 1 { small_limits() } else { Limits::default() };
    let mut payload = [value, &10u16.to_le_bytes()].concat();
    payload.extend(crc64::checksum(&payload).to_le_bytes());
    let verified = dump::verify(&payload).expect("the checksum is right");
    let Ok(first) = dump::restore(verified, limits, b"key", None, 0) else { return };
    let again = dump::dump(first.view().value(), choice & 2 == 2);
    let again = dump::verify(&again).expect("the checksum is right");
    let second = dump::restore(again, limits, b"key", None, 0).expect("what was written is read");
    assert!(plain(first.view()) == plain(second.view()));
});

//! Any bytes as a data set: refused with an error, or entries that are the same after being written and read again.
//!
//! The first byte chooses limits; the others are what follows the header of version 10 (the checksum is not compared, or no
//! input would come far).
#![no_main]

use libfuzzer_sys::fuzz_target;
use persistence::rdb::dump;
use persistence::rdb::load::{Event, LoadOptions, Loader};
use persistence_fuzz::{plain, small_limits};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut options = LoadOptions { checksum: false, ..LoadOptions::default() };
    if choice & 1 == 1 {
        options.limits = small_limits();
    }
    let bytes = [&b"REDIS0010"[..], rest].concat();
    let mut loader = Loader::new(&bytes[..], options).expect("the header is right");
    let mut loaded = 0;
    loop {
        match loader.event() {
            Ok(Event::Entry(first)) => {
                let entry = first.entry.view();
                let payload = dump::dump(entry.value(), choice & 2 == 2);
                let verified = dump::verify(&payload).expect("the checksum is right");
                let again = dump::restore(verified, options.limits, entry.key(), entry.expire_at_ms(), 0);
                let again = again.expect("what was written is read");
                assert!(plain(again.view()) == plain(entry));
                loaded += 1;
            }
            Ok(Event::End { .. }) => break,
            Ok(_) => {}
            Err(error) => {
                assert!(error.offset <= bytes.len() as u64);
                let _ = error.to_string();
                break;
            }
        }
    }
    // A key takes at least its type, an empty name and an empty string.
    assert!(loaded <= rest.len() / 3);
});

//! Any text is a script or an error; it ends, and a script after it still works.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // What one script leaves behind must not confuse the search for the next.
    let _ = lua_fuzz::eval(input, &[b"one", b"2"], true);
    match lua_fuzz::eval(b"return 7", &[], false) {
        Ok(reply) => assert_eq!(reply, b":7\r\n"),
        Err(error) => panic!("{error}"),
    }
});

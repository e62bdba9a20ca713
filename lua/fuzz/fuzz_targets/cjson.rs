//! Any bytes are JSON or an error, and what was decoded and can be encoded is JSON again.
#![no_main]

use libfuzzer_sys::fuzz_target;

const SCRIPT: &str = "
    local read, value = pcall(cjson.decode, ARGV[1])
    if not read then return end
    local written, text = pcall(cjson.encode, value)
    if not written then return end
    local again = cjson.encode(cjson.decode(text))
    assert(#again == #text, text .. ' ' .. again)";

fuzz_target!(|input: &[u8]| lua_fuzz::hold(SCRIPT, &[input]));

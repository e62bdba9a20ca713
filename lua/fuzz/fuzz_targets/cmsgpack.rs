//! Any bytes are MessagePack or an error, and what was unpacked and packed again unpacks to as many values: unless a
//! table nested too deep, which is packed as nil, was a key.
#![no_main]

use libfuzzer_sys::fuzz_target;

const SCRIPT: &str = "
    local function check(read, ...)
      local count = select('#', ...)
      if not read or count == 0 then return end
      local packed = cmsgpack.pack(...)
      local function again(read, ...)
        if read then assert(select('#', ...) == count) else assert(... == 'table index is nil', ...) end
      end
      again(pcall(cmsgpack.unpack, packed))
    end
    check(pcall(cmsgpack.unpack, ARGV[1]))
    pcall(cmsgpack.unpack_one, ARGV[1], #ARGV[1] % 7)
    pcall(cmsgpack.unpack_limit, ARGV[1], 3, 1)";

fuzz_target!(|input: &[u8]| lua_fuzz::hold(SCRIPT, &[input]));

//! Any format and data give values or an error; values that were unpacked with a format can be packed with it.
//!
//! The input is the format, a zero byte, and the data.
#![no_main]

use libfuzzer_sys::fuzz_target;

const SCRIPT: &str = "
    local format, data = ARGV[1], ARGV[2]
    pcall(struct.size, format)
    pcall(struct.pack, format, 1, 'two', 3.5, 'four', -5, 6, 7, 8)
    pcall(struct.unpack, format, data, #data % 5)
    local function check(read, ...)
      if not read or format:find('c0', 1, true) then return end
      local packed = struct.pack(format, ...)
      local size = select(select('#', ...), ...) - 1
      assert(#packed == size, #packed .. ' ' .. size)
    end
    check(pcall(struct.unpack, format, data))";

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let format = parts.next().unwrap_or_default();
    lua_fuzz::hold(SCRIPT, &[format, parts.next().unwrap_or_default()]);
});

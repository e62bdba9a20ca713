//! The bundled libraries, against what a real Redis 3.2 replied.

use lua::Options;

use crate::host::{Bench, check, check_error};

/// What vector scripts may use: `hex`, and `show`, which makes text of any values.
const PRELUDE: &str = "
    local function hex(s) return (s:gsub('.', function(c) return string.format('%02x', c:byte()) end)) end
    local function ser(v)
      if type(v) == 'table' then
        local n = 0
        for _ in pairs(v) do n = n + 1 end
        local s = '{' .. n .. ':'
        for _, x in ipairs(v) do s = s .. ser(x) .. ',' end
        return s .. '}'
      elseif type(v) == 'number' then return string.format('%.17g', v)
      elseif type(v) == 'string' then return redis.sha1hex(v):sub(1, 8) .. '#' .. #v
      else return tostring(v) end
    end
    local function show(...)
      local s = ''
      for i = 1, select('#', ...) do s = s .. ser((select(i, ...))) .. ' ' end
      return s
    end ";

/// Checks each script (`> ...`) of a file against the line below it.
fn check_vectors(file: &str) {
    // On one line, since messages name lines.
    let prelude = PRELUDE.replace('\n', " ");
    let mut lines = file.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    while let (Some(script), Some(expected)) = (lines.next(), lines.next()) {
        let script = format!("{prelude}{}", script.strip_prefix("> ").expect("a script"));
        let mut bench = Bench::new();
        let reply = bench.show(&script);
        match expected.strip_prefix("! ") {
            Some(message) => {
                let end = reply.find("): ").unwrap_or_else(|| panic!("{script}\n no error: {reply}"));
                assert_eq!(&reply[end + 3..], format!("{message} \\r\\n"), "{script}");
            }
            None => assert_eq!(reply, expected, "{script}"),
        }
        count += 1;
    }
    assert!(count > 100, "{count}");
}

#[test]
fn cjson_does_what_the_original_does() {
    check_vectors(include_str!("vectors/cjson.txt"));
}

#[test]
fn cmsgpack_does_what_the_original_does() {
    check_vectors(include_str!("vectors/cmsgpack.txt"));
}

#[test]
fn struct_does_what_the_original_does() {
    check_vectors(include_str!("vectors/struct.txt"));
}

#[test]
fn struct_reads_nothing_outside_of_its_data() {
    let short = "@user_script:1: user_script:1: bad argument #2 to 'unpack' (data string too short)";
    check_error("return struct.unpack('bc0', '\\255abcdef')", short);
    check_error("return struct.unpack('c2147483647c2147483647', 'a')", short);
    check_error("return struct.unpack('b', 'abc', 2^40)", short);
    for start in ["0", "-1", "-2^63", "0/0"] {
        check_error(
            &format!("return struct.unpack('b', 'abc', {start})"),
            "@user_script:1: user_script:1: bad argument #3 to 'unpack' (offset must be 1 or greater)",
        );
    }
    // Beyond 64 bits a length is 0, as the conversion in C has it.
    check("return (struct.unpack('dc0', struct.pack('d', 2^64)))", r"$0\r\n\r\n");
    check_error(
        "struct.size('\\200')",
        r"@user_script:1: user_script:1: bad argument #1 to 'size' (invalid format option '\xc8')",
    );
    // The data itself is no result that `c0` could take for a length.
    check_error("return struct.unpack('c0', '2')", "@user_script:1: user_script:1: format `c0' needs a previous size");
}

#[test]
fn tables_that_contain_themselves_end() {
    check(
        "local a = {y = 5} local b = {x = a} a.x = b
         local r = cmsgpack.unpack(cmsgpack.pack(a))
         return {r.x.x.y == 5, r.x.x.x.x.x.x.x.x.x.x.x.x.x.x.y == 5, r.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x == nil}",
        r"*3\r\n:1\r\n:1\r\n:1\r\n",
    );
    check_error(
        "local t = {} t[1] = t return cjson.encode(t)",
        "@user_script:1: user_script:1: Cannot serialise, excessive nesting (1001)",
    );
    // The output grows eightfold with every level.
    let mut bench = Bench::with(Options { memory_bytes_max: 4 << 20, ..Options::default() });
    for encode in ["cjson.encode", "cmsgpack.pack"] {
        let error = bench
            .error(&format!("local t = {{}} for i = 1, 100 do t = {{t, t, t, t, t, t, t, t}} end return {encode}(t)"));
        assert_eq!(error, "@user_script:1: not enough memory");
    }
    assert_eq!(
        bench.error("return struct.pack(('c1000000'):rep(10), unpack(loadstring('local s = ... return {s,s,s,s,s,s,s,s,s,s}')(('x'):rep(1e6))))"),
        "@user_script:1: not enough memory"
    );
}

#[test]
fn a_long_encoding_is_killed() {
    let mut bench = Bench::new();
    bench.map.kill_at = Some(2);
    for encode in ["cjson.encode", "cmsgpack.pack"] {
        bench.map.ticks = 0;
        let error = bench.error(&format!(
            "local t = {{}} for i = 1, 100 do t = {{t, t, t, t, t, t, t, t}} end while true do pcall({encode}, t) end"
        ));
        assert_eq!(error, "@user_script:1: Script killed by user with SCRIPT KILL...");
    }
}

#[test]
fn nesting_is_bounded_by_the_stack_not_by_the_thread() {
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(|| {
            let mut bench = Bench::new();
            for (script, expected) in [
                (
                    "cjson.decode_max_depth(1e9) return cjson.decode(('['):rep(1e6))",
                    "Found too many nested data structures",
                ),
                ("cjson.encode_max_depth(1e9) local t = {} t.x = t return cjson.encode(t)", "excessive nesting"),
                ("return cmsgpack.unpack(('\\145'):rep(1e6))", "too many return values at once"),
                ("return cmsgpack.unpack(('\\129\\1'):rep(1e6))", "too many return values at once"),
            ] {
                let error = bench.error(script);
                assert!(error.contains(expected), "{script}: {error}");
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn announced_lengths_are_not_believed() {
    for bytes in [
        "\\221\\255\\255\\255\\255",
        "\\223\\255\\255\\255\\255\\1",
        "\\219\\255\\255\\255\\255a",
        "\\220\\255\\255\\1",
    ] {
        check_error(
            &format!("return cmsgpack.unpack('{bytes}')"),
            "@user_script:1: user_script:1: Missing bytes in input.",
        );
    }
}

#[test]
fn settings_belong_to_one_module_table() {
    check(
        "local other = cjson.new()
         other.encode_max_depth(7) other.encode_sparse_array(true)
         return {cjson.encode_max_depth(), other.encode_max_depth(), other.encode({[100] = 1}),
                 (pcall(cjson.encode, {[100] = 1})), other.new().encode_max_depth()}",
        r#"*5\r\n:1000\r\n:7\r\n$9\r\n{\"100\":1}\r\n$-1\r\n:1000\r\n"#,
    );
}

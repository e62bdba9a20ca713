//! Lua values to replies and back.

use crate::host::{Bench, check};

#[test]
fn scalars_become_replies() {
    check("return 'hello'", r"$5\r\nhello\r\n");
    check("return 100.5", r":100\r\n");
    check("return -7.9", r":-7\r\n");
    check("return 1e300", r":-9223372036854775808\r\n");
    check("return 0/0", r":-9223372036854775808\r\n");
    check("return 2^53 + 1", r":9007199254740992\r\n");
    check("return true", r":1\r\n");
    check("return false", r"$-1\r\n");
    check("return nil", r"$-1\r\n");
    check("local x = 1", r"$-1\r\n");
    check("return print", r"$-1\r\n");
    check(r"return '\0\r\n'", r"$3\r\n\x00\r\n\r\n");
}

#[test]
fn tables_become_arrays_up_to_the_first_nil() {
    check("return {1, 2, 3, 'ciao', {1, 2}}", r"*5\r\n:1\r\n:2\r\n:3\r\n$4\r\nciao\r\n*2\r\n:1\r\n:2\r\n");
    check("return {}", r"*0\r\n");
    check("return {1, 2, nil, 4}", r"*2\r\n:1\r\n:2\r\n");
    check("return {a = 1}", r"*0\r\n");
    check("local t = {} for i = 10, 1, -1 do t[i] = i end t[5] = nil return t", r"*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n");
    check("return {{}, {{}}, false}", r"*3\r\n*0\r\n*1\r\n*0\r\n$-1\r\n");
}

#[test]
fn ok_and_err_fields_become_status_and_error() {
    check("return {ok = 'fine'}", r"+fine\r\n");
    check("return {err = 'this is an error'}", r"-this is an error\r\n");
    check(r"return {err = 'a\r\nb\0c'}", r"-a  b\r\n");
    check(r"return {ok = 'a\nb'}", r"+a b\r\n");
    // Text only: a number is no status.
    check("return {ok = 1}", r"*0\r\n");
    check("return {{err = 'x'}, {ok = 'y'}}", r"*2\r\n-x\r\n+y\r\n");
    check("return redis.status_reply('x')", r"+x\r\n");
    check("return redis.error_reply('x')", r"-x\r\n");
}

#[test]
fn metamethods_are_obeyed() {
    check(
        "return setmetatable({}, {__index = function(t, k) if k == 1 then return 'a' elseif k == 2 then return 'b' end end})",
        r"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
    );
    check("return {setmetatable({}, {__index = {'p'}}), 'z'}", r"*2\r\n*1\r\n$1\r\np\r\n$1\r\nz\r\n");
    check("return setmetatable({1}, {__index = function(t, k) if k == 'ok' then return 'fine' end end})", r"+fine\r\n");
    check("return _G", r"*0\r\n");
}

#[test]
fn keys_and_arguments_are_tables() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.eval("return {KEYS[1], KEYS[2], ARGV[1], ARGV[2], #KEYS, #ARGV}", &["a", "b"], &["c", "d"]),
        b"*6\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n:2\r\n:2\r\n"
    );
    assert_eq!(bench.eval("return #KEYS + #ARGV", &[], &[]), b":0\r\n");
}

#[test]
fn replies_become_values() {
    let mut bench = Bench::new();
    for (reply, script, expected) in [
        (":7\\r\\n", "return {type(v), v}", r"*2\r\n$6\r\nnumber\r\n:7\r\n"),
        (":-9223372036854775808\\r\\n", "return v == -2^63", r":1\r\n"),
        ("$3\\r\\nabc\\r\\n", "return {type(v), v}", r"*2\r\n$6\r\nstring\r\n$3\r\nabc\r\n"),
        ("$0\\r\\n\\r\\n", "return #v", r":0\r\n"),
        ("$-1\\r\\n", "return {type(v), v == false}", r"*2\r\n$7\r\nboolean\r\n:1\r\n"),
        ("*-1\\r\\n", "return {type(v), v == false}", r"*2\r\n$7\r\nboolean\r\n:1\r\n"),
        ("*0\\r\\n", "return {type(v), #v}", r"*2\r\n$5\r\ntable\r\n:0\r\n"),
        ("+OK\\r\\n", "return {type(v), v.ok}", r"*2\r\n$5\r\ntable\r\n$2\r\nOK\r\n"),
        ("-ERR no\\r\\n", "return {type(v), v.err}", r"*2\r\n$5\r\ntable\r\n$6\r\nERR no\r\n"),
        ("*3\\r\\n:1\\r\\n*1\\r\\n+x\\r\\n$-1\\r\\n", "return v", r"*3\r\n:1\r\n*1\r\n+x\r\n$-1\r\n"),
    ] {
        let script = format!("local v = redis.pcall('raw', '{reply}') {script}");
        assert_eq!(bench.show(&script), expected, "{reply}");
    }
}

#[test]
fn a_malformed_reply_is_an_error_not_a_crash() {
    let mut bench = Bench::new();
    for reply in [
        "",
        "x",
        "$5\\r\\nab",
        "*2\\r\\n:1\\r\\n",
        ":1",
        "$999999999999\\r\\n",
        "*99999999\\r\\n",
        "?\\r\\n",
        ":x\\r\\n",
    ] {
        let error = bench.error(&format!("return redis.pcall('raw', '{reply}')"));
        assert_eq!(error, "@user_script:1: malformed reply", "{reply}");
    }
    let nested = "*1\\r\\n".repeat(1000);
    assert!(bench.error(&format!("return redis.pcall('raw', '{nested}')")).ends_with("malformed reply"));
}

#[test]
fn numbers_reach_commands_after_a_library_used_the_same_buffer() {
    check("cjson.encode({1, 'x'}) cjson.decode('\"a\\\\tb\"') return redis.call('args', 1)", r"*1\r\n$1\r\n1\r\n");
}

#[test]
fn numbers_reach_commands_with_seventeen_digits() {
    check(
        "return redis.call('args', 9007199254740991, 0.1, -0.0, 1e20, 3.0, math.huge, '12039611435714932082', 1)",
        concat!(
            r"*8\r\n$16\r\n9007199254740991\r\n$19\r\n0.10000000000000001\r\n$2\r\n-0\r\n$5\r\n1e+20\r\n$1\r\n3\r\n",
            r"$3\r\ninf\r\n$20\r\n12039611435714932082\r\n$1\r\n1\r\n"
        ),
    );
}

#[test]
fn many_arguments_reach_a_command() {
    check(
        "local x = {} for i = 1, 7000 do x[i] = i end
         redis.call('rpush', 'l', unpack(x))
         local l = redis.call('lrange', 'l', 0, -1)
         return {#l, l[1], l[7000]}",
        r"*3\r\n:7000\r\n$1\r\n1\r\n$4\r\n7000\r\n",
    );
}

#[test]
fn scripts_draw_the_same_numbers_at_every_run() {
    let mut bench = Bench::new();
    let script = "return {tostring(math.random()), math.random(10), math.random(5, 10)}";
    let first = bench.show(script);
    assert_eq!(first, r"*3\r\n$16\r\n0.17082803611217\r\n:8\r\n:5\r\n");
    assert_eq!(bench.show(script), first);
    assert_eq!(bench.show("math.randomseed(10) return tostring(math.random())"), r"$16\r\n0.87885112309775\r\n");
    let seeded = "redis.replicate_commands() return tostring(math.random())";
    assert_ne!(bench.show(seeded), r"$16\r\n0.17082803611217\r\n");
}

#[test]
fn sha1hex_hashes_text() {
    check("return redis.sha1hex('')", r"$40\r\nda39a3ee5e6b4b0d3255bfef95601890afd80709\r\n");
    check("return redis.sha1hex('Pizza & Mandolino')", r"$40\r\n74822d82031af7493c20eefa13bd07ec4fada82f\r\n");
    check("return redis.sha1hex(true)", r"$40\r\nda39a3ee5e6b4b0d3255bfef95601890afd80709\r\n");
}

#[test]
fn an_example_script_works() {
    let mut bench = Bench::new();
    let script = "
        local current
        current = redis.call('get', KEYS[1])
        if not current then return nil end
        if current > ARGV[1] then
            return redis.call('decr', KEYS[1])
        else
            return redis.call('get', KEYS[1])
        end";
    bench.show("redis.call('set', 'foo', 5)");
    let replies: Vec<String> =
        (0..5).map(|_| bench.eval(script, &["foo"], &["2"]).escape_ascii().to_string()).collect();
    assert_eq!(replies, [r":4\r\n", r":3\r\n", r":2\r\n", r"$1\r\n2\r\n", r"$1\r\n2\r\n"]);
}

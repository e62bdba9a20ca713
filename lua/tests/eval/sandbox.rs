//! What scripts cannot reach, and what of one script the next one sees.

use crate::host::{Bench, check, check_error};

#[test]
fn undeclared_globals_cannot_be_read_or_made() {
    check_error(
        "return a",
        "@enable_strict_lua:15: user_script:1: Script attempted to access unexisting global variable 'a'",
    );
    check_error("a = 10", "@enable_strict_lua:8: user_script:1: Script attempted to create global variable 'a'");
    check_error(
        "function f() end",
        "@enable_strict_lua:8: user_script:1: Script attempted to create global variable 'f'",
    );
    check("rawset(_G, 'a', 5) return a", r":5\r\n");
}

#[test]
fn files_debugging_and_finalizers_are_out_of_reach() {
    for name in ["io", "os", "package", "require", "module", "debug", "loadfile", "dofile", "newproxy"] {
        check_error(
            &format!("return {name}"),
            &format!(
                "@enable_strict_lua:15: user_script:1: Script attempted to access unexisting global variable '{name}'"
            ),
        );
    }
}

#[test]
fn the_libraries_are_there() {
    check(
        "local n = 0
         for _, f in ipairs{string.format, table.sort, math.floor, coroutine.wrap, bit.band, pcall, unpack, select} do
           if type(f) == 'function' then n = n + 1 end
         end
         return n",
        r":8\r\n",
    );
    check(
        "return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING,
                 redis.REPL_NONE, redis.REPL_AOF, redis.REPL_SLAVE, redis.REPL_ALL}",
        r"*8\r\n:0\r\n:1\r\n:2\r\n:3\r\n:0\r\n:1\r\n:2\r\n:3\r\n",
    );
    check("return redis.breakpoint()", r"$-1\r\n");
    check("return redis.debug('x')", r"$-1\r\n");
}

#[test]
fn unpack_knows_its_range() {
    check("return {unpack({1, 2, 3}, 2)}", r"*2\r\n:2\r\n:3\r\n");
    check("return {unpack({1, 2, 3}, 3, 2)}", r"*0\r\n");
    check("return {unpack({1, 2, 3}, '2', 2)}", r"*1\r\n:2\r\n");
    for range in ["-1, 2147483647", "0, 2147483647", "-2147483648, 2147483647", "1, 8000", "-2147483648, -2147480000"] {
        let error = format!("return unpack({{}}, {range})");
        if range == "-2147483648, -2147480000" {
            check(&format!("return select('#', unpack({{}}, {range}))"), r":3649\r\n");
        } else {
            check_error(&error, "@user_script:1: user_script:1: too many results to unpack");
        }
    }
}

#[test]
fn source_is_loaded_and_compiled_code_is_not() {
    check("return loadstring('return 1 + 1')()", r":2\r\n");
    check("return ({loadstring('return +', '=name')})[2]", r"$34\r\nname:1: unexpected symbol near \'+\'\r\n");
    check("local i = 0 return load(function() i = i + 1 return ({'return ', 4, '2', ''})[i] end)()", r":42\r\n");
    check("return ({load(function() error('oops') end)})[2]", r"$19\r\nuser_script:1: oops\r\n");
    check(
        "return ({load(function() return {} end)})[2]",
        r"$51\r\nuser_script:1: reader function must return a string\r\n",
    );
    let refused = r"*2\r\n$3\r\nnil\r\n$38\r\nx:1: unexpected symbol near \'char(27)\'\r\n";
    check(
        "local f, message = loadstring(string.dump(function() return 1 end), '=x') return {type(f), message}",
        refused,
    );
    check(
        "local code = string.dump(function() return 1 end)
         local f, message = load(function() local piece = code code = nil return piece end, '=x')
         return {type(f), message}",
        refused,
    );
}

#[test]
fn the_chunk_name_of_a_loaded_chunk_survives_the_collector() {
    check(
        "for i = 1, 200 do
           collectgarbage('setpause', 1)
           local name = '=' .. ('n'):rep(30) .. i
           local source = ('local a%d = function() return {%d} end '):rep(20):gsub('%%d', tostring(i))
           local f, message = loadstring(source .. ' +', name)
           assert(message:find(('n'):rep(30) .. i, 1, true) == 1, message)
         end
         return 'ok'",
        r"$2\r\nok\r\n",
    );
}

#[test]
fn a_script_cannot_replace_the_globals_of_the_next() {
    let mut bench = Bench::new();
    assert_eq!(bench.show("setfenv(0, {}) return 1"), r":1\r\n");
    assert_eq!(bench.show("return redis.call('ping')"), r"+PONG\r\n");
    assert_eq!(bench.show("collectgarbage('stop') return 1"), r":1\r\n");
    // As in Redis, a library table that a script changes stays changed.
    bench.show("redis.sha1hex = nil");
    assert_eq!(bench.show("return type(redis.sha1hex)"), r"$3\r\nnil\r\n");
    bench.vm.flush();
    assert_eq!(bench.show("return type(redis.sha1hex)"), r"$8\r\nfunction\r\n");
}

#[test]
fn scripts_are_functions_by_name() {
    let mut bench = Bench::new();
    bench.show("return 'one'");
    let sha = lua::Sha::of(b"return 'one'");
    assert!(bench.vm.find(&sha).is_some());
    assert_eq!(bench.vm.script_count(), 1);
    assert_eq!(bench.show(&format!("return f_{sha}()")), r"$3\r\none\r\n");
    bench.vm.flush();
    assert!(bench.vm.find(&sha).is_none());
}

#[test]
fn coroutines_may_call_commands() {
    check(
        "local co = coroutine.wrap(function() coroutine.yield(redis.call('ping')) return 2 end) return {co(), co()}",
        r"*2\r\n+PONG\r\n:2\r\n",
    );
    check_error("coroutine.yield(1)", "@user_script:1: attempt to yield across metamethod/C-call boundary");
}

#[test]
fn the_bit_library_computes_in_32_bits() {
    check(
        "return {bit.tobit(0xffffffff), bit.bnot(0), bit.band(0xff, 0x0f, 7), bit.bor(1, 2, 4), bit.bxor(5, 1),
                 bit.lshift(1, 31), bit.rshift(-1, 28), bit.arshift(-8, 2), bit.rol(0x12345678, 12),
                 bit.ror(0x12345678, 0), bit.bswap(0x12345678)}",
        r"*11\r\n:-1\r\n:-1\r\n:7\r\n:7\r\n:4\r\n:-2147483648\r\n:15\r\n:-2\r\n:1164411171\r\n:305419896\r\n:2018915346\r\n",
    );
    check(
        "return {bit.tohex(1), bit.tohex(-1), bit.tohex(0xffff, -4), bit.tohex(0x021f, 3), bit.tohex(1, 0),
                 bit.tohex(1, -2147483648)}",
        r"*6\r\n$8\r\n00000001\r\n$8\r\nffffffff\r\n$4\r\nFFFF\r\n$3\r\n21f\r\n$0\r\n\r\n$8\r\n00000001\r\n",
    );
    check_error(
        "bit.band('x')",
        "@user_script:1: user_script:1: bad argument #1 to 'band' (number expected, got string)",
    );
}

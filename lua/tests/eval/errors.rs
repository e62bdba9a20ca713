//! Error texts, to the byte.

use lua::{ScriptError, Sha};
use resp::Out;

use crate::host::{Bench, check, check_error};

#[test]
fn a_script_that_is_no_lua_is_refused() {
    check("foo bar", r"-ERR Error compiling script (new function): user_script:1: \'=\' expected near \'bar\' \r\n");
    check(
        "return 1 +",
        r"-ERR Error compiling script (new function): user_script:2: unexpected symbol near \'end\' \r\n",
    );
    // It closes its own function; what follows runs once, when the script is defined.
    check("end error('x') do", r"-ERR Error running script (new function): user_script:1: x \r\n");
}

#[test]
fn a_script_that_was_flushed_is_not_run() {
    let mut bench = Bench::new();
    let script = bench.vm.compile(&Sha::of(b"return 1"), b"return 1").unwrap();
    bench.vm.flush();
    let error = bench.vm.run(&script, &[], &[], &mut bench.map, &mut Out::new()).unwrap_err();
    assert_eq!(error, ScriptError::NoScript);
    let mut out = Out::new();
    error.write_reply(&mut out);
    assert_eq!(out.as_slice(), b"-NOSCRIPT No matching script. Please use EVAL.\r\n");
}

#[test]
fn an_error_names_the_script_and_the_line() {
    let mut bench = Bench::new();
    let script = "\nerror('boo')";
    let expected = format!(
        "-ERR Error running script (call to f_{}): @user_script:2: user_script:2: boo \r\n",
        Sha::of(script.as_bytes())
    );
    assert_eq!(String::from_utf8(bench.eval(script, &[], &[])).unwrap(), expected);
}

#[test]
fn errors_of_lua_come_with_their_place() {
    check_error("error('x', 0)", "@user_script:1: x");
    check_error("error(12)", "@user_script:1: user_script:1: 12");
    check_error(
        "error({})",
        "@err_handler_def:8: err_handler_def:8: attempt to concatenate local 'err' (a table value)",
    );
    check_error("error()", "@err_handler_def:8: err_handler_def:8: attempt to concatenate local 'err' (a nil value)");
    check_error("return nil + 1", "@user_script:1: user_script:1: attempt to perform arithmetic on a nil value");
    check_error(
        "return ('x'):rep()",
        "@user_script:1: user_script:1: bad argument #1 to 'rep' (number expected, got no value)",
    );
    check_error("local function f() return 1 + f() end return f()", "@user_script:1: user_script:1: stack overflow");
    check_error(r"error('a\r\nb\0c')", "@user_script:1: user_script:1: a  b");
}

#[test]
fn call_raises_and_pcall_returns_errors_of_commands() {
    let mut bench = Bench::new();
    bench.show("redis.call('set', 'foo', 'bar')");
    assert_eq!(bench.error("redis.call('incr', 'foo')"), "@user_script:1: ERR value is not an integer or out of range");
    assert_eq!(
        bench.show("local r = redis.pcall('incr', 'foo') return {type(r), r.err}"),
        r"*2\r\n$5\r\ntable\r\n$43\r\nERR value is not an integer or out of range\r\n"
    );
    assert_eq!(bench.show("return redis.pcall('incr', 'foo')"), r"-ERR value is not an integer or out of range\r\n");
}

#[test]
fn refusals_come_with_the_place_of_the_call() {
    check_error(
        "redis.call('nosuch')",
        "@user_script:1: @user_script: 1: Unknown Redis command called from Lua script",
    );
    check_error(
        "\n\nredis.call('get', 'a', 'b')",
        "@user_script:3: @user_script: 3: Wrong number of args calling Redis command From Lua script",
    );
    check(
        "return redis.pcall('blpop', 'x', 0)",
        r"-@user_script: 1: This Redis command is not allowed from scripts\r\n",
    );
    check(
        "return {pcall(redis.call, 'nosuch')}",
        r"*2\r\n$-1\r\n$54\r\n=[C]: -1: Unknown Redis command called from Lua script\r\n",
    );
    check_error(
        "redis.call()",
        "@user_script:1: @user_script: 1: Please specify at least one argument for redis.call()",
    );
    check("return redis.pcall()", r"-@user_script: 1: Please specify at least one argument for redis.call()\r\n");
    for arguments in ["nil", "{}", "'get', true", "print"] {
        check_error(
            &format!("redis.call({arguments})"),
            "@user_script:1: @user_script: 1: Lua redis() command arguments must be strings or integers",
        );
    }
}

#[test]
fn functions_of_redis_report_misuse() {
    check_error("redis.sha1hex()", "@user_script:1: wrong number of arguments");
    check("return redis.error_reply(1)", r"-@user_script: 1: wrong number or type of arguments\r\n");
    check("return redis.status_reply()", r"-@user_script: 1: wrong number or type of arguments\r\n");
    check_error("redis.log(1)", "@user_script:1: redis.log() requires two arguments or more.");
    check_error("redis.log('x', 'y')", "@user_script:1: First argument must be a number (log level).");
    check_error("redis.log(4, 'y')", "@user_script:1: Invalid debug level.");
    check_error(
        "redis.set_repl(redis.REPL_ALL)",
        "@user_script:1: You can set the replication behavior only after turning on single commands replication with \
         redis.replicate_commands().",
    );
    check_error(
        "redis.replicate_commands() redis.set_repl(12345)",
        "@user_script:1: Invalid replication flags. Use REPL_AOF, REPL_SLAVE, REPL_ALL or REPL_NONE.",
    );
    check_error(
        "redis.replicate_commands() redis.set_repl()",
        "@user_script:1: redis.set_repl() requires two arguments.",
    );
    check_error("math.random(0)", "@user_script:1: user_script:1: bad argument #1 to 'random' (interval is empty)");
    check_error("math.random(3, 2)", "@user_script:1: user_script:1: bad argument #2 to 'random' (interval is empty)");
    check_error("math.random(1, 2, 3)", "@user_script:1: user_script:1: wrong number of arguments");
}

#[test]
fn log_reaches_the_host() {
    let mut bench = Bench::new();
    bench.show("redis.log(redis.LOG_WARNING, 'a', 1, true, 'b')");
    bench.show("redis.log('0', 'x')");
    assert_eq!(bench.map.logged, [(3, b"a 1 b".to_vec()), (0, b"x".to_vec())]);
}

#[test]
fn replication_is_chosen_by_the_script() {
    let mut bench = Bench::new();
    assert_eq!(bench.show("return redis.replicate_commands()"), r":1\r\n");
    bench.show("redis.set_repl(redis.REPL_AOF)");
    let to = bench.map.replication.unwrap();
    assert!(to.aof && !to.replicas);
    assert_eq!(bench.show("redis.call('set', 'foo', 'bar') return redis.replicate_commands()"), r"$-1\r\n");
}

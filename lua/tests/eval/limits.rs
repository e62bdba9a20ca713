//! Scripts that would run, grow or nest without end.

use lua::Options;

use crate::host::Bench;

const KILLED: &str = "Script killed by user with SCRIPT KILL...";

fn killed(script: &str) -> String {
    let mut bench = Bench::new();
    bench.map.kill_at = Some(3);
    let error = bench.error(script);
    bench.map.kill_at = None;
    assert_eq!(bench.show("for i = 1, 1000000 do end return 'next'"), r"$4\r\nnext\r\n", "after {script}");
    error
}

#[test]
fn a_loop_is_killed() {
    assert_eq!(killed("while true do end"), format!("@user_script:1: {KILLED}"));
    assert_eq!(killed("while true do redis.call('ping') end"), format!("@user_script:1: {KILLED}"));
}

#[test]
fn a_script_cannot_catch_its_end() {
    for script in [
        "while true do pcall(function() while true do end end) end",
        "local function f() while true do end end while true do pcall(f) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local f = function() while true do end end while true do xpcall(f, f) end",
        "local f = function() while true do end end xpcall(error, f) while true do end",
    ] {
        let error = killed(script);
        assert_eq!(error, format!("@user_script:1: {KILLED}"), "{script}");
    }
}

#[test]
fn a_killed_script_carries_out_no_command() {
    let mut bench = Bench::new();
    bench.map.kill_at = Some(1);
    let error = bench.error(
        "local inner = function() while true do end end
         local outer = function() coroutine.resume(coroutine.create(inner)) pcall(redis.call, 'set', 'x', 1) end
         coroutine.resume(coroutine.create(outer))",
    );
    assert_eq!(error, format!("@user_script:1: {KILLED}"));
    assert_eq!(bench.map.calls, 0);
}

#[test]
fn a_coroutine_may_outlive_a_killed_script() {
    let mut bench = Bench::new();
    bench.map.kill_at = Some(2);
    let error = bench.error(
        "rawset(_G, 'co', coroutine.create(function() while true do coroutine.yield() end end))
         coroutine.resume(co) while true do end",
    );
    assert_eq!(error, format!("@user_script:2: {KILLED}"));
    bench.map.kill_at = None;
    assert_eq!(bench.show("coroutine.resume(co) return coroutine.status(co)"), r"$9\r\nsuspended\r\n");
}

#[test]
fn a_metamethod_that_never_ends_is_killed_while_the_reply_is_made() {
    assert!(killed("return setmetatable({}, {__index = function() while true do end end})").ends_with(KILLED));
}

#[test]
fn a_script_that_runs_while_it_is_defined_is_stopped() {
    let mut bench = Bench::new();
    let reply = bench.show("end while true do end do");
    assert_eq!(
        reply,
        r"-ERR Error running script (new function): @user_script:1: Script runs too long while it is being defined \r\n"
    );
}

#[test]
fn memory_is_bounded() {
    let options = Options { memory_bytes_max: 8 << 20, ..Options::default() };
    let mut bench = Bench::with(options);
    for script in [
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
        "return ('x'):rep(1e9)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} while true do t[#t + 1] = redis.call('args', ('x'):rep(10000)) end",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
    ] {
        let error = bench.error(script);
        assert!(error.ends_with("not enough memory"), "{script}: {error}");
        assert!(bench.vm.used_memory() < 9 << 20, "{script}: {}", bench.vm.used_memory());
        assert_eq!(bench.show("return 'next'"), r"$4\r\nnext\r\n", "after {script}");
    }
    // A script that catches the error may go on, within the bound.
    assert_eq!(bench.show("return {pcall(string.rep, 'x', 1e9)}"), r"*2\r\n$-1\r\n$17\r\nnot enough memory\r\n");
}

#[test]
fn a_source_larger_than_memory_is_refused() {
    let mut bench = Bench::with(Options { memory_bytes_max: 1 << 20, ..Options::default() });
    let source = format!("return {{{}}}", "'a', ".repeat(400_000));
    assert_eq!(bench.show(&source), r"-ERR Error compiling script (new function): not enough memory \r\n");
}

#[test]
fn replies_are_bounded() {
    let mut bench = Bench::with(Options { reply_bytes_max: 1 << 20, ..Options::default() });
    for script in [
        "local t = {1, 2} t[3] = t t[4] = t return t",
        "return setmetatable({}, {__index = function(t, k) return type(k) == 'number' and 'x' or nil end})",
    ] {
        assert_eq!(bench.error(script), "the reply of the script is too large");
    }
}

#[test]
fn nested_tables_end_where_the_stack_does() {
    let mut bench = Bench::new();
    let reply = bench.show("local t = {} t[1] = t return t");
    assert!(reply.starts_with(r"*1\r\n*1\r\n"));
    assert!(reply.ends_with(r"*1\r\n-ERR reached lua stack limit\r\n"));
    let deep = bench.show("local t = {} for i = 1, 1000 do t = {t} end return t");
    assert_eq!(deep, r"*1\r\n".repeat(1000) + r"*0\r\n");
}

#[test]
fn an_error_while_the_reply_is_made_is_an_error_of_the_script() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.error("return {1, setmetatable({}, {__index = function() error('boo') end})}"),
        "user_script:1: boo"
    );
    assert_eq!(bench.show("return 1"), r":1\r\n");
}

#[test]
fn the_c_stack_is_bounded() {
    // Threads that run scripts may have 2 MB: what a thread of the standard library gets.
    std::thread::spawn(|| {
        let mut bench = Bench::new();
        for (script, expected) in [
            ("local p = ('a?'):rep(100000) return (('a'):rep(100000)):find(p)", "pattern too complex"),
            ("local p = ('()'):rep(1001) return ('a'):match(p)", "pattern too complex"),
            ("local function f() return (('x'):gsub('x', f)) end return f()", "C stack overflow"),
            ("local function f() return coroutine.wrap(f)() end return f()", "C stack overflow"),
            ("local function f() return select(2, pcall(f)) end return f()", ""),
            ("local function f(a, b) table.sort({1, 2, 3}, f) return a < b end return f(1, 2)", "C stack overflow"),
            ("local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x", ""),
            ("return loadstring(('('):rep(10000))", ""),
            ("return loadstring('return ' .. ('{'):rep(10000))", ""),
            ("return loadstring(('do '):rep(10000))", ""),
            ("return loadstring('return ' .. ('- '):rep(10000) .. '1')", ""),
            ("return loadstring('local a = ' .. ('function() '):rep(10000))", ""),
            (
                "local function g() return (('x'):gsub('x', function() return coroutine.wrap(g)() end)) end return g()",
                "",
            ),
        ] {
            let reply = bench.show(script);
            assert!(reply.contains(expected), "{script}: {reply}");
        }
        // Plain searches take any text; ordinary patterns have no such limit.
        assert_eq!(bench.show("return (('?'):rep(2000)):find(('?'):rep(2000), 1, true)"), r":1\r\n");
        assert_eq!(bench.show("return ('x'):rep(5000):find(('x'):rep(5000))"), r":1\r\n");
    })
    .join()
    .unwrap();
}

#[test]
fn runs_leave_nothing_behind() {
    let mut bench = Bench::new();
    for _ in 0..10_000 {
        bench.eval("return redis.call('incr', KEYS[1])", &["x"], &[]);
    }
    assert_eq!(bench.show("return redis.call('get', 'x')"), r"$5\r\n10000\r\n");
    assert!(bench.vm.used_memory() < 100 * 1024, "{}", bench.vm.used_memory());
}

#[test]
fn a_panic_of_the_host_passes_through() {
    let mut bench = Bench::new();
    let caught =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.show("return pcall(redis.call, 'panic')")));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"the host panics"));
    assert_eq!(bench.show("return 1"), r":1\r\n");
}
